/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2: the header: opening, facts, and the driver's row in the table.
 *
 * Nothing of the header is believed before it is checked; tables are bounded
 * by a constant before memory is asked for.  What the specification calls an
 * incompatible feature is refused by name where we do not have it. */
#include "config.h"

#include "storage/qcow2.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"

#define CACHE_SIZE ((size_t) 16 << 20)

/* The specification's "Header", in its order. */
#define FIELD(member, offset) VP_FIELD_BE (Qcow2Header, member, offset)
static const VpField header_fields[] = {
  FIELD (magic, 0),
  FIELD (version, 4),
  FIELD (backing_offset, 8),
  FIELD (backing_len, 16),
  FIELD (cluster_bits, 20),
  FIELD (size, 24),
  FIELD (crypt_method, 32),
  FIELD (l1_entries, 36),
  FIELD (l1_offset, 40),
  FIELD (reftable_offset, 48),
  FIELD (reftable_clusters, 56),
  FIELD (n_snapshots, 60),
  FIELD (snapshots_offset, 64),
  FIELD (incompatible, 72), /* from here on version 3 */
  FIELD (compatible, 80),
  FIELD (autoclear, 88),
  FIELD (refcount_order, 96),
  FIELD (header_length, 100),
  FIELD (compression_type, 104),
};
#undef FIELD
const VpLayout qcow2_header_layout = { header_fields,
                                       G_N_ELEMENTS (header_fields) };

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

