/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus: objects, properties and signals.
 *
 *     manager's news -> refresh (): the object's properties take the manager's
 *                       values at once, so that who asks hears the truth
 *                    -> GObject's notification, which the generated code turns
 *                       into PropertiesChanged
 *
 * A face is one object on the bus with its pace: the first change is told at
 * once, then its notifications are frozen for 100 ms, so that a guest whose
 * job counts bytes costs at most ten signals a second.  What changed and
 * changed back within that time is not told at all.
 *
 * The Manager's object cannot be among those of the object manager, whose
 * path it has; it is exported by itself. */
#include "config.h"

#include "daemon/bus-private.h"

#include <string.h>

#include "daemon/bus-record.h"
#include "daemon/error.h"

#define PACE_MS       100
#define JOB_LINGER_MS 30000

typedef struct Face {
  VpBus *bus; /* borrowed */
  char *key;  /* guest's name; NULL for a job and for the Manager */
  GDBusInterfaceSkeleton *skeleton;
  char *path;
  int64_t told; /* monotonic: when changes were let go last */
  unsigned pace_timer;
  unsigned linger_timer;
  bool frozen;

  /* What this guest adds to the Manager's counters. */
  bool running, failed, invalid, restart;
} Face;

static void
face_free (Face *face)
{
  if (face == NULL)
    return;
  g_clear_handle_id (&face->pace_timer, g_source_remove);
  g_clear_handle_id (&face->linger_timer, g_source_remove);
  if (face->frozen)
    g_object_thaw_notify (G_OBJECT (face->skeleton));
  g_object_unref (face->skeleton);
  g_free (face->path);
  g_free (face->key);
  g_free (face);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Face, face_free)

static Face *
face_new (VpBus *bus, GDBusInterfaceSkeleton *skeleton, char *path)
{
  Face *face = g_new0 (Face, 1);

  face->bus = bus;
  face->skeleton = skeleton;
  face->path = path;
  vp_bus_call_connect (bus, skeleton);
  return face;
}

static void
face_let_go (Face *face)
{
  g_clear_handle_id (&face->pace_timer, g_source_remove);
  if (face->frozen)
    g_object_thaw_notify (G_OBJECT (face->skeleton));
  face->frozen = false;
  face->told = g_get_monotonic_time ();
}

static gboolean
on_pace (gpointer user_data)
{
  Face *face = user_data;

  face->pace_timer = 0;
  face_let_go (face);
  return G_SOURCE_REMOVE;
}

/* To be called before properties are set. */
static void
face_pace (Face *face)
{
  int64_t now = g_get_monotonic_time ();
  int64_t due = face->told + PACE_MS * 1000;

  if (face->frozen)
    return;
  if (now >= due) {
    face->told = now;
    return;
  }
  g_object_freeze_notify (G_OBJECT (face->skeleton));
  face->frozen = true;
  face->pace_timer =
      g_timeout_add ((unsigned) ((due - now) / 1000 + 1), on_pace, face);
}

/* Everything that is known goes out now, before a signal that speaks of it. */
static void
face_flush (Face *face)
{
  face_let_go (face);
  g_dbus_interface_skeleton_flush (face->skeleton);
}

static void
face_show (Face *face)
{
  g_autoptr (GDBusObjectSkeleton) object =
      g_dbus_object_skeleton_new (face->path);

  g_dbus_object_skeleton_add_interface (object, face->skeleton);
  g_dbus_object_manager_server_export (face->bus->objects, object);
}

static void
face_hide (Face *face)
{
  (void) g_dbus_object_manager_server_unexport (face->bus->objects, face->path);
}

/* The Manager */

