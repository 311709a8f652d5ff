/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow: one fault after the other is put into a sound image; the check finds
 * it, writing is refused, the repair mends what can be mended and harms no
 * byte, also when it is cut.  And: free places are used again, growth brings
 * nothing old to light, a new backing file's name is old or new after a cut. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/rebase.h"
#include "tests/storage/engine-cases.h"

#define CLUSTER  UINT64_C (4096)
#define SIZE     (UINT64_C (5) << 20) /* three L2 tables */
#define CLUSTERS (SIZE / CLUSTER)

typedef struct {
  FakeGate gate;
  VpFile *file;
  uint8_t *bytes; /* what the guest reads */
  uint64_t l1;
} World;

static uint64_t
get (World *w, uint64_t offset)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (w->file, &size);
  g_assert_cmpuint (offset + 8, <=, size);
  return vp_be64_get (bytes + offset);
}

static void
put (World *w, uint64_t offset, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (w->file, offset, bytes, sizeof bytes);
}

static uint64_t
file_size (VpFile *file)
{
  uint64_t size;
  (void) fake_file_bytes (file, &size);
  return size;
}

/* Where the entry of a cluster stands. */
static uint64_t
entry_at (World *w, uint64_t cluster)
{
  return get (w, w->l1 + 8 * (cluster / 512)) + 8 * (cluster % 512);
}

static VpImage *
open_image (World *w, VpImageFlags flags)
{
  return case_open (case_find ("qcow"), &w->gate, w->file, flags);
}

static void
set_up (World *w)
{
  Random random = { test_seed () };
  fake_gate_init (&w->gate);
  w->file =
      case_create (case_find ("qcow"), &w->gate, "disk", SIZE, NULL, NULL);
  w->l1 = 48;
  w->bytes = g_malloc (SIZE);
  random_fill (&random, w->bytes, SIZE);
  memset (w->bytes + 100 * CLUSTER, 'a', 100 * CLUSTER);
  VpImage *image = open_image (w, VP_IMAGE_WRITABLE);
  uint64_t from = 100 * CLUSTER, to = 108 * CLUSTER;
  ASSERT_OK (vp_image_write_compressed (image, from, w->bytes + from, to - from,
                                        &error));
  ASSERT_OK (vp_image_write (image, 0, w->bytes, from, &error));
  ASSERT_OK (vp_image_write (image, to, w->bytes + to, SIZE - to, &error));
  ASSERT_OK (vp_image_close (image, &error));
}

static void
tear_down (World *w)
{
  vp_file_unref (w->file);
  g_free (w->bytes);
  fake_gate_clear (&w->gate);
}

static void
check (VpFile *file, VpRepair repair, VpCheckResult *result)
{
  g_autoptr (GError) failure = NULL;
  VpImageFlags flags = VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "qcow", flags, NULL, &failure);
  g_assert_no_error (failure);
  ASSERT_OK (vp_check_image (image, repair, NULL, result, &error));
}

/* Clusters that cannot be read are all ones. */
static void
read_all (VpFile *file, uint8_t *bytes)
{
  g_autoptr (VpImage) image = vp_image_open_file (file, "qcow", 0, NULL, NULL);
  g_assert_nonnull (image);
  for (uint64_t at = 0; at < SIZE; at += CLUSTER)
    if (!vp_image_read (image, at, bytes + at, CLUSTER, NULL))
      memset (bytes + at, 0xff, CLUSTER);
}

/* ---- faults ------------------------------------------------------------- */

static void
data_twice (World *w)
{
  put (w, entry_at (w, 3), get (w, entry_at (w, 700)));
}

static void
data_misaligned (World *w)
{
  put (w, entry_at (w, 3), get (w, entry_at (w, 3)) + 512);
}

static void
data_is_l1 (World *w)
{
  put (w, entry_at (w, 3), 512);
}

static void
data_is_l2 (World *w)
{
  put (w, entry_at (w, 3), get (w, w->l1 + 8));
}

static void
data_past_end (World *w)
{
  put (w, entry_at (w, 3), file_size (w->file) + 10 * CLUSTER);
}

static void
data_cut_off (World *w)
{
  uint64_t last = get (w, entry_at (w, CLUSTERS - 1));
  g_autoptr (GError) error = NULL;
  bool ok = vp_file_truncate (w->file, last - 5 * CLUSTER, &error);
  g_assert_true (ok);
}

static void
packed_on_data (World *w)
{
  uint64_t raw = get (w, entry_at (w, 102));
  put (w, entry_at (w, 102),
       (raw & ~(UINT64_C (0x3ffffff))) | get (w, entry_at (w, 700)));
}

