/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The images that were made with malice, all of their list, handed to the
 * program.  With --safe each gets the verdict that is wanted, and nothing that
 * it names is opened: the kernel (inotify) watches.  Without, no verb crashes,
 * takes more than 256 MiB or two seconds of CPU.  And whatever a VMDK says, no
 * byte of a file that is not its own comes out of it.
 *
 * "make check" takes some, "make check-long" all.  The first part is skipped
 * where the samples are absent. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <zlib.h>

#include "storage/autofd.h"
#include "storage/error.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define SECRET "not for you\n"

typedef struct {
  const char *source;
  char *folder, *image, *out;
  const char *name, *format;
} Trap;

/* ---- running ------------------------------------------------------------ */

/* VERB ARGUMENT...: within the limits, and it ends by itself. */
static int
run (const Trap *trap, const char *first, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autofree char *said = NULL;
  va_list args;
#ifndef VP_SANITIZED
  static const char *const limits[] = { "prlimit", "--data=268435456",
                                        "--cpu=2", "--fsize=8589934592",
                                        "--nofile=64" };
  for (size_t i = 0; i < G_N_ELEMENTS (limits); i++)
    g_ptr_array_add (argv, (gpointer) limits[i]);
#endif
  g_ptr_array_add (argv, (gpointer) judge_vprov_img ());
  va_start (args, first);
  for (const char *arg = first; arg; arg = va_arg (args, const char *))
    g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  int status = judge_run ((const char *const *) argv->pdata, &said);
  if (status < 0 || status > 63)
    g_error ("%s: %s: ended by %d: %s", trap->name, first, status, said);
  if (status == 1 && !*said)
    g_error ("%s: %s: fails without a word", trap->name, first);
  if (strchr (said, '\033') || strchr (said, '\a'))
    g_error ("%s: %s: says what steers a terminal", trap->name, first);
  return status;
}

/* Whether anything that images like to name was opened meanwhile. */
static int
watch (const Trap *trap, bool near_too)
{
  static const char *const near[] = { "x-flat.vmdk", "x-s001.vmdk", "x.vmdk" };
  int fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  for (size_t i = 0; near_too && i < G_N_ELEMENTS (near); i++) {
    g_autofree char *path = g_build_filename (trap->folder, near[i], NULL);
    g_assert_true (g_file_set_contents (path, SECRET, -1, NULL));
    g_assert_cmpint (truncate (path, 1 << 20), ==, 0);
    g_assert_cmpint (inotify_add_watch (fd, path, IN_OPEN), >=, 0);
  }
  /* Where we may not look at it, nor may what we run. */
  (void) inotify_add_watch (fd, "/etc/shadow", IN_OPEN);
  return fd;
}

static bool
was_opened (int fd)
{
  char events[4096];
  return read (fd, events, sizeof events) > 0;
}

/* ---- the samples -------------------------------------------------------- */

static void
unpack (Trap *trap, const char *name)
{
  g_autofree char *from = g_build_filename (trap->source, name, NULL);
  g_autofree char *packed = g_strconcat (from, ".gz", NULL);
  gzFile in = gzopen (g_access (from, R_OK) == 0 ? from : packed, "rb");
  static uint8_t buffer[1 << 16];
  FILE *out = fopen (trap->image, "wb");
  int len;
  g_assert_true (in && out);
  while ((len = gzread (in, buffer, sizeof buffer)) > 0)
    g_assert_cmpuint (fwrite (buffer, 1, (size_t) len, out), ==, (size_t) len);
  g_assert_cmpint (fclose (out), ==, 0);
  gzclose (in);
}

