/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* message: see the header for the grammar.  A message is kept as its own
 * bytes; a look-up walks them, for they are few. */
#include "config.h"

#include "storage/message.h"

#include "storage/autofd.h"
#include "storage/error.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_KEY_LEN 32

struct VpMessage {
  GString *bytes; /* whole fields, each with its NUL */
};

static size_t
key_len (const char *field)
{
  size_t len = strspn (field, "abcdefghijklmnopqrstuvwxyz-");

  return len <= MAX_KEY_LEN && field[len] == '=' ? len : 0;
}

VpMessage *
vp_message_new (const char *type)
{
  VpMessage *message = g_new0 (VpMessage, 1);

  message->bytes = g_string_new (NULL);
  vp_message_put (message, "type", type);
  return message;
}

void
vp_message_free (VpMessage *message)
{
  if (message == NULL)
    return;
  g_string_free (message->bytes, TRUE);
  g_free (message);
}

void
vp_message_put (VpMessage *message, const char *key, const char *value)
{
  g_string_append_printf (message->bytes, "%s=", key);
  g_string_append (message->bytes, value);
  g_string_append_c (message->bytes, '\0');
}

void
vp_message_put_uint (VpMessage *message, const char *key, uint64_t value)
{
  char digits[24];

  g_snprintf (digits, sizeof digits, "%" PRIu64, value);
  vp_message_put (message, key, digits);
}

/* The field after this one, NULL at the end. */
static const char *
next_field (const VpMessage *message, const char *field)
{
  const char *end = message->bytes->str + message->bytes->len;
  const char *next = field + strlen (field) + 1;

  return next < end ? next : NULL;
}

const char *
vp_message_get (const VpMessage *message, const char *key)
{
  size_t len = strlen (key);

  for (const char *field = message->bytes->str; field != NULL;
       field = next_field (message, field))
    if (key_len (field) == len && memcmp (field, key, len) == 0)
      return field + len + 1;
  return NULL;
}

const char *
vp_message_get_type (const VpMessage *message)
{
  return vp_message_get (message, "type");
}

bool
vp_message_get_uint (const VpMessage *message, const char *key,
                     uint64_t *ret_value, GError **error)
{
  const char *text = vp_message_get (message, key);

  if (text == NULL || strspn (text, "0123456789") != strlen (text) ||
      !g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT64, ret_value, NULL)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED,
                 "worker protocol: '%s' is not a number", key);
    return false;
  }
  return true;
}

static bool
refuse (GError **error, const char *why)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED,
               "worker protocol: %s", why);
  return false;
}

static bool
check_fields (const VpMessage *message, GError **error)
{
  unsigned n = 0;

  for (const char *field = message->bytes->str; field != NULL;
       field = next_field (message, field)) {
    size_t len = key_len (field);
    g_autofree char *key = g_strndup (field, len);

    if (len == 0)
      return refuse (error, "a field without a proper key");
    if (++n > VP_MESSAGE_MAX_FIELDS)
      return refuse (error, "too many fields");
    if (n == 1 && strcmp (key, "type") != 0)
      return refuse (error, "the type is missing");
    if (vp_message_get (message, key) != field + len + 1)
      return refuse (error, "a field is there twice");
  }
  return true;
}

VpMessage *
vp_message_parse (const void *data, size_t len, GError **error)
{
  const char *text = data;

  if (len == 0 || len > VP_MESSAGE_MAX_LEN || text[len - 1] != '\0') {
    (void) refuse (error, "a message of a bad length, or cut off");
    return NULL;
  }

  g_autoptr (VpMessage) message = g_new0 (VpMessage, 1);
  message->bytes = g_string_new_len (text, (gssize) len);
  if (!check_fields (message, error))
    return NULL;
  return g_steal_pointer (&message);
}

const void *
vp_message_get_bytes (const VpMessage *message, size_t *ret_len)
{
  *ret_len = message->bytes->len;
  return message->bytes->str;
}

