/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Internal snapshots in every format of the list: random writes, growth,
 * shrinking, snapshots taken, applied, deleted and read from, against bytes in
 * memory;
 * the image is checked after each of these. */
#include "config.h"

#include "storage/snapshot.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MOST      (UINT64_C (2) << 20)
#define MAX_SNAPS 6u

typedef struct {
  char *name;
  uint8_t *bytes;
  uint64_t size;
} Snap;

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
  Random random;
  uint8_t *bytes;
  uint64_t size;
  GPtrArray *snaps; /* of Snap */
  unsigned n_names;
} World;

static void
snap_free (gpointer data)
{
  Snap *snap = data;
  g_free (snap->name);
  g_free (snap->bytes);
  g_free (snap);
}

static bool
has_snapshots (const EngineCase *c)
{
  return case_is (c, "qcow2") && !strstr (c->options, "bits=1") &&
         !strstr (c->options, "data_file");
}

static void
world_init (World *w, const EngineCase *c, uint64_t seed)
{
  *w = (World){ .c = c, .random = { seed } };
  fake_gate_init (&w->gate);
  w->snaps = g_ptr_array_new_with_free_func (snap_free);
  w->size = case_size (c, 512 * (1 + random_below (&w->random, 2048)));
  w->bytes = g_malloc0 (MOST);
  bool backed = c->backing && !c->own_kind && random_below (&w->random, 2);
  if (backed) {
    uint64_t size = 512 * (1 + random_below (&w->random, 1024));
    g_autoptr (VpFile) base = fake_file_new ("base");
    g_autofree uint8_t *bytes = g_malloc (size);
    memset (bytes, 0xbb, size);
    fake_file_poke (base, 0, bytes, size);
    fake_gate_add (&w->gate, base);
    memset (w->bytes, 0xbb, MIN (w->size, size));
  }
  w->file = case_create (c, &w->gate, "disk", w->size, backed ? "base" : NULL,
                         backed ? "raw" : NULL);
  w->image = case_open (c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static void
world_clear (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
  g_ptr_array_unref (w->snaps);
  g_free (w->bytes);
}

static void
expect_bytes (VpImage *image, const uint8_t *bytes, uint64_t size)
{
  g_autofree uint8_t *found = g_malloc ((size_t) size);
  g_assert_cmpuint (vp_image_get_size (image), ==, size);
  ASSERT_OK (vp_image_read (image, 0, found, (size_t) size, &error));
  for (uint64_t i = 0; i < size; i++)
    if (found[i] != bytes[i])
      g_error ("byte 0x%" G_GINT64_MODIFIER "x is %02x, not %02x", i, found[i],
               bytes[i]);
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
  expect_bytes (w->image, w->bytes, w->size);
  check_copy (w);
}

static void
reopen (World *w)
{
  ASSERT_OK (vp_image_close (g_steal_pointer (&w->image), &error));
  case_check (w->c, w->file, 0);
  w->image = case_open (w->c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static Snap *
any_snap (World *w, guint *ret_index)
{
  if (w->snaps->len == 0)
    return NULL;
  *ret_index = (guint) random_below (&w->random, w->snaps->len);
  return g_ptr_array_index (w->snaps, *ret_index);
}

static void
create (World *w)
{
  if (w->snaps->len >= MAX_SNAPS || !has_snapshots (w->c))
    return;
  Snap *snap = g_new0 (Snap, 1);
  snap->name = g_strdup_printf ("snap-%u", w->n_names++);
  snap->bytes = g_memdup2 (w->bytes, MOST);
  snap->size = w->size;
  ASSERT_OK (vp_image_snapshot_create (w->image, snap->name, &error));
  g_ptr_array_add (w->snaps, snap);
  judge (w);
}

static void
apply (World *w)
{
  guint index;
  const Snap *snap = any_snap (w, &index);
  if (!snap)
    return;
  ASSERT_OK (vp_image_snapshot_apply (w->image, snap->name, &error));
  memcpy (w->bytes, snap->bytes, MOST);
  w->size = snap->size;
  judge (w);
}

static void delete (World *w)
{
  guint index;
  const Snap *snap = any_snap (w, &index);
  if (!snap)
    return;
  ASSERT_OK (vp_image_snapshot_delete (w->image, snap->name, &error));
  g_ptr_array_remove_index (w->snaps, index);
  judge (w);
}

static void
look (World *w)
{
  guint index;
  const Snap *snap = any_snap (w, &index);
  if (!snap)
    return;
  ASSERT_OK (vp_image_flush (w->image, &error));
  VpImage *image = case_open (w->c, &w->gate, w->file, VP_IMAGE_READ_ONLY);
  ASSERT_OK (vp_image_load_snapshot (image, snap->name, &error));
  expect_bytes (image, snap->bytes, snap->size);
  vp_image_free (image);
}

static void
grow (World *w)
{
  uint64_t size = w->size + 512 * random_below (&w->random, 200);
  if (w->c->lacks & CASE_NO_GROWTH || size > MOST ||
      (w->snaps->len > 0 && strstr (w->c->options, "compat")))
    return;
  ASSERT_OK (vp_image_resize (w->image, size, VP_PREALLOCATION_OFF, &error));
  memset (w->bytes + w->size, 0, (size_t) (size - w->size));
  w->size = size;
}

static void
shrink (World *w)
{
  uint64_t size = 512 * (1 + random_below (&w->random, w->size / 512));
  g_autoptr (GError) failure = NULL;
  if (w->c->lacks & CASE_NO_GROWTH || w->size == 512)
    return;
  if (w->snaps->len > 0 && strstr (w->c->options, "compat")) {
    g_assert_false (vp_image_shrink (w->image, 512, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
    return;
  }
  ASSERT_OK (vp_image_shrink (w->image, size, &error));
  memset (w->bytes + size, 0, (size_t) (MOST - size));
  w->size = size;
  judge (w);
}

static void
put (World *w, bool zero)
{
  uint64_t most = random_below (&w->random, 3) ? 9000 : w->size;
  uint64_t length = 1 + random_below (&w->random, MIN (most, w->size));
  uint64_t offset = random_below (&w->random, w->size - length + 1);
  uint8_t *bytes = w->bytes + offset;
  if (zero) {
    memset (bytes, 0, (size_t) length);
    ASSERT_OK (vp_image_zero (w->image, offset, length,
                              random_below (&w->random, 2), &error));
    return;
  }
  random_fill (&w->random, bytes, (size_t) length);
  ASSERT_OK (vp_image_write (w->image, offset, bytes, (size_t) length, &error));
}

static void
one_operation (World *w)
{
  switch (random_below (&w->random, 16)) {
  case 0:
  case 1: create (w); break;
  case 2: apply (w); break;
  case 3: delete (w); break;
  case 4: look (w); break;
  case 5: grow (w); break;
  case 6: reopen (w); break;
  case 7: put (w, true); break;
  case 8: shrink (w); break;
  default: put (w, false);
  }
}

static void
test_random (gconstpointer data)
{
  uint64_t seed = test_seed ();
  for (unsigned i = 0; i < test_rounds (1, 150); i++) {
    World w;
    g_test_message ("round seed %" G_GUINT64_FORMAT, seed + i);
    world_init (&w, data, seed + i);
    for (unsigned n = 0; n < 60; n++)
      one_operation (&w);
    while (w.snaps->len > 0)
      delete (&w);
    reopen (&w);
    judge (&w);
    world_clear (&w);
  }
}

/* ---- names -------------------------------------------------------------- */

static void
expect_list (VpImage *image, const char *wanted)
{
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  g_autoptr (GString) found = g_string_new (NULL);
  for (guint i = 0; i < info.snapshots->len; i++) {
    const VpSnapshot *snapshot = g_ptr_array_index (info.snapshots, i);
    g_string_append_printf (found, "%s=%s ", snapshot->id, snapshot->name);
  }
  g_assert_cmpstr (found->str, ==, wanted);
}

/* ---- when a write fails -------------------------------------------------- */

static bool
holds (VpImage *image, const uint8_t *bytes, uint64_t size)
{
  g_autofree uint8_t *found = g_malloc ((size_t) size);
  if (vp_image_get_size (image) != size)
    return false;
  ASSERT_OK (vp_image_read (image, 0, found, (size_t) size, &error));
  return memcmp (found, bytes, (size_t) size) == 0;
}

static bool
do_step (World *w, unsigned step)
{
  g_autoptr (GError) error = NULL;
  switch (step) {
  case 0: return vp_image_snapshot_create (w->image, "new", &error);
  case 1: return vp_image_snapshot_apply (w->image, "snap-0", &error);
  case 2: return vp_image_snapshot_delete (w->image, "snap-0", &error);
  default: return vp_image_shrink (w->image, 512, &error);
  }
}

/* One write fails, the next ones succeed, and the image is closed as if
 * nothing had been.  False: there was no nth. */
static bool
fail_step (const EngineCase *c, unsigned step, unsigned nth)
{
  World w;
  world_init (&w, c, 7);
  for (unsigned i = 0; i < 6; i++)
    put (&w, false);
  create (&w);
  for (unsigned i = 0; i < 3; i++)
    put (&w, false);
  const Snap *snap = g_ptr_array_index (w.snaps, 0);
  ASSERT_OK (vp_image_flush (w.image, &error));
  fake_file_fail (w.file, nth, false);
  bool ok = do_step (&w, step);
  bool failed = fake_file_has_failed (w.file);
  fake_file_fail (w.file, 0, false);
  /* Where a flush has failed this one does, too. */
  bool closed = vp_image_close (g_steal_pointer (&w.image), NULL);
  g_assert_true (failed || (ok && closed));

  g_autoptr (VpFile) copy = fake_file_copy (w.file, "disk");
  case_check (c, copy, 1000);
  VpImage *image = case_open (c, &w.gate, copy, VP_IMAGE_READ_ONLY);
  bool old = holds (image, w.bytes, w.size);
  bool new = step == 1   ? holds (image, snap->bytes, snap->size)
             : step == 3 ? holds (image, w.bytes, 512)
                         : old;
  g_assert_true (ok ? new : old || new);
  vp_image_free (image);
  world_clear (&w);
  return failed;
}

static void
test_failed (gconstpointer data)
{
  const EngineCase *c = data;
  if (!has_snapshots (c))
    return;
  /* Version 2 cannot be shrunk under a snapshot. */
  unsigned steps = strstr (c->options, "compat") ? 3 : 4;
  for (unsigned step = 0; step < steps; step++)
    for (unsigned nth = 1; fail_step (c, step, nth); nth += test_rounds (17, 1))
      ;
}

static void
test_names (gconstpointer data)
{
  World w;
  g_autoptr (GError) failure = NULL;
  if (!has_snapshots (data))
    return;
  world_init (&w, data, 1);
  ASSERT_OK (vp_image_snapshot_create (w.image, "a", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "a", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "1", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "", &error));
  expect_list (w.image, "1=a 2=a 3=1 4= ");
  g_assert_false (vp_image_snapshot_delete (w.image, "none", &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND);
  g_clear_error (&failure);
  g_assert_false (vp_image_snapshot_apply (w.image, "none", &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND);
  /* A name goes before an id here. */
  ASSERT_OK (vp_image_snapshot_delete (w.image, "1", &error));
  expect_list (w.image, "1=a 2=a 4= ");
  ASSERT_OK (vp_image_snapshot_delete (w.image, "a", &error));
  ASSERT_OK (vp_image_snapshot_delete (w.image, "4", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "b", &error));
  expect_list (w.image, "2=a 3=b ");
  reopen (&w);
  expect_list (w.image, "2=a 3=b ");
  world_clear (&w);
}

/* What cannot hold snapshots says so and stays as it was. */
static void
test_refused (gconstpointer data)
{
  World w;
  g_autoptr (GError) failure = NULL;
  if (has_snapshots (data))
    return;
  world_init (&w, data, 2);
  put (&w, false);
  ASSERT_OK (vp_image_flush (w.image, &error));
  g_autoptr (VpFile) before = fake_file_copy (w.file, "before");
  g_assert_false (vp_image_snapshot_create (w.image, "a", &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  uint64_t size, old_size;
  const uint8_t *bytes = fake_file_bytes (w.file, &size);
  const uint8_t *old = fake_file_bytes (before, &old_size);
  g_assert_cmpmem (bytes, (int) size, old, (int) old_size);
  judge (&w);
  world_clear (&w);
}

/* A count at its limit refuses one more, and nothing has changed. */
static void
test_limit (void)
{
  static const EngineCase c = { "qcow2-rc2", "qcow2",
                                "cluster_size=512,refcount_bits=2", true,
                                true };
  World w;
  g_autoptr (GError) failure = NULL;
  world_init (&w, &c, 3);
  for (unsigned i = 0; i < 8; i++)
    put (&w, false);
  ASSERT_OK (vp_image_snapshot_create (w.image, "a", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "b", &error));
  g_assert_false (vp_image_snapshot_create (w.image, "c", &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  expect_list (w.image, "1=a 2=b ");
  reopen (&w);
  judge (&w);
  ASSERT_OK (vp_image_snapshot_delete (w.image, "a", &error));
  ASSERT_OK (vp_image_snapshot_create (w.image, "c", &error));
  judge (&w);
  world_clear (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_qcow2 ("/snapshot/random", test_random);
  case_add_qcow2 ("/snapshot/failed", test_failed);
  case_add_qcow2 ("/snapshot/names", test_names);
  case_add_all ("/snapshot/refused", test_refused);
  g_test_add_func ("/snapshot/limit", test_limit);
  return g_test_run ();
}
