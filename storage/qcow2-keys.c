/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-keys: who may open an encrypted image: the words of amend, and what
 * does not go together among them.
 *
 *     state=active     one more password, new-secret, in a free slot
 *     state=inactive   a slot, or all that old-secret opens, is erased */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  const char *format, *state, *keyslot, *new_id, *old_id, *iter_time;
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
read_words (const GPtrArray *pairs, Words *words, GError **error)
{
  const struct {
    const char *name;
    const char **to;
  } known[] = {
    { "encrypt.format", &words->format },
    { "encrypt.state", &words->state },
    { "encrypt.keyslot", &words->keyslot },
    { "encrypt.new-secret", &words->new_id },
    { "encrypt.old-secret", &words->old_id },
    { "encrypt.iter-time", &words->iter_time },
  };
  for (guint i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    size_t k = 0;
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
  if (words->format && strcmp (words->format, "luks") != 0)
    return not_accepted (error, "format", words->format);
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
qcow2_amend_keys (Qcow2 *q, const VpAmendOptions *options, bool dry,
                  GError **error)
{
  Words words = { 0 };
  VpLuksHow how =
      (dry ? VP_LUKS_DRY : 0) | (options->force ? VP_LUKS_FORCE : 0);
  if (!options->encrypt || options->encrypt->len == 0)
    return true;
  if (q->header.crypt_method == 0)
    return usage (error, "Can't amend encryption options - encryption not "
                         "present");
  if (!q->luks || !q->password)
    return usage (error, "Only LUKS encryption options can be amended for "
                         "qcow2 with amend");
  if (!read_words (options->encrypt, &words, error) ||
      !parse_words (&words, error) || !check_words (&words, error) ||
      !find_secrets (options->secrets, &words, error))
    return false;
  return words.active
             ? vp_luks_add_slot (q->luks, q->password, words.new_password,
                                 words.slot, words.iter_time_ms, how, error)
             : vp_luks_erase_slots (q->luks, words.slot, words.old_password,
                                    how, error);
}
