/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-bench: how fast an image answers.  Requests of one size in equal steps,
 * round and round.  Reads go through as many images of the same file as there
 * are threads, each with its own tables; writes through one image, one at a
 * time, for two would not know of each other's clusters. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 16u

typedef struct {
  const char *filename, *format;
  uint64_t count, depth, flush_interval;
  uint64_t offset, buffer_size, step;
  uint8_t pattern;
  bool write, native, direct;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

typedef struct {
  const Arguments *arguments;
  VpImage *image; /* owned */
  uint64_t *next; /* shared, atomic: the next request's number */
  GThread *thread;
  GError *error;
} Worker;

/* Requests begin anew where the next would pass the end. */
static uint64_t
find_offset (const Arguments *arguments, uint64_t number, uint64_t size)
{
  uint64_t room = size - arguments->buffer_size, first = arguments->offset;
  uint64_t a_turn =
      arguments->step > 0 ? (room - first) / arguments->step + 1 : 1;

  return first + number % a_turn * arguments->step;
}

static bool
send_request (const Worker *worker, uint64_t number, uint8_t *buffer,
              GError **error)
{
  const Arguments *arguments = worker->arguments;
  uint64_t offset =
      find_offset (arguments, number, vp_image_get_size (worker->image));

  if (!arguments->write)
    return vp_image_read (worker->image, offset, buffer, arguments->buffer_size,
                          error);
  if (!vp_image_write (worker->image, offset, buffer, arguments->buffer_size,
                       error))
    return false;
  return arguments->flush_interval == 0 ||
         (number + 1) % arguments->flush_interval != 0 ||
         vp_image_flush (worker->image, error);
}

static gpointer
work (gpointer data)
{
  Worker *worker = data;
  const Arguments *arguments = worker->arguments;
  g_autofree uint8_t *buffer = g_malloc (MAX (arguments->buffer_size, 1));

  memset (buffer, arguments->pattern, arguments->buffer_size);
  for (;;) {
    uint64_t number = __atomic_fetch_add (worker->next, 1, __ATOMIC_RELAXED);
    if (number >= arguments->count ||
        !send_request (worker, number, buffer, &worker->error))
      return NULL;
  }
}

static VpImage *
open_image (const Arguments *arguments, GError **error)
{
  return vp_img_open (&arguments->access, arguments->filename,
                      arguments->format,
                      arguments->write ? VP_IMAGE_WRITABLE : 0, error);
}

static void
worker_clear (gpointer data)
{
  Worker *worker = data;

  vp_image_free (worker->image);
  g_clear_error (&worker->error);
}

/* All workers with an image each, before the clock starts. */
static bool
make_workers (const Arguments *arguments, GArray *workers, uint64_t *next,
              GError **error)
{
  unsigned n =
      arguments->write ? 1 : (unsigned) MIN (arguments->depth, MAX_THREADS);

  for (unsigned i = 0; i < MAX (n, 1); i++) {
    Worker worker = { .arguments = arguments, .next = next };
    worker.image = open_image (arguments, error);
    if (worker.image == NULL)
      return false;
    g_array_append_val (workers, worker);
  }
  return true;
}

static bool
run_workers (GArray *workers, GError **error)
{
  bool ok = true;

  for (unsigned i = 0; i < workers->len; i++) {
    Worker *worker = &g_array_index (workers, Worker, i);
    worker->thread = g_thread_new ("bench", work, worker);
  }
  for (unsigned i = 0; i < workers->len; i++) {
    Worker *worker = &g_array_index (workers, Worker, i);
    g_thread_join (worker->thread);
    if (worker->error != NULL && ok) {
      g_propagate_error (error, g_steal_pointer (&worker->error));
      ok = false;
    }
  }
  return ok;
}

static void
print_plan (const Arguments *arguments)
{
  printf ("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
          " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64
          ")\n",
          arguments->count, arguments->write ? "write" : "read",
          arguments->buffer_size, arguments->depth, arguments->offset,
          arguments->step);
  if (arguments->flush_interval > 0)
    printf ("Sending flush every %" PRIu64 " requests\n",
            arguments->flush_interval);
  fflush (stdout);
}

static bool
check_fit (const Arguments *arguments, VpImage *image, GError **error)
{
  uint64_t size = vp_image_get_size (image);

  if (vp_range_ok (arguments->offset, arguments->buffer_size, size))
    return true;
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                       arguments->buffer_size > size
                           ? "the image is smaller than one request"
                           : "the first one ends past the end of the image");
  return false;
}

