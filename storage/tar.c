/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* tar: see the header.  Each member has a block of 512 bytes before it:
 *
 *     0 name[100]   124 size[12], octal   257 "ustar"   345 prefix[155]
 *
 * and takes whole blocks itself.  Sizes of 8 GiB and more have the top bit
 * set, and are a number then. */
#include "config.h"

#include "storage/tar.h"

#include <string.h>

#include "storage/layout.h"

#define BLOCK       512u
#define MAX_MEMBERS 256u

enum {
  NAME_LEN = 100,
  SIZE_AT = 124,
  SIZE_LEN = 12,
  PREFIX_AT = 345,
  PREFIX_LEN = 155
};

static bool
read_size (const uint8_t *block, uint64_t *ret_size)
{
  const uint8_t *field = block + SIZE_AT;
  uint64_t size = 0;
  if (field[0] & 0x80) {
    size = vp_be64_get (field + SIZE_LEN - 8);
  } else
    for (unsigned i = 0; i < SIZE_LEN && field[i] && field[i] != ' '; i++) {
      if (field[i] < '0' || field[i] > '7')
        return false;
      size = size << 3 | (uint64_t) (field[i] - '0');
    }
  *ret_size = size;
  return size <= INT64_MAX / 2;
}

static char *
read_name (const uint8_t *block)
{
  g_autofree char *name = g_strndup ((const char *) block, NAME_LEN);
  g_autofree char *prefix =
      g_strndup ((const char *) block + PREFIX_AT, PREFIX_LEN);
  return *prefix ? g_strconcat (prefix, "/", name, NULL)
                 : g_steal_pointer (&name);
}

static bool
ends_with (const char *name, const char *suffix)
{
  size_t len = strlen (name), tail = strlen (suffix);
  return len >= tail && g_ascii_strcasecmp (name + len - tail, suffix) == 0;
}

char *
vp_tar_find_member (VpFile *file, const char *suffix)
{
  uint8_t block[BLOCK];
  uint64_t end, at = 0, size;
  if (!vp_file_get_size (file, &end, NULL))
    return NULL;
  for (unsigned i = 0; i < MAX_MEMBERS && vp_range_ok (at, BLOCK, end); i++) {
    if (!vp_file_read (file, at, block, BLOCK, NULL) ||
        memcmp (block + VP_TAR_MARK_AT, VP_TAR_MARK, strlen (VP_TAR_MARK)) !=
            0 ||
        !read_size (block, &size))
      return NULL;
    g_autofree char *name = read_name (block);
    if (ends_with (name, suffix))
      return g_steal_pointer (&name);
    at += BLOCK + vp_round_up (size, BLOCK);
  }
  return NULL;
}
