/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt-domain: what libvirt knows of domains, read into VpHostDomain:
 * its state and our mark for all of them, the XML too for one. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/host-libvirt-private.h"

#include <string.h>

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
    (void) vp_libvirt_set_error (error, conn);
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

bool
vp_libvirt_list (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (GPtrArray) list =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_host_domain_free);
  virDomainPtr *domains = NULL;
  int n = virConnectListAllDomains (link, &domains, 0);
  bool ok = true;

  if (n < 0)
    return vp_libvirt_set_error (error, link);
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

bool
vp_libvirt_get (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (virDomain) domain =
      vp_libvirt_look_up (link, request->name, error);
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
    return vp_libvirt_set_error (error, link);
  result->xml = g_strdup (xml);
  if (result->id >= 0) {
    live_xml = virDomainGetXMLDesc (domain, 0);
    if (!live_xml)
      return vp_libvirt_set_error (error, link);
    result->live_xml = g_strdup (live_xml);
  }
  request->result = g_steal_pointer (&result);
  request->result_free = (GDestroyNotify) vp_host_domain_free;
  return true;
}
