/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forward-xml: <forward port= to= proto=>, alike in <guest> files and in the
 * metadata of a <domain> file. */
#include "config.h"

#include "daemon/forward-xml.h"

#include <string.h>

static const VpShapeAttribute attributes[] = {
  { "port", VP_SHAPE_REQUIRED },  { "to", VP_SHAPE_OPTIONAL },
  { "proto", VP_SHAPE_OPTIONAL }, { "remove", VP_SHAPE_LATER },
  { "listen", VP_SHAPE_LATER },   { "interface", VP_SHAPE_LATER },
  { "from", VP_SHAPE_LATER },     { "hairpin", VP_SHAPE_LATER },
  { "local", VP_SHAPE_LATER },    { NULL, 0 },
};
const VpShape vp_forward_xml_shape = { .attributes = attributes };

static const VpShapeAttribute domain_attributes[] = {
  { "port", VP_SHAPE_REQUIRED },
  { "to", VP_SHAPE_OPTIONAL },
  { "proto", VP_SHAPE_OPTIONAL },
  { "nic", VP_SHAPE_OPTIONAL },
  { "remove", VP_SHAPE_LATER },
  { "listen", VP_SHAPE_LATER },
  { "interface", VP_SHAPE_LATER },
  { "from", VP_SHAPE_LATER },
  { "hairpin", VP_SHAPE_LATER },
  { "local", VP_SHAPE_LATER },
  { NULL, 0 },
};
const VpShape vp_forward_xml_domain_shape = { .attributes = domain_attributes };

static bool
ports_overlap (const VpForward *a, const VpForward *b)
{
  return ((a->tcp && b->tcp) || (a->udp && b->udp)) && a->first <= b->last &&
         b->first <= a->last;
}

/* The host has each port once, so all NICs of the guest count. */
void
vp_forward_xml_check (VpWalk *walk, const VpXmlNode *node,
                      const VpForward *forward, const VpGuest *guest)
{
  for (guint i = 0; i < guest->nics->len; i++) {
    const VpNic *nic = guest->nics->pdata[i];

    for (guint k = 0; k < nic->forwards->len; k++) {
      const VpForward *first = nic->forwards->pdata[k];
      g_autofree char *words = NULL;

      if (!ports_overlap (first, forward))
        continue;
      words = vp_forward_to_string (first);
      vp_walk_error (walk, vp_xml_attribute_place (node, "port"), "duplicate",
                     "this port is forwarded already, in line %u (%s)",
                     first->place.line, words);
      return;
    }
  }
}

static bool
read_proto (VpWalk *walk, const VpXmlNode *node, VpForward *forward)
{
  g_autofree char *value = vp_xml_get_attribute (node, "proto");
  g_auto (GStrv) words = NULL;

  if (value == NULL) {
    forward->tcp = true;
    return true;
  }
  words = g_strsplit_set (value, " \t\n\r", -1);
  for (guint i = 0; words[i] != NULL; i++) {
    if (strcmp (words[i], "tcp") == 0)
      forward->tcp = true;
    else if (strcmp (words[i], "udp") == 0)
      forward->udp = true;
    else if (*words[i] != '\0') {
      bool later = strcmp (words[i], "sctp") == 0;

      vp_walk_error (walk, vp_xml_attribute_place (node, "proto"),
                     later ? "not-supported" : "bad-value",
                     later ? "proto=\"%s\" is not supported by this version "
                             "of vprovd"
                           : "proto=\"%s\" is unknown; possible: 'tcp', "
                             "'udp' and 'tcp udp'",
                     value);
      return false;
    }
  }
  if (forward->tcp || forward->udp)
    return true;
  vp_walk_error (walk, vp_xml_attribute_place (node, "proto"), "bad-value",
                 "proto=\"\" says nothing; possible: 'tcp', 'udp' and "
                 "'tcp udp'");
  return false;
}

/* NULL on a mistake: one that cannot be compared with others. */
VpForward *
vp_forward_xml_read (VpWalk *walk, const VpXmlNode *node)
{
  g_autofree VpForward *forward = g_new0 (VpForward, 1);
  bool good = read_proto (walk, node, forward);

  forward->place = vp_xml_place (node);
  good &= vp_walk_ports (walk, node, "port", &forward->first, &forward->last);
  forward->to_first = forward->first;
  forward->to_last = forward->last;
  if (vp_xml_has_attribute (node, "to"))
    good &=
        vp_walk_ports (walk, node, "to", &forward->to_first, &forward->to_last);
  if (!good)
    return NULL;
  if (forward->last - forward->first != forward->to_last - forward->to_first) {
    vp_walk_error (walk, vp_xml_attribute_place (node, "to"), "bad-value",
                   "port= has %u ports and to= has %u; both ranges need the "
                   "same length",
                   forward->last - forward->first + 1u,
                   forward->to_last - forward->to_first + 1u);
    return NULL;
  }
  return g_steal_pointer (&forward);
}
