/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* observe: what is there of one guest, asked of the hypervisor and of the
 * pools.  Blocks: for job threads.  Parses no image: sizes and formats come
 * from the records that the caller gives. */
#pragma once

#include "daemon/host.h"
#include "daemon/plan.h"

/* domain is its name in libvirt.  A mark for another guest counts as ours
 * where the UUID is uuid (may be NULL): the guest was renamed.
 * volumes (VpFoundVolume, from the records; "there" is looked up here) is
 * copied.  VP_ERROR_* of host.h, G_FILE_ERROR of the pool. */
VpFound *vp_observe_guest (VpHost *host, const char *domain, const char *guest,
                           const char *uuid, const GPtrArray *volumes,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
