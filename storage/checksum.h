/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* checksum: one digest for all guest bytes of an image and its chain, the same
 * in any format.  It is a tree, so that processors share the work and holes
 * cost nothing; anybody can compute it:
 *
 *   1. Cut the guest bytes into blocks of 65536; fill up the last with zeros.
 *   2. Level 0 is the SHA-256 of each block, in order.
 *   3. While a level has more than one digest, make the next: join 256 digests
 *      at a time (the last group may be shorter), and take the SHA-256 of each
 *      joined group.
 *   4. The checksum is the SHA-256 of the 17 bytes "vprov-checksum-1\n", the
 *      number of guest bytes as 8 bytes, big-endian, and the one digest that
 *      is left (nothing, where there are no bytes). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/image.h"

#define VP_CHECKSUM_LEN 32u

/* threads 0: one for each processor. */
bool vp_checksum_image (VpImage *image, unsigned threads,
                        const VpProgress *progress,
                        uint8_t ret_digest[VP_CHECKSUM_LEN],
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* 64 lower-case digits. */
char *vp_checksum_to_text (const uint8_t digest[VP_CHECKSUM_LEN]);
