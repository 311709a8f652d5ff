/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* crypt: see the header.
 *
 * A handle of libgcrypt has room for one IV, so a thread needs one of its own:
 * each call takes a handle from those that lie idle, or makes one, and puts it
 * back.  There are never more than threads that worked at once. */
#include "config.h"

#include "storage/crypt.h"

#include <errno.h>
#include <gcrypt.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "storage/error.h"
#include "storage/secret.h"

#define MAX_IV_LEN 16u

/* ---- tables ------------------------------------------------------------- */

typedef struct {
  const char *name, *family;
  int algo;
  unsigned key_len, block_len;
} CipherRow;

static const CipherRow ciphers[] = {
  [VP_CIPHER_AES_128] = { "aes-128", "aes", GCRY_CIPHER_AES128, 16, 16 },
  [VP_CIPHER_AES_192] = { "aes-192", "aes", GCRY_CIPHER_AES192, 24, 16 },
  [VP_CIPHER_AES_256] = { "aes-256", "aes", GCRY_CIPHER_AES256, 32, 16 },
  [VP_CIPHER_CAST5_128] = { "cast5-128", "cast5", GCRY_CIPHER_CAST5, 16, 8 },
  [VP_CIPHER_SERPENT_128] = { "serpent-128", "serpent", GCRY_CIPHER_SERPENT128,
                              16, 16 },
  [VP_CIPHER_SERPENT_192] = { "serpent-192", "serpent", GCRY_CIPHER_SERPENT192,
                              24, 16 },
  [VP_CIPHER_SERPENT_256] = { "serpent-256", "serpent", GCRY_CIPHER_SERPENT256,
                              32, 16 },
  [VP_CIPHER_TWOFISH_128] = { "twofish-128", "twofish", GCRY_CIPHER_TWOFISH128,
                              16, 16 },
  [VP_CIPHER_TWOFISH_256] = { "twofish-256", "twofish", GCRY_CIPHER_TWOFISH, 32,
                              16 },
};

static const char *const modes[] = {
  [VP_CIPHER_MODE_CBC] = "cbc", [VP_CIPHER_MODE_XTS] = "xts"
};

static const char *const ivgens[] = { [VP_IVGEN_PLAIN] = "plain",
                                      [VP_IVGEN_PLAIN64] = "plain64",
                                      [VP_IVGEN_ESSIV] = "essiv" };

static const struct {
  const char *name;
  int algo;
  unsigned len;
} hashes[] = {
  [VP_HASH_SHA1] = { "sha1", GCRY_MD_SHA1, 20 },
  [VP_HASH_SHA224] = { "sha224", GCRY_MD_SHA224, 28 },
  [VP_HASH_SHA256] = { "sha256", GCRY_MD_SHA256, 32 },
  [VP_HASH_SHA384] = { "sha384", GCRY_MD_SHA384, 48 },
  [VP_HASH_SHA512] = { "sha512", GCRY_MD_SHA512, 64 },
  [VP_HASH_RIPEMD160] = { "ripemd160", GCRY_MD_RMD160, 20 },
};

const char *
vp_cipher_to_text (VpCipher cipher)
{
  return ciphers[cipher].name;
}

const char *
vp_cipher_mode_to_text (VpCipherMode mode)
{
  return modes[mode];
}

const char *
vp_ivgen_to_text (VpIvgen ivgen)
{
  return ivgens[ivgen];
}

const char *
vp_hash_to_text (VpHash hash)
{
  return hashes[hash].name;
}

bool
vp_cipher_from_text (const char *text, VpCipher *ret_cipher)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ciphers); i++)
    if (strcmp (ciphers[i].name, text) == 0) {
      *ret_cipher = (VpCipher) i;
      return true;
    }
  return false;
}

bool
vp_cipher_mode_from_text (const char *text, VpCipherMode *ret_mode)
{
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++)
    if (strcmp (modes[i], text) == 0) {
      *ret_mode = (VpCipherMode) i;
      return true;
    }
  return false;
}

bool
vp_ivgen_from_text (const char *text, VpIvgen *ret_ivgen)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ivgens); i++)
    if (strcmp (ivgens[i], text) == 0) {
      *ret_ivgen = (VpIvgen) i;
      return true;
    }
  return false;
}

