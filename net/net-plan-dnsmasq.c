/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-plan-dnsmasq: dnsmasq's part of the plan: its configuration, the file of
 * each guest's interface, its leases, and when it has to be started, stopped
 * or told to forget. */
#include "config.h"

#include "net/net-plan-private.h"

#include <string.h>

static const VpDnsmasqFound *
find_dnsmasq (const Planner *planner, const char *name)
{
  for (guint i = 0; i < planner->found->dnsmasq->len; i++) {
    const VpDnsmasqFound *found = planner->found->dnsmasq->pdata[i];
    if (strcmp (found->name, name) == 0)
      return found;
  }
  return NULL;
}

/* Whether the network's host i can have its address; says why not. */
static bool
can_reserve (Planner *planner, const VpNet *net, guint i)
{
  const VpNetHost *host = net->hosts->pdata[i];
  g_autofree char *addr = vp_addr_to_string (&host->addr);

  if (!vp_cidr_contains (&net->address, &host->addr) ||
      vp_addr_equal (&net->address.addr, &host->addr)) {
    g_ptr_array_add (planner->plan->warnings,
                     g_strdup_printf ("guest %s: %s is no guest's address on "
                                      "network %s; it gets none by DHCP",
                                      host->guest, addr, net->name));
    return false;
  }
  for (guint j = 0; j < i; j++) {
    const VpNetHost *other = net->hosts->pdata[j];
    bool same_mac = memcmp (other->mac.bytes, host->mac.bytes, 6) == 0;

    if (!same_mac && !vp_addr_equal (&other->addr, &host->addr))
      continue;
    g_ptr_array_add (planner->plan->warnings,
                     g_strdup_printf ("guest %s: its %s on network %s is also "
                                      "guest %s's; it gets none by DHCP",
                                      host->guest, same_mac ? "MAC" : "address",
                                      net->name, other->guest));
    return false;
  }
  return true;
}

/* Host files: true where dnsmasq must be told to forget something. */
static bool
plan_host_files (Planner *planner, const VpNet *net,
                 const VpDnsmasqFound *found, GPtrArray *leftovers)
{
  g_autofree char *folder = vp_dnsmasq_hosts_path (planner->config, net->name);
  g_autoptr (GHashTable) wanted =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GList) names = NULL;
  bool forget = false;

  for (guint i = 0; i < net->hosts->len; i++)
    if (can_reserve (planner, net, i))
      g_hash_table_insert (wanted, vp_dnsmasq_host_file (net->hosts->pdata[i]),
                           net->hosts->pdata[i]);
  names =
      g_list_sort (g_hash_table_get_keys (found->hosts), (GCompareFunc) strcmp);
  for (GList *at = names; at != NULL; at = at->next) {
    const char *file = at->data;
    const VpNetHost *host = g_hash_table_lookup (wanted, file);
    g_autofree char *text = host != NULL ? vp_dnsmasq_host_text (host) : NULL;
    g_autofree char *path = g_build_filename (folder, file, NULL);
    g_autofree char *hidden = g_strconcat (VP_DNSMASQ_GONE, file, NULL);
    g_autofree char *gone = g_build_filename (folder, hidden, NULL);

    if (file[0] == '.') {
      forget = true;
      g_ptr_array_add (leftovers, g_steal_pointer (&path));
      continue;
    }
    if (g_strcmp0 (text, g_hash_table_lookup (found->hosts, file)) == 0) {
      g_hash_table_remove (wanted, file);
      continue;
    }
    forget = true;
    vp_planner_add (planner, VP_CHANGE_FILE_MOVE, path, gone,
                    host != NULL
                        ? NULL
                        : g_strdup_printf ("forget the address of %s", file),
                    net->name);
    g_ptr_array_add (leftovers, g_steal_pointer (&gone));
  }
  g_list_free (g_steal_pointer (&names));
  names = g_list_sort (g_hash_table_get_keys (wanted), (GCompareFunc) strcmp);
  for (GList *at = names; at != NULL; at = at->next) {
    const VpNetHost *host = g_hash_table_lookup (wanted, at->data);
    g_autofree char *path = g_build_filename (folder, at->data, NULL);
    g_autofree char *text = vp_dnsmasq_host_text (host);
    g_autofree char *addr = vp_addr_to_string (&host->addr);
    VpNetChange *change = vp_planner_add (
        planner, VP_CHANGE_FILE_WRITE, path, text,
        g_strdup_printf ("reserve %s for %s", addr, host->guest), net->name);
    change->step.guest = g_strdup (host->guest);
  }
  return forget;
}

