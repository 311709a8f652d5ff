/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow-check: the bitmap against the length of file and disk.
 *
 *     a sector of the disk that the file is too short for     corruption
 *     a bit behind the disk's end                             leak
 *
 * The first is mended by a longer file, where such sectors are zeros: what
 * they held is gone, and what the backing file holds there is older. */
#include "config.h"

#include "storage/cow.h"

#include "storage/check.h"

typedef struct {
  Cow *cow;
  VpCheckResult *result;
  bool fix_leaks, fix_all;
  uint64_t file_end, wanted_end;
} Check;

/* A hole in the bitmap has no bits, however long it is. */
static bool
skip_hole (const Check *check, uint64_t sector, uint64_t end,
           uint64_t *ret_count, GError **error)
{
  const Cow *cow = check->cow;
  uint64_t at = cow->layout->len + sector / 8, length = (end - sector) / 8;
  bool data = true;
  *ret_count = 0;
  if (sector % 8 || length < COW_BLOCK)
    return true;
  if (!vp_file_extent (cow->file, at, length, &data, &length, error))
    return false;
  if (!data)
    *ret_count = length * 8;
  return true;
}

static void
judge_lost (Check *check, uint64_t first, uint64_t end)
{
  uint64_t from = check->cow->data_offset + first * COW_SECTOR;
  uint64_t to = check->cow->data_offset + end * COW_SECTOR;
  if (to <= check->file_end)
    return;
  uint64_t lost =
      (to - MAX (from, check->file_end) + COW_SECTOR - 1) / COW_SECTOR;
  vp_check_result_note (check->result,
                        "%s %" PRIu64 " sectors up to %" PRIu64
                        " lie past the end of the file",
                        check->fix_all ? "Repairing" : "ERROR", lost, end - 1);
  check->wanted_end = MAX (check->wanted_end, to);
  if (check->fix_all)
    check->result->corruptions_fixed += lost;
  else
    check->result->corruptions += lost;
}

static bool
judge_stray (Check *check, uint64_t first, uint64_t count, GError **error)
{
  vp_check_result_note (check->result,
                        "%s bits of %" PRIu64 " sectors from %" PRIu64
                        " on, behind the end of the disk",
                        check->fix_leaks ? "Repairing" : "Leaked", count,
                        first);
  if (!check->fix_leaks) {
    check->result->leaks += count;
    return true;
  }
  check->result->leaks_fixed += count;
  return cow_put_bits (check->cow, first, count, false, error);
}

/* The run that begins at first; ret_end: where the next one does. */
static bool
judge_run (Check *check, uint64_t first, uint64_t last, uint64_t *ret_end,
           GError **error)
{
  uint64_t sectors = check->cow->size / COW_SECTOR, count;
  uint64_t limit = first < sectors ? sectors : last;
  bool set;
  if (!skip_hole (check, first, limit, &count, error))
    return false;
  *ret_end = first + count;
  if (count > 0)
    return true;
  if (!cow_count_bits (check->cow, first, limit, &set, &count, error))
    return false;
  *ret_end = first + count;
  if (!set)
    return true;
  if (first >= sectors)
    return judge_stray (check, first, count, error);
  check->result->allocated_clusters += count;
  judge_lost (check, first, first + count);
  return true;
}

static bool
mend_file (Check *check, GError **error)
{
  Cow *cow = check->cow;
  if (check->fix_all && check->wanted_end > check->file_end &&
      !vp_file_truncate (cow->file, check->wanted_end, error))
    return false;
  return vp_tables_flush (cow->tables, error) &&
         vp_file_get_size (cow->file, &cow->file_end, error);
}

bool
cow_check (gpointer state, VpRepair repair, const VpProgress *progress,
           VpCheckResult *result, GError **error)
{
  Cow *cow = state;
  Check check = { .cow = cow,
                  .result = result,
                  .fix_leaks = repair != VP_REPAIR_NOTHING,
                  .fix_all = repair == VP_REPAIR_ALL };
  uint64_t last = (cow->data_offset - cow->layout->len) * 8, next;
  if (!vp_file_get_size (cow->file, &check.file_end, error))
    return false;
  for (uint64_t at = 0; at < last; at = next)
    if (!vp_progress_update (progress, at, last, error) ||
        !judge_run (&check, at, last, &next, error))
      return false;
  if (repair != VP_REPAIR_NOTHING && !mend_file (&check, error))
    return false;
  result->total_clusters = cow->size / COW_SECTOR;
  result->image_end_offset = MAX (check.file_end, cow->data_offset);
  return vp_progress_update (progress, last, last, error);
}
