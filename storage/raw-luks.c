/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* raw-luks: a LUKS1 header (luks.h) and behind it one disk, encrypted from
 * end to end.  What is inside is raw by definition and nobody looks for
 * another format there.
 *
 *     | header, key slots | payload: guest byte N is at payload_offset + N |
 *
 * Nothing says what was written and what was not, so that all of it is data,
 * and what was never written reads as noise.  Sectors are numbered from the
 * payload's begin.  Without a key the header can be looked at. */
#include "config.h"

#include <string.h>

#include "storage/check.h"
#include "storage/encrypt.h"
#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

typedef struct {
  VpFile *file;       /* borrowed */
  VpLuks *luks;       /* owned */
  VpCrypt *crypt;     /* owned */
  VpSecret *password; /* owned; that changes slots; NULL: read-only */
  uint64_t start;     /* of the payload */
  uint64_t size;
} Luks;

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

/* ---- making ------------------------------------------------------------- */

static const VpOption luks_options[] = {
  { "size", "Virtual disk size" },
  { "key-secret", "ID of the secret that is the password" },
  { "cipher-alg", "Encryption cipher" },
  { "cipher-mode", "Mode of the cipher" },
  { "ivgen-alg", "How each sector's IV is made" },
  { "ivgen-hash-alg", "Hash for that" },
  { "hash-alg", "Hash of the password" },
  { "iter-time", "How long opening takes, in ms" },
  { "preallocation", "Preallocation mode (allowed values: off, falloc, full)" },
  { NULL, NULL },
};

typedef struct {
  VpLuksOptions luks;
  const VpSecret *key; /* borrowed */
  uint64_t start, size;
} Plan;

static bool
make_plan (const VpCreateOptions *options, Plan *plan, GError **error)
{
  const VpEncryptOptions *encrypt = &options->encrypt;
  *plan = (Plan){ .luks = VP_LUKS_OPTIONS_INIT };
  if (!vp_encrypt_parse_luks (encrypt, &plan->luks, error))
    return false;
  if (!encrypt->key_secret)
    return usage (error, "Parameter 'key-secret' is required for cipher");
  plan->key = vp_secrets_find (encrypt->secrets, encrypt->key_secret, error);
  if (!plan->key)
    return false;
  plan->start = vp_luks_measure (&plan->luks);
  plan->size = vp_round_up (options->size, VP_CRYPT_SECTOR);
  return plan->size <= VP_MAX_VIRTUAL_SIZE - plan->start ||
         usage (error, "The requested file size is too large");
}

static bool
luks_check_create (const VpCreateOptions *options, GError **error)
{
  Plan plan;
  return make_plan (options, &plan, error);
}

/* There are no tables that "metadata" could mean. */
static bool
preallocate (VpFile *file, uint64_t offset, uint64_t length,
             VpPreallocation preallocation, GError **error)
{
  if (preallocation == VP_PREALLOCATION_FALLOC)
    return vp_file_allocate (file, offset, length, error);
  return preallocation != VP_PREALLOCATION_FULL ||
         vp_file_zero (file, offset, length, false, error);
}

static bool
check_device (VpFile *file, const Plan *plan, GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  if (vp_range_ok (plan->start, plan->size, size))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: too small for the header and the disk", file->name);
  return false;
}

static bool
luks_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  Plan plan;
  if (!make_plan (options, &plan, error))
    return false;
  if (file->is_device ? !check_device (file, &plan, error)
                      : !vp_file_truncate (file, plan.start + plan.size, error))
    return false;
  return preallocate (file, 0, plan.start + plan.size, options->preallocation,
                      error) &&
         vp_luks_format (file, 0, &plan.luks, plan.key, error);
}

static bool
luks_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                GError **error)
{
  Plan plan;
  if (!make_plan (options, &plan, error))
    return false;
  *ret_print = (VpFootprint){ .unit = VP_CRYPT_SECTOR, .overhead = plan.start };
  return true;
}

/* ---- life --------------------------------------------------------------- */

static unsigned
luks_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  static const char magic[6] = { 'L', 'U', 'K', 'S', '\xba', '\xbe' };
  return len >= 8 && memcmp (head, magic, sizeof magic) == 0 ? 100 : 0;
}

static void
luks_close (gpointer state)
{
  Luks *l = state;
  vp_crypt_unref (l->crypt);
  vp_secret_free (l->password);
  vp_luks_free (l->luks);
  g_free (l);
}

static bool
load_header (Luks *l, GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (l->file, &size, error))
    return false;
  l->luks = vp_luks_open (l->file, 0, size, error);
  if (!l->luks)
    return false;
  l->start = vp_luks_get_info (l->luks)->payload_offset;
  if (l->start > size) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "%s: the payload (0x%" G_GINT64_MODIFIER
                 "x) lies past the end of the file",
                 l->file->name, l->start);
    return false;
  }
  l->size =
      MIN (vp_round_up (size - l->start, VP_CRYPT_SECTOR), VP_MAX_VIRTUAL_SIZE);
  return true;
}

