/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* formats: all drivers in one array; by name, or by what a file begins with.
 * Probing is only done where the caller asks for it. */
#pragma once

#include "storage/format.h"

extern const VpFormat vp_format_raw;
extern const VpFormat vp_format_qcow2;

/* NULL-terminated. */
const VpFormat *const *vp_formats_all (void);
/* VP_IMAGE_ERROR_UNKNOWN_FORMAT. */
const VpFormat *vp_formats_find (const char *name, GError **error);
/* Recognises our formats and, by name, those that are refused; what bears no
 * mark is raw.  VP_IMAGE_ERROR_UNSUPPORTED, or VP_IMAGE_ERROR_UNKNOWN_FORMAT
 * where more than one matches. */
const VpFormat *vp_formats_probe (VpFile *file, GError **error);

/* Whether a file that begins so bears no format's mark: a VpFileHeadCheck. */
bool vp_formats_head_is_raw (const uint8_t *head, size_t len);

/* "cluster_size", "64K" in qemu-img's spelling.  Text values are kept in
 * options and must outlive it.  VP_IMAGE_ERROR_USAGE where the format has no
 * such option, or the value is none. */
bool vp_create_options_set (VpCreateOptions *options, const VpFormat *format,
                            const char *name, const char *value,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* "20G", "512", "1.5M" (powers of 1024; b k M G T P E); no sign. */
bool vp_parse_size (const char *text, uint64_t *ret_size,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
