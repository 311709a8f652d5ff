/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt on libvirt's test driver, in process: every verb, every event,
 * every error that needs no hypervisor.  And its deadlines, with a libvirtd
 * that never answers: a socket on which nobody reads.
 *
 * The calls block, so each one runs on a thread of its own while the main
 * thread turns the loop that libvirt's events need. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/host-lane.h"
#include "daemon/host-libvirt.h"
#include "daemon/kvm.h"

#include <glib/gstdio.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEADLINE_MS 10000

static const char domain_xml[] =
    "<domain type='test'>"
    "  <name>web</name>"
    "  <uuid>0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11</uuid>"
    "  <memory unit='MiB'>64</memory>"
    "  <vcpu>1</vcpu>"
    "  <os><type>hvm</type></os>"
    "  <devices>"
    "    <disk type='file' device='disk'>"
    "      <source file='/nowhere/root.img'/><target dev='vda'/>"
    "    </disk>"
    "  </devices>"
    "</domain>";

/* ---- a thread for the blocking call, a loop for its events ---- */

typedef struct {
  VpHost *host;
  GString *events; /* "started web booted; " */
} Fixture;

typedef struct {
  void (*body) (Fixture *fixture);
  Fixture *fixture;
  int done; /* atomic */
} Script;

static void *
run_script (void *data)
{
  Script *script = data;

  script->body (script->fixture);
  g_atomic_int_set (&script->done, 1);
  g_main_context_wakeup (NULL);
  return NULL;
}

static gboolean
out_of_time (gpointer data)
{
  g_error ("no end after %d ms", DEADLINE_MS);
  return G_SOURCE_REMOVE;
}

/* body runs away from the main thread; what it asserts counts. */
static void
on_thread (Fixture *fixture, void (*body) (Fixture *fixture))
{
  Script script = { body, fixture, 0 };
  unsigned timeout = g_timeout_add (DEADLINE_MS, out_of_time, NULL);
  pthread_t thread;

  g_assert_cmpint (pthread_create (&thread, NULL, run_script, &script), ==, 0);
  while (!g_atomic_int_get (&script.done))
    g_main_context_iteration (NULL, TRUE);
  pthread_join (thread, NULL);
  g_source_remove (timeout);
}

static const char *const event_words[] = {
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

static void
on_event (VpHostEvent event, const char *name, const char *detail,
          gpointer user_data)
{
  Fixture *fixture = user_data;

  g_string_append_printf (fixture->events, "%s %s %s; ", event_words[event],
                          name ? name : "-", detail);
}

/* Turns the loop until the events are these, then forgets them. */
static void
expect_events (Fixture *fixture, const char *expected)
{
  unsigned timeout = g_timeout_add (DEADLINE_MS, out_of_time, NULL);

  while (fixture->events->len < strlen (expected))
    g_main_context_iteration (NULL, TRUE);
  g_assert_cmpstr (fixture->events->str, ==, expected);
  g_string_truncate (fixture->events, 0);
  g_source_remove (timeout);
}

static void
set_up (Fixture *fixture, gconstpointer uri)
{
  VpHostLibvirtConfig config = { .uri = uri };
  g_autoptr (GError) error = NULL;

  fixture->events = g_string_new (NULL);
  fixture->host = vp_host_libvirt_new (&config, &error);
  g_assert_no_error (error);
  fixture->host->ops->set_listener (fixture->host, on_event, fixture);
  expect_events (fixture, "connected - connected; ");
  g_assert_true (fixture->host->ops->is_connected (fixture->host));
}

static void
tear_down (Fixture *fixture, gconstpointer uri)
{
  fixture->host->ops->free (fixture->host);
  g_string_free (fixture->events, TRUE);
}

/* ---- the test driver ---- */

static void
define_web (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (
      fixture->host->ops->define (fixture->host, domain_xml, &error));
  g_assert_no_error (error);
}

static void
undefine_web (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (fixture->host->ops->undefine (fixture->host, "web", &error));
  g_assert_no_error (error);
}

static VpHostDomain *
get_web (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  VpHostDomain *domain = fixture->host->ops->get (fixture->host, "web", &error);

  g_assert_no_error (error);
  return domain;
}

static void
life_defined (Fixture *fixture)
{
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GPtrArray) list = NULL;
  g_autoptr (GError) error = NULL;
  unsigned found = 0;

  define_web (fixture);
  domain = get_web (fixture);
  g_assert_cmpstr (domain->name, ==, "web");
  g_assert_cmpstr (domain->uuid, ==, "0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11");
  g_assert_cmpint (domain->power, ==, VP_POWER_STOPPED);
  g_assert_true (domain->persistent);
  g_assert_cmpint (domain->id, ==, -1);
  g_assert_nonnull (strstr (domain->xml, "/nowhere/root.img"));
  g_assert_null (domain->live_xml);
  g_assert_null (domain->mark);

  list = fixture->host->ops->list (fixture->host, &error);
  g_assert_no_error (error);
  for (unsigned i = 0; i < list->len; i++) {
    const VpHostDomain *listed = g_ptr_array_index (list, i);

    found += strcmp (listed->name, "web") == 0;
    g_assert_null (listed->xml);
  }
  g_assert_cmpuint (list->len, ==, 2); /* and the driver's own "test" */
  g_assert_cmpuint (found, ==, 1);
}

