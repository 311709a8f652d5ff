/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool-dir: a folder as a pool; a volume is a regular file in it.
 *
 * Everything goes through one descriptor of the folder, with single path
 * components and without following links.  A file that is not regular, or
 * that has a second name somewhere, is not a volume: the other name could be
 * anybody's.
 *
 *   .NAME.vprov-tmp   in the making, held by flock (exclusive)
 *   NAME              whole: fsync, renameat2 (NOREPLACE), fsync of folder
 *
 * The lock lives on the open file, which the worker shares, so it is held as
 * long as anybody may still write there, and a crash lets it go.  Whoever
 * takes the lock looks again whether the name still means that file: a
 * sweep may have been quicker. */
#include "config.h"

#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/pool-kind.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TMP_PREFIX "."
#define TMP_SUFFIX ".vprov-tmp"

/* How often a sweep may steal our new temporary before we give up. */
#define MAX_TRIES 16

typedef struct {
  VpPool base;
  char *path; /* absolute, without a closing slash; owned */
  int dir_fd;
} DirPool;

typedef struct {
  VpPoolNew base;
  char *temporary; /* its present name; owned */
} DirNew;

static const VpPoolKind dir_kind;

G_GNUC_PRINTF (2, 3)
static void
set_errno_error (GError **error, const char *format, ...)
{
  int saved = errno;
  va_list args;

  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
               "%s: %s", what, g_strerror (saved));
}

static DirPool *
dir_pool (VpPool *pool)
{
  return (DirPool *) pool;
}

/* A dead sync is a lost write: the caller throws the file away. */
static bool
sync_fd (int fd, const char *path, GError **error)
{
  int r;

  do
    r = fsync (fd);
  while (r < 0 && errno == EINTR);
  if (r < 0)
    set_errno_error (error, "%s: cannot sync", path);
  return r == 0;
}

/* The parents are made world-searchable as mkdir -p would; only the last one
 * is the pool's. */
static bool
make_folder (const char *path, GError **error)
{
  g_autofree char *partial = g_strdup (path);

  for (char *p = partial + 1; *p != '\0'; p++) {
    if (*p != '/')
      continue;
    *p = '\0';
    if (mkdir (partial, 0755) < 0 && errno != EEXIST) {
      set_errno_error (error, "%s: cannot make this folder", partial);
      return false;
    }
    *p = '/';
  }
  if (mkdir (path, 0711) < 0 && errno != EEXIST) {
    set_errno_error (error, "%s: cannot make this folder", path);
    return false;
  }
  return true;
}

VpPool *
vp_pool_open_dir (const char *name, const char *path, GError **error)
{
  if (path[0] != '/') {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "pool %s: '%s' is not an absolute path", name, path);
    return NULL;
  }

  g_autofree char *clean = g_strdup (path);
  for (size_t len = strlen (clean); len > 1 && clean[len - 1] == '/'; len--)
    clean[len - 1] = '\0';

  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  vp_autofd int dir_fd = open (clean, flags);
  if (dir_fd < 0 && errno == ENOENT) {
    if (!make_folder (clean, error)) {
      g_prefix_error (error, "pool %s: ", name);
      return NULL;
    }
    dir_fd = open (clean, flags);
  }
  if (dir_fd < 0) {
    set_errno_error (error, "pool %s: cannot open %s", name, clean);
    return NULL;
  }

  DirPool *pool = g_new0 (DirPool, 1);
  pool->base.kind = &dir_kind;
  pool->base.name = g_strdup (name);
  pool->path = g_steal_pointer (&clean);
  pool->dir_fd = vp_steal_fd (&dir_fd);
  return &pool->base;
}

static void
close_pool (VpPool *base)
{
  DirPool *pool = dir_pool (base);

  vp_close_fd (&pool->dir_fd);
  g_free (pool->path);
  g_free (base->name);
  g_free (pool);
}

static char *
volume_path (VpPool *pool, const char *volume)
{
  return g_build_filename (dir_pool (pool)->path, volume, NULL);
}

/* What stands under a name: 1 a volume, 0 nothing, -1 error (also for what is
 * there and is no volume). */
static int
look_at (DirPool *pool, const char *volume, GError **error)
{
  struct stat st;

  if (fstatat (pool->dir_fd, volume, &st, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT)
      return 0;
    set_errno_error (error, "%s/%s", pool->path, volume);
    return -1;
  }
  if (!S_ISREG (st.st_mode)) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                 "%s/%s: not a regular file", pool->path, volume);
    return -1;
  }
  return 1;
}

static bool
has_volume (VpPool *base, const char *volume, bool *ret_there, GError **error)
{
  int there = look_at (dir_pool (base), volume, error);

  if (there < 0)
    return false;
  *ret_there = there == 1;
  return true;
}

