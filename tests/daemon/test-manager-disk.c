/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The manager and the disks of its guests: made once, never lost, never made
 * again in the place of one that is only hard to see. */
#include "config.h"

#include "daemon/error.h"
#include "tests/daemon/manager-world.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void
test_missing_image_comes_later (World *world, gconstpointer data)
{
  const VpProblem *problem = NULL;

  world_drop (
      world, "web",
      "<guest>\n  <memory>256M</memory>\n"
      "  <disk name=\"root\" from=\"debian\" size=\"10M\"/>\n</guest>\n");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (world_status (world, "web")->problems, 0);
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

  world_drop_in (world, "images", "debian", image);
  world_drop (
      world, "web",
      "<guest>\n  <memory>256M</memory>\n"
      "  <disk name=\"root\" from=\"debian\" size=\"2M\"/>\n</guest>\n");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (world_status (world, "web")->problems, 0);
  g_assert_cmpstr (problem->code, ==, "no-base");
  g_assert_cmpuint (problem->place.line, ==, 3);
  g_assert_cmpuint (problem->place.column, ==, 21);
  g_assert_nonnull (strstr (problem->message, base));
  /* It comes, and is seen at the next look; it goes, and the disk stays. */
  g_assert_true (g_file_set_contents (base, "", 0, NULL));
  g_assert_cmpint (truncate (base, 1 << 20), ==, 0);
  world_reload (world);
  WAIT (world_is_synced (world, "web", "running"));
  g_assert_cmpint (g_unlink (base), ==, 0);
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_is_synced (world, "web", "running"));
}

static void
test_disk_is_made_grown_and_kept (World *world, gconstpointer data)
{
  g_autofree char *path = g_build_filename (world->config.state_dir, "pools",
                                            "default", "web-root.raw", NULL);
  g_autofree char *img = g_build_filename (world->config.state_dir, "pools",
                                           "default", "web-root.img", NULL);
  struct stat st;

  world_drop (world, "web",
              "<guest><memory>256M</memory>"
              "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>");
  WAIT (world_is_synced (world, "web", "running"));
  g_assert_cmpint (stat (img, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 2 << 20);
  world_take_away (world, "web");
  WAIT (g_str_equal (world_status (world, "web")->state, "stopped"));
  g_assert_cmpint (stat (img, &st), ==, 0);
  world_drop (world, "web",
              "<guest><memory>256M</memory>"
              "<disk name=\"root\" size=\"4M\" format=\"raw\"/></guest>");
  WAIT (world_is_synced (world, "web", "running"));
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

  world_bring_up (world, "web", DISK_GUEST (""));
  uuid = g_strdup (world_status (world, "web")->uuid);
  g_assert_cmpint (g_rename (from, to), ==, 0);
  WAIT (world_status (world, "shop") != NULL &&
        world_status (world, "shop")->sync == VP_SYNC_PENDING &&
        world_status (world, "shop")->pending->len > 0);
  g_assert_false (g_file_test (other, G_FILE_TEST_EXISTS));
  WAIT (g_str_equal (world_status (world, "web")->state, "stopped"));
  vp_fake_host_clear_log (world->host);
  /* With its uuid it is the same guest: same domain, same disk. */
  with_uuid = g_strdup_printf (
      "<guest uuid=\"%s\"><memory>256M</memory>"
      "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>",
      uuid);
  world_take_away (world, "shop");
  world_reload (world);
  world_drop (world, "store", with_uuid);
  WAIT (world_is_synced (world, "store", "running"));
  g_assert_cmpstr (world_status (world, "store")->uuid, ==, uuid);
  g_assert_null (world_status (world, "web"));
  world_assert_log (world, "define web; start web");
}

/* A guest whose disk could not be made leaves nothing that a new one could
 * miss. */
static void
test_new_guest_after_failed_one (World *world, gconstpointer data)
{
  world_drop_in (world, "pools", "bad", "<pool path=\"/dev/null/x\"/>");
  world_drop (world, "web",
              "<guest><memory>256M</memory>"
              "<disk name=\"root\" pool=\"bad\" size=\"2M\"/></guest>");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_FAILED);
  world_take_away (world, "web");
  world_drop (world, "shop", DISK_GUEST (""));
  WAIT (world_is_synced (world, "shop", "running"));
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
    world_drop_in (world, "images", "deb", spec);
}

