/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Long lives of images: fifty and more operations drawn at random, ours and
 * now and then qemu-img's, on a disk of any size, cluster size and feature,
 * beside a model of its bytes and of its snapshots'.  At the end the image
 * holds what the model holds, for us and for qemu-img, and neither finds a
 * fault or a leak in it.
 *
 * "make check" lives a few such lives, "make check-long" 2,000.  VP_TEST_SEED
 * replays one; VP_TEST_ROUNDS sets how many. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "storage/error.h"
#include "storage/snapshot.h"
#include "tests/storage/byte-model.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define MAX_SNAPSHOTS 4u
#define MAX_PIECE     (192u << 10)

typedef struct {
  char *name;
  ByteModel *model;
} Point;

typedef struct {
  uint64_t seed;
  Random random;
  char *folder, *disk, *base, *raw, *options;
  VpImage *image; /* NULL while programs are at work */
  ByteModel *model;
  Point points[MAX_SNAPSHOTS]; /* name NULL: free */
  uint64_t cluster_size;
  unsigned refcount_bits, n_names, n_bitmaps;
  bool v2, backed;
  GString *story;
  unsigned *counts; /* of the operations */
} Life;

static uint64_t
below (Life *life, uint64_t limit)
{
  return random_below (&life->random, limit);
}

static G_GNUC_NORETURN void
fail (Life *life, const char *what, const char *why)
{
  g_printerr ("%s\n", life->story->str);
  g_error ("VP_TEST_SEED=%" G_GUINT64_FORMAT " (%s): %s: %s", life->seed,
           life->options, what, why ? why : "");
}

static void G_GNUC_PRINTF (2, 3) tell (Life *life, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_string_append_vprintf (life->story, format, args);
  va_end (args);
}

/* The call names &error. */
#define MUST(life, what, call)                                                 \
  do {                                                                         \
    g_autoptr (GError) error = NULL;                                           \
    if (!(call))                                                               \
      fail (life, what, error ? error->message : "failed without a word");     \
  } while (0)

/* ---- programs ----------------------------------------------------------- */

static const char *const our_verbs[] = { "snapshot", "resize", "commit",
                                         "rebase",   "bitmap", NULL };
static bool have_verb[G_N_ELEMENTS (our_verbs)];

static bool
is_ours (const char *verb)
{
  for (size_t i = 0; our_verbs[i]; i++)
    if (strcmp (verb, our_verbs[i]) == 0)
      return have_verb[i];
  return false;
}

#define NOT_YET 1000

static int
run (Life *life, const char *const *argv)
{
  g_autofree char *said = NULL, *line = g_strjoinv (" ", (char **) argv);
  int status = judge_run (argv, &said);
  tell (life, "%s -> %d\n", line, status);
  if (status != 0)
    tell (life, "%s\n", said);
  if (status != 0 && strstr (said, "not supported yet"))
    return NOT_YET;
  return status;
}

/* VERB ARGUMENT...: with vprov-img where it can, or else qemu-img. */
static int
run_verb (Life *life, const char *verb, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  bool ours = is_ours (verb) && below (life, 3) > 0;
  va_list args;
  g_ptr_array_add (argv, (gpointer) (ours ? judge_vprov_img () : "qemu-img"));
  g_ptr_array_add (argv, (gpointer) verb);
  va_start (args, verb);
  for (const char *arg = va_arg (args, const char *); arg;
       arg = va_arg (args, const char *))
    g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  int status = run (life, (const char *const *) argv->pdata);
  if (status == NOT_YET) {
    argv->pdata[0] = (gpointer) "qemu-img";
    status = run (life, (const char *const *) argv->pdata);
  }
  return status;
}

/* ---- the image ---------------------------------------------------------- */

static void
open_image (Life *life)
{
  VpOpener opener = vp_opener_person (0);
  if (!life->image)
    MUST (life, "open",
          life->image = vp_image_open (life->disk, "qcow2", VP_IMAGE_WRITABLE,
                                       &opener, &error));
}

