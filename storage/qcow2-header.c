/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-header: the first cluster: the header, its extensions, the name of
 * the backing file; read with suspicion, and rewritten as a whole.
 *
 *     header | what we do not know of it | extensions ... END | name
 *
 * Nothing of it is believed before it is checked.  What the specification
 * calls an incompatible feature is refused by name where we do not have it.
 * What we do not know and may pass by, bytes behind the header and
 * extensions, is kept when the cluster is rewritten. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

#define SECTOR         ((size_t) 512)

#define MAX_FORMAT_LEN 15u /* the specification's limit */

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

static bool
unsupported (Qcow2 *q, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: %s not supported", q->file->name, what);
  return false;
}

/* ---- loading ------------------------------------------------------------ */

static bool
check_geometry (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  if (h->cluster_bits < QCOW2_MIN_CLUSTER ||
      h->cluster_bits > QCOW2_MAX_CLUSTER)
    return qcow2_corrupt (q, error, "Unsupported cluster size: 2^%" PRIu32,
                          h->cluster_bits);
  q->cluster_size = UINT64_C (1) << h->cluster_bits;
  q->extended =
      h->version >= 3 && h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
  q->l2_bits = h->cluster_bits - (q->extended ? 4 : 3);
  q->sub_bits = h->cluster_bits - (q->extended ? 5 : 0);
  if (q->extended && h->cluster_bits < QCOW2_MIN_EXTENDED)
    return qcow2_corrupt (q, error,
                          "extended L2 entries need clusters of 16 KiB or "
                          "more");
  if (h->version >= 3 &&
      (h->header_length < QCOW2_HEADER_V3 || h->header_length % 8 != 0))
    return qcow2_corrupt (q, error, "qcow2 header too short");
  if (h->header_length > q->cluster_size)
    return qcow2_corrupt (q, error, "qcow2 header exceeds cluster size");
  if (h->refcount_order > 6)
    return qcow2_corrupt (q, error, "Reference count entry width too large");
  q->refblock_bits = h->cluster_bits + 3 - h->refcount_order;
  if (h->size > VP_MAX_VIRTUAL_SIZE)
    return qcow2_corrupt (q, error, "Image is too big");
  return true;
}

/* The name that the image itself has for a bit; NULL: none. */
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
  return NULL;
}

/* By the image's own names, and what has none as a number. */
static bool
unknown_features (Qcow2 *q, uint64_t unknown, const uint8_t *head, size_t len,
                  GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);
  uint64_t unnamed = 0;
  for (uint64_t bits = unknown; bits; bits &= bits - 1) {
    unsigned bit = (unsigned) __builtin_ctzll (bits);
    g_autofree char *name =
        feature_name (head, len, q->header.header_length, bit);
    if (name)
      g_string_append_printf (names, "%s%s", names->len ? ", " : "", name);
    else
      unnamed |= UINT64_C (1) << bit;
  }
  if (unnamed)
    g_string_append_printf (names,
                            "%sUnknown incompatible feature: "
                            "%" G_GINT64_MODIFIER "x",
                            names->len ? ", " : "", unnamed);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: Unsupported qcow2 feature(s): %s", q->file->name,
               names->str);
  return false;
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
  if (unknown)
    return unknown_features (q, unknown, head, len, error);
  if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
    qcow2_expect_data_file (q);
  if (h->crypt_method > 2)
    return qcow2_corrupt (q, error, "Unsupported encryption method %" PRIu32,
                          h->crypt_method);
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
  qcow2_set_extension (q, type, data, len);
  switch (type) {
  case QCOW2_EXT_BACKING_FORMAT:
    if (len > MAX_FORMAT_LEN || memchr (data, 0, len))
      return qcow2_corrupt (q, error, "the backing format's name is invalid");
    g_free (q->backing_format);
    q->backing_format = g_strndup ((const char *) data, len);
    return true;
  case QCOW2_EXT_DATA_FILE:
    if (len == 0 || len > VP_MAX_NAME_LEN || memchr (data, 0, len))
      return qcow2_corrupt (q, error, "the data file's name is invalid");
    g_free (q->data_file);
    q->data_file = g_strndup ((const char *) data, len);
    return true;
  case QCOW2_EXT_BITMAPS:
    if (len < 24)
      return qcow2_corrupt (q, error, "the bitmaps extension is too short");
    q->n_bitmaps = vp_be32_get (data);
    q->bitmaps_size = vp_be64_get (data + 8);
    q->bitmaps_offset = vp_be64_get (data + 16);
    return true;
  case QCOW2_EXT_CRYPTO:
    return qcow2_load_crypt_extension (q, data, len, error);
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
    q->extensions_end = at;
    if (!vp_range_ok (at, ext_len, end))
      return qcow2_corrupt (q, error, "Header extension too large");
    if (type == QCOW2_EXT_END)
      return true;
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

bool
qcow2_load_header (Qcow2 *q, GError **error)
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
  if (!vp_file_read (q->file, 0, head, len, error))
    return false;
  if (h->header_length > QCOW2_HEADER_OURS)
    q->header_tail = g_bytes_new (head + QCOW2_HEADER_OURS,
                                  h->header_length - QCOW2_HEADER_OURS);
  return check_features (q, head, len, error) &&
         load_backing (q, head, len, error) &&
         load_extensions (q, head, len, error);
}

