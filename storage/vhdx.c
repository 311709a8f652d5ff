/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vhdx: the driver; vhdx.h draws the format. */
#include "config.h"

#include "storage/vhdx.h"

#include <stdarg.h>
#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"

#define CHUNK_ENTRIES 8192u
#define CACHE_LIMIT   ((size_t) 4 << 20)
#define OFFSET_MASK   (~(VHDX_MIB - 1))
#define STATE_MASK    7u

enum {
  STATE_NOT_PRESENT = 0,
  STATE_UNDEFINED = 1,
  STATE_ZERO = 2,
  STATE_UNMAPPED = 3,
  STATE_UNMAPPED_OLD = 5,
  STATE_PRESENT = 6,
};

bool
vhdx_fail (VpFile *file, int code, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, code, "%s: %s", file->name, message);
  return false;
}

/* ---- where -------------------------------------------------------------- */

static bool
get_entry (Vhdx *vhdx, uint64_t block, uint64_t *ret_entry, GError **error)
{
  uint64_t index = block + block / vhdx->chunk_ratio;
  uint64_t at = index * VHDX_BAT_ENTRY;
  uint64_t first = at - at % (CHUNK_ENTRIES * VHDX_BAT_ENTRY);
  uint64_t len = MIN (CHUNK_ENTRIES * VHDX_BAT_ENTRY, vhdx->bat.length - first);
  const uint8_t *chunk = vp_tables_load (vhdx->tables, vhdx->bat.offset + first,
                                         (size_t) len, error);
  if (!chunk)
    return false;
  *ret_entry = vp_le64_get (chunk + (at - first));
  return true;
}

/* What does an entry say?  False: nothing that can be. */
static bool
kind_of (uint64_t entry, VpRunKind *ret_kind)
{
  switch (entry & STATE_MASK) {
  case STATE_NOT_PRESENT:
  case STATE_UNDEFINED:
  case STATE_UNMAPPED:
  case STATE_UNMAPPED_OLD: *ret_kind = VP_RUN_UNALLOCATED; return true;
  case STATE_ZERO: *ret_kind = VP_RUN_ZERO; return true;
  case STATE_PRESENT: *ret_kind = VP_RUN_DATA; return true;
  default: return false;
  }
}

static bool
bad_state (const Vhdx *vhdx, uint64_t block, uint64_t entry, GError **error)
{
  return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error,
                    "block %" PRIu64 " has state %u, which cannot be here",
                    block, (unsigned) (entry & STATE_MASK));
}

/* The blocks behind the first that are like it, up to last. */
static bool
find_end (Vhdx *vhdx, uint64_t block, uint64_t last, uint64_t entry,
          uint64_t *ret_end, GError **error)
{
  VpRunKind kind = VP_RUN_ZERO, next_kind;
  (void) kind_of (entry, &kind); /* it can */
  uint64_t end = block + 1;
  for (uint64_t next; end <= last; end++) {
    if (!get_entry (vhdx, end, &next, error))
      return false;
    if (!kind_of (next, &next_kind) || next_kind != kind ||
        (kind == VP_RUN_DATA &&
         (next & OFFSET_MASK) !=
             (entry & OFFSET_MASK) + (end - block) * vhdx->block_size))
      break;
  }
  *ret_end = end;
  return true;
}

static bool
vhdx_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  Vhdx *vhdx = state;
  uint64_t unit = vhdx->block_size, skip = offset % unit;
  uint64_t block = offset / unit, entry, end;
  VpRunKind kind;
  if (!vp_tables_trim (vhdx->tables, error) ||
      !get_entry (vhdx, block, &entry, error))
    return false;
  if (!kind_of (entry, &kind))
    return bad_state (vhdx, block, entry, error);
  if (!find_end (vhdx, block, (offset + length - 1) / unit, entry, &end, error))
    return false;
  length = MIN (length, (end - block) * unit - skip);
  *ret_run = (VpRun){ .kind = kind, .length = length };
  if (kind != VP_RUN_DATA)
    return true;
  uint64_t at = entry & OFFSET_MASK;
  if (at < VHDX_MIB || !vp_range_ok (at, skip, vhdx->file_end) ||
      at + skip >= vhdx->file_end)
    return vhdx_fail (vhdx->file, VP_IMAGE_ERROR_CORRUPT, error,
                      "block %" PRIu64 " points past the end of the file "
                      "(0x%" PRIx64 ")",
                      block, at);
  ret_run->length = MIN (length, vhdx->file_end - at - skip);
  ret_run->file = vhdx->file;
  ret_run->offset = at + skip;
  return true;
}

/* ---- life --------------------------------------------------------------- */

static unsigned
vhdx_probe (const uint8_t *head, size_t len, uint64_t file_size)
{
  return len >= 8 && memcmp (head, "vhdxfile", 8) == 0 ? 100 : 0;
}

static void
vhdx_close (gpointer state)
{
  Vhdx *vhdx = state;
  vp_tables_free (vhdx->tables);
  g_free (vhdx);
}

static bool
vhdx_open (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
           gpointer *ret_state, GError **error)
{
  if (flags & VP_DRIVER_WRITABLE)
    return vhdx_fail (file, VP_IMAGE_ERROR_READ_ONLY, error,
                      "Format driver 'vhdx' is read-only; convert the image "
                      "to write to it");
  Vhdx *vhdx = g_new0 (Vhdx, 1);
  vhdx->file = file;
  vhdx->tables = vp_tables_new (file, CACHE_LIMIT, true, NULL, NULL);
  if (!vhdx_load (vhdx, error)) {
    vhdx_close (vhdx);
    return false;
  }
  *ret_state = vhdx;
  return true;
}

static uint64_t
vhdx_get_size (gpointer state)
{
  return ((Vhdx *) state)->size;
}

static bool
vhdx_info (gpointer state, VpImageInfo *info, GError **error)
{
  info->cluster_size = ((Vhdx *) state)->block_size;
  return true;
}

/* Fixed disks have all their blocks from the beginning. */
static bool
vhdx_has_holes (gpointer state)
{
  return true;
}

static const VpOption options[] = {
  { NULL, NULL },
};

const VpFormat vp_format_vhdx = {
  .name = "vhdx",
  .options = options,
  .header = &vhdx_header_layout,
  .probe = vhdx_probe,
  .open = vhdx_open,
  .close = vhdx_close,
  .get_size = vhdx_get_size,
  .info = vhdx_info,
  .map = vhdx_map,
  .has_holes = vhdx_has_holes,
  .describe = vhdx_describe,
};
