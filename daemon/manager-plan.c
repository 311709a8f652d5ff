/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-plan: what would be done, and doing what was shown.  A plan is made
 * by the same code as a pass, with the last step left out; it bears the
 * generation it was made at and is stale once anything moved. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/manager-private.h"

/* Questions are open to everyone on the bus: they must not pile up. */
#define ASKED_MAX 8

bool
vp_manager_may_ask (VpManager *manager, GError **error)
{
  if (manager->asked->len < ASKED_MAX)
    return true;
  g_set_error (error, VP_ERROR, VP_ERROR_BUSY,
               "%u questions are under way already; try again",
               manager->asked->len);
  return false;
}

void
vp_manager_ask (VpManager *manager, VpJobFunc func, gpointer data,
                VpJobDone done)
{
  g_ptr_array_add (manager->asked, vp_job_start (func, data, done, manager));
}

void
vp_manager_asked (VpManager *manager, VpJob *job)
{
  g_ptr_array_remove_fast (manager->asked, job);
}

/* ---- Plan. ---- */

typedef struct {
  GPtrArray *guests;                 /* VpGuestJob */
  const VpNetHostConfig *net_config; /* NULL: networks are not ours */
  VpNetWanted *wanted;
  VpNetReport *report;
  GError *net_error;
  GTask *task;
  uint64_t generation;
  bool all;
} PlanJob;

static void
plan_job_free (PlanJob *data)
{
  g_ptr_array_unref (data->guests);
  g_clear_pointer (&data->wanted, vp_net_wanted_unref);
  vp_net_report_free (data->report);
  g_clear_error (&data->net_error);
  g_object_unref (data->task);
  g_free (data);
}

static void
plan_func (VpJob *job, gpointer job_data)
{
  PlanJob *data = job_data;

  for (guint i = 0; i < data->guests->len && !vp_job_is_cancelled (job); i++)
    vp_guest_job_func (job, g_ptr_array_index (data->guests, i));
  if (data->net_config != NULL && !vp_job_is_cancelled (job))
    data->report =
        vp_net_apply (data->net_config, data->wanted, true, &data->net_error);
}

/* Steps of the networks that concern the guests asked for, or nobody. */
static void
add_net_steps (GPtrArray *steps, const PlanJob *data)
{
  for (guint i = 0; data->report != NULL && i < data->report->steps->len; i++) {
    const VpNetStep *step = g_ptr_array_index (data->report->steps, i);

    g_ptr_array_add (
        steps, vp_step_new (VP_STEP_NET, step->guest != NULL ? step->guest : "",
                            step->subject, NULL, step->words, VP_RISK_LIVE));
  }
}

static GError *
plan_error (const PlanJob *data)
{
  for (guint i = 0; i < data->guests->len; i++) {
    const VpGuestJob *guest = g_ptr_array_index (data->guests, i);

    if (guest->error != NULL)
      return g_error_new (guest->error->domain, guest->error->code,
                          "guest %s: %s", guest->name, guest->error->message);
    if (guest->plan != NULL && guest->plan->conflict != NULL &&
        data->guests->len == 1)
      return g_error_new (VP_ERROR, guest->plan->conflict_code, "%s",
                          guest->plan->conflict);
  }
  return data->net_error != NULL ? g_error_copy (data->net_error) : NULL;
}

static void
keep_plan (VpManager *manager, const PlanJob *data)
{
  vp_manager_plan_clear (manager);
  manager->plan.id = g_strdup_printf ("%" G_GUINT64_FORMAT "-%u",
                                      data->generation, g_random_int ());
  manager->plan.generation = data->generation;
  manager->plan.all = data->all;
  manager->plan.guests = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < data->guests->len; i++) {
    const VpGuestJob *guest = g_ptr_array_index (data->guests, i);

    if (guest->plan != NULL && guest->plan->steps->len > 0)
      g_ptr_array_add (manager->plan.guests, g_strdup (guest->name));
  }
}

