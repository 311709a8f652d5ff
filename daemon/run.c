/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* run: see the header.  Each row observes as far as it must before it acts,
 * so that a step may be repeated after a crash. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/run.h"
#include "daemon/worker.h"
#include "storage/pool.h"

#include <errno.h>
#include <unistd.h>

#include <gio/gio.h>

typedef bool (*StepFunc) (const VpRunContext *context, const VpStep *step,
                          GError **error);

static void
worker_progress (uint64_t done, uint64_t total, gpointer user_data)
{
  const VpRunContext *context = user_data;

  __atomic_store_n (context->done_bytes, done, __ATOMIC_RELAXED);
  __atomic_store_n (context->total_bytes, total, __ATOMIC_RELAXED);
}

static bool
run_worker (const VpRunContext *context, const VpWorkerCall *call,
            VpWorkerResult *ret_result, GError **error)
{
  VpWorkerConfig worker = {
    .program = context->config->worker_program,
    .user = context->config->worker_user,
  };

  return vp_worker_call (&worker, call, worker_progress, (gpointer) context,
                         context->cancel, ret_result, error);
}

/* What the records will say of the volume. */
static void
note_volume (const VpRunContext *context, const char *disk, bool made,
             uint64_t size)
{
  for (guint i = 0; i < context->volumes->len; i++) {
    VpFoundVolume *volume = g_ptr_array_index (context->volumes, i);

    if (g_str_equal (volume->disk, disk)) {
      volume->made = made;
      volume->size = size;
    }
  }
}

static VpPool *
open_pool (const VpDisk *disk, char **ret_volume, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (disk->path);
  VpPool *pool = vp_pool_open_dir (disk->pool, folder, error);

  if (pool != NULL)
    *ret_volume = g_path_get_basename (disk->path);
  return pool;
}

/* Names that a volume may hold inside: only the base image that its record
 * says. */
static size_t
disk_claims (const VpDisk *disk, VpWorkerClaim *claim)
{
  if (disk->backing_path == NULL)
    return 0;
  claim->name = disk->backing_path;
  claim->format = disk->backing_format;
  claim->path = disk->backing_path;
  return 1;
}

static const VpDisk *
wanted_disk (const VpRunContext *context, const VpStep *step, GError **error)
{
  const VpDisk *disk = context->wanted != NULL
                           ? vp_guest_find_disk (context->wanted, step->subject)
                           : NULL;

  if (disk == NULL)
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "no disk %s in the spec",
                 step->subject);
  return disk;
}

/* A disk whose size is not stated is as large as its base image. */
static bool
find_size (const VpRunContext *context, const VpDisk *disk, int fd,
           uint64_t *ret_size, GError **error)
{
  VpWorkerCall call = { .verb = VP_WORKER_INFO,
                        .fd = fd,
                        .name = disk->path,
                        .format = disk->format,
                        .source_fd = -1 };
  g_auto (VpWorkerResult) result = { 0 };

  if (disk->size != 0) {
    *ret_size = disk->size;
    return true;
  }
  if (!run_worker (context, &call, &result, error))
    return false;
  *ret_size = result.virtual_size;
  return true;
}

/* Where in the spec lies what a step failed over. */
static void
prefix_place (const VpRunContext *context, VpPlace place, const char *what,
              GError **error)
{
  const VpGuest *wanted = context->wanted;

  if (wanted != NULL && wanted->source_path != NULL && place.line != 0)
    g_prefix_error (error, "%s:%u:%u: %s", wanted->source_path, place.line,
                    place.column, what);
  else
    g_prefix_error (error, "%s", what);
}

static bool
do_volume_create (const VpRunContext *context, const VpStep *step,
                  GError **error)
{
  const VpDisk *disk = wanted_disk (context, step, error);
  g_autoptr (VpPool) pool = NULL;
  g_autofree char *volume = NULL;
  VpPoolNew *new_volume = NULL;
  VpWorkerClaim claim = { 0 };
  VpWorkerCall call = { .verb = VP_WORKER_CREATE, .source_fd = -1 };
  g_auto (VpWorkerResult) result = { 0 };
  uint64_t size = 0;

  if (disk == NULL || (pool = open_pool (disk, &volume, error)) == NULL)
    return false;
  new_volume = vp_pool_new_volume (pool, volume, error);
  if (new_volume == NULL)
    return false;
  call.fd = vp_pool_new_get_fd (new_volume);
  call.name = disk->path;
  call.format = disk->format;
  call.size = disk->size;
  call.claims = &claim;
  call.n_claims = disk_claims (disk, &claim);
  if (!run_worker (context, &call, &result, error) ||
      !find_size (context, disk, call.fd, &size, error)) {
    if (disk->from != NULL)
      prefix_place (context, disk->from_place, "", error);
    vp_pool_new_abort (new_volume);
    return false;
  }
  if (!vp_pool_new_commit (new_volume, error))
    return false;
  note_volume (context, disk->name, true, size);
  return true;
}

