/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/folder.h"

#include <gio/gio.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BYTES (1024 * 1024)
#define MAX_NAME  200

struct VpFolder {
  int fd;
  char *path;
};

static void
set_errno_error (GError **error, int errnum, const char *folder,
                 const char *name, const char *what)
{
  g_set_error (error, G_IO_ERROR, (int) g_io_error_from_errno (errnum),
               "%s%s%s: cannot %s: %s", folder, name ? "/" : "",
               name ? name : "", what, g_strerror (errnum));
}

bool
vp_folder_name_is_valid (const char *name)
{
  size_t len = strlen (name);

  if (len == 0 || len > MAX_NAME || !g_ascii_isalnum (name[0]))
    return false;
  for (const char *p = name; *p; p++)
    if (!g_ascii_isalnum (*p) && !strchr ("._-", *p))
      return false;
  return true;
}

static bool
check_name (const VpFolder *folder, const char *name, GError **error)
{
  if (vp_folder_name_is_valid (name))
    return true;
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_FILENAME,
               "%s: \"%s\" is not a name: letters, digits, \".\", \"_\" and "
               "\"-\", a letter or digit first, at most %d of them",
               folder->path, name, MAX_NAME);
  return false;
}

static char *
temporary_name (const char *name)
{
  return g_strdup_printf (".%s.tmp", name);
}

