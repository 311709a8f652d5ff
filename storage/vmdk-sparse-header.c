/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-header: headers of the three kinds, and what they must say
 * before anything is read by them.  "Virtual Disk Format 5.0", sections
 * "Hosted Sparse Extents" and "ESX Server Sparse Extents".
 *
 * Where a footer is needed it holds in place of the header. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"
#include "storage/vmdk-stream.h"

#define FIELD(member, offset)      VP_FIELD_LE (VmdkHeader, member, offset)
#define COWD_FIELD(member, offset) VP_FIELD_LE (VmdkCowdHeader, member, offset)

static const VpField header_fields[] = {
  FIELD (magic, 0),
  FIELD (version, 4),
  FIELD (flags, 8),
  FIELD (capacity, 12),
  FIELD (grain_size, 20),
  FIELD (descriptor_offset, 28),
  FIELD (descriptor_size, 36),
  FIELD (gtes_per_gt, 44),
  FIELD (rgd_offset, 48),
  FIELD (gd_offset, 56),
  FIELD (overhead, 64),
  FIELD (unclean, 72),
  FIELD (single_end, 73),
  FIELD (no_end, 74),
  FIELD (double_end_1, 75),
  FIELD (double_end_2, 76),
  FIELD (compression, 77),
};

const VpLayout vmdk_header_layout = { header_fields,
                                      G_N_ELEMENTS (header_fields) };

static const VpField cowd_fields[] = {
  COWD_FIELD (magic, 0),       COWD_FIELD (version, 4),
  COWD_FIELD (flags, 8),       COWD_FIELD (capacity, 12),
  COWD_FIELD (grain_size, 16), COWD_FIELD (gd_offset, 20),
  COWD_FIELD (gd_entries, 24), COWD_FIELD (free_sector, VMDK_COWD_FREE_SECTOR),
};

const VpLayout vmdk_cowd_layout = { cowd_fields, G_N_ELEMENTS (cowd_fields) };

bool
vmdk_sparse_is (const uint8_t *head, size_t len)
{
  if (len < 8)
    return false;
  uint32_t magic = vp_le32_get (head);
  return magic == VMDK_MAGIC || magic == VMDK_COWD_MAGIC ||
         vp_le64_get (head) == VMDK_SE_MAGIC;
}

static bool
unsupported (const VmdkSparse *s, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED, "%s: %s",
               s->file->name, what);
  return false;
}

/* ---- numbers that all kinds have ---------------------------------------- */

/* grain, capacity: sectors. */
static bool
set_geometry (VmdkSparse *s, uint64_t capacity, uint64_t grain, uint32_t gtes,
              GError **error)
{
  if (capacity > VP_MAX_VIRTUAL_SIZE / VMDK_SECTOR)
    return vmdk_corrupt (s, error, "its capacity is too large (%" PRIu64 ")",
                         capacity);
  if (grain == 0 || grain > VMDK_MAX_GRAIN || (grain & (grain - 1)) != 0)
    return vmdk_corrupt (s, error, "a grain cannot have %" PRIu64 " sectors",
                         grain);
  uint64_t reach = grain * gtes;
  uint64_t n_gts = capacity / reach + (capacity % reach != 0);
  if (n_gts > VP_MAX_TABLE_SIZE / (s->facts.is_sesparse ? 8 : 4))
    return vmdk_corrupt (
        s, error, "its grain directory is too large (%" PRIu64 " entries)",
        n_gts);
  s->facts.capacity = capacity * VMDK_SECTOR;
  s->facts.grain_size = grain * VMDK_SECTOR;
  s->grain_sectors = grain;
  s->gtes = gtes;
  s->n_gts = (uint32_t) n_gts;
  return true;
}

