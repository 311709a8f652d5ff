/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forward-check: walks the way of one forward, link by link: rule -> guards
 * -> route -> neighbour -> connect, and stops behind the first that is
 * broken.  It changes nothing; to learn whether the guest is there it sends
 * what a client of the host would send. */
#include "config.h"

#include "net/net-apply.h"
#include "net/net-ops.h"
#include "net/sysctl.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEIGHBOUR_TIMEOUT_MS 1500
#define CONNECT_TIMEOUT_MS   2000

void
vp_forward_check_free (VpForwardCheck *check)
{
  if (check == NULL)
    return;
  g_free (check->link);
  g_free (check->detail);
  g_free (check->cure);
  g_free (check);
}

/* Takes detail and cure; cure NULL: this link is whole. */
static bool
tell (GPtrArray *checks, const char *link, char *detail, char *cure)
{
  VpForwardCheck *check = g_new0 (VpForwardCheck, 1);

  check->link = g_strdup (link);
  check->ok = cure == NULL;
  check->detail = detail;
  check->cure = cure;
  g_ptr_array_add (checks, check);
  return check->ok;
}

/* --- rule and guards --------------------------------------------------- */

static const VpForwardStatus *
find_status (const VpNetPlan *plan, const VpNetForward *forward)
{
  for (guint i = 0; i < plan->forwards->len; i++) {
    const VpForwardStatus *status = plan->forwards->pdata[i];
    if (g_strcmp0 (status->guest, forward->guest) == 0 &&
        g_strcmp0 (status->id, forward->id) == 0)
      return status;
  }
  return NULL;
}

static bool
rule_covers (const VpNetFound *found, const VpNetForward *forward)
{
  g_autoptr (GPtrArray) rules = vp_forward_rules (found->tables);
  unsigned ports = 0;

  for (guint i = 0; i < rules->len; i++) {
    const VpForwardRule *rule = rules->pdata[i];
    if (rule->udp == forward->udp && rule->first >= forward->first &&
        rule->last <= forward->last &&
        vp_addr_equal (&rule->target, &forward->target) &&
        g_strcmp0 (rule->guest, forward->guest) == 0 &&
        g_strcmp0 (rule->id, forward->id) == 0)
      ports += (unsigned) rule->last - rule->first + 1;
  }
  return ports == (unsigned) forward->last - forward->first + 1;
}

/* The rule of somebody else that a packet meets before ours; NULL: none. */
static const char *
rule_before_ours (const VpNetFound *found, VpTableId id, const char *chain_name,
                  const char *target)
{
  const VpChain *chain = vp_tables_chain (found->tables, id, chain_name);

  if (chain == NULL || chain->rules->len == 0)
    return NULL;
  return g_str_has_suffix (chain->rules->pdata[0], target)
             ? NULL
             : chain->rules->pdata[0];
}

static bool
check_rule (GPtrArray *checks, const VpNetFound *found, const VpNetPlan *plan,
            const VpNetForward *forward)
{
  const VpForwardStatus *status = find_status (plan, forward);
  const char *before =
      rule_before_ours (found, VP_TABLE_NAT, "PREROUTING", "VPROV-PRE");

  if (status == NULL)
    return tell (checks, "rule", g_strdup ("no such forward is wanted"),
                 g_strdup ("add it to the guest's file"));
  if (status->reason != NULL)
    return tell (checks, "rule", g_strdup (status->reason),
                 g_strdup ("choose another port in the guest's file, or end "
                           "what holds this one"));
  if (found->tables->table[VP_TABLE_NAT].blind)
    return tell (checks, "rule",
                 g_strdup ("table nat holds rules that iptables cannot read; "
                           "ours were written"),
                 NULL);
  if (!rule_covers (found, forward))
    return tell (checks, "rule", g_strdup ("its rule is not in table nat"),
                 g_strdup ("it is not applied yet, or another program removed "
                           "it: apply again"));
  if (before != NULL)
    return tell (
        checks, "rule",
        g_strdup_printf ("another rule comes first: -A PREROUTING %s", before),
        g_strdup ("apply again: our jump goes back to the first "
                  "place"));
  return tell (checks, "rule", g_strdup ("its rule is in table nat"), NULL);
}

