/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-plan-private: the inside of net-plan, shared by its files: one plan on
 * its way. */
#pragma once

#include "net/forward-plan.h"
#include "net/net-plan.h"

#define VP_SYSCTL_BRIDGE_FILTER "net/bridge/bridge-nf-call-iptables"

/* Pointers are borrowed; the parts add to plan's changes and warnings. */
typedef struct {
  const VpNetHostConfig *config;
  const VpNetWanted *wanted;
  const VpNetFound *found;
  VpNetPlan *plan;
  VpRenderOptions options;
  GPtrArray *rules; /* VpForwardRule: the forwards found */
  bool forward_on;  /* ip_forward has to be turned on */
} Planner;

/* Adds a change; name, text and subject are copied, words is taken.  Borrowed
 * from the plan. */
VpNetChange *vp_planner_add (Planner *planner, VpChangeKind kind,
                             const char *name, const char *text, char *words,
                             const char *subject);
/* The value found, borrowed; NULL: there is no such setting. */
const char *vp_planner_sysctl (const Planner *planner, const char *key);

/* net-plan-dnsmasq: of one wanted network; of all that are not wanted. */
void vp_planner_dnsmasq (Planner *planner, const VpNet *net);
void vp_planner_remove_dnsmasq (Planner *planner);

/* net-plan-link: of one wanted network; of all bridges that are not wanted. */
void vp_planner_link (Planner *planner, const VpNet *net);
void vp_planner_remove_links (Planner *planner);
/* Adds the keys of the settings that its bridge has. */
void vp_planner_bridge_sysctls (const VpNet *net, GPtrArray *keys);
