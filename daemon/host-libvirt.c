/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt: libvirt as a VpHost.
 *
 * Three kinds of connections, so that nothing waits for a guest but who asked
 * for that guest:
 *
 *     link thread   opens one (opening may block), registers for events and
 *                   waits; when it breaks it opens a new one, with back-off
 *     look lanes    list and caps: never enter a guest's monitor
 *     work lanes    all that may: one call in flight on each
 *
 * libvirt's events come from its own sources in the default GMainContext.
 * Events and news of the link go through one inbox, so the listener hears
 * them in order, on the main thread.
 *
 * The core is counted: the owner, the link thread, the lanes and libvirt's
 * callbacks hold it, for each of them may be the last to come back.
 *
 * libvirt's test driver is a world inside the connection (test:///FILE) that
 * never blocks: there all share the link's connection. */
#include "config.h"

#include "daemon/host-libvirt.h"

#include "daemon/caps-xml.h"
#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/host-lane.h"
#include "daemon/kvm.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORK_LANES       16
#define MAX_LOOK_LANES       2
#define MAX_RETIRED          8
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3
#define BACKOFF_FIRST_MS     250
#define BACKOFF_MAX_MS       30000

typedef struct {
  VpHostEvent event;
  char *name;         /* NULL for the link's */
  const char *detail; /* static */
} Event;

typedef struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  unsigned refs;

  char *uri;
  bool is_test;
  unsigned call_timeout_ms, start_timeout_ms;

  virConnectPtr conn;  /* the link's, NULL while there is none */
  unsigned generation; /* of conn; what an old one says is not believed */
  bool broken;         /* conn is to be opened anew */
  bool closing;
  GQueue inbox; /* Event */
  bool deliver_scheduled;

  /* Main thread. */
  bool connected;
  VpHostListener listener;
  gpointer user_data;
  GHashTable *signalled; /* domains whose QEMU was ended by a signal */
} Core;

typedef struct {
  VpHost host;
  Core *core;
  VpLanes *work, *look;
} LibvirtHost;

/* What libvirt's close callback needs to know. */
typedef struct {
  Core *core;
  unsigned generation;
} Registration;

static void
event_free (Event *event)
{
  g_free (event->name);
  g_free (event);
}

static Core *
core_ref (Core *core)
{
  pthread_mutex_lock (&core->mutex);
  core->refs++;
  pthread_mutex_unlock (&core->mutex);
  return core;
}

static void
core_unref (gpointer data)
{
  Core *core = data;
  bool last;

  pthread_mutex_lock (&core->mutex);
  last = --core->refs == 0;
  pthread_mutex_unlock (&core->mutex);
  if (!last)
    return;
  g_queue_clear_full (&core->inbox, (GDestroyNotify) event_free);
  g_hash_table_unref (core->signalled);
  pthread_cond_destroy (&core->changed);
  pthread_mutex_destroy (&core->mutex);
  g_free (core->uri);
  g_free (core);
}

/* ---- errors ---- */

/* virSetErrorFunc (): without one libvirt writes to stderr. */
static void
be_silent (void *user_data, virErrorPtr error)
{
}

/* To be called on the thread and right after the call that failed.  conn may
 * be NULL.  Returns false. */
static bool
set_libvirt_error (GError **error, virConnectPtr conn)
{
  virErrorPtr last = virGetLastError ();
  int code = last ? last->code : VIR_ERR_OK;
  g_autofree char *message =
      g_strdup (last && last->message ? last->message : "unknown error");
  VpErrorCode vp_code = VP_ERROR_LIBVIRT_FAILED;

  if (code == VIR_ERR_NO_DOMAIN)
    vp_code = VP_ERROR_NO_SUCH_GUEST;
  else if (conn && virConnectIsAlive (conn) != 1)
    vp_code = VP_ERROR_LIBVIRT_UNAVAILABLE;
  else if (code == VIR_ERR_OPERATION_TIMEOUT ||
           code == VIR_ERR_AGENT_UNRESPONSIVE)
    vp_code = VP_ERROR_GUEST_UNRESPONSIVE;
  g_set_error (error, VP_ERROR, vp_code, "libvirt: %s", message);
  return false;
}

static virConnectPtr
open_connection (const char *uri, GError **error)
{
  virConnectPtr conn = virConnectOpen (uri);

  if (!conn) {
    virErrorPtr last = virGetLastError ();

    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE,
                 "libvirt: cannot open %s: %s", uri,
                 last && last->message ? last->message : "unknown error");
    return NULL;
  }
  /* Not every driver can, nor needs to. */
  (void) virConnectSetKeepAlive (conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
  return conn;
}

