/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-repair: sets right what can be set right without taking anything from
 * anybody.
 *
 * Entries are changed only in tables that belong to nobody else, so that a
 * stray pointer into guest data never makes us "mend" that data.  Refcounts
 * that cannot be mended in place are written anew behind all else:
 *
 *     ... file ... | reftable | refblock ... refblock |
 *
 * and the header's pointer moves to them last; a cut before that leaves the
 * image as it was. */
#include "config.h"

#include "storage/qcow2-check.h"

#include <string.h>

#include "storage/error.h"

/* ---- entries ------------------------------------------------------------ */

static bool
ours_alone (const Qcow2Check *check, uint64_t offset, uint64_t length,
            uint64_t paths)
{
  unsigned bits = check->q->header.cluster_bits;
  for (uint64_t i = offset >> bits; i <= (offset + length - 1) >> bits; i++)
    if (vp_counts_get (check->counts, i) != paths)
      return false;
  return true;
}

static bool
mend_l1 (Qcow2Check *check, uint64_t offset, uint64_t entries, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t length = entries * 8;
  if (length == 0 || length > VP_MAX_TABLE_SIZE ||
      offset & (q->cluster_size - 1) ||
      !vp_range_ok (offset, length, check->file_end) ||
      !ours_alone (check, offset, length, 1))
    return true;
  uint8_t *l1 = vp_tables_load (q->tables, offset, (size_t) length, error);
  if (!l1)
    return false;
  for (uint64_t at = 0; at < length; at += 8) {
    uint64_t raw = vp_be64_get (l1 + at);
    if (!(raw & QCOW2_L1_RESERVED))
      continue;
    vp_be64_set (l1 + at, raw & ~QCOW2_L1_RESERVED);
    vp_tables_dirty (q->tables, offset, (size_t) at, 8, QCOW2_ORDER_MAP);
    check->changed = true;
  }
  return vp_tables_trim (q->tables, error);
}

static uint64_t
mended_entry (const Qcow2 *q, Qcow2L2 entry)
{
  uint64_t raw = entry.raw;
  bool data = q->extended ? (entry.bitmap & QCOW2_ALL_ALLOCATED) != 0
                          : !(raw & QCOW2_ZERO);
  if (raw & QCOW2_COMPRESSED)
    return raw & ~QCOW2_COPIED;
  raw &= ~(QCOW2_L2_RESERVED | (q->extended ? QCOW2_ZERO : 0));
  /* A place that is kept for zeros and cannot be one. */
  if (!data && q->header.version >= 3 &&
      (raw & QCOW2_OFFSET_MASK) & (q->cluster_size - 1))
    return raw & QCOW2_ZERO;
  return raw;
}

static bool
mend_l2 (Qcow2Check *check, const Qcow2CountedL2 *table, GError **error)
{
  Qcow2 *q = check->q;
  size_t size = (size_t) q->cluster_size, width = qcow2_l2_entry_size (q);
  if (!ours_alone (check, table->offset, size, table->paths))
    return true;
  uint8_t *l2 = vp_tables_load (q->tables, table->offset, size, error);
  if (!l2)
    return false;
  for (size_t i = 0; i < size / width; i++) {
    Qcow2L2 entry = qcow2_l2_get (q, l2, i);
    uint64_t to = mended_entry (q, entry);
    if (entry.raw == to)
      continue;
    qcow2_l2_set (q, l2, i, (Qcow2L2){ to, entry.bitmap });
    vp_tables_dirty (q->tables, table->offset, i * width, width,
                     QCOW2_ORDER_MAP);
    check->changed = true;
  }
  return vp_tables_trim (q->tables, error);
}

bool
qcow2_mend_entries (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  if (check->faulty_l1 && !mend_l1 (check, h->l1_offset, h->l1_entries, error))
    return false;
  for (guint i = 0; check->faulty_l1 && i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    if (!mend_l1 (check, snapshot->l1_offset, snapshot->l1_entries, error))
      return false;
  }
  for (guint i = 0; i < check->l2->len; i++) {
    const Qcow2CountedL2 *table = &g_array_index (check->l2, Qcow2CountedL2, i);
    if (table->faulty && !mend_l2 (check, table, error))
      return false;
  }
  return true;
}

/* ---- COPIED ------------------------------------------------------------- */

