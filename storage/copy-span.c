/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy-span: the source's end of a copy: what comes next in it, as zeros, bytes
 * or blocks to share, and where these bytes are read from.  Reads nothing. */
#include "config.h"

#include "storage/copy-internal.h"

#define MAX_SPANS  1024u
#define CLONE_MOST ((uint64_t) 64 << 20)

/* The first end of a target unit behind offset. */
static uint64_t
unit_end (const Copy *copy, uint64_t offset)
{
  return vp_round_down (offset + copy->shift, copy->unit) + copy->unit -
         copy->shift;
}

static void
add_zeros (CopyHand *hand, uint64_t offset, uint64_t length)
{
  CopySpan span = { .offset = offset + hand->copy->shift,
                    .length = length,
                    .zero = true };
  if (hand->spans->len > 0) {
    CopySpan *last =
        &g_array_index (hand->spans, CopySpan, hand->spans->len - 1);
    if (last->zero && last->offset + last->length == span.offset) {
      last->length += length;
      return;
    }
  }
  g_array_append_val (hand->spans, span);
}

static void
add_part (CopyHand *hand, uint64_t offset, const VpRun *run, size_t len)
{
  CopyPart part = { *run, offset, hand->used, len };
  g_array_append_val (hand->parts, part);
  hand->used += len;
}

/* Bytes up to the end of a target unit, over extents that may be short. */
static bool
take_bytes (CopyHand *hand, uint64_t offset, uint64_t end,
            const VpAnswer *first, GError **error)
{
  Copy *copy = hand->copy;
  CopySpan span = { .offset = offset + copy->shift,
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
bytes_end (const CopyHand *hand, uint64_t offset, uint64_t length)
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
take_span (CopyHand *hand, bool *ret_full, GError **error)
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
    CopySpan span = { .offset = offset + copy->shift,
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
note_rate (CopyHand *hand, uint64_t bytes)
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

bool
copy_take (gpointer work, gpointer data, bool *ret_some, GError **error)
{
  Copy *copy = work;
  CopyHand *hand = data;
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

uint64_t
copy_get_done (gpointer work)
{
  const Copy *copy = work;
  return copy->at - copy->start;
}
