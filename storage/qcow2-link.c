/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-link: how L1 and L2 entries change: reserve and link, zero, discard.
 *
 * An L1 or L2 entry without COPIED belongs to a snapshot as well; it is never
 * written in place.  Whatever an entry named before goes to the quarantine.
 *
 * In an external data file a cluster lies where the guest has it, so that
 * nothing is allocated there and nothing moves. */
#include "config.h"

#include "storage/qcow2-bitmap.h"
#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

static bool
check_in_file (Qcow2 *q, uint64_t offset, uint64_t length, GError **error)
{
  if (vp_range_ok (offset, length, vp_round_up (q->file_end, q->cluster_size)))
    return true;
  if (!vp_file_get_size (q->file, &q->file_end, error))
    return false;
  if (vp_range_ok (offset, length, vp_round_up (q->file_end, q->cluster_size)))
    return true;
  return qcow2_corrupt (
      q, error,
      "a table points past the end of the file (0x%" G_GINT64_MODIFIER "x)",
      offset);
}

/* Sets L1 entry index to a new L2 table; source: what to begin with. */
static uint8_t *
new_l2 (Qcow2 *q, uint64_t index, uint64_t source, uint64_t *ret_table,
        GError **error)
{
  uint64_t table;
  if (!qcow2_allocate (q, 1, true, &table, NULL, error) ||
      !qcow2_note_metadata (q, table, q->cluster_size, error))
    return NULL;
  size_t size = (size_t) q->cluster_size;
  uint8_t *l2 = vp_tables_add (q->tables, table, size);
  if (source) {
    const uint8_t *old = vp_tables_load (q->tables, source, size, error);
    if (!old)
      return NULL; /* a leak of one cluster */
    memcpy (l2, old, size);
    vp_tables_free_later (q->tables, source, q->cluster_size);
  }
  vp_be64_set (qcow2_l1 (q) + 8 * index, table | QCOW2_COPIED);
  vp_tables_dirty (q->tables, q->header.l1_offset, (size_t) index * 8, 8,
                   QCOW2_ORDER_MAP);
  *ret_table = table;
  return l2;
}

bool
qcow2_own_l2 (Qcow2 *q, uint64_t offset, bool make, uint64_t *ret_table,
              uint8_t **ret_l2, GError **error)
{
  uint64_t index = qcow2_l1_index (q, offset);
  *ret_l2 = NULL;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  g_return_val_if_fail (index < q->header.l1_entries, false);
  uint64_t raw = vp_be64_get (qcow2_l1 (q) + 8 * index);
  uint64_t table = raw & QCOW2_OFFSET_MASK;
  if (!qcow2_check_l1_entry (q, index, raw, error))
    return false;
  if (table == 0 && !make)
    return true;
  if (table == 0 || !(raw & QCOW2_COPIED)) {
    *ret_l2 = new_l2 (q, index, table, ret_table, error);
    return *ret_l2 != NULL;
  }
  /* One that is new may not have reached the file yet. */
  *ret_table = table;
  *ret_l2 = vp_tables_load (q->tables, table, (size_t) q->cluster_size, error);
  return *ret_l2 != NULL;
}

/* One count for each host cluster that a place in bytes touches. */
static void
free_packed (Qcow2 *q, uint64_t offset, uint64_t length)
{
  uint64_t first = vp_round_down (offset, q->cluster_size);
  uint64_t end = vp_round_up (offset + length, q->cluster_size);
  vp_tables_free_later (q->tables, first, end - first);
}

/* What an entry named is no longer named by it. */
static void
free_cluster (Qcow2 *q, uint64_t raw, const Qcow2Cluster *cluster)
{
  if (cluster->packed) {
    Qcow2Packed packed = qcow2_unpack_entry (q, raw);
    free_packed (q, packed.offset, packed.length);
  } else if (cluster->has_host && q->external)
    /* At once: what is still named reads as zeros, which is what it is to be;
     * and only the same guest cluster ever comes here again. */
    vp_file_discard (q->data, cluster->host, q->cluster_size);
  else if (cluster->has_host)
    vp_tables_free_later (q->tables, cluster->host, q->cluster_size);
}