static void
data_odd (World *w)
{
  put (w, entry_at (w, 3), get (w, entry_at (w, 3)) + 8);
}

static void
packed_past_end (World *w)
{
  put (w, entry_at (w, 102), get (w, entry_at (w, 102)) + (UINT64_C (1) << 40));
}

static void
packed_empty (World *w)
{
  put (w, entry_at (w, 102), UINT64_C (1) << 63 | CLUSTER);
}

static void
l2_twice (World *w)
{
  put (w, w->l1 + 8, get (w, w->l1));
}

static void
l2_past_end (World *w)
{
  put (w, w->l1 + 8, UINT64_C (1) << 40);
}

static void
l2_odd (World *w)
{
  put (w, w->l1 + 8, get (w, w->l1 + 8) + 8);
}

static void
l2_is_header (World *w)
{
  put (w, w->l1 + 8, 0x200);
}

typedef struct {
  const char *name;
  void (*make) (World *w);
  bool stays; /* cannot be mended without a loss */
} Fault;

static const Fault faults[] = {
  { "data-twice", data_twice, false },
  { "data-misaligned", data_misaligned, false },
  { "data-is-l1", data_is_l1, false },
  { "data-is-l2", data_is_l2, false },
  { "data-past-end", data_past_end, false },
  { "data-cut-off", data_cut_off, false },
  { "packed-on-data", packed_on_data, false },
  { "data-odd", data_odd, true },
  { "packed-past-end", packed_past_end, true },
  { "packed-empty", packed_empty, true },
  { "l2-twice", l2_twice, true },
  { "l2-past-end", l2_past_end, true },
  { "l2-odd", l2_odd, true },
  { "l2-is-header", l2_is_header, true },
};

static void
expect_unharmed (const Fault *fault, VpFile *file, const uint8_t *before)
{
  g_autofree uint8_t *after = g_malloc (SIZE);
  read_all (file, after);
  for (uint64_t at = 0; at < SIZE; at += CLUSTER)
    if (memcmp (before + at, after + at, CLUSTER) != 0)
      g_error ("%s: the cluster at 0x%" G_GINT64_MODIFIER "x reads otherwise",
               fault->name, at);
}

static void
expect_sound (const Fault *fault, VpFile *file)
{
  g_auto (VpCheckResult) result = { 0 };
  check (file, VP_REPAIR_NOTHING, &result);
  g_assert_true ((result.corruptions > 0) == fault->stays);
  if (fault->stays)
    return;
  g_assert_cmpuint (result.leaks, ==, 0);
}

/* Each change of the repair may be the last one. */
static void
cut_repair (const Fault *fault, VpFile *start, GPtrArray *log,
            const uint8_t *before)
{
  g_autoptr (VpFile) disk = fake_file_copy (start, "disk");
  Random random = { test_seed () };
  guint step = MAX (log->len / test_rounds (4, 200), 1);
  for (guint n = 0; n < log->len; n++) {
    const FakeOp *op = g_ptr_array_index (log, n);
    if (n % step == 0) {
      g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
      g_auto (VpCheckResult) result = { 0 };
      if (op->kind == FAKE_WRITE)
        fake_op_apply_torn (op, cut, random_next (&random));
      expect_unharmed (fault, cut, before);
      check (cut, VP_REPAIR_ALL, &result);
      expect_sound (fault, cut);
      expect_unharmed (fault, cut, before);
    }
    fake_op_apply (op, disk);
  }
}

