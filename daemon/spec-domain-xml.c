/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-domain-xml: holds a whole <domain> file against what we need of it; the
 * rest is libvirt's, which validates it when it is defined.
 *
 * The mark that vprovd writes into a definition is the same element as our
 * options here, so a file made by "virsh dumpxml" of a guest of ours is read
 * as well: the mark in it counts for nothing. */
#include "config.h"

#include "daemon/spec-domain-xml.h"

#include "daemon/domain-xml-private.h"
#include "daemon/domain-xml.h"
#include "daemon/forward-xml.h"

#include <string.h>

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

static const VpShapeAttribute option_attributes[] = {
  { "state", VP_SHAPE_OPTIONAL },
  /* The mark's. */
  { "name", VP_SHAPE_OPTIONAL },
  { "digest", VP_SHAPE_OPTIONAL },
  { "retired", VP_SHAPE_OPTIONAL },
  { "on-change", VP_SHAPE_LATER },
  { "on-drift", VP_SHAPE_LATER },
  { "on-remove", VP_SHAPE_LATER },
  { "protected", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShape option_shape = { .attributes = option_attributes,
                                      .any = true };

static bool
is_ours (const VpXmlNode *node)
{
  return g_strcmp0 (vp_xml_namespace (node), VP_DOMAIN_XML_NAMESPACE) == 0;
}

/* Depth is bounded by the scan of the file. */
static bool
has_qemu (const VpXmlNode *node, const VpXmlNode **ret_where)
{
  if (g_strcmp0 (vp_xml_namespace (node), QEMU_NAMESPACE) == 0) {
    *ret_where = node;
    return true;
  }
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL))
    if (has_qemu (child, ret_where))
      return true;
  return false;
}

/* Our options are in <metadata> of the root and nowhere else. */
static void
check_stray_options (VpWalk *walk, const VpXmlNode *node)
{
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    if (is_ours (child))
      vp_walk_error (walk, vp_xml_place (child), "unknown-element",
                     "options of vprovd belong into <metadata> of a <domain>");
    else
      check_stray_options (walk, child);
  }
}

void
vp_spec_domain_check_foreign (VpWalk *walk, const VpXmlNode *node,
                              bool allow_qemu_commandline)
{
  const VpXmlNode *where;

  if (!allow_qemu_commandline && has_qemu (node, &where))
    vp_walk_error (walk, vp_xml_place (where), "not-allowed",
                   "<%s> of QEMU's namespace is allowed only with "
                   "AllowQemuCommandline=yes in vprovd.conf",
                   vp_xml_name (where));
  check_stray_options (walk, node);
}

/* Elements that we read and that libvirt takes once, or joins: two of them
 * would be read in one way here and in another there. */
static void
check_once (VpWalk *walk, const VpXmlNode *root)
{
  static const char *const names[] = { "name",   "uuid",     "description",
                                       "memory", "metadata", "currentMemory",
                                       "vcpu",   "os",       "devices" };

  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    const VpXmlNode *first = vp_xml_first (root, names[i]);
    const VpXmlNode *second =
        first != NULL ? vp_xml_next (first, names[i]) : NULL;

    if (second != NULL)
      vp_walk_error (walk, vp_xml_place (second), "duplicate",
                     "<%s> is given twice, first in line %u", names[i],
                     vp_xml_place (first).line);
  }
}

/* Holds <name> and <memory>, and the type, against what can be run. */
static void
check_head (VpWalk *walk, const VpXmlNode *root, const char *name)
{
  static const char *const types[] = { "kvm", "qemu", "test", NULL };
  const VpXmlNode *name_node = vp_xml_first (root, "name");
  g_autofree char *given = vp_xml_get_text (name_node);

  (void) vp_walk_choice (walk, root, "type", types, NULL);
  if (!vp_xml_has_attribute (root, "type"))
    vp_walk_error (walk, vp_xml_place (root), "missing",
                   "<domain> needs the attribute 'type': 'kvm' or 'qemu'");
  if (name_node == NULL)
    vp_walk_error (walk, vp_xml_place (root), "missing",
                   "<domain> needs an element <name>");
  else if (g_strcmp0 (given, name) != 0)
    vp_walk_error (walk, vp_xml_place (name_node), "bad-value",
                   "<name>%.64s</name> differs from the file's name '%s'; "
                   "rename one of them",
                   given != NULL ? given : "", name);
  if (vp_xml_first (root, "memory") == NULL)
    vp_walk_error (walk, vp_xml_place (root), "missing",
                   "<domain> needs an element <memory>");
  if (vp_xml_first (root, "os") == NULL)
    vp_walk_error (walk, vp_xml_place (root), "missing",
                   "<domain> needs an element <os>");
}

