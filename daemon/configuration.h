/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* configuration: vprovd.conf, read once, not changed afterwards. */
#pragma once

#include <stdbool.h>

#include <glib.h>

typedef struct {
  char **spec_dirs;     /* SpecDirectories=: highest first, each .../vprovd */
  char *state_dir;      /* StateDirectory=: /var/lib/vprovd */
  char *runtime_dir;    /* RuntimeDirectory=: /run/vprovd */
  char *libvirt_uri;    /* LibvirtUri=: qemu:///system */
  char *bus;            /* Bus=: "system", "session" or a D-Bus address */
  char *worker_program; /* WorkerProgram= */
  char *worker_user;    /* WorkerUser=; NULL: do not change */
  bool manage_networks; /* ManageNetworks=: no leaves links and rules alone */
  bool allow_qemu_commandline;               /* AllowQemuCommandline= */
  bool apply_live, apply_create, apply_stop; /* AutoApply=create,live,stop */
  unsigned rescan_s;                         /* RescanSec=: 60 */
  unsigned settle_ms;                        /* SettleMSec=: 50 */
  unsigned shutdown_timeout_s; /* ShutdownTimeoutSec=: 90, then power off */
  unsigned max_jobs;           /* MaxJobs=: 4 */
} VpConfig;

/* path NULL: the installed vprovd.conf where there is one; a path that was
 * asked for must exist.  Unknown keys are errors with path and line. */
VpConfig *vp_config_load (const char *path, GError **error);
void vp_config_free (VpConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpConfig, vp_config_free)
