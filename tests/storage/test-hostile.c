/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images made with malice, built here from fresh ones, class by class as the
 * project's list of them has it, and handed to the program.
 *
 * At the strict gate (--safe) each gets the verdict that is wanted, and nothing
 * that it names is opened: the kernel (inotify) watches what they name.  At the
 * person gate no verb crashes, takes more than 256 MiB, or a second of CPU; and
 * names with a scheme are opened nowhere. */
#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "storage/autofd.h"
#include "storage/error.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define CLUSTER UINT64_C (4096)
#define SIZE    (UINT64_C (1) << 20)

/* Where things lie in the fresh image. */
enum {
  REFTABLE = 0x1000,
  REFBLOCK = 0x2000,
  L1 = 0x3000,
  L2 = 0x4000,
  DATA = 0x5000,
  NAME = 0x400, /* where the builders put names */
};

typedef enum {
  REFUSED, /* does not open */
  CORRUPT, /* opens; the check says so */
  ANSWER,  /* an error of the check, or any other word */
  NAMED,   /* opens where what it names is not needed, else is refused */
  NAMED_OR_REFUSED,
  FINE,
} Verdict;

typedef struct {
  char *folder, *image, *victim, *out;
  VpFile *file;       /* the image while it is built */
  const char *format; /* as which it is opened */
} Trap;

typedef struct {
  const char *name;
  unsigned row; /* of the list of classes */
  Verdict verdict;
  void (*build) (Trap *trap);
  uint64_t offset, value; /* where build is NULL: a number there */
  unsigned width;
} Hostile;

/* ---- builders ----------------------------------------------------------- */

static void
put (Trap *trap, uint64_t offset, unsigned width, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (trap->file, offset, bytes + 8 - width, width);
}

static void
put_bytes (Trap *trap, uint64_t offset, const void *bytes, size_t len)
{
  fake_file_poke (trap->file, offset, bytes, len);
}

/* Header extensions start anew: "END" alone. */
static uint64_t
put_extension (Trap *trap, uint64_t at, uint32_t type, const void *bytes,
               uint32_t len)
{
  put (trap, at, 4, type);
  put (trap, at + 4, 4, len);
  if (len > 0)
    put_bytes (trap, at + 8, bytes, len);
  at += 8 + (len + 7) / 8 * 8;
  put (trap, at, 8, 0);
  return at;
}

static void
name_backing (Trap *trap, const char *name, const char *format)
{
  uint64_t header = 104;
  put (trap, 100, 4, header);
  put (trap, header, 8, 0);
  if (format)
    (void) put_extension (trap, header, 0xe2792aca, format,
                          (uint32_t) strlen (format));
  put (trap, 8, 8, NAME);
  put (trap, 16, 4, strlen (name));
  put_bytes (trap, NAME, name, strlen (name));
}

static void
backing_absolute (Trap *trap)
{
  name_backing (trap, trap->victim, "raw");
}

static void
backing_dots (Trap *trap)
{
  g_autofree char *base = g_path_get_basename (trap->folder);
  g_autofree char *name = g_strdup_printf ("../%s/victim", base);
  name_backing (trap, name, "raw");
}

static void
backing_no_format (Trap *trap)
{
  name_backing (trap, trap->victim, NULL);
}

static void
backing_link (Trap *trap)
{
  g_autofree char *path = g_build_filename (trap->folder, "link", NULL);
  (void) g_unlink (path);
  g_assert_cmpint (symlink (trap->victim, path), ==, 0);
  name_backing (trap, "link", "raw");
}

static void
backing_fd (Trap *trap)
{
  name_backing (trap, "/proc/self/fd/0", "raw");
}

static void
backing_device (Trap *trap)
{
  name_backing (trap, "/dev/zero", "raw");
}

static void
backing_fifo (Trap *trap)
{
  g_autofree char *path = g_build_filename (trap->folder, "fifo", NULL);
  (void) mkfifo (path, 0600);
  name_backing (trap, "fifo", "raw");
}

static void
backing_json (Trap *trap)
{
  g_autofree char *name =
      g_strdup_printf ("json:{\"driver\":\"raw\",\"file\":{\"driver\":"
                       "\"file\",\"filename\":\"%s\"}}",
                       trap->victim);
  name_backing (trap, name, "raw");
}

