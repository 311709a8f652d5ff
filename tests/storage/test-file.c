/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files on disk: content, holes, locks; sizes and options as text; probing. */
#include "config.h"

#include "storage/file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/probe.h"
#include "tests/storage/fake-file.h"

typedef struct {
  char *folder, *path;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("vprov-file-XXXXXX", NULL);
  g_assert_nonnull (f->folder);
  f->path = g_build_filename (f->folder, "disk", NULL);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  (void) g_unlink (f->path);
  g_assert_cmpint (g_rmdir (f->folder), ==, 0);
  g_free (f->folder);
  g_free (f->path);
}

static VpFile *
open_new (Fixture *f, VpFileFlags flags)
{
  g_autoptr (GError) error = NULL;
  VpFile *file =
      vp_file_open (f->path, VP_FILE_WRITABLE | VP_FILE_CREATE | flags, &error);
  g_assert_no_error (error);
  return file;
}

static void
test_content (Fixture *f, gconstpointer data)
{
  g_autoptr (VpFile) file = open_new (f, 0);
  uint8_t buffer[16];
  uint64_t size;
  g_assert_true (vp_file_write (file, 10, "hello", 5, NULL));
  g_assert_true (vp_file_get_size (file, &size, NULL));
  g_assert_cmpuint (size, ==, 15);
  memset (buffer, 0xff, sizeof buffer);
  g_assert_true (vp_file_read (file, 8, buffer, sizeof buffer, NULL));
  g_assert_cmpmem (buffer, 16, "\0\0hello\0\0\0\0\0\0\0\0\0", 16);
  g_assert_true (vp_file_zero (file, 11, 100, true, NULL));
  g_assert_true (vp_file_get_size (file, &size, NULL));
  g_assert_cmpuint (size, ==, 111);
  g_assert_true (vp_file_read (file, 9, buffer, 4, NULL));
  g_assert_cmpmem (buffer, 4, "\0h\0\0", 4);
  g_assert_true (vp_file_flush (file, NULL));
}

static void
test_holes (Fixture *f, gconstpointer data)
{
  g_autoptr (VpFile) file = open_new (f, 0);
  uint64_t length, used_before, used_after;
  bool is_data;
  g_autofree uint8_t *ones = g_malloc (1 << 20);
  memset (ones, 1, 1 << 20);
  g_assert_true (vp_file_write (file, 1 << 20, ones, 1 << 20, NULL));
  g_assert_true (vp_file_truncate (file, 4 << 20, NULL));
  g_assert_true (vp_file_extent (file, 0, 8 << 20, &is_data, &length, NULL));
  g_assert_false (is_data);
  g_assert_cmpuint (length, ==, 1 << 20);
  g_assert_true (
      vp_file_extent (file, 1 << 20, 8 << 20, &is_data, &length, NULL));
  g_assert_true (is_data);
  g_assert_cmpuint (length, ==, 1 << 20);
  g_assert_true (vp_file_extent (file, 5 << 20, 100, &is_data, &length, NULL));
  g_assert_false (is_data);
  g_assert_cmpuint (length, ==, 100);
  g_assert_true (vp_file_get_used (file, &used_before, NULL));
  vp_file_discard (file, 1 << 20, 1 << 20);
  g_assert_true (vp_file_get_used (file, &used_after, NULL));
  g_assert_cmpuint (used_after, <, used_before);
}

