/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qemu-img as the judge, both ways: what it writes we read, what we write it
 * finds clean and equal; snapshots of its making survive our writes; its locks
 * and ours respect each other.  It runs with a time limit and a memory limit,
 * for it is no safer than others. */
#include "config.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define SIZE (UINT64_C (3) << 20)

typedef struct {
  char *folder, *disk, *raw, *other, *data;
  uint8_t *bytes;
  Random random;
} World;

static int
run (const char *first, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *out = NULL, *err = NULL;
  int status = 0;
  static const char *const cage[] = { "timeout", "60", "prlimit",
                                      "--data=1073741824" };
  for (size_t i = 0; i < G_N_ELEMENTS (cage); i++)
    g_ptr_array_add (argv, (gpointer) cage[i]);
  va_list args;
  va_start (args, first);
  for (const char *arg = first; arg; arg = va_arg (args, const char *))
    if (*arg)
      g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  g_spawn_sync (NULL, (char **) argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL,
                NULL, &out, &err, &status, &error);
  g_assert_no_error (error);
  if (status != 0)
    g_test_message ("%s %s: %s%s", first, (char *) argv->pdata[5], out, err);
  return status;
}

static bool
skip_without_judge (void)
{
  static const char *const programs[] = { "qemu-img", "qemu-io", "prlimit",
                                          "timeout" };
  for (size_t i = 0; i < G_N_ELEMENTS (programs); i++) {
    g_autofree char *path = g_find_program_in_path (programs[i]);
    if (path)
      continue;
    g_autofree char *why = g_strdup_printf ("no %s here", programs[i]);
    g_test_skip (why);
    return true;
  }
  return false;
}

static void
set_up (World *w)
{
  w->folder = g_dir_make_tmp ("vprov-interop-XXXXXX", NULL);
  g_assert_nonnull (w->folder);
  w->disk = g_build_filename (w->folder, "disk", NULL);
  w->raw = g_build_filename (w->folder, "raw", NULL);
  w->other = g_build_filename (w->folder, "other", NULL);
  w->data = g_build_filename (w->folder, "guest", NULL);
  w->bytes = g_malloc0 (SIZE);
  w->random.state = test_seed ();
}

static void
tear_down (World *w)
{
  (void) g_unlink (w->disk);
  (void) g_unlink (w->raw);
  (void) g_unlink (w->other);
  (void) g_unlink (w->data);
  g_assert_cmpint (g_rmdir (w->folder), ==, 0);
  g_free (w->folder);
  g_free (w->disk);
  g_free (w->raw);
  g_free (w->other);
  g_free (w->data);
  g_free (w->bytes);
}

/* Text, noise and holes in turn. */
static void
make_content (World *w)
{
  for (uint64_t at = 0; at < SIZE; at += 65536 * 3) {
    size_t len = (size_t) MIN (SIZE - at, 100000);
    if (random_below (&w->random, 3) == 0)
      memset (w->bytes + at, 'a', len);
    else
      random_fill (&w->random, w->bytes + at, len);
  }
  g_assert_true (g_file_set_contents (w->raw, (char *) w->bytes, SIZE, NULL));
}

static VpImage *
open_disk (World *w, VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  VpOpener opener = vp_opener_person (0);
  VpImage *image = vp_image_open (w->disk, "qcow2", flags, &opener, &error);
  g_assert_no_error (error);
  return image;
}

static void
assert_content (World *w)
{
  g_autofree uint8_t *found = g_malloc (SIZE);
  g_autoptr (VpImage) image = open_disk (w, 0);
  g_assert_cmpuint (vp_image_get_size (image), ==, SIZE);
  ASSERT_OK (vp_image_read (image, 0, found, SIZE, &error));
  g_assert_true (memcmp (found, w->bytes, SIZE) == 0);
}

/* ---- theirs ------------------------------------------------------------- */

static const char *const their_options[] = {
  "cluster_size=512",
  "cluster_size=2M",
  "compat=0.10",
  "compat=0.10,cluster_size=512",
  "refcount_bits=1",
  "refcount_bits=8,cluster_size=4k",
  "refcount_bits=64,cluster_size=512",
  "preallocation=metadata",
  "lazy_refcounts=on",
  "compression_type=zstd",
  "extended_l2=on",
  "extended_l2=on,cluster_size=16k",
};

