/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A sparse extent by itself: random changes against plain bytes, growth, faults
 * put into its tables; what qemu-img makes of the same, byte for byte; and the
 * kinds that nobody else here can write. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk-sparse.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define GRAIN  UINT64_C (4096)
#define SIZE   (3 * 512 * GRAIN / 2 + 512) /* two tables, the last grain cut */
#define SECTOR 512u

/* ---- an extent, and what it must hold
 * ---------------------------------------- */

typedef struct {
  VpFile *file;
  VmdkSparse *sparse;
  Random random;
  uint8_t *bytes;
  uint64_t size;
} World;

static void
open_it (World *w, VpDriverFlags flags)
{
  g_clear_pointer (&w->sparse, vmdk_sparse_close);
  ASSERT_OK (vmdk_sparse_open (w->file, flags, &w->sparse, &error));
}

static void
set_up (World *w, bool zeroed)
{
  VmdkSparseOptions options = { .capacity = SIZE,
                                .grain_size = GRAIN,
                                .zeroed_grain = zeroed };
  uint64_t text;
  *w = (World){ .file = fake_file_new ("extent"), .size = SIZE };
  w->random.state = test_seed ();
  w->bytes = g_malloc0 (SIZE);
  ASSERT_OK (vmdk_sparse_create (w->file, &options, &text, &error));
  g_assert_cmpuint (text, ==, SECTOR);
  open_it (w, VP_DRIVER_WRITABLE);
}

static void
tear_down (World *w)
{
  vmdk_sparse_close (w->sparse);
  vp_file_unref (w->file);
  g_free (w->bytes);
}

static void
read_it (World *w, uint64_t offset, uint8_t *to, uint64_t length)
{
  while (length > 0) {
    VpRun run = { 0 };
    ASSERT_OK (vmdk_sparse_map (w->sparse, offset, length, &run, &error));
    g_assert_cmpuint (run.length, >, 0);
    g_assert_cmpuint (run.length, <=, length);
    memset (to, 0, run.length);
    if (run.kind == VP_RUN_DATA)
      ASSERT_OK (vp_file_read (run.file, run.offset, to, run.length, &error));
    offset += run.length;
    to += run.length;
    length -= run.length;
  }
}

static void
compare (World *w)
{
  g_autofree uint8_t *found = g_malloc (w->size);
  read_it (w, 0, found, w->size);
  for (uint64_t i = 0; i < w->size; i++)
    if (found[i] != w->bytes[i])
      g_error ("byte %" G_GUINT64_FORMAT " differs", i);
}

/* What image.c does. */
static void
write_it (World *w, uint64_t offset, uint64_t length)
{
  random_fill (&w->random, w->bytes + offset, length);
  while (length > 0) {
    VpPlace place = { 0 };
    ASSERT_OK (vmdk_sparse_reserve (w->sparse, offset, length, &place, &error));
    uint64_t part = place.length - place.head - place.tail;
    g_assert_cmpuint (place.guest + place.head, ==, offset);
    g_assert_cmpuint (part, <=, length);
    g_autofree uint8_t *all = g_malloc0 (place.length);
    uint64_t know = MIN (place.length, w->size - place.guest);
    if (!place.in_place)
      read_it (w, place.guest, all, know);
    memcpy (all + place.head, w->bytes + offset, part);
    ASSERT_OK (
        vp_file_write (place.file, place.offset, all, place.length, &error));
    if (!place.in_place)
      ASSERT_OK (vmdk_sparse_link (w->sparse, &place, &error));
    offset += part;
    length -= part;
  }
}

static void
check_it (World *w, VpRepair repair, VpCheckResult *ret_result)
{
  VpDriverFlags flags = VP_DRIVER_CHECK;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_DRIVER_WRITABLE;
  *ret_result =
      (VpCheckResult){ .messages = g_ptr_array_new_with_free_func (g_free) };
  open_it (w, flags);
  ASSERT_OK (vmdk_sparse_check (w->sparse, repair, NULL, ret_result, &error));
  for (guint i = 0; i < MIN (ret_result->messages->len, 5); i++)
    g_test_message ("%s", (char *) ret_result->messages->pdata[i]);
}

