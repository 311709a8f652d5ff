/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-create: a new image, laid out in one go:
 *
 *     header | reftable | refblocks | L1 | (preallocated: L2 tables | data)
 *
 * Everything up to the end is in use once, so that all refcounts are 1. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

#define DEFAULT_CLUSTER_SIZE (UINT64_C (64) << 10)
#define BUFFER_SIZE          ((size_t) 1 << 20)

typedef struct {
  uint64_t cluster_size;
  unsigned cluster_bits, version, refcount_order;
  uint64_t size;
  uint64_t l1_entries;
  uint64_t clusters; /* of the guest, that L2 names */
  /* Clusters. */
  uint64_t reftable, refblocks, l1, luks, l2, data, total;
  bool mapped; /* preallocated */
  bool extended, external;
  Qcow2CryptPlan crypt;
} Plan;

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
check_options (const VpCreateOptions *options, const Plan *plan, GError **error)
{
  uint64_t cluster_size = plan->cluster_size;
  if (cluster_size < UINT64_C (1) << QCOW2_MIN_CLUSTER ||
      cluster_size > UINT64_C (1) << QCOW2_MAX_CLUSTER ||
      cluster_size & (cluster_size - 1))
    return usage (error, "Cluster size must be a power of two between 512 and "
                         "2048k");
  unsigned bits = options->refcount_bits ? options->refcount_bits : 16;
  if (bits > 64 || bits & (bits - 1))
    return usage (error, "Refcount width must be a power of two and may not "
                         "exceed 64 bits");
  if (plan->version < 3 && bits != 16)
    return usage (error, "Different refcount widths than 16 bits require "
                         "compatibility level 1.1 or above (use version=v3 or "
                         "greater)");
  if (plan->version < 3 && options->lazy_refcounts)
    return usage (error, "Lazy refcounts only supported with compatibility "
                         "level 1.1 and above (use version=v3 or greater)");
  if (plan->version < 3 && options->zstd)
    return usage (error, "Non-zlib compression type is only supported with "
                         "compatibility level 1.1 and above (use version=v3 "
                         "or greater)");
  if (plan->version < 3 && options->extended_l2)
    return usage (error, "Extended L2 entries are only supported with "
                         "compatibility level 1.1 and above (use version=v3 "
                         "or greater)");
  if (options->extended_l2 && cluster_size < UINT64_C (1) << QCOW2_MIN_EXTENDED)
    return usage (error, "Extended L2 entries are only supported with cluster "
                         "sizes of at least 16384 bytes");
  if (options->data_file_raw && !options->data_name)
    return usage (error, "data-file-raw requires data-file");
  if (options->data_file_raw && options->backing_name)
    return usage (error, "Backing file and data-file-raw cannot be used at "
                         "the same time");
  if (plan->version < 3 && options->data_name)
    return usage (error, "External data files are only supported with "
                         "compatibility level 1.1 and above (use version=v3 "
                         "or greater)");
  if (options->data_name && strlen (options->data_name) > VP_MAX_NAME_LEN)
    return usage (error, "the name of the data file is too long");
  if (options->backing_name && !options->extended_l2 &&
      options->preallocation != VP_PREALLOCATION_OFF)
    return usage (error, "Backing file and preallocation can only be used at "
                         "the same time if extended_l2 is on");
  return true;
}

/* Places that were never written decrypt to noise; an entry can say that they
 * are zero in version 3 only. */
static bool
check_crypt (const VpCreateOptions *options, const Plan *plan, GError **error)
{
  if (!plan->crypt.method)
    return true;
  if (options->data_file_raw)
    return usage (error, "Encryption cannot be combined with data_file_raw: "
                         "the data file would not read as the disk does");
  return !plan->mapped || plan->version >= 3 ||
         usage (error, "Preallocation of encrypted images requires "
                       "compatibility level 1.1 or above (use version=v3 or "
                       "greater)");
}

static uint64_t
luks_offset (const Plan *plan)
{
  return (1 + plan->reftable + plan->refblocks + plan->l1) * plan->cluster_size;
}

