/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow-header: the first bytes of a cow image: which of the two layouts they
 * have, making them, and changing the two things in them that can change.
 *
 * A layout agrees with a file where the sector size is 512, the size is whole
 * sectors, and the file ends behind the bitmap and not behind the data area.
 * Both can only agree where somebody meant it: that is refused.  What is made
 * here never does.  (Read as packed, the padding and the upper half of the
 * size would be the size: less than the bitmap alone is long.)
 *
 * User-Mode Linux has images with the same magic and other headers; they are
 * named and refused. */
#include "config.h"

#include "storage/cow.h"

#include <stdarg.h>
#include <string.h>

#include "storage/describe.h"
#include "storage/error.h"

/* Where User-Mode Linux's version 2 keeps its sector size: 64 and 32 bits. */
#define UML_SECTOR_SIZE_64 4120u
#define UML_SECTOR_SIZE_32 4116u
#define UML_HEAD_LEN       4124u

static const VpField padded_fields[] = {
  VP_FIELD_BE (CowHeader, magic, 0),
  VP_FIELD_BE (CowHeader, version, 4),
  VP_FIELD_BE (CowHeader, mtime, 1032),
  VP_FIELD_BE (CowHeader, size, 1040),
  VP_FIELD_BE (CowHeader, sector_size, 1048),
};
static const VpField packed_fields[] = {
  VP_FIELD_BE (CowHeader, magic, 0),
  VP_FIELD_BE (CowHeader, version, 4),
  VP_FIELD_BE (CowHeader, mtime, 1032),
  VP_FIELD_BE (CowHeader, size, 1036),
  VP_FIELD_BE (CowHeader, sector_size, 1044),
};

const CowLayout cow_padded = { { padded_fields, G_N_ELEMENTS (padded_fields) },
                               1056,
                               1040 };
const CowLayout cow_packed = { { packed_fields, G_N_ELEMENTS (packed_fields) },
                               1048,
                               1036 };

bool
cow_corrupt (const Cow *cow, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               cow->file->name, message);
  return false;
}

static bool
unsupported (const Cow *cow, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED, "%s: %s",
               cow->file->name, what);
  return false;
}

unsigned
cow_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  return len >= 8 && vp_be32_get (head) == COW_MAGIC ? 100 : 0;
}

/* ---- reading ------------------------------------------------------------ */

uint64_t
cow_bitmap_end (const CowLayout *layout, uint64_t size)
{
  uint64_t sectors = size / COW_SECTOR;
  return layout->len + sectors / 8 + (sectors % 8 != 0);
}

uint64_t
cow_data_offset (const CowLayout *layout, uint64_t size)
{
  return vp_round_up (cow_bitmap_end (layout, size), COW_SECTOR);
}

/* A packed header of an empty disk is what the padded one of a disk of one
 * sector looks like, so that it may have nothing behind it. */
static uint64_t
longest_file (const CowLayout *layout, uint64_t size)
{
  if (size == 0 && layout == &cow_packed)
    return layout->len;
  return cow_data_offset (layout, size) + size;
}

static bool
agrees (const Cow *cow, const CowLayout *layout, const CowHeader *h)
{
  return h->sector_size == COW_SECTOR && h->size % COW_SECTOR == 0 &&
         h->size <= COW_MAX_SIZE &&
         cow->file_end >= cow_bitmap_end (layout, h->size) &&
         (cow->file->is_device ||
          cow->file_end <= longest_file (layout, h->size));
}

static bool
is_uml (Cow *cow)
{
  uint8_t tail[8];
  return cow->file_end >= UML_HEAD_LEN &&
         vp_file_read (cow->file, UML_SECTOR_SIZE_32, tail, sizeof tail,
                       NULL) &&
         (vp_be32_get (tail) == COW_SECTOR ||
          vp_be32_get (tail + UML_SECTOR_SIZE_64 - UML_SECTOR_SIZE_32) ==
              COW_SECTOR);
}

