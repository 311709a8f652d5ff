/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* test-net-plan: plans against a host in memory.  Every way between two
 * wanted states is cut short at every change; what is left must never have a
 * forward without its guards, and the next pass must come to the same end. */
#include "config.h"

#include "net/net-apply.h"
#include "tests/net/fake-host.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib/gstdio.h>

static const VpNetOps ops = { fake_host_observe, fake_host_change };

typedef struct {
  VpNetHostConfig config;
} Fixture;

static void
set_up (Fixture *fixture, gconstpointer data)
{
  fixture->config.runtime_dir = g_dir_make_tmp ("vprov-net-XXXXXX", NULL);
  fixture->config.state_dir = g_strdup ("/nowhere");
  g_assert_nonnull (fixture->config.runtime_dir);
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  g_autofree char *lock =
      g_build_filename (fixture->config.runtime_dir, "net.lock", NULL);

  (void) g_unlink (lock); /* only where a pass was made */
  g_assert_cmpint (g_rmdir (fixture->config.runtime_dir), ==, 0);
  g_free (fixture->config.runtime_dir);
  g_free (fixture->config.state_dir);
}

/* One fact per word list: "net NAME ADDRESS", "host NET GUEST MAC ADDRESS",
 * "fwd GUEST PORT NET TARGET". */
static VpNetWanted *
wanted_of (const char *text)
{
  VpNetWanted *wanted = vp_net_wanted_new ();
  g_auto (GStrv) lines = g_strsplit (text, ";", -1);

  for (char **line = lines; *line != NULL; line++) {
    g_auto (GStrv) word = g_strsplit (*line, " ", -1);

    if (g_strcmp0 (word[0], "net") == 0) {
      VpNet *net = vp_net_new (word[1]);
      g_assert_true (vp_cidr_parse (word[2], &net->address));
      g_ptr_array_add (wanted->nets, net);
    } else if (g_strcmp0 (word[0], "host") == 0) {
      VpMac mac;
      VpAddr addr;
      g_assert_true (vp_mac_parse (word[3], &mac));
      g_assert_true (vp_addr_parse (word[4], &addr));
      g_ptr_array_add (vp_net_wanted_find (wanted, word[1])->hosts,
                       vp_net_host_new (word[2], "nic0", &mac, &addr));
    } else if (g_strcmp0 (word[0], "fwd") == 0) {
      g_autofree char *id = g_strdup_printf ("tcp:%s", word[2]);
      VpNetForward *forward = vp_net_forward_new (word[1], id);
      forward->first = (uint16_t) g_ascii_strtoull (word[2], NULL, 10);
      forward->last = forward->to_first = forward->to_last = forward->first;
      forward->network = g_strdup (word[3]);
      g_assert_true (vp_addr_parse (word[4], &forward->target));
      g_ptr_array_add (wanted->forwards, forward);
    }
  }
  return wanted;
}

static const char *const states[] = {
  "",
  "net a 10.1.0.1/24",
  "net a 10.1.0.1/24;host a web 52:54:00:00:00:01 10.1.0.5;"
  "fwd web 80 a 10.1.0.5",
  "net a 10.1.0.1/24;host a web 52:54:00:00:00:01 10.1.0.6;"
  "fwd web 80 a 10.1.0.6;fwd web 81 a 10.1.0.6",
  "net b 10.2.0.1/24;host b web 52:54:00:00:00:01 10.2.0.5;"
  "fwd web 80 b 10.2.0.5",
  "net a 10.3.0.1/24;host a web 52:54:00:00:00:01 10.3.0.5;"
  "fwd web 80 a 10.3.0.5;net b 10.2.0.1/24;fwd db 90 b 10.2.0.9",
};

static bool
has_rule (const FakeHost *host, VpTableId id, const char *chain_name,
          const char *rule)
{
  const VpChain *chain = vp_tables_chain (host->now->tables, id, chain_name);
  return chain != NULL && g_ptr_array_find_with_equal_func (chain->rules, rule,
                                                            g_str_equal, NULL);
}

