/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One fault after the other is put into a sound image.  The check finds what
 * qemu-img finds, number for number; the repair mends it, harms no byte, and
 * qemu-img agrees; a power cut during the repair leaves something that can be
 * repaired again. */
#include "config.h"

#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "storage/error.h"
#include "storage/snapshot.h"
#include "tests/storage/engine-cases.h"

#define SIZE       (UINT64_C (512) << 10)
#define UNREADABLE 0xee

/* ---- an image and its tables -------------------------------------------- */

typedef struct {
  const EngineCase *c;
  const char *fault;
  Random random;
  VpFile *file;
  uint64_t cluster, reftable, l1, refblock, l2; /* bytes, offsets in file */
  unsigned order;
  size_t width;    /* of an L2 entry */
  uint64_t n_l2;   /* entries of the first L2 table that are in use */
  uint64_t size;   /* of file */
  uint8_t *before; /* what the guest sees in the faulty image */
} World;

static const uint8_t *
bytes_of (World *w)
{
  uint64_t size;
  return fake_file_bytes (w->file, &size);
}

static uint64_t
get (World *w, uint64_t offset, unsigned len)
{
  const uint8_t *bytes = bytes_of (w) + offset;
  return len == 4 ? vp_be32_get (bytes) : vp_be64_get (bytes);
}

static void
put (World *w, uint64_t offset, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (w->file, offset, bytes, sizeof bytes);
}

static void
learn (World *w)
{
  w->cluster = UINT64_C (1) << get (w, 20, 4);
  w->l1 = get (w, 40, 8);
  w->reftable = get (w, 48, 8);
  w->order = get (w, 4, 4) == 2 ? 4 : (unsigned) get (w, 96, 4);
  w->refblock = get (w, w->reftable, 8);
  w->l2 = get (w, w->l1, 8) & UINT64_C (0x00fffffffffffe00);
  w->width = get (w, 4, 4) == 3 && get (w, 72, 8) & 16 ? 16 : 8;
  w->n_l2 = CLAMP (SIZE / w->cluster, 1, w->cluster / w->width);
  (void) fake_file_bytes (w->file, &w->size);
}

