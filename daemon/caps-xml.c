/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* caps-xml: capabilities list machine types by the dozen, among them names
 * without a version ("q35") that mean another machine after an upgrade.  A
 * guest is pinned to a version at its first define, so the newest versioned
 * name is what is looked for. */
#include "config.h"

#include "daemon/caps-xml.h"

#include "daemon/error.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <string.h>

#define MAX_BYTES (4 * 1024 * 1024)

G_DEFINE_AUTOPTR_CLEANUP_FUNC (xmlDoc, xmlFreeDoc)

/* The families that we take, the better first. */
static const struct {
  const char *arch, *prefix;
} families[] = {
  { "x86_64", "pc-q35-" },         { "x86_64", "pc-i440fx-" },
  { "i686", "pc-q35-" },           { "i686", "pc-i440fx-" },
  { "aarch64", "virt-" },          { "riscv64", "virt-" },
  { "ppc64", "pseries-" },         { "ppc64le", "pseries-" },
  { "s390x", "s390-ccw-virtio-" },
};

static xmlDoc *
parse (const char *xml, const char *root_name, GError **error)
{
  size_t len = strlen (xml);
  g_autoptr (xmlDoc) doc = NULL;
  xmlNode *root;

  if (len <= MAX_BYTES)
    doc = xmlReadMemory (xml, (int) len, NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR |
                             XML_PARSE_NOWARNING);
  root = doc ? xmlDocGetRootElement (doc) : NULL;
  if (!root || strcmp ((const char *) root->name, root_name) != 0) {
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                 "what libvirt gave is not <%s>", root_name);
    return NULL;
  }
  return g_steal_pointer (&doc);
}

/* The first child of that name behind after (NULL: from the start). */
static xmlNode *
next_child (xmlNode *parent, xmlNode *after, const char *name)
{
  xmlNode *node = after ? after->next : parent->children;

  while (node && (node->type != XML_ELEMENT_NODE ||
                  strcmp ((const char *) node->name, name) != 0))
    node = node->next;
  return node;
}

static char *
text_of (xmlNode *node)
{
  xmlChar *content = node ? xmlNodeGetContent (node) : NULL;
  char *text = g_strdup ((const char *) content);

  xmlFree (content);
  return text ? g_strstrip (text) : NULL;
}

static bool
has_arch (xmlNode *arch, const char *name)
{
  xmlChar *value = xmlGetProp (arch, (const xmlChar *) "name");
  bool equal = g_strcmp0 ((const char *) value, name) == 0;

  xmlFree (value);
  return equal;
}

/* "pc-q35-" and "pc-q35-7.2" -> 7002; false where it is no such name. */
static bool
machine_version (const char *prefix, const char *machine, guint64 *ret_version)
{
  guint64 major, minor = 0;
  char *end;

  if (!g_str_has_prefix (machine, prefix))
    return false;
  machine += strlen (prefix);
  if (!g_ascii_isdigit (*machine))
    return false;
  major = g_ascii_strtoull (machine, &end, 10);
  if (*end == '.' && g_ascii_isdigit (end[1]))
    minor = g_ascii_strtoull (end + 1, &end, 10);
  if (*end != '\0' || major > 9999 || minor > 999)
    return false;
  *ret_version = major * 1000 + minor;
  return true;
}

static char *
newest_machine (xmlNode *arch, const char *prefix)
{
  g_autofree char *best = NULL;
  guint64 best_version = 0;

  for (xmlNode *node = next_child (arch, NULL, "machine"); node;
       node = next_child (arch, node, "machine")) {
    g_autofree char *name = text_of (node);
    guint64 version;

    if (name && machine_version (prefix, name, &version) &&
        (!best || version > best_version)) {
      g_free (best);
      best = g_steal_pointer (&name);
      best_version = version;
    }
  }
  return g_steal_pointer (&best);
}

static char *
find_machine (xmlNode *root, const char *arch_name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (families); i++) {
    if (strcmp (families[i].arch, arch_name) != 0)
      continue;
    for (xmlNode *guest = next_child (root, NULL, "guest"); guest;
         guest = next_child (root, guest, "guest")) {
      xmlNode *arch = next_child (guest, NULL, "arch");
      char *machine;

      if (!arch || !has_arch (arch, arch_name))
        continue;
      machine = newest_machine (arch, families[i].prefix);
      if (machine)
        return machine;
    }
  }
  return NULL;
}

bool
vp_caps_xml_parse_host (const char *xml, char **ret_arch, char **ret_machine,
                        GError **error)
{
  g_autoptr (xmlDoc) doc = parse (xml, "capabilities", error);
  g_autofree char *arch = NULL;
  xmlNode *node;

  if (!doc)
    return false;
  node = next_child (xmlDocGetRootElement (doc), NULL, "host");
  node = node ? next_child (node, NULL, "cpu") : NULL;
  arch = text_of (node ? next_child (node, NULL, "arch") : NULL);
  if (!arch) {
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                 "libvirt's capabilities do not state the host's architecture");
    return false;
  }
  *ret_machine = find_machine (xmlDocGetRootElement (doc), arch);
  *ret_arch = g_steal_pointer (&arch);
  return true;
}

bool
vp_caps_xml_parse_domain (const char *xml, char **ret_emulator, GError **error)
{
  g_autoptr (xmlDoc) doc = parse (xml, "domainCapabilities", error);

  if (!doc)
    return false;
  *ret_emulator =
      text_of (next_child (xmlDocGetRootElement (doc), NULL, "path"));
  return true;
}