static void
life_started (Fixture *fixture)
{
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (fixture->host->ops->start (fixture->host, "web", &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_cmpint (domain->power, ==, VP_POWER_RUNNING);
  g_assert_cmpint (domain->id, >, 0);
  g_assert_nonnull (domain->live_xml);

  g_assert_false (fixture->host->ops->start (fixture->host, "web", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED);
  g_assert_nonnull (strstr (error->message, "start web: libvirt: "));
}

static void
life_shut_down (Fixture *fixture)
{
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (fixture->host->ops->shutdown (fixture->host, "web", &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_cmpint (domain->power, ==, VP_POWER_STOPPED);
  g_assert_true (domain->clean_shutdown);
}

static void
life_destroyed (Fixture *fixture)
{
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (fixture->host->ops->start (fixture->host, "web", &error));
  g_assert_true (fixture->host->ops->destroy (fixture->host, "web", &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_cmpint (domain->power, ==, VP_POWER_STOPPED);
  g_assert_false (domain->clean_shutdown);
}

static void
test_life (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, life_defined);
  expect_events (fixture, "defined web added; ");
  on_thread (fixture, life_started);
  expect_events (fixture, "started web booted; ");
  on_thread (fixture, life_shut_down);
  expect_events (fixture, "shutdown-by-guest web shutdown; ");
  on_thread (fixture, life_destroyed);
  expect_events (fixture, "started web booted; stopped web destroyed; ");
  on_thread (fixture, undefine_web);
  expect_events (fixture, "undefined web removed; ");
}

static void
absent (Fixture *fixture)
{
  const VpHostOps *ops = fixture->host->ops;
  static const VpMark mark = { (char *) "nobody", (char *) "0", false };
  VpHost *host = fixture->host;
  bool ok[13];

  for (size_t i = 0; i < G_N_ELEMENTS (ok); i++) {
    g_autoptr (GError) error = NULL;

    switch (i) {
    case 0: ok[i] = ops->get (host, "nobody", &error) != NULL; break;
    case 1: ok[i] = ops->undefine (host, "nobody", &error); break;
    case 2: ok[i] = ops->start (host, "nobody", &error); break;
    case 3: ok[i] = ops->shutdown (host, "nobody", &error); break;
    case 4: ok[i] = ops->destroy (host, "nobody", &error); break;
    case 5: ok[i] = ops->resume (host, "nobody", &error); break;
    case 6: ok[i] = ops->attach (host, "nobody", "<disk/>", 1, &error); break;
    case 7: ok[i] = ops->detach (host, "nobody", "<disk/>", 1, &error); break;
    case 8: ok[i] = ops->set_memory (host, "nobody", 1, 1, &error); break;
    case 9: ok[i] = ops->set_cpus (host, "nobody", 1, 1, &error); break;
    case 10: ok[i] = ops->grow_disk (host, "nobody", "vda", 1, &error); break;
    case 11: ok[i] = ops->set_mark (host, "nobody", &mark, 1, &error); break;
    default: ok[i] = ops->set_mark (host, "nobody", NULL, 2, &error); break;
    }
    g_assert_false (ok[i]);
    g_assert_error (error, VP_ERROR, VP_ERROR_NO_SUCH_GUEST);
    g_assert_nonnull (strstr (error->message, " nobody: libvirt: "));
  }
}

static void
test_absent (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, absent);
}

static void
refused (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (
      fixture->host->ops->define (fixture->host, "<domain>", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED);
  g_clear_error (&error);
  g_assert_false (fixture->host->ops->define (
      fixture->host, "<domain type='test'><name>web</name><nonsense/></domain>",
      &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED);
}

static void
test_refused (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, refused);
}

static void
marks (Fixture *fixture)
{
  VpMark mark = { (char *) "web", (char *) "abc123", false };
  const VpHostOps *ops = fixture->host->ops;
  g_autoptr (GPtrArray) list = NULL;
  g_autoptr (GError) error = NULL;
  VpHostDomain *domain;

  define_web (fixture);
  g_assert_true (
      ops->set_mark (fixture->host, "web", &mark, VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_nonnull (domain->mark);
  g_assert_cmpstr (domain->mark->guest, ==, "web");
  g_assert_cmpstr (domain->mark->digest, ==, "abc123");
  g_assert_false (domain->mark->retired);
  g_assert_null (domain->live_mark);
  vp_host_domain_free (domain);

  g_assert_true (ops->start (fixture->host, "web", &error));
  mark.retired = true;
  mark.digest = (char *) "def456";
  g_assert_true (
      ops->set_mark (fixture->host, "web", &mark, VP_HOST_LIVE, &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_cmpstr (domain->mark->digest, ==, "abc123");
  g_assert_cmpstr (domain->live_mark->digest, ==, "def456");
  g_assert_true (domain->live_mark->retired);
  vp_host_domain_free (domain);

  list = ops->list (fixture->host, &error);
  for (unsigned i = 0; i < list->len; i++) {
    domain = g_ptr_array_index (list, i);
    if (strcmp (domain->name, "web") != 0)
      continue;
    g_assert_cmpstr (domain->mark->digest, ==, "abc123");
    g_assert_cmpstr (domain->live_mark->digest, ==, "def456");
  }

  g_assert_true (ops->set_mark (fixture->host, "web", NULL,
                                VP_HOST_LIVE | VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_null (domain->mark);
  g_assert_null (domain->live_mark);
  vp_host_domain_free (domain);
  g_assert_true (ops->destroy (fixture->host, "web", &error));
  undefine_web (fixture);
}

static void
test_marks (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, marks);
}

static void
sizes (Fixture *fixture)
{
  const VpHostOps *ops = fixture->host->ops;
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) error = NULL;

  define_web (fixture);
  g_assert_true (ops->set_memory (fixture->host, "web", 128 * 1024 * 1024,
                                  VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  g_assert_true (
      ops->set_cpus (fixture->host, "web", 3, VP_HOST_CONFIG, &error));
  g_assert_no_error (error);
  domain = get_web (fixture);
  g_assert_nonnull (strstr (domain->xml, "<memory unit='KiB'>131072</memory>"));
  g_assert_nonnull (
      strstr (domain->xml, "<currentMemory unit='KiB'>131072</currentMemory>"));
  g_assert_nonnull (strstr (domain->xml, "placement='static'>3</vcpu>"));
  undefine_web (fixture);
}

static void
test_sizes (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, sizes);
}

static void
caps (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpHostCaps) caps =
      fixture->host->ops->caps (fixture->host, &error);

  g_assert_no_error (error);
  g_assert_true (caps->test);
  g_assert_false (caps->kvm);
  g_assert_false (caps->tcg);
  g_assert_nonnull (caps->kvm_reason);
  g_assert_nonnull (caps->arch);
  g_assert_null (caps->emulator);
}

static void
test_caps (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, caps);
}

/* Many threads at once: more than there are lanes. */
static void *
list_often (void *data)
{
  VpHost *host = data;

  for (unsigned i = 0; i < 50; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) list = host->ops->list (host, &error);
    g_autoptr (VpHostDomain) domain = host->ops->get (host, "test", &error);

    g_assert_no_error (error);
    g_assert_cmpuint (list->len, ==, 1);
    g_assert_cmpstr (domain->name, ==, "test");
  }
  return NULL;
}

static void
crowd (Fixture *fixture)
{
  pthread_t threads[24];

  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, list_often, fixture->host), ==, 0);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
}

static void
test_crowd (Fixture *fixture, gconstpointer uri)
{
  on_thread (fixture, crowd);
}

/* ---- deadlines ---- */

/* A libvirtd that never answers: a socket with a backlog and no accept. */
typedef struct {
  char *folder, *path, *uri;
  int fd;
} Silent;

static void
silent_open (Silent *silent)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  silent->folder = g_dir_make_tmp ("vprovd-test-XXXXXX", NULL);
  g_assert_nonnull (silent->folder);
  silent->path = g_build_filename (silent->folder, "sock", NULL);
  silent->uri = g_strdup_printf ("qemu+unix:///system?socket=%s", silent->path);
  g_strlcpy (address.sun_path, silent->path, sizeof address.sun_path);
  silent->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (
      bind (silent->fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  g_assert_cmpint (listen (silent->fd, 64), ==, 0);
}

static unsigned
count_threads (void)
{
  GDir *dir = g_dir_open ("/proc/self/task", 0, NULL);
  unsigned n = 0;

  while (g_dir_read_name (dir))
    n++;
  g_dir_close (dir);
  return n;
}

/* Whoever waits for an answer gets an end of file; their threads end, until
 * there are as many as at the program's start. */
static void
silent_close (Silent *silent, unsigned n_threads)
{
  gint64 deadline = g_get_monotonic_time () + DEADLINE_MS * 1000;

  close (silent->fd);
  while (count_threads () > n_threads) {
    g_assert_cmpint (g_get_monotonic_time (), <, deadline);
    g_main_context_iteration (NULL, FALSE);
    g_usleep (1000);
  }
  g_unlink (silent->path);
  g_rmdir (silent->folder);
  g_free (silent->path);
  g_free (silent->folder);
  g_free (silent->uri);
}

static void
silent_calls (Fixture *fixture)
{
  gint64 start = g_get_monotonic_time ();
  unsigned i;

  /* Eight deadlines of 50 ms, then nothing is asked any more. */
  for (i = 0; i < 12; i++) {
    g_autoptr (GError) error = NULL;
    gint64 before = g_get_monotonic_time ();
    gint64 took;

    g_assert_false (fixture->host->ops->start (fixture->host, "web", &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
    took = g_get_monotonic_time () - before;
    if (i < 8)
      g_assert_cmpint (took, >=, 50 * 1000);
    else
      g_assert_nonnull (strstr (error->message, "do not come back"));
  }
  g_assert_cmpint (g_get_monotonic_time () - start, <, DEADLINE_MS * 1000);
  /* Listing has lanes of its own: it still asks. */
  {
    g_autoptr (GError) error = NULL;

    g_assert_null (fixture->host->ops->list (fixture->host, &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
    g_assert_nonnull (strstr (error->message, "no answer within 50 ms"));
  }
}

static void
test_silent (gconstpointer n_threads)
{
  VpHostLibvirtConfig config = { .call_timeout_ms = 50,
                                 .start_timeout_ms = 50 };
  Fixture fixture = { .events = g_string_new (NULL) };
  g_autoptr (GError) error = NULL;
  Silent silent;

  silent_open (&silent);
  config.uri = silent.uri;
  fixture.host = vp_host_libvirt_new (&config, &error);
  g_assert_no_error (error);
  fixture.host->ops->set_listener (fixture.host, on_event, &fixture);
  on_thread (&fixture, silent_calls);
  g_assert_false (fixture.host->ops->is_connected (fixture.host));
  g_assert_cmpstr (fixture.events->str, ==, "");
  tear_down (&fixture, NULL);
  silent_close (&silent, *(const unsigned *) n_threads);
}

static void
unreachable_calls (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (fixture->host->ops->list (fixture->host, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE);
  g_clear_error (&error);
  g_assert_false (fixture->host->ops->start (fixture->host, "web", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE);
}

/* Nobody listens: an error at once, not a deadline. */
static void
test_unreachable (void)
{
  VpHostLibvirtConfig config = {
    .uri = "qemu+unix:///system?socket=/nonexistent/sock"
  };
  Fixture fixture = { .events = g_string_new (NULL) };

  fixture.host = vp_host_libvirt_new (&config, NULL);
  g_assert_nonnull (fixture.host);
  on_thread (&fixture, unreachable_calls);
  g_assert_false (fixture.host->ops->is_connected (fixture.host));
  tear_down (&fixture, NULL);
}

/* ---- lanes by themselves ---- */

typedef struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  unsigned opened, closed, freed, working;
  bool go;
  bool usable;
} World;

typedef struct {
  World *world;
  int value;
} Work;

static void *
world_open (gpointer data, GError **error)
{
  World *world = data;

  pthread_mutex_lock (&world->mutex);
  world->opened++;
  pthread_mutex_unlock (&world->mutex);
  return world;
}

static bool
world_is_usable (void *link)
{
  World *world = link;
  bool usable;

  pthread_mutex_lock (&world->mutex);
  usable = world->usable;
  pthread_mutex_unlock (&world->mutex);
  return usable;
}

static void
world_close (void *link)
{
  World *world = link;

  pthread_mutex_lock (&world->mutex);
  world->closed++;
  pthread_cond_broadcast (&world->changed);
  pthread_mutex_unlock (&world->mutex);
}

static void
work_free (gpointer data)
{
  Work *work = data;

  pthread_mutex_lock (&work->world->mutex);
  work->world->freed++;
  pthread_cond_broadcast (&work->world->changed);
  pthread_mutex_unlock (&work->world->mutex);
  g_free (work);
}

static bool
work_double (void *link, gpointer data, GError **error)
{
  ((Work *) data)->value *= 2;
  return true;
}

static bool
work_wait (void *link, gpointer data, GError **error)
{
  World *world = link;

  pthread_mutex_lock (&world->mutex);
  world->working++;
  while (!world->go)
    pthread_cond_wait (&world->changed, &world->mutex);
  pthread_mutex_unlock (&world->mutex);
  return true;
}

static Work *
work_new (World *world, int value)
{
  Work *work = g_new0 (Work, 1);

  work->world = world;
  work->value = value;
  return work;
}

static const VpLaneOps world_ops = { world_open, world_is_usable, world_close };

static void
world_init (World *world)
{
  memset (world, 0, sizeof *world);
  pthread_mutex_init (&world->mutex, NULL);
  pthread_cond_init (&world->changed, NULL);
  world->usable = true;
}

static void
world_clear (World *world)
{
  pthread_cond_destroy (&world->changed);
  pthread_mutex_destroy (&world->mutex);
}

static void
call_double (VpLanes *lanes, World *world)
{
  g_autoptr (GError) error = NULL;
  gpointer back;

  g_assert_true (vp_lanes_call (lanes, work_double, work_new (world, 21),
                                work_free, DEADLINE_MS, &back, &error));
  g_assert_no_error (error);
  g_assert_cmpint (((Work *) back)->value, ==, 42);
  work_free (back);
}

static void
test_lane_reuse (void)
{
  World world;
  VpLanes *lanes;

  world_init (&world);
  lanes = vp_lanes_new (&world_ops, 4, 2, &world, NULL);
  for (unsigned i = 0; i < 10; i++)
    call_double (lanes, &world);
  g_assert_cmpuint (world.opened, ==, 1); /* one lane, one link */
  pthread_mutex_lock (&world.mutex);
  world.usable = false;
  pthread_mutex_unlock (&world.mutex);
  call_double (lanes, &world); /* a dead link is opened anew first */
  vp_lanes_free (lanes);
  g_assert_cmpuint (world.opened, ==, 2);
  g_assert_cmpuint (world.closed, ==, 2);
  g_assert_cmpuint (world.freed, ==, 11);
  world_clear (&world);
}

static void
test_lane_retired (void)
{
  World world;
  VpLanes *lanes;
  gint64 deadline = g_get_monotonic_time () + DEADLINE_MS * 1000;

  world_init (&world);
  lanes = vp_lanes_new (&world_ops, 4, 2, &world, NULL);
  for (unsigned i = 0; i < 3; i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (vp_lanes_call (lanes, work_wait, work_new (&world, 0),
                                   work_free, i < 2 ? 20 : DEADLINE_MS, NULL,
                                   &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
  }
  g_assert_cmpuint (vp_lanes_count_retired (lanes), ==, 2);
  pthread_mutex_lock (&world.mutex);
  g_assert_cmpuint (world.working, ==, 2); /* the third was never begun */
  g_assert_cmpuint (world.freed, ==, 1);
  world.go = true;
  pthread_cond_broadcast (&world.changed);
  pthread_mutex_unlock (&world.mutex);

  while (vp_lanes_count_retired (lanes) > 0) {
    g_assert_cmpint (g_get_monotonic_time (), <, deadline);
    g_usleep (1000);
  }
  call_double (lanes, &world);
  vp_lanes_free (lanes);
  g_assert_cmpuint (world.freed, ==, 4);
  g_assert_cmpuint (world.opened, ==, 3);
  g_assert_cmpuint (world.closed, ==, 3);
  world_clear (&world);
}

/* ---- kvm ---- */

static void
test_kvm (void)
{
  static const struct {
    VpKvmEvidence evidence;
    const char *reason; /* a word of it; NULL: usable */
  } cases[] = {
    { { "x86_64", true, true, "flags\t\t: fpu vmx sse\n" }, NULL },
    { { "x86_64", true, true, "processor: 0\nflags\t: svm\n" }, NULL },
    { { "x86_64", true, true, "flags\t\t: fpu sse\n" }, "VT-x" },
    /* A word, not a part of one; that line, not another. */
    { { "x86_64", true, true, "flags: xvmx\n" }, "VT-x" },
    { { "x86_64", true, true, "vmx flags: vnmi\nflags: fpu\n" }, "VT-x" },
    { { "x86_64", true, true, NULL }, "/proc/cpuinfo" },
    { { "x86_64", true, false, "flags: vmx\n" }, "/dev/kvm" },
    { { "x86_64", false, true, "flags: vmx\n" }, "offer" },
    { { "aarch64", true, true, "Features: fp\n" }, NULL },
    { { "aarch64", true, false, "" }, "/dev/kvm" },
    { { "s390x", true, true, "features\t: esan3 sie\n" }, NULL },
    { { "s390x", true, true, "features\t: esan3\n" }, "SIE" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *reason = NULL;
    bool usable = vp_kvm_is_usable (&cases[i].evidence, &reason);

    g_assert_cmpint (usable, ==, cases[i].reason == NULL);
    if (cases[i].reason)
      g_assert_nonnull (strstr (reason, cases[i].reason));
    else
      g_assert_null (reason);
  }
}

static void *
do_nothing (void *data)
{
  return NULL;
}

#define ADD(path, function)                                                    \
  g_test_add ("/host/test-driver/" path, Fixture, "test:///default", set_up,   \
              function, tear_down)

int
main (int argc, char **argv)
{
  unsigned n_threads;
  pthread_t first;

  /* With the first thread a sanitizer starts one of its own, which stays. */
  g_assert_cmpint (pthread_create (&first, NULL, do_nothing, NULL), ==, 0);
  pthread_join (first, NULL);
  n_threads = count_threads ();

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/host/kvm", test_kvm);
  g_test_add_func ("/host/lane/reuse", test_lane_reuse);
  g_test_add_func ("/host/lane/retired", test_lane_retired);
  ADD ("life", test_life);
  ADD ("absent", test_absent);
  ADD ("refused", test_refused);
  ADD ("marks", test_marks);
  ADD ("sizes", test_sizes);
  ADD ("caps", test_caps);
  ADD ("crowd", test_crowd);
  g_test_add_func ("/host/unreachable", test_unreachable);
  g_test_add_data_func ("/host/silent", &n_threads, test_silent);
  return g_test_run ();
}
