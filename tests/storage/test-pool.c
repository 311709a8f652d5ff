/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool: names, new volumes, what a crash leaves, and what is no volume. */
#include "config.h"

#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/pool.h"

#include <glib/gstdio.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *folder;
  char *path; /* the pool's */
  VpPool *pool;
} Fixture;

static void
remove_tree (const char *path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *child = g_build_filename (path, name, NULL);
    if (g_file_test (child, G_FILE_TEST_IS_DIR) &&
        !g_file_test (child, G_FILE_TEST_IS_SYMLINK))
      remove_tree (child);
    else
      (void) unlink (child);
  }
  g_clear_pointer (&dir, g_dir_close);
  g_assert_no_errno (rmdir (path));
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->folder = g_dir_make_tmp ("vprov-pool-XXXXXX", &error);
  g_assert_no_error (error);
  f->path = g_build_filename (f->folder, "a", "b", NULL);
  f->pool = vp_pool_open_dir ("test", f->path, &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vp_pool_free (f->pool);
  remove_tree (f->folder);
  g_free (f->path);
  g_free (f->folder);
}

static char *
child (Fixture *f, const char *name)
{
  return g_build_filename (f->path, name, NULL);
}

static void
put (Fixture *f, const char *name, const char *content)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = child (f, name);

  g_file_set_contents (path, content, -1, &error);
  g_assert_no_error (error);
}

static bool
exists (Fixture *f, const char *name)
{
  g_autofree char *path = child (f, name);
  struct stat st;

  return lstat (path, &st) == 0;
}

static void
test_makes_folder (Fixture *f, gconstpointer data)
{
  struct stat st;
  g_autofree char *path = vp_pool_volume_path (f->pool, "x.qcow2");
  g_autofree char *wanted = child (f, "x.qcow2");

  g_assert_no_errno (stat (f->path, &st));
  g_assert_cmpuint (st.st_mode & 0777, ==, 0711);
  g_assert_cmpstr (path, ==, wanted);
}