static bool
undo_volume_create (const VpRunContext *context, const VpStep *step,
                    GError **error)
{
  const VpDisk *disk = wanted_disk (context, step, error);
  g_autoptr (VpPool) pool = NULL;
  g_autofree char *volume = NULL;

  if (disk == NULL || (pool = open_pool (disk, &volume, error)) == NULL ||
      !vp_pool_remove_volume (pool, volume, error))
    return false;
  note_volume (context, disk->name, false, 0);
  return true;
}

static bool
grow_at_rest (const VpRunContext *context, const VpDisk *disk, GError **error)
{
  g_autoptr (VpPool) pool = NULL;
  g_autofree char *volume = NULL;
  VpWorkerClaim claim = { 0 };
  VpWorkerCall call = { .verb = VP_WORKER_GROW, .source_fd = -1 };
  g_auto (VpWorkerResult) result = { 0 };
  bool grown = false;

  if ((pool = open_pool (disk, &volume, error)) == NULL)
    return false;
  call.fd = vp_pool_open_volume (pool, volume, true, error);
  if (call.fd < 0)
    return false;
  call.name = disk->path;
  call.format = disk->format;
  call.size = disk->size;
  call.claims = &claim;
  call.n_claims = disk_claims (disk, &claim);
  grown = run_worker (context, &call, &result, error);
  if (grown && fsync (call.fd) < 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                 "%s: cannot sync: %s", disk->path, g_strerror (errno));
    grown = false;
  }
  (void) close (call.fd); /* synced above */
  return grown;
}

static bool
do_volume_grow (const VpRunContext *context, const VpStep *step, GError **error)
{
  const VpDisk *disk = wanted_disk (context, step, error);
  const VpDisk *live =
      context->found->live != NULL
          ? vp_guest_find_disk (context->found->live, step->subject)
          : NULL;
  VpHost *host = context->host;

  if (disk == NULL)
    return false;
  /* While a guest runs, only QEMU changes its disks. */
  if (live != NULL ? !host->ops->grow_disk (host, context->domain, live->target,
                                            disk->size, error)
                   : !grow_at_rest (context, disk, error))
    return false;
  note_volume (context, disk->name, true, disk->size);
  return true;
}

static bool
do_define (const VpRunContext *context, const VpStep *step, GError **error)
{
  VpMark mark = { .guest = (char *) context->name,
                  .digest = (char *) context->digest,
                  .fixed = (char *) context->fixed };
  g_autofree char *xml = vp_domain_xml_set_mark (context->xml, &mark, error);

  return xml != NULL && context->host->ops->define (context->host, xml, error);
}

/* 1: off, 0: not yet, -1: error. */
static int
is_off (const VpRunContext *context, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (VpHostDomain) domain =
      context->host->ops->get (context->host, context->domain, &local);

  if (domain != NULL)
    return domain->power == VP_POWER_STOPPED ||
           domain->power == VP_POWER_CRASHED;
  if (g_error_matches (local, VP_ERROR, VP_ERROR_NO_SUCH_GUEST))
    return 1;
  g_propagate_error (error, g_steal_pointer (&local));
  return -1;
}

static bool
undo_define (const VpRunContext *context, const VpStep *step, GError **error)
{
  /* A redefinition stays: it is what the spec says, and the next pass goes
   * on from it. */
  int off = context->found->exists ? 1 : is_off (context, error);

  if (context->found->exists)
    return true;
  /* It runs after all: its disks must not go from under it. */
  if (off == 0)
    g_set_error (error, VP_ERROR, VP_ERROR_IN_USE, "the domain %s runs",
                 context->domain);
  return off > 0 &&
         context->host->ops->undefine (context->host, context->domain, error);
}

static bool
change_disk (const VpRunContext *context, const VpStep *step, bool attach,
             GError **error)
{
  const VpGuest *from = attach ? context->wanted : context->found->live;
  const VpDisk *disk = vp_guest_find_disk (from, step->subject);
  g_autofree char *xml = disk != NULL ? vp_domain_xml_disk (disk) : NULL;

  g_return_val_if_fail (xml != NULL, false);
  return (attach ? context->host->ops->attach : context->host->ops->detach) (
      context->host, context->domain, xml, VP_HOST_LIVE, error);
}

static bool
change_nic (const VpRunContext *context, const VpStep *step, bool attach,
            GError **error)
{
  const VpGuest *from = attach ? context->wanted : context->found->live;
  const VpNic *nic = vp_guest_find_nic (from, step->subject);
  g_autofree char *xml = nic != NULL ? vp_domain_xml_nic (nic) : NULL;

  g_return_val_if_fail (xml != NULL, false);
  return (attach ? context->host->ops->attach : context->host->ops->detach) (
      context->host, context->domain, xml, VP_HOST_LIVE, error);
}

static bool
do_attach_disk (const VpRunContext *context, const VpStep *step, GError **error)
{
  return change_disk (context, step, true, error);
}

static bool
do_detach_disk (const VpRunContext *context, const VpStep *step, GError **error)
{
  return change_disk (context, step, false, error);
}

static bool
do_attach_nic (const VpRunContext *context, const VpStep *step, GError **error)
{
  return change_nic (context, step, true, error);
}

