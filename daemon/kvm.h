/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* kvm: may a guest run under KVM here?  A device /dev/kvm alone proves
 * nothing: under some software KVMs it opens and a Linux kernel then hangs.
 * Pure; the caller has looked. */
#pragma once

#include <stdbool.h>

#include <glib.h>

typedef struct {
  const char *arch;    /* libvirt's name, "x86_64" */
  bool offered;        /* libvirt's domain capabilities have type kvm */
  bool device;         /* /dev/kvm is there */
  const char *cpuinfo; /* the text of /proc/cpuinfo, NULL where unreadable */
} VpKvmEvidence;

/* ret_reason: why not, in words; NULL where it is usable.  Caller frees. */
bool vp_kvm_is_usable (const VpKvmEvidence *evidence, char **ret_reason);