static bool
check_guards (GPtrArray *checks, const VpNetFound *found, const VpNetPlan *plan)
{
  const char *forwarding =
      g_hash_table_lookup (found->sysctls, VP_SYSCTL_IP_FORWARD);

  if (g_strcmp0 (forwarding, "1") != 0)
    return tell (checks, "guards", g_strdup ("ip_forward is off"),
                 g_strdup ("apply again, or find out who turned it off"));
  for (unsigned id = VP_TABLE_RAW; id <= VP_TABLE_FILTER; id++) {
    g_autofree char *words = NULL;
    g_autofree char *text = vp_tables_diff (found->tables, plan->tables, id,
                                            found->state->learned, &words);
    if (text != NULL && !found->tables->table[id].blind)
      return tell (checks, "guards",
                   g_strdup_printf ("not as it should be: %s", words),
                   g_strdup ("apply again"));
  }
  return tell (checks, "guards",
               g_strdup ("ip_forward is on, the guards stand"), NULL);
}

/* --- route and neighbour ----------------------------------------------- */

static bool
check_route (GPtrArray *checks, const VpNetFound *found, const VpNet *net,
             const VpNetForward *forward, int *ret_link)
{
  const VpLink *bridge = vp_links_find (found->links, net->bridge);
  g_autofree char *target = vp_addr_to_string (&forward->target);
  g_autoptr (GError) error = NULL;
  const char *name = "nothing";
  int link = 0;

  if (bridge == NULL || !bridge->up)
    return tell (checks, "route",
                 g_strdup_printf ("bridge %s is %s", net->bridge,
                                  bridge == NULL ? "not there" : "down"),
                 g_strdup ("apply again"));
  if (!vp_route_lookup (&forward->target, &link, &error))
    return tell (checks, "route",
                 g_strdup_printf ("no route to %s: %s", target, error->message),
                 g_strdup ("look at `ip route`; apply again"));
  for (guint i = 0; i < found->links->len; i++)
    if (((VpLink *) found->links->pdata[i])->index == link)
      name = ((VpLink *) found->links->pdata[i])->name;
  if (link != bridge->index)
    return tell (checks, "route",
                 g_strdup_printf ("%s is routed to %s instead of %s", target,
                                  name, net->bridge),
                 g_strdup_printf ("another network of this host uses these "
                                  "addresses; see `ip route get %s`",
                                  target));
  *ret_link = link;
  return tell (checks, "route",
               g_strdup_printf ("%s is reached through %s", target, name),
               NULL);
}

/* Makes the kernel ask who has the address. */
static void
provoke (const VpAddr *addr)
{
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons (9) };
  int fd = socket (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  if (fd < 0)
    return;
  memcpy (&to.sin_addr, addr->bytes, 4);
  /* An empty datagram to the discard port; whether it arrives is no matter. */
  (void) sendto (fd, "", 0, 0, (struct sockaddr *) &to, sizeof to);
  (void) close (fd);
}

static const VpNetHost *
find_host (const VpNet *net, const VpAddr *addr)
{
  for (guint i = 0; i < net->hosts->len; i++) {
    const VpNetHost *host = net->hosts->pdata[i];
    if (vp_addr_equal (&host->addr, addr))
      return host;
  }
  return NULL;
}

static bool
check_neighbour (GPtrArray *checks, const VpNet *net,
                 const VpNetForward *forward, int link)
{
  gint64 deadline =
      g_get_monotonic_time () + NEIGHBOUR_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND;
  const VpNetHost *host = find_host (net, &forward->target);
  g_autofree char *target = vp_addr_to_string (&forward->target);
  g_autofree char *seen = NULL, *reserved = NULL;
  VpNeighbour state = VP_NEIGHBOUR_NONE;
  VpMac mac = { { 0 } };

  provoke (&forward->target);
  for (;;) {
    g_autoptr (GError) error = NULL;

    if (!vp_neighbour_lookup (&forward->target, link, &state, &mac, &error))
      return tell (checks, "neighbour", g_strdup (error->message),
                   g_strdup ("try again"));
    if (state == VP_NEIGHBOUR_KNOWN || state == VP_NEIGHBOUR_FAILED ||
        g_get_monotonic_time () >= deadline)
      break;
    (void) poll (NULL, 0, 20); /* the kernel asks once a second */
  }
  if (state != VP_NEIGHBOUR_KNOWN)
    return tell (
        checks, "neighbour",
        g_strdup_printf ("nobody on %s answers for %s", net->bridge, target),
        g_strdup_printf ("see that guest %s runs and takes its address by "
                         "DHCP",
                         forward->guest));
  seen = vp_mac_to_string (&mac);
  if (host != NULL && memcmp (host->mac.bytes, mac.bytes, 6) != 0) {
    reserved = vp_mac_to_string (&host->mac);
    return tell (
        checks, "neighbour",
        g_strdup_printf ("%s is answered by %s, but guest %s has %s", target,
                         seen, host->guest, reserved),
        g_strdup ("another machine on this network uses the guest's address; "
                  "give it another one"));
  }
  return tell (checks, "neighbour",
               g_strdup_printf ("%s is at %s", target, seen), NULL);
}

