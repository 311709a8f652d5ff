/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-check: is an extent consistent with itself. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include "storage/error.h"

bool
vmdk_sparse_check (VmdkSparse *s, VpRepair repair, const VpProgress *progress,
                   VpCheckResult *result, GError **error)
{
  return true;
}
