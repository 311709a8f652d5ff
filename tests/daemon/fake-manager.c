/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "tests/daemon/fake-manager.h"

#include <string.h>

struct VpManager {
  FakeStatus status;
  VpManagerListener listener;
  gpointer listener_data;
  GHashTable *guests;   /* name -> VpGuestStatus */
  GHashTable *jobs;     /* id -> VpJobStatus */
  GHashTable *failures; /* guest -> message of its jobs' error */
  GPtrArray *steps;
  GString *calls;
  GError *failure;
  bool run_jobs;
  unsigned next_job, next_plan, stale;
};

void
fake_set (char **field, const char *value)
{
  g_free (*field);
  *field = g_strdup (value);
}

static void
guest_free (gpointer data)
{
  VpGuestStatus *guest = data;
  char **texts[] = { &guest->name,         &guest->uuid,
                     &guest->source_path,  &guest->description,
                     &guest->digest,       &guest->state,
                     &guest->sub_state,    &guest->wanted,
                     &guest->accel,        &guest->error_name,
                     &guest->error_message };

  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
    g_free (*texts[i]);
  g_ptr_array_unref (guest->pending);
  g_ptr_array_unref (guest->problems);
  g_ptr_array_unref (guest->addresses);
  g_ptr_array_unref (guest->forwards);
  g_ptr_array_unref (guest->forward_words);
  g_free (guest);
}

static void
job_free (gpointer data)
{
  VpJobStatus *job = data;

  g_free (job->guest);
  g_free (job->verb);
  g_free (job->phase);
  g_free (job->error_name);
  g_free (job->error_message);
  g_free (job);
}

static void
address_free (gpointer data)
{
  VpGuestAddress *address = data;

  g_free (address->nic);
  g_free (address->address);
  g_free (address->mac);
  g_free (address->source);
  g_free (address);
}

static void
forward_free (gpointer data)
{
  VpForwardStatus *forward = data;

  g_free (forward->guest);
  g_free (forward->id);
  g_free (forward->reason);
  g_free (forward);
}

static void
step_free (gpointer data)
{
  vp_step_free (data);
}

VpManager *
fake_manager_new (void)
{
  VpManager *manager = g_new0 (VpManager, 1);

  manager->status.state = "synced";
  manager->status.connected = true;
  manager->status.generation = 1;
  manager->status.problems = vp_problems_new ();
  manager->guests =
      g_hash_table_new_full (g_str_hash, g_str_equal, NULL, guest_free);
  manager->jobs = g_hash_table_new_full (NULL, NULL, NULL, job_free);
  manager->failures =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  manager->steps = g_ptr_array_new_with_free_func (step_free);
  manager->calls = g_string_new (NULL);
  manager->next_job = 1;
  manager->next_plan = 1;
  return manager;
}

void
fake_manager_free (VpManager *manager)
{
  g_ptr_array_unref (manager->status.problems);
  g_hash_table_unref (manager->guests);
  g_hash_table_unref (manager->jobs);
  g_hash_table_unref (manager->failures);
  g_ptr_array_unref (manager->steps);
  (void) g_string_free (manager->calls, TRUE);
  g_clear_error (&manager->failure);
  g_free (manager);
}

FakeStatus *
fake_manager_status (VpManager *manager)
{
  return &manager->status;
}

void
fake_manager_news (VpManager *manager, VpNews news, const char *guest,
                   unsigned job, const char *detail)
{
  if (manager->listener != NULL)
    manager->listener (news, guest, job, detail, manager->listener_data);
}

/* Guests */

VpGuestStatus *
fake_manager_add_guest (VpManager *manager, const char *name)
{
  VpGuestStatus *guest = g_new0 (VpGuestStatus, 1);

  guest->name = g_strdup (name);
  guest->uuid = g_strdup ("");
  guest->source_path = g_strdup_printf ("/etc/vprovd/guests/%s.xml", name);
  guest->description = g_strdup ("");
  guest->digest = g_strdup ("");
  guest->state = g_strdup ("stopped");
  guest->sub_state = g_strdup ("");
  guest->wanted = g_strdup ("stopped");
  guest->accel = g_strdup ("");
  guest->error_name = g_strdup ("");
  guest->error_message = g_strdup ("");
  guest->pending = g_ptr_array_new_with_free_func (g_free);
  guest->problems = vp_problems_new ();
  guest->addresses = g_ptr_array_new_with_free_func (address_free);
  guest->forwards = g_ptr_array_new_with_free_func (forward_free);
  guest->forward_words = g_ptr_array_new_with_free_func (g_free);
  (void) g_hash_table_insert (manager->guests, guest->name, guest);
  return guest;
}

