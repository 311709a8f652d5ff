/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VMDK of several files: what each kind of extent reads as and takes, what
 * a missing, short, strange or doubled one leads to, and the content id. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk-sparse.h"
#include "tests/storage/engine-cases.h"

#define KIB ((uint64_t) 1024)
#define HEAD                                                                   \
  "# Disk DescriptorFile\nversion=1\nCID=00001234\nparentCID=ffffffff\n"       \
  "createType=\"custom\"\n"

static VpFile *
text_file (const char *name, const char *text)
{
  VpFile *file = fake_file_new (name);
  fake_file_poke (file, 0, text, strlen (text));
  return file;
}

static VpFile *
add_flat (FakeGate *gate, const char *name, uint64_t size, int byte)
{
  VpFile *file = fake_file_new (name);
  g_autofree uint8_t *bytes = g_malloc (size);
  memset (bytes, byte, size);
  fake_file_poke (file, 0, bytes, size);
  fake_gate_add (gate, file);
  return file;
}

static VpFile *
add_sparse (FakeGate *gate, const char *name, uint64_t size)
{
  VmdkSparseOptions options = { .capacity = size };
  uint64_t at;
  VpFile *file = fake_file_new (name);
  ASSERT_OK (vmdk_sparse_create (file, &options, &at, &error));
  fake_gate_add (gate, file);
  return file;
}

static void
expect (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  ASSERT_OK (vp_image_read (image, offset, buffer, len, &error));
  for (size_t i = 0; i < len; i++)
    g_assert_cmphex (buffer[i], ==, byte);
}

static VpImage *
open_well (VpFile *file, FakeGate *gate, VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  VpImage *image =
      vp_image_open_file (file, "vmdk", flags, &gate->opener, &error);
  g_assert_no_error (error);
  return image;
}

/* ---- all kinds in one image --------------------------------------------- */

/* Sectors 0: FLAT at an offset; 100: ZERO; 200: SPARSE, whose grains lie
 * askew to those of the image; 400: FLAT that is only read; 450: VMFS. */
#define MIXED                                                                  \
  HEAD "RW 100 FLAT \"one\" 3\nRW 100 ZERO\nRW 200 SPARSE \"two\"\n"           \
       "RDONLY 50 FLAT \"three\" 0\nRW 50 VMFS \"four\"\n"

static VpFile *
make_mixed (FakeGate *gate)
{
  fake_gate_init (gate);
  g_autoptr (VpFile) one = add_flat (gate, "one", 103 * 512, 0x11);
  g_autoptr (VpFile) two = add_sparse (gate, "two", 200 * 512);
  g_autoptr (VpFile) three = add_flat (gate, "three", 50 * 512, 0x33);
  g_autoptr (VpFile) four = add_flat (gate, "four", 60 * 512, 0x44);
  return text_file ("disk", MIXED);
}

static void
expect_mixed (VpImage *image)
{
  expect (image, 0, 0x11, 100 * 512);
  expect (image, 100 * 512, 0, 300 * 512);
  expect (image, 400 * 512, 0x33, 50 * 512);
  expect (image, 450 * 512, 0x44, 50 * 512);
}

