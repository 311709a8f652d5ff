/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* log on a stderr that is not the journal: one line for each message, with
 * its priority in words.  Each case runs in a child whose stderr is read. */
#include "config.h"

#include "daemon/log.h"

static void
test_lines (void)
{
  if (g_test_subprocess ()) {
    vp_log (VP_LOG_ERROR, VP_MESSAGE_JOB_FAILED, "web", "start", "no %s",
            "luck");
    vp_log (VP_LOG_WARNING, NULL, NULL, NULL, "mind");
    vp_log (VP_LOG_NOTICE, NULL, "web", NULL, "it runs");
    vp_log (VP_LOG_INFO, NULL, NULL, NULL, "100%%");
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_passed ();
  g_test_trap_assert_stderr ("vprovd: error: no luck\n"
                             "vprovd: warning: mind\n"
                             "vprovd: it runs\n"
                             "vprovd: 100%\n");
}

static void
test_problem (void)
{
  if (g_test_subprocess ()) {
    g_autoptr (VpProblem) problem =
        vp_problem_new ("/etc/web.xml", (VpPlace){ 3, 7 }, VP_SEVERITY_ERROR,
                        "bad-value", "too many");

    vp_log_problem (problem);
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_passed ();
  g_test_trap_assert_stderr ("*/etc/web.xml:3:7: error: too many\n");
}

/* What GLib says goes the same way, but for its chatter. */
static void
test_glib (void)
{
  if (g_test_subprocess ()) {
    vp_log_init ();
    g_message ("from glib");
    g_debug ("chatter");
    g_info ("chatter");
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_passed ();
  g_test_trap_assert_stderr ("vprovd: from glib\n");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/log/lines", test_lines);
  g_test_add_func ("/log/problem", test_problem);
  g_test_add_func ("/log/glib", test_glib);
  return g_test_run ();
}
