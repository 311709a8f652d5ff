/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-check-refcount: what the refblocks say, and whether it is what was
 * counted.
 *
 * A refcount that is too high leaks; one that is too low will lose data as
 * soon as somebody writes.  Mended in place only where the refblock itself
 * belongs to nobody else; else everything is rebuilt (qcow2-repair.c). */
#include "config.h"

#include "storage/qcow2-check.h"

#include <string.h>

#include "storage/error.h"

/* ---- what is stored ----------------------------------------------------- */

static uint64_t
reftable_entry (const Qcow2Check *check, uint64_t number)
{
  return vp_be64_get (qcow2_reftable (check->q) + 8 * number);
}

/* But for the reserved bits, which are another fault. */
static uint64_t
block_place (uint64_t raw)
{
  return raw & ~QCOW2_TABLE_RESERVED;
}

static bool
block_is_sane (const Qcow2 *q, uint64_t raw)
{
  return (block_place (raw) & (q->cluster_size - 1)) == 0;
}

typedef struct {
  uint64_t offset, number;
} Block;

static int
compare_blocks (gconstpointer a, gconstpointer b)
{
  const Block *left = a, *right = b;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Entries of 16 bits, which are what nearly every image has. */
static void
load_16 (VpCountsPage *page, size_t at, const uint8_t *from, size_t n)
{
  bool many = false;
  for (size_t i = 0; i < n; i++) {
    uint16_t value = vp_be16_get (from + 2 * i);
    many |= value >= VP_COUNTS_MANY;
    page->stored[at + i] =
        (uint8_t) (value >= VP_COUNTS_MANY ? VP_COUNTS_MANY : value);
  }
  page->has_many = page->has_many || many;
}

static void
load_any (VpCountsPage *page, size_t at, const uint8_t *block, unsigned order,
          uint64_t index, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint64_t value = qcow2_entry_get (block, order, index + i);
    page->has_many = page->has_many || value >= VP_COUNTS_MANY;
    page->stored[at + i] = (uint8_t) MIN (value, VP_COUNTS_MANY);
  }
}

static bool
all_zero (const uint8_t *bytes, size_t len)
{
  return len == 0 || (bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0);
}

static bool
load_block (Qcow2Check *check, uint64_t number, const uint8_t *bytes,
            GError **error)
{
  Qcow2 *q = check->q;
  unsigned order = q->header.refcount_order;
  uint64_t first = number << q->refblock_bits;
  uint64_t end = MIN (first + (UINT64_C (1) << q->refblock_bits),
                      vp_counts_get_size (check->counts));
  if (all_zero (bytes, (size_t) q->cluster_size))
    return true;
  for (uint64_t cluster = first, n; cluster < end; cluster += n) {
    size_t at = cluster % VP_COUNTS_PAGE;
    n = MIN (end - cluster, VP_COUNTS_PAGE - at);
    VpCountsPage *page = vp_counts_make_page (check->counts, cluster);
    if (!page)
      return qcow2_too_large (check, error);
    if (order == 4)
      load_16 (page, at, bytes + 2 * (cluster - first), (size_t) n);
    else
      load_any (page, at, bytes, order, cluster - first, (size_t) n);
  }
  return true;
}

static GArray *
collect_blocks (Qcow2Check *check)
{
  Qcow2 *q = check->q;
  GArray *blocks = g_array_new (false, false, sizeof (Block));
  uint64_t most = (vp_counts_get_size (check->counts) >> q->refblock_bits) + 1;
  g_array_set_size (check->broken_blocks, 0);
  for (uint64_t i = 0; i < MIN (q->reftable_entries, most); i++) {
    Block block = { reftable_entry (check, i), i };
    if (block.offset == 0)
      continue;
    if (!block_is_sane (q, block.offset)) {
      g_array_append_val (check->broken_blocks, i);
      continue;
    }
    block.offset = block_place (block.offset);
    g_array_append_val (blocks, block);
  }
  g_array_sort (blocks, compare_blocks);
  return blocks;
}

