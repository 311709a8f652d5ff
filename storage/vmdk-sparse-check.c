/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-check: is an extent consistent with itself.
 *
 *     corruption  an entry that leads out of the file or upon metadata; two
 *                 grains in one place; a directory that leads nowhere
 *     leak        space that is taken up on the disk and that nothing names;
 *                 a copy of a table that is not what the table is
 *
 * The latter is what a cut leaves between the two writes, and costs nobody a
 * byte.  A hole of the file is no leak: the format has no other way to say that
 * a place is free. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/check.h"

#define MAX_ODD    ((guint) 1 << 22)
#define MIN_LEAK   4096u /* holes are not finer than that */
#define AT         "0x%" G_GINT64_MODIFIER "x"
#define BYTES(at_) ((uint64_t) (at_) *VMDK_SECTOR)

const char *
vmdk_judge_entry (VmdkSparse *s, uint32_t entry)
{
  uint64_t count = s->facts.compressed ? 1 : s->grain_sectors;
  if (!vmdk_is_place (s, entry))
    return NULL;
  if (vmdk_meets_metadata (s, entry, count))
    return "lies upon metadata";
  return BYTES (entry) >= s->file_size ? "lies past the end of the file" : NULL;
}

static void
corruption (VmdkCheck *check, const char *what, uint64_t number,
            const char *how, uint64_t offset)
{
  check->result->corruptions++;
  vp_check_result_note (check->result, "ERROR %s: %s %" PRIu64 " %s (" AT ")",
                        check->s->file->name, what, number, how, offset);
}

static bool
too_large (const VmdkCheck *check, GError **error)
{
  return vmdk_corrupt (check->s, error,
                       "its grains lie too far from each other");
}

/* ---- grains -----------------------------------------------------------------
 */

/* Is something there already?  False in *ret_double where not. */
static bool
note_place (VmdkCheck *check, uint32_t entry, bool *ret_double, GError **error)
{
  const VmdkSparse *s = check->s;
  uint64_t unit = s->facts.compressed ? 1 : s->grain_sectors;
  uint64_t slot = entry / unit;
  *ret_double = false;
  if (entry % unit != 0) {
    if (check->odd->len >= MAX_ODD)
      return too_large (check, error);
    g_array_append_val (check->odd, entry);
    return true;
  }
  *ret_double = vp_cluster_set_meets (check->used, slot, 1);
  return vp_cluster_set_add (check->used, slot, 1) || too_large (check, error);
}

static bool
check_grain (VmdkCheck *check, uint32_t n, uint32_t at, uint32_t entry,
             GError **error)
{
  VmdkSparse *s = check->s;
  uint64_t grain = (uint64_t) n * s->gtes + at, unit = s->facts.grain_size;
  bool twice;
  VpRun run;
  check->result->allocated_clusters++;
  if (s->facts.compressed && grain < vmdk_grains (s)) {
    check->result->compressed_clusters++;
    if (!vmdk_locate_packed (s, grain * unit, entry, &run, NULL))
      corruption (check, "grain", grain, "has a marker that cannot be",
                  BYTES (entry));
  }
  if (!note_place (check, entry, &twice, error))
    return false;
  if (!twice)
    return true;
  corruption (check, "grain", grain, "lies where another one does",
              BYTES (entry));
  return !check->mend_all || vmdk_mend_double (check, n, at, error);
}

/* ---- tables -----------------------------------------------------------------
 */

static bool
check_entries (VmdkCheck *check, uint32_t n, const uint8_t *gt, GError **error)
{
  VmdkSparse *s = check->s;
  uint64_t before = 0;
  for (uint32_t at = 0; at < s->gtes; at++) {
    uint32_t entry = vp_le32_get (gt + 4 * (size_t) at);
    if (!vmdk_is_place (s, entry) || vmdk_judge_entry (s, entry))
      continue;
    if (before > 0 && entry != before + s->grain_sectors)
      check->result->fragmented_clusters++;
    before = entry;
    if (!check_grain (check, n, at, entry, error))
      return false;
  }
  return true;
}

static uint64_t
judge_table (VmdkCheck *check, uint32_t n, const uint8_t *gt)
{
  uint64_t broken = 0;
  for (uint32_t at = 0; at < check->s->gtes; at++) {
    uint32_t entry = vp_le32_get (gt + 4 * (size_t) at);
    const char *how = vmdk_judge_entry (check->s, entry);
    if (!how)
      continue;
    broken++;
    corruption (check, "grain", (uint64_t) n * check->s->gtes + at, how,
                BYTES (entry));
  }
  return broken;
}

