/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow: the driver; cow.h draws the format.
 *
 * Bits are set in memory, and go to the file with the next flush, after what
 * they promise.  A cut leaves sectors as they were, or new; of the same
 * address always, for there is but one place for each.
 *
 * The bitmap cannot become longer, as the data lies behind it: a disk grows
 * only as far as the last sector of the bitmap has bits. */
#include "config.h"

#include "storage/cow.h"

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image.h"

#define CACHE_LIMIT ((size_t) 8 << 20)

/* ---- life --------------------------------------------------------------- */

static void
release (gpointer user_data, uint64_t offset, uint64_t length)
{
  /* Nothing is ever freed. */
}

static void
cow_close (gpointer state)
{
  Cow *cow = state;
  vp_tables_free (cow->tables);
  g_free (cow->backing_name);
  g_free (cow);
}

static bool
cow_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
          gpointer *ret_state, GError **error)
{
  Cow *cow = g_new0 (Cow, 1);
  cow->file = file;
  cow->read_only = !(flags & VP_DRIVER_WRITABLE);
  cow->tables = vp_tables_new (file, CACHE_LIMIT,
                               !(flags & VP_DRIVER_UNORDERED), release, cow);
  if (!cow_load_header (cow, error)) {
    cow_close (cow);
    return false;
  }
  *ret_state = cow;
  return true;
}

static uint64_t
cow_get_size (gpointer state)
{
  return ((Cow *) state)->size;
}

static bool
cow_info (gpointer state, VpImageInfo *info, GError **error)
{
  const Cow *cow = state;
  info->subcluster_size = COW_SECTOR;
  info->backing_name =
      cow->backing_name ? g_utf8_make_valid (cow->backing_name, -1) : NULL;
  return true;
}

static const char *
cow_backing (gpointer state, const char **ret_format)
{
  *ret_format = NULL;
  return ((Cow *) state)->backing_name;
}

/* ---- where -------------------------------------------------------------- */

/* Sectors that are said to be here are here: what a file lost that was cut
 * short must not read as zeros. */
static bool
check_end (Cow *cow, uint64_t offset, uint64_t *length, GError **error)
{
  uint64_t at = cow->data_offset + offset;
  if (vp_range_ok (at, *length, cow->file_end))
    return true;
  if (!vp_file_get_size (cow->file, &cow->file_end, error))
    return false;
  if (at >= cow->file_end)
    return cow_corrupt (cow, error,
                        "sector %" PRIu64 " lies past the end of the file "
                        "(0x%" PRIx64 ")",
                        offset / COW_SECTOR, at);
  *length = MIN (*length, cow->file_end - at);
  return true;
}

/* The first sectors of a range that are alike. */
static bool
find_run (Cow *cow, uint64_t offset, uint64_t *length, bool *ret_here,
          GError **error)
{
  uint64_t first = offset / COW_SECTOR;
  uint64_t end = (offset + *length + COW_SECTOR - 1) / COW_SECTOR, count;
  if (!cow_count_bits (cow, first, end, ret_here, &count, error))
    return false;
  *length = MIN (*length, (first + count) * COW_SECTOR - offset);
  return !*ret_here || check_end (cow, offset, length, error);
}

static bool
cow_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
         GError **error)
{
  Cow *cow = state;
  bool here;
  if (!find_run (cow, offset, &length, &here, error))
    return false;
  *ret_run = (VpRun){ .kind = VP_RUN_UNALLOCATED, .length = length };
  if (here) {
    ret_run->kind = VP_RUN_DATA;
    ret_run->file = cow->file;
    ret_run->offset = cow->data_offset + offset;
  }
  return true;
}

static bool
cow_reserve (gpointer state, uint64_t offset, uint64_t length,
             VpPlace *ret_place, GError **error)
{
  Cow *cow = state;
  bool here;
  if (!find_run (cow, offset, &length, &here, error))
    return false;
  uint64_t start = offset, end = offset + length;
  if (!here) {
    start = vp_round_down (start, COW_SECTOR);
    end = vp_round_up (end, COW_SECTOR);
  }
  *ret_place = (VpPlace){ .file = cow->file,
                          .offset = cow->data_offset + start,
                          .guest = start,
                          .length = end - start,
                          .head = offset - start,
                          .tail = end - (offset + length),
                          .in_place = here };
  return true;
}

static bool
cow_link (gpointer state, const VpPlace *place, GError **error)
{
  return cow_put_bits (state, place->guest / COW_SECTOR,
                       place->length / COW_SECTOR, true, error);
}

