/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow: read and written side by side with another reader, in both layouts of
 * the header; which of them a file has; what the check finds; and what can be
 * changed in a header without a moment in which it is wrong. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/rebase.h"
#include "tests/storage/cow-reader.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define SECTORS 3000u
#define SIZE    (SECTORS * UINT64_C (512))
#define GIB     (UINT64_C (1) << 30)

static const int headers[] = { 1056, 1048 };

static VpFile *
make_cow (FakeGate *gate, uint64_t size, const char *backing)
{
  return case_create (case_find ("cow"), gate, "disk", size, backing,
                      backing ? "raw" : NULL);
}

static VpImage *
open_cow (FakeGate *gate, VpFile *file, VpImageFlags flags)
{
  return case_open (case_find ("cow"), gate, file, flags);
}

static bool
opens (VpFile *file, int code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "cow", VP_IMAGE_NO_BACKING, NULL, &error);
  if (!image)
    g_assert_error (error, VP_IMAGE_ERROR, code);
  return image != NULL;
}

static void
add_base (FakeGate *gate, const uint8_t *bytes)
{
  g_autoptr (VpFile) base = fake_file_new ("base");
  fake_file_poke (base, 0, bytes, SIZE);
  fake_gate_add (gate, base);
  fake_gate_state (gate, "base", "raw");
}

/* Writes to image, and to the model. */
static void
scribble (VpImage *image, uint8_t *model, Random *random, unsigned rounds)
{
  for (unsigned i = 0; i < rounds; i++) {
    uint64_t length = 1 + random_below (random, 9000);
    uint64_t offset = random_below (random, SIZE - length);
    bool zero = random_below (random, 4) == 0;
    if (zero) {
      memset (model + offset, 0, length);
      ASSERT_OK (vp_image_zero (image, offset, length, true, &error));
    } else {
      random_fill (random, model + offset, length);
      ASSERT_OK (
          vp_image_write (image, offset, model + offset, length, &error));
    }
  }
}

/* What the other reader finds, over base. */
static void
expect_by_other (VpFile *file, int header, const uint8_t *base,
                 const uint8_t *model)
{
  uint64_t file_len;
  const uint8_t *bytes = fake_file_bytes (file, &file_len);
  g_autofree uint8_t *disk = g_memdup2 (base, SIZE);
  g_assert_true (cow_reader_read (bytes, file_len, header, disk, SIZE));
  g_assert_cmpmem (disk, SIZE, model, SIZE);
}

static void
expect_by_us (FakeGate *gate, VpFile *file, const uint8_t *model)
{
  g_autofree uint8_t *disk = g_malloc (SIZE);
  g_autoptr (VpImage) image = open_cow (gate, file, 0);
  g_assert_cmpuint (vp_image_get_size (image), ==, SIZE);
  ASSERT_OK (vp_image_read (image, 0, disk, SIZE, &error));
  g_assert_cmpmem (disk, SIZE, model, SIZE);
}

/* ---- both ways ---------------------------------------------------------- */

static void
test_ours (void)
{
  Random random = { test_seed () };
  for (unsigned round = 0; round < test_rounds (4, 200); round++) {
    FakeGate gate;
    g_autofree uint8_t *base = g_malloc0 (SIZE);
    fake_gate_init (&gate);
    bool backed = round % 2;
    if (backed)
      random_fill (&random, base, SIZE);
    g_autofree uint8_t *model = g_memdup2 (base, SIZE);
    add_base (&gate, base);
    g_autoptr (VpFile) file = make_cow (&gate, SIZE, backed ? "base" : NULL);
    VpImage *image = open_cow (&gate, file, VP_IMAGE_WRITABLE);
    scribble (image, model, &random, 20);
    ASSERT_OK (vp_image_close (image, &error));
    expect_by_other (file, 1056, base, model);
    uint64_t len;
    g_assert_cmpstr (cow_reader_backing (fake_file_bytes (file, &len)), ==,
                     backed ? "base" : "");
    fake_gate_clear (&gate);
  }
}

