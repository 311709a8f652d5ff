/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-link: how L1 and L2 entries change: reserve and link, zero, discard,
 * packed units.
 *
 * A cluster is written where it lies, or it gets a place of its own and is
 * filled as a whole.  There is no entry that means zeros: without a backing
 * file a cluster that is given up reads as zeros, with one nothing can be
 * given up. */
#include "config.h"

#include "storage/qcow.h"

#include "storage/error.h"

/* ---- entries ------------------------------------------------------------ */

/* An L2 table, and a row of its entries. */
typedef struct {
  uint64_t table, index;
  uint8_t *l2; /* NULL: there is none */
} Slot;

static uint8_t *
make_l2 (Qcow *q, uint64_t index, uint64_t *ret_table, GError **error)
{
  size_t size = qcow_l2_size (q);
  uint64_t clusters =
      vp_round_up (size, q->cluster_size) >> q->header.cluster_bits;
  if (!qcow_allocate (q, clusters, true, QCOW_TABLE, ret_table, NULL, error))
    return NULL;
  uint8_t *l2 = vp_tables_add (q->tables, *ret_table, size);
  vp_be64_set (qcow_l1 (q) + 8 * index, *ret_table);
  vp_tables_dirty (q->tables, q->header.l1_offset, (size_t) index * 8, 8,
                   QCOW_ORDER_MAP);
  return l2;
}

static bool
find_slot (Qcow *q, uint64_t offset, bool make, Slot *ret_slot, GError **error)
{
  uint64_t index = qcow_l1_index (q, offset);
  g_return_val_if_fail (index < q->l1_entries, false);
  ret_slot->index = qcow_l2_index (q, offset);
  if (!qcow_survey (q, error) ||
      !qcow_load_l2 (q, index, &ret_slot->table, &ret_slot->l2, error))
    return false;
  if (!ret_slot->l2 && make)
    ret_slot->l2 = make_l2 (q, index, &ret_slot->table, error);
  return ret_slot->l2 || !make;
}

static bool
get_entry (Qcow *q, const Slot *slot, uint64_t n, QcowEntry *ret_entry,
           GError **error)
{
  return qcow_decode (q, vp_be64_get (slot->l2 + 8 * (slot->index + n)),
                      ret_entry, error);
}

static void
set_entry (Qcow *q, uint64_t table, uint8_t *l2, uint64_t index, uint64_t raw)
{
  vp_be64_set (l2 + 8 * index, raw);
  vp_tables_dirty (q->tables, table, (size_t) index * 8, 8, QCOW_ORDER_MAP);
}

/* From what it was to raw; its place is let go. */
static void
change_entry (Qcow *q, const Slot *slot, uint64_t n, const QcowEntry *old,
              uint64_t raw)
{
  if (old->stored)
    qcow_free_later (q, old->offset, old->length);
  set_entry (q, slot->table, slot->l2, slot->index + n, raw);
}

bool
qcow_clear_entries (Qcow *q, uint64_t table, uint8_t *l2, uint64_t from,
                    uint64_t to, GError **error)
{
  Slot slot = { .table = table, .index = from, .l2 = l2 };
  QcowEntry old;
  /* All of it or nothing: what is let go must not be named any more. */
  for (uint64_t n = 0; n < to - from; n++)
    if (!get_entry (q, &slot, n, &old, error))
      return false;
  for (uint64_t n = 0; n < to - from; n++)
    if (get_entry (q, &slot, n, &old, error) && old.stored)
      change_entry (q, &slot, n, &old, 0);
  return true;
}

static uint64_t
clusters_touched (const Qcow *q, uint64_t offset, uint64_t length)
{
  uint64_t within = offset & (q->cluster_size - 1);
  return (within + length + q->cluster_size - 1) >> q->header.cluster_bits;
}

/* ---- reserve, link ------------------------------------------------------ */

/* Entries in a row that are all written in place, one behind the other in the
 * file, or all to be made. */
static bool
measure_stretch (Qcow *q, const Slot *slot, uint64_t most, QcowEntry *ret_first,
                 uint64_t *ret_count, GError **error)
{
  QcowEntry next;
  uint64_t count = 1;
  if (!get_entry (q, slot, 0, ret_first, error))
    return false;
  bool plain = ret_first->stored && !ret_first->packed;
  for (; count < most && get_entry (q, slot, count, &next, NULL); count++)
    if (plain != (next.stored && !next.packed) ||
        (plain &&
         next.offset != ret_first->offset + (count << q->header.cluster_bits)))
      break;
  *ret_count = count;
  return true;
}

