/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sockets: who waits on the ports of this host's IPv4 addresses, by
 * sock_diag. */
#pragma once

#include "net/forward-plan.h"

/* Waiting tcp and udp sockets, without their processes; GArray of
 * VpListener. */
GArray *vp_sockets_list (GError **error);
/* Fills in pid and process where /proc tells; looks through all processes. */
void vp_sockets_find_processes (GArray *listeners);