static int
measure (const Arguments *arguments)
{
  g_autoptr (GArray) workers = g_array_new (FALSE, TRUE, sizeof (Worker));
  g_autoptr (GError) error = NULL;
  uint64_t next = 0;

  g_array_set_clear_func (workers, worker_clear);
  if (!make_workers (arguments, workers, &next, &error))
    return vp_img_fail_open (arguments->filename, error, 1);
  print_plan (arguments);

  Worker *first = &g_array_index (workers, Worker, 0);
  int64_t begin = g_get_monotonic_time ();
  bool ok = check_fit (arguments, first->image, &error) &&
            run_workers (workers, &error);
  int64_t end = g_get_monotonic_time ();
  if (ok && arguments->write)
    ok = vp_image_close (g_steal_pointer (&first->image), &error);
  if (!ok) {
    vp_img_complain ("Failed request: %s", error->message);
    return 1;
  }
  printf ("Run completed in %3.3f seconds.\n",
          (double) (end - begin) / G_TIME_SPAN_SECOND);
  return 0;
}

/* ---- options ------------------------------------------------------------- */

enum { OPTION_FLUSH_INTERVAL = 256, OPTION_NO_DRAIN, OPTION_PATTERN };

static const struct option long_options[] = {
  { "count", required_argument, NULL, 'c' },
  { "depth", required_argument, NULL, 'd' },
  { "format", required_argument, NULL, 'f' },
  { "flush-interval", required_argument, NULL, OPTION_FLUSH_INTERVAL },
  { "aio", required_argument, NULL, 'i' },
  { "native", no_argument, NULL, 'n' },
  { "no-drain", no_argument, NULL, OPTION_NO_DRAIN },
  { "offset", required_argument, NULL, 'o' },
  { "pattern", required_argument, NULL, OPTION_PATTERN },
  { "quiet", no_argument, NULL, 'q' },
  { "buffer-size", required_argument, NULL, 's' },
  { "step-size", required_argument, NULL, 'S' },
  { "cache", required_argument, NULL, 't' },
  { "write", no_argument, NULL, 'w' },
  VP_IMG_ACCESS_OPTIONS,
  { NULL, 0, NULL, 0 }
};

static bool
parse_count (const char *text, const char *what, uint64_t max,
             uint64_t *ret_value)
{
  if (g_ascii_string_to_unsigned (text, 10, 0, max, ret_value, NULL))
    return true;
  vp_img_complain ("Invalid %s specified", what);
  return false;
}

static bool
parse_pattern (const char *text, uint8_t *ret_pattern)
{
  char *end;
  unsigned long value = strtoul (text, &end, 0);

  if (g_ascii_isdigit (text[0]) && *end == '\0' && value <= 0xff) {
    *ret_pattern = (uint8_t) value;
    return true;
  }
  vp_img_complain ("Invalid pattern byte specified");
  return false;
}

static bool
parse_aio (const char *text, Arguments *arguments)
{
  if (strcmp (text, "native") == 0)
    arguments->native = true;
  else if (strcmp (text, "threads") != 0 && strcmp (text, "io_uring") != 0) {
    vp_img_complain ("Invalid aio option: %s", text);
    return false;
  }
  return true;
}

static bool
parse_cache (const char *text, Arguments *arguments)
{
  if (!vp_img_find_cache (text, &arguments->access.caching)) {
    vp_img_complain ("Invalid cache mode");
    return false;
  }
  arguments->direct = arguments->access.caching & VP_FILE_CACHE_DROP;
  return true;
}

