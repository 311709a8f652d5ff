/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* test-net-parts: the pure halves of dnsmasq, conntrack and net-state, and
 * the child that carries iptables' text. */
#include "config.h"

#include "net/child.h"
#include "net/conntrack.h"
#include "net/dnsmasq.h"
#include "net/net-state.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <glib/gstdio.h>

static VpAddr
addr (const char *text)
{
  VpAddr value = { 0 };
  g_assert_true (vp_addr_parse (text, &value));
  return value;
}

static VpNet *
net_new (void)
{
  VpNet *net = vp_net_new ("default");
  VpAddr web = addr ("10.1.0.5"), db = addr ("10.1.0.6");
  VpMac mac;

  g_assert_true (vp_cidr_parse ("10.1.0.1/20", &net->address));
  g_assert_true (vp_mac_parse ("52:54:00:00:00:01", &mac));
  g_ptr_array_add (net->hosts, vp_net_host_new ("web", "nic0", &mac, &web));
  g_assert_true (vp_mac_parse ("52:54:00:00:00:02", &mac));
  g_ptr_array_add (net->hosts, vp_net_host_new ("db", "lan", &mac, &db));
  return net;
}

static void
test_config (void)
{
  VpNetHostConfig config = { .runtime_dir = (char *) "/run/x",
                             .state_dir = (char *) "/var/x" };
  g_autoptr (VpNet) net = net_new ();
  g_autofree char *text = vp_dnsmasq_config_text (&config, net);
  g_autofree char *isolated = NULL, *host = NULL, *file = NULL;

  g_assert_nonnull (strstr (text, "\ninterface=vp-default\n"));
  g_assert_nonnull (
      strstr (text, "\ndhcp-range=10.1.0.0,static,255.255.240.0,12h\n"));
  g_assert_nonnull (strstr (text, "\ndhcp-ignore=tag:!known\n"));
  g_assert_nonnull (strstr (text, "\ndhcp-hostsdir=/run/x/dnsmasq/"
                                  "default.hosts\n"));
  g_assert_nonnull (
      strstr (text, "\ndhcp-leasefile=/var/x/dnsmasq/default.leases\n"));
  g_assert_null (strstr (text, "option:router"));
  net->kind = VP_NET_ISOLATED;
  isolated = vp_dnsmasq_config_text (&config, net);
  g_assert_nonnull (strstr (isolated, "\ndhcp-option=option:router\n"));
  host = vp_dnsmasq_host_text (net->hosts->pdata[1]);
  g_assert_cmpstr (host, ==, "52:54:00:00:00:02,10.1.0.6,db\n");
  file = vp_dnsmasq_host_file (net->hosts->pdata[1]);
  g_assert_cmpstr (file, ==, "db,lan");
}

/* --- a service manager that keeps dnsmasq ------------------------------ */

static bool
on_start (const char *network, const char *config_path, gpointer user_data,
          GError **error)
{
  g_string_append_printf (user_data, "start %s %s;", network, config_path);
  return true;
}

static bool
on_stop (const char *network, gpointer user_data, GError **error)
{
  g_string_append_printf (user_data, "stop %s;", network);
  return true;
}

static bool
on_reload (const char *network, gpointer user_data, GError **error)
{
  g_set_error_literal (error, VP_NET_ERROR, VP_NET_ERROR_BUSY, "not now");
  return false;
}

static bool
on_running (const char *network, bool *ret_running, gpointer user_data,
            GError **error)
{
  *ret_running = true;
  return true;
}

