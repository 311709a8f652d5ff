/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* test-forward-plan: chains against golden files; and every port of random
 * sets of forwards sent through the rendered chains by a small interpreter,
 * which must find the right guest or nobody. */
#include "config.h"

#include "net/forward-plan.h"

#include <string.h>
#include <sys/socket.h>

static VpNetWanted *
wanted_new (void)
{
  VpNetWanted *wanted = vp_net_wanted_new ();
  VpNet *nat = vp_net_new ("default"), *lone = vp_net_new ("lone");

  g_assert_true (vp_cidr_parse ("192.168.211.1/24", &nat->address));
  g_assert_true (vp_cidr_parse ("10.77.0.1/16", &lone->address));
  lone->kind = VP_NET_ISOLATED;
  g_ptr_array_add (wanted->nets, nat);
  g_ptr_array_add (wanted->nets, lone);
  return wanted;
}

static VpNetForward *
add (VpNetWanted *wanted, const char *guest, const char *id, bool udp,
     unsigned first, unsigned last, unsigned to, const char *target)
{
  VpNetForward *forward = vp_net_forward_new (guest, id);

  forward->udp = udp;
  forward->first = (uint16_t) first;
  forward->last = (uint16_t) last;
  forward->to_first = (uint16_t) to;
  forward->to_last = (uint16_t) (to + last - first);
  g_assert_true (vp_addr_parse (target, &forward->target));
  forward->network =
      g_strdup (g_str_has_prefix (target, "10.77.") ? "lone" : "default");
  g_ptr_array_add (wanted->forwards, forward);
  return forward;
}

static VpTables *
render (const VpNetWanted *wanted, const VpRenderOptions *options)
{
  g_autoptr (GPtrArray) chosen = NULL;
  g_autoptr (GPtrArray) status = NULL;

  vp_forward_plan_choose (wanted, NULL, NULL, &chosen, &status);
  return vp_forward_plan_render (wanted, chosen, options);
}

/* --- golden files ------------------------------------------------------ */

