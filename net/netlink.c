/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* netlink: a socket, a buffer, a deadline. */
#include "config.h"

#include "net/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

struct VpNetlink {
  struct mnl_socket *socket;
  unsigned seq;
  char buffer[32768];
};

void
vp_netlink_set_error (GError **error, int number, const char *what)
{
  g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (number),
               "%s: %s", what, g_strerror (number));
}

VpNetlink *
vp_netlink_open (int bus, GError **error)
{
  g_autoptr (VpNetlink) netlink = g_new0 (VpNetlink, 1);
  struct timeval limit = { .tv_sec = VP_NETLINK_TIMEOUT_MS / 1000 };

  netlink->socket = mnl_socket_open2 (bus, SOCK_CLOEXEC);
  if (netlink->socket == NULL ||
      mnl_socket_bind (netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
      setsockopt (mnl_socket_get_fd (netlink->socket), SOL_SOCKET, SO_RCVTIMEO,
                  &limit, sizeof limit) < 0) {
    vp_netlink_set_error (error, errno, "netlink socket");
    return NULL;
  }
  netlink->seq = 1;
  return g_steal_pointer (&netlink);
}

void
vp_netlink_close (VpNetlink *netlink)
{
  if (netlink == NULL)
    return;
  if (netlink->socket != NULL)
    (void) mnl_socket_close (netlink->socket); /* nothing to lose in it */
  g_free (netlink);
}

int
vp_netlink_fd (VpNetlink *netlink)
{
  return mnl_socket_get_fd (netlink->socket);
}

struct mnl_socket *
vp_netlink_socket (VpNetlink *netlink)
{
  return netlink->socket;
}

/* Receives until the acknowledgement of seq, or the end of its dump. */
static bool
receive (VpNetlink *netlink, unsigned seq, mnl_cb_t callback, void *data,
         GError **error)
{
  unsigned portid = mnl_socket_get_portid (netlink->socket);

  for (;;) {
    ssize_t n = mnl_socket_recvfrom (netlink->socket, netlink->buffer,
                                     sizeof netlink->buffer);
    int more;

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      vp_netlink_set_error (error, errno == EAGAIN ? ETIMEDOUT : errno,
                            "no answer from the kernel");
      return false;
    }
    more =
        mnl_cb_run (netlink->buffer, (size_t) n, seq, portid, callback, data);
    if (more < 0) {
      vp_netlink_set_error (error, errno, "the kernel refused");
      return false;
    }
    if (more == MNL_CB_STOP)
      return true;
  }
}

bool
vp_netlink_talk (VpNetlink *netlink, struct nlmsghdr *request,
                 mnl_cb_t callback, void *data, GError **error)
{
  unsigned seq = ++netlink->seq;

  request->nlmsg_seq = seq;
  request->nlmsg_flags |= NLM_F_REQUEST;
  if ((request->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
    request->nlmsg_flags |= NLM_F_ACK;
  if (mnl_socket_sendto (netlink->socket, request, request->nlmsg_len) < 0) {
    vp_netlink_set_error (error, errno, "netlink request");
    return false;
  }
  return receive (netlink, seq, callback, data, error);
}

bool
vp_netlink_send_batch (VpNetlink *netlink, const void *batch, size_t len,
                       unsigned acked_seq, GError **error)
{
  if (mnl_socket_sendto (netlink->socket, batch, len) < 0) {
    vp_netlink_set_error (error, errno, "netlink batch");
    return false;
  }
  return receive (netlink, acked_seq, NULL, NULL, error);
}
