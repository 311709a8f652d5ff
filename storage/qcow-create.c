/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-create: a new image: header, name, an L1 table of zeros.  Clusters are
 * as QEMU makes them, of 4 KiB, and of 512 bytes over a backing file; another
 * size can be asked for. */
#include "config.h"

#include "storage/qcow.h"

#include <string.h>

#include "storage/error.h"

#define DEFAULT_BITS 12u
#define BACKED_BITS  9u
#define REACH_BITS   21u /* an L2 table is for 2 MiB or more */
#define ENTRY_BITS   3u
#define SECTOR       UINT64_C (512)

typedef struct {
  QcowHeader header;
  uint64_t cluster_size, l1_entries;
  uint64_t length; /* of the new file */
} Plan;

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

static bool
plan_geometry (const VpCreateOptions *options, Plan *plan, GError **error)
{
  QcowHeader *h = &plan->header;
  uint64_t cs = options->cluster_size;
  h->cluster_bits = options->backing_name ? BACKED_BITS : DEFAULT_BITS;
  if (cs & (cs - 1) || (cs > 0 && (cs < UINT64_C (1) << QCOW_MIN_CLUSTER ||
                                   cs > UINT64_C (1) << QCOW_MAX_CLUSTER)))
    return usage (error, "Cluster size must be a power of two between 512 and "
                         "64k");
  if (cs > 0)
    h->cluster_bits = (uint8_t) __builtin_ctzll (cs);
  h->l2_bits = (uint8_t) MAX (h->cluster_bits - ENTRY_BITS,
                              REACH_BITS - h->cluster_bits);
  plan->cluster_size = UINT64_C (1) << h->cluster_bits;
  return true;
}

static bool
plan_encryption (const VpEncryptOptions *options, QcowHeader *h, GError **error)
{
  if (options->legacy && options->format)
    return usage (error, "'encrypt.format' and its alias 'encryption' can't be "
                         "used at the same time");
  if (!options->legacy && !options->format)
    return !options->key_secret ||
           usage (error, "Parameter 'encrypt.format' is missing");
  if (options->format && strcmp (options->format, "aes") != 0)
    return usage (error, "Unsupported encryption format");
  if (!options->key_secret)
    return usage (error, "Parameter 'encrypt.key-secret' is required for "
                         "cipher");
  h->crypt_method = 1;
  return vp_secrets_find (options->secrets, options->key_secret, error) != NULL;
}

static bool
make_plan (const VpCreateOptions *options, Plan *plan, GError **error)
{
  QcowHeader *h = &plan->header;
  uint64_t end = QCOW_HEADER_LEN;
  *h = (QcowHeader){ .magic = QCOW_MAGIC, .version = 1 };
  h->size = vp_round_up (options->size, SECTOR);
  if (options->preallocation != VP_PREALLOCATION_OFF)
    return usage (error, "The format qcow has no preallocation");
  if (h->size == 0)
    return usage (error, "Image size is too small, cannot be zero length");
  if (!plan_geometry (options, plan, error) ||
      !plan_encryption (&options->encrypt, h, error))
    return false;
  if (options->backing_name) {
    h->backing_offset = end;
    h->backing_len = (uint32_t) strlen (options->backing_name);
    end += h->backing_len;
  }
  h->l1_offset = vp_round_up (end, 8);
  uint64_t reach = plan->cluster_size << h->l2_bits;
  plan->l1_entries = h->size / reach + (h->size % reach != 0);
  if (plan->l1_entries * 8 > VP_MAX_TABLE_SIZE)
    return usage (error, "The image size is too large (try using a larger "
                         "cluster size)");
  plan->length = h->l1_offset + vp_round_up (plan->l1_entries * 8, SECTOR);
  return true;
}

bool
qcow_check_create (const VpCreateOptions *options, GError **error)
{
  Plan plan = { 0 };
  return make_plan (options, &plan, error);
}

bool
qcow_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  Plan plan = { 0 };
  if (!make_plan (options, &plan, error))
    return false;
  size_t len = (size_t) plan.header.l1_offset;
  g_autofree uint8_t *head = g_malloc0 (len);
  vp_layout_store (&qcow_header_layout, &plan.header, head, len);
  if (options->backing_name)
    memcpy (head + plan.header.backing_offset, options->backing_name,
            plan.header.backing_len);
  /* A device still holds what was on it before. */
  if (file->is_device ? !vp_file_zero (file, 0, plan.length, true, error)
                      : !vp_file_truncate (file, plan.length, error))
    return false;
  return vp_file_write (file, 0, head, len, error);
}

bool
qcow_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                GError **error)
{
  Plan plan = { 0 };
  VpCreateOptions wanted = *options;
  /* Of a disk without a sector there is no image, but a size. */
  wanted.size = MAX (wanted.size, 1);
  if (!make_plan (&wanted, &plan, error))
    return false;
  uint64_t table =
      vp_round_up (UINT64_C (8) << plan.header.l2_bits, plan.cluster_size);
  ret_print->unit = plan.cluster_size;
  ret_print->overhead =
      vp_round_up (plan.length, plan.cluster_size) + plan.l1_entries * table;
  return true;
}