static void
test_theirs (void)
{
  World w = { 0 };
  if (skip_without_judge ())
    return;
  set_up (&w);
  make_content (&w);
  for (size_t i = 0; i < G_N_ELEMENTS (their_options); i += test_rounds (6, 1))
    for (unsigned packed = 0; packed < 2; packed++) {
      if (packed && strstr (their_options[i], "preallocation"))
        continue;
      g_assert_cmpint (run ("qemu-img", "convert", packed ? "-c" : "", "-f",
                            "raw", "-O", "qcow2", "-o", their_options[i], w.raw,
                            w.disk, NULL),
                       ==, 0);
      assert_content (&w);
      g_auto (VpCheckResult) result = { 0 };
      g_autoptr (VpImage) image =
          open_disk (&w, VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING);
      ASSERT_OK (
          vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
      g_assert_cmpuint (result.corruptions + result.leaks, ==, 0);
      g_assert_cmpint (result.compressed_clusters > 0, ==, packed);
    }
  tear_down (&w);
}

/* ---- ours --------------------------------------------------------------- */

static void
some_operations (World *w, VpImage *image, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    uint64_t length =
        1 +
        random_below (&w->random, random_below (&w->random, 4) ? 9000 : 400000);
    uint64_t offset = random_below (&w->random, SIZE - length + 1);
    bool zero = random_below (&w->random, 4) == 0;
    if (zero) {
      memset (w->bytes + offset, 0, length);
      ASSERT_OK (vp_image_zero (image, offset, length,
                                random_below (&w->random, 2), &error));
    } else {
      random_fill (&w->random, w->bytes + offset, length);
      ASSERT_OK (
          vp_image_write (image, offset, w->bytes + offset, length, &error));
    }
    if (random_below (&w->random, 10) == 0)
      ASSERT_OK (vp_image_flush (image, &error));
  }
}

static void
assert_judged (World *w)
{
  g_assert_true (g_file_set_contents (w->raw, (char *) w->bytes, SIZE, NULL));
  g_assert_cmpint (
      run ("qemu-img", "check", "-q", "-f", "qcow2", w->disk, NULL), ==, 0);
  g_assert_cmpint (run ("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2",
                        w->raw, w->disk, NULL),
                   ==, 0);
}

static void
test_ours (gconstpointer data)
{
  const EngineCase *c = data;
  if (skip_without_judge ())
    return;
  if (strstr (c->options, "encrypt")) {
    g_test_skip ("judged with its key, in the tests of encryption");
    return;
  }
  for (unsigned i = 0; i < test_rounds (1, 30); i++) {
    World w = { 0 };
    VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
    VpOpener opener = vp_opener_person (0);
    set_up (&w);
    case_options (c, &options);
    options.size = SIZE;
    if (options.data_name)
      options.data_name = w.data;
    ASSERT_OK (vp_image_create (w.disk, "qcow2", &options, &opener, &error));
    VpImage *image = open_disk (&w, VP_IMAGE_WRITABLE);
    some_operations (&w, image, 40);
    ASSERT_OK (vp_image_close (image, &error));
    assert_judged (&w);
    if (options.data_file_raw)
      g_assert_cmpint (run ("cmp", "-s", w.raw, w.data, NULL), ==, 0);
    tear_down (&w);
  }
}

/* Into images of theirs: compressed clusters are replaced, and those that a
 * snapshot counts on are copied. */
static void
test_into_theirs (void)
{
  if (skip_without_judge ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (their_options);
       i += test_rounds (6, 1)) {
    World w = { 0 };
    bool one_bit = strstr (their_options[i], "refcount_bits=1") != NULL;
    /* Many packed clusters in one host cluster, and a snapshot of them all,
     * count beyond what eight bits hold: qemu-img says so, for some seeds. */
    bool narrow = one_bit || strstr (their_options[i], "refcount_bits=8");
    set_up (&w);
    make_content (&w);
    g_autofree uint8_t *before = g_memdup2 (w.bytes, SIZE);
    g_assert_cmpint (run ("qemu-img", "convert", narrow ? "" : "-c", "-f",
                          "raw", "-O", "qcow2", "-o", their_options[i], w.raw,
                          w.disk, NULL) != 0,
                     ==, strstr (their_options[i], "prealloc") != NULL);
    if (strstr (their_options[i], "prealloc")) {
      tear_down (&w);
      continue;
    }
    if (!one_bit)
      g_assert_cmpint (run ("qemu-img", "snapshot", "-c", "one", w.disk, NULL),
                       ==, 0);
    VpImage *image = open_disk (&w, VP_IMAGE_WRITABLE);
    some_operations (&w, image, 30);
    ASSERT_OK (vp_image_close (image, &error));
    assert_judged (&w);
    if (!one_bit) {
      g_autofree char *then = NULL;
      size_t len = 0;
      g_assert_cmpint (run ("qemu-img", "convert", "-l", "one", "-f", "qcow2",
                            "-O", "raw", w.disk, w.other, NULL),
                       ==, 0);
      g_assert_true (g_file_get_contents (w.other, &then, &len, NULL));
      g_assert_cmpuint (len, ==, SIZE);
      g_assert_true (memcmp (then, before, SIZE) == 0);
    }
    tear_down (&w);
  }
}

