/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vhdx: Hyper-V's format; read, never written.  For vhdx*.c alone.
 *
 *     0       "vhdxfile"
 *     64 KiB  header      128 KiB  header       the newer sound one holds
 *     192 KiB regions     256 KiB  regions      the first sound one holds
 *     1 MiB.. log, metadata, BAT, blocks: where header and regions say
 *
 * All numbers are little-endian, checksums are CRC-32C.  The BAT has 8 bytes
 * for each block, and after every so many of them one for a bitmap, which only
 * images with a parent have. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"
#include "storage/table.h"

#define VHDX_MIB        (UINT64_C (1) << 20)
#define VHDX_MAX_SIZE   (UINT64_C (64) << 40)
#define VHDX_HEADER_LEN 4096u
#define VHDX_LOG_SECTOR 4096u
#define VHDX_GUID_LEN   16u
#define VHDX_BAT_ENTRY  8u

typedef struct {
  uint32_t signature, checksum;
  uint64_t sequence;
  uint16_t log_version, version;
  uint32_t log_length;
  uint64_t log_offset;
} VhdxHeader;

extern const VpLayout vhdx_header_layout;

typedef struct {
  uint64_t offset, length; /* length 0: is not there */
} VhdxRegion;

typedef struct {
  VpFile *file; /* borrowed */
  VpTables *tables;
  VhdxHeader header;
  uint64_t header_offset;
  uint8_t log_guid[VHDX_GUID_LEN];
  VhdxRegion bat, metadata;
  uint64_t size, block_size;
  uint64_t chunk_ratio; /* blocks between two bitmaps */
  uint64_t file_end;
} Vhdx;

bool vhdx_fail (VpFile *file, int code, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* vhdx-header.c: all that is read to open one.  vhdx->file is set. */
bool vhdx_load (Vhdx *vhdx, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vhdx_describe (VpFile *file, GPtrArray *facts, GError **error);
