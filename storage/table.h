/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* table: a driver's metadata in memory, written back in order.
 *
 * Blocks are cached by their offset in the file.  A dirty block bears an
 * order; write-back writes all of order 0, flushes, all of order 1, flushes,
 * and so on, so that whatever is on disk only names what was there before:
 *
 *     data, refcounts, new tables  |  reftable  |  L2, L1, header
 *              order 0             |  order 1   |     order 2
 *
 * A block that was never on disk goes out with order 0 the first time, for
 * nothing can name it yet.
 *
 * Quarantine: what an update frees is told to vp_tables_free_later () and
 * comes back through the release callback only after everything above is on
 * disk; until then nobody may use it again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/file.h"

#define VP_TABLE_ORDERS 3

typedef struct VpTables VpTables;
typedef void (*VpTablesRelease) (gpointer user_data, uint64_t offset,
                                 uint64_t length);

/* file is borrowed.  limit: bytes of cached blocks, kept by _trim (). */
VpTables *vp_tables_new (VpFile *file, size_t limit, bool ordered,
                         VpTablesRelease release, gpointer user_data);
void vp_tables_free (VpTables *tables);

/* The block at offset, read where it is not there yet (zeros past the end of
 * the file).  Borrowed until the next _trim (), _forget () or _free (). */
uint8_t *vp_tables_load (VpTables *tables, uint64_t offset, size_t size,
                         GError **error);
/* A block that is new on disk, all zeros and all dirty. */
uint8_t *vp_tables_add (VpTables *tables, uint64_t offset, size_t size);
/* Guest data lies in another file (borrowed), which is flushed before
 * anything names what is in it. */
void vp_tables_set_data (VpTables *tables, VpFile *data);
/* A block that stays until it is forgotten: L1, reftable, header. */
void vp_tables_pin (VpTables *tables, uint64_t offset);
/* Bytes [at, at + len) of the block at offset were changed. */
void vp_tables_dirty (VpTables *tables, uint64_t offset, size_t at, size_t len,
                      unsigned order);
void vp_tables_forget (VpTables *tables, uint64_t offset);
/* Forgets all that is clean and not pinned: somebody is about to change the
 * file behind our back. */
void vp_tables_drop (VpTables *tables);
void vp_tables_free_later (VpTables *tables, uint64_t offset, uint64_t length);
bool vp_tables_is_dirty (VpTables *tables);

/* Writes back in order and empties the quarantine; on return all of it
 * lasts, but for what the release callback changed. */
bool vp_tables_flush (VpTables *tables,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same, but for changed blocks of order 0 that were on disk before: these
 * wait for the next of the others, and the caller has said on disk that they
 * are behind.  (Lazy refcounts.) */
bool vp_tables_flush_but_late (VpTables *tables,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_tables_has_late (VpTables *tables);
/* Between two driver verbs: holds the limit, writing back where need be. */
bool vp_tables_trim (VpTables *tables,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpTables, vp_tables_free)
