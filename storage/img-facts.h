/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-facts: a tree of facts, told once, for programs as JSON or for people
 * as indented lines: "cluster-size" is "cluster size" there, and the items of
 * a list are "[0]:".  Private to img-*.c. */
#pragma once

#include "storage/json.h"

typedef struct VpImgFacts VpImgFacts;

/* json is borrowed; NULL: lines on stdout, indent spaces in. */
VpImgFacts *vp_img_facts_new (VpJson *json, unsigned indent);
void vp_img_facts_free (VpImgFacts *facts);

/* key is NULL within a list. */
void vp_img_facts_open_object (VpImgFacts *facts, const char *key);
void vp_img_facts_open_list (VpImgFacts *facts, const char *key);
void vp_img_facts_close (VpImgFacts *facts);
/* value comes from an image: what is no text is escaped. */
void vp_img_facts_string (VpImgFacts *facts, const char *key,
                          const char *value);
void vp_img_facts_uint (VpImgFacts *facts, const char *key, uint64_t value);
void vp_img_facts_bool (VpImgFacts *facts, const char *key, bool value);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpImgFacts, vp_img_facts_free)