bool
vp_hash_from_text (const char *text, VpHash *ret_hash)
{
  for (size_t i = 0; i < G_N_ELEMENTS (hashes); i++)
    if (strcmp (hashes[i].name, text) == 0) {
      *ret_hash = (VpHash) i;
      return true;
    }
  return false;
}

bool
vp_cipher_from_family (const char *family, VpCipherMode mode, size_t key_len,
                       VpCipher *ret_cipher)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ciphers); i++)
    if (strcmp (ciphers[i].family, family) == 0 &&
        vp_cipher_key_len ((VpCipher) i, mode) == key_len) {
      *ret_cipher = (VpCipher) i;
      return true;
    }
  return false;
}

const char *
vp_cipher_get_family (VpCipher cipher)
{
  return ciphers[cipher].family;
}

size_t
vp_cipher_key_len (VpCipher cipher, VpCipherMode mode)
{
  size_t len = ciphers[cipher].key_len;
  return mode == VP_CIPHER_MODE_XTS ? 2 * len : len;
}

size_t
vp_hash_len (VpHash hash)
{
  return hashes[hash].len;
}

/* ---- the library -------------------------------------------------------- */

/* Once for the process; asking for the version is what starts it. */
static void
start_library (void)
{
  static gsize started;
  if (!g_once_init_enter (&started))
    return;
  (void) gcry_check_version (NULL);
  gcry_control (GCRYCTL_INITIALIZATION_FINISHED, 0);
  g_once_init_leave (&started, 1);
}

static bool
unsupported (GError **error, const VpCryptSpec *spec, const char *why)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "encryption by %s-%s-%s is not supported: %s",
               ciphers[spec->cipher].name, modes[spec->mode],
               ivgens[spec->ivgen], why);
  return false;
}

static bool
failed (GError **error, gcry_error_t code)
{
  if (!code)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED,
               "libgcrypt failed: %s", gcry_strerror (code));
  return false;
}

/* ---- handles ------------------------------------------------------------ */

typedef struct {
  gcry_cipher_hd_t data, essiv;
} Handle;

struct VpCrypt {
  int n_refs;
  VpCryptSpec spec;
  VpSecret *key; /* NULL: locked */
  uint8_t essiv_key[VP_MAX_DIGEST_LEN];
  GMutex lock;
  GPtrArray *idle; /* of Handle */
};

static void
handle_free (gpointer data)
{
  Handle *handle = data;
  gcry_cipher_close (handle->data);
  gcry_cipher_close (handle->essiv);
  g_free (handle);
}

/* The cipher of the family that takes a hash as its key. */
static int
find_essiv_algo (const VpCryptSpec *spec)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ciphers); i++)
    if (strcmp (ciphers[i].family, ciphers[spec->cipher].family) == 0 &&
        ciphers[i].key_len == hashes[spec->ivgen_hash].len)
      return ciphers[i].algo;
  return 0;
}

static Handle *
handle_new (const VpCrypt *crypt, GError **error)
{
  const VpCryptSpec *spec = &crypt->spec;
  Handle *handle = g_new0 (Handle, 1);
  gcry_error_t code =
      gcry_cipher_open (&handle->data, ciphers[spec->cipher].algo,
                        spec->mode == VP_CIPHER_MODE_XTS ? GCRY_CIPHER_MODE_XTS
                                                         : GCRY_CIPHER_MODE_CBC,
                        0);
  if (!code)
    code = gcry_cipher_setkey (handle->data, crypt->key->data, crypt->key->len);
  /* Two halves that are alike are a key like any other here. */
  if (gcry_err_code (code) == GPG_ERR_WEAK_KEY)
    code = 0;
  if (!code && spec->ivgen == VP_IVGEN_ESSIV) {
    code = gcry_cipher_open (&handle->essiv, find_essiv_algo (spec),
                             GCRY_CIPHER_MODE_ECB, 0);
    if (!code)
      code = gcry_cipher_setkey (handle->essiv, crypt->essiv_key,
                                 hashes[spec->ivgen_hash].len);
  }
  if (failed (error, code))
    return handle;
  handle_free (handle);
  return NULL;
}