/* Where packets can reach the tries at all, every forward's network has its
 * guards; and while we hold ip_forward on, others' traffic stays shut. */
static void
assert_guarded (FakeHost *host)
{
  g_autoptr (GPtrArray) rules = vp_forward_rules (host->now->tables);
  const char *forwarding =
      g_hash_table_lookup (host->now->sysctls, "net/ipv4/ip_forward");

  for (guint i = 0; i < rules->len; i++) {
    const VpForwardRule *rule = rules->pdata[i];
    VpCidr net = { rule->target, 24 };
    g_autofree char *prefix = NULL, *raw = NULL;
    const char *bridge = rule->target.bytes[1] == 2 ? "vp-b" : "vp-a";
    g_autofree char *fwd = g_strdup_printf ("-o %s -j DROP", bridge);

    net.addr = vp_cidr_network (&net);
    prefix = vp_cidr_to_string (&net);
    raw = g_strdup_printf ("-d %s ! -i %s -j DROP", prefix, bridge);
    g_assert_true (has_rule (host, VP_TABLE_RAW, "VPROV-RAW", raw));
    g_assert_true (
        has_rule (host, VP_TABLE_RAW, "VPROV-RAW", "-d 127.0.0.0/8 -j DROP"));
    g_assert_true (has_rule (host, VP_TABLE_FILTER, "VPROV-FWD", fwd));
  }
  if (strcmp (forwarding, "1") == 0)
    g_assert_true (
        has_rule (host, VP_TABLE_FILTER, "FORWARD",
                  "-m comment --comment \"vprov:jump\" -j VPROV-END"));
}

static VpNetReport *
apply (Fixture *fixture, FakeHost *host, const char *text, GError **error)
{
  g_autoptr (VpNetWanted) wanted = wanted_of (text);
  return vp_net_apply_with (&ops, host, &fixture->config, wanted, false, error);
}

static void
assert_apply (Fixture *fixture, FakeHost *host, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetReport) report = apply (fixture, host, text, &error);

  g_assert_no_error (error);
  g_assert_nonnull (report);
}

static void
test_settles (Fixture *fixture, gconstpointer data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (states); i++) {
    g_autoptr (FakeHost) host = fake_host_new ();
    g_autoptr (VpNetReport) again = NULL;
    g_autofree char *before = fake_host_to_string (host), *after = NULL;

    host->after = assert_guarded;
    assert_apply (fixture, host, states[i]);
    again = apply (fixture, host, states[i], NULL);
    g_assert_cmpuint (again->writes, ==, 0);
    g_assert_cmpuint (again->steps->len, ==, 0);
    for (guint f = 0; f < again->forwards->len; f++)
      g_assert_cmpint (((VpForwardStatus *) again->forwards->pdata[f])->state,
                       ==, VP_FORWARD_ACTIVE);
    assert_apply (fixture, host, "");
    after = fake_host_to_string (host);
    g_assert_cmpstr (before, ==, after);
  }
}

static const VpNetStep *
find_step (const VpNetReport *report, const char *words)
{
  for (guint i = 0; i < report->steps->len; i++) {
    const VpNetStep *step = report->steps->pdata[i];
    if (g_strcmp0 (step->words, words) == 0)
      return step;
  }
  return NULL;
}

/* A port that goes to another guest under the same id is two steps, and each
 * says whose. */
static void
test_handed_over (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();
  g_autoptr (VpNetReport) report = NULL;
  const VpNetStep *close, *open;

  assert_apply (fixture, host, "net a 10.1.0.1/24;fwd web 80 a 10.1.0.10");
  report =
      apply (fixture, host, "net a 10.1.0.1/24;fwd db 80 a 10.1.0.10", NULL);
  g_assert_nonnull (report);
  close = find_step (report, "close forward tcp:80 of guest web");
  open = find_step (report, "forward tcp 80 to 10.1.0.10:80");
  g_assert_nonnull (close);
  g_assert_cmpstr (close->guest, ==, "web");
  g_assert_nonnull (open);
  g_assert_cmpstr (open->guest, ==, "db");
}

