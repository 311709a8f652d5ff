/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* amend: other properties for an image that is there. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

/* Changes what options name and leaves the rest.  What cannot be is refused
 * before anything changes: VP_IMAGE_ERROR_USAGE where the words do not go
 * together, _UNSUPPORTED where the image, or its format, cannot be that way.
 * After a power cut each of the steps has happened as a whole or not. */
bool vp_image_amend (VpImage *image, const VpAmendOptions *options,
                     const VpProgress *progress,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
