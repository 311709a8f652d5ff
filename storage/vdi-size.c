/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-size: disks that become larger or smaller, and blocks that get their
 * slots before there are bytes for them. */
#include "config.h"

#include "storage/vdi.h"

#include "storage/error.h"

static uint64_t
blocks_of (const Vdi *vdi, uint64_t size)
{
  return size / vdi->block_size + (size % vdi->block_size != 0);
}

/* ---- slots beforehand --------------------------------------------------- */

static bool
allocate (Vdi *vdi, uint32_t slot, uint64_t count,
          VpPreallocation preallocation, GError **error)
{
  uint64_t start = vdi->header.data_offset + slot * vdi->slot_size;
  uint64_t length = count * vdi->slot_size;
  switch (preallocation) {
  case VP_PREALLOCATION_FALLOC:
    return vp_file_allocate (vdi->file, start, length, error);
  case VP_PREALLOCATION_FULL:
    return vp_file_zero (vdi->file, start, length, false, error);
  case VP_PREALLOCATION_OFF:
  case VP_PREALLOCATION_METADATA:
  default: return true;
  }
}

bool
vdi_fill (Vdi *vdi, uint64_t first, VpPreallocation preallocation,
          GError **error)
{
  uint64_t count = vdi->header.n_blocks - first;
  uint32_t slot;
  if (count == 0)
    return true;
  if (!vdi_take_slots (vdi, count, &slot, error) ||
      !allocate (vdi, slot, count, preallocation, error))
    return false;
  for (uint64_t i = 0; i < count; i++)
    if (!vdi_set_entry (vdi, first + i, slot + (uint32_t) i, error) ||
        !vp_tables_trim (vdi->tables, error))
      return false;
  return true;
}

/* ---- sizes -------------------------------------------------------------- */

/* A map may be longer than its disk, and what blocks there hold is not the
 * disk's. */
static bool
forget_behind (Vdi *vdi, uint64_t first, GError **error)
{
  bool any = false;
  for (uint64_t block = first; block < vdi->header.n_blocks; block++) {
    uint32_t entry;
    if (!vp_tables_trim (vdi->tables, error) ||
        !vdi_get_entry (vdi, block, &entry, error))
      return false;
    if (entry >= VDI_ZERO)
      continue;
    if (!vdi_set_entry (vdi, block, VDI_FREE, error))
      return false;
    any = true;
  }
  return !any ||
         (vp_tables_flush (vdi->tables, error) && vdi_close_gaps (vdi, error));
}

bool
vdi_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
            GError **error)
{
  Vdi *vdi = state;
  uint64_t old_size = vdi->size, old_blocks = blocks_of (vdi, old_size);
  uint64_t n_blocks = blocks_of (vdi, size);
  if (n_blocks > VDI_MAX_BLOCKS) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "Unsupported VDI image size (size is 0x%" PRIx64
                 ", max supported is 0x%" PRIx64 ")",
                 size, VDI_MAX_BLOCKS * vdi->block_size);
    return false;
  }
  if (size < old_size)
    return vdi_shrink (vdi, size, error);
  if (!forget_behind (vdi, old_blocks, error) ||
      !vdi_grow_map (vdi, n_blocks, size, error))
    return false;
  if ((vdi->header.type != VDI_TYPE_STATIC &&
       preallocation == VP_PREALLOCATION_OFF) ||
      (vdi_fill (vdi, old_blocks, preallocation, error) &&
       vdi_flush (vdi, error)))
    return true;
  /* As it was, as far as that goes; the caller has the first error. */
  (void) vdi_shrink (vdi, old_size, NULL);
  return false;
}

/* The size first: what is cut between is slots that nobody has. */
bool
vdi_shrink (gpointer state, uint64_t size, GError **error)
{
  Vdi *vdi = state;
  if (!vdi_flush (vdi, error))
    return false;
  vp_tables_drop (vdi->tables);
  vdi->header.disk_size = vdi->size = size;
  vdi->header.n_blocks = (uint32_t) blocks_of (vdi, size);
  return vdi_store_header (vdi, error) &&
         vp_tables_flush (vdi->tables, error) && vdi_close_gaps (vdi, error);
}
