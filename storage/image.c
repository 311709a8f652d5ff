/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image: the only loops over guest bytes.
 *
 *     read    resolve: walk down the chain until a layer decides; fetch
 *     write   reserve -> fill head, body and tail -> link
 *     zero    the driver takes whole units, what is left is written
 *
 * A unit is the format's cluster or subcluster, or one byte where it has none.
 * Nothing here knows a format; nothing here trusts what a driver answers about
 * lengths. */
#include "config.h"

#include "storage/image.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image-internal.h"

#define ZERO_BUFFER ((size_t) 64 << 10)

/* ---- guards ------------------------------------------------------------- */

static bool
check_range (VpImage *image, uint64_t offset, uint64_t length, GError **error)
{
  if (vp_range_ok (offset, length, vp_image_get_size (image)))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: 0x%" G_GINT64_MODIFIER "x + 0x%" G_GINT64_MODIFIER
               "x is past the end of the image",
               image->file->name, offset, length);
  return false;
}

static bool
check_writable (VpImage *image, uint64_t offset, uint64_t length,
                GError **error)
{
  if (!(image->flags & VP_IMAGE_WRITABLE)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: opened read-only", image->file->name);
    return false;
  }
  vp_transfer_forget (image->transfer);
  return check_range (image, offset, length, error);
}

/* ---- reading ------------------------------------------------------------ */

bool
vp_image_resolve (VpImage *image, uint64_t offset, uint64_t length,
                  VpAnswer *ret_answer, GError **error)
{
  VpAnswer answer = { .layer = image };
  for (;;) {
    VpImage *layer = answer.layer;
    uint64_t size = layer->format->get_size (layer->state);
    if (offset >= size) {
      answer.run = (VpRun){ .kind = VP_RUN_ZERO, .length = length };
      answer.past_end = true;
      break;
    }
    length = MIN (length, size - offset);
    if (!layer->format->map (layer->state, offset, length, &answer.run, error))
      return false;
    g_return_val_if_fail (answer.run.length > 0, false);
    answer.run.length = MIN (answer.run.length, length);
    length = answer.run.length;
    if (answer.run.kind != VP_RUN_UNALLOCATED || !layer->backing)
      break;
    answer.layer = layer->backing;
    answer.depth++;
  }
  *ret_answer = answer;
  return true;
}

bool
vp_image_check_answer (const VpAnswer *answer, GError **error)
{
  if (answer->run.kind != VP_RUN_UNALLOCATED || !answer->layer->backing_missing)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
               "%s: these bytes are in its backing file, which was not opened",
               answer->layer->file->name);
  return false;
}

static bool
fetch (const VpAnswer *answer, uint8_t *to, size_t len, GError **error)
{
  return vp_image_check_answer (answer, error) &&
         vp_transfer_read (answer->layer->transfer, &answer->run, to, len,
                           error);
}

static bool
read_bytes (VpImage *image, uint64_t offset, uint8_t *to, size_t len,
            GError **error)
{
  while (len > 0) {
    VpAnswer answer;
    if (!vp_image_resolve (image, offset, len, &answer, error))
      return false;
    size_t part = (size_t) answer.run.length;
    if (!fetch (&answer, to, part, error))
      return false;
    offset += part;
    to += part;
    len -= part;
  }
  return true;
}

bool
vp_image_read (VpImage *image, uint64_t offset, void *buffer, size_t len,
               GError **error)
{
  return check_range (image, offset, len, error) &&
         read_bytes (image, offset, buffer, len, error);
}

