/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bus on a private message bus, with a manager in memory: every method,
 * property, signal and error of org.vprovd1.xml.  Client and daemon are in one
 * process, so a call is sent and the main loop run until its answer is there.
 */
#include "config.h"

#include "tests/daemon/fake-manager.h"

#include <string.h>

#include "daemon/bus-record.h"
#include "daemon/bus.h"
#include "daemon/vprovd1-generated.h"

#define MANAGER      "org.vprovd1.Manager"
#define GUEST        "org.vprovd1.Guest"
#define JOB          "org.vprovd1.Job"
#define WEB          VP_BUS_ROOT "/guest/web_2d1"
#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"

typedef struct {
  GSubprocess *daemon; /* dbus-daemon */
  char *address;
  VpManager *manager;
  VpBus *bus;
  GDBusConnection *client;
  GPtrArray *signals; /* "MEMBER PATH ARGUMENTS" */
  bool lost;
} Fixture;

static void
on_signal (GDBusConnection *connection, const char *sender, const char *path,
           const char *interface, const char *signal, GVariant *parameters,
           gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autofree char *arguments = g_variant_print (parameters, FALSE);

  g_ptr_array_add (fixture->signals,
                   g_strdup_printf ("%s %s %s", signal, path, arguments));
}

static void
on_lost (VpBus *bus, const GError *error, gpointer user_data)
{
  g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  ((Fixture *) user_data)->lost = true;
}

static gboolean
on_deadline (gpointer user_data)
{
  g_error ("waited too long");
  return G_SOURCE_REMOVE;
}

#define WAIT_UNTIL(condition)                                                  \
  G_STMT_START                                                                 \
  {                                                                            \
    unsigned deadline = g_timeout_add_seconds (20, on_deadline, NULL);         \
    while (!(condition))                                                       \
      (void) g_main_context_iteration (NULL, TRUE);                            \
    (void) g_source_remove (deadline);                                         \
  }                                                                            \
  G_STMT_END

static void
on_answer (GObject *source, GAsyncResult *result, gpointer user_data)
{
  *(GAsyncResult **) user_data = g_object_ref (result);
}

static GVariant *
call_full (Fixture *fixture, const char *path, const char *interface,
           const char *method, GVariant *parameters, GError **error)
{
  g_autoptr (GAsyncResult) result = NULL;

  g_dbus_connection_call (fixture->client, VP_BUS_NAME, path, interface, method,
                          parameters, NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL,
                          on_answer, &result);
  WAIT_UNTIL (result != NULL);
  return g_dbus_connection_call_finish (fixture->client, result, error);
}

/* The answer as text; the call must succeed. */
static char *
call (Fixture *fixture, const char *path, const char *interface,
      const char *method, const char *parameters)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply =
      call_full (fixture, path, interface, method,
                 g_variant_new_parsed (parameters), &error);

  g_assert_no_error (error);
  return g_variant_print (reply, FALSE);
}

#define CALL_IS(fixture, path, interface, method, parameters, expected)        \
  G_STMT_START                                                                 \
  {                                                                            \
    g_autofree char *answer =                                                  \
        call (fixture, path, interface, method, parameters);                   \
    g_assert_cmpstr (answer, ==, expected);                                    \
  }                                                                            \
  G_STMT_END

static void
call_fails (Fixture *fixture, const char *path, const char *interface,
            const char *method, const char *parameters, const char *name,
            const char *message)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply =
      call_full (fixture, path, interface, method,
                 g_variant_new_parsed (parameters), &error);
  g_autofree char *found = NULL;

  g_assert_null (reply);
  found = g_dbus_error_get_remote_error (error);
  g_assert_cmpstr (found, ==, name);
  g_assert_nonnull (strstr (error->message, message));
}

static char *
get (Fixture *fixture, const char *path, const char *interface,
     const char *property)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) value = NULL;
  g_autoptr (GVariant) reply =
      call_full (fixture, path, "org.freedesktop.DBus.Properties", "Get",
                 g_variant_new ("(ss)", interface, property), &error);

  g_assert_no_error (error);
  g_variant_get (reply, "(v)", &value);
  return g_variant_print (value, FALSE);
}

#define GET_IS(fixture, path, interface, property, expected)                   \
  G_STMT_START                                                                 \
  {                                                                            \
    g_autofree char *value = get (fixture, path, interface, property);         \
    g_assert_cmpstr (value, ==, expected);                                     \
  }                                                                            \
  G_STMT_END

#define CALLS_ARE(fixture, expected)                                           \
  G_STMT_START                                                                 \
  {                                                                            \
    g_autofree char *calls = fake_manager_calls ((fixture)->manager);          \
    g_assert_cmpstr (calls, ==, expected);                                     \
  }                                                                            \
  G_STMT_END

