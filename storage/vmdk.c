/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk: opening, what it says of itself, and its text; the bytes are in
 * vmdk-data.c.  Extents come through the gate, one component each, beside the
 * image; a descriptor that stands in an image names that image alone. */
#include "config.h"

#include "storage/vmdk.h"

#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"

static unsigned
vmdk_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  return vmdk_sparse_is (head, len) || vmdk_descriptor_probe (head, len) ? 100
                                                                         : 0;
}

static bool
unsupported (Vmdk *vmdk, const char *what, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED, "%s: %s",
               vmdk->file->name, what);
  return false;
}

static bool
corrupt (Vmdk *vmdk, const char *what, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               vmdk->file->name, what);
  return false;
}

/* ---- the text ----------------------------------------------------------- */

static VmdkDescriptor *
read_text (Vmdk *vmdk, uint64_t offset, uint64_t room, GError **error)
{
  if (room > VMDK_MAX_TEXT) {
    (void) corrupt (vmdk, "the descriptor is longer than 1 MiB", error);
    return NULL;
  }
  g_autofree uint8_t *bytes = g_malloc0 ((size_t) room + 1);
  if (!vp_file_read (vmdk->file, offset, bytes, (size_t) room, error))
    return NULL;
  return vmdk_descriptor_parse (vmdk->file->name, bytes, (size_t) room, error);
}

/* The bytes that differ, by whole sectors and in one write; what is behind a
 * shorter text becomes zeros, and goes. */
static bool
store_text (Vmdk *vmdk, const char *old, const char *new, GError **error)
{
  size_t old_len = strlen (old), new_len = strlen (new), first = 0;
  size_t len = MAX (old_len, new_len);
  while (first < len && first < new_len && first < old_len &&
         old[first] == new[first])
    first++;
  first = first / VMDK_SECTOR * VMDK_SECTOR;
  g_autofree char *padded = g_malloc0 (len + 1);
  memcpy (padded, new, new_len);
  while (old_len == new_len && len > first && old[len - 1] == new[len - 1])
    len--;
  vmdk->text_touched = true;
  return (len == first || vp_file_write (vmdk->file, vmdk->text_offset + first,
                                         padded + first, len - first, error)) &&
         (vmdk->text_room > 0 || new_len >= old_len ||
          vp_file_truncate (vmdk->file, new_len, error));
}

bool
vmdk_replace_text (Vmdk *vmdk, const char *text, GError **error)
{
  size_t len = strlen (text);
  if (len > (vmdk->text_room > 0 ? vmdk->text_room : VMDK_MAX_TEXT))
    return unsupported (vmdk, "there is no room for a longer descriptor",
                        error);
  g_autoptr (VmdkDescriptor) descriptor = vmdk_descriptor_parse (
      vmdk->file->name, (const uint8_t *) text, len, error);
  if (!descriptor || !store_text (vmdk, vmdk->descriptor->text, text, error))
    return false;
  vmdk_descriptor_free (vmdk->descriptor);
  vmdk->descriptor = g_steal_pointer (&descriptor);
  return true;
}

/* On disk before anything that it speaks of: whoever was made over this image
 * must not meet new bytes under the old number. */
bool
vmdk_renew_cid (Vmdk *vmdk, GError **error)
{
  if (vmdk->is_renewed || !vmdk->descriptor)
    return true;
  uint32_t cid = g_random_int () & 0x7fffffff;
  g_autofree char *text = vmdk_descriptor_with_cid (vmdk->descriptor, cid + 1);
  if (!vmdk_replace_text (vmdk, text, error) ||
      !vp_file_flush (vmdk->file, error))
    return false;
  vmdk->is_renewed = true;
  vmdk->text_touched = false;
  return true;
}

/* ---- opening ------------------------------------------------------------ */

static void
clear_extent (gpointer data)
{
  VmdkExtent *extent = data;
  vmdk_sparse_close (extent->sparse);
  g_clear_pointer (&extent->file, vp_file_unref);
}

