/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-domain-xml: a whole libvirt <domain> file as a spec.  The typed fields
 * are read from it for comparison; a definition is made from its text.  Our
 * own options ride in its metadata:
 *
 *   <metadata>
 *     <v:guest xmlns:v="urn:vprovd:domain:1" state="running">
 *       <v:forward port="8080" to="80" proto="tcp" nic="nic0"/>
 *     </v:guest>
 *   </metadata> */
#pragma once

#include "daemon/walk-xml.h"

/* Adds its mistakes to walk; NULL where there is nothing to give. */
VpGuest *vp_spec_domain_read (VpWalk *walk, const VpXmlNode *root,
                              const char *name, const char *text, size_t len,
                              bool allow_qemu_commandline);

/* Raw libvirt XML below node: what is not allowed in it is a mistake. */
void vp_spec_domain_check_foreign (VpWalk *walk, const VpXmlNode *node,
                                   bool allow_qemu_commandline);
