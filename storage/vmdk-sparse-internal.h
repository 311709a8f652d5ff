/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-internal: what the rooms of a sparse extent share.  For
 * vmdk-sparse*.c alone.
 *
 * All numbers are little-endian, and on disk offsets count sectors.  The grain
 * directory and its redundant copy are pinned blocks of s->tables; a grain
 * table goes through there while it is in use, and its copy only while it is
 * changed:
 *
 *     data, new tables  |  grain table, directory  |  their copies
 *          order 0      |         order 1          |     order 2
 *
 * so that the two are never written at the same time, and a cut leaves the copy
 * behind. */
#pragma once

#include <inttypes.h>

#include "storage/cluster-set.h"
#include "storage/table.h"
#include "storage/vmdk-sparse.h"
#include "storage/vmdk-stream.h"

#define VMDK_SECTOR     512u
#define VMDK_MAGIC      0x564d444bu /* "KDMV" */
#define VMDK_COWD_MAGIC 0x44574f43u /* "COWD" */
#define VMDK_SE_MAGIC   UINT64_C (0xcafebabe)

#define VMDK_MAX_GRAIN  UINT64_C (0x200000) /* sectors */
#define VMDK_MAX_GTES   512u
#define VMDK_COWD_GTES  4096u

enum {
  VMDK_FLAG_NEWLINES = 1 << 0, /* the test bytes are there */
  VMDK_FLAG_REDUNDANT = 1 << 1,
  VMDK_FLAG_ZEROED_GRAIN = 1 << 2,
  VMDK_FLAG_COMPRESSED = 1 << 16,
  VMDK_FLAG_MARKERS = 1 << 17,
};

/* Entries of a grain table that are no place. */
#define VMDK_GTE_NONE 0u
#define VMDK_GTE_ZERO 1u /* where the header has the flag */

enum { VMDK_ORDER_NEW, VMDK_ORDER_MAP, VMDK_ORDER_COPY };

/* "Sparse extent header" of the Virtual Disk Format note; sectors. */
typedef struct {
  uint32_t magic, version, flags;
  uint64_t capacity, grain_size;
  uint64_t descriptor_offset, descriptor_size;
  uint32_t gtes_per_gt;
  uint64_t rgd_offset, gd_offset;
  uint64_t overhead;
  uint8_t unclean, single_end, no_end, double_end_1, double_end_2;
  uint16_t compression;
} VmdkHeader;

extern const VpLayout vmdk_header_layout;

/* "COWDisk_Header"; sectors. */
typedef struct {
  uint32_t magic, version, flags;
  uint32_t capacity, grain_size;
  uint32_t gd_offset, gd_entries;
  uint32_t free_sector;
} VmdkCowdHeader;

extern const VpLayout vmdk_cowd_layout;
#define VMDK_COWD_FREE_SECTOR 28u /* where it is in the header */

/* Sectors [start, end). */
typedef struct {
  uint32_t start, end;
} VmdkRange;

typedef struct VmdkSpace VmdkSpace; /* vmdk-sparse-space.c */

struct VmdkSparse {
  VpFile *file; /* borrowed */
  VmdkSparseFacts facts;
  VmdkHeader header; /* KDMV: of the footer, where there is one */
  bool writable, lenient;
  bool overlay;
  bool tangled;       /* tables lie over one another: nothing is written */
  bool changed;       /* some table is, since it was opened */
  uint64_t file_size; /* bytes, as last seen */
  uint64_t grain_sectors;
  uint32_t gtes;                  /* of one table */
  uint32_t n_gts;                 /* entries of the directory */
  uint64_t gd_offset, rgd_offset; /* bytes; rgd 0: none */
  VpTables *tables;
  GArray *metadata; /* of VmdkRange, sorted, none meets another */
  VmdkSpace *space; /* NULL: nobody has asked yet */
  /* Grains that are packed, and are being written: it has tables of its own,
   * and those above are not asked.  NULL: is not. */
  VmdkStream *stream;
  /* What was last learnt of the file where tables are: bytes [start, end). */
  struct {
    uint64_t start, end;
    bool data;
  } seen;
  /* seSparse: bytes */
  uint64_t se_tables_offset, se_tables_size, se_grains_offset;
};

static inline size_t
vmdk_gt_size (const VmdkSparse *s)
{
  return (size_t) s->gtes * (s->facts.is_sesparse ? 8 : 4);
}
/* In sectors: a table begins with one. */
static inline uint32_t
vmdk_gt_sectors (const VmdkSparse *s)
{
  return (uint32_t) ((vmdk_gt_size (s) + VMDK_SECTOR - 1) / VMDK_SECTOR);
}
static inline size_t
vmdk_gd_size (const VmdkSparse *s)
{
  return (size_t) s->n_gts * (s->facts.is_sesparse ? 8 : 4);
}
static inline uint64_t
vmdk_grains (const VmdkSparse *s)
{
  uint64_t capacity = s->facts.capacity / VMDK_SECTOR;
  return capacity / s->grain_sectors + (capacity % s->grain_sectors != 0);
}

