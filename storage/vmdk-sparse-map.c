/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-map: where bytes of an extent are.
 *
 * Tables are laid out as a whole when an extent is made, so most of those of a
 * large empty one are a hole in the file, which nobody needs to read. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"

/* Tables that one call loads, for the cache is only trimmed between calls. */
#define MAX_TABLES 1024u

/* ---- empty tables ---------------------------------------------------------
 */

/* Is the file a hole from offset on, and for how long? */
static uint64_t
hole_at (VmdkSparse *s, uint64_t offset)
{
  if (offset < s->seen.start || offset >= s->seen.end) {
    uint64_t length;
    uint64_t most = MAX (s->file_size, offset + VMDK_SECTOR) - offset;
    if (!vp_file_extent (s->file, offset, most, &s->seen.data, &length, NULL))
      return 0; /* whoever reads there will tell */
    s->seen.start = offset;
    s->seen.end = offset + length;
  }
  return s->seen.data ? 0 : s->seen.end - offset;
}

uint32_t
vmdk_count_empty (VmdkSparse *s, bool copy, uint32_t n, uint32_t most)
{
  uint32_t count = 0;
  most = MIN (most, s->n_gts - n);
  while (count < most && vmdk_gd_get (s, copy, n + count) == 0)
    count++;
  /* What is changed in memory makes no hole less. */
  if (count > 0 || s->changed || most == 0 ||
      !vmdk_check_gde (s, copy, n, NULL))
    return count;
  uint32_t sectors = vmdk_gt_sectors (s);
  uint64_t first = vmdk_gd_get (s, copy, n);
  uint64_t hole = hole_at (s, first * VMDK_SECTOR) / VMDK_SECTOR / sectors;
  for (most = (uint32_t) MIN (most, hole); count < most; count++)
    if (vmdk_gd_get (s, copy, n + count) != first + (uint64_t) count * sectors)
      break;
  return count;
}

/* ---- runs ------------------------------------------------------------------
 */

static VpRunKind
kind_of (const VmdkSparse *s, uint32_t entry)
{
  if (entry == VMDK_GTE_NONE)
    return VP_RUN_UNALLOCATED;
  if (!vmdk_is_place (s, entry))
    return VP_RUN_ZERO;
  return s->facts.compressed ? VP_RUN_COMPRESSED : VP_RUN_DATA;
}

typedef struct {
  uint64_t grain, most; /* the first; no more than so many */
  uint64_t count;
  VpRunKind kind;
  uint32_t entry; /* of the first */
} Stretch;

/* Does the next grain go on with the stretch? */
static bool
append (VmdkSparse *s, Stretch *stretch, uint32_t entry, GError **error)
{
  VpRunKind kind = kind_of (s, entry);
  bool stored = kind == VP_RUN_DATA || kind == VP_RUN_COMPRESSED;
  uint64_t next = stretch->entry + stretch->count * s->grain_sectors;
  if (stretch->count == 0) {
    stretch->kind = kind;
    stretch->entry = entry;
  } else if (kind != stretch->kind || kind == VP_RUN_COMPRESSED ||
             (stored &&
              (entry != next || vmdk_is_shared (s, entry) !=
                                    vmdk_is_shared (s, stretch->entry))))
    return false;
  if (stored && !vmdk_check_grain (s, stretch->grain + stretch->count, entry,
                                   stretch->count == 0 ? error : NULL))
    return false;
  stretch->count++;
  return true;
}

static bool
append_table (VmdkSparse *s, Stretch *stretch, const uint8_t *gt, uint32_t at,
              GError **error)
{
  for (; at < s->gtes && stretch->count < stretch->most; at++)
    if (!append (s, stretch, vp_le32_get (gt + 4 * (size_t) at), error))
      return false;
  return true;
}

/* False with count 0: an error. */
static bool
measure (VmdkSparse *s, Stretch *stretch, GError **error)
{
  for (unsigned loads = 0;
       stretch->count < stretch->most && loads < MAX_TABLES;) {
    uint64_t grain = stretch->grain + stretch->count;
    uint32_t n = (uint32_t) (grain / s->gtes),
             at = (uint32_t) (grain % s->gtes);
    uint64_t wanted = (stretch->most - stretch->count + at) / s->gtes + 1;
    uint32_t empty =
        vmdk_count_empty (s, false, n, (uint32_t) MIN (wanted, UINT32_MAX));
    if (empty > 0) {
      if (stretch->count > 0 && stretch->kind != VP_RUN_UNALLOCATED)
        break;
      stretch->kind = VP_RUN_UNALLOCATED;
      stretch->count += (uint64_t) empty * s->gtes - at;
      continue;
    }
    uint8_t *gt;
    loads++;
    if (!vmdk_load_gt (s, false, n, &gt, stretch->count == 0 ? error : NULL))
      break;
    if (!append_table (s, stretch, gt, at, error))
      break;
  }
  stretch->count = MIN (stretch->count, stretch->most);
  return stretch->count > 0;
}

