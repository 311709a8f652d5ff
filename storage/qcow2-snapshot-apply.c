/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-snapshot-apply: the disk goes back to a snapshot, or shows one.
 *
 * A copy of the snapshot's L1 becomes the active one, with the snapshot's size
 * and one more user for all that it leads to; then the old one lets go. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

/* ---- apply -------------------------------------------------------------- */

/* Like q's own, of size bytes, with one more user for all that it leads to. */
static bool
replace_l1 (Qcow2 *q, const GArray *old, const GArray *new, uint8_t *l1,
            uint64_t entries, uint64_t size, GError **error)
{
  uint64_t offset;
  if (!qcow2_put_metadata (q, l1, (size_t) MAX (entries, 1) * 8, &offset,
                           error))
    return false;
  if (!qcow2_settle (q, error) || !qcow2_count (q, new, true, error) ||
      !qcow2_clear_copied (q, new, error) ||
      !qcow2_note_branches (q, new, error) ||
      !qcow2_switch_l1 (q, offset, MAX (entries, 1), size, error)) {
    qcow2_drop_metadata (q, offset, MAX (entries, 1) * 8);
    return false;
  }
  /* From here on a failure leaks what the old disk had for itself. */
  return qcow2_settle (q, error) && qcow2_count (q, old, false, error);
}

bool
qcow2_snapshot_apply (gpointer state, const char *id, const char *name,
                      GError **error)
{
  Qcow2 *q = state;
  const Qcow2Header *h = &q->header;
  uint64_t entries;
  guint index;
  /* They would not know what changes. */
  if (q->bitmaps->len > 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "Device has active dirty bitmaps");
    return false;
  }
  if (!qcow2_find_snapshot (q, id, name, &index, error) ||
      !qcow2_can_snapshot (q, error) || !qcow2_settle (q, error))
    return false;
  const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, index);
  g_autofree uint8_t *l1 =
      qcow2_read_snapshot_l1 (q, snapshot, &entries, error);
  if (!l1)
    return false;
  for (uint64_t i = 0; i < entries; i++)
    l1[i * 8] &= 0x7f;
  g_autoptr (GArray) new = qcow2_branches (q, l1, entries, error);
  g_autoptr (GArray) old = qcow2_branches (
      q, h->l1_entries ? qcow2_l1 (q) : NULL, h->l1_entries, error);
  if (!new || !old || !qcow2_can_count (q, old, false, error))
    return false;
  return replace_l1 (q, old, new, l1, entries, snapshot->facts->disk_size,
                     error);
}

/* ---- open --------------------------------------------------------------- */

bool
qcow2_snapshot_open (gpointer state, const char *id, const char *name,
                     GError **error)
{
  Qcow2 *q = state;
  guint index;
  uint64_t entries;
  if (!qcow2_find_snapshot (q, id, name, &index, error))
    return false;
  const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, index);
  g_return_val_if_fail (!q->writable, false);
  g_autofree uint8_t *l1 =
      qcow2_read_snapshot_l1 (q, snapshot, &entries, error);
  if (!l1)
    return false;
  if (snapshot->l1_entries < entries)
    return qcow2_corrupt (q, error,
                          "Snapshot L1 table is too small for its disk");
  if (entries > 0 && snapshot->l1_offset == q->header.l1_offset &&
      entries != q->header.l1_entries)
    return qcow2_corrupt (q, error,
                          "a snapshot's L1 table lies on the active one");
  if (entries > 0 && snapshot->l1_offset != q->header.l1_offset) {
    if (!vp_tables_load (q->tables, snapshot->l1_offset, (size_t) entries * 8,
                         error))
      return false;
    vp_tables_pin (q->tables, snapshot->l1_offset);
  }
  q->header.l1_offset = snapshot->l1_offset;
  q->header.l1_entries = (uint32_t) entries;
  q->header.size = snapshot->facts->disk_size;
  return true;
}
