/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse: one sparse extent of a VMDK image, in one file.
 *
 *     hosted (KDMV 1-3)   header, embedded descriptor, grain directory (twice),
 *                         grain tables (twice), grains; plain, or deflated each
 *                         behind its marker
 *     ESX (COWD)          header, grain directory, tables where they are wanted
 *     seSparse            64-bit tables, read only
 *
 *     header -> grain directory -> grain table -> grain
 *
 * It answers where the bytes of one extent lie, and knows neither of the text
 * that may lie beside its tables nor of other extents.  Offsets are those of
 * the extent, whose rows are those of VpFormat (format.h).  What is deflated is
 * written once (vmdk-stream.h), and not opened for writing afterwards. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"

/* The grain directory is at the end, and the footer says where. */
#define VMDK_GD_AT_END UINT64_MAX

typedef struct VmdkSparse VmdkSparse;

typedef struct {
  uint64_t capacity, grain_size; /* bytes */
  unsigned version;
  bool is_cowd, is_sesparse;
  bool compressed;   /* each grain is deflated */
  bool has_markers;  /* ... and lies behind a marker */
  bool zeroed_grain; /* grain table entry 1 says zeros */
  /* Tables are named by a footer; it was read, and agrees with the header. */
  bool needs_footer;
  uint64_t descriptor_offset, descriptor_size; /* bytes; 0: none embedded */
} VmdkSparseFacts;

/* Is there the magic of any of them? */
bool vmdk_sparse_is (const uint8_t *head, size_t len);

/* file is borrowed.  A capacity of 0 with a descriptor: the extents are others,
 * which that one names. */
bool vmdk_sparse_open (VpFile *file, VpDriverFlags flags,
                       VmdkSparse **ret_sparse,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Frees; what is not flushed is lost. */
void vmdk_sparse_close (VmdkSparse *sparse);
const VmdkSparseFacts *vmdk_sparse_facts (const VmdkSparse *sparse);
/* What is not stored here is sought below, so that zeros must be stored; false
 * after open.  Set it for a parent that is there, or is to come. */
void vmdk_sparse_set_overlay (VmdkSparse *sparse, bool is_overlay);

bool vmdk_sparse_map (VmdkSparse *sparse, uint64_t offset, uint64_t length,
                      VpRun *ret_run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_reserve (VmdkSparse *sparse, uint64_t offset, uint64_t length,
                          VpPlace *ret_place,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_link (VmdkSparse *sparse, const VpPlace *place,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
void vmdk_sparse_unreserve (VmdkSparse *sparse, const VpPlace *place);
/* Packed grains, of an extent that holds nothing yet; see vmdk-stream.h for
 * what the writer asks.  False: this one has none. */
bool vmdk_sparse_packing (const VmdkSparse *sparse, VpPacking *ret_packing);
bool vmdk_sparse_reserve_packed (VmdkSparse *sparse, uint64_t offset,
                                 uint64_t len, VpPlace *ret_place,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_link_packed (VmdkSparse *sparse, const VpPlace *place,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Ends what was written packed; before it is closed. */
bool vmdk_sparse_settle (VmdkSparse *sparse,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_zero (VmdkSparse *sparse, uint64_t offset, uint64_t length,
                       bool unmap, uint64_t *ret_done,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_discard (VmdkSparse *sparse, uint64_t offset, uint64_t length,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_sparse_flush (VmdkSparse *sparse,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing is stored any more: all of it is sought below. */
bool vmdk_sparse_empty (VmdkSparse *sparse,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* What is stored behind size is not the disk's, and must not come to light as
 * it grows. */
bool vmdk_sparse_forget_behind (VmdkSparse *sparse, uint64_t size,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Makes room in the tables for size without changing the capacity yet. */
bool vmdk_sparse_extend (VmdkSparse *sparse, uint64_t size,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Larger only.  Lasts when it returns, and a cut leaves the old capacity or the
 * new one; a descriptor is left to the caller. */
bool vmdk_sparse_resize (VmdkSparse *sparse, uint64_t size,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Adds to what is in result. */
bool vmdk_sparse_check (VmdkSparse *sparse, VpRepair repair,
                        const VpProgress *progress, VpCheckResult *result,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  uint64_t capacity, grain_size; /* bytes; grain_size 0: 64 KiB */
  /* Bytes kept free for the text at sector 1; 0: as many as QEMU keeps. */
  uint64_t descriptor_size;
  bool zeroed_grain, compressed;
} VmdkSparseOptions;

/* An empty one, into an empty file or onto a device; not flushed. */
bool vmdk_sparse_create (VpFile *file, const VmdkSparseOptions *options,
                         uint64_t *ret_descriptor_offset,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Bytes that an empty one takes up. */
bool vmdk_sparse_overhead (const VmdkSparseOptions *options,
                           uint64_t *ret_overhead, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VmdkSparse, vmdk_sparse_close)
