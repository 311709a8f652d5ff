/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2: what its rooms share.  For qcow2*.c alone.
 *
 *     header -> L1 -> L2 -> data            guest address to host cluster
 *     header -> reftable -> refblock        host cluster to its users
 *
 * All numbers are big-endian.  L1, reftable and the L2 and refblock in use
 * are blocks of q->tables; L1 and reftable are pinned there. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/cluster-set.h"
#include "storage/format.h"
#include "storage/table.h"

#define QCOW2_MAGIC          0x514649fbu
#define QCOW2_HEADER_V2      72u
#define QCOW2_HEADER_V3      104u
#define QCOW2_HEADER_OURS    112u
#define QCOW2_MIN_CLUSTER    9u
#define QCOW2_MAX_CLUSTER    21u
#define QCOW2_MIN_EXTENDED   14u
#define QCOW2_OFFSET_MASK    UINT64_C (0x00fffffffffffe00)
#define QCOW2_COPIED         (UINT64_C (1) << 63)
#define QCOW2_COMPRESSED     (UINT64_C (1) << 62)
#define QCOW2_ZERO           UINT64_C (1)
#define QCOW2_MAX_OFFSET     (UINT64_C (1) << 56)
#define QCOW2_L1_RESERVED    UINT64_C (0x7f000000000001ff)
#define QCOW2_L2_RESERVED    UINT64_C (0x3f000000000001fe)
#define QCOW2_TABLE_RESERVED UINT64_C (0x1ff)

enum {
  QCOW2_INCOMPATIBLE_DIRTY = 1 << 0,
  QCOW2_INCOMPATIBLE_CORRUPT = 1 << 1,
  QCOW2_INCOMPATIBLE_DATA_FILE = 1 << 2,
  QCOW2_INCOMPATIBLE_COMPRESSION = 1 << 3,
  QCOW2_INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
  QCOW2_COMPATIBLE_LAZY = 1 << 0,
  QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
  QCOW2_AUTOCLEAR_RAW_DATA = 1 << 1,
};

enum {
  QCOW2_EXT_END = 0,
  QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
  QCOW2_EXT_FEATURES = 0x6803f857,
  QCOW2_EXT_BITMAPS = 0x23852875,
  QCOW2_EXT_CRYPTO = 0x0537be77,
  QCOW2_EXT_DATA_FILE = 0x44415441,
};

/* Orders of write-back (table.h). */
enum { QCOW2_ORDER_REFBLOCK, QCOW2_ORDER_REFTABLE, QCOW2_ORDER_MAP };

typedef struct {
  uint32_t magic, version;
  uint64_t backing_offset;
  uint32_t backing_len;
  uint32_t cluster_bits;
  uint64_t size;
  uint32_t crypt_method;
  uint32_t l1_entries;
  uint64_t l1_offset;
  uint64_t reftable_offset;
  uint32_t reftable_clusters;
  uint32_t n_snapshots;
  uint64_t snapshots_offset;
  uint64_t incompatible, compatible, autoclear;
  uint32_t refcount_order;
  uint32_t header_length;
  uint8_t compression_type;
} Qcow2Header;

extern const VpLayout qcow2_header_layout;

typedef struct {
  VpSnapshot *facts;
  uint64_t l1_offset;
  uint32_t l1_entries;
  GBytes *raw; /* the entry as it stands in the table, padded to 8 */
} Qcow2Snapshot;

/* Of the header, as it stands in the first cluster. */
typedef struct {
  uint32_t type;
  GBytes *data;
} Qcow2Extension;

