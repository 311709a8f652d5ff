/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-host: the two verbs of net-ops on the real host.
 *
 * Each change can be done again: what is there already is no error, so that
 * a pass cut short is simply made once more. */
#include "config.h"

#include "net/conntrack.h"
#include "net/iptables.h"
#include "net/net-ops.h"
#include "net/nftables.h"
#include "net/sockets.h"
#include "net/sysctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- observe ----------------------------------------------------------- */

static void
observe_sysctl (VpNetFound *found, const char *key)
{
  char *value = vp_sysctl_read (key);

  if (value != NULL)
    g_hash_table_replace (found->sysctls, g_strdup (key), value);
}

static void
observe_sysctls (VpNetFound *found, const VpNetWanted *wanted)
{
  g_autoptr (GPtrArray) keys = vp_net_plan_sysctls (wanted);
  g_autoptr (GPtrArray) links = vp_sysctl_list ("net/ipv4/conf");

  for (guint i = 0; i < keys->len; i++)
    observe_sysctl (found, keys->pdata[i]);
  for (guint i = 0; i < links->len; i++) {
    g_autofree char *key = g_strdup_printf ("net/ipv4/conf/%s/forwarding",
                                            (char *) links->pdata[i]);
    /* "all" is ip_forward under another name. */
    if (strcmp (links->pdata[i], "all") != 0)
      observe_sysctl (found, key);
  }
}

/* Sockets on ports that a forward wants, with their processes. */
static bool
observe_listeners (VpNetFound *found, const VpNetWanted *wanted, GError **error)
{
  g_autoptr (GArray) all = NULL;

  if (wanted->forwards->len == 0)
    return true;
  all = vp_sockets_list (error);
  if (all == NULL)
    return false;
  for (guint i = 0; i < all->len; i++) {
    const VpListener *listener = &g_array_index (all, VpListener, i);

    for (guint f = 0; f < wanted->forwards->len; f++) {
      const VpNetForward *forward = wanted->forwards->pdata[f];
      if (forward->udp == listener->udp && listener->port >= forward->first &&
          listener->port <= forward->last) {
        g_array_append_val (found->listeners, *listener);
        break;
      }
    }
  }
  vp_sockets_find_processes (found->listeners);
  return true;
}

VpNetFound *
vp_net_host_observe (const VpNetHostConfig *config, const VpNetWanted *wanted,
                     gpointer user_data, GError **error)
{
  g_autoptr (VpNetFound) found = vp_net_found_new ();
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autoptr (VpTables) jumps = vp_tables_new ();
  g_autofree char *state_path = vp_net_state_path (config);

  g_clear_pointer (&found->state, vp_net_state_free);
  found->state = vp_net_state_load (state_path, error);
  if (found->state == NULL)
    return NULL;
  g_clear_pointer (&found->links, g_ptr_array_unref);
  found->links = vp_links_list (error);
  if (found->links == NULL)
    return NULL;
  observe_sysctls (found, wanted);
  if (!observe_listeners (found, wanted, error))
    return NULL;
  for (guint i = 0; i < wanted->nets->len; i++)
    g_ptr_array_add (names, ((VpNet *) wanted->nets->pdata[i])->name);
  g_clear_pointer (&found->dnsmasq, g_ptr_array_unref);
  found->dnsmasq = vp_dnsmasq_observe (config, names, error);
  if (found->dnsmasq == NULL)
    return NULL;
  if (!vp_nft_generation (&found->generation))
    found->generation = 0;
  g_clear_pointer (&found->tables, vp_tables_free);
  vp_forward_plan_add_jumps (jumps, true);
  found->tables = vp_iptables_read (jumps, error);
  if (found->tables == NULL)
    return NULL;
  return g_steal_pointer (&found);
}

/* --- change ------------------------------------------------------------ */

static bool
file_error (GError **error, const char *path)
{
  int number = errno;

  g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (number),
               "%s: %s", path, g_strerror (number));
  return false;
}