void
vp_planner_dnsmasq (Planner *planner, const VpNet *net)
{
  g_autoptr (VpDnsmasqFound) none = NULL;
  const VpDnsmasqFound *found = find_dnsmasq (planner, net->name);
  g_autofree char *text = vp_dnsmasq_config_text (planner->config, net);
  g_autofree char *path = vp_dnsmasq_config_path (planner->config, net->name);
  g_autofree char *leases_path =
      vp_dnsmasq_leases_path (planner->config, net->name);
  g_autofree char *leases = NULL;
  g_autoptr (GPtrArray) leftovers = g_ptr_array_new_with_free_func (g_free);
  bool restart, forget;

  if (found == NULL) {
    none = g_new0 (VpDnsmasqFound, 1);
    none->hosts =
        g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    found = none;
  }
  if (found->leases != NULL)
    leases = vp_dnsmasq_leases_without_strangers (found->leases, net);
  restart =
      !found->running || leases != NULL || g_strcmp0 (found->config, text) != 0;
  /* Stopped before its files change: one that runs always runs with what
   * lies there, or with what SIGHUP will tell it. */
  if (restart && found->running)
    vp_planner_add (planner, VP_CHANGE_DNSMASQ_STOP, net->name, NULL,
                    g_strdup_printf ("stop dnsmasq of network %s", net->name),
                    net->name);
  if (g_strcmp0 (found->config, text) != 0)
    vp_planner_add (planner, VP_CHANGE_FILE_WRITE, path, text, NULL, net->name);
  if (leases != NULL || found->leases == NULL)
    vp_planner_add (
        planner, VP_CHANGE_FILE_WRITE, leases_path,
        leases != NULL ? leases : "",
        leases != NULL
            ? g_strdup_printf ("end leases of others on network %s", net->name)
            : NULL,
        net->name);
  forget = plan_host_files (planner, net, found, leftovers);
  if (restart)
    vp_planner_add (planner, VP_CHANGE_DNSMASQ_START, net->name, NULL,
                    g_strdup_printf ("start dnsmasq of network %s", net->name),
                    net->name);
  else if (forget)
    vp_planner_add (planner, VP_CHANGE_DNSMASQ_RELOAD, net->name, NULL,
                    g_strdup_printf ("reload dnsmasq of network %s", net->name),
                    net->name);
  for (guint i = 0; i < leftovers->len; i++)
    vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, leftovers->pdata[i], NULL,
                    NULL, net->name);
}

void
vp_planner_remove_dnsmasq (Planner *planner)
{
  /* The configuration last: by it a network that went is known. */
  static char *(*const files[]) (const VpNetHostConfig *, const char *) = {
    vp_dnsmasq_leases_path, vp_dnsmasq_pid_path, vp_dnsmasq_config_path
  };

  for (guint i = 0; i < planner->found->dnsmasq->len; i++) {
    const VpDnsmasqFound *found = planner->found->dnsmasq->pdata[i];
    g_autofree char *folder = NULL;
    GHashTableIter iter;
    gpointer file;

    if (vp_net_wanted_find (planner->wanted, found->name) != NULL)
      continue;
    vp_planner_add (planner, VP_CHANGE_DNSMASQ_STOP, found->name, NULL,
                    g_strdup_printf ("stop dnsmasq of network %s", found->name),
                    found->name);
    folder = vp_dnsmasq_hosts_path (planner->config, found->name);
    g_hash_table_iter_init (&iter, found->hosts);
    while (g_hash_table_iter_next (&iter, &file, NULL)) {
      g_autofree char *path = g_build_filename (folder, file, NULL);
      vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, path, NULL, NULL,
                      found->name);
    }
    vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, folder, NULL, NULL,
                    found->name);
    for (gsize f = 0; f < G_N_ELEMENTS (files); f++) {
      g_autofree char *path = files[f](planner->config, found->name);
      vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, path, NULL, NULL,
                      found->name);
    }
  }
}
