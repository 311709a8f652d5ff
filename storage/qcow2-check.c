/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-check: counts all references anew and compares.
 *
 *     1  every table that the header names, and every L1
 *     2  each L2 table once, however many snapshots share it
 *     3  counted against stored refcounts, refblock by refblock
 *     4  repair: refcounts first, then the COPIED flags that follow from them
 *
 * Counts are 16-bit pages made where a reference falls, so that memory follows
 * the data and not the file's length.  A fault is noted and passed by; nothing
 * found here is trusted. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/check.h"
#include "storage/error.h"

#define PAGE_BITS      12u
#define PAGE_LEN       (UINT64_C (1) << PAGE_BITS)
#define MAX_PAGES      16384u /* 128 MiB */
#define MAX_L1_ENTRIES (UINT64_C (1) << 26)
#define MAX_COUNT      UINT16_MAX

typedef struct {
  uint64_t offset;
  uint32_t paths; /* L1 entries that lead here */
  bool active;    /* one of them in the active L1 */
} Table;

typedef struct {
  Qcow2 *q;
  VpRepair repair;
  const VpProgress *progress;
  VpCheckResult *result;
  GHashTable *pages;  /* number -> uint16_t[PAGE_LEN] */
  GHashTable *tables; /* offset -> Table, owned by l2 */
  GPtrArray *l2;      /* Table, in the order of the L1s */
  uint64_t file_end;
  uint64_t highest; /* cluster with a reference */
  uint64_t end;     /* highest cluster with a reference or a refcount */
  uint64_t n_l1_entries;
  uint64_t unfixable; /* references without a refblock */
  bool changed;
} Check;

#define X64 "0x%" G_GINT64_MODIFIER "x"

#define CORRUPT(check, ...)                                                    \
  do {                                                                         \
    (check)->result->corruptions++;                                            \
    vp_check_result_note ((check)->result, "ERROR " __VA_ARGS__);              \
  } while (0)

/* ---- counting ----------------------------------------------------------- */

static uint16_t *
get_page (const Check *check, uint64_t cluster)
{
  uint64_t number = cluster >> PAGE_BITS;
  return g_hash_table_lookup (check->pages, &number);
}

static bool
add_reference (Check *check, uint64_t cluster, uint32_t times, GError **error)
{
  uint16_t *page = get_page (check, cluster);
  if (!page) {
    if (g_hash_table_size (check->pages) >= MAX_PAGES) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                   "%s: too large, or too scattered, to be checked",
                   check->q->file->name);
      return false;
    }
    uint64_t *key = g_new (uint64_t, 1);
    *key = cluster >> PAGE_BITS;
    page = g_new0 (uint16_t, PAGE_LEN);
    g_hash_table_insert (check->pages, key, page);
  }
  uint32_t sum = page[cluster % PAGE_LEN] + MIN (times, MAX_COUNT);
  page[cluster % PAGE_LEN] = (uint16_t) MIN (sum, MAX_COUNT);
  check->highest = MAX (check->highest, cluster);
  return true;
}

static uint64_t
get_references (const Check *check, uint64_t cluster)
{
  const uint16_t *page = get_page (check, cluster);
  return page ? page[cluster % PAGE_LEN] : 0;
}

/* A table, or guest data, at [offset, offset + length). */
static bool
count_range (Check *check, const char *what, uint64_t offset, uint64_t length,
             uint32_t times, GError **error)
{
  Qcow2 *q = check->q;
  if (length == 0)
    return true;
  uint64_t end = vp_round_up (check->file_end, q->cluster_size);
  if (!vp_range_ok (offset, length, QCOW2_MAX_OFFSET) ||
      vp_round_down (offset, q->cluster_size) >= end) {
    CORRUPT (check, "%s points past the end of the file (" X64 ")", what,
             offset);
    return true;
  }
  uint64_t first = offset >> q->header.cluster_bits;
  uint64_t last = (offset + length - 1) >> q->header.cluster_bits;
  for (uint64_t cluster = first; cluster <= last; cluster++)
    if (!add_reference (check, cluster, times, error))
      return false;
  return true;
}

static bool
count_table (Check *check, const char *what, uint64_t offset, uint64_t length,
             GError **error)
{
  if (offset & (check->q->cluster_size - 1)) {
    CORRUPT (check, "%s is not cluster aligned (" X64 ")", what, offset);
    return true;
  }
  return count_range (check, what, offset, length, 1, error);
}

