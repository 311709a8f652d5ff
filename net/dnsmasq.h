/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dnsmasq: addresses and names for the guests of one network.
 *
 *   RUNTIME/dnsmasq/NET.conf       its configuration
 *   RUNTIME/dnsmasq/NET.pid
 *   RUNTIME/dnsmasq/NET.hosts/     one file per guest's interface; dnsmasq
 *                                  takes a new one up at once, and forgets
 *                                  one after SIGHUP.  Names that begin with a
 *                                  dot are none to it: ".gone-X" is a file
 *                                  that it may still remember
 *   STATE/dnsmasq/NET.leases
 *
 * Only guests that we know get an address, each its own. */
#pragma once

#include "net/net-config.h"
#include "net/net.h"

#define VP_DNSMASQ_GONE ".gone-"

char *vp_dnsmasq_config_path (const VpNetHostConfig *config, const char *net);
char *vp_dnsmasq_hosts_path (const VpNetHostConfig *config, const char *net);
char *vp_dnsmasq_pid_path (const VpNetHostConfig *config, const char *net);
char *vp_dnsmasq_leases_path (const VpNetHostConfig *config, const char *net);

/* Pure: the text of the files, and the name of a host's file. */
char *vp_dnsmasq_config_text (const VpNetHostConfig *config, const VpNet *net);
char *vp_dnsmasq_host_text (const VpNetHost *host);
char *vp_dnsmasq_host_file (const VpNetHost *host);
/* Pure: the leases without those of wanted addresses that are another
 * machine's; NULL where there are none such.  dnsmasq would refuse to give an
 * address away while an old lease on it lasts. */
char *vp_dnsmasq_leases_without_strangers (const char *leases,
                                           const VpNet *net);

/* What lies there. */
typedef struct {
  char *name;
  bool running;
  char *config;      /* NULL: no file */
  GHashTable *hosts; /* file name -> text, also ".gone-..." */
  char *leases;      /* NULL: no file */
} VpDnsmasqFound;

void vp_dnsmasq_found_free (VpDnsmasqFound *found);
/* Of the networks in RUNTIME/dnsmasq and of names (char *); GPtrArray of
 * VpDnsmasqFound. */
GPtrArray *vp_dnsmasq_observe (const VpNetHostConfig *config,
                               const GPtrArray *names, GError **error);

/* By the caller's functions where it gave some, else by ourselves. */
bool vp_dnsmasq_start (const VpNetHostConfig *config, const char *net,
                       GError **error);
bool vp_dnsmasq_stop (const VpNetHostConfig *config, const char *net,
                      GError **error);
bool vp_dnsmasq_reload (const VpNetHostConfig *config, const char *net,
                        GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpDnsmasqFound, vp_dnsmasq_found_free)
