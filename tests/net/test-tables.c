/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* test-tables: reading iptables-save, and the transaction between two
 * states. */
#include "config.h"

#include "net/tables.h"

#include <string.h>

#define JUMP "-m comment --comment \"vprov:jump\" -j "

static VpTables *
parse (const char *text)
{
  VpTables *tables = vp_tables_new ();
  g_assert_true (vp_tables_parse (tables, text));
  return tables;
}

static VpTables *
wanted_new (void)
{
  VpTables *tables = vp_tables_new ();
  VpChain *chain =
      vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-FWD", "-");

  vp_chain_add (chain, "-j VPROV-USER");
  vp_chain_add (chain, "-o vp-a -j DROP");
  (void) vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-USER", "-");
  vp_tables_add_jump (tables, VP_TABLE_FILTER, "FORWARD", "", "VPROV-FWD",
                      false);
  vp_tables_add_jump (tables, VP_TABLE_FILTER, "FORWARD", "", "VPROV-END",
                      true);
  chain = vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-END", "-");
  vp_chain_add (chain, "-j DROP");
  return tables;
}

static void
assert_diff (const char *found_text, const char *expected)
{
  g_autoptr (VpTables) found = parse (found_text);
  g_autoptr (VpTables) wanted = wanted_new ();
  g_autofree char *words = NULL;
  g_autofree char *text =
      vp_tables_diff (found, wanted, VP_TABLE_FILTER, NULL, &words);

  g_assert_cmpstr (text, ==, expected);
  g_assert_cmpint (words != NULL, ==, expected != NULL);
}

#define CHAINS_HEAD                                                            \
  ":VPROV-END - [0:0]\n:VPROV-FWD - [0:0]\n:VPROV-USER - [0:0]\n"
#define CHAINS                                                                 \
  ":VPROV-END - [0:0]\n:VPROV-FWD - [0:0]\n:VPROV-USER - [0:0]\n"              \
  "-A VPROV-END -j DROP\n"                                                     \
  "-A VPROV-FWD -j VPROV-USER\n-A VPROV-FWD -o vp-a -j DROP\n"
#define HEAD "# Generated\n*filter\n:INPUT ACCEPT [1:2]\n:FORWARD DROP [3:4]\n"
#define FWD  "-A FORWARD " JUMP "VPROV-FWD\n"
#define END  "-A FORWARD " JUMP "VPROV-END\n"

static void
test_diff_empty (void)
{
  static const char *const everything =
      "*filter\n" CHAINS_HEAD "-A VPROV-END -j DROP\n"
      "-A VPROV-FWD -j VPROV-USER\n-A VPROV-FWD -o vp-a -j DROP\n"
      "-I FORWARD 1 " JUMP "VPROV-FWD\n"
      "-A FORWARD " JUMP "VPROV-END\nCOMMIT\n";

  assert_diff ("", everything);
  assert_diff (HEAD "COMMIT\n", everything);
}

static void
test_diff_right (void)
{
  assert_diff (HEAD CHAINS FWD "-A FORWARD -s 10.0.0.1/32 -j ACCEPT\n" END
                               "COMMIT\n",
               NULL);
  /* What is in VPROV-USER is not ours to compare. */
  assert_diff (HEAD CHAINS "-A VPROV-USER -j DROP\n" FWD END "COMMIT\n", NULL);
}

static void
test_diff_jumps (void)
{
  /* Doubled, in the wrong place, with another text. */
  assert_diff (HEAD CHAINS FWD FWD END "COMMIT\n",
               "*filter\n-D FORWARD " JUMP "VPROV-FWD\n-D FORWARD " JUMP
               "VPROV-FWD\n-I FORWARD 1 " JUMP "VPROV-FWD\nCOMMIT\n");
  assert_diff (HEAD CHAINS "-A FORWARD -j ACCEPT\n" FWD END "COMMIT\n",
               "*filter\n-D FORWARD " JUMP "VPROV-FWD\n-I FORWARD 1 " JUMP
               "VPROV-FWD\nCOMMIT\n");
  assert_diff (HEAD CHAINS "-A FORWARD -j VPROV-FWD\n" END "COMMIT\n",
               "*filter\n-D FORWARD -j VPROV-FWD\n-I FORWARD 1 " JUMP
               "VPROV-FWD\nCOMMIT\n");
  assert_diff (HEAD CHAINS FWD END "-A FORWARD -j ACCEPT\nCOMMIT\n",
               "*filter\n-D FORWARD " JUMP "VPROV-END\n-A FORWARD " JUMP
               "VPROV-END\nCOMMIT\n");
}

static void
test_diff_chains (void)
{
  /* One chain differs, one is too many and referred to by somebody else. */
  assert_diff (HEAD ":VPROV-OLD - [0:0]\n:VPROV-OLD2 - [0:0]\n" CHAINS
                    "-A VPROV-FWD -j ACCEPT\n"
                    "-A VPROV-OLD -j VPROV-OLD2\n" FWD
                    "-A FORWARD -i eth0 -j VPROV-OLD\n" END "COMMIT\n",
               "*filter\n:VPROV-FWD - [0:0]\n:VPROV-OLD - [0:0]\n"
               ":VPROV-OLD2 - [0:0]\n"
               "-A VPROV-FWD -j VPROV-USER\n-A VPROV-FWD -o vp-a -j DROP\n"
               "-D FORWARD -i eth0 -j VPROV-OLD\n"
               "-X VPROV-OLD\n-X VPROV-OLD2\nCOMMIT\n");
}

