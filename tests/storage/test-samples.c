/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images made by others: those that QEMU opens must read the same, and those
 * made with malice must be refused, or be found corrupt, without a crash and
 * without a look at what they name.  Skipped where the samples are absent. */
#include "config.h"

#include <string.h>

#include <zlib.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MAX_SAMPLE (64u << 20)

/* NULL where neither NAME nor NAME.gz is there. */
static VpFile *
load_sample (const char *folder, const char *name)
{
  g_autofree char *plain = g_build_filename (folder, name, NULL);
  g_autofree char *packed = g_strconcat (plain, ".gz", NULL);
  gzFile in =
      gzopen (g_file_test (packed, G_FILE_TEST_EXISTS) ? packed : plain, "rb");
  if (!in)
    return NULL;
  g_autofree uint8_t *bytes = g_malloc (MAX_SAMPLE);
  int len = gzread (in, bytes, MAX_SAMPLE);
  gzclose (in);
  g_assert_cmpint (len, >, 0);
  VpFile *file = fake_file_new (name);
  fake_file_poke (file, 0, bytes, (size_t) len);
  return file;
}

static GPtrArray *
read_rows (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *text = NULL;
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  GPtrArray *rows =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_strfreev);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (char **line = lines + 1; *line; line++)
    if (**line)
      g_ptr_array_add (rows, g_strsplit (*line, "\t", -1));
  return rows;
}

static char *
hash_of (VpImage *image)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  uint64_t size = vp_image_get_size (image);
  g_autofree uint8_t *buffer = g_malloc (1 << 20);
  for (uint64_t at = 0; at < size; at += 1 << 20) {
    size_t len = (size_t) MIN (size - at, 1 << 20);
    ASSERT_OK (vp_image_read (image, at, buffer, len, &error));
    g_checksum_update (sum, buffer, (gssize) len);
  }
  return g_strndup (g_checksum_get_string (sum), 16);
}

static int
check_code (VpFile *file, const char *format)
{
  g_autoptr (GError) open_error = NULL;
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (VpImage) image = vp_image_open_file (
      file, format, VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING, NULL, &open_error);
  g_assert_no_error (open_error);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  return result.corruptions ? 2 : result.leaks ? 3 : 0;
}

static void
test_same_bytes (void)
{
  const char *folder = test_samples ();
  g_autoptr (GPtrArray) rows = folder ? read_rows (folder, "ORACLE.tsv") : NULL;
  unsigned n_hashed = 0, n_opened = 0;
  if (!rows) {
    g_test_skip ("the sample images are absent");
    return;
  }
  for (guint i = 0; i < rows->len; i++) {
    char **row = g_ptr_array_index (rows, i);
    g_autoptr (GError) open_error = NULL;
    if (g_strv_length (row) < 7 || strcmp (row[2], "qcow2") != 0)
      continue;
    g_autoptr (VpFile) file = load_sample (folder, row[0]);
    g_assert_nonnull (file);
    g_autoptr (VpImage) image =
        vp_image_open_file (file, NULL, 0, NULL, &open_error);
    if (!image)
      g_error ("%s: %s", row[0], open_error->message);
    g_auto (VpImageInfo) info = { 0 };
    ASSERT_OK (vp_image_get_info (image, &info, &error));
    g_assert_cmpstr (info.format, ==, "qcow2");
    g_assert_cmpstr (info.compat, ==, row[3]);
    g_assert_cmpuint (info.virtual_size, ==,
                      g_ascii_strtoull (row[4], NULL, 10));
    g_autofree char *code =
        g_strdup_printf ("check=%d", check_code (file, "qcow2"));
    g_assert_cmpstr (code, ==, row[5]);
    n_opened++;
    if (!row[6][0] || info.virtual_size > 256u << 20)
      continue;
    g_autofree char *hash = hash_of (image);
    if (strcmp (hash, row[6]) != 0)
      g_error ("%s: content %s, not %s", row[0], hash, row[6]);
    n_hashed++;
  }
  g_test_message ("%u opened, %u hashed", n_opened, n_hashed);
  g_assert_cmpuint (n_opened, >=, 20);
  g_assert_cmpuint (n_hashed, >=, 10);
}

/* ---- malice ------------------------------------------------------------- */

/* Opens as a guest's disk, reads all that is allowed, checks, tries to write
 * to a copy: whatever happens, it is an answer. */
static void
poke_at (VpFile *file, const char *format)
{
  g_autoptr (VpFile) copy = fake_file_copy (file, file->name);
  g_autoptr (VpImage) image =
      vp_image_open_file (copy, format, VP_IMAGE_NO_BACKING, NULL, NULL);
  g_autofree uint8_t *buffer = g_malloc (65536);
  uint64_t size = image ? vp_image_get_size (image) : 0;
  for (uint64_t at = 0; at < MIN (size, 16u << 20); at += 65536)
    (void) !vp_image_read (image, at, buffer, (size_t) MIN (65536, size - at),
                           NULL);
  g_clear_pointer (&image, vp_image_free);
  image = vp_image_open_file (
      copy, format, VP_IMAGE_NO_BACKING | VP_IMAGE_WRITABLE, NULL, NULL);
  for (uint64_t at = 0; image && at < MIN (size, 4u << 20); at += 65536)
    (void) !vp_image_write (image, at, buffer, (size_t) MIN (4096, size - at),
                            NULL);
  if (image)
    (void) !vp_image_flush (image, NULL);
  g_clear_pointer (&image, vp_image_free);
  image = vp_image_open_file (
      copy, format, VP_IMAGE_NO_BACKING | VP_IMAGE_WRITABLE | VP_IMAGE_CHECK,
      NULL, NULL);
  g_auto (VpCheckResult) result = { 0 };
  if (image)
    (void) !vp_check_image (image, VP_REPAIR_ALL, NULL, &result, NULL);
}