static void
assert_golden (const VpTables *tables, const char *name)
{
  g_autofree char *path =
      g_test_build_filename (G_TEST_DIST, "net", "golden", name, NULL);
  g_autofree char *text = vp_tables_to_string (tables);
  g_autofree char *golden = NULL;
  g_autoptr (GError) error = NULL;

  if (g_getenv ("VP_WRITE_GOLDEN") != NULL)
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
  g_file_get_contents (path, &golden, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (text, ==, golden);
}

static void
test_golden_small (void)
{
  g_autoptr (VpNetWanted) wanted = wanted_new ();
  g_autoptr (VpTables) closed = NULL, open = NULL;
  static const VpRenderOptions all = { true, true }, none = { false, false };

  add (wanted, "web", "tcp:8080", false, 8080, 8080, 80, "192.168.211.10");
  add (wanted, "web", "tcp:8100", false, 8100, 8110, 79, "192.168.211.10");
  add (wanted, "db", "udp:53", true, 53, 53, 53, "10.77.1.2");
  add (wanted, "db", "udp:90", true, 90, 99, 90, "10.77.1.2");
  closed = render (wanted, &all);
  assert_golden (closed, "closed.rules");
  open = render (wanted, &none);
  assert_golden (open, "open.rules");
}

static void
test_golden_trie (void)
{
  g_autoptr (VpNetWanted) wanted = wanted_new ();
  g_autoptr (VpTables) tables = NULL;
  static const VpRenderOptions none = { false, false };

  /* 70 single ports round a border of nodes, and a range over many nodes. */
  for (unsigned i = 0; i < 70; i++) {
    g_autofree char *id = g_strdup_printf ("tcp:%u", 0x1ff0 + i);
    add (wanted, "g", id, false, 0x1ff0 + i, 0x1ff0 + i, 1000 + i,
         "192.168.211.10");
  }
  add (wanted, "h", "tcp:range", false, 0x2100, 0x34ff, 0x2101,
       "192.168.211.11");
  tables = render (wanted, &none);
  assert_golden (tables, "trie.rules");
}

static void
test_nothing (void)
{
  g_autoptr (VpNetWanted) wanted = vp_net_wanted_new ();
  g_autoptr (VpTables) tables = NULL;
  g_autofree char *text = NULL;
  static const VpRenderOptions all = { true, true };

  tables = render (wanted, &all);
  text = vp_tables_to_string (tables);
  g_assert_cmpstr (text, ==, "");
}

/* --- every port -------------------------------------------------------- */

/* What a chain does with a packet to that port: the guest's address and port,
 * 0 for "returns".  Counts the rules that were looked at. */
static uint64_t
walk (const VpTables *tables, const char *name, const char *proto,
      unsigned port, unsigned *looked)
{
  const VpChain *chain = vp_tables_chain (tables, VP_TABLE_NAT, name);

  g_assert_nonnull (chain);
  for (guint i = 0; i < chain->rules->len; i++) {
    const char *rule = chain->rules->pdata[i];
    g_auto (GStrv) word = g_strsplit (rule, " ", -1);
    g_autoptr (VpForwardRule) forward = vp_forward_rule_parse (rule);
    unsigned first, last;
    char *colon;

    (*looked)++;
    g_assert_cmpstr (word[0], ==, "-p");
    if (strcmp (word[1], proto) != 0)
      continue;
    if (strcmp (word[2], "-g") == 0)
      return walk (tables, word[3], proto, port, looked);
    g_assert_cmpstr (word[2], ==, "-m");
    g_assert_cmpstr (word[3], ==, proto);
    g_assert_cmpstr (word[4], ==, "--dport");
    colon = strchr (word[5], ':');
    first = (unsigned) g_ascii_strtoull (word[5], NULL, 10);
    last = colon != NULL ? (unsigned) g_ascii_strtoull (colon + 1, NULL, 10)
                         : first;
    if (port < first || port > last)
      continue;
    if (strcmp (word[6], "-g") == 0)
      return walk (tables, word[7], proto, port, looked);
    g_assert_nonnull (forward);
    return ((uint64_t) forward->target.bytes[2] << 40) |
           ((uint64_t) forward->target.bytes[3] << 32) |
           (forward->to_first + port - first);
  }
  return 0;
}

static uint64_t
expected (const VpNetWanted *wanted, bool udp, unsigned port)
{
  for (guint i = 0; i < wanted->forwards->len; i++) {
    const VpNetForward *forward = wanted->forwards->pdata[i];
    if (forward->udp == udp && port >= forward->first && port <= forward->last)
      return ((uint64_t) forward->target.bytes[2] << 40) |
             ((uint64_t) forward->target.bytes[3] << 32) |
             (forward->to_first + port - forward->first);
  }
  return 0;
}

/* Whether the port before or behind it goes elsewhere. */
static bool
is_border (const uint64_t *want, unsigned port)
{
  uint64_t before = port > 0 ? want[port - 1] : 0;
  uint64_t behind = port < 65535 ? want[port + 1] : 0;

  if (want[port] == 0)
    return before != 0 || behind != 0;
  return before + 1 != want[port] || behind != want[port] + 1;
}

static void
assert_every_port (const VpNetWanted *wanted)
{
  static const VpRenderOptions none = { false, false };
  g_autoptr (VpTables) tables = render (wanted, &none);
  g_autofree uint64_t *want = g_new0 (uint64_t, 2 * 65536);
  GHashTableIter iter;
  gpointer value;

  for (unsigned udp = 0; udp < 2; udp++)
    for (guint i = 0; i < wanted->forwards->len; i++) {
      const VpNetForward *forward = wanted->forwards->pdata[i];
      for (unsigned port = forward->first;
           forward->udp == (udp != 0) && port <= forward->last; port++)
        want[udp * 65536 + port] = expected (wanted, udp != 0, port);
    }
  for (unsigned udp = 0; udp < 2; udp++)
    for (unsigned port = 0; port < 65536; port++) {
      unsigned looked = 0;
      uint64_t got = 0;

      /* All borders, and every thirteenth of the rest. */
      if (port % 13 != 0 && !is_border (want + udp * 65536, port))
        continue;
      got = walk (tables, "VPROV-PRE", udp ? "udp" : "tcp", port, &looked);
      g_assert_cmphex (got, ==, want[udp * 65536 + port]);
      g_assert_cmpuint (looked, <=, 2 + 4 * 16 + VP_TRIE_LEAF);
    }
  g_hash_table_iter_init (&iter, tables->table[VP_TABLE_NAT].chains);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpChain *chain = value;
    g_assert_cmpuint (chain->rules->len, <=, VP_TRIE_LEAF);
    g_assert_cmpuint (strlen (chain->name), <=, 28);
  }
}