static bool
visit_block (Qcow2Check *check, guint index, const uint8_t *bytes,
             GError **error)
{
  const Block *block = &g_array_index (check->blocks, Block, index);
  return load_block (check, block->number, bytes, error);
}

static uint64_t
block_offset (const Qcow2Check *check, guint index)
{
  return g_array_index (check->blocks, Block, index).offset;
}

bool
qcow2_load_stored (Qcow2Check *check, GError **error)
{
  check->blocks = collect_blocks (check);
  bool ok =
      qcow2_read_tables (check, check->blocks->len, block_offset,
                         (size_t) check->q->cluster_size, visit_block, error);
  g_clear_pointer (&check->blocks, g_array_unref);
  return ok;
}

bool
qcow2_refcount_unknown (const Qcow2Check *check, uint64_t cluster)
{
  uint64_t number = cluster >> check->q->refblock_bits;
  guint from = 0, to = check->broken_blocks->len;
  while (from < to) {
    guint middle = from + (to - from) / 2;
    uint64_t found = g_array_index (check->broken_blocks, uint64_t, middle);
    if (found == number)
      return true;
    if (found < number)
      from = middle + 1;
    else
      to = middle;
  }
  return false;
}

/* ---- refblocks as clusters in use --------------------------------------- */

static bool
count_block (Qcow2Check *check, uint64_t number, uint64_t raw, GError **error)
{
  Qcow2 *q = check->q;
  if (raw & QCOW2_TABLE_RESERVED) {
    check->rebuild = true;
    CORRUPT (check, "refcount table entry %" PRIu64 " has reserved bits set",
             number);
    return true;
  }
  if (!block_is_sane (q, raw)) {
    check->rebuild = true;
    CORRUPT (check,
             "refcount block %" PRIu64 " is not cluster aligned; refcount "
             "table entry corrupted",
             number);
    return true;
  }
  if (raw >> q->header.cluster_bits >= check->n_clusters) {
    check->rebuild = true;
    CORRUPT (check, "refcount block %" PRIu64 " is outside image", number);
    return true;
  }
  if (!qcow2_count_range (check, raw, q->cluster_size, 1, error))
    return false;
  uint64_t count = vp_counts_get (check->counts, raw >> q->header.cluster_bits);
  if (count == 1)
    return true;
  check->rebuild = true;
  if (check->max_refcount > 1) /* else it is an overflow, told later */
    CORRUPT (check, "refcount block %" PRIu64 " refcount=%" PRIu64, number,
             count);
  return true;
}

/* Mending refcounts writes to the reftable, and so it must be nobody else's
 * either. */
static void
look_at_reftable (Qcow2Check *check)
{
  const Qcow2Header *h = &check->q->header;
  uint64_t first = h->reftable_offset >> h->cluster_bits;
  for (uint64_t i = 0; i < h->reftable_clusters; i++)
    if (vp_counts_get (check->counts, first + i) > 1)
      check->rebuild = true;
}

bool
qcow2_count_refblocks (Qcow2Check *check, GError **error)
{
  look_at_reftable (check);
  for (uint64_t i = 0; i < check->q->reftable_entries; i++) {
    uint64_t raw = reftable_entry (check, i);
    if (raw != 0 && !count_block (check, i, raw, error))
      return false;
  }
  return true;
}

/* ---- comparing ---------------------------------------------------------- */

static bool
has_block (const Qcow2Check *check, uint64_t cluster)
{
  uint64_t number = cluster >> check->q->refblock_bits;
  return number < check->q->reftable_entries &&
         reftable_entry (check, number) != 0;
}

static bool
mend (Qcow2Check *check, VpCountsPage *page, uint64_t cluster, uint64_t count,
      GError **error)
{
  page->stored[cluster % VP_COUNTS_PAGE] =
      (uint8_t) MIN (count, VP_COUNTS_MANY);
  page->has_many = page->has_many || count >= VP_COUNTS_MANY;
  check->changed = true;
  return qcow2_set_refcount (check->q, cluster, count, error) &&
         vp_tables_trim (check->q->tables, error);
}

