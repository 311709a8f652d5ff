/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* progress: one report and one look at the cancel flag. */
#include "config.h"

#include "storage/progress.h"

#include "storage/error.h"

bool
vp_progress_update (const VpProgress *progress, uint64_t done, uint64_t total,
                    GError **error)
{
  if (!progress)
    return true;
  if (progress->cancel && g_atomic_int_get (progress->cancel)) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CANCELLED,
                         "cancelled");
    return false;
  }
  if (progress->report)
    progress->report (done, total, progress->user_data);
  return true;
}