static void
backing_nbd (Trap *trap)
{
  name_backing (trap, "nbd:localhost:1:exportname=a", "raw");
}

static void
backing_file_scheme (Trap *trap)
{
  g_autofree char *name = g_strconcat ("file:", trap->victim, NULL);
  name_backing (trap, name, "raw");
}

static void
backing_fd_scheme (Trap *trap)
{
  name_backing (trap, "fd:0", "raw");
}

static void
backing_blkdebug (Trap *trap)
{
  g_autofree char *name = g_strconcat ("blkdebug::", trap->victim, NULL);
  name_backing (trap, name, "raw");
}

static void
backing_self (Trap *trap)
{
  name_backing (trap, "image", "qcow2");
}

static void
backing_nul (Trap *trap)
{
  name_backing (trap, "victim", "raw");
  put (trap, 16, 4, 12); /* NULs behind it belong to the name */
}

static void
backing_escapes (Trap *trap)
{
  g_autofree char *name = g_malloc0 (1024);
  memset (name, '\033', 1023);
  memcpy (name + 100, "\"],\"x\":[\"\n\r\t\x9b", 13);
  name_backing (trap, name, "raw");
}

static void
data_file (Trap *trap)
{
  put (trap, 100, 4, 104);
  put (trap, 72, 8, 4);
  (void) put_extension (trap, 104, 0x44415441, trap->victim,
                        (uint32_t) strlen (trap->victim));
}

/* The text of a feature's name goes to a terminal. */
static void
feature_names (Trap *trap)
{
  uint8_t row[48] = { 0, 40 };
  memcpy (row + 2, "\033[2J\033]0;owned\007", 15);
  put (trap, 100, 4, 104);
  put (trap, 72, 8, UINT64_C (1) << 40);
  (void) put_extension (trap, 104, 0x6803f857, row, sizeof row);
}

static void
guest_header (Trap *trap)
{
  backing_absolute (trap);
  trap->format = "raw";
}

static void
snapshot_table (Trap *trap, uint32_t extra, uint16_t id, uint16_t name,
                uint64_t l1, uint32_t entries)
{
  put (trap, 60, 4, 1);
  put (trap, 64, 8, 0x7000);
  put (trap, 0x7000, 8, l1);
  put (trap, 0x7008, 4, entries);
  put (trap, 0x700c, 2, id);
  put (trap, 0x700e, 2, name);
  put (trap, 0x7024, 4, extra);
  put (trap, 0x7ff8, 8, 0); /* so that the file reaches so far */
}

static void
snapshot_extra (Trap *trap)
{
  snapshot_table (trap, 0x7fffffff, 1, 1, L1, 1);
}

static void
snapshot_names (Trap *trap)
{
  snapshot_table (trap, 16, 0xffff, 0xffff, L1, 1);
}

static void
snapshot_l1_huge (Trap *trap)
{
  snapshot_table (trap, 16, 1, 1, L1, 0x7fffffff);
}

static void
snapshot_l1_odd (Trap *trap)
{
  snapshot_table (trap, 16, 1, 1, L1 + 8, 1);
}

static void
snapshot_l1_active (Trap *trap)
{
  snapshot_table (trap, 16, 1, 1, L1, 1);
}

static void
bitmaps (Trap *trap)
{
  uint8_t body[24] = { 0, 0, 0xff, 0xff };
  put (trap, 100, 4, 104);
  put (trap, 88, 8, 1);
  vp_be64_set (body + 8, UINT64_C (1) << 40);
  vp_be64_set (body + 16, 0x8000);
  (void) put_extension (trap, 104, 0x23852875, body, sizeof body);
}

/* A cluster that says it is packed in all sectors that there can be, and a
 * stream that never ends well. */
static void
packed_bomb (Trap *trap)
{
  put (trap, L2, 8, UINT64_C (0x7c00000000000000) | DATA);
  for (uint64_t at = DATA; at < DATA + 8192; at++)
    put (trap, at, 1, at == DATA ? 0xec : 0xff);
}

