/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* codec: deflate by libdeflate and, where the build has it, ISA-L; zstd by
 * libzstd.  Units are whole buffers, so the whole-buffer coders do; zlib
 * stands by for streams that a strict decoder refuses but that fill the unit
 * all the same (no end marker, cut off in the last sector).
 *
 * Deflate      default          1-9                narrow
 * with ISA-L   ISA-L level 2    libdeflate, 32K    ISA-L level 3, 4K
 * without      libdeflate 1     libdeflate, 32K    zlib 6, 4K
 *
 * ISA-L's output with a 4-KiB window is 8 to 13 per cent larger than zlib's
 * level 6 with the same; with 32 KiB it is level, and RFC 1951 asks every
 * reader for that much.  So that is the default, and narrow the option. */
#include "config.h"

#include "storage/codec.h"

#include <stdint.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

/* Of a zstd stream that the one-call decoder refuses: 16 MiB, above what any
 * level short of --ultra asks for a unit of 2 MiB. */
#define ZSTD_WINDOW_MAX 24

/* Of units of 512 bytes ISA-L's output depends on what it packed before; ours
 * is to be the same with any number of threads. */
#define ISAL_LEAST 16384u

struct VpCodec {
  VpCodecKind kind;
  int level;
  struct libdeflate_compressor *packer;
  struct libdeflate_decompressor *unpacker;
  z_stream *inflater, *deflater;
#ifdef HAVE_ISAL
  struct isal_zstream *isal;
  uint8_t *isal_level;
#endif
  ZSTD_CCtx *zstd_packer;
  ZSTD_DCtx *zstd_unpacker;
};

VpCodec *
vp_codec_new (VpCodecKind kind, int level)
{
  VpCodec *codec = g_new0 (VpCodec, 1);
  codec->kind = kind;
  codec->level = CLAMP (level, VP_CODEC_LEVEL_NARROW, 9);
  return codec;
}

void
vp_codec_free (VpCodec *codec)
{
  if (!codec)
    return;
  libdeflate_free_compressor (codec->packer);
  libdeflate_free_decompressor (codec->unpacker);
  if (codec->inflater)
    (void) inflateEnd (codec->inflater);
  g_free (codec->inflater);
  if (codec->deflater)
    (void) deflateEnd (codec->deflater);
  g_free (codec->deflater);
#ifdef HAVE_ISAL
  g_free (codec->isal);
  g_free (codec->isal_level);
#endif
  ZSTD_freeCCtx (codec->zstd_packer);
  ZSTD_freeDCtx (codec->zstd_unpacker);
  g_free (codec);
}

/* ---- deflate ------------------------------------------------------------ */

#ifdef HAVE_ISAL

static bool
isal_pack (VpCodec *codec, const void *in, size_t len, void *out, size_t cap,
           size_t *ret_len)
{
  bool narrow = codec->level == VP_CODEC_LEVEL_NARROW;
  uint32_t level_size = narrow ? ISAL_DEF_LVL3_DEFAULT : ISAL_DEF_LVL2_DEFAULT;
  if (!codec->isal) {
    codec->isal = g_new0 (struct isal_zstream, 1);
    codec->isal_level = g_malloc (level_size);
  }
  struct isal_zstream *stream = codec->isal;
  isal_deflate_stateless_init (stream);
  stream->level = narrow ? 3 : 2;
  stream->level_buf = codec->isal_level;
  stream->level_buf_size = level_size;
  stream->gzip_flag = codec->kind == VP_CODEC_ZLIB ? IGZIP_ZLIB : IGZIP_DEFLATE;
  stream->hist_bits = narrow ? 12 : 15;
  stream->end_of_stream = 1;
  stream->next_in = (uint8_t *) in;
  stream->avail_in = (uint32_t) len;
  stream->next_out = out;
  stream->avail_out = (uint32_t) cap;
  if (isal_deflate_stateless (stream) != COMP_OK || stream->avail_in > 0)
    return false;
  *ret_len = cap - stream->avail_out;
  return true;
}

#else

