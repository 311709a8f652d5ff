/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-check: what the two rooms of the check share.  For qcow-check.c and
 * qcow-repair.c alone. */
#pragma once

#include "storage/check.h"
#include "storage/qcow.h"

/* An L2 entry whose place is no good, and what stands in it. */
typedef struct {
  uint64_t at; /* in the file */
  uint64_t raw;
} QcowFault;

typedef struct {
  Qcow *q;
  const VpProgress *progress;
  VpCheckResult *result;
  VpCounts *counts;
  GArray *tables;    /* uint64_t: each L2 table once */
  GArray *ends;      /* uint64_t: entries of it that the disk has */
  GArray *misplaced; /* of QcowFault: to get a place of their own */
  GArray *stale;     /* of QcowFault: behind the disk's end */
  uint64_t file_end;
  uint64_t last; /* end of the cluster before; for fragmentation */
  bool quiet;    /* note nothing: all was noted already */
  bool obscure;  /* a reference leads nowhere: what looks like a leak may be
                    what it meant, and is kept */
} QcowCheck;

/* A new count of everything into check->result. */
bool qcow_count_all (QcowCheck *check,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Is there anything but zeros in that part of the file? */
bool qcow_holds_bytes (QcowCheck *check, uint64_t offset, uint64_t length,
                       bool *ret_holds,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow-repair.c */
/* What is misplaced gets a place of its own, with the bytes that are read
 * there now. */
bool qcow_move_misplaced (QcowCheck *check,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing that is not named holds bytes afterwards. */
bool qcow_drop_leaks (QcowCheck *check,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
