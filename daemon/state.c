/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* state: making, copying and freeing of the plain data in state.h.  Every
 * copy is deep, so that a job thread can have one of its own. */
#include "config.h"

#include "daemon/state.h"

#include <string.h>

VpProblem *
vp_problem_new (const char *path, VpPlace place, VpSeverity severity,
                const char *code, const char *format, ...)
{
  VpProblem *problem = g_new0 (VpProblem, 1);
  va_list args;

  problem->path = g_strdup (path);
  problem->place = place;
  problem->severity = severity;
  problem->code = g_strdup (code);
  va_start (args, format);
  problem->message = g_strdup_vprintf (format, args);
  va_end (args);
  return problem;
}

VpProblem *
vp_problem_copy (const VpProblem *problem)
{
  VpProblem *copy = g_new0 (VpProblem, 1);

  copy->path = g_strdup (problem->path);
  copy->place = problem->place;
  copy->severity = problem->severity;
  copy->code = g_strdup (problem->code);
  copy->message = g_strdup (problem->message);
  return copy;
}

void
vp_problem_free (VpProblem *problem)
{
  if (problem == NULL)
    return;

  g_free (problem->path);
  g_free (problem->code);
  g_free (problem->message);
  g_free (problem);
}

char *
vp_problem_to_string (const VpProblem *problem)
{
  g_autoptr (GString) text = g_string_new (problem->path);

  if (problem->place.line > 0) {
    g_string_append_printf (text, ":%u", problem->place.line);
    if (problem->place.column > 0)
      g_string_append_printf (text, ":%u", problem->place.column);
  }
  g_string_append (text, problem->severity == VP_SEVERITY_ERROR
                             ? ": error: "
                             : ": warning: ");
  g_string_append (text, problem->message);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

GPtrArray *
vp_problems_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify) vp_problem_free);
}

bool
vp_problems_have_error (const GPtrArray *problems)
{
  for (guint i = 0; i < problems->len; i++) {
    const VpProblem *problem = problems->pdata[i];

    if (problem->severity == VP_SEVERITY_ERROR)
      return true;
  }
  return false;
}

VpDisk *
vp_disk_new (const char *name)
{
  VpDisk *disk = g_new0 (VpDisk, 1);

  disk->name = g_strdup (name);
  return disk;
}

VpDisk *
vp_disk_copy (const VpDisk *disk)
{
  VpDisk *copy = vp_disk_new (disk->name);

  copy->size = disk->size;
  copy->pool = g_strdup (disk->pool);
  copy->format = g_strdup (disk->format);
  copy->from = g_strdup (disk->from);
  copy->place = disk->place;
  copy->from_place = disk->from_place;
  copy->path = g_strdup (disk->path);
  copy->backing_path = g_strdup (disk->backing_path);
  copy->backing_format = g_strdup (disk->backing_format);
  copy->target = g_strdup (disk->target);
  copy->foreign = disk->foreign;
  return copy;
}

void
vp_disk_free (VpDisk *disk)
{
  if (disk == NULL)
    return;

  g_free (disk->name);
  g_free (disk->pool);
  g_free (disk->format);
  g_free (disk->from);
  g_free (disk->path);
  g_free (disk->backing_path);
  g_free (disk->backing_format);
  g_free (disk->target);
  g_free (disk);
}

VpNic *
vp_nic_new (const char *name)
{
  VpNic *nic = g_new0 (VpNic, 1);

  nic->name = g_strdup (name);
  nic->forwards = g_ptr_array_new_with_free_func (g_free);
  return nic;
}

VpNic *
vp_nic_copy (const VpNic *nic)
{
  VpNic *copy = vp_nic_new (nic->name);

  copy->network = g_strdup (nic->network);
  copy->bridge = g_strdup (nic->bridge);
  copy->mac = g_strdup (nic->mac);
  copy->address = g_strdup (nic->address);
  copy->ip = nic->ip;
  for (guint i = 0; i < nic->forwards->len; i++)
    g_ptr_array_add (copy->forwards,
                     g_memdup2 (nic->forwards->pdata[i], sizeof (VpForward)));
  copy->libvirt_network = g_strdup (nic->libvirt_network);
  copy->foreign = nic->foreign;
  copy->place = nic->place;
  return copy;
}

void
vp_nic_free (VpNic *nic)
{
  if (nic == NULL)
    return;

  g_free (nic->name);
  g_free (nic->network);
  g_free (nic->bridge);
  g_free (nic->mac);
  g_free (nic->address);
  g_free (nic->libvirt_network);
  g_ptr_array_unref (nic->forwards);
  g_free (nic);
}

VpFragment *
vp_fragment_copy (const VpFragment *fragment)
{
  VpFragment *copy = g_new0 (VpFragment, 1);

  copy->into = g_strdup (fragment->into);
  copy->mode = g_strdup (fragment->mode);
  copy->xml = g_strdup (fragment->xml);
  copy->place = fragment->place;
  return copy;
}

