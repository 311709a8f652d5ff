/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* units against a systemd that is a table in this program, on a private bus.
 * It runs on a thread of its own: the calls under test block. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/units.h"

#include <gio/gio.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

static const char introspection[] =
    "<node><interface name='org.freedesktop.systemd1.Manager'>"
    "<method name='Subscribe'/>"
    "<method name='ResetFailedUnit'><arg type='s' direction='in'/></method>"
    "<method name='StartUnit'><arg type='s' direction='in'/>"
    "<arg type='s' direction='in'/><arg type='o' direction='out'/></method>"
    "<method name='StopUnit'><arg type='s' direction='in'/>"
    "<arg type='s' direction='in'/><arg type='o' direction='out'/></method>"
    "<method name='KillUnit'><arg type='s' direction='in'/>"
    "<arg type='s' direction='in'/><arg type='i' direction='in'/></method>"
    "<method name='GetUnit'><arg type='s' direction='in'/>"
    "<arg type='o' direction='out'/></method>"
    "<signal name='JobRemoved'><arg type='u'/><arg type='o'/><arg type='s'/>"
    "<arg type='s'/></signal>"
    "</interface>"
    "<interface name='org.freedesktop.systemd1.Unit'>"
    "<property name='ActiveState' type='s' access='read'/>"
    "</interface></node>";

typedef struct {
  GTestDBus *bus;
  VpUnits *units;
  /* The mock's thread. */
  pthread_t thread;
  GMainContext *context;
  int ready, quit; /* atomic */
  GDBusConnection *connection;
  /* Guarded. */
  pthread_mutex_t mutex;
  bool active;
  GString *log;
} Fixture;