static bool
is_temporary (const char *name)
{
  return name[0] == '.' && g_str_has_suffix (name, ".tmp");
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

/* GPtrArray of the entries' names that accept takes, sorted. */
static GPtrArray *
list_entries (const VpFolder *folder,
              bool (*accept) (const VpFolder *folder, const char *name),
              GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  struct dirent *entry;
  DIR *dir;
  int fd, errnum;

  /* A description of its own: the position is then ours alone. */
  fd = openat (folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  dir = fd >= 0 ? fdopendir (fd) : NULL;
  if (!dir) {
    set_errno_error (error, errno, folder->path, NULL, "list");
    if (fd >= 0)
      close (fd);
    return NULL;
  }
  for (errno = 0; (entry = readdir (dir)); errno = 0)
    if (accept (folder, entry->d_name))
      g_ptr_array_add (names, g_strdup (entry->d_name));
  errnum = errno;
  closedir (dir);
  if (errnum != 0) {
    set_errno_error (error, errnum, folder->path, NULL, "list");
    return NULL;
  }
  g_ptr_array_sort (names, compare_names);
  return g_steal_pointer (&names);
}

static bool
accept_temporary (const VpFolder *folder, const char *name)
{
  return is_temporary (name);
}

static bool
has_type (const VpFolder *folder, const char *name, mode_t type)
{
  struct stat st;

  return vp_folder_name_is_valid (name) &&
         fstatat (folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         (st.st_mode & S_IFMT) == type;
}

static bool
accept_file (const VpFolder *folder, const char *name)
{
  return has_type (folder, name, S_IFREG);
}

static bool
accept_folder (const VpFolder *folder, const char *name)
{
  return has_type (folder, name, S_IFDIR);
}

static bool
remove_temporary (const VpFolder *folder, GError **error)
{
  g_autoptr (GPtrArray) names = list_entries (folder, accept_temporary, error);

  if (!names)
    return false;
  for (unsigned i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);

    if (unlinkat (folder->fd, name, 0) != 0 && errno != ENOENT) {
      set_errno_error (error, errno, folder->path, name, "remove");
      return false;
    }
  }
  return true;
}

/* Takes path. */
static VpFolder *
folder_new (int fd, char *path, GError **error)
{
  g_autoptr (VpFolder) folder = g_new0 (VpFolder, 1);

  folder->fd = fd;
  folder->path = path;
  if (fd < 0) {
    set_errno_error (error, errno, path, NULL, "open the folder");
    return NULL;
  }
  if (!remove_temporary (folder, error))
    return NULL;
  return g_steal_pointer (&folder);
}

/* The folder itself may be a link: an administrator's way to put the state
 * on another disk. */
VpFolder *
vp_folder_open (const char *path, unsigned mode, GError **error)
{
  if (g_mkdir_with_parents (path, (int) mode) != 0) {
    set_errno_error (error, errno, path, NULL, "make the folder");
    return NULL;
  }
  return folder_new (open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                     g_strdup (path), error);
}

VpFolder *
vp_folder_open_below (const VpFolder *parent, const char *name, bool create,
                      GError **error)
{
  g_autofree char *path = NULL;

  if (!check_name (parent, name, error))
    return NULL;
  path = g_build_filename (parent->path, name, NULL);
  if (create && (mkdirat (parent->fd, name, 0700) == 0 ? fsync (parent->fd) != 0
                                                       : errno != EEXIST)) {
    set_errno_error (error, errno, path, NULL, "make the folder");
    return NULL;
  }
  return folder_new (openat (parent->fd, name,
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                     g_steal_pointer (&path), error);
}

void
vp_folder_free (VpFolder *folder)
{
  if (!folder)
    return;
  if (folder->fd >= 0)
    close (folder->fd);
  g_free (folder->path);
  g_free (folder);
}

const char *
vp_folder_get_path (const VpFolder *folder)
{
  return folder->path;
}

int
vp_folder_get_fd (const VpFolder *folder)
{
  return folder->fd;
}

/* A file that is there but cannot be opened is an error other than
 * NOT_FOUND: nobody may take it for absent and write a new one. */
static int
open_regular (const VpFolder *folder, const char *name, size_t *ret_len,
              GError **error)
{
  struct stat st;
  int fd =
      openat (folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0 || fstat (fd, &st) != 0) {
    set_errno_error (error, errno, folder->path, name, "read");
  } else if (!S_ISREG (st.st_mode) || st.st_size > MAX_BYTES) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                 "%s/%s: not a regular file of at most %d KiB", folder->path,
                 name, MAX_BYTES / 1024);
  } else {
    *ret_len = (size_t) st.st_size;
    return fd;
  }
  if (fd >= 0)
    close (fd);
  return -1;
}

char *
vp_folder_read (const VpFolder *folder, const char *name, size_t *ret_len,
                GError **error)
{
  g_autofree char *bytes = NULL;
  size_t size, len = 0;
  int fd;

  if (!check_name (folder, name, error))
    return NULL;
  fd = open_regular (folder, name, &size, error);
  if (fd < 0)
    return NULL;
  bytes = g_malloc (size + 1);
  while (len < size) {
    ssize_t n = read (fd, bytes + len, size - len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      set_errno_error (error, errno, folder->path, name, "read");
      close (fd);
      return NULL;
    }
    if (n == 0)
      break;
    len += (size_t) n;
  }
  close (fd);
  bytes[len] = '\0';
  if (ret_len)
    *ret_len = len;
  return g_steal_pointer (&bytes);
}

bool
vp_write_all (int fd, const void *bytes, size_t len)
{
  const char *p = bytes;

  while (len > 0) {
    ssize_t n = write (fd, p, len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    p += n;
    len -= (size_t) n;
  }
  return true;
}

static bool
holds_already (const VpFolder *folder, const char *name, const void *bytes,
               size_t len)
{
  size_t old_len;
  g_autofree char *old = vp_folder_read (folder, name, &old_len, NULL);

  return old && old_len == len && memcmp (old, bytes, len) == 0;
}

static bool
write_temporary (const VpFolder *folder, const char *temporary,
                 const void *bytes, size_t len)
{
  int fd = openat (folder->fd, temporary,
                   O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  bool ok;

  if (fd < 0)
    return false;
  ok = vp_write_all (fd, bytes, len) && fsync (fd) == 0;
  if (!ok) {
    int errnum = errno;

    close (fd);
    errno = errnum;
    return false;
  }
  return close (fd) == 0;
}

bool
vp_folder_replace (const VpFolder *folder, const char *name, const void *bytes,
                   size_t len, GError **error)
{
  g_autofree char *temporary = NULL;

  if (!check_name (folder, name, error))
    return false;
  if (len > MAX_BYTES) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                 "%s/%s: more than %d KiB to write", folder->path, name,
                 MAX_BYTES / 1024);
    return false;
  }
  if (holds_already (folder, name, bytes, len))
    return true;

  temporary = temporary_name (name);
  if (!write_temporary (folder, temporary, bytes, len) ||
      renameat (folder->fd, temporary, folder->fd, name) != 0) {
    int errnum = errno;

    (void) unlinkat (folder->fd, temporary, 0); /* the cause is told already */
    set_errno_error (error, errnum, folder->path, name, "write");
    return false;
  }
  if (fsync (folder->fd) != 0) {
    set_errno_error (error, errno, folder->path, name, "sync");
    return false;
  }
  return true;
}

bool
vp_folder_remove (const VpFolder *folder, const char *name, GError **error)
{
  if (!check_name (folder, name, error))
    return false;
  if (unlinkat (folder->fd, name, 0) != 0) {
    if (errno == ENOENT)
      return true;
    set_errno_error (error, errno, folder->path, name, "remove");
    return false;
  }
  if (fsync (folder->fd) != 0) {
    set_errno_error (error, errno, folder->path, name, "sync");
    return false;
  }
  return true;
}

static bool
rename_noreplace (int fd, const char *old_name, const char *new_name)
{
  if (renameat2 (fd, old_name, fd, new_name, RENAME_NOREPLACE) == 0)
    return true;
  if (errno != EINVAL && errno != ENOSYS)
    return false;
  /* Not every file system knows the flag; a link never replaces either. */
  return linkat (fd, old_name, fd, new_name, 0) == 0 &&
         unlinkat (fd, old_name, 0) == 0;
}

bool
vp_folder_rename (const VpFolder *folder, const char *old_name,
                  const char *new_name, GError **error)
{
  if (!check_name (folder, old_name, error) ||
      !check_name (folder, new_name, error))
    return false;
  if (!rename_noreplace (folder->fd, old_name, new_name)) {
    set_errno_error (error, errno, folder->path, old_name, "rename");
    return false;
  }
  if (fsync (folder->fd) != 0) {
    set_errno_error (error, errno, folder->path, new_name, "sync");
    return false;
  }
  return true;
}

GPtrArray *
vp_folder_list (const VpFolder *folder, GError **error)
{
  return list_entries (folder, accept_file, error);
}

GPtrArray *
vp_folder_list_folders (const VpFolder *folder, GError **error)
{
  return list_entries (folder, accept_folder, error);
}

int
vp_folder_create (const VpFolder *folder, const char *name, GError **error)
{
  int fd;

  if (!check_name (folder, name, error))
    return -1;
  fd = openat (folder->fd, name,
               O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
               0600);
  if (fd < 0 || fsync (folder->fd) != 0) {
    set_errno_error (error, errno, folder->path, name, "create");
    if (fd >= 0)
      close (fd);
    return -1;
  }
  return fd;
}
