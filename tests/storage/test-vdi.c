/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VDI: headers that cannot be, maps that are wrong, sizes that change while
 * the power fails, and what other programs leave behind.  Images are made by
 * hand, field by field, so that the driver is not its own witness. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MIB       (UINT64_C (1) << 20)
#define BLOCK     4096u
#define DATA      8192u
#define N_BLOCKS  64u
#define DISK_SIZE (N_BLOCKS * BLOCK)
#define FREE      0xffffffffu
#define ZERO      0xfffffffeu

/* ---- images by hand ----------------------------------------------------- */

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

static uint32_t
get32 (VpFile *file, uint64_t offset)
{
  uint64_t size;
  return vp_le32_get (fake_file_bytes (file, &size) + offset);
}

/* Blocks of 4 KiB, none of them stored. */
static VpFile *
by_hand (void)
{
  VpFile *file = fake_file_new ("disk");
  put32 (file, 0x40, 0xbeda107f);
  put32 (file, 0x44, 0x00010001);
  put32 (file, 0x48, 0x180);
  put32 (file, 0x4c, 1);
  put32 (file, 0x154, 512);
  put32 (file, 0x158, DATA);
  put32 (file, 0x168, 512);
  put64 (file, 0x170, DISK_SIZE);
  put32 (file, 0x178, BLOCK);
  put32 (file, 0x180, N_BLOCKS);
  for (unsigned i = 0; i < N_BLOCKS; i++)
    put32 (file, 512 + i * 4, FREE);
  put32 (file, DATA - 4, 0);
  return file;
}

/* A block in that slot, all of one byte; the count follows. */
static void
put_block (VpFile *file, unsigned block, unsigned slot, int byte)
{
  uint8_t bytes[BLOCK];
  memset (bytes, byte, sizeof bytes);
  fake_file_poke (file, DATA + slot * BLOCK, bytes, sizeof bytes);
  put32 (file, 512 + block * 4, slot);
  put32 (file, 0x184, MAX (get32 (file, 0x184), slot + 1));
}

