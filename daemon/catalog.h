/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog: the accepted specs.  Takes what spec-dir has read, parses it,
 * checks it against everything else that is accepted, and keeps the last good
 * version of each where a file has mistakes.  Resolves guests: identity,
 * addresses, volumes and targets are derived once, then recorded in the
 * store.  Knows no hypervisor and starts no job.  Main thread. */
#pragma once

#include "daemon/configuration.h"
#include "daemon/spec-dir.h"
#include "daemon/state.h"
#include "daemon/store.h"
#include "net/net.h"

typedef struct {
  char *name;
  char *path;            /* of its file, now or last */
  bool there;            /* the file is there */
  VpGuest *spec;         /* the last good version; NULL: never was one */
  VpGuest *resolved;     /* the same with all that is recorded; or NULL */
  GPtrArray *problems;   /* VpProblem: of the file as it is now */
  VpGuestRecord *record; /* never NULL once spec is set */
  gint64 vanished;       /* monotonic usec: when its file went; 0: not seen */
  char *fresh_warning;   /* see VpPlanInput */
} VpCatalogGuest;

typedef struct VpCatalog VpCatalog;

VpCatalog *vp_catalog_new (const VpConfig *config, VpStore *store);
void vp_catalog_free (VpCatalog *catalog);

/* The last good versions of the last run, before the first update. */
bool vp_catalog_load (VpCatalog *catalog,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  GPtrArray *changed;  /* char *: guests with a new good version */
  GPtrArray *returned; /* char *: guests whose unchanged file came back */
  GPtrArray *vanished; /* char *: guests whose file is gone now */
  bool net_changed;    /* a network's file changed */
} VpCatalogChange;

void vp_catalog_change_free (VpCatalogChange *change);
/* Adds what a second update changed. */
void vp_catalog_change_merge (VpCatalogChange *change,
                              const VpCatalogChange *more);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpCatalogChange, vp_catalog_change_free)

/* Takes a scan in.  What vanished is only told: vp_catalog_retire () makes it
 * so, once the caller believes it. */
VpCatalogChange *vp_catalog_update (VpCatalog *catalog, const VpSpecScan *scan);
/* The guest is no longer wanted; its record stays, marked. */
bool vp_catalog_retire (VpCatalog *catalog, const char *name,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Names, sorted; caller unrefs. */
GPtrArray *vp_catalog_list (VpCatalog *catalog);
/* Borrowed; NULL where there is none. */
VpCatalogGuest *vp_catalog_get (VpCatalog *catalog, const char *name);
/* After a change to record: saves it and resolves again. */
bool vp_catalog_save_record (VpCatalog *catalog, VpCatalogGuest *guest,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Every problem of every file, sorted by path; caller unrefs. */
GPtrArray *vp_catalog_problems (VpCatalog *catalog);

/* As if text were the file path of that kind and name. */
GPtrArray *vp_catalog_verify (VpCatalog *catalog, VpSpecKind kind,
                              const char *name, const char *path,
                              const char *text, size_t len);

/* The networks and forwards that the accepted guests want; holds and
 * stopped guests considered. */
VpNetWanted *vp_catalog_net_wanted (VpCatalog *catalog);
/* VpFoundVolume for each disk of ours of the guest, from the records. */
GPtrArray *vp_catalog_volumes (VpCatalog *catalog, const VpCatalogGuest *guest);
/* What a job learnt: made and size of each VpFoundVolume.  wanted: the guest
 * that the job was given, or NULL. */
bool vp_catalog_note_volumes (VpCatalog *catalog, VpCatalogGuest *guest,
                              const VpGuest *wanted, const GPtrArray *volumes,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes what a crash left half-made in the pools of the accepted guests. */
void vp_catalog_sweep (VpCatalog *catalog);