/* What a narrow refcount cannot hold cannot be mended either. */
static uint64_t
clip_count (Qcow2Check *check, uint64_t cluster, uint64_t count)
{
  if (count <= check->max_refcount)
    return count;
  check->result->corruptions += count - check->max_refcount;
  qcow2_check_note (check,
                    "ERROR: overflow cluster offset=" X64
                    "; amend -o refcount_bits=... widens the refcounts",
                    cluster << check->q->header.cluster_bits);
  return check->max_refcount;
}

static bool
compare_cluster (Qcow2Check *check, VpCountsPage *page, uint64_t cluster,
                 VpRepair repair, GError **error)
{
  VpCheckResult *result = check->result;
  uint64_t stored = page->stored[cluster % VP_COUNTS_PAGE];
  uint64_t count =
      clip_count (check, cluster, vp_counts_get (check->counts, cluster));
  if (qcow2_refcount_unknown (check, cluster)) {
    result->check_errors++;
    qcow2_check_note (check, "Can't get refcount for cluster %" PRIu64,
                      cluster);
    return true;
  }
  /* A refblock in a bad place gives no more than that it is many. */
  if (stored == VP_COUNTS_MANY && !check->rebuild &&
      !qcow2_get_refcount (check->q, cluster, &stored, error))
    return false;
  if (stored == count)
    return true;
  bool leak = stored > count;
  bool mended = has_block (check, cluster) && !(leak && check->obscure) &&
                (repair == VP_REPAIR_ALL || (leak && repair != 0));
  if (stored == 0 &&
      (!has_block (check, cluster) || check->repair == VP_REPAIR_LEAKS))
    check->rebuild = true;
  qcow2_check_note (
      check, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
      mended ? "Repairing"
      : leak ? "Leaked"
             : "ERROR",
      cluster, stored, count);
  uint64_t *counter = leak     ? mended ? &result->leaks_fixed : &result->leaks
                      : mended ? &result->corruptions_fixed
                               : &result->corruptions;
  (*counter)++;
  return !mended || mend (check, page, cluster, count, error);
}

static bool
page_differs (const VpCountsPage *page, size_t len)
{
  return page->wide || page->has_many ||
         memcmp (page->counted, page->stored, len) != 0;
}

static bool
compare_page (Qcow2Check *check, uint64_t first, size_t len, VpRepair repair,
              GError **error)
{
  VpCountsPage *page = vp_counts_page (check->counts, first);
  if (!page || (!page_differs (page, len) && check->broken_blocks->len == 0))
    return true;
  for (size_t i = 0; i < len; i++)
    if ((page->counted[i] != page->stored[i] ||
         page->counted[i] == VP_COUNTS_MANY || check->broken_blocks->len > 0) &&
        !compare_cluster (check, page, first + i, repair, error))
      return false;
  return true;
}

/* What lies past the end of the file and is referenced all the same must be
 * counted too, so that it is given to nobody else. */
static bool
mend_far (Qcow2Check *check, bool repair, GError **error)
{
  uint64_t size = vp_counts_get_size (check->counts);
  for (uint64_t i = check->n_compared; i < size; i++) {
    VpCountsPage *page = vp_counts_page (check->counts, i);
    if (!page) {
      i |= VP_COUNTS_PAGE - 1;
      continue;
    }
    uint64_t count =
        MIN (vp_counts_get (check->counts, i), check->max_refcount);
    if (count <= page->stored[i % VP_COUNTS_PAGE])
      continue;
    check->rebuild = check->rebuild || !has_block (check, i);
    if (repair && has_block (check, i) && !mend (check, page, i, count, error))
      return false;
  }
  return true;
}

bool
qcow2_compare (Qcow2Check *check, VpRepair repair, GError **error)
{
  uint64_t end = check->n_clusters + (check->spills ? 1 : 0);
  check->n_compared = end;
  for (uint64_t first = 0; first < end; first += VP_COUNTS_PAGE)
    if (!compare_page (check, first, (size_t) MIN (end - first, VP_COUNTS_PAGE),
                       repair, error))
      return false;
  return check->repair != VP_REPAIR_ALL ||
         mend_far (check, repair == VP_REPAIR_ALL, error);
}