/* O_NONBLOCK: a FIFO must not hold us; it means nothing on a regular file. */
static int
open_volume (VpPool *base, const char *volume, bool writable, GError **error)
{
  DirPool *pool = dir_pool (base);
  int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  struct stat st;

  vp_autofd int fd =
      openat (pool->dir_fd, volume, flags | (writable ? O_RDWR : O_RDONLY));
  if (fd < 0) {
    set_errno_error (error, "%s/%s", pool->path, volume);
    return -1;
  }
  if (fstat (fd, &st) < 0) {
    set_errno_error (error, "%s/%s", pool->path, volume);
    return -1;
  }
  if (!S_ISREG (st.st_mode) || st.st_nlink != 1) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s/%s: %s",
                 pool->path, volume,
                 S_ISREG (st.st_mode) ? "has more than one name (hard links)"
                                      : "not a regular file");
    return -1;
  }
  return vp_steal_fd (&fd);
}

static char *
temporary_name (const char *volume)
{
  return g_strconcat (TMP_PREFIX, volume, TMP_SUFFIX, NULL);
}

static bool
is_temporary (const char *entry)
{
  return g_str_has_prefix (entry, TMP_PREFIX) &&
         g_str_has_suffix (entry, TMP_SUFFIX) &&
         strlen (entry) > strlen (TMP_PREFIX TMP_SUFFIX);
}

/* A fresh stream for each walk: the position of dir_fd is shared. */
static DIR *
open_stream (DirPool *pool, GError **error)
{
  vp_autofd int fd =
      openat (pool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);

  if (dir == NULL)
    set_errno_error (error, "cannot list %s", pool->path);
  else
    (void) vp_steal_fd (&fd); /* the stream's now */
  return dir;
}

static bool
list (VpPool *base, GPtrArray *names, GError **error)
{
  DirPool *pool = dir_pool (base);
  DIR *dir = open_stream (pool, error);
  struct dirent *entry;

  if (dir == NULL)
    return false;
  while (errno = 0, (entry = readdir (dir)) != NULL) {
    struct stat st;
    if (vp_pool_name_is_valid (entry->d_name) &&
        fstatat (pool->dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG (st.st_mode))
      g_ptr_array_add (names, g_strdup (entry->d_name));
  }

  bool ok = errno == 0;
  if (!ok)
    set_errno_error (error, "cannot list %s", pool->path);
  (void) closedir (dir); /* read only: nothing to lose */
  return ok;
}

static bool
get_space (VpPool *base, uint64_t *ret_capacity, uint64_t *ret_available,
           GError **error)
{
  DirPool *pool = dir_pool (base);
  struct statvfs vfs;
  uint64_t capacity, available;

  if (fstatvfs (pool->dir_fd, &vfs) < 0) {
    set_errno_error (error, "%s: cannot read the file system's size",
                     pool->path);
    return false;
  }
  if (__builtin_mul_overflow (vfs.f_blocks, vfs.f_frsize, &capacity))
    capacity = UINT64_MAX;
  if (__builtin_mul_overflow (vfs.f_bavail, vfs.f_frsize, &available))
    available = UINT64_MAX;
  *ret_capacity = capacity;
  *ret_available = available;
  return true;
}

/* Whether the name still means the file that fd is. */
static bool
name_is_fd (DirPool *pool, const char *entry, int fd)
{
  struct stat by_fd, by_name;

  return fstat (fd, &by_fd) == 0 &&
         fstatat (pool->dir_fd, entry, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
         by_fd.st_dev == by_name.st_dev && by_fd.st_ino == by_name.st_ino;
}

/* Removes a temporary that nobody holds.  1 removed (or gone by itself), 0
 * held, -1 error. */
static int
remove_stale (DirPool *pool, const char *entry, GError **error)
{
  vp_autofd int fd =
      openat (pool->dir_fd, entry,
              O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT)
      return 1;
    set_errno_error (error, "%s/%s", pool->path, entry);
    return -1;
  }
  if (flock (fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno == EWOULDBLOCK)
      return 0;
    set_errno_error (error, "%s/%s: cannot lock", pool->path, entry);
    return -1;
  }
  if (name_is_fd (pool, entry, fd) && unlinkat (pool->dir_fd, entry, 0) < 0 &&
      errno != ENOENT) {
    set_errno_error (error, "%s/%s: cannot remove", pool->path, entry);
    return -1;
  }
  return 1;
}

/* Makes and locks the temporary; a stale one makes room.  -1 with error. */
static int
make_temporary (DirPool *pool, const char *entry, GError **error)
{
  for (int i = 0; i < MAX_TRIES; i++) {
    vp_autofd int fd =
        openat (pool->dir_fd, entry,
                O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
      if (flock (fd, LOCK_EX) < 0) {
        set_errno_error (error, "%s/%s: cannot lock", pool->path, entry);
        (void) unlinkat (pool->dir_fd, entry, 0); /* ours, empty, new */
        return -1;
      }
      if (name_is_fd (pool, entry, fd))
        return vp_steal_fd (&fd);
      continue;
    }
    if (errno != EEXIST) {
      set_errno_error (error, "%s/%s: cannot make", pool->path, entry);
      return -1;
    }

    int removed = remove_stale (pool, entry, error);
    if (removed < 0)
      return -1;
    if (removed == 0)
      break;
  }
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE,
               "%s/%s: somebody else is making this volume", pool->path, entry);
  return -1;
}

