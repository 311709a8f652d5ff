/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The checksum against its definition, done the simple way; and comparing,
 * which walks images in the same manner. */
#include "config.h"

#include "storage/checksum.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MIB   (UINT64_C (1) << 20)
#define BLOCK 65536u
/* 5 MiB of zeros; the same with scatter (image, 42, 20). */
#define EMPTY_SUM                                                              \
  "634a89696fd0515607494e14dbd112b5978f0b0248ec6da715c0f1b12b1a997f"
#define FULL_SUM                                                               \
  "36f5323e694a838f0ca1dfc6f48ac0ecac7e5c540a9c5db857b5e0d7a9b0af97"

static FakeGate gate;

static void
sha256 (const uint8_t *bytes, size_t len, uint8_t *ret_digest)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize digest_len = 32;
  g_checksum_update (sum, bytes, (gssize) len);
  g_checksum_get_digest (sum, ret_digest, &digest_len);
}

/* One level up. */
static GByteArray *
join_level (const GByteArray *level)
{
  GByteArray *up = g_byte_array_new ();
  for (guint at = 0; at < level->len; at += 256 * 32) {
    uint8_t digest[32];
    sha256 (level->data + at, MIN (level->len - at, 256 * 32), digest);
    g_byte_array_append (up, digest, sizeof digest);
  }
  return up;
}

/* Step by step as checksum.h says. */
static char *
simple_checksum (VpImage *image)
{
  uint64_t size = vp_image_get_size (image);
  g_autoptr (GByteArray) level = g_byte_array_new ();
  g_autofree uint8_t *block = g_malloc (BLOCK), *zeros = g_malloc0 (BLOCK);
  uint8_t digest[32], zero_digest[32];
  sha256 (zeros, BLOCK, zero_digest);
  for (uint64_t at = 0; at < size; at += BLOCK) {
    memset (block, 0, BLOCK);
    ASSERT_OK (vp_image_read (image, at, block, (size_t) MIN (BLOCK, size - at),
                              &error));
    if (memcmp (block, zeros, BLOCK) == 0) /* only to be quick */
      memcpy (digest, zero_digest, sizeof digest);
    else
      sha256 (block, BLOCK, digest);
    g_byte_array_append (level, digest, sizeof digest);
  }
  while (level->len > sizeof digest) {
    GByteArray *up = join_level (level);
    g_byte_array_unref (level);
    level = up;
  }
  g_autoptr (GByteArray) last = g_byte_array_new ();
  uint8_t number[8];
  vp_be64_set (number, size);
  g_byte_array_append (last, (const uint8_t *) "vprov-checksum-1\n", 17);
  g_byte_array_append (last, number, sizeof number);
  g_byte_array_append (last, level->data, level->len);
  sha256 (last->data, last->len, digest);
  return vp_checksum_to_text (digest);
}

static char *
checksum (VpImage *image, unsigned threads)
{
  uint8_t digest[VP_CHECKSUM_LEN];
  ASSERT_OK (vp_checksum_image (image, threads, NULL, digest, &error));
  return vp_checksum_to_text (digest);
}

static void
scatter (VpImage *image, uint64_t seed, unsigned n)
{
  Random random = { seed };
  uint64_t size = vp_image_get_size (image);
  uint8_t bytes[3000];
  for (unsigned i = 0; i < n; i++) {
    random_fill (&random, bytes, sizeof bytes);
    uint64_t offset = random_below (&random, size - sizeof bytes);
    ASSERT_OK (vp_image_write (image, offset, bytes, sizeof bytes, &error));
  }
}

static void
check_one (const EngineCase *c, uint64_t size, unsigned n)
{
  g_autoptr (VpFile) file = case_create (c, &gate, "disk", size, NULL, NULL);
  g_autoptr (VpImage) image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  if (n > 0)
    scatter (image, size, n);
  g_autofree char *expected = simple_checksum (image);
  g_autofree char *one = checksum (image, 1);
  g_autofree char *many = checksum (image, 4);
  g_assert_cmpstr (one, ==, expected);
  g_assert_cmpstr (many, ==, expected);
}

/* Round the sizes where levels begin. */
static void
test_definition (void)
{
  const EngineCase *c = case_find ("qcow2");
  check_one (c, 512, 0);
  check_one (c, 65536, 3);
  check_one (c, 65536 + 512, 3);
  check_one (c, 16 * MIB - 512, 30);
  check_one (c, 16 * MIB, 0);
  check_one (c, 16 * MIB + 65536, 30);
  check_one (c, 70 * MIB, 30);
  check_one (c, (1024 * test_rounds (0, 5) + 263) * MIB, 3);
}

/* The same in all formats; known, so that it never changes. */
static void
test_same (gconstpointer data)
{
  const EngineCase *c = data;
  g_autoptr (VpFile) file = case_create (c, &gate, "disk", 5 * MIB, NULL, NULL);
  g_autoptr (VpImage) image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  g_autofree char *empty = checksum (image, 0);
  scatter (image, 42, 20);
  g_autofree char *full = checksum (image, 0);
  g_assert_cmpstr (empty, ==, EMPTY_SUM);
  g_assert_cmpstr (full, ==, FULL_SUM);
}

/* ---- comparing ---------------------------------------------------------- */

static void
compare (VpImage *a, VpImage *b, bool strict, VpCompareResult expected,
         uint64_t expected_at)
{
  VpCompareResult result;
  uint64_t at;
  ASSERT_OK (vp_compare_images (a, b, strict, NULL, &result, &at, NULL, NULL,
                                NULL, &error));
  g_assert_cmpint (result, ==, expected);
  if (expected != VP_COMPARE_EQUAL)
    g_assert_cmpuint (at, ==, expected_at);
}

static void
test_first_difference (gconstpointer data)
{
  const EngineCase *c = data;
  g_autoptr (VpFile) file_a = case_create (c, &gate, "a", 9 * MIB, NULL, NULL);
  g_autoptr (VpFile) file_b =
      case_create (case_find ("raw"), &gate, "b", 9 * MIB, NULL, NULL);
  g_autoptr (VpImage) a = case_open (c, &gate, file_a, VP_IMAGE_WRITABLE);
  g_autoptr (VpImage) b =
      case_open (case_find ("raw"), &gate, file_b, VP_IMAGE_WRITABLE);
  scatter (a, 7, 400);
  scatter (b, 7, 400);
  compare (a, b, false, VP_COMPARE_EQUAL, 0);
  compare (a, a, true, VP_COMPARE_EQUAL, 0);
  for (uint64_t at = 9 * MIB - 1; at > MIB; at -= MIB + 12345) {
    uint8_t byte;
    ASSERT_OK (vp_image_read (b, at, &byte, 1, &error));
    byte ^= 1;
    ASSERT_OK (vp_image_write (b, at, &byte, 1, &error));
    compare (a, b, false, VP_COMPARE_CONTENT, at);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fake_gate_init (&gate);
  g_test_add_func ("/checksum/definition", test_definition);
  case_add_all ("/checksum/same", test_same);
  case_add_all ("/compare/first-difference", test_first_difference);
  int status = g_test_run ();
  fake_gate_clear (&gate);
  return status;
}
