/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* format: the contract between the image and its drivers.
 *
 * A driver answers *where* guest bytes live and never moves one; image.c has
 * the only loops over them.  Order of every write, held by the image:
 *
 *     reserve  ->  the image writes the data  ->  link
 *
 * and by the driver with its tables: refcounts are on disk before a table
 * names a cluster, data before that too, and what a link frees is used again
 * only after the next flush (table.h).  A cut leaks clusters, never loses or
 * mixes data.
 *
 * Guards stand before the driver: offsets lie within the image, lengths are
 * not zero, a writable verb is only called on an image opened for writing.
 *
 * A driver never opens a file by itself: a name found in an image goes
 * through the gate (VpOpener), which belongs to the caller. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/bitmap.h"
#include "storage/codec.h"
#include "storage/file.h"
#include "storage/layout.h"
#include "storage/luks.h"
#include "storage/progress.h"

/* Limits, in one place.  Ours are at or under those of the field, so that
 * what we write opens everywhere. */
#define VP_MAX_CHAIN_DEPTH   32
#define VP_MAX_VIRTUAL_SIZE  ((uint64_t) INT64_MAX / 512 * 512)
#define VP_MAX_NAME_LEN      1023u
#define VP_MAX_TABLE_SIZE    (32u << 20) /* L1 and its like */
#define VP_MAX_REFTABLE_SIZE (8u << 20)
#define VP_MAX_PARTS         1024u /* extents beside one image */
#define VP_MAX_SNAPSHOTS     65536u
#define VP_MAX_SNAPSHOT_SIZE (64u << 20)

typedef struct VpImage VpImage;
typedef struct VpFormat VpFormat;
typedef struct VpOpenOptions VpOpenOptions; /* image.h */

/* ---- where -------------------------------------------------------------- */

typedef enum {
  VP_RUN_UNALLOCATED,    /* ask the backing image; zeros without one */
  VP_RUN_ZERO,           /* reads as zeros, no place of its own */
  VP_RUN_ZERO_ALLOCATED, /* reads as zeros, a place is kept for it */
  VP_RUN_DATA,
  VP_RUN_COMPRESSED, /* packed; a unit is unpacked as a whole */
} VpRunKind;

typedef struct {
  VpRunKind kind;
  uint64_t length; /* guest bytes, never 0 */
  VpFile *file;    /* borrowed from the driver; NULL where there is no place */
  uint64_t offset; /* in file; COMPRESSED: of the packed bytes */
  bool shared;     /* somebody else counts on it: not writable in place */
  /* COMPRESSED: */
  VpCodecKind codec;
  uint64_t packed; /* most bytes that they can take in file */
  size_t unit;     /* bytes of the whole unit, unpacked */
  size_t skip;     /* bytes of it before the run's first */
  /* How it is encrypted; borrowed from the driver; NULL: is not.
   * crypt_offset / 512 is the number of the sector that holds the first
   * byte, and both offsets agree in what is below 512. */
  VpCrypt *crypt;
  uint64_t crypt_offset;
} VpRun;

/* A place for guest bytes [guest, guest + length).  Where in_place is false
 * the caller fills all of it: what it came to write, and round that (head and
 * tail bytes) the old content; then calls link. */
typedef struct {
  VpFile *file;
  uint64_t offset; /* in file */
  uint64_t guest;
  uint64_t length;
  uint64_t head, tail;
  bool in_place;
  uint64_t packed; /* from reserve_packed: bytes in file; else 0 */
  VpCrypt *crypt;  /* as in VpRun, for the byte at offset */
  uint64_t crypt_offset;
} VpPlace;

/* How a format packs its units. */
typedef struct {
  VpCodecKind codec;
  uint64_t unit; /* guest bytes, all of them packed as one */
  /* The image holds nothing else: units are written whole, once, in rising
   * order, and packed even where that makes them larger. */
  bool always;
} VpPacking;

/* ---- facts -------------------------------------------------------------- */

typedef struct {
  char *id, *name; /* bytes as found, made valid UTF-8 */
  uint64_t vm_state_size, disk_size;
  uint32_t date_s, date_ns;
  uint64_t vm_clock_ns;
  bool has_icount;
  uint64_t icount;
} VpSnapshot;

