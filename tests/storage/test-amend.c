/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Other properties for images that are there: what the disk and the snapshots
 * hold stays, the check is clean, and what cannot be leaves all as it was. */
#include "config.h"

#include "storage/amend.h"

#include <string.h>

#include "storage/error.h"
#include "storage/snapshot.h"
#include "tests/storage/engine-cases.h"

#define SIZE ((uint64_t) 300 << 10)

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
  Random random;
  bool has_snapshots;
  uint8_t now[SIZE], then[SIZE];
} World;

static void
scribble (World *w)
{
  for (unsigned i = 0; i < 12; i++) {
    size_t len = 1 + (size_t) random_below (&w->random, 40000);
    uint64_t offset = random_below (&w->random, SIZE - len);
    if (i % 3 == 0) {
      memset (w->now + offset, 0, len);
      ASSERT_OK (vp_image_zero (w->image, offset, len, i % 2, &error));
      continue;
    }
    random_fill (&w->random, w->now + offset, len);
    ASSERT_OK (vp_image_write (w->image, offset, w->now + offset, len, &error));
  }
}

static World *
world_new (gconstpointer data, bool backed)
{
  World *w = g_new0 (World, 1);
  w->c = data;
  w->random.state = test_seed ();
  w->has_snapshots =
      !strstr (w->c->options, "bits=1") && !strstr (w->c->options, "data_file");
  fake_gate_init (&w->gate);
  backed = backed && w->c->backing;
  if (backed) {
    g_autoptr (VpFile) base = fake_file_new ("base");
    memset (w->now, 0xbb, SIZE / 2);
    fake_file_poke (base, 0, w->now, SIZE / 2);
    fake_gate_add (&w->gate, base);
  }
  w->file = case_create (w->c, &w->gate, "disk", SIZE, backed ? "base" : NULL,
                         backed ? "raw" : NULL);
  w->image = case_open (w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
  scribble (w);
  memcpy (w->then, w->now, SIZE);
  if (!w->has_snapshots)
    return w;
  ASSERT_OK (vp_image_snapshot_create (w->image, "then", &error));
  scribble (w);
  ASSERT_OK (vp_image_snapshot_create (w->image, "late", &error));
  scribble (w);
  return w;
}

static void
world_free (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
  g_free (w);
}

/* As it is on the disk now, apart: a check may mend what is dirty. */
static void
check_copy (World *w)
{
  ASSERT_OK (vp_image_flush (w->image, &error));
  g_autoptr (VpFile) copy = fake_file_copy (w->file, "disk");
  case_check (w->c, copy, 0);
}

static void
judge (World *w)
{
  g_autofree uint8_t *found = g_malloc (SIZE);
  ASSERT_OK (vp_image_read (w->image, 0, found, SIZE, &error));
  g_assert_true (memcmp (found, w->now, SIZE) == 0);
  check_copy (w);
  if (!w->has_snapshots)
    return;
  g_autoptr (VpImage) past = case_open (w->c, &w->gate, w->file, 0);
  ASSERT_OK (vp_image_load_snapshot (past, "then", &error));
  ASSERT_OK (vp_image_read (past, 0, found, SIZE, &error));
  g_assert_true (memcmp (found, w->then, SIZE) == 0);
}

/* Sound, also after more has been written to it, and once it is open anew. */
static void
live_on (World *w)
{
  judge (w);
  scribble (w);
  ASSERT_OK (vp_image_close (g_steal_pointer (&w->image), &error));
  w->image = case_open (w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
  judge (w);
}

static void
expect (World *w, const VpAmendOptions *options)
{
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_amend (w->image, options, NULL, &error));
  ASSERT_OK (vp_image_get_info (w->image, &info, &error));
  if (options->refcount_bits)
    g_assert_cmpuint (info.refcount_bits, ==, options->refcount_bits);
  if (options->compat)
    g_assert_cmpstr (info.compat, ==, options->compat == 2 ? "0.10" : "1.1");
  if (options->lazy_refcounts >= 0)
    g_assert_cmpint (info.lazy_refcounts, ==, options->lazy_refcounts);
}

static void
expect_refusal (World *w, const VpAmendOptions *options)
{
  g_autoptr (GError) failure = NULL;
  ASSERT_OK (vp_image_flush (w->image, &error));
  g_autoptr (VpFile) before = fake_file_copy (w->file, "before");
  g_assert_false (vp_image_amend (w->image, options, NULL, &failure));
  g_assert_nonnull (failure);
  uint64_t size, old_size;
  const uint8_t *bytes = fake_file_bytes (w->file, &size);
  const uint8_t *old = fake_file_bytes (before, &old_size);
  g_assert_cmpmem (bytes, (int) size, old, (int) old_size);
}

static void
test_width (gconstpointer data)
{
  static const unsigned widths[] = { 64, 2, 32, 4, 8, 16, 1 };
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  World *w = world_new (data, true);
  options.compat = 3;
  for (size_t i = 0; i < G_N_ELEMENTS (widths); i++) {
    options.refcount_bits = widths[i];
    if (widths[i] == 1 && w->has_snapshots) {
      ASSERT_OK (vp_image_snapshot_create (w->image, "shares all", &error));
      expect_refusal (w, &options);
    } else
      expect (w, &options);
    live_on (w);
  }
  options.refcount_bits = 3;
  expect_refusal (w, &options);
  options = (VpAmendOptions) VP_AMEND_OPTIONS_INIT;
  options.compat = 2;
  options.refcount_bits = 8;
  expect_refusal (w, &options);
  world_free (w);
}

static void
run_version (gconstpointer data, bool backed)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  World *w = world_new (data, backed);
  options.compat = 3;
  options.lazy_refcounts = 1;
  expect (w, &options);
  live_on (w);
  options.compat = 2;
  expect_refusal (w, &options); /* lazy */
  options.refcount_bits = 16;
  options.lazy_refcounts = 0;
  if (strstr (w->c->options, "zstd") || strstr (w->c->options, "extended") ||
      strstr (w->c->options, "data_file") || strstr (w->c->options, "luks") ||
      (strstr (w->c->options, "aes") && backed)) {
    expect_refusal (w, &options);
    world_free (w);
    return;
  }
  expect (w, &options);
  live_on (w);
  options.compat = 3;
  expect (w, &options);
  live_on (w);
  world_free (w);
}

static void
test_version (gconstpointer data)
{
  run_version (data, false);
  run_version (data, true);
}

static void
test_size (gconstpointer data)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  World *w = world_new (data, false);
  options.compat = 3;
  options.has_size = true;
  options.size = 2 * SIZE;
  expect (w, &options);
  g_assert_cmpuint (vp_image_get_size (w->image), ==, 2 * SIZE);
  options.size = SIZE;
  expect (w, &options);
  g_assert_cmpuint (vp_image_get_size (w->image), ==, SIZE);
  live_on (w);
  options = (VpAmendOptions) VP_AMEND_OPTIONS_INIT;
  options.backing_name = "other";
  expect_refusal (w, &options);
  options = (VpAmendOptions) VP_AMEND_OPTIONS_INIT;
  options.data_file_raw = 1;
  if (!strstr (w->c->options, "data_file"))
    expect_refusal (w, &options);
  world_free (w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_qcow2 ("/amend/width", test_width);
  case_add_qcow2 ("/amend/version", test_version);
  case_add_qcow2 ("/amend/size", test_size);
  return g_test_run ();
}
