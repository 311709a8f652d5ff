/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* conntrack: ctnetlink, by libmnl.
 *
 * The list is read first and the matches deleted after: a deletion in
 * mid-dump would make the kernel skip entries. */
#include "config.h"

#include "net/conntrack.h"
#include "net/netlink.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

static bool
is_local (const GArray *locals, const VpAddr *addr)
{
  /* 127/8 as a whole is this host. */
  if (addr->family == AF_INET && addr->bytes[0] == 127)
    return true;
  for (guint i = 0; locals != NULL && i < locals->len; i++)
    if (vp_addr_equal (&g_array_index (locals, VpAddr, i), addr))
      return true;
  return false;
}

bool
vp_cut_matches (const VpCut *cut, const VpConnection *connection,
                const GArray *locals)
{
  if (cut->kind == VP_CUT_NETWORK)
    return vp_cidr_contains (&cut->target, &connection->orig_src) ||
           vp_cidr_contains (&cut->target, &connection->reply_src);
  if (connection->protocol != (cut->udp ? IPPROTO_UDP : IPPROTO_TCP) ||
      connection->orig_port < cut->first || connection->orig_port > cut->last)
    return false;
  if (cut->kind == VP_CUT_FORWARD)
    /* Translated, and by us: the guest answers, the client asked another.  A
     * guest's own clients that came by its address are left alone. */
    return vp_addr_equal (&cut->target.addr, &connection->reply_src) &&
           !vp_addr_equal (&connection->orig_dst, &connection->reply_src);
  return vp_addr_equal (&connection->orig_dst, &connection->reply_src) &&
         is_local (locals, &connection->orig_dst);
}

static void
read_tuple (const struct nlattr *tuple, VpAddr *src, VpAddr *dst,
            uint8_t *protocol, uint16_t *port)
{
  const struct nlattr *part, *attr;

  vp_attr_for_each_nested (part, tuple)
  {
    if (mnl_attr_get_type (part) != CTA_TUPLE_IP &&
        mnl_attr_get_type (part) != CTA_TUPLE_PROTO)
      continue;
    vp_attr_for_each_nested (attr, part)
    {
      uint16_t type = mnl_attr_get_type (attr);

      if (mnl_attr_get_type (part) == CTA_TUPLE_PROTO) {
        if (type == CTA_PROTO_NUM)
          *protocol = mnl_attr_get_u8 (attr);
        else if (type == CTA_PROTO_DST_PORT)
          *port = ntohs (mnl_attr_get_u16 (attr));
      } else if (type == CTA_IP_V4_SRC || type == CTA_IP_V4_DST) {
        VpAddr *addr = type == CTA_IP_V4_SRC ? src : dst;
        addr->family = AF_INET;
        memcpy (addr->bytes, mnl_attr_get_payload (attr), 4);
      }
    }
  }
}

typedef struct {
  const GArray *cuts, *locals;
  GPtrArray *doomed; /* GBytes: the attributes that name a connection */
} Dump;

static int
on_connection (const struct nlmsghdr *message, void *data)
{
  Dump *dump = data;
  VpConnection connection = { 0 };
  const struct nlattr *attr, *orig = NULL, *zone = NULL, *id = NULL;

  vp_attr_for_each (attr, message, sizeof (struct nfgenmsg))
  {
    uint16_t type = mnl_attr_get_type (attr), port;
    uint8_t protocol;
    VpAddr dst;

    if (type == CTA_TUPLE_ORIG) {
      orig = attr;
      read_tuple (attr, &connection.orig_src, &connection.orig_dst,
                  &connection.protocol, &connection.orig_port);
    } else if (type == CTA_TUPLE_REPLY)
      read_tuple (attr, &connection.reply_src, &dst, &protocol, &port);
    else if (type == CTA_ZONE)
      zone = attr;
    else if (type == CTA_ID)
      id = attr;
  }
  if (orig == NULL)
    return MNL_CB_OK;
  for (guint i = 0; i < dump->cuts->len; i++)
    if (vp_cut_matches (&g_array_index (dump->cuts, VpCut, i), &connection,
                        dump->locals)) {
      GByteArray *name = g_byte_array_new ();
      const struct nlattr *parts[] = { orig, zone, id };

      for (gsize p = 0; p < G_N_ELEMENTS (parts); p++)
        if (parts[p] != NULL)
          g_byte_array_append (name, (const guint8 *) parts[p],
                               MNL_ALIGN (parts[p]->nla_len));
      g_ptr_array_add (dump->doomed, g_byte_array_free_to_bytes (name));
      break;
    }
  return MNL_CB_OK;
}

static struct nlmsghdr *
put_request (void *buffer, uint16_t type, uint16_t flags)
{
  struct nlmsghdr *request = mnl_nlmsg_put_header (buffer);
  struct nfgenmsg *head;

  request->nlmsg_type = (uint16_t) (NFNL_SUBSYS_CTNETLINK << 8 | type);
  request->nlmsg_flags = flags;
  head = mnl_nlmsg_put_extra_header (request, sizeof *head);
  head->nfgen_family = AF_INET;
  head->version = NFNETLINK_V0;
  return request;
}

bool
vp_conntrack_cut (const GArray *cuts, const GArray *locals, unsigned *ret_cut,
                  GError **error)
{
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_NETFILTER, error);
  g_autoptr (GPtrArray) doomed =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  Dump dump = { cuts, locals, doomed };
  char buffer[1024];
  unsigned cut = 0;

  if (netlink == NULL)
    return false;
  if (!vp_netlink_talk (netlink,
                        put_request (buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP),
                        on_connection, &dump, error)) {
    g_prefix_error (error, "conntrack: ");
    return false;
  }
  for (guint i = 0; i < doomed->len; i++) {
    struct nlmsghdr *request = put_request (buffer, IPCTNL_MSG_CT_DELETE, 0);
    g_autoptr (GError) local = NULL;
    gsize len;
    const void *name = g_bytes_get_data (doomed->pdata[i], &len);

    if (request->nlmsg_len + len > sizeof buffer)
      continue;
    memcpy (mnl_nlmsg_get_payload_tail (request), name, len);
    request->nlmsg_len += (uint32_t) len;
    if (vp_netlink_talk (netlink, request, NULL, NULL, &local))
      cut++;
    else if (!g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
      /* NOENT: it ended by itself meanwhile. */
      g_propagate_prefixed_error (error, g_steal_pointer (&local),
                                  "conntrack: ");
      return false;
    }
  }
  *ret_cut = cut;
  return true;
}
