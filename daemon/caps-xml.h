/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* caps-xml: what we need of libvirt's capabilities documents.  No I/O. */
#pragma once

#include <stdbool.h>

#include <glib.h>

/* From <capabilities>: the host's architecture, and the newest versioned
 * machine of the family that we prefer on it ("pc-q35-7.2"), NULL where there
 * is none (libvirt's test driver).  Caller frees. */
bool vp_caps_xml_parse_host (const char *xml, char **ret_arch,
                             char **ret_machine, GError **error);
/* From <domainCapabilities>: the emulator's path, NULL where there is none.
 * Caller frees. */
bool vp_caps_xml_parse_domain (const char *xml, char **ret_emulator,
                               GError **error);
