/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* luks-header: to and from bytes, and every check of what was read:
 * names that end, known ciphers, key lengths that go with them, 4000 stripes,
 * slots that lie between header and payload and not on each other. */
#include "config.h"

#include "storage/luks-header.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"
#include "storage/layout.h"

static const uint8_t magic[8] = { 'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1 };

/* Offsets of the specification's table 1 and 2. */
enum {
  AT_CIPHER = 8,
  AT_MODE = 40,
  AT_HASH = 72,
  AT_PAYLOAD = 104,
  AT_KEY_LEN = 108,
  AT_DIGEST = 112,
  AT_DIGEST_SALT = 132,
  AT_DIGEST_ITERATIONS = 164,
  AT_UUID = 168,
  AT_SLOTS = 208,
  SLOT_SIZE = 48,
  SLOT_ITERATIONS = 4,
  SLOT_SALT = 8,
  SLOT_SECTOR = 40,
  SLOT_STRIPES = 44,
  NAME_LEN = 32,
  UUID_LEN = 40,
};

bool
luks_corrupt (const VpLuks *luks, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: LUKS header at 0x%" G_GINT64_MODIFIER "x: %s",
               luks->file->name, luks->offset, message);
  return false;
}

/* A whole file that is something else has no header to speak of. */
static bool
not_luks (const VpLuks *luks, GError **error)
{
  if (luks->offset > 0)
    return luks_corrupt (luks, error, "Volume is not in LUKS format");
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: Volume is not in LUKS format", luks->file->name);
  return false;
}

size_t
luks_material_len (size_t key_len)
{
  return (size_t) vp_round_up (key_len * LUKS_STRIPES, VP_CRYPT_SECTOR);
}

/* ---- bytes -------------------------------------------------------------- */

static void
store (const LuksHeader *h, uint8_t *to)
{
  memset (to, 0, VP_LUKS_HEADER_SIZE);
  memcpy (to, magic, sizeof magic);
  memcpy (to + AT_CIPHER, h->cipher, NAME_LEN);
  memcpy (to + AT_MODE, h->mode, NAME_LEN);
  memcpy (to + AT_HASH, h->hash, NAME_LEN);
  vp_be32_set (to + AT_PAYLOAD, h->payload_sector);
  vp_be32_set (to + AT_KEY_LEN, h->key_len);
  memcpy (to + AT_DIGEST, h->digest, LUKS_DIGEST_LEN);
  memcpy (to + AT_DIGEST_SALT, h->digest_salt, LUKS_SALT_LEN);
  vp_be32_set (to + AT_DIGEST_ITERATIONS, h->digest_iterations);
  memcpy (to + AT_UUID, h->uuid, UUID_LEN);
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++) {
    uint8_t *row = to + AT_SLOTS + i * SLOT_SIZE;
    vp_be32_set (row, h->slots[i].active);
    vp_be32_set (row + SLOT_ITERATIONS, h->slots[i].iterations);
    memcpy (row + SLOT_SALT, h->slots[i].salt, LUKS_SALT_LEN);
    vp_be32_set (row + SLOT_SECTOR, h->slots[i].sector);
    vp_be32_set (row + SLOT_STRIPES, h->slots[i].stripes);
  }
}

static void
load (const uint8_t *from, LuksHeader *h)
{
  *h = (LuksHeader){ 0 };
  memcpy (h->cipher, from + AT_CIPHER, NAME_LEN);
  memcpy (h->mode, from + AT_MODE, NAME_LEN);
  memcpy (h->hash, from + AT_HASH, NAME_LEN);
  h->payload_sector = vp_be32_get (from + AT_PAYLOAD);
  h->key_len = vp_be32_get (from + AT_KEY_LEN);
  memcpy (h->digest, from + AT_DIGEST, LUKS_DIGEST_LEN);
  memcpy (h->digest_salt, from + AT_DIGEST_SALT, LUKS_SALT_LEN);
  h->digest_iterations = vp_be32_get (from + AT_DIGEST_ITERATIONS);
  memcpy (h->uuid, from + AT_UUID, UUID_LEN);
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++) {
    const uint8_t *row = from + AT_SLOTS + i * SLOT_SIZE;
    LuksSlot *slot = &h->slots[i];
    slot->active = vp_be32_get (row);
    slot->iterations = vp_be32_get (row + SLOT_ITERATIONS);
    memcpy (slot->salt, row + SLOT_SALT, LUKS_SALT_LEN);
    slot->sector = vp_be32_get (row + SLOT_SECTOR);
    slot->stripes = vp_be32_get (row + SLOT_STRIPES);
  }
}

bool
luks_store_header (VpLuks *luks, GError **error)
{
  uint8_t bytes[VP_LUKS_HEADER_SIZE];
  store (&luks->header, bytes);
  return vp_file_write (luks->file, luks->offset, bytes, sizeof bytes, error);
}

