/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-map: guest address to host cluster: L1, L2, and how entries change.
 *
 * An L1 or L2 entry without COPIED belongs to a snapshot as well; it is never
 * written in place.  Whatever an entry named before goes to the quarantine.
 *
 *     63      62          61 .. 56   55 .. 9          0
 *     COPIED  COMPRESSED  reserved   host offset      ZERO (version 3) */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  VpRunKind kind;
  uint64_t host; /* 0: none */
  bool exclusive;
} Entry;

static uint64_t
l2_entries (const Qcow2 *q)
{
  return UINT64_C (1) << q->l2_bits;
}

static uint64_t
l1_index (const Qcow2 *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits >> q->l2_bits;
}

static uint64_t
l2_index (const Qcow2 *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits & (l2_entries (q) - 1);
}

/* "Compressed Clusters Descriptor": x = 62 - (cluster_bits - 8) bits of host
 * offset, then the number of further 512-byte sectors. */
unsigned
qcow2_packed_bits (const Qcow2 *q)
{
  return 62 - (q->header.cluster_bits - 8);
}

Qcow2Packed
qcow2_unpack_entry (const Qcow2 *q, uint64_t entry)
{
  unsigned bits = qcow2_packed_bits (q);
  uint64_t mask = (UINT64_C (1) << bits) - 1;
  uint64_t sectors = (entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> bits;
  uint64_t offset = entry & mask;
  return (Qcow2Packed){ offset, (sectors + 1) * 512 - (offset & 511) };
}

static bool
decode (Qcow2 *q, uint64_t raw, Entry *ret_entry, GError **error)
{
  Entry entry = { .host = raw & QCOW2_OFFSET_MASK,
                  .exclusive = raw & QCOW2_COPIED };
  if (raw & QCOW2_COMPRESSED) {
    entry.kind = VP_RUN_COMPRESSED;
    entry.host = qcow2_unpack_entry (q, raw).offset;
    entry.exclusive = false;
    *ret_entry = entry;
    return true;
  }
  if (entry.host & (q->cluster_size - 1))
    return qcow2_corrupt (
        q, error, "L2 entry 0x%" G_GINT64_MODIFIER "x is misaligned", raw);
  if (raw & QCOW2_ZERO && q->header.version >= 3)
    entry.kind = entry.host ? VP_RUN_ZERO_ALLOCATED : VP_RUN_ZERO;
  else
    entry.kind = entry.host ? VP_RUN_DATA : VP_RUN_UNALLOCATED;
  if (entry.host == 0)
    entry.exclusive = false;
  *ret_entry = entry;
  return true;
}

static bool
check_l1_entry (Qcow2 *q, uint64_t index, uint64_t raw, GError **error)
{
  if ((raw & QCOW2_OFFSET_MASK) & (q->cluster_size - 1))
    return qcow2_corrupt (q, error,
                          "L1 entry %" PRIu64
                          " is misaligned (0x%" G_GINT64_MODIFIER "x)",
                          index, raw);
  return true;
}

/* ---- reading ------------------------------------------------------------ */

/* Nothing below the L1 entry: how far does that go? */
static uint64_t
unmapped_length (Qcow2 *q, uint64_t offset, uint64_t length)
{
  const uint8_t *l1 = qcow2_l1 (q);
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t index = l1_index (q, offset) + 1;
  uint64_t end = vp_round_down (offset, reach) + reach;
  while (end < offset + length && index < q->header.l1_entries &&
         (vp_be64_get (l1 + 8 * index) & QCOW2_OFFSET_MASK) == 0) {
    index++;
    end += reach;
  }
  return MIN (length, end - offset);
}

static bool
continues (const Qcow2 *q, const Entry *first, const Entry *next, uint64_t n)
{
  if (next->kind != first->kind || first->kind == VP_RUN_COMPRESSED)
    return false;
  if (first->kind == VP_RUN_UNALLOCATED || first->kind == VP_RUN_ZERO)
    return true;
  return next->host == first->host + n * q->cluster_size &&
         next->exclusive == first->exclusive;
}

bool
qcow2_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
           GError **error)
{
  Qcow2 *q = state;
  uint64_t index = l1_index (q, offset);
  if (!vp_tables_trim (q->tables, error))
    return false;
  uint64_t l1_entry =
      index < q->header.l1_entries ? vp_be64_get (qcow2_l1 (q) + 8 * index) : 0;
  if (!check_l1_entry (q, index, l1_entry, error))
    return false;
  uint64_t table = l1_entry & QCOW2_OFFSET_MASK;
  if (table == 0) {
    *ret_run = (VpRun){ .kind = VP_RUN_UNALLOCATED,
                        .length = unmapped_length (q, offset, length) };
    return true;
  }
  const uint8_t *l2 =
      vp_tables_load (q->tables, table, (size_t) q->cluster_size, error);
  if (!l2)
    return false;

  uint64_t at = l2_index (q, offset), within = offset & (q->cluster_size - 1);
  Entry first, next;
  uint64_t raw = vp_be64_get (l2 + 8 * at);
  if (!decode (q, raw, &first, error))
    return false;
  uint64_t n = 1;
  while (at + n < l2_entries (q) && n * q->cluster_size - within < length &&
         decode (q, vp_be64_get (l2 + 8 * (at + n)), &next, NULL) &&
         continues (q, &first, &next, n))
    n++;
  VpRun run = { .kind = first.kind,
                .length = MIN (length, n * q->cluster_size - within),
                .shared = !first.exclusive };
  if (first.kind == VP_RUN_COMPRESSED) {
    Qcow2Packed packed = qcow2_unpack_entry (q, raw);
    run.file = q->file;
    run.offset = packed.offset;
    run.packed = packed.length;
    run.codec = q->header.compression_type ? VP_CODEC_ZSTD : VP_CODEC_DEFLATE;
    run.unit = (size_t) q->cluster_size;
    run.skip = (size_t) within;
  } else if (first.host) {
    run.file = q->file;
    run.offset = first.host + within;
  }
  *ret_run = run;
  return true;
}

