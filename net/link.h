/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* link: the host's links, addresses, routes and neighbours by rtnetlink; and
 * the few changes that we make to bridges of ours. */
#pragma once

#include "net/addr.h"

typedef struct {
  char *name;
  int index;
  int master; /* index of the bridge it is a port of, 0: none */
  VpMac mac;
  char *alias; /* "" where there is none */
  bool up;     /* by the administrator: IFF_UP */
  bool bridge;
  bool stp;               /* of a bridge */
  unsigned forward_delay; /* of a bridge, in 1/100 s */
  bool hairpin;           /* of a bridge's port */
  GArray *addresses;      /* VpCidr */
} VpLink;

void vp_link_free (VpLink *link);

/* GPtrArray of VpLink. */
GPtrArray *vp_links_list (GError **error);
/* Borrowed; NULL where there is none. */
VpLink *vp_links_find (const GPtrArray *links, const char *name);

/* A bridge without STP and forward delay, down. */
bool vp_link_create_bridge (const char *name, const VpMac *mac, GError **error);
/* STP off, forward delay 0. */
bool vp_link_tune_bridge (const char *name, GError **error);
bool vp_link_set_alias (const char *name, const char *alias, GError **error);
bool vp_link_set_up (const char *name, GError **error);
bool vp_link_set_hairpin (const char *port, GError **error);
bool vp_link_delete (const char *name, GError **error);
bool vp_link_add_address (const char *name, const VpCidr *address,
                          GError **error);
bool vp_link_remove_address (const char *name, const VpCidr *address,
                             GError **error);

typedef struct {
  VpCidr to;
  int link; /* index of the link it leads out by, 0: none */
} VpRoute;

/* IPv4 and IPv6 routes of all tables but "local"; GArray of VpRoute. */
GArray *vp_routes_list (GError **error);
/* The index of the link by which the host would send to addr. */
bool vp_route_lookup (const VpAddr *addr, int *ret_link, GError **error);

typedef enum {
  VP_NEIGHBOUR_NONE,    /* nobody asked yet */
  VP_NEIGHBOUR_WAITING, /* asked, no answer yet */
  VP_NEIGHBOUR_FAILED,  /* asked, nobody answered */
  VP_NEIGHBOUR_KNOWN,
} VpNeighbour;

bool vp_neighbour_lookup (const VpAddr *addr, int link, VpNeighbour *ret_state,
                          VpMac *ret_mac, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpLink, vp_link_free)
