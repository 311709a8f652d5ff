/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sockets: NETLINK_SOCK_DIAG, by libmnl; and /proc/PID/fd for the owner. */
#include "config.h"

#include "net/netlink.h"
#include "net/sockets.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  GArray *listeners;
  bool udp;
} Dump;

/* A socket of IPv6 waits for IPv4 as well when it is bound to no address and
 * is not restricted, or to an IPv4 address in IPv6's clothes. */
static bool
takes_ipv4 (const struct inet_diag_msg *info, bool v6_only)
{
  const uint32_t *src = info->id.idiag_src;

  if (info->idiag_family == AF_INET)
    return true;
  if (src[0] != 0 || src[1] != 0)
    return false;
  if (src[2] == 0 && src[3] == 0)
    return !v6_only;
  return src[2] == htonl (0xffff);
}

static int
on_socket (const struct nlmsghdr *message, void *data)
{
  Dump *dump = data;
  const struct inet_diag_msg *info = mnl_nlmsg_get_payload (message);
  VpListener listener = { .udp = dump->udp,
                          .port = ntohs (info->id.idiag_sport),
                          .inode = info->idiag_inode };
  const struct nlattr *attr;
  bool v6_only = false;

  vp_attr_for_each (attr, message, sizeof *info)
  {
    if (mnl_attr_get_type (attr) == INET_DIAG_SKV6ONLY)
      v6_only = mnl_attr_get_u8 (attr) != 0;
  }
  if (listener.port != 0 && takes_ipv4 (info, v6_only))
    g_array_append_val (dump->listeners, listener);
  return MNL_CB_OK;
}

static bool
list (Dump *dump, uint8_t family, GError **error)
{
  char buffer[256];
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_SOCK_DIAG, error);
  struct nlmsghdr *request;
  struct inet_diag_req_v2 *ask;

  if (netlink == NULL)
    return false;
  request = mnl_nlmsg_put_header (buffer);
  request->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request->nlmsg_flags = NLM_F_DUMP;
  ask = mnl_nlmsg_put_extra_header (request, sizeof *ask);
  ask->sdiag_family = family;
  ask->sdiag_protocol = dump->udp ? IPPROTO_UDP : IPPROTO_TCP;
  /* An unconnected udp socket is in the state that tcp calls "close". */
  ask->idiag_states = 1u << (dump->udp ? TCP_CLOSE : TCP_LISTEN);
  return vp_netlink_talk (netlink, request, on_socket, dump, error);
}

GArray *
vp_sockets_list (GError **error)
{
  g_autoptr (GArray) listeners = g_array_new (FALSE, TRUE, sizeof (VpListener));

  g_array_set_clear_func (listeners, (GDestroyNotify) vp_listener_clear);
  for (unsigned udp = 0; udp < 2; udp++) {
    static const uint8_t families[] = { AF_INET, AF_INET6 };

    for (unsigned i = 0; i < G_N_ELEMENTS (families); i++) {
      Dump dump = { listeners, udp != 0 };
      g_autoptr (GError) local = NULL;

      /* A kernel without IPv6 has no such sockets to tell of. */
      if (!list (&dump, families[i], &local) && families[i] == AF_INET) {
        g_propagate_prefixed_error (error, g_steal_pointer (&local),
                                    "sockets: ");
        return NULL;
      }
    }
  }
  return g_steal_pointer (&listeners);
}

static VpListener *
find_inode (GArray *listeners, uint64_t inode)
{
  for (guint i = 0; i < listeners->len; i++) {
    VpListener *listener = &g_array_index (listeners, VpListener, i);
    if (listener->inode == inode && listener->process == NULL)
      return listener;
  }
  return NULL;
}

/* Looks through the files that one process has open. */
static void
look_at_process (const char *pid, GArray *listeners)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%s/fd", pid);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autofree char *comm_path = NULL;
    VpListener *listener;
    char target[64];
    ssize_t n = readlink (path, target, sizeof target - 1);

    if (n <= 0)
      continue;
    target[n] = '\0';
    if (!g_str_has_prefix (target, "socket:["))
      continue;
    listener = find_inode (listeners, g_ascii_strtoull (target + 8, NULL, 10));
    if (listener == NULL)
      continue;
    comm_path = g_strdup_printf ("/proc/%s/comm", pid);
    if (!g_file_get_contents (comm_path, &listener->process, NULL, NULL))
      continue;
    (void) g_strchomp (listener->process);
    listener->pid = (int) g_ascii_strtoll (pid, NULL, 10);
  }
}

void
vp_sockets_find_processes (GArray *listeners)
{
  g_autoptr (GDir) dir = NULL;
  const char *name;

  if (listeners->len == 0)
    return;
  dir = g_dir_open ("/proc", 0, NULL);
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    if (g_ascii_isdigit (name[0]))
      look_at_process (name, listeners);
}
