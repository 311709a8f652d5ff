/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Long lives of images of the formats that others read too: operations drawn
 * at random, ours and now and then qemu-io's, beside a model of the bytes.  At
 * the end both of us find what the model holds, and no check a fault.  qcow2
 * has lives of its own (test-random.c).
 *
 * "make check" lives some, "make check-long" 40 of each case.  VP_TEST_SEED
 * replays one, VP_TEST_ROUNDS sets how many. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "storage/error.h"
#include "tests/storage/byte-model.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define MAX_PIECE (128u << 10)
#define MAX_SIZE  (UINT64_C (32) << 20)

typedef struct {
  uint64_t seed;
  Random random;
  const EngineCase *c;
  char *folder, *disk, *raw;
  VpImage *image; /* NULL while programs are at work */
  ByteModel *model;
  bool backed, grown;
  bool theirs; /* qemu-io has written to it */
  GString *story;
} Life;

static uint64_t
below (Life *life, uint64_t limit)
{
  return random_below (&life->random, limit);
}

static void G_GNUC_PRINTF (2, 3) tell (Life *life, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_string_append_vprintf (life->story, format, args);
  va_end (args);
}

static G_GNUC_NORETURN void
fail (Life *life, const char *what, const char *why)
{
  g_printerr ("%s\n", life->story->str);
  g_error ("VP_TEST_SEED=%" G_GUINT64_FORMAT " (%s): %s: %s", life->seed,
           life->c->name, what, why ? why : "failed without a word");
}

/* The call names &error. */
#define MUST(life, what, call)                                                 \
  do {                                                                         \
    g_autoptr (GError) error = NULL;                                           \
    if (!(call))                                                               \
      fail (life, what, error ? error->message : NULL);                        \
  } while (0)

/* Status 0, or the life ends here. */
static void
must_run (Life *life, const char *const *argv)
{
  g_autofree char *said = NULL, *line = g_strjoinv (" ", (char **) argv);
  int status = judge_run (argv, &said);
  tell (life, "%s -> %d\n", line, status);
  if (status != 0)
    fail (life, line, said);
}

/* ---- the image ---------------------------------------------------------- */

static void
open_image (Life *life)
{
  VpOpener opener = vp_opener_person (0);
  if (!life->image)
    MUST (life, "open",
          life->image = vp_image_open (life->disk, life->c->format,
                                       VP_IMAGE_WRITABLE, &opener, &error));
}

static void
close_image (Life *life)
{
  if (life->image)
    MUST (life, "close",
          vp_image_close (g_steal_pointer (&life->image), &error));
}

static void
do_verify (Life *life)
{
  open_image (life);
  g_autofree char *differs = byte_model_differs (life->model, life->image);
  if (differs)
    fail (life, "content", differs);
}

static uint64_t
draw_range (Life *life, uint64_t *ret_length)
{
  static const uint64_t grains[] = { 1, 512, 4096, 65536, 1 << 20 };
  uint64_t grain = grains[below (life, G_N_ELEMENTS (grains))];
  uint64_t size = life->model->size;
  /* Half of the time near the beginning, so that ranges meet. */
  uint64_t offset = below (life, below (life, 2) ? size : MIN (size, 1 << 20));
  offset -= offset % grain;
  uint64_t length = below (life, MAX_PIECE) / grain * grain;
  length = MAX (length, grain);
  *ret_length = MIN (length, size - offset);
  return offset;
}

static void
do_write (Life *life)
{
  uint64_t length, offset = draw_range (life, &length);
  g_autofree uint8_t *bytes = g_malloc (length);
  random_fill (&life->random, bytes, length);
  open_image (life);
  tell (life, "write %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  MUST (life, "write",
        vp_image_write (life->image, offset, bytes, length, &error));
  byte_model_write (life->model, offset, bytes, length);
}

static void
do_packed (Life *life)
{
  VpPacking packing;
  uint64_t length, offset = draw_range (life, &length);
  open_image (life);
  if (!vp_image_get_packing (life->image, &packing))
    return;
  offset -= offset % packing.unit;
  length = MIN (vp_round_up (length, packing.unit), life->model->size - offset);
  g_autofree uint8_t *bytes = g_malloc (length);
  memset (bytes, (int) below (life, 256), length);
  random_fill (&life->random, bytes, (size_t) below (life, length));
  tell (life, "packed %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  MUST (life, "write packed",
        vp_image_write_compressed (life->image, offset, bytes, length, &error));
  byte_model_write (life->model, offset, bytes, length);
}

