/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The manager on a hypervisor in memory: files come, change, break and go;
 * guests stop, crash and are meddled with; what the hypervisor was asked to do
 * is compared word by word.  Networks are left alone here; they have their
 * own tests with real traffic. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/manager.h"
#include "tests/daemon/fake-host.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MINIMAL                                                                \
  "<guest>\n  <memory>256M</memory>\n  <nic bridge=\"br0\"/>\n</guest>\n"

typedef struct {
  char *root, *specs, *guests;
  VpConfig config;
  VpHost *host;
  VpStore *store;
  VpManager *manager;
} World;

static void
start_manager (World *world)
{
  g_autoptr (GError) error = NULL;

  world->store = vp_store_open (world->config.state_dir, &error);
  g_assert_no_error (error);
  world->manager = vp_manager_new (&world->config, world->host, world->store);
  vp_manager_start (world->manager, &error);
  g_assert_no_error (error);
}

static void
stop_manager (World *world)
{
  vp_manager_stop (world->manager);
  vp_manager_free (world->manager);
  vp_store_free (world->store);
}

static void
world_set_up (World *world, gconstpointer data)
{
  static char *spec_dirs[2];

  world->root = g_dir_make_tmp ("vprovd-manager-XXXXXX", NULL);
  g_assert_nonnull (world->root);
  world->specs = g_build_filename (world->root, "etc", NULL);
  world->guests = g_build_filename (world->specs, "guests", NULL);
  g_assert_cmpint (g_mkdir_with_parents (world->guests, 0755), ==, 0);
  spec_dirs[0] = world->specs;
  world->config.spec_dirs = spec_dirs;
  world->config.state_dir = g_build_filename (world->root, "state", NULL);
  world->config.runtime_dir = g_build_filename (world->root, "run", NULL);
  world->config.worker_program = g_strdup (VP_TEST_WORKER);
  world->config.apply_live = world->config.apply_create =
      world->config.apply_stop = true;
  world->config.rescan_s = 3600;
  world->config.settle_ms = 5;
  world->config.shutdown_timeout_s = 1;
  world->config.max_jobs = 4;
  world->host = vp_fake_host_new ();
  start_manager (world);
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name = NULL;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  (void) g_remove (path);
}

static void
world_tear_down (World *world, gconstpointer data)
{
  stop_manager (world);
  world->host->ops->free (world->host);
  remove_tree (world->root);
  g_free (world->config.state_dir);
  g_free (world->config.runtime_dir);
  g_free (world->config.worker_program);
  g_free (world->root);
  g_free (world->specs);
  g_free (world->guests);
}

/* As an editor does it: another name, then rename. */
static void
drop_in (World *world, const char *folder, const char *name, const char *text)
{
  g_autofree char *dir = g_build_filename (world->specs, folder, NULL);
  g_autofree char *file = g_strdup_printf ("%s.xml", name);
  g_autofree char *path = g_build_filename (dir, file, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (g_mkdir_with_parents (dir, 0755), ==, 0);
  g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT,
                            0644, &error);
  g_assert_no_error (error);
}

static void
drop (World *world, const char *name, const char *text)
{
  drop_in (world, "guests", name, text);
}

static void
take_away (World *world, const char *name)
{
  g_autofree char *path = g_strdup_printf ("%s/%s.xml", world->guests, name);

  g_assert_cmpint (g_unlink (path), ==, 0);
}

static gboolean
on_late (gpointer data)
{
  *(bool *) data = true;
  return G_SOURCE_REMOVE;
}

/* Runs the loop until the condition holds; fails after 10 s. */
#define WAIT(condition)                                                        \
  do {                                                                         \
    bool late_ = false;                                                        \
    guint timer_ = g_timeout_add (10000, on_late, &late_);                     \
    while (!(condition) && !late_)                                             \
      g_main_context_iteration (NULL, TRUE);                                   \
    g_assert_true (condition);                                                 \
    if (!late_)                                                                \
      g_source_remove (timer_);                                                \
  } while (0)

static const VpGuestStatus *
status (World *world, const char *name)
{
  return vp_manager_get_guest (world->manager, name);
}

static bool
is_synced (World *world, const char *name, const char *state)
{
  const VpGuestStatus *guest = status (world, name);

  return guest != NULL && guest->sync == VP_SYNC_SYNCED &&
         g_str_equal (guest->state, state);
}

static void
reload (World *world)
{
  g_autoptr (GPtrArray) problems = NULL;

  vp_manager_reload (world->manager, &problems);
}

/* All passes that were wanted are over. */
static bool
is_quiet (World *world)
{
  const char *state = vp_manager_get_state (world->manager);

  return !g_str_equal (state, "reconciling") &&
         !g_str_equal (state, "starting");
}

static void
assert_log (World *world, const char *expected)
{
  g_autofree char *log = vp_fake_host_log (world->host);

  g_assert_cmpstr (log, ==, expected);
  vp_fake_host_clear_log (world->host);
}

static void
bring_up (World *world, const char *name, const char *text)
{
  drop (world, name, text);
  WAIT (is_synced (world, name, "running"));
  vp_fake_host_clear_log (world->host);
}