bool
luks_store_slot (VpLuks *luks, unsigned slot, GError **error)
{
  uint8_t bytes[VP_LUKS_HEADER_SIZE];
  uint64_t at = AT_SLOTS + slot * SLOT_SIZE + SLOT_ITERATIONS;
  store (&luks->header, bytes);
  return vp_file_write (luks->file, luks->offset + at, bytes + at,
                        SLOT_SIZE - SLOT_ITERATIONS, error);
}

bool
luks_store_active (VpLuks *luks, unsigned slot, bool active, GError **error)
{
  uint8_t word[4];
  uint32_t value = active ? LUKS_SLOT_ACTIVE : LUKS_SLOT_FREE;
  vp_be32_set (word, value);
  if (!vp_file_write (luks->file, luks->offset + AT_SLOTS + slot * SLOT_SIZE,
                      word, sizeof word, error))
    return false;
  luks->header.slots[slot].active = value;
  return true;
}

/* ---- names -------------------------------------------------------------- */

static bool
unknown (const VpLuks *luks, GError **error, const char *what, const char *name)
{
  g_autofree char *shown = g_strescape (name, NULL);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: LUKS %s '%s' is not supported", luks->file->name, what,
               shown);
  return false;
}

/* "xts-plain64", "cbc-essiv:sha256" */
static bool
parse_mode (VpLuks *luks, GError **error)
{
  VpCryptSpec *spec = &luks->info.spec;
  const char *mode = luks->header.mode;
  g_auto (GStrv) parts = g_strsplit (mode, "-", 2);
  if (!parts[0] || !parts[1] ||
      !vp_cipher_mode_from_text (parts[0], &spec->mode))
    return unknown (luks, error, "cipher mode", mode);
  char *colon = strchr (parts[1], ':');
  if (colon)
    *colon = '\0';
  if (!vp_ivgen_from_text (parts[1], &spec->ivgen) ||
      (spec->ivgen == VP_IVGEN_ESSIV) != (colon != NULL) ||
      (colon && !vp_hash_from_text (colon + 1, &spec->ivgen_hash)))
    return unknown (luks, error, "cipher mode", mode);
  return true;
}

static bool
parse_names (VpLuks *luks, GError **error)
{
  const LuksHeader *h = &luks->header;
  VpLuksInfo *info = &luks->info;
  if (strlen (h->cipher) >= NAME_LEN || strlen (h->mode) >= NAME_LEN ||
      strlen (h->hash) >= NAME_LEN || strlen (h->uuid) >= UUID_LEN)
    return luks_corrupt (luks, error,
                         "the name of cipher, mode or hash, or the UUID, does "
                         "not end");
  g_autofree char *uuid = g_strescape (h->uuid, NULL);
  g_strlcpy (info->uuid, uuid, sizeof info->uuid);
  if (!parse_mode (luks, error))
    return false;
  if (!vp_hash_from_text (h->hash, &info->hash))
    return unknown (luks, error, "hash", h->hash);
  if (!vp_cipher_from_family (h->cipher, info->spec.mode, h->key_len,
                              &info->spec.cipher)) {
    g_autofree char *name = g_strdup_printf (
        "%s with %" G_GUINT32_FORMAT " bytes of key", h->cipher, h->key_len);
    return unknown (luks, error, "cipher", name);
  }
  return true;
}

/* ---- checks ------------------------------------------------------------- */

static bool
check_slot (VpLuks *luks, unsigned i, uint64_t end, GError **error)
{
  const LuksSlot *slot = &luks->header.slots[i];
  VpLuksSlot *info = &luks->info.slots[i];
  uint64_t length = luks_material_len (luks->info.key_len);
  *info =
      (VpLuksSlot){ .active = slot->active == LUKS_SLOT_ACTIVE,
                    .iterations = slot->iterations,
                    .stripes = slot->stripes,
                    .key_offset = (uint64_t) slot->sector * VP_CRYPT_SECTOR };
  if (slot->active != LUKS_SLOT_ACTIVE && slot->active != LUKS_SLOT_FREE)
    return luks_corrupt (luks, error,
                         "Keyslot %u state (active/disable) is corrupted", i);
  if (slot->stripes != LUKS_STRIPES)
    return luks_corrupt (luks, error,
                         "Keyslot %u is corrupted (stripes %" G_GUINT32_FORMAT
                         " != %u)",
                         i, slot->stripes, LUKS_STRIPES);
  if (info->active && slot->iterations == 0)
    return luks_corrupt (luks, error, "Keyslot %u iteration count is zero", i);
  if (info->key_offset < VP_LUKS_HEADER_SIZE)
    return luks_corrupt (luks, error,
                         "Keyslot %u is overlapping the LUKS header", i);
  if (!vp_range_ok (info->key_offset, length, end))
    return luks_corrupt (
        luks, error, "Keyslot %u is overlapping with the encrypted payload", i);
  for (unsigned k = 0; k < i; k++) {
    uint64_t other = luks->info.slots[k].key_offset;
    if (info->key_offset < other + length && other < info->key_offset + length)
      return luks_corrupt (luks, error,
                           "Keyslots %u and %u are overlapping in the header",
                           k, i);
  }
  return true;
}