static void note (Fixture *fixture, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static void
note (Fixture *fixture, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  pthread_mutex_lock (&fixture->mutex);
  g_string_append_vprintf (fixture->log, format, args);
  pthread_mutex_unlock (&fixture->mutex);
  va_end (args);
}

static void
set_active (Fixture *fixture, bool active)
{
  pthread_mutex_lock (&fixture->mutex);
  fixture->active = active;
  pthread_mutex_unlock (&fixture->mutex);
}

static void
emit_removed (Fixture *fixture, const char *job, const char *unit,
              const char *result)
{
  g_dbus_connection_emit_signal (
      fixture->connection, NULL, "/org/freedesktop/systemd1",
      "org.freedesktop.systemd1.Manager", "JobRemoved",
      g_variant_new ("(uoss)", 7, job, unit, result), NULL);
}

/* StartUnit and StopUnit.  Units are called for what becomes of them; the job
 * of another unit ends first, and one ends before its reply is out. */
static void
queue_job (Fixture *fixture, GDBusMethodInvocation *invocation,
           const char *unit, bool start)
{
  static const char job[] = "/org/freedesktop/systemd1/job/7";

  if (strstr (unit, "unknown")) {
    g_dbus_method_invocation_return_dbus_error (
        invocation, "org.freedesktop.systemd1.NoSuchUnit", "Unit not loaded.");
    return;
  }
  emit_removed (fixture, "/org/freedesktop/systemd1/job/6", unit, "failed");
  if (strstr (unit, "early")) {
    set_active (fixture, start);
    emit_removed (fixture, job, unit, "done");
  }
  g_dbus_method_invocation_return_value (invocation,
                                         g_variant_new ("(o)", job));
  if (strstr (unit, "good")) {
    set_active (fixture, start);
    emit_removed (fixture, job, unit, "done");
  } else if (strstr (unit, "bad")) {
    emit_removed (fixture, job, unit, "failed");
  }
}

static void
on_call (GDBusConnection *connection, const char *sender, const char *path,
         const char *interface, const char *method, GVariant *parameters,
         GDBusMethodInvocation *invocation, gpointer user_data)
{
  Fixture *fixture = user_data;
  const char *unit = NULL, *who;
  int number;

  if (g_strcmp0 (method, "Subscribe") == 0) {
    g_dbus_method_invocation_return_value (invocation, NULL);
    return;
  }
  g_variant_get_child (parameters, 0, "&s", &unit);
  note (fixture, "%s %s; ", method, unit);
  if (g_strcmp0 (method, "StartUnit") == 0) {
    queue_job (fixture, invocation, unit, true);
  } else if (g_strcmp0 (method, "StopUnit") == 0) {
    queue_job (fixture, invocation, unit, false);
  } else if (g_strcmp0 (method, "KillUnit") == 0) {
    g_variant_get (parameters, "(&s&si)", NULL, &who, &number);
    note (fixture, "%s %d; ", who, number);
    g_dbus_method_invocation_return_value (invocation, NULL);
  } else if (g_strcmp0 (method, "GetUnit") == 0) {
    if (strstr (unit, "unknown"))
      g_dbus_method_invocation_return_dbus_error (
          invocation, "org.freedesktop.systemd1.NoSuchUnit",
          "Unit not loaded.");
    else
      g_dbus_method_invocation_return_value (
          invocation,
          g_variant_new ("(o)", "/org/freedesktop/systemd1/unit/x"));
  } else {
    g_dbus_method_invocation_return_value (invocation, NULL);
  }
}

static GVariant *
on_get (GDBusConnection *connection, const char *sender, const char *path,
        const char *interface, const char *property, GError **error,
        gpointer user_data)
{
  Fixture *fixture = user_data;
  bool active;

  pthread_mutex_lock (&fixture->mutex);
  active = fixture->active;
  pthread_mutex_unlock (&fixture->mutex);
  return g_variant_new_string (active ? "active" : "inactive");
}

static const GDBusInterfaceVTable vtable = { on_call, on_get, NULL, { NULL } };

static void *
run_mock (void *data)
{
  Fixture *fixture = data;
  g_autoptr (GDBusNodeInfo) node =
      g_dbus_node_info_new_for_xml (introspection, NULL);
  g_autoptr (GVariant) reply = NULL;

  g_main_context_push_thread_default (fixture->context);
  fixture->connection = g_dbus_connection_new_for_address_sync (
      g_test_dbus_get_bus_address (fixture->bus),
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, NULL);
  g_assert_nonnull (fixture->connection);
  g_assert_cmpuint (g_dbus_connection_register_object (
                        fixture->connection, "/org/freedesktop/systemd1",
                        node->interfaces[0], &vtable, fixture, NULL, NULL),
                    >, 0);
  g_assert_cmpuint (g_dbus_connection_register_object (
                        fixture->connection, "/org/freedesktop/systemd1/unit/x",
                        node->interfaces[1], &vtable, fixture, NULL, NULL),
                    >, 0);
  reply = g_dbus_connection_call_sync (
      fixture->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
      "org.freedesktop.DBus", "RequestName",
      g_variant_new ("(su)", "org.freedesktop.systemd1", 0), NULL,
      G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);
  g_assert_nonnull (reply);
  g_atomic_int_set (&fixture->ready, 1);
  while (!g_atomic_int_get (&fixture->quit))
    g_main_context_iteration (fixture->context, TRUE);
  g_dbus_connection_close_sync (fixture->connection, NULL, NULL);
  g_object_unref (fixture->connection);
  g_main_context_pop_thread_default (fixture->context);
  return NULL;
}

static void
set_up (Fixture *fixture, gconstpointer data)
{
  fixture->bus = g_test_dbus_new (G_TEST_DBUS_NONE);
  g_test_dbus_up (fixture->bus);
  pthread_mutex_init (&fixture->mutex, NULL);
  fixture->log = g_string_new (NULL);
  fixture->context = g_main_context_new ();
  g_assert_cmpint (pthread_create (&fixture->thread, NULL, run_mock, fixture),
                   ==, 0);
  while (!g_atomic_int_get (&fixture->ready))
    g_usleep (500);
  fixture->units =
      vp_units_new (g_test_dbus_get_bus_address (fixture->bus), 1000);
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  vp_units_free (fixture->units);
  g_atomic_int_set (&fixture->quit, 1);
  g_main_context_wakeup (fixture->context);
  pthread_join (fixture->thread, NULL);
  g_main_context_unref (fixture->context);
  g_string_free (fixture->log, TRUE);
  pthread_mutex_destroy (&fixture->mutex);
  g_test_dbus_down (fixture->bus);
  g_object_unref (fixture->bus);
}

static void
expect_log (Fixture *fixture, const char *expected)
{
  pthread_mutex_lock (&fixture->mutex);
  g_assert_cmpstr (fixture->log->str, ==, expected);
  g_string_truncate (fixture->log, 0);
  pthread_mutex_unlock (&fixture->mutex);
}

static void
test_jobs (Fixture *fixture, gconstpointer data)
{
  static const char *const good[] = { "good.service", "early.service" };
  g_autoptr (GError) error = NULL;
  bool active;

  g_assert_true (vp_units_is_available (fixture->units));
  for (size_t i = 0; i < G_N_ELEMENTS (good); i++) {
    g_assert_true (vp_units_start (fixture->units, good[i], &error));
    g_assert_no_error (error);
    g_assert_true (
        vp_units_is_active (fixture->units, good[i], &active, &error));
    g_assert_true (active);
    g_assert_true (vp_units_stop (fixture->units, good[i], &error));
    g_assert_no_error (error);
    g_assert_true (
        vp_units_is_active (fixture->units, good[i], &active, &error));
    g_assert_false (active);
  }
}

static void
test_failures (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  bool active = true;

  g_assert_false (vp_units_start (fixture->units, "bad.service", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  g_assert_cmpstr (error->message, ==,
                   "systemd: cannot start bad.service: failed, see "
                   "\"journalctl -u bad.service\"");
  g_clear_error (&error);
  g_assert_false (vp_units_start (fixture->units, "unknown.service", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  g_assert_cmpstr (error->message, ==,
                   "systemd: cannot start unknown.service: Unit not loaded.");
  g_clear_error (&error);
  /* What is not there does not run, and need not be stopped. */
  g_assert_true (vp_units_stop (fixture->units, "unknown.service", &error));
  g_assert_no_error (error);
  g_assert_true (
      vp_units_is_active (fixture->units, "unknown.service", &active, &error));
  g_assert_no_error (error);
  g_assert_false (active);
}

static void
test_deadline (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpUnits) units =
      vp_units_new (g_test_dbus_get_bus_address (fixture->bus), 100);
  g_autoptr (GError) error = NULL;

  g_assert_false (vp_units_start (units, "never.service", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
}

static void
test_dnsmasq (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  VpDnsmasqOps ops;
  bool running = true;

  vp_units_get_dnsmasq_ops (fixture->units, &ops);
  g_assert_true (ops.running ("good", &running, ops.user_data, &error));
  g_assert_false (running);
  expect_log (fixture, "GetUnit vprovd-dnsmasq@good.service; ");
  g_assert_true (ops.start ("good", "/nowhere", ops.user_data, &error));
  expect_log (fixture, "ResetFailedUnit vprovd-dnsmasq@good.service; "
                       "StartUnit vprovd-dnsmasq@good.service; ");
  g_assert_true (ops.running ("good", &running, ops.user_data, &error));
  g_assert_true (running);
  g_assert_true (ops.reload ("good", ops.user_data, &error));
  expect_log (fixture, "GetUnit vprovd-dnsmasq@good.service; "
                       "KillUnit vprovd-dnsmasq@good.service; main 1; ");
  G_STATIC_ASSERT (SIGHUP == 1);
  g_assert_true (ops.stop ("good", ops.user_data, &error));
  expect_log (fixture, "StopUnit vprovd-dnsmasq@good.service; ");
  g_assert_no_error (error);
}

static void
test_no_bus (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpUnits) nobody =
      vp_units_new ("unix:path=/nonexistent/bus", 1000);
  g_autoptr (GError) error = NULL;

  g_assert_false (vp_units_is_available (nobody));
  g_assert_false (vp_units_start (nobody, "good.service", &error));
  g_assert_nonnull (error);
}

/* Several threads, as jobs are. */
static void *
start_and_stop (void *data)
{
  VpUnits *units = data;

  for (unsigned i = 0; i < 10; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_true (vp_units_start (units, "good.service", &error));
    g_assert_true (vp_units_stop (units, "good.service", &error));
    g_assert_no_error (error);
  }
  return NULL;
}

static void
test_threads (Fixture *fixture, gconstpointer data)
{
  pthread_t threads[3];

  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, start_and_stop, fixture->units), ==,
        0);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
}

#define ADD(name, function)                                                    \
  g_test_add ("/units/" name, Fixture, NULL, set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_autofree char *daemon = g_find_program_in_path ("dbus-daemon");

  g_test_init (&argc, &argv, NULL);
  if (!daemon) {
    g_print ("1..0 # SKIP there is no dbus-daemon\n");
    return 0;
  }
  ADD ("jobs", test_jobs);
  ADD ("failures", test_failures);
  ADD ("deadline", test_deadline);
  ADD ("dnsmasq", test_dnsmasq);
  ADD ("no-bus", test_no_bus);
  ADD ("threads", test_threads);
  return g_test_run ();
}
