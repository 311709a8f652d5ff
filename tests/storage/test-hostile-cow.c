/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow images made with malice, handed to the program as test-hostile.c does it
 * with others: at the strict gate (--safe) each gets the verdict that is
 * wanted and nothing that it names is opened; at the person's gate no verb
 * crashes or runs away, and names with a scheme are opened nowhere. */
#include "config.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "storage/autofd.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define SIZE (UINT64_C (1) << 20)

enum { HEADER = 1056, BITMAP_END = HEADER + 256, DATA = 1536 };

typedef enum {
  REFUSED, /* does not open */
  CORRUPT, /* opens; the check says so, and it cannot be read */
  LEAKY,   /* opens, reads, and the check finds bits too many */
  NAMED,   /* opens where what it names is not needed, else is refused */
  FINE,
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
  { "backing-fd-scheme", NAMED, .backing = "fd:0", .scheme = true },
  { "backing-nbd", NAMED, .backing = "nbd:localhost:1", .scheme = true },
  { "name-without-end", REFUSED, .backing = NULL, .width = 1024 },
  { "version-0", REFUSED, 4, 0, 4 },
  { "version-1", REFUSED, 4, 1, 4 },
  { "version-3", REFUSED, 4, 3, 4 },
  { "version-99", REFUSED, 4, 99, 4 },
  { "magic", REFUSED, 0, 0x4f4f4f4e, 4 },
  { "sector-size-0", REFUSED, 1048, 0, 4 },
  { "sector-size-1", REFUSED, 1048, 1, 4 },
  { "sector-size-4096", REFUSED, 1048, 4096, 4 },
  { "sector-size-max", REFUSED, 1048, UINT32_MAX, 4 },
  { "size-0", REFUSED, 1040, 0, 8, .length = DATA + SIZE },
  { "size-odd", REFUSED, 1040, SIZE + 1, 8 },
  { "size-smaller", REFUSED, 1040, 512, 8, .length = DATA + SIZE },
  { "size-larger", REFUSED, 1040, SIZE * 1024, 8 },
  { "size-16T", REFUSED, 1040, UINT64_C (1) << 44, 8 },
  { "size-above", REFUSED, 1040, (UINT64_C (1) << 44) + 1024, 8 },
  /* Its halves are what an i386 header has for a disk of 4096 bytes. */
  { "size-of-other-layout", LEAKY, 1040, (UINT64_C (1) << 44) + 512, 8 },
  { "size-2-63", REFUSED, 1040, UINT64_C (1) << 63, 8 },
  { "size-max", REFUSED, 1040, UINT64_MAX, 8 },
  { "size-wraps", REFUSED, 1040, UINT64_MAX - 511, 8 },
  { "padding", FINE, 1036, UINT32_MAX, 4 },
  { "empty", REFUSED, .length = 1 },
  { "header-cut", REFUSED, .length = HEADER - 1 },
  { "bitmap-missing", REFUSED, .length = HEADER },
  { "bitmap-cut", REFUSED, .length = BITMAP_END - 1 },
  { "data-cut", CORRUPT, .length = DATA + 700 },
  { "data-missing", CORRUPT, .length = BITMAP_END },
  { "bits-past-end", CORRUPT, HEADER + 200, UINT64_MAX, 8 },
  { "bits-stray", LEAKY, BITMAP_END, UINT64_MAX, 8 },
  { "tail", REFUSED, .length = DATA + SIZE + 1 },
  { "bits-all", FINE, HEADER, UINT64_MAX, 8, .length = DATA + SIZE },
};

typedef struct {
  char *folder, *image, *victim, *out;
} Trap;

/* ---- building ----------------------------------------------------------- */

static void
put (VpFile *file, const Hostile *h, const Trap *trap)
{
  uint8_t bytes[1024];
  if (h->width == sizeof bytes) {
    memset (bytes, 'n', sizeof bytes);
    fake_file_poke (file, 8, bytes, sizeof bytes);
  } else if (h->width > 0) {
    vp_be64_set (bytes, h->value);
    fake_file_poke (file, h->offset, bytes + 8 - h->width, h->width);
  }
  if (h->backing) {
    const char *name = strcmp (h->backing, "@") ? h->backing : trap->victim;
    fake_file_poke (file, 8, name, strlen (name));
  }
}

/* Three sectors are in it. */
static void
build (const Trap *trap, const Hostile *h)
{
  const EngineCase *c = case_find ("cow");
  FakeGate gate;
  uint64_t size;
  uint8_t bytes[512 * 3];
  memset (bytes, 'x', sizeof bytes);
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = case_create (c, &gate, "image", SIZE, NULL, NULL);
  VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_write (image, 0, bytes, sizeof bytes, &error));
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
  static const int checks[] = { 1, 2, 3, 0, 0 };
  vp_autofd int events = watch (trap);
  bool opens = h->verdict != REFUSED;
  bool reads = h->verdict == FINE || h->verdict == LEAKY;
  g_assert_cmpint (run (h, "info", "--safe", "-f", "cow", trap->image, NULL),
                   ==, opens ? 0 : 1);
  g_assert_cmpint (run (h, "check", "--safe", "-f", "cow", trap->image, NULL),
                   ==, checks[h->verdict]);
  g_assert_cmpint (run (h, "convert", "--safe", "-f", "cow", "-O", "qcow2",
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
  int status = run (h, "check", "-r", "all", "-f", "cow", trap->image, NULL);
  if (h->verdict != REFUSED)
    g_assert_cmpint (status, ==, 0);
  if (h->verdict != REFUSED)
    g_assert_cmpint (run (h, "check", "-f", "cow", trap->image, NULL), ==, 0);
  (void) run (h, "resize", "-f", "cow", trap->image, "+64k", NULL);
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
        g_strdup_printf ("/hostile/cow/%s", hostiles[i].name);
    g_test_add_data_func (path, &hostiles[i], test_hostile);
  }
  return g_test_run ();
}