static void
test_refuses_relative (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vp_pool_open_dir ("test", "a/b", &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
}

static void
test_commit (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  bool there = true;
  struct stat st;

  g_assert_true (vp_pool_has_volume (f->pool, "v", &there, &error));
  g_assert_false (there);

  g_autoptr (VpPoolNew) made = vp_pool_new_volume (f->pool, "v", &error);
  g_assert_no_error (error);
  g_assert_cmpint (write (vp_pool_new_get_fd (made), "abc", 3), ==, 3);
  g_assert_true (exists (f, ".v.vprov-tmp"));
  g_assert_false (exists (f, "v"));
  g_autoptr (GPtrArray) during = vp_pool_list (f->pool, &error);
  g_assert_cmpuint (during->len, ==, 0);

  g_assert_true (vp_pool_new_commit (g_steal_pointer (&made), &error));
  g_assert_no_error (error);
  g_assert_false (exists (f, ".v.vprov-tmp"));
  g_assert_true (vp_pool_has_volume (f->pool, "v", &there, &error));
  g_assert_true (there);

  g_autofree char *path = child (f, "v");
  g_assert_no_errno (stat (path, &st));
  g_assert_cmpuint (st.st_mode & 07777, ==, 0600);
  g_assert_cmpint (st.st_size, ==, 3);
}

static void
test_abort (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  VpPoolNew *made = vp_pool_new_volume (f->pool, "v", &error);

  g_assert_no_error (error);
  vp_pool_new_abort (made);
  g_assert_false (exists (f, ".v.vprov-tmp"));
  g_assert_false (exists (f, "v"));
  vp_pool_new_abort (NULL);
}

static void
test_never_replaces (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = child (f, "v");
  g_autofree char *content = NULL;

  put (f, "v", "old");
  g_assert_null (vp_pool_new_volume (f->pool, "v", &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_EXIST);
  g_clear_error (&error);

  /* It appears while ours is in the making. */
  g_assert_no_errno (unlink (path));
  VpPoolNew *made = vp_pool_new_volume (f->pool, "v", &error);
  g_assert_no_error (error);
  put (f, "v", "other");
  g_assert_false (vp_pool_new_commit (made, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_EXIST);
  g_clear_error (&error);
  g_assert_true (g_file_get_contents (path, &content, NULL, &error));
  g_assert_cmpstr (content, ==, "other");
  g_assert_false (exists (f, ".v.vprov-tmp"));
}

static void
test_one_maker (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpPoolNew) made = vp_pool_new_volume (f->pool, "v", &error);

  g_assert_no_error (error);
  g_assert_null (vp_pool_new_volume (f->pool, "v", &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE);
  g_clear_error (&error);

  /* What a crash left is no obstacle. */
  put (f, ".w.vprov-tmp", "half");
  g_autoptr (VpPoolNew) second = vp_pool_new_volume (f->pool, "w", &error);
  g_assert_no_error (error);
  g_assert_nonnull (second);
}

static void
test_commit_of_stolen (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *temporary = child (f, ".v.vprov-tmp");
  VpPoolNew *made = vp_pool_new_volume (f->pool, "v", &error);

  g_assert_no_error (error);
  g_assert_no_errno (unlink (temporary));
  put (f, ".v.vprov-tmp", "foreign");
  g_assert_false (vp_pool_new_commit (made, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
  g_assert_false (exists (f, "v"));
  g_assert_true (exists (f, ".v.vprov-tmp")); /* not ours to remove */
}

static void
test_sweep (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpPoolNew) held = vp_pool_new_volume (f->pool, "held", &error);
  g_autofree char *link = child (f, ".link.vprov-tmp");
  g_autofree char *fifo = child (f, ".fifo.vprov-tmp");
  unsigned removed = 99;

  g_assert_no_error (error);
  put (f, ".stale.vprov-tmp", "half");
  put (f, ".vprov-tmp", "no name inside");
  put (f, ".other.tmp", "not ours");
  put (f, "volume", "kept");
  g_assert_no_errno (symlink ("volume", link));
  g_assert_no_errno (mkfifo (fifo, 0600));

  g_assert_true (vp_pool_sweep (f->pool, &removed, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (removed, ==, 1);
  g_assert_false (exists (f, ".stale.vprov-tmp"));
  g_assert_true (exists (f, ".held.vprov-tmp"));
  g_assert_true (exists (f, ".vprov-tmp"));
  g_assert_true (exists (f, ".other.tmp"));
  g_assert_true (exists (f, ".link.vprov-tmp"));
  g_assert_true (exists (f, ".fifo.vprov-tmp"));
  g_assert_true (exists (f, "volume"));

  /* The lock belongs to the open file: a copy of the descriptor (the worker's)
   * keeps it when ours is gone. */
  vp_autofd int copy = dup (vp_pool_new_get_fd (held));
  g_autofree char *temporary = child (f, ".held.vprov-tmp");
  g_autofree char *aside = child (f, "aside");
  g_assert_no_errno (rename (temporary, aside));
  vp_pool_new_abort (g_steal_pointer (&held));
  g_assert_no_errno (rename (aside, temporary));
  g_assert_true (vp_pool_sweep (f->pool, &removed, &error));
  g_assert_cmpuint (removed, ==, 0);
  vp_close_fd (&copy);
  g_assert_true (vp_pool_sweep (f->pool, &removed, &error));
  g_assert_cmpuint (removed, ==, 1);
}

static void
test_names (Fixture *f, gconstpointer data)
{
  g_autofree char *long_name = g_strnfill (245, 'n');
  g_autofree char *longest = g_strnfill (244, 'n');
  const char *const bad[] = { "",      ".",        "..",           ".hidden",
                              "a/b",   "/abs",     "../out",       "a\nb",
                              "a\x7f", "\xff\xfe", ".v.vprov-tmp", long_name };
  g_autoptr (GError) error = NULL;

  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    bool there;
    g_assert_null (vp_pool_new_volume (f->pool, bad[i], &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
    g_clear_error (&error);
    g_assert_cmpint (vp_pool_open_volume (f->pool, bad[i], false, &error), ==,
                     -1);
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
    g_clear_error (&error);
    g_assert_false (vp_pool_has_volume (f->pool, bad[i], &there, &error));
    g_clear_error (&error);
    g_assert_false (vp_pool_remove_volume (f->pool, bad[i], &error));
    g_clear_error (&error);
  }

  VpPoolNew *made = vp_pool_new_volume (f->pool, longest, &error);
  g_assert_no_error (error);
  g_assert_true (vp_pool_new_commit (made, &error));
  g_assert_true (exists (f, longest));
}

/* A link, a FIFO, a folder, a file with a second name: none is opened. */
static void
test_not_a_volume (Fixture *f, gconstpointer data)
{
  const char *const names[] = { "link", "fifo", "folder", "twice" };
  g_autoptr (GError) error = NULL;
  g_autofree char *link_path = child (f, "link");
  g_autofree char *fifo = child (f, "fifo");
  g_autofree char *folder = child (f, "folder");
  g_autofree char *twice = child (f, "twice");
  g_autofree char *other = child (f, "other");

  put (f, "twice", "x");
  g_assert_no_errno (symlink ("twice", link_path));
  g_assert_no_errno (mkfifo (fifo, 0600));
  g_assert_no_errno (mkdir (folder, 0700));
  g_assert_no_errno (link (twice, other));

  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    for (int writable = 0; writable < 2; writable++) {
      g_assert_cmpint (
          vp_pool_open_volume (f->pool, names[i], writable, &error), ==, -1);
      g_assert_nonnull (error);
      g_assert_true (error->domain == G_FILE_ERROR);
      g_clear_error (&error);
    }
  bool there;
  g_assert_false (vp_pool_has_volume (f->pool, "link", &there, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL);
  g_clear_error (&error);
  g_assert_false (vp_pool_remove_volume (f->pool, "folder", &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL);
}

static void
test_list_open_remove (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = child (f, "folder");

  put (f, "b", "1");
  put (f, "a", "2");
  put (f, ".c", "3");
  g_assert_no_errno (mkdir (folder, 0700));

  for (int i = 0; i < 2; i++) { /* the second walk starts anew */
    g_autoptr (GPtrArray) names = vp_pool_list (f->pool, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (names->len, ==, 2);
    g_assert_cmpstr (g_ptr_array_index (names, 0), ==, "a");
    g_assert_cmpstr (g_ptr_array_index (names, 1), ==, "b");
  }

  vp_autofd int reader = vp_pool_open_volume (f->pool, "a", false, &error);
  g_assert_no_error (error);
  g_assert_cmpint (write (reader, "x", 1), ==, -1);
  vp_autofd int writer = vp_pool_open_volume (f->pool, "a", true, &error);
  g_assert_no_error (error);
  g_assert_cmpint (write (writer, "x", 1), ==, 1);
  g_assert_cmpint (fcntl (writer, F_GETFD) & FD_CLOEXEC, !=, 0);

  g_assert_true (vp_pool_remove_volume (f->pool, "a", &error));
  g_assert_false (exists (f, "a"));
  g_assert_false (vp_pool_remove_volume (f->pool, "a", &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
}

static void
test_space (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  uint64_t capacity = 0, available = 0;

  g_assert_true (vp_pool_get_space (f->pool, &capacity, &available, &error));
  g_assert_cmpuint (capacity, >, 0);
  g_assert_cmpuint (available, <=, capacity);
}

int
main (int argc, char **argv)
{
  static const struct {
    const char *name;
    void (*test) (Fixture *, gconstpointer);
  } tests[] = {
    { "/pool/makes-folder", test_makes_folder },
    { "/pool/refuses-relative", test_refuses_relative },
    { "/pool/commit", test_commit },
    { "/pool/abort", test_abort },
    { "/pool/never-replaces", test_never_replaces },
    { "/pool/one-maker", test_one_maker },
    { "/pool/commit-of-stolen", test_commit_of_stolen },
    { "/pool/sweep", test_sweep },
    { "/pool/names", test_names },
    { "/pool/not-a-volume", test_not_a_volume },
    { "/pool/list-open-remove", test_list_open_remove },
    { "/pool/space", test_space },
  };

  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].name, Fixture, NULL, set_up, tests[i].test, tear_down);
  return g_test_run ();
}
