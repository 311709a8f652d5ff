/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* crypt: known answers, and use by several threads at once. */
#include "config.h"

#include "storage/crypt.h"

#include <string.h>

#include "storage/error.h"

#define SECTOR VP_CRYPT_SECTOR

static void
fill (uint8_t *bytes, size_t len)
{
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t) i;
}

static char *
hex (const uint8_t *bytes, size_t len)
{
  GString *text = g_string_new (NULL);
  for (size_t i = 0; i < len; i++)
    g_string_append_printf (text, "%02x", bytes[i]);
  return g_string_free (text, FALSE);
}

static void
unhex (const char *text, uint8_t *bytes, size_t *ret_len)
{
  size_t len = strlen (text) / 2;
  for (size_t i = 0; i < len; i++)
    bytes[i] = (uint8_t) (g_ascii_xdigit_value (text[2 * i]) << 4 |
                          g_ascii_xdigit_value (text[2 * i + 1]));
  *ret_len = len;
}

static VpCrypt *
crypt_new (const VpCryptSpec *spec)
{
  g_autoptr (GError) error = NULL;
  uint8_t key[VP_MAX_CRYPT_KEY_LEN];
  fill (key, sizeof key);
  VpCrypt *crypt = vp_crypt_new (
      spec, key, vp_cipher_key_len (spec->cipher, spec->mode), &error);
  g_assert_no_error (error);
  return crypt;
}

/* ---- from elsewhere ------------------------------------------------------ */

/* IEEE 1619, annex B, vectors 4 and 10: one sector of 0, 1, 2 ...; the
 * first block of what comes out. */
typedef struct {
  VpCipher cipher;
  const char *key;
  uint64_t sector;
  const char *block;
} Standard;

static const Standard standards[] = {
  { VP_CIPHER_AES_128,
    "2718281828459045235360287471352631415926535897932384626433832795", 0,
    "27a7479befa1d476489f308cd4cfa6e2" },
  { VP_CIPHER_AES_256,
    "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592",
    0xff, "1c3b3a102f770386e4836c99e370cf9b" },
};

static void
test_standard (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (standards); i++) {
    const Standard *s = &standards[i];
    VpCryptSpec spec = { .cipher = s->cipher,
                         .mode = VP_CIPHER_MODE_XTS,
                         .ivgen = VP_IVGEN_PLAIN64 };
    uint8_t key[VP_MAX_CRYPT_KEY_LEN], sector[SECTOR], plain[SECTOR];
    size_t len;
    g_autoptr (GError) error = NULL;
    unhex (s->key, key, &len);
    fill (sector, sizeof sector);
    fill (plain, sizeof plain);
    g_autoptr (VpCrypt) crypt = vp_crypt_new (&spec, key, len, &error);
    g_assert_no_error (error);
    g_assert_true (
        vp_crypt_encrypt (crypt, s->sector * SECTOR, sector, SECTOR, &error));
    g_autofree char *block = hex (sector, 16);
    g_assert_cmpstr (block, ==, s->block);
    g_assert_true (
        vp_crypt_decrypt (crypt, s->sector * SECTOR, sector, SECTOR, &error));
    g_assert_true (memcmp (sector, plain, SECTOR) == 0);
  }
}

/* RFC 6070; RFC 7914 for SHA-256. */
static void
test_pbkdf2 (void)
{
  g_autoptr (GError) error = NULL;
  uint8_t out[20];
  g_assert_true (vp_pbkdf2 (VP_HASH_SHA1, "password", 8,
                            (const uint8_t *) "salt", 4, 4096, out, sizeof out,
                            &error));
  g_autofree char *text = hex (out, sizeof out);
  g_assert_cmpstr (text, ==, "4b007901b765489abead49d926f721d065a429c1");
  g_assert_true (vp_pbkdf2 (VP_HASH_SHA256, "passwd", 6,
                            (const uint8_t *) "salt", 4, 1, out, 16, &error));
  g_autofree char *other = hex (out, 16);
  g_assert_cmpstr (other, ==, "55ac046e56e3089fec1691c22544b605");
  g_assert_cmpuint (vp_pbkdf2_measure (VP_HASH_SHA256, 64, 2), >, 100);
}

