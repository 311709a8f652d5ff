/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* commit: extent by extent; zeros as zeros, and what the image does not hold
 * is left alone. */
#include "config.h"

#include "storage/commit.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image-internal.h"
#include "storage/pace.h"

#define CHUNK ((size_t) 2 << 20)

/* ---- the chain ---------------------------------------------------------- */

static bool
bears_name (VpImage *above, const char *name)
{
  const char *format, *stored = NULL;

  if (above->format->backing)
    stored = above->format->backing (above->state, &format);
  if (stored && strcmp (stored, name) == 0)
    return true;
  g_autofree char *ours = g_canonicalize_filename (name, NULL);
  g_autofree char *theirs =
      g_canonicalize_filename (above->backing->file->name, NULL);
  return strcmp (ours, theirs) == 0;
}

VpImage *
vp_chain_find (VpImage *image, const char *name)
{
  for (VpImage *above = image; above->backing; above = above->backing)
    if (!name || bears_name (above, name))
      return above->backing;
  return NULL;
}

VpImage *
vp_chain_cut (VpImage *image, VpImage *layer)
{
  VpImage *above = image;

  while (above->backing != layer)
    above = above->backing;
  above->backing = NULL;
  above->backing_missing = true;
  return layer;
}

/* ---- the bytes ---------------------------------------------------------- */

static bool
commit_extent (VpImage *image, VpImage *base, const VpExtent *extent,
               uint8_t *buffer, uint64_t *ret_done, GError **error)
{
  *ret_done = extent->length;
  if (extent->zero)
    return vp_image_zero (base, extent->start, extent->length, true, error);
  if (!extent->data)
    return true;
  size_t len = (size_t) MIN (extent->length, CHUNK);
  *ret_done = len;
  return vp_image_read (image, extent->start, buffer, len, error) &&
         vp_image_write (base, extent->start, buffer, len, error);
}

static bool
wait (VpPace *pace, uint64_t bytes, uint64_t done, uint64_t size,
      const VpProgress *progress, GError **error)
{
  uint64_t due = vp_pace_due_us (pace, bytes);

  for (; due > 0; due = vp_pace_due_us (pace, 0)) {
    if (!vp_progress_update (progress, done, size, error))
      return false;
    g_usleep ((unsigned long) MIN (due, VP_PACE_NAP));
  }
  return true;
}

/* The image is over the base as it is now: both read the same there. */
static bool
follow_base (VpImage *image, VpImage *base, GError **error)
{
  const VpFormat *format = image->format;

  if (!format->set_backing_id || base->format != format ||
      !(image->flags & VP_IMAGE_WRITABLE) ||
      (image->backing && image->backing != base))
    return true;
  return format->set_backing_id (image->state, format->content_id (base->state),
                                 error);
}

bool
vp_commit_image (VpImage *image, VpImage *base, uint64_t rate,
                 const VpProgress *progress, GError **error)
{
  uint64_t size = vp_image_get_size (image), done = 0, step;
  g_autofree uint8_t *buffer = g_malloc (CHUNK);
  VpPace pace = vp_pace_begin (rate);

  if (vp_image_get_size (base) < size &&
      !vp_image_resize (base, size, VP_PREALLOCATION_OFF, error))
    return false;
  while (done < size) {
    VpExtent extent;
    if (!vp_progress_update (progress, done, size, error) ||
        !vp_image_map (image, done, size - done, &extent, error) ||
        !commit_extent (image, base, &extent, buffer, &step, error) ||
        !wait (&pace, extent.data ? step : 0, done, size, progress, error))
      return false;
    done += step;
  }
  return vp_image_flush (base, error) && follow_base (image, base, error) &&
         vp_progress_update (progress, size, size, error);
}

bool
vp_image_empty (VpImage *image, GError **error)
{
  if (!(image->flags & VP_IMAGE_WRITABLE) || !image->format->empty) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: cannot be emptied", image->file->name);
    return false;
  }
  vp_transfer_forget (image->transfer);
  return image->format->empty (image->state, error);
}
