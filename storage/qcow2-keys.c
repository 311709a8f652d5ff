/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-keys: who may open an encrypted image, in the words of amend. */
#include "config.h"

#include "storage/encrypt.h"
#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

#define PREFIX "encrypt."

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

/* The method is what it is, but may be said; the rest is for LUKS. */
static bool
take_format (const GPtrArray *pairs, GPtrArray *rest, GError **error)
{
  for (guint i = 0; i + 1 < pairs->len; i += 2) {
    char *name = g_ptr_array_index (pairs, i);
    char *value = g_ptr_array_index (pairs, i + 1);
    if (strcmp (name, PREFIX "format") != 0) {
      g_ptr_array_add (rest, name);
      g_ptr_array_add (rest, value);
    } else if (strcmp (value, "luks") != 0) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "Parameter 'format' does not accept value '%s'", value);
      return false;
    }
  }
  return true;
}

bool
qcow2_amend_keys (Qcow2 *q, const VpAmendOptions *options, bool dry,
                  GError **error)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();
  if (!options->encrypt || options->encrypt->len == 0)
    return true;
  if (q->header.crypt_method == 0)
    return usage (error, "Can't amend encryption options - encryption not "
                         "present");
  if (!q->luks || !q->password)
    return usage (error, "Only LUKS encryption options can be amended for "
                         "qcow2 with amend");
  return take_format (options->encrypt, words, error) &&
         vp_encrypt_amend_luks (q->luks, q->password, PREFIX, words, options,
                                dry, error);
}
