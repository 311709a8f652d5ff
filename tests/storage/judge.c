/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* judge: runs programs; the cage is timeout and prlimit. */
#include "config.h"

#include "tests/storage/judge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

bool
judge_is_missing (void)
{
  static const char *const programs[] = { "qemu-img", "qemu-io", "prlimit",
                                          "timeout" };
  for (size_t i = 0; i < G_N_ELEMENTS (programs); i++) {
    g_autofree char *path = g_find_program_in_path (programs[i]);
    if (path)
      continue;
    g_autofree char *why = g_strdup_printf ("no %s here", programs[i]);
    g_test_skip (why);
    return true;
  }
  return false;
}

int
judge_run (const char *const *argv, char **ret_said)
{
  static const char *const cage[] = { "timeout", "60", "prlimit",
                                      "--data=1073741824" };
  size_t n_cage = G_N_ELEMENTS (cage);
  g_autoptr (GPtrArray) full = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *out = NULL, *err = NULL;
  int status = 0;
#ifdef VP_SANITIZED
  /* A sanitizer maps more than any cage allows. */
  if (strcmp (argv[0], judge_vprov_img ()) == 0)
    n_cage = 2;
#endif
  for (size_t i = 0; i < n_cage; i++)
    g_ptr_array_add (full, (gpointer) cage[i]);
  for (const char *const *arg = argv; *arg; arg++)
    g_ptr_array_add (full, (gpointer) *arg);
  g_ptr_array_add (full, NULL);
  g_spawn_sync (NULL, (char **) full->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL,
                NULL, &out, &err, &status, &error);
  g_assert_no_error (error);
  if (ret_said)
    *ret_said = g_strconcat (out, err, NULL);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

const char *
judge_vprov_img (void)
{
  static char *path;
  if (!path) {
    const char *folder = getenv ("VP_BUILDDIR");
    path = g_build_filename (folder ? folder : ".", "vprov-img", NULL);
  }
  return path;
}

bool
judge_have_verb (const char *verb)
{
  const char *argv[] = { judge_vprov_img (), verb, "--help", NULL };
  return judge_run (argv, NULL) == 0;
}

char *
judge_folder (void)
{
  const char *memory = "/dev/shm";
  g_autofree char *pattern = g_build_filename (
      g_access (memory, W_OK) == 0 ? memory : g_get_tmp_dir (),
      "vprov-judge-XXXXXX", NULL);
  g_assert_nonnull (g_mkdtemp (pattern));
  return g_steal_pointer (&pattern);
}

void
judge_remove (char *folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;
  while ((name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    (void) g_unlink (path);
  }
  g_assert_cmpint (g_rmdir (folder), ==, 0);
  g_free (folder);
}