/* ---- extensions --------------------------------------------------------- */

static void
extension_free (gpointer data)
{
  Qcow2Extension *extension = data;
  g_bytes_unref (extension->data);
  g_free (extension);
}

GPtrArray *
qcow2_extensions_new (void)
{
  return g_ptr_array_new_with_free_func (extension_free);
}

/* The order in which QEMU writes them; others follow as they came. */
static unsigned
extension_rank (uint32_t type)
{
  switch (type) {
  case QCOW2_EXT_BACKING_FORMAT: return 0;
  case QCOW2_EXT_DATA_FILE: return 1;
  case QCOW2_EXT_CRYPTO: return 2;
  case QCOW2_EXT_FEATURES: return 3;
  case QCOW2_EXT_BITMAPS: return 4;
  default: return 5;
  }
}

void
qcow2_extensions_set (GPtrArray *extensions, uint32_t type, const void *data,
                      size_t len)
{
  guint at = extensions->len;
  for (guint i = 0; i < extensions->len; i++) {
    Qcow2Extension *extension = g_ptr_array_index (extensions, i);
    if (extension->type == type) {
      g_ptr_array_remove_index (extensions, i);
      at = i;
      break;
    }
  }
  if (!data)
    return;
  Qcow2Extension *extension = g_new0 (Qcow2Extension, 1);
  extension->type = type;
  extension->data = g_bytes_new (data, len);
  for (guint i = 0; at == extensions->len && i < extensions->len; i++) {
    const Qcow2Extension *other = g_ptr_array_index (extensions, i);
    if (extension_rank (other->type) > extension_rank (type)) {
      at = i;
      break;
    }
  }
  g_ptr_array_insert (extensions, (gint) at, extension);
}

void
qcow2_set_extension (Qcow2 *q, uint32_t type, const void *data, size_t len)
{
  qcow2_extensions_set (q->extensions, type, data, len);
}

typedef struct {
  uint8_t kind, bit;
  const char *name;
} Feature;

static const Feature features[] = {
  { 0, 0, "dirty bit" },
  { 0, 1, "corrupt bit" },
  { 0, 2, "external data file" },
  { 0, 3, "compression type" },
  { 0, 4, "extended L2 entries" },
  { 1, 0, "lazy refcounts" },
  { 2, 0, "bitmaps" },
  { 2, 1, "raw external data" },
};
#define FEATURE_LEN 48u

void
qcow2_extensions_name_features (GPtrArray *extensions)
{
  uint8_t table[G_N_ELEMENTS (features) * FEATURE_LEN] = { 0 };
  for (size_t i = 0; i < G_N_ELEMENTS (features); i++) {
    uint8_t *row = table + i * FEATURE_LEN;
    row[0] = features[i].kind;
    row[1] = features[i].bit;
    memcpy (row + 2, features[i].name, strlen (features[i].name));
  }
  qcow2_extensions_set (extensions, QCOW2_EXT_FEATURES, table, sizeof table);
}

/* ---- writing ------------------------------------------------------------ */