void
vp_image_describe (const VpAnswer *answer, uint64_t offset,
                   VpExtent *ret_extent)
{
  const VpRun *run = &answer->run;
  bool stored = run->kind == VP_RUN_DATA || run->kind == VP_RUN_COMPRESSED;
  uint64_t part = run->length;
  bool hole = vp_image_find_hole (answer->layer, run, &part);
  bool unknown =
      run->kind == VP_RUN_UNALLOCATED && answer->layer->backing_missing;
  *ret_extent = (VpExtent){
    .start = offset,
    .length = part,
    /* Past the end of a backing image nobody holds it, and it was the layer
     * above that said so by being longer. */
    .depth = answer->depth - (answer->past_end ? 1 : 0),
    .present = run->kind != VP_RUN_UNALLOCATED && !answer->past_end,
    .zero = hole || (!stored && !unknown),
    .data = stored,
    .compressed = run->kind == VP_RUN_COMPRESSED,
    .has_offset = run->file && run->kind != VP_RUN_COMPRESSED && !run->crypt,
    .offset = run->offset,
    .filename = run->file ? run->file->name : answer->layer->file->name,
  };
}

bool
vp_image_map (VpImage *image, uint64_t offset, uint64_t length,
              VpExtent *ret_extent, GError **error)
{
  if (!check_range (image, offset, length, error))
    return false;
  if (length == 0) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: an extent of no length", image->file->name);
    return false;
  }
  VpAnswer answer;
  if (!vp_image_resolve (image, offset, length, &answer, error))
    return false;
  vp_image_describe (&answer, offset, ret_extent);
  return true;
}

/* ---- writing ------------------------------------------------------------ */

/* What was there before, for the parts of a new place that the writer does
 * not fill.  Past the end of the image that is nothing. */
static bool
fill_old (VpImage *image, const VpPlace *place, uint64_t guest, uint64_t len,
          GError **error)
{
  if (len == 0)
    return true;
  uint64_t size = vp_image_get_size (image);
  g_autofree uint8_t *old = g_malloc0 ((size_t) len);
  if (guest < size &&
      !read_bytes (image, guest, old, (size_t) MIN (len, size - guest), error))
    return false;
  return vp_transfer_write (image->transfer, place, guest, old, (size_t) len,
                            error);
}

bool
vp_image_fill_place (VpImage *image, const VpPlace *place, const uint8_t *from,
                     size_t len, GError **error)
{
  uint64_t end = place->guest + place->length;
  return fill_old (image, place, place->guest, place->head, error) &&
         vp_transfer_write (image->transfer, place, place->guest + place->head,
                            from, len, error) &&
         fill_old (image, place, end - place->tail, place->tail, error);
}

/* Bounds are the caller's business: a resize writes past the end. */
static bool
write_bytes (VpImage *image, uint64_t offset, const uint8_t *from, size_t len,
             GError **error)
{
  const VpFormat *format = image->format;
  while (len > 0) {
    VpPlace place = { 0 };
    if (!format->reserve (image->state, offset, len, &place, error))
      return false;
    uint64_t part = place.length - place.head - place.tail;
    g_return_val_if_fail (
        part > 0 && part <= len && place.guest + place.head == offset, false);
    if (!vp_image_fill_place (image, &place, from, (size_t) part, error)) {
      if (!place.in_place && format->unreserve)
        format->unreserve (image->state, &place);
      return false;
    }
    if (!place.in_place && !format->link (image->state, &place, error))
      return false;
    offset += part;
    from += part;
    len -= (size_t) part;
  }
  return true;
}

bool
vp_image_write (VpImage *image, uint64_t offset, const void *buffer, size_t len,
                GError **error)
{
  return check_writable (image, offset, len, error) &&
         write_bytes (image, offset, buffer, len, error);
}

/* ---- packed writing ----------------------------------------------------- */

bool
vp_image_get_packing (VpImage *image, VpPacking *ret_packing)
{
  return image->format->packing &&
         image->format->packing (image->state, ret_packing);
}

static bool
put_packed (VpImage *image, uint64_t offset, const uint8_t *packed, size_t len,
            GError **error)
{
  const VpFormat *format = image->format;
  VpPlace place;
  if (!format->reserve_packed (image->state, offset, len, &place, error))
    return false;
  if (vp_file_write (place.file, place.offset, packed, len, error))
    return format->link_packed (image->state, &place, error);
  if (format->unreserve)
    format->unreserve (image->state, &place);
  return false;
}

