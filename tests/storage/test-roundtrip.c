/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Journeys of a disk through the formats: one of any size and content, in any
 * format of the list, perhaps on a backing file, perhaps packed, is copied
 * into another, and on into a third, each time in another manner.  After each
 * hop the image has the size that its format makes of it, checks clean, says
 * of itself what is true, maps all of its bytes, and holds those that a model
 * in memory holds.
 *
 * "make check" goes 200 journeys, "make check-long" 5,000; VP_TEST_ROUNDS sets
 * how many, VP_TEST_SEED repeats one. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "storage/error.h"
#include "tests/storage/byte-model.h"
#include "tests/storage/engine-cases.h"

#define MAX_PIECE (48u << 10)

typedef struct {
  uint64_t seed;
  Random random;
  FakeGate gate;
  ByteModel *model;
  const EngineCase *c; /* of the image */
  VpFile *file;
  bool backed; /* it stands on "base" */
  GString *story;
} Journey;

static uint64_t
below (Journey *j, uint64_t limit)
{
  return random_below (&j->random, limit);
}

static void G_GNUC_PRINTF (2, 3) tell (Journey *j, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_string_append_vprintf (j->story, format, args);
  va_end (args);
}

static G_GNUC_NORETURN void
fail (Journey *j, const char *what, const char *why)
{
  g_error ("VP_TEST_SEED=%" G_GUINT64_FORMAT ": %s: %s: %s", j->seed,
           j->story->str, what, why ? why : "failed without a word");
}

/* The call names &error. */
#define MUST(j, what, call)                                                    \
  do {                                                                         \
    g_autoptr (GError) error = NULL;                                           \
    if (!(call))                                                               \
      fail (j, what, error ? error->message : NULL);                           \
  } while (0)

/* ---- drawing ------------------------------------------------------------ */

/* Keys take their time, and large units are large. */
static bool
is_heavy (const EngineCase *c)
{
  return case_is_encrypted (c) || strstr (c->options, "2M") != NULL;
}

/* Formats alike, and each one's cases alike. */
static const EngineCase *
draw_case (Journey *j, bool target)
{
  const VpFormat *const *formats = vp_formats_all ();
  unsigned n_formats = 0;
  while (formats[n_formats])
    n_formats++;
  for (;;) {
    const VpFormat *format = formats[below (j, n_formats)];
    const EngineCase *drawn = NULL;
    unsigned n = 0;
    for (const EngineCase *c = engine_cases; c->name; c++)
      if (case_is (c, format->name) && (target || !c->once) &&
          below (j, ++n) == 0)
        drawn = c;
    if (drawn && (!is_heavy (drawn) || below (j, 4) == 0))
      return drawn;
  }
}

/* Any number of sectors; or a few units of the format, or nearly. */
static uint64_t
draw_size (Journey *j, const EngineCase *c)
{
  static const uint64_t units[] = { 512, 4096, 65536, 1 << 20 };
  uint64_t unit = c->unit ? c->unit : units[below (j, 4)];
  uint64_t most = below (j, 8) ? UINT64_C (256) << 10 : UINT64_C (3) << 20;
  uint64_t near = unit * (1 + below (j, MAX (most / unit, 1)));
  switch (below (j, 4)) {
  case 0: return near;
  case 1: return near + 512;
  case 2: return MAX (near - 512, 512);
  default: return 512 * (1 + below (j, most / 512));
  }
}

static uint64_t
draw_range (Journey *j, uint64_t size, uint64_t *ret_length)
{
  static const uint64_t grains[] = { 1, 512, 4096, 65536 };
  uint64_t grain = grains[below (j, 4)];
  uint64_t offset = below (j, size);
  offset -= offset % grain;
  uint64_t length = vp_round_up (1 + below (j, MAX_PIECE), grain);
  *ret_length = MIN (length, size - offset);
  return offset;
}

/* Noise, what packs well, and zeros that are written. */
static void
draw_bytes (Journey *j, uint8_t *bytes, size_t len)
{
  uint64_t sort = below (j, 4);
  memset (bytes, sort == 0 ? 0 : (int) (1 + below (j, 255)), len);
  if (sort == 1)
    random_fill (&j->random, bytes, len);
  else if (sort == 2)
    random_fill (&j->random, bytes + len / 3, len / 3);
}

/* ---- the first image ---------------------------------------------------- */