/* ---- changing ----------------------------------------------------------- */

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

/* The L2 table for offset, ours alone; made where make is set, else NULL
 * without error. */
static bool
own_l2 (Qcow2 *q, uint64_t offset, bool make, uint64_t *ret_table,
        uint8_t **ret_l2, GError **error)
{
  uint64_t index = l1_index (q, offset);
  *ret_l2 = NULL;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  g_return_val_if_fail (index < q->header.l1_entries, false);
  uint64_t raw = vp_be64_get (qcow2_l1 (q) + 8 * index);
  uint64_t table = raw & QCOW2_OFFSET_MASK;
  if (!check_l1_entry (q, index, raw, error))
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

static void
set_entry (Qcow2 *q, uint64_t table, uint8_t *l2, uint64_t index, uint64_t raw)
{
  vp_be64_set (l2 + 8 * index, raw);
  vp_tables_dirty (q->tables, table, (size_t) index * 8, 8, QCOW2_ORDER_MAP);
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
free_entry (Qcow2 *q, uint64_t raw)
{
  if (raw & QCOW2_COMPRESSED) {
    Qcow2Packed packed = qcow2_unpack_entry (q, raw);
    free_packed (q, packed.offset, packed.length);
  } else if (raw & QCOW2_OFFSET_MASK)
    vp_tables_free_later (q->tables, raw & QCOW2_OFFSET_MASK, q->cluster_size);
}

/* ---- reserve, link ------------------------------------------------------ */

/* How many of the clusters from index on are alike: all in place and in a row,
 * all zero with places in a row, or all to be made. */
static bool
measure_alike (Qcow2 *q, const uint8_t *l2, uint64_t index, uint64_t most,
               Entry *ret_first, uint64_t *ret_count, GError **error)
{
  Entry first, next;
  if (!decode (q, vp_be64_get (l2 + 8 * index), &first, error))
    return false;
  uint64_t n = 1;
  for (; n < most; n++) {
    if (!decode (q, vp_be64_get (l2 + 8 * (index + n)), &next, NULL) ||
        next.exclusive != first.exclusive)
      break;
    if (first.exclusive && !continues (q, &first, &next, n))
      break;
  }
  *ret_first = first;
  *ret_count = n;
  return true;
}

bool
qcow2_reserve (gpointer state, uint64_t offset, uint64_t length,
               VpPlace *ret_place, GError **error)
{
  Qcow2 *q = state;
  uint64_t table;
  uint8_t *l2;
  if (!vp_tables_trim (q->tables, error) ||
      !own_l2 (q, offset, true, &table, &l2, error))
    return false;
  uint64_t within = offset & (q->cluster_size - 1);
  uint64_t index = l2_index (q, offset);
  uint64_t most =
      MIN (l2_entries (q) - index,
           (within + MIN (length, INT64_MAX) + q->cluster_size - 1) >>
               q->header.cluster_bits);
  Entry first;
  uint64_t count, host;
  if (!measure_alike (q, l2, index, most, &first, &count, error))
    return false;
  if (first.exclusive) {
    host = first.host;
    uint64_t all = count << q->header.cluster_bits;
    if (!check_in_file (q, host, all, error) ||
        !qcow2_check_overlap (q, host, all, error))
      return false;
  } else if (!qcow2_allocate (q, count, false, &host, &count, error))
    return false;

  uint64_t reach = (count << q->header.cluster_bits) - within;
  uint64_t part = MIN (reach, length);
  if (first.exclusive && first.kind == VP_RUN_DATA)
    *ret_place = (VpPlace){ .file = q->file,
                            .offset = host + within,
                            .guest = offset,
                            .length = part,
                            .in_place = true };
  else
    *ret_place = (VpPlace){ .file = q->file,
                            .offset = host,
                            .guest = offset - within,
                            .length = count << q->header.cluster_bits,
                            .head = within,
                            .tail = reach - part };
  return true;
}

bool
qcow2_link (gpointer state, const VpPlace *place, GError **error)
{
  Qcow2 *q = state;
  uint64_t table;
  uint8_t *l2;
  if (!own_l2 (q, place->guest, true, &table, &l2, error))
    return false;
  uint64_t index = l2_index (q, place->guest);
  uint64_t count = place->length >> q->header.cluster_bits;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t host = place->offset + (i << q->header.cluster_bits);
    uint64_t old = vp_be64_get (l2 + 8 * (index + i));
    if (old & QCOW2_COMPRESSED || (old & QCOW2_OFFSET_MASK) != host)
      free_entry (q, old);
    set_entry (q, table, l2, index + i, host | QCOW2_COPIED);
  }
  if (q->file_end < place->offset + place->length)
    q->file_end = place->offset + place->length;
  return true;
}

bool
qcow2_prepare_entry (Qcow2 *q, uint64_t guest, GError **error)
{
  uint64_t table;
  uint8_t *l2;
  return own_l2 (q, guest, true, &table, &l2, error);
}

bool
qcow2_change_entry (Qcow2 *q, uint64_t guest, uint64_t raw, GError **error)
{
  uint64_t table;
  uint8_t *l2;
  if (!own_l2 (q, guest, true, &table, &l2, error))
    return false;
  uint64_t index = l2_index (q, guest);
  free_entry (q, vp_be64_get (l2 + 8 * index));
  set_entry (q, table, l2, index, raw);
  return true;
}

void
qcow2_unreserve (gpointer state, const VpPlace *place)
{
  Qcow2 *q = state;
  uint64_t table;
  uint8_t *l2;
  if (place->packed > 0) {
    free_packed (q, place->offset, place->packed);
    return;
  }
  if (!own_l2 (q, place->guest, false, &table, &l2, NULL) || !l2)
    return; /* a leak */
  uint64_t index = l2_index (q, place->guest);
  for (uint64_t done = 0; done < place->length; done += q->cluster_size) {
    uint64_t old = vp_be64_get (l2 + 8 * index++);
    /* A zero cluster's own place stays its own. */
    if (old & QCOW2_COMPRESSED ||
        (old & QCOW2_OFFSET_MASK) != place->offset + done)
      vp_tables_free_later (q->tables, place->offset + done, q->cluster_size);
  }
}

/* ---- zero, discard ------------------------------------------------------ */

static uint64_t
zeroed_entry (const Qcow2 *q, uint64_t raw, const Entry *entry, bool unmap)
{
  bool bare = !q->backing_name;
  if (entry->kind == VP_RUN_ZERO || entry->kind == VP_RUN_ZERO_ALLOCATED)
    return raw;
  if (q->header.version < 3)
    return 0;
  if (bare && entry->kind == VP_RUN_UNALLOCATED)
    return raw;
  if (entry->exclusive && !unmap)
    return raw | QCOW2_ZERO;
  return QCOW2_ZERO;
}

static void
change_entry (Qcow2 *q, uint64_t table, uint8_t *l2, uint64_t index,
              uint64_t to)
{
  uint64_t old = vp_be64_get (l2 + 8 * index);
  if (old == to)
    return;
  if (old & QCOW2_COMPRESSED ||
      (old & QCOW2_OFFSET_MASK) != (to & QCOW2_OFFSET_MASK))
    free_entry (q, old);
  set_entry (q, table, l2, index, to);
}

bool
qcow2_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
            uint64_t *ret_done, GError **error)
{
  Qcow2 *q = state;
  bool bare = !q->backing_name;
  uint64_t table;
  uint8_t *l2;
  *ret_done = 0;
  if (!bare && q->header.version < 3)
    return true; /* version 2 cannot hide its backing file */
  if (!vp_tables_trim (q->tables, error) ||
      !own_l2 (q, offset, !bare, &table, &l2, error))
    return false;
  uint64_t index = l2_index (q, offset);
  uint64_t count =
      MIN (l2_entries (q) - index, length >> q->header.cluster_bits);
  for (uint64_t i = 0; l2 && i < count; i++) {
    Entry entry;
    uint64_t raw = vp_be64_get (l2 + 8 * (index + i));
    if (!decode (q, raw, &entry, error))
      return false;
    change_entry (q, table, l2, index + i,
                  zeroed_entry (q, raw, &entry, unmap));
  }
  *ret_done = count << q->header.cluster_bits;
  return true;
}

