/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-lane: blocking calls with a deadline.
 *
 * A lane is a thread with a link (a connection) of its own and one call in
 * flight.  Lanes are made as they are needed, up to a number, and kept.  A
 * call that passes its deadline leaves its lane behind: the caller goes on,
 * the lane is retired, and when the call comes back at last the lane closes
 * its link and is gone.  Retired lanes are counted: with too many of them
 * nothing more is asked, for whatever holds them would hold the next one
 * too.
 *
 *     caller                 lane
 *     call () ------ work -> open link where needed, work (link, data)
 *       |  waits             |
 *       |<------ done -------|            -> idle
 *     deadline: abandoned    ...  comes back: free data, close link, end
 *
 * pthread primitives throughout, as ThreadSanitizer does not see GLib's. */
#pragma once

#include <stdbool.h>

#include <glib.h>

typedef struct {
  /* All three on the lane's thread; they may block. */
  void *(*open) (gpointer user_data, GError **error);
  bool (*is_usable) (void *link);
  void (*close) (void *link);
} VpLaneOps;

/* data is the call's own copy of what it needs and gives back. */
typedef bool (*VpLaneWork) (void *link, gpointer data, GError **error);

typedef struct VpLanes VpLanes;

/* ops is borrowed for ever.  user_data is freed with the last lane. */
VpLanes *vp_lanes_new (const VpLaneOps *ops, unsigned max_lanes,
                       unsigned max_retired, gpointer user_data,
                       GDestroyNotify user_data_free);
/* No call may be waiting any more.  Idle lanes are waited for (for a moment,
 * closing may block); retired ones end when they can. */
void vp_lanes_free (VpLanes *lanes);

/* Blocks the calling thread until work has come back or timeout_ms have
 * passed (VP_ERROR_TIMEOUT).  Takes data: after an abandoned call it is freed
 * by the lane, else it comes back in ret_data (which may be NULL: freed),
 * also where work failed. */
bool vp_lanes_call (VpLanes *lanes, VpLaneWork work, gpointer data,
                    GDestroyNotify data_free, unsigned timeout_ms,
                    gpointer *ret_data, GError **error);

/* For tests. */
unsigned vp_lanes_count_retired (VpLanes *lanes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpLanes, vp_lanes_free)
