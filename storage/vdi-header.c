/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi-header: the first sector: checked, stored, and in words.  Images that
 * need another one below them are known, and refused by name. */
#include "config.h"

#include "storage/vdi.h"

#include <stdarg.h>
#include <string.h>

#include "storage/describe.h"
#include "storage/error.h"

#define SIGNATURE_OFFSET      0x40u
#define DESCRIPTION_OFFSET    0x54u
#define DESCRIPTION_LEN       256u

#define FIELD(member, offset) VP_FIELD_LE (VdiHeader, member, offset)

static const VpField fields[] = {
  FIELD (signature, 0x40),    FIELD (version, 0x44),
  FIELD (header_size, 0x48),  FIELD (type, 0x4c),
  FIELD (flags, 0x50),        FIELD (map_offset, 0x154),
  FIELD (data_offset, 0x158), FIELD (cylinders, 0x15c),
  FIELD (heads, 0x160),       FIELD (sectors, 0x164),
  FIELD (sector_size, 0x168), FIELD (disk_size, 0x170),
  FIELD (block_size, 0x178),  FIELD (block_extra, 0x17c),
  FIELD (n_blocks, 0x180),    FIELD (n_allocated, 0x184),
};

const VpLayout vdi_header_layout = { fields, G_N_ELEMENTS (fields) };

/* ---- checks ------------------------------------------------------------- */

static bool
fail (VpFile *file, VpImageErrorCode code, GError **error, const char *format,
      va_list args)
{
  g_autofree char *message = g_strdup_vprintf (format, args);
  g_set_error (error, VP_IMAGE_ERROR, (int) code, "%s: %s", file->name,
               message);
  return false;
}

bool
vdi_corrupt (VpFile *file, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  bool ok = fail (file, VP_IMAGE_ERROR_CORRUPT, error, format, args);
  va_end (args);
  return ok;
}

static bool unsupported (VpFile *file, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

static bool
unsupported (VpFile *file, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  bool ok = fail (file, VP_IMAGE_ERROR_UNSUPPORTED, error, format, args);
  va_end (args);
  return ok;
}

unsigned
vdi_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  return vp_range_ok (SIGNATURE_OFFSET, 4, len) &&
                 vp_le32_get (head + SIGNATURE_OFFSET) == VDI_SIGNATURE
             ? 100
             : 0;
}

static bool
is_null (const uint8_t *uuid)
{
  static const uint8_t zeros[VDI_UUID_LEN];
  return memcmp (uuid, zeros, VDI_UUID_LEN) == 0;
}

static bool
check_kind (VpFile *file, const VdiHeader *h, const uint8_t *sector,
            GError **error)
{
  if (h->signature != VDI_SIGNATURE)
    return unsupported (file, error,
                        "Image not in VDI format (bad signature %08" PRIx32 ")",
                        h->signature);
  if (h->version != VDI_VERSION)
    return unsupported (
        file, error, "unsupported VDI image (version %" PRIu32 ".%" PRIu32 ")",
        h->version >> 16, h->version & 0xffff);
  if (h->type == VDI_TYPE_UNDO || h->type == VDI_TYPE_DIFF)
    return unsupported (file, error,
                        "unsupported VDI image (%s image, it needs its "
                        "parent)",
                        h->type == VDI_TYPE_UNDO ? "an undo"
                                                 : "a differencing");
  if (h->type != VDI_TYPE_DYNAMIC && h->type != VDI_TYPE_STATIC)
    return unsupported (file, error,
                        "unsupported VDI image (unknown type %" PRIu32 ")",
                        h->type);
  if (!is_null (sector + VDI_LINK_OFFSET))
    return unsupported (file, error,
                        "unsupported VDI image (non-NULL link UUID: it needs "
                        "the image before it)");
  if (!is_null (sector + VDI_PARENT_OFFSET))
    return unsupported (file, error,
                        "unsupported VDI image (non-NULL parent UUID: it "
                        "needs its parent)");
  return true;
}

static bool
check_sizes (VpFile *file, const VdiHeader *h, GError **error)
{
  if (h->sector_size != VDI_SECTOR)
    return unsupported (file, error,
                        "unsupported VDI image (sector size %" PRIu32
                        " is not 512)",
                        h->sector_size);
  if (h->block_size < VDI_MIN_BLOCK || h->block_size > VDI_MAX_BLOCK ||
      h->block_size & (h->block_size - 1))
    return unsupported (file, error,
                        "unsupported VDI image (block size %" PRIu32 ")",
                        h->block_size);
  if (h->block_extra % VDI_SECTOR || h->block_extra > VDI_MAX_BLOCK)
    return unsupported (
        file, error, "unsupported VDI image (%" PRIu32 " extra bytes a block)",
        h->block_extra);
  uint64_t most = (uint64_t) VDI_MAX_BLOCKS * h->block_size;
  if (h->disk_size > most)
    return unsupported (file, error,
                        "Unsupported VDI image size (size is 0x%" PRIx64
                        ", max supported is 0x%" PRIx64 ")",
                        h->disk_size, most);
  if (h->n_blocks > VDI_MAX_BLOCKS)
    return unsupported (file, error,
                        "unsupported VDI image (too many blocks %" PRIu32
                        ", max is %" PRIu32 ")",
                        h->n_blocks, VDI_MAX_BLOCKS);
  if (h->disk_size > (uint64_t) h->n_blocks * h->block_size)
    return vdi_corrupt (file, error,
                        "unsupported VDI image (disk size %" PRIu64
                        ", image bitmap has room for %" PRIu64 ")",
                        h->disk_size, (uint64_t) h->n_blocks * h->block_size);
  return true;
}

