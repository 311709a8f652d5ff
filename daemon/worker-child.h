/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker-child: one worker process: its birth, what it says on stderr, its
 * end.  Private to worker.c. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <glib.h>

#include "daemon/worker.h"

typedef struct {
  pid_t pid;     /* 0: none */
  int socket;    /* owned */
  int errors;    /* owned; its stderr */
  GString *said; /* owned; the end of what it said there */
} VpWorkerChild;

bool vp_worker_child_start (VpWorkerChild *child, const VpWorkerConfig *config,
                            GError **error);
/* Reads what there is on stderr without waiting; false at its end. */
bool vp_worker_child_listen (VpWorkerChild *child);
/* Ends it where it still runs and collects it; how it died in words, or NULL
 * where it left with status 0 or was ended by us just now.  Safe to call
 * again. */
char *vp_worker_child_end (VpWorkerChild *child, bool dying);
void vp_worker_child_clear (VpWorkerChild *child);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpWorkerChild, vp_worker_child_clear)
