/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vhdx-header: headers, regions and metadata.  A log that waits to be applied
 * is not: the image is refused, with a word about who applies it. */
#include "config.h"

#include "storage/vhdx.h"

#include <string.h>

#include "storage/crc32c.h"
#include "storage/describe.h"
#include "storage/error.h"

#define HEADER_1              (64u << 10)
#define HEADER_2              (128u << 10)
#define REGIONS_1             (192u << 10)
#define REGIONS_2             (256u << 10)
#define REGIONS_LEN           (64u << 10)
#define METADATA_LEN          (64u << 10)
#define MAX_REGIONS           2047u
#define MAX_ITEMS             2047u
#define ENTRY_LEN             32u
#define REQUIRED_REGION       1u
#define REQUIRED_ITEM         4u
#define HAS_PARENT            2u
#define MAX_LOG               (UINT64_C (1) << 30)

#define FIELD(member, offset) VP_FIELD_LE (VhdxHeader, member, offset)

static const VpField fields[] = {
  FIELD (signature, 0),    FIELD (checksum, 4), FIELD (sequence, 8),
  FIELD (log_version, 64), FIELD (version, 66), FIELD (log_length, 68),
  FIELD (log_offset, 72),
};
const VpLayout vhdx_header_layout = { fields, G_N_ELEMENTS (fields) };

/* As they stand in the file: three little-endian numbers, then bytes. */
static const uint8_t bat_guid[] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6,
                                    0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e,
                                    0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t metadata_guid[] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47,
                                         0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f,
                                         0x05, 0x0f, 0x88, 0x6e };
static const uint8_t parameters_guid[] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa,
                                           0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
                                           0xaa, 0x44, 0xe7, 0x6b };
static const uint8_t size_guid[] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd,
                                     0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe,
                                     0xd8, 0x3b, 0xf4, 0xb8 };
static const uint8_t page83_guid[] = { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2,
                                       0x23, 0x45, 0x93, 0xef, 0xc3, 0x09,
                                       0xe0, 0x00, 0xc7, 0x46 };
static const uint8_t physical_guid[] = { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44,
                                         0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88,
                                         0x52, 0x51, 0xc5, 0x56 };
static const uint8_t logical_guid[] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9,
                                        0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
                                        0xa8, 0xfa, 0xab, 0x5f };

static bool
corrupt (const Vhdx *vhdx, GError **error, const char *what)
{
  return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error, "%s", what);
}

static bool
guid_is (const uint8_t *bytes, const uint8_t *guid)
{
  return memcmp (bytes, guid, VHDX_GUID_LEN) == 0;
}

/* Its own four bytes, at 4, count as zeros. */
static bool
checksum_is (const uint8_t *bytes, size_t len)
{
  static const uint8_t zeros[4];
  uint32_t crc = vp_crc32c (0, bytes, 4);
  crc = vp_crc32c (crc, zeros, sizeof zeros);
  return vp_crc32c (crc, bytes + 8, len - 8) == vp_le32_get (bytes + 4);
}

/* ---- the two headers ---------------------------------------------------- */

static bool
take_header (Vhdx *vhdx, uint64_t offset, GError **error)
{
  uint8_t bytes[VHDX_HEADER_LEN];
  VhdxHeader header;
  if (!vp_file_read (vhdx->file, offset, bytes, sizeof bytes, error))
    return false;
  vp_layout_load (&vhdx_header_layout, bytes, sizeof bytes, &header);
  if (memcmp (bytes, "head", 4) != 0 || !checksum_is (bytes, sizeof bytes) ||
      header.version != 1 ||
      (vhdx->header_offset > 0 && header.sequence <= vhdx->header.sequence))
    return true;
  vhdx->header = header;
  vhdx->header_offset = offset;
  memcpy (vhdx->log_guid, bytes + 48, VHDX_GUID_LEN);
  return true;
}

static bool
load_headers (Vhdx *vhdx, GError **error)
{
  uint8_t mark[8];
  if (!vp_file_read (vhdx->file, 0, mark, sizeof mark, error))
    return false;
  if (memcmp (mark, "vhdxfile", 8) != 0)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                      "Image not in VHDX format");
  if (!take_header (vhdx, HEADER_1, error) ||
      !take_header (vhdx, HEADER_2, error))
    return false;
  return vhdx->header_offset > 0 ||
         corrupt (vhdx, error, "neither of its two headers is sound");
}

/* ---- the log ------------------------------------------------------------ */

