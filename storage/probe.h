/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* probe: the format of a file by what stands in it.  Only done where the
 * caller asks for it: a guest writes what it likes into a raw disk. */
#pragma once

#include "storage/file.h"
#include "storage/format.h"

/* Recognises our formats and, by name, those that are refused; what bears no
 * mark is raw.  VP_IMAGE_ERROR_UNSUPPORTED, or VP_IMAGE_ERROR_UNKNOWN_FORMAT
 * where more than one matches. */
const VpFormat *vp_probe_format (VpFile *file, GError **error);

/* What lies on a raw disk, in words, static; NULL: nothing that we know. */
const char *vp_probe_content (VpFile *file);

/* Whether a file that begins so bears no format's mark: a VpFileHeadCheck. */
bool vp_probe_head_is_raw (const uint8_t *head, size_t len);