/* vmdk-sparse-header.c: facts, and where the tables are, all checked. */
bool vmdk_load_header (VmdkSparse *s, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A header for an empty extent, as QEMU lays it out. */
bool vmdk_plan_header (const VmdkSparseOptions *options, VmdkHeader *ret_header,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vmdk-sparse.c */
bool vmdk_corrupt (const VmdkSparse *s, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* Does the range of sectors meet a table, or the header? */
bool vmdk_meets_metadata (const VmdkSparse *s, uint64_t start, uint64_t count);
bool vmdk_add_metadata (VmdkSparse *s, uint64_t start,
                        uint64_t count) G_GNUC_WARN_UNUSED_RESULT;
void vmdk_drop_metadata (VmdkSparse *s, uint64_t start, uint64_t count);
/* Entry n of the directory, or of its copy; borrowed. */
uint32_t vmdk_gd_get (VmdkSparse *s, bool copy, uint32_t n);
/* Does table n lie in the file, where nothing else does?  0 (none) is fine. */
bool vmdk_check_gde (VmdkSparse *s, bool copy, uint32_t n,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Table n; *ret_gt NULL without error: there is none.  Borrowed until the next
 * vp_tables_trim (). */
bool vmdk_load_gt (VmdkSparse *s, bool copy, uint32_t n, uint8_t **ret_gt,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Can a grain lie there? */
bool vmdk_check_grain (VmdkSparse *s, uint64_t grain, uint32_t sector,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
static inline bool
vmdk_is_place (const VmdkSparse *s, uint32_t entry)
{
  return entry != VMDK_GTE_NONE &&
         !(entry == VMDK_GTE_ZERO && s->facts.zeroed_grain);
}

/* vmdk-sparse-map.c */
/* Tables from n on that are all zeros, for they are missing, or holes of the
 * file; at most most. */
uint32_t vmdk_count_empty (VmdkSparse *s, bool copy, uint32_t n, uint32_t most);
bool vmdk_se_map (VmdkSparse *s, uint64_t offset, uint64_t length,
                  VpRun *ret_run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vmdk-sparse-packed.c */
/* All but length of a run that begins at offset, whose grain lies at sector. */
bool vmdk_locate_packed (VmdkSparse *s, uint64_t offset, uint32_t sector,
                         VpRun *ret_run,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* While the stream is written. */
bool vmdk_stream_run (VmdkSparse *s, uint64_t offset, uint64_t length,
                      VpRun *ret_run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vmdk-sparse-space.c: which slots are free.  A slot is as long as a grain and
 * begins at a multiple of that. */
/* Looks through all tables where nobody has yet. */
bool vmdk_load_space (VmdkSparse *s, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void vmdk_space_free (VmdkSpace *space);
/* Slots below hold metadata, as the header has it. */
uint64_t vmdk_first_slot (const VmdkSparse *s);
/* Does more than one grain lie in the slot of that sector?  Never free it. */
bool vmdk_is_shared (const VmdkSparse *s, uint32_t sector);
/* Up to wanted slots in a row (exact: all of them). */
bool vmdk_allocate (VmdkSparse *s, uint64_t wanted, bool exact,
                    uint32_t *ret_sector, uint64_t *ret_count,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing names these bytes any more. */
void vmdk_release (VmdkSparse *s, uint64_t offset, uint64_t length);

/* vmdk-sparse-link.c */
/* A grain table, and its copy; borrowed until the next vp_tables_trim (). */
typedef struct {
  uint32_t n;
  uint8_t *gt; /* NULL: there is none */
  uint64_t offset;
  uint8_t *copy; /* NULL: there is none that can be written */
  uint64_t copy_offset;
} VmdkTable;
/* Can anything be changed?  Knows what is free afterwards. */
bool vmdk_check_writable (VmdkSparse *s,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* make: where there is none. */
bool vmdk_find_table (VmdkSparse *s, uint32_t n, bool make,
                      VmdkTable *ret_table,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
uint32_t vmdk_get_entry (const VmdkTable *table, uint64_t at);
void vmdk_set_entry (VmdkSparse *s, const VmdkTable *table, uint64_t at,
                     uint32_t entry);
/* Table n, or its copy, at a place of its own; content NULL: zeros.  What was
 * named before is left where it is. */
bool vmdk_make_table (VmdkSparse *s, bool copy, uint32_t n,
                      const uint8_t *content,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vmdk-sparse-check.c, vmdk-sparse-repair.c */
typedef struct {
  VmdkSparse *s;
  VpCheckResult *result;
  bool mend_all, mend_leaks;
  VpClusterSet *used; /* slots; where all is deflated, sectors */
  GArray *odd;        /* of uint32_t: grains that lie across two slots */
} VmdkCheck;
/* How can it be wrong?  NULL: it is not. */
const char *vmdk_judge_entry (VmdkSparse *s, uint32_t entry);
/* Entry n of a directory leads nowhere: the other one's table again. */
bool vmdk_mend_directory (VmdkCheck *check, bool copy, uint32_t n,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Entries of table n that cannot be right: the table anew from its copy, where
 * that is sound, or without them. */
bool vmdk_mend_table (VmdkCheck *check, uint32_t n,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A table that names nothing, where its copy does: the copy counts, so that a
 * repair gives nothing away that is still named. */
bool vmdk_restore_table (VmdkCheck *check, uint32_t n,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A place of its own for a grain that lies where another does. */
bool vmdk_mend_double (VmdkCheck *check, uint32_t n, uint32_t at,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The copy becomes what the table is. */
bool vmdk_mend_copy (VmdkCheck *check, uint32_t n,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
