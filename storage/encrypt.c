/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* encrypt: see the header; and what does not go together among them.
 *
 *     state=active     one more password, new-secret, in a free slot
 *     state=inactive   a slot, or all that old-secret opens, is erased */
#include "config.h"

#include "storage/encrypt.h"

#include <inttypes.h>
#include <string.h>

#include "storage/error.h"

typedef struct {
  const char *state, *keyslot, *new_id, *old_id, *iter_time;
  bool active;
  int slot; /* -1: none named */
  unsigned iter_time_ms;
  const VpSecret *new_password, *old_password;
} Words;

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

static bool
not_accepted (GError **error, const char *name, const char *value)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Parameter '%s' does not accept value '%s'", name, value);
  return false;
}

static bool
read_words (const GPtrArray *pairs, const char *prefix, Words *words,
            GError **error)
{
  const struct {
    const char *name;
    const char **to;
  } known[] = {
    { "state", &words->state },         { "keyslot", &words->keyslot },
    { "new-secret", &words->new_id },   { "old-secret", &words->old_id },
    { "iter-time", &words->iter_time },
  };
  for (guint i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    size_t k = 0;
    if (g_str_has_prefix (name, prefix))
      name += strlen (prefix);
    while (k < G_N_ELEMENTS (known) && strcmp (known[k].name, name) != 0)
      k++;
    if (k == G_N_ELEMENTS (known)) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "Invalid parameter '%s'", name);
      return false;
    }
    *known[k].to = g_ptr_array_index (pairs, i + 1);
  }
  return true;
}

static bool
parse_number (const char *name, const char *text, uint64_t least, uint64_t most,
              uint64_t *ret_value, GError **error)
{
  if (g_ascii_string_to_unsigned (text, 10, least, most, ret_value, NULL))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Parameter '%s' expects a number from %" PRIu64 " to %" PRIu64,
               name, least, most);
  return false;
}

static bool
parse_words (Words *words, GError **error)
{
  uint64_t slot, time_ms;
  if (!words->state)
    return usage (error, "Parameter 'state' is missing");
  words->active = strcmp (words->state, "active") == 0;
  if (!words->active && strcmp (words->state, "inactive") != 0)
    return not_accepted (error, "state", words->state);
  words->slot = -1;
  if (words->keyslot) {
    /* Whether there is such a slot is for LUKS to say. */
    if (!parse_number ("keyslot", words->keyslot, 0, 1000, &slot, error))
      return false;
    words->slot = (int) slot;
  }
  words->iter_time_ms = VP_LUKS_DEFAULT_TIME_MS;
  if (words->iter_time) {
    if (!parse_number ("iter-time", words->iter_time, 1, VP_LUKS_MAX_TIME_MS,
                       &time_ms, error))
      return false;
    words->iter_time_ms = (unsigned) time_ms;
  }
  return true;
}

static bool
check_words (const Words *words, GError **error)
{
  if (words->active && !words->new_id)
    return usage (error, "'new-secret' is required to activate a keyslot");
  if (words->active && words->old_id)
    return usage (error, "'old-secret' must not be given when activating "
                         "keyslots");
  if (!words->active && words->new_id)
    return usage (error, "'new-secret' must not be given when erasing "
                         "keyslots");
  if (!words->active && words->iter_time)
    return usage (error, "'iter-time' must not be given when erasing "
                         "keyslots");
  return true;
}

static bool
find_secrets (const VpSecrets *secrets, Words *words, GError **error)
{
  return (!words->new_id || (words->new_password = vp_secrets_find (
                                 secrets, words->new_id, error)) != NULL) &&
         (!words->old_id || (words->old_password = vp_secrets_find (
                                 secrets, words->old_id, error)) != NULL);
}

bool
vp_encrypt_amend_luks (VpLuks *luks, const VpSecret *password,
                       const char *prefix, const GPtrArray *pairs,
                       const VpAmendOptions *options, bool dry, GError **error)
{
  Words words = { 0 };
  VpLuksHow how =
      (dry ? VP_LUKS_DRY : 0) | (options->force ? VP_LUKS_FORCE : 0);
  if (!read_words (pairs, prefix, &words, error) ||
      !parse_words (&words, error) || !check_words (&words, error) ||
      !find_secrets (options->secrets, &words, error))
    return false;
  return words.active
             ? vp_luks_add_slot (luks, password, words.new_password, words.slot,
                                 words.iter_time_ms, how, error)
             : vp_luks_erase_slots (luks, words.slot, words.old_password, how,
                                    error);
}

/* ---- making ------------------------------------------------------------- */

bool
vp_encrypt_parse_luks (const VpEncryptOptions *from, VpLuksOptions *to,
                       GError **error)
{
  if (from->cipher_alg &&
      !vp_cipher_from_text (from->cipher_alg, &to->spec.cipher))
    return not_accepted (error, "cipher-alg", from->cipher_alg);
  if (from->cipher_mode &&
      !vp_cipher_mode_from_text (from->cipher_mode, &to->spec.mode))
    return not_accepted (error, "cipher-mode", from->cipher_mode);
  if (from->hash_alg && !vp_hash_from_text (from->hash_alg, &to->hash))
    return not_accepted (error, "hash-alg", from->hash_alg);
  if (from->ivgen_alg && !vp_ivgen_from_text (from->ivgen_alg, &to->spec.ivgen))
    return not_accepted (error, "ivgen-alg", from->ivgen_alg);
  if (from->ivgen_hash_alg &&
      !vp_hash_from_text (from->ivgen_hash_alg, &to->spec.ivgen_hash))
    return not_accepted (error, "ivgen-hash-alg", from->ivgen_hash_alg);
  uint64_t time_ms = to->iter_time_ms;
  if (from->iter_time &&
      (!g_ascii_string_to_unsigned (from->iter_time, 10, 1, VP_LUKS_MAX_TIME_MS,
                                    &time_ms, NULL)))
    return usage (error, "Parameter 'iter-time' expects a number between 1 and "
                         "10000 (ms)");
  to->iter_time_ms = (unsigned) time_ms;
  return true;
}