/* Where the extensions end, or 0 where they do not fit. */
static size_t
pack_extensions (GPtrArray *extensions, bool named, uint8_t *head, size_t at,
                 size_t len)
{
  for (guint i = 0; i < extensions->len; i++) {
    const Qcow2Extension *extension = g_ptr_array_index (extensions, i);
    size_t size;
    const uint8_t *data = g_bytes_get_data (extension->data, &size);
    size_t padded = (size_t) vp_round_up (size, 8);
    if (extension->type == QCOW2_EXT_FEATURES && !named)
      continue;
    if (!vp_range_ok (at, 8 + padded + 8, len))
      return 0;
    vp_be32_set (head + at, extension->type);
    vp_be32_set (head + at + 4, (uint32_t) size);
    if (size > 0)
      memcpy (head + at + 8, data, size);
    at += 8 + padded;
  }
  /* END is eight zeros. */
  return vp_range_ok (at, 8, len) ? at + 8 : 0;
}

/* name_at: not before. */
static bool
pack (Qcow2Header *header, GBytes *tail, GPtrArray *extensions, bool named,
      const char *name, size_t name_at, uint8_t *head, size_t len,
      size_t *ret_extensions_end)
{
  size_t name_len = name ? strlen (name) : 0;
  size_t start = header->version >= 3 ? header->header_length : QCOW2_HEADER_V2;
  memset (head, 0, len);
  size_t end = pack_extensions (extensions, named, head, start, len);
  size_t at = MAX (end, name_at);
  if (end == 0 || !vp_range_ok (at, name_len, len))
    return false;
  header->backing_offset = name_len > 0 ? at : 0;
  header->backing_len = (uint32_t) name_len;
  if (name_len > 0)
    memcpy (head + at, name, name_len);
  vp_layout_store (&qcow2_header_layout, header, head,
                   MIN (start, QCOW2_HEADER_OURS));
  if (tail)
    memcpy (head + QCOW2_HEADER_OURS, g_bytes_get_data (tail, NULL),
            g_bytes_get_size (tail));
  *ret_extensions_end = end;
  return true;
}

bool
qcow2_pack_head (Qcow2Header *header, GPtrArray *extensions, const char *name,
                 uint8_t *head, size_t len)
{
  size_t end;
  /* Names of features are a courtesy; small clusters have no room. */
  return pack (header, NULL, extensions, true, name, 0, head, len, &end) ||
         pack (header, NULL, extensions, false, name, 0, head, len, &end);
}

/* What replaces the first cluster, and what stands there. */
typedef struct {
  Qcow2 *q;
  size_t len;
  uint8_t *old, *new;
  Qcow2Header header;
  size_t old_end; /* of all that counts in old */
  size_t new_end, extensions_end;
} Rewrite;

static bool
write_part (Rewrite *r, const uint8_t *bytes, size_t from, size_t to,
            GError **error)
{
  return vp_file_write (r->q->file, from, bytes + from, to - from, error) &&
         vp_file_flush (r->q->file, error);
}

/* Not over the old name, which counts until the first sector changes. */
static bool
place_name (Rewrite *r)
{
  const Qcow2 *q = r->q;
  const Qcow2Header *old = &q->header;
  size_t name_len = q->backing_name ? strlen (q->backing_name) : 0;
  for (unsigned named = 2; named-- > 0;) {
    size_t end;
    if (!pack (&r->header, q->header_tail, q->extensions, named,
               q->backing_name, 0, r->new, r->len, &end))
      continue;
    r->extensions_end = end;
    r->new_end = MAX (end, (size_t) r->header.backing_offset + name_len);
    size_t at = MAX (end, (size_t) q->extensions_end);
    if (name_len == 0 || r->new_end <= SECTOR)
      return true;
    at = MAX (at, SECTOR);
    if (at < old->backing_offset + old->backing_len &&
        at + name_len > old->backing_offset)
      at = (size_t) old->backing_offset + old->backing_len;
    if (!pack (&r->header, q->header_tail, q->extensions, named,
               q->backing_name, at, r->new, r->len, &end))
      continue;
    r->new_end = at + name_len;
    return true;
  }
  /* No room to be careful. */
  size_t end;
  if (!pack (&r->header, q->header_tail, q->extensions, false, q->backing_name,
             0, r->new, r->len, &end))
    return false;
  r->extensions_end = end;
  r->new_end = MAX (end, (size_t) r->header.backing_offset + name_len);
  return true;
}

