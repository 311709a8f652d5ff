/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The first cluster of a qcow2 image when it is rewritten: what we do not
 * know of it stays, and a power cut leaves the old state or the new one. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/image-internal.h"
#include "storage/qcow2.h"
#include "tests/storage/engine-cases.h"

#define MIB (UINT64_C (1) << 20)

typedef struct {
  EngineCase c;
  FakeGate gate;
  VpFile *file;
} World;

static void
world_init (World *w, const char *options, const char *backing)
{
  w->c = (EngineCase){ "header", "qcow2", options, true, true };
  fake_gate_init (&w->gate);
  g_autoptr (VpFile) base = fake_file_new ("base");
  ASSERT_OK (vp_file_truncate (base, MIB, &error));
  fake_gate_add (&w->gate, base);
  w->file = case_create (&w->c, &w->gate, "disk", MIB, backing,
                         backing ? "raw" : NULL);
}

static void
world_clear (World *w)
{
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
}

static VpImage *
open_disk (World *w, VpFile *file, VpImageFlags flags)
{
  return case_open (&w->c, &w->gate, file, flags | VP_IMAGE_NO_BACKING);
}

static void
set_backing (World *w, const char *name, const char *format)
{
  VpImage *image = open_disk (w, w->file, VP_IMAGE_WRITABLE);
  ASSERT_OK (image->format->set_backing (image->state, name, format, &error));
  ASSERT_OK (vp_image_close (image, &error));
}

static char *
get_backing (World *w, VpFile *file)
{
  g_autoptr (VpImage) image = open_disk (w, file, 0);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  return g_strdup_printf ("%s:%s", info.backing_name ? info.backing_name : "",
                          info.backing_format ? info.backing_format : "");
}

static void
expect_backing (World *w, const char *wanted)
{
  g_autofree char *found = get_backing (w, w->file);
  g_assert_cmpstr (found, ==, wanted);
  case_check (&w->c, w->file, 0);
}

static void
test_names (gconstpointer options)
{
  World w;
  char long_name[301];
  memset (long_name, 'n', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = '\0';
  g_autofree char *long_one = g_strconcat (long_name, ":qcow2", NULL);
  world_init (&w, options, "base");
  expect_backing (&w, "base:raw");
  set_backing (&w, long_name, "qcow2");
  expect_backing (&w, long_one);
  set_backing (&w, "short", NULL);
  expect_backing (&w, "short:");
  set_backing (&w, NULL, "raw");
  expect_backing (&w, ":");
  set_backing (&w, long_name, "qcow2");
  expect_backing (&w, long_one);
  world_clear (&w);
}

/* An unknown extension and an unknown part of the header, put in by hand. */
static void
test_unknown (void)
{
  World w;
  uint8_t tail[8] = "unknown", head[24] = { 0 };
  world_init (&w, "cluster_size=4k", NULL);
  uint8_t length[4];
  vp_be32_set (length, QCOW2_HEADER_OURS + sizeof tail);
  vp_be32_set (head, 0x12345678);
  vp_be32_set (head + 4, 5);
  memcpy (head + 8, "other", 5);
  fake_file_poke (w.file, 100, length, sizeof length);
  fake_file_poke (w.file, QCOW2_HEADER_OURS, tail, sizeof tail);
  fake_file_poke (w.file, QCOW2_HEADER_OURS + sizeof tail, head, sizeof head);
  /* Bits that we may pass by: kept the one, cleared the other. */
  fake_file_poke (w.file, 80, "\x40", 1);
  fake_file_poke (w.file, 88, "\x40", 1);
  set_backing (&w, "base", "raw");
  set_backing (&w, "another-name", "qcow2");
  expect_backing (&w, "another-name:qcow2");

  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (w.file, &size);
  g_assert_cmpint (memcmp (bytes + QCOW2_HEADER_OURS, tail, sizeof tail), ==,
                   0);
  size_t ours = QCOW2_HEADER_OURS + sizeof tail + 16;
  g_assert_cmpint (memcmp (bytes + ours, head, 16), ==, 0);
  g_assert_cmphex (bytes[80], ==, 0x40);
  g_assert_cmphex (bytes[88], ==, 0);
  world_clear (&w);
}

static void
test_no_room (void)
{
  World w;
  g_autoptr (GError) failure = NULL;
  char name[501];
  memset (name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  world_init (&w, "cluster_size=512", "base");
  VpImage *image = open_disk (&w, w.file, VP_IMAGE_WRITABLE);
  g_assert_false (
      image->format->set_backing (image->state, name, "raw", &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  ASSERT_OK (vp_image_close (image, &error));
  expect_backing (&w, "base:raw");
  world_clear (&w);
}

/* Every prefix, and within the epoch every write torn in every way that two
 * draws find: one of the two names, and nothing else amiss. */
static void
cut (World *w, VpFile *start, GPtrArray *log, const char *a, const char *b)
{
  Random random = { test_seed () };
  g_autoptr (VpFile) whole = fake_file_copy (start, "disk");
  for (guint n = 0; n <= log->len; n++) {
    for (unsigned round = 0; round < 8; round++) {
      g_autoptr (VpFile) state = fake_file_copy (whole, "disk");
      const FakeOp *op = n < log->len ? g_ptr_array_index (log, n) : NULL;
      if (op && op->kind == FAKE_WRITE && round > 0)
        fake_op_apply_torn (op, state, random_next (&random));
      g_autofree char *found = get_backing (w, state);
      if (strcmp (found, a) != 0)
        g_assert_cmpstr (found, ==, b);
      case_check (&w->c, state, 0);
    }
    if (n < log->len)
      fake_op_apply (g_ptr_array_index (log, n), whole);
  }
}

static void
test_cuts (gconstpointer options)
{
  static const char *const names[][2] = {
    { "base", "raw" },       { "other", "qcow2" }, { "third-name", NULL },
    { NULL, NULL },          { "again", "raw" },   { "bbbbbbbbb", "a-format" },
    { "cc", "long-format" }, { NULL, NULL },       { "base", NULL },
  };
  World w;
  world_init (&w, options, "base");
  char *before = g_strdup ("base:raw");
  for (size_t i = 1; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (VpFile) start = fake_file_copy (w.file, "disk");
    GPtrArray *log = fake_file_record (w.file);
    set_backing (&w, names[i][0], names[i][1]);
    char *after = get_backing (&w, w.file);
    cut (&w, start, log, before, after);
    g_free (before);
    before = after;
  }
  g_free (before);
  world_clear (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/qcow2-header/names/default", "cluster_size=64k",
                        test_names);
  g_test_add_data_func ("/qcow2-header/names/1k", "cluster_size=1k",
                        test_names);
  g_test_add_data_func ("/qcow2-header/names/v2", "compat=0.10", test_names);
  g_test_add_func ("/qcow2-header/unknown", test_unknown);
  g_test_add_func ("/qcow2-header/no-room", test_no_room);
  g_test_add_data_func ("/qcow2-header/cuts/4k", "cluster_size=4k", test_cuts);
  g_test_add_data_func ("/qcow2-header/cuts/512", "cluster_size=512",
                        test_cuts);
  g_test_add_data_func ("/qcow2-header/cuts/v2", "cluster_size=4k,compat=0.10",
                        test_cuts);
  return g_test_run ();
}