static void
refresh_manager (VpBus *bus)
{
  VpDbusManager *skeleton = VP_DBUS_MANAGER (bus->face->skeleton);
  VpManager *manager = bus->manager;

  face_pace (bus->face);
  g_object_freeze_notify (G_OBJECT (skeleton));
  vp_dbus_manager_set_libvirt_connected (skeleton,
                                         vp_manager_is_connected (manager));
  vp_dbus_manager_set_state (skeleton, vp_manager_get_state (manager));
  vp_dbus_manager_set_generation (skeleton,
                                  vp_manager_get_generation (manager));
  vp_dbus_manager_set_last_reconcile_timestamp (
      skeleton, (uint64_t) vp_manager_get_last_reconcile (manager));
  vp_dbus_manager_set_problems (
      skeleton, vp_bus_problems (vp_manager_get_problems (manager)));
  g_object_thaw_notify (G_OBJECT (skeleton));
}

/* The counters alone: with thousands of guests, one change must not cost a
 * walk over all of them. */
static void
refresh_counts (VpBus *bus)
{
  VpDbusManager *skeleton = VP_DBUS_MANAGER (bus->face->skeleton);

  face_pace (bus->face);
  vp_dbus_manager_set_nguests (skeleton, g_hash_table_size (bus->guests));
  vp_dbus_manager_set_nguests_running (skeleton, bus->n_running);
  vp_dbus_manager_set_nguests_failed (skeleton, bus->n_failed);
  vp_dbus_manager_set_nguests_invalid (skeleton, bus->n_invalid);
  vp_dbus_manager_set_nguests_restart_required (skeleton, bus->n_restart);
}

static void
make_manager (VpBus *bus)
{
  static const char *const features[] = { "plan", "adopt", "forward-check",
                                          NULL };
  VpDbusManager *skeleton = vp_dbus_manager_skeleton_new ();
  g_autofree char *uri = vp_bus_text (vp_manager_get_uri (bus->manager));

  vp_dbus_manager_set_version (skeleton, PACKAGE_VERSION);
  vp_dbus_manager_set_features (skeleton, features);
  vp_dbus_manager_set_libvirt_uri (skeleton, uri);
  bus->face = face_new (bus, G_DBUS_INTERFACE_SKELETON (skeleton),
                        g_strdup (VP_BUS_ROOT));
}

/* Guests */

static void
count (VpBus *bus, const Face *face, int sign)
{
  bus->n_running += (unsigned) (face->running * sign);
  bus->n_failed += (unsigned) (face->failed * sign);
  bus->n_invalid += (unsigned) (face->invalid * sign);
  bus->n_restart += (unsigned) (face->restart * sign);
}

static void
count_again (VpBus *bus, Face *face, const VpGuestStatus *status)
{
  count (bus, face, -1);
  face->running = g_strcmp0 (status->state, "running") == 0;
  face->failed = status->sync == VP_SYNC_FAILED ||
                 status->sync == VP_SYNC_CONFLICT ||
                 g_strcmp0 (status->state, "crashed") == 0;
  face->invalid = status->sync == VP_SYNC_INVALID;
  face->restart = status->restart_required;
  count (bus, face, 1);
}

static void
set_text (Face *face, const char *property, const char *text)
{
  g_autofree char *valid = vp_bus_text (text);

  g_object_set (face->skeleton, property, valid, NULL);
}

static char **
text_list (const GPtrArray *texts)
{
  unsigned n = texts != NULL ? texts->len : 0;
  char **list = g_new0 (char *, n + 1);

  for (unsigned i = 0; i < n; i++)
    list[i] = vp_bus_text (g_ptr_array_index (texts, i));
  return list;
}

