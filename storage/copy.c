/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy: the bytes of one image into another, as a pipeline.  A piece is some
 * stretch of the source, in four forms on its way:
 *
 *     span    zeros, or bytes that end with a unit of the target
 *     part    where a bit of a span is read from
 *     output  zeros, plain bytes or a packed unit, to be placed
 *     store   one write, with the place to link after it
 *
 * A unit of the target is never in two pieces, so that no two threads ever
 * change one cluster. */
#include "config.h"

#include "storage/copy.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image-internal.h"
#include "storage/pipeline.h"

#define CHUNK          ((size_t) 512 << 10)
#define MAX_UNIT       ((size_t) 2 << 20)
#define MAX_SPANS      1024u
#define MEMORY         ((size_t) 40 << 20) /* for all buffers together */
#define SALVAGE_STEP   512u
#define MAX_MESSAGES   1000u
#define CLONE_MOST     ((uint64_t) 64 << 20)
#define NAP_US         50000
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

void
vp_salvage_init (VpSalvage *salvage)
{
  (void) pthread_mutex_init (&salvage->lock, NULL);
  salvage->bytes = 0;
  salvage->messages = g_ptr_array_new_with_free_func (g_free);
}

void
vp_salvage_clear (VpSalvage *salvage)
{
  (void) pthread_mutex_destroy (&salvage->lock);
  g_clear_pointer (&salvage->messages, g_ptr_array_unref);
}

typedef struct {
  const VpCopyOptions *options;
  VpImage *source, *target;
  uint64_t unit;  /* zeros are found in pieces of that length */
  uint64_t shift; /* from an offset in the source to one in the target */
  size_t chunk;   /* bytes of data in one piece */
  bool sparse;
  int clones; /* blocks may be shared, as far as we know; atomic */
  bool packs;
  VpPacking packing;
  uint64_t start, at, end; /* in the source */
  const VpProgress *progress;
  int64_t next_us; /* rate: when the next piece may begin */
} Copy;

/* Offsets are the target's from here on. */
typedef struct {
  uint64_t offset, length;
  bool zero, clone;
  size_t at; /* in the buffer */
  VpRun run; /* clone */
} Span;

typedef struct {
  VpRun run;
  uint64_t offset; /* in the source, for messages */
  size_t at, len;
} Part;

typedef struct {
  enum { OUTPUT_ZERO, OUTPUT_PLAIN, OUTPUT_PACKED, OUTPUT_CLONE } kind;
  uint64_t offset, length;
  const uint8_t *bytes;
  size_t packed_len;
  VpRun run; /* CLONE */
} Output;

typedef struct {
  VpPlace place;
  uint64_t offset;
  const uint8_t *bytes; /* NULL: run is cloned */
  size_t len;
  VpRun run;
} Store;

/* What one thread has. */
typedef struct {
  Copy *copy;
  VpTransfer *transfer;
  uint8_t *buffer, *packed;
  size_t used, packed_used;
  GArray *spans, *parts, *outputs, *stores;
  int64_t not_before_us;
} Hand;

static gpointer
hire (gpointer work)
{
  Copy *copy = work;
  Hand *hand = g_new0 (Hand, 1);
  hand->copy = copy;
  hand->transfer = vp_transfer_new ();
  hand->buffer = g_malloc (copy->chunk);
  if (copy->packs)
    hand->packed = g_malloc ((copy->chunk / (size_t) copy->packing.unit + 1) *
                             (vp_transfer_most_packed (&copy->packing) + 1));
  hand->spans = g_array_new (FALSE, FALSE, sizeof (Span));
  hand->parts = g_array_new (FALSE, FALSE, sizeof (Part));
  hand->outputs = g_array_new (FALSE, FALSE, sizeof (Output));
  hand->stores = g_array_new (FALSE, FALSE, sizeof (Store));
  return hand;
}

static void
dismiss (gpointer data)
{
  Hand *hand = data;
  vp_transfer_free (hand->transfer);
  g_free (hand->buffer);
  g_free (hand->packed);
  g_array_unref (hand->spans);
  g_array_unref (hand->parts);
  g_array_unref (hand->outputs);
  g_array_unref (hand->stores);
  g_free (hand);
}

/* ---- take --------------------------------------------------------------- */

/* The first end of a target unit behind offset. */
static uint64_t
unit_end (const Copy *copy, uint64_t offset)
{
  return vp_round_down (offset + copy->shift, copy->unit) + copy->unit -
         copy->shift;
}