static void
test_every_port (void)
{
  for (unsigned round = 0; round < 6; round++) {
    g_autoptr (VpNetWanted) wanted = wanted_new ();
    static const unsigned counts[] = { 1, 64, 65, 300, 1000, 3000 };
    unsigned port[2] = { 1, 1 };

    /* Upwards through the ports, with gaps: nothing overlaps. */
    for (unsigned i = 0; i < counts[round]; i++) {
      bool udp = g_test_rand_bit ();
      unsigned gap =
          (unsigned) g_test_rand_int_range (0, (int) (60000 / counts[round]));
      unsigned length = g_test_rand_int_range (0, 4) == 0
                            ? (unsigned) g_test_rand_int_range (
                                  1, (int) (50000 / counts[round] + 2))
                            : 1;
      unsigned first = port[udp] + gap;
      unsigned last = first + length - 1;
      g_autofree char *id = g_strdup_printf ("g%u:%u", i, first);
      g_autofree char *target =
          g_strdup_printf ("192.168.211.%d", g_test_rand_int_range (2, 255));

      if (last > 65535)
        continue;
      port[udp] = last + 1;
      add (wanted, "g", id, udp, first, last,
           (unsigned) g_test_rand_int_range (1, (int) (65536 - length)),
           target);
    }
    assert_every_port (wanted);
  }
}

static void
test_every_port_is_forwarded (void)
{
  g_autoptr (VpNetWanted) wanted = wanted_new ();

  add (wanted, "g", "all", false, 1, 65535, 1, "192.168.211.9");
  add (wanted, "g", "most", true, 1, 60000, 2, "192.168.211.9");
  assert_every_port (wanted);
}

static void
test_order_does_not_matter (void)
{
  g_autoptr (VpNetWanted) up = wanted_new (), down = wanted_new ();
  g_autoptr (VpTables) a = NULL, b = NULL;
  g_autofree char *text_a = NULL, *text_b = NULL;
  static const VpRenderOptions none = { false, false };

  for (unsigned i = 0; i < 500; i++) {
    g_autofree char *id_up = g_strdup_printf ("g:%u", i);
    g_autofree char *id_down = g_strdup_printf ("g:%u", 499 - i);

    add (up, "g", id_up, false, 100 + i * 7, 100 + i * 7, 80, "192.168.211.10");
    add (down, "g", id_down, false, 100 + (499 - i) * 7, 100 + (499 - i) * 7,
         80, "192.168.211.10");
  }
  a = render (up, &none);
  b = render (down, &none);
  text_a = vp_tables_to_string (a);
  text_b = vp_tables_to_string (b);
  g_assert_cmpstr (text_a, ==, text_b);
}

/* --- which can be ------------------------------------------------------ */