static bool
mend_flag (Qcow2Check *check, uint64_t table, uint8_t *bytes, size_t at,
           bool is_l2, bool repair)
{
  Qcow2 *q = check->q;
  VpCheckResult *result = check->result;
  uint64_t raw = vp_be64_get (bytes + at), offset = raw & QCOW2_OFFSET_MASK;
  uint64_t cluster = offset >> q->header.cluster_bits;
  bool data_file = is_l2 && check->data_file;
  if (offset == 0 || (is_l2 && raw & QCOW2_COMPRESSED) ||
      qcow2_refcount_unknown (check, cluster))
    return false;
  bool one = data_file || vp_counts_get_stored (check->counts, cluster) == 1;
  if (one == ((raw & QCOW2_COPIED) != 0))
    return false;
  g_autofree char *what =
      qcow2_check_name_entry (is_l2 ? -1 : (int64_t) (at / 8));
  qcow2_check_note (check, "%s OFLAG_COPIED %s=%" PRIx64 " refcount=%u",
                    repair ? "Repairing" : "ERROR", what, raw,
                    vp_counts_get_stored (check->counts, cluster));
  if (!repair) {
    result->corruptions++;
    return false;
  }
  vp_be64_set (bytes + at, raw ^ QCOW2_COPIED);
  vp_tables_dirty (q->tables, table, at, 8, QCOW2_ORDER_MAP);
  result->corruptions_fixed++;
  check->changed = true;
  return true;
}

static bool
mend_l2_flags (Qcow2Check *check, const Qcow2CountedL2 *table, bool repair,
               GError **error)
{
  Qcow2 *q = check->q;
  size_t size = (size_t) q->cluster_size;
  if (table->active == 0)
    return true;
  uint8_t *l2 = vp_tables_load (q->tables, table->offset, size, error);
  if (!l2)
    return false;
  bool ours = ours_alone (check, table->offset, size, table->paths);
  for (size_t at = 0; at < size; at += qcow2_l2_entry_size (q))
    mend_flag (check, table->offset, l2, at, true, repair && ours);
  return vp_tables_trim (q->tables, error);
}

bool
qcow2_mend_flags (Qcow2Check *check, bool repair, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  if (check->flag_faults == 0 && !check->changed)
    return true;
  for (uint32_t i = 0; i < h->l1_entries; i++)
    mend_flag (check, h->l1_offset, qcow2_l1 (q), (size_t) i * 8, false,
               repair);
  for (guint i = 0; i < check->l2->len; i++)
    if (!mend_l2_flags (check, &g_array_index (check->l2, Qcow2CountedL2, i),
                        repair, error))
      return false;
  return true;
}

/* Where a cluster leaks, its flag may have been set, or not been cleared yet,
 * for the references that there really are: a snapshot was being taken or
 * deleted when the power went. */
static bool
flag_follows_leak (const Qcow2Check *check, uint64_t raw)
{
  uint64_t cluster = (raw & QCOW2_OFFSET_MASK) >> check->q->header.cluster_bits;
  uint64_t stored = vp_counts_get_stored (check->counts, cluster);
  uint64_t references = vp_counts_get (check->counts, cluster);
  bool copied = raw & QCOW2_COPIED;
  if (cluster == 0 || raw & QCOW2_COMPRESSED || copied == (stored == 1))
    return true;
  return stored > references && copied == (references == 1);
}

bool
qcow2_flags_follow_leaks (Qcow2Check *check, bool *ret_follow, GError **error)
{
  Qcow2 *q = check->q;
  size_t size = (size_t) q->cluster_size;
  *ret_follow = false;
  for (uint32_t i = 0; i < q->header.l1_entries; i++)
    if (!flag_follows_leak (check, vp_be64_get (qcow2_l1 (q) + 8 * (size_t) i)))
      return true;
  for (guint i = 0; i < check->l2->len; i++) {
    const Qcow2CountedL2 *table = &g_array_index (check->l2, Qcow2CountedL2, i);
    if (table->active == 0)
      continue;
    const uint8_t *l2 = vp_tables_load (q->tables, table->offset, size, error);
    if (!l2)
      return false;
    for (size_t at = 0; at < size; at += qcow2_l2_entry_size (q))
      if (!flag_follows_leak (check, vp_be64_get (l2 + at)))
        return true;
    if (!vp_tables_trim (q->tables, error))
      return false;
  }
  *ret_follow = true;
  return true;
}

static bool
claim_entry (const Qcow2Check *check, uint8_t *entry)
{
  uint64_t raw = vp_be64_get (entry);
  uint64_t cluster = (raw & QCOW2_OFFSET_MASK) >> check->q->header.cluster_bits;
  if (cluster == 0 || raw & (QCOW2_COMPRESSED | QCOW2_COPIED) ||
      vp_counts_get (check->counts, cluster) != 1 ||
      vp_counts_get_stored (check->counts, cluster) <= 1)
    return false;
  vp_be64_set (entry, raw | QCOW2_COPIED);
  return true;
}

