/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* luks: opening, making and changing; luks-header.c has the bytes of the
 * header and what is checked of them.
 *
 * Order of writes.  A slot that comes: key material, then iterations and salt,
 * then, alone in a sector, the word that says "active"; each on disk before
 * the next.  A slot that goes: the word first, then its key material. */
#include "config.h"

#include "storage/luks-header.h"

#include <string.h>

#include "storage/error.h"
#include "storage/layout.h"

#define MIN_ITERATIONS 1000u

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

/* ---- the splitter ------------------------------------------------------- */

/* Each block of a digest's length is hashed with its number. */
static bool
diffuse (VpHash hash, uint8_t *block, size_t len)
{
  size_t step = vp_hash_len (hash);
  uint8_t digest[VP_MAX_DIGEST_LEN], number[4];
  for (size_t at = 0, i = 0; at < len; at += step, i++) {
    size_t part = MIN (step, len - at);
    vp_be32_set (number, (uint32_t) i);
    if (!vp_hash_data (hash, number, sizeof number, block + at, part, digest))
      return false;
    memcpy (block + at, digest, part);
  }
  vp_wipe (digest, sizeof digest);
  return true;
}

static void
mix_in (uint8_t *block, const uint8_t *stripe, size_t len)
{
  for (size_t i = 0; i < len; i++)
    block[i] ^= stripe[i];
}

/* All stripes but the last are chance; the last makes key of them. */
static bool
split_key (VpHash hash, const uint8_t *key, size_t len, uint8_t *stripes)
{
  uint8_t block[VP_MAX_CRYPT_KEY_LEN] = { 0 };
  size_t last = (LUKS_STRIPES - 1) * len;
  bool ok = true;
  vp_random_bytes (stripes, last);
  for (size_t at = 0; ok && at < last; at += len) {
    mix_in (block, stripes + at, len);
    ok = diffuse (hash, block, len);
  }
  memcpy (stripes + last, key, len);
  mix_in (stripes + last, block, len);
  vp_wipe (block, sizeof block);
  return ok;
}

static bool
merge_key (VpHash hash, const uint8_t *stripes, size_t len, uint8_t *key)
{
  size_t last = (LUKS_STRIPES - 1) * len;
  bool ok = true;
  memset (key, 0, len);
  for (size_t at = 0; ok && at < last; at += len) {
    mix_in (key, stripes + at, len);
    ok = diffuse (hash, key, len);
  }
  mix_in (key, stripes + last, len);
  return ok;
}

/* ---- keys --------------------------------------------------------------- */

/* Longer than any attacker's patience is longer than ours. */
static bool
check_iterations (const VpLuks *luks, uint32_t iterations, GError **error)
{
  if (iterations <= VP_LUKS_SAFE_ITERATIONS)
    return true;
  uint64_t most = vp_pbkdf2_measure (luks->info.hash, luks->info.key_len,
                                     VP_LUKS_MAX_TIME_MS);
  if (iterations <= most)
    return true;
  return luks_corrupt (luks, error,
                       "a key slot asks for %" G_GUINT32_FORMAT
                       " iterations, which is more than %u seconds",
                       iterations, VP_LUKS_MAX_TIME_MS / 1000);
}

static VpCrypt *
slot_cipher (const VpLuks *luks, unsigned slot, const VpSecret *password,
             GError **error)
{
  const VpLuksInfo *info = &luks->info;
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  VpCrypt *crypt = NULL;
  if (vp_pbkdf2 (info->hash, password->data, password->len,
                 luks->header.slots[slot].salt, LUKS_SALT_LEN,
                 info->slots[slot].iterations, key, info->key_len, error))
    crypt = vp_crypt_new (&info->spec, key, info->key_len, error);
  vp_wipe (key, sizeof key);
  return crypt;
}

static bool
digest_key (const VpLuks *luks, const uint8_t *key, uint8_t *digest,
            GError **error)
{
  return vp_pbkdf2 (luks->info.hash, key, luks->info.key_len,
                    luks->header.digest_salt, LUKS_SALT_LEN,
                    luks->info.master_iterations, digest, LUKS_DIGEST_LEN,
                    error);
}

