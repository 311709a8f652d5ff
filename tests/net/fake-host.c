/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-host: changes applied to a VpNetFound. */
#include "config.h"

#include "tests/net/fake-host.h"

#include <string.h>

FakeHost *
fake_host_new (void)
{
  FakeHost *host = g_new0 (FakeHost, 1);

  host->now = vp_net_found_new ();
  host->state = g_strdup ("");
  host->left = -1;
  host->next_index = 10;
  g_hash_table_insert (host->now->sysctls, g_strdup ("net/ipv4/ip_forward"),
                       g_strdup ("0"));
  g_hash_table_insert (host->now->sysctls,
                       g_strdup ("net/ipv4/conf/all/accept_redirects"),
                       g_strdup ("1"));
  g_hash_table_insert (host->now->sysctls,
                       g_strdup ("net/ipv4/conf/eth0/forwarding"),
                       g_strdup ("1"));
  return host;
}

void
fake_host_free (FakeHost *host)
{
  vp_net_found_free (host->now);
  g_free (host->state);
  g_free (host);
}

/* --- tables ------------------------------------------------------------ */

static const char *const builtin[VP_N_TABLES][6] = {
  [VP_TABLE_RAW] = { "PREROUTING", "OUTPUT" },
  [VP_TABLE_FILTER] = { "INPUT", "FORWARD", "OUTPUT" },
  [VP_TABLE_NAT] = { "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING" },
};

static void
remove_rule (VpChain *chain, const char *rule)
{
  guint at;

  g_assert_true (
      g_ptr_array_find_with_equal_func (chain->rules, rule, g_str_equal, &at));
  g_ptr_array_remove_index (chain->rules, at);
}

static bool
is_referred_to (const VpTables *tables, VpTableId id, const char *name)
{
  GHashTableIter iter;
  gpointer value;
  g_autofree char *jump = g_strdup_printf ("-j %s", name);
  g_autofree char *go = g_strdup_printf ("-g %s", name);

  g_hash_table_iter_init (&iter, tables->table[id].chains);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    for (guint i = 0; i < ((VpChain *) value)->rules->len; i++)
      if (g_str_has_suffix (((VpChain *) value)->rules->pdata[i], jump) ||
          g_str_has_suffix (((VpChain *) value)->rules->pdata[i], go))
        return true;
  return false;
}

/* One line of iptables-restore --noflush, which is sure of itself. */
static void
run_line (VpTables *tables, VpTableId id, const char *line)
{
  g_auto (GStrv) word = g_strsplit (line + (line[0] == ':'), " ", 3);
  VpChain *chain;

  if (line[0] == ':') {
    chain = vp_tables_add_chain (tables, id, word[0], "-");
    g_ptr_array_set_size (chain->rules, 0);
    return;
  }
  chain = vp_tables_chain (tables, id, word[1]);
  g_assert_nonnull (chain);
  if (strcmp (word[0], "-A") == 0)
    vp_chain_add (chain, "%s", word[2]);
  else if (strcmp (word[0], "-I") == 0) {
    g_assert_true (g_str_has_prefix (word[2], "1 "));
    g_ptr_array_insert (chain->rules, 0, g_strdup (word[2] + 2));
  } else if (strcmp (word[0], "-D") == 0)
    remove_rule (chain, word[2]);
  else if (strcmp (word[0], "-X") == 0) {
    g_assert_cmpuint (chain->rules->len, ==, 0);
    g_assert_false (is_referred_to (tables, id, word[1]));
    g_hash_table_remove (tables->table[id].chains, word[1]);
  } else
    g_assert_not_reached ();
}

static void
run_transaction (VpTables *tables, VpTableId id, const char *text)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  g_autofree char *head = g_strdup_printf ("*%s", vp_table_name (id));

  g_assert_cmpstr (lines[0], ==, head);
  for (gsize i = 0; builtin[id][i] != NULL; i++)
    (void) vp_tables_add_chain (tables, id, builtin[id][i], "ACCEPT");
  for (guint i = 1; strcmp (lines[i], "COMMIT") != 0; i++)
    run_line (tables, id, lines[i]);
}

/* --- the rest ---------------------------------------------------------- */

static VpLink *
link_of (FakeHost *host, const VpNetChange *change)
{
  VpLink *link = vp_links_find (host->now->links, change->name);
  g_assert_nonnull (link);
  return link;
}

static void
create_link (FakeHost *host, const char *name)
{
  static const char *const keys[] = { "net/ipv6/conf/%s/disable_ipv6",
                                      "net/ipv4/conf/%s/rp_filter",
                                      "net/ipv4/conf/%s/route_localnet" };
  VpLink *link = g_new0 (VpLink, 1);

  g_assert_null (vp_links_find (host->now->links, name));
  link->name = g_strdup (name);
  link->alias = g_strdup ("");
  link->bridge = true;
  link->index = host->next_index++;
  link->mac = vp_net_bridge_mac (name);
  link->addresses = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_ptr_array_add (host->now->links, link);
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++) {
    g_auto (GStrv) parts = g_strsplit (keys[i], "%s", 2);
    g_hash_table_replace (host->now->sysctls,
                          g_strconcat (parts[0], name, parts[1], NULL),
                          g_strdup ("0"));
  }
}