static void
add_zeros (Hand *hand, uint64_t offset, uint64_t length)
{
  Span span = { .offset = offset + hand->copy->shift,
                .length = length,
                .zero = true };
  if (hand->spans->len > 0) {
    Span *last = &g_array_index (hand->spans, Span, hand->spans->len - 1);
    if (last->zero && last->offset + last->length == span.offset) {
      last->length += length;
      return;
    }
  }
  g_array_append_val (hand->spans, span);
}

static void
add_part (Hand *hand, uint64_t offset, const VpRun *run, size_t len)
{
  Part part = { *run, offset, hand->used, len };
  g_array_append_val (hand->parts, part);
  hand->used += len;
}

/* Bytes up to the end of a target unit, over extents that may be short. */
static bool
take_bytes (Hand *hand, uint64_t offset, uint64_t end, const VpAnswer *first,
            GError **error)
{
  Copy *copy = hand->copy;
  Span span = { .offset = offset + copy->shift,
                .length = end - offset,
                .at = hand->used };
  VpAnswer answer = *first;
  while (offset < end) {
    uint64_t part = MIN (answer.run.length, end - offset);
    if (!vp_image_check_answer (&answer, error))
      return false;
    add_part (hand, offset, &answer.run, (size_t) part);
    offset += part;
    if (offset < end &&
        !vp_image_resolve (copy->source, offset, end - offset, &answer, error))
      return false;
  }
  g_array_append_val (hand->spans, span);
  return true;
}

/* Where bytes that begin at offset end: with a unit, and within the buffer. */
static uint64_t
bytes_end (const Hand *hand, uint64_t offset, uint64_t length)
{
  const Copy *copy = hand->copy;
  uint64_t first = unit_end (copy, offset);
  uint64_t end =
      MIN (offset + MIN (length, copy->chunk - hand->used), copy->end);
  if (end < copy->end)
    end = MAX (unit_end (copy, end) - copy->unit, first);
  return MIN (end, copy->end);
}

/* Whole units of plain bytes that the target's file can share with the file
 * that they are in.  0: none. */
static uint64_t
clone_length (Copy *copy, uint64_t offset, uint64_t length, const VpRun *run)
{
  uint64_t step = MAX (copy->unit, VP_FILE_CLONE_UNIT);
  if (!g_atomic_int_get (&copy->clones) || run->kind != VP_RUN_DATA ||
      run->crypt || run->offset % VP_FILE_CLONE_UNIT != 0 ||
      (offset + copy->shift) % step != 0 ||
      !vp_file_may_clone (copy->target->file, run->file))
    return 0;
  return vp_round_down (MIN (length, CLONE_MOST), step);
}

/* The next span.  ret_full: the piece has no room for it. */
static bool
take_span (Hand *hand, bool *ret_full, GError **error)
{
  Copy *copy = hand->copy;
  uint64_t offset = copy->at;
  VpAnswer answer;
  VpExtent extent;
  if (!vp_image_resolve (copy->source, offset, copy->end - offset, &answer,
                         error))
    return false;
  vp_image_describe (&answer, offset, &extent);
  unsigned shared = copy->options->shared_depth;
  if (shared > 0 && extent.depth >= shared) {
    copy->at += extent.length;
    return true;
  }
  if (extent.zero && copy->sparse) {
    uint64_t end = offset + extent.length;
    if (end < copy->end)
      end = unit_end (copy, end) - copy->unit;
    if (end > offset) {
      add_zeros (hand, offset, end - offset);
      copy->at = end;
      return true;
    }
  }
  uint64_t cloned = clone_length (copy, offset, extent.length, &answer.run);
  if (cloned > 0) {
    Span span = { .offset = offset + copy->shift,
                  .length = cloned,
                  .clone = true,
                  .run = answer.run };
    g_array_append_val (hand->spans, span);
    copy->at += cloned;
    return true;
  }
  if (hand->used > 0 && copy->chunk - hand->used < copy->unit) {
    *ret_full = true;
    return true;
  }
  uint64_t end = bytes_end (hand, offset, extent.length);
  copy->at = end;
  return take_bytes (hand, offset, end, &answer, error);
}

static void
note_rate (Hand *hand, uint64_t bytes)
{
  Copy *copy = hand->copy;
  uint64_t rate = copy->options->rate;
  if (rate == 0)
    return;
  int64_t now = g_get_monotonic_time ();
  hand->not_before_us = MAX (copy->next_us, now);
  copy->next_us = hand->not_before_us +
                  (int64_t) ((double) bytes * G_USEC_PER_SEC / (double) rate);
}

