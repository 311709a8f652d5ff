/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-size: a longer disk: room in the L1 table first, the size last, and
 * between them, where that is asked for, places for all that is new. */
#include "config.h"

#include "storage/qcow2-bitmap.h"
#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

static bool
grow_l1 (Qcow2 *q, uint64_t entries, GError **error)
{
  Qcow2Header *h = &q->header;
  uint64_t length = vp_round_up (entries * 8, q->cluster_size), offset;
  if (!qcow2_allocate (q, length >> h->cluster_bits, true, &offset, NULL,
                       error) ||
      !qcow2_note_metadata (q, offset, length, error))
    return false;
  uint8_t *l1 = vp_tables_add (q->tables, offset, (size_t) entries * 8);
  uint64_t old_length = (uint64_t) h->l1_entries * 8;
  uint64_t old_offset = h->l1_offset;
  if (old_length > 0) {
    memcpy (l1, qcow2_l1 (q), (size_t) old_length);
    vp_tables_forget (q->tables, old_offset);
    vp_tables_free_later (q->tables, old_offset,
                          vp_round_up (old_length, q->cluster_size));
  }
  vp_tables_pin (q->tables, offset);
  h->l1_offset = offset;
  h->l1_entries = (uint32_t) entries;
  return qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, error);
}

/* Is there anything but zeros below that L1 entry?  A growth that was given up
 * leaves tables behind that hold nothing. */
static bool
holds_bytes (Qcow2 *q, uint64_t index)
{
  uint64_t raw = vp_be64_get (qcow2_l1 (q) + 8 * index);
  uint64_t table = raw & QCOW2_OFFSET_MASK;
  Qcow2Cluster cluster;
  if (table == 0)
    return false;
  if (table & (q->cluster_size - 1) || !vp_tables_trim (q->tables, NULL))
    return true;
  const uint8_t *l2 =
      vp_tables_load (q->tables, table, (size_t) q->cluster_size, NULL);
  if (!l2)
    return true;
  for (uint64_t i = 0; i < UINT64_C (1) << q->l2_bits; i++)
    if (!qcow2_decode (q, qcow2_l2_get (q, l2, i), &cluster, NULL) ||
        cluster.has_host || cluster.packed)
      return true;
  return false;
}

bool
qcow2_extend (gpointer state, uint64_t size, GError **error)
{
  Qcow2 *q = state;
  const Qcow2Header *h = &q->header;
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t have = h->size / reach + (h->size % reach != 0);
  uint64_t entries = size / reach + (size % reach != 0);
  if (size % 512 != 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The new size must be a multiple of 512");
    return false;
  }
  if (entries * 8 > VP_MAX_TABLE_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: too large for clusters of %" PRIu64 " bytes",
                 q->file->name, q->cluster_size);
    return false;
  }
  if (h->n_snapshots > 0 && h->version < 3) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: version 2 with snapshots cannot be resized",
                 q->file->name);
    return false;
  }
  /* Behind the disk's end there may be the state of a machine that was being
   * saved; growing must not turn it into disk content. */
  for (uint64_t i = have; i < MIN (entries, h->l1_entries); i++)
    if (holds_bytes (q, i)) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                   "%s: holds saved machine state behind its end",
                   q->file->name);
      return false;
    }
  if (entries <= h->l1_entries)
    return true;
  return grow_l1 (q, entries, error);
}

/* Everything else first, then the size, and it lasts. */
static bool
store_size (Qcow2 *q, uint64_t size, GError **error)
{
  if (!vp_tables_flush (q->tables, error) ||
      !qcow2_resize_bitmaps (q, size, error))
    return false;
  q->header.size = size;
  return qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, error);
}

/* The size comes before the places: a cut between leaves a longer disk with
 * fewer of them, and never places behind its end. */
static bool
fill_new (Qcow2 *q, uint64_t old_size, uint64_t size,
          VpPreallocation preallocation, GError **error)
{
  if (preallocation == VP_PREALLOCATION_OFF ||
      qcow2_preallocate (q, old_size, size, preallocation, error))
    return true;
  uint64_t from = vp_round_up (old_size, q->cluster_size);
  uint64_t to = vp_round_up (size, q->cluster_size);
  /* As it was, as far as that goes. */
  (void) ((from >= to || qcow2_discard (q, from, to - from, NULL)) &&
          store_size (q, old_size, NULL) && vp_tables_flush (q->tables, NULL));
  return false;
}

bool
qcow2_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
              GError **error)
{
  Qcow2 *q = state;
  uint64_t old_size = q->header.size;
  if (q->external && size > old_size &&
      !vp_file_truncate (q->data, size, error))
    return false;
  if (qcow2_is_raw (q) && preallocation == VP_PREALLOCATION_OFF)
    preallocation = VP_PREALLOCATION_METADATA;
  return store_size (q, size, error) &&
         (size <= old_size ||
          fill_new (q, old_size, size, preallocation, error));
}
