/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-width: refcounts of another width.
 *
 * All of them are written anew behind everything else, and the header changes
 * to the new ones in one piece:
 *
 *     ... file ... | reftable | refblock ... refblock |
 *
 * The old ones count themselves no more from then on, so that nothing leaks;
 * a cut before that leaves a longer file and no more. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  Qcow2 *q;
  const VpProgress *progress;
  unsigned order, block_bits; /* of the new ones */
  uint64_t most;              /* that they can count */
  VpClusterSet *old;          /* where the old ones lie */
  GArray *numbers;            /* uint64_t: new refblocks, ascending */
  uint64_t highest;           /* cluster that is counted */
  uint64_t first, n_table, n; /* clusters of the new ones */
  /* The old refblock that was read last. */
  uint64_t number;
  uint8_t *block; /* owned */
  bool empty;     /* it is not there */
} Width;

static bool
load_old (Width *w, uint64_t number, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t offset = 0;
  if (w->number == number)
    return true;
  w->number = UINT64_MAX;
  if (number < q->reftable_entries)
    offset = vp_be64_get (qcow2_reftable (q) + 8 * number);
  if (offset & (q->cluster_size - 1) || offset >= QCOW2_MAX_OFFSET)
    return qcow2_corrupt (q, error,
                          "refcount table entry %" PRIu64
                          " is invalid (0x%" G_GINT64_MODIFIER
                          "x); check it first",
                          number, offset);
  w->empty = offset == 0;
  if (!w->empty && !vp_file_read (q->file, offset, w->block,
                                  (size_t) q->cluster_size, error))
    return false;
  w->number = number;
  return true;
}

/* load_old () was called for its block. */
static uint64_t
old_count (const Width *w, uint64_t cluster)
{
  const Qcow2 *q = w->q;
  uint64_t mask = (UINT64_C (1) << q->refblock_bits) - 1;
  uint64_t count =
      qcow2_entry_get (w->block, q->header.refcount_order, cluster & mask);
  if (count > 0 && vp_cluster_set_meets (w->old, cluster, 1))
    count--;
  return count;
}

static bool
look_at (Width *w, uint64_t cluster, GError **error)
{
  uint64_t count = old_count (w, cluster), number = cluster >> w->block_bits;
  GArray *numbers = w->numbers;
  if (count == 0)
    return true;
  if (count > w->most) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "Cannot decrease refcount entry width to %u bits: Cluster at "
                 "offset 0x%" G_GINT64_MODIFIER "x has a refcount of %" PRIu64,
                 1u << w->order, cluster << w->q->header.cluster_bits, count);
    return false;
  }
  w->highest = cluster;
  if (numbers->len == 0 ||
      g_array_index (numbers, uint64_t, numbers->len - 1) != number)
    g_array_append_val (numbers, number);
  return true;
}

/* What is counted at all, and does it fit? */
static bool
survey (Width *w, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t per_block = UINT64_C (1) << q->refblock_bits;
  const uint8_t *table = qcow2_reftable (q);
  bool ok = vp_cluster_set_add (
      w->old, q->header.reftable_offset >> q->header.cluster_bits,
      q->header.reftable_clusters);
  for (uint64_t i = 0; ok && i < q->reftable_entries; i++)
    if (vp_be64_get (table + 8 * i) != 0)
      ok = vp_cluster_set_add (
          w->old, vp_be64_get (table + 8 * i) >> q->header.cluster_bits, 1);
  if (!ok) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: its refcounts are scattered too widely", q->file->name);
    return false;
  }
  for (uint64_t i = 0; i < q->reftable_entries; i++) {
    if (!load_old (w, i, error))
      return false;
    for (uint64_t k = 0; !w->empty && k < per_block; k++)
      if (!look_at (w, (i << q->refblock_bits) + k, error))
        return false;
  }
  return true;
}

/* The new ones count themselves, too: a fixed point. */
static bool
plan (Width *w, GError **error)
{
  Qcow2 *q = w->q;
  uint64_t size, per_cluster = q->cluster_size / 8;
  if (!vp_file_get_size (q->file, &size, error))
    return false;
  uint64_t end = vp_round_up (size, q->cluster_size) >> q->header.cluster_bits;
  w->first = q->file->is_device ? w->highest + 1 : MAX (w->highest + 1, end);
  guint found = w->numbers->len;
  for (uint64_t n = 1;; n = w->n) {
    g_array_set_size (w->numbers, found);
    uint64_t last = (w->first + n - 1) >> w->block_bits;
    for (uint64_t i = w->first >> w->block_bits; i <= last; i++)
      if (found == 0 || i > g_array_index (w->numbers, uint64_t, found - 1))
        g_array_append_val (w->numbers, i);
    last = g_array_index (w->numbers, uint64_t, w->numbers->len - 1);
    w->n_table = (last + per_cluster) / per_cluster;
    w->n = w->n_table + w->numbers->len;
    if (w->n_table << q->header.cluster_bits > VP_MAX_REFTABLE_SIZE) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                   "%s: the file is too long for refcounts of %u bits",
                   q->file->name, 1u << w->order);
      return false;
    }
    if (w->n <= n) {
      w->n = n;
      break;
    }
  }
  if (!q->file->is_device ||
      (w->first + w->n) << q->header.cluster_bits <= size)
    return true;
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
               "%s: the device is full", q->file->name);
  return false;
}

