/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-dir: see the header.  The inotify watches are set anew at each scan,
 * before the folders are read: a change between the two shows as an event and
 * brings another scan, so that none is missed.  An overflow is just such an
 * event.
 *
 * Settling: a rename or a close brings the scan after settle_ms of quiet, a
 * bare modification (a file written but not closed) after ten times that; but
 * who writes without a pause puts it off for two seconds at most. */
#include "config.h"

#include "daemon/spec-dir.h"
#include "daemon/spec-xml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib-unix.h>

#define SETTLE_MAX_US (2 * G_USEC_PER_SEC)

struct VpSpecDir {
  char **dirs;
  unsigned settle_ms;
  VpSpecDirChanged changed;
  gpointer user_data;
  int inotify_fd;
  guint inotify_source;
  guint settle_source;
  gint64 unsettled_since; /* monotonic usec; 0: settled */
  GHashTable *devices;    /* folder path -> dev_t seen first, as a string */
};

static const struct {
  const char *name, *folder;
} kinds[VP_SPEC_N_KINDS] = {
  [VP_SPEC_GUEST] = { "guest", "guests" },
  [VP_SPEC_NETWORK] = { "network", "networks" },
  [VP_SPEC_POOL] = { "pool", "pools" },
  [VP_SPEC_IMAGE] = { "image", "images" },
};

const char *
vp_spec_kind_to_string (VpSpecKind kind)
{
  return kinds[kind].name;
}

const char *
vp_spec_kind_to_folder (VpSpecKind kind)
{
  return kinds[kind].folder;
}

bool
vp_spec_kind_from_string (const char *text, VpSpecKind *ret_kind)
{
  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++)
    if (g_str_equal (kinds[i].name, text)) {
      *ret_kind = (VpSpecKind) i;
      return true;
    }
  return false;
}

static void
spec_file_free (VpSpecFile *file)
{
  g_free (file->name);
  g_free (file->path);
  g_free (file->text);
  vp_problem_free (file->problem);
  g_free (file);
}

void
vp_spec_scan_free (VpSpecScan *scan)
{
  if (scan == NULL)
    return;
  g_ptr_array_unref (scan->files);
  g_free (scan->reason);
  g_free (scan);
}

static void
scan_incomplete (VpSpecScan *scan, const char *path, const char *why)
{
  scan->complete = false;
  if (scan->reason == NULL)
    scan->reason = g_strdup_printf ("%s: %s", path, why);
}

/* "NAME.xml" -> NAME, or NULL where the file does not count. */
static char *
spec_name (const char *file_name)
{
  g_autofree char *name = NULL;

  if (!g_str_has_suffix (file_name, ".xml"))
    return NULL;
  name = g_strndup (file_name, strlen (file_name) - strlen (".xml"));
  return vp_name_is_valid (name) ? g_steal_pointer (&name) : NULL;
}

/* What makes a file or folder unfit to be believed, or NULL. */
static const char *
distrust (const struct stat *st)
{
  if (st->st_uid != 0 && st->st_uid != geteuid ())
    return "is not owned by root: chown it";
  if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return "is writable by others than its owner: chmod go-w";
  return NULL;
}

