/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-crypt: the encryption of guest data; tables are in the clear.
 *
 *     method 1, "aes"    AES-128-CBC, the password's first 16 bytes are the
 *                        key; sectors are numbered by guest offset
 *     method 2, "luks"   a LUKS1 header in clusters that an extension names;
 *                        sectors are numbered by host offset
 *
 * Packed clusters are never encrypted.  Without a key an image can be looked
 * at where no guest byte is wanted. */
#include "config.h"

#include "storage/encrypt.h"
#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image.h"

#define METHOD_AES  1u
#define METHOD_LUKS 2u
#define AES_KEY_LEN 16u

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

static const char *
method_name (uint32_t method)
{
  return method == METHOD_AES ? "aes" : "luks";
}

/* ---- opening ------------------------------------------------------------ */

bool
qcow2_load_crypt_extension (Qcow2 *q, const uint8_t *data, uint32_t len,
                            GError **error)
{
  if (q->header.crypt_method != METHOD_LUKS)
    return qcow2_corrupt (q, error,
                          "CRYPTO header extension only expected with LUKS "
                          "encryption method");
  if (len != 16)
    return qcow2_corrupt (
        q, error,
        "CRYPTO header extension size %" PRIu32 ", but expected size 16", len);
  q->luks_offset = vp_be64_get (data);
  q->luks_length = vp_be64_get (data + 8);
  if (q->luks_offset & (q->cluster_size - 1))
    return qcow2_corrupt (q, error,
                          "Encryption header offset '%" PRIu64
                          "' is not a multiple of cluster size '%" PRIu64 "'",
                          q->luks_offset, q->cluster_size);
  if (q->luks_offset == 0 || q->luks_length == 0 ||
      !vp_range_ok (q->luks_offset, q->luks_length, q->file_end))
    return qcow2_corrupt (q, error,
                          "the LUKS header is empty or lies past the end of "
                          "the file (0x%" PRIx64 ")",
                          q->luks_offset);
  return true;
}

static VpCrypt *
open_aes (const VpSecret *password, GError **error)
{
  static const VpCryptSpec spec = { .cipher = VP_CIPHER_AES_128,
                                    .mode = VP_CIPHER_MODE_CBC,
                                    .ivgen = VP_IVGEN_PLAIN64 };
  uint8_t key[AES_KEY_LEN] = { 0 };
  memcpy (key, password->data, MIN (password->len, sizeof key));
  VpCrypt *crypt = vp_crypt_new (&spec, key, sizeof key, error);
  vp_wipe (key, sizeof key);
  return crypt;
}

static bool
open_luks_header (Qcow2 *q, GError **error)
{
  if (q->luks_length == 0)
    return qcow2_corrupt (q, error, "LUKS without CRYPTO header extension");
  q->luks = vp_luks_open (q->file, q->luks_offset, q->luks_length, error);
  return q->luks != NULL;
}

bool
qcow2_open_crypt (Qcow2 *q, VpDriverFlags flags, const VpOpenOptions *options,
                  GError **error)
{
  uint32_t method = q->header.crypt_method;
  if (method == 0)
    return true;
  if (options->encrypt_format &&
      strcmp (options->encrypt_format, method_name (method)) != 0) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Header reported '%s' encryption format but options specify "
                 "'%s'",
                 method_name (method), options->encrypt_format);
    return false;
  }
  /* A check counts the clusters of a broken header all the same. */
  if (method == METHOD_LUKS &&
      !open_luks_header (q, q->lenient ? NULL : error) && !q->lenient)
    return false;
  if (flags & VP_DRIVER_NO_IO || q->lenient) {
    q->crypt = vp_crypt_new_locked ();
    return true;
  }
  if (!options->key)
    return usage (error, "Parameter 'encrypt.key-secret' is required for "
                         "cipher");
  q->crypt = method == METHOD_AES
                 ? open_aes (options->key, error)
                 : vp_luks_unlock (q->luks, options->key, error);
  /* Key slots are changed by it. */
  if (q->luks && q->writable)
    q->password = vp_secret_new (NULL, options->key->data, options->key->len);
  return q->crypt != NULL;
}

void
qcow2_close_crypt (Qcow2 *q)
{
  g_clear_pointer (&q->crypt, vp_crypt_unref);
  g_clear_pointer (&q->password, vp_secret_free);
  g_clear_pointer (&q->luks, vp_luks_free);
}

uint64_t
qcow2_crypt_offset (const Qcow2 *q, uint64_t guest, uint64_t host)
{
  return q->header.crypt_method == METHOD_AES ? guest : host;
}

void
qcow2_crypt_info (const Qcow2 *q, VpImageInfo *info)
{
  if (q->header.crypt_method == 0)
    return;
  info->encrypted = true;
  info->encrypt_format = method_name (q->header.crypt_method);
  if (q->luks)
    info->luks = g_memdup2 (vp_luks_get_info (q->luks), sizeof *info->luks);
}

/* ---- making ------------------------------------------------------------- */

static bool
not_accepted (GError **error, const char *name, const char *value)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Parameter '%s' does not accept value '%s'", name, value);
  return false;
}

static bool
find_method (const VpEncryptOptions *options, uint32_t *ret_method,
             GError **error)
{
  bool luks_words = options->cipher_alg || options->cipher_mode ||
                    options->hash_alg || options->ivgen_alg ||
                    options->ivgen_hash_alg || options->iter_time;
  *ret_method = 0;
  if (options->legacy && options->format)
    return usage (error, "'encrypt.format' and its alias 'encryption' can't be "
                         "used at the same time");
  if (!options->legacy && !options->format)
    return (!options->key_secret && !luks_words) ||
           usage (error, "Parameter 'encrypt.format' is missing");
  if (options->legacy || strcmp (options->format, "aes") == 0)
    *ret_method = METHOD_AES;
  else if (strcmp (options->format, "luks") == 0)
    *ret_method = METHOD_LUKS;
  else
    return not_accepted (error, "format", options->format);
  return *ret_method == METHOD_LUKS || !luks_words ||
         usage (error, "Format 'aes' has no other options than "
                       "'encrypt.key-secret'");
}

bool
qcow2_plan_crypt (const VpCreateOptions *options, Qcow2CryptPlan *plan,
                  GError **error)
{
  const VpEncryptOptions *encrypt = &options->encrypt;
  *plan = (Qcow2CryptPlan){ .luks = VP_LUKS_OPTIONS_INIT };
  if (!find_method (encrypt, &plan->method, error))
    return false;
  if (plan->method == 0)
    return true;
  if (!vp_encrypt_parse_luks (encrypt, &plan->luks, error))
    return false;
  if (!encrypt->key_secret)
    return usage (error, "Parameter 'encrypt.key-secret' is required for "
                         "cipher");
  plan->key = vp_secrets_find (encrypt->secrets, encrypt->key_secret, error);
  if (!plan->key)
    return false;
  if (plan->method == METHOD_LUKS)
    plan->header_length = vp_luks_measure (&plan->luks);
  return true;
}