static bool
unsupported (Qcow2 *q, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: %s not supported", q->file->name, what);
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

static bool
check_table (Qcow2 *q, const char *what, uint64_t offset, uint64_t length,
             GError **error)
{
  if (offset & (q->cluster_size - 1) ||
      !vp_range_ok (offset, length, QCOW2_MAX_OFFSET))
    return qcow2_corrupt (q, error,
                          "%s offset invalid (0x%" G_GINT64_MODIFIER "x)", what,
                          offset);
  return true;
}

static bool
check_geometry (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  if (h->cluster_bits < QCOW2_MIN_CLUSTER ||
      h->cluster_bits > QCOW2_MAX_CLUSTER)
    return qcow2_corrupt (q, error, "Unsupported cluster size: 2^%" PRIu32,
                          h->cluster_bits);
  q->cluster_size = UINT64_C (1) << h->cluster_bits;
  q->l2_bits = h->cluster_bits - 3;
  if (h->version >= 3 &&
      (h->header_length < QCOW2_HEADER_V3 || h->header_length % 8 != 0))
    return qcow2_corrupt (q, error, "qcow2 header too short");
  if (h->header_length > q->cluster_size)
    return qcow2_corrupt (q, error, "qcow2 header exceeds cluster size");
  if (h->refcount_order > 6)
    return qcow2_corrupt (q, error, "Reference count entry width too large");
  q->refblock_bits = h->cluster_bits + 3 - h->refcount_order;
  if (h->size > VP_MAX_VIRTUAL_SIZE)
    return qcow2_corrupt (q, error, "the virtual size is too large");
  return true;
}

/* The name that the image itself has for a bit, or its number. */
static char *
feature_name (const uint8_t *head, size_t len, uint64_t start, unsigned bit)
{
  for (uint64_t at = start; vp_range_ok (at, 8, len);) {
    uint32_t type = vp_be32_get (head + at);
    uint32_t ext_len = vp_be32_get (head + at + 4);
    at += 8;
    if (type == QCOW2_EXT_END || !vp_range_ok (at, ext_len, len))
      break;
    for (uint32_t i = 0; type == QCOW2_EXT_FEATURES && i + 48 <= ext_len;
         i += 48)
      if (head[at + i] == 0 && head[at + i + 1] == bit) {
        g_autofree char *raw = g_strndup ((char *) head + at + i + 2, 46);
        return g_strescape (raw, NULL);
      }
    at += vp_round_up (ext_len, 8);
  }
  return g_strdup_printf ("bit %u", bit);
}

static bool
check_features (Qcow2 *q, const uint8_t *head, size_t len, GError **error)
{
  const Qcow2Header *h = &q->header;
  uint64_t known = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT |
                   QCOW2_INCOMPATIBLE_COMPRESSION |
                   QCOW2_INCOMPATIBLE_DATA_FILE |
                   QCOW2_INCOMPATIBLE_EXTENDED_L2;
  uint64_t unknown = h->incompatible & ~known;
  if (unknown) {
    g_autofree char *name = feature_name (head, len, h->header_length,
                                          (unsigned) __builtin_ctzll (unknown));
    g_autofree char *what = g_strdup_printf (
        "incompatible feature \"%s\" (0x%" G_GINT64_MODIFIER "x) is", name,
        unknown);
    return unsupported (q, error, what);
  }
  if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
    return unsupported (q, error, "an external data file is");
  if (h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2)
    return unsupported (q, error, "extended L2 entries are");
  if (h->crypt_method > 2)
    return qcow2_corrupt (q, error, "Unsupported encryption method %" PRIu32,
                          h->crypt_method);
  if (h->crypt_method)
    return unsupported (q, error,
                        h->crypt_method == 1 ? "AES encryption is"
                                             : "LUKS encryption is");
  bool marked = h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION;
  if (h->compression_type > 1)
    return unsupported (q, error, "this compression type is");
  if (marked != (h->compression_type != 0))
    return qcow2_corrupt (q, error,
                          "the compression type does not go with its feature "
                          "bit");
  return true;
}

static bool
load_extension (Qcow2 *q, uint32_t type, const uint8_t *data, uint32_t len,
                GError **error)
{
  switch (type) {
  case QCOW2_EXT_BACKING_FORMAT:
    if (len > 15 || memchr (data, 0, len))
      return qcow2_corrupt (q, error, "the backing format's name is invalid");
    g_free (q->backing_format);
    q->backing_format = g_strndup ((const char *) data, len);
    return true;
  case QCOW2_EXT_BITMAPS:
    if (len < 24)
      return qcow2_corrupt (q, error, "the bitmaps extension is too short");
    q->n_bitmaps = vp_be32_get (data);
    q->bitmaps_size = vp_be64_get (data + 8);
    q->bitmaps_offset = vp_be64_get (data + 16);
    return true;
  default: /* "Extensions that are not recognized must be ignored" */
    return true;
  }
}

static bool
load_extensions (Qcow2 *q, const uint8_t *head, size_t len, GError **error)
{
  uint64_t end =
      q->header.backing_offset ? q->header.backing_offset : q->cluster_size;
  end = MIN (end, len);
  for (uint64_t at = q->header.header_length; vp_range_ok (at, 8, end);) {
    uint32_t type = vp_be32_get (head + at);
    uint32_t ext_len = vp_be32_get (head + at + 4);
    at += 8;
    if (type == QCOW2_EXT_END)
      return true;
    if (!vp_range_ok (at, ext_len, end))
      return qcow2_corrupt (q, error, "Header extension too large");
    if (!load_extension (q, type, head + at, ext_len, error))
      return false;
    at += vp_round_up (ext_len, 8);
  }
  return true;
}

static bool
load_backing (Qcow2 *q, const uint8_t *head, size_t len, GError **error)
{
  const Qcow2Header *h = &q->header;
  if (h->backing_offset == 0)
    return true;
  if (h->backing_offset < QCOW2_HEADER_V2 || h->backing_offset > len)
    return qcow2_corrupt (q, error, "Invalid backing file offset");
  if (h->backing_len == 0)
    return true;
  if (h->backing_len > VP_MAX_NAME_LEN ||
      !vp_range_ok (h->backing_offset, h->backing_len, len))
    return qcow2_corrupt (q, error, "Backing file name too long");
  const uint8_t *name = head + h->backing_offset;
  if (memchr (name, 0, h->backing_len))
    return qcow2_corrupt (q, error, "the backing file's name holds a NUL");
  q->backing_name = g_strndup ((const char *) name, h->backing_len);
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

static bool
load_header (Qcow2 *q, GError **error)
{
  uint8_t start[QCOW2_HEADER_OURS];
  if (!vp_file_get_size (q->file, &q->file_end, error) ||
      !vp_file_read (q->file, 0, start, sizeof start, error))
    return false;
  Qcow2Header *h = &q->header;
  vp_layout_load (&qcow2_header_layout, start, QCOW2_HEADER_V2, h);
  if (q->file_end < QCOW2_HEADER_V2)
    return qcow2_corrupt (q, error, "Could not read qcow2 header: too short");
  if (h->magic != QCOW2_MAGIC)
    return qcow2_corrupt (q, error, "Image is not in qcow2 format");
  if (h->version < 2 || h->version > 3)
    return qcow2_corrupt (q, error, "Unsupported qcow2 version %" PRIu32,
                          h->version);
  if (h->version == 3) {
    if (q->file_end < QCOW2_HEADER_V3)
      return qcow2_corrupt (q, error, "qcow2 header too short");
    vp_layout_load (&qcow2_header_layout, start, sizeof start, h);
    if (h->header_length <= QCOW2_HEADER_V3)
      h->compression_type = 0;
  } else {
    h->header_length = QCOW2_HEADER_V2;
    h->refcount_order = 4;
  }
  if (!check_geometry (q, error))
    return false;

  size_t len = (size_t) q->cluster_size;
  g_autofree uint8_t *head = g_malloc (len);
  return vp_file_read (q->file, 0, head, len, error) &&
         check_features (q, head, len, error) &&
         load_backing (q, head, len, error) &&
         load_extensions (q, head, len, error) && load_tables (q, error) &&
         qcow2_load_snapshots (q, error);
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
                uint64_t entries, GError **error)
{
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t offset = vp_be64_get (table + 8 * i) & QCOW2_OFFSET_MASK;
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
                       q->reftable_entries, error))
    return false;
  if (h->l1_entries > 0 &&
      (!claim_table (q, "the L1 table", h->l1_offset,
                     (uint64_t) h->l1_entries * 8, error) ||
       !claim_pointers (q, "an L2 table", qcow2_l1 (q), h->l1_entries, error)))
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
  /* We do not keep bitmaps up to date, so they stop being valid as well. */
  uint64_t kept = q->header.autoclear & known & ~QCOW2_AUTOCLEAR_BITMAPS;
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
  g_clear_pointer (&q->snapshots, g_ptr_array_unref);
  g_free (q->backing_name);
  g_free (q->backing_format);
  g_free (q->data_file);
  qcow2_free_codecs (q);
  g_free (q);
}

