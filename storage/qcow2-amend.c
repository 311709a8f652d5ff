/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-amend: other properties for an image that is there.
 *
 * All that can be refused is refused first.  Then one step after the other,
 * each of them whole: up to version 3 before what only that can hold, down to
 * version 2 last, when all that it cannot hold is gone. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  Qcow2 *q;
  const VpAmendOptions *options;
  unsigned version; /* that it is to be */
  unsigned refcount_bits;
} Amend;

static bool
refuse (VpImageErrorCode code, const char *why, GError **error)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, (int) code, why);
  return false;
}

static bool
usage (const char *why, GError **error)
{
  return refuse (VP_IMAGE_ERROR_USAGE, why, error);
}

static bool
unsupported (const char *why, GError **error)
{
  return refuse (VP_IMAGE_ERROR_UNSUPPORTED, why, error);
}

/* ---- may it be? --------------------------------------------------------- */

static bool
check_refcounts (const Amend *a, GError **error)
{
  unsigned bits = a->refcount_bits;
  if (bits == 0 || bits > 64 || bits & (bits - 1))
    return usage ("Refcount width must be a power of two and may not exceed "
                  "64 bits",
                  error);
  if (a->version >= 3 || bits == 16)
    return true;
  if (a->options->refcount_bits != 0)
    return usage ("Refcount widths other than 16 bits require compatibility "
                  "level 1.1 or above (use compat=1.1 or greater)",
                  error);
  return usage ("compat=0.10 requires refcount_bits=16", error);
}

static bool
check_names (const Amend *a, GError **error)
{
  const Qcow2 *q = a->q;
  const VpAmendOptions *o = a->options;
  const char *name = q->backing_name ? q->backing_name : "";
  const char *format = q->backing_format ? q->backing_format : "";
  if ((o->backing_name && strcmp (o->backing_name, name) != 0) ||
      (o->backing_format && strcmp (o->backing_format, format) != 0))
    return usage ("Cannot amend the backing file", error);
  if (o->data_file && !q->external)
    return usage ("data-file can only be set for images that use an external "
                  "data file",
                  error);
  if (o->data_file_raw == 1 &&
      !(q->header.autoclear & QCOW2_AUTOCLEAR_RAW_DATA))
    return usage ("data-file-raw cannot be set on existing images", error);
  return true;
}

/* What version 2 cannot hold. */
static bool
check_downgrade (const Amend *a, GError **error)
{
  const Qcow2 *q = a->q;
  uint64_t other =
      q->header.incompatible & ~(uint64_t) QCOW2_INCOMPATIBLE_DIRTY;
  uint64_t size = a->options->has_size ? a->options->size : q->header.size;
  if (a->options->lazy_refcounts == 1)
    return usage ("Lazy refcounts only supported with compatibility level 1.1 "
                  "and above (use compat=1.1 or greater)",
                  error);
  if (q->header.version < 3)
    return true;
  if (q->external)
    return unsupported ("Cannot downgrade an image with a data file", error);
  if (q->header.crypt_method == 2)
    return unsupported ("Cannot downgrade an image with LUKS encryption",
                        error);
  /* Zeros that hide the backing file would have to be encrypted for each place
   * in the disk that they stand for. */
  if (q->header.crypt_method != 0 && q->backing_name)
    return unsupported ("Cannot downgrade an encrypted image with a backing "
                        "file",
                        error);
  if (q->n_bitmaps > 0)
    return unsupported ("Cannot downgrade an image with bitmaps", error);
  if (other != 0)
    return unsupported ("Cannot downgrade an image with incompatible features "
                        "set",
                        error);
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    if (snapshot->facts->vm_state_size > UINT32_MAX ||
        snapshot->facts->disk_size != size)
      return unsupported ("Internal snapshots prevent downgrade of image",
                          error);
  }
  return true;
}

