/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan: see the header.
 *
 * Order by need: volumes, definition, devices, power.  A definition is
 * written when its digest differs from the one in the domain's mark, so that
 * a changed comment in a spec is no change; what of it the running guest can
 * take at once becomes steps with risk "live", the rest is pending until its
 * next start. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/plan.h"

void
vp_found_volume_free (VpFoundVolume *volume)
{
  if (volume == NULL)
    return;
  g_free (volume->disk);
  g_free (volume->format);
  g_free (volume->base);
  g_free (volume->path);
  g_free (volume);
}

VpFound *
vp_found_new (void)
{
  VpFound *found = g_new0 (VpFound, 1);

  found->volumes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_found_volume_free);
  return found;
}

void
vp_found_free (VpFound *found)
{
  if (found == NULL)
    return;
  g_free (found->owner);
  g_free (found->uuid);
  g_free (found->digest);
  g_free (found->live_digest);
  g_free (found->live_fixed);
  vp_guest_unref (found->config);
  vp_guest_unref (found->live);
  g_ptr_array_unref (found->volumes);
  g_free (found);
}

void
vp_plan_free (VpPlan *plan)
{
  if (plan == NULL)
    return;
  g_ptr_array_unref (plan->steps);
  g_ptr_array_unref (plan->pending);
  g_free (plan->conflict);
  g_free (plan);
}

static bool G_GNUC_PRINTF (3, 4)
    conflict (VpPlan *plan, VpErrorCode code, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_free (plan->conflict);
  plan->conflict = g_strdup_vprintf (format, args);
  va_end (args);
  plan->conflict_code = (int) code;
  g_ptr_array_set_size (plan->steps, 0);
  return false;
}

static void
add (VpPlan *plan, const VpPlanInput *input, VpStepKind kind,
     const char *subject, const char *before, const char *after, VpRisk risk)
{
  g_ptr_array_add (plan->steps, vp_step_new (kind, input->name, subject, before,
                                             after, risk));
}

static void G_GNUC_PRINTF (2, 3) pending (VpPlan *plan, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_ptr_array_add (plan->pending, g_strdup_vprintf (format, args));
  va_end (args);
}

static char *
size_words (uint64_t bytes)
{
  return g_format_size_full (bytes, G_FORMAT_SIZE_IEC_UNITS);
}

static const VpFoundVolume *
find_volume (const VpFound *found, const char *disk)
{
  for (guint i = 0; i < found->volumes->len; i++) {
    const VpFoundVolume *volume = g_ptr_array_index (found->volumes, i);

    if (g_str_equal (volume->disk, disk))
      return volume;
  }
  return NULL;
}

/* Of a disk that was made already: growth is a step, what would lose or
 * change its content is refused. */
static bool
plan_made_volume (VpPlan *plan, const VpPlanInput *input, const VpDisk *disk,
                  const VpFoundVolume *volume)
{
  g_autofree char *before = size_words (volume->size);
  g_autofree char *after = size_words (disk->size);

  if (g_strcmp0 (disk->format, volume->format) != 0)
    return conflict (plan, VP_ERROR_WOULD_DESTROY_DATA,
                     "disk %s is %s and the spec wants %s: an existing disk "
                     "keeps its format; put format=\"%s\" back or give the "
                     "disk a new name",
                     disk->name, volume->format, disk->format, volume->format);
  if (g_strcmp0 (disk->from, volume->base) != 0)
    return conflict (plan, VP_ERROR_WOULD_DESTROY_DATA,
                     "disk %s was made from %s and the spec says %s: an "
                     "existing disk keeps its content; put from= back or "
                     "give the disk a new name",
                     disk->name, volume->base ? volume->base : "nothing",
                     disk->from ? disk->from : "nothing");
  if (g_strcmp0 (disk->path, volume->path) != 0)
    return conflict (plan, VP_ERROR_WOULD_DESTROY_DATA,
                     "disk %s is at %s and the spec puts it at %s: an "
                     "existing disk is not moved; put pool= back or give "
                     "the disk a new name",
                     disk->name, volume->path, disk->path);
  if (disk->size != 0 && disk->size < volume->size)
    return conflict (plan, VP_ERROR_WOULD_DESTROY_DATA,
                     "disk %s has %s and the spec wants %s: disks are never "
                     "shrunk; put the size back",
                     disk->name, before, after);
  if (disk->size > volume->size)
    add (plan, input, VP_STEP_VOLUME_GROW, disk->name, before, after,
         VP_RISK_LIVE);
  return true;
}

