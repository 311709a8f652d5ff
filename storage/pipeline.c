/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pipeline: each thread walks through all steps with its piece; a ticket that
 * take gives out says when it is its turn to place.  A thread that waits for
 * its turn holds no more than its one piece, which bounds the memory.
 *
 * pthreads' locks and not GLib's: the thread sanitizer sees through these. */
#include "config.h"

#include "storage/pipeline.h"

#include <pthread.h>
#include <time.h>

#define INLINE_PIECES 4u
#define REPORT_NS     100000000

typedef struct {
  const VpPipelineSteps *steps;
  gpointer work;
  pthread_mutex_t lock; /* for all below, and round drivers */
  pthread_cond_t turned, left;
  uint64_t next_ticket, turn;
  bool stop;       /* failed, or cancelled */
  bool exhausted;  /* nothing more to take */
  unsigned active; /* threads at work */
  GError *error;
} Pipeline;

/* Lock held. */
static void
stop (Pipeline *p, GError *error)
{
  if (!p->error)
    p->error = error;
  else
    g_error_free (error);
  p->stop = true;
  (void) pthread_cond_broadcast (&p->turned);
}

static bool
run_unlocked (Pipeline *p,
              bool (*step) (gpointer work, gpointer hand, GError **error),
              gpointer hand, GError **error)
{
  if (!step)
    return true;
  (void) pthread_mutex_unlock (&p->lock);
  bool ok = step (p->work, hand, error);
  (void) pthread_mutex_lock (&p->lock);
  return ok;
}

/* Waits, in order.  False: somebody before us has failed. */
static bool
wait_turn (Pipeline *p, uint64_t ticket)
{
  while (p->turn != ticket && !p->stop)
    (void) pthread_cond_wait (&p->turned, &p->lock);
  return !p->stop;
}

/* One piece, lock held at both ends.  False: no more for this thread. */
static bool
do_piece (Pipeline *p, gpointer hand)
{
  const VpPipelineSteps *steps = p->steps;
  GError *error = NULL;
  bool some = true;
  if (!steps->take (p->work, hand, &some, &error)) {
    /* What was taken before may fail yet, and would be the first. */
    p->exhausted = true;
    if (wait_turn (p, p->next_ticket++))
      stop (p, g_steal_pointer (&error));
    g_clear_error (&error);
    return false;
  }
  if (!some) {
    p->exhausted = true;
    return false;
  }
  uint64_t ticket = p->next_ticket++;
  bool ok = run_unlocked (p, steps->prepare, hand, &error);
  if (!wait_turn (p, ticket)) {
    g_clear_error (&error);
    return false;
  }
  if (ok) {
    ok = !steps->place || steps->place (p->work, hand, &error);
    if (ok) {
      p->turn++;
      (void) pthread_cond_broadcast (&p->turned);
      ok = run_unlocked (p, steps->store, hand, &error);
    }
    if (!ok && steps->abandon)
      steps->abandon (p->work, hand);
    else if (ok && steps->finish)
      ok = steps->finish (p->work, hand, &error);
  }
  if (!ok)
    stop (p, error);
  return ok;
}

static gpointer
thread_main (gpointer data)
{
  Pipeline *p = data;
  gpointer hand = p->steps->hire (p->work);
  (void) pthread_mutex_lock (&p->lock);
  while (!p->stop && !p->exhausted && do_piece (p, hand))
    ;
  p->active--;
  (void) pthread_cond_signal (&p->left);
  (void) pthread_mutex_unlock (&p->lock);
  p->steps->dismiss (hand);
  return NULL;
}

/* Lock held. */
static bool
report (Pipeline *p, const VpProgress *progress, uint64_t total)
{
  GError *error = NULL;
  uint64_t done = p->steps->get_done (p->work);
  (void) pthread_mutex_unlock (&p->lock);
  bool ok = vp_progress_update (progress, done, total, &error);
  (void) pthread_mutex_lock (&p->lock);
  if (!ok)
    stop (p, error);
  return ok;
}

/* In the caller's thread: some pieces, or all. */
static void
run_inline (Pipeline *p, const VpProgress *progress, uint64_t total,
            unsigned most)
{
  gpointer hand = p->steps->hire (p->work);
  for (unsigned i = 0; i < most && !p->stop && !p->exhausted; i++)
    if (!report (p, progress, total) || !do_piece (p, hand))
      break;
  p->steps->dismiss (hand);
}

static void
run_threads (Pipeline *p, const VpProgress *progress, uint64_t total,
             unsigned threads)
{
  GThread *members[VP_PIPELINE_MOST_THREADS + 1];
  unsigned n = 0;
  while (n < MIN (threads, G_N_ELEMENTS (members))) {
    p->active++;
    members[n] = g_thread_try_new ("pipeline", thread_main, p, NULL);
    if (!members[n]) {
      p->active--;
      break;
    }
    n++;
  }
  if (n == 0) { /* the system has none to give */
    run_inline (p, progress, total, UINT_MAX);
    return;
  }
  while (p->active > 0) {
    struct timespec end;
    (void) clock_gettime (CLOCK_REALTIME, &end);
    end.tv_nsec += REPORT_NS;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    (void) pthread_cond_timedwait (&p->left, &p->lock, &end);
    if (!p->stop)
      (void) report (p, progress, total);
  }
  (void) pthread_mutex_unlock (&p->lock);
  for (unsigned i = 0; i < n; i++)
    (void) g_thread_join (members[i]);
  (void) pthread_mutex_lock (&p->lock);
}

unsigned
vp_pipeline_default_threads (void)
{
  return CLAMP (g_get_num_processors (), 1, VP_PIPELINE_MOST_THREADS);
}

bool
vp_pipeline_run (const VpPipelineSteps *steps, gpointer work, unsigned threads,
                 const VpProgress *progress, uint64_t total, GError **error)
{
  Pipeline p = { .steps = steps, .work = work };
  if (threads == 0)
    threads = vp_pipeline_default_threads ();
  (void) pthread_mutex_init (&p.lock, NULL);
  (void) pthread_cond_init (&p.turned, NULL);
  (void) pthread_cond_init (&p.left, NULL);
  (void) pthread_mutex_lock (&p.lock);
  run_inline (&p, progress, total, threads == 1 ? UINT_MAX : INLINE_PIECES);
  if (!p.stop && !p.exhausted)
    run_threads (&p, progress, total, threads);
  (void) pthread_mutex_unlock (&p.lock);
  (void) pthread_mutex_destroy (&p.lock);
  (void) pthread_cond_destroy (&p.turned);
  (void) pthread_cond_destroy (&p.left);
  if (!p.error)
    return true;
  g_propagate_error (error, p.error);
  return false;
}
