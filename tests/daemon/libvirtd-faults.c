/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt against what it is for: a libvirtd and a QEMU that run, die,
 * stop answering and come back.  Run by host-libvirtd.sh, which gives it a
 * private libvirtd.
 *
 * The guest is a boot sector under TCG that either turns its machine off or
 * does nothing. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/host-libvirt.h"

#include <glib/gstdio.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_MS 60000
#define CALL_MS     5000

/* Writes 0x2000 to q35's PM1a control register: soft off. */
static const uint8_t power_off[] = { 0xba, 0x04, 0x06, 0xb8, 0x00,
                                     0x20, 0xef, 0xf4, 0xeb, 0xfd };
static const uint8_t idle[] = { 0xf4, 0xeb, 0xfd };

typedef struct {
  VpHost *host;
  GString *events; /* main thread */
  bool quick;      /* the listings of the last crowd were */
} World;

typedef struct {
  void (*body) (World *world);
  World *world;
  int done; /* atomic */
} Script;

static void *
run_script (void *data)
{
  Script *script = data;

  script->body (script->world);
  g_atomic_int_set (&script->done, 1);
  g_main_context_wakeup (NULL);
  return NULL;
}

static gboolean
out_of_time (gpointer data)
{
  World *world = data;

  g_error ("no end after %d ms; events: %s", DEADLINE_MS, world->events->str);
  return G_SOURCE_REMOVE;
}

/* body away from the main thread, which turns the loop meanwhile. */
static void
on_thread (World *world, void (*body) (World *world))
{
  Script script = { body, world, 0 };
  unsigned timeout = g_timeout_add (DEADLINE_MS, out_of_time, world);
  pthread_t thread;

  g_assert_cmpint (pthread_create (&thread, NULL, run_script, &script), ==, 0);
  while (!g_atomic_int_get (&script.done))
    g_main_context_iteration (NULL, TRUE);
  pthread_join (thread, NULL);
  g_source_remove (timeout);
}

static void
on_event (VpHostEvent event, const char *name, const char *detail,
          gpointer user_data)
{
  static const char *const words[] = {
    [VP_HOST_EVENT_CONNECTED] = "connected",
    [VP_HOST_EVENT_DISCONNECTED] = "disconnected",
    [VP_HOST_EVENT_DEFINED] = "defined",
    [VP_HOST_EVENT_UNDEFINED] = "undefined",
    [VP_HOST_EVENT_STARTED] = "started",
    [VP_HOST_EVENT_SHUTDOWN_BY_GUEST] = "shutdown-by-guest",
    [VP_HOST_EVENT_STOPPED] = "stopped",
    [VP_HOST_EVENT_CRASHED] = "crashed",
    [VP_HOST_EVENT_PAUSED] = "paused",
    [VP_HOST_EVENT_RESUMED] = "resumed",
  };
  World *world = user_data;

  g_string_append_printf (world->events, "%s %s %s; ", words[event],
                          name ? name : "-", detail);
}

/* Turns the loop until text is among the events; forgets them. */
static void
expect_event (World *world, const char *text)
{
  unsigned timeout = g_timeout_add (DEADLINE_MS, out_of_time, world);

  g_test_message ("waiting for: %s", text);
  while (!strstr (world->events->str, text))
    g_main_context_iteration (NULL, TRUE);
  g_string_truncate (world->events, 0);
  g_source_remove (timeout);
}

/* ---- the guest and the processes ---- */

static char *
disk_path (void)
{
  return g_build_filename (g_getenv ("VP_TEST_FOLDER"), "web.img", NULL);
}

static void
write_disk (const uint8_t *code, size_t len)
{
  g_autofree char *path = disk_path ();
  uint8_t sector[512] = { 0 };

  memcpy (sector, code, len);
  sector[510] = 0x55;
  sector[511] = 0xaa;
  g_assert_true (
      g_file_set_contents (path, (const char *) sector, sizeof sector, NULL));
  g_assert_cmpint (truncate (path, 1024 * 1024), ==, 0);
  g_assert_cmpint (g_chmod (path, 0666), ==, 0);
}

static char *
web_xml (void)
{
  g_autofree char *path = disk_path ();

  return g_strdup_printf (
      "<domain type='qemu'><name>web</name>"
      "<uuid>0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11</uuid>"
      "<memory unit='MiB'>32</memory><vcpu>1</vcpu>"
      "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
      "<features><acpi/></features>"
      "<devices><disk type='file' device='disk'>"
      "<driver name='qemu' type='raw'/><source file='%s'/>"
      "<target dev='vda' bus='virtio'/></disk>"
      "<controller type='usb' model='none'/><memballoon model='none'/>"
      "</devices></domain>",
      path);
}

