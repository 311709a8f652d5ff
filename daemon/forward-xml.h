/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forward-xml: reads a <forward>.  See state.h for VpForward. */
#pragma once

#include "daemon/walk-xml.h"

extern const VpShape vp_forward_xml_shape;        /* in <nic> */
extern const VpShape vp_forward_xml_domain_shape; /* in metadata: with nic= */

/* NULL after a mistake.  Caller frees with g_free. */
VpForward *vp_forward_xml_read (VpWalk *walk, const VpXmlNode *node);
/* Held against all that guest has so far: a port of the host is had once. */
void vp_forward_xml_check (VpWalk *walk, const VpXmlNode *node,
                           const VpForward *forward, const VpGuest *guest);