/* ---- L1 tables ---------------------------------------------------------- */

/* "COPIED: set iff the refcount is exactly one." */
static bool
check_copied (Check *check, const char *what, uint64_t raw, uint64_t offset,
              GError **error)
{
  uint64_t refcount;
  if (!qcow2_get_refcount (check->q, offset >> check->q->header.cluster_bits,
                           &refcount, NULL))
    refcount = 0; /* the refblock's own fault is reported elsewhere */
  if ((refcount == 1) != ((raw & QCOW2_COPIED) != 0))
    CORRUPT (check, "OFLAG_COPIED %s: entry=" X64 " refcount=%" PRIu64, what,
             raw, refcount);
  return vp_tables_trim (check->q->tables, error);
}

static void
note_l2 (Check *check, uint64_t offset, bool active)
{
  Table *table = g_hash_table_lookup (check->tables, &offset);
  if (!table) {
    table = g_new0 (Table, 1);
    table->offset = offset;
    g_hash_table_insert (check->tables, &table->offset, table);
    g_ptr_array_add (check->l2, table);
  }
  table->paths++;
  table->active = table->active || active;
}

static bool
count_l1_entry (Check *check, uint64_t raw, bool active, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t offset = raw & QCOW2_OFFSET_MASK;
  if (raw & QCOW2_L1_RESERVED)
    CORRUPT (check, "L1 entry " X64 " has reserved bits set", raw);
  if (offset == 0)
    return true;
  if (offset & (q->cluster_size - 1)) {
    CORRUPT (check, "L2 table is not cluster aligned (" X64 ")", offset);
    return true;
  }
  if (!count_range (check, "L2 table", offset, q->cluster_size, 1, error))
    return false;
  if (offset < check->file_end)
    note_l2 (check, offset, active);
  return !active || check_copied (check, "L2 table", raw, offset, error);
}

static bool
count_l1 (Check *check, uint64_t offset, uint64_t entries, bool active,
          GError **error)
{
  uint8_t buffer[4096];
  if (entries * 8 > VP_MAX_TABLE_SIZE) {
    CORRUPT (check, "L1 table is too large (%" PRIu64 " entries)", entries);
    return true;
  }
  check->n_l1_entries += entries;
  if (check->n_l1_entries > MAX_L1_ENTRIES) {
    check->result->check_errors++;
    vp_check_result_note (check->result,
                          "too many L1 entries in all snapshots");
    return true;
  }
  if (!count_table (check, "L1 table", offset, entries * 8, error))
    return false;
  for (uint64_t i = 0; i < entries; i++) {
    size_t at = (size_t) (i * 8 % sizeof buffer);
    if (at == 0 &&
        !vp_file_read (check->q->file, offset + i * 8, buffer,
                       (size_t) MIN (sizeof buffer, (entries - i) * 8), error))
      return false;
    if (!count_l1_entry (check, vp_be64_get (buffer + at), active, error))
      return false;
  }
  return true;
}

/* ---- L2 tables ---------------------------------------------------------- */

typedef struct {
  const Table *table;
  uint64_t next_offset; /* where the next cluster would be contiguous */
} Walk;

static void
count_shape (Check *check, Walk *walk, uint64_t offset)
{
  VpCheckResult *result = check->result;
  result->allocated_clusters++;
  if (walk->next_offset && offset != walk->next_offset)
    result->fragmented_clusters++;
  walk->next_offset = offset + check->q->cluster_size;
}

static bool
count_packed (Check *check, Walk *walk, uint64_t raw, GError **error)
{
  Qcow2Packed packed = qcow2_unpack_entry (check->q, raw);
  if (raw & QCOW2_COPIED)
    CORRUPT (check, "compressed cluster has OFLAG_COPIED: entry=" X64, raw);
  if (walk->table->active) {
    check->result->allocated_clusters++;
    check->result->compressed_clusters++;
    check->result->fragmented_clusters++;
  }
  /* The last sectors may lie past the end of the file: only what begins
   * there is wrong. */
  return count_range (check, "compressed cluster", packed.offset, packed.length,
                      walk->table->paths, error);
}

