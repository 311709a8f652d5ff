/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt: libvirt as a VpHost.
 *
 * Three kinds of connections, so that nothing waits for a guest but who asked
 * for that guest:
 *
 *     the link      events alone, kept and opened anew by host-link
 *     look lanes    list and caps: never enter a guest's monitor
 *     work lanes    all that may: one call in flight on each
 *
 * Every call takes a copy of what it needs to its lane and gives its result
 * back in it: a call that comes back late finds nobody, and frees both.
 *
 * libvirt's events come from its own sources in the default GMainContext.
 * Its test driver is a world inside the connection (test:///FILE) that never
 * blocks: there all lanes share the link's. */
#include "config.h"

#include "daemon/host-libvirt.h"

#include "daemon/caps-xml.h"
#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/host-lane.h"
#include "daemon/host-libvirt-private.h"
#include "daemon/kvm.h"

#include <libvirt/virterror.h>

#include <unistd.h>

#define MAX_WORK_LANES       16
#define MAX_LOOK_LANES       2
#define MAX_RETIRED          8
#define CALL_TIMEOUT_MS      15000
#define START_TIMEOUT_MS     120000
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3

typedef struct {
  VpHost host;
  VpLink *link;
  const Libvirt *libvirt; /* the link's */
  VpLanes *work, *look;
  unsigned call_timeout_ms, start_timeout_ms;
} LibvirtHost;

static void
libvirt_free (gpointer data)
{
  Libvirt *libvirt = data;

  g_hash_table_unref (libvirt->signalled);
  g_free (libvirt->uri);
  g_free (libvirt);
}

/* ---- errors ---- */

/* virSetErrorFunc (): without one libvirt writes to stderr. */
static void
be_silent (void *user_data, virErrorPtr error)
{
}

bool
vp_libvirt_set_error (GError **error, virConnectPtr conn)
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

virConnectPtr
vp_libvirt_open (const char *uri, GError **error)
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

/* ---- the lanes' connections ---- */

static void
take_reference (void *connection)
{
  (void) virConnectRef (connection);
}

static void *
lane_open (gpointer user_data, GError **error)
{
  const Libvirt *libvirt = vp_link_get_data (user_data);
  virConnectPtr conn;

  if (!libvirt->is_test)
    return vp_libvirt_open (libvirt->uri, error);
  conn = vp_link_share (user_data, take_reference);
  if (!conn)
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE,
                 "libvirt: not connected to %s", libvirt->uri);
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

virDomainPtr
vp_libvirt_look_up (virConnectPtr conn, const char *name, GError **error)
{
  virDomainPtr domain = virDomainLookupByName (conn, name);

  if (!domain)
    (void) vp_libvirt_set_error (error, conn);
  return domain;
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
    return vp_libvirt_set_error (error, link);
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
      return vp_libvirt_set_error (error, link);
    caps->tcg = tcg != NULL;
    caps->kvm = is_kvm_usable (caps->arch, kvm != NULL, &caps->kvm_reason);
    if (!vp_caps_xml_parse_domain (kvm ? kvm : tcg, &caps->emulator, error))
      return false;
  }
  request->result = g_steal_pointer (&caps);
  request->result_free = (GDestroyNotify) vp_host_caps_free;
  return true;
}

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
call_on (VpLanes *lanes, unsigned timeout_ms, VpLaneWork work, Request *request,
         gpointer *ret_result, GError **error)
{
  const char *verb = request->verb;
  g_autofree char *name = g_strdup (request->name);
  gpointer back;
  bool ok;

  ok = vp_lanes_call (lanes, work, request, request_free, timeout_ms, &back,
                      error);
  if (!ok)
    g_prefix_error (error, "%s%s%s: ", verb, name ? " " : "", name ? name : "");
  if (ok && ret_result)
    *ret_result = g_steal_pointer (&((Request *) back)->result);
  if (back)
    request_free (back);
  return ok;
}

static gpointer
look (VpHost *host, VpLaneWork work, const char *verb, GError **error)
{
  LibvirtHost *self = (LibvirtHost *) host;
  gpointer result = NULL;

  (void) call_on (self->look, self->call_timeout_ms, work,
                  request_new (verb, NULL, NULL, 0), &result, error);
  return result;
}

/* For what answers at once. */
static bool
call (VpHost *host, VpLaneWork work, Request *request, GError **error)
{
  LibvirtHost *self = (LibvirtHost *) host;

  return call_on (self->work, self->call_timeout_ms, work, request, NULL,
                  error);
}

/* For what waits for QEMU. */
static bool
call_long (VpHost *host, VpLaneWork work, Request *request, GError **error)
{
  LibvirtHost *self = (LibvirtHost *) host;

  return call_on (self->work, self->start_timeout_ms, work, request, NULL,
                  error);
}

static void
host_free (VpHost *host)
{
  LibvirtHost *self = (LibvirtHost *) host;

  vp_lanes_free (self->work);
  vp_lanes_free (self->look);
  vp_link_close (self->link);
  g_free (self);
}