static void
delete_link (FakeHost *host, const VpNetChange *change)
{
  GHashTableIter iter;
  gpointer key;
  g_autofree char *part = g_strdup_printf ("/%s/", change->name);

  g_ptr_array_remove (host->now->links, link_of (host, change));
  g_hash_table_iter_init (&iter, host->now->sysctls);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    if (strstr (key, part) != NULL)
      g_hash_table_iter_remove (&iter);
}

/* ip_forward takes others along, as the kernel's does. */
static void
write_sysctl (FakeHost *host, const char *key, const char *value)
{
  const char *old = g_hash_table_lookup (host->now->sysctls, key);

  if (old == NULL || strcmp (old, value) == 0)
    return;
  g_hash_table_replace (host->now->sysctls, g_strdup (key), g_strdup (value));
  if (strcmp (key, "net/ipv4/ip_forward") != 0)
    return;
  g_hash_table_replace (host->now->sysctls,
                        g_strdup ("net/ipv4/conf/all/accept_redirects"),
                        g_strdup (value[0] == '1' ? "0" : "1"));
  g_hash_table_replace (host->now->sysctls,
                        g_strdup ("net/ipv4/conf/eth0/forwarding"),
                        g_strdup (value));
}

static VpDnsmasqFound *
dnsmasq_of (FakeHost *host, const char *name)
{
  VpDnsmasqFound *found;

  for (guint i = 0; i < host->now->dnsmasq->len; i++) {
    found = host->now->dnsmasq->pdata[i];
    if (strcmp (found->name, name) == 0)
      return found;
  }
  found = g_new0 (VpDnsmasqFound, 1);
  found->name = g_strdup (name);
  found->hosts =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_ptr_array_add (host->now->dnsmasq, found);
  return found;
}

/* text NULL: the file goes. */
static void
set_file (FakeHost *host, const char *path, const char *text)
{
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *parent = g_path_get_basename (folder);
  char *dot = strrchr (name, '.');
  VpDnsmasqFound *found;

  if (g_str_has_suffix (parent, ".hosts")) {
    parent[strlen (parent) - 6] = '\0';
    found = dnsmasq_of (host, parent);
    if (text == NULL)
      g_hash_table_remove (found->hosts, name);
    else
      g_hash_table_replace (found->hosts, g_strdup (name), g_strdup (text));
    return;
  }
  if (dot == NULL)
    return; /* a folder */
  *dot = '\0';
  found = dnsmasq_of (host, name);
  if (strcmp (dot + 1, "conf") == 0) {
    g_assert_false (found->running); /* it would not notice */
    g_free (found->config);
    found->config = g_strdup (text);
    if (text == NULL)
      g_ptr_array_remove (host->now->dnsmasq, found);
  } else if (strcmp (dot + 1, "leases") == 0) {
    g_assert_false (found->running);
    g_free (found->leases);
    found->leases = g_strdup (text);
  }
}

static void
move_file (FakeHost *host, const VpNetChange *change)
{
  g_autofree char *folder = g_path_get_dirname (change->name);
  g_autofree char *name = g_path_get_basename (change->name);
  g_autofree char *parent = g_path_get_basename (folder);
  g_autofree char *text = NULL;

  parent[strlen (parent) - 6] = '\0';
  text =
      g_strdup (g_hash_table_lookup (dnsmasq_of (host, parent)->hosts, name));
  set_file (host, change->name, NULL);
  set_file (host, change->text, text);
}

static void
change_address (FakeHost *host, const VpNetChange *change, bool add)
{
  VpLink *link = link_of (host, change);

  for (guint i = 0; i < link->addresses->len; i++) {
    const VpCidr *one = &g_array_index (link->addresses, VpCidr, i);
    if (vp_addr_equal (&one->addr, &change->cidr.addr))
      g_array_remove_index (link->addresses, i--);
  }
  if (add)
    g_array_append_val (link->addresses, change->cidr);
}

