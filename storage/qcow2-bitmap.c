/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-bitmap: persistent bitmaps: which parts of the disk have changed.
 *
 *     extension -> directory: entry ... entry
 *                             |-> table: 0 | 1 | offset -> bits
 *
 * (0: all clear, 1: all set.)  In memory from open on; bits are loaded when
 * they are needed.  Before the first change of the disk every bitmap that
 * records is marked in_use, in place, and that lasts before the data does: a
 * cut leaves bitmaps that say of themselves that they are of no use.  What
 * has changed is stored when the image is closed, in new clusters, and the
 * header's extension moves to the new directory in one step; then the old
 * clusters are freed. */
#include "config.h"

#include "storage/qcow2-bitmap.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"

#define ENTRY_LEN      24u
#define MAX_BITMAPS    65535u
#define MAX_DIRECTORY  ((uint64_t) 1024 * 65535)
#define MAX_BITS_LEN   ((size_t) 64 << 20) /* in memory, each */
#define TYPE_DIRTY     1u
#define TABLE_RESERVED UINT64_C (0xff000000000001fe)

enum { FLAG_IN_USE = 1 << 0, FLAG_AUTO = 1 << 1, FLAG_EXTRA = 1 << 2 };

typedef struct {
  uint64_t table_offset;
  uint32_t table_entries, flags;
  uint8_t type, granularity_bits;
  uint16_t name_len;
  uint32_t extra_len;
} Entry;

#define FIELD(member, offset) VP_FIELD_BE (Entry, member, offset)
static const VpField entry_fields[] = {
  FIELD (table_offset, 0), FIELD (table_entries, 8),     FIELD (flags, 12),
  FIELD (type, 16),        FIELD (granularity_bits, 17), FIELD (name_len, 18),
  FIELD (extra_len, 20),
};
#undef FIELD
static const VpLayout entry_layout = { entry_fields,
                                       G_N_ELEMENTS (entry_fields) };

typedef struct {
  char *name;
  Entry entry;
  GBytes *extra;  /* NULL: none */
  uint64_t at;    /* where its entry stands; 0: nowhere yet */
  VpBitmap *bits; /* NULL: not loaded */
  bool changed;   /* the bits are not what is stored */
  bool marked;    /* in_use by us */
} Bitmap;

void
qcow2_bitmap_free (gpointer data)
{
  Bitmap *bitmap = data;
  g_free (bitmap->name);
  g_clear_pointer (&bitmap->extra, g_bytes_unref);
  vp_bitmap_free (bitmap->bits);
  g_free (bitmap);
}

/* ---- what there is ------------------------------------------------------ */

static bool
is_enabled (const Bitmap *bitmap)
{
  return bitmap->entry.flags & FLAG_AUTO;
}

/* Not stored well by somebody before us. */
static bool
is_broken (const Bitmap *bitmap)
{
  return bitmap->entry.flags & FLAG_IN_USE && !bitmap->marked;
}

/* With data that we do not understand: kept, and never changed. */
static bool
is_foreign (const Bitmap *bitmap)
{
  return bitmap->entry.type != TYPE_DIRTY || bitmap->extra ||
         bitmap->entry.flags & ~(uint32_t) (FLAG_IN_USE | FLAG_AUTO);
}

static Bitmap *
find (Qcow2 *q, const char *name)
{
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    if (strcmp (bitmap->name, name) == 0)
      return bitmap;
  }
  return NULL;
}

static bool usage (GError **error, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static bool
usage (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, text);
  return false;
}

static Bitmap *
need (Qcow2 *q, const char *name, GError **error)
{
  Bitmap *bitmap = find (q, name);
  if (!bitmap)
    (void) usage (error, "Dirty bitmap '%s' not found", name);
  return bitmap;
}

/* The same, and it can be used. */
static Bitmap *
need_sound (Qcow2 *q, const char *name, GError **error)
{
  Bitmap *bitmap = need (q, name, error);
  if (!bitmap || (!is_broken (bitmap) && !is_foreign (bitmap)))
    return bitmap;
  if (is_broken (bitmap))
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "Bitmap '%s' is inconsistent and cannot be used", name);
  else
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "Bitmap '%s' holds data of an unknown kind", name);
  return NULL;
}