/* Whatever was sent before has arrived then: the bus keeps the order. */
static void
catch_up (Fixture *fixture)
{
  g_autofree char *answer =
      call (fixture, VP_BUS_ROOT, "org.freedesktop.DBus.Peer", "Ping", "()");

  g_assert_cmpstr (answer, ==, "()");
  while (g_main_context_iteration (NULL, FALSE))
    ;
}

static unsigned
count_signals (Fixture *fixture, const char *prefix)
{
  unsigned n = 0;

  for (unsigned i = 0; i < fixture->signals->len; i++)
    n += g_str_has_prefix (g_ptr_array_index (fixture->signals, i), prefix);
  return n;
}

static const char *
find_signal (Fixture *fixture, const char *prefix)
{
  for (unsigned i = 0; i < fixture->signals->len; i++)
    if (g_str_has_prefix (g_ptr_array_index (fixture->signals, i), prefix))
      return g_ptr_array_index (fixture->signals, i);
  return NULL;
}

static const char *
await_signal (Fixture *fixture, const char *prefix)
{
  const char *signal;

  WAIT_UNTIL ((signal = find_signal (fixture, prefix)) != NULL);
  return signal;
}

/* Not GTestDBus: it changes the environment, which threads do not like. */
static void
start_daemon (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GDataInputStream) output = NULL;

  fixture->daemon = g_subprocess_new (
      G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
      &error, "dbus-daemon", "--session", "--nofork", "--nopidfile",
      "--print-address", NULL);
  g_assert_no_error (error);
  output =
      g_data_input_stream_new (g_subprocess_get_stdout_pipe (fixture->daemon));
  fixture->address = g_data_input_stream_read_line (output, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_nonnull (fixture->address);
}

static void
stop_daemon (Fixture *fixture)
{
  if (fixture->daemon == NULL)
    return;
  g_subprocess_force_exit (fixture->daemon);
  (void) g_subprocess_wait (fixture->daemon, NULL, NULL);
  g_clear_object (&fixture->daemon);
}

static GDBusConnection *
connect_client (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  GDBusConnection *client = g_dbus_connection_new_for_address_sync (
      fixture->address,
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, &error);

  g_assert_no_error (error);
  g_dbus_connection_set_exit_on_close (client, FALSE);
  return client;
}

static VpGuestStatus *
add_web (VpManager *manager)
{
  VpGuestStatus *guest = fake_manager_add_guest (manager, "web-1");

  fake_set (&guest->uuid, "0b1c5a3e-5f0b-4d6a-9b6e-2f1f6f0c7a11");
  fake_set (&guest->description, "the shop");
  fake_set (&guest->digest, "abc");
  fake_set (&guest->state, "running");
  fake_set (&guest->wanted, "running");
  fake_set (&guest->accel, "tcg");
  guest->started = 1000;
  guest->restarts = 3;
  fake_guest_add_address (guest, "192.168.211.10");
  fake_guest_add_forward (guest, "tcp:8080", "tcp 8080 -> 80",
                          VP_FORWARD_ACTIVE, NULL);
  fake_guest_add_forward (guest, "udp:53", "udp 53 -> 53", VP_FORWARD_CONFLICT,
                          "dnsmasq listens");
  return guest;
}

static void
set_up (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  start_daemon (fixture);
  fixture->manager = fake_manager_new ();
  (void) add_web (fixture->manager);
  (void) fake_manager_add_guest (fixture->manager, "db");
  fixture->bus =
      vp_bus_new (fixture->manager, fixture->address, on_lost, fixture, &error);
  g_assert_no_error (error);
  fixture->client = connect_client (fixture);
  fixture->signals = g_ptr_array_new_with_free_func (g_free);
  (void) g_dbus_connection_signal_subscribe (
      fixture->client, VP_BUS_NAME, NULL, NULL, NULL, NULL,
      G_DBUS_SIGNAL_FLAGS_NONE, on_signal, fixture, NULL);
  catch_up (fixture);
  g_ptr_array_set_size (fixture->signals, 0);
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  vp_bus_free (fixture->bus);
  (void) g_dbus_connection_close_sync (fixture->client, NULL, NULL);
  g_clear_object (&fixture->client);
  stop_daemon (fixture);
  g_free (fixture->address);
  fake_manager_free (fixture->manager);
  g_ptr_array_unref (fixture->signals);
  while (g_main_context_iteration (NULL, FALSE))
    ;
}

/* Records and paths */

