/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vpc: VHD, the format of Virtual PC, Hyper-V and Azure; read, never written.
 *
 *     fixed      data | footer
 *     dynamic    footer | header | table | block | block | ... | footer
 *
 * Numbers are big-endian.  The table has a sector number for each block; a
 * block begins with a bitmap of its sectors.  We read what lies in a block
 * whatever the bitmap says, as QEMU does: some writers never set its bits.
 *
 * Who made the image decides which of its two sizes holds: Virtual PC and QEMU
 * go by the geometry, others by the size in bytes. */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "storage/describe.h"
#include "storage/error.h"
#include "storage/formats.h"
#include "storage/table.h"

#define SECTOR        512u
#define FOOTER_LEN    512u
#define HEADER_LEN    1024u
#define UNUSED        0xffffffffu
#define MAX_GEOMETRY  (UINT64_C (65535) * 16 * 255)
#define MAX_ENTRIES   (16u << 20)
#define MAX_BLOCK     (1u << 30)
#define CHUNK_ENTRIES 1024u
#define CACHE_LIMIT   ((size_t) 1 << 20)

static const uint8_t footer_mark[] = "conectix", header_mark[] = "cxsparse";

enum { TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4 };

typedef struct {
  uint64_t cookie;
  uint32_t features, version;
  uint64_t header_offset;
  uint32_t timestamp, creator, creator_version, creator_os;
  uint64_t original_size, current_size;
  uint16_t cylinders;
  uint8_t heads, sectors;
  uint32_t type, checksum;
} Footer;

typedef struct {
  uint64_t cookie, table_offset;
  uint32_t version, n_entries, block_size, checksum;
} Header;

#define FIELD(type, member, offset) VP_FIELD_BE (type, member, offset)

static const VpField footer_fields[] = {
  FIELD (Footer, cookie, 0),           FIELD (Footer, features, 8),
  FIELD (Footer, version, 12),         FIELD (Footer, header_offset, 16),
  FIELD (Footer, timestamp, 24),       FIELD (Footer, creator, 28),
  FIELD (Footer, creator_version, 32), FIELD (Footer, creator_os, 36),
  FIELD (Footer, original_size, 40),   FIELD (Footer, current_size, 48),
  FIELD (Footer, cylinders, 56),       FIELD (Footer, heads, 58),
  FIELD (Footer, sectors, 59),         FIELD (Footer, type, 60),
  FIELD (Footer, checksum, 64),
};
static const VpLayout footer_layout = { footer_fields,
                                        G_N_ELEMENTS (footer_fields) };

static const VpField header_fields[] = {
  FIELD (Header, cookie, 0),      FIELD (Header, table_offset, 16),
  FIELD (Header, version, 24),    FIELD (Header, n_entries, 28),
  FIELD (Header, block_size, 32), FIELD (Header, checksum, 36),
};
static const VpLayout header_layout = { header_fields,
                                        G_N_ELEMENTS (header_fields) };

typedef struct {
  VpFile *file;     /* borrowed */
  VpTables *tables; /* NULL: fixed */
  Footer footer;
  Header header; /* dynamic */
  uint64_t size; /* of the disk */
  uint64_t bitmap_size, file_end;
} Vpc;

static bool fail (VpFile *file, VpImageErrorCode code, GError **error,
                  const char *format, ...) G_GNUC_PRINTF (4, 5);

static bool
fail (VpFile *file, VpImageErrorCode code, GError **error, const char *format,
      ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, (int) code, "%s: %s", file->name,
               message);
  return false;
}

/* ---- footer and header -------------------------------------------------- */

/* All bytes but its own, added up and turned round. */
static bool
checksum_is (const uint8_t *bytes, size_t len, size_t at)
{
  uint32_t sum = 0;
  for (size_t i = 0; i < len; i++)
    if (i < at || i >= at + 4)
      sum += bytes[i];
  return vp_be32_get (bytes + at) == ~sum;
}

/* At the beginning of what is not fixed, at the end of all; older ones are one
 * byte short. */
static bool
load_footer (Vpc *vpc, GError **error)
{
  uint8_t footer[FOOTER_LEN];
  uint64_t at = 0;
  for (unsigned try = 0;; try++) {
    if (!vp_file_read (vpc->file, at, footer, sizeof footer, error))
      return false;
    if (memcmp (footer, footer_mark, 8) == 0)
      break;
    if (try > 0 || vpc->file_end < FOOTER_LEN)
      return fail (vpc->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                   "invalid VPC image");
    at = vpc->file_end - FOOTER_LEN;
  }
  vp_layout_load (&footer_layout, footer, sizeof footer, &vpc->footer);
  if (!checksum_is (footer, sizeof footer, 64))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "the checksum of the footer is wrong");
  if (vpc->footer.type == TYPE_DIFFERENCING)
    return fail (vpc->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                 "unsupported VHD image (differencing, it needs its parent)");
  if (vpc->footer.type != TYPE_FIXED && vpc->footer.type != TYPE_DYNAMIC)
    return fail (vpc->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                 "unsupported VHD image (type %" PRIu32 ")", vpc->footer.type);
  return true;
}

