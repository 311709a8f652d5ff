/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/error.h"

static const char *const bus_names[] = {
  [VP_ERROR_FAILED] = "org.vprovd1.Error.Failed",
  [VP_ERROR_NO_SUCH_GUEST] = "org.vprovd1.Error.NoSuchGuest",
  [VP_ERROR_NO_SUCH_VOLUME] = "org.vprovd1.Error.NoSuchVolume",
  [VP_ERROR_NO_SUCH_JOB] = "org.vprovd1.Error.NoSuchJob",
  [VP_ERROR_INVALID_SPEC] = "org.vprovd1.Error.InvalidSpec",
  [VP_ERROR_NAME_TAKEN] = "org.vprovd1.Error.NameTaken",
  [VP_ERROR_NOT_MANAGED] = "org.vprovd1.Error.NotManaged",
  [VP_ERROR_PROTECTED] = "org.vprovd1.Error.Protected",
  [VP_ERROR_IN_USE] = "org.vprovd1.Error.InUse",
  [VP_ERROR_PORT_CONFLICT] = "org.vprovd1.Error.PortConflict",
  [VP_ERROR_ADDRESS_CONFLICT] = "org.vprovd1.Error.AddressConflict",
  [VP_ERROR_NO_SPACE] = "org.vprovd1.Error.NoSpace",
  [VP_ERROR_WOULD_DESTROY_DATA] = "org.vprovd1.Error.WouldDestroyData",
  [VP_ERROR_RESTART_REQUIRED] = "org.vprovd1.Error.RestartRequired",
  [VP_ERROR_PLAN_STALE] = "org.vprovd1.Error.PlanStale",
  [VP_ERROR_BUSY] = "org.vprovd1.Error.Busy",
  [VP_ERROR_PAUSED] = "org.vprovd1.Error.Paused",
  [VP_ERROR_GUEST_UNRESPONSIVE] = "org.vprovd1.Error.GuestUnresponsive",
  [VP_ERROR_TIMEOUT] = "org.vprovd1.Error.Timeout",
  [VP_ERROR_CANCELLED] = "org.vprovd1.Error.Cancelled",
  [VP_ERROR_LIBVIRT_UNAVAILABLE] = "org.vprovd1.Error.LibvirtUnavailable",
  [VP_ERROR_LIBVIRT_FAILED] = "org.vprovd1.Error.LibvirtFailed",
  [VP_ERROR_NOT_SUPPORTED] = "org.vprovd1.Error.NotSupported",
  [VP_ERROR_NOT_AUTHORIZED] = "org.vprovd1.Error.NotAuthorized",
};
G_STATIC_ASSERT (G_N_ELEMENTS (bus_names) == VP_ERROR_N_CODES);

/* Not G_DEFINE_QUARK: its static variable is written by whichever threads
 * fail first, at once. */
GQuark
vp_error_quark (void)
{
  return g_quark_from_static_string ("vp-error-quark");
}

const char *
vp_error_bus_name (const GError *error)
{
  if (error->domain != VP_ERROR || error->code < 0 ||
      error->code >= VP_ERROR_N_CODES)
    return bus_names[VP_ERROR_FAILED];
  return bus_names[error->code];
}