static void
run_theirs (int header, Random *random)
{
  FakeGate gate;
  size_t limit = SIZE + 8192;
  g_autofree uint8_t *base = g_malloc (SIZE), *bytes = g_malloc (limit);
  g_autofree uint8_t *disk = g_malloc (SIZE), *here = g_malloc0 (SECTORS);
  fake_gate_init (&gate);
  random_fill (random, base, SIZE);
  random_fill (random, disk, SIZE);
  add_base (&gate, base);
  unsigned density = (unsigned) random_below (random, 20);
  for (unsigned i = 0; i < SECTORS; i++)
    here[i] = random_below (random, 20) < density;
  size_t len = cow_reader_make (bytes, limit, header, "base", disk, SIZE, here);
  g_autoptr (VpFile) file = fake_file_new ("disk");
  fake_file_poke (file, 0, bytes, len);
  for (unsigned i = 0; i < SECTORS; i++)
    if (!here[i])
      memcpy (disk + i * 512u, base + i * 512u, 512);
  expect_by_us (&gate, file, disk);
  case_check (case_find ("cow"), file, 0);
  VpImage *image = open_cow (&gate, file, VP_IMAGE_WRITABLE);
  scribble (image, disk, random, 20);
  ASSERT_OK (vp_image_close (image, &error));
  expect_by_us (&gate, file, disk);
  expect_by_other (file, header, base, disk);
  case_check (case_find ("cow"), file, 0);
  fake_gate_clear (&gate);
}

static void
test_theirs (void)
{
  Random random = { test_seed () };
  for (unsigned round = 0; round < test_rounds (4, 200); round++)
    run_theirs (headers[round % 2], &random);
}

