/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bitmap: pages of 32768 bits. */
#include "config.h"

#include "storage/bitmap.h"

#include <string.h>

#include "storage/layout.h"

#define PAGE      ((size_t) 4096)
#define PAGE_BITS (PAGE * 8)

struct VpBitmap {
  uint64_t size, n_bits, n_pages;
  unsigned shift; /* log2 of the granularity */
  uint8_t **pages;
  size_t n_made;
};

static uint64_t
count_bits (uint64_t size, unsigned shift)
{
  return (size >> shift) + (size & ((UINT64_C (1) << shift) - 1) ? 1 : 0);
}

VpBitmap *
vp_bitmap_new (uint64_t size, uint64_t granularity)
{
  unsigned shift = (unsigned) g_bit_nth_msf (granularity, -1);
  uint64_t n_bits = count_bits (size, shift);
  if (n_bits > VP_BITMAP_MAX_BITS)
    return NULL;
  VpBitmap *bitmap = g_new0 (VpBitmap, 1);
  bitmap->size = size;
  bitmap->shift = shift;
  bitmap->n_bits = n_bits;
  bitmap->n_pages = (n_bits + PAGE_BITS - 1) / PAGE_BITS;
  bitmap->pages = g_new0 (uint8_t *, bitmap->n_pages);
  return bitmap;
}

void
vp_bitmap_free (VpBitmap *bitmap)
{
  if (!bitmap)
    return;
  vp_bitmap_clear (bitmap);
  g_free (bitmap->pages);
  g_free (bitmap);
}

uint64_t
vp_bitmap_get_granularity (const VpBitmap *bitmap)
{
  return UINT64_C (1) << bitmap->shift;
}

uint64_t
vp_bitmap_get_len (const VpBitmap *bitmap)
{
  return (bitmap->n_bits + 7) / 8;
}

size_t
vp_bitmap_get_used (const VpBitmap *bitmap)
{
  return bitmap->n_made * PAGE;
}

static uint8_t *
make_page (VpBitmap *bitmap, uint64_t number)
{
  if (!bitmap->pages[number]) {
    bitmap->pages[number] = g_malloc0 (PAGE);
    bitmap->n_made++;
  }
  return bitmap->pages[number];
}

/* Bits [from, to) of one page. */
static void
set_in_page (uint8_t *page, size_t from, size_t to)
{
  while (from < to && from % 8 != 0) {
    page[from / 8] = (uint8_t) (page[from / 8] | 1u << from % 8);
    from++;
  }
  if (from < to) {
    memset (page + from / 8, 0xff, (to - from) / 8);
    from += (to - from) / 8 * 8;
  }
  for (; from < to; from++)
    page[from / 8] = (uint8_t) (page[from / 8] | 1u << from % 8);
}

void
vp_bitmap_set (VpBitmap *bitmap, uint64_t offset, uint64_t length)
{
  if (offset >= bitmap->size || length == 0)
    return;
  length = MIN (length, bitmap->size - offset);
  uint64_t bit = offset >> bitmap->shift;
  uint64_t end = ((offset + length - 1) >> bitmap->shift) + 1;
  while (bit < end) {
    uint64_t part = MIN (end - bit, PAGE_BITS - bit % PAGE_BITS);
    size_t from = (size_t) (bit % PAGE_BITS);
    set_in_page (make_page (bitmap, bit / PAGE_BITS), from,
                 from + (size_t) part);
    bit += part;
  }
}

static bool
get_bit (const VpBitmap *bitmap, uint64_t bit)
{
  const uint8_t *page = bitmap->pages[bit / PAGE_BITS];
  return page && page[bit % PAGE_BITS / 8] >> bit % 8 & 1;
}

bool
vp_bitmap_is_set (const VpBitmap *bitmap, uint64_t offset)
{
  return offset < bitmap->size && get_bit (bitmap, offset >> bitmap->shift);
}

void
vp_bitmap_clear (VpBitmap *bitmap)
{
  for (uint64_t i = 0; i < bitmap->n_pages; i++)
    g_clear_pointer (&bitmap->pages[i], g_free);
  bitmap->n_made = 0;
}

