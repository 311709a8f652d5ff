/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-check: counts all references anew and compares.
 *
 *     1  stored refcounts, refblock by refblock, into bytes
 *     2  every table that the header names, and every L1
 *     3  each L2 table once, however many snapshots share it
 *     4  counted against stored
 *     5  repair: entries, then refcounts, then the COPIED flags that follow
 *        from them, then the header's marks
 *
 * Tables are read once, in the order of the file.  A fault is noted and passed
 * by; nothing found here is trusted. */
#include "config.h"

#include "storage/qcow2-check.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"

#define MIN_BUDGET ((size_t) 128 << 20)
#define READ_SIZE  ((size_t) 1 << 20)
#define READ_GAP   ((uint64_t) 64 << 10)

void
qcow2_check_note (Qcow2Check *check, const char *format, ...)
{
  va_list args;
  if (check->quiet)
    return;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  vp_check_result_note (check->result, "%s", text);
}

bool
qcow2_too_large (const Qcow2Check *check, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: too large, or too scattered, to be checked",
               check->q->file->name);
  return false;
}

/* ---- counting ----------------------------------------------------------- */

static bool
is_past_end (const Qcow2Check *check, uint64_t offset, uint64_t length)
{
  return !vp_range_ok (offset, length, QCOW2_MAX_OFFSET) ||
         (offset + length > check->file_end &&
          offset + length - check->file_end >= check->q->cluster_size);
}

static void
note_past_end (Qcow2Check *check, uint64_t offset, uint64_t length,
               uint64_t times)
{
  check->result->corruptions += times;
  qcow2_check_note (check,
                    "ERROR: counting reference for region exceeding the end "
                    "of the file by one cluster or more: offset " X64
                    " size " X64,
                    offset, length);
}

/* The last cluster of the file may be there in part, so what reaches less than
 * a cluster past the end is sound. */
bool
qcow2_count_range (Qcow2Check *check, uint64_t offset, uint64_t length,
                   uint64_t times, GError **error)
{
  Qcow2 *q = check->q;
  if (length == 0)
    return true;
  if (is_past_end (check, offset, length)) {
    check->obscure = true;
    note_past_end (check, offset, length, times);
    if (!vp_range_ok (offset, length, QCOW2_MAX_OFFSET))
      return true;
  } else if (offset + length > check->n_clusters << q->header.cluster_bits)
    check->spills = true;
  /* Past the end too, so that a repair gives that place to nobody else. */
  uint64_t first = offset >> q->header.cluster_bits;
  uint64_t end = ((offset + length - 1) >> q->header.cluster_bits) + 1;
  end = MIN (end, vp_counts_get_size (check->counts));
  return first >= end ||
         vp_counts_add (check->counts, first, end - first, times) ||
         qcow2_too_large (check, error);
}

/* ---- reading ------------------------------------------------------------ */

/* What is known about holes round the place that we read. */
typedef struct {
  uint64_t from, to;
  bool data;
} Extent;

static bool
is_hole (Qcow2Check *check, Extent *extent, uint64_t offset, uint64_t length)
{
  if (offset >= check->file_end)
    return true;
  if (offset < extent->from || offset >= extent->to) {
    uint64_t reach = 0;
    if (!vp_file_extent (check->q->file, offset, check->file_end - offset,
                         &extent->data, &reach, NULL))
      extent->data = true;
    extent->from = offset;
    extent->to = offset + reach;
  }
  return !extent->data && offset + length <= extent->to;
}

bool
qcow2_read_tables (Qcow2Check *check, guint n, Qcow2OffsetOf offset_of,
                   size_t size, Qcow2Visit visit, GError **error)
{
  size_t most = MAX (READ_SIZE, size);
  g_autofree uint8_t *buffer = g_malloc (most);
  uint64_t from = 0, to = 0; /* of the buffer */
  Extent extent = { 0 };
  for (guint i = 0; i < n; i++) {
    uint64_t offset = offset_of (check, i);
    if (i % 64 == 0 && !vp_progress_update (check->progress, i, n, error))
      return false;
    if (is_hole (check, &extent, offset, size))
      continue;
    if (offset < from || offset + size > to) {
      from = offset;
      to = offset + size;
      for (guint k = i + 1; k < n; k++) {
        uint64_t next = offset_of (check, k);
        if (next - from + size > most || next > to + READ_GAP)
          break;
        to = MAX (to, next + size);
      }
      if (!vp_file_read (check->q->file, from, buffer, (size_t) (to - from),
                         error))
        return false;
    }
    if (!visit (check, i, buffer + (offset - from), error))
      return false;
  }
  return vp_progress_update (check->progress, n, n, error);
}

