/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* nftables: NETLINK_NETFILTER, by libmnl. */
#include "config.h"

#include "net/netlink.h"
#include "net/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define MESSAGE_SIZE 1024

static struct nlmsghdr *
put_request (void *buffer, uint16_t type, uint16_t flags, uint8_t family)
{
  struct nlmsghdr *request = mnl_nlmsg_put_header (buffer);
  struct nfgenmsg *head;

  request->nlmsg_type = (uint16_t) (NFNL_SUBSYS_NFTABLES << 8 | type);
  request->nlmsg_flags = flags;
  head = mnl_nlmsg_put_extra_header (request, sizeof *head);
  head->nfgen_family = family;
  head->version = NFNETLINK_V0;
  return request;
}

static int
on_generation (const struct nlmsghdr *message, void *data)
{
  const struct nlattr *attr;

  vp_attr_for_each (attr, message, sizeof (struct nfgenmsg))
  {
    if (mnl_attr_get_type (attr) == NFTA_GEN_ID)
      *(uint32_t *) data = ntohl (mnl_attr_get_u32 (attr));
  }
  return MNL_CB_OK;
}

bool
vp_nft_generation (uint32_t *ret_generation)
{
  char buffer[MESSAGE_SIZE];
  g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_NETFILTER, NULL);
  uint32_t generation = 0;

  if (netlink == NULL ||
      !vp_netlink_talk (netlink,
                        put_request (buffer, NFT_MSG_GETGEN, 0, AF_UNSPEC),
                        on_generation, &generation, NULL) ||
      generation == 0)
    return false;
  *ret_generation = generation;
  return true;
}

/* Collects one string attribute of each message; with a table's name, only of
 * messages that belong to that table. */
typedef struct {
  GPtrArray *names;
  uint16_t name_type;
  uint16_t table_type; /* 0: none */
  const char *table;
  unsigned count;
} Listing;

static int
on_listed (const struct nlmsghdr *message, void *data)
{
  Listing *listing = data;
  const struct nlattr *attr;
  const char *name = NULL, *table = NULL;

  vp_attr_for_each (attr, message, sizeof (struct nfgenmsg))
  {
    uint16_t type = mnl_attr_get_type (attr);
    if (listing->table_type != 0 && type == listing->table_type)
      table = mnl_attr_get_str (attr);
    if (listing->name_type != 0 && type == listing->name_type)
      name = mnl_attr_get_str (attr);
  }
  if (listing->table != NULL && g_strcmp0 (table, listing->table) != 0)
    return MNL_CB_OK;
  listing->count++;
  if (name != NULL)
    g_ptr_array_add (listing->names, g_strdup (name));
  return MNL_CB_OK;
}

static bool
list (uint16_t type, Listing *listing, GError **error)
{
  for (unsigned try = 0;; try++) {
    char buffer[MESSAGE_SIZE];
    g_autoptr (VpNetlink) netlink = vp_netlink_open (NETLINK_NETFILTER, error);
    g_autoptr (GError) local = NULL;

    if (netlink == NULL)
      return false;
    g_ptr_array_set_size (listing->names, 0);
    listing->count = 0;
    if (vp_netlink_talk (netlink,
                         put_request (buffer, type, NLM_F_DUMP, NFPROTO_IPV4),
                         on_listed, listing, &local))
      return true;
    if (try < 20 && g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_INTR))
      continue;
    g_propagate_prefixed_error (error, g_steal_pointer (&local), "nf_tables: ");
    return false;
  }
}

GPtrArray *
vp_nft_tables (GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  Listing listing = { names, NFTA_TABLE_NAME, 0, NULL, 0 };

  if (!list (NFT_MSG_GETTABLE, &listing, error))
    return NULL;
  return g_steal_pointer (&names);
}

GPtrArray *
vp_nft_chains (const char *table, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  Listing listing = { names, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, table, 0 };

  if (!list (NFT_MSG_GETCHAIN, &listing, error))
    return NULL;
  return g_steal_pointer (&names);
}