/* Those who go by the size in bytes. */
static bool
trusts_size (uint32_t creator)
{
  static const char *const names[] = { "win ", "qem2", "d2v ", "tap\0",
                                       "CTXS" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    if (vp_be32_get ((const uint8_t *) names[i]) == creator)
      return true;
  return false;
}

static bool
find_size (Vpc *vpc, GError **error)
{
  const Footer *f = &vpc->footer;
  uint64_t sectors = (uint64_t) f->cylinders * f->heads * f->sectors;
  if (trusts_size (f->creator) || sectors == MAX_GEOMETRY)
    sectors = f->current_size / SECTOR;
  if (sectors > VP_MAX_VIRTUAL_SIZE / SECTOR)
    return fail (vpc->file, VP_IMAGE_ERROR_RANGE, error,
                 "an image cannot be that large");
  vpc->size = sectors * SECTOR;
  if (f->type == TYPE_FIXED &&
      !vp_range_ok (FOOTER_LEN, vpc->size, vpc->file_end))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "the file is too short for a disk of %" PRIu64 " bytes",
                 vpc->size);
  return true;
}

static bool
check_header (Vpc *vpc, GError **error)
{
  const Header *h = &vpc->header;
  uint32_t size = h->block_size;
  if (size < SECTOR || size > MAX_BLOCK || size & (size - 1))
    return fail (vpc->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                 "Invalid block size %" PRIu32, size);
  if (h->n_entries > MAX_ENTRIES)
    return fail (vpc->file, VP_IMAGE_ERROR_UNSUPPORTED, error,
                 "Max Table Entries too large (%" PRIu32 ")", h->n_entries);
  if ((uint64_t) h->n_entries * size < vpc->size)
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "Page table too small");
  if (h->table_offset % SECTOR ||
      !vp_range_ok (h->table_offset, (uint64_t) h->n_entries * 4,
                    vpc->file_end))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "the block table (0x%" PRIx64 ") does not lie within the file",
                 h->table_offset);
  vpc->bitmap_size = vp_round_up (size / SECTOR / 8, SECTOR);
  return true;
}

static bool
load_header (Vpc *vpc, GError **error)
{
  uint8_t header[HEADER_LEN];
  uint64_t at = vpc->footer.header_offset;
  if (vpc->footer.type == TYPE_FIXED)
    return true;
  if (!vp_range_ok (at, HEADER_LEN, vpc->file_end))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "the header (0x%" PRIx64 ") does not lie within the file", at);
  if (!vp_file_read (vpc->file, at, header, sizeof header, error))
    return false;
  if (memcmp (header, header_mark, 8) != 0)
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "invalid VPC image: no header at 0x%" PRIx64, at);
  if (!checksum_is (header, sizeof header, 36))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "the checksum of the header is wrong");
  vp_layout_load (&header_layout, header, sizeof header, &vpc->header);
  if (!check_header (vpc, error))
    return false;
  vpc->tables = vp_tables_new (vpc->file, CACHE_LIMIT, true, NULL, NULL);
  return true;
}

/* ---- where -------------------------------------------------------------- */

static bool
get_entry (Vpc *vpc, uint64_t block, uint32_t *ret_entry, GError **error)
{
  uint64_t first = block - block % CHUNK_ENTRIES;
  uint64_t count = MIN (CHUNK_ENTRIES, vpc->header.n_entries - first);
  const uint8_t *chunk =
      vp_tables_load (vpc->tables, vpc->header.table_offset + first * 4,
                      (size_t) count * 4, error);
  if (!chunk)
    return false;
  *ret_entry = vp_be32_get (chunk + (block - first) * 4);
  return true;
}

/* Blocks from block on that are not stored, as far as a range goes. */
static bool
skip_unused (Vpc *vpc, uint64_t block, uint64_t last, uint64_t *ret_end,
             GError **error)
{
  for (uint32_t entry = UNUSED; block <= last; block++) {
    if (!get_entry (vpc, block, &entry, error))
      return false;
    if (entry != UNUSED)
      break;
  }
  *ret_end = block;
  return true;
}