static void
refresh_guest (Face *face, const VpGuestStatus *status)
{
  VpDbusGuest *skeleton = VP_DBUS_GUEST (face->skeleton);
  g_auto (GStrv) pending = text_list (status->pending);

  face_pace (face);
  g_object_freeze_notify (G_OBJECT (skeleton));
  set_text (face, "uuid", status->uuid);
  set_text (face, "description", status->description);
  set_text (face, "source-path", status->source_path);
  set_text (face, "digest", status->digest);
  set_text (face, "state", status->state);
  set_text (face, "sub-state", status->sub_state);
  set_text (face, "desired-state", status->wanted);
  set_text (face, "sync", vp_sync_to_string (status->sync));
  set_text (face, "accel", status->accel);
  vp_dbus_guest_set_pending_changes (skeleton, (const char *const *) pending);
  vp_dbus_guest_set_restart_required (skeleton, status->restart_required);
  vp_dbus_guest_set_problems (skeleton, vp_bus_problems (status->problems));
  vp_dbus_guest_set_addresses (skeleton, vp_bus_addresses (status->addresses));
  vp_dbus_guest_set_forwards (skeleton, vp_bus_forwards (status));
  vp_dbus_guest_set_last_error (
      skeleton, vp_bus_error (status->error_name, status->error_message));
  vp_dbus_guest_set_start_timestamp (skeleton, (uint64_t) status->started);
  vp_dbus_guest_set_nrestarts (skeleton, status->restarts);
  g_object_thaw_notify (G_OBJECT (skeleton));
  count_again (face->bus, face, status);
}

static void
remove_guest (VpBus *bus, const char *name)
{
  Face *face = g_hash_table_lookup (bus->guests, name);

  if (face == NULL)
    return;
  count (bus, face, -1);
  face_hide (face);
  (void) g_hash_table_remove (bus->guests, name);
  refresh_counts (bus);
}

/* Added or changed: whichever the news says, the object follows what there
 * is. */
static void
show_guest (VpBus *bus, const char *name)
{
  const VpGuestStatus *status = vp_manager_get_guest (bus->manager, name);
  Face *face = g_hash_table_lookup (bus->guests, name);

  if (status == NULL) {
    remove_guest (bus, name);
    return;
  }
  if (face != NULL) {
    refresh_guest (face, status);
  } else {
    VpDbusGuest *skeleton = vp_dbus_guest_skeleton_new ();

    vp_dbus_guest_set_name (skeleton, name);
    face = face_new (bus, G_DBUS_INTERFACE_SKELETON (skeleton),
                     vp_bus_guest_path (name));
    face->key = g_strdup (name);
    (void) g_hash_table_insert (bus->guests, face->key, face);
    refresh_guest (face, status);
    face_show (face);
  }
  refresh_counts (bus);
}

/* Jobs */

static void
refresh_job (Face *face, const VpJobStatus *status)
{
  VpDbusJob *skeleton = VP_DBUS_JOB (face->skeleton);

  face_pace (face);
  g_object_freeze_notify (G_OBJECT (skeleton));
  set_text (face, "verb", status->verb);
  set_text (face, "guest", status->guest);
  set_text (face, "phase", status->phase);
  vp_dbus_job_set_progress (skeleton, status->progress);
  vp_dbus_job_set_progress_valid (skeleton, status->progress_valid);
  vp_dbus_job_set_bytes (skeleton, status->bytes);
  vp_dbus_job_set_start_timestamp (skeleton, (uint64_t) status->started);
  vp_dbus_job_set_cancelable (skeleton,
                              status->cancelable && !status->finished);
  if (status->finished)
    vp_dbus_job_set_error (
        skeleton, vp_bus_error (status->error_name, status->error_message));
  g_object_thaw_notify (G_OBJECT (skeleton));
}

static gboolean
on_linger (gpointer user_data)
{
  Face *face = user_data;

  face->linger_timer = 0;
  face_hide (face);
  (void) g_hash_table_remove (
      face->bus->jobs,
      GUINT_TO_POINTER (vp_dbus_job_get_id (VP_DBUS_JOB (face->skeleton))));
  return G_SOURCE_REMOVE;
}

static const char *
job_result (const char *error_name)
{
  g_autoptr (GError) cancelled =
      g_error_new_literal (VP_ERROR, VP_ERROR_CANCELLED, "");

  if (*error_name == '\0')
    return "done";
  return strcmp (error_name, vp_error_bus_name (cancelled)) == 0 ? "cancelled"
                                                                 : "failed";
}