static char *
read_all (int fd, size_t size, size_t *ret_len)
{
  g_autofree char *text = g_malloc (size + 1);
  size_t len = 0;

  while (len < size) {
    ssize_t n = read (fd, text + len, size - len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return NULL;
    if (n == 0)
      break;
    len += (size_t) n;
  }
  text[len] = '\0';
  *ret_len = len;
  return g_steal_pointer (&text);
}

/* Sets text or problem. */
static void
read_spec (VpSpecFile *file, int dir_fd, const char *file_name)
{
  const char *why = NULL;
  struct stat st;
  int fd = openat (dir_fd, file_name,
                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

  if (fd < 0)
    why = errno == ELOOP ? "is a link: only links to /dev/null are followed"
                         : g_strerror (errno);
  else if (fstat (fd, &st) < 0)
    why = g_strerror (errno);
  else if (!S_ISREG (st.st_mode))
    why = "is not a regular file";
  else if (st.st_nlink != 1)
    why = "has more than one hard link";
  else if (st.st_size > VP_SPEC_MAX_BYTES)
    why = "is larger than 256 KiB";
  else
    why = distrust (&st);
  if (why == NULL) {
    file->text = read_all (fd, (size_t) st.st_size, &file->len);
    if (file->text == NULL)
      why = g_strerror (errno);
  }
  if (why != NULL)
    file->problem = vp_problem_new (file->path, (VpPlace){ 0, 0 },
                                    VP_SEVERITY_ERROR, "file", "%s", why);
  if (fd >= 0)
    (void) close (fd); /* read-only */
}

static bool
is_mask (int dir_fd, const char *file_name)
{
  char target[16];
  ssize_t n = readlinkat (dir_fd, file_name, target, sizeof target);

  return n == (ssize_t) strlen ("/dev/null") &&
         memcmp (target, "/dev/null", (size_t) n) == 0;
}

static void
scan_entry (VpSpecScan *scan, GHashTable *seen, VpSpecKind kind, int dir_fd,
            const char *folder, const char *file_name)
{
  g_autofree char *name = spec_name (file_name);
  VpSpecFile *file = NULL;

  if (name == NULL || !g_hash_table_add (seen, g_strdup (name)))
    return;
  if (is_mask (dir_fd, file_name))
    return;
  file = g_new0 (VpSpecFile, 1);
  file->kind = kind;
  file->path = g_build_filename (folder, file_name, NULL);
  file->name = g_steal_pointer (&name);
  read_spec (file, dir_fd, file_name);
  g_ptr_array_add (scan->files, file);
}

/* A folder that was on one device and now is on another was unmounted or
 * mounted over: what it shows is not what the administrator wrote. */
static bool
is_swapped (VpSpecDir *dir, const char *folder, const struct stat *st)
{
  g_autofree char *device = g_strdup_printf ("%lu", (unsigned long) st->st_dev);
  const char *known = g_hash_table_lookup (dir->devices, folder);

  if (known == NULL)
    g_hash_table_insert (dir->devices, g_strdup (folder),
                         g_steal_pointer (&device));
  else if (!g_str_equal (known, device))
    return true;
  return false;
}

static void
scan_folder (VpSpecDir *dir, VpSpecScan *scan, GHashTable *seen,
             VpSpecKind kind, const char *folder)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const struct dirent *entry = NULL;
  struct stat st;
  const char *why = NULL;
  DIR *stream = NULL;
  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0) {
    /* Never there: nothing to read.  There before: do not believe it. */
    if (errno != ENOENT || g_hash_table_contains (dir->devices, folder))
      scan_incomplete (scan, folder, g_strerror (errno));
    return;
  }
  if (fstat (fd, &st) < 0)
    why = g_strerror (errno);
  else if ((why = distrust (&st)) == NULL && is_swapped (dir, folder, &st))
    why = "another file system lies in its place";
  if (why != NULL || (stream = fdopendir (fd)) == NULL) {
    scan_incomplete (scan, folder, why != NULL ? why : g_strerror (errno));
    (void) close (fd);
    return;
  }
  errno = 0;
  while ((entry = readdir (stream)) != NULL)
    g_ptr_array_add (names, g_strdup (entry->d_name));
  if (errno != 0)
    scan_incomplete (scan, folder, g_strerror (errno));
  for (guint i = 0; i < names->len; i++)
    scan_entry (scan, seen, kind, dirfd (stream), folder,
                g_ptr_array_index (names, i));
  (void) closedir (stream);
}

static void
watch (VpSpecDir *dir, const char *path)
{
  if (dir->inotify_fd >= 0)
    (void) inotify_add_watch (dir->inotify_fd, path,
                              IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM |
                                  IN_DELETE | IN_CREATE | IN_MODIFY |
                                  IN_ATTRIB | IN_ONLYDIR);
}