static void
close_image (Life *life)
{
  if (life->image)
    MUST (life, "close",
          vp_image_close (g_steal_pointer (&life->image), &error));
}

static void
verify (Life *life)
{
  open_image (life);
  g_autofree char *differs = byte_model_differs (life->model, life->image);
  if (differs)
    fail (life, "content", differs);
}

/* A place in the disk; aligned to something more often than not. */
static uint64_t
draw_range (Life *life, uint64_t most, uint64_t *ret_length)
{
  static const uint64_t grains[] = { 1, 512, 4096, 65536 };
  uint64_t size = life->model->size;
  uint64_t grain =
      below (life, 3) == 0 ? life->cluster_size : grains[below (life, 4)];
  uint64_t length = 1 + below (life, most);
  /* A quarter of the time in the first MiB, so that ranges meet. */
  uint64_t reach = below (life, 4) ? size : MIN (size, 1 << 20);
  uint64_t offset = below (life, reach);
  offset -= offset % grain;
  length = MAX ((length + grain - 1) / grain * grain, 1);
  *ret_length = MIN (length, size - offset);
  return offset;
}

static void
do_write (Life *life)
{
  uint64_t length, offset = draw_range (life, MAX_PIECE, &length);
  length = MIN (length, 2 * MAX_PIECE);
  g_autofree uint8_t *bytes = g_malloc (length);
  random_fill (&life->random, bytes, length);
  if (below (life, 4) == 0)
    memset (bytes, 'x', length);
  open_image (life);
  tell (life, "write %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  MUST (life, "write",
        vp_image_write (life->image, offset, bytes, length, &error));
  byte_model_write (life->model, offset, bytes, length);
}

/* Whole clusters; what does not shrink is stored plain. */
static void
do_packed (Life *life)
{
  uint64_t length, offset = draw_range (life, MAX_PIECE, &length);
  uint64_t unit = life->cluster_size, size = life->model->size;
  offset -= offset % unit;
  length = MIN ((length + unit - 1) / unit * unit, size - offset);
  if (length > MAX (2 * MAX_PIECE, unit))
    length = MAX (2 * MAX_PIECE / unit, 1) * unit;
  g_autofree uint8_t *bytes = g_malloc (length);
  memset (bytes, (int) below (life, 256), length);
  random_fill (&life->random, bytes, (size_t) below (life, length));
  open_image (life);
  tell (life, "packed %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  MUST (life, "write packed",
        vp_image_write_compressed (life->image, offset, bytes, length, &error));
  byte_model_write (life->model, offset, bytes, length);
}

static void
do_zero (Life *life)
{
  uint64_t most = below (life, 8) ? MAX_PIECE : life->model->size;
  uint64_t length, offset = draw_range (life, most, &length);
  bool unmap = below (life, 2);
  open_image (life);
  tell (life, "zero %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "%s\n", offset,
        length, unmap ? " unmap" : "");
  MUST (life, "zero",
        vp_image_zero (life->image, offset, length, unmap, &error));
  byte_model_zero (life->model, offset, length);
}

/* Each sector is zeros or as before afterwards; the model learns which. */
static void
do_discard (Life *life)
{
  uint64_t length, offset = draw_range (life, MAX_PIECE, &length);
  length = MIN (length, 2 * MAX_PIECE);
  static const uint8_t zeros[512];
  g_autofree uint8_t *old = g_malloc (length), *new = g_malloc (length);
  open_image (life);
  tell (life, "discard %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", offset,
        length);
  byte_model_read (life->model, offset, old, length);
  MUST (life, "discard",
        vp_image_discard (life->image, offset, length, &error));
  MUST (life, "read", vp_image_read (life->image, offset, new, length, &error));
  for (uint64_t at = 0; at < length;) {
    size_t part = (size_t) MIN (512 - (offset + at) % 512, length - at);
    if (memcmp (new + at, old + at, part) != 0 &&
        memcmp (new + at, zeros, part) != 0)
      fail (life, "discard", "shows neither old bytes nor zeros");
    at += part;
  }
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
  open_image (life);
}

static void
do_verify (Life *life)
{
  tell (life, "verify\n");
  verify (life);
}

