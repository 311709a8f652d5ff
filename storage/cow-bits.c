/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow-bits: the bitmap, in blocks of the table cache.  Runs are found by words
 * of 64 bits. */
#include "config.h"

#include "storage/cow.h"

#include <string.h>

/* One question looks at no more; whoever asks comes again. */
#define MAX_BLOCKS 64u

/* The block that holds the byte of a sector's bit.  ret_first: the sector of
 * its first bit, as far as it is bitmap; ret_at: where that is in the block;
 * ret_bytes: how many bytes of bitmap it has. */
typedef struct {
  uint8_t *bytes; /* of bitmap; borrowed from the cache */
  uint64_t offset;
  size_t at, len;
  uint64_t first;
} Block;

static bool
load_block (Cow *cow, uint64_t sector, Block *ret_block, GError **error)
{
  uint64_t at = cow->layout->len + sector / 8;
  uint64_t offset = vp_round_down (at, COW_BLOCK);
  size_t size = (size_t) MIN (COW_BLOCK, cow->data_offset - offset);
  uint64_t skip = MAX (offset, cow->layout->len) - offset;
  if (!vp_tables_trim (cow->tables, error))
    return false;
  uint8_t *bytes = vp_tables_load (cow->tables, offset, size, error);
  if (!bytes)
    return false;
  *ret_block = (Block){ .bytes = bytes + skip,
                        .offset = offset,
                        .at = (size_t) skip,
                        .len = size - (size_t) skip,
                        .first = (offset + skip - cow->layout->len) * 8 };
  return true;
}

static uint64_t
load_word (const uint8_t *bytes, size_t len)
{
  uint64_t word = 0;
  memcpy (&word, bytes, MIN (len, sizeof word));
  return GUINT64_FROM_LE (word);
}

/* The first bit from from on, before end, that is not set (or clear). */
static uint64_t
find_change (const uint8_t *bytes, size_t len, uint64_t from, uint64_t end,
             bool set)
{
  uint64_t mask = ~UINT64_C (0) << from % 64;
  for (uint64_t at = from - from % 64; at < end; at += 64) {
    uint64_t word = load_word (bytes + at / 8, len - at / 8);
    word = (set ? ~word : word) & mask;
    if (word)
      return MIN (end, at + (uint64_t) __builtin_ctzll (word));
    mask = ~UINT64_C (0);
  }
  return end;
}

/* Bits of a hole in the bitmap: they are clear, and need not be read.  Asked
 * for whole blocks, so that it costs little where there is none. */
static uint64_t
count_hole (Cow *cow, uint64_t sector, uint64_t end)
{
  uint64_t at = cow->layout->len + sector / 8, length;
  bool data = true;
  if (!cow->read_only || sector % 8)
    return 0;
  if (at < cow->hole_start || at >= cow->hole_end) {
    if (at % COW_BLOCK ||
        !vp_file_extent (cow->file, at, cow->data_offset - at, &data, &length,
                         NULL) ||
        data)
      return 0; /* reading it will tell */
    cow->hole_start = at;
    cow->hole_end = at + length;
  }
  return MIN (end - sector, (cow->hole_end - at) * 8);
}

bool
cow_count_bits (Cow *cow, uint64_t first, uint64_t end, bool *ret_set,
                uint64_t *ret_count, GError **error)
{
  uint64_t at = first;
  bool set = false;
  for (unsigned i = 0; i < MAX_BLOCKS && at < end; i++) {
    Block block;
    uint64_t hole = count_hole (cow, at, end);
    if (hole > 0 && set)
      break;
    at += hole;
    if (hole > 0)
      continue;
    if (!load_block (cow, at, &block, error))
      return false;
    uint64_t from = at - block.first;
    uint64_t last = MIN (end - block.first, (uint64_t) block.len * 8);
    if (at == first)
      set = block.bytes[from / 8] >> from % 8 & 1;
    uint64_t change = find_change (block.bytes, block.len, from, last, set);
    at = block.first + change;
    if (change < last)
      break;
  }
  *ret_set = set;
  *ret_count = at - first;
  return true;
}

static void
fill_bits (uint8_t *bytes, uint64_t from, uint64_t end, bool set)
{
  for (; from < end && from % 8; from++)
    bytes[from / 8] = (uint8_t) ((bytes[from / 8] & ~(1u << from % 8)) |
                                 (unsigned) set << from % 8);
  uint64_t whole = (end - from) / 8;
  memset (bytes + from / 8, set ? 0xff : 0, (size_t) whole);
  for (from += whole * 8; from < end; from++)
    bytes[from / 8] = (uint8_t) ((bytes[from / 8] & ~(1u << from % 8)) |
                                 (unsigned) set << from % 8);
}

bool
cow_put_bits (Cow *cow, uint64_t first, uint64_t count, bool set,
              GError **error)
{
  uint64_t end = first + count;
  while (first < end) {
    Block block;
    if (!load_block (cow, first, &block, error))
      return false;
    uint64_t from = first - block.first;
    uint64_t last = MIN (end - block.first, (uint64_t) block.len * 8);
    fill_bits (block.bytes, from, last, set);
    vp_tables_dirty (cow->tables, block.offset, block.at + (size_t) (from / 8),
                     (size_t) ((last + 7) / 8 - from / 8), COW_ORDER_BITS);
    first = block.first + last;
  }
  return true;
}