static void
look_again (Qcow2 *q)
{
  q->recording = false;
  for (guint i = 0; q->writable && !q->lenient && i < q->bitmaps->len; i++) {
    const Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    q->recording = q->recording || (is_enabled (bitmap) && !is_broken (bitmap));
  }
}

void
qcow2_list_bitmaps (Qcow2 *q, GPtrArray *facts)
{
  for (guint i = 0; i < q->bitmaps->len; i++) {
    const Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    VpBitmapFacts *to = g_new0 (VpBitmapFacts, 1);
    to->name = g_strdup (bitmap->name);
    to->granularity = UINT64_C (1) << bitmap->entry.granularity_bits;
    to->enabled = is_enabled (bitmap);
    to->in_use = is_broken (bitmap);
    g_ptr_array_add (facts, to);
  }
}

/* ---- the directory ------------------------------------------------------ */

static bool
check_entry (Qcow2 *q, const Bitmap *bitmap, GError **error)
{
  const Entry *e = &bitmap->entry;
  if (e->granularity_bits < 9 || e->granularity_bits > 31)
    return qcow2_corrupt (q, error, "bitmap '%s' has an invalid granularity",
                          bitmap->name);
  if (e->table_offset & (q->cluster_size - 1) ||
      !vp_range_ok (e->table_offset, (uint64_t) e->table_entries * 8,
                    QCOW2_MAX_OFFSET))
    return qcow2_corrupt (q, error, "the table of bitmap '%s' is misplaced",
                          bitmap->name);
  return true;
}

/* names: those seen so far. */
static bool
parse_entry (Qcow2 *q, GHashTable *names, const uint8_t *bytes, size_t len,
             size_t *at, GError **error)
{
  Entry entry;
  if (!vp_range_ok (*at, ENTRY_LEN, len))
    return qcow2_corrupt (q, error, "the bitmap directory is too short");
  vp_layout_load (&entry_layout, bytes + *at, ENTRY_LEN, &entry);
  uint64_t rest = (uint64_t) entry.extra_len + entry.name_len;
  if (entry.name_len > VP_MAX_NAME_LEN || entry.name_len == 0 ||
      !vp_range_ok (*at + ENTRY_LEN, rest, len))
    return qcow2_corrupt (
        q, error, "the bitmap directory's entry at 0x%" PRIx64 " is invalid",
        q->bitmaps_offset + *at);
  const uint8_t *extra = bytes + *at + ENTRY_LEN;
  const uint8_t *name = extra + entry.extra_len;
  if (memchr (name, 0, entry.name_len))
    return qcow2_corrupt (q, error, "a bitmap's name holds a NUL");
  Bitmap *bitmap = g_new0 (Bitmap, 1);
  bitmap->name = g_strndup ((const char *) name, entry.name_len);
  bitmap->entry = entry;
  bitmap->at = q->bitmaps_offset + *at;
  if (entry.extra_len > 0)
    bitmap->extra = g_bytes_new (extra, entry.extra_len);
  g_ptr_array_add (q->bitmaps, bitmap);
  *at = (size_t) vp_round_up (*at + ENTRY_LEN + rest, 8);
  if (!g_hash_table_add (names, bitmap->name))
    return qcow2_corrupt (q, error, "two bitmaps are named '%s'", bitmap->name);
  return check_entry (q, bitmap, error);
}

static bool
load_directory (Qcow2 *q, GError **error)
{
  if (q->n_bitmaps > MAX_BITMAPS || q->bitmaps_size > MAX_DIRECTORY)
    return qcow2_corrupt (q, error, "has too many bitmaps");
  if (q->bitmaps_offset & (q->cluster_size - 1) || q->bitmaps_offset == 0 ||
      !vp_range_ok (q->bitmaps_offset, q->bitmaps_size, q->file_end))
    return qcow2_corrupt (q, error, "the bitmap directory is misplaced");
  size_t len = (size_t) q->bitmaps_size, at = 0;
  g_autofree uint8_t *bytes = g_malloc (MAX (len, 1));
  g_autoptr (GHashTable) names = g_hash_table_new (g_str_hash, g_str_equal);
  if (!vp_file_read (q->file, q->bitmaps_offset, bytes, len, error))
    return false;
  for (uint32_t i = 0; i < q->n_bitmaps; i++)
    if (!parse_entry (q, names, bytes, len, &at, error))
      return false;
  return true;
}

