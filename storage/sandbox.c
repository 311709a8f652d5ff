/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandbox: limits, Landlock where the kernel has it, and a filter of system
 * calls written out as a table.
 *
 *   arch ok? no → kill        each row: number equal? → its verdict
 *                             (a row may ask for one argument as well)
 *                             none of them          → EPERM
 *
 * EPERM and not death for the unknown: libraries try things (a locale, a
 * converter) and live well without.  What no library does by accident in
 * there (a program, a socket, another process) ends the worker on the spot,
 * so that it is seen.
 *
 * On a processor without a row in FILTER_ARCH below there is no filter; the
 * other walls stand. */
#include "config.h"

#include "storage/sandbox.h"

#include "storage/error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#endif

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTER_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define FILTER_ARCH AUDIT_ARCH_PPC64LE
#endif

static bool
fail (GError **error, const char *what)
{
  int saved = errno;

  g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
               "sandbox: %s: %s", what, g_strerror (saved));
  return false;
}

/* The hard limit lies a little above, so that SIGXCPU comes before SIGKILL and
 * tells which limit it was. */
static bool
limit (int resource, uint64_t value)
{
  struct rlimit old, new = { value, value + (resource == RLIMIT_CPU) };

  /* Never above what the parent left us. */
  if (getrlimit (resource, &old) == 0 && old.rlim_max < new.rlim_max)
    new.rlim_cur = new.rlim_max = old.rlim_max;
  return setrlimit (resource, &new) == 0;
}

static void
close_from (int first_fd)
{
#ifdef SYS_close_range
  if (syscall (SYS_close_range, (unsigned) first_fd, ~0U, 0U) == 0)
    return;
#endif
  long max = sysconf (_SC_OPEN_MAX);
  for (int fd = first_fd; fd < (max > 0 && max < 65536 ? max : 65536); fd++)
    (void) close (fd); /* most are not open */
}

