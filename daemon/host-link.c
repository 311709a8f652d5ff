/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/host-link.h"

#include "daemon/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS   30000

typedef struct {
  VpHostEvent event;
  char *name; /* NULL for the link's own */
  const char *detail;
} Event;

struct VpLink {
  const VpLinkOps *ops;
  gpointer user_data;
  GDestroyNotify user_data_free;

  pthread_mutex_t mutex;
  pthread_cond_t changed;
  unsigned refs;
  void *connection;   /* NULL while there is none */
  const void *broken; /* the last that broke */
  bool closing;
  GQueue inbox; /* Event */
  bool deliver_scheduled;

  /* Main thread. */
  bool connected; /* as the listener was told */
  VpHostListener listener;
  gpointer listener_data;
};

static void
event_free (Event *event)
{
  g_free (event->name);
  g_free (event);
}

VpLink *
vp_link_ref (VpLink *link)
{
  pthread_mutex_lock (&link->mutex);
  link->refs++;
  pthread_mutex_unlock (&link->mutex);
  return link;
}

void
vp_link_unref (gpointer data)
{
  VpLink *link = data;
  bool last;

  pthread_mutex_lock (&link->mutex);
  last = --link->refs == 0;
  pthread_mutex_unlock (&link->mutex);
  if (!last)
    return;
  g_queue_clear_full (&link->inbox, (GDestroyNotify) event_free);
  if (link->user_data_free)
    link->user_data_free (link->user_data);
  pthread_cond_destroy (&link->changed);
  pthread_mutex_destroy (&link->mutex);
  g_free (link);
}

gpointer
vp_link_get_data (VpLink *link)
{
  return link->user_data;
}

/* ---- the inbox ---- */

static gboolean
deliver (gpointer data)
{
  VpLink *link = data;

  for (;;) {
    Event *event;

    pthread_mutex_lock (&link->mutex);
    event = g_queue_pop_head (&link->inbox);
    if (!event)
      link->deliver_scheduled = false;
    pthread_mutex_unlock (&link->mutex);
    if (!event)
      return G_SOURCE_REMOVE;

    if (event->event == VP_HOST_EVENT_CONNECTED)
      link->connected = true;
    else if (event->event == VP_HOST_EVENT_DISCONNECTED)
      link->connected = false;
    if (link->listener)
      link->listener (event->event, event->name, event->detail,
                      link->listener_data);
    event_free (event);
  }
}

void
vp_link_post (VpLink *link, VpHostEvent code, const char *name,
              const char *detail)
{
  Event *event = g_new0 (Event, 1);
  bool schedule;

  event->event = code;
  event->name = g_strdup (name);
  event->detail = detail;
  pthread_mutex_lock (&link->mutex);
  g_queue_push_tail (&link->inbox, event);
  schedule = !link->deliver_scheduled && !link->closing;
  if (schedule) {
    link->deliver_scheduled = true;
    link->refs++;
  }
  pthread_mutex_unlock (&link->mutex);
  if (schedule)
    g_idle_add_full (G_PRIORITY_DEFAULT, deliver, link, vp_link_unref);
}

void
vp_link_set_listener (VpLink *link, VpHostListener listener, gpointer user_data)
{
  link->listener = listener;
  link->listener_data = user_data;
  if (listener && link->connected)
    vp_link_post (link, VP_HOST_EVENT_CONNECTED, NULL, "connected");
}

bool
vp_link_is_connected (VpLink *link)
{
  return link->connected;
}

void
vp_link_break (VpLink *link, const void *connection)
{
  pthread_mutex_lock (&link->mutex);
  link->broken = connection;
  pthread_cond_broadcast (&link->changed);
  pthread_mutex_unlock (&link->mutex);
}

void *
vp_link_share (VpLink *link, void (*take) (void *connection))
{
  void *connection;

  pthread_mutex_lock (&link->mutex);
  connection = link->connection;
  if (connection)
    take (connection);
  pthread_mutex_unlock (&link->mutex);
  return connection;
}

