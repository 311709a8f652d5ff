/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bitmaps: bits against a model; persistent ones record what changes, survive
 * resizes and other bitmaps, and after a power cut either say of themselves
 * that they are of no use or know of every change. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image-bitmap.h"
#include "tests/storage/engine-cases.h"

#define SIZE  (UINT64_C (1) << 20)
#define GRAIN UINT64_C (2048)

/* ---- in memory ---------------------------------------------------------- */

static void
test_bits (void)
{
  enum { GRAINS = 100000 };
  uint64_t size = GRAINS * GRAIN - 700, offset = 0, length;
  g_autoptr (VpBitmap) bitmap = vp_bitmap_new (size, GRAIN);
  g_autofree uint8_t *model = g_malloc0 (GRAINS);
  Random random = { test_seed () };
  for (unsigned i = 0; i < 60; i++) {
    uint64_t from = random_below (&random, size);
    uint64_t len = 1 + random_below (&random, i % 3 ? 20000 : 20000000);
    vp_bitmap_set (bitmap, from, len);
    len = MIN (len, size - from);
    for (uint64_t g = from / GRAIN; g <= (from + len - 1) / GRAIN; g++)
      model[g] = 1;
  }
  g_autofree uint8_t *found = g_malloc0 (GRAINS);
  while (vp_bitmap_next (bitmap, offset, &offset, &length)) {
    for (uint64_t g = offset / GRAIN; g <= (offset + length - 1) / GRAIN; g++)
      found[g] = 1;
    offset += length;
  }
  g_assert_true (memcmp (model, found, GRAINS) == 0);

  size_t len = vp_bitmap_get_len (bitmap);
  g_autofree uint8_t *bytes = g_malloc (len);
  vp_bitmap_store (bitmap, 0, bytes, len);
  g_autoptr (VpBitmap) copy = vp_bitmap_new (size, GRAIN);
  for (size_t at = 0; at < len; at += 1000)
    vp_bitmap_load (copy, at, bytes + at, MIN (1000, len - at));
  g_autoptr (VpBitmap) coarse = vp_bitmap_new (size, GRAIN * 8);
  vp_bitmap_merge (coarse, copy);
  for (uint64_t g = 0; g < GRAINS; g++) {
    g_assert_cmpint (vp_bitmap_is_set (copy, g * GRAIN), ==, model[g]);
    if (model[g])
      g_assert_true (vp_bitmap_is_set (coarse, g * GRAIN));
  }
}

static void
test_bits_resize (void)
{
  uint64_t offset, length;
  g_autoptr (VpBitmap) bitmap = vp_bitmap_new (10 * GRAIN, GRAIN);
  vp_bitmap_set (bitmap, 0, UINT64_MAX);
  g_assert_true (vp_bitmap_resize (bitmap, 3 * GRAIN + 1));
  g_assert_true (vp_bitmap_resize (bitmap, 100000 * GRAIN));
  g_assert_true (vp_bitmap_next (bitmap, 5, &offset, &length));
  g_assert_cmpuint (offset, ==, 5);
  g_assert_cmpuint (length, ==, 4 * GRAIN - 5);
  g_assert_false (vp_bitmap_next (bitmap, 4 * GRAIN, &offset, &length));
  g_assert_null (vp_bitmap_new (UINT64_C (1) << 62, 512));
}

/* ---- in images ---------------------------------------------------------- */

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
  Random random;
  uint8_t *before, *now;
} World;