static void
do_zero (Life *life)
{
  uint64_t length, offset = draw_range (life, &length);
  bool unmap = below (life, 2);
  open_image (life);
  tell (life, "zero %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "%s\n", offset,
        length, unmap ? " unmap" : "");
  MUST (life, "zero",
        vp_image_zero (life->image, offset, length, unmap, &error));
  byte_model_zero (life->model, offset, length);
}

/* Each byte is zero or as before; the model learns which. */
static void
do_discard (Life *life)
{
  uint64_t length, offset = draw_range (life, &length);
  g_autofree uint8_t *old = g_malloc (length), *new = g_malloc (length);
  open_image (life);
  tell (life, "discard %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  byte_model_read (life->model, offset, old, length);
  MUST (life, "discard",
        vp_image_discard (life->image, offset, length, &error));
  MUST (life, "read", vp_image_read (life->image, offset, new, length, &error));
  for (uint64_t i = 0; i < length; i++)
    if (new[i] != 0 && new[i] != old[i])
      fail (life, "discard", "shows neither old bytes nor zeros");
  byte_model_write (life->model, offset, new, length);
}

static void
do_flush (Life *life)
{
  open_image (life);
  tell (life, "flush\n");
  MUST (life, "flush", vp_image_flush (life->image, &error));
}

static void
do_reopen (Life *life)
{
  close_image (life);
  tell (life, "reopen\n");
}

static void
do_grow (Life *life)
{
  uint64_t size =
      case_size (life->c, life->model->size + 512 * below (life, 4096));
  if (life->c->lacks & CASE_NO_GROWTH || size > MAX_SIZE)
    return;
  open_image (life);
  tell (life, "grow to %" G_GUINT64_FORMAT "\n", size);
  MUST (life, "grow",
        vp_image_resize (life->image, size, VP_PREALLOCATION_OFF, &error));
  byte_model_resize (life->model, size);
  life->grown = true;
}

/* ---- theirs ------------------------------------------------------------- */

/* QEMU (7.2) writes a part of a qcow's cluster without what the backing file
 * has round it, and round a part of a VMDK's grain, from the second extent on,
 * what the backing file has elsewhere. */
static bool
may_write (const Life *life)
{
  return !life->backed || (!strstr (life->c->options, "cluster_size=64k") &&
                           !strstr (life->c->options, "extent_size"));
}

static void
do_their_write (Life *life)
{
  uint64_t length, offset = draw_range (life, &length);
  if (!may_write (life))
    return;
  offset -= offset % 512;
  length = MIN (vp_round_up (length, 512), life->model->size - offset);
  bool zero = below (life, 4) == 0;
  g_autofree char *command =
      g_strdup_printf ("write %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT,
                       zero ? "-z" : "-P 7", offset, length);
  const char *argv[] = { "qemu-io",  "-f", life->c->format, "-c", command,
                         life->disk, NULL };
  close_image (life);
  must_run (life, argv);
  life->theirs = true;
  g_autofree uint8_t *bytes = g_malloc (length);
  memset (bytes, zero ? 0 : 7, length);
  byte_model_write (life->model, offset, bytes, length);
}

/* What lies in the image goes into what is below.  qemu-img cannot grow that in
 * every format, and of a VMDK it leaves an image that takes it for another. */
static void
do_commit (Life *life)
{
  bool theirs = below (life, 2) && !life->grown && !life->c->own_kind;
  const char *argv[] = { theirs ? "qemu-img" : judge_vprov_img (),
                         "commit",
                         "-q",
                         "-f",
                         life->c->format,
                         life->disk,
                         NULL };
  if (!life->backed)
    return;
  close_image (life);
  must_run (life, argv);
  do_verify (life);
}

/* ---- a life ------------------------------------------------------------- */

static const struct {
  unsigned weight;
  void (*run) (Life *life);
} operations[] = {
  { 36, do_write },      { 6, do_packed }, { 12, do_zero }, { 10, do_discard },
  { 8, do_flush },       { 6, do_reopen }, { 3, do_grow },  { 2, do_verify },
  { 3, do_their_write }, { 1, do_commit },
};

static void
one_operation (Life *life)
{
  uint64_t total = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (operations); i++)
    total += operations[i].weight;
  uint64_t dice = below (life, total);
  size_t i = 0;
  for (; dice >= operations[i].weight; i++)
    dice -= operations[i].weight;
  operations[i].run (life);
}

/* 64 KiB to 16 MiB. */
static uint64_t
draw_size (Life *life)
{
  uint64_t size = UINT64_C (1) << (16 + below (life, 9));
  size -= below (life, 2) ? 512 * below (life, size / 1024) : 0;
  return case_size (life->c, size);
}