static bool
fill_block (Width *w, uint64_t number, uint8_t *block, GError **error)
{
  const Qcow2 *q = w->q;
  uint64_t start = number << w->block_bits;
  memset (block, 0, (size_t) q->cluster_size);
  for (uint64_t i = 0; i < UINT64_C (1) << w->block_bits; i++) {
    uint64_t cluster = start + i, count = 0;
    if (cluster >= w->first && cluster < w->first + w->n)
      count = 1;
    else if (cluster <= w->highest) {
      if (!load_old (w, cluster >> q->refblock_bits, error))
        return false;
      if (!w->empty)
        count = old_count (w, cluster);
    }
    if (count > 0)
      qcow2_entry_set (block, w->order, i, count);
  }
  return true;
}

static bool
write_new (Width *w, GError **error)
{
  const Qcow2 *q = w->q;
  size_t cs = (size_t) q->cluster_size, len = (size_t) w->n_table * cs;
  g_autofree uint8_t *table = g_malloc0 (len);
  g_autofree uint8_t *block = g_malloc (cs);
  uint64_t offset = (w->first + w->n_table) << q->header.cluster_bits;
  for (guint i = 0; i < w->numbers->len; i++) {
    uint64_t number = g_array_index (w->numbers, uint64_t, i);
    if (!vp_progress_update (w->progress, i, w->numbers->len, error) ||
        !fill_block (w, number, block, error) ||
        !vp_file_write (q->file, offset, block, cs, error))
      return false;
    vp_be64_set (table + 8 * number, offset);
    offset += cs;
  }
  return vp_file_write (q->file, w->first << q->header.cluster_bits, table, len,
                        error) &&
         vp_file_flush (q->file, error);
}

static void
use_header (Qcow2 *q, const Qcow2Header *header)
{
  q->header = *header;
  q->refblock_bits = header->cluster_bits + 3 - header->refcount_order;
  q->reftable_entries =
      ((uint64_t) header->reftable_clusters << header->cluster_bits) / 8;
}

static bool
change_over (Width *w, GError **error)
{
  Qcow2 *q = w->q;
  Qcow2Header old = q->header, new = q->header;
  uint64_t length = w->n_table << old.cluster_bits;
  new.refcount_order = w->order;
  new.reftable_offset = w->first << old.cluster_bits;
  new.reftable_clusters = (uint32_t) w->n_table;
  if (!vp_tables_load (q->tables, new.reftable_offset, (size_t) length, error))
    return false;
  use_header (q, &new);
  if (!qcow2_rewrite_head (q, error)) {
    use_header (q, &old);
    return false;
  }
  vp_tables_pin (q->tables, new.reftable_offset);
  vp_tables_forget (q->tables, old.reftable_offset);
  return qcow2_note_metadata (q, new.reftable_offset, w->n << old.cluster_bits,
                              error) &&
         vp_file_get_size (q->file, &q->file_end, error);
}

/* Where the old ones were is free now. */
static void
give_back (Width *w, const GArray *blocks, uint64_t table, uint64_t n_table)
{
  for (guint i = 0; i < blocks->len; i++)
    qcow2_forget_clusters (w->q, g_array_index (blocks, uint64_t, i), 1);
  qcow2_forget_clusters (w->q, table, n_table);
}

static bool
run (Width *w, GError **error)
{
  Qcow2 *q = w->q;
  unsigned bits = q->header.cluster_bits;
  g_autoptr (GArray) blocks = g_array_new (false, false, sizeof (uint64_t));
  uint64_t table = q->header.reftable_offset >> bits;
  uint64_t n_table = q->header.reftable_clusters;
  if (!survey (w, error) || !plan (w, error) || !write_new (w, error))
    return false;
  for (uint64_t i = 0; i < q->reftable_entries; i++) {
    uint64_t cluster = vp_be64_get (qcow2_reftable (q) + 8 * i) >> bits;
    if (cluster != 0)
      g_array_append_val (blocks, cluster);
  }
  if (!change_over (w, error))
    return false;
  give_back (w, blocks, table, n_table);
  q->free_hint = 1;
  return true;
}

bool
qcow2_set_refcount_order (Qcow2 *q, unsigned order, const VpProgress *progress,
                          GError **error)
{
  g_autoptr (VpClusterSet) old = vp_cluster_set_new ();
  g_autoptr (GArray) numbers = g_array_new (false, false, sizeof (uint64_t));
  if (order == q->header.refcount_order)
    return true;
  if (!qcow2_settle (q, error))
    return false;
  g_autofree uint8_t *block = g_malloc ((size_t) q->cluster_size);
  unsigned width = 1u << order;
  Width w = { .q = q,
              .progress = progress,
              .order = order,
              .block_bits = q->header.cluster_bits + 3 - order,
              .most = width == 64 ? UINT64_MAX : (UINT64_C (1) << width) - 1,
              .old = old,
              .numbers = numbers,
              .number = UINT64_MAX,
              .block = block };
  return run (&w, error);
}