static void
test_paths (void)
{
  static const struct {
    const char *name, *path;
  } cases[] = {
    { "web", "/org/vprovd1/guest/web" },
    { "web-1", "/org/vprovd1/guest/web_2d1" },
    { "1st", "/org/vprovd1/guest/_31st" },
    { "a_b.c", "/org/vprovd1/guest/a_5fb_2ec" },
    { "\xc3\xa4", "/org/vprovd1/guest/_c3_a4" },
    { "", "/org/vprovd1/guest/_" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = vp_bus_guest_path (cases[i].name);

    g_assert_cmpstr (path, ==, cases[i].path);
    g_assert_true (g_variant_is_object_path (path));
  }
}

static void
test_text (void)
{
  g_autofree char *nothing = vp_bus_text (NULL);
  g_autofree char *broken = vp_bus_text ("caf\xe9");

  g_assert_cmpstr (nothing, ==, "");
  g_assert_true (g_utf8_validate (broken, -1, NULL));
  g_assert_true (g_str_has_prefix (broken, "caf"));
}

/* Manager */

static void
test_manager_properties (Fixture *fixture, gconstpointer data)
{
  FakeStatus *status = fake_manager_status (fixture->manager);

  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Version", "'" PACKAGE_VERSION "'");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Features",
          "['plan', 'adopt', 'forward-check']");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "LibvirtUri", "'test:///default'");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "LibvirtConnected", "true");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "State", "'synced'");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Generation", "1");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "LastReconcileTimestamp", "0");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Problems", "[]");

  status->state = "degraded";
  status->connected = false;
  status->generation = 7;
  status->last_reconcile = 42;
  g_ptr_array_add (status->problems,
                   vp_problem_new ("/etc/x\xff.xml", (VpPlace){ 3, 5 },
                                   VP_SEVERITY_WARNING, "old", "this is old"));
  fake_manager_news (fixture->manager, VP_NEWS_MANAGER, NULL, 0, NULL);
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "LibvirtConnected", "false");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "State", "'degraded'");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Generation", "7");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "LastReconcileTimestamp", "42");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "Problems",
          "[{'path': <'/etc/x\357\277\275.xml'>, 'line': <uint32 3>, "
          "'column': <uint32 5>, 'severity': <'warning'>, 'code': <'old'>, "
          "'message': <'this is old'>}]");
}

static void
test_manager_counts (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest = fake_manager_add_guest (fixture->manager, "new");

  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "2");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsRunning", "1");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_ADDED, "new", 0, NULL);
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "3");

  guest->sync = VP_SYNC_INVALID;
  guest->restart_required = true;
  fake_set (&guest->state, "crashed");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "new", 0, NULL);
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsFailed", "1");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsInvalid", "1");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsRestartRequired", "1");

  fake_manager_remove_guest (fixture->manager, "new");
  fake_manager_remove_guest (fixture->manager, "web-1");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "1");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsRunning", "0");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsFailed", "0");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsInvalid", "0");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuestsRestartRequired", "0");
}

static void
test_manager_lookups (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "GetGuest", "('web-1', @a{sv} {})",
           "('" WEB "',)");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "GetGuest", "('x', @a{sv} {})",
              "org.vprovd1.Error.NoSuchGuest", "'x'");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "GetGuestByUuid",
           "('0B1C5A3E-5f0b-4d6a-9b6e-2f1f6f0c7a11', @a{sv} {})",
           "('" WEB "',)");
  /* "db" has no UUID yet: that is not the UUID "". */
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "GetGuestByUuid",
              "('', @a{sv} {})", "org.vprovd1.Error.NoSuchGuest", "UUID");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ListGuests", "(@a{sv} {},)",
           "([{'name': <'db'>, 'uuid': <''>, 'state': <'stopped'>, "
           "'sync': <'synced'>, 'object': <objectpath '/org/vprovd1/guest/db'>"
           "}, {'name': <'web-1'>, 'uuid': "
           "<'0b1c5a3e-5f0b-4d6a-9b6e-2f1f6f0c7a11'>, 'state': <'running'>, "
           "'sync': <'synced'>, 'object': <objectpath '" WEB "'>}],)");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ListForwards", "(@a{sv} {},)",
           "([{'guest': <'web-1'>, 'id': <'tcp:8080'>, "
           "'words': <'tcp 8080 -> 80'>, 'state': <'active'>, 'reason': <''>}, "
           "{'guest': <'web-1'>, 'id': <'udp:53'>, 'words': <'udp 53 -> 53'>, "
           "'state': <'conflict'>, 'reason': <'dnsmasq listens'>}],)");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ListJobs", "(@a{sv} {},)", "([],)");
}

static void
test_manager_reload (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Reload", "(@a{sv} {},)", "([],)");
  CALLS_ARE (fixture, "reload");
  catch_up (fixture);
  g_assert_cmpuint (count_signals (fixture, "Reloading"), ==, 2);
  g_assert_nonnull (find_signal (fixture, "Reloading " VP_BUS_ROOT " (true,)"));
  g_assert_nonnull (
      find_signal (fixture, "Reloading " VP_BUS_ROOT " (false,)"));
}

