/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* watch: tells when others change the rules or our links.
 *
 * Every nf_tables transaction ends in a message with the new generation and
 * the name of the process that made it; our own iptables runs under a name
 * of ours (net/iptables.h).  iptables-legacy tells nobody: there a caller
 * looks now and then.  Of links only what matters here is told: a port that
 * joins or leaves a bridge of ours, a bridge of ours that goes or goes down,
 * an address that comes or goes.  A doubt, or messages lost because there
 * were too many, counts as a change: a needless look writes nothing. */
#include "config.h"

#include "net/iptables.h"
#include "net/link.h"
#include "net/net-apply.h"
#include "net/netlink.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct VpNetWatch {
  VpNetlink *rules, *links;
  int fd;              /* epoll over both */
  GHashTable *bridges; /* index -> "": bridges that bear our prefix */
  GHashTable *ports;   /* index -> index of its bridge */
};

/* Rules come in bursts: 10,000 of them are some 3 MB of messages. */
#define BUFFER_SIZE (4 << 20)

static bool
join (VpNetWatch *watch, VpNetlink *netlink, const int *groups, gsize n_groups,
      GError **error)
{
  struct epoll_event event = { .events = EPOLLIN };
  struct mnl_socket *socket = vp_netlink_socket (netlink);
  int fd = vp_netlink_fd (netlink), size = BUFFER_SIZE;

  /* Without the right to a larger buffer the usual one has to do. */
  if (setsockopt (fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void) setsockopt (fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  for (gsize i = 0; i < n_groups; i++) {
    int group = groups[i];
    if (mnl_socket_setsockopt (socket, NETLINK_ADD_MEMBERSHIP, &group,
                               sizeof group) < 0) {
      vp_netlink_set_error (error, errno, "netlink group");
      return false;
    }
  }
  if (epoll_ctl (watch->fd, EPOLL_CTL_ADD, fd, &event) < 0) {
    vp_netlink_set_error (error, errno, "epoll");
    return false;
  }
  return true;
}

VpNetWatch *
vp_net_watch_new (GError **error)
{
  static const int rule_groups[] = { NFNLGRP_NFTABLES };
  static const int link_groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR };
  g_autoptr (VpNetWatch) watch = g_new0 (VpNetWatch, 1);
  g_autoptr (GPtrArray) links = NULL;

  watch->bridges = g_hash_table_new (NULL, NULL);
  watch->ports = g_hash_table_new (NULL, NULL);
  watch->fd = epoll_create1 (EPOLL_CLOEXEC);
  if (watch->fd < 0) {
    vp_netlink_set_error (error, errno, "epoll");
    return NULL;
  }
  watch->rules = vp_netlink_open (NETLINK_NETFILTER, error);
  watch->links =
      watch->rules != NULL ? vp_netlink_open (NETLINK_ROUTE, error) : NULL;
  if (watch->links == NULL ||
      !join (watch, watch->rules, rule_groups, G_N_ELEMENTS (rule_groups),
             error) ||
      !join (watch, watch->links, link_groups, G_N_ELEMENTS (link_groups),
             error))
    return NULL;
  links = vp_links_list (error);
  if (links == NULL)
    return NULL;
  for (guint i = 0; i < links->len; i++) {
    const VpLink *link = links->pdata[i];
    gpointer index = GINT_TO_POINTER (link->index);

    if (link->bridge && g_str_has_prefix (link->name, "vp-"))
      g_hash_table_add (watch->bridges, index);
    if (link->master != 0)
      g_hash_table_insert (watch->ports, index, GINT_TO_POINTER (link->master));
  }
  return g_steal_pointer (&watch);
}

int
vp_net_watch_get_fd (VpNetWatch *watch)
{
  return watch->fd;
}

void
vp_net_watch_free (VpNetWatch *watch)
{
  if (watch == NULL)
    return;
  vp_netlink_close (watch->rules);
  vp_netlink_close (watch->links);
  if (watch->fd >= 0)
    (void) close (watch->fd);
  g_clear_pointer (&watch->bridges, g_hash_table_unref);
  g_clear_pointer (&watch->ports, g_hash_table_unref);
  g_free (watch);
}

/* --- one message each -------------------------------------------------- */

static bool
rules_message (VpNetWatch *watch, const struct nlmsghdr *message)
{
  const struct nlattr *attr;

  if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN))
    return false;
  vp_attr_for_each (attr, message, sizeof (struct nfgenmsg))
  {
    if (mnl_attr_get_type (attr) == NFTA_GEN_PROC_NAME)
      return strcmp (mnl_attr_get_str (attr), VP_IPTABLES_NAME) != 0;
  }
  return true;
}

static bool
link_message (VpNetWatch *watch, const struct nlmsghdr *message)
{
  const struct ifinfomsg *info;
  const struct nlattr *attr;
  gpointer index, before;
  const char *name = "";
  int master = 0;
  bool ours;

  /* An address came or went. */
  if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK)
    return true;
  info = mnl_nlmsg_get_payload (message);
  index = GINT_TO_POINTER (info->ifi_index);
  vp_attr_for_each (attr, message, sizeof *info)
  {
    if (mnl_attr_get_type (attr) == IFLA_IFNAME)
      name = mnl_attr_get_str (attr);
    else if (mnl_attr_get_type (attr) == IFLA_MASTER)
      master = (int) mnl_attr_get_u32 (attr);
  }
  ours = g_hash_table_contains (watch->bridges, index);
  before = g_hash_table_lookup (watch->ports, index);
  if (message->nlmsg_type == RTM_DELLINK) {
    /* A bridge tells of a port that leaves as AF_BRIDGE; the link stays. */
    g_hash_table_remove (watch->ports, index);
    if (info->ifi_family != AF_BRIDGE)
      g_hash_table_remove (watch->bridges, index);
    return ours || g_hash_table_contains (watch->bridges, before);
  }
  if (master != 0)
    g_hash_table_insert (watch->ports, index, GINT_TO_POINTER (master));
  if (!ours && g_str_has_prefix (name, "vp-") && info->ifi_family == AF_UNSPEC)
    g_hash_table_add (watch->bridges, index);
  if (ours && !(info->ifi_flags & IFF_UP))
    return true;
  return GPOINTER_TO_INT (before) != master && master != 0 &&
         g_hash_table_contains (watch->bridges, GINT_TO_POINTER (master));
}

static bool
drain (VpNetWatch *watch, VpNetlink *netlink,
       bool (*judge) (VpNetWatch *, const struct nlmsghdr *))
{
  /* Read as a byte array, looked at as messages: aligned for them. */
  _Alignas(struct nlmsghdr) char buffer[32768];
  bool foreign = false;

  for (;;) {
    ssize_t n =
        recv (vp_netlink_fd (netlink), buffer, sizeof buffer, MSG_DONTWAIT);
    const struct nlmsghdr *message = (const void *) buffer;
    int left = (int) n;

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == ENOBUFS) {
      foreign = true;
      continue;
    }
    if (n <= 0)
      return foreign;
    for (; mnl_nlmsg_ok (message, left);
         message = mnl_nlmsg_next (message, &left))
      foreign = judge (watch, message) || foreign;
  }
}

bool
vp_net_watch_drain (VpNetWatch *watch)
{
  bool rules = drain (watch, watch->rules, rules_message);
  bool links = drain (watch, watch->links, link_message);

  return rules || links;
}
