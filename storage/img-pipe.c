/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-pipe: see the header. */
#include "config.h"

#include "storage/img-pipe.h"

#include "storage/autofd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t) 1 << 20)
#define BLOCK ((size_t) 64 << 10) /* zeros are left out in such pieces */

static bool
fail (GError **error, const char *what)
{
  int saved = errno;

  g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
               "-: %s: %s", what, g_strerror (saved));
  return false;
}

bool
vp_img_is_pipe (const char *name)
{
  return strcmp (name, "-") == 0;
}

int
vp_img_pipe_spool (GError **error)
{
  const char *folder = g_getenv ("TMPDIR");
  g_autofree char *path = NULL;

  if (folder == NULL || folder[0] == '\0')
    folder = "/var/tmp"; /* on a disk, as a rule, and not in memory */
  int fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0)
    return fd;
  path = g_build_filename (folder, "vprov-img-XXXXXX", NULL);
  fd = g_mkstemp_full (path, O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0)
    (void) fail (error, "cannot make a temporary file");
  else
    (void) unlink (path); /* it was made a moment ago */
  return fd;
}

/* Reads until the buffer is full or the stream ends. */
static ssize_t
read_full (int fd, uint8_t *to, size_t len)
{
  size_t have = 0;

  while (have < len) {
    ssize_t n = read (fd, to + have, len - have);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    if (n == 0)
      break;
    have += (size_t) n;
  }
  return (ssize_t) have;
}

static bool
write_full (int fd, const uint8_t *from, size_t len, GError **error)
{
  while (len > 0) {
    ssize_t n = write (fd, from, len);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail (error, "cannot write");
    from += n;
    len -= (size_t) n;
  }
  return true;
}

/* One chunk into the spool file, its zeros as holes. */
static bool
keep (int fd, uint64_t offset, const uint8_t *from, size_t len, GError **error)
{
  for (size_t at = 0; at < len;) {
    size_t part = MIN (len - at, BLOCK);
    ssize_t n = (ssize_t) part;
    if (!vp_buffer_is_zero (from + at, part))
      n = pwrite (fd, from + at, part, (off_t) (offset + at));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail (error, "cannot write to the temporary file");
    at += (size_t) n;
  }
  return true;
}

static int
spool_input (GError **error)
{
  g_autofree uint8_t *buffer = g_malloc (CHUNK);
  vp_autofd int fd = vp_img_pipe_spool (error);
  uint64_t size = 0;
  ssize_t n;

  if (fd < 0)
    return -1;
  while ((n = read_full (STDIN_FILENO, buffer, CHUNK)) > 0) {
    if (!keep (fd, size, buffer, (size_t) n, error))
      return -1;
    size += (uint64_t) n;
  }
  if (n < 0) {
    (void) fail (error, "cannot read");
    return -1;
  }
  if (ftruncate (fd, (off_t) size) < 0) {
    (void) fail (error, "cannot write to the temporary file");
    return -1;
  }
  return vp_steal_fd (&fd);
}

VpImage *
vp_img_pipe_open (const char *format, bool safe, GError **error)
{
  VpOpener person = vp_opener_person (0), *opener = safe ? NULL : &person;
  struct stat status;

  /* "< FILE" can seek. */
  if (fstat (STDIN_FILENO, &status) == 0 && S_ISREG (status.st_mode))
    return vp_image_open_fd (STDIN_FILENO, "-", format, VP_IMAGE_READ_ONLY,
                             opener, error);
  vp_autofd int fd = spool_input (error);
  if (fd < 0)
    return NULL;
  return vp_image_open_fd (fd, "-", format, VP_IMAGE_READ_ONLY, opener, error);
}

bool
vp_img_pipe_send (int fd, GError **error)
{
  g_autofree uint8_t *buffer = g_malloc (CHUNK);
  ssize_t n;

  if (lseek (fd, 0, SEEK_SET) < 0)
    return fail (error, "cannot read the temporary file");
  while ((n = read_full (fd, buffer, CHUNK)) > 0)
    if (!write_full (STDOUT_FILENO, buffer, (size_t) n, error))
      return false;
  return n == 0 || fail (error, "cannot read the temporary file");
}

bool
vp_img_pipe_send_disk (VpImage *image, uint64_t offset, uint64_t length,
                       GError **error)
{
  g_autofree uint8_t *buffer = g_malloc (CHUNK);

  while (length > 0) {
    size_t part = (size_t) MIN (length, CHUNK);
    if (!vp_image_read (image, offset, buffer, part, error) ||
        !write_full (STDOUT_FILENO, buffer, part, error))
      return false;
    offset += part;
    length -= part;
  }
  return true;
}
