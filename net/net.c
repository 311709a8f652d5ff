/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net: networks, hosts and forwards as plain data, and the two choices that
 * are pure: a free address in a network, a free prefix for a network.
 *
 * Nothing here looks at the host. */
#include "config.h"

#include "net/net.h"

#include <string.h>
#include <sys/socket.h>

/* Not G_DEFINE_QUARK: threads that fail first at once would race for its
 * static variable. */
GQuark
vp_net_error_quark (void)
{
  return g_quark_from_static_string ("vp-net-error-quark");
}

VpNetHost *
vp_net_host_new (const char *guest, const char *nic, const VpMac *mac,
                 const VpAddr *addr)
{
  VpNetHost *host = g_new0 (VpNetHost, 1);

  host->guest = g_strdup (guest);
  host->nic = g_strdup (nic);
  host->mac = *mac;
  host->addr = *addr;
  return host;
}

void
vp_net_host_free (VpNetHost *host)
{
  if (host == NULL)
    return;
  g_free (host->guest);
  g_free (host->nic);
  g_free (host);
}

VpNet *
vp_net_new (const char *name)
{
  VpNet *net = g_new0 (VpNet, 1);

  net->name = g_strdup (name);
  net->bridge = vp_net_bridge_name (name);
  net->hosts =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_net_host_free);
  return net;
}

VpNet *
vp_net_copy (const VpNet *net)
{
  VpNet *copy = vp_net_new (net->name);

  copy->kind = net->kind;
  g_free (copy->bridge);
  copy->bridge = g_strdup (net->bridge);
  copy->address = net->address;
  for (guint i = 0; i < net->hosts->len; i++) {
    const VpNetHost *host = net->hosts->pdata[i];
    g_ptr_array_add (copy->hosts, vp_net_host_new (host->guest, host->nic,
                                                   &host->mac, &host->addr));
  }
  return copy;
}

void
vp_net_free (VpNet *net)
{
  if (net == NULL)
    return;
  g_free (net->name);
  g_free (net->bridge);
  g_ptr_array_unref (net->hosts);
  g_free (net);
}

VpNetForward *
vp_net_forward_new (const char *guest, const char *id)
{
  VpNetForward *forward = g_new0 (VpNetForward, 1);

  forward->guest = g_strdup (guest);
  forward->id = g_strdup (id);
  return forward;
}

VpNetForward *
vp_net_forward_copy (const VpNetForward *forward)
{
  VpNetForward *copy = g_memdup2 (forward, sizeof *forward);

  copy->guest = g_strdup (forward->guest);
  copy->id = g_strdup (forward->id);
  copy->network = g_strdup (forward->network);
  return copy;
}

void
vp_net_forward_free (VpNetForward *forward)
{
  if (forward == NULL)
    return;
  g_free (forward->guest);
  g_free (forward->id);
  g_free (forward->network);
  g_free (forward);
}

VpNetWanted *
vp_net_wanted_new (void)
{
  VpNetWanted *wanted = g_new0 (VpNetWanted, 1);

  g_ref_count_init (&wanted->ref_count);
  wanted->nets = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_net_free);
  wanted->forwards =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_net_forward_free);
  return wanted;
}

VpNetWanted *
vp_net_wanted_ref (VpNetWanted *wanted)
{
  g_ref_count_inc (&wanted->ref_count);
  return wanted;
}

void
vp_net_wanted_unref (VpNetWanted *wanted)
{
  if (wanted == NULL || !g_ref_count_dec (&wanted->ref_count))
    return;
  g_ptr_array_unref (wanted->nets);
  g_ptr_array_unref (wanted->forwards);
  g_free (wanted);
}

const VpNet *
vp_net_wanted_find (const VpNetWanted *wanted, const char *name)
{
  for (guint i = 0; i < wanted->nets->len; i++) {
    const VpNet *net = wanted->nets->pdata[i];
    if (g_strcmp0 (net->name, name) == 0)
      return net;
  }
  return NULL;
}

void
vp_forward_status_free (VpForwardStatus *status)
{
  if (status == NULL)
    return;
  g_free (status->guest);
  g_free (status->id);
  g_free (status->reason);
  g_free (status);
}

void
vp_net_step_free (VpNetStep *step)
{
  if (step == NULL)
    return;
  g_free (step->words);
  g_free (step->guest);
  g_free (step->subject);
  g_free (step);
}

const char *
vp_forward_state_to_string (VpForwardState state)
{
  static const char *const words[] = {
    [VP_FORWARD_ACTIVE] = "active",
    [VP_FORWARD_CONFLICT] = "conflict",
    [VP_FORWARD_PENDING] = "pending",
    [VP_FORWARD_FAILED] = "failed",
  };

  if ((unsigned) state >= G_N_ELEMENTS (words))
    return "unknown";
  return words[state];
}