/* Does the copy of a sound table say the same? */
static bool
check_copy (VmdkCheck *check, uint32_t n, const uint8_t *gt, GError **error)
{
  VmdkSparse *s = check->s;
  uint8_t *copy;
  if (s->rgd_offset == 0)
    return true;
  if (!vmdk_check_gde (s, true, n, NULL) || vmdk_gd_get (s, true, n) == 0) {
    corruption (check, "redundant grain table", n, "is not there",
                BYTES (vmdk_gd_get (s, true, n)));
    return vmdk_mend_directory (check, true, n, error);
  }
  if (!vmdk_load_gt (s, true, n, &copy, NULL)) {
    check->result->check_errors++;
    return true;
  }
  if (memcmp (gt, copy, vmdk_gt_size (s)) == 0)
    return true;
  check->result->leaks++;
  vp_check_result_note (check->result,
                        "Leaked: %s: redundant grain table %" PRIu32
                        " is not what the table is",
                        s->file->name, n);
  return !check->mend_leaks || vmdk_mend_copy (check, n, error);
}

static bool
check_table (VmdkCheck *check, uint32_t n, GError **error)
{
  VmdkSparse *s = check->s;
  uint8_t *gt;
  if (!vp_tables_trim (s->tables, error))
    return false;
  if (!vmdk_check_gde (s, false, n, NULL)) {
    corruption (check, "grain table", n, "lies outside of the file",
                BYTES (vmdk_gd_get (s, false, n)));
    if (!vmdk_mend_directory (check, false, n, error))
      return false;
    if (!vmdk_check_gde (s, false, n, NULL))
      return true;
  }
  if (!vmdk_restore_table (check, n, error))
    return false;
  if (!vmdk_load_gt (s, false, n, &gt, NULL)) {
    check->result->check_errors++;
    return true;
  }
  if (!gt)
    return true;
  if (judge_table (check, n, gt) > 0 && check->mend_all &&
      (!vmdk_mend_table (check, n, error) ||
       !vmdk_load_gt (s, false, n, &gt, error)))
    return false;
  /* Its entries may be changed meanwhile, not its place. */
  return check_entries (check, n, gt, error) &&
         check_copy (check, n, gt, error);
}

static bool
check_tables (VmdkCheck *check, const VpProgress *progress, GError **error)
{
  VmdkSparse *s = check->s;
  for (uint32_t n = 0; n < s->n_gts; n++) {
    uint32_t left = s->n_gts - n;
    uint32_t empty = vmdk_count_empty (s, false, n, left);
    if (s->rgd_offset > 0 && empty > 0)
      empty = MIN (empty, vmdk_count_empty (s, true, n, left));
    if (empty > 0)
      n += empty - 1;
    else if (!check_table (check, n, error))
      return false;
    if (!vp_progress_update (progress, n + UINT64_C (1), s->n_gts, error))
      return false;
  }
  return true;
}

/* ---- grains that lie across slots
 * --------------------------------------------- */

static int
compare_sectors (gconstpointer a, gconstpointer b)
{
  uint32_t left = *(const uint32_t *) a, right = *(const uint32_t *) b;
  return left < right ? -1 : left > right;
}

static bool
check_odd (VmdkCheck *check, GError **error)
{
  uint64_t unit = check->s->grain_sectors;
  g_array_sort (check->odd, compare_sectors);
  for (guint i = 0; i < check->odd->len; i++) {
    uint32_t at = g_array_index (check->odd, uint32_t, i);
    if (vp_cluster_set_meets (check->used, at / unit, 2) ||
        (i > 0 && at < g_array_index (check->odd, uint32_t, i - 1) + unit))
      corruption (check, "a grain at sector", at, "lies where another one does",
                  BYTES (at));
  }
  for (guint i = 0; i < check->odd->len; i++)
    if (!vp_cluster_set_add (check->used,
                             g_array_index (check->odd, uint32_t, i) / unit, 2))
      return too_large (check, error);
  return true;
}

/* ---- leaks
 * ---------------------------------------------------------------------- */

static bool
is_leak (const VmdkCheck *check, uint64_t slot)
{
  const VmdkSparse *s = check->s;
  return !vp_cluster_set_meets (check->used, slot, 1) &&
         !vmdk_meets_metadata (s, slot * s->grain_sectors, s->grain_sectors);
}