/* ---- sizes -------------------------------------------------------------- */

static bool
has_points (const Life *life)
{
  for (unsigned i = 0; i < MAX_SNAPSHOTS; i++)
    if (life->points[i].name)
      return true;
  return false;
}

static void
do_grow (Life *life)
{
  uint64_t most = MIN (life->model->size / 2, UINT64_C (1) << 30);
  uint64_t size = life->model->size + 512 * (1 + below (life, most / 512));
  if (life->n_bitmaps > 0 || (life->v2 && has_points (life)))
    return;
  open_image (life);
  tell (life, "grow to %" G_GUINT64_FORMAT "\n", size);
  MUST (life, "grow",
        vp_image_resize (life->image, size, VP_PREALLOCATION_OFF, &error));
  byte_model_resize (life->model, size);
}

static void
do_shrink (Life *life)
{
  uint64_t cut = life->model->size / 4 / 512;
  uint64_t size = life->model->size - 512 * below (life, cut + 1);
  if (life->n_bitmaps > 0 || has_points (life) || size < 65536)
    return;
  g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, size);
  close_image (life);
  if (run_verb (life, "resize", "-q", "--shrink", "-f", "qcow2", life->disk,
                text, NULL) != 0)
    fail (life, "resize --shrink", NULL);
  byte_model_resize (life->model, size);
}

/* ---- snapshots ---------------------------------------------------------- */

static void
drop_point (Point *point)
{
  g_clear_pointer (&point->name, g_free);
  g_clear_pointer (&point->model, byte_model_free);
}

/* By a program now and then, that the two ways are one. */
static bool
by_program (Life *life)
{
  return below (life, 4) == 0;
}

static void
delete_point (Life *life, Point *point)
{
  if (by_program (life)) {
    close_image (life);
    if (run_verb (life, "snapshot", "-d", point->name, life->disk, NULL) != 0)
      fail (life, "snapshot -d", NULL);
  } else {
    open_image (life);
    tell (life, "delete snapshot %s\n", point->name);
    MUST (life, "delete snapshot",
          vp_image_snapshot_delete (life->image, point->name, &error));
  }
  drop_point (point);
}

/* Counts that are full refuse a snapshot, and nothing has happened. */
static void
do_snapshot (Life *life)
{
  Point *point = &life->points[below (life, MAX_SNAPSHOTS)];
  if (point->name) {
    delete_point (life, point);
    return;
  }
  point->name = g_strdup_printf ("p%u", life->n_names++);
  if (life->refcount_bits >= 16 && by_program (life)) {
    close_image (life);
    if (run_verb (life, "snapshot", "-c", point->name, life->disk, NULL) != 0)
      fail (life, "snapshot -c", NULL);
  } else {
    g_autoptr (GError) error = NULL;
    open_image (life);
    tell (life, "snapshot %s\n", point->name);
    if (!vp_image_snapshot_create (life->image, point->name, &error)) {
      tell (life, "%s\n", error->message);
      if (life->refcount_bits >= 16)
        fail (life, "snapshot", error->message);
      drop_point (point);
      return;
    }
  }
  point->model = byte_model_copy (life->model);
}

static void
apply_point (Life *life, Point *point)
{
  if (by_program (life)) {
    close_image (life);
    if (run_verb (life, "snapshot", "-a", point->name, life->disk, NULL) != 0)
      fail (life, "snapshot -a", NULL);
  } else {
    open_image (life);
    tell (life, "apply snapshot %s\n", point->name);
    MUST (life, "apply snapshot",
          vp_image_snapshot_apply (life->image, point->name, &error));
  }
  byte_model_free (life->model);
  life->model = byte_model_copy (point->model);
}

/* Narrow counts may refuse it too: a table more names what it names; and
 * qemu-img does where there are bitmaps. */
static void
do_apply (Life *life)
{
  Point *point = &life->points[below (life, MAX_SNAPSHOTS)];
  if (point->name && life->n_bitmaps == 0 && life->refcount_bits >= 16)
    apply_point (life, point);
}