/* The first bit from bit on that is as wanted. */
static uint64_t
find_bit (const VpBitmap *bitmap, uint64_t bit, bool wanted)
{
  uint8_t dull = wanted ? 0x00 : 0xff;
  while (bit < bitmap->n_bits) {
    const uint8_t *page = bitmap->pages[bit / PAGE_BITS];
    if (!page && !wanted)
      return bit;
    if (!page)
      bit = (bit / PAGE_BITS + 1) * PAGE_BITS;
    else if (bit % 8 == 0 && page[bit % PAGE_BITS / 8] == dull)
      bit += 8;
    else if (get_bit (bitmap, bit) == wanted)
      return bit;
    else
      bit++;
  }
  return bitmap->n_bits;
}

bool
vp_bitmap_next (const VpBitmap *bitmap, uint64_t offset, uint64_t *ret_offset,
                uint64_t *ret_length)
{
  if (offset >= bitmap->size)
    return false;
  uint64_t first = find_bit (bitmap, offset >> bitmap->shift, true);
  if (first >= bitmap->n_bits)
    return false;
  uint64_t end = find_bit (bitmap, first, false);
  uint64_t from = MAX (first << bitmap->shift, offset);
  uint64_t to = end >= bitmap->n_bits
                    ? bitmap->size
                    : MIN (end << bitmap->shift, bitmap->size);
  *ret_offset = from;
  *ret_length = to - from;
  return true;
}

void
vp_bitmap_merge (VpBitmap *bitmap, const VpBitmap *source)
{
  uint64_t offset = 0, length;
  while (vp_bitmap_next (source, offset, &offset, &length)) {
    vp_bitmap_set (bitmap, offset, length);
    offset += length;
  }
}

static void
drop_tail (VpBitmap *bitmap)
{
  for (uint64_t bit = bitmap->n_bits; bit % PAGE_BITS != 0; bit++) {
    uint8_t *page = bitmap->pages[bit / PAGE_BITS];
    if (!page)
      break;
    page[bit % PAGE_BITS / 8] =
        (uint8_t) (page[bit % PAGE_BITS / 8] & ~(1u << bit % 8));
  }
}

bool
vp_bitmap_resize (VpBitmap *bitmap, uint64_t size)
{
  uint64_t n_bits = count_bits (size, bitmap->shift);
  uint64_t n_pages = (n_bits + PAGE_BITS - 1) / PAGE_BITS;
  if (n_bits > VP_BITMAP_MAX_BITS)
    return false;
  for (uint64_t i = n_pages; i < bitmap->n_pages; i++)
    if (bitmap->pages[i]) {
      g_free (bitmap->pages[i]);
      bitmap->n_made--;
    }
  bitmap->pages = g_renew (uint8_t *, bitmap->pages, n_pages);
  for (uint64_t i = bitmap->n_pages; i < n_pages; i++)
    bitmap->pages[i] = NULL;
  bitmap->n_pages = n_pages;
  bitmap->n_bits = n_bits;
  bitmap->size = size;
  drop_tail (bitmap);
  return true;
}

void
vp_bitmap_store (const VpBitmap *bitmap, uint64_t at, uint8_t *bytes,
                 size_t len)
{
  memset (bytes, 0, len);
  for (size_t done = 0, part; done < len; done += part) {
    uint64_t from = at + done;
    size_t within = (size_t) (from % PAGE);
    part = MIN (len - done, PAGE - within);
    if (from / PAGE >= bitmap->n_pages)
      return;
    if (bitmap->pages[from / PAGE])
      memcpy (bytes + done, bitmap->pages[from / PAGE] + within, part);
  }
}

void
vp_bitmap_load (VpBitmap *bitmap, uint64_t at, const uint8_t *bytes, size_t len)
{
  for (size_t done = 0, part; done < len; done += part) {
    uint64_t from = at + done;
    size_t within = (size_t) (from % PAGE);
    part = MIN (len - done, PAGE - within);
    if (from / PAGE >= bitmap->n_pages)
      break;
    bool zero = bytes[done] == 0 &&
                memcmp (bytes + done, bytes + done + 1, part - 1) == 0;
    if (!zero || bitmap->pages[from / PAGE])
      memcpy (make_page (bitmap, from / PAGE) + within, bytes + done, part);
  }
  drop_tail (bitmap);
}
