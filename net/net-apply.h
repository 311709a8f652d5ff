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

#include "net/net-config.h"
#include "net/net.h"

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

/* The same on a host that the caller plays (net/net-ops.h): for tests. */
typedef struct VpNetOps VpNetOps;
VpNetReport *vp_net_apply_with (const VpNetOps *ops, gpointer user_data,
                                const VpNetHostConfig *config,
                                VpNetWanted *wanted, bool dry_run,
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
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetWatch, vp_net_watch_free)
