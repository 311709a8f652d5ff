/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* units: a call to systemd queues a job and returns at once; what became of
 * the job is told by the signal JobRemoved.  So a call here subscribes first,
 * then queues, then turns a main context of its own until the signal for its
 * job has come: it cannot be missed, for it waits in that context. */
#include "config.h"

#include "daemon/units.h"

#include "daemon/error.h"

#include <gio/gio.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define BUS_NAME           "org.freedesktop.systemd1"
#define MANAGER_PATH       "/org/freedesktop/systemd1"
#define MANAGER            BUS_NAME ".Manager"
#define DEFAULT_TIMEOUT_MS 30000
#define PING_TIMEOUT_MS    2000 /* asked once at start, on the main thread */
#define DNSMASQ_UNIT       "vprovd-dnsmasq@%s.service"

struct VpUnits {
  char *address;
  int timeout_ms;
  pthread_mutex_t mutex; /* guards connection */
  GDBusConnection *connection;
};

VpUnits *
vp_units_new (const char *address, unsigned timeout_ms)
{
  VpUnits *units = g_new0 (VpUnits, 1);

  units->address = g_strdup (address);
  units->timeout_ms = timeout_ms ? (int) timeout_ms : DEFAULT_TIMEOUT_MS;
  pthread_mutex_init (&units->mutex, NULL);
  return units;
}

void
vp_units_free (VpUnits *units)
{
  if (!units)
    return;
  if (units->connection) {
    (void) g_dbus_connection_close_sync (units->connection, NULL, NULL);
    g_object_unref (units->connection);
  }
  pthread_mutex_destroy (&units->mutex);
  g_free (units->address);
  g_free (units);
}

/* A private connection: the shared one belongs to the main loop. */
static GDBusConnection *
connect_bus (VpUnits *units, GError **error)
{
  g_autofree char *address = g_strdup (units->address);

  if (!address)
    address = g_dbus_address_get_for_bus_sync (G_BUS_TYPE_SYSTEM, NULL, error);
  if (!address)
    return NULL;
  return g_dbus_connection_new_for_address_sync (
      address,
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, error);
}

/* A reference of the caller's. */
static GDBusConnection *
get_connection (VpUnits *units, GError **error)
{
  GDBusConnection *connection;

  pthread_mutex_lock (&units->mutex);
  if (units->connection && g_dbus_connection_is_closed (units->connection))
    g_clear_object (&units->connection);
  if (!units->connection)
    units->connection = connect_bus (units, error);
  connection = units->connection ? g_object_ref (units->connection) : NULL;
  pthread_mutex_unlock (&units->mutex);
  if (!connection)
    g_prefix_error (error, "systemd: ");
  return connection;
}

/* GDBus's errors to ours; name is NULL or receives systemd's error name. */
static void
set_call_error (GError **error, const char *what, const char *unit,
                GError *cause, char **ret_name)
{
  VpErrorCode code = VP_ERROR_FAILED;

  if (g_error_matches (cause, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) ||
      g_error_matches (cause, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY))
    code = VP_ERROR_TIMEOUT;
  if (ret_name)
    *ret_name = g_dbus_error_get_remote_error (cause);
  (void) g_dbus_error_strip_remote_error (cause);
  g_set_error (error, VP_ERROR, code, "systemd: cannot %s %s: %s", what, unit,
               cause->message);
}

static GVariant *
call (VpUnits *units, GDBusConnection *connection, const char *path,
      const char *interface, const char *method, GVariant *parameters,
      const char *reply_type, GError **error)
{
  return g_dbus_connection_call_sync (
      connection, BUS_NAME, path, interface, method, parameters,
      G_VARIANT_TYPE (reply_type), G_DBUS_CALL_FLAGS_NONE, units->timeout_ms,
      NULL, error);
}

bool
vp_units_is_available (VpUnits *units)
{
  g_autoptr (GDBusConnection) connection = NULL;
  g_autoptr (GVariant) reply = NULL;

  if (!units->address && access ("/run/systemd/system", F_OK) != 0)
    return false;
  connection = get_connection (units, NULL);
  if (!connection)
    return false;
  reply = g_dbus_connection_call_sync (
      connection, BUS_NAME, MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping",
      NULL, G_VARIANT_TYPE ("()"), G_DBUS_CALL_FLAGS_NONE, PING_TIMEOUT_MS,
      NULL, NULL);
  return reply != NULL;
}

