/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* job: work away from the main thread: one thread, one result.  The thread
 * gets a value made for it and touches nothing else; it is joined before the
 * main thread looks at the result.  Shared meanwhile: two progress counters
 * and a cancel flag, all atomic, and the phase in words, under a lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct VpJob VpJob;

/* On the job's thread. */
typedef void (*VpJobFunc) (VpJob *job, gpointer data);
/* On the main thread, behind the join.  The job is freed afterwards. */
typedef void (*VpJobDone) (VpJob *job, gpointer data, gpointer user_data);

/* data stays the caller's; done frees it. */
VpJob *vp_job_start (VpJobFunc func, gpointer data, VpJobDone done,
                     gpointer user_data);
/* Main thread: waits for the thread and calls done now instead of later. */
void vp_job_finish (VpJob *job);
void vp_job_cancel (VpJob *job);

/* Job's thread. */
void vp_job_set_phase (VpJob *job, const char *format, ...)
    G_GNUC_PRINTF (2, 3);
bool vp_job_is_cancelled (VpJob *job);
/* Atomic; for calls that take the addresses. */
const int *vp_job_cancel_flag (VpJob *job);
uint64_t *vp_job_done_bytes (VpJob *job);
uint64_t *vp_job_total_bytes (VpJob *job);

/* Any thread; caller frees. */
char *vp_job_dup_phase (VpJob *job);
