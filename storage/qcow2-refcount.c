/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-refcount: who uses which host cluster; allocation, and counting down
 * of what the quarantine lets go.
 *
 * A refblock counts the clusters of one stretch of the file, and lies in the
 * first cluster of that stretch where we make it; the reftable names the
 * refblocks. Where there is no refblock every count is 0.  Counts go up before
 * anything names the cluster and down after nothing does (table.h), so that
 * they are never lower than the references on disk. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

/* ---- entries of 1 to 64 bits -------------------------------------------- */

uint64_t
qcow2_entry_get (const uint8_t *block, unsigned order, uint64_t index)
{
  switch (order) {
  case 3: return block[index];
  case 4: return vp_be16_get (block + 2 * index);
  case 5: return vp_be32_get (block + 4 * index);
  case 6: return vp_be64_get (block + 8 * index);
  default: { /* "the least significant bits of the byte come first" */
    unsigned bits = 1u << order, in_byte = 8u >> order;
    unsigned shift = (unsigned) (index % in_byte) * bits;
    return block[index / in_byte] >> shift & ((1u << bits) - 1);
  }
  }
}

void
qcow2_entry_set (uint8_t *block, unsigned order, uint64_t index, uint64_t value)
{
  switch (order) {
  case 3: block[index] = (uint8_t) value; break;
  case 4: vp_be16_set (block + 2 * index, (uint16_t) value); break;
  case 5: vp_be32_set (block + 4 * index, (uint32_t) value); break;
  case 6: vp_be64_set (block + 8 * index, value); break;
  default: {
    unsigned bits = 1u << order, in_byte = 8u >> order;
    unsigned shift = (unsigned) (index % in_byte) * bits;
    unsigned mask = ((1u << bits) - 1) << shift;
    uint8_t *byte = &block[index / in_byte];
    *byte = (uint8_t) ((*byte & ~mask) | ((unsigned) value << shift & mask));
  }
  }
}

static size_t
entry_at (const Qcow2 *q, uint64_t index)
{
  return (size_t) (index << q->header.refcount_order >> 3);
}

/* ---- blocks ------------------------------------------------------------- */

/* The refblock of a number; NULL in ret_block where there is none. */
static bool
load_block (Qcow2 *q, uint64_t number, uint64_t *ret_offset,
            uint8_t **ret_block, GError **error)
{
  *ret_block = NULL;
  *ret_offset = 0;
  if (number >= q->reftable_entries)
    return true;
  uint64_t entry = vp_be64_get (qcow2_reftable (q) + 8 * number);
  if (entry == 0)
    return true;
  if (entry & (q->cluster_size - 1) || entry >= QCOW2_MAX_OFFSET)
    return qcow2_corrupt (q, error,
                          "refcount table entry %" PRIu64
                          " is invalid (0x%" G_GINT64_MODIFIER "x)",
                          number, entry);
  *ret_offset = entry;
  *ret_block =
      vp_tables_load (q->tables, entry, (size_t) q->cluster_size, error);
  return *ret_block != NULL;
}

bool
qcow2_get_refcount (Qcow2 *q, uint64_t cluster, uint64_t *ret_refcount,
                    GError **error)
{
  uint64_t offset;
  uint8_t *block;
  if (!load_block (q, cluster >> q->refblock_bits, &offset, &block, error))
    return false;
  uint64_t index = cluster & ((UINT64_C (1) << q->refblock_bits) - 1);
  *ret_refcount =
      block ? qcow2_entry_get (block, q->header.refcount_order, index) : 0;
  return true;
}

static bool
add_block (Qcow2 *q, uint64_t number, GError **error)
{
  uint64_t cluster = number << q->refblock_bits;
  uint64_t offset = cluster << q->header.cluster_bits;
  if (!qcow2_check_overlap (q, offset, q->cluster_size, error) ||
      !qcow2_note_metadata (q, offset, q->cluster_size, error))
    return false;
  uint8_t *block = vp_tables_add (q->tables, offset, (size_t) q->cluster_size);
  qcow2_entry_set (block, q->header.refcount_order, 0, 1);
  vp_be64_set (qcow2_reftable (q) + 8 * number, offset);
  vp_tables_dirty (q->tables, q->header.reftable_offset, (size_t) number * 8, 8,
                   QCOW2_ORDER_REFTABLE);
  return true;
}