/* An L2 table that is ours, and a row of its entries. */
typedef struct {
  uint64_t table;
  uint8_t *l2; /* NULL: there is none */
  uint64_t index;
} Slot;

static bool
find_slot (Qcow2 *q, uint64_t offset, bool make, Slot *ret_slot, GError **error)
{
  ret_slot->index = qcow2_l2_index (q, offset);
  return qcow2_own_l2 (q, offset, make, &ret_slot->table, &ret_slot->l2, error);
}

static bool
get_cluster (Qcow2 *q, const Slot *slot, uint64_t n, Qcow2Cluster *ret_cluster,
             GError **error)
{
  return qcow2_decode (q, qcow2_l2_get (q, slot->l2, slot->index + n),
                       ret_cluster, error);
}

static void
set_entry (Qcow2 *q, const Slot *slot, uint64_t n, Qcow2L2 entry)
{
  size_t size = qcow2_l2_entry_size (q);
  qcow2_l2_set (q, slot->l2, slot->index + n, entry);
  vp_tables_dirty (q->tables, slot->table, (size_t) (slot->index + n) * size,
                   size, QCOW2_ORDER_MAP);
}

/* From old to new, and lets go of the place that new does not have. */
static void
change_cluster (Qcow2 *q, const Slot *slot, uint64_t n, const Qcow2Cluster *old,
                const Qcow2Cluster *new)
{
  bool keeps = new->has_host && old->has_host &&new->host == old->host;
  if (!keeps)
    free_cluster (q, qcow2_l2_get (q, slot->l2, slot->index + n).raw, old);
  set_entry (q, slot, n, qcow2_encode (q, new));
}

/* Subclusters [from, to) of one cluster. */
static uint32_t
sub_mask (unsigned from, unsigned to)
{
  return (uint32_t) (((UINT64_C (1) << to) - 1) &
                     ~((UINT64_C (1) << from) - 1));
}

/* Those of cluster n, counted from the one that holds offset, that lie in
 * [offset, offset + length). */
static uint32_t
touched (const Qcow2 *q, uint64_t offset, uint64_t length, uint64_t n)
{
  uint64_t start =
      vp_round_down (offset, q->cluster_size) + (n << q->header.cluster_bits);
  uint64_t from = MAX (offset, start) - start;
  uint64_t to = MIN (offset + length - start, q->cluster_size);
  return sub_mask (
      (unsigned) (from >> q->sub_bits),
      (unsigned) ((to + qcow2_subcluster_size (q) - 1) >> q->sub_bits));
}

static uint64_t
clusters_touched (const Qcow2 *q, uint64_t offset, uint64_t length)
{
  uint64_t within = offset & (q->cluster_size - 1);
  return (within + length + q->cluster_size - 1) >> q->header.cluster_bits;
}

/* ---- reserve, link ------------------------------------------------------ */

typedef struct {
  Qcow2Cluster first, last;
  uint64_t count; /* clusters */
  uint64_t subs;  /* OWN: subclusters from the first one wanted on */
  /* OWN: places of their own in a row, all of them with data, or all without;
   * else all to be made. */
  bool own, data;
} Stretch;

/* Subclusters of an own cluster, from sub on, that all have data or all have
 * none. */
static unsigned
count_own (const Qcow2 *q, const Qcow2Cluster *cluster, unsigned sub, bool data)
{
  uint64_t mask = data ? cluster->allocated : (uint32_t) ~cluster->allocated;
  return MIN (qcow2_subclusters (q) - sub,
              (unsigned) __builtin_ctzll (~(mask >> sub)));
}

