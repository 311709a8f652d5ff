/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The manager on a hypervisor in memory: files come, change, break and go;
 * guests stop, crash and are meddled with; what the hypervisor was asked to do
 * is compared word by word.  Networks are left alone here; they have their
 * own tests with real traffic.  Disks: test-manager-disk.c. */
#include "config.h"

#include "daemon/error.h"
#include "tests/daemon/manager-world.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

static void
test_new_file (World *world, gconstpointer data)
{
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "define web; start web");
  g_assert_cmpstr (vp_manager_get_state (world->manager), ==, "synced");
}

static void
test_same_again (World *world, gconstpointer data)
{
  g_autofree char *record = NULL;
  struct stat before, after;

  world_bring_up (world, "web", MINIMAL);
  record = g_build_filename (world->config.state_dir, "guests", "web", NULL);
  g_assert_cmpint (stat (record, &before), ==, 0);
  world_drop (world, "web", MINIMAL);
  world_reload (world);
  world_drop (world, "web",
              "<!-- a word -->\n<guest>\n  <memory>256M</memory>\n"
              "  <nic bridge=\"br0\"/>\n</guest>\n");
  world_reload (world);
  WAIT (world_is_quiet (world));
  world_assert_log (world, "");
  g_assert_cmpint (stat (record, &after), ==, 0);
  g_assert_cmpint (before.st_ino, ==, after.st_ino);
  g_assert_cmpint (before.st_mtim.tv_nsec, ==, after.st_mtim.tv_nsec);
}

static void
test_restart_of_daemon (World *world, gconstpointer data)
{
  g_autofree char *uuid = NULL;

  world_bring_up (world, "web", MINIMAL);
  uuid = g_strdup (world_status (world, "web")->uuid);
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
  g_assert_cmpstr (world_status (world, "web")->uuid, ==, uuid);
}

static void
test_broken_file_changes_nothing (World *world, gconstpointer data)
{
  const VpProblem *problem = NULL;

  world_bring_up (world, "web", MINIMAL);
  world_drop (world, "web", "<guest>\n  <memmory>1G</memmory>\n</guest>\n");
  world_reload (world);
  WAIT (world_status (world, "web")->sync == VP_SYNC_INVALID);
  world_assert_log (world, "");
  g_assert_cmpstr (world_status (world, "web")->state, ==, "running");
  g_assert_cmpuint (vp_manager_get_problems (world->manager)->len, ==, 2);
  problem = g_ptr_array_index (vp_manager_get_problems (world->manager), 1);
  g_assert_cmpuint (problem->place.line, ==, 2);
  g_assert_cmpuint (problem->place.column, ==, 3);
  g_assert_nonnull (strstr (problem->message, "memory"));
  /* The last good version holds over a restart, too. */
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_status (world, "web")->sync == VP_SYNC_INVALID);
  WAIT (g_str_equal (world_status (world, "web")->state, "running"));
  world_assert_log (world, "");
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
}

static void
test_change_waits_for_restart (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  world_drop (world, "web",
              "<guest><memory>512M</memory><nic bridge=\"br0\"/></guest>");
  WAIT (world_status (world, "web")->restart_required);
  world_assert_log (world, "define web");
  g_assert_cmpuint (world_status (world, "web")->pending->len, ==, 1);
  world_reload (world);
  WAIT (world_is_quiet (world));
  world_assert_log (world, "");
  g_assert_true (world_status (world, "web")->restart_required);
}

static void
test_removed_and_back (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  world_take_away (world, "web");
  WAIT (world_status (world, "web")->sync == VP_SYNC_RETIRED &&
        g_str_equal (world_status (world, "web")->state, "stopped"));
  world_assert_log (world, "shutdown web; set_mark web");
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "define web; start web");
}

static void
test_deaf_guest_is_powered_off (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  vp_fake_host_set_deaf (world->host, "web", true);
  world_take_away (world, "web");
  WAIT (g_str_equal (world_status (world, "web")->state, "stopped"));
  world_assert_log (world, "shutdown web; destroy web; set_mark web");
}

