/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pair: two commands that do the same, timed in alternating pairs.
 *
 *     pair [-n PAIRS] [-r REPEAT] [-o FILE] [-b COMMAND] [-g GOAL] WORDS OURS
 * THEIRS
 *
 * Each command must succeed; one that is no plain list of words is run by sh.
 * -r: so many runs count as one. -o: removed before each run; its length and
 * what it takes on the disk are shown.  -b: run before each, not counted.  -g:
 * the ratio that is wanted. One line: medians of wall-clock seconds,
 * theirs/ours, bytes, peak memory in MiB. */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PAIRS 99

typedef struct {
  const char *command;
  double seconds[MAX_PAIRS];
  long peak_kib;
  long long bytes; /* -1: no file */
} Side;

typedef struct {
  int pairs, repeat;
  const char *output, *before, *goal, *words;
} Options;

static double
now (void)
{
  struct timespec t;

  (void) clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
execute (const char *command)
{
  char *words[64];
  int n = 0;

  if (!freopen ("/dev/null", "w", stdout))
    _exit (127);
  if (strpbrk (command, "&|;<>$'\"*"))
    (void) execl ("/bin/sh", "sh", "-c", command, (char *) NULL);
  char *copy = strdup (command);
  for (char *word = copy ? strtok (copy, " ") : NULL; word && n < 63;
       word = strtok (NULL, " "))
    words[n++] = word;
  words[n] = NULL;
  if (n > 0)
    (void) execvp (words[0], words);
  _exit (127);
}

static void
run (const char *command, long *peak_kib)
{
  int status;
  struct rusage used;
  pid_t child = fork ();

  if (child == 0)
    execute (command);
  if (child < 0 || wait4 (child, &status, 0, &used) != child || status != 0) {
    (void) fprintf (stderr, "pair: failed: %s\n", command);
    exit (1);
  }
  if (peak_kib && used.ru_maxrss > *peak_kib)
    *peak_kib = used.ru_maxrss;
}

static void
time_one (const Options *options, Side *side, int round)
{
  if (options->output)
    (void) unlink (options->output);
  if (options->before)
    run (options->before, NULL);
  double start = now ();
  for (int i = 0; i < options->repeat; i++)
    run (side->command, &side->peak_kib);
  side->seconds[round] = (now () - start) / options->repeat;
  struct stat st;
  side->bytes = -1;
  if (options->output && stat (options->output, &st) == 0)
    side->bytes = st.st_size;
}

static int
compare_double (const void *a, const void *b)
{
  double left = *(const double *) a, right = *(const double *) b;
  return left < right ? -1 : left > right;
}

static double
median (const double *values, int n)
{
  double sorted[MAX_PAIRS];

  memcpy (sorted, values, (size_t) n * sizeof *values);
  qsort (sorted, (size_t) n, sizeof *sorted, compare_double);
  return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void
report (const Options *options, const Side *ours, const Side *theirs)
{
  double ratios[MAX_PAIRS];
  char bytes[64] = "";

  for (int i = 0; i < options->pairs; i++)
    ratios[i] = theirs->seconds[i] / ours->seconds[i];
  if (ours->bytes >= 0 && theirs->bytes > 0)
    (void) snprintf (bytes, sizeof bytes, "%lld (%.3f x)", ours->bytes,
                     (double) ours->bytes / (double) theirs->bytes);
  double ratio = median (ratios, options->pairs);
  const char *met = options->goal == NULL           ? ""
                    : ratio >= atof (options->goal) ? "yes"
                                                    : "NO";
  (void) printf ("%-40s %9.4f %9.4f %8.2f %6s %-3s %6.1f %6.1f  %s\n",
                 options->words, median (theirs->seconds, options->pairs),
                 median (ours->seconds, options->pairs), ratio,
                 options->goal ? options->goal : "", met,
                 (double) ours->peak_kib / 1024,
                 (double) theirs->peak_kib / 1024, bytes);
}

int
main (int argc, char **argv)
{
  Options options = { .pairs = 3, .repeat = 1 };
  static Side ours, theirs;
  int c;

  while ((c = getopt (argc, argv, "n:r:o:b:g:")) >= 0)
    switch (c) {
    case 'n': options.pairs = atoi (optarg); break;
    case 'r': options.repeat = atoi (optarg); break;
    case 'o': options.output = optarg; break;
    case 'b': options.before = optarg; break;
    case 'g': options.goal = optarg; break;
    default: return 1;
    }
  if (argc - optind != 3 || options.pairs < 1 || options.pairs > MAX_PAIRS ||
      options.repeat < 1) {
    (void) fprintf (stderr, "usage: pair [-n PAIRS] [-r REPEAT] [-o FILE] "
                            "[-b COMMAND] [-g GOAL] WORDS OURS THEIRS\n");
    return 1;
  }
  options.words = argv[optind];
  ours.command = argv[optind + 1];
  theirs.command = argv[optind + 2];
  for (int i = 0; i < options.pairs; i++) {
    time_one (&options, i % 2 ? &theirs : &ours, i);
    time_one (&options, i % 2 ? &ours : &theirs, i);
  }
  report (&options, &ours, &theirs);
  return 0;
}
