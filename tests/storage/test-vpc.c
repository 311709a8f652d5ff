/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VHD, from images made by hand: which size counts, what is refused, and that
 * no number from the disk leads anywhere but to bytes of the file. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define BLOCK    4096u
#define N_BLOCKS 32u
#define SIZE     (N_BLOCKS * BLOCK)
#define HEADER   512u
#define TABLE    2048u
#define DATA     4096u
#define SLOT     (512u + BLOCK) /* a bitmap of one sector */

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
  vp_be32_set (bytes, value);
  fake_file_poke (file, offset, bytes, sizeof bytes);
}

static void
put64 (VpFile *file, uint64_t offset, uint64_t value)
{
  put32 (file, offset, (uint32_t) (value >> 32));
  put32 (file, offset + 4, (uint32_t) value);
}

static void
sum_up (VpFile *file, uint64_t offset, size_t len, size_t at)
{
  uint32_t sum = 0;
  put32 (file, offset + at, 0);
  for (size_t i = 0; i < len; i++)
    sum += bytes_of (file)[offset + i];
  put32 (file, offset + at, ~sum);
}

static void
put_footer (VpFile *file, uint64_t at, const char *creator, uint32_t type)
{
  fake_file_poke (file, at, "conectix", 8);
  put32 (file, at + 12, 0x10000);
  put64 (file, at + 16, type == 2 ? UINT64_MAX : HEADER);
  fake_file_poke (file, at + 28, creator, 4);
  put64 (file, at + 40, SIZE);
  put64 (file, at + 48, SIZE);
  put32 (file, at + 56, 15u << 16 | 1 << 8 | 17); /* 255 sectors */
  put32 (file, at + 60, type);
  put64 (file, at + 504, 0);
  sum_up (file, at, 512, 64);
}

static void
put_block (VpFile *file, unsigned block, unsigned slot, int byte)
{
  uint8_t bytes[SLOT];
  memset (bytes, byte, sizeof bytes);
  fake_file_poke (file, DATA + slot * SLOT, bytes, sizeof bytes);
  put32 (file, TABLE + block * 4, (DATA + slot * SLOT) / 512);
}

static VpFile *
dynamic (const char *creator)
{
  VpFile *file = fake_file_new ("disk");
  put_footer (file, 0, creator, 3);
  fake_file_poke (file, HEADER, "cxsparse", 8);
  put64 (file, HEADER + 8, UINT64_MAX);
  put64 (file, HEADER + 16, TABLE);
  put32 (file, HEADER + 24, 0x10000);
  put32 (file, HEADER + 28, N_BLOCKS);
  put32 (file, HEADER + 32, BLOCK);
  put32 (file, HEADER + 1020, 0);
  sum_up (file, HEADER, 1024, 36);
  for (unsigned i = 0; i < N_BLOCKS; i++)
    put32 (file, TABLE + i * 4, UINT32_MAX);
  put_block (file, 3, 1, 0x33);
  put_block (file, 4, 0, 0x44);
  put_footer (file, DATA + 2 * SLOT, creator, 3);
  return file;
}

static VpFile *
fixed (const char *creator)
{
  VpFile *file = fake_file_new ("disk");
  uint8_t byte = 0x77;
  fake_file_poke (file, SIZE - 513, &byte, 1);
  put_footer (file, SIZE, creator, 2);
  return file;
}

static VpImage *
open_vpc (VpFile *file)
{
  g_autoptr (GError) error = NULL;
  VpImage *image = vp_image_open_file (file, "vpc", 0, NULL, &error);
  g_assert_no_error (error);
  return image;
}

static void
expect (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *bytes = g_malloc (len);
  ASSERT_OK (vp_image_read (image, offset, bytes, len, &error));
  for (size_t i = 0; i < len; i++)
    g_assert_cmphex (bytes[i], ==, (unsigned) byte);
}

static void
expect_refused (VpFile *file, int code, VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (vp_image_open_file (file, "vpc", flags, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, code);
}

/* The geometry counts 255 of its 256 sectors. */
static void
test_size (void)
{
  static const struct {
    const char *creator;
    uint64_t size;
  } cases[] = { { "vpc ", SIZE - 512 }, { "qemu", SIZE - 512 },
                { "vs  ", SIZE - 512 }, { "win ", SIZE },
                { "qem2", SIZE },       { "d2v ", SIZE },
                { "tap\0", SIZE },      { "CTXS", SIZE } };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VpFile) one = dynamic (cases[i].creator);
    g_autoptr (VpFile) two = fixed (cases[i].creator);
    g_autoptr (VpImage) sparse = open_vpc (one);
    g_autoptr (VpImage) plain = open_vpc (two);
    g_assert_cmpuint (vp_image_get_size (sparse), ==, cases[i].size);
    g_assert_cmpuint (vp_image_get_size (plain), ==, cases[i].size);
  }
}

static void
test_read (void)
{
  VpExtent extent;
  g_autoptr (VpFile) file = dynamic ("win ");
  g_autoptr (VpImage) image = open_vpc (file);
  expect (image, 0, 0, 3 * BLOCK);
  expect (image, 3 * BLOCK, 0x33, BLOCK);
  expect (image, 4 * BLOCK, 0x44, BLOCK);
  expect (image, 5 * BLOCK, 0, SIZE - 5 * BLOCK);
  ASSERT_OK (
      vp_image_map (image, 5 * BLOCK, SIZE - 5 * BLOCK, &extent, &error));
  g_assert_cmpuint (extent.length, ==, SIZE - 5 * BLOCK);
  g_assert_true (extent.zero);
  g_autoptr (VpFile) plain = fixed ("win ");
  g_autoptr (VpImage) other = open_vpc (plain);
  expect (other, 0, 0, SIZE - 513);
  expect (other, SIZE - 513, 0x77, 1);
}

