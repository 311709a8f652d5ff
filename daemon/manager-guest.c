/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-guest: one guest's passes.  A pass is a job: observe, plan, run.
 * Its result comes back here, goes into the records and the status, and says
 * whether another pass is needed.
 *
 * Holds: a guest that a person stopped, or that shut down from inside, stays
 * down until a person starts it, the host boots, or its spec's state=
 * changes.  A crash holds nothing. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/manager-private.h"

#include <string.h>

#define BACK_OFF_MAX_S 300
#define HEALTHY_US     (600 * G_USEC_PER_SEC)

static void
guest_address_free (VpGuestAddress *address)
{
  g_free (address->nic);
  g_free (address->address);
  g_free (address->mac);
  g_free (address->source);
  g_free (address);
}

static VpGuestStatus *
status_new (const char *name)
{
  VpGuestStatus *status = g_new0 (VpGuestStatus, 1);

  status->name = g_strdup (name);
  status->uuid = g_strdup ("");
  status->source_path = g_strdup ("");
  status->description = g_strdup ("");
  status->digest = g_strdup ("");
  status->state = g_strdup ("unknown");
  status->sub_state = g_strdup ("");
  status->wanted = g_strdup ("");
  status->sync = VP_SYNC_UNKNOWN;
  status->accel = g_strdup ("");
  status->pending = g_ptr_array_new_with_free_func (g_free);
  status->problems = vp_problems_new ();
  status->addresses =
      g_ptr_array_new_with_free_func ((GDestroyNotify) guest_address_free);
  status->forwards =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_forward_status_free);
  status->forward_words = g_ptr_array_new_with_free_func (g_free);
  status->error_name = g_strdup ("");
  status->error_message = g_strdup ("");
  return status;
}

static void
status_free (VpGuestStatus *status)
{
  g_free (status->name);
  g_free (status->uuid);
  g_free (status->source_path);
  g_free (status->description);
  g_free (status->digest);
  g_free (status->state);
  g_free (status->sub_state);
  g_free (status->wanted);
  g_free (status->accel);
  g_ptr_array_unref (status->pending);
  g_ptr_array_unref (status->problems);
  g_ptr_array_unref (status->addresses);
  g_ptr_array_unref (status->forwards);
  g_ptr_array_unref (status->forward_words);
  g_free (status->error_name);
  g_free (status->error_message);
  g_free (status);
}

VpManagedGuest *
vp_managed_guest_new (const char *name)
{
  VpManagedGuest *guest = g_new0 (VpManagedGuest, 1);

  guest->name = g_strdup (name);
  guest->status = status_new (name);
  guest->waiting = g_ptr_array_new_with_free_func (g_free);
  return guest;
}

void
vp_managed_guest_free (VpManagedGuest *guest)
{
  g_clear_handle_id (&guest->retry_source, g_source_remove);
  status_free (guest->status);
  g_ptr_array_unref (guest->waiting);
  g_free (guest->name);
  g_free (guest->conflict);
  g_free (guest->error_name);
  g_free (guest->error_message);
  g_free (guest->accel_warning);
  g_free (guest);
}

/* ---- Status. ---- */

static void
set (char **field, const char *value)
{
  if (g_strcmp0 (*field, value) == 0)
    return;
  g_free (*field);
  *field = g_strdup (value != NULL ? value : "");
}

static bool
wants_to_run (const VpCatalogGuest *spec)
{
  return spec->spec != NULL && spec->record != NULL && !spec->record->retired &&
         spec->spec->power != VP_POWER_STOPPED && !spec->record->hold;
}

bool
vp_manager_is_wanted_up (VpManager *manager, const char *name)
{
  const VpCatalogGuest *spec = vp_catalog_get (manager->catalog, name);

  return spec != NULL && wants_to_run (spec);
}

bool
vp_manager_needs_net (VpManager *manager, const char *name)
{
  const VpCatalogGuest *spec = vp_catalog_get (manager->catalog, name);

  if (!manager->config->manage_networks || spec == NULL ||
      spec->resolved == NULL)
    return false;
  for (guint i = 0; i < spec->resolved->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (spec->resolved->nics, i);

    if (nic->ip.family != 0)
      return true;
  }
  return false;
}