static bool
cow_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
          uint64_t *ret_done, GError **error)
{
  Cow *cow = state;
  bool here, below = cow->backing_name || cow->expects_backing;
  if (!find_run (cow, offset, &length, &here, error))
    return false;
  if (here || below) {
    if (!vp_file_zero (cow->file, cow->data_offset + offset, length, unmap,
                       error) ||
        (!here && !cow_put_bits (cow, offset / COW_SECTOR, length / COW_SECTOR,
                                 true, error)))
      return false;
  }
  *ret_done = length;
  return true;
}

/* A bit that is cleared would show the backing file: sectors stay here, and
 * become holes. */
static bool
cow_discard (gpointer state, uint64_t offset, uint64_t length, GError **error)
{
  Cow *cow = state;
  while (length > 0) {
    uint64_t part = length;
    bool here;
    if (!find_run (cow, offset, &part, &here, error))
      return false;
    if (here)
      vp_file_discard (cow->file, cow->data_offset + offset, part);
    offset += part;
    length -= part;
  }
  return true;
}

static bool
cow_flush (gpointer state, GError **error)
{
  return vp_tables_flush (((Cow *) state)->tables, error);
}

static bool
cow_has_holes (gpointer state)
{
  return true;
}

/* ---- the whole ---------------------------------------------------------- */

static bool
check_growth (const Cow *cow, uint64_t size, GError **error)
{
  bool stuck = cow->size == 0 && cow->layout == &cow_packed;
  uint64_t bits = (cow->data_offset - cow->layout->len) * 8;
  if (size % COW_SECTOR != 0) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The new size must be a multiple of 512");
    return false;
  }
  if (!stuck && size <= COW_MAX_SIZE && size / COW_SECTOR <= bits)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: cannot grow to more than %" PRIu64 " bytes, as its data "
               "lies right behind its bitmap; convert it",
               cow->file->name, stuck ? 0 : bits * COW_SECTOR);
  return false;
}

/* Bits behind the end mean nothing, and are to mean nothing when the end has
 * moved.  The bitmap becomes longer before the size says so. */
static bool
cow_extend (gpointer state, uint64_t size, GError **error)
{
  Cow *cow = state;
  uint64_t first = cow->size / COW_SECTOR, end = size / COW_SECTOR;
  if (!check_growth (cow, size, error) ||
      !vp_file_get_size (cow->file, &cow->file_end, error) ||
      (cow->file_end < cow->data_offset &&
       !vp_file_truncate (cow->file, cow->data_offset, error)))
    return false;
  return cow_put_bits (cow, first, end - first, false, error) &&
         vp_tables_flush (cow->tables, error);
}

static bool
cow_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
            GError **error)
{
  Cow *cow = state;
  if (preallocation != VP_PREALLOCATION_OFF) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "Unsupported preallocation mode for file format "
                         "'cow'");
    return false;
  }
  return vp_tables_flush (cow->tables, error) &&
         cow_store_size (cow, size, error);
}

static void
cow_expect_backing (gpointer state)
{
  ((Cow *) state)->expects_backing = true;
}

/* All bits first; a cut in the middle leaves some of them, which name what
 * they named before. */
static bool
cow_empty (gpointer state, GError **error)
{
  Cow *cow = state;
  uint64_t start = cow->layout->len;
  if (!vp_tables_flush (cow->tables, error))
    return false;
  vp_tables_drop (cow->tables);
  if (!vp_file_zero (cow->file, start, cow->data_offset - start, true, error) ||
      !vp_file_flush (cow->file, error))
    return false;
  return cow->file->is_device ||
         vp_file_truncate (cow->file, cow->data_offset, error);
}

const VpFormat vp_format_cow = {
  .name = "cow",
  .options = cow_options,
  .header = &cow_padded.fields,
  .supports_backing = true,
  .probe = cow_probe,
  .check_create = cow_check_create,
  .create = cow_create,
  .open = cow_open,
  .close = cow_close,
  .get_size = cow_get_size,
  .info = cow_info,
  .backing = cow_backing,
  .map = cow_map,
  .reserve = cow_reserve,
  .link = cow_link,
  .zero = cow_zero,
  .discard = cow_discard,
  .flush = cow_flush,
  .extend = cow_extend,
  .resize = cow_resize,
  .set_backing = cow_set_backing,
  .expect_backing = cow_expect_backing,
  .empty = cow_empty,
  .footprint = cow_footprint,
  .check = cow_check,
  .has_holes = cow_has_holes,
  .describe = cow_describe,
};
