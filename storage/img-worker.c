/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-worker: "vprov-img worker", the daemon's hands on image bytes.
 *
 *   daemon          worker
 *     | request, fds →|   the sandbox shuts; from here on no name can be
 *     |               |   opened and no other descriptor is there
 *     |←      claim   |   a name that the image holds
 *     | grant, fd    →|   or: refuse
 *     |←   progress   |
 *     |← text, result |
 *
 * The strict gate: formats are told, never guessed; a backing file without
 * its format, or a claim that the daemon does not know, ends the call. */
#include "config.h"

#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/formats.h"
#include "storage/img.h"
#include "storage/message.h"
#include "storage/probe.h"
#include "storage/sandbox.h"

#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_LIMIT     (UINT64_C (256) << 20)
#define INFO_CPU_S     5
#define TEXT_PIECE     16384
#define PROGRESS_GAP   (100 * G_TIME_SPAN_MILLISECOND)
#define MAX_MESSAGE    2000
#define METADATA_ROOM  (UINT64_C (64) << 20)
#define MAX_FILE_LIMIT ((uint64_t) INT64_MAX)

typedef struct {
  VpOpener opener; /* first: the gate finds its way back */
  int socket;
  const VpMessage *request;
  const char *name, *format;
  int fd, source_fd; /* -1: none */
  VpProgress progress;
  int64_t last_progress;
  int cancel; /* the daemon is gone */
  VpMessage *result;
} Job;

static bool
refuse (GError **error, VpImageErrorCode code, const char *text)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, (int) code, text);
  return false;
}

/* ---- the gate ------------------------------------------------------------ */

static VpMessage *
ask (Job *job, const VpClaim *claim, int *ret_fd, GError **error)
{
  g_autoptr (VpMessage) question = vp_message_new ("claim");
  g_autoptr (VpMessage) answer = NULL;
  size_t n_fds = 0;

  vp_message_put (question, "kind", claim->role);
  vp_message_put (question, "name", claim->name);
  vp_message_put (question, "format", claim->format);
  if (!vp_message_send (question, job->socket, 0, NULL, 0, error) ||
      !vp_message_receive (job->socket, 0, 1, ret_fd, &n_fds, &answer, error))
    return NULL;
  if (answer == NULL) {
    (void) refuse (error, VP_IMAGE_ERROR_FAILED, "the daemon is gone");
    return NULL;
  }
  if (n_fds == 0)
    *ret_fd = -1;
  return g_steal_pointer (&answer);
}

static VpFile *
open_claim (VpOpener *opener, const VpClaim *claim, const char **ret_format,
            GError **error)
{
  Job *job = (Job *) opener;
  g_autofree char *shown = g_strescape (claim->name, NULL);
  vp_autofd int fd = -1;

  /* A guest's image that keeps its bytes in a file of its choice. */
  if (strcmp (claim->role, "backing") != 0) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: names the %s file '%s', which is never opened",
                 claim->image, claim->role, shown);
    return NULL;
  }
  if (claim->format == NULL) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: names the %s file '%s' without its format", claim->image,
                 claim->role, shown);
    return NULL;
  }

  g_autoptr (VpMessage) answer = ask (job, claim, &fd, error);
  if (answer == NULL)
    return NULL;
  if (strcmp (vp_message_get_type (answer), "grant") != 0 || fd < 0) {
    const char *reason = vp_message_get (answer, "reason");
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: the %s file '%s' (%s) is refused: %s", claim->image,
                 claim->role, shown, claim->format,
                 reason != NULL ? reason : "no reason given");
    return NULL;
  }
  /* The daemon holds the locks. */
  return vp_file_open_fd (fd, claim->name, VP_FILE_NO_LOCK, error);
}

/* ---- progress ------------------------------------------------------------ */

