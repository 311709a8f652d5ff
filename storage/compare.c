/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* compare: a walk over two images at once, extent by extent, as a pipeline.
 * No byte is read where both know that it is zero.  Pieces report in order,
 * so the first difference is the first, whoever found it.
 *
 * "Strict" is QEMU's: also what an image says of an extent must agree, and
 * whether that extent reaches to its end. */
#include "config.h"

#include "storage/copy.h"

#include <string.h>

#include "storage/image-internal.h"
#include "storage/pipeline.h"
#include "storage/stretch.h"

#define CHUNK       ((size_t) 512 << 10)
#define MAX_UNIT    ((size_t) 2 << 20)
#define MAX_EXTENTS 4096u
#define MEMORY      ((size_t) 40 << 20)

typedef struct {
  VpImage *a, *b;
  uint64_t size_a, size_b, shared, total;
  uint64_t at;
  size_t chunk;
  bool map_failed; /* set by take alone */
  bool strict;
  VpCompareResult result; /* the first */
  uint64_t result_at;
} Compare;

typedef struct {
  uint64_t offset;
  size_t at, len;
} Span;

typedef struct {
  VpTransfer *transfer;
  VpStretch *stretch_a, *stretch_b;
  uint8_t *buffer_a, *buffer_b;
  size_t used;
  GArray *spans; /* to compare */
  VpCompareResult result;
  uint64_t result_at;
} Hand;

static gpointer
hire (gpointer work)
{
  const Compare *compare = work;
  Hand *hand = g_new0 (Hand, 1);
  hand->transfer = vp_transfer_new ();
  hand->stretch_a = vp_stretch_new ();
  hand->stretch_b = vp_stretch_new ();
  hand->buffer_a = g_malloc (compare->chunk);
  hand->buffer_b = g_malloc (compare->chunk);
  hand->spans = g_array_new (FALSE, FALSE, sizeof (Span));
  return hand;
}

static void
dismiss (gpointer data)
{
  Hand *hand = data;
  vp_transfer_free (hand->transfer);
  vp_stretch_free (hand->stretch_a);
  vp_stretch_free (hand->stretch_b);
  g_free (hand->buffer_a);
  g_free (hand->buffer_b);
  g_array_unref (hand->spans);
  g_free (hand);
}

/* ---- take --------------------------------------------------------------- */

/* Past its end an image is zeros. */
static bool
map_either (VpImage *image, uint64_t size, uint64_t offset, uint64_t total,
            VpExtent *ret_extent, GError **error)
{
  if (offset < size)
    return vp_image_map (image, offset, size - offset, ret_extent, error);
  *ret_extent =
      (VpExtent){ .start = offset, .length = total - offset, .zero = true };
  return true;
}

static bool
same_status (const Compare *compare, const VpExtent *a, const VpExtent *b)
{
  bool end_a = a->start + a->length == compare->size_a;
  bool end_b = b->start + b->length == compare->size_b;
  return a->present == b->present && a->zero == b->zero && a->data == b->data &&
         a->compressed == b->compressed && a->has_offset == b->has_offset &&
         end_a == end_b;
}

static bool
take_bytes (Compare *compare, Hand *hand, uint64_t length, GError **error)
{
  uint64_t offset = compare->at;
  Span span = { offset, hand->used,
                (size_t) MIN (length, compare->chunk - hand->used) };
  /* Packed units are unpacked once: pieces end where chunks do. */
  uint64_t edge = vp_round_down (offset, compare->chunk) + compare->chunk;
  span.len = (size_t) MIN (span.len, edge - offset);
  compare->at += span.len;
  hand->used += span.len;
  size_t in_a = offset < compare->size_a ? span.len : 0;
  size_t in_b = offset < compare->size_b ? span.len : 0;
  memset (hand->buffer_a + span.at, 0, span.len - in_a);
  memset (hand->buffer_b + span.at, 0, span.len - in_b);
  g_array_append_val (hand->spans, span);
  return vp_stretch_add (hand->stretch_a, compare->a, offset, in_a, span.at,
                         error) &&
         vp_stretch_add (hand->stretch_b, compare->b, offset, in_b, span.at,
                         error);
}

static bool
take_extent (Compare *compare, Hand *hand, GError **error)
{
  VpExtent a, b;
  uint64_t offset = compare->at;
  uint64_t end = offset < compare->shared ? compare->shared : compare->total;
  if (!map_either (compare->a, compare->size_a, offset, compare->total, &a,
                   error) ||
      !map_either (compare->b, compare->size_b, offset, compare->total, &b,
                   error)) {
    compare->map_failed = true;
    return false;
  }
  uint64_t length = MIN (MIN (a.length, b.length), end - offset);
  if (compare->strict && !same_status (compare, &a, &b)) {
    hand->result = VP_COMPARE_STATUS;
    hand->result_at = offset;
    return true;
  }
  if (!a.zero || !b.zero)
    return take_bytes (compare, hand, length, error);
  compare->at += length;
  return true;
}