void
vp_fragment_free (VpFragment *fragment)
{
  if (fragment == NULL)
    return;

  g_free (fragment->into);
  g_free (fragment->mode);
  g_free (fragment->xml);
  g_free (fragment);
}

VpGuest *
vp_guest_new (const char *name)
{
  VpGuest *guest = g_new0 (VpGuest, 1);

  g_ref_count_init (&guest->ref_count);
  guest->name = g_strdup (name);
  guest->cpus = 1;
  guest->disks = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_disk_free);
  guest->nics = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_nic_free);
  guest->fragments =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_fragment_free);
  return guest;
}

VpGuest *
vp_guest_ref (VpGuest *guest)
{
  g_ref_count_inc (&guest->ref_count);
  return guest;
}

void
vp_guest_unref (VpGuest *guest)
{
  if (guest == NULL || !g_ref_count_dec (&guest->ref_count))
    return;

  g_free (guest->name);
  g_free (guest->uuid);
  g_free (guest->description);
  g_free (guest->kernel);
  g_free (guest->initrd);
  g_free (guest->cmdline);
  g_free (guest->arch);
  g_free (guest->machine);
  g_ptr_array_unref (guest->disks);
  g_ptr_array_unref (guest->nics);
  g_ptr_array_unref (guest->fragments);
  g_free (guest->domain_xml);
  g_free (guest->source_path);
  g_free (guest);
}

VpGuest *
vp_guest_copy (const VpGuest *guest)
{
  VpGuest *copy = vp_guest_new (guest->name);

  copy->uuid = g_strdup (guest->uuid);
  copy->description = g_strdup (guest->description);
  copy->power = guest->power;
  copy->accel = guest->accel;
  copy->cpus = guest->cpus;
  copy->memory = guest->memory;
  copy->cpus_max = guest->cpus_max;
  copy->memory_max = guest->memory_max;
  copy->kernel = g_strdup (guest->kernel);
  copy->initrd = g_strdup (guest->initrd);
  copy->cmdline = g_strdup (guest->cmdline);
  copy->arch = g_strdup (guest->arch);
  copy->machine = g_strdup (guest->machine);
  for (guint i = 0; i < guest->disks->len; i++)
    g_ptr_array_add (copy->disks, vp_disk_copy (guest->disks->pdata[i]));
  for (guint i = 0; i < guest->nics->len; i++)
    g_ptr_array_add (copy->nics, vp_nic_copy (guest->nics->pdata[i]));
  for (guint i = 0; i < guest->fragments->len; i++)
    g_ptr_array_add (copy->fragments,
                     vp_fragment_copy (guest->fragments->pdata[i]));
  copy->domain_xml = g_strdup (guest->domain_xml);
  copy->source_path = g_strdup (guest->source_path);
  copy->kernel_place = guest->kernel_place;
  copy->place = guest->place;
  return copy;
}

VpDisk *
vp_guest_find_disk (const VpGuest *guest, const char *name)
{
  for (guint i = 0; i < guest->disks->len; i++) {
    VpDisk *disk = guest->disks->pdata[i];

    if (g_strcmp0 (disk->name, name) == 0)
      return disk;
  }
  return NULL;
}

VpNic *
vp_guest_find_nic (const VpGuest *guest, const char *name)
{
  for (guint i = 0; i < guest->nics->len; i++) {
    VpNic *nic = guest->nics->pdata[i];

    if (g_strcmp0 (nic->name, name) == 0)
      return nic;
  }
  return NULL;
}

static void
append_ports (GString *text, unsigned first, unsigned last)
{
  if (first == last)
    g_string_append_printf (text, "%u", first);
  else
    g_string_append_printf (text, "%u-%u", first, last);
}