static void
assert_sound (World *w)
{
  g_auto (VpCheckResult) result;
  check_it (w, VP_REPAIR_NOTHING, &result);
  g_assert_cmpuint (result.corruptions, ==, 0);
  g_assert_cmpuint (result.leaks, ==, 0);
  g_assert_cmpuint (result.check_errors, ==, 0);
}

static void
one_change (World *w)
{
  uint64_t length = 1 + random_below (&w->random, 6 * GRAIN), done;
  uint64_t offset = random_below (&w->random, w->size - length);
  uint64_t from = offset / GRAIN * GRAIN;
  uint64_t whole = (length + GRAIN - 1) / GRAIN * GRAIN;
  if (random_below (&w->random, 3)) {
    write_it (w, offset, length);
    return;
  }
  whole = MIN (whole, w->size / GRAIN * GRAIN - from);
  if (whole == 0)
    return;
  memset (w->bytes + from, 0, whole);
  if (random_below (&w->random, 2)) {
    ASSERT_OK (vmdk_sparse_discard (w->sparse, from, whole, &error));
    return;
  }
  ASSERT_OK (vmdk_sparse_zero (w->sparse, from, whole, true, &done, &error));
  g_assert_cmpuint (done, ==, whole);
}

static void
test_random (gconstpointer zeroed)
{
  World w;
  set_up (&w, zeroed != NULL);
  vmdk_sparse_set_overlay (w.sparse, zeroed != NULL);
  for (unsigned i = 0; i < test_rounds (300, 5000); i++) {
    one_change (&w);
    if (random_below (&w.random, 10) == 0)
      ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
    if (random_below (&w.random, 40) == 0) {
      ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
      compare (&w);
      assert_sound (&w);
      open_it (&w, VP_DRIVER_WRITABLE);
      vmdk_sparse_set_overlay (w.sparse, zeroed != NULL);
    }
  }
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  compare (&w);
  assert_sound (&w);
  tear_down (&w);
}

/* What was freed is taken again, in this life and in the next. */
static void
test_reuse (void)
{
  World w;
  set_up (&w, false);
  uint64_t before, after;
  write_it (&w, 0, 64 * GRAIN);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  (void) fake_file_bytes (w.file, &before);
  for (unsigned life = 0; life < 6; life++) {
    ASSERT_OK (vmdk_sparse_discard (w.sparse, 0, 64 * GRAIN, &error));
    ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
    if (life % 2 == 0)
      open_it (&w, VP_DRIVER_WRITABLE);
    write_it (&w, 0, 64 * GRAIN);
    ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  }
  compare (&w);
  (void) fake_file_bytes (w.file, &after);
  g_assert_cmpuint (after, ==, before);
  assert_sound (&w);
  tear_down (&w);
}

/* ---- growth
 * -------------------------------------------------------------------- */

static void
grow (World *w, uint64_t size)
{
  ASSERT_OK (vmdk_sparse_resize (w->sparse, size, &error));
  w->bytes = g_realloc (w->bytes, size);
  memset (w->bytes + w->size, 0, size - w->size);
  w->size = size;
  g_assert_cmpuint (vmdk_sparse_facts (w->sparse)->capacity, ==, size);
}

static void
test_growth (void)
{
  World w;
  set_up (&w, false);
  write_it (&w, 0, 20 * GRAIN);
  static const uint64_t sizes[] = { SIZE + SECTOR, 2 * 512 * GRAIN,
                                    5 * 512 * GRAIN + SECTOR, 9 * 512 * GRAIN };
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    grow (&w, sizes[i]);
    write_it (&w, w.size - 3 * GRAIN - 100, 3 * GRAIN + 100);
    ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
    compare (&w);
    assert_sound (&w);
    open_it (&w, VP_DRIVER_WRITABLE);
    compare (&w);
  }
  tear_down (&w);
}