/* ---- the inbox: from any thread to the listener ---- */

static gboolean
deliver (gpointer data)
{
  Core *core = data;

  for (;;) {
    Event *event;

    pthread_mutex_lock (&core->mutex);
    event = g_queue_pop_head (&core->inbox);
    if (!event)
      core->deliver_scheduled = false;
    pthread_mutex_unlock (&core->mutex);
    if (!event)
      return G_SOURCE_REMOVE;

    if (event->event == VP_HOST_EVENT_CONNECTED)
      core->connected = true;
    else if (event->event == VP_HOST_EVENT_DISCONNECTED)
      core->connected = false;
    if (core->listener)
      core->listener (event->event, event->name, event->detail,
                      core->user_data);
    event_free (event);
  }
}

static void
post (Core *core, VpHostEvent code, const char *name, const char *detail)
{
  Event *event = g_new0 (Event, 1);
  bool schedule;

  event->event = code;
  event->name = g_strdup (name);
  event->detail = detail;
  pthread_mutex_lock (&core->mutex);
  g_queue_push_tail (&core->inbox, event);
  schedule = !core->deliver_scheduled && !core->closing;
  if (schedule) {
    core->deliver_scheduled = true;
    core->refs++;
  }
  pthread_mutex_unlock (&core->mutex);
  if (schedule)
    g_idle_add_full (G_PRIORITY_DEFAULT, deliver, core, core_unref);
}

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
on_stopped (Core *core, const char *name, int detail)
{
  bool signalled = g_hash_table_remove (core->signalled, name);

  for (size_t i = 0; i < G_N_ELEMENTS (stop_reasons); i++) {
    if (stop_reasons[i].detail != detail)
      continue;
    if (signalled && stop_reasons[i].event == VP_HOST_EVENT_SHUTDOWN_BY_GUEST)
      post (core, VP_HOST_EVENT_STOPPED, name, "signalled");
    else
      post (core, stop_reasons[i].event, name, stop_reasons[i].word);
    return;
  }
  post (core, VP_HOST_EVENT_STOPPED, name, "unknown");
}

