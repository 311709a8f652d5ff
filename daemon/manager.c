/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager: life, specs, events, and who runs next.  See manager-private.h
 * for the other parts.
 *
 * Everything is level-triggered: an event only marks a guest as wanting a
 * pass; the pass observes, plans and acts by itself.  So events may be lost,
 * doubled or late without harm, and a rescan now and then heals the rest. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/manager-private.h"

#include <string.h>

const char *
vp_sync_to_string (VpSync sync)
{
  static const char *const names[] = {
    [VP_SYNC_SYNCED] = "synced",   [VP_SYNC_PENDING] = "pending",
    [VP_SYNC_INVALID] = "invalid", [VP_SYNC_FAILED] = "failed",
    [VP_SYNC_RETIRED] = "retired", [VP_SYNC_CONFLICT] = "conflict",
    [VP_SYNC_UNKNOWN] = "unknown",
  };

  return names[sync];
}

void
vp_manager_news (VpManager *manager, VpNews news, const char *guest,
                 unsigned job, const char *detail)
{
  if (manager->listener != NULL)
    manager->listener (news, guest, job, detail, manager->listener_data);
}

void
vp_manager_moved (VpManager *manager)
{
  manager->generation++;
}

VpManagedGuest *
vp_manager_find (VpManager *manager, const char *name, GError **error)
{
  VpManagedGuest *guest = g_hash_table_lookup (manager->guests, name);

  if (guest == NULL)
    g_set_error (error, VP_ERROR, VP_ERROR_NO_SUCH_GUEST,
                 "there is no guest %s", name);
  return guest;
}

/* ---- Who runs next. ---- */

static void
start_passes (VpManager *manager)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (manager->catalog);
  gint64 now = g_get_monotonic_time ();
  bool net_busy = manager->net_dirty || manager->net_job != NULL ||
                  manager->net_error != NULL;

  for (guint i = 0;
       i < names->len && manager->running < manager->config->max_jobs; i++) {
    VpManagedGuest *guest =
        g_hash_table_lookup (manager->guests, g_ptr_array_index (names, i));

    if (guest == NULL || !guest->dirty || guest->job != NULL ||
        now < guest->not_before)
      continue;
    if (net_busy && vp_manager_needs_net (manager, guest->name) &&
        vp_manager_is_wanted_up (manager, guest->name))
      continue;
    vp_manager_start_pass (manager, guest);
  }
}

static gboolean
on_schedule (gpointer user_data)
{
  VpManager *manager = user_data;

  manager->schedule_source = 0;
  if (manager->stopping || !manager->scanned)
    return G_SOURCE_REMOVE;
  if (manager->net_dirty && manager->net_job == NULL)
    vp_manager_net_start_pass (manager);
  if (manager->host->ops->is_connected (manager->host))
    start_passes (manager);
  return G_SOURCE_REMOVE;
}

void
vp_manager_schedule (VpManager *manager)
{
  if (manager->schedule_source == 0 && !manager->stopping)
    manager->schedule_source = g_idle_add (on_schedule, manager);
}

void
vp_manager_touch (VpManager *manager, VpManagedGuest *guest, bool now)
{
  guest->dirty = true;
  if (now) {
    guest->not_before = 0;
    guest->failures = 0;
    g_clear_handle_id (&guest->retry_source, g_source_remove);
  }
  vp_manager_schedule (manager);
}

static void
touch_all (VpManager *manager, bool now)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    vp_manager_touch (manager, value, now);
}

/* ---- Specs. ---- */

static void
log_problems (VpManager *manager, const GPtrArray *problems)
{
  for (guint i = 0; i < problems->len; i++) {
    const VpProblem *problem = g_ptr_array_index (problems, i);
    bool known = false;

    for (guint j = 0; j < manager->problems->len && !known; j++) {
      const VpProblem *old = g_ptr_array_index (manager->problems, j);

      known = g_str_equal (old->path, problem->path) &&
              old->place.line == problem->place.line &&
              old->place.column == problem->place.column &&
              g_str_equal (old->message, problem->message);
    }
    if (!known && !g_str_equal (problem->code, "paused"))
      vp_log_problem (problem); /* "paused" was said with its own id */
  }
}

/* A guest that is no more: renamed, or never a good one. */
static void
end_asked_job (VpManager *manager, VpManagedGuest *guest)
{
  g_autoptr (GError) error = g_error_new (
      VP_ERROR, VP_ERROR_NO_SUCH_GUEST, "guest %s has gone away", guest->name);

  if (guest->wanted_job != 0)
    vp_manager_end_job (manager, guest->wanted_job, error);
  guest->wanted_job = 0;
}

