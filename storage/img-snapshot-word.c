/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-snapshot-word: "-l SNAPSHOT" of convert and measure: a name or an id, or
 * "snapshot.id=...,snapshot.name=..." to say which. */
#include "config.h"

#include "storage/error.h"
#include "storage/img.h"
#include "storage/snapshot.h"

#include <string.h>

static bool
load_by_words (VpImage *image, const char *text, GError **error)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  const char *id = NULL, *name = NULL;

  vp_img_split_options (pairs, text);
  for (unsigned i = 0; i + 1 < pairs->len; i += 2) {
    const char *key = g_ptr_array_index (pairs, i);
    const char *value = g_ptr_array_index (pairs, i + 1);
    if (strcmp (key, "snapshot.id") == 0)
      id = value;
    else if (strcmp (key, "snapshot.name") == 0)
      name = value;
    else {
      vp_img_complain ("Invalid parameter '%s'", key);
      vp_img_complain ("Failed in parsing snapshot param '%s'", text);
      return false;
    }
  }
  return vp_image_load_snapshot_by (image, id, name, error);
}

bool
vp_img_load_snapshot (VpImage *image, const char *text)
{
  g_autoptr (GError) error = NULL;
  bool ok = g_str_has_prefix (text, "snapshot.")
                ? load_by_words (image, text, &error)
                : vp_image_load_snapshot (image, text, &error);

  if (g_error_matches (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND))
    vp_img_complain ("Failed to load snapshot: Can't find snapshot");
  else if (!ok && error != NULL) {
    vp_img_prefix_reason (vp_image_get_name (image), "", &error);
    vp_img_complain ("Failed to load snapshot: %s", error->message);
  }
  return ok;
}
