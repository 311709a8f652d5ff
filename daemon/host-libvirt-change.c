/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt-change: the calls that change a domain. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/host-libvirt-private.h"

#include <libvirt/virterror.h>

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

bool
vp_libvirt_define (void *link, gpointer data, GError **error)
{
  Request *request = data;
  g_autoptr (virDomain) domain = NULL;

  domain =
      virDomainDefineXMLFlags (link, request->xml, VIR_DOMAIN_DEFINE_VALIDATE);
  if (!domain && is_unknown_flag ())
    domain = virDomainDefineXML (link, request->xml);
  return domain || vp_libvirt_set_error (error, link);
}

bool
vp_libvirt_undefine (void *link, gpointer data, GError **error)
{
  static const unsigned flags[] = {
#if LIBVIR_CHECK_VERSION(8, 9, 0)
    VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_TPM,
#endif
    VIR_DOMAIN_UNDEFINE_KEEP_NVRAM,
    0,
  };
  Request *request = data;
  g_autoptr (virDomain) domain =
      vp_libvirt_look_up (link, request->name, error);

  if (!domain)
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS (flags); i++) {
    if (virDomainUndefineFlags (domain, flags[i]) == 0)
      return true;
    if (!is_unknown_flag ())
      break;
  }
  return vp_libvirt_set_error (error, link);
}

/* The calls that are one libvirt call on one domain. */
static bool
on_domain (void *link, Request *request,
           int (*act) (virDomainPtr domain, const Request *request),
           GError **error)
{
  g_autoptr (virDomain) domain =
      vp_libvirt_look_up (link, request->name, error);

  if (!domain)
    return false;
  return act (domain, request) == 0 || vp_libvirt_set_error (error, link);
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
  bool vp_libvirt_##verb (void *link, gpointer data, GError **error)           \
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