/* ---- ours, once qemu-img has agreed (img-crypt.sh) ----------------------- */

typedef struct {
  VpCryptSpec spec;
  const char *digest; /* first bytes of SHA-256 over what comes out */
} Known;

#define KNOWN(cipher, mode, ivgen, hash, digest)                               \
  {                                                                            \
    { VP_CIPHER_##cipher, VP_CIPHER_MODE_##mode, VP_IVGEN_##ivgen,             \
      VP_HASH_##hash },                                                        \
        digest                                                                 \
  }

static const Known known[] = {
  KNOWN (AES_128, XTS, PLAIN64, SHA256, "b79b1516e4a1dc06"),
  KNOWN (AES_192, XTS, PLAIN64, SHA256, "8744c0618ac6680c"),
  KNOWN (AES_256, XTS, PLAIN64, SHA256, "c34c59d05839c84f"),
  KNOWN (SERPENT_128, XTS, PLAIN64, SHA256, "d40330a39a447a0a"),
  KNOWN (SERPENT_192, XTS, PLAIN64, SHA256, "66fdca950dbcda2c"),
  KNOWN (SERPENT_256, XTS, PLAIN64, SHA256, "3dd013a5fdb59e1d"),
  KNOWN (TWOFISH_128, XTS, PLAIN64, SHA256, "fce5859f0812558a"),
  KNOWN (TWOFISH_256, XTS, PLAIN64, SHA256, "44369ec52ae37c4d"),
  KNOWN (AES_128, CBC, PLAIN64, SHA256, "669c14fa95e2167e"),
  KNOWN (AES_256, CBC, PLAIN, SHA256, "5b069981a0378670"),
  KNOWN (AES_256, CBC, ESSIV, SHA256, "bc9be48d671574b3"),
  KNOWN (CAST5_128, CBC, PLAIN64, SHA256, "194ccb485c6983c4"),
  KNOWN (CAST5_128, CBC, PLAIN, SHA256, "5230e7dc5c93b475"),
  KNOWN (SERPENT_256, CBC, ESSIV, SHA256, "5174ec0490a18350"),
  KNOWN (TWOFISH_256, CBC, ESSIV, SHA256, "eefd2c4f7dc0fb3f"),
};

static void
test_known (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpCrypt) crypt = crypt_new (&known[i].spec);
    uint8_t data[3 * SECTOR], plain[3 * SECTOR], digest[VP_MAX_DIGEST_LEN];
    /* Beyond 32 bits, where plain and plain64 part. */
    uint64_t offset = ((UINT64_C (1) << 32) - 1) * SECTOR;
    fill (data, sizeof data);
    fill (plain, sizeof plain);
    g_assert_true (vp_crypt_encrypt (crypt, offset, data, sizeof data, &error));
    g_assert_true (
        vp_hash_data (VP_HASH_SHA256, data, sizeof data, NULL, 0, digest));
    g_autofree char *text = hex (digest, 8);
    g_assert_cmpstr (text, ==, known[i].digest);
    /* Each sector by itself gives the same. */
    for (size_t at = 3; at-- > 0;)
      g_assert_true (vp_crypt_decrypt (crypt, offset + at * SECTOR,
                                       data + at * SECTOR, SECTOR, &error));
    g_assert_true (memcmp (data, plain, sizeof data) == 0);
  }
}

static void
refuse (const VpCryptSpec *spec, size_t key_len, const char *why)
{
  uint8_t key[VP_MAX_CRYPT_KEY_LEN] = { 0 };
  g_autoptr (GError) error = NULL;
  g_assert_null (vp_crypt_new (spec, key, key_len, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, why));
}

