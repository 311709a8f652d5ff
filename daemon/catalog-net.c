/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog-net: the networks with their addresses, and what the networks' job
 * is to bring about: a function of the accepted specs. */
#include "config.h"

#include "daemon/catalog-private.h"

#include "net/net-apply.h"

#include <string.h>

static GArray *
used_prefixes (VpCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  GArray *used = NULL;
  GHashTableIter iter;
  gpointer value = NULL;

  if (catalog->config->manage_networks)
    used = vp_net_used_prefixes (&error);
  if (used == NULL)
    used = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_hash_table_iter_init (&iter, catalog->addresses);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    g_array_append_val (used, *(VpCidr *) value);
  g_hash_table_iter_init (&iter, catalog->networks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpNet *) value)->address.addr.family != 0)
      g_array_append_val (used, ((VpNet *) value)->address);
  return used;
}

/* What the file states wins over the record, the record over a new choice,
 * which is recorded. */
static bool
network_address (VpCatalog *catalog, const char *name, const VpNet *spec,
                 VpCidr *ret_address, GError **error)
{
  const VpCidr *known = g_hash_table_lookup (catalog->addresses, name);
  g_autoptr (GArray) used = NULL;

  if (spec != NULL && spec->address.addr.family != 0) {
    *ret_address = spec->address;
    return true;
  }
  if (known != NULL) {
    *ret_address = *known;
    return true;
  }
  if (!vp_store_load_network (catalog->store, name, ret_address, error)) {
    if (error != NULL && *error != NULL)
      return false;
    used = used_prefixes (catalog);
    if (!vp_net_choose_prefix (used, ret_address, error) ||
        !vp_store_save_network (catalog->store, name, ret_address, error))
      return false;
  }
  g_hash_table_insert (catalog->addresses, g_strdup (name),
                       g_memdup2 (ret_address, sizeof *ret_address));
  return true;
}

static VpNet *
effective_network (VpCatalog *catalog, const char *name, GError **error)
{
  const VpNet *spec = g_hash_table_lookup (catalog->networks, name);
  g_autoptr (VpNet) net = spec != NULL ? vp_net_copy (spec) : vp_net_new (name);

  if (!network_address (catalog, name, spec, &net->address, error))
    return NULL;
  if (net->bridge == NULL)
    net->bridge = vp_net_bridge_name (name);
  return g_steal_pointer (&net);
}

bool
vp_catalog_uses_default (const VpGuest *spec)
{
  for (guint i = 0; i < spec->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (spec->nics, i);

    if (g_strcmp0 (nic->network, "default") == 0)
      return true;
  }
  return false;
}

/* Name -> VpNet: every file's, and "default" where it is asked for. */
GHashTable *
vp_catalog_networks (VpCatalog *catalog, bool with_default, GError **error)
{
  g_autoptr (GHashTable) networks = g_hash_table_new_full (
      g_str_hash, g_str_equal, g_free, (GDestroyNotify) vp_net_free);
  GHashTableIter iter;
  gpointer key = NULL;

  g_hash_table_iter_init (&iter, catalog->networks);
  while (g_hash_table_iter_next (&iter, &key, NULL)) {
    VpNet *net = effective_network (catalog, key, error);

    if (net == NULL)
      return NULL;
    g_hash_table_insert (networks, g_strdup (key), net);
  }
  if (with_default && !g_hash_table_contains (networks, "default")) {
    VpNet *net = effective_network (catalog, "default", error);

    if (net == NULL)
      return NULL;
    g_hash_table_insert (networks, g_strdup ("default"), net);
  }
  return g_steal_pointer (&networks);
}

static void
add_forward (VpNetWanted *wanted, const VpGuest *guest, const VpNic *nic,
             const VpForward *forward, bool udp)
{
  const char *proto = udp ? "udp" : "tcp";
  g_autofree char *id =
      forward->first == forward->last
          ? g_strdup_printf ("%s:%u", proto, forward->first)
          : g_strdup_printf ("%s:%u-%u", proto, forward->first, forward->last);
  VpNetForward *copy = vp_net_forward_new (guest->name, id);

  copy->udp = udp;
  copy->first = forward->first;
  copy->last = forward->last;
  copy->to_first = forward->to_first;
  copy->to_last = forward->to_last;
  copy->target = nic->ip;
  copy->network = g_strdup (nic->network);
  g_ptr_array_add (wanted->forwards, copy);
}

static VpNet *
find_net (const VpNetWanted *wanted, const VpNic *nic)
{
  for (guint i = 0; i < wanted->nets->len; i++) {
    VpNet *net = g_ptr_array_index (wanted->nets, i);

    if (g_strcmp0 (net->bridge, nic->bridge) == 0)
      return net;
  }
  return NULL;
}

static void
add_nic (VpNetWanted *wanted, const VpGuest *guest, const VpNic *nic,
         bool running)
{
  VpNet *net = find_net (wanted, nic);
  VpMac mac;

  if (net == NULL || nic->ip.family == 0 || !vp_mac_parse (nic->mac, &mac))
    return;
  g_ptr_array_add (net->hosts,
                   vp_net_host_new (guest->name, nic->name, &mac, &nic->ip));
  for (guint i = 0; running && i < nic->forwards->len; i++) {
    const VpForward *forward = g_ptr_array_index (nic->forwards, i);

    if (forward->tcp)
      add_forward (wanted, guest, nic, forward, false);
    if (forward->udp)
      add_forward (wanted, guest, nic, forward, true);
  }
}

static int
compare_nets (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(VpNet *const *) a)->name, (*(VpNet *const *) b)->name);
}

VpNetWanted *
vp_catalog_net_wanted (VpCatalog *catalog)
{
  VpNetWanted *wanted = vp_net_wanted_new ();
  g_autoptr (GPtrArray) names = vp_catalog_list (catalog);
  g_autoptr (GHashTable) networks = NULL;
  GHashTableIter iter;
  gpointer value = NULL;
  bool with_default = false;

  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *guest =
        vp_catalog_get (catalog, g_ptr_array_index (names, i));

    with_default |=
        vp_catalog_is_wanted (guest) && vp_catalog_uses_default (guest->spec);
  }
  networks = vp_catalog_networks (catalog, with_default, NULL);
  if (networks == NULL)
    return wanted;
  g_hash_table_iter_init (&iter, networks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    g_ptr_array_add (wanted->nets, vp_net_copy (value));
  g_ptr_array_sort (wanted->nets, compare_nets);
  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *guest =
        vp_catalog_get (catalog, g_ptr_array_index (names, i));

    if (!vp_catalog_is_wanted (guest) || guest->resolved == NULL)
      continue;
    for (guint j = 0; j < guest->resolved->nics->len; j++)
      add_nic (wanted, guest->resolved,
               g_ptr_array_index (guest->resolved->nics, j),
               guest->spec->power != VP_POWER_STOPPED && !guest->record->hold);
  }
  return wanted;
}
