/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* on-terminal SECONDS TEXT COMMAND...: runs a command as a person does, on a
 * terminal of its own, and presses Ctrl-C when it has shown TEXT.  What it
 * shows is passed on; the exit status is the command's, 128 + N where signal N
 * ended it, 124 where time ran out (the command is killed then), 125 where
 * there is no terminal to be had.
 *
 * The command begins with no signal ignored or blocked: whoever runs tests in
 * the background hands SIGINT down ignored, which a shell cannot undo. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  const char *text;
  char seen[4096]; /* the end of what was shown */
  size_t len;
  bool pressed;
} Watch;

static void
run (char **command)
{
  sigset_t none;

  for (int number = 1; number < NSIG; number++)
    (void) signal (number, SIG_DFL);
  (void) sigemptyset (&none);
  (void) sigprocmask (SIG_SETMASK, &none, NULL);
  (void) execvp (command[0], command);
  perror (command[0]);
  _exit (127);
}

static double
now (void)
{
  struct timespec t;

  (void) clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* True where the text is there for the first time. */
static bool
look (Watch *watch, const char *bytes, size_t len)
{
  if (watch->pressed || len >= sizeof watch->seen / 2)
    return false;
  if (watch->len + len >= sizeof watch->seen) {
    size_t kept = sizeof watch->seen / 2 - 1;
    memmove (watch->seen, watch->seen + watch->len - kept, kept);
    watch->len = kept;
  }
  memcpy (watch->seen + watch->len, bytes, len);
  watch->len += len;
  watch->seen[watch->len] = '\0';
  return strstr (watch->seen, watch->text) != NULL;
}

/* False at the end of the command's output. */
static bool
pass_on (int terminal, Watch *watch)
{
  char bytes[1024];
  ssize_t n = read (terminal, bytes, sizeof bytes);

  if (n < 0 && errno == EINTR)
    return true;
  if (n <= 0)
    return false; /* EIO: nobody has the terminal open any more */
  (void) fwrite (bytes, 1, (size_t) n, stdout);
  (void) fflush (stdout);
  if (look (watch, bytes, (size_t) n)) {
    watch->pressed = true;
    if (write (terminal, "\003", 1) != 1)
      perror ("Ctrl-C");
  }
  return true;
}

static int
end_of (pid_t child)
{
  int status;

  if (waitpid (child, &status, 0) != child)
    return 125;
  return WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
}

int
main (int argc, char **argv)
{
  int terminal;
  pid_t child;

  if (argc < 4) {
    (void) fprintf (stderr, "usage: on-terminal SECONDS TEXT COMMAND...\n");
    return 125;
  }
  double end = now () + atof (argv[1]);
  Watch watch = { .text = argv[2] };
  child = forkpty (&terminal, NULL, NULL, NULL);
  if (child < 0) {
    perror ("no terminal to be had");
    return 125;
  }
  if (child == 0)
    run (argv + 3);
  for (;;) {
    struct pollfd ready = { .fd = terminal, .events = POLLIN };
    double left = end - now ();
    if (left <= 0) {
      (void) printf ("\non-terminal: time ran out; Ctrl-C was %spressed\n",
                     watch.pressed ? "" : "not ");
      (void) fflush (stdout);
      (void) kill (child, SIGKILL);
      (void) waitpid (child, NULL, 0);
      return 124;
    }
    int n = poll (&ready, 1, left < 1 ? (int) (left * 1000) + 1 : 1000);
    if (n > 0 && !pass_on (terminal, &watch))
      break;
    if (n < 0 && errno != EINTR)
      return 125;
  }
  return end_of (child);
}
