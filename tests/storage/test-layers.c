/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commit and rebase: whatever happens in the middle, the guest reads the same
 * through the overlay before, meanwhile and afterwards.  Cuts of the power are
 * tried in the file that is being written; leaks are fine. */
#include "config.h"

#include <string.h>

#include "storage/commit.h"
#include "storage/image-internal.h"
#include "storage/rebase.h"
#include "tests/storage/engine-cases.h"

#define SIZE ((uint64_t) 160 << 10)
#define BASE_SIZE                                                              \
  ((uint64_t) 128 << 10) /* shorter: it must grow, if it can                   \
                          */

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  Random random;
  VpFile *base, *other, *disk;
  uint8_t bytes[SIZE]; /* what the guest reads */
} World;

static void
scribble (World *w, VpImage *image, unsigned rounds)
{
  uint8_t bytes[8192];
  uint64_t size = vp_image_get_size (image);

  for (unsigned i = 0; i < rounds; i++) {
    uint64_t len = 512 * (1 + random_below (&w->random, sizeof bytes / 512));
    uint64_t at = 512 * random_below (&w->random, (size - len) / 512 + 1);
    random_fill (&w->random, bytes, (size_t) len);
    if (random_below (&w->random, 4) == 0)
      ASSERT_OK (vp_image_zero (image, at, len, true, &error));
    else
      ASSERT_OK (vp_image_write (image, at, bytes, (size_t) len, &error));
  }
}

static VpFile *
make_layer (World *w, const char *name, uint64_t size, const char *backing)
{
  VpFile *file = case_create (w->c, &w->gate, name, size, backing,
                              backing ? w->c->format : NULL);
  VpImage *image = case_open (w->c, &w->gate, file, VP_IMAGE_WRITABLE);
  scribble (w, image, 10);
  fake_gate_state (&w->gate, name, w->c->format);
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_add (&w->gate, file);
  return file;
}

/* A base that was being written is another one for an image that says what it
 * held, until somebody says that it is meant: rebase -u. */
static void
accept_base (World *w, VpFile *disk)
{
  const VpFormat *format = vp_formats_find (w->c->format, NULL);
  g_autoptr (GError) failure = NULL;
  const char *name, *stated;
  if (!format->expect_backing_id)
    return;
  VpOpenOptions options = { .format = w->c->format,
                            .flags = VP_IMAGE_WRITABLE,
                            .opener = &w->gate.opener,
                            .ignore_backing = true };
  fake_gate_add_joined (&w->gate, disk);
  VpImage *image = vp_image_open_with (disk, &options, &failure);
  g_assert_no_error (failure);
  name = format->backing (image->state, &stated);
  if (name) {
    VpFile *below = g_hash_table_lookup (w->gate.files, name);
    g_autofree char *kept = g_strdup (name);
    g_autoptr (VpImage) base = case_open (w->c, &w->gate, below, 0);
    vp_image_expect_backing (image, base);
    ASSERT_OK (vp_image_set_backing (image, kept, w->c->format, &error));
  }
  ASSERT_OK (vp_image_close (image, &error));
}

static void
read_all (World *w, VpFile *disk, uint8_t *to)
{
  g_autoptr (VpImage) image =
      case_open (w->c, &w->gate, disk, VP_IMAGE_READ_ONLY);
  ASSERT_OK (vp_image_read (image, 0, to, SIZE, &error));
}

static void
world_init (World *w, const EngineCase *c, uint64_t seed)
{
  *w = (World){ .c = c, .random = { seed } };
  fake_gate_init (&w->gate);
  w->base = make_layer (w, "base", c->lacks & CASE_NO_GROWTH ? SIZE : BASE_SIZE,
                        NULL);
  w->other = make_layer (w, "other", SIZE + 65536, NULL);
  w->disk = make_layer (w, "disk", SIZE, "base");
  read_all (w, w->disk, w->bytes);
}

static void
world_clear (World *w)
{
  vp_file_unref (w->base);
  vp_file_unref (w->other);
  vp_file_unref (w->disk);
  fake_gate_clear (&w->gate);
}

static void
expect_bytes (World *w, VpFile *disk, const char *what, unsigned n)
{
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  g_autoptr (VpFile) copy = fake_file_copy (disk, disk->name);

  accept_base (w, copy);
  read_all (w, copy, bytes);
  if (memcmp (bytes, w->bytes, SIZE) != 0)
    g_error ("%s: %s, after change %u: the guest reads something else",
             w->c->name, what, n);
}

/* Each state of the overlay on the way from start. */
static void
cut_disk (World *w, VpFile *start, GPtrArray *log, const char *what)
{
  g_autoptr (VpFile) file = fake_file_copy (start, "disk");
  unsigned step = test_rounds (7, 1);

  for (guint n = 0; n <= log->len; n++) {
    if (n % step == 0 || n == log->len) {
      g_autoptr (VpFile) cut = fake_file_copy (file, "disk");
      case_check (w->c, cut, UINT64_MAX);
      expect_bytes (w, cut, what, n);
    }
    if (n < log->len)
      fake_op_apply (g_ptr_array_index (log, n), file);
  }
}