/* ---- other tables ------------------------------------------------------- */

/* A bitmap that lies nowhere says nothing of the disk's own clusters: no reason
 * to keep leaks, nor to count anew for a place that is not there. */
static bool
count_bitmap_range (Qcow2Check *check, uint64_t offset, uint64_t length,
                    bool *ret_is_there, GError **error)
{
  *ret_is_there = !is_past_end (check, offset, length);
  if (*ret_is_there)
    return qcow2_count_range (check, offset, length, 1, error);
  note_past_end (check, offset, length, 1);
  return true;
}

static bool
count_bitmap (Qcow2Check *check, uint64_t offset, uint32_t entries,
              GError **error)
{
  Qcow2 *q = check->q;
  uint64_t length = (uint64_t) entries * 8;
  if (length > VP_MAX_TABLE_SIZE) {
    CORRUPT (check, "bitmap table is too large");
    return true;
  }
  if (offset & (q->cluster_size - 1)) {
    check->obscure = true; /* nobody knows which clusters are its own */
    CORRUPT (check, "bitmap table offset " X64 " is misaligned", offset);
    return true;
  }
  bool is_there;
  if (!count_bitmap_range (check, offset, length, &is_there, error))
    return false;
  if (!is_there)
    return true;
  g_autofree uint8_t *table = g_malloc (MAX ((size_t) length, 1));
  if (!vp_file_read (q->file, offset, table, (size_t) length, error))
    return false;
  for (uint32_t i = 0; i < entries; i++) {
    uint64_t raw = vp_be64_get (table + 8 * (size_t) i);
    uint64_t data = raw & QCOW2_OFFSET_MASK;
    if ((raw & UINT64_C (0xff000000000001fe)) || (data && raw & 1) ||
        data & (q->cluster_size - 1)) {
      CORRUPT (check, "bitmap table entry " X64 " is invalid", raw);
      continue;
    }
    if (data &&
        !count_bitmap_range (check, data, q->cluster_size, &is_there, error))
      return false;
  }
  return true;
}

/* Bitmaps whose autoclear bit is gone are out of date; their clusters leak,
 * as the specification has it. */
static bool
count_bitmaps (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  if (!(q->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS) || q->n_bitmaps == 0)
    return true;
  uint64_t at = q->bitmaps_offset, end = at + q->bitmaps_size;
  if (q->bitmaps_size > VP_MAX_SNAPSHOT_SIZE ||
      !vp_range_ok (at, q->bitmaps_size, check->file_end)) {
    CORRUPT (check, "bitmap directory is misplaced (" X64 ")", at);
    return true;
  }
  if (!qcow2_count_range (check, at, q->bitmaps_size, 1, error))
    return false;
  for (uint32_t i = 0; i < q->n_bitmaps && at + 24 <= end; i++) {
    uint8_t entry[24];
    if (!vp_file_read (q->file, at, entry, sizeof entry, error) ||
        !count_bitmap (check, vp_be64_get (entry), vp_be32_get (entry + 8),
                       error))
      return false;
    uint64_t rest =
        (uint64_t) vp_be16_get (entry + 18) + vp_be32_get (entry + 20);
    at = vp_round_up (at + 24 + rest, 8);
  }
  return true;
}

static bool
count_snapshot_l1 (Qcow2Check *check, const Qcow2Snapshot *snapshot,
                   GError **error)
{
  const VpSnapshot *facts = snapshot->facts;
  if (snapshot->l1_offset & (check->q->cluster_size - 1)) {
    check->obscure = true;
    CORRUPT (check,
             "snapshot %s (%s) l1_offset=" X64 ": L1 table is not cluster "
             "aligned; snapshot table entry corrupted",
             facts->id, facts->name, snapshot->l1_offset);
    return true;
  }
  if (snapshot->l1_entries > VP_MAX_TABLE_SIZE / 8) {
    check->obscure = true;
    CORRUPT (check,
             "snapshot %s (%s) l1_size=%#" PRIx32 ": L1 table is too large; "
             "snapshot table entry corrupted",
             facts->id, facts->name, snapshot->l1_entries);
    return true;
  }
  return qcow2_count_l1 (check, snapshot->l1_offset, snapshot->l1_entries,
                         false, error);
}

