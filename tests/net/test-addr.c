/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* test-addr: addresses, prefixes, MACs; and the choices of net.c. */
#include "config.h"

#include "net/addr.h"
#include "net/net.h"

#include <string.h>
#include <sys/socket.h>

static VpAddr
addr (const char *text)
{
  VpAddr value = { 0 };
  g_assert_true (vp_addr_parse (text, &value));
  return value;
}

static VpCidr
cidr (const char *text)
{
  VpCidr value = { 0 };
  g_assert_true (vp_cidr_parse (text, &value));
  return value;
}

static void
assert_addr (const VpAddr *value, const char *text)
{
  g_autofree char *got = vp_addr_to_string (value);
  g_assert_cmpstr (got, ==, text);
}

static void
test_parse (void)
{
  static const char *const bad[] = { "",          "1.2.3",    "1.2.3.4.5",
                                     "256.1.1.1", "1.2.3.4 ", "host",
                                     "fe80::1%lo" };
  static const char *const bad_cidrs[] = {
    "1.2.3.4", "1.2.3.4/", "1.2.3.4/33", "::/129", "/8", "1.2.3.4/-1"
  };
  static const char *const bad_macs[] = { "", "52:54:00:00:00", "52-54-00-0-0",
                                          "52:54:00:00:00:0g",
                                          "52:54:00:00:00:000" };
  VpAddr value;
  VpCidr prefix;
  VpMac mac;
  g_autofree char *text = NULL;

  value = addr ("192.168.211.10");
  assert_addr (&value, "192.168.211.10");
  value = addr ("fd00::1");
  g_assert_cmpint (value.family, ==, AF_INET6);
  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_false (vp_addr_parse (bad[i], &value));
  for (gsize i = 0; i < G_N_ELEMENTS (bad_cidrs); i++)
    g_assert_false (vp_cidr_parse (bad_cidrs[i], &prefix));
  for (gsize i = 0; i < G_N_ELEMENTS (bad_macs); i++)
    g_assert_false (vp_mac_parse (bad_macs[i], &mac));
  g_assert_true (vp_mac_parse ("52:54:00:AB:cd:0f", &mac));
  text = vp_mac_to_string (&mac);
  g_assert_cmpstr (text, ==, "52:54:00:ab:cd:0f");
}

static void
test_add (void)
{
  static const struct {
    const char *from;
    int64_t n;
    const char *to; /* NULL: wraps */
  } cases[] = {
    { "10.0.0.255", 1, "10.0.1.0" },
    { "10.0.1.0", -1, "10.0.0.255" },
    { "10.0.0.0", 65536 + 255, "10.1.0.255" },
    { "255.255.255.255", 1, NULL },
    { "0.0.0.0", -1, NULL },
    { "0.0.0.0", 4294967295, "255.255.255.255" },
    { "0.0.0.0", 4294967296, NULL },
    { "10.0.0.5", 0, "10.0.0.5" },
    { "fd00::ffff:ffff", 1, "fd00::1:0:0" },
    { "fd00::1:0:0", -1, "fd00::ffff:ffff" },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    VpAddr from = addr (cases[i].from), to;
    bool done = vp_addr_add (&from, cases[i].n, &to);

    g_assert_cmpint (done, ==, cases[i].to != NULL);
    if (done)
      assert_addr (&to, cases[i].to);
  }
}

static void
test_cidr (void)
{
  VpCidr net = cidr ("192.168.211.1/24"), wide = cidr ("192.168.0.0/16");
  VpCidr odd = cidr ("10.1.2.3/20"), all = cidr ("0.0.0.0/0");
  VpCidr other = cidr ("192.168.212.1/24"), six = cidr ("fd00::1/64");
  VpAddr value = vp_cidr_network (&odd);

  assert_addr (&value, "10.1.0.0");
  value = vp_cidr_broadcast (&odd);
  assert_addr (&value, "10.1.15.255");
  value = addr ("192.168.211.255");
  g_assert_true (vp_cidr_contains (&net, &value));
  g_assert_true (vp_cidr_contains (&all, &value));
  g_assert_false (vp_cidr_contains (&other, &value));
  g_assert_false (vp_cidr_contains (&six, &value));
  g_assert_true (vp_cidr_overlaps (&net, &wide));
  g_assert_true (vp_cidr_overlaps (&wide, &net));
  g_assert_false (vp_cidr_overlaps (&net, &other));
  g_assert_false (vp_cidr_overlaps (&net, &six));
  g_assert_true (vp_cidr_overlaps (&all, &net));
}

