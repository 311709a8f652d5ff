/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image-internal: what an image is made of; for image.c, chain.c and check.c
 * alone. */
#pragma once

#include "storage/image.h"
#include "storage/transfer.h"

/* What a file has said last of its holes (holes.c). */
typedef struct {
  enum { VP_HOLES_UNKNOWN, VP_HOLES_NONE, VP_HOLES_LIKELY } state;
  uint64_t start, end; /* in the file */
  bool data;           /* ... or a hole */
} VpHoles;

struct VpImage {
  const VpFormat *format;
  VpFile *file; /* owned */
  gpointer state;
  VpImageFlags flags;
  uint64_t cluster_size; /* 0: none */
  uint64_t grain;        /* what zero and discard take at least; not 0 */
  VpFile *data_file;     /* owned; NULL: none, or not opened */
  VpImage *backing;      /* owned */
  bool backing_missing;  /* it has one, and nobody wanted it opened */
  VpTransfer *transfer;  /* owned */
  VpHoles holes;
};

/* Does this run of layer lie in a hole of the file?  ret_length is how far
 * that holds, or how far it does not; left alone where nobody asked. */
bool vp_image_find_hole (VpImage *layer, const VpRun *run,
                         uint64_t *ret_length);
