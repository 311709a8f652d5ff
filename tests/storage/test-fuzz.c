/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Good images, changed a little where it hurts: words of the metadata get
 * values that were near, that belong elsewhere, or that are absurd.  Whatever
 * comes, each verb answers, soon and without much memory; what a repair calls
 * whole is whole, and stays whole when it is written to.
 *
 * The seeds are images of our own and, where qemu-img is there, of its making
 * with every feature.  VP_TEST_SEED replays; VP_FUZZ_SECONDS sets how long. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <glib/gstdio.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define SIZE        (UINT64_C (2) << 20)
#define MAX_AREAS   256u
#define MAX_CPU_S   5 /* for all verbs together, also with a sanitizer */
#define OFFSET_MASK UINT64_C (0x00fffffffffffe00)

typedef struct {
  uint64_t offset, length;
} Area;

typedef struct {
  char *name;
  VpFile *file;
  Area areas[MAX_AREAS];
  unsigned n_areas;
} Seed;

/* ---- where it hurts ----------------------------------------------------- */

static uint64_t
word_at (const Seed *seed, uint64_t offset, unsigned width)
{
  uint64_t size, value = 0;
  const uint8_t *bytes = fake_file_bytes (seed->file, &size);
  for (unsigned i = 0; i < width; i++)
    value = value << 8 | (offset + i < size ? bytes[offset + i] : 0);
  return value;
}

static void
add_area (Seed *seed, uint64_t offset, uint64_t length)
{
  uint64_t size;
  (void) fake_file_bytes (seed->file, &size);
  if (seed->n_areas == MAX_AREAS || offset >= size || length < 8)
    return;
  seed->areas[seed->n_areas++] = (Area){ offset, MIN (length, size - offset) };
}

/* Each table that a table of tables names. */
static void
add_tables (Seed *seed, uint64_t table, uint64_t entries, uint64_t cluster)
{
  for (uint64_t i = 0; i < MIN (entries, 64); i++) {
    uint64_t offset = word_at (seed, table + 8 * i, 8) & OFFSET_MASK;
    if (offset)
      add_area (seed, offset, cluster);
  }
}

static void
add_extensions (Seed *seed, uint64_t at)
{
  for (unsigned i = 0; i < 8; i++) {
    uint64_t type = word_at (seed, at, 4), len = word_at (seed, at + 4, 4);
    add_area (seed, at, 8 + (len + 7) / 8 * 8);
    if (type == 0)
      break;
    if (type == 0x23852875) /* the bitmaps' directory */
      add_area (seed, word_at (seed, at + 24, 8), 128);
    if (type == 0x0537be77) /* the LUKS header */
      add_area (seed, word_at (seed, at + 8, 8), 592);
    at += 8 + (len + 7) / 8 * 8;
  }
}

static void
find_areas (Seed *seed)
{
  uint64_t cluster = UINT64_C (1) << word_at (seed, 20, 4);
  uint64_t l1 = word_at (seed, 40, 8), l1_entries = word_at (seed, 36, 4);
  uint64_t reftable = word_at (seed, 48, 8);
  uint64_t snapshots = word_at (seed, 64, 8);
  bool v3 = word_at (seed, 4, 4) > 2;
  add_area (seed, 0, v3 ? 112 : 72);
  add_area (seed, 16, 64);
  add_extensions (seed, v3 ? word_at (seed, 100, 4) : 72);
  add_area (seed, l1, l1_entries * 8);
  add_area (seed, reftable, cluster);
  add_tables (seed, l1, l1_entries, cluster);
  add_tables (seed, reftable, cluster / 8, cluster);
  if (snapshots) {
    add_area (seed, snapshots, 160);
    add_tables (seed, word_at (seed, snapshots, 8), 8, cluster);
  }
}

/* ---- seeds -------------------------------------------------------------- */

static void
add_seed (GPtrArray *seeds, const char *name, VpFile *file)
{
  Seed *seed = g_new0 (Seed, 1);
  seed->name = g_strdup (name);
  seed->file = file;
  find_areas (seed);
  g_ptr_array_add (seeds, seed);
}