void
fake_manager_remove_guest (VpManager *manager, const char *name)
{
  (void) g_hash_table_remove (manager->guests, name);
  fake_manager_news (manager, VP_NEWS_GUEST_REMOVED, name, 0, NULL);
}

void
fake_guest_add_address (VpGuestStatus *guest, const char *text)
{
  VpGuestAddress *address = g_new0 (VpGuestAddress, 1);

  address->nic = g_strdup ("nic0");
  address->address = g_strdup (text);
  address->mac = g_strdup ("52:54:00:00:00:01");
  address->source = g_strdup ("reserved");
  g_ptr_array_add (guest->addresses, address);
}

void
fake_guest_add_forward (VpGuestStatus *guest, const char *id, const char *words,
                        VpForwardState state, const char *reason)
{
  VpForwardStatus *forward = g_new0 (VpForwardStatus, 1);

  forward->guest = g_strdup (guest->name);
  forward->id = g_strdup (id);
  forward->state = state;
  forward->reason = g_strdup (reason);
  g_ptr_array_add (guest->forwards, forward);
  g_ptr_array_add (guest->forward_words, g_strdup (words));
}

/* Jobs */

VpJobStatus *
fake_manager_add_job (VpManager *manager, const char *guest, const char *verb)
{
  VpJobStatus *job = g_new0 (VpJobStatus, 1);

  job->id = manager->next_job++;
  job->guest = g_strdup (guest);
  job->verb = g_strdup (verb);
  job->phase = g_strdup ("waiting");
  job->started = g_get_real_time ();
  job->cancelable = true;
  job->error_name = g_strdup ("");
  job->error_message = g_strdup ("");
  (void) g_hash_table_insert (manager->jobs, GUINT_TO_POINTER (job->id), job);
  fake_manager_news (manager, VP_NEWS_JOB_NEW, guest, job->id, NULL);
  return job;
}

void
fake_manager_end_job (VpManager *manager, unsigned id, int code,
                      const char *message)
{
  VpJobStatus *job = g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));

  job->finished = true;
  fake_set (&job->phase, "done");
  if (message != NULL) {
    g_autoptr (GError) error = g_error_new_literal (VP_ERROR, code, message);

    fake_set (&job->error_name, vp_error_bus_name (error));
    fake_set (&job->error_message, message);
  }
  fake_manager_news (manager, VP_NEWS_JOB_REMOVED, job->guest, id, NULL);
}

void
fake_manager_run_jobs (VpManager *manager)
{
  manager->run_jobs = true;
}

void
fake_manager_fail_jobs (VpManager *manager, const char *guest,
                        const char *message)
{
  (void) g_hash_table_insert (manager->failures, g_strdup (guest),
                              g_strdup (message));
}

void
fake_manager_drop_job (VpManager *manager, unsigned id)
{
  (void) g_hash_table_remove (manager->jobs, GUINT_TO_POINTER (id));
}

typedef struct {
  VpManager *manager;
  unsigned id;
  unsigned tick;
} Run;

static void
set_running (VpManager *manager, const char *name, const char *verb)
{
  VpGuestStatus *guest = g_hash_table_lookup (manager->guests, name);
  bool running = strcmp (verb, "start") == 0;

  if (guest == NULL || (!running && strcmp (verb, "stop") != 0))
    return;
  fake_set (&guest->state, running ? "running" : "stopped");
  fake_set (&guest->wanted, guest->state);
  guest->started = running ? g_get_real_time () : 0;
  fake_manager_news (manager, VP_NEWS_GUEST_CHANGED, name, 0, NULL);
  fake_manager_news (manager, VP_NEWS_GUEST_EVENT, name, 0,
                     running ? "started" : "stopped");
}