/* Counts those of [from, to); mend: lets go of them. */
static bool
leaks_between (VmdkCheck *check, uint64_t from, uint64_t to, bool mend,
               GError **error)
{
  uint64_t unit = check->s->facts.grain_size;
  for (uint64_t slot = from; slot < to; slot++) {
    if (!is_leak (check, slot))
      continue;
    if (!mend) {
      check->result->leaks++;
      vp_check_result_note (check->result,
                            "Leaked: %s: nothing names the place at " AT,
                            check->s->file->name, slot * unit);
    } else if (!vp_file_zero (check->s->file, slot * unit, unit, true, error))
      return false;
  }
  return true;
}

/* Over all that the file takes up on the disk. */
static bool
walk_leaks (VmdkCheck *check, uint64_t size, bool mend, GError **error)
{
  VmdkSparse *s = check->s;
  uint64_t unit = s->facts.grain_size, part;
  uint64_t from = vmdk_first_slot (s);
  for (uint64_t at = from * unit; at < size; at += part) {
    bool data;
    if (!vp_file_extent (s->file, at, size - at, &data, &part, error))
      return false;
    uint64_t to = vp_round_up (at + part, unit) / unit;
    from = MAX (from, at / unit);
    if (!data || from >= to)
      continue;
    if (!leaks_between (check, from, to, mend, error))
      return false;
    from = to;
  }
  return true;
}

/* What lies behind all that is named goes. */
static bool
cut_tail (VmdkCheck *check, uint64_t size, uint64_t *ret_size, GError **error)
{
  VmdkSparse *s = check->s;
  uint64_t unit = s->facts.grain_size;
  uint64_t slot = vp_round_up (size, unit) / unit;
  uint64_t first = vmdk_first_slot (s);
  while (slot > first && is_leak (check, slot - 1))
    slot--;
  *ret_size = MIN (size, slot * unit);
  return *ret_size == size || vp_file_truncate (s->file, *ret_size, error);
}

static bool
check_leaks (VmdkCheck *check, GError **error)
{
  VmdkSparse *s = check->s;
  uint64_t size, before = check->result->leaks;
  if (s->facts.compressed || s->facts.grain_size < MIN_LEAK ||
      s->file->is_device)
    return true;
  if (!vp_file_get_size (s->file, &size, error) ||
      !walk_leaks (check, size, false, error))
    return false;
  uint64_t leaks = check->result->leaks - before;
  if (!check->mend_leaks || leaks == 0)
    return true;
  if (!cut_tail (check, size, &size, error) ||
      !walk_leaks (check, size, true, error) || !vp_file_flush (s->file, error))
    return false;
  check->result->leaks -= leaks;
  check->result->leaks_fixed += leaks;
  g_clear_pointer (&s->space, vmdk_space_free);
  return vp_file_get_size (s->file, &s->file_size, error);
}

/* ---- all of it
 * ------------------------------------------------------------------- */

static bool
run (VmdkCheck *check, const VpProgress *progress, GError **error)
{
  VmdkSparse *s = check->s;
  VpCheckResult *result = check->result;
  if (s->tangled) {
    result->corruptions++;
    check->mend_all = check->mend_leaks = false;
    vp_check_result_note (result, "ERROR %s: its tables lie upon each other",
                          s->file->name);
  }
  if (s->facts.compressed)
    check->mend_all = check->mend_leaks = false;
  if ((check->mend_all || check->mend_leaks) && !vmdk_load_space (s, error))
    return false;
  result->total_clusters += vmdk_grains (s);
  if (!check_tables (check, progress, error) || !check_odd (check, error) ||
      (s->changed && !vp_tables_flush (s->tables, error)))
    return false;
  /* As long as entries lead anywhere nobody knows what is free. */
  if (result->corruptions == 0 && result->check_errors == 0 &&
      !check_leaks (check, error))
    return false;
  result->image_end_offset = MAX (result->image_end_offset, s->file_size);
  return true;
}

bool
vmdk_sparse_check (VmdkSparse *s, VpRepair repair, const VpProgress *progress,
                   VpCheckResult *result, GError **error)
{
  VmdkCheck check = { .s = s,
                      .result = result,
                      .mend_all = repair == VP_REPAIR_ALL,
                      .mend_leaks = repair != VP_REPAIR_NOTHING,
                      .used = vp_cluster_set_new (),
                      .odd = g_array_new (false, false, sizeof (uint32_t)) };
  bool ok = s->facts.is_sesparse || run (&check, progress, error);
  vp_cluster_set_free (check.used);
  g_array_unref (check.odd);
  return ok;
}