static int
on_lifecycle (virConnectPtr conn, virDomainPtr domain, int event, int detail,
              void *user_data)
{
  Core *core = ((Registration *) user_data)->core;
  const char *name = virDomainGetName (domain);

  switch (event) {
  case VIR_DOMAIN_EVENT_DEFINED:
    post (core, VP_HOST_EVENT_DEFINED, name, WORD (defined_words, detail));
    break;
  case VIR_DOMAIN_EVENT_UNDEFINED:
    post (core, VP_HOST_EVENT_UNDEFINED, name, "removed");
    break;
  case VIR_DOMAIN_EVENT_STARTED:
    g_hash_table_remove (core->signalled, name);
    post (core, VP_HOST_EVENT_STARTED, name, WORD (started_words, detail));
    break;
  case VIR_DOMAIN_EVENT_SUSPENDED:
    post (core, VP_HOST_EVENT_PAUSED, name, WORD (paused_words, detail));
    break;
  case VIR_DOMAIN_EVENT_RESUMED:
    post (core, VP_HOST_EVENT_RESUMED, name, WORD (resumed_words, detail));
    break;
  case VIR_DOMAIN_EVENT_SHUTDOWN:
    if (detail == VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
      g_hash_table_add (core->signalled, g_strdup (name));
    break;
  case VIR_DOMAIN_EVENT_STOPPED: on_stopped (core, name, detail); break;
  case VIR_DOMAIN_EVENT_CRASHED:
    post (core, VP_HOST_EVENT_CRASHED, name, "panicked");
    break;
  default: break; /* suspended to its memory by the guest itself */
  }
  return 0;
}

static void
on_close (virConnectPtr conn, int reason, void *user_data)
{
  Registration *registration = user_data;
  Core *core = registration->core;

  pthread_mutex_lock (&core->mutex);
  if (registration->generation == core->generation) {
    core->broken = true;
    pthread_cond_broadcast (&core->changed);
  }
  pthread_mutex_unlock (&core->mutex);
}

/* ---- the link thread ---- */

static Registration *
registration_new (Core *core, unsigned generation)
{
  Registration *registration = g_new0 (Registration, 1);

  registration->core = core_ref (core);
  registration->generation = generation;
  return registration;
}

static void
registration_free (void *data)
{
  Registration *registration = data;

  core_unref (registration->core);
  g_free (registration);
}

/* Returns the id of the callback, -1 on failure. */
static int
register_callbacks (Core *core, virConnectPtr conn, unsigned generation)
{
  Registration *closing = registration_new (core, generation);
  Registration *lifecycle = registration_new (core, generation);
  int id;

  if (virConnectRegisterCloseCallback (conn, on_close, closing,
                                       registration_free) != 0) {
    /* The test driver cannot break, and says so on some versions. */
    registration_free (closing);
  }
  id = virConnectDomainEventRegisterAny (
      conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
      VIR_DOMAIN_EVENT_CALLBACK (on_lifecycle), lifecycle, registration_free);
  if (id < 0) {
    registration_free (lifecycle);
    (void) virConnectUnregisterCloseCallback (conn, on_close);
  }
  return id;
}

/* Waits for the delay, or until it is over with us. */
static void
back_off (Core *core, unsigned delay_ms)
{
  struct timespec deadline;
  int errnum = 0;

  clock_gettime (CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += delay_ms / 1000;
  deadline.tv_nsec += (long) (delay_ms % 1000) * 1000000;
  if (deadline.tv_nsec >= 1000000000) {
    deadline.tv_sec++;
    deadline.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock (&core->mutex);
  while (!core->closing && errnum != ETIMEDOUT)
    errnum = pthread_cond_timedwait (&core->changed, &core->mutex, &deadline);
  pthread_mutex_unlock (&core->mutex);
}

/* Takes conn, holds it until it breaks or all is over, and closes it. */
static void
keep_connection (Core *core, virConnectPtr conn, int callback_id)
{
  bool closing;

  post (core, VP_HOST_EVENT_CONNECTED, NULL, "connected");
  pthread_mutex_lock (&core->mutex);
  while (!core->broken && !core->closing)
    pthread_cond_wait (&core->changed, &core->mutex);
  core->conn = NULL;
  core->generation++;
  closing = core->closing;
  pthread_mutex_unlock (&core->mutex);
  if (!closing)
    post (core, VP_HOST_EVENT_DISCONNECTED, NULL, "the connection broke");

  (void) virConnectDomainEventDeregisterAny (conn, callback_id);
  (void) virConnectUnregisterCloseCallback (conn, on_close);
  (void) virConnectClose (conn);
}

static void *
run_link (void *data)
{
  Core *core = data;
  unsigned delay_ms = BACKOFF_FIRST_MS;
  bool closing = false;

  while (!closing) {
    virConnectPtr conn = open_connection (core->uri, NULL);
    unsigned generation;
    int id = -1;

    pthread_mutex_lock (&core->mutex);
    generation = ++core->generation;
    core->broken = false;
    closing = core->closing;
    pthread_mutex_unlock (&core->mutex);
    if (conn && !closing)
      id = register_callbacks (core, conn, generation);
    if (id >= 0) {
      pthread_mutex_lock (&core->mutex);
      core->conn = conn;
      pthread_mutex_unlock (&core->mutex);
      delay_ms = BACKOFF_FIRST_MS;
      keep_connection (core, conn, id);
    } else {
      if (conn)
        (void) virConnectClose (conn);
      /* Up to a quarter more, so that many clients do not come at once. */
      back_off (core, delay_ms + (unsigned) g_random_int_range (
                                     0, (int) delay_ms / 4));
      delay_ms = MIN (2 * delay_ms, BACKOFF_MAX_MS);
    }
    pthread_mutex_lock (&core->mutex);
    closing = core->closing;
    pthread_mutex_unlock (&core->mutex);
  }
  core_unref (core);
  return NULL;
}

static bool
start_link (Core *core, GError **error)
{
  sigset_t all, old;
  pthread_t thread;
  int errnum;

  core_ref (core);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  errnum = pthread_create (&thread, NULL, run_link, core);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (errnum != 0) {
    core_unref (core);
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "cannot start a thread: %s",
                 g_strerror (errnum));
    return false;
  }
  pthread_detach (thread);
  return true;
}

/* ---- the lanes' connections ---- */

static void *
lane_open (gpointer user_data, GError **error)
{
  Core *core = user_data;
  virConnectPtr conn = NULL;

  if (!core->is_test)
    return open_connection (core->uri, error);
  pthread_mutex_lock (&core->mutex);
  if (core->conn && virConnectRef (core->conn) == 0)
    conn = core->conn;
  pthread_mutex_unlock (&core->mutex);
  if (!conn)
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE,
                 "libvirt: not connected to %s", core->uri);
  return conn;
}

static bool
lane_is_usable (void *link)
{
  return virConnectIsAlive (link) == 1;
}

static void
lane_close (void *link)
{
  (void) virConnectClose (link);
}

static const VpLaneOps lane_ops = { lane_open, lane_is_usable, lane_close };

/* ---- the calls: on a lane's thread, with a copy of all they need ---- */

typedef struct {
  const char *verb; /* static, for messages */
  char *name;       /* domain */
  char *xml;        /* definition, device, mark */
  char *target;
  uint64_t number;
  unsigned scope;
  gpointer result;
  GDestroyNotify result_free;
} Request;

static void
request_free (gpointer data)
{
  Request *request = data;

  if (request->result)
    request->result_free (request->result);
  g_free (request->name);
  g_free (request->xml);
  g_free (request->target);
  g_free (request);
}

static void
domain_unref (virDomainPtr domain)
{
  if (domain)
    (void) virDomainFree (domain);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (virDomain, domain_unref)

static void
free_libvirt_string (char **text)
{
  free (*text);
}

/* What libvirt allocates is malloc ()'s. */
#define auto_string __attribute__ ((cleanup (free_libvirt_string))) char *

static unsigned
scope_flags (unsigned scope)
{
  /* VIR_DOMAIN_DEVICE_MODIFY_ and the like are defined to be the same. */
  return (scope & VP_HOST_LIVE ? VIR_DOMAIN_AFFECT_LIVE : 0) |
         (scope & VP_HOST_CONFIG ? VIR_DOMAIN_AFFECT_CONFIG : 0);
}

/* A flag that this libvirt or driver does not know. */
static bool
is_unknown_flag (void)
{
  int code = virGetLastErrorCode ();

  return code == VIR_ERR_INVALID_ARG || code == VIR_ERR_NO_SUPPORT;
}

static virDomainPtr
look_up (virConnectPtr conn, const char *name, GError **error)
{
  virDomainPtr domain = virDomainLookupByName (conn, name);

  if (!domain)
    (void) set_libvirt_error (error, conn);
  return domain;
}

static void
set_power (VpHostDomain *result, int state, int reason)
{
  switch (state) {
  case VIR_DOMAIN_RUNNING:
  case VIR_DOMAIN_BLOCKED:
  case VIR_DOMAIN_PMSUSPENDED: /* the guest sleeps by its own will */
    result->power = VP_POWER_RUNNING;
    break;
  case VIR_DOMAIN_PAUSED: result->power = VP_POWER_PAUSED; break;
  case VIR_DOMAIN_SHUTDOWN: result->power = VP_POWER_STOPPING; break;
  case VIR_DOMAIN_SHUTOFF:
    result->power = reason == VIR_DOMAIN_SHUTOFF_CRASHED ? VP_POWER_CRASHED
                                                         : VP_POWER_STOPPED;
    result->clean_shutdown = reason == VIR_DOMAIN_SHUTOFF_SHUTDOWN;
    break;
  case VIR_DOMAIN_CRASHED: result->power = VP_POWER_CRASHED; break;
  default: result->power = VP_POWER_UNKNOWN; break;
  }
}

/* libvirt gives the element without the namespace that it was asked by. */
static char *
wrap_metadata (const char *element)
{
  int name_len = (int) strcspn (element, " \t\n/>");

  return g_strdup_printf ("<domain><metadata>%.*s xmlns='%s'%s"
                          "</metadata></domain>",
                          name_len, element, VP_DOMAIN_XML_NAMESPACE,
                          element + name_len);
}

/* No mark is no error; a mark that cannot be read is none of ours. */
static VpMark *
read_mark (virDomainPtr domain, unsigned flags)
{
  auto_string metadata = virDomainGetMetadata (
      domain, VIR_DOMAIN_METADATA_ELEMENT, VP_DOMAIN_XML_NAMESPACE, flags);
  g_autofree char *xml = metadata ? wrap_metadata (metadata) : NULL;

  return xml ? vp_domain_xml_get_mark (xml, NULL) : NULL;
}

/* NULL, with the error set, also where it has vanished meanwhile. */
static VpHostDomain *
describe (virConnectPtr conn, virDomainPtr domain, GError **error)
{
  g_autoptr (VpHostDomain) result = g_new0 (VpHostDomain, 1);
  char uuid[VIR_UUID_STRING_BUFLEN];
  int state, reason, persistent, id;

  persistent = virDomainIsPersistent (domain);
  if (persistent < 0 || virDomainGetState (domain, &state, &reason, 0) != 0 ||
      virDomainGetUUIDString (domain, uuid) != 0) {
    (void) set_libvirt_error (error, conn);
    return NULL;
  }
  result->name = g_strdup (virDomainGetName (domain));
  result->uuid = g_strdup (uuid);
  result->persistent = persistent == 1;
  set_power (result, state, reason);
  id = (int) virDomainGetID (domain);
  result->id = id > 0 ? id : -1;
  if (persistent)
    result->mark = read_mark (domain, VIR_DOMAIN_AFFECT_CONFIG);
  if (result->id >= 0)
    result->live_mark = read_mark (domain, VIR_DOMAIN_AFFECT_LIVE);
  return g_steal_pointer (&result);
}

static bool
do_list (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (GPtrArray) list =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_host_domain_free);
  virDomainPtr *domains = NULL;
  int n = virConnectListAllDomains (link, &domains, 0);
  bool ok = true;

  if (n < 0)
    return set_libvirt_error (error, link);
  for (int i = 0; i < n; i++) {
    g_autoptr (virDomain) domain = domains[i];
    g_autoptr (GError) local_error = NULL;
    VpHostDomain *result;

    if (!ok)
      continue; /* only to free the rest */
    result = describe (link, domain, &local_error);
    if (result) {
      g_ptr_array_add (list, result);
    } else if (!g_error_matches (local_error, VP_ERROR,
                                 VP_ERROR_NO_SUCH_GUEST)) {
      g_propagate_error (error, g_steal_pointer (&local_error));
      ok = false;
    }
  }
  free (domains);
  if (!ok)
    return false;
  request->result = g_steal_pointer (&list);
  request->result_free = (GDestroyNotify) g_ptr_array_unref;
  return true;
}

static bool
do_get (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (virDomain) domain = look_up (link, request->name, error);
  g_autoptr (VpHostDomain) result = NULL;
  auto_string xml = NULL;
  auto_string live_xml = NULL;

  if (!domain)
    return false;
  result = describe (link, domain, error);
  if (!result)
    return false;
  /* With its secrets: a definition that is given back without them, by
   * adopt or a change, would lose them. */
  xml = virDomainGetXMLDesc (domain,
                             VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
  if (!xml)
    return set_libvirt_error (error, link);
  result->xml = g_strdup (xml);
  if (result->id >= 0) {
    live_xml = virDomainGetXMLDesc (domain, 0);
    if (!live_xml)
      return set_libvirt_error (error, link);
    result->live_xml = g_strdup (live_xml);
  }
  request->result = g_steal_pointer (&result);
  request->result_free = (GDestroyNotify) vp_host_domain_free;
  return true;
}

static bool
is_kvm_usable (const char *arch, bool offered, char **ret_reason)
{
  g_autofree char *cpuinfo = NULL;
  VpKvmEvidence evidence = { .arch = arch, .offered = offered };

  (void) g_file_get_contents ("/proc/cpuinfo", &cpuinfo, NULL, NULL);
  evidence.cpuinfo = cpuinfo;
  evidence.device = access ("/dev/kvm", F_OK) == 0;
  return vp_kvm_is_usable (&evidence, ret_reason);
}

static bool
do_caps (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (VpHostCaps) caps = g_new0 (VpHostCaps, 1);
  auto_string host = virConnectGetCapabilities (link);
  auto_string kvm = NULL;
  auto_string tcg = NULL;

  if (!host)
    return set_libvirt_error (error, link);
  if (!vp_caps_xml_parse_host (host, &caps->arch, &caps->machine, error))
    return false;
  caps->test = g_ascii_strcasecmp (virConnectGetType (link), "test") == 0;
  if (caps->test) {
    caps->kvm_reason = g_strdup ("libvirt's test driver runs nothing");
  } else {
    kvm = virConnectGetDomainCapabilities (link, NULL, caps->arch, NULL, "kvm",
                                           0);
    tcg = virConnectGetDomainCapabilities (link, NULL, caps->arch, NULL, "qemu",
                                           0);
    if (!kvm && !tcg)
      return set_libvirt_error (error, link);
    caps->tcg = tcg != NULL;
    caps->kvm = is_kvm_usable (caps->arch, kvm != NULL, &caps->kvm_reason);
    if (!vp_caps_xml_parse_domain (kvm ? kvm : tcg, &caps->emulator, error))
      return false;
  }
  request->result = g_steal_pointer (&caps);
  request->result_free = (GDestroyNotify) vp_host_caps_free;
  return true;
}

static bool
do_define (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (virDomain) domain = NULL;

  domain =
      virDomainDefineXMLFlags (link, request->xml, VIR_DOMAIN_DEFINE_VALIDATE);
  if (!domain && is_unknown_flag ())
    domain = virDomainDefineXML (link, request->xml);
  return domain || set_libvirt_error (error, link);
}

static bool
do_undefine (void *link, gpointer data, GError **error)
{
  static const unsigned flags[] = {
#if LIBVIR_CHECK_VERSION(8, 9, 0)
    VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_TPM,
#endif
    VIR_DOMAIN_UNDEFINE_KEEP_NVRAM,
    0,
  };
  Request *request = data;
  g_autoptr (virDomain) domain = look_up (link, request->name, error);

  if (!domain)
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS (flags); i++) {
    if (virDomainUndefineFlags (domain, flags[i]) == 0)
      return true;
    if (!is_unknown_flag ())
      break;
  }
  return set_libvirt_error (error, link);
}

/* The calls that are one libvirt call on one domain. */
static bool
on_domain (void *link, Request *request,
           int (*act) (virDomainPtr domain, const Request *request),
           GError **error)
{
  g_autoptr (virDomain) domain = look_up (link, request->name, error);

  if (!domain)
    return false;
  return act (domain, request) == 0 || set_libvirt_error (error, link);
}

static int
act_start (virDomainPtr domain, const Request *request)
{
  return virDomainCreate (domain);
}

static int
act_shutdown (virDomainPtr domain, const Request *request)
{
  /* No flag: the agent where there is one, else ACPI. */
  return virDomainShutdownFlags (domain, 0);
}

static int
act_destroy (virDomainPtr domain, const Request *request)
{
  return virDomainDestroy (domain);
}

static int
act_resume (virDomainPtr domain, const Request *request)
{
  return virDomainResume (domain);
}

static int
act_attach (virDomainPtr domain, const Request *request)
{
  return virDomainAttachDeviceFlags (domain, request->xml,
                                     scope_flags (request->scope));
}

static int
act_detach (virDomainPtr domain, const Request *request)
{
  return virDomainDetachDeviceFlags (domain, request->xml,
                                     scope_flags (request->scope));
}

/* The definition's maximum follows its size; a running guest moves within the
 * maximum that it was started with. */
static int
act_set_memory (virDomainPtr domain, const Request *request)
{
  unsigned long kib = (unsigned long) (request->number / 1024);

  if ((request->scope & VP_HOST_LIVE) &&
      virDomainSetMemoryFlags (domain, kib, VIR_DOMAIN_AFFECT_LIVE) != 0)
    return -1;
  if (!(request->scope & VP_HOST_CONFIG))
    return 0;
  if (virDomainSetMemoryFlags (
          domain, kib, VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_MEM_MAXIMUM) != 0)
    return -1;
  return virDomainSetMemoryFlags (domain, kib, VIR_DOMAIN_AFFECT_CONFIG);
}

static int
act_set_cpus (virDomainPtr domain, const Request *request)
{
  unsigned cpus = (unsigned) request->number;

  if ((request->scope & VP_HOST_LIVE) &&
      virDomainSetVcpusFlags (domain, cpus, VIR_DOMAIN_AFFECT_LIVE) != 0)
    return -1;
  if (!(request->scope & VP_HOST_CONFIG))
    return 0;
  if (virDomainSetVcpusFlags (domain, cpus,
                              VIR_DOMAIN_AFFECT_CONFIG |
                                  VIR_DOMAIN_VCPU_MAXIMUM) != 0)
    return -1;
  return virDomainSetVcpusFlags (domain, cpus, VIR_DOMAIN_AFFECT_CONFIG);
}

static int
act_grow_disk (virDomainPtr domain, const Request *request)
{
  return virDomainBlockResize (domain, request->target, request->number,
                               VIR_DOMAIN_BLOCK_RESIZE_BYTES);
}

static int
act_set_mark (virDomainPtr domain, const Request *request)
{
  return virDomainSetMetadata (domain, VIR_DOMAIN_METADATA_ELEMENT,
                               request->xml, request->xml ? "vprovd" : NULL,
                               VP_DOMAIN_XML_NAMESPACE,
                               scope_flags (request->scope));
}

#define DOMAIN_CALL(verb)                                                      \
  static bool do_##verb (void *link, gpointer data, GError **error)            \
  {                                                                            \
    return on_domain (link, data, act_##verb, error);                          \
  }

DOMAIN_CALL (start)
DOMAIN_CALL (shutdown)
DOMAIN_CALL (destroy)
DOMAIN_CALL (resume)
DOMAIN_CALL (attach)
DOMAIN_CALL (detach)
DOMAIN_CALL (set_memory)
DOMAIN_CALL (set_cpus)
DOMAIN_CALL (grow_disk)
DOMAIN_CALL (set_mark)

/* ---- VpHostOps: on the callers' threads ---- */

static Request *
request_new (const char *verb, const char *name, const char *xml,
             unsigned scope)
{
  Request *request = g_new0 (Request, 1);

  request->verb = verb;
  request->name = g_strdup (name);
  request->xml = g_strdup (xml);
  request->scope = scope;
  return request;
}

/* Takes request.  ret_result NULL: there is none. */
static bool
call (VpHost *host, bool look, VpLaneWork work, Request *request, bool is_long,
      gpointer *ret_result, GError **error)
{
  LibvirtHost *self = (LibvirtHost *) host;
  unsigned timeout_ms =
      is_long ? self->core->start_timeout_ms : self->core->call_timeout_ms;
  const char *verb = request->verb;
  g_autofree char *name = g_strdup (request->name);
  gpointer back;
  bool ok;

  ok = vp_lanes_call (look ? self->look : self->work, work, request,
                      request_free, timeout_ms, &back, error);
  if (!ok)
    g_prefix_error (error, "%s%s%s: ", verb, name ? " " : "", name ? name : "");
  if (ok && ret_result)
    *ret_result = g_steal_pointer (&((Request *) back)->result);
  if (back)
    request_free (back);
  return ok;
}

static void
host_free (VpHost *host)
{
  LibvirtHost *self = (LibvirtHost *) host;
  Core *core = self->core;

  core->listener = NULL;
  vp_lanes_free (self->work);
  vp_lanes_free (self->look);
  pthread_mutex_lock (&core->mutex);
  core->closing = true;
  pthread_cond_broadcast (&core->changed);
  pthread_mutex_unlock (&core->mutex);
  core_unref (core);
  g_free (self);
}

static const char *
host_uri (VpHost *host)
{
  return ((LibvirtHost *) host)->core->uri;
}

static bool
host_is_connected (VpHost *host)
{
  return ((LibvirtHost *) host)->core->connected;
}

static void
host_set_listener (VpHost *host, VpHostListener listener, gpointer user_data)
{
  Core *core = ((LibvirtHost *) host)->core;

  core->listener = listener;
  core->user_data = user_data;
  if (listener && core->connected)
    post (core, VP_HOST_EVENT_CONNECTED, NULL, "connected");
}

static VpHostCaps *
host_caps (VpHost *host, GError **error)
{
  gpointer caps = NULL;

  return call (host, true, do_caps, request_new ("caps", NULL, NULL, 0), false,
               &caps, error)
             ? caps
             : NULL;
}

static GPtrArray *
host_list (VpHost *host, GError **error)
{
  gpointer list = NULL;

  return call (host, true, do_list, request_new ("list", NULL, NULL, 0), false,
               &list, error)
             ? list
             : NULL;
}

static VpHostDomain *
host_get (VpHost *host, const char *name, GError **error)
{
  gpointer domain = NULL;

  return call (host, false, do_get, request_new ("get", name, NULL, 0), false,
               &domain, error)
             ? domain
             : NULL;
}

static bool
host_define (VpHost *host, const char *xml, GError **error)
{
  return call (host, false, do_define, request_new ("define", NULL, xml, 0),
               true, NULL, error);
}

static bool
host_undefine (VpHost *host, const char *name, GError **error)
{
  return call (host, false, do_undefine,
               request_new ("undefine", name, NULL, 0), false, NULL, error);
}

static bool
host_start (VpHost *host, const char *name, GError **error)
{
  return call (host, false, do_start, request_new ("start", name, NULL, 0),
               true, NULL, error);
}

static bool
host_shutdown (VpHost *host, const char *name, GError **error)
{
  return call (host, false, do_shutdown,
               request_new ("shut down", name, NULL, 0), false, NULL, error);
}

/* libvirt gives QEMU 15 s for SIGTERM and more for SIGKILL. */
static bool
host_destroy (VpHost *host, const char *name, GError **error)
{
  return call (host, false, do_destroy, request_new ("destroy", name, NULL, 0),
               true, NULL, error);
}

static bool
host_resume (VpHost *host, const char *name, GError **error)
{
  return call (host, false, do_resume, request_new ("resume", name, NULL, 0),
               false, NULL, error);
}

static bool
host_attach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return call (host, false, do_attach,
               request_new ("attach to", name, device_xml, scope), true, NULL,
               error);
}

static bool
host_detach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return call (host, false, do_detach,
               request_new ("detach from", name, device_xml, scope), true, NULL,
               error);
}

