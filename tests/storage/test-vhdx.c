/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VHDX, from images made by hand: the newer sound header, the BAT with its
 * bitmaps between the blocks, what is refused, and numbers that lie. */
#include "config.h"

#include <string.h>

#include "storage/crc32c.h"
#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MIB      (UINT64_C (1) << 20)
#define KIB      UINT64_C (1024)
#define LOG      MIB
#define METADATA (2 * MIB)
#define BAT      (3 * MIB)
#define DATA     (4 * MIB)
#define BLOCK    (32 * MIB) /* a bitmap after every 128 blocks */
#define N_BLOCKS 200u
#define SIZE     (N_BLOCKS * BLOCK)

static const uint8_t *
bytes_of (VpFile *file)
{
  uint64_t size;
  return fake_file_bytes (file, &size);
}

static void
put32 (VpFile *file, uint64_t offset, uint32_t value)
{
  uint8_t bytes[4];
  vp_le32_set (bytes, value);
  fake_file_poke (file, offset, bytes, sizeof bytes);
}

static void
put64 (VpFile *file, uint64_t offset, uint64_t value)
{
  put32 (file, offset, (uint32_t) value);
  put32 (file, offset + 4, (uint32_t) (value >> 32));
}

/* As it is written in books: the first three numbers are little-endian. */
static void
put_guid (VpFile *file, uint64_t offset, uint32_t a, uint16_t b, uint16_t c,
          uint64_t rest)
{
  uint8_t bytes[8];
  put32 (file, offset, a);
  put32 (file, offset + 4, (uint32_t) c << 16 | b);
  vp_be64_set (bytes, rest);
  fake_file_poke (file, offset + 8, bytes, sizeof bytes);
}

static void
sum_up (VpFile *file, uint64_t offset, size_t len)
{
  put32 (file, offset + 4, 0);
  put32 (file, offset + 4, vp_crc32c (0, bytes_of (file) + offset, len));
}

static void
put_header (VpFile *file, uint64_t at, uint64_t sequence)
{
  fake_file_poke (file, at, "head", 4);
  put64 (file, at + 8, sequence);
  put32 (file, at + 64, 1u << 16);
  put32 (file, at + 68, (uint32_t) MIB);
  put64 (file, at + 72, LOG);
  put64 (file, at + 4088, 0);
  sum_up (file, at, 4096);
}

static void
put_regions (VpFile *file, uint64_t at)
{
  fake_file_poke (file, at, "regi", 4);
  put32 (file, at + 8, 2);
  put_guid (file, at + 16, 0x2dc27766, 0xf623, 0x4200, 0x9d64115e9bfd4a08);
  put64 (file, at + 32, BAT);
  put32 (file, at + 40, (uint32_t) MIB);
  put32 (file, at + 44, 1);
  put_guid (file, at + 48, 0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe575f050f886e);
  put64 (file, at + 64, METADATA);
  put32 (file, at + 72, (uint32_t) MIB);
  put32 (file, at + 76, 1);
  put64 (file, at + 64 * KIB - 8, 0);
  sum_up (file, at, 64 * KIB);
}

static void
put_metadata (VpFile *file)
{
  uint64_t at = METADATA + 32, items = METADATA + 64 * KIB;
  fake_file_poke (file, METADATA, "metadata", 8);
  put32 (file, METADATA + 8, 3u << 16);
  put_guid (file, at, 0xcaa16737, 0xfa36, 0x4d43, 0xb3b633f0aa44e76b);
  put32 (file, at + 16, 64 * KIB);
  put32 (file, at + 20, 8);
  put32 (file, at + 24, 4);
  put_guid (file, at + 32, 0x2fa54224, 0xcd1b, 0x4876, 0xb2115dbed83bf4b8);
  put32 (file, at + 48, 64 * KIB + 8);
  put32 (file, at + 52, 8);
  put32 (file, at + 56, 6);
  put_guid (file, at + 64, 0x8141bf1d, 0xa96f, 0x4709, 0xba47f233a8faab5f);
  put32 (file, at + 80, 64 * KIB + 16);
  put32 (file, at + 84, 4);
  put32 (file, at + 88, 6);
  put32 (file, items, (uint32_t) BLOCK);
  put32 (file, items + 4, 0);
  put64 (file, items + 8, SIZE);
  put32 (file, items + 16, 512);
}