static void
test_all_files_vanish (World *world, gconstpointer data)
{
  g_autofree char *aside = g_strconcat (world->guests, ".aside", NULL);
  unsigned job = 0;

  world_bring_up (world, "a", MINIMAL);
  world_bring_up (world, "b", MINIMAL);
  world_bring_up (world, "c", MINIMAL);
  world_take_away (world, "a");
  world_take_away (world, "b");
  world_take_away (world, "c");
  world_reload (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  world_assert_log (world, "");
  g_assert_cmpstr (world_status (world, "b")->state, ==, "running");
  /* A person says that it is meant so. */
  g_assert_true (vp_manager_apply (world->manager, "", &job, NULL));
  WAIT (g_str_equal (world_status (world, "a")->state, "stopped") &&
        g_str_equal (world_status (world, "b")->state, "stopped") &&
        g_str_equal (world_status (world, "c")->state, "stopped"));
}

static void
test_folder_goes (World *world, gconstpointer data)
{
  g_autofree char *aside = g_strconcat (world->guests, ".aside", NULL);

  world_bring_up (world, "web", MINIMAL);
  g_assert_cmpint (g_rename (world->guests, aside), ==, 0);
  world_reload (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "paused"));
  world_assert_log (world, "");
  g_assert_cmpint (g_rename (aside, world->guests), ==, 0);
  world_reload (world);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
}

static void
test_stop_holds (World *world, gconstpointer data)
{
  unsigned job = 0;

  world_bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (world_is_synced (world, "web", "stopped"));
  WAIT (vp_manager_get_job (world->manager, job)->finished);
  world_assert_log (world, "shutdown web");
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_is_synced (world, "web", "stopped"));
  world_assert_log (world, "");
  g_assert_cmpstr (world_status (world, "web")->wanted, ==, "stopped");
  g_assert_true (vp_manager_start_guest (world->manager, "web", &job, NULL));
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "start web");
}

static void
test_hold_ends_with_the_hosts_boot (World *world, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = NULL;
  unsigned job = 0;

  world_bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (world_is_synced (world, "web", "stopped"));
  world_stop_manager (world);
  world->store = vp_store_open (world->config.state_dir, NULL);
  record = vp_store_load_guest (world->store, "web", NULL);
  g_assert_true (record->hold);
  g_free (record->boot_id);
  record->boot_id = g_strdup ("another boot");
  g_assert_true (vp_store_save_guest (world->store, "web", record, NULL));
  vp_store_free (world->store);
  world_start_manager (world);
  WAIT (world_is_synced (world, "web", "running"));
}

static void
test_power_off_from_inside_holds (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  vp_fake_host_power_off (world->host, "web");
  WAIT (world_is_synced (world, "web", "stopped"));
  world_reload (world);
  WAIT (world_is_quiet (world));
  world_assert_log (world, "");
  g_assert_cmpstr (world_status (world, "web")->wanted, ==, "stopped");
}

static void
test_crash_does_not_hold (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  vp_fake_host_crash (world->host, "web");
  WAIT (world_status (world, "web")->restarts == 1 &&
        world_is_synced (world, "web", "running"));
  world_assert_log (world, "start web");
}

static void
test_stranger_stops_it (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  vp_fake_host_stranger_destroys (world->host, "web");
  WAIT (world_status (world, "web")->restarts == 1 &&
        world_is_synced (world, "web", "running"));
}

static void
test_spec_says_stopped (World *world, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  unsigned job = 0;

  world_bring_up (world, "web", MINIMAL);
  world_drop (world, "web",
              "<guest state=\"stopped\"><memory>256M</memory>"
              "<nic bridge=\"br0\"/></guest>");
  WAIT (world_is_synced (world, "web", "stopped"));
  world_assert_log (world, "shutdown web");
  g_assert_false (vp_manager_start_guest (world->manager, "web", &job, &error));
  g_assert_nonnull (strstr (error->message, "state="));
  /* It is off by our doing: not a power-off from inside. */
  world_stop_manager (world);
  world_start_manager (world);
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
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
  world_drop (world, "old", MINIMAL);
  WAIT (world_status (world, "old") != NULL &&
        world_status (world, "old")->sync == VP_SYNC_CONFLICT);
  world_assert_log (world, "");
  world_take_away (world, "old");
  WAIT (world_status (world, "old")->sync == VP_SYNC_RETIRED);
  world_assert_log (world, "");
  /* Adopted, it is looked after and still not touched. */
  vp_manager_adopt_async (world->manager, "old", on_result, &result);
  WAIT (result != NULL);
  text = vp_manager_adopt_finish (world->manager, result, &error);
  g_assert_no_error (error);
  world_drop (world, "old", text);
  WAIT (world_is_synced (world, "old", "running"));
  world_assert_log (world, "");
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
  world_bring_up (world, "web", MINIMAL);
  world_drop (world, "web",
              "<guest><memory>512M</memory><nic bridge=\"br0\"/></guest>");
  WAIT (world_status (world, "web")->sync == VP_SYNC_PENDING &&
        world_status (world, "web")->pending->len > 0);
  world_assert_log (world, "");
  steps = plan (world, "web", &id, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (steps->len, ==, 1);
  world_assert_log (world, "");
  g_assert_true (vp_manager_apply (world->manager, id, &job, &error));
  WAIT (vp_manager_get_job (world->manager, job)->finished);
  world_assert_log (world, "define web");
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
  world_drop (world, "web", MINIMAL);
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_FAILED);
  g_assert_nonnull (
      strstr (world_status (world, "web")->error_message, "start"));
  g_assert_null (vp_fake_host_peek (world->host, "web"));
  /* Tried again by itself. */
  WAIT (world_is_synced (world, "web", "running"));
  g_assert_cmpstr (world_status (world, "web")->error_message, ==, "");
}

