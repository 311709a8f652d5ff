/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-header: "info --header".  Private to img-*.c. */
#pragma once

#include "storage/img-names.h"
#include "storage/img.h"

/* Opens the file alone; format NULL: probed.  The exit status. */
int vp_img_show_header (const VpImgAccess *access, const char *filename,
                        const char *format, VpImgOutput output);