static bool
take (gpointer work, gpointer data, bool *ret_some, GError **error)
{
  Copy *copy = work;
  Hand *hand = data;
  bool full = false;
  hand->used = hand->packed_used = 0;
  g_array_set_size (hand->spans, 0);
  g_array_set_size (hand->parts, 0);
  g_array_set_size (hand->outputs, 0);
  g_array_set_size (hand->stores, 0);
  while (copy->at < copy->end && !full && hand->used < copy->chunk &&
         hand->spans->len < MAX_SPANS)
    if (!take_span (hand, &full, error))
      return false;
  note_rate (hand, hand->used);
  *ret_some = hand->spans->len > 0;
  return true;
}

static uint64_t
get_done (gpointer work)
{
  const Copy *copy = work;
  return copy->at - copy->start;
}

/* ---- prepare ------------------------------------------------------------ */

/* On many threads at once. */
static void
note_salvaged (Copy *copy, uint64_t offset, size_t len, const GError *error)
{
  VpSalvage *salvage = copy->options->salvage;
  (void) pthread_mutex_lock (&salvage->lock);
  salvage->bytes += len;
  if (salvage->messages && salvage->messages->len < MAX_MESSAGES)
    g_ptr_array_add (
        salvage->messages,
        g_strdup_printf ("error while reading offset %" G_GUINT64_FORMAT ": %s",
                         offset, error->message));
  (void) pthread_mutex_unlock (&salvage->lock);
}

/* What can be read is, sector by sector; the rest becomes zeros. */
static void
salvage_part (Hand *hand, const Part *part)
{
  uint8_t *to = hand->buffer + part->at;
  bool packed = part->run.kind == VP_RUN_COMPRESSED;
  size_t step = packed ? part->len : SALVAGE_STEP;
  for (size_t at = 0; at < part->len; at += step) {
    g_autoptr (GError) error = NULL;
    size_t len = MIN (step, part->len - at);
    VpRun run = part->run;
    run.offset += at;
    run.crypt_offset += at;
    run.length = len;
    if (vp_transfer_read (hand->transfer, &run, to + at, len, &error))
      continue;
    memset (to + at, 0, len);
    note_salvaged (hand->copy, part->offset + at, len, error);
  }
}

static bool
read_parts (Hand *hand, GError **error)
{
  for (guint i = 0; i < hand->parts->len; i++) {
    const Part *part = &g_array_index (hand->parts, Part, i);
    bool salvage = hand->copy->options->salvage != NULL;
    if (vp_transfer_read (hand->transfer, &part->run, hand->buffer + part->at,
                          part->len, salvage ? NULL : error))
      continue;
    if (!salvage) {
      g_prefix_error (error,
                      "error while reading offset %" G_GUINT64_FORMAT ": ",
                      part->offset);
      return false;
    }
    salvage_part (hand, part);
  }
  return true;
}

/* Neighbours of one kind are one output. */
static void
add_output (Hand *hand, const Output *output)
{
  if (hand->outputs->len > 0 &&
      (output->kind == OUTPUT_ZERO || output->kind == OUTPUT_PLAIN)) {
    Output *last =
        &g_array_index (hand->outputs, Output, hand->outputs->len - 1);
    if (last->kind == output->kind &&
        last->offset + last->length == output->offset) {
      last->length += output->length;
      return;
    }
  }
  g_array_append_vals (hand->outputs, output, 1);
}

/* A whole unit, or what the image has of its last one. */
static bool
is_unit (const Copy *copy, uint64_t offset, size_t len)
{
  uint64_t unit = copy->packing.unit;
  return offset % unit == 0 &&
         (len == unit || offset + len == vp_image_get_size (copy->target));
}

/* True where it was packed into output. */
static bool
pack (Hand *hand, Output *output, size_t at, size_t len)
{
  Copy *copy = hand->copy;
  size_t unit = (size_t) copy->packing.unit;
  uint8_t *bytes = hand->buffer + at, *to = hand->packed + hand->packed_used;
  if (!copy->packs || !is_unit (copy, output->offset, len))
    return false;
  if (len < unit) /* at the end of the image, and so of the buffer's content */
    memset (bytes + len, 0, unit - len);
  size_t packed_len;
  const uint8_t *packed = vp_transfer_pack (
      hand->transfer, &copy->packing, copy->options->level, bytes, &packed_len);
  if (!packed)
    return false;
  memcpy (to, packed, packed_len);
  output->kind = OUTPUT_PACKED;
  output->bytes = to;
  output->packed_len = packed_len;
  hand->packed_used += packed_len;
  return true;
}