static void
test_link_lost (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  vp_fake_host_set_connected (world->host, false);
  WAIT (g_str_equal (vp_manager_get_state (world->manager), "degraded"));
  world_drop (world, "two", MINIMAL);
  WAIT (world_status (world, "two") != NULL);
  g_assert_cmpint (world_status (world, "two")->sync, ==, VP_SYNC_UNKNOWN);
  vp_fake_host_set_connected (world->host, true);
  WAIT (world_is_synced (world, "two", "running"));
  world_assert_log (world, "define two; start two");
}

static void
test_one_slow_guest_delays_no_other (World *world, gconstpointer data)
{
  vp_fake_host_hold (world->host, "start");
  world_drop (world, "a", MINIMAL);
  WAIT (world_status (world, "a") != NULL &&
        strstr (world_status (world, "a")->sub_state, "start") != NULL);
  vp_fake_host_wait_held (world->host, 1);
  world_drop (world, "b", "<guest><memory>x</memory></guest>");
  WAIT (world_status (world, "b") != NULL &&
        world_status (world, "b")->sync == VP_SYNC_INVALID);
  g_assert_cmpint (world_status (world, "a")->sync, ==, VP_SYNC_PENDING);
  vp_fake_host_release (world->host);
  WAIT (world_is_synced (world, "a", "running"));
}

/* What is missing for a start is told with its place in the spec. */
static void
test_start_without_parts (World *world, gconstpointer data)
{
  const char *message = NULL;

  vp_fake_host_fail (world->host, "start", 1, VP_ERROR_LIBVIRT_FAILED);
  world_drop (world, "web",
              "<guest>\n<memory>256M</memory>\n"
              " <kernel image=\"/nonexistent/vmlinuz\"/>\n"
              "  <nic bridge=\"vp-none0\"/></guest>");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_FAILED);
  message = world_status (world, "web")->error_message;
  g_assert_nonnull (strstr (message, "web.xml:3:2: a file of <kernel>"));
  g_assert_nonnull (strstr (message, "web.xml:4:3: there is no bridge"));
}

/* Nothing is known of what a file that was never right would want. */
static void
test_never_right (World *world, gconstpointer data)
{
  world_drop (world, "web", "<guest/>");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_INVALID);
  g_assert_cmpstr (world_status (world, "web")->wanted, ==, "");
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
  g_assert_cmpstr (world_status (world, "web")->wanted, ==, "running");
}

static void
test_duplicate_forward (World *world, gconstpointer data)
{
  static const char text[] =
      "<guest>\n<memory>256M</memory>\n<nic network=\"default\">\n"
      "  <forward port=\"8080\" to=\"80\"/>\n</nic></guest>";
  const VpProblem *problem = NULL;

  world_bring_up (world, "a", text);
  world_drop (world, "b", text);
  WAIT (world_status (world, "b") != NULL &&
        world_status (world, "b")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (world_status (world, "b")->problems, 0);
  g_assert_cmpuint (problem->place.line, ==, 4);
  g_assert_cmpuint (problem->place.column, ==, 3);
  g_assert_nonnull (strstr (problem->message, "guest a"));
  /* Once a gives the port up, b is right, without a touch of its file. */
  world_take_away (world, "a");
  WAIT (world_is_synced (world, "b", "running"));
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
    world_bring_up (world, pairs[i].old, pairs[i].text);
    world_take_away (world, pairs[i].old);
    WAIT (world_status (world, pairs[i].old)->sync == VP_SYNC_RETIRED);
    WAIT (g_str_equal (world_status (world, pairs[i].old)->state, "stopped"));
    world_bring_up (world, pairs[i].heir, pairs[i].text);
  }
  world_stop_manager (world);
  world_start_manager (world);
  for (gsize i = 0; i < G_N_ELEMENTS (pairs); i++) {
    WAIT (world_is_synced (world, pairs[i].heir, "running"));
    g_assert_nonnull (world_status (world, pairs[i].old));
    g_assert_cmpint (world_status (world, pairs[i].old)->sync, ==,
                     VP_SYNC_RETIRED);
  }
  world_assert_log (world, "");
}