static bool
measure_stretch (Qcow2 *q, const Slot *slot, unsigned sub, uint64_t most,
                 Stretch *ret_stretch, GError **error)
{
  Stretch s = { .count = 1 };
  Qcow2Cluster next;
  unsigned all = qcow2_subclusters (q);
  if (!get_cluster (q, slot, 0, &s.first, error))
    return false;
  s.last = s.first;
  s.own = s.first.exclusive;
  s.data = s.own && s.first.allocated >> sub & 1;
  unsigned part = s.own ? count_own (q, &s.first, sub, s.data) : all - sub;
  bool whole = sub + part == all;
  s.subs = part;
  for (; whole && s.count < most; s.count++) {
    if (!get_cluster (q, slot, s.count, &next, NULL) || next.exclusive != s.own)
      break;
    if (s.own && next.host != s.first.host + s.count * q->cluster_size)
      break;
    part = s.own ? count_own (q, &next, 0, s.data) : all;
    if (part == 0)
      break;
    whole = part == all;
    s.subs += part;
    s.last = next;
  }
  *ret_stretch = s;
  return true;
}

static bool
check_own (Qcow2 *q, const Stretch *stretch, GError **error)
{
  uint64_t length = stretch->count << q->header.cluster_bits;
  return q->external ||
         (check_in_file (q, stretch->first.host, length, error) &&
          qcow2_check_overlap (q, stretch->first.host, length, error));
}

/* The guest range of new clusters that must be filled: what was asked for, and
 * what the old ones hold beside that, for their places go. */
static void
widen (const Qcow2 *q, const Stretch *stretch, uint64_t *from, uint64_t *to)
{
  uint64_t cs = q->cluster_size, first = vp_round_down (*from, cs);
  uint64_t last = vp_round_down (*to - 1, cs);
  uint32_t kept = stretch->first.allocated;
  *from = vp_round_down (*from, qcow2_subcluster_size (q));
  *to = vp_round_up (*to, qcow2_subcluster_size (q));
  if (stretch->first.packed)
    *from = first;
  else if (kept)
    *from =
        MIN (*from, first + ((uint64_t) __builtin_ctz (kept) << q->sub_bits));
  kept = stretch->last.allocated;
  if (stretch->last.packed)
    *to = last + cs;
  else if (kept)
    *to = MAX (*to,
               last + ((uint64_t) (32 - __builtin_clz (kept)) << q->sub_bits));
}

static bool
find_host (Qcow2 *q, uint64_t guest, Stretch *stretch, uint64_t *ret_host,
           GError **error)
{
  *ret_host = guest;
  if (q->external)
    return true;
  uint64_t wanted = stretch->count;
  return qcow2_allocate (q, wanted, false, ret_host, &stretch->count, error);
}

static bool
reserve (Qcow2 *q, uint64_t offset, uint64_t length, VpPlace *ret_place,
         GError **error)
{
  Slot slot;
  Stretch stretch;
  if (!qcow2_record (q, offset, length, error) ||
      !vp_tables_trim (q->tables, error) ||
      !find_slot (q, offset, true, &slot, error))
    return false;
  uint64_t cs = q->cluster_size, within = offset & (cs - 1);
  uint64_t base = offset - within, host;
  length = MIN (length, INT64_MAX - cs);
  uint64_t most = MIN ((UINT64_C (1) << q->l2_bits) - slot.index,
                       clusters_touched (q, offset, length));
  if (!measure_stretch (q, &slot, (unsigned) (within >> q->sub_bits), most,
                        &stretch, error))
    return false;
  if (stretch.own) {
    uint64_t sub_start = vp_round_down (offset, qcow2_subcluster_size (q));
    uint64_t end = sub_start + (stretch.subs << q->sub_bits);
    uint64_t to = MIN (end, offset + length);
    host = stretch.first.host;
    if (!check_own (q, &stretch, error))
      return false;
    uint64_t filled = vp_round_up (to, qcow2_subcluster_size (q));
    *ret_place = stretch.data ? (VpPlace){ .file = q->data,
                                           .offset = host + within,
                                           .guest = offset,
                                           .length = to - offset,
                                           .in_place = true }
                              : (VpPlace){ .file = q->data,
                                           .offset = host + (sub_start - base),
                                           .guest = sub_start,
                                           .length = filled - sub_start,
                                           .head = offset - sub_start,
                                           .tail = filled - to };
    return true;
  }
  uint64_t wanted = stretch.count;
  if (!find_host (q, base, &stretch, &host, error))
    return false;
  if (stretch.count < wanted &&
      !get_cluster (q, &slot, stretch.count - 1, &stretch.last, error))
    return false;
  uint64_t to =
      MIN (offset + length, base + (stretch.count << q->header.cluster_bits));
  uint64_t from = offset, end = to;
  widen (q, &stretch, &from, &end);
  *ret_place = (VpPlace){ .file = q->data,
                          .offset = host + (from - base),
                          .guest = from,
                          .length = end - from,
                          .head = offset - from,
                          .tail = end - to };
  return true;
}