char *
vp_net_bridge_name (const char *network)
{
  /* IFNAMSIZ is 16 with the NUL.  A link name must not hold '/' or white
   * space; we also keep to what needs no quoting anywhere.  A name of ours
   * that could be mistaken for the hashed form below is hashed as well. */
  bool plain = strlen (network) <= 12 && network[0] != '\0' &&
               strspn (network, "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789._-") == strlen (network) &&
               !(strlen (network) == 12 && network[0] == '_');
  g_autofree char *digest = NULL;

  if (plain)
    return g_strconcat ("vp-", network, NULL);
  digest = g_compute_checksum_for_string (G_CHECKSUM_SHA256, network, -1);
  return g_strdup_printf ("vp-_%.11s", digest);
}

VpMac
vp_net_bridge_mac (const char *bridge)
{
  g_autofree char *seed = g_strconcat ("vprovd bridge ", bridge, NULL);
  g_autofree char *digest =
      g_compute_checksum_for_string (G_CHECKSUM_SHA256, seed, -1);
  g_autofree char *text = g_strdup_printf ("02:76:70:%.2s:%.2s:%.2s", digest,
                                           digest + 2, digest + 4);
  VpMac mac = { { 0 } };

  (void) vp_mac_parse (text, &mac); /* built well-formed just above */
  return mac;
}

static guint
addr_hash (gconstpointer key)
{
  const VpAddr *addr = key;
  guint hash = 5381;

  for (gsize i = 0; i < sizeof addr->bytes; i++)
    hash = hash * 33 + addr->bytes[i];
  return hash;
}

static gboolean
addr_key_equal (gconstpointer a, gconstpointer b)
{
  return vp_addr_equal (a, b);
}

/* Walks from FROM to TO, both included, for an address not in TAKEN. */
static bool
first_free (VpAddr from, const VpAddr *to, GHashTable *taken, VpAddr *ret_addr)
{
  while (vp_addr_compare (&from, to) <= 0) {
    if (!g_hash_table_contains (taken, &from)) {
      *ret_addr = from;
      return true;
    }
    if (!vp_addr_add (&from, 1, &from))
      return false;
  }
  return false;
}

bool
vp_net_choose_address (const VpCidr *network, const GArray *taken,
                       VpAddr *ret_addr, GError **error)
{
  g_autoptr (GHashTable) set = g_hash_table_new (addr_hash, addr_key_equal);
  unsigned bits = network->addr.family == AF_INET6 ? 128 : 32;
  g_autofree char *text = NULL;

  for (guint i = 0; taken != NULL && i < taken->len; i++)
    g_hash_table_add (set, &g_array_index (taken, VpAddr, i));
  if (network->prefix + 2 <= bits) {
    VpAddr first = vp_cidr_network (network);
    VpAddr last = vp_cidr_broadcast (network);
    VpAddr behind, before;

    /* The first and last address are the network's and the broadcast. */
    (void) vp_addr_add (&first, 1, &first);
    (void) vp_addr_add (&last, -1, &last);
    if (vp_addr_add (&network->addr, 1, &behind) &&
        first_free (behind, &last, set, ret_addr))
      return true;
    if (vp_addr_add (&network->addr, -1, &before) &&
        first_free (first, &before, set, ret_addr))
      return true;
  }
  text = vp_cidr_to_string (network);
  g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_EXHAUSTED,
               "no free address in %s", text);
  return false;
}

bool
vp_net_choose_prefix (const GArray *used, VpCidr *ret_address, GError **error)
{
  /* Ours first, then the other private ranges in corners that few use. */
  static const struct {
    uint8_t a, b;
    unsigned first, last;
  } ranges[] = {
    { 192, 168, 211, 254 },
    { 172, 29, 0, 255 },
    { 10, 211, 0, 255 },
  };

  for (gsize r = 0; r < G_N_ELEMENTS (ranges); r++)
    for (unsigned n = ranges[r].first; n <= ranges[r].last; n++) {
      VpCidr cidr = { .addr = { .family = AF_INET,
                                .bytes = { ranges[r].a, ranges[r].b,
                                           (uint8_t) n, 1 } },
                      .prefix = 24 };
      bool clash = false;

      for (guint i = 0; used != NULL && i < used->len && !clash; i++)
        clash = vp_cidr_overlaps (&cidr, &g_array_index (used, VpCidr, i));
      if (!clash) {
        *ret_address = cidr;
        return true;
      }
    }
  g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_EXHAUSTED,
               "every private /24 that we try overlaps a network of this "
               "host");
  return false;
}
