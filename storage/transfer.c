/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* transfer: one run in, one place out.  Between two calls it keeps the unit
 * that was unpacked last, for readers that come in small steps. */
#include "config.h"

#include "storage/transfer.h"

#include <string.h>

#include "storage/error.h"

#define KINDS 3
/* That much is encrypted at once, while it is in the processor's cache. */
#define CRYPT_CHUNK ((size_t) 256 << 10)

struct VpTransfer {
  VpCodec *codecs[KINDS];
  VpCodec *packer;
  VpCodecKind packer_kind;
  int packer_level;
  uint8_t *packed;
  size_t packed_len;
  uint8_t *unit;
  size_t unit_len;
  /* Whose unit it is. */
  VpFile *unit_file; /* NULL: nobody's; not owned, only compared */
  uint64_t unit_offset;
};

VpTransfer *
vp_transfer_new (void)
{
  return g_new0 (VpTransfer, 1);
}

void
vp_transfer_free (VpTransfer *transfer)
{
  if (!transfer)
    return;
  for (unsigned i = 0; i < KINDS; i++)
    vp_codec_free (transfer->codecs[i]);
  vp_codec_free (transfer->packer);
  g_free (transfer->packed);
  g_free (transfer->unit);
  g_free (transfer);
}

void
vp_transfer_forget (VpTransfer *transfer)
{
  transfer->unit_file = NULL;
}

static VpCodec *
codec_for (VpTransfer *transfer, VpCodecKind kind)
{
  VpCodec **codec = &transfer->codecs[kind];
  if (!*codec)
    *codec = vp_codec_new (kind, VP_CODEC_LEVEL_DEFAULT);
  return *codec;
}

static void
grow (uint8_t **buffer, size_t *have, size_t need)
{
  if (*have >= need)
    return;
  g_free (*buffer);
  *buffer = g_malloc (need);
  *have = need;
}

static bool
unpack (VpTransfer *transfer, const VpRun *run, uint8_t *to, GError **error)
{
  /* The last sectors of a file may be missing, which read as zeros. */
  size_t len = (size_t) run->packed;
  grow (&transfer->packed, &transfer->packed_len, len);
  if (!vp_file_read (run->file, run->offset, transfer->packed, len, error))
    return false;
  if (vp_codec_unpack (codec_for (transfer, run->codec), transfer->packed, len,
                       to, run->unit))
    return true;
  uint64_t size;
  if (!vp_file_get_size (run->file, &size, error))
    return false;
  if (run->offset >= size) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "%s: a compressed cluster lies past the end of the file "
                 "(0x%" G_GINT64_MODIFIER "x)",
                 run->file->name, run->offset);
    return false;
  }
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: the compressed cluster at 0x%" G_GINT64_MODIFIER
               "x cannot be unpacked",
               run->file->name, run->offset);
  return false;
}

static bool
read_packed (VpTransfer *transfer, const VpRun *run, uint8_t *to, size_t len,
             GError **error)
{
  g_return_val_if_fail (vp_range_ok (run->skip, len, run->unit), false);
  if (len == run->unit)
    return unpack (transfer, run, to, error);
  if (transfer->unit_file != run->file ||
      transfer->unit_offset != run->offset) {
    transfer->unit_file = NULL;
    grow (&transfer->unit, &transfer->unit_len, run->unit);
    if (!unpack (transfer, run, transfer->unit, error))
      return false;
    transfer->unit_file = run->file;
    transfer->unit_offset = run->offset;
  }
  memcpy (to, transfer->unit + run->skip, len);
  return true;
}

/* ---- encrypted ---------------------------------------------------------- */

/* How much of len can be done in whole sectors from offset on; 0: a part of
 * one must be done by itself. */
static size_t
whole_sectors (uint64_t offset, size_t len)
{
  return offset % VP_CRYPT_SECTOR ? 0 : len - len % VP_CRYPT_SECTOR;
}

/* The sector that holds offset, and the part of it that counts. */
typedef struct {
  uint8_t bytes[VP_CRYPT_SECTOR];
  size_t skip, len;
} Sector;

static bool
read_sector (Sector *sector, VpFile *file, uint64_t offset, VpCrypt *crypt,
             uint64_t number, size_t len, GError **error)
{
  sector->skip = number % VP_CRYPT_SECTOR;
  sector->len = MIN (len, VP_CRYPT_SECTOR - sector->skip);
  return vp_file_read (file, offset - sector->skip, sector->bytes,
                       sizeof sector->bytes, error) &&
         vp_crypt_decrypt (crypt, number - sector->skip, sector->bytes,
                           sizeof sector->bytes, error);
}

