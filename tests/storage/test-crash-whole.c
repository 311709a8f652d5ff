/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is left of an operation on the whole image (snapshots, another size,
 * other properties) when the power goes, or when a write fails.
 *
 * The image's content is the disk's bytes and those of all its snapshots, with
 * their names.  After a cut anywhere it is the old content or the new one,
 * nothing between; leaks are fine, and after their repair it is still the
 * same. */
#include "config.h"

#include <string.h>

#include "storage/amend.h"
#include "storage/snapshot.h"

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define SIZE ((uint64_t) 48 << 10)

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  Random random;
  VpFile *file;
  GBytes *before, *after; /* contents */
} World;

typedef struct {
  const char *name;
  bool (*run) (VpImage *image, const EngineCase *c, GError **error);
} Operation;

/* ---- operations --------------------------------------------------------- */

static bool
run_create (VpImage *image, const EngineCase *c, GError **error)
{
  return vp_image_snapshot_create (image, "third", error);
}

static bool
run_apply (VpImage *image, const EngineCase *c, GError **error)
{
  return vp_image_snapshot_apply (image, "first", error);
}

static bool
run_delete (VpImage *image, const EngineCase *c, GError **error)
{
  return vp_image_snapshot_delete (image, "first", error);
}

static bool
run_delete_last (VpImage *image, const EngineCase *c, GError **error)
{
  return vp_image_snapshot_delete (image, "second", error);
}

static bool
run_shrink (VpImage *image, const EngineCase *c, GError **error)
{
  if (strstr (c->options, "compat"))
    return true; /* version 2 keeps its size while it has snapshots */
  return vp_image_shrink (image, SIZE / 3 + 512, error);
}

static bool
run_width (VpImage *image, const EngineCase *c, GError **error)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  options.refcount_bits = strstr (c->options, "bits=64") ? 4 : 64;
  if (strstr (c->options, "compat"))
    options.compat = 3;
  return vp_image_amend (image, &options, NULL, error);
}

/* To the other version, and there is another name in the header. */
static bool
run_version (VpImage *image, const EngineCase *c, GError **error)
{
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  options.compat = strstr (c->options, "compat") ? 3 : 2;
  if (strstr (c->options, "zstd") || strstr (c->options, "extended") ||
      strstr (c->options, "luks"))
    options.compat = 3;
  else if (options.compat == 2)
    options.refcount_bits = 16;
  return vp_image_amend (image, &options, NULL, error);
}

static const Operation operations[] = {
  { "create", run_create },   { "apply", run_apply },
  { "delete", run_delete },   { "delete-last", run_delete_last },
  { "shrink", run_shrink },   { "width", run_width },
  { "version", run_version },
};

/* ---- content ------------------------------------------------------------ */

static void
add_bytes (GByteArray *content, VpImage *image)
{
  uint64_t size = vp_image_get_size (image);
  guint at = content->len;
  g_byte_array_append (content, (const uint8_t *) &size, sizeof size);
  g_byte_array_set_size (content, at + 8 + (guint) size);
  ASSERT_OK (
      vp_image_read (image, 0, content->data + at + 8, (size_t) size, &error));
}

static GBytes *
get_content (World *w, VpFile *file)
{
  GByteArray *content = g_byte_array_new ();
  g_autoptr (VpImage) image = case_open (w->c, &w->gate, file, 0);
  g_auto (VpImageInfo) info = { 0 };
  add_bytes (content, image);
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  for (guint i = 0; info.snapshots && i < info.snapshots->len; i++) {
    const VpSnapshot *snapshot = g_ptr_array_index (info.snapshots, i);
    g_autoptr (VpImage) past = case_open (w->c, &w->gate, file, 0);
    ASSERT_OK (vp_image_load_snapshot (past, snapshot->id, &error));
    g_byte_array_append (content, (const uint8_t *) snapshot->name,
                         (guint) strlen (snapshot->name));
    add_bytes (content, past);
  }
  return g_byte_array_free_to_bytes (content);
}

/* ---- a world ------------------------------------------------------------ */

static void
scribble (World *w, VpImage *image)
{
  uint8_t bytes[9000];
  for (unsigned i = 0; i < 6; i++) {
    size_t len = 1 + (size_t) random_below (&w->random, sizeof bytes);
    uint64_t offset = random_below (&w->random, SIZE - len);
    random_fill (&w->random, bytes, len);
    if (i < 4)
      ASSERT_OK (vp_image_write (image, offset, bytes, len, &error));
    else
      ASSERT_OK (vp_image_zero (image, offset, len, i == 4, &error));
  }
}

static void
world_init (World *w, const EngineCase *c, uint64_t seed)
{
  *w = (World){ .c = c, .random = { seed } };
  fake_gate_init (&w->gate);
  w->file = case_create (c, &w->gate, "disk", SIZE, NULL, NULL);
  VpImage *image = case_open (c, &w->gate, w->file, VP_IMAGE_WRITABLE);
  scribble (w, image);
  if (strcmp (c->format, "qcow2") == 0 && !strstr (c->options, "bits=1")) {
    ASSERT_OK (vp_image_snapshot_create (image, "first", &error));
    scribble (w, image);
    ASSERT_OK (vp_image_snapshot_create (image, "second", &error));
    scribble (w, image);
  }
  ASSERT_OK (vp_image_close (image, &error));
  w->before = get_content (w, w->file);
}

static void
world_clear (World *w)
{
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
  g_clear_pointer (&w->before, g_bytes_unref);
  g_clear_pointer (&w->after, g_bytes_unref);
}