static void
test_complete (void)
{
  static const struct {
    const char *net, *text, *result; /* NULL: refused */
  } cases[] = {
    { "192.168.211.1/24", ".10", "192.168.211.10" },
    { "192.168.211.1/24", "10.0.0.1", "10.0.0.1" },
    { "192.168.211.1/24", ".1.10", NULL },
    { "192.168.211.1/24", ".256", NULL },
    { "192.168.211.1/24", ".", NULL },
    { "192.168.211.1/24", "10", NULL },
    { "192.168.211.1/24", ".1x", NULL },
    { "10.1.0.1/16", ".2.3", "10.1.2.3" },
    { "10.1.0.1/16", ".3", "10.1.0.3" },
    { "10.1.0.1/20", ".3.9", "10.1.3.9" },
    { "10.1.0.1/20", ".99.9", NULL },
    { "10.1.0.1/28", ".9", "10.1.0.9" },
    { "10.1.0.1/28", ".99", NULL },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    VpCidr net = cidr (cases[i].net);
    VpAddr value;
    bool done = vp_cidr_complete (&net, cases[i].text, &value);

    g_assert_cmpint (done, ==, cases[i].result != NULL);
    if (done)
      assert_addr (&value, cases[i].result);
  }
}

static void
test_choose_address (void)
{
  g_autoptr (GArray) taken = g_array_new (FALSE, FALSE, sizeof (VpAddr));
  g_autoptr (GError) error = NULL;
  VpCidr net = cidr ("10.0.0.3/29"), tiny = cidr ("10.0.0.1/31");
  /* .0 and .7 are no hosts, .3 is ours; behind it first. */
  static const char *const order[] = { "10.0.0.4", "10.0.0.5", "10.0.0.6",
                                       "10.0.0.1", "10.0.0.2" };
  VpAddr value;

  for (gsize i = 0; i < G_N_ELEMENTS (order); i++) {
    g_assert_true (vp_net_choose_address (&net, taken, &value, &error));
    assert_addr (&value, order[i]);
    g_array_append_val (taken, value);
  }
  g_assert_false (vp_net_choose_address (&net, taken, &value, &error));
  g_assert_error (error, VP_NET_ERROR, VP_NET_ERROR_EXHAUSTED);
  g_clear_error (&error);
  g_assert_false (vp_net_choose_address (&tiny, NULL, &value, &error));
  g_assert_error (error, VP_NET_ERROR, VP_NET_ERROR_EXHAUSTED);
}

static void
test_choose_prefix (void)
{
  g_autoptr (GArray) used = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_autoptr (GError) error = NULL;
  VpCidr value, one;
  g_autofree char *first = NULL, *second = NULL, *third = NULL;

  g_assert_true (vp_net_choose_prefix (NULL, &value, &error));
  first = vp_cidr_to_string (&value);
  g_assert_cmpstr (first, ==, "192.168.211.1/24");
  one = cidr ("192.168.211.77/32");
  g_array_append_val (used, one);
  one = cidr ("192.168.212.0/23");
  g_array_append_val (used, one);
  g_assert_true (vp_net_choose_prefix (used, &value, &error));
  second = vp_cidr_to_string (&value);
  g_assert_cmpstr (second, ==, "192.168.214.1/24");
  one = cidr ("192.168.0.0/16");
  g_array_append_val (used, one);
  g_assert_true (vp_net_choose_prefix (used, &value, &error));
  third = vp_cidr_to_string (&value);
  g_assert_cmpstr (third, ==, "172.29.0.1/24");
  one = cidr ("0.0.0.0/0");
  g_array_append_val (used, one);
  g_assert_false (vp_net_choose_prefix (used, &value, &error));
  g_assert_error (error, VP_NET_ERROR, VP_NET_ERROR_EXHAUSTED);
}

static void
test_bridge_name (void)
{
  static const char *const hashed[] = { "", "a-name-too-long", "with space",
                                        "sl/ash", "_2345678901a" };
  g_autofree char *plain = vp_net_bridge_name ("default");
  g_autofree char *longest = vp_net_bridge_name ("123456789012");
  VpMac a, b;

  g_assert_cmpstr (plain, ==, "vp-default");
  g_assert_cmpstr (longest, ==, "vp-123456789012");
  for (gsize i = 0; i < G_N_ELEMENTS (hashed); i++) {
    g_autofree char *name = vp_net_bridge_name (hashed[i]);
    g_assert_cmpuint (strlen (name), ==, 15);
    g_assert_true (g_str_has_prefix (name, "vp-_"));
  }
  a = vp_net_bridge_mac ("vp-default");
  b = vp_net_bridge_mac ("vp-other");
  g_assert_cmpmem (&a, 3, &b, 3);
  g_assert_cmpint (memcmp (&a, &b, sizeof a), !=, 0);
  /* Locally administered, not a group's. */
  g_assert_cmpuint (a.bytes[0] & 3, ==, 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/addr/parse", test_parse);
  g_test_add_func ("/addr/add", test_add);
  g_test_add_func ("/addr/cidr", test_cidr);
  g_test_add_func ("/addr/complete", test_complete);
  g_test_add_func ("/net/choose-address", test_choose_address);
  g_test_add_func ("/net/choose-prefix", test_choose_prefix);
  g_test_add_func ("/net/bridge-name", test_bridge_name);
  return g_test_run ();
}
