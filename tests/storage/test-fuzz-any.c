/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Good images of every format but qcow2, which has a test of its own, with
 * metadata that went wrong.  Whatever comes, each verb answers, soon and
 * without much memory.  What checks clean keeps what is written to it and
 * stays clean; what a repair calls whole is whole.
 *
 * VP_TEST_SEED replays one image, VP_FUZZ_ONLY names the seed,
 * VP_FUZZ_SECONDS sets how long. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "storage/error.h"
#include "tests/storage/fuzz-seed.h"

#define MOST_READ (UINT64_C (4) << 20)
#define MAX_CPU_S 5

/* ---- what every verb must bear ------------------------------------------ */

static VpImage *
open_it (const FuzzSeed *seed, VpFile *file, VpImageFlags flags)
{
  FakeGate gate;
  fake_gate_init (&gate);
  fake_gate_add_joined (&gate, file);
  VpOpenOptions options = { .format = seed->format,
                            .flags = flags,
                            .opener = &gate.opener,
                            .key =
                                vp_secrets_find (case_secrets (), "key", NULL),
                            .ignore_backing = true };
  VpImage *image = vp_image_open_with (file, &options, NULL);
  fake_gate_clear (&gate);
  return image;
}

/* The first bytes, as far as they can be read; NULL: not all of them. */
static uint8_t *
read_all (VpImage *image, size_t *ret_len)
{
  uint64_t size = vp_image_get_size (image);
  size_t len = (size_t) MIN (size, MOST_READ);
  uint8_t *bytes = g_malloc (len + 1);
  bool ok = true;
  for (size_t at = 0; at < len; at += 65536)
    ok &= vp_image_read (image, at, bytes + at, MIN (65536, len - at), NULL);
  *ret_len = len;
  if (!ok)
    g_clear_pointer (&bytes, g_free);
  return bytes;
}

static void
look (const FuzzSeed *seed, VpFile *file)
{
  g_autoptr (VpImage) image = open_it (seed, file, 0);
  g_auto (VpImageInfo) info = { 0 };
  size_t len;
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
  g_free (read_all (image, &len));
}

/* False: it could not be checked to the end, and nothing was promised. */
static bool
check (const FuzzSeed *seed, VpFile *file, VpRepair repair,
       VpCheckResult *result)
{
  VpImageFlags flags = VP_IMAGE_CHECK;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  g_autoptr (VpImage) image = open_it (seed, file, flags);
  return image && vp_check_image (image, repair, NULL, result, NULL) &&
         result->check_errors == 0;
}

static bool
fails (const char *what, const char *why)
{
  g_test_message ("%s: %s", what, why);
  return false;
}

/* Half done, a change leaves old bytes or new ones: no more is asked. */
static void
change (VpImage *image, Random *random, uint8_t *model, size_t len)
{
  static uint8_t buffer[20000];
  size_t length = 1 + (size_t) random_below (random, MIN (len, sizeof buffer));
  size_t at = (size_t) random_below (random, len - length + 1);
  bool zero = random_below (random, 4) == 0;
  memset (buffer, (int) random_below (random, 255) + 1, length);
  bool ok = zero ? vp_image_zero (image, at, length, true, NULL)
                 : vp_image_write (image, at, buffer, length, NULL);
  if (ok && zero)
    memset (model + at, 0, length);
  else if (ok)
    memcpy (model + at, buffer, length);
  else if (!vp_image_read (image, at, model + at, length, NULL))
    memset (model + at, 0, length);
}

/* What was said to be sound holds what is written to it.  Several files may
 * be broken in ways that no check of one of them sees; they answer, no more. */
static bool
scribble (const FuzzSeed *seed, VpFile *file, Random *random, bool sound)
{
  VpImage *image = open_it (seed, file, VP_IMAGE_WRITABLE);
  size_t len, again;
  if (!image)
    return true;
  g_autofree uint8_t *model = read_all (image, &len);
  sound = sound && model;
  if (!model)
    model = g_malloc0 (len + 1);
  for (unsigned i = 0; i < 12 && len > 0; i++)
    change (image, random, model, len);
  if (!vp_image_close (image, NULL))
    return true;
  g_autoptr (VpImage) reopened = open_it (seed, file, 0);
  if (!reopened)
    return !sound || fails ("written to", "does not open any more");
  g_autofree uint8_t *found = read_all (reopened, &again);
  if (sound && (!found || again != len || memcmp (found, model, len) != 0))
    return fails ("written to", "holds something else");
  return true;
}