static bool
take_key (Luks *l, VpDriverFlags flags, const VpSecret *key, GError **error)
{
  if (flags & (VP_DRIVER_NO_IO | VP_DRIVER_CHECK)) {
    l->crypt = vp_crypt_new_locked ();
    return true;
  }
  if (!key)
    return usage (error, "Parameter 'key-secret' is required for cipher");
  l->crypt = vp_luks_unlock (l->luks, key, error);
  if (l->crypt && flags & VP_DRIVER_WRITABLE)
    l->password = vp_secret_new (NULL, key->data, key->len);
  return l->crypt != NULL;
}

static bool
luks_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
           gpointer *ret_state, GError **error)
{
  Luks *l = g_new0 (Luks, 1);
  l->file = file;
  if (!load_header (l, error) || !take_key (l, flags, options->key, error)) {
    luks_close (l);
    return false;
  }
  *ret_state = l;
  return true;
}

static uint64_t
luks_get_size (gpointer state)
{
  return ((Luks *) state)->size;
}

static bool
luks_info (gpointer state, VpImageInfo *info, GError **error)
{
  const Luks *l = state;
  info->subcluster_size = VP_CRYPT_SECTOR;
  info->encrypted = true;
  info->luks = g_memdup2 (vp_luks_get_info (l->luks), sizeof *info->luks);
  return true;
}

/* ---- where -------------------------------------------------------------- */

static bool
luks_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  Luks *l = state;
  *ret_run = (VpRun){ .kind = VP_RUN_DATA,
                      .length = length,
                      .file = l->file,
                      .offset = l->start + offset,
                      .crypt = l->crypt,
                      .crypt_offset = offset };
  return true;
}

static bool
luks_reserve (gpointer state, uint64_t offset, uint64_t length,
              VpPlace *ret_place, GError **error)
{
  Luks *l = state;
  *ret_place = (VpPlace){ .file = l->file,
                          .offset = l->start + offset,
                          .guest = offset,
                          .length = length,
                          .in_place = true,
                          .crypt = l->crypt,
                          .crypt_offset = offset };
  return true;
}

/* It would show which sectors are in use, and leave noise. */
static bool
luks_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  return true;
}

static bool
luks_flush (gpointer state, GError **error)
{
  return vp_file_flush (((Luks *) state)->file, error);
}

/* ---- the whole ---------------------------------------------------------- */

static bool
luks_extend (gpointer state, uint64_t size, GError **error)
{
  const Luks *l = state;
  return size <= VP_MAX_VIRTUAL_SIZE - l->start ||
         usage (error, "The requested file size is too large");
}

static bool
luks_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
             GError **error)
{
  Luks *l = state;
  uint64_t end = l->start + l->size;
  if (!vp_file_truncate (l->file, l->start + size, error))
    return false;
  if (size > l->size &&
      !preallocate (l->file, end, size - l->size, preallocation, error)) {
    (void) !vp_file_truncate (l->file, end, NULL); /* as far as that goes */
    return false;
  }
  l->size = vp_round_up (size, VP_CRYPT_SECTOR);
  return true;
}

static bool
luks_shrink (gpointer state, uint64_t size, GError **error)
{
  Luks *l = state;
  if (l->file->is_device) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: Cannot resize device files", l->file->name);
    return false;
  }
  return luks_resize (l, size, VP_PREALLOCATION_OFF, error) &&
         vp_file_flush (l->file, error);
}

static const VpOption luks_amend_options[] = {
  { "iter-time", "How long opening takes, in ms" },
  { "keyslot", "The slot that is meant" },
  { "new-secret", "ID of the secret that is the new password" },
  { "old-secret", "ID of the secret whose slots are meant" },
  { "state", "'active' adds a password, 'inactive' erases slots" },
  { NULL, NULL },
};

static bool
luks_amend (gpointer state, const VpAmendOptions *options, bool dry,
            const VpProgress *progress, GError **error)
{
  Luks *l = state;
  if (!options->encrypt || options->encrypt->len == 0)
    return true;
  if (!l->password)
    return usage (error, "Key slots are changed where the disk was opened with "
                         "a password, for writing");
  return vp_encrypt_amend_luks (l->luks, l->password, "", options->encrypt,
                                options, dry, error);
}

/* That the header could be read says that it is sound (luks-header.c). */
static bool
luks_check (gpointer state, VpRepair repair, const VpProgress *progress,
            VpCheckResult *result, GError **error)
{
  const Luks *l = state;
  const VpLuksInfo *info = vp_luks_get_info (l->luks);
  unsigned active = 0;
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++)
    active += info->slots[i].active;
  if (active == 0) {
    vp_check_result_note (result, "ERROR no key slot is active: no password "
                                  "opens the disk");
    result->corruptions++;
  }
  result->image_end_offset = l->start + l->size;
  return true;
}

const VpFormat vp_format_luks = {
  .name = "luks",
  .options = luks_options,
  .new_is_noise = true,
  .probe = luks_probe,
  .check_create = luks_check_create,
  .create = luks_create,
  .open = luks_open,
  .close = luks_close,
  .get_size = luks_get_size,
  .info = luks_info,
  .map = luks_map,
  .reserve = luks_reserve,
  .discard = luks_discard,
  .flush = luks_flush,
  .extend = luks_extend,
  .resize = luks_resize,
  .shrink = luks_shrink,
  .amend_options = luks_amend_options,
  .amend = luks_amend,
  .footprint = luks_footprint,
  .check = luks_check,
};
