/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-manager: what bus.c asks of a manager, in memory.  It takes the place
 * of the true one at link time.  A test changes a guest's or a job's status in
 * place and then says so with a verb, as the manager does with its news. */
#pragma once

#include "daemon/error.h"
#include "daemon/manager.h"

VpManager *fake_manager_new (void);
void fake_manager_free (VpManager *manager);

/* The fields of the Manager's properties; borrowed, to be changed in place. */
typedef struct {
  const char *state;
  bool connected;
  uint64_t generation;
  int64_t last_reconcile;
  GPtrArray *problems;
} FakeStatus;
FakeStatus *fake_manager_status (VpManager *manager);
void fake_manager_news (VpManager *manager, VpNews news, const char *guest,
                        unsigned job, const char *detail);

/* Stopped, synced, without addresses.  No news: say VP_NEWS_GUEST_ADDED. */
VpGuestStatus *fake_manager_add_guest (VpManager *manager, const char *name);
void fake_manager_remove_guest (VpManager *manager, const char *name);
void fake_guest_add_address (VpGuestStatus *guest, const char *address);
void fake_guest_add_forward (VpGuestStatus *guest, const char *id,
                             const char *words, VpForwardState state,
                             const char *reason);
void fake_set (char **field, const char *value);

/* A job that a test ends; or, with fake_manager_run_jobs, one that counts up
 * and ends by itself: well, or as the guest's fail says. */
VpJobStatus *fake_manager_add_job (VpManager *manager, const char *guest,
                                   const char *verb);
void fake_manager_end_job (VpManager *manager, unsigned id, int code,
                           const char *message);
void fake_manager_run_jobs (VpManager *manager);
void fake_manager_fail_jobs (VpManager *manager, const char *guest,
                             const char *message);
/* The manager forgets it, as it does some time after its end. */
void fake_manager_drop_job (VpManager *manager, unsigned id);

/* The next call that can fail does, once. */
void fake_manager_fail (VpManager *manager, int code, const char *message);
/* Steps that plan finds, until they are applied. */
void fake_manager_add_step (VpManager *manager, VpStep *step);
/* Every plan is stale so many times. */
void fake_manager_stale (VpManager *manager, unsigned times);

/* The calls since the last question: "start web; stop web".  Caller frees. */
char *fake_manager_calls (VpManager *manager);
