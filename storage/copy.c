/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy: extents of the source, chunk by chunk, into the target; and the same
 * walk over two images for comparing.  A chunk ends where an extent ends or at
 * CHUNK, whichever is first, and never shares a target unit with the next. */
#include "config.h"

#include "storage/copy.h"

#include <string.h>

#include "storage/error.h"

#define CHUNK          ((size_t) 2 << 20)
#define DEFAULT_SPARSE 4096u

bool
vp_buffer_is_zero (const void *buffer, size_t len)
{
  const uint8_t *p = buffer;
  /* The first bytes by hand, then the buffer against itself, shifted: memcmp
   * is the fastest loop that we have. */
  size_t head = MIN (len, 16);
  for (size_t i = 0; i < head; i++)
    if (p[i])
      return false;
  return len <= 16 || memcmp (p, p + 16, len - 16) == 0;
}

/* ---- copy --------------------------------------------------------------- */

typedef struct {
  VpImage *source, *target;
  uint64_t unit;  /* zeros are found in pieces of that length */
  uint64_t shift; /* from an offset in the source to one in the target */
  bool sparse, target_is_zero, same_backing;
  uint8_t *buffer;
} Copy;

static bool
put_zeros (Copy *copy, uint64_t offset, uint64_t length, GError **error)
{
  return copy->target_is_zero ||
         vp_image_zero (copy->target, offset + copy->shift, length, true,
                        error);
}

static bool
put_bytes (Copy *copy, uint64_t offset, const uint8_t *from, size_t len,
           GError **error)
{
  return vp_image_write (copy->target, offset + copy->shift, from, len, error);
}

/* The first end of a target unit behind offset. */
static uint64_t
unit_end (const Copy *copy, uint64_t offset)
{
  return vp_round_down (offset + copy->shift, copy->unit) + copy->unit -
         copy->shift;
}

/* Pieces that are zero and pieces that are not, in turn. */
static bool
put_data (Copy *copy, uint64_t offset, size_t len, GError **error)
{
  if (!copy->sparse)
    return put_bytes (copy, offset, copy->buffer, len, error);
  size_t at = 0;
  while (at < len) {
    size_t end = at;
    bool zero = false;
    while (end < len) {
      uint64_t next = unit_end (copy, offset + end);
      size_t piece = (size_t) MIN (len - end, next - (offset + end));
      bool piece_zero = vp_buffer_is_zero (copy->buffer + end, piece);
      if (end == at)
        zero = piece_zero;
      else if (piece_zero != zero)
        break;
      end += piece;
    }
    bool ok = zero ? put_zeros (copy, offset + at, end - at, error)
                   : put_bytes (copy, offset + at, copy->buffer + at, end - at,
                                error);
    if (!ok)
      return false;
    at = end;
  }
  return true;
}

/* One chunk from offset on; ret_done: how far it went. */
static bool
copy_chunk (Copy *copy, uint64_t offset, uint64_t length, uint64_t *ret_done,
            GError **error)
{
  VpExtent extent;
  if (!vp_image_map (copy->source, offset, length, &extent, error))
    return false;
  if (copy->same_backing && extent.depth > 0) {
    *ret_done = extent.length;
    return true;
  }
  if (extent.zero && copy->sparse) {
    *ret_done = extent.length;
    return put_zeros (copy, offset, extent.length, error);
  }
  /* Up to the end of a target unit, over extents that may be short. */
  uint64_t want = MIN (length, MAX (extent.length, copy->unit));
  want = MIN (want, CHUNK);
  uint64_t end = offset + want;
  if (end < offset + length) {
    uint64_t aligned = unit_end (copy, end) - copy->unit;
    bool whole = end - offset >= copy->unit || unit_end (copy, offset) <= end;
    end = whole ? aligned : MIN (offset + length, unit_end (copy, offset));
  }
  size_t len = (size_t) MIN (end - offset, CHUNK);
  *ret_done = len;
  return vp_image_read (copy->source, offset, copy->buffer, len, error) &&
         put_data (copy, offset, len, error);
}

static uint64_t
unit_of (VpImage *target, const VpCopyOptions *options)
{
  uint64_t unit = options->sparse_size;
  if (unit == 0 || unit == UINT64_MAX)
    unit = DEFAULT_SPARSE;
  unit = MAX (unit, vp_image_get_cluster_size (target));
  uint64_t power = 512;
  while (power < unit && power < CHUNK)
    power *= 2;
  return power;
}

/* The part that is asked for lies within both. */
static bool
find_part (VpImage *source, VpImage *target, const VpCopyOptions *options,
           uint64_t *ret_length, GError **error)
{
  uint64_t size = vp_image_get_size (source), from = options->source_offset;
  uint64_t length = options->length;
  if (length == 0 && from <= size)
    length = size - from;
  if (!vp_range_ok (from, length, size)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: ends before what is to be copied from it",
                 vp_image_get_name (source));
    return false;
  }
  if (!vp_range_ok (options->target_offset, length,
                    vp_image_get_size (target))) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: smaller than what is to be copied into it",
                 vp_image_get_name (target));
    return false;
  }
  *ret_length = length;
  return true;
}

bool
vp_copy_image (VpImage *source, VpImage *target, const VpCopyOptions *options,
               const VpProgress *progress, GError **error)
{
  uint64_t length, done = 0, from = options->source_offset;
  if (!find_part (source, target, options, &length, error))
    return false;
  g_autofree uint8_t *buffer = g_malloc (CHUNK);
  Copy copy = { .source = source,
                .target = target,
                .unit = unit_of (target, options),
                .shift = options->target_offset - from,
                .sparse = options->sparse_size != UINT64_MAX,
                .target_is_zero = options->target_is_zero,
                .same_backing = options->same_backing,
                .buffer = buffer };
  while (done < length) {
    uint64_t step;
    if (!vp_progress_update (progress, done, length, error) ||
        !copy_chunk (&copy, from + done, length - done, &step, error))
      return false;
    done += step;
  }
  uint64_t rest =
      vp_image_get_size (target) - (options->target_offset + length);
  return (options->keep_rest || rest == 0 ||
          put_zeros (&copy, from + length, rest, error)) &&
         vp_image_flush (target, error) &&
         vp_progress_update (progress, length, length, error);
}

/* ---- compare ------------------------------------------------------------ */

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
  if (compare->strict && a.present != b.present)
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
