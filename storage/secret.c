/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* secret: see the header.  Each has pages of its own: the kernel locks and
 * hides whole pages only. */
#include "config.h"

#include "storage/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/autofd.h"
#include "storage/error.h"

#define MASTER_KEY_LEN 32u
#define IV_LEN         16u

struct VpSecrets {
  GPtrArray *list; /* of VpSecret */
};

void
vp_wipe (void *data, size_t len)
{
  if (data)
    explicit_bzero (data, len);
}

/* ---- one ---------------------------------------------------------------- */

VpSecret *
vp_secret_new (const char *id, const void *data, size_t len)
{
  if (len > VP_MAX_SECRET_LEN)
    return NULL;
  void *pages = mmap (NULL, len + 1, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    g_error ("out of memory"); /* as g_malloc () does */
  /* Neither is ours to insist on: a limit of zero is common. */
  (void) mlock (pages, len + 1);
  (void) madvise (pages, len + 1, MADV_DONTDUMP);
  if (len > 0)
    memcpy (pages, data, len);
  VpSecret *secret = g_new0 (VpSecret, 1);
  secret->id = g_strdup (id);
  secret->data = pages;
  secret->len = len;
  return secret;
}

void
vp_secret_free (VpSecret *secret)
{
  if (!secret)
    return;
  vp_wipe (secret->data, secret->len);
  (void) munmap (secret->data, secret->len + 1);
  g_free (secret->id);
  g_free (secret);
}

/* ---- by name ------------------------------------------------------------ */

static void
free_secret (gpointer secret)
{
  vp_secret_free (secret);
}

VpSecrets *
vp_secrets_new (void)
{
  VpSecrets *secrets = g_new0 (VpSecrets, 1);
  secrets->list = g_ptr_array_new_with_free_func (free_secret);
  return secrets;
}

void
vp_secrets_free (VpSecrets *secrets)
{
  if (!secrets)
    return;
  g_ptr_array_unref (secrets->list);
  g_free (secrets);
}

static const VpSecret *
look_up (const VpSecrets *secrets, const char *id)
{
  for (guint i = 0; secrets && i < secrets->list->len; i++) {
    const VpSecret *secret = g_ptr_array_index (secrets->list, i);
    if (strcmp (secret->id, id) == 0)
      return secret;
  }
  return NULL;
}

static bool G_GNUC_PRINTF (2, 3) usage (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  if (error)
    *error =
        g_error_new_valist (VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, format, args);
  va_end (args);
  return false;
}

const VpSecret *
vp_secrets_find (const VpSecrets *secrets, const char *id, GError **error)
{
  const VpSecret *secret = look_up (secrets, id);
  if (!secret)
    (void) usage (error, "No secret with id '%s'", id);
  return secret;
}

/* ---- words -------------------------------------------------------------- */

typedef struct {
  const char *type, *id, *data, *file, *format, *key_id, *iv;
} Words;

static bool
read_words (const GPtrArray *pairs, Words *words, GError **error)
{
  const struct {
    const char *name;
    const char **to;
  } known[] = {
    { "qom-type", &words->type }, { "id", &words->id },
    { "data", &words->data },     { "file", &words->file },
    { "format", &words->format }, { "keyid", &words->key_id },
    { "iv", &words->iv },
  };
  for (guint i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    size_t k = 0;
    while (k < G_N_ELEMENTS (known) && strcmp (known[k].name, name) != 0)
      k++;
    if (k == G_N_ELEMENTS (known))
      return usage (error, "Parameter '%s' is unexpected", name);
    *known[k].to = g_ptr_array_index (pairs, i + 1);
  }
  return true;
}

static bool
check_words (const VpSecrets *secrets, const Words *words, GError **error)
{
  if (!words->type)
    return usage (error, "Parameter '%s' is missing", "qom-type");
  if (strcmp (words->type, "secret") != 0)
    return usage (error, "Parameter 'qom-type' does not accept value '%s'",
                  words->type);
  if (!words->id || !*words->id)
    return usage (error, "Parameter '%s' is missing", "id");
  if (words->format && strcmp (words->format, "raw") != 0 &&
      strcmp (words->format, "base64") != 0)
    return usage (error, "Parameter 'format' does not accept value '%s'",
                  words->format);
  if (words->file && words->data)
    return usage (error, "'file' and 'data' are mutually exclusive");
  if (!words->file && !words->data)
    return usage (error, "Either 'file' or 'data' must be provided");
  if (words->iv && !words->key_id)
    return usage (error, "Parameter 'iv' needs 'keyid'");
  if (words->key_id && !words->iv)
    return usage (error, "IV is required to decrypt secret");
  if (look_up (secrets, words->id))
    return usage (error,
                  "attempt to add duplicate property '%s' to object (type "
                  "'container')",
                  words->id);
  return true;
}

static bool
fail_file (GError **error, const char *path, int code)
{
  g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (code),
               "Unable to read %s: %s", path, g_strerror (code));
  return false;
}