/* In the same time for all that are wrong. */
static bool
digests_equal (const uint8_t *a, const uint8_t *b)
{
  unsigned differ = 0;
  for (size_t i = 0; i < LUKS_DIGEST_LEN; i++)
    differ |= (unsigned) (a[i] ^ b[i]);
  return differ == 0;
}

/* *ret_match: password opens the slot, and key is the master key. */
static bool
try_slot (const VpLuks *luks, unsigned slot, const VpSecret *password,
          uint8_t *key, bool *ret_match, GError **error)
{
  const VpLuksInfo *info = &luks->info;
  uint8_t digest[LUKS_DIGEST_LEN];
  size_t len = luks_material_len (info->key_len);
  if (!check_iterations (luks, info->slots[slot].iterations, error) ||
      !check_iterations (luks, info->master_iterations, error))
    return false;
  g_autoptr (VpCrypt) crypt = slot_cipher (luks, slot, password, error);
  if (!crypt)
    return false;
  uint8_t *material = g_malloc (len);
  bool ok =
      vp_file_read (luks->file, luks->offset + info->slots[slot].key_offset,
                    material, len, error) &&
      vp_crypt_decrypt (crypt, 0, material, len, error);
  if (ok && !merge_key (info->hash, material, info->key_len, key))
    ok = usage (error, "libgcrypt failed to hash");
  vp_wipe (material, len);
  g_free (material);
  if (!ok || !digest_key (luks, key, digest, error))
    return false;
  *ret_match = digests_equal (digest, luks->header.digest);
  return true;
}

static bool
find_key (const VpLuks *luks, const VpSecret *password, uint8_t *key,
          GError **error)
{
  for (unsigned slot = 0; slot < VP_LUKS_SLOTS; slot++) {
    bool match = false;
    if (!luks->info.slots[slot].active)
      continue;
    if (!try_slot (luks, slot, password, key, &match, error))
      return false;
    if (match)
      return true;
  }
  return usage (error, "Invalid password, cannot unlock any keyslot");
}

VpCrypt *
vp_luks_unlock (VpLuks *luks, const VpSecret *password, GError **error)
{
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  VpCrypt *crypt = NULL;
  if (find_key (luks, password, key, error))
    crypt = vp_crypt_new (&luks->info.spec, key, luks->info.key_len, error);
  vp_wipe (key, sizeof key);
  return crypt;
}

/* ---- slots -------------------------------------------------------------- */

static bool
check_time (unsigned time_ms, GError **error)
{
  return (time_ms > 0 && time_ms <= VP_LUKS_MAX_TIME_MS) ||
         usage (error, "iter-time must be between 1 and 10000 (ms)");
}

static bool
find_iterations (VpHash hash, size_t len, unsigned time_ms, unsigned divisor,
                 uint32_t *ret_iterations, GError **error)
{
  if (!check_time (time_ms, error))
    return false;
  uint64_t iterations = vp_pbkdf2_measure (hash, len, time_ms) / divisor;
  *ret_iterations = (uint32_t) CLAMP (iterations, MIN_ITERATIONS, UINT32_MAX);
  return true;
}

/* Everything but the word "active". */
static bool
write_slot (VpLuks *luks, unsigned slot, const VpSecret *password,
            const uint8_t *key, unsigned iter_time_ms, GError **error)
{
  VpLuksInfo *info = &luks->info;
  LuksSlot *row = &luks->header.slots[slot];
  size_t len = luks_material_len (info->key_len);
  if (!find_iterations (info->hash, info->key_len, iter_time_ms, 1,
                        &row->iterations, error))
    return false;
  info->slots[slot].iterations = row->iterations;
  vp_random_bytes (row->salt, sizeof row->salt);
  g_autoptr (VpCrypt) crypt = slot_cipher (luks, slot, password, error);
  if (!crypt)
    return false;
  uint8_t *material = g_malloc0 (len);
  bool ok = split_key (info->hash, key, info->key_len, material) &&
            vp_crypt_encrypt (crypt, 0, material, len, error);
  ok = ok &&
       vp_file_write (luks->file, luks->offset + info->slots[slot].key_offset,
                      material, len, error);
  vp_wipe (material, len);
  g_free (material);
  return ok;
}