static void
reopen (World *w)
{
  if (w->image)
    ASSERT_OK (vp_image_close (g_steal_pointer (&w->image), &error));
  w->image = case_open (w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static void
set_up (World *w, gconstpointer c)
{
  memset (w, 0, sizeof *w);
  w->c = c;
  w->random.state = test_seed ();
  w->before = g_malloc (SIZE);
  w->now = g_malloc (SIZE);
  fake_gate_init (&w->gate);
  w->file = case_create (c, &w->gate, "disk", SIZE, NULL, NULL);
  reopen (w);
  random_fill (&w->random, w->before, SIZE);
  ASSERT_OK (vp_image_write (w->image, 0, w->before, SIZE / 2, &error));
  memset (w->before + SIZE / 2, 0, SIZE / 2);
}

static void
tear_down (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
  g_free (w->before);
  g_free (w->now);
}

static void
change (World *w)
{
  uint64_t offset = random_below (&w->random, SIZE);
  uint64_t length = 1 + random_below (&w->random, MIN (SIZE - offset, 70000));
  switch (random_below (&w->random, 4)) {
  case 0:
    ASSERT_OK (vp_image_zero (w->image, offset, length, true, &error));
    break;
  case 1:
    ASSERT_OK (vp_image_discard (w->image, offset, length, &error));
    break;
  default:
    random_fill (&w->random, w->now, (size_t) length);
    ASSERT_OK (
        vp_image_write (w->image, offset, w->now, (size_t) length, &error));
  }
}

/* Every grain whose bytes are others is known to have changed. */
static void
assert_known (World *w, VpImage *image, const char *name)
{
  g_autoptr (GError) why = NULL;
  const VpBitmap *bitmap = vp_image_bitmap_get (image, name, &why);
  g_assert_no_error (why);
  ASSERT_OK (vp_image_read (image, 0, w->now, SIZE, &error));
  for (uint64_t at = 0; at < SIZE; at += GRAIN)
    if (memcmp (w->before + at, w->now + at, GRAIN) != 0)
      g_assert_true (vp_bitmap_is_set (bitmap, at));
}

static bool
is_old (const EngineCase *c)
{
  return strstr (c->options, "compat") || strstr (c->options, "data_file");
}

static void
test_records (gconstpointer data)
{
  World w;
  uint64_t offset, length;
  if (is_old (data))
    return;
  set_up (&w, data);
  ASSERT_OK (vp_image_bitmap_add (w.image, "all", GRAIN, true, &error));
  ASSERT_OK (vp_image_bitmap_add (w.image, "off", 0, false, &error));
  reopen (&w);
  for (unsigned i = 0; i < 20; i++) {
    change (&w);
    if (i % 8 == 7)
      reopen (&w);
  }
  assert_known (&w, w.image, "all");
  reopen (&w);
  assert_known (&w, w.image, "all");
  case_check (w.c, w.file, 0);
  g_autoptr (GError) why = NULL;
  const VpBitmap *off = vp_image_bitmap_get (w.image, "off", &why);
  g_assert_no_error (why);
  g_assert_false (vp_bitmap_next (off, 0, &offset, &length));

  ASSERT_OK (vp_image_bitmap_merge (w.image, "off", w.image, "all", &error));
  ASSERT_OK (vp_image_bitmap_clear (w.image, "all", &error));
  reopen (&w);
  assert_known (&w, w.image, "off");
  ASSERT_OK (vp_image_resize (w.image, SIZE * 3, VP_PREALLOCATION_OFF, &error));
  reopen (&w);
  assert_known (&w, w.image, "off");
  g_assert_false (vp_bitmap_next (vp_image_bitmap_get (w.image, "all", NULL), 0,
                                  &offset, &length));
  case_check (w.c, w.file, 0);

  ASSERT_OK (vp_image_bitmap_remove (w.image, "off", &error));
  ASSERT_OK (vp_image_bitmap_remove (w.image, "all", &error));
  reopen (&w);
  case_check (w.c, w.file, 0);
  g_assert_false (vp_image_bitmap_remove (w.image, "all", NULL));
  tear_down (&w);
}

static void
test_copies (void)
{
  World from, to;
  const EngineCase *c = case_find ("qcow2");
  set_up (&from, c);
  set_up (&to, c);
  ASSERT_OK (vp_image_bitmap_add (from.image, "b", GRAIN, true, &error));
  for (unsigned i = 0; i < 10; i++)
    change (&from);
  ASSERT_OK (vp_image_copy_bitmaps (from.image, to.image, false, NULL, &error));
  ASSERT_OK (vp_image_read (from.image, 0, to.now, SIZE, &error));
  reopen (&to);
  const VpBitmap *bitmap = vp_image_bitmap_get (to.image, "b", NULL);
  g_assert_nonnull (bitmap);
  for (uint64_t at = 0; at < SIZE; at += GRAIN)
    if (memcmp (from.before + at, to.now + at, GRAIN) != 0)
      g_assert_true (vp_bitmap_is_set (bitmap, at));
  tear_down (&from);
  tear_down (&to);
}

static void
test_misuse (void)
{
  World w;
  set_up (&w, case_find ("qcow2"));
  ASSERT_OK (vp_image_bitmap_add (w.image, "b", 0, true, &error));
  g_assert_false (vp_image_bitmap_add (w.image, "b", 0, true, NULL));
  g_assert_false (vp_image_bitmap_add (w.image, "", 0, true, NULL));
  g_assert_false (vp_image_bitmap_add (w.image, "c", 1000, true, NULL));
  g_assert_false (
      vp_image_bitmap_add (w.image, "c", UINT64_C (1) << 32, true, NULL));
  g_autofree char *name = g_strnfill (1024, 'x');
  g_assert_false (vp_image_bitmap_add (w.image, name, 0, true, NULL));
  g_assert_false (vp_image_bitmap_clear (w.image, "c", NULL));
  g_assert_false (vp_image_bitmap_merge (w.image, "b", w.image, "c", NULL));
  g_assert_false (vp_image_bitmap_set_enabled (w.image, "c", true, NULL));
  tear_down (&w);
}

/* ---- power cuts --------------------------------------------------------- */

static bool
is_trusted (VpImage *image)
{
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  for (guint i = 0; i < info.bitmaps->len; i++) {
    const VpBitmapFacts *facts = g_ptr_array_index (info.bitmaps, i);
    if (strcmp (facts->name, "all") == 0)
      return !facts->in_use;
  }
  g_assert_not_reached ();
}

static unsigned
judge_cut (World *w, VpFile *cut)
{
  case_check (w->c, cut, UINT64_MAX);
  g_autoptr (VpImage) image = case_open (w->c, &w->gate, cut, 0);
  bool trusted = is_trusted (image);
  if (trusted)
    assert_known (w, image, "all");
  return trusted;
}

static void
test_cuts (gconstpointer data)
{
  World w;
  unsigned trusted = 0, states = 0;
  if (is_old (data))
    return;
  set_up (&w, data);
  ASSERT_OK (vp_image_bitmap_add (w.image, "all", GRAIN, true, &error));
  reopen (&w);
  g_autoptr (VpFile) disk = fake_file_copy (w.file, "disk");
  GPtrArray *log = fake_file_record (w.file);
  for (unsigned i = 0; i < 6; i++) {
    change (&w);
    if (i % 3 == 2)
      ASSERT_OK (vp_image_flush (w.image, &error));
  }
  reopen (&w);
  for (guint i = 0; i < log->len; i++) {
    const FakeOp *op = g_ptr_array_index (log, i);
    bool near = i < 3 || i + 12 > log->len;
    if (near || random_below (&w.random, test_rounds (20, 1)) == 0) {
      g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
      if (op->kind == FAKE_WRITE)
        fake_op_apply_torn (op, cut, random_next (&w.random));
      trusted += judge_cut (&w, cut);
      states++;
    }
    fake_op_apply (op, disk);
  }
  trusted += judge_cut (&w, disk);
  g_test_message ("%u cuts, the bitmap is sound after %u", states, trusted);
  g_assert_cmpuint (trusted, >, 0);
  tear_down (&w);
}

/* Where a bitmap could not be marked once, the next write tries again. */
static void
test_mark_fails (void)
{
  World w;
  uint8_t byte = 1;
  set_up (&w, case_find ("qcow2"));
  ASSERT_OK (vp_image_bitmap_add (w.image, "all", GRAIN, true, &error));
  reopen (&w);
  fake_file_fail (w.file, 1, false);
  g_assert_false (vp_image_write (w.image, 0, &byte, 1, NULL));
  fake_file_fail (w.file, 0, false);
  ASSERT_OK (vp_image_write (w.image, 0, &byte, 1, &error));
  ASSERT_OK (vp_image_flush (w.image, &error));
  g_autoptr (VpFile) cut = fake_file_copy (w.file, "disk");
  VpImage *image = case_open (w.c, &w.gate, cut, 0);
  g_assert_false (is_trusted (image));
  vp_image_free (image);
  tear_down (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bitmap/bits", test_bits);
  g_test_add_func ("/bitmap/bits-resize", test_bits_resize);
  case_add_qcow2 ("/bitmap/records", test_records);
  g_test_add_func ("/bitmap/copies", test_copies);
  g_test_add_func ("/bitmap/misuse", test_misuse);
  case_add_qcow2 ("/bitmap/cuts", test_cuts);
  g_test_add_func ("/bitmap/mark-fails", test_mark_fails);
  return g_test_run ();
}