static void
plan_done (VpJob *job, gpointer job_data, gpointer user_data)
{
  VpManager *manager = user_data;
  PlanJob *data = job_data;
  GPtrArray *steps = NULL;
  GError *error = plan_error (data);

  vp_manager_asked (manager, job);
  if (error != NULL) {
    g_task_return_error (data->task, error);
    plan_job_free (data);
    return;
  }
  steps = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_step_free);
  add_net_steps (steps, data);
  for (guint i = 0; i < data->guests->len; i++) {
    const VpGuestJob *guest = g_ptr_array_index (data->guests, i);

    for (guint j = 0; j < guest->plan->steps->len; j++)
      g_ptr_array_add (
          steps, vp_step_copy (g_ptr_array_index (guest->plan->steps, j)));
  }
  keep_plan (manager, data);
  g_object_set_data_full (G_OBJECT (data->task), "plan-id",
                          g_strdup (manager->plan.id), g_free);
  g_task_return_pointer (data->task, steps, (GDestroyNotify) g_ptr_array_unref);
  plan_job_free (data);
}

/* While what vanished is not believed, a plan of all shows what believing it
 * would do: that is what a person is asked to apply. */
static bool
is_doubted (VpManager *manager, const char *name)
{
  return manager->paused_reason != NULL &&
         !vp_catalog_get (manager->catalog, name)->there;
}

static bool
collect_guests (VpManager *manager, const char *const *names, GPtrArray *guests,
                GError **error)
{
  g_autoptr (GPtrArray) all = vp_catalog_list (manager->catalog);
  bool of_all = names == NULL || names[0] == NULL;

  for (gsize i = 0; names != NULL && names[i] != NULL; i++)
    if (vp_manager_find (manager, names[i], error) == NULL)
      return false;
  for (guint i = 0; i < all->len; i++) {
    const char *name = g_ptr_array_index (all, i);
    VpGuestJob *guest = NULL;

    if (!of_all && !g_strv_contains (names, name))
      continue;
    guest = vp_manager_make_guest_job (manager, name,
                                       of_all && is_doubted (manager, name));
    if (guest == NULL)
      continue;
    guest->dry_run = true;
    g_ptr_array_add (guests, guest);
  }
  return true;
}

void
vp_manager_plan_async (VpManager *manager, const char *const *names,
                       GAsyncReadyCallback callback, gpointer user_data)
{
  PlanJob *data = g_new0 (PlanJob, 1);
  GError *error = NULL;

  data->task = g_task_new (NULL, NULL, callback, user_data);
  data->generation = manager->generation;
  data->all = names == NULL || names[0] == NULL;
  data->guests =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_guest_job_free);
  if (!vp_manager_may_ask (manager, &error) ||
      !collect_guests (manager, names, data->guests, &error)) {
    g_task_return_error (data->task, error);
    plan_job_free (data);
    return;
  }
  if (manager->config->manage_networks) {
    data->net_config = &manager->net_config;
    data->wanted = vp_catalog_net_wanted (manager->catalog);
  }
  vp_manager_ask (manager, plan_func, data, plan_done);
}

GPtrArray *
vp_manager_plan_finish (VpManager *manager, GAsyncResult *result,
                        char **ret_plan_id, GError **error)
{
  GPtrArray *steps = g_task_propagate_pointer (G_TASK (result), error);

  if (steps != NULL)
    *ret_plan_id = g_strdup (g_object_get_data (G_OBJECT (result), "plan-id"));
  return steps;
}

void
vp_manager_plan_clear (VpManager *manager)
{
  g_clear_pointer (&manager->plan.id, g_free);
  g_clear_pointer (&manager->plan.guests, g_ptr_array_unref);
}

/* ---- Apply. ---- */