static void
test_overlay (void)
{
  World w = { 0 };
  if (skip_without_judge ())
    return;
  set_up (&w);
  make_content (&w);
  g_assert_cmpint (g_rename (w.raw, w.other), ==, 0);
  VpOpener opener = vp_opener_person (0);
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  options.backing_name = "other"; /* beside the image */
  options.backing_format = "raw";
  ASSERT_OK (vp_image_create (w.disk, "qcow2", &options, &opener, &error));
  assert_content (&w);
  VpImage *image = open_disk (&w, VP_IMAGE_WRITABLE);
  some_operations (&w, image, 30);
  ASSERT_OK (vp_image_close (image, &error));
  assert_judged (&w);
  tear_down (&w);
}

/* What we count and what they count, on the same leaks. */
static void
test_leaks (void)
{
  World w = { 0 };
  if (skip_without_judge ())
    return;
  set_up (&w);
  make_content (&w);
  g_assert_cmpint (run ("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                        w.raw, w.disk, NULL),
                   ==, 0);
  /* One L2 entry forgotten: the first one of the first table. */
  VpExtent extent;
  VpImage *image = open_disk (&w, 0);
  ASSERT_OK (vp_image_map (image, 0, SIZE, &extent, &error));
  vp_image_free (image);
  g_assert_true (extent.data);
  int fd = open (w.disk, O_RDWR | O_CLOEXEC);
  uint8_t zeros[8] = { 0 }, l1[8];
  g_assert_cmpint (pread (fd, l1, 8, 0x30000), ==, 8);
  g_assert_cmpint (
      pwrite (fd, zeros, 8, (off_t) (vp_be64_get (l1) & 0xfffffffffffe00)), ==,
      8);
  close (fd);
  g_assert_cmpint (run ("qemu-img", "check", "-q", w.disk, NULL), ==, 3 << 8);
  image = open_disk (&w, VP_IMAGE_CHECK | VP_IMAGE_WRITABLE);
  g_auto (VpCheckResult) result = { 0 };
  ASSERT_OK (vp_check_image (image, VP_REPAIR_LEAKS, NULL, &result, &error));
  g_assert_cmpuint (result.corruptions, ==, 0);
  g_assert_cmpuint (result.leaks_fixed, ==, 1);
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmpint (run ("qemu-img", "check", "-q", w.disk, NULL), ==, 0);
  tear_down (&w);
}

/* qemu-io keeps the image open while we try, and then the other way. */
static void
test_locks (void)
{
  World w = { 0 };
  if (skip_without_judge ())
    return;
  set_up (&w);
  make_content (&w);
  g_assert_cmpint (run ("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                        w.raw, w.disk, NULL),
                   ==, 0);
  VpImage *image = open_disk (&w, VP_IMAGE_WRITABLE);
  g_assert_cmpint (
      run ("qemu-io", "-f", "qcow2", "-c", "write 0 512", w.disk, NULL), !=, 0);
  g_assert_cmpint (run ("qemu-img", "info", w.disk, NULL), !=, 0);
  g_assert_cmpint (run ("qemu-img", "info", "-U", w.disk, NULL), ==, 0);
  ASSERT_OK (vp_image_close (image, &error));
  g_assert_cmpint (run ("qemu-img", "info", w.disk, NULL), ==, 0);

  /* It says "ready" on its output once the image is open. */
  const char *argv[] = {
    "timeout", "60", "qemu-io", "-f", "qcow2", w.disk, NULL
  };
  int in, out;
  GPid pid;
  char text[64] = "";
  g_assert_true (
      g_spawn_async_with_pipes (NULL, (char **) argv, NULL,
                                G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                                NULL, NULL, &pid, &in, &out, NULL, NULL));
  g_assert_cmpint (write (in, "length\n", 7), ==, 7);
  g_assert_cmpint (read (out, text, sizeof text - 1), >, 0);
  g_autoptr (GError) failure = NULL;
  g_assert_null (
      vp_image_open (w.disk, "qcow2", VP_IMAGE_WRITABLE, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE);
  image = open_disk (&w, VP_IMAGE_NO_LOCK);
  g_assert_nonnull (image);
  vp_image_free (image);
  close (in); /* ends it */
  close (out);
  int status;
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_spawn_close_pid (pid);
  tear_down (&w);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/interop/theirs", test_theirs);
  case_add_qcow2 ("/interop/ours", test_ours);
  g_test_add_func ("/interop/into-theirs", test_into_theirs);
  g_test_add_func ("/interop/overlay", test_overlay);
  g_test_add_func ("/interop/leaks", test_leaks);
  g_test_add_func ("/interop/locks", test_locks);
  return g_test_run ();
}
