/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json-read: reads the JSON that a person types ("json:{...}"): one object,
 * strictly as RFC 8259 has it, bounded, flattened to dotted names.
 *
 *     {"driver": "raw", "file": {"size": 512}}   ->  driver     raw
 *                                                    file.size  512
 *
 * Members of an array are named by their numbers.  Never used on what an image
 * holds. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#define VP_MAX_JSON_LEN   (64u << 10)
#define VP_MAX_JSON_DEPTH 32u

/* Appends name, value to pairs, which frees by g_free ().  Strings are taken
 * as they are, true and false become "on" and "off", null becomes "", numbers
 * stay as they are written.  A name that comes twice is refused.
 * VP_IMAGE_ERROR_USAGE; pairs then holds nothing new. */
bool vp_json_read_flat (const char *text, GPtrArray *pairs,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
