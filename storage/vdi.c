/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi: the driver; vdi.h draws the format.  The map is read in chunks as it is
 * needed; only who opens an image to write it has to look at all of it. */
#include "config.h"

#include "storage/vdi.h"

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

#define CACHE_LIMIT ((size_t) 8 << 20)
#define CHUNK_LEN   (64u << 10)
#define ENTRY_LEN   4u
#define PER_CHUNK   (CHUNK_LEN / ENTRY_LEN)

/* ---- the map ------------------------------------------------------------ */

uint64_t
vdi_slot_offset (const Vdi *vdi, uint32_t slot)
{
  return vdi->header.data_offset + slot * vdi->slot_size +
         vdi->header.block_extra;
}

bool
vdi_slot_exists (const Vdi *vdi, uint32_t entry)
{
  return entry < VDI_MAX_SLOTS && vdi_slot_offset (vdi, entry) < vdi->file_end;
}

/* The chunk that the entry of block is in; ret_count: entries in it, of those
 * that count. */
static uint8_t *
load_chunk (Vdi *vdi, uint64_t block, uint64_t *ret_offset, uint64_t *ret_count,
            GError **error)
{
  uint64_t first = block - block % PER_CHUNK;
  uint64_t at = vdi->header.map_offset + first * ENTRY_LEN;
  /* To the end of its last sector, which is ours. */
  uint64_t len =
      vp_round_up ((uint64_t) vdi->header.n_blocks * ENTRY_LEN, VDI_SECTOR) -
      first * ENTRY_LEN;
  *ret_offset = at;
  *ret_count = MIN (vdi->header.n_blocks - first, PER_CHUNK);
  return vp_tables_load (vdi->tables, at, (size_t) MIN (len, CHUNK_LEN), error);
}

bool
vdi_get_entry (Vdi *vdi, uint64_t block, uint32_t *ret_entry, GError **error)
{
  uint64_t at, count;
  const uint8_t *chunk = load_chunk (vdi, block, &at, &count, error);
  if (!chunk)
    return false;
  *ret_entry = vp_le32_get (chunk + block % PER_CHUNK * ENTRY_LEN);
  return true;
}

bool
vdi_set_entry (Vdi *vdi, uint64_t block, uint32_t entry, GError **error)
{
  uint64_t at, count, index = block % PER_CHUNK * ENTRY_LEN;
  uint8_t *chunk = load_chunk (vdi, block, &at, &count, error);
  if (!chunk)
    return false;
  vp_le32_set (chunk + index, entry);
  vp_tables_dirty (vdi->tables, at, (size_t) index, ENTRY_LEN, VDI_ORDER_MAP);
  return true;
}

bool
vdi_each (Vdi *vdi, VdiSee see, gpointer user_data, GError **error)
{
  uint64_t at, count;
  for (uint64_t first = 0; first < vdi->header.n_blocks; first += count) {
    if (!vp_tables_trim (vdi->tables, error))
      return false;
    const uint8_t *chunk = load_chunk (vdi, first, &at, &count, error);
    if (!chunk)
      return false;
    for (uint64_t i = 0; i < count; i++) {
      uint32_t entry = vp_le32_get (chunk + i * ENTRY_LEN);
      if (entry < VDI_ZERO && !see (user_data, (uint32_t) (first + i), entry))
        return true;
    }
  }
  return true;
}

/* ---- where -------------------------------------------------------------- */

/* Do blocks that are next to each other lie next to each other? */
static bool
follows (const Vdi *vdi, uint32_t first, uint64_t n, uint32_t entry)
{
  if (first >= VDI_ZERO || n == 0)
    return entry == first;
  return vdi->header.block_extra == 0 && entry == first + n;
}

/* How many blocks from the first one on, at most so many, are alike. */
static bool
count_alike (Vdi *vdi, uint64_t block, uint64_t most, uint32_t *ret_entry,
             uint64_t *ret_n, GError **error)
{
  uint32_t first = 0;
  uint64_t n = 0;
  while (n < most) {
    uint64_t at, count;
    const uint8_t *chunk = load_chunk (vdi, block + n, &at, &count, error);
    if (!chunk)
      return false;
    uint64_t index = (block + n) % PER_CHUNK;
    if (n == 0)
      first = vp_le32_get (chunk + index * ENTRY_LEN);
    uint64_t stop = MIN (count, index + most - n);
    for (; index < stop; index++, n++)
      if (!follows (vdi, first, n, vp_le32_get (chunk + index * ENTRY_LEN)))
        goto out;
  }
out:
  *ret_entry = first;
  *ret_n = n;
  return true;
}