static bool
activate (VpLuks *luks, unsigned slot, bool active, GError **error)
{
  if (!luks_store_active (luks, slot, active, error) ||
      !vp_file_flush (luks->file, error))
    return false;
  luks->info.slots[slot].active = active;
  return true;
}

static bool
erase (VpLuks *luks, unsigned slot, GError **error)
{
  VpLuksSlot *info = &luks->info.slots[slot];
  LuksSlot *row = &luks->header.slots[slot];
  size_t len = luks_material_len (luks->info.key_len);
  if (!activate (luks, slot, false, error))
    return false;
  g_autofree uint8_t *noise = g_malloc (len);
  vp_random_bytes (noise, len);
  info->iterations = row->iterations = 0;
  memset (row->salt, 0, sizeof row->salt);
  return vp_file_write (luks->file, luks->offset + info->key_offset, noise, len,
                        error) &&
         luks_store_slot (luks, slot, error) &&
         vp_file_flush (luks->file, error);
}

/* Bits of the slots that are active. */
static unsigned
active_slots (const VpLuks *luks)
{
  unsigned slots = 0;
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++)
    slots |= (unsigned) luks->info.slots[i].active << i;
  return slots;
}

static bool
check_slot_number (int slot, GError **error)
{
  if (slot >= -1 && slot < (int) VP_LUKS_SLOTS)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Invalid keyslot %d specified, must be between 0 and %u", slot,
               VP_LUKS_SLOTS - 1);
  return false;
}

static bool
slot_usage (GError **error, const char *before, int slot, const char *after)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, "%s %d%s", before,
               slot, after);
  return false;
}

static bool
choose_slot (const VpLuks *luks, int wanted, bool force, unsigned *ret_slot,
             GError **error)
{
  unsigned active = active_slots (luks);
  if (!check_slot_number (wanted, error))
    return false;
  if (wanted >= 0) {
    *ret_slot = (unsigned) wanted;
    return force || !(active >> wanted & 1) ||
           slot_usage (error, "Refusing to overwrite active keyslot", wanted,
                       " - please erase it first");
  }
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++)
    if (!(active >> i & 1)) {
      *ret_slot = i;
      return true;
    }
  return usage (error, "Can't add a keyslot - all keyslots are in use");
}

bool
vp_luks_add_slot (VpLuks *luks, const VpSecret *old_password,
                  const VpSecret *new_password, int wanted,
                  unsigned iter_time_ms, VpLuksHow how, GError **error)
{
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  unsigned slot = 0;
  if (!check_time (iter_time_ms, error) ||
      !choose_slot (luks, wanted, how & VP_LUKS_FORCE, &slot, error))
    return false;
  bool ok = find_key (luks, old_password, key, error);
  if (ok && !(how & VP_LUKS_DRY))
    ok = (!luks->info.slots[slot].active || erase (luks, slot, error)) &&
         write_slot (luks, slot, new_password, key, iter_time_ms, error) &&
         vp_file_flush (luks->file, error) &&
         luks_store_slot (luks, slot, error) &&
         vp_file_flush (luks->file, error) &&
         activate (luks, slot, true, error);
  vp_wipe (key, sizeof key);
  return ok;
}

/* Bits of the slots among some that password opens. */
static bool
find_matching (const VpLuks *luks, const VpSecret *password, unsigned among,
               unsigned *ret_slots, GError **error)
{
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  unsigned slots = 0;
  bool ok = true;
  for (unsigned i = 0; ok && i < VP_LUKS_SLOTS; i++) {
    bool match = false;
    if (!(among >> i & 1))
      continue;
    ok = try_slot (luks, i, password, key, &match, error);
    slots |= (unsigned) match << i;
  }
  vp_wipe (key, sizeof key);
  *ret_slots = slots;
  return ok;
}