/* "If the bit is clear, the extension is inconsistent and must be ignored". */
bool
qcow2_load_bitmaps (Qcow2 *q, GError **error)
{
  g_autoptr (GError) why = NULL;
  q->bitmaps = g_ptr_array_new_with_free_func (qcow2_bitmap_free);
  if (!(q->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
    q->n_bitmaps = 0;
  if (q->n_bitmaps == 0)
    return true;
  bool ok = load_directory (q, &why);
  if (!ok && q->writable && !q->lenient) {
    g_propagate_error (error, g_steal_pointer (&why));
    return false;
  }
  /* Who only reads the disk does without; the check says what is wrong. */
  if (!ok)
    g_ptr_array_set_size (q->bitmaps, 0);
  look_again (q);
  return true;
}

static uint64_t
entry_len (const Bitmap *bitmap)
{
  size_t extra = bitmap->extra ? g_bytes_get_size (bitmap->extra) : 0;
  return vp_round_up (ENTRY_LEN + extra + strlen (bitmap->name), 8);
}

static void
pack_entry (Bitmap *bitmap, uint8_t *to)
{
  size_t extra_len = 0;
  const void *extra =
      bitmap->extra ? g_bytes_get_data (bitmap->extra, &extra_len) : NULL;
  bitmap->entry.name_len = (uint16_t) strlen (bitmap->name);
  bitmap->entry.extra_len = (uint32_t) extra_len;
  vp_layout_store (&entry_layout, &bitmap->entry, to, ENTRY_LEN);
  if (extra_len > 0)
    memcpy (to + ENTRY_LEN, extra, extra_len);
  memcpy (to + ENTRY_LEN + extra_len, bitmap->name, bitmap->entry.name_len);
}

/* ---- bits from the file ------------------------------------------------- */

static uint64_t
table_entries_for (const Qcow2 *q, const VpBitmap *bits)
{
  uint64_t len = vp_bitmap_get_len (bits);
  return (len + q->cluster_size - 1) >> q->header.cluster_bits;
}

static uint8_t *
load_table (Qcow2 *q, const Bitmap *bitmap, GError **error)
{
  size_t len = (size_t) bitmap->entry.table_entries * 8;
  g_autofree uint8_t *table = g_try_malloc (MAX (len, 1));
  if (!table) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                 "%s: no memory for the table of bitmap '%s'", q->file->name,
                 bitmap->name);
    return NULL;
  }
  if (!vp_file_read (q->file, bitmap->entry.table_offset, table, len, error))
    return NULL;
  return g_steal_pointer (&table);
}

static bool
load_cluster (Qcow2 *q, const Bitmap *bitmap, VpBitmap *bits, uint64_t raw,
              uint64_t at, uint8_t *buffer, GError **error)
{
  size_t size = (size_t) q->cluster_size;
  uint64_t offset = raw & QCOW2_OFFSET_MASK;
  if (raw & TABLE_RESERVED || (offset && raw & 1) ||
      offset & (q->cluster_size - 1))
    return qcow2_corrupt (q, error,
                          "the table of bitmap '%s' has an invalid entry "
                          "(0x%" PRIx64 ")",
                          bitmap->name, raw);
  if (raw == 0)
    return true;
  if (offset == 0)
    memset (buffer, 0xff, size);
  else if (!vp_file_read (q->file, offset, buffer, size, error))
    return false;
  vp_bitmap_load (bits, at, buffer, size);
  if (vp_bitmap_get_used (bits) <= MAX_BITS_LEN)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: bitmap '%s' is too large", q->file->name, bitmap->name);
  return false;
}

static bool
load_bits (Qcow2 *q, Bitmap *bitmap, GError **error)
{
  if (bitmap->bits)
    return true;
  g_autoptr (VpBitmap) bits = vp_bitmap_new (
      q->header.size, UINT64_C (1) << bitmap->entry.granularity_bits);
  if (!bits || table_entries_for (q, bits) != bitmap->entry.table_entries)
    return qcow2_corrupt (q, error,
                          "the table of bitmap '%s' does not go with the "
                          "disk's size",
                          bitmap->name);
  g_autofree uint8_t *table = load_table (q, bitmap, error);
  g_autofree uint8_t *buffer = g_malloc ((size_t) q->cluster_size);
  for (uint32_t i = 0; table && i < bitmap->entry.table_entries; i++)
    if (!load_cluster (q, bitmap, bits, vp_be64_get (table + 8 * (size_t) i),
                       (uint64_t) i * q->cluster_size, buffer, error))
      return false;
  if (!table)
    return false;
  bitmap->bits = g_steal_pointer (&bits);
  return true;
}

