/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker-child: fork and exec out of a process with many threads.  All that
 * allocates or looks something up is done before the fork; between fork and
 * exec there are only system calls, made directly where the library's wrapper
 * would talk to threads that are not there (setuid and its kin). */
#include "config.h"

#include "daemon/worker-child.h"

#include "daemon/error.h"
#include "storage/autofd.h"
#include "storage/message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SAID 2000
/* Where the child reports why it could not begin. */
#define REPORT_FD (VP_MESSAGE_SOCKET_FD + 1)
/* The descriptors to be moved lie above those that they are moved to. */
#define FIRST_SPARE_FD 16

#ifdef SYS_setresuid32
#define SYS_SETGROUPS SYS_setgroups32
#define SYS_SETRESGID SYS_setresgid32
#define SYS_SETRESUID SYS_setresuid32
#else
#define SYS_SETGROUPS SYS_setgroups
#define SYS_SETRESGID SYS_setresgid
#define SYS_SETRESUID SYS_setresuid
#endif

typedef struct {
  char *const *argv;
  char *const *envp;
  int null_fd, errors_fd, socket_fd, report_fd;
  pid_t parent;
  bool change_user;
  uid_t uid;
  gid_t gid;
} Birth;

static bool
fail (GError **error, const char *what)
{
  int saved = errno;

  g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "worker: %s: %s", what,
               g_strerror (saved));
  return false;
}

static bool
find_user (const char *name, Birth *birth, GError **error)
{
  struct passwd entry, *found = NULL;
  g_autofree char *buffer = g_malloc (16384);
  int r = getpwnam_r (name, &entry, buffer, 16384, &found);

  if (found == NULL) {
    errno = r != 0 ? r : ENOENT;
    g_autofree char *what = g_strdup_printf ("user '%s'", name);
    return fail (error, what);
  }
  if (entry.pw_uid == 0) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "worker: user '%s' is root, which it must not be", name);
    return false;
  }
  birth->change_user = true;
  birth->uid = entry.pw_uid;
  birth->gid = entry.pw_gid;
  return true;
}

/* ---- in the child: system calls only --------------------------------------
 */

G_GNUC_NORETURN
static void
give_up (void)
{
  int saved = errno;

  /* Where even that cannot be said, the exit status speaks. */
  (void) !write (REPORT_FD, &saved, sizeof saved);
  _exit (127);
}

static void
reset_signals (void)
{
  static const int numbers[] = { SIGHUP,  SIGINT,  SIGPIPE, SIGTERM,
                                 SIGCHLD, SIGUSR1, SIGUSR2 };
  sigset_t none;

  for (size_t i = 0; i < G_N_ELEMENTS (numbers); i++)
    (void) signal (numbers[i], SIG_DFL); /* cannot fail for these */
  sigemptyset (&none);
  (void) sigprocmask (SIG_SETMASK, &none, NULL);
}

static void
move_descriptors (const Birth *birth)
{
  if (dup2 (birth->null_fd, 0) < 0 || dup2 (birth->null_fd, 1) < 0 ||
      dup2 (birth->errors_fd, 2) < 0 ||
      dup2 (birth->socket_fd, VP_MESSAGE_SOCKET_FD) < 0 ||
      dup2 (birth->report_fd, REPORT_FD) < 0 ||
      fcntl (REPORT_FD, F_SETFD, FD_CLOEXEC) < 0)
    give_up ();
#ifdef SYS_close_range
  /* Ours are all close-on-exec; libraries' may not be.  The worker closes
   * again what an old kernel leaves open here. */
  (void) syscall (SYS_close_range, REPORT_FD + 1, ~0U, 0U);
#endif
}

