/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* message: what the daemon and its worker say to each other, one datagram of
 * a SOCK_SEQPACKET socket each, with descriptors beside it.
 *
 *   datagram = field...      field = key "=" value NUL
 *   key      = 1-32 of [a-z-]; the first field is "type"
 *   value    = any bytes but NUL (names in images are bytes, not text)
 *
 * The parser is strict, for either side may be hostile: a field twice, a key
 * of other letters, a missing NUL or too much of anything is refused.
 *
 *   daemon → worker   request verb= name= format= [size=] [source-name=]
 *                     [source-format=] [backing=] [backing-format=]
 *                     [repair=leaks]         with fds: target [, source]
 *                     grant                  with one fd, read-only
 *                     refuse reason=
 *   worker → daemon   claim kind=backing name= format=
 *                     progress done= total=
 *                     text data=             pieces of the JSON result
 *                     result status=ok [virtual-size=] [backing=]
 *                       [backing-format=] [corruptions=] [leaks=]
 *                     result status=error domain=image|file code= message=
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define VP_MESSAGE_MAX_LEN    (48 * 1024) /* one datagram */
#define VP_MESSAGE_MAX_FIELDS 32
#define VP_MESSAGE_MAX_FDS    2
/* The worker finds its socket here. */
#define VP_MESSAGE_SOCKET_FD 3

typedef struct VpMessage VpMessage;

VpMessage *vp_message_new (const char *type) G_GNUC_WARN_UNUSED_RESULT;
void vp_message_free (VpMessage *message);

/* Each key once; a value ends at its NUL. */
void vp_message_put (VpMessage *message, const char *key, const char *value);
void vp_message_put_uint (VpMessage *message, const char *key, uint64_t value);

const char *vp_message_get_type (const VpMessage *message);
/* Borrowed; NULL where there is no such field. */
const char *vp_message_get (const VpMessage *message, const char *key);
/* Decimal digits alone; absent or anything else is an error. */
bool vp_message_get_uint (const VpMessage *message, const char *key,
                          uint64_t *ret_value,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

VpMessage *vp_message_parse (const void *data, size_t len,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
const void *vp_message_get_bytes (const VpMessage *message, size_t *ret_len);

/* flags: MSG_DONTWAIT or 0. */
bool vp_message_send (const VpMessage *message, int socket_fd, int flags,
                      const int *fds, size_t n_fds,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* *ret_message is NULL where the other side has closed.  At most max_fds (up
 * to VP_MESSAGE_MAX_FDS) come with it, close-on-exec, the caller's to close;
 * more is an error. */
bool vp_message_receive (int socket_fd, int flags, size_t max_fds, int *fds,
                         size_t *ret_n_fds, VpMessage **ret_message,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpMessage, vp_message_free)
