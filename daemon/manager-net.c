/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-net: the networks' job.  One at a time; it gets the whole wanted
 * set, which is a function of the accepted specs, and so may be repeated at
 * will.  Guests that need a network wait until it is done.
 *
 * When somebody else changes the tables or links, the watch wakes us; more
 * than five repairs in ten seconds are put off, so that two programs at odds
 * do not burn the processor. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/manager-private.h"

#include <string.h>

#include <glib-unix.h>

#define HEAL_WINDOW_US (10 * G_USEC_PER_SEC)
#define HEALS_MAX      5
#define BACK_OFF_MAX_S 300

typedef struct VpNetJob {
  const VpNetHostConfig *config;
  VpNetWanted *wanted;
  VpNetReport *report;
  GError *error;
} VpNetJob;

static void
net_job_free (VpNetJob *data)
{
  vp_net_wanted_unref (data->wanted);
  vp_net_report_free (data->report);
  g_clear_error (&data->error);
  g_free (data);
}

static void
net_job_func (VpJob *job, gpointer job_data)
{
  VpNetJob *data = job_data;

  data->report = vp_net_apply (data->config, data->wanted, false, &data->error);
}

static void
refresh_all (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    vp_manager_refresh (manager, value);
}

static gboolean
on_net_retry (gpointer user_data)
{
  VpManager *manager = user_data;

  manager->net_retry_source = 0;
  vp_manager_net_touch (manager);
  return G_SOURCE_REMOVE;
}

static void
retry_net_later (VpManager *manager, unsigned seconds)
{
  g_clear_handle_id (&manager->net_retry_source, g_source_remove);
  manager->net_retry_source =
      g_timeout_add_seconds (seconds, on_net_retry, manager);
}

static void
take_report (VpManager *manager, VpNetJob *data)
{
  for (guint i = 0; i < data->report->steps->len; i++) {
    const VpNetStep *step = g_ptr_array_index (data->report->steps, i);

    vp_log (VP_LOG_NOTICE, VP_MESSAGE_STEP_DONE, step->guest, "net",

            "network: %s", step->words);
  }
  if (data->report->steps->len > 0)
    vp_manager_moved (manager);
  g_ptr_array_unref (manager->forward_status);
  manager->forward_status = g_ptr_array_ref (data->report->forwards);
  manager->net_failures = 0;
  g_clear_pointer (&manager->net_error, g_free);
}

static void
on_net_done (VpJob *job, gpointer job_data, gpointer user_data)
{
  VpManager *manager = user_data;
  VpNetJob *data = job_data;

  manager->net_job = NULL;
  manager->net_job_data = NULL;
  if (data->report != NULL) {
    take_report (manager, data);
  } else {
    g_free (manager->net_error);
    manager->net_error = g_strdup (data->error->message);
    vp_log (VP_LOG_ERROR, VP_MESSAGE_JOB_FAILED, NULL, NULL, "network: %s",
            data->error->message);
    manager->net_failures++;
    retry_net_later (manager, MIN (1U << MIN (manager->net_failures - 1, 9U),
                                   BACK_OFF_MAX_S));
  }
  net_job_free (data);
  refresh_all (manager);
  vp_manager_news (manager, VP_NEWS_MANAGER, NULL, 0, NULL);
  vp_manager_schedule (manager);
}

void
vp_manager_net_start_pass (VpManager *manager)
{
  VpNetJob *data = g_new0 (VpNetJob, 1);

  manager->net_dirty = false;
  data->config = &manager->net_config;
  data->wanted = vp_catalog_net_wanted (manager->catalog);
  manager->net_job_data = data;
  manager->net_job = vp_job_start (net_job_func, data, on_net_done, manager);
}

void
vp_manager_net_touch (VpManager *manager)
{
  if (!manager->config->manage_networks)
    return;
  manager->net_dirty = true;
  vp_manager_schedule (manager);
}

static gboolean
on_net_watch (gint fd, GIOCondition condition, gpointer user_data)
{
  VpManager *manager = user_data;
  gint64 now = g_get_monotonic_time ();

  if (!vp_net_watch_drain (manager->net_watch) || manager->stopping)
    return G_SOURCE_CONTINUE;
  if (now - manager->net_heal_window > HEAL_WINDOW_US) {
    manager->net_heal_window = now;
    manager->net_heals = 0;
  }
  if (++manager->net_heals <= HEALS_MAX)
    vp_manager_net_touch (manager);
  else if (manager->net_retry_source == 0)
    retry_net_later (manager, HEAL_WINDOW_US / G_USEC_PER_SEC);
  return G_SOURCE_CONTINUE;
}

/* Under systemd dnsmasq is a unit of its own, and outlives us.  The unit knows
 * the installed folder only; elsewhere (tests, a demonstration) dnsmasq is an
 * ordinary child that let go of us. */
static void
use_units (VpManager *manager)
{
  if (!g_str_equal (manager->config->runtime_dir, "/run/vprovd"))
    return;
  manager->units = vp_units_new (NULL, 0);
  if (vp_units_is_available (manager->units))
    vp_units_get_dnsmasq_ops (manager->units, &manager->net_config.dnsmasq);
}