/* ---- chains ------------------------------------------------------------- */

/* What lies below changes, so no snapshot may look through.  qemu-img takes
 * minutes for millions of small clusters. */
static bool
may_change_below (Life *life)
{
  return life->backed && !has_points (life) &&
         life->model->size / life->cluster_size < 1u << 20;
}

static void
do_commit (Life *life)
{
  if (!may_change_below (life))
    return;
  close_image (life);
  if (run_verb (life, "commit", "-q", "-f", "qcow2", life->disk, NULL) != 0)
    fail (life, "commit", NULL);
  verify (life);
}

static char *
make_base (Life *life, uint64_t size, ByteModel **ret_model)
{
  char *path = g_strdup_printf ("%s/base%u", life->folder, life->n_names++);
  g_autoptr (ByteModel) model = byte_model_new (size);
  g_autofree uint8_t *bytes = g_malloc (MAX_PIECE);
  for (unsigned i = 0; i < 6; i++) {
    uint64_t length = 1 + below (life, MIN (MAX_PIECE, size));
    uint64_t offset = below (life, size - length + 1);
    random_fill (&life->random, bytes, length);
    byte_model_write (model, offset, bytes, length);
  }
  byte_model_save (model, path);
  *ret_model = g_steal_pointer (&model);
  return path;
}

static uint64_t
near (Life *life, uint64_t size)
{
  switch (below (life, 3)) {
  case 0: return size;
  case 1: return 65536 + size / 512 / 2 * 512;
  default: return size + 512 * below (life, 1024);
  }
}

/* Every byte of the disk is as it was, whatever lies below. */
static void
do_rebase (Life *life)
{
  if (!may_change_below (life))
    return;
  g_autofree char *base = NULL;
  if (below (life, 3)) {
    g_autoptr (ByteModel) model = NULL;
    base = make_base (life, near (life, life->model->size), &model);
  }
  close_image (life);
  int status = base ? run_verb (life, "rebase", "-f", "qcow2", "-F", "raw",
                                "-b", base, life->disk, NULL)
                    : run_verb (life, "rebase", "-f", "qcow2", "-b", "",
                                life->disk, NULL);
  if (status != 0)
    fail (life, "rebase", NULL);
  life->backed = base != NULL;
  verify (life);
}

/* ---- bitmaps ------------------------------------------------------------ */

static void
do_bitmap (Life *life)
{
  static const char *const verbs[] = { "--remove", "--clear", "--disable",
                                       "--enable" };
  /* Who does not know bitmaps drops them at the first write. */
  if (life->v2 || !is_ours ("bitmap"))
    return;
  close_image (life);
  g_autofree char *name = g_strdup_printf ("b%u", life->n_bitmaps);
  if (life->n_bitmaps < 2) {
    name[1]++;
    if (run_verb (life, "bitmap", "--add", "-g", "64k", life->disk, name,
                  NULL) != 0)
      fail (life, "bitmap", "add");
    life->n_bitmaps++;
    return;
  }
  const char *verb = verbs[below (life, G_N_ELEMENTS (verbs))];
  if (run_verb (life, "bitmap", verb, life->disk, name, NULL) != 0)
    fail (life, "bitmap", verb);
  if (verb[2] == 'r')
    life->n_bitmaps--;
}

/* ---- theirs ------------------------------------------------------------- */

