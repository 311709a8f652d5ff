/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-preallocate: places for guest clusters before anything is written to
 * them, L2 table by L2 table.
 *
 *     metadata   a place is named; the file has a hole there
 *     falloc     ... that the file system keeps space for
 *     full       ... that holds zeros
 *
 * A place may have been somebody's before, so it is made to read as zeros
 * before it is named.  What has a place, or is packed, stays as it is. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

typedef struct {
  Qcow2 *q;
  VpPreallocation mode;
  uint64_t table;
  uint8_t *l2;
} Work;

static bool
prepare_place (Work *w, uint64_t host, uint64_t length, GError **error)
{
  VpFile *data = w->q->data;
  /* The data file has been there all the time, and is longer by zeros. */
  if (!w->q->external && !vp_file_zero (data, host, length, true, error))
    return false;
  switch (w->mode) {
  case VP_PREALLOCATION_FALLOC:
    return vp_file_allocate (data, host, length, error);
  case VP_PREALLOCATION_FULL:
    return vp_file_zero (data, host, length, false, error);
  case VP_PREALLOCATION_OFF:
  case VP_PREALLOCATION_METADATA:
  default: return true;
  }
}

static bool
lacks_place (Work *w, uint64_t index, Qcow2Cluster *ret_cluster)
{
  return qcow2_decode (w->q, qcow2_l2_get (w->q, w->l2, index), ret_cluster,
                       NULL) &&
         !ret_cluster->has_host && !ret_cluster->packed;
}

static void
name_place (Work *w, uint64_t index, uint64_t host)
{
  Qcow2 *q = w->q;
  Qcow2Cluster cluster;
  if (!lacks_place (w, index, &cluster))
    return;
  cluster.has_host = cluster.exclusive = true;
  cluster.host = host;
  /* A hole decrypts to noise. */
  if (q->header.crypt_method != 0)
    cluster.zero = qcow2_all_subclusters (q);
  cluster.allocated = q->extended ? 0 : ~cluster.zero & 1;
  qcow2_l2_set (q, w->l2, index, qcow2_encode (q, &cluster));
}

/* Some of the clusters from guest on, within one L2 table. */
static bool
place_some (Work *w, uint64_t guest, uint64_t most, uint64_t *ret_done,
            GError **error)
{
  Qcow2 *q = w->q;
  Qcow2Cluster cluster;
  uint64_t index = qcow2_l2_index (q, guest), count = 0, host = guest;
  if (!vp_tables_trim (q->tables, error) ||
      !qcow2_own_l2 (q, guest, true, &w->table, &w->l2, error))
    return false;
  bool lacking = lacks_place (w, index, &cluster);
  while (count < most && lacks_place (w, index + count, &cluster) == lacking)
    count++;
  *ret_done = count;
  if (!lacking)
    return true;
  if (!q->external && !qcow2_allocate (q, count, false, &host, &count, error))
    return false;
  /* Allocating may have written back, but drops nothing. */
  *ret_done = count;
  if (!prepare_place (w, host, count << q->header.cluster_bits, error)) {
    if (!q->external)
      vp_tables_free_later (q->tables, host, count << q->header.cluster_bits);
    return false;
  }
  for (uint64_t i = 0; i < count; i++)
    name_place (w, index + i, host + (i << q->header.cluster_bits));
  size_t size = qcow2_l2_entry_size (q);
  vp_tables_dirty (q->tables, w->table, (size_t) index * size,
                   (size_t) count * size, QCOW2_ORDER_MAP);
  return true;
}

bool
qcow2_preallocate (Qcow2 *q, uint64_t from, uint64_t to, VpPreallocation mode,
                   GError **error)
{
  Work w = { .q = q, .mode = mode };
  uint64_t per_table = UINT64_C (1) << q->l2_bits;
  uint64_t cluster = from >> q->header.cluster_bits, done;
  uint64_t end = vp_round_up (to, q->cluster_size) >> q->header.cluster_bits;
  if (q->header.crypt_method != 0 && q->header.version < 3) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: encrypted, and of version 2, which cannot name places "
                 "that read as zeros",
                 q->file->name);
    return false;
  }
  for (; cluster < end; cluster += done) {
    uint64_t most = MIN (end - cluster, per_table - cluster % per_table);
    if (!place_some (&w, cluster << q->header.cluster_bits, most, &done, error))
      return false;
  }
  return true;
}
