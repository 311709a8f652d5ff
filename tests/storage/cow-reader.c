/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow-reader: see the header.
 *
 *     4 bytes    "OOOM"
 *     4          2
 *     1024       name of the backing file, NUL behind it
 *     4          when that file was changed
 *     8          size of the disk in bytes; 4 bytes of nothing before it
 *                where the header is 1056 bytes long
 *     4          512; 4 bytes of nothing behind it, likewise
 *     1 bit      for each sector, lowest bit first
 *                up to the next multiple of 512
 *     512        for each sector */
#include "config.h"

#include "tests/storage/cow-reader.h"

#include <string.h>

static size_t
gap (int header)
{
  return header == 1056 ? 4 : 0;
}

static size_t
data_begins (int header, size_t disk_len)
{
  size_t sectors = disk_len / 512;
  size_t at = (size_t) header;
  while (sectors > 8) {
    at++;
    sectors -= 8;
  }
  if (sectors > 0)
    at++;
  while (at % 512 != 0)
    at++;
  return at;
}

static void
put_number (unsigned char *to, int width, unsigned long long value)
{
  while (width-- > 0) {
    to[width] = (unsigned char) (value & 255);
    value = value / 256;
  }
}

static unsigned long long
get_number (const unsigned char *from, int width)
{
  unsigned long long value = 0;
  while (width-- > 0)
    value = value * 256 + *from++;
  return value;
}

size_t
cow_reader_make (unsigned char *file, size_t limit, int header,
                 const char *backing, const unsigned char *disk,
                 size_t disk_len, const unsigned char *here)
{
  size_t sectors = disk_len / 512, sector;
  size_t begin = data_begins (header, disk_len);
  size_t end = (size_t) header + sectors / 8 + (sectors % 8 ? 1 : 0);
  if (begin + disk_len > limit)
    return 0;
  memset (file, 0, begin + disk_len);
  memcpy (file, "OOOM", 4);
  put_number (file + 4, 4, 2);
  strcpy ((char *) file + 8, backing);
  put_number (file + 1032, 4, 1111111111);
  put_number (file + 1036 + gap (header), 8, disk_len);
  put_number (file + 1044 + gap (header), 4, 512);
  for (sector = 0; sector < sectors; sector++)
    if (here[sector]) {
      static const unsigned char bits[] = { 1, 2, 4, 8, 16, 32, 64, 128 };
      file[(size_t) header + sector / 8] |= bits[sector % 8];
      memcpy (file + begin + sector * 512, disk + sector * 512, 512);
      end = begin + sector * 512 + 512;
    }
  return end;
}

int
cow_reader_has (const unsigned char *file, int header, size_t sector)
{
  unsigned char byte = file[(size_t) header + sector / 8];
  size_t i;
  for (i = 0; i < sector % 8; i++)
    byte = byte / 2;
  return byte % 2;
}

int
cow_reader_read (const unsigned char *file, size_t file_len, int header,
                 unsigned char *disk, size_t disk_len)
{
  size_t begin = data_begins (header, disk_len), sector;
  if (file_len < (size_t) header || memcmp (file, "OOOM\0\0\0\2", 8) != 0 ||
      get_number (file + 1036 + gap (header), 8) != disk_len ||
      get_number (file + 1044 + gap (header), 4) != 512)
    return 0;
  for (sector = 0; sector < disk_len / 512; sector++) {
    if (!cow_reader_has (file, header, sector))
      continue;
    if (begin + sector * 512 + 512 > file_len)
      return 0;
    memcpy (disk + sector * 512, file + begin + sector * 512, 512);
  }
  return 1;
}

const char *
cow_reader_backing (const unsigned char *file)
{
  return (const char *) file + 8;
}