static void
test_manager_verify (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autofree char *text = g_malloc0 (1024 * 1024 + 1);

  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Verify",
           "(@ay [0x3c, 0x6e, 0x69, 0x6b], {'kind': <'pool'>, "
           "'name': <'fast'>, 'path': <'p.xml'>})",
           "([{'path': <'p.xml'>, 'line': <uint32 3>, 'column': <uint32 5>, "
           "'severity': <'error'>, 'code': <'unknown-element'>, 'message': "
           "<\"unknown element 'nik'; did you mean 'nic'?\">}],)");
  CALLS_ARE (fixture, "verify pool fast 4 trusted");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Verify", "(@ay [], @a{sv} {})",
           "([],)");
  CALLS_ARE (fixture, "verify guest unnamed 0 trusted");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Verify",
              "(@ay [], {'kind': <'sauce'>})", INVALID_ARGS, "sauce");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Verify",
              "(@ay [], {'name': <'../x'>})", INVALID_ARGS, "../x");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Verify",
              "(@ay [], {'kind': <3>})", INVALID_ARGS, "must be a string");

  reply = call_full (
      fixture, VP_BUS_ROOT, MANAGER, "Verify",
      g_variant_new ("(@ay@a{sv})",
                     g_variant_new_fixed_array (G_VARIANT_TYPE_BYTE, text,
                                                1024 * 1024 + 1, 1),
                     g_variant_new ("a{sv}", NULL)),
      &error);
  g_assert_error (error, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS);
  CALLS_ARE (fixture, "");
}

static void
test_manager_plan (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Plan", "(@as [], @a{sv} {})",
           "('p1', [])");
  /* Nothing to do: no job. */
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Apply", "('p1', @a{sv} {})",
           "('/',)");
  CALLS_ARE (fixture, "plan ; apply p1");

  fake_manager_add_step (
      fixture->manager,
      vp_step_new (VP_STEP_START, "db", NULL, NULL, NULL, VP_RISK_LIVE));
  {
    g_autofree char *plan =
        call (fixture, VP_BUS_ROOT, MANAGER, "Plan", "(['db'], @a{sv} {})");

    g_assert_true (g_str_has_prefix (
        plan, "('p2', [{'id': <uint32 1>, 'guest': <'db'>, 'kind': <'start'>, "
              "'subject': <''>, 'before': <''>, 'after': <''>, "
              "'risk': <'live'>, 'words': <'"));
  }
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Apply", "('p1', @a{sv} {})",
              "org.vprovd1.Error.PlanStale", "changed");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Apply", "('p2', @a{sv} {})",
           "('/org/vprovd1/job/1',)");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Plan", "(['nobody'], @a{sv} {})",
              "org.vprovd1.Error.NoSuchGuest", "nobody");
}

static void
test_manager_adopt (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "Adopt", "('legacy', @a{sv} {})",
           "('<domain><name>legacy</name></domain>\\n',)");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Adopt", "('x', @a{sv} {})",
              "org.vprovd1.Error.NoSuchGuest", "no domain x");
}

static void
test_manager_forward_check (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ForwardCheck",
           "('web-1:22', @a{sv} {})",
           "([{'link': <'rule'>, 'ok': <true>, 'detail': <'in the tables'>, "
           "'cure': <''>}, {'link': <'connect'>, 'ok': <false>, 'detail': "
           "<'refused'>, 'cure': <'start the service in the guest'>}],)");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "ForwardCheck",
              "('web-1:1', @a{sv} {})", "org.vprovd1.Error.Failed",
              "no such forward");
}

/* Guest */

