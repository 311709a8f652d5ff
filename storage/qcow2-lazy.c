/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-lazy: "lazy refcounts".  A flush leaves changed refblocks in memory:
 * the dirty bit says, before any table names what they should have counted,
 * that they are behind.  A clean close writes them and takes the bit away; a
 * cut leaves it, and the next who opens the image for writing counts anew.
 *
 * New refblocks are no exception: they go out before the reftable names
 * them. */
#include "config.h"

#include "storage/qcow2-bitmap.h"
#include "storage/qcow2.h"

static bool
store_dirty (Qcow2 *q, bool dirty, GError **error)
{
  uint8_t bits[8];
  if (dirty)
    q->header.incompatible |= QCOW2_INCOMPATIBLE_DIRTY;
  else
    q->header.incompatible &= ~(uint64_t) QCOW2_INCOMPATIBLE_DIRTY;
  vp_be64_set (bits, q->header.incompatible);
  vp_tables_forget (q->tables, 72);
  return vp_file_write (q->file, 72, bits, sizeof bits, error) &&
         vp_file_flush (q->file, error);
}

static bool
is_lazy (const Qcow2 *q)
{
  return !q->unordered && q->header.version >= 3 &&
         q->header.compatible & QCOW2_COMPATIBLE_LAZY;
}

bool
qcow2_flush (Qcow2 *q, GError **error)
{
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  if (!qcow2_round_file (q, error) || !vp_tables_flush (q->tables, error))
    return false;
  /* What was freed is counted down only now; a cut before the second round
   * leaks it. */
  return !vp_tables_is_dirty (q->tables) || vp_tables_flush (q->tables, error);
}

bool
qcow2_flush_lazily (gpointer state, GError **error)
{
  Qcow2 *q = state;
  if (q->broken || !is_lazy (q) || !vp_tables_has_late (q->tables))
    return qcow2_flush (q, error);
  if (!qcow2_round_file (q, error))
    return false;
  if (!(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY) &&
      !store_dirty (q, true, error))
    return false;
  q->behind = true;
  return vp_tables_flush_but_late (q->tables, error);
}

bool
qcow2_finish (gpointer state, GError **error)
{
  Qcow2 *q = state;
  if (!qcow2_store_bitmaps (q, error))
    return false;
  if (!q->behind)
    return true;
  if (!qcow2_flush (q, error) || !store_dirty (q, false, error))
    return false;
  q->behind = false;
  return true;
}
