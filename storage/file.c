/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* file: guards for every implementation, and the one on a file descriptor.
 *
 * Messages about opening read as "Could not open 'NAME': REASON", as scripts
 * expect them; everything later begins with the file's name. */
#include "config.h"

#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "storage/error.h"
#include "storage/layout.h"

/* QEMU's permissions as bit numbers. */
enum { PERM_READ = 0, PERM_WRITE = 1, PERM_RESIZE = 3, N_PERMS = 5 };
#define LOCK_PERM_BASE   100
#define LOCK_SHARED_BASE 200

#define ZERO_CHUNK       ((size_t) 1 << 20)
/* The page cache holds about that much of a file that is not to fill it. */
#define CACHE_STEP (8 << 20)

typedef struct {
  VpFile parent;
  int fd;
  /* Data as last seen: on tmpfs SEEK_HOLE walks page by page to the hole, so
   * that asking again in every chunk would be quadratic.  Data that became a
   * hole since reads as zeros all the same. */
  uint64_t data_from, data_to;
} PosixFile;

static bool
fail (VpFile *file, const char *verb, uint64_t offset, int saved_errno,
      GError **error)
{
  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (saved_errno),
               "%s: %s at 0x%" G_GINT64_MODIFIER "x: %s", file->name, verb,
               offset, g_strerror (saved_errno));
  return false;
}

/* ---- guards ------------------------------------------------------------- */

static bool
check_range (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  if (vp_range_ok (offset, length, INT64_MAX))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: offset 0x%" G_GINT64_MODIFIER "x is beyond any file",
               file->name, offset);
  return false;
}

static bool
check_writable (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  if (!file->writable) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: opened read-only", file->name);
    return false;
  }
  if (g_atomic_int_get (&file->broken)) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_IO,
                 "%s: a flush has failed; nothing more is written", file->name);
    return false;
  }
  return check_range (file, offset, length, error);
}

void
vp_file_init (VpFile *file, const VpFileClass *class, const char *name,
              bool writable)
{
  file->class = class;
  file->name = g_strdup (name);
  file->n_refs = 1;
  file->writable = writable;
}

VpFile *
vp_file_ref (VpFile *file)
{
  g_atomic_int_inc (&file->n_refs);
  return file;
}

void
vp_file_add_caching (VpFile *file, VpFileCaching caching)
{
  file->caching |= caching;
}

static void
drop_cache (VpFile *file)
{
  g_atomic_int_set (&file->moved, 0);
  if (file->caching & VP_FILE_CACHE_DROP && file->class->drop_cache)
    file->class->drop_cache (file);
}

/* So many bytes have gone through the page cache. */
static void
count_moved (VpFile *file, uint64_t length)
{
  if (!(file->caching & VP_FILE_CACHE_DROP))
    return;
  int more = (int) MIN (length, CACHE_STEP);
  if (g_atomic_int_add (&file->moved, more) >= CACHE_STEP - more)
    drop_cache (file);
}

void
vp_file_guard_head (VpFile *file, VpFileHeadCheck check)
{
  file->check_head = check;
}

/* Would the file still begin as it may? */
static bool
may_write_head (VpFile *file, uint64_t offset, const uint8_t *buffer,
                size_t len, GError **error)
{
  uint8_t head[VP_FILE_HEAD_LEN];

  if (!file->check_head || offset >= sizeof head)
    return true;
  if (!file->class->read (file, 0, head, sizeof head, error))
    return false;
  memcpy (head + offset, buffer, MIN (len, sizeof head - (size_t) offset));
  return file->check_head (head, sizeof head) ||
         fail (file, "cannot write", offset, EPERM, error);
}

/* A change has been made. */
static bool
settle (VpFile *file, uint64_t length, GError **error)
{
  if (file->caching & VP_FILE_CACHE_THROUGH)
    return vp_file_flush (file, error);
  count_moved (file, length);
  return true;
}

void
vp_file_unref (VpFile *file)
{
  if (!file || !g_atomic_int_dec_and_test (&file->n_refs))
    return;
  drop_cache (file);
  if (file->class->close)
    file->class->close (file);
  g_free (file->name);
  g_free (file);
}

