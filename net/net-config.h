/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-config: where net keeps its files on this host, and who keeps dnsmasq.
 */
#pragma once

#include <stdbool.h>

#include <glib.h>

/* How dnsmasq is kept: with systemd its own unit, so that it survives a
 * restart of the daemon; else a double fork with a pidfile.  The daemon gives
 * these; NULL members select the double fork.  Called on the thread of
 * vp_net_apply (). */
typedef struct {
  bool (*start) (const char *network, const char *config_path,
                 gpointer user_data, GError **error);
  bool (*stop) (const char *network, gpointer user_data, GError **error);
  bool (*reload) (const char *network, gpointer user_data, GError **error);
  /* ret_running */
  bool (*running) (const char *network, bool *ret_running, gpointer user_data,
                   GError **error);
  gpointer user_data;
} VpDnsmasqOps;

typedef struct {
  char *runtime_dir; /* /run/vprovd: lock, net.state, dnsmasq files */
  char *state_dir;   /* /var/lib/vprovd: leases */
  VpDnsmasqOps dnsmasq;
} VpNetHostConfig;

void vp_net_host_config_free (VpNetHostConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetHostConfig, vp_net_host_config_free)
