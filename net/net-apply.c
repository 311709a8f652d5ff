/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-apply: observe, plan, carry out, observe again.
 *
 * No change is carried out that the plan did not name, and a plan with no
 * change touches nothing: no transaction, no file, no netlink message that
 * changes something.  After writing to the tables they are read back; what
 * iptables prints otherwise than we wrote it is learned, and what is not as
 * wanted is planned for anew a few times, before we say that somebody works
 * against us. */
#include "config.h"

#include "net/net-apply.h"
#include "net/net-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_TIMEOUT_MS 30000
#define ROUNDS          3

void
vp_net_report_free (VpNetReport *report)
{
  if (report == NULL)
    return;
  g_clear_pointer (&report->steps, g_ptr_array_unref);
  g_clear_pointer (&report->forwards, g_ptr_array_unref);
  g_clear_pointer (&report->warnings, g_ptr_array_unref);
  g_free (report);
}

/* --- the lock ---------------------------------------------------------- */

typedef struct {
  int fd;
} Lock;

static void
lock_clear (Lock *lock)
{
  if (lock->fd >= 0)
    (void) close (lock->fd); /* gives the lock back */
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Lock, lock_clear)

static bool
lock_take (Lock *lock, const VpNetHostConfig *config, GError **error)
{
  g_autofree char *path =
      g_build_filename (config->runtime_dir, "net.lock", NULL);
  gint64 deadline =
      g_get_monotonic_time () + LOCK_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND;

  if (g_mkdir_with_parents (config->runtime_dir, 0755) == 0)
    lock->fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock->fd < 0) {
    int number = errno;
    g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (number),
                 "%s: %s", path, g_strerror (number));
    return false;
  }
  while (flock (lock->fd, LOCK_EX | LOCK_NB) < 0) {
    if (g_get_monotonic_time () >= deadline ||
        (errno != EWOULDBLOCK && errno != EINTR)) {
      g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BUSY,
                   "%s: another process holds the lock", path);
      return false;
    }
    g_usleep (20 * 1000);
  }
  return true;
}

/* --- the report -------------------------------------------------------- */

static VpNetReport *
report_new (void)
{
  VpNetReport *report = g_new0 (VpNetReport, 1);

  report->steps =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_net_step_free);
  report->warnings = g_ptr_array_new_with_free_func (g_free);
  return report;
}

static void
tell_steps (VpNetReport *report, const VpNetPlan *plan)
{
  for (guint i = 0; i < plan->changes->len; i++) {
    const VpNetStep *from = &((VpNetChange *) plan->changes->pdata[i])->step;
    VpNetStep *step;

    if (from->words == NULL)
      continue;
    step = g_new0 (VpNetStep, 1);
    step->words = g_strdup (from->words);
    step->guest = g_strdup (from->guest);
    step->subject = g_strdup (from->subject);
    g_ptr_array_add (report->steps, step);
  }
}

/* A forward that could be is active, unless a dry run found it to do. */
static void
tell_forwards (VpNetReport *report, VpNetPlan *plan)
{
  for (guint i = 0; i < plan->forwards->len; i++) {
    VpForwardStatus *status = plan->forwards->pdata[i];
    bool to_do = false;

    if (status->state != VP_FORWARD_PENDING)
      continue;
    for (guint s = 0; !report->applied && s < plan->changes->len; s++) {
      const VpNetChange *change = plan->changes->pdata[s];
      to_do = to_do || (change->kind == VP_CHANGE_NOTE &&
                        g_strcmp0 (change->step.guest, status->guest) == 0 &&
                        g_strcmp0 (change->step.subject, status->id) == 0);
    }
    if (to_do)
      status->reason = g_strdup ("not applied yet");
    else
      status->state = VP_FORWARD_ACTIVE;
  }
  g_clear_pointer (&report->forwards, g_ptr_array_unref);
  report->forwards = g_steal_pointer (&plan->forwards);
  g_clear_pointer (&report->warnings, g_ptr_array_unref);
  report->warnings = g_steal_pointer (&plan->warnings);
}

/* --- one round --------------------------------------------------------- */

typedef struct {
  const VpNetOps *ops;
  gpointer user_data;
  const VpNetHostConfig *config;
  VpNetWanted *wanted;
  VpNetReport *report;
} Pass;

static bool
carry_out (Pass *pass, const VpNetChange *change, GError **error)
{
  if (!pass->ops->change (pass->config, change, pass->user_data, error)) {
    g_prefix_error (
        error,
        "%s: ", change->step.words != NULL ? change->step.words : "network");
    return false;
  }
  if (change->kind != VP_CHANGE_NOTE)
    pass->report->writes++;
  return true;
}

static bool
store_state (Pass *pass, const VpNetState *state, GError **error)
{
  g_autoptr (VpNetChange) change = g_new0 (VpNetChange, 1);

  change->kind = VP_CHANGE_STATE;
  change->text = vp_net_state_to_string (state);
  return carry_out (pass, change, error);
}

