/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* domain-mark-xml: the mark by which a definition is ours, and the way of an
 * unmarked one to a spec file.
 *
 * libvirt keeps one element for each namespace in <metadata>, and gives it
 * the namespace itself when it is set by call: then the mark is written
 * without. */
#include "config.h"

#include "daemon/domain-xml.h"

#include "daemon/domain-xml-private.h"
#include "daemon/error.h"

#include <libxml/tree.h>

#include <string.h>

void
vp_domain_xml_drop_ours (VpXmlNode *root)
{
  VpXmlNode *metadata = vp_xml_first (root, "metadata");
  VpXmlNode *next;

  if (metadata == NULL)
    return;
  for (VpXmlNode *child = vp_xml_first (metadata, NULL); child != NULL;
       child = next) {
    next = vp_xml_next (child, NULL);
    if (g_strcmp0 (vp_xml_namespace (child), VP_DOMAIN_XML_NAMESPACE) != 0)
      continue;
    xmlUnlinkNode (child);
    xmlFreeNode (child);
  }
  if (vp_xml_first (metadata, NULL) == NULL) {
    xmlUnlinkNode (metadata);
    xmlFreeNode (metadata);
  }
}

static void
fill_mark (xmlNode *node, const VpMark *mark)
{
  (void) xmlNewProp (node, (const xmlChar *) "name",
                     (const xmlChar *) mark->guest);
  if (mark->digest != NULL)
    (void) xmlNewProp (node, (const xmlChar *) "digest",
                       (const xmlChar *) mark->digest);
  if (mark->fixed != NULL)
    (void) xmlNewProp (node, (const xmlChar *) "fixed",
                       (const xmlChar *) mark->fixed);
  if (mark->retired)
    (void) xmlNewProp (node, (const xmlChar *) "retired",
                       (const xmlChar *) "yes");
}

char *
vp_mark_to_xml (const VpMark *mark)
{
  xmlDoc *doc = xmlNewDoc ((const xmlChar *) "1.0");
  xmlNode *node = xmlNewDocNode (doc, NULL, (const xmlChar *) "guest", NULL);
  char *text;

  if (node == NULL)
    g_error ("out of memory");
  xmlDocSetRootElement (doc, node);
  fill_mark (node, mark);
  text = vp_xml_serialise (node, false);
  xmlFreeDoc (doc);
  return text;
}

/* The place of <metadata> in libvirt's own order. */
static xmlNode *
need_metadata (VpXmlNode *root)
{
  static const char *const before[] = { "description", "title", "genid", "uuid",
                                        "name" };
  xmlNode *metadata = vp_xml_first (root, "metadata");

  if (metadata != NULL)
    return metadata;
  metadata =
      xmlNewDocNode (root->doc, NULL, (const xmlChar *) "metadata", NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (before); i++) {
    VpXmlNode *node = vp_xml_first (root, before[i]);

    if (node != NULL)
      return xmlAddNextSibling (node, metadata);
  }
  return xmlAddChild (root, metadata);
}

static xmlNode *
add_ours (VpXmlNode *root, const char *prefix)
{
  xmlNode *node =
      xmlNewChild (need_metadata (root), NULL, (const xmlChar *) "guest", NULL);

  if (node == NULL)
    g_error ("out of memory");
  xmlSetNs (node, xmlNewNs (node, (const xmlChar *) VP_DOMAIN_XML_NAMESPACE,
                            (const xmlChar *) prefix));
  return node;
}

char *
vp_domain_xml_set_mark (const char *text, const VpMark *mark, GError **error)
{
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (text, &vp_xml_domain_limits, error);
  VpXmlNode *root;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  vp_domain_xml_drop_ours (root);
  fill_mark (add_ours (root, "vprovd"), mark);
  return vp_xml_serialise (root, false);
}

VpMark *
vp_domain_xml_get_mark (const char *text, GError **error)
{
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (text, &vp_xml_domain_limits, error);
  VpXmlNode *metadata;

  if (xml == NULL)
    return NULL;
  metadata = vp_xml_first (vp_xml_get_root (xml), "metadata");
  for (VpXmlNode *node = vp_xml_first (metadata, NULL); node != NULL;
       node = vp_xml_next (node, NULL)) {
    g_autofree char *name = vp_xml_get_attribute (node, "name");
    g_autofree char *retired = vp_xml_get_attribute (node, "retired");
    VpMark *mark;

    /* Options that somebody defined along with a domain are no mark. */
    if (g_strcmp0 (vp_xml_namespace (node), VP_DOMAIN_XML_NAMESPACE) != 0 ||
        strcmp (vp_xml_name (node), "guest") != 0 || name == NULL)
      continue;
    mark = g_new0 (VpMark, 1);
    mark->guest = g_steal_pointer (&name);
    mark->digest = vp_xml_get_attribute (node, "digest");
    mark->fixed = vp_xml_get_attribute (node, "fixed");
    mark->retired = g_strcmp0 (retired, "yes") == 0;
    return mark;
  }
  return NULL;
}

char *
vp_domain_xml_adopt (const char *text, VpPower power, GError **error)
{
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (text, &vp_xml_domain_limits, error);
  g_autoptr (VpGuest) guest = NULL;
  g_autofree char *body = NULL;
  VpXmlNode *root;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  guest = vp_domain_xml_read (root, NULL, error);
  if (guest == NULL)
    return NULL;
  if (!vp_name_is_valid (guest->name)) {
    g_set_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC,
                 "domain %s cannot be adopted under its name: a guest's name "
                 "has up to 63 letters, digits, '.', '_' and '-'; rename it "
                 "with virsh domrename first",
                 guest->name);
    return NULL;
  }
  vp_domain_xml_drop_ours (root);
  /* A guest that is off stays off until somebody says otherwise. */
  if (power == VP_POWER_STOPPED || power == VP_POWER_CRASHED)
    (void) xmlNewProp (add_ours (root, "v"), (const xmlChar *) "state",
                       (const xmlChar *) "stopped");
  body = vp_xml_serialise (root, false);
  return g_strdup_printf (
      "<!-- Adopted by vprovd: libvirt's definition of %s as it was.\n"
      "     See vprovd.guest(5) for what may be added to it. -->\n%s\n",
      guest->name, body);
}
