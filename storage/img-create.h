/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-create: what convert has in common with create.  Private to img-*.c. */
#pragma once

#include "storage/img.h"

/* pairs as vp_img_split_options makes them; they must outlive options. */
bool vp_img_set_options (VpCreateOptions *options, const VpFormat *format,
                         const GPtrArray *pairs, GError **error);
/* -b and -F, either may be NULL, on top of what -o said. */
bool vp_img_set_backing (VpCreateOptions *options, const VpFormat *format,
                         const char *name, const char *backing_format,
                         GError **error);
/* Says where the disk in a new image is larger than was asked for, and why. */
void vp_img_tell_size (const char *filename, const VpFormat *format,
                       uint64_t asked, uint64_t got);
/* Opens the backing file through the person gate, as filename will.
 * ret_format (may be NULL): what it is; caller frees. */
bool vp_img_find_backing (const char *filename, const VpCreateOptions *options,
                          uint64_t *ret_size, char **ret_format,
                          GError **error);