static void
seed_free (gpointer data)
{
  Seed *seed = data;
  g_free (seed->name);
  vp_file_unref (seed->file);
  g_free (seed);
}

static void
add_ours (GPtrArray *seeds)
{
  uint8_t bytes[9000];
  memset (bytes, 7, sizeof bytes);
  for (const EngineCase *c = engine_cases; c->name; c++) {
    VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
    FakeGate gate;
    if (strcmp (c->format, "qcow2") != 0)
      continue;
    case_options (c, &options);
    if (options.cluster_size > 65536)
      continue;
    fake_gate_init (&gate);
    VpFile *file = case_create (c, &gate, "seed", SIZE, NULL, NULL);
    VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
    for (uint64_t at = 0; at < SIZE - sizeof bytes; at += 100000)
      ASSERT_OK (vp_image_write (image, at, bytes, sizeof bytes, &error));
    ASSERT_OK (vp_image_zero (image, 200000, 300000, true, &error));
    ASSERT_OK (vp_image_close (image, &error));
    fake_gate_clear (&gate);
    add_seed (seeds, c->name, file);
  }
}

/* One line of a shell: $1 is the image, $2 a raw file to convert from. */
static const char *const theirs[][2] = {
  { "snapshots", "qemu-img create -q -f qcow2 -o cluster_size=4k $1 2M &&"
                 "qemu-io -c 'write -P 5 0 300k' $1 >$2.log &&"
                 "qemu-img snapshot -c one $1 &&"
                 "qemu-io -c 'write -P 6 100k 300k' $1 >$2.log &&"
                 "qemu-img snapshot -c two $1 &&"
                 "qemu-io -c 'write -z 200k 8k' -c 'write 1M 1k' $1 >$2.log" },
  { "packed", "qemu-img convert -c -O qcow2 -o cluster_size=4k $2 $1 &&"
              "qemu-img snapshot -c one $1 &&"
              "qemu-io -c 'write 64k 9k' $1 >$2.log" },
  { "packed-zstd", "qemu-img convert -c -O qcow2 -o compression_type=zstd "
                   "$2 $1 && qemu-io -c 'write 64k 9k' $1 >$2.log" },
  { "subclusters", "qemu-img create -q -f qcow2 -o extended_l2=on,"
                   "cluster_size=16k $1 2M && qemu-io -c 'write 0 300k' "
                   "-c 'write -z 32k 3k' -c 'write 901k 1k' $1 >$2.log" },
  { "bitmaps", "qemu-img create -q -f qcow2 -o cluster_size=4k $1 2M &&"
               "qemu-img bitmap --add -g 512 $1 a &&"
               "qemu-img bitmap --add -g 64k $1 b &&"
               "qemu-io -c 'write 0 300k' $1 >$2.log &&"
               "qemu-img bitmap --disable $1 b" },
  { "aes", "qemu-img create -q --object secret,id=k,data=geheim -f qcow2 -o "
           "encryption=on,encrypt.key-secret=k,cluster_size=4k $1 2M" },
  /* It gives up where it measures too little CPU time. */
  { "luks", "for i in 1 2 3 4 5; do qemu-img create -q --object "
            "secret,id=k,data=geheim -f qcow2 -o "
            "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10,"
            "cluster_size=4k $1 2M 2> /dev/null && break; done" },
  { "rc1", "qemu-img convert -O qcow2 -o cluster_size=512,refcount_bits=1 "
           "$2 $1" },
  { "rc64", "qemu-img convert -O qcow2 -o cluster_size=512,refcount_bits=64 "
            "$2 $1 && qemu-img snapshot -c one $1" },
  { "old", "qemu-img convert -c -O qcow2 -o cluster_size=512,compat=0.10 "
           "$2 $1 && qemu-img snapshot -c one $1" },
};