/* ---- faults
 * --------------------------------------------------------------------- */

static uint64_t
get (World *w, uint64_t offset, unsigned len)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (w->file, &size);
  return len == 4 ? vp_le32_get (bytes + offset) : vp_le64_get (bytes + offset);
}

static void
put (World *w, uint64_t offset, uint32_t value)
{
  uint8_t bytes[4];
  vp_le32_set (bytes, value);
  fake_file_poke (w->file, offset, bytes, sizeof bytes);
}

static uint64_t
directory (World *w, bool copy)
{
  return get (w, copy ? 48 : 56, 8) * SECTOR;
}

static uint64_t
table (World *w, bool copy)
{
  return get (w, directory (w, copy), 4) * SECTOR;
}

static void
entry_far (World *w)
{
  put (w, table (w, false) + 4 * 7, 0x7fffff00);
}

static void
entry_on_table (World *w)
{
  put (w, table (w, false) + 4 * 7, (uint32_t) (table (w, false) / SECTOR));
}

static void
entry_on_header (World *w)
{
  put (w, table (w, false) + 4 * 7, 1);
}

static void
entry_double (World *w)
{
  put (w, table (w, false) + 4 * 7, (uint32_t) get (w, table (w, false), 4));
}

static void
table_far (World *w)
{
  put (w, directory (w, false), 0x7fffff00);
}

static void
copy_far (World *w)
{
  put (w, directory (w, true), 0x7fffff00);
}

static void
copy_behind (World *w)
{
  put (w, table (w, true) + 4 * 7, 0);
}

/* What only the table has is not lost for one broken entry. */
static void
entry_far_copy_behind (World *w)
{
  entry_far (w);
  put (w, table (w, true) + 4 * 9, 0);
}

static void
table_empty (World *w)
{
  static const uint8_t none[512 * 4] = { 0 };
  fake_file_poke (w->file, table (w, false), none, sizeof none);
}

static void
leak (World *w)
{
  uint64_t size;
  (void) fake_file_bytes (w->file, &size);
  fake_file_poke (w->file, size + 3 * GRAIN - 1, "x", 1);
}

static void
nothing_wrong (World *w)
{
}

static const struct {
  const char *name;
  void (*break_it) (World *w);
  uint64_t corruptions, leaks;
  bool whole; /* no byte is lost by the repair */
} faults[] = {
  { "none", nothing_wrong, 0, 0, true },
  { "entry-far", entry_far, 1, 1, true },
  { "entry-on-table", entry_on_table, 1, 1, true },
  { "entry-on-header", entry_on_header, 1, 1, true },
  { "entry-double", entry_double, 1, 1, false },
  { "table-far", table_far, 1, 0, true },
  { "copy-far", copy_far, 1, 0, true },
  { "copy-behind", copy_behind, 0, 1, true },
  { "entry-far-copy-behind", entry_far_copy_behind, 1, 1, true },
  { "table-empty", table_empty, 0, 31, true },
  { "leak", leak, 0, 1, true },
};

static void
test_fault (gconstpointer data)
{
  size_t i = GPOINTER_TO_SIZE (data);
  g_auto (VpCheckResult) found, mended;
  World w;
  set_up (&w, false);
  write_it (&w, 0, 30 * GRAIN);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  faults[i].break_it (&w);
  check_it (&w, VP_REPAIR_NOTHING, &found);
  g_assert_cmpuint (found.corruptions, ==, faults[i].corruptions);
  g_assert_cmpuint (found.leaks, ==, faults[i].leaks);
  check_it (&w, VP_REPAIR_ALL, &mended);
  g_assert_cmpuint (mended.corruptions, ==, 0);
  g_assert_cmpuint (mended.corruptions_fixed, ==, faults[i].corruptions);
  g_assert_cmpuint (mended.leaks, ==, 0);
  assert_sound (&w);
  if (!faults[i].whole)
    memcpy (w.bytes + 7 * GRAIN, w.bytes, GRAIN);
  open_it (&w, VP_DRIVER_WRITABLE);
  compare (&w);
  /* Nothing is given to two. */
  write_it (&w, 7 * GRAIN, GRAIN);
  write_it (&w, 100 * GRAIN, 20 * GRAIN);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  compare (&w);
  assert_sound (&w);
  tear_down (&w);
}

