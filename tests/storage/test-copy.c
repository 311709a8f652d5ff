/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Copies by several threads: the same bytes in the same places as by one,
 * and what becomes of it where a read or a write fails in the middle. */
#include "config.h"

#include "storage/copy.h"

#include <string.h>

#include "storage/error.h"
#include "storage/join.h"
#include "tests/storage/engine-cases.h"

#define MIB  (UINT64_C (1) << 20)
#define SIZE (4 * MIB + 0x2200)

static FakeGate gate;

/* Holes, zeros that are written, noise and what packs well. */
static void
fill_disk (uint8_t *bytes)
{
  Random random = { test_seed () };
  for (uint64_t at = 0; at < SIZE;) {
    uint64_t length = 512 * (1 + random_below (&random, 700));
    length = MIN (length, SIZE - at);
    switch (random_below (&random, 4)) {
    case 0: break;
    case 1: random_fill (&random, bytes + at, length); break;
    default:
      for (uint64_t i = 0; i < length; i++)
        bytes[at + i] = (uint8_t) (1 + (at + i / 50) % 7);
    }
    at += length;
  }
}

static VpFile *
make_source (uint8_t **ret_bytes)
{
  uint8_t *bytes = g_malloc0 (SIZE);
  fill_disk (bytes);
  VpFile *file = fake_file_new ("source");
  fake_file_poke (file, 0, bytes, SIZE);
  *ret_bytes = bytes;
  return file;
}

static VpImage *
open_raw (VpFile *file)
{
  g_autoptr (GError) error = NULL;
  VpImage *image = vp_image_open_file (file, "raw", 0, NULL, &error);
  g_assert_no_error (error);
  return image;
}

/* False where this case cannot. */
static bool
copy_to (const EngineCase *c, VpFile *source_file, VpCopyOptions *options,
         unsigned fail_at, VpFile **ret_file, GError **error)
{
  g_autoptr (VpImage) source = open_raw (source_file);
  VpFile *file = case_create (c, &gate, "target", SIZE, NULL, NULL);
  g_autoptr (VpImage) target = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  fake_file_fail (file, fail_at, false);
  options->target_is_zero = true;
  bool ok = vp_copy_image (source, target, options, NULL, error) &&
            vp_image_close (g_steal_pointer (&target), error);
  vp_image_free (g_steal_pointer (&target));
  *ret_file = file;
  return ok;
}

static void
expect_bytes (const EngineCase *c, VpFile *file, const uint8_t *bytes)
{
  g_autoptr (VpImage) image = case_open (c, &gate, file, 0);
  g_autofree uint8_t *found = g_malloc (SIZE);
  ASSERT_OK (vp_image_read (image, 0, found, SIZE, &error));
  g_assert_true (memcmp (found, bytes, SIZE) == 0);
}

static bool
can_pack (const EngineCase *c)
{
  g_autoptr (VpFile) file = case_create (c, &gate, "target", SIZE, NULL, NULL);
  g_autoptr (VpImage) image = case_open (c, &gate, file, 0);
  VpPacking packing;
  return vp_image_get_packing (image, &packing);
}

static void
expect_same_bytes (const EngineCase *c, VpFile *a, VpFile *b)
{
  uint64_t size_a, size_b;
  const uint8_t *bytes_a = fake_file_bytes (a, &size_a);
  const uint8_t *bytes_b = fake_file_bytes (b, &size_b);
  g_assert_cmpuint (size_a, ==, size_b);
  for (uint64_t i = 0; i < size_a && !c->salted; i++)
    if (bytes_a[i] != bytes_b[i])
      g_error ("%s: byte 0x%" G_GINT64_MODIFIER "x differs", c->name, i);
}

static void
expect_same_extent (const VpExtent *a, const VpExtent *b)
{
  g_assert_cmpuint (a->length, ==, b->length);
  g_assert_cmpint (a->present, ==, b->present);
  g_assert_cmpint (a->zero, ==, b->zero);
  g_assert_cmpint (a->data, ==, b->data);
  g_assert_cmpint (a->compressed, ==, b->compressed);
  g_assert_cmpint (a->has_offset, ==, b->has_offset);
  if (a->has_offset)
    g_assert_cmpuint (a->offset, ==, b->offset);
}