static void
vmdk_close (gpointer state)
{
  Vmdk *vmdk = state;
  g_array_unref (vmdk->extents);
  vmdk_descriptor_free (vmdk->descriptor);
  g_free (vmdk);
}

static void
close_half (Vmdk *vmdk)
{
  if (vmdk)
    vmdk_close (vmdk);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Vmdk, close_half)

/* What a stranger's image is not to have, and people's may. */
static bool
check_strict (Vmdk *vmdk, GError **error)
{
  const VmdkDescriptor *descriptor = vmdk->descriptor;
  const char *odd = descriptor->odd;
  if (!(vmdk->flags & VP_DRIVER_STRICT))
    return true;
  if (!odd && descriptor->parent_hint && strchr (descriptor->parent_hint, '/'))
    odd = descriptor->parent_hint;
  if (!odd)
    return true;
  g_autofree char *shown = g_strescape (odd, NULL);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
               "%s: '%.200s' is not expected in the descriptor",
               vmdk->file->name, shown);
  return false;
}

static bool
check_extent_line (Vmdk *vmdk, const VmdkExtentLine *line, GError **error)
{
  g_autofree char *own = g_path_get_basename (vmdk->file->name);
  if (line->access == VMDK_NOACCESS)
    return unsupported (vmdk, "extents without access are not supported",
                        error);
  if (line->name && strcmp (line->name, own) == 0)
    return corrupt (vmdk, "the descriptor names itself as an extent", error);
  return true;
}

static bool
take_extents (Vmdk *vmdk, GError **error)
{
  for (guint i = 0; i < vmdk->descriptor->extents->len; i++) {
    const VmdkExtentLine *line =
        g_ptr_array_index (vmdk->descriptor->extents, i);
    VmdkExtent extent = { .kind = line->kind,
                          .access = line->access,
                          .start = vmdk->size,
                          .length = line->length,
                          .offset = line->offset };
    if (!check_extent_line (vmdk, line, error))
      return false;
    g_array_append_val (vmdk->extents, extent);
    vmdk->size += line->length;
  }
  return true;
}

static bool
open_descriptor (Vmdk *vmdk, GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (vmdk->file, &size, error))
    return false;
  vmdk->descriptor = read_text (vmdk, 0, size, error);
  return vmdk->descriptor && check_strict (vmdk, error) &&
         take_extents (vmdk, error);
}

static bool
open_sparse (Vmdk *vmdk, VmdkExtent *extent, VpFile *file, GError **error)
{
  VpDriverFlags flags = vmdk->flags;
  if (extent->access != VMDK_RW)
    flags &= ~VP_DRIVER_WRITABLE;
  if (!vmdk_sparse_open (file, flags, &extent->sparse, error))
    return false;
  extent->file = vp_file_ref (file);
  if (vmdk->descriptor && vmdk->descriptor->parent_cid != VMDK_NO_PARENT)
    vmdk_sparse_set_overlay (extent->sparse, true);
  return true;
}

/* The text in a sparse file: it has one extent, which is the file, whatever
 * it may be called by now. */
static bool
read_embedded (Vmdk *vmdk, const VmdkSparseFacts *facts, VmdkExtent *extent,
               GError **error)
{
  uint8_t first = 0;
  if (facts->descriptor_size > 0 &&
      !vp_file_read (vmdk->file, facts->descriptor_offset, &first, 1, error))
    return false;
  if (first == 0)
    return facts->is_cowd ||
           unsupported (vmdk,
                        "is an extent of an image, and not the image; open "
                        "the file that describes it",
                        error);
  vmdk->text_offset = facts->descriptor_offset;
  vmdk->text_room = facts->descriptor_size;
  vmdk->descriptor =
      read_text (vmdk, vmdk->text_offset, vmdk->text_room, error);
  if (!vmdk->descriptor || !check_strict (vmdk, error))
    return false;
  const VmdkExtentLine *line =
      vmdk->descriptor->extents->len == 1
          ? g_ptr_array_index (vmdk->descriptor->extents, 0)
          : NULL;
  if (!line || line->kind != VMDK_SPARSE || line->access == VMDK_NOACCESS)
    return corrupt (vmdk,
                    "its descriptor is for something else than one sparse "
                    "extent",
                    error);
  if (facts->capacity == 0 && line->length > 0)
    return corrupt (vmdk,
                    "its header says that it is empty, its descriptor does not",
                    error);
  extent->access = line->access;
  return true;
}