static void
make_content (const char *path)
{
  Random random = { 1 };
  g_autofree uint8_t *bytes = g_malloc0 (SIZE);
  for (uint64_t at = 0; at + 30000 < SIZE; at += 150000) {
    memset (bytes + at, 'a', 20000);
    random_fill (&random, bytes + at + 20000, 10000);
  }
  g_assert_true (g_file_set_contents (path, (char *) bytes, SIZE, NULL));
}

static void
add_theirs (GPtrArray *seeds)
{
  g_autofree char *qemu = g_find_program_in_path ("qemu-img");
  g_autofree char *folder = g_dir_make_tmp ("vprov-fuzz-XXXXXX", NULL);
  g_autofree char *image = g_build_filename (folder, "image", NULL);
  g_autofree char *raw = g_build_filename (folder, "raw", NULL);
  g_autofree char *log = g_strconcat (raw, ".log", NULL);
  make_content (raw);
  for (size_t i = 0; qemu && i < G_N_ELEMENTS (theirs); i++) {
    const char *argv[] = { "timeout", "60",  "sh", "-c", theirs[i][1],
                           "sh",      image, raw,  NULL };
    g_autofree char *bytes = NULL;
    gsize len = 0;
    int status = -1;
    /* Keys take their time. */
    if (strcmp (theirs[i][0], "luks") == 0 && !test_rounds (0, 1))
      continue;
    g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL,
                                 G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                                 &status, NULL));
    if (status != 0 || !g_file_get_contents (image, &bytes, &len, NULL)) {
      g_test_message ("%s: qemu-img cannot make it", theirs[i][0]);
      continue;
    }
    VpFile *file = fake_file_new ("seed");
    fake_file_poke (file, 0, bytes, len);
    add_seed (seeds, theirs[i][0], file);
    (void) g_unlink (image);
  }
  (void) g_unlink (image);
  (void) g_unlink (raw);
  (void) g_unlink (log);
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

/* ---- changes ------------------------------------------------------------ */

static uint64_t
pick_value (const Seed *seed, Random *random, uint64_t old)
{
  uint64_t size, cluster = UINT64_C (1) << word_at (seed, 20, 4);
  static const uint64_t flags[] = { 0, UINT64_C (1) << 63, UINT64_C (1) << 62,
                                    UINT64_C (3) << 62, 1 };
  const Area *other = &seed->areas[random_below (random, seed->n_areas)];
  (void) fake_file_bytes (seed->file, &size);
  switch (random_below (random, 8)) {
  case 0: return random_next (random) >> random_below (random, 64);
  case 1: return old ^ UINT64_C (1) << random_below (random, 64);
  case 2: return old + random_below (random, 5) - 2;
  case 3: return old + (random_below (random, 9) - 4) * cluster;
  case 4: return other->offset | flags[random_below (random, 5)];
  case 5: return random_below (random, 2) ? 0 : UINT64_MAX;
  case 6:
    return (size / cluster + random_below (random, 3)) * cluster | flags[1];
  default: return old ^ flags[random_below (random, 5)];
  }
}

static void
change (const Seed *seed, VpFile *file, Random *random)
{
  const Area *area = &seed->areas[random_below (random, seed->n_areas)];
  static const unsigned widths[] = { 8, 8, 8, 4, 4, 2, 1 };
  unsigned width = widths[random_below (random, G_N_ELEMENTS (widths))];
  uint64_t words = area->length / width;
  uint64_t limit = random_below (random, 2) ? words : MIN (words, 16);
  uint64_t at = area->offset + width * random_below (random, limit);
  uint64_t value = pick_value (seed, random, word_at (seed, at, width));
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (file, at, bytes + 8 - width, width);
}

/* ---- what every verb must bear ------------------------------------------ */

static VpImage *
open_it (VpFile *file, VpImageFlags flags)
{
  g_autoptr (VpSecret) key = vp_secret_new (NULL, "geheim", 6);
  VpOpenOptions options = { .format = "qcow2",
                            .flags = flags | VP_IMAGE_NO_BACKING,
                            .key = key };
  return vp_image_open_with (file, &options, NULL);
}

