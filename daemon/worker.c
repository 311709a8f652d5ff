/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker: one call, one process, one conversation.  We wait in poll for
 * whichever comes first: a message, the end of the worker, the deadline, the
 * cancel flag.
 *
 * The worker reads strangers' images and may have been taken over by one.  So
 * what it says is bounded, never a path and never believed: a claim only
 * chooses from the list that the caller brought, and texts are cleaned. */
#include "config.h"

#include "daemon/worker.h"

#include "daemon/error.h"
#include "daemon/worker-child.h"
#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/file.h"
#include "storage/message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_JSON    (1024 * 1024)
#define MAX_CLAIMS  64
#define MAX_TEXT    2000
#define CANCEL_GAP  50 /* ms between looks at the flag */
#define MAX_WAIT_MS 3600000
#define NO_DEADLINE INT64_MAX

typedef struct {
  const VpWorkerConfig *config;
  const VpWorkerCall *call;
  VpWorkerProgress progress;
  gpointer user_data;
  const int *cancel;
  int64_t deadline; /* monotonic, us */

  VpWorkerChild child;
  GPtrArray *held; /* VpFile: locks on what the worker was given */
  unsigned n_claims;
  GString *json;
  VpMessage *result; /* the last message */
} Talk;

static const char *const verb_names[] = {
  [VP_WORKER_CREATE] = "create",   [VP_WORKER_GROW] = "grow",
  [VP_WORKER_INFO] = "info",       [VP_WORKER_CHECK] = "check",
  [VP_WORKER_CONVERT] = "convert",
};

void
vp_worker_result_clear (VpWorkerResult *result)
{
  g_clear_pointer (&result->backing_name, g_free);
  g_clear_pointer (&result->backing_format, g_free);
  g_clear_pointer (&result->probed, g_free);
  g_clear_pointer (&result->json, g_free);
  *result = (VpWorkerResult){ 0 };
}

/* Text of the worker's, fit for a log: UTF-8, one line, not endless. */
static char *
clean (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);

  for (char *p = valid; *p != '\0'; p++)
    if ((unsigned char) *p < 0x20 || *p == 0x7f)
      *p = ' ';
  if (g_utf8_strlen (valid, -1) <= MAX_TEXT)
    return g_steal_pointer (&valid);
  return g_utf8_substring (valid, 0, MAX_TEXT);
}

/* Gives errors that the daemon's callers ask for by code its own domain. */
static void
translate (GError **error)
{
  static const struct {
    bool file;
    int code;
    VpErrorCode ours;
  } table[] = {
    { false, VP_IMAGE_ERROR_IN_USE, VP_ERROR_IN_USE },
    { false, VP_IMAGE_ERROR_CANCELLED, VP_ERROR_CANCELLED },
    { true, G_FILE_ERROR_NOSPC, VP_ERROR_NO_SPACE },
  };

  if (error == NULL || *error == NULL)
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    if (g_error_matches (*error, table[i].file ? G_FILE_ERROR : VP_IMAGE_ERROR,
                         table[i].code)) {
      GError *translated = g_error_new_literal (VP_ERROR, (int) table[i].ours,
                                                (*error)->message);
      g_error_free (*error);
      *error = translated;
      return;
    }
}

/* ---- locks ------------------------------------------------------------------
 */

static bool
hold (Talk *talk, int fd, const char *name, bool writable, GError **error)
{
  VpFile *file = vp_file_open_fd (
      fd, name, writable ? VP_FILE_WRITABLE : VP_FILE_READ_ONLY, error);

  if (file == NULL)
    return false;
  g_ptr_array_add (talk->held, file);
  return true;
}

static bool
hold_all (Talk *talk, GError **error)
{
  const VpWorkerCall *call = talk->call;
  bool writes = call->verb != VP_WORKER_INFO &&
                (call->verb != VP_WORKER_CHECK || call->repair_leaks);

  if (call->verb != VP_WORKER_INFO &&
      !hold (talk, call->fd, call->name, writes, error))
    return false;
  return call->verb != VP_WORKER_CONVERT ||
         hold (talk, call->source_fd,
               call->source_name != NULL ? call->source_name : "source", false,
               error);
}

