/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bitmap: which parts of a disk have changed: a bit for each grain of a power
 * of two bytes.  In memory only, in pages that are made when a bit in them is
 * first set.
 *
 * Bytes: bit n is bit n % 8 of byte n / 8, as qcow2 stores them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define VP_BITMAP_MIN_GRANULARITY (UINT64_C (1) << 9)
#define VP_BITMAP_MAX_GRANULARITY (UINT64_C (1) << 31)
#define VP_BITMAP_MAX_BITS        (UINT64_C (1) << 32)

typedef struct VpBitmap VpBitmap;

/* size: of the disk, bytes.  NULL: more than VP_BITMAP_MAX_BITS. */
VpBitmap *vp_bitmap_new (uint64_t size, uint64_t granularity);
void vp_bitmap_free (VpBitmap *bitmap);
uint64_t vp_bitmap_get_granularity (const VpBitmap *bitmap);
/* Bytes of all bits. */
uint64_t vp_bitmap_get_len (const VpBitmap *bitmap);
/* Bytes of memory that the bits take. */
size_t vp_bitmap_get_used (const VpBitmap *bitmap);

/* Of the disk, bytes; what lies past its end is left out. */
void vp_bitmap_set (VpBitmap *bitmap, uint64_t offset, uint64_t length);
bool vp_bitmap_is_set (const VpBitmap *bitmap, uint64_t offset);
void vp_bitmap_clear (VpBitmap *bitmap);
/* The first range of changed bytes from offset on; false: no more. */
bool vp_bitmap_next (const VpBitmap *bitmap, uint64_t offset,
                     uint64_t *ret_offset, uint64_t *ret_length);
/* Sets what is set in source, whatever its granularity. */
void vp_bitmap_merge (VpBitmap *bitmap, const VpBitmap *source);
/* New bits are clear.  False: too many bits. */
bool vp_bitmap_resize (VpBitmap *bitmap, uint64_t size);

/* Bits as bytes; past the last one: zeros, or not looked at. */
void vp_bitmap_store (const VpBitmap *bitmap, uint64_t at, uint8_t *bytes,
                      size_t len);
void vp_bitmap_load (VpBitmap *bitmap, uint64_t at, const uint8_t *bytes,
                     size_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpBitmap, vp_bitmap_free)
