/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-job: waiting for jobs, and the job verbs.
 *
 * A wait listens before the call that makes the job is sent, and hears
 * signals in the order in which the daemon sent them: JobRemoved that came
 * before the reply is remembered in the main context and counts.  When the
 * daemon leaves, no JobRemoved will come: that ends the wait too. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  char *words; /* "start web" */
  char *phase;
  double progress; /* below 0: not known */
} Pending;

struct CtlWait {
  Ctl *ctl;
  GMainLoop *loop;
  GHashTable *pending; /* path -> Pending */
  char **watched;      /* guests; NULL: all */
  bool watching;
  bool failed;
  bool drawn;
  unsigned subscriptions[3];
};

static void
pending_free (Pending *pending)
{
  g_free (pending->words);
  g_free (pending->phase);
  g_free (pending);
}

/* Progress: one line on the terminal, for the job that spoke last. */

static void
erase (CtlWait *wait)
{
  if (!wait->drawn)
    return;
  (void) fputs ("\r\033[K", stderr);
  (void) fflush (stderr);
  wait->drawn = false;
}

static void
draw (CtlWait *wait, const Pending *pending)
{
  enum { WIDTH = 20 };
  g_autofree char *phase = NULL;

  if (!wait->ctl->progress)
    return;
  phase = ctl_safe (pending->phase);
  erase (wait);
  if (pending->progress >= 0) {
    int filled = (int) (CLAMP (pending->progress, 0.0, 1.0) * WIDTH);

    (void) fprintf (stderr, "[%.*s%*s] %3d%% ", filled, "####################",
                    WIDTH - filled, "", (int) (pending->progress * 100));
  }
  (void) fprintf (stderr, "%s: %.60s", pending->words, phase);
  (void) fflush (stderr);
  wait->drawn = true;
}

static void
on_properties (GDBusConnection *connection, const char *sender,
               const char *path, const char *interface, const char *signal,
               GVariant *parameters, gpointer user_data)
{
  CtlWait *wait = user_data;
  Pending *pending = g_hash_table_lookup (wait->pending, path);
  g_autoptr (GVariant) changed = NULL;
  const char *phase;
  gboolean valid;

  if (pending == NULL)
    return;
  g_variant_get (parameters, "(&s@a{sv}@as)", NULL, &changed, NULL);
  if (g_variant_lookup (changed, "Phase", "&s", &phase)) {
    g_free (pending->phase);
    pending->phase = g_strdup (phase);
  }
  (void) g_variant_lookup (changed, "Progress", "d", &pending->progress);
  if (g_variant_lookup (changed, "ProgressValid", "b", &valid) && !valid)
    pending->progress = -1;
  draw (wait, pending);
}

static bool
is_watched (const CtlWait *wait, const char *guest)
{
  return wait->watching &&
         (wait->watched == NULL ||
          g_strv_contains ((const char *const *) wait->watched, guest));
}

static void
on_removed (GDBusConnection *connection, const char *sender, const char *path,
            const char *interface, const char *signal, GVariant *parameters,
            gpointer user_data)
{
  CtlWait *wait = user_data;
  const char *job, *guest, *result, *message;
  Pending *pending;

  g_variant_get (parameters, "(u&o&s&s&s)", NULL, &job, &guest, &result,
                 &message);
  pending = g_hash_table_lookup (wait->pending, job);
  if (pending == NULL && !is_watched (wait, guest))
    return;
  if (strcmp (result, "done") != 0) {
    const char *words = *guest != '\0' ? guest : "networks";

    erase (wait);
    (void) ctl_complain ("%s: %s", pending != NULL ? pending->words : words,
                         *message != '\0' ? message : result);
    wait->failed = true;
  }
  (void) g_hash_table_remove (wait->pending, job);
  if (g_hash_table_size (wait->pending) == 0)
    g_main_loop_quit (wait->loop);
}

static void
on_owner (GDBusConnection *connection, const char *sender, const char *path,
          const char *interface, const char *signal, GVariant *parameters,
          gpointer user_data)
{
  CtlWait *wait = user_data;
  const char *owner;

  g_variant_get_child (parameters, 2, "&s", &owner);
  if (*owner != '\0' || g_hash_table_size (wait->pending) == 0)
    return;
  erase (wait);
  (void) ctl_complain ("vprovd went away before the job ended; it goes on "
                       "with what is left when it is back");
  wait->failed = true;
  g_hash_table_remove_all (wait->pending);
  g_main_loop_quit (wait->loop);
}

static void
on_closed (GDBusConnection *connection, gboolean vanished, GError *error,
           CtlWait *wait)
{
  erase (wait);
  (void) ctl_complain ("the message bus went away before the job ended");
  wait->failed = true;
  g_hash_table_remove_all (wait->pending);
  g_main_loop_quit (wait->loop);
}

