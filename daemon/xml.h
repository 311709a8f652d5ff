/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* xml: libxml2 kept safe, and where in a file each thing stands.
 *
 * A text is scanned once by us before libxml2 sees it: what is too big, too
 * deep, not UTF-8 or has a DOCTYPE never reaches the parser.  The same scan
 * notes line and column of every element and attribute, which libxml2 does
 * not keep.  Nothing here opens a file or a socket.
 *
 * libxml2 is used in files named *xml.c alone; the node type is known by name
 * only to everyone else. */
#pragma once

#include "daemon/state.h"

typedef struct _xmlNode VpXmlNode;
typedef struct VpXml VpXml;

typedef struct {
  size_t bytes;
  unsigned depth; /* of elements, the root is 1 */
  unsigned nodes; /* elements, attributes, comments, text is free */
} VpXmlLimits;

/* For spec files: 256 KiB, 32, 2,000. */
extern const VpXmlLimits vp_xml_spec_limits;
/* For what libvirt says: 16 MiB, 200, 200,000. */
extern const VpXmlLimits vp_xml_domain_limits;

/* NULL after at least one error was added to problems; path goes into it. */
VpXml *vp_xml_parse (const char *path, const char *text, size_t len,
                     const VpXmlLimits *limits, GPtrArray *problems);
/* The same where one sentence is enough: VP_ERROR_INVALID_SPEC. */
VpXml *vp_xml_parse_text (const char *text, const VpXmlLimits *limits,
                          GError **error);
void vp_xml_free (VpXml *xml);

/* Nodes are borrowed from the document. */
VpXmlNode *vp_xml_get_root (VpXml *xml);
/* Of the "<".  Unknown (0) for nodes that were made, not read. */
VpPlace vp_xml_place (const VpXmlNode *node);
/* Of the attribute's name; the element's where there is none. */
VpPlace vp_xml_attribute_place (const VpXmlNode *node, const char *name);

/* Elements only.  name NULL: any; a name means one in no namespace. */
VpXmlNode *vp_xml_first (const VpXmlNode *node, const char *name);
VpXmlNode *vp_xml_next (const VpXmlNode *node, const char *name);
/* Follows first children: "devices", "emulator".  NULL-terminated. */
VpXmlNode *vp_xml_find (const VpXmlNode *node, ...) G_GNUC_NULL_TERMINATED;
const char *vp_xml_name (const VpXmlNode *node);
/* NULL: none. */
const char *vp_xml_namespace (const VpXmlNode *node);
bool vp_xml_is (const VpXmlNode *node, const char *name);
/* The value of an attribute in no namespace, NULL where there is none; node
 * may be NULL.  Caller frees. */
char *vp_xml_get_attribute (const VpXmlNode *node, const char *name);
bool vp_xml_has_attribute (const VpXmlNode *node, const char *name);
/* The text in an element without white space round it, NULL where there is
 * none; node may be NULL.  Caller frees. */
char *vp_xml_get_text (const VpXmlNode *node);
/* The element as text, indented where it holds no text of its own.  Caller
 * frees. */
char *vp_xml_serialise (const VpXmlNode *node, bool indent);
/* The children as text, with the namespaces they need.  Caller frees. */
char *vp_xml_serialise_children (const VpXmlNode *node);

/* The nearest of words (NULL-terminated) to word, close enough to be a slip
 * of the finger; NULL where none is. */
const char *vp_xml_nearest (const char *word, const char *const *words);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpXml, vp_xml_free)