static void
test_disk_keeps_the_base_it_was_made_on (World *world, gconstpointer data)
{
  g_autofree char *spec = NULL;
  g_autoptr (VpHostDomain) domain = NULL;

  make_image (world, "old.raw", true);
  world_bring_up (world, "web", ON_IMAGE);
  make_image (world, "new.raw", true);
  world_reload (world);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
  domain = vp_fake_host_peek (world->host, "web");
  g_assert_nonnull (strstr (domain->xml, "old.raw"));
  /* Nor does it need the image's file any more. */
  spec = g_build_filename (world->specs, "images", "deb.xml", NULL);
  g_assert_cmpint (g_unlink (spec), ==, 0);
  world_reload (world);
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
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
  world_drop (world, "web", DISK_GUEST (""));
  WAIT (world_status (world, "web") != NULL &&
        strstr (world_status (world, "web")->sub_state, "start") != NULL);
  vp_fake_host_wait_held (world->host, 1);
  limit_files (1);
  vp_fake_host_release (world->host);
  WAIT (world_is_synced (world, "web", "running"));
  limit_files (RLIM_INFINITY);
  world_assert_log (world, "define web; start web");
  g_assert_true (g_file_test (img, G_FILE_TEST_EXISTS));
}

static void
test_unreadable_record_makes_no_new_guest (World *world, gconstpointer data)
{
  g_autofree char *record =
      g_build_filename (world->config.state_dir, "guests", "web", NULL);
  const VpProblem *problem = NULL;

  world_bring_up (world, "web", DISK_GUEST (""));
  world_stop_manager (world);
  g_assert_true (g_file_set_contents (record, "rubbish", -1, NULL));
  world_start_manager (world);
  WAIT (world_status (world, "web")->sync == VP_SYNC_INVALID);
  problem = g_ptr_array_index (world_status (world, "web")->problems, 0);
  g_assert_cmpstr (problem->code, ==, "store");
  WAIT (world_is_quiet (world));
  world_assert_log (world, "");
}

/* As a kill -9 between a step and its record leaves it. */
static void
set_off (World *world, bool off)
{
  g_autoptr (VpGuestRecord) record = NULL;

  world_stop_manager (world);
  world->store = vp_store_open (world->config.state_dir, NULL);
  record = vp_store_load_guest (world->store, "web", NULL);
  g_assert_true (record->off != off);
  record->off = off;
  g_assert_true (vp_store_save_guest (world->store, "web", record, NULL));
  vp_store_free (world->store);
  world_start_manager (world);
}

static void
test_killed_before_the_record (World *world, gconstpointer data)
{
  world_bring_up (world, "web", MINIMAL);
  world_drop (world, "web",
              "<guest state=\"stopped\"><memory>256M</memory>"
              "<nic bridge=\"br0\"/></guest>");
  WAIT (world_is_synced (world, "web", "stopped"));
  set_off (world, false);
  WAIT (world_is_synced (world, "web", "stopped"));
  world_drop (world, "web", MINIMAL);
  WAIT (world_is_synced (world, "web", "running"));
  set_off (world, true);
  WAIT (world_is_synced (world, "web", "running"));
  vp_fake_host_clear_log (world->host);
  vp_fake_host_power_off (world->host, "web");
  WAIT (world_is_synced (world, "web", "stopped"));
  world_assert_log (world, "");
}

static void
test_start_makes_no_new_disk (World *world, gconstpointer data)
{
  g_autofree char *other = g_build_filename (world->config.state_dir, "pools",
                                             "default", "shop-root.img", NULL);
  unsigned job = 0;

  world_bring_up (world, "web", DISK_GUEST (""));
  world_take_away (world, "web");
  world_reload (world);
  world_drop (world, "shop", DISK_GUEST (""));
  WAIT (world_status (world, "shop") != NULL &&
        world_status (world, "shop")->pending->len > 0);
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

  world_bring_up (world, "web", DISK_GUEST (""));
  vp_fake_host_set_connected (world->host, false);
  g_assert_true (
      vp_manager_reconcile_guest (world->manager, "web", &job, NULL));
  text = g_strdup_printf (
      "<guest uuid=\"%s\"><memory>256M</memory>"
      "<disk name=\"root\" size=\"2M\" format=\"raw\"/></guest>",
      world_status (world, "web")->uuid);
  world_take_away (world, "web");
  world_drop (world, "shop", text);
  world_reload (world);
  WAIT (world_status (world, "web") == NULL);
  g_assert_true (vp_manager_get_job (world->manager, job)->finished);
  g_assert_false (vp_manager_cancel_job (world->manager, job, NULL));
}