bool
vmdk_sparse_map (VmdkSparse *s, uint64_t offset, uint64_t length,
                 VpRun *ret_run, GError **error)
{
  uint64_t unit = s->facts.grain_size, within = offset & (unit - 1);
  if (!vp_tables_trim (s->tables, error))
    return false;
  if (s->facts.is_sesparse)
    return vmdk_se_map (s, offset, length, ret_run, error);
  if (s->stream)
    return vmdk_stream_run (s, offset, length, ret_run, error);
  uint64_t grain = offset / unit, last = (uint64_t) s->n_gts * s->gtes;
  g_return_val_if_fail (grain < last && length > 0, false);
  length = MIN (length, (last - grain) * unit - within);
  Stretch stretch = { .grain = grain,
                      .most = (within + length + unit - 1) / unit };
  if (!measure (s, &stretch, error))
    return false;
  VpRun run = { .kind = stretch.kind,
                .length = MIN (length, stretch.count * unit - within) };
  if (run.kind == VP_RUN_COMPRESSED) {
    uint64_t part = run.length;
    if (!vmdk_locate_packed (s, offset, stretch.entry, &run, error))
      return false;
    run.length = part;
  } else if (run.kind == VP_RUN_DATA) {
    run.file = s->file;
    run.offset = (uint64_t) stretch.entry * VMDK_SECTOR + within;
    run.shared = vmdk_is_shared (s, stretch.entry);
  }
  *ret_run = run;
  return true;
}

/* ---- seSparse --------------------------------------------------------------
 */

/* What the uppermost four bits of an entry say. */
enum { SE_NONE = 0, SE_UNMAPPED = 1, SE_ZERO = 2, SE_DATA = 3 };

/* Parts of the number of a grain, in the order that they lie on disk. */
static uint64_t
se_grain (uint64_t entry)
{
  return (entry & UINT64_C (0x0fff000000000000)) >> 48 |
         (entry & UINT64_C (0x0000ffffffffffff)) << 12;
}

static bool
se_load_gt (VmdkSparse *s, uint64_t n, uint8_t **ret_gt, GError **error)
{
  const uint8_t *gd =
      vp_tables_load (s->tables, s->gd_offset, vmdk_gd_size (s), error);
  if (!gd)
    return false;
  uint64_t entry = vp_le64_get (gd + 8 * n), at;
  *ret_gt = NULL;
  if (entry == 0)
    return true;
  if (entry >> 32 != UINT64_C (0x10000000) ||
      __builtin_mul_overflow (entry & UINT32_MAX, vmdk_gt_size (s), &at) ||
      !vp_range_ok (at, vmdk_gt_size (s), s->se_tables_size))
    return vmdk_corrupt (s, error,
                         "entry %" PRIu64 " of the grain directory is wrong "
                         "(0x%" G_GINT64_MODIFIER "x)",
                         n, entry);
  *ret_gt = vp_tables_load (s->tables, s->se_tables_offset + at,
                            vmdk_gt_size (s), error);
  return *ret_gt != NULL;
}

static bool
se_locate (VmdkSparse *s, uint64_t grain, uint64_t entry, VpRun *run,
           GError **error)
{
  uint64_t offset;
  switch (entry >> 60) {
  case SE_NONE:
    if (entry != 0)
      break;
    run->kind = VP_RUN_UNALLOCATED;
    return true;
  case SE_UNMAPPED:
  case SE_ZERO: run->kind = VP_RUN_ZERO; return true;
  case SE_DATA:
    if (__builtin_mul_overflow (se_grain (entry), s->facts.grain_size,
                                &offset) ||
        __builtin_add_overflow (offset, s->se_grains_offset, &offset) ||
        offset >= s->file_size)
      break;
    run->kind = VP_RUN_DATA;
    run->file = s->file;
    run->offset = offset;
    return true;
  default: break;
  }
  return vmdk_corrupt (s, error,
                       "the entry of grain %" PRIu64
                       " is wrong (0x%" G_GINT64_MODIFIER "x)",
                       grain, entry);
}

static bool
continues (const VpRun *run, const VpRun *next, uint64_t length)
{
  return next->kind == run->kind &&
         (run->kind != VP_RUN_DATA || next->offset == run->offset + length);
}

bool
vmdk_se_map (VmdkSparse *s, uint64_t offset, uint64_t length, VpRun *ret_run,
             GError **error)
{
  uint64_t unit = s->facts.grain_size, within = offset & (unit - 1);
  uint64_t grain = offset / unit, n = grain / s->gtes;
  uint32_t at = (uint32_t) (grain % s->gtes);
  uint8_t *gt;
  VpRun run = { .kind = VP_RUN_UNALLOCATED, .length = 0 }, next;
  g_return_val_if_fail (n < s->n_gts && length > 0, false);
  if (!se_load_gt (s, n, &gt, error))
    return false;
  for (uint32_t i = at; i < s->gtes && run.length < within + length; i++) {
    next = (VpRun){ 0 };
    uint64_t entry = gt ? vp_le64_get (gt + 8 * (size_t) i) : 0;
    bool ok =
        se_locate (s, grain + i - at, entry, &next, i > at ? NULL : error);
    if (!ok && i == at)
      return false;
    if (!ok || (i > at && !continues (&run, &next, run.length)))
      break;
    uint64_t so_far = run.length;
    if (i == at)
      run = next;
    run.length = so_far + unit;
  }
  run.length = MIN (length, run.length - within);
  run.offset += run.kind == VP_RUN_DATA ? within : 0;
  *ret_run = run;
  return true;
}
