/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* addr: addresses, prefixes and MACs as values.
 *
 * All arithmetic is done on the bytes in network order, so that IPv4 and IPv6
 * take the same path and differ in nothing but their length.  Bytes beyond
 * the family's length are always zero: equality is a memcmp. */
#include "config.h"

#include "net/addr.h"

#include <arpa/inet.h>
#include <string.h>

static unsigned
family_bits (int family)
{
  return family == AF_INET6 ? 128 : family == AF_INET ? 32 : 0;
}

bool
vp_addr_parse (const char *text, VpAddr *ret_addr)
{
  VpAddr addr = { 0 };

  g_return_val_if_fail (text != NULL, false);
  if (inet_pton (AF_INET, text, addr.bytes) == 1)
    addr.family = AF_INET;
  else if (inet_pton (AF_INET6, text, addr.bytes) == 1)
    addr.family = AF_INET6;
  else
    return false;
  *ret_addr = addr;
  return true;
}

char *
vp_addr_to_string (const VpAddr *addr)
{
  char text[INET6_ADDRSTRLEN];

  if (addr->family == 0 ||
      inet_ntop (addr->family, addr->bytes, text, sizeof text) == NULL)
    return g_strdup ("none");
  return g_strdup (text);
}

int
vp_addr_compare (const VpAddr *a, const VpAddr *b)
{
  if (a->family != b->family)
    return a->family < b->family ? -1 : 1;
  return memcmp (a->bytes, b->bytes, family_bits (a->family) / 8);
}

bool
vp_addr_equal (const VpAddr *a, const VpAddr *b)
{
  return vp_addr_compare (a, b) == 0;
}

bool
vp_addr_add (const VpAddr *addr, int64_t n, VpAddr *ret_addr)
{
  VpAddr sum = *addr;
  int64_t carry = n;

  /* Base 256, from the last byte; an arithmetic shift keeps the sign. */
  for (unsigned i = family_bits (addr->family) / 8; i-- > 0 && carry != 0;) {
    int64_t digit = (int64_t) sum.bytes[i] + (carry & 0xff);
    sum.bytes[i] = (uint8_t) (digit & 0xff);
    carry = (carry >> 8) + (digit >> 8);
  }
  if (carry != 0 || addr->family == 0)
    return false;
  *ret_addr = sum;
  return true;
}

bool
vp_cidr_parse (const char *text, VpCidr *ret_cidr)
{
  const char *slash = strchr (text, '/');
  g_autofree char *addr_text = NULL;
  VpCidr cidr = { 0 };
  guint64 prefix;

  if (slash == NULL)
    return false;
  addr_text = g_strndup (text, (gsize) (slash - text));
  if (!vp_addr_parse (addr_text, &cidr.addr))
    return false;
  if (!g_ascii_string_to_unsigned (
          slash + 1, 10, 0, family_bits (cidr.addr.family), &prefix, NULL))
    return false;
  cidr.prefix = (unsigned) prefix;
  *ret_cidr = cidr;
  return true;
}

char *
vp_cidr_to_string (const VpCidr *cidr)
{
  g_autofree char *addr = vp_addr_to_string (&cidr->addr);
  return g_strdup_printf ("%s/%u", addr, cidr->prefix);
}

/* The address with all bits behind the prefix cleared or set. */
static VpAddr
with_host_bits (const VpCidr *cidr, bool set)
{
  VpAddr addr = cidr->addr;

  for (unsigned bit = cidr->prefix; bit < family_bits (addr.family); bit++) {
    uint8_t mask = (uint8_t) (0x80u >> (bit % 8));
    if (set)
      addr.bytes[bit / 8] |= mask;
    else
      addr.bytes[bit / 8] &= (uint8_t) ~mask;
  }
  return addr;
}

VpAddr
vp_cidr_network (const VpCidr *cidr)
{
  return with_host_bits (cidr, false);
}

VpAddr
vp_cidr_broadcast (const VpCidr *cidr)
{
  return with_host_bits (cidr, true);
}

bool
vp_cidr_contains (const VpCidr *cidr, const VpAddr *addr)
{
  VpCidr other = { *addr, cidr->prefix };
  VpAddr a, b;

  if (addr->family != cidr->addr.family || addr->family == 0)
    return false;
  a = vp_cidr_network (cidr);
  b = vp_cidr_network (&other);
  return vp_addr_equal (&a, &b);
}

bool
vp_cidr_overlaps (const VpCidr *a, const VpCidr *b)
{
  return a->prefix <= b->prefix ? vp_cidr_contains (a, &b->addr)
                                : vp_cidr_contains (b, &a->addr);
}

bool
vp_cidr_complete (const VpCidr *cidr, const char *text, VpAddr *ret_addr)
{
  VpAddr addr = vp_cidr_network (cidr);
  g_auto (GStrv) numbers = NULL;
  unsigned n, most;

  if (text[0] != '.')
    return vp_addr_parse (text, ret_addr);
  if (cidr->addr.family != AF_INET)
    return false;
  numbers = g_strsplit (text + 1, ".", -1);
  n = g_strv_length (numbers);
  most = (32 - cidr->prefix + 7) / 8;
  if (n == 0 || n > most)
    return false;
  for (unsigned i = 0; i < n; i++) {
    guint64 value;
    unsigned at = 4 - n + i;

    if (!g_ascii_string_to_unsigned (numbers[i], 10, 0, 255, &value, NULL))
      return false;
    addr.bytes[at] = (uint8_t) value;
  }
  if (!vp_cidr_contains (cidr, &addr))
    return false;
  *ret_addr = addr;
  return true;
}

bool
vp_mac_parse (const char *text, VpMac *ret_mac)
{
  VpMac mac = { { 0 } };

  if (strlen (text) != 17)
    return false;
  for (unsigned i = 0; i < 6; i++) {
    int high = g_ascii_xdigit_value (text[3 * i]);
    int low = g_ascii_xdigit_value (text[3 * i + 1]);

    if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
      return false;
    mac.bytes[i] = (uint8_t) (high * 16 + low);
  }
  *ret_mac = mac;
  return true;
}

char *
vp_mac_to_string (const VpMac *mac)
{
  const uint8_t *b = mac->bytes;
  return g_strdup_printf ("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2],
                          b[3], b[4], b[5]);
}
