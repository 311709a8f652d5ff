/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-link: how entries of grain tables change: reserve and link, zero,
 * discard.  The sector of a copy becomes what that of the table is, whatever it
 * was before.  What an entry named goes to the quarantine (table.h). */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/error.h"

static uint64_t
grains_touched (const VmdkSparse *s, uint64_t offset, uint64_t length)
{
  uint64_t unit = s->facts.grain_size, within = offset & (unit - 1);
  uint64_t left = (uint64_t) s->n_gts * s->gtes - offset / unit;
  return MIN (left, (within + MIN (length, INT64_MAX) + unit - 1) / unit);
}

bool
vmdk_check_writable (VmdkSparse *s, GError **error)
{
  if (s->tangled)
    return vmdk_corrupt (s, error,
                         "its tables lie upon each other; nothing is written");
  if (!s->facts.compressed && !s->facts.is_sesparse)
    return vmdk_load_space (s, error);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: compressed grains are written once, and no more",
               s->file->name);
  return false;
}

/* ---- tables ----------------------------------------------------------------
 */

static void
set_gde (VmdkSparse *s, bool copy, uint32_t n, uint32_t sector)
{
  uint64_t offset = copy ? s->rgd_offset : s->gd_offset;
  uint8_t *gd = vp_tables_load (s->tables, offset, vmdk_gd_size (s), NULL);
  vp_le32_set (gd + 4 * (size_t) n, sector);
  vp_tables_dirty (s->tables, offset, 4 * (size_t) n, 4,
                   copy ? VMDK_ORDER_COPY : VMDK_ORDER_MAP);
}

/* The file is as long as what its tables name, also before it is written. */
static bool
reach (VmdkSparse *s, uint64_t end, GError **error)
{
  if (!vp_file_get_size (s->file, &s->file_size, error))
    return false;
  if (s->file_size >= end)
    return true;
  s->file_size = end;
  return vp_file_truncate (s->file, end, error);
}

static bool
place_table (VmdkSparse *s, bool copy, uint32_t n, uint32_t sector,
             const uint8_t *content, GError **error)
{
  size_t size = vmdk_gt_size (s);
  if (!vmdk_add_metadata (s, sector, vmdk_gt_sectors (s)))
    return vmdk_corrupt (s, error, "a new grain table would lie upon another");
  if (!reach (s, (uint64_t) sector * VMDK_SECTOR + size, error))
    return false;
  uint8_t *gt =
      vp_tables_add (s->tables, (uint64_t) sector * VMDK_SECTOR, size);
  if (content)
    memcpy (gt, content, size);
  set_gde (s, copy, n, sector);
  s->changed = true;
  return true;
}

bool
vmdk_make_table (VmdkSparse *s, bool copy, uint32_t n, const uint8_t *content,
                 GError **error)
{
  uint64_t count, unit = s->grain_sectors;
  uint64_t slots = (vmdk_gt_sectors (s) + unit - 1) / unit;
  uint32_t sector;
  return vmdk_allocate (s, slots, true, &sector, &count, error) &&
         place_table (s, copy, n, sector, content, error);
}

/* One that was not there: the table, and the copy behind it. */
static bool
make_tables (VmdkSparse *s, uint32_t n, GError **error)
{
  bool copy = s->rgd_offset > 0 && vmdk_gd_get (s, true, n) == 0;
  uint32_t sectors = vmdk_gt_sectors (s), first;
  uint64_t all = (uint64_t) sectors * (copy ? 2 : 1), count;
  uint64_t slots = (all + s->grain_sectors - 1) / s->grain_sectors;
  return vmdk_allocate (s, slots, true, &first, &count, error) &&
         place_table (s, false, n, first, NULL, error) &&
         (!copy || place_table (s, true, n, first + sectors, NULL, error));
}

bool
vmdk_find_table (VmdkSparse *s, uint32_t n, bool make, VmdkTable *ret_table,
                 GError **error)
{
  VmdkTable t = { .n = n };
  if (!vmdk_check_gde (s, false, n, error))
    return false;
  if (make && vmdk_gd_get (s, false, n) == 0 && !make_tables (s, n, error))
    return false;
  t.offset = (uint64_t) vmdk_gd_get (s, false, n) * VMDK_SECTOR;
  if (t.offset > 0) {
    t.gt = vp_tables_load (s->tables, t.offset, vmdk_gt_size (s), error);
    if (!t.gt)
      return false;
  }
  /* A copy that leads nowhere waits for a repair. */
  if (s->rgd_offset > 0 && vmdk_check_gde (s, true, n, NULL))
    t.copy_offset = (uint64_t) vmdk_gd_get (s, true, n) * VMDK_SECTOR;
  if (t.copy_offset > 0)
    t.copy = vp_tables_load (s->tables, t.copy_offset, vmdk_gt_size (s), NULL);
  *ret_table = t;
  return true;
}

