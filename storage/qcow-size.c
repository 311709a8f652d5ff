/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-size: longer and shorter disks, and emptied ones.  QEMU has none of
 * this for the format, but reads what comes out.
 *
 * How long L1 is follows from the disk's size alone, and the header's one
 * sector holds both the size and L1's place.  So a longer L1 is a new one,
 * behind everything, on disk before the header names it; with the old size it
 * is as good as the old one, and then the size may change.  A shorter disk
 * needs the new size only: what its L1 had behind that is looked at no more.
 *
 *     grow      new L1 | header: L1 | zeros over what would come to light |
 *               header: size
 *     shrink    header: size | entries behind it are cleared | file is cut
 */
#include "config.h"

#include "storage/qcow.h"

#include <string.h>

#include "storage/error.h"

/* So many L2 tables between two flushes: the quarantine is a list in memory. */
#define BATCH 64u

static bool
check_size (Qcow *q, uint64_t size, GError **error)
{
  if (size % 512 != 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The new size must be a multiple of 512");
    return false;
  }
  if (size == 0) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: Image size is too small, cannot be zero length",
                 q->file->name);
    return false;
  }
  if (qcow_l1_needed (q, size) * 8 > VP_MAX_TABLE_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: too large for clusters of %" PRIu64 " bytes",
                 q->file->name, q->cluster_size);
    return false;
  }
  return true;
}

/* Everything else first; goes out with the next flush. */
static bool
store_size (Qcow *q, uint64_t size, GError **error)
{
  if (!vp_tables_flush (q->tables, error))
    return false;
  q->header.size = q->size = size;
  qcow_store_header (q);
  return true;
}

/* Entries for what lies behind that size, in the table that it runs through. */
static bool
clear_behind (Qcow *q, uint64_t size, GError **error)
{
  uint64_t end = vp_round_up (size, q->cluster_size), table;
  uint64_t index = qcow_l2_index (q, end);
  uint8_t *l2;
  if (index == 0)
    return true;
  return vp_tables_trim (q->tables, error) &&
         qcow_load_l2 (q, qcow_l1_index (q, end), &table, &l2, error) &&
         (!l2 ||
          qcow_clear_entries (q, table, l2, index, qcow_l2_entries (q), error));
}

/* L1 entries from first on are cleared, and all below them is let go. */
static bool
drop_tables (Qcow *q, uint64_t first, GError **error)
{
  unsigned n = 0;
  for (uint64_t i = first; i < q->l1_entries; i++) {
    uint64_t table;
    uint8_t *l2;
    if (vp_be64_get (qcow_l1 (q) + 8 * i) == 0)
      continue;
    if (!vp_tables_trim (q->tables, error) ||
        !qcow_load_l2 (q, i, &table, &l2, error) ||
        !qcow_clear_entries (q, table, l2, 0, qcow_l2_entries (q), error))
      return false;
    qcow_free_later (q, table, qcow_l2_size (q));
    vp_be64_set (qcow_l1 (q) + 8 * i, 0);
    vp_tables_dirty (q->tables, q->header.l1_offset, 8 * (size_t) i, 8,
                     QCOW_ORDER_MAP);
    if (++n % BATCH == 0 && !vp_tables_flush (q->tables, error))
      return false;
  }
  return vp_tables_flush (q->tables, error);
}

/* ---- growing ------------------------------------------------------------ */

static bool
move_l1 (Qcow *q, uint64_t entries, GError **error)
{
  QcowHeader *h = &q->header;
  uint64_t offset, old_offset = h->l1_offset, old_length = q->l1_entries * 8;
  uint64_t clusters =
      vp_round_up (entries * 8, q->cluster_size) >> h->cluster_bits;
  if (!qcow_allocate (q, clusters, true, QCOW_FIXED, &offset, NULL, error))
    return false;
  uint8_t *l1 = vp_tables_add (q->tables, offset, (size_t) entries * 8);
  memcpy (l1, qcow_l1 (q), (size_t) old_length);
  vp_tables_forget (q->tables, old_offset);
  vp_tables_pin (q->tables, offset);
  qcow_free_later (q, old_offset, old_length);
  h->l1_offset = offset;
  q->l1_entries = entries;
  qcow_store_header (q);
  return true;
}

bool
qcow_extend (gpointer state, uint64_t size, GError **error)
{
  Qcow *q = state;
  uint64_t entries = qcow_l1_needed (q, size);
  if (!check_size (q, size, error) || !qcow_survey (q, error))
    return false;
  /* What an earlier disk, or a growth that did not come to its end, left
   * behind this disk's end must not come to light. */
  if (!clear_behind (q, q->size, error) ||
      !drop_tables (q, qcow_l1_needed (q, q->size), error))
    return false;
  return entries <= q->l1_entries || move_l1 (q, entries, error);
}

bool
qcow_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
             GError **error)
{
  Qcow *q = state;
  if (preallocation != VP_PREALLOCATION_OFF) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: the format qcow has no preallocation", q->file->name);
    return false;
  }
  return store_size (q, size, error);
}

/* ---- shrinking ---------------------------------------------------------- */

bool
qcow_shrink (gpointer state, uint64_t size, GError **error)
{
  Qcow *q = state;
  uint64_t old_size = q->size, old_header_size = q->header.size;
  if (!check_size (q, size, error) || !qcow_survey (q, error))
    return false;
  if (!store_size (q, size, error) || !vp_tables_flush (q->tables, error)) {
    q->size = old_size;
    q->header.size = old_header_size;
    qcow_store_header (q);
    return false;
  }
  /* From here on a failure leaks what was behind the end. */
  return clear_behind (q, size, error) &&
         drop_tables (q, qcow_l1_needed (q, size), error) &&
         qcow_cut_tail (q, error);
}

bool
qcow_empty (gpointer state, GError **error)
{
  Qcow *q = state;
  return qcow_survey (q, error) && drop_tables (q, 0, error) &&
         qcow_cut_tail (q, error);
}