/* ---- waiting for a job ---- */

typedef struct {
  GMainContext *context;
  GHashTable *results; /* job's path -> result, as signals tell */
  bool out_of_time;
} Wait;

static void
on_job_removed (GDBusConnection *connection, const char *sender,
                const char *path, const char *interface, const char *signal,
                GVariant *parameters, gpointer user_data)
{
  Wait *wait = user_data;
  const char *job, *result;

  if (!g_variant_is_of_type (parameters, G_VARIANT_TYPE ("(uoss)")))
    return;
  g_variant_get (parameters, "(u&o&s&s)", NULL, &job, NULL, &result);
  g_hash_table_insert (wait->results, g_strdup (job), g_strdup (result));
}

static gboolean
on_timeout (gpointer data)
{
  ((Wait *) data)->out_of_time = true;
  return G_SOURCE_REMOVE;
}

/* The job's result, or NULL when the time is up.  Borrowed from wait. */
static const char *
wait_for_job (Wait *wait, const char *job, int timeout_ms)
{
  GSource *timeout = g_timeout_source_new ((unsigned) timeout_ms);
  const char *result;

  g_source_set_callback (timeout, on_timeout, wait, NULL);
  g_source_attach (timeout, wait->context);
  while (!(result = g_hash_table_lookup (wait->results, job)) &&
         !wait->out_of_time)
    g_main_context_iteration (wait->context, TRUE);
  g_source_destroy (timeout);
  g_source_unref (timeout);
  return result;
}

static bool
queue_and_wait (VpUnits *units, GDBusConnection *connection, Wait *wait,
                const char *method, const char *what, const char *unit,
                char **ret_remote_error, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  g_autoptr (GVariant) reply = NULL;
  const char *job, *result;

  reply = call (units, connection, MANAGER_PATH, MANAGER, method,
                g_variant_new ("(ss)", unit, "replace"), "(o)", &local_error);
  if (!reply) {
    set_call_error (error, what, unit, local_error, ret_remote_error);
    return false;
  }
  g_variant_get (reply, "(&o)", &job);
  result = wait_for_job (wait, job, units->timeout_ms);
  if (!result) {
    g_set_error (error, VP_ERROR, VP_ERROR_TIMEOUT,
                 "systemd: %s did not %s within %d ms", unit, what,
                 units->timeout_ms);
    return false;
  }
  if (strcmp (result, "done") != 0 && strcmp (result, "skipped") != 0) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "systemd: cannot %s %s: %s, see \"journalctl -u %s\"", what,
                 unit, result, unit);
    return false;
  }
  return true;
}

static bool
run_job (VpUnits *units, const char *method, const char *what, const char *unit,
         char **ret_remote_error, GError **error)
{
  g_autoptr (GDBusConnection) connection = get_connection (units, error);
  g_autoptr (GVariant) ignored = NULL;
  Wait wait = { NULL };
  unsigned subscription;
  bool ok;

  if (!connection)
    return false;
  wait.context = g_main_context_new ();
  wait.results =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_main_context_push_thread_default (wait.context);
  subscription = g_dbus_connection_signal_subscribe (
      connection, BUS_NAME, MANAGER, "JobRemoved", MANAGER_PATH, NULL,
      G_DBUS_SIGNAL_FLAGS_NONE, on_job_removed, &wait, NULL);
  /* Without it systemd need not send signals; a second time is refused. */
  ignored = call (units, connection, MANAGER_PATH, MANAGER, "Subscribe", NULL,
                  "()", NULL);
  ok = queue_and_wait (units, connection, &wait, method, what, unit,
                       ret_remote_error, error);
  g_dbus_connection_signal_unsubscribe (connection, subscription);
  /* What was on its way to the callback is dropped here, before wait goes. */
  while (g_main_context_iteration (wait.context, FALSE))
    ;
  g_main_context_pop_thread_default (wait.context);
  g_main_context_unref (wait.context);
  g_hash_table_unref (wait.results);
  return ok;
}

bool
vp_units_start (VpUnits *units, const char *unit, GError **error)
{
  g_autoptr (GDBusConnection) connection = get_connection (units, error);
  g_autoptr (GVariant) ignored = NULL;

  if (!connection)
    return false;
  /* One that failed too often would not be started; unknown is fine. */
  ignored = call (units, connection, MANAGER_PATH, MANAGER, "ResetFailedUnit",
                  g_variant_new ("(s)", unit), "()", NULL);
  return run_job (units, "StartUnit", "start", unit, NULL, error);
}

