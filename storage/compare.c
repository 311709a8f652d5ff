/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* compare: a walk over two images at once, extent by extent; no byte is read
 * where both know that it is zero. */
#include "config.h"

#include "storage/copy.h"

#include <string.h>

#define CHUNK ((size_t) 2 << 20)

typedef struct {
  VpImage *a, *b;
  bool strict;
  uint8_t *buffer_a, *buffer_b;
  VpCompareResult result;
  uint64_t at;
} Compare;

static bool
differs (Compare *compare, VpCompareResult result, uint64_t at)
{
  compare->result = result;
  compare->at = at;
  return true;
}

/* Both hold bytes, or one of them zeros, over the same range.  True unless
 * reading failed. */
static bool
compare_bytes (Compare *compare, const VpExtent *a, const VpExtent *b,
               uint64_t offset, size_t len, GError **error)
{
  if (a->zero)
    memset (compare->buffer_a, 0, len);
  else if (!vp_image_read (compare->a, offset, compare->buffer_a, len, error))
    return false;
  if (b->zero)
    memset (compare->buffer_b, 0, len);
  else if (!vp_image_read (compare->b, offset, compare->buffer_b, len, error))
    return false;
  if (memcmp (compare->buffer_a, compare->buffer_b, len) == 0)
    return true;
  size_t at = 0;
  while (compare->buffer_a[at] == compare->buffer_b[at])
    at++;
  return differs (compare, VP_COMPARE_CONTENT, offset + at);
}

/* Strictly the same: whether it is held here, reads as zeros, is stored, and
 * can be named by an offset (what is packed cannot). */
static bool
same_status (const VpExtent *a, const VpExtent *b)
{
  return a->present == b->present && a->zero == b->zero && a->data == b->data &&
         a->has_offset == b->has_offset;
}

static bool
compare_step (Compare *compare, uint64_t offset, uint64_t length,
              uint64_t *ret_done, GError **error)
{
  VpExtent a, b;
  if (!vp_image_map (compare->a, offset, length, &a, error) ||
      !vp_image_map (compare->b, offset, a.length, &b, error))
    return false;
  uint64_t step = b.length;
  *ret_done = step;
  if (compare->strict && !same_status (&a, &b))
    return differs (compare, VP_COMPARE_STATUS, offset);
  if (a.zero && b.zero)
    return true;
  *ret_done = step = MIN (step, CHUNK);
  return compare_bytes (compare, &a, &b, offset, (size_t) step, error);
}

/* Past the end of the shorter image the longer one must be zero. */
static bool
compare_rest (Compare *compare, VpImage *longer, uint64_t offset,
              uint64_t length, uint64_t *ret_done, GError **error)
{
  VpExtent extent;
  if (!vp_image_map (longer, offset, length, &extent, error))
    return false;
  *ret_done = extent.length;
  if (extent.zero)
    return true;
  size_t len = (size_t) MIN (extent.length, CHUNK);
  *ret_done = len;
  if (!vp_image_read (longer, offset, compare->buffer_a, len, error))
    return false;
  for (size_t i = 0; i < len; i++)
    if (compare->buffer_a[i])
      return differs (compare, VP_COMPARE_CONTENT, offset + i);
  return true;
}

bool
vp_compare_images (VpImage *a, VpImage *b, bool strict,
                   const VpProgress *progress, VpCompareResult *ret_result,
                   uint64_t *ret_offset, bool *ret_size_differs,
                   bool *ret_in_rest, GError **error)
{
  uint64_t size_a = vp_image_get_size (a), size_b = vp_image_get_size (b);
  uint64_t shared = MIN (size_a, size_b), total = MAX (size_a, size_b);
  g_autofree uint8_t *buffer_a = g_malloc (CHUNK);
  g_autofree uint8_t *buffer_b = g_malloc (CHUNK);
  Compare compare = {
    .a = a, .b = b, .strict = strict, .buffer_a = buffer_a, .buffer_b = buffer_b
  };
  if (strict && size_a != size_b)
    compare.result = VP_COMPARE_SIZE;
  uint64_t offset = 0, step;
  while (offset < total && compare.result == VP_COMPARE_EQUAL) {
    if (!vp_progress_update (progress, offset, total, error))
      return false;
    bool ok =
        offset < shared
            ? compare_step (&compare, offset, shared - offset, &step, error)
            : compare_rest (&compare, size_a > size_b ? a : b, offset,
                            total - offset, &step, error);
    if (!ok)
      return false;
    offset += step;
  }
  *ret_result = compare.result;
  *ret_offset = compare.at;
  if (ret_size_differs)
    *ret_size_differs = size_a != size_b;
  if (ret_in_rest)
    *ret_in_rest = compare.result == VP_COMPARE_CONTENT && compare.at >= shared;
  return vp_progress_update (progress, total, total, error);
}