static void
split_span (Hand *hand, const Span *span)
{
  Copy *copy = hand->copy;
  uint64_t offset = span->offset, end = offset + span->length;
  while (offset < end) {
    uint64_t next = vp_round_down (offset, copy->unit) + copy->unit;
    size_t len = (size_t) (MIN (next, end) - offset);
    size_t at = span->at + (size_t) (offset - span->offset);
    Output output = { .kind = OUTPUT_PLAIN,
                      .offset = offset,
                      .length = len,
                      .bytes = hand->buffer + at };
    if (copy->sparse && vp_buffer_is_zero (output.bytes, len))
      output.kind = OUTPUT_ZERO;
    else
      (void) pack (hand, &output, at, len);
    add_output (hand, &output);
    offset += len;
  }
}

/* Not for long at a time: somebody may have had enough. */
static void
keep_rate (Hand *hand)
{
  const VpProgress *progress = hand->copy->progress;
  const int *cancel = progress ? progress->cancel : NULL;
  while (hand->copy->options->rate > 0 &&
         !(cancel && g_atomic_int_get (cancel))) {
    int64_t wait_us = hand->not_before_us - g_get_monotonic_time ();
    if (wait_us <= 0)
      return;
    g_usleep ((gulong) MIN (wait_us, NAP_US));
  }
}

static bool
prepare (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  keep_rate (hand);
  if (!read_parts (hand, error))
    return false;
  for (guint i = 0; i < hand->spans->len; i++) {
    const Span *span = &g_array_index (hand->spans, Span, i);
    Output whole = { .kind = span->zero ? OUTPUT_ZERO : OUTPUT_CLONE,
                     .offset = span->offset,
                     .length = span->length,
                     .run = span->run };
    if (span->zero || span->clone)
      add_output (hand, &whole);
    else
      split_span (hand, span);
  }
  return true;
}

/* ---- place -------------------------------------------------------------- */

static bool
put_zeros (Copy *copy, uint64_t offset, uint64_t length, GError **error)
{
  return copy->options->target_is_zero ||
         vp_image_zero (copy->target, offset, length, true, error);
}

/* A place with old content round it is filled at once: it is rare. */
static bool
fill_now (Copy *copy, const VpPlace *place, const uint8_t *bytes, size_t len,
          GError **error)
{
  const VpFormat *format = copy->target->format;
  if (vp_image_fill_place (copy->target, place, bytes, len, error))
    return format->link (copy->target->state, place, error);
  if (format->unreserve)
    format->unreserve (copy->target->state, place);
  return false;
}

/* Plain bytes, or a run to clone. */
static bool
place_plain (Hand *hand, const Output *output, GError **error)
{
  VpImage *target = hand->copy->target;
  uint64_t offset = output->offset, left = output->length;
  const uint8_t *bytes = output->bytes;
  while (left > 0) {
    VpPlace place = { 0 };
    if (!target->format->reserve (target->state, offset, left, &place, error))
      return false;
    uint64_t part = place.length - place.head - place.tail;
    g_return_val_if_fail (
        part > 0 && part <= left && place.guest + place.head == offset, false);
    Store store = { .place = place,
                    .offset = offset,
                    .bytes = bytes,
                    .len = (size_t) part,
                    .run = output->run };
    store.run.offset += offset - output->offset;
    g_return_val_if_fail (bytes || place.head + place.tail == 0, false);
    if (place.head + place.tail == 0)
      g_array_append_val (hand->stores, store);
    else if (!fill_now (hand->copy, &place, bytes, (size_t) part, error))
      return false;
    offset += part;
    bytes = bytes ? bytes + part : NULL;
    left -= part;
  }
  return true;
}

static bool
place_packed (Hand *hand, const Output *output, GError **error)
{
  VpImage *target = hand->copy->target;
  Store store = { .offset = output->offset,
                  .bytes = output->bytes,
                  .len = output->packed_len };
  if (!target->format->reserve_packed (target->state, output->offset,
                                       output->packed_len, &store.place, error))
    return false;
  g_array_append_val (hand->stores, store);
  return true;
}

static bool
place (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  for (guint i = 0; i < hand->outputs->len; i++) {
    const Output *output = &g_array_index (hand->outputs, Output, i);
    bool ok;
    switch (output->kind) {
    case OUTPUT_ZERO:
      ok = put_zeros (hand->copy, output->offset, output->length, error);
      break;
    case OUTPUT_PACKED: ok = place_packed (hand, output, error); break;
    case OUTPUT_CLONE:
    case OUTPUT_PLAIN:
    default: ok = place_plain (hand, output, error); break;
    }
    if (!ok)
      return false;
  }
  return true;
}

