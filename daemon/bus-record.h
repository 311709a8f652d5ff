/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus-record: plain data as the records (aa{sv}) and paths of the bus.  Pure.
 * All variants are floating. */
#pragma once

#include "daemon/manager.h"

#define VP_BUS_NAME "org.vprovd1"
#define VP_BUS_ROOT "/org/vprovd1"

/* Valid UTF-8 whatever came (file names and other people's messages need not
 * be); "" for NULL.  Caller frees. */
char *vp_bus_text (const char *text);

/* "/org/vprovd1/guest/web_2d1": escaped as sd_bus_path_encode () does.
 * Caller frees. */
char *vp_bus_guest_path (const char *guest);
char *vp_bus_job_path (unsigned id);

GVariant *vp_bus_problems (const GPtrArray *problems);
GVariant *vp_bus_addresses (const GPtrArray *addresses);
GVariant *vp_bus_steps (const GPtrArray *steps);
GVariant *vp_bus_checks (const GPtrArray *checks);
GVariant *vp_bus_forwards (const VpGuestStatus *status);
/* The same into an open builder of type aa{sv}, each with the guest's name. */
void vp_bus_add_forwards (GVariantBuilder *builder,
                          const VpGuestStatus *status);
GVariant *vp_bus_error (const char *name, const char *message);
