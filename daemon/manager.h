/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager: the main thread's room.  Holds the accepted specs, one job per
 * guest, one for the networks, and the status of all; decides when to
 * reconcile; asks no one and blocks never.  Who wants to hear of changes
 * (bus) sets a listener; manager knows no bus.
 *
 * All functions are for the main thread.  Asynchronous ones follow GIO's
 * pattern: the callback comes later, from the main loop, and calls _finish. */
#pragma once

#include <gio/gio.h>

#include "daemon/configuration.h"
#include "daemon/host.h"
#include "daemon/state.h"
#include "daemon/step.h"
#include "daemon/store.h"
#include "net/net-apply.h"

typedef struct VpManager VpManager;

typedef enum {
  VP_SYNC_SYNCED,
  VP_SYNC_PENDING,  /* a job runs or waits, or steps wait for apply */
  VP_SYNC_INVALID,  /* its file has mistakes; the last good version holds */
  VP_SYNC_FAILED,   /* the last job failed: last_error; tried again */
  VP_SYNC_RETIRED,  /* its file is gone */
  VP_SYNC_CONFLICT, /* needs a person: name taken, data at risk */
  VP_SYNC_UNKNOWN,  /* not observed yet, or the hypervisor does not answer */
} VpSync;

const char *vp_sync_to_string (VpSync sync);

typedef struct {
  char *nic;
  char *address;
  char *mac;
  char *source; /* "static": from the spec, "reserved": our DHCP reservation */
} VpGuestAddress;

/* A guest as the bus shows it; exists for every spec, also a bad one. */
typedef struct {
  char *name;
  char *uuid; /* "" where it never was accepted */
  char *source_path;
  char *description;
  char *digest;    /* of the accepted definition */
  char *state;     /* undefined stopped starting running paused stopping
                      crashed unknown */
  char *sub_state; /* what a job does now, else "" */
  char *wanted;    /* "running", "stopped" */
  VpSync sync;
  char *accel; /* "kvm", "tcg", "test", "" */
  bool restart_required;
  GPtrArray *pending;   /* char *: changes that wait for a restart or apply */
  GPtrArray *problems;  /* VpProblem */
  GPtrArray *addresses; /* VpGuestAddress */
  GPtrArray *forwards;  /* VpForwardStatus, with id "tcp:8080" */
  GPtrArray *forward_words;         /* char *, same order: "tcp 8080 -> 80" */
  char *error_name, *error_message; /* last error, "" where there is none */
  unsigned restarts;
  int64_t started; /* usec since 1970, 0 when it does not run */
} VpGuestStatus;

/* A job as the bus shows it. */
typedef struct {
  unsigned id;
  char *guest;     /* "" for the networks' */
  char *verb;      /* "reconcile", "start", "stop", "apply" */
  char *phase;     /* "observing", "running 2/5: create volume ...", "done" */
  double progress; /* 0 to 1 */
  bool progress_valid;
  uint64_t bytes;
  int64_t started; /* usec since 1970 */
  bool cancelable;
  bool finished;
  char *error_name, *error_message; /* "" on success */
} VpJobStatus;

typedef enum {
  VP_NEWS_MANAGER, /* name NULL: state, problems, counters, link */
  VP_NEWS_GUEST_ADDED,
  VP_NEWS_GUEST_CHANGED,
  VP_NEWS_GUEST_REMOVED,
  VP_NEWS_GUEST_EVENT, /* detail: "started", "crashed", ... */
  VP_NEWS_JOB_NEW,     /* job id in job */
  VP_NEWS_JOB_CHANGED,
  VP_NEWS_JOB_REMOVED,
  VP_NEWS_RELOADING, /* detail "begin" or "end" */
} VpNews;

typedef void (*VpManagerListener) (VpNews news, const char *guest, unsigned job,
                                   const char *detail, gpointer user_data);

/* Borrows host and store for its life.  config is borrowed too. */
VpManager *vp_manager_new (const VpConfig *config, VpHost *host,
                           VpStore *store);
/* Reads the specs, starts watching.  Jobs begin once the hypervisor is
 * there. */
