/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* netlink: one request, its answers, one deadline.  The only thing that the
 * rooms which speak to the kernel (link, conntrack, sockets, nftables) share.
 * A refusal of the kernel is a G_FILE_ERROR with the errno's code. */
#pragma once

#include <stdbool.h>

#include <glib.h>
#include <libmnl/libmnl.h>

#define VP_NETLINK_TIMEOUT_MS 5000

typedef struct VpNetlink VpNetlink;

VpNetlink *vp_netlink_open (int bus, GError **error);
void vp_netlink_close (VpNetlink *netlink);
int vp_netlink_fd (VpNetlink *netlink);
struct mnl_socket *vp_netlink_socket (VpNetlink *netlink);

/* Sends the request (flags and sequence number are completed here) and feeds
 * each answer to callback, which may be NULL, until the acknowledgement or
 * the end of the dump.  A dump that the kernel calls inconsistent fails with
 * G_FILE_ERROR_INTR: the caller begins anew. */
bool vp_netlink_talk (VpNetlink *netlink, struct nlmsghdr *request,
                      mnl_cb_t callback, void *data, GError **error);

/* Sends messages that are complete, of which the one numbered acked_seq asks
 * for an acknowledgement, and waits for that. */
bool vp_netlink_send_batch (VpNetlink *netlink, const void *batch, size_t len,
                            unsigned acked_seq, GError **error);

/* libmnl's own loops, without their narrowing of a difference to int. */
#define vp_attr_for_each(attr, message, offset)                                \
  for ((attr) = mnl_nlmsg_get_payload_offset (message, offset); mnl_attr_ok (  \
           attr, (int) ((char *) mnl_nlmsg_get_payload_tail (message) -        \
                        (char *) (attr)));                                     \
       (attr) = mnl_attr_next (attr))
#define vp_attr_for_each_nested(attr, nest)                                    \
  for ((attr) = mnl_attr_get_payload (nest); mnl_attr_ok (                     \
           attr, (int) ((char *) mnl_attr_get_payload (nest) +                 \
                        mnl_attr_get_payload_len (nest) - (char *) (attr)));   \
       (attr) = mnl_attr_next (attr))

void vp_netlink_set_error (GError **error, int number, const char *what);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpNetlink, vp_netlink_close)
