/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dnsmasq: configuration as text, and keeping the process where there is no
 * service manager.
 *
 * A pid from a file is believed only when that process runs dnsmasq with our
 * configuration file: pids are used again. */
#include "config.h"

#include "net/child.h"
#include "net/dnsmasq.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIMEOUT_MS 10000

static char *
runtime_file (const VpNetHostConfig *config, const char *net,
              const char *suffix)
{
  g_autofree char *name = g_strconcat (net, suffix, NULL);
  return g_build_filename (config->runtime_dir, "dnsmasq", name, NULL);
}

char *
vp_dnsmasq_config_path (const VpNetHostConfig *config, const char *net)
{
  return runtime_file (config, net, ".conf");
}

char *
vp_dnsmasq_hosts_path (const VpNetHostConfig *config, const char *net)
{
  return runtime_file (config, net, ".hosts");
}

char *
vp_dnsmasq_pid_path (const VpNetHostConfig *config, const char *net)
{
  return runtime_file (config, net, ".pid");
}

char *
vp_dnsmasq_leases_path (const VpNetHostConfig *config, const char *net)
{
  g_autofree char *name = g_strconcat (net, ".leases", NULL);
  return g_build_filename (config->state_dir, "dnsmasq", name, NULL);
}

char *
vp_dnsmasq_config_text (const VpNetHostConfig *config, const VpNet *net)
{
  GString *text = g_string_new ("# Written by vprovd; changes are lost.\n");
  g_autofree char *pid = vp_dnsmasq_pid_path (config, net->name);
  g_autofree char *hosts = vp_dnsmasq_hosts_path (config, net->name);
  g_autofree char *leases = vp_dnsmasq_leases_path (config, net->name);
  VpCidr all_ones = { .addr = { .family = net->address.addr.family },
                      .prefix = 0 };
  VpAddr network = vp_cidr_network (&net->address);
  g_autofree char *network_text = vp_addr_to_string (&network);
  g_autofree char *mask_text = NULL;

  /* The mask is the complement of the host bits of 255.255.255.255. */
  all_ones.addr = vp_cidr_broadcast (&all_ones);
  all_ones.prefix = net->address.prefix;
  all_ones.addr = vp_cidr_network (&all_ones);
  mask_text = vp_addr_to_string (&all_ones.addr);

  g_string_append_printf (text, "pid-file=%s\n", pid);
  g_string_append_printf (text, "interface=%s\n", net->bridge);
  g_string_append (text, "except-interface=lo\n"
                         "bind-dynamic\n"
                         "no-hosts\n"
                         "domain-needed\n"
                         "bogus-priv\n"
                         "quiet-dhcp\n"
                         "dhcp-authoritative\n"
                         "dhcp-no-override\n"
                         "no-ping\n"
                         "dhcp-ignore=tag:!known\n");
  g_string_append_printf (text, "dhcp-range=%s,static,%s,12h\n", network_text,
                          mask_text);
  g_string_append_printf (text, "dhcp-hostsdir=%s\n", hosts);
  g_string_append_printf (text, "dhcp-leasefile=%s\n", leases);
  if (net->kind == VP_NET_ISOLATED)
    /* No way out: no default route. */
    g_string_append (text, "dhcp-option=option:router\n");
  return g_string_free (text, FALSE);
}

char *
vp_dnsmasq_host_text (const VpNetHost *host)
{
  g_autofree char *mac = vp_mac_to_string (&host->mac);
  g_autofree char *addr = vp_addr_to_string (&host->addr);

  return g_strdup_printf ("%s,%s,%s\n", mac, addr, host->guest);
}

char *
vp_dnsmasq_host_file (const VpNetHost *host)
{
  /* A comma is in no name: guest and interface stay apart. */
  return g_strdup_printf ("%s,%s", host->guest,
                          host->nic != NULL ? host->nic : "nic0");
}

/* "EXPIRY MAC ADDRESS NAME CLIENT-ID". */
static bool
is_strange (const char *line, const VpNet *net)
{
  g_auto (GStrv) words = g_strsplit (line, " ", -1);
  VpAddr addr;
  VpMac mac;

  if (g_strv_length (words) < 4 || !vp_mac_parse (words[1], &mac) ||
      !vp_addr_parse (words[2], &addr))
    return false;
  for (guint i = 0; i < net->hosts->len; i++) {
    const VpNetHost *host = net->hosts->pdata[i];
    if (vp_addr_equal (&host->addr, &addr))
      return memcmp (host->mac.bytes, mac.bytes, sizeof mac.bytes) != 0;
  }
  return false;
}

