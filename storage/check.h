/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check: is an image consistent with itself, and what can be mended. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

/* Open the image with VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING, and
 * VP_IMAGE_WRITABLE for repair.  True: the check was carried out, its result
 * may be bad.  VP_IMAGE_ERROR_UNSUPPORTED where the format has no check (raw).
 * Clear the result with vp_check_result_clear (). */
bool vp_check_image (VpImage *image, VpRepair repair,
                     const VpProgress *progress, VpCheckResult *ret_result,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

void vp_check_result_clear (VpCheckResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpCheckResult, vp_check_result_clear)

/* For drivers: notes one fault in words; keeps the first 1000. */
void vp_check_result_note (VpCheckResult *result, const char *format, ...)
    G_GNUC_PRINTF (2, 3);