/* The same in the same places. */
static void
expect_same_file (const EngineCase *c, VpFile *a, VpFile *b)
{
  g_autoptr (VpImage) image_a = case_open (c, &gate, a, 0);
  g_autoptr (VpImage) image_b = case_open (c, &gate, b, 0);
  VpExtent extent_a, extent_b;
  for (uint64_t at = 0; at < SIZE; at += extent_a.length) {
    ASSERT_OK (vp_image_map (image_a, at, SIZE - at, &extent_a, &error));
    ASSERT_OK (vp_image_map (image_b, at, SIZE - at, &extent_b, &error));
    expect_same_extent (&extent_a, &extent_b);
  }
  expect_same_bytes (c, a, b);
  VpFile *part_a, *part_b;
  for (unsigned i = 0; (part_a = fake_file_joined (a, i)); i++) {
    part_b = fake_file_joined (b, i);
    expect_same_bytes (c, part_a, part_b);
  }
}

static void
test_threads (gconstpointer data)
{
  const EngineCase *c = data;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source = make_source (&bytes);
  for (int compress = 0; compress < 2; compress++) {
    g_autoptr (VpFile) one = NULL;
    g_autoptr (VpFile) many = NULL;
    g_autoptr (GError) error = NULL;
    VpCopyOptions options = { .compress = compress, .threads = 1 };
    if (!copy_to (c, source, &options, 0, &one, &error)) {
      g_assert_true (compress);
      g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
      return;
    }
    options.threads = 5;
    g_assert_true (copy_to (c, source, &options, 0, &many, &error));
    expect_same_file (c, one, many);
    expect_bytes (c, many, bytes);
    case_check (c, many, 0);
  }
}

static void
free_image (gpointer image)
{
  vp_image_free (image);
}

/* The bytes in three files, one of them empty, none ending with a unit. */
static VpImage *
open_in_parts (const uint8_t *bytes, GPtrArray *images)
{
  static const uint64_t ends[] = { 0x12600, 0x12600, SIZE };
  uint64_t start = 0;
  g_autoptr (GError) error = NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (ends); i++) {
    g_autoptr (VpFile) file = fake_file_new ("part");
    fake_file_poke (file, 0, bytes + start, ends[i] - start);
    g_ptr_array_add (images, open_raw (file));
    start = ends[i];
  }
  VpImage *joined = vp_image_join (images, &error);
  g_assert_no_error (error);
  return joined;
}

/* Units that two sources share are stored as those of one are. */
static void
test_joined (gconstpointer data)
{
  const EngineCase *c = data;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source = make_source (&bytes);
  g_autoptr (VpFile) one = NULL;
  g_autoptr (VpFile) joined =
      case_create (c, &gate, "target", SIZE, NULL, NULL);
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func (free_image);
  g_autoptr (VpImage) parts = open_in_parts (bytes, images);
  g_autoptr (VpImage) target = case_open (c, &gate, joined, VP_IMAGE_WRITABLE);
  VpCopyOptions options = { .compress = can_pack (c), .threads = 3 };
  ASSERT_OK (copy_to (c, source, &options, 0, &one, &error));
  ASSERT_OK (vp_copy_image (parts, target, &options, NULL, &error));
  ASSERT_OK (vp_image_close (g_steal_pointer (&target), &error));
  expect_bytes (c, joined, bytes);
  expect_same_file (c, one, joined);
}

/* A write fails at some point: the copy fails, the rest is whole. */
static void
test_write_fails (gconstpointer data)
{
  const EngineCase *c = data;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source = make_source (&bytes);
  for (unsigned nth = 1; nth < 100; nth += test_rounds (41, 3)) {
    g_autoptr (VpFile) file = NULL;
    g_autoptr (GError) error = NULL;
    VpCopyOptions options = { .compress = can_pack (c), .threads = 3 };
    bool ok = copy_to (c, source, &options, nth, &file, &error);
    bool failed = fake_file_has_failed (file);
    fake_file_fail (file, 0, false);
    if (!ok) /* hints may fail unseen */
      g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_IO);
    g_assert_true (ok || failed);
    if (ok)
      expect_bytes (c, file, bytes);
    if (c->once)
      continue; /* half of it is none */
    /* A file whose flush failed takes no repair. */
    g_autoptr (VpFile) left = fake_file_copy (file, "target");
    case_check (c, left, failed ? 10000 : 0);
  }
}