/* Sectors go out whole, clusters do not: between the old state and the new one
 * lies a first sector that says all but the names of the features, so that
 * nothing behind it counts but the new name.
 *
 * XXX: where that does not fit into a sector (extensions that we do not know,
 * a data file's long name) the cluster is written in one go. */
static bool
write_in_steps (Rewrite *r, GError **error)
{
  const Qcow2 *q = r->q;
  size_t to = (size_t) vp_round_up (MAX (r->old_end, r->new_end), SECTOR);
  size_t name_at = (size_t) r->header.backing_offset, end;
  size_t name_end = name_at + r->header.backing_len;
  Qcow2Header between = r->header;
  g_autofree uint8_t *head = g_malloc0 (r->len);

  to = MIN (to, r->len);
  if (memcmp (r->old + SECTOR, r->new + SECTOR, to - SECTOR) == 0)
    return write_part (r, r->new, 0, SECTOR, error);
  bool fits = pack (&between, q->header_tail, q->extensions, false,
                    q->backing_name, name_at, head, r->len, &end) &&
              end <= SECTOR && between.backing_offset == name_at;
  bool hidden = name_at == 0 ||
                (name_at >= MAX (SECTOR, q->extensions_end) &&
                 (name_at >= q->header.backing_offset + q->header.backing_len ||
                  name_end <= q->header.backing_offset));
  if (!fits || !hidden)
    return write_part (r, r->new, 0, to, error);
  return (name_at == 0 || write_part (r, head, name_at, name_end, error)) &&
         write_part (r, head, 0, SECTOR, error) &&
         write_part (r, r->new, SECTOR, to, error) &&
         write_part (r, r->new, 0, SECTOR, error);
}

bool
qcow2_rewrite_head (Qcow2 *q, GError **error)
{
  static const uint64_t cells[] = { 24, 48, 60, 72, 88 };
  Rewrite r = { .q = q, .len = (size_t) q->cluster_size, .header = q->header };
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  g_autofree uint8_t *old = g_malloc (r.len);
  g_autofree uint8_t *new = g_malloc (r.len);
  r.old = old;
  r.new = new;
  r.old_end = MAX ((size_t) q->extensions_end,
                   (size_t) (q->header.backing_offset + q->header.backing_len));
  if (!place_name (&r)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: its first cluster has no room for that", q->file->name);
    return false;
  }
  if (!vp_tables_flush (q->tables, error) ||
      !vp_file_read (q->file, 0, old, r.len, error) ||
      !write_in_steps (&r, error))
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS (cells); i++)
    vp_tables_forget (q->tables, cells[i]);
  q->header = r.header;
  q->extensions_end = r.extensions_end;
  return true;
}

static void
swap_backing (Qcow2 *q, char **name, char **format)
{
  char *old_name = q->backing_name, *old_format = q->backing_format;
  q->backing_name = *name;
  q->backing_format = *format;
  *name = old_name;
  *format = old_format;
  qcow2_set_extension (q, QCOW2_EXT_BACKING_FORMAT, q->backing_format,
                       q->backing_format ? strlen (q->backing_format) : 0);
}

void
qcow2_expect_backing (gpointer state)
{
  ((Qcow2 *) state)->expects_backing = true;
}

bool
qcow2_set_backing (gpointer state, const char *name, const char *format,
                   GError **error)
{
  Qcow2 *q = state;
  g_autofree char *new_name = g_strdup (name);
  g_autofree char *new_format = g_strdup (name ? format : NULL);
  if (name && (name[0] == '\0' || strlen (name) > VP_MAX_NAME_LEN ||
               (format && strlen (format) > MAX_FORMAT_LEN))) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: the name of the backing file, or of its format, is "
                 "empty or too long",
                 q->file->name);
    return false;
  }
  /* It would have no hole through which one could look. */
  if (name && qcow2_is_raw (q)) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "Invalid argument");
    return false;
  }
  swap_backing (q, &new_name, &new_format);
  if (qcow2_rewrite_head (q, error))
    return true;
  swap_backing (q, &new_name, &new_format);
  return false;
}