static void
test_guest_properties (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest =
      (VpGuestStatus *) vp_manager_get_guest (fixture->manager, "web-1");

  GET_IS (fixture, WEB, GUEST, "Name", "'web-1'");
  GET_IS (fixture, WEB, GUEST, "Uuid",
          "'0b1c5a3e-5f0b-4d6a-9b6e-2f1f6f0c7a11'");
  GET_IS (fixture, WEB, GUEST, "Description", "'the shop'");
  GET_IS (fixture, WEB, GUEST, "SourcePath", "'/etc/vprovd/guests/web-1.xml'");
  GET_IS (fixture, WEB, GUEST, "Digest", "'abc'");
  GET_IS (fixture, WEB, GUEST, "State", "'running'");
  GET_IS (fixture, WEB, GUEST, "SubState", "''");
  GET_IS (fixture, WEB, GUEST, "DesiredState", "'running'");
  GET_IS (fixture, WEB, GUEST, "Sync", "'synced'");
  GET_IS (fixture, WEB, GUEST, "Accel", "'tcg'");
  GET_IS (fixture, WEB, GUEST, "PendingChanges", "[]");
  GET_IS (fixture, WEB, GUEST, "RestartRequired", "false");
  GET_IS (fixture, WEB, GUEST, "Problems", "[]");
  GET_IS (fixture, WEB, GUEST, "Addresses",
          "[{'nic': <'nic0'>, 'family': <'ipv4'>, 'address': "
          "<'192.168.211.10'>, 'mac': <'52:54:00:00:00:01'>, 'source': "
          "<'reserved'>}]");
  GET_IS (fixture, WEB, GUEST, "Forwards",
          "[{'id': <'tcp:8080'>, 'words': <'tcp 8080 -> 80'>, 'state': "
          "<'active'>, 'reason': <''>}, {'id': <'udp:53'>, 'words': "
          "<'udp 53 -> 53'>, 'state': <'conflict'>, 'reason': "
          "<'dnsmasq listens'>}]");
  GET_IS (fixture, WEB, GUEST, "LastError", "('', '')");
  GET_IS (fixture, WEB, GUEST, "StartTimestamp", "1000");
  GET_IS (fixture, WEB, GUEST, "NRestarts", "3");

  fake_set (&guest->sub_state, "growing disk root");
  guest->sync = VP_SYNC_FAILED;
  guest->restart_required = true;
  g_ptr_array_add (guest->pending, g_strdup ("memory 1 GiB -> 2 GiB"));
  g_ptr_array_add (guest->problems,
                   vp_problem_new ("web-1.xml", (VpPlace){ 1, 2 },
                                   VP_SEVERITY_ERROR, "xml", "bad"));
  fake_set (&guest->error_name, "org.vprovd1.Error.NoSpace");
  fake_set (&guest->error_message, "k\xe4se");
  fake_guest_add_address (guest, "fd00::1");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  GET_IS (fixture, WEB, GUEST, "SubState", "'growing disk root'");
  GET_IS (fixture, WEB, GUEST, "Sync", "'failed'");
  GET_IS (fixture, WEB, GUEST, "RestartRequired", "true");
  GET_IS (fixture, WEB, GUEST, "PendingChanges", "['memory 1 GiB -> 2 GiB']");
  GET_IS (fixture, WEB, GUEST, "LastError",
          "('org.vprovd1.Error.NoSpace', 'k\357\277\275se')");
  {
    g_autofree char *problems = get (fixture, WEB, GUEST, "Problems");
    g_autofree char *addresses = get (fixture, WEB, GUEST, "Addresses");

    g_assert_nonnull (strstr (problems, "'message': <'bad'>"));
    g_assert_nonnull (strstr (addresses, "'family': <'ipv6'>"));
  }
}

static void
test_guest_methods (Fixture *fixture, gconstpointer data)
{
  CALL_IS (fixture, WEB, GUEST, "Stop", "(@a{sv} {},)",
           "('/org/vprovd1/job/1',)");
  CALL_IS (fixture, WEB, GUEST, "Start", "(@a{sv} {},)",
           "('/org/vprovd1/job/2',)");
  CALL_IS (fixture, WEB, GUEST, "Reconcile", "(@a{sv} {},)",
           "('/org/vprovd1/job/3',)");
  CALL_IS (fixture, WEB, GUEST, "GetSpec", "(@a{sv} {},)",
           "('<guest>\\n  <!-- web-1 -->\\n</guest>\\n',)");
  CALLS_ARE (fixture, "stop web-1; start web-1; reconcile web-1; spec web-1");
  call_fails (fixture, VP_BUS_ROOT "/guest/db", GUEST, "GetSpec",
              "(@a{sv} {},)", "org.vprovd1.Error.InvalidSpec", "db");
}

static void
test_guest_errors (Fixture *fixture, gconstpointer data)
{
  for (int code = 0; code < VP_ERROR_N_CODES; code++) {
    g_autoptr (GError) error = g_error_new_literal (VP_ERROR, code, "sorry");

    fake_manager_fail (fixture->manager, code, "sorry");
    call_fails (fixture, WEB, GUEST, "Start", "(@a{sv} {},)",
                vp_error_bus_name (error), "sorry");
  }
  fake_manager_fail (fixture->manager, VP_ERROR_BUSY, "nach\xff");
  call_fails (fixture, VP_BUS_ROOT, MANAGER, "Plan", "(@as [], @a{sv} {})",
              "org.vprovd1.Error.Busy", "nach");
}

static void
test_guest_signals (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest =
      (VpGuestStatus *) vp_manager_get_guest (fixture->manager, "web-1");
  const char *signal;

  fake_set (&guest->state, "crashed");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_EVENT, "web-1", 0,
                     "crashed");
  (void) await_signal (fixture,
                       "GuestEvent " VP_BUS_ROOT " ('web-1', 'crashed', {})");
  /* Who hears of the event finds the state that belongs to it. */
  signal = find_signal (fixture, "PropertiesChanged " WEB);
  g_assert_nonnull (signal);
  g_assert_nonnull (strstr (signal, "'State': <'crashed'>"));
  g_assert_null (strstr (signal, "'Sync'"));
  signal = g_ptr_array_index (fixture->signals, 0);
  g_assert_true (g_str_has_prefix (signal, "PropertiesChanged"));
}