static const char *
format_of (const char *name)
{
  static const char *const formats[][2] = {
    { "qcow2-in-raw", "raw" }, { "qcow2-", "qcow2" }, { "qcow1-", "qcow" },
    { "vdi-", "vdi" },         { "vmdk-", "vmdk" },   { "cow-", "cow" },
    { "luks1-", "luks" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_has_prefix (name, formats[i][0]))
      return formats[i][1];
  g_error ("%s: of which format?", name);
}

static void
expect_refused (const Trap *trap)
{
  g_assert_cmpint (run (trap, "convert", "--safe", "-f", trap->format, "-O",
                        "raw", trap->image, trap->out, NULL),
                   ==, 1);
  if (g_access (trap->out, F_OK) == 0)
    g_error ("%s: refused, and yet something came out", trap->name);
}

/* The words of the list. */
static void
judge_verdict (const Trap *trap, const char *wanted)
{
  int check =
      run (trap, "check", "--safe", "-f", trap->format, trap->image, NULL);
  if (g_str_has_prefix (wanted, "reject op") ||
      strstr (wanted, "check=corrupt"))
    g_assert_cmpint (check, ==, 2);
  else if (g_str_has_prefix (wanted, "rej") ||
           g_str_has_prefix (wanted, "refuse") ||
           g_str_has_prefix (wanted, "error on read"))
    expect_refused (trap);
  else if (strcmp (wanted, "open only as raw") == 0)
    g_assert_cmpint (run (trap, "convert", "--safe", "-f", "raw", "-O", "raw",
                          trap->image, trap->out, NULL),
                     ==, 0);
  else if (g_str_has_prefix (wanted, "repair"))
    g_assert_cmpint (
        run (trap, "info", "--safe", "-f", trap->format, trap->image, NULL), ==,
        0);
  else
    g_error ("%s: what is \"%s\"?", trap->name, wanted);
}

/* Once: somebody else may have opened one of them by chance. */
static bool
is_left_alone (const Trap *trap, const char *wanted)
{
  vp_autofd int events = watch (trap, true);
  (void) run (trap, "info", "--safe", "--output=json", "-f", trap->format,
              trap->image, NULL);
  (void) run (trap, "info", "--header", "--safe", "-f", trap->format,
              trap->image, NULL);
  (void) run (trap, "map", "--safe", "-f", trap->format, trap->image, NULL);
  judge_verdict (trap, wanted);
  (void) g_unlink (trap->out);
  return !was_opened (events);
}

static void
judge_safe (const Trap *trap, const char *wanted)
{
  if (!is_left_alone (trap, wanted) && !is_left_alone (trap, wanted))
    g_error ("%s: --safe opened what it names", trap->name);
}

/* As somebody types it, with the format and without. */
static void
judge_person (const Trap *trap)
{
  for (unsigned stated = 0; stated < 2; stated++) {
    g_autofree char *f = g_strdup_printf ("--format=%s", trap->format);
    const char *how = stated ? f : "--force-share";
    (void) run (trap, "info", how, trap->image, NULL);
    (void) run (trap, "info", how, "--backing-chain", "--output=json",
                trap->image, NULL);
    (void) run (trap, "check", how, trap->image, NULL);
    (void) run (trap, "map", how, "--output=json", trap->image, NULL);
    (void) run (trap, "measure", how, "-O", "qcow2", trap->image, NULL);
    (void) run (trap, "convert", how, "-O", "qcow2", trap->image, trap->out,
                NULL);
    (void) run (trap, "checksum", how, trap->image, NULL);
  }
  (void) g_unlink (trap->out);
}

/* What changes it. */
static void
judge_changes (const Trap *trap)
{
  /* Where a person asks for it resize and commit write into the data file and
   * the backing file, wherever they lie: not into a file of this machine. */
  if (strstr (trap->name, "-backing-") || strstr (trap->name, "datafile"))
    return;
  (void) run (trap, "resize", "-f", trap->format, trap->image, "+1M", NULL);
  (void) run (trap, "rebase", "-u", "-b", "", "-f", trap->format, trap->image,
              NULL);
  (void) run (trap, "check", "-r", "all", "-f", trap->format, trap->image,
              NULL);
  (void) run (trap, "commit", "-f", trap->format, trap->image, NULL);
}

static void
judge_sample (Trap *trap, const char *wanted)
{
  unpack (trap, trap->name);
  judge_safe (trap, wanted);
  if (test_rounds (0, 1)) {
    /* Extents in its own folder are opened where a person asks for it. */
    vp_autofd int events = watch (trap, false);
    judge_person (trap);
    if (g_str_has_prefix (trap->name, "vmdk-") && was_opened (events))
      g_error ("%s: opened what it names", trap->name);
    judge_changes (trap);
  }
}

static void
set_up (Trap *trap)
{
  trap->folder = judge_folder ();
  trap->image = g_build_filename (trap->folder, "image", NULL);
  trap->out = g_build_filename (trap->folder, "out", NULL);
}

static void
tear_down (Trap *trap)
{
  judge_remove (trap->folder);
  g_free (trap->image);
  g_free (trap->out);
}

static void
test_samples_all (void)
{
  const char *samples = test_samples ();
  g_autofree char *source =
      samples ? g_build_filename (samples, "malicious", NULL) : NULL;
  g_autofree char *list =
      source ? g_build_filename (source, "MANIFEST.tsv", NULL) : NULL;
  g_autofree char *text = NULL;
  unsigned n = 0;
  if (!list || !g_file_get_contents (list, &text, NULL, NULL)) {
    g_test_skip ("the sample images are absent");
    return;
  }
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (char **line = lines + 1; *line; line++) {
    g_auto (GStrv) row = g_strsplit (*line, "\t", -1);
    if (g_strv_length (row) < 3 || n++ % test_rounds (5, 1) != 0)
      continue;
    Trap trap = { .source = source,
                  .name = row[0],
                  .format = format_of (row[0]) };
    set_up (&trap);
    judge_sample (&trap, row[2]);
    tear_down (&trap);
  }
  g_assert_cmpuint (n, >=, 54);
}

/* ---- foreign bytes ------------------------------------------------------ */

/* NAME stands for the victim in one way or another. */
static void
write_descriptor (const Trap *trap, const char *extent)
{
  g_autofree char *text = g_strdup_printf (
      "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
      "parentCID=ffffffff\ncreateType=\"%s\"\n\n# Extent description\n%s\n\n"
      "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"
      "ddb.geometry.cylinders = \"20\"\nddb.geometry.heads = \"16\"\n"
      "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n",
      strstr (extent, "VMFS") ? "vmfs" : "monolithicFlat", extent);
  g_assert_true (g_file_set_contents (trap->image, text, -1, NULL));
}

static bool
holds_secret (const char *path)
{
  g_autofree char *bytes = NULL;
  gsize len = 0;
  return g_file_get_contents (path, &bytes, &len, NULL) && len > 0 &&
         memmem (bytes, len, SECRET, strlen (SECRET)) != NULL;
}

static void
expect_nothing (const Trap *trap, const char *extent)
{
  write_descriptor (trap, extent);
  for (unsigned safe = 0; safe < 2; safe++) {
    int status =
        safe ? run (trap, "convert", "--safe", "-f", "vmdk", "-O", "raw",
                    trap->image, trap->out, NULL)
             : run (trap, "convert", "-O", "raw", trap->image, trap->out, NULL);
    if (status == 0 || holds_secret (trap->out))
      g_error ("%s: its bytes came out", extent);
    (void) g_unlink (trap->out);
  }
}

/* The victim lies in a folder of its own. */
static void
test_foreign_bytes (void)
{
  static const char *const lines[] = {
    "RW 16 FLAT \"%s\" 0",
    "RW 16 FLAT \"../%s\" 0",
    "RW 16 FLAT \"./../%s\" 0",
    "RW 16 FLAT \"file:%s\" 0",
    "RW 16 FLAT \"raw:%s\" 0",
    "RW 16 FLAT \"json:{\\\"driver\\\":\\\"raw\\\"}%s\" 0",
    "RW 16 VMFS \"%s\"",
    "RW 16 SPARSE \"%s\"",
    "RW 16 VMFSSPARSE \"%s\"",
    "RDONLY 16 FLAT \"%s\" 0",
    "RW 8 FLAT \"image\" 0\nRW 8 FLAT \"%s\" 0",
    "RW 16 FLAT \"/proc/self/root%s\" 0",
    "RW 16 FLAT \"x/../..%s\" 0",
    "RW 18446744073709551615 FLAT \"%s\" 0",
    "RW 16 FLAT \"%s\" 18446744073709551615",
  };
  Trap trap = { .name = "foreign", .format = "vmdk" };
  char *other = judge_folder ();
  g_autofree char *victim = g_build_filename (other, "victim", NULL);
  set_up (&trap);
  g_assert_true (g_file_set_contents (victim, SECRET, -1, NULL));
  g_assert_cmpint (truncate (victim, 8192), ==, 0);
  for (size_t i = 0; i < G_N_ELEMENTS (lines); i++) {
    g_auto (GStrv) parts = g_strsplit (lines[i], "%s", -1);
    g_autofree char *extent = g_strjoinv (victim, parts);
    expect_nothing (&trap, extent);
  }
  tear_down (&trap);
  judge_remove (other);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/malicious/samples", test_samples_all);
  g_test_add_func ("/malicious/foreign-bytes", test_foreign_bytes);
  return g_test_run ();
}