static VpSync
guest_sync (VpManager *manager, const VpManagedGuest *guest,
            const VpCatalogGuest *spec)
{
  if (vp_problems_have_error (spec->problems))
    return VP_SYNC_INVALID;
  if (spec->record != NULL && spec->record->retired)
    return VP_SYNC_RETIRED;
  if (!guest->observed && !manager->host->ops->is_connected (manager->host))
    return VP_SYNC_UNKNOWN;
  if (guest->conflict != NULL)
    return VP_SYNC_CONFLICT;
  if (guest->error_message != NULL)
    return VP_SYNC_FAILED;
  if (guest->dirty || guest->job != NULL || guest->waiting->len > 0)
    return VP_SYNC_PENDING;
  return guest->observed ? VP_SYNC_SYNCED : VP_SYNC_UNKNOWN;
}

static const char *
guest_state (const VpManagedGuest *guest)
{
  if (!guest->observed)
    return "unknown";
  if (!guest->exists)
    return "undefined";
  return vp_power_to_string (guest->power);
}

static VpForwardStatus *
forward_status (VpManager *manager, const char *guest, const char *id,
                bool runs)
{
  VpForwardStatus *status = g_new0 (VpForwardStatus, 1);

  status->guest = g_strdup (guest);
  status->id = g_strdup (id);
  status->state = VP_FORWARD_PENDING;
  for (guint i = 0; i < manager->forward_status->len; i++) {
    const VpForwardStatus *known =
        g_ptr_array_index (manager->forward_status, i);

    if (g_str_equal (known->guest, guest) && g_str_equal (known->id, id)) {
      status->state = known->state;
      status->reason = g_strdup (known->reason);
      return status;
    }
  }
  status->reason = g_strdup (!runs ? "the guest is not to run"
                             : manager->net_error != NULL ? manager->net_error
                                                          : "not applied yet");
  return status;
}

static void
show_forward (VpManager *manager, VpGuestStatus *status,
              const VpForward *forward, bool runs)
{
  const struct {
    bool on;
    const char *name;
  } protos[] = { { forward->tcp, "tcp" }, { forward->udp, "udp" } };

  for (gsize i = 0; i < G_N_ELEMENTS (protos); i++) {
    VpForward one = *forward;
    g_autofree char *id = NULL;

    if (!protos[i].on)
      continue;
    one.tcp = i == 0;
    one.udp = i == 1;
    id = forward->first == forward->last
             ? g_strdup_printf ("%s:%u", protos[i].name, forward->first)
             : g_strdup_printf ("%s:%u-%u", protos[i].name, forward->first,
                                forward->last);
    g_ptr_array_add (status->forwards,
                     forward_status (manager, status->name, id, runs));
    g_ptr_array_add (status->forward_words, vp_forward_to_string (&one));
  }
}

static void
show_nics (VpManager *manager, VpGuestStatus *status,
           const VpCatalogGuest *spec)
{
  g_ptr_array_set_size (status->addresses, 0);
  g_ptr_array_set_size (status->forwards, 0);
  g_ptr_array_set_size (status->forward_words, 0);
  for (guint i = 0; spec->resolved != NULL && i < spec->resolved->nics->len;
       i++) {
    const VpNic *nic = g_ptr_array_index (spec->resolved->nics, i);

    if (nic->ip.family != 0) {
      VpGuestAddress *address = g_new0 (VpGuestAddress, 1);

      address->nic = g_strdup (nic->name);
      address->address = vp_addr_to_string (&nic->ip);
      address->mac = g_strdup (nic->mac);
      address->source = g_strdup (nic->address != NULL ? "static" : "reserved");
      g_ptr_array_add (status->addresses, address);
    }
    for (guint j = 0; j < nic->forwards->len; j++)
      show_forward (manager, status, g_ptr_array_index (nic->forwards, j),
                    wants_to_run (spec));
  }
}

static void
show_problems (VpGuestStatus *status, const VpManagedGuest *guest,
               const VpCatalogGuest *spec)
{
  g_ptr_array_set_size (status->problems, 0);
  for (guint i = 0; i < spec->problems->len; i++)
    g_ptr_array_add (status->problems,
                     vp_problem_copy (g_ptr_array_index (spec->problems, i)));
  if (guest->accel_warning != NULL)
    g_ptr_array_add (status->problems,
                     vp_problem_new (spec->path, (VpPlace){ 0, 0 },
                                     VP_SEVERITY_WARNING, "accel", "%s",
                                     guest->accel_warning));
  if (guest->conflict != NULL)
    g_ptr_array_add (status->problems,
                     vp_problem_new (spec->path, (VpPlace){ 0, 0 },
                                     VP_SEVERITY_ERROR, "conflict", "%s",
                                     guest->conflict));
  if (guest->waiting->len > 0 && spec->fresh_warning != NULL)
    g_ptr_array_add (status->problems,
                     vp_problem_new (spec->path, (VpPlace){ 0, 0 },
                                     VP_SEVERITY_WARNING, "renamed", "%s",
                                     spec->fresh_warning));
}