static void
test_guest_objects (Fixture *fixture, gconstpointer data)
{
  g_autofree char *all =
      call (fixture, VP_BUS_ROOT, "org.freedesktop.DBus.ObjectManager",
            "GetManagedObjects", "()");

  g_assert_nonnull (strstr (all, WEB));
  g_assert_nonnull (strstr (all, "'/org/vprovd1/guest/db'"));

  (void) fake_manager_add_guest (fixture->manager, "new");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_ADDED, "new", 0, NULL);
  (void) await_signal (fixture, "InterfacesAdded " VP_BUS_ROOT
                                " ('/org/vprovd1/guest/new'");
  fake_manager_remove_guest (fixture->manager, "new");
  (void) await_signal (fixture, "InterfacesRemoved " VP_BUS_ROOT
                                " ('/org/vprovd1/guest/new'");
  call_fails (fixture, VP_BUS_ROOT "/guest/new", GUEST, "Start", "(@a{sv} {},)",
              "org.freedesktop.DBus.Error.UnknownMethod", "");

  /* News of a guest that is not there any more removes it. */
  (void) fake_manager_add_guest (fixture->manager, "gone");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "gone", 0, NULL);
  GET_IS (fixture, VP_BUS_ROOT "/guest/gone", GUEST, "Name", "'gone'");
  fake_manager_remove_guest (fixture->manager, "gone");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_EVENT, "gone", 0, "x");
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "2");
}

/* Jobs */

static void
test_job_life (Fixture *fixture, gconstpointer data)
{
  VpJobStatus *job;

  job = fake_manager_add_job (fixture->manager, "web-1", "start");
  (void) await_signal (fixture, "JobNew " VP_BUS_ROOT " (1, "
                                "'/org/vprovd1/job/1', 'web-1', 'start')");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Id", "1");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Verb", "'start'");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Guest", "'web-1'");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Phase", "'waiting'");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "ProgressValid", "false");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Cancelable", "true");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Finished", "false");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Error", "('', '')");

  job->progress = 0.5;
  job->progress_valid = true;
  job->bytes = 4096;
  job->started = 77;
  fake_manager_news (fixture->manager, VP_NEWS_JOB_CHANGED, "web-1", 1, NULL);
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Progress", "0.5");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "ProgressValid", "true");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Bytes", "4096");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "StartTimestamp", "77");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ListJobs", "(@a{sv} {},)",
           "([{'id': <uint32 1>, 'job': <objectpath '/org/vprovd1/job/1'>, "
           "'guest': <'web-1'>, 'verb': <'start'>, 'phase': <'waiting'>, "
           "'progress': <0.5>, 'progress-valid': <true>, 'start-timestamp': "
           "<uint64 77>, 'finished': <false>}],)");

  fake_manager_end_job (fixture->manager, 1, 0, NULL);
  (void) await_signal (fixture, "Completed /org/vprovd1/job/1 (true, '', '')");
  (void) await_signal (fixture, "JobRemoved " VP_BUS_ROOT
                                " (1, '/org/vprovd1/job/1', 'web-1', 'done', "
                                "'')");
  /* It stays, also when the manager has forgotten it. */
  fake_manager_drop_job (fixture->manager, 1);
  fake_manager_news (fixture->manager, VP_NEWS_JOB_REMOVED, "web-1", 1, NULL);
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Finished", "true");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Cancelable", "false");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Phase", "'done'");
  g_assert_cmpuint (count_signals (fixture, "JobRemoved"), ==, 1);
}

static void
test_job_fails (Fixture *fixture, gconstpointer data)
{
  (void) fake_manager_add_job (fixture->manager, "db", "start");
  fake_manager_end_job (fixture->manager, 1, VP_ERROR_NO_SPACE, "full");
  (void) await_signal (fixture, "Completed /org/vprovd1/job/1 (false, "
                                "'org.vprovd1.Error.NoSpace', 'full')");
  (void) await_signal (fixture, "JobRemoved " VP_BUS_ROOT
                                " (1, '/org/vprovd1/job/1', 'db', 'failed', "
                                "'full')");
  GET_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Error",
          "('org.vprovd1.Error.NoSpace', 'full')");
}

/* Who hears of a job's end has heard what it did to its guest. */
static void
test_job_tells_guest_first (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest =
      (VpGuestStatus *) vp_manager_get_guest (fixture->manager, "web-1");
  const char *last;

  (void) fake_manager_add_job (fixture->manager, "web-1", "stop");
  fake_set (&guest->state, "stopping");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  (void) await_signal (fixture, "PropertiesChanged " WEB);
  g_ptr_array_set_size (fixture->signals, 0);

  fake_set (&guest->state, "stopped");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  fake_manager_end_job (fixture->manager, 1, 0, NULL);
  last = await_signal (fixture, "JobRemoved");
  g_assert_true (
      last == g_ptr_array_index (fixture->signals, fixture->signals->len - 1));
  g_assert_nonnull (strstr (find_signal (fixture, "PropertiesChanged " WEB),
                            "'State': <'stopped'>"));
}

