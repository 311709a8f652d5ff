/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy-output: spans become outputs: read, what cannot be read salvaged, zeros
 * found, units packed.  On many threads at once; no driver is asked. */
#include "config.h"

#include "storage/copy-internal.h"

#include <string.h>

#define SALVAGE_STEP 512u
#define MAX_MESSAGES 1000u
#define NAP_US       50000

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
salvage_part (CopyHand *hand, const CopyPart *part)
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
read_parts (CopyHand *hand, GError **error)
{
  for (guint i = 0; i < hand->parts->len; i++) {
    const CopyPart *part = &g_array_index (hand->parts, CopyPart, i);
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
add_output (CopyHand *hand, const CopyOutput *output)
{
  if (hand->outputs->len > 0 &&
      (output->kind == OUTPUT_ZERO || output->kind == OUTPUT_PLAIN)) {
    CopyOutput *last =
        &g_array_index (hand->outputs, CopyOutput, hand->outputs->len - 1);
    if (last->kind == output->kind &&
        last->offset + last->length == output->offset) {
      last->length += output->length;
      return;
    }
  }
  g_array_append_vals (hand->outputs, output, 1);
}

/* A whole unit, or what the image has of its last one.  What holds nothing yet
 * has zeros behind the end of the copy as well. */
static bool
is_unit (const Copy *copy, uint64_t offset, size_t len)
{
  uint64_t unit = copy->packing.unit, end = offset + len;
  return offset % unit == 0 &&
         (len == unit || end == vp_image_get_size (copy->target) ||
          (copy->packing.always && end == copy->end + copy->shift));
}

/* True where it was packed into output. */
static bool
pack (CopyHand *hand, CopyOutput *output, size_t at, size_t len)
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
split_span (CopyHand *hand, const CopySpan *span)
{
  Copy *copy = hand->copy;
  uint64_t offset = span->offset, end = offset + span->length;
  while (offset < end) {
    uint64_t next = vp_round_down (offset, copy->unit) + copy->unit;
    size_t len = (size_t) (MIN (next, end) - offset);
    size_t at = span->at + (size_t) (offset - span->offset);
    CopyOutput output = { .kind = OUTPUT_PLAIN,
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
keep_rate (CopyHand *hand)
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

bool
copy_prepare (gpointer work, gpointer data, GError **error)
{
  CopyHand *hand = data;
  keep_rate (hand);
  if (!read_parts (hand, error))
    return false;
  for (guint i = 0; i < hand->spans->len; i++) {
    const CopySpan *span = &g_array_index (hand->spans, CopySpan, i);
    CopyOutput whole = { .kind = span->zero ? OUTPUT_ZERO : OUTPUT_CLONE,
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
