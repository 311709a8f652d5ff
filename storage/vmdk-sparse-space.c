/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-space: which slots of the file hold nothing.
 *
 * The format has no list of those: before the first change all tables are
 * looked through.  What only a copy of a table names is not free either, for a
 * cut may have left the copy behind.  A slot that two grains lie in is never
 * given back, and neither is one that a grain lies across. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/error.h"

#define STEP UINT64_C (1024) /* slots that are looked at together */

typedef struct {
  uint64_t first, count; /* slots */
} Free;

struct VmdkSpace {
  VpClusterSet *used; /* while tables are looked through */
  uint64_t n_used;
  VpClusterSet *shared;
  GArray *free; /* of Free */
  uint64_t end; /* no slot from here on is used */
};

void
vmdk_space_free (VmdkSpace *space)
{
  if (!space)
    return;
  vp_cluster_set_free (space->used);
  vp_cluster_set_free (space->shared);
  g_array_unref (space->free);
  g_free (space);
}

static VmdkSpace *
space_new (void)
{
  VmdkSpace *space = g_new0 (VmdkSpace, 1);
  space->used = vp_cluster_set_new ();
  space->shared = vp_cluster_set_new ();
  space->free = g_array_new (false, false, sizeof (Free));
  return space;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VmdkSpace, vmdk_space_free)

/* ---- looking through -------------------------------------------------------
 */

static bool
note_slot (VmdkSpace *space, uint64_t slot, bool may_share)
{
  if (vp_cluster_set_meets (space->used, slot, 1))
    return may_share || vp_cluster_set_add (space->shared, slot, 1);
  space->n_used++;
  space->end = MAX (space->end, slot + 1);
  return vp_cluster_set_add (space->used, slot, 1);
}

static bool
note_grain (const VmdkSparse *s, VmdkSpace *space, uint32_t sector, bool copy)
{
  uint64_t slot = sector / s->grain_sectors;
  if (!note_slot (space, slot, copy))
    return false;
  if (sector % s->grain_sectors == 0)
    return true;
  return note_slot (space, slot + 1, copy) &&
         vp_cluster_set_add (space->shared, slot, 2);
}

static bool
note_table (const VmdkSparse *s, VmdkSpace *space, const uint8_t *gt,
            const uint8_t *like, bool copy, GError **error)
{
  for (uint32_t at = 0; at < s->gtes; at++) {
    uint32_t entry = vp_le32_get (gt + 4 * (size_t) at);
    if (!vmdk_is_place (s, entry) ||
        (like && vp_le32_get (like + 4 * (size_t) at) == entry))
      continue;
    if (!note_grain (s, space, entry, copy))
      return vmdk_corrupt (s, error, "its grains lie too far from each other");
  }
  return true;
}

static bool
read_table (VmdkSparse *s, bool copy, uint32_t n, uint8_t *gt, GError **error)
{
  uint64_t offset = (uint64_t) vmdk_gd_get (s, copy, n) * VMDK_SECTOR;
  return vmdk_check_gde (s, copy, n, error) &&
         vp_file_read (s->file, offset, gt, vmdk_gt_size (s), error);
}

static bool
note_all (VmdkSparse *s, VmdkSpace *space, GError **error)
{
  size_t size = vmdk_gt_size (s);
  g_autofree uint8_t *gt = g_malloc (size), *copy = g_malloc (size);
  for (uint32_t n = 0; n < s->n_gts; n++) {
    uint32_t empty = vmdk_count_empty (s, false, n, s->n_gts - n);
    if (empty > 0) {
      n += empty - 1;
      continue;
    }
    if (s->lenient && !vmdk_check_gde (s, false, n, NULL))
      continue;
    if (!read_table (s, false, n, gt, error) ||
        !note_table (s, space, gt, NULL, false, error))
      return false;
  }
  for (uint32_t n = 0; s->rgd_offset > 0 && n < s->n_gts; n++) {
    uint32_t empty = vmdk_count_empty (s, true, n, s->n_gts - n);
    if (empty > 0) {
      n += empty - 1;
      continue;
    }
    bool first =
        vmdk_gd_get (s, false, n) != 0 && vmdk_check_gde (s, false, n, NULL);
    if (!read_table (s, true, n, copy, NULL))
      continue; /* names nothing */
    if ((first && !read_table (s, false, n, gt, error)) ||
        !note_table (s, space, copy, first ? gt : NULL, true, error))
      return false;
  }
  return true;
}

/* ---- what is left ----------------------------------------------------------
 */

static bool
is_free (const VmdkSparse *s, const VmdkSpace *space, uint64_t slot,
         uint64_t count)
{
  return !vp_cluster_set_meets (space->used, slot, count) &&
         !vmdk_meets_metadata (s, slot * s->grain_sectors,
                               count * s->grain_sectors);
}

uint64_t
vmdk_first_slot (const VmdkSparse *s)
{
  uint64_t sectors = s->header.overhead;
  return sectors / s->grain_sectors + (sectors % s->grain_sectors != 0);
}

static void
add_free (VmdkSpace *space, uint64_t slot, uint64_t count)
{
  guint len = space->free->len;
  Free *last = len > 0 ? &g_array_index (space->free, Free, len - 1) : NULL;
  Free range = { slot, count };
  if (last && last->first + last->count == slot)
    last->count += count;
  else
    g_array_append_val (space->free, range);
}