/* ---- recording ---------------------------------------------------------- */

/* Four bytes that never cross a sector, entry by entry: whatever part of it
 * lasts says the truth. */
static bool
mark (Qcow2 *q, bool all, GError **error)
{
  bool wrote = false;
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    uint8_t flags[4];
    if (bitmap->marked || is_broken (bitmap) || (!all && !is_enabled (bitmap)))
      continue;
    vp_be32_set (flags, bitmap->entry.flags | FLAG_IN_USE);
    if (bitmap->at != 0 &&
        !vp_file_write (q->file, bitmap->at + 12, flags, sizeof flags, error))
      return false;
    wrote = wrote || bitmap->at != 0;
    bitmap->marked = true;
    bitmap->entry.flags |= FLAG_IN_USE;
  }
  return !wrote || vp_file_flush (q->file, error);
}

/* Bits that cannot be loaded, or understood, are given up: in_use for good. */
static void
give_up (Bitmap *bitmap)
{
  bitmap->marked = false;
}

bool
qcow2_record (Qcow2 *q, uint64_t offset, uint64_t length, GError **error)
{
  if (!q->recording)
    return true;
  if (!mark (q, false, error))
    return false;
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    if (!is_enabled (bitmap) || !bitmap->marked)
      continue;
    if (is_foreign (bitmap) || !load_bits (q, bitmap, NULL)) {
      give_up (bitmap);
      continue;
    }
    vp_bitmap_set (bitmap->bits, offset, length);
    bitmap->changed = true;
    q->bitmaps_changed = true;
  }
  return true;
}

/* All of them, recording or not, for a table goes with the disk's size. */
bool
qcow2_resize_bitmaps (Qcow2 *q, uint64_t size, GError **error)
{
  if (q->bitmaps->len == 0)
    return true;
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    uint64_t granularity = UINT64_C (1) << bitmap->entry.granularity_bits;
    if (is_broken (bitmap) || is_foreign (bitmap))
      continue;
    g_autoptr (VpBitmap) probe = vp_bitmap_new (size, granularity);
    if (!probe)
      return usage (error, "Bitmap '%s' cannot cover a disk of that size",
                    bitmap->name);
    if (!load_bits (q, bitmap, error))
      return false;
  }
  if (!mark (q, true, error))
    return false;
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    if (bitmap->bits && vp_bitmap_resize (bitmap->bits, size))
      bitmap->changed = true;
    else
      give_up (bitmap);
  }
  q->bitmaps_changed = true;
  return true;
}

/* ---- storing ------------------------------------------------------------ */

typedef struct {
  uint64_t offset, length;
} Range;

static void
add_range (GArray *ranges, uint64_t offset, uint64_t length)
{
  Range range = { offset, length };
  if (offset != 0 && length != 0)
    g_array_append_val (ranges, range);
}

/* What a bitmap takes up now; entries that make no sense are left alone. */
static bool
collect_clusters (Qcow2 *q, const Bitmap *bitmap, GArray *ranges,
                  GError **error)
{
  uint64_t length = (uint64_t) bitmap->entry.table_entries * 8;
  if (bitmap->entry.table_offset == 0)
    return true;
  if (length > VP_MAX_TABLE_SIZE)
    return qcow2_corrupt (q, error, "the table of bitmap '%s' is too large",
                          bitmap->name);
  g_autofree uint8_t *table = load_table (q, bitmap, error);
  if (!table)
    return false;
  for (uint32_t i = 0; i < bitmap->entry.table_entries; i++) {
    uint64_t offset = vp_be64_get (table + 8 * (size_t) i) & QCOW2_OFFSET_MASK;
    if (!(offset & (q->cluster_size - 1)))
      add_range (ranges, offset, q->cluster_size);
  }
  add_range (ranges, bitmap->entry.table_offset,
             vp_round_up (length, q->cluster_size));
  return true;
}

static bool
is_all (const uint8_t *bytes, size_t len, uint8_t value)
{
  return bytes[0] == value && memcmp (bytes, bytes + 1, len - 1) == 0;
}