static void
drop_rights (const Birth *birth)
{
  if (birth->change_user) {
    /* An empty network where we may make one; sockets are barred anyhow. */
    (void) unshare (CLONE_NEWNET);
    if (syscall (SYS_SETGROUPS, 0, NULL) < 0 ||
        syscall (SYS_SETRESGID, birth->gid, birth->gid, birth->gid) < 0 ||
        syscall (SYS_SETRESUID, birth->uid, birth->uid, birth->uid) < 0)
      give_up ();
  }
  /* After the change of user, which takes it away again. */
  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
      prctl (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
    give_up ();
  if (getppid () != birth->parent)
    _exit (127); /* it died before we asked to hear of it */
}

G_GNUC_NORETURN
static void
be_born (const Birth *birth)
{
  reset_signals ();
  move_descriptors (birth);
  drop_rights (birth);
  if (chdir ("/") < 0)
    give_up ();
  execve (birth->argv[0], birth->argv, birth->envp);
  give_up ();
}

/* ---- in the daemon ---------------------------------------------------------
 */

static int
move_up (int *fd)
{
  int moved = fcntl (*fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);

  vp_close_fd (fd);
  return moved;
}

/* Waits until the child has become the program; what it could not do. */
static bool
wait_for_exec (int report_fd, const char *program, GError **error)
{
  int number = 0;
  ssize_t r;

  do
    r = read (report_fd, &number, sizeof number);
  while (r < 0 && errno == EINTR);
  if (r == 0)
    return true;
  if (r == (ssize_t) sizeof number)
    errno = number;
  return fail (error, program);
}

/* ret_theirs: null, stderr, socket, report, all high enough to be moved. */
static bool
make_descriptors (VpWorkerChild *child, int *ret_report, int ret_theirs[4],
                  GError **error)
{
  int sockets[2], errors[2], report[2];

  ret_theirs[0] = open ("/dev/null", O_RDWR | O_CLOEXEC);
  if (ret_theirs[0] < 0)
    return fail (error, "/dev/null");
  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
    return fail (error, "socket");
  child->socket = sockets[0];
  ret_theirs[2] = sockets[1];
  if (pipe2 (errors, O_CLOEXEC) < 0)
    return fail (error, "pipe");
  child->errors = errors[0];
  ret_theirs[1] = errors[1];
  if (pipe2 (report, O_CLOEXEC) < 0)
    return fail (error, "pipe");
  *ret_report = report[0];
  ret_theirs[3] = report[1];

  for (int i = 0; i < 4; i++)
    if ((ret_theirs[i] = move_up (&ret_theirs[i])) < 0)
      return fail (error, "descriptors");
  if (fcntl (child->errors, F_SETFL, O_NONBLOCK) < 0)
    return fail (error, "pipe");
  return true;
}

static GPtrArray *
make_environment (void)
{
  GPtrArray *envp = g_ptr_array_new_with_free_func (g_free);

  g_ptr_array_add (envp, g_strdup ("LC_ALL=C"));
  g_ptr_array_add (envp, g_strdup ("MALLOC_ARENA_MAX=2"));
#ifdef VP_SANITIZED
  static const char *const names[] = { "ASAN_OPTIONS", "UBSAN_OPTIONS",
                                       "TSAN_OPTIONS" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_getenv (names[i]) != NULL)
      g_ptr_array_add (envp,
                       g_strconcat (names[i], "=", g_getenv (names[i]), NULL));
#endif
  g_ptr_array_add (envp, NULL);
  return envp;
}

bool
vp_worker_child_start (VpWorkerChild *child, const VpWorkerConfig *config,
                       GError **error)
{
  char *const argv[] = { config->program, (char *) "worker", NULL };
  g_autoptr (GPtrArray) envp = make_environment ();
  Birth birth = { .argv = argv,
                  .envp = (char *const *) envp->pdata,
                  .parent = getpid () };
  vp_autofd int report = -1;
  int theirs[4] = { -1, -1, -1, -1 };

  *child = (VpWorkerChild){ .socket = -1, .errors = -1 };
  child->said = g_string_new (NULL);
  if (config->user != NULL && geteuid () == 0 &&
      !find_user (config->user, &birth, error))
    return false;

  bool ok = make_descriptors (child, &report, theirs, error);
  if (ok) {
    birth.null_fd = theirs[0];
    birth.errors_fd = theirs[1];
    birth.socket_fd = theirs[2];
    birth.report_fd = theirs[3];
    pid_t pid = fork ();
    if (pid == 0)
      be_born (&birth);
    if (pid < 0)
      ok = fail (error, "fork");
    else
      child->pid = pid;
  }
  for (int i = 0; i < 4; i++)
    vp_close_fd (&theirs[i]);
  return ok && wait_for_exec (report, config->program, error);
}

bool
vp_worker_child_listen (VpWorkerChild *child)
{
  char buffer[1024];
  ssize_t r;

  if (child->errors < 0)
    return false;
  while ((r = read (child->errors, buffer, sizeof buffer)) > 0) {
    g_string_append_len (child->said, buffer, r);
    if (child->said->len > MAX_SAID) /* the last words count */
      g_string_erase (child->said, 0, (gssize) (child->said->len - MAX_SAID));
  }
  if (r < 0 && (errno == EAGAIN || errno == EINTR))
    return true;
  vp_close_fd (&child->errors);
  return false;
}

static char *
describe_death (int status, const char *said)
{
  g_autofree char *how = NULL;

  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return NULL;
  if (WIFEXITED (status))
    how = g_strdup_printf ("left with status %d", WEXITSTATUS (status));
  else if (WTERMSIG (status) == SIGSYS)
    how = g_strdup ("was ended for a forbidden system call (SIGSYS)");
  else if (WTERMSIG (status) == SIGXCPU)
    how = g_strdup ("used more processor time than it may");
  else
    how = g_strdup_printf ("was ended by signal %d (%s)", WTERMSIG (status),
                           g_strsignal (WTERMSIG (status)));

  g_autofree char *words = g_strstrip (g_strdup (said));
  g_autofree char *valid = g_utf8_make_valid (words, -1);
  g_strdelimit (valid, "\n\r\t\033", ' ');
  return valid[0] == '\0' ? g_steal_pointer (&how)
                          : g_strdup_printf ("%s: %s", how, valid);
}

/* A child that closed its socket is about to die by itself, and closes its
 * stderr on the way.  It gets its chance, so that the cause is its own. */
static void
wait_for_silence (VpWorkerChild *child)
{
  int64_t deadline = g_get_monotonic_time () + G_TIME_SPAN_SECOND;

  while (vp_worker_child_listen (child)) {
    struct pollfd pollfd = { child->errors, POLLIN, 0 };
    int64_t left = deadline - g_get_monotonic_time ();
    if (left <= 0)
      return;
    (void) poll (&pollfd, 1, (int) (left / 1000 + 1)); /* listen will tell */
  }
}

char *
vp_worker_child_end (VpWorkerChild *child, bool dying)
{
  int status = 0;
  pid_t r;

  if (child->pid == 0)
    return NULL;
  if (dying)
    wait_for_silence (child);
  /* Where we may not kill (another user's process, no CAP_KILL), the closed
   * socket ends it at its next word. */
  vp_close_fd (&child->socket);
  (void) kill (child->pid, SIGKILL); /* gone already is fine */
  do
    r = waitpid (child->pid, &status, 0);
  while (r < 0 && errno == EINTR);
  child->pid = 0;
  (void) vp_worker_child_listen (child);
  if (!dying)
    return NULL;
  return r < 0 ? g_strdup ("was lost")
               : describe_death (status, child->said->str);
}

void
vp_worker_child_clear (VpWorkerChild *child)
{
  g_free (vp_worker_child_end (child, false));
  vp_close_fd (&child->socket);
  vp_close_fd (&child->errors);
  if (child->said != NULL)
    g_string_free (child->said, TRUE);
  child->said = NULL;
}
