/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-measure: what the tables of an image take when all of it is
 * allocated: header, L1, every L2 table, and refcounts for all of that. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

#define DEFAULT_CLUSTER_SIZE (UINT64_C (64) << 10)
#define L1_ENTRY             8u
#define EXTENDED_MIN_CLUSTER 16384u

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

static uint64_t
divide_up (uint64_t value, uint64_t by)
{
  return value / by + (value % by != 0);
}

static bool
check_options (const VpCreateOptions *options, uint64_t cluster_size,
               unsigned bits, GError **error)
{
  if (cluster_size < UINT64_C (1) << QCOW2_MIN_CLUSTER ||
      cluster_size > UINT64_C (1) << QCOW2_MAX_CLUSTER ||
      cluster_size & (cluster_size - 1))
    return usage (error, "Cluster size must be a power of two between 512 and "
                         "2048k");
  if (bits > 64 || bits & (bits - 1))
    return usage (error, "Refcount width must be a power of two and may not "
                         "exceed 64 bits");
  if (options->compat == 2 && bits != 16)
    return usage (error, "Different refcount widths than 16 bits require "
                         "compatibility level 1.1 or above (use compat=1.1 or "
                         "greater)");
  if (options->extended_l2 && cluster_size < EXTENDED_MIN_CLUSTER)
    return usage (error, "Extended L2 entries are only supported with cluster "
                         "sizes of at least 16384 bytes");
  return true;
}

/* Clusters of refcounts for so many others; they count themselves too, hence
 * the fixed point. */
static uint64_t
refcount_clusters (uint64_t clusters, uint64_t cluster_size, unsigned bits)
{
  uint64_t per_block = cluster_size * 8 / bits, blocks = 0, table = 0;

  for (;;) {
    uint64_t next = divide_up (clusters + blocks + table, per_block);
    uint64_t next_table = divide_up (next, cluster_size / 8);
    if (next == blocks && next_table == table)
      return blocks + table;
    blocks = next;
    table = next_table;
  }
}

bool
qcow2_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                 GError **error)
{
  uint64_t cs =
      options->cluster_size ? options->cluster_size : DEFAULT_CLUSTER_SIZE;
  unsigned bits = options->refcount_bits ? options->refcount_bits : 16;
  uint64_t l2_entry = options->extended_l2 ? 16 : 8;

  Qcow2CryptPlan crypt;
  if (!check_options (options, cs, bits, error) ||
      !qcow2_plan_crypt (options, &crypt, error))
    return false;
  uint64_t data = divide_up (options->size, cs);
  uint64_t l2 = divide_up (data, cs / l2_entry);
  if (l2 * L1_ENTRY > VP_MAX_TABLE_SIZE)
    return usage (error, "The image size is too large (try using a larger "
                         "cluster size)");
  uint64_t rest = 1 + l2 + divide_up (l2 * L1_ENTRY, cs);
  rest += refcount_clusters (rest + data, cs, bits);
  ret_print->unit = cs;
  ret_print->overhead = rest * cs + vp_round_up (crypt.header_length, cs);
  return true;
}
