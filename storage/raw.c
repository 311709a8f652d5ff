/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* raw: guest byte N is file byte N.  A hole in the file is a zero extent.
 *
 * Sizes: disks count in sectors of 512 bytes, so a file whose length is not a
 * multiple reads as if it were rounded up with zeros; what is created here is
 * rounded up for good.
 *
 * Or a part of the file: guest byte N is then file byte start + N. */
#include "config.h"

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

#define SECTOR 512u

typedef struct {
  VpFile *file;   /* borrowed */
  uint64_t start; /* where guest byte 0 lies */
  uint64_t size;
  bool is_part; /* its end is not the file's */
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
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Unsupported preallocation mode: metadata");
    return false;
  }
}

static bool
raw_check_create (const VpCreateOptions *options, GError **error)
{
  if (options->preallocation != VP_PREALLOCATION_METADATA)
    return true;
  return preallocate (NULL, 0, 0, VP_PREALLOCATION_METADATA, error);
}

static bool
raw_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  uint64_t size = vp_round_up (options->size, SECTOR);
  return vp_file_truncate (file, size, error) &&
         preallocate (file, 0, size, options->preallocation, error);
}

static bool
check_part (VpFile *file, const VpOpenOptions *options, uint64_t file_size,
            GError **error)
{
  if (options->offset % SECTOR || options->size % SECTOR) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "offset and size must be multiples of 512");
    return false;
  }
  if (vp_range_ok (options->offset, options->size, file_size))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "The sum of offset (%" G_GUINT64_FORMAT
               ") and size (%" G_GUINT64_FORMAT
               ") has to be smaller or equal to the actual size of the "
               "containing file (%" G_GUINT64_FORMAT ")",
               options->offset, options->size, file_size);
  return false;
}

static bool
raw_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
          gpointer *ret_state, GError **error)
{
  uint64_t size;
  if (!vp_file_get_size (file, &size, error) ||
      !check_part (file, options, size, error))
    return false;
  Raw *raw = g_new0 (Raw, 1);
  raw->file = file;
  raw->start = options->offset;
  raw->is_part = options->has_size;
  raw->size = options->has_size ? options->size
                                : MIN (vp_round_up (size - raw->start, SECTOR),
                                       VP_MAX_VIRTUAL_SIZE);
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
  if (!vp_file_extent (raw->file, raw->start + offset, length, &data, &length,
                       error))
    return false;
  *ret_run = (VpRun){ .kind = data ? VP_RUN_DATA : VP_RUN_ZERO_ALLOCATED,
                      .length = length,
                      .file = raw->file,
                      .offset = raw->start + offset };
  return true;
}

static bool
raw_reserve (gpointer state, uint64_t offset, uint64_t length,
             VpPlace *ret_place, GError **error)
{
  Raw *raw = state;
  *ret_place = (VpPlace){ .file = raw->file,
                          .offset = raw->start + offset,
                          .guest = offset,
                          .length = length,
                          .in_place = true };
  return true;
}

static bool
raw_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
          uint64_t *ret_done, GError **error)
{
  Raw *raw = state;
  if (!vp_file_zero (raw->file, raw->start + offset, length, unmap, error))
    return false;
  *ret_done = length;
  return true;
}

static bool
raw_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Raw *raw = state;
  vp_file_discard (raw->file, raw->start + offset, length);
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
  uint64_t old_size, end;
  if (raw->is_part || __builtin_add_overflow (raw->start, size, &end)) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Cannot resize fixed-size raw disks");
    return false;
  }
  if (!vp_file_get_size (raw->file, &old_size, error) ||
      !vp_file_truncate (raw->file, end, error))
    return false;
  raw->size = vp_round_up (size, SECTOR);
  return end <= old_size || preallocate (raw->file, old_size, end - old_size,
                                         preallocation, error);
}

static bool
raw_shrink (gpointer state, uint64_t size, GError **error)
{
  Raw *raw = state;
  if (raw->is_part || raw->file->is_device) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: Cannot resize %s", raw->file->name,
                 raw->is_part ? "fixed-size raw disks" : "device files");
    return false;
  }
  if (!vp_file_truncate (raw->file, raw->start + size, error) ||
      !vp_file_flush (raw->file, error))
    return false;
  raw->size = vp_round_up (size, SECTOR);
  return true;
}

static const VpOption raw_options[] = {
  { "size", "Virtual disk size" },
  { "preallocation", "Preallocation mode (allowed values: off, falloc, full)" },
  { NULL, NULL },
};

const VpFormat vp_format_raw = {
  .name = "raw",
  .options = raw_options,
  .check_create = raw_check_create,
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
  .shrink = raw_shrink,
};