static void
test_ops (void)
{
  g_autoptr (GString) calls = g_string_new (NULL);
  VpNetHostConfig config = {
    .runtime_dir = (char *) "/nowhere/x",
    .state_dir = (char *) "/nowhere/y",
    .dnsmasq = { on_start, on_stop, on_reload, on_running, calls },
  };
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (vp_dnsmasq_start (&config, "default", &error));
  g_assert_true (vp_dnsmasq_stop (&config, "default", &error));
  g_assert_cmpstr (calls->str, ==,
                   "start default /nowhere/x/dnsmasq/default.conf;"
                   "stop default;");
  g_assert_false (vp_dnsmasq_reload (&config, "default", &error));
  g_assert_error (error, VP_NET_ERROR, VP_NET_ERROR_BUSY);
  g_clear_error (&error);
  g_ptr_array_add (names, (char *) "default");
  found = vp_dnsmasq_observe (&config, names, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (found->len, ==, 1);
  g_assert_true (((VpDnsmasqFound *) found->pdata[0])->running);
  g_assert_null (((VpDnsmasqFound *) found->pdata[0])->config);
}

static void
test_leases (void)
{
  static const char *const good = "170 52:54:00:00:00:01 10.1.0.5 web 01:52\n"
                                  "170 52:54:00:00:00:99 10.1.0.99 old *\n";
  static const char *const strange = "170 52:54:00:00:00:99 10.1.0.5 old *\n"
                                     "170 52:54:00:00:00:02 10.1.0.6 db *\n"
                                     "duid 00:01\n";
  g_autoptr (VpNet) net = net_new ();
  g_autofree char *kept = vp_dnsmasq_leases_without_strangers (good, net);
  g_autofree char *cleaned = vp_dnsmasq_leases_without_strangers (strange, net);
  g_autofree char *empty = vp_dnsmasq_leases_without_strangers ("", net);

  g_assert_cmpstr (kept, ==, NULL);
  g_assert_cmpstr (empty, ==, NULL);
  g_assert_cmpstr (cleaned, ==,
                   "170 52:54:00:00:00:02 10.1.0.6 db *\nduid 00:01\n");
}

static void
test_cut_matches (void)
{
  g_autoptr (GArray) locals = g_array_new (FALSE, FALSE, sizeof (VpAddr));
  VpAddr host = addr ("10.9.0.1");
  VpCut forward = { .kind = VP_CUT_FORWARD,
                    .first = 80,
                    .last = 89,
                    .target = { addr ("10.1.0.5"), 32 } };
  VpCut local = { .kind = VP_CUT_LOCAL, .udp = true, .first = 53, .last = 53 };
  VpCut network = { .kind = VP_CUT_NETWORK,
                    .target = { addr ("10.1.0.0"), 24 } };
  VpConnection connection = { .protocol = IPPROTO_TCP,
                              .orig_src = addr ("10.9.0.2"),
                              .orig_dst = host,
                              .reply_src = addr ("10.1.0.5"),
                              .orig_port = 85 };

  g_array_append_val (locals, host);
  g_assert_true (vp_cut_matches (&forward, &connection, locals));
  g_assert_true (vp_cut_matches (&network, &connection, locals));
  connection.orig_port = 90;
  g_assert_false (vp_cut_matches (&forward, &connection, locals));
  connection.orig_port = 80;
  connection.protocol = IPPROTO_UDP;
  g_assert_false (vp_cut_matches (&forward, &connection, locals));
  connection.protocol = IPPROTO_TCP;
  connection.reply_src = addr ("10.1.0.6");
  g_assert_false (vp_cut_matches (&forward, &connection, locals));
  /* Straight to the guest: not through the forward. */
  connection.reply_src = connection.orig_dst = addr ("10.1.0.5");
  g_assert_false (vp_cut_matches (&forward, &connection, locals));

  connection.protocol = IPPROTO_UDP;
  connection.orig_port = 53;
  connection.orig_dst = connection.reply_src = host;
  g_assert_true (vp_cut_matches (&local, &connection, locals));
  connection.orig_dst = connection.reply_src = addr ("127.0.0.1");
  g_assert_true (vp_cut_matches (&local, &connection, locals));
  /* Through us to somebody's name server. */
  connection.orig_dst = connection.reply_src = addr ("9.9.9.9");
  g_assert_false (vp_cut_matches (&local, &connection, locals));
  g_assert_false (vp_cut_matches (&network, &connection, locals));
}

static void
test_state (void)
{
  static const char *const bad[] = { "vprovd-net 2\n",
                                     "x\n",
                                     "vprovd-net 1\nwhat is this\n",
                                     "vprovd-net 1\nmade mangle\n",
                                     "vprovd-net 1\ncut forward tcp 1 2\n",
                                     "vprovd-net 1\ncut odd tcp 1 2 any\n",
                                     "vprovd-net 1\nsysctl a b\n" };
  static const char *const text =
      "vprovd-net 1\n"
      "sysctl net/ipv4/ip_forward 0 1\n"
      "follow net/ipv4/conf/all/accept_redirects 1\n"
      "made raw\n"
      "made nat\n"
      "blind nat 17 abcdef\n"
      "learned filter VPROV-FWD aa bb\n"
      "learned nat VPROV-T cc dd\n"
      "cut forward tcp 80 89 10.1.0.5/32\n"
      "cut local udp 53 53 any\n"
      "cut network tcp 0 0 10.1.0.0/24\n";
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetState) state = vp_net_state_parse (text, &error);
  g_autoptr (VpNetState) copy = NULL, empty = NULL;
  g_autofree char *again = NULL, *nothing = NULL;

  g_assert_no_error (error);
  copy = vp_net_state_copy (state);
  again = vp_net_state_to_string (copy);
  g_assert_cmpstr (again, ==, text);
  empty = vp_net_state_parse ("", &error);
  nothing = vp_net_state_to_string (empty);
  g_assert_cmpstr (nothing, ==, "");
  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) local = NULL;
    g_assert_null (vp_net_state_parse (bad[i], &local));
    g_assert_error (local, VP_NET_ERROR, VP_NET_ERROR_FAILED);
  }
}