/* Neither layout agrees: which of its words is to blame? */
static bool
explain (Cow *cow, const CowHeader *padded, const CowHeader *packed,
         GError **error)
{
  const CowHeader *h = packed->sector_size == COW_SECTOR ? packed : padded;
  if (is_uml (cow))
    return unsupported (cow, error,
                        "cow images of User-Mode Linux (version 2) are not "
                        "supported");
  if (h->sector_size != COW_SECTOR)
    return cow_corrupt (cow, error,
                        "the sector size is %" PRIu32 " instead of 512",
                        h->sector_size);
  if (h->size % COW_SECTOR != 0 || h->size > COW_MAX_SIZE)
    return cow_corrupt (cow, error,
                        "a disk of %" PRIu64 " bytes: no whole sectors, or "
                        "too large",
                        h->size);
  return cow_corrupt (cow, error,
                      "the file's length (%" PRIu64 " bytes) does not go with "
                      "a disk of %" PRIu64 " bytes",
                      cow->file_end, h->size);
}

static bool
choose_layout (Cow *cow, const uint8_t *head, GError **error)
{
  CowHeader padded, packed;
  vp_layout_load (&cow_padded.fields, head, COW_HEAD_LEN, &padded);
  vp_layout_load (&cow_packed.fields, head, COW_HEAD_LEN, &packed);
  bool is_padded = agrees (cow, &cow_padded, &padded);
  bool is_packed = agrees (cow, &cow_packed, &packed);
  if (is_padded && is_packed)
    return cow_corrupt (cow, error,
                        "could be read in two ways: as a disk of %" PRIu64
                        " or of %" PRIu64 " bytes",
                        padded.size, packed.size);
  if (!is_padded && !is_packed)
    return explain (cow, &padded, &packed, error);
  cow->layout = is_padded ? &cow_padded : &cow_packed;
  cow->size = is_padded ? padded.size : packed.size;
  cow->data_offset = cow_data_offset (cow->layout, cow->size);
  return true;
}

bool
cow_load_header (Cow *cow, GError **error)
{
  uint8_t head[COW_HEAD_LEN];
  if (!vp_file_get_size (cow->file, &cow->file_end, error) ||
      !vp_file_read (cow->file, 0, head, sizeof head, error))
    return false;
  if (vp_be32_get (head) != COW_MAGIC)
    return cow_corrupt (cow, error, "Image not in COW format");
  uint32_t version = vp_be32_get (head + 4);
  if (version == 1 || version == 3) {
    g_autofree char *what = g_strdup_printf (
        "cow images of User-Mode Linux (version %" PRIu32 ") are not supported",
        version);
    return unsupported (cow, error, what);
  }
  if (version != COW_VERSION) {
    g_autofree char *what =
        g_strdup_printf ("Unsupported cow version %" PRIu32, version);
    return unsupported (cow, error, what);
  }
  if (!choose_layout (cow, head, error))
    return false;
  const char *name = (const char *) head + COW_NAME_AT;
  if (!memchr (name, '\0', COW_NAME_LEN))
    return cow_corrupt (cow, error,
                        "the name of the backing file does not end");
  cow->backing_name = *name ? g_strdup (name) : NULL;
  return true;
}

/* ---- making ------------------------------------------------------------- */

const VpOption cow_options[] = {
  { "size", "Virtual disk size" },
  { "backing_file", "File name of a base image" },
  { "backing_fmt", "Format of the base image; the image cannot keep it" },
  { NULL, NULL },
};

bool
cow_check_create (const VpCreateOptions *options, GError **error)
{
  if (options->size <= COW_MAX_SIZE)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "The image size is too large for file format 'cow' (at most "
               "%" PRIu64 " bytes)",
               COW_MAX_SIZE);
  return false;
}

bool
cow_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  uint8_t head[COW_HEAD_LEN] = { 0 };
  CowHeader header = { .magic = COW_MAGIC,
                       .version = COW_VERSION,
                       .size = vp_round_up (options->size, COW_SECTOR),
                       .sector_size = COW_SECTOR };
  uint64_t data_offset = cow_data_offset (&cow_padded, header.size);
  vp_layout_store (&cow_padded.fields, &header, head, sizeof head);
  if (options->backing_name)
    memcpy (head + COW_NAME_AT, options->backing_name,
            MIN (strlen (options->backing_name), COW_NAME_LEN - 1));
  return vp_file_zero (file, 0, data_offset, true, error) &&
         vp_file_write (file, 0, head, sizeof head, error);
}

bool
cow_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
               GError **error)
{
  if (!cow_check_create (options, error))
    return false;
  ret_print->unit = COW_SECTOR;
  ret_print->overhead = cow_data_offset (&cow_padded, options->size);
  ret_print->whole = true;
  return true;
}