/* Cut short at every change between every two states. */
static void
test_cut_short (Fixture *fixture, gconstpointer data)
{
  for (gsize from = 0; from < G_N_ELEMENTS (states); from++)
    for (gsize to = 0; to < G_N_ELEMENTS (states); to++) {
      g_autofree char *end = NULL;
      int faults = 0;

      for (int n = 0;; n++) {
        g_autoptr (FakeHost) host = fake_host_new ();
        g_autoptr (VpNetReport) report = NULL;
        g_autofree char *text = NULL, *nothing = NULL, *left = NULL;
        bool cut;

        nothing = fake_host_to_string (host);
        host->after = assert_guarded;
        assert_apply (fixture, host, states[from]);
        host->left = n;
        report = apply (fixture, host, states[to], NULL);
        cut = report == NULL;
        host->left = -1;
        assert_apply (fixture, host, states[to]);
        text = fake_host_to_string (host);
        assert_apply (fixture, host, "");
        left = fake_host_to_string (host);
        g_assert_cmpstr (nothing, ==, left);
        if (end == NULL)
          end = g_strdup (text);
        g_assert_cmpstr (end, ==, text);
        if (!cut)
          break;
        faults++;
      }
      if (from != to)
        g_assert_cmpint (faults, >, 1);
    }
}

static void
test_dry_run (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();
  g_autofree char *before = fake_host_to_string (host), *after = NULL;
  g_autoptr (VpNetWanted) wanted = wanted_of (states[2]);
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetReport) report =
      vp_net_apply_with (&ops, host, &fixture->config, wanted, true, &error);
  const VpForwardStatus *status;

  g_assert_no_error (error);
  after = fake_host_to_string (host);
  g_assert_cmpstr (before, ==, after);
  g_assert_false (report->applied);
  g_assert_cmpuint (report->writes, ==, 0);
  g_assert_cmpuint (report->steps->len, >, 3);
  status = report->forwards->pdata[0];
  g_assert_cmpint (status->state, ==, VP_FORWARD_PENDING);
  g_assert_nonnull (status->reason);
}

static void
test_not_ours (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();
  g_autoptr (GError) error = NULL;
  VpLink *link = g_new0 (VpLink, 1);

  /* A bridge of that name that does not bear our mark. */
  link->name = g_strdup ("vp-a");
  link->alias = g_strdup ("");
  link->bridge = true;
  link->addresses = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_ptr_array_add (host->now->links, link);
  g_assert_null (apply (fixture, host, states[1], &error));
  g_assert_error (error, VP_NET_ERROR, VP_NET_ERROR_OVERLAP);
  g_assert_cmpuint (host->n_changes, ==, 0);
  /* ... and it is not removed either. */
  assert_apply (fixture, host, "");
  g_assert_cmpuint (host->now->links->len, ==, 1);
}

static void
test_networks_that_cannot_be (Fixture *fixture, gconstpointer data)
{
  static const struct {
    const char *text;
    int code;
  } cases[] = {
    { "net a 10.1.0.1/24;net b 10.1.0.129/25", VP_NET_ERROR_OVERLAP },
    { "net a 10.1.0.1/24;net a 10.2.0.1/24", VP_NET_ERROR_OVERLAP },
    { "net a 10.1.0.1/31", VP_NET_ERROR_ADDRESS },
    { "net a fd00::1/64", VP_NET_ERROR_ADDRESS },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (FakeHost) host = fake_host_new ();
    g_autoptr (GError) error = NULL;

    g_assert_null (apply (fixture, host, cases[i].text, &error));
    g_assert_error (error, VP_NET_ERROR, cases[i].code);
    g_assert_cmpuint (host->n_changes, ==, 0);
  }
}