/* Reads the tables back.  ret_right: they are as the plan wanted them. */
static bool
read_back (Pass *pass, const VpNetPlan *plan, bool *ret_right, GError **error)
{
  g_autoptr (VpNetFound) found =
      pass->ops->observe (pass->config, pass->wanted, pass->user_data, error);
  g_autoptr (VpNetState) state = NULL;
  bool changed;

  if (found == NULL)
    return false;
  state = vp_net_state_copy (plan->state);
  changed = vp_learned_note (state->learned, plan->tables, found->tables);
  *ret_right = true;
  for (unsigned id = 0; id < VP_N_TABLES; id++) {
    g_autofree char *text = NULL;

    if (found->tables->table[id].blind && pass->wanted->nets->len > 0) {
      g_free (state->blind[id]);
      state->blind[id] = vp_net_blind_mark (found->generation, plan->tables);
      changed = true;
      continue;
    }
    text =
        vp_tables_diff (found->tables, plan->tables, id, state->learned, NULL);
    if (text != NULL)
      *ret_right = false;
  }
  return !changed || store_state (pass, state, error);
}

/* ret_done: nothing is left to do. */
static bool
one_round (Pass *pass, bool dry_run, bool *ret_done, GError **error)
{
  g_autoptr (VpNetFound) found =
      pass->ops->observe (pass->config, pass->wanted, pass->user_data, error);
  g_autoptr (VpNetPlan) plan = NULL;
  bool tables = false;

  if (found == NULL)
    return false;
  plan = vp_net_plan (pass->config, pass->wanted, found, error);
  if (plan == NULL)
    return false;
  pass->report->applied = !dry_run;
  tell_steps (pass->report, plan);
  *ret_done = true;
  for (guint i = 0; !dry_run && i < plan->changes->len; i++) {
    const VpNetChange *change = plan->changes->pdata[i];

    if (!carry_out (pass, change, error))
      return false;
    tables = tables || change->kind == VP_CHANGE_TABLES;
  }
  if (tables && !read_back (pass, plan, ret_done, error))
    return false;
  tell_forwards (pass->report, plan);
  return true;
}

VpNetReport *
vp_net_apply_with (const VpNetOps *ops, gpointer user_data,
                   const VpNetHostConfig *config, VpNetWanted *wanted,
                   bool dry_run, GError **error)
{
  g_autoptr (VpNetReport) report = report_new ();
  g_auto (Lock) lock = { -1 };
  Pass pass = { ops, user_data, config, wanted, report };
  bool done = false;

  if (!lock_take (&lock, config, error))
    return NULL;
  for (unsigned round = 0; round < ROUNDS && !done; round++)
    if (!one_round (&pass, dry_run, &done, error))
      return NULL;
  if (!done) {
    g_set_error_literal (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
                         "the iptables rules do not stay as we write them: "
                         "another program changes our chains");
    return NULL;
  }
  return g_steal_pointer (&report);
}

VpNetReport *
vp_net_apply (const VpNetHostConfig *config, VpNetWanted *wanted, bool dry_run,
              GError **error)
{
  static const VpNetOps ops = { vp_net_host_observe, vp_net_host_change };
  return vp_net_apply_with (&ops, NULL, config, wanted, dry_run, error);
}

bool
vp_net_teardown (const VpNetHostConfig *config, GError **error)
{
  g_autoptr (VpNetWanted) nothing = vp_net_wanted_new ();
  g_autoptr (VpNetReport) report = vp_net_apply (config, nothing, false, error);
  g_autofree char *link = NULL;

  if (report == NULL)
    return false;
  link = g_build_filename (config->runtime_dir, "vprovd-iptables", NULL);
  (void) unlink (link); /* made anew when it is needed */
  return true;
}

GArray *
vp_net_used_prefixes (GError **error)
{
  g_autoptr (GArray) used = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_autoptr (GPtrArray) links = vp_links_list (error);
  g_autoptr (GArray) routes = links != NULL ? vp_routes_list (error) : NULL;
  g_autoptr (GHashTable) ours = g_hash_table_new (NULL, NULL);

  if (routes == NULL)
    return NULL;
  for (guint i = 0; i < links->len; i++) {
    const VpLink *link = links->pdata[i];

    if (vp_net_link_is_ours (link))
      g_hash_table_add (ours, GINT_TO_POINTER (link->index));
    else
      g_array_append_vals (used, link->addresses->data, link->addresses->len);
  }
  for (guint i = 0; i < routes->len; i++) {
    const VpRoute *route = &g_array_index (routes, VpRoute, i);

    /* The default route covers everything and says nothing. */
    if (route->to.prefix > 0 &&
        !g_hash_table_contains (ours, GINT_TO_POINTER (route->link)))
      g_array_append_val (used, route->to);
  }
  return g_steal_pointer (&used);
}
