/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-packed: places for compressed clusters.  They take bytes, not
 * clusters, one behind the other, and may cross from one host cluster into
 * the next; each host cluster counts the packed ones that touch it.
 *
 *     host cluster          host cluster
 *     | A      | B      | C .   .. C | D    | free ... |
 *     refcount 3            refcount 2             ^ packed_end
 *
 * Bytes behind packed_end were never anybody's, so a cut in the midst of a
 * write harms nothing that is linked.  Bytes before it are not used again
 * until the last user of their host cluster is gone and the quarantine is
 * empty. */
#include "config.h"

#include "storage/qcow2-bitmap.h"
#include "storage/qcow2.h"

#include "storage/error.h"

bool
qcow2_packing (gpointer state, VpPacking *ret_packing)
{
  Qcow2 *q = state;
  if (q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE ||
      q->header.crypt_method != 0)
    return false;
  *ret_packing =
      (VpPacking){ .codec = q->header.compression_type ? VP_CODEC_ZSTD
                                                       : VP_CODEC_DEFLATE,
                   .unit = q->cluster_size };
  return true;
}

/* Room behind packed_end in its host cluster, where that can be counted once
 * more. */
static bool
measure_room (Qcow2 *q, uint64_t *ret_room, uint64_t *ret_refcount,
              GError **error)
{
  uint64_t within = q->packed_end & (q->cluster_size - 1), refcount;
  *ret_room = 0;
  if (within == 0)
    return true;
  if (!qcow2_get_refcount (q, q->packed_end >> q->header.cluster_bits,
                           &refcount, error))
    return false;
  unsigned bits = 1u << q->header.refcount_order;
  uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C (1) << bits) - 1;
  if (refcount > 0 && refcount < most)
    *ret_room = q->cluster_size - within;
  *ret_refcount = refcount;
  return true;
}

static bool
find_room (Qcow2 *q, uint64_t len, uint64_t *ret_offset, GError **error)
{
  uint64_t room, refcount, next, start = q->packed_end;
  uint64_t cluster = start >> q->header.cluster_bits;
  if (!measure_room (q, &room, &refcount, error))
    return false;
  if (room < len) {
    if (!qcow2_allocate (q, 1, true, &next, NULL, error))
      return false;
    if (room == 0 || next != start + room) {
      *ret_offset = next;
      return true;
    }
  }
  *ret_offset = start;
  return qcow2_set_refcount (q, cluster, refcount + 1, error);
}

bool
qcow2_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                      VpPlace *ret_place, GError **error)
{
  Qcow2 *q = state;
  uint64_t at;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  g_return_val_if_fail (len > 0 && len < q->cluster_size, false);
  if (!qcow2_record (q, offset, q->cluster_size, error) ||
      !vp_tables_trim (q->tables, error) ||
      !qcow2_prepare_entry (q, offset, error) ||
      !find_room (q, len, &at, error))
    return false;
  q->packed_end = at + len;
  *ret_place = (VpPlace){ .file = q->file,
                          .offset = at,
                          .guest = offset,
                          .length = q->cluster_size,
                          .packed = len };
  if (at + len <= UINT64_C (1) << qcow2_packed_bits (q))
    return true;
  qcow2_unreserve (q, ret_place);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: too long for compressed clusters", q->file->name);
  return false;
}

bool
qcow2_link_packed (gpointer state, const VpPlace *place, GError **error)
{
  Qcow2 *q = state;
  uint64_t end = place->offset + place->packed;
  uint64_t sectors = (end - 1) / 512 - place->offset / 512;
  uint64_t raw =
      QCOW2_COMPRESSED | sectors << qcow2_packed_bits (q) | place->offset;
  if (!qcow2_change_entry (q, place->guest, raw, error))
    return false;
  q->file_end = MAX (q->file_end, end);
  return true;
}

/* Entries count whole sectors, so the file has whole ones. */
bool
qcow2_round_file (Qcow2 *q, GError **error)
{
  uint64_t end = vp_round_up (q->packed_end, 512), size;
  if (q->packed_end % 512 == 0 || q->file->is_device)
    return true;
  return vp_file_get_size (q->file, &size, error) &&
         (size >= end || vp_file_truncate (q->file, end, error));
}