uint32_t
vmdk_get_entry (const VmdkTable *t, uint64_t at)
{
  return t->gt ? vp_le32_get (t->gt + 4 * at) : VMDK_GTE_NONE;
}

/* What the entry named is no longer named by it. */
static void
free_grain (VmdkSparse *s, uint32_t entry)
{
  if (vmdk_is_place (s, entry))
    vp_tables_free_later (s->tables, (uint64_t) entry * VMDK_SECTOR,
                          s->facts.grain_size);
}

void
vmdk_set_entry (VmdkSparse *s, const VmdkTable *t, uint64_t at, uint32_t entry)
{
  size_t from = (size_t) (4 * at) / VMDK_SECTOR * VMDK_SECTOR;
  size_t len = MIN (VMDK_SECTOR, vmdk_gt_size (s) - from);
  s->changed = true;
  vp_le32_set (t->gt + 4 * at, entry);
  vp_tables_dirty (s->tables, t->offset, (size_t) (4 * at), 4, VMDK_ORDER_MAP);
  if (!t->copy)
    return;
  memcpy (t->copy + from, t->gt + from, len);
  vp_tables_dirty (s->tables, t->copy_offset, from, len, VMDK_ORDER_COPY);
}

/* ---- reserve, link ----------------------------------------------------------
 */

/* Grains that have places in a row, or none of which has one. */
typedef struct {
  bool own;
  uint32_t entry; /* own: of the first */
  uint64_t count;
} Stretch;

/* May it be written where it is? */
static bool
is_own (const VmdkSparse *s, uint32_t entry)
{
  return vmdk_is_place (s, entry) && !vmdk_is_shared (s, entry);
}

static bool
measure (VmdkSparse *s, uint64_t grain, uint64_t most, Stretch *ret_stretch,
         GError **error)
{
  Stretch stretch = { 0 };
  while (stretch.count < most) {
    VmdkTable t;
    uint64_t next = grain + stretch.count, at = next % s->gtes;
    bool first = stretch.count == 0;
    if (!vmdk_find_table (s, (uint32_t) (next / s->gtes), first, &t,
                          first ? error : NULL))
      break;
    for (; at < s->gtes && stretch.count < most; at++, stretch.count++) {
      uint32_t entry = vmdk_get_entry (&t, at);
      bool own = is_own (s, entry);
      if (stretch.count == 0) {
        stretch.own = own;
        stretch.entry = entry;
      }
      if (own != stretch.own ||
          (own && entry != stretch.entry + stretch.count * s->grain_sectors))
        goto out;
      if (own && !vmdk_check_grain (s, grain + stretch.count, entry,
                                    stretch.count == 0 ? error : NULL))
        goto out;
    }
    if (!stretch.own)
      break; /* a place is linked into one table */
  }
out:
  *ret_stretch = stretch;
  return stretch.count > 0;
}

bool
vmdk_sparse_reserve (VmdkSparse *s, uint64_t offset, uint64_t length,
                     VpPlace *ret_place, GError **error)
{
  uint64_t unit = s->facts.grain_size, within = offset & (unit - 1);
  Stretch stretch;
  uint32_t sector;
  uint64_t count;
  if (!vmdk_check_writable (s, error) || !vp_tables_trim (s->tables, error) ||
      !measure (s, offset / unit, grains_touched (s, offset, length), &stretch,
                error))
    return false;
  length = MIN (length, stretch.count * unit - within);
  if (stretch.own) {
    *ret_place =
        (VpPlace){ .file = s->file,
                   .offset = (uint64_t) stretch.entry * VMDK_SECTOR + within,
                   .guest = offset,
                   .length = length,
                   .in_place = true };
    return true;
  }
  if (!vmdk_allocate (s, stretch.count, false, &sector, &count, error))
    return false;
  length = MIN (length, count * unit - within);
  count = grains_touched (s, offset, length);
  *ret_place = (VpPlace){ .file = s->file,
                          .offset = (uint64_t) sector * VMDK_SECTOR,
                          .guest = offset - within,
                          .length = count * unit,
                          .head = within,
                          .tail = count * unit - within - length };
  return true;
}

bool
vmdk_sparse_link (VmdkSparse *s, const VpPlace *place, GError **error)
{
  uint64_t unit = s->facts.grain_size, count = place->length / unit;
  for (uint64_t i = 0; i < count; i++) {
    VmdkTable t;
    uint64_t grain = place->guest / unit + i;
    uint32_t sector =
        (uint32_t) (place->offset / VMDK_SECTOR + i * s->grain_sectors);
    if (!vmdk_find_table (s, (uint32_t) (grain / s->gtes), true, &t, error))
      return false;
    uint32_t old = vmdk_get_entry (&t, grain % s->gtes);
    if (old == sector)
      continue;
    free_grain (s, old);
    vmdk_set_entry (s, &t, grain % s->gtes, sector);
  }
  return true;
}

void
vmdk_sparse_unreserve (VmdkSparse *s, const VpPlace *place)
{
  if (s->stream)
    vmdk_stream_unreserve (s->stream);
  else if (!place->in_place)
    vmdk_release (s, place->offset, place->length);
}