static void
test_read_only (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  vp_file_unref (open_new (f, 0));
  g_autoptr (VpFile) file = vp_file_open (f->path, VP_FILE_READ_ONLY, &error);
  g_assert_no_error (error);
  g_assert_false (vp_file_write (file, 0, "x", 1, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
}

static void
test_range (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = open_new (f, 0);
  uint8_t byte = 0;
  g_assert_false (vp_file_read (file, UINT64_MAX, &byte, 1, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  g_clear_error (&error);
  g_assert_false (vp_file_write (file, INT64_MAX, &byte, 1, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
}

static void
test_missing (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (vp_file_open (f->path, VP_FILE_READ_ONLY, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
  g_autofree char *wanted = g_strdup_printf (
      "Could not open '%s': No such file or directory", f->path);
  g_assert_cmpstr (error->message, ==, wanted);
}

static void
test_fifo (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_assert_cmpint (mkfifo (f->path, 0600), ==, 0);
  g_assert_null (vp_file_open (f->path, VP_FILE_READ_ONLY, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_clear_error (&error);
  g_assert_null (vp_file_open (f->folder, VP_FILE_READ_ONLY, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
}

/* ---- locks -------------------------------------------------------------- */

static void
assert_in_use (Fixture *f, VpFileFlags flags, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (vp_file_open (f->path, flags, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE);
  g_assert_nonnull (strstr (error->message, words));
}

static void
test_writer_is_alone (Fixture *f, gconstpointer data)
{
  g_autoptr (VpFile) writer = open_new (f, 0);
  assert_in_use (f, VP_FILE_WRITABLE, "\"write\" lock");
  assert_in_use (f, VP_FILE_READ_ONLY, "shared \"write\" lock");
  g_autoptr (VpFile) peek = vp_file_open (f->path, VP_FILE_NO_LOCK, NULL);
  g_assert_nonnull (peek);
  g_clear_pointer (&writer, vp_file_unref);
  g_autoptr (VpFile) next = vp_file_open (f->path, VP_FILE_WRITABLE, NULL);
  g_assert_nonnull (next);
}

static void
test_readers_share (Fixture *f, gconstpointer data)
{
  vp_file_unref (open_new (f, 0));
  g_autoptr (VpFile) one = vp_file_open (f->path, 0, NULL);
  g_autoptr (VpFile) two = vp_file_open (f->path, 0, NULL);
  g_assert_nonnull (one);
  g_assert_nonnull (two);
  assert_in_use (f, VP_FILE_WRITABLE, "\"write\" lock");
}

/* The bytes are QEMU's: 101 "I write", 201 "nobody else may write". */
static void
test_lock_bytes (Fixture *f, gconstpointer data)
{
  g_autoptr (VpFile) writer = open_new (f, 0);
  int fd = open (f->path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  static const struct {
    int byte;
    bool held;
  } wanted[] = { { 99, false },  { 100, true },  { 101, true },  { 102, false },
                 { 103, true },  { 104, false }, { 200, false }, { 201, true },
                 { 202, false }, { 203, true },  { 204, false } };
  for (size_t i = 0; i < G_N_ELEMENTS (wanted); i++) {
    struct flock lock = { .l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = wanted[i].byte,
                          .l_len = 1 };
    g_assert_cmpint (fcntl (fd, F_OFD_GETLK, &lock), ==, 0);
    g_assert_cmpint (lock.l_type != F_UNLCK, ==, wanted[i].held);
  }
  close (fd);
}

static void
test_fd (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  vp_file_unref (open_new (f, 0));
  int fd = open (f->path, O_RDONLY | O_CLOEXEC);
  g_assert_null (vp_file_open_fd (fd, "shown", VP_FILE_WRITABLE, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
  g_clear_error (&error);
  g_autoptr (VpFile) file = vp_file_open_fd (fd, "shown", 0, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (file->name, ==, "shown");
  close (fd);
  uint8_t byte = 1;
  g_assert_true (vp_file_read (file, 0, &byte, 1, NULL));
  g_assert_cmpuint (byte, ==, 0);
}

/* ---- caching ------------------------------------------------------------ */

static unsigned
count_flushes (VpFileCaching caching)
{
  g_autoptr (VpFile) file = fake_file_new ("disk");
  GPtrArray *ops = fake_file_record (file);
  unsigned n = 0;
  vp_file_add_caching (file, caching);
  g_assert_true (vp_file_write (file, 0, "a", 1, NULL));
  g_assert_true (vp_file_zero (file, 1, 4096, true, NULL));
  g_assert_true (vp_file_truncate (file, 8192, NULL));
  g_assert_true (vp_file_flush (file, NULL));
  for (unsigned i = 0; i < ops->len; i++)
    n += ((FakeOp *) g_ptr_array_index (ops, i))->kind == FAKE_FLUSH;
  return n;
}

static void
test_flushes (void)
{
  g_assert_cmpuint (count_flushes (0), ==, 1);
  g_assert_cmpuint (count_flushes (VP_FILE_CACHE_DROP), ==, 1);
  g_assert_cmpuint (count_flushes (VP_FILE_CACHE_THROUGH), ==, 4);
  g_assert_cmpuint (count_flushes (VP_FILE_CACHE_UNSAFE), ==, 0);
}

/* Pages of the file that the kernel holds in memory. */
static size_t
count_cached (Fixture *f, size_t size)
{
  size_t n_pages = size / (size_t) sysconf (_SC_PAGESIZE), n = 0;
  g_autofree unsigned char *held = g_malloc0 (n_pages);
  int fd = open (f->path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  void *map = mmap (NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  g_assert_true (map != MAP_FAILED);
  g_assert_cmpint (mincore (map, size, held), ==, 0);
  for (size_t i = 0; i < n_pages; i++)
    n += held[i] & 1;
  munmap (map, size);
  close (fd);
  return n * (size_t) sysconf (_SC_PAGESIZE);
}

/* Neither what was written nor what was read fills the page cache. */
static void
test_dropped_cache (Fixture *f, gconstpointer data)
{
  const size_t piece = 1 << 20, size = 24 * piece;
  g_autofree uint8_t *buffer = g_malloc0 (piece);
  g_autoptr (VpFile) file = open_new (f, 0);
  for (size_t at = 0; at < size; at += piece)
    g_assert_true (vp_file_write (file, at, buffer, piece, NULL));
  g_assert_true (vp_file_flush (file, NULL));
  vp_file_add_caching (file, VP_FILE_CACHE_DROP);
  g_assert_true (vp_file_flush (file, NULL));
  if (count_cached (f, size) == size) {
    g_test_skip ("the file system keeps its files in memory");
    return;
  }
  g_assert_cmpuint (count_cached (f, size), <, piece);
  for (size_t at = 0; at < size; at += piece)
    g_assert_true (vp_file_read (file, at, buffer, piece, NULL));
  /* One step, and what the kernel read ahead. */
  g_assert_cmpuint (count_cached (f, size), <=, 12 * piece);
  g_clear_pointer (&file, vp_file_unref);
  g_assert_cmpuint (count_cached (f, size), <, piece);
}

/* ---- words -------------------------------------------------------------- */

static void
test_sizes (void)
{
  static const struct {
    const char *text;
    uint64_t size;
  } good[] = { { "0", 0 },
               { "512", 512 },
               { "1b", 1 },
               { "1k", 1024 },
               { "1.5M", 1536 << 10 },
               { "20G", UINT64_C (20) << 30 },
               { "2T", UINT64_C (2) << 40 },
               { "7E", UINT64_C (7) << 60 } };
  static const char *const bad[] = {
    "",   "-1",  "+1",  "G",    "1Q",
    "8E", "1KB", "1 k", "1.M5", "99999999999999999999"
  };
  uint64_t size;
  for (size_t i = 0; i < G_N_ELEMENTS (good); i++) {
    g_assert_true (vp_parse_size (good[i].text, &size, NULL));
    g_assert_cmpuint (size, ==, good[i].size);
  }
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_false (vp_parse_size (bad[i], &size, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  }
}

static void
assert_option (const char *name, const char *value, int code)
{
  g_autoptr (GError) error = NULL;
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  bool ok =
      vp_create_options_set (&options, &vp_format_qcow2, name, value, &error);
  g_assert_cmpint (ok, ==, code < 0);
  if (code >= 0)
    g_assert_error (error, VP_IMAGE_ERROR, code);
}

static void
test_options (void)
{
  assert_option ("compat", "1.1", -1);
  assert_option ("compat", "0.11", VP_IMAGE_ERROR_USAGE);
  assert_option ("cluster_size", "2M", -1);
  assert_option ("cluster_size", "big", VP_IMAGE_ERROR_USAGE);
  assert_option ("lazy_refcounts", "on", -1);
  assert_option ("lazy_refcounts", "perhaps", VP_IMAGE_ERROR_USAGE);
  assert_option ("refcount_bits", "3", VP_IMAGE_ERROR_USAGE);
  assert_option ("refcount_bits", "128", VP_IMAGE_ERROR_USAGE);
  assert_option ("extended_l2", "off", -1);
  assert_option ("extended_l2", "on", -1);
  assert_option ("colour", "red", VP_IMAGE_ERROR_USAGE);
}

static void
assert_probe (uint64_t offset, const char *mark, size_t len, const char *format,
              int code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = fake_file_new ("disk");
  uint8_t zeros[4096] = { 0 };
  fake_file_poke (file, 0, zeros, sizeof zeros);
  fake_file_poke (file, offset, mark, len);
  const VpFormat *found = vp_probe_format (file, &error);
  if (format) {
    g_assert_no_error (error);
    g_assert_cmpstr (found->name, ==, format);
  } else
    g_assert_error (error, VP_IMAGE_ERROR, code);
}

static void
test_probe (void)
{
  assert_probe (0, "", 0, "raw", 0);
  assert_probe (0, "QFI\xfb\0\0\0\3", 8, "qcow2", 0);
  assert_probe (0, "QFI\xfb\0\0\0\1", 8, "qcow", 0);
  assert_probe (0, "KDMV", 4, "vmdk", 0);
  assert_probe (0, "# made by hand\n \r\nversion=1\n", 28, "vmdk", 0);
  assert_probe (0, "# made by hand\nversion=4\n", 25, "raw", 0);
  assert_probe (0x40, "\x7f\x10\xda\xbe", 4, "vdi", 0);
  assert_probe (4096 - 512, "conectix", 8, NULL, VP_IMAGE_ERROR_UNSUPPORTED);
}

static void
test_probe_two (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = fake_file_new ("disk");
  uint8_t zeros[4096] = { 0 };
  fake_file_poke (file, 0, zeros, sizeof zeros);
  fake_file_poke (file, 0, "QFI\xfb\0\0\0\3", 8);
  fake_file_poke (file, 0x40, "\x7f\x10\xda\xbe", 4);
  g_assert_null (vp_probe_format (file, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT);
}

/* A guest's first sector must not turn a raw disk into an image. */
static void
test_guarded_head (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = fake_file_new ("disk");
  g_assert_true (vp_file_truncate (file, 4096, NULL));
  vp_file_guard_head (file, vp_probe_head_is_raw);
  g_assert_false (vp_file_write (file, 0, "QFI\xfb\0\0\0\3", 8, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_PERM);
  g_clear_error (&error);
  g_assert_false (vp_file_write (file, 0x40, "\x7f\x10\xda\xbe", 4, &error));
  g_clear_error (&error);
  /* Also where it comes in pieces. */
  g_assert_true (vp_file_write (file, 2, "MV", 2, NULL));
  g_assert_false (vp_file_write (file, 0, "KD", 2, &error));
  g_clear_error (&error);
  g_assert_true (vp_file_write (file, 512, "QFI\xfb\0\0\0\3", 8, NULL));
  g_assert_true (vp_file_write (file, 0, "boot", 4, NULL));
}

#define ADD(name, func)                                                        \
  g_test_add ("/file/" name, Fixture, NULL, set_up, func, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("content", test_content);
  ADD ("holes", test_holes);
  ADD ("read-only", test_read_only);
  ADD ("range", test_range);
  ADD ("missing", test_missing);
  ADD ("fifo", test_fifo);
  ADD ("locks/writer-is-alone", test_writer_is_alone);
  ADD ("locks/readers-share", test_readers_share);
  ADD ("locks/bytes", test_lock_bytes);
  ADD ("fd", test_fd);
  g_test_add_func ("/file/caching/flushes", test_flushes);
  ADD ("caching/dropped", test_dropped_cache);
  g_test_add_func ("/formats/sizes", test_sizes);
  g_test_add_func ("/formats/options", test_options);
  g_test_add_func ("/formats/probe", test_probe);
  g_test_add_func ("/formats/probe-two", test_probe_two);
  g_test_add_func ("/formats/guarded-head", test_guarded_head);
  return g_test_run ();
}
