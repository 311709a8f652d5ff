/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-switch: new metadata beside the old, then one cell of the header from
 * the one to the other. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

bool
qcow2_put_metadata (Qcow2 *q, const uint8_t *bytes, size_t len,
                    uint64_t *ret_offset, GError **error)
{
  *ret_offset = 0;
  if (len == 0)
    return true;
  uint64_t length = vp_round_up (len, q->cluster_size);
  g_autofree uint8_t *padded = g_malloc0 ((size_t) length);
  memcpy (padded, bytes, len);
  if (!qcow2_allocate (q, length >> q->header.cluster_bits, true, ret_offset,
                       NULL, error))
    return false;
  if (qcow2_note_metadata (q, *ret_offset, length, error) &&
      vp_file_write (q->file, *ret_offset, padded, (size_t) length, error))
    return true;
  vp_tables_free_later (q->tables, *ret_offset, length);
  *ret_offset = 0;
  return false;
}

void
qcow2_drop_metadata (Qcow2 *q, uint64_t offset, uint64_t len)
{
  if (offset != 0 && len > 0)
    vp_tables_free_later (q->tables, offset,
                          vp_round_up (len, q->cluster_size));
}

bool
qcow2_switch_l1 (Qcow2 *q, uint64_t l1_offset, uint64_t entries, uint64_t size,
                 GError **error)
{
  Qcow2Header *h = &q->header, old = q->header;
  h->l1_offset = l1_offset;
  h->l1_entries = (uint32_t) entries;
  h->size = size;
  if (!vp_tables_load (q->tables, l1_offset, (size_t) entries * 8, error) ||
      !qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, error) ||
      !vp_tables_flush (q->tables, error)) {
    *h = old;
    /* The new cell must not go out with a later flush: what it names is given
     * back by then. */
    if (!qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, NULL))
      q->broken = true;
    return false;
  }
  vp_tables_pin (q->tables, l1_offset);
  if (old.l1_entries > 0)
    vp_tables_forget (q->tables, old.l1_offset);
  qcow2_drop_metadata (q, old.l1_offset, (uint64_t) old.l1_entries * 8);
  return true;
}

bool
qcow2_note_branches (Qcow2 *q, const GArray *branches, GError **error)
{
  for (guint i = 0; i < branches->len; i++)
    if (!qcow2_note_metadata (q, g_array_index (branches, Qcow2Branch, i).table,
                              q->cluster_size, error))
      return false;
  return true;
}
