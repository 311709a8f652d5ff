/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-create: a new image.  The data begins at a whole MiB, as VirtualBox has
 * it: so there is room for the map to grow, and blocks can be shared with other
 * files.  Names are random, as two disks with one name do not go together. */
#include "config.h"

#include "storage/vdi.h"

#include <stdarg.h>
#include <string.h>

#include "storage/crypt.h"
#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

#define SMALL_ALIGNMENT 4096u
#define PIECE_LEN       (64u << 10)

static const char banner[] = "<<< vprovd VDI disk image >>>\n";

static bool refuse (GError **error, VpImageErrorCode code, const char *format,
                    ...) G_GNUC_PRINTF (3, 4);

static bool
refuse (GError **error, VpImageErrorCode code, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, VP_IMAGE_ERROR, (int) code, message);
  return false;
}

static uint64_t
block_size_of (const VpCreateOptions *options)
{
  return options->cluster_size ? options->cluster_size : VDI_BLOCK_SIZE;
}

bool
vdi_check_create (const VpCreateOptions *options, GError **error)
{
  uint64_t block_size = block_size_of (options);
  uint64_t most = (uint64_t) VDI_MAX_BLOCKS * block_size;
  if (options->preallocation == VP_PREALLOCATION_METADATA)
    return refuse (error, VP_IMAGE_ERROR_USAGE,
                   "Unsupported preallocation mode: metadata");
  if (block_size < VDI_MIN_BLOCK || block_size > VDI_MAX_BLOCK ||
      block_size & (block_size - 1))
    return refuse (error, VP_IMAGE_ERROR_USAGE,
                   "Block size must be a power of two between %u and %uM",
                   VDI_MIN_BLOCK, VDI_MAX_BLOCK >> 20);
  if (options->size <= most)
    return true;
  return refuse (error, VP_IMAGE_ERROR_RANGE,
                 "Unsupported VDI image size (size is 0x%" PRIx64
                 ", max supported is 0x%" PRIx64 ")",
                 options->size, most);
}

static bool
plan (const VpCreateOptions *options, VdiHeader *ret_header, GError **error)
{
  if (!vdi_check_create (options, error))
    return false;
  uint64_t size = vp_round_up (options->size, VDI_SECTOR);
  uint64_t block_size = block_size_of (options);
  uint64_t n_blocks = size / block_size + (size % block_size != 0);
  uint64_t alignment = CLAMP (block_size, SMALL_ALIGNMENT, VDI_BLOCK_SIZE);
  *ret_header = (VdiHeader){
    .signature = VDI_SIGNATURE,
    .version = VDI_VERSION,
    .header_size = VDI_HEADER_SIZE,
    .type = options->is_static ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC,
    .map_offset = VDI_SECTOR,
    .data_offset =
        (uint32_t) vp_round_up (VDI_SECTOR + n_blocks * 4, alignment),
    .sector_size = VDI_SECTOR,
    .disk_size = size,
    .block_size = (uint32_t) block_size,
    .n_blocks = (uint32_t) n_blocks,
  };
  return true;
}

bool
vdi_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
               GError **error)
{
  VdiHeader header;
  if (!plan (options, &header, error))
    return false;
  *ret_print = (VpFootprint){ .unit = header.block_size,
                              .overhead = header.data_offset,
                              .whole = options->is_static };
  return true;
}

/* A random UUID, its numbers little-endian. */
static void
make_uuid (uint8_t *uuid)
{
  vp_random_bytes (uuid, VDI_UUID_LEN);
  uuid[7] = (uint8_t) ((uuid[7] & 0x0f) | 0x40);
  uuid[8] = (uint8_t) ((uuid[8] & 0x3f) | 0x80);
}

static bool
write_map (VpFile *file, const VdiHeader *header, GError **error)
{
  uint8_t piece[PIECE_LEN];
  uint64_t at = header->map_offset;
  memset (piece, 0xff, sizeof piece);
  for (uint64_t left = (uint64_t) header->n_blocks * 4; left > 0;) {
    size_t len = (size_t) MIN (left, sizeof piece);
    if (!vp_file_write (file, at, piece, len, error))
      return false;
    at += len;
    left -= len;
  }
  return true;
}

static bool
write_header (VpFile *file, const VdiHeader *header, GError **error)
{
  uint8_t sector[VDI_SECTOR] = { 0 };
  memcpy (sector, banner, sizeof banner);
  vp_layout_store (&vdi_header_layout, header, sector, sizeof sector);
  make_uuid (sector + VDI_UUID_OFFSET);
  make_uuid (sector + VDI_SNAPSHOT_OFFSET);
  return vp_file_write (file, 0, sector, sizeof sector, error);
}

/* What is to have its slots from the beginning gets them as any image does. */
static bool
fill (VpFile *file, VpPreallocation preallocation, GError **error)
{
  static const VpOpenOptions nothing = { 0 };
  gpointer state;
  if (!vp_format_vdi.open (file, VP_DRIVER_WRITABLE | VP_DRIVER_UNORDERED,
                           &nothing, &state, error))
    return false;
  bool ok =
      vdi_fill (state, 0, preallocation, error) && vdi_flush (state, error);
  vp_format_vdi.close (state);
  return ok;
}

bool
vdi_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  VdiHeader header;
  if (!plan (options, &header, error) || !write_map (file, &header, error) ||
      (!file->is_device &&
       !vp_file_truncate (file, header.data_offset, error)) ||
      !write_header (file, &header, error))
    return false;
  if (!options->is_static && options->preallocation == VP_PREALLOCATION_OFF)
    return true;
  return fill (file, options->preallocation, error);
}