static gboolean
on_run (gpointer user_data)
{
  Run *run = user_data;
  VpManager *manager = run->manager;
  VpJobStatus *job =
      g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (run->id));
  const char *message;

  if (job == NULL || job->finished)
    return G_SOURCE_REMOVE;
  run->tick++;
  if (run->tick < 4) {
    job->progress = run->tick / 4.0;
    job->progress_valid = true;
    fake_set (&job->phase, "running 1/1: do it");
    fake_manager_news (manager, VP_NEWS_JOB_CHANGED, job->guest, job->id, NULL);
    return G_SOURCE_CONTINUE;
  }
  message = g_hash_table_lookup (manager->failures, job->guest);
  if (message == NULL)
    set_running (manager, job->guest, job->verb);
  fake_manager_end_job (manager, job->id, VP_ERROR_NO_SPACE, message);
  return G_SOURCE_REMOVE;
}

static bool
fail_once (VpManager *manager, GError **error)
{
  if (manager->failure == NULL)
    return false;
  g_propagate_error (error, g_steal_pointer (&manager->failure));
  return true;
}

static void record (VpManager *manager, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static void
record (VpManager *manager, const char *format, ...)
{
  va_list arguments;

  if (manager->calls->len > 0)
    g_string_append (manager->calls, "; ");
  va_start (arguments, format);
  g_string_append_vprintf (manager->calls, format, arguments);
  va_end (arguments);
}

static bool
make_job (VpManager *manager, const char *guest, const char *verb,
          unsigned *ret_job, GError **error)
{
  VpJobStatus *job;

  record (manager, "%s %s", verb, guest);
  if (fail_once (manager, error))
    return false;
  job = fake_manager_add_job (manager, guest, verb);
  *ret_job = job->id;
  if (manager->run_jobs) {
    Run *run = g_new0 (Run, 1);

    run->manager = manager;
    run->id = job->id;
    (void) g_timeout_add_full (G_PRIORITY_DEFAULT, 10, on_run, run, g_free);
  }
  return true;
}

/* What tests say */

void
fake_manager_fail (VpManager *manager, int code, const char *message)
{
  g_clear_error (&manager->failure);
  manager->failure = g_error_new_literal (VP_ERROR, code, message);
}

void
fake_manager_add_step (VpManager *manager, VpStep *step)
{
  g_ptr_array_add (manager->steps, step);
}

void
fake_manager_stale (VpManager *manager, unsigned times)
{
  manager->stale = times;
}

char *
fake_manager_calls (VpManager *manager)
{
  char *calls = g_strdup (manager->calls->str);

  (void) g_string_truncate (manager->calls, 0);
  return calls;
}

/* manager.h */

const char *
vp_sync_to_string (VpSync sync)
{
  static const char *const words[] = {
    [VP_SYNC_SYNCED] = "synced",   [VP_SYNC_PENDING] = "pending",
    [VP_SYNC_INVALID] = "invalid", [VP_SYNC_FAILED] = "failed",
    [VP_SYNC_RETIRED] = "retired", [VP_SYNC_CONFLICT] = "conflict",
    [VP_SYNC_UNKNOWN] = "unknown",
  };

  return words[sync];
}

void
vp_manager_set_listener (VpManager *manager, VpManagerListener listener,
                         gpointer user_data)
{
  manager->listener = listener;
  manager->listener_data = user_data;
}

const char *
vp_manager_get_state (VpManager *manager)
{
  return manager->status.state;
}

bool
vp_manager_is_connected (VpManager *manager)
{
  return manager->status.connected;
}

const char *
vp_manager_get_uri (VpManager *manager)
{
  return "test:///default";
}

uint64_t
vp_manager_get_generation (VpManager *manager)
{
  return manager->status.generation;
}

int64_t
vp_manager_get_last_reconcile (VpManager *manager)
{
  return manager->status.last_reconcile;
}

const GPtrArray *
vp_manager_get_problems (VpManager *manager)
{
  return manager->status.problems;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

GPtrArray *
vp_manager_list_guests (VpManager *manager)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, manager->guests);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, compare_names);
  return names;
}