/* ---- store, link -------------------------------------------------------- */

/* Packed units that follow each other in the buffer and in the file go out as
 * one; ret_next: the first store behind them. */
static bool
write_packed (Hand *hand, guint first, guint *ret_next, GError **error)
{
  const Store *store = &g_array_index (hand->stores, Store, first);
  size_t len = store->len;
  guint i = first + 1;
  for (; i < hand->stores->len; i++) {
    const Store *next = &g_array_index (hand->stores, Store, i);
    if (next->place.packed == 0 || next->bytes != store->bytes + len ||
        next->place.file != store->place.file ||
        next->place.offset != store->place.offset + len)
      break;
    len += next->len;
  }
  *ret_next = i;
  return vp_file_write (store->place.file, store->place.offset, store->bytes,
                        len, error);
}

/* Where the blocks cannot be shared after all, they are copied, and nobody
 * tries again. */
static bool
clone_or_copy (Hand *hand, const Store *store, GError **error)
{
  const VpPlace *to = &store->place;
  uint64_t skip = store->offset - to->guest;
  if (!to->crypt && vp_file_clone (to->file, to->offset + skip, store->run.file,
                                   store->run.offset, store->len))
    return true;
  g_atomic_int_set (&hand->copy->clones, 0);
  g_autofree uint8_t *buffer = g_malloc (CHUNK);
  VpRun run = store->run;
  for (size_t done = 0, len; done < store->len; done += len) {
    len = MIN (CHUNK, store->len - done);
    run.length = len;
    if (!vp_transfer_read (hand->transfer, &run, buffer, len, error) ||
        !vp_transfer_write (hand->transfer, to, store->offset + done, buffer,
                            len, error))
      return false;
    run.offset += len;
  }
  return true;
}

static bool
store_one (Hand *hand, guint i, guint *ret_next, GError **error)
{
  const Store *s = &g_array_index (hand->stores, Store, i);
  if (s->place.packed > 0)
    return write_packed (hand, i, ret_next, error);
  *ret_next = i + 1;
  if (!s->bytes)
    return clone_or_copy (hand, s, error);
  return vp_transfer_write (hand->transfer, &s->place, s->offset, s->bytes,
                            s->len, error);
}

static bool
store (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  for (guint i = 0; i < hand->stores->len;)
    if (!store_one (hand, i, &i, error))
      return false;
  return true;
}

static bool
finish (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  const VpFormat *format = hand->copy->target->format;
  gpointer state = hand->copy->target->state;
  for (guint i = 0; i < hand->stores->len; i++) {
    const VpPlace *p = &g_array_index (hand->stores, Store, i).place;
    if (p->in_place)
      continue;
    if (p->packed > 0 ? !format->link_packed (state, p, error)
                      : !format->link (state, p, error))
      return false;
  }
  return true;
}

static void
abandon (gpointer work, gpointer data)
{
  Hand *hand = data;
  VpImage *target = hand->copy->target;
  for (guint i = 0; i < hand->stores->len; i++) {
    const VpPlace *p = &g_array_index (hand->stores, Store, i).place;
    if (!p->in_place && target->format->unreserve)
      target->format->unreserve (target->state, p);
  }
}

static const VpPipelineSteps steps = {
  .hire = hire,
  .dismiss = dismiss,
  .take = take,
  .prepare = prepare,
  .place = place,
  .store = store,
  .finish = finish,
  .abandon = abandon,
  .get_done = get_done,
};

/* ---- the whole ---------------------------------------------------------- */

static uint64_t
unit_of (VpImage *target, const VpCopyOptions *options)
{
  uint64_t unit = options->sparse_size;
  if (unit == 0 || unit == UINT64_MAX)
    unit = DEFAULT_SPARSE;
  unit = MAX (unit, vp_image_get_cluster_size (target));
  uint64_t power = 512;
  while (power < unit && power < MAX_UNIT)
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
  uint64_t most = MAX (CHUNK, copy->unit);
  for (VpImage *layer = copy->source; layer; layer = layer->backing)
    most = MAX (most, layer->cluster_size);
  return (size_t) MIN (most, MAX_UNIT);
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
          put_zeros (&copy, behind, rest, error)) &&
         vp_image_flush (target, error) &&
         vp_progress_update (progress, length, length, error);
}
