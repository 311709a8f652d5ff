/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* streamOptimized by itself: what the writer leaves in the file, what the
 * footer has to be, and what a marker is not believed. */
#include "config.h"

#include "storage/vmdk-stream.h"

#include <string.h>

#include "storage/error.h"
#include "storage/transfer.h"
#include "tests/storage/engine-cases.h"

#define SECTOR 512u
#define GRAIN  VMDK_STREAM_GRAIN
#define MIB    (UINT64_C (1) << 20)
#define SIZE   (100 * MIB + 512) /* four tables, and a bit of a grain */

/* In the file of an empty one. */
#define FIRST     (128 * SECTOR)
#define DIRECTORY (129 * SECTOR)
#define EMPTY_LEN (133 * SECTOR)

static VpFile *
make_empty (void)
{
  VpFile *file = fake_file_new ("stream.vmdk");
  uint64_t offset = 0;
  ASSERT_OK (vmdk_stream_create (file, SIZE, 10000, &offset, &error));
  g_assert_cmpuint (offset, ==, SECTOR);
  return file;
}

static VmdkStream *
open_stream (VpFile *file, VpDriverFlags flags)
{
  VmdkStream *stream = NULL;
  ASSERT_OK (vmdk_stream_open (file, flags, &stream, &error));
  return stream;
}

static void
refuse_open (VpFile *file, int code)
{
  g_autoptr (GError) failure = NULL;
  VmdkStream *stream = NULL;
  g_assert_false (vmdk_stream_open (file, 0, &stream, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, code);
}

/* A grain of one byte value, packed. */
static void
put_grain (VmdkStream *stream, uint64_t offset, uint8_t value)
{
  g_autoptr (VpTransfer) transfer = vp_transfer_new ();
  g_autofree uint8_t *grain = g_malloc (GRAIN);
  VpPlace place = { 0 };
  VpPacking packing;
  size_t len;
  memset (grain, value, GRAIN);
  vmdk_stream_packing (stream, &packing);
  const uint8_t *packed = vp_transfer_pack (transfer, &packing, 0, grain, &len);
  ASSERT_OK (vmdk_stream_reserve_packed (stream, offset, len, &place, &error));
  ASSERT_OK (vp_file_write (place.file, place.offset, packed, len, &error));
  ASSERT_OK (vmdk_stream_link_packed (stream, &place, &error));
}

static void
load_footer (VpFile *file, uint8_t *footer)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  ASSERT_OK (vmdk_stream_load_footer (file, bytes, footer, &error));
}

/* Through the tables of the file. */
static uint64_t
find_grain (VpFile *file, uint64_t offset)
{
  uint8_t footer[SECTOR];
  uint64_t size, number = offset / GRAIN;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  load_footer (file, footer);
  uint64_t directory = vp_le64_get (footer + 56) * SECTOR;
  uint64_t table =
      (uint64_t) vp_le32_get (bytes + directory + number / 512 * 4) * SECTOR;
  g_assert_cmpuint (table, <, size);
  return table == 0
             ? 0
             : (uint64_t) vp_le32_get (bytes + table + number % 512 * 4) *
                   SECTOR;
}

static void
expect_grain (VpFile *file, uint64_t offset, uint8_t value)
{
  g_autoptr (VpTransfer) transfer = vp_transfer_new ();
  g_autofree uint8_t *grain = g_malloc (GRAIN);
  VpRun run;
  uint64_t at = find_grain (file, offset);
  g_assert_cmpuint (at, >=, FIRST);
  ASSERT_OK (vmdk_stream_map (file, true, at, offset, GRAIN, &run, &error));
  run.length = GRAIN;
  ASSERT_OK (vp_transfer_read (transfer, &run, grain, GRAIN, &error));
  g_assert_cmpuint (grain[0], ==, value);
  g_assert_true (memcmp (grain, grain + 1, GRAIN - 1) == 0);
}

/* ---- tests -------------------------------------------------------------- */

