/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-private: the inside of manager, shared by its files:
 *   manager         life, specs, events, who runs next
 *   manager-guest   a guest's passes: start, result, holds, back-off, status
 *   manager-net     the networks' job, forward checks
 *   manager-plan    plan, apply, verify, adopt
 * Main thread. */
#pragma once

#include "daemon/catalog.h"
#include "daemon/guest-job.h"
#include "daemon/job.h"
#include "daemon/manager.h"
#include "daemon/units.h"

/* One guest at run time. */
typedef struct {
  char *name;
  VpGuestStatus *status;

  bool dirty;     /* wants a pass */
  bool allow_all; /* "apply": the next pass runs every step */
  bool asked;     /* a person asked: every step but those that risk data */
  bool
      start_asked; /* a person asked for a start: a clean shutdown is no hold */
  unsigned wanted_job; /* id promised to a caller for the next pass, or 0 */

  VpJob *job; /* the pass that runs, or NULL */
  VpGuestJob *job_data;
  unsigned job_id; /* 0 until it is shown on the bus */

  /* Of the last pass. */
  bool observed;
  VpPower power;
  bool exists;
  char *conflict;
  GPtrArray *waiting; /* char *: steps that wait for apply */
  char *error_name, *error_message;
  char *accel_warning;
  VpAccel accel;

  unsigned failures; /* in a row: back-off */
  gint64 not_before; /* monotonic usec */
  guint retry_source;
  bool went_down;  /* crashed, or was stopped by a stranger's hand */
  unsigned starts; /* that followed too soon upon one another */
  gint64 last_start;
} VpManagedGuest;

typedef struct {
  VpJobStatus status;
  VpManagedGuest *guest; /* NULL: the networks', or over */
  VpJob *job;            /* while it runs */
  gint64 ended;          /* monotonic usec */
} VpManagedJob;

typedef struct {
  char *id;
  uint64_t generation;
  GPtrArray *guests; /* char * */
  bool all;          /* of every guest, also those whose files went */
} VpKeptPlan;

struct VpManager {
  const VpConfig *config;
  VpHost *host;
  VpStore *store;
  VpCatalog *catalog;
  VpSpecDir *spec_dir;
  char *boot_id;

  VpManagerListener listener;
  gpointer listener_data;

  GHashTable *guests; /* name -> VpManagedGuest */
  GHashTable *jobs;   /* id -> VpManagedJob */
  unsigned last_job_id;
  unsigned running; /* guest passes under way */
  GPtrArray *asked; /* VpJob: plans, checks, adoptions under way */

  GPtrArray *problems;
  uint64_t generation;
  gint64 last_reconcile;
  char *paused_reason;
  bool stopping;
  bool scanned;

  guint schedule_source, rescan_source, sample_source;

  /* The networks. */
  bool net_dirty;
  VpJob *net_job;
  struct VpNetJob *net_job_data;
  unsigned net_failures;
  guint net_retry_source;
  char *net_error;
  GPtrArray *forward_status; /* VpForwardStatus of the last run */
  VpNetHostConfig net_config;
  VpUnits *units; /* NULL: dnsmasq is not a unit */
  VpNetWatch *net_watch;
  guint net_watch_source;
  gint64 net_heal_window;
  unsigned net_heals;

  VpKeptPlan plan;
};

/* manager */
void vp_manager_news (VpManager *manager, VpNews news, const char *guest,
                      unsigned job, const char *detail);
void vp_manager_schedule (VpManager *manager);
void vp_manager_moved (VpManager *manager); /* generation + 1 */
/* Makes the run-time guests agree with the catalog's. */
void vp_manager_sync_guests (VpManager *manager);
/* The guest's pass is wanted; not before its back-off is over unless now. */
void vp_manager_touch (VpManager *manager, VpManagedGuest *guest, bool now);
VpManagedGuest *vp_manager_find (VpManager *manager, const char *name,
                                 GError **error);

/* A person says that the folders are right: what is gone is gone. */
void vp_manager_confirm (VpManager *manager);

/* manager-guest */
VpManagedGuest *vp_managed_guest_new (const char *name);
void vp_managed_guest_free (VpManagedGuest *guest);
void vp_manager_start_pass (VpManager *manager, VpManagedGuest *guest);
/* Schedules again when guest's not_before is reached. */
void vp_manager_wake_later (VpManager *manager, VpManagedGuest *guest);
/* What a pass needs, for a plan's dry run too. */
/* gone: as if its file's absence was believed. */
VpGuestJob *vp_manager_make_guest_job (VpManager *manager, const char *name,
                                       bool gone);
void vp_manager_refresh (VpManager *manager, VpManagedGuest *guest);
bool vp_manager_needs_net (VpManager *manager, const char *name);
bool vp_manager_is_wanted_up (VpManager *manager, const char *name);
bool vp_manager_set_hold (VpManager *manager, const char *name, bool hold,
                          GError **error);
unsigned vp_manager_new_job (VpManager *manager, const char *guest,
                             const char *verb);
void vp_manager_end_job (VpManager *manager, unsigned id, const GError *error);
/* Shows running passes on the bus and samples their progress. */
void vp_manager_sample (VpManager *manager);

/* manager-net */
void vp_manager_net_init (VpManager *manager);
void vp_manager_net_clear (VpManager *manager);
void vp_manager_net_touch (VpManager *manager);
void vp_manager_net_start_pass (VpManager *manager);

/* manager-plan */
void vp_manager_plan_clear (VpManager *manager);
bool vp_manager_may_ask (VpManager *manager, GError **error);
/* A thread for a question; joined when the manager stops. */
void vp_manager_ask (VpManager *manager, VpJobFunc func, gpointer data,
                     VpJobDone done);
void vp_manager_asked (VpManager *manager, VpJob *job);