bool
qcow2_claim_leaks (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  size_t size = (size_t) q->cluster_size;
  for (uint32_t i = 0; i < q->header.l1_entries; i++)
    if (claim_entry (check, qcow2_l1 (q) + 8 * (size_t) i))
      vp_tables_dirty (q->tables, q->header.l1_offset, (size_t) i * 8, 8,
                       QCOW2_ORDER_MAP);
  for (guint i = 0; i < check->l2->len; i++) {
    const Qcow2CountedL2 *table = &g_array_index (check->l2, Qcow2CountedL2, i);
    if (table->active == 0 ||
        !ours_alone (check, table->offset, size, table->paths))
      continue;
    uint8_t *l2 = vp_tables_load (q->tables, table->offset, size, error);
    if (!l2)
      return false;
    for (size_t at = 0; at < size; at += qcow2_l2_entry_size (q))
      if (claim_entry (check, l2 + at))
        vp_tables_dirty (q->tables, table->offset, at, 8, QCOW2_ORDER_MAP);
    if (!vp_tables_trim (q->tables, error))
      return false;
  }
  return vp_tables_flush (q->tables, error);
}

/* ---- all refcounts anew ------------------------------------------------- */

typedef struct {
  Qcow2Check *check;
  uint64_t first, n; /* clusters of the new structures */
  uint64_t entries;  /* of the new reftable */
  uint64_t n_table;  /* clusters of it */
  GArray *numbers;   /* uint64_t: refblocks that are needed */
  VpClusterSet *old; /* the structures in use so far; not to be touched */
} Rebuild;

static void
need_block (Rebuild *r, uint64_t number)
{
  GArray *numbers = r->numbers;
  if (numbers->len == 0 ||
      g_array_index (numbers, uint64_t, numbers->len - 1) != number)
    g_array_append_val (numbers, number);
}

static int
compare_numbers (gconstpointer a, gconstpointer b)
{
  uint64_t left = *(const uint64_t *) a, right = *(const uint64_t *) b;
  return left < right ? -1 : left > right;
}

static void
collect_numbers (Rebuild *r)
{
  const Qcow2 *q = r->check->q;
  const VpCounts *counts = r->check->counts;
  uint64_t size = vp_counts_get_size (counts);
  uint64_t stretch = (UINT64_C (1) << q->refblock_bits) - 1;
  g_array_set_size (r->numbers, 0);
  for (uint64_t i = 0; i < size; i++)
    if (!vp_counts_page (counts, i))
      i |= VP_COUNTS_PAGE - 1;
    else if (vp_counts_get (counts, i) > 0) {
      need_block (r, i >> q->refblock_bits);
      i |= stretch;
    }
  for (uint64_t i = r->first; i < r->first + r->n; i++)
    need_block (r, i >> q->refblock_bits);
  for (uint64_t i = 0; r->check->obscure && i < r->check->n_clusters;
       i += stretch + 1)
    need_block (r, i >> q->refblock_bits);
  g_array_sort (r->numbers, compare_numbers);
  guint kept = 0;
  for (guint i = 0; i < r->numbers->len; i++) {
    uint64_t number = g_array_index (r->numbers, uint64_t, i);
    if (kept == 0 || g_array_index (r->numbers, uint64_t, kept - 1) != number)
      g_array_index (r->numbers, uint64_t, kept++) = number;
  }
  g_array_set_size (r->numbers, kept);
}

/* The first n clusters in a row, from cluster on, that nobody uses. */
static bool
find_room (Rebuild *r, uint64_t cluster, uint64_t limit)
{
  uint64_t run = 0;
  for (; run < r->n; cluster++) {
    if (cluster >= limit)
      return false;
    bool used = vp_counts_get (r->check->counts, cluster) > 0 ||
                vp_cluster_set_meets (r->old, cluster, 1);
    run = used ? 0 : run + 1;
  }
  r->first = cluster - r->n;
  return true;
}

static bool
plan (Rebuild *r, GError **error)
{
  const Qcow2 *q = r->check->q;
  uint64_t per_cluster = q->cluster_size / 8;
  uint64_t limit = QCOW2_MAX_OFFSET >> q->header.cluster_bits;
  uint64_t start = r->check->n_clusters;
  if (q->file->is_device) {
    limit = r->check->file_end >> q->header.cluster_bits;
    start = 1;
  }
  r->n = 1;
  for (;;) {
    if (!find_room (r, start, limit)) {
      g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                   "%s: no room for new refcounts", q->file->name);
      return false;
    }
    collect_numbers (r);
    uint64_t last = g_array_index (r->numbers, uint64_t, r->numbers->len - 1);
    r->n_table = (last + per_cluster) / per_cluster;
    r->entries = r->n_table * per_cluster;
    if (r->entries * 8 > VP_MAX_REFTABLE_SIZE) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                   "%s: the file is too long for its refcounts", q->file->name);
      return false;
    }
    uint64_t need = r->n_table + r->numbers->len;
    if (need <= r->n)
      return true; /* at most a few clusters to spare */
    r->n = need;
  }
}

