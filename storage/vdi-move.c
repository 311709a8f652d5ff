/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-move: blocks that change their slot.  The bytes go to a slot that nobody
 * has and are made to last, then the map names it; the old slot is left alone
 * until that lasts as well. */
#include "config.h"

#include "storage/vdi.h"

#include "storage/error.h"

#define PIECE_LEN ((size_t) 1 << 20)

/* ---- slots that blocks have --------------------------------------------- */

bool
vdi_slots_init (VdiSlots *slots, const Vdi *vdi, GError **error)
{
  uint64_t data = vdi->header.data_offset, n = 0;
  if (vdi->file_end > data)
    n = (vdi->file_end - data - 1) / vdi->slot_size + 1;
  *slots = (VdiSlots){ .n_slots = (uint32_t) MIN (n, VDI_MAX_SLOTS) };
  slots->bits = g_try_malloc0 (slots->n_slots / 8 + 1);
  if (slots->bits)
    return true;
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
               "%s: no memory for %" PRIu32 " slots", vdi->file->name,
               slots->n_slots);
  return false;
}

void
vdi_slots_clear (VdiSlots *slots)
{
  g_clear_pointer (&slots->bits, g_free);
}

bool
vdi_slots_has (const VdiSlots *slots, uint32_t slot)
{
  return slot < slots->n_slots && slots->bits[slot / 8] >> slot % 8 & 1;
}

bool
vdi_slots_add (VdiSlots *slots, uint32_t slot)
{
  g_return_val_if_fail (slot < slots->n_slots, false);
  if (vdi_slots_has (slots, slot))
    return false;
  slots->bits[slot / 8] |= (uint8_t) (1u << slot % 8);
  slots->end = MAX (slots->end, slot + 1);
  slots->n_used++;
  return true;
}

/* ---- moving ------------------------------------------------------------- */

bool
vdi_copy_slot (Vdi *vdi, uint32_t from, uint32_t to, GError **error)
{
  uint64_t source = vdi->header.data_offset + from * vdi->slot_size;
  uint64_t target = vdi->header.data_offset + to * vdi->slot_size;
  size_t most = (size_t) MIN (vdi->slot_size, PIECE_LEN);
  g_autofree uint8_t *piece = g_malloc (most);
  for (uint64_t at = 0; at < vdi->slot_size;) {
    size_t len = (size_t) MIN (vdi->slot_size - at, most);
    if (!vp_file_read (vdi->file, source + at, piece, len, error) ||
        !vp_file_write (vdi->file, target + at, piece, len, error))
      return false;
    at += len;
  }
  return true;
}

typedef struct {
  VdiSlots slots;
  bool sound;
  uint32_t from;
  GArray *movers; /* of VdiMover */
} Gaps;

static bool
note_slot (gpointer user_data, uint32_t block, uint32_t slot)
{
  Gaps *gaps = user_data;
  gaps->sound =
      slot < gaps->slots.n_slots && vdi_slots_add (&gaps->slots, slot);
  return gaps->sound;
}

static bool
note_mover (gpointer user_data, uint32_t block, uint32_t slot)
{
  Gaps *gaps = user_data;
  VdiMover mover = { block, slot };
  if (slot >= gaps->from)
    g_array_append_val (gaps->movers, mover);
  return true;
}

/* There are as many gaps below n_used as blocks that lie above it. */
static bool
fill_gaps (Vdi *vdi, Gaps *gaps, GError **error)
{
  uint32_t gap = 0;
  for (guint i = 0; i < gaps->movers->len; i++, gap++) {
    const VdiMover *mover = &g_array_index (gaps->movers, VdiMover, i);
    while (vdi_slots_has (&gaps->slots, gap))
      gap++;
    if (!vdi_copy_slot (vdi, mover->slot, gap, error) ||
        !vdi_set_entry (vdi, mover->block, gap, error))
      return false;
  }
  return vp_tables_flush (vdi->tables, error);
}

/* What is behind the last block goes. */
static bool
cut_end (Vdi *vdi, uint32_t n_used, GError **error)
{
  uint64_t end = vdi->header.data_offset + n_used * vdi->slot_size;
  vdi->header.n_allocated = n_used;
  g_array_set_size (vdi->spare, 0);
  if (!vdi_store_header (vdi, error) || !vp_tables_flush (vdi->tables, error))
    return false;
  if (vdi->file->is_device || vdi->file_end <= end)
    return true;
  if (!vp_file_truncate (vdi->file, end, error) ||
      !vp_file_flush (vdi->file, error))
    return false;
  vdi->file_end = end;
  vdi->used_end = MIN (vdi->used_end, end);
  return true;
}

bool
vdi_close_gaps (Vdi *vdi, GError **error)
{
  Gaps gaps = { .sound = true };
  if (!vdi_slots_init (&gaps.slots, vdi, error))
    return false;
  gaps.movers = g_array_new (false, false, sizeof (VdiMover));
  bool ok = vdi_each (vdi, note_slot, &gaps, error);
  if (ok && !gaps.sound)
    ok = vdi_corrupt (vdi->file, error,
                      "its blocks are not each in a place of its own");
  gaps.from = gaps.slots.n_used;
  ok = ok && vdi_each (vdi, note_mover, &gaps, error) &&
       fill_gaps (vdi, &gaps, error) && cut_end (vdi, gaps.from, error);
  g_array_unref (gaps.movers);
  vdi_slots_clear (&gaps.slots);
  return ok;
}
