/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-xml: the text of a spec file -> plain data, and every mistake in it.
 *
 * Reads <guest>, a whole libvirt <domain>, <network>, <pool> and <image>.
 * Refuses DOCTYPE, more than 256 KiB, depth over 32, more than 2,000 nodes.
 * No I/O: the caller has read the bytes.  All mistakes are reported, each
 * with line, column and, for an unknown name, the nearest known one. */
#pragma once

#include "daemon/state.h"

#define VP_SPEC_MAX_BYTES (256 * 1024)

typedef struct {
  bool allow_qemu_commandline; /* vprovd.conf: AllowQemuCommandline= */
} VpSpecRules;

/* name is the file's name without ".xml".  On mistakes returns NULL and has
 * added at least one VP_SEVERITY_ERROR to problems; warnings are added either
 * way.  path goes into the problems. */
VpGuest *vp_spec_parse_guest (const char *path, const char *name,
                              const char *text, size_t len,
                              const VpSpecRules *rules, GPtrArray *problems);
VpNet *vp_spec_parse_network (const char *path, const char *name,
                              const char *text, size_t len,
                              GPtrArray *problems);
VpPoolSpec *vp_spec_parse_pool (const char *path, const char *name,
                                const char *text, size_t len,
                                GPtrArray *problems);
VpImageSpec *vp_spec_parse_image (const char *path, const char *name,
                                  const char *text, size_t len,
                                  GPtrArray *problems);