static const char *
host_uri (VpHost *host)
{
  return ((LibvirtHost *) host)->libvirt->uri;
}

static bool
host_is_connected (VpHost *host)
{
  return vp_link_is_connected (((LibvirtHost *) host)->link);
}

static void
host_set_listener (VpHost *host, VpHostListener listener, gpointer user_data)
{
  vp_link_set_listener (((LibvirtHost *) host)->link, listener, user_data);
}

static VpHostCaps *
host_caps (VpHost *host, GError **error)
{
  return look (host, do_caps, "caps", error);
}

static GPtrArray *
host_list (VpHost *host, GError **error)
{
  return look (host, vp_libvirt_list, "list", error);
}

static VpHostDomain *
host_get (VpHost *host, const char *name, GError **error)
{
  LibvirtHost *self = (LibvirtHost *) host;
  gpointer domain = NULL;

  (void) call_on (self->work, self->call_timeout_ms, vp_libvirt_get,
                  request_new ("get", name, NULL, 0), &domain, error);
  return domain;
}

static bool
host_define (VpHost *host, const char *xml, GError **error)
{
  return call_long (host, vp_libvirt_define,
                    request_new ("define", NULL, xml, 0), error);
}

#define NAME_CALL(verb, words, how)                                            \
  static bool host_##verb (VpHost *host, const char *name, GError **error)     \
  {                                                                            \
    return how (host, vp_libvirt_##verb, request_new (words, name, NULL, 0),   \
                error);                                                        \
  }

NAME_CALL (undefine, "undefine", call)
NAME_CALL (start, "start", call_long)
NAME_CALL (shutdown, "shut down", call)
NAME_CALL (destroy, "destroy", call_long) /* 15 s for SIGTERM, then SIGKILL */
NAME_CALL (resume, "resume", call)

static bool
host_attach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return call_long (host, vp_libvirt_attach,
                    request_new ("attach to", name, device_xml, scope), error);
}

static bool
host_detach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return call_long (host, vp_libvirt_detach,
                    request_new ("detach from", name, device_xml, scope),
                    error);
}

static bool
host_set_memory (VpHost *host, const char *name, uint64_t bytes, unsigned scope,
                 GError **error)
{
  Request *request = request_new ("set the memory of", name, NULL, scope);

  request->number = bytes;
  return call (host, vp_libvirt_set_memory, request, error);
}

static bool
host_set_cpus (VpHost *host, const char *name, unsigned cpus, unsigned scope,
               GError **error)
{
  Request *request = request_new ("set the CPUs of", name, NULL, scope);

  request->number = cpus;
  return call (host, vp_libvirt_set_cpus, request, error);
}

static bool
host_grow_disk (VpHost *host, const char *name, const char *target,
                uint64_t size, GError **error)
{
  Request *request = request_new ("grow a disk of", name, NULL, 0);

  request->target = g_strdup (target);
  request->number = size;
  return call (host, vp_libvirt_grow_disk, request, error);
}

static bool
host_set_mark (VpHost *host, const char *name, const VpMark *mark,
               unsigned scope, GError **error)
{
  g_autofree char *xml = mark ? vp_mark_to_xml (mark) : NULL;

  return call (host, vp_libvirt_set_mark,
               request_new ("mark", name, xml, scope), error);
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

VpHost *
vp_host_libvirt_new (const VpHostLibvirtConfig *config, GError **error)
{
  Libvirt *libvirt;
  LibvirtHost *self;
  VpLink *link;

  virSetErrorFunc (NULL, be_silent);
  if (virInitialize () != 0 || virEventRegisterDefaultImpl () != 0) {
    (void) vp_libvirt_set_error (error, NULL);
    return NULL;
  }
  libvirt = g_new0 (Libvirt, 1);
  libvirt->uri = g_strdup (config->uri);
  libvirt->is_test = g_str_has_prefix (config->uri, "test:");
  libvirt->signalled =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  link = vp_link_new (&vp_libvirt_link_ops, libvirt, libvirt_free, error);
  if (!link)
    return NULL;

  self = g_new0 (LibvirtHost, 1);
  self->host.ops = &libvirt_ops;
  self->link = link;
  self->libvirt = libvirt;
  self->call_timeout_ms =
      config->call_timeout_ms ? config->call_timeout_ms : CALL_TIMEOUT_MS;
  self->start_timeout_ms =
      config->start_timeout_ms ? config->start_timeout_ms : START_TIMEOUT_MS;
  self->work = vp_lanes_new (&lane_ops, MAX_WORK_LANES, MAX_RETIRED,
                             vp_link_ref (link), vp_link_unref);
  self->look = vp_lanes_new (&lane_ops, MAX_LOOK_LANES, MAX_RETIRED,
                             vp_link_ref (link), vp_link_unref);
  return &self->host;
}
