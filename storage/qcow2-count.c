/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-count: one more, or one less, user for all clusters that a list of L2
 * tables leads to: what a snapshot costs.
 *
 * Each table is read once, in the order of the file, tables in a row in one
 * go; each refblock is read and written once.  Refblocks are held a window at
 * a time, so that memory stays bounded; a larger file takes several rounds,
 * each over the tables again.
 *
 * It works on the file and not on q->tables: these must be clean and dropped
 * before, and stay so (qcow2_settle ()).  Order, so that a cut leaks at most:
 *
 *     up    refblocks, flush                      | the caller names them
 *     down  the caller's last name is gone | COPIED where one user is left,
 *           flush | refblocks, flush
 *
 * Between these a flag agrees with the stored refcount or with the references
 * that there really are; the difference of the two is a leak. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

#define WINDOW_SIZE ((uint64_t) 36 << 20) /* counts 1 TiB of usual clusters */
#define CHUNK_SIZE  ((uint64_t) 1 << 20)

typedef struct {
  uint64_t offset;
  uint8_t *bytes;
  uint8_t *freed; /* a bit for each cluster whose count became 0 */
  bool dirty;
} Block;

typedef struct {
  Qcow2 *q;
  bool up;
  uint64_t first, end; /* refblocks of this window */
  uint64_t next;       /* the lowest one met behind it */
  uint64_t most;       /* a count's limit */
  Block *blocks;
} Window;

/* ---- the window --------------------------------------------------------- */

static void
clear_blocks (Window *w)
{
  for (uint64_t i = 0; i < w->end - w->first; i++) {
    Block *block = &w->blocks[i];
    g_clear_pointer (&block->bytes, g_free);
    g_clear_pointer (&block->freed, g_free);
    block->dirty = false;
  }
}

static bool
load_block (Window *w, uint64_t number, Block *block, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t offset = number < q->reftable_entries
                        ? vp_be64_get (qcow2_reftable (q) + 8 * number)
                        : 0;
  if (offset == 0 || offset & (q->cluster_size - 1) ||
      offset >= QCOW2_MAX_OFFSET)
    return qcow2_corrupt (q, error,
                          "clusters are in use that refcount table entry "
                          "%" PRIu64 " does not count; check it first",
                          number);
  g_autofree uint8_t *bytes = g_try_malloc ((size_t) q->cluster_size);
  if (!bytes) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                 "%s: no memory for a refcount block", q->file->name);
    return false;
  }
  if (!vp_file_read (q->file, offset, bytes, (size_t) q->cluster_size, error))
    return false;
  block->offset = offset;
  block->bytes = g_steal_pointer (&bytes);
  return true;
}

static void
note_freed (Window *w, Block *block, uint64_t index)
{
  if (!block->freed)
    block->freed =
        g_malloc0 ((size_t) (UINT64_C (1) << w->q->refblock_bits) / 8 + 1);
  block->freed[index / 8] |= (uint8_t) (1u << index % 8);
}

static bool
bad_count (Window *w, uint64_t cluster, uint64_t refcount, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t offset = cluster << q->header.cluster_bits;
  if (refcount == 0)
    return qcow2_corrupt (q, error,
                          "the cluster at 0x%" G_GINT64_MODIFIER
                          "x is in use and has refcount 0; check it first",
                          offset);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: refcounts of %u bits cannot count another user of the "
               "cluster at 0x%" G_GINT64_MODIFIER
               "x; widen them (amend -o refcount_bits)",
               q->file->name, 1u << q->header.refcount_order, offset);
  return false;
}