static bool
plan_volume (VpPlan *plan, const VpPlanInput *input, const VpDisk *disk)
{
  const VpFoundVolume *volume = find_volume (input->found, disk->name);
  g_autofree char *size = NULL;
  g_autofree char *words = NULL;

  if (volume == NULL) /* a whole <domain> file: its disks are not ours */
    return true;
  if (volume->there && (volume->made || volume->intended))
    return plan_made_volume (plan, input, disk, volume);
  if (volume->made)
    return conflict (plan, VP_ERROR_NO_SUCH_VOLUME,
                     "the volume %s of disk %s is gone; restore it, or give "
                     "the disk a new name to begin with an empty one",
                     volume->path, disk->name);
  if (volume->there)
    return conflict (plan, VP_ERROR_IN_USE,
                     "%s is there and vprovd did not make it; move it away, "
                     "or give disk %s another name",
                     volume->path, disk->name);
  size = disk->size != 0 ? size_words (disk->size)
                         : g_strdup ("as large as its base,");
  words = disk->from != NULL
              ? g_strdup_printf ("%s, %s %s on %s", volume->path, size,
                                 disk->format, disk->from)
              : g_strdup_printf ("%s, %s %s", volume->path, size, disk->format);
  add (plan, input, VP_STEP_VOLUME_CREATE, disk->name, NULL, words,
       input->fresh_warning != NULL ? VP_RISK_DATA_LOSS : VP_RISK_LIVE);
  return true;
}

static bool
same_text (const char *a, const char *b)
{
  return g_strcmp0 (a, b) == 0;
}

/* Devices that the running guest lacks or has too many of.  What a fragment
 * brought, or somebody else attached, is not ours to take away. */
static void
plan_devices (VpPlan *plan, const VpPlanInput *input)
{
  const VpGuest *wanted = input->wanted, *live = input->found->live;

  for (guint i = 0; i < live->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (live->disks, i);

    if (!disk->foreign && vp_guest_find_disk (wanted, disk->name) == NULL)
      add (plan, input, VP_STEP_DETACH_DISK, disk->name, disk->path, NULL,
           VP_RISK_LIVE);
  }
  for (guint i = 0; i < live->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (live->nics, i);
    const VpNic *want = vp_guest_find_nic (wanted, nic->name);

    if (!nic->foreign && (want == NULL || !same_text (want->mac, nic->mac)))
      add (plan, input, VP_STEP_DETACH_NIC, nic->name, nic->mac, NULL,
           VP_RISK_LIVE);
  }
  for (guint i = 0; i < wanted->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (wanted->disks, i);

    if (vp_guest_find_disk (live, disk->name) == NULL)
      add (plan, input, VP_STEP_ATTACH_DISK, disk->name, NULL, disk->path,
           VP_RISK_LIVE);
  }
  for (guint i = 0; i < wanted->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (wanted->nics, i);
    const VpNic *have = vp_guest_find_nic (live, nic->name);

    if (have == NULL || (!have->foreign && !same_text (have->mac, nic->mac)))
      add (plan, input, VP_STEP_ATTACH_NIC, nic->name, NULL, nic->bridge,
           VP_RISK_LIVE);
  }
}

/* Memory and CPUs are fixed at start: max= comes with a later vocabulary. */
static void
plan_amounts (VpPlan *plan, const VpPlanInput *input)
{
  const VpGuest *wanted = input->wanted, *live = input->found->live;
  g_autofree char *before = size_words (live->memory);
  g_autofree char *after = size_words (wanted->memory);

  if (wanted->memory != live->memory)
    pending (plan, "memory %s -> %s", before, after);
  if (wanted->cpus != live->cpus)
    pending (plan, "cpus %u -> %u", live->cpus, wanted->cpus);
}

/* Fields that only a new start can change. */
static void
plan_pending (VpPlan *plan, const VpPlanInput *input)
{
  const VpGuest *wanted = input->wanted, *live = input->found->live;
  const struct {
    const char *what, *before, *after;
    bool optional; /* not stated: whatever it is */
  } fields[] = {
    { "kernel", live->kernel, wanted->kernel },
    { "initrd", live->initrd, wanted->initrd },
    { "cmdline", live->cmdline, wanted->cmdline },
    { "machine", live->machine, wanted->machine, true },
    { "accel", vp_accel_to_string (live->accel),
      vp_accel_to_string (wanted->accel) },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (fields); i++)
    if (!same_text (fields[i].before, fields[i].after) &&
        !(fields[i].optional && fields[i].after == NULL))
      pending (plan, "%s %s -> %s", fields[i].what,
               fields[i].before ? fields[i].before : "none",
               fields[i].after ? fields[i].after : "none");
  for (guint i = 0; i < wanted->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (wanted->nics, i);
    const VpNic *have = vp_guest_find_nic (live, nic->name);

    if (have != NULL && same_text (have->mac, nic->mac) &&
        !same_text (have->bridge, nic->bridge))
      pending (plan, "nic %s: bridge %s -> %s", nic->name,
               have->bridge ? have->bridge : "none",
               nic->bridge ? nic->bridge : "none");
  }
}

/* A running guest whose definition is to change, or changed while it ran. */
static void
plan_live (VpPlan *plan, const VpPlanInput *input)
{
  guint waiting = 0;

  plan_devices (plan, input);
  plan_amounts (plan, input);
  plan_pending (plan, input);
  /* What no typed field shows: fragments, a whole <domain> file. */
  if (plan->pending->len == 0 &&
      !same_text (input->found->live_fixed, input->fixed))
    pending (plan, "the libvirt part of the definition");
  waiting = plan->pending->len;
  plan->restart_required = waiting > 0;
  if (waiting == 0)
    add (plan, input, VP_STEP_SET_MARK, NULL, NULL, NULL, VP_RISK_LIVE);
}

