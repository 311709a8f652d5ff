/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus: the D-Bus face of the manager, as org.vprovd1.xml describes it: a
 * method is one call of the manager, the manager's news become properties and
 * signals.  Decides nothing itself but who may call.  Main thread only. */
#pragma once

#include "daemon/manager.h"

typedef struct VpBus VpBus;

/* The connection or the name is gone; the bus shows nothing any more.  Called
 * once, from the main loop; the bus may be freed in it.  error is borrowed. */
typedef void (*VpBusLost) (VpBus *bus, const GError *error, gpointer user_data);

/* Connects, shows all that the manager has, sets itself as the manager's
 * listener and takes the name org.vprovd1: when this returns, callers are
 * answered as soon as the main loop runs.  address is "system", "session" or
 * a D-Bus address.  VP_ERROR_IN_USE where another daemon has the name.
 *
 * Borrows the manager for its life. */
VpBus *vp_bus_new (VpManager *manager, const char *address, VpBusLost lost,
                   gpointer user_data,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Gives the name back and closes the connection: callers that still wait are
 * told so by the message bus.  To be freed before the manager. */
void vp_bus_free (VpBus *bus);

/* How long a finished job stays, 30 000 where nobody says otherwise. */
void vp_bus_set_job_linger (VpBus *bus, unsigned linger_ms);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpBus, vp_bus_free)
