/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* domain-xml, what its files and the reader of specs share: definitions as
 * trees.  See domain-xml.h for the same from text. */
#pragma once

#include "daemon/xml.h"

/* ret_place (may be NULL) is set on failure: where the mistake is. */
VpGuest *vp_domain_xml_read (const VpXmlNode *root, VpPlace *ret_place,
                             GError **error);

/* Takes our element out of <metadata>, and that where nothing is left. */
void vp_domain_xml_drop_ours (VpXmlNode *root);

/* Aliases: "ua-vp-disk-" and the name.  libvirt takes letters, digits, '_'
 * and '-' only, so '.' is written "_d" and '_' "__".  Caller frees; decode
 * gives NULL for an alias that is not ours. */
char *vp_domain_xml_alias (const char *kind, const char *name);
char *vp_domain_xml_alias_name (const char *kind, const char *alias);