static void
test_refused (void)
{
  VpCryptSpec cast5 = { VP_CIPHER_CAST5_128, VP_CIPHER_MODE_XTS,
                        VP_IVGEN_PLAIN64, VP_HASH_SHA256 };
  VpCryptSpec essiv = { VP_CIPHER_AES_256, VP_CIPHER_MODE_CBC, VP_IVGEN_ESSIV,
                        VP_HASH_SHA1 };
  VpCryptSpec aes = { VP_CIPHER_AES_256, VP_CIPHER_MODE_XTS, VP_IVGEN_PLAIN64,
                      VP_HASH_SHA256 };
  refuse (&cast5, 32, "blocks of 16 bytes");
  refuse (&essiv, 32, "as long as the hash");
  refuse (&aes, 32, "another length");
}

static void
test_locked (void)
{
  g_autoptr (VpCrypt) crypt = vp_crypt_new_locked ();
  g_autoptr (GError) error = NULL;
  uint8_t sector[SECTOR] = { 0 };
  g_assert_true (vp_crypt_is_locked (crypt));
  g_assert_false (vp_crypt_decrypt (crypt, 0, sector, SECTOR, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_assert_cmpstr (error->message, ==,
                   "Parameter 'encrypt.key-secret' is required for cipher");
}

/* ---- threads ------------------------------------------------------------- */

#define N_THREADS 4

static gpointer
there_and_back (gpointer data)
{
  VpCrypt *crypt = data;
  uint8_t buffer[8 * SECTOR], plain[8 * SECTOR];
  fill (plain, sizeof plain);
  bool ok = true;
  for (uint64_t round = 0; ok && round < 200; round++) {
    memcpy (buffer, plain, sizeof buffer);
    ok =
        vp_crypt_encrypt (crypt, round * SECTOR, buffer, sizeof buffer, NULL) &&
        vp_crypt_decrypt (crypt, round * SECTOR, buffer, sizeof buffer, NULL) &&
        memcmp (buffer, plain, sizeof buffer) == 0;
  }
  vp_crypt_unref (crypt);
  return GINT_TO_POINTER (ok);
}

static void
test_threads (void)
{
  VpCryptSpec spec = { VP_CIPHER_AES_256, VP_CIPHER_MODE_CBC, VP_IVGEN_ESSIV,
                       VP_HASH_SHA256 };
  VpCrypt *crypt = crypt_new (&spec);
  GThread *threads[N_THREADS];
  for (unsigned i = 0; i < N_THREADS; i++)
    threads[i] = g_thread_new ("crypt", there_and_back, vp_crypt_ref (crypt));
  vp_crypt_unref (crypt);
  for (unsigned i = 0; i < N_THREADS; i++)
    g_assert_true (GPOINTER_TO_INT (g_thread_join (threads[i])));
}

static void
test_names (void)
{
  VpCipher cipher;
  VpHash hash;
  g_assert_true (
      vp_cipher_from_family ("aes", VP_CIPHER_MODE_XTS, 64, &cipher));
  g_assert_cmpint (cipher, ==, VP_CIPHER_AES_256);
  g_assert_true (
      vp_cipher_from_family ("aes", VP_CIPHER_MODE_CBC, 16, &cipher));
  g_assert_cmpint (cipher, ==, VP_CIPHER_AES_128);
  g_assert_false (
      vp_cipher_from_family ("aes", VP_CIPHER_MODE_XTS, 16, &cipher));
  g_assert_false (
      vp_cipher_from_family ("rot13", VP_CIPHER_MODE_CBC, 16, &cipher));
  g_assert_true (vp_hash_from_text ("sha512", &hash));
  g_assert_cmpuint (vp_hash_len (hash), ==, 64);
  g_assert_false (vp_hash_from_text ("md5", &hash));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/crypt/standard", test_standard);
  g_test_add_func ("/crypt/pbkdf2", test_pbkdf2);
  g_test_add_func ("/crypt/known", test_known);
  g_test_add_func ("/crypt/refused", test_refused);
  g_test_add_func ("/crypt/locked", test_locked);
  g_test_add_func ("/crypt/threads", test_threads);
  g_test_add_func ("/crypt/names", test_names);
  return g_test_run ();
}