const VpGuestStatus *
vp_manager_get_guest (VpManager *manager, const char *name)
{
  return g_hash_table_lookup (manager->guests, name);
}

const VpJobStatus *
vp_manager_get_job (VpManager *manager, unsigned id)
{
  return g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));
}

GArray *
vp_manager_list_jobs (VpManager *manager)
{
  GArray *ids = g_array_new (FALSE, FALSE, sizeof (unsigned));

  for (unsigned id = 1; id < manager->next_job; id++)
    if (vp_manager_get_job (manager, id) != NULL)
      g_array_append_val (ids, id);
  return ids;
}

bool
vp_manager_cancel_job (VpManager *manager, unsigned id, GError **error)
{
  VpJobStatus *job = g_hash_table_lookup (manager->jobs, GUINT_TO_POINTER (id));

  record (manager, "cancel %u", id);
  if (job == NULL || job->finished) {
    g_set_error (error, VP_ERROR, VP_ERROR_NO_SUCH_JOB,
                 "job %u has ended already", id);
    return false;
  }
  fake_manager_end_job (manager, id, VP_ERROR_CANCELLED, "cancelled");
  return true;
}

void
vp_manager_reload (VpManager *manager, GPtrArray **ret_problems)
{
  record (manager, "reload");
  fake_manager_news (manager, VP_NEWS_RELOADING, NULL, 0, "begin");
  fake_manager_news (manager, VP_NEWS_RELOADING, NULL, 0, "end");
  *ret_problems = vp_problems_new ();
  for (unsigned i = 0; i < manager->status.problems->len; i++)
    g_ptr_array_add (*ret_problems, vp_problem_copy (g_ptr_array_index (
                                        manager->status.problems, i)));
}

/* A text with "nik" in it is wrong, one with "old" deserves a warning. */
GPtrArray *
vp_manager_verify (VpManager *manager, const char *kind, const char *name,
                   const char *path, const char *text, size_t len, bool trusted)
{
  GPtrArray *problems = vp_problems_new ();

  record (manager, "verify %s %s %zu %s", kind, name, len,
          trusted ? "trusted" : "untrusted");
  if (g_strstr_len (text, (gssize) len, "nik") != NULL)
    g_ptr_array_add (problems,
                     vp_problem_new (path, (VpPlace){ 3, 5 }, VP_SEVERITY_ERROR,
                                     "unknown-element",
                                     "unknown element 'nik'; did you mean "
                                     "'nic'?"));
  if (g_strstr_len (text, (gssize) len, "old") != NULL)
    g_ptr_array_add (problems, vp_problem_new (path, (VpPlace){ 1, 1 },
                                               VP_SEVERITY_WARNING, "old",
                                               "this is old"));
  return problems;
}

char *
vp_manager_get_spec (VpManager *manager, const char *name)
{
  VpGuestStatus *guest = g_hash_table_lookup (manager->guests, name);

  record (manager, "spec %s", name);
  if (guest == NULL || *guest->uuid == '\0')
    return NULL;
  return g_strdup_printf ("<guest>\n  <!-- %s -->\n</guest>\n", name);
}

/* Answers come from the main loop, as they do from the true manager. */

void
vp_manager_plan_async (VpManager *manager, const char *const *names,
                       GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autofree char *list = g_strjoinv (",", (char **) names);
  GPtrArray *steps = NULL;
  GError *error = NULL;

  record (manager, "plan %s", list);
  for (size_t i = 0; names[i] != NULL && error == NULL; i++)
    if (!g_hash_table_contains (manager->guests, names[i]))
      error = g_error_new (VP_ERROR, VP_ERROR_NO_SUCH_GUEST,
                           "there is no guest %s", names[i]);
  if (error != NULL || fail_once (manager, &error)) {
    g_task_return_error (task, error);
    return;
  }
  steps = g_ptr_array_new_with_free_func (step_free);
  for (unsigned i = 0; i < manager->steps->len; i++) {
    const VpStep *step = g_ptr_array_index (manager->steps, i);

    if (names[0] == NULL || g_strv_contains (names, step->guest))
      g_ptr_array_add (steps, vp_step_copy (step));
  }
  g_task_return_pointer (task, steps, (GDestroyNotify) g_ptr_array_unref);
}