static void
carry_out (FakeHost *host, const VpNetChange *change)
{
  VpTables *tables = host->now->tables;
  VpLink *link;

  switch (change->kind) {
  case VP_CHANGE_STATE:
    g_free (host->state);
    host->state = g_strdup (change->text);
    break;
  case VP_CHANGE_TABLES:
    run_transaction (tables, change->table, change->text);
    break;
  case VP_CHANGE_TABLE_DROP:
    g_hash_table_remove_all (tables->table[change->table].chains);
    tables->table[change->table].present = false;
    break;
  case VP_CHANGE_SYSCTL: write_sysctl (host, change->name, change->text); break;
  case VP_CHANGE_LINK_CREATE: create_link (host, change->name); break;
  case VP_CHANGE_LINK_TUNE: link_of (host, change)->stp = false; break;
  case VP_CHANGE_LINK_ALIAS:
    link = link_of (host, change);
    g_free (link->alias);
    link->alias = g_strdup (change->text);
    break;
  case VP_CHANGE_LINK_UP: link_of (host, change)->up = true; break;
  case VP_CHANGE_LINK_HAIRPIN: link_of (host, change)->hairpin = true; break;
  case VP_CHANGE_LINK_DELETE: delete_link (host, change); break;
  case VP_CHANGE_ADDRESS_ADD: change_address (host, change, true); break;
  case VP_CHANGE_ADDRESS_REMOVE: change_address (host, change, false); break;
  case VP_CHANGE_FILE_WRITE: set_file (host, change->name, change->text); break;
  case VP_CHANGE_FILE_MOVE: move_file (host, change); break;
  case VP_CHANGE_FILE_REMOVE: set_file (host, change->name, NULL); break;
  case VP_CHANGE_DNSMASQ_START:
    dnsmasq_of (host, change->name)->running = true;
    break;
  case VP_CHANGE_DNSMASQ_STOP:
    dnsmasq_of (host, change->name)->running = false;
    break;
  case VP_CHANGE_NOTE:
  case VP_CHANGE_CUT:
  case VP_CHANGE_DNSMASQ_RELOAD:
  case VP_N_CHANGES:
  default: break;
  }
}

bool
fake_host_change (const VpNetHostConfig *config, const VpNetChange *change,
                  gpointer user_data, GError **error)
{
  FakeHost *host = user_data;

  if (change->kind == VP_CHANGE_NOTE)
    return true;
  if (host->left-- == 0) {
    g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_FAILED, "fault");
    return false;
  }
  host->n_changes++;
  carry_out (host, change);
  if (host->after != NULL)
    host->after (host);
  return true;
}

/* A copy, by way of the text forms. */
VpNetFound *
fake_host_observe (const VpNetHostConfig *config, const VpNetWanted *wanted,
                   gpointer user_data, GError **error)
{
  FakeHost *host = user_data;
  VpNetFound *found = vp_net_found_new ();
  g_autofree char *tables = vp_tables_to_string (host->now->tables);
  GHashTableIter iter;
  gpointer key, value;

  g_assert_true (vp_tables_parse (found->tables, tables));
  g_clear_pointer (&found->state, vp_net_state_free);
  found->state = vp_net_state_parse (host->state, error);
  g_assert_nonnull (found->state);
  g_hash_table_iter_init (&iter, host->now->sysctls);
  while (g_hash_table_iter_next (&iter, &key, &value))
    g_hash_table_insert (found->sysctls, g_strdup (key), g_strdup (value));
  for (guint i = 0; i < host->now->links->len; i++) {
    const VpLink *from = host->now->links->pdata[i];
    VpLink *link = g_memdup2 (from, sizeof *from);
    link->name = g_strdup (from->name);
    link->alias = g_strdup (from->alias);
    link->addresses = g_array_copy (from->addresses);
    g_ptr_array_add (found->links, link);
  }
  for (guint i = 0; i < host->now->dnsmasq->len; i++) {
    const VpDnsmasqFound *from = host->now->dnsmasq->pdata[i];
    VpDnsmasqFound *one = g_memdup2 (from, sizeof *from);
    one->name = g_strdup (from->name);
    one->config = g_strdup (from->config);
    one->leases = g_strdup (from->leases);
    one->hosts =
        g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_iter_init (&iter, from->hosts);
    while (g_hash_table_iter_next (&iter, &key, &value))
      g_hash_table_insert (one->hosts, g_strdup (key), g_strdup (value));
    g_ptr_array_add (found->dnsmasq, one);
  }
  return found;
}

static void
append_sorted (GString *text, GHashTable *table)
{
  g_autoptr (GList) keys =
      g_list_sort (g_hash_table_get_keys (table), (GCompareFunc) strcmp);

  for (GList *at = keys; at != NULL; at = at->next)
    g_string_append_printf (text, "%s = %s\n", (char *) at->data,
                            (char *) g_hash_table_lookup (table, at->data));
}

char *
fake_host_to_string (const FakeHost *host)
{
  GString *text = g_string_new (host->state);
  g_autofree char *tables = vp_tables_to_string (host->now->tables);

  g_string_append (text, tables);
  append_sorted (text, host->now->sysctls);
  for (guint i = 0; i < host->now->links->len; i++) {
    const VpLink *link = host->now->links->pdata[i];
    g_string_append_printf (text, "link %s %s %s\n", link->name, link->alias,
                            link->up ? "up" : "down");
    for (guint a = 0; a < link->addresses->len; a++) {
      g_autofree char *one =
          vp_cidr_to_string (&g_array_index (link->addresses, VpCidr, a));
      g_string_append_printf (text, "  address %s\n", one);
    }
  }
  for (guint i = 0; i < host->now->dnsmasq->len; i++) {
    const VpDnsmasqFound *found = host->now->dnsmasq->pdata[i];
    g_string_append_printf (text, "dnsmasq %s %s\n%s", found->name,
                            found->running ? "runs" : "stands",
                            found->config != NULL ? found->config : "-\n");
    append_sorted (text, found->hosts);
  }
  return g_string_free (text, FALSE);
}
