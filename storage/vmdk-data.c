/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-data: where guest bytes are: the extent that holds them is asked, with
 * offsets of its own, and no answer reaches past its end. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk.h"

/* The extent of offset, and how much of length it holds.  The last one has no
 * end here: an image that is about to grow asks for what lies behind it, and
 * whole units reach there. */
static VmdkExtent *
cut (Vmdk *vmdk, uint64_t offset, uint64_t *length)
{
  VmdkExtent *extent = vmdk_find (vmdk, offset);
  uint64_t end = extent->start + extent->length;
  bool last = end == vmdk->size && (extent->sparse || offset >= end);
  if (!last)
    *length = MIN (*length, end - offset);
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

/* ---- reading ------------------------------------------------------------ */

static bool
map_flat (const VmdkExtent *extent, uint64_t at, uint64_t length,
          VpRun *ret_run, GError **error)
{
  bool data;
  *ret_run = (VpRun){ .file = extent->file, .offset = extent->offset + at };
  if (!vp_file_extent (extent->file, ret_run->offset, length, &data,
                       &ret_run->length, error))
    return false;
  ret_run->kind = data ? VP_RUN_DATA : VP_RUN_ZERO_ALLOCATED;
  return true;
}

bool
vmdk_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = cut (vmdk, offset, &length);
  uint64_t at = offset - extent->start;
  if (!check_open (vmdk, extent, error))
    return false;
  if (extent->sparse)
    return vmdk_sparse_map (extent->sparse, at, length, ret_run, error);
  if (vmdk_is_flat (extent))
    return map_flat (extent, at, length, ret_run, error);
  *ret_run = (VpRun){ .kind = VP_RUN_ZERO, .length = length };
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
  uint64_t at = offset - extent->start;
  if (!touch (vmdk, extent, error))
    return false;
  if (extent->sparse) {
    if (!vmdk_sparse_reserve (extent->sparse, at, length, ret_place, error))
      return false;
    ret_place->guest += extent->start;
    return true;
  }
  *ret_place = (VpPlace){ .file = extent->file,
                          .offset = extent->offset + at,
                          .guest = offset,
                          .length = length,
                          .in_place = true };
  return true;
}

/* The place as its extent knows it. */
static VmdkExtent *
own_place (Vmdk *vmdk, const VpPlace *place, VpPlace *ret_own)
{
  VmdkExtent *extent = vmdk_find (vmdk, place->guest);
  *ret_own = *place;
  ret_own->guest -= extent->start;
  return extent;
}

bool
vmdk_link (gpointer state, const VpPlace *place, GError **error)
{
  VpPlace own;
  VmdkExtent *extent = own_place (state, place, &own);
  return !extent->sparse || vmdk_sparse_link (extent->sparse, &own, error);
}

void
vmdk_unreserve (gpointer state, const VpPlace *place)
{
  VpPlace own;
  VmdkExtent *extent = own_place (state, place, &own);
  if (extent->sparse)
    vmdk_sparse_unreserve (extent->sparse, &own);
}

/* ---- packed units ------------------------------------------------------- */

/* A stream is an image of its own, never one extent of several. */
bool
vmdk_packing (gpointer state, VpPacking *ret_packing)
{
  Vmdk *vmdk = state;
  VmdkExtent *first = &g_array_index (vmdk->extents, VmdkExtent, 0);
  return vmdk->extents->len == 1 && first->sparse &&
         vmdk_sparse_packing (first->sparse, ret_packing);
}

bool
vmdk_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                     VpPlace *ret_place, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = vmdk_find (vmdk, offset);
  return touch (vmdk, extent, error) &&
         vmdk_sparse_reserve_packed (extent->sparse, offset, len, ret_place,
                                     error);
}

bool
vmdk_link_packed (gpointer state, const VpPlace *place, GError **error)
{
  VmdkExtent *extent = vmdk_find (state, place->guest);
  return vmdk_sparse_link_packed (extent->sparse, place, error);
}

/* ---- zeros -------------------------------------------------------------- */

/* Whole grains of the extent, which may lie elsewhere than those of the
 * image; what reaches its end is whole. */
static uint64_t
whole_grains (const VmdkExtent *extent, uint64_t at, uint64_t length)
{
  uint64_t grain = vmdk_sparse_facts (extent->sparse)->grain_size;
  if (at % grain)
    return 0;
  return at + length >= extent->length ? length : length / grain * grain;
}

static bool
zero_sparse (VmdkExtent *extent, uint64_t at, uint64_t length, bool unmap,
             uint64_t *ret_done, GError **error)
{
  length = whole_grains (extent, at, length);
  *ret_done = 0;
  if (length == 0)
    return true;
  return vmdk_sparse_zero (extent->sparse, at, length, unmap, ret_done, error);
}

bool
vmdk_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
           uint64_t *ret_done, GError **error)
{
  Vmdk *vmdk = state;
  VmdkExtent *extent = cut (vmdk, offset, &length);
  uint64_t at = offset - extent->start;
  *ret_done = length;
  if (extent->kind == VMDK_ZERO)
    return true;
  if (!touch (vmdk, extent, error))
    return false;
  if (extent->sparse)
    return zero_sparse (extent, at, length, unmap, ret_done, error);
  return vp_file_zero (extent->file, extent->offset + at, length, unmap, error);
}

static bool
discard_part (Vmdk *vmdk, VmdkExtent *extent, uint64_t at, uint64_t length,
              GError **error)
{
  if (extent->kind == VMDK_ZERO)
    return true;
  if (!touch (vmdk, extent, error))
    return false;
  if (vmdk_is_flat (extent)) {
    vp_file_discard (extent->file, extent->offset + at, length);
    return true;
  }
  uint64_t grain = vmdk_sparse_facts (extent->sparse)->grain_size;
  uint64_t skip = (grain - at % grain) % grain;
  if (skip >= length)
    return true;
  length = whole_grains (extent, at + skip, length - skip);
  return length == 0 ||
         vmdk_sparse_discard (extent->sparse, at + skip, length, error);
}

bool
vmdk_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Vmdk *vmdk = state;
  for (uint64_t end = offset + length, part; offset < end; offset += part) {
    part = end - offset;
    VmdkExtent *extent = cut (vmdk, offset, &part);
    if (!discard_part (vmdk, extent, offset - extent->start, part, error))
      return false;
  }
  return true;
}

/* ---- what lasts --------------------------------------------------------- */

static bool
flush_extent (VmdkExtent *extent, GError **error)
{
  if (extent->sparse)
    return vmdk_sparse_flush (extent->sparse, error);
  return vp_file_flush (extent->file, error);
}

bool
vmdk_flush (gpointer state, GError **error)
{
  Vmdk *vmdk = state;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (!extent->touched)
      continue;
    if (!flush_extent (extent, error))
      return false;
    extent->touched = false;
  }
  if (vmdk->text_touched && !vp_file_flush (vmdk->file, error))
    return false;
  vmdk->text_touched = false;
  return true;
}

bool
vmdk_settle (gpointer state, GError **error)
{
  Vmdk *vmdk = state;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (extent->sparse && extent->access == VMDK_RW &&
        !vmdk_sparse_settle (extent->sparse, error))
      return false;
  }
  return true;
}

bool
vmdk_empty (gpointer state, GError **error)
{
  Vmdk *vmdk = state;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (!touch (vmdk, extent, error))
      return false;
    if (!extent->sparse) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                   "%s: a flat extent cannot be emptied", vmdk->file->name);
      return false;
    }
    if (!vmdk_sparse_empty (extent->sparse, error))
      return false;
  }
  return vmdk_flush (vmdk, error);
}
