/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-check: one extent after the other, and the text against them.  A flat
 * one that is too short is filled up with zeros: what it held is gone. */
#include "config.h"

#include <inttypes.h>

#include "storage/check.h"
#include "storage/error.h"
#include "storage/vmdk.h"

static bool
check_flat (const VmdkExtent *extent, VpRepair repair, VpCheckResult *result,
            GError **error)
{
  uint64_t size, end = extent->offset + extent->length;
  if (!vp_file_get_size (extent->file, &size, error))
    return false;
  if (size >= end)
    return true;
  bool fix = repair == VP_REPAIR_ALL && !extent->file->is_device;
  vp_check_result_note (
      result,
      "%s %s: the extent is %" PRIu64 " bytes shorter than its "
      "descriptor says",
      fix ? "Repairing" : "ERROR", extent->file->name, end - size);
  if (!fix) {
    result->corruptions++;
    return true;
  }
  result->corruptions_fixed++;
  return vp_file_truncate (extent->file, end, error) &&
         vp_file_flush (extent->file, error);
}

/* The header counts; its text is behind after a cut while it grew. */
static bool
check_text (Vmdk *vmdk, VpRepair repair, VpCheckResult *result, GError **error)
{
  if (vmdk->text_room == 0 || vmdk->descriptor->size == vmdk->size)
    return true;
  vp_check_result_note (result,
                        "%s %s: the descriptor says %" PRIu64
                        " bytes, the header %" PRIu64,
                        repair == VP_REPAIR_NOTHING ? "Leaked" : "Repairing",
                        vmdk->file->name, vmdk->descriptor->size, vmdk->size);
  if (repair == VP_REPAIR_NOTHING) {
    result->leaks++;
    return true;
  }
  result->leaks_fixed++;
  g_autofree char *text =
      vmdk_descriptor_with_length (vmdk->descriptor, 0, vmdk->size);
  return vmdk_replace_text (vmdk, text, error) &&
         vp_file_flush (vmdk->file, error);
}

bool
vmdk_check (gpointer state, VpRepair repair, const VpProgress *progress,
            VpCheckResult *result, GError **error)
{
  Vmdk *vmdk = state;
  for (guint i = 0; i < vmdk->extents->len; i++) {
    VmdkExtent *extent = &g_array_index (vmdk->extents, VmdkExtent, i);
    if (!vp_progress_update (progress, extent->start, vmdk->size, error))
      return false;
    if (extent->kind == VMDK_ZERO)
      continue;
    if (!extent->file) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                   "%s: its extents are not opened", vmdk->file->name);
      return false;
    }
    VpRepair mend = extent->access == VMDK_RW ? repair : VP_REPAIR_NOTHING;
    if (extent->sparse
            ? !vmdk_sparse_check (extent->sparse, mend, progress, result, error)
            : !check_flat (extent, mend, result, error))
      return false;
  }
  return check_text (vmdk, repair, result, error) &&
         vp_progress_update (progress, vmdk->size, vmdk->size, error);
}
