/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus-call: the methods, one table row each: who may call it, which options it
 * knows, and the one call of the manager that it is.
 *
 *     call -> options known? -> authorize () -> run () -> manager -> reply
 *
 * authorize () is the one place that decides who may; it is asynchronous
 * because the sender's user is asked for, and it does not matter what the
 * caller was shown before: run () looks at the state anew.  Polkit belongs
 * there, with the row's action and the guest's name. */
#include "config.h"

#include "daemon/bus-private.h"

#include <string.h>
#include <unistd.h>

#include "daemon/bus-record.h"
#include "daemon/error.h"

#define TEXT_SIZE_MAX (1024 * 1024)

typedef enum { READ, READ_SENSITIVE, CONTROL, APPLY } Action;

static const char *const actions[] = {
  [READ] = "org.vprovd1.read",
  [READ_SENSITIVE] = "org.vprovd1.read-sensitive",
  [CONTROL] = "org.vprovd1.control",
  [APPLY] = "org.vprovd1.apply",
};

typedef struct Row Row;

/* One call on its way; owns all but the row. */
typedef struct {
  VpBus *bus;
  const Row *row;
  GDBusInterfaceSkeleton *skeleton;
  GDBusMethodInvocation *invocation; /* NULL once answered */
} Call;

struct Row {
  const char *signal; /* of the generated skeleton */
  Action action;
  const char *const *options; /* names of strings; NULL: none */
  void (*run) (Call *call, GVariant *parameters);
};

static void
call_free (Call *call)
{
  g_object_unref (call->skeleton);
  vp_bus_unref (call->bus);
  g_free (call);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Call, call_free)

static Call *
call_copy (const Call *call)
{
  Call *copy = g_new (Call, 1);

  *copy = *call;
  (void) vp_bus_ref (copy->bus);
  (void) g_object_ref (copy->skeleton);
  return copy;
}

/* Answers */

static void
answer (Call *call, GVariant *value)
{
  g_dbus_method_invocation_return_value (g_steal_pointer (&call->invocation),
                                         value);
}

static void
refuse (Call *call, const GError *error)
{
  g_autofree char *message = vp_bus_text (error->message);

  g_dbus_method_invocation_return_dbus_error (
      g_steal_pointer (&call->invocation), vp_error_bus_name (error), message);
}

