/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2: opening, facts, and the driver's row in the table.  Tables are
 * bounded by a constant before memory is asked for. */
#include "config.h"

#include "storage/qcow2.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/qcow2-bitmap.h"

#define CACHE_SIZE ((size_t) 16 << 20)

/* ---- errors ------------------------------------------------------------- */

bool
qcow2_corrupt (Qcow2 *q, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               q->file->name, message);
  return false;
}

void
qcow2_mark_corrupt (Qcow2 *q)
{
  if (q->broken)
    return;
  q->broken = true;
  if (q->header.version < 3)
    return;
  q->header.incompatible |= QCOW2_INCOMPATIBLE_CORRUPT;
  uint8_t bits[8];
  vp_be64_set (bits, q->header.incompatible);
  /* We are failing already; the caller's error is the one that counts. */
  (void) (vp_file_write (q->file, 72, bits, sizeof bits, NULL) &&
          vp_file_flush (q->file, NULL));
}

/* ---- blocks ------------------------------------------------------------- */

bool
qcow2_store_cell (Qcow2 *q, uint64_t offset, size_t len, unsigned order,
                  GError **error)
{
  uint8_t header[QCOW2_HEADER_OURS] = { 0 };
  vp_layout_store (&qcow2_header_layout, &q->header, header, sizeof header);
  uint8_t *cell = vp_tables_load (q->tables, offset, len, error);
  if (!cell)
    return false;
  memcpy (cell, header + offset, len);
  vp_tables_dirty (q->tables, offset, 0, len, order);
  return true;
}

/* Pinned at open, so neither reads nor fails. */
uint8_t *
qcow2_l1 (Qcow2 *q)
{
  return vp_tables_load (q->tables, q->header.l1_offset,
                         (size_t) q->header.l1_entries * 8, NULL);
}

uint8_t *
qcow2_reftable (Qcow2 *q)
{
  return vp_tables_load (q->tables, q->header.reftable_offset,
                         (size_t) q->reftable_entries * 8, NULL);
}

bool
qcow2_check_overlap (Qcow2 *q, uint64_t offset, uint64_t length, GError **error)
{
  if (!vp_cluster_set_meets (q->metadata, offset >> q->header.cluster_bits,
                             length >> q->header.cluster_bits))
    return true;
  qcow2_mark_corrupt (q);
  return qcow2_corrupt (q, error,
                        "a write at 0x%" G_GINT64_MODIFIER
                        "x would hit metadata; marked as corrupt",
                        offset);
}

bool
qcow2_note_metadata (Qcow2 *q, uint64_t offset, uint64_t length, GError **error)
{
  uint64_t count =
      vp_round_up (length, q->cluster_size) >> q->header.cluster_bits;
  if (vp_cluster_set_add (q->metadata, offset >> q->header.cluster_bits, count))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: its tables are scattered too widely to write to it",
               q->file->name);
  return false;
}

/* ---- opening ------------------------------------------------------------ */

/* A short file with long tables is after our memory. */
static bool
check_table (Qcow2 *q, const char *what, uint64_t offset, uint64_t length,
             GError **error)
{
  if (length > MAX (q->file_end, q->cluster_size) && !q->lenient)
    return qcow2_corrupt (q, error, "%s is longer than the file", what);
  if (offset & (q->cluster_size - 1) ||
      !vp_range_ok (offset, length, QCOW2_MAX_OFFSET))
    return qcow2_corrupt (q, error, "%s offset invalid", what);
  return true;
}

/* L1 and the reftable stay in memory, bounded by a constant. */
static bool
load_tables (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t needed = h->size / reach + (h->size % reach != 0);
  uint64_t l1_length = (uint64_t) h->l1_entries * 8;
  if (l1_length > VP_MAX_TABLE_SIZE)
    return qcow2_corrupt (q, error, "Active L1 table too large");
  if (h->l1_entries < needed)
    return qcow2_corrupt (q, error, "L1 table is too small");
  if (h->l1_entries > 0 &&
      (!check_table (q, "Active L1 table", h->l1_offset, l1_length, error)))
    return false;
  if (h->l1_entries > 0 && h->l1_offset == 0)
    return qcow2_corrupt (q, error, "Active L1 table offset invalid");

  uint64_t length = (uint64_t) h->reftable_clusters << h->cluster_bits;
  if (h->reftable_clusters == 0)
    return qcow2_corrupt (q, error, "there is no reference count table");
  if (length > VP_MAX_REFTABLE_SIZE)
    return qcow2_corrupt (q, error,
                          "Image does not contain a valid reference "
                          "count table: too large");
  if (h->reftable_offset == 0 || h->reftable_offset == h->l1_offset)
    return qcow2_corrupt (q, error, "Reference count table offset invalid");
  if (!check_table (q, "Reference count table", h->reftable_offset, length,
                    error))
    return false;
  q->reftable_entries = length / 8;
  if (!vp_tables_load (q->tables, h->reftable_offset, (size_t) length, error))
    return false;
  vp_tables_pin (q->tables, h->reftable_offset);
  if (h->l1_entries == 0)
    return true;
  if (!vp_tables_load (q->tables, h->l1_offset, (size_t) l1_length, error))
    return false;
  vp_tables_pin (q->tables, h->l1_offset);
  return true;
}