static void
test_fault (gconstpointer data)
{
  const Fault *fault = data;
  g_autofree uint8_t *before = g_malloc (SIZE);
  g_auto (VpCheckResult) found = { 0 }, mended = { 0 };
  g_autoptr (GError) refusal = NULL;
  World w;
  set_up (&w);
  fault->make (&w);
  read_all (w.file, before);
  check (w.file, VP_REPAIR_NOTHING, &found);
  g_assert_cmpuint (found.corruptions, >, 0);
  VpImage *image = open_image (&w, VP_IMAGE_WRITABLE);
  g_assert_false (vp_image_write (image, 5000, "x", 1, &refusal));
  g_assert_error (refusal, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  vp_image_free (image);
  g_autoptr (VpFile) start = fake_file_copy (w.file, "disk");
  GPtrArray *log = fake_file_record (w.file);
  check (w.file, VP_REPAIR_ALL, &mended);
  g_assert_true ((mended.corruptions_fixed == 0) == fault->stays);
  expect_sound (fault, w.file);
  expect_unharmed (fault, w.file, before);
  cut_repair (fault, start, log, before);
  if (!fault->stays) {
    image = open_image (&w, VP_IMAGE_WRITABLE);
    ASSERT_OK (vp_image_write (image, 5000, "x", 1, &error));
    ASSERT_OK (vp_image_close (image, &error));
    case_check (case_find ("qcow"), w.file, 0);
  }
  tear_down (&w);
}

/* ---- space -------------------------------------------------------------- */

/* A long life does not make the file longer and longer. */
static void
test_reuse (void)
{
  World w;
  set_up (&w);
  VpImage *image = open_image (&w, VP_IMAGE_WRITABLE);
  uint64_t before = file_size (w.file), length = 300 * CLUSTER;
  for (unsigned i = 0; i < 20; i++) {
    ASSERT_OK (vp_image_zero (image, i * CLUSTER, length, true, &error));
    ASSERT_OK (vp_image_flush (image, &error));
    ASSERT_OK (vp_image_write (image, 700 * CLUSTER, w.bytes, CLUSTER, &error));
    ASSERT_OK (vp_image_write (image, i * CLUSTER, w.bytes, length, &error));
  }
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmpuint (file_size (w.file), <=, before + 8 * CLUSTER);
  /* Nor does one that is closed and opened again. */
  for (unsigned i = 0; i < 5; i++) {
    image = open_image (&w, VP_IMAGE_WRITABLE);
    ASSERT_OK (vp_image_discard (image, 0, length, &error));
    ASSERT_OK (vp_image_close (image, &error));
    image = open_image (&w, VP_IMAGE_WRITABLE);
    ASSERT_OK (vp_image_write (image, 0, w.bytes, length, &error));
    ASSERT_OK (vp_image_close (image, &error));
  }
  g_assert_cmpuint (file_size (w.file), <=, before + 8 * CLUSTER);
  case_check (case_find ("qcow"), w.file, 0);
  tear_down (&w);
}

/* Before a flush nothing that was freed is used again. */
static void
test_quarantine (void)
{
  World w;
  set_up (&w);
  uint64_t place = get (&w, entry_at (&w, 99));
  VpImage *image = open_image (&w, VP_IMAGE_WRITABLE);
  VpExtent extent;
  ASSERT_OK (vp_image_zero (image, 0, SIZE / 2, true, &error));
  ASSERT_OK (vp_image_write (image, 0, w.bytes, 9 * CLUSTER, &error));
  ASSERT_OK (vp_image_map (image, 0, CLUSTER, &extent, &error));
  g_assert_cmpuint (extent.offset, >, place);
  ASSERT_OK (vp_image_flush (image, &error));
  ASSERT_OK (vp_image_write (image, 20 * CLUSTER, w.bytes, CLUSTER, &error));
  ASSERT_OK (vp_image_map (image, 20 * CLUSTER, CLUSTER, &extent, &error));
  g_assert_cmpuint (extent.offset, <=, place);
  ASSERT_OK (vp_image_close (image, &error));
  tear_down (&w);
}

/* ---- sizes -------------------------------------------------------------- */

/* What an entry behind the disk's end names never comes to light. */
static void
test_grow_over_stale (void)
{
  uint8_t byte = 1;
  World w;
  set_up (&w);
  g_assert_cmpuint (get (&w, entry_at (&w, CLUSTERS + 3)), ==, 0);
  put (&w, entry_at (&w, CLUSTERS + 3), get (&w, entry_at (&w, CLUSTERS - 1)));
  put (&w, entry_at (&w, CLUSTERS - 1), 0);
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (VpFile) other = fake_file_copy (w.file, "disk");
  check (other, VP_REPAIR_NOTHING, &result);
  g_assert_cmpuint (result.corruptions, ==, 0);
  case_repair (case_find ("qcow"), other);
  VpImage *image = open_image (&w, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, &byte, 1, &error));
  ASSERT_OK (vp_image_resize (image, SIZE + 64 * CLUSTER, VP_PREALLOCATION_OFF,
                              &error));
  byte = 1;
  ASSERT_OK (vp_image_read (image, SIZE + 3 * CLUSTER, &byte, 1, &error));
  g_assert_cmpuint (byte, ==, 0);
  ASSERT_OK (vp_image_close (image, &error));
  case_check (case_find ("qcow"), w.file, 0);
  tear_down (&w);
}

static uint64_t
size_of (VpFile *file)
{
  g_autoptr (VpImage) image =
      vp_image_open_file (file, "qcow", VP_IMAGE_NO_BACKING, NULL, NULL);
  g_assert_nonnull (image);
  return vp_image_get_size (image);
}

