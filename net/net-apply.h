/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-apply: makes the host's links, addresses, sysctls, dnsmasq, iptables
 * chains and conntrack entries agree with a VpNetWanted, and says what it
 * would do without doing it.
 *
 * Observe, plan, apply: what is already right is not written again.  All of
 * it blocks; call it away from the main thread, one call at a time for one
 * VpNetHostConfig (a flock on RUNTIME/net.lock holds off a second daemon).
 * Nothing that does not bear our names is changed. */
#pragma once

#include "net/net.h"

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

/* One change, in words: "create bridge vp-default 192.168.211.1/24". */
typedef struct {
  char *words;
  char *guest;   /* NULL where it is not one guest's */
  char *subject; /* the network or forward id */
} VpNetStep;

void vp_net_step_free (VpNetStep *step);

typedef struct {
  GPtrArray *steps;    /* VpNetStep: what was to do; empty: nothing */
  GPtrArray *forwards; /* VpForwardStatus, one for each wanted forward */
  GPtrArray *warnings; /* char *: what was left out, what may go wrong */
  bool applied;        /* false for a dry run */
  unsigned writes;     /* transactions and netlink writes carried out */
} VpNetReport;

void vp_net_report_free (VpNetReport *report);

/* Brings the host to wanted.  With dry_run only looks and reports steps.
 * Conflicts of one forward (a process listens on its port, two forwards want
 * one port) leave out that forward only and are told in the report.
 * VP_NET_ERROR_*, G_FILE_ERROR on failure; the report is then NULL. */
VpNetReport *vp_net_apply (const VpNetHostConfig *config, VpNetWanted *wanted,
                           bool dry_run,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes every trace: chains, jumps, bridges, dnsmasq, sysctls that are
 * still as we set them. */
bool vp_net_teardown (const VpNetHostConfig *config,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Networks and addresses that the host uses (links' addresses and routes,
 * save on our own bridges), for vp_net_choose_prefix ().  GArray of VpCidr. */
GArray *vp_net_used_prefixes (GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Forward check: one link of the chain rule -> route -> neighbour -> connect.
 */
typedef struct {
  char *link; /* "rule", "guards", "route", "neighbour", "connect" */
  bool ok;
  char *detail; /* what was seen */
  char *cure;   /* what to do, NULL when ok */
} VpForwardCheck;

void vp_forward_check_free (VpForwardCheck *check);

/* Walks the links of one forward, stops behind the first broken one.  All
 * but "ok" checks have a cure.  GPtrArray of VpForwardCheck. */
GPtrArray *vp_net_forward_check (const VpNetHostConfig *config,
                                 VpNetWanted *wanted,
                                 const VpNetForward *forward,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Watches for changes that others make: an fd that polls readable when the
 * nf_tables rules or links changed.  vp_net_watch_drain () reads it empty and
 * says whether somebody else than us changed something. */
typedef struct VpNetWatch VpNetWatch;
VpNetWatch *vp_net_watch_new (GError **error) G_GNUC_WARN_UNUSED_RESULT;
int vp_net_watch_get_fd (VpNetWatch *watch);
bool vp_net_watch_drain (VpNetWatch *watch);
void vp_net_watch_free (VpNetWatch *watch);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetReport, vp_net_report_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetHostConfig, vp_net_host_config_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetWatch, vp_net_watch_free)
