/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fuzz-seed: the files' own log says where metadata lies. */
#include "config.h"

#include "tests/storage/fuzz-seed.h"

#include <string.h>

#include "tests/storage/judge.h"

#define SECTOR   512u
#define MAX_AREA 4096u /* longer ones in pieces */

/* ---- where it hurts ----------------------------------------------------- */

static bool
is_guest_bytes (const uint8_t *bytes, uint64_t len)
{
  for (uint64_t i = 0; i < len; i++)
    if (bytes[i] != FUZZ_BYTE)
      return false;
  return true;
}

static bool
is_zero (const uint8_t *bytes, uint64_t len)
{
  return len == 0 || (bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0);
}

static bool
is_text (const uint8_t *bytes, uint64_t len)
{
  uint64_t n = 0;
  for (uint64_t i = 0; i < len; i++)
    n += bytes[i] == '\n' || (bytes[i] >= ' ' && bytes[i] < 127);
  return n > len / 2;
}

static VpFile *
part_of (VpFile *file, unsigned part)
{
  return part ? fake_file_joined (file, part - 1) : file;
}

static void
add_area (FuzzSeed *seed, unsigned part, uint64_t offset, uint64_t length)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (part_of (seed->file, part), &size);
  for (uint64_t end = MIN (offset + length, size); offset < end;) {
    FuzzArea area = { offset, MIN (MAX_AREA, end - offset), part, false };
    area.text = is_text (bytes + offset, MIN (area.length, 64));
    g_array_append_val (seed->areas, area);
    offset += area.length;
  }
}

/* Every run of sectors that holds neither zeros nor guest bytes. */
static void
scan_part (FuzzSeed *seed, unsigned part)
{
  uint64_t size, from = 0;
  const uint8_t *bytes = fake_file_bytes (part_of (seed->file, part), &size);
  for (uint64_t at = 0; at < size; at += SECTOR) {
    uint64_t len = MIN (SECTOR, size - at);
    if (is_zero (bytes + at, len) || is_guest_bytes (bytes + at, len)) {
      add_area (seed, part, from, at - from);
      from = at + len;
    }
  }
  add_area (seed, part, from, size - from);
}

/* Tables may be zeros, and then only the log tells of them. */
static void
scan_log (FuzzSeed *seed, const GPtrArray *log)
{
  for (guint i = 0; i < log->len; i++) {
    const FakeOp *op = g_ptr_array_index (log, i);
    if (op->kind == FAKE_WRITE && op->length <= 1 << 16 &&
        is_zero (op->bytes, op->length))
      add_area (seed, op->part, op->offset, op->length);
  }
}

static void
scan_all (FuzzSeed *seed)
{
  for (unsigned part = 0; part_of (seed->file, part); part++)
    scan_part (seed, part);
}

/* ---- seeds -------------------------------------------------------------- */

static FuzzSeed *
seed_new (const char *name, const char *format, VpFile *file)
{
  FuzzSeed *seed = g_new0 (FuzzSeed, 1);
  seed->name = g_strdup (name);
  seed->format = format;
  seed->file = file;
  seed->areas = g_array_new (FALSE, FALSE, sizeof (FuzzArea));
  return seed;
}

void
fuzz_seed_free (FuzzSeed *seed)
{
  vp_file_unref (seed->file);
  g_array_unref (seed->areas);
  g_free (seed->name);
  g_free (seed);
}

static VpFile *
load_file (const char *path)
{
  g_autofree char *bytes = NULL;
  gsize len;
  g_assert_true (g_file_get_contents (path, &bytes, &len, NULL));
  VpFile *file = fake_file_new ("fuzz");
  fake_file_poke (file, 0, bytes, len);
  return file;
}

FuzzSeed *
fuzz_seed_new_theirs (const char *name, const char *format, const char *options)
{
  g_autofree char *there = g_find_program_in_path ("qemu-img");
  if (!there)
    return NULL;
  char *folder = judge_folder ();
  g_autofree char *raw = g_build_filename (folder, "raw", NULL);
  g_autofree char *path = g_build_filename (folder, "theirs", NULL);
  g_autofree char *bytes = g_malloc0 (2 * FUZZ_SIZE);
  const char *argv[] = { "qemu-img", "convert", "-f", "raw", "-O", format,
                         "-o",       options,   raw,  path,  NULL };
  memset (bytes, FUZZ_BYTE, FUZZ_SIZE / 4);
  g_assert_true (
      g_file_set_contents (raw, bytes, (gssize) (2 * FUZZ_SIZE), NULL));
  g_assert_cmpint (judge_run (argv, NULL), ==, 0);
  FuzzSeed *seed = seed_new (name, format, load_file (path));
  scan_all (seed);
  judge_remove (folder);
  return seed;
}

/* Two pieces, one of them packed where that can be, and zeros. */
static void
fill (VpImage *image)
{
  static uint8_t bytes[1 << 16];
  VpPacking packing;
  memset (bytes, FUZZ_BYTE, sizeof bytes);
  ASSERT_OK (vp_image_write (image, 0, bytes, sizeof bytes, &error));
  ASSERT_OK (vp_image_write (image, 300000, bytes, 9000, &error));
  if (vp_image_get_packing (image, &packing) && packing.unit <= sizeof bytes)
    ASSERT_OK (vp_image_write_compressed (image, 8 * packing.unit, bytes,
                                          packing.unit, &error));
  ASSERT_OK (vp_image_zero (image, 8192, 20000, true, &error));
}

