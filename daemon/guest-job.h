/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* guest-job: what a job does for one guest: observe, plan, run the steps with
 * a journal line before and behind each, undo what was done where one fails,
 * observe again.  The value holds all that it needs and all that comes out;
 * the manager fills the one half before and reads the other behind it. */
#pragma once

#include "daemon/configuration.h"
#include "daemon/host.h"
#include "daemon/job.h"
#include "daemon/plan.h"
#include "daemon/store.h"

typedef struct {
  /* In. */
  VpHost *host;           /* borrowed */
  const VpConfig *config; /* borrowed */
  VpStore *store;         /* borrowed; for the journal only */
  char *name;             /* the guest's */
  char *domain;           /* its name in libvirt; NULL: the same */
  VpGuest *wanted;        /* resolved but for accel and machine; NULL: gone */
  GPtrArray *volumes;     /* VpFoundVolume, from the records */
  bool run;               /* wanted state */
  bool off;               /* it is off by vprovd's own doing */
  bool start_asked;       /* a person asked for a start */
  bool dry_run;
  bool asked;          /* a person asked: all but DATA_LOSS */
  bool allow_all;      /* a person asked: risky steps too */
  char *fresh_warning; /* see VpPlanInput */

  /* Out. */
  GError *error;   /* the step that failed, or why nothing was observed */
  bool undone;     /* what was done before it was taken back */
  VpFound *found;  /* as last observed, NULL: unknown */
  VpPlan *plan;    /* what was to do at first */
  VpPlan *rest;    /* what is still to do; NULL on error or dry run */
  GPtrArray *done; /* VpStep: carried out */
  bool held;       /* it shut down from inside: run was dropped */
  bool waits;      /* the plan waits for a person's apply */
  char *digest;    /* of the wanted definition */
  char *fixed;     /* of what of it only a start can change */
  VpAccel accel;
  char *accel_warning; /* why not KVM, where auto did not pick it */
  char *arch, *machine;
} VpGuestJob;

VpGuestJob *vp_guest_job_new (const char *name);
void vp_guest_job_free (VpGuestJob *guest_job);
/* A VpJobFunc; data is the VpGuestJob. */
void vp_guest_job_func (VpJob *job, gpointer data);
