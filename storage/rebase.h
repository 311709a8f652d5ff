/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* rebase: another backing file for an image, that reads the same afterwards.
 *
 * First the image is given what it would lose, while its old backing file
 * still stands; then its header changes, in one step.  A cut at any time
 * leaves an image that reads as before. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

/* Only the name; the caller knows that the content fits.  name NULL: no
 * backing file.  The image may be open without its backing file.
 * VP_IMAGE_ERROR_UNSUPPORTED where the format has none, and
 * VP_IMAGE_ERROR_USAGE without a format. */
bool vp_image_set_backing (VpImage *image, const char *name, const char *format,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* below is what the next name stands for, for images that say what it holds.
 * NULL is fine. */
void vp_image_expect_backing (VpImage *image, VpImage *below);

typedef struct {
  const char *name, *format; /* NULL: no backing file */
  VpImage *backing;          /* what the name stands for, open; or NULL */
  bool compress;             /* what is copied is packed */
} VpRebase;

/* image is open for writing, its chain with it. */
bool vp_rebase_image (VpImage *image, const VpRebase *to,
                      const VpProgress *progress,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