/* Refblocks for an area that begins with them. */
static uint64_t
blocks_for_area (const Qcow2 *q, uint64_t clusters)
{
  uint64_t blocks = 1, stretch = UINT64_C (1) << q->refblock_bits;
  while ((clusters + blocks + stretch - 1) / stretch > blocks)
    blocks++;
  return blocks;
}

/* An area from the first cluster of stretch number on, nothing of which was
 * counted before; its refblocks are named in table:
 *
 *     refblock ... refblock | clusters .......... |
 */
static void
make_area (Qcow2 *q, uint8_t *table, uint64_t number, uint64_t clusters)
{
  uint64_t stretch = UINT64_C (1) << q->refblock_bits;
  uint64_t blocks = blocks_for_area (q, clusters);
  uint64_t start = number << q->refblock_bits;
  for (uint64_t i = 0; i < blocks; i++) {
    uint64_t offset = (start + i) << q->header.cluster_bits;
    uint8_t *block =
        vp_tables_add (q->tables, offset, (size_t) q->cluster_size);
    uint64_t left = blocks + clusters - i * stretch;
    for (uint64_t k = 0; k < MIN (left, stretch); k++)
      qcow2_entry_set (block, q->header.refcount_order, k, 1);
    vp_be64_set (table + 8 * (number + i), offset);
  }
}

/* A larger reftable, in the first stretch that the old one cannot count. */
static bool
grow_reftable (Qcow2 *q, uint64_t number, GError **error)
{
  uint64_t per_cluster = q->cluster_size / 8, old = q->reftable_entries;
  uint64_t entries = MAX (number + 1, old + old / 2), blocks, clusters;
  for (;;) {
    clusters = (entries + per_cluster - 1) / per_cluster;
    entries = clusters * per_cluster;
    blocks = blocks_for_area (q, clusters);
    if (old + blocks <= entries)
      break;
    entries = old + blocks;
  }
  if (entries * 8 > VP_MAX_REFTABLE_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the file cannot hold more clusters", q->file->name);
    return false;
  }
  uint64_t start = (old << q->refblock_bits) << q->header.cluster_bits;
  uint64_t table_offset = start + blocks * q->cluster_size;
  uint64_t area = (blocks + clusters) << q->header.cluster_bits;
  if (!qcow2_check_overlap (q, start, area, error) ||
      !qcow2_note_metadata (q, start, area, error))
    return false;

  uint8_t *table =
      vp_tables_add (q->tables, table_offset, (size_t) entries * 8);
  memcpy (table, qcow2_reftable (q), (size_t) old * 8);
  make_area (q, table, old, clusters);
  uint64_t old_offset = q->header.reftable_offset;
  vp_tables_pin (q->tables, table_offset);
  vp_tables_forget (q->tables, old_offset);
  vp_tables_free_later (q->tables, old_offset, old * 8);
  vp_cluster_set_remove (q->metadata, old_offset >> q->header.cluster_bits,
                         old * 8 >> q->header.cluster_bits);
  q->header.reftable_offset = table_offset;
  q->header.reftable_clusters = (uint32_t) clusters;
  q->reftable_entries = entries;
  return qcow2_store_cell (q, QCOW2_CELL_REFTABLE, QCOW2_ORDER_REFTABLE, error);
}

/* Refblocks for [cluster, cluster + count).  ret_changed: some were made, and
 * took clusters. */
static bool
ensure_blocks (Qcow2 *q, uint64_t cluster, uint64_t count, bool *ret_changed,
               GError **error)
{
  *ret_changed = false;
  uint64_t last = (cluster + count - 1) >> q->refblock_bits;
  for (uint64_t n = cluster >> q->refblock_bits; n <= last; n++) {
    if (n >= q->reftable_entries) {
      if (!grow_reftable (q, n, error))
        return false;
      *ret_changed = true;
    }
    if (vp_be64_get (qcow2_reftable (q) + 8 * n) != 0)
      continue;
    if (!add_block (q, n, error))
      return false;
    *ret_changed = true;
  }
  return true;
}

