/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-check: what the rooms of the check share.  For qcow2-check*.c and
 * qcow2-repair.c alone. */
#pragma once

#include "storage/cluster-counts.h"
#include "storage/qcow2.h"

#include "storage/check.h"

/* An L2 table, once, however many L1 entries lead to it. */
typedef struct {
  uint64_t offset;
  uint32_t paths;  /* L1 entries that lead here */
  uint32_t active; /* ... of the active L1 */
  bool faulty;     /* has entries that a repair could set right */
} Qcow2CountedL2;

typedef struct {
  Qcow2 *q;
  VpRepair repair;
  const VpProgress *progress;
  VpCheckResult *result;
  VpCounts *counts;
  GArray *l2; /* of Qcow2CountedL2, by offset once all L1 are read */
  uint64_t file_end;
  uint64_t n_clusters; /* of the file; the last may be a part */
  uint64_t n_compared; /* clusters whose refcounts are looked at */
  uint64_t n_l1_entries;
  uint64_t max_refcount;
  GArray *blocks;        /* refblocks while they are read */
  GArray *broken_blocks; /* uint64_t: numbers of refblocks not to be read */
  uint64_t flag_faults;  /* COPIED wrong; not in result->corruptions yet */
  bool data_file;        /* guest data lies in another file */
  bool faulty_l1;        /* an L1 entry has reserved bits */
  bool spills;           /* what begins in the file ends a cluster later */
  bool quiet;            /* note nothing: all was noted already */
  bool obscure;          /* a reference leads nowhere: what looks like a leak
                            may be what it meant, and is kept */
  bool rebuild;          /* refcounts cannot be mended where they are */
  bool changed;
} Qcow2Check;

#define X64 "0x%" G_GINT64_MODIFIER "x"

void qcow2_check_note (Qcow2Check *check, const char *format, ...)
    G_GNUC_PRINTF (2, 3);
#define CORRUPT(check, ...)                                                    \
  do {                                                                         \
    (check)->result->corruptions++;                                            \
    qcow2_check_note (check, "ERROR " __VA_ARGS__);                            \
  } while (0)

/* ---- qcow2-check.c ------------------------------------------------------ */

/* How a note names an entry with a wrong COPIED flag; l1_index -1: of an L2
 * table.  Caller frees. */
char *qcow2_check_name_entry (int64_t l1_index);
/* Sets the error for "over the budget"; false. */
bool qcow2_too_large (const Qcow2Check *check, GError **error);
/* References to [offset, offset + length), times over. */
bool qcow2_count_range (Qcow2Check *check, uint64_t offset, uint64_t length,
                        uint64_t times, GError **error);
/* Reads tables of one size, whose offsets ascend; those that lie together in
 * one go; holes are passed by.  index: into offsets. */
typedef bool (*Qcow2Visit) (Qcow2Check *check, guint index,
                            const uint8_t *bytes, GError **error);
typedef uint64_t (*Qcow2OffsetOf) (const Qcow2Check *check, guint index);
bool qcow2_read_tables (Qcow2Check *check, guint n, Qcow2OffsetOf offset_of,
                        size_t size, Qcow2Visit visit, GError **error);
/* A new count of everything into check->result. */
bool qcow2_count_all (Qcow2Check *check, bool refcounts, GError **error);

/* ---- qcow2-check-map.c: L1 and L2 --------------------------------------- */

bool qcow2_count_l1 (Qcow2Check *check, uint64_t offset, uint64_t entries,
                     bool active, GError **error);
bool qcow2_count_l2 (Qcow2Check *check, GError **error);

/* ---- qcow2-check-refcount.c: what is stored, and comparing -------------- */

bool qcow2_load_stored (Qcow2Check *check, GError **error);
bool qcow2_count_refblocks (Qcow2Check *check, GError **error);
/* Notes each difference; repair: and mends what may be mended in place. */
bool qcow2_compare (Qcow2Check *check, VpRepair repair, GError **error);
/* Is the refcount of cluster anybody's guess? */
bool qcow2_refcount_unknown (const Qcow2Check *check, uint64_t cluster);

/* ---- qcow2-repair.c ----------------------------------------------------- */

/* Entries whose repair takes nothing from anybody. */
bool qcow2_mend_entries (Qcow2Check *check, GError **error);
bool qcow2_mend_flags (Qcow2Check *check, bool repair, GError **error);
/* Are all COPIED flags that do not go with the stored refcounts what a leak
 * makes of them?  Asked once all references are counted. */
bool qcow2_flags_follow_leaks (Qcow2Check *check, bool *ret_follow,
                               GError **error);
/* Sets COPIED for what leaks down to one reference, on the disk: a cut between
 * that and the refcounts leaves a leak; the other way round it would leave a
 * flag that nothing explains. */
bool qcow2_claim_leaks (Qcow2Check *check, GError **error);
/* All refcounts anew, behind everything; check->counts must be without the
 * old refcount structures. */
bool qcow2_rebuild_refcounts (Qcow2Check *check, GError **error);