static void
test_new_file (World *world, gconstpointer data)
{
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "define web; start web");
  g_assert_cmpstr (vp_manager_get_state (world->manager), ==, "synced");
}

static void
test_same_again (World *world, gconstpointer data)
{
  g_autofree char *record = NULL;
  struct stat before, after;

  bring_up (world, "web", MINIMAL);
  record = g_build_filename (world->config.state_dir, "guests", "web", NULL);
  g_assert_cmpint (stat (record, &before), ==, 0);
  drop (world, "web", MINIMAL);
  reload (world);
  drop (world, "web",
        "<!-- a word -->\n<guest>\n  <memory>256M</memory>\n"
        "  <nic bridge=\"br0\"/>\n</guest>\n");
  reload (world);
  WAIT (is_quiet (world));
  assert_log (world, "");
  g_assert_cmpint (stat (record, &after), ==, 0);
  g_assert_cmpint (before.st_ino, ==, after.st_ino);
  g_assert_cmpint (before.st_mtim.tv_nsec, ==, after.st_mtim.tv_nsec);
}

static void
test_restart_of_daemon (World *world, gconstpointer data)
{
  g_autofree char *uuid = NULL;

  bring_up (world, "web", MINIMAL);
  uuid = g_strdup (status (world, "web")->uuid);
  stop_manager (world);
  start_manager (world);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
  g_assert_cmpstr (status (world, "web")->uuid, ==, uuid);
}

static void
test_broken_file_changes_nothing (World *world, gconstpointer data)
{
  const VpProblem *problem = NULL;

  bring_up (world, "web", MINIMAL);
  drop (world, "web", "<guest>\n  <memmory>1G</memmory>\n</guest>\n");
  reload (world);
  WAIT (status (world, "web")->sync == VP_SYNC_INVALID);
  assert_log (world, "");
  g_assert_cmpstr (status (world, "web")->state, ==, "running");
  g_assert_cmpuint (vp_manager_get_problems (world->manager)->len, ==, 2);
  problem = g_ptr_array_index (vp_manager_get_problems (world->manager), 1);
  g_assert_cmpuint (problem->place.line, ==, 2);
  g_assert_cmpuint (problem->place.column, ==, 3);
  g_assert_nonnull (strstr (problem->message, "memory"));
  /* The last good version holds over a restart, too. */
  stop_manager (world);
  start_manager (world);
  WAIT (status (world, "web")->sync == VP_SYNC_INVALID);
  WAIT (g_str_equal (status (world, "web")->state, "running"));
  assert_log (world, "");
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
}

static void
test_change_waits_for_restart (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  drop (world, "web",
        "<guest><memory>512M</memory><nic bridge=\"br0\"/></guest>");
  WAIT (status (world, "web")->restart_required);
  assert_log (world, "define web");
  g_assert_cmpuint (status (world, "web")->pending->len, ==, 1);
  reload (world);
  WAIT (is_quiet (world));
  assert_log (world, "");
  g_assert_true (status (world, "web")->restart_required);
}

static void
test_removed_and_back (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  take_away (world, "web");
  WAIT (status (world, "web")->sync == VP_SYNC_RETIRED &&
        g_str_equal (status (world, "web")->state, "stopped"));
  assert_log (world, "shutdown web; set_mark web");
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "define web; start web");
}

static void
test_deaf_guest_is_powered_off (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  vp_fake_host_set_deaf (world->host, "web", true);
  take_away (world, "web");
  WAIT (g_str_equal (status (world, "web")->state, "stopped"));
  assert_log (world, "shutdown web; destroy web; set_mark web");
}

