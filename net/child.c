/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* child: fork, exec, poll.
 *
 * Between fork and exec only calls that a signal handler might make: the
 * daemon has other threads. */
#include "config.h"

#include "net/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The longest output that is believed: 64 MiB, some 500,000 rules. */
#define MAX_OUTPUT ((gsize) 64 << 20)

char *
vp_child_find (const char *program)
{
  static const char *const folders[] = { "/usr/sbin", "/sbin", "/usr/bin",
                                         "/bin", "/usr/local/sbin" };

  for (gsize i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autofree char *path = g_build_filename (folders[i], program, NULL);
    if (access (path, X_OK) == 0)
      return g_steal_pointer (&path);
  }
  return NULL;
}

static void
set_error (GError **error, const char *path, const char *what, int number)
{
  g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (number),
               "%s: %s: %s", path, what, g_strerror (number));
}

typedef struct {
  int in[2], out[2], err[2];
} Pipes;

static void
close_fd (int *fd)
{
  if (*fd >= 0)
    (void) close (*fd); /* a pipe: nothing to lose */
  *fd = -1;
}

static void
pipes_clear (Pipes *pipes)
{
  for (unsigned i = 0; i < 2; i++) {
    close_fd (&pipes->in[i]);
    close_fd (&pipes->out[i]);
    close_fd (&pipes->err[i]);
  }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pipes, pipes_clear)

static G_GNUC_NORETURN void
become (const char *path, char *const *argv, char *const *environment,
        const Pipes *pipes, pid_t parent)
{
  sigset_t none;

  (void) prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != parent)
    _exit (127);
  for (int number = 1; number < NSIG; number++)
    (void) signal (number, SIG_DFL); /* some cannot be set: as they are */
  sigemptyset (&none);
  (void) sigprocmask (SIG_SETMASK, &none, NULL);
  if (dup2 (pipes->in[0], 0) < 0 || dup2 (pipes->out[1], 1) < 0 ||
      dup2 (pipes->err[1], 2) < 0)
    _exit (127);
#ifdef SYS_close_range
  (void) syscall (SYS_close_range, 3u, ~0u, 0u); /* old kernels: CLOEXEC */
#endif
  execve (path, argv, environment);
  _exit (127);
}

/* Reads what is there; closes at the end.  False where it is too much. */
static bool
drain (int *fd, GString *text)
{
  char buffer[16384];
  ssize_t n = read (*fd, buffer, sizeof buffer);

  if (n > 0) {
    g_string_append_len (text, buffer, n);
    return text->len <= MAX_OUTPUT;
  }
  if (n == 0 || (errno != EINTR && errno != EAGAIN))
    close_fd (fd);
  return true;
}

static void
feed (int *fd, const char **input, gsize *left)
{
  /* A socket, so that a child which went away costs no SIGPIPE. */
  ssize_t n = *left > 0 ? send (*fd, *input, *left, MSG_NOSIGNAL) : 0;

  if (n > 0) {
    *input += n;
    *left -= (gsize) n;
  }
  if (*left == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
    close_fd (fd);
}

/* Until both outputs are closed; 0, or an errno. */
static int
converse (Pipes *pipes, const char *input, gint64 deadline, GString *output,
          GString *complaint)
{
  gsize left = input != NULL ? strlen (input) : 0;

  if (left == 0)
    close_fd (&pipes->in[1]);
  else
    (void) fcntl (pipes->in[1], F_SETFL, O_NONBLOCK);
  while (pipes->out[0] >= 0 || pipes->err[0] >= 0) {
    struct pollfd fds[3] = { { .fd = pipes->in[1], .events = POLLOUT },
                             { .fd = pipes->out[0], .events = POLLIN },
                             { .fd = pipes->err[0], .events = POLLIN } };
    gint64 wait = (deadline - g_get_monotonic_time ()) / 1000;

    if (wait <= 0)
      return ETIMEDOUT;
    if (poll (fds, 3, (int) wait + 1) < 0 && errno != EINTR)
      return errno;
    if (fds[0].revents != 0)
      feed (&pipes->in[1], &input, &left);
    if ((fds[1].revents != 0 && !drain (&pipes->out[0], output)) ||
        (fds[2].revents != 0 && !drain (&pipes->err[0], complaint)))
      return EFBIG;
  }
  return 0;
}

static pid_t
start (const char *path, const char *const *argv, const Pipes *pipes)
{
  const char *lock = g_getenv ("XTABLES_LOCKFILE");
  g_autofree char *lock_entry =
      lock != NULL ? g_strconcat ("XTABLES_LOCKFILE=", lock, NULL) : NULL;
  char *environment[] = { (char *) "LC_ALL=C",
                          (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                          lock_entry, NULL };
  pid_t parent = getpid (), pid = fork ();

  if (pid == 0)
    become (path, (char *const *) argv, environment, pipes, parent);
  return pid;
}

bool
vp_child_run (const char *path, const char *const *argv, const char *input,
              int timeout_ms, char **ret_output, char **ret_complaint,
              int *ret_status, GError **error)
{
  g_auto (Pipes) pipes = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
  g_autoptr (GString) output = g_string_new (NULL);
  g_autoptr (GString) complaint = g_string_new (NULL);
  gint64 deadline =
      g_get_monotonic_time () + (gint64) timeout_ms * G_TIME_SPAN_MILLISECOND;
  int status = 0, number;
  pid_t pid;

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipes.in) < 0 ||
      pipe2 (pipes.out, O_CLOEXEC) < 0 || pipe2 (pipes.err, O_CLOEXEC) < 0 ||
      (pid = start (path, argv, &pipes)) < 0) {
    set_error (error, path, "cannot start", errno);
    return false;
  }
  close_fd (&pipes.in[0]);
  close_fd (&pipes.out[1]);
  close_fd (&pipes.err[1]);
  number = converse (&pipes, input, deadline, output, complaint);
  if (number != 0)
    (void) kill (pid, SIGKILL); /* our own child, not yet waited for */
  while (waitpid (pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (number != 0 || !WIFEXITED (status) || WEXITSTATUS (status) == 127) {
    set_error (error, path, "did not finish", number != 0 ? number : ECHILD);
    return false;
  }
  if (ret_output != NULL)
    *ret_output = g_string_free (g_steal_pointer (&output), FALSE);
  if (ret_complaint != NULL)
    *ret_complaint =
        g_strchomp (g_string_free (g_steal_pointer (&complaint), FALSE));
  *ret_status = WEXITSTATUS (status);
  return true;
}