static bool
store_cluster (Qcow2 *q, const uint8_t *bytes, uint64_t *ret_raw,
               GError **error)
{
  size_t size = (size_t) q->cluster_size;
  *ret_raw = is_all (bytes, size, 0xff);
  if (*ret_raw || is_all (bytes, size, 0))
    return true;
  return qcow2_allocate (q, 1, true, ret_raw, NULL, error) &&
         vp_file_write (q->file, *ret_raw, bytes, size, error) &&
         vp_tables_trim (q->tables, error);
}

static bool
store_bits (Qcow2 *q, Bitmap *bitmap, GArray *old, GError **error)
{
  uint64_t entries = table_entries_for (q, bitmap->bits), offset = 0;
  uint64_t length = vp_round_up (entries * 8, q->cluster_size);
  g_autofree uint8_t *table = g_malloc0 (MAX ((size_t) length, 1));
  g_autofree uint8_t *buffer = g_malloc ((size_t) q->cluster_size);
  for (uint64_t i = 0; i < entries; i++) {
    uint64_t raw;
    vp_bitmap_store (bitmap->bits, i * q->cluster_size, buffer,
                     (size_t) q->cluster_size);
    if (!store_cluster (q, buffer, &raw, error))
      return false;
    vp_be64_set (table + 8 * i, raw);
  }
  if (length > 0 &&
      (!qcow2_allocate (q, length >> q->header.cluster_bits, true, &offset,
                        NULL, error) ||
       !vp_file_write (q->file, offset, table, (size_t) length, error) ||
       !collect_clusters (q, bitmap, old, error)))
    return false;
  bitmap->entry.table_offset = offset;
  bitmap->entry.table_entries = (uint32_t) entries;
  bitmap->changed = false;
  return true;
}

static bool
store_directory (Qcow2 *q, GError **error)
{
  uint64_t len = 0, offset;
  for (guint i = 0; i < q->bitmaps->len; i++)
    len += entry_len (g_ptr_array_index (q->bitmaps, i));
  if (len > MAX_DIRECTORY) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the names of its bitmaps are too long", q->file->name);
    return false;
  }
  uint64_t length = vp_round_up (len, q->cluster_size);
  if (!qcow2_allocate (q, length >> q->header.cluster_bits, true, &offset, NULL,
                       error))
    return false;
  g_autofree uint8_t *bytes = g_malloc0 ((size_t) length);
  size_t at = 0;
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    if (bitmap->marked)
      bitmap->entry.flags &= ~(uint32_t) FLAG_IN_USE;
    bitmap->marked = false;
    bitmap->at = offset + at;
    pack_entry (bitmap, bytes + at);
    at += (size_t) entry_len (bitmap);
  }
  q->bitmaps_offset = offset;
  q->bitmaps_size = len;
  return vp_file_write (q->file, offset, bytes, (size_t) length, error);
}

/* The new directory comes into force, or none at all. */
static bool
switch_directory (Qcow2 *q, GError **error)
{
  uint8_t data[24] = { 0 };
  q->n_bitmaps = q->bitmaps->len;
  if (q->n_bitmaps == 0) {
    qcow2_set_extension (q, QCOW2_EXT_BITMAPS, NULL, 0);
    q->header.autoclear &= ~(uint64_t) QCOW2_AUTOCLEAR_BITMAPS;
    q->bitmaps_offset = q->bitmaps_size = 0;
    return qcow2_rewrite_head (q, error);
  }
  if (!store_directory (q, error))
    return false;
  vp_be32_set (data, q->n_bitmaps);
  vp_be64_set (data + 8, q->bitmaps_size);
  vp_be64_set (data + 16, q->bitmaps_offset);
  qcow2_set_extension (q, QCOW2_EXT_BITMAPS, data, sizeof data);
  q->header.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
  return qcow2_rewrite_head (q, error);
}

static bool
store_all (Qcow2 *q, GArray *old, GError **error)
{
  add_range (old, q->bitmaps_offset,
             vp_round_up (q->bitmaps_size, q->cluster_size));
  if (q->bitmaps_removed)
    g_array_append_vals (old, q->bitmaps_removed->data,
                         q->bitmaps_removed->len);
  for (guint i = 0; i < q->bitmaps->len; i++) {
    Bitmap *bitmap = g_ptr_array_index (q->bitmaps, i);
    if (bitmap->changed && !store_bits (q, bitmap, old, error))
      return false;
  }
  return switch_directory (q, error);
}