static void
test_job_cancel (Fixture *fixture, gconstpointer data)
{
  (void) fake_manager_add_job (fixture->manager, "db", "start");
  CALL_IS (fixture, VP_BUS_ROOT "/job/1", JOB, "Cancel", "(@a{sv} {},)", "()");
  (void) await_signal (fixture, "JobRemoved " VP_BUS_ROOT
                                " (1, '/org/vprovd1/job/1', 'db', 'cancelled'");
  call_fails (fixture, VP_BUS_ROOT "/job/1", JOB, "Cancel", "(@a{sv} {},)",
              "org.vprovd1.Error.NoSuchJob", "ended");
  CALLS_ARE (fixture, "cancel 1; cancel 1");
}

static void
test_job_leaves (Fixture *fixture, gconstpointer data)
{
  vp_bus_set_job_linger (fixture->bus, 20);
  (void) fake_manager_add_job (fixture->manager, "db", "start");
  fake_manager_end_job (fixture->manager, 1, 0, NULL);
  (void) await_signal (fixture, "InterfacesRemoved " VP_BUS_ROOT
                                " ('/org/vprovd1/job/1'");
  CALL_IS (fixture, VP_BUS_ROOT, MANAGER, "ListJobs", "(@a{sv} {},)", "([],)");
}

/* Pace */

static void
test_pace (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest =
      (VpGuestStatus *) vp_manager_get_guest (fixture->manager, "web-1");
  int64_t begin = g_get_monotonic_time (), spent;

  /* As a job that counts would: news as often as the loop turns. */
  for (unsigned i = 1; i <= 500; i++) {
    g_autofree char *words = g_strdup_printf ("copied %u MiB", i);

    fake_set (&guest->sub_state, words);
    fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0,
                       NULL);
    catch_up (fixture);
    if (i % 50 == 0) {
      g_autofree char *expected = g_strdup_printf ("'%s'", words);

      GET_IS (fixture, WEB, GUEST, "SubState", expected);
    }
  }
  WAIT_UNTIL (
      fixture->signals->len > 0 &&
      strstr (g_ptr_array_index (fixture->signals, fixture->signals->len - 1),
              "copied 500 MiB") != NULL);
  spent = g_get_monotonic_time () - begin;
  /* The first at once, then one for each 100 ms begun. */
  g_assert_cmpuint (count_signals (fixture, "PropertiesChanged " WEB), <=,
                    (unsigned) (spent / 100000) + 2);
}

static void
test_pace_there_and_back (Fixture *fixture, gconstpointer data)
{
  VpGuestStatus *guest =
      (VpGuestStatus *) vp_manager_get_guest (fixture->manager, "web-1");
  const char *signal;

  fake_set (&guest->sub_state, "one");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  (void) await_signal (fixture, "PropertiesChanged " WEB);
  g_ptr_array_set_size (fixture->signals, 0);

  /* Within the pause: the state goes there and back, and is not told. */
  fake_set (&guest->state, "paused");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  fake_set (&guest->state, "running");
  fake_set (&guest->sub_state, "two");
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  signal = await_signal (fixture, "PropertiesChanged " WEB);
  g_assert_nonnull (strstr (signal, "'SubState': <'two'>"));
  g_assert_null (strstr (signal, "'State'"));
}

static void
test_no_change_no_signal (Fixture *fixture, gconstpointer data)
{
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
  fake_manager_news (fixture->manager, VP_NEWS_MANAGER, NULL, 0, NULL);
  catch_up (fixture);
  g_assert_cmpuint (fixture->signals->len, ==, 0);
}

/* Options: every method of every interface refuses one that it does not know,
 * and has them for its last argument. */

static GVariant *
empty_of (const char *signature)
{
  if (strcmp (signature, "s") == 0)
    return g_variant_new_string ("");
  return g_variant_new_array (G_VARIANT_TYPE (signature + 1), NULL, 0);
}

static void
check_options (Fixture *fixture, const char *path, GDBusInterfaceInfo *info)
{
  for (GDBusMethodInfo **method = info->methods; *method != NULL; method++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GVariant) reply = NULL;
    GVariantBuilder arguments;
    GDBusArgInfo **arg = (*method)->in_args;

    g_variant_builder_init (&arguments, G_VARIANT_TYPE_TUPLE);
    for (; arg[1] != NULL; arg++)
      g_variant_builder_add_value (&arguments, empty_of ((*arg)->signature));
    g_assert_cmpstr ((*arg)->name, ==, "options");
    g_variant_builder_add_value (&arguments,
                                 g_variant_new_parsed ("{'nonsense': <true>}"));
    reply = call_full (fixture, path, info->name, (*method)->name,
                       g_variant_builder_end (&arguments), &error);
    g_assert_error (error, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS);
    g_assert_nonnull (strstr (error->message, "nonsense"));
  }
}