static uint64_t
bat_entry (unsigned block)
{
  return BAT + (block + block / 128) * 8;
}

/* Blocks 0, 127 and 128 are stored, as far as the file goes. */
static VpFile *
by_hand (void)
{
  VpFile *file = fake_file_new ("disk");
  uint8_t byte = 0x11;
  fake_file_limit (file, 4096 * MIB);
  fake_file_poke (file, 0, "vhdxfile", 8);
  put_header (file, 64 * KIB, 7);
  put_header (file, 128 * KIB, 6);
  put_regions (file, 192 * KIB);
  put_regions (file, 256 * KIB);
  put_metadata (file);
  put64 (file, bat_entry (0), DATA | 6);
  put64 (file, bat_entry (1), 2);
  put64 (file, bat_entry (2), 3);
  put64 (file, bat_entry (127), (DATA + MIB) | 6);
  put64 (file, bat_entry (128), (DATA + 2 * MIB) | 6);
  fake_file_poke (file, DATA, &byte, 1);
  fake_file_poke (file, DATA + MIB, "\x22", 1);
  fake_file_poke (file, DATA + 2 * MIB, "\x33", 1);
  fake_file_poke (file, DATA + 3 * MIB - 1, "\0", 1);
  return file;
}

static VpImage *
open_vhdx (VpFile *file)
{
  g_autoptr (GError) error = NULL;
  VpImage *image = vp_image_open_file (file, "vhdx", 0, NULL, &error);
  g_assert_no_error (error);
  return image;
}

