/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-empty: lets go of all that the active disk holds.
 *
 * L1 entries are cleared table by table; what the L2 table named, and the
 * table, lose a reference each once the cleared entry is on disk.  Snapshots
 * keep theirs.  A cut in the middle leaves an image that is emptied in part,
 * which reads the same wherever the backing file holds the same. */
#include "config.h"

#include "storage/qcow2.h"

/* So many L2 tables between two flushes: the quarantine is a list in memory. */
#define BATCH 64u

/* What lies in a data file is nobody else's, and is left there: nothing may
 * vanish from it before the cleared L1 is on disk.  dry: could it be let go? */
static bool
release_entry (Qcow2 *q, Qcow2L2 entry, bool dry, GError **error)
{
  Qcow2Cluster cluster;
  uint64_t host, length = q->cluster_size;

  if (!qcow2_decode (q, entry, &cluster, error))
    return false;
  if (cluster.packed) {
    Qcow2Packed packed = qcow2_unpack_entry (q, entry.raw);
    host = vp_round_down (packed.offset, q->cluster_size);
    length =
        vp_round_up (packed.offset + packed.length, q->cluster_size) - host;
  } else if (cluster.has_host && !q->external)
    host = cluster.host;
  else
    return true;
  if (!qcow2_check_overlap (q, host, length, error))
    return false;
  if (!dry)
    vp_tables_free_later (q->tables, host, length);
  return true;
}

static bool
release_table (Qcow2 *q, uint64_t table, GError **error)
{
  uint8_t *l2 =
      vp_tables_load (q->tables, table, (size_t) q->cluster_size, error);
  uint64_t entries = UINT64_C (1) << q->l2_bits;

  if (!l2)
    return false;
  /* All of it or nothing: what is let go must not be named any more. */
  for (uint64_t i = 0; i < entries; i++)
    if (!release_entry (q, qcow2_l2_get (q, l2, i), true, error))
      return false;
  for (uint64_t i = 0; i < entries; i++)
    if (!release_entry (q, qcow2_l2_get (q, l2, i), false, error))
      return false;
  vp_tables_free_later (q->tables, table, q->cluster_size);
  return true;
}

bool
qcow2_empty (gpointer state, GError **error)
{
  Qcow2 *q = state;
  unsigned n = 0;

  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  for (uint32_t i = 0; i < q->header.l1_entries; i++) {
    uint64_t table = vp_be64_get (qcow2_l1 (q) + 8 * i) & QCOW2_OFFSET_MASK;
    if (!table)
      continue;
    if (!vp_tables_trim (q->tables, error) || !release_table (q, table, error))
      return false;
    vp_be64_set (qcow2_l1 (q) + 8 * i, 0);
    vp_tables_dirty (q->tables, q->header.l1_offset, 8 * (size_t) i, 8,
                     QCOW2_ORDER_MAP);
    if (++n % BATCH == 0 && !vp_tables_flush (q->tables, error))
      return false;
  }
  /* Twice: the first lets go, the second writes the refcounts of that. */
  return vp_tables_flush (q->tables, error) &&
         vp_tables_flush (q->tables, error) && qcow2_cut_tail (q, error);
}