bool
qcow2_reserve (gpointer state, uint64_t offset, uint64_t length,
               VpPlace *ret_place, GError **error)
{
  Qcow2 *q = state;
  if (!reserve (q, offset, length, ret_place, error))
    return false;
  ret_place->crypt = q->crypt;
  ret_place->crypt_offset =
      qcow2_crypt_offset (q, ret_place->guest, ret_place->offset);
  return true;
}

bool
qcow2_link (gpointer state, const VpPlace *place, GError **error)
{
  Qcow2 *q = state;
  Slot slot;
  if (!find_slot (q, place->guest, true, &slot, error))
    return false;
  uint64_t count = clusters_touched (q, place->guest, place->length);
  uint64_t host = vp_round_down (place->offset, q->cluster_size);
  for (uint64_t n = 0; n < count; n++, host += q->cluster_size) {
    Qcow2Cluster old;
    uint32_t mask = touched (q, place->guest, place->length, n);
    if (!get_cluster (q, &slot, n, &old, error))
      return false;
    bool own = old.exclusive && old.host == host;
    Qcow2Cluster new = { .has_host = true,
                         .exclusive = true,
                         .host = host,
                         .allocated = mask | (own ? old.allocated : 0),
                         .zero = old.zero & ~mask };
    change_cluster (q, &slot, n, &old, &new);
  }
  if (!q->external && q->file_end < place->offset + place->length)
    q->file_end = place->offset + place->length;
  return true;
}

bool
qcow2_prepare_entry (Qcow2 *q, uint64_t guest, GError **error)
{
  Slot slot;
  return find_slot (q, guest, true, &slot, error);
}

bool
qcow2_change_entry (Qcow2 *q, uint64_t guest, uint64_t raw, GError **error)
{
  Slot slot;
  Qcow2Cluster old;
  if (!find_slot (q, guest, true, &slot, error) ||
      !get_cluster (q, &slot, 0, &old, error))
    return false;
  free_cluster (q, qcow2_l2_get (q, slot.l2, slot.index).raw, &old);
  set_entry (q, &slot, 0, (Qcow2L2){ raw, 0 });
  return true;
}

void
qcow2_unreserve (gpointer state, const VpPlace *place)
{
  Qcow2 *q = state;
  Slot slot;
  if (place->packed > 0) {
    free_packed (q, place->offset, place->packed);
    return;
  }
  if (q->external || !find_slot (q, place->guest, false, &slot, NULL) ||
      !slot.l2)
    return; /* a leak, unless there is nothing to give back */
  uint64_t count = clusters_touched (q, place->guest, place->length);
  uint64_t host = vp_round_down (place->offset, q->cluster_size);
  for (uint64_t n = 0; n < count; n++, host += q->cluster_size) {
    Qcow2Cluster old;
    /* A zero cluster's own place stays its own. */
    if (get_cluster (q, &slot, n, &old, NULL) &&
        !(old.has_host && old.host == host))
      vp_tables_free_later (q->tables, host, q->cluster_size);
  }
}

/* ---- zero, discard ------------------------------------------------------ */

static bool
zero_raw (Qcow2 *q, uint64_t offset, uint64_t length, bool unmap,
          GError **error)
{
  uint64_t end = MIN (offset + length, MAX (q->header.size, offset));
  return end == offset ||
         vp_file_zero (q->data, offset, end - offset, unmap, error);
}

