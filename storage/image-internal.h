/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image-internal: what an image is made of; for image.c, chain.c and check.c
 * alone. */
#pragma once

#include "storage/image.h"

struct VpImage {
  const VpFormat *format;
  VpFile *file; /* owned */
  gpointer state;
  VpImageFlags flags;
  uint64_t cluster_size; /* 0: none */
  VpImage *backing;      /* owned */
  bool backing_missing;  /* it has one, and nobody wanted it opened */
  /* The compressed unit that was read last. */
  uint8_t *packed_unit;
  uint64_t packed_offset;
  bool packed_valid;
};
