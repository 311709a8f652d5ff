/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* crc32c: the checksum of Castagnoli, of small things. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* crc: of what comes before; 0 at first. */
uint32_t vp_crc32c (uint32_t crc, const void *bytes, size_t len);
