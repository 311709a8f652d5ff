/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-convert: what convert is asked for.  Private to img-convert*.c. */
#pragma once

#include "storage/img-names.h"
#include "storage/img.h"

typedef struct {
  GPtrArray *sources; /* of char *, borrowed from argv */
  const char *source_format;
  const char *target, *target_format;
  const char *backing, *backing_format; /* from -B, or from -o */
  const char *snapshot;
  GPtrArray *pairs;   /* of -o */
  VpImgAccess access; /* of the sources */
  VpFileCaching target_caching;
  VpImgProgressKind progress;
  uint64_t sparse_size, rate; /* as VpCopyOptions has them */
  unsigned threads;
  int level; /* codec.h */
  bool quiet, no_create, target_is_zero, target_image_opts, compress, offload;
  bool bitmaps, skip_broken, salvage, sparse_given;
} VpImgConvert;

/* The exit status where that ends the program, else -1. */
int vp_img_convert_parse (VpImgConvert *convert, int argc, char **argv);
/* What -o, -B, -F and -c ask of a new target, whose size is in options; -1
 * where it is fine. */
int vp_img_convert_options (const VpImgConvert *convert, const VpFormat *format,
                            VpCreateOptions *options);
void vp_img_convert_clear (VpImgConvert *convert);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpImgConvert, vp_img_convert_clear)