static bool
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'c':
    return parse_count (optarg, "request count", INT32_MAX, &arguments->count);
  case 'd':
    return parse_count (optarg, "queue depth", INT32_MAX, &arguments->depth);
  case OPTION_FLUSH_INTERVAL:
    return parse_count (optarg, "flush interval", INT32_MAX,
                        &arguments->flush_interval);
  case OPTION_PATTERN: return parse_pattern (optarg, &arguments->pattern);
  case 'i': return parse_aio (optarg, arguments);
  case 't': return parse_cache (optarg, arguments);
  case 'o':
    return vp_img_parse_number ("offset", optarg, 0, INT64_MAX,
                                &arguments->offset);
  case 's':
    return vp_img_parse_number ("buffer size", optarg, 0, INT64_MAX,
                                &arguments->buffer_size);
  case 'S':
    return vp_img_parse_number ("step_size", optarg, 0, INT64_MAX,
                                &arguments->step);
  case 'f': arguments->format = optarg; return true;
  case 'n': arguments->native = true; return true;
  case OPTION_NO_DRAIN: /* no write waits for another */
  case 'q': /* the result is all that is said */ return true;
  case 'w': arguments->write = true; return true;
  default: return vp_img_access_take (&arguments->access, c);
  }
}

/* What does not go together. */
static bool
check_arguments (const Arguments *arguments)
{
  if (!arguments->write && arguments->flush_interval > 0)
    vp_img_complain ("--flush-interval is only available in write tests");
  else if (arguments->flush_interval > 0 &&
           arguments->flush_interval < arguments->depth)
    vp_img_complain ("Flush interval can't be smaller than depth");
  else if (arguments->depth == 0)
    vp_img_complain ("Invalid queue depth specified");
  else if (arguments->buffer_size > INT32_MAX)
    vp_img_complain ("Invalid buffer size specified");
  else if (arguments->native && !arguments->direct)
    vp_img_complain ("Could not open '%s': aio=native was specified, but it "
                     "requires cache.direct=on, which was not specified.",
                     arguments->filename);
  else
    return true;
  return false;
}

static int
run_bench (int argc, char **argv)
{
  g_auto (Arguments)
      arguments = { .count = 75000, .depth = 64, .buffer_size = 4096 };
  int c;

  while ((c = vp_img_getopt (argc, argv, "c:d:f:i:no:qs:S:t:wU",
                             long_options)) >= 0)
    if (!take_option (c, &arguments))
      return 1;
  if (optind != argc - 1)
    return vp_img_misuse ("Expecting one image file name");
  arguments.filename = argv[optind];
  if (!vp_img_access_check (&arguments.access, arguments.format) ||
      !check_arguments (&arguments))
    return 1;
  if (arguments.step == 0)
    arguments.step = arguments.buffer_size;
  return measure (&arguments);
}

const VpImgVerb vp_img_verb_bench = {
  "bench", run_bench,
  "[--object objectdef] [--image-opts] [-c count] [-d depth] [-f fmt] "
  "[--flush-interval=flush_interval] [-i aio] "
  "[-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] "
  "[-S step_size] [-t cache] [-w] [-U] filename",
  "Sends equal requests, one behind the other, and tells how long that took.\n"
  "With -w it overwrites the image's content.\n"
  "  -c, --count=count           requests in all (75000)\n"
  "  -d, --depth=depth           at the same time (64); reads by as many\n"
  "                              threads, 16 at most; writes one by one\n"
  "  -f, --format=fmt            format of the image; guessed without\n"
  "      --flush-interval=n      with -w: a flush behind every n requests,\n"
  "                              no fewer than depth\n"
  "  -i, --aio=aio               'threads', 'native' or 'io_uring': checked;\n"
  "                              threads are used\n"
  "  -n, --native                as -i native; needs -t none\n"
  "      --no-drain              accepted: no write waits for another\n"
  "  -o, --offset=offset         the first request (0)\n"
  "      --pattern=byte          with -w: what is written (0)\n"
  "  -q, --quiet                 accepted: the result is all that is said\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "  -s, --buffer-size=size      bytes of a request (4k)\n"
  "  -S, --step-size=size        from one to the next; the buffer's size\n"
  "  -t, --cache=mode            as convert's -t\n"
  "  -w, --write                 write instead of reading\n"
  "  -U, --force-share           look at no lock\n"
  "Exit status: 0 done, 1 failed\n"
  "Example: bench -c 10000 -s 64k -f qcow2 disk.qcow2\n"
};
