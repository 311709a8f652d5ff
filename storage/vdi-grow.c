/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-grow: more blocks than the map has room for.  The blocks in the first
 * slots move to the end; when nobody has these slots any more, the new map is
 * written into them, and one sector switches from the old map to the new one,
 * with the data beginning behind it:
 *
 *     header | old map | a | b | c |            |
 *     header | old map | - | - | c | a | b |          first slots let go
 *     header | old map | new map   | c | a | b |      written, not yet named
 *     header | ------- | new map   | c | a | b |      slots count from c on */
#include "config.h"

#include "storage/vdi.h"

#include <string.h>

#include "storage/error.h"

#define PIECE_LEN (64u << 10)

/* ---- in place ----------------------------------------------------------- */

static bool
write_free (Vdi *vdi, uint64_t offset, uint64_t length, GError **error)
{
  uint8_t piece[PIECE_LEN];
  memset (piece, 0xff, sizeof piece);
  while (length > 0) {
    size_t len = (size_t) MIN (length, sizeof piece);
    if (!vp_file_write (vdi->file, offset, piece, len, error))
      return false;
    offset += len;
    length -= len;
  }
  return true;
}

static bool
extend_map (Vdi *vdi, uint64_t n_blocks, GError **error)
{
  uint64_t old = vdi->header.n_blocks;
  if (!write_free (vdi, vdi->header.map_offset + old * 4, (n_blocks - old) * 4,
                   error) ||
      !vp_file_flush (vdi->file, error))
    return false;
  vdi->header.n_blocks = (uint32_t) n_blocks;
  return true;
}

/* ---- elsewhere ---------------------------------------------------------- */

typedef struct {
  uint32_t n_slots;
  GArray *movers; /* of VdiMover */
} Front;

static bool
note_front (gpointer user_data, uint32_t block, uint32_t slot)
{
  Front *front = user_data;
  VdiMover mover = { block, slot };
  if (slot < front->n_slots)
    g_array_append_val (front->movers, mover);
  return true;
}

static bool
move_away (Vdi *vdi, const GArray *movers, GError **error)
{
  for (guint i = 0; i < movers->len; i++) {
    const VdiMover *mover = &g_array_index (movers, VdiMover, i);
    uint32_t to;
    if (!vdi_take_slots (vdi, 1, &to, error) ||
        !vdi_copy_slot (vdi, mover->slot, to, error) ||
        !vdi_set_entry (vdi, mover->block, to, error))
      return false;
  }
  return vp_tables_flush (vdi->tables, error);
}

/* Nobody has the first slots afterwards, and that lasts. */
static bool
free_front (Vdi *vdi, uint32_t n_slots, GError **error)
{
  uint32_t first, count = vdi->header.n_allocated;
  if (count < n_slots && !vdi_take_slots (vdi, n_slots - count, &first, error))
    return false;
  Front front = { n_slots, g_array_new (false, false, sizeof (VdiMover)) };
  bool ok = vdi_each (vdi, note_front, &front, error) &&
            move_away (vdi, front.movers, error);
  g_array_unref (front.movers);
  return ok;
}

/* Entries of the old map, counting from another slot on, in pieces. */
static bool
write_map (Vdi *vdi, uint64_t offset, uint32_t n_slots, GError **error)
{
  uint8_t piece[PIECE_LEN];
  size_t len = 0;
  for (uint64_t block = 0; block < vdi->header.n_blocks; block++) {
    uint32_t entry;
    if (!vdi_get_entry (vdi, block, &entry, error))
      return false;
    vp_le32_set (piece + len, entry < VDI_ZERO ? entry - n_slots : entry);
    len += 4;
    if (len < sizeof piece && block + 1 < vdi->header.n_blocks)
      continue;
    if (!vp_file_write (vdi->file, offset, piece, len, error) ||
        !vp_tables_trim (vdi->tables, error))
      return false;
    offset += len;
    len = 0;
  }
  return true;
}

static bool
move_map (Vdi *vdi, uint64_t n_blocks, GError **error)
{
  VdiHeader *h = &vdi->header;
  uint64_t n_slots = (n_blocks * 4 + vdi->slot_size - 1) / vdi->slot_size;
  uint64_t map = h->data_offset, data = map + n_slots * vdi->slot_size;
  if (data > UINT32_MAX) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: its map cannot grow any further; convert it",
                 vdi->file->name);
    return false;
  }
  uint64_t old_len = (uint64_t) h->n_blocks * 4;
  if (!free_front (vdi, (uint32_t) n_slots, error) ||
      !write_map (vdi, map, (uint32_t) n_slots, error) ||
      !write_free (vdi, map + old_len, n_blocks * 4 - old_len, error) ||
      !vp_file_flush (vdi->file, error))
    return false;
  h->map_offset = (uint32_t) map;
  h->data_offset = (uint32_t) data;
  h->n_allocated -= (uint32_t) n_slots;
  h->n_blocks = (uint32_t) n_blocks;
  /* They were counted from the old beginning. */
  g_array_set_size (vdi->spare, 0);
  return true;
}

bool
vdi_grow_map (Vdi *vdi, uint64_t n_blocks, uint64_t size, GError **error)
{
  VdiHeader *h = &vdi->header;
  if (!vdi_flush (vdi, error))
    return false;
  uint64_t end = h->map_offset + n_blocks * 4;
  if (n_blocks > h->n_blocks &&
      !(end <= h->data_offset ? extend_map (vdi, n_blocks, error)
                              : move_map (vdi, n_blocks, error)))
    return false;
  /* From here on the new map is the one; should the header not go out, then
   * the next flush tries again. */
  vp_tables_drop (vdi->tables);
  h->disk_size = vdi->size = size;
  return vp_file_get_size (vdi->file, &vdi->file_end, error) &&
         vdi_store_header (vdi, error) && vp_tables_flush (vdi->tables, error);
}
