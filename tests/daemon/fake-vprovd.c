/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-vprovd ADDRESS: the true bus with a manager in memory, for the tests of
 * vprovctl.  Prints "ready", ends with SIGTERM. */
#include "config.h"

#include "tests/daemon/fake-manager.h"

#include <signal.h>
#include <stdio.h>

#include <glib-unix.h>

#include "daemon/bus.h"

static void
add_web (VpManager *manager)
{
  VpGuestStatus *guest = fake_manager_add_guest (manager, "web-1");

  fake_set (&guest->uuid, "0b1c5a3e-5f0b-4d6a-9b6e-2f1f6f0c7a11");
  fake_set (&guest->description, "The shop's \033[31mfront\033[0m");
  fake_set (&guest->state, "running");
  fake_set (&guest->wanted, "running");
  fake_set (&guest->accel, "tcg");
  guest->started = g_get_real_time () - 90 * G_USEC_PER_SEC;
  guest->restarts = 2;
  fake_guest_add_address (guest, "192.168.211.10");
  fake_guest_add_forward (guest, "tcp:8080", "tcp 8080 -> 80",
                          VP_FORWARD_ACTIVE, NULL);
  fake_guest_add_forward (guest, "tcp:22", "tcp 22 -> 22", VP_FORWARD_CONFLICT,
                          "sshd (pid 812) listens on port 22");
  g_ptr_array_add (guest->problems,
                   vp_problem_new (guest->source_path, (VpPlace){ 2, 3 },
                                   VP_SEVERITY_WARNING, "no-kvm",
                                   "KVM cannot be used, TCG is slow"));
}

static void
add_others (VpManager *manager)
{
  VpGuestStatus *guest = fake_manager_add_guest (manager, "db");
  VpProblem *problem;

  fake_set (&guest->uuid, "11111111-2222-3333-4444-555555555555");
  guest->restart_required = true;
  g_ptr_array_add (guest->pending, g_strdup ("memory 2 GiB -> 4 GiB"));

  guest = fake_manager_add_guest (manager, "bad");
  fake_set (&guest->state, "undefined");
  guest->sync = VP_SYNC_INVALID;
  problem = vp_problem_new (guest->source_path, (VpPlace){ 3, 5 },
                            VP_SEVERITY_ERROR, "unknown-element",
                            "unknown element 'nik'; did you mean 'nic'?");
  g_ptr_array_add (guest->problems, vp_problem_copy (problem));
  g_ptr_array_add (fake_manager_status (manager)->problems, problem);

  guest = fake_manager_add_guest (manager, "full");
  guest->sync = VP_SYNC_FAILED;
  fake_set (&guest->wanted, "running");
  fake_set (&guest->error_name, "org.vprovd1.Error.NoSpace");
  fake_set (&guest->error_message, "no space on /var");
  fake_manager_fail_jobs (manager, "full", "no space on /var");
}

static void
on_lost (VpBus *bus, const GError *error, gpointer user_data)
{
  g_main_loop_quit (user_data);
}

static gboolean
on_term (gpointer user_data)
{
  g_main_loop_quit (user_data);
  return G_SOURCE_CONTINUE;
}

int
main (int argc, char **argv)
{
  VpManager *manager = fake_manager_new ();
  GMainLoop *loop = g_main_loop_new (NULL, FALSE);
  g_autoptr (GError) error = NULL;
  VpBus *bus;

  add_web (manager);
  add_others (manager);
  fake_manager_status (manager)->state = "degraded";
  fake_manager_run_jobs (manager);
  fake_manager_add_step (manager,
                         vp_step_new (VP_STEP_SET_MEMORY, "db", NULL, "2 GiB",
                                      "4 GiB", VP_RISK_RESTART));
  fake_manager_stale (manager, 1);
  bus = vp_bus_new (manager, argc > 1 ? argv[1] : "session", on_lost, loop,
                    &error);
  if (bus == NULL) {
    (void) fprintf (stderr, "fake-vprovd: %s\n", error->message);
    return 1;
  }
  /* However slowly a script asks for its jobs. */
  vp_bus_set_job_linger (bus, 600000);
  (void) g_unix_signal_add (SIGTERM, on_term, loop);
  (void) puts ("ready");
  (void) fflush (stdout);
  g_main_loop_run (loop);
  vp_bus_free (bus);
  fake_manager_free (manager);
  g_main_loop_unref (loop);
  return 0;
}
