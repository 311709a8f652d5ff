/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* units: a small client of systemd on D-Bus: start, stop, reload a unit and
 * know when that is done.  For the unit that keeps a network's dnsmasq.
 *
 * All calls block, on any thread, until done or the deadline has passed
 * (VP_ERROR_TIMEOUT).  They use a connection of their own and no main context
 * but their own, so a job thread may call while the main loop runs or not. */
#pragma once

#include <stdbool.h>

#include "net/net-apply.h"

typedef struct VpUnits VpUnits;

/* address: a D-Bus address, for tests; NULL is the system bus.  Opens nothing
 * yet.  timeout_ms 0: 30 s for each call. */
VpUnits *vp_units_new (const char *address, unsigned timeout_ms);
void vp_units_free (VpUnits *units);

/* systemd runs here (as PID 1, where address was NULL) and answers on the
 * bus. */
bool vp_units_is_available (VpUnits *units);

/* Waits for the job: a unit that fails to start is an error that says where
 * to read why. */
bool vp_units_start (VpUnits *units, const char *unit, GError **error);
/* A unit that does not run is no error. */
bool vp_units_stop (VpUnits *units, const char *unit, GError **error);
/* SIGHUP to the unit's main process. */
bool vp_units_hang_up (VpUnits *units, const char *unit, GError **error);
/* Runs or is about to; a unit that systemd does not know does not run. */
bool vp_units_is_active (VpUnits *units, const char *unit, bool *ret_active,
                         GError **error);

/* For vp_net_apply (): vprovd-dnsmasq@NETWORK.service.  units is borrowed and
 * must outlive ret_ops. */
void vp_units_get_dnsmasq_ops (VpUnits *units, VpDnsmasqOps *ret_ops);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpUnits, vp_units_free)
