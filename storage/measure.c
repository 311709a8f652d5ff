/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* measure: the format says what its tables take and in which unit it stores
 * guest bytes; here the units are counted that the source has something in.
 * Written zeros count: only a copy would find them out. */
#include "config.h"

#include "storage/measure.h"

#include <string.h>

#include "storage/error.h"

static bool
too_large (GError **error)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                       "The image size is too large (try using a larger "
                       "cluster size)");
  return false;
}

/* Bytes of the units that hold anything. */
static bool
count_used (VpImage *source, uint64_t size, uint64_t unit, uint64_t *ret_used,
            GError **error)
{
  uint64_t offset = 0, used = 0;

  while (offset < size) {
    VpExtent extent;
    if (!vp_image_map (source, offset, size - offset, &extent, error))
      return false;
    uint64_t end = offset + extent.length;
    if (extent.data && !extent.zero) {
      /* On to the end of its last unit, which is counted once. */
      end = vp_round_up (end, unit);
      used += end - vp_round_down (offset, unit);
    }
    offset = end;
  }
  *ret_used = used;
  return true;
}

static uint64_t
divide_up (uint64_t value, uint64_t by)
{
  return value / by + (value % by != 0);
}

/* Clusters of bits, their table, and all entries of the directory. */
static uint64_t
bitmaps_size (const GPtrArray *bitmaps, uint64_t disk_size, uint64_t unit)
{
  uint64_t total = 0, directory = 0;

  for (unsigned i = 0; i < bitmaps->len; i++) {
    const VpBitmapFacts *facts = g_ptr_array_index (bitmaps, i);
    if (facts->in_use)
      continue; /* is not copied */
    uint64_t bytes = divide_up (divide_up (disk_size, facts->granularity), 8);
    uint64_t clusters = divide_up (bytes, unit);
    total += clusters * unit + vp_round_up (clusters * 8, unit);
    directory += vp_round_up (24 + strlen (facts->name), 8);
  }
  return total + vp_round_up (directory, unit);
}

/* Only what both sides can hold. */
static bool
measure_bitmaps (const VpCreateOptions *options, VpImage *source, uint64_t unit,
                 VpMeasure *measure, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };

  if (!source || !vp_image_get_info (source, &info, error))
    return source == NULL;
  measure->has_bitmaps =
      options->compat != 2 && info.compat && strcmp (info.compat, "0.10") != 0;
  if (measure->has_bitmaps && info.bitmaps)
    measure->bitmaps = bitmaps_size (info.bitmaps, info.virtual_size, unit);
  return true;
}

bool
vp_measure_image (const VpFormat *format, const VpCreateOptions *options,
                  VpImage *source, VpMeasure *ret_measure, GError **error)
{
  VpCreateOptions wanted = *options;
  VpFootprint print = { .unit = 512 };
  uint64_t total, used = 0;

  if (!format->create) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "Block driver '%s' does not support size measurement",
                 format->name);
    return false;
  }
  if (source)
    wanted.size = vp_image_get_size (source);
  if (wanted.size > VP_MAX_VIRTUAL_SIZE)
    return too_large (error);
  wanted.size = vp_round_up (wanted.size, 512);
  if (format->footprint && !format->footprint (&wanted, &print, error))
    return false;
  total = vp_round_up (wanted.size, print.unit);

  bool whole = !format->footprint || format->new_is_noise || print.whole ||
               (source && wanted.backing_name) ||
               wanted.preallocation == VP_PREALLOCATION_FALLOC ||
               wanted.preallocation == VP_PREALLOCATION_FULL;
  if (whole)
    used = total;
  else if (source &&
           !count_used (source, wanted.size, print.unit, &used, error))
    return false;

  VpMeasure measure = { 0 };
  total += total / print.unit * print.unit_overhead;
  used += used / print.unit * print.unit_overhead;
  if (__builtin_add_overflow (print.overhead, total,
                              &measure.fully_allocated) ||
      measure.fully_allocated > INT64_MAX)
    return too_large (error);
  measure.required = print.overhead + used;
  if (format->bitmap_add &&
      !measure_bitmaps (options, source, print.unit, &measure, error))
    return false;
  *ret_measure = measure;
  return true;
}