static void
judge_malice (const char *folder, const char *name, const char *wanted)
{
  g_autoptr (GError) open_error = NULL;
  g_autoptr (VpFile) file = load_sample (folder, name);
  g_assert_nonnull (file);
  FakeGate gate;
  fake_gate_init (&gate);
  const char *format = strstr (name, ".raw") ? "raw" : "qcow2";
  g_autoptr (VpImage) image =
      vp_image_open_file (file, format, 0, NULL, &open_error);
  g_test_message ("%s: %s", name, open_error ? open_error->message : "opened");
  if (g_str_has_prefix (wanted, "reject op"))
    g_assert_cmpint (check_code (file, format), ==, 2);
  else if (g_str_has_prefix (wanted, "reject"))
    g_assert_null (image);
  else if (strstr (wanted, "check=corrupt"))
    g_assert_cmpint (check_code (file, format), ==, 2);
  else if (strstr (wanted, "error on read")) {
    uint8_t bytes[512];
    bool failed = false;
    for (uint64_t at = 0; at < vp_image_get_size (image); at += 65536)
      failed = failed ||
               !vp_image_read (
                   image, at, bytes,
                   (size_t) MIN (sizeof bytes, vp_image_get_size (image) - at),
                   NULL);
    g_assert_true (failed);
  } else
    g_assert_no_error (open_error);
  g_assert_cmpuint (gate.n_asked, ==, 0);
  poke_at (file, format);
  fake_gate_clear (&gate);
}

static void
test_malice (void)
{
  const char *samples = test_samples ();
  g_autofree char *folder =
      samples ? g_build_filename (samples, "malicious", NULL) : NULL;
  g_autoptr (GPtrArray) rows =
      folder ? read_rows (folder, "MANIFEST.tsv") : NULL;
  unsigned n = 0;
  if (!rows) {
    g_test_skip ("the sample images are absent");
    return;
  }
  for (guint i = 0; i < rows->len; i++) {
    char **row = g_ptr_array_index (rows, i);
    if (!g_str_has_prefix (row[0], "qcow2"))
      continue;
    judge_malice (folder, row[0], row[2]);
    n++;
  }
  g_assert_cmpuint (n, >=, 25);
}

/* What QEMU can leave after a power cut: never a crash, and named corrupt. */
static void
test_crash_states (void)
{
  static const char *const names[] = {
    "crash-states/qcow2-discard-reuse-stale-map.qcow2",
    "crash-states/qcow2-lazy-torn-l2-beyond-eof.qcow2",
  };
  const char *folder = test_samples ();
  if (!folder) {
    g_test_skip ("the sample images are absent");
    return;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (VpFile) file = load_sample (folder, names[i]);
    if (!file)
      continue;
    g_test_message ("%s: check %d", names[i], check_code (file, "qcow2"));
    poke_at (file, "qcow2");
  }
}

/* ---- malice of our own, so that a checkout has some --------------------- */

typedef struct {
  const char *name;
  uint64_t offset;
  unsigned width;
  uint64_t value;
  bool opens; /* read-only; for writing none does */
} Poke;

/* Into a fresh image of 1 MiB with clusters of 4 KiB: reftable at 0x1000,
 * refblock at 0x2000, L1 at 0x3000, and one L2 table. */
static const Poke pokes[] = {
  { "magic", 0, 4, 0x51464900, false },
  { "version-1", 4, 4, 1, false },
  { "version-4", 4, 4, 4, false },
  { "backing-offset", 8, 8, UINT64_MAX - 100, false },
  { "backing-length", 16, 4, 0, true },
  { "cluster-bits-8", 20, 4, 8, false },
  { "cluster-bits-22", 20, 4, 22, false },
  { "cluster-bits-63", 20, 4, 63, false },
  { "size-huge", 24, 8, UINT64_MAX, false },
  { "size-over-l1", 24, 8, UINT64_C (1) << 40, false },
  { "crypt-1", 32, 4, 1, false },
  { "crypt-9", 32, 4, 9, false },
  { "l1-entries-huge", 36, 4, UINT32_MAX, false },
  { "l1-entries-0", 36, 4, 0, false },
  { "l1-misaligned", 40, 8, 0x3008, false },
  { "l1-on-reftable", 40, 8, 0x1000, false },
  { "l1-offset-0", 40, 8, 0, false },
  { "reftable-misaligned", 48, 8, 0x1200, false },
  { "reftable-offset-0", 48, 8, 0, false },
  { "reftable-wrap", 48, 8, UINT64_MAX - 0xfff, false },
  { "reftable-clusters-0", 56, 4, 0, false },
  { "reftable-clusters-huge", 56, 4, UINT32_MAX, false },
  { "snapshots-huge", 60, 4, UINT32_MAX, false },
  { "snapshots-nowhere", 60, 4, 1, false },
  { "unknown-incompatible", 72, 8, UINT64_C (1) << 40, false },
  { "data-file", 72, 8, 4, false },
  { "extended-l2", 72, 8, 16, false },
  { "corrupt", 72, 8, 2, true },
  { "compression-bit-alone", 72, 8, 8, false },
  { "refcount-order-7", 96, 4, 7, false },
  { "header-length-0", 100, 4, 0, false },
  { "header-length-huge", 100, 4, 0x7ffffff8, false },
  { "compression-type", 104, 1, 1, false },
  { "extension-length", 112, 8, UINT64_C (0x6803f8577fffffff), false },
};