static void
report_progress (uint64_t done, uint64_t total, gpointer user_data)
{
  Job *job = user_data;
  int64_t now = g_get_monotonic_time ();

  if (done < total && now - job->last_progress < PROGRESS_GAP)
    return;
  job->last_progress = now;

  g_autoptr (VpMessage) message = vp_message_new ("progress");
  vp_message_put_uint (message, "done", done);
  vp_message_put_uint (message, "total", total);
  if (!vp_message_send (message, job->socket, 0, NULL, 0, NULL))
    job->cancel = 1;
}

/* ---- the verbs ----------------------------------------------------------- */

static bool
send_text (Job *job, const char *text, GError **error)
{
  for (size_t len = strlen (text), at = 0; at < len; at += TEXT_PIECE) {
    g_autofree char *piece = g_strndup (text + at, TEXT_PIECE);
    g_autoptr (VpMessage) message = vp_message_new ("text");
    vp_message_put (message, "data", piece);
    if (!vp_message_send (message, job->socket, 0, NULL, 0, error))
      return false;
  }
  return true;
}

static VpImage *
open_target (Job *job, VpImageFlags flags, VpOpener *opener, GError **error)
{
  return vp_image_open_fd (job->fd, job->name, job->format,
                           flags | VP_IMAGE_NO_LOCK, opener, error);
}

/* A base stated raw that bears qcow2's mark would give a guest the container's
 * bytes for a disk.  The stated format is never replaced by the found one; what
 * is no format of ours is the guest's, and so is LUKS on a raw disk. */
static bool
check_as_stated (VpFile *file, const char *format, GError **error)
{
  const VpFormat *found = vp_probe_format (file, NULL);

  if (found == NULL || found == &vp_format_raw || found == &vp_format_luks ||
      g_str_equal (found->name, format))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
               "%s: stated as %s, but is %s: state its true format", file->name,
               format, found->name);
  return false;
}

/* Opened even where the size is given: an overlay is not made on what cannot
 * be read. */
static bool
run_create (Job *job, GError **error)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;

  options.backing_name = vp_message_get (job->request, "backing");
  options.backing_format = vp_message_get (job->request, "backing-format");
  if (!vp_message_get_uint (job->request, "size", &options.size, error))
    return false;

  if (options.backing_name != NULL) {
    VpClaim claim = { .role = "backing",
                      .name = options.backing_name,
                      .format = options.backing_format,
                      .image = job->name };
    const char *format = claim.format;
    g_autoptr (VpFile) file = open_claim (&job->opener, &claim, &format, error);
    if (file == NULL || !check_as_stated (file, format, error))
      return false;
    g_autoptr (VpImage) backing = vp_image_open_file (
        file, format, VP_IMAGE_NO_LOCK, &job->opener, error);
    if (backing == NULL)
      return false;
    if (options.size == 0)
      options.size = vp_image_get_size (backing);
    /* A guest would find its file system cut off. */
    if (options.size < vp_image_get_size (backing)) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "%s: %" PRIu64 " bytes are less than its base image has "
                   "(%" PRIu64 "): state a larger size, or none",
                   job->name, options.size, vp_image_get_size (backing));
      return false;
    }
  }
  return vp_image_create_fd (job->fd, job->name, job->format, &options, NULL,
                             error);
}

static bool
run_grow (Job *job, GError **error)
{
  uint64_t size;

  if (!vp_message_get_uint (job->request, "size", &size, error))
    return false;

  g_autoptr (VpImage) image =
      open_target (job, VP_IMAGE_WRITABLE, &job->opener, error);
  if (image == NULL)
    return false;
  if (!vp_image_resize (image, size, VP_PREALLOCATION_OFF, error))
    return false;
  return vp_image_close (g_steal_pointer (&image), error);
}

static void
put_facts (Job *job, const VpImageInfo *info)
{
  vp_message_put_uint (job->result, "virtual-size", info->virtual_size);
  if (info->backing_name != NULL)
    vp_message_put (job->result, "backing", info->backing_name);
  if (info->backing_format != NULL)
    vp_message_put (job->result, "backing-format", info->backing_format);
}

