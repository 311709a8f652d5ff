/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* crypt: sectors of 512 bytes in and out of a cipher, each with an IV made
 * from its number; and the hashes and PBKDF2 that go with it.  Knows no
 * format; libgcrypt is used here and in secret.c alone.
 *
 * A VpCrypt can be used from any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define VP_CRYPT_SECTOR      512u
#define VP_MAX_DIGEST_LEN    64u
#define VP_MAX_CRYPT_KEY_LEN 64u /* XTS has two keys */

typedef enum {
  VP_CIPHER_AES_128,
  VP_CIPHER_AES_192,
  VP_CIPHER_AES_256,
  VP_CIPHER_CAST5_128,
  VP_CIPHER_SERPENT_128,
  VP_CIPHER_SERPENT_192,
  VP_CIPHER_SERPENT_256,
  VP_CIPHER_TWOFISH_128,
  VP_CIPHER_TWOFISH_256,
} VpCipher;

typedef enum { VP_CIPHER_MODE_CBC, VP_CIPHER_MODE_XTS } VpCipherMode;

/* "plain" is 32 bits wide; essiv is the sector's number, encrypted by the
 * hash of the key. */
typedef enum { VP_IVGEN_PLAIN, VP_IVGEN_PLAIN64, VP_IVGEN_ESSIV } VpIvgen;

typedef enum {
  VP_HASH_SHA1,
  VP_HASH_SHA224,
  VP_HASH_SHA256,
  VP_HASH_SHA384,
  VP_HASH_SHA512,
  VP_HASH_RIPEMD160,
} VpHash;

typedef struct {
  VpCipher cipher;
  VpCipherMode mode;
  VpIvgen ivgen;
  VpHash ivgen_hash; /* essiv */
} VpCryptSpec;

/* In QEMU's spelling: "aes-256", "xts", "plain64", "sha256". */
const char *vp_cipher_to_text (VpCipher cipher);
const char *vp_cipher_mode_to_text (VpCipherMode mode);
const char *vp_ivgen_to_text (VpIvgen ivgen);
const char *vp_hash_to_text (VpHash hash);
bool vp_cipher_from_text (const char *text, VpCipher *ret_cipher);
bool vp_cipher_mode_from_text (const char *text, VpCipherMode *ret_mode);
bool vp_ivgen_from_text (const char *text, VpIvgen *ret_ivgen);
bool vp_hash_from_text (const char *text, VpHash *ret_hash);
/* Of a family ("aes") the member for so long a key. */
bool vp_cipher_from_family (const char *family, VpCipherMode mode,
                            size_t key_len, VpCipher *ret_cipher);
/* "aes"; static. */
const char *vp_cipher_get_family (VpCipher cipher);
/* Bytes of key that cipher takes in mode. */
size_t vp_cipher_key_len (VpCipher cipher, VpCipherMode mode);
size_t vp_hash_len (VpHash hash);

typedef struct VpCrypt VpCrypt;

/* VP_IMAGE_ERROR_UNSUPPORTED: this build's library has no such cipher, or the
 * parts do not go together. */
VpCrypt *vp_crypt_new (const VpCryptSpec *spec, const uint8_t *key,
                       size_t key_len, GError **error);
/* Stands where a key would be needed: every use fails with what to do. */
VpCrypt *vp_crypt_new_locked (void);
bool vp_crypt_is_locked (const VpCrypt *crypt);
VpCrypt *vp_crypt_ref (VpCrypt *crypt);
/* Wipes the key with the last reference; NULL is fine. */
void vp_crypt_unref (VpCrypt *crypt);

/* In place, whole sectors; offset (bytes) / 512 is the first one's number. */
bool vp_crypt_encrypt (VpCrypt *crypt, uint64_t offset, uint8_t *data,
                       size_t len, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_crypt_decrypt (VpCrypt *crypt, uint64_t offset, uint8_t *data,
                       size_t len, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One-shot over two parts; the second may be NULL. */
bool vp_hash_data (VpHash hash, const void *a, size_t a_len, const void *b,
                   size_t b_len, uint8_t digest[VP_MAX_DIGEST_LEN]);
bool vp_pbkdf2 (VpHash hash, const void *password, size_t password_len,
                const uint8_t *salt, size_t salt_len, uint64_t iterations,
                uint8_t *out, size_t out_len,
                GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* How many iterations this processor does in time_ms of its own time; looks
 * for a few milliseconds. */
uint64_t vp_pbkdf2_measure (VpHash hash, size_t out_len, unsigned time_ms);
/* Fit for keys. */
void vp_random_bytes (void *to, size_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpCrypt, vp_crypt_unref)