static bool
count_l1_tables (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  if (!qcow2_count_l1 (check, h->l1_offset, h->l1_entries, true, error))
    return false;
  for (guint i = 0; i < q->snapshots->len; i++)
    if (!count_snapshot_l1 (check, g_ptr_array_index (q->snapshots, i), error))
      return false;
  return true;
}

bool
qcow2_count_all (Qcow2Check *check, bool refcounts, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  check->n_l1_entries = 0;
  check->flag_faults = 0;
  check->spills = check->obscure = false;
  check->faulty_l1 = check->rebuild = false;
  g_array_set_size (check->l2, 0);
  vp_counts_clear_counted (check->counts);
  if (!qcow2_count_range (check, 0, q->cluster_size, 1, error) ||
      !count_l1_tables (check, error) ||
      !qcow2_count_range (check, h->snapshots_offset,
                          q->snapshots_end - h->snapshots_offset, 1, error) ||
      !qcow2_count_range (check, q->luks_offset, q->luks_length, 1, error) ||
      !count_bitmaps (check, error))
    return false;
  if (!qcow2_count_l2 (check, error))
    return false;
  /* Last, for a refblock must not be what another names as well. */
  return !refcounts || (qcow2_count_range (check, h->reftable_offset,
                                           q->reftable_entries * 8, 1, error) &&
                        qcow2_count_refblocks (check, error));
}

/* ---- the whole ---------------------------------------------------------- */

static bool
make_counts (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t used;
  if (!vp_file_get_size (q->file, &check->file_end, error) ||
      !vp_file_get_used (q->file, &used, error))
    return false;
  check->n_clusters =
      vp_round_up (check->file_end, q->cluster_size) >> q->header.cluster_bits;
  /* References past the end are kept as far as an allocation might come. */
  uint64_t reach =
      MAX (MIN (4 * check->n_clusters + (1 << 20), VP_COUNTS_MAX_CLUSTERS),
           check->n_clusters + 1);
  uint64_t budget = (used >> q->header.cluster_bits) * 4;
  check->counts = vp_counts_new (
      reach, MAX (MIN_BUDGET, (size_t) MIN (budget, SIZE_MAX / 4)));
  if (check->counts)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: the file is too long to be checked", q->file->name);
  return false;
}

static void
reset_result (Qcow2Check *check)
{
  VpCheckResult *result = check->result;
  GPtrArray *messages = result->messages;
  uint64_t total = result->total_clusters;
  *result = (VpCheckResult){ .messages = messages, .total_clusters = total };
}

/* Refcounts do not fit where they are: all anew, then everything is counted
 * once more, and what is better now was mended. */
static bool
rebuild (Qcow2Check *check, GError **error)
{
  VpCheckResult old = *check->result;
  qcow2_check_note (check, "Rebuilding refcount structure");
  check->quiet = true;
  if (!qcow2_count_all (check, false, error) ||
      !qcow2_rebuild_refcounts (check, error))
    return false;
  g_clear_pointer (&check->counts, vp_counts_free);
  reset_result (check);
  if (!make_counts (check, error) || !qcow2_load_stored (check, error) ||
      !qcow2_count_all (check, true, error) ||
      !qcow2_compare (check, VP_REPAIR_NOTHING, error))
    return false;
  check->quiet = false;
  VpCheckResult *result = check->result;
  result->corruptions_fixed = old.corruptions_fixed;
  result->leaks_fixed = old.leaks_fixed;
  if (result->corruptions < old.corruptions)
    result->corruptions_fixed += old.corruptions - result->corruptions;
  if (result->leaks < old.leaks)
    result->leaks_fixed += old.leaks - result->leaks;
  if (!check->rebuild)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: the rebuilt refcount structure is still broken",
               check->q->file->name);
  return false;
}

