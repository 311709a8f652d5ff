/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images made by others, and what is known of them: each row of the samples'
 * list opens as the format that it names, with the size, the health and the
 * bytes that QEMU finds in it; or, where QEMU finds none or cannot, this list
 * here says what is to become of it.  A sample without a word in either is a
 * failure.  Skipped where the samples are absent.
 *
 * "make check" takes the smaller ones, "make check-long" all. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <glib/gstdio.h>
#include <zlib.h>

#include "storage/checksum.h"
#include "storage/error.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define MAX_UNPACKED (UINT64_C (48) << 20) /* of a sample in make check */
#define MAX_HASHED   (UINT64_C (20) << 20) /* of its bytes, too */

/* ---- the samples on the disk -------------------------------------------- */

typedef struct {
  char *source; /* the folder of all samples */
  char *folder; /* where they are unpacked */
  GPtrArray *rows;
} Shelf;

static void
unpack_gz (const char *from, const char *to)
{
  gzFile in = gzopen (from, "rb");
  FILE *out = fopen (to, "wb");
  static uint8_t buffer[1 << 16];
  int len;
  g_assert_true (in && out);
  while ((len = gzread (in, buffer, sizeof buffer)) > 0)
    g_assert_cmpuint (fwrite (buffer, 1, (size_t) len, out), ==, (size_t) len);
  g_assert_cmpint (len, ==, 0);
  g_assert_cmpint (fclose (out), ==, 0);
  gzclose (in);
}

static bool
unpack_bz2 (const char *from, const char *to)
{
  g_autofree char *command = g_strdup_printf (
      "command -v bzip2 >/dev/null || exit 9; exec bzip2 -dc '%s' >'%s'", from,
      to);
  const char *argv[] = { "sh", "-c", command, NULL };
  int status = judge_run (argv, NULL);
  g_assert_true (status == 0 || status == 9);
  return status == 0;
}

static void
copy_plain (const char *from, const char *to)
{
  g_autofree char *bytes = NULL;
  gsize len;
  g_assert_true (g_file_get_contents (from, &bytes, &len, NULL));
  g_assert_true (g_file_set_contents (to, bytes, (gssize) len, NULL));
}

/* To be freed; NULL where no program unpacks it. */
static char *
unpack (const Shelf *shelf, const char *name)
{
  g_autofree char *base = g_path_get_basename (name);
  g_autofree char *plain = g_build_filename (shelf->source, name, NULL);
  g_autofree char *gz = g_strconcat (plain, ".gz", NULL);
  g_autofree char *bz2 = g_strconcat (plain, ".bz2", NULL);
  g_autofree char *to = g_build_filename (shelf->folder, base, NULL);
  if (g_access (gz, R_OK) == 0)
    unpack_gz (gz, to);
  else if (g_access (bz2, R_OK) == 0) {
    if (!unpack_bz2 (bz2, to))
      return NULL;
  } else
    copy_plain (plain, to);
  return g_steal_pointer (&to);
}

static bool
is_beside (const char *a, const char *b)
{
  g_autofree char *folder_a = g_path_get_dirname (a);
  g_autofree char *folder_b = g_path_get_dirname (b);
  return strcmp (folder_a, folder_b) == 0;
}

/* A descriptor is too small to be packed; what lies beside it may be a part of
 * its image. */
static char *
take (const Shelf *shelf, char **row)
{
  g_autofree char *plain = g_build_filename (shelf->source, row[0], NULL);
  bool is_plain = g_access (plain, R_OK) == 0;
  for (guint i = 0; is_plain && i < shelf->rows->len; i++) {
    char **other = g_ptr_array_index (shelf->rows, i);
    if (is_beside (row[0], other[0]))
      g_free (unpack (shelf, other[0]));
  }
  return unpack (shelf, row[0]);
}

static void
clear_folder (const Shelf *shelf)
{
  g_autoptr (GDir) dir = g_dir_open (shelf->folder, 0, NULL);
  const char *name;
  while ((name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (shelf->folder, name, NULL);
    g_assert_cmpint (g_unlink (path), ==, 0);
  }
}

static GPtrArray *
read_rows (const char *path)
{
  g_autofree char *text = NULL;
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  GPtrArray *rows =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_strfreev);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (char **line = lines + 1; *line; line++) {
    if (!**line)
      continue;
    /* Empty columns at the end may be missing. */
    g_autofree char *full = g_strconcat (*line, "\t\t\t\t\t\t\t", NULL);
    g_ptr_array_add (rows, g_strsplit (full, "\t", -1));
  }
  return rows;
}