static bool
is_builtin (const char *chain)
{
  static const char *const builtin[] = { "PREROUTING", "INPUT", "FORWARD",
                                         "OUTPUT", "POSTROUTING" };

  for (gsize i = 0; i < G_N_ELEMENTS (builtin); i++)
    if (strcmp (chain, builtin[i]) == 0)
      return true;
  return false;
}

/* ret_empty: nothing in it but built-in chains without rules. */
static bool
look_empty (const char *table, bool *ret_empty, GError **error)
{
  g_autoptr (GPtrArray) tables = vp_nft_tables (error);
  g_autoptr (GPtrArray) chains = NULL;
  g_autoptr (GPtrArray) other = g_ptr_array_new_with_free_func (g_free);
  Listing rules = { other, 0, NFTA_RULE_TABLE, table, 0 };
  Listing sets = { other, 0, NFTA_SET_TABLE, table, 0 };
  Listing objects = { other, 0, NFTA_OBJ_TABLE, table, 0 };

  *ret_empty = false;
  if (tables == NULL)
    return false;
  if (!g_ptr_array_find_with_equal_func (tables, table, g_str_equal, NULL))
    return true;
  chains = vp_nft_chains (table, error);
  if (chains == NULL || !list (NFT_MSG_GETRULE, &rules, error) ||
      !list (NFT_MSG_GETSET, &sets, error) ||
      !list (NFT_MSG_GETOBJ, &objects, error))
    return false;
  *ret_empty = rules.count + sets.count + objects.count == 0;
  for (guint i = 0; i < chains->len; i++)
    if (!is_builtin (chains->pdata[i]))
      *ret_empty = false;
  return true;
}

bool
vp_nft_drop_empty_table (const char *table, GError **error)
{
  char buffer[MESSAGE_SIZE];
  g_autoptr (VpNetlink) netlink = NULL;
  struct nlmsghdr *begin, *drop, *end;
  struct nfgenmsg *head;
  uint32_t generation;
  bool empty;

  /* The batch names the generation in which the table was seen empty: where
   * somebody adds to it meanwhile the kernel refuses. */
  if (!vp_nft_generation (&generation))
    return true;
  if (!look_empty (table, &empty, error))
    return false;
  if (!empty)
    return true;
  netlink = vp_netlink_open (NETLINK_NETFILTER, error);
  if (netlink == NULL)
    return false;
  begin = mnl_nlmsg_put_header (buffer);
  begin->nlmsg_type = NFNL_MSG_BATCH_BEGIN;
  begin->nlmsg_flags = NLM_F_REQUEST;
  begin->nlmsg_seq = 1;
  head = mnl_nlmsg_put_extra_header (begin, sizeof *head);
  head->res_id = htons (NFNL_SUBSYS_NFTABLES);
  mnl_attr_put_u32 (begin, NFNL_BATCH_GENID, htonl (generation));
  drop = put_request (buffer + MNL_ALIGN (begin->nlmsg_len), NFT_MSG_DELTABLE,
                      NLM_F_REQUEST | NLM_F_ACK, NFPROTO_IPV4);
  drop->nlmsg_seq = 2;
  mnl_attr_put_strz (drop, NFTA_TABLE_NAME, table);
  end = mnl_nlmsg_put_header ((char *) drop + MNL_ALIGN (drop->nlmsg_len));
  end->nlmsg_type = NFNL_MSG_BATCH_END;
  end->nlmsg_flags = NLM_F_REQUEST;
  end->nlmsg_seq = 3;
  head = mnl_nlmsg_put_extra_header (end, sizeof *head);
  head->res_id = htons (NFNL_SUBSYS_NFTABLES);
  return vp_netlink_send_batch (
      netlink, buffer, (size_t) ((char *) end - buffer) + end->nlmsg_len, 2,
      error);
}
