/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* table: the cache, the order, the quarantine.
 *
 * Write-back writes the changed 512-byte sectors of a block only: entries are
 * 8 bytes at most and never cross a sector, so a torn write leaves each of
 * them old or new. */
#include "config.h"

#include "storage/table.h"

#include "storage/error.h"
#include "storage/layout.h"

#define SECTOR ((size_t) 512)

typedef struct {
  uint64_t offset;
  size_t size;
  uint8_t *bytes;
  size_t dirty_from, dirty_to; /* equal: clean */
  unsigned order;
  bool fresh; /* nothing on disk can name it yet */
  bool pinned;
  uint64_t used_at;
} Block;

typedef struct {
  uint64_t offset, length;
} Range;

struct VpTables {
  VpFile *file;
  VpFile *data; /* NULL: in file */
  size_t limit;
  bool ordered;
  VpTablesRelease release;
  gpointer user_data;
  GHashTable *blocks; /* &Block.offset -> Block */
  size_t total;       /* bytes of unpinned blocks */
  size_t n_dirty;
  uint64_t clock;
  GArray *quarantine; /* of Range */
};

static bool
flush_files (VpTables *tables, GError **error)
{
  return (!tables->data || vp_file_flush (tables->data, error)) &&
         vp_file_flush (tables->file, error);
}

static void
block_free (gpointer data)
{
  Block *block = data;
  g_free (block->bytes);
  g_free (block);
}

VpTables *
vp_tables_new (VpFile *file, size_t limit, bool ordered,
               VpTablesRelease release, gpointer user_data)
{
  VpTables *tables = g_new0 (VpTables, 1);
  tables->file = file;
  tables->limit = limit;
  tables->ordered = ordered;
  tables->release = release;
  tables->user_data = user_data;
  tables->blocks =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, block_free);
  tables->quarantine = g_array_new (false, false, sizeof (Range));
  return tables;
}

void
vp_tables_set_data (VpTables *tables, VpFile *data)
{
  tables->data = data;
}

void
vp_tables_free (VpTables *tables)
{
  if (!tables)
    return;
  g_hash_table_unref (tables->blocks);
  g_array_unref (tables->quarantine);
  g_free (tables);
}

static Block *
find (VpTables *tables, uint64_t offset)
{
  Block *block = g_hash_table_lookup (tables->blocks, &offset);
  if (block)
    block->used_at = ++tables->clock;
  return block;
}

static void
insert (VpTables *tables, Block *block)
{
  block->used_at = ++tables->clock;
  tables->total += block->size;
  g_hash_table_replace (tables->blocks, &block->offset, block);
}

uint8_t *
vp_tables_load (VpTables *tables, uint64_t offset, size_t size, GError **error)
{
  Block *block = find (tables, offset);
  if (block && block->size == size)
    return block->bytes;
  if (block && (block->pinned || block->dirty_from != block->dirty_to)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "%s: two tables share one place (0x%" G_GINT64_MODIFIER "x)",
                 tables->file->name, offset);
    return NULL;
  }
  vp_tables_forget (tables, offset);

  g_autofree uint8_t *bytes = g_try_malloc (size);
  if (!bytes) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                 "%s: no memory for a table of %" G_GSIZE_FORMAT " bytes",
                 tables->file->name, size);
    return NULL;
  }
  if (!vp_file_read (tables->file, offset, bytes, size, error))
    return NULL;
  block = g_new0 (Block, 1);
  block->offset = offset;
  block->size = size;
  block->bytes = g_steal_pointer (&bytes);
  insert (tables, block);
  return block->bytes;
}

uint8_t *
vp_tables_add (VpTables *tables, uint64_t offset, size_t size)
{
  vp_tables_forget (tables, offset);
  Block *block = g_new0 (Block, 1);
  block->offset = offset;
  block->size = size;
  block->bytes = g_malloc0 (size);
  block->dirty_to = size;
  block->fresh = true;
  tables->n_dirty++;
  insert (tables, block);
  return block->bytes;
}

void
vp_tables_pin (VpTables *tables, uint64_t offset)
{
  Block *block = find (tables, offset);
  g_return_if_fail (block && !block->pinned);
  block->pinned = true;
  tables->total -= block->size;
}

void
vp_tables_dirty (VpTables *tables, uint64_t offset, size_t at, size_t len,
                 unsigned order)
{
  Block *block = find (tables, offset);
  g_return_if_fail (block && vp_range_ok (at, len, block->size));
  size_t from = at / SECTOR * SECTOR;
  size_t to = MIN (block->size, (at + len + SECTOR - 1) / SECTOR * SECTOR);
  if (block->dirty_from == block->dirty_to) {
    block->dirty_from = from;
    block->dirty_to = to;
    tables->n_dirty++;
  } else {
    block->dirty_from = MIN (block->dirty_from, from);
    block->dirty_to = MAX (block->dirty_to, to);
  }
  block->order = block->fresh ? 0 : order;
}

static void
set_clean (VpTables *tables, Block *block)
{
  if (block->dirty_from == block->dirty_to)
    return;
  block->dirty_from = block->dirty_to = 0;
  tables->n_dirty--;
}

