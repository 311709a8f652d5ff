/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* child: a program run to its end: absolute path, argv, clean environment,
 * text in, text out, a deadline.  No shell. */
#pragma once

#include <stdbool.h>

#include <glib.h>

/* The program of that name in the folders where system programs live;
 * caller frees, NULL where there is none. */
char *vp_child_find (const char *program);

/* Runs path with argv (argv[0] included; NULL-terminated).  The child has
 * LC_ALL=C, a fixed PATH and, where we have it, XTABLES_LOCKFILE; it dies
 * with the calling thread.  ret_output and ret_complaint (its standard error)
 * may be NULL.  Fails where it cannot be started, is killed, or outlives
 * timeout_ms (G_FILE_ERROR_*); an exit status other than 0 is no failure. */
bool vp_child_run (const char *path, const char *const *argv, const char *input,
                   int timeout_ms, char **ret_output, char **ret_complaint,
                   int *ret_status, GError **error);
