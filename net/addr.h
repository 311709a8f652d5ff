/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* addr: MAC and IP addresses and prefixes as values: parse, print, contain,
 * next.  Pure; no resolver, no netlink. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* family is AF_INET, AF_INET6, or 0 for "none"; bytes in network order, the
 * first four used for AF_INET. */
typedef struct {
  int family;
  uint8_t bytes[16];
} VpAddr;

typedef struct {
  VpAddr addr;     /* may have host bits: 192.168.211.1/24 */
  unsigned prefix; /* bits */
} VpCidr;

typedef struct {
  uint8_t bytes[6];
} VpMac;

bool vp_addr_parse (const char *text, VpAddr *ret_addr);
char *vp_addr_to_string (const VpAddr *addr); /* caller frees */
bool vp_addr_equal (const VpAddr *a, const VpAddr *b);
int vp_addr_compare (const VpAddr *a, const VpAddr *b);
/* The address n after (or before, n < 0) this one; false where it would wrap.
 */
bool vp_addr_add (const VpAddr *addr, int64_t n, VpAddr *ret_addr);

bool vp_cidr_parse (const char *text, VpCidr *ret_cidr);
char *vp_cidr_to_string (const VpCidr *cidr);
bool vp_cidr_contains (const VpCidr *cidr, const VpAddr *addr);
bool vp_cidr_overlaps (const VpCidr *a, const VpCidr *b);
/* Host bits cleared; and for IPv4 the broadcast address. */
VpAddr vp_cidr_network (const VpCidr *cidr);
VpAddr vp_cidr_broadcast (const VpCidr *cidr);
/* ".10" within 192.168.211.0/24 is 192.168.211.10: the trailing part of the
 * address, as many dotted numbers as the prefix leaves free at most; a full
 * address is taken as it is.  False where it is not an address. */
bool vp_cidr_complete (const VpCidr *cidr, const char *text, VpAddr *ret_addr);

bool vp_mac_parse (const char *text, VpMac *ret_mac);
char *vp_mac_to_string (const VpMac *mac); /* lower case, colons */
