/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-ops: the two verbs by which net-apply meets the host: look at all of
 * it, and carry out one change.  A test gives others: a host in memory, or
 * this one with a change that fails. */
#pragma once

#include "net/net-plan.h"

struct VpNetOps {
  VpNetFound *(*observe) (const VpNetHostConfig *config,
                          const VpNetWanted *wanted, gpointer user_data,
                          GError **error);
  bool (*change) (const VpNetHostConfig *config, const VpNetChange *change,
                  gpointer user_data, GError **error);
};
typedef struct VpNetOps VpNetOps;

/* The host that we run on. */
VpNetFound *vp_net_host_observe (const VpNetHostConfig *config,
                                 const VpNetWanted *wanted, gpointer user_data,
                                 GError **error);
bool vp_net_host_change (const VpNetHostConfig *config,
                         const VpNetChange *change, gpointer user_data,
                         GError **error);
