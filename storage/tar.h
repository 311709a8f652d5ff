/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* tar: what an archive holds that somebody took for an image: the names in it,
 * and nothing else. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/file.h"

#define VP_TAR_MARK_AT 257u
#define VP_TAR_MARK    "ustar"

/* The first member whose name ends with suffix, in any case; looks at some
 * hundred members only.  NULL: none, or the archive is broken. */
char *vp_tar_find_member (VpFile *file, const char *suffix);
