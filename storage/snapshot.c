/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* snapshot: hands an image's snapshots to its driver. */
#include "config.h"

#include "storage/snapshot.h"

#include "storage/error.h"
#include "storage/image-internal.h"

static bool
check_format (VpImage *image, bool writable, GError **error)
{
  if (!image->format->snapshot_create) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: the format %s does not support snapshots",
                 image->file->name, image->format->name);
    return false;
  }
  if (writable == ((image->flags & VP_IMAGE_WRITABLE) != 0))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
               writable ? "%s: opened read-only" : "%s: opened for writing",
               image->file->name);
  return false;
}

typedef bool (*Verb) (gpointer state, const char *id, const char *name,
                      GError **error);

/* As an id, then as a name, or the other way round. */
static bool
run_by_word (VpImage *image, Verb verb, const char *word, bool name_first,
             GError **error)
{
  g_autoptr (GError) local_error = NULL;
  vp_transfer_forget (image->transfer);
  if (verb (image->state, name_first ? NULL : word, name_first ? word : NULL,
            &local_error))
    return true;
  if (g_error_matches (local_error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND))
    return verb (image->state, name_first ? word : NULL,
                 name_first ? NULL : word, error);
  g_propagate_error (error, g_steal_pointer (&local_error));
  return false;
}

bool
vp_image_snapshot_create (VpImage *image, const char *name, GError **error)
{
  int64_t now = g_get_real_time ();
  VpSnapshot facts = {
    .name = (char *) name,
    .date_s = (uint32_t) (now / G_USEC_PER_SEC),
    .date_ns = (uint32_t) (now % G_USEC_PER_SEC) * 1000,
    .has_icount = true,
  };
  return check_format (image, true, error) &&
         image->format->snapshot_create (image->state, &facts, error);
}

bool
vp_image_snapshot_apply (VpImage *image, const char *id_or_name, GError **error)
{
  return check_format (image, true, error) &&
         run_by_word (image, image->format->snapshot_apply, id_or_name, false,
                      error);
}

bool
vp_image_snapshot_delete (VpImage *image, const char *name_or_id,
                          GError **error)
{
  return check_format (image, true, error) &&
         run_by_word (image, image->format->snapshot_delete, name_or_id, true,
                      error);
}

bool
vp_image_load_snapshot (VpImage *image, const char *id_or_name, GError **error)
{
  return check_format (image, false, error) &&
         run_by_word (image, image->format->snapshot_open, id_or_name, false,
                      error);
}

bool
vp_image_load_snapshot_by (VpImage *image, const char *id, const char *name,
                           GError **error)
{
  vp_transfer_forget (image->transfer);
  return check_format (image, false, error) &&
         image->format->snapshot_open (image->state, id, name, error);
}