typedef struct {
  VpFile *file;  /* borrowed */
  VpFile *data;  /* where guest bytes lie: file, or an own reference */
  bool external; /* data is a file of its own */
  bool has_data; /* ... and it was opened */
  VpTables *tables;
  Qcow2Header header;
  bool writable, lenient;
  bool unordered; /* a new file: no order before its last flush */
  bool behind;    /* refcounts on disk are, and the dirty bit says so */
  bool broken;    /* marked corrupt by us: write nothing more */
  uint64_t cluster_size;
  bool extended;          /* L2 entries have a bitmap of subclusters */
  unsigned sub_bits;      /* log2 of a subcluster's size */
  unsigned l2_bits;       /* log2 of entries in an L2 table */
  unsigned refblock_bits; /* log2 of entries in a refblock */
  uint64_t reftable_entries;
  uint64_t file_end;      /* length as last seen; only for a first look */
  uint64_t free_hint;     /* no free cluster below */
  VpClusterSet *metadata; /* where guest data must never go */
  GPtrArray *snapshots;   /* of Qcow2Snapshot */
  uint64_t snapshots_end;
  uint32_t snapshots_dropped; /* too many; only where the open is lenient */
  uint32_t snapshots_trimmed; /* with too much extra data, likewise */
  char *backing_name, *backing_format, *data_file;
  bool expects_backing;    /* one is to come: zeros are stored already */
  GPtrArray *extensions;   /* of Qcow2Extension: all, known or not */
  uint64_t extensions_end; /* in the first cluster */
  GBytes *header_tail;     /* what we do not know of the header, or NULL */
  uint32_t n_bitmaps;
  uint64_t bitmaps_offset, bitmaps_size;
  VpCrypt *crypt;                    /* NULL: not encrypted */
  VpSecret *password;                /* that opened it, where it is LUKS */
  VpLuks *luks;                      /* NULL: not that, or broken (lenient) */
  uint64_t luks_offset, luks_length; /* of its header; length 0: none */
  GPtrArray *bitmaps;                /* qcow2-bitmap.c */
  GArray *bitmaps_removed;           /* where they were */
  bool bitmaps_changed;              /* to be stored */
  bool recording;                    /* some bitmap wants to know of changes */
  uint64_t packed_end; /* the next packed unit may go here; 0: nowhere */
} Qcow2;