/* len is a whole unit but at the end of the image. */
static bool
write_unit (VpImage *image, const VpPacking *packing, uint64_t offset,
            const uint8_t *from, size_t len, GError **error)
{
  g_autofree uint8_t *padded = NULL;
  size_t packed_len;
  const uint8_t *unit = from;
  if (len < packing->unit) {
    unit = padded = g_malloc0 ((size_t) packing->unit);
    memcpy (padded, from, len);
  }
  const uint8_t *packed = vp_transfer_pack (
      image->transfer, packing, VP_CODEC_LEVEL_DEFAULT, unit, &packed_len);
  return packed ? put_packed (image, offset, packed, packed_len, error)
                : write_bytes (image, offset, from, len, error);
}

bool
vp_image_write_compressed (VpImage *image, uint64_t offset, const void *buffer,
                           size_t len, GError **error)
{
  const uint8_t *from = buffer;
  VpPacking packing;
  if (!check_writable (image, offset, len, error))
    return false;
  if (!vp_image_get_packing (image, &packing)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: cannot hold compressed data", image->file->name);
    return false;
  }
  bool at_end = offset + len == vp_image_get_size (image);
  if (offset % packing.unit != 0 || (len % packing.unit != 0 && !at_end)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: compressed data is written in whole clusters",
                 image->file->name);
    return false;
  }
  while (len > 0) {
    size_t part = (size_t) MIN (len, packing.unit);
    if (!write_unit (image, &packing, offset, from, part, error))
      return false;
    offset += part;
    from += part;
    len -= part;
  }
  return true;
}

/* ---- zeros -------------------------------------------------------------- */

/* Writes zeros where the range does not read as zeros already; check is false
 * where the old content is not to be looked at. */
static bool
write_zeros (VpImage *image, uint64_t offset, uint64_t length, bool check,
             GError **error)
{
  static const uint8_t zeros[ZERO_BUFFER];
  while (length > 0) {
    uint64_t part = MIN (length, sizeof zeros);
    bool zero = false;
    if (check) {
      VpAnswer answer;
      if (!vp_image_resolve (image, offset, part, &answer, error))
        return false;
      part = answer.run.length;
      zero = answer.run.kind != VP_RUN_DATA &&
             answer.run.kind != VP_RUN_COMPRESSED &&
             !answer.layer->backing_missing;
    }
    if (!zero && !write_bytes (image, offset, zeros, (size_t) part, error))
      return false;
    offset += part;
    length -= part;
  }
  return true;
}

/* The whole units at the front of [offset, offset + length); the last one of
 * the image counts as whole where the range reaches the end. */
static uint64_t
whole_units (VpImage *image, uint64_t offset, uint64_t length, uint64_t end)
{
  uint64_t unit = image->grain;
  if (offset & (unit - 1))
    return 0;
  if (offset + length == end)
    return unit == 1 ? length : vp_round_up (length, unit);
  return length & ~(unit - 1);
}

static bool
zero_range (VpImage *image, uint64_t offset, uint64_t length, bool unmap,
            uint64_t image_end, bool check, GError **error)
{
  uint64_t unit = image->grain;
  if (!image->format->zero)
    return write_zeros (image, offset, length, check, error);
  while (length > 0) {
    uint64_t whole = whole_units (image, offset, length, image_end), done = 0;
    if (whole > 0 &&
        !image->format->zero (image->state, offset, whole, unmap, &done, error))
      return false;
    done = MIN (done, length);
    if (done == 0) {
      done = MIN (length, unit - (offset & (unit - 1)));
      if (!write_zeros (image, offset, done, check, error))
        return false;
    }
    offset += done;
    length -= done;
  }
  return true;
}

bool
vp_image_zero (VpImage *image, uint64_t offset, uint64_t length, bool unmap,
               GError **error)
{
  return check_writable (image, offset, length, error) &&
         zero_range (image, offset, length, unmap, vp_image_get_size (image),
                     true, error);
}