static bool
map_block (Vpc *vpc, uint64_t offset, uint64_t length, VpRun *ret_run,
           GError **error)
{
  uint64_t unit = vpc->header.block_size, skip = offset % unit, end;
  uint64_t block = offset / unit;
  uint32_t entry;
  if (!vp_tables_trim (vpc->tables, error) ||
      !get_entry (vpc, block, &entry, error))
    return false;
  if (entry == UNUSED) {
    if (!skip_unused (vpc, block + 1, (offset + length - 1) / unit, &end,
                      error))
      return false;
    *ret_run = (VpRun){ .kind = VP_RUN_UNALLOCATED,
                        .length = MIN (length, end * unit - offset) };
    return true;
  }
  uint64_t at = (uint64_t) entry * SECTOR + vpc->bitmap_size + skip;
  length = MIN (length, unit - skip);
  if (!vp_range_ok (at, length, vpc->file_end))
    return fail (vpc->file, VP_IMAGE_ERROR_CORRUPT, error,
                 "block %" PRIu64 " points past the end of the file "
                 "(0x%" PRIx64 ")",
                 block, at);
  *ret_run = (VpRun){
    .kind = VP_RUN_DATA, .length = length, .file = vpc->file, .offset = at
  };
  return true;
}

static bool
vpc_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
         GError **error)
{
  Vpc *vpc = state;
  if (vpc->tables)
    return map_block (vpc, offset, length, ret_run, error);
  *ret_run = (VpRun){
    .kind = VP_RUN_DATA, .length = length, .file = vpc->file, .offset = offset
  };
  return true;
}

/* ---- life --------------------------------------------------------------- */

static unsigned
vpc_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  return len >= 8 && memcmp (head, footer_mark, 8) == 0 ? 100 : 0;
}

static void
vpc_close (gpointer state)
{
  Vpc *vpc = state;
  vp_tables_free (vpc->tables);
  g_free (vpc);
}

static bool
vpc_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
          gpointer *ret_state, GError **error)
{
  if (flags & VP_DRIVER_WRITABLE)
    return fail (file, VP_IMAGE_ERROR_READ_ONLY, error,
                 "Format driver 'vpc' is read-only; convert the image to "
                 "write to it");
  Vpc *vpc = g_new0 (Vpc, 1);
  vpc->file = file;
  if (!vp_file_get_size (file, &vpc->file_end, error) ||
      !load_footer (vpc, error) || !find_size (vpc, error) ||
      !load_header (vpc, error)) {
    vpc_close (vpc);
    return false;
  }
  *ret_state = vpc;
  return true;
}

static uint64_t
vpc_get_size (gpointer state)
{
  return ((Vpc *) state)->size;
}

static bool
vpc_info (gpointer state, VpImageInfo *info, GError **error)
{
  const Vpc *vpc = state;
  info->cluster_size = vpc->tables ? vpc->header.block_size : 0;
  return true;
}

/* A fixed disk is its file, and that may be sparse. */
static bool
vpc_has_holes (gpointer state)
{
  return true;
}

static void
describe_fields (GPtrArray *facts, const VpLayout *layout, const void *record,
                 uint64_t at)
{
  for (size_t i = 0; i < layout->n_fields; i++) {
    const VpField *field = &layout->fields[i];
    vp_describe_number (facts, at + field->offset, field->width, field->name,
                        vp_layout_get (field, record), NULL);
  }
}

static bool
vpc_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  Vpc vpc = { .file = file };
  uint8_t bytes[HEADER_LEN];
  if (!vp_file_get_size (file, &vpc.file_end, error) ||
      !vp_file_read (file, 0, bytes, FOOTER_LEN, error))
    return false;
  uint64_t at = memcmp (bytes, footer_mark, 8) == 0 ? 0
                : vpc.file_end >= FOOTER_LEN        ? vpc.file_end - FOOTER_LEN
                                                    : 0;
  if (!vp_file_read (file, at, bytes, FOOTER_LEN, error))
    return false;
  vp_layout_load (&footer_layout, bytes, FOOTER_LEN, &vpc.footer);
  describe_fields (facts, &footer_layout, &vpc.footer, at);
  at = vpc.footer.header_offset;
  if (vpc.footer.type == TYPE_FIXED ||
      !vp_range_ok (at, HEADER_LEN, vpc.file_end))
    return true;
  if (!vp_file_read (file, at, bytes, HEADER_LEN, error))
    return false;
  vp_layout_load (&header_layout, bytes, HEADER_LEN, &vpc.header);
  describe_fields (facts, &header_layout, &vpc.header, at);
  return true;
}

static const VpOption options[] = {
  { NULL, NULL },
};

const VpFormat vp_format_vpc = {
  .name = "vpc",
  .options = options,
  .header = &footer_layout,
  .probe = vpc_probe,
  .open = vpc_open,
  .close = vpc_close,
  .get_size = vpc_get_size,
  .info = vpc_info,
  .map = vpc_map,
  .has_holes = vpc_has_holes,
  .describe = vpc_describe,
};
