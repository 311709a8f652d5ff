/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image-bitmap: hands verbs to the driver; what two bitmaps have to do with
 * each other happens here. */
#include "config.h"

#include "storage/image-bitmap.h"

#include "storage/error.h"
#include "storage/image-internal.h"

bool
vp_image_has_bitmap_support (VpImage *image)
{
  return image->format->bitmap_add != NULL;
}

static bool
check_format (VpImage *image, bool change, GError **error)
{
  if (!image->format->bitmap_add) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "Can't store persistent bitmaps to %s: Operation not "
                 "supported",
                 image->file->name);
    return false;
  }
  if (!change || image->flags & VP_IMAGE_WRITABLE)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
               "%s: opened read-only", image->file->name);
  return false;
}

bool
vp_image_bitmap_add (VpImage *image, const char *name, uint64_t granularity,
                     bool enabled, GError **error)
{
  return check_format (image, true, error) &&
         image->format->bitmap_add (image->state, name, granularity, enabled,
                                    error);
}

/* Where there are no bitmaps there is none of that name. */
static bool
check_name (VpImage *image, const char *name, bool change, GError **error)
{
  if (image->format->bitmap_add)
    return check_format (image, change, error);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Dirty bitmap '%s' not found", name);
  return false;
}

bool
vp_image_bitmap_remove (VpImage *image, const char *name, GError **error)
{
  return check_name (image, name, true, error) &&
         image->format->bitmap_remove (image->state, name, error);
}

static VpBitmap *
get_bits (VpImage *image, const char *name, bool change, GError **error)
{
  if (!check_name (image, name, change, error))
    return NULL;
  return image->format->bitmap_bits (image->state, name, change, error);
}

bool
vp_image_bitmap_clear (VpImage *image, const char *name, GError **error)
{
  VpBitmap *bits = get_bits (image, name, true, error);
  if (!bits)
    return false;
  vp_bitmap_clear (bits);
  return true;
}

bool
vp_image_bitmap_set_enabled (VpImage *image, const char *name, bool enabled,
                             GError **error)
{
  return check_name (image, name, true, error) &&
         image->format->bitmap_set_enabled (image->state, name, enabled, error);
}

bool
vp_image_bitmap_merge (VpImage *image, const char *name, VpImage *source,
                       const char *source_name, GError **error)
{
  /* Two look-ups in one image: the second may not move the first. */
  VpBitmap *bits = get_bits (image, name, false, error);
  const VpBitmap *from =
      bits ? get_bits (source, source_name, false, error) : NULL;
  if (!from || !get_bits (image, name, true, error))
    return false;
  if (from != bits)
    vp_bitmap_merge (bits, from);
  return true;
}

const VpBitmap *
vp_image_bitmap_get (VpImage *image, const char *name, GError **error)
{
  return get_bits (image, name, false, error);
}

/* ---- copies ------------------------------------------------------------- */

static bool
refuse_broken (const GPtrArray *bitmaps, GError **error)
{
  for (guint i = 0; bitmaps && i < bitmaps->len; i++) {
    const VpBitmapFacts *facts = g_ptr_array_index (bitmaps, i);
    if (!facts->in_use)
      continue;
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "Cannot copy inconsistent bitmap '%s'", facts->name);
    return false;
  }
  return true;
}

bool
vp_image_check_bitmaps (VpImage *source, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };
  return vp_image_get_info (source, &info, error) &&
         refuse_broken (info.bitmaps, error);
}

static bool
copy_one (VpImage *source, VpImage *target, const VpBitmapFacts *facts,
          GError **error)
{
  if (vp_image_bitmap_add (target, facts->name, facts->granularity,
                           facts->enabled, error) &&
      vp_image_bitmap_merge (target, facts->name, source, facts->name, error))
    return true;
  g_prefix_error (error, "Failed to populate bitmap %s: ", facts->name);
  return false;
}

bool
vp_image_copy_bitmaps (VpImage *source, VpImage *target, bool skip_broken,
                       GPtrArray *skipped, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };
  if (!vp_image_get_info (source, &info, error) ||
      (!skip_broken && !refuse_broken (info.bitmaps, error)))
    return false;
  for (guint i = 0; info.bitmaps && i < info.bitmaps->len; i++) {
    const VpBitmapFacts *facts = g_ptr_array_index (info.bitmaps, i);
    if (facts->in_use) {
      if (skipped)
        g_ptr_array_add (skipped, g_strdup (facts->name));
    } else if (!copy_one (source, target, facts, error))
      return false;
  }
  return true;
}
