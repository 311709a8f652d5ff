/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host-libvirt-private: the inside of host-libvirt, shared by its files. */
#pragma once

#include "daemon/host-libvirt.h"
#include "daemon/host-link.h"

#include <libvirt/libvirt.h>

#include <stdlib.h>

/* The link's data: lives as long as whoever may still look at it. */
typedef struct {
  char *uri;
  bool is_test;
  int callback_id;       /* of the events; the link's thread */
  GHashTable *signalled; /* domains whose QEMU a signal ends; main thread */
} Libvirt;

static inline void
vp_libvirt_domain_unref (virDomainPtr domain)
{
  if (domain)
    (void) virDomainFree (domain);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (virDomain, vp_libvirt_domain_unref)

static inline void
vp_libvirt_string_free (char **text)
{
  free (*text);
}

/* What libvirt allocates is malloc ()'s. */
#define auto_string __attribute__ ((cleanup (vp_libvirt_string_free))) char *

/* One call: the copy of all it needs that a lane is given, and its result. */
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

/* To be called on the thread and right after the call that failed.  conn may
 * be NULL.  Returns false. */
bool vp_libvirt_set_error (GError **error, virConnectPtr conn);
virConnectPtr vp_libvirt_open (const char *uri, GError **error);
/* Owned. */
virDomainPtr vp_libvirt_look_up (virConnectPtr conn, const char *name,
                                 GError **error);

/* host-libvirt-event.  The link's data is a Libvirt. */
extern const VpLinkOps vp_libvirt_link_ops;

/* host-libvirt-domain.  VpLaneWork; data is a Request. */
bool vp_libvirt_list (void *link, gpointer data, GError **error);
bool vp_libvirt_get (void *link, gpointer data, GError **error);

/* host-libvirt-change.  VpLaneWork; data is a Request. */
bool vp_libvirt_define (void *link, gpointer data, GError **error);
bool vp_libvirt_undefine (void *link, gpointer data, GError **error);
bool vp_libvirt_start (void *link, gpointer data, GError **error);
bool vp_libvirt_shutdown (void *link, gpointer data, GError **error);
bool vp_libvirt_destroy (void *link, gpointer data, GError **error);
bool vp_libvirt_resume (void *link, gpointer data, GError **error);
bool vp_libvirt_attach (void *link, gpointer data, GError **error);
bool vp_libvirt_detach (void *link, gpointer data, GError **error);
bool vp_libvirt_set_memory (void *link, gpointer data, GError **error);
bool vp_libvirt_set_cpus (void *link, gpointer data, GError **error);
bool vp_libvirt_grow_disk (void *link, gpointer data, GError **error);
bool vp_libvirt_set_mark (void *link, gpointer data, GError **error);
