/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt: the hypervisor behind host.h, and the only libvirt user.
 *
 * Connections by duty: one for events and for listing, which never enters a
 * guest's monitor; one lane (a connection with a thread of its own and one
 * call in flight) for each concurrent job call.  A call that passes its
 * deadline leaves its lane behind: the lane is retired and frees itself when
 * libvirt answers at last.  The link is kept with keep-alives and opened anew
 * with back-off; CONNECTED and DISCONNECTED tell. */
#pragma once

#include "daemon/host.h"

typedef struct {
  const char *uri;           /* "qemu:///system" */
  unsigned call_timeout_ms;  /* for calls that answer at once; 0: 15 000 */
  unsigned start_timeout_ms; /* define, start, attach; 0: 120 000 */
} VpHostLibvirtConfig;

/* Returns at once, connects in the background.  Must be called on the main
 * thread before any other libvirt user in the process; needs the default
 * GMainContext to run. */
VpHost *vp_host_libvirt_new (const VpHostLibvirtConfig *config,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
