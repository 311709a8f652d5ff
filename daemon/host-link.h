/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-link: keeps one connection to a hypervisor, and brings what is told on
 * it to the main thread.
 *
 * A thread opens the connection (opening may block), waits until it breaks,
 * closes it, and opens the next one, with back-off from 0.25 to 30 s.  Events
 * and news of the link go through one inbox, so that the listener hears them
 * in the order in which they came, from the default GMainContext.
 *
 * It is counted: the owner, its thread and whoever may call back hold it, for
 * each of them may be the last to come back.
 *
 * pthread primitives throughout, as ThreadSanitizer does not see GLib's. */
#pragma once

#include "daemon/host.h"

typedef struct VpLink VpLink;

typedef struct {
  /* On the link's thread.  open has asked for events when it returns. */
  void *(*open) (VpLink *link, GError **error);
  void (*close) (VpLink *link, void *connection);
} VpLinkOps;

/* Begins at once.  ops is borrowed for ever; user_data is freed with the last
 * reference. */
VpLink *vp_link_new (const VpLinkOps *ops, gpointer user_data,
                     GDestroyNotify user_data_free, GError **error);
/* The owner's end: nothing is told any more, the connection is closed when
 * that can be. */
void vp_link_close (VpLink *link);
VpLink *vp_link_ref (VpLink *link); /* any thread */
void vp_link_unref (gpointer link); /* any thread */
gpointer vp_link_get_data (VpLink *link);

/* Main thread.  A new listener is told CONNECTED where there is a link. */
void vp_link_set_listener (VpLink *link, VpHostListener listener,
                           gpointer user_data);
bool vp_link_is_connected (VpLink *link);

/* Any thread: this connection is dead. */
void vp_link_break (VpLink *link, const void *connection);
/* Any thread: to the listener.  name is copied; detail is static. */
void vp_link_post (VpLink *link, VpHostEvent event, const char *name,
                   const char *detail);
/* Any thread: the connection, with a reference that take () took while it
 * could not go; NULL where there is none. */
void *vp_link_share (VpLink *link, void (*take) (void *connection));
