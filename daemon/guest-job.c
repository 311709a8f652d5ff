/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* guest-job: see the header. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/guest-job.h"
#include "daemon/observe.h"
#include "daemon/run.h"

VpGuestJob *
vp_guest_job_new (const char *name)
{
  VpGuestJob *self = g_new0 (VpGuestJob, 1);

  self->name = g_strdup (name);
  self->done = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_step_free);
  return self;
}

void
vp_guest_job_free (VpGuestJob *self)
{
  if (self == NULL)
    return;
  g_free (self->name);
  g_free (self->domain);
  vp_guest_unref (self->wanted);
  g_clear_pointer (&self->volumes, g_ptr_array_unref);
  g_free (self->fresh_warning);
  g_clear_error (&self->error);
  vp_found_free (self->found);
  vp_plan_free (self->plan);
  vp_plan_free (self->rest);
  g_ptr_array_unref (self->done);
  g_free (self->digest);
  g_free (self->fixed);
  g_free (self->accel_warning);
  g_free (self->arch);
  g_free (self->machine);
  g_free (self);
}

static const char *
domain_name (const VpGuestJob *self)
{
  return self->domain != NULL ? self->domain : self->name;
}

/* auto means KVM only where it is usable: a device alone proves nothing. */
static bool
decide_accel (VpGuestJob *self, const VpHostCaps *caps, GError **error)
{
  VpAccel wanted = self->wanted->accel;

  if (caps->test)
    self->accel = VP_ACCEL_TEST;
  else if (wanted != VP_ACCEL_AUTO)
    self->accel = wanted;
  else if (caps->kvm)
    self->accel = VP_ACCEL_KVM;
  else if (caps->tcg) {
    self->accel = VP_ACCEL_TCG;
    self->accel_warning = g_strdup_printf (
        "runs under emulation, slowly: KVM is not usable here (%s)",
        caps->kvm_reason != NULL ? caps->kvm_reason : "no reason given");
  } else {
    g_set_error_literal (error, VP_ERROR, VP_ERROR_NOT_SUPPORTED,
                         "the hypervisor offers neither KVM nor TCG");
    return false;
  }
  return true;
}

/* A whole <domain> file is what it says; its own part and the rest are not
 * told apart. */
static char *
digest_of (const VpGuest *wanted, const char *xml, bool fixed_only)
{
  return wanted->domain_xml != NULL ? vp_domain_xml_digest (xml)
                                    : vp_guest_digest (wanted, fixed_only);
}

/* Fills in what only the hypervisor knows; makes the definition. */
static char *
complete_wanted (VpGuestJob *self, const VpFound *found, GError **error)
{
  g_autoptr (VpHostCaps) caps = self->host->ops->caps (self->host, error);
  g_autoptr (VpGuest) wanted = NULL;
  g_autofree char *xml = NULL;

  if (caps == NULL || !decide_accel (self, caps, error))
    return NULL;
  wanted = vp_guest_copy (self->wanted);
  if (wanted->domain_xml == NULL) {
    const VpGuest *config = found->marked ? found->config : NULL;

    wanted->accel = self->accel;
    if (self->domain != NULL) {
      g_free (wanted->name);
      wanted->name = g_strdup (self->domain);
    }
    /* Pinned at first definition, for ever. */
    if (wanted->machine == NULL)
      wanted->machine =
          g_strdup (config != NULL && config->machine != NULL ? config->machine
                                                              : caps->machine);
    if (wanted->arch == NULL)
      wanted->arch = g_strdup (caps->arch);
  }
  xml = vp_domain_xml_generate (wanted, caps, error);
  if (xml == NULL)
    return NULL;
  g_free (self->digest);
  self->digest = digest_of (wanted, xml, false);
  g_free (self->fixed);
  self->fixed = digest_of (wanted, xml, true);
  g_free (self->machine);
  self->machine = g_strdup (wanted->machine);
  g_free (self->arch);
  self->arch = g_strdup (wanted->arch);
  vp_guest_unref (self->wanted);
  self->wanted = g_steal_pointer (&wanted);
  return g_steal_pointer (&xml);
}

static VpPlan *
make_plan (const VpGuestJob *self, const VpFound *found)
{
  VpPlanInput input = {
    .wanted = self->wanted,
    .name = self->name,
    .digest = self->digest,
    .fixed = self->fixed,
    .run = self->run,
    .found = found,
    .fresh_warning = self->fresh_warning,
  };

  return vp_plan_make (&input);
}

/* AutoApply= in vprovd.conf. */
static bool
is_allowed (const VpGuestJob *self, const VpStep *step)
{
  if (self->allow_all)
    return true;
  if (step->risk == VP_RISK_DATA_LOSS)
    return false;
  if (self->asked)
    return true;
  if (step->kind == VP_STEP_SHUTDOWN || step->kind == VP_STEP_RETIRE)
    return self->config->apply_stop;
  if (self->found->exists)
    return self->config->apply_live;
  return self->config->apply_create;
}

