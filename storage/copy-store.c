/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy-store: the target's end of a copy: places for outputs, their bytes
 * written, the places linked or given back. */
#include "config.h"

#include "storage/copy-internal.h"

bool
copy_put_zeros (Copy *copy, uint64_t offset, uint64_t length, GError **error)
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
place_plain (CopyHand *hand, const CopyOutput *output, GError **error)
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
    CopyStore store = { .place = place,
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
place_packed (CopyHand *hand, const CopyOutput *output, GError **error)
{
  VpImage *target = hand->copy->target;
  CopyStore store = { .offset = output->offset,
                      .bytes = output->bytes,
                      .len = output->packed_len };
  if (!target->format->reserve_packed (target->state, output->offset,
                                       output->packed_len, &store.place, error))
    return false;
  g_array_append_val (hand->stores, store);
  return true;
}

bool
copy_place (gpointer work, gpointer data, GError **error)
{
  CopyHand *hand = data;
  for (guint i = 0; i < hand->outputs->len; i++) {
    const CopyOutput *output = &g_array_index (hand->outputs, CopyOutput, i);
    bool ok;
    switch (output->kind) {
    case OUTPUT_ZERO:
      ok = copy_put_zeros (hand->copy, output->offset, output->length, error);
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
write_packed (CopyHand *hand, guint first, guint *ret_next, GError **error)
{
  const CopyStore *store = &g_array_index (hand->stores, CopyStore, first);
  size_t len = store->len;
  guint i = first + 1;
  for (; i < hand->stores->len; i++) {
    const CopyStore *next = &g_array_index (hand->stores, CopyStore, i);
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
clone_or_copy (CopyHand *hand, const CopyStore *store, GError **error)
{
  const VpPlace *to = &store->place;
  uint64_t skip = store->offset - to->guest;
  if (!to->crypt && vp_file_clone (to->file, to->offset + skip, store->run.file,
                                   store->run.offset, store->len))
    return true;
  g_atomic_int_set (&hand->copy->clones, 0);
  g_autofree uint8_t *buffer = g_malloc (COPY_CHUNK);
  VpRun run = store->run;
  for (size_t done = 0, len; done < store->len; done += len) {
    len = MIN (COPY_CHUNK, store->len - done);
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
store_one (CopyHand *hand, guint i, guint *ret_next, GError **error)
{
  const CopyStore *s = &g_array_index (hand->stores, CopyStore, i);
  if (s->place.packed > 0)
    return write_packed (hand, i, ret_next, error);
  *ret_next = i + 1;
  if (!s->bytes)
    return clone_or_copy (hand, s, error);
  return vp_transfer_write (hand->transfer, &s->place, s->offset, s->bytes,
                            s->len, error);
}

bool
copy_store (gpointer work, gpointer data, GError **error)
{
  CopyHand *hand = data;
  for (guint i = 0; i < hand->stores->len;)
    if (!store_one (hand, i, &i, error))
      return false;
  return true;
}

bool
copy_finish (gpointer work, gpointer data, GError **error)
{
  CopyHand *hand = data;
  const VpFormat *format = hand->copy->target->format;
  gpointer state = hand->copy->target->state;
  for (guint i = 0; i < hand->stores->len; i++) {
    const VpPlace *p = &g_array_index (hand->stores, CopyStore, i).place;
    if (p->in_place)
      continue;
    if (p->packed > 0 ? !format->link_packed (state, p, error)
                      : !format->link (state, p, error))
      return false;
  }
  return true;
}

void
copy_abandon (gpointer work, gpointer data)
{
  CopyHand *hand = data;
  VpImage *target = hand->copy->target;
  for (guint i = 0; i < hand->stores->len; i++) {
    const VpPlace *p = &g_array_index (hand->stores, CopyStore, i).place;
    if (!p->in_place && target->format->unreserve)
      target->format->unreserve (target->state, p);
  }
}
