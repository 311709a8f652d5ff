/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow: what its rooms share; QEMU's old copy-on-write format.  For cow*.c
 * alone.
 *
 *     | header | bitmap | to 512 | data: one place for each guest sector |
 *
 * A bit for each sector of 512 bytes, the lowest of a byte first: 1, the data
 * area has it; 0, the backing file has it, or nobody.  A sector's place never
 * changes, so nothing is reserved and nothing is freed; only the order counts:
 * data before bits.
 *
 * The header was a C struct that nobody packed, so that there are two of it:
 *
 *            magic version backing[1024] mtime   size  sector size   length
 *     x86-64   0      4        8         1032    1040     1048        1056
 *     i386     0      4        8         1032    1036     1044        1048
 *
 * Nothing says which one; only one of them may agree with the length of the
 * file (cow-header.c).  All numbers are big-endian. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"
#include "storage/table.h"

#define COW_MAGIC    0x4f4f4f4du /* "OOOM" */
#define COW_VERSION  2u
#define COW_SECTOR   512u
#define COW_NAME_AT  8u
#define COW_NAME_LEN 1024u
#define COW_HEAD_LEN 1056u
/* 4 GiB of bitmap, and what ext4 can hold. */
#define COW_MAX_SIZE (UINT64_C (1) << 44)
/* Of bitmap at once, at a multiple of that in the file. */
#define COW_BLOCK 65536u

/* Orders of write-back (table.h): bits, then the size. */
enum { COW_ORDER_BITS = 1, COW_ORDER_SIZE };

typedef struct {
  uint32_t magic, version;
  uint32_t mtime; /* of the backing file; nobody reads it */
  uint64_t size;  /* bytes, whole sectors */
  uint32_t sector_size;
} CowHeader;

typedef struct {
  VpLayout fields;
  uint32_t len;
  uint32_t size_at;
} CowLayout;

extern const CowLayout cow_padded, cow_packed;
extern const VpOption cow_options[];

typedef struct {
  VpFile *file; /* borrowed */
  VpTables *tables;
  const CowLayout *layout;
  uint64_t size;
  char *backing_name;   /* NULL: none */
  bool expects_backing; /* one is to come */
  uint64_t data_offset;
  uint64_t file_end; /* when it was last looked at */
  /* Nobody writes: a hole in the bitmap stays one.  The last that was seen,
   * in the file. */
  bool read_only;
  uint64_t hole_start, hole_end;
} Cow;

/* ---- cow-header --------------------------------------------------------- */

bool cow_corrupt (const Cow *cow, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
unsigned cow_probe (const uint8_t *head, size_t len, uint64_t file_size);
/* Where the bitmap ends, and the data begins, of a disk of size. */
uint64_t cow_bitmap_end (const CowLayout *layout, uint64_t size);
uint64_t cow_data_offset (const CowLayout *layout, uint64_t size);
/* Of layout, size, backing_name and data_offset. */
bool cow_load_header (Cow *cow, GError **error);
bool cow_check_create (const VpCreateOptions *options, GError **error);
bool cow_create (VpFile *file, const VpCreateOptions *options, GError **error);
bool cow_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                    GError **error);
bool cow_store_size (Cow *cow, uint64_t size, GError **error);
bool cow_set_backing (gpointer state, const char *name, const char *format,
                      GError **error);
bool cow_describe (VpFile *file, GPtrArray *facts, GError **error);

/* ---- cow-bits ----------------------------------------------------------- */

/* How many sectors from first on, and before end, have the same bit.  Looks
 * at some of them only where they are very many. */
bool cow_count_bits (Cow *cow, uint64_t first, uint64_t end, bool *ret_set,
                     uint64_t *ret_count, GError **error);
bool cow_put_bits (Cow *cow, uint64_t first, uint64_t count, bool set,
                   GError **error);

/* ---- cow-check ---------------------------------------------------------- */

bool cow_check (gpointer state, VpRepair repair, const VpProgress *progress,
                VpCheckResult *result, GError **error);