/* ---- what QEMU says ----------------------------------------------------- */

static VpImage *
open_sample (const char *path, const char *format, GError **error)
{
  VpOpener opener = vp_opener_person (VP_FILE_NO_LOCK);
  VpOpenOptions options = { .format = format,
                            .flags = VP_IMAGE_NO_LOCK,
                            .opener = &opener };
  g_autoptr (VpFile) file = vp_file_open (path, VP_FILE_NO_LOCK, error);
  return file ? vp_image_open_with (file, &options, error) : NULL;
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

static void
judge_check (const char *path, const char *format, const char *wanted)
{
  g_autoptr (GError) open_error = NULL;
  g_auto (VpCheckResult) result = { 0 };
  VpOpener opener = vp_opener_person (VP_FILE_NO_LOCK);
  g_autoptr (VpImage) image = vp_image_open (
      path, format, VP_IMAGE_CHECK | VP_IMAGE_NO_LOCK, &opener, &open_error);
  g_assert_no_error (open_error);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  int code = result.corruptions ? 2 : result.leaks ? 3 : 0;
  g_autofree char *found = g_strdup_printf ("check=%d", code);
  if (strcmp (found, wanted) != 0)
    g_error ("%s: %s, not %s: %s", path, found, wanted,
             result.messages->len > 0 ? (char *) result.messages->pdata[0]
                                      : "");
}

/* The columns: name, bytes, format, subtype, size, check, hash. */
static void
judge_same (char **row, const char *path)
{
  g_autoptr (GError) open_error = NULL;
  g_autoptr (VpImage) image = open_sample (path, NULL, &open_error);
  if (!image)
    g_error ("%s: %s", row[0], open_error->message);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  g_assert_cmpstr (info.format, ==, row[2]);
  g_assert_cmpuint (info.virtual_size, ==, g_ascii_strtoull (row[4], NULL, 10));
  if (strcmp (row[2], "qcow2") == 0)
    g_assert_cmpstr (info.compat, ==, row[3]);
  judge_check (path, row[2], row[5]);
  uint64_t most = test_rounds (0, 1) ? UINT64_C (2) << 30 : MAX_HASHED;
  if (!row[6][0] || info.virtual_size > most)
    return;
  g_autofree char *hash = hash_of (image);
  if (strcmp (hash, row[6]) != 0)
    g_error ("%s: content %s, not %s", row[0], hash, row[6]);
}

/* ---- where it says nothing ---------------------------------------------- */

typedef enum {
  REFUSED, /* its words contain the text */
  RAW,     /* bears no mark */
  READ,    /* the format is the text, and the checksum that of QEMU's bytes */
} Verdict;

typedef struct {
  const char *name;
  Verdict verdict;
  const char *text;
  uint64_t size;
  const char *checksum; /* the first 16 digits */
} Known;

static const Known known[] = {
  { "govmomi/ttylinux-pc_i486-16.1-disk1.vmdk", REFUSED, "" }, /* cut off */
  { "govmomi/ttylinux-pc_i486-16.1.ova", REFUSED, ".vmdk" },
  { "misc/francescobbo_nos/disk.vmdk", REFUSED, "disk.img" },
  { "misc/masahiro331_go-vmdk-parser/vmdk-invalid.img", REFUSED, "" },
  { "misc/pjedyk_arch8/image.vmdk", REFUSED, "image.bin" },
  { "misc/sq8vps_system/disk.vmdk", REFUSED, "PhysicalDrive2" },
  { "misc/sq8vps_system/disk.vmdk.6ecad4dc", REFUSED, "" },
  { "qemu-iotests/afl5.img", REFUSED, "" },
  { "qemu-iotests/afl9.vmdk", REFUSED, "" },
  { "qemu-iotests/d2v-zerofilled.vhd", READ, "vpc", 263454720,
    "24cbf47884347a8b" },
  { "qemu-iotests/empty.bochs", REFUSED, "bochs" },
  { "qemu-iotests/grub_mbr.raw", RAW },
  { "qemu-iotests/hyperv2012r2-dynamic.vhd", READ, "vpc", 136365211648,
    "ebdcb2931ac6bc3b" },
  { "qemu-iotests/iotest-dirtylog-10G-4M.vhdx", REFUSED, "log" },
  { "qemu-iotests/iotest-dynamic-1G.vhdx", READ, "vhdx", 1073741824,
    "85c96b7f2a7ace4e" },
  { "qemu-iotests/parallels-v1", REFUSED, "parallels" },
  { "qemu-iotests/parallels-v2", REFUSED, "parallels" },
  { "qemu-iotests/parallels-with-bitmap", REFUSED, "parallels" },
  { "qemu-iotests/simple-dmg.dmg", REFUSED, "dmg" },
  { "qemu-iotests/simple-pattern.cloop", REFUSED, "cloop" },
  { "qemu-iotests/test-disk2vhd.vhdx", READ, "vhdx", 268435456,
    "971b3716c7158bf2" },
  { "qemu-iotests/virtualpc-dynamic.vhd", READ, "vpc", 136363130880,
    "c916896c64926e33" },
  { "qemu-iotests-old/afl9.vmdk", REFUSED, "" },
  { "qemu-iotests-old/fake.parallels", REFUSED, "parallels" },
  { "securityronin-vmdk/flat-f001.vmdk", RAW },
  { "securityronin-vmdk/mono_flat-flat.vmdk", RAW },
  { "securityronin-vmdk/ms3-win.vmdk", REFUSED, "disk-s001.vmdk" },
  { "securityronin-vmdk/tw_sparse-s001.vmdk", REFUSED, "" },
  { "securityronin-vmdk/tw_sparse_data.vmdk", REFUSED,
    "tw_sparse_data-s001.vmdk" },
};

static const Known *
find_known (const char *name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++)
    if (strcmp (name, known[i].name) == 0)
      return &known[i];
  return NULL;
}

