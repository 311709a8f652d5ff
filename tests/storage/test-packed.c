/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Codecs, and compressed writing in every format of the list that has it. */
#include "config.h"

#include "storage/codec.h"

#include <string.h>

#include <zlib.h>

#include "storage/error.h"
#include "storage/transfer.h"
#include "tests/storage/engine-cases.h"

#define MIB  (UINT64_C (1) << 20)
#define UNIT 65536u

/* ---- codecs ------------------------------------------------------------- */

/* Text-like: words from a small stock. */
static void
fill_words (Random *random, uint8_t *bytes, size_t len)
{
  for (size_t at = 0; at < len;) {
    uint64_t word = random_below (random, 20) * UINT64_C (0x9e3779b97f4a7c15);
    size_t part = MIN (len - at, 2 + (word & 5));
    memcpy (bytes + at, &word, part);
    at += part;
  }
}

static void
round_trip (VpCodecKind kind, int level)
{
  g_autoptr (VpCodec) codec = vp_codec_new (kind, level);
  g_autofree uint8_t *in = g_malloc (UNIT), *out = g_malloc (UNIT);
  g_autofree uint8_t *packed = g_malloc (UNIT + 1024);
  Random random = { test_seed () };
  for (unsigned i = 0; i < 8; i++) {
    size_t len = i == 0 ? 512 : UNIT, packed_len;
    fill_words (&random, in, len);
    g_assert_true (
        vp_codec_pack (codec, in, len, packed, len - 1, &packed_len));
    g_assert_cmpuint (packed_len, <, len);
    /* What follows is the next one's. */
    memset (packed + packed_len, 0xff, 1024);
    g_assert_true (
        vp_codec_unpack (codec, packed, packed_len + i * 100, out, len));
    g_assert_true (memcmp (in, out, len) == 0);
    g_assert_false (vp_codec_unpack (codec, packed, packed_len / 2, out, len));
    g_assert_false (vp_codec_unpack (codec, packed, packed_len, out, len + 1));
  }
  random_fill (&random, in, UNIT);
  size_t ignored;
  g_assert_false (vp_codec_pack (codec, in, UNIT, packed, UNIT - 1, &ignored));
}

static void
test_codecs (void)
{
  for (int level = VP_CODEC_LEVEL_NARROW; level <= 9;
       level += test_rounds (5, 2)) {
    round_trip (VP_CODEC_DEFLATE, level);
    round_trip (VP_CODEC_ZLIB, level);
    round_trip (VP_CODEC_ZSTD, level);
  }
}

static void
pack_always (VpTransfer *transfer, Random *random, VpCodecKind kind, int level,
             size_t unit)
{
  VpPacking packing = { .codec = kind, .unit = unit, .always = true };
  g_autoptr (VpCodec) codec = vp_codec_new (kind, 0);
  g_autofree uint8_t *in = g_malloc (unit), *out = g_malloc (unit);
  size_t len;
  for (unsigned noise = 0; noise < 2; noise++) {
    if (noise)
      random_fill (random, in, unit);
    else
      fill_words (random, in, unit);
    const uint8_t *packed =
        vp_transfer_pack (transfer, &packing, level, in, &len);
    g_assert_nonnull (packed);
    g_assert_cmpuint (len, <=, vp_transfer_most_packed (&packing));
    g_assert_true (vp_codec_unpack (codec, packed, len, out, unit));
    g_assert_true (memcmp (out, in, unit) == 0);
  }
}

/* What cannot shrink has to fit all the same where units are always packed. */
static void
test_always (void)
{
  static const size_t units[] = { 512, 4096, 16384, UNIT, 2 << 20 };
  g_autoptr (VpTransfer) transfer = vp_transfer_new ();
  Random random = { test_seed () };
  for (size_t i = 0; i < G_N_ELEMENTS (units); i++) {
    int most = units[i] > UNIT ? (int) test_rounds (0, 9) : 9;
    for (int level = VP_CODEC_LEVEL_NARROW; level <= most;
         level += level < 1 ? 1 : (int) test_rounds (8, 1)) {
      pack_always (transfer, &random, VP_CODEC_DEFLATE, level, units[i]);
      pack_always (transfer, &random, VP_CODEC_ZLIB, level, units[i]);
      pack_always (transfer, &random, VP_CODEC_ZSTD, level, units[i]);
    }
  }
}

/* A reader that keeps 4 KiB and takes 1000 bytes at a time. */
static void
test_narrow (void)
{
  g_autoptr (VpCodec) codec =
      vp_codec_new (VP_CODEC_DEFLATE, VP_CODEC_LEVEL_NARROW);
  g_autofree uint8_t *in = g_malloc (UNIT), *out = g_malloc (UNIT);
  g_autofree uint8_t *packed = g_malloc (UNIT);
  Random random = { test_seed () };
  size_t len;
  fill_words (&random, in, UNIT);
  g_assert_true (vp_codec_pack (codec, in, UNIT, packed, UNIT - 1, &len));
  z_stream stream = { .next_in = packed, .avail_in = (uInt) len };
  g_assert_cmpint (inflateInit2 (&stream, -12), ==, Z_OK);
  for (size_t at = 0; at < UNIT; at += 1000) {
    stream.next_out = out + at;
    stream.avail_out = (uInt) MIN (1000, UNIT - at);
    int r = inflate (&stream, Z_NO_FLUSH);
    g_assert_true (r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR);
    g_assert_cmpuint (stream.avail_out, ==, 0);
  }
  g_assert_cmpmem (in, UNIT, out, UNIT);
  (void) inflateEnd (&stream);
}

