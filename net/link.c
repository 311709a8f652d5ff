/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* link: rtnetlink, by libmnl.
 *
 * Every call opens its own socket: that costs microseconds, and leaves no
 * state behind when a call fails half way. */
#include "config.h"

#include "net/link.h"
#include "net/netlink.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGE_SIZE 2048

void
vp_link_free (VpLink *link)
{
  if (link == NULL)
    return;
  g_free (link->name);
  g_free (link->alias);
  g_array_unref (link->addresses);
  g_free (link);
}

VpLink *
vp_links_find (const GPtrArray *links, const char *name)
{
  for (guint i = 0; i < links->len; i++) {
    VpLink *link = links->pdata[i];
    if (strcmp (link->name, name) == 0)
      return link;
  }
  return NULL;
}

/* --- reading ----------------------------------------------------------- */

static void
read_bridge (VpLink *link, const struct nlattr *data)
{
  const struct nlattr *attr;

  vp_attr_for_each_nested (attr, data)
  {
    if (mnl_attr_get_type (attr) == IFLA_BR_STP_STATE &&
        mnl_attr_get_payload_len (attr) >= 4)
      link->stp = mnl_attr_get_u32 (attr) != 0;
    else if (mnl_attr_get_type (attr) == IFLA_BR_FORWARD_DELAY &&
             mnl_attr_get_payload_len (attr) >= 4)
      link->forward_delay = mnl_attr_get_u32 (attr);
  }
}

static void
read_link_info (VpLink *link, const struct nlattr *info)
{
  const struct nlattr *attr, *data = NULL, *port = NULL;
  bool bridge_port = false;

  vp_attr_for_each_nested (attr, info)
  {
    uint16_t type = mnl_attr_get_type (attr);
    if (type == IFLA_INFO_KIND)
      link->bridge = strcmp (mnl_attr_get_str (attr), "bridge") == 0;
    else if (type == IFLA_INFO_DATA)
      data = attr;
    else if (type == IFLA_INFO_SLAVE_KIND)
      bridge_port = strcmp (mnl_attr_get_str (attr), "bridge") == 0;
    else if (type == IFLA_INFO_SLAVE_DATA)
      port = attr;
  }
  if (link->bridge && data != NULL)
    read_bridge (link, data);
  if (bridge_port && port != NULL)
    vp_attr_for_each_nested (attr, port)
    {
      if (mnl_attr_get_type (attr) == IFLA_BRPORT_MODE)
        link->hairpin = mnl_attr_get_u8 (attr) != 0;
    }
}

static int
on_link (const struct nlmsghdr *message, void *data)
{
  GPtrArray *links = data;
  const struct ifinfomsg *info = mnl_nlmsg_get_payload (message);
  g_autoptr (VpLink) link = g_new0 (VpLink, 1);
  const struct nlattr *attr;

  link->index = info->ifi_index;
  link->up = (info->ifi_flags & IFF_UP) != 0;
  link->addresses = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  vp_attr_for_each (attr, message, sizeof *info)
  {
    switch (mnl_attr_get_type (attr)) {
    case IFLA_IFNAME: link->name = g_strdup (mnl_attr_get_str (attr)); break;
    case IFLA_IFALIAS: link->alias = g_strdup (mnl_attr_get_str (attr)); break;
    case IFLA_MASTER: link->master = (int) mnl_attr_get_u32 (attr); break;
    case IFLA_ADDRESS:
      if (mnl_attr_get_payload_len (attr) == sizeof link->mac.bytes)
        memcpy (link->mac.bytes, mnl_attr_get_payload (attr),
                sizeof link->mac.bytes);
      break;
    case IFLA_LINKINFO: read_link_info (link, attr); break;
    default: break;
    }
  }
  if (link->name == NULL)
    return MNL_CB_OK;
  if (link->alias == NULL)
    link->alias = g_strdup ("");
  g_ptr_array_add (links, g_steal_pointer (&link));
  return MNL_CB_OK;
}

static bool
read_addr (const struct nlattr *attr, int family, VpAddr *ret_addr)
{
  VpAddr addr = { .family = family };
  uint16_t len = mnl_attr_get_payload_len (attr);

  if (len != (family == AF_INET6 ? 16 : 4))
    return false;
  memcpy (addr.bytes, mnl_attr_get_payload (attr), len);
  *ret_addr = addr;
  return true;
}

