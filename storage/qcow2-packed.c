/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-packed: compressed clusters, zlib and zstd.  The output buffer is one
 * cluster and is never outgrown; how long the input really is nobody says, so
 * the decoder is stopped when the cluster is full. */
#include "config.h"

#include "storage/qcow2.h"

#include <zlib.h>
#include <zstd.h>

#include "storage/error.h"

static bool
inflate_cluster (Qcow2 *q, uint8_t *packed, size_t len, uint8_t *unit)
{
  z_stream *stream = q->inflater;
  if (!stream) {
    stream = g_new0 (z_stream, 1);
    /* Raw deflate; a window of 32 KiB takes the smaller ones as well. */
    if (inflateInit2 (stream, -15) != Z_OK) {
      g_free (stream);
      return false;
    }
    q->inflater = stream;
  } else if (inflateReset (stream) != Z_OK)
    return false;
  stream->next_in = packed;
  stream->avail_in = (uInt) len;
  stream->next_out = unit;
  stream->avail_out = (uInt) q->cluster_size;
  int r = inflate (stream, Z_FINISH);
  return (r == Z_STREAM_END || r == Z_BUF_ERROR) && stream->avail_out == 0;
}

static bool
unzstd_cluster (Qcow2 *q, const uint8_t *packed, size_t len, uint8_t *unit)
{
  if (!q->zstd)
    q->zstd = ZSTD_createDStream ();
  if (!q->zstd || ZSTD_isError (ZSTD_initDStream (q->zstd)))
    return false;
  ZSTD_inBuffer in = { packed, len, 0 };
  ZSTD_outBuffer out = { unit, (size_t) q->cluster_size, 0 };
  while (out.pos < out.size) {
    size_t in_before = in.pos, out_before = out.pos;
    size_t r = ZSTD_decompressStream (q->zstd, &out, &in);
    if (ZSTD_isError (r) || (in.pos == in_before && out.pos == out_before))
      return false;
  }
  return true;
}

bool
qcow2_read_compressed (gpointer state, const VpRun *run, uint8_t *unit,
                       GError **error)
{
  Qcow2 *q = state;
  uint64_t size;
  if (!vp_file_get_size (q->file, &size, error))
    return false;
  /* The last sectors of a file may be missing, all of them may not. */
  if (run->offset >= size)
    return qcow2_corrupt (q, error,
                          "a compressed cluster lies past the end of the file "
                          "(0x%" G_GINT64_MODIFIER "x)",
                          run->offset);
  size_t len = (size_t) MIN (run->packed, size - run->offset);
  g_autofree uint8_t *packed = g_malloc (len);
  if (!vp_file_read (q->file, run->offset, packed, len, error))
    return false;
  bool ok = q->header.compression_type == 0
                ? inflate_cluster (q, packed, len, unit)
                : unzstd_cluster (q, packed, len, unit);
  if (ok)
    return true;
  return qcow2_corrupt (q, error,
                        "the compressed cluster at 0x%" G_GINT64_MODIFIER
                        "x cannot be unpacked",
                        run->offset);
}

void
qcow2_free_codecs (Qcow2 *q)
{
  if (q->inflater) {
    (void) inflateEnd (q->inflater);
    g_free (q->inflater);
  }
  if (q->zstd)
    ZSTD_freeDStream (q->zstd);
}
