/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-repair: what the check found is set right.
 *
 * Nothing is written where a broken entry points: what is to replace it goes to
 * a new place.  A table that is lost is made anew from its copy where that one
 * is sound throughout; of one with single broken entries those alone are.  An
 * entry without a sound copy is given up: where it leads there are no bytes of
 * its grain. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/check.h"

static void
fixed (VmdkCheck *check, uint64_t times)
{
  check->result->corruptions -= times;
  check->result->corruptions_fixed += times;
}

/* The other one's table, in a new place. */
bool
vmdk_mend_directory (VmdkCheck *check, bool copy, uint32_t n, GError **error)
{
  VmdkSparse *s = check->s;
  uint8_t *other;
  if (!check->mend_all || (!copy && s->rgd_offset == 0) ||
      !vmdk_load_gt (s, !copy, n, &other, NULL) || !other)
    return true; /* cannot be mended */
  g_autofree uint8_t *content = g_memdup2 (other, vmdk_gt_size (s));
  if (!vmdk_make_table (s, copy, n, content, error))
    return false;
  fixed (check, 1);
  return true;
}

static uint64_t
count_broken (VmdkSparse *s, const uint8_t *gt)
{
  uint64_t count = 0;
  for (uint32_t at = 0; at < s->gtes; at++)
    if (vmdk_judge_entry (s, vp_le32_get (gt + 4 * (size_t) at)))
      count++;
  return count;
}

/* What is sound stays, for the copy may be behind. */
static void
mend_entries (VmdkSparse *s, const VmdkTable *t, const uint8_t *copy)
{
  for (uint32_t at = 0; at < s->gtes; at++) {
    if (!vmdk_judge_entry (s, vmdk_get_entry (t, at)))
      continue;
    uint32_t other =
        copy ? vp_le32_get (copy + 4 * (size_t) at) : VMDK_GTE_NONE;
    if (vmdk_judge_entry (s, other))
      other = VMDK_GTE_NONE;
    vmdk_set_entry (s, t, at, other);
  }
}

bool
vmdk_mend_table (VmdkCheck *check, uint32_t n, GError **error)
{
  VmdkSparse *s = check->s;
  VmdkTable t;
  if (!vmdk_find_table (s, n, false, &t, error))
    return false;
  uint64_t broken = count_broken (s, t.gt);
  g_autofree uint8_t *content =
      t.copy ? g_memdup2 (t.copy, vmdk_gt_size (s)) : NULL;
  /* Other bytes came to lie where the table was. */
  bool is_lost = broken > s->gtes / 2;
  if (is_lost && content && count_broken (s, content) == 0) {
    if (!vmdk_make_table (s, false, n, content, error))
      return false;
  } else
    mend_entries (s, &t, content);
  fixed (check, broken);
  return true;
}

static bool
is_empty (VmdkSparse *s, const uint8_t *gt)
{
  for (size_t i = 0; i < vmdk_gt_size (s); i++)
    if (gt[i] != 0)
      return false;
  return true;
}

/* A cut, too, may leave such a table while all of it is discarded; nobody was
 * told then that it is done. */
bool
vmdk_restore_table (VmdkCheck *check, uint32_t n, GError **error)
{
  VmdkSparse *s = check->s;
  size_t size = vmdk_gt_size (s);
  VmdkTable t;
  if (!check->mend_leaks || s->rgd_offset == 0)
    return true;
  if (!vmdk_find_table (s, n, false, &t, error))
    return false;
  if (!t.gt || !t.copy || !is_empty (s, t.gt) || is_empty (s, t.copy) ||
      count_broken (s, t.copy) > 0)
    return true;
  memcpy (t.gt, t.copy, size);
  vp_tables_dirty (s->tables, t.offset, 0, size, VMDK_ORDER_MAP);
  s->changed = true;
  check->result->leaks_fixed++;
  vp_check_result_note (check->result,
                        "Repairing: %s: grain table %" PRIu32
                        " is empty, and its copy is not",
                        s->file->name, n);
  return true;
}

bool
vmdk_mend_double (VmdkCheck *check, uint32_t n, uint32_t at, GError **error)
{
  VmdkSparse *s = check->s;
  size_t len = (size_t) s->facts.grain_size;
  g_autofree uint8_t *grain = g_malloc (len);
  uint64_t count;
  uint32_t sector;
  VmdkTable t;
  if (!vmdk_find_table (s, n, false, &t, error))
    return false;
  uint64_t offset = (uint64_t) vmdk_get_entry (&t, at) * VMDK_SECTOR;
  if (!vp_file_read (s->file, offset, grain, len, error) ||
      !vmdk_allocate (s, 1, true, &sector, &count, error) ||
      !vp_file_write (s->file, (uint64_t) sector * VMDK_SECTOR, grain, len,
                      error))
    return false;
  vmdk_set_entry (s, &t, at, sector);
  fixed (check, 1);
  return vp_cluster_set_add (check->used, sector / s->grain_sectors, 1);
}

bool
vmdk_mend_copy (VmdkCheck *check, uint32_t n, GError **error)
{
  VmdkSparse *s = check->s;
  size_t size = vmdk_gt_size (s);
  VmdkTable t;
  if (!vmdk_find_table (s, n, false, &t, error))
    return false;
  if (!t.copy)
    return true;
  memcpy (t.copy, t.gt, size);
  vp_tables_dirty (s->tables, t.copy_offset, 0, size, VMDK_ORDER_COPY);
  s->changed = true;
  check->result->leaks--;
  check->result->leaks_fixed++;
  return true;
}