/* The whole of a directory at that sector lies in the file. */
static bool
set_directory (const VmdkSparse *s, const char *which, uint64_t sector,
               uint64_t *ret_offset, GError **error)
{
  uint64_t offset;
  if (__builtin_mul_overflow (sector, (uint64_t) VMDK_SECTOR, &offset) ||
      (s->n_gts > 0 && sector == 0) ||
      !vp_range_ok (offset, vmdk_gd_size (s), s->file_size))
    return vmdk_corrupt (s, error,
                         "the %s lies outside of the file (sector %" PRIu64 ")",
                         which, sector);
  *ret_offset = offset;
  return true;
}

static bool
set_descriptor (VmdkSparse *s, uint64_t sector, uint64_t sectors,
                GError **error)
{
  if (sector == 0 || sectors == 0)
    return true;
  uint64_t limit = s->file_size / VMDK_SECTOR;
  if (!vp_range_ok (sector, sectors, limit) && !s->lenient)
    return vmdk_corrupt (s, error,
                         "its descriptor lies outside of the file (sector "
                         "%" PRIu64 ", %" PRIu64 " sectors)",
                         sector, sectors);
  if (sector >= limit)
    return true;
  s->facts.descriptor_offset = sector * VMDK_SECTOR;
  s->facts.descriptor_size = MIN (sectors, limit - sector) * VMDK_SECTOR;
  return true;
}

/* ---- hosted -------------------------------------------------------------- */

static bool
load_footer (VmdkSparse *s, const uint8_t *header, GError **error)
{
  uint8_t footer[VMDK_SECTOR];
  if (!vmdk_stream_load_footer (s->file, header, footer, error))
    return false;
  vp_layout_load (&vmdk_header_layout, footer, VMDK_SECTOR, &s->header);
  s->facts.needs_footer = true;
  return true;
}

static bool
check_words (const VmdkSparse *s, GError **error)
{
  const VmdkHeader *h = &s->header;
  if (h->version < 1 || h->version > 3) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: Unsupported VMDK version %" PRIu32, s->file->name,
                 h->version);
    return false;
  }
  if (h->flags & VMDK_FLAG_NEWLINES &&
      (h->single_end != '\n' || h->no_end != ' ' || h->double_end_1 != '\r' ||
       h->double_end_2 != '\n'))
    return vmdk_corrupt (s, error,
                         "its ends of lines were changed; it was sent as text");
  if (h->flags & VMDK_FLAG_COMPRESSED && h->compression != 1)
    return unsupported (s, error, "an unknown kind of compression");
  return true;
}

static bool
load_hosted (VmdkSparse *s, const uint8_t *sector, GError **error)
{
  VmdkHeader *h = &s->header;
  vp_layout_load (&vmdk_header_layout, sector, VMDK_SECTOR, h);
  if (!check_words (s, error) ||
      !set_descriptor (s, h->descriptor_offset, h->descriptor_size, error))
    return false;
  s->facts.version = h->version;
  s->facts.compressed = h->flags & VMDK_FLAG_COMPRESSED;
  s->facts.has_markers = h->flags & VMDK_FLAG_MARKERS;
  s->facts.zeroed_grain = h->flags & VMDK_FLAG_ZEROED_GRAIN;
  if (h->capacity == 0 && s->facts.descriptor_offset > 0) {
    s->facts.grain_size = VMDK_SECTOR;
    s->grain_sectors = 1;
    s->gtes = 1;
    return true;
  }
  if (h->gtes_per_gt == 0 || h->gtes_per_gt > VMDK_MAX_GTES)
    return vmdk_corrupt (s, error,
                         "a grain table cannot have %" PRIu32 " entries",
                         h->gtes_per_gt);
  if (!set_geometry (s, h->capacity, h->grain_size, h->gtes_per_gt, error) ||
      (h->gd_offset == VMDK_GD_AT_END && !load_footer (s, sector, error)))
    return false;
  if (h->overhead > vp_round_up (s->file_size, VMDK_SECTOR) / VMDK_SECTOR)
    return vmdk_corrupt (
        s, error, "was cut off; at least %" PRIu64 " sectors are expected",
        h->overhead);
  /* A broken copy does not keep anybody from reading. */
  if (h->flags & VMDK_FLAG_REDUNDANT && h->rgd_offset != 0 &&
      h->rgd_offset != h->gd_offset && h->rgd_offset != VMDK_GD_AT_END &&
      !set_directory (s, "redundant grain directory", h->rgd_offset,
                      &s->rgd_offset, NULL))
    s->tangled = true;
  return set_directory (s, "grain directory", h->gd_offset, &s->gd_offset,
                        error);
}