/* What the file lost that was cut short must not read as zeros. */
static bool
check_end (Vdi *vdi, uint64_t block, uint32_t slot, uint64_t at,
           uint64_t *length, GError **error)
{
  if (slot < VDI_MAX_SLOTS && vp_range_ok (at, *length, vdi->file_end))
    return true;
  if (!vp_file_get_size (vdi->file, &vdi->file_end, error))
    return false;
  if (slot >= VDI_MAX_SLOTS || at >= vdi->file_end)
    return vdi_corrupt (vdi->file, error,
                        "block %" PRIu64 " points past the end of the file "
                        "(0x%" PRIx64 ")",
                        block, at);
  *length = MIN (*length, vdi->file_end - at);
  return true;
}

bool
vdi_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
         GError **error)
{
  Vdi *vdi = state;
  uint64_t skip = offset % vdi->block_size, block = offset / vdi->block_size;
  uint64_t most = (skip + length - 1) / vdi->block_size + 1, n;
  uint32_t entry;
  if (!vp_tables_trim (vdi->tables, error) ||
      !count_alike (vdi, block, most, &entry, &n, error))
    return false;
  length = MIN (length, n * vdi->block_size - skip);
  if (entry >= VDI_ZERO) {
    /* There is never anything below, so that both are zeros. */
    *ret_run = (VpRun){ .kind = VP_RUN_ZERO, .length = length };
    return true;
  }
  uint64_t at = vdi_slot_offset (vdi, entry) + skip;
  if (!check_end (vdi, block, entry, at, &length, error))
    return false;
  *ret_run = (VpRun){
    .kind = VP_RUN_DATA, .length = length, .file = vdi->file, .offset = at
  };
  return true;
}

/* ---- life --------------------------------------------------------------- */

static void
vdi_close (gpointer state)
{
  Vdi *vdi = state;
  vp_tables_free (vdi->tables);
  g_clear_pointer (&vdi->spare, g_array_unref);
  g_free (vdi);
}

static bool
vdi_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
          gpointer *ret_state, GError **error)
{
  VdiHeader header;
  if (!vdi_load_header (file, &header, error))
    return false;
  Vdi *vdi = g_new0 (Vdi, 1);
  vdi->file = file;
  vdi->header = header;
  vdi->size = vp_round_up (header.disk_size, VDI_SECTOR);
  vdi->block_size = header.block_size;
  vdi->slot_size = (uint64_t) header.block_size + header.block_extra;
  vdi->tables = vp_tables_new (file, CACHE_LIMIT,
                               !(flags & VP_DRIVER_UNORDERED), NULL, NULL);
  if (!vp_file_get_size (file, &vdi->file_end, error) ||
      !vp_tables_load (vdi->tables, 0, VDI_SECTOR, error) ||
      (flags & VP_DRIVER_WRITABLE &&
       !vdi_prepare_writing (vdi, flags & VP_DRIVER_CHECK, error))) {
    vdi_close (vdi);
    return false;
  }
  *ret_state = vdi;
  return true;
}

static uint64_t
vdi_get_size (gpointer state)
{
  return ((Vdi *) state)->size;
}

static bool
vdi_info (gpointer state, VpImageInfo *info, GError **error)
{
  const Vdi *vdi = state;
  info->cluster_size = vdi->block_size;
  /* A hole takes the place of any sector. */
  info->subcluster_size = VDI_SECTOR;
  return true;
}

/* Slots that were taken but never filled, or were emptied. */
static bool
vdi_has_holes (gpointer state)
{
  Vdi *vdi = state;
  uint64_t size, used;
  return vp_file_get_size (vdi->file, &size, NULL) &&
         vp_file_get_used (vdi->file, &used, NULL) &&
         size > vdi->header.data_offset &&
         used < size - vdi->header.data_offset;
}

static const VpOption options[] = {
  { "size", "Virtual disk size" },
  { "static", "VDI static (pre-allocated) image" },
  { "preallocation", "Preallocation mode (allowed values: off, falloc, full)" },
  { "cluster_size", "Block size; other programs know 1M alone" },
  { NULL, NULL },
};

const VpFormat vp_format_vdi = {
  .name = "vdi",
  .options = options,
  .header = &vdi_header_layout,
  .probe = vdi_probe,
  .check_create = vdi_check_create,
  .create = vdi_create,
  .open = vdi_open,
  .close = vdi_close,
  .get_size = vdi_get_size,
  .info = vdi_info,
  .map = vdi_map,
  .reserve = vdi_reserve,
  .link = vdi_link,
  .unreserve = vdi_unreserve,
  .zero = vdi_zero,
  .discard = vdi_discard,
  .flush = vdi_flush,
  .resize = vdi_resize,
  .shrink = vdi_shrink,
  .footprint = vdi_footprint,
  .check = vdi_check,
  .has_holes = vdi_has_holes,
  .describe = vdi_describe,
};
