/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* join: several images in a row as one, to be read. */
#pragma once

#include "storage/image.h"

/* images: of VpImage, one at least; borrowed, and they outlive the answer.
 * What is read through it is answered for by each of them.  NULL: together
 * they are too large (VP_IMAGE_ERROR_RANGE). */
VpImage *vp_image_join (const GPtrArray *images, GError **error);