/* The only other coder whose window can be narrowed. */
static bool
zlib_pack (VpCodec *codec, const void *in, size_t len, void *out, size_t cap,
           size_t *ret_len)
{
  z_stream *stream = codec->deflater;
  if (!stream) {
    stream = g_new0 (z_stream, 1);
    int bits = codec->kind == VP_CODEC_ZLIB ? 12 : -12;
    if (deflateInit2 (stream, 6, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
      g_free (stream);
      return false;
    }
    codec->deflater = stream;
  } else if (deflateReset (stream) != Z_OK)
    return false;
  stream->next_in = (Bytef *) in;
  stream->avail_in = (uInt) len;
  stream->next_out = out;
  stream->avail_out = (uInt) cap;
  if (deflate (stream, Z_FINISH) != Z_STREAM_END)
    return false;
  *ret_len = cap - stream->avail_out;
  return true;
}

#endif

static bool
libdeflate_pack (VpCodec *codec, const void *in, size_t len, void *out,
                 size_t cap, size_t *ret_len)
{
  if (!codec->packer)
    codec->packer = libdeflate_alloc_compressor (MAX (codec->level, 1));
  if (!codec->packer)
    return false;
  size_t packed =
      codec->kind == VP_CODEC_ZLIB
          ? libdeflate_zlib_compress (codec->packer, in, len, out, cap)
          : libdeflate_deflate_compress (codec->packer, in, len, out, cap);
  *ret_len = packed;
  return packed > 0;
}

static bool
deflate_pack (VpCodec *codec, const void *in, size_t len, void *out, size_t cap,
              size_t *ret_len)
{
#ifdef HAVE_ISAL
  if (codec->level == VP_CODEC_LEVEL_NARROW ||
      (codec->level == VP_CODEC_LEVEL_DEFAULT && len >= ISAL_LEAST))
    return isal_pack (codec, in, len, out, cap, ret_len);
#else
  if (codec->level == VP_CODEC_LEVEL_NARROW)
    return zlib_pack (codec, in, len, out, cap, ret_len);
#endif
  return libdeflate_pack (codec, in, len, out, cap, ret_len);
}

static bool
zlib_unpack (VpCodec *codec, const void *in, size_t len, void *out,
             size_t out_len)
{
  z_stream *stream = codec->inflater;
  if (!stream) {
    stream = g_new0 (z_stream, 1);
    if (inflateInit2 (stream, codec->kind == VP_CODEC_ZLIB ? 15 : -15) !=
        Z_OK) {
      g_free (stream);
      return false;
    }
    codec->inflater = stream;
  } else if (inflateReset (stream) != Z_OK)
    return false;
  stream->next_in = (Bytef *) in;
  stream->avail_in = (uInt) len;
  stream->next_out = out;
  stream->avail_out = (uInt) out_len;
  int r = inflate (stream, Z_FINISH);
  return (r == Z_STREAM_END || r == Z_BUF_ERROR) && stream->avail_out == 0;
}

static bool
deflate_unpack (VpCodec *codec, const void *in, size_t len, void *out,
                size_t out_len)
{
  if (!codec->unpacker)
    codec->unpacker = libdeflate_alloc_decompressor ();
  if (!codec->unpacker)
    return false;
  size_t used;
  enum libdeflate_result result =
      codec->kind == VP_CODEC_ZLIB
          ? libdeflate_zlib_decompress_ex (codec->unpacker, in, len, out,
                                           out_len, &used, NULL)
          : libdeflate_deflate_decompress_ex (codec->unpacker, in, len, out,
                                              out_len, &used, NULL);
  return result == LIBDEFLATE_SUCCESS ||
         zlib_unpack (codec, in, len, out, out_len);
}

/* ---- zstd --------------------------------------------------------------- */

static bool
zstd_pack (VpCodec *codec, const void *in, size_t len, void *out, size_t cap,
           size_t *ret_len)
{
  if (!codec->zstd_packer)
    codec->zstd_packer = ZSTD_createCCtx ();
  if (!codec->zstd_packer)
    return false;
  /* 2 is what makes files as small as QEMU's 3, with one context kept. */
  int level = codec->level > 0 ? codec->level * 2 + 1 : 2;
  size_t packed =
      ZSTD_compressCCtx (codec->zstd_packer, out, cap, in, len, level);
  if (ZSTD_isError (packed))
    return false;
  *ret_len = packed;
  return true;
}

/* Any frames one after the other, until the unit is full. */
static bool
zstd_unpack_stream (VpCodec *codec, const void *from, size_t len, void *to,
                    size_t out_len)
{
  ZSTD_DCtx *context = codec->zstd_unpacker;
  if (ZSTD_isError (ZSTD_DCtx_reset (context, ZSTD_reset_session_only)) ||
      ZSTD_isError (ZSTD_DCtx_setParameter (context, ZSTD_d_windowLogMax,
                                            ZSTD_WINDOW_MAX)))
    return false;
  ZSTD_inBuffer in = { from, len, 0 };
  ZSTD_outBuffer out = { to, out_len, 0 };
  while (out.pos < out.size) {
    size_t in_before = in.pos, out_before = out.pos;
    size_t r = ZSTD_decompressStream (context, &out, &in);
    if (ZSTD_isError (r) || (in.pos == in_before && out.pos == out_before))
      return false;
  }
  return true;
}

static bool
zstd_unpack (VpCodec *codec, const void *in, size_t len, void *out,
             size_t out_len)
{
  if (!codec->zstd_unpacker)
    codec->zstd_unpacker = ZSTD_createDCtx ();
  if (!codec->zstd_unpacker)
    return false;
  size_t frame = ZSTD_findFrameCompressedSize (in, len);
  if (!ZSTD_isError (frame) &&
      ZSTD_decompressDCtx (codec->zstd_unpacker, out, out_len, in, frame) ==
          out_len)
    return true;
  return zstd_unpack_stream (codec, in, len, out, out_len);
}

/* ---- either ------------------------------------------------------------- */

bool
vp_codec_pack (VpCodec *codec, const void *in, size_t len, void *out,
               size_t cap, size_t *ret_len)
{
  return codec->kind == VP_CODEC_ZSTD
             ? zstd_pack (codec, in, len, out, cap, ret_len)
             : deflate_pack (codec, in, len, out, cap, ret_len);
}

bool
vp_codec_unpack (VpCodec *codec, const void *in, size_t len, void *out,
                 size_t out_len)
{
  return codec->kind == VP_CODEC_ZSTD
             ? zstd_unpack (codec, in, len, out, out_len)
             : deflate_unpack (codec, in, len, out, out_len);
}
