/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json: a writer of JSON text, indented by four, in the layout that readers
 * of image tools know.  Only writes; nothing here reads JSON.  Strings come
 * from disks: what is no UTF-8 becomes U+FFFD, and the output is ASCII. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct VpJson VpJson;

VpJson *vp_json_new (void) G_GNUC_WARN_UNUSED_RESULT;
void vp_json_free (VpJson *json);

/* key is NULL within an array and at the top. */
void vp_json_open_object (VpJson *json, const char *key);
void vp_json_open_array (VpJson *json, const char *key);
void vp_json_close (VpJson *json); /* the innermost of either */
void vp_json_string (VpJson *json, const char *key, const char *value);
void vp_json_uint (VpJson *json, const char *key, uint64_t value);
void vp_json_bool (VpJson *json, const char *key, bool value);

/* The text so far, borrowed; without a closing newline. */
const char *vp_json_get_text (const VpJson *json);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpJson, vp_json_free)