char *
vp_dnsmasq_leases_without_strangers (const char *leases, const VpNet *net)
{
  g_auto (GStrv) lines = g_strsplit (leases, "\n", -1);
  GString *kept = g_string_new (NULL);
  bool strange = false;

  for (char **line = lines; *line != NULL; line++) {
    if ((*line)[0] == '\0')
      continue;
    if (is_strange (*line, net))
      strange = true;
    else
      g_string_append_printf (kept, "%s\n", *line);
  }
  if (!strange) {
    g_string_free (kept, TRUE);
    return NULL;
  }
  return g_string_free (kept, FALSE);
}

/* --- what lies there --------------------------------------------------- */

void
vp_dnsmasq_found_free (VpDnsmasqFound *found)
{
  if (found == NULL)
    return;
  g_free (found->name);
  g_free (found->config);
  g_free (found->leases);
  g_hash_table_unref (found->hosts);
  g_free (found);
}

/* 0 where it does not run. */
static pid_t
running_pid (const VpNetHostConfig *config, const char *net)
{
  g_autofree char *pid_path = vp_dnsmasq_pid_path (config, net);
  g_autofree char *config_path = vp_dnsmasq_config_path (config, net);
  g_autofree char *text = NULL, *exe_path = NULL, *exe = NULL;
  g_autofree char *line_path = NULL, *line = NULL, *name = NULL;
  g_autofree char *option = g_strconcat ("--conf-file=", config_path, NULL);
  gsize len;
  guint64 pid;
  bool ours = false;

  if (!g_file_get_contents (pid_path, &text, NULL, NULL) ||
      !g_ascii_string_to_unsigned (g_strstrip (text), 10, 2, G_MAXINT32, &pid,
                                   NULL))
    return 0;
  exe_path = g_strdup_printf ("/proc/%d/exe", (int) pid);
  exe = g_file_read_link (exe_path, NULL);
  line_path = g_strdup_printf ("/proc/%d/cmdline", (int) pid);
  if (exe == NULL || !g_file_get_contents (line_path, &line, &len, NULL))
    return 0;
  /* After an upgrade the link reads "/usr/sbin/dnsmasq (deleted)". */
  name = g_path_get_basename (exe);
  if (strcmp (name, "dnsmasq") != 0 && strcmp (name, "dnsmasq (deleted)") != 0)
    return 0;
  for (gsize at = 0; at < len; at += strlen (line + at) + 1)
    ours = ours || strcmp (line + at, option) == 0;
  return ours ? (pid_t) pid : 0;
}

static bool
is_running (const VpNetHostConfig *config, const char *net, bool *ret_running,
            GError **error)
{
  if (config->dnsmasq.running != NULL)
    return config->dnsmasq.running (net, ret_running, config->dnsmasq.user_data,
                                    error);
  *ret_running = running_pid (config, net) != 0;
  return true;
}

