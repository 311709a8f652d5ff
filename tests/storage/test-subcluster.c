/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is particular to extended L2 entries and to external data files:
 * precision, entries that cannot be, and files that are not to be opened. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/qcow2.h"
#include "tests/storage/engine-cases.h"

#define MIB (UINT64_C (1) << 20)
#define KIB UINT64_C (1024)

typedef struct {
  EngineCase c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
} World;

static void
world_init (World *w, const char *options, bool backed)
{
  w->c = (EngineCase){ "own", "qcow2", options, true, true };
  fake_gate_init (&w->gate);
  g_autoptr (VpFile) base = fake_file_new ("base");
  g_autofree uint8_t *bytes = g_malloc (MIB);
  memset (bytes, 0xbb, MIB);
  fake_file_poke (base, 0, bytes, MIB);
  fake_gate_add (&w->gate, base);
  w->file = case_create (&w->c, &w->gate, "disk", MIB, backed ? "base" : NULL,
                         backed ? "raw" : NULL);
  w->image = case_open (&w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static void
world_clear (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
}

static void
reopen (World *w)
{
  ASSERT_OK (vp_image_close (w->image, &error));
  case_check (&w->c, w->file, 0);
  w->image = case_open (&w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static void
put (World *w, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  memset (buffer, byte, len);
  ASSERT_OK (vp_image_write (w->image, offset, buffer, len, &error));
}

static void
expect (World *w, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  ASSERT_OK (vp_image_read (w->image, offset, buffer, len, &error));
  for (size_t i = 0; i < len; i++)
    g_assert_cmphex (buffer[i], ==, byte);
}

/* The extent that begins there: how long, and how deep. */
static void
expect_extent (World *w, uint64_t offset, uint64_t length, unsigned depth)
{
  VpExtent extent;
  ASSERT_OK (vp_image_map (w->image, offset, MIB - offset, &extent, &error));
  g_assert_cmpuint (extent.length, ==, length);
  g_assert_cmpuint (extent.depth, ==, depth);
}

/* ---- precision ---------------------------------------------------------- */

static void
test_write (void)
{
  World w;
  world_init (&w, "extended_l2=on", true);
  put (&w, 67 * KIB, 1, 512);
  for (unsigned pass = 0; pass < 2; pass++) {
    expect_extent (&w, 0, 64 * KIB, 1);
    expect_extent (&w, 64 * KIB, 2 * KIB, 1); /* the place is there */
    expect_extent (&w, 66 * KIB, 2 * KIB, 0);
    expect_extent (&w, 68 * KIB, 60 * KIB, 1);
    expect (&w, 66 * KIB, 0xbb, 1024);
    expect (&w, 67 * KIB, 1, 512);
    expect (&w, 67 * KIB + 512, 0xbb, 100000);
    reopen (&w);
  }
  /* On in the same cluster: no more than a subcluster is copied. */
  GPtrArray *log = fake_file_record (w.file);
  put (&w, 100 * KIB, 2, 4096);
  for (guint i = 0; i < log->len; i++)
    g_assert_cmpuint (((const FakeOp *) g_ptr_array_index (log, i))->length, <=,
                      4096);
  expect_extent (&w, 100 * KIB, 4 * KIB, 0);
  world_clear (&w);
}

static void
test_zero (void)
{
  World w;
  world_init (&w, "extended_l2=on", true);
  put (&w, 64 * KIB, 1, 64 * KIB);
  ASSERT_OK (vp_image_zero (w.image, 70 * KIB, 4 * KIB, true, &error));
  ASSERT_OK (vp_image_zero (w.image, 200 * KIB, 2 * KIB, true, &error));
  ASSERT_OK (vp_image_discard (w.image, 80 * KIB, 3 * KIB, &error));
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (&w, 64 * KIB, 1, 6 * KIB);
    expect (&w, 70 * KIB, 0, 4 * KIB);
    expect (&w, 74 * KIB, 1, 6 * KIB);
    expect (&w, 80 * KIB, 0, 2 * KIB);
    expect (&w, 82 * KIB, 1, 46 * KIB);
    expect (&w, 128 * KIB, 0xbb, 72 * KIB);
    expect (&w, 200 * KIB, 0, 2 * KIB);
    expect (&w, 202 * KIB, 0xbb, 2 * KIB);
    reopen (&w);
  }
  /* The last of it gives the cluster back. */
  ASSERT_OK (vp_image_zero (w.image, 64 * KIB, 64 * KIB, true, &error));
  expect (&w, 64 * KIB, 0, 64 * KIB);
  reopen (&w);
  g_auto (VpCheckResult) result = { 0 };
  ASSERT_OK (
      vp_check_image (w.image, VP_REPAIR_NOTHING, NULL, &result, &error));
  g_assert_cmpuint (result.allocated_clusters, ==, 0);
  world_clear (&w);
}

/* A part of a packed cluster, and of one that was zero. */
static void
test_packed (void)
{
  World w;
  world_init (&w, "extended_l2=on", true);
  g_autofree uint8_t *unit = g_malloc (64 * KIB);
  memset (unit, 7, 64 * KIB);
  ASSERT_OK (vp_image_write_compressed (w.image, 0, unit, 64 * KIB, &error));
  ASSERT_OK (
      vp_image_write_compressed (w.image, 64 * KIB, unit, 64 * KIB, &error));
  ASSERT_OK (vp_image_zero (w.image, 128 * KIB, 64 * KIB, false, &error));
  put (&w, 30 * KIB, 1, 512);
  ASSERT_OK (vp_image_zero (w.image, 66 * KIB, 2 * KIB, true, &error));
  ASSERT_OK (vp_image_discard (w.image, 68 * KIB, 2 * KIB, &error));
  put (&w, 130 * KIB, 2, 512);
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (&w, 0, 7, 30 * KIB);
    expect (&w, 30 * KIB, 1, 512);
    expect (&w, 30 * KIB + 512, 7, 34 * KIB - 512);
    expect (&w, 64 * KIB, 7, 2 * KIB);
    expect (&w, 66 * KIB, 0, 2 * KIB);
    expect (&w, 70 * KIB, 7, 58 * KIB);
    expect (&w, 128 * KIB, 0, 2 * KIB);
    expect (&w, 130 * KIB, 2, 512);
    expect (&w, 130 * KIB + 512, 0, 62 * KIB - 512);
    expect (&w, 192 * KIB, 0xbb, 64 * KIB);
    reopen (&w);
  }
  world_clear (&w);
}

/* ---- entries that cannot be --------------------------------------------- */

static uint64_t
find_l2 (VpFile *file)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  uint64_t l1 = vp_be64_get (bytes + 40);
  g_assert_cmpuint (l1 + 8, <=, size);
  return vp_be64_get (bytes + l1) & QCOW2_OFFSET_MASK;
}

static void
test_hostile (void)
{
  static const uint64_t bitmaps[][2] = {
    /* raw: to be added; bitmap */
    { 0, UINT64_C (0x0000000100000001) },
    { 0, UINT64_C (0xffffffffffffffff) },
    { QCOW2_ZERO, 0 },
    { UINT64_MAX, 1 }, /* allocated, and no place */
  };
  for (size_t i = 0; i < G_N_ELEMENTS (bitmaps); i++) {
    World w;
    uint8_t entry[16], byte;
    uint64_t size;
    g_autoptr (GError) failure = NULL;
    world_init (&w, "extended_l2=on,cluster_size=16k", false);
    put (&w, 0, 1, 16 * KIB);
    ASSERT_OK (vp_image_close (w.image, &error));
    uint64_t l2 = find_l2 (w.file);
    uint64_t raw = vp_be64_get (fake_file_bytes (w.file, &size) + l2);
    vp_be64_set (entry, bitmaps[i][0] == UINT64_MAX ? 0 : raw | bitmaps[i][0]);
    vp_be64_set (entry + 8, bitmaps[i][1]);
    fake_file_poke (w.file, l2, entry, sizeof entry);
    w.image = case_open (&w.c, &w.gate, w.file, VP_IMAGE_WRITABLE);
    g_assert_false (vp_image_read (w.image, 0, &byte, 1, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
    g_clear_error (&failure);
    g_assert_false (vp_image_write (w.image, 0, "x", 1, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
    g_auto (VpCheckResult) result = { 0 };
    ASSERT_OK (
        vp_check_image (w.image, VP_REPAIR_NOTHING, NULL, &result, &error));
    g_assert_cmpuint (result.corruptions, >, 0);
    world_clear (&w);
  }
}

static void
test_small_clusters (void)
{
  World w;
  g_autoptr (GError) failure = NULL;
  world_init (&w, "cluster_size=4k", false);
  ASSERT_OK (vp_image_close (g_steal_pointer (&w.image), &error));
  fake_file_poke (w.file, 79, "\x10", 1);
  g_assert_null (vp_image_open_file (w.file, "qcow2", 0, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  world_clear (&w);
}

/* ---- data files ---------------------------------------------------------- */

static void
refused (World *w, VpImageFlags flags, VpOpener *opener, int code)
{
  g_autoptr (GError) failure = NULL;
  g_assert_null (
      vp_image_open_file (w->file, "qcow2", flags, opener, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, code);
}

static void
test_data_gate (void)
{
  World w;
  uint8_t byte;
  g_autoptr (GError) failure = NULL;
  world_init (&w, "data_file=guest", true);
  put (&w, 1000, 1, 100);
  reopen (&w);
  expect (&w, 1000, 1, 100);
  expect (&w, 0, 0xbb, 1000);
  vp_image_free (g_steal_pointer (&w.image));
  refused (&w, 0, NULL, VP_IMAGE_ERROR_DENIED);
  g_hash_table_remove (w.gate.files, "disk.data");
  refused (&w, 0, &w.gate.opener, VP_IMAGE_ERROR_DENIED);

  /* Not wanted: nothing is asked, facts and map are there, bytes are not. */
  unsigned asked = w.gate.n_asked;
  w.image = case_open (&w.c, &w.gate, w.file, VP_IMAGE_NO_BACKING);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (w.image, &info, &error));
  g_assert_cmpstr (info.data_file, ==, "disk.data");
  expect_extent (&w, 0, 64 * KIB, 0);
  g_assert_false (vp_image_read (w.image, 1000, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  g_assert_cmpuint (w.gate.n_asked, ==, asked);
  world_clear (&w);
}

/* No file is in a chain twice, under whatever name. */
static void
test_data_twice (void)
{
  World w;
  world_init (&w, "data_file=guest", true);
  ASSERT_OK (vp_image_close (g_steal_pointer (&w.image), &error));
  fake_gate_add_as (&w.gate, "disk.data", w.file);
  refused (&w, 0, &w.gate.opener, VP_IMAGE_ERROR_CORRUPT);
  VpFile *joined = fake_file_joined (w.file, 0);
  fake_gate_add_as (&w.gate, "disk.data", joined);
  fake_gate_add_as (&w.gate, "base", joined);
  refused (&w, 0, &w.gate.opener, VP_IMAGE_ERROR_CORRUPT);
  world_clear (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/subcluster/write", test_write);
  g_test_add_func ("/subcluster/zero", test_zero);
  g_test_add_func ("/subcluster/packed", test_packed);
  g_test_add_func ("/subcluster/hostile", test_hostile);
  g_test_add_func ("/subcluster/small-clusters", test_small_clusters);
  g_test_add_func ("/data-file/gate", test_data_gate);
  g_test_add_func ("/data-file/twice", test_data_twice);
  return g_test_run ();
}