static void
test_empty (void)
{
  g_autoptr (VpFile) file = make_empty ();
  uint8_t footer[SECTOR];
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  g_assert_cmpuint (size, ==, EMPTY_LEN);
  g_assert_cmpuint (vp_le32_get (bytes + 4), ==, 3);
  g_assert_cmphex (vp_le32_get (bytes + 8), ==, 0x30001);
  g_assert_cmpuint (vp_le64_get (bytes + 12), ==, SIZE / SECTOR);
  g_assert_cmpuint (vp_le64_get (bytes + 36), ==, 20);
  g_assert_cmphex (vp_le64_get (bytes + 56), ==, UINT64_MAX);
  load_footer (file, footer);
  g_assert_cmpuint (vp_le64_get (footer + 56), ==, DIRECTORY / SECTOR);
  g_assert_cmpuint (find_grain (file, 0), ==, 0);
  /* Nothing written, nothing changed. */
  VmdkStream *stream = open_stream (file, 0);
  fake_file_fail (file, 0, false);
  ASSERT_OK (vmdk_stream_settle (stream, &error));
  g_assert_cmpuint (fake_file_count (file), ==, 0);
  vmdk_stream_free (stream);
}

/* The place of every grain while it is written, and after. */
static void
test_write (void)
{
  static const uint64_t grains[] = { 0, 1, 511, 512, 1024, SIZE / GRAIN };
  g_autoptr (VpFile) file = make_empty ();
  VmdkStream *stream = open_stream (file, 0);
  uint64_t at;
  for (size_t i = 0; i < G_N_ELEMENTS (grains); i++)
    put_grain (stream, grains[i] * GRAIN, (uint8_t) (i + 1));
  for (size_t i = 0; i < G_N_ELEMENTS (grains); i++) {
    ASSERT_OK (vmdk_stream_find (stream, grains[i] * GRAIN + 100, &at, &error));
    g_assert_cmpuint (at, >=, FIRST);
  }
  ASSERT_OK (vmdk_stream_find (stream, 2 * GRAIN, &at, &error));
  g_assert_cmpuint (at, ==, 0);
  ASSERT_OK (vmdk_stream_settle (stream, &error));
  vmdk_stream_free (stream);
  for (size_t i = 0; i < G_N_ELEMENTS (grains); i++)
    expect_grain (file, grains[i] * GRAIN, (uint8_t) (i + 1));
  g_assert_cmpuint (find_grain (file, 2 * GRAIN), ==, 0);
  refuse_open (file, VP_IMAGE_ERROR_READ_ONLY);
}

/* Markers from the first sector behind the overhead to the end of stream:
 * what a reader finds that cannot seek. */
static void
test_stream (void)
{
  g_autoptr (VpFile) file = make_empty ();
  VmdkStream *stream = open_stream (file, 0);
  uint64_t size, at = FIRST, next = 0;
  g_autoptr (GString) seen = g_string_new (NULL);
  for (uint64_t i = 0; i < 3; i++)
    put_grain (stream, i * 700 * GRAIN, 1);
  ASSERT_OK (vmdk_stream_settle (stream, &error));
  vmdk_stream_free (stream);
  const uint8_t *bytes = fake_file_bytes (file, &size);
  while (at < size) {
    uint64_t value = vp_le64_get (bytes + at);
    uint32_t len = vp_le32_get (bytes + at + 8);
    uint32_t type = vp_le32_get (bytes + at + 12);
    g_string_append_c (seen, (char) (len > 0 ? 'g' : '0' + type));
    if (len > 0) {
      g_assert_cmpuint (value * SECTOR, >=, next);
      next = value * SECTOR + GRAIN;
      at = vp_round_up (at + 12 + len, SECTOR);
    } else
      at += SECTOR + value * SECTOR;
  }
  g_assert_cmpuint (at, ==, size);
  g_assert_cmpstr (seen->str, ==, "g1g1g1230");
}