static void
read_forward (VpWalk *walk, const VpXmlNode *node, VpGuest *guest)
{
  g_autofree char *nic_name = vp_xml_get_attribute (node, "nic");
  VpForward *forward;
  VpNic *nic = NULL;

  vp_walk_check (walk, node, &vp_forward_xml_domain_shape);
  forward = vp_forward_xml_read (walk, node);
  if (nic_name != NULL)
    nic = vp_guest_find_nic (guest, nic_name);
  else if (guest->nics->len > 0)
    nic = guest->nics->pdata[0];
  if (nic == NULL && nic_name != NULL)
    vp_walk_error (walk, vp_xml_attribute_place (node, "nic"), "bad-value",
                   "nic=\"%.64s\": there is no such <interface>; they are "
                   "called nic0, nic1 and so on",
                   nic_name);
  else if (nic == NULL)
    vp_walk_error (walk, vp_xml_place (node), "conflict",
                   "a forward needs an <interface> to go to");
  if (forward == NULL)
    return;
  vp_forward_xml_check (walk, node, forward, guest);
  if (nic != NULL)
    g_ptr_array_add (nic->forwards, forward);
  else
    g_free (forward);
}

static void
read_options (VpWalk *walk, const VpXmlNode *node, VpGuest *guest)
{
  static const char *const words[] = { "forward", NULL };
  static const char *const states[] = { "running", "stopped", NULL };
  static const char *const later_states[] = { "initial", "ignore", NULL };
  const char *state;

  if (strcmp (vp_xml_name (node), "guest") != 0) {
    vp_walk_error (walk, vp_xml_place (node), "unknown-element",
                   "unknown element '%s' of vprovd's namespace; did you mean "
                   "'guest'?",
                   vp_xml_name (node));
    return;
  }
  vp_walk_check (walk, node, &option_shape);
  state = vp_walk_choice (walk, node, "state", states, later_states);
  if (state != NULL)
    (void) vp_power_from_string (state, &guest->power);
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    const char *name = vp_xml_name (child);

    if (is_ours (child) && strcmp (name, "forward") == 0)
      read_forward (walk, child, guest);
    else if (vp_xml_nearest (name, words) != NULL)
      vp_walk_error (walk, vp_xml_place (child), "unknown-element",
                     "unknown element '%s' in <guest> of the metadata; did "
                     "you mean 'forward', in the same namespace?",
                     name);
    else
      vp_walk_error (walk, vp_xml_place (child), "unknown-element",
                     "unknown element '%s' in <guest> of the metadata; known "
                     "here: 'forward'",
                     name);
  }
}

static void
read_metadata (VpWalk *walk, const VpXmlNode *root, VpGuest *guest)
{
  const VpXmlNode *metadata = vp_xml_first (root, "metadata");
  const VpXmlNode *first = NULL;

  for (const VpXmlNode *child = vp_xml_first (metadata, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    if (!is_ours (child)) {
      check_stray_options (walk, child);
      continue;
    }
    if (first != NULL)
      vp_walk_error (walk, vp_xml_place (child), "duplicate",
                     "vprovd's options are given twice, first in line %u",
                     vp_xml_place (first).line);
    else
      first = child;
    read_options (walk, child, guest);
  }
}

/* "pc" and "q35" mean another machine with each QEMU: libvirt writes down
 * which one, so the bare word states nothing that could be compared. */
static void
drop_machine_alias (VpGuest *guest)
{
  size_t len = guest->machine != NULL ? strlen (guest->machine) : 0;

  if (len > 0 && (strchr (guest->machine, '.') == NULL ||
                  !g_ascii_isdigit (guest->machine[len - 1])))
    g_clear_pointer (&guest->machine, g_free);
}

VpGuest *
vp_spec_domain_read (VpWalk *walk, const VpXmlNode *root, const char *name,
                     const char *text, size_t len, bool allow_qemu_commandline)
{
  g_autofree char *copy = g_strndup (text, len);
  g_autoptr (GError) error = NULL;
  g_autoptr (VpGuest) guest = NULL;
  unsigned errors = walk->n_errors;
  VpPlace place = { 0 };

  check_head (walk, root, name);
  check_once (walk, root);
  for (const VpXmlNode *child = vp_xml_first (root, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    if (is_ours (child))
      vp_walk_error (walk, vp_xml_place (child), "unknown-element",
                     "options of vprovd belong into <metadata>");
    else if (!vp_xml_is (child, "metadata"))
      vp_spec_domain_check_foreign (walk, child, allow_qemu_commandline);
  }
  guest = vp_domain_xml_read (root, &place, &error);
  if (guest == NULL) {
    /* What is missing at the root was said above. */
    if (walk->n_errors == errors || place.line != vp_xml_place (root).line ||
        place.column != vp_xml_place (root).column)
      vp_walk_error (walk, place, "bad-value", "%s", error->message);
    return NULL;
  }
  guest->power = VP_POWER_RUNNING;
  guest->cpus_max = 0;
  guest->memory_max = 0;
  drop_machine_alias (guest);
  read_metadata (walk, root, guest);
  guest->domain_xml = g_steal_pointer (&copy);
  return g_steal_pointer (&guest);
}