static bool
count_l2_entry (Check *check, Walk *walk, uint64_t raw, GError **error)
{
  Qcow2 *q = check->q;
  if (raw == 0)
    return true;
  if (raw & QCOW2_COMPRESSED)
    return count_packed (check, walk, raw, error);
  uint64_t reserved = QCOW2_L2_RESERVED;
  if (q->header.version < 3)
    reserved |= QCOW2_ZERO;
  if (raw & reserved)
    CORRUPT (check, "L2 entry " X64 " has reserved bits set", raw);
  uint64_t offset = raw & QCOW2_OFFSET_MASK;
  if (offset == 0)
    return true;
  if (offset & (q->cluster_size - 1)) {
    CORRUPT (check, "data cluster is not cluster aligned: entry=" X64, raw);
    return true;
  }
  if (walk->table->active)
    count_shape (check, walk, offset);
  if (!count_range (check, "data cluster", offset, q->cluster_size,
                    walk->table->paths, error))
    return false;
  return !walk->table->active ||
         check_copied (check, "data cluster", raw, offset, error);
}

static bool
count_l2 (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  size_t size = (size_t) q->cluster_size;
  g_autofree uint8_t *buffer = g_malloc (size);
  for (guint i = 0; i < check->l2->len; i++) {
    Walk walk = { .table = g_ptr_array_index (check->l2, i) };
    if (!vp_progress_update (check->progress, i, check->l2->len, error) ||
        !vp_file_read (q->file, walk.table->offset, buffer, size, error))
      return false;
    for (size_t at = 0; at < size; at += 8)
      if (!count_l2_entry (check, &walk, vp_be64_get (buffer + at), error))
        return false;
  }
  return vp_progress_update (check->progress, check->l2->len, check->l2->len,
                             error);
}

/* ---- other tables ------------------------------------------------------- */

static bool
count_bitmap (Check *check, uint64_t offset, uint32_t entries, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t length = (uint64_t) entries * 8;
  if (length > VP_MAX_TABLE_SIZE) {
    CORRUPT (check, "bitmap table is too large");
    return true;
  }
  if (!count_table (check, "bitmap table", offset, length, error) ||
      !vp_range_ok (offset, length, check->file_end))
    return !error || !*error;
  g_autofree uint8_t *table = g_malloc (MAX ((size_t) length, 1));
  if (!vp_file_read (q->file, offset, table, (size_t) length, error))
    return false;
  for (uint32_t i = 0; i < entries; i++) {
    uint64_t data = vp_be64_get (table + 8 * (size_t) i) & QCOW2_OFFSET_MASK;
    if (data &&
        !count_table (check, "bitmap data", data, q->cluster_size, error))
      return false;
  }
  return true;
}

/* Bitmaps whose autoclear bit is gone are out of date; their clusters leak,
 * as the specification has it. */
static bool
count_bitmaps (Check *check, GError **error)
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
  if (!count_table (check, "bitmap directory", at, q->bitmaps_size, error))
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
count_refblocks (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  for (uint64_t i = 0; i < q->reftable_entries; i++) {
    uint64_t raw = vp_be64_get (qcow2_reftable (q) + 8 * i);
    if (raw == 0)
      continue;
    if (raw & QCOW2_TABLE_RESERVED || raw & (q->cluster_size - 1)) {
      CORRUPT (check,
               "refcount block %" PRIu64
               " is not cluster aligned; refcount table entry "
               "corrupted",
               i);
      continue;
    }
    if (!count_range (check, "refcount block", raw, q->cluster_size, 1, error))
      return false;
    uint64_t references = get_references (check, raw >> q->header.cluster_bits);
    if (references > 1)
      CORRUPT (check, "refcount block %" PRIu64 " refcount=%" PRIu64, i,
               references);
  }
  return true;
}

static bool
count_all (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  if (!count_table (check, "header", 0, q->cluster_size, error) ||
      !count_l1 (check, h->l1_offset, h->l1_entries, true, error))
    return false;
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    if (!count_l1 (check, snapshot->l1_offset, snapshot->l1_entries, false,
                   error))
      return false;
  }
  return count_table (check, "snapshot table", h->snapshots_offset,
                      q->snapshots_end - h->snapshots_offset, error) &&
         count_bitmaps (check, error) &&
         count_table (check, "refcount table", h->reftable_offset,
                      q->reftable_entries * 8, error) &&
         count_refblocks (check, error) && count_l2 (check, error);
}

