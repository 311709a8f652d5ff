/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-data: where guest bytes are: the extent that holds them is asked, with
 * offsets of its own, and no answer reaches past its end. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk.h"

static bool
is_flat (const VmdkExtent *extent)
{
  return extent->kind == VMDK_FLAT || extent->kind == VMDK_VMFS;
}

/* The extent of offset, and how much of length it holds. */
static VmdkExtent *
cut (Vmdk *vmdk, uint64_t offset, uint64_t *length)
{
  VmdkExtent *extent = vmdk_find (vmdk, offset);
  *length = MIN (*length, extent->start + extent->length - offset);
  return extent;
}

static bool
check_open (Vmdk *vmdk, const VmdkExtent *extent, GError **error)
{
  if (extent->kind == VMDK_ZERO || extent->file)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
               "%s: its extents are not opened", vmdk->file->name);
  return false;
}

bool
vmdk_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = cut (vmdk, offset, &length);
  uint64_t at = offset - extent->start;
  bool data = false;
  if (!check_open (vmdk, extent, error))
    return false;
  *ret_run = (VpRun){ .kind = VP_RUN_ZERO, .length = length };
  if (!is_flat (extent))
    return true;
  ret_run->file = extent->file;
  ret_run->offset = extent->offset + at;
  if (!vp_file_extent (extent->file, ret_run->offset, length, &data,
                       &ret_run->length, error))
    return false;
  ret_run->kind = data ? VP_RUN_DATA : VP_RUN_ZERO_ALLOCATED;
  return true;
}

/* ---- changes ------------------------------------------------------------ */

/* Before each change of an extent. */
static bool
touch (Vmdk *vmdk, VmdkExtent *extent, GError **error)
{
  if (!check_open (vmdk, extent, error))
    return false;
  if (extent->access != VMDK_RW || extent->kind == VMDK_ZERO) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: the extent at 0x%" G_GINT64_MODIFIER
                 "x cannot be written",
                 vmdk->file->name, extent->start);
    return false;
  }
  extent->touched = true;
  return vmdk_renew_cid (vmdk, error);
}

bool
vmdk_reserve (gpointer state, uint64_t offset, uint64_t length,
              VpPlace *ret_place, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = cut (vmdk, offset, &length);
  if (!touch (vmdk, extent, error))
    return false;
  *ret_place = (VpPlace){ .file = extent->file,
                          .offset = extent->offset + (offset - extent->start),
                          .guest = offset,
                          .length = length,
                          .in_place = true };
  return true;
}

bool
vmdk_link (gpointer state, const VpPlace *place, GError **error)
{
  return true;
}

void
vmdk_unreserve (gpointer state, const VpPlace *place)
{
}

bool
vmdk_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
           uint64_t *ret_done, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = cut (vmdk, offset, &length);
  if (extent->kind == VMDK_ZERO) {
    *ret_done = length;
    return true;
  }
  if (!touch (vmdk, extent, error) ||
      !vp_file_zero (extent->file, extent->offset + (offset - extent->start),
                     length, unmap, error))
    return false;
  *ret_done = length;
  return true;
}

bool
vmdk_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Vmdk *vmdk = state;
  for (uint64_t end = MIN (offset + length, vmdk->size); offset < end;) {
    uint64_t part = end - offset;
    VmdkExtent *extent = cut (vmdk, offset, &part);
    if (extent->kind != VMDK_ZERO) {
      if (!touch (vmdk, extent, error))
        return false;
      vp_file_discard (extent->file, extent->offset + (offset - extent->start),
                       part);
    }
    offset += part;
  }
  return true;
}

bool
vmdk_flush (gpointer state, GError **error)
{
  Vmdk *vmdk = state;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (!extent->touched)
      continue;
    if (!vp_file_flush (extent->file, error))
      return false;
    extent->touched = false;
  }
  if (vmdk->text_touched && !vp_file_flush (vmdk->file, error))
    return false;
  vmdk->text_touched = false;
  return true;
}