static bool
check_all (const Amend *a, GError **error)
{
  if (a->q->broken)
    return qcow2_corrupt (a->q, error, "marked as corrupt; nothing is written");
  return check_names (a, error) && check_refcounts (a, error) &&
         (a->version >= 3 || check_downgrade (a, error)) &&
         qcow2_amend_keys (a->q, a->options, true, error);
}

/* ---- steps -------------------------------------------------------------- */

/* Brings the first cluster up to date, or leaves all as it was. */
static bool
change_header (Qcow2 *q, const Qcow2Header *new, GError **error)
{
  Qcow2Header old = q->header;
  q->header = *new;
  if (qcow2_rewrite_head (q, error))
    return true;
  q->header = old;
  return false;
}

static bool
upgrade (Qcow2 *q, GError **error)
{
  Qcow2Header new = q->header;
  if (!qcow2_complete_snapshots (q, error))
    return false;
  new = q->header;
  new.version = 3;
  new.header_length = QCOW2_HEADER_OURS;
  new.refcount_order = 4;
  new.incompatible = new.compatible = new.autoclear = 0;
  new.compression_type = 0;
  qcow2_extensions_name_features (q->extensions);
  if (change_header (q, &new, error))
    return true;
  qcow2_set_extension (q, QCOW2_EXT_FEATURES, NULL, 0);
  return false;
}

static bool
downgrade (Amend *a, const VpProgress *progress, GError **error)
{
  Qcow2 *q = a->q;
  if (!qcow2_expand_zeros (q, progress, error))
    return false;
  Qcow2Header new = q->header;
  g_autoptr (GBytes) tail = g_steal_pointer (&q->header_tail);
  new.version = 2;
  new.header_length = QCOW2_HEADER_V2;
  new.incompatible = new.compatible = new.autoclear = 0;
  qcow2_set_extension (q, QCOW2_EXT_FEATURES, NULL, 0);
  if (change_header (q, &new, error)) {
    q->behind = false; /* the dirty bit went with the rest */
    return true;
  }
  q->header_tail = g_steal_pointer (&tail);
  qcow2_extensions_name_features (q->extensions);
  return false;
}

static bool
change_words (Amend *a, GError **error)
{
  Qcow2 *q = a->q;
  const VpAmendOptions *o = a->options;
  Qcow2Header new = q->header;
  if (o->lazy_refcounts == 1)
    new.compatible |= QCOW2_COMPATIBLE_LAZY;
  else if (o->lazy_refcounts == 0)
    new.compatible &= ~(uint64_t) QCOW2_COMPATIBLE_LAZY;
  if (o->data_file_raw == 0)
    new.autoclear &= ~(uint64_t) QCOW2_AUTOCLEAR_RAW_DATA;
  bool named = o->data_file && g_strcmp0 (o->data_file, q->data_file) != 0;
  if (named) {
    qcow2_set_extension (q, QCOW2_EXT_DATA_FILE, o->data_file,
                         strlen (o->data_file));
    g_free (q->data_file);
    q->data_file = g_strdup (o->data_file);
  }
  if (!named && new.compatible == q->header.compatible &&new.autoclear ==
                    q->header.autoclear)
    return true;
  return change_header (q, &new, error);
}

bool
qcow2_amend (gpointer state, const VpAmendOptions *options, bool dry,
             const VpProgress *progress, GError **error)
{
  Qcow2 *q = state;
  Amend a = { .q = q,
              .options = options,
              .version = options->compat ? options->compat : q->header.version,
              .refcount_bits = options->refcount_bits
                                   ? options->refcount_bits
                                   : 1u << q->header.refcount_order };
  if (!check_all (&a, error))
    return false;
  if (dry)
    return true;
  if (a.version > q->header.version && !upgrade (q, error))
    return false;
  if (!qcow2_amend_keys (q, options, false, error) ||
      !qcow2_set_refcount_order (q, (unsigned) __builtin_ctz (a.refcount_bits),
                                 progress, error) ||
      !change_words (&a, error))
    return false;
  return a.version >= q->header.version || downgrade (&a, progress, error);
}
