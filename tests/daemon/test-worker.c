/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker: what a misbehaving worker can do to the daemon (nothing but fail
 * its own call), then the real one: images made, grown, read and copied, and
 * names in images that open nothing. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/worker.h"
#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB UINT64_C (1048576)

typedef struct {
  char *folder;
  char *fake, *real;
  VpWorkerConfig config;
  int fd; /* of "disk" */
  VpWorkerCall call;
} Fixture;

static char *
built (const char *name)
{
  const char *folder = g_getenv ("VP_BUILDDIR");

  return g_canonicalize_filename (name, folder != NULL ? folder : ".");
}

static char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->folder, name, NULL);
}

static int
open_file (Fixture *f, const char *name, int flags)
{
  g_autofree char *path = path_of (f, name);
  int fd = open (path, flags | O_CLOEXEC, 0600);

  g_assert_no_errno (fd);
  return fd;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->folder = g_dir_make_tmp ("vprov-worker-XXXXXX", &error);
  g_assert_no_error (error);
  f->fake = built ("tests/daemon/fake-worker");
  f->real = built ("vprov-img");
  f->config.program = f->real;
  f->config.timeout_s = 30;
  f->fd = open_file (f, "disk", O_RDWR | O_CREAT | O_EXCL);
  f->call = (VpWorkerCall){ .verb = VP_WORKER_CREATE,
                            .fd = f->fd,
                            .name = "disk",
                            .format = "qcow2",
                            .size = 8 * MIB,
                            .source_fd = -1 };
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  GDir *dir = g_dir_open (f->folder, 0, NULL);
  const char *name;

  vp_close_fd (&f->fd);
  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = path_of (f, name);
    g_assert_no_errno (unlink (path));
  }
  g_dir_close (dir);
  g_assert_no_errno (rmdir (f->folder));
  g_free (f->folder);
  g_free (f->fake);
  g_free (f->real);
  /* Every worker was collected. */
  g_assert_cmpint (waitpid (-1, NULL, WNOHANG), ==, -1);
  g_assert_cmpint (errno, ==, ECHILD);
}

static bool
run (Fixture *f, GError **error)
{
  return vp_worker_run (&f->config, &f->call, NULL, NULL, NULL, NULL, error);
}

/* ---- a worker that misbehaves ----------------------------------------------
 */

static void
test_misbehaviour (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *how;
    const char *words; /* in the message */
  } cases[] = {
    { "exit", "exit: the worker left with status 3" },
    { "leave", "the worker left without an answer" },
    { "segv", "the worker was ended by signal 11" },
    { "sys", "the worker was ended for a forbidden system call" },
    { "last-words", "signal 6 (Aborted): cannot allocate [1m" },
    { "close-and-stay", "the worker was ended by signal 9" },
    { "garbage", "worker protocol: " },
    { "unknown", "a message of unknown type 'dance'" },
    { "odd-progress", "'total' is not a number" },
    { "odd-claim", "took longer than 1 s" }, /* refused; then it sulks */
    { "claims", "too many files" },
    { "flood", "too long" },
    { "gift", "descriptors that nobody asked for" },
  };

  f->config.program = f->fake;
  f->config.timeout_s = 1;
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    f->call.name = cases[i].how;
    g_assert_false (run (f, &error));
    g_test_message ("%s: %s", cases[i].how, error->message);
    g_assert_nonnull (strstr (error->message, cases[i].words));
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
    g_assert_null (strpbrk (error->message, "\n\033"));
  }
}

/* A crooked answer is an answer: cleaned, in a domain of ours. */
static void
test_odd_result (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_auto (VpWorkerResult) result = { 0 };

  f->config.program = f->fake;
  f->call.name = "odd-result";
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
  g_assert_cmpstr (error->message, ==, " [31mred line");
  g_clear_error (&error);

  f->call.verb = VP_WORKER_INFO;
  f->call.name = "no-size";
  g_assert_false (
      vp_worker_call (&f->config, &f->call, NULL, NULL, NULL, &result, &error));
  g_assert_nonnull (error);
  g_assert_null (result.json);
}

static void
test_disk_full (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->config.program = f->fake;
  f->call.name = "full";
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_NO_SPACE);
  g_assert_cmpstr (error->message, ==, "no room");
}

static void
test_no_program (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *missing = path_of (f, "no-such-program");

  f->config.program = missing;
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  g_assert_nonnull (strstr (error->message, missing));
  g_assert_nonnull (strstr (error->message, g_strerror (ENOENT)));
}

static void
test_timeout (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int64_t begin = g_get_monotonic_time ();

  f->config.program = f->fake;
  f->config.timeout_s = 1;
  f->call.name = "silent";
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_TIMEOUT);
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, G_TIME_SPAN_SECOND);
}