/* Is there an entry that belongs to this log? */
static bool
find_entry (Vhdx *vhdx, bool *ret_found, GError **error)
{
  const VhdxHeader *h = &vhdx->header;
  *ret_found = false;
  for (uint64_t at = 0; at < h->log_length; at += VHDX_LOG_SECTOR) {
    uint8_t entry[64];
    if (!vp_file_read (vhdx->file, h->log_offset + at, entry, sizeof entry,
                       error))
      return false;
    *ret_found =
        memcmp (entry, "loge", 4) == 0 && guid_is (entry + 32, vhdx->log_guid);
    if (*ret_found)
      return true;
  }
  return true;
}

static bool
check_log (Vhdx *vhdx, GError **error)
{
  static const uint8_t none[VHDX_GUID_LEN];
  const VhdxHeader *h = &vhdx->header;
  bool found;
  if (guid_is (vhdx->log_guid, none))
    return true;
  if (h->log_version != 0 || h->log_offset % VHDX_MIB ||
      h->log_length % VHDX_MIB || h->log_length > MAX_LOG ||
      h->log_offset < VHDX_MIB ||
      !vp_range_ok (h->log_offset, h->log_length, vhdx->file_end))
    return corrupt (vhdx, error, "its log does not lie within the file");
  if (!find_entry (vhdx, &found, error))
    return false;
  return !found ||
         vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                    "VHDX image contains a log that needs to be replayed; "
                    "'qemu-img check -r all' or Hyper-V replays it");
}

/* ---- regions ------------------------------------------------------------ */

static bool
regions_meet (const VhdxRegion *a, const VhdxRegion *b)
{
  return a->length > 0 && b->length > 0 && a->offset < b->offset + b->length &&
         b->offset < a->offset + a->length;
}

static bool
take_region (Vhdx *vhdx, const uint8_t *entry, GError **error)
{
  VhdxRegion region = { vp_le64_get (entry + 16), vp_le32_get (entry + 24) };
  VhdxRegion *to = guid_is (entry, bat_guid)        ? &vhdx->bat
                   : guid_is (entry, metadata_guid) ? &vhdx->metadata
                                                    : NULL;
  if (!to && !(vp_le32_get (entry + 28) & REQUIRED_REGION))
    return true;
  if (!to)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                      "needs a region that nobody here knows");
  if (to->length > 0)
    return corrupt (vhdx, error, "has a region twice");
  if (region.offset % VHDX_MIB || region.length % VHDX_MIB ||
      region.offset < VHDX_MIB || region.length == 0 ||
      !vp_range_ok (region.offset, region.length, vhdx->file_end))
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error,
                      "a region (0x%" PRIx64 " bytes at 0x%" PRIx64
                      ") does not lie within the file",
                      region.length, region.offset);
  *to = region;
  return true;
}

static bool
take_regions (Vhdx *vhdx, const uint8_t *table, GError **error)
{
  uint32_t count = vp_le32_get (table + 8);
  if (count > MAX_REGIONS)
    return corrupt (vhdx, error, "has too many regions");
  for (uint32_t i = 0; i < count; i++)
    if (!take_region (vhdx, table + 16 + i * ENTRY_LEN, error))
      return false;
  if (vhdx->bat.length == 0 || vhdx->metadata.length == 0)
    return corrupt (vhdx, error, "has no BAT, or no metadata");
  VhdxRegion log = { vhdx->header.log_offset, vhdx->header.log_length };
  if (!vp_range_ok (log.offset, log.length, UINT64_MAX) ||
      regions_meet (&vhdx->bat, &vhdx->metadata) ||
      regions_meet (&vhdx->bat, &log) || regions_meet (&vhdx->metadata, &log))
    return corrupt (vhdx, error, "its regions overlap");
  return true;
}

static bool
load_regions (Vhdx *vhdx, GError **error)
{
  static const uint64_t places[] = { REGIONS_1, REGIONS_2 };
  g_autofree uint8_t *table = g_malloc (REGIONS_LEN);
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++) {
    if (!vp_file_read (vhdx->file, places[i], table, REGIONS_LEN, error))
      return false;
    if (memcmp (table, "regi", 4) == 0 && checksum_is (table, REGIONS_LEN))
      return take_regions (vhdx, table, error);
  }
  return corrupt (vhdx, error, "neither of its two tables of regions is sound");
}

/* ---- metadata ----------------------------------------------------------- */

typedef struct {
  bool has_parameters, has_size, has_logical;
  uint32_t block_size, flags, logical;
  uint64_t size;
} Items;

/* Items lie behind the table, in the region. */
static bool
read_item (Vhdx *vhdx, const uint8_t *entry, uint32_t len, uint8_t *to,
           GError **error)
{
  uint32_t offset = vp_le32_get (entry + 16);
  if (vp_le32_get (entry + 20) < len || offset < METADATA_LEN ||
      !vp_range_ok (offset, len, vhdx->metadata.length))
    return corrupt (vhdx, error, "an item of metadata lies outside");
  return vp_file_read (vhdx->file, vhdx->metadata.offset + offset, to, len,
                       error);
}