static void
expect_refused (VpFile *file, int code, VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (vp_image_open_file (file, "vhdx", flags, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, code);
}

static void
expect (VpImage *image, uint64_t offset, uint8_t wanted)
{
  uint8_t byte = 0xee;
  ASSERT_OK (vp_image_read (image, offset, &byte, 1, &error));
  g_assert_cmphex (byte, ==, wanted);
}

static void
test_crc (void)
{
  g_assert_cmphex (vp_crc32c (0, "123456789", 9), ==, 0xe3069283);
  g_assert_cmphex (vp_crc32c (vp_crc32c (0, "1234", 4), "56789", 5), ==,
                   0xe3069283);
}

static void
test_read (void)
{
  VpExtent extent;
  uint8_t byte;
  g_autoptr (VpFile) file = by_hand ();
  g_autoptr (VpImage) image = open_vhdx (file);
  g_autoptr (GError) failure = NULL;
  g_assert_cmpuint (vp_image_get_size (image), ==, SIZE);
  g_assert_cmpuint (vp_image_get_cluster_size (image), ==, BLOCK);
  expect (image, 0, 0x11);
  expect (image, MIB, 0x22);
  expect (image, BLOCK, 0);
  expect (image, 127 * BLOCK, 0x22);
  expect (image, 128 * BLOCK, 0x33);
  expect (image, SIZE - 1, 0);
  ASSERT_OK (
      vp_image_map (image, 2 * BLOCK, SIZE - 2 * BLOCK, &extent, &error));
  g_assert_cmpuint (extent.length, ==, 125 * BLOCK);
  /* What the file lost that was cut short. */
  g_assert_false (vp_image_read (image, 4 * MIB, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

/* The newer one, and if that is broken the other; with regions likewise. */
static void
test_headers (void)
{
  g_autoptr (VpFile) file = by_hand ();
  put32 (file, 128 * KIB + 68, 0); /* the older one's checksum breaks */
  vp_image_free (open_vhdx (file));
  put_header (file, 128 * KIB, 8); /* a newer one, and its log is broken */
  put_guid (file, 128 * KIB + 48, 1, 2, 3, 4);
  put64 (file, 128 * KIB + 72, 12345);
  sum_up (file, 128 * KIB, 4096);
  expect_refused (file, VP_IMAGE_ERROR_CORRUPT, 0);
  put32 (file, 128 * KIB, 0);
  vp_image_free (open_vhdx (file));
  put32 (file, 64 * KIB + 100, 1);
  expect_refused (file, VP_IMAGE_ERROR_CORRUPT, 0);
  put_header (file, 128 * KIB, 1);
  put32 (file, 192 * KIB, 0);
  put64 (file, 128 * KIB + 48, 0);
  put64 (file, 128 * KIB + 56, 0);
  put_header (file, 128 * KIB, 1);
  vp_image_free (open_vhdx (file));
  put32 (file, 256 * KIB, 0);
  expect_refused (file, VP_IMAGE_ERROR_CORRUPT, 0);
}

static void
test_log (void)
{
  g_autoptr (VpFile) file = by_hand ();
  put_guid (file, 64 * KIB + 48, 1, 2, 3, 4);
  sum_up (file, 64 * KIB, 4096);
  vp_image_free (open_vhdx (file)); /* it has a name, and nothing in it */
  fake_file_poke (file, LOG + 8192, "loge", 4);
  put_guid (file, LOG + 8192 + 32, 1, 2, 3, 5);
  vp_image_free (open_vhdx (file)); /* of an older log */
  put_guid (file, LOG + 8192 + 32, 1, 2, 3, 4);
  expect_refused (file, VP_IMAGE_ERROR_UNSUPPORTED, 0);
}

static void
test_refused (void)
{
  g_autoptr (VpFile) file = by_hand ();
  expect_refused (file, VP_IMAGE_ERROR_READ_ONLY, VP_IMAGE_WRITABLE);
  put32 (file, METADATA + 64 * KIB + 4, 2); /* has a parent */
  expect_refused (file, VP_IMAGE_ERROR_UNSUPPORTED, 0);
}

typedef struct {
  uint64_t offset;
  uint32_t value;
  int code; /* -1: opens, but block 0 cannot be read */
} Wrong;

#define REGIONS (192 * KIB)
#define ITEMS   (METADATA + 64 * KIB)

static const Wrong wrong[] = {
  { REGIONS + 8, 1, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 8, 2048, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 16, 0, VP_IMAGE_ERROR_UNSUPPORTED }, /* required, unknown */
  { REGIONS + 32, 0, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 32, (uint32_t) LOG, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 32, (uint32_t) METADATA, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 32, (uint32_t) BAT + 512, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 36, 0x80000000, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 40, 0, VP_IMAGE_ERROR_CORRUPT },
  { REGIONS + 40, 0xfff00000, VP_IMAGE_ERROR_CORRUPT },
  { METADATA, 0, VP_IMAGE_ERROR_CORRUPT },
  { METADATA + 8, 2u << 16, VP_IMAGE_ERROR_CORRUPT },
  { METADATA + 8, 2048u << 16, VP_IMAGE_ERROR_CORRUPT },
  { METADATA + 32, 0, VP_IMAGE_ERROR_UNSUPPORTED }, /* required, unknown */
  { METADATA + 48, 0, VP_IMAGE_ERROR_CORRUPT },     /* in the table */
  { METADATA + 48, (uint32_t) MIB - 4, VP_IMAGE_ERROR_CORRUPT },
  { METADATA + 48, 0xffffffff, VP_IMAGE_ERROR_CORRUPT },
  { METADATA + 52, 4, VP_IMAGE_ERROR_CORRUPT },
  { ITEMS, 0, VP_IMAGE_ERROR_CORRUPT },
  { ITEMS, 512 * KIB, VP_IMAGE_ERROR_CORRUPT },
  { ITEMS, (uint32_t) (512 * MIB), VP_IMAGE_ERROR_CORRUPT },
  { ITEMS, (uint32_t) (3 * MIB), VP_IMAGE_ERROR_CORRUPT },
  { ITEMS + 8, 1, VP_IMAGE_ERROR_CORRUPT },
  { ITEMS + 12, 0xffffffff, VP_IMAGE_ERROR_CORRUPT },
  { ITEMS + 12, 1u << 12, VP_IMAGE_ERROR_CORRUPT }, /* 16 TiB: a short BAT */
  { ITEMS + 16, 0, VP_IMAGE_ERROR_UNSUPPORTED },
  { ITEMS + 16, 1024, VP_IMAGE_ERROR_UNSUPPORTED },
  { BAT, (uint32_t) DATA | 7, -1 }, /* partly there: has no parent */
  { BAT, (uint32_t) DATA | 4, -1 },
  { BAT, 6, -1 },
  { BAT, 0xfff00006, -1 },
  { BAT + 4, 0xffffffff, -1 },
};

static void
test_wrong (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (VpFile) file = by_hand ();
    g_autoptr (GError) error = NULL;
    uint8_t byte;
    g_test_message ("0x%" G_GINT64_MODIFIER "x", wrong[i].offset);
    put32 (file, wrong[i].offset, wrong[i].value);
    sum_up (file, REGIONS, 64 * KIB);
    if (wrong[i].code >= 0) {
      expect_refused (file, wrong[i].code, 0);
      continue;
    }
    g_autoptr (VpImage) image = open_vhdx (file);
    g_assert_false (vp_image_read (image, 0, &byte, 1, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
    expect (image, 127 * BLOCK, 0x22);
  }
}

/* Any word of the metadata has any value. */
static void
test_fuzz (void)
{
  static const uint64_t areas[][2] = {
    { 64 * KIB, 80 },  { REGIONS, 80 },
    { METADATA, 128 }, { METADATA + 64 * KIB, 20 },
    { BAT, 24 },
  };
  static const uint32_t odd[] = {
    0, 1, 2, 6, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0xfff00000, 0x00100000
  };
  Random random = { test_seed () };
  g_autoptr (VpFile) sound = by_hand ();
  unsigned opened = 0;
  for (unsigned round = 0; round < test_rounds (60, 5000); round++) {
    g_autoptr (VpFile) file = fake_file_copy (sound, "disk");
    uint8_t bytes[8192];
    for (uint64_t i = 0; i <= random_below (&random, 3); i++) {
      const uint64_t *area = areas[random_below (&random, 5)];
      put32 (file, area[0] + random_below (&random, area[1] / 4) * 4,
             random_below (&random, 3)
                 ? odd[random_below (&random, G_N_ELEMENTS (odd))]
                 : (uint32_t) random_next (&random));
    }
    sum_up (file, 64 * KIB, 4096);
    sum_up (file, REGIONS, 64 * KIB);
    g_autoptr (VpImage) image =
        vp_image_open_file (file, "vhdx", 0, NULL, NULL);
    if (!image)
      continue;
    opened++;
    uint64_t size = vp_image_get_size (image), at = 0;
    VpExtent extent;
    for (unsigned i = 0; i < 200 && at < size; i++, at += extent.length)
      if (!vp_image_map (image, at, size - at, &extent, NULL))
        break;
    for (at = 0; at < MIN (size, 8 * BLOCK); at += BLOCK / 2)
      (void) !vp_image_read (image, at, bytes,
                             (size_t) MIN (sizeof bytes, size - at), NULL);
  }
  g_assert_cmpuint (opened, >, 5);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vhdx/crc", test_crc);
  g_test_add_func ("/vhdx/read", test_read);
  g_test_add_func ("/vhdx/headers", test_headers);
  g_test_add_func ("/vhdx/log", test_log);
  g_test_add_func ("/vhdx/refused", test_refused);
  g_test_add_func ("/vhdx/wrong", test_wrong);
  g_test_add_func ("/vhdx/fuzz", test_fuzz);
  return g_test_run ();
}