char *
vp_forward_to_string (const VpForward *forward)
{
  g_autoptr (GString) text = g_string_new (NULL);

  if (forward->tcp)
    g_string_append (text, "tcp ");
  if (forward->udp)
    g_string_append (text, "udp ");
  append_ports (text, forward->first, forward->last);
  if (forward->to_first != forward->first ||
      forward->to_last != forward->last) {
    g_string_append (text, " -> ");
    append_ports (text, forward->to_first, forward->to_last);
  }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static const char *const power_words[] = {
  [VP_POWER_UNKNOWN] = "unknown",   [VP_POWER_STOPPED] = "stopped",
  [VP_POWER_RUNNING] = "running",   [VP_POWER_PAUSED] = "paused",
  [VP_POWER_STOPPING] = "stopping", [VP_POWER_CRASHED] = "crashed",
};

static const char *const accel_words[] = {
  [VP_ACCEL_AUTO] = "auto",
  [VP_ACCEL_KVM] = "kvm",
  [VP_ACCEL_TCG] = "tcg",
  [VP_ACCEL_TEST] = "test",
};

const char *
vp_power_to_string (VpPower power)
{
  g_return_val_if_fail ((size_t) power < G_N_ELEMENTS (power_words), "unknown");
  return power_words[power];
}

bool
vp_power_from_string (const char *text, VpPower *ret_power)
{
  for (size_t i = 0; i < G_N_ELEMENTS (power_words); i++)
    if (g_strcmp0 (text, power_words[i]) == 0) {
      *ret_power = (VpPower) i;
      return true;
    }
  return false;
}

const char *
vp_accel_to_string (VpAccel accel)
{
  g_return_val_if_fail ((size_t) accel < G_N_ELEMENTS (accel_words), "auto");
  return accel_words[accel];
}

bool
vp_accel_from_string (const char *text, VpAccel *ret_accel)
{
  for (size_t i = 0; i < G_N_ELEMENTS (accel_words); i++)
    if (g_strcmp0 (text, accel_words[i]) == 0) {
      *ret_accel = (VpAccel) i;
      return true;
    }
  return false;
}

void
vp_pool_spec_free (VpPoolSpec *pool)
{
  if (pool == NULL)
    return;

  g_free (pool->name);
  g_free (pool->path);
  g_free (pool->source_path);
  g_free (pool);
}

VpPoolSpec *
vp_pool_spec_copy (const VpPoolSpec *pool)
{
  VpPoolSpec *copy = g_new0 (VpPoolSpec, 1);

  copy->name = g_strdup (pool->name);
  copy->path = g_strdup (pool->path);
  copy->source_path = g_strdup (pool->source_path);
  copy->place = pool->place;
  return copy;
}

void
vp_image_spec_free (VpImageSpec *image)
{
  if (image == NULL)
    return;

  g_free (image->name);
  g_free (image->path);
  g_free (image->format);
  g_free (image->source_path);
  g_free (image);
}

VpImageSpec *
vp_image_spec_copy (const VpImageSpec *image)
{
  VpImageSpec *copy = g_new0 (VpImageSpec, 1);

  copy->name = g_strdup (image->name);
  copy->path = g_strdup (image->path);
  copy->format = g_strdup (image->format);
  copy->source_path = g_strdup (image->source_path);
  copy->place = image->place;
  return copy;
}

bool
vp_name_is_valid (const char *name)
{
  size_t len = strlen (name);

  if (len < 1 || len > 63 || !g_ascii_isalnum (name[0]))
    return false;
  return strspn (name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789._-") == len;
}

/* Name and value, each ended by a NUL, so that no two guests read alike; what
 * is not stated does not count. */
static void
count_text (GChecksum *sum, const char *name, const char *value)
{
  if (value == NULL)
    return;
  g_checksum_update (sum, (const guchar *) name, (gssize) strlen (name) + 1);
  g_checksum_update (sum, (const guchar *) value, (gssize) strlen (value) + 1);
}

static void
count_number (GChecksum *sum, const char *name, uint64_t value)
{
  g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, value);

  count_text (sum, name, text);
}

static void
count_devices (GChecksum *sum, const VpGuest *guest)
{
  count_text (sum, "description", guest->description);
  for (guint i = 0; i < guest->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (guest->disks, i);

    count_text (sum, "disk", disk->name);
    count_text (sum, "path", disk->path);
    count_text (sum, "format", disk->format);
    count_text (sum, "target", disk->target);
    count_text (sum, "backing-path", disk->backing_path);
    count_text (sum, "backing-format", disk->backing_format);
  }
  for (guint i = 0; i < guest->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (guest->nics, i);

    count_text (sum, "nic", nic->name);
    count_text (sum, "bridge", nic->bridge);
    count_text (sum, "mac", nic->mac);
  }
}

char *
vp_guest_digest (const VpGuest *guest, bool fixed_only)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);

  count_text (sum, "name", guest->name);
  count_text (sum, "uuid", guest->uuid);
  count_text (sum, "accel", vp_accel_to_string (guest->accel));
  count_text (sum, "arch", guest->arch);
  count_text (sum, "machine", guest->machine);
  count_number (sum, "cpus", guest->cpus);
  count_number (sum, "memory", guest->memory);
  count_text (sum, "kernel", guest->kernel);
  count_text (sum, "initrd", guest->initrd);
  count_text (sum, "cmdline", guest->cmdline);
  for (guint i = 0; i < guest->fragments->len; i++) {
    const VpFragment *fragment = g_ptr_array_index (guest->fragments, i);

    count_text (sum, "into", fragment->into);
    count_text (sum, "mode", fragment->mode);
    count_text (sum, "xml", fragment->xml);
  }
  if (!fixed_only)
    count_devices (sum, guest);
  return g_strdup (g_checksum_get_string (sum));
}