static void
look (VpFile *file)
{
  g_autoptr (VpImage) image = open_it (file, 0);
  g_auto (VpImageInfo) info = { 0 };
  static uint8_t buffer[65536];
  if (!image)
    return;
  uint64_t size = vp_image_get_size (image), at = 0;
  (void) !vp_image_get_info (image, &info, NULL);
  for (unsigned i = 0; i < 4096 && at < size; i++) {
    VpExtent extent;
    if (!vp_image_map (image, at, size - at, &extent, NULL))
      break;
    g_assert_cmpuint (extent.length, >, 0);
    g_assert_cmpuint (extent.length, <=, size - at);
    at += extent.length;
  }
  for (at = 0; at < MIN (size, SIZE); at += sizeof buffer)
    (void) !vp_image_read (image, at, buffer,
                           (size_t) MIN (sizeof buffer, size - at), NULL);
}

/* check_errors are a word too: then nothing was promised. */
static bool
check (VpFile *file, VpRepair repair, VpCheckResult *result)
{
  VpImageFlags flags = VP_IMAGE_CHECK;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  g_autoptr (VpImage) image = open_it (file, flags);
  return image && vp_check_image (image, repair, NULL, result, NULL) &&
         result->check_errors == 0;
}

static void
scribble (VpFile *file, Random *random)
{
  static uint8_t buffer[20000];
  g_autoptr (VpImage) image = open_it (file, VP_IMAGE_WRITABLE);
  if (!image)
    return;
  uint64_t size = vp_image_get_size (image);
  for (unsigned i = 0; i < 12; i++) {
    uint64_t length = MIN (size, 1 + random_below (random, sizeof buffer));
    uint64_t at = random_below (random, size - length + 1);
    if (length == 0)
      break;
    switch (random_below (random, 4)) {
    case 0: (void) !vp_image_zero (image, at, length, true, NULL); break;
    case 1: (void) !vp_image_discard (image, at, length, NULL); break;
    default: (void) !vp_image_write (image, at, buffer, (size_t) length, NULL);
    }
  }
  (void) !vp_image_close (g_steal_pointer (&image), NULL);
}

static void
tell (const char *what, const VpCheckResult *result)
{
  g_test_message ("%s: %" G_GUINT64_FORMAT " corrupt, %" G_GUINT64_FORMAT
                  " leaks, %" G_GUINT64_FORMAT " errors",
                  what, result->corruptions, result->leaks,
                  result->check_errors);
  for (guint i = 0; result->messages && i < MIN (result->messages->len, 8); i++)
    g_test_message ("  %s", (char *) g_ptr_array_index (result->messages, i));
}

/* Two entries may have named one cluster; when one of them moves away, the
 * other's flag goes stale.  That costs a copy, no data. */
static uint64_t
stale_flags (const VpCheckResult *result)
{
  uint64_t n = 0;
  for (guint i = 0; result->messages && i < result->messages->len; i++) {
    const char *message = g_ptr_array_index (result->messages, i);
    n += strstr (message, "OFLAG_COPIED") != NULL &&
         g_str_has_suffix (message, "refcount=1");
  }
  return n;
}

/* Counts of clusters that lay past the end of the file were nobody's until
 * the file grew. */
static uint64_t
old_leaks (const VpCheckResult *result, uint64_t old_clusters)
{
  uint64_t n = 0;
  for (guint i = 0; result->messages && i < result->messages->len; i++) {
    const char *message = g_ptr_array_index (result->messages, i);
    n += g_str_has_prefix (message, "Leaked cluster ") &&
         g_ascii_strtoull (message + 15, NULL, 10) < old_clusters;
  }
  return n;
}

static uint64_t
clusters_of (VpFile *file)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  return size >> (vp_be32_get (bytes + 20) & 31);
}

