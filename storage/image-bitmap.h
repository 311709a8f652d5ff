/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image-bitmap: an image's persistent bitmaps: what has changed since somebody
 * looked.  An enabled one records every change from now on.  All of it is
 * stored when the image is closed (vp_image_close ()).
 *
 * Errors: VP_IMAGE_ERROR_UNSUPPORTED where the format has no bitmaps, _USAGE
 * for names and sizes, _CORRUPT for a bitmap that was not stored well. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/image.h"

/* Can its format hold any? */
bool vp_image_has_bitmap_support (VpImage *image);
/* granularity: bytes, a power of two, 512 at least; 0: the default. */
bool vp_image_bitmap_add (VpImage *image, const char *name,
                          uint64_t granularity, bool enabled,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_bitmap_remove (VpImage *image, const char *name,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_bitmap_clear (VpImage *image, const char *name,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_bitmap_set_enabled (VpImage *image, const char *name,
                                  bool enabled,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Sets in name what is set in source_name of source, which may be image. */
bool vp_image_bitmap_merge (VpImage *image, const char *name, VpImage *source,
                            const char *source_name,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* For readers; borrowed until the image changes or closes. */
const VpBitmap *vp_image_bitmap_get (VpImage *image, const char *name,
                                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All bitmaps of source alone, not of its chain, into target.  An
 * inconsistent one is left out where skip_broken is set, its name told to
 * skipped (char *, may be NULL); else it is an error, before anything is
 * copied. */
bool vp_image_copy_bitmaps (VpImage *source, VpImage *target, bool skip_broken,
                            GPtrArray *skipped,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Is there one that cannot be copied?  An error then; for a look before long
 * work. */
bool vp_image_check_bitmaps (VpImage *source,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
