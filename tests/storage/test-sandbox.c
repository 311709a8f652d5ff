/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandbox: each case is a child that goes in and tries one thing. */
#include "config.h"

#include "storage/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOUND   0 /* the child's exit status: as it should be */
#define WRONG   1
#define OUTSIDE 2 /* could not go in */

static int kept_fd = -1; /* open when the sandbox shuts */

typedef struct {
  const char *name;
  int (*attempt) (void);
  int signal; /* that is to end it; 0: it returns SOUND */
} Case;

static int
refused (bool failed)
{
  return failed && errno == EPERM ? SOUND : WRONG;
}

static int
try_open (void)
{
  return refused (open ("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0);
}

static int
try_make (void)
{
  return refused (mkdir ("/tmp/vprov-sandbox", 0700) < 0);
}

static int
try_unlink (void)
{
  return refused (unlink ("/tmp/vprov-sandbox-none") < 0);
}

static int
try_fork (void)
{
  pid_t pid = fork ();

  if (pid == 0)
    _exit (0);
  return refused (pid < 0);
}

static int
try_kill (void)
{
  return refused (kill (getppid (), 0) < 0);
}

static int
try_exec (void)
{
  char *const argv[] = { (char *) "true", NULL };

  (void) execve ("/bin/true", argv, argv + 1);
  return WRONG;
}

static int
try_socket (void)
{
  (void) socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return WRONG;
}

static int
try_ptrace (void)
{
  (void) ptrace (PTRACE_TRACEME, 0, NULL, NULL);
  return WRONG;
}

static int
try_executable_memory (void)
{
  void *memory = mmap (NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  return refused (memory == MAP_FAILED);
}

static int
try_odd_ioctl (void)
{
  int number;

  return refused (ioctl (kept_fd, FIGETBSZ, &number) < 0);
}

#ifndef VP_SANITIZED
static int
try_much_memory (void)
{
  char *volatile much = malloc (80 << 20);

  if (much != NULL)
    return WRONG;
  char *volatile enough = malloc (8 << 20);
  bool ok = enough != NULL;
  free (enough);
  return ok ? SOUND : WRONG;
}
#endif

static int
try_long_file (void)
{
  if (ftruncate (kept_fd, 4096) < 0)
    return WRONG;
  return ftruncate (kept_fd, 8 << 20) < 0 && errno == EFBIG ? SOUND : WRONG;
}

static int
try_for_long (void)
{
  for (volatile uint64_t i = 0; i != UINT64_MAX; i = i + 1)
    ;
  return WRONG;
}

static int
try_many_descriptors (void)
{
  return fcntl (kept_fd, F_DUPFD_CLOEXEC, 64) < 0 && errno == EINVAL ? SOUND
                                                                     : WRONG;
}

static void *
answer (void *data)
{
  return data;
}

/* What a worker needs. */
static int
try_work (void)
{
  pthread_t thread;
  void *back = NULL;
  struct stat st;
  char bytes[4] = "abc";

  if (pwrite (kept_fd, bytes, 4, 100) != 4 ||
      pread (kept_fd, bytes, 4, 100) != 4 || fstat (kept_fd, &st) < 0 ||
      fdatasync (kept_fd) < 0 || lseek (kept_fd, 0, SEEK_DATA) < 0)
    return WRONG;
  if (fallocate (kept_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50) <
          0 &&
      errno != EOPNOTSUPP)
    return WRONG;
  int copy = fcntl (kept_fd, F_DUPFD_CLOEXEC, 10);
  if (copy < 0 || close (copy) < 0)
    return WRONG;
  if (pthread_create (&thread, NULL, answer, &st) != 0 ||
      pthread_join (thread, &back) != 0 || back != &st)
    return WRONG;
  return g_strerror (EIO)[0] != '\0' ? SOUND : WRONG;
}

static const Case cases[] = {
  { "open", try_open, 0 },
  { "mkdir", try_make, 0 },
  { "unlink", try_unlink, 0 },
  { "fork", try_fork, 0 },
  { "kill", try_kill, 0 },
  { "exec", try_exec, SIGSYS },
  { "socket", try_socket, SIGSYS },
  { "ptrace", try_ptrace, SIGSYS },
  { "executable-memory", try_executable_memory, 0 },
  { "odd-ioctl", try_odd_ioctl, 0 },
#ifndef VP_SANITIZED
  { "much-memory", try_much_memory, 0 },
#endif
  { "long-file", try_long_file, 0 },
  { "for-long", try_for_long, SIGXCPU },
  { "work", try_work, 0 },
  { "many-descriptors", try_many_descriptors, 0 },
};

static void
test_case (gconstpointer data)
{
  const Case *wanted = data;
  VpSandboxLimits limits = { .data_size = 64 << 20,
                             .cpu_s = 1,
                             .file_size = 4 << 20 };
  int status;
  FILE *file = tmpfile ();

  g_assert_nonnull (file);
  kept_fd = fileno (file);
  g_assert_cmpint (pwrite (kept_fd, "x", 1, 0), ==, 1);
  pid_t pid = fork ();
  g_assert_cmpint (pid, >=, 0);
  if (pid == 0) {
    if (!vp_sandbox_prepare (kept_fd + 1, NULL) ||
        !vp_sandbox_enter (&limits, NULL))
      _exit (OUTSIDE);
    _exit (wanted->attempt ());
  }
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  (void) fclose (file);
  if (wanted->signal != 0) {
    g_assert_true (WIFSIGNALED (status));
    g_assert_cmpint (WTERMSIG (status), ==, wanted->signal);
  } else {
    g_assert_true (WIFEXITED (status));
    g_assert_cmpint (WEXITSTATUS (status), ==, SOUND);
  }
}

/* The worker dies with the one who made it. */
static void
test_dies_with_parent (void)
{
  int pipes[2];
  char byte;

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  pid_t parent = fork ();
  g_assert_cmpint (parent, >=, 0);
  if (parent == 0) {
    int ready[2];
    if (pipe2 (ready, O_CLOEXEC) < 0)
      _exit (1);
    if (fork () == 0) {
      (void) close (pipes[0]);
      if (!vp_sandbox_prepare (1000, NULL) || write (ready[1], "x", 1) != 1)
        _exit (1);
      for (;;)
        pause (); /* holds the pipe open for as long as it lives */
    }
    _exit (read (ready[0], &byte, 1) == 1 ? 0 : 1);
  }
  (void) close (pipes[1]);
  g_assert_cmpint (waitpid (parent, NULL, 0), ==, parent);
  g_assert_cmpint (read (pipes[0], &byte, 1), ==, 0);
  (void) close (pipes[0]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = g_strconcat ("/sandbox/", cases[i].name, NULL);
    g_test_add_data_func (path, &cases[i], test_case);
  }
  g_test_add_func ("/sandbox/dies-with-parent", test_dies_with_parent);
  return g_test_run ();
}
