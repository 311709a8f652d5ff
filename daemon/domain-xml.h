/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* domain-xml: VpGuest <-> libvirt's <domain>.  No I/O, no libvirt calls. */
#pragma once

#include "daemon/host.h"
#include "daemon/state.h"

#define VP_DOMAIN_XML_NAMESPACE "urn:vprovd:domain:1"

/* The whole definition of a resolved guest (uuid, mac, machine, paths,
 * accel other than AUTO), without the mark.
 * Fragments are merged in, and refused where they change what the spec itself
 * says.  A whole <domain> file loses our options in its metadata and gets
 * uuid and macs filled in where it has none, nothing else.  Caller frees. */
char *vp_domain_xml_generate (const VpGuest *guest, const VpHostCaps *caps,
                              GError **error);
/* The digest of a whole <domain> file's definition: sha256 in hex of what
 * vp_domain_xml_generate () gave.  Caller frees. */
char *vp_domain_xml_digest (const char *xml);
/* Puts the mark into <metadata>; replaces an older one.  Caller frees. */
char *vp_domain_xml_set_mark (const char *xml, const VpMark *mark,
                              GError **error);
/* The mark alone, as virDomainSetMetadata takes it: without the namespace,
 * which that call adds.  Caller frees. */
char *vp_mark_to_xml (const VpMark *mark);
/* NULL without error where there is none. */
VpMark *vp_domain_xml_get_mark (const char *xml, GError **error);

/* The typed fields of a libvirt definition.  Disks and NICs that bear our
 * alias ("ua-vp-disk-NAME", "ua-vp-nic-NAME") get that name, others their
 * target ("vda") or "nicN". */
VpGuest *vp_domain_xml_parse (const char *xml, GError **error);

/* One device, as attach and detach want it.  Caller frees. */
char *vp_domain_xml_disk (const VpDisk *disk);
char *vp_domain_xml_nic (const VpNic *nic);

/* vprovctl adopt: a spec file's text (a whole <domain> file) for an existing
 * definition, such that its plan is empty: a guest that is off (power as
 * found) is wanted off.  Caller frees. */
char *vp_domain_xml_adopt (const char *xml, VpPower power, GError **error);