static int
on_address (const struct nlmsghdr *message, void *data)
{
  GPtrArray *links = data;
  const struct ifaddrmsg *info = mnl_nlmsg_get_payload (message);
  VpCidr cidr = { .prefix = info->ifa_prefixlen };
  const struct nlattr *attr;
  bool local = false;

  if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
    return MNL_CB_OK;
  vp_attr_for_each (attr, message, sizeof *info)
  {
    /* On a point-to-point link ADDRESS is the peer's. */
    if (mnl_attr_get_type (attr) == IFA_LOCAL)
      local = read_addr (attr, info->ifa_family, &cidr.addr);
    else if (mnl_attr_get_type (attr) == IFA_ADDRESS && !local)
      (void) read_addr (attr, info->ifa_family, &cidr.addr);
  }
  for (guint i = 0; i < links->len && cidr.addr.family != 0; i++) {
    VpLink *link = links->pdata[i];
    if (link->index == (int) info->ifa_index)
      g_array_append_val (link->addresses, cidr);
  }
  return MNL_CB_OK;
}

/* One dump of rtnetlink; begun anew where the kernel's list moved. */
static bool
dump (uint16_t type, mnl_cb_t callback, void *data, GError **error)
{
  char buffer[MESSAGE_SIZE];
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_ROUTE, error);
  struct nlmsghdr *request;
  /* The largest head of the four; the kernel reads its family only. */
  size_t extra = sizeof (struct ifinfomsg);

  if (netlink == NULL)
    return false;
  request = mnl_nlmsg_put_header (buffer);
  request->nlmsg_type = type;
  request->nlmsg_flags = NLM_F_DUMP;
  (void) mnl_nlmsg_put_extra_header (request, extra);
  return vp_netlink_talk (netlink, request, callback, data, error);
}

/* As often as a change in mid-dump may spoil a list. */
#define DUMP_TRIES 20

GPtrArray *
vp_links_list (GError **error)
{
  for (unsigned try = 0;; try++) {
    g_autoptr (GPtrArray) links =
        g_ptr_array_new_with_free_func ((GDestroyNotify) vp_link_free);
    g_autoptr (GError) local = NULL;

    if (dump (RTM_GETLINK, on_link, links, &local) &&
        dump (RTM_GETADDR, on_address, links, &local))
      return g_steal_pointer (&links);
    if (try < DUMP_TRIES &&
        g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_INTR))
      continue;
    g_propagate_prefixed_error (error, g_steal_pointer (&local), "links: ");
    return NULL;
  }
}

static int
on_route (const struct nlmsghdr *message, void *data)
{
  GArray *routes = data;
  const struct rtmsg *info = mnl_nlmsg_get_payload (message);
  VpRoute route = { .to = { .prefix = info->rtm_dst_len } };
  const struct nlattr *attr;

  if ((info->rtm_family != AF_INET && info->rtm_family != AF_INET6) ||
      info->rtm_table == RT_TABLE_LOCAL || info->rtm_type != RTN_UNICAST)
    return MNL_CB_OK;
  route.to.addr.family = info->rtm_family;
  vp_attr_for_each (attr, message, sizeof *info)
  {
    if (mnl_attr_get_type (attr) == RTA_DST)
      (void) read_addr (attr, info->rtm_family, &route.to.addr);
    else if (mnl_attr_get_type (attr) == RTA_OIF)
      route.link = (int) mnl_attr_get_u32 (attr);
  }
  g_array_append_val (routes, route);
  return MNL_CB_OK;
}

GArray *
vp_routes_list (GError **error)
{
  for (unsigned try = 0;; try++) {
    g_autoptr (GArray) routes = g_array_new (FALSE, FALSE, sizeof (VpRoute));
    g_autoptr (GError) local = NULL;

    if (dump (RTM_GETROUTE, on_route, routes, &local))
      return g_steal_pointer (&routes);
    if (try < DUMP_TRIES &&
        g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_INTR))
      continue;
    g_propagate_prefixed_error (error, g_steal_pointer (&local), "routes: ");
    return NULL;
  }
}

static int
on_lookup (const struct nlmsghdr *message, void *data)
{
  const struct nlattr *attr;

  vp_attr_for_each (attr, message, sizeof (struct rtmsg))
  {
    if (mnl_attr_get_type (attr) == RTA_OIF)
      *(int *) data = (int) mnl_attr_get_u32 (attr);
  }
  return MNL_CB_OK;
}

