/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* mkdata FILE MIB SEED: a disk's worth of mixed data for benchmarks, always
 * the same for the same seed on the same machine: 20 % holes, 20 % written
 * zeros, 20 % random bytes, 25 % text and 15 % programs, in extents of 1 to
 * 8 MiB.  Text and programs are what is installed here.  Prints a 64-bit
 * FNV-1a hash of the bytes (taken by 8-byte words). */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB        ((size_t) 1 << 20)
#define POOL       (64 * MIB)
#define MAX_EXTENT (8 * MIB)

typedef struct {
  uint8_t *bytes;
  size_t len;
} Pool;

static Pool *filling; /* nftw () has no user data */
static const char *filling_magic;

static uint64_t
next_random (uint64_t *state)
{
  /* splitmix64 */
  uint64_t z = *state += UINT64_C (0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

static int
take_file (const char *path, const struct stat *st, int type, struct FTW *where)
{
  (void) where;
  if (type != FTW_F || st->st_size < 512)
    return 0;
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return 0;
  size_t room = POOL - filling->len, magic_len = strlen (filling_magic);
  uint8_t *to = filling->bytes + filling->len;
  ssize_t n = read (fd, to, room < MAX_EXTENT ? room : MAX_EXTENT);
  (void) close (fd);
  if (n < 512 || memcmp (to, filling_magic, magic_len) != 0)
    return 0;
  filling->len += (size_t) n;
  return filling->len == POOL;
}

/* Files below the folders that begin with magic, one behind the other. */
static Pool
collect (const char *const *folders, const char *magic)
{
  Pool pool = { malloc (POOL), 0 };
  filling = &pool;
  filling_magic = magic;
  for (; *folders && pool.bytes; folders++)
    if (nftw (*folders, take_file, 16, FTW_PHYS) > 0)
      break;
  if (pool.len < MIB) {
    (void) fprintf (stderr, "mkdata: too little data on this machine\n");
    exit (1);
  }
  return pool;
}

static void
fill_random (uint8_t *buffer, size_t len, uint64_t *state)
{
  for (size_t i = 0; i < len; i += 8) {
    uint64_t value = next_random (state);
    memcpy (buffer + i, &value, 8);
  }
}

static void
fill_pool (uint8_t *buffer, size_t len, const Pool *pool, uint64_t *state)
{
  size_t from = next_random (state) % pool->len;
  while (len > 0) {
    size_t part = pool->len - from < len ? pool->len - from : len;
    memcpy (buffer, pool->bytes + from, part);
    buffer += part;
    len -= part;
    from = 0;
  }
}

static bool
write_all (int fd, const uint8_t *buffer, size_t len)
{
  while (len > 0) {
    ssize_t n = write (fd, buffer, len);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    buffer += n;
    len -= (size_t) n;
  }
  return true;
}

static uint64_t
add_hash (uint64_t hash, const uint8_t *buffer, size_t len)
{
  for (size_t i = 0; i < len; i += 8) {
    uint64_t word;
    memcpy (&word, buffer + i, 8);
    hash = (hash ^ word) * UINT64_C (0x100000001b3);
  }
  return hash;
}

static bool
make (int fd, uint64_t size, uint64_t seed, uint64_t *ret_hash)
{
  static const char *const text_folders[] = { "/usr/include", "/usr/share/perl",
                                              "/usr/share/doc", NULL };
  static const char *const program_folders[] = { "/usr/bin", "/usr/lib", NULL };
  Pool text = collect (text_folders, ""),
       elf = collect (program_folders, "\177ELF");
  uint8_t *buffer = malloc (MAX_EXTENT);
  uint64_t hash = UINT64_C (0xcbf29ce484222325);
  bool ok = buffer != NULL;
  for (uint64_t at = 0; ok && at < size;) {
    uint64_t extent = (1 + next_random (&seed) % 8) * MIB;
    size_t len = (size_t) (extent < size - at ? extent : size - at);
    unsigned kind = (unsigned) (next_random (&seed) % 100);
    memset (buffer, 0, len);
    if (kind >= 85)
      fill_pool (buffer, len, &elf, &seed);
    else if (kind >= 60)
      fill_pool (buffer, len, &text, &seed);
    else if (kind >= 40)
      fill_random (buffer, len, &seed);
    at += len;
    hash = add_hash (hash, buffer, len);
    ok = kind < 20 ? lseek (fd, (off_t) at, SEEK_SET) >= 0
                   : write_all (fd, buffer, len);
  }
  free (buffer);
  free (text.bytes);
  free (elf.bytes);
  *ret_hash = hash;
  return ok && ftruncate (fd, (off_t) size) == 0;
}

int
main (int argc, char **argv)
{
  uint64_t hash;

  if (argc != 4) {
    (void) fprintf (stderr, "usage: mkdata FILE MIB SEED\n");
    return 1;
  }
  int fd = open (argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  uint64_t size = strtoull (argv[2], NULL, 10) * MIB;
  if (fd < 0 || size == 0 ||
      !make (fd, size, strtoull (argv[3], NULL, 10), &hash) || close (fd) < 0) {
    perror (argv[1]);
    return 1;
  }
  (void) printf ("%s: %" PRIu64 " MiB, seed %s, hash %016" PRIx64 "\n", argv[1],
                 size / MIB, argv[3], hash);
  return 0;
}
