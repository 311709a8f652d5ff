/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-plan-link: the bridges' part of the plan: the link itself, its mark, its
 * address, its settings and those of its ports. */
#include "config.h"

#include "net/net-plan-private.h"

#include <string.h>

/* Settings of one of our bridges: the key's middle, and the value. */
static const struct {
  const char *folder, *key, *value;
} bridge_sysctls[] = {
  /* IPv6 is not ours to route yet: no address, so nothing to reach. */
  { "net/ipv6/conf", "disable_ipv6", "1" },
  /* The source is held by a rule in VPROV-RAW; strict filtering would drop
   * what comes back to 127.0.0.1. */
  { "net/ipv4/conf", "rp_filter", "2" },
  { "net/ipv4/conf", "route_localnet", "1" },
};

void
vp_planner_bridge_sysctls (const VpNet *net, GPtrArray *keys)
{
  for (gsize i = 0; i < G_N_ELEMENTS (bridge_sysctls); i++)
    g_ptr_array_add (keys,
                     g_strdup_printf ("%s/%s/%s", bridge_sysctls[i].folder,
                                      net->bridge, bridge_sysctls[i].key));
}

static char *
bridge_alias (const VpNet *net)
{
  g_autofree char *address = vp_cidr_to_string (&net->address);
  return g_strdup_printf ("vprovd:%s %s", net->name, address);
}

static bool
has_address (const VpLink *link, const VpCidr *cidr)
{
  for (guint i = 0; link != NULL && i < link->addresses->len; i++) {
    const VpCidr *one = &g_array_index (link->addresses, VpCidr, i);
    if (one->prefix == cidr->prefix && vp_addr_equal (&one->addr, &cidr->addr))
      return true;
  }
  return false;
}

/* The address that the alias says we gave, and that is another now. */
static void
remove_old_address (Planner *planner, const VpNet *net, const VpLink *link)
{
  const char *space = strrchr (link->alias, ' ');
  VpCidr old;

  if (!g_str_has_prefix (link->alias, "vprovd:") || space == NULL ||
      !vp_cidr_parse (space + 1, &old) || !has_address (link, &old) ||
      (old.prefix == net->address.prefix &&
       vp_addr_equal (&old.addr, &net->address.addr)))
    return;
  vp_planner_add (planner, VP_CHANGE_ADDRESS_REMOVE, net->bridge, NULL,
                  g_strdup_printf ("take address %s from bridge %s", space + 1,
                                   net->bridge),
                  net->name)
      ->cidr = old;
}

static void
plan_bridge_sysctls (Planner *planner, const VpNet *net, const VpLink *link)
{
  for (gsize i = 0; i < G_N_ELEMENTS (bridge_sysctls); i++) {
    g_autofree char *key =
        g_strdup_printf ("%s/%s/%s", bridge_sysctls[i].folder, net->bridge,
                         bridge_sysctls[i].key);
    const char *value = vp_planner_sysctl (planner, key);

    /* A bridge still to be made has none yet; where the kernel lacks IPv6
     * the write is left out by whoever carries it out. */
    if (link != NULL &&
        (value == NULL || strcmp (value, bridge_sysctls[i].value) == 0))
      continue;
    vp_planner_add (planner, VP_CHANGE_SYSCTL, key, bridge_sysctls[i].value,
                    link == NULL
                        ? NULL
                        : g_strdup_printf ("set %s of bridge %s to %s",
                                           bridge_sysctls[i].key, net->bridge,
                                           bridge_sysctls[i].value),
                    net->name);
  }
}

static void
plan_hairpin (Planner *planner, const VpNet *net, const VpLink *bridge)
{
  /* With br_netfilter a guest that asks its own forward is answered by the
   * bridge, which sends nothing back to the port it came from. */
  if (g_strcmp0 (vp_planner_sysctl (planner, VP_SYSCTL_BRIDGE_FILTER), "1") !=
      0)
    return;
  for (guint i = 0; i < planner->found->links->len; i++) {
    const VpLink *port = planner->found->links->pdata[i];
    if (port->master == bridge->index && !port->hairpin)
      vp_planner_add (
          planner, VP_CHANGE_LINK_HAIRPIN, port->name, NULL,
          g_strdup_printf ("turn hairpin on for port %s of bridge %s",
                           port->name, net->bridge),
          net->name);
  }
}

void
vp_planner_link (Planner *planner, const VpNet *net)
{
  const VpLink *link = vp_links_find (planner->found->links, net->bridge);
  g_autofree char *alias = bridge_alias (net);
  g_autofree char *address = vp_cidr_to_string (&net->address);

  if (link == NULL)
    vp_planner_add (
        planner, VP_CHANGE_LINK_CREATE, net->bridge, NULL,
        g_strdup_printf ("create bridge %s %s", net->bridge, address),
        net->name);
  else if (link->stp || link->forward_delay != 0)
    vp_planner_add (
        planner, VP_CHANGE_LINK_TUNE, net->bridge, NULL,
        g_strdup_printf ("turn STP and forward delay of bridge %s off",
                         net->bridge),
        net->name);
  plan_bridge_sysctls (planner, net, link);
  if (link != NULL)
    remove_old_address (planner, net, link);
  if (link == NULL || strcmp (link->alias, alias) != 0)
    vp_planner_add (
        planner, VP_CHANGE_LINK_ALIAS, net->bridge, alias,
        link == NULL ? NULL : g_strdup_printf ("mark bridge %s", net->bridge),
        net->name);
  if (!has_address (link, &net->address))
    vp_planner_add (planner, VP_CHANGE_ADDRESS_ADD, net->bridge, NULL,
                    link == NULL ? NULL
                                 : g_strdup_printf ("give bridge %s address %s",
                                                    net->bridge, address),
                    net->name)
        ->cidr = net->address;
  if (link == NULL || !link->up)
    vp_planner_add (
        planner, VP_CHANGE_LINK_UP, net->bridge, NULL,
        link == NULL ? NULL : g_strdup_printf ("set bridge %s up", net->bridge),
        net->name);
  if (link != NULL)
    plan_hairpin (planner, net, link);
}

void
vp_planner_remove_links (Planner *planner)
{
  for (guint i = 0; i < planner->found->links->len; i++) {
    const VpLink *link = planner->found->links->pdata[i];
    bool wanted = false;

    for (guint n = 0; n < planner->wanted->nets->len; n++)
      wanted =
          wanted || strcmp (((VpNet *) planner->wanted->nets->pdata[n])->bridge,
                            link->name) == 0;
    if (!wanted && vp_net_link_is_ours (link))
      vp_planner_add (planner, VP_CHANGE_LINK_DELETE, link->name, NULL,
                      g_strdup_printf ("remove bridge %s", link->name),
                      link->name);
  }
}