/* --- connect ----------------------------------------------------------- */

/* 0, or the errno with which the connection, or the answer to an empty
 * datagram, failed; ETIMEDOUT where nothing came. */
static int
try_port (const VpNetForward *forward)
{
  struct sockaddr_in to = { .sin_family = AF_INET,
                            .sin_port = htons (forward->to_first) };
  int type = forward->udp ? SOCK_DGRAM : SOCK_STREAM;
  int fd = socket (AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  struct pollfd poller = { .fd = fd, .events = POLLIN };
  int number = 0;
  socklen_t len = sizeof number;

  if (fd < 0)
    return errno;
  memcpy (&to.sin_addr, forward->target.bytes, 4);
  if (!forward->udp)
    poller.events = POLLOUT;
  if (connect (fd, (struct sockaddr *) &to, sizeof to) < 0 &&
      errno != EINPROGRESS)
    number = errno;
  else if (forward->udp && send (fd, "", 0, MSG_NOSIGNAL) < 0)
    number = errno;
  else if (poll (&poller, 1,
                 forward->udp ? CONNECT_TIMEOUT_MS / 4 : CONNECT_TIMEOUT_MS) ==
           0)
    number = ETIMEDOUT;
  else if (getsockopt (fd, SOL_SOCKET, SO_ERROR, &number, &len) < 0)
    number = errno;
  (void) close (fd); /* the question was answered */
  return number;
}

static bool
check_connect (GPtrArray *checks, const VpNetForward *forward)
{
  g_autofree char *target = vp_addr_to_string (&forward->target);
  const char *proto = forward->udp ? "udp" : "tcp";
  int number = try_port (forward);

  if (number == 0)
    return tell (checks, "connect",
                 g_strdup_printf ("%s answers on %s port %u", target, proto,
                                  forward->to_first),
                 NULL);
  if (forward->udp && number == ETIMEDOUT)
    return tell (checks, "connect",
                 g_strdup_printf ("%s does not refuse %s port %u; udp tells "
                                  "no more",
                                  target, proto, forward->to_first),
                 NULL);
  if (number == ECONNREFUSED)
    return tell (checks, "connect",
                 g_strdup_printf ("%s refuses %s port %u: nothing listens "
                                  "there",
                                  target, proto, forward->to_first),
                 g_strdup_printf ("start the service in guest %s, and let it "
                                  "listen on all addresses, not on 127.0.0.1",
                                  forward->guest));
  return tell (
      checks, "connect",
      g_strdup_printf ("no answer from %s on %s port %u: %s", target, proto,
                       forward->to_first, g_strerror (number)),
      g_strdup_printf ("look for a firewall in guest %s", forward->guest));
}

GPtrArray *
vp_net_forward_check (const VpNetHostConfig *config, VpNetWanted *wanted,
                      const VpNetForward *forward, GError **error)
{
  g_autoptr (VpNetFound) found =
      vp_net_host_observe (config, wanted, NULL, error);
  g_autoptr (VpNetPlan) plan = NULL;
  g_autoptr (GPtrArray) checks =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_forward_check_free);
  const VpNet *net = vp_net_wanted_find (wanted, forward->network);
  int link = 0;

  if (found == NULL)
    return NULL;
  plan = vp_net_plan (config, wanted, found, error);
  if (plan == NULL)
    return NULL;
  /* Each only where the one before is whole; a rule needs its network. */
  (void) (check_rule (checks, found, plan, forward) &&
          check_guards (checks, found, plan) && net != NULL &&
          check_route (checks, found, net, forward, &link) &&
          check_neighbour (checks, net, forward, link) &&
          check_connect (checks, forward));
  return g_steal_pointer (&checks);
}