/* ---- comparing ---------------------------------------------------------- */

static bool
mend_refcount (Check *check, uint64_t cluster, uint64_t references,
               bool *ret_mended, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t most = q->header.refcount_order == 6
                      ? UINT64_MAX
                      : (UINT64_C (1) << (1u << q->header.refcount_order)) - 1;
  *ret_mended = references <= most && references < MAX_COUNT;
  if (!*ret_mended)
    return true;
  check->changed = true;
  return qcow2_set_refcount (q, cluster, references, error);
}

static bool
compare_cluster (Check *check, uint64_t cluster, uint64_t refcount,
                 GError **error)
{
  VpCheckResult *result = check->result;
  uint64_t references = get_references (check, cluster);
  bool mended = false;
  /* A count that ran into its limit may be anything above. */
  if (refcount == references ||
      (references == MAX_COUNT && refcount > references))
    return true;
  bool leak = refcount > references;
  if (check->repair == VP_REPAIR_ALL ||
      (leak && check->repair == VP_REPAIR_LEAKS))
    if (!mend_refcount (check, cluster, references, &mended, error))
      return false;
  vp_check_result_note (
      result, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
      mended ? "Repairing"
      : leak ? "Leaked"
             : "ERROR",
      cluster, refcount, references);
  uint64_t *counter = leak     ? mended ? &result->leaks_fixed : &result->leaks
                      : mended ? &result->corruptions_fixed
                               : &result->corruptions;
  (*counter)++;
  if (refcount > 0 && !mended)
    check->end = MAX (check->end, cluster);
  return true;
}

static bool
is_hole (Check *check, uint64_t offset)
{
  bool data;
  uint64_t length;
  return offset >= check->file_end ||
         (vp_file_extent (check->q->file, offset, check->q->cluster_size, &data,
                          &length, NULL) &&
          !data && length >= check->q->cluster_size);
}

static bool
compare_block (Check *check, uint64_t number, uint64_t offset, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t count = UINT64_C (1) << q->refblock_bits;
  uint64_t first = number << q->refblock_bits;
  if (is_hole (check, offset) && first > check->highest)
    return true;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t refcount;
    /* Loaded anew each time: a repair may have moved the cache. */
    if (!qcow2_get_refcount (q, first + i, &refcount, error) ||
        !compare_cluster (check, first + i, refcount, error))
      return false;
  }
  return vp_tables_trim (q->tables, error);
}

static int
compare_numbers (gconstpointer a, gconstpointer b)
{
  uint64_t left = *(const uint64_t *) a, right = *(const uint64_t *) b;
  return left < right ? -1 : left > right;
}

/* References to clusters that no refblock counts. */
static void
compare_uncounted (Check *check)
{
  Qcow2 *q = check->q;
  g_autoptr (GArray) numbers = g_array_new (false, false, sizeof (uint64_t));
  GHashTableIter iter;
  gpointer key;
  g_hash_table_iter_init (&iter, check->pages);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    g_array_append_val (numbers, *(uint64_t *) key);
  g_array_sort (numbers, compare_numbers);
  const uint8_t *reftable = qcow2_reftable (q);
  for (guint n = 0; n < numbers->len; n++) {
    uint64_t first = g_array_index (numbers, uint64_t, n) << PAGE_BITS;
    for (uint64_t i = 0; i < PAGE_LEN; i++) {
      uint64_t block = (first + i) >> q->refblock_bits;
      uint64_t references = get_references (check, first + i);
      if (references == 0 || (block < q->reftable_entries &&
                              vp_be64_get (reftable + 8 * block) != 0))
        continue;
      check->unfixable++;
      CORRUPT (check, "cluster %" PRIu64 " refcount=0 reference=%" PRIu64,
               first + i, references);
    }
  }
}

static bool
compare_all (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  for (uint64_t i = 0; i < q->reftable_entries; i++) {
    uint64_t raw = vp_be64_get (qcow2_reftable (q) + 8 * i);
    if (raw == 0 || raw & (q->cluster_size - 1) || raw >= QCOW2_MAX_OFFSET)
      continue;
    if (!compare_block (check, i, raw, error))
      return false;
  }
  compare_uncounted (check);
  return true;
}

/* ---- repair ------------------------------------------------------------- */

/* The flag that refcount and references want; an entry without place or
 * packed keeps its own. */