bool
vp_sandbox_prepare (int first_fd, GError **error)
{
  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return fail (error, "no_new_privs");
  if (prctl (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
    return fail (error, "death with the parent");
#ifndef VP_SANITIZED
  /* Also bars others of the same user from looking into us. */
  if (prctl (PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
    return fail (error, "undumpable");
#endif
  if (!limit (RLIMIT_CORE, 0))
    return fail (error, "no core dumps");
  close_from (first_fd);
  return true;
}

static bool
set_limits (const VpSandboxLimits *limits, GError **error)
{
  /* A file that grows too long is an EFBIG, not a death. */
  (void) signal (SIGXFSZ, SIG_IGN);
  if (limits->file_size > 0 && !limit (RLIMIT_FSIZE, limits->file_size))
    return fail (error, "limit of file size");
  if (limits->cpu_s > 0 && !limit (RLIMIT_CPU, limits->cpu_s))
    return fail (error, "limit of processor time");
  if (!limit (RLIMIT_NOFILE, 64))
    return fail (error, "limit of descriptors");
#ifndef VP_SANITIZED /* shadow memory is private memory too */
  if (!limit (RLIMIT_DATA, limits->data_size))
    return fail (error, "limit of memory");
#endif
  return true;
}

/* A ruleset that handles every right and grants none.  Open descriptors keep
 * theirs.  Kernels without Landlock leave this to the filter. */
static bool
enter_landlock (GError **error)
{
#if defined(SYS_landlock_create_ruleset) &&                                    \
    defined(LANDLOCK_CREATE_RULESET_VERSION)
  struct landlock_ruleset_attr attr = { 0 };
  long abi = syscall (SYS_landlock_create_ruleset, NULL, 0,
                      LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1)
    return true;

  /* ABI 1 has 13 rights; REFER, TRUNCATE and (5) IOCTL_DEV joined it. */
  unsigned n_rights = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5);
  attr.handled_access_fs = (UINT64_C (1) << n_rights) - 1;
  int fd = (int) syscall (SYS_landlock_create_ruleset, &attr,
                          sizeof attr.handled_access_fs, 0);
  if (fd < 0)
    return fail (error, "Landlock rules");
  bool ok = syscall (SYS_landlock_restrict_self, fd, 0) == 0 ||
            fail (error, "Landlock");
  (void) close (fd);
  return ok;
#else
  return true;
#endif
}

#ifdef FILTER_ARCH

#define ANY_ARGUMENT UINT8_MAX

typedef struct {
  uint32_t number;
  uint32_t verdict;
  uint8_t argument; /* ANY_ARGUMENT, or which one must be as said */
  uint32_t mask, value;
} Row;

#define ALLOW(name)                                                            \
  {                                                                            \
    SYS_##name, SECCOMP_RET_ALLOW, ANY_ARGUMENT,                               \
  }
#define ALLOW_IF(name, argument, mask, value)                                  \
  {                                                                            \
    SYS_##name, SECCOMP_RET_ALLOW, (argument), (mask), (value)                 \
  }
#define KILL(name)                                                             \
  {                                                                            \
    SYS_##name, SECCOMP_RET_KILL_PROCESS, ANY_ARGUMENT,                        \
  }
#define NO_SUCH(name)                                                          \
  {                                                                            \
    SYS_##name, SECCOMP_RET_ERRNO | ENOSYS, ANY_ARGUMENT,                      \
  }

/* The first row that fits decides; the busiest come first. */
static const Row rows[] = {
  /* bytes */
  ALLOW (pread64),
  ALLOW (pwrite64),
  ALLOW (preadv),
  ALLOW (pwritev),
  ALLOW (read),
  ALLOW (write),
  ALLOW (readv),
  ALLOW (writev),
  ALLOW (lseek),
  ALLOW (fallocate),
  ALLOW (ftruncate),
  ALLOW (fdatasync),
  ALLOW (fsync),
  ALLOW (sync_file_range),
  ALLOW (copy_file_range),
  ALLOW (fadvise64),
  ALLOW (fstat),
  ALLOW_IF (newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
  ALLOW_IF (statx, 2, AT_EMPTY_PATH, AT_EMPTY_PATH),
  ALLOW (fstatfs),
  ALLOW (fcntl),
  ALLOW (close),
  ALLOW (dup),
  ALLOW_IF (ioctl, 1, ~0U, BLKGETSIZE64),
  ALLOW_IF (ioctl, 1, ~0U, BLKSSZGET),
  ALLOW_IF (ioctl, 1, ~0U, BLKDISCARD),
  ALLOW_IF (ioctl, 1, ~0U, BLKZEROOUT),
  ALLOW_IF (ioctl, 1, ~0U, FICLONERANGE),
  /* the socket to the daemon */
  ALLOW (sendmsg),
  ALLOW (recvmsg),
  ALLOW (ppoll),
#ifdef SYS_poll
  ALLOW (poll),
#endif
  /* memory, threads, clocks */
  ALLOW (brk),
  ALLOW_IF (mmap, 2, PROT_EXEC, 0),
  ALLOW (munmap),
  ALLOW (mremap),
  ALLOW_IF (mprotect, 2, PROT_EXEC, 0),
  ALLOW (madvise),
  ALLOW (futex),
  NO_SUCH (clone3), /* its flags are out of sight; clone's are not */
  ALLOW_IF (clone, 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM),
  ALLOW (set_robust_list),
#ifdef SYS_rseq
  ALLOW (rseq),
#endif
  ALLOW (sched_yield),
  ALLOW (sched_getaffinity),
  ALLOW (clock_gettime),
  ALLOW (clock_nanosleep),
  ALLOW (gettimeofday),
  ALLOW (getrandom),
  ALLOW (getpid),
  ALLOW (gettid),
  ALLOW (rt_sigprocmask),
  ALLOW (rt_sigaction),
  ALLOW (rt_sigreturn),
  ALLOW (sigaltstack),
  ALLOW (tgkill), /* abort */
  ALLOW (restart_syscall),
  ALLOW (exit),
  ALLOW (exit_group),
  /* never an accident */
  KILL (execve),
  KILL (execveat),
  KILL (socket),
  KILL (ptrace),
};

/* Each row is at most six instructions; jumps are relative. */
#define MAX_INSTRUCTIONS (8 + 6 * G_N_ELEMENTS (rows))
#define LOAD(field)                                                            \
  BPF_STMT (BPF_LD | BPF_W | BPF_ABS,                                          \
            (uint32_t) offsetof (struct seccomp_data, field))

/* The low half of an argument: flags and commands all live there. */
static struct sock_filter
load_argument (uint8_t argument)
{
  uint32_t offset = (uint32_t) offsetof (struct seccomp_data, args) +
                    (uint32_t) argument * 8 +
                    (G_BYTE_ORDER == G_BIG_ENDIAN ? 4 : 0);

  return (struct sock_filter) BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offset);
}

static bool
enter_filter (GError **error)
{
  struct sock_filter code[MAX_INSTRUCTIONS] = {
    LOAD (arch),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    LOAD (nr),
  };
  unsigned short n = 4;

  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    bool plain = row->argument == ANY_ARGUMENT;
    /* A row that does not fit goes on with the number loaded again. */
    code[n++] = (struct sock_filter) BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K,
                                               row->number, 0, plain ? 1 : 5);
    if (!plain) {
      code[n++] = load_argument (row->argument);
      code[n++] =
          (struct sock_filter) BPF_STMT (BPF_ALU | BPF_AND | BPF_K, row->mask);
      code[n++] = (struct sock_filter) BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K,
                                                 row->value, 0, 1);
    }
    code[n++] = (struct sock_filter) BPF_STMT (BPF_RET | BPF_K, row->verdict);
    if (!plain)
      code[n++] = (struct sock_filter) LOAD (nr);
  }
  code[n++] = (struct sock_filter) BPF_STMT (BPF_RET | BPF_K,
                                             SECCOMP_RET_ERRNO | EPERM);

  struct sock_fprog program = { n, code };
  if (prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
    return fail (error, "filter of system calls");
  return true;
}

#else

static bool
enter_filter (GError **error)
{
  return true;
}

#endif

bool
vp_sandbox_enter (const VpSandboxLimits *limits, GError **error)
{
  return set_limits (limits, error) && enter_landlock (error) &&
         enter_filter (error);
}
