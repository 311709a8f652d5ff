/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus-private: what bus.c (objects and news) and bus-call.c (methods) have in
 * common.  For these two only. */
#pragma once

#include <gio/gio.h>

#include "daemon/bus.h"
#include "daemon/vprovd1-generated.h"

struct VpBus {
  grefcount ref_count;
  VpManager *manager;
  GDBusConnection *connection;
  bool closed; /* freed by its owner; calls that wait still hold it */

  VpBusLost lost;
  gpointer lost_data;
  unsigned lost_idle;
  unsigned name_lost_id;
  bool exported;
  unsigned job_linger_ms;

  GDBusObjectManagerServer *objects;
  struct Face *face;  /* the Manager's */
  GHashTable *guests; /* name -> Face */
  GHashTable *jobs;   /* id -> Face */
  unsigned n_running, n_failed, n_invalid, n_restart;
};

VpBus *vp_bus_ref (VpBus *bus);
void vp_bus_unref (VpBus *bus);

/* The path of the job's object, which is made now where the manager's news
 * has not come yet; "/" for job 0: nothing was to do.  Caller frees. */
char *vp_bus_show_job (VpBus *bus, unsigned id);
/* The jobs on the bus, sorted by id: GPtrArray of VpDbusJob, borrowed. */
GPtrArray *vp_bus_shown_jobs (VpBus *bus);

/* Answers all method calls on one of our interfaces. */
void vp_bus_call_connect (VpBus *bus, GDBusInterfaceSkeleton *skeleton);