bool
vp_route_lookup (const VpAddr *addr, int *ret_link, GError **error)
{
  char buffer[MESSAGE_SIZE];
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_ROUTE, error);
  size_t len = addr->family == AF_INET6 ? 16 : 4;
  struct nlmsghdr *request;
  struct rtmsg *info;
  int link = 0;

  if (netlink == NULL)
    return false;
  request = mnl_nlmsg_put_header (buffer);
  request->nlmsg_type = RTM_GETROUTE;
  info = mnl_nlmsg_put_extra_header (request, sizeof *info);
  info->rtm_family = (uint8_t) addr->family;
  info->rtm_dst_len = (uint8_t) (8 * len);
  mnl_attr_put (request, RTA_DST, len, addr->bytes);
  if (!vp_netlink_talk (netlink, request, on_lookup, &link, error))
    return false;
  *ret_link = link;
  return true;
}

typedef struct {
  const VpAddr *addr;
  int link;
  VpNeighbour state;
  VpMac mac;
} NeighbourQuery;

static int
on_neighbour (const struct nlmsghdr *message, void *data)
{
  NeighbourQuery *query = data;
  const struct ndmsg *info = mnl_nlmsg_get_payload (message);
  const struct nlattr *attr;
  VpAddr addr = { 0 };
  VpMac mac = { { 0 } };

  if (info->ndm_ifindex != query->link ||
      info->ndm_family != query->addr->family)
    return MNL_CB_OK;
  vp_attr_for_each (attr, message, sizeof *info)
  {
    if (mnl_attr_get_type (attr) == NDA_DST)
      (void) read_addr (attr, info->ndm_family, &addr);
    else if (mnl_attr_get_type (attr) == NDA_LLADDR &&
             mnl_attr_get_payload_len (attr) == sizeof mac.bytes)
      memcpy (mac.bytes, mnl_attr_get_payload (attr), sizeof mac.bytes);
  }
  if (!vp_addr_equal (&addr, query->addr))
    return MNL_CB_OK;
  query->mac = mac;
  if (info->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE |
                         NUD_PERMANENT | NUD_NOARP))
    query->state = VP_NEIGHBOUR_KNOWN;
  else
    query->state = info->ndm_state & NUD_FAILED ? VP_NEIGHBOUR_FAILED
                                                : VP_NEIGHBOUR_WAITING;
  return MNL_CB_OK;
}

bool
vp_neighbour_lookup (const VpAddr *addr, int link, VpNeighbour *ret_state,
                     VpMac *ret_mac, GError **error)
{
  for (unsigned try = 0;; try++) {
    NeighbourQuery query = { addr, link, VP_NEIGHBOUR_NONE, { { 0 } } };
    g_autoptr (GError) local = NULL;

    if (dump (RTM_GETNEIGH, on_neighbour, &query, &local)) {
      *ret_state = query.state;
      *ret_mac = query.mac;
      return true;
    }
    if (try < DUMP_TRIES &&
        g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_INTR))
      continue;
    g_propagate_prefixed_error (error, g_steal_pointer (&local),
                                "neighbours: ");
    return false;
  }
}

/* --- changing ---------------------------------------------------------- */

/* A request about the link of that name (index 0: it is to be made). */
static struct nlmsghdr *
link_request (char *buffer, uint16_t type, uint16_t flags, const char *name)
{
  struct nlmsghdr *request = mnl_nlmsg_put_header (buffer);

  request->nlmsg_type = type;
  request->nlmsg_flags = flags;
  (void) mnl_nlmsg_put_extra_header (request, sizeof (struct ifinfomsg));
  mnl_attr_put_strz (request, IFLA_IFNAME, name);
  return request;
}

static bool
send_request (struct nlmsghdr *request, const char *name, GError **error)
{
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_ROUTE, error);

  if (netlink == NULL ||
      !vp_netlink_talk (netlink, request, NULL, NULL, error)) {
    g_prefix_error (error, "link %s: ", name);
    return false;
  }
  return true;
}

