/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-resize: another size, taken by the last extent.  Growing: the extent
 * first, then the text; shrinking: the other way round.  A cut between them
 * leaves a file that is longer than the text says.
 *
 * XXX: a text that passes a sector is not replaced in one piece; that of one
 * file always fits into one, as does one of a few. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk.h"

#define SPLIT_MAX (UINT64_C (2) << 30)

static bool
unsupported (const Vmdk *vmdk, const char *what, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: cannot be resized: %s", vmdk->file->name, what);
  return false;
}

static VmdkExtent *
last_extent (Vmdk *vmdk, GError **error)
{
  guint n = vmdk->extents->len;
  VmdkExtent *last =
      n > 0 ? &g_array_index (vmdk->extents, VmdkExtent, n - 1) : NULL;
  if (!last)
    (void) unsupported (vmdk, "it has no extents", error);
  else if (last->kind != VMDK_ZERO && !last->file)
    (void) unsupported (vmdk, "its extents are not opened", error);
  else if (last->access != VMDK_RW)
    (void) unsupported (vmdk, "its last extent is only read", error);
  else if (last->file && last->file->is_device)
    (void) unsupported (vmdk, "its last extent is a device", error);
  else
    return last;
  return NULL;
}

/* The size that the text tells, and we hold. */
static bool
set_length (Vmdk *vmdk, VmdkExtent *last, uint64_t length, GError **error)
{
  if (vmdk->descriptor) {
    g_autofree char *text = vmdk_descriptor_with_length (
        vmdk->descriptor, vmdk->extents->len - 1, length);
    if (!vmdk_replace_text (vmdk, text, error) ||
        !vp_file_flush (vmdk->file, error))
      return false;
  }
  vmdk->size = last->start + length;
  last->length = length;
  return true;
}

static bool
preallocate (VpFile *file, uint64_t offset, uint64_t length,
             VpPreallocation preallocation, GError **error)
{
  switch (preallocation) {
  case VP_PREALLOCATION_OFF: return true;
  case VP_PREALLOCATION_FALLOC:
    return vp_file_allocate (file, offset, length, error);
  case VP_PREALLOCATION_FULL:
    return vp_file_zero (file, offset, length, false, error);
  case VP_PREALLOCATION_METADATA:
  default:
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Unsupported preallocation mode: metadata");
    return false;
  }
}

/* Whatever lies in the file behind the end goes first, and is zeros then. */
static bool
grow_flat (VmdkExtent *last, uint64_t length, VpPreallocation preallocation,
           GError **error)
{
  uint64_t old_end = last->offset + last->length, end;
  if (__builtin_add_overflow (last->offset, length, &end) || end > INT64_MAX) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: a file cannot be that large", last->file->name);
    return false;
  }
  return vp_file_truncate (last->file, old_end, error) &&
         vp_file_truncate (last->file, end, error) &&
         preallocate (last->file, old_end, end - old_end, preallocation,
                      error) &&
         vp_file_flush (last->file, error);
}

static bool
is_split (const Vmdk *vmdk)
{
  return vmdk->descriptor &&
         strstr (vmdk->descriptor->create_type, "GbMaxExtent") != NULL;
}

bool
vmdk_extend (gpointer state, uint64_t size, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *last = last_extent (vmdk, error);
  if (!last)
    return false;
  uint64_t length = vp_round_up (size, VMDK_SECTOR) - last->start;
  if (length == last->length)
    return true;
  if (is_split (vmdk) && length > SPLIT_MAX)
    return unsupported (vmdk, "its last extent would pass 2 GiB", error);
  last->touched = true;
  return vmdk_renew_cid (vmdk, error) &&
         (!last->sparse ||
          (vmdk_sparse_forget_behind (last->sparse, last->length, error) &&
           vmdk_sparse_extend (last->sparse, length, error)));
}

static bool
grow_sparse (VmdkExtent *last, uint64_t length, VpPreallocation preallocation,
             GError **error)
{
  if (preallocation == VP_PREALLOCATION_OFF)
    return vmdk_sparse_resize (last->sparse, length, error);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: only flat images are preallocated", last->file->name);
  return false;
}

bool
vmdk_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
             GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *last = last_extent (vmdk, error);
  if (!last)
    return false;
  uint64_t length = vp_round_up (size, VMDK_SECTOR) - last->start;
  if (length == last->length)
    return true;
  if (preallocation == VP_PREALLOCATION_METADATA)
    return preallocate (NULL, 0, 0, preallocation, error);
  if (last->sparse ? !grow_sparse (last, length, preallocation, error)
                   : last->kind != VMDK_ZERO &&
                         !grow_flat (last, length, preallocation, error))
    return false;
  return set_length (vmdk, last, length, error);
}

bool
vmdk_shrink (gpointer state, uint64_t size, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *last = last_extent (vmdk, error);
  size = vp_round_up (size, VMDK_SECTOR);
  if (!last)
    return false;
  if (last->sparse)
    return unsupported (vmdk, "sparse extents only grow", error);
  if (size < last->start)
    return unsupported (vmdk, "more than its last extent would have to go",
                        error);
  return vmdk_renew_cid (vmdk, error) &&
         set_length (vmdk, last, size - last->start, error) &&
         (last->kind == VMDK_ZERO ||
          (vp_file_truncate (last->file, last->offset + last->length, error) &&
           vp_file_flush (last->file, error)));
}