/* What the bytes look like, for an import check; nothing is opened by it. */
static void
put_probed (Job *job)
{
  g_autoptr (VpFile) file =
      vp_file_open_fd (job->fd, job->name, VP_FILE_NO_LOCK, NULL);
  const VpFormat *format = file != NULL ? vp_probe_format (file, NULL) : NULL;

  vp_message_put (job->result, "probed",
                  format != NULL ? format->name : "other");
}

static bool
run_info (Job *job, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };
  g_autoptr (VpImage) image =
      open_target (job, VP_IMAGE_NO_BACKING, NULL, error);

  if (image == NULL || !vp_image_get_info (image, &info, error))
    return false;

  g_autoptr (VpJson) json = vp_json_new ();
  vp_img_info_to_json (json, job->name, &info, NULL);
  put_facts (job, &info);
  put_probed (job);
  return send_text (job, vp_json_get_text (json), error);
}

static bool
run_check (Job *job, GError **error)
{
  const char *word = vp_message_get (job->request, "repair");
  VpRepair repair =
      g_strcmp0 (word, "leaks") == 0 ? VP_REPAIR_LEAKS : VP_REPAIR_NOTHING;
  VpImageFlags flags = VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING;
  g_auto (VpCheckResult) result = { 0 };

  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  g_autoptr (VpImage) image = open_target (job, flags, NULL, error);
  if (image == NULL ||
      !vp_check_image (image, repair, &job->progress, &result, error))
    return false;

  g_autoptr (VpJson) json = vp_json_new ();
  vp_img_check_to_json (json, job->name, job->format, &result);
  vp_message_put_uint (job->result, "corruptions", result.corruptions);
  vp_message_put_uint (job->result, "leaks", result.leaks);
  vp_message_put_uint (job->result, "check-errors", result.check_errors);
  if (repair != VP_REPAIR_NOTHING &&
      !vp_image_close (g_steal_pointer (&image), error))
    return false;
  return send_text (job, vp_json_get_text (json), error);
}

static bool
run_convert (Job *job, GError **error)
{
  const char *source_name = vp_message_get (job->request, "source-name");
  const char *source_format = vp_message_get (job->request, "source-format");
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  VpCopyOptions copy = { .target_is_zero = true };

  if (job->source_fd < 0 || source_format == NULL)
    return refuse (error, VP_IMAGE_ERROR_USAGE,
                   "convert: the source or its format is missing");

  g_autoptr (VpImage) source = vp_image_open_fd (
      job->source_fd, source_name != NULL ? source_name : "source",
      source_format, VP_IMAGE_NO_LOCK, &job->opener, error);
  if (source == NULL)
    return false;
  options.size = vp_image_get_size (source);
  if (!vp_image_create_fd (job->fd, job->name, job->format, &options, NULL,
                           error))
    return false;

  g_autoptr (VpImage) target =
      open_target (job, VP_IMAGE_WRITABLE | VP_IMAGE_UNORDERED, NULL, error);
  if (target == NULL)
    return false;
  if (!vp_copy_image (source, target, &copy, &job->progress, error))
    return false;
  return vp_image_close (g_steal_pointer (&target), error);
}

static const struct {
  const char *name;
  bool (*run) (Job *, GError **);
  uint64_t cpu_s;
} verbs[] = {
  { "create", run_create, 0 },      { "grow", run_grow, 0 },
  { "info", run_info, INFO_CPU_S }, { "check", run_check, 0 },
  { "convert", run_convert, 0 },
};

/* ---- one call ------------------------------------------------------------ */

/* A file that the request lets grow to size may take that much and its
 * tables; one that the request says nothing about may take what it likes. */
static uint64_t
file_limit (const Job *job)
{
  uint64_t size = 0, limit;
  struct stat st;

  if (!vp_message_get_uint (job->request, "size", &size, NULL) || size == 0 ||
      fstat (job->fd, &st) < 0)
    return 0;
  size = MAX (size, (uint64_t) MAX (st.st_size, 0));
  if (__builtin_add_overflow (size, size / 64 + METADATA_ROOM, &limit))
    return 0;
  return limit < MAX_FILE_LIMIT ? limit : 0;
}

