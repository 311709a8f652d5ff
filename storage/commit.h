/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* commit: what an image holds above a layer of its chain goes down into that
 * layer.  The guest reads the same through the image at every moment: bytes
 * reach the layer, and last there, before the image lets go of its own. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

/* The layer whose file is named so, as the image below which it lies says it
 * or as the file is called; name NULL: the first below image.  Borrowed; NULL:
 * there is none. */
VpImage *vp_chain_find (VpImage *image, const char *name);

/* Ends the chain of image above layer, which lies in it and is returned with
 * what is below, now the caller's.  What image then does not hold itself
 * reads as an error, and maps neither as present nor as zero. */
VpImage *vp_chain_cut (VpImage *image,
                       VpImage *layer) G_GNUC_WARN_UNUSED_RESULT;

/* image was cut above base, which is open for writing, with its chain.  A
 * smaller base grows.  rate: bytes a second, 0 without limit. */
bool vp_commit_image (VpImage *image, VpImage *base, uint64_t rate,
                      const VpProgress *progress,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All of it is asked from the backing file again; snapshots stay.
 * VP_IMAGE_ERROR_UNSUPPORTED where the format cannot. */
bool vp_image_empty (VpImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
