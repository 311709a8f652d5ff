/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* stretch: where the bytes of a part of an image are, found out under the lock
 * of a pipeline, to be read outside of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/image.h"
#include "storage/transfer.h"

typedef struct VpStretch VpStretch;

VpStretch *vp_stretch_new (void);
void vp_stretch_free (VpStretch *stretch);
void vp_stretch_clear (VpStretch *stretch);
/* Adds bytes [offset, offset + len) of image, to be read to at in a buffer. */
bool vp_stretch_add (VpStretch *stretch, VpImage *image, uint64_t offset,
                     size_t len, size_t at,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* An error names the offset in the image. */
bool vp_stretch_read (const VpStretch *stretch, VpTransfer *transfer,
                      uint8_t *buffer,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
