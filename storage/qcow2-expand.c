/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-expand: zero clusters, which version 2 does not know, become what it
 * knows: nothing at all where there is no backing file, clusters full of zeros
 * where there is one; in the active tables and in those of all snapshots.
 *
 * Each table is changed where it is, for all who share it: what they read
 * stays the same. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

#define MAX_TABLES (1u << 24)

typedef struct {
  Qcow2 *q;
  bool zeros; /* there is a backing file to be hidden */
  uint64_t users;
  uint64_t table;
} Expand;

/* A cluster of zeros for all users of the table. */
static bool
make_zeros (Expand *e, uint64_t *ret_host, GError **error)
{
  Qcow2 *q = e->q;
  if (!qcow2_allocate (q, 1, true, ret_host, NULL, error))
    return false;
  if (vp_file_zero (q->file, *ret_host, q->cluster_size, true, error) &&
      (e->users == 1 ||
       qcow2_set_refcount (q, *ret_host >> q->header.cluster_bits, e->users,
                           error)))
    return true;
  vp_tables_free_later (q->tables, *ret_host, q->cluster_size);
  return false;
}

static bool
expand_entry (Expand *e, uint8_t *l2, uint64_t index, GError **error)
{
  Qcow2 *q = e->q;
  uint64_t raw = vp_be64_get (l2 + 8 * index), host = 0;
  if (raw & QCOW2_COMPRESSED || !(raw & QCOW2_ZERO))
    return true;
  if (e->zeros && !make_zeros (e, &host, error))
    return false;
  if (host != 0 && e->users == 1)
    host |= QCOW2_COPIED;
  vp_be64_set (l2 + 8 * index, host);
  vp_tables_dirty (q->tables, e->table, (size_t) index * 8, 8, QCOW2_ORDER_MAP);
  for (uint64_t i = 0; raw & QCOW2_OFFSET_MASK && i < e->users; i++)
    vp_tables_free_later (q->tables, raw & QCOW2_OFFSET_MASK, q->cluster_size);
  return true;
}

static bool
expand_table (Expand *e, GError **error)
{
  Qcow2 *q = e->q;
  size_t size = (size_t) q->cluster_size;
  uint64_t width = 1u << q->header.refcount_order;
  if (!vp_tables_trim (q->tables, error))
    return false;
  uint8_t *l2 = vp_tables_load (q->tables, e->table, size, error);
  if (!l2)
    return false;
  if (width < 64 && e->users >= UINT64_C (1) << width)
    return qcow2_corrupt (q, error,
                          "an L2 table has more users than can be counted; "
                          "check it first");
  for (size_t i = 0; i < size / 8; i++)
    if (!expand_entry (e, l2, i, error))
      return false;
  return true;
}

static bool
add_tables (Qcow2 *q, GArray *all, const uint8_t *l1, uint64_t entries,
            GError **error)
{
  g_autoptr (GArray) branches = qcow2_branches (q, l1, entries, error);
  if (!branches)
    return false;
  g_array_append_vals (all, branches->data, branches->len);
  if (all->len <= MAX_TABLES)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: too many tables in all snapshots", q->file->name);
  return false;
}

static bool
add_snapshots (Qcow2 *q, GArray *all, GError **error)
{
  for (guint i = 0; i < q->snapshots->len; i++) {
    uint64_t entries;
    g_autofree uint8_t *l1 = qcow2_read_snapshot_l1 (
        q, g_ptr_array_index (q->snapshots, i), &entries, error);
    if (!l1 || !add_tables (q, all, l1, entries, error))
      return false;
  }
  return true;
}

bool
qcow2_expand_zeros (Qcow2 *q, const VpProgress *progress, GError **error)
{
  g_autoptr (GArray) all = g_array_new (false, false, sizeof (Qcow2Branch));
  Expand e = { .q = q, .zeros = q->backing_name != NULL };
  if (!qcow2_settle (q, error) ||
      !add_tables (q, all, q->header.l1_entries ? qcow2_l1 (q) : NULL,
                   q->header.l1_entries, error) ||
      !add_snapshots (q, all, error))
    return false;
  g_array_sort (all, qcow2_compare_branches);
  guint next;
  for (guint i = 0; i < all->len; i = next) {
    e.table = g_array_index (all, Qcow2Branch, i).table;
    for (next = i + 1; next < all->len; next++)
      if (g_array_index (all, Qcow2Branch, next).table != e.table)
        break;
    e.users = next - i;
    if (!vp_progress_update (progress, i, all->len, error) ||
        !expand_table (&e, error))
      return false;
  }
  return qcow2_flush (q, error);
}