/* ---- changing ----------------------------------------------------------- */

bool
cow_store_size (Cow *cow, uint64_t size, GError **error)
{
  uint8_t *block = vp_tables_load (
      cow->tables, 0, (size_t) MIN (COW_BLOCK, cow->data_offset), error);
  if (!block)
    return false;
  vp_be64_set (block + cow->layout->size_at, size);
  vp_tables_dirty (cow->tables, 0, cow->layout->size_at, 8, COW_ORDER_SIZE);
  cow->size = size;
  return true;
}

/* A sector is written whole or not at all, the name has three: what the first
 * one does not hold goes out while nobody reads it, for the name in the first
 * one ends there.  Of two names that are both longer one would be half of
 * each, so that there is no way from one to the other. */
static bool
write_name (Cow *cow, const uint8_t *name, size_t old_len, size_t new_len,
            GError **error)
{
  size_t first = COW_SECTOR - COW_NAME_AT;
  if (old_len >= first && new_len >= first) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: a power cut could mix the old and the new name of the "
                 "backing file, as both are longer than %zu bytes; use a "
                 "shorter one",
                 cow->file->name, first - 1);
    return false;
  }
  if (new_len >= first && (!vp_file_write (cow->file, COW_SECTOR, name + first,
                                           COW_NAME_LEN - first, error) ||
                           !vp_file_flush (cow->file, error)))
    return false;
  return vp_file_write (cow->file, COW_NAME_AT, name, first, error) &&
         vp_file_flush (cow->file, error);
}

bool
cow_set_backing (gpointer state, const char *name, const char *format,
                 GError **error)
{
  Cow *cow = state;
  uint8_t field[COW_NAME_LEN] = { 0 };
  size_t old_len = cow->backing_name ? strlen (cow->backing_name) : 0;
  size_t new_len = name ? strlen (name) : 0;
  if (new_len > VP_MAX_NAME_LEN) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: the name of the backing file is too long",
                 cow->file->name);
    return false;
  }
  if (g_strcmp0 (name, cow->backing_name) == 0)
    return true;
  if (name)
    memcpy (field, name, new_len);
  /* The block that is kept has the old one. */
  if (!vp_tables_flush (cow->tables, error))
    return false;
  vp_tables_forget (cow->tables, 0);
  if (!write_name (cow, field, old_len, new_len, error))
    return false;
  g_free (cow->backing_name);
  cow->backing_name = g_strdup (name);
  return true;
}

/* ---- in words ----------------------------------------------------------- */

static char *
meaning_of (const char *name, uint64_t value)
{
  if (strcmp (name, "magic") == 0)
    return g_strdup (value == COW_MAGIC ? "OOOM" : "not cow");
  if (strcmp (name, "version") == 0)
    return g_strdup (value == COW_VERSION       ? "QEMU's"
                     : value == 1 || value == 3 ? "User-Mode Linux's"
                                                : "unknown");
  if (strcmp (name, "sector_size") == 0 && value != COW_SECTOR)
    return g_strdup ("not 512");
  return NULL;
}

bool
cow_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  uint8_t head[COW_HEAD_LEN];
  CowHeader header;
  uint64_t size;
  if (!vp_file_get_size (file, &size, error) ||
      !vp_file_read (file, 0, head, sizeof head, error))
    return false;
  g_autofree Cow *cow = g_new0 (Cow, 1);
  cow->file = file;
  cow->file_end = size;
  const CowLayout *layout =
      choose_layout (cow, head, NULL) ? cow->layout : &cow_padded;
  vp_layout_load (&layout->fields, head, sizeof head, &header);
  for (size_t i = 0; i < layout->fields.n_fields; i++) {
    const VpField *field = &layout->fields.fields[i];
    if (!vp_range_ok (field->offset, field->width, size))
      return true;
    uint64_t value = vp_layout_get (field, &header);
    vp_describe_number (facts, field->offset, field->width, field->name, value,
                        meaning_of (field->name, value));
    if (strcmp (field->name, "version") == 0)
      vp_describe_text (
          facts, COW_NAME_AT, COW_NAME_LEN, "backing file name",
          g_strndup ((const char *) head + COW_NAME_AT, COW_NAME_LEN));
  }
  return true;
}
