/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-map: guest address to host cluster: what L1 and L2 entries say.
 *
 *     63      62          61 .. 56   55 .. 9          0
 *     COPIED  COMPRESSED  reserved   host offset      ZERO (version 3)
 *
 * A cluster has 32 subclusters where L2 is extended, each with two bits of its
 * own in a second word, and else one that is all of it: below this line there
 * is no difference (Qcow2Cluster).
 *
 * With an external data file host offset 0 is a place like any other, and
 * COPIED says that there is one. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

/* ---- entries ------------------------------------------------------------ */

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
decode_packed (Qcow2 *q, Qcow2L2 entry, Qcow2Cluster *ret_cluster,
               GError **error)
{
  if (q->external)
    return qcow2_corrupt (q, error,
                          "L2 entry 0x%" G_GINT64_MODIFIER
                          "x is compressed, with an external data file",
                          entry.raw);
  *ret_cluster =
      (Qcow2Cluster){ .packed = true,
                      .host = qcow2_unpack_entry (q, entry.raw).offset };
  return true;
}

bool
qcow2_decode (Qcow2 *q, Qcow2L2 entry, Qcow2Cluster *ret_cluster,
              GError **error)
{
  uint64_t raw = entry.raw;
  if (raw & QCOW2_COMPRESSED)
    return decode_packed (q, entry, ret_cluster, error);
  Qcow2Cluster cluster = { .host = raw & QCOW2_OFFSET_MASK };
  bool copied = raw & QCOW2_COPIED;
  cluster.has_host = cluster.host != 0 || (q->external && copied);
  /* Nobody shares a data file: no snapshot goes with one. */
  cluster.exclusive = cluster.has_host && (copied || q->external);
  if (cluster.host & (q->cluster_size - 1))
    return qcow2_corrupt (
        q, error, "L2 entry 0x%" G_GINT64_MODIFIER "x is misaligned", raw);
  if (q->extended) {
    cluster.allocated = (uint32_t) entry.bitmap;
    cluster.zero = (uint32_t) (entry.bitmap >> 32);
    if (raw & QCOW2_ZERO || cluster.allocated & cluster.zero ||
        (cluster.allocated && !cluster.has_host))
      return qcow2_corrupt (q, error,
                            "L2 entry 0x%" G_GINT64_MODIFIER
                            "x has an invalid bitmap of subclusters "
                            "(0x%" G_GINT64_MODIFIER "x)",
                            raw, entry.bitmap);
  } else {
    cluster.zero = raw & QCOW2_ZERO && q->header.version >= 3;
    cluster.allocated = cluster.has_host && !cluster.zero;
  }
  *ret_cluster = cluster;
  return true;
}

Qcow2L2
qcow2_encode (const Qcow2 *q, const Qcow2Cluster *cluster)
{
  Qcow2L2 entry = { 0, 0 };
  if (cluster->has_host)
    entry.raw = cluster->host | (cluster->exclusive ? QCOW2_COPIED : 0);
  if (q->extended)
    entry.bitmap = (uint64_t) cluster->zero << 32 | cluster->allocated;
  else if (cluster->zero)
    entry.raw |= QCOW2_ZERO;
  return entry;
}

VpRunKind
qcow2_subcluster_kind (const Qcow2Cluster *cluster, unsigned sub)
{
  if (cluster->packed)
    return VP_RUN_COMPRESSED;
  if (cluster->allocated >> sub & 1)
    return VP_RUN_DATA;
  if (cluster->zero >> sub & 1)
    return cluster->has_host ? VP_RUN_ZERO_ALLOCATED : VP_RUN_ZERO;
  return VP_RUN_UNALLOCATED;
}

/* How many subclusters from sub on are of its kind. */
static unsigned
count_alike (const Qcow2 *q, const Qcow2Cluster *cluster, unsigned sub)
{
  unsigned all = qcow2_subclusters (q);
  uint32_t mask;
  if (cluster->packed)
    return all - sub;
  if (cluster->allocated >> sub & 1)
    mask = cluster->allocated;
  else if (cluster->zero >> sub & 1)
    mask = cluster->zero;
  else
    mask = ~(cluster->allocated | cluster->zero);
  uint64_t other = ~((uint64_t) mask >> sub);
  return MIN (all - sub, (unsigned) __builtin_ctzll (other));
}

/* ---- reading ------------------------------------------------------------ */

