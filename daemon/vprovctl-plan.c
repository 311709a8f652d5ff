/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-plan: what would be done, and doing it. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <stdio.h>
#include <string.h>

/* How often apply plans anew when the host moves under its plan. */
#define ATTEMPTS 3

typedef struct {
  char *id;
  GVariant *steps;
} Plan;

static void
plan_clear (Plan *plan)
{
  g_clear_pointer (&plan->id, g_free);
  g_clear_pointer (&plan->steps, g_variant_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Plan, plan_clear)

static bool
make_plan (Ctl *ctl, char **names, Plan *ret_plan, GError **error)
{
  g_autoptr (GVariant) reply = ctl_call_manager (
      ctl, "Plan", g_variant_new ("(^as@a{sv})", names, ctl_no_options ()),
      "(saa{sv})", error);

  if (reply == NULL)
    return false;
  plan_clear (ret_plan);
  g_variant_get (reply, "(s@aa{sv})", &ret_plan->id, &ret_plan->steps);
  return true;
}

static void
print_steps (const Ctl *ctl, GVariant *steps)
{
  static const char *const heads[] = { "GUEST", "RISK", "STEP", NULL };
  g_autoptr (CtlTable) table = ctl_table_new (heads);

  for (size_t i = 0; i < g_variant_n_children (steps); i++) {
    g_autoptr (GVariant) step = g_variant_get_child_value (steps, i);
    const char *risk = ctl_text (step, "risk");

    ctl_table_add (table, ctl_text (step, "guest"), CTL_PLAIN);
    ctl_table_add (table, risk, ctl_colour_of (risk));
    ctl_table_add (table, ctl_text (step, "words"), CTL_PLAIN);
  }
  ctl_table_print (ctl, table, "steps");
}

static void
print_plan_json (const Ctl *ctl, const char *id, GVariant *steps,
                 const char *result)
{
  GVariantBuilder record;

  g_variant_builder_init (&record, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&record, "{sv}", "plan", g_variant_new_string (id));
  if (steps != NULL)
    g_variant_builder_add (&record, "{sv}", "steps", steps);
  if (result != NULL)
    g_variant_builder_add (&record, "{sv}", "result",
                           g_variant_new_string (result));
  ctl_print_json (ctl, g_variant_builder_end (&record));
}

CtlExit
ctl_plan (Ctl *ctl, char **args)
{
  g_auto (Plan) plan = { NULL };
  g_autoptr (GError) error = NULL;
  bool empty;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  if (!make_plan (ctl, args, &plan, &error))
    return ctl_complain ("%s", error->message);
  empty = g_variant_n_children (plan.steps) == 0;
  if (ctl->json != CTL_JSON_OFF) {
    print_plan_json (ctl, plan.id, plan.steps, NULL);
  } else if (empty) {
    if (!ctl->quiet)
      (void) puts ("Nothing to do.");
  } else {
    print_steps (ctl, plan.steps);
    if (ctl->legend)
      (void) printf ("Do it with: vprovctl apply --plan %s\n", plan.id);
  }
  return empty ? CTL_OK : CTL_CHANGES;
}

static bool
begin (Ctl *ctl, CtlWait *wait, const char *plan_id, GError **error)
{
  g_autoptr (GVariant) reply = ctl_call_manager (
      ctl, "Apply", g_variant_new ("(s@a{sv})", plan_id, ctl_no_options ()),
      "(o)", error);
  const char *job;

  if (reply == NULL)
    return false;
  g_variant_get (reply, "(&o)", &job);
  ctl_wait_add (wait, job, "apply");
  return true;
}

/* Plans and begins; plans anew where something changed in between.  An empty
 * plan begins nothing. */
static bool
plan_and_begin (Ctl *ctl, CtlWait *wait, char **names, Plan *plan,
                GError **error)
{
  for (unsigned attempt = 1;; attempt++) {
    g_autoptr (GError) stale = NULL;

    if (!make_plan (ctl, names, plan, error))
      return false;
    if (g_variant_n_children (plan->steps) == 0 ||
        begin (ctl, wait, plan->id, &stale))
      return true;
    if (attempt < ATTEMPTS &&
        g_error_matches (stale, G_IO_ERROR, G_IO_ERROR_BUSY))
      continue;
    g_propagate_error (error, g_steal_pointer (&stale));
    return false;
  }
}

static CtlExit
finish (Ctl *ctl, CtlWait *wait, const char *id, GVariant *steps)
{
  bool success = true;

  if (ctl->block)
    success = ctl_wait_run (wait);
  if (ctl->json != CTL_JSON_OFF)
    print_plan_json (ctl, id, steps,
                     !ctl->block ? "begun"
                     : success   ? "done"
                                 : "failed");
  return success ? CTL_OK : CTL_FAILED;
}

static CtlExit
apply_plan (Ctl *ctl, CtlWait *wait)
{
  g_autoptr (GError) error = NULL;

  if (begin (ctl, wait, ctl->plan, &error))
    return finish (ctl, wait, ctl->plan, NULL);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_BUSY))
    return ctl_complain ("plan %s: %s; look at 'vprovctl plan' again",
                         ctl->plan, error->message);
  return ctl_complain ("plan %s: %s", ctl->plan, error->message);
}

CtlExit
ctl_apply (Ctl *ctl, char **args)
{
  g_auto (Plan) plan = { NULL };
  g_autoptr (CtlWait) wait = NULL;
  g_autoptr (GError) error = NULL;

  if (ctl->plan != NULL && args[0] != NULL) {
    (void) ctl_complain ("apply takes a plan or guests, not both");
    return CTL_USAGE;
  }
  if (!ctl_reach (ctl))
    return CTL_FAILED;
  wait = ctl_wait_new (ctl);
  ctl_wait_watch (wait, (const char *const *) args);
  if (ctl->plan != NULL)
    return apply_plan (ctl, wait);

  if (!plan_and_begin (ctl, wait, args, &plan, &error))
    return ctl_complain ("%s", error->message);
  if (ctl->json == CTL_JSON_OFF && !ctl->quiet) {
    if (g_variant_n_children (plan.steps) == 0)
      (void) puts ("Nothing to do.");
    else
      print_steps (ctl, plan.steps);
    (void) fflush (stdout);
  }
  return finish (ctl, wait, plan.id, plan.steps);
}