static void
test_refused (void)
{
  g_autoptr (VpFile) file = dynamic ("win ");
  g_autoptr (VpFile) plain = fixed ("win ");
  expect_refused (file, VP_IMAGE_ERROR_READ_ONLY, VP_IMAGE_WRITABLE);
  put_footer (file, 0, "win ", 4);
  expect_refused (file, VP_IMAGE_ERROR_UNSUPPORTED, 0);
  put_footer (file, 0, "win ", 5);
  expect_refused (file, VP_IMAGE_ERROR_UNSUPPORTED, 0);
  put_footer (file, 0, "win ", 3);
  put32 (file, 64, 0);
  expect_refused (file, VP_IMAGE_ERROR_CORRUPT, 0);
  ASSERT_OK (vp_file_truncate (plain, SIZE + 511, &error));
  expect_refused (plain, VP_IMAGE_ERROR_UNSUPPORTED, 0);
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_autoptr (GError) error = NULL;
  options.size = SIZE;
  g_assert_false (vp_image_create_file (plain, "vpc", &options, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
}

typedef struct {
  uint64_t offset;
  uint32_t value;
  int code; /* -1: opens, but block 3 cannot be read */
} Wrong;

static const Wrong wrong[] = {
  { 16, 1u << 31, VP_IMAGE_ERROR_CORRUPT },   /* the header: far off */
  { 20, DATA, VP_IMAGE_ERROR_CORRUPT },       /* ... and no header */
  { 48, 0xffffffff, VP_IMAGE_ERROR_RANGE },   /* the size */
  { 48, 1, VP_IMAGE_ERROR_CORRUPT },          /* ... over the table */
  { HEADER + 16, 1, VP_IMAGE_ERROR_CORRUPT }, /* the table: far off */
  { HEADER + 20, TABLE + 1, VP_IMAGE_ERROR_CORRUPT },
  { HEADER + 20, 0xfffffe00, VP_IMAGE_ERROR_CORRUPT },
  { HEADER + 28, 0xffffffff, VP_IMAGE_ERROR_UNSUPPORTED },
  { HEADER + 28, N_BLOCKS - 1, VP_IMAGE_ERROR_CORRUPT },
  { HEADER + 28, 1u << 20, VP_IMAGE_ERROR_CORRUPT }, /* past the file */
  { HEADER + 32, 0, VP_IMAGE_ERROR_UNSUPPORTED },
  { HEADER + 32, 256, VP_IMAGE_ERROR_UNSUPPORTED },
  { HEADER + 32, BLOCK + 512, VP_IMAGE_ERROR_UNSUPPORTED },
  { HEADER + 32, 1u << 31, VP_IMAGE_ERROR_UNSUPPORTED },
  { TABLE + 12, 0xfffffffe, -1 },
  { TABLE + 12, (DATA + 2 * SLOT) / 512, -1 },
};

static void
test_wrong (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (VpFile) file = dynamic ("win ");
    g_autoptr (GError) error = NULL;
    uint8_t bytes[BLOCK];
    g_test_message ("%" G_GUINT64_FORMAT, wrong[i].offset);
    put32 (file, wrong[i].offset, wrong[i].value);
    sum_up (file, 0, 512, 64);
    sum_up (file, HEADER, 1024, 36);
    if (wrong[i].code >= 0) {
      expect_refused (file, wrong[i].code, 0);
      continue;
    }
    g_autoptr (VpImage) image = open_vpc (file);
    g_assert_false (
        vp_image_read (image, 3 * BLOCK, bytes, sizeof bytes, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
    expect (image, 4 * BLOCK, 0x44, BLOCK);
  }
}

/* Any word of the metadata has any value. */
static void
test_fuzz (void)
{
  Random random = { test_seed () };
  static const uint32_t odd[] = { 0,          1,          0x7fffffff,
                                  0x80000000, 0xffffffff, 0xfffffe00,
                                  0x200,      3,          0x00100000 };
  unsigned opened = 0;
  for (unsigned round = 0; round < test_rounds (3000, 200000); round++) {
    g_autoptr (VpFile) file =
        random_below (&random, 4) ? dynamic ("win ") : dynamic ("vpc ");
    uint8_t bytes[8192];
    for (uint64_t i = 0; i <= random_below (&random, 3); i++)
      put32 (file, random_below (&random, (TABLE + N_BLOCKS * 4) / 4) * 4,
             random_below (&random, 2)
                 ? odd[random_below (&random, G_N_ELEMENTS (odd))]
                 : (uint32_t) random_next (&random));
    sum_up (file, 0, 512, 64);
    sum_up (file, HEADER, 1024, 36);
    g_autoptr (VpImage) image = vp_image_open_file (file, "vpc", 0, NULL, NULL);
    if (!image)
      continue;
    opened++;
    uint64_t size = vp_image_get_size (image), at = 0;
    VpExtent extent;
    for (unsigned i = 0; i < 200 && at < size; i++, at += extent.length)
      if (!vp_image_map (image, at, size - at, &extent, NULL))
        break;
    for (at = 0; at < MIN (size, 2 * SIZE); at += sizeof bytes)
      (void) !vp_image_read (image, at, bytes,
                             (size_t) MIN (sizeof bytes, size - at), NULL);
  }
  g_assert_cmpuint (opened, >, 100);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vpc/size", test_size);
  g_test_add_func ("/vpc/read", test_read);
  g_test_add_func ("/vpc/refused", test_refused);
  g_test_add_func ("/vpc/wrong", test_wrong);
  g_test_add_func ("/vpc/fuzz", test_fuzz);
  return g_test_run ();
}