static void
test_diff_removal (void)
{
  g_autoptr (VpTables) found =
      parse (HEAD CHAINS FWD "-A FORWARD -j ACCEPT\n" END "COMMIT\n");
  g_autoptr (VpTables) used =
      parse (HEAD CHAINS "-A VPROV-USER -j DROP\n" FWD END "COMMIT\n");
  g_autoptr (VpTables) nothing = vp_tables_new ();
  g_autofree char *text =
      vp_tables_diff (found, nothing, VP_TABLE_FILTER, NULL, NULL);
  g_autofree char *kept =
      vp_tables_diff (used, nothing, VP_TABLE_FILTER, NULL, NULL);

  g_assert_cmpstr (text, ==,
                   "*filter\n" CHAINS_HEAD "-D FORWARD " JUMP
                   "VPROV-FWD\n-D FORWARD " JUMP "VPROV-END\n"
                   "-X VPROV-END\n-X VPROV-FWD\n-X VPROV-USER\nCOMMIT\n");
  /* The administrator's rules stay, though nothing leads to them. */
  g_assert_null (strstr (kept, ":VPROV-USER"));
  g_assert_null (strstr (kept, "-X VPROV-USER"));
}

static void
test_learned (void)
{
  g_autoptr (VpTables) wanted = wanted_new ();
  /* A later iptables might print the same rule with other words. */
  g_autoptr (VpTables) found = parse (
      HEAD ":VPROV-END - [0:0]\n:VPROV-FWD - [0:0]\n:VPROV-USER - "
           "[0:0]\n-A VPROV-END -j DROP\n-A VPROV-FWD -j VPROV-USER\n"
           "-A VPROV-FWD --out-interface vp-a -j DROP\n" FWD END "COMMIT\n");
  g_autoptr (GHashTable) learned = vp_learned_new ();
  g_autofree char *before = NULL, *after = NULL, *changed = NULL;
  VpChain *chain;

  before = vp_tables_diff (found, wanted, VP_TABLE_FILTER, learned, NULL);
  g_assert_nonnull (before);
  g_assert_true (vp_learned_note (learned, wanted, found));
  after = vp_tables_diff (found, wanted, VP_TABLE_FILTER, learned, NULL);
  g_assert_cmpstr (after, ==, NULL);
  /* What was learned holds for that text only, wanted or found. */
  chain = vp_tables_chain (found, VP_TABLE_FILTER, "VPROV-FWD");
  g_ptr_array_remove_index (chain->rules, 0);
  changed = vp_tables_diff (found, wanted, VP_TABLE_FILTER, learned, NULL);
  g_assert_nonnull (changed);
  g_assert_false (vp_learned_note (learned, wanted, found));
}

static void
test_parse (void)
{
  static const char *const bad[] = {
    "*filter\n",                             /* no COMMIT */
    "COMMIT\n",                              /* no table */
    "*filter\n*nat\nCOMMIT\n",               /* two at once */
    "*filter\n-A FORWARD -j DROP\nCOMMIT\n", /* no such chain */
    "*filter\n:X\nCOMMIT\n",
    "iptables: something went wrong\n",
  };
  g_autoptr (VpTables) tables =
      parse ("*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DROP\n"
             "COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n");

  g_assert_true (tables->table[VP_TABLE_NAT].present);
  g_assert_false (tables->table[VP_TABLE_FILTER].present);
  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (VpTables) broken = vp_tables_new ();
    g_assert_false (vp_tables_parse (broken, bad[i]));
  }
}

static void
test_extra_and_pretend (void)
{
  g_autoptr (VpTables) wanted = wanted_new (), same = wanted_new ();
  g_autoptr (VpTables) more =
      parse (HEAD CHAINS "-A VPROV-FWD -o vp-b -j DROP\nCOMMIT\n");
  g_autofree char *text = NULL;

  g_assert_true (vp_tables_has_extra (more, wanted, VP_TABLE_FILTER));
  vp_tables_pretend (same);
  g_assert_false (vp_tables_has_extra (same, wanted, VP_TABLE_FILTER));
  text = vp_tables_diff (same, wanted, VP_TABLE_FILTER, NULL, NULL);
  g_assert_cmpstr (text, ==, NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/tables/diff-empty", test_diff_empty);
  g_test_add_func ("/tables/diff-right", test_diff_right);
  g_test_add_func ("/tables/diff-jumps", test_diff_jumps);
  g_test_add_func ("/tables/diff-chains", test_diff_chains);
  g_test_add_func ("/tables/diff-removal", test_diff_removal);
  g_test_add_func ("/tables/learned", test_learned);
  g_test_add_func ("/tables/parse", test_parse);
  g_test_add_func ("/tables/extra-and-pretend", test_extra_and_pretend);
  return g_test_run ();
}