static void
test_order (void)
{
  g_autoptr (VpFile) file = make_empty ();
  VmdkStream *stream = open_stream (file, 0);
  VpPlace place = { 0 };
  g_autoptr (GError) failure = NULL;
  uint64_t done = 0;
  put_grain (stream, 5 * GRAIN, 1);
  g_assert_false (
      vmdk_stream_reserve_packed (stream, 5 * GRAIN, 100, &place, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  g_clear_error (&failure);
  g_assert_false (vmdk_stream_zero (stream, 5 * GRAIN, GRAIN, &done, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  ASSERT_OK (vmdk_stream_zero (stream, 6 * GRAIN, MIB, &done, &error));
  g_assert_cmpuint (done, ==, MIB);
  ASSERT_OK (vmdk_stream_settle (stream, &error));
  g_clear_error (&failure);
  g_assert_false (
      vmdk_stream_reserve_packed (stream, 7 * GRAIN, 100, &place, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  vmdk_stream_free (stream);
}

/* A grain that could not be written: there is no image then. */
static void
test_gap (void)
{
  g_autoptr (VpFile) file = make_empty ();
  VmdkStream *stream = open_stream (file, 0);
  VpPlace place = { 0 };
  uint8_t footer[SECTOR];
  uint64_t size;
  g_autoptr (GError) failure = NULL;
  put_grain (stream, 0, 1);
  ASSERT_OK (vmdk_stream_reserve_packed (stream, GRAIN, 100, &place, &error));
  vmdk_stream_unreserve (stream);
  g_assert_false (vmdk_stream_settle (stream, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
  vmdk_stream_free (stream);
  g_clear_error (&failure);
  const uint8_t *bytes = fake_file_bytes (file, &size);
  g_assert_false (vmdk_stream_load_footer (file, bytes, footer, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

/* Whatever fails first, a footer is there only where all is there. */
static void
test_failing (void)
{
  for (unsigned nth = 1;; nth++) {
    g_autoptr (VpFile) file = make_empty ();
    g_autoptr (GError) failure = NULL;
    VmdkStream *stream = open_stream (file, 0);
    VpPlace place = { 0 };
    uint8_t footer[SECTOR];
    uint64_t size;
    fake_file_fail (file, nth, true);
    bool ok =
        vmdk_stream_reserve_packed (stream, 0, 100, &place, &failure) &&
        vp_file_write (file, place.offset, "", 1, &failure) &&
        vmdk_stream_link_packed (stream, &place, &failure) &&
        vmdk_stream_reserve_packed (stream, 600 * GRAIN, 9, &place, &failure) &&
        vp_file_write (file, place.offset, "", 1, &failure) &&
        vmdk_stream_link_packed (stream, &place, &failure) &&
        vmdk_stream_settle (stream, &failure);
    g_assert_true (ok == !failure);
    vmdk_stream_free (stream);
    const uint8_t *bytes = fake_file_bytes (file, &size);
    if (ok) {
      g_assert_cmpuint (nth, >, 9);
      break;
    }
    /* The first change takes the empty one's footer away, the last makes the
     * new one last. */
    g_clear_error (&failure);
    bool there = vmdk_stream_load_footer (file, bytes, footer, &failure);
    g_assert_true (there == (nth == 1 || nth > 9));
  }
}

/* Each field that says what the footer's says, and the footer's own. */
static void
test_disagree (void)
{
  static const struct {
    uint64_t offset;
    bool header, good;
  } pokes[] = {
    { 4, true, false },  { 8, true, false },   { 12, true, false },
    { 20, true, false }, { 28, true, false },  { 36, true, false },
    { 44, true, false }, { 64, true, true },   { 72, true, true },
    { 73, true, true },  { 77, true, false },  { 48, true, true },
    { 0, false, false }, { 12, false, false }, { 56, false, true },
    { 48, false, true },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    g_autoptr (VpFile) file = make_empty ();
    g_autoptr (GError) failure = NULL;
    uint64_t size;
    const uint8_t *bytes = fake_file_bytes (file, &size);
    uint64_t at = pokes[i].offset + (pokes[i].header ? 0 : size - 2 * SECTOR);
    uint8_t footer[SECTOR], changed = bytes[at] ^ 0x10;
    fake_file_poke (file, at, &changed, 1);
    bytes = fake_file_bytes (file, &size);
    bool ok = vmdk_stream_load_footer (file, bytes, footer, &failure);
    g_assert_true (ok == pokes[i].good);
  }
}

static void
test_cut_off (void)
{
  g_autoptr (VpFile) whole = make_empty ();
  for (uint64_t size = 0; size < EMPTY_LEN; size += SECTOR) {
    g_autoptr (VpFile) file = fake_file_copy (whole, "cut.vmdk");
    g_autoptr (GError) failure = NULL;
    uint8_t footer[SECTOR], header[SECTOR];
    ASSERT_OK (vp_file_truncate (file, size, &error));
    ASSERT_OK (vp_file_read (whole, 0, header, sizeof header, &error));
    g_assert_false (vmdk_stream_load_footer (file, header, footer, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  }
}

/* Another grain's, no bytes, too many, past the end. */
static void
test_markers (void)
{
  static const struct {
    uint64_t lba;
    uint32_t len;
    bool good;
  } markers[] = {
    { 0x1280, 100, true },
    { 0x1281, 100, false },
    { UINT64_MAX, 100, false },
    { 0x1280, 0, false },
    { 0x1280, 4 * GRAIN, false },
    { 0x1280, UINT32_MAX, false },
    { 0x1280, 5 * SECTOR - 12, true },
    { 0x1280, 5 * SECTOR - 11, false },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (markers); i++) {
    g_autoptr (VpFile) file = make_empty ();
    g_autoptr (GError) failure = NULL;
    uint8_t marker[12];
    VpRun run;
    vp_le64_set (marker, markers[i].lba);
    vp_le32_set (marker + 8, markers[i].len);
    fake_file_poke (file, FIRST, marker, sizeof marker);
    bool ok = vmdk_stream_map (file, true, FIRST, 0x1280 * SECTOR, GRAIN, &run,
                               &failure);
    g_assert_true (ok == markers[i].good);
    if (ok)
      g_assert_cmpuint (run.packed, ==, markers[i].len);
    else
      g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  }
}

/* Without markers: as much as there is, and no more than a grain can be. */
static void
test_bare (void)
{
  g_autoptr (VpFile) file = make_empty ();
  g_autoptr (GError) failure = NULL;
  VpRun run;
  ASSERT_OK (vmdk_stream_map (file, false, SECTOR, 0, GRAIN, &run, &error));
  g_assert_cmpuint (run.packed, ==, EMPTY_LEN - SECTOR);
  ASSERT_OK (vmdk_stream_map (file, false, SECTOR, 0, 4096, &run, &error));
  g_assert_cmpuint (run.packed, <, 3 * 4096);
  g_assert_false (
      vmdk_stream_map (file, false, EMPTY_LEN, 0, GRAIN, &run, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

static void
test_not_ours (void)
{
  g_autoptr (VpFile) file = make_empty ();
  /* The first entry of the directory. */
  fake_file_poke (file, DIRECTORY, "\1", 1);
  refuse_open (file, VP_IMAGE_ERROR_READ_ONLY);
  fake_file_poke (file, DIRECTORY, "\0", 1);
  vmdk_stream_free (open_stream (file, 0));
  /* Grains of another size, in header and footer. */
  fake_file_poke (file, 20, "\x40", 1);
  fake_file_poke (file, EMPTY_LEN - 2 * SECTOR + 20, "\x40", 1);
  refuse_open (file, VP_IMAGE_ERROR_READ_ONLY);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vmdk-stream/empty", test_empty);
  g_test_add_func ("/vmdk-stream/write", test_write);
  g_test_add_func ("/vmdk-stream/stream", test_stream);
  g_test_add_func ("/vmdk-stream/order", test_order);
  g_test_add_func ("/vmdk-stream/gap", test_gap);
  g_test_add_func ("/vmdk-stream/failing", test_failing);
  g_test_add_func ("/vmdk-stream/disagree", test_disagree);
  g_test_add_func ("/vmdk-stream/cut-off", test_cut_off);
  g_test_add_func ("/vmdk-stream/markers", test_markers);
  g_test_add_func ("/vmdk-stream/bare", test_bare);
  g_test_add_func ("/vmdk-stream/not-ours", test_not_ours);
  return g_test_run ();
}