static bool
finish_repair (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  VpCheckResult *result = check->result;
  uint64_t marks = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT;
  if (result->corruptions == 0 && result->check_errors == 0 &&
      q->header.version >= 3 && q->header.incompatible & marks) {
    /* What the marks warn of must be gone for good first. */
    if (!vp_tables_flush (q->tables, error))
      return false;
    q->header.incompatible &= ~marks;
    check->changed = true;
    if (!qcow2_store_cell (q, QCOW2_CELL_INCOMPATIBLE, QCOW2_ORDER_MAP, error))
      return false;
  }
  return !check->changed || vp_tables_flush (q->tables, error);
}

/* Entries first, for references follow from them. */
static bool
count_and_mend_entries (Qcow2Check *check, GError **error)
{
  if (!qcow2_count_all (check, true, error))
    return false;
  uint64_t found = check->result->corruptions;
  if (check->repair != VP_REPAIR_ALL || found == 0)
    return true;
  bool was_changed = check->changed;
  check->changed = false;
  if (!qcow2_mend_entries (check, error))
    return false;
  if (!check->changed) {
    check->changed = was_changed;
    return true;
  }
  if (!vp_tables_flush (check->q->tables, error))
    return false;
  reset_result (check);
  check->quiet = true;
  if (!qcow2_count_all (check, true, error))
    return false;
  check->quiet = false;
  if (check->result->corruptions < found)
    check->result->corruptions_fixed = found - check->result->corruptions;
  return true;
}

static bool
mend_refcounts (Qcow2Check *check, const VpCheckResult *before, guint n_notes,
                GError **error)
{
  VpCheckResult *result = check->result;
  if (check->rebuild && check->repair == VP_REPAIR_ALL)
    return rebuild (check, error);
  if (check->rebuild) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "%s: the refcount structures must be rebuilt; repair with "
                 "\"-r all\"",
                 check->q->file->name);
    return false;
  }
  if (result->leaks == before->leaks &&
      result->corruptions == before->corruptions)
    return true;
  /* Once more, and its notes instead of those. */
  if (result->messages && result->messages->len > n_notes)
    g_ptr_array_set_size (result->messages, (gint) n_notes);
  result->leaks = before->leaks;
  result->corruptions = before->corruptions;
  return qcow2_compare (check, check->repair, error);
}

/* Flags that a leak explains are no fault of their own. */
static bool
judge_flags (Qcow2Check *check, uint64_t leaks, guint *n_notes,
             bool *ret_follow, GError **error)
{
  GPtrArray *notes = check->result->messages;
  *ret_follow = false;
  if (leaks == 0 || check->data_file)
    return true;
  /* Mending a leak may call for a flag that went with it. */
  if (check->flag_faults == 0 && check->repair == VP_REPAIR_NOTHING)
    return true;
  if (!qcow2_flags_follow_leaks (check, ret_follow, error))
    return false;
  if (!*ret_follow)
    return true;
  check->flag_faults = 0;
  for (guint i = *n_notes; i-- > 0;)
    if (g_str_has_prefix (g_ptr_array_index (notes, i), "ERROR OFLAG_COPIED")) {
      g_ptr_array_remove_index (notes, i);
      (*n_notes)--;
    }
  return true;
}

/* ---- the snapshot table ------------------------------------------------- */

/* Entries that a version 3 image should not have. */
static uint64_t
count_incomplete (Qcow2Check *check)
{
  Qcow2 *q = check->q;
  uint64_t n = 0;
  for (guint i = 0; q->header.version >= 3 && i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    if (vp_be32_get ((const uint8_t *) g_bytes_get_data (snapshot->raw, NULL) +
                     36) >= 16)
      continue;
    qcow2_check_note (check, "%s snapshot table entry %u is incomplete",
                      check->repair == VP_REPAIR_ALL ? "Repairing" : "ERROR",
                      i);
    n++;
  }
  return n;
}

