/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-plan: wanted + found -> ordered changes.  Pure.
 *
 * Order, so that nothing is exposed before its guard stands, and nothing
 * loses its guard while exposed, wherever a pass is cut short:
 *
 *   intent noted -> forwards of what goes away closed -> what goes away
 *   taken down -> raw, filter -> ip_forward -> links -> nat -> stale
 *   connections cut -> dnsmasq -> what is left of us noted
 *
 * and where nothing is wanted any more: nat -> connections -> dnsmasq ->
 * links -> ip_forward -> filter -> raw -> empty tables. */
#pragma once

#include "net/dnsmasq.h"
#include "net/link.h"
#include "net/net-config.h"
#include "net/net-state.h"
#include "net/tables.h"

typedef struct {
  GPtrArray *links; /* VpLink */
  VpTables *tables;
  GArray *listeners;   /* VpListener */
  GHashTable *sysctls; /* key -> value; absent: no such setting */
  GPtrArray *dnsmasq;  /* VpDnsmasqFound */
  VpNetState *state;
  uint32_t generation; /* of nf_tables, 0: unknown */
} VpNetFound;

VpNetFound *vp_net_found_new (void);
void vp_net_found_free (VpNetFound *found);

/* The keys of the settings that a plan looks at; GPtrArray of char *. */
GPtrArray *vp_net_plan_sysctls (const VpNetWanted *wanted);

typedef enum {
  VP_CHANGE_NOTE,           /* nothing to do: says what another change means */
  VP_CHANGE_STATE,          /* text: all of net.state */
  VP_CHANGE_TABLES,         /* text: one transaction; table */
  VP_CHANGE_TABLE_DROP,     /* table */
  VP_CHANGE_SYSCTL,         /* name: key, text: value */
  VP_CHANGE_LINK_CREATE,    /* name */
  VP_CHANGE_LINK_TUNE,      /* name */
  VP_CHANGE_LINK_ALIAS,     /* name, text */
  VP_CHANGE_LINK_UP,        /* name */
  VP_CHANGE_LINK_HAIRPIN,   /* name */
  VP_CHANGE_LINK_DELETE,    /* name */
  VP_CHANGE_ADDRESS_ADD,    /* name, cidr */
  VP_CHANGE_ADDRESS_REMOVE, /* name, cidr */
  VP_CHANGE_CUT,            /* cuts */
  VP_CHANGE_FILE_WRITE,     /* name: path, text; makes its folder */
  VP_CHANGE_FILE_MOVE,      /* name: path, text: new path */
  VP_CHANGE_FILE_REMOVE,    /* name: path, also of an empty folder */
  VP_CHANGE_DNSMASQ_START,  /* name: network */
  VP_CHANGE_DNSMASQ_STOP,
  VP_CHANGE_DNSMASQ_RELOAD,
  VP_N_CHANGES,
} VpChangeKind;

typedef struct {
  VpChangeKind kind;
  VpNetStep step; /* words NULL: part of another step */
  char *name, *text;
  VpTableId table;
  VpCidr cidr;
  GArray *cuts; /* VpCut */
} VpNetChange;

void vp_net_change_free (VpNetChange *change);

typedef struct {
  GPtrArray *changes;  /* VpNetChange; empty: all is right */
  GPtrArray *forwards; /* VpForwardStatus, in wanted's order */
  GPtrArray *warnings; /* char * */
  GPtrArray *chosen;   /* VpNetForward, borrowed from wanted */
  VpTables *tables;    /* wanted chains */
  VpNetState *state;   /* as it is when all changes are done */
} VpNetPlan;

/* VP_NET_ERROR_OVERLAP, _ADDRESS where the networks themselves make no
 * sense or a link of that name is somebody else's. */
VpNetPlan *vp_net_plan (const VpNetHostConfig *config,
                        const VpNetWanted *wanted, const VpNetFound *found,
                        GError **error);
void vp_net_plan_free (VpNetPlan *plan);

/* Whether the link is a bridge that we made. */
bool vp_net_link_is_ours (const VpLink *link);
/* What net.state says of tables that could be written but not read. */
char *vp_net_blind_mark (uint32_t generation, const VpTables *wanted);
char *vp_net_state_path (const VpNetHostConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetFound, vp_net_found_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetPlan, vp_net_plan_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetChange, vp_net_change_free)