static bool
host_set_memory (VpHost *host, const char *name, uint64_t bytes, unsigned scope,
                 GError **error)
{
  Request *request = request_new ("set the memory of", name, NULL, scope);

  request->number = bytes;
  return call (host, false, do_set_memory, request, false, NULL, error);
}

static bool
host_set_cpus (VpHost *host, const char *name, unsigned cpus, unsigned scope,
               GError **error)
{
  Request *request = request_new ("set the CPUs of", name, NULL, scope);

  request->number = cpus;
  return call (host, false, do_set_cpus, request, false, NULL, error);
}

static bool
host_grow_disk (VpHost *host, const char *name, const char *target,
                uint64_t size, GError **error)
{
  Request *request = request_new ("grow a disk of", name, NULL, 0);

  request->target = g_strdup (target);
  request->number = size;
  return call (host, false, do_grow_disk, request, false, NULL, error);
}

static bool
host_set_mark (VpHost *host, const char *name, const VpMark *mark,
               unsigned scope, GError **error)
{
  g_autofree char *xml = mark ? vp_mark_to_xml (mark) : NULL;

  return call (host, false, do_set_mark, request_new ("mark", name, xml, scope),
               false, NULL, error);
}

static const VpHostOps libvirt_ops = {
  .free = host_free,
  .uri = host_uri,
  .is_connected = host_is_connected,
  .set_listener = host_set_listener,
  .caps = host_caps,
  .list = host_list,
  .get = host_get,
  .define = host_define,
  .undefine = host_undefine,
  .start = host_start,
  .shutdown = host_shutdown,
  .destroy = host_destroy,
  .resume = host_resume,
  .attach = host_attach,
  .detach = host_detach,
  .set_memory = host_set_memory,
  .set_cpus = host_set_cpus,
  .grow_disk = host_grow_disk,
  .set_mark = host_set_mark,
};

