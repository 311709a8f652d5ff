/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-progress: how far it has come, for three kinds of readers: a person at
 * a terminal (a bar, the rate, the time left), a program that knows qemu-img's
 * percents, and one that reads JSON, a line at a time.  SIGUSR1 asks once; the
 * signal is blocked and looked for between two chunks of work, so that no
 * handler and no global state is needed. */
#include "config.h"

#include "storage/img.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_GAP     (50 * G_TIME_SPAN_MILLISECOND)
#define BAR_MAX     40u
#define BAR_MIN     5u
#define FIGURES_LEN 58u /* what stands beside the bar, at most */

static double
percent (uint64_t done, uint64_t total)
{
  return total > 0 ? 100.0 * (double) done / (double) total : 100.0;
}

/* Seconds since the beginning, never 0. */
static double
elapsed (const VpImgProgress *progress)
{
  int64_t now = g_get_monotonic_time ();

  return (double) MAX (now - progress->begin_us, 1) / G_TIME_SPAN_SECOND;
}

static char *
time_text (double seconds)
{
  unsigned s = seconds < 359999 ? (unsigned) (seconds + 0.5) : 359999;

  return s < 3600
             ? g_strdup_printf ("%u:%02u", s / 60, s % 60)
             : g_strdup_printf ("%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
}

/* "  45.0% [====>   ] 1.2 GiB of 2.7 GiB, 512 MiB/s, 0:03 left" */
static void
draw_bar (const VpImgProgress *progress, uint64_t done, uint64_t total)
{
  double seconds = elapsed (progress), rate = (double) done / seconds;
  g_autofree char *so_far = vp_img_size_text (done);
  g_autofree char *all = vp_img_size_text (total);
  g_autofree char *speed = vp_img_size_text ((uint64_t) rate);
  g_autofree char *left = time_text (
      done < total && rate > 0 ? (double) (total - done) / rate : seconds);
  g_autofree char *figures =
      g_strdup_printf ("%s of %s, %s/s, %s%s", so_far, all, speed, left,
                       done < total ? " left" : "");
  unsigned width = progress->columns > FIGURES_LEN + BAR_MIN
                       ? MIN (progress->columns - FIGURES_LEN, BAR_MAX)
                       : 0;
  unsigned filled = (unsigned) (percent (done, total) / 100 * width);
  char bar[BAR_MAX + 1] = "";

  memset (bar, ' ', width);
  memset (bar, '=', filled);
  if (filled > 0 && filled < width)
    bar[filled - 1] = '>';
  if (width > 0)
    printf ("\r\033[K%5.1f%% [%s] %s", percent (done, total), bar, figures);
  else
    printf ("\r\033[K%5.1f%%", percent (done, total));
}

static void
show (const VpImgProgress *progress, uint64_t done, uint64_t total)
{
  double seconds = elapsed (progress);

  if (progress->kind == VP_IMG_PROGRESS_JSON)
    printf ("{\"done\": %" PRIu64 ", \"total\": %" PRIu64
            ", \"elapsed-ms\": %" PRIu64 ", \"rate\": %" PRIu64 "}\n",
            done, total, (uint64_t) (seconds * 1000),
            (uint64_t) ((double) done / seconds));
  else if (progress->columns > 0)
    draw_bar (progress, done, total);
  else
    printf ("    (%3.2f/100%%)\r", percent (done, total));
  fflush (stdout);
}

/* Taken off the queue of the process where it waits there. */
static bool
was_asked (void)
{
  sigset_t set;

  sigemptyset (&set);
  sigaddset (&set, SIGUSR1);
  return sigtimedwait (&set, NULL, &(struct timespec){ 0 }) == SIGUSR1;
}

static void
report (uint64_t done, uint64_t total, gpointer user_data)
{
  VpImgProgress *progress = user_data;
  int64_t now = g_get_monotonic_time ();

  if (done < total && now - progress->last_us < BAR_GAP)
    return;
  progress->last_us = now;
  if (was_asked ())
    fprintf (stderr, "    (%3.2f/100%%)\n", percent (done, total));
  if (progress->kind != VP_IMG_PROGRESS_NONE)
    show (progress, done, total);
}

bool
vp_img_parse_progress (const char *text, VpImgProgressKind *ret_kind)
{
  if (text == NULL || strcmp (text, "human") == 0)
    *ret_kind = VP_IMG_PROGRESS_BAR;
  else if (strcmp (text, "json") == 0)
    *ret_kind = VP_IMG_PROGRESS_JSON;
  else {
    vp_img_complain ("--progress must be used with human or json as argument.");
    return false;
  }
  return true;
}

void
vp_img_progress_begin (VpImgProgress *progress, VpImgProgressKind kind)
{
  struct winsize window = { 0 };
  sigset_t set;

  *progress =
      (VpImgProgress){ .kind = kind, .begin_us = g_get_monotonic_time () };
  progress->progress.report = report;
  progress->progress.user_data = progress;
  sigemptyset (&set);
  sigaddset (&set, SIGUSR1);
  (void) pthread_sigmask (SIG_BLOCK, &set, NULL);
  if (kind != VP_IMG_PROGRESS_BAR)
    return;
  if (isatty (STDOUT_FILENO))
    progress->columns =
        ioctl (STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0
            ? window.ws_col
            : 80;
  if (progress->columns == 0)
    show (progress, 0, 1);
}

void
vp_img_progress_end (VpImgProgress *progress)
{
  if (progress->kind == VP_IMG_PROGRESS_BAR)
    printf ("\n");
  progress->kind = VP_IMG_PROGRESS_NONE;
}
