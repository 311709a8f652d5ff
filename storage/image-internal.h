/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image-internal: what an image is made of; for image.c and the rooms of
 * its kind alone. */
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
  bool probed;           /* nobody stated the format */
  uint64_t cluster_size; /* 0: none */
  uint64_t grain;        /* what zero and discard take at least; not 0 */
  VpFile *data_file;     /* owned; NULL: none, or not opened */
  GPtrArray *parts;      /* of VpFile, owned; NULL: none, or not opened */
  VpImage *backing;      /* owned */
  bool backing_missing;  /* it has one, and nobody wanted it opened */
  VpSecret *key;         /* owned; that opened it, or NULL */
  VpTransfer *transfer;  /* owned */
  VpHoles holes;
};

/* Where bytes come from: one answer for the first part of a range. */
typedef struct {
  VpImage *layer; /* the one that decided */
  unsigned depth; /* of it */
  VpRun run;
  bool past_end; /* a shorter backing image ended here */
} VpAnswer;

/* Bounds are the caller's business. */
bool vp_image_resolve (VpImage *image, uint64_t offset, uint64_t length,
                       VpAnswer *ret_answer,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* False where the bytes are in a backing file that was not opened. */
bool vp_image_check_answer (const VpAnswer *answer,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same answer in the words of a map; its length may be shorter. */
void vp_image_describe (const VpAnswer *answer, uint64_t offset,
                        VpExtent *ret_extent);
/* len bytes between the head and the tail of place, and these with what was
 * there before. */
bool vp_image_fill_place (VpImage *image, const VpPlace *place,
                          const uint8_t *from, size_t len,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Does this run of layer lie in a hole of the file?  ret_length is how far
 * that holds, or how far it does not; left alone where nobody asked. */
bool vp_image_find_hole (VpImage *layer, const VpRun *run,
                         uint64_t *ret_length);
