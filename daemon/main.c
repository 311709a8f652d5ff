/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* main: wires the rooms together and leaves.  The only reader of the command
 * line, of the environment, and the only talker to systemd's notify socket.
 *
 * Stopping the daemon touches no guest, no network and no rule: what it has
 * set up goes on working without it.  --teardown takes the networks away. */
#include "config.h"

#include "daemon/bus.h"
#include "daemon/configuration.h"
#include "daemon/host-libvirt.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/store.h"

#include <stdio.h>
#include <stdlib.h>

#include <glib-unix.h>
#include <systemd/sd-daemon.h>

typedef struct {
  GMainLoop *loop;
  VpManager *manager;
  VpBus *bus;
  int exit_status;
} App;

static gboolean
on_terminate (gpointer user_data)
{
  App *app = user_data;

  g_main_loop_quit (app->loop);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_hangup (gpointer user_data)
{
  App *app = user_data;
  g_autoptr (GPtrArray) problems = NULL;

  vp_manager_reload (app->manager, &problems);
  return G_SOURCE_CONTINUE;
}

static void
on_bus_lost (VpBus *bus, const GError *error, gpointer user_data)
{
  App *app = user_data;

  vp_log (VP_LOG_ERROR, NULL, NULL, NULL, "%s", error->message);
  app->exit_status = EXIT_FAILURE;
  g_main_loop_quit (app->loop);
}

/* The status line of systemctl, in a person's words. */
static void
tell_status (App *app)
{
  g_autoptr (GPtrArray) names = vp_manager_list_guests (app->manager);
  guint running = 0;

  for (guint i = 0; i < names->len; i++) {
    const VpGuestStatus *guest =
        vp_manager_get_guest (app->manager, g_ptr_array_index (names, i));

    running += guest != NULL && g_str_equal (guest->state, "running");
  }
  (void) sd_notifyf (0, "STATUS=%u guests, %u running, %s", names->len, running,
                     vp_manager_get_state (app->manager));
}

/* From the main loop: a loop that hangs misses it. */
static gboolean
on_watchdog (gpointer user_data)
{
  tell_status (user_data);
  (void) sd_notify (0, "WATCHDOG=1");
  return G_SOURCE_CONTINUE;
}

static void
serve (App *app)
{
  uint64_t watchdog_usec = 0;
  guint watchdog = 0;

  if (sd_watchdog_enabled (0, &watchdog_usec) <= 0)
    watchdog_usec = 20 * G_USEC_PER_SEC;
  watchdog = g_timeout_add ((guint) (watchdog_usec / 2000), on_watchdog, app);
  tell_status (app);
  (void) sd_notify (0, "READY=1");
  g_main_loop_run (app->loop);
  (void) sd_notify (0, "STOPPING=1\nSTATUS=stopping; guests run on");
  g_source_remove (watchdog);
}

static bool
run (const VpConfig *config, App *app, GError **error)
{
  VpHostLibvirtConfig libvirt = { .uri = config->libvirt_uri };
  g_autoptr (VpStore) store = vp_store_open (config->state_dir, error);
  VpHost *host = NULL;
  bool good = false;

  if (store == NULL)
    return false;
  host = vp_host_libvirt_new (&libvirt, error);
  if (host != NULL) {
    app->manager = vp_manager_new (config, host, store);
    app->bus = vp_bus_new (app->manager, config->bus, on_bus_lost, app, error);
    good = app->bus != NULL && vp_manager_start (app->manager, error);
    if (good)
      serve (app);
    if (app->bus != NULL) /* else nothing was started */
      vp_manager_stop (app->manager);
    vp_bus_free (app->bus);
    vp_manager_free (app->manager);
    host->ops->free (host);
  }
  return good;
}

static bool
teardown (const VpConfig *config, GError **error)
{
  VpNetHostConfig net = { .runtime_dir = config->runtime_dir,
                          .state_dir = config->state_dir };

  return vp_net_teardown (&net, error);
}

int
main (int argc, char **argv)
{
  g_autofree char *config_path = NULL;
  gboolean version = FALSE, check = FALSE, take_down = FALSE;
  const GOptionEntry entries[] = {
    { "config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path,
      "Read FILE instead of " VP_SYSCONFDIR "/vprovd/vprovd.conf", "FILE" },
    { "check-config", 0, 0, G_OPTION_ARG_NONE, &check,
      "Check the configuration and exit", NULL },
    { "teardown", 0, 0, G_OPTION_ARG_NONE, &take_down,
      "Remove vprovd's bridges, rules and dnsmasq, and exit", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &version,
      "Print the version and exit", NULL },
    { NULL },
  };
  g_autoptr (GOptionContext) options =
      g_option_context_new ("- turn spec files into running guests");
  g_autoptr (VpConfig) config = NULL;
  g_autoptr (GError) error = NULL;
  App app = { .exit_status = EXIT_SUCCESS };
  bool good = false;

  g_option_context_add_main_entries (options, entries, NULL);
  if (!g_option_context_parse (options, &argc, &argv, &error) || argc > 1) {
    fprintf (stderr, "vprovd: %s\n",
             error != NULL ? error->message : "no arguments, please");
    return 2;
  }
  if (version) {
    printf ("vprovd %s\n", PACKAGE_VERSION);
    return EXIT_SUCCESS;
  }
  vp_log_init ();
  config = vp_config_load (config_path, &error);
  if (config == NULL) {
    vp_log (VP_LOG_ERROR, NULL, NULL, NULL, "%s", error->message);
    return EXIT_FAILURE;
  }
  if (check)
    return EXIT_SUCCESS;
  if (take_down) {
    good = teardown (config, &error);
  } else {
    app.loop = g_main_loop_new (NULL, FALSE);
    g_unix_signal_add (SIGTERM, on_terminate, &app);
    g_unix_signal_add (SIGINT, on_terminate, &app);
    g_unix_signal_add (SIGHUP, on_hangup, &app);
    good = run (config, &app, &error);
    g_main_loop_unref (app.loop);
  }
  if (!good)
    vp_log (VP_LOG_ERROR, NULL, NULL, NULL, "%s", error->message);
  return good ? app.exit_status : EXIT_FAILURE;
}