static void
test_plan_shows_what_pause_holds_back (World *world, gconstpointer data)
{
  const char *const names[] = { "a", "b", "c" };
  g_autoptr (GPtrArray) none = NULL, steps = NULL;
  g_autofree char *one = NULL, *all = NULL;
  unsigned job = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    world_bring_up (world, names[i], MINIMAL);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    world_take_away (world, names[i]);
  world_reload (world);
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
    WAIT (g_str_equal (world_status (world, names[i])->state, "stopped"));
}

static void
test_state_in_the_spec_ends_a_hold (World *world, gconstpointer data)
{
  unsigned job = 0;

  world_bring_up (world, "web", MINIMAL);
  g_assert_true (vp_manager_stop_guest (world->manager, "web", &job, NULL));
  WAIT (world_is_synced (world, "web", "stopped"));
  world_drop (world, "web",
              "<guest state=\"stopped\"><memory>256M</memory>"
              "<nic bridge=\"br0\"/></guest>");
  world_reload (world);
  WAIT (world_is_synced (world, "web", "stopped"));
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
}

static void
test_renamed_with_a_mistake (World *world, gconstpointer data)
{
  g_autofree char *bad = NULL, *good = NULL;

  world_bring_up (world, "web", WITH_PORT ("8080"));
  world_bring_up (world, "b", WITH_PORT ("9090"));
  bad = g_strdup_printf ("<guest uuid=\"%s\"><memory>256M</memory>"
                         "<nic network=\"default\">"
                         "<forward port=\"9090\" to=\"80\"/></nic></guest>",
                         world_status (world, "web")->uuid);
  good = g_strdup_printf ("<guest uuid=\"%s\"><memory>256M</memory>"
                          "<nic network=\"default\">"
                          "<forward port=\"8080\" to=\"80\"/></nic></guest>",
                          world_status (world, "web")->uuid);
  world_take_away (world, "web");
  world_drop (world, "shop", bad);
  world_reload (world);
  WAIT (world_status (world, "shop")->sync == VP_SYNC_INVALID);
  WAIT (world_is_quiet (world));
  g_assert_cmpuint (world_status (world, "shop")->forwards->len, ==, 1);
  g_assert_cmpstr (world_status (world, "shop")->wanted, ==, "running");
  world_drop (world, "shop", good);
  WAIT (world_is_synced (world, "shop", "running"));
  g_assert_cmpuint (vp_fake_host_count (world->host, "shutdown"), ==, 0);
}

static void
test_network_leaves_an_address_behind (World *world, gconstpointer data)
{
  world_drop_in (world, "networks", "lab",
                 "<network address=\"10.9.8.1/24\"/>");
  world_bring_up (world, "web",
                  "<guest><memory>256M</memory>"
                  "<nic network=\"lab\" address=\"10.9.8.7\"/></guest>");
  world_drop_in (world, "networks", "lab",
                 "<network address=\"10.9.9.1/24\"/>");
  WAIT (world_status (world, "web")->sync == VP_SYNC_INVALID);
  g_assert_cmpstr (world_status (world, "web")->state, ==, "running");
  world_drop_in (world, "networks", "lab",
                 "<network address=\"10.9.8.1/24\"/>");
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
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
    { "/manager/never-right", test_never_right },
    { "/manager/start-without-parts", test_start_without_parts },
    { "/manager/duplicate-forward", test_duplicate_forward },
    { "/manager/retired-guest-is-remembered",
      test_retired_guest_is_remembered },
    { "/manager/plan-shows-what-pause-holds-back",
      test_plan_shows_what_pause_holds_back },
    { "/manager/state-in-the-spec-ends-a-hold",
      test_state_in_the_spec_ends_a_hold },
    { "/manager/renamed-with-a-mistake", test_renamed_with_a_mistake },
    { "/manager/network-leaves-an-address-behind",
      test_network_leaves_an_address_behind },
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, World, NULL, world_set_up, tests[i].func,
                world_tear_down);
  return g_test_run ();
}
