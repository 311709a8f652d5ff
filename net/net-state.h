/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-state: what must survive a crash to be undone or finished: settings of
 * the kernel as they were before us, tables that our first rule made, what
 * iptables printed for our chains, connections still to be cut.  It lies in
 * RUNTIME/net.state and is empty, and absent, when nothing of ours is there.
 * The text form is pure. */
#pragma once

#include "net/forward-plan.h"
#include "net/tables.h"

typedef struct {
  char *key;    /* "net/ipv4/ip_forward" */
  char *before; /* what it was */
  char *ours;   /* what we wrote; NULL: the kernel changed it in
                 * consequence, and it is put back when the one before is */
} VpSavedSysctl;

typedef struct {
  GPtrArray *sysctls;       /* VpSavedSysctl, in the order of writing */
  bool made[VP_N_TABLES];   /* the table was not there before us */
  char *blind[VP_N_TABLES]; /* "GENERATION DIGEST" of a blind table */
  VpLearned *learned;
  GArray *cuts; /* VpCut */
} VpNetState;

VpNetState *vp_net_state_new (void);
VpNetState *vp_net_state_copy (const VpNetState *state);
void vp_net_state_free (VpNetState *state);
const VpSavedSysctl *vp_net_state_sysctl (const VpNetState *state,
                                          const char *key);
void vp_net_state_save_sysctl (VpNetState *state, const char *key,
                               const char *before, const char *ours);

/* "" for a state with nothing in it.  Caller frees. */
char *vp_net_state_to_string (const VpNetState *state);
/* Lines that it does not know are an error: VP_NET_ERROR_FAILED. */
VpNetState *vp_net_state_parse (const char *text, GError **error);

/* The file; one that is absent is an empty state.  An empty state removes the
 * file. */
VpNetState *vp_net_state_load (const char *path, GError **error);
bool vp_net_state_store (const char *path, const char *text, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetState, vp_net_state_free)