static void
finish_job (Face *face)
{
  VpDbusJob *skeleton = VP_DBUS_JOB (face->skeleton);
  Face *guest =
      g_hash_table_lookup (face->bus->guests, vp_dbus_job_get_guest (skeleton));
  const char *name, *message;

  if (vp_dbus_job_get_finished (skeleton))
    return;
  /* What the job made of its guest is told before its end. */
  if (guest != NULL)
    face_flush (guest);
  vp_dbus_job_set_cancelable (skeleton, false);
  vp_dbus_job_set_finished (skeleton, true);
  face_flush (face);

  g_variant_get (vp_dbus_job_get_error (skeleton), "(&s&s)", &name, &message);
  vp_dbus_job_emit_completed (skeleton, *name == '\0', name, message);
  vp_dbus_manager_emit_job_removed (VP_DBUS_MANAGER (face->bus->face->skeleton),
                                    vp_dbus_job_get_id (skeleton), face->path,
                                    vp_dbus_job_get_guest (skeleton),
                                    job_result (name), message);
  face->linger_timer =
      g_timeout_add (face->bus->job_linger_ms, on_linger, face);
}

static Face *
add_job (VpBus *bus, const VpJobStatus *status)
{
  VpDbusJob *skeleton = vp_dbus_job_skeleton_new ();
  Face *face = face_new (bus, G_DBUS_INTERFACE_SKELETON (skeleton),
                         vp_bus_job_path (status->id));

  vp_dbus_job_set_id (skeleton, status->id);
  vp_dbus_job_set_error (skeleton, vp_bus_error (NULL, NULL));
  (void) g_hash_table_insert (bus->jobs, GUINT_TO_POINTER (status->id), face);
  refresh_job (face, status);
  face_show (face);
  vp_dbus_manager_emit_job_new (
      VP_DBUS_MANAGER (bus->face->skeleton), status->id, face->path,
      vp_dbus_job_get_guest (skeleton), vp_dbus_job_get_verb (skeleton));
  return face;
}

/* New, changed or ended: the object follows what there is.  A job of which
 * the manager knows nothing any more has ended with what was known last. */
static void
show_job (VpBus *bus, unsigned id, bool ended)
{
  const VpJobStatus *status = vp_manager_get_job (bus->manager, id);
  Face *face = g_hash_table_lookup (bus->jobs, GUINT_TO_POINTER (id));

  if (face == NULL && status == NULL)
    return;
  if (face == NULL)
    face = add_job (bus, status);
  else if (status != NULL &&
           !vp_dbus_job_get_finished (VP_DBUS_JOB (face->skeleton)))
    refresh_job (face, status);
  if (ended || (status != NULL && status->finished))
    finish_job (face);
}

char *
vp_bus_show_job (VpBus *bus, unsigned id)
{
  if (id == 0)
    return g_strdup ("/");
  if (!g_hash_table_contains (bus->jobs, GUINT_TO_POINTER (id)))
    show_job (bus, id, false);
  return vp_bus_job_path (id);
}

static int
compare_jobs (gconstpointer a, gconstpointer b)
{
  unsigned first = vp_dbus_job_get_id (*(VpDbusJob *const *) a);
  unsigned second = vp_dbus_job_get_id (*(VpDbusJob *const *) b);

  return (first > second) - (first < second);
}

GPtrArray *
vp_bus_shown_jobs (VpBus *bus)
{
  GPtrArray *jobs = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer face;

  g_hash_table_iter_init (&iter, bus->jobs);
  while (g_hash_table_iter_next (&iter, NULL, &face))
    g_ptr_array_add (jobs, ((Face *) face)->skeleton);
  g_ptr_array_sort (jobs, compare_jobs);
  return jobs;
}

/* News */

static void
tell_event (VpBus *bus, const char *guest, const char *event)
{
  g_autofree char *valid = vp_bus_text (event);
  Face *face;

  show_guest (bus, guest);
  face = g_hash_table_lookup (bus->guests, guest);
  if (face != NULL)
    face_flush (face);
  vp_dbus_manager_emit_guest_event (VP_DBUS_MANAGER (bus->face->skeleton),
                                    guest, valid,
                                    g_variant_new ("a{sv}", NULL));
}