/* ---- claims
 * ------------------------------------------------------------------ */

/* A stranger may stand under the recorded path as well: no link, no FIFO. */
static int
open_claimed (Talk *talk, const VpWorkerClaim *claim, GError **error)
{
  struct stat st;
  vp_autofd int fd = open (claim->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
                                            O_NOCTTY | O_CLOEXEC);

  if (fd < 0 || fstat (fd, &st) < 0) {
    int saved = errno;
    g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
                 "%s: %s", claim->path, g_strerror (saved));
    return -1;
  }
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                 "%s: neither a regular file nor a block device", claim->path);
    return -1;
  }
  if (!hold (talk, fd, claim->path, false, error))
    return -1;
  return vp_steal_fd (&fd);
}

static const VpWorkerClaim *
find_claim (const VpWorkerCall *call, const VpMessage *message)
{
  const char *kind = vp_message_get (message, "kind");
  const char *name = vp_message_get (message, "name");
  const char *format = vp_message_get (message, "format");

  if (g_strcmp0 (kind, "backing") != 0 || name == NULL || format == NULL)
    return NULL;
  for (size_t i = 0; i < call->n_claims; i++)
    if (strcmp (call->claims[i].name, name) == 0 &&
        strcmp (call->claims[i].format, format) == 0)
      return &call->claims[i];
  return NULL;
}

static bool
answer_claim (Talk *talk, const VpMessage *message, GError **error)
{
  const VpWorkerClaim *claim = find_claim (talk->call, message);
  g_autoptr (VpMessage) answer = NULL;
  g_autoptr (GError) why = NULL;
  vp_autofd int fd = -1;

  if (++talk->n_claims > MAX_CLAIMS) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "worker: it asks for too many files");
    return false;
  }
  if (claim != NULL)
    fd = open_claimed (talk, claim, &why);
  if (fd >= 0)
    answer = vp_message_new ("grant");
  else {
    answer = vp_message_new ("refuse");
    vp_message_put (answer, "reason",
                    why != NULL ? why->message
                                : "not what is recorded for this volume");
  }
  return vp_message_send (answer, talk->child.socket, MSG_DONTWAIT, &fd,
                          fd >= 0 ? 1 : 0, error);
}

/* ---- messages
 * ------------------------------------------------------------------ */

static bool
take_progress (Talk *talk, const VpMessage *message, GError **error)
{
  uint64_t done, total;

  if (!vp_message_get_uint (message, "done", &done, error) ||
      !vp_message_get_uint (message, "total", &total, error))
    return false;
  if (talk->progress != NULL)
    talk->progress (MIN (done, total), total, talk->user_data);
  return true;
}

static bool
take_text (Talk *talk, const VpMessage *message, GError **error)
{
  const char *data = vp_message_get (message, "data");

  if (data == NULL || talk->json->len + strlen (data) > MAX_JSON) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "worker: its answer is too long or empty");
    return false;
  }
  g_string_append (talk->json, data);
  return true;
}

static bool
take_message (Talk *talk, VpMessage *message, GError **error)
{
  const char *type = vp_message_get_type (message);

  if (strcmp (type, "progress") == 0)
    return take_progress (talk, message, error);
  if (strcmp (type, "text") == 0)
    return take_text (talk, message, error);
  if (strcmp (type, "claim") == 0)
    return answer_claim (talk, message, error);
  if (strcmp (type, "result") == 0)
    return true; /* the loop keeps it */
  g_autofree char *shown = clean (type);
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
               "worker: a message of unknown type '%.40s'", shown);
  return false;
}

/* The socket has closed without a result. */
static bool
report_death (Talk *talk, GError **error)
{
  g_autofree char *how = vp_worker_child_end (&talk->child, true);

  g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "%s: the worker %s",
               talk->call->name, how != NULL ? how : "left without an answer");
  return false;
}

