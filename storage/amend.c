/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* amend: hands options to the driver; the size is the image's own business. */
#include "config.h"

#include "storage/amend.h"

#include "storage/error.h"
#include "storage/image-internal.h"

static bool
change_size (VpImage *image, uint64_t size, GError **error)
{
  uint64_t present = vp_image_get_size (image);
  if (size == present)
    return true;
  return size < present
             ? vp_image_shrink (image, size, error)
             : vp_image_resize (image, size, VP_PREALLOCATION_OFF, error);
}

bool
vp_image_amend (VpImage *image, const VpAmendOptions *options,
                const VpProgress *progress, GError **error)
{
  const VpFormat *format = image->format;
  if (!format->amend) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "Format driver '%s' does not support option amendment",
                 format->name);
    return false;
  }
  if (!(image->flags & VP_IMAGE_WRITABLE)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: opened read-only", image->file->name);
    return false;
  }
  if (!format->amend (image->state, options, true, NULL, error))
    return false;
  /* Version 2 is less able, so that it comes last. */
  VpAmendOptions first = *options, last = VP_AMEND_OPTIONS_INIT;
  if (options->compat == 2) {
    first.compat = 0;
    last.compat = 2;
  }
  vp_transfer_forget (image->transfer);
  return format->amend (image->state, &first, false, progress, error) &&
         (!options->has_size || change_size (image, options->size, error)) &&
         format->amend (image->state, &last, false, progress, error) &&
         vp_image_flush (image, error);
}