static void
put_bridge_data (struct nlmsghdr *request)
{
  struct nlattr *info = mnl_attr_nest_start (request, IFLA_LINKINFO);
  struct nlattr *data;

  mnl_attr_put_strz (request, IFLA_INFO_KIND, "bridge");
  data = mnl_attr_nest_start (request, IFLA_INFO_DATA);
  /* STP first: with it on, the kernel refuses so short a delay. */
  mnl_attr_put_u32 (request, IFLA_BR_STP_STATE, 0);
  mnl_attr_put_u32 (request, IFLA_BR_FORWARD_DELAY, 0);
  mnl_attr_nest_end (request, data);
  mnl_attr_nest_end (request, info);
}

bool
vp_link_create_bridge (const char *name, const VpMac *mac, GError **error)
{
  char buffer[MESSAGE_SIZE];
  struct nlmsghdr *request =
      link_request (buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, name);

  mnl_attr_put (request, IFLA_ADDRESS, sizeof mac->bytes, mac->bytes);
  put_bridge_data (request);
  return send_request (request, name, error);
}

bool
vp_link_tune_bridge (const char *name, GError **error)
{
  char buffer[MESSAGE_SIZE];
  struct nlmsghdr *request = link_request (buffer, RTM_NEWLINK, 0, name);

  put_bridge_data (request);
  return send_request (request, name, error);
}

bool
vp_link_set_alias (const char *name, const char *alias, GError **error)
{
  char buffer[MESSAGE_SIZE];
  struct nlmsghdr *request = link_request (buffer, RTM_NEWLINK, 0, name);

  mnl_attr_put_str (request, IFLA_IFALIAS, alias);
  return send_request (request, name, error);
}

bool
vp_link_set_up (const char *name, GError **error)
{
  char buffer[MESSAGE_SIZE];
  struct nlmsghdr *request = link_request (buffer, RTM_NEWLINK, 0, name);
  struct ifinfomsg *info = mnl_nlmsg_get_payload (request);

  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  return send_request (request, name, error);
}

bool
vp_link_set_hairpin (const char *port, GError **error)
{
  char buffer[MESSAGE_SIZE];
  unsigned index = if_nametoindex (port);
  struct nlmsghdr *request = mnl_nlmsg_put_header (buffer);
  struct ifinfomsg *info;
  struct nlattr *nest;

  request->nlmsg_type = RTM_SETLINK;
  info = mnl_nlmsg_put_extra_header (request, sizeof *info);
  info->ifi_family = AF_BRIDGE;
  info->ifi_index = (int) index;
  nest = mnl_attr_nest_start (request, IFLA_PROTINFO);
  mnl_attr_put_u8 (request, IFLA_BRPORT_MODE, 1);
  mnl_attr_nest_end (request, nest);
  return send_request (request, port, error);
}

bool
vp_link_delete (const char *name, GError **error)
{
  char buffer[MESSAGE_SIZE];
  return send_request (link_request (buffer, RTM_DELLINK, 0, name), name,
                       error);
}

static bool
change_address (uint16_t type, const char *name, const VpCidr *address,
                GError **error)
{
  char buffer[MESSAGE_SIZE];
  struct nlmsghdr *request = mnl_nlmsg_put_header (buffer);
  VpAddr broadcast = vp_cidr_broadcast (address);
  size_t len = address->addr.family == AF_INET6 ? 16 : 4;
  unsigned index = if_nametoindex (name);
  struct ifaddrmsg *info;

  if (index == 0) {
    vp_netlink_set_error (error, ENODEV, name);
    return false;
  }
  request->nlmsg_type = type;
  request->nlmsg_flags =
      type == RTM_NEWADDR ? (NLM_F_CREATE | NLM_F_REPLACE) : 0;
  info = mnl_nlmsg_put_extra_header (request, sizeof *info);
  info->ifa_family = (uint8_t) address->addr.family;
  info->ifa_prefixlen = (uint8_t) address->prefix;
  info->ifa_index = index;
  mnl_attr_put (request, IFA_LOCAL, len, address->addr.bytes);
  mnl_attr_put (request, IFA_ADDRESS, len, address->addr.bytes);
  if (address->addr.family == AF_INET && type == RTM_NEWADDR)
    mnl_attr_put (request, IFA_BROADCAST, len, broadcast.bytes);
  return send_request (request, name, error);
}

bool
vp_link_add_address (const char *name, const VpCidr *address, GError **error)
{
  return change_address (RTM_NEWADDR, name, address, error);
}

bool
vp_link_remove_address (const char *name, const VpCidr *address, GError **error)
{
  return change_address (RTM_DELADDR, name, address, error);
}