static void
test_all_files_vanish (World *world, gconstpointer data)
{
  g_autofree char *aside = g_strconcat (world->guests, ".aside", NULL);
  unsigned job = 0;

  bring_up (world, "a", MINIMAL);
  bring_up (world, "b", MINIMAL);
  bring_up (world, "c", MINIMAL);
  take_away (world, "a");
  take_away (world, "b");
  take_away (world, "c");
  reload (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  assert_log (world, "");
  g_assert_cmpstr (status (world, "b")->state, ==, "running");
  /* A person says that it is meant so. */
  g_assert_true (vp_manager_apply (world->manager, "", &job, NULL));
  WAIT (g_str_equal (status (world, "a")->state, "stopped") &&
        g_str_equal (status (world, "b")->state, "stopped") &&
        g_str_equal (status (world, "c")->state, "stopped"));
}

static void
test_folder_goes (World *world, gconstpointer data)
{
  g_autofree char *aside = g_strconcat (world->guests, ".aside", NULL);

  bring_up (world, "web", MINIMAL);
  g_assert_cmpint (g_rename (world->guests, aside), ==, 0);
  reload (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  stop_manager (world);
  start_manager (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  assert_log (world, "");
  g_assert_cmpint (g_rename (aside, world->guests), ==, 0);
  reload (world);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
}

static void
test_stop_holds (World *world, gconstpointer data)
{
  unsigned job = 0;

  bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (is_synced (world, "web", "stopped"));
  WAIT (vp_manager_get_job (world->manager, job)->finished);
  assert_log (world, "shutdown web");
  stop_manager (world);
  start_manager (world);
  WAIT (is_synced (world, "web", "stopped"));
  assert_log (world, "");
  g_assert_cmpstr (status (world, "web")->wanted, ==, "stopped");
  g_assert_true (vp_manager_start_guest (world->manager, "web", &job, NULL));
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "start web");
}

static void
test_hold_ends_with_the_hosts_boot (World *world, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = NULL;
  unsigned job = 0;

  bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (is_synced (world, "web", "stopped"));
  stop_manager (world);
  world->store = vp_store_open (world->config.state_dir, NULL);
  record = vp_store_load_guest (world->store, "web", NULL);
  g_assert_true (record->hold);
  g_free (record->boot_id);
  record->boot_id = g_strdup ("another boot");
  g_assert_true (vp_store_save_guest (world->store, "web", record, NULL));
  vp_store_free (world->store);
  start_manager (world);
  WAIT (is_synced (world, "web", "running"));
}

static void
test_power_off_from_inside_holds (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  vp_fake_host_power_off (world->host, "web");
  WAIT (is_synced (world, "web", "stopped"));
  reload (world);
  WAIT (is_quiet (world));
  assert_log (world, "");
  g_assert_cmpstr (status (world, "web")->wanted, ==, "stopped");
}

static void
test_crash_does_not_hold (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  vp_fake_host_crash (world->host, "web");
  WAIT (status (world, "web")->restarts == 1 &&
        is_synced (world, "web", "running"));
  assert_log (world, "start web");
}

static void
test_stranger_stops_it (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  vp_fake_host_stranger_destroys (world->host, "web");
  WAIT (status (world, "web")->restarts == 1 &&
        is_synced (world, "web", "running"));
}

static void
test_spec_says_stopped (World *world, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  unsigned job = 0;

  bring_up (world, "web", MINIMAL);
  drop (world, "web",
        "<guest state=\"stopped\"><memory>256M</memory>"
        "<nic bridge=\"br0\"/></guest>");
  WAIT (is_synced (world, "web", "stopped"));
  assert_log (world, "shutdown web");
  g_assert_false (vp_manager_start_guest (world->manager, "web", &job, &error));
  g_assert_nonnull (strstr (error->message, "state="));
  /* It is off by our doing: not a power-off from inside. */
  stop_manager (world);
  start_manager (world);
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
}

#define DOMAIN                                                                 \
  "<domain type='qemu'><name>old</name>"                                       \
  "<uuid>aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee</uuid>"                          \
  "<memory unit='KiB'>262144</memory><vcpu>1</vcpu>"                           \
  "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"               \
  "<devices><interface type='bridge'><mac address='52:54:00:01:02:03'/>"       \
  "<source bridge='br0'/></interface></devices></domain>"

static void
on_result (GObject *source, GAsyncResult *result, gpointer data)
{
  *(GAsyncResult **) data = g_object_ref (result);
}

static void
test_unmarked_domain_is_left_alone (World *world, gconstpointer data)
{
  g_autoptr (GAsyncResult) result = NULL;
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;

  vp_fake_host_add (world->host, DOMAIN, true);
  drop (world, "old", MINIMAL);
  WAIT (status (world, "old") != NULL &&
        status (world, "old")->sync == VP_SYNC_CONFLICT);
  assert_log (world, "");
  take_away (world, "old");
  WAIT (status (world, "old")->sync == VP_SYNC_RETIRED);
  assert_log (world, "");
  /* Adopted, it is looked after and still not touched. */
  vp_manager_adopt_async (world->manager, "old", on_result, &result);
  WAIT (result != NULL);
  text = vp_manager_adopt_finish (world->manager, result, &error);
  g_assert_no_error (error);
  drop (world, "old", text);
  WAIT (is_synced (world, "old", "running"));
  assert_log (world, "");
}

static GPtrArray *
plan (World *world, const char *name, char **ret_id, GError **error)
{
  const char *names[] = { name, NULL }; /* NULL: all */
  g_autoptr (GAsyncResult) result = NULL;

  vp_manager_plan_async (world->manager, names, on_result, &result);
  WAIT (result != NULL);
  return vp_manager_plan_finish (world->manager, result, ret_id, error);
}

static void
test_plan_and_apply (World *world, gconstpointer data)
{
  g_autoptr (GPtrArray) steps = NULL, none = NULL;
  g_autofree char *id = NULL, *other = NULL;
  g_autoptr (GError) error = NULL;
  unsigned job = 0;

  world->config.apply_live = false;
  bring_up (world, "web", MINIMAL);
  drop (world, "web",
        "<guest><memory>512M</memory><nic bridge=\"br0\"/></guest>");
  WAIT (status (world, "web")->sync == VP_SYNC_PENDING &&
        status (world, "web")->pending->len > 0);
  assert_log (world, "");
  steps = plan (world, "web", &id, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (steps->len, ==, 1);
  assert_log (world, "");
  g_assert_true (vp_manager_apply (world->manager, id, &job, &error));
  WAIT (vp_manager_get_job (world->manager, job)->finished);
  assert_log (world, "define web");
  /* The same id again: the world has moved. */
  g_assert_false (vp_manager_apply (world->manager, id, &job, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_PLAN_STALE);
  g_clear_error (&error);
  none = plan (world, "web", &other, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (none->len, ==, 0);
}

static void
test_start_fails_and_is_undone (World *world, gconstpointer data)
{
  vp_fake_host_fail (world->host, "start", 1, VP_ERROR_LIBVIRT_FAILED);
  drop (world, "web", MINIMAL);
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_FAILED);
  g_assert_nonnull (strstr (status (world, "web")->error_message, "start"));
  g_assert_null (vp_fake_host_peek (world->host, "web"));
  /* Tried again by itself. */
  WAIT (is_synced (world, "web", "running"));
  g_assert_cmpstr (status (world, "web")->error_message, ==, "");
}

static void
test_link_lost (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  vp_fake_host_set_connected (world->host, false);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "degraded"));
  drop (world, "two", MINIMAL);
  WAIT (status (world, "two") != NULL);
  g_assert_cmpint (status (world, "two")->sync, ==, VP_SYNC_UNKNOWN);
  vp_fake_host_set_connected (world->host, true);
  WAIT (is_synced (world, "two", "running"));
  assert_log (world, "define two; start two");
}

static void
test_one_slow_guest_delays_no_other (World *world, gconstpointer data)
{
  vp_fake_host_hold (world->host, "start");
  drop (world, "a", MINIMAL);
  WAIT (status (world, "a") != NULL &&
        strstr (status (world, "a")->sub_state, "start") != NULL);
  vp_fake_host_wait_held (world->host, 1);
  drop (world, "b", "<guest><memory>x</memory></guest>");
  WAIT (status (world, "b") != NULL &&
        status (world, "b")->sync == VP_SYNC_INVALID);
  g_assert_cmpint (status (world, "a")->sync, ==, VP_SYNC_PENDING);
  vp_fake_host_release (world->host);
  WAIT (is_synced (world, "a", "running"));
}

static void
test_missing_image_comes_later (World *world, gconstpointer data)
{
  const VpProblem *problem = NULL;

  drop (world, "web",
        "<guest>\n  <memory>256M</memory>\n"
        "  <disk name=\"root\" from=\"debian\" size=\"10M\"/>\n</guest>\n");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (status (world, "web")->problems, 0);
  g_assert_cmpuint (problem->place.line, ==, 3);
  g_assert_cmpuint (problem->place.column, ==, 21);
  g_assert_nonnull (strstr (problem->message, "images/debian.xml"));
}

/* images/NAME.xml is there, what it names is not. */
static void
test_missing_base_has_its_place (World *world, gconstpointer data)
{
  const VpProblem *problem = NULL;
  g_autofree char *base = g_build_filename (world->root, "base.img", NULL);
  g_autofree char *image =
      g_strdup_printf ("<image path=\"%s\" format=\"raw\"/>", base);

  drop_in (world, "images", "debian", image);
  drop (world, "web",
        "<guest>\n  <memory>256M</memory>\n"
        "  <disk name=\"root\" from=\"debian\" size=\"2M\"/>\n</guest>\n");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (status (world, "web")->problems, 0);
  g_assert_cmpstr (problem->code, ==, "no-base");
  g_assert_cmpuint (problem->place.line, ==, 3);
  g_assert_cmpuint (problem->place.column, ==, 21);
  g_assert_nonnull (strstr (problem->message, base));
  /* It comes, and is seen at the next look; it goes, and the disk stays. */
  g_assert_true (g_file_set_contents (base, "", 0, NULL));
  g_assert_cmpint (truncate (base, 1 << 20), ==, 0);
  reload (world);
  WAIT (is_synced (world, "web", "running"));
  g_assert_cmpint (g_unlink (base), ==, 0);
  stop_manager (world);
  start_manager (world);
  WAIT (is_synced (world, "web", "running"));
}

static void
test_disk_is_made_grown_and_kept (World *world, gconstpointer data)
{
  g_autofree char *path = g_build_filename (world->config.state_dir, "pools",
                                            "default", "web-root.raw", NULL);
  g_autofree char *img = g_build_filename (world->config.state_dir, "pools",
                                           "default", "web-root.img", NULL);
  struct stat st;

  drop (world, "web",
        "<guest><memory>256M</memory>"
        "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>");
  WAIT (is_synced (world, "web", "running"));
  g_assert_cmpint (stat (img, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 2 << 20);
  take_away (world, "web");
  WAIT (g_str_equal (status (world, "web")->state, "stopped"));
  g_assert_cmpint (stat (img, &st), ==, 0);
  drop (world, "web",
        "<guest><memory>256M</memory>"
        "<disk name=\"root\" size=\"4M\" format=\"raw\"/></guest>");
  WAIT (is_synced (world, "web", "running"));
  g_assert_cmpint (stat (img, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 4 << 20);
}

#define DISK_GUEST(attributes)                                                 \
  "<guest" attributes "><memory>256M</memory>"                                 \
  "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>"

static void
test_renamed_file_gets_no_empty_disk (World *world, gconstpointer data)
{
  g_autofree char *uuid = NULL, *with_uuid = NULL;
  g_autofree char *other = g_build_filename (world->config.state_dir, "pools",
                                             "default", "shop-root.img", NULL);
  g_autofree char *from = g_strdup_printf ("%s/web.xml", world->guests);
  g_autofree char *to = g_strdup_printf ("%s/shop.xml", world->guests);

  bring_up (world, "web", DISK_GUEST (""));
  uuid = g_strdup (status (world, "web")->uuid);
  g_assert_cmpint (g_rename (from, to), ==, 0);
  WAIT (status (world, "shop") != NULL &&
        status (world, "shop")->sync == VP_SYNC_PENDING &&
        status (world, "shop")->pending->len > 0);
  g_assert_false (g_file_test (other, G_FILE_TEST_EXISTS));
  WAIT (g_str_equal (status (world, "web")->state, "stopped"));
  vp_fake_host_clear_log (world->host);
  /* With its uuid it is the same guest: same domain, same disk. */
  with_uuid = g_strdup_printf (
      "<guest uuid=\"%s\"><memory>256M</memory>"
      "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>",
      uuid);
  take_away (world, "shop");
  reload (world);
  drop (world, "store", with_uuid);
  WAIT (is_synced (world, "store", "running"));
  g_assert_cmpstr (status (world, "store")->uuid, ==, uuid);
  g_assert_null (status (world, "web"));
  assert_log (world, "define web; start web");
}

/* A guest whose disk could not be made leaves nothing that a new one could
 * miss. */
static void
test_new_guest_after_failed_one (World *world, gconstpointer data)
{
  drop_in (world, "pools", "bad", "<pool path=\"/dev/null/x\"/>");
  drop (world, "web",
        "<guest><memory>256M</memory>"
        "<disk name=\"root\" pool=\"bad\" size=\"2M\"/></guest>");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_FAILED);
  take_away (world, "web");
  drop (world, "shop", DISK_GUEST (""));
  WAIT (is_synced (world, "shop", "running"));
}

/* What is missing for a start is told with its place in the spec. */
static void
test_start_without_parts (World *world, gconstpointer data)
{
  const char *message = NULL;

  vp_fake_host_fail (world->host, "start", 1, VP_ERROR_LIBVIRT_FAILED);
  drop (world, "web",
        "<guest>\n<memory>256M</memory>\n"
        " <kernel image=\"/nonexistent/vmlinuz\"/>\n"
        "  <nic bridge=\"vp-none0\"/></guest>");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_FAILED);
  message = status (world, "web")->error_message;
  g_assert_nonnull (strstr (message, "web.xml:3:2: a file of <kernel>"));
  g_assert_nonnull (strstr (message, "web.xml:4:3: there is no bridge"));
}

/* Nothing is known of what a file that was never right would want. */
static void
test_never_right (World *world, gconstpointer data)
{
  drop (world, "web", "<guest/>");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_INVALID);
  g_assert_cmpstr (status (world, "web")->wanted, ==, "");
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
  g_assert_cmpstr (status (world, "web")->wanted, ==, "running");
}

static void
test_duplicate_forward (World *world, gconstpointer data)
{
  static const char text[] =
      "<guest>\n<memory>256M</memory>\n<nic network=\"default\">\n"
      "  <forward port=\"8080\" to=\"80\"/>\n</nic></guest>";
  const VpProblem *problem = NULL;

  bring_up (world, "a", text);
  drop (world, "b", text);
  WAIT (status (world, "b") != NULL &&
        status (world, "b")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (status (world, "b")->problems, 0);
  g_assert_cmpuint (problem->place.line, ==, 4);
  g_assert_cmpuint (problem->place.column, ==, 3);
  g_assert_nonnull (strstr (problem->message, "guest a"));
  /* Once a gives the port up, b is right, without a touch of its file. */
  take_away (world, "a");
  WAIT (is_synced (world, "b", "running"));
}

#define ON_IMAGE                                                               \
  "<guest><memory>256M</memory>"                                               \
  "<disk name=\"root\" from=\"deb\" size=\"4M\"/></guest>"

static void
make_image (World *world, const char *file, bool tell)
{
  g_autofree char *path = g_build_filename (world->root, file, NULL);
  g_autofree char *spec =
      g_strdup_printf ("<image path=\"%s\" format=\"raw\"/>", path);
  g_autofree char *zeros = g_malloc0 (1 << 20);

  g_assert_true (g_file_set_contents (path, zeros, 1 << 20, NULL));
  g_assert_cmpint (g_chmod (path, 0444), ==, 0);
  if (tell)
    drop_in (world, "images", "deb", spec);
}

static void
test_disk_keeps_the_base_it_was_made_on (World *world, gconstpointer data)
{
  g_autofree char *spec = NULL;
  g_autoptr (VpHostDomain) domain = NULL;

  make_image (world, "old.raw", true);
  bring_up (world, "web", ON_IMAGE);
  make_image (world, "new.raw", true);
  reload (world);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
  domain = vp_fake_host_peek (world->host, "web");
  g_assert_nonnull (strstr (domain->xml, "old.raw"));
  /* Nor does it need the image's file any more. */
  spec = g_build_filename (world->specs, "images", "deb.xml", NULL);
  g_assert_cmpint (g_unlink (spec), ==, 0);
  reload (world);
  stop_manager (world);
  start_manager (world);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
}

/* Writes of the journal and the store fail from here on. */
static void
limit_files (rlim_t size)
{
  struct rlimit limit = { size, RLIM_INFINITY };

  (void) signal (SIGXFSZ, SIG_IGN);
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &limit), ==, 0);
}