static inline bool
count_cluster (Window *w, uint64_t cluster, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t number = cluster >> q->refblock_bits;
  if (number < w->first)
    return true;
  if (number >= w->end) {
    w->next = MIN (w->next, number);
    return true;
  }
  Block *block = &w->blocks[number - w->first];
  if (!block->bytes && !load_block (w, number, block, error))
    return false;
  unsigned order = q->header.refcount_order;
  uint64_t index = cluster & ((UINT64_C (1) << q->refblock_bits) - 1);
  uint64_t refcount = order == 4 ? vp_be16_get (block->bytes + 2 * index)
                                 : qcow2_entry_get (block->bytes, order, index);
  if (refcount == 0 || (w->up && refcount >= w->most))
    return bad_count (w, cluster, refcount, error);
  refcount += w->up ? 1 : UINT64_MAX;
  if (order == 4)
    vp_be16_set (block->bytes + 2 * index, (uint16_t) refcount);
  else
    qcow2_entry_set (block->bytes, order, index, refcount);
  block->dirty = true;
  if (refcount == 0)
    note_freed (w, block, index);
  return true;
}

/* ---- walking over tables ------------------------------------------------ */

typedef bool (*Visit) (gpointer user_data, const Qcow2Branch *branch,
                       uint8_t *table, bool *changed, GError **error);

int
qcow2_compare_branches (gconstpointer a, gconstpointer b)
{
  uint64_t left = ((const Qcow2Branch *) a)->table;
  uint64_t right = ((const Qcow2Branch *) b)->table;
  return left < right ? -1 : left > right;
}

/* Branches [from, ...) whose tables lie in a row; the bytes of that row. */
static guint
measure_row (Qcow2 *q, const GArray *branches, guint from, size_t *ret_len)
{
  const Qcow2Branch *b = &g_array_index (branches, Qcow2Branch, from);
  uint64_t start = b->table, most = MAX (CHUNK_SIZE, q->cluster_size);
  uint64_t end = start + q->cluster_size;
  guint to = from + 1;
  for (; to < branches->len; to++) {
    b = &g_array_index (branches, Qcow2Branch, to);
    if (b->table > end || b->table + q->cluster_size - start > most)
      break;
    end = b->table + q->cluster_size;
  }
  *ret_len = (size_t) (end - start);
  return to;
}

static bool
walk (Qcow2 *q, const GArray *branches, Visit visit, gpointer user_data,
      GError **error)
{
  g_autofree uint8_t *row = g_malloc (MAX (CHUNK_SIZE, q->cluster_size));
  guint to;
  for (guint from = 0; from < branches->len; from = to) {
    uint64_t start = g_array_index (branches, Qcow2Branch, from).table;
    size_t len;
    bool changed = false;
    to = measure_row (q, branches, from, &len);
    if (!vp_file_read (q->file, start, row, len, error))
      return false;
    for (guint i = from; i < to; i++) {
      const Qcow2Branch *b = &g_array_index (branches, Qcow2Branch, i);
      if (!visit (user_data, b, row + (b->table - start), &changed, error))
        return false;
    }
    if (changed && !vp_file_write (q->file, start, row, len, error))
      return false;
  }
  return true;
}

static bool
outside (Window *w, uint64_t offset, GError **error)
{
  return qcow2_corrupt (w->q, error,
                        "an L2 table names a place that is misaligned or past "
                        "the end of the file (0x%" G_GINT64_MODIFIER
                        "x); check it first",
                        offset);
}

static bool
count_packed (Window *w, uint64_t raw, uint64_t clusters, GError **error)
{
  Qcow2 *q = w->q;
  Qcow2Packed packed = qcow2_unpack_entry (q, raw);
  uint64_t first = packed.offset >> q->header.cluster_bits;
  uint64_t last = (packed.offset + packed.length - 1) >> q->header.cluster_bits;
  if (first >= clusters)
    return outside (w, packed.offset, error);
  for (uint64_t cluster = first; cluster <= last; cluster++)
    if (!count_cluster (w, cluster, error))
      return false;
  return true;
}