static VpImage *
open_vdi (VpFile *file, VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  VpImage *image = vp_image_open_file (file, "vdi", flags, NULL, &error);
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
put (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *bytes = g_malloc (len);
  memset (bytes, byte, len);
  ASSERT_OK (vp_image_write (image, offset, bytes, len, &error));
}

static void
check (VpFile *file, VpRepair repair, uint64_t corruptions, uint64_t leaks)
{
  g_auto (VpCheckResult) result = { 0 };
  VpImageFlags flags = VP_IMAGE_CHECK;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  VpImage *image = open_vdi (file, flags);
  ASSERT_OK (vp_check_image (image, repair, NULL, &result, &error));
  for (guint i = 0; i < result.messages->len; i++)
    g_test_message ("%s", (char *) g_ptr_array_index (result.messages, i));
  g_assert_cmpuint (result.corruptions + result.corruptions_fixed, ==,
                    corruptions);
  g_assert_cmpuint (result.leaks + result.leaks_fixed, ==, leaks);
  if (repair != VP_REPAIR_NOTHING)
    ASSERT_OK (vp_image_close (g_steal_pointer (&image), &error));
  vp_image_free (image);
}

/* What qemu-img's check asks for as well. */
static void
assert_dense (VpFile *file)
{
  uint32_t n = 0, end = 0;
  uint64_t map = get32 (file, 0x154);
  for (uint32_t i = 0; i < get32 (file, 0x180); i++) {
    uint32_t entry = get32 (file, map + i * 4);
    if (entry >= ZERO)
      continue;
    n++;
    end = MAX (end, entry + 1);
  }
  g_assert_cmpuint (n, ==, end);
  g_assert_cmpuint (n, ==, get32 (file, 0x184));
}

/* ---- headers ------------------------------------------------------------ */

typedef struct {
  const char *name;
  uint32_t offset, value;
  int code; /* -1: opens */
} Field;

static const Field wrong_fields[] = {
  { "signature", 0x40, 0xbeda107e, VP_IMAGE_ERROR_UNSUPPORTED },
  { "version-1.0", 0x44, 0x00010000, VP_IMAGE_ERROR_UNSUPPORTED },
  { "version-2", 0x44, 0x00020000, VP_IMAGE_ERROR_UNSUPPORTED },
  { "static", 0x4c, 2, -1 },
  { "undo", 0x4c, 3, VP_IMAGE_ERROR_UNSUPPORTED },
  { "differencing", 0x4c, 4, VP_IMAGE_ERROR_UNSUPPORTED },
  { "type-5", 0x4c, 5, VP_IMAGE_ERROR_UNSUPPORTED },
  { "type-0", 0x4c, 0, VP_IMAGE_ERROR_UNSUPPORTED },
  { "link", 0x1a8, 1, VP_IMAGE_ERROR_UNSUPPORTED },
  { "link-end", 0x1b4, 1u << 31, VP_IMAGE_ERROR_UNSUPPORTED },
  { "parent", 0x1b8, 1, VP_IMAGE_ERROR_UNSUPPORTED },
  { "map-at-0", 0x154, 0, VP_IMAGE_ERROR_CORRUPT },
  { "map-odd", 0x154, 513, VP_IMAGE_ERROR_CORRUPT },
  { "map-last-fit", 0x154, DATA - 512, -1 },
  { "map-in-data", 0x154, DATA, VP_IMAGE_ERROR_CORRUPT },
  { "map-wraps", 0x154, 0xfffffe00, VP_IMAGE_ERROR_CORRUPT },
  { "data-odd", 0x158, DATA + 1, VP_IMAGE_ERROR_CORRUPT },
  { "data-at-0", 0x158, 0, VP_IMAGE_ERROR_CORRUPT },
  { "data-in-map", 0x158, 512, VP_IMAGE_ERROR_CORRUPT },
  { "data-far", 0x158, 0xfffffe00, -1 },
  { "sector-0", 0x168, 0, VP_IMAGE_ERROR_UNSUPPORTED },
  { "sector-4k", 0x168, 4096, VP_IMAGE_ERROR_UNSUPPORTED },
  { "size-huge", 0x174, 0xffffffff, VP_IMAGE_ERROR_UNSUPPORTED },
  { "size-over-map", 0x170, DISK_SIZE + 1, VP_IMAGE_ERROR_CORRUPT },
  { "size-odd", 0x170, DISK_SIZE - 1, -1 },
  { "size-0", 0x170, 0, -1 },
  { "block-0", 0x178, 0, VP_IMAGE_ERROR_UNSUPPORTED },
  { "block-odd", 0x178, 4097, VP_IMAGE_ERROR_UNSUPPORTED },
  { "block-256", 0x178, 256, VP_IMAGE_ERROR_UNSUPPORTED },
  { "block-2g", 0x178, 1u << 31, VP_IMAGE_ERROR_UNSUPPORTED },
  { "extra-odd", 0x17c, 1, VP_IMAGE_ERROR_UNSUPPORTED },
  { "extra-512", 0x17c, 512, -1 },
  { "extra-huge", 0x17c, 0xfffffe00, VP_IMAGE_ERROR_UNSUPPORTED },
  { "blocks-0", 0x180, 0, VP_IMAGE_ERROR_CORRUPT },
  { "blocks-past-data", 0x180, (DATA - 512) / 4 + 1, VP_IMAGE_ERROR_CORRUPT },
  { "blocks-many", 0x180, (16u << 20) + 1, VP_IMAGE_ERROR_UNSUPPORTED },
  { "blocks-all", 0x180, 0xffffffff, VP_IMAGE_ERROR_UNSUPPORTED },
  { "count-all", 0x184, 0xffffffff, -1 },
};

static void
test_headers (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (wrong_fields); i++) {
    const Field *field = &wrong_fields[i];
    g_autoptr (VpFile) file = by_hand ();
    g_autoptr (GError) error = NULL;
    g_test_message ("%s", field->name);
    put32 (file, field->offset, field->value);
    g_autoptr (VpImage) image =
        vp_image_open_file (file, "vdi", 0, NULL, &error);
    if (field->code < 0)
      g_assert_no_error (error);
    else
      g_assert_error (error, VP_IMAGE_ERROR, field->code);
    g_assert_true (image != NULL || field->code >= 0);
  }
}