static void
test_read_fails (gconstpointer data)
{
  const EngineCase *c = data;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source = make_source (&bytes);
  g_autoptr (VpFile) file = NULL;
  g_autoptr (VpFile) salvaged = NULL;
  g_autoptr (GError) error = NULL;
  VpCopyOptions options = { .threads = 3 };
  uint64_t bad = 3 * MIB;
  memset (bytes + bad - 4096, 1, 8192);
  fake_file_poke (source, bad - 4096, bytes + bad - 4096, 8192);
  fake_file_fail_reads (source, bad + 100, 1000);
  g_assert_false (copy_to (c, source, &options, 0, &file, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_IO);
  g_assert_nonnull (strstr (error->message, "error while reading offset"));
  g_clear_error (&error);
  if (!c->once)
    case_check (c, file, c->uncounted ? UINT64_MAX : 0);

  VpSalvage salvage;
  vp_salvage_init (&salvage);
  options.salvage = &salvage;
  g_assert_true (copy_to (c, source, &options, 0, &salvaged, &error));
  g_assert_cmpuint (salvage.bytes, ==, 3 * 512);
  g_assert_cmpuint (salvage.messages->len, ==, 3);
  vp_salvage_clear (&salvage);
  memset (bytes + bad, 0, 3 * 512);
  expect_bytes (c, salvaged, bytes);
  case_check (c, salvaged, 0);
}

/* Blocks are shared as long as the file system does, and copied then. */
static void
test_clone (gconstpointer data)
{
  const EngineCase *c = data;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source_file = make_source (&bytes);
  memset (bytes + 2 * MIB, 7, 2 * MIB);
  fake_file_poke (source_file, 2 * MIB, bytes + 2 * MIB, 2 * MIB);
  for (unsigned clones = 0; clones < 200; clones += 4 + clones * 60) {
    g_autoptr (VpFile) file =
        case_create (c, &gate, "target", SIZE, NULL, NULL);
    g_autoptr (VpImage) source = open_raw (source_file);
    g_autoptr (VpImage) target = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
    VpCopyOptions options = { .target_is_zero = true, .threads = 3 };
    fake_file_set_clones (file, clones);
    ASSERT_OK (vp_copy_image (source, target, &options, NULL, &error));
    ASSERT_OK (vp_image_close (g_steal_pointer (&target), &error));
    expect_bytes (c, file, bytes);
    case_check (c, file, 0);
  }
}

static void
cancel_midway (uint64_t done, uint64_t total, gpointer user_data)
{
  if (done > 0)
    g_atomic_int_set ((int *) user_data, 1);
}

static void
test_cancel (void)
{
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (VpFile) source_file = make_source (&bytes);
  g_autoptr (VpImage) source = open_raw (source_file);
  g_autoptr (VpFile) file =
      case_create (case_find ("qcow2"), &gate, "target", SIZE, NULL, NULL);
  g_autoptr (VpImage) target =
      case_open (case_find ("qcow2"), &gate, file, VP_IMAGE_WRITABLE);
  g_autoptr (GError) error = NULL;
  int cancel = 0;
  VpProgress progress = { cancel_midway, &cancel, &cancel };
  VpCopyOptions options = { .rate = 8 * MIB, .threads = 2 };
  g_assert_false (vp_copy_image (source, target, &options, &progress, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CANCELLED);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fake_gate_init (&gate);
  case_add_every ("/copy/threads", test_threads);
  case_add_every ("/copy/joined", test_joined);
  case_add_every ("/copy/write-fails", test_write_fails);
  case_add_every ("/copy/read-fails", test_read_fails);
  case_add_every ("/copy/clone", test_clone);
  g_test_add_func ("/copy/cancel", test_cancel);
  int status = g_test_run ();
  fake_gate_clear (&gate);
  return status;
}