static void
assert_status (const GPtrArray *status, guint i, VpForwardState state,
               const char *words)
{
  const VpForwardStatus *one = status->pdata[i];

  g_assert_cmpint (one->state, ==, state);
  if (words == NULL)
    g_assert_null (one->reason);
  else
    g_assert_nonnull (strstr (one->reason, words));
}

static void
test_choose (void)
{
  g_autoptr (VpNetWanted) wanted = wanted_new ();
  g_autoptr (GPtrArray) chosen = NULL, status = NULL;
  VpNetForward *forward;

  add (wanted, "zoo", "zoo:1", false, 80, 80, 80, "192.168.211.10");
  add (wanted, "ape", "ape:2", false, 70, 90, 70, "192.168.211.11");
  add (wanted, "ape", "ape:1", false, 90, 90, 90, "192.168.211.11");
  add (wanted, "zoo", "zoo:2", true, 80, 80, 80, "192.168.211.10");
  forward = add (wanted, "bad", "b:1", false, 1, 1, 1, "192.168.1.1");
  forward = add (wanted, "bad", "b 2", false, 2, 2, 2, "192.168.211.11");
  forward = add (wanted, "bad", "b:3", false, 3, 3, 3, "192.168.211.11");
  forward->network[0] = 'D';
  forward = add (wanted, "bad", "b:4", false, 4, 4, 4, "192.168.211.1");
  forward = add (wanted, "bad", "b:5", false, 5, 5, 5, "fd00::1");
  forward = add (wanted, "bad", "b:6", false, 6, 6, 6, "192.168.211.11");
  forward->to_last++;
  forward = add (wanted, "bad", "b:7", false, 0, 0, 7, "192.168.211.11");
  vp_forward_plan_choose (wanted, NULL, NULL, &chosen, &status);
  g_assert_cmpuint (status->len, ==, wanted->forwards->len);
  /* ape:1 has 90, so ape:2 cannot have 70-90, so zoo:1 can have 80. */
  assert_status (status, 0, VP_FORWARD_PENDING, NULL);
  assert_status (status, 1, VP_FORWARD_CONFLICT,
                 "tcp port 90 is taken by forward ape:1 of guest ape");
  assert_status (status, 2, VP_FORWARD_PENDING, NULL);
  assert_status (status, 3, VP_FORWARD_PENDING, NULL);
  assert_status (status, 4, VP_FORWARD_FAILED, "is not on network default");
  assert_status (status, 5, VP_FORWARD_FAILED, "its guest's name and its id");
  assert_status (status, 6, VP_FORWARD_FAILED, "no network Default");
  assert_status (status, 7, VP_FORWARD_FAILED, "the host's own address");
  assert_status (status, 8, VP_FORWARD_FAILED, "IPv6");
  assert_status (status, 9, VP_FORWARD_FAILED, "port ranges");
  assert_status (status, 10, VP_FORWARD_FAILED, "port ranges");
  g_assert_cmpuint (chosen->len, ==, 3);
}

static void
test_choose_listener (void)
{
  g_autoptr (VpNetWanted) wanted = wanted_new ();
  g_autoptr (GArray) listeners = g_array_new (FALSE, TRUE, sizeof (VpListener));
  g_autoptr (GPtrArray) chosen = NULL, status = NULL;
  g_autoptr (GPtrArray) chosen_again = NULL, status_again = NULL;
  g_autoptr (VpTables) tables = NULL;
  g_autoptr (GPtrArray) rules = NULL;
  static const VpRenderOptions none = { false, false };
  VpListener listener = { .port = 85, .pid = 42, .process = (char *) "nginx" };
  VpListener unknown = { .udp = true, .port = 53 };

  add (wanted, "web", "web:1", false, 80, 90, 80, "192.168.211.10");
  add (wanted, "web", "web:2", true, 85, 85, 85, "192.168.211.10");
  add (wanted, "web", "web:3", true, 53, 53, 53, "192.168.211.10");
  g_array_append_val (listeners, listener);
  g_array_append_val (listeners, unknown);
  vp_forward_plan_choose (wanted, listeners, NULL, &chosen, &status);
  assert_status (status, 0, VP_FORWARD_CONFLICT,
                 "nginx (pid 42) listens on tcp port 85");
  assert_status (status, 1, VP_FORWARD_PENDING, NULL);
  assert_status (status, 2, VP_FORWARD_CONFLICT,
                 "a process listens on udp port 53");

  /* What stands already is not taken away by one that comes later. */
  tables = render (wanted, &none);
  rules = vp_forward_rules (tables);
  vp_forward_plan_choose (wanted, listeners, rules, &chosen_again,
                          &status_again);
  assert_status (status_again, 0, VP_FORWARD_PENDING, NULL);
  g_assert_cmpuint (chosen_again->len, ==, 3);
}