typedef struct {
  Fixture *f;
  int cancel;
  GError *error;
  bool ok;
} Canceller;

static gpointer
run_cancellable (gpointer data)
{
  Canceller *canceller = data;
  Fixture *f = canceller->f;

  canceller->ok = vp_worker_run (&f->config, &f->call, NULL, NULL,
                                 &canceller->cancel, NULL, &canceller->error);
  return NULL;
}

static void
test_cancel (Fixture *f, gconstpointer data)
{
  Canceller canceller = { .f = f };

  f->config.program = f->fake;
  f->config.timeout_s = 0; /* for ever */
  f->call.name = "silent";
  GThread *thread = g_thread_new ("job", run_cancellable, &canceller);
  g_atomic_int_set (&canceller.cancel, 1);
  g_thread_join (thread);
  g_assert_false (canceller.ok);
  g_assert_error (canceller.error, VP_ERROR, VP_ERROR_CANCELLED);
  g_error_free (canceller.error);
}

/* The test's own environment and descriptors are none of the worker's. */
static void
test_surroundings (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int leaked = dup (f->fd); /* without close-on-exec */

  g_assert_no_errno (leaked);
  g_setenv ("VP_TEST_SECRET", "1", TRUE);
  f->config.program = f->fake;
  f->call.name = "round";
  g_assert_false (run (f, &error));
  (void) close (leaked);
  g_test_message ("%s", error->message);
  g_assert_true (
      g_str_has_prefix (error->message, "LC_ALL=C MALLOC_ARENA_MAX=2 uid="));
  /* null, null, stderr, the socket, the image */
  g_assert_true (g_str_has_suffix (error->message, "nnp=1 fds=0,1,2,3,4,"));
}

/* The build may lie where nobody else can look. */
static char *
copy_program (Fixture *f, const char *from, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *content = NULL;
  char *path = path_of (f, name);
  size_t len;

  g_assert_true (g_file_get_contents (from, &content, &len, &error));
  g_assert_true (g_file_set_contents_full (
      path, content, (gssize) len, G_FILE_SET_CONTENTS_NONE, 0755, &error));
  return path;
}

static void
test_user (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  char nobody[] = "nobody", root[] = "root", none[] = "no such user";

  if (geteuid () != 0) {
    g_test_skip ("only root can become somebody else");
    return;
  }
  g_assert_no_errno (chmod (f->folder, 0755));
  g_autofree char *fake = copy_program (f, f->fake, "fake");
  g_autofree char *real = copy_program (f, f->real, "real");
  f->config.program = fake;
  f->call.name = "round";

  f->config.user = nobody;
  g_assert_false (run (f, &error));
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, "uid=65534 gid=65534 groups=0 "));
  g_clear_error (&error);

  /* The file is root's alone, and its descriptor is enough. */
  f->config.program = real;
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
  f->config.program = fake;

  f->config.user = root;
  g_assert_false (run (f, &error));
  g_assert_nonnull (strstr (error->message, "is root, which it must not be"));
  g_clear_error (&error);

  f->config.user = none;
  g_assert_false (run (f, &error));
  g_assert_nonnull (strstr (error->message, "user 'no such user'"));
}

static void
note_progress (uint64_t done, uint64_t total, gpointer user_data)
{
  uint64_t *seen = user_data;

  g_assert_cmpuint (done, <=, total);
  *seen = done;
}

static void
test_greedy_progress (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  uint64_t seen = 0;

  f->config.program = f->fake;
  f->call.name = "greedy-progress";
  g_assert_true (vp_worker_run (&f->config, &f->call, note_progress, &seen,
                                NULL, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (seen, ==, 100);
}

/* ---- the real one
 * ------------------------------------------------------------ */

static void
make_base (Fixture *f, const char *name, const char *format,
           const char *backing, uint64_t size)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = path_of (f, name);
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;

  options.size = size;
  options.backing_name = backing;
  options.backing_format = backing != NULL ? "qcow2" : NULL;
  g_assert_true (vp_image_create (path, format, &options, NULL, &error));
  g_assert_no_error (error);
}

static void
get_info (Fixture *f, VpWorkerResult *ret_result)
{
  g_autoptr (GError) error = NULL;
  VpWorkerCall call = f->call;

  call.verb = VP_WORKER_INFO;
  g_assert_true (
      vp_worker_call (&f->config, &call, NULL, NULL, NULL, ret_result, &error));
  g_assert_no_error (error);
}

static void
test_create_grow_info (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_auto (VpWorkerResult) before = { 0 }, after = { 0 };

  g_assert_true (run (f, &error));
  g_assert_no_error (error);
  get_info (f, &before);
  g_assert_cmpuint (before.virtual_size, ==, 8 * MIB);
  g_assert_cmpstr (before.probed, ==, "qcow2");
  g_assert_null (before.backing_name);
  g_assert_nonnull (strstr (before.json, "\"virtual-size\": 8388608"));
  g_assert_nonnull (strstr (before.json, "\"filename\": \"disk\""));

  f->call.verb = VP_WORKER_GROW;
  f->call.size = 32 * MIB;
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
  get_info (f, &after);
  g_assert_cmpuint (after.virtual_size, ==, 32 * MIB);

  f->call.size = 16 * MIB;
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
}

static void
test_create_raw (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  struct stat st;

  f->call.format = "raw";
  f->call.size = UINT64_C (300) << 30; /* sparse: larger than the machine */
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
  g_assert_no_errno (fstat (f->fd, &st));
  g_assert_cmpuint ((uint64_t) st.st_size, ==, f->call.size);
}

/* A qcow2 base that is stated raw is refused, and found by what it is. */
static void
test_create_on_misstated_base (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, "base");
  VpWorkerClaim claim = { "base", "raw", path };
  g_autoptr (GError) error = NULL;

  make_base (f, "base", "qcow2", NULL, 5 * MIB);
  f->call.claims = &claim;
  f->call.n_claims = 1;
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT);
  g_assert_nonnull (strstr (error->message, "but is qcow2"));
}