static bool
make_plan (const VpCreateOptions *options, Plan *plan, GError **error)
{
  plan->cluster_size =
      options->cluster_size ? options->cluster_size : DEFAULT_CLUSTER_SIZE;
  plan->version = options->compat ? options->compat : 3;
  /* The data file may be changed without a look at our tables, so these name
   * all of it from the beginning. */
  plan->mapped =
      options->preallocation != VP_PREALLOCATION_OFF || options->data_file_raw;
  plan->external = options->data_name != NULL;
  if (!check_options (options, plan, error) ||
      !qcow2_plan_crypt (options, &plan->crypt, error) ||
      !check_crypt (options, plan, error))
    return false;
  plan->cluster_bits = (unsigned) __builtin_ctzll (plan->cluster_size);
  plan->refcount_order = options->refcount_bits
                             ? (unsigned) __builtin_ctz (options->refcount_bits)
                             : 4;
  plan->size = vp_round_up (options->size, 512);
  plan->extended = options->extended_l2;
  uint64_t per_table = plan->cluster_size / 8;
  uint64_t per_l2 = per_table / (plan->extended ? 2 : 1);
  uint64_t clusters = divide_up (plan->size, plan->cluster_size);
  plan->l1_entries = divide_up (clusters, per_l2);
  if (plan->l1_entries * 8 > VP_MAX_TABLE_SIZE)
    return usage (error, "The image size is too large for file format 'qcow2' "
                         "(try using a larger cluster size)");
  plan->l1 = divide_up (plan->l1_entries * 8, plan->cluster_size);
  plan->l2 = plan->mapped ? plan->l1_entries : 0;
  plan->clusters = plan->mapped ? clusters : 0;
  plan->data = plan->external ? 0 : plan->clusters;
  plan->luks = divide_up (plan->crypt.header_length, plan->cluster_size);

  /* The counters count themselves too: a fixed point. */
  uint64_t per_block = plan->cluster_size * 8 >> plan->refcount_order;
  uint64_t rest = 1 + plan->l1 + plan->luks + plan->l2 + plan->data;
  plan->reftable = plan->refblocks = 1;
  for (;;) {
    plan->total = rest + plan->reftable + plan->refblocks;
    uint64_t blocks = divide_up (plan->total, per_block);
    uint64_t table = divide_up (blocks, per_table);
    if (blocks <= plan->refblocks && table <= plan->reftable)
      break;
    plan->refblocks = MAX (plan->refblocks, blocks);
    plan->reftable = MAX (plan->reftable, table);
  }
  if (plan->reftable * plan->cluster_size > VP_MAX_REFTABLE_SIZE)
    return usage (error, "The image is too large to be preallocated with this "
                         "cluster size");
  return true;
}

/* ---- the header cluster ------------------------------------------------- */