/* Makes the run-time guests agree with the catalog's. */
void
vp_manager_sync_guests (VpManager *manager)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (manager->catalog);
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);

    if (g_hash_table_contains (manager->guests, name))
      continue;
    g_hash_table_insert (manager->guests, g_strdup (name),
                         vp_managed_guest_new (name));
    vp_manager_news (manager, VP_NEWS_GUEST_ADDED, name, 0, NULL);
  }
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    VpManagedGuest *guest = value;

    if (vp_catalog_get (manager->catalog, key) == NULL && guest->job == NULL) {
      end_asked_job (manager, guest);
      vp_manager_news (manager, VP_NEWS_GUEST_REMOVED, key, 0, NULL);
      g_hash_table_iter_remove (&iter);
    }
  }
}

static unsigned
count_wanted (VpManager *manager)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (manager->catalog);
  unsigned n = 0;

  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *guest =
        vp_catalog_get (manager->catalog, g_ptr_array_index (names, i));

    n += guest->record != NULL && !guest->record->retired;
  }
  return n;
}

static bool
folder_is_there (VpManager *manager, const char *name)
{
  const VpCatalogGuest *guest = vp_catalog_get (manager->catalog, name);
  g_autofree char *folder =
      guest->path != NULL ? g_path_get_dirname (guest->path) : NULL;

  return folder == NULL || g_file_test (folder, G_FILE_TEST_IS_DIR);
}

/* Why what vanished is not believed, or NULL. */
static char *
doubt (VpManager *manager, const VpSpecScan *scan,
       const VpCatalogChange *change)
{
  unsigned wanted = count_wanted (manager);

  if (change->vanished->len == 0)
    return NULL;
  if (!scan->complete)
    return g_strdup (scan->reason);
  for (guint i = 0; i < change->vanished->len; i++) {
    const char *name = g_ptr_array_index (change->vanished, i);

    if (!folder_is_there (manager, name))
      return g_strdup_printf ("the folder of %s is gone",
                              vp_catalog_get (manager->catalog, name)->path);
  }
  if (change->vanished->len >= 3 && 2 * change->vanished->len > wanted)
    return g_strdup_printf ("%u of %u guests' files are gone at once",
                            change->vanished->len, wanted);
  return NULL;
}

/* True where guests were retired: what they held (ports, addresses) is free
 * for others now. */
static bool
pause_or_retire (VpManager *manager, const VpSpecScan *scan,
                 const VpCatalogChange *change, bool confirmed)
{
  g_autofree char *why = confirmed ? NULL : doubt (manager, scan, change);

  if (g_strcmp0 (why, manager->paused_reason) != 0) {
    if (why != NULL)
      vp_log (VP_LOG_WARNING, VP_MESSAGE_PAUSED, NULL, NULL,
              "no guest is stopped: %s; \"vprovctl apply\" if it is meant so",
              why);
    g_free (manager->paused_reason);
    manager->paused_reason = g_strdup (why);
  }
  if (why != NULL)
    return false;
  for (guint i = 0; i < change->vanished->len; i++) {
    const char *name = g_ptr_array_index (change->vanished, i);
    g_autoptr (GError) error = NULL;

    if (!vp_catalog_retire (manager->catalog, name, &error)) {
      vp_log (VP_LOG_ERROR, NULL, NULL, NULL, "%s", error->message);
      continue;
    }
    vp_log (VP_LOG_NOTICE, VP_MESSAGE_RETIRED, name, NULL,
            "guest %s: its file is gone: it is shut down and kept, with its "
            "disks",
            name);
    g_ptr_array_add (change->changed, g_strdup (name));
  }
  return change->vanished->len > 0;
}

static void
accept_changes (VpManager *manager, const VpCatalogChange *change)
{
  for (guint i = 0; i < change->changed->len; i++) {
    VpManagedGuest *guest = g_hash_table_lookup (
        manager->guests, g_ptr_array_index (change->changed, i));

    if (guest != NULL)
      vp_manager_touch (manager, guest, true);
  }
  if (change->changed->len > 0 || change->net_changed) {
    vp_manager_moved (manager);
    vp_manager_net_touch (manager);
  }
}

