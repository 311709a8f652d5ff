/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-bitmap: persistent bitmaps.  For qcow2*.c alone; the rows are those of
 * format.h. */
#pragma once

#include "storage/bitmap.h"
#include "storage/qcow2.h"

/* At open.  A directory that makes no sense is an error where the image is to
 * be written, else there are no bitmaps. */
bool qcow2_load_bitmaps (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void qcow2_bitmap_free (gpointer bitmap);
/* Adds VpBitmapFacts. */
void qcow2_list_bitmaps (Qcow2 *q, GPtrArray *facts);
/* Before guest bytes change: notes it in every bitmap that records. */
bool qcow2_record (Qcow2 *q, uint64_t offset, uint64_t length,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Before the disk's size changes. */
bool qcow2_resize_bitmaps (Qcow2 *q, uint64_t size,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

bool qcow2_bitmap_add (gpointer state, const char *name, uint64_t granularity,
                       bool enabled, GError **error);
bool qcow2_bitmap_remove (gpointer state, const char *name, GError **error);
bool qcow2_bitmap_set_enabled (gpointer state, const char *name, bool enabled,
                               GError **error);
VpBitmap *qcow2_bitmap_bits (gpointer state, const char *name, bool change,
                             GError **error);
bool qcow2_store_bitmaps (gpointer state, GError **error);
