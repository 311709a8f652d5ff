/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-holes: was this image made with preallocation=metadata?  Nothing in
 * it says so; but then far more clusters are in use than the file has space
 * for. */
#include "config.h"

#include "storage/qcow2.h"

bool
qcow2_has_holes (gpointer state)
{
  Qcow2 *q = state;
  uint64_t size, used;
  if (q->header.crypt_method != 0) /* a hole decrypts to noise */
    return false;
  if (!vp_file_get_size (q->file, &size, NULL) ||
      !vp_file_get_used (q->file, &used, NULL))
    return false;
  uint64_t clusters =
      vp_round_up (size, q->cluster_size) >> q->header.cluster_bits;
  uint64_t real = used >> q->header.cluster_bits;
  uint64_t enough = MAX (real + real / 9, real + 2);
  uint64_t count = 0;
  for (uint64_t i = 0; clusters >= enough && i < clusters; i++) {
    uint64_t refcount;
    if (!qcow2_get_refcount (q, i, &refcount, NULL))
      return false;
    if (refcount > 0 && ++count >= enough)
      return true;
  }
  return false;
}
