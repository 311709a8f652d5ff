/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-check: the map against the file and against the header's count.
 *
 *     a number that names no slot of the file              corruption
 *     a slot that two blocks have                          corruption
 *     a block whose end the file has lost                  corruption
 *     a count that is behind the map: whoever writes       corruption
 *       next would take a slot that is in use
 *     slots that are counted, and nobody has               leak
 *
 * What the file has behind its slots is nobody's, and harms nobody.
 *
 * The repair never takes a byte from a block: who shares a slot gets a copy of
 * what both read, and what is lost reads as zeros. */
#include "config.h"

#include "storage/vdi.h"

#include "storage/check.h"

/* Copies for shared slots, where the image is of strangers. */
#define MAX_COPIED (UINT64_C (1) << 30)

typedef struct {
  Vdi *vdi;
  VpCheckResult *result;
  VpRepair repair;
  VdiSlots slots;
  uint64_t lost, shared, wanted_end;
  bool failed;
  GError **error;
} Check;

/* Bytes of a block that belong to the disk end there in the file. */
static uint64_t
block_end (const Vdi *vdi, uint32_t block, uint32_t slot)
{
  uint64_t start = block * vdi->block_size;
  uint64_t length =
      start < vdi->size ? MIN (vdi->block_size, vdi->size - start) : 0;
  return vdi_slot_offset (vdi, slot) + length;
}

static const char *
verb (const Check *check)
{
  return check->repair == VP_REPAIR_ALL ? "Repairing" : "ERROR";
}

static bool
judge (gpointer user_data, uint32_t block, uint32_t slot)
{
  Check *check = user_data;
  const Vdi *vdi = check->vdi;
  if (slot >= check->slots.n_slots) {
    check->lost++;
    vp_check_result_note (check->result,
                          "%s block %" PRIu32
                          " points past the end of the file (slot 0x%" PRIx32
                          ")",
                          verb (check), block, slot);
    return true;
  }
  if (!vdi_slots_add (&check->slots, slot)) {
    check->shared++;
    vp_check_result_note (check->result,
                          "%s block %" PRIu32 " shares slot 0x%" PRIx32
                          " with another",
                          verb (check), block, slot);
    return true;
  }
  uint64_t end = block_end (vdi, block, slot);
  if (end <= vdi->file_end)
    return true;
  check->lost++;
  check->wanted_end = MAX (check->wanted_end, end);
  vp_check_result_note (check->result,
                        "%s block %" PRIu32 " ends behind the file "
                        "(0x%" PRIx64 ")",
                        verb (check), block, end);
  return true;
}

/* ---- repair ------------------------------------------------------------- */

static bool
mend (gpointer user_data, uint32_t block, uint32_t slot)
{
  Check *check = user_data;
  Vdi *vdi = check->vdi;
  uint32_t own = VDI_FREE;
  if (slot < check->slots.n_slots) {
    if (vdi_slots_add (&check->slots, slot))
      return true;
    check->failed = !vdi_take_slots (vdi, 1, &own, check->error) ||
                    !vdi_copy_slot (vdi, slot, own, check->error);
  }
  check->failed =
      check->failed || !vdi_set_entry (vdi, block, own, check->error);
  return !check->failed;
}

/* Slots are looked up in the file as it was: what is added to it must not let
 * a number that named nothing name something. */
static bool
mend_map (Check *check, GError **error)
{
  Vdi *vdi = check->vdi;
  uint32_t end = check->slots.end;
  vdi_slots_clear (&check->slots);
  if (!vdi_slots_init (&check->slots, vdi, error))
    return false;
  vdi->header.n_allocated = end;
  check->error = error;
  if (check->wanted_end > vdi->file_end) {
    if (!vp_file_truncate (vdi->file, check->wanted_end, error))
      return false;
    vdi->file_end = check->wanted_end;
  }
  if (!vdi_store_header (vdi, error) || !vdi_each (vdi, mend, check, error) ||
      check->failed)
    return false;
  return vp_tables_flush (vdi->tables, error);
}

/* What a stranger's image may make us copy has a limit. */
static bool
can_mend (const Check *check)
{
  const Vdi *vdi = check->vdi;
  uint64_t most = MAX (vdi->file_end, MAX_COPIED) / vdi->slot_size;
  return check->repair == VP_REPAIR_ALL && check->shared <= most;
}

/* ---- the check ---------------------------------------------------------- */

static void
judge_count (Check *check, uint64_t *ret_behind, uint64_t *ret_leaks)
{
  const Vdi *vdi = check->vdi;
  uint64_t counted = vdi->header.n_allocated;
  *ret_behind = counted < check->slots.end;
  *ret_leaks = MAX (counted, check->slots.end) - check->slots.n_used;
  if (*ret_behind)
    vp_check_result_note (check->result,
                          "%s the header counts %" PRIu64
                          " blocks, and slots up to 0x%" PRIx32 " are in use",
                          verb (check), counted, check->slots.end - 1);
  if (*ret_leaks)
    vp_check_result_note (check->result, "%s %" PRIu64 " slots are not in use",
                          check->repair == VP_REPAIR_NOTHING ? "Leaked:"
                                                             : "Repairing",
                          *ret_leaks);
}

static bool
finish (Check *check, GError **error)
{
  VpCheckResult *result = check->result;
  uint64_t behind, leaks;
  judge_count (check, &behind, &leaks);
  uint64_t corruptions = check->lost + check->shared + behind;
  if (corruptions > 0 && !can_mend (check)) {
    result->corruptions += corruptions;
    result->leaks += leaks;
    return true;
  }
  if (corruptions > 0 && !mend_map (check, error))
    return false;
  result->corruptions_fixed += corruptions;
  if (leaks == 0)
    return true;
  if (check->repair == VP_REPAIR_NOTHING) {
    result->leaks += leaks;
    return true;
  }
  result->leaks_fixed += leaks;
  return vdi_close_gaps (check->vdi, error);
}

bool
vdi_check (gpointer state, VpRepair repair, const VpProgress *progress,
           VpCheckResult *result, GError **error)
{
  Vdi *vdi = state;
  Check check = { .vdi = vdi, .result = result, .repair = repair };
  if (!vp_file_get_size (vdi->file, &vdi->file_end, error) ||
      !vdi_slots_init (&check.slots, vdi, error))
    return false;
  bool ok = vdi_each (vdi, judge, &check, error) && finish (&check, error);
  vdi_slots_clear (&check.slots);
  return ok && vp_progress_update (progress, 1, 1, error);
}