/* The overlay gets its base's size, its name and format as they were given. */
static void
test_create_on_base (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, "base");
  VpWorkerClaim claim = { "base", "qcow2", path };
  g_autoptr (GError) error = NULL;
  g_auto (VpWorkerResult) result = { 0 };

  make_base (f, "base", "qcow2", NULL, 5 * MIB);
  f->call.size = 0;
  f->call.claims = &claim;
  f->call.n_claims = 1;
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
  get_info (f, &result);
  g_assert_cmpuint (result.virtual_size, ==, 5 * MIB);
  g_assert_cmpstr (result.backing_name, ==, "base");
  g_assert_cmpstr (result.backing_format, ==, "qcow2");

  f->call.verb = VP_WORKER_GROW;
  f->call.size = 9 * MIB;
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
}

/* Only what the list says is opened, whatever the base names itself. */
static void
test_claim_refused (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, "base");
  g_autofree char *bottom = path_of (f, "bottom");
  VpWorkerClaim claims[] = { { "base", "qcow2", path },
                             { bottom, "raw", bottom } };
  g_autoptr (GError) error = NULL;

  make_base (f, "bottom", "qcow2", NULL, 5 * MIB);
  make_base (f, "base", "qcow2", bottom, 5 * MIB);
  f->call.claims = claims;
  f->call.n_claims = 1;
  g_assert_false (run (f, &error)); /* the base's base is not in the list */
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  g_assert_nonnull (strstr (error->message, "not what is recorded"));
  g_clear_error (&error);

  f->call.n_claims = 2;
  g_assert_false (run (f, &error)); /* it is, with another format */
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  g_clear_error (&error);

  claims[1].format = "qcow2";
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
}

static void
test_claim_paths (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, "base");
  g_autofree char *link_path = path_of (f, "link");
  g_autofree char *fifo = path_of (f, "fifo");
  g_autofree char *missing = path_of (f, "missing");
  const char *const paths[] = { link_path, fifo, missing, f->folder };

  make_base (f, "base", "qcow2", NULL, 5 * MIB);
  g_assert_no_errno (symlink (path, link_path));
  g_assert_no_errno (mkfifo (fifo, 0600));
  for (size_t i = 0; i < G_N_ELEMENTS (paths); i++) {
    VpWorkerClaim claim = { "base", "qcow2", paths[i] };
    g_autoptr (GError) error = NULL;
    f->call.claims = &claim;
    f->call.n_claims = 1;
    g_assert_false (run (f, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, paths[i]));
  }
}

/* Formats are told; what lies in the file has no say. */
static void
test_formats_are_told (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_auto (VpWorkerResult) result = { 0 };

  g_assert_true (run (f, &error));
  f->call.verb = VP_WORKER_INFO;
  f->call.format = "raw";
  get_info (f, &result);
  g_assert_cmpstr (result.probed, ==, "qcow2"); /* for who wants to know */
  g_assert_nonnull (strstr (result.json, "\"format\": \"raw\""));

  f->call.format = NULL;
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_clear_error (&error);
  f->call.format = "nonsense";
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT);
}

