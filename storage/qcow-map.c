/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-map: guest address to place in the file: what L1 and L2 entries say.
 *
 *     63          62 .. 63 - cluster_bits   ..  0
 *     COMPRESSED  bytes, packed             offset of the first one
 *     0           offset of the cluster, a multiple of 512
 *
 * A cluster that QEMU made is aligned to its own size; it reads those that are
 * not as well, and so do we. */
#include "config.h"

#include "storage/qcow.h"

#include "storage/error.h"

/* ---- entries ------------------------------------------------------------ */

bool
qcow_decode (Qcow *q, uint64_t raw, QcowEntry *ret_entry, GError **error)
{
  QcowEntry entry = { .stored = raw != 0,
                      .offset = raw,
                      .length = q->cluster_size };
  if (raw & QCOW_COMPRESSED) {
    unsigned bits = 63 - q->header.cluster_bits;
    entry.packed = true;
    entry.offset = raw & ((UINT64_C (1) << bits) - 1);
    entry.length = raw >> bits & (q->cluster_size - 1);
  }
  bool odd = entry.packed ? entry.length == 0 || entry.offset == 0
                          : entry.offset % QCOW_ALIGNMENT != 0;
  if (odd || !vp_range_ok (entry.offset, entry.length, QCOW_MAX_OFFSET))
    return qcow_corrupt (q, error, "L2 entry 0x%" PRIx64 " is invalid", raw);
  *ret_entry = entry;
  return true;
}

uint64_t
qcow_encode_packed (const Qcow *q, uint64_t offset, uint64_t len)
{
  return QCOW_COMPRESSED | len << (63 - q->header.cluster_bits) | offset;
}

/* ---- tables ------------------------------------------------------------- */

uint8_t *
qcow_l1 (Qcow *q)
{
  return vp_tables_load (q->tables, q->header.l1_offset,
                         (size_t) q->l1_entries * 8, NULL);
}

bool
qcow_check_l1_entry (Qcow *q, uint64_t index, uint64_t raw, GError **error)
{
  if (raw % QCOW_ALIGNMENT != 0)
    return qcow_corrupt (q, error,
                         "L1 entry %" PRIu64 " is misaligned (0x%" PRIx64 ")",
                         index, raw);
  if (raw != 0 && !vp_range_ok (raw, qcow_l2_size (q), q->file_end))
    return qcow_corrupt (q, error,
                         "L1 entry %" PRIu64
                         " points past the end of the file (0x%" PRIx64 ")",
                         index, raw);
  return true;
}

bool
qcow_load_l2 (Qcow *q, uint64_t index, uint64_t *ret_table, uint8_t **ret_l2,
              GError **error)
{
  uint64_t raw =
      index < q->l1_entries ? vp_be64_get (qcow_l1 (q) + 8 * index) : 0;
  *ret_table = raw;
  *ret_l2 = NULL;
  if (raw == 0)
    return true;
  if (!qcow_check_l1_entry (q, index, raw, error))
    return false;
  *ret_l2 = vp_tables_load (q->tables, raw, qcow_l2_size (q), error);
  return *ret_l2 != NULL;
}

/* ---- reading ------------------------------------------------------------ */

/* Nothing below the L1 entry: how far does that go? */
static uint64_t
unmapped_length (Qcow *q, uint64_t offset, uint64_t length)
{
  const uint8_t *l1 = qcow_l1 (q);
  uint64_t reach = qcow_reach (q), index = qcow_l1_index (q, offset) + 1;
  uint64_t end = vp_round_down (offset, reach) + reach;
  while (end - offset < length && index < q->l1_entries &&
         vp_be64_get (l1 + 8 * index) == 0) {
    index++;
    end += reach;
  }
  return MIN (length, end - offset);
}

static bool
continues (const QcowEntry *first, const QcowEntry *next, uint64_t distance)
{
  if (first->packed || next->packed || first->stored != next->stored)
    return false;
  return !first->stored || next->offset == first->offset + distance;
}

/* The run within one L2 table that begins in entry at; clusters. */
static bool
measure_run (Qcow *q, const uint8_t *l2, uint64_t at, uint64_t most,
             QcowEntry *ret_first, uint64_t *ret_count, GError **error)
{
  QcowEntry next;
  uint64_t count = 1;
  most = MIN (most, qcow_l2_entries (q) - at);
  if (!qcow_decode (q, vp_be64_get (l2 + 8 * at), ret_first, error))
    return false;
  while (count < most &&
         qcow_decode (q, vp_be64_get (l2 + 8 * (at + count)), &next, NULL) &&
         continues (ret_first, &next, count << q->header.cluster_bits))
    count++;
  *ret_count = count;
  return true;
}

bool
qcow_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  Qcow *q = state;
  uint64_t table, count, within = offset & (q->cluster_size - 1);
  uint8_t *l2;
  QcowEntry entry;
  if (!vp_tables_trim (q->tables, error) ||
      !qcow_load_l2 (q, qcow_l1_index (q, offset), &table, &l2, error))
    return false;
  if (!l2) {
    *ret_run = (VpRun){ .kind = VP_RUN_UNALLOCATED,
                        .length = unmapped_length (q, offset, length) };
    return true;
  }
  length = MIN (length, qcow_reach (q));
  uint64_t most =
      (within + length + q->cluster_size - 1) >> q->header.cluster_bits;
  if (!measure_run (q, l2, qcow_l2_index (q, offset), most, &entry, &count,
                    error))
    return false;
  VpRun run = { .kind = VP_RUN_UNALLOCATED,
                .length =
                    MIN (length, (count << q->header.cluster_bits) - within) };
  if (entry.packed) {
    run.kind = VP_RUN_COMPRESSED;
    run.file = q->file;
    run.offset = entry.offset;
    run.packed = entry.length;
    run.codec = VP_CODEC_DEFLATE;
    run.unit = (size_t) q->cluster_size;
    run.skip = (size_t) within;
  } else if (entry.stored) {
    run.kind = VP_RUN_DATA;
    run.file = q->file;
    run.offset = entry.offset + within;
    run.crypt = q->crypt;
    run.crypt_offset = offset;
  }
  *ret_run = run;
  return true;
}