/* ---- writing ------------------------------------------------------------ */

/* Tables that overlap, or that nobody counts, would be overwritten sooner or
 * later: such an image is not opened for writing. */
static bool
claim_table (Qcow2 *q, const char *what, uint64_t offset, uint64_t length,
             GError **error)
{
  uint64_t first = offset >> q->header.cluster_bits, refcount;
  uint64_t count =
      vp_round_up (length, q->cluster_size) >> q->header.cluster_bits;
  if (offset & (q->cluster_size - 1) ||
      !vp_range_ok (offset, length, QCOW2_MAX_OFFSET))
    return qcow2_corrupt (
        q, error, "%s is misplaced (0x%" G_GINT64_MODIFIER "x); check it first",
        what, offset);
  if (offset + length > vp_round_up (q->file_end, q->cluster_size))
    return qcow2_corrupt (
        q, error,
        "%s lies past the end of the file (0x%" G_GINT64_MODIFIER
        "x); check it first",
        what, offset);
  if (vp_cluster_set_meets (q->metadata, first, count))
    return qcow2_corrupt (q, error,
                          "%s at 0x%" G_GINT64_MODIFIER
                          "x overlaps other metadata; check it first",
                          what, offset);
  if (!qcow2_get_refcount (q, first, &refcount, error))
    return false;
  if (refcount == 0)
    return qcow2_corrupt (q, error,
                          "%s at 0x%" G_GINT64_MODIFIER
                          "x has refcount 0; check it first",
                          what, offset);
  return qcow2_note_metadata (q, offset, length, error);
}

static bool
claim_pointers (Qcow2 *q, const char *what, const uint8_t *table,
                uint64_t entries, bool is_l1, GError **error)
{
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t raw = vp_be64_get (table + 8 * i);
    uint64_t offset = raw & QCOW2_OFFSET_MASK;
    bool taken =
        vp_cluster_set_meets (q->metadata, offset >> q->header.cluster_bits, 1);
    /* An L2 table that is not ours alone is never written in place: it may be
     * anybody's, as after the repair of one that two entries lead to. */
    if (is_l1 && taken && !(raw & QCOW2_COPIED))
      continue;
    if (offset && !claim_table (q, what, offset, q->cluster_size, error))
      return false;
    if (i % 1024 == 0 && !vp_tables_trim (q->tables, error))
      return false;
  }
  return true;
}

static bool
claim_all (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  if (!claim_table (q, "the header", 0, q->cluster_size, error) ||
      !claim_table (q, "the refcount table", h->reftable_offset,
                    q->reftable_entries * 8, error) ||
      !claim_pointers (q, "a refcount block", qcow2_reftable (q),
                       q->reftable_entries, false, error))
    return false;
  if (h->l1_entries > 0 &&
      (!claim_table (q, "the L1 table", h->l1_offset,
                     (uint64_t) h->l1_entries * 8, error) ||
       !claim_pointers (q, "an L2 table", qcow2_l1 (q), h->l1_entries, true,
                        error)))
    return false;
  if (q->luks_length > 0 && !claim_table (q, "the LUKS header", q->luks_offset,
                                          q->luks_length, error))
    return false;
  if (h->n_snapshots > 0 &&
      !claim_table (q, "the snapshot table", h->snapshots_offset,
                    q->snapshots_end - h->snapshots_offset, error))
    return false;
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    uint64_t length = (uint64_t) snapshot->l1_entries * 8;
    if (length > VP_MAX_TABLE_SIZE)
      return qcow2_corrupt (q, error,
                            "a snapshot's L1 table is too large; check it "
                            "first");
    if (length > 0 && !claim_table (q, "a snapshot's L1 table",
                                    snapshot->l1_offset, length, error))
      return false;
  }
  return true;
}

/* A bit that we do not know and that says "clear me when you write". */
static bool
clear_unknown (Qcow2 *q, GError **error)
{
  uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_DATA;
  uint64_t kept = q->header.autoclear & known;
  if (q->header.version < 3 || q->header.autoclear == kept)
    return true;
  q->header.autoclear = kept;
  uint8_t bits[8];
  vp_be64_set (bits, kept);
  return vp_file_write (q->file, 88, bits, sizeof bits, error) &&
         vp_file_flush (q->file, error);
}

/* "dirty": refcounts may be behind the tables.  Counted anew before the first
 * write. */
