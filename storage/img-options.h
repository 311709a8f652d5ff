/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-options: what "-o name=value,..." may say when an image is made: options
 * of the format, and of the file that holds it.  Private to img-*.c. */
#pragma once

#include "storage/img.h"

/* pairs: NAME, VALUE as vp_img_split_options () makes them. */

/* The last value of an option; NULL: not given. */
const char *vp_img_option (const GPtrArray *pairs, const char *name);
/* Are they known, and numbers where numbers are wanted?  What they mean to
 * each other is the format's business. */
bool vp_img_options_check (const GPtrArray *pairs, const VpFormat *format,
                           GError **error);
/* "cluster_size=65536 ... size=N ...": what will be made, defaults said where
 * they matter.  Caller frees. */
char *vp_img_options_text (const GPtrArray *pairs, const VpFormat *format,
                           const VpCreateOptions *options);
/* "-o help"; with_file: those of the file as well. */
void vp_img_options_help (const VpFormat *format, bool with_file);

/* Not the format's. */
bool vp_img_options_of_file (const VpFormat *format, const char *name);
/* Those of the file: nocow, extent_size_hint.  A file system that does not
 * know them does without. */
void vp_img_options_apply (const GPtrArray *pairs, int fd);
