/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-create: an empty hosted extent, as QEMU lays it out:
 *
 *     header | descriptor | copy of the directory, its tables | directory,
 *     tables | grains, from a multiple of their size on
 *
 * All tables are there from the beginning, as holes.  Packed grains have their
 * own room (vmdk-stream.h). */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"

#define GRAIN_SIZE      (UINT64_C (64) << 10)
#define DESCRIPTOR_SIZE (20u * VMDK_SECTOR)
#define GTES            512u
#define GT_SECTORS      (GTES * 4 / VMDK_SECTOR)
#define PIECE           ((size_t) 64 << 10)

static bool
check_options (const VmdkSparseOptions *options, uint64_t grain, GError **error)
{
  if (grain >= VMDK_SECTOR && (grain & (grain - 1)) == 0 &&
      grain / VMDK_SECTOR <= VMDK_MAX_GRAIN &&
      options->capacity <= VP_MAX_VIRTUAL_SIZE - VMDK_SECTOR)
    return true;
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                       "no extent can have that size, or such grains");
  return false;
}

static uint64_t
directory_sectors (uint64_t n_gts)
{
  return (n_gts * 4 + VMDK_SECTOR - 1) / VMDK_SECTOR;
}

bool
vmdk_plan_header (const VmdkSparseOptions *options, VmdkHeader *ret_header,
                  GError **error)
{
  uint64_t size = options->grain_size ? options->grain_size : GRAIN_SIZE;
  if (!check_options (options, size, error))
    return false;
  uint64_t text =
      options->descriptor_size ? options->descriptor_size : DESCRIPTOR_SIZE;
  uint64_t grain = size / VMDK_SECTOR, reach = grain * GTES;
  VmdkHeader h = {
    .magic = VMDK_MAGIC,
    .version = options->zeroed_grain ? 2 : 1,
    .flags = VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT |
             (options->zeroed_grain ? VMDK_FLAG_ZEROED_GRAIN : 0),
    .capacity = vp_round_up (options->capacity, VMDK_SECTOR) / VMDK_SECTOR,
    .grain_size = grain,
    .descriptor_offset = 1,
    .descriptor_size = vp_round_up (text, VMDK_SECTOR) / VMDK_SECTOR,
    .gtes_per_gt = GTES,
    .single_end = '\n',
    .no_end = ' ',
    .double_end_1 = '\r',
    .double_end_2 = '\n',
  };
  uint64_t n_gts = h.capacity / reach + (h.capacity % reach != 0);
  uint64_t all = directory_sectors (n_gts) + n_gts * GT_SECTORS;
  h.rgd_offset = h.descriptor_offset + h.descriptor_size;
  h.gd_offset = h.rgd_offset + all;
  h.overhead = vp_round_up (h.gd_offset + all, grain);
  if (n_gts <= VP_MAX_TABLE_SIZE / 4 && h.overhead <= UINT32_MAX) {
    *ret_header = h;
    return true;
  }
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "a sparse extent cannot have %" PRIu64 " bytes",
               options->capacity);
  return false;
}

/* A directory, whose tables lie behind it. */
static bool
write_directory (VpFile *file, uint64_t sector, uint64_t n_gts, GError **error)
{
  g_autofree uint8_t *piece = g_malloc (PIECE);
  uint64_t offset = sector * VMDK_SECTOR;
  uint32_t gt = (uint32_t) (sector + directory_sectors (n_gts));
  while (n_gts > 0) {
    size_t count = (size_t) MIN (n_gts, PIECE / 4);
    for (size_t i = 0; i < count; i++, gt += GT_SECTORS)
      vp_le32_set (piece + 4 * i, gt);
    if (!vp_file_write (file, offset, piece, 4 * count, error))
      return false;
    offset += 4 * count;
    n_gts -= count;
  }
  return true;
}

bool
vmdk_sparse_create (VpFile *file, const VmdkSparseOptions *options,
                    uint64_t *ret_descriptor_offset, GError **error)
{
  VmdkHeader h;
  uint8_t sector[VMDK_SECTOR] = { 0 };
  if (!vmdk_plan_header (options, &h, error))
    return false;
  if (options->compressed)
    return vmdk_stream_create (file, h.capacity * VMDK_SECTOR,
                               h.descriptor_size * VMDK_SECTOR,
                               ret_descriptor_offset, error);
  uint64_t reach = h.grain_size * GTES, length = h.overhead * VMDK_SECTOR;
  uint64_t n_gts = h.capacity / reach + (h.capacity % reach != 0);
  vp_layout_store (&vmdk_header_layout, &h, sector, sizeof sector);
  if (file->is_device ? !vp_file_zero (file, 0, length, true, error)
                      : !vp_file_truncate (file, length, error))
    return false;
  if (!write_directory (file, h.rgd_offset, n_gts, error) ||
      !write_directory (file, h.gd_offset, n_gts, error) ||
      !vp_file_write (file, 0, sector, sizeof sector, error))
    return false;
  *ret_descriptor_offset = h.descriptor_offset * VMDK_SECTOR;
  return true;
}

bool
vmdk_sparse_overhead (const VmdkSparseOptions *options, uint64_t *ret_overhead,
                      GError **error)
{
  VmdkHeader h;
  if (!vmdk_plan_header (options, &h, error))
    return false;
  *ret_overhead = h.overhead * VMDK_SECTOR;
  return true;
}