static void
set_up (World *w, const EngineCase *c)
{
  FakeGate gate;
  memset (w, 0, sizeof *w);
  w->c = c;
  w->random.state = test_seed ();
  w->before = g_malloc0 (SIZE);
  fake_gate_init (&gate);
  w->file = case_create (c, &gate, "disk", SIZE, NULL, NULL);
  VpImage *image = case_open (c, &gate, w->file, VP_IMAGE_WRITABLE);
  random_fill (&w->random, w->before, SIZE);
  memset (w->before + SIZE / 4, 'a', SIZE / 8);
  ASSERT_OK (vp_image_write (image, 0, w->before, SIZE, &error));
  uint64_t unit = vp_image_get_cluster_size (image);
  if (unit <= SIZE / 8)
    ASSERT_OK (vp_image_write_compressed (image, SIZE / 4, w->before + SIZE / 4,
                                          unit, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_clear (&gate);
  learn (w);
}

static void
tear_down (World *w)
{
  vp_file_unref (w->file);
  g_free (w->before);
}

/* ---- faults ------------------------------------------------------------- */

static uint64_t
entry_at (World *w, uint64_t n)
{
  return w->l2 + n * w->width;
}

/* A data cluster that is not packed. */
static uint64_t
pick_data (World *w)
{
  uint64_t plain = MIN (w->n_l2, SIZE / 4 / w->cluster);
  return random_below (&w->random, MAX (plain, 1));
}

static void
set_refcount (World *w, uint64_t cluster, uint64_t value)
{
  uint64_t bits = UINT64_C (1) << w->order;
  uint64_t at = w->refblock + (cluster * bits >> 3);
  uint8_t bytes[8];
  if (bits < 8) {
    unsigned shift = (unsigned) (cluster * bits % 8);
    unsigned mask = ((1u << bits) - 1) << shift;
    uint8_t byte = bytes_of (w)[at];
    byte = (uint8_t) ((byte & ~mask) | ((unsigned) value << shift & mask));
    fake_file_poke (w->file, at, &byte, 1);
    return;
  }
  vp_be64_set (bytes, value);
  fake_file_poke (w->file, at, bytes + 8 - bits / 8, bits / 8);
}

static uint64_t
data_offset (World *w)
{
  return get (w, entry_at (w, pick_data (w)), 8) &
         UINT64_C (0x00fffffffffffe00);
}

static bool
leak (World *w)
{
  uint8_t zero = 0;
  uint64_t cluster = w->size / w->cluster;
  if (cluster * w->cluster != w->size ||
      cluster >= (w->cluster * 8) >> w->order)
    return false;
  fake_file_poke (w->file, w->size + w->cluster - 1, &zero, 1);
  set_refcount (w, cluster, 1);
  return true;
}

static bool
is_near (World *w, uint64_t offset)
{
  return offset / w->cluster < (w->cluster * 8) >> w->order;
}

static bool
refcount_of (World *w, uint64_t value)
{
  uint64_t offset = data_offset (w);
  if (!is_near (w, offset))
    return false;
  set_refcount (w, offset / w->cluster, value);
  return true;
}

static bool
refcount_low (World *w)
{
  return refcount_of (w, 0);
}

static bool
refcount_high (World *w)
{
  return w->order > 0 && refcount_of (w, 2);
}

static bool
refcount_very_high (World *w)
{
  return w->order >= 4 && refcount_of (w, 40000);
}

static bool
block_of_noise (World *w)
{
  g_autofree uint8_t *noise = g_malloc (w->cluster);
  random_fill (&w->random, noise, w->cluster);
  fake_file_poke (w->file, w->refblock, noise, w->cluster);
  return true;
}

static bool
block_of_zeros (World *w)
{
  g_autofree uint8_t *zeros = g_malloc0 (w->cluster);
  fake_file_poke (w->file, w->refblock, zeros, w->cluster);
  return true;
}

static bool
block_missing (World *w)
{
  put (w, w->reftable, 0);
  return true;
}

static bool
block_reserved (World *w)
{
  put (w, w->reftable, w->refblock | 1);
  return true;
}

static bool
block_misaligned (World *w)
{
  put (w, w->reftable, w->refblock + 512);
  return w->cluster > 512;
}

static bool
block_is_data (World *w)
{
  put (w, w->reftable, data_offset (w));
  return true;
}

static bool
block_is_l2 (World *w)
{
  put (w, w->reftable, w->l2);
  return true;
}

static bool
block_outside (World *w)
{
  put (w, w->reftable, (w->size / w->cluster + 2) * w->cluster);
  return true;
}

static bool
flip (World *w, uint64_t at, uint64_t bits)
{
  put (w, at, get (w, at, 8) ^ bits);
  return true;
}

static bool
copied_of_data (World *w)
{
  return flip (w, entry_at (w, pick_data (w)), UINT64_C (1) << 63);
}

static bool
copied_of_l2 (World *w)
{
  return flip (w, w->l1, UINT64_C (1) << 63);
}

static bool
copied_of_packed (World *w)
{
  uint64_t n = SIZE / 4 / w->cluster;
  if (n >= w->n_l2 || !(get (w, entry_at (w, n), 8) >> 62 & 1))
    return false;
  return flip (w, entry_at (w, n), UINT64_C (1) << 63);
}

static bool
reserved_of_data (World *w)
{
  return flip (w, entry_at (w, pick_data (w)), UINT64_C (1) << 57);
}

static bool
reserved_of_l2 (World *w)
{
  return flip (w, w->l1, UINT64_C (1) << 60);
}

static bool
twice_the_same (World *w)
{
  uint64_t from = pick_data (w), to = pick_data (w);
  put (w, entry_at (w, to), get (w, entry_at (w, from), 8));
  return from != to && w->order > 0;
}

static bool
data_is_l1 (World *w)
{
  put (w, entry_at (w, pick_data (w)), w->l1 | UINT64_C (1) << 63);
  return w->order > 0;
}

static bool
data_past_end (World *w)
{
  put (w, entry_at (w, pick_data (w)),
       (w->size / w->cluster + 3) * w->cluster | UINT64_C (1) << 63);
  return true;
}

static bool
data_far_away (World *w)
{
  put (w, entry_at (w, pick_data (w)),
       UINT64_C (0x8000000000000000) | UINT64_C (1) << 50);
  return true;
}

static bool
data_misaligned (World *w)
{
  return w->cluster > 512 && flip (w, entry_at (w, pick_data (w)), 512);
}

static bool
zero_misaligned (World *w)
{
  return w->cluster > 512 && get (w, 4, 4) == 3 && w->width == 8 &&
         flip (w, entry_at (w, pick_data (w)), 512 | 1);
}

static bool
l2_past_end (World *w)
{
  put (w, w->l1, (w->size / w->cluster + 2) * w->cluster | UINT64_C (1) << 63);
  return true;
}

static bool
l2_misaligned (World *w)
{
  return w->cluster > 512 && flip (w, w->l1, 512);
}

static bool
both_in_bitmap (World *w)
{
  return w->width == 16 &&
         flip (w, entry_at (w, pick_data (w)) + 8, UINT64_C (1) << 35);
}

static bool
packed_past_end (World *w)
{
  uint64_t n = SIZE / 4 / w->cluster;
  if (n >= w->n_l2 || !(get (w, entry_at (w, n), 8) >> 62 & 1))
    return false;
  return flip (w, entry_at (w, n), UINT64_C (1) << 40);
}

static bool
dirty (World *w)
{
  return get (w, 4, 4) == 3 && flip (w, 72, 1) && refcount_low (w);
}

static bool
corrupt (World *w)
{
  return get (w, 4, 4) == 3 && flip (w, 72, 2);
}

typedef struct {
  const char *name;
  bool (*make) (World *w); /* false: does not go with this image */
  bool stays;              /* cannot be mended without loss */
  bool ours;               /* qemu-img sees it otherwise, or mends less */
} Fault;

static const Fault faults[] = {
  { "leak", leak, false, false },
  { "refcount-low", refcount_low, false, false },
  { "refcount-high", refcount_high, false, false },
  { "refcount-very-high", refcount_very_high, false, false },
  { "block-of-noise", block_of_noise, false, false },
  { "block-of-zeros", block_of_zeros, false, false },
  { "block-missing", block_missing, false, false },
  { "block-reserved", block_reserved, false, false },
  { "block-misaligned", block_misaligned, false, true },
  { "block-is-data", block_is_data, false, false },
  { "block-is-l2", block_is_l2, false, false },
  { "block-outside", block_outside, false, false },
  { "copied-of-data", copied_of_data, false, false },
  { "copied-of-l2", copied_of_l2, false, false },
  { "copied-of-packed", copied_of_packed, false, true },
  { "reserved-of-data", reserved_of_data, false, false },
  { "reserved-of-l2", reserved_of_l2, false, false },
  { "twice-the-same", twice_the_same, false, false },
  { "data-is-l1", data_is_l1, false, false },
  { "data-past-end", data_past_end, true, false },
  { "data-far-away", data_far_away, true, false },
  { "data-misaligned", data_misaligned, true, false },
  { "zero-misaligned", zero_misaligned, false, false },
  { "l2-past-end", l2_past_end, true, false },
  { "l2-misaligned", l2_misaligned, true, true },
  { "both-in-bitmap", both_in_bitmap, true, false },
  { "packed-past-end", packed_past_end, true, false },
  { "dirty", dirty, false, false },
  { "corrupt", corrupt, false, false },
};

/* ---- judging ------------------------------------------------------------ */

static void
check (VpFile *file, VpRepair repair, VpCheckResult *result)
{
  g_autoptr (GError) open_error = NULL;
  VpImageFlags flags = VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  VpImage *image = vp_image_open_file (file, "qcow2", flags, NULL, &open_error);
  g_assert_no_error (open_error);
  ASSERT_OK (vp_check_image (image, repair, NULL, result, &error));
  ASSERT_OK (vp_image_close (image, &error));
}

/* Clusters that cannot be read count as such. */
static void
read_all (World *w, VpFile *file, uint8_t *bytes)
{
  g_autoptr (VpImage) image = vp_image_open_file (file, "qcow2", 0, NULL, NULL);
  g_assert_nonnull (image);
  for (uint64_t at = 0; at < SIZE; at += w->cluster) {
    size_t len = (size_t) MIN (w->cluster, SIZE - at);
    if (!vp_image_read (image, at, bytes + at, len, NULL))
      memset (bytes + at, UNREADABLE, len);
  }
}

static void
assert_unharmed (World *w, VpFile *file, const char *what)
{
  g_autofree uint8_t *found = g_malloc (SIZE);
  read_all (w, file, found);
  for (uint64_t at = 0; at < SIZE; at += MIN (w->cluster, SIZE)) {
    const uint8_t *old = w->before + at;
    bool unreadable = old[0] == UNREADABLE && memcmp (old, old + 1, 500) == 0;
    if (unreadable || memcmp (found + at, old, MIN (w->cluster, SIZE)) == 0)
      continue;
    g_error ("%s: %s: %s harmed the guest's bytes", w->c->name, w->fault, what);
  }
}

static void
say (const VpCheckResult *result, const char *fault)
{
  for (guint i = 0; i < MIN (result->messages->len, 6); i++)
    g_test_message ("%s: %s", fault,
                    (char *) g_ptr_array_index (result->messages, i));
}

static void
assert_mended (World *w, const Fault *fault, VpFile *file, const char *what)
{
  g_auto (VpCheckResult) result = { 0 };
  check (file, VP_REPAIR_NOTHING, &result);
  if ((result.corruptions || result.check_errors || result.leaks) &&
      !fault->stays) {
    say (&result, fault->name);
    g_error ("%s: %s after %s: %" PRIu64 " corruptions, %" PRIu64 " leaks",
             w->c->name, fault->name, what, result.corruptions, result.leaks);
  }
  assert_unharmed (w, file, what);
}

static char *
judge (World *w, VpFile *file, int *ret_status)
{
  g_autofree char *folder = g_dir_make_tmp ("vprov-check-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "disk", NULL);
  g_autoptr (GError) error = NULL;
  uint64_t size;
  const char *bytes = (const char *) fake_file_bytes (file, &size);
  char *out = NULL;
  const char *argv[] = {
    "timeout", "60",    "qemu-img", "check", "--output=json",
    "-f",      "qcow2", path,       NULL
  };
  (void) w;
  g_assert_true (g_file_set_contents (path, bytes, (gssize) size, NULL));
  g_spawn_sync (NULL, (char **) argv, NULL,
                G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                &out, NULL, ret_status, &error);
  g_assert_no_error (error);
  (void) g_unlink (path);
  (void) g_rmdir (folder);
  *ret_status = WEXITSTATUS (*ret_status);
  return out;
}

static uint64_t
number_of (const char *json, const char *key)
{
  g_autofree char *label = g_strdup_printf ("\"%s\":", key);
  const char *at = strstr (json, label);
  return at ? g_ascii_strtoull (at + strlen (label), NULL, 10) : 0;
}

static void
compare_with_judge (World *w, const Fault *fault, const VpCheckResult *ours)
{
  int status;
  g_autofree char *json = judge (w, w->file, &status);
  struct {
    const char *key;
    uint64_t ours;
  } rows[] = {
    { "corruptions", ours->corruptions },
    { "leaks", ours->leaks },
    { "check-errors", ours->check_errors },
    { "total-clusters", ours->total_clusters },
    { "allocated-clusters", ours->allocated_clusters },
    { "fragmented-clusters", ours->fragmented_clusters },
    { "compressed-clusters", ours->compressed_clusters },
    { "image-end-offset", ours->image_end_offset },
  };
  /* A COPIED flag that a leak explains is no fault of its own for us. */
  size_t first = ours->leaks > 0 && ours->corruptions == 0 ? 1 : 0;
  for (size_t i = first; i < G_N_ELEMENTS (rows) && !fault->ours; i++)
    if (number_of (json, rows[i].key) != rows[i].ours) {
      say (ours, fault->name);
      g_error ("%s: %s: they count %" PRIu64 " %s, we %" PRIu64, w->c->name,
               fault->name, number_of (json, rows[i].key), rows[i].key,
               rows[i].ours);
    }
}

static bool
has_judge (void)
{
  g_autofree char *path = g_find_program_in_path ("qemu-img");
  return path != NULL;
}

/* Each change of the repair may be the last one. */
static unsigned
cut_repair (World *w, const Fault *fault, VpFile *start, GPtrArray *log)
{
  g_autoptr (VpFile) disk = fake_file_copy (start, "disk");
  unsigned states = 0, step = test_rounds (MAX (log->len / 2, 1), 1);
  for (guint n = 0; n < log->len; n++) {
    if (random_below (&w->random, step) != 0) {
      fake_op_apply (g_ptr_array_index (log, n), disk);
      continue;
    }
    g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
    const FakeOp *op = g_ptr_array_index (log, n);
    g_auto (VpCheckResult) result = { 0 };
    if (op->kind == FAKE_WRITE && random_below (&w->random, 2))
      fake_op_apply_torn (op, cut, random_next (&w->random));
    assert_unharmed (w, cut, "a cut in the repair");
    check (cut, VP_REPAIR_ALL, &result);
    assert_mended (w, fault, cut, "a cut and a second repair");
    fake_op_apply (op, disk);
    states++;
  }
  return states;
}

static unsigned
run_fault (const EngineCase *c, const Fault *fault, bool judged)
{
  World w;
  g_auto (VpCheckResult) found = { 0 }, mended = { 0 };
  unsigned states = 0;
  set_up (&w, c);
  w.fault = fault->name;
  if (fault->make (&w)) {
    read_all (&w, w.file, w.before);
    check (w.file, VP_REPAIR_NOTHING, &found);
    bool marked = fault->make == corrupt;
    if (!marked && !found.corruptions && !found.leaks && !found.check_errors)
      g_error ("%s: %s was not found", c->name, fault->name);
    if (judged)
      compare_with_judge (&w, fault, &found);
    g_autoptr (VpFile) start = fake_file_copy (w.file, "disk");
    GPtrArray *log = fake_file_record (w.file);
    check (w.file, VP_REPAIR_ALL, &mended);
    assert_mended (&w, fault, w.file, "the repair");
    if (judged && !fault->stays) {
      int status;
      g_autofree char *json = judge (&w, w.file, &status);
      if (status != 0)
        g_error ("%s: %s: they say %d after our repair: %s", c->name,
                 fault->name, status, json);
    }
    states = cut_repair (&w, fault, start, log);
  }
  tear_down (&w);
  return states;
}

static void
test_faults (gconstpointer data)
{
  const EngineCase *c = data;
  /* A process for each fault takes its time: in make check one image has all
   * faults, the others have some each. */
  bool judged =
      has_judge () && (strcmp (c->name, "qcow2-4k") == 0 || test_rounds (0, 1));
  unsigned states = 0;
  /* Guest bytes elsewhere, or behind a key, are other tests' business. */
  if (strstr (c->options, "data_file") || strstr (c->options, "encrypt"))
    return;
  size_t step = judged ? 1 : test_rounds (5, 1);
  size_t first = (size_t) (c - engine_cases) % step;
  for (size_t i = first; i < G_N_ELEMENTS (faults); i += step)
    states += run_fault (c, &faults[i], judged);
  g_test_message ("%u cuts%s", states, judged ? ", judged by qemu-img" : "");
}

/* ---- the snapshot table ------------------------------------------------- */

/* The entry of 40 + extra + names bytes with other extra data. */
static void
set_extra (World *w, uint32_t extra_len)
{
  uint64_t at = get (w, 64, 8);
  uint32_t old_len = (uint32_t) get (w, at + 36, 4);
  uint8_t names[16], len[4];
  g_autofree uint8_t *extra = g_malloc0 (extra_len);
  memcpy (names, bytes_of (w) + at + 40 + old_len, sizeof names);
  memcpy (extra, bytes_of (w) + at + 40, MIN (old_len, extra_len));
  vp_be32_set (len, extra_len);
  fake_file_poke (w->file, at + 36, len, sizeof len);
  fake_file_poke (w->file, at + 40, extra, extra_len);
  fake_file_poke (w->file, at + 40 + extra_len, names, sizeof names);
}

static void
run_snapshot_fault (uint32_t extra_len)
{
  const Fault fault = { "snapshot-table", NULL, false, false };
  g_auto (VpCheckResult) mended = { 0 };
  World w;
  set_up (&w, case_find ("qcow2"));
  VpImage *image =
      vp_image_open_file (w.file, "qcow2", VP_IMAGE_WRITABLE, NULL, NULL);
  g_assert_nonnull (image);
  ASSERT_OK (vp_image_snapshot_create (image, "first", &error));
  ASSERT_OK (vp_image_close (image, &error));
  w.fault = fault.name;
  set_extra (&w, extra_len);
  check (w.file, VP_REPAIR_ALL, &mended);
  g_assert_cmpuint (mended.corruptions, ==, 0);
  g_assert_cmpuint (mended.corruptions_fixed, ==, 1);
  assert_mended (&w, &fault, w.file, "the repair");
  g_autoptr (VpImage) again =
      vp_image_open_file (w.file, "qcow2", 0, NULL, NULL);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (again, &info, &error));
  const VpSnapshot *found = g_ptr_array_index (info.snapshots, 0);
  g_assert_cmpstr (found->name, ==, "first");
  g_assert_cmpuint (found->disk_size, ==, SIZE);
  tear_down (&w);
}

static void
test_snapshot_table (void)
{
  run_snapshot_fault (8);
  run_snapshot_fault (3000);
}

/* Two L1 entries that lead to one L2 table: mended, each has its own as soon
 * as it is written to. */
static void
test_shared_l2 (void)
{
  g_auto (VpCheckResult) mended = { 0 };
  const Fault fault = { "shared-l2", NULL, false, false };
  uint8_t bytes[512] = { 1 }, other[512];
  World w;
  set_up (&w, case_find ("qcow2-512"));
  w.fault = fault.name;
  g_assert_cmpuint (w.cluster, ==, 512);
  put (&w, w.l1 + 8, get (&w, w.l1, 8));
  read_all (&w, w.file, w.before);
  check (w.file, VP_REPAIR_ALL, &mended);
  assert_mended (&w, &fault, w.file, "the repair");
  VpImage *image =
      vp_image_open_file (w.file, "qcow2", VP_IMAGE_WRITABLE, NULL, NULL);
  g_assert_nonnull (image);
  ASSERT_OK (vp_image_write (image, 0, bytes, sizeof bytes, &error));
  ASSERT_OK (vp_image_read (image, 512 * 64, other, sizeof other, &error));
  g_assert_true (memcmp (other, w.before + 512 * 64, sizeof other) == 0);
  ASSERT_OK (vp_image_close (image, &error));
  /* The other entry is the only one now, and its flag does not say so. */
  g_auto (VpCheckResult) again = { 0 };
  check (w.file, VP_REPAIR_ALL, &again);
  case_check (w.c, w.file, 0);
  tear_down (&w);
}

static void
test_judge (void)
{
  if (!has_judge ())
    g_test_skip ("no qemu-img here");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_qcow2 ("/check/faults", test_faults);
  g_test_add_func ("/check/snapshot-table", test_snapshot_table);
  g_test_add_func ("/check/shared-l2", test_shared_l2);
  g_test_add_func ("/check/judge", test_judge);
  return g_test_run ();
}