static void
test_convert (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *content = g_malloc (3 * MIB);
  g_autofree char *back = g_malloc (3 * MIB);
  uint64_t seen = 0;

  for (size_t i = 0; i < 3 * MIB; i++)
    content[i] = (char) (i / 1000 + i);
  vp_autofd int source = open_file (f, "source", O_RDWR | O_CREAT);
  g_assert_cmpint (write (source, content, 3 * MIB), ==, (ssize_t) (3 * MIB));
  f->call.verb = VP_WORKER_CONVERT;
  f->call.source_fd = source;
  f->call.source_format = "raw";
  g_assert_true (vp_worker_run (&f->config, &f->call, note_progress, &seen,
                                NULL, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (seen, >, 0);

  g_autoptr (VpImage) image =
      vp_image_open_fd (f->fd, "disk", "qcow2", 0, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vp_image_get_size (image), ==, 3 * MIB);
  g_assert_true (vp_image_read (image, 0, back, 3 * MIB, &error));
  g_assert_cmpmem (content, 3 * MIB, back, 3 * MIB);
}

static void
test_check (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_auto (VpWorkerResult) sound = { 0 }, broken = { 0 };
  uint8_t table[8] = { 0 }, block[8] = { 0 };

  g_assert_true (run (f, &error));
  f->call.verb = VP_WORKER_CHECK;
  g_assert_true (
      vp_worker_call (&f->config, &f->call, NULL, NULL, NULL, &sound, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (sound.corruptions + sound.leaks + sound.check_errors, ==,
                    0);
  g_assert_nonnull (strstr (sound.json, "\"check-errors\": 0"));

  /* A refcount for a cluster that nobody uses is a leak: header, refcount
   * table, first block, entry 100. */
  g_assert_cmpint (pread (f->fd, table, 8, 48), ==, 8);
  uint64_t table_at = GUINT64_FROM_BE (*(uint64_t *) (void *) table);
  g_assert_cmpint (pread (f->fd, block, 8, (off_t) table_at), ==, 8);
  uint64_t block_at = GUINT64_FROM_BE (*(uint64_t *) (void *) block);
  g_assert_cmpint (pwrite (f->fd, "\0\1", 2, (off_t) block_at + 200), ==, 2);
  g_assert_no_errno (ftruncate (f->fd, 101 * 65536));
  g_assert_true (
      vp_worker_call (&f->config, &f->call, NULL, NULL, NULL, &broken, &error));
  g_assert_cmpuint (broken.leaks, ==, 1);

  f->call.repair_leaks = true;
  vp_worker_result_clear (&broken);
  g_assert_true (
      vp_worker_call (&f->config, &f->call, NULL, NULL, NULL, &broken, &error));
  g_assert_no_error (error);
  f->call.repair_leaks = false;
  vp_worker_result_clear (&broken);
  g_assert_true (
      vp_worker_call (&f->config, &f->call, NULL, NULL, NULL, &broken, &error));
  g_assert_cmpuint (broken.leaks, ==, 0);
}

/* As a running QEMU does: a lock on the byte that says "I write". */
static void
test_in_use (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  vp_autofd int other = open_file (f, "disk", O_RDWR);
  struct flock lock = { .l_type = F_RDLCK,
                        .l_whence = SEEK_SET,
                        .l_start = 201, /* write is not shared */
                        .l_len = 1 };

  g_assert_no_errno (fcntl (other, F_OFD_SETLK, &lock));
  g_assert_false (run (f, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_IN_USE);
  g_clear_error (&error);
  vp_close_fd (&other);
  g_assert_true (run (f, &error));
  g_assert_no_error (error);
}

/* Bytes that are no image: an error of the engine's, not a death. */
static void
test_not_an_image (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (write (f->fd, "QFI\xfb\0\0\0\3 and so on", 18), ==, 18);
  f->call.verb = VP_WORKER_INFO;
  g_assert_false (run (f, &error));
  g_assert_true (error->domain == VP_IMAGE_ERROR);
  g_test_message ("%s", error->message);
}

int
main (int argc, char **argv)
{
  static const struct {
    const char *name;
    void (*test) (Fixture *, gconstpointer);
  } tests[] = {
    { "/worker/misbehaviour", test_misbehaviour },
    { "/worker/odd-result", test_odd_result },
    { "/worker/disk-full", test_disk_full },
    { "/worker/no-program", test_no_program },
    { "/worker/timeout", test_timeout },
    { "/worker/cancel", test_cancel },
    { "/worker/surroundings", test_surroundings },
    { "/worker/user", test_user },
    { "/worker/greedy-progress", test_greedy_progress },
    { "/worker/create-grow-info", test_create_grow_info },
    { "/worker/create-raw", test_create_raw },
    { "/worker/create-on-base", test_create_on_base },
    { "/worker/create-on-misstated-base", test_create_on_misstated_base },
    { "/worker/claim-refused", test_claim_refused },
    { "/worker/claim-paths", test_claim_paths },
    { "/worker/formats-are-told", test_formats_are_told },
    { "/worker/convert", test_convert },
    { "/worker/check", test_check },
    { "/worker/in-use", test_in_use },
    { "/worker/not-an-image", test_not_an_image },
  };

  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].name, Fixture, NULL, set_up, tests[i].test, tear_down);
  return g_test_run ();
}
