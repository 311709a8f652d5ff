/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images whose metadata went wrong, read by two: what both of us and qemu-img
 * read, we read alike.  Who refuses what is counted, no more: we may be
 * stricter, and qemu-img, which runs in a cage and as nobody, may fall over.
 *
 * VP_TEST_SEED repeats one image, VP_FUZZ_ONLY names the seed. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "storage/error.h"
#include "tests/storage/fuzz-seed.h"
#include "tests/storage/judge.h"

#define MOST (UINT64_C (64) << 20) /* larger disks take too long */

typedef struct {
  unsigned n, same, we_refuse, they_refuse;
} Tally;

/* ---- the two readers ---------------------------------------------------- */

static void
store_file (const char *folder, VpFile *file)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  g_autofree char *path = g_build_filename (folder, file->name, NULL);
  g_assert_true (g_file_set_contents (path, size ? (const char *) bytes : "",
                                      (gssize) size, NULL));
  g_assert_cmpint (chmod (path, 0644), ==, 0);
}

static void
store (const char *folder, VpFile *file)
{
  VpFile *joined;
  store_file (folder, file);
  for (unsigned i = 0; (joined = fake_file_joined (file, i)); i++)
    store_file (folder, joined);
}

/* All of the disk, owned; NULL: refused, or too large. */
static uint8_t *
read_ours (const char *path, const char *format, uint64_t *ret_size)
{
  VpOpener opener = vp_opener_person (0);
  g_autoptr (VpImage) image = vp_image_open (path, format, 0, &opener, NULL);
  uint64_t size = image ? vp_image_get_size (image) : 0;
  if (!image || size > MOST)
    return NULL;
  g_autofree uint8_t *bytes = g_malloc (size + 1);
  if (!vp_image_read (image, 0, bytes, size, NULL))
    return NULL;
  *ret_size = size;
  return g_steal_pointer (&bytes);
}

static char *
read_theirs (const char *path, const char *format, const char *out,
             gsize *ret_len)
{
  const char *as_nobody[] = { "setpriv",
                              "--reuid=65534",
                              "--regid=65534",
                              "--clear-groups",
                              "prlimit",
                              "--cpu=5",
                              "--fsize=268435456",
                              "qemu-img",
                              "convert",
                              "-f",
                              format,
                              "-O",
                              "raw",
                              path,
                              out,
                              NULL };
  char *bytes = NULL;
  int status = judge_run (geteuid () == 0 ? as_nobody : as_nobody + 4, NULL);
  if (status != 0 || !g_file_get_contents (out, &bytes, ret_len, NULL))
    return NULL;
  return bytes;
}

/* ---- one image ---------------------------------------------------------- */

/* QEMU counts whole sectors, however many bytes a header names. */
static bool
is_same_size (uint64_t size, gsize len)
{
  return len == vp_round_down (size, 512) || len == vp_round_up (size, 512);
}

static bool
is_same (const uint8_t *ours, uint64_t size, const char *theirs, gsize len,
         const char *words)
{
  if (!is_same_size (size, len)) {
    g_test_message ("%s: %" G_GUINT64_FORMAT " bytes, not %" G_GSIZE_FORMAT,
                    words, size, len);
    return false;
  }
  for (uint64_t at = 0; at < MIN (size, len); at++)
    if (ours[at] != (uint8_t) theirs[at]) {
      g_test_message ("%s: byte 0x%" G_GINT64_MODIFIER
                      "x is 0x%02x, not 0x%02x",
                      words, at, ours[at], (uint8_t) theirs[at]);
      return false;
    }
  return true;
}

static bool
compare (const FuzzSeed *seed, VpFile *file, const char *words, Tally *tally)
{
  char *folder = judge_folder ();
  g_autofree char *path = g_build_filename (folder, file->name, NULL);
  g_autofree char *out = g_build_filename (folder, "out", NULL);
  uint64_t size = 0;
  gsize len = 0;
  bool same = true;
  g_assert_cmpint (chmod (folder, 0777), ==, 0);
  store (folder, file);
  g_autofree uint8_t *ours = read_ours (path, seed->format, &size);
  g_autofree char *theirs =
      ours ? read_theirs (path, seed->format, out, &len) : NULL;
  tally->n++;
  if (!ours)
    tally->we_refuse++;
  else if (!theirs)
    tally->they_refuse++;
  else
    tally->same += same = is_same (ours, size, theirs, len, words);
  judge_remove (folder);
  return same;
}

static void
run_rounds (FuzzSeed *seed, const char *name)
{
  unsigned rounds = getenv ("VP_TEST_SEED") ? 1 : test_rounds (1, 200);
  unsigned broken = 0;
  Tally tally = { 0 };
  uint64_t number = test_seed ();
  for (unsigned i = 0; seed && i < rounds; i++) {
    Random random = { number + i };
    g_autoptr (GString) words = g_string_new (NULL);
    g_autoptr (VpFile) file = fuzz_seed_mutate (seed, &random, words);
    if (compare (seed, file, words->str, &tally))
      continue;
    g_test_message ("VP_TEST_SEED=%" G_GUINT64_FORMAT " VP_FUZZ_ONLY=%s",
                    number + i, name);
    broken++;
  }
  g_clear_pointer (&seed, fuzz_seed_free);
  g_test_message ("%s: %u images, %u read alike, %u refused by us, %u by "
                  "qemu-img alone",
                  name, tally.n, tally.same, tally.we_refuse,
                  tally.they_refuse);
  g_assert_cmpuint (broken, ==, 0);
}

static bool
is_wanted (const char *name)
{
  const char *only = getenv ("VP_FUZZ_ONLY");
  return !only || strcmp (only, name) == 0;
}

static void
test_differential (gconstpointer data)
{
  const EngineCase *c = data;
  /* A program for each takes its time. */
  if ((c - engine_cases) % test_rounds (3, 1) != 2 % test_rounds (3, 1) ||
      case_is (c, "raw") || !case_qemu_reads (c) || !is_wanted (c->name) ||
      judge_is_missing ())
    return;
  run_rounds (fuzz_seed_new (c), c->name);
}

/* Formats that we only read. */
static void
test_theirs (void)
{
  static const char *const theirs[][3] = {
    { "vpc", "vpc", "subformat=dynamic" },
    { "vpc-fixed", "vpc", "subformat=fixed" },
    { "vhdx", "vhdx", "subformat=dynamic,block_size=1M" },
    { "vhdx-fixed", "vhdx", "subformat=fixed" },
  };
  if (judge_is_missing ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (theirs); i++)
    if (is_wanted (theirs[i][0]))
      run_rounds (
          fuzz_seed_new_theirs (theirs[i][0], theirs[i][1], theirs[i][2]),
          theirs[i][0]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_every ("/differential", test_differential);
  g_test_add_func ("/differential/theirs", test_theirs);
  return g_test_run ();
}