void
vp_manager_refresh (VpManager *manager, VpManagedGuest *guest)
{
  VpCatalogGuest *spec = vp_catalog_get (manager->catalog, guest->name);
  VpGuestStatus *status = guest->status;
  g_autofree char *phase = NULL;

  if (spec == NULL)
    return;
  if (guest->job != NULL)
    phase = vp_job_dup_phase (guest->job);
  set (&status->uuid, spec->record != NULL ? spec->record->uuid : NULL);
  set (&status->source_path, spec->path);
  set (&status->description,
       spec->spec != NULL ? spec->spec->description : NULL);
  set (&status->state, guest_state (guest));
  set (&status->sub_state, phase);
  set (&status->wanted, spec->spec == NULL    ? ""
                        : wants_to_run (spec) ? "running"
                                              : "stopped");
  set (&status->accel,
       guest->observed && guest->exists && guest->accel != VP_ACCEL_AUTO
           ? vp_accel_to_string (guest->accel)
           : "");
  set (&status->error_name, guest->error_name);
  set (&status->error_message, guest->error_message);
  status->sync = guest_sync (manager, guest, spec);
  show_nics (manager, status, spec);
  show_problems (status, guest, spec);
  vp_manager_news (manager, VP_NEWS_GUEST_CHANGED, guest->name, 0, NULL);
}

/* ---- Jobs as the bus shows them. ---- */

/* A late client can still read the result for a while. */
static void
forget_jobs (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;
  gint64 now = g_get_monotonic_time ();

  g_hash_table_iter_init (&iter, manager->jobs);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpManagedJob *job = value;

    if (job->status.finished && now - job->ended > 30 * G_USEC_PER_SEC)
      g_hash_table_iter_remove (&iter);
  }
}

unsigned
vp_manager_new_job (VpManager *manager, const char *guest, const char *verb)
{
  VpManagedJob *job = g_new0 (VpManagedJob, 1);
  unsigned id = ++manager->last_job_id;

  forget_jobs (manager);
  job->status.id = id;
  job->status.guest = g_strdup (guest);
  job->status.verb = g_strdup (verb);
  job->status.phase = g_strdup ("waiting");
  job->status.started = g_get_real_time ();
  job->status.cancelable = true;
  job->status.error_name = g_strdup ("");
  job->status.error_message = g_strdup ("");
  job->guest = g_hash_table_lookup (manager->guests, guest);
  g_hash_table_insert (manager->jobs, GUINT_TO_POINTER (id), job);
  vp_manager_news (manager, VP_NEWS_JOB_NEW, guest, id, NULL);
  return id;
}

void
vp_manager_end_job (VpManager *manager, unsigned id, const GError *error)
{
  VpManagedJob *job =
      g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));

  if (job == NULL || job->status.finished)
    return;
  job->job = NULL;
  job->status.finished = true;
  job->ended = g_get_monotonic_time ();
  job->status.cancelable = false;
  set (&job->status.phase, "done");
  if (error == NULL) {
    job->status.progress = 1;
    job->status.progress_valid = true;
  } else {
    set (&job->status.phase, "failed");
    set (&job->status.error_name, vp_error_bus_name (error));
    set (&job->status.error_message, error->message);
  }
  vp_manager_news (manager, VP_NEWS_JOB_REMOVED, job->status.guest, id, NULL);
}