/* ---- rebase ------------------------------------------------------------- */

static void
run_rebase (const EngineCase *c, bool onto_other, bool compress)
{
  World w;
  VpRebase to = { .compress = compress };
  g_autoptr (VpImage) other = NULL;

  world_init (&w, c, test_seed ());
  g_autoptr (VpFile) start = fake_file_copy (w.disk, "disk");
  VpImage *image = case_open (c, &w.gate, w.disk, VP_IMAGE_WRITABLE);
  if (onto_other) {
    other = case_open (c, &w.gate, w.other, VP_IMAGE_READ_ONLY);
    to = (VpRebase){ "other", c->format, other, compress };
  }
  GPtrArray *log = fake_file_record (w.disk);
  ASSERT_OK (vp_rebase_image (image, &to, NULL, &error));
  ASSERT_OK (vp_image_close (image, &error));
  expect_bytes (&w, w.disk, "rebase", 0);
  case_check (c, w.disk, 0);
  cut_disk (&w, start, log, "rebase");
  world_clear (&w);
}

/* A data file has changes of its own, which are not replayed here. */
static bool
is_possible (const EngineCase *c)
{
  bool slow = strstr (c->options, "encrypt") && test_rounds (0, 1) == 0;

  return !slow && !strstr (c->options, "data_file") &&
         !strstr (c->options, "cluster_size=2M");
}

static void
test_rebase (gconstpointer data)
{
  if (!is_possible (data))
    return;
  run_rebase (data, true, false);
  run_rebase (data, false, false);
}

static void
test_rebase_packed (gconstpointer data)
{
  const EngineCase *c = data;

  if (c->lacks & CASE_NO_PACKING)
    g_test_skip ("this format has no compressed clusters");
  else if (is_possible (c) && !strstr (c->options, "encrypt"))
    run_rebase (c, true, true);
}

/* ---- commit ------------------------------------------------------------- */

/* Each state of the base on the way, below the untouched overlay. */
static void
cut_base (World *w, VpFile *start, GPtrArray *log)
{
  g_autoptr (VpFile) file = fake_file_copy (start, "base");
  unsigned step = test_rounds (11, 1);

  for (guint n = 0; n <= log->len; n++) {
    if (n % step == 0 || n == log->len) {
      g_autoptr (VpFile) cut = fake_file_copy (file, "base");
      case_check (w->c, cut, UINT64_MAX);
      fake_gate_add (&w->gate, cut);
      expect_bytes (w, w->disk, "commit", n);
    }
    if (n < log->len)
      fake_op_apply (g_ptr_array_index (log, n), file);
  }
}

static void
test_commit (gconstpointer data)
{
  World w;

  if (!is_possible (data))
    return;
  world_init (&w, data, test_seed ());
  g_autoptr (VpFile) old_base = fake_file_copy (w.base, "base");
  g_autoptr (VpFile) old_disk = fake_file_copy (w.disk, "disk");
  VpImage *image = case_open (data, &w.gate, w.disk, VP_IMAGE_WRITABLE);
  vp_image_free (vp_chain_cut (image, vp_chain_find (image, NULL)));
  VpImage *base = case_open (data, &w.gate, w.base, VP_IMAGE_WRITABLE);
  GPtrArray *base_log = fake_file_record (w.base);
  ASSERT_OK (vp_commit_image (image, base, 0, NULL, &error));
  ASSERT_OK (vp_image_close (base, &error));
  cut_base (&w, old_base, base_log);
  fake_gate_add (&w.gate, w.base);

  GPtrArray *log = fake_file_record (w.disk);
  ASSERT_OK (vp_image_empty (image, &error));
  ASSERT_OK (vp_image_close (image, &error));
  expect_bytes (&w, w.disk, "empty", 0);
  case_check (data, w.disk, 0);
  g_autoptr (VpImage) top =
      case_open (data, &w.gate, w.disk, VP_IMAGE_READ_ONLY);
  VpExtent extent;
  for (uint64_t at = 0; at < SIZE; at += extent.length) {
    ASSERT_OK (vp_image_map (top, at, SIZE - at, &extent, &error));
    g_assert_cmpuint (extent.depth, >, 0);
  }
  cut_disk (&w, old_disk, log, "empty");
  world_clear (&w);
}

static void
test_find (void)
{
  World w;
  const EngineCase *c = case_find ("qcow2");

  world_init (&w, c, 1);
  g_autoptr (VpImage) image =
      case_open (c, &w.gate, w.disk, VP_IMAGE_READ_ONLY);
  g_assert_nonnull (vp_chain_find (image, NULL));
  g_assert_true (vp_chain_find (image, "base") == vp_chain_find (image, NULL));
  g_assert_true (vp_chain_find (image, "./base") ==
                 vp_chain_find (image, NULL));
  g_assert_null (vp_chain_find (image, "disk"));
  g_assert_null (vp_chain_find (image, "other"));
  world_clear (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/layers/find", test_find);
  case_add_backed ("/layers/rebase", test_rebase);
  case_add_backed ("/layers/rebase-packed", test_rebase_packed);
  case_add_backed ("/layers/commit", test_commit);
  return g_test_run ();
}