static bool
fill_head (const Plan *plan, const VpCreateOptions *options, uint8_t *head,
           GError **error)
{
  uint64_t cs = plan->cluster_size;
  uint64_t l1_offset = (1 + plan->reftable + plan->refblocks) * cs;
  Qcow2Header h = { .magic = QCOW2_MAGIC,
                    .version = plan->version,
                    .cluster_bits = plan->cluster_bits,
                    .size = plan->size,
                    .l1_entries = (uint32_t) plan->l1_entries,
                    .l1_offset = plan->l1_entries ? l1_offset : 0,
                    .reftable_offset = cs,
                    .reftable_clusters = (uint32_t) plan->reftable,
                    .crypt_method = plan->crypt.method,
                    .refcount_order = plan->refcount_order,
                    .header_length = QCOW2_HEADER_OURS,
                    .compression_type = options->zstd };
  if (options->zstd)
    h.incompatible |= QCOW2_INCOMPATIBLE_COMPRESSION;
  if (options->extended_l2)
    h.incompatible |= QCOW2_INCOMPATIBLE_EXTENDED_L2;
  if (options->data_name)
    h.incompatible |= QCOW2_INCOMPATIBLE_DATA_FILE;
  if (options->data_file_raw)
    h.autoclear |= QCOW2_AUTOCLEAR_RAW_DATA;
  if (options->lazy_refcounts)
    h.compatible |= QCOW2_COMPATIBLE_LAZY;

  g_autoptr (GPtrArray) extensions = qcow2_extensions_new ();
  if (options->backing_format)
    qcow2_extensions_set (extensions, QCOW2_EXT_BACKING_FORMAT,
                          options->backing_format,
                          strlen (options->backing_format));
  if (options->data_name)
    qcow2_extensions_set (extensions, QCOW2_EXT_DATA_FILE, options->data_name,
                          strlen (options->data_name));
  if (plan->luks > 0) {
    uint8_t where[16];
    vp_be64_set (where, luks_offset (plan));
    vp_be64_set (where + 8, plan->crypt.header_length);
    qcow2_extensions_set (extensions, QCOW2_EXT_CRYPTO, where, sizeof where);
  }
  /* QEMU leaves them out of clusters that are this small. */
  if (plan->version >= 3 && plan->cluster_size > 4096)
    qcow2_extensions_name_features (extensions);
  return qcow2_pack_head (&h, extensions, options->backing_name, head,
                          (size_t) cs) ||
         usage (error, "the name of the backing file does not fit into the "
                       "first cluster");
}

/* ---- tables ------------------------------------------------------------- */

/* Whole clusters, as many as go into a reasonable buffer. */
static size_t
buffer_size (const Plan *plan)
{
  return MAX ((size_t) plan->cluster_size, BUFFER_SIZE);
}

static bool
put (VpFile *file, uint64_t *offset, const Plan *plan, const uint8_t *buffer,
     size_t used, GError **error)
{
  size_t len = (size_t) vp_round_up (used, plan->cluster_size);
  bool ok = vp_file_write (file, *offset, buffer, len, error);
  *offset += len;
  return ok;
}

/* With subclusters a bitmap behind the pointer says what is zero. */
static void
set_pointer (uint8_t *entry, uint64_t offset, uint64_t flags, size_t width)
{
  if (width == 16 && flags & QCOW2_ZERO) {
    vp_be64_set (entry + 8, UINT64_C (0xffffffff) << 32);
    flags &= ~QCOW2_ZERO;
  }
  vp_be64_set (entry, offset | flags);
}

/* n pointers to clusters in a row, width bytes each, spread over whole
 * clusters. */
static bool
write_pointers (VpFile *file, const Plan *plan, uint64_t offset, uint64_t n,
                uint64_t first, uint64_t flags, size_t width, GError **error)
{
  uint64_t cs = plan->cluster_size;
  size_t size = buffer_size (plan);
  g_autofree uint8_t *buffer = g_malloc0 (size);
  for (uint64_t done = 0; done < n;) {
    size_t used = (size_t) MIN (size / width, n - done) * width;
    /* The last one is followed by zeros. */
    if (used < size)
      memset (buffer + used, 0, size - used);
    for (size_t at = 0; at < used; at += width, done++)
      set_pointer (buffer + at, (first + done) * cs, flags, width);
    if (!put (file, &offset, plan, buffer, used, error))
      return false;
  }
  return true;
}

/* Each cluster is in use once. */
static bool
write_refblocks (VpFile *file, const Plan *plan, GError **error)
{
  unsigned order = plan->refcount_order;
  uint64_t offset = (1 + plan->reftable) * plan->cluster_size;
  size_t size = buffer_size (plan);
  uint64_t per_buffer = (uint64_t) size * 8 >> order;
  g_autofree uint8_t *buffer = g_malloc0 (size);
  for (uint64_t i = 0; i < MIN (per_buffer, plan->total); i++)
    qcow2_entry_set (buffer, order, i, 1);
  for (uint64_t done = 0; done < plan->total; done += per_buffer) {
    uint64_t count = MIN (per_buffer, plan->total - done);
    for (uint64_t i = count; done > 0 && i < per_buffer; i++)
      qcow2_entry_set (buffer, order, i, 0);
    if (!put (file, &offset, plan, buffer,
              (size_t) (((count << order) + 7) / 8), error))
      return false;
  }
  return true;
}