static void
put (Journey *j, VpImage *image, ByteModel *model)
{
  uint64_t length, offset = draw_range (j, model->size, &length);
  VpPacking packing;
  bool packed = below (j, 3) == 0 && vp_image_get_packing (image, &packing) &&
                packing.unit <= MAX_PIECE;
  if (packed) {
    offset -= offset % packing.unit;
    length = MIN (vp_round_up (length, packing.unit), model->size - offset);
  }
  g_autofree uint8_t *bytes = g_malloc (length);
  draw_bytes (j, bytes, (size_t) length);
  if (packed)
    MUST (j, "write packed",
          vp_image_write_compressed (image, offset, bytes, (size_t) length,
                                     &error));
  else
    MUST (j, "write",
          vp_image_write (image, offset, bytes, (size_t) length, &error));
  byte_model_write (model, offset, bytes, (size_t) length);
}

static void
zero (Journey *j, VpImage *image, ByteModel *model)
{
  uint64_t length, offset = draw_range (j, model->size, &length);
  bool unmap = below (j, 2);
  MUST (j, "zero", vp_image_zero (image, offset, length, unmap, &error));
  byte_model_zero (model, offset, length);
}

static void
fill (Journey *j, VpImage *image, ByteModel *model)
{
  for (uint64_t n = below (j, 12); n > 0; n--)
    if (below (j, 4))
      put (j, image, model);
    else
      zero (j, image, model);
}

static VpFile *
make_image (Journey *j, const EngineCase *c, const char *name, uint64_t size,
            const char *base_format, ByteModel *model)
{
  VpFile *file = case_create (c, &j->gate, name, size,
                              base_format ? "base" : NULL, base_format);
  VpImage *image = case_open (c, &j->gate, file, VP_IMAGE_WRITABLE);
  if (vp_image_get_size (image) != case_size (c, size))
    fail (j, "create", "another size than its format has");
  fill (j, image, model);
  MUST (j, "close", vp_image_close (image, &error));
  return file;
}

/* Shorter than what stands on it, or longer. */
static ByteModel *
make_base (Journey *j, const EngineCase *top, const EngineCase **ret_case)
{
  const EngineCase *c = top->own_kind ? top : case_find ("raw");
  uint64_t size = case_size (c, draw_size (j, c));
  ByteModel *model = byte_model_new (size);
  g_autoptr (VpFile) file = make_image (j, c, "base", size, NULL, model);
  fake_gate_add (&j->gate, file);
  *ret_case = c;
  return model;
}

static void
begin (Journey *j)
{
  const EngineCase *base = NULL;
  j->c = draw_case (j, false);
  uint64_t size = case_size (j->c, draw_size (j, j->c));
  j->backed = j->c->backing && below (j, 2);
  j->model = j->backed ? make_base (j, j->c, &base) : byte_model_new (size);
  byte_model_resize (j->model, size);
  tell (j, "%s of %" G_GUINT64_FORMAT "%s", j->c->name, size,
        j->backed ? " on a base" : "");
  j->file =
      make_image (j, j->c, "disk", size, base ? base->format : NULL, j->model);
}

/* ---- judging ------------------------------------------------------------ */

static void
judge_info (Journey *j, VpImage *image)
{
  g_auto (VpImageInfo) info = { 0 };
  MUST (j, "info", vp_image_get_info (image, &info, &error));
  if (strcmp (info.format, j->c->format) != 0 ||
      info.virtual_size != j->model->size || info.dirty || info.corrupt ||
      info.encrypted != case_is_encrypted (j->c) ||
      (info.backing_name != NULL) != j->backed)
    fail (j, "info", "says what is not true");
  if (info.cluster_size & (info.cluster_size - 1))
    fail (j, "info", "clusters of an odd size");
}

/* Each byte in one extent, in the words that go together. */
static void
judge_map (Journey *j, VpImage *image)
{
  VpExtent extent;
  for (uint64_t at = 0; at < j->model->size; at += extent.length) {
    MUST (j, "map",
          vp_image_map (image, at, j->model->size - at, &extent, &error));
    if (extent.start != at || extent.length == 0 ||
        extent.length > j->model->size - at)
      fail (j, "map", "leaves its bounds");
    if ((!extent.data && !extent.zero) || (extent.compressed && !extent.data) ||
        (extent.data && !extent.present) ||
        (extent.compressed && extent.has_offset))
      fail (j, "map", "contradicts itself");
  }
}