static VpFile *
fresh_image (void)
{
  static const EngineCase c = { "own", "qcow2", "cluster_size=4k", true, true };
  FakeGate gate;
  fake_gate_init (&gate);
  VpFile *file = case_create (&c, &gate, "own", 1 << 20, NULL, NULL);
  VpImage *image = case_open (&c, &gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, "hello", 5, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_clear (&gate);
  return file;
}

static void
poke (VpFile *file, uint64_t offset, unsigned width, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (file, offset, bytes + 8 - width, width);
}

static void
test_header_pokes (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    const Poke *p = &pokes[i];
    g_autoptr (VpFile) file = fresh_image ();
    g_autoptr (GError) open_error = NULL;
    poke (file, p->offset, p->width, p->value);
    g_autoptr (VpImage) image =
        vp_image_open_file (file, "qcow2", 0, NULL, &open_error);
    g_test_message ("%s: %s", p->name,
                    open_error ? open_error->message : "opened");
    g_assert_cmpint (image != NULL, ==, p->opens);
    if (!image)
      g_assert_true (open_error->domain == VP_IMAGE_ERROR);
    poke_at (file, "qcow2");
  }
}

/* Tables that point where they must not: reading gives bytes or an error,
 * writing never touches metadata, the check says corrupt. */
static void
test_table_pokes (void)
{
  static const struct {
    const char *name;
    uint64_t offset, value;
  } tables[] = {
    { "reftable-entry-0", 0x1000, 0 },
    { "reftable-entry-odd", 0x1000, 0x2008 },
    { "reftable-entry-far", 0x1000, UINT64_C (1) << 55 },
    { "reftable-entry-header", 0x1000, 0 },
    { "refblock-zeroed", 0x2000, 0 },
    { "l1-to-l1", 0x3000, UINT64_C (0x8000000000003000) },
    { "l1-to-header", 0x3000, UINT64_C (0x8000000000000000) + 0x1000 },
    { "l1-far", 0x3000, UINT64_C (0x80ffffffffff0000) },
    { "l2-to-l1", 0x4000, UINT64_C (0x8000000000003000) },
    { "l2-to-refblock", 0x4000, UINT64_C (0x8000000000002000) },
    { "l2-to-itself", 0x4000, UINT64_C (0x8000000000004000) },
    { "l2-far", 0x4000, UINT64_C (0x80fffffffffff000) },
    { "l2-odd", 0x4000, UINT64_C (0x8000000000005200) },
    { "l2-packed-far", 0x4000, UINT64_C (0x7fffffffffffffff) },
    { "l2-packed-header", 0x4000, UINT64_C (0x4000000000000000) },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (tables); i++) {
    g_autoptr (VpFile) file = fresh_image ();
    poke (file, tables[i].offset, 8, tables[i].value);
    g_test_message ("%s", tables[i].name);
    g_assert_cmpint (check_code (file, "qcow2"), ==, 2);
    poke_at (file, "qcow2");
  }
}

/* Random bytes over the metadata: no answer is wrong but a crash. */
static void
test_noise (void)
{
  Random random = { test_seed () };
  for (unsigned i = 0; i < test_rounds (300, 20000); i++) {
    g_autoptr (VpFile) file = fresh_image ();
    for (unsigned n = 1 + (unsigned) random_below (&random, 4); n > 0; n--) {
      static const uint64_t areas[] = { 0, 0x1000, 0x2000, 0x3000, 0x4000 };
      uint64_t offset = areas[random_below (&random, 5)];
      uint64_t limit = offset ? 64 : 512;
      poke (file, offset + 8 * random_below (&random, limit / 8), 8,
            random_next (&random) >> random_below (&random, 64));
    }
    poke_at (file, "qcow2");
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/samples/same-bytes", test_same_bytes);
  g_test_add_func ("/samples/malice", test_malice);
  g_test_add_func ("/samples/crash-states", test_crash_states);
  g_test_add_func ("/hostile/header", test_header_pokes);
  g_test_add_func ("/hostile/tables", test_table_pokes);
  g_test_add_func ("/hostile/noise", test_noise);
  return g_test_run ();
}
