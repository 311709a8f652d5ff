/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* progress: how far something long has come, and whether to go on.  Plain
 * data handed down by the caller; NULL means that nobody looks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct {
  /* Bytes done and in all; called on the working thread every few MiB and
   * once at the end.  May be NULL. */
  void (*report) (uint64_t done, uint64_t total, gpointer user_data);
  gpointer user_data;
  /* Read atomically; non-zero ends the work (VP_IMAGE_ERROR_CANCELLED).  May
   * be NULL. */
  const int *cancel;
} VpProgress;

/* False with VP_IMAGE_ERROR_CANCELLED where the flag is up. */
bool vp_progress_update (const VpProgress *progress, uint64_t done,
                         uint64_t total,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
