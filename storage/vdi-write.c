/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-write: places for guest bytes.  A block that has none takes the next
 * slot, which reads as zeros, so that only what was written has to be. */
#include "config.h"

#include "storage/vdi.h"

#include "storage/error.h"

/* ---- the first look ----------------------------------------------------- */

typedef struct {
  Vdi *vdi;
  VdiSlots slots;
  GError *error;
} Look;

static bool
look_at (gpointer user_data, uint32_t block, uint32_t slot)
{
  Look *look = user_data;
  Vdi *vdi = look->vdi;
  if (!vdi_slot_exists (vdi, slot))
    return vdi_corrupt (vdi->file, &look->error,
                        "block %" PRIu32 " points past the end of the file "
                        "(slot 0x%" PRIx32 "); check and repair it first",
                        block, slot);
  if (!vdi_slots_add (&look->slots, slot))
    return vdi_corrupt (vdi->file, &look->error,
                        "block %" PRIu32 " shares slot 0x%" PRIx32
                        " with another; check and repair it first",
                        block, slot);
  return true;
}

/* The count may be wrong, the map is not: the next slot is behind all that it
 * names. */
static bool
find_next (Vdi *vdi, GError **error)
{
  Look look = { .vdi = vdi };
  if (!vdi_slots_init (&look.slots, vdi, error))
    return false;
  bool ok = vdi_each (vdi, look_at, &look, error);
  uint32_t end = look.slots.end;
  vdi_slots_clear (&look.slots);
  if (look.error) {
    g_propagate_error (error, look.error);
    return false;
  }
  if (!ok || vdi->header.n_allocated == end)
    return ok;
  vdi->header.n_allocated = end;
  return vdi_store_header (vdi, error);
}

bool
vdi_prepare_writing (Vdi *vdi, bool lenient, GError **error)
{
  vdi->spare = g_array_new (false, false, sizeof (uint32_t));
  vdi->used_end = vdi->file->is_device ? UINT64_MAX : vdi->file_end;
  return lenient || find_next (vdi, error);
}

/* ---- slots -------------------------------------------------------------- */

/* Old bytes go, and the file is as long as all its slots. */
static bool
clear_slots (Vdi *vdi, uint64_t start, uint64_t end, GError **error)
{
  if (vdi->file->is_device && end > vdi->file_end) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                 "%s: no room for another block (0x%" PRIx64 ")",
                 vdi->file->name, start);
    return false;
  }
  if (start < vdi->used_end &&
      !vp_file_zero (vdi->file, start, MIN (end, vdi->used_end) - start, true,
                     error))
    return false;
  if (end > vdi->file_end) {
    if (!vp_file_truncate (vdi->file, end, error))
      return false;
    vdi->file_end = end;
  }
  return true;
}

bool
vdi_take_slots (Vdi *vdi, uint64_t count, uint32_t *ret_first, GError **error)
{
  uint32_t first = vdi->header.n_allocated;
  uint64_t start = vdi->header.data_offset + first * vdi->slot_size;
  if (first > VDI_MAX_SLOTS || count > VDI_MAX_SLOTS - first) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: more than %" PRIu32 " slots; check and repair it first",
                 vdi->file->name, VDI_MAX_SLOTS);
    return false;
  }
  if (!clear_slots (vdi, start, start + count * vdi->slot_size, error))
    return false;
  vdi->header.n_allocated = first + (uint32_t) count;
  *ret_first = first;
  return vdi_store_header (vdi, error);
}

/* How many blocks at the front of the range have no slot. */
static bool
count_missing (Vdi *vdi, uint64_t first, uint64_t most, uint64_t *ret_n,
               GError **error)
{
  uint64_t n = 0;
  for (uint32_t entry; n < most; n++) {
    if (!vdi_get_entry (vdi, first + n, &entry, error))
      return false;
    if (entry < VDI_ZERO)
      break;
  }
  *ret_n = n;
  return true;
}

