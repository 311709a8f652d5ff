/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-shrink: a shorter disk.
 *
 * A new L1 leaves out what lies behind the end, with a copy of the L2 table
 * that the end runs through; size and L1 change together, in one cell.  Only
 * then what was left out loses a user, and the file its tail.  Snapshots keep
 * theirs. */
#include "config.h"

#include "storage/qcow2-bitmap.h"
#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  Qcow2 *q;
  uint64_t size;
  uint64_t clusters; /* of the shorter disk */
  uint64_t entries;  /* of its L1 */
  uint8_t *l1;       /* owned */
  uint64_t copy;     /* where the copied L2 table lies; 0: there is none */
  GArray *dropped;   /* of Qcow2Branch */
} Shrink;

static bool
can_shrink (Qcow2 *q, uint64_t size, GError **error)
{
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  if (size % 512 != 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The new size must be a multiple of 512");
    return false;
  }
  if (q->header.n_snapshots > 0 && q->header.version < 3) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: Can't resize a version 2 image which has snapshots",
                 q->file->name);
    return false;
  }
  return true;
}

static bool
all_zero (const uint8_t *bytes, size_t len)
{
  return len == 0 || (bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0);
}

/* The table that the end runs through: a copy without what lies behind. */
static bool
copy_last (Shrink *s, GError **error)
{
  Qcow2 *q = s->q;
  size_t cs = (size_t) q->cluster_size, width = qcow2_l2_entry_size (q);
  uint32_t kept = (uint32_t) (s->clusters & ((UINT64_C (1) << q->l2_bits) - 1));
  uint64_t index = s->clusters >> q->l2_bits;
  if (kept == 0 || index >= s->entries)
    return true;
  uint64_t table = vp_be64_get (s->l1 + 8 * index) & QCOW2_OFFSET_MASK;
  if (table == 0)
    return true;
  g_autofree uint8_t *l2 = g_malloc (cs);
  if (!vp_file_read (q->file, table, l2, cs, error))
    return false;
  if (all_zero (l2 + kept * width, cs - kept * width))
    return true;
  memset (l2 + kept * width, 0, cs - kept * width);
  if (!qcow2_put_metadata (q, l2, cs, &s->copy, error))
    return false;
  vp_be64_set (s->l1 + 8 * index, s->copy | QCOW2_COPIED);
  Qcow2Branch branch = { table, kept, (uint32_t) (cs / width), true };
  g_array_append_val (s->dropped, branch);
  g_array_sort (s->dropped, qcow2_compare_branches);
  return true;
}

static bool
plan (Shrink *s, GError **error)
{
  Qcow2 *q = s->q;
  const Qcow2Header *h = &q->header;
  uint64_t per_table = UINT64_C (1) << q->l2_bits;
  s->clusters = vp_round_up (s->size, q->cluster_size) >> h->cluster_bits;
  s->entries = MIN ((s->clusters + per_table - 1) / per_table, h->l1_entries);
  uint64_t rest = h->l1_entries - s->entries;
  const uint8_t *l1 = h->l1_entries ? qcow2_l1 (q) : NULL;
  s->l1 = g_malloc0 (MAX ((size_t) s->entries, 1) * 8);
  if (s->entries > 0)
    memcpy (s->l1, l1, (size_t) s->entries * 8);
  s->dropped = qcow2_branches (q, l1 + (l1 ? s->entries * 8 : 0), rest, error);
  return s->dropped && qcow2_can_count (q, s->dropped, false, error);
}

bool
qcow2_cut_tail (Qcow2 *q, GError **error)
{
  uint64_t size, refcount = 0, cs = q->cluster_size;
  if (q->file->is_device)
    return true;
  if (!vp_file_get_size (q->file, &size, error))
    return false;
  uint64_t end = (size + cs - 1) >> q->header.cluster_bits;
  for (; end > 1; end--) {
    if (!qcow2_get_refcount (q, end - 1, &refcount, error))
      return false;
    if (refcount > 0)
      break;
    if (end % 65536 == 0 && !vp_tables_trim (q->tables, error))
      return false;
  }
  uint64_t wanted = end << q->header.cluster_bits;
  if (wanted >= size)
    return true;
  q->file_end = wanted;
  return vp_file_truncate (q->file, wanted, error) &&
         vp_file_flush (q->file, error);
}

/* What an external file held behind the end. */
static bool
cut_data_file (Qcow2 *q, uint64_t size, GError **error)
{
  uint64_t have;
  if (!q->external)
    return true;
  if (!vp_file_get_size (q->data, &have, error))
    return false;
  if (have <= size)
    return true;
  if (!q->data->is_device && q->header.autoclear & QCOW2_AUTOCLEAR_RAW_DATA)
    return vp_file_truncate (q->data, size, error);
  uint64_t end = vp_round_up (size, q->cluster_size);
  if (have > end && q->data->is_device)
    vp_file_discard (q->data, end, have - end);
  else if (have > end && !vp_file_truncate (q->data, end, error))
    return false;
  return vp_file_zero (q->data, size, MIN (have, end) - size, false, error);
}

static bool
run (Shrink *s, GError **error)
{
  Qcow2 *q = s->q;
  uint64_t offset;
  if (!plan (s, error) || !copy_last (s, error))
    return false;
  uint64_t len = MAX (s->entries, 1) * 8;
  if (!qcow2_put_metadata (q, s->l1, (size_t) len, &offset, error)) {
    qcow2_drop_metadata (q, s->copy, q->cluster_size);
    return false;
  }
  if (!qcow2_settle (q, error) ||
      !qcow2_switch_l1 (q, offset, len / 8, s->size, error)) {
    qcow2_drop_metadata (q, s->copy, q->cluster_size);
    qcow2_drop_metadata (q, offset, len);
    return false;
  }
  /* From here on a failure leaks what was behind the end. */
  return qcow2_settle (q, error) && qcow2_count (q, s->dropped, false, error) &&
         qcow2_cut_tail (q, error) && cut_data_file (q, s->size, error);
}

bool
qcow2_shrink (gpointer state, uint64_t size, GError **error)
{
  Qcow2 *q = state;
  Shrink s = { .q = q, .size = size };
  if (!can_shrink (q, size, error) || !qcow2_settle (q, error))
    return false;
  uint64_t old_size = q->header.size;
  if (!qcow2_resize_bitmaps (q, size, error))
    return false;
  bool ok = run (&s, error);
  /* Bits that were cut off stand for changes that nobody remembers. */
  if (!ok && q->header.size == old_size &&
      qcow2_resize_bitmaps (q, old_size, NULL) &&
      !qcow2_record (q, size, old_size - size, NULL))
    ok = false;
  g_free (s.l1);
  g_clear_pointer (&s.dropped, g_array_unref);
  return ok;
}