static bool
check (VpLuks *luks, uint64_t length, GError **error)
{
  const LuksHeader *h = &luks->header;
  VpLuksInfo *info = &luks->info;
  if (!parse_names (luks, error))
    return false;
  info->key_len = h->key_len;
  info->payload_offset = (uint64_t) h->payload_sector * VP_CRYPT_SECTOR;
  info->master_iterations = h->digest_iterations;
  if (h->digest_iterations == 0)
    return luks_corrupt (luks, error,
                         "Master key hash iterations cannot be zero");
  if (info->payload_offset < VP_LUKS_HEADER_SIZE)
    return luks_corrupt (luks, error, "the payload overlaps the header");
  uint64_t end = MIN (info->payload_offset, length);
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++)
    if (!check_slot (luks, i, end, error))
      return false;
  return true;
}

VpLuks *
luks_load (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  uint8_t bytes[VP_LUKS_HEADER_SIZE];
  g_autoptr (VpLuks) luks = g_new0 (VpLuks, 1);
  luks->file = vp_file_ref (file);
  luks->offset = offset;
  if (length < sizeof bytes && offset == 0) {
    (void) not_luks (luks, error);
    return NULL;
  }
  if (length < sizeof bytes) {
    (void) luks_corrupt (luks, error, "there is no room for it");
    return NULL;
  }
  if (!vp_file_read (file, offset, bytes, sizeof bytes, error))
    return NULL;
  if (memcmp (bytes, magic, 6) != 0) {
    (void) not_luks (luks, error);
    return NULL;
  }
  if (memcmp (bytes + 6, magic + 6, 2) != 0) {
    unsigned version = (unsigned) bytes[6] << 8 | bytes[7];
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: LUKS version %u is not supported%s", file->name, version,
                 version == 2
                     ? ": open it with cryptsetup and use what it gives below "
                       "/dev/mapper, or have 'cryptsetup convert' make it "
                       "version 1"
                     : "");
    return NULL;
  }
  load (bytes, &luks->header);
  return check (luks, length, error) ? g_steal_pointer (&luks) : NULL;
}

/* ---- making ------------------------------------------------------------- */

static uint64_t
slot_offset (size_t key_len, unsigned slot)
{
  uint64_t each = vp_round_up (luks_material_len (key_len), LUKS_ALIGNMENT);
  return LUKS_ALIGNMENT + slot * each;
}

uint64_t
vp_luks_measure (const VpLuksOptions *options)
{
  size_t key_len = vp_cipher_key_len (options->spec.cipher, options->spec.mode);
  return slot_offset (key_len, VP_LUKS_SLOTS);
}

static void
write_names (LuksHeader *h, const VpLuksOptions *options)
{
  const VpCryptSpec *spec = &options->spec;
  g_autofree char *uuid = g_uuid_string_random ();
  g_strlcpy (h->cipher, vp_cipher_get_family (spec->cipher), NAME_LEN);
  g_snprintf (
      h->mode, NAME_LEN, "%s-%s%s%s", vp_cipher_mode_to_text (spec->mode),
      vp_ivgen_to_text (spec->ivgen), spec->ivgen == VP_IVGEN_ESSIV ? ":" : "",
      spec->ivgen == VP_IVGEN_ESSIV ? vp_hash_to_text (spec->ivgen_hash) : "");
  g_strlcpy (h->hash, vp_hash_to_text (options->hash), NAME_LEN);
  g_strlcpy (h->uuid, uuid, UUID_LEN);
}

VpLuks *
luks_new (VpFile *file, uint64_t offset, const VpLuksOptions *options)
{
  VpLuks *luks = g_new0 (VpLuks, 1);
  LuksHeader *h = &luks->header;
  VpLuksInfo *info = &luks->info;
  luks->file = vp_file_ref (file);
  luks->offset = offset;
  write_names (h, options);
  info->spec = options->spec;
  info->hash = options->hash;
  info->key_len = h->key_len =
      (uint32_t) vp_cipher_key_len (options->spec.cipher, options->spec.mode);
  info->payload_offset = vp_luks_measure (options);
  h->payload_sector = (uint32_t) (info->payload_offset / VP_CRYPT_SECTOR);
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++) {
    info->slots[i].key_offset = slot_offset (info->key_len, i);
    h->slots[i].active = LUKS_SLOT_FREE;
    h->slots[i].stripes = LUKS_STRIPES;
    h->slots[i].sector =
        (uint32_t) (info->slots[i].key_offset / VP_CRYPT_SECTOR);
  }
  return luks;
}
