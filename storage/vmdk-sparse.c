/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse: an extent opened: its directories, and where nothing but
 * metadata may lie. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"

#define TABLES_LIMIT ((size_t) 4 << 20)
/* What lies in more places than that was not made to be read. */
#define MAX_RANGES ((guint) 1 << 22)

bool
vmdk_corrupt (const VmdkSparse *s, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               s->file->name, what);
  return false;
}

/* ---- directories ---------------------------------------------------- */

static bool
load_directory (VmdkSparse *s, uint64_t offset, GError **error)
{
  size_t size = vmdk_gd_size (s);
  if (offset == 0 || size == 0)
    return true;
  if (!vp_tables_load (s->tables, offset, size, error))
    return false;
  vp_tables_pin (s->tables, offset);
  return true;
}

static uint8_t *
directory (VmdkSparse *s, bool copy)
{
  uint64_t offset = copy ? s->rgd_offset : s->gd_offset;
  return vp_tables_load (s->tables, offset, vmdk_gd_size (s), NULL);
}

uint32_t
vmdk_gd_get (VmdkSparse *s, bool copy, uint32_t n)
{
  return vp_le32_get (directory (s, copy) + 4 * (size_t) n);
}

/* ---- where metadata lies --------------------------------------------------
 */

/* The first range that ends behind sector. */
static guint
find_range (const VmdkSparse *s, uint64_t sector)
{
  guint low = 0, high = s->metadata->len;
  while (low < high) {
    guint middle = low + (high - low) / 2;
    if (g_array_index (s->metadata, VmdkRange, middle).end <= sector)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool
vmdk_meets_metadata (const VmdkSparse *s, uint64_t start, uint64_t count)
{
  guint at = find_range (s, start);
  return at < s->metadata->len &&
         g_array_index (s->metadata, VmdkRange, at).start < start + count;
}

/* False: something lies there already. */
bool
vmdk_add_metadata (VmdkSparse *s, uint64_t start, uint64_t count)
{
  if (count == 0)
    return true;
  if (start + count > UINT32_MAX || vmdk_meets_metadata (s, start, count))
    return false;
  guint at = find_range (s, start);
  VmdkRange *before =
      at > 0 ? &g_array_index (s->metadata, VmdkRange, at - 1) : NULL;
  VmdkRange range = { (uint32_t) start, (uint32_t) (start + count) };
  if (before && before->end == range.start)
    before->end = range.end;
  else
    g_array_insert_val (s->metadata, at, range);
  return true;
}

/* A whole stretch that was added as such. */
void
vmdk_drop_metadata (VmdkSparse *s, uint64_t start, uint64_t count)
{
  guint at = find_range (s, start);
  g_return_if_fail (at < s->metadata->len && count > 0);
  VmdkRange range = g_array_index (s->metadata, VmdkRange, at);
  g_return_if_fail (range.start <= start && start + count <= range.end);
  VmdkRange tail = { (uint32_t) (start + count), range.end };
  g_array_remove_index (s->metadata, at);
  if (tail.start < tail.end)
    g_array_insert_val (s->metadata, at, tail);
  range.end = (uint32_t) start;
  if (range.start < range.end)
    g_array_insert_val (s->metadata, at, range);
}

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const VmdkRange *left = a, *right = b;
  return left->start < right->start ? -1 : left->start > right->start;
}

/* Adds at the end; sort_ranges () comes later. */
static bool
push_range (VmdkSparse *s, uint64_t start, uint64_t count, GError **error)
{
  guint len = s->metadata->len;
  if (count == 0 || start > UINT32_MAX - count)
    return true; /* not in the file; what names it is refused when it is used */
  VmdkRange *last =
      len > 0 ? &g_array_index (s->metadata, VmdkRange, len - 1) : NULL;
  VmdkRange range = { (uint32_t) start, (uint32_t) (start + count) };
  if (last && last->end == range.start)
    last->end = range.end;
  else if (len < MAX_RANGES)
    g_array_append_val (s->metadata, range);
  else
    return vmdk_corrupt (s, error, "its tables lie in too many places");
  return true;
}

static void
sort_ranges (VmdkSparse *s)
{
  GArray *ranges = s->metadata;
  guint to = 0;
  for (guint i = 1; i < ranges->len; i++)
    if (g_array_index (ranges, VmdkRange, i).start <
        g_array_index (ranges, VmdkRange, i - 1).start) {
      g_array_sort (ranges, compare_ranges);
      break;
    }
  for (guint i = 1; i < ranges->len; i++) {
    VmdkRange *last = &g_array_index (ranges, VmdkRange, to);
    VmdkRange range = g_array_index (ranges, VmdkRange, i);
    if (range.start < last->end)
      s->tangled = true;
    if (range.start <= last->end)
      last->end = MAX (last->end, range.end);
    else
      g_array_index (ranges, VmdkRange, ++to) = range;
  }
  if (ranges->len > 0)
    g_array_set_size (ranges, to + 1);
}

static bool
push_directory (VmdkSparse *s, bool copy, GError **error)
{
  uint64_t offset = copy ? s->rgd_offset : s->gd_offset;
  uint64_t size = vp_round_up (vmdk_gd_size (s), VMDK_SECTOR);
  if (!push_range (s, offset / VMDK_SECTOR, size / VMDK_SECTOR, error))
    return false;
  if (size == 0 || s->facts.is_sesparse)
    return true;
  const uint8_t *entries = directory (s, copy);
  for (uint32_t n = 0; n < s->n_gts; n++) {
    uint32_t sector = vp_le32_get (entries + 4 * (size_t) n);
    if (sector != 0 && !push_range (s, sector, vmdk_gt_sectors (s), error))
      return false;
  }
  return true;
}

static bool
note_metadata (VmdkSparse *s, GError **error)
{
  const VmdkSparseFacts *facts = &s->facts;
  s->metadata = g_array_new (false, false, sizeof (VmdkRange));
  if (!push_range (s, 0, facts->is_cowd ? 4 : 1, error) ||
      !push_range (s, facts->descriptor_offset / VMDK_SECTOR,
                   facts->descriptor_size / VMDK_SECTOR, error) ||
      (s->rgd_offset > 0 && !push_directory (s, true, error)) ||
      !push_directory (s, false, error))
    return false;
  sort_ranges (s);
  return true;
}

/* ---- tables, grains -------------------------------------------------------
 */

bool
vmdk_check_gde (VmdkSparse *s, bool copy, uint32_t n, GError **error)
{
  uint64_t sector = vmdk_gd_get (s, copy, n);
  uint64_t offset = sector * VMDK_SECTOR;
  if (sector == 0)
    return true;
  if (!vp_range_ok (offset, vmdk_gt_size (s), s->file_size) &&
      !vp_file_get_size (s->file, &s->file_size, error))
    return false;
  if (vp_range_ok (offset, vmdk_gt_size (s), s->file_size))
    return true;
  return vmdk_corrupt (s, error,
                       "%sgrain table %" PRIu32
                       " lies outside of the file (0x%" G_GINT64_MODIFIER "x)",
                       copy ? "redundant " : "", n, offset);
}

bool
vmdk_load_gt (VmdkSparse *s, bool copy, uint32_t n, uint8_t **ret_gt,
              GError **error)
{
  uint64_t offset = (uint64_t) vmdk_gd_get (s, copy, n) * VMDK_SECTOR;
  *ret_gt = NULL;
  if (offset == 0)
    return true;
  if (!vmdk_check_gde (s, copy, n, error))
    return false;
  *ret_gt = vp_tables_load (s->tables, offset, vmdk_gt_size (s), error);
  return *ret_gt != NULL;
}

bool
vmdk_check_grain (VmdkSparse *s, uint64_t grain, uint32_t sector,
                  GError **error)
{
  uint64_t offset = (uint64_t) sector * VMDK_SECTOR;
  uint64_t count = s->facts.compressed ? 1 : s->grain_sectors;
  if (vmdk_meets_metadata (s, sector, count))
    return vmdk_corrupt (s, error,
                         "grain %" PRIu64 " lies upon metadata "
                         "(0x%" G_GINT64_MODIFIER "x)",
                         grain, offset);
  if (offset >= s->file_size &&
      !vp_file_get_size (s->file, &s->file_size, error))
    return false;
  if (offset < s->file_size)
    return true;
  return vmdk_corrupt (s, error,
                       "grain %" PRIu64 " lies past the end of the file "
                       "(0x%" G_GINT64_MODIFIER "x)",
                       grain, offset);
}

/* ---- open, close ----------------------------------------------------------
 */

static void
release (gpointer user_data, uint64_t offset, uint64_t length)
{
  vmdk_release (user_data, offset, length);
}

bool
vmdk_sparse_open (VpFile *file, VpDriverFlags flags, VmdkSparse **ret_sparse,
                  GError **error)
{
  g_autoptr (VmdkSparse) s = g_new0 (VmdkSparse, 1);
  s->file = file;
  s->writable = flags & VP_DRIVER_WRITABLE;
  s->lenient = flags & VP_DRIVER_CHECK;
  if (!vmdk_load_header (s, error))
    return false;
  s->tables = vp_tables_new (file, TABLES_LIMIT, !(flags & VP_DRIVER_UNORDERED),
                             release, s);
  if (!load_directory (s, s->gd_offset, error) ||
      !load_directory (s, s->rgd_offset, error) || !note_metadata (s, error))
    return false;
  if (s->facts.compressed && s->writable && !s->lenient &&
      !vmdk_stream_open (file, flags, &s->stream, error))
    return false;
  *ret_sparse = g_steal_pointer (&s);
  return true;
}

void
vmdk_sparse_close (VmdkSparse *s)
{
  if (!s)
    return;
  vp_tables_free (s->tables);
  vmdk_space_free (s->space);
  vmdk_stream_free (s->stream);
  if (s->metadata)
    g_array_unref (s->metadata);
  g_free (s);
}

const VmdkSparseFacts *
vmdk_sparse_facts (const VmdkSparse *s)
{
  return &s->facts;
}

void
vmdk_sparse_set_overlay (VmdkSparse *s, bool is_overlay)
{
  s->overlay = is_overlay;
}

bool
vmdk_sparse_flush (VmdkSparse *s, GError **error)
{
  return s->stream ? vmdk_stream_flush (s->stream, error)
                   : vp_tables_flush (s->tables, error);
}
