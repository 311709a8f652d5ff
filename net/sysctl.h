/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sysctl: kernel settings by path below /proc/sys: "net/ipv4/ip_forward". */
#pragma once

#include <stdbool.h>

#include <glib.h>

#define VP_SYSCTL_IP_FORWARD "net/ipv4/ip_forward"

/* The value without white space at its end, NULL where there is no such
 * setting; caller frees. */
char *vp_sysctl_read (const char *key);
bool vp_sysctl_write (const char *key, const char *value, GError **error);
/* Names in a folder of settings: "net/ipv4/conf" -> all, default, eth0 ...;
 * GPtrArray of char *, sorted. */
GPtrArray *vp_sysctl_list (const char *folder);