typedef union {
  struct cmsghdr align;
  char bytes[CMSG_SPACE (VP_MESSAGE_MAX_FDS * sizeof (int))];
} Control;

bool
vp_message_send (const VpMessage *message, int socket_fd, int flags,
                 const int *fds, size_t n_fds, GError **error)
{
  struct iovec iov = { message->bytes->str, message->bytes->len };
  struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
  Control control = { 0 };
  ssize_t r;

  if (message->bytes->len > VP_MESSAGE_MAX_LEN || n_fds > VP_MESSAGE_MAX_FDS)
    return refuse (error, "a message too long to be sent");
  if (n_fds > 0) {
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE (n_fds * sizeof (int));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR (&header);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN (n_fds * sizeof (int));
    memcpy (CMSG_DATA (cmsg), fds, n_fds * sizeof (int));
  }

  do
    r = sendmsg (socket_fd, &header, flags | MSG_NOSIGNAL);
  while (r < 0 && errno == EINTR);
  if (r < 0) {
    int saved = errno;
    g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
                 "worker protocol: cannot send: %s", g_strerror (saved));
    return false;
  }
  return true;
}

/* Takes the descriptors out of a received header. */
static size_t
take_fds (struct msghdr *header, int fds[VP_MESSAGE_MAX_FDS])
{
  size_t n = 0;

  for (struct cmsghdr *cmsg = CMSG_FIRSTHDR (header); cmsg != NULL;
       cmsg = CMSG_NXTHDR (header, cmsg)) {
    if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
      continue;
    size_t count = (cmsg->cmsg_len - CMSG_LEN (0)) / sizeof (int);
    for (size_t i = 0; i < count && n < VP_MESSAGE_MAX_FDS; i++)
      memcpy (&fds[n++], CMSG_DATA (cmsg) + i * sizeof (int), sizeof (int));
  }
  return n;
}

bool
vp_message_receive (int socket_fd, int flags, size_t max_fds, int *fds,
                    size_t *ret_n_fds, VpMessage **ret_message, GError **error)
{
  g_autofree char *buffer = g_malloc (VP_MESSAGE_MAX_LEN);
  struct iovec iov = { buffer, VP_MESSAGE_MAX_LEN };
  Control control = { 0 };
  /* Without room for descriptors the kernel drops them and says so. */
  struct msghdr header = { .msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = max_fds > 0 ? &control : NULL,
                           .msg_controllen = max_fds > 0 ? sizeof control : 0 };
  int taken[VP_MESSAGE_MAX_FDS];
  ssize_t len;

  do
    len = recvmsg (socket_fd, &header, flags | MSG_CMSG_CLOEXEC);
  while (len < 0 && errno == EINTR);
  if (len < 0 && errno != ECONNRESET) {
    int saved = errno;
    g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
                 "worker protocol: cannot receive: %s", g_strerror (saved));
    return false;
  }

  size_t n_fds = len >= 0 ? take_fds (&header, taken) : 0;
  g_autoptr (VpMessage) message = NULL;
  bool ok = true;
  if (len > 0 && (header.msg_flags & MSG_TRUNC) != 0)
    ok = refuse (error, "a message that is too long");
  else if (n_fds > max_fds || (header.msg_flags & MSG_CTRUNC) != 0)
    ok = refuse (error, "descriptors that nobody asked for");
  else if (len > 0)
    ok = (message = vp_message_parse (buffer, (size_t) len, error)) != NULL;

  if (!ok) {
    for (size_t i = 0; i < n_fds; i++)
      vp_close_fd (&taken[i]);
    return false;
  }
  if (n_fds > 0)
    memcpy (fds, taken, n_fds * sizeof (int));
  if (ret_n_fds != NULL)
    *ret_n_fds = n_fds;
  *ret_message = g_steal_pointer (&message);
  return true;
}