/* The typed fields that libvirt would show differently. */
static bool
same_definition (const VpGuest *a, const VpGuest *b)
{
  if (a->cpus != b->cpus || a->memory != b->memory ||
      a->disks->len != b->disks->len || a->nics->len != b->nics->len ||
      !same_text (a->kernel, b->kernel) || !same_text (a->initrd, b->initrd) ||
      !same_text (a->cmdline, b->cmdline))
    return false;
  for (guint i = 0; i < a->disks->len; i++) {
    const VpDisk *x = g_ptr_array_index (a->disks, i);
    const VpDisk *y = g_ptr_array_index (b->disks, i);

    if (!same_text (x->path, y->path) || !same_text (x->target, y->target))
      return false;
  }
  for (guint i = 0; i < a->nics->len; i++) {
    const VpNic *x = g_ptr_array_index (a->nics, i);
    const VpNic *y = g_ptr_array_index (b->nics, i);

    if (!same_text (x->mac, y->mac) || !same_text (x->bridge, y->bridge))
      return false;
  }
  return true;
}

/* Whether the domain may be looked after; sets a conflict where not. */
static bool
check_owner (VpPlan *plan, const VpPlanInput *input)
{
  const VpFound *found = input->found;
  const VpGuest *wanted = input->wanted;

  if (found->exists && found->marked && !same_text (wanted->uuid, found->uuid))
    return conflict (plan, VP_ERROR_NAME_TAKEN,
                     "the domain %s has uuid %s and the spec says %s: put "
                     "the uuid back, or give the guest another name",
                     input->name, found->uuid, wanted->uuid);
  if (!found->exists || found->marked)
    return true;
  if (found->owner != NULL)
    return conflict (plan, VP_ERROR_NAME_TAKEN,
                     "the domain %s belongs to the guest %s", input->name,
                     found->owner);
  /* A whole <domain> file that names the domain by its UUID is root's word
   * that it is to be looked after: that is what adopt writes. */
  if (wanted->domain_xml != NULL && same_text (wanted->uuid, found->uuid))
    return true;
  return conflict (plan, VP_ERROR_NAME_TAKEN,
                   "a domain %s is there that vprovd did not make, and is "
                   "left alone; \"vprovctl adopt %s\" takes it over, or "
                   "rename the spec",
                   input->name, input->name);
}

static void
plan_definition (VpPlan *plan, const VpPlanInput *input)
{
  const VpFound *found = input->found;
  bool adopted = found->exists && !found->marked;
  bool config_same =
      found->exists && (adopted ? same_definition (input->wanted, found->config)
                                : same_text (found->digest, input->digest) &&
                                      !found->retired && !found->renamed);

  if (!config_same)
    add (plan, input, VP_STEP_DEFINE, NULL, NULL, NULL, VP_RISK_LIVE);
  if (found->live != NULL && !(adopted && config_same) &&
      !same_text (found->live_digest, input->digest))
    plan_live (plan, input);
}

static void
plan_power (VpPlan *plan, const VpPlanInput *input)
{
  VpPower power = input->found->exists ? input->found->power : VP_POWER_STOPPED;

  if (input->run) {
    if (power == VP_POWER_STOPPED || power == VP_POWER_CRASHED)
      add (plan, input, VP_STEP_START, NULL, NULL, NULL, VP_RISK_LIVE);
  } else if (power == VP_POWER_RUNNING || power == VP_POWER_PAUSED) {
    add (plan, input, VP_STEP_SHUTDOWN, NULL, NULL, NULL, VP_RISK_RESTART);
  }
}

static void
plan_removal (VpPlan *plan, const VpPlanInput *input)
{
  const VpFound *found = input->found;

  if (!found->exists || !found->marked)
    return;
  if (found->power == VP_POWER_RUNNING || found->power == VP_POWER_PAUSED ||
      found->power == VP_POWER_STOPPING)
    add (plan, input, VP_STEP_SHUTDOWN, NULL, NULL, NULL, VP_RISK_RESTART);
  if (!found->retired)
    add (plan, input, VP_STEP_RETIRE, NULL, NULL, NULL, VP_RISK_LIVE);
}

VpPlan *
vp_plan_make (const VpPlanInput *input)
{
  VpPlan *plan = g_new0 (VpPlan, 1);

  plan->steps = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_step_free);
  plan->pending = g_ptr_array_new_with_free_func (g_free);
  if (input->wanted == NULL) {
    plan_removal (plan, input);
    return plan;
  }
  if (!check_owner (plan, input))
    return plan;
  for (guint i = 0; i < input->wanted->disks->len; i++)
    if (!plan_volume (plan, input,
                      g_ptr_array_index (input->wanted->disks, i))) {
      /* A person can stop it all the same. */
      if (!input->run)
        plan_power (plan, input);
      return plan;
    }
  plan_definition (plan, input);
  plan_power (plan, input);
  return plan;
}
