/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker, samples: images that were made to do harm, each through every verb.
 * The worker may refuse or report what it likes; it may not die, not run
 * away, and not be given a file that only the image asked for. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/worker.h"
#include "storage/autofd.h"
#include "storage/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_SAMPLE (8 << 20)

typedef struct {
  char *folder; /* of the samples */
  char *program;
  char *image; /* unpacked */
  char *target;
} Fixture;

static char *
find_samples (void)
{
  const char *given = g_getenv ("VP_SAMPLES");
  const char *source = g_getenv ("VP_SRCDIR");
  g_autofree char *folder =
      given != NULL ? g_build_filename (given, "malicious", NULL)
                    : g_build_filename (source != NULL ? source : ".", "..",
                                        "shared", "samples", "malicious", NULL);

  return g_file_test (folder, G_FILE_TEST_IS_DIR) ? g_steal_pointer (&folder)
                                                  : NULL;
}

/* gzread reads plain files as they are. */
static void
unpack (const char *from, const char *to)
{
  g_autofree char *content = g_malloc (MAX_SAMPLE);
  g_autoptr (GError) error = NULL;
  gzFile file = gzopen (from, "re");

  g_assert_nonnull (file);
  int len = gzread (file, content, MAX_SAMPLE);
  g_assert_cmpint (len, >=, 0);
  g_assert_cmpint (gzclose (file), ==, Z_OK);
  g_assert_true (g_file_set_contents (to, content, len, &error));
  g_assert_no_error (error);
}

/* An error is fine where it is the engine's or the file system's own word. */
static void
assert_survived (const char *sample, const char *verb, bool ok, GError *error)
{
  if (ok)
    return;
  g_test_message ("%s: %s: %s", sample, verb, error->message);
  if (error->domain != VP_IMAGE_ERROR && error->domain != G_FILE_ERROR)
    g_error ("%s: %s: %s", sample, verb, error->message);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
}

static void
run_all (Fixture *f, const char *sample, const char *format)
{
  static const VpWorkerVerb verbs[] = { VP_WORKER_INFO, VP_WORKER_CHECK,
                                        VP_WORKER_GROW };
  static const char *const names[] = { "info", "check", "grow" };
  VpWorkerConfig config = { .program = f->program, .timeout_s = 20 };
  g_auto (VpWorkerResult) info = { 0 };
  g_autofree char *path = g_build_filename (f->folder, sample, NULL);

  unpack (path, f->image);
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++) {
    g_auto (VpWorkerResult) result = { 0 };
    g_autoptr (GError) error = NULL;
    vp_autofd int fd = open (f->image, O_RDWR | O_CLOEXEC);
    VpWorkerCall call = { .verb = verbs[i],
                          .fd = fd,
                          .name = sample,
                          .format = format,
                          .size = UINT64_C (1) << 40,
                          .source_fd = -1 };
    bool ok =
        vp_worker_call (&config, &call, NULL, NULL, NULL, &result, &error);
    assert_survived (sample, names[i], ok, error);
    if (ok && result.backing_name != NULL && i == 0)
      g_test_message ("%s: names '%s'", sample, result.backing_name);
    if (i == 0) {
      info = result;
      result = (VpWorkerResult){ 0 };
    } else if (verbs[i] == VP_WORKER_GROW && info.backing_name != NULL)
      g_assert_false (ok); /* denied, if it comes to that */
  }

  unpack (path, f->image);
  g_autoptr (GError) error = NULL;
  vp_autofd int source = open (f->image, O_RDONLY | O_CLOEXEC);
  vp_autofd int target =
      open (f->target, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  VpWorkerCall call = { .verb = VP_WORKER_CONVERT,
                        .fd = target,
                        .name = "target",
                        .format = "qcow2",
                        .source_fd = source,
                        .source_format = format,
                        .source_name = sample };
  bool ok = vp_worker_run (&config, &call, NULL, NULL, NULL, NULL, &error);
  assert_survived (sample, "convert", ok, error);
  if (info.backing_name != NULL)
    g_assert_false (ok);
}

static void
test_samples (void)
{
  g_autofree char *folder = find_samples ();
  g_autoptr (GError) error = NULL;
  const char *build = g_getenv ("VP_BUILDDIR");
  Fixture f = { .folder = folder };
  const char *name;
  unsigned n = 0;

  if (folder == NULL) {
    g_test_skip ("the sample images are not here");
    return;
  }
  f.program =
      g_canonicalize_filename ("vprov-img", build != NULL ? build : ".");
  g_autofree char *scratch = g_dir_make_tmp ("vprov-samples-XXXXXX", &error);
  g_assert_no_error (error);
  f.image = g_build_filename (scratch, "image", NULL);
  f.target = g_build_filename (scratch, "target", NULL);

  GDir *dir = g_dir_open (folder, 0, &error);
  g_assert_no_error (error);
  while ((name = g_dir_read_name (dir)) != NULL) {
    if (g_str_has_suffix (name, ".tsv"))
      continue;
    /* What is of no format of ours is raw bytes, and may say it is qcow2. */
    run_all (&f, name, "qcow2");
    if (strncmp (name, "qcow2-", 6) != 0)
      run_all (&f, name, "raw");
    n++;
  }
  g_dir_close (dir);
  g_assert_cmpuint (n, >, 0);

  g_assert_no_errno (unlink (f.image));
  g_assert_no_errno (unlink (f.target));
  g_assert_no_errno (rmdir (scratch));
  g_free (f.program);
  g_free (f.image);
  g_free (f.target);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/worker/samples", test_samples);
  return g_test_run ();
}
