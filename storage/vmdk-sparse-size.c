/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-size: an extent that grows.
 *
 * Where its directory has entries for all that is new, the capacity changes and
 * no more.  Else a larger directory, and the tables that it names besides those
 * that are there, go to the end of the file, its copy likewise,
 *
 *     copy of the directory, new tables | directory, new tables
 *
 * and one write of the header's sector leads to them. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/error.h"

enum {
  CAPACITY = 12,
  RGD_OFFSET = 48,
  GD_OFFSET = 56,
  COWD_GD_OFFSET = 20,
  COWD_GD_ENTRIES = 24,
};

typedef struct {
  uint32_t n_gts, added; /* entries; tables that come with them */
  uint32_t gd_sectors;
  uint64_t sectors; /* of a directory and the tables behind it */
  uint64_t first, rgd_first;
} Growth;

static bool
too_large (const VmdkSparse *s, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: an extent of this kind cannot be that large",
               s->file->name);
  return false;
}

/* Reads, lets change, writes the header's sector: all or nothing of it. */
static bool
write_header (VmdkSparse *s, const Growth *growth, uint64_t capacity,
              GError **error)
{
  uint8_t sector[VMDK_SECTOR];
  if (!vp_file_read (s->file, 0, sector, sizeof sector, error))
    return false;
  if (s->facts.is_cowd)
    vp_le32_set (sector + CAPACITY, (uint32_t) capacity);
  else
    vp_le64_set (sector + CAPACITY, capacity);
  if (growth && s->facts.is_cowd) {
    vp_le32_set (sector + COWD_GD_OFFSET, (uint32_t) growth->first);
    vp_le32_set (sector + COWD_GD_ENTRIES, growth->n_gts);
  } else if (growth) {
    vp_le64_set (sector + GD_OFFSET, growth->first);
    if (s->rgd_offset > 0)
      vp_le64_set (sector + RGD_OFFSET, growth->rgd_first);
  }
  return vp_file_write (s->file, 0, sector, sizeof sector, error) &&
         vp_file_flush (s->file, error);
}

/* ---- a larger directory
 * ------------------------------------------------------ */

static bool
write_directory (VmdkSparse *s, const Growth *growth, bool copy, GError **error)
{
  uint64_t sector = copy ? growth->rgd_first : growth->first;
  size_t size = (size_t) growth->gd_sectors * VMDK_SECTOR;
  g_autofree uint8_t *gd = g_malloc0 (size);
  for (uint32_t n = 0; n < s->n_gts; n++)
    vp_le32_set (gd + 4 * (size_t) n, vmdk_gd_get (s, copy, n));
  uint64_t table = sector + growth->gd_sectors;
  for (uint32_t i = 0; i < growth->added; i++, table += vmdk_gt_sectors (s))
    vp_le32_set (gd + 4 * (size_t) (s->n_gts + i), (uint32_t) table);
  return vp_file_zero (s->file, sector * VMDK_SECTOR,
                       growth->sectors * VMDK_SECTOR, true, error) &&
         vp_file_write (s->file, sector * VMDK_SECTOR, gd, size, error);
}

/* In memory: from the old directory to the new one. */
static bool
switch_directory (VmdkSparse *s, const Growth *growth, bool copy,
                  GError **error)
{
  uint64_t *offset = copy ? &s->rgd_offset : &s->gd_offset;
  uint64_t old = *offset, sector = copy ? growth->rgd_first : growth->first;
  uint64_t size = vp_round_up (vmdk_gd_size (s), VMDK_SECTOR);
  vp_tables_forget (s->tables, old);
  *offset = sector * VMDK_SECTOR;
  if (size > 0) {
    vmdk_drop_metadata (s, old / VMDK_SECTOR, size / VMDK_SECTOR);
    vmdk_release (s, old, size);
  }
  if (!vmdk_add_metadata (s, sector, growth->sectors) ||
      !vp_tables_load (s->tables, *offset, (size_t) growth->n_gts * 4, error))
    return false;
  vp_tables_pin (s->tables, *offset);
  return true;
}

static bool
plan (VmdkSparse *s, uint64_t n_gts, Growth *ret_growth, GError **error)
{
  uint32_t sector;
  uint64_t count;
  if (n_gts > VP_MAX_TABLE_SIZE / 4)
    return too_large (s, error);
  Growth g = { .n_gts = (uint32_t) n_gts };
  g.added = s->facts.is_cowd ? 0 : g.n_gts - s->n_gts;
  g.gd_sectors = (uint32_t) ((n_gts * 4 + VMDK_SECTOR - 1) / VMDK_SECTOR);
  g.sectors = g.gd_sectors + (uint64_t) g.added * vmdk_gt_sectors (s);
  uint64_t all = g.sectors * (s->rgd_offset > 0 ? 2 : 1);
  if (!vmdk_allocate (s, (all + s->grain_sectors - 1) / s->grain_sectors, true,
                      &sector, &count, error))
    return false;
  g.rgd_first = sector;
  g.first = sector + all - g.sectors;
  *ret_growth = g;
  return true;
}

static bool
grow_directory (VmdkSparse *s, uint64_t n_gts, GError **error)
{
  Growth growth;
  bool copy = s->rgd_offset > 0;
  if (!vmdk_sparse_flush (s, error) || !plan (s, n_gts, &growth, error) ||
      !vmdk_sparse_flush (s, error) || /* the free sector */
      (copy && !write_directory (s, &growth, true, error)) ||
      !write_directory (s, &growth, false, error) ||
      !vp_file_flush (s->file, error) ||
      !write_header (s, &growth, s->facts.capacity / VMDK_SECTOR, error) ||
      (copy && !switch_directory (s, &growth, true, error)) ||
      !switch_directory (s, &growth, false, error))
    return false;
  s->n_gts = growth.n_gts;
  return true;
}

/* ---- rows
 * --------------------------------------------------------------------- */

bool
vmdk_sparse_extend (VmdkSparse *s, uint64_t size, GError **error)
{
  uint64_t reach = s->grain_sectors * s->gtes;
  uint64_t capacity = vp_round_up (size, VMDK_SECTOR) / VMDK_SECTOR;
  uint64_t n_gts = capacity / reach + (capacity % reach != 0);
  if (!vmdk_check_writable (s, error))
    return false;
  if (size > VP_MAX_VIRTUAL_SIZE || (s->facts.is_cowd && capacity > UINT32_MAX))
    return too_large (s, error);
  return n_gts <= s->n_gts || grow_directory (s, n_gts, error);
}

bool
vmdk_sparse_resize (VmdkSparse *s, uint64_t size, GError **error)
{
  uint64_t capacity = vp_round_up (size, VMDK_SECTOR) / VMDK_SECTOR;
  if (!vmdk_sparse_extend (s, size, error) || !vmdk_sparse_flush (s, error) ||
      !write_header (s, NULL, capacity, error))
    return false;
  s->facts.capacity = capacity * VMDK_SECTOR;
  return true;
}