static Handle *
take_handle (VpCrypt *crypt, GError **error)
{
  Handle *handle = NULL;
  g_mutex_lock (&crypt->lock);
  if (crypt->idle->len > 0)
    handle = g_ptr_array_steal_index_fast (crypt->idle, crypt->idle->len - 1);
  g_mutex_unlock (&crypt->lock);
  return handle ? handle : handle_new (crypt, error);
}

static void
give_handle (VpCrypt *crypt, Handle *handle)
{
  g_mutex_lock (&crypt->lock);
  g_ptr_array_add (crypt->idle, handle);
  g_mutex_unlock (&crypt->lock);
}

/* ---- life --------------------------------------------------------------- */

static bool
check_spec (const VpCryptSpec *spec, size_t key_len, GError **error)
{
  const CipherRow *row = &ciphers[spec->cipher];
  if (spec->mode == VP_CIPHER_MODE_XTS && row->block_len != 16)
    return unsupported (error, spec, "XTS needs blocks of 16 bytes");
  if (key_len != vp_cipher_key_len (spec->cipher, spec->mode))
    return unsupported (error, spec, "the key has another length");
  if (spec->ivgen == VP_IVGEN_ESSIV && find_essiv_algo (spec) == 0)
    return unsupported (error, spec,
                        "no cipher takes a key as long as the hash");
  if (gcry_cipher_test_algo (row->algo))
    return unsupported (error, spec, "libgcrypt was built without it");
  return true;
}

static VpCrypt *
crypt_alloc (void)
{
  VpCrypt *crypt = g_new0 (VpCrypt, 1);
  crypt->n_refs = 1;
  crypt->idle = g_ptr_array_new_with_free_func (handle_free);
  g_mutex_init (&crypt->lock);
  return crypt;
}

VpCrypt *
vp_crypt_new (const VpCryptSpec *spec, const uint8_t *key, size_t key_len,
              GError **error)
{
  start_library ();
  if (!check_spec (spec, key_len, error))
    return NULL;
  g_autoptr (VpCrypt) crypt = crypt_alloc ();
  crypt->spec = *spec;
  crypt->key = vp_secret_new (NULL, key, key_len);
  if (spec->ivgen == VP_IVGEN_ESSIV)
    (void) vp_hash_data (spec->ivgen_hash, key, key_len, NULL, 0,
                         crypt->essiv_key);
  Handle *handle = handle_new (crypt, error);
  if (!handle)
    return NULL;
  give_handle (crypt, handle);
  return g_steal_pointer (&crypt);
}

VpCrypt *
vp_crypt_new_locked (void)
{
  return crypt_alloc ();
}

bool
vp_crypt_is_locked (const VpCrypt *crypt)
{
  return crypt->key == NULL;
}

VpCrypt *
vp_crypt_ref (VpCrypt *crypt)
{
  g_atomic_int_inc (&crypt->n_refs);
  return crypt;
}

void
vp_crypt_unref (VpCrypt *crypt)
{
  if (!crypt || !g_atomic_int_dec_and_test (&crypt->n_refs))
    return;
  g_ptr_array_unref (crypt->idle);
  vp_secret_free (crypt->key);
  vp_wipe (crypt->essiv_key, sizeof crypt->essiv_key);
  g_mutex_clear (&crypt->lock);
  g_free (crypt);
}

/* ---- sectors ------------------------------------------------------------ */

static gcry_error_t
set_iv (const VpCrypt *crypt, Handle *handle, uint64_t sector)
{
  uint8_t iv[MAX_IV_LEN] = { 0 };
  size_t len = ciphers[crypt->spec.cipher].block_len;
  if (crypt->spec.ivgen == VP_IVGEN_PLAIN)
    sector &= UINT32_MAX;
  for (unsigned i = 0; i < 8; i++)
    iv[i] = (uint8_t) (sector >> (8 * i));
  if (crypt->spec.ivgen == VP_IVGEN_ESSIV) {
    gcry_error_t code = gcry_cipher_encrypt (handle->essiv, iv, len, NULL, 0);
    if (code)
      return code;
  }
  return gcry_cipher_setiv (handle->data, iv, len);
}