static bool
qcow2_open (VpFile *file, VpDriverFlags flags, gpointer *ret_state,
            GError **error)
{
  Qcow2 *q = g_new0 (Qcow2, 1);
  q->file = file;
  q->writable = flags & VP_DRIVER_WRITABLE;
  q->lenient = flags & VP_DRIVER_CHECK;
  q->snapshots = g_ptr_array_new_with_free_func (qcow2_snapshot_free);
  q->tables = vp_tables_new (file, CACHE_SIZE, !(flags & VP_DRIVER_UNORDERED),
                             qcow2_release, q);
  if (!load_header (q, error) || (q->writable && !prepare_writing (q, error))) {
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

static bool
qcow2_info (gpointer state, VpImageInfo *info, GError **error)
{
  Qcow2 *q = state;
  info->cluster_size = q->cluster_size;
  info->backing_name = g_strdup (q->backing_name);
  info->backing_format = g_strdup (q->backing_format);
  info->compat = q->header.version == 2 ? "0.10" : "1.1";
  info->compression_type = q->header.compression_type ? "zstd" : "zlib";
  info->refcount_bits = 1u << q->header.refcount_order;
  info->lazy_refcounts = q->header.compatible & QCOW2_COMPATIBLE_LAZY;
  info->dirty = q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY;
  info->corrupt = q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
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

static bool
qcow2_flush (gpointer state, GError **error)
{
  Qcow2 *q = state;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  if (!vp_tables_flush (q->tables, error))
    return false;
  /* What was freed is counted down only now; a cut before the second round
   * leaks it. */
  return !vp_tables_is_dirty (q->tables) || vp_tables_flush (q->tables, error);
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
  { "extended_l2", "Extended L2 tables (only off yet)" },
  { "encryption", "Encrypt the image (only off yet)" },
  { NULL, NULL },
};

const VpFormat vp_format_qcow2 = {
  .name = "qcow2",
  .options = qcow2_options,
  .header = &qcow2_header_layout,
  .supports_backing = true,
  .probe = qcow2_probe,
  .create = qcow2_create,
  .open = qcow2_open,
  .close = qcow2_close,
  .get_size = qcow2_get_size,
  .info = qcow2_info,
  .backing = qcow2_backing,
  .map = qcow2_map,
  .read_compressed = qcow2_read_compressed,
  .reserve = qcow2_reserve,
  .link = qcow2_link,
  .unreserve = qcow2_unreserve,
  .zero = qcow2_zero,
  .discard = qcow2_discard,
  .flush = qcow2_flush,
  .extend = qcow2_extend,
  .resize = qcow2_resize,
  .check = qcow2_check,
};
