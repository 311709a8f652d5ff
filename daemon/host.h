/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* host: what vprovd asks of a hypervisor.  host-libvirt is the true one;
 * tests have a fake that fails, is slow or loses the link on demand.
 *
 * Every call but the constructors, set_listener and is_connected blocks, for
 * job threads only, and keeps a deadline: VP_ERROR_TIMEOUT means that the
 * result is unknown and that the guest must be observed again.  A lost link
 * is VP_ERROR_LIBVIRT_UNAVAILABLE, what libvirt refuses is
 * VP_ERROR_LIBVIRT_FAILED with its own words, a domain that is not there
 * VP_ERROR_NO_SUCH_GUEST, one that another operation holds
 * VP_ERROR_GUEST_UNRESPONSIVE: then nothing was done. */
#pragma once

#include "daemon/state.h"

/* The ownership mark in a domain's metadata.  No mark: not ours, never
 * touched. */
typedef struct {
  char *guest;  /* the spec's name */
  char *digest; /* of what its definition was made from: vp_guest_digest () */
  char *fixed;  /* digest of what of it only a start can change */
  bool retired; /* its spec is gone; kept, not started */
} VpMark;

void vp_mark_free (VpMark *mark);

typedef struct {
  char *name;
  char *uuid;
  VpPower power;
  bool persistent;
  int id; /* the hypervisor's number while it runs, else -1 */
  /* It is off because the guest shut down, by itself or asked by ACPI; lost
   * when the hypervisor's daemon restarts, as libvirt does not keep it. */
  bool clean_shutdown;
  VpMark *mark;      /* in the persistent definition; NULL: not ours */
  VpMark *live_mark; /* in the running one; NULL when it does not run */
  char *xml;         /* the persistent definition */
  char *live_xml;    /* NULL when it does not run */
} VpHostDomain;

void vp_host_domain_free (VpHostDomain *domain);

typedef struct {
  bool kvm;         /* libvirt offers it and the processor has it: usable */
  char *kvm_reason; /* why not, in words, where kvm is false */
  bool tcg;
  bool test; /* libvirt's test driver: only domain type "test" */
  char *arch;
  char *machine;  /* the newest versioned machine: "pc-q35-7.2" */
  char *emulator; /* path, NULL with the test driver */
} VpHostCaps;

void vp_host_caps_free (VpHostCaps *caps);

typedef enum {
  VP_HOST_EVENT_CONNECTED,
  VP_HOST_EVENT_DISCONNECTED,
  VP_HOST_EVENT_DEFINED, /* or redefined */
  VP_HOST_EVENT_UNDEFINED,
  VP_HOST_EVENT_STARTED,
  VP_HOST_EVENT_SHUTDOWN_BY_GUEST, /* clean power-off from inside */
  VP_HOST_EVENT_STOPPED,           /* shut off in another way: by the host */
  VP_HOST_EVENT_CRASHED, /* comes twice where the guest panicked first */
  VP_HOST_EVENT_PAUSED,
  VP_HOST_EVENT_RESUMED,
} VpHostEvent;

/* On the main thread.  name and detail (libvirt's word for the reason) are
 * borrowed; name is NULL for CONNECTED and DISCONNECTED. */
typedef void (*VpHostListener) (VpHostEvent event, const char *name,
                                const char *detail, gpointer user_data);

typedef struct VpHost VpHost;

typedef enum {
  VP_HOST_LIVE = 1 << 0,   /* the running guest */
  VP_HOST_CONFIG = 1 << 1, /* the persistent definition */
} VpHostScope;

typedef struct {
  void (*free) (VpHost *host);
  const char *(*uri) (VpHost *host);   /* any thread */
  bool (*is_connected) (VpHost *host); /* main thread */
  /* Main thread.  A new listener is told CONNECTED where there is a link. */
  void (*set_listener) (VpHost *host, VpHostListener listener,
                        gpointer user_data);

  VpHostCaps *(*caps) (VpHost *host, GError **error);
  /* All domains, without xml and live_xml.  GPtrArray of VpHostDomain. */
  GPtrArray *(*list) (VpHost *host, GError **error);
  VpHostDomain *(*get) (VpHost *host, const char *name, GError **error);

  bool (*define) (VpHost *host, const char *xml, GError **error);
  /* Keeps NVRAM and TPM state. */
  bool (*undefine) (VpHost *host, const char *name, GError **error);
  bool (*start) (VpHost *host, const char *name, GError **error);
  /* Asks the guest (agent, else ACPI); returns when it was asked. */
  bool (*shutdown) (VpHost *host, const char *name, GError **error);
  /* Pulls the plug. */
  bool (*destroy) (VpHost *host, const char *name, GError **error);
  bool (*resume) (VpHost *host, const char *name, GError **error);
  bool (*attach) (VpHost *host, const char *name, const char *device_xml,
                  unsigned scope, GError **error);
  bool (*detach) (VpHost *host, const char *name, const char *device_xml,
                  unsigned scope, GError **error);
  /* CONFIG: the maximum follows.  LIVE: within the maximum at its start. */
  bool (*set_memory) (VpHost *host, const char *name, uint64_t bytes,
                      unsigned scope, GError **error);
  bool (*set_cpus) (VpHost *host, const char *name, unsigned cpus,
                    unsigned scope, GError **error);
  bool (*grow_disk) (VpHost *host, const char *name, const char *target,
                     uint64_t size, GError **error);
  /* mark NULL removes it. */
  bool (*set_mark) (VpHost *host, const char *name, const VpMark *mark,
                    unsigned scope, GError **error);
} VpHostOps;

/* The head of every implementation. */
struct VpHost {
  const VpHostOps *ops;
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpMark, vp_mark_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpHostDomain, vp_host_domain_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpHostCaps, vp_host_caps_free)