/* A persistent bitmap: what has changed since somebody looked (bitmap.h). */
typedef struct {
  char *name;
  uint64_t granularity; /* bytes */
  bool enabled;         /* records every change from now on */
  bool in_use;          /* was not stored well: of no use any more */
} VpBitmapFacts;

/* A vmdk's extents, in order. */
typedef struct {
  char *filename;        /* where it is looked for */
  const char *format;    /* "FLAT", "SPARSE" ...; "": the image itself */
  uint64_t virtual_size; /* bytes */
  uint64_t cluster_size; /* 0: has none, or is not opened */
  bool compressed;
} VpVmdkExtent;

typedef struct {
  uint32_t cid, parent_cid;
  char *create_type;
  GPtrArray *extents; /* of VpVmdkExtent */
} VpVmdkInfo;

/* Strings are owned by the struct; NULL: has none. */
typedef struct {
  const char *format;
  uint64_t virtual_size; /* bytes */
  uint64_t cluster_size; /* 0: has none */
  /* What zero and discard take at least; 0: cluster_size. */
  uint64_t subcluster_size;
  uint64_t file_size; /* length of the file */
  uint64_t used_size; /* what it takes up on the disk */
  char *backing_name, *backing_format;
  bool dirty; /* was not closed well; wants a check */
  bool encrypted;
  const char *encrypt_format; /* "aes", "luks"; NULL: is not encrypted */
  VpLuksInfo *luks;           /* NULL: not that, or its header is broken */
  /* qcow2; compat is NULL elsewhere */
  const char *compat;           /* "0.10", "1.1" */
  const char *compression_type; /* "zlib", "zstd" */
  unsigned refcount_bits;
  bool lazy_refcounts, corrupt, extended_l2;
  bool data_file_raw;
  char *data_file;
  GPtrArray *snapshots; /* of VpSnapshot; NULL or empty: none */
  GPtrArray *bitmaps;   /* of VpBitmapFacts; NULL or empty: none */
  VpVmdkInfo *vmdk;     /* NULL elsewhere */
} VpImageInfo;

void vp_snapshot_free (VpSnapshot *snapshot);
void vp_bitmap_facts_free (VpBitmapFacts *facts);
void vp_vmdk_extent_free (VpVmdkExtent *extent);
void vp_vmdk_info_free (VpVmdkInfo *info);
void vp_image_info_clear (VpImageInfo *info);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpImageInfo, vp_image_info_clear)

/* ---- creation ----------------------------------------------------------- */

typedef enum {
  VP_PREALLOCATION_OFF,
  VP_PREALLOCATION_METADATA,
  VP_PREALLOCATION_FALLOC,
  VP_PREALLOCATION_FULL,
} VpPreallocation;

/* As they are written behind "encrypt."; NULL: the default. */
typedef struct {
  bool legacy; /* "encryption=on": format aes */
  const char *format, *key_secret;
  const char *cipher_alg, *cipher_mode, *hash_alg, *ivgen_alg, *ivgen_hash_alg;
  const char *iter_time;
  const VpSecrets *secrets; /* where key_secret is looked up; borrowed */
} VpEncryptOptions;

/* Start from VP_CREATE_OPTIONS_INIT; set members, or text by
 * vp_create_options_set ().  Strings are borrowed unless set by text. */
typedef struct {
  uint64_t size; /* bytes, rounded up to 512 */
  const char *backing_name;
  const char *backing_format; /* must be there where backing_name is */
  uint32_t backing_id;        /* its content_id; 0: is not known */
  VpPreallocation preallocation;
  uint64_t cluster_size;  /* 0: the format's default */
  unsigned compat;        /* 2 or 3; 0: the format's default */
  unsigned refcount_bits; /* 0: 16 */
  bool lazy_refcounts;
  bool zstd; /* compression_type */
  bool extended_l2;
  /* Where the guest's bytes go; NULL: into the image.  The file is emptied.
   * data_file is borrowed; NULL: opened by its name through the opener. */
  const char *data_name;
  VpFile *data_file;
  bool data_file_raw; /* ... and stays a raw image of its own */
  VpEncryptOptions encrypt;
  /* vmdk */
  const char *subformat, *adapter_type, *hwversion, *toolsversion;
  bool compat6, zeroed_grain;
  uint64_t extent_size; /* twoGbMaxExtent*: of one extent; 0: 2 GiB */
  /* The files that part_to_make () names, in that order, emptied; of VpFile,
   * borrowed.  NULL: opened through the opener. */
  const GPtrArray *parts;
  bool is_static; /* vdi */
} VpCreateOptions;