static bool
do_detach_nic (const VpRunContext *context, const VpStep *step, GError **error)
{
  return change_nic (context, step, false, error);
}

static bool
do_set_mark (const VpRunContext *context, const VpStep *step, GError **error)
{
  VpMark mark = { .guest = (char *) context->name,
                  .digest = (char *) context->digest,
                  .fixed = (char *) context->fixed };

  return context->host->ops->set_mark (context->host, context->domain, &mark,
                                       VP_HOST_LIVE, error);
}

static bool
link_exists (const char *name)
{
  g_autofree char *path = g_build_filename ("/sys/class/net", name, NULL);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

/* What libvirt says of a missing kernel or bridge names no spec, and of a
 * bridge not even that it is missing. */
static void
explain_start (const VpRunContext *context, GError **error)
{
  const VpGuest *wanted = context->wanted;

  if (wanted == NULL || wanted->domain_xml != NULL)
    return;
  if ((wanted->kernel != NULL &&
       !g_file_test (wanted->kernel, G_FILE_TEST_EXISTS)) ||
      (wanted->initrd != NULL &&
       !g_file_test (wanted->initrd, G_FILE_TEST_EXISTS)))
    prefix_place (context, wanted->kernel_place,
                  "a file of <kernel> is missing: ", error);
  for (guint i = 0; i < wanted->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (wanted->nics, i);
    g_autofree char *what = NULL;

    if (nic->network != NULL || nic->bridge == NULL ||
        link_exists (nic->bridge))
      continue;
    what = g_strdup_printf ("there is no bridge \"%s\" on this host; make it, "
                            "or name a network: ",
                            nic->bridge);
    prefix_place (context, nic->place, what, error);
  }
}

static bool
do_start (const VpRunContext *context, const VpStep *step, GError **error)
{
  if (context->host->ops->start (context->host, context->domain, error))
    return true;
  explain_start (context, error);
  return false;
}

static bool
wait_until_off (const VpRunContext *context, unsigned timeout_s, bool *ret_off,
                GError **error)
{
  gint64 deadline =
      g_get_monotonic_time () + (gint64) timeout_s * G_USEC_PER_SEC;

  for (;;) {
    int off = is_off (context, error);

    if (off != 0) {
      *ret_off = off > 0;
      return off > 0;
    }
    if (g_get_monotonic_time () >= deadline) {
      *ret_off = false;
      return true;
    }
    if (g_atomic_int_get (context->cancel)) {
      g_set_error_literal (error, VP_ERROR, VP_ERROR_CANCELLED, "cancelled");
      return false;
    }
    g_usleep (200 * 1000); /* libvirt's events reach the main thread only */
  }
}

static bool
do_shutdown (const VpRunContext *context, const VpStep *step, GError **error)
{
  bool off = false;

  if (!context->host->ops->shutdown (context->host, context->domain, error) ||
      !wait_until_off (context, context->config->shutdown_timeout_s, &off,
                       error))
    return false;
  if (off)
    return true;
  if (!context->host->ops->destroy (context->host, context->domain, error))
    return false;
  return wait_until_off (context, 10, &off, error);
}

static bool
do_retire (const VpRunContext *context, const VpStep *step, GError **error)
{
  VpMark mark = { .guest = (char *) context->name,
                  .digest = context->found->digest,
                  .retired = true };

  return context->host->ops->set_mark (context->host, context->domain, &mark,
                                       VP_HOST_CONFIG, error);
}

static const struct {
  StepFunc run, undo;
} rows[VP_STEP_N_KINDS] = {
  [VP_STEP_VOLUME_CREATE] = { do_volume_create, undo_volume_create },
  [VP_STEP_VOLUME_GROW] = { do_volume_grow, NULL },
  [VP_STEP_DEFINE] = { do_define, undo_define },
  [VP_STEP_ATTACH_DISK] = { do_attach_disk, NULL },
  [VP_STEP_DETACH_DISK] = { do_detach_disk, NULL },
  [VP_STEP_ATTACH_NIC] = { do_attach_nic, NULL },
  [VP_STEP_DETACH_NIC] = { do_detach_nic, NULL },
  [VP_STEP_SET_MARK] = { do_set_mark, NULL },
  [VP_STEP_START] = { do_start, NULL },
  [VP_STEP_SHUTDOWN] = { do_shutdown, NULL },
  [VP_STEP_RETIRE] = { do_retire, NULL },
};

bool
vp_run_step (const VpRunContext *context, const VpStep *step, GError **error)
{
  g_return_val_if_fail (rows[step->kind].run != NULL, false);
  __atomic_store_n (context->done_bytes, 0, __ATOMIC_RELAXED);
  __atomic_store_n (context->total_bytes, 0, __ATOMIC_RELAXED);
  return rows[step->kind].run (context, step, error);
}

bool
vp_run_undo (const VpRunContext *context, const VpStep *step, GError **error)
{
  return rows[step->kind].undo == NULL ||
         rows[step->kind].undo (context, step, error);
}
