/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every read fails in turn, for every verb of the engine: the verb says what
 * failed, and the image is as sound afterwards as a failed write would leave
 * it: leaks, no more, and the bytes that nobody wrote are what they were. */
#include "config.h"

#include <string.h>

#include "storage/amend.h"
#include "storage/error.h"
#include "storage/image-bitmap.h"
#include "storage/snapshot.h"
#include "tests/storage/engine-cases.h"

#define SIZE    (UINT64_C (256) << 10)
#define WRITTEN (UINT64_C (96) << 10) /* what verbs write lies below */

typedef struct {
  const char *name;
  bool (*run) (VpImage *image, GError **error);
} Verb;

static bool
run_info (VpImage *image, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };
  return vp_image_get_info (image, &info, error);
}

static bool
run_map (VpImage *image, GError **error)
{
  VpExtent extent;
  for (uint64_t at = 0; at < SIZE; at += extent.length)
    if (!vp_image_map (image, at, SIZE - at, &extent, error))
      return false;
  return true;
}

static bool
run_read (VpImage *image, GError **error)
{
  static uint8_t bytes[SIZE];
  return vp_image_read (image, 0, bytes, SIZE, error);
}

static bool
run_write (VpImage *image, GError **error)
{
  static const uint8_t bytes[50000] = { 7 };
  return vp_image_write (image, 777, bytes, sizeof bytes, error) &&
         vp_image_flush (image, error);
}

static bool
run_packed (VpImage *image, GError **error)
{
  static const uint8_t bytes[65536] = { 7 };
  VpPacking packing;
  if (!vp_image_get_packing (image, &packing) || packing.unit > sizeof bytes)
    return true;
  return vp_image_write_compressed (image, 0, bytes, sizeof bytes, error) &&
         vp_image_flush (image, error);
}

static bool
run_zero (VpImage *image, GError **error)
{
  return vp_image_zero (image, 4000, 70000, true, error) &&
         vp_image_flush (image, error);
}

static bool
run_discard (VpImage *image, GError **error)
{
  return vp_image_discard (image, 4000, 70000, error) &&
         vp_image_flush (image, error);
}

static bool
run_grow (VpImage *image, GError **error)
{
  return vp_image_resize (image, 16 * SIZE, VP_PREALLOCATION_OFF, error) &&
         vp_image_shrink (image, SIZE + 512, error);
}

static bool
run_snapshot (VpImage *image, GError **error)
{
  return vp_image_snapshot_create (image, "two", error);
}

static bool
run_apply (VpImage *image, GError **error)
{
  return vp_image_snapshot_apply (image, "one", error);
}

static bool
run_delete (VpImage *image, GError **error)
{
  return vp_image_snapshot_delete (image, "one", error);
}

static bool
run_widen (VpImage *image, GError **error)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  options.refcount_bits = 32;
  return vp_image_amend (image, &options, NULL, error);
}

static bool
run_downgrade (VpImage *image, GError **error)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  options.compat = 2;
  return vp_image_amend (image, &options, NULL, error);
}

static bool
run_bitmap (VpImage *image, GError **error)
{
  return vp_image_bitmap_add (image, "bits", 65536, true, error) &&
         vp_image_bitmap_clear (image, "bits", error) &&
         vp_image_bitmap_remove (image, "bits", error);
}

static bool
run_check (VpImage *image, GError **error)
{
  g_auto (VpCheckResult) result = { 0 };
  return vp_check_image (image, VP_REPAIR_ALL, NULL, &result, error);
}

static const Verb verbs[] = {
  { "info", run_info },           { "map", run_map },
  { "read", run_read },           { "write", run_write },
  { "packed", run_packed },       { "zero", run_zero },
  { "discard", run_discard },     { "grow", run_grow },
  { "snapshot", run_snapshot },   { "apply", run_apply },
  { "delete", run_delete },       { "widen", run_widen },
  { "downgrade", run_downgrade }, { "bitmap", run_bitmap },
  { "check", run_check },
};

static VpFile *
make_image (const EngineCase *c, FakeGate *gate)
{
  static uint8_t bytes[SIZE];
  Random random = { 5 };
  VpFile *file = case_create (c, gate, "disk", SIZE, NULL, NULL);
  g_autoptr (VpImage) image = case_open (c, gate, file, VP_IMAGE_WRITABLE);
  random_fill (&random, bytes, SIZE);
  ASSERT_OK (vp_image_write (image, 0, bytes, SIZE, &error));
  ASSERT_OK (vp_image_zero (image, 20000, 9000, true, &error));
  (void) !vp_image_snapshot_create (image, "one", NULL);
  ASSERT_OK (vp_image_write (image, 1000, bytes, 30000, &error));
  ASSERT_OK (vp_image_close (g_steal_pointer (&image), &error));
  return file;
}

/* What lies above the verbs' reach, or the snapshot's where it was applied. */
static void
assert_kept (const EngineCase *c, FakeGate *gate, VpFile *file,
             const uint8_t *wanted, const char *verb)
{
  static uint8_t found[SIZE];
  g_autoptr (VpImage) image = case_open (c, gate, file, 0);
  ASSERT_OK (vp_image_read (image, 0, found, SIZE, &error));
  if (memcmp (found + WRITTEN, wanted + WRITTEN, SIZE - WRITTEN) != 0)
    g_error ("%s, %s: other bytes where nobody wrote", c->name, verb);
}

/* False: fewer reads than that. */
static bool
fail_one (const EngineCase *c, FakeGate *gate, VpFile *sound, const Verb *verb,
          unsigned nth, const uint8_t *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = fake_file_copy (sound, "disk");
  VpImageFlags flags = VP_IMAGE_WRITABLE;
  if (verb->run == run_check)
    flags |= VP_IMAGE_CHECK;
  fake_file_fail_read (file, nth);
  fake_gate_add_joined (gate, file);
  VpImage *image =
      case_open_file (file, c->format, flags, &gate->opener, &error);
  bool ok = image && verb->run (image, &error);
  bool failed = fake_file_has_failed (file);
  g_assert_cmpint (ok, ==, error == NULL);
  vp_image_free (image);
  fake_file_fail_read (file, 0);
  case_check (c, file, UINT64_MAX);
  assert_kept (c, gate, file, wanted, verb->name);
  return failed;
}

static void
test_reads (gconstpointer data)
{
  const EngineCase *c = data;
  static uint8_t wanted[SIZE];
  FakeGate gate;
  unsigned n = 0, step = test_rounds (13, 1);
  fake_gate_init (&gate);
  g_autoptr (VpFile) sound = make_image (c, &gate);
  g_autoptr (VpImage) image = case_open (c, &gate, sound, 0);
  ASSERT_OK (vp_image_read (image, 0, wanted, SIZE, &error));
  g_clear_pointer (&image, vp_image_free);
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    for (unsigned nth = 1 + (unsigned) i % step;
         fail_one (c, &gate, sound, &verbs[i], nth, wanted); nth += step)
      n++;
  g_test_message ("%u failures", n);
  fake_gate_clear (&gate);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_checked ("/read-error", test_reads);
  return g_test_run ();
}