static bool
write_tables (VpFile *file, const Plan *plan, GError **error)
{
  uint64_t cs = plan->cluster_size, cluster = 1;
  /* Only blocks that have something to count. */
  uint64_t blocks =
      divide_up (plan->total, plan->cluster_size * 8 >> plan->refcount_order);
  uint64_t refblocks = cluster + plan->reftable;
  if (!write_pointers (file, plan, cluster * cs, blocks, refblocks, 0, 8,
                       error) ||
      !write_refblocks (file, plan, error))
    return false;
  if (!plan->mapped)
    return true;
  uint64_t l1 = refblocks + plan->refblocks, l2 = l1 + plan->l1 + plan->luks;
  /* Extended entries say it by holding no subcluster. */
  bool hidden = plan->crypt.method && !plan->extended;
  uint64_t zero = hidden ? QCOW2_ZERO : 0;
  return write_pointers (file, plan, l1 * cs, plan->l2, l2, QCOW2_COPIED, 8,
                         error) &&
         write_pointers (file, plan, l2 * cs, plan->clusters,
                         plan->external ? 0 : l2 + plan->l2,
                         QCOW2_COPIED | zero, plan->extended ? 16 : 8, error);
}

/* Space for the guest's bytes, in the image or in the data file. */
static bool
preallocate (VpFile *file, uint64_t offset, uint64_t length,
             VpPreallocation preallocation, GError **error)
{
  switch (preallocation) {
  case VP_PREALLOCATION_FALLOC:
    return vp_file_allocate (file, offset, length, error);
  case VP_PREALLOCATION_FULL:
    return vp_file_zero (file, offset, length, false, error);
  case VP_PREALLOCATION_OFF:
  case VP_PREALLOCATION_METADATA:
  default: return true;
  }
}

static bool
prepare_data_file (const Plan *plan, const VpCreateOptions *options,
                   GError **error)
{
  VpFile *data = options->data_file;
  g_return_val_if_fail (data, false);
  if (data->is_device) {
    if (!vp_file_zero (data, 0, plan->size, true, error))
      return false;
  } else if (!vp_file_truncate (data, 0, error) ||
             !vp_file_truncate (data, plan->size, error))
    return false;
  return preallocate (data, 0, plan->size, options->preallocation, error);
}

bool
qcow2_check_create (const VpCreateOptions *options, GError **error)
{
  Plan plan = { 0 };
  if (!make_plan (options, &plan, error))
    return false;
  g_autofree uint8_t *head = g_malloc0 ((size_t) plan.cluster_size);
  return fill_head (&plan, options, head, error);
}

bool
qcow2_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  Plan plan = { 0 };
  if (!make_plan (options, &plan, error))
    return false;
  uint64_t cs = plan.cluster_size, metadata = plan.total - plan.data;
  /* Where the last table ends, as QEMU has it. */
  uint64_t end = plan.mapped || plan.luks > 0
                     ? plan.total * cs
                     : (plan.total - plan.l1) * cs + plan.l1_entries * 8;
  g_autofree uint8_t *head = g_malloc0 ((size_t) cs);
  if (!fill_head (&plan, options, head, error) ||
      !vp_file_truncate (file, end, error))
    return false;
  /* A device still holds what was on it before. */
  if (file->is_device && !vp_file_zero (file, 0, plan.total * cs, true, error))
    return false;
  if (!write_tables (file, &plan, error) ||
      (plan.luks > 0 &&
       !vp_luks_format (file, luks_offset (&plan), &plan.crypt.luks,
                        plan.crypt.key, error)) ||
      (plan.external && !prepare_data_file (&plan, options, error)) ||
      !preallocate (file, metadata * cs, plan.data * cs, options->preallocation,
                    error))
    return false;
  /* The header last: until then the file is no image. */
  return vp_file_write (file, 0, head, (size_t) cs, error);
}