static bool
mend_dirty (Qcow2 *q, GError **error)
{
  VpCheckResult result = { 0 };
  q->lenient = true;
  bool ok = qcow2_check (q, VP_REPAIR_ALL, NULL, &result, error);
  q->lenient = false;
  if (!ok)
    return false;
  if (result.corruptions > 0 || result.check_errors > 0)
    return qcow2_corrupt (q, error, "was not closed well and cannot be mended");
  return true;
}

static bool
prepare_writing (Qcow2 *q, GError **error)
{
  q->metadata = vp_cluster_set_new ();
  q->free_hint = 1;
  if (q->lenient)
    return true;
  if (q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
    return qcow2_corrupt (q, error,
                          "Image is corrupt; cannot be opened read/write");
  if (q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY &&
      !mend_dirty (q, error))
    return false;
  return claim_all (q, error) && clear_unknown (q, error);
}

static void
qcow2_close (gpointer state)
{
  Qcow2 *q = state;
  if (!q)
    return;
  vp_tables_free (q->tables);
  vp_cluster_set_free (q->metadata);
  qcow2_close_crypt (q);
  g_clear_pointer (&q->snapshots, g_ptr_array_unref);
  g_clear_pointer (&q->bitmaps, g_ptr_array_unref);
  g_clear_pointer (&q->bitmaps_removed, g_array_unref);
  g_clear_pointer (&q->extensions, g_ptr_array_unref);
  g_clear_pointer (&q->header_tail, g_bytes_unref);
  g_free (q->backing_name);
  g_free (q->backing_format);
  g_free (q->data_file);
  if (q->external)
    vp_file_unref (q->data);
  g_free (q);
}

static bool
qcow2_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
            gpointer *ret_state, GError **error)
{
  Qcow2 *q = g_new0 (Qcow2, 1);
  q->file = q->data = file;
  q->writable = flags & VP_DRIVER_WRITABLE;
  q->lenient = flags & VP_DRIVER_CHECK;
  q->unordered = flags & VP_DRIVER_UNORDERED;
  q->extensions = qcow2_extensions_new ();
  q->snapshots = g_ptr_array_new_with_free_func (qcow2_snapshot_free);
  q->tables = vp_tables_new (file, CACHE_SIZE, !(flags & VP_DRIVER_UNORDERED),
                             qcow2_release, q);
  if (!qcow2_load_header (q, error) ||
      !qcow2_open_crypt (q, flags, options, error) || !load_tables (q, error) ||
      !qcow2_load_snapshots (q, error) || !qcow2_load_bitmaps (q, error) ||
      (q->writable && !prepare_writing (q, error))) {
    qcow2_close (q);
    return false;
  }
  *ret_state = q;
  return true;
}

/* ---- facts -------------------------------------------------------------- */

static unsigned
qcow2_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  if (len < 8 || vp_be32_get (head) != QCOW2_MAGIC)
    return 0;
  return vp_be32_get (head + 4) >= 2 ? 100 : 0;
}

static uint64_t
qcow2_get_size (gpointer state)
{
  return ((Qcow2 *) state)->header.size;
}

static const char *
qcow2_backing (gpointer state, const char **ret_format)
{
  Qcow2 *q = state;
  *ret_format = q->backing_format;
  return q->backing_name;
}

static void
snapshot_free (gpointer snapshot)
{
  vp_snapshot_free (snapshot);
}

static void
bitmap_facts_free (gpointer facts)
{
  vp_bitmap_facts_free (facts);
}

static bool
qcow2_info (gpointer state, VpImageInfo *info, GError **error)
{
  Qcow2 *q = state;
  info->cluster_size = q->cluster_size;
  info->subcluster_size = qcow2_subcluster_size (q);
  info->extended_l2 = q->extended;
  if (q->external) {
    uint64_t used;
    info->data_file = g_strdup (q->data_file);
    info->data_file_raw = qcow2_is_raw (q);
    if (q->has_data && vp_file_get_used (q->data, &used, NULL))
      info->used_size += used;
  }
  info->backing_name = g_strdup (q->backing_name);
  info->backing_format = g_strdup (q->backing_format);
  info->compat = q->header.version == 2 ? "0.10" : "1.1";
  info->compression_type = q->header.compression_type ? "zstd" : "zlib";
  info->refcount_bits = 1u << q->header.refcount_order;
  info->lazy_refcounts = q->header.compatible & QCOW2_COMPATIBLE_LAZY;
  info->dirty = q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY;
  info->corrupt = q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
  info->bitmaps = g_ptr_array_new_with_free_func (bitmap_facts_free);
  qcow2_list_bitmaps (q, info->bitmaps);
  qcow2_crypt_info (q, info);
  info->snapshots = g_ptr_array_new_with_free_func (snapshot_free);
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *from = g_ptr_array_index (q->snapshots, i);
    VpSnapshot *to = g_memdup2 (from->facts, sizeof *to);
    to->id = g_strdup (to->id);
    to->name = g_strdup (to->name);
    g_ptr_array_add (info->snapshots, to);
  }
  return true;
}