GPtrArray *
vp_manager_plan_finish (VpManager *manager, GAsyncResult *result,
                        char **ret_plan_id, GError **error)
{
  GPtrArray *steps = g_task_propagate_pointer (G_TASK (result), error);

  if (steps != NULL)
    *ret_plan_id = g_strdup_printf ("p%u", manager->next_plan++);
  return steps;
}

bool
vp_manager_apply (VpManager *manager, const char *plan_id, unsigned *ret_job,
                  GError **error)
{
  g_autofree char *last = g_strdup_printf ("p%u", manager->next_plan - 1);
  g_autofree char *guest = NULL;

  if (manager->stale > 0 || (*plan_id != '\0' && strcmp (plan_id, last) != 0)) {
    manager->stale -= manager->stale > 0;
    record (manager, "apply %s", plan_id);
    g_set_error (error, VP_ERROR, VP_ERROR_PLAN_STALE, "something changed");
    return false;
  }
  if (manager->steps->len == 0) {
    record (manager, "apply %s", plan_id);
    *ret_job = 0;
    return true;
  }
  guest = g_strdup (
      ((VpStep *) g_ptr_array_index (manager->steps, manager->steps->len - 1))
          ->guest);
  g_ptr_array_set_size (manager->steps, 0);
  return make_job (manager, guest, "apply", ret_job, error);
}

bool
vp_manager_start_guest (VpManager *manager, const char *name, unsigned *ret_job,
                        GError **error)
{
  return make_job (manager, name, "start", ret_job, error);
}

bool
vp_manager_stop_guest (VpManager *manager, const char *name, unsigned *ret_job,
                       GError **error)
{
  return make_job (manager, name, "stop", ret_job, error);
}

bool
vp_manager_reconcile_guest (VpManager *manager, const char *name,
                            unsigned *ret_job, GError **error)
{
  return make_job (manager, name, "reconcile", ret_job, error);
}

/* The domain "legacy" and "bad name" are there and not ours. */
void
vp_manager_adopt_async (VpManager *manager, const char *domain,
                        GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);

  record (manager, "adopt %s", domain);
  if (strcmp (domain, "legacy") == 0 || strcmp (domain, "bad name") == 0)
    g_task_return_pointer (
        task, g_strdup_printf ("<domain><name>%s</name></domain>\n", domain),
        g_free);
  else
    g_task_return_new_error (task, VP_ERROR, VP_ERROR_NO_SUCH_GUEST,
                             "there is no domain %s", domain);
}

char *
vp_manager_adopt_finish (VpManager *manager, GAsyncResult *result,
                         GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

static void
check_free (gpointer data)
{
  VpForwardCheck *check = data;

  g_free (check->link);
  g_free (check->detail);
  g_free (check->cure);
  g_free (check);
}

static void
add_check (GPtrArray *checks, const char *link, bool ok, const char *detail,
           const char *cure)
{
  VpForwardCheck *check = g_new0 (VpForwardCheck, 1);

  check->link = g_strdup (link);
  check->ok = ok;
  check->detail = g_strdup (detail);
  check->cure = g_strdup (cure);
  g_ptr_array_add (checks, check);
}

/* Port 8080 works, port 22 does not, others are no forwards. */
void
vp_manager_forward_check_async (VpManager *manager, const char *forward,
                                GAsyncReadyCallback callback,
                                gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  bool good = g_str_has_suffix (forward, ":8080");
  GPtrArray *checks;

  record (manager, "check %s", forward);
  if (!good && !g_str_has_suffix (forward, ":22")) {
    g_task_return_new_error (task, VP_ERROR, VP_ERROR_FAILED,
                             "there is no such forward");
    return;
  }
  checks = g_ptr_array_new_with_free_func (check_free);
  add_check (checks, "rule", true, "in the tables", NULL);
  add_check (checks, "connect", good, good ? "it answers" : "refused",
             good ? NULL : "start the service in the guest");
  g_task_return_pointer (task, checks, (GDestroyNotify) g_ptr_array_unref);
}

GPtrArray *
vp_manager_forward_check_finish (VpManager *manager, GAsyncResult *result,
                                 GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}
