/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-check-map: references from L1 and L2 tables.
 *
 * An L2 table that several L1 entries share is read once, and each of its
 * references counts that often.  Entries of clusters in a row, which is how
 * most tables look, are counted as one run. */
#include "config.h"

#include "storage/qcow2-check.h"

#include <stdarg.h>

#include "storage/error.h"

#define MAX_L1_ENTRIES (UINT64_C (1) << 26)
#define MAX_L2_TABLES  (1u << 23) /* 192 MiB of notes */
#define L1_CHUNK       ((size_t) 64 << 10)

/* ---- COPIED ------------------------------------------------------------- */

/* "COPIED: set iff the refcount is exactly one." */
static bool
flag_fits (const Qcow2Check *check, uint64_t raw, uint64_t cluster)
{
  bool one = vp_counts_get_stored (check->counts, cluster) == 1;
  return one == ((raw & QCOW2_COPIED) != 0) ||
         qcow2_refcount_unknown (check, cluster);
}

char *
qcow2_check_name_entry (int64_t l1_index)
{
  if (l1_index < 0)
    return g_strdup ("data cluster: l2_entry");
  return g_strdup_printf ("L2 cluster: l1_index=%" PRId64 " l1_entry",
                          l1_index);
}

/* An L1 entry, or where l1_index is -1 one of an L2 table. */
static void
check_flag (Qcow2Check *check, int64_t l1_index, uint64_t raw, uint64_t times)
{
  uint64_t cluster = (raw & QCOW2_OFFSET_MASK) >> check->q->header.cluster_bits;
  if (flag_fits (check, raw, cluster))
    return;
  check->flag_faults += times;
  /* A repair goes through them once more, and notes what it does. */
  if (check->repair != VP_REPAIR_NOTHING)
    return;
  g_autofree char *what = qcow2_check_name_entry (l1_index);
  qcow2_check_note (check, "ERROR OFLAG_COPIED %s=%" PRIx64 " refcount=%u",
                    what, raw, vp_counts_get_stored (check->counts, cluster));
}

/* ---- L1 ----------------------------------------------------------------- */

