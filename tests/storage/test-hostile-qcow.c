/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images of qcow's first version made with malice: numbers at their limits and
 * beyond, tables that name each other, packed units that are none, names of
 * all kinds.  --safe opens nothing that they name and gives the wanted
 * verdict; nobody's verb crashes, spends more than 256 MiB or a second. */
#include "config.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "storage/autofd.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define SIZE (UINT64_C (4) << 20)

/* Where things lie in the fresh image; PACKED is an entry of one. */
enum { NAME = 0x400, L1 = 48, L2 = 0x1000, DATA = 0x2000, PACKED = L2 + 8 * 9 };

typedef enum {
  REFUSED, /* does not open */
  CORRUPT, /* opens; the check says so */
  BROKEN,  /* ... and it cannot be read */
  NAMED,   /* opens where what it names is not needed, else is refused */
  LEAKY,   /* opens, reads, and holds what the disk does not have */
} Verdict;

typedef struct {
  const char *name;
  Verdict verdict;
  uint64_t offset, value; /* a number there */
  unsigned width;         /* 0: none */
  uint64_t length;        /* of the file; 0: as it is */
  const char *backing;    /* "@": the victim's path */
  bool scheme;            /* ... which nobody opens */
} Hostile;

#define X8(value) UINT64_C (value), 8

static const Hostile hostiles[] = {
  { "backing-absolute", NAMED, .backing = "@" },
  { "backing-dots", NAMED, .backing = "../../../../../../etc/passwd" },
  { "backing-device", NAMED, .backing = "/dev/zero" },
  { "backing-fd", NAMED, .backing = "/proc/self/fd/0" },
  { "backing-self", NAMED, .backing = "image" },
  { "backing-terminal", NAMED, .backing = "\033[2J\a\n" },
  { "backing-json", NAMED,
    .backing = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
               "\"filename\":\"victim\"}}",
    .scheme = true },
  { "backing-file", NAMED, .backing = "file:victim", .scheme = true },
  { "backing-nbd", NAMED, .backing = "nbd:localhost:1", .scheme = true },
  { "name-1023", NAMED, 16, 1023, 4, .backing = "n" },
  { "name-1024", REFUSED, 16, 1024, 4, .backing = "n" },
  { "name-max", REFUSED, 16, UINT32_MAX, 4, .backing = "n" },
  { "name-nul", REFUSED, 16, 5, 4, .backing = "n" },
  { "name-wraps", REFUSED, 8, X8 (0xffffffffffffffff), .backing = "n" },
  { "name-is-header", REFUSED, 8, 8, 8, .backing = "n" },
  { "version-0", REFUSED, 4, 0, 4 },
  { "version-2", REFUSED, 4, 2, 4 },
  { "magic", REFUSED, 0, 0x514649fa, 4 },
  { "cluster-bits-0", REFUSED, 32, 0, 1 },
  { "cluster-bits-8", REFUSED, 32, 8, 1 },
  { "cluster-bits-17", REFUSED, 32, 17, 1 },
  { "cluster-bits-63", REFUSED, 32, 63, 1 },
  { "cluster-bits-255", REFUSED, 32, 255, 1 },
  { "l2-bits-5", REFUSED, 33, 5, 1 },
  { "l2-bits-14", REFUSED, 33, 14, 1 },
  { "l2-bits-64", REFUSED, 33, 64, 1 },
  { "size-0", REFUSED, 24, 0, 8 },
  { "size-1", REFUSED, 24, 1, 8 },
  { "size-2", LEAKY, 24, 2, 8 },
  { "size-max", REFUSED, 24, X8 (0xffffffffffffffff) },
  { "size-int64", REFUSED, 24, X8 (0x7fffffffffffffff) },
  { "size-l1-32m", REFUSED, 24, X8 (0x80000000000) }, /* not in the file */
  { "size-l1-more", REFUSED, 24, X8 (0x80000000001) },
  { "crypt-2", REFUSED, 36, 2, 4 },
  { "crypt-max", REFUSED, 36, UINT32_MAX, 4 },
  { "l1-is-header", REFUSED, 40, 40, 8 },
  { "l1-misaligned", REFUSED, 40, 49, 8 },
  { "l1-past-end", REFUSED, 40, X8 (0x1000000) },
  { "l1-wraps", REFUSED, 40, X8 (0xfffffffffffffff8) },
  { "l2-is-header", CORRUPT, L1, 0x200, 8 },
  { "l2-misaligned", BROKEN, L1, 0x1008, 8 },
  { "l2-past-end", BROKEN, L1, X8 (0x1000000) },
  { "l2-wraps", BROKEN, L1, X8 (0xfffffffffffffe00) },
  { "l2-twice", CORRUPT, L1 + 8, L2, 8 },
  { "l2-packed", BROKEN, L1, X8 (0x8000000000001000) },
  { "data-is-l2", CORRUPT, L2, L2, 8 },
  { "data-is-l1", CORRUPT, L2, 0x200, 8 },
  { "data-twice", CORRUPT, L2, DATA + 0x1000, 8 },
  { "data-misaligned", BROKEN, L2, DATA + 1, 8 },
  { "data-past-end", CORRUPT, L2, X8 (0x100000000000) },
  { "data-wraps", BROKEN, L2, X8 (0x7ffffffffffff000) },
  { "packed-empty", BROKEN, PACKED, X8 (0x8000000000002000) },
  { "packed-past-end", BROKEN, PACKED, X8 (0x8040100000000000) },
  { "packed-noise", BROKEN, PACKED, X8 (0xfff8000000002000) },
  { "packed-is-header", BROKEN, PACKED, X8 (0xfff8000000000001) },
  { "packed-at-0", BROKEN, PACKED, X8 (0x8008000000000000) },
  { "truncated-header", REFUSED, .length = 47 },
  { "truncated-l1", REFUSED, .length = 55 },
  { "truncated-l2", BROKEN, .length = L2 + 100 },
  { "truncated-data", BROKEN, .length = DATA + 0x2000 },
};