static VpDnsmasqFound *
observe_one (const VpNetHostConfig *config, const char *name, GError **error)
{
  g_autofree char *config_path = vp_dnsmasq_config_path (config, name);
  g_autofree char *hosts_path = vp_dnsmasq_hosts_path (config, name);
  g_autofree char *leases_path = vp_dnsmasq_leases_path (config, name);
  VpDnsmasqFound *found = g_new0 (VpDnsmasqFound, 1);
  g_autoptr (GDir) dir = g_dir_open (hosts_path, 0, NULL);
  const char *file;

  found->name = g_strdup (name);
  found->hosts =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  (void) g_file_get_contents (config_path, &found->config, NULL, NULL);
  (void) g_file_get_contents (leases_path, &found->leases, NULL, NULL);
  while (dir != NULL && (file = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (hosts_path, file, NULL);
    char *text = NULL;

    if (g_file_get_contents (path, &text, NULL, NULL))
      g_hash_table_insert (found->hosts, g_strdup (file), text);
  }
  if (!is_running (config, name, &found->running, error)) {
    vp_dnsmasq_found_free (found);
    return NULL;
  }
  return found;
}

static gint
compare_strings (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

GPtrArray *
vp_dnsmasq_observe (const VpNetHostConfig *config, const GPtrArray *names,
                    GError **error)
{
  g_autofree char *folder =
      g_build_filename (config->runtime_dir, "dnsmasq", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  g_autoptr (GPtrArray) all = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) list =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_dnsmasq_found_free);
  const char *file;

  for (guint i = 0; i < names->len; i++)
    g_ptr_array_add (all, g_strdup (names->pdata[i]));
  /* The configuration goes last when a network is removed: whoever has one
   * may have more. */
  while (dir != NULL && (file = g_dir_read_name (dir)) != NULL)
    if (g_str_has_suffix (file, ".conf") && file[0] != '.') {
      g_autofree char *name = g_strndup (file, strlen (file) - 5);
      if (!g_ptr_array_find_with_equal_func (all, name, g_str_equal, NULL))
        g_ptr_array_add (all, g_steal_pointer (&name));
    }
  g_ptr_array_sort (all, compare_strings);
  for (guint i = 0; i < all->len; i++) {
    VpDnsmasqFound *found = observe_one (config, all->pdata[i], error);
    if (found == NULL)
      return NULL;
    g_ptr_array_add (list, found);
  }
  return g_steal_pointer (&list);
}

/* --- the process ------------------------------------------------------- */

bool
vp_dnsmasq_start (const VpNetHostConfig *config, const char *net,
                  GError **error)
{
  g_autofree char *config_path = vp_dnsmasq_config_path (config, net);
  g_autofree char *option = g_strconcat ("--conf-file=", config_path, NULL);
  g_autofree char *path = NULL, *complaint = NULL;
  const char *argv[] = { "dnsmasq", option, NULL };
  int status;

  if (config->dnsmasq.start != NULL)
    return config->dnsmasq.start (net, config_path, config->dnsmasq.user_data,
                                  error);
  path = vp_child_find ("dnsmasq");
  if (path == NULL) {
    g_set_error_literal (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
                         "dnsmasq is missing; install the package "
                         "dnsmasq-base");
    return false;
  }
  /* It forks twice by itself, and its first process ends with a status when
   * the last one is ready.  2: a port is in use, perhaps by one of ours that
   * was killed and is not quite gone. */
  for (unsigned try = 0;; try++) {
    g_clear_pointer (&complaint, g_free);
    if (!vp_child_run (path, argv, NULL, TIMEOUT_MS, NULL, &complaint, &status,
                       error))
      return false;
    if (status == 0)
      return true;
    if (status != 2 || try >= 10)
      break;
    g_usleep (100 * 1000);
  }
  g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
               "dnsmasq for network %s: %s", net, g_strchug (complaint));
  return false;
}

bool
vp_dnsmasq_stop (const VpNetHostConfig *config, const char *net, GError **error)
{
  struct pollfd poller = { .fd = -1, .events = POLLIN };
  pid_t pid;

  if (config->dnsmasq.stop != NULL)
    return config->dnsmasq.stop (net, config->dnsmasq.user_data, error);
  pid = running_pid (config, net);
  if (pid == 0)
    return true;
  poller.fd = (int) syscall (SYS_pidfd_open, pid, 0);
  if (poller.fd < 0)
    return errno == ESRCH;
  /* Looked at again now that the number cannot pass to another process. */
  if (running_pid (config, net) != pid) {
    (void) close (poller.fd);
    return true;
  }
  (void) syscall (SYS_pidfd_send_signal, poller.fd, SIGTERM, NULL, 0);
  if (poll (&poller, 1, TIMEOUT_MS / 2) == 0) {
    (void) syscall (SYS_pidfd_send_signal, poller.fd, SIGKILL, NULL, 0);
    (void) poll (&poller, 1, TIMEOUT_MS / 2);
  }
  (void) close (poller.fd);
  if (running_pid (config, net) != pid)
    return true;
  g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
               "dnsmasq of network %s (pid %d) does not end", net, (int) pid);
  return false;
}

bool
vp_dnsmasq_reload (const VpNetHostConfig *config, const char *net,
                   GError **error)
{
  pid_t pid;

  if (config->dnsmasq.reload != NULL)
    return config->dnsmasq.reload (net, config->dnsmasq.user_data, error);
  pid = running_pid (config, net);
  if (pid == 0 || kill (pid, SIGHUP) == 0)
    return true;
  g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
               "dnsmasq of network %s (pid %d): %s", net, (int) pid,
               g_strerror (errno));
  return false;
}