static bool
is_whole (VpFile *file, uint64_t old_clusters, uint64_t most_leaks,
          const char *what)
{
  g_auto (VpCheckResult) result = { 0 };
  if (check (file, VP_REPAIR_NOTHING, &result) &&
      result.corruptions == stale_flags (&result) &&
      old_leaks (&result, old_clusters) <= most_leaks)
    return true;
  tell (what, &result);
  return false;
}

/* Written to, an image loses what only an autoclear bit held. */
static uint64_t
leaks_allowed (VpFile *file, uint64_t leaks)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  return vp_be32_get (bytes + 4) > 2 && vp_be64_get (bytes + 88) != 0
             ? UINT64_MAX
             : leaks;
}

/* False: a promise was broken. */
static bool
judge (VpFile *file, Random *random)
{
  g_auto (VpCheckResult) first = { 0 }, repaired = { 0 };
  g_autoptr (VpFile) copy = fake_file_copy (file, file->name);
  look (copy);
  bool checked = check (copy, VP_REPAIR_NOTHING, &first);
  scribble (copy, random);
  /* Good before: good now. */
  if (checked && first.corruptions == 0 &&
      !is_whole (copy, clusters_of (file), leaks_allowed (file, first.leaks),
                 "written to"))
    return false;
  g_autoptr (VpFile) cured = fake_file_copy (file, file->name);
  if (!check (cured, VP_REPAIR_ALL, &repaired))
    return true;
  look (cured);
  if (repaired.corruptions > 0)
    return true; /* honest: it could not cure all */
  if (!is_whole (cured, UINT64_MAX, repaired.leaks, "repaired"))
    return false;
  uint64_t leaks = leaks_allowed (cured, repaired.leaks);
  uint64_t clusters = clusters_of (cured);
  scribble (cured, random);
  return is_whole (cured, clusters, leaks, "repaired and written to");
}

static bool
one_round (const Seed *seed, uint64_t number)
{
  Random random = { number };
  g_autoptr (VpFile) file = fake_file_copy (seed->file, "fuzz");
  fake_file_limit (file, 24u << 20);
  for (unsigned n = 1 + (unsigned) random_below (&random, 3); n > 0; n--)
    change (seed, file, &random);
  clock_t begun = clock ();
  bool good = judge (file, &random);
  clock_t took = clock () - begun;
  /* Keys take as long as the header says, up to a limit of their own. */
  if (took > MAX_CPU_S * CLOCKS_PER_SEC && strcmp (seed->name, "luks") != 0) {
    g_test_message ("%ld s of CPU", (long) (took / CLOCKS_PER_SEC));
    good = false;
  }
  if (!good)
    g_test_message ("VP_TEST_SEED=%" G_GUINT64_FORMAT " on %s", number,
                    seed->name);
  return good;
}

static void
test_fuzz (void)
{
  g_autoptr (GPtrArray) seeds = g_ptr_array_new_with_free_func (seed_free);
  const char *seconds = getenv ("VP_FUZZ_SECONDS");
  const char *only = getenv ("VP_FUZZ_ONLY");
  gint64 end = g_get_monotonic_time () +
               (seconds ? atoi (seconds) : 0) * G_TIME_SPAN_SECOND;
  uint64_t seed = test_seed ();
  unsigned rounds = getenv ("VP_TEST_SEED") ? 1 : test_rounds (5, 3000);
  unsigned n = 0, broken = 0;
  add_ours (seeds);
  add_theirs (seeds);
  for (unsigned i = 0; i < rounds || g_get_monotonic_time () < end; i++)
    for (guint s = 0; s < seeds->len; s++) {
      const Seed *image = g_ptr_array_index (seeds, s);
      if (only && strcmp (only, image->name) != 0)
        continue;
      n++;
      broken += !one_round (image, seed + i);
      g_assert_cmpuint (broken, <, 30);
    }
  g_test_message ("%u images, %u broken promises", n, broken);
  g_assert_cmpuint (broken, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuzz/metadata", test_fuzz);
  return g_test_run ();
}
