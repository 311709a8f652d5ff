/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* conntrack: cuts the connections that a change of forwards left stale, in
 * one pass over the kernel's list whatever the number of ports. */
#pragma once

#include "net/forward-plan.h"

/* cuts: VpCut.  locals: VpAddr, the host's own addresses. */
bool vp_conntrack_cut (const GArray *cuts, const GArray *locals,
                       unsigned *ret_cut, GError **error);

/* One connection, as far as a cut looks at it. */
typedef struct {
  uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP, ... */
  VpAddr orig_src, orig_dst, reply_src;
  uint16_t orig_port; /* the port that the client sent to */
} VpConnection;

/* Pure; for vp_conntrack_cut () and its test. */
bool vp_cut_matches (const VpCut *cut, const VpConnection *connection,
                     const GArray *locals);
