/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-host: a hypervisor in memory, for tests of what stands on host.h.  It
 * keeps definitions as text, runs guests at once, and fails, hangs or loses
 * its link when a test says so.
 *
 * The VpHost calls may come from any thread, as with the true one; the verbs
 * below are for the test's main thread.  Events come through the default
 * GMainContext. */
#pragma once

#include "daemon/host.h"

/* Connected, empty.  Freed by ops->free. */
VpHost *vp_fake_host_new (void);

/* A definition as somebody made it, with or without our mark in it.  name is
 * read from xml.  No event. */
void vp_fake_host_add (VpHost *host, const char *xml, bool running);
/* NULL where there is none.  Caller frees. */
VpHostDomain *vp_fake_host_peek (VpHost *host, const char *name);

/* The nth call of verb ("define", "start", "get", ...; NULL: of any) from now
 * on, counted from 1, fails with this code; the call has no effect, but for
 * VP_ERROR_TIMEOUT, where the caller cannot know: it has one.  One rule for
 * each verb; nth 0 takes it away. */
void vp_fake_host_fail (VpHost *host, const char *verb, unsigned nth, int code);
/* Calls of verb (NULL: all) wait until vp_fake_host_release (); wait_held ()
 * returns once n of them are waiting. */
void vp_fake_host_hold (VpHost *host, const char *verb);
void vp_fake_host_wait_held (VpHost *host, unsigned n);
void vp_fake_host_release (VpHost *host);
/* While it is down all calls fail with VP_ERROR_LIBVIRT_UNAVAILABLE.  Tells
 * the listener. */
void vp_fake_host_set_connected (VpHost *host, bool connected);

/* What happens to a guest from inside or by a stranger's hand. */
void vp_fake_host_power_off (VpHost *host, const char *name);
void vp_fake_host_crash (VpHost *host, const char *name);
void vp_fake_host_pause (VpHost *host, const char *name);
void vp_fake_host_stranger_destroys (VpHost *host, const char *name);
/* A guest that does not hear a shutdown request. */
void vp_fake_host_set_deaf (VpHost *host, const char *name, bool deaf);

/* How often verb (NULL: any that changes something) was called. */
unsigned vp_fake_host_count (VpHost *host, const char *verb);
/* The calls that change something, "define web; start web", in order.
 * Caller frees. */
char *vp_fake_host_log (VpHost *host);
void vp_fake_host_clear_log (VpHost *host);