static void
test_state_file (void)
{
  g_autofree char *folder = g_dir_make_tmp ("vprov-state-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "net.state", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetState) absent = vp_net_state_load (path, &error);
  g_autoptr (VpNetState) loaded = NULL;

  g_assert_no_error (error);
  g_assert_nonnull (absent);
  g_assert_true (vp_net_state_store (path, "vprovd-net 1\nmade raw\n", &error));
  loaded = vp_net_state_load (path, &error);
  g_assert_true (loaded->made[VP_TABLE_RAW]);
  g_assert_true (vp_net_state_store (path, "", &error));
  g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
  g_assert_true (vp_net_state_store (path, "", &error));
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

/* --- child ------------------------------------------------------------- */

static void
test_child (void)
{
  g_autofree char *cat = vp_child_find ("cat");
  g_autofree char *sh = vp_child_find ("sh");
  g_autofree char *none = vp_child_find ("no-such-program");
  g_autofree char *large = g_strnfill (1 << 20, 'x');
  g_autofree char *output = NULL, *complaint = NULL, *environment = NULL;
  g_autoptr (GError) error = NULL;
  const char *cat_argv[] = { "cat", NULL };
  const char *fail_argv[] = { "sh", "-c", "echo no >&2; exit 4", NULL };
  const char *env_argv[] = { "sh", "-c", "echo $LC_ALL $HOME $SECRET", NULL };
  int status = -1;

  g_assert_null (none);
  /* More than a pipe holds, both ways at once. */
  g_assert_true (vp_child_run (cat, cat_argv, large, 10000, &output, NULL,
                               &status, &error));
  g_assert_cmpint (status, ==, 0);
  g_assert_cmpstr (output, ==, large);
  g_assert_true (vp_child_run (sh, fail_argv, "never read", 10000, NULL,
                               &complaint, &status, &error));
  g_assert_cmpint (status, ==, 4);
  g_assert_cmpstr (complaint, ==, "no");
  g_assert_true (g_setenv ("SECRET", "1234", TRUE));
  g_assert_true (vp_child_run (sh, env_argv, NULL, 10000, &environment, NULL,
                               &status, &error));
  g_assert_cmpstr (environment, ==, "C\n");
}

static void
test_child_fails (void)
{
  g_autofree char *sh = vp_child_find ("sh");
  const char *kill_argv[] = { "sh", "-c", "kill -9 $$", NULL };
  g_autoptr (GError) late = NULL, killed = NULL, missing = NULL;
  const char *hang_forever[] = { "sh", "-c", "while :; do read x || :; done",
                                 NULL };
  gint64 begin = g_get_monotonic_time ();
  int status;

  g_assert_false (
      vp_child_run (sh, hang_forever, NULL, 100, NULL, NULL, &status, &late));
  g_assert_cmpint (g_get_monotonic_time () - begin, <, 5 * G_TIME_SPAN_SECOND);
  g_assert_nonnull (late);
  g_assert_false (
      vp_child_run (sh, kill_argv, NULL, 10000, NULL, NULL, &status, &killed));
  g_assert_nonnull (killed);
  g_assert_false (vp_child_run ("/nowhere/x", kill_argv, NULL, 10000, NULL,
                                NULL, &status, &missing));
  g_assert_nonnull (missing);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/dnsmasq/config", test_config);
  g_test_add_func ("/dnsmasq/ops", test_ops);
  g_test_add_func ("/dnsmasq/leases", test_leases);
  g_test_add_func ("/conntrack/cut-matches", test_cut_matches);
  g_test_add_func ("/net-state/text", test_state);
  g_test_add_func ("/net-state/file", test_state_file);
  g_test_add_func ("/child/run", test_child);
  g_test_add_func ("/child/fails", test_child_fails);
  return g_test_run ();
}
