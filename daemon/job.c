/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* job: see the header.  The phase's lock is pthread's, which
 * ThreadSanitizer sees; GLib's is not visible to it. */
#include "config.h"

#include "daemon/job.h"

#include <pthread.h>

struct VpJob {
  VpJobFunc func;
  VpJobDone done;
  gpointer data, user_data;
  GThread *thread;
  int cancel;
  uint64_t done_bytes, total_bytes;
  pthread_mutex_t lock; /* protects phase */
  char *phase;
};

/* Behind the join. */
static void
report (VpJob *job)
{
  job->done (job, job->data, job->user_data);
  pthread_mutex_destroy (&job->lock);
  g_free (job->phase);
  g_free (job);
}

static gboolean
on_idle (gpointer data)
{
  VpJob *job = data;

  g_thread_join (job->thread);
  report (job);
  return G_SOURCE_REMOVE;
}

static gpointer
thread_main (gpointer data)
{
  VpJob *job = data;
  GSource *source = NULL;

  job->func (job, job->data);
  source = g_idle_source_new ();
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, on_idle, job, NULL);
  /* vp_job_finish () finds it by its user data: no id is shared between the
   * threads. */
  g_source_attach (source, NULL);
  g_source_unref (source);
  return NULL;
}

VpJob *
vp_job_start (VpJobFunc func, gpointer data, VpJobDone done, gpointer user_data)
{
  VpJob *job = g_new0 (VpJob, 1);

  job->func = func;
  job->done = done;
  job->data = data;
  job->user_data = user_data;
  job->phase = g_strdup ("");
  pthread_mutex_init (&job->lock, NULL);
  job->thread = g_thread_new ("vprovd-job", thread_main, job);
  return job;
}

void
vp_job_finish (VpJob *job)
{
  g_thread_join (job->thread);
  /* The idle source that the thread left; nobody else has job as its data. */
  while (g_source_remove_by_user_data (job))
    continue;
  report (job);
}

void
vp_job_cancel (VpJob *job)
{
  g_atomic_int_set (&job->cancel, 1);
}

bool
vp_job_is_cancelled (VpJob *job)
{
  return g_atomic_int_get (&job->cancel) != 0;
}

const int *
vp_job_cancel_flag (VpJob *job)
{
  return &job->cancel;
}

uint64_t *
vp_job_done_bytes (VpJob *job)
{
  return &job->done_bytes;
}

uint64_t *
vp_job_total_bytes (VpJob *job)
{
  return &job->total_bytes;
}

void
vp_job_set_phase (VpJob *job, const char *format, ...)
{
  char *phase = NULL;
  va_list args;

  va_start (args, format);
  phase = g_strdup_vprintf (format, args);
  va_end (args);
  pthread_mutex_lock (&job->lock);
  g_free (job->phase);
  job->phase = phase;
  pthread_mutex_unlock (&job->lock);
}

char *
vp_job_dup_phase (VpJob *job)
{
  char *phase = NULL;

  pthread_mutex_lock (&job->lock);
  phase = g_strdup (job->phase);
  pthread_mutex_unlock (&job->lock);
  return phase;
}