static void
judge (World *w, VpFile *file, const char *what, unsigned n)
{
  case_check (w->c, file, UINT64_MAX);
  for (unsigned pass = 0; pass < 2; pass++) {
    g_autoptr (GBytes) content = get_content (w, file);
    if (!g_bytes_equal (content, w->before) &&
        !(w->after && g_bytes_equal (content, w->after)))
      g_error ("%s, %s %u, pass %u: neither the old content nor the new one",
               w->c->name, what, n, pass);
    case_repair (w->c, file);
  }
}

/* ---- failing writes ----------------------------------------------------- */

static bool
run_failing (const EngineCase *c, const Operation *o, unsigned nth,
             bool forever)
{
  World w;
  world_init (&w, c, 7);
  g_autoptr (VpFile) sound = fake_file_copy (w.file, "disk");
  g_autoptr (VpImage) good = case_open (c, &w.gate, sound, VP_IMAGE_WRITABLE);
  ASSERT_OK (o->run (good, c, &error));
  ASSERT_OK (vp_image_close (g_steal_pointer (&good), &error));
  w.after = get_content (&w, sound);

  VpImage *image = case_open (c, &w.gate, w.file, VP_IMAGE_WRITABLE);
  fake_file_fail (w.file, nth, forever);
  bool ok = o->run (image, c, NULL);
  bool failed = fake_file_has_failed (w.file);
  vp_image_free (image);
  fake_file_fail (w.file, 0, false);
  g_autoptr (VpFile) left = fake_file_copy (w.file, "disk");
  judge (&w, left, o->name, nth);
  g_assert_true (ok || failed);
  world_clear (&w);
  return failed;
}

/* Opening an encrypted image costs milliseconds, and there are thousands. */
static bool
is_slow (const EngineCase *c)
{
  return strstr (c->options, "encrypt") && test_rounds (0, 1) == 0;
}

static bool
is_possible (const EngineCase *c)
{
  if (is_slow (c))
    return false;
  return strcmp (c->format, "qcow2") == 0 && !strstr (c->options, "bits=1") &&
         !strstr (c->options, "data_file") && !strstr (c->options, "2M");
}

static void
test_failing (gconstpointer data)
{
  unsigned states = 0, step = test_rounds (17, 1);
  for (size_t i = 0; is_possible (data) && i < G_N_ELEMENTS (operations); i++)
    for (unsigned forever = 0; forever < 2; forever++)
      for (unsigned nth = 1; run_failing (data, &operations[i], nth, forever);
           nth += step)
        states++;
  g_test_message ("%u failures", states);
}

/* ---- power cuts --------------------------------------------------------- */

static unsigned
cut_prefixes (World *w, VpFile *start, GPtrArray *log, unsigned step,
              const char *what)
{
  g_autoptr (VpFile) file = fake_file_copy (start, "disk");
  unsigned states = 0;
  for (guint n = 0; n <= log->len; n++) {
    if (n % step == 0 || n == log->len) {
      g_autoptr (VpFile) cut = fake_file_copy (file, "disk");
      judge (w, cut, what, n);
      states++;
    }
    if (n < log->len)
      fake_op_apply (g_ptr_array_index (log, n), file);
  }
  return states;
}

/* Between two flushes the disk keeps what it likes, torn as it likes. */
static unsigned
cut_torn (World *w, VpFile *start, GPtrArray *log, unsigned per_epoch,
          const char *what)
{
  g_autoptr (VpFile) base = fake_file_copy (start, "disk");
  unsigned states = 0;
  for (guint from = 0; from < log->len;) {
    guint to = from;
    while (to < log->len &&
           ((const FakeOp *) g_ptr_array_index (log, to))->kind != FAKE_FLUSH)
      to++;
    for (unsigned round = 0; to > from && round < per_epoch; round++) {
      g_autoptr (VpFile) cut = fake_file_copy (base, "disk");
      for (guint i = from; i < to; i++) {
        const FakeOp *op = g_ptr_array_index (log, i);
        uint64_t dice = random_below (&w->random, 100);
        if (dice < 45)
          fake_op_apply (op, cut);
        else if (dice < 65 && op->kind == FAKE_WRITE)
          fake_op_apply_torn (op, cut, random_next (&w->random));
      }
      judge (w, cut, what, to);
      states++;
    }
    for (; from < to; from++)
      fake_op_apply (g_ptr_array_index (log, from), base);
    from = to + 1;
  }
  return states;
}

static unsigned
run_cuts (const EngineCase *c, const Operation *o, uint64_t seed)
{
  World w;
  world_init (&w, c, seed);
  g_autoptr (VpFile) start = fake_file_copy (w.file, "disk");
  VpImage *image = case_open (c, &w.gate, w.file, VP_IMAGE_WRITABLE);
  GPtrArray *log = fake_file_record (w.file);
  ASSERT_OK (o->run (image, c, &error));
  ASSERT_OK (vp_image_close (image, &error));
  w.after = get_content (&w, w.file);
  unsigned states = cut_prefixes (&w, start, log, test_rounds (9, 1), o->name) +
                    cut_torn (&w, start, log, test_rounds (1, 12), o->name);
  world_clear (&w);
  return states;
}

static void
test_cuts (gconstpointer data)
{
  uint64_t seed = test_seed ();
  unsigned states = 0;
  for (unsigned round = 0; round < test_rounds (1, 10); round++)
    for (size_t i = 0; is_possible (data) && i < G_N_ELEMENTS (operations); i++)
      states += run_cuts (data, &operations[i], seed + round);
  g_test_message ("%u states", states);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_checked ("/crash-whole/failing-write", test_failing);
  case_add_checked ("/crash-whole/power-cut", test_cuts);
  return g_test_run ();
}