static bool
visit_count (gpointer user_data, const Qcow2Branch *branch, uint8_t *table,
             bool *changed, GError **error)
{
  Window *w = user_data;
  Qcow2 *q = w->q;
  size_t step = qcow2_l2_entry_size (q);
  uint64_t clusters =
      vp_round_up (q->file_end, q->cluster_size) >> q->header.cluster_bits;
  bool elsewhere = q->external;
  if (branch->itself &&
      !count_cluster (w, branch->table >> q->header.cluster_bits, error))
    return false;
  for (uint32_t i = branch->first; i < branch->end && !elsewhere; i++) {
    uint64_t raw = vp_be64_get (table + i * step);
    if (raw & QCOW2_COMPRESSED) {
      if (!count_packed (w, raw, clusters, error))
        return false;
      continue;
    }
    uint64_t offset = raw & QCOW2_OFFSET_MASK;
    if (offset == 0)
      continue;
    uint64_t cluster = offset >> q->header.cluster_bits;
    if (offset & (q->cluster_size - 1) || cluster >= clusters)
      return outside (w, offset, error);
    if (!count_cluster (w, cluster, error))
      return false;
  }
  return true;
}

/* ---- COPIED ------------------------------------------------------------- */

/* The flag that a cluster's count in the window asks for, or as it is. */
static uint64_t
flag_wanted (const Window *w, uint64_t raw)
{
  const Qcow2 *q = w->q;
  uint64_t cluster = (raw & QCOW2_OFFSET_MASK) >> q->header.cluster_bits;
  uint64_t number = cluster >> q->refblock_bits;
  if (cluster == 0 || number < w->first || number >= w->end)
    return raw;
  const uint8_t *bytes = w->blocks[number - w->first].bytes;
  /* Only what was counted down can have come to one. */
  if (!bytes)
    return raw;
  uint64_t index = cluster & ((UINT64_C (1) << q->refblock_bits) - 1);
  bool one = qcow2_entry_get (bytes, q->header.refcount_order, index) == 1;
  return one ? raw | QCOW2_COPIED : raw & ~QCOW2_COPIED;
}

static bool
visit_flags (gpointer user_data, const Qcow2Branch *branch, uint8_t *table,
             bool *changed, GError **error)
{
  const Window *w = user_data;
  size_t step = qcow2_l2_entry_size (w->q);
  for (uint32_t i = branch->first; i < branch->end; i++) {
    uint64_t raw = vp_be64_get (table + i * step);
    if (raw == 0 || raw & QCOW2_COMPRESSED)
      continue;
    uint64_t wanted = flag_wanted (w, raw);
    if (wanted == raw)
      continue;
    vp_be64_set (table + i * step, wanted);
    *changed = true;
  }
  return true;
}

static bool
set_flags (Window *w, const GArray *active, GError **error)
{
  Qcow2 *q = w->q;
  uint8_t *l1 = qcow2_l1 (q);
  if (!walk (q, active, visit_flags, w, error))
    return false;
  for (uint32_t i = 0; i < q->header.l1_entries; i++) {
    uint64_t raw = vp_be64_get (l1 + 8 * (size_t) i);
    uint64_t wanted = flag_wanted (w, raw);
    if (wanted == raw)
      continue;
    vp_be64_set (l1 + 8 * (size_t) i, wanted);
    vp_tables_dirty (q->tables, q->header.l1_offset, (size_t) i * 8, 8,
                     QCOW2_ORDER_MAP);
  }
  return vp_tables_flush (q->tables, error);
}

static bool
visit_clear (gpointer user_data, const Qcow2Branch *branch, uint8_t *table,
             bool *changed, GError **error)
{
  size_t step = qcow2_l2_entry_size (user_data);
  uint8_t any = 0;
  for (uint32_t i = branch->first; i < branch->end; i++) {
    any |= table[i * step];
    table[i * step] &= 0x7f;
  }
  *changed = *changed || any & 0x80;
  return true;
}

bool
qcow2_clear_copied (Qcow2 *q, const GArray *branches, GError **error)
{
  return walk (q, branches, visit_clear, q, error) &&
         vp_file_flush (q->file, error);
}

/* ---- rounds ------------------------------------------------------------- */

static bool
write_blocks (Window *w, GError **error)
{
  for (uint64_t i = 0; i < w->end - w->first; i++)
    if (w->blocks[i].dirty &&
        !vp_file_write (w->q->file, w->blocks[i].offset, w->blocks[i].bytes,
                        (size_t) w->q->cluster_size, error))
      return false;
  return vp_file_flush (w->q->file, error);
}