static pid_t
read_pid (const char *path)
{
  g_autofree char *text = NULL;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  return (pid_t) g_ascii_strtoll (text, NULL, 10);
}

static pid_t
qemu_pid (void)
{
  return read_pid ("/run/libvirt/qemu/web.pid");
}

static pid_t
libvirtd_pid (void)
{
  return read_pid ("/run/libvirtd.pid");
}

static void
start_libvirtd (void)
{
  const char *argv[] = { "libvirtd", "-d", "-p", "/run/libvirtd.pid", NULL };
  int status = -1;

  g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH,
                               NULL, NULL, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
}

static VpHostDomain *
get_web (World *world)
{
  g_autoptr (GError) error = NULL;
  VpHostDomain *domain = world->host->ops->get (world->host, "web", &error);

  g_assert_no_error (error);
  return domain;
}

static void
start_web (World *world)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (world->host->ops->start (world->host, "web", &error));
  g_assert_no_error (error);
}

static void
destroy_web (World *world)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (world->host->ops->destroy (world->host, "web", &error));
  g_assert_no_error (error);
}

static void
define_web (World *world)
{
  g_autofree char *xml = web_xml ();
  g_autoptr (GError) error = NULL;

  g_assert_true (world->host->ops->define (world->host, xml, &error));
  g_assert_no_error (error);
}

static void
undefine_web (World *world)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (world->host->ops->undefine (world->host, "web", &error));
  g_assert_no_error (error);
}

static void
world_open (World *world)
{
  VpHostLibvirtConfig config = { .uri = "qemu:///system",
                                 .call_timeout_ms = CALL_MS };
  g_autoptr (GError) error = NULL;

  world->quick = false;
  world->events = g_string_new (NULL);
  world->host = vp_host_libvirt_new (&config, &error);
  g_assert_no_error (error);
  world->host->ops->set_listener (world->host, on_event, world);
  expect_event (world, "connected - ");
}

static void
world_close (World *world)
{
  world->host->ops->free (world->host);
  g_string_free (world->events, TRUE);
}

/* ---- tests ---- */

static void
caps (World *world)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpHostCaps) caps = world->host->ops->caps (world->host, &error);

  g_assert_no_error (error);
  g_assert_true (caps->tcg);
  g_assert_false (caps->test);
  g_assert_cmpstr (caps->arch, ==, "x86_64");
  g_assert_true (g_str_has_prefix (caps->machine, "pc-q35-"));
  g_assert_true (g_ascii_isdigit (caps->machine[strlen ("pc-q35-")]));
  g_assert_true (g_file_test (caps->emulator, G_FILE_TEST_IS_EXECUTABLE));
  if (caps->kvm)
    g_assert_null (caps->kvm_reason);
  else
    g_assert_nonnull (caps->kvm_reason);
  g_test_message ("%s %s, kvm: %s", caps->machine, caps->emulator,
                  caps->kvm ? "yes" : caps->kvm_reason);
}

static void
test_caps (void)
{
  World world;

  world_open (&world);
  on_thread (&world, caps);
  world_close (&world);
}