/* One answer for a run of sectors, however long. */
static void
test_map (void)
{
  FakeGate gate;
  VpExtent extent;
  static uint8_t bytes[1 << 20];
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = make_cow (&gate, GIB / 2, NULL);
  VpImage *image = open_cow (&gate, file, VP_IMAGE_WRITABLE);
  memset (bytes, 1, sizeof bytes);
  for (unsigned i = 0; i < 4; i++)
    ASSERT_OK (vp_image_write (image, 512 * 13 + i * sizeof bytes, bytes,
                               sizeof bytes, &error));
  ASSERT_OK (vp_image_map (image, 0, GIB / 2, &extent, &error));
  g_assert_true (extent.length == 512 * 13 && !extent.present);
  ASSERT_OK (
      vp_image_map (image, 512 * 13, GIB / 2 - 512 * 13, &extent, &error));
  g_assert_cmpuint (extent.length, ==, 4 * sizeof bytes);
  g_assert_true (extent.data && extent.has_offset && extent.offset % 512 == 0);
  uint64_t at = 512 * 13 + 4 * sizeof bytes;
  ASSERT_OK (vp_image_map (image, at, GIB / 2 - at, &extent, &error));
  g_assert_cmpuint (extent.length, ==, GIB / 2 - at);
  /* Zeros that nobody wrote take no place, those of a discard none more. */
  uint64_t len, after;
  ASSERT_OK (vp_image_flush (image, &error));
  fake_file_bytes (file, &len);
  ASSERT_OK (vp_image_zero (image, at, GIB / 4, true, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_file_bytes (file, &after);
  g_assert_cmpuint (len, ==, after);
  fake_gate_clear (&gate);
}

/* ---- which layout ------------------------------------------------------- */

/* Whatever the size: what we make is read as what it is, also as short as
 * others made it, and as long as it can become. */
static void
test_sizes (void)
{
  static const uint64_t sizes[] = {
    0,          512,          1024,    4096,          512 * 4095,    512 * 4096,
    512 * 4097, 1 << 20,      4 * GIB, 4 * GIB + 512, 8 * GIB + 512, 512 * 512,
    20 * GIB,   4 * GIB - 512
  };
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    FakeGate gate;
    fake_gate_init (&gate);
    g_autoptr (VpFile) file = make_cow (&gate, sizes[i], NULL);
    uint64_t bitmap = 1056 + (sizes[i] / 512 + 7) / 8;
    fake_file_limit (file, 32 * GIB);
    g_autoptr (VpImage) image = open_cow (&gate, file, 0);
    g_assert_cmpuint (vp_image_get_size (image), ==, sizes[i]);
    ASSERT_OK (vp_file_truncate (file, bitmap, &error));
    g_assert_true (opens (file, 0));
    ASSERT_OK (vp_file_truncate (file, bitmap - 1, &error));
    g_assert_false (opens (file, VP_IMAGE_ERROR_CORRUPT));
    uint64_t most = vp_round_up (bitmap, 512) + sizes[i];
    if (most < GIB) {
      ASSERT_OK (vp_file_truncate (file, most, &error));
      g_assert_true (opens (file, 0));
      ASSERT_OK (vp_file_truncate (file, most + 1, &error));
      g_assert_false (opens (file, VP_IMAGE_ERROR_CORRUPT));
    }
    fake_gate_clear (&gate);
  }
}

static void
put (VpFile *file, uint64_t at, unsigned width, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (file, at, bytes + 8 - width, width);
}

/* A packed header, and the bit of sector 17, which makes 512 of the words that
 * a padded one has for the sector size.  Its size is the low half of the packed
 * one's, 4 GiB times as large. */
static void
test_doubt (void)
{
  g_autoptr (VpFile) file = fake_file_new ("disk");
  put (file, 0, 4, 0x4f4f4f4d);
  put (file, 4, 4, 2);
  put (file, 8, 8, 0);
  put (file, 1036, 8, 4096);
  put (file, 1044, 4, 512);
  put (file, 1048, 4, 512);
  put (file, 1052, 4, 0);
  /* Nobody has a bitmap of 4 GiB in there. */
  ASSERT_OK (vp_file_truncate (file, 4096, &error));
  g_assert_true (opens (file, 0));
  /* 4 GiB and a sector, or 2 TiB and a sector: both may be that long. */
  put (file, 1036, 8, UINT64_C (1) << 32 | 512);
  char *folder = judge_folder ();
  g_autofree char *path = g_build_filename (folder, "disk", NULL);
  uint64_t len;
  g_autoptr (VpFile) large =
      vp_file_open (path, VP_FILE_WRITABLE | VP_FILE_CREATE, NULL);
  g_assert_nonnull (large);
  ASSERT_OK (
      vp_file_write (large, 0, fake_file_bytes (file, &len), 4096, &error));
  ASSERT_OK (vp_file_truncate (large, GIB / 2 - (1 << 20), &error));
  g_assert_true (opens (large, 0));
  ASSERT_OK (vp_file_truncate (large, GIB / 2 + (1 << 20), &error));
  g_assert_false (opens (large, VP_IMAGE_ERROR_CORRUPT));
  judge_remove (folder);
}

static void
test_foreign (void)
{
  g_autoptr (VpFile) file = fake_file_new ("disk");
  g_autoptr (GError) error = NULL;
  static const uint8_t zeros[8192];
  fake_file_poke (file, 0, zeros, sizeof zeros);
  put (file, 0, 4, 0x4f4f4f4d);
  for (uint64_t version = 1; version <= 3; version++) {
    put (file, 4, 4, version);
    if (version == 2)
      put (file, 4120, 4, 512); /* behind a name of 4096 bytes */
    g_clear_error (&error);
    g_assert_null (vp_image_open_file (file, "cow", 0, NULL, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
    g_assert_nonnull (strstr (error->message, "User-Mode Linux"));
  }
  put (file, 4, 4, 99);
  g_assert_false (opens (file, VP_IMAGE_ERROR_UNSUPPORTED));
}

/* ---- check -------------------------------------------------------------- */

static void
run_check (VpFile *file, VpRepair repair, VpCheckResult *result)
{
  g_autoptr (GError) failure = NULL;
  VpImage *image = vp_image_open_file (
      file, "cow", VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING | VP_IMAGE_WRITABLE,
      NULL, &failure);
  g_assert_no_error (failure);
  ASSERT_OK (vp_check_image (image, repair, NULL, result, &error));
  ASSERT_OK (vp_image_close (image, &error));
}

/* Ten sectors are cut off.  Reading them fails until a repair has made zeros
 * of them; what is there stays. */
static void
test_cut_off (void)
{
  FakeGate gate;
  g_auto (VpCheckResult) result = { 0 }, again = { 0 };
  uint8_t bytes[512 * 40], found[512 * 40];
  uint64_t len;
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = make_cow (&gate, SIZE, NULL);
  VpImage *image = open_cow (&gate, file, VP_IMAGE_WRITABLE);
  memset (bytes, 'x', sizeof bytes);
  ASSERT_OK (vp_image_write (image, 512 * 100, bytes, sizeof bytes, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_file_bytes (file, &len);
  ASSERT_OK (vp_file_truncate (file, len - 10 * 512, &error));

  g_autoptr (GError) failure = NULL;
  image = open_cow (&gate, file, 0);
  ASSERT_OK (vp_image_read (image, 512 * 100, found, 512 * 30, &error));
  g_assert_cmpmem (found, 512 * 30, bytes, 512 * 30);
  g_assert_false (vp_image_read (image, 512 * 130, found, 512, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  vp_image_free (image);

  run_check (file, VP_REPAIR_LEAKS, &result);
  g_assert_cmpuint (result.corruptions, ==, 10);
  g_assert_cmpuint (result.allocated_clusters, ==, 40);
  run_check (file, VP_REPAIR_ALL, &again);
  g_assert_cmpuint (again.corruptions_fixed, ==, 10);
  case_check (case_find ("cow"), file, 0);
  image = open_cow (&gate, file, 0);
  memset (bytes + 512 * 30, 0, 512 * 10);
  ASSERT_OK (vp_image_read (image, 512 * 100, found, sizeof found, &error));
  g_assert_cmpmem (found, sizeof found, bytes, sizeof bytes);
  vp_image_free (image);
  fake_gate_clear (&gate);
}

/* Bits behind the end: in the last byte, and behind the bitmap. */
static void
test_stray (void)
{
  FakeGate gate;
  g_auto (VpCheckResult) result = { 0 }, again = { 0 };
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = make_cow (&gate, 512 * 12, NULL);
  fake_file_poke (file, 1057, "\xf0\x01", 2);
  run_check (file, VP_REPAIR_NOTHING, &result);
  g_assert_cmpuint (result.leaks, ==, 5);
  g_assert_cmpuint (result.corruptions, ==, 0);
  run_check (file, VP_REPAIR_LEAKS, &again);
  g_assert_cmpuint (again.leaks_fixed, ==, 5);
  case_check (case_find ("cow"), file, 0);
  fake_gate_clear (&gate);
}

/* ---- changes ------------------------------------------------------------ */

/* Stray bits, and the rest of a longer base, stay out of sight. */
static void
test_grow (void)
{
  g_autoptr (GError) failure = NULL;
  for (unsigned i = 0; i < G_N_ELEMENTS (headers); i++) {
    FakeGate gate;
    uint8_t bytes[4096] = { 0 }, here[2] = { 1, 0 }, disk[1024];
    static const uint8_t zeros[512 * 3000];
    static uint8_t found[sizeof zeros];
    fake_gate_init (&gate);
    memset (disk, 'd', sizeof disk);
    size_t len = cow_reader_make (bytes, sizeof bytes, headers[i], "", disk,
                                  sizeof disk, here);
    bytes[headers[i]] |= 0xfc;
    g_autoptr (VpFile) file = fake_file_new ("disk");
    fake_file_poke (file, 0, bytes, len);
    VpImage *image = open_cow (&gate, file, VP_IMAGE_WRITABLE);
    ASSERT_OK (
        vp_image_resize (image, 512 * 3002, VP_PREALLOCATION_OFF, &error));
    g_assert_false (
        vp_image_resize (image, GIB, VP_PREALLOCATION_OFF, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
    g_clear_error (&failure);
    ASSERT_OK (vp_image_close (image, &error));
    image = open_cow (&gate, file, 0);
    g_assert_cmpuint (vp_image_get_size (image), ==, 512 * 3002);
    ASSERT_OK (vp_image_read (image, 0, found, 512, &error));
    g_assert_cmpmem (found, 512, disk, 512);
    ASSERT_OK (vp_image_read (image, 1024, found, sizeof found, &error));
    g_assert_cmpmem (found, sizeof found, zeros, sizeof zeros);
    vp_image_free (image);
    case_check (case_find ("cow"), file, 0);
    fake_gate_clear (&gate);
  }
}

/* As a cut leaves the file after n changes, the nth torn. */
static VpFile *
cut (VpFile *start, GPtrArray *log, guint n, uint64_t kept)
{
  VpFile *file = fake_file_copy (start, "disk");
  for (guint i = 0; i < n; i++)
    fake_op_apply (g_ptr_array_index (log, i), file);
  const FakeOp *last = n < log->len ? g_ptr_array_index (log, n) : NULL;
  if (last && last->kind == FAKE_WRITE)
    fake_op_apply_torn (last, file, kept);
  return file;
}

static void
expect_name (VpFile *file, const char *one, const char *other)
{
  g_autoptr (GError) failure = NULL;
  g_auto (VpImageInfo) info = { 0 };
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "cow", VP_IMAGE_NO_BACKING, NULL, &failure);
  g_assert_no_error (failure);
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  if (g_strcmp0 (info.backing_name, one) != 0)
    g_assert_cmpstr (info.backing_name, ==, other);
}

static void
rename_backing (VpFile *file, const char *from, const char *to, bool allowed)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpFile) start = fake_file_copy (file, "disk");
  GPtrArray *log = fake_file_record (file);
  VpImage *image = vp_image_open_file (
      file, "cow", VP_IMAGE_WRITABLE | VP_IMAGE_NO_BACKING, NULL, &failure);
  g_assert_no_error (failure);
  bool ok = vp_image_set_backing (image, to, to ? "raw" : NULL, &failure);
  g_assert_cmpint (ok, ==, allowed);
  if (!ok)
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  ASSERT_OK (vp_image_close (image, &error));
  expect_name (file, allowed ? to : from, allowed ? to : from);
  for (guint n = 0; n < log->len; n++)
    for (uint64_t kept = 0; kept < 8; kept++) {
      g_autoptr (VpFile) left = cut (start, log, n, kept);
      expect_name (left, from, to);
    }
}

static void
test_rename (void)
{
  FakeGate gate;
  char names[3][1024];
  fake_gate_init (&gate);
  memset (names, 0, sizeof names);
  memset (names[0], 'a', 503);
  memset (names[1], 'b', 1023);
  memset (names[2], 'c', 504);
  g_autoptr (VpFile) base = fake_file_new ("base");
  fake_gate_add (&gate, base);
  g_autoptr (VpFile) file = make_cow (&gate, SIZE, "base");
  rename_backing (file, "base", "other", true);
  rename_backing (file, "other", names[0], true);
  rename_backing (file, names[0], names[1], true);
  rename_backing (file, names[1], names[2], false);
  rename_backing (file, names[1], names[0], true);
  rename_backing (file, names[0], names[2], true);
  rename_backing (file, names[2], NULL, true);
  rename_backing (file, NULL, names[1], true);
  fake_gate_clear (&gate);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cow/ours", test_ours);
  g_test_add_func ("/cow/theirs", test_theirs);
  g_test_add_func ("/cow/map", test_map);
  g_test_add_func ("/cow/sizes", test_sizes);
  g_test_add_func ("/cow/doubt", test_doubt);
  g_test_add_func ("/cow/foreign", test_foreign);
  g_test_add_func ("/cow/cut-off", test_cut_off);
  g_test_add_func ("/cow/stray", test_stray);
  g_test_add_func ("/cow/grow", test_grow);
  g_test_add_func ("/cow/rename", test_rename);
  return g_test_run ();
}
