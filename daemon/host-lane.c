/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/host-lane.h"

#include "daemon/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#define CLOSE_WAIT_MS 2000

/* Shared by the caller and its lane; the mutex of the lanes guards it. */
typedef struct {
  VpLaneWork work;
  gpointer data;
  GDestroyNotify data_free;
  GError *error;
  bool ok, done, abandoned;
} Call;

typedef struct {
  VpLanes *lanes;
  Call *call; /* given by the caller, taken back when done */
  void *link; /* the thread's alone */
} Lane;

struct VpLanes {
  const VpLaneOps *ops;
  gpointer user_data;
  GDestroyNotify user_data_free;
  unsigned max_lanes, max_retired;

  /* One condition for all: few threads wait here, and none for long. */
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  unsigned n_lanes, n_retired;
  GQueue idle;   /* Lane; the last used first */
  unsigned refs; /* the owner's and one for each thread */
  bool closing;
};

static void
call_free (Call *call)
{
  if (call->data && call->data_free)
    call->data_free (call->data);
  g_clear_error (&call->error);
  g_free (call);
}

static struct timespec
deadline_in (unsigned timeout_ms)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  t.tv_sec += timeout_ms / 1000;
  t.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

VpLanes *
vp_lanes_new (const VpLaneOps *ops, unsigned max_lanes, unsigned max_retired,
              gpointer user_data, GDestroyNotify user_data_free)
{
  VpLanes *lanes = g_new0 (VpLanes, 1);
  pthread_condattr_t attr;

  lanes->ops = ops;
  lanes->max_lanes = max_lanes;
  lanes->max_retired = max_retired;
  lanes->user_data = user_data;
  lanes->user_data_free = user_data_free;
  lanes->refs = 1;
  g_queue_init (&lanes->idle);
  pthread_mutex_init (&lanes->mutex, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&lanes->changed, &attr);
  pthread_condattr_destroy (&attr);
  return lanes;
}

/* With the mutex held, which it releases. */
static void
unref_and_unlock (VpLanes *lanes)
{
  bool last = --lanes->refs == 0;

  pthread_cond_broadcast (&lanes->changed);
  pthread_mutex_unlock (&lanes->mutex);
  if (!last)
    return;
  if (lanes->user_data_free)
    lanes->user_data_free (lanes->user_data);
  pthread_cond_destroy (&lanes->changed);
  pthread_mutex_destroy (&lanes->mutex);
  g_free (lanes);
}

/* On the lane's thread, without the mutex. */
static void
run_call (Lane *lane, Call *call)
{
  const VpLaneOps *ops = lane->lanes->ops;

  if (lane->link && !ops->is_usable (lane->link)) {
    ops->close (lane->link);
    lane->link = NULL;
  }
  if (!lane->link)
    lane->link = ops->open (lane->lanes->user_data, &call->error);
  if (lane->link)
    call->ok = call->work (lane->link, call->data, &call->error);
}

static void *
run_lane (void *data)
{
  Lane *lane = data;
  VpLanes *lanes = lane->lanes;
  Call *abandoned = NULL;

  pthread_mutex_lock (&lanes->mutex);
  while (!abandoned) {
    Call *call;

    while (!lane->call && !lanes->closing)
      pthread_cond_wait (&lanes->changed, &lanes->mutex);
    if (!lane->call)
      break;
    call = lane->call;
    pthread_mutex_unlock (&lanes->mutex);
    run_call (lane, call);
    pthread_mutex_lock (&lanes->mutex);
    lane->call = NULL;
    if (call->abandoned) {
      abandoned = call;
    } else {
      call->done = true; /* the caller frees it */
      g_queue_push_head (&lanes->idle, lane);
    }
    pthread_cond_broadcast (&lanes->changed);
  }
  g_queue_remove (&lanes->idle, lane);
  pthread_mutex_unlock (&lanes->mutex);

  if (abandoned)
    call_free (abandoned);
  if (lane->link)
    lanes->ops->close (lane->link);
  g_free (lane);

  pthread_mutex_lock (&lanes->mutex);
  if (abandoned)
    lanes->n_retired--;
  else
    lanes->n_lanes--;
  unref_and_unlock (lanes);
  return NULL;
}

