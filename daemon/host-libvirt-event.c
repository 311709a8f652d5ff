/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt-event: what libvirt tells: its events in host.h's words, and the
 * link's connection, which is there to hear them. */
#include "config.h"

#include "daemon/host-libvirt-private.h"

/* ---- events, on the main thread, called by libvirt ---- */

typedef struct {
  int detail;
  VpHostEvent event;
  const char *word;
} StopReason;

static const StopReason stop_reasons[] = {
  { VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, VP_HOST_EVENT_SHUTDOWN_BY_GUEST,
    "shutdown" },
  { VIR_DOMAIN_EVENT_STOPPED_DESTROYED, VP_HOST_EVENT_STOPPED, "destroyed" },
  { VIR_DOMAIN_EVENT_STOPPED_CRASHED, VP_HOST_EVENT_CRASHED, "crashed" },
  { VIR_DOMAIN_EVENT_STOPPED_MIGRATED, VP_HOST_EVENT_STOPPED, "migrated" },
  { VIR_DOMAIN_EVENT_STOPPED_SAVED, VP_HOST_EVENT_STOPPED, "saved" },
  { VIR_DOMAIN_EVENT_STOPPED_FAILED, VP_HOST_EVENT_CRASHED, "failed" },
  { VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT, VP_HOST_EVENT_STOPPED,
    "from snapshot" },
};

static const char *const defined_words[] = { "added", "updated", "renamed",
                                             "from snapshot" };
static const char *const started_words[] = { "booted", "migrated", "restored",
                                             "from snapshot", "wakeup" };
static const char *const paused_words[] = {
  "paused",        "migrated",  "I/O error", "watchdog",         "restored",
  "from snapshot", "API error", "post-copy", "post-copy failed",
};
static const char *const resumed_words[] = { "unpaused", "migrated",
                                             "from snapshot", "post-copy",
                                             "post-copy failed" };

#define WORD(words, detail)                                                    \
  ((detail) >= 0 && (size_t) (detail) < G_N_ELEMENTS (words) ? (words)[detail] \
                                                             : "unknown")

/* STOPPED_SHUTDOWN says that QEMU ended in good order, also when a stranger's
 * SIGTERM made it: the SHUTDOWN event before it tells the two apart. */
static void
on_stopped (VpLink *link, const char *name, int detail)
{
  Libvirt *libvirt = vp_link_get_data (link);
  bool signalled = g_hash_table_remove (libvirt->signalled, name);

  for (size_t i = 0; i < G_N_ELEMENTS (stop_reasons); i++) {
    if (stop_reasons[i].detail != detail)
      continue;
    if (signalled && stop_reasons[i].event == VP_HOST_EVENT_SHUTDOWN_BY_GUEST)
      vp_link_post (link, VP_HOST_EVENT_STOPPED, name, "signalled");
    else
      vp_link_post (link, stop_reasons[i].event, name, stop_reasons[i].word);
    return;
  }
  vp_link_post (link, VP_HOST_EVENT_STOPPED, name, "unknown");
}

static int
on_lifecycle (virConnectPtr conn, virDomainPtr domain, int event, int detail,
              void *user_data)
{
  VpLink *link = user_data;
  Libvirt *libvirt = vp_link_get_data (link);
  const char *name = virDomainGetName (domain);

  switch (event) {
  case VIR_DOMAIN_EVENT_DEFINED:
    vp_link_post (link, VP_HOST_EVENT_DEFINED, name,
                  WORD (defined_words, detail));
    break;
  case VIR_DOMAIN_EVENT_UNDEFINED:
    vp_link_post (link, VP_HOST_EVENT_UNDEFINED, name, "removed");
    break;
  case VIR_DOMAIN_EVENT_STARTED:
    g_hash_table_remove (libvirt->signalled, name);
    vp_link_post (link, VP_HOST_EVENT_STARTED, name,
                  WORD (started_words, detail));
    break;
  case VIR_DOMAIN_EVENT_SUSPENDED:
    vp_link_post (link, VP_HOST_EVENT_PAUSED, name,
                  WORD (paused_words, detail));
    break;
  case VIR_DOMAIN_EVENT_RESUMED:
    vp_link_post (link, VP_HOST_EVENT_RESUMED, name,
                  WORD (resumed_words, detail));
    break;
  case VIR_DOMAIN_EVENT_SHUTDOWN:
    if (detail == VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
      g_hash_table_add (libvirt->signalled, g_strdup (name));
    break;
  case VIR_DOMAIN_EVENT_STOPPED: on_stopped (link, name, detail); break;
  case VIR_DOMAIN_EVENT_CRASHED:
    vp_link_post (link, VP_HOST_EVENT_CRASHED, name, "panicked");
    break;
  default: break; /* suspended to its memory by the guest itself */
  }
  return 0;
}

static void
on_close (virConnectPtr conn, int reason, void *user_data)
{
  vp_link_break (user_data, conn);
}

/* ---- the link's connection, on its thread ---- */

/* libvirt takes the reference, and gives it back through vp_link_unref. */
static bool
register_close (VpLink *link, virConnectPtr conn)
{
  const Libvirt *libvirt = vp_link_get_data (link);

  /* The test driver cannot break; it would take the reference and forget
   * it. */
  if (libvirt->is_test)
    return true;
  if (virConnectRegisterCloseCallback (conn, on_close, vp_link_ref (link),
                                       vp_link_unref) == 0)
    return true;
  vp_link_unref (link);
  return false;
}

static bool
register_events (VpLink *link, virConnectPtr conn)
{
  Libvirt *libvirt = vp_link_get_data (link);

  libvirt->callback_id = virConnectDomainEventRegisterAny (
      conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
      VIR_DOMAIN_EVENT_CALLBACK (on_lifecycle), vp_link_ref (link),
      vp_link_unref);
  if (libvirt->callback_id >= 0)
    return true;
  vp_link_unref (link);
  return false;
}

static void *
link_open (VpLink *link, GError **error)
{
  const Libvirt *libvirt = vp_link_get_data (link);
  virConnectPtr conn = vp_libvirt_open (libvirt->uri, error);

  if (!conn)
    return NULL;
  if (register_close (link, conn)) {
    if (register_events (link, conn))
      return conn;
    (void) vp_libvirt_set_error (error, conn);
    (void) virConnectUnregisterCloseCallback (conn, on_close);
  } else {
    (void) vp_libvirt_set_error (error, conn);
  }
  (void) virConnectClose (conn);
  return NULL;
}

/* The connection may be dead: then these fail, and free what they hold. */
static void
link_close (VpLink *link, void *connection)
{
  const Libvirt *libvirt = vp_link_get_data (link);

  (void) virConnectDomainEventDeregisterAny (connection, libvirt->callback_id);
  if (!libvirt->is_test)
    (void) virConnectUnregisterCloseCallback (connection, on_close);
  (void) virConnectClose (connection);
}

const VpLinkOps vp_libvirt_link_ops = { link_open, link_close };