/* No end marker, as some old writers left it; only the unit is full. */
static void
test_unfinished (void)
{
  g_autoptr (VpCodec) codec = vp_codec_new (VP_CODEC_DEFLATE, 0);
  g_autofree uint8_t *in = g_malloc (UNIT), *out = g_malloc (UNIT);
  g_autofree uint8_t *packed = g_malloc (UNIT);
  Random random = { test_seed () };
  fill_words (&random, in, UNIT);
  z_stream stream = {
    .next_in = in, .avail_in = UNIT, .next_out = packed, .avail_out = UNIT
  };
  g_assert_cmpint (deflateInit2 (&stream, 6, Z_DEFLATED, -12, 9, 0), ==, Z_OK);
  g_assert_cmpint (deflate (&stream, Z_SYNC_FLUSH), ==, Z_OK);
  size_t len = UNIT - stream.avail_out;
  (void) deflateEnd (&stream);
  g_assert_true (vp_codec_unpack (codec, packed, len, out, UNIT));
  g_assert_cmpmem (in, UNIT, out, UNIT);
}

/* ---- images ------------------------------------------------------------- */

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
  VpPacking packing;
  uint64_t size;
  uint8_t *bytes;
  Random random;
} World;

static bool
world_open (World *w)
{
  w->image = case_open (w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
  return vp_image_get_packing (w->image, &w->packing);
}

static bool
world_init (World *w, gconstpointer c, uint64_t size)
{
  w->c = c;
  w->size = size;
  w->random.state = test_seed ();
  w->bytes = g_malloc0 (size);
  fake_gate_init (&w->gate);
  w->file = case_create (c, &w->gate, "disk", size, NULL, NULL);
  return world_open (w);
}

static void
world_close (World *w)
{
  g_autofree uint8_t *found = g_malloc (w->size);
  ASSERT_OK (vp_image_read (w->image, 0, found, w->size, &error));
  g_assert_true (memcmp (w->bytes, found, w->size) == 0);
  ASSERT_OK (vp_image_close (g_steal_pointer (&w->image), &error));
  case_check (w->c, w->file, 0);
}

static void
world_clear (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
  g_free (w->bytes);
}

static void
put_packed (World *w, uint64_t offset, size_t len)
{
  if (random_below (&w->random, 4) == 0)
    random_fill (&w->random, w->bytes + offset, len);
  else
    fill_words (&w->random, w->bytes + offset, len);
  ASSERT_OK (vp_image_write_compressed (w->image, offset, w->bytes + offset,
                                        len, &error));
}

static void
test_refused (gconstpointer data)
{
  World w = { 0 };
  bool packs = world_init (&w, data, 5 * MIB);
  g_autoptr (GError) error = NULL;
  uint8_t bytes[512] = { 1 };
  g_assert_false (
      vp_image_write_compressed (w.image, 100, bytes, sizeof bytes, &error));
  if (!packs)
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  else
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  world_clear (&w);
}

/* Packed units among plain ones, over and over; nothing leaks. */
static void
test_mixed (gconstpointer data)
{
  World w = { 0 };
  if (!world_init (&w, data, 0x2a200)) {
    g_test_skip ("has no compressed clusters");
    world_clear (&w);
    return;
  }
  uint64_t unit = w.packing.unit;
  for (unsigned i = 0; i < test_rounds (50, 2000); i++) {
    uint64_t offset = vp_round_down (random_below (&w.random, w.size), unit);
    uint64_t wanted = unit * (1 + random_below (&w.random, 5));
    size_t len = (size_t) MIN (w.size - offset, wanted);
    switch (random_below (&w.random, 8)) {
    case 0:
      random_fill (&w.random, w.bytes + offset, len / 2);
      ASSERT_OK (
          vp_image_write (w.image, offset, w.bytes + offset, len / 2, &error));
      break;
    case 1:
      memset (w.bytes + offset, 0, len);
      ASSERT_OK (vp_image_zero (w.image, offset, len, true, &error));
      break;
    case 2: ASSERT_OK (vp_image_flush (w.image, &error)); break;
    case 3:
      if (random_below (&w.random, 4) == 0) {
        world_close (&w);
        g_assert_true (world_open (&w));
      }
      break;
    default: put_packed (&w, offset, len);
    }
  }
  world_close (&w);
  world_clear (&w);
}

/* Each write fails in turn: the image is whole, at most clusters leak. */
static void
test_failing (gconstpointer data)
{
  for (unsigned nth = 1;; nth += test_rounds (5, 1)) {
    World w = { 0 };
    g_autoptr (GError) error = NULL;
    bool ok = world_init (&w, data, 0x2a200);
    if (!ok || vp_image_get_size (w.image) != w.size) {
      world_clear (&w);
      return;
    }
    fill_words (&w.random, w.bytes, w.size);
    fake_file_fail (w.file, nth, false);
    ok = vp_image_write_compressed (w.image, 0, w.bytes, w.size, &error) &&
         vp_image_flush (w.image, &error);
    bool failed = fake_file_has_failed (w.file);
    g_assert_true (ok != failed);
    vp_image_free (g_steal_pointer (&w.image));
    fake_file_fail (w.file, 0, false);
    case_check (w.c, w.file, ok ? 0 : 1000);
    world_clear (&w);
    if (!failed || nth > 40)
      break;
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/codec/round-trip", test_codecs);
  g_test_add_func ("/codec/always", test_always);
  g_test_add_func ("/codec/narrow", test_narrow);
  g_test_add_func ("/codec/unfinished", test_unfinished);
  case_add_every ("/packed/refused", test_refused);
  case_add_all ("/packed/mixed", test_mixed);
  case_add_all ("/packed/failing", test_failing);
  return g_test_run ();
}