/* What the map says to be zeros is read as well. */
static void
judge_bytes (Journey *j, VpImage *image)
{
  size_t size = (size_t) j->model->size;
  g_autofree char *differs = byte_model_differs (j->model, image);
  if (differs)
    fail (j, "content", differs);
  g_autofree uint8_t *found = g_malloc (size), *wanted = g_malloc (size);
  MUST (j, "read", vp_image_read (image, 0, found, size, &error));
  byte_model_read (j->model, 0, wanted, size);
  if (memcmp (found, wanted, size) != 0)
    fail (j, "content", "other bytes than the model's");
}

static void
judge (Journey *j)
{
  case_check (j->c, j->file, 0);
  g_autoptr (VpImage) image = case_open (j->c, &j->gate, j->file, 0);
  judge_info (j, image);
  judge_map (j, image);
  judge_bytes (j, image);
}

/* ---- a hop -------------------------------------------------------------- */

static VpCopyOptions
draw_manner (Journey *j, const EngineCase *to, VpImage *target)
{
  static const uint64_t sparse[] = { 0, 512, 4096, 65536, UINT64_MAX };
  static const unsigned threads[] = { 0, 1, 1, 2, 5 };
  VpPacking packing;
  VpCopyOptions options = { .sparse_size = sparse[below (j, 5)],
                            .threads = threads[below (j, 5)],
                            .target_is_zero = to->once || below (j, 4) };
  options.compress = below (j, 2) && vp_image_get_packing (target, &packing);
  tell (j, " -S %" G_GINT64_FORMAT " -m %u%s%s", (gint64) options.sparse_size,
        options.threads, options.compress ? " -c" : "",
        options.target_is_zero ? "" : " over");
  return options;
}

/* Onto the base of the source, where that can be one of the target's. */
static bool
may_share (Journey *j, const EngineCase *to)
{
  return j->backed && to->backing && !to->once && !to->own_kind &&
         !j->c->own_kind && below (j, 3) > 0;
}

/* One disk in five becomes larger on the way. */
static void
hop (Journey *j)
{
  const EngineCase *to = draw_case (j, true);
  bool share = may_share (j, to);
  uint64_t extra = !share && below (j, 5) == 0 ? 512 * below (j, 300) : 0;
  uint64_t size = j->model->size + extra;
  tell (j, " -> %s%s", to->name, share ? " -B base" : "");
  VpFile *file = case_create (to, &j->gate, "disk", size, share ? "base" : NULL,
                              share ? "raw" : NULL);
  VpImageFlags flags = VP_IMAGE_WRITABLE;
  if (below (j, 2))
    flags |= VP_IMAGE_UNORDERED;
  VpImage *source = case_open (j->c, &j->gate, j->file, 0);
  VpImage *target = case_open (to, &j->gate, file, flags);
  if (vp_image_get_size (target) != case_size (to, size))
    fail (j, "create", "another size than its format has");
  VpCopyOptions options = draw_manner (j, to, target);
  options.shared_depth = share;
  options.target_is_zero = options.target_is_zero && !share;
  MUST (j, "copy", vp_copy_image (source, target, &options, NULL, &error));
  vp_image_free (source);
  MUST (j, "close", vp_image_close (target, &error));
  vp_file_unref (j->file);
  j->file = file;
  j->c = to;
  j->backed = share;
  byte_model_resize (j->model, case_size (to, size));
}

static unsigned
travel (uint64_t seed)
{
  Journey j = { .seed = seed, .random = { seed } };
  unsigned hops;
  fake_gate_init (&j.gate);
  j.story = g_string_new (NULL);
  begin (&j);
  judge (&j);
  hops = 1 + (unsigned) below (&j, 4);
  for (unsigned i = 0; i < hops; i++) {
    hop (&j);
    judge (&j);
  }
  g_string_free (j.story, TRUE);
  vp_file_unref (j.file);
  byte_model_free (j.model);
  fake_gate_clear (&j.gate);
  return hops;
}

static void
test_roundtrips (void)
{
  const char *text = getenv ("VP_TEST_ROUNDS");
  unsigned rounds = text                      ? (unsigned) atoi (text)
                    : getenv ("VP_TEST_SEED") ? 1
                                              : test_rounds (200, 5000);
  unsigned hops = 0;
  uint64_t seed = test_seed ();
  for (unsigned i = 0; i < rounds; i++)
    hops += travel (seed + i);
  g_printerr ("# %u journeys from seed %" G_GUINT64_FORMAT ", %u hops\n",
              rounds, seed, hops);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/roundtrip/random", test_roundtrips);
  return g_test_run ();
}