static void refuse_argument (Call *call, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static void
refuse_argument (Call *call, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list arguments;

  va_start (arguments, format);
  message = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  g_dbus_method_invocation_return_dbus_error (
      g_steal_pointer (&call->invocation),
      "org.freedesktop.DBus.Error.InvalidArgs", message);
}

static void
answer_job (Call *call, bool success, unsigned id, const GError *error)
{
  g_autofree char *path = NULL;

  if (!success) {
    refuse (call, error);
    return;
  }
  path = vp_bus_show_job (call->bus, id);
  answer (call, g_variant_new ("(o)", path));
}

static void
refuse_guest (Call *call, const char *what, const char *value)
{
  g_autoptr (GError) error =
      g_error_new (VP_ERROR, VP_ERROR_NO_SUCH_GUEST,
                   "there is no guest with the %s '%s'", what, value);

  refuse (call, error);
}

static void
answer_guest (Call *call, const char *name)
{
  g_autofree char *path = vp_bus_guest_path (name);

  answer (call, g_variant_new ("(o)", path));
}

static void
answer_records (Call *call, GVariant *records)
{
  answer (call, g_variant_new ("(@aa{sv})", records));
}

/* Manager: look up */

static void
get_guest (Call *call, GVariant *parameters)
{
  const char *name;

  g_variant_get_child (parameters, 0, "&s", &name);
  if (vp_manager_get_guest (call->bus->manager, name) != NULL)
    answer_guest (call, name);
  else
    refuse_guest (call, "name", name);
}

static void
get_guest_by_uuid (Call *call, GVariant *parameters)
{
  g_autoptr (GPtrArray) names = vp_manager_list_guests (call->bus->manager);
  const char *uuid;

  g_variant_get_child (parameters, 0, "&s", &uuid);
  for (unsigned i = 0; *uuid != '\0' && i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    const VpGuestStatus *status =
        vp_manager_get_guest (call->bus->manager, name);

    if (status != NULL && status->uuid != NULL &&
        g_ascii_strcasecmp (status->uuid, uuid) == 0) {
      answer_guest (call, name);
      return;
    }
  }
  refuse_guest (call, "UUID", uuid);
}

static void
add_guest (GVariantBuilder *list, const VpGuestStatus *status)
{
  g_autofree char *path = vp_bus_guest_path (status->name);
  g_autofree char *uuid = vp_bus_text (status->uuid);
  g_autofree char *state = vp_bus_text (status->state);

  g_variant_builder_open (list, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (list, "{sv}", "name",
                         g_variant_new_string (status->name));
  g_variant_builder_add (list, "{sv}", "uuid", g_variant_new_string (uuid));
  g_variant_builder_add (list, "{sv}", "state", g_variant_new_string (state));
  g_variant_builder_add (
      list, "{sv}", "sync",
      g_variant_new_string (vp_sync_to_string (status->sync)));
  g_variant_builder_add (list, "{sv}", "object",
                         g_variant_new_object_path (path));
  g_variant_builder_close (list);
}

/* Answers with what add makes of each guest. */
static void
answer_each_guest (Call *call, void (*add) (GVariantBuilder *list,
                                            const VpGuestStatus *status))
{
  g_autoptr (GPtrArray) names = vp_manager_list_guests (call->bus->manager);
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; i < names->len; i++) {
    const VpGuestStatus *status =
        vp_manager_get_guest (call->bus->manager, g_ptr_array_index (names, i));

    if (status != NULL)
      add (&list, status);
  }
  answer_records (call, g_variant_builder_end (&list));
}

static void
list_guests (Call *call, GVariant *parameters)
{
  answer_each_guest (call, add_guest);
}

static void
list_forwards (Call *call, GVariant *parameters)
{
  answer_each_guest (call, vp_bus_add_forwards);
}

static void
add_job (GVariantBuilder *list, VpDbusJob *job)
{
  unsigned id = vp_dbus_job_get_id (job);
  g_autofree char *path = vp_bus_job_path (id);

  g_variant_builder_open (list, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (list, "{sv}", "id", g_variant_new_uint32 (id));
  g_variant_builder_add (list, "{sv}", "job", g_variant_new_object_path (path));
  g_variant_builder_add (list, "{sv}", "guest",
                         g_variant_new_string (vp_dbus_job_get_guest (job)));
  g_variant_builder_add (list, "{sv}", "verb",
                         g_variant_new_string (vp_dbus_job_get_verb (job)));
  g_variant_builder_add (list, "{sv}", "phase",
                         g_variant_new_string (vp_dbus_job_get_phase (job)));
  g_variant_builder_add (list, "{sv}", "progress",
                         g_variant_new_double (vp_dbus_job_get_progress (job)));
  g_variant_builder_add (
      list, "{sv}", "progress-valid",
      g_variant_new_boolean (vp_dbus_job_get_progress_valid (job)));
  g_variant_builder_add (
      list, "{sv}", "start-timestamp",
      g_variant_new_uint64 (vp_dbus_job_get_start_timestamp (job)));
  g_variant_builder_add (
      list, "{sv}", "finished",
      g_variant_new_boolean (vp_dbus_job_get_finished (job)));
  g_variant_builder_close (list);
}

static void
list_jobs (Call *call, GVariant *parameters)
{
  g_autoptr (GPtrArray) jobs = vp_bus_shown_jobs (call->bus);
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; i < jobs->len; i++)
    add_job (&list, g_ptr_array_index (jobs, i));
  answer_records (call, g_variant_builder_end (&list));
}

/* Manager: specs and plans */

static void
reload (Call *call, GVariant *parameters)
{
  g_autoptr (GPtrArray) problems = NULL;

  vp_manager_reload (call->bus->manager, &problems);
  answer_records (call, vp_bus_problems (problems));
}

/* An option that must be a string, and is one: options are checked before. */
static const char *
option (GVariant *options, const char *name, const char *otherwise)
{
  const char *value = otherwise;

  (void) g_variant_lookup (options, name, "&s", &value);
  return value;
}

static void
verify (Call *call, GVariant *parameters)
{
  static const char *const kinds[] = { "guest", "network", "pool", "image",
                                       NULL };
  g_autoptr (GVariant) text = g_variant_get_child_value (parameters, 0);
  g_autoptr (GVariant) options = g_variant_get_child_value (parameters, 1);
  g_autoptr (GPtrArray) problems = NULL;
  const char *kind = option (options, "kind", "guest");
  const char *name = option (options, "name", "unnamed");
  const char *bytes;
  size_t len;

  bytes = g_variant_get_fixed_array (text, &len, 1);
  if (!g_strv_contains (kinds, kind)) {
    refuse_argument (call, "'%s' is no kind of spec", kind);
    return;
  }
  if (!vp_name_is_valid (name)) {
    refuse_argument (call, "'%s' is no name for a spec", name);
    return;
  }
  if (len > TEXT_SIZE_MAX) {
    refuse_argument (call, "the text is too long: %zu bytes", len);
    return;
  }
  /* Whoever passed authorize () could as well put the file into /etc, so raw
   * libvirt XML is judged, not refused. */
  problems = vp_manager_verify (call->bus->manager, kind, name,
                                option (options, "path", name),
                                len > 0 ? bytes : "", len, true);
  answer_records (call, vp_bus_problems (problems));
}

static void
on_planned (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (Call) call = user_data;
  g_autoptr (GPtrArray) steps = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *plan_id = NULL;

  if (call->bus->closed) {
    g_clear_object (&call->invocation);
    return;
  }
  steps = vp_manager_plan_finish (call->bus->manager, result, &plan_id, &error);
  if (steps == NULL)
    refuse (call, error);
  else
    answer (call, g_variant_new ("(s@aa{sv})", plan_id, vp_bus_steps (steps)));
}

static void
plan (Call *call, GVariant *parameters)
{
  g_autofree const char **names = NULL;
  Call *copy = call_copy (call);

  g_variant_get_child (parameters, 0, "^a&s", &names);
  call->invocation = NULL;
  vp_manager_plan_async (copy->bus->manager, names, on_planned, copy);
}

static void
apply (Call *call, GVariant *parameters)
{
  g_autoptr (GError) error = NULL;
  const char *plan_id;
  unsigned job = 0;
  bool success;

  g_variant_get_child (parameters, 0, "&s", &plan_id);
  success = vp_manager_apply (call->bus->manager, plan_id, &job, &error);
  answer_job (call, success, job, error);
}

static void
on_adopted (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (Call) call = user_data;
  g_autoptr (GError) error = NULL;
  g_autofree char *spec = NULL;
  g_autofree char *valid = NULL;

  if (call->bus->closed) {
    g_clear_object (&call->invocation);
    return;
  }
  spec = vp_manager_adopt_finish (call->bus->manager, result, &error);
  if (spec == NULL) {
    refuse (call, error);
    return;
  }
  valid = vp_bus_text (spec);
  answer (call, g_variant_new ("(s)", valid));
}

static void
adopt (Call *call, GVariant *parameters)
{
  const char *domain;
  Call *copy = call_copy (call);

  g_variant_get_child (parameters, 0, "&s", &domain);
  call->invocation = NULL;
  vp_manager_adopt_async (copy->bus->manager, domain, on_adopted, copy);
}

static void
on_checked (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (Call) call = user_data;
  g_autoptr (GPtrArray) checks = NULL;
  g_autoptr (GError) error = NULL;

  if (call->bus->closed) {
    g_clear_object (&call->invocation);
    return;
  }
  checks = vp_manager_forward_check_finish (call->bus->manager, result, &error);
  if (checks == NULL)
    refuse (call, error);
  else
    answer_records (call, vp_bus_checks (checks));
}

static void
forward_check (Call *call, GVariant *parameters)
{
  const char *forward;
  Call *copy = call_copy (call);

  g_variant_get_child (parameters, 0, "&s", &forward);
  call->invocation = NULL;
  vp_manager_forward_check_async (copy->bus->manager, forward, on_checked,
                                  copy);
}

/* Guest */

static const char *
guest_name (Call *call)
{
  return vp_dbus_guest_get_name (VP_DBUS_GUEST (call->skeleton));
}

static void
guest_start (Call *call, GVariant *parameters)
{
  g_autoptr (GError) error = NULL;
  unsigned job = 0;
  bool success = vp_manager_start_guest (call->bus->manager, guest_name (call),
                                         &job, &error);

  answer_job (call, success, job, error);
}

static void
guest_stop (Call *call, GVariant *parameters)
{
  g_autoptr (GError) error = NULL;
  unsigned job = 0;
  bool success = vp_manager_stop_guest (call->bus->manager, guest_name (call),
                                        &job, &error);

  answer_job (call, success, job, error);
}

static void
guest_reconcile (Call *call, GVariant *parameters)
{
  g_autoptr (GError) error = NULL;
  unsigned job = 0;
  bool success = vp_manager_reconcile_guest (call->bus->manager,
                                             guest_name (call), &job, &error);

  answer_job (call, success, job, error);
}

static void
guest_get_spec (Call *call, GVariant *parameters)
{
  g_autofree char *spec =
      vp_manager_get_spec (call->bus->manager, guest_name (call));
  g_autofree char *valid = NULL;

  if (spec == NULL) {
    g_autoptr (GError) error = g_error_new (
        VP_ERROR, VP_ERROR_INVALID_SPEC,
        "guest %s: no version of its spec was accepted", guest_name (call));

    refuse (call, error);
    return;
  }
  valid = vp_bus_text (spec);
  answer (call, g_variant_new ("(s)", valid));
}

/* Job */

static void
job_cancel (Call *call, GVariant *parameters)
{
  unsigned id = vp_dbus_job_get_id (VP_DBUS_JOB (call->skeleton));
  g_autoptr (GError) error = NULL;

  if (vp_manager_cancel_job (call->bus->manager, id, &error))
    answer (call, NULL);
  else
    refuse (call, error);
}

static const char *const verify_options[] = { "kind", "name", "path", NULL };

static const Row manager_rows[] = {
  { "handle-get-guest", READ, NULL, get_guest },
  { "handle-get-guest-by-uuid", READ, NULL, get_guest_by_uuid },
  { "handle-list-guests", READ, NULL, list_guests },
  { "handle-list-forwards", READ, NULL, list_forwards },
  { "handle-list-jobs", READ, NULL, list_jobs },
  { "handle-reload", APPLY, NULL, reload },
  { "handle-verify", READ_SENSITIVE, verify_options, verify },
  { "handle-plan", READ, NULL, plan },
  { "handle-apply", APPLY, NULL, apply },
  { "handle-adopt", READ_SENSITIVE, NULL, adopt },
  { "handle-forward-check", READ, NULL, forward_check },
  { NULL },
};

static const Row guest_rows[] = {
  { "handle-start", CONTROL, NULL, guest_start },
  { "handle-stop", CONTROL, NULL, guest_stop },
  { "handle-reconcile", APPLY, NULL, guest_reconcile },
  { "handle-get-spec", READ_SENSITIVE, NULL, guest_get_spec },
  { NULL },
};

static const Row job_rows[] = {
  { "handle-cancel", CONTROL, NULL, job_cancel },
  { NULL },
};

/* The way of every call */

static bool
check_options (Call *call, GVariant *parameters)
{
  static const char *const none[] = { NULL };
  const char *const *known =
      call->row->options != NULL ? call->row->options : none;
  g_autoptr (GVariant) options = g_variant_get_child_value (
      parameters, g_variant_n_children (parameters) - 1);
  GVariantIter iter;
  const char *name;
  GVariant *value;

  g_variant_iter_init (&iter, options);
  while (g_variant_iter_next (&iter, "{&sv}", &name, &value)) {
    bool is_text = g_variant_is_of_type (value, G_VARIANT_TYPE_STRING);

    g_variant_unref (value);
    if (!g_strv_contains (known, name)) {
      refuse_argument (call, "unknown option '%s'", name);
      return false;
    }
    if (!is_text) {
      refuse_argument (call, "option '%s' must be a string", name);
      return false;
    }
  }
  return true;
}

static void
run (Call *call)
{
  GDBusMethodInvocation *invocation = call->invocation;

  call->row->run (call, g_dbus_method_invocation_get_parameters (invocation));
}

static void
on_sender_known (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (Call) call = user_data;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GError) error = NULL;
  uint32_t uid = UINT32_MAX;

  reply = g_dbus_connection_call_finish (G_DBUS_CONNECTION (source), result,
                                         &error);
  if (call->bus->closed) {
    g_clear_object (&call->invocation);
    return;
  }
  /* A sender that has left in the meantime is nobody. */
  if (reply != NULL)
    g_variant_get (reply, "(u)", &uid);
  if (reply != NULL && (uid == 0 || uid == geteuid ())) {
    run (call);
    return;
  }
  g_clear_error (&error);
  error =
      g_error_new (VP_ERROR, VP_ERROR_NOT_AUTHORIZED,
                   "only root may do this (%s)", actions[call->row->action]);
  refuse (call, error);
}

