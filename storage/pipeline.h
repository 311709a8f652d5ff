/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pipeline: the same work for one piece after the other, on several threads.
 *
 *     take      in order, one at a time   what is next, and where it is
 *     prepare   at once                   read, unpack, look for zeros, pack
 *     place     in order, one at a time   where it goes
 *     store     at once                   write
 *     finish    one at a time             link what was written
 *
 * "One at a time" is one lock round take, place and finish, so they alone call
 * drivers; "in order" makes the outcome the same with any number of threads.
 * The first few pieces are worked on by the caller's own thread: small images
 * never see another. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/progress.h"

#define VP_PIPELINE_MOST_THREADS 16u

/* work is the caller's; a hand is what one thread has for the piece that it is
 * at.  Rows after prepare may be NULL. */
typedef struct {
  gpointer (*hire) (gpointer work);
  void (*dismiss) (gpointer hand);
  /* ret_some false: there is no more. */
  bool (*take) (gpointer work, gpointer hand, bool *ret_some, GError **error);
  bool (*prepare) (gpointer work, gpointer hand, GError **error);
  bool (*place) (gpointer work, gpointer hand, GError **error);
  bool (*store) (gpointer work, gpointer hand, GError **error);
  bool (*finish) (gpointer work, gpointer hand, GError **error);
  /* In place of finish, where place or store failed. */
  void (*abandon) (gpointer work, gpointer hand);
  /* For progress, between two takes. */
  uint64_t (*get_done) (gpointer work);
} VpPipelineSteps;

/* threads 0: one for each processor, 16 at most.  Where several pieces fail
 * the error is that of the first.  progress is reported on the caller's
 * thread. */
bool vp_pipeline_run (const VpPipelineSteps *steps, gpointer work,
                      unsigned threads, const VpProgress *progress,
                      uint64_t total, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* What 0 stands for. */
unsigned vp_pipeline_default_threads (void);