static bool
take_item (Vhdx *vhdx, const uint8_t *entry, Items *items, GError **error)
{
  uint8_t bytes[8];
  if (guid_is (entry, parameters_guid)) {
    if (!read_item (vhdx, entry, 8, bytes, error))
      return false;
    items->has_parameters = true;
    items->block_size = vp_le32_get (bytes);
    items->flags = vp_le32_get (bytes + 4);
  } else if (guid_is (entry, size_guid)) {
    if (!read_item (vhdx, entry, 8, bytes, error))
      return false;
    items->has_size = true;
    items->size = vp_le64_get (bytes);
  } else if (guid_is (entry, logical_guid)) {
    if (!read_item (vhdx, entry, 4, bytes, error))
      return false;
    items->has_logical = true;
    items->logical = vp_le32_get (bytes);
  } else if (vp_le32_get (entry + 24) & REQUIRED_ITEM &&
             !guid_is (entry, page83_guid) && !guid_is (entry, physical_guid) &&
             !(items->flags & HAS_PARENT))
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                      "unsupported VHDX image (it needs metadata that nobody "
                      "here knows, or its parent)");
  return true;
}

static bool
check_items (Vhdx *vhdx, const Items *items, GError **error)
{
  uint32_t block = items->block_size;
  if (!items->has_parameters || !items->has_size || !items->has_logical)
    return corrupt (vhdx, error, "its metadata is not complete");
  if (items->flags & HAS_PARENT)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                      "unsupported VHDX image (differencing, it needs its "
                      "parent)");
  if (block < VHDX_MIB || block > 256 * VHDX_MIB || block & (block - 1))
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error,
                      "a block size of %" PRIu32 " cannot be", block);
  if (items->logical != 512 && items->logical != 4096)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                      "sectors of %" PRIu32 " bytes are not supported",
                      items->logical);
  if (items->size > VHDX_MAX_SIZE || items->size % items->logical)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error,
                      "a size of %" PRIu64 " bytes cannot be", items->size);
  vhdx->size = items->size;
  vhdx->block_size = block;
  vhdx->chunk_ratio = (UINT64_C (1) << 23) * items->logical / block;
  uint64_t blocks = items->size / block + (items->size % block != 0);
  uint64_t entries = blocks > 0 ? blocks + (blocks - 1) / vhdx->chunk_ratio : 0;
  if (entries * VHDX_BAT_ENTRY > vhdx->bat.length)
    return corrupt (vhdx, error, "its BAT is too short for the disk");
  return true;
}

static bool
load_metadata (Vhdx *vhdx, GError **error)
{
  g_autofree uint8_t *table = g_malloc (METADATA_LEN);
  Items items = { 0 };
  if (!vp_file_read (vhdx->file, vhdx->metadata.offset, table, METADATA_LEN,
                     error))
    return false;
  uint16_t count = vp_le16_get (table + 10);
  if (memcmp (table, "metadata", 8) != 0 || count > MAX_ITEMS)
    return corrupt (vhdx, error, "its metadata is none");
  for (uint16_t i = 0; i < count; i++)
    if (!take_item (vhdx, table + ENTRY_LEN + i * ENTRY_LEN, &items, error))
      return false;
  return check_items (vhdx, &items, error);
}

bool
vhdx_load (Vhdx *vhdx, GError **error)
{
  return vp_file_get_size (vhdx->file, &vhdx->file_end, error) &&
         load_headers (vhdx, error) && check_log (vhdx, error) &&
         load_regions (vhdx, error) && load_metadata (vhdx, error);
}

/* ---- in words ----------------------------------------------------------- */

bool
vhdx_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  static const uint64_t places[] = { HEADER_1, HEADER_2 };
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++) {
    uint8_t bytes[VHDX_HEADER_LEN];
    VhdxHeader header;
    if (!vp_file_read (file, places[i], bytes, sizeof bytes, error))
      return false;
    vp_layout_load (&vhdx_header_layout, bytes, sizeof bytes, &header);
    for (size_t j = 0; j < G_N_ELEMENTS (fields); j++) {
      const char *name = fields[j].name;
      const char *meaning = NULL;
      if (strcmp (name, "signature") == 0)
        meaning = memcmp (bytes, "head", 4) == 0 ? "a header" : "no header";
      else if (strcmp (name, "checksum") == 0)
        meaning = checksum_is (bytes, sizeof bytes) ? "right" : "wrong";
      vp_describe_number (facts, places[i] + fields[j].offset, fields[j].width,
                          name, vp_layout_get (&fields[j], &header),
                          g_strdup (meaning));
    }
  }
  return true;
}