typedef struct {
  char *folder, *image, *victim, *out;
} Trap;

/* ---- building ----------------------------------------------------------- */

static void
put_number (VpFile *file, uint64_t offset, unsigned width, uint64_t value)
{
  uint8_t bytes[8];
  vp_be64_set (bytes, value);
  fake_file_poke (file, offset, bytes + 8 - width, width);
}

static void
put (VpFile *file, const Hostile *h, const Trap *trap)
{
  if (h->backing) {
    const char *name = strcmp (h->backing, "@") ? h->backing : trap->victim;
    uint8_t filler[1024];
    memset (filler, h->offset == 16 && h->value < 10 ? 0 : 'n', sizeof filler);
    fake_file_poke (file, NAME, filler, sizeof filler);
    fake_file_poke (file, NAME, name, strlen (name));
    put_number (file, 8, 8, NAME);
    put_number (file, 16, 4, strlen (name));
  }
  if (h->width > 0)
    put_number (file, h->offset, h->width, h->value);
}

/* Nine clusters of data, and one that is packed. */
static void
build (const Trap *trap, const Hostile *h)
{
  const EngineCase *c = case_find ("qcow");
  FakeGate gate;
  uint64_t size;
  uint8_t bytes[10 * 4096];
  memset (bytes, 0xff, sizeof bytes);
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = case_create (c, &gate, "image", SIZE, NULL, NULL);
  VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, bytes, 9 * 4096, &error));
  ASSERT_OK (vp_image_write_compressed (image, 9 * 4096, bytes, 4096, &error));
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_clear (&gate);
  put (file, h, trap);
  if (h->length > 0)
    ASSERT_OK (vp_file_truncate (file, h->length, &error));
  const uint8_t *all = fake_file_bytes (file, &size);
  g_assert_true (g_file_set_contents (trap->image, (const char *) all,
                                      (gssize) size, NULL));
}

/* ---- the gates ---------------------------------------------------------- */

static int
watch (const Trap *trap)
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

/* VERB ARGUMENT...: within the limits, and it ends by itself. */
static int
run (const Hostile *h, const char *first, ...)
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
    g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  int status = judge_run ((const char *const *) argv->pdata, &said);
  if (status < 0 || status > 63)
    g_error ("%s: %s: ended by %d: %s", h->name, first, status, said);
  if (strchr (said, '\033') || strchr (said, '\a'))
    g_error ("%s: %s: says what steers a terminal", h->name, first);
  return status;
}

static void
judge_strict (const Trap *trap, const Hostile *h)
{
  static const int checks[] = { 1, 2, 2, 0, 3 };
  vp_autofd int events = watch (trap);
  bool opens = h->verdict != REFUSED;
  bool reads = h->verdict == LEAKY || h->verdict == CORRUPT;
  g_assert_cmpint (run (h, "info", "--safe", "-f", "qcow", trap->image, NULL),
                   ==, opens ? 0 : 1);
  g_assert_cmpint (run (h, "check", "--safe", "-f", "qcow", trap->image, NULL),
                   ==, checks[h->verdict]);
  g_assert_cmpint (run (h, "convert", "--safe", "-f", "qcow", "-O", "qcow2",
                        trap->image, trap->out, NULL),
                   ==, reads ? 0 : 1);
  if (was_opened (events))
    g_error ("%s: --safe opened what it names", h->name);
}

static void
judge_person (const Trap *trap, const Hostile *h)
{
  vp_autofd int events = watch (trap);
  (void) run (h, "info", "--backing-chain", "--output=json", trap->image, NULL);
  (void) run (h, "info", "--header", trap->image, NULL);
  (void) run (h, "map", trap->image, NULL);
  (void) run (h, "convert", "-O", "raw", trap->image, trap->out, NULL);
  (void) run (h, "measure", "-O", "qcow2", trap->image, NULL);
  if (h->scheme && was_opened (events))
    g_error ("%s: opened what it names", h->name);
  (void) run (h, "check", "-r", "all", "-f", "qcow", trap->image, NULL);
  (void) run (h, "resize", "-f", "qcow", trap->image, "+64k", NULL);
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
  build (&trap, h);
  judge_strict (&trap, h);
  if (test_rounds (0, 1))
    judge_person (&trap, h);
  g_free (trap.image);
  g_free (trap.victim);
  g_free (trap.out);
  judge_remove (trap.folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (hostiles); i += test_rounds (4, 1)) {
    g_autofree char *path =
        g_strdup_printf ("/hostile/qcow/%s", hostiles[i].name);
    g_test_add_data_func (path, &hostiles[i], test_hostile);
  }
  return g_test_run ();
}