void
vp_tables_forget (VpTables *tables, uint64_t offset)
{
  Block *block = g_hash_table_lookup (tables->blocks, &offset);
  if (!block)
    return;
  set_clean (tables, block);
  if (!block->pinned)
    tables->total -= block->size;
  g_hash_table_remove (tables->blocks, &offset);
}

void
vp_tables_free_later (VpTables *tables, uint64_t offset, uint64_t length)
{
  Range range = { offset, length };
  if (tables->quarantine->len > 0) {
    Range *last =
        &g_array_index (tables->quarantine, Range, tables->quarantine->len - 1);
    if (last->offset + last->length == offset) {
      last->length += length;
      return;
    }
  }
  g_array_append_val (tables->quarantine, range);
}

bool
vp_tables_is_dirty (VpTables *tables)
{
  return tables->n_dirty > 0 || tables->quarantine->len > 0;
}

/* ---- write-back --------------------------------------------------------- */

static int
compare_offset (gconstpointer a, gconstpointer b)
{
  const Block *left = *(Block *const *) a, *right = *(Block *const *) b;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* On disk as it was before. */
static bool
is_late (const Block *block)
{
  return block->dirty_from != block->dirty_to && block->order == 0 &&
         !block->fresh;
}

bool
vp_tables_has_late (VpTables *tables)
{
  GHashTableIter iter;
  gpointer value;
  g_hash_table_iter_init (&iter, tables->blocks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (is_late (value))
      return true;
  return false;
}

static GPtrArray *
collect_dirty (VpTables *tables, unsigned order, bool with_late)
{
  GPtrArray *found = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer value;
  g_hash_table_iter_init (&iter, tables->blocks);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    Block *block = value;
    if (block->dirty_from != block->dirty_to && block->order == order &&
        (with_late || !is_late (block)))
      g_ptr_array_add (found, block);
  }
  g_ptr_array_sort (found, compare_offset);
  return found;
}

static bool
write_block (VpTables *tables, Block *block, GError **error)
{
  if (!vp_file_write (tables->file, block->offset + block->dirty_from,
                      block->bytes + block->dirty_from,
                      block->dirty_to - block->dirty_from, error))
    return false;
  set_clean (tables, block);
  block->fresh = false;
  return true;
}

static bool
write_all (VpTables *tables, bool barriers, bool with_late, bool *ret_flushed,
           GError **error)
{
  bool flushed = false;
  for (unsigned order = 0; order < VP_TABLE_ORDERS && tables->n_dirty > 0;
       order++) {
    g_autoptr (GPtrArray) blocks = collect_dirty (tables, order, with_late);
    if (blocks->len == 0)
      continue;
    /* Guest data counts as order 0, and nobody told us whether there is
     * any. */
    if (order > 0 && barriers && !flushed && !flush_files (tables, error))
      return false;
    for (guint i = 0; i < blocks->len; i++)
      if (!write_block (tables, g_ptr_array_index (blocks, i), error))
        return false;
    flushed = false;
  }
  *ret_flushed = flushed;
  return true;
}

static void
empty_quarantine (VpTables *tables)
{
  if (tables->quarantine->len == 0)
    return;
  g_autoptr (GArray) ranges = tables->quarantine;
  tables->quarantine = g_array_new (false, false, sizeof (Range));
  for (guint i = 0; i < ranges->len; i++) {
    const Range *range = &g_array_index (ranges, Range, i);
    tables->release (tables->user_data, range->offset, range->length);
  }
}

static bool
write_back (VpTables *tables, bool last, bool with_late, GError **error)
{
  bool flushed = false;
  if (!write_all (tables, tables->ordered, with_late, &flushed, error))
    return false;
  if ((last || tables->ordered) && !flushed && !flush_files (tables, error))
    return false;
  empty_quarantine (tables);
  return true;
}

bool
vp_tables_flush (VpTables *tables, GError **error)
{
  return write_back (tables, true, true, error);
}

bool
vp_tables_flush_but_late (VpTables *tables, GError **error)
{
  return write_back (tables, true, false, error);
}

static int
compare_age (gconstpointer a, gconstpointer b)
{
  const Block *left = *(Block *const *) a, *right = *(Block *const *) b;
  return left->used_at < right->used_at ? -1 : left->used_at > right->used_at;
}

/* Drops the clean blocks that were used longest ago. */
static void
drop_old (VpTables *tables, size_t target)
{
  g_autoptr (GPtrArray) clean = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer value;
  g_hash_table_iter_init (&iter, tables->blocks);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    Block *block = value;
    if (!block->pinned && block->dirty_from == block->dirty_to)
      g_ptr_array_add (clean, block);
  }
  g_ptr_array_sort (clean, compare_age);
  for (guint i = 0; i < clean->len && tables->total > target; i++) {
    Block *block = g_ptr_array_index (clean, i);
    vp_tables_forget (tables, block->offset);
  }
}

void
vp_tables_drop (VpTables *tables)
{
  drop_old (tables, 0);
}

bool
vp_tables_trim (VpTables *tables, GError **error)
{
  if (tables->total <= tables->limit)
    return true;
  drop_old (tables, tables->limit / 4 * 3);
  if (tables->total <= tables->limit)
    return true;
  if (!write_back (tables, false, true, error))
    return false;
  drop_old (tables, tables->limit / 4 * 3);
  return true;
}
