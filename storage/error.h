/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* error: the engine's own judgements.  A failed system call is a
 * G_FILE_ERROR. */
#pragma once

#include <glib.h>

#define VP_IMAGE_ERROR (vp_image_error_quark ())

typedef enum {
  VP_IMAGE_ERROR_FAILED,
  VP_IMAGE_ERROR_UNKNOWN_FORMAT,
  VP_IMAGE_ERROR_CORRUPT,     /* what is on disk breaks its specification */
  VP_IMAGE_ERROR_UNSUPPORTED, /* a known feature that we do not have */
  VP_IMAGE_ERROR_RANGE,       /* beyond the size, or over a limit of ours */
  VP_IMAGE_ERROR_READ_ONLY,
  VP_IMAGE_ERROR_IN_USE, /* somebody else holds a lock */
  VP_IMAGE_ERROR_DENIED, /* the gate said no to a name in the image */
  VP_IMAGE_ERROR_CANCELLED,
  VP_IMAGE_ERROR_USAGE,     /* options that do not go together */
  VP_IMAGE_ERROR_NOT_FOUND, /* no such snapshot */
} VpImageErrorCode;

GQuark vp_image_error_quark (void);
