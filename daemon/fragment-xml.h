/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fragment-xml: puts a <libvirt> fragment of a spec into a definition's tree.
 *
 * append   children are added at the end of the place that into= names
 * merge    a child that is there already gets the fragment's attributes, text
 *          and children, the same way; one that is not is added
 * replace  a child that is there already makes room for the fragment's
 *
 * "There already" is decided by what tells such elements apart: <alias name>,
 * <target dev>, <mac address>, name= or, for a controller, type=; where an
 * element has none of these, by its name, if there is just one. */
#pragma once

#include "daemon/xml.h"

/* root is a <domain>.  VP_ERROR_INVALID_SPEC, with the fragment's line. */
bool vp_fragment_xml_apply (VpXmlNode *root, const VpFragment *fragment,
                            GError **error);