static void
create (Life *life, const char *path, uint64_t size, const char *backing,
        const char *backing_format)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  VpOpener opener = vp_opener_person (0);
  case_options (life->c, &options);
  options.size = size;
  options.backing_name = backing;
  options.backing_format = backing_format;
  tell (life, "create %s size %" G_GUINT64_FORMAT "%s\n", path, size,
        backing ? " on a base" : "");
  MUST (life, "create",
        vp_image_create (path, life->c->format, &options, &opener, &error));
}

/* Raw, or of its own kind: filled as a disk, and then what it stands on. */
static void
make_base (Life *life, uint64_t size)
{
  g_autofree char *path = g_build_filename (life->folder, "base", NULL);
  life->model = byte_model_new (size);
  if (life->c->own_kind) {
    char *disk = life->disk;
    life->disk = path;
    create (life, path, size, NULL, NULL);
    for (unsigned i = 0; i < 6; i++)
      do_write (life);
    close_image (life);
    life->disk = disk;
    return;
  }
  g_autofree uint8_t *bytes = g_malloc (MAX_PIECE);
  for (unsigned i = 0; i < 6; i++) {
    uint64_t length, offset = draw_range (life, &length);
    length = MIN (length, MAX_PIECE);
    random_fill (&life->random, bytes, length);
    byte_model_write (life->model, offset, bytes, length);
  }
  byte_model_save (life->model, path);
}

static void
be_born (Life *life)
{
  uint64_t size = draw_size (life);
  life->backed = life->c->backing && below (life, 3) == 0;
  if (life->backed)
    make_base (life, size);
  else
    life->model = byte_model_new (size);
  create (life, life->disk, size, life->backed ? "base" : NULL,
          !life->backed       ? NULL
          : life->c->own_kind ? life->c->format
                              : "raw");
}

static void
judge_check (Life *life)
{
  const char *check[] = { "qemu-img",      "check",    "-f",
                          life->c->format, life->disk, NULL };
  g_autoptr (GError) error = NULL;
  g_auto (VpCheckResult) result = { 0 };
  VpOpener opener = vp_opener_person (0);
  if (!life->c->checks)
    return;
  g_autoptr (VpImage) image = vp_image_open (life->disk, life->c->format,
                                             VP_IMAGE_CHECK, &opener, &error);
  if (!image ||
      !vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error))
    fail (life, "check", error->message);
  for (guint i = 0; i < MIN (result.messages->len, 10); i++)
    tell (life, "%s\n", (char *) g_ptr_array_index (result.messages, i));
  /* QEMU leaks a packed cluster of qcow when it writes another. */
  bool leaky = life->c->leaky || (life->theirs && case_is (life->c, "qcow"));
  if (result.corruptions + result.check_errors > 0 ||
      (result.leaks > 0 && !leaky))
    fail (life, "check", "is not clean");
  g_clear_pointer (&image, vp_image_free);
  /* It has no check for that one. */
  if (!case_is (life->c, "qcow"))
    must_run (life, check);
}

static void
be_judged (Life *life)
{
  const char *compare[] = { "qemu-img",      "compare", "-f",       "raw", "-F",
                            life->c->format, life->raw, life->disk, NULL };
  do_verify (life);
  close_image (life);
  judge_check (life);
  byte_model_save (life->model, life->raw);
  must_run (life, compare);
}

static void
live (const EngineCase *c, uint64_t seed)
{
  Life life = { .seed = seed, .random = { seed }, .c = c };
  life.folder = judge_folder ();
  life.disk = g_build_filename (life.folder, "disk.img", NULL);
  life.raw = g_build_filename (life.folder, "raw", NULL);
  life.story = g_string_new (NULL);
  be_born (&life);
  for (unsigned n = 50 + (unsigned) below (&life, 20); n > 0; n--)
    one_operation (&life);
  be_judged (&life);
  byte_model_free (life.model);
  g_string_free (life.story, TRUE);
  g_free (life.disk);
  g_free (life.raw);
  judge_remove (life.folder);
}

static void
test_lives (gconstpointer data)
{
  const EngineCase *c = data;
  const char *given = getenv ("VP_TEST_ROUNDS");
  unsigned rounds = given                     ? (unsigned) atoi (given)
                    : getenv ("VP_TEST_SEED") ? 1
                                              : test_rounds (1, 40);
  /* A program for each takes its time. */
  if ((c - engine_cases) % test_rounds (3, 1) != 1 % test_rounds (3, 1))
    return;
  if (case_is (c, "qcow2") || case_is (c, "raw") || !case_qemu_reads (c) ||
      judge_is_missing ())
    return;
  uint64_t seed = test_seed ();
  for (unsigned i = 0; i < rounds; i++)
    live (c, seed + i);
  g_test_message ("%u lives", rounds);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_all ("/random-any", test_lives);
  return g_test_run ();
}
