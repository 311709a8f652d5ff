/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host: frees what a hypervisor's answers are made of.  All of them take
 * NULL and half-built structs. */
#include "config.h"

#include "daemon/host.h"

void
vp_mark_free (VpMark *mark)
{
  if (!mark)
    return;
  g_free (mark->guest);
  g_free (mark->digest);
  g_free (mark->fixed);
  g_free (mark);
}

void
vp_host_domain_free (VpHostDomain *domain)
{
  if (!domain)
    return;
  g_free (domain->name);
  g_free (domain->uuid);
  vp_mark_free (domain->mark);
  vp_mark_free (domain->live_mark);
  g_free (domain->xml);
  g_free (domain->live_xml);
  g_free (domain);
}

void
vp_host_caps_free (VpHostCaps *caps)
{
  if (!caps)
    return;
  g_free (caps->kvm_reason);
  g_free (caps->arch);
  g_free (caps->machine);
  g_free (caps->emulator);
  g_free (caps);
}