/* ---- the thread ---- */

static bool
is_closing (VpLink *link)
{
  bool closing;

  pthread_mutex_lock (&link->mutex);
  closing = link->closing;
  pthread_mutex_unlock (&link->mutex);
  return closing;
}

/* Waits for the delay, or until it is over with us. */
static void
back_off (VpLink *link, unsigned delay_ms)
{
  struct timespec deadline;
  int errnum = 0;

  clock_gettime (CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += delay_ms / 1000;
  deadline.tv_nsec += (long) (delay_ms % 1000) * 1000000;
  if (deadline.tv_nsec >= 1000000000) {
    deadline.tv_sec++;
    deadline.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock (&link->mutex);
  while (!link->closing && errnum != ETIMEDOUT)
    errnum = pthread_cond_timedwait (&link->changed, &link->mutex, &deadline);
  pthread_mutex_unlock (&link->mutex);
}

/* Holds the connection until it breaks or all is over. */
static void
keep (VpLink *link, void *connection)
{
  pthread_mutex_lock (&link->mutex);
  link->connection = connection;
  pthread_mutex_unlock (&link->mutex);
  vp_link_post (link, VP_HOST_EVENT_CONNECTED, NULL, "connected");

  pthread_mutex_lock (&link->mutex);
  while (link->broken != connection && !link->closing)
    pthread_cond_wait (&link->changed, &link->mutex);
  link->connection = NULL;
  pthread_mutex_unlock (&link->mutex);
  vp_link_post (link, VP_HOST_EVENT_DISCONNECTED, NULL, "the connection broke");
}

static void *
run (void *data)
{
  VpLink *link = data;
  unsigned delay_ms = BACKOFF_FIRST_MS;

  while (!is_closing (link)) {
    void *connection;

    pthread_mutex_lock (&link->mutex);
    link->broken = NULL;
    pthread_mutex_unlock (&link->mutex);
    connection = link->ops->open (link, NULL);
    if (connection) {
      delay_ms = BACKOFF_FIRST_MS;
      keep (link, connection);
      link->ops->close (link, connection);
      continue;
    }
    /* Up to a quarter more, so that many clients do not come at once. */
    back_off (link,
              delay_ms + (unsigned) g_random_int_range (0, (int) delay_ms / 4));
    delay_ms = MIN (2 * delay_ms, BACKOFF_MAX_MS);
  }
  vp_link_unref (link);
  return NULL;
}

/* Signals are the main thread's. */
static int
start_thread (VpLink *link)
{
  sigset_t all, old;
  pthread_t thread;
  int errnum;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  errnum = pthread_create (&thread, NULL, run, link);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (errnum == 0)
    pthread_detach (thread);
  return errnum;
}

VpLink *
vp_link_new (const VpLinkOps *ops, gpointer user_data,
             GDestroyNotify user_data_free, GError **error)
{
  VpLink *link = g_new0 (VpLink, 1);
  pthread_condattr_t attr;
  int errnum;

  link->ops = ops;
  link->user_data = user_data;
  link->user_data_free = user_data_free;
  link->refs = 2; /* the owner's and the thread's */
  g_queue_init (&link->inbox);
  pthread_mutex_init (&link->mutex, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&link->changed, &attr);
  pthread_condattr_destroy (&attr);
  errnum = start_thread (link);
  if (errnum != 0) {
    vp_link_unref (link);
    vp_link_unref (link);
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "cannot start a thread: %s",
                 g_strerror (errnum));
    return NULL;
  }
  return link;
}

void
vp_link_close (VpLink *link)
{
  link->listener = NULL;
  pthread_mutex_lock (&link->mutex);
  link->closing = true;
  pthread_cond_broadcast (&link->changed);
  pthread_mutex_unlock (&link->mutex);
  vp_link_unref (link);
}
