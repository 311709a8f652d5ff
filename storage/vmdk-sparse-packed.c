/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-packed: extents whose grains are packed: read through the tables
 * like any other, and written, once, by a stream. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"

bool
vmdk_locate_packed (VmdkSparse *s, uint64_t offset, uint32_t sector,
                    VpRun *ret_run, GError **error)
{
  uint64_t unit = s->facts.grain_size, within = offset & (unit - 1);
  uint64_t guest = offset - within;
  /* Some writers pack no more of the last one than the disk has. */
  uint64_t len = MIN (unit, MAX (s->facts.capacity, offset + 1) - guest);
  if (!vmdk_stream_map (s->file, s->facts.has_markers,
                        (uint64_t) sector * VMDK_SECTOR, guest, (size_t) len,
                        ret_run, error))
    return false;
  ret_run->skip = (size_t) within;
  return true;
}

bool
vmdk_stream_run (VmdkSparse *s, uint64_t offset, uint64_t length,
                 VpRun *ret_run, GError **error)
{
  uint64_t unit = s->facts.grain_size, at;
  uint64_t part = MIN (length, unit - (offset & (unit - 1)));
  if (!vmdk_stream_find (s->stream, offset, &at, error))
    return false;
  *ret_run = (VpRun){ .kind = VP_RUN_UNALLOCATED };
  if (at > 0 && !vmdk_locate_packed (s, offset, (uint32_t) (at / VMDK_SECTOR),
                                     ret_run, error))
    return false;
  ret_run->length = part;
  return true;
}

bool
vmdk_sparse_packing (const VmdkSparse *s, VpPacking *ret_packing)
{
  if (!s->stream)
    return false;
  vmdk_stream_packing (s->stream, ret_packing);
  return true;
}

bool
vmdk_sparse_reserve_packed (VmdkSparse *s, uint64_t offset, uint64_t len,
                            VpPlace *ret_place, GError **error)
{
  g_return_val_if_fail (s->stream, false);
  return vmdk_stream_reserve_packed (s->stream, offset, len, ret_place, error);
}

bool
vmdk_sparse_link_packed (VmdkSparse *s, const VpPlace *place, GError **error)
{
  g_return_val_if_fail (s->stream, false);
  return vmdk_stream_link_packed (s->stream, place, error);
}

bool
vmdk_sparse_settle (VmdkSparse *s, GError **error)
{
  return !s->stream || vmdk_stream_settle (s->stream, error);
}
