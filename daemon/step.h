/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* step: one change as data; in words; to a journal line.  Pure. */
#pragma once

#include <stdbool.h>

#include <glib.h>

typedef enum {
  VP_STEP_VOLUME_CREATE,
  VP_STEP_VOLUME_GROW,
  VP_STEP_NET, /* the networks must be there: wait for net's job */
  VP_STEP_DEFINE,
  VP_STEP_ATTACH_DISK,
  VP_STEP_DETACH_DISK,
  VP_STEP_ATTACH_NIC,
  VP_STEP_DETACH_NIC,
  VP_STEP_SET_MEMORY,
  VP_STEP_SET_CPUS,
  VP_STEP_SET_MARK,
  VP_STEP_START,
  VP_STEP_RESUME,
  VP_STEP_SHUTDOWN, /* ask, wait, pull the plug when its time is up */
  VP_STEP_RETIRE,
  VP_STEP_N_KINDS
} VpStepKind;

typedef enum { VP_RISK_LIVE, VP_RISK_RESTART, VP_RISK_DATA_LOSS } VpRisk;

typedef struct {
  VpStepKind kind;
  char *guest;
  char *subject;        /* disk, NIC, volume, network; NULL: the guest itself */
  char *before, *after; /* values in words, NULL where there are none */
  VpRisk risk;
} VpStep;

VpStep *vp_step_new (VpStepKind kind, const char *guest, const char *subject,
                     const char *before, const char *after, VpRisk risk);
VpStep *vp_step_copy (const VpStep *step);
void vp_step_free (VpStep *step);

/* "volume-create": stable, for JSON, journal lines and tests. */
const char *vp_step_kind_to_string (VpStepKind kind);
const char *vp_risk_to_string (VpRisk risk);
/* "create volume default/web-root.qcow2, 20 GiB qcow2 on debian-12"; caller
 * frees. */
char *vp_step_to_string (const VpStep *step);
/* One line of tab-separated, escaped fields without a newline; caller
 * frees. */
char *vp_step_to_line (const VpStep *step);
/* The way back.  VP_ERROR_FAILED where the line is not one of ours. */
VpStep *vp_step_from_line (const char *line, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpStep, vp_step_free)