/* ---- ESX ----------------------------------------------------------------- */

static bool
load_cowd (VmdkSparse *s, const uint8_t *sector, GError **error)
{
  VmdkCowdHeader h;
  vp_layout_load (&vmdk_cowd_layout, sector, VMDK_SECTOR, &h);
  s->facts.is_cowd = true;
  s->facts.version = h.version;
  if (h.version != 1)
    return unsupported (s, error, "an unknown version of COWD");
  if (!set_geometry (s, h.capacity, h.grain_size, VMDK_COWD_GTES, error))
    return false;
  if (h.gd_entries < s->n_gts)
    return vmdk_corrupt (s, error,
                         "its grain directory is too small (%" PRIu32
                         " entries of %" PRIu32 ")",
                         h.gd_entries, s->n_gts);
  return set_directory (s, "grain directory", h.gd_offset, &s->gd_offset,
                        error);
}

/* ---- seSparse ------------------------------------------------------------ */

enum {
  SE_VERSION = 8,
  SE_CAPACITY = 16,
  SE_GRAIN = 24,
  SE_TABLE = 32,
  SE_GD_OFFSET = 128,
  SE_TABLES_OFFSET = 144,
  SE_TABLES_SIZE = 152,
  SE_GRAINS_OFFSET = 192,
};

/* "seSparse": known from what QEMU reads of it. */
static bool
load_se (VmdkSparse *s, const uint8_t *h, GError **error)
{
  uint64_t table = vp_le64_get (h + SE_TABLE);
  s->facts.is_sesparse = true;
  if (vp_le64_get (h + SE_VERSION) != UINT64_C (0x200000001))
    return unsupported (s, error, "an unknown version of seSparse");
  if (vp_le64_get (h + SE_GRAIN) != 8 || table != 64)
    return unsupported (s, error, "seSparse with an unknown grain size");
  if (s->writable)
    return unsupported (s, error, "seSparse is only read");
  if (!set_geometry (s, vp_le64_get (h + SE_CAPACITY), 8,
                     (uint32_t) (table * VMDK_SECTOR / 8), error))
    return false;
  uint64_t limit = s->file_size / VMDK_SECTOR;
  uint64_t tables = vp_le64_get (h + SE_TABLES_OFFSET);
  uint64_t sectors = vp_le64_get (h + SE_TABLES_SIZE);
  uint64_t grains = vp_le64_get (h + SE_GRAINS_OFFSET);
  if (!vp_range_ok (tables, sectors, limit) || grains > limit)
    return vmdk_corrupt (s, error, "its tables lie outside of the file");
  s->se_tables_offset = tables * VMDK_SECTOR;
  s->se_tables_size = sectors * VMDK_SECTOR;
  s->se_grains_offset = grains * VMDK_SECTOR;
  return set_directory (s, "grain directory", vp_le64_get (h + SE_GD_OFFSET),
                        &s->gd_offset, error);
}

bool
vmdk_load_header (VmdkSparse *s, GError **error)
{
  uint8_t sector[VMDK_SECTOR];
  if (!vp_file_get_size (s->file, &s->file_size, error) ||
      !vp_file_read (s->file, 0, sector, sizeof sector, error))
    return false;
  if (vp_le32_get (sector) == VMDK_MAGIC)
    return load_hosted (s, sector, error);
  if (vp_le32_get (sector) == VMDK_COWD_MAGIC)
    return load_cowd (s, sector, error);
  if (vp_le64_get (sector) == VMDK_SE_MAGIC)
    return load_se (s, sector, error);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
               "%s: Image not in VMDK format", s->file->name);
  return false;
}