static bool
open_embedded (Vmdk *vmdk, GError **error)
{
  VmdkExtent extent = { .kind = VMDK_SPARSE };
  g_autoptr (VmdkSparse) sparse = NULL;
  /* What it says of itself is needed before it is opened as it should be. */
  if (!vmdk_sparse_open (vmdk->file, vmdk->flags & ~VP_DRIVER_WRITABLE, &sparse,
                         error))
    return false;
  const VmdkSparseFacts *facts = vmdk_sparse_facts (sparse);
  extent.length = vmdk->size = facts->capacity;
  if (!read_embedded (vmdk, facts, &extent, error))
    return false;
  g_array_append_val (vmdk->extents, extent);
  return open_sparse (vmdk, &g_array_index (vmdk->extents, VmdkExtent, 0),
                      vmdk->file, error);
}

static bool
vmdk_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
           gpointer *ret_state, GError **error)
{
  g_autoptr (Vmdk) vmdk = g_new0 (Vmdk, 1);
  uint8_t magic[8];
  vmdk->file = file;
  vmdk->flags = flags;
  vmdk->is_renewed = flags & VP_DRIVER_UNORDERED; /* it is a new one */
  vmdk->extents = g_array_new (FALSE, FALSE, sizeof (VmdkExtent));
  g_array_set_clear_func (vmdk->extents, clear_extent);
  if (!vp_file_read (file, 0, magic, sizeof magic, error))
    return false;
  if (vmdk_sparse_is (magic, sizeof magic) ? !open_embedded (vmdk, error)
                                           : !open_descriptor (vmdk, error))
    return false;
  *ret_state = g_steal_pointer (&vmdk);
  return true;
}

/* ---- extents ------------------------------------------------------------ */

VmdkExtent *
vmdk_find (Vmdk *vmdk, uint64_t offset)
{
  guint low = 0, high = vmdk->extents->len;
  while (high - low > 1) {
    guint middle = low + (high - low) / 2;
    if (g_array_index (vmdk->extents, VmdkExtent, middle).start <= offset)
      low = middle;
    else
      high = middle;
  }
  return &g_array_index (vmdk->extents, VmdkExtent, low);
}

bool
vmdk_is_flat (const VmdkExtent *extent)
{
  return extent->kind == VMDK_FLAT || extent->kind == VMDK_VMFS;
}

/* Of those that are files of their own. */
static VmdkExtent *
nth_part (Vmdk *vmdk, unsigned index, const VmdkExtentLine **ret_line)
{
  if (vmdk->text_room > 0 || !vmdk->descriptor)
    return NULL;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (extent->kind == VMDK_ZERO || index-- > 0)
      continue;
    *ret_line = g_ptr_array_index (vmdk->descriptor->extents, i);
    return extent;
  }
  return NULL;
}

static bool
vmdk_part (gpointer state, unsigned index, VpClaim *ret_claim)
{
  const VmdkExtentLine *line;
  VmdkExtent *extent = nth_part (state, index, &line);
  if (!extent)
    return false;
  ret_claim->name = line->name;
  if (extent->access != VMDK_RW)
    ret_claim->writable = false;
  return true;
}

static bool
take_flat (Vmdk *vmdk, const VmdkExtent *extent, VpFile *file, GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  if (vp_range_ok (extent->offset, extent->length, size) ||
      vmdk->flags & VP_DRIVER_CHECK)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: is shorter than its descriptor says (0x%" G_GINT64_MODIFIER
               "x, not 0x%" G_GINT64_MODIFIER "x)",
               file->name, size, extent->offset + extent->length);
  return false;
}