bool
qcow2_check_l1_entry (Qcow2 *q, uint64_t index, uint64_t raw, GError **error)
{
  if ((raw & QCOW2_OFFSET_MASK) & (q->cluster_size - 1))
    return qcow2_corrupt (q, error,
                          "L1 entry %" PRIu64
                          " is misaligned (0x%" G_GINT64_MODIFIER "x)",
                          index, raw);
  return true;
}

/* Nothing below the L1 entry: how far does that go? */
static uint64_t
unmapped_length (Qcow2 *q, uint64_t offset, uint64_t length)
{
  const uint8_t *l1 = qcow2_l1 (q);
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t index = qcow2_l1_index (q, offset) + 1;
  uint64_t end = vp_round_down (offset, reach) + reach;
  while (end < offset + length && index < q->header.l1_entries &&
         (vp_be64_get (l1 + 8 * index) & QCOW2_OFFSET_MASK) == 0) {
    index++;
    end += reach;
  }
  return MIN (length, end - offset);
}

/* Does next, n clusters behind first, go on with what first ends with? */
static bool
continues (const Qcow2 *q, VpRunKind kind, const Qcow2Cluster *first,
           const Qcow2Cluster *next, uint64_t n)
{
  if (qcow2_subcluster_kind (next, 0) != kind || kind == VP_RUN_COMPRESSED)
    return false;
  /* A subcluster can be unallocated within a cluster that has its place. */
  if (kind == VP_RUN_UNALLOCATED && next->has_host != first->has_host)
    return false;
  if (kind == VP_RUN_ZERO || !first->has_host)
    return true;
  return next->host == first->host + n * q->cluster_size &&
         next->exclusive == first->exclusive;
}

/* The run within one L2 table that begins in entry at, subcluster sub. */
static bool
measure_run (Qcow2 *q, const uint8_t *l2, uint64_t at, unsigned sub,
             uint64_t most, Qcow2Cluster *ret_first, VpRunKind *ret_kind,
             uint64_t *ret_subclusters, GError **error)
{
  Qcow2Cluster first, next;
  unsigned all = qcow2_subclusters (q);
  if (!qcow2_decode (q, qcow2_l2_get (q, l2, at), &first, error))
    return false;
  VpRunKind kind = qcow2_subcluster_kind (&first, sub);
  unsigned part = count_alike (q, &first, sub);
  uint64_t count = part;
  bool whole = sub + part == all;
  for (uint64_t n = 1;
       whole && count < most && at + n < UINT64_C (1) << q->l2_bits; n++) {
    if (!qcow2_decode (q, qcow2_l2_get (q, l2, at + n), &next, NULL) ||
        !continues (q, kind, &first, &next, n))
      break;
    part = count_alike (q, &next, 0);
    whole = part == all;
    count += part;
  }
  *ret_first = first;
  *ret_kind = kind;
  *ret_subclusters = count;
  return true;
}

bool
qcow2_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
           GError **error)
{
  Qcow2 *q = state;
  uint64_t index = qcow2_l1_index (q, offset);
  if (!vp_tables_trim (q->tables, error))
    return false;
  uint64_t l1_entry =
      index < q->header.l1_entries ? vp_be64_get (qcow2_l1 (q) + 8 * index) : 0;
  if (!qcow2_check_l1_entry (q, index, l1_entry, error))
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

  Qcow2Cluster first;
  VpRunKind kind;
  uint64_t at = qcow2_l2_index (q, offset), count;
  uint64_t within = offset & (q->cluster_size - 1);
  uint64_t in_sub = offset & (qcow2_subcluster_size (q) - 1);
  uint64_t most =
      (MIN (length, INT64_MAX) + in_sub) / qcow2_subcluster_size (q);
  if (!measure_run (q, l2, at, (unsigned) (within >> q->sub_bits), most + 1,
                    &first, &kind, &count, error))
    return false;
  VpRun run = { .kind = kind,
                .length = MIN (length, (count << q->sub_bits) - in_sub),
                .shared = !first.exclusive };
  if (kind == VP_RUN_COMPRESSED) {
    Qcow2Packed packed = qcow2_unpack_entry (q, qcow2_l2_get (q, l2, at).raw);
    run.file = q->file;
    run.offset = packed.offset;
    run.packed = packed.length;
    run.codec = q->header.compression_type ? VP_CODEC_ZSTD : VP_CODEC_DEFLATE;
    run.unit = (size_t) q->cluster_size;
    run.skip = (size_t) within;
  } else if (kind != VP_RUN_ZERO && first.has_host) {
    run.file = q->data;
    run.offset = first.host + within;
    run.crypt = q->crypt;
    run.crypt_offset = qcow2_crypt_offset (q, offset, run.offset);
  }
  *ret_run = run;
  return true;
}