/* qcow2-header.c */
bool qcow2_load_header (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Of Qcow2Extension, in QEMU's order; data NULL: takes it away. */
GPtrArray *qcow2_extensions_new (void);
void qcow2_extensions_set (GPtrArray *extensions, uint32_t type,
                           const void *data, size_t len);
void qcow2_extensions_name_features (GPtrArray *extensions);
void qcow2_set_extension (Qcow2 *q, uint32_t type, const void *data,
                          size_t len);
/* The first cluster of a new image; sets where the name went.  False: no
 * room. */
bool qcow2_pack_head (Qcow2Header *header, GPtrArray *extensions,
                      const char *name, uint8_t *head, size_t len);
/* Brings the first cluster up to q->header, q->extensions and q->backing_name,
 * and lasts when it returns; a cut leaves the old state or the new one.  Does
 * a flush of the tables first.  VP_IMAGE_ERROR_RANGE: no room. */
bool qcow2_rewrite_head (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_set_backing (gpointer state, const char *name, const char *format,
                        GError **error);
void qcow2_expect_backing (gpointer state);

/* qcow2.c */
bool qcow2_corrupt (Qcow2 *q, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* Sets the corrupt bit where the header has one and stops all writing. */
void qcow2_mark_corrupt (Qcow2 *q);
/* Changes len bytes of the header at offset, which must be one of the cells
 * that qcow2.c knows. */
bool qcow2_store_cell (Qcow2 *q, uint64_t offset, size_t len, unsigned order,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Cells: they share a sector, so each goes out whole or not at all. */
#define QCOW2_CELL_SIZE_L1      24u, 24u
#define QCOW2_CELL_REFTABLE     48u, 12u
#define QCOW2_CELL_SNAPSHOTS    60u, 12u
#define QCOW2_CELL_INCOMPATIBLE 72u, 8u
#define QCOW2_CELL_AUTOCLEAR    88u, 8u
/* A place for guest data or for a new table must not hold metadata. */
bool qcow2_check_overlap (Qcow2 *q, uint64_t offset, uint64_t length,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_note_metadata (Qcow2 *q, uint64_t offset, uint64_t length,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
uint8_t *qcow2_l1 (Qcow2 *q);
uint8_t *qcow2_reftable (Qcow2 *q);

/* qcow2-snapshot.c */
bool qcow2_load_snapshots (Qcow2 *q, GError **error);
void qcow2_snapshot_free (gpointer snapshot);
/* The first that bears all that is given; VP_IMAGE_ERROR_NOT_FOUND. */
bool qcow2_find_snapshot (Qcow2 *q, const char *id, const char *name,
                          guint *ret_index,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Could this image have any? */
bool qcow2_can_snapshot (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_snapshot_create (gpointer state, const VpSnapshot *facts,
                            GError **error);
bool qcow2_snapshot_delete (gpointer state, const char *id, const char *name,
                            GError **error);
/* qcow2-snapshot-apply.c */
bool qcow2_snapshot_apply (gpointer state, const char *id, const char *name,
                           GError **error);
bool qcow2_snapshot_open (gpointer state, const char *id, const char *name,
                          GError **error);

/* The L1 table of one, with zeros up to what its disk needs; caller frees. */
uint8_t *qcow2_read_snapshot_l1 (Qcow2 *q, const Qcow2Snapshot *snapshot,
                                 uint64_t *ret_entries, GError **error);
/* Version 3 wants to know the size of each snapshot's disk. */
/* The table anew, as the check found it good. */
bool qcow2_rewrite_snapshots (Qcow2 *q,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_complete_snapshots (Qcow2 *q,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-amend.c */
bool qcow2_amend (gpointer state, const VpAmendOptions *options, bool dry,
                  const VpProgress *progress, GError **error);
bool qcow2_amend_keys (Qcow2 *q, const VpAmendOptions *options, bool dry,
                       GError **error);

/* qcow2-width.c */
bool qcow2_set_refcount_order (Qcow2 *q, unsigned order,
                               const VpProgress *progress,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-expand.c */
bool qcow2_expand_zeros (Qcow2 *q, const VpProgress *progress,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-switch.c */
/* Bytes at a place of their own, padded to whole clusters; they count nowhere
 * yet.  No bytes need no place: offset 0. */
bool qcow2_put_metadata (Qcow2 *q, const uint8_t *bytes, size_t len,
                         uint64_t *ret_offset,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Gives such a place back with the next flush; none is fine. */
void qcow2_drop_metadata (Qcow2 *q, uint64_t offset, uint64_t len);
/* The active disk is the L1 table at that place, of that size, on disk when it
 * returns; the old table is given back, not what it leads to. */
bool qcow2_switch_l1 (Qcow2 *q, uint64_t l1_offset, uint64_t entries,
                      uint64_t size, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The tables of these branches are metadata. */
bool qcow2_note_branches (Qcow2 *q, const GArray *branches,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-shrink.c */
bool qcow2_shrink (gpointer state, uint64_t size, GError **error);
/* The tail of the file that nobody uses goes, for good when it returns. */
bool qcow2_cut_tail (Qcow2 *q, GError **error);

/* qcow2-refcount.c */
uint64_t qcow2_entry_get (const uint8_t *block, unsigned order, uint64_t index);
void qcow2_entry_set (uint8_t *block, unsigned order, uint64_t index,
                      uint64_t value);
bool qcow2_get_refcount (Qcow2 *q, uint64_t cluster, uint64_t *ret_refcount,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_set_refcount (Qcow2 *q, uint64_t cluster, uint64_t refcount,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Up to wanted clusters in a row (exact: all of them), refcount 1. */
bool qcow2_allocate (Qcow2 *q, uint64_t wanted, bool exact,
                     uint64_t *ret_offset, uint64_t *ret_count,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* VpTablesRelease. */
void qcow2_release (gpointer q, uint64_t offset, uint64_t length);
/* Nobody counts on these any more: their space goes back. */
void qcow2_forget_clusters (Qcow2 *q, uint64_t first, uint64_t count);

/* qcow2-count.c: users of all that L2 tables lead to, by the whole. */
typedef struct {
  uint64_t table;      /* host offset of an L2 table */
  uint32_t first, end; /* its entries that count */
  bool itself;         /* the table's own cluster counts, too */
} Qcow2Branch;
/* All that an L1 table (big-endian, as on disk) leads to, sorted; NULL where
 * an entry cannot be right.  Free with g_array_unref (). */
GArray *qcow2_branches (Qcow2 *q, const uint8_t *l1, uint64_t entries,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
int qcow2_compare_branches (gconstpointer a, gconstpointer b); /* by table */
/* What follows works on the file: first everything goes out and is dropped
 * from the cache, and nothing but the L1 may be changed there meanwhile. */
bool qcow2_settle (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Would qcow2_count () meet a count that is 0, or at its limit? */
bool qcow2_can_count (Qcow2 *q, const GArray *branches, bool up,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* One user more, or less; on disk when it returns.  up: where a count is at its
 * limit nothing has changed. */
bool qcow2_count (Qcow2 *q, const GArray *branches, bool up,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* One less; COPIED is set in the active tables where one user is left. */
bool qcow2_count_down_to_active (Qcow2 *q, const GArray *branches,
                                 const GArray *active,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All that these tables name has several users. */
bool qcow2_clear_copied (Qcow2 *q, const GArray *branches,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One L2 entry: 8 bytes, or 16 where it is extended.  Everybody who reads an
 * L2 table does it through these. */
typedef struct {
  uint64_t raw;    /* COPIED, COMPRESSED, host offset, ZERO */
  uint64_t bitmap; /* subclusters: 32 allocated (low), 32 zero (high) */
} Qcow2L2;

#define QCOW2_SUBCLUSTERS   32u
#define QCOW2_ALL_ALLOCATED UINT64_C (0x00000000ffffffff)
#define QCOW2_ALL_ZERO      UINT64_C (0xffffffff00000000)

static inline size_t
qcow2_l2_entry_size (const Qcow2 *q)
{
  return q->extended ? 16 : 8;
}

static inline Qcow2L2
qcow2_l2_get (const Qcow2 *q, const uint8_t *table, uint64_t index)
{
  const uint8_t *at = table + index * qcow2_l2_entry_size (q);
  return (Qcow2L2){ vp_be64_get (at), q->extended ? vp_be64_get (at + 8) : 0 };
}

static inline void
qcow2_l2_set (const Qcow2 *q, uint8_t *table, uint64_t index, Qcow2L2 entry)
{
  uint8_t *at = table + index * qcow2_l2_entry_size (q);
  vp_be64_set (at, entry.raw);
  if (q->extended)
    vp_be64_set (at + 8, entry.bitmap);
}

/* ... and who asks what an entry means, through these.  One bit a subcluster:
 * 32 of them, or a single one where L2 is not extended. */
typedef struct {
  bool packed;    /* compressed; none of the rest but host */
  bool has_host;  /* has a place: host */
  bool exclusive; /* ... and nobody else counts on it */
  uint64_t host;
  uint32_t allocated, zero;
} Qcow2Cluster;

/* Would what is not stored here be sought below? */
static inline bool
qcow2_is_overlay (const Qcow2 *q)
{
  return q->backing_name || q->expects_backing;
}

static inline unsigned
qcow2_subclusters (const Qcow2 *q)
{
  return q->extended ? QCOW2_SUBCLUSTERS : 1;
}
static inline uint32_t
qcow2_all_subclusters (const Qcow2 *q)
{
  return q->extended ? UINT32_MAX : 1;
}
static inline uint64_t
qcow2_subcluster_size (const Qcow2 *q)
{
  return UINT64_C (1) << q->sub_bits;
}
static inline uint64_t
qcow2_l1_index (const Qcow2 *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits >> q->l2_bits;
}
static inline uint64_t
qcow2_l2_index (const Qcow2 *q, uint64_t offset)
{
  return offset >> q->header.cluster_bits & ((UINT64_C (1) << q->l2_bits) - 1);
}

/* qcow2-map.c */
bool qcow2_decode (Qcow2 *q, Qcow2L2 entry, Qcow2Cluster *ret_cluster,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Not for packed ones. */
Qcow2L2 qcow2_encode (const Qcow2 *q, const Qcow2Cluster *cluster);
VpRunKind qcow2_subcluster_kind (const Qcow2Cluster *cluster, unsigned sub);
bool qcow2_check_l1_entry (Qcow2 *q, uint64_t index, uint64_t raw,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
typedef struct {
  uint64_t offset; /* of the first byte */
  uint64_t length; /* bytes that it can take at most */
} Qcow2Packed;
Qcow2Packed qcow2_unpack_entry (const Qcow2 *q, uint64_t entry);
/* Width of the host offset in a compressed entry. */
unsigned qcow2_packed_bits (const Qcow2 *q);
/* Makes the tables for the entry of a guest offset. */
bool qcow2_prepare_entry (Qcow2 *q, uint64_t guest,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Sets that entry to raw; what it named before goes to the quarantine. */
bool qcow2_change_entry (Qcow2 *q, uint64_t guest, uint64_t raw,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_map (gpointer state, uint64_t offset, uint64_t length,
                VpRun *ret_run, GError **error);

/* qcow2-link.c */
/* The L2 table for a guest offset, ours alone; made where make is set, else
 * NULL in ret_l2 without error.  Borrowed until the next vp_tables_trim (). */
bool qcow2_own_l2 (Qcow2 *q, uint64_t offset, bool make, uint64_t *ret_table,
                   uint8_t **ret_l2, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool qcow2_reserve (gpointer state, uint64_t offset, uint64_t length,
                    VpPlace *ret_place, GError **error);
bool qcow2_link (gpointer state, const VpPlace *place, GError **error);
void qcow2_unreserve (gpointer state, const VpPlace *place);
bool qcow2_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
                 uint64_t *ret_done, GError **error);
bool qcow2_discard (gpointer state, uint64_t offset, uint64_t length,
                    GError **error);

/* qcow2-size.c */
bool qcow2_extend (gpointer state, uint64_t size, GError **error);
bool qcow2_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
                   GError **error);

/* qcow2-describe.c */
bool qcow2_describe (VpFile *file, GPtrArray *facts, GError **error);

/* qcow2-holes.c */
bool qcow2_has_holes (gpointer state);

/* qcow2-lazy.c */
/* All that is changed goes out, refcounts too. */
bool qcow2_flush (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* ... or the dirty bit, where refcounts are lazy. */
bool qcow2_flush_lazily (gpointer state, GError **error);
/* The end of writing: bitmaps, and refcounts that were put off. */
bool qcow2_finish (gpointer state, GError **error);

/* qcow2-preallocate.c */
/* Places for all clusters of [from, to) that have none. */
bool qcow2_preallocate (Qcow2 *q, uint64_t from, uint64_t to,
                        VpPreallocation mode,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-packed.c */
bool qcow2_packing (gpointer state, VpPacking *ret_packing);
bool qcow2_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                           VpPlace *ret_place, GError **error);
bool qcow2_link_packed (gpointer state, const VpPlace *place, GError **error);
/* Before a flush. */
bool qcow2_round_file (Qcow2 *q, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2-data.c */
void qcow2_expect_data_file (Qcow2 *q);
bool qcow2_needs_data_file (gpointer state, const char **ret_name);
void qcow2_set_data_file (gpointer state, VpFile *file);
/* "Raw external data": the data file alone must read as the disk does. */
bool qcow2_is_raw (const Qcow2 *q);

/* qcow2-create.c */
bool qcow2_check_create (const VpCreateOptions *options, GError **error);
bool qcow2_create (VpFile *file, const VpCreateOptions *options,
                   GError **error);

/* qcow2-empty.c */
bool qcow2_empty (gpointer state, GError **error);

/* qcow2-measure.c */
bool qcow2_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                      GError **error);

/* qcow2-crypt.c */
bool qcow2_load_crypt_extension (Qcow2 *q, const uint8_t *data, uint32_t len,
                                 GError **error);
/* Takes key and encrypt_format of options; changes nothing in the file. */
bool qcow2_open_crypt (Qcow2 *q, VpDriverFlags flags,
                       const VpOpenOptions *options, GError **error);
void qcow2_close_crypt (Qcow2 *q);
/* The IV's part of a place. */
uint64_t qcow2_crypt_offset (const Qcow2 *q, uint64_t guest, uint64_t host);
void qcow2_crypt_info (const Qcow2 *q, VpImageInfo *info);
/* What creation options say, checked: the method (0: none), and the options of
 * LUKS; then the bytes that its header takes. */
typedef struct {
  uint32_t method; /* as in the header */
  VpLuksOptions luks;
  const VpSecret *key;
  uint64_t header_length; /* LUKS; else 0 */
} Qcow2CryptPlan;
bool qcow2_plan_crypt (const VpCreateOptions *options, Qcow2CryptPlan *plan,
                       GError **error);

/* qcow2-check.c */
bool qcow2_check (gpointer state, VpRepair repair, const VpProgress *progress,
                  VpCheckResult *result, GError **error);
