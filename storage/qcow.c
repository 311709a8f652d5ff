/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow: the first version of QEMU's own format: opening, facts, and the
 * driver's row in the table.
 *
 * Encrypted with "aes": AES-128-CBC, the password's first 16 bytes are the
 * key, sectors are numbered by guest offset; tables and packed units are in
 * the clear. */
#include "config.h"

#include "storage/qcow.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

#define CACHE_SIZE  ((size_t) 16 << 20)
#define AES_KEY_LEN 16u

bool
qcow_corrupt (Qcow *q, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               q->file->name, message);
  return false;
}

/* ---- opening ------------------------------------------------------------ */

static VpCrypt *
make_crypt (const VpSecret *password, GError **error)
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
open_crypt (Qcow *q, VpDriverFlags flags, const VpOpenOptions *options,
            GError **error)
{
  if (q->header.crypt_method == 0)
    return true;
  if (options->encrypt_format && strcmp (options->encrypt_format, "aes") != 0) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Header reported 'aes' encryption format but options specify "
                 "'%s'",
                 options->encrypt_format);
    return false;
  }
  if (flags & (VP_DRIVER_NO_IO | VP_DRIVER_CHECK))
    q->crypt = vp_crypt_new_locked ();
  else if (options->key)
    q->crypt = make_crypt (options->key, error);
  else
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Parameter 'encrypt.key-secret' is required for "
                         "cipher");
  return q->crypt != NULL;
}

/* Both stay until the image is closed. */
static bool
load_tables (Qcow *q, GError **error)
{
  uint64_t offset = q->header.l1_offset;
  if (!vp_tables_load (q->tables, 0, QCOW_HEADER_LEN, error) ||
      !vp_tables_load (q->tables, offset, (size_t) q->l1_entries * 8, error))
    return false;
  vp_tables_pin (q->tables, 0);
  vp_tables_pin (q->tables, offset);
  return true;
}

static void
qcow_close (gpointer state)
{
  Qcow *q = state;
  if (!q)
    return;
  vp_tables_free (q->tables);
  vp_counts_free (q->counts);
  vp_crypt_unref (q->crypt);
  g_free (q->backing_name);
  g_free (q);
}

static bool
qcow_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
           gpointer *ret_state, GError **error)
{
  Qcow *q = g_new0 (Qcow, 1);
  q->file = file;
  q->lenient = flags & VP_DRIVER_CHECK;
  q->tables = vp_tables_new (file, CACHE_SIZE, !(flags & VP_DRIVER_UNORDERED),
                             qcow_release, q);
  if (!qcow_load_header (q, error) || !open_crypt (q, flags, options, error) ||
      !load_tables (q, error)) {
    qcow_close (q);
    return false;
  }
  *ret_state = q;
  return true;
}

static bool
qcow_flush (gpointer state, GError **error)
{
  return vp_tables_flush (((Qcow *) state)->tables, error);
}

/* ---- facts -------------------------------------------------------------- */

static unsigned
qcow_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  if (len < 8 || vp_be32_get (head) != QCOW_MAGIC)
    return 0;
  return vp_be32_get (head + 4) == 1 ? 100 : 0;
}

static uint64_t
qcow_get_size (gpointer state)
{
  return ((Qcow *) state)->size;
}

/* Nowhere does it say of which format. */
static const char *
qcow_backing (gpointer state, const char **ret_format)
{
  *ret_format = NULL;
  return ((Qcow *) state)->backing_name;
}

static void
qcow_expect_backing (gpointer state)
{
  ((Qcow *) state)->expects_backing = true;
}

static bool
qcow_info (gpointer state, VpImageInfo *info, GError **error)
{
  Qcow *q = state;
  info->cluster_size = q->cluster_size;
  info->backing_name = g_strdup (q->backing_name);
  if (q->header.crypt_method != 0) {
    info->encrypted = true;
    info->encrypt_format = "aes";
  }
  return true;
}

static const VpOption qcow_options[] = {
  { "size", "Virtual disk size" },
  { "backing_file", "File name of a base image" },
  { "backing_fmt", "Format of the backing image" },
  { "cluster_size", "qcow cluster size" },
  { "encryption", "Encrypt the image with format 'aes'. (Deprecated in favor "
                  "of encrypt.format=aes)" },
  { "encrypt.format", "Encrypt the image, format choices: 'aes'" },
  { "encrypt.key-secret",
    "ID of the secret that provides the AES encryption key" },
  { NULL, NULL },
};

const VpFormat vp_format_qcow = {
  .name = "qcow",
  .options = qcow_options,
  .header = &qcow_header_layout,
  .supports_backing = true,
  .probe = qcow_probe,
  .check_create = qcow_check_create,
  .create = qcow_create,
  .footprint = qcow_footprint,
  .empty = qcow_empty,
  .open = qcow_open,
  .close = qcow_close,
  .get_size = qcow_get_size,
  .info = qcow_info,
  .backing = qcow_backing,
  .map = qcow_map,
  .packing = qcow_packing,
  .reserve_packed = qcow_reserve_packed,
  .link_packed = qcow_link_packed,
  .reserve = qcow_reserve,
  .link = qcow_link,
  .unreserve = qcow_unreserve,
  .zero = qcow_zero,
  .discard = qcow_discard,
  .flush = qcow_flush,
  .extend = qcow_extend,
  .resize = qcow_resize,
  .shrink = qcow_shrink,
  .set_backing = qcow_set_backing,
  .expect_backing = qcow_expect_backing,
  .check = qcow_check,
  .describe = qcow_describe,
};