static void
free_new (DirNew *made)
{
  vp_close_fd (&made->base.fd);
  g_free (made->base.volume);
  g_free (made->temporary);
  g_free (made);
}

static VpPoolNew *
new_volume (VpPool *base, const char *volume, GError **error)
{
  DirPool *pool = dir_pool (base);
  struct stat st;

  /* Anything under that name, a volume or not, is in the way.  The rename
   * decides in the end; this only spares the work. */
  if (fstatat (pool->dir_fd, volume, &st, AT_SYMLINK_NOFOLLOW) == 0) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                 "%s/%s: already there", pool->path, volume);
    return NULL;
  }

  g_autofree char *temporary = temporary_name (volume);
  int fd = make_temporary (pool, temporary, error);
  if (fd < 0)
    return NULL;

  DirNew *made = g_new0 (DirNew, 1);
  made->base.pool = base;
  made->base.volume = g_strdup (volume);
  made->base.fd = fd;
  made->temporary = g_steal_pointer (&temporary);
  return &made->base;
}

static void
abort_new (VpPoolNew *base)
{
  DirPool *pool = dir_pool (base->pool);
  DirNew *made = (DirNew *) base;

  /* What stays behind for whatever reason, the next sweep removes. */
  if (name_is_fd (pool, made->temporary, base->fd))
    (void) unlinkat (pool->dir_fd, made->temporary, 0);
  free_new (made);
}

/* Without replacing.  File systems that know no RENAME_NOREPLACE (NFS) get a
 * second name, which refuses an existing one just as well. */
static bool
give_name (DirPool *pool, DirNew *made)
{
  if (renameat2 (pool->dir_fd, made->temporary, pool->dir_fd, made->base.volume,
                 RENAME_NOREPLACE) == 0)
    return true;
  if (errno != EINVAL && errno != ENOSYS)
    return false;
  if (linkat (pool->dir_fd, made->temporary, pool->dir_fd, made->base.volume,
              0) < 0)
    return false;
  if (unlinkat (pool->dir_fd, made->temporary, 0) == 0)
    return true;

  int saved = errno;
  (void) unlinkat (pool->dir_fd, made->base.volume, 0); /* all or nothing */
  errno = saved;
  return false;
}

static bool
commit_new (VpPoolNew *base, GError **error)
{
  DirPool *pool = dir_pool (base->pool);
  DirNew *made = (DirNew *) base;
  g_autofree char *path = volume_path (base->pool, base->volume);

  if (!sync_fd (base->fd, path, error)) {
    abort_new (base);
    return false;
  }
  if (!name_is_fd (pool, made->temporary, base->fd)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED,
                 "%s: its temporary file was taken away", path);
    abort_new (base);
    return false;
  }
  if (!give_name (pool, made)) {
    set_errno_error (error, "%s: cannot give the volume its name", path);
    abort_new (base);
    return false;
  }
  if (!sync_fd (pool->dir_fd, pool->path, error)) {
    /* Not durable is not there: the caller makes it again. */
    (void) unlinkat (pool->dir_fd, base->volume, 0);
    free_new (made);
    return false;
  }
  free_new (made);
  return true;
}

static bool
remove_volume (VpPool *base, const char *volume, GError **error)
{
  DirPool *pool = dir_pool (base);
  int there = look_at (pool, volume, error);

  if (there < 0)
    return false;
  if (there == 0)
    errno = ENOENT;
  if (there == 0 || unlinkat (pool->dir_fd, volume, 0) < 0) {
    set_errno_error (error, "%s/%s: cannot remove", pool->path, volume);
    return false;
  }
  return sync_fd (pool->dir_fd, pool->path, error);
}

static bool
sweep (VpPool *base, unsigned *ret_removed, GError **error)
{
  DirPool *pool = dir_pool (base);
  g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func (g_free);
  DIR *dir = open_stream (pool, error);
  struct dirent *entry;
  unsigned count = 0;

  if (dir == NULL)
    return false;
  while (errno = 0, (entry = readdir (dir)) != NULL)
    if (is_temporary (entry->d_name))
      g_ptr_array_add (entries, g_strdup (entry->d_name));
  bool complete = errno == 0;
  if (!complete)
    set_errno_error (error, "cannot list %s", pool->path);
  (void) closedir (dir);
  if (!complete)
    return false;

  for (unsigned i = 0; i < entries->len; i++) {
    const char *name = g_ptr_array_index (entries, i);
    /* Only regular files are ours; a link or a FIFO of that name is not. */
    struct stat st;
    if (fstatat (pool->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG (st.st_mode))
      continue;
    int removed = remove_stale (pool, name, error);
    if (removed < 0)
      return false;
    count += (unsigned) removed;
  }
  *ret_removed = count;
  return true;
}

static const VpPoolKind dir_kind = {
  .name = "dir",
  .close = close_pool,
  .volume_path = volume_path,
  .has_volume = has_volume,
  .open_volume = open_volume,
  .list = list,
  .get_space = get_space,
  .new_volume = new_volume,
  .commit = commit_new,
  .abort = abort_new,
  .remove_volume = remove_volume,
  .sweep = sweep,
};