bool
vp_image_discard (VpImage *image, uint64_t offset, uint64_t length,
                  GError **error)
{
  if (!check_writable (image, offset, length, error))
    return false;
  uint64_t unit = image->grain;
  uint64_t skip = vp_round_up (offset, unit) - offset;
  if (skip >= length)
    return true;
  uint64_t whole = whole_units (image, offset + skip, length - skip,
                                vp_image_get_size (image));
  return whole == 0 ||
         image->format->discard (image->state, offset + skip, whole, error);
}

/* ---- the whole image ---------------------------------------------------- */

bool
vp_image_flush (VpImage *image, GError **error)
{
  if (!(image->flags & VP_IMAGE_WRITABLE))
    return true;
  return image->format->flush (image->state, error);
}

/* An overlay that grows must not bring to light what its backing image holds
 * past the old end: zeros go there first, the new size last. */
static bool
hide_backing (VpImage *image, uint64_t old_size, uint64_t size, GError **error)
{
  uint64_t hidden_end =
      image->backing ? MIN (vp_image_get_size (image->backing), size) : 0;
  if (hidden_end <= old_size)
    return true;
  return zero_range (image, old_size, hidden_end - old_size, true, size, false,
                     error) &&
         image->format->flush (image->state, error);
}

/* A shrink may have left bytes in the last cluster behind the end: zeros go
 * over them before they come to light again. */
static bool
hide_tail (VpImage *image, uint64_t old_size, uint64_t size, GError **error)
{
  uint64_t unit = MAX (vp_image_get_cluster_size (image), 1);
  uint64_t end = MIN (vp_round_up (old_size, unit), size);
  for (uint64_t at = old_size; at < end;) {
    VpRun run = { 0 };
    if (!image->format->map (image->state, at, end - at, &run, error))
      return false;
    uint64_t part = MIN (run.length, end - at);
    if ((run.kind == VP_RUN_DATA || run.kind == VP_RUN_COMPRESSED) &&
        !write_zeros (image, at, part, false, error))
      return false;
    at += part;
  }
  return true;
}

bool
vp_image_resize (VpImage *image, uint64_t size, VpPreallocation preallocation,
                 GError **error)
{
  uint64_t old_size = vp_image_get_size (image);
  if (!check_writable (image, 0, 0, error))
    return false;
  if (size < old_size) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: is larger, and would lose what lies behind the new end",
                 image->file->name);
    return false;
  }
  if (size > VP_MAX_VIRTUAL_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: an image cannot be that large", image->file->name);
    return false;
  }
  if (image->backing_missing) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: cannot grow while its backing file is not opened",
                 image->file->name);
    return false;
  }
  if (image->format->extend &&
      !image->format->extend (image->state, size, error))
    return false;
  return hide_tail (image, old_size, size, error) &&
         hide_backing (image, old_size, size, error) &&
         image->format->resize (image->state, size, preallocation, error) &&
         image->format->flush (image->state, error);
}

bool
vp_image_shrink (VpImage *image, uint64_t size, GError **error)
{
  if (!check_writable (image, 0, 0, error) ||
      !check_range (image, 0, size, error))
    return false;
  if (size == vp_image_get_size (image))
    return true;
  if (image->format->shrink) {
    uint64_t unit = MAX (vp_image_get_cluster_size (image), 1);
    const char *name;
    if (!image->format->shrink (image->state, size, error))
      return false;
    /* A file of guest bytes alone was cut by the driver. */
    if (image->format->needs_data_file &&
        image->format->needs_data_file (image->state, &name))
      return true;
    /* The rest of the last cluster as well, for whoever makes the disk larger
     * again. */
    return hide_tail (image, size, vp_round_up (size, unit), error) &&
           image->format->flush (image->state, error);
  }
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: the format %s cannot be shrunk", image->file->name,
               image->format->name);
  return false;
}

uint64_t
vp_image_get_size (VpImage *image)
{
  return image->format->get_size (image->state);
}

const char *
vp_image_get_name (VpImage *image)
{
  return image->file->name;
}

const VpFormat *
vp_image_get_format (VpImage *image)
{
  return image->format;
}

