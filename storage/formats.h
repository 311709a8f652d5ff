/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* formats: all drivers in one array, found by name. */
#pragma once

#include "storage/format.h"

extern const VpFormat vp_format_raw;
extern const VpFormat vp_format_qcow;
extern const VpFormat vp_format_qcow2;
extern const VpFormat vp_format_cow;
extern const VpFormat vp_format_luks;
extern const VpFormat vp_format_vmdk;
extern const VpFormat vp_format_vdi;
extern const VpFormat vp_format_vpc;
extern const VpFormat vp_format_vhdx;

/* NULL-terminated. */
const VpFormat *const *vp_formats_all (void);
/* VP_IMAGE_ERROR_UNKNOWN_FORMAT. */
const VpFormat *vp_formats_find (const char *name, GError **error);

/* VP_IMAGE_ERROR_UNSUPPORTED where it is only read. */
bool vp_formats_can_create (const VpFormat *format,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* "cluster_size", "64K" in qemu-img's spelling.  Text values are kept in
 * options and must outlive it.  VP_IMAGE_ERROR_USAGE where the format has no
 * such option, or the value is none. */
bool vp_create_options_set (VpCreateOptions *options, const VpFormat *format,
                            const char *name, const char *value,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* "20G", "512", "1.5M" (powers of 1024; b k M G T P E); no sign. */
bool vp_parse_size (const char *text, uint64_t *ret_size,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