static void
sample_job (VpManager *manager, VpManagedGuest *guest)
{
  VpManagedJob *job = NULL;
  g_autofree char *phase = vp_job_dup_phase (guest->job);
  uint64_t done = 0, total = 0;

  if (guest->job_id == 0) {
    /* A pass that only looks is not worth a job on the bus. */
    if (!g_str_has_prefix (phase, "running"))
      return;
    guest->job_id = vp_manager_new_job (manager, guest->name, "reconcile");
  }
  job = g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (guest->job_id));
  if (job == NULL)
    return;
  job->job = guest->job;
  done = __atomic_load_n (vp_job_done_bytes (guest->job), __ATOMIC_RELAXED);
  total = __atomic_load_n (vp_job_total_bytes (guest->job), __ATOMIC_RELAXED);
  if (g_strcmp0 (phase, job->status.phase) == 0 && done == job->status.bytes)
    return;
  set (&job->status.phase, phase);
  job->status.bytes = done;
  job->status.progress_valid = total > 0;
  job->status.progress = total > 0 ? (double) done / (double) total : 0;
  vp_manager_news (manager, VP_NEWS_JOB_CHANGED, guest->name, guest->job_id,
                   NULL);
  vp_manager_refresh (manager, guest);
}

void
vp_manager_sample (VpManager *manager)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpManagedGuest *) value)->job != NULL)
      sample_job (manager, value);
}

/* ---- Holds. ---- */

bool
vp_manager_set_hold (VpManager *manager, const char *name, bool hold,
                     GError **error)
{
  VpCatalogGuest *spec = vp_catalog_get (manager->catalog, name);

  if (spec == NULL || spec->record == NULL || spec->record->hold == hold)
    return true;
  spec->record->hold = hold;
  set (&spec->record->boot_id, hold ? manager->boot_id : NULL);
  if (!vp_catalog_save_record (manager->catalog, spec, error)) {
    spec->record->hold = !hold;
    return false;
  }
  vp_manager_net_touch (manager);
  return true;
}

/* ---- A pass. ---- */

VpGuestJob *
vp_manager_make_guest_job (VpManager *manager, const char *name, bool gone)
{
  VpCatalogGuest *spec = vp_catalog_get (manager->catalog, name);
  VpGuestJob *data = NULL;

  if (spec == NULL || spec->record == NULL)
    return NULL;
  gone |= spec->record->retired;
  if (spec->resolved == NULL && !gone)
    return NULL;
  data = vp_guest_job_new (name);
  data->host = manager->host;
  data->config = manager->config;
  data->store = manager->store;
  data->domain = g_strdup (spec->record->domain);
  if (!gone)
    data->wanted = vp_guest_copy (spec->resolved);
  data->volumes = vp_catalog_volumes (manager->catalog, spec);
  data->run = wants_to_run (spec) && !gone;
  data->off = spec->record->off;
  data->fresh_warning = g_strdup (spec->fresh_warning);
  return data;
}

static gboolean
on_retry (gpointer data)
{
  gpointer *pair = data;
  VpManagedGuest *guest = pair[1];

  guest->retry_source = 0;
  guest->dirty = true;
  vp_manager_schedule (pair[0]);
  return G_SOURCE_REMOVE;
}

void
vp_manager_wake_later (VpManager *manager, VpManagedGuest *guest)
{
  gint64 wait = guest->not_before - g_get_monotonic_time ();
  gpointer *pair = g_new (gpointer, 2);

  pair[0] = manager;
  pair[1] = guest;
  g_clear_handle_id (&guest->retry_source, g_source_remove);
  guest->retry_source = g_timeout_add_full (G_PRIORITY_DEFAULT,
                                            (guint) (MAX (wait, 0) / 1000) + 1,
                                            on_retry, pair, g_free);
}

static void
retry_later (VpManager *manager, VpManagedGuest *guest, unsigned seconds)
{
  guest->not_before =
      g_get_monotonic_time () + (gint64) seconds * G_USEC_PER_SEC;
  vp_manager_wake_later (manager, guest);
}

static bool
did_step (const VpGuestJob *data, VpStepKind kind)
{
  for (guint i = 0; i < data->done->len; i++)
    if (((VpStep *) g_ptr_array_index (data->done, i))->kind == kind)
      return true;
  return false;
}

/* By what is found, not by what was done: a crash may have come between the
 * deed and its record. */
static void
note_power (VpGuestRecord *record, const VpGuestJob *data)
{
  const VpFound *found = data->found;

  if (did_step (data, VP_STEP_START)) {
    record->off = false;
  } else if (found != NULL && found->exists) {
    if (found->power == VP_POWER_RUNNING && data->run)
      record->off = false;
    if (found->power == VP_POWER_STOPPED && !data->run && !data->held)
      record->off = true;
  }
}