static bool
take (gpointer work, gpointer data, bool *ret_some, GError **error)
{
  Compare *compare = work;
  Hand *hand = data;
  hand->used = 0;
  hand->result = VP_COMPARE_EQUAL;
  g_array_set_size (hand->spans, 0);
  vp_stretch_clear (hand->stretch_a);
  vp_stretch_clear (hand->stretch_b);
  if (compare->result != VP_COMPARE_EQUAL)
    compare->at = compare->total;
  *ret_some = compare->at < compare->total;
  for (unsigned i = 0;
       i < MAX_EXTENTS && hand->used < compare->chunk &&
       compare->at < compare->total && hand->result == VP_COMPARE_EQUAL;
       i++)
    if (!take_extent (compare, hand, error))
      return false;
  if (hand->result != VP_COMPARE_EQUAL)
    compare->at = compare->total;
  return true;
}

static uint64_t
get_done (gpointer work)
{
  return ((Compare *) work)->at;
}

/* ---- compare ------------------------------------------------------------ */

static bool
prepare (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  if (!vp_stretch_read (hand->stretch_a, hand->transfer, hand->buffer_a,
                        error) ||
      !vp_stretch_read (hand->stretch_b, hand->transfer, hand->buffer_b, error))
    return false;
  for (guint i = 0; i < hand->spans->len; i++) {
    const Span *span = &g_array_index (hand->spans, Span, i);
    const uint8_t *a = hand->buffer_a + span->at;
    const uint8_t *b = hand->buffer_b + span->at;
    if (memcmp (a, b, span->len) == 0)
      continue;
    size_t at = 0;
    while (a[at] == b[at])
      at++;
    hand->result = VP_COMPARE_CONTENT;
    hand->result_at = span->offset + at;
    return true;
  }
  return true;
}

/* In order: the first one counts. */
static bool
settle (gpointer work, gpointer data, GError **error)
{
  Compare *compare = work;
  const Hand *hand = data;
  if (compare->result == VP_COMPARE_EQUAL) {
    compare->result = hand->result;
    compare->result_at = hand->result_at;
  }
  return true;
}

static const VpPipelineSteps steps = {
  .hire = hire,
  .dismiss = dismiss,
  .take = take,
  .prepare = prepare,
  .place = settle,
  .get_done = get_done,
};

/* ---- the whole ---------------------------------------------------------- */

static size_t
chunk_for (VpImage *image)
{
  uint64_t most = CHUNK;
  for (VpImage *layer = image; layer; layer = layer->backing)
    most = MAX (most, layer->cluster_size);
  return (size_t) MIN (most, MAX_UNIT);
}

static bool
run (Compare *compare, const VpProgress *progress, GError **error)
{
  /* Two buffers, and two packed ones with their units. */
  size_t most = MAX (MEMORY / (compare->chunk * 5), 1);
  unsigned threads = (unsigned) MIN (vp_pipeline_default_threads (), most);
  return vp_pipeline_run (&steps, compare, threads, progress, compare->total,
                          error);
}

bool
vp_compare_images (VpImage *a, VpImage *b, bool strict,
                   const VpProgress *progress, VpCompareResult *ret_result,
                   uint64_t *ret_offset, bool *ret_size_differs,
                   bool *ret_in_rest, bool *ret_map_failed, GError **error)
{
  uint64_t size_a = vp_image_get_size (a), size_b = vp_image_get_size (b);
  Compare compare = { .a = a,
                      .b = b,
                      .size_a = size_a,
                      .size_b = size_b,
                      .shared = MIN (size_a, size_b),
                      .total = MAX (size_a, size_b),
                      .chunk = MAX (chunk_for (a), chunk_for (b)),
                      .strict = strict };
  if (strict && size_a != size_b)
    compare.result = VP_COMPARE_SIZE;
  if (compare.result == VP_COMPARE_EQUAL && !run (&compare, progress, error)) {
    if (ret_map_failed)
      *ret_map_failed = compare.map_failed;
    return false;
  }
  *ret_result = compare.result;
  *ret_offset = compare.result_at;
  if (ret_size_differs)
    *ret_size_differs = size_a != size_b;
  if (ret_in_rest)
    *ret_in_rest = compare.result == VP_COMPARE_CONTENT &&
                   compare.result_at >= compare.shared;
  return vp_progress_update (progress, compare.total, compare.total, error);
}
