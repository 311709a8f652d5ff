/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* LUKS disks on a file of their own: what the header says against the length
 * of the file, what can be done without a key, and what is inside. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define SIZE (UINT64_C (64) << 10)

static VpFile *
make_disk (FakeGate *gate)
{
  fake_gate_init (gate);
  return case_create (case_find ("luks"), gate, "disk", SIZE, NULL, NULL);
}

static VpImage *
open_disk (FakeGate *gate, VpFile *file, VpImageFlags flags)
{
  return case_open (case_find ("luks"), gate, file, flags);
}

static void
put (VpFile *file, uint64_t at, uint32_t value)
{
  uint8_t bytes[4];
  vp_be32_set (bytes, value);
  fake_file_poke (file, at, bytes, sizeof bytes);
}

static uint32_t
get (VpFile *file, uint64_t at)
{
  uint64_t size;
  return vp_be32_get (fake_file_bytes (file, &size) + at);
}

static void
expect_failure (VpFile *file, VpImageFlags flags, int code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (case_open_file (file, "luks", flags, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, code);
  if (!strstr (error->message, words))
    g_error ("'%s' does not say '%s'", error->message, words);
}

/* What the header promises must be there, with a key and without. */
static void
test_length (void)
{
  FakeGate gate;
  g_autoptr (VpFile) file = make_disk (&gate);
  uint64_t start = get (file, 104) * UINT64_C (512);
  ASSERT_OK (vp_file_truncate (file, start, &error));
  g_autoptr (VpImage) empty = open_disk (&gate, file, 0);
  g_assert_cmpuint (vp_image_get_size (empty), ==, 0);
  ASSERT_OK (vp_file_truncate (file, start + 513, &error));
  g_autoptr (VpImage) odd = open_disk (&gate, file, 0);
  g_assert_cmpuint (vp_image_get_size (odd), ==, 1024);
  static const VpImageFlags flags[] = { 0, VP_IMAGE_NO_IO, VP_IMAGE_CHECK };
  for (size_t i = 0; i < G_N_ELEMENTS (flags); i++) {
    g_autoptr (VpFile) cut = fake_file_copy (file, "disk");
    put (cut, 104, UINT32_MAX);
    expect_failure (cut, flags[i], VP_IMAGE_ERROR_CORRUPT, "past the end");
    ASSERT_OK (vp_file_truncate (cut, 591, &error));
    expect_failure (cut, flags[i], VP_IMAGE_ERROR_CORRUPT, "not in LUKS");
    put (cut, 6, 0x00020000);
    ASSERT_OK (vp_file_truncate (cut, 65536, &error));
    expect_failure (cut, flags[i], VP_IMAGE_ERROR_UNSUPPORTED,
                    "LUKS version 2");
  }
  fake_gate_clear (&gate);
}

static void
test_no_key (void)
{
  FakeGate gate;
  g_autoptr (GError) error = NULL;
  g_auto (VpImageInfo) info = { 0 };
  uint8_t byte;
  g_autoptr (VpFile) file = make_disk (&gate);
  g_assert_null (vp_image_open_file (file, "luks", 0, NULL, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_clear_error (&error);
  g_autoptr (VpImage) image =
      vp_image_open_file (file, NULL, VP_IMAGE_NO_IO, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vp_image_get_size (image), ==, SIZE);
  g_assert_true (vp_image_get_info (image, &info, NULL));
  g_assert_true (info.encrypted && info.luks->slots[0].active);
  /* Neither nonsense comes out, nor goes in. */
  g_assert_false (vp_image_read (image, 0, &byte, 1, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_clear_error (&error);
  g_autoptr (VpFile) before = fake_file_copy (file, "before");
  g_autoptr (VpImage) writable = vp_image_open_file (
      file, "luks", VP_IMAGE_NO_IO | VP_IMAGE_WRITABLE, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (vp_image_write (writable, 0, "x", 1, NULL));
  g_assert_false (vp_image_zero (writable, 0, 4096, true, NULL));
  uint64_t size, old_size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  const uint8_t *old = fake_file_bytes (before, &old_size);
  g_assert_cmpmem (bytes, (int) size, old, (int) old_size);
  fake_gate_clear (&gate);
}

/* A guest may write the header of any format: nobody looks for it. */
static void
test_nested (void)
{
  FakeGate gate;
  uint8_t head[512] = "QFI\xfb\0\0\0\3", found[512];
  VpExtent extent;
  g_autoptr (VpFile) file = make_disk (&gate);
  g_autoptr (VpFile) base = fake_file_new ("base");
  fake_gate_add (&gate, base);
  vp_be64_set (head + 8, 256);
  vp_be32_set (head + 16, 4);
  memcpy (head + 256, "base", 4);
  VpImage *image = open_disk (&gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, head, sizeof head, &error));
  ASSERT_OK (vp_image_close (image, &error));
  unsigned asked = gate.n_asked;
  image = open_disk (&gate, file, 0);
  g_assert_null (vp_image_get_backing (image));
  ASSERT_OK (vp_image_read (image, 0, found, sizeof found, &error));
  g_assert_cmpmem (found, sizeof found, head, sizeof head);
  ASSERT_OK (vp_image_map (image, 0, SIZE, &extent, &error));
  /* All of it is data, which nobody can take from the file as it is. */
  g_assert_true (extent.data && !extent.zero && !extent.has_offset);
  g_assert_cmpuint (extent.length, ==, SIZE);
  vp_image_free (image);
  g_assert_cmpuint (gate.n_asked, ==, asked);
  fake_gate_clear (&gate);
}

static void
test_resize (void)
{
  FakeGate gate;
  uint8_t bytes[4096], found[sizeof bytes];
  g_autoptr (GError) failure = NULL;
  uint64_t len;
  g_autoptr (VpFile) file = make_disk (&gate);
  VpImage *image = open_disk (&gate, file, VP_IMAGE_WRITABLE);
  memset (bytes, 'r', sizeof bytes);
  ASSERT_OK (vp_image_write (image, 512, bytes, sizeof bytes, &error));
  ASSERT_OK (vp_image_resize (image, 2 * SIZE, VP_PREALLOCATION_OFF, &error));
  ASSERT_OK (
      vp_image_write (image, 2 * SIZE - 4096, bytes, sizeof bytes, &error));
  ASSERT_OK (vp_image_shrink (image, 8192, &error));
  /* The fake disk cannot keep space: all stays as it was. */
  g_assert_false (
      vp_image_resize (image, SIZE, VP_PREALLOCATION_FALLOC, &failure));
  g_assert_cmpuint (vp_image_get_size (image), ==, 8192);
  ASSERT_OK (vp_image_close (image, &error));
  (void) fake_file_bytes (file, &len);
  g_assert_cmpuint (len, ==, get (file, 104) * UINT64_C (512) + 8192);
  image = open_disk (&gate, file, 0);
  g_assert_cmpuint (vp_image_get_size (image), ==, 8192);
  ASSERT_OK (vp_image_read (image, 512, found, sizeof found, &error));
  g_assert_cmpmem (found, sizeof found, bytes, sizeof bytes);
  vp_image_free (image);
  fake_gate_clear (&gate);
}

static void
test_check (void)
{
  FakeGate gate;
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpFile) file = make_disk (&gate);
  case_check (case_find ("luks"), file, 0);
  put (file, 208, 0x0000dead); /* the only slot */
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "luks", VP_IMAGE_CHECK, NULL, &failure);
  g_assert_no_error (failure);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  g_assert_cmpuint (result.corruptions, ==, 1);
  expect_failure (file, 0, VP_IMAGE_ERROR_USAGE, "Invalid password");
  fake_gate_clear (&gate);
}

/* A copy onto noise writes its zeros, too. */
static void
test_copy (void)
{
  FakeGate gate;
  VpCopyOptions options = { 0 };
  static const uint8_t zeros[SIZE];
  uint8_t found[SIZE];
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpFile) file = make_disk (&gate);
  g_autoptr (VpFile) source_file = fake_file_new ("source");
  ASSERT_OK (vp_file_truncate (source_file, SIZE, &error));
  g_autoptr (VpImage) source =
      vp_image_open_file (source_file, "raw", 0, NULL, &failure);
  g_assert_no_error (failure);
  VpImage *image = open_disk (&gate, file, VP_IMAGE_WRITABLE);
  memset (found, 'n', sizeof found);
  ASSERT_OK (vp_image_write (image, 0, found, sizeof found, &error));
  g_assert_true (vp_image_get_format (image)->new_is_noise);
  ASSERT_OK (vp_copy_image (source, image, &options, NULL, &error));
  ASSERT_OK (vp_image_read (image, 0, found, sizeof found, &error));
  g_assert_cmpmem (found, sizeof found, zeros, sizeof zeros);
  vp_image_free (image);
  fake_gate_clear (&gate);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/luks-format/length", test_length);
  g_test_add_func ("/luks-format/no-key", test_no_key);
  g_test_add_func ("/luks-format/nested", test_nested);
  g_test_add_func ("/luks-format/resize", test_resize);
  g_test_add_func ("/luks-format/check", test_check);
  g_test_add_func ("/luks-format/copy", test_copy);
  return g_test_run ();
}