/* Space that nobody uses any more goes back, in runs of the file's order. */
static void
give_back (Window *w)
{
  Qcow2 *q = w->q;
  uint64_t per_block = UINT64_C (1) << q->refblock_bits, start = 0, count = 0;
  for (uint64_t n = w->first; n < w->end; n++) {
    const uint8_t *freed = w->blocks[n - w->first].freed;
    for (uint64_t i = 0; freed && i < per_block; i++) {
      if (!(freed[i / 8] & 1u << i % 8))
        continue;
      uint64_t cluster = (n << q->refblock_bits) + i;
      if (count > 0 && cluster == start + count) {
        count++;
        continue;
      }
      qcow2_forget_clusters (q, start, count);
      start = cluster;
      count = 1;
    }
  }
  qcow2_forget_clusters (q, start, count);
}

static bool
one_round (Window *w, const GArray *branches, const GArray *active, bool dry,
           GError **error)
{
  if (!walk (w->q, branches, visit_count, w, error))
    return false;
  if (dry)
    return true;
  if (active && !set_flags (w, active, error))
    return false;
  if (!write_blocks (w, error))
    return false;
  give_back (w);
  return true;
}

static bool
all_rounds (Qcow2 *q, const GArray *branches, const GArray *active, bool up,
            bool dry, GError **error)
{
  uint64_t size = MAX (WINDOW_SIZE >> q->header.cluster_bits, 1);
  unsigned bits = 1u << q->header.refcount_order;
  g_autofree Block *blocks = g_new0 (Block, size);
  Window w = { .q = q,
               .up = up,
               .most = bits == 64 ? UINT64_MAX : (UINT64_C (1) << bits) - 1,
               .blocks = blocks };
  bool ok = true;
  do {
    w.end = w.first + size;
    w.next = UINT64_MAX;
    ok = one_round (&w, branches, active, dry, error);
    clear_blocks (&w);
    w.first = w.next;
  } while (ok && w.next != UINT64_MAX);
  return ok;
}

bool
qcow2_can_count (Qcow2 *q, const GArray *branches, bool up, GError **error)
{
  return all_rounds (q, branches, NULL, up, true, error);
}

bool
qcow2_count (Qcow2 *q, const GArray *branches, bool up, GError **error)
{
  uint64_t window = WINDOW_SIZE << q->refblock_bits;
  /* With one window nothing is written before all is known to fit. */
  if (up && q->file_end > window && !qcow2_can_count (q, branches, up, error))
    return false;
  return all_rounds (q, branches, NULL, up, false, error);
}

bool
qcow2_count_down_to_active (Qcow2 *q, const GArray *branches,
                            const GArray *active, GError **error)
{
  return all_rounds (q, branches, active, false, false, error);
}

/* ---- branches ----------------------------------------------------------- */

GArray *
qcow2_branches (Qcow2 *q, const uint8_t *l1, uint64_t entries, GError **error)
{
  g_autoptr (GArray) branches =
      g_array_new (false, false, sizeof (Qcow2Branch));
  uint32_t per_table = (uint32_t) (q->cluster_size / qcow2_l2_entry_size (q));
  uint64_t end = vp_round_up (q->file_end, q->cluster_size);
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t table = vp_be64_get (l1 + 8 * i) & QCOW2_OFFSET_MASK;
    if (table == 0)
      continue;
    if (table & (q->cluster_size - 1) || table >= end) {
      (void) qcow2_corrupt (q, error,
                            "L1 entry %" PRIu64
                            " is misaligned or past the end of the file (0x"
                            "%" G_GINT64_MODIFIER "x); check it first",
                            i, table);
      return NULL;
    }
    Qcow2Branch branch = { table, 0, per_table, true };
    g_array_append_val (branches, branch);
  }
  g_array_sort (branches, qcow2_compare_branches);
  return g_steal_pointer (&branches);
}

bool
qcow2_settle (Qcow2 *q, GError **error)
{
  if (!qcow2_flush (q, error) ||
      !vp_file_get_size (q->file, &q->file_end, error))
    return false;
  vp_tables_drop (q->tables);
  q->packed_end = 0; /* its cluster may be given back */
  return true;
}
