/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy: the bytes of one image into another, as a pipeline whose steps stand
 * in copy-span.c, copy-output.c and copy-store.c (copy-internal.h). */
#include "config.h"

#include "storage/copy.h"

#include "storage/copy-internal.h"
#include "storage/error.h"
#include "storage/pipeline.h"

#define MEMORY         ((size_t) 40 << 20) /* for all buffers together */
#define DEFAULT_SPARSE 4096u

static gpointer
hire (gpointer work)
{
  Copy *copy = work;
  CopyHand *hand = g_new0 (CopyHand, 1);
  hand->copy = copy;
  hand->transfer = vp_transfer_new ();
  /* The last unit is filled up with zeros. */
  hand->buffer =
      g_malloc (copy->chunk + (copy->packs ? (size_t) copy->packing.unit : 0));
  if (copy->packs)
    hand->packed = g_malloc ((copy->chunk / (size_t) copy->packing.unit + 1) *
                             (vp_transfer_most_packed (&copy->packing) + 1));
  hand->spans = g_array_new (FALSE, FALSE, sizeof (CopySpan));
  hand->parts = g_array_new (FALSE, FALSE, sizeof (CopyPart));
  hand->outputs = g_array_new (FALSE, FALSE, sizeof (CopyOutput));
  hand->stores = g_array_new (FALSE, FALSE, sizeof (CopyStore));
  return hand;
}

static void
dismiss (gpointer data)
{
  CopyHand *hand = data;
  vp_transfer_free (hand->transfer);
  g_free (hand->buffer);
  g_free (hand->packed);
  g_array_unref (hand->spans);
  g_array_unref (hand->parts);
  g_array_unref (hand->outputs);
  g_array_unref (hand->stores);
  g_free (hand);
}

static const VpPipelineSteps steps = {
  .hire = hire,
  .dismiss = dismiss,
  .take = copy_take,
  .prepare = copy_prepare,
  .place = copy_place,
  .store = copy_store,
  .finish = copy_finish,
  .abandon = copy_abandon,
  .get_done = copy_get_done,
};

static uint64_t
unit_of (VpImage *target, const VpCopyOptions *options)
{
  uint64_t unit = options->sparse_size;
  if (unit == 0 || unit == UINT64_MAX)
    unit = DEFAULT_SPARSE;
  unit = MAX (unit, vp_image_get_cluster_size (target));
  uint64_t power = 512;
  while (power < unit && power < COPY_MAX_UNIT)
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

/* Packed units of the source are best read whole. */
static size_t
chunk_of (const Copy *copy)
{
  uint64_t most = MAX (COPY_CHUNK, copy->unit);
  for (VpImage *layer = copy->source; layer; layer = layer->backing)
    most = MAX (most, layer->cluster_size);
  return (size_t) MIN (most, COPY_MAX_UNIT);
}

static unsigned
threads_of (const Copy *copy)
{
  unsigned threads = copy->options->threads;
  if (threads == 0)
    threads = vp_pipeline_default_threads ();
  /* The buffer, packed ones in and out, and the unit of a codec. */
  size_t each = copy->chunk * (copy->packs ? 4 : 2);
  return (unsigned) MIN (threads, MAX (MEMORY / each, 1));
}

static bool
prepare_packing (Copy *copy, GError **error)
{
  bool can = vp_image_get_packing (copy->target, &copy->packing);
  if (!copy->options->compress && !(can && copy->packing.always))
    return true;
  if (can) {
    copy->packs = true;
    copy->clones = false;
    copy->unit = copy->packing.unit;
    /* Zeros over a backing image are units like any other there. */
    if (copy->packing.always &&
        (copy->target->backing || copy->target->backing_missing))
      copy->sparse = false;
    return true;
  }
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                       "Compression not supported for this file format");
  return false;
}

bool
vp_copy_image (VpImage *source, VpImage *target, const VpCopyOptions *options,
               const VpProgress *progress, GError **error)
{
  uint64_t length, from = options->source_offset;
  if (!(target->flags & VP_IMAGE_WRITABLE)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: opened read-only", target->file->name);
    return false;
  }
  if (!find_part (source, target, options, &length, error))
    return false;
  Copy copy = { .options = options,
                .source = source,
                .target = target,
                .progress = progress,
                .unit = unit_of (target, options),
                .shift = options->target_offset - from,
                .sparse = options->sparse_size != UINT64_MAX,
                .clones = !options->compress && !options->salvage &&
                          options->rate == 0 && options->sparse_size == 0,
                .start = from,
                .at = from,
                .end = from + length };
  if (!prepare_packing (&copy, error))
    return false;
  copy.chunk = chunk_of (&copy);
  vp_transfer_forget (target->transfer);
  if (!vp_pipeline_run (&steps, &copy, threads_of (&copy), progress, length,
                        error))
    return false;
  vp_transfer_forget (target->transfer);
  uint64_t behind = options->target_offset + length;
  uint64_t rest = vp_image_get_size (target) - behind;
  return (options->keep_rest || rest == 0 ||
          copy_put_zeros (&copy, behind, rest, error)) &&
         vp_image_flush (target, error) &&
         vp_progress_update (progress, length, length, error);
}