static unsigned
ask_pass (VpManager *manager, VpManagedGuest *guest, const char *verb)
{
  guest->asked = true;
  if (guest->wanted_job == 0)
    guest->wanted_job = vp_manager_new_job (manager, guest->name, verb);
  vp_manager_touch (manager, guest, true);
  return guest->wanted_job;
}

bool
vp_manager_apply (VpManager *manager, const char *plan_id, unsigned *ret_job,
                  GError **error)
{
  g_autoptr (GPtrArray) names = NULL;
  bool all = *plan_id == '\0' || manager->plan.all;
  unsigned id = 0;

  if (*plan_id == '\0') {
    names = vp_catalog_list (manager->catalog);
  } else if (g_strcmp0 (plan_id, manager->plan.id) != 0 ||
             manager->plan.generation != manager->generation) {
    g_set_error_literal (error, VP_ERROR, VP_ERROR_PLAN_STALE,
                         "something changed since that plan was made; plan "
                         "again");
    return false;
  } else {
    names = g_ptr_array_ref (manager->plan.guests);
  }
  if (all)
    vp_manager_confirm (manager);
  for (guint i = 0; i < names->len; i++) {
    VpManagedGuest *guest =
        g_hash_table_lookup (manager->guests, g_ptr_array_index (names, i));

    if (guest == NULL)
      continue;
    guest->allow_all = true;
    id = ask_pass (manager, guest, "apply");
  }
  vp_manager_net_touch (manager);
  if (id == 0) {
    /* Nothing of a guest's to do: a job that is done. */
    id = vp_manager_new_job (manager, "", "apply");
    vp_manager_end_job (manager, id, NULL);
  }
  *ret_job = id;
  return true;
}

bool
vp_manager_start_guest (VpManager *manager, const char *name, unsigned *ret_job,
                        GError **error)
{
  VpManagedGuest *guest = vp_manager_find (manager, name, error);
  const VpCatalogGuest *spec = vp_catalog_get (manager->catalog, name);

  if (guest == NULL)
    return false;
  if (spec->spec != NULL && spec->spec->power == VP_POWER_STOPPED) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "%s says state=\"stopped\": change it there", spec->path);
    return false;
  }
  if (spec->record == NULL || spec->record->retired) {
    g_set_error (error, VP_ERROR, VP_ERROR_NOT_MANAGED,
                 "guest %s has no spec file; put guests/%s.xml back", name,
                 name);
    return false;
  }
  if (!vp_manager_set_hold (manager, name, false, error))
    return false;
  guest->start_asked = true;
  *ret_job = ask_pass (manager, guest, "start");
  return true;
}

bool
vp_manager_stop_guest (VpManager *manager, const char *name, unsigned *ret_job,
                       GError **error)
{
  VpManagedGuest *guest = vp_manager_find (manager, name, error);

  if (guest == NULL || !vp_manager_set_hold (manager, name, true, error))
    return false;
  *ret_job = ask_pass (manager, guest, "stop");
  return true;
}

bool
vp_manager_reconcile_guest (VpManager *manager, const char *name,
                            unsigned *ret_job, GError **error)
{
  VpManagedGuest *guest = vp_manager_find (manager, name, error);

  if (guest == NULL)
    return false;
  *ret_job = ask_pass (manager, guest, "reconcile");
  return true;
}

bool
vp_manager_cancel_job (VpManager *manager, unsigned id, GError **error)
{
  VpManagedJob *job =
      g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));

  if (job == NULL || job->status.finished) {
    g_set_error (error, VP_ERROR, VP_ERROR_NO_SUCH_JOB,
                 "there is no running job %u", id);
    return false;
  }
  if (job->job != NULL) {
    vp_job_cancel (job->job);
  } else {
    g_autoptr (GError) cancelled = g_error_new_literal (
        VP_ERROR, VP_ERROR_CANCELLED, "cancelled before it began");

    if (job->guest != NULL && job->guest->wanted_job == id) {
      job->guest->wanted_job = 0;
      job->guest->allow_all = job->guest->asked = false;
    }
    vp_manager_end_job (manager, id, cancelled);
  }
  return true;
}