static void
on_news (VpNews news, const char *guest, unsigned job, const char *detail,
         gpointer user_data)
{
  VpBus *bus = user_data;

  switch (news) {
  case VP_NEWS_MANAGER: refresh_manager (bus); break;
  case VP_NEWS_GUEST_ADDED:
  case VP_NEWS_GUEST_CHANGED: show_guest (bus, guest); break;
  case VP_NEWS_GUEST_REMOVED: remove_guest (bus, guest); break;
  case VP_NEWS_GUEST_EVENT: tell_event (bus, guest, detail); break;
  case VP_NEWS_JOB_NEW:
  case VP_NEWS_JOB_CHANGED: show_job (bus, job, false); break;
  case VP_NEWS_JOB_REMOVED: show_job (bus, job, true); break;
  case VP_NEWS_RELOADING:
    vp_dbus_manager_emit_reloading (VP_DBUS_MANAGER (bus->face->skeleton),
                                    g_strcmp0 (detail, "begin") == 0);
    break;
  default: break;
  }
}

static void
show_all (VpBus *bus)
{
  g_autoptr (GPtrArray) guests = vp_manager_list_guests (bus->manager);
  g_autoptr (GArray) jobs = vp_manager_list_jobs (bus->manager);

  for (unsigned i = 0; i < guests->len; i++)
    show_guest (bus, g_ptr_array_index (guests, i));
  for (unsigned i = 0; i < jobs->len; i++)
    show_job (bus, g_array_index (jobs, unsigned, i), false);
  refresh_manager (bus);
}

/* Connection and name */

static gboolean
tell_lost (gpointer user_data)
{
  VpBus *bus = user_data;
  g_autoptr (GError) error =
      g_error_new (VP_ERROR, VP_ERROR_FAILED,
                   g_dbus_connection_is_closed (bus->connection)
                       ? "the connection to the message bus is lost"
                       : "another process took the bus name " VP_BUS_NAME);

  bus->lost_idle = 0;
  if (bus->lost != NULL)
    bus->lost (bus, error, bus->lost_data);
  return G_SOURCE_REMOVE;
}

static void
lose (VpBus *bus)
{
  if (bus->lost_idle == 0)
    bus->lost_idle = g_idle_add (tell_lost, bus);
}

static void
on_closed (GDBusConnection *connection, gboolean remote_vanished, GError *error,
           VpBus *bus)
{
  lose (bus);
}

static void
on_name_lost (GDBusConnection *connection, const char *sender, const char *path,
              const char *interface, const char *signal, GVariant *parameters,
              gpointer user_data)
{
  lose (user_data);
}

static GDBusConnection *
connect_to (const char *address, GError **error)
{
  g_autofree char *found = NULL;

  if (strcmp (address, "system") == 0 || strcmp (address, "session") == 0) {
    found = g_dbus_address_get_for_bus_sync (
        *address == 's' && address[1] == 'y' ? G_BUS_TYPE_SYSTEM
                                             : G_BUS_TYPE_SESSION,
        NULL, error);
    if (found == NULL)
      return NULL;
  }
  return g_dbus_connection_new_for_address_sync (
      found != NULL ? found : address,
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, error);
}

static bool
take_name (VpBus *bus, GError **error)
{
  enum { DO_NOT_QUEUE = 4, PRIMARY_OWNER = 1 };
  g_autoptr (GVariant) reply = NULL;
  unsigned answer;

  bus->name_lost_id = g_dbus_connection_signal_subscribe (
      bus->connection, "org.freedesktop.DBus", "org.freedesktop.DBus",
      "NameLost", "/org/freedesktop/DBus", VP_BUS_NAME,
      G_DBUS_SIGNAL_FLAGS_NONE, on_name_lost, bus, NULL);
  reply = g_dbus_connection_call_sync (
      bus->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
      "org.freedesktop.DBus", "RequestName",
      g_variant_new ("(su)", VP_BUS_NAME, DO_NOT_QUEUE), G_VARIANT_TYPE ("(u)"),
      G_DBUS_CALL_FLAGS_NONE, -1, NULL, error);
  if (reply == NULL) {
    g_dbus_error_strip_remote_error (*error);
    g_prefix_error (error, "cannot own the bus name " VP_BUS_NAME ": ");
    return false;
  }
  g_variant_get (reply, "(u)", &answer);
  if (answer == PRIMARY_OWNER)
    return true;
  g_set_error (error, VP_ERROR, VP_ERROR_IN_USE,
               "another vprovd runs: the bus name " VP_BUS_NAME " is taken");
  return false;
}