static bool
do_note (const VpNetHostConfig *config, const VpNetChange *change,
         GError **error)
{
  return true;
}

static bool
do_state (const VpNetHostConfig *config, const VpNetChange *change,
          GError **error)
{
  g_autofree char *path = vp_net_state_path (config);
  return vp_net_state_store (path, change->text, error);
}

static bool
do_tables (const VpNetHostConfig *config, const VpNetChange *change,
           GError **error)
{
  return vp_iptables_restore (change->text, config->runtime_dir, error);
}

static bool
do_table_drop (const VpNetHostConfig *config, const VpNetChange *change,
               GError **error)
{
  return vp_nft_drop_empty_table (vp_table_name (change->table), error);
}

static bool
do_sysctl (const VpNetHostConfig *config, const VpNetChange *change,
           GError **error)
{
  g_autofree char *now = vp_sysctl_read (change->name);

  /* A kernel without IPv6, or a link that went: nothing to set. */
  if (now == NULL || strcmp (now, change->text) == 0)
    return true;
  return vp_sysctl_write (change->name, change->text, error);
}

static bool
do_link_create (const VpNetHostConfig *config, const VpNetChange *change,
                GError **error)
{
  VpMac mac = vp_net_bridge_mac (change->name);
  return vp_link_create_bridge (change->name, &mac, error);
}

static bool
do_link_tune (const VpNetHostConfig *config, const VpNetChange *change,
              GError **error)
{
  return vp_link_tune_bridge (change->name, error);
}

static bool
do_link_alias (const VpNetHostConfig *config, const VpNetChange *change,
               GError **error)
{
  return vp_link_set_alias (change->name, change->text, error);
}

static bool
do_link_up (const VpNetHostConfig *config, const VpNetChange *change,
            GError **error)
{
  return vp_link_set_up (change->name, error);
}

/* A port or link may go by itself between our look and our step. */
static bool
or_gone (bool done, GError *local, GError **error)
{
  if (done || g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NODEV)) {
    g_clear_error (&local);
    return true;
  }
  g_propagate_error (error, local);
  return false;
}

static bool
do_link_hairpin (const VpNetHostConfig *config, const VpNetChange *change,
                 GError **error)
{
  GError *local = NULL;
  bool done = vp_link_set_hairpin (change->name, &local);
  return or_gone (done, local, error);
}

static bool
do_link_delete (const VpNetHostConfig *config, const VpNetChange *change,
                GError **error)
{
  GError *local = NULL;
  bool done = vp_link_delete (change->name, &local);
  return or_gone (done, local, error);
}

static bool
do_address_add (const VpNetHostConfig *config, const VpNetChange *change,
                GError **error)
{
  return vp_link_add_address (change->name, &change->cidr, error);
}

static bool
do_address_remove (const VpNetHostConfig *config, const VpNetChange *change,
                   GError **error)
{
  return vp_link_remove_address (change->name, &change->cidr, error);
}

static bool
do_cut (const VpNetHostConfig *config, const VpNetChange *change,
        GError **error)
{
  g_autoptr (GPtrArray) links = vp_links_list (error);
  g_autoptr (GArray) locals = g_array_new (FALSE, FALSE, sizeof (VpAddr));
  unsigned n;

  if (links == NULL)
    return false;
  for (guint i = 0; i < links->len; i++) {
    const VpLink *link = links->pdata[i];
    for (guint a = 0; a < link->addresses->len; a++)
      g_array_append_val (locals,
                          g_array_index (link->addresses, VpCidr, a).addr);
  }
  return vp_conntrack_cut (change->cuts, locals, &n, error);
}

static bool
do_file_write (const VpNetHostConfig *config, const VpNetChange *change,
               GError **error)
{
  g_autofree char *folder = g_path_get_dirname (change->name);
  g_autofree char *name = g_path_get_basename (change->name);
  g_autofree char *hidden = g_strconcat (".new-", name, NULL);
  g_autofree char *temporary = g_build_filename (folder, hidden, NULL);

  /* Readable for dnsmasq, which gives up root; a dot file until it is
   * whole, which dnsmasq does not look at. */
  if (g_mkdir_with_parents (folder, 0755) < 0)
    return file_error (error, folder);
  if (!g_file_set_contents_full (temporary, change->text, -1,
                                 G_FILE_SET_CONTENTS_NONE, 0644, error))
    return false;
  if (chmod (temporary, 0644) < 0 || rename (temporary, change->name) < 0)
    return file_error (error, change->name);
  return true;
}