static void
rescan (VpManager *manager, bool confirmed)
{
  g_autoptr (VpSpecScan) scan = vp_spec_dir_scan (manager->spec_dir);
  VpCatalogChange *change = NULL;
  GPtrArray *problems = NULL;
  GHashTableIter iter;
  gpointer value = NULL;

  vp_manager_news (manager, VP_NEWS_RELOADING, NULL, 0, "begin");
  change = vp_catalog_update (manager->catalog, scan);
  if (pause_or_retire (manager, scan, change, confirmed)) {
    g_autoptr (VpCatalogChange) more =
        vp_catalog_update (manager->catalog, scan);

    vp_catalog_change_merge (change, more);
  }
  vp_manager_sync_guests (manager);
  problems = vp_catalog_problems (manager->catalog);
  if (manager->paused_reason != NULL)
    g_ptr_array_insert (
        problems, 0,
        vp_problem_new (manager->config->spec_dirs[0], (VpPlace){ 0, 0 },
                        VP_SEVERITY_WARNING, "paused",
                        "no guest is stopped: %s; \"vprovctl apply\" if it is "
                        "meant so",
                        manager->paused_reason));
  log_problems (manager, problems);
  g_ptr_array_unref (manager->problems);
  manager->problems = problems;
  manager->scanned = true;
  accept_changes (manager, change);
  vp_catalog_change_free (change);
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    vp_manager_refresh (manager, value);
  vp_manager_news (manager, VP_NEWS_RELOADING, NULL, 0, "end");
  vp_manager_news (manager, VP_NEWS_MANAGER, NULL, 0, NULL);
}

static void
on_specs_changed (gpointer user_data)
{
  rescan (user_data, false);
}

static gboolean
on_rescan (gpointer user_data)
{
  VpManager *manager = user_data;

  rescan (manager, false);
  touch_all (manager, false);
  vp_manager_net_touch (manager);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_sample (gpointer user_data)
{
  vp_manager_sample (user_data);
  return G_SOURCE_CONTINUE;
}

void
vp_manager_reload (VpManager *manager, GPtrArray **ret_problems)
{
  rescan (manager, false);
  *ret_problems = vp_problems_new ();
  for (guint i = 0; i < manager->problems->len; i++)
    g_ptr_array_add (*ret_problems, vp_problem_copy (g_ptr_array_index (
                                        manager->problems, i)));
}

void
vp_manager_confirm (VpManager *manager)
{
  if (manager->paused_reason == NULL)
    return;
  vp_spec_dir_trust (manager->spec_dir);
  rescan (manager, true);
}

/* ---- Events. ---- */

static VpManagedGuest *
guest_of_domain (VpManager *manager, const char *domain)
{
  VpManagedGuest *guest = g_hash_table_lookup (manager->guests, domain);
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  if (guest != NULL)
    return guest;
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    const VpCatalogGuest *spec = vp_catalog_get (manager->catalog, key);

    if (spec != NULL && spec->record != NULL &&
        g_strcmp0 (spec->record->domain, domain) == 0)
      return value;
  }
  return NULL;
}

static const char *
event_word (VpHostEvent event)
{
  static const char *const words[] = {
    [VP_HOST_EVENT_CONNECTED] = "connected",
    [VP_HOST_EVENT_DISCONNECTED] = "disconnected",
    [VP_HOST_EVENT_DEFINED] = "defined",
    [VP_HOST_EVENT_UNDEFINED] = "undefined",
    [VP_HOST_EVENT_STARTED] = "started",
    [VP_HOST_EVENT_SHUTDOWN_BY_GUEST] = "shutdown",
    [VP_HOST_EVENT_STOPPED] = "stopped",
    [VP_HOST_EVENT_CRASHED] = "crashed",
    [VP_HOST_EVENT_PAUSED] = "paused",
    [VP_HOST_EVENT_RESUMED] = "resumed",
  };

  return words[event];
}

static void
on_link (VpManager *manager, bool connected)
{
  vp_log (connected ? VP_LOG_INFO : VP_LOG_WARNING, NULL, NULL, NULL,
          connected ? "connected to %s"
                    : "lost the connection to %s; guests run on",
          vp_manager_get_uri (manager));
  if (connected)
    touch_all (manager, true);
  vp_manager_news (manager, VP_NEWS_MANAGER, NULL, 0, NULL);
}

/* A guest that goes down again and again is started later and later. */
static void
back_off_start (VpManager *manager, VpManagedGuest *guest)
{
  unsigned wait_s =
      guest->starts > 0 ? MIN (1U << MIN (guest->starts - 1, 9U), 300) : 0;

  guest->went_down = true;
  if (wait_s > 0)
    guest->not_before =
        MAX (guest->not_before,
             g_get_monotonic_time () + (gint64) wait_s * G_USEC_PER_SEC);
}