#define VP_CREATE_OPTIONS_INIT                                                 \
  {                                                                            \
    0                                                                          \
  }

/* What a new image takes up besides guest bytes, and in which units those are
 * stored. */
typedef struct {
  uint64_t unit, overhead; /* bytes */
  uint64_t unit_overhead;  /* bytes, at most, with each unit that is stored */
  bool whole;              /* all units are there from the beginning */
} VpFootprint;

typedef struct {
  const char *name; /* qemu-img's spelling: "cluster_size" */
  const char *help;
} VpOption;

/* ---- amending ----------------------------------------------------------- */

/* What an image that is there is to be.  Start from VP_AMEND_OPTIONS_INIT:
 * everything stays.  Strings are borrowed. */
typedef struct {
  unsigned compat;        /* 2 or 3 */
  unsigned refcount_bits; /* 1 to 64, a power of two */
  int lazy_refcounts;     /* 0, 1; -1: stays */
  int data_file_raw;      /* 0, 1; -1: stays */
  const char *data_file;
  /* Known, and refused unless it is what is there: that is rebase's. */
  const char *backing_name, *backing_format;
  bool has_size;
  uint64_t size;
  const GPtrArray *encrypt; /* NAME, VALUE pairs; NULL: none */
  const VpSecrets *secrets; /* that those name */
  bool force;               /* also what loses the last key */
} VpAmendOptions;

#define VP_AMEND_OPTIONS_INIT                                                  \
  {                                                                            \
    .lazy_refcounts = -1, .data_file_raw = -1                                  \
  }

/* ---- check -------------------------------------------------------------- */

typedef enum { VP_REPAIR_NOTHING, VP_REPAIR_LEAKS, VP_REPAIR_ALL } VpRepair;

typedef struct {
  uint64_t corruptions, leaks, check_errors;
  uint64_t corruptions_fixed, leaks_fixed;
  uint64_t total_clusters, allocated_clusters;
  uint64_t fragmented_clusters, compressed_clusters;
  uint64_t image_end_offset;
  GPtrArray *messages; /* of char *, one a fault, at most 1000 */
} VpCheckResult;

/* ---- claims -------------------------------------------------------------- */

/* A name found inside an image. */
typedef struct {
  const char *role;   /* "backing", "data", "extent" */
  const char *name;   /* the bytes that the image holds, without NUL */
  const char *format; /* as the image says, or NULL */
  const char *image;  /* name of the file that says so */
  /* "data", "extent": */
  bool writable; /* of an image that is opened for writing */
  bool create;   /* ... that is just being made */
  /* "backing": in the image's own folder and nowhere else. */
  bool beside;
} VpClaim;

/* ---- the driver --------------------------------------------------------- */

typedef enum {
  VP_DRIVER_WRITABLE = 1 << 0,
  VP_DRIVER_CHECK = 1 << 1,     /* opened to be checked: be lenient */
  VP_DRIVER_UNORDERED = 1 << 2, /* a file that has no name yet */
  VP_DRIVER_NO_IO = 1 << 3,     /* guest bytes are not wanted: needs no key */
  VP_DRIVER_STRICT = 1 << 4,    /* from a stranger: refuse what is only odd */
} VpDriverFlags;