bool
vp_file_read (VpFile *file, uint64_t offset, void *buffer, size_t len,
              GError **error)
{
  if (len == 0)
    return true;
  if (!check_range (file, offset, len, error))
    return false;
  if (!file->class->read (file, offset, buffer, len, error))
    return false;
  count_moved (file, len);
  return true;
}

bool
vp_file_write (VpFile *file, uint64_t offset, const void *buffer, size_t len,
               GError **error)
{
  if (len == 0)
    return true;
  if (!check_writable (file, offset, len, error) ||
      !may_write_head (file, offset, buffer, len, error))
    return false;
  return file->class->write (file, offset, buffer, len, error) &&
         settle (file, len, error);
}

static bool
write_zeros (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  size_t chunk = (size_t) MIN (length, ZERO_CHUNK);
  g_autofree uint8_t *zeros = g_malloc0 (chunk);
  while (length > 0) {
    size_t len = (size_t) MIN (length, chunk);
    if (!file->class->write (file, offset, zeros, len, error))
      return false;
    offset += len;
    length -= len;
  }
  return true;
}

static bool
zero_inside (VpFile *file, uint64_t offset, uint64_t length, bool unmap,
             GError **error)
{
  if (unmap) {
    GError *local_error = NULL;
    if (file->class->punch (file, offset, length, &local_error))
      return true;
    if (local_error) {
      g_propagate_error (error, local_error);
      return false;
    }
  }
  return write_zeros (file, offset, length, error);
}

bool
vp_file_zero (VpFile *file, uint64_t offset, uint64_t length, bool unmap,
              GError **error)
{
  if (length == 0)
    return true;
  if (!check_writable (file, offset, length, error))
    return false;
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  if (offset < size &&
      !zero_inside (file, offset, MIN (length, size - offset), unmap, error))
    return false;
  if (offset + length > size &&
      !file->class->truncate (file, offset + length, error))
    return false;
  return settle (file, length, error);
}

void
vp_file_discard (VpFile *file, uint64_t offset, uint64_t length)
{
  uint64_t size;
  if (length == 0 || !check_writable (file, offset, length, NULL) ||
      !vp_file_get_size (file, &size, NULL) || offset >= size)
    return;
  /* A hint, so failure is nobody's concern. */
  (void) file->class->punch (file, offset, MIN (length, size - offset), NULL);
}

bool
vp_file_allocate (VpFile *file, uint64_t offset, uint64_t length,
                  GError **error)
{
  if (length == 0)
    return true;
  if (!check_writable (file, offset, length, error))
    return false;
  if (file->class->allocate)
    return file->class->allocate (file, offset, length, error);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: cannot reserve space", file->name);
  return false;
}

bool
vp_file_may_clone (VpFile *file, VpFile *from)
{
  return file != from && file->class == from->class && file->class->may_clone &&
         file->class->may_clone (file, from);
}

bool
vp_file_clone (VpFile *file, uint64_t offset, VpFile *from,
               uint64_t from_offset, uint64_t length)
{
  /* What is to be flushed at once, or looked at, has to pass through here. */
  return length > 0 && file != from && file->class == from->class &&
         !(file->caching & VP_FILE_CACHE_THROUGH) && !file->check_head &&
         (offset | from_offset | length) % VP_FILE_CLONE_UNIT == 0 &&
         check_writable (file, offset, length, NULL) && file->class->clone &&
         file->class->clone (file, offset, from, from_offset, length);
}

bool
vp_file_truncate (VpFile *file, uint64_t size, GError **error)
{
  if (!check_writable (file, 0, size, error))
    return false;
  return file->class->truncate (file, size, error) && settle (file, 0, error);
}

bool
vp_file_flush (VpFile *file, GError **error)
{
  if (!check_writable (file, 0, 0, error))
    return false;
  if (file->caching & VP_FILE_CACHE_UNSAFE)
    return true;
  if (file->class->flush (file, error)) {
    drop_cache (file);
    return true;
  }
  /* The kernel may have dropped the pages and forgotten the fault: a second
   * fsync would succeed and prove nothing. */
  g_atomic_int_set (&file->broken, 1);
  return false;
}