/* 1 EiB, with an L1 table to match, in a file with holes. */
static void
exbibyte (Trap *trap)
{
  put (trap, 20, 4, 21);
  put (trap, 24, 8, UINT64_C (1) << 60);
  put (trap, 36, 4, 1 << 21);
  put (trap, 40, 8, 4 << 20);
  put (trap, 48, 8, 2 << 20);
  put (trap, (20 << 20) - 8, 8, 0);
}

static void
truncated (Trap *trap)
{
  uint64_t size;
  uint8_t head[100];
  memcpy (head, fake_file_bytes (trap->file, &size), sizeof head);
  vp_file_unref (trap->file);
  trap->file = fake_file_new ("image");
  put_bytes (trap, 0, head, sizeof head);
}

static void
empty (Trap *trap)
{
  vp_file_unref (trap->file);
  trap->file = fake_file_new ("image");
}

static void
luks_header (Trap *trap)
{
  uint8_t body[16];
  vp_be64_set (body, 0x6000);
  vp_be64_set (body + 8, 592);
  put (trap, 100, 4, 104);
  put (trap, 32, 4, 2);
  (void) put_extension (trap, 104, 0x0537be77, body, sizeof body);
  put (trap, 0x7ff8, 8, 0);
  put_bytes (trap, 0x6000, "LUKS\xba\xbe\0\1", 8);
  put_bytes (trap, 0x6008, "aes", 3);
  put_bytes (trap, 0x6028, "xts-plain64", 11);
  put_bytes (trap, 0x6048, "sha256", 6);
  put (trap, 0x6068, 4, 4096);
  put (trap, 0x606c, 4, 64);
  put (trap, 0x60a4, 4, UINT32_MAX); /* iterations of the digest */
  for (uint64_t i = 0; i < 8; i++) {
    put (trap, 0x60d0 + 48 * i, 4, 0x00ac71f3);
    put (trap, 0x60d4 + 48 * i, 4, UINT32_MAX); /* and of the slots */
    put (trap, 0x60d0 + 48 * i + 40, 4, 8);
    put (trap, 0x60d0 + 48 * i + 44, 4, 4000);
  }
}

static void
luks_stripes (Trap *trap)
{
  luks_header (trap);
  for (uint64_t i = 0; i < 8; i++)
    put (trap, 0x60d0 + 48 * i + 44, 4, UINT32_MAX);
}

static void
luks_key_bytes (Trap *trap)
{
  luks_header (trap);
  put (trap, 0x606c, 4, UINT32_MAX);
}

static void
luks_unterminated (Trap *trap)
{
  luks_header (trap);
  for (uint64_t at = 0x6008; at < 0x6068; at++)
    put (trap, at, 1, 'a');
}

static void
luks_wrap (Trap *trap)
{
  luks_header (trap);
  put (trap, 112, 8, UINT64_MAX - 511);
}

static void
luks_no_header (Trap *trap)
{
  put (trap, 32, 4, 2);
}

/* ---- the list ----------------------------------------------------------- */

#define X8(value) UINT64_C (value), 8
#define X4(value) UINT64_C (value), 4