static bool
take_sparse (Vmdk *vmdk, VmdkExtent *extent, VpFile *file, GError **error)
{
  if (!open_sparse (vmdk, extent, file, error))
    return false;
  const VmdkSparseFacts *facts = vmdk_sparse_facts (extent->sparse);
  bool fits = extent->kind == VMDK_SESPARSE     ? facts->is_sesparse
              : extent->kind == VMDK_VMFSSPARSE ? facts->is_cowd
                                                : !facts->is_sesparse;
  if (fits && facts->capacity >= extent->length)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: is %s than its descriptor says", file->name,
               fits ? "smaller" : "of another kind");
  return false;
}

static bool
vmdk_set_part (gpointer state, unsigned index, VpFile *file, GError **error)
{
  const VmdkExtentLine *line;
  VmdkExtent *extent = nth_part (state, index, &line);
  if (!extent)
    return corrupt (state, "has fewer extents", error);
  if (!vmdk_is_flat (extent))
    return take_sparse (state, extent, file, error);
  if (!take_flat (state, extent, file, error))
    return false;
  extent->file = vp_file_ref (file);
  return true;
}

/* ---- facts -------------------------------------------------------------- */

static uint64_t
vmdk_get_size (gpointer state)
{
  return ((Vmdk *) state)->size;
}

static const char *
vmdk_backing (gpointer state, const char **ret_format)
{
  const VmdkDescriptor *descriptor = ((Vmdk *) state)->descriptor;
  if (!descriptor || descriptor->parent_cid == VMDK_NO_PARENT)
    return NULL;
  *ret_format = "vmdk";
  return descriptor->parent_hint;
}

static uint32_t
vmdk_content_id (gpointer state)
{
  const VmdkDescriptor *descriptor = ((Vmdk *) state)->descriptor;
  return descriptor ? descriptor->cid : 0;
}

static uint32_t
vmdk_backing_id (gpointer state)
{
  const VmdkDescriptor *descriptor = ((Vmdk *) state)->descriptor;
  return descriptor ? descriptor->parent_cid : VMDK_NO_PARENT;
}

static bool
vmdk_set_parent (Vmdk *vmdk, const char *hint, uint32_t id, GError **error)
{
  if (!vmdk->descriptor)
    return unsupported (vmdk, "has no descriptor that could name another",
                        error);
  g_autofree char *text =
      vmdk_descriptor_with_parent (vmdk->descriptor, hint, id);
  return vmdk_replace_text (vmdk, text, error) &&
         vp_file_flush (vmdk->file, error);
}

static bool
vmdk_set_backing_id (gpointer state, uint32_t id, GError **error)
{
  Vmdk *vmdk = state;
  g_autofree char *hint =
      vmdk->descriptor ? g_strdup (vmdk->descriptor->parent_hint) : NULL;
  return vmdk_set_parent (vmdk, hint, id, error);
}

static void
vmdk_expect_backing_id (gpointer state, uint32_t id)
{
  Vmdk *vmdk = state;
  vmdk->has_next_parent = true;
  vmdk->next_parent = id;
}

static void
set_overlay (Vmdk *vmdk, bool is_overlay)
{
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (extent->sparse)
      vmdk_sparse_set_overlay (extent->sparse, is_overlay);
  }
}

static void
vmdk_expect_backing (gpointer state)
{
  set_overlay (state, true);
}

/* A parent of another name is of the same content, where nobody says else. */
static bool
vmdk_set_backing (gpointer state, const char *name, const char *format,
                  GError **error)
{
  Vmdk *vmdk = state;
  uint32_t id =
      vmdk->has_next_parent ? vmdk->next_parent : vmdk_backing_id (vmdk);
  bool flat = true;
  for (guint i = 0; i < vmdk->extents->len; i++)
    flat = flat && !g_array_index (vmdk->extents, VmdkExtent, i).sparse;
  if (name && flat)
    return unsupported (vmdk, "Flat image can't have backing file", error);
  if (name && strcmp (format, "vmdk") != 0)
    return unsupported (vmdk, "backing_file must be a vmdk image", error);
  if (name && (strpbrk (name, "\"\r\n") || id == VMDK_NO_PARENT))
    return unsupported (vmdk, "cannot name that backing file", error);
  if (!vmdk_set_parent (vmdk, name, name ? id : VMDK_NO_PARENT, error))
    return false;
  set_overlay (vmdk, name != NULL);
  return true;
}