static void
running (World *world)
{
  VpMark mark = { (char *) "web", (char *) "abc", false };
  const VpHostOps *ops = world->host->ops;
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (ops->set_mark (world->host, "web", &mark,
                                VP_HOST_LIVE | VP_HOST_CONFIG, &error));
  g_assert_true (
      ops->grow_disk (world->host, "web", "vda", 2 * 1024 * 1024, &error));
  g_assert_true (ops->set_memory (world->host, "web", 64 * 1024 * 1024,
                                  VP_HOST_CONFIG, &error));
  g_assert_true (ops->set_cpus (world->host, "web", 2, VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  domain = get_web (world);
  g_assert_cmpint (domain->power, ==, VP_POWER_RUNNING);
  g_assert_cmpint (domain->id, >, 0);
  g_assert_cmpstr (domain->mark->digest, ==, "abc");
  g_assert_cmpstr (domain->live_mark->digest, ==, "abc");
  g_assert_nonnull (strstr (domain->xml, ">65536</memory>"));
  g_assert_nonnull (strstr (domain->live_xml, ">32768</memory>"));
  g_assert_nonnull (strstr (domain->xml, ">2</vcpu>"));
}

static void
devices (World *world)
{
  static const char disk[] =
      "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
      "<source file='/nowhere.img'/><target dev='vdb' bus='virtio'/></disk>";
  const VpHostOps *ops = world->host->ops;
  g_autoptr (VpHostDomain) with = NULL;
  g_autoptr (VpHostDomain) without = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (
      ops->attach (world->host, "web", disk, VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  with = get_web (world);
  g_assert_nonnull (strstr (with->xml, "/nowhere.img"));
  g_assert_null (strstr (with->live_xml, "/nowhere.img"));
  g_assert_true (
      ops->detach (world->host, "web", disk, VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  without = get_web (world);
  g_assert_null (strstr (without->xml, "/nowhere.img"));
}

static void
off_cleanly (World *world)
{
  g_autoptr (VpHostDomain) domain = get_web (world);

  g_assert_cmpint (domain->power, ==, VP_POWER_STOPPED);
  g_assert_true (domain->clean_shutdown);
}

static void
off_otherwise (World *world)
{
  g_autoptr (VpHostDomain) domain = get_web (world);

  g_assert_cmpint (domain->power, ==, VP_POWER_STOPPED);
  g_assert_false (domain->clean_shutdown);
}

static void
off_crashed (World *world)
{
  g_autoptr (VpHostDomain) domain = get_web (world);

  g_assert_cmpint (domain->power, ==, VP_POWER_CRASHED);
}

/* Every way for a guest to end, told apart. */
static void
test_ends (void)
{
  World world;

  write_disk (idle, sizeof idle);
  world_open (&world);
  on_thread (&world, define_web);
  expect_event (&world, "defined web added; ");
  on_thread (&world, start_web);
  expect_event (&world, "started web booted; ");
  on_thread (&world, running);
  on_thread (&world, devices);
  on_thread (&world, destroy_web);
  expect_event (&world, "stopped web destroyed; ");
  on_thread (&world, off_otherwise);

  on_thread (&world, start_web);
  expect_event (&world, "started web booted; ");
  g_assert_cmpint (kill (qemu_pid (), SIGKILL), ==, 0);
  expect_event (&world, "crashed web ");
  on_thread (&world, off_crashed);

  /* QEMU ends in good order, but not by the guest's will. */
  on_thread (&world, start_web);
  expect_event (&world, "started web booted; ");
  g_assert_cmpint (kill (qemu_pid (), SIGTERM), ==, 0);
  expect_event (&world, "stopped web signalled; ");

  write_disk (power_off, sizeof power_off);
  on_thread (&world, start_web);
  expect_event (&world, "shutdown-by-guest web shutdown; ");
  on_thread (&world, off_cleanly);
  on_thread (&world, undefine_web);
  expect_event (&world, "undefined web removed; ");
  world_close (&world);
}

static void
still_running (World *world)
{
  g_autoptr (GPtrArray) list = NULL;
  g_autoptr (GError) error = NULL;
  const VpHostDomain *domain;

  /* A libvirtd that has just come back holds its domains while it talks to
   * each QEMU anew: the call keeps its deadline, and is made again. */
  for (unsigned i = 0; i < 6 && list == NULL; i++) {
    g_clear_error (&error);
    list = world->host->ops->list (world->host, &error);
    if (list == NULL && !g_error_matches (error, VP_ERROR, VP_ERROR_TIMEOUT))
      break;
  }
  g_assert_no_error (error);
  g_assert_cmpuint (list->len, ==, 1);
  domain = g_ptr_array_index (list, 0);
  g_assert_cmpstr (domain->name, ==, "web");
  g_assert_cmpint (domain->power, ==, VP_POWER_RUNNING);
}

static void
unavailable (World *world)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (world->host->ops->list (world->host, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE);
  g_clear_error (&error);
  g_assert_null (world->host->ops->get (world->host, "web", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE);
}

/* kill -9 and a new libvirtd: the link is back within 5 s, QEMU untouched. */
static void
test_restart (void)
{
  gint64 start;
  World world;
  pid_t pid;

  write_disk (idle, sizeof idle);
  world_open (&world);
  on_thread (&world, define_web);
  on_thread (&world, start_web);
  pid = qemu_pid ();
  for (unsigned i = 0; i < 3; i++) {
    g_assert_cmpint (kill (libvirtd_pid (), SIGKILL), ==, 0);
    expect_event (&world, "disconnected - ");
    g_assert_false (world.host->ops->is_connected (world.host));
    on_thread (&world, unavailable);
    start = g_get_monotonic_time ();
    start_libvirtd ();
    expect_event (&world, "connected - ");
    g_assert_cmpint (g_get_monotonic_time () - start, <, 5 * G_USEC_PER_SEC);
    on_thread (&world, still_running);
    g_assert_cmpint (qemu_pid (), ==, pid);
  }
  on_thread (&world, destroy_web);
  expect_event (&world, "stopped web destroyed; ");
  on_thread (&world, undefine_web);
  world_close (&world);
}

static void
time_out (World *world)
{
  for (unsigned i = 0; i < 10; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (world->host->ops->get (world->host, "web", &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
  }
}

/* Until the late calls have come home. */
static void
recovers (World *world)
{
  gint64 deadline = g_get_monotonic_time () + DEADLINE_MS * 1000;
  bool ok = false;

  while (!ok) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpHostDomain) domain = NULL;
    g_autoptr (GPtrArray) list = world->host->ops->list (world->host, &error);

    if (list)
      domain = world->host->ops->get (world->host, "web", NULL);
    ok = domain != NULL;
    g_assert_true (ok || g_get_monotonic_time () < deadline);
    g_usleep (10000);
  }
}

/* A libvirtd that is stopped: deadlines, at most eight lanes behind, and all
 * well when it goes on. */
static void
test_stopped_libvirtd (void)
{
  World world;
  pid_t pid = libvirtd_pid ();

  world_open (&world);
  on_thread (&world, define_web);
  g_assert_cmpint (kill (pid, SIGSTOP), ==, 0);
  on_thread (&world, time_out);
  g_assert_cmpint (kill (pid, SIGCONT), ==, 0);
  on_thread (&world, recovers);
  on_thread (&world, undefine_web);
  world_close (&world);
}

/* Six calls into one stopped QEMU: they time out, the list does not notice. */
static void *
shut_down (void *data)
{
  World *world = data;
  g_autoptr (GError) error = NULL;

  g_assert_false (world->host->ops->shutdown (world->host, "web", &error));
  g_assert_nonnull (error);
  return NULL;
}

/* Twenty listings within one call's deadline; false where one had none. */
static bool
lists_quickly (World *world)
{
  gint64 start = g_get_monotonic_time ();

  for (unsigned i = 0; i < 20; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) list = world->host->ops->list (world->host, &error);

    if (list == NULL) {
      g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
      return false;
    }
    g_assert_cmpuint (list->len, ==, 1);
  }
  return g_get_monotonic_time () - start < CALL_MS * 1000;
}

static void
crowd_and_list (World *world)
{
  pthread_t threads[6];

  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (pthread_create (&threads[i], NULL, shut_down, world), ==,
                     0);
  world->quick = lists_quickly (world);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
}

/* XXX: now and then libvirtd itself keeps the stopped guest's lock for as long
 * as the guest is stopped (seen with 9.0 on a busy machine), and then no
 * client can list.  Ours must be quick in one of three goes. */
static void
test_stopped_qemu (void)
{
  World world;
  pid_t pid;

  write_disk (idle, sizeof idle);
  world_open (&world);
  on_thread (&world, define_web);
  on_thread (&world, start_web);
  pid = qemu_pid ();
  for (unsigned i = 0; i < 3 && !world.quick; i++) {
    g_assert_cmpint (kill (pid, SIGSTOP), ==, 0);
    on_thread (&world, crowd_and_list);
    g_assert_cmpint (kill (pid, SIGCONT), ==, 0);
    on_thread (&world, recovers);
  }
  g_assert_true (world.quick);
  on_thread (&world, destroy_web);
  expect_event (&world, "stopped web destroyed; ");
  on_thread (&world, undefine_web);
  world_close (&world);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_assert_nonnull (g_getenv ("VP_TEST_FOLDER"));
  g_test_add_func ("/libvirtd/caps", test_caps);
  g_test_add_func ("/libvirtd/ends", test_ends);
  g_test_add_func ("/libvirtd/restart", test_restart);
  g_test_add_func ("/libvirtd/stopped-qemu", test_stopped_qemu);
  g_test_add_func ("/libvirtd/stopped-libvirtd", test_stopped_libvirtd);
  return g_test_run ();
}