bool
qcow2_store_bitmaps (gpointer state, GError **error)
{
  Qcow2 *q = state;
  if (!q->bitmaps_changed || q->lenient)
    return true;
  g_autoptr (GArray) old = g_array_new (false, false, sizeof (Range));
  if (!store_all (q, old, error))
    return false;
  q->bitmaps_changed = false;
  g_clear_pointer (&q->bitmaps_removed, g_array_unref);
  for (guint i = 0; i < old->len; i++) {
    const Range *range = &g_array_index (old, Range, i);
    vp_tables_free_later (q->tables, range->offset, range->length);
  }
  /* Nothing names the old ones any more; then they are counted down. */
  return vp_tables_flush (q->tables, error) &&
         (!vp_tables_is_dirty (q->tables) ||
          vp_tables_flush (q->tables, error));
}

/* ---- verbs -------------------------------------------------------------- */

bool
qcow2_bitmap_add (gpointer state, const char *name, uint64_t granularity,
                  bool enabled, GError **error)
{
  Qcow2 *q = state;
  if (q->header.version < 3)
    return usage (error,
                  "Cannot make bitmap '%s' persistent: Cannot store dirty "
                  "bitmaps in qcow2 v2 files",
                  name);
  if (name[0] == '\0')
    return usage (error, "Bitmap name cannot be empty");
  if (strlen (name) > VP_MAX_NAME_LEN)
    return usage (error, "Bitmap name too long: %s", name);
  if (find (q, name))
    return usage (error, "Bitmap already exists: %s", name);
  if (granularity == 0)
    granularity = CLAMP (q->cluster_size, 4096, 65536);
  if (granularity & (granularity - 1) ||
      granularity < VP_BITMAP_MIN_GRANULARITY ||
      granularity > VP_BITMAP_MAX_GRANULARITY)
    return usage (error, "Granularity must be power of 2 and at least 512");
  g_autoptr (VpBitmap) bits = vp_bitmap_new (q->header.size, granularity);
  if (!bits)
    return usage (error,
                  "Cannot make bitmap '%s' persistent: Too much space will be "
                  "occupied by the bitmap. Use larger granularity",
                  name);
  if (q->bitmaps->len >= MAX_BITMAPS)
    return usage (error,
                  "Cannot make bitmap '%s' persistent: Maximum number of "
                  "persistent bitmaps is already reached",
                  name);
  Bitmap *bitmap = g_new0 (Bitmap, 1);
  bitmap->name = g_strdup (name);
  bitmap->entry.type = TYPE_DIRTY;
  bitmap->entry.flags = enabled ? FLAG_AUTO : 0;
  bitmap->entry.granularity_bits = (uint8_t) g_bit_nth_msf (granularity, -1);
  bitmap->bits = g_steal_pointer (&bits);
  bitmap->changed = q->bitmaps_changed = true;
  g_ptr_array_add (q->bitmaps, bitmap);
  look_again (q);
  return true;
}

bool
qcow2_bitmap_remove (gpointer state, const char *name, GError **error)
{
  Qcow2 *q = state;
  Bitmap *bitmap = need (q, name, error);
  if (!bitmap)
    return false;
  if (!q->bitmaps_removed)
    q->bitmaps_removed = g_array_new (false, false, sizeof (Range));
  if (!collect_clusters (q, bitmap, q->bitmaps_removed, error))
    return false;
  g_ptr_array_remove (q->bitmaps, bitmap);
  q->bitmaps_changed = true;
  look_again (q);
  return true;
}

bool
qcow2_bitmap_set_enabled (gpointer state, const char *name, bool enabled,
                          GError **error)
{
  Qcow2 *q = state;
  Bitmap *bitmap = need_sound (q, name, error);
  if (!bitmap)
    return false;
  if (is_enabled (bitmap) != enabled) {
    bitmap->entry.flags ^= FLAG_AUTO;
    q->bitmaps_changed = true;
  }
  look_again (q);
  return true;
}

VpBitmap *
qcow2_bitmap_bits (gpointer state, const char *name, bool change,
                   GError **error)
{
  Qcow2 *q = state;
  Bitmap *bitmap = need_sound (q, name, error);
  if (!bitmap || !load_bits (q, bitmap, error))
    return NULL;
  if (change)
    bitmap->changed = q->bitmaps_changed = true;
  return bitmap->bits;
}