void
vp_manager_net_init (VpManager *manager)
{
  g_autoptr (GError) error = NULL;

  manager->forward_status =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_forward_status_free);
  if (!manager->config->manage_networks)
    return;
  manager->net_config.runtime_dir = g_strdup (manager->config->runtime_dir);
  manager->net_config.state_dir = g_strdup (manager->config->state_dir);
  use_units (manager);
  manager->net_watch = vp_net_watch_new (&error);
  if (manager->net_watch == NULL)
    vp_log (VP_LOG_WARNING, NULL, NULL, NULL,
            "changes that others make to the firewall are seen by the rescan "
            "only: %s",
            error->message);
  else
    manager->net_watch_source =
        g_unix_fd_add (vp_net_watch_get_fd (manager->net_watch), G_IO_IN,
                       on_net_watch, manager);
  manager->net_dirty = true;
}

void
vp_manager_net_clear (VpManager *manager)
{
  g_clear_handle_id (&manager->net_watch_source, g_source_remove);
  g_clear_handle_id (&manager->net_retry_source, g_source_remove);
  g_clear_pointer (&manager->net_watch, vp_net_watch_free);
  g_clear_pointer (&manager->units, vp_units_free);
  g_clear_pointer (&manager->forward_status, g_ptr_array_unref);
  g_clear_pointer (&manager->net_error, g_free);
  g_clear_pointer (&manager->net_config.runtime_dir, g_free);
  g_clear_pointer (&manager->net_config.state_dir, g_free);
}

/* ---- Forward check. ---- */

typedef struct {
  const VpNetHostConfig *config;
  VpNetWanted *wanted;
  const VpNetForward *forward; /* of wanted */
  GTask *task;
  GPtrArray *checks;
  GError *error;
} CheckJob;

static void
check_func (VpJob *job, gpointer job_data)
{
  CheckJob *data = job_data;

  data->checks = vp_net_forward_check (data->config, data->wanted,
                                       data->forward, &data->error);
}

static void
check_done (VpJob *job, gpointer job_data, gpointer user_data)
{
  CheckJob *data = job_data;

  vp_manager_asked (user_data, job);
  if (data->checks != NULL)
    g_task_return_pointer (data->task, data->checks,
                           (GDestroyNotify) g_ptr_array_unref);
  else
    g_task_return_error (data->task, data->error);
  g_object_unref (data->task);
  vp_net_wanted_unref (data->wanted);
  g_free (data);
}

/* "web:8080", "web:8080/udp"; an error where it is not a forward. */
static const VpNetForward *
find_forward (VpManager *manager, const VpNetWanted *wanted, const char *text,
              GError **error)
{
  const char *colon = strrchr (text, ':');
  g_autofree char *guest = NULL;
  const char *digits = colon != NULL ? colon + 1 : "";
  gsize n_digits = strspn (digits, "0123456789");
  const char *tail = digits + n_digits;
  guint64 port = n_digits < 6 ? g_ascii_strtoull (digits, NULL, 10) : 0;
  bool udp = strcmp (tail, "/udp") == 0;

  if (colon == NULL || port == 0 || port > 65535 ||
      !(udp || *tail == '\0' || strcmp (tail, "/tcp") == 0)) {
    g_set_error (error, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS,
                 "\"%s\" is not GUEST:PORT or GUEST:PORT/udp", text);
    return NULL;
  }
  guest = g_strndup (text, (gsize) (colon - text));
  if (vp_manager_find (manager, guest, error) == NULL)
    return NULL;
  for (guint i = 0; i < wanted->forwards->len; i++) {
    const VpNetForward *forward = g_ptr_array_index (wanted->forwards, i);

    if (g_str_equal (forward->guest, guest) && forward->udp == udp &&
        port >= forward->first && port <= forward->last)
      return forward;
  }
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
               "guest %s has no %s forward on port %u, or is not to run", guest,
               udp ? "udp" : "tcp", (unsigned) port);
  return NULL;
}

void
vp_manager_forward_check_async (VpManager *manager, const char *forward,
                                GAsyncReadyCallback callback,
                                gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autoptr (VpNetWanted) wanted = vp_catalog_net_wanted (manager->catalog);
  GError *error = NULL;
  const VpNetForward *found = NULL;
  CheckJob *data = NULL;

  if (!manager->config->manage_networks)
    error = g_error_new_literal (VP_ERROR, VP_ERROR_NOT_SUPPORTED,
                                 "vprovd.conf says ManageNetworks=no");
  else
    found = vp_manager_may_ask (manager, &error)
                ? find_forward (manager, wanted, forward, &error)
                : NULL;
  if (found == NULL) {
    g_task_return_error (task, error);
    return;
  }
  data = g_new0 (CheckJob, 1);
  data->config = &manager->net_config;
  data->wanted = g_steal_pointer (&wanted);
  data->forward = found;
  data->task = g_steal_pointer (&task);
  vp_manager_ask (manager, check_func, data, check_done);
}

GPtrArray *
vp_manager_forward_check_finish (VpManager *manager, GAsyncResult *result,
                                 GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}