/* Records what the pass decided and made; writes only what changed. */
static void
keep_records (VpManager *manager, VpManagedGuest *guest, const VpGuestJob *data)
{
  VpCatalogGuest *spec = vp_catalog_get (manager->catalog, guest->name);
  g_autoptr (GError) error = NULL;
  VpGuestRecord *record = spec != NULL ? spec->record : NULL;

  if (record == NULL)
    return;
  if (data->machine != NULL && data->found != NULL && data->found->exists) {
    set (&record->machine, data->machine);
    set (&record->arch, data->arch);
  }
  note_power (record, data);
  if (data->done->len > 0 && !data->undone) {
    g_free (spec->fresh_warning);
    spec->fresh_warning = NULL;
  }
  if (!vp_catalog_note_volumes (manager->catalog, spec, data->wanted,
                                data->volumes, &error) ||
      !vp_catalog_save_record (manager->catalog, spec, &error))
    vp_log (VP_LOG_ERROR, NULL, guest->name, NULL, "%s", error->message);
}

static void
keep_found (VpManagedGuest *guest, const VpGuestJob *data)
{
  const VpFound *found = data->found;

  guest->observed = found != NULL;
  if (found == NULL)
    return;
  guest->exists = found->exists;
  guest->power = found->exists ? found->power : VP_POWER_UNKNOWN;
  guest->accel = data->accel;
  set (&guest->status->digest, data->digest);
  if (guest->power != VP_POWER_RUNNING)
    guest->status->started = 0;
}

static void
keep_plan (VpManagedGuest *guest, const VpGuestJob *data)
{
  const VpPlan *plan = data->rest != NULL ? data->rest : data->plan;

  g_clear_pointer (&guest->conflict, g_free);
  g_ptr_array_set_size (guest->waiting, 0);
  g_ptr_array_set_size (guest->status->pending, 0);
  guest->status->restart_required = false;
  if (plan == NULL)
    return;
  guest->conflict = g_strdup (plan->conflict);
  guest->status->restart_required = plan->restart_required;
  for (guint i = 0; i < plan->pending->len; i++)
    g_ptr_array_add (guest->status->pending,
                     g_strdup (g_ptr_array_index (plan->pending, i)));
  for (guint i = 0; data->waits && i < plan->steps->len; i++) {
    char *words = vp_step_to_string (g_ptr_array_index (plan->steps, i));

    g_ptr_array_add (guest->waiting, words);
    g_ptr_array_add (guest->status->pending, g_strdup (words));
  }
}

static void
keep_error (VpManager *manager, VpManagedGuest *guest, const GError *error)
{
  g_clear_pointer (&guest->error_name, g_free);
  g_clear_pointer (&guest->error_message, g_free);
  if (error == NULL) {
    guest->failures = 0;
    return;
  }
  guest->error_name = g_strdup (vp_error_bus_name (error));
  guest->error_message = g_strdup (error->message);
  vp_log (VP_LOG_ERROR, VP_MESSAGE_JOB_FAILED, guest->name, NULL,
          "guest %s: %s", guest->name, error->message);
  guest->failures++;
  /* A person's "no" holds for a while, or until a person says otherwise. */
  retry_later (manager, guest,
               g_error_matches (error, VP_ERROR, VP_ERROR_CANCELLED)
                   ? BACK_OFF_MAX_S
                   : MIN (1U << MIN (guest->failures, 9U), BACK_OFF_MAX_S));
}

/* A guest that was started and is down again soon waits longer and longer. */
static void
note_start (VpManagedGuest *guest)
{
  gint64 now = g_get_monotonic_time ();

  if (guest->went_down) {
    guest->went_down = false;
    guest->status->restarts++;
    guest->starts =
        now - guest->last_start < HEALTHY_US ? guest->starts + 1 : 0;
  }
  guest->last_start = now;
  guest->status->started = g_get_real_time ();
}

static void
log_steps (VpManagedGuest *guest, const VpGuestJob *data)
{
  for (guint i = 0; i < data->done->len; i++) {
    const VpStep *step = g_ptr_array_index (data->done, i);
    g_autofree char *words = vp_step_to_string (step);

    vp_log (VP_LOG_NOTICE, VP_MESSAGE_STEP_DONE, guest->name,
            vp_step_kind_to_string (step->kind), "guest %s: %s%s", guest->name,
            words, data->undone ? " (taken back)" : "");
  }
}

