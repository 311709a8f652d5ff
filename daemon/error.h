/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* error: the daemon's own judgements, and the one table that turns each code
 * into a D-Bus error name (org.vprovd1.Error.*).
 *
 * A failed system call stays a G_IO_ERROR; what storage/ and net/ judge stays
 * in their own domains.  Callers branch on codes, never on text. */
#pragma once

#include <glib.h>

#define VP_ERROR (vp_error_quark ())

typedef enum {
  VP_ERROR_FAILED,
  VP_ERROR_NO_SUCH_GUEST,
  VP_ERROR_NO_SUCH_VOLUME,
  VP_ERROR_NO_SUCH_JOB,
  VP_ERROR_INVALID_SPEC,
  VP_ERROR_NAME_TAKEN, /* a domain of that name bears no mark of ours */
  VP_ERROR_NOT_MANAGED,
  VP_ERROR_PROTECTED,
  VP_ERROR_IN_USE,
  VP_ERROR_PORT_CONFLICT,
  VP_ERROR_ADDRESS_CONFLICT,
  VP_ERROR_NO_SPACE,
  VP_ERROR_WOULD_DESTROY_DATA,
  VP_ERROR_RESTART_REQUIRED,
  VP_ERROR_PLAN_STALE,
  VP_ERROR_BUSY,
  VP_ERROR_PAUSED,
  VP_ERROR_GUEST_UNRESPONSIVE,
  VP_ERROR_TIMEOUT,
  VP_ERROR_CANCELLED,
  VP_ERROR_LIBVIRT_UNAVAILABLE,
  VP_ERROR_LIBVIRT_FAILED,
  VP_ERROR_NOT_SUPPORTED,
  VP_ERROR_NOT_AUTHORIZED,
  VP_ERROR_N_CODES
} VpErrorCode;

GQuark vp_error_quark (void);

/* The D-Bus name of any error: "org.vprovd1.Error.NoSuchGuest"; errors of
 * other domains are "org.vprovd1.Error.Failed".  Static string. */
const char *vp_error_bus_name (const GError *error);