static int
compare_l2 (gconstpointer a, gconstpointer b)
{
  const Qcow2CountedL2 *left = a, *right = b;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Sorted, and each table once. */
static void
merge_l2 (GArray *l2)
{
  guint kept = 0;
  g_array_sort (l2, compare_l2);
  for (guint i = 0; i < l2->len; i++) {
    const Qcow2CountedL2 *from = &g_array_index (l2, Qcow2CountedL2, i);
    Qcow2CountedL2 *last =
        kept ? &g_array_index (l2, Qcow2CountedL2, kept - 1) : NULL;
    if (last && last->offset == from->offset) {
      last->paths += from->paths;
      last->active += from->active;
    } else
      g_array_index (l2, Qcow2CountedL2, kept++) = *from;
  }
  g_array_set_size (l2, kept);
}

static bool
note_l2 (Qcow2Check *check, uint64_t offset, bool active, GError **error)
{
  Qcow2CountedL2 table = { .offset = offset, .paths = 1, .active = active };
  if (check->l2->len > 0) {
    Qcow2CountedL2 *last =
        &g_array_index (check->l2, Qcow2CountedL2, check->l2->len - 1);
    if (last->offset == offset) { /* a cheap guard against one for all */
      last->paths++;
      last->active += active;
      return true;
    }
  }
  if (check->l2->len >= MAX_L2_TABLES)
    merge_l2 (check->l2);
  if (check->l2->len >= MAX_L2_TABLES)
    return qcow2_too_large (check, error);
  g_array_append_val (check->l2, table);
  return true;
}

static bool
count_l1_entry (Qcow2Check *check, uint64_t index, uint64_t raw, bool active,
                GError **error)
{
  Qcow2 *q = check->q;
  uint64_t offset = raw & QCOW2_OFFSET_MASK;
  if (raw & QCOW2_L1_RESERVED) {
    check->faulty_l1 = true;
    CORRUPT (check, "found L1 entry with reserved bits set: %" PRIx64, raw);
  }
  if (offset == 0)
    return true;
  if (!qcow2_count_range (check, offset, q->cluster_size, 1, error))
    return false;
  if (offset & (q->cluster_size - 1)) {
    check->obscure = true;
    CORRUPT (check,
             "l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry "
             "corrupted",
             offset);
    return true;
  }
  if (active)
    check_flag (check, (int64_t) index, raw, 1);
  return offset >= check->file_end || note_l2 (check, offset, active, error);
}

bool
qcow2_count_l1 (Qcow2Check *check, uint64_t offset, uint64_t entries,
                bool active, GError **error)
{
  g_autofree uint8_t *buffer = g_malloc (L1_CHUNK);
  check->n_l1_entries += entries;
  if (check->n_l1_entries > MAX_L1_ENTRIES) {
    check->result->check_errors++;
    qcow2_check_note (check, "too many L1 entries in all snapshots");
    return true;
  }
  if (!qcow2_count_range (check, offset, entries * 8, 1, error))
    return false;
  for (uint64_t done = 0; done < entries * 8;) {
    size_t part = (size_t) MIN (L1_CHUNK, entries * 8 - done);
    if (offset + done >= check->file_end)
      break;
    if (!vp_file_read (check->q->file, offset + done, buffer, part, error))
      return false;
    for (size_t at = 0; at < part; at += 8) {
      uint64_t raw = vp_be64_get (buffer + at);
      if (raw != 0 &&
          !count_l1_entry (check, (done + at) / 8, raw, active, error))
        return false;
    }
    done += part;
  }
  return true;
}

/* ---- L2 ----------------------------------------------------------------- */

typedef struct {
  Qcow2CountedL2 *table;
  uint64_t next_offset; /* where the next cluster would be contiguous */
} Walk;

static void
count_shape (Qcow2Check *check, Walk *walk, uint64_t offset, uint64_t n)
{
  VpCheckResult *result = check->result;
  uint64_t times = walk->table->active;
  if (times == 0)
    return;
  result->allocated_clusters += n * times;
  if (walk->next_offset && offset != walk->next_offset)
    result->fragmented_clusters += times;
  walk->next_offset = offset + n * check->q->cluster_size;
}

/* A fault of an entry counts once for each way that leads to it. */
static void
blame_entry (Qcow2Check *check, Walk *walk, bool mendable, const char *format,
             ...)
{
  va_list args;
  walk->table->faulty = walk->table->faulty || mendable;
  check->obscure = check->obscure || !mendable;
  check->result->corruptions += walk->table->paths;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  qcow2_check_note (check, "ERROR%s", text);
}

static bool
count_packed (Qcow2Check *check, Walk *walk, Qcow2L2 entry, GError **error)
{
  uint64_t raw = entry.raw;
  Qcow2Packed packed = qcow2_unpack_entry (check->q, raw);
  VpCheckResult *result = check->result;
  uint64_t times = walk->table->active;
  if (raw & QCOW2_COPIED)
    blame_entry (check, walk, true,
                 ": coffset=" X64 ": copied flag must never be set for "
                 "compressed clusters",
                 packed.offset);
  if (check->data_file) {
    blame_entry (check, walk, false,
                 " compressed cluster with data file, entry=" X64, raw);
    return true;
  }
  if (entry.bitmap) {
    blame_entry (check, walk, false,
                 " compressed cluster with non-zero subcluster allocation "
                 "bitmap, entry=" X64,
                 raw);
    return true;
  }
  result->allocated_clusters += times;
  result->compressed_clusters += times;
  result->fragmented_clusters += times;
  return qcow2_count_range (check, packed.offset, packed.length,
                            walk->table->paths, error);
}

static bool
count_misaligned (Qcow2Check *check, Walk *walk, Qcow2L2 entry, GError **error)
{
  uint64_t offset = entry.raw & QCOW2_OFFSET_MASK;
  bool data = check->q->extended ? (entry.bitmap & QCOW2_ALL_ALLOCATED) != 0
                                 : !(entry.raw & QCOW2_ZERO);
  blame_entry (check, walk, !data,
               " offset=%" PRIx64 ": %s is not properly aligned; L2 entry "
               "corrupted.",
               offset, data ? "Data cluster" : "Preallocated cluster");
  count_shape (check, walk, offset, 1);
  return check->data_file ||
         qcow2_count_range (check, offset, check->q->cluster_size,
                            walk->table->paths, error);
}

/* n entries that name n clusters in a row, the first as raw says. */
static bool
count_run (Qcow2Check *check, Walk *walk, uint64_t raw, uint64_t n,
           GError **error)
{
  Qcow2 *q = check->q;
  uint64_t offset = raw & QCOW2_OFFSET_MASK;
  uint64_t first = offset >> q->header.cluster_bits;
  count_shape (check, walk, offset, n);
  if (check->data_file) {
    /* Nobody counts there: each cluster belongs to its one user. */
    if (!(raw & QCOW2_COPIED))
      check->flag_faults += n * walk->table->active;
    return true;
  }
  if (first + n <= check->n_clusters) {
    if (!vp_counts_add (check->counts, first, n, walk->table->paths))
      return qcow2_too_large (check, error);
  } else
    for (uint64_t i = 0; i < n; i++)
      if (!qcow2_count_range (check, offset + i * q->cluster_size,
                              q->cluster_size, walk->table->paths, error))
        return false;
  if (walk->table->active == 0 ||
      (raw & QCOW2_COPIED && vp_counts_all_one (check->counts, first, n)))
    return true;
  for (uint64_t i = 0; i < n; i++)
    check_flag (check, -1, raw + i * q->cluster_size, walk->table->active);
  return true;
}

static bool
count_entry (Qcow2Check *check, Walk *walk, Qcow2L2 entry, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t raw = entry.raw, offset = raw & QCOW2_OFFSET_MASK;
  uint64_t reserved = QCOW2_L2_RESERVED;
  if (raw & QCOW2_COMPRESSED)
    return count_packed (check, walk, entry, error);
  if (q->header.version < 3 || q->extended)
    reserved |= QCOW2_ZERO;
  if (raw & reserved)
    blame_entry (check, walk, raw & QCOW2_L2_RESERVED || q->extended,
                 " found l2 entry with reserved bits set: %" PRIx64, raw);
  bool zero = raw & QCOW2_ZERO && !q->extended;
  if (offset == 0 && (zero || !check->data_file || !(raw & QCOW2_COPIED))) {
    if (entry.bitmap & QCOW2_ALL_ALLOCATED)
      blame_entry (check, walk, false,
                   ": Unallocated cluster has non-zero subcluster allocation "
                   "map");
    return true;
  }
  if (entry.bitmap >> 32 & entry.bitmap) /* its place is known all the same */
    blame_entry (check, walk, true,
                 " offset=%" PRIx64 ": Allocated cluster with corrupted "
                 "subcluster allocation bitmap",
                 offset);
  if (offset & (q->cluster_size - 1))
    return count_misaligned (check, walk, entry, error);
  return count_run (check, walk, raw, 1, error);
}

/* A plain entry is one that can be part of a run. */
static bool
visit_l2 (Qcow2Check *check, guint index, const uint8_t *bytes, GError **error)
{
  Qcow2 *q = check->q;
  Walk walk = { .table = &g_array_index (check->l2, Qcow2CountedL2, index) };
  uint64_t entries = UINT64_C (1) << q->l2_bits;
  uint64_t odd =
      QCOW2_COMPRESSED | QCOW2_L2_RESERVED | QCOW2_ZERO | (q->cluster_size - 1);
  for (uint64_t i = 0, n; i < entries; i += n) {
    Qcow2L2 entry = qcow2_l2_get (q, bytes, i);
    n = 1;
    if (entry.raw == 0 && entry.bitmap == 0)
      continue;
    if (q->extended || G_UNLIKELY (entry.raw & odd) ||
        (entry.raw & QCOW2_OFFSET_MASK) == 0) {
      if (!count_entry (check, &walk, entry, error))
        return false;
      continue;
    }
    while (i + n < entries &&
           vp_be64_get (bytes + 8 * (i + n)) == entry.raw + n * q->cluster_size)
      n++;
    if (!count_run (check, &walk, entry.raw, n, error))
      return false;
  }
  return true;
}

static uint64_t
l2_offset (const Qcow2Check *check, guint index)
{
  return g_array_index (check->l2, Qcow2CountedL2, index).offset;
}

bool
qcow2_count_l2 (Qcow2Check *check, GError **error)
{
  merge_l2 (check->l2);
  return qcow2_read_tables (check, check->l2->len, l2_offset,
                            (size_t) check->q->cluster_size, visit_l2, error);
}