/* qemu-io writes too, packed now and then; that only where nothing lies. */
static void
do_their_write (Life *life)
{
  /* Many packed ones share a cluster, which narrow counts cannot tell. */
  bool packed = below (life, 2) && !life->v2 && life->refcount_bits > 8;
  uint64_t length, offset = draw_range (life, MAX_PIECE, &length);
  uint64_t unit = packed ? life->cluster_size : 512;
  offset -= offset % unit;
  length = (MIN (length, MAX_PIECE) + unit - 1) / unit * unit;
  if (offset + length > life->model->size || length > 4 * MAX_PIECE)
    return;
  unsigned pattern = 1 + (unsigned) below (life, 255);
  g_autofree char *command =
      g_strdup_printf ("write%s -P %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT,
                       packed ? " -c" : "", pattern, offset, length);
  g_autofree char *room = g_strdup_printf (
      "discard %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, offset, length);
  const char *argv[] = { "qemu-io", "-d", "unmap", "-f",       "qcow2", "-c",
                         room,      "-c", command, life->disk, NULL };
  if (!packed)
    argv[6] = "flush";
  close_image (life);
  if (run (life, argv) != 0)
    fail (life, "qemu-io", command);
  g_autofree uint8_t *bytes = g_malloc (length);
  memset (bytes, (int) pattern, length);
  byte_model_write (life->model, offset, bytes, length);
}

/* ---- a life ------------------------------------------------------------- */

static const struct {
  const char *name;
  unsigned weight;
  void (*run) (Life *life);
} operations[] = {
  { "write", 36, do_write },
  { "packed", 6, do_packed },
  { "zero", 12, do_zero },
  { "discard", 10, do_discard },
  { "flush", 8, do_flush },
  { "reopen", 6, do_reopen },
  { "grow", 3, do_grow },
  { "verify", 2, do_verify },
  { "snapshot", 6, do_snapshot },
  { "apply", 3, do_apply },
  { "shrink", 2, do_shrink },
  { "commit", 2, do_commit },
  { "rebase", 2, do_rebase },
  { "bitmap", 2, do_bitmap },
  { "their-write", 3, do_their_write },
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
  life->counts[i]++;
  operations[i].run (life);
}

static bool
have_option (const char *name, const char *value)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  return vp_create_options_set (&options, vp_formats_find ("qcow2", NULL), name,
                                value, NULL);
}

static void
draw_options (Life *life, VpCreateOptions *options)
{
  g_autoptr (GString) text = g_string_new (NULL);
  unsigned bits = 9 + (unsigned) below (life, 13);
  life->v2 = below (life, 5) == 0;
  life->cluster_size = UINT64_C (1) << bits;
  life->refcount_bits = life->v2 ? 16 : 1u << below (life, 7);
  g_string_append_printf (text, "cluster_size=%" G_GUINT64_FORMAT ",compat=%s",
                          life->cluster_size, life->v2 ? "0.10" : "1.1");
  if (!life->v2)
    g_string_append_printf (text, ",refcount_bits=%u", life->refcount_bits);
  if (!life->v2 && below (life, 4) == 0)
    g_string_append (text, ",lazy_refcounts=on");
  if (!life->v2 && below (life, 4) == 0)
    g_string_append (text, ",compression_type=zstd");
  if (!life->v2 && bits >= 14 && below (life, 3) == 0 &&
      have_option ("extended_l2", "on"))
    g_string_append (text, ",extended_l2=on");
  life->options = g_strdup (text->str);
  const EngineCase c = { "drawn", "qcow2", life->options, true, true };
  case_options (&c, options);
}

/* 1 MiB to 8 GiB, small ones as often as large ones. */
static uint64_t
draw_size (Life *life)
{
  uint64_t size = UINT64_C (1) << (20 + below (life, 14));
  size += below (life, 2) ? 512 * below (life, size / 512) : 0;
  return MIN (size, UINT64_C (8) << 30);
}

static void
be_born (Life *life)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  VpOpener opener = vp_opener_person (0);
  draw_options (life, &options);
  options.size = draw_size (life);
  life->backed = below (life, 3) == 0;
  if (life->backed) {
    life->base = make_base (life, near (life, options.size), &life->model);
    byte_model_resize (life->model, options.size);
    options.backing_name = life->base;
    options.backing_format = "raw";
  } else
    life->model = byte_model_new (options.size);
  tell (life, "create -o %s size %" G_GUINT64_FORMAT "%s%s\n", life->options,
        options.size, life->backed ? " on " : "",
        life->backed ? life->base : "");
  MUST (life, "create",
        vp_image_create (life->disk, "qcow2", &options, &opener, &error));
}