static void
test_pool_changes_before_the_disk_is_made (World *world, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (world->root, "file", "no", NULL);
  g_autofree char *file = g_build_filename (world->root, "file", NULL);
  g_autofree char *pool = g_strdup_printf ("<pool path=\"%s\"/>", folder);

  g_assert_true (g_file_set_contents (file, "", 0, NULL));
  world_drop_in (world, "pools", "fast", pool);
  world_drop (world, "web",
              "<guest><memory>256M</memory>"
              "<disk name=\"root\" size=\"2M\" format=\"raw\" pool=\"fast\"/>"
              "</guest>");
  WAIT (world_status (world, "web") != NULL &&
        world_status (world, "web")->sync == VP_SYNC_FAILED);
  world_drop (world, "web", DISK_GUEST (""));
  WAIT (world_is_synced (world, "web", "running"));
  world_stop_manager (world);
  world_start_manager (world);
  vp_fake_host_clear_log (world->host);
  WAIT (world_is_synced (world, "web", "running"));
  world_assert_log (world, "");
}

static void
test_names_that_meet (World *world, gconstpointer data)
{
  g_autoptr (GString) text = g_string_new ("<guest><memory>256M</memory>");

  world_bring_up (world, "a-b",
                  "<guest><memory>256M</memory>"
                  "<disk name=\"c\" size=\"2M\" format=\"raw\"/></guest>");
  world_bring_up (world, "a",
                  "<guest><memory>256M</memory>"
                  "<disk name=\"b-c\" size=\"3M\" format=\"raw\"/></guest>");
  for (unsigned i = 0; i < 20; i++)
    g_string_append_printf (text, "<disk name=\"d.%u\" size=\"1M\"/>", i);
  g_string_append (text, "</guest>");
  world_bring_up (world, "a.b-c", text->str);
  world_stop_manager (world);
  world_start_manager (world);
  WAIT (world_is_synced (world, "a-b", "running") &&
        world_is_synced (world, "a", "running") &&
        world_is_synced (world, "a.b-c", "running"));
  world_assert_log (world, "");
}

int
main (int argc, char **argv)
{
  const struct {
    const char *path;
    void (*func) (World *world, gconstpointer data);
  } tests[] = {
    { "/manager/missing-image-comes-later", test_missing_image_comes_later },
    { "/manager/missing-base-has-its-place", test_missing_base_has_its_place },
    { "/manager/disk-is-made-grown-and-kept",
      test_disk_is_made_grown_and_kept },
    { "/manager/renamed-file-gets-no-empty-disk",
      test_renamed_file_gets_no_empty_disk },
    { "/manager/new-guest-after-failed-one", test_new_guest_after_failed_one },
    { "/manager/disk-keeps-the-base-it-was-made-on",
      test_disk_keeps_the_base_it_was_made_on },
    { "/manager/journal-full-after-start", test_journal_full_after_start },
    { "/manager/unreadable-record-makes-no-new-guest",
      test_unreadable_record_makes_no_new_guest },
    { "/manager/killed-before-the-record", test_killed_before_the_record },
    { "/manager/start-makes-no-new-disk", test_start_makes_no_new_disk },
    { "/manager/waiting-job-of-a-guest-that-goes",
      test_waiting_job_of_a_guest_that_goes },
    { "/manager/pool-changes-before-the-disk-is-made",
      test_pool_changes_before_the_disk_is_made },
    { "/manager/names-that-meet", test_names_that_meet },
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, World, NULL, world_set_up, tests[i].func,
                world_tear_down);
  return g_test_run ();
}
