/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* run: carries single steps out and takes them back: one row for each kind,
 * the only code in the daemon that changes guests and volumes.  Blocks: for
 * job threads. */
#pragma once

#include "daemon/configuration.h"
#include "daemon/host.h"
#include "daemon/plan.h"

typedef struct {
  VpHost *host;
  const VpConfig *config;
  const VpGuest *wanted; /* resolved, accel decided; NULL: spec gone */
  const VpFound *found;
  const char *name;           /* the guest's */
  const char *domain;         /* its name in libvirt */
  const char *xml;            /* the definition, without mark */
  const char *digest, *fixed; /* its digests, see VpPlanInput */
  GPtrArray *volumes; /* VpFoundVolume: what a step makes is noted here */
  const int *cancel;  /* atomic flag */

  uint64_t *done_bytes, *total_bytes; /* atomic, of the running step */
} VpRunContext;

bool vp_run_step (const VpRunContext *context, const VpStep *step,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Takes back a step that was done; true where there is nothing to undo. */
bool vp_run_undo (const VpRunContext *context, const VpStep *step,
                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
