/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which files count: names, owners, modes, links, precedence; and when a scan
 * must not be believed. */
#include "config.h"

#include "daemon/spec-dir.h"
#include "daemon/spec-xml.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *root, *high, *low;
  VpSpecDir *dir;
  unsigned changes;
} World;

static void
on_changed (gpointer data)
{
  ((World *) data)->changes++;
}

static void
set_up (World *world, gconstpointer data)
{
  world->root = g_dir_make_tmp ("vprovd-specs-XXXXXX", NULL);
  world->high = g_build_filename (world->root, "etc", NULL);
  world->low = g_build_filename (world->root, "lib", NULL);
  {
    const char *dirs[] = { world->high, world->low, NULL };

    world->dir = vp_spec_dir_new (dirs, 5, on_changed, world);
  }
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = NULL;
  const char *name = NULL;

  if (g_file_test (path, G_FILE_TEST_IS_DIR) &&
      !g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    dir = g_dir_open (path, 0, NULL);
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  (void) g_remove (path);
}

static void
tear_down (World *world, gconstpointer data)
{
  vp_spec_dir_free (world->dir);
  remove_tree (world->root);
  g_free (world->root);
  g_free (world->high);
  g_free (world->low);
}

static char *
put (const char *top, const char *file, const char *text)
{
  char *path = g_build_filename (top, "guests", file, NULL);
  g_autofree char *folder = g_path_get_dirname (path);

  g_assert_cmpint (g_mkdir_with_parents (folder, 0755), ==, 0);
  g_assert_true (g_file_set_contents_full (
      path, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
  return path;
}

static void
put_away (const char *top, const char *file, const char *text)
{
  g_autofree char *path = put (top, file, text);
}

/* An empty one where it is not there. */
static VpSpecFile *
find (const VpSpecScan *scan, const char *name)
{
  static VpSpecFile none;

  for (guint i = 0; i < scan->files->len; i++) {
    VpSpecFile *file = g_ptr_array_index (scan->files, i);

    if (g_str_equal (file->name, name))
      return file;
  }
  return &none;
}

static void
test_names (World *world, gconstpointer data)
{
  static const char *const ignored[] = {
    ".web.xml",       "web.xml~",    "web.xml.swp", "web.xml.dpkg-new",
    "web.xml.rpmnew", "web.xml.bak", "web",         "a b.xml",
    "-web.xml",       "web.XML",     ".xml",
  };
  g_autoptr (VpSpecScan) scan = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (ignored); i++)
    put_away (world->high, ignored[i], "x");
  put_away (world->high, "web-1.a_b.xml", "y");
  scan = vp_spec_dir_scan (world->dir);
  g_assert_true (scan->complete);
  g_assert_cmpuint (scan->files->len, ==, 1);
  g_assert_cmpstr (find (scan, "web-1.a_b")->text, ==, "y");
}

static void
test_precedence_and_mask (World *world, gconstpointer data)
{
  g_autofree char *mask =
      g_build_filename (world->high, "guests", "off.xml", NULL);
  g_autoptr (VpSpecScan) scan = NULL;

  put_away (world->low, "web.xml", "low");
  put_away (world->low, "off.xml", "low");
  put_away (world->low, "lone.xml", "low");
  put_away (world->high, "web.xml", "high");
  g_assert_cmpint (symlink ("/dev/null", mask), ==, 0);
  scan = vp_spec_dir_scan (world->dir);
  g_assert_cmpuint (scan->files->len, ==, 2);
  g_assert_cmpstr (find (scan, "web")->text, ==, "high");
  g_assert_cmpstr (find (scan, "lone")->text, ==, "low");
  g_assert_null (find (scan, "off")->name);
}

static void
assert_refused (const VpSpecScan *scan, const char *name, const char *why)
{
  const VpSpecFile *file = find (scan, name);

  g_assert_cmpstr (file->name, ==, name);
  g_assert_null (file->text);
  g_assert_nonnull (file->problem);
  g_assert_nonnull (strstr (file->problem->message, why));
}

static void
test_distrusted_files (World *world, gconstpointer data)
{
  g_autofree char *open = put (world->high, "open.xml", "x");
  g_autofree char *real = put (world->high, "real.xml", "x");
  g_autofree char *twice = put (world->high, "twice.xml", "x");
  g_autofree char *link =
      g_build_filename (world->high, "guests", "link.xml", NULL);
  g_autofree char *hard =
      g_build_filename (world->high, "guests", "hard.xml", NULL);
  g_autofree char *fifo =
      g_build_filename (world->high, "guests", "fifo.xml", NULL);
  g_autofree char *large = g_strnfill (VP_SPEC_MAX_BYTES + 1, ' ');
  g_autoptr (VpSpecScan) scan = NULL;

  g_assert_cmpint (chmod (open, 0666), ==, 0);
  g_assert_cmpint (symlink ("/etc/passwd", link), ==, 0);
  g_assert_cmpint (linkat (AT_FDCWD, twice, AT_FDCWD, hard, 0), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0644), ==, 0);
  put_away (world->high, "large.xml", large);
  scan = vp_spec_dir_scan (world->dir);
  g_assert_nonnull (find (scan, "real")->text);
  assert_refused (scan, "open", "writable");
  assert_refused (scan, "link", "link");
  assert_refused (scan, "hard", "hard link");
  assert_refused (scan, "fifo", "regular");
  assert_refused (scan, "large", "256 KiB");
}

static void
test_folder_gone_is_not_files_gone (World *world, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (world->high, "guests", NULL);
  g_autofree char *aside = g_strconcat (folder, ".aside", NULL);
  g_autoptr (VpSpecScan) first = NULL, second = NULL, third = NULL;

  put_away (world->high, "web.xml", "x");
  first = vp_spec_dir_scan (world->dir);
  g_assert_true (first->complete);
  g_assert_cmpint (g_rename (folder, aside), ==, 0);
  second = vp_spec_dir_scan (world->dir);
  g_assert_false (second->complete);
  g_assert_nonnull (strstr (second->reason, folder));
  vp_spec_dir_trust (world->dir);
  third = vp_spec_dir_scan (world->dir);
  g_assert_true (third->complete);
}

static void
test_folder_writable_by_others (World *world, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (world->high, "guests", NULL);
  g_autoptr (VpSpecScan) scan = NULL;

  put_away (world->high, "web.xml", "x");
  g_assert_cmpint (chmod (folder, 0777), ==, 0);
  scan = vp_spec_dir_scan (world->dir);
  g_assert_false (scan->complete);
  g_assert_cmpuint (scan->files->len, ==, 0);
}

static gboolean
on_late (gpointer data)
{
  *(bool *) data = true;
  return G_SOURCE_REMOVE;
}

static void
wait_change (World *world, unsigned n)
{
  bool late = false;
  guint timer = g_timeout_add (10000, on_late, &late);

  while (world->changes < n && !late)
    g_main_context_iteration (NULL, TRUE);
  g_assert_false (late);
  g_source_remove (timer);
}

/* Many changes at once are one; a folder that comes later is seen. */
static void
test_changes_are_seen (World *world, gconstpointer data)
{
  g_autofree char *path = NULL;

  vp_spec_scan_free (vp_spec_dir_scan (world->dir));
  path = put (world->high, "web.xml", "x");
  wait_change (world, 1);
  vp_spec_scan_free (vp_spec_dir_scan (world->dir));
  world->changes = 0;
  for (unsigned i = 0; i < 50; i++)
    put_away (world->high, "web.xml", i % 2 == 0 ? "a" : "b");
  wait_change (world, 1);
  g_assert_cmpuint (world->changes, ==, 1);
  world->changes = 0;
  g_assert_cmpint (g_unlink (path), ==, 0);
  wait_change (world, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/spec-dir/names", World, NULL, set_up, test_names, tear_down);
  g_test_add ("/spec-dir/precedence-and-mask", World, NULL, set_up,
              test_precedence_and_mask, tear_down);
  g_test_add ("/spec-dir/distrusted-files", World, NULL, set_up,
              test_distrusted_files, tear_down);
  g_test_add ("/spec-dir/folder-gone-is-not-files-gone", World, NULL, set_up,
              test_folder_gone_is_not_files_gone, tear_down);
  g_test_add ("/spec-dir/folder-writable-by-others", World, NULL, set_up,
              test_folder_writable_by_others, tear_down);
  g_test_add ("/spec-dir/changes-are-seen", World, NULL, set_up,
              test_changes_are_seen, tear_down);
  return g_test_run ();
}