static void
test_options (Fixture *fixture, gconstpointer data)
{
  (void) fake_manager_add_job (fixture->manager, "db", "start");
  check_options (fixture, VP_BUS_ROOT, vp_dbus_manager_interface_info ());
  check_options (fixture, WEB, vp_dbus_guest_interface_info ());
  check_options (fixture, VP_BUS_ROOT "/job/1", vp_dbus_job_interface_info ());
  CALLS_ARE (fixture, "");
}

/* Name and connection */

static void
test_second_daemon (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  VpManager *manager = fake_manager_new ();
  const char *address = fixture->address;
  VpBus *second = vp_bus_new (manager, address, NULL, NULL, &error);

  g_assert_null (second);
  g_assert_error (error, VP_ERROR, VP_ERROR_IN_USE);
  g_clear_error (&error);
  /* The first is not disturbed; when it has left, there is place. */
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "2");
  vp_bus_free (g_steal_pointer (&fixture->bus));
  second = vp_bus_new (manager, address, NULL, NULL, &error);
  g_assert_no_error (error);
  GET_IS (fixture, VP_BUS_ROOT, MANAGER, "NGuests", "0");
  vp_bus_free (second);
  fake_manager_free (manager);
}

static void
test_no_bus (void)
{
  g_autoptr (GError) error = NULL;
  VpManager *manager = fake_manager_new ();

  g_assert_null (
      vp_bus_new (manager, "unix:path=/nonexistent/bus", NULL, NULL, &error));
  g_assert_nonnull (strstr (error->message, "message bus"));
  fake_manager_free (manager);
}

static void
test_lost (Fixture *fixture, gconstpointer data)
{
  stop_daemon (fixture);
  WAIT_UNTIL (fixture->lost);
  /* News for nobody, and no call. */
  fake_manager_news (fixture->manager, VP_NEWS_GUEST_CHANGED, "web-1", 0, NULL);
}

static void
test_freed_while_asked (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GAsyncResult) result = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *calls = NULL;

  g_dbus_connection_call (fixture->client, VP_BUS_NAME, VP_BUS_ROOT, MANAGER,
                          "Plan", g_variant_new_parsed ("(@as [], @a{sv} {})"),
                          NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, on_answer,
                          &result);
  while (calls == NULL || *calls == '\0') {
    (void) g_main_context_iteration (NULL, TRUE);
    g_free (calls);
    calls = fake_manager_calls (fixture->manager);
  }
  /* The manager's answer comes when the bus is no more. */
  vp_bus_free (g_steal_pointer (&fixture->bus));
  WAIT_UNTIL (result != NULL);
  reply = g_dbus_connection_call_finish (fixture->client, result, &error);
  g_assert_nonnull (error);
  g_assert_null (reply);
}

#define ADD(path, function)                                                    \
  g_test_add ("/bus/" path, Fixture, NULL, set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bus/paths", test_paths);
  g_test_add_func ("/bus/text", test_text);
  ADD ("manager/properties", test_manager_properties);
  ADD ("manager/counts", test_manager_counts);
  ADD ("manager/lookups", test_manager_lookups);
  ADD ("manager/reload", test_manager_reload);
  ADD ("manager/verify", test_manager_verify);
  ADD ("manager/plan", test_manager_plan);
  ADD ("manager/adopt", test_manager_adopt);
  ADD ("manager/forward-check", test_manager_forward_check);
  ADD ("guest/properties", test_guest_properties);
  ADD ("guest/methods", test_guest_methods);
  ADD ("guest/errors", test_guest_errors);
  ADD ("guest/signals", test_guest_signals);
  ADD ("guest/objects", test_guest_objects);
  ADD ("job/life", test_job_life);
  ADD ("job/fails", test_job_fails);
  ADD ("job/tells-guest-first", test_job_tells_guest_first);
  ADD ("job/cancel", test_job_cancel);
  ADD ("job/leaves", test_job_leaves);
  ADD ("pace/many", test_pace);
  ADD ("pace/there-and-back", test_pace_there_and_back);
  ADD ("pace/no-change", test_no_change_no_signal);
  ADD ("options", test_options);
  ADD ("second-daemon", test_second_daemon);
  g_test_add_func ("/bus/no-bus", test_no_bus);
  ADD ("lost", test_lost);
  ADD ("freed-while-asked", test_freed_while_asked);
  return g_test_run ();
}