static const Hostile hostiles[] = {
  { "guest-header-in-raw", 1, FINE, guest_header },
  { "backing-absolute", 2, NAMED, backing_absolute },
  { "backing-dots", 2, NAMED, backing_dots },
  { "backing-link", 2, NAMED, backing_link },
  { "backing-proc-fd", 2, NAMED, backing_fd },
  { "backing-device", 2, NAMED, backing_device },
  { "backing-fifo", 22, NAMED, backing_fifo },
  { "backing-offset-wraps", 2, REFUSED, NULL, 8, X8 (0xffffffffffffff9b) },
  { "backing-no-format", 3, NAMED, backing_no_format },
  { "backing-nul", 2, REFUSED, backing_nul },
  { "backing-json", 4, NAMED, backing_json },
  { "backing-nbd", 4, NAMED, backing_nbd },
  { "backing-file-scheme", 4, NAMED, backing_file_scheme },
  { "backing-fd-scheme", 4, NAMED, backing_fd_scheme },
  { "backing-blkdebug", 4, NAMED, backing_blkdebug },
  { "backing-itself", 13, NAMED, backing_self },
  { "backing-escapes", 23, NAMED, backing_escapes },
  { "data-file", 5, REFUSED, data_file },
  { "unknown-feature", 6, REFUSED, NULL, 72, X8 (0x8000000000000000) },
  { "feature-names", 6, REFUSED, feature_names },
  { "l1-huge", 9, REFUSED, NULL, 36, X4 (0xffffffff) },
  { "l1-longer-than-file", 9, REFUSED, NULL, 36, X4 (0x400000) },
  { "reftable-huge", 9, REFUSED, NULL, 56, X4 (0xffffffff) },
  { "reftable-longer-than-file", 9, REFUSED, NULL, 56, X4 (0x700) },
  { "cluster-bits-8", 10, REFUSED, NULL, 20, X4 (8) },
  { "cluster-bits-63", 10, REFUSED, NULL, 20, X4 (63) },
  { "size-max", 10, REFUSED, NULL, 24, X8 (0xffffffffffffffff) },
  { "size-int64", 10, REFUSED, NULL, 24, X8 (0x7ffffffffffffe00) },
  { "refcount-order-63", 10, REFUSED, NULL, 96, X4 (63) },
  { "header-length-huge", 10, REFUSED, NULL, 100, X4 (0x7ffffff8) },
  { "l1-misaligned", 11, REFUSED, NULL, 40, X8 (0x3200) },
  { "l1-wraps", 11, REFUSED, NULL, 40, X8 (0xfffffffffffff000) },
  { "reftable-misaligned", 11, REFUSED, NULL, 48, X8 (0x1008) },
  { "reftable-wraps", 11, REFUSED, NULL, 48, X8 (0xfffffffffffff000) },
  { "l2-misaligned", 11, CORRUPT, NULL, L1, X8 (0x8000000000004200) },
  { "refblock-misaligned", 11, CORRUPT, NULL, REFTABLE, X8 (0x2200) },
  { "l1-on-reftable", 12, REFUSED, NULL, 40, X8 (0x1000) },
  { "l1-to-l1", 12, CORRUPT, NULL, L1, X8 (0x8000000000003000) },
  { "l1-to-header", 12, CORRUPT, NULL, L1, X8 (0x8000000000001000) },
  { "l2-to-refblock", 12, CORRUPT, NULL, L2, X8 (0x8000000000002000) },
  { "l2-to-l1", 12, CORRUPT, NULL, L2, X8 (0x8000000000003000) },
  { "refblock-on-l1", 12, ANSWER, NULL, REFTABLE, X8 (0x3000) },
  { "data-twice", 12, CORRUPT, NULL, L2 + 8, X8 (0x8000000000005000) },
  { "l2-to-itself", 13, CORRUPT, NULL, L2, X8 (0x8000000000004000) },
  { "l2-past-end", 13, CORRUPT, NULL, L1, X8 (0x80ffffffffff0000) },
  { "data-past-end", 13, CORRUPT, NULL, L2, X8 (0x80ffffffffff0000) },
  { "snapshot-l1-active", 13, CORRUPT, snapshot_l1_active },
  { "snapshot-count", 14, REFUSED, NULL, 60, X4 (0xffffffff) },
  { "snapshot-extra", 14, REFUSED, snapshot_extra },
  { "snapshot-names", 14, REFUSED, snapshot_names },
  { "snapshot-l1-huge", 14, CORRUPT, snapshot_l1_huge },
  { "snapshot-l1-odd", 14, CORRUPT, snapshot_l1_odd },
  { "extension-length", 15, REFUSED, NULL, 112, X8 (0x6803f8577fffffff) },
  { "bitmaps", 15, CORRUPT, bitmaps },
  { "packed-bomb", 16, CORRUPT, packed_bomb },
  { "packed-past-end", 16, CORRUPT, NULL, L2, X8 (0x7fffffffffffffff) },
  { "exbibyte", 17, FINE, exbibyte },
  { "refcounts-zero", 18, CORRUPT, NULL, REFBLOCK, X8 (0) },
  { "dirty", 18, FINE, NULL, 72, X8 (1) },
  { "corrupt", 18, FINE, NULL, 72, X8 (2) },
  { "crypt-3", 19, REFUSED, NULL, 32, X4 (3) },
  { "luks-no-header", 19, REFUSED, luks_no_header },
  { "luks-iterations", 19, NAMED_OR_REFUSED, luks_header },
  { "luks-stripes", 19, NAMED_OR_REFUSED, luks_stripes },
  { "luks-key-bytes", 19, NAMED_OR_REFUSED, luks_key_bytes },
  { "luks-unterminated", 19, NAMED_OR_REFUSED, luks_unterminated },
  { "luks-wraps", 19, REFUSED, luks_wrap },
  { "truncated", 10, REFUSED, truncated },
  { "empty", 10, REFUSED, empty },
};