static bool
run_request (Job *job, GError **error)
{
  const char *verb = vp_message_get (job->request, "verb");

  job->name = vp_message_get (job->request, "name");
  job->format = vp_message_get (job->request, "format");
  if (strcmp (vp_message_get_type (job->request), "request") != 0 ||
      verb == NULL || job->name == NULL || job->fd < 0)
    return refuse (error, VP_IMAGE_ERROR_USAGE, "not a proper request");
  if (job->format == NULL)
    return refuse (error, VP_IMAGE_ERROR_USAGE,
                   "the request names no format, and none is guessed here");

  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++) {
    if (strcmp (verbs[i].name, verb) != 0)
      continue;
    VpSandboxLimits limits = { .data_size = DATA_LIMIT,
                               .cpu_s = verbs[i].cpu_s,
                               .file_size = file_limit (job) };
    return vp_sandbox_enter (&limits, error) && verbs[i].run (job, error);
  }
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "the worker knows no verb '%s'", verb);
  return false;
}

static void
put_error (const Job *job, VpMessage *result, const GError *error)
{
  const char *source = vp_message_get (job->request, "source-name");
  bool named = job->name == NULL ||
               g_str_has_prefix (error->message, job->name) ||
               (source != NULL && g_str_has_prefix (error->message, source));
  g_autofree char *whole = g_strconcat (
      named ? "" : job->name, named ? "" : ": ", error->message, NULL);
  g_autofree char *text = g_strndup (whole, MAX_MESSAGE);

  vp_message_put (result, "status", "error");
  vp_message_put (result, "domain",
                  error->domain == G_FILE_ERROR ? "file" : "image");
  vp_message_put_uint (result, "code", (uint64_t) error->code);
  vp_message_put (result, "message", text);
}

static bool
serve (Job *job, GError **error)
{
  g_autoptr (VpMessage) request = NULL;
  g_autoptr (GError) failure = NULL;
  int fds[VP_MESSAGE_MAX_FDS];
  size_t n_fds = 0;

  if (!vp_message_receive (job->socket, 0, VP_MESSAGE_MAX_FDS, fds, &n_fds,
                           &request, error))
    return false;
  if (request == NULL)
    return true; /* the daemon thought better of it */

  job->request = request;
  job->fd = n_fds > 0 ? fds[0] : -1;
  job->source_fd = n_fds > 1 ? fds[1] : -1;
  job->result = vp_message_new ("result");
  if (run_request (job, &failure))
    vp_message_put (job->result, "status", "ok");
  else {
    vp_message_free (job->result);
    job->result = vp_message_new ("result");
    put_error (job, job->result, failure);
  }
  bool ok = vp_message_send (job->result, job->socket, 0, NULL, 0, error);
  vp_message_free (job->result);
  return ok;
}

static int
run_worker (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Job job = { .socket = VP_MESSAGE_SOCKET_FD };
  int type = 0;
  socklen_t len = sizeof type;

  if (argc != 1 ||
      getsockopt (job.socket, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
      type != SOCK_SEQPACKET)
    return vp_img_misuse ("worker is started by the daemon, with its socket "
                          "as descriptor %d",
                          VP_MESSAGE_SOCKET_FD);

  job.opener.open = open_claim;
  job.progress.report = report_progress;
  job.progress.user_data = &job;
  job.progress.cancel = &job.cancel;
  bool ok = vp_sandbox_prepare (VP_MESSAGE_SOCKET_FD + 1, &error) &&
            serve (&job, &error);
  if (!ok)
    vp_img_complain ("worker: %s", error->message);
  /* No farewell ceremonies of libraries in a sandbox. */
  _exit (ok ? 0 : 1);
}

const VpImgVerb vp_img_verb_worker = { "worker", run_worker, NULL, NULL };
