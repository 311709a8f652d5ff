/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* snapshot: points in time that an image keeps within itself.
 *
 * Where one is named by a single word, that is its name or its id (a decimal
 * number): vp_image_snapshot_delete () looks for a name first, the others for
 * an id first, as qemu-img does.  VP_IMAGE_ERROR_NOT_FOUND where there is none,
 * _UNSUPPORTED where the format or the image cannot have any.  Everything lasts
 * when it returns, and a power cut leaves the old state or the new one. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

/* name need not be the only one of its kind; the id is one more than the
 * highest there is.  Bytes after the 255th are left out. */
bool vp_image_snapshot_create (VpImage *image, const char *name,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Back to what it was, also in size; what was written since is lost unless
 * another snapshot has it. */
bool vp_image_snapshot_apply (VpImage *image, const char *id_or_name,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_snapshot_delete (VpImage *image, const char *name_or_id,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The image, opened read-only, shows the snapshot from now on. */
bool vp_image_load_snapshot (VpImage *image, const char *id_or_name,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Either may be NULL; the first that bears all that is given. */
bool vp_image_load_snapshot_by (VpImage *image, const char *id,
                                const char *name,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
