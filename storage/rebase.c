/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* rebase: the image's own extents are passed over.  Of the others each cluster
 * is held against the new backing image and copied where it differs: zeros as
 * zeros, and nothing is read where both chains name the same bytes. */
#include "config.h"

#include "storage/rebase.h"

#include <string.h>

#include "storage/copy.h"
#include "storage/error.h"
#include "storage/image-internal.h"

#define CHUNK ((size_t) 2 << 20)

bool
vp_image_set_backing (VpImage *image, const char *name, const char *format,
                      GError **error)
{
  if (!image->format->set_backing) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "Operation not supported");
    return false;
  }
  if (name && !format) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "backing format must be specified");
    return false;
  }
  return vp_image_flush (image, error) &&
         image->format->set_backing (image->state, name, format, error);
}

void
vp_image_expect_backing (VpImage *image, VpImage *below)
{
  const VpFormat *format = image->format;

  if (below && format->expect_backing_id && below->format == format)
    format->expect_backing_id (image->state, format->content_id (below->state));
}

typedef struct {
  VpImage *image, *below; /* below: the new backing image, or NULL */
  uint64_t unit;
  uint8_t *old_bytes, *new_bytes, *zeros; /* CHUNK each */
  uint8_t *packed; /* a unit, where what is copied is to be packed */
} Rebase;

/* What the image would read from offset on with the new backing file. */
static bool
map_below (const Rebase *rebase, uint64_t offset, uint64_t length,
           VpExtent *ret_extent, GError **error)
{
  uint64_t size = rebase->below ? vp_image_get_size (rebase->below) : 0;

  if (offset < size)
    return vp_image_map (rebase->below, offset, MIN (length, size - offset),
                         ret_extent, error);
  *ret_extent = (VpExtent){ .start = offset, .length = length, .zero = true };
  return true;
}

static bool
read_below (const Rebase *rebase, uint64_t offset, uint8_t *to, size_t len,
            GError **error)
{
  uint64_t size = rebase->below ? vp_image_get_size (rebase->below) : 0;
  size_t there = offset < size ? (size_t) MIN (len, size - offset) : 0;

  memset (to + there, 0, len - there);
  return there == 0 || vp_image_read (rebase->below, offset, to, there, error);
}

/* One file, one place: no need to look. */
static bool
same_bytes (const VpExtent *a, const VpExtent *b)
{
  return a->has_offset && b->has_offset && a->offset == b->offset &&
         strcmp (a->filename, b->filename) == 0;
}

/* Zeros that the image holds itself.  vp_image_zero () would be content with
 * what reads as zeros already, through the old backing file. */
static bool
keep_zeros (Rebase *rebase, uint64_t offset, uint64_t length, GError **error)
{
  VpImage *image = rebase->image;
  uint64_t end = offset + length, size = vp_image_get_size (image);

  while (offset < end) {
    uint64_t unit_end = vp_round_down (offset, rebase->unit) + rebase->unit,
             done = 0;
    uint64_t whole = end == size ? vp_round_up (end, rebase->unit)
                                 : vp_round_down (end, rebase->unit);
    if (vp_round_down (offset, rebase->unit) == offset && whole > offset &&
        !image->format->zero (image->state, offset, whole - offset, true, &done,
                              error))
      return false;
    if (done == 0) {
      done = MIN (MIN (end, unit_end) - offset, CHUNK);
      memset (rebase->zeros, 0, (size_t) done);
      if (!vp_image_write (image, offset, rebase->zeros, (size_t) done, error))
        return false;
    }
    offset += done;
  }
  return true;
}

/* Packed ones come in whole units; what lies round the range is what the image
 * reads there anyway. */
static bool
keep_packed (Rebase *rebase, uint64_t offset, uint64_t len, GError **error)
{
  uint64_t size = vp_image_get_size (rebase->image);
  uint64_t at = vp_round_down (offset, rebase->unit);

  for (; at < offset + len; at += rebase->unit) {
    size_t part = (size_t) MIN (rebase->unit, size - at);
    if (!vp_image_read (rebase->image, at, rebase->packed, part, error) ||
        !vp_image_write_compressed (rebase->image, at, rebase->packed, part,
                                    error))
      return false;
  }
  return true;
}

static bool
keep (Rebase *rebase, uint64_t offset, const uint8_t *bytes, size_t len,
      GError **error)
{
  if (vp_buffer_is_zero (bytes, len))
    return keep_zeros (rebase, offset, len, error);
  if (rebase->packed)
    return keep_packed (rebase, offset, len, error);
  return vp_image_write (rebase->image, offset, bytes, len, error);
}

/* Runs of units that differ. */
static bool
keep_differences (Rebase *rebase, uint64_t offset, size_t len, GError **error)
{
  for (size_t at = 0; at < len;) {
    size_t start = at;
    bool differ = false;
    while (at < len) {
      uint64_t next =
          vp_round_down (offset + at, rebase->unit) + rebase->unit - offset;
      size_t end = (size_t) MIN (next, len);
      bool here = memcmp (rebase->old_bytes + at, rebase->new_bytes + at,
                          end - at) != 0;
      if (at > start && here != differ)
        break;
      differ = here;
      at = end;
    }
    if (differ && !keep (rebase, offset + start, rebase->old_bytes + start,
                         at - start, error))
      return false;
  }
  return true;
}

static bool
rebase_step (Rebase *rebase, uint64_t offset, uint64_t length,
             uint64_t *ret_done, GError **error)
{
  VpExtent now, then;

  if (!vp_image_map (rebase->image, offset, length, &now, error))
    return false;
  *ret_done = now.length;
  if (now.present && now.depth == 0)
    return true;
  if (!map_below (rebase, offset, now.length, &then, error))
    return false;
  *ret_done = then.length;
  if ((now.zero && then.zero) || same_bytes (&now, &then))
    return true;
  if (now.zero)
    return keep_zeros (rebase, offset, then.length, error);

  /* To the end of a unit where that can be reached. */
  uint64_t end = offset + MIN (then.length, CHUNK);
  if (vp_round_down (end, rebase->unit) > offset)
    end = vp_round_down (end, rebase->unit);
  size_t len = (size_t) (end - offset);
  *ret_done = len;
  return vp_image_read (rebase->image, offset, rebase->old_bytes, len, error) &&
         read_below (rebase, offset, rebase->new_bytes, len, error) &&
         keep_differences (rebase, offset, len, error);
}

bool
vp_rebase_image (VpImage *image, const VpRebase *to, const VpProgress *progress,
                 GError **error)
{
  uint64_t size = vp_image_get_size (image), done = 0, step;
  g_autofree uint8_t *old_bytes = g_malloc (CHUNK);
  g_autofree uint8_t *new_bytes = g_malloc (CHUNK);
  g_autofree uint8_t *zeros = g_malloc (CHUNK);
  Rebase rebase = { .image = image,
                    .below = to->backing,
                    .unit = MAX (vp_image_get_cluster_size (image), 512),
                    .old_bytes = old_bytes,
                    .new_bytes = new_bytes,
                    .zeros = zeros };
  g_autofree uint8_t *packed = to->compress ? g_malloc (rebase.unit) : NULL;

  rebase.packed = packed;
  if (to->name && image->format->expect_backing)
    image->format->expect_backing (image->state);
  while (done < size) {
    if (!vp_progress_update (progress, done, size, error) ||
        !rebase_step (&rebase, done, size - done, &step, error))
      return false;
    done += step;
  }
  vp_image_expect_backing (image, to->backing);
  return vp_image_set_backing (image, to->name, to->format, error) &&
         vp_progress_update (progress, size, size, error);
}