/* A rule says whose it is; what it cannot say is refused, never cut short. */
static void
test_choose_comment (void)
{
  static const VpRenderOptions none = { false, false };
  g_autoptr (VpNetWanted) wanted = wanted_new ();
  g_autoptr (GPtrArray) chosen = NULL, status = NULL, rules = NULL;
  g_autoptr (VpTables) tables = NULL;
  g_autofree char *guest = g_strnfill (63, 'g');
  g_autofree char *fits = g_strnfill (255 - 6 - 63 - 1, 'i');
  g_autofree char *too_long = g_strnfill (255 - 6 - 63, 'i');
  const VpForwardRule *rule;

  add (wanted, guest, fits, false, 1, 1, 1, "192.168.211.10");
  add (wanted, guest, too_long, false, 2, 2, 2, "192.168.211.10");
  add (wanted, "a:b", "id", false, 3, 3, 3, "192.168.211.10");
  add (wanted, "a\"b", "id", false, 4, 4, 4, "192.168.211.10");
  add (wanted, "", "id", false, 5, 5, 5, "192.168.211.10");
  vp_forward_plan_choose (wanted, NULL, NULL, &chosen, &status);
  assert_status (status, 0, VP_FORWARD_PENDING, NULL);
  for (guint i = 1; i < status->len; i++)
    assert_status (status, i, VP_FORWARD_FAILED, "its guest's name and its id");

  tables = vp_forward_plan_render (wanted, chosen, &none);
  rules = vp_forward_rules (tables);
  g_assert_cmpuint (rules->len, ==, 1);
  rule = rules->pdata[0];
  g_assert_cmpstr (rule->guest, ==, guest);
  g_assert_cmpstr (rule->id, ==, fits);
}

/* --- stale connections ------------------------------------------------- */

static void
assert_cut (const GArray *cuts, guint i, VpCutKind kind, bool udp,
            unsigned first, unsigned last)
{
  const VpCut *cut = &g_array_index (cuts, VpCut, i);

  g_assert_cmpint (cut->kind, ==, kind);
  g_assert_cmpint (cut->udp, ==, udp);
  g_assert_cmpuint (cut->first, ==, first);
  g_assert_cmpuint (cut->last, ==, last);
}