static void
watch_all (VpSpecDir *dir)
{
  for (char **d = dir->dirs; *d != NULL; d++) {
    g_autofree char *parent = g_path_get_dirname (*d);

    watch (dir, *d);
    if (!g_file_test (*d, G_FILE_TEST_IS_DIR))
      watch (dir, parent);
    for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++) {
      g_autofree char *folder = g_build_filename (*d, kinds[i].folder, NULL);

      watch (dir, folder);
    }
  }
}

static int
compare_files (gconstpointer a, gconstpointer b)
{
  const VpSpecFile *x = *(VpSpecFile *const *) a;
  const VpSpecFile *y = *(VpSpecFile *const *) b;

  if (x->kind != y->kind)
    return x->kind < y->kind ? -1 : 1;
  return strcmp (x->name, y->name);
}

VpSpecScan *
vp_spec_dir_scan (VpSpecDir *dir)
{
  VpSpecScan *scan = g_new0 (VpSpecScan, 1);

  scan->files =
      g_ptr_array_new_with_free_func ((GDestroyNotify) spec_file_free);
  scan->complete = true;
  watch_all (dir);
  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++) {
    g_autoptr (GHashTable) seen =
        g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

    for (char **d = dir->dirs; *d != NULL; d++) {
      g_autofree char *folder = g_build_filename (*d, kinds[i].folder, NULL);

      scan_folder (dir, scan, seen, (VpSpecKind) i, folder);
    }
  }
  g_ptr_array_sort (scan->files, compare_files);
  return scan;
}

void
vp_spec_dir_trust (VpSpecDir *dir)
{
  g_hash_table_remove_all (dir->devices);
}

static gboolean
settled (gpointer data)
{
  VpSpecDir *dir = data;

  dir->settle_source = 0;
  dir->unsettled_since = 0;
  dir->changed (dir->user_data);
  return G_SOURCE_REMOVE;
}

static gboolean
on_inotify (gint fd, GIOCondition condition, gpointer data)
{
  VpSpecDir *dir = data;
  char buffer[16 * 1024] __attribute__ ((aligned (8)));
  bool closed = false;
  ssize_t n = 0;

  while ((n = read (fd, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0; at < n;) {
      struct inotify_event event;

      memcpy (&event, buffer + at, sizeof event);
      closed |= (event.mask & ~(uint32_t) (IN_MODIFY | IN_CREATE)) != 0;
      at += (ssize_t) (sizeof event + event.len);
    }
  if (dir->unsettled_since == 0)
    dir->unsettled_since = g_get_monotonic_time ();
  if (dir->settle_source != 0 &&
      g_get_monotonic_time () - dir->unsettled_since > SETTLE_MAX_US)
    return G_SOURCE_CONTINUE;
  if (dir->settle_source != 0)
    g_source_remove (dir->settle_source);
  dir->settle_source = g_timeout_add (
      closed ? dir->settle_ms : 10 * dir->settle_ms, settled, dir);
  return G_SOURCE_CONTINUE;
}

VpSpecDir *
vp_spec_dir_new (const char *const *dirs, unsigned settle_ms,
                 VpSpecDirChanged changed, gpointer user_data)
{
  VpSpecDir *dir = g_new0 (VpSpecDir, 1);

  dir->dirs = g_strdupv ((char **) dirs);
  dir->settle_ms = settle_ms;
  dir->changed = changed;
  dir->user_data = user_data;
  dir->devices =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  /* Without inotify (a limit is reached) the rescans still see changes. */
  dir->inotify_fd = inotify_init1 (IN_CLOEXEC | IN_NONBLOCK);
  if (dir->inotify_fd >= 0)
    dir->inotify_source =
        g_unix_fd_add (dir->inotify_fd, G_IO_IN, on_inotify, dir);
  return dir;
}

void
vp_spec_dir_free (VpSpecDir *dir)
{
  if (dir == NULL)
    return;
  if (dir->inotify_source != 0)
    g_source_remove (dir->inotify_source);
  if (dir->settle_source != 0)
    g_source_remove (dir->settle_source);
  if (dir->inotify_fd >= 0)
    (void) close (dir->inotify_fd);
  g_strfreev (dir->dirs);
  g_hash_table_unref (dir->devices);
  g_free (dir);
}
