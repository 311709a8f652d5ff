/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan: a wanted guest + what was found -> ordered steps, or a conflict that
 * needs a person.  PURE: no I/O, no clock, no hypervisor; a case of its test
 * is a few files.  The same wanted and found give no steps. */
#pragma once

#include "daemon/state.h"
#include "daemon/step.h"

/* A volume as the records and the pool show it. */
typedef struct {
  char *disk;
  bool there;    /* the file is in the pool */
  bool made;     /* our record says that it was made once */
  bool intended; /* our record says that it is about to be made */
  uint64_t size; /* by the record, bytes; 0 where it was not made */
  char *format;  /* by the record */
  char *base;    /* by the record: image name or NULL */
  char *path;
} VpFoundVolume;

void vp_found_volume_free (VpFoundVolume *volume);

/* What is there of one guest. */
typedef struct {
  bool exists;  /* a domain of that name is defined */
  bool marked;  /* it bears our mark, for this guest */
  char *owner;  /* the mark's guest where that is another one */
  bool renamed; /* the mark still has the guest's old name */
  bool retired;
  char *uuid;
  char *digest;      /* the mark's, of the persistent definition */
  char *live_fixed;  /* the live mark's; see VpPlanInput */
  char *live_digest; /* the mark's, of the running one; NULL: stopped */
  VpPower power;
  bool clean_shutdown; /* it is off because the guest shut down */
  VpGuest *config;     /* the persistent definition's typed fields */
  VpGuest *live;       /* the running one's; NULL: stopped */
  GPtrArray *volumes;  /* VpFoundVolume, never NULL */
} VpFound;

VpFound *vp_found_new (void);
void vp_found_free (VpFound *found);

typedef struct {
  const VpGuest *wanted; /* resolved; NULL: its spec is gone */
  const char *name;      /* the guest's */
  const char *digest;    /* of the definition that wanted would get */
  const char *fixed;     /* of what of it only a start can change: all but the
                            devices and the description */
  bool run;              /* wanted state, holds considered */
  const VpFound *found;
  const char *fresh_warning; /* why a new disk needs a person's word first:
                                an orphan of a guest that just vanished */
} VpPlanInput;

typedef struct {
  GPtrArray *steps;      /* VpStep, in order; never NULL */
  GPtrArray *pending;    /* char *: changes that wait for the next start */
  bool restart_required; /* the running guest will still differ after steps */
  int conflict_code;     /* a VpErrorCode; with conflict */
  char *conflict;        /* in words, with what to do; NULL: none.  With a
                            conflict there is no step but a stop. */
} VpPlan;

VpPlan *vp_plan_make (const VpPlanInput *input);
void vp_plan_free (VpPlan *plan);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpFoundVolume, vp_found_volume_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpFound, vp_found_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpPlan, vp_plan_free)