/* Takes the call; runs it now or later, or refuses it. */
static void
authorize (Call *call)
{
  g_autoptr (Call) owned = call;

  if (owned->row->action == READ) {
    run (owned);
    return;
  }
  g_dbus_connection_call (
      owned->bus->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
      "org.freedesktop.DBus", "GetConnectionUnixUser",
      g_variant_new ("(s)",
                     g_dbus_method_invocation_get_sender (owned->invocation)),
      G_VARIANT_TYPE ("(u)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, on_sender_known,
      owned);
  (void) g_steal_pointer (&owned);
}

/* All methods come here: the generated signals differ in their arguments
 * only, and those are in the invocation too. */
static void
on_call (GClosure *closure, GValue *return_value, unsigned n_values,
         const GValue *values, gpointer hint, gpointer row)
{
  GDBusMethodInvocation *invocation = g_value_get_object (&values[1]);
  g_autoptr (Call) call = g_new0 (Call, 1);

  call->bus = vp_bus_ref (closure->data);
  call->row = row;
  call->skeleton = g_value_dup_object (&values[0]);
  call->invocation = invocation;
  g_value_set_boolean (return_value, true);
  if (check_options (call,
                     g_dbus_method_invocation_get_parameters (invocation)))
    authorize (g_steal_pointer (&call));
}

void
vp_bus_call_connect (VpBus *bus, GDBusInterfaceSkeleton *skeleton)
{
  const Row *rows = VP_DBUS_IS_MANAGER (skeleton) ? manager_rows
                    : VP_DBUS_IS_GUEST (skeleton) ? guest_rows
                                                  : job_rows;

  for (const Row *row = rows; row->signal != NULL; row++) {
    GClosure *closure = g_closure_new_simple (sizeof (GClosure), bus);

    g_closure_set_meta_marshal (closure, (gpointer) row, on_call);
    (void) g_signal_connect_closure (skeleton, row->signal, closure, false);
  }
}
