/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow: what the rooms of the format's first version share.  For qcow.c and
 * qcow-*.c alone; qcow2.h is another format.
 *
 *     header (48) | name | L1 | ... tables, clusters, packed bytes ...
 *     header -> L1 -> L2 -> data            guest address to place in file
 *
 * All numbers are big-endian.  The header does not say how long L1 is: as long
 * as the disk's size wants it.  Nothing in the file says what is in use; who
 * is about to change it counts first (qcow-space.c).  L1 and the L2 tables in
 * use are blocks of q->tables; L1 and the header are pinned there. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/cluster-counts.h"
#include "storage/format.h"
#include "storage/table.h"

#define QCOW_MAGIC       0x514649fbu
#define QCOW_HEADER_LEN  48u
#define QCOW_MIN_CLUSTER 9u /* bits */
#define QCOW_MAX_CLUSTER 16u
#define QCOW_MIN_L2      6u
#define QCOW_MAX_L2      13u
#define QCOW_COMPRESSED  (UINT64_C (1) << 63)
/* No place lies behind; entries have 63 bits for it. */
#define QCOW_MAX_OFFSET (UINT64_C (1) << 56)
#define QCOW_ALIGNMENT  UINT64_C (512)

/* Order of write-back (table.h): what has a new place goes out before. */
#define QCOW_ORDER_MAP 2u

typedef struct {
  uint32_t magic, version;
  uint64_t backing_offset;
  uint32_t backing_len;
  uint32_t mtime;
  uint64_t size;
  uint8_t cluster_bits, l2_bits;
  uint16_t padding;
  uint32_t crypt_method;
  uint64_t l1_offset;
} QcowHeader;

extern const VpLayout qcow_header_layout;

/* What lies in a cluster of the file. */
typedef enum {
  QCOW_FREE,
  QCOW_PACKED, /* bytes of packed units */
  QCOW_DATA,   /* one cluster of the guest */
  QCOW_TABLE,  /* an L2 table */
  QCOW_FIXED,  /* header, name, L1; packed units may follow behind */
} QcowUse;

typedef struct {
  VpFile *file; /* borrowed */
  VpTables *tables;
  QcowHeader header;
  bool lenient;
  uint64_t size; /* of the disk: whole sectors */
  uint64_t cluster_size;
  uint64_t l1_entries; /* of the table in memory: at least what size wants */
  char *backing_name;
  bool expects_backing; /* one is to come */
  VpCrypt *crypt;       /* NULL: not encrypted */
  uint64_t file_end;    /* length as last seen, and what was given away */
  /* qcow-space.c */
  bool surveyed;
  VpCounts *counts;     /* users of each cluster; NULL: too many to count */
  uint64_t free_hint;   /* no free cluster below */
  uint64_t run_hint;    /* ... no free run worth the search below */
  uint64_t end_cluster; /* nothing is used from here on */
  uint64_t packed_end;  /* the next packed unit may go here; 0: nowhere */
} Qcow;

/* An L2 entry, understood. */
typedef struct {
  bool stored; /* else nothing is here */
  bool packed;
  uint64_t offset, length; /* in the file */
} QcowEntry;

/* qcow-header.c */
bool qcow_load_header (Qcow *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The header in q->tables is brought up to q->header; goes out after all that
 * is new. */
void qcow_store_header (Qcow *q);
bool qcow_set_backing (gpointer state, const char *name, const char *format,
                       GError **error);
bool qcow_describe (VpFile *file, GPtrArray *facts, GError **error);

/* qcow-create.c */
bool qcow_check_create (const VpCreateOptions *options, GError **error);
bool qcow_create (VpFile *file, const VpCreateOptions *options, GError **error);
bool qcow_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                     GError **error);

