/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-dir: which files count as specs, and their bytes.
 *
 * DIR/guests/NAME.xml, DIR/networks/..., DIR/pools/..., DIR/images/... for
 * each folder of SpecDirectories=; the first found wins, a link to /dev/null
 * masks.  Only NAME.xml with a valid name counts, so editors' and packagers'
 * leavings never do.  A file must be regular, root's (or the daemon's own
 * user's), with one link, not writable by others, at most VP_SPEC_MAX_BYTES;
 * folders likewise.  Parses nothing.  Main thread. */
#pragma once

#include "daemon/state.h"

typedef enum {
  VP_SPEC_GUEST,
  VP_SPEC_NETWORK,
  VP_SPEC_POOL,
  VP_SPEC_IMAGE,
  VP_SPEC_N_KINDS
} VpSpecKind;

/* "guest"; and the folder's name, "guests". */
const char *vp_spec_kind_to_string (VpSpecKind kind);
const char *vp_spec_kind_to_folder (VpSpecKind kind);
bool vp_spec_kind_from_string (const char *text, VpSpecKind *ret_kind);

typedef struct {
  VpSpecKind kind;
  char *name;
  char *path;
  char *text; /* NULL where problem is set */
  size_t len;
  VpProblem *problem; /* why it could not be read */
} VpSpecFile;

typedef struct {
  GPtrArray *files; /* VpSpecFile, by kind and name */
  /* False where a folder that was there is unreadable, or another file
   * system lies in its place: then nobody may conclude that a file is gone.
   * reason says which. */
  bool complete;
  char *reason;
} VpSpecScan;

void vp_spec_scan_free (VpSpecScan *scan);

typedef struct VpSpecDir VpSpecDir;

/* Called on the main loop once a change has settled. */
typedef void (*VpSpecDirChanged) (gpointer user_data);

/* dirs is NULL-terminated, highest first.  Without inotify (limits) the
 * changes are seen by the caller's rescans only; ret_warning says so. */
VpSpecDir *vp_spec_dir_new (const char *const *dirs, unsigned settle_ms,
                            VpSpecDirChanged changed, gpointer user_data);
VpSpecScan *vp_spec_dir_scan (VpSpecDir *dir);
/* The administrator says that the folders are right as they are now: what a
 * later scan is compared with. */
void vp_spec_dir_trust (VpSpecDir *dir);
void vp_spec_dir_free (VpSpecDir *dir);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpSpecScan, vp_spec_scan_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpSpecDir, vp_spec_dir_free)