static uint64_t
metadata_end (const VmdkSparse *s)
{
  guint len = s->metadata->len;
  return len > 0 ? g_array_index (s->metadata, VmdkRange, len - 1).end : 0;
}

static bool
find_free (VmdkSparse *s, VmdkSpace *space, GError **error)
{
  uint64_t unit = s->facts.grain_size, size;
  uint64_t tables = metadata_end (s) * VMDK_SECTOR;
  if (!vp_file_get_size (s->file, &size, error))
    return false;
  uint64_t data = MAX (space->end, vmdk_first_slot (s));
  space->end = MAX (data, vp_round_up (tables, unit) / unit);
  /* A device is longer than what is on it. */
  if (!s->file->is_device)
    space->end = MAX (space->end, vp_round_up (size, unit) / unit);
  uint64_t part;
  for (uint64_t slot = vmdk_first_slot (s); slot < space->end; slot += part) {
    part = MIN (STEP, space->end - slot);
    if (!is_free (s, space, slot, part))
      part = 1;
    if (part > 1 || is_free (s, space, slot, 1))
      add_free (space, slot, part);
  }
  return true;
}

bool
vmdk_load_space (VmdkSparse *s, GError **error)
{
  if (s->space)
    return true;
  g_autoptr (VmdkSpace) space = space_new ();
  if (!note_all (s, space, error) || !find_free (s, space, error))
    return false;
  g_clear_pointer (&space->used, vp_cluster_set_free);
  s->space = g_steal_pointer (&space);
  return true;
}

bool
vmdk_is_shared (const VmdkSparse *s, uint32_t sector)
{
  return s->space &&
         vp_cluster_set_meets (s->space->shared, sector / s->grain_sectors,
                               1) &&
         sector % s->grain_sectors == 0;
}

/* ---- taking, giving back ----------------------------------------------------
 */

static bool
check_room (VmdkSparse *s, uint64_t first, uint64_t wanted, uint64_t *ret_count,
            GError **error)
{
  uint64_t size;
  uint64_t limit = ((uint64_t) UINT32_MAX + 1) / s->grain_sectors;
  if (s->file->is_device) {
    if (!vp_file_get_size (s->file, &size, error))
      return false;
    limit = MIN (limit, size / s->facts.grain_size);
  }
  *ret_count = first < limit ? MIN (wanted, limit - first) : 0;
  if (*ret_count > 0)
    return true;
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
               "%s: cannot hold more grains", s->file->name);
  return false;
}

/* ESX wants to know where the next grain goes. */
static bool
note_free_sector (VmdkSparse *s, GError **error)
{
  uint64_t sector = s->space->end * s->grain_sectors;
  if (!s->facts.is_cowd)
    return true;
  uint8_t *header = vp_tables_load (s->tables, 0, VMDK_SECTOR, error);
  if (!header)
    return false;
  vp_le32_set (header + VMDK_COWD_FREE_SECTOR,
               (uint32_t) MIN (sector, UINT32_MAX));
  vp_tables_dirty (s->tables, 0, VMDK_COWD_FREE_SECTOR, 4, VMDK_ORDER_NEW);
  return true;
}

static bool
take_free (VmdkSpace *space, uint64_t wanted, bool exact, uint64_t *ret_first,
           uint64_t *ret_count)
{
  for (guint i = space->free->len; i-- > 0;) {
    Free *range = &g_array_index (space->free, Free, i);
    if (exact && range->count < wanted)
      continue;
    *ret_first = range->first;
    *ret_count = MIN (wanted, range->count);
    range->first += *ret_count;
    range->count -= *ret_count;
    if (range->count == 0)
      g_array_remove_index (space->free, i);
    return true;
  }
  return false;
}

bool
vmdk_allocate (VmdkSparse *s, uint64_t wanted, bool exact, uint32_t *ret_sector,
               uint64_t *ret_count, GError **error)
{
  VmdkSpace *space = s->space;
  uint64_t first, count;
  if (!take_free (space, wanted, exact, &first, &count)) {
    first = space->end;
    if (!check_room (s, first, wanted, &count, error))
      return false;
    if (exact && count < wanted) {
      g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                   "%s: no room for tables", s->file->name);
      return false;
    }
    space->end += count;
    if (!note_free_sector (s, error))
      return false;
  }
  *ret_sector = (uint32_t) (first * s->grain_sectors);
  *ret_count = count;
  return true;
}

void
vmdk_release (VmdkSparse *s, uint64_t offset, uint64_t length)
{
  uint64_t unit = s->facts.grain_size;
  uint64_t last = vp_round_up (offset + length, unit) / unit;
  uint64_t from = MAX (offset / unit, vmdk_first_slot (s));
  for (uint64_t slot = from; s->space && slot < last; slot++) {
    if (!vp_cluster_set_meets (s->space->shared, slot, 1) &&
        !vmdk_meets_metadata (s, slot * s->grain_sectors, s->grain_sectors)) {
      add_free (s->space, slot, 1);
      continue;
    }
    vp_file_discard (s->file, from * unit, (slot - from) * unit);
    from = slot + 1;
  }
  if (s->space && from < last)
    vp_file_discard (s->file, from * unit, (last - from) * unit);
}