/* A short file with a long map. */
static void
test_short_file (void)
{
  g_autoptr (VpFile) file = by_hand ();
  g_autoptr (GError) error = NULL;
  put32 (file, 0x180, 1u << 20);
  put32 (file, 0x158, 64u << 20);
  g_assert_null (vp_image_open_file (file, "vdi", 0, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

/* ---- reading ------------------------------------------------------------ */

static void
test_read (void)
{
  g_autoptr (VpFile) file = by_hand ();
  put_block (file, 3, 1, 0x33);
  put_block (file, 4, 2, 0x44);
  put_block (file, 5, 0, 0x55);
  put32 (file, 512 + 6 * 4, ZERO);
  put64 (file, 0x170, DISK_SIZE - 700); /* rounded up to sectors */
  g_autoptr (VpImage) image = open_vdi (file, 0);
  VpExtent extent;
  g_assert_cmpuint (vp_image_get_size (image), ==, DISK_SIZE - 512);
  expect (image, 0, 0, 3 * BLOCK);
  expect (image, 3 * BLOCK, 0x33, BLOCK);
  expect (image, 4 * BLOCK, 0x44, BLOCK);
  expect (image, 5 * BLOCK, 0x55, BLOCK);
  expect (image, 6 * BLOCK, 0, DISK_SIZE - 512 - 6 * BLOCK);
  /* Neighbours in the file are one extent. */
  ASSERT_OK (
      vp_image_map (image, 3 * BLOCK + 100, DISK_SIZE / 2, &extent, &error));
  g_assert_cmpuint (extent.length, ==, 2 * BLOCK - 100);
  g_assert_cmpuint (extent.offset, ==, DATA + BLOCK + 100);
  ASSERT_OK (vp_image_map (image, 6 * BLOCK, BLOCK * 2, &extent, &error));
  g_assert_true (extent.zero && extent.present);
  g_assert_cmpuint (extent.length, ==, BLOCK);
  ASSERT_OK (vp_image_map (image, 0, DISK_SIZE / 2, &extent, &error));
  g_assert_true (extent.zero && extent.present);
  g_assert_cmpuint (extent.length, ==, 3 * BLOCK);
}

/* Bytes in front of each block that are not the guest's. */
static void
test_extra (void)
{
  g_autoptr (VpFile) file = by_hand ();
  uint8_t noise[8 * (BLOCK + 512)];
  memset (noise, 0xee, sizeof noise);
  fake_file_poke (file, DATA, noise, 2 * (BLOCK + 512));
  memset (noise, 0x11, BLOCK);
  fake_file_poke (file, DATA + 512, noise, BLOCK);
  put32 (file, 0x17c, 512);
  put32 (file, 512, 0);
  put32 (file, 516, 1);
  put32 (file, 0x184, 2);
  VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
  expect (image, 0, 0x11, BLOCK);
  expect (image, BLOCK, 0xee, BLOCK);
  expect (image, 2 * BLOCK, 0, BLOCK);
  put (image, BLOCK / 2, 0x22, 3 * BLOCK);
  ASSERT_OK (vp_image_close (image, &error));
  image = open_vdi (file, 0);
  expect (image, 0, 0x11, BLOCK / 2);
  expect (image, BLOCK / 2, 0x22, 3 * BLOCK);
  expect (image, 3 * BLOCK + BLOCK / 2, 0, BLOCK);
  vp_image_free (image);
  g_assert_cmpuint (get32 (file, DATA), ==, 0xeeeeeeee);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  assert_dense (file);
}

/* What lies behind the last slot never comes to light. */
static void
test_old_bytes (void)
{
  g_autoptr (VpFile) file = by_hand ();
  put_block (file, 0, 0, 0x11);
  put_block (file, 1, 1, 0x99);
  put_block (file, 1, 2, 0x99);
  put32 (file, 516, FREE);
  put32 (file, 0x184, 1);
  VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
  put (image, 9 * BLOCK + 5, 0x22, 1);
  expect (image, 9 * BLOCK, 0, 5);
  expect (image, 9 * BLOCK + 5, 0x22, 1);
  expect (image, 9 * BLOCK + 6, 0, BLOCK - 6);
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmpuint (get32 (file, 512 + 9 * 4), ==, 1);
  assert_dense (file);
}

/* ---- faults ------------------------------------------------------------- */

static void
assert_not_written (VpFile *file)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (
      vp_image_open_file (file, "vdi", VP_IMAGE_WRITABLE, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

static VpFile *
three_blocks (void)
{
  VpFile *file = by_hand ();
  put_block (file, 7, 0, 0x77);
  put_block (file, 8, 1, 0x88);
  put_block (file, 9, 2, 0x99);
  return file;
}

static void
expect_three (VpFile *file)
{
  g_autoptr (VpImage) image = open_vdi (file, 0);
  expect (image, 7 * BLOCK, 0x77, BLOCK);
  expect (image, 8 * BLOCK, 0x88, BLOCK);
  expect (image, 9 * BLOCK, 0x99, BLOCK);
}

/* A power cut under QEMU: the map was written, the header was not. */
static void
test_count_behind (void)
{
  g_autoptr (VpFile) file = three_blocks ();
  put32 (file, 0x184, 1);
  check (file, VP_REPAIR_NOTHING, 1, 0);
  check (file, VP_REPAIR_LEAKS, 1, 0);
  g_assert_cmpuint (get32 (file, 0x184), ==, 1);
  g_autoptr (VpFile) other = fake_file_copy (file, "disk");
  check (file, VP_REPAIR_ALL, 1, 0);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  assert_dense (file);
  expect_three (file);
  /* Whoever writes without a repair harms nobody either. */
  VpImage *image = open_vdi (other, VP_IMAGE_WRITABLE);
  put (image, 0, 0x11, BLOCK);
  ASSERT_OK (vp_image_close (image, &error));
  expect_three (other);
  assert_dense (other);
}

static void
test_count_ahead (void)
{
  g_autoptr (VpFile) file = three_blocks ();
  put32 (file, 0x184, 5);
  check (file, VP_REPAIR_NOTHING, 0, 2);
  check (file, VP_REPAIR_LEAKS, 0, 2);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  assert_dense (file);
  expect_three (file);
}

static void
test_gap (void)
{
  uint64_t before, after;
  g_autoptr (VpFile) file = three_blocks ();
  put_block (file, 1, 5, 0x11);
  put32 (file, 512 + 8 * 4, FREE);
  (void) fake_file_bytes (file, &before);
  check (file, VP_REPAIR_NOTHING, 0, 3);
  check (file, VP_REPAIR_LEAKS, 0, 3);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  (void) fake_file_bytes (file, &after);
  g_assert_cmpuint (after, ==, before - 3 * BLOCK);
  assert_dense (file);
  g_autoptr (VpImage) image = open_vdi (file, 0);
  expect (image, BLOCK, 0x11, BLOCK);
  expect (image, 7 * BLOCK, 0x77, BLOCK);
  expect (image, 8 * BLOCK, 0, BLOCK);
  expect (image, 9 * BLOCK, 0x99, BLOCK);
}

static void
test_shared (void)
{
  g_autoptr (VpFile) file = three_blocks ();
  put32 (file, 512 + 20 * 4, 1);
  put32 (file, 512 + 21 * 4, 1);
  assert_not_written (file);
  check (file, VP_REPAIR_NOTHING, 2, 0);
  check (file, VP_REPAIR_ALL, 2, 0);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  assert_dense (file);
  expect_three (file);
  VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
  expect (image, 20 * BLOCK, 0x88, 2 * BLOCK);
  put (image, 20 * BLOCK, 0x20, BLOCK);
  expect (image, 21 * BLOCK, 0x88, BLOCK);
  expect (image, 8 * BLOCK, 0x88, BLOCK);
  ASSERT_OK (vp_image_close (image, &error));
}

/* The file grows during the repair, and number 3 must not come to life. */
static void
test_past_end (void)
{
  static const uint32_t wild[] = {
    3, 4, 1000, 1u << 25, 0x7fffffff, 0xfffffffd
  };
  for (size_t i = 0; i < G_N_ELEMENTS (wild); i++) {
    g_autoptr (VpFile) file = three_blocks ();
    g_autoptr (GError) error = NULL;
    uint8_t byte;
    put32 (file, 512 + 40 * 4, wild[i]);
    put32 (file, 512 + 30 * 4, 0);
    assert_not_written (file);
    VpImage *image = open_vdi (file, 0);
    g_assert_false (vp_image_read (image, 40 * BLOCK, &byte, 1, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
    vp_image_free (image);
    check (file, VP_REPAIR_NOTHING, 2, 0);
    check (file, VP_REPAIR_ALL, 2, 0);
    check (file, VP_REPAIR_NOTHING, 0, 0);
    assert_dense (file);
    expect_three (file);
    image = open_vdi (file, VP_IMAGE_WRITABLE);
    expect (image, 40 * BLOCK, 0, BLOCK);
    expect (image, 30 * BLOCK, 0x77, BLOCK);
    vp_image_free (image);
  }
}

/* A download that was cut off: what is there can be read, the rest cannot,
 * and only a repair makes it zeros. */
static void
test_cut_off (void)
{
  g_autoptr (VpFile) file = three_blocks ();
  g_autoptr (GError) error = NULL;
  uint8_t byte;
  g_assert_true (vp_file_truncate (file, DATA + 2 * BLOCK + BLOCK / 2, NULL));
  VpImage *image = open_vdi (file, 0);
  expect (image, 9 * BLOCK, 0x99, BLOCK / 2);
  g_assert_false (
      vp_image_read (image, 9 * BLOCK + BLOCK / 2, &byte, 1, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  vp_image_free (image);
  check (file, VP_REPAIR_NOTHING, 1, 0);
  check (file, VP_REPAIR_ALL, 1, 0);
  check (file, VP_REPAIR_NOTHING, 0, 0);
  image = open_vdi (file, 0);
  expect (image, 9 * BLOCK, 0x99, BLOCK / 2);
  expect (image, 9 * BLOCK + BLOCK / 2, 0, BLOCK / 2);
  vp_image_free (image);
}

/* ---- sizes -------------------------------------------------------------- */

static void
fill (VpImage *image, uint64_t offset, uint64_t length, unsigned salt)
{
  for (uint64_t at = offset; at < offset + length; at += BLOCK)
    put (image, at, (int) ((at / BLOCK * 7 + salt) % 251 + 1), BLOCK);
}

static bool
is_filled (VpImage *image, uint64_t offset, uint64_t length, unsigned salt)
{
  uint8_t bytes[BLOCK];
  for (uint64_t at = offset; at < offset + length; at += BLOCK) {
    ASSERT_OK (vp_image_read (image, at, bytes, BLOCK, &error));
    for (size_t i = 0; i < BLOCK; i++)
      if (bytes[i] != (at / BLOCK * 7 + salt) % 251 + 1)
        return false;
  }
  return true;
}

/* From a map that ends at the data to one of 12 blocks' length, and back. */
static void
test_grow_shrink (void)
{
  g_autoptr (VpFile) file = by_hand ();
  VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
  fill (image, 0, DISK_SIZE / 2, 1);
  fill (image, DISK_SIZE - BLOCK, BLOCK, 1);
  uint64_t sizes[] = { DISK_SIZE * 2, 48 * MIB, 49 * MIB, 400 * MIB };
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    ASSERT_OK (vp_image_resize (image, sizes[i], VP_PREALLOCATION_OFF, &error));
    fill (image, sizes[i] - BLOCK, BLOCK, 1);
    ASSERT_OK (vp_image_close (image, &error));
    check (file, VP_REPAIR_NOTHING, 0, 0);
    assert_dense (file);
    image = open_vdi (file, VP_IMAGE_WRITABLE);
    g_assert_cmpuint (vp_image_get_size (image), ==, sizes[i]);
    g_assert_true (is_filled (image, 0, DISK_SIZE / 2, 1));
    g_assert_true (is_filled (image, DISK_SIZE - BLOCK, BLOCK, 1));
    expect (image, DISK_SIZE / 2, 0, DISK_SIZE / 2 - BLOCK);
    for (size_t j = 0; j <= i; j++)
      g_assert_true (is_filled (image, sizes[j] - BLOCK, BLOCK, 1));
  }
  ASSERT_OK (vp_image_shrink (image, DISK_SIZE / 4 + 512, &error));
  ASSERT_OK (vp_image_close (image, &error));
  check (file, VP_REPAIR_NOTHING, 0, 0);
  assert_dense (file);
  image = open_vdi (file, VP_IMAGE_WRITABLE);
  g_assert_true (is_filled (image, 0, DISK_SIZE / 4, 1));
  ASSERT_OK (vp_image_resize (image, DISK_SIZE, VP_PREALLOCATION_OFF, &error));
  expect (image, DISK_SIZE / 4 + 512, 0, DISK_SIZE * 3 / 4 - 512);
  vp_image_free (image);
}

/* A map may be longer than its disk; what it holds there stays hidden. */
static void
test_longer_map (void)
{
  for (unsigned is_static = 0; is_static < 2; is_static++) {
    g_autoptr (VpFile) file = three_blocks ();
    put32 (file, 0x4c, 1 + is_static);
    put64 (file, 0x170, 8 * BLOCK - 512);
    VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
    ASSERT_OK (
        vp_image_resize (image, DISK_SIZE, VP_PREALLOCATION_OFF, &error));
    expect (image, 7 * BLOCK, 0x77, BLOCK - 512);
    expect (image, 8 * BLOCK - 512, 0, DISK_SIZE - 8 * BLOCK + 512);
    ASSERT_OK (vp_image_close (image, &error));
    check (file, VP_REPAIR_NOTHING, 0, 0);
    assert_dense (file);
    g_assert_true (is_static == (get32 (file, 512 + 63 * 4) != FREE));
  }
}

static void
test_limits (void)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpFile) file = by_hand ();
  g_autoptr (VpImage) image = open_vdi (file, VP_IMAGE_WRITABLE);
  uint64_t most = (UINT64_C (16) << 20) * BLOCK;
  g_assert_false (
      vp_image_resize (image, most + 512, VP_PREALLOCATION_OFF, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  ASSERT_OK (vp_image_resize (image, most, VP_PREALLOCATION_OFF, &error));
  put (image, most - 1, 0x11, 1);
  ASSERT_OK (vp_image_flush (image, &error));
  g_assert_cmpuint (vp_image_get_size (image), ==, most);
  check (file, VP_REPAIR_NOTHING, 0, 0);

  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_autoptr (VpFile) fresh = fake_file_new ("fresh");
  options.size = (UINT64_C (16) << 40) + 512;
  g_clear_error (&failure);
  g_assert_false (
      vp_image_create_file (fresh, "vdi", &options, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
}

/* ---- power cuts while the size changes ---------------------------------- */

typedef struct {
  VpFile *start;
  GPtrArray *log;
  Random random;
  uint64_t kept; /* what both sizes have */
  unsigned n_states;
} Cuts;

static void
judge_cut (Cuts *cuts, VpFile *cut)
{
  g_autoptr (VpFile) cured = fake_file_copy (cut, "disk");
  g_auto (VpCheckResult) result = { 0 };
  VpImage *image = open_vdi (cut, VP_IMAGE_CHECK);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  g_assert_cmpuint (result.corruptions, ==, 0);
  g_assert_true (is_filled (image, 0, cuts->kept, 3));
  vp_image_free (image);
  image = open_vdi (cured, VP_IMAGE_CHECK | VP_IMAGE_WRITABLE);
  vp_check_result_clear (&result);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_LEAKS, NULL, &result, &error));
  ASSERT_OK (vp_image_close (image, &error));
  assert_dense (cured);
  /* And goes on living. */
  image = open_vdi (cured, VP_IMAGE_WRITABLE);
  g_assert_true (is_filled (image, 0, cuts->kept, 3));
  put (image, cuts->kept, 0x22, BLOCK);
  g_assert_true (is_filled (image, 0, cuts->kept, 3));
  ASSERT_OK (vp_image_close (image, &error));
  assert_dense (cured);
  cuts->n_states++;
}

/* All up to a point; of what no flush has made last, some, torn. */
static void
cut_everywhere (Cuts *cuts, unsigned rounds)
{
  g_autoptr (VpFile) base = fake_file_copy (cuts->start, "disk");
  guint flushed = 0;
  for (guint n = 0; n <= cuts->log->len; n++) {
    for (unsigned round = 0; round < rounds; round++) {
      g_autoptr (VpFile) cut = fake_file_copy (base, "disk");
      for (guint i = flushed; i < n; i++) {
        const FakeOp *op = g_ptr_array_index (cuts->log, i);
        uint64_t dice = random_below (&cuts->random, 3);
        if (round == 0 || dice == 0)
          fake_op_apply (op, cut);
        else if (dice == 1 && op->kind == FAKE_WRITE)
          fake_op_apply_torn (op, cut, random_next (&cuts->random));
      }
      judge_cut (cuts, cut);
    }
    const FakeOp *op =
        n < cuts->log->len ? g_ptr_array_index (cuts->log, n) : NULL;
    for (; op && op->kind == FAKE_FLUSH && flushed <= n; flushed++)
      fake_op_apply (g_ptr_array_index (cuts->log, flushed), base);
  }
}

static void
test_cuts (void)
{
  static const uint64_t sizes[][3] = {
    /* from, to, blocks that are filled */
    { DISK_SIZE, DISK_SIZE * 3, 40 },   { DISK_SIZE, 40 * MIB, 40 },
    { DISK_SIZE, 80 * MIB, 3 },         { DISK_SIZE, 40 * BLOCK, 24 },
    { DISK_SIZE, 10 * BLOCK - 512, 8 },
  };
  unsigned n_states = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    Cuts cuts = { .random = { test_seed () }, .kept = sizes[i][2] * BLOCK };
    g_autoptr (VpFile) file = by_hand ();
    VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
    fill (image, sizes[i][0] - 12 * BLOCK, 12 * BLOCK, 5);
    fill (image, 0, cuts.kept, 3);
    ASSERT_OK (vp_image_flush (image, &error));
    cuts.start = fake_file_copy (file, "disk");
    cuts.log = fake_file_record (file);
    if (sizes[i][1] > sizes[i][0])
      ASSERT_OK (
          vp_image_resize (image, sizes[i][1], VP_PREALLOCATION_OFF, &error));
    else
      ASSERT_OK (vp_image_shrink (image, sizes[i][1], &error));
    cut_everywhere (&cuts, test_rounds (2, 60));
    vp_image_free (image);
    vp_file_unref (cuts.start);
    n_states += cuts.n_states;
  }
  g_test_message ("%u states", n_states);
  g_assert_cmpuint (n_states, >, 100);
}

/* Each change of the file fails in turn. */
static void
test_failing (void)
{
  bool failed = true;
  for (unsigned nth = 1; failed; nth++) {
    g_autoptr (VpFile) file = by_hand ();
    VpImage *image = open_vdi (file, VP_IMAGE_WRITABLE);
    fill (image, 0, 30 * BLOCK, 3);
    ASSERT_OK (vp_image_flush (image, &error));
    fake_file_fail (file, nth, false);
    bool grown = vp_image_resize (image, 40 * MIB, VP_PREALLOCATION_OFF, NULL);
    failed = fake_file_has_failed (file);
    g_assert_true (grown || failed);
    /* It goes on, as far as it can. */
    g_assert_true (is_filled (image, 0, 30 * BLOCK, 3));
    uint8_t bytes[BLOCK] = { 0x22 };
    (void) !vp_image_write (image, 31 * BLOCK, bytes, BLOCK, NULL);
    (void) !vp_image_flush (image, NULL);
    vp_image_free (image);
    fake_file_fail (file, 0, false);
    g_autoptr (VpFile) left = fake_file_copy (file, "disk");
    Cuts cuts = { .kept = 30 * BLOCK };
    judge_cut (&cuts, left);
  }
}

/* ---- creation ----------------------------------------------------------- */

static void
test_create (void)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_autoptr (VpFile) one = fake_file_new ("one");
  g_autoptr (VpFile) two = fake_file_new ("two");
  uint64_t size;
  options.size = 5 * MIB + 1000;
  ASSERT_OK (vp_image_create_file (one, "vdi", &options, NULL, &error));
  ASSERT_OK (vp_image_create_file (two, "vdi", &options, NULL, &error));
  const uint8_t *a = fake_file_bytes (one, &size);
  const uint8_t *b = fake_file_bytes (two, &size);
  /* Of each name its own, of version 4. */
  g_assert_true (memcmp (a + 0x188, b + 0x188, 16) != 0);
  g_assert_true (memcmp (a + 0x188, a + 0x198, 16) != 0);
  g_assert_cmphex (a[0x188 + 7] >> 4, ==, 4);
  g_assert_cmphex (a[0x188 + 8] >> 6, ==, 2);
  g_assert_cmpuint (get32 (one, 0x180), ==, 6);
  g_assert_cmpuint (get32 (one, 0x170), ==, 5 * MIB + 1024);
  g_assert_cmpuint (size, ==, MIB);
}

static void
test_wrong_options (void)
{
  static const uint64_t sizes[] = { 1000, 256, 128 * MIB, 3 * MIB };
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpFile) file = fake_file_new ("disk");
    VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
    options.size = MIB;
    options.cluster_size = sizes[i];
    g_assert_false (vp_image_create_file (file, "vdi", &options, NULL, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vdi/headers", test_headers);
  g_test_add_func ("/vdi/short-file", test_short_file);
  g_test_add_func ("/vdi/read", test_read);
  g_test_add_func ("/vdi/extra", test_extra);
  g_test_add_func ("/vdi/old-bytes", test_old_bytes);
  g_test_add_func ("/vdi/count-behind", test_count_behind);
  g_test_add_func ("/vdi/count-ahead", test_count_ahead);
  g_test_add_func ("/vdi/gap", test_gap);
  g_test_add_func ("/vdi/shared", test_shared);
  g_test_add_func ("/vdi/past-end", test_past_end);
  g_test_add_func ("/vdi/cut-off", test_cut_off);
  g_test_add_func ("/vdi/grow-shrink", test_grow_shrink);
  g_test_add_func ("/vdi/longer-map", test_longer_map);
  g_test_add_func ("/vdi/limits", test_limits);
  g_test_add_func ("/vdi/cuts", test_cuts);
  g_test_add_func ("/vdi/failing", test_failing);
  g_test_add_func ("/vdi/create", test_create);
  g_test_add_func ("/vdi/wrong-options", test_wrong_options);
  return g_test_run ();
}