/* A pipe will do as well as a file. */
static VpSecret *
read_file (const char *path, GError **error)
{
  vp_autofd int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    (void) fail_file (error, path, errno);
    return NULL;
  }
  size_t len = 0;
  uint8_t *buffer = g_malloc (VP_MAX_SECRET_LEN + 1);
  ssize_t n;
  while ((n = read (fd, buffer + len, VP_MAX_SECRET_LEN + 1 - len)) != 0) {
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      break;
    len += (size_t) n;
  }
  VpSecret *secret = n < 0 ? NULL : vp_secret_new (NULL, buffer, len);
  if (n < 0)
    (void) fail_file (error, path, errno);
  else if (!secret)
    (void) usage (error, "Unable to read %s: a secret has at most 64 KiB",
                  path);
  vp_wipe (buffer, len);
  g_free (buffer);
  return secret;
}

/* Base64 as QEMU takes it: white space is fine, other bytes are not. */
static VpSecret *
decode_base64 (const char *id, const uint8_t *text, size_t len, GError **error)
{
  static const char alphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n\r";
  for (size_t i = 0; i < len; i++)
    if (text[i] == '\0' || !strchr (alphabet, text[i])) {
      (void) usage (error, "Base64 data contains invalid characters");
      return NULL;
    }
  size_t out_len = 0;
  guchar *out = g_base64_decode ((const char *) text, &out_len);
  VpSecret *secret = vp_secret_new (id, out, out_len);
  vp_wipe (out, out_len);
  g_free (out);
  return secret;
}

/* PKCS#7 padding comes off. */
static VpSecret *
decrypt (const VpSecret *packed, const VpSecret *key, const VpSecret *iv,
         GError **error)
{
  if (key->len != MASTER_KEY_LEN || iv->len != IV_LEN) {
    (void) usage (error,
                  "a master key has 32 bytes and its IV has 16; %s is not so",
                  key->len != MASTER_KEY_LEN ? "the key" : "the IV");
    return NULL;
  }
  gcry_cipher_hd_t handle = NULL;
  g_autoptr (VpSecret) plain = vp_secret_new (NULL, packed->data, packed->len);
  bool ok = packed->len > 0 && packed->len % IV_LEN == 0 &&
            !gcry_cipher_open (&handle, GCRY_CIPHER_AES256,
                               GCRY_CIPHER_MODE_CBC, 0) &&
            !gcry_cipher_setkey (handle, key->data, key->len) &&
            !gcry_cipher_setiv (handle, iv->data, iv->len) &&
            !gcry_cipher_decrypt (handle, plain->data, plain->len, NULL, 0);
  gcry_cipher_close (handle);
  uint8_t padding = ok ? plain->data[plain->len - 1] : 0;
  ok = ok && padding > 0 && padding <= IV_LEN;
  for (size_t i = 0; ok && i < padding; i++)
    ok = plain->data[plain->len - 1 - i] == padding;
  if (!ok) {
    (void) usage (error, "Incorrect number of padding bytes: the key or the IV "
                         "is not the right one");
    return NULL;
  }
  return vp_secret_new (NULL, plain->data, plain->len - padding);
}

static VpSecret *
load (const VpSecrets *secrets, const Words *words, GError **error)
{
  bool base64 = words->format && strcmp (words->format, "base64") == 0;
  g_autoptr (VpSecret) secret = NULL;
  if (words->file)
    secret = read_file (words->file, error);
  else
    secret = vp_secret_new (NULL, words->data, strlen (words->data));
  if (!secret)
    return NULL;
  if (base64) {
    VpSecret *decoded = decode_base64 (NULL, secret->data, secret->len, error);
    vp_secret_free (secret);
    secret = decoded;
  }
  if (!secret || !words->key_id)
    return g_steal_pointer (&secret);

  const VpSecret *key = vp_secrets_find (secrets, words->key_id, error);
  if (!key)
    return NULL;
  g_autoptr (VpSecret) iv = decode_base64 (NULL, (const uint8_t *) words->iv,
                                           strlen (words->iv), error);
  return iv ? decrypt (secret, key, iv, error) : NULL;
}

bool
vp_secrets_add (VpSecrets *secrets, const GPtrArray *pairs, GError **error)
{
  Words words = { 0 };
  if (!read_words (pairs, &words, error) ||
      !check_words (secrets, &words, error))
    return false;
  if (!gcry_check_version (NULL))
    return usage (error, "libgcrypt does not start");
  VpSecret *secret = load (secrets, &words, error);
  if (!secret)
    return false;
  secret->id = g_strdup (words.id);
  g_ptr_array_add (secrets->list, secret);
  return true;
}