static void
on_host_event (VpHostEvent event, const char *name, const char *detail,
               gpointer user_data)
{
  VpManager *manager = user_data;
  VpManagedGuest *guest = NULL;

  if (manager->stopping)
    return;
  if (event == VP_HOST_EVENT_CONNECTED || event == VP_HOST_EVENT_DISCONNECTED) {
    on_link (manager, event == VP_HOST_EVENT_CONNECTED);
    return;
  }
  guest = guest_of_domain (manager, name);
  if (guest == NULL)
    return;
  vp_manager_moved (manager);
  vp_log (event == VP_HOST_EVENT_CRASHED ? VP_LOG_WARNING : VP_LOG_INFO,
          VP_MESSAGE_GUEST_EVENT, guest->name, NULL, "guest %s: %s (%s)",
          guest->name, event_word (event), detail);
  vp_manager_news (manager, VP_NEWS_GUEST_EVENT, guest->name, 0,
                   event_word (event));
  if (event == VP_HOST_EVENT_CRASHED ||
      (event == VP_HOST_EVENT_STOPPED && guest->job == NULL))
    back_off_start (manager, guest);
  vp_manager_touch (manager, guest, false);
  if (guest->not_before > g_get_monotonic_time ())
    vp_manager_wake_later (manager, guest);
}

/* ---- Life. ---- */

static char *
read_boot_id (void)
{
  char *boot_id = NULL;

  if (!g_file_get_contents ("/proc/sys/kernel/random/boot_id", &boot_id, NULL,
                            NULL))
    return g_strdup ("");
  return g_strstrip (boot_id);
}

static void
managed_job_free (VpManagedJob *job)
{
  g_free (job->status.guest);
  g_free (job->status.verb);
  g_free (job->status.phase);
  g_free (job->status.error_name);
  g_free (job->status.error_message);
  g_free (job);
}

VpManager *
vp_manager_new (const VpConfig *config, VpHost *host, VpStore *store)
{
  VpManager *manager = g_new0 (VpManager, 1);

  manager->config = config;
  manager->host = host;
  manager->store = store;
  manager->catalog = vp_catalog_new (config, store);
  manager->boot_id = read_boot_id ();
  manager->problems = vp_problems_new ();
  manager->asked = g_ptr_array_new ();
  manager->guests = g_hash_table_new_full (
      g_str_hash, g_str_equal, g_free, (GDestroyNotify) vp_managed_guest_free);
  manager->jobs = g_hash_table_new_full (NULL, NULL, NULL,
                                         (GDestroyNotify) managed_job_free);
  vp_manager_net_init (manager);
  return manager;
}

/* A boot of the host lifts every hold. */
static void
lift_old_holds (VpManager *manager)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (manager->catalog);

  for (guint i = 0; i < names->len; i++) {
    VpCatalogGuest *guest =
        vp_catalog_get (manager->catalog, g_ptr_array_index (names, i));

    if (guest->record != NULL && guest->record->hold &&
        g_strcmp0 (guest->record->boot_id, manager->boot_id) != 0)
      (void) vp_manager_set_hold (manager, guest->name, false, NULL);
  }
}

/* What a crash left: said once; the passes observe and go on. */
static void
forget_old_journals (VpManager *manager)
{
  g_autoptr (GHashTable) journals =
      vp_store_list_journals (manager->store, NULL);
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  if (journals == NULL)
    return;
  g_hash_table_iter_init (&iter, journals);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    vp_log (VP_LOG_WARNING, NULL, key, NULL,
            "guest %s: a job was interrupted (%s); planning again",
            (const char *) key, (const char *) value);
    (void) vp_store_remove_journal (manager->store, key, NULL);
  }
}

bool
vp_manager_start (VpManager *manager, GError **error)
{
  if (!vp_catalog_load (manager->catalog, error))
    return false;
  lift_old_holds (manager);
  forget_old_journals (manager);
  vp_catalog_sweep (manager->catalog);
  vp_manager_sync_guests (manager);
  manager->spec_dir =
      vp_spec_dir_new ((const char *const *) manager->config->spec_dirs,
                       manager->config->settle_ms, on_specs_changed, manager);
  manager->host->ops->set_listener (manager->host, on_host_event, manager);
  rescan (manager, false);
  touch_all (manager, true);
  manager->rescan_source =
      g_timeout_add_seconds (manager->config->rescan_s, on_rescan, manager);
  manager->sample_source = g_timeout_add (250, on_sample, manager);
  return true;
}

void
vp_manager_set_listener (VpManager *manager, VpManagerListener listener,
                         gpointer user_data)
{
  manager->listener = listener;
  manager->listener_data = user_data;
}