bool
qcow2_set_refcount (Qcow2 *q, uint64_t cluster, uint64_t refcount,
                    GError **error)
{
  uint64_t offset;
  uint8_t *block;
  bool changed;
  if (!ensure_blocks (q, cluster, 1, &changed, error) ||
      !load_block (q, cluster >> q->refblock_bits, &offset, &block, error))
    return false;
  uint64_t index = cluster & ((UINT64_C (1) << q->refblock_bits) - 1);
  qcow2_entry_set (block, q->header.refcount_order, index, refcount);
  vp_tables_dirty (q->tables, offset, entry_at (q, index), 1,
                   QCOW2_ORDER_REFBLOCK);
  return true;
}

/* ---- allocation --------------------------------------------------------- */

/* Free clusters in a row from cluster on, at most wanted. */
static bool
count_free (Qcow2 *q, uint64_t cluster, uint64_t wanted, uint64_t *ret_count,
            GError **error)
{
  uint64_t mask = (UINT64_C (1) << q->refblock_bits) - 1, count = 0;
  while (count < wanted) {
    uint64_t index = (cluster + count) & mask, offset;
    uint8_t *block;
    if (!load_block (q, (cluster + count) >> q->refblock_bits, &offset, &block,
                     error))
      return false;
    uint64_t end = MIN (mask + 1, index + wanted - count);
    if (!block) {
      count += end - index;
      continue;
    }
    for (; index < end; index++, count++)
      if (qcow2_entry_get (block, q->header.refcount_order, index) != 0)
        goto out;
  }
out:
  *ret_count = count;
  return true;
}

static bool
next_free (Qcow2 *q, uint64_t *cluster, GError **error)
{
  uint64_t mask = (UINT64_C (1) << q->refblock_bits) - 1;
  for (;;) {
    uint64_t offset;
    uint8_t *block;
    if (!load_block (q, *cluster >> q->refblock_bits, &offset, &block, error))
      return false;
    if (!block)
      return true;
    for (uint64_t index = *cluster & mask; index <= mask; index++, (*cluster)++)
      if (qcow2_entry_get (block, q->header.refcount_order, index) == 0)
        return true;
  }
}

static bool
check_space (Qcow2 *q, uint64_t cluster, uint64_t count, GError **error)
{
  uint64_t last = cluster + count;
  uint64_t size;
  if (last > QCOW2_MAX_OFFSET >> q->header.cluster_bits) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the file cannot hold more clusters", q->file->name);
    return false;
  }
  if (!q->file->is_device)
    return true;
  if (!vp_file_get_size (q->file, &size, error))
    return false;
  if (last << q->header.cluster_bits <= size)
    return true;
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
               "%s: the device is full", q->file->name);
  return false;
}

static bool
take (Qcow2 *q, uint64_t cluster, uint64_t count, GError **error)
{
  uint64_t mask = (UINT64_C (1) << q->refblock_bits) - 1;
  unsigned order = q->header.refcount_order;
  while (count > 0) {
    uint64_t index = cluster & mask, offset;
    uint64_t part = MIN (count, mask + 1 - index);
    uint8_t *block;
    if (!load_block (q, cluster >> q->refblock_bits, &offset, &block, error))
      return false;
    g_return_val_if_fail (block, false); /* ensure_blocks () was here */
    for (uint64_t i = 0; i < part; i++)
      qcow2_entry_set (block, order, index + i, 1);
    size_t from = entry_at (q, index), to = entry_at (q, index + part - 1);
    vp_tables_dirty (q->tables, offset, from, to - from + 1,
                     QCOW2_ORDER_REFBLOCK);
    cluster += part;
    count -= part;
  }
  return true;
}

/* More clusters in a row than lie between two refblocks: behind all others,
 * with their refblocks before them. */
