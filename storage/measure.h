/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* measure: how much room an image will need, before it is made. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/image.h"

/* Bytes. */
typedef struct {
  uint64_t required;        /* for what is in the source now */
  uint64_t fully_allocated; /* when the guest has written everywhere */
  bool has_bitmaps;
  uint64_t bitmaps; /* in addition, where they are to be kept */
} VpMeasure;

/* An image of that format made with options; options->size is used where
 * there is no source (NULL), else the source's size is.  With a backing file
 * in options nobody knows how much of the source it holds, so that all of it
 * is counted.  VP_IMAGE_ERROR_USAGE for options that do not go together. */
bool vp_measure_image (const VpFormat *format, const VpCreateOptions *options,
                       VpImage *source, VpMeasure *ret_measure,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