static void
judge_read (const Known *k, VpImage *image)
{
  g_assert_cmpstr (vp_image_get_format (image)->name, ==, k->text);
  g_assert_cmpuint (vp_image_get_size (image), ==, k->size);
  if (!k->checksum)
    return;
  uint8_t digest[VP_CHECKSUM_LEN];
  ASSERT_OK (vp_checksum_image (image, 0, NULL, digest, &error));
  g_autofree char *text = vp_checksum_to_text (digest);
  g_autofree char *begin = g_strndup (text, 16);
  if (strcmp (begin, k->checksum) != 0)
    g_error ("%s: content %s, not %s", k->name, begin, k->checksum);
}

static void
judge_known (const Known *k, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpImage) image = open_sample (path, NULL, &error);
  g_test_message ("%s: %s", k->name, error ? error->message : "opens");
  if (k->verdict == REFUSED) {
    g_assert_null (image);
    g_autofree char *said = g_ascii_strdown (error->message, -1);
    g_autofree char *wanted = g_ascii_strdown (k->text, -1);
    if (!strstr (said, wanted))
      g_error ("%s: \"%s\" does not name %s", k->name, said, wanted);
    return;
  }
  g_assert_no_error (error);
  if (k->verdict == RAW)
    g_assert_cmpstr (vp_image_get_format (image)->name, ==, "raw");
  else
    judge_read (k, image);
}

/* ---- all of them -------------------------------------------------------- */

static bool
is_left_out (char **row)
{
  uint64_t bytes = g_ascii_strtoull (row[1], NULL, 10);
  return bytes > MAX_UNPACKED && test_rounds (1, 0);
}

static void
judge_row (const Shelf *shelf, char **row)
{
  const Known *k = find_known (row[0]);
  bool by_qemu = g_str_has_prefix (row[5], "check=");
  if (!k && !by_qemu)
    g_error ("%s: nobody says what is to become of it", row[0]);
  if (is_left_out (row)) {
    g_test_message ("%s: too large for make check", row[0]);
    return;
  }
  g_autofree char *path = take (shelf, row);
  if (!path)
    g_test_message ("%s: nothing here unpacks it", row[0]);
  else if (k)
    judge_known (k, path);
  else
    judge_same (row, path);
  clear_folder (shelf);
}

static void
test_oracle (void)
{
  Shelf shelf = { .source = g_strdup (test_samples ()) };
  g_autofree char *list =
      shelf.source ? g_build_filename (shelf.source, "ORACLE.tsv", NULL) : NULL;
  shelf.rows = list ? read_rows (list) : NULL;
  if (!shelf.rows) {
    g_test_skip ("the sample images are absent");
    return;
  }
  shelf.folder = judge_folder ();
  for (guint i = 0; i < shelf.rows->len; i++)
    judge_row (&shelf, g_ptr_array_index (shelf.rows, i));
  g_assert_cmpuint (shelf.rows->len, >=, 80);
  judge_remove (shelf.folder);
  g_ptr_array_unref (shelf.rows);
  g_free (shelf.source);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/oracle/samples", test_oracle);
  return g_test_run ();
}