static void
finish_jobs (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpManagedGuest *) value)->job != NULL)
      vp_job_cancel (((VpManagedGuest *) value)->job);
  for (guint i = 0; i < manager->asked->len; i++)
    vp_job_cancel (g_ptr_array_index (manager->asked, i));
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpManagedGuest *) value)->job != NULL)
      vp_job_finish (((VpManagedGuest *) value)->job);
  while (manager->asked->len > 0)
    vp_job_finish (g_ptr_array_index (manager->asked, 0));
  if (manager->net_job != NULL)
    vp_job_finish (manager->net_job);
}

void
vp_manager_stop (VpManager *manager)
{
  manager->stopping = true;
  vp_manager_news (manager, VP_NEWS_MANAGER, NULL, 0, NULL);
  g_clear_handle_id (&manager->schedule_source, g_source_remove);
  g_clear_handle_id (&manager->rescan_source, g_source_remove);
  g_clear_handle_id (&manager->sample_source, g_source_remove);
  g_clear_pointer (&manager->spec_dir, vp_spec_dir_free);
  manager->host->ops->set_listener (manager->host, NULL, NULL);
  finish_jobs (manager);
}

void
vp_manager_free (VpManager *manager)
{
  if (manager == NULL)
    return;
  vp_manager_net_clear (manager);
  vp_manager_plan_clear (manager);
  g_clear_handle_id (&manager->schedule_source, g_source_remove);
  g_hash_table_unref (manager->guests);
  g_hash_table_unref (manager->jobs);
  g_ptr_array_unref (manager->asked);
  g_ptr_array_unref (manager->problems);
  vp_catalog_free (manager->catalog);
  g_free (manager->boot_id);
  g_free (manager->paused_reason);
  g_free (manager);
}

/* ---- Questions. ---- */

static bool
any_busy (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;

  if (manager->net_dirty || manager->net_job != NULL)
    return true;
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpManagedGuest *) value)->dirty ||
        ((VpManagedGuest *) value)->job != NULL)
      return true;
  return false;
}

static bool
any_failed (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;

  if (manager->net_error != NULL || vp_problems_have_error (manager->problems))
    return true;
  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpManagedGuest *) value)->error_message != NULL ||
        ((VpManagedGuest *) value)->conflict != NULL)
      return true;
  return false;
}

const char *
vp_manager_get_state (VpManager *manager)
{
  if (manager->stopping)
    return "stopping";
  if (manager->paused_reason != NULL)
    return "paused";
  if (!manager->scanned)
    return "starting";
  if (!vp_manager_is_connected (manager))
    return "degraded";
  if (any_busy (manager))
    return "reconciling";
  return any_failed (manager) ? "degraded" : "synced";
}

bool
vp_manager_is_connected (VpManager *manager)
{
  return manager->host->ops->is_connected (manager->host);
}

const char *
vp_manager_get_uri (VpManager *manager)
{
  return manager->host->ops->uri (manager->host);
}

uint64_t
vp_manager_get_generation (VpManager *manager)
{
  return manager->generation;
}

int64_t
vp_manager_get_last_reconcile (VpManager *manager)
{
  return manager->last_reconcile;
}

const GPtrArray *
vp_manager_get_problems (VpManager *manager)
{
  return manager->problems;
}

GPtrArray *
vp_manager_list_guests (VpManager *manager)
{
  return vp_catalog_list (manager->catalog);
}

const VpGuestStatus *
vp_manager_get_guest (VpManager *manager, const char *name)
{
  const VpManagedGuest *guest = g_hash_table_lookup (manager->guests, name);

  return guest != NULL ? guest->status : NULL;
}

const VpJobStatus *
vp_manager_get_job (VpManager *manager, unsigned id)
{
  const VpManagedJob *job =
      g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));

  return job != NULL ? &job->status : NULL;
}

GArray *
vp_manager_list_jobs (VpManager *manager)
{
  GArray *ids = g_array_new (FALSE, FALSE, sizeof (unsigned));
  GHashTableIter iter;
  gpointer key = NULL;

  g_hash_table_iter_init (&iter, manager->jobs);
  while (g_hash_table_iter_next (&iter, &key, NULL)) {
    unsigned id = GPOINTER_TO_UINT (key);

    g_array_append_val (ids, id);
  }
  return ids;
}

char *
vp_manager_get_spec (VpManager *manager, const char *name)
{
  return vp_store_load_accepted (manager->store, "guest", name, NULL, NULL,
                                 NULL);
}
