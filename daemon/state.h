/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* state: what a guest is, as plain data.  The same type serves for the wanted
 * guest (from a spec) and the found one (from the hypervisor), so that a plan
 * is a comparison field by field.
 *
 * Nothing here does I/O.  Values are built once, then shared by reference and
 * not changed; whoever wants to change one makes a copy.  Strings are owned by
 * their struct; NULL means "not stated" (wanted) or "not there" (found). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "net/net.h"

/* Where in a file something was said.  file is owned by the problem or guest
 * that holds the place; line and column count from 1, 0 means unknown. */
typedef struct {
  unsigned line, column;
} VpPlace;

typedef enum { VP_SEVERITY_ERROR, VP_SEVERITY_WARNING } VpSeverity;

/* One thing wrong with a file, in a person's words. */
typedef struct {
  char *path;
  VpPlace place;
  VpSeverity severity;
  char *code;    /* a stable word: "xml", "unknown-element", "bad-value", ... */
  char *message; /* lower case, says what to do; no path, no line in it */
} VpProblem;

VpProblem *vp_problem_new (const char *path, VpPlace place, VpSeverity severity,
                           const char *code, const char *format, ...)
    G_GNUC_PRINTF (5, 6);
VpProblem *vp_problem_copy (const VpProblem *problem);
void vp_problem_free (VpProblem *problem);
/* "PATH:LINE:COLUMN: error: MESSAGE"; caller frees. */
char *vp_problem_to_string (const VpProblem *problem);
/* A GPtrArray of VpProblem that frees them. */
GPtrArray *vp_problems_new (void);
bool vp_problems_have_error (const GPtrArray *problems);

typedef enum {
  VP_POWER_UNKNOWN,
  VP_POWER_STOPPED, /* defined, shut off */
  VP_POWER_RUNNING,
  VP_POWER_PAUSED,
  VP_POWER_STOPPING,
  VP_POWER_CRASHED,
} VpPower;

typedef enum {
  VP_ACCEL_AUTO, /* wanted only */
  VP_ACCEL_KVM,
  VP_ACCEL_TCG,
  VP_ACCEL_TEST, /* libvirt's test driver, domain type "test" */
} VpAccel;

typedef struct {
  char *name;         /* the key within a guest */
  uint64_t size;      /* bytes; 0: not stated, as large as the base image */
  char *pool;         /* default "default" */
  char *format;       /* "qcow2" or "raw" */
  char *from;         /* name of a base image, or NULL */
  VpPlace place;      /* of the element */
  VpPlace from_place; /* of from= */

  /* Resolved from pool, images and record before a plan is made; a found
   * disk has them from the domain. */
  char *path;         /* the volume's file or device */
  char *backing_path; /* the base image's file, NULL without from */
  char *backing_format;
  char *target; /* "vda"; given by order, kept by the record */
  /* Found without an alias of ours: from a <libvirt> fragment, or attached
   * by others; also every disk of a whole <domain> file.  One that is not
   * wanted is reported, never detached. */
  bool foreign;
} VpDisk;

typedef struct {
  uint16_t first, last; /* host ports, inclusive; equal for a single one */
  uint16_t to_first, to_last; /* guest ports, as many */
  bool tcp, udp;
  VpPlace place;
} VpForward;

typedef struct {
  char *name;    /* the key within a guest; "nic0", "nic1" where not stated */
  char *network; /* one of network and bridge is set */
  char *bridge;  /* resolved: the bridge of the network */
  char *mac;     /* lower case; resolved from the record where not stated */
  char *address; /* as the spec says it: ".10" or a full IPv4 address */
  VpAddr ip;     /* resolved; family 0 where the bridge is foreign */
  GPtrArray *forwards; /* VpForward, never NULL */
  /* In a libvirt definition: the source network, which is libvirt's own and
   * none of ours; network is NULL then. */
  char *libvirt_network;
  bool foreign; /* as VpDisk.foreign */
  VpPlace place;
} VpNic;

/* <libvirt into= mode=>: XML of root's own, put into the domain as it is. */
typedef struct {
  char *into; /* domain, devices, features, os, cpu */
  char *mode; /* append, merge, replace */
  char *xml;  /* serialised children, without the <libvirt> element */
  VpPlace place;
} VpFragment;