static bool
allocate_area (Qcow2 *q, uint64_t clusters, uint64_t *ret_offset,
               GError **error)
{
  uint64_t blocks = blocks_for_area (q, clusters), number;
  for (;;) {
    number = q->reftable_entries;
    const uint8_t *table = qcow2_reftable (q);
    while (number > 0 && vp_be64_get (table + 8 * (number - 1)) == 0)
      number--;
    if (number + blocks <= q->reftable_entries)
      break;
    if (!grow_reftable (q, number + 2 * blocks, error))
      return false;
  }
  uint64_t first = number << q->refblock_bits;
  uint64_t start = first << q->header.cluster_bits;
  if (!check_space (q, first, blocks + clusters, error) ||
      !qcow2_check_overlap (
          q, start, (blocks + clusters) << q->header.cluster_bits, error) ||
      !qcow2_note_metadata (q, start, blocks * q->cluster_size, error))
    return false;
  make_area (q, qcow2_reftable (q), number, clusters);
  vp_tables_dirty (q->tables, q->header.reftable_offset, (size_t) number * 8,
                   (size_t) blocks * 8, QCOW2_ORDER_REFTABLE);
  *ret_offset = start + blocks * q->cluster_size;
  return true;
}

bool
qcow2_allocate (Qcow2 *q, uint64_t wanted, bool exact, uint64_t *ret_offset,
                uint64_t *ret_count, GError **error)
{
  uint64_t cluster = MAX (q->free_hint, 1), first_free = 0, count;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  if (exact && wanted > UINT64_C (1) << q->refblock_bits >> 1)
    return allocate_area (q, wanted, ret_offset, error);
  for (;;) {
    if (!next_free (q, &cluster, error) ||
        !count_free (q, cluster, wanted, &count, error))
      return false;
    if (first_free == 0)
      first_free = cluster;
    if (exact && count < wanted) {
      cluster += count;
      continue;
    }
    bool changed;
    if (!check_space (q, cluster, count, error) ||
        !ensure_blocks (q, cluster, count, &changed, error))
      return false;
    if (!changed)
      break;
    first_free = 0; /* new refblocks took clusters: look again */
    cluster = MAX (q->free_hint, 1);
  }
  uint64_t offset = cluster << q->header.cluster_bits;
  /* Taken for something else: its last packed user had gone. */
  if (q->packed_end >> q->header.cluster_bits >= cluster &&
      q->packed_end >> q->header.cluster_bits < cluster + count)
    q->packed_end = 0;
  if (!qcow2_check_overlap (q, offset, count << q->header.cluster_bits,
                            error) ||
      !take (q, cluster, count, error))
    return false;
  q->free_hint = cluster == first_free ? cluster + count : first_free;
  *ret_offset = offset;
  if (ret_count)
    *ret_count = count;
  return true;
}

/* ---- letting go --------------------------------------------------------- */

void
qcow2_release (gpointer user_data, uint64_t offset, uint64_t length)
{
  Qcow2 *q = user_data;
  uint64_t first = offset >> q->header.cluster_bits;
  uint64_t last = (offset + length - 1) >> q->header.cluster_bits;
  for (uint64_t cluster = first; cluster <= last; cluster++) {
    uint64_t refcount;
    /* A failure here leaks the cluster, no more. */
    if (!qcow2_get_refcount (q, cluster, &refcount, NULL) || refcount == 0 ||
        !qcow2_set_refcount (q, cluster, refcount - 1, NULL))
      continue;
    if (refcount > 1)
      continue;
    vp_tables_forget (q->tables, cluster << q->header.cluster_bits);
    qcow2_forget_clusters (q, cluster, 1);
  }
}

void
qcow2_forget_clusters (Qcow2 *q, uint64_t first, uint64_t count)
{
  if (count == 0)
    return;
  q->free_hint = MIN (q->free_hint, first);
  vp_cluster_set_remove (q->metadata, first, count);
  vp_file_discard (q->file, first << q->header.cluster_bits,
                   count << q->header.cluster_bits);
}
