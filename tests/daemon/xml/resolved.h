/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* resolved: spec files of tests as guests that a definition can be made of,
 * with what the manager would have found out put in, always the same; and
 * what two guests have in common when a definition was made of one and the
 * other was read from it. */
#pragma once

#include "daemon/domain-xml.h"
#include "daemon/spec-xml.h"

/* The names of the files in tests/daemon/xml/FOLDER that end in suffix, which
 * is cut off, sorted. */
GPtrArray *vp_test_list (const char *folder, const char *suffix);
char *vp_test_path (const char *folder, const char *name, const char *suffix);
char *vp_test_read (const char *path);

/* tests/daemon/xml/domains/NAME.xml; the accelerator is "kvm", "tcg" or "test"
 * where the file leaves it open and its name ends in that. */
VpGuest *vp_test_resolved (const char *name);
VpHostCaps *vp_test_caps (const VpGuest *guest);

/* Asserts that found says what wanted does, where a definition says it. */
void vp_test_assert_same (const VpGuest *wanted, const VpGuest *found);
