/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forward-plan: from wanted networks and forwards to chains.  Pure: the same
 * wanted gives the same text, so that a diff is a comparison of strings.
 *
 *   raw    PREROUTING[1] -> VPROV-RAW     guards: loopback, spoofing, direct
 *   filter INPUT[1]      -> VPROV-IN      DHCP and DNS from our bridges
 *          FORWARD[1]    -> VPROV-FWD     VPROV-USER first, then ours
 *          FORWARD[end]  -> VPROV-END     only where we turned ip_forward on
 *   nat    PREROUTING[1], OUTPUT[1] (to local addresses) -> VPROV-PRE
 *          POSTROUTING[1] -> VPROV-POST
 *
 *   VPROV-PRE -> VPROV-T (tcp), VPROV-U (udp): a trie over the host's port,
 *   16-way, node VPROV-T-1F holds 0x1f00-0x1fff; a leaf has at most 64 rules.
 *   The cost of a packet is at most 4 * 16 + 64 comparisons, and a changed
 *   forward rewrites one leaf. */
#pragma once

#include "net/net.h"
#include "net/tables.h"

#define VP_TRIE_LEAF 64u /* rules */

typedef struct {
  bool closed;        /* traffic between foreign links stays shut */
  bool bridge_filter; /* br_netfilter is there: bridged frames pass us */
} VpRenderOptions;

/* The chains for wanted's networks and for FORWARDS (borrowed VpNetForward),
 * which must be valid and must not overlap.  No network: no chains. */
VpTables *vp_forward_plan_render (const VpNetWanted *wanted,
                                  const GPtrArray *forwards,
                                  const VpRenderOptions *options);

/* Our rules in the built-in chains; closed: with the one to VPROV-END. */
void vp_forward_plan_add_jumps (VpTables *tables, bool closed);

/* A socket that waits on a port of an IPv4 address of this host. */
typedef struct {
  bool udp;
  uint16_t port;
  uint64_t inode;
  int pid;       /* 0: unknown */
  char *process; /* NULL: unknown */
} VpListener;

void vp_listener_clear (VpListener *listener);

/* What a rule of ours in the nat table sends where. */
typedef struct {
  bool udp;
  uint16_t first, last;
  VpAddr target;
  uint16_t to_first;
  char *guest, *id;
} VpForwardRule;

void vp_forward_rule_free (VpForwardRule *rule);
/* Reads one rule as vp_forward_plan_render () writes it; NULL where it is no
 * forward. */
VpForwardRule *vp_forward_rule_parse (const char *rule);
/* All of them in the chains of a trie, VpForwardRule. */
GPtrArray *vp_forward_rules (const VpTables *tables);

/* Decides which forwards can be: ret_chosen gets those (borrowed, sorted by
 * guest and id), ret_status one VpForwardStatus for each wanted one, in
 * wanted's order, PENDING or CONFLICT or FAILED.  Of two that want a port the
 * first by guest and id has it.  A port on which a listener waits is refused
 * unless the forward stands in FOUND already: a process that comes later does
 * not take a guest's port away.  listeners (VpListener) may be NULL. */
void vp_forward_plan_choose (const VpNetWanted *wanted, const GArray *listeners,
                             const GPtrArray *found, GPtrArray **ret_chosen,
                             GPtrArray **ret_status);

/* Connections that the change from rules FOUND to CHOSEN leaves stale. */
typedef enum {
  VP_CUT_FORWARD, /* to these ports, answered by target */
  VP_CUT_LOCAL,   /* to these ports of the host itself, not translated */
  VP_CUT_NETWORK, /* from or answered by an address in network */
} VpCutKind;

typedef struct {
  VpCutKind kind;
  bool udp;
  uint16_t first, last;
  VpCidr target; /* FORWARD: /32 */
} VpCut;

/* GArray of VpCut. */
GArray *vp_forward_plan_cuts (const GPtrArray *found, const GPtrArray *chosen);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpForwardRule, vp_forward_rule_free)
