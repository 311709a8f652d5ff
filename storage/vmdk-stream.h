/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-stream: what is of its own in a streamOptimized extent (VMware's
 * "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents"):
 * packed grains behind markers, a grain directory that is found through the
 * footer, and the writer, that goes forward only.
 *
 * For vmdk-sparse, which has all that this kind shares with the others.  All
 * offsets and lengths are bytes. */
#pragma once

#include "storage/format.h"

#define VMDK_STREAM_SECTOR 512u
/* What a header says of a directory that the footer has. */
#define VMDK_STREAM_AT_END UINT64_MAX
/* Of what is written here. */
#define VMDK_STREAM_GRAIN ((uint64_t) 64 << 10)

/* ---- reading ------------------------------------------------------------ */

/* Loads the footer of a file whose header, VMDK_STREAM_SECTOR bytes, has
 * VMDK_STREAM_AT_END as its gdOffset; the footer is a header with the right
 * one, and holds from then on.  VP_IMAGE_ERROR_CORRUPT: there is none, or the
 * two do not agree. */
bool vmdk_stream_load_footer (VpFile *file, const uint8_t *header,
                              uint8_t *ret_footer,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The packed grain at offset in file, whose first guest byte is at guest and
 * which unpacks to unit bytes (the last one: to what is left of the disk).
 * Looks at its marker, where the file has_markers, and believes nothing of
 * it.  ret_run: all but length and skip. */
bool vmdk_stream_map (VpFile *file, bool has_markers, uint64_t offset,
                      uint64_t guest, size_t unit, VpRun *ret_run,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* ---- writing ------------------------------------------------------------ */

/* A valid extent of no grains in an empty file: with capacity, a multiple of
 * 512, and room for descriptor_size bytes at ret_descriptor_offset (both 0:
 * none).  VP_IMAGE_ERROR_UNSUPPORTED on a device, where the footer would not
 * be found. */
bool vmdk_stream_create (VpFile *file, uint64_t capacity,
                         uint64_t descriptor_size,
                         uint64_t *ret_descriptor_offset,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The writer.  file is borrowed.  Between the first grain and settle the file
 * has no footer and is nobody's image. */
typedef struct VmdkStream VmdkStream;

/* For an extent that was made by vmdk_stream_create () and holds nothing yet.
 * VP_IMAGE_ERROR_READ_ONLY for any other: a stream is written once. */
bool vmdk_stream_open (VpFile *file, VpDriverFlags flags,
                       VmdkStream **ret_stream,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
void vmdk_stream_free (VmdkStream *stream);
/* The rows of VpFormat with these names.  Units come whole, once and in rising
 * order, and are linked in any. */
void vmdk_stream_packing (const VmdkStream *stream, VpPacking *ret_packing);
bool vmdk_stream_reserve_packed (VmdkStream *stream, uint64_t offset,
                                 uint64_t len, VpPlace *ret_place,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vmdk_stream_link_packed (VmdkStream *stream, const VpPlace *place,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The stream has a gap from then on, and cannot be settled. */
void vmdk_stream_unreserve (VmdkStream *stream);
/* What has not been written yet is zero; nothing is made zero again. */
bool vmdk_stream_zero (VmdkStream *stream, uint64_t offset, uint64_t length,
                       uint64_t *ret_done,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Where the packed grain that holds guest byte offset lies; 0: not stored.
 * For those that read while they write. */
bool vmdk_stream_find (VmdkStream *stream, uint64_t offset,
                       uint64_t *ret_offset,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing to do before settle: half a stream is of no use to anybody. */
bool vmdk_stream_flush (VmdkStream *stream,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Directory, footer and end.  Nothing can be written afterwards. */
bool vmdk_stream_settle (VmdkStream *stream,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