typedef struct {
  grefcount ref_count;
  char *name;
  char *uuid; /* lower case; resolved from the record where not stated */
  char *description;
  VpPower power; /* wanted: RUNNING or STOPPED (state= in the spec) */
  VpAccel accel; /* found: never AUTO */
  unsigned cpus;
  uint64_t memory;   /* bytes */
  unsigned cpus_max; /* found: what it can grow to live; 0: not known */
  uint64_t memory_max;
  char *kernel, *initrd, *cmdline; /* direct kernel boot, or NULL */
  VpPlace kernel_place;            /* of the element */
  char *arch, *machine; /* "x86_64", "pc-q35-7.2"; pinned at first define */
  GPtrArray *disks;     /* VpDisk, never NULL */
  GPtrArray *nics;      /* VpNic, never NULL */
  GPtrArray *fragments; /* VpFragment, never NULL */

  /* A whole libvirt <domain> file: its text as root wrote it.  The typed
   * fields above are filled from it, for comparison; a definition is made
   * from this text. */
  char *domain_xml;

  char *source_path; /* the spec's file; NULL for a found guest */
  VpPlace place;     /* of the root element */
} VpGuest;

VpGuest *vp_guest_new (const char *name);
VpGuest *vp_guest_ref (VpGuest *guest);
void vp_guest_unref (VpGuest *guest);
/* A deep copy with one reference, free to be changed. */
VpGuest *vp_guest_copy (const VpGuest *guest);
/* sha256, in hex, of what a resolved guest's definition is made from; with
 * fixed_only of what of it only a start can change: all but the devices and
 * the description.  Speaks of the guest, not of the XML: an upgrade that
 * writes definitions differently changes no digest, and so touches no guest.
 * What is wanted of the networks, of power and of files is not in it.
 *
 * A field that comes later is counted only where it is stated.  Caller
 * frees. */
char *vp_guest_digest (const VpGuest *guest, bool fixed_only);
VpDisk *vp_disk_new (const char *name);
VpDisk *vp_disk_copy (const VpDisk *disk);
void vp_disk_free (VpDisk *disk);
VpNic *vp_nic_new (const char *name);
VpNic *vp_nic_copy (const VpNic *nic);
void vp_nic_free (VpNic *nic);
VpFragment *vp_fragment_copy (const VpFragment *fragment);
void vp_fragment_free (VpFragment *fragment);
/* Borrowed, or NULL. */
VpDisk *vp_guest_find_disk (const VpGuest *guest, const char *name);
VpNic *vp_guest_find_nic (const VpGuest *guest, const char *name);

/* "tcp 8080 -> 80", "udp 7000-7009"; caller frees. */
char *vp_forward_to_string (const VpForward *forward);

const char *vp_power_to_string (VpPower power);
bool vp_power_from_string (const char *text, VpPower *ret_power);
const char *vp_accel_to_string (VpAccel accel);
bool vp_accel_from_string (const char *text, VpAccel *ret_accel);

/* pools/NAME.xml */
typedef struct {
  char *name;
  char *path; /* a folder */
  char *source_path;
  VpPlace place;
} VpPoolSpec;

/* images/NAME.xml */
typedef struct {
  char *name;
  char *path;
  char *format; /* "qcow2" or "raw" */
  char *source_path;
  VpPlace place;
} VpImageSpec;

void vp_pool_spec_free (VpPoolSpec *pool);
VpPoolSpec *vp_pool_spec_copy (const VpPoolSpec *pool);
void vp_image_spec_free (VpImageSpec *image);
VpImageSpec *vp_image_spec_copy (const VpImageSpec *image);

/* [A-Za-z0-9][A-Za-z0-9._-]{0,62}: guests, disks, NICs, pools, networks. */
bool vp_name_is_valid (const char *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpGuest, vp_guest_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpDisk, vp_disk_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNic, vp_nic_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpFragment, vp_fragment_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpProblem, vp_problem_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpPoolSpec, vp_pool_spec_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpImageSpec, vp_image_spec_free)