typedef gcry_error_t (*Transform) (gcry_cipher_hd_t handle, void *out,
                                   size_t out_len, const void *in,
                                   size_t in_len);

static bool
transform (VpCrypt *crypt, Transform how, uint64_t offset, uint8_t *data,
           size_t len, GError **error)
{
  if (!crypt->key) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Parameter 'encrypt.key-secret' is required for "
                         "cipher");
    return false;
  }
  g_return_val_if_fail ((offset | len) % VP_CRYPT_SECTOR == 0, false);
  Handle *handle = take_handle (crypt, error);
  if (!handle)
    return false;
  gcry_error_t code = 0;
  for (size_t done = 0; !code && done < len; done += VP_CRYPT_SECTOR) {
    code = set_iv (crypt, handle, (offset + done) / VP_CRYPT_SECTOR);
    if (!code)
      code = how (handle->data, data + done, VP_CRYPT_SECTOR, NULL, 0);
  }
  give_handle (crypt, handle);
  return failed (error, code);
}

bool
vp_crypt_encrypt (VpCrypt *crypt, uint64_t offset, uint8_t *data, size_t len,
                  GError **error)
{
  return transform (crypt, gcry_cipher_encrypt, offset, data, len, error);
}

bool
vp_crypt_decrypt (VpCrypt *crypt, uint64_t offset, uint8_t *data, size_t len,
                  GError **error)
{
  return transform (crypt, gcry_cipher_decrypt, offset, data, len, error);
}

/* ---- hashes, keys ------------------------------------------------------- */

bool
vp_hash_data (VpHash hash, const void *a, size_t a_len, const void *b,
              size_t b_len, uint8_t digest[VP_MAX_DIGEST_LEN])
{
  gcry_buffer_t parts[2] = { { .data = (void *) a, .len = a_len },
                             { .data = (void *) b, .len = b_len } };
  start_library ();
  return !gcry_md_hash_buffers (hashes[hash].algo, 0, digest, parts, b ? 2 : 1);
}

bool
vp_pbkdf2 (VpHash hash, const void *password, size_t password_len,
           const uint8_t *salt, size_t salt_len, uint64_t iterations,
           uint8_t *out, size_t out_len, GError **error)
{
  start_library ();
  return failed (error,
                 gcry_kdf_derive (password, password_len, GCRY_KDF_PBKDF2,
                                  hashes[hash].algo, salt, salt_len,
                                  (unsigned long) iterations, out_len, out));
}

static uint64_t
thread_time_ns (void)
{
  struct timespec now;
  if (clock_gettime (CLOCK_THREAD_CPUTIME_ID, &now) < 0)
    return (uint64_t) g_get_monotonic_time () * 1000;
  return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

uint64_t
vp_pbkdf2_measure (VpHash hash, size_t out_len, unsigned time_ms)
{
  static const uint8_t salt[32] = { 1 };
  uint8_t out[VP_MAX_CRYPT_KEY_LEN];
  uint64_t enough_ns = (uint64_t) CLAMP (time_ms, 1, 20) * 1000000;
  uint64_t iterations = 1024, taken_ns = 0;
  for (; iterations < UINT64_C (1) << 28; iterations *= 2) {
    uint64_t start = thread_time_ns ();
    if (!vp_pbkdf2 (hash, "password", 8, salt, sizeof salt, iterations, out,
                    MIN (out_len, sizeof out), NULL))
      return 0;
    taken_ns = thread_time_ns () - start;
    if (taken_ns >= enough_ns)
      break;
  }
  return (uint64_t) ((double) iterations * 1e6 * time_ms /
                     (double) MAX (taken_ns, 1));
}

void
vp_random_bytes (void *to, size_t len)
{
  for (size_t done = 0; done < len;) {
    ssize_t n = getrandom ((uint8_t *) to + done, len - done, 0);
    if (n < 0 && errno != EINTR)
      g_error ("no random numbers: %s", g_strerror (errno));
    done += n > 0 ? (size_t) n : 0;
  }
}