static bool
is_whole (const FuzzSeed *seed, VpFile *file, const char *what)
{
  g_auto (VpCheckResult) result = { 0 };
  if (check (seed, file, VP_REPAIR_NOTHING, &result) && result.corruptions == 0)
    return true;
  for (guint i = 0; result.messages && i < MIN (result.messages->len, 8); i++)
    g_test_message ("  %s", (char *) g_ptr_array_index (result.messages, i));
  return fails (what, "is corrupt");
}

static bool
judge_cured (const FuzzSeed *seed, VpFile *file, Random *random)
{
  g_autoptr (VpFile) cured = fake_file_copy (file, file->name);
  g_auto (VpCheckResult) result = { 0 };
  if (!check (seed, cured, VP_REPAIR_ALL, &result) || result.corruptions > 0)
    return true; /* honest: it could not cure all */
  if (!is_whole (seed, cured, "repaired"))
    return false;
  look (seed, cured);
  return scribble (seed, cured, random, true) &&
         is_whole (seed, cured, "repaired and written to");
}

/* False: a promise was broken. */
static bool
judge (const FuzzSeed *seed, VpFile *file, Random *random)
{
  g_autoptr (VpFile) copy = fake_file_copy (file, file->name);
  g_auto (VpCheckResult) first = { 0 };
  fake_file_limit (copy, 64u << 20);
  look (seed, copy);
  bool sound =
      check (seed, copy, VP_REPAIR_NOTHING, &first) && first.corruptions == 0;
  if (!scribble (seed, copy, random, sound))
    return false;
  if (sound && !is_whole (seed, copy, "written to"))
    return false;
  return judge_cured (seed, file, random);
}

/* ---- rounds ------------------------------------------------------------- */

static bool
one_round (const FuzzSeed *seed, uint64_t number)
{
  Random random = { number };
  g_autoptr (GString) words = g_string_new (NULL);
  g_autoptr (VpFile) file = fuzz_seed_mutate (seed, &random, words);
  fake_file_limit (file, 64u << 20);
  clock_t begun = clock ();
  bool good = judge (seed, file, &random);
  clock_t took = clock () - begun;
  /* Keys take as long as the header says, up to a limit of their own. */
  if (took > MAX_CPU_S * CLOCKS_PER_SEC && strcmp (seed->format, "luks") != 0) {
    g_test_message ("%ld s of CPU", (long) (took / CLOCKS_PER_SEC));
    good = false;
  }
  if (!good)
    g_test_message ("VP_TEST_SEED=%" G_GUINT64_FORMAT " VP_FUZZ_ONLY=%s:%s",
                    number, seed->name, words->str);
  return good;
}

static void
limit_memory (void)
{
#ifndef VP_SANITIZED
  /* The images themselves are in memory here.  Children set their own. */
  struct rlimit limit = { 768u << 20, RLIM_INFINITY };
  g_assert_cmpint (setrlimit (RLIMIT_DATA, &limit), ==, 0);
#endif
}

static void
run_rounds (FuzzSeed *seed)
{
  const char *seconds = getenv ("VP_FUZZ_SECONDS");
  gint64 end = g_get_monotonic_time () +
               (seconds ? atoi (seconds) : 0) * G_TIME_SPAN_SECOND;
  unsigned rounds = getenv ("VP_TEST_SEED") ? 1 : test_rounds (8, 3000);
  unsigned n = 0, broken = 0;
  uint64_t number = test_seed ();
  for (; n < rounds || g_get_monotonic_time () < end; n++) {
    broken += !one_round (seed, number + n);
    g_assert_cmpuint (broken, <, 10);
  }
  fuzz_seed_free (seed);
  g_test_message ("%u images, %u broken promises", n, broken);
  g_assert_cmpuint (broken, ==, 0);
}

static bool
is_wanted (const char *name)
{
  const char *only = getenv ("VP_FUZZ_ONLY");
  return !only || strcmp (only, name) == 0;
}

static void
test_fuzz (gconstpointer data)
{
  const EngineCase *c = data;
  if (!case_is (c, "qcow2") && !case_is (c, "raw") && is_wanted (c->name))
    run_rounds (fuzz_seed_new (c));
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
  for (size_t i = 0; i < G_N_ELEMENTS (theirs); i++) {
    FuzzSeed *seed =
        is_wanted (theirs[i][0])
            ? fuzz_seed_new_theirs (theirs[i][0], theirs[i][1], theirs[i][2])
            : NULL;
    if (seed)
      run_rounds (seed);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  limit_memory ();
  case_add_every ("/fuzz", test_fuzz);
  g_test_add_func ("/fuzz/theirs", test_theirs);
  return g_test_run ();
}