bool
vp_image_was_probed (VpImage *image)
{
  return image->probed;
}

uint64_t
vp_image_get_cluster_size (VpImage *image)
{
  return image->cluster_size;
}

VpImage *
vp_image_get_backing (VpImage *image)
{
  return image->backing;
}

const VpSecret *
vp_image_get_key (VpImage *image)
{
  return image->key;
}

static bool
is_file (const VpFile *file, VpFileId id)
{
  return file && file->has_id && file->id.device == id.device &&
         file->id.inode == id.inode;
}

static bool
layer_uses_file (const VpImage *layer, VpFileId id)
{
  bool uses = is_file (layer->file, id) || is_file (layer->data_file, id);
  for (guint i = 0; !uses && layer->parts && i < layer->parts->len; i++)
    uses = is_file (g_ptr_array_index (layer->parts, i), id);
  return uses;
}

bool
vp_image_uses_file (VpImage *image, VpFileId id, bool *ret_below)
{
  for (VpImage *layer = image; layer; layer = layer->backing)
    if (layer_uses_file (layer, id)) {
      if (ret_below)
        *ret_below = layer != image;
      return true;
    }
  return false;
}

void
vp_image_add_caching (VpImage *image, VpFileCaching caching)
{
  for (; image != NULL; image = vp_image_get_backing (image)) {
    vp_file_add_caching (image->file, caching);
    if (image->data_file != NULL)
      vp_file_add_caching (image->data_file, caching);
    for (guint i = 0; image->parts && i < image->parts->len; i++)
      vp_file_add_caching (g_ptr_array_index (image->parts, i), caching);
  }
}

VpFile *
vp_image_get_file (VpImage *image)
{
  return image->file;
}

/* What the extents take up as well. */
static bool
add_parts (VpImage *image, uint64_t *used_size, GError **error)
{
  for (guint i = 0; image->parts && i < image->parts->len; i++) {
    uint64_t used;
    if (!vp_file_get_used (g_ptr_array_index (image->parts, i), &used, error))
      return false;
    *used_size += used;
  }
  return true;
}

bool
vp_image_get_info (VpImage *image, VpImageInfo *ret_info, GError **error)
{
  g_auto (VpImageInfo) info = { .format = image->format->name,
                                .virtual_size = vp_image_get_size (image),
                                .cluster_size = image->cluster_size };
  if (!vp_file_get_size (image->file, &info.file_size, error) ||
      !vp_file_get_used (image->file, &info.used_size, error) ||
      !add_parts (image, &info.used_size, error) ||
      !image->format->info (image->state, &info, error))
    return false;
  *ret_info = info;
  info = (VpImageInfo){ 0 };
  return true;
}

void
vp_snapshot_free (VpSnapshot *snapshot)
{
  if (!snapshot)
    return;
  g_free (snapshot->id);
  g_free (snapshot->name);
  g_free (snapshot);
}

void
vp_bitmap_facts_free (VpBitmapFacts *facts)
{
  if (!facts)
    return;
  g_free (facts->name);
  g_free (facts);
}

void
vp_vmdk_extent_free (VpVmdkExtent *extent)
{
  if (!extent)
    return;
  g_free (extent->filename);
  g_free (extent);
}

void
vp_vmdk_info_free (VpVmdkInfo *info)
{
  if (!info)
    return;
  g_free (info->create_type);
  g_clear_pointer (&info->extents, g_ptr_array_unref);
  g_free (info);
}

void
vp_image_info_clear (VpImageInfo *info)
{
  g_clear_pointer (&info->vmdk, vp_vmdk_info_free);
  g_clear_pointer (&info->bitmaps, g_ptr_array_unref);
  g_clear_pointer (&info->backing_name, g_free);
  g_clear_pointer (&info->backing_format, g_free);
  g_clear_pointer (&info->data_file, g_free);
  g_clear_pointer (&info->luks, g_free);
  g_clear_pointer (&info->snapshots, g_ptr_array_unref);
}