static bool
receive (Talk *talk, GError **error)
{
  g_autoptr (VpMessage) message = NULL;

  if (!vp_message_receive (talk->child.socket, MSG_DONTWAIT, 0, NULL, NULL,
                           &message, error))
    return false;
  if (message == NULL)
    return report_death (talk, error);
  if (!take_message (talk, message, error))
    return false;
  if (strcmp (vp_message_get_type (message), "result") == 0)
    talk->result = g_steal_pointer (&message);
  return true;
}

/* ---- the conversation
 * -------------------------------------------------------- */

static VpMessage *
make_request (const VpWorkerCall *call)
{
  VpMessage *request = vp_message_new ("request");

  vp_message_put (request, "verb", verb_names[call->verb]);
  vp_message_put (request, "name", call->name);
  if (call->format != NULL)
    vp_message_put (request, "format", call->format);
  if (call->verb == VP_WORKER_CREATE || call->verb == VP_WORKER_GROW)
    vp_message_put_uint (request, "size", call->size);
  if (call->verb == VP_WORKER_CREATE && call->n_claims > 0) {
    vp_message_put (request, "backing", call->claims[0].name);
    vp_message_put (request, "backing-format", call->claims[0].format);
  }
  if (call->verb == VP_WORKER_CHECK && call->repair_leaks)
    vp_message_put (request, "repair", "leaks");
  if (call->verb == VP_WORKER_CONVERT) {
    if (call->source_name != NULL)
      vp_message_put (request, "source-name", call->source_name);
    if (call->source_format != NULL)
      vp_message_put (request, "source-format", call->source_format);
  }
  return request;
}

static bool
send_request (Talk *talk, GError **error)
{
  const VpWorkerCall *call = talk->call;
  g_autoptr (VpMessage) request = make_request (call);
  int fds[2] = { call->fd, call->source_fd };
  g_autoptr (GError) failure = NULL;

  if (vp_message_send (request, talk->child.socket, MSG_DONTWAIT, fds,
                       call->verb == VP_WORKER_CONVERT ? 2 : 1, &failure))
    return true;
  /* It died before it could listen: how says more than EPIPE. */
  if (g_error_matches (failure, G_FILE_ERROR, G_FILE_ERROR_PIPE))
    return report_death (talk, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return false;
}

/* How long poll may sleep, in ms; -1 with error where it is over. */
static int
time_left (Talk *talk, GError **error)
{
  int64_t left = MAX_WAIT_MS;

  if (talk->cancel != NULL && g_atomic_int_get (talk->cancel) != 0) {
    g_set_error (error, VP_ERROR, VP_ERROR_CANCELLED, "%s: %s was cancelled",
                 talk->call->name, verb_names[talk->call->verb]);
    return -1;
  }
  if (talk->deadline != NO_DEADLINE) {
    left = (talk->deadline - g_get_monotonic_time ()) / 1000;
    if (left < 0) {
      g_set_error (error, VP_ERROR, VP_ERROR_TIMEOUT,
                   "%s: %s took longer than %u s and was ended",
                   talk->call->name, verb_names[talk->call->verb],
                   talk->config->timeout_s);
      return -1;
    }
  }
  if (talk->cancel != NULL)
    left = MIN (left, CANCEL_GAP);
  return (int) MIN (left + 1, MAX_WAIT_MS);
}

static bool
converse (Talk *talk, GError **error)
{
  while (talk->result == NULL) {
    struct pollfd pollfds[] = { { talk->child.socket, POLLIN, 0 },
                                { talk->child.errors, POLLIN, 0 } };
    int timeout = time_left (talk, error);

    if (timeout < 0)
      return false;
    if (poll (pollfds, G_N_ELEMENTS (pollfds), timeout) < 0) {
      if (errno == EINTR)
        continue;
      g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "worker: poll: %s",
                   g_strerror (errno));
      return false;
    }
    if (pollfds[1].revents != 0)
      (void) vp_worker_child_listen (&talk->child);
    if (pollfds[0].revents != 0 && !receive (talk, error))
      return false;
  }
  return true;
}

/* ---- the result
 * -------------------------------------------------------------- */