bool vp_manager_start (VpManager *manager, GError **error);
void vp_manager_set_listener (VpManager *manager, VpManagerListener listener,
                              gpointer user_data);
/* No new jobs; running ones are cancelled and waited for.  Guests are not
 * touched.  Returns when no job thread is left. */
void vp_manager_stop (VpManager *manager);
void vp_manager_free (VpManager *manager);

/* starting synced reconciling degraded paused stopping; static string. */
const char *vp_manager_get_state (VpManager *manager);
bool vp_manager_is_connected (VpManager *manager);
const char *vp_manager_get_uri (VpManager *manager);
uint64_t vp_manager_get_generation (VpManager *manager);
int64_t vp_manager_get_last_reconcile (VpManager *manager); /* usec, 1970 */
/* Every file that did not load.  VpProblem, borrowed until the next
 * iteration of the loop. */
const GPtrArray *vp_manager_get_problems (VpManager *manager);
/* Names, sorted: GPtrArray of char *, caller unrefs. */
GPtrArray *vp_manager_list_guests (VpManager *manager);
/* Borrowed until the next iteration of the loop; NULL where there is none. */
const VpGuestStatus *vp_manager_get_guest (VpManager *manager,
                                           const char *name);
const VpJobStatus *vp_manager_get_job (VpManager *manager, unsigned id);
GArray *vp_manager_list_jobs (VpManager *manager); /* of unsigned */
bool vp_manager_cancel_job (VpManager *manager, unsigned id, GError **error);

/* Reads the spec folders again, now.  ret_problems (VpProblem, caller
 * unrefs) has every problem of every file. */
void vp_manager_reload (VpManager *manager, GPtrArray **ret_problems);
/* Parses text as the file NAME.xml of that kind ("guest", "network", "pool",
 * "image") and checks it against what is accepted; accepts nothing.  From the
 * bus: a <domain> file or <libvirt> fragment is a problem where !trusted. */
GPtrArray *vp_manager_verify (VpManager *manager, const char *kind,
                              const char *name, const char *path,
                              const char *text, size_t len, bool trusted);
/* The accepted text of a guest's spec; NULL where there is none. */
char *vp_manager_get_spec (VpManager *manager, const char *name);

/* names: NULL-terminated, empty for all.  The result is a plan id and steps
 * (VpStep), which apply takes. */
void vp_manager_plan_async (VpManager *manager, const char *const *names,
                            GAsyncReadyCallback callback, gpointer user_data);
GPtrArray *vp_manager_plan_finish (VpManager *manager, GAsyncResult *result,
                                   char **ret_plan_id, GError **error);
/* Runs what plan_id planned, steps with risk included, if nothing changed
 * since (VP_ERROR_PLAN_STALE); "" reconciles all of it anew.  Gives a job
 * id; where several guests are concerned, that of the last to end. */
bool vp_manager_apply (VpManager *manager, const char *plan_id,
                       unsigned *ret_job, GError **error);
/* Wanted state by a person's word. */
bool vp_manager_start_guest (VpManager *manager, const char *name,
                             unsigned *ret_job, GError **error);
bool vp_manager_stop_guest (VpManager *manager, const char *name,
                            unsigned *ret_job, GError **error);
bool vp_manager_reconcile_guest (VpManager *manager, const char *name,
                                 unsigned *ret_job, GError **error);

/* The text of a spec file for an unmarked domain; writes and marks nothing
 * itself: whoever calls puts the file into guests/, which takes the domain
 * over without a change to it.  VP_ERROR_NAME_TAKEN where it is ours
 * already. */
void vp_manager_adopt_async (VpManager *manager, const char *domain,
                             GAsyncReadyCallback callback, gpointer user_data);
char *vp_manager_adopt_finish (VpManager *manager, GAsyncResult *result,
                               GError **error);

/* forward is "GUEST:PORT" or "GUEST:PORT/udp".  VpForwardCheck. */
void vp_manager_forward_check_async (VpManager *manager, const char *forward,
                                     GAsyncReadyCallback callback,
                                     gpointer user_data);
GPtrArray *vp_manager_forward_check_finish (VpManager *manager,
                                            GAsyncResult *result,
                                            GError **error);