/* Where the extent would be looked for. */
static char *
extent_name (Vmdk *vmdk, guint index)
{
  const VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, index);
  if (extent->file)
    return g_strdup (extent->file->name);
  const VmdkExtentLine *line =
      g_ptr_array_index (vmdk->descriptor->extents, index);
  g_autofree char *folder = g_path_get_dirname (vmdk->file->name);
  if (!line->name)
    return g_strdup ("");
  return strcmp (folder, ".") == 0
             ? g_strdup (line->name)
             : g_build_filename (folder, line->name, NULL);
}

static bool
vmdk_info (gpointer state, VpImageInfo *info, GError **error)
{
  Vmdk *vmdk = state;
  const char *format = NULL, *backing = vmdk_backing (vmdk, &format);
  info->cluster_size = 0;
  VpVmdkInfo *facts = g_new0 (VpVmdkInfo, 1);
  facts->cid = vmdk_content_id (vmdk);
  facts->parent_cid = vmdk_backing_id (vmdk);
  facts->create_type = g_strdup (
      vmdk->descriptor ? vmdk->descriptor->create_type : "monolithicSparse");
  facts->extents =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_vmdk_extent_free);
  for (guint i = 0; i < vmdk->extents->len; i++) {
    const VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    VpVmdkExtent *fact = g_new0 (VpVmdkExtent, 1);
    fact->filename = extent_name (vmdk, i);
    fact->format = vmdk->text_room > 0 || !vmdk->descriptor
                       ? ""
                       : vmdk_kind_to_text (extent->kind);
    fact->virtual_size = extent->length;
    if (extent->sparse) {
      const VmdkSparseFacts *sparse = vmdk_sparse_facts (extent->sparse);
      fact->cluster_size = sparse->grain_size;
      fact->compressed = sparse->compressed;
      info->cluster_size = MAX (info->cluster_size, sparse->grain_size);
    }
    g_ptr_array_add (facts->extents, fact);
  }
  info->vmdk = facts;
  info->backing_name = g_strdup (backing);
  info->backing_format = g_strdup (format);
  return true;
}

const VpFormat vp_format_vmdk = {
  .name = "vmdk",
  .options = vmdk_options,
  .supports_backing = true,
  .backing_beside = true,
  .probe = vmdk_probe,
  .check_create = vmdk_check_create,
  .create = vmdk_create,
  .open = vmdk_open,
  .close = vmdk_close,
  .get_size = vmdk_get_size,
  .info = vmdk_info,
  .backing = vmdk_backing,
  .content_id = vmdk_content_id,
  .backing_id = vmdk_backing_id,
  .set_backing_id = vmdk_set_backing_id,
  .expect_backing_id = vmdk_expect_backing_id,
  .set_backing = vmdk_set_backing,
  .expect_backing = vmdk_expect_backing,
  .part = vmdk_part,
  .set_part = vmdk_set_part,
  .part_to_make = vmdk_part_to_make,
  .map = vmdk_map,
  .reserve = vmdk_reserve,
  .packing = vmdk_packing,
  .reserve_packed = vmdk_reserve_packed,
  .link_packed = vmdk_link_packed,
  .link = vmdk_link,
  .unreserve = vmdk_unreserve,
  .zero = vmdk_zero,
  .discard = vmdk_discard,
  .flush = vmdk_flush,
  .settle = vmdk_settle,
  .empty = vmdk_empty,
  .extend = vmdk_extend,
  .resize = vmdk_resize,
  .shrink = vmdk_shrink,
  .check = vmdk_check,
  .footprint = vmdk_footprint,
};