bool
qcow_reserve (gpointer state, uint64_t offset, uint64_t length,
              VpPlace *ret_place, GError **error)
{
  Qcow *q = state;
  Slot slot;
  QcowEntry first;
  uint64_t count, host, within = offset & (q->cluster_size - 1);
  uint64_t base = offset - within;
  if (!vp_tables_trim (q->tables, error) ||
      !find_slot (q, offset, true, &slot, error))
    return false;
  length = MIN (length, qcow_reach (q));
  uint64_t most = MIN (qcow_l2_entries (q) - slot.index,
                       clusters_touched (q, offset, length));
  if (!measure_stretch (q, &slot, most, &first, &count, error))
    return false;
  bool in_place = first.stored && !first.packed;
  if (in_place)
    host = first.offset;
  else if (!qcow_allocate (q, count, false, QCOW_DATA, &host, &count, error))
    return false;
  uint64_t end = base + (count << q->header.cluster_bits);
  uint64_t to = MIN (offset + length, end);
  *ret_place = in_place ? (VpPlace){ .file = q->file,
                                     .offset = host + within,
                                     .guest = offset,
                                     .length = to - offset,
                                     .in_place = true }
                        : (VpPlace){ .file = q->file,
                                     .offset = host,
                                     .guest = base,
                                     .length = end - base,
                                     .head = within,
                                     .tail = end - to };
  ret_place->crypt = q->crypt;
  ret_place->crypt_offset = ret_place->guest;
  return true;
}

bool
qcow_link (gpointer state, const VpPlace *place, GError **error)
{
  Qcow *q = state;
  Slot slot;
  if (!find_slot (q, place->guest, true, &slot, error))
    return false;
  uint64_t count = clusters_touched (q, place->guest, place->length);
  for (uint64_t n = 0; n < count; n++) {
    QcowEntry old;
    if (!get_entry (q, &slot, n, &old, error))
      return false;
    change_entry (q, &slot, n, &old,
                  place->offset + (n << q->header.cluster_bits));
  }
  return true;
}

void
qcow_unreserve (gpointer state, const VpPlace *place)
{
  qcow_free_later (state, place->offset,
                   place->packed > 0 ? place->packed : place->length);
}

/* ---- packed units ------------------------------------------------------- */

bool
qcow_packing (gpointer state, VpPacking *ret_packing)
{
  Qcow *q = state;
  if (q->crypt)
    return false;
  *ret_packing =
      (VpPacking){ .codec = VP_CODEC_DEFLATE, .unit = q->cluster_size };
  return true;
}

bool
qcow_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                     VpPlace *ret_place, GError **error)
{
  Qcow *q = state;
  Slot slot;
  uint64_t at;
  g_return_val_if_fail (len > 0 && len < q->cluster_size, false);
  if (!vp_tables_trim (q->tables, error) ||
      !find_slot (q, offset, true, &slot, error) ||
      !qcow_allocate_packed (q, len, &at, error))
    return false;
  *ret_place = (VpPlace){ .file = q->file,
                          .offset = at,
                          .guest = offset,
                          .length = q->cluster_size,
                          .packed = len };
  return true;
}

bool
qcow_link_packed (gpointer state, const VpPlace *place, GError **error)
{
  Qcow *q = state;
  Slot slot;
  QcowEntry old;
  if (!find_slot (q, place->guest, true, &slot, error) ||
      !get_entry (q, &slot, 0, &old, error))
    return false;
  change_entry (q, &slot, 0, &old,
                qcow_encode_packed (q, place->offset, place->packed));
  return true;
}

/* ---- zero, discard ------------------------------------------------------ */

bool
qcow_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
           uint64_t *ret_done, GError **error)
{
  Qcow *q = state;
  Slot slot;
  *ret_done = 0;
  if (qcow_is_overlay (q))
    return true;
  if (!vp_tables_trim (q->tables, error) ||
      !find_slot (q, offset, false, &slot, error))
    return false;
  uint64_t end = vp_round_down (offset, qcow_reach (q)) + qcow_reach (q);
  length = MIN (length, end - offset);
  uint64_t count = clusters_touched (q, offset, length);
  if (slot.l2 && !qcow_clear_entries (q, slot.table, slot.l2, slot.index,
                                      slot.index + count, error))
    return false;
  *ret_done = length;
  return true;
}

bool
qcow_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Qcow *q = state;
  uint64_t done;
  for (; length > 0 && !qcow_is_overlay (q); offset += done, length -= done)
    if (!qcow_zero (q, offset, length, true, &done, error))
      return false;
  return true;
}