/* qcow.c */
bool qcow_corrupt (Qcow *q, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

static inline bool
qcow_is_overlay (const Qcow *q)
{
  return q->backing_name || q->expects_backing;
}
static inline uint64_t
qcow_l2_entries (const Qcow *q)
{
  return UINT64_C (1) << q->header.l2_bits;
}
static inline size_t
qcow_l2_size (const Qcow *q)
{
  return (size_t) 8 << q->header.l2_bits;
}
/* Guest bytes below one L1 entry. */
static inline uint64_t
qcow_reach (const Qcow *q)
{
  return q->cluster_size << q->header.l2_bits;
}
static inline uint64_t
qcow_l1_index (const Qcow *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits >> q->header.l2_bits;
}
static inline uint64_t
qcow_l2_index (const Qcow *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits & (qcow_l2_entries (q) - 1);
}
/* L1 entries that a disk of that size has. */
static inline uint64_t
qcow_l1_needed (const Qcow *q, uint64_t size)
{
  return size / qcow_reach (q) + (size % qcow_reach (q) != 0);
}

/* qcow-map.c */
/* Cannot be right: an error. */
bool qcow_decode (Qcow *q, uint64_t raw, QcowEntry *ret_entry,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
uint64_t qcow_encode_packed (const Qcow *q, uint64_t offset, uint64_t len);
/* Pinned at open, so neither reads nor fails. */
uint8_t *qcow_l1 (Qcow *q);
/* The L2 table below an L1 entry, or NULL in *ret_l2 where there is none. */
bool qcow_load_l2 (Qcow *q, uint64_t index, uint64_t *ret_table,
                   uint8_t **ret_l2, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The table's place, or 0; an error where it cannot be right. */
bool qcow_check_l1_entry (Qcow *q, uint64_t index, uint64_t raw,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
               GError **error);

/* qcow-space.c */
/* Learns what is in use, once; an image whose tables contradict each other is
 * refused.  Before anything is changed. */
bool qcow_survey (Qcow *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Up to wanted clusters in a row (exact: all of them). */
bool qcow_allocate (Qcow *q, uint64_t wanted, bool exact, QcowUse use,
                    uint64_t *ret_offset, uint64_t *ret_count,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A place of len bytes for a packed unit. */
bool qcow_allocate_packed (Qcow *q, uint64_t len, uint64_t *ret_offset,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* One user less for each cluster that the bytes touch, with the next flush. */
void qcow_free_later (Qcow *q, uint64_t offset, uint64_t length);
/* VpTablesRelease. */
void qcow_release (gpointer q, uint64_t offset, uint64_t length);
/* The part of the file that nobody uses, at its end. */
bool qcow_cut_tail (Qcow *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Bytes [offset, offset + length) have one user more, of that kind. */
typedef enum {
  QCOW_CLAIM_FINE,
  QCOW_CLAIM_TAKEN, /* counted, but somebody else is there */
  QCOW_CLAIM_FULL,  /* too much to count */
} QcowClaim;
QcowClaim qcow_claim (const Qcow *q, VpCounts *counts, uint64_t offset,
                      uint64_t length, QcowUse use);
/* Header, name and L1. */
QcowClaim qcow_claim_fixed (const Qcow *q, VpCounts *counts);
/* A free run of so many clusters from *first on, or as many as there are. */
bool qcow_find_free (const VpCounts *counts, uint64_t wanted, bool exact,
                     uint64_t *first, uint64_t *ret_count);
/* Do they meet header, name or L1, byte for byte? */
bool qcow_meets_fixed (const Qcow *q, uint64_t offset, uint64_t length);
/* Counts for a file of that length, with room to grow. */
VpCounts *qcow_counts_new (const Qcow *q, uint64_t file_end);

/* qcow-link.c */
bool qcow_reserve (gpointer state, uint64_t offset, uint64_t length,
                   VpPlace *ret_place, GError **error);
bool qcow_link (gpointer state, const VpPlace *place, GError **error);
void qcow_unreserve (gpointer state, const VpPlace *place);
bool qcow_packing (gpointer state, VpPacking *ret_packing);
bool qcow_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                          VpPlace *ret_place, GError **error);
bool qcow_link_packed (gpointer state, const VpPlace *place, GError **error);
bool qcow_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
                uint64_t *ret_done, GError **error);
bool qcow_discard (gpointer state, uint64_t offset, uint64_t length,
                   GError **error);
/* Entries [from, to) of an L2 table that is loaded let go of their places. */
bool qcow_clear_entries (Qcow *q, uint64_t table, uint8_t *l2, uint64_t from,
                         uint64_t to, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow-size.c */
bool qcow_extend (gpointer state, uint64_t size, GError **error);
bool qcow_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
                  GError **error);
bool qcow_shrink (gpointer state, uint64_t size, GError **error);
bool qcow_empty (gpointer state, GError **error);

/* qcow-check.c */
bool qcow_check (gpointer state, VpRepair repair, const VpProgress *progress,
                 VpCheckResult *result, GError **error);