static bool
flag_wanted (Check *check, uint64_t raw, bool *ret_set, GError **error)
{
  uint64_t offset = raw & QCOW2_OFFSET_MASK, refcount;
  if (!qcow2_get_refcount (check->q, offset >> check->q->header.cluster_bits,
                           &refcount, error))
    return false;
  *ret_set = refcount == 1;
  return true;
}

static bool
mend_flag (Check *check, uint64_t table, size_t size, size_t at, bool is_l2,
           GError **error)
{
  Qcow2 *q = check->q;
  uint8_t *bytes = vp_tables_load (q->tables, table, size, error);
  if (!bytes)
    return false;
  uint64_t raw = vp_be64_get (bytes + at);
  bool set;
  if ((raw & QCOW2_OFFSET_MASK) == 0 || (is_l2 && raw & QCOW2_COMPRESSED) ||
      (raw & QCOW2_OFFSET_MASK) & (q->cluster_size - 1))
    return true;
  if (!flag_wanted (check, raw, &set, error))
    return false;
  if (set == ((raw & QCOW2_COPIED) != 0))
    return true;
  vp_be64_set (bytes + at, raw ^ QCOW2_COPIED);
  vp_tables_dirty (q->tables, table, at, 8, QCOW2_ORDER_MAP);
  check->changed = true;
  if (check->result->corruptions > 0) {
    check->result->corruptions--;
    check->result->corruptions_fixed++;
  }
  return true;
}

static bool
mend_flags (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  const Qcow2Header *h = &q->header;
  for (uint32_t i = 0; i < h->l1_entries; i++)
    if (!mend_flag (check, h->l1_offset, (size_t) h->l1_entries * 8,
                    (size_t) i * 8, false, error))
      return false;
  for (guint i = 0; i < check->l2->len; i++) {
    const Table *table = g_ptr_array_index (check->l2, i);
    for (size_t at = 0; table->active && at < q->cluster_size; at += 8)
      if (!mend_flag (check, table->offset, (size_t) q->cluster_size, at, true,
                      error))
        return false;
    if (!vp_tables_trim (q->tables, error))
      return false;
  }
  return true;
}

static bool
finish_repair (Check *check, GError **error)
{
  Qcow2 *q = check->q;
  uint64_t marks =
      QCOW2_INCOMPATIBLE_DIRTY |
      (check->repair == VP_REPAIR_ALL ? QCOW2_INCOMPATIBLE_CORRUPT : 0);
  bool clean =
      check->result->corruptions == 0 && check->result->check_errors == 0;
  /* Flags follow refcounts that are right. */
  if (check->changed || check->repair == VP_REPAIR_ALL)
    if (check->unfixable == 0 && !mend_flags (check, error))
      return false;
  clean = clean ||
          (check->result->corruptions == 0 && check->result->check_errors == 0);
  if (clean && q->header.incompatible & marks) {
    q->header.incompatible &= ~marks;
    check->changed = true;
    if (!qcow2_store_cell (q, QCOW2_CELL_INCOMPATIBLE, QCOW2_ORDER_MAP, error))
      return false;
  }
  return !check->changed || vp_tables_flush (q->tables, error);
}

bool
qcow2_check (gpointer state, VpRepair repair, const VpProgress *progress,
             VpCheckResult *result, GError **error)
{
  Qcow2 *q = state;
  if (repair != VP_REPAIR_NOTHING && !vp_tables_flush (q->tables, error))
    return false;
  Check check = {
    .q = q, .repair = repair, .progress = progress, .result = result
  };
  if (!vp_file_get_size (q->file, &check.file_end, error))
    return false;
  g_autoptr (GHashTable) pages =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  g_autoptr (GHashTable) tables =
      g_hash_table_new (g_int64_hash, g_int64_equal);
  g_autoptr (GPtrArray) l2 = g_ptr_array_new_with_free_func (g_free);
  check.pages = pages;
  check.tables = tables;
  check.l2 = l2;
  result->total_clusters = q->header.size / q->cluster_size +
                           (q->header.size % q->cluster_size != 0);
  if (!count_all (&check, error) || !compare_all (&check, error))
    return false;
  result->image_end_offset = (MAX (check.highest, check.end) + 1)
                             << q->header.cluster_bits;
  return repair == VP_REPAIR_NOTHING || finish_repair (&check, error);
}