static void
build (Trap *trap, const Hostile *h)
{
  static const EngineCase c = { "own", "qcow2", "cluster_size=4k", true, true };
  FakeGate gate;
  g_autofree uint8_t *bytes = g_malloc (3 * CLUSTER);
  uint64_t size;
  memset (bytes, 'x', 3 * CLUSTER);
  fake_gate_init (&gate);
  trap->format = "qcow2";
  trap->file = case_create (&c, &gate, "image", SIZE, NULL, NULL);
  VpImage *image = case_open (&c, &gate, trap->file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, bytes, 3 * CLUSTER, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_clear (&gate);
  if (h->build)
    h->build (trap);
  else
    put (trap, h->offset, h->width, h->value);
  const uint8_t *all = fake_file_bytes (trap->file, &size);
  g_assert_true (g_file_set_contents (trap->image, (const char *) all,
                                      (gssize) size, NULL));
}

/* ---- the gates ---------------------------------------------------------- */

static int
watch (Trap *trap)
{
  int fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (inotify_add_watch (fd, trap->victim, IN_OPEN), >=, 0);
  return fd;
}

static bool
was_opened (int fd)
{
  char events[4096];
  return read (fd, events, sizeof events) > 0;
}

/* VERB ARGUMENT...: within the limits, it must end by itself. */
static int
run (Trap *trap, const Hostile *h, const char *first, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autofree char *said = NULL;
  va_list args;
#ifndef VP_SANITIZED
  static const char *const limits[] = { "prlimit", "--data=268435456",
                                        "--cpu=1", "--fsize=268435456",
                                        "--nofile=64" };
  for (size_t i = 0; i < G_N_ELEMENTS (limits); i++)
    g_ptr_array_add (argv, (gpointer) limits[i]);
#endif
  g_ptr_array_add (argv, (gpointer) judge_vprov_img ());
  va_start (args, first);
  for (const char *arg = first; arg; arg = va_arg (args, const char *))
    if (*arg)
      g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  int status = judge_run ((const char *const *) argv->pdata, &said);
  if (status < 0 || status > 63)
    g_error ("%s: %s: ended by %d: %s", h->name, first, status, said);
  if (strchr (said, '\033') || strchr (said, '\a'))
    g_error ("%s: %s: says what steers a terminal", h->name, first);
  (void) trap;
  return status;
}

static bool
is_refused (const Hostile *h)
{
  return h->verdict == REFUSED || h->verdict == NAMED ||
         h->verdict == NAMED_OR_REFUSED;
}

static void
judge_strict (Trap *trap, const Hostile *h)
{
  vp_autofd int events = watch (trap);
  int status = run (trap, h, "info", "--safe", "--output=json", "-f",
                    trap->format, trap->image, NULL);
  /* A data file is not opened for info. */
  if (h->verdict == REFUSED && h->row != 5)
    g_assert_cmpint (status, ==, 1);
  else if (h->verdict != NAMED_OR_REFUSED && h->verdict != ANSWER)
    g_assert_cmpint (status, ==, 0);
  status =
      run (trap, h, "check", "--safe", "-f", trap->format, trap->image, NULL);
  /* 1: it could not even be checked to the end. */
  if (h->verdict == CORRUPT && status != 1)
    g_assert_cmpint (status, ==, 2);
  (void) run (trap, h, "map", "--safe", "-f", trap->format, trap->image, NULL);
  status = run (trap, h, "convert", "--safe", "-f", trap->format, "-O", "qcow2",
                trap->image, trap->out, NULL);
  if (is_refused (h))
    g_assert_cmpint (status, ==, 1);
  if (was_opened (events))
    g_error ("%s: --safe opened what it names", h->name);
}

/* The library's word, with no gate at all. */
static void
judge_library (Trap *trap, const Hostile *h)
{
  g_autoptr (GError) open_error = NULL;
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (VpImage) image =
      vp_image_open (trap->image, trap->format, 0, NULL, &open_error);
  g_test_message ("%u %s: %s", h->row, h->name,
                  open_error ? open_error->message : "opens");
  if (is_refused (h))
    g_assert_null (image);
  if (h->verdict == FINE)
    g_assert_nonnull (image);
  if (h->verdict != CORRUPT)
    return;
  g_clear_pointer (&image, vp_image_free);
  image = vp_image_open (trap->image, trap->format,
                         VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING, NULL, NULL);
  g_assert_nonnull (image);
  ASSERT_OK (vp_check_image (image, VP_REPAIR_NOTHING, NULL, &result, &error));
  g_assert_cmpuint (result.corruptions + result.check_errors, >, 0);
}

static void
judge_person (Trap *trap, const Hostile *h)
{
  static const char *const none = "";
  vp_autofd int events = watch (trap);
  const char *f = h->row == 1 ? "-fraw" : none;
  (void) run (trap, h, "info", f, trap->image, NULL);
  (void) run (trap, h, "info", "--backing-chain", "--output=json", f,
              trap->image, NULL);
  (void) run (trap, h, "check", f, trap->image, NULL);
  (void) run (trap, h, "map", "--output=json", f, trap->image, NULL);
  (void) run (trap, h, "convert", f, "-O", "qcow2", trap->image, trap->out,
              NULL);
  (void) run (trap, h, "snapshot", "-l", trap->image, NULL);
  (void) run (trap, h, "measure", "-O", "qcow2", f, trap->image, NULL);
  if ((h->row == 1 || h->row == 4) && was_opened (events))
    g_error ("%s: opened what it names", h->name);
  /* What changes the image comes last. */
  (void) run (trap, h, "snapshot", "-c", "one", trap->image, NULL);
  (void) run (trap, h, "check", "-r", "all", f, trap->image, NULL);
  (void) run (trap, h, "resize", f, trap->image, "+1M", NULL);
}

static void
test_hostile (gconstpointer data)
{
  const Hostile *h = data;
  Trap trap = { .folder = judge_folder () };
  trap.image = g_build_filename (trap.folder, "image", NULL);
  trap.victim = g_build_filename (trap.folder, "victim", NULL);
  trap.out = g_build_filename (trap.folder, "out", NULL);
  g_assert_true (g_file_set_contents (trap.victim, "secret", -1, NULL));
  g_assert_cmpint (truncate (trap.victim, 1 << 20), ==, 0);
  build (&trap, h);
  judge_library (&trap, h);
  judge_strict (&trap, h);
  if (test_rounds (0, 1))
    judge_person (&trap, h);
  vp_file_unref (trap.file);
  g_free (trap.image);
  g_free (trap.victim);
  g_free (trap.out);
  judge_remove (trap.folder);
}

/* In the place of an image: what is no file. */
static void
test_no_file (void)
{
  static const Hostile h = { "no-file", 22, REFUSED, NULL };
  Trap trap = { .folder = judge_folder () };
  g_autofree char *fifo = g_build_filename (trap.folder, "fifo", NULL);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  const char *const names[] = { fifo, trap.folder, "/dev/null", "/dev/zero" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    for (unsigned format = 0; format < 2; format++)
      g_assert_cmpint (run (&trap, &h, "info", "--safe", "-f",
                            format ? "qcow2" : "raw", names[i], NULL),
                       ==, 1);
  judge_remove (trap.folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (hostiles); i++) {
    g_autofree char *path =
        g_strdup_printf ("/hostile/%02u/%s", hostiles[i].row, hostiles[i].name);
    g_test_add_data_func (path, &hostiles[i], test_hostile);
  }
  g_test_add_func ("/hostile/22/no-file", test_no_file);
  return g_test_run ();
}
