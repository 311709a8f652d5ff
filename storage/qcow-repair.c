/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-repair: what can be mended without a loss.
 *
 * Of two entries that name one place the second gets a copy; so does one that
 * names a table, or a place that is misaligned; one that points past the end
 * of the file gets zeros, for that is what it reads.  What an L1 entry or a
 * packed unit meant that leads nowhere is anybody's guess, and stays.
 *
 *     copies, behind the end | flush | entries | flush | leaks
 */
#include "config.h"

#include "storage/qcow-check.h"

#include "storage/error.h"

/* A small image could name one cluster a thousand times over. */
#define MORE_COPIES (UINT64_C (64) << 20)

/* ---- moving ------------------------------------------------------------- */

static bool
copy_place (QcowCheck *check, const QcowEntry *entry, uint64_t *first,
            uint8_t *buffer, uint64_t *ret_offset, GError **error)
{
  Qcow *q = check->q;
  uint64_t count;
  if (!qcow_find_free (check->counts, 1, true, first, &count) ||
      *first >= QCOW_MAX_OFFSET >> q->header.cluster_bits) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the file would become too long", q->file->name);
    return false;
  }
  *ret_offset = (*first)++ << q->header.cluster_bits;
  return vp_file_read (q->file, entry->offset, buffer, (size_t) entry->length,
                       error) &&
         vp_file_write (q->file, *ret_offset, buffer, (size_t) entry->length,
                        error);
}

static bool
write_entries (QcowCheck *check, const GArray *entries, GError **error)
{
  for (guint i = 0; i < entries->len; i++) {
    const QcowFault *entry = &g_array_index (entries, QcowFault, i);
    uint8_t bytes[8];
    vp_be64_set (bytes, entry->raw);
    if (!vp_file_write (check->q->file, entry->at, bytes, sizeof bytes, error))
      return false;
  }
  return vp_file_flush (check->q->file, error);
}

bool
qcow_move_misplaced (QcowCheck *check, GError **error)
{
  Qcow *q = check->q;
  uint64_t budget = check->file_end + MORE_COPIES, offset;
  uint64_t first =
      vp_round_up (check->file_end, q->cluster_size) >> q->header.cluster_bits;
  g_autofree uint8_t *buffer = g_malloc ((size_t) q->cluster_size);
  GArray *misplaced = check->misplaced;
  guint n = 0;
  for (; n < misplaced->len && budget >= q->cluster_size; n++) {
    QcowFault *fault = &g_array_index (misplaced, QcowFault, n);
    QcowEntry entry;
    if (!qcow_decode (q, fault->raw, &entry, error) ||
        !copy_place (check, &entry, &first, buffer, &offset, error))
      return false;
    fault->raw =
        entry.packed ? qcow_encode_packed (q, offset, entry.length) : offset;
    budget -= q->cluster_size;
  }
  g_array_set_size (misplaced, n);
  return vp_file_flush (q->file, error) &&
         write_entries (check, misplaced, error);
}

/* ---- leaks -------------------------------------------------------------- */

static bool
clear_stale (QcowCheck *check, GError **error)
{
  for (guint i = 0; i < check->stale->len; i++)
    g_array_index (check->stale, QcowFault, i).raw = 0;
  return check->stale->len == 0 || write_entries (check, check->stale, error);
}

static bool
cut_tail (QcowCheck *check, uint64_t end, GError **error)
{
  Qcow *q = check->q;
  if (q->file->is_device || end >= check->file_end)
    return true;
  check->file_end = q->file_end = end;
  return vp_file_truncate (q->file, end, error);
}

bool
qcow_drop_leaks (QcowCheck *check, GError **error)
{
  Qcow *q = check->q;
  unsigned bits = q->header.cluster_bits;
  uint64_t at = 0, count;
  if (!clear_stale (check, error))
    return false;
  if (check->result->leaks == 0)
    return true;
  if (!cut_tail (check, check->result->image_end_offset, error))
    return false;
  uint64_t end = vp_round_up (check->file_end, q->cluster_size) >> bits;
  while (
      qcow_find_free (check->counts, UINT64_C (1) << 20, false, &at, &count) &&
      at < end) {
    uint64_t from = at << bits;
    uint64_t to = MIN ((at + MIN (count, end - at)) << bits, check->file_end);
    if (!vp_file_zero (q->file, from, to - from, true, error))
      return false;
    at += count;
  }
  return vp_file_flush (q->file, error);
}