/* Version 2 has no zeros of its own: there a cluster is given up. */
static Qcow2Cluster
zeroed (const Qcow2 *q, const Qcow2Cluster *old, uint32_t mask, bool unmap)
{
  Qcow2Cluster new = *old;
  uint32_t stored = old->packed ? mask : old->allocated & mask;
  /* Without a backing file what nobody holds is zero already. */
  if (qcow2_is_overlay (q))
    new.zero |= mask;
  else
    new.zero |= stored;
  new.allocated &= ~mask;
  if (q->header.version < 3)
    new.zero = 0;
  bool changed = stored || new.zero != old->zero;
  if (changed && new.allocated == 0 &&
      (unmap || !old->exclusive || q->header.version < 3))
    new.has_host = new.exclusive = false;
  new.packed = false;
  return new;
}

static bool
differs (const Qcow2Cluster *a, const Qcow2Cluster *b)
{
  return a->packed != b->packed || a->has_host != b->has_host ||
         a->allocated != b->allocated || a->zero != b->zero;
}

bool
qcow2_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
            uint64_t *ret_done, GError **error)
{
  Qcow2 *q = state;
  bool bare = !qcow2_is_overlay (q);
  Slot slot;
  *ret_done = 0;
  if (!bare && q->header.version < 3)
    return true; /* version 2 cannot hide its backing file */
  if (!qcow2_record (q, offset, length, error))
    return false;
  if (qcow2_is_raw (q)) {
    *ret_done = length;
    return zero_raw (q, offset, length, unmap, error);
  }
  if (!vp_tables_trim (q->tables, error) ||
      !find_slot (q, offset, !bare, &slot, error))
    return false;
  uint64_t end =
      vp_round_down (offset, q->cluster_size) +
      (((UINT64_C (1) << q->l2_bits) - slot.index) << q->header.cluster_bits);
  length = MIN (length, end - offset);
  uint64_t count = clusters_touched (q, offset, length);
  uint64_t start = vp_round_down (offset, q->cluster_size);
  for (uint64_t n = 0; slot.l2 && n < count; n++) {
    Qcow2Cluster old;
    uint32_t mask = touched (q, offset, length, n);
    if (!get_cluster (q, &slot, n, &old, error))
      return false;
    if (old.packed && mask != qcow2_all_subclusters (q)) {
      uint64_t here = start + (n << q->header.cluster_bits);
      *ret_done = here > offset ? here - offset : 0;
      return true;
    }
    Qcow2Cluster new = zeroed (q, &old, mask, unmap);
    if (differs (&old, &new))
      change_cluster (q, &slot, n, &old, &new);
  }
  *ret_done = length;
  return true;
}

/* What is stored gives up its place; what is not stays as it is. */
static Qcow2Cluster
discarded (const Qcow2 *q, const Qcow2Cluster *old, uint32_t mask)
{
  Qcow2Cluster new = *old;
  if (old->packed && mask != qcow2_all_subclusters (q))
    return new;
  uint32_t stored = old->packed ? mask : old->allocated & mask;
  if (qcow2_is_overlay (q))
    new.zero |= stored;
  else if (old->packed || old->has_host)
    new.zero &= ~mask;
  new.allocated &= ~mask;
  if (new.allocated == 0 && (stored || mask == qcow2_all_subclusters (q)))
    new.has_host = new.exclusive = false;
  new.packed = false;
  return new;
}

bool
qcow2_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Qcow2 *q = state;
  uint64_t step, reach = q->cluster_size << q->l2_bits;
  if (qcow2_is_overlay (q) && q->header.version < 3)
    return true;
  if (!qcow2_record (q, offset, length, error))
    return false;
  if (qcow2_is_raw (q)) {
    vp_file_discard (q->data, offset, length);
    return true;
  }
  for (; length > 0; offset += step, length -= step) {
    Slot slot;
    step = MIN (length, vp_round_down (offset, reach) + reach - offset);
    if (!vp_tables_trim (q->tables, error) ||
        !find_slot (q, offset, false, &slot, error))
      return false;
    uint64_t count = clusters_touched (q, offset, step);
    for (uint64_t n = 0; slot.l2 && n < count; n++) {
      Qcow2Cluster old;
      if (!get_cluster (q, &slot, n, &old, error))
        return false;
      Qcow2Cluster new = discarded (q, &old, touched (q, offset, step, n));
      if (differs (&old, &new))
        change_cluster (q, &slot, n, &old, &new);
    }
  }
  return true;
}