CtlWait *
ctl_wait_new (Ctl *ctl)
{
  CtlWait *wait = g_new0 (CtlWait, 1);

  wait->ctl = ctl;
  wait->loop = g_main_loop_new (NULL, false);
  wait->pending = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
                                         (GDestroyNotify) pending_free);
  wait->subscriptions[0] = g_dbus_connection_signal_subscribe (
      ctl->connection, CTL_NAME, CTL_MANAGER, "JobRemoved", CTL_ROOT, NULL,
      G_DBUS_SIGNAL_FLAGS_NONE, on_removed, wait, NULL);
  wait->subscriptions[1] = g_dbus_connection_signal_subscribe (
      ctl->connection, "org.freedesktop.DBus", "org.freedesktop.DBus",
      "NameOwnerChanged", "/org/freedesktop/DBus", CTL_NAME,
      G_DBUS_SIGNAL_FLAGS_NONE, on_owner, wait, NULL);
  if (ctl->progress)
    wait->subscriptions[2] = g_dbus_connection_signal_subscribe (
        ctl->connection, CTL_NAME, "org.freedesktop.DBus.Properties",
        "PropertiesChanged", NULL, CTL_JOB, G_DBUS_SIGNAL_FLAGS_NONE,
        on_properties, wait, NULL);
  (void) g_signal_connect (ctl->connection, "closed", G_CALLBACK (on_closed),
                           wait);
  return wait;
}

void
ctl_wait_add (CtlWait *wait, const char *path, const char *words)
{
  Pending *pending;

  if (strcmp (path, "/") == 0)
    return;
  pending = g_new0 (Pending, 1);
  pending->words = g_strdup (words);
  pending->phase = g_strdup ("");
  pending->progress = -1;
  (void) g_hash_table_insert (wait->pending, g_strdup (path), pending);
}

void
ctl_wait_watch (CtlWait *wait, const char *const *guests)
{
  wait->watching = true;
  if (guests != NULL && guests[0] != NULL)
    wait->watched = g_strdupv ((char **) guests);
}

bool
ctl_wait_run (CtlWait *wait)
{
  if (g_hash_table_size (wait->pending) > 0)
    g_main_loop_run (wait->loop);
  erase (wait);
  return !wait->failed;
}

void
ctl_wait_free (CtlWait *wait)
{
  if (wait == NULL)
    return;
  (void) g_signal_handlers_disconnect_by_data (wait->ctl->connection, wait);
  for (size_t i = 0; i < G_N_ELEMENTS (wait->subscriptions); i++)
    if (wait->subscriptions[i] != 0)
      g_dbus_connection_signal_unsubscribe (wait->ctl->connection,
                                            wait->subscriptions[i]);
  g_hash_table_unref (wait->pending);
  g_strfreev (wait->watched);
  g_main_loop_unref (wait->loop);
  g_free (wait);
}

/* Verbs */

static void
add_job (CtlTable *table, GVariant *job)
{
  g_autofree char *id =
      g_strdup_printf ("%" G_GUINT64_FORMAT, ctl_number (job, "id"));
  g_autofree char *progress = NULL;
  double done = 0;

  if (ctl_bool (job, "finished"))
    progress = g_strdup ("ended");
  else if (ctl_bool (job, "progress-valid") &&
           g_variant_lookup (job, "progress", "d", &done))
    progress = g_strdup_printf ("%d%%", (int) (done * 100));
  ctl_table_add (table, id, CTL_PLAIN);
  ctl_table_add (table, ctl_text (job, "guest"), CTL_PLAIN);
  ctl_table_add (table, ctl_text (job, "verb"), CTL_PLAIN);
  ctl_table_add (table, progress != NULL ? progress : "", CTL_PLAIN);
  ctl_table_add (table, ctl_text (job, "phase"), CTL_PLAIN);
}

CtlExit
ctl_job_list (Ctl *ctl, char **args)
{
  static const char *const heads[] = { "JOB",      "GUEST", "VERB",
                                       "PROGRESS", "PHASE", NULL };
  g_autoptr (CtlTable) table = ctl_table_new (heads);
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GVariant) jobs = NULL;
  GVariantIter iter;
  GVariant *job;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  reply = ctl_call_manager (ctl, "ListJobs",
                            g_variant_new ("(@a{sv})", ctl_no_options ()),
                            "(aa{sv})", &error);
  if (reply == NULL)
    return ctl_complain ("%s", error->message);
  jobs = g_variant_get_child_value (reply, 0);
  if (ctl->json != CTL_JSON_OFF) {
    ctl_print_json (ctl, jobs);
    return CTL_OK;
  }
  g_variant_iter_init (&iter, jobs);
  while ((job = g_variant_iter_next_value (&iter)) != NULL) {
    add_job (table, job);
    g_variant_unref (job);
  }
  ctl_table_print (ctl, table, "jobs");
  return CTL_OK;
}

static bool
cancel (Ctl *ctl, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autofree char *path = NULL;
  uint64_t id;

  if (!g_ascii_string_to_unsigned (text, 10, 1, UINT32_MAX, &id, NULL)) {
    (void) ctl_complain ("'%s' is no number of a job", text);
    return false;
  }
  path = g_strdup_printf (CTL_ROOT "/job/%" G_GUINT64_FORMAT, id);
  reply =
      ctl_call (ctl, path, CTL_JOB, "Cancel",
                g_variant_new ("(@a{sv})", ctl_no_options ()), NULL, &error);
  if (reply != NULL)
    return true;
  if (g_error_matches (error, G_DBUS_ERROR, G_DBUS_ERROR_UNKNOWN_OBJECT) ||
      g_error_matches (error, G_DBUS_ERROR, G_DBUS_ERROR_UNKNOWN_METHOD))
    (void) ctl_complain ("there is no job %s", text);
  else
    (void) ctl_complain ("cancel job %s: %s", text, error->message);
  return false;
}

CtlExit
ctl_job_cancel (Ctl *ctl, char **args)
{
  bool success = true;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  for (char **id = args; *id != NULL; id++)
    success &= cancel (ctl, *id);
  return success ? CTL_OK : CTL_FAILED;
}