VpBus *
vp_bus_new (VpManager *manager, const char *address, VpBusLost lost,
            gpointer user_data, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  VpBus *bus = g_new0 (VpBus, 1);

  g_ref_count_init (&bus->ref_count);
  bus->manager = manager;
  bus->lost = lost;
  bus->lost_data = user_data;
  bus->job_linger_ms = JOB_LINGER_MS;
  bus->guests = g_hash_table_new_full (g_str_hash, g_str_equal, NULL,
                                       (GDestroyNotify) face_free);
  bus->jobs = g_hash_table_new_full (g_direct_hash, g_direct_equal, NULL,
                                     (GDestroyNotify) face_free);
  bus->objects = g_dbus_object_manager_server_new (VP_BUS_ROOT);
  make_manager (bus);

  bus->connection = connect_to (address, &local_error);
  if (bus->connection == NULL) {
    g_prefix_error (&local_error, "cannot connect to the message bus: ");
    goto fail;
  }
  g_dbus_connection_set_exit_on_close (bus->connection, false);
  (void) g_signal_connect (bus->connection, "closed", G_CALLBACK (on_closed),
                           bus);
  if (!g_dbus_interface_skeleton_export (bus->face->skeleton, bus->connection,
                                         VP_BUS_ROOT, &local_error))
    goto fail;
  bus->exported = true;
  vp_manager_set_listener (manager, on_news, bus);
  show_all (bus);
  g_dbus_object_manager_server_set_connection (bus->objects, bus->connection);
  if (!take_name (bus, &local_error))
    goto fail;
  return bus;

fail:
  g_propagate_error (error, g_steal_pointer (&local_error));
  vp_bus_free (bus);
  return NULL;
}

void
vp_bus_set_job_linger (VpBus *bus, unsigned linger_ms)
{
  bus->job_linger_ms = linger_ms;
}

VpBus *
vp_bus_ref (VpBus *bus)
{
  g_ref_count_inc (&bus->ref_count);
  return bus;
}

void
vp_bus_unref (VpBus *bus)
{
  if (!g_ref_count_dec (&bus->ref_count))
    return;
  g_clear_object (&bus->connection);
  g_free (bus);
}

void
vp_bus_free (VpBus *bus)
{
  if (bus == NULL)
    return;
  bus->closed = true;
  g_clear_handle_id (&bus->lost_idle, g_source_remove);
  if (bus->exported) {
    vp_manager_set_listener (bus->manager, NULL, NULL);
    g_dbus_interface_skeleton_unexport (bus->face->skeleton);
  }
  g_dbus_object_manager_server_set_connection (bus->objects, NULL);
  g_clear_object (&bus->objects);
  g_clear_pointer (&bus->guests, g_hash_table_unref);
  g_clear_pointer (&bus->jobs, g_hash_table_unref);
  g_clear_pointer (&bus->face, face_free);
  if (bus->connection != NULL) {
    (void) g_signal_handlers_disconnect_by_data (bus->connection, bus);
    if (bus->name_lost_id != 0)
      g_dbus_connection_signal_unsubscribe (bus->connection, bus->name_lost_id);
    /* Closing gives the name back; what was said before goes out first. */
    (void) g_dbus_connection_flush_sync (bus->connection, NULL, NULL);
    (void) g_dbus_connection_close_sync (bus->connection, NULL, NULL);
  }
  vp_bus_unref (bus);
}