bool
qcow2_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Qcow2 *q = state;
  uint64_t step;
  if (q->backing_name && q->header.version < 3)
    return true;
  for (; length > 0; offset += step, length -= step) {
    uint64_t table, index = l2_index (q, offset);
    uint8_t *l2;
    uint64_t count =
        MIN (l2_entries (q) - index, length >> q->header.cluster_bits);
    step = count << q->header.cluster_bits;
    if (!vp_tables_trim (q->tables, error) ||
        !own_l2 (q, offset, false, &table, &l2, error))
      return false;
    for (uint64_t i = 0; l2 && i < count; i++) {
      uint64_t raw = vp_be64_get (l2 + 8 * (index + i));
      bool stored = raw & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED);
      if (stored)
        change_entry (q, table, l2, index + i,
                      q->backing_name ? QCOW2_ZERO : 0);
    }
  }
  return true;
}

/* ---- size --------------------------------------------------------------- */

static bool
grow_l1 (Qcow2 *q, uint64_t entries, GError **error)
{
  Qcow2Header *h = &q->header;
  uint64_t length = vp_round_up (entries * 8, q->cluster_size), offset;
  if (!qcow2_allocate (q, length >> h->cluster_bits, true, &offset, NULL,
                       error) ||
      !qcow2_note_metadata (q, offset, length, error))
    return false;
  uint8_t *l1 = vp_tables_add (q->tables, offset, (size_t) entries * 8);
  uint64_t old_length = (uint64_t) h->l1_entries * 8;
  uint64_t old_offset = h->l1_offset;
  if (old_length > 0) {
    memcpy (l1, qcow2_l1 (q), (size_t) old_length);
    vp_tables_forget (q->tables, old_offset);
    vp_tables_free_later (q->tables, old_offset,
                          vp_round_up (old_length, q->cluster_size));
  }
  vp_tables_pin (q->tables, offset);
  h->l1_offset = offset;
  h->l1_entries = (uint32_t) entries;
  return qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, error);
}