static void
test_journal_full_after_start (World *world, gconstpointer data)
{
  g_autofree char *img = g_build_filename (world->config.state_dir, "pools",
                                           "default", "web-root.img", NULL);

  vp_fake_host_hold (world->host, "start");
  drop (world, "web", DISK_GUEST (""));
  WAIT (status (world, "web") != NULL &&
        strstr (status (world, "web")->sub_state, "start") != NULL);
  vp_fake_host_wait_held (world->host, 1);
  limit_files (1);
  vp_fake_host_release (world->host);
  WAIT (is_synced (world, "web", "running"));
  limit_files (RLIM_INFINITY);
  assert_log (world, "define web; start web");
  g_assert_true (g_file_test (img, G_FILE_TEST_EXISTS));
}

static void
test_unreadable_record_makes_no_new_guest (World *world, gconstpointer data)
{
  g_autofree char *record =
      g_build_filename (world->config.state_dir, "guests", "web", NULL);
  const VpProblem *problem = NULL;

  bring_up (world, "web", DISK_GUEST (""));
  stop_manager (world);
  g_assert_true (g_file_set_contents (record, "rubbish", -1, NULL));
  start_manager (world);
  WAIT (status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (status (world, "web")->problems, 0);
  g_assert_cmpstr (problem->code, ==, "store");
  WAIT (is_quiet (world));
  assert_log (world, "");
}

#define WITH_PORT(port)                                                        \
  "<guest>\n<memory>256M</memory>\n<nic network=\"default\">\n"                \
  "  <forward port=\"" port "\" to=\"80\"/>\n</nic></guest>"

static void
test_retired_guest_is_remembered (World *world, gconstpointer data)
{
  static const struct {
    const char *old, *heir, *text;
  } pairs[] = {
    { "a", "b", WITH_PORT ("8080") },
    { "z", "c", WITH_PORT ("9090") },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (pairs); i++) {
    bring_up (world, pairs[i].old, pairs[i].text);
    take_away (world, pairs[i].old);
    WAIT (status (world, pairs[i].old)->sync == VP_SYNC_RETIRED);
    WAIT (g_str_equal (status (world, pairs[i].old)->state, "stopped"));
    bring_up (world, pairs[i].heir, pairs[i].text);
  }
  stop_manager (world);
  start_manager (world);
  for (gsize i = 0; i < G_N_ELEMENTS (pairs); i++) {
    WAIT (is_synced (world, pairs[i].heir, "running"));
    g_assert_nonnull (status (world, pairs[i].old));
    g_assert_cmpint (status (world, pairs[i].old)->sync, ==, VP_SYNC_RETIRED);
  }
  assert_log (world, "");
}

static void
test_plan_shows_what_pause_holds_back (World *world, gconstpointer data)
{
  const char *const names[] = { "a", "b", "c" };
  g_autoptr (GPtrArray) none = NULL, steps = NULL;
  g_autofree char *one = NULL, *all = NULL;
  unsigned job = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    bring_up (world, names[i], MINIMAL);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    take_away (world, names[i]);
  reload (world);
  g_assert_cmpstr (vp_manager_get_state (world->manager), ==, "paused");
  /* A word about one guest is none about the others. */
  none = plan (world, "a", &one, NULL);
  g_assert_cmpuint (none->len, ==, 0);
  g_assert_true (vp_manager_apply (world->manager, one, &job, NULL));
  g_assert_cmpstr (vp_manager_get_state (world->manager), ==, "paused");
  steps = plan (world, NULL, &all, NULL);
  g_assert_cmpuint (steps->len, ==, 6);
  g_assert_true (vp_manager_apply (world->manager, all, &job, NULL));
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    WAIT (g_str_equal (status (world, names[i])->state, "stopped"));
}

static void
test_state_in_the_spec_ends_a_hold (World *world, gconstpointer data)
{
  unsigned job = 0;

  bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (is_synced (world, "web", "stopped"));
  drop (world, "web",
        "<guest state=\"stopped\"><memory>256M</memory>"
        "<nic bridge=\"br0\"/></guest>");
  reload (world);
  WAIT (is_synced (world, "web", "stopped"));
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
}

/* As a kill -9 between a step and its record leaves it. */
static void
set_off (World *world, bool off)
{
  g_autoptr (VpGuestRecord) record = NULL;

  stop_manager (world);
  world->store = vp_store_open (world->config.state_dir, NULL);
  record = vp_store_load_guest (world->store, "web", NULL);
  g_assert_true (record->off != off);
  record->off = off;
  g_assert_true (vp_store_save_guest (world->store, "web", record, NULL));
  vp_store_free (world->store);
  start_manager (world);
}

static void
test_killed_before_the_record (World *world, gconstpointer data)
{
  bring_up (world, "web", MINIMAL);
  drop (world, "web",
        "<guest state=\"stopped\"><memory>256M</memory>"
        "<nic bridge=\"br0\"/></guest>");
  WAIT (is_synced (world, "web", "stopped"));
  set_off (world, false);
  WAIT (is_synced (world, "web", "stopped"));
  drop (world, "web", MINIMAL);
  WAIT (is_synced (world, "web", "running"));
  set_off (world, true);
  WAIT (is_synced (world, "web", "running"));
  vp_fake_host_clear_log (world->host);
  vp_fake_host_power_off (world->host, "web");
  WAIT (is_synced (world, "web", "stopped"));
  assert_log (world, "");
}

static void
test_start_makes_no_new_disk (World *world, gconstpointer data)
{
  g_autofree char *other = g_build_filename (world->config.state_dir, "pools",
                                             "default", "shop-root.img", NULL);
  unsigned job = 0;

  bring_up (world, "web", DISK_GUEST (""));
  take_away (world, "web");
  reload (world);
  drop (world, "shop", DISK_GUEST (""));
  WAIT (status (world, "shop") != NULL &&
        status (world, "shop")->pending->len > 0);
  g_assert_true (vp_manager_start_guest (world->manager, "shop", &job, NULL));
  WAIT (vp_manager_get_job (world->manager, job)->finished);
  g_assert_nonnull (strstr (
      vp_manager_get_job (world->manager, job)->error_message, "uuid="));
  g_assert_false (g_file_test (other, G_FILE_TEST_EXISTS));
}

static void
test_waiting_job_of_a_guest_that_goes (World *world, gconstpointer data)
{
  g_autofree char *text = NULL;
  unsigned job = 0;

  bring_up (world, "web", DISK_GUEST (""));
  vp_fake_host_set_connected (world->host, false);
  g_assert_true (
      vp_manager_reconcile_guest (world->manager, "web", &job, NULL));
  text = g_strdup_printf (
      "<guest uuid=\"%s\"><memory>256M</memory>"
      "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>",
      status (world, "web")->uuid);
  take_away (world, "web");
  drop (world, "shop", text);
  reload (world);
  WAIT (status (world, "web") == NULL);
  g_assert_true (vp_manager_get_job (world->manager, job)->finished);
  g_assert_false (vp_manager_cancel_job (world->manager, job, NULL));
}

static void
test_renamed_with_a_mistake (World *world, gconstpointer data)
{
  g_autofree char *bad = NULL, *good = NULL;

  bring_up (world, "web", WITH_PORT ("8080"));
  bring_up (world, "b", WITH_PORT ("9090"));
  bad = g_strdup_printf ("<guest uuid=\"%s\"><memory>256M</memory>"
                         "<nic network=\"default\">"
                         "<forward port=\"9090\" to=\"80\"/></nic></guest>",
                         status (world, "web")->uuid);
  good = g_strdup_printf ("<guest uuid=\"%s\"><memory>256M</memory>"
                          "<nic network=\"default\">"
                          "<forward port=\"8080\" to=\"80\"/></nic></guest>",
                          status (world, "web")->uuid);
  take_away (world, "web");
  drop (world, "shop", bad);
  reload (world);
  WAIT (status (world, "shop")->sync == VP_SYNC_INVALID);
  WAIT (is_quiet (world));
  g_assert_cmpuint (status (world, "shop")->forwards->len, ==, 1);
  g_assert_cmpstr (status (world, "shop")->wanted, ==, "running");
  drop (world, "shop", good);
  WAIT (is_synced (world, "shop", "running"));
  g_assert_cmpuint (vp_fake_host_count (world->host, "shutdown"), ==, 0);
}

static void
test_pool_changes_before_the_disk_is_made (World *world, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (world->root, "file", "no", NULL);
  g_autofree char *file = g_build_filename (world->root, "file", NULL);
  g_autofree char *pool = g_strdup_printf ("<pool path=\"%s\"/>", folder);

  g_assert_true (g_file_set_contents (file, "", 0, NULL));
  drop_in (world, "pools", "fast", pool);
  drop (world, "web",
        "<guest><memory>256M</memory>"
        "<disk name=\"root\" size=\"2M\" format=\"raw\" pool=\"fast\"/>"
        "</guest>");
  WAIT (status (world, "web") != NULL &&
        status (world, "web")->sync == VP_SYNC_FAILED);
  drop (world, "web", DISK_GUEST (""));
  WAIT (is_synced (world, "web", "running"));
  stop_manager (world);
  start_manager (world);
  vp_fake_host_clear_log (world->host);
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
}

static void
test_network_leaves_an_address_behind (World *world, gconstpointer data)
{
  drop_in (world, "networks", "lab", "<network address=\"10.9.8.1/24\"/>");
  bring_up (world, "web",
            "<guest><memory>256M</memory>"
            "<nic network=\"lab\" address=\"10.9.8.7\"/></guest>");
  drop_in (world, "networks", "lab", "<network address=\"10.9.9.1/24\"/>");
  WAIT (status (world, "web")->sync == VP_SYNC_INVALID);
  g_assert_cmpstr (status (world, "web")->state, ==, "running");
  drop_in (world, "networks", "lab", "<network address=\"10.9.8.1/24\"/>");
  WAIT (is_synced (world, "web", "running"));
  assert_log (world, "");
}

static void
test_names_that_meet (World *world, gconstpointer data)
{
  g_autoptr (GString) text = g_string_new ("<guest><memory>256M</memory>");

  bring_up (world, "a-b",
            "<guest><memory>256M</memory>"
            "<disk name=\"c\" size=\"2M\" format=\"raw\"/></guest>");
  bring_up (world, "a",
            "<guest><memory>256M</memory>"
            "<disk name=\"b-c\" size=\"3M\" format=\"raw\"/></guest>");
  for (unsigned i = 0; i < 20; i++)
    g_string_append_printf (text, "<disk name=\"d.%u\" size=\"1M\"/>", i);
  g_string_append (text, "</guest>");
  bring_up (world, "a.b-c", text->str);
  stop_manager (world);
  start_manager (world);
  WAIT (is_synced (world, "a-b", "running") &&
        is_synced (world, "a", "running") &&
        is_synced (world, "a.b-c", "running"));
  assert_log (world, "");
}

int
main (int argc, char **argv)
{
  const struct {
    const char *path;
    void (*func) (World *world, gconstpointer data);
  } tests[] = {
    { "/manager/new-file", test_new_file },
    { "/manager/same-again", test_same_again },
    { "/manager/restart-of-daemon", test_restart_of_daemon },
    { "/manager/broken-file-changes-nothing",
      test_broken_file_changes_nothing },
    { "/manager/change-waits-for-restart", test_change_waits_for_restart },
    { "/manager/removed-and-back", test_removed_and_back },
    { "/manager/deaf-guest-is-powered-off", test_deaf_guest_is_powered_off },
    { "/manager/all-files-vanish", test_all_files_vanish },
    { "/manager/folder-goes", test_folder_goes },
    { "/manager/stop-holds", test_stop_holds },
    { "/manager/hold-ends-with-the-hosts-boot",
      test_hold_ends_with_the_hosts_boot },
    { "/manager/power-off-from-inside-holds",
      test_power_off_from_inside_holds },
    { "/manager/crash-does-not-hold", test_crash_does_not_hold },
    { "/manager/stranger-stops-it", test_stranger_stops_it },
    { "/manager/spec-says-stopped", test_spec_says_stopped },
    { "/manager/unmarked-domain-is-left-alone",
      test_unmarked_domain_is_left_alone },
    { "/manager/plan-and-apply", test_plan_and_apply },
    { "/manager/start-fails-and-is-undone", test_start_fails_and_is_undone },
    { "/manager/link-lost", test_link_lost },
    { "/manager/one-slow-guest-delays-no-other",
      test_one_slow_guest_delays_no_other },
    { "/manager/missing-image-comes-later", test_missing_image_comes_later },
    { "/manager/missing-base-has-its-place", test_missing_base_has_its_place },
    { "/manager/disk-is-made-grown-and-kept",
      test_disk_is_made_grown_and_kept },
    { "/manager/renamed-file-gets-no-empty-disk",
      test_renamed_file_gets_no_empty_disk },
    { "/manager/new-guest-after-failed-one", test_new_guest_after_failed_one },
    { "/manager/never-right", test_never_right },
    { "/manager/start-without-parts", test_start_without_parts },
    { "/manager/duplicate-forward", test_duplicate_forward },
    { "/manager/disk-keeps-the-base-it-was-made-on",
      test_disk_keeps_the_base_it_was_made_on },
    { "/manager/journal-full-after-start", test_journal_full_after_start },
    { "/manager/unreadable-record-makes-no-new-guest",
      test_unreadable_record_makes_no_new_guest },
    { "/manager/retired-guest-is-remembered",
      test_retired_guest_is_remembered },
    { "/manager/plan-shows-what-pause-holds-back",
      test_plan_shows_what_pause_holds_back },
    { "/manager/state-in-the-spec-ends-a-hold",
      test_state_in_the_spec_ends_a_hold },
    { "/manager/killed-before-the-record", test_killed_before_the_record },
    { "/manager/start-makes-no-new-disk", test_start_makes_no_new_disk },
    { "/manager/waiting-job-of-a-guest-that-goes",
      test_waiting_job_of_a_guest_that_goes },
    { "/manager/renamed-with-a-mistake", test_renamed_with_a_mistake },
    { "/manager/pool-changes-before-the-disk-is-made",
      test_pool_changes_before_the_disk_is_made },
    { "/manager/network-leaves-an-address-behind",
      test_network_leaves_an_address_behind },
    { "/manager/names-that-meet", test_names_that_meet },
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, World, NULL, world_set_up, tests[i].func,
                world_tear_down);
  return g_test_run ();
}