static bool
check_places (VpFile *file, const VdiHeader *h, GError **error)
{
  uint64_t file_size, map_len = (uint64_t) h->n_blocks * 4;
  if (!vp_file_get_size (file, &file_size, error))
    return false;
  if (h->map_offset % VDI_SECTOR || h->map_offset == 0)
    return vdi_corrupt (file, error,
                        "unsupported VDI image (unaligned block map offset "
                        "0x%" PRIx32 ")",
                        h->map_offset);
  if (h->data_offset % VDI_SECTOR)
    return vdi_corrupt (file, error,
                        "unsupported VDI image (unaligned data offset "
                        "0x%" PRIx32 ")",
                        h->data_offset);
  if (h->map_offset + map_len > h->data_offset)
    return vdi_corrupt (file, error,
                        "the block map (0x%" PRIx64 " bytes at 0x%" PRIx32
                        ") lies in the data (0x%" PRIx32 ")",
                        map_len, h->map_offset, h->data_offset);
  if (!vp_range_ok (h->map_offset, map_len, file_size))
    return vdi_corrupt (file, error,
                        "the block map lies past the end of the file "
                        "(0x%" PRIx64 ")",
                        file_size);
  return true;
}

bool
vdi_load_header (VpFile *file, VdiHeader *ret_header, GError **error)
{
  uint8_t sector[VDI_SECTOR];
  VdiHeader header;
  if (!vp_file_read (file, 0, sector, sizeof sector, error))
    return false;
  vp_layout_load (&vdi_header_layout, sector, sizeof sector, &header);
  if (!check_kind (file, &header, sector, error) ||
      !check_sizes (file, &header, error) ||
      !check_places (file, &header, error))
    return false;
  *ret_header = header;
  return true;
}

/* What we do not know of the sector stays. */
bool
vdi_store_header (Vdi *vdi, GError **error)
{
  uint8_t *sector = vp_tables_load (vdi->tables, 0, VDI_SECTOR, error);
  if (!sector)
    return false;
  vp_layout_store (&vdi_header_layout, &vdi->header, sector, VDI_SECTOR);
  vp_tables_dirty (vdi->tables, 0, 0, VDI_SECTOR, VDI_ORDER_HEADER);
  return true;
}

/* ---- in words ----------------------------------------------------------- */

static char *
meaning_of (const char *name, uint64_t value)
{
  static const char *const types[] = { "dynamic", "static", "undo",
                                       "differencing" };
  if (strcmp (name, "signature") == 0)
    return g_strdup (value == VDI_SIGNATURE ? "VDI" : "not VDI");
  if (strcmp (name, "version") == 0)
    return g_strdup_printf ("%" PRIu64 ".%" PRIu64, value >> 16,
                            value & 0xffff);
  if (strcmp (name, "type") == 0)
    return g_strdup (value >= 1 && value <= G_N_ELEMENTS (types)
                         ? types[value - 1]
                         : "unknown");
  return NULL;
}

static void
describe_uuid (GPtrArray *facts, const uint8_t *sector, uint32_t offset,
               const char *name)
{
  const uint8_t *u = sector + offset;
  GString *text = g_string_new (NULL);
  /* Its first three numbers are little-endian as well. */
  g_string_append_printf (text, "%08" PRIx32 "-%04x-%04x-", vp_le32_get (u),
                          vp_le16_get (u + 4), vp_le16_get (u + 6));
  for (unsigned i = 8; i < VDI_UUID_LEN; i++)
    g_string_append_printf (text, "%s%02x", i == 10 ? "-" : "", u[i]);
  if (is_null (u))
    g_string_assign (text, "none");
  vp_describe_text (facts, offset, VDI_UUID_LEN, name,
                    g_string_free (text, FALSE));
}

static void
describe_texts (GPtrArray *facts, const uint8_t *sector)
{
  const char *text = (const char *) sector + DESCRIPTION_OFFSET;
  if (*text)
    vp_describe_text (facts, DESCRIPTION_OFFSET, DESCRIPTION_LEN, "description",
                      g_strndup (text, DESCRIPTION_LEN));
  describe_uuid (facts, sector, VDI_UUID_OFFSET, "uuid");
  describe_uuid (facts, sector, VDI_SNAPSHOT_OFFSET, "last_snapshot_uuid");
  describe_uuid (facts, sector, VDI_LINK_OFFSET, "link_uuid");
  describe_uuid (facts, sector, VDI_PARENT_OFFSET, "parent_uuid");
}

bool
vdi_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  uint8_t sector[VDI_SECTOR];
  VdiHeader header;
  uint64_t size;
  if (!vp_file_get_size (file, &size, error) ||
      !vp_file_read (file, 0, sector, sizeof sector, error))
    return false;
  size_t len = (size_t) MIN (size, sizeof sector);
  vp_layout_load (&vdi_header_layout, sector, len, &header);
  for (size_t i = 0; i < G_N_ELEMENTS (fields); i++) {
    const VpField *field = &fields[i];
    if (!vp_range_ok (field->offset, field->width, len))
      break;
    uint64_t value = vp_layout_get (field, &header);
    vp_describe_number (facts, field->offset, field->width, field->name, value,
                        meaning_of (field->name, value));
  }
  if (header.signature == VDI_SIGNATURE && len == sizeof sector)
    describe_texts (facts, sector);
  return true;
}