/* ---- zero, discard
 * ----------------------------------------------------------- */

/* Grains [grain, grain + count) of one table read as zeros from now on, where
 * that can be said; hint: those that are stored nowhere stay as they are. */
static void
empty_grains (VmdkSparse *s, const VmdkTable *t, uint64_t at, uint64_t count,
              bool hint)
{
  uint32_t empty = s->overlay ? VMDK_GTE_ZERO : VMDK_GTE_NONE;
  for (uint64_t end = at + count; at < end; at++) {
    uint32_t old = vmdk_get_entry (t, at);
    if (old == empty || (old == VMDK_GTE_ZERO && !vmdk_is_place (s, old)) ||
        (old == VMDK_GTE_NONE && hint))
      continue;
    free_grain (s, old);
    vmdk_set_entry (s, t, at, empty);
  }
}

/* The same over all tables that are touched. */
static bool
empty_range (VmdkSparse *s, uint64_t offset, uint64_t length, bool hint,
             GError **error)
{
  uint64_t grain = offset / s->facts.grain_size, step;
  uint64_t count = grains_touched (s, offset, length);
  for (; count > 0; grain += step, count -= step) {
    VmdkTable t;
    uint32_t n = (uint32_t) (grain / s->gtes);
    uint64_t at = grain % s->gtes;
    uint64_t wanted = (at + count) / s->gtes + 1;
    uint32_t empty =
        vmdk_count_empty (s, false, n, (uint32_t) MIN (wanted, UINT32_MAX));
    step = MIN (count, (uint64_t) MAX (empty, 1) * s->gtes - at);
    if (empty > 0 && (hint || !s->overlay))
      continue;
    step = MIN (step, s->gtes - at);
    if (!vp_tables_trim (s->tables, error) ||
        !vmdk_find_table (s, n, true, &t, error))
      return false;
    empty_grains (s, &t, at, step, hint);
  }
  return true;
}

bool
vmdk_sparse_zero (VmdkSparse *s, uint64_t offset, uint64_t length, bool unmap,
                  uint64_t *ret_done, GError **error)
{
  *ret_done = 0;
  if (s->overlay && !s->facts.zeroed_grain)
    return true; /* the parent would come to light */
  if (s->stream)
    return vmdk_stream_zero (s->stream, offset, length, ret_done, error);
  if (!vmdk_check_writable (s, error) ||
      !empty_range (s, offset, length, false, error))
    return false;
  *ret_done = length;
  return true;
}

bool
vmdk_sparse_discard (VmdkSparse *s, uint64_t offset, uint64_t length,
                     GError **error)
{
  if ((s->overlay && !s->facts.zeroed_grain) || s->stream)
    return true;
  return vmdk_check_writable (s, error) &&
         empty_range (s, offset, length, true, error);
}

/* Grains from first on. */
static bool
forget_from (VmdkSparse *s, uint64_t first, GError **error)
{
  uint32_t n = (uint32_t) MIN (first / s->gtes, s->n_gts), empty;
  VmdkTable t;
  if (!vmdk_check_writable (s, error))
    return false;
  for (uint64_t from = first % s->gtes; n < s->n_gts;
       n += MAX (empty, 1), from = 0) {
    empty = vmdk_count_empty (s, false, n, s->n_gts - n);
    if (empty > 0)
      continue;
    if (!vp_tables_trim (s->tables, error) ||
        !vmdk_find_table (s, n, true, &t, error))
      return false;
    for (uint64_t at = from; at < s->gtes; at++) {
      uint32_t old = vmdk_get_entry (&t, at);
      if (old == VMDK_GTE_NONE)
        continue;
      free_grain (s, old);
      vmdk_set_entry (s, &t, at, VMDK_GTE_NONE);
    }
  }
  return true;
}

bool
vmdk_sparse_empty (VmdkSparse *s, GError **error)
{
  return forget_from (s, 0, error);
}

/* The rest of the last grain as well: the image knows only its own units, and
 * those of this extent may lie elsewhere. */
bool
vmdk_sparse_forget_behind (VmdkSparse *s, uint64_t size, GError **error)
{
  uint64_t unit = s->facts.grain_size, within = size & (unit - 1);
  uint64_t last = size / unit, n = last / s->gtes;
  VmdkTable t;
  if (!forget_from (s, last + (within > 0), error))
    return false;
  if (within == 0 || n >= s->n_gts)
    return true;
  if (!vp_tables_trim (s->tables, error) ||
      !vmdk_find_table (s, (uint32_t) n, false, &t, error))
    return false;
  uint32_t entry = vmdk_get_entry (&t, last % s->gtes);
  if (!is_own (s, entry))
    return true; /* the image writes it anew */
  return vmdk_check_grain (s, last, entry, error) &&
         vp_file_zero (s->file, (uint64_t) entry * VMDK_SECTOR + within,
                       unit - within, true, error);
}
