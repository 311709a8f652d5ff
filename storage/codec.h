/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* codec: packs and unpacks one unit (a cluster, a grain) at a time.  A codec
 * keeps its contexts between calls and belongs to one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

typedef enum {
  VP_CODEC_DEFLATE, /* RFC 1951, bare: qcow, qcow2 */
  VP_CODEC_ZLIB,    /* RFC 1950, the same in a wrapping: vmdk */
  VP_CODEC_ZSTD,    /* RFC 8878 */
} VpCodecKind;

/* Levels: 1 (quick) to 9 (small), and */
/* As small as QEMU's, many times as quick; of VMDK grains, for which QEMU has
 * a larger window, 4 per cent larger. */
#define VP_CODEC_LEVEL_DEFAULT 0
/* Deflate that looks back 4 KiB at most, which is QEMU's own window: some
 * readers inflate in pieces and keep no more than that.  A few per cent
 * larger than the default.  Of no meaning to zstd. */
#define VP_CODEC_LEVEL_NARROW (-1)

typedef struct VpCodec VpCodec;

/* Never NULL; contexts are made when they are first needed. */
VpCodec *vp_codec_new (VpCodecKind kind, int level);
void vp_codec_free (VpCodec *codec);

/* Packs len bytes into at most cap.  False: it does not fit, store it plain;
 * out holds rubbish then. */
bool vp_codec_pack (VpCodec *codec, const void *in, size_t len, void *out,
                    size_t cap, size_t *ret_len);
/* Unpacks exactly out_len bytes; what in holds after them is not looked at,
 * and a stream that has more is cut off there.  False: broken. */
bool vp_codec_unpack (VpCodec *codec, const void *in, size_t len, void *out,
                      size_t out_len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpCodec, vp_codec_free)