bool
qcow2_extend (gpointer state, uint64_t size, GError **error)
{
  Qcow2 *q = state;
  const Qcow2Header *h = &q->header;
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t have = h->size / reach + (h->size % reach != 0);
  uint64_t entries = size / reach + (size % reach != 0);
  if (size % 512 != 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The new size must be a multiple of 512");
    return false;
  }
  if (entries * 8 > VP_MAX_TABLE_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: too large for clusters of %" PRIu64 " bytes",
                 q->file->name, q->cluster_size);
    return false;
  }
  if (h->n_snapshots > 0 && h->version < 3) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: version 2 with snapshots cannot be resized",
                 q->file->name);
    return false;
  }
  /* Behind the disk's end there may be the state of a machine that was being
   * saved; growing must not turn it into disk content. */
  for (uint64_t i = have; i < MIN (entries, h->l1_entries); i++)
    if (vp_be64_get (qcow2_l1 (q) + 8 * i) & QCOW2_OFFSET_MASK) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                   "%s: holds saved machine state behind its end",
                   q->file->name);
      return false;
    }
  if (entries <= h->l1_entries)
    return true;
  return grow_l1 (q, entries, error);
}

bool
qcow2_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
              GError **error)
{
  Qcow2 *q = state;
  if (preallocation != VP_PREALLOCATION_OFF) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "growing qcow2 with preallocation is not supported "
                         "yet");
    return false;
  }
  /* The tables that reach so far come first. */
  if (!vp_tables_flush (q->tables, error))
    return false;
  q->header.size = size;
  return qcow2_store_cell (q, QCOW2_CELL_SIZE_L1, QCOW2_ORDER_MAP, error);
}