static void
test_forwarding_of_others (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();

  /* It was on before us: nothing is closed, nothing is put back. */
  g_hash_table_replace (host->now->sysctls, g_strdup ("net/ipv4/ip_forward"),
                        g_strdup ("1"));
  assert_apply (fixture, host, states[2]);
  g_assert_null (
      vp_tables_chain (host->now->tables, VP_TABLE_FILTER, "VPROV-END"));
  assert_apply (fixture, host, "");
  g_assert_cmpstr (
      g_hash_table_lookup (host->now->sysctls, "net/ipv4/ip_forward"), ==, "1");
}

static void
test_warnings (Fixture *fixture, gconstpointer data)
{
  static const char *const text =
      "net a 10.1.0.1/24;host a web 52:54:00:00:00:01 10.1.0.5;"
      "host a twin 52:54:00:00:00:02 10.1.0.5;"
      "host a copy 52:54:00:00:00:01 10.1.0.6;"
      "host a far 52:54:00:00:00:04 10.2.0.5;"
      "host a host 52:54:00:00:00:05 10.1.0.1";
  static const char *const words[] = { "guest twin: its address",
                                       "guest copy: its MAC",
                                       "guest far: 10.2.0.5",
                                       "guest host: 10.1.0.1" };
  g_autoptr (FakeHost) host = fake_host_new ();
  g_autoptr (VpNetReport) report = apply (fixture, host, text, NULL);
  const VpDnsmasqFound *found = host->now->dnsmasq->pdata[0];

  g_assert_cmpuint (report->warnings->len, ==, G_N_ELEMENTS (words));
  for (guint i = 0; i < report->warnings->len; i++)
    g_assert_nonnull (strstr (report->warnings->pdata[i], words[i]));
  g_assert_cmpuint (g_hash_table_size (found->hosts), ==, 1);
}

static void
test_user_chain (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();
  g_autoptr (VpNetReport) report = NULL;
  VpChain *chain;

  assert_apply (fixture, host, states[2]);
  chain = vp_tables_chain (host->now->tables, VP_TABLE_FILTER, "VPROV-USER");
  vp_chain_add (chain, "-s 10.9.0.2/32 -j DROP");
  report = apply (fixture, host, states[2], NULL);
  g_assert_cmpuint (report->writes, ==, 0);
  assert_apply (fixture, host, states[3]);
  g_assert_cmpuint (chain->rules->len, ==, 1);
}

static void
test_hairpin (Fixture *fixture, gconstpointer data)
{
  g_autoptr (FakeHost) host = fake_host_new ();
  VpLink *port = g_new0 (VpLink, 1);

  g_hash_table_replace (host->now->sysctls,
                        g_strdup ("net/bridge/bridge-nf-call-iptables"),
                        g_strdup ("0"));
  assert_apply (fixture, host, states[2]);
  port->name = g_strdup ("vnet0");
  port->alias = g_strdup ("");
  port->addresses = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  port->master = vp_links_find (host->now->links, "vp-a")->index;
  g_ptr_array_add (host->now->links, port);
  assert_apply (fixture, host, states[2]);
  g_assert_false (port->hairpin);
  g_hash_table_replace (host->now->sysctls,
                        g_strdup ("net/bridge/bridge-nf-call-iptables"),
                        g_strdup ("1"));
  assert_apply (fixture, host, states[2]);
  g_assert_true (port->hairpin);
}

int
main (int argc, char **argv)
{
  static const struct {
    const char *path;
    void (*test) (Fixture *, gconstpointer);
  } tests[] = {
    { "/net-plan/settles", test_settles },
    { "/net-plan/handed-over", test_handed_over },
    { "/net-plan/cut-short", test_cut_short },
    { "/net-plan/dry-run", test_dry_run },
    { "/net-plan/not-ours", test_not_ours },
    { "/net-plan/networks-that-cannot-be", test_networks_that_cannot_be },
    { "/net-plan/forwarding-of-others", test_forwarding_of_others },
    { "/net-plan/user-chain", test_user_chain },
    { "/net-plan/hairpin", test_hairpin },
    { "/net-plan/warnings", test_warnings },
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
  return g_test_run ();
}