static bool
take_failure (const VpMessage *message, GError **error)
{
  const char *text = vp_message_get (message, "message");
  bool file = g_strcmp0 (vp_message_get (message, "domain"), "file") == 0;
  g_autofree char *shown = clean (text != NULL ? text : "no reason given");
  uint64_t code;

  if (!vp_message_get_uint (message, "code", &code, NULL) ||
      code > (file ? (uint64_t) G_FILE_ERROR_FAILED
                   : (uint64_t) VP_IMAGE_ERROR_USAGE))
    code = file ? G_FILE_ERROR_FAILED : VP_IMAGE_ERROR_FAILED;
  g_set_error_literal (error, file ? G_FILE_ERROR : VP_IMAGE_ERROR, (int) code,
                       shown);
  return false;
}

static char *
take_string (const VpMessage *message, const char *key)
{
  const char *text = vp_message_get (message, key);

  return text != NULL ? clean (text) : NULL;
}

static bool
take_result (Talk *talk, VpWorkerResult *ret_result, GError **error)
{
  const VpMessage *message = talk->result;
  g_auto (VpWorkerResult) result = { 0 };
  const struct {
    VpWorkerVerb verb;
    const char *key;
    uint64_t *value;
  } numbers[] = {
    { VP_WORKER_INFO, "virtual-size", &result.virtual_size },
    { VP_WORKER_CHECK, "corruptions", &result.corruptions },
    { VP_WORKER_CHECK, "leaks", &result.leaks },
    { VP_WORKER_CHECK, "check-errors", &result.check_errors },
  };

  if (g_strcmp0 (vp_message_get (message, "status"), "ok") != 0)
    return take_failure (message, error);
  for (size_t i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (numbers[i].verb == talk->call->verb &&
        !vp_message_get_uint (message, numbers[i].key, numbers[i].value, error))
      return false;
  result.backing_name = take_string (message, "backing");
  result.backing_format = take_string (message, "backing-format");
  result.probed = take_string (message, "probed");
  if (talk->json->len > 0)
    result.json = g_utf8_make_valid (talk->json->str, -1);
  *ret_result = result;
  result = (VpWorkerResult){ 0 };
  return true;
}

static void
talk_clear (Talk *talk)
{
  vp_worker_child_clear (&talk->child);
  g_clear_pointer (&talk->held, g_ptr_array_unref);
  if (talk->json != NULL)
    g_string_free (talk->json, TRUE);
  vp_message_free (talk->result);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Talk, talk_clear)

bool
vp_worker_call (const VpWorkerConfig *config, const VpWorkerCall *call,
                VpWorkerProgress progress, gpointer user_data,
                const int *cancel, VpWorkerResult *ret_result, GError **error)
{
  g_auto (Talk) talk = { .config = config,
                         .call = call,
                         .progress = progress,
                         .user_data = user_data,
                         .cancel = cancel,
                         .deadline = NO_DEADLINE,
                         .child = { .socket = -1, .errors = -1 } };
  g_autoptr (GError) failure = NULL;

  if (config->timeout_s > 0)
    talk.deadline = g_get_monotonic_time () +
                    (int64_t) config->timeout_s * G_TIME_SPAN_SECOND;
  talk.held = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_file_unref);
  talk.json = g_string_new (NULL);
  if (time_left (&talk, error) < 0)
    return false;
  if (hold_all (&talk, &failure) &&
      vp_worker_child_start (&talk.child, config, &failure) &&
      send_request (&talk, &failure) && converse (&talk, &failure) &&
      take_result (&talk, ret_result, &failure))
    return true;
  translate (&failure);
  g_propagate_error (error, g_steal_pointer (&failure));
  return false;
}

bool
vp_worker_run (const VpWorkerConfig *config, const VpWorkerCall *call,
               VpWorkerProgress progress, gpointer user_data, const int *cancel,
               char **ret_json, GError **error)
{
  g_auto (VpWorkerResult) result = { 0 };

  if (!vp_worker_call (config, call, progress, user_data, cancel, &result,
                       error))
    return false;
  if (ret_json != NULL)
    *ret_json = g_steal_pointer (&result.json);
  return true;
}
