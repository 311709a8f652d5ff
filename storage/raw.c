/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* raw: guest byte N is file byte N.  A hole in the file is a zero extent.
 *
 * Sizes: disks count in sectors of 512 bytes, so a file whose length is not a
 * multiple reads as if it were rounded up with zeros; what is created here is
 * rounded up for good. */
#include "config.h"

#include "storage/error.h"
#include "storage/formats.h"

#define SECTOR 512u

typedef struct {
  VpFile *file; /* borrowed */
  uint64_t size;
} Raw;

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
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "raw images know preallocation off, falloc and full");
    return false;
  }
}

static bool
raw_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  uint64_t size = vp_round_up (options->size, SECTOR);
  return vp_file_truncate (file, size, error) &&
         preallocate (file, 0, size, options->preallocation, error);
}

static bool
raw_open (VpFile *file, VpDriverFlags flags, gpointer *ret_state,
          GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  Raw *raw = g_new0 (Raw, 1);
  raw->file = file;
  raw->size = MIN (vp_round_up (size, SECTOR), VP_MAX_VIRTUAL_SIZE);
  *ret_state = raw;
  return true;
}

static void
raw_close (gpointer state)
{
  g_free (state);
}

static uint64_t
raw_get_size (gpointer state)
{
  return ((Raw *) state)->size;
}

static bool
raw_info (gpointer state, VpImageInfo *info, GError **error)
{
  return true;
}

static bool
raw_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
         GError **error)
{
  Raw *raw = state;
  bool data;
  if (!vp_file_extent (raw->file, offset, length, &data, &length, error))
    return false;
  *ret_run = (VpRun){ .kind = data ? VP_RUN_DATA : VP_RUN_ZERO_ALLOCATED,
                      .length = length,
                      .file = raw->file,
                      .offset = offset };
  return true;
}

static bool
raw_reserve (gpointer state, uint64_t offset, uint64_t length,
             VpPlace *ret_place, GError **error)
{
  *ret_place = (VpPlace){ .file = ((Raw *) state)->file,
                          .offset = offset,
                          .guest = offset,
                          .length = length,
                          .in_place = true };
  return true;
}

static bool
raw_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
          uint64_t *ret_done, GError **error)
{
  if (!vp_file_zero (((Raw *) state)->file, offset, length, unmap, error))
    return false;
  *ret_done = length;
  return true;
}

static bool
raw_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  vp_file_discard (((Raw *) state)->file, offset, length);
  return true;
}

static bool
raw_flush (gpointer state, GError **error)
{
  return vp_file_flush (((Raw *) state)->file, error);
}

static bool
raw_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
            GError **error)
{
  Raw *raw = state;
  uint64_t old_size;
  if (!vp_file_get_size (raw->file, &old_size, error) ||
      !vp_file_truncate (raw->file, size, error))
    return false;
  raw->size = vp_round_up (size, SECTOR);
  return size <= old_size || preallocate (raw->file, old_size, size - old_size,
                                          preallocation, error);
}

static const VpOption raw_options[] = {
  { "size", "Virtual disk size" },
  { "preallocation", "Preallocation mode (allowed values: off, falloc, full)" },
  { NULL, NULL },
};

const VpFormat vp_format_raw = {
  .name = "raw",
  .options = raw_options,
  .create = raw_create,
  .open = raw_open,
  .close = raw_close,
  .get_size = raw_get_size,
  .info = raw_info,
  .map = raw_map,
  .reserve = raw_reserve,
  .zero = raw_zero,
  .discard = raw_discard,
  .flush = raw_flush,
  .resize = raw_resize,
};