static bool
read_crypted (VpFile *file, uint64_t offset, VpCrypt *crypt, uint64_t number,
              uint8_t *to, size_t len, GError **error)
{
  for (size_t done = 0, part; done < len; done += part) {
    part = whole_sectors (number + done, len - done);
    if (part > 0) {
      if (!vp_file_read (file, offset + done, to + done, part, error) ||
          !vp_crypt_decrypt (crypt, number + done, to + done, part, error))
        return false;
      continue;
    }
    Sector sector;
    if (!read_sector (&sector, file, offset + done, crypt, number + done,
                      len - done, error))
      return false;
    part = sector.len;
    memcpy (to + done, sector.bytes + sector.skip, part);
  }
  return true;
}

static bool
write_sectors (VpTransfer *transfer, VpFile *file, uint64_t offset,
               VpCrypt *crypt, uint64_t number, const uint8_t *from, size_t len,
               GError **error)
{
  grow (&transfer->packed, &transfer->packed_len, len);
  memcpy (transfer->packed, from, len);
  return vp_crypt_encrypt (crypt, number, transfer->packed, len, error) &&
         vp_file_write (file, offset, transfer->packed, len, error);
}

/* What a new place holds round the written bytes is nonsense until it has been
 * filled, which the caller does before it is linked. */
static bool
write_crypted (VpTransfer *transfer, VpFile *file, uint64_t offset,
               VpCrypt *crypt, uint64_t number, const uint8_t *from, size_t len,
               GError **error)
{
  for (size_t done = 0, part; done < len; done += part) {
    part = MIN (whole_sectors (number + done, len - done), CRYPT_CHUNK);
    if (part > 0) {
      if (!write_sectors (transfer, file, offset + done, crypt, number + done,
                          from + done, part, error))
        return false;
      continue;
    }
    Sector sector;
    if (!read_sector (&sector, file, offset + done, crypt, number + done,
                      len - done, error))
      return false;
    part = sector.len;
    memcpy (sector.bytes + sector.skip, from + done, part);
    if (!write_sectors (transfer, file, offset + done - sector.skip, crypt,
                        number + done - sector.skip, sector.bytes,
                        sizeof sector.bytes, error))
      return false;
  }
  return true;
}

/* ---- either ------------------------------------------------------------- */

bool
vp_transfer_read (VpTransfer *transfer, const VpRun *run, uint8_t *to,
                  size_t len, GError **error)
{
  switch (run->kind) {
  case VP_RUN_DATA:
    return run->crypt ? read_crypted (run->file, run->offset, run->crypt,
                                      run->crypt_offset, to, len, error)
                      : vp_file_read (run->file, run->offset, to, len, error);
  case VP_RUN_COMPRESSED: return read_packed (transfer, run, to, len, error);
  case VP_RUN_UNALLOCATED:
  case VP_RUN_ZERO:
  case VP_RUN_ZERO_ALLOCATED:
  default: memset (to, 0, len); return true;
  }
}

bool
vp_transfer_write (VpTransfer *transfer, const VpPlace *place, uint64_t guest,
                   const uint8_t *from, size_t len, GError **error)
{
  uint64_t skip = guest - place->guest;
  return place->crypt
             ? write_crypted (transfer, place->file, place->offset + skip,
                              place->crypt, place->crypt_offset + skip, from,
                              len, error)
             : vp_file_write (place->file, place->offset + skip, from, len,
                              error);
}

size_t
vp_transfer_most_packed (const VpPacking *packing)
{
  size_t unit = (size_t) packing->unit;
  /* Stored blocks cost 5 bytes for each 64 KiB or part of it, in our codecs
   * for less than that, and a wrapping has a few bytes of its own. */
  return packing->always ? unit + unit / 256 + 64 : unit - 1;
}

const uint8_t *
vp_transfer_pack (VpTransfer *transfer, const VpPacking *packing, int level,
                  const uint8_t *unit, size_t *ret_len)
{
  if (transfer->packer && (transfer->packer_kind != packing->codec ||
                           transfer->packer_level != level))
    g_clear_pointer (&transfer->packer, vp_codec_free);
  if (!transfer->packer) {
    transfer->packer = vp_codec_new (packing->codec, level);
    transfer->packer_kind = packing->codec;
    transfer->packer_level = level;
  }
  size_t len = (size_t) packing->unit;
  size_t cap = vp_transfer_most_packed (packing);
  grow (&transfer->packed, &transfer->packed_len, cap);
  if (!vp_codec_pack (transfer->packer, unit, len, transfer->packed, cap,
                      ret_len))
    return NULL;
  return transfer->packed;
}
