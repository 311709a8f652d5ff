/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fragment-xml: append, merge, replace; see the header. */
#include "config.h"

#include "daemon/fragment-xml.h"

#include "daemon/error.h"

#include <libxml/tree.h>

#include <string.h>

/* Where the identity of an element is kept: an attribute of it, or of a child
 * of it. */
typedef struct {
  const char *element; /* NULL: any */
  const char *child;   /* NULL: the element itself */
  const char *attribute;
} Key;

static const Key keys[] = {
  { NULL, "alias", "name" },       { "controller", NULL, "type" },
  { "disk", "target", "dev" },     { "interface", "mac", "address" },
  { "channel", "target", "name" }, { NULL, NULL, "name" },
};

/* NULL where the element has nothing of that kind. */
static char *
key_value (const VpXmlNode *node, const Key *key)
{
  if (key->element != NULL && !vp_xml_is (node, key->element))
    return NULL;
  if (key->child != NULL)
    node = vp_xml_first (node, key->child);
  return vp_xml_get_attribute (node, key->attribute);
}

static bool
same_name (const VpXmlNode *a, const VpXmlNode *b)
{
  return strcmp (vp_xml_name (a), vp_xml_name (b)) == 0 &&
         g_strcmp0 (vp_xml_namespace (a), vp_xml_namespace (b)) == 0;
}

/* MAC addresses alone are the same in upper and lower case. */
static bool
same_value (const Key *key, const char *a, const char *b)
{
  return strcmp (key->attribute, "address") == 0
             ? g_ascii_strcasecmp (a, b) == 0
             : strcmp (a, b) == 0;
}

/* The child of parent that node speaks of.  *ret_n is how many there are: more
 * than one means that node does not tell. */
static VpXmlNode *
find_counterpart (VpXmlNode *parent, const VpXmlNode *node, unsigned *ret_n)
{
  const Key *key = NULL;
  g_autofree char *wanted = NULL;
  VpXmlNode *found = NULL;

  for (size_t i = 0; i < G_N_ELEMENTS (keys) && wanted == NULL; i++) {
    key = &keys[i];
    wanted = key_value (node, key);
  }
  *ret_n = 0;
  for (VpXmlNode *child = vp_xml_first (parent, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    g_autofree char *value = wanted != NULL ? key_value (child, key) : NULL;

    /* What this fragment has put there does not count. */
    if (child->_private == child || !same_name (child, node))
      continue;
    if (wanted != NULL && (value == NULL || !same_value (key, value, wanted)))
      continue;
    found = child;
    ++*ret_n;
  }
  return found;
}

static VpXmlNode *
copy_into (VpXmlNode *parent, const VpXmlNode *node)
{
  xmlNode *copy = xmlDocCopyNode ((xmlNode *) node, parent->doc, 1);

  if (copy == NULL || xmlAddChild (parent, copy) == NULL)
    g_error ("out of memory");
  copy->_private = copy;
  return copy;
}

static bool
refuse_many (const VpFragment *fragment, const VpXmlNode *node, unsigned n,
             GError **error)
{
  g_set_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC,
               "the <libvirt> fragment of line %u does not say which of %u "
               "<%s> it means: name it by <alias name=>, or for a disk by "
               "<target dev=>, for an interface by <mac address=>",
               fragment->place.line, n, vp_xml_name (node));
  return false;
}

static void
copy_attributes (VpXmlNode *target, const VpXmlNode *node)
{
  for (const xmlAttr *attr = node->properties; attr != NULL;
       attr = attr->next) {
    xmlChar *value = xmlNodeListGetString (node->doc, attr->children, 1);
    xmlNs *ns = NULL;

    if (attr->ns != NULL) {
      ns = xmlSearchNsByHref (target->doc, target, attr->ns->href);
      if (ns == NULL)
        ns = xmlNewNs (target, attr->ns->href, attr->ns->prefix);
    }
    (void) xmlSetNsProp (target, ns, attr->name,
                         value != NULL ? value : (const xmlChar *) "");
    xmlFree (value);
  }
}

/* Depth is bounded: the fragment passed the limits of its file. */
static bool
merge_children (VpXmlNode *target, const VpXmlNode *node,
                const VpFragment *fragment, GError **error)
{
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    unsigned n;
    VpXmlNode *there = find_counterpart (target, child, &n);

    if (n > 1)
      return refuse_many (fragment, child, n, error);
    if (n == 0) {
      (void) copy_into (target, child);
      continue;
    }
    copy_attributes (there, child);
    if (vp_xml_first (child, NULL) == NULL) {
      g_autofree char *text = vp_xml_get_text (child);

      if (text != NULL) {
        xmlNodeSetContent (there, NULL);
        xmlNodeAddContent (there, (const xmlChar *) text);
      }
    }
    if (!merge_children (there, child, fragment, error))
      return false;
  }
  return true;
}

static bool
replace_children (VpXmlNode *target, const VpXmlNode *node,
                  const VpFragment *fragment, GError **error)
{
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    unsigned n;
    VpXmlNode *there = find_counterpart (target, child, &n);
    VpXmlNode *copy;

    if (n > 1)
      return refuse_many (fragment, child, n, error);
    copy = copy_into (target, child);
    if (there != NULL) {
      xmlUnlinkNode (copy);
      (void) xmlReplaceNode (there, copy);
      xmlFreeNode (there);
    }
  }
  return true;
}

/* White space between elements is layout and not the definition's. */
static void
drop_blanks (VpXmlNode *node)
{
  xmlNode *next;

  for (xmlNode *child = node->children; child != NULL; child = next) {
    next = child->next;
    if (child->type == XML_COMMENT_NODE || child->type == XML_PI_NODE ||
        (xmlIsBlankNode (child) && xmlFirstElementChild (node) != NULL)) {
      xmlUnlinkNode (child);
      xmlFreeNode (child);
    } else if (child->type == XML_ELEMENT_NODE)
      drop_blanks (child);
  }
}

bool
vp_fragment_xml_apply (VpXmlNode *root, const VpFragment *fragment,
                       GError **error)
{
  g_autofree char *text =
      g_strconcat ("<libvirt>", fragment->xml, "</libvirt>", NULL);
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (text, &vp_xml_domain_limits, error);
  VpXmlNode *node, *target = root;

  if (xml == NULL) {
    g_prefix_error (
        error, "the <libvirt> fragment of line %u: ", fragment->place.line);
    return false;
  }
  node = vp_xml_get_root (xml);
  drop_blanks (node);
  if (strcmp (fragment->into, "domain") != 0) {
    target = vp_xml_first (root, fragment->into);
    if (target == NULL)
      target = xmlNewChild (root, NULL, (const xmlChar *) fragment->into, NULL);
  }
  if (strcmp (fragment->mode, "merge") == 0)
    return merge_children (target, node, fragment, error);
  if (strcmp (fragment->mode, "replace") == 0)
    return replace_children (target, node, fragment, error);
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL))
    (void) copy_into (target, child);
  return true;
}