/* What only a repair may leave out. */
static bool
refuse_snapshots (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  if (q->snapshots_trimmed + q->snapshots_dropped == 0)
    return true;
  if (check->repair != VP_REPAIR_ALL)
    return qcow2_corrupt (q, error,
                          "the snapshot table is too large: %" PRIu32
                          " entries with too much extra metadata, %" PRIu32
                          " overhanging ones; they can be removed with "
                          "\"check -r all\"",
                          q->snapshots_trimmed, q->snapshots_dropped);
  if (q->snapshots_trimmed > 0)
    qcow2_check_note (check,
                      "Discarding too much extra metadata in %" PRIu32
                      " snapshot table entries",
                      q->snapshots_trimmed);
  if (q->snapshots_dropped > 0)
    qcow2_check_note (check, "Discarding %" PRIu32 " overhanging snapshots",
                      q->snapshots_dropped);
  return true;
}

/* Last of all, for a new table takes clusters. */
static bool
finish_snapshots (Qcow2Check *check, GError **error)
{
  Qcow2 *q = check->q;
  VpCheckResult *result = check->result;
  uint64_t n =
      count_incomplete (check) + q->snapshots_trimmed + q->snapshots_dropped;
  if (n == 0)
    return true;
  if (check->repair != VP_REPAIR_ALL || result->corruptions > 0 ||
      result->check_errors > 0) {
    result->corruptions += n;
    return true;
  }
  result->corruptions_fixed += n;
  check->changed = true;
  return vp_tables_flush (q->tables, error) &&
         qcow2_rewrite_snapshots (q, error);
}

/* ---- the whole, in its order -------------------------------------------- */

static bool
run (Qcow2Check *check, GError **error)
{
  bool follow;
  VpCheckResult *result = check->result;
  if (!refuse_snapshots (check, error) || !make_counts (check, error) ||
      !qcow2_load_stored (check, error) ||
      !count_and_mend_entries (check, error))
    return false;
  VpCheckResult before = *result;
  guint n_notes = result->messages ? result->messages->len : 0;
  if (!qcow2_compare (check, VP_REPAIR_NOTHING, error) ||
      !judge_flags (check, result->leaks - before.leaks, &n_notes, &follow,
                    error))
    return false;
  if (check->repair == VP_REPAIR_NOTHING) {
    result->corruptions += check->flag_faults;
    return finish_snapshots (check, error);
  }
  if ((follow && !qcow2_claim_leaks (check, error)) ||
      !mend_refcounts (check, &before, n_notes, error))
    return false;
  bool sound = result->corruptions == 0 && result->check_errors == 0 &&
               result->leaks == 0;
  uint64_t fixed = result->corruptions_fixed;
  if (!qcow2_mend_flags (check, sound, error))
    return false;
  if (follow)
    result->corruptions_fixed = fixed;
  return finish_snapshots (check, error) && finish_repair (check, error);
}

/* Where nobody knows the refcounts nobody knows an end either. */
static void
find_end (Qcow2Check *check)
{
  const Qcow2 *q = check->q;
  uint64_t end = check->n_compared, highest;
  while (vp_counts_highest (check->counts, end, &highest)) {
    if (!qcow2_refcount_unknown (check, highest)) {
      check->result->image_end_offset = (highest + 1) << q->header.cluster_bits;
      return;
    }
    end = highest >> q->refblock_bits << q->refblock_bits;
  }
}

bool
qcow2_check (gpointer state, VpRepair repair, const VpProgress *progress,
             VpCheckResult *result, GError **error)
{
  Qcow2 *q = state;
  /* Tables are read past the cache. */
  if (q->writable && vp_tables_is_dirty (q->tables) &&
      !vp_tables_flush (q->tables, error))
    return false;
  g_autoptr (GArray) l2 = g_array_new (false, false, sizeof (Qcow2CountedL2));
  g_autoptr (GArray) blocks = g_array_new (false, false, sizeof (uint64_t));
  Qcow2Check check = {
    .q = q,
    .repair = repair,
    .progress = progress,
    .result = result,
    .l2 = l2,
    .broken_blocks = blocks,
    .data_file = q->external,
    .max_refcount =
        q->header.refcount_order == 6
            ? UINT64_MAX
            : (UINT64_C (1) << (1u << q->header.refcount_order)) - 1,
  };
  result->total_clusters = q->header.size / q->cluster_size +
                           (q->header.size % q->cluster_size != 0);
  bool ok = run (&check, error);
  if (ok)
    find_end (&check);
  vp_counts_free (check.counts);
  return ok;
}