/* A grain that two entries name is written elsewhere, and never given back. */
static void
test_double (void)
{
  World w;
  set_up (&w, false);
  write_it (&w, 0, 30 * GRAIN);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  entry_double (&w);
  memcpy (w.bytes + 7 * GRAIN, w.bytes, GRAIN);
  open_it (&w, VP_DRIVER_WRITABLE);
  write_it (&w, 7 * GRAIN + 10, 100);
  compare (&w);
  ASSERT_OK (vmdk_sparse_discard (w.sparse, 0, GRAIN, &error));
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  memset (w.bytes, 0, GRAIN);
  write_it (&w, 200 * GRAIN, 60 * GRAIN);
  compare (&w);
  tear_down (&w);
}

static void
test_refused (void)
{
  World w;
  VpRun run;
  VpPlace place;
  set_up (&w, false);
  write_it (&w, 0, 30 * GRAIN);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  entry_on_table (&w);
  open_it (&w, VP_DRIVER_WRITABLE);
  g_autoptr (GError) read = NULL, write = NULL;
  g_assert_false (vmdk_sparse_map (w.sparse, 7 * GRAIN, GRAIN, &run, &read));
  g_assert_error (read, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  g_assert_false (
      vmdk_sparse_reserve (w.sparse, 7 * GRAIN, GRAIN, &place, &write));
  g_assert_error (write, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  tear_down (&w);
}

/* ---- other kinds
 * ------------------------------------------------------------------ */

/* Two tables may be missing there. */
static void
test_cowd (void)
{
  static const uint32_t fields[] = { 0x44574f43, 1, 3, 8192, 1, 4, 2, 5 };
  World w = { .file = fake_file_new ("delta"), .size = 8192 * SECTOR };
  uint8_t last[4096] = { 0 };
  w.random.state = test_seed ();
  w.bytes = g_malloc0 (w.size);
  fake_file_poke (w.file, 0, last, sizeof last);
  for (size_t i = 0; i < G_N_ELEMENTS (fields); i++)
    put (&w, 4 * i, fields[i]);
  open_it (&w, VP_DRIVER_WRITABLE);
  g_assert_true (vmdk_sparse_facts (w.sparse)->is_cowd);
  compare (&w);
  write_it (&w, 100, 5000);
  write_it (&w, w.size - 5000, 5000);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  compare (&w);
  assert_sound (&w);
  open_it (&w, VP_DRIVER_WRITABLE);
  compare (&w);
  uint64_t size;
  (void) fake_file_bytes (w.file, &size);
  g_assert_cmpuint (get (&w, 28, 4), >=, size / SECTOR);
  w.bytes = g_realloc (w.bytes, 3 * w.size);
  grow (&w, 3 * w.size);
  write_it (&w, w.size - 5000, 5000);
  ASSERT_OK (vmdk_sparse_flush (w.sparse, &error));
  compare (&w);
  assert_sound (&w);
  tear_down (&w);
}

static void
put64 (World *w, uint64_t offset, uint64_t value)
{
  put (w, offset, (uint32_t) value);
  put (w, offset + 4, (uint32_t) (value >> 32));
}

static void
test_sesparse (void)
{
  World w = { .file = fake_file_new ("se"), .size = 8 * GRAIN };
  w.random.state = test_seed ();
  w.bytes = g_malloc0 (w.size);
  static const struct {
    uint64_t offset, value;
  } numbers[] = {
    { 0, 0xcafebabe },
    { 8, UINT64_C (0x200000001) },
    { 16, 64 },
    { 24, 8 },
    { 32, 64 },
    { 128, 8 },
    { 136, 8 },
    { 144, 16 },
    { 152, 64 },
    { 192, 80 },
    { 8 * SECTOR, UINT64_C (0x1000000000000000) },
    { 16 * SECTOR, UINT64_C (0x3002000000000000) },      /* grain 2 */
    { 16 * SECTOR + 8, UINT64_C (0x2000000000000000) },  /* zero */
    { 16 * SECTOR + 24, UINT64_C (0x3001000000000000) }, /* grain 1 */
  };
  fake_file_poke (w.file, 80 * SECTOR + 4 * GRAIN - 1, "", 1);
  for (size_t i = 0; i < G_N_ELEMENTS (numbers); i++)
    put64 (&w, numbers[i].offset, numbers[i].value);
  random_fill (&w.random, w.bytes, GRAIN);
  random_fill (&w.random, w.bytes + 3 * GRAIN, GRAIN);
  fake_file_poke (w.file, 80 * SECTOR + 2 * GRAIN, w.bytes, GRAIN);
  fake_file_poke (w.file, 80 * SECTOR + GRAIN, w.bytes + 3 * GRAIN, GRAIN);
  open_it (&w, 0);
  g_assert_true (vmdk_sparse_facts (w.sparse)->is_sesparse);
  compare (&w);
  tear_down (&w);
}

/* ---- beside qemu-img
 * ---------------------------------------------------------------- */

/* But for the text, which is another's. */
static void
test_like_qemu (gconstpointer data)
{
  const char *option = data;
  g_autofree char *said = NULL, *theirs = NULL;
  gsize len;
  uint64_t size, text;
  if (judge_is_missing ())
    return;
  char *folder = judge_folder ();
  g_autofree char *path = g_build_filename (folder, "disk", NULL);
  const char *argv[] = { "qemu-img", "create", "-f", "vmdk", "-o",
                         option,     path,     "5G", NULL };
  g_assert_cmpint (judge_run (argv, &said), ==, 0);
  g_assert_true (g_file_get_contents (path, &theirs, &len, NULL));
  VmdkSparseOptions options = { .capacity = UINT64_C (5) << 30,
                                .zeroed_grain = strstr (option, "=on") };
  g_autoptr (VpFile) file = fake_file_new ("ours");
  ASSERT_OK (vmdk_sparse_create (file, &options, &text, &error));
  const uint8_t *ours = fake_file_bytes (file, &size);
  g_assert_cmpuint (size, ==, len);
  g_assert_cmpmem (ours, SECTOR, theirs, SECTOR);
  g_assert_true (memcmp (ours + 21 * SECTOR, theirs + 21 * SECTOR,
                         len - 21 * SECTOR) == 0);
  judge_remove (folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/vmdk-sparse/random", NULL, test_random);
  g_test_add_data_func ("/vmdk-sparse/random-zeroed", "zeroed", test_random);
  g_test_add_func ("/vmdk-sparse/reuse", test_reuse);
  g_test_add_func ("/vmdk-sparse/growth", test_growth);
  for (size_t i = 0; i < G_N_ELEMENTS (faults); i++) {
    g_autofree char *name =
        g_strconcat ("/vmdk-sparse/fault/", faults[i].name, NULL);
    g_test_add_data_func (name, GSIZE_TO_POINTER (i), test_fault);
  }
  g_test_add_func ("/vmdk-sparse/double", test_double);
  g_test_add_func ("/vmdk-sparse/refused", test_refused);
  g_test_add_func ("/vmdk-sparse/cowd", test_cowd);
  g_test_add_func ("/vmdk-sparse/sesparse", test_sesparse);
  g_test_add_data_func ("/vmdk-sparse/like-qemu/plain", "zeroed_grain=off",
                        test_like_qemu);
  g_test_add_data_func ("/vmdk-sparse/like-qemu/zeroed", "zeroed_grain=on",
                        test_like_qemu);
  return g_test_run ();
}