struct VpFormat {
  const char *name;
  const VpOption *options; /* for create; ends with a NULL name */
  const VpLayout *header;  /* may be NULL */
  bool supports_backing;
  bool backing_beside; /* ... which lie in the image's own folder */
  /* What was never written reads as anything, in a new image too. */
  bool new_is_noise;
  /* 0: not this format; 100: its magic is there. */
  unsigned (*probe) (const uint8_t *head, size_t len, uint64_t file_size);
  /* Would create take these options?  Asked before anything is emptied.
   * Optional. */
  bool (*check_create) (const VpCreateOptions *options, GError **error);
  /* Into an empty file, or a device. */
  bool (*create) (VpFile *file, const VpCreateOptions *options, GError **error);
  /* Keeps file, which is borrowed; ret_state is handed to every verb.  Of
   * options (never NULL, for the call only) it takes what is not the chain's:
   * key, encrypt_format, offset, size, data_file. */
  bool (*open) (VpFile *file, VpDriverFlags flags, const VpOpenOptions *options,
                gpointer *ret_state, GError **error);
  /* Frees; what is not flushed is lost. */
  void (*close) (gpointer state);
  uint64_t (*get_size) (gpointer state);
  bool (*info) (gpointer state, VpImageInfo *info, GError **error);
  /* Borrowed; NULL: no backing file.  Optional. */
  const char *(*backing) (gpointer state, const char **ret_format);
  /* A number that is another one after guest bytes have changed, and the one
   * that the backing image had when this one was made over it: the chain
   * refuses a backing image of the same format that has another.
   * set_backing_id: what the backing image holds now is what is meant; lasts
   * when it returns.  expect_backing_id: what the backing image holds that
   * the next set_backing names.  All or none. */
  uint32_t (*content_id) (gpointer state);
  uint32_t (*backing_id) (gpointer state);
  bool (*set_backing_id) (gpointer state, uint32_t id, GError **error);
  void (*expect_backing_id) (gpointer state, uint32_t id);

  /* Are guest bytes in a file of their own?  ret_name: as the image has it,
   * borrowed, or NULL.  Until set_data_file, which takes its own reference,
   * the bytes cannot be read.  Both or none. */
  bool (*needs_data_file) (gpointer state, const char **ret_name);
  void (*set_data_file) (gpointer state, VpFile *file);

  /* Extents: files beside the image that hold its guest bytes, by index from
   * 0.  part: false: there are no more; name in the claim is the driver's,
   * which clears writable for one that is only read.  Until set_part, which
   * takes its own reference, the bytes of that one cannot be read, but info
   * works.  part_to_make: the names of those that create is to be given, beside
   * the image of that name; owned by the caller, NULL: no more.  All or none.
   */
  bool (*part) (gpointer state, unsigned index, VpClaim *ret_claim);
  bool (*set_part) (gpointer state, unsigned index, VpFile *file,
                    GError **error);
  char *(*part_to_make) (const VpCreateOptions *options, const char *image,
                         unsigned index);

  bool (*map) (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
               GError **error);
  bool (*reserve) (gpointer state, uint64_t offset, uint64_t length,
                   VpPlace *ret_place, GError **error);
  bool (*link) (gpointer state, const VpPlace *place, GError **error);
  /* The data could not be written: give the place back. */
  void (*unreserve) (gpointer state, const VpPlace *place);
  /* Packed units, all three or none.  packing: false where this image cannot
   * have any.  reserve_packed: a place for the unit at offset in len bytes,
   * fewer than the unit (unless it is always packed); the caller writes them at
   * place.offset of place.file, then calls link_packed, or unreserve. */
  bool (*packing) (gpointer state, VpPacking *ret_packing);
  bool (*reserve_packed) (gpointer state, uint64_t offset, uint64_t len,
                          VpPlace *ret_place, GError **error);
  bool (*link_packed) (gpointer state, const VpPlace *place, GError **error);
  /* Whole units (subcluster_size) only.  ret_done = 0: cannot, write the zeros
   * yourself.  Optional: always so. */
  bool (*zero) (gpointer state, uint64_t offset, uint64_t length, bool unmap,
                uint64_t *ret_done, GError **error);
  /* Whole units only; a hint.  Afterwards the range reads as zeros or as
   * before. */
  bool (*discard) (gpointer state, uint64_t offset, uint64_t length,
                   GError **error);
  bool (*flush) (gpointer state, GError **error);
  /* Makes room in the tables for size without changing the size yet. */
  bool (*extend) (gpointer state, uint64_t size, GError **error);
  bool (*resize) (gpointer state, uint64_t size, VpPreallocation preallocation,
                  GError **error);

