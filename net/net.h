/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net: networks, their hosts and port forwards as plain data.  Wanted by
 * whoever calls (the daemon's manager), carried out by net-apply.  Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "net/addr.h"

#define VP_NET_ERROR (vp_net_error_quark ())

typedef enum {
  VP_NET_ERROR_FAILED,
  VP_NET_ERROR_ADDRESS,   /* not in the network, or taken */
  VP_NET_ERROR_OVERLAP,   /* networks or forwards that collide */
  VP_NET_ERROR_EXHAUSTED, /* no free address or prefix */
  VP_NET_ERROR_PORT_IN_USE,
  VP_NET_ERROR_BACKEND, /* iptables, dnsmasq or netlink said no */
  VP_NET_ERROR_BUSY,    /* a lock was not given in time; try again */
} VpNetErrorCode;

GQuark vp_net_error_quark (void);

typedef enum {
  VP_NET_NAT,      /* own bridge, DHCP, masquerade */
  VP_NET_ISOLATED, /* own bridge, DHCP, no way out */
} VpNetKind;

/* A guest's interface on one of our networks: a DHCP reservation. */
typedef struct {
  char *guest; /* host name it gets */
  char *nic;
  VpMac mac;
  VpAddr addr;
} VpNetHost;

typedef struct {
  char *name;
  VpNetKind kind;
  char *bridge;     /* at most 15 bytes, made by us: "vp-default" */
  VpCidr address;   /* the host's own address on it: 192.168.211.1/24 */
  GPtrArray *hosts; /* VpNetHost, never NULL */
} VpNet;

typedef struct {
  /* Both go into the rule's comment, vprov:GUEST:ID, of at most 255 bytes. */
  char *guest;                /* [A-Za-z0-9._-] */
  char *id;                   /* [A-Za-z0-9._:-] */
  bool udp;                   /* else tcp */
  uint16_t first, last;       /* host ports */
  uint16_t to_first, to_last; /* guest ports, as many */
  VpAddr target;
  char *network; /* the network that target is on */
} VpNetForward;

/* All that should be there. */
typedef struct {
  grefcount ref_count;
  GPtrArray *nets;     /* VpNet */
  GPtrArray *forwards; /* VpNetForward */
} VpNetWanted;

typedef enum {
  VP_FORWARD_ACTIVE,   /* its rule is in the tables */
  VP_FORWARD_CONFLICT, /* left out: see reason */
  VP_FORWARD_PENDING,  /* not applied yet */
  VP_FORWARD_FAILED,
} VpForwardState;

typedef struct {
  char *guest;
  char *id;
  VpForwardState state;
  char *reason; /* NULL when active */
} VpForwardStatus;

/* One change, in words: "create bridge vp-default 192.168.211.1/24". */
typedef struct {
  char *words;
  char *guest;   /* NULL where it is not one guest's */
  char *subject; /* the network or forward id */
} VpNetStep;

VpNetHost *vp_net_host_new (const char *guest, const char *nic,
                            const VpMac *mac, const VpAddr *addr);
void vp_net_host_free (VpNetHost *host);
VpNet *vp_net_new (const char *name);
VpNet *vp_net_copy (const VpNet *net);
void vp_net_free (VpNet *net);
VpNetForward *vp_net_forward_new (const char *guest, const char *id);
VpNetForward *vp_net_forward_copy (const VpNetForward *forward);
void vp_net_forward_free (VpNetForward *forward);
VpNetWanted *vp_net_wanted_new (void);
VpNetWanted *vp_net_wanted_ref (VpNetWanted *wanted);
void vp_net_wanted_unref (VpNetWanted *wanted);
/* Borrowed from wanted; NULL where there is none of that name. */
const VpNet *vp_net_wanted_find (const VpNetWanted *wanted, const char *name);
void vp_forward_status_free (VpForwardStatus *status);
void vp_net_step_free (VpNetStep *step);
const char *vp_forward_state_to_string (VpForwardState state);

/* "vp-NAME" where that fits 15 bytes and is a legal link name, else "vp-" and
 * a hash of the name.  Caller frees. */
char *vp_net_bridge_name (const char *network);

/* The MAC that a bridge of ours is created with, derived from its name: with
 * it a link is known as ours from its first moment. */
VpMac vp_net_bridge_mac (const char *bridge);

/* Address choice, pure.  Picks the first free host address of the network
 * that is in none of taken (VpAddr), beginning behind the host's own.
 * VP_NET_ERROR_EXHAUSTED where there is none. */
bool vp_net_choose_address (const VpCidr *network, const GArray *taken,
                            VpAddr *ret_addr, GError **error);
/* The first of 192.168.211.0/24, .212, ... that overlaps none of used
 * (VpCidr: the host's routes and addresses, other networks); the result is
 * the host's own address in it: .1/24. */
bool vp_net_choose_prefix (const GArray *used, VpCidr *ret_address,
                           GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNet, vp_net_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetHost, vp_net_host_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetForward, vp_net_forward_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetWanted, vp_net_wanted_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpForwardStatus, vp_forward_status_free)