static void
test_cuts (void)
{
  g_autoptr (VpNetWanted) before = wanted_new (), after = wanted_new ();
  g_autoptr (VpTables) tables = NULL;
  g_autoptr (GPtrArray) rules = NULL, chosen = NULL, status = NULL;
  g_autoptr (GArray) cuts = NULL, none = NULL;
  static const VpRenderOptions options = { false, false };

  add (before, "a", "a:1", false, 100, 119, 100, "192.168.211.10");
  add (before, "a", "a:2", true, 200, 200, 53, "192.168.211.10");
  add (before, "a", "a:3", false, 300, 300, 80, "192.168.211.10");
  /* 110-119 moved; another guest port; 300 stays under another id. */
  add (after, "a", "a:1", false, 100, 109, 100, "192.168.211.10");
  add (after, "b", "b:1", false, 110, 119, 110, "192.168.211.11");
  add (after, "a", "a:2", true, 200, 200, 54, "192.168.211.10");
  add (after, "c", "c:3", false, 300, 300, 80, "192.168.211.10");
  add (after, "c", "c:4", true, 400, 409, 400, "192.168.211.10");
  add (after, "c", "c:5", false, 400, 409, 400, "192.168.211.10");
  tables = render (before, &options);
  rules = vp_forward_rules (tables);
  vp_forward_plan_choose (after, NULL, rules, &chosen, &status);
  cuts = vp_forward_plan_cuts (rules, chosen);
  g_assert_cmpuint (cuts->len, ==, 3);
  assert_cut (cuts, 0, VP_CUT_FORWARD, false, 110, 119);
  assert_cut (cuts, 1, VP_CUT_FORWARD, true, 200, 200);
  assert_cut (cuts, 2, VP_CUT_LOCAL, true, 400, 409);

  g_clear_pointer (&chosen, g_ptr_array_unref);
  g_clear_pointer (&status, g_ptr_array_unref);
  vp_forward_plan_choose (before, NULL, rules, &chosen, &status);
  none = vp_forward_plan_cuts (rules, chosen);
  g_assert_cmpuint (none->len, ==, 0);
}

static void
test_rule_parse (void)
{
  static const char *const bad[] = {
    "-p tcp -m tcp --dport 80 -j ACCEPT",
    "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80",
    "-p tcp -m tcp --dport 80000 -m comment --comment \"vprov:x:y\" -j DNAT "
    "--to-destination 10.0.0.1:80",
    "-p tcp -m tcp --dport 80 -m comment --comment \"vprov:x:y\" -j DNAT "
    "--to-destination nowhere",
    "-p tcp -m tcp -m comment --comment \"vprov:x:y\" -j DNAT "
    "--to-destination 10.0.0.1",
    "-p tcp -m tcp --dport 80 -m comment --comment \"vprov:x\" -j DNAT "
    "--to-destination 10.0.0.1:80",
    "-p tcp -m tcp --dport 80 -m comment --comment \"else:x:y\" -j DNAT "
    "--to-destination 10.0.0.1:80",
    "",
    "-p",
  };
  g_autoptr (VpForwardRule) rule =
      vp_forward_rule_parse ("-p udp -m udp --dport 81:90 -m comment --comment "
                             "\"vprov:web-1:udp:81-90\" -j DNAT "
                             "--to-destination 10.0.0.1:1001-1010/81");

  g_assert_nonnull (rule);
  g_assert_true (rule->udp);
  g_assert_cmpuint (rule->first, ==, 81);
  g_assert_cmpuint (rule->last, ==, 90);
  g_assert_cmpuint (rule->to_first, ==, 1001);
  g_assert_cmpstr (rule->guest, ==, "web-1");
  g_assert_cmpstr (rule->id, ==, "udp:81-90");
  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_null (vp_forward_rule_parse (bad[i]));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/forward-plan/golden-small", test_golden_small);
  g_test_add_func ("/forward-plan/golden-trie", test_golden_trie);
  g_test_add_func ("/forward-plan/nothing", test_nothing);
  g_test_add_func ("/forward-plan/every-port", test_every_port);
  g_test_add_func ("/forward-plan/every-port-is-forwarded",
                   test_every_port_is_forwarded);
  g_test_add_func ("/forward-plan/order-does-not-matter",
                   test_order_does_not_matter);
  g_test_add_func ("/forward-plan/choose", test_choose);
  g_test_add_func ("/forward-plan/choose-listener", test_choose_listener);
  g_test_add_func ("/forward-plan/choose-comment", test_choose_comment);
  g_test_add_func ("/forward-plan/cuts", test_cuts);
  g_test_add_func ("/forward-plan/rule-parse", test_rule_parse);
  return g_test_run ();
}