/* After each change of the file: one size or the other, sound, and with all
 * bytes that both have. */
static void
cut_resize (World *w, uint64_t size)
{
  g_autoptr (VpFile) disk = fake_file_copy (w->file, "disk");
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  uint64_t old_size = size_of (disk), kept = MIN (MIN (size, old_size), SIZE);
  Random random = { test_seed () };
  GPtrArray *log = fake_file_record (w->file);
  VpImage *image = open_image (w, VP_IMAGE_WRITABLE);
  if (size < old_size)
    ASSERT_OK (vp_image_shrink (image, size, &error));
  else
    ASSERT_OK (vp_image_resize (image, size, VP_PREALLOCATION_OFF, &error));
  ASSERT_OK (vp_image_close (image, &error));
  guint step = MAX (log->len / test_rounds (8, 10000), 1);
  for (guint n = 0; n < log->len; n++) {
    const FakeOp *op = g_ptr_array_index (log, n);
    /* The last few switch sizes. */
    if (n % step != 0 && n + 6 < log->len) {
      fake_op_apply (op, disk);
      continue;
    }
    g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
    if (op->kind == FAKE_WRITE)
      fake_op_apply_torn (op, cut, random_next (&random));
    uint64_t found = size_of (cut);
    g_assert_true (found == old_size || found == size);
    g_autoptr (VpImage) left = vp_image_open_file (cut, "qcow", 0, NULL, NULL);
    ASSERT_OK (vp_image_read (left, 0, bytes, kept, &error));
    g_assert_true (memcmp (bytes, w->bytes, kept) == 0);
    case_check (case_find ("qcow"), cut, UINT64_MAX);
    case_repair (case_find ("qcow"), cut);
    fake_op_apply (op, disk);
  }
  g_assert_cmpuint (size_of (w->file), ==, size);
}

static void
test_resize_cuts (void)
{
  World w;
  set_up (&w);
  cut_resize (&w, SIZE + (UINT64_C (1) << 32)); /* a longer L1 */
  case_check (case_find ("qcow"), w.file, 0);
  cut_resize (&w, SIZE + CLUSTER);
  cut_resize (&w, SIZE - 700 * CLUSTER - 512);
  case_check (case_find ("qcow"), w.file, 0);
  tear_down (&w);
}

/* ---- the name ----------------------------------------------------------- */

static void
test_name_cuts (void)
{
  static const char *const names[] = { "base", "a-much-longer-name", NULL,
                                       "base" };
  World w;
  set_up (&w);
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (VpFile) disk = fake_file_copy (w.file, "disk");
    GPtrArray *log = fake_file_record (w.file);
    guint done = log->len;
    VpImage *image = open_image (&w, VP_IMAGE_WRITABLE | VP_IMAGE_NO_BACKING);
    ASSERT_OK (vp_image_set_backing (image, names[i], names[i] ? "raw" : NULL,
                                     &error));
    ASSERT_OK (vp_image_close (image, &error));
    for (guint n = done; n < log->len; n++) {
      const FakeOp *op = g_ptr_array_index (log, n);
      g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
      if (op->kind == FAKE_WRITE)
        fake_op_apply_torn (op, cut, 0x5555);
      g_autoptr (VpImage) left =
          vp_image_open_file (cut, "qcow", VP_IMAGE_NO_BACKING, NULL, NULL);
      g_auto (VpImageInfo) info = { 0 };
      ASSERT_OK (vp_image_get_info (left, &info, &error));
      g_assert_true (g_strcmp0 (info.backing_name, names[i]) == 0 ||
                     g_strcmp0 (info.backing_name, i ? names[i - 1] : NULL) ==
                         0);
      case_check (case_find ("qcow"), cut, UINT64_MAX);
      fake_op_apply (op, disk);
    }
    case_check (case_find ("qcow"), w.file, 0);
  }
  tear_down (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (faults); i++) {
    g_autofree char *path = g_strdup_printf ("/qcow/fault/%s", faults[i].name);
    g_test_add_data_func (path, &faults[i], test_fault);
  }
  g_test_add_func ("/qcow/reuse", test_reuse);
  g_test_add_func ("/qcow/quarantine", test_quarantine);
  g_test_add_func ("/qcow/grow-over-stale", test_grow_over_stale);
  g_test_add_func ("/qcow/resize-cuts", test_resize_cuts);
  g_test_add_func ("/qcow/name-cuts", test_name_cuts);
  return g_test_run ();
}