static bool
plan_waits (const VpGuestJob *self)
{
  for (guint i = 0; i < self->plan->steps->len; i++)
    if (!is_allowed (self, g_ptr_array_index (self->plan->steps, i)))
      return true;
  return false;
}

static void
undo_all (VpGuestJob *self, VpJob *job, const VpRunContext *context,
          VpJournal *journal)
{
  for (guint i = self->done->len; i-- > 0;) {
    const VpStep *step = g_ptr_array_index (self->done, i);
    g_autoptr (GError) error = NULL;
    g_autofree char *words = vp_step_to_string (step);

    vp_job_set_phase (job, "undoing: %s", words);
    if (!vp_run_undo (context, step, &error)) {
      g_prefix_error (&self->error, "(could not take back \"%s\": %s) ", words,
                      error->message);
      return;
    }
    /* A lost line only means that the undo is looked at again. */
    (void) vp_journal_write (journal, "undone", step, NULL);
  }
  self->undone = true;
}

/* Only what makes a new guest is taken back when a later step fails: a
 * change to a guest that was there is kept, and the next pass goes on.  So it
 * does where nobody knows how the step ended. */
static bool
should_undo (const VpGuestJob *self)
{
  return !self->found->exists &&
         !g_error_matches (self->error, VP_ERROR, VP_ERROR_TIMEOUT) &&
         !g_error_matches (self->error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE);
}

static void
run_steps (VpGuestJob *self, VpJob *job, const char *xml)
{
  VpRunContext context = {
    .host = self->host,
    .config = self->config,
    .wanted = self->wanted,
    .found = self->found,
    .name = self->name,
    .domain = domain_name (self),
    .xml = xml,
    .digest = self->digest,
    .fixed = self->fixed,
    .volumes = self->volumes,
    .cancel = vp_job_cancel_flag (job),
    .done_bytes = vp_job_done_bytes (job),
    .total_bytes = vp_job_total_bytes (job),
  };
  const GPtrArray *steps = self->plan->steps;
  VpJournal *journal =
      vp_store_journal_open (self->store, self->name, &self->error);

  if (journal == NULL)
    return;
  for (guint i = 0; i < steps->len && self->error == NULL; i++) {
    const VpStep *step = g_ptr_array_index (steps, i);
    g_autofree char *words = vp_step_to_string (step);

    vp_job_set_phase (job, "running %u/%u: %s", i + 1, steps->len, words);
    if (vp_job_is_cancelled (job))
      g_set_error_literal (&self->error, VP_ERROR, VP_ERROR_CANCELLED,
                           "cancelled");
    else if (vp_journal_write (journal, "begin", step, &self->error) &&
             vp_run_step (&context, step, &self->error)) {
      g_ptr_array_add (self->done, vp_step_copy (step));
      /* A lost line only means that the step is looked at again. */
      (void) vp_journal_write (journal, "done", step, NULL);
    } else {
      g_prefix_error (&self->error, "%s: ", words);
      (void) vp_journal_write (journal, "failed", step, NULL);
    }
  }
  if (self->error != NULL && should_undo (self))
    undo_all (self, job, &context, journal);
  vp_journal_close (journal, true);
}

static bool
observe (VpGuestJob *self, GError **error)
{
  VpFound *found = vp_observe_guest (
      self->host, domain_name (self), self->name,
      self->wanted != NULL ? self->wanted->uuid : NULL, self->volumes, error);

  if (found == NULL)
    return false;
  for (guint i = 0; i < found->volumes->len; i++) {
    VpFoundVolume *volume = g_ptr_array_index (found->volumes, i);
    VpFoundVolume *known = g_ptr_array_index (self->volumes, i);

    /* A crash came between the rename and the record. */
    if (volume->there && volume->intended)
      volume->made = known->made = true;
  }
  vp_found_free (self->found);
  self->found = found;
  return true;
}

void
vp_guest_job_func (VpJob *job, gpointer data)
{
  VpGuestJob *self = data;
  g_autofree char *xml = NULL;

  vp_job_set_phase (job, "observing");
  if (!observe (self, &self->error))
    return;
  if (self->wanted != NULL) {
    xml = complete_wanted (self, self->found, &self->error);
    if (xml == NULL)
      return;
  }
  /* A clean power-off from inside holds; one that we asked for does not. */
  if (self->run && self->found->exists && self->found->clean_shutdown &&
      !self->off && !self->start_asked &&
      self->found->power == VP_POWER_STOPPED) {
    self->held = true;
    self->run = false;
  }
  self->plan = make_plan (self, self->found);
  self->waits = plan_waits (self);
  if (self->dry_run || self->waits || self->plan->steps->len == 0)
    return;
  run_steps (self, job, xml);
  if (self->error != NULL)
    return;
  vp_job_set_phase (job, "observing");
  if (observe (self, &self->error))
    self->rest = make_plan (self, self->found);
}