/* The guest shut down from inside while nobody looked. */
static void
hold_if_shut_down (VpManager *manager, VpManagedGuest *guest,
                   const VpGuestJob *data)
{
  g_autoptr (GError) error = NULL;

  if (!data->held)
    return;
  vp_log (VP_LOG_NOTICE, NULL, guest->name, NULL,
          "guest %s shut down by itself: it stays so until \"vprovctl start "
          "%s\" or a boot of the host",
          guest->name, guest->name);
  if (!vp_manager_set_hold (manager, guest->name, true, &error))
    vp_log (VP_LOG_ERROR, NULL, guest->name, NULL, "%s", error->message);
}

/* Why the guest is not as wanted, for who waits for the job; conflicts are
 * shown, but not tried again by themselves: something must change first. */
static GError *
conflict_error (const VpGuestJob *data)
{
  const VpPlan *plan = data->rest != NULL ? data->rest : data->plan;

  if (plan != NULL && plan->conflict != NULL)
    return g_error_new (VP_ERROR, plan->conflict_code, "%s", plan->conflict);
  if (data->waits)
    return g_error_new (VP_ERROR, VP_ERROR_WOULD_DESTROY_DATA,
                        "it waits for \"vprovctl apply %s\"%s%s", data->name,
                        data->fresh_warning != NULL ? ": " : "",
                        data->fresh_warning != NULL ? data->fresh_warning : "");
  return NULL;
}

/* A step that failed, or one that was done and changed nothing. */
static GError *
failure (const VpGuestJob *data)
{
  g_autofree char *words = NULL;

  if (data->error != NULL)
    return g_error_copy (data->error);
  if (data->rest == NULL || data->rest->steps->len == 0)
    return NULL;
  words = vp_step_to_string (g_ptr_array_index (data->rest->steps, 0));
  return g_error_new (VP_ERROR, VP_ERROR_FAILED,
                      "all steps are done and there is still to do: %s", words);
}

static void
on_pass_done (VpJob *job, gpointer job_data, gpointer user_data)
{
  VpManager *manager = user_data;
  VpGuestJob *data = job_data;
  VpManagedGuest *guest = g_hash_table_lookup (manager->guests, data->name);
  g_autoptr (GError) failed = failure (data);
  g_autoptr (GError) blocked = conflict_error (data);
  unsigned job_id = guest->job_id;

  guest->job = NULL;
  guest->job_data = NULL;
  guest->job_id = 0;
  manager->running--;
  if (data->done->len > 0) {
    vp_manager_moved (manager);
    log_steps (guest, data);
  }
  keep_records (manager, guest, data);
  keep_found (guest, data);
  keep_plan (guest, data);
  keep_error (manager, guest, failed);
  g_free (guest->accel_warning);
  guest->accel_warning = g_strdup (data->accel_warning);
  if (did_step (data, VP_STEP_START))
    note_start (guest);
  hold_if_shut_down (manager, guest, data);
  manager->last_reconcile = g_get_real_time ();
  if (job_id != 0)
    vp_manager_end_job (manager, job_id, failed != NULL ? failed : blocked);
  vp_manager_refresh (manager, guest);
  vp_manager_news (manager, VP_NEWS_MANAGER, NULL, 0, NULL);
  vp_guest_job_free (data);
  /* It may have been renamed away meanwhile. */
  if (!manager->stopping)
    vp_manager_sync_guests (manager);
  vp_manager_schedule (manager);
}

void
vp_manager_start_pass (VpManager *manager, VpManagedGuest *guest)
{
  VpGuestJob *data = vp_manager_make_guest_job (manager, guest->name, false);
  VpManagedJob *shown = NULL;

  guest->dirty = false;
  if (data == NULL) {
    g_autoptr (GError) error =
        g_error_new (VP_ERROR, VP_ERROR_INVALID_SPEC,
                     "guest %s has no good spec", guest->name);

    if (guest->wanted_job != 0)
      vp_manager_end_job (manager, guest->wanted_job, error);
    guest->wanted_job = 0;
    vp_manager_refresh (manager, guest);
    return;
  }
  data->allow_all = guest->allow_all;
  data->asked = guest->asked;
  data->start_asked = guest->start_asked;
  guest->allow_all = false;
  guest->asked = false;
  guest->start_asked = false;
  guest->job_id = guest->wanted_job;
  guest->wanted_job = 0;
  guest->job_data = data;
  manager->running++;
  guest->job = vp_job_start (vp_guest_job_func, data, on_pass_done, manager);
  shown = g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (guest->job_id));
  if (shown != NULL)
    shown->job = guest->job;
}