  /* The second, optional table. */
  /* A smaller size: what lies behind it is lost, and its space given back.
   * Lasts when it returns; a cut leaves the old size or the new one. */
  bool (*shrink) (gpointer state, uint64_t size, GError **error);
  /* Another name for the backing file (NULL: none), nothing else; lasts when
   * it returns, and a cut leaves the old name or the new one.  format may be
   * NULL. */
  bool (*set_backing) (gpointer state, const char *name, const char *format,
                       GError **error);
  /* Until it is closed: a backing file is to come where there is none yet, so
   * that from now on zeros are stored as such and not left to its absence. */
  void (*expect_backing) (gpointer state);
  /* dry: would it work?  The size is left to the image.  amend_options: as
   * options, for amend. */
  const VpOption *amend_options;
  bool (*amend) (gpointer state, const VpAmendOptions *options, bool dry,
                 const VpProgress *progress, GError **error);
  /* Lets go of all guest data; snapshots keep theirs. */
  bool (*empty) (gpointer state, GError **error);
  /* With all of options->size allocated.  Without: an image is as large as its
   * disk. */
  bool (*footprint) (const VpCreateOptions *options, VpFootprint *ret_print,
                     GError **error);
  bool (*check) (gpointer state, VpRepair repair, const VpProgress *progress,
                 VpCheckResult *result, GError **error);
  /* Persistent bitmaps, all four or none; they are stored by settle.
   * granularity 0: the format's default.  bitmap_bits: borrowed; change: the
   * caller is about to change them. */
  bool (*bitmap_add) (gpointer state, const char *name, uint64_t granularity,
                      bool enabled, GError **error);
  bool (*bitmap_remove) (gpointer state, const char *name, GError **error);
  bool (*bitmap_set_enabled) (gpointer state, const char *name, bool enabled,
                              GError **error);
  VpBitmap *(*bitmap_bits) (gpointer state, const char *name, bool change,
                            GError **error);
  /* Stores, and makes last, what is kept in memory while the image is open;
   * called before close where all went well.  Optional. */
  bool (*settle) (gpointer state, GError **error);
  /* Internal snapshots.  id, name: either or both; the first that bears all
   * that is given.  VP_IMAGE_ERROR_UNSUPPORTED where the image cannot hold one.
   * All but _open last when they return, and a cut leaves the old state or the
   * new one.  facts: id NULL takes the next number. */
  bool (*snapshot_create) (gpointer state, const VpSnapshot *facts,
                           GError **error);
  bool (*snapshot_apply) (gpointer state, const char *id, const char *name,
                          GError **error);
  bool (*snapshot_delete) (gpointer state, const char *id, const char *name,
                           GError **error);
  /* An image opened read-only shows the snapshot from now on. */
  bool (*snapshot_open) (gpointer state, const char *id, const char *name,
                         GError **error);
  /* Do places of DATA lie in holes of the file, reserved long before their
   * data?  Asked once, of an image that nobody writes. */
  bool (*has_holes) (gpointer state);
  /* Says what stands in the header (describe.h).  Optional. */
  bool (*describe) (VpFile *file, GPtrArray *facts, GError **error);
};

/* ---- the gate ----------------------------------------------------------- */

typedef struct VpOpener VpOpener;
struct VpOpener {
  /* Read-only unless the claim says else.  ret_format: what the gate knows
   * better, static or owned by the gate; left alone, the claim's format holds.
   * VP_IMAGE_ERROR_DENIED for a refusal. */
  VpFile *(*open) (VpOpener *opener, const VpClaim *claim,
                   const char **ret_format, GError **error);
  bool may_probe;    /* where nobody states the format */
  VpFileFlags flags; /* for the opener's own use: VP_FILE_NO_LOCK */
};

/* The person gate: regular files and block devices, relative names beside the
 * image that names them (a data file's: where we are, as QEMU has it); an
 * extent's name is one component, of a file in the image's folder, and so is
 * the place of a backing file that is to lie beside its image;
 * "scheme:" names are refused.  flags: VP_FILE_NO_LOCK
 * or 0.  By value; nothing to free. */
VpOpener vp_opener_person (VpFileFlags flags);
