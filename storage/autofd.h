/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* autofd: a file descriptor that closes itself.  vp_autofd int fd = -1;
 * Where it leaves the function: return vp_steal_fd (&fd). */
#pragma once

#include <errno.h>
#include <unistd.h>

/* errno survives, so that a message may still name it. */
static inline void
vp_close_fd (int *fd)
{
  if (*fd >= 0) {
    int saved = errno;
    /* Linux frees the number whatever close says; a lost write is caught by
     * the fsync before it, never here. */
    (void) close (*fd);
    errno = saved;
  }
  *fd = -1;
}

static inline int
vp_steal_fd (int *fd)
{
  int taken = *fd;
  *fd = -1;
  return taken;
}

#define vp_autofd __attribute__ ((cleanup (vp_close_fd)))