/* What is written once is a copy. */
static void
copy_into (VpImage *image)
{
  static uint8_t bytes[200000];
  g_autoptr (GError) failure = NULL;
  g_autoptr (VpFile) raw = fake_file_new ("raw");
  memset (bytes, FUZZ_BYTE, sizeof bytes);
  ASSERT_OK (vp_file_truncate (raw, vp_image_get_size (image), &error));
  fake_file_poke (raw, 65536, bytes, sizeof bytes);
  g_autoptr (VpImage) source =
      vp_image_open_file (raw, "raw", 0, NULL, &failure);
  g_assert_no_error (failure);
  VpCopyOptions options = { .target_is_zero = true, .threads = 1 };
  ASSERT_OK (vp_copy_image (source, image, &options, NULL, &error));
}

FuzzSeed *
fuzz_seed_new (const EngineCase *c)
{
  FakeGate gate;
  fake_gate_init (&gate);
  VpFile *file = case_create (c, &gate, "fuzz", FUZZ_SIZE, NULL, NULL);
  GPtrArray *log = fake_file_record (file);
  VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  if (c->once)
    copy_into (image);
  else
    fill (image);
  ASSERT_OK (vp_image_close (image, &error));
  FuzzSeed *seed = seed_new (c->name, c->format, file);
  scan_all (seed);
  scan_log (seed, log);
  fake_gate_clear (&gate);
  if (seed->areas->len > 0)
    return seed;
  fuzz_seed_free (seed);
  return NULL;
}

/* ---- changes ------------------------------------------------------------ */

static uint64_t
get (const uint8_t *bytes, unsigned width, bool big)
{
  uint64_t value = 0;
  for (unsigned i = 0; i < width; i++)
    value = value << 8 | bytes[big ? i : width - 1 - i];
  return value;
}

static void
set (uint8_t *bytes, unsigned width, bool big, uint64_t value)
{
  for (unsigned i = 0; i < width; i++)
    bytes[big ? width - 1 - i : i] = (uint8_t) (value >> 8 * i);
}

/* Near what is there, of somewhere else, or absurd. */
static uint64_t
draw_value (const FuzzSeed *seed, Random *random, uint64_t size, uint64_t old)
{
  static const uint64_t steps[] = { 1, 8, 512, 4096, 65536, 1 << 20 };
  uint64_t step = steps[random_below (random, G_N_ELEMENTS (steps))];
  const FuzzArea *other = &g_array_index (
      seed->areas, FuzzArea, random_below (random, seed->areas->len));
  switch (random_below (random, 9)) {
  case 0: return random_next (random) >> random_below (random, 64);
  case 1: return old ^ UINT64_C (1) << random_below (random, 64);
  case 2: return old + random_below (random, 5) - 2;
  case 3: return old + step;
  case 4: return old - step;
  case 5: return other->offset / (random_below (random, 2) ? 512 : 1);
  case 6: return random_below (random, 2) ? 0 : UINT64_MAX;
  case 7: return (size + step * random_below (random, 3)) / step;
  default: return random_below (random, 70); /* a shift, a count, a type */
  }
}

static void
change_number (const FuzzSeed *seed, VpFile *part, const FuzzArea *area,
               Random *random, GString *words)
{
  static const unsigned widths[] = { 8, 8, 4, 4, 4, 2, 1 };
  unsigned width = widths[random_below (random, G_N_ELEMENTS (widths))];
  bool big = random_below (random, 2);
  uint64_t size, fields = area->length / width;
  const uint8_t *bytes = fake_file_bytes (part, &size);
  /* The first ones more often: that is where headers have their fields. */
  uint64_t limit = random_below (random, 2) ? fields : MIN (fields, 24);
  uint64_t at = area->offset + width * random_below (random, MAX (limit, 1));
  uint8_t field[8];
  if (at + width > size)
    return;
  uint64_t old = get (bytes + at, width, big);
  uint64_t new = draw_value (seed, random, size, old);
  set (field, width, big, new);
  fake_file_poke (part, at, field, width);
  if (words)
    g_string_append_printf (words,
                            " part %u 0x%" G_GINT64_MODIFIER
                            "x/%u%s: 0x%" G_GINT64_MODIFIER
                            "x to 0x%" G_GINT64_MODIFIER "x;",
                            area->part, at, width, big ? "be" : "le", old, new);
}

static void
change_letter (VpFile *part, const FuzzArea *area, Random *random,
               GString *words)
{
  static const char letters[] = "0123456789999\"\"\n =/\\#.-abcdefXRWF\0\x80";
  uint64_t at = area->offset + random_below (random, area->length);
  char letter = letters[random_below (random, sizeof letters - 1)];
  fake_file_poke (part, at, &letter, 1);
  if (words)
    g_string_append_printf (
        words, " part %u 0x%" G_GINT64_MODIFIER "x: letter 0x%02x;", area->part,
        at, (uint8_t) letter);
}

static void
change (const FuzzSeed *seed, VpFile *file, Random *random, GString *words)
{
  const FuzzArea *area = &g_array_index (
      seed->areas, FuzzArea, random_below (random, seed->areas->len));
  VpFile *part = part_of (file, area->part);
  if (area->text && random_below (random, 4))
    change_letter (part, area, random, words);
  else
    change_number (seed, part, area, random, words);
}

/* Sometimes what a lost tail leaves. */
VpFile *
fuzz_seed_mutate (const FuzzSeed *seed, Random *random, GString *words)
{
  VpFile *file = fake_file_copy (seed->file, seed->file->name);
  uint64_t size;
  for (unsigned n = 1 + (unsigned) random_below (random, 3); n > 0; n--)
    change (seed, file, random, words);
  (void) fake_file_bytes (file, &size);
  if (random_below (random, 16) == 0) {
    uint64_t left = random_below (random, size + 1);
    ASSERT_OK (vp_file_truncate (file, left, &error));
    if (words)
      g_string_append_printf (words, " cut to %" G_GUINT64_FORMAT ";", left);
  }
  return file;
}