static bool
is_no_such_unit (const char *remote_error)
{
  return g_strcmp0 (remote_error, BUS_NAME ".NoSuchUnit") == 0;
}

bool
vp_units_stop (VpUnits *units, const char *unit, GError **error)
{
  g_autofree char *remote_error = NULL;
  g_autoptr (GError) local_error = NULL;

  if (run_job (units, "StopUnit", "stop", unit, &remote_error, &local_error) ||
      is_no_such_unit (remote_error))
    return true;
  g_propagate_error (error, g_steal_pointer (&local_error));
  return false;
}

bool
vp_units_hang_up (VpUnits *units, const char *unit, GError **error)
{
  g_autoptr (GDBusConnection) connection = get_connection (units, error);
  g_autoptr (GError) local_error = NULL;
  g_autoptr (GVariant) reply = NULL;

  if (!connection)
    return false;
  reply =
      call (units, connection, MANAGER_PATH, MANAGER, "KillUnit",
            g_variant_new ("(ssi)", unit, "main", SIGHUP), "()", &local_error);
  if (reply)
    return true;
  set_call_error (error, "reload", unit, local_error, NULL);
  return false;
}

bool
vp_units_is_active (VpUnits *units, const char *unit, bool *ret_active,
                    GError **error)
{
  g_autoptr (GDBusConnection) connection = get_connection (units, error);
  g_autoptr (GError) local_error = NULL;
  g_autoptr (GVariant) path = NULL;
  g_autoptr (GVariant) value = NULL;
  g_autoptr (GVariant) state = NULL;
  g_autofree char *remote_error = NULL;
  const char *word;

  if (!connection)
    return false;
  path = call (units, connection, MANAGER_PATH, MANAGER, "GetUnit",
               g_variant_new ("(s)", unit), "(o)", &local_error);
  if (path) {
    const char *object;

    g_variant_get (path, "(&o)", &object);
    value =
        call (units, connection, object, "org.freedesktop.DBus.Properties",
              "Get", g_variant_new ("(ss)", BUS_NAME ".Unit", "ActiveState"),
              "(v)", &local_error);
  }
  if (!value) {
    g_autoptr (GError) cause = NULL;

    set_call_error (&cause, "look at", unit, local_error, &remote_error);
    if (is_no_such_unit (remote_error)) {
      *ret_active = false;
      return true;
    }
    g_propagate_error (error, g_steal_pointer (&cause));
    return false;
  }
  g_variant_get (value, "(v)", &state);
  word = g_variant_is_of_type (state, G_VARIANT_TYPE_STRING)
             ? g_variant_get_string (state, NULL)
             : "";
  *ret_active = strcmp (word, "active") == 0 ||
                strcmp (word, "reloading") == 0 ||
                strcmp (word, "activating") == 0;
  return true;
}

/* ---- dnsmasq ---- */

static bool
dnsmasq_start (const char *network, const char *config_path, gpointer user_data,
               GError **error)
{
  /* The unit knows the path by the network's name. */
  g_autofree char *unit = g_strdup_printf (DNSMASQ_UNIT, network);

  return vp_units_start (user_data, unit, error);
}

static bool
dnsmasq_stop (const char *network, gpointer user_data, GError **error)
{
  g_autofree char *unit = g_strdup_printf (DNSMASQ_UNIT, network);

  return vp_units_stop (user_data, unit, error);
}

static bool
dnsmasq_reload (const char *network, gpointer user_data, GError **error)
{
  g_autofree char *unit = g_strdup_printf (DNSMASQ_UNIT, network);

  return vp_units_hang_up (user_data, unit, error);
}

static bool
dnsmasq_running (const char *network, bool *ret_running, gpointer user_data,
                 GError **error)
{
  g_autofree char *unit = g_strdup_printf (DNSMASQ_UNIT, network);

  return vp_units_is_active (user_data, unit, ret_running, error);
}

void
vp_units_get_dnsmasq_ops (VpUnits *units, VpDnsmasqOps *ret_ops)
{
  *ret_ops = (VpDnsmasqOps){ .start = dnsmasq_start,
                             .stop = dnsmasq_stop,
                             .reload = dnsmasq_reload,
                             .running = dnsmasq_running,
                             .user_data = units };
}
