/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sysctl: files below /proc/sys.  A setting belongs to the network namespace
 * of whoever opens it. */
#include "config.h"

#include "net/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char *
path_of (const char *key)
{
  return g_build_filename ("/proc/sys", key, NULL);
}

char *
vp_sysctl_read (const char *key)
{
  g_autofree char *path = path_of (key);
  char *text = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  return g_strchomp (text);
}

bool
vp_sysctl_write (const char *key, const char *value, GError **error)
{
  g_autofree char *path = path_of (key);
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  ssize_t n = -1;
  int number;

  if (fd >= 0)
    n = write (fd, value, strlen (value));
  number = errno;
  if (fd >= 0)
    (void) close (fd); /* the write told all */
  if (n == (ssize_t) strlen (value))
    return true;
  g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (number),
               "%s: cannot write %s: %s", path, value, g_strerror (number));
  return false;
}

static gint
compare_strings (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

GPtrArray *
vp_sysctl_list (const char *folder)
{
  g_autofree char *path = path_of (folder);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, compare_strings);
  return names;
}