static Core *
core_new (const VpHostLibvirtConfig *config)
{
  Core *core = g_new0 (Core, 1);
  pthread_condattr_t attr;

  core->refs = 1;
  core->uri = g_strdup (config->uri);
  core->is_test = g_str_has_prefix (config->uri, "test:");
  core->call_timeout_ms =
      config->call_timeout_ms ? config->call_timeout_ms : 15000;
  core->start_timeout_ms =
      config->start_timeout_ms ? config->start_timeout_ms : 120000;
  core->signalled =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_queue_init (&core->inbox);
  pthread_mutex_init (&core->mutex, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&core->changed, &attr);
  pthread_condattr_destroy (&attr);
  return core;
}

VpHost *
vp_host_libvirt_new (const VpHostLibvirtConfig *config, GError **error)
{
  LibvirtHost *self;
  Core *core;

  virSetErrorFunc (NULL, be_silent);
  if (virInitialize () != 0 || virEventRegisterDefaultImpl () != 0) {
    (void) set_libvirt_error (error, NULL);
    return NULL;
  }
  core = core_new (config);
  if (!start_link (core, error)) {
    core_unref (core);
    return NULL;
  }
  self = g_new0 (LibvirtHost, 1);
  self->host.ops = &libvirt_ops;
  self->core = core;
  self->work = vp_lanes_new (&lane_ops, MAX_WORK_LANES, MAX_RETIRED,
                             core_ref (core), core_unref);
  self->look = vp_lanes_new (&lane_ops, MAX_LOOK_LANES, MAX_RETIRED,
                             core_ref (core), core_unref);
  return &self->host;
}