static bool
do_file_move (const VpNetHostConfig *config, const VpNetChange *change,
              GError **error)
{
  if (rename (change->name, change->text) == 0 || errno == ENOENT)
    return true;
  return file_error (error, change->name);
}

static bool
do_file_remove (const VpNetHostConfig *config, const VpNetChange *change,
                GError **error)
{
  if (unlink (change->name) == 0 || errno == ENOENT)
    return true;
  /* A folder in which somebody else has something stays. */
  if (errno == EISDIR &&
      (rmdir (change->name) == 0 || errno == ENOTEMPTY || errno == EEXIST))
    return true;
  return file_error (error, change->name);
}

static bool
do_dnsmasq_start (const VpNetHostConfig *config, const VpNetChange *change,
                  GError **error)
{
  g_autofree char *hosts = vp_dnsmasq_hosts_path (config, change->name);
  struct stat info;

  if (stat (config->runtime_dir, &info) < 0)
    return file_error (error, config->runtime_dir);
  if (!(info.st_mode & S_IXOTH)) {
    g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_FAILED,
                 "%s must be open to search for all (mode 0755): dnsmasq "
                 "gives up root and reads its files there",
                 config->runtime_dir);
    return false;
  }
  if (g_mkdir_with_parents (hosts, 0755) < 0)
    return file_error (error, hosts);
  return vp_dnsmasq_start (config, change->name, error);
}

static bool
do_dnsmasq_stop (const VpNetHostConfig *config, const VpNetChange *change,
                 GError **error)
{
  return vp_dnsmasq_stop (config, change->name, error);
}

static bool
do_dnsmasq_reload (const VpNetHostConfig *config, const VpNetChange *change,
                   GError **error)
{
  return vp_dnsmasq_reload (config, change->name, error);
}

bool
vp_net_host_change (const VpNetHostConfig *config, const VpNetChange *change,
                    gpointer user_data, GError **error)
{
  static bool (*const verbs[VP_N_CHANGES]) (const VpNetHostConfig *,
                                            const VpNetChange *, GError **) = {
    [VP_CHANGE_NOTE] = do_note,
    [VP_CHANGE_STATE] = do_state,
    [VP_CHANGE_TABLES] = do_tables,
    [VP_CHANGE_TABLE_DROP] = do_table_drop,
    [VP_CHANGE_SYSCTL] = do_sysctl,
    [VP_CHANGE_LINK_CREATE] = do_link_create,
    [VP_CHANGE_LINK_TUNE] = do_link_tune,
    [VP_CHANGE_LINK_ALIAS] = do_link_alias,
    [VP_CHANGE_LINK_UP] = do_link_up,
    [VP_CHANGE_LINK_HAIRPIN] = do_link_hairpin,
    [VP_CHANGE_LINK_DELETE] = do_link_delete,
    [VP_CHANGE_ADDRESS_ADD] = do_address_add,
    [VP_CHANGE_ADDRESS_REMOVE] = do_address_remove,
    [VP_CHANGE_CUT] = do_cut,
    [VP_CHANGE_FILE_WRITE] = do_file_write,
    [VP_CHANGE_FILE_MOVE] = do_file_move,
    [VP_CHANGE_FILE_REMOVE] = do_file_remove,
    [VP_CHANGE_DNSMASQ_START] = do_dnsmasq_start,
    [VP_CHANGE_DNSMASQ_STOP] = do_dnsmasq_stop,
    [VP_CHANGE_DNSMASQ_RELOAD] = do_dnsmasq_reload,
  };

  return verbs[change->kind](config, change, error);
}