static const VpOption qcow2_options[] = {
  { "size", "Virtual disk size" },
  { "compat", "Compatibility level (v2 [0.10] or v3 [1.1])" },
  { "backing_file", "File name of a base image" },
  { "backing_fmt", "Image format of the base image" },
  { "cluster_size", "qcow2 cluster size" },
  { "preallocation",
    "Preallocation mode (allowed values: off, metadata, falloc, full)" },
  { "lazy_refcounts", "Postpone refcount updates" },
  { "refcount_bits", "Width of a reference count entry in bits" },
  { "compression_type",
    "Compression method used for image cluster compression" },
  { "data_file", "File name of an external data file" },
  { "data_file_raw", "The external data file must stay valid as a raw image" },
  { "extended_l2", "Extended L2 tables" },
  { "encryption", "Encrypt the image with format 'aes'. (Deprecated in favor "
                  "of encrypt.format=aes)" },
  { "encrypt.format", "Encrypt the image, format choices: 'aes', 'luks'" },
  { "encrypt.key-secret",
    "ID of secret providing qcow AES key or LUKS passphrase" },
  { "encrypt.cipher-alg", "Name of encryption cipher algorithm" },
  { "encrypt.cipher-mode", "Name of encryption cipher mode" },
  { "encrypt.ivgen-alg", "Name of IV generator algorithm" },
  { "encrypt.ivgen-hash-alg", "Name of IV generator hash algorithm" },
  { "encrypt.hash-alg", "Name of encryption hash algorithm" },
  { "encrypt.iter-time", "Time to spend in PBKDF in milliseconds" },
  { NULL, NULL },
};

static const VpOption qcow2_amend_options[] = {
  { "backing_file", "File name of a base image" },
  { "backing_fmt", "Image format of the base image" },
  { "compat", "Compatibility level (v2 [0.10] or v3 [1.1])" },
  { "data_file", "File name of an external data file" },
  { "data_file_raw", "The external data file must stay valid as a raw image" },
  { "encrypt.iter-time", "Time to spend in PBKDF in milliseconds" },
  { "encrypt.keyslot", "Select a single keyslot to modify explicitly" },
  { "encrypt.new-secret",
    "New secret to set in the matching keyslots. Empty string to erase" },
  { "encrypt.old-secret", "Select all keyslots that match this password" },
  { "encrypt.state",
    "Select new state of affected keyslots (active/inactive)" },
  { "lazy_refcounts", "Postpone refcount updates" },
  { "refcount_bits", "Width of a reference count entry in bits" },
  { "size", "Virtual disk size" },
  { NULL, NULL },
};

const VpFormat vp_format_qcow2 = {
  .name = "qcow2",
  .options = qcow2_options,
  .header = &qcow2_header_layout,
  .supports_backing = true,
  .probe = qcow2_probe,
  .check_create = qcow2_check_create,
  .create = qcow2_create,
  .footprint = qcow2_footprint,
  .empty = qcow2_empty,
  .open = qcow2_open,
  .close = qcow2_close,
  .get_size = qcow2_get_size,
  .info = qcow2_info,
  .backing = qcow2_backing,
  .map = qcow2_map,
  .packing = qcow2_packing,
  .reserve_packed = qcow2_reserve_packed,
  .link_packed = qcow2_link_packed,
  .reserve = qcow2_reserve,
  .link = qcow2_link,
  .unreserve = qcow2_unreserve,
  .zero = qcow2_zero,
  .discard = qcow2_discard,
  .flush = qcow2_flush_lazily,
  .extend = qcow2_extend,
  .resize = qcow2_resize,
  .shrink = qcow2_shrink,
  .amend_options = qcow2_amend_options,
  .amend = qcow2_amend,
  .set_backing = qcow2_set_backing,
  .expect_backing = qcow2_expect_backing,
  .needs_data_file = qcow2_needs_data_file,
  .set_data_file = qcow2_set_data_file,
  .check = qcow2_check,
  .bitmap_add = qcow2_bitmap_add,
  .bitmap_remove = qcow2_bitmap_remove,
  .bitmap_set_enabled = qcow2_bitmap_set_enabled,
  .bitmap_bits = qcow2_bitmap_bits,
  .settle = qcow2_finish,
  .snapshot_create = qcow2_snapshot_create,
  .snapshot_apply = qcow2_snapshot_apply,
  .snapshot_delete = qcow2_snapshot_delete,
  .snapshot_open = qcow2_snapshot_open,
  .has_holes = qcow2_has_holes,
  .describe = qcow2_describe,
};