static bool
write_block (Rebuild *r, uint64_t number, uint64_t offset, uint8_t *block,
             GError **error)
{
  const Qcow2 *q = r->check->q;
  uint64_t first = number << q->refblock_bits;
  memset (block, 0, (size_t) q->cluster_size);
  for (uint64_t i = 0; i < UINT64_C (1) << q->refblock_bits; i++) {
    uint64_t cluster = first + i;
    bool ours = cluster >= r->first && cluster < r->first + r->n;
    uint64_t count = ours ? 1 : vp_counts_get (r->check->counts, cluster);
    if (count == 0 && r->check->obscure && cluster < r->check->n_clusters)
      count = 1; /* better a leak than a loss */
    if (count > 0)
      qcow2_entry_set (block, q->header.refcount_order, i,
                       MIN (count, r->check->max_refcount));
  }
  return vp_file_write (q->file, offset, block, (size_t) q->cluster_size,
                        error);
}

static bool
write_structures (Rebuild *r, GError **error)
{
  const Qcow2 *q = r->check->q;
  size_t length = (size_t) r->entries * 8;
  g_autofree uint8_t *table = g_malloc0 (length);
  g_autofree uint8_t *block = g_malloc ((size_t) q->cluster_size);
  uint64_t offset = (r->first + r->n_table) << q->header.cluster_bits;
  for (guint i = 0; i < r->numbers->len; i++) {
    uint64_t number = g_array_index (r->numbers, uint64_t, i);
    if (!write_block (r, number, offset, block, error))
      return false;
    vp_be64_set (table + 8 * number, offset);
    offset += q->cluster_size;
  }
  return vp_file_write (q->file, r->first << q->header.cluster_bits, table,
                        length, error) &&
         vp_file_flush (q->file, error);
}

static void
forget_old (Qcow2 *q)
{
  const uint8_t *table = qcow2_reftable (q);
  for (uint64_t i = 0; i < q->reftable_entries; i++) {
    uint64_t offset = vp_be64_get (table + 8 * i);
    if (offset != 0 && offset != q->header.reftable_offset &&
        offset != q->header.l1_offset)
      vp_tables_forget (q->tables, offset);
  }
  vp_tables_forget (q->tables, q->header.reftable_offset);
}

static bool
move_pointer (Rebuild *r, GError **error)
{
  Qcow2 *q = r->check->q;
  uint8_t cell[12];
  forget_old (q);
  q->header.reftable_offset = r->first << q->header.cluster_bits;
  q->header.reftable_clusters = (uint32_t) r->n_table;
  q->reftable_entries = r->entries;
  vp_be64_set (cell, q->header.reftable_offset);
  vp_be32_set (cell + 8, q->header.reftable_clusters);
  vp_tables_forget (q->tables, 48);
  if (!vp_tables_load (q->tables, q->header.reftable_offset,
                       (size_t) q->reftable_entries * 8, error))
    return false;
  vp_tables_pin (q->tables, q->header.reftable_offset);
  /* Twelve bytes within a sector: whole or not at all. */
  return vp_file_write (q->file, 48, cell, sizeof cell, error) &&
         vp_file_flush (q->file, error) &&
         vp_file_get_size (q->file, &q->file_end, error);
}

static bool
note_old (Rebuild *r)
{
  const Qcow2 *q = r->check->q;
  const uint8_t *table = qcow2_reftable (r->check->q);
  unsigned bits = q->header.cluster_bits;
  uint64_t end = r->check->n_clusters;
  bool ok = vp_cluster_set_add (r->old, q->header.reftable_offset >> bits,
                                q->header.reftable_clusters);
  for (uint64_t i = 0; ok && i < q->reftable_entries; i++) {
    uint64_t cluster = vp_be64_get (table + 8 * i) >> bits;
    if (cluster > 0 && cluster < end)
      ok = vp_cluster_set_add (r->old, cluster, 1);
  }
  return ok;
}

bool
qcow2_rebuild_refcounts (Qcow2Check *check, GError **error)
{
  g_autoptr (GArray) numbers = g_array_new (false, false, sizeof (uint64_t));
  g_autoptr (VpClusterSet) old = vp_cluster_set_new ();
  Rebuild r = { .check = check, .numbers = numbers, .old = old };
  check->changed = true;
  if (!note_old (&r)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: refcounts are scattered too widely to be rebuilt",
                 check->q->file->name);
    return false;
  }
  return vp_tables_flush (check->q->tables, error) && plan (&r, error) &&
         write_structures (&r, error) && move_pointer (&r, error);
}
