/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* holes: places that were reserved far ahead of their data
 * (preallocation=metadata) lie in holes of the file and read as zeros.  Only
 * the file knows; asking it for each run would cost a system call each, so
 * the last answer is kept, and files that are dense are never asked. */
#include "config.h"

#include "storage/image-internal.h"

/* Nobody writes: an answer stays true. */
static bool
wants_asking (VpImage *layer, const VpRun *run)
{
  if (run->kind != VP_RUN_DATA || run->file != layer->file ||
      layer->flags & VP_IMAGE_WRITABLE)
    return false;
  if (layer->holes.state == VP_HOLES_UNKNOWN)
    layer->holes.state =
        layer->format->has_holes && layer->format->has_holes (layer->state)
            ? VP_HOLES_LIKELY
            : VP_HOLES_NONE;
  return layer->holes.state == VP_HOLES_LIKELY;
}

bool
vp_image_find_hole (VpImage *layer, const VpRun *run, uint64_t *ret_length)
{
  VpHoles *holes = &layer->holes;
  if (!wants_asking (layer, run))
    return false;
  if (run->offset < holes->start || run->offset >= holes->end) {
    uint64_t length;
    if (!vp_file_extent (run->file, run->offset, INT64_MAX - run->offset,
                         &holes->data, &length, NULL))
      return false; /* reading it will tell */
    holes->start = run->offset;
    holes->end = run->offset + length;
  }
  *ret_length = MIN (run->length, holes->end - run->offset);
  return !holes->data;
}