bool
vp_file_get_size (VpFile *file, uint64_t *ret_size, GError **error)
{
  return file->class->get_size (file, ret_size, error);
}

bool
vp_file_get_used (VpFile *file, uint64_t *ret_used, GError **error)
{
  if (!file->class->get_used)
    return file->class->get_size (file, ret_used, error);
  return file->class->get_used (file, ret_used, error);
}

bool
vp_file_extent (VpFile *file, uint64_t offset, uint64_t length, bool *ret_data,
                uint64_t *ret_length, GError **error)
{
  if (!check_range (file, offset, length, error))
    return false;
  if (file->class->extent)
    return file->class->extent (file, offset, length, ret_data, ret_length,
                                error);
  *ret_data = true;
  *ret_length = length;
  return true;
}

/* ---- on a file descriptor ----------------------------------------------- */

static bool
posix_read (VpFile *file, uint64_t offset, void *buffer, size_t len,
            GError **error)
{
  uint8_t *to = buffer;
  while (len > 0) {
    ssize_t n = pread (((PosixFile *) file)->fd, to, len, (off_t) offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail (file, "cannot read", offset, errno, error);
    if (n == 0) {
      memset (to, 0, len);
      return true;
    }
    to += n;
    offset += (uint64_t) n;
    len -= (size_t) n;
  }
  return true;
}

static bool
posix_write (VpFile *file, uint64_t offset, const void *buffer, size_t len,
             GError **error)
{
  const uint8_t *from = buffer;
  while (len > 0) {
    ssize_t n = pwrite (((PosixFile *) file)->fd, from, len, (off_t) offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail (file, "cannot write", offset, n < 0 ? errno : ENOSPC, error);
    from += n;
    offset += (uint64_t) n;
    len -= (size_t) n;
  }
  return true;
}

static bool
posix_punch (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  int r;
  ((PosixFile *) file)->data_to = 0;
  do
    r = fallocate (((PosixFile *) file)->fd,
                   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset,
                   (off_t) length);
  while (r < 0 && errno == EINTR);
  if (r == 0)
    return true;
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL &&
      errno != ENODEV)
    return fail (file, "cannot punch a hole", offset, errno, error);
  return false;
}

static bool
posix_allocate (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  int r;
  do
    r = posix_fallocate (((PosixFile *) file)->fd, (off_t) offset,
                         (off_t) length);
  while (r == EINTR);
  if (r == 0)
    return true;
  return fail (file, "cannot reserve space", offset, r, error);
}

static bool
posix_get_size (VpFile *file, uint64_t *ret_size, GError **error)
{
  int fd = ((PosixFile *) file)->fd;
  struct stat st;
  if (fstat (fd, &st) < 0)
    return fail (file, "cannot get the size", 0, errno, error);
  off_t size = st.st_size;
  if (file->is_device && (size = lseek (fd, 0, SEEK_END)) < 0)
    return fail (file, "cannot get the size", 0, errno, error);
  *ret_size = (uint64_t) size;
  return true;
}

static bool
posix_truncate (VpFile *file, uint64_t size, GError **error)
{
  if (file->is_device) {
    /* A device has the length that it has: enough is good. */
    uint64_t have;
    if (!posix_get_size (file, &have, error))
      return false;
    return size <= have ||
           fail (file, "the device ends before", size, ENOSPC, error);
  }
  int r;
  ((PosixFile *) file)->data_to = 0;
  do
    r = ftruncate (((PosixFile *) file)->fd, (off_t) size);
  while (r < 0 && errno == EINTR);
  if (r == 0)
    return true;
  return fail (file, "cannot set the length", size, errno, error);
}

static bool
posix_flush (VpFile *file, GError **error)
{
  if (fdatasync (((PosixFile *) file)->fd) == 0)
    return true;
  return fail (file, "cannot flush", 0, errno, error);
}

static bool
posix_extent (VpFile *file, uint64_t offset, uint64_t length, bool *ret_data,
              uint64_t *ret_length, GError **error)
{
  PosixFile *posix = (PosixFile *) file;
  int fd = posix->fd;
  if (offset >= posix->data_from && offset < posix->data_to) {
    *ret_data = true;
    *ret_length = MIN (length, posix->data_to - offset);
    return true;
  }
  off_t data = lseek (fd, (off_t) offset, SEEK_DATA);
  if (data < 0 && errno == ENXIO) { /* nothing but a hole up to the end */
    *ret_data = false;
    *ret_length = length;
    return true;
  }
  off_t hole = data < 0 ? -1 : lseek (fd, (off_t) offset, SEEK_HOLE);
  *ret_data = true;
  *ret_length = length;
  /* Somebody may change the file between the two calls: a doubt is data. */
  if (data >= 0 && (uint64_t) data > offset) {
    *ret_data = false;
    *ret_length = MIN (length, (uint64_t) data - offset);
  } else if (data >= 0 && hole > 0 && (uint64_t) hole > offset) {
    *ret_length = MIN (length, (uint64_t) hole - offset);
    posix->data_from = offset;
    posix->data_to = (uint64_t) hole;
  }
  return true;
}

static bool
posix_get_used (VpFile *file, uint64_t *ret_used, GError **error)
{
  struct stat st;
  if (fstat (((PosixFile *) file)->fd, &st) < 0)
    return fail (file, "cannot get the size", 0, errno, error);
  *ret_used = (uint64_t) st.st_blocks * 512;
  return true;
}

/* What is dirty is only begun to be written: to wait for it here would take a
 * fault from the flush that is to tell of it. */
static void
posix_drop_cache (VpFile *file)
{
  (void) posix_fadvise (((PosixFile *) file)->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void
posix_close (VpFile *file)
{
  /* The result is of no use: whoever cares has flushed. */
  (void) close (((PosixFile *) file)->fd);
}

/* Where the file system shares blocks between files.  On others the call
 * would only fail, after plans had been made. */
static bool
posix_may_clone (VpFile *file, VpFile *from)
{
  static const uint32_t sharing[] = { 0x58465342 /* XFS */,
                                      0x9123683e /* Btrfs */,
                                      0xca451a4e /* bcachefs */ };
  struct statfs fs;
  if (file->is_device || from->is_device ||
      file->id.device != from->id.device ||
      fstatfs (((PosixFile *) file)->fd, &fs) < 0)
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS (sharing); i++)
    if ((uint32_t) fs.f_type == sharing[i])
      return true;
  return false;
}

static bool
posix_clone (VpFile *file, uint64_t offset, VpFile *from, uint64_t from_offset,
             uint64_t length)
{
  struct file_clone_range range = { .src_fd = ((PosixFile *) from)->fd,
                                    .src_offset = from_offset,
                                    .src_length = length,
                                    .dest_offset = offset };
  return ioctl (((PosixFile *) file)->fd, FICLONERANGE, &range) == 0;
}

static const VpFileClass posix_class = {
  .clone = posix_clone,
  .may_clone = posix_may_clone,
  .read = posix_read,
  .write = posix_write,
  .punch = posix_punch,
  .allocate = posix_allocate,
  .truncate = posix_truncate,
  .flush = posix_flush,
  .get_size = posix_get_size,
  .extent = posix_extent,
  .get_used = posix_get_used,
  .drop_cache = posix_drop_cache,
  .close = posix_close,
};

/* ---- locks -------------------------------------------------------------- */

static const char *
perm_name (unsigned perm)
{
  static const char *const names[N_PERMS] = { "consistent read", "write",
                                              "write unchanged", "resize",
                                              "change children" };
  return names[perm];
}

static bool
no_locks_here (int saved_errno)
{
  return saved_errno == EINVAL || saved_errno == ENOLCK ||
         saved_errno == EOPNOTSUPP || saved_errno == ENOSYS;
}

static bool
lock_byte (PosixFile *posix, off_t byte)
{
  struct flock lock = {
    .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };
  return fcntl (posix->fd, F_OFD_SETLK, &lock) == 0;
}

/* Does another open file hold a lock on that byte? */
static bool
byte_is_held (PosixFile *posix, off_t byte)
{
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };
  return fcntl (posix->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool
in_use (PosixFile *posix, const char *what, unsigned perm, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE,
               "Failed to get %s\"%s\" lock\n"
               "Is another process using the image [%s]?",
               what, perm_name (perm), posix->parent.name);
  return false;
}

static bool
take_locks (PosixFile *posix, GError **error)
{
  unsigned use = 1u << PERM_READ;
  unsigned unshared = 1u << PERM_WRITE | 1u << PERM_RESIZE;
  if (posix->parent.writable)
    use |= 1u << PERM_WRITE | 1u << PERM_RESIZE;

  for (unsigned perm = 0; perm < N_PERMS; perm++) {
    if (use & 1u << perm && !lock_byte (posix, LOCK_PERM_BASE + perm))
      return no_locks_here (errno) || in_use (posix, "", perm, error);
    if (unshared & 1u << perm && !lock_byte (posix, LOCK_SHARED_BASE + perm))
      return no_locks_here (errno) || in_use (posix, "shared ", perm, error);
  }
  for (unsigned perm = 0; perm < N_PERMS; perm++) {
    if (use & 1u << perm && byte_is_held (posix, LOCK_SHARED_BASE + perm))
      return in_use (posix, "", perm, error);
    if (unshared & 1u << perm && byte_is_held (posix, LOCK_PERM_BASE + perm))
      return in_use (posix, "shared ", perm, error);
  }
  return true;
}

/* ---- opening ------------------------------------------------------------ */

static bool
could_not_open (const char *name, int saved_errno, GError **error)
{
  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (saved_errno),
               "Could not open '%s': %s", name, g_strerror (saved_errno));
  return false;
}

static bool
inspect (PosixFile *posix, VpFileFlags flags, GError **error)
{
  const char *name = posix->parent.name;
  struct stat st;
  if (fstat (posix->fd, &st) < 0)
    return could_not_open (name, errno, error);
  bool is_null = S_ISCHR (st.st_mode) && st.st_rdev == makedev (1, 3) &&
                 flags & VP_FILE_NULL && !(flags & VP_FILE_WRITABLE);
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode) && !is_null) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "'file' driver requires '%s' to be a regular file", name);
    return false;
  }
  int mode = fcntl (posix->fd, F_GETFL);
  if (mode < 0)
    return could_not_open (name, errno, error);
  mode &= O_ACCMODE;
  if (mode == O_WRONLY || (flags & VP_FILE_WRITABLE && mode != O_RDWR))
    return could_not_open (name, EACCES, error);
  posix->parent.is_device = S_ISBLK (st.st_mode);
  posix->parent.has_id = true;
  posix->parent.id.device = posix->parent.is_device ? st.st_rdev : st.st_dev;
  posix->parent.id.inode = posix->parent.is_device ? 0 : st.st_ino;
  return flags & VP_FILE_NO_LOCK || is_null || take_locks (posix, error);
}

/* Consumes fd. */
static VpFile *
posix_new (int fd, const char *name, VpFileFlags flags, GError **error)
{
  PosixFile *posix = g_new0 (PosixFile, 1);
  vp_file_init (&posix->parent, &posix_class, name, flags & VP_FILE_WRITABLE);
  posix->fd = fd;
  g_autoptr (VpFile) file = &posix->parent;
  if (!inspect (posix, flags, error))
    return NULL;
  return g_steal_pointer (&file);
}

VpFile *
vp_file_open (const char *path, VpFileFlags flags, GError **error)
{
  /* O_NONBLOCK: a FIFO must not stop us before we have looked at it. */
  int mode = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  mode |= flags & VP_FILE_WRITABLE ? O_RDWR : O_RDONLY;
  if (flags & VP_FILE_CREATE)
    mode |= O_CREAT;
  int fd = open (path, mode, 0644);
  if (fd < 0) {
    could_not_open (path, errno, error);
    return NULL;
  }
  return posix_new (fd, path, flags, error);
}

VpFile *
vp_file_open_fd (int fd, const char *name, VpFileFlags flags, GError **error)
{
  int own = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) {
    could_not_open (name, errno, error);
    return NULL;
  }
  return posix_new (own, name, flags, error);
}