static void
test_mixed (void)
{
  FakeGate gate;
  g_autoptr (VpFile) file = make_mixed (&gate);
  VpImage *image = open_well (file, &gate, VP_IMAGE_WRITABLE);
  g_autofree uint8_t *bytes = g_malloc (300 * 512);
  g_autoptr (GError) failure = NULL;
  memset (bytes, 0x77, 300 * 512);
  g_assert_cmpuint (vp_image_get_size (image), ==, 500 * 512);
  expect_mixed (image);
  /* Into the sparse one and not past it. */
  ASSERT_OK (vp_image_write (image, 250 * 512, bytes, 150 * 512, &error));
  ASSERT_OK (vp_image_zero (image, 300 * 512, 20 * 512, true, &error));
  ASSERT_OK (vp_image_discard (image, 460 * 512, 10 * 512, &error));
  ASSERT_OK (vp_image_zero (image, 470 * 512, 10 * 512, false, &error));
  /* Zeros in ZERO are fine, anything else is not, nor is RDONLY. */
  ASSERT_OK (vp_image_zero (image, 120 * 512, 512, true, &error));
  g_assert_false (vp_image_write (image, 120 * 512, bytes, 512, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  g_clear_error (&failure);
  g_assert_false (vp_image_write (image, 399 * 512, bytes, 1024, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  ASSERT_OK (vp_image_close (image, &error));
  image = open_well (file, &gate, 0);
  expect (image, 100 * 512, 0, 150 * 512);
  expect (image, 250 * 512, 0x77, 50 * 512);
  expect (image, 300 * 512, 0, 20 * 512);
  expect (image, 320 * 512, 0x77, 80 * 512);
  expect (image, 400 * 512, 0x33, 50 * 512);
  expect (image, 450 * 512, 0x44, 10 * 512);
  expect (image, 470 * 512, 0, 10 * 512);
  expect (image, 480 * 512, 0x44, 20 * 512);
  vp_image_free (image);
  fake_gate_clear (&gate);
}

/* Random operations against bytes in memory. */
static void
test_random (void)
{
  FakeGate gate;
  Random random = { test_seed () };
  enum { SIZE = 400 * 512 }; /* what can be written but for ZERO */
  g_autoptr (VpFile) file = make_mixed (&gate);
  g_autofree uint8_t *model = g_malloc0 (SIZE), *bytes = g_malloc (SIZE);
  memset (model, 0x11, 100 * 512);
  for (unsigned life = 0; life < test_rounds (10, 500); life++) {
    VpImage *image = open_well (file, &gate, VP_IMAGE_WRITABLE);
    for (unsigned i = 0; i < 20; i++) {
      uint64_t start = random_below (&random, 2) ? 0 : 200 * 512;
      uint64_t room = start ? 200 * 512 : 100 * 512;
      uint64_t at = random_below (&random, room);
      size_t len = (size_t) (1 + random_below (&random, room - at));
      uint64_t what = random_below (&random, 3);
      random_fill (&random, bytes, len);
      if (what == 0)
        memset (bytes, 0, len);
      if (what == 0)
        ASSERT_OK (vp_image_zero (image, start + at, len, i % 2, &error));
      else
        ASSERT_OK (vp_image_write (image, start + at, bytes, len, &error));
      memcpy (model + start + at, bytes, len);
    }
    ASSERT_OK (vp_image_close (image, &error));
    image = open_well (file, &gate, 0);
    ASSERT_OK (vp_image_read (image, 0, bytes, SIZE, &error));
    g_assert_cmpint (memcmp (bytes, model, SIZE), ==, 0);
    vp_image_free (image);
  }
  fake_gate_clear (&gate);
}

/* ---- what is wrong ------------------------------------------------------ */

static void
expect_no_image (const char *text, FakeGate *gate, VpImageFlags flags, int code)
{
  g_autoptr (VpFile) file = text_file ("disk", text);
  g_autoptr (GError) failure = NULL;
  g_test_message ("%s", text + strlen (HEAD));
  g_assert_null (vp_image_open_file (file, "vmdk", flags,
                                     gate ? &gate->opener : NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, code);
}

static void
test_wrong (void)
{
  FakeGate gate;
  fake_gate_init (&gate);
  g_autoptr (VpFile) flat = add_flat (&gate, "flat", 10 * 512, 1);
  g_autoptr (VpFile) sparse = add_sparse (&gate, "sparse", 20 * 512);
  expect_no_image (HEAD "RW 11 FLAT \"flat\" 0\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 10 FLAT \"flat\" 1\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 21 SPARSE \"sparse\"\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 20 VMFSSPARSE \"sparse\"\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 20 SESPARSE \"sparse\"\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 5 FLAT \"flat\" 0\nRW 5 FLAT \"flat\" 5\n", &gate,
                   0, VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "RW 5 SPARSE \"disk\"\n", &gate, 0,
                   VP_IMAGE_ERROR_CORRUPT);
  expect_no_image (HEAD "NOACCESS 5 FLAT \"flat\" 0\n", &gate, 0,
                   VP_IMAGE_ERROR_UNSUPPORTED);
  /* Nobody at the gate, or a stranger's. */
  expect_no_image (HEAD "RW 5 FLAT \"flat\" 0\n", NULL, 0,
                   VP_IMAGE_ERROR_DENIED);
  expect_no_image (HEAD "what=now\n", NULL, VP_IMAGE_NO_BACKING,
                   VP_IMAGE_ERROR_DENIED);
  expect_no_image ("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=1\n"
                   "createType=\"custom\"\nparentFileNameHint=\"/base\"\n",
                   NULL, VP_IMAGE_NO_BACKING, VP_IMAGE_ERROR_DENIED);
  fake_gate_clear (&gate);
}

/* Info of a stranger's image opens nothing; reading it then is refused. */
static void
test_unopened (void)
{
  FakeGate gate;
  g_autoptr (VpFile) file = make_mixed (&gate);
  g_autoptr (GError) failure = NULL;
  uint8_t byte;
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "vmdk", VP_IMAGE_NO_BACKING, NULL, &failure);
  g_assert_no_error (failure);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  g_assert_cmpuint (gate.n_asked, ==, 0);
  g_assert_cmpuint (info.virtual_size, ==, 500 * 512);
  g_assert_cmpuint (info.vmdk->extents->len, ==, 5);
  g_assert_false (vp_image_read (image, 0, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  fake_gate_clear (&gate);
}

/* A flat extent that is too short is named, and filled up with zeros. */
static void
test_short (void)
{
  FakeGate gate;
  fake_gate_init (&gate);
  g_autoptr (VpFile) flat = add_flat (&gate, "flat", 8 * 512, 1);
  g_autoptr (VpFile) file = text_file ("disk", HEAD "RW 10 FLAT \"flat\" 0\n");
  for (VpRepair repair = VP_REPAIR_NOTHING; repair <= VP_REPAIR_ALL; repair++) {
    g_auto (VpCheckResult) result = { 0 };
    VpImage *image =
        open_well (file, &gate, VP_IMAGE_CHECK | VP_IMAGE_WRITABLE);
    ASSERT_OK (vp_check_image (image, repair, NULL, &result, &error));
    g_assert_cmpuint (result.corruptions, ==, repair != VP_REPAIR_ALL);
    g_assert_cmpuint (result.corruptions_fixed, ==, repair == VP_REPAIR_ALL);
    ASSERT_OK (vp_image_close (image, &error));
  }
  g_autoptr (VpImage) image = open_well (file, &gate, 0);
  expect (image, 0, 1, 8 * 512);
  expect (image, 8 * 512, 0, 2 * 512);
  fake_gate_clear (&gate);
}

/* ---- the content id ----------------------------------------------------- */

static uint32_t
cid_of (VpFile *file)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "vmdk", VP_IMAGE_NO_BACKING, NULL, &failure);
  g_assert_no_error (failure);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  return info.vmdk->cid;
}

/* Another one after the first change of a life, and on disk before it. */
static void
test_cid (void)
{
  FakeGate gate;
  g_autoptr (VpFile) file = make_mixed (&gate);
  VpImage *image = open_well (file, &gate, VP_IMAGE_WRITABLE);
  uint8_t byte = 5;
  expect_mixed (image);
  ASSERT_OK (vp_image_flush (image, &error));
  g_assert_cmphex (cid_of (file), ==, 0x1234);
  g_autoptr (VpFile) one =
      vp_file_ref (g_hash_table_lookup (gate.files, "one"));
  GPtrArray *log = fake_file_record (file);
  ASSERT_OK (vp_image_write (image, 0, &byte, 1, &error));
  uint32_t cid = cid_of (file);
  g_assert_cmphex (cid, !=, 0x1234);
  g_assert_cmpuint (log->len, ==, 2); /* a write and its flush */
  ASSERT_OK (vp_image_write (image, 1, &byte, 1, &error));
  ASSERT_OK (vp_image_flush (image, &error));
  g_assert_cmpuint (log->len, ==, 2);
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmphex (cid_of (file), ==, cid);
  fake_gate_clear (&gate);
}

/* ---- sizes -------------------------------------------------------------- */

static void
test_sizes (void)
{
  FakeGate gate;
  const EngineCase *c = case_find ("vmdk-split-flat");
  g_autoptr (GError) failure = NULL;
  fake_gate_init (&gate);
  g_autoptr (VpFile) file =
      case_create (c, &gate, "disk", 3000 * KIB, NULL, NULL);
  VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  /* 1280, 1280, 440 KiB: the last one may go to 0, and no other. */
  g_assert_false (vp_image_shrink (image, 2559 * KIB, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  g_clear_error (&failure);
  ASSERT_OK (vp_image_shrink (image, 2560 * KIB, &error));
  g_assert_cmpuint (vp_image_get_size (image), ==, 2560 * KIB);
  expect (image, 2560 * KIB - 512, 0, 512);
  ASSERT_OK (vp_image_resize (image, 4000 * KIB, VP_PREALLOCATION_OFF, &error));
  expect (image, 2560 * KIB - 512, 0, 1024);
  g_assert_false (vp_image_resize (image, UINT64_C (5) << 30,
                                   VP_PREALLOCATION_OFF, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  ASSERT_OK (vp_image_close (image, &error));
  case_check (c, file, 0);
  fake_gate_clear (&gate);
}

/* An extent that is longer than its disk, which begins askew to its grains:
 * what lies there does not come to light as the disk grows. */
static void
test_behind (void)
{
  FakeGate gate;
  fake_gate_init (&gate);
  g_autoptr (VpFile) two = add_sparse (&gate, "two", 40000 * 512);
  g_autoptr (VpFile) all = text_file ("all", HEAD "RW 40000 SPARSE \"two\"\n");
  g_autoptr (VpFile) file =
      text_file ("disk", HEAD "RW 1 ZERO\nRW 2049 SPARSE \"two\"\n");
  g_autofree uint8_t *bytes = g_malloc (40000 * 512);
  memset (bytes, 7, 40000 * 512);
  VpImage *image = open_well (all, &gate, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, bytes, 40000 * 512, &error));
  ASSERT_OK (vp_image_close (image, &error));
  image = open_well (file, &gate, VP_IMAGE_WRITABLE);
  ASSERT_OK (
      vp_image_resize (image, 39000 * 512, VP_PREALLOCATION_OFF, &error));
  expect (image, 512, 7, 2049 * 512);
  expect (image, 2050 * 512, 0, 36950 * 512);
  ASSERT_OK (vp_image_close (image, &error));
  g_auto (VpCheckResult) result = { 0 };
  image = open_well (file, &gate, VP_IMAGE_CHECK);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  g_assert_cmpuint (result.corruptions, ==, 0);
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_clear (&gate);
}

/* What is only read is checked, and not repaired. */
static void
test_read_only (void)
{
  FakeGate gate;
  fake_gate_init (&gate);
  g_autoptr (VpFile) two = add_sparse (&gate, "two", 200 * 512);
  g_autoptr (VpFile) file =
      text_file ("disk", HEAD "RDONLY 200 SPARSE \"two\"\n");
  g_autofree uint8_t *bytes = g_malloc0 (128 * KIB);
  uint64_t size;
  memset (bytes, 7, 128 * KIB);
  ASSERT_OK (vp_file_get_size (two, &size, &error));
  fake_file_poke (two, vp_round_up (size, 64 * KIB), bytes, 128 * KIB);
  GPtrArray *log = fake_file_record (two);
  g_auto (VpCheckResult) result = { 0 };
  VpImage *image = open_well (file, &gate, VP_IMAGE_CHECK | VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_ALL, NULL, &result, &error));
  g_assert_cmpuint (result.leaks, ==, 2);
  g_assert_cmpuint (result.leaks_fixed, ==, 0);
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmpuint (log->len, ==, 0);
  fake_gate_clear (&gate);
}

/* A header that says nothing of the bytes that the descriptor promises. */
static void
test_empty_header (void)
{
  FakeGate gate;
  const EngineCase *c = case_find ("vmdk");
  static const uint8_t none[8] = { 0 };
  g_autoptr (GError) failure = NULL;
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = case_create (c, &gate, "disk", KIB, NULL, NULL);
  fake_file_poke (file, 12, none, sizeof none);
  g_assert_null (vp_image_open_file (file, "vmdk", 0, &gate.opener, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  fake_gate_clear (&gate);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vmdk-parts/mixed", test_mixed);
  g_test_add_func ("/vmdk-parts/random", test_random);
  g_test_add_func ("/vmdk-parts/wrong", test_wrong);
  g_test_add_func ("/vmdk-parts/unopened", test_unopened);
  g_test_add_func ("/vmdk-parts/short", test_short);
  g_test_add_func ("/vmdk-parts/cid", test_cid);
  g_test_add_func ("/vmdk-parts/sizes", test_sizes);
  g_test_add_func ("/vmdk-parts/behind", test_behind);
  g_test_add_func ("/vmdk-parts/read-only", test_read_only);
  g_test_add_func ("/vmdk-parts/empty-header", test_empty_header);
  return g_test_run ();
}