/* Of one that is named. */
static bool
check_erase_one (const VpLuks *luks, int slot, const VpSecret *password,
                 bool force, GError **error)
{
  unsigned active = active_slots (luks), matching = 0;
  if (!(active >> slot & 1))
    return force || slot_usage (error, "Given keyslot", slot,
                                " is already erased (inactive)");
  if (password && !find_matching (luks, password, 1u << slot, &matching, error))
    return false;
  if (password && matching == 0)
    return slot_usage (error, "Given keyslot", slot,
                       " doesn't contain the given old password for erase "
                       "operation");
  return force || active != 1u << slot ||
         slot_usage (error, "Attempt to erase the only active keyslot", slot,
                     " which will erase all the data in the image "
                     "irreversibly - refusing operation");
}

static bool
find_erased (const VpLuks *luks, int slot, const VpSecret *password, bool force,
             unsigned *ret_slots, GError **error)
{
  unsigned active = active_slots (luks);
  if (!check_slot_number (slot, error))
    return false;
  if (slot >= 0) {
    *ret_slots = 1u << slot;
    return check_erase_one (luks, slot, password, force, error);
  }
  if (!password)
    return usage (error, "To erase keyslot(s), either explicit keyslot index "
                         "or the password currently contained in them must be "
                         "given");
  if (!find_matching (luks, password, active, ret_slots, error))
    return false;
  if (*ret_slots == 0)
    return usage (error, "No keyslots match given (old) password for erase "
                         "operation");
  return force || *ret_slots != active ||
         usage (error, "All the active keyslots match the (old) password that "
                       "was given and erasing them will erase all the data in "
                       "the image irreversibly - refusing operation");
}

bool
vp_luks_erase_slots (VpLuks *luks, int slot, const VpSecret *password,
                     VpLuksHow how, GError **error)
{
  unsigned slots;
  if (!find_erased (luks, slot, password, how & VP_LUKS_FORCE, &slots, error))
    return false;
  for (unsigned i = 0; !(how & VP_LUKS_DRY) && i < VP_LUKS_SLOTS; i++)
    if (slots >> i & 1 && !erase (luks, i, error))
      return false;
  return true;
}

/* ---- making ------------------------------------------------------------- */

bool
vp_luks_format (VpFile *file, uint64_t offset, const VpLuksOptions *options,
                const VpSecret *password, GError **error)
{
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  g_autoptr (VpLuks) luks = luks_new (file, offset, options);
  VpLuksInfo *info = &luks->info;
  bool ok;
  vp_random_bytes (key, sizeof key);
  /* Says what does not go together, before anything is written. */
  g_autoptr (VpCrypt) crypt =
      vp_crypt_new (&info->spec, key, info->key_len, error);
  ok = crypt &&
       find_iterations (info->hash, LUKS_DIGEST_LEN, options->iter_time_ms, 8,
                        &luks->header.digest_iterations, error);
  info->master_iterations = luks->header.digest_iterations;
  vp_random_bytes (luks->header.digest_salt, LUKS_SALT_LEN);
  ok = ok && digest_key (luks, key, luks->header.digest, error) &&
       write_slot (luks, 0, password, key, options->iter_time_ms, error) &&
       vp_file_flush (file, error);
  if (ok) {
    luks->header.slots[0].active = LUKS_SLOT_ACTIVE;
    ok = luks_store_header (luks, error);
  }
  vp_wipe (key, sizeof key);
  return ok;
}

VpLuks *
vp_luks_open (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  g_autoptr (VpLuks) luks = luks_load (file, offset, length, error);
  return g_steal_pointer (&luks);
}

void
vp_luks_free (VpLuks *luks)
{
  if (!luks)
    return;
  vp_file_unref (luks->file);
  g_free (luks);
}

const VpLuksInfo *
vp_luks_get_info (const VpLuks *luks)
{
  return &luks->info;
}