static void
be_judged (Life *life)
{
  const char *check[] = {
    "qemu-img", "check", "-f", "qcow2", life->disk, NULL
  };
  const char *compare[] = { "qemu-img", "compare", "-f",       "raw", "-F",
                            "qcow2",    life->raw, life->disk, NULL };
  verify (life);
  close_image (life);
  g_autoptr (GError) error = NULL;
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (VpImage) image = vp_image_open (
      life->disk, "qcow2", VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING, NULL, &error);
  if (!image ||
      !vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error))
    fail (life, "check", error->message);
  for (guint i = 0; i < MIN (result.messages->len, 10); i++)
    tell (life, "%s\n", (char *) g_ptr_array_index (result.messages, i));
  if (result.corruptions + result.leaks + result.check_errors > 0)
    fail (life, "check", "is not clean");
  g_clear_pointer (&image, vp_image_free);
  if (run (life, check) != 0)
    fail (life, "qemu-img check", NULL);
  byte_model_save (life->model, life->raw);
  int status = run (life, compare);
  /* It takes minutes for millions of small clusters; ours has compared. */
  if (status == 124 && life->model->size / life->cluster_size > 1u << 20)
    g_test_message ("%" G_GUINT64_FORMAT ": qemu-img compare is too slow",
                    life->seed);
  else if (status != 0)
    fail (life, "qemu-img compare", NULL);
}

/* Each point in time shows what it held: read where it lies, and applied. */
static void
judge_points (Life *life)
{
  for (unsigned i = 0; i < MAX_SNAPSHOTS; i++) {
    Point *point = &life->points[i];
    if (!point->name)
      continue;
    close_image (life);
    VpOpener opener = vp_opener_person (0);
    g_autoptr (VpImage) image = NULL;
    MUST (life, "open",
          image = vp_image_open (life->disk, "qcow2", 0, &opener, &error));
    MUST (life, "open snapshot",
          vp_image_load_snapshot (image, point->name, &error));
    g_autofree char *differs = byte_model_differs (point->model, image);
    if (differs)
      fail (life, point->name, differs);
    g_clear_pointer (&image, vp_image_free);
    if (life->refcount_bits < 16 || life->n_bitmaps > 0)
      continue;
    apply_point (life, point);
    verify (life);
  }
}

static void
live (uint64_t seed, unsigned *counts)
{
  Life life = { .seed = seed, .random = { seed }, .counts = counts };
  life.folder = judge_folder ();
  life.disk = g_build_filename (life.folder, "disk", NULL);
  life.raw = g_build_filename (life.folder, "raw", NULL);
  life.story = g_string_new (NULL);
  be_born (&life);
  for (unsigned n = 50 + (unsigned) below (&life, 20); n > 0; n--)
    one_operation (&life);
  be_judged (&life);
  judge_points (&life);
  close_image (&life);
  for (unsigned i = 0; i < MAX_SNAPSHOTS; i++)
    drop_point (&life.points[i]);
  byte_model_free (life.model);
  g_string_free (life.story, true);
  g_free (life.disk);
  g_free (life.raw);
  g_free (life.base);
  g_free (life.options);
  judge_remove (life.folder);
}

static void
test_lives (void)
{
  unsigned counts[G_N_ELEMENTS (operations)] = { 0 };
  const char *given = getenv ("VP_TEST_ROUNDS");
  unsigned rounds = given                     ? (unsigned) atoi (given)
                    : getenv ("VP_TEST_SEED") ? 1
                                              : test_rounds (8, 2000);
  uint64_t seed = test_seed ();
  if (judge_is_missing ())
    return;
  for (size_t i = 0; our_verbs[i]; i++) {
    have_verb[i] = judge_have_verb (our_verbs[i]);
    if (!have_verb[i])
      g_test_message ("%s: qemu-img's alone", our_verbs[i]);
  }
  for (unsigned i = 0; i < rounds; i++)
    live (seed + i, counts);
  g_autoptr (GString) text = g_string_new (NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (operations); i++)
    g_string_append_printf (text, " %s %u", operations[i].name, counts[i]);
  g_test_message ("%u lives:%s", rounds, text->str);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/random/lives", test_lives);
  return g_test_run ();
}
