/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandbox: the worker gives up everything but the descriptors it holds, the
 * processor and a bounded memory, before it looks at a stranger's bytes.
 *
 * What stays: reads, writes and the like on open descriptors, memory, threads,
 * clocks.  What goes: new privileges, opening anything by name, sockets,
 * programs, other processes; and it dies with its parent. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct {
  uint64_t data_size; /* bytes of private memory */
  uint64_t cpu_s;     /* 0: no limit */
  uint64_t file_size; /* the longest file it may make; 0: no limit */
} VpSandboxLimits;

/* To be called first: no_new_privs, death with the parent, no core dumps, and
 * every descriptor from first_fd on closed. */
bool vp_sandbox_prepare (int first_fd, GError **error);
/* The rest; there is no way back.  Needs a single thread. */
bool vp_sandbox_enter (const VpSandboxLimits *limits, GError **error);