/* ---- Verify. ---- */

GPtrArray *
vp_manager_verify (VpManager *manager, const char *kind, const char *name,
                   const char *path, const char *text, size_t len, bool trusted)
{
  VpSpecKind spec_kind = VP_SPEC_GUEST;
  GPtrArray *problems = NULL;

  if (!vp_spec_kind_from_string (kind, &spec_kind)) {
    problems = vp_problems_new ();
    g_ptr_array_add (problems,
                     vp_problem_new (path, (VpPlace){ 0, 0 }, VP_SEVERITY_ERROR,
                                     "kind",
                                     "\"%s\" is not guest, network, pool or "
                                     "image",
                                     kind));
    return problems;
  }
  problems =
      vp_catalog_verify (manager->catalog, spec_kind, name, path, text, len);
  /* Raw libvirt XML is root's word, from root's files, only. */
  if (!trusted && spec_kind == VP_SPEC_GUEST &&
      (g_strstr_len (text, (gssize) len, "<domain") != NULL ||
       g_strstr_len (text, (gssize) len, "<libvirt") != NULL))
    g_ptr_array_add (problems,
                     vp_problem_new (path, (VpPlace){ 0, 0 }, VP_SEVERITY_ERROR,
                                     "untrusted",
                                     "libvirt XML is accepted from root's "
                                     "files only"));
  return problems;
}

/* ---- Adopt. ---- */

typedef struct {
  VpHost *host;
  char *domain;
  char *text;
  GError *error;
  GTask *task;
} AdoptJob;

static void
adopt_func (VpJob *job, gpointer job_data)
{
  AdoptJob *data = job_data;
  g_autoptr (VpHostDomain) domain =
      data->host->ops->get (data->host, data->domain, &data->error);

  if (domain == NULL)
    return;
  if (domain->mark != NULL)
    data->error = g_error_new (VP_ERROR, VP_ERROR_NAME_TAKEN,
                               "the domain %s belongs to guest %s already",
                               data->domain, domain->mark->guest);
  else if (!domain->persistent)
    data->error = g_error_new (VP_ERROR, VP_ERROR_NOT_SUPPORTED,
                               "the domain %s is transient: \"virsh define\" "
                               "it first",
                               data->domain);
  else
    data->text = vp_domain_xml_adopt (domain->xml, domain->power, &data->error);
}

static void
adopt_done (VpJob *job, gpointer job_data, gpointer user_data)
{
  AdoptJob *data = job_data;

  vp_manager_asked (user_data, job);
  if (data->text != NULL)
    g_task_return_pointer (data->task, data->text, g_free);
  else
    g_task_return_error (data->task, data->error);
  g_object_unref (data->task);
  g_free (data->domain);
  g_free (data);
}

void
vp_manager_adopt_async (VpManager *manager, const char *domain,
                        GAsyncReadyCallback callback, gpointer user_data)
{
  AdoptJob *data = NULL;
  GError *error = NULL;

  if (!vp_manager_may_ask (manager, &error)) {
    g_task_report_error (NULL, callback, user_data, NULL, error);
    return;
  }
  if (!vp_name_is_valid (domain)) {
    g_task_report_new_error (
        NULL, callback, user_data, NULL, VP_ERROR, VP_ERROR_NOT_SUPPORTED,
        "\"%s\" is not a name that a spec file can have", domain);
    return;
  }
  data = g_new0 (AdoptJob, 1);
  data->host = manager->host;
  data->domain = g_strdup (domain);
  data->task = g_task_new (NULL, NULL, callback, user_data);
  vp_manager_ask (manager, adopt_func, data, adopt_done);
}

char *
vp_manager_adopt_finish (VpManager *manager, GAsyncResult *result,
                         GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}
