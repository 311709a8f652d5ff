/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-world: see the header. */
#include "config.h"

#include "tests/daemon/manager-world.h"

#include <glib/gstdio.h>

void
world_start_manager (World *world)
{
  g_autoptr (GError) error = NULL;

  world->store = vp_store_open (world->config.state_dir, &error);
  g_assert_no_error (error);
  world->manager = vp_manager_new (&world->config, world->host, world->store);
  vp_manager_start (world->manager, &error);
  g_assert_no_error (error);
}

void
world_stop_manager (World *world)
{
  vp_manager_stop (world->manager);
  vp_manager_free (world->manager);
  vp_store_free (world->store);
}

void
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
  world_start_manager (world);
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

void
world_tear_down (World *world, gconstpointer data)
{
  world_stop_manager (world);
  world->host->ops->free (world->host);
  remove_tree (world->root);
  g_free (world->config.state_dir);
  g_free (world->config.runtime_dir);
  g_free (world->config.worker_program);
  g_free (world->root);
  g_free (world->specs);
  g_free (world->guests);
}

void
world_drop_in (World *world, const char *folder, const char *name,
               const char *text)
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

void
world_drop (World *world, const char *name, const char *text)
{
  world_drop_in (world, "guests", name, text);
}

void
world_take_away (World *world, const char *name)
{
  g_autofree char *path = g_strdup_printf ("%s/%s.xml", world->guests, name);

  g_assert_cmpint (g_unlink (path), ==, 0);
}

gboolean
world_on_late (gpointer data)
{
  *(bool *) data = true;
  return G_SOURCE_REMOVE;
}

const VpGuestStatus *
world_status (World *world, const char *name)
{
  return vp_manager_get_guest (world->manager, name);
}

bool
world_is_synced (World *world, const char *name, const char *state)
{
  const VpGuestStatus *guest = world_status (world, name);

  return guest != NULL && guest->sync == VP_SYNC_SYNCED &&
         g_str_equal (guest->state, state);
}

void
world_reload (World *world)
{
  g_autoptr (GPtrArray) problems = NULL;

  vp_manager_reload (world->manager, &problems);
}

bool
world_is_quiet (World *world)
{
  const char *state = vp_manager_get_state (world->manager);

  return !g_str_equal (state, "reconciling") &&
         !g_str_equal (state, "starting");
}

void
world_assert_log (World *world, const char *expected)
{
  g_autofree char *log = vp_fake_host_log (world->host);

  g_assert_cmpstr (log, ==, expected);
  vp_fake_host_clear_log (world->host);
}

void
world_bring_up (World *world, const char *name, const char *text)
{
  world_drop (world, name, text);
  WAIT (world_is_synced (world, name, "running"));
  vp_fake_host_clear_log (world->host);
}