bool
vdi_reserve (gpointer state, uint64_t offset, uint64_t length,
             VpPlace *ret_place, GError **error)
{
  Vdi *vdi = state;
  VpRun run;
  if (!vdi_map (vdi, offset, length, &run, error))
    return false;
  *ret_place = (VpPlace){ .file = vdi->file,
                          .offset = run.offset,
                          .guest = offset,
                          .length = run.length,
                          .in_place = run.kind == VP_RUN_DATA };
  if (ret_place->in_place)
    return true;
  uint64_t skip = offset % vdi->block_size, n;
  uint64_t most = vdi->header.block_extra > 0
                      ? 1
                      : (skip + length - 1) / vdi->block_size + 1;
  uint32_t slot;
  if (!count_missing (vdi, offset / vdi->block_size, most, &n, error) ||
      !vdi_take_slots (vdi, n, &slot, error))
    return false;
  ret_place->offset = vdi_slot_offset (vdi, slot) + skip;
  ret_place->length = MIN (length, n * vdi->block_size - skip);
  return true;
}

/* The slots that a place is in. */
static uint32_t
slots_of (const Vdi *vdi, const VpPlace *place, uint64_t *ret_count)
{
  uint64_t skip = place->guest % vdi->block_size;
  *ret_count = (skip + place->length - 1) / vdi->block_size + 1;
  return (uint32_t) ((place->offset - vdi->header.data_offset) /
                     vdi->slot_size);
}

bool
vdi_link (gpointer state, const VpPlace *place, GError **error)
{
  Vdi *vdi = state;
  uint64_t count, block = place->guest / vdi->block_size;
  uint32_t slot = slots_of (vdi, place, &count);
  for (uint64_t i = 0; i < count; i++)
    if (!vdi_set_entry (vdi, block + i, slot + (uint32_t) i, error))
      return false;
  return true;
}

/* Slots at the end are the next ones again. */
static void
give_back (Vdi *vdi)
{
  for (guint i = 0; i < vdi->spare->len; i++)
    if (g_array_index (vdi->spare, uint32_t, i) + 1 ==
        vdi->header.n_allocated) {
      vdi->header.n_allocated--;
      g_array_remove_index_fast (vdi->spare, i);
      i = G_MAXUINT; /* from the beginning */
    }
}

void
vdi_unreserve (gpointer state, const VpPlace *place)
{
  Vdi *vdi = state;
  uint64_t count;
  uint32_t slot = slots_of (vdi, place, &count);
  for (uint64_t i = 0; i < count; i++) {
    uint32_t spare = slot + (uint32_t) i;
    g_array_append_val (vdi->spare, spare);
  }
  uint64_t end = vdi->header.data_offset + (slot + count) * vdi->slot_size;
  vdi->used_end = MAX (vdi->used_end, end);
}

/* ---- zeros -------------------------------------------------------------- */

bool
vdi_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
          uint64_t *ret_done, GError **error)
{
  Vdi *vdi = state;
  VpRun run;
  if (!vdi_map (vdi, offset, length, &run, error) ||
      (run.kind == VP_RUN_DATA &&
       !vp_file_zero (vdi->file, run.offset, run.length, unmap, error)))
    return false;
  *ret_done = run.length;
  return true;
}

bool
vdi_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Vdi *vdi = state;
  while (length > 0) {
    VpRun run;
    if (!vdi_map (vdi, offset, length, &run, error))
      return false;
    if (run.kind == VP_RUN_DATA)
      vp_file_discard (vdi->file, run.offset, run.length);
    offset += run.length;
    length -= run.length;
  }
  return true;
}

bool
vdi_flush (gpointer state, GError **error)
{
  Vdi *vdi = state;
  uint32_t before = vdi->header.n_allocated;
  give_back (vdi);
  return (vdi->header.n_allocated == before || vdi_store_header (vdi, error)) &&
         vp_tables_flush (vdi->tables, error);
}