/* With the mutex held.  Signals are the main thread's. */
static Lane *
add_lane (VpLanes *lanes, GError **error)
{
  Lane *lane = g_new0 (Lane, 1);
  sigset_t all, old;
  pthread_t thread;
  int errnum;

  lane->lanes = lanes;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  errnum = pthread_create (&thread, NULL, run_lane, lane);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (errnum != 0) {
    g_free (lane);
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "cannot start a thread: %s",
                 g_strerror (errnum));
    return NULL;
  }
  pthread_detach (thread);
  lanes->n_lanes++;
  lanes->refs++;
  return lane;
}

/* With the mutex held: an idle lane, a new one, or the next to be idle. */
static Lane *
get_lane (VpLanes *lanes, const struct timespec *deadline, unsigned timeout_ms,
          GError **error)
{
  for (;;) {
    if (lanes->n_retired >= lanes->max_retired) {
      g_set_error (error, VP_ERROR, VP_ERROR_TIMEOUT,
                   "%u calls do not come back; nothing is asked until one does",
                   lanes->n_retired);
      return NULL;
    }
    if (!g_queue_is_empty (&lanes->idle))
      return g_queue_pop_head (&lanes->idle);
    if (lanes->n_lanes < lanes->max_lanes)
      return add_lane (lanes, error);
    if (pthread_cond_timedwait (&lanes->changed, &lanes->mutex, deadline) ==
        ETIMEDOUT) {
      g_set_error (error, VP_ERROR, VP_ERROR_TIMEOUT,
                   "all %u connections were busy for %u ms", lanes->n_lanes,
                   timeout_ms);
      return NULL;
    }
  }
}

bool
vp_lanes_call (VpLanes *lanes, VpLaneWork work, gpointer data,
               GDestroyNotify data_free, unsigned timeout_ms,
               gpointer *ret_data, GError **error)
{
  struct timespec deadline = deadline_in (timeout_ms);
  Call *call = g_new0 (Call, 1);
  Lane *lane;
  int errnum = 0;
  bool ok;

  call->work = work;
  call->data = data;
  call->data_free = data_free;
  if (ret_data)
    *ret_data = NULL;

  pthread_mutex_lock (&lanes->mutex);
  lane = get_lane (lanes, &deadline, timeout_ms, error);
  if (lane) {
    lane->call = call;
    pthread_cond_broadcast (&lanes->changed);
    while (!call->done && errnum != ETIMEDOUT)
      errnum =
          pthread_cond_timedwait (&lanes->changed, &lanes->mutex, &deadline);
    if (!call->done) {
      call->abandoned = true;
      lanes->n_lanes--;
      lanes->n_retired++;
    }
  }
  pthread_mutex_unlock (&lanes->mutex);

  if (lane && !call->done) {
    g_set_error (error, VP_ERROR, VP_ERROR_TIMEOUT,
                 "no answer within %u ms, whether it was done is unknown",
                 timeout_ms);
    return false;
  }
  ok = call->ok;
  if (call->error)
    g_propagate_error (error, g_steal_pointer (&call->error));
  if (lane && ret_data)
    *ret_data = g_steal_pointer (&call->data);
  call_free (call);
  return ok;
}

unsigned
vp_lanes_count_retired (VpLanes *lanes)
{
  unsigned n;

  pthread_mutex_lock (&lanes->mutex);
  n = lanes->n_retired;
  pthread_mutex_unlock (&lanes->mutex);
  return n;
}

void
vp_lanes_free (VpLanes *lanes)
{
  struct timespec deadline = deadline_in (CLOSE_WAIT_MS);

  if (!lanes)
    return;
  pthread_mutex_lock (&lanes->mutex);
  lanes->closing = true;
  pthread_cond_broadcast (&lanes->changed);
  while (lanes->n_lanes > 0 &&
         pthread_cond_timedwait (&lanes->changed, &lanes->mutex, &deadline) !=
             ETIMEDOUT)
    ;
  unref_and_unlock (lanes);
}
