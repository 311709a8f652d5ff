/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy: whole images against each other: copy and compare.  Work goes extent
 * by extent, in pieces that several threads work on at once (pipeline.h);
 * what is written where does not depend on their number.  No byte is read
 * where both sides know that it is zero.  Memory: 64 MiB at most, whatever
 * the size.  The images belong to the call until it returns. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/image.h"

/* What could not be read.  vp_salvage_init () and _clear (). */
typedef struct {
  pthread_mutex_t lock;
  uint64_t bytes;      /* that became zeros */
  GPtrArray *messages; /* of char *, the first 1000 */
} VpSalvage;

void vp_salvage_init (VpSalvage *salvage);
void vp_salvage_clear (VpSalvage *salvage);

typedef struct {
  /* Runs of zeros at least that long are not stored; rounded to the target's
   * unit.  0: 4096.  UINT64_MAX: everything is stored. */
  uint64_t sparse_size;
  /* The target reads as zeros already, as a fresh image does. */
  bool target_is_zero;
  /* The target stands on this layer of the source's chain (1: its backing
   * image): what the source has from there on is not copied.  0: it does
   * not. */
  unsigned shared_depth;
  /* A part of the source (length 0: to its end), and where it goes in the
   * target: to join images, and for dd. */
  uint64_t source_offset, length, target_offset;
  /* What the target holds outside of that part stays as it is. */
  bool keep_rest;
  /* Packs what shrinks; VP_IMAGE_ERROR_UNSUPPORTED where the target cannot
   * hold packed clusters.  level as in codec.h. */
  bool compress;
  int level;
  unsigned threads; /* 0: one for each processor; 16 at most */
  uint64_t rate;    /* bytes of data in a second; 0: no limit */
  /* What cannot be read becomes zeros and is noted here.  NULL: it ends the
   * copy. */
  VpSalvage *salvage;
} VpCopyOptions;

/* Copies guest bytes.  The target must have room for them
 * (VP_IMAGE_ERROR_RANGE); what lies behind them is zeroed, unless keep_rest.
 * Flushes at the end.  After a failure the target holds some of it. */
bool vp_copy_image (VpImage *source, VpImage *target,
                    const VpCopyOptions *options, const VpProgress *progress,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef enum {
  VP_COMPARE_EQUAL,
  VP_COMPARE_CONTENT, /* at ret_offset */
  VP_COMPARE_SIZE,    /* strict: another size */
  VP_COMPARE_STATUS,  /* strict: allocated in one only, at ret_offset */
} VpCompareResult;

/* Where sizes differ the longer one must hold zeros there; ret_size_differs
 * says so (may be NULL).  ret_in_rest: the difference lies past the end of
 * the shorter (may be NULL).  ret_map_failed, on failure only: the tables could
 * not be read, not the bytes (may be NULL). */
bool vp_compare_images (VpImage *a, VpImage *b, bool strict,
                        const VpProgress *progress, VpCompareResult *ret_result,
                        uint64_t *ret_offset, bool *ret_size_differs,
                        bool *ret_in_rest, bool *ret_map_failed,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* True for all zeros; quick. */
bool vp_buffer_is_zero (const void *buffer, size_t len);
