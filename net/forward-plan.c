/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forward-plan: which forwards can be, and the chains that carry them.
 *
 * No forward has a rule in the filter table: "ctstate DNAT" lets through what
 * the nat table translated, for each bridge in one rule, and cannot go out of
 * step with it.  Everything that names a bridge names one of ours. */
#include "config.h"

#include "net/forward-plan.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* A rule's comment: the name of its guest, and which of its forwards it is. */
#define COMMENT_PREFIX  "vprov:"
#define NAME_CHARACTERS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-"
#define MAX_COMMENT_LEN 255u /* XT_MAX_COMMENT_LEN, without its NUL */

/* --- the trie --------------------------------------------------------- */

/* The part of a forward that lies within a node. */
typedef struct {
  const VpNetForward *forward;
  uint16_t first, last;
} Piece;

typedef struct {
  VpTables *tables;
  const char *proto;
} Trie;

static char *
port_text (unsigned first, unsigned last)
{
  return first == last ? g_strdup_printf ("%u", first)
                       : g_strdup_printf ("%u:%u", first, last);
}

static void
add_dnat (VpChain *chain, const char *proto, const Piece *piece)
{
  const VpNetForward *forward = piece->forward;
  g_autofree char *ports = port_text (piece->first, piece->last);
  g_autofree char *target = vp_addr_to_string (&forward->target);
  unsigned to = (unsigned) forward->to_first + piece->first - forward->first;
  g_autofree char *where = NULL;

  if (piece->first == piece->last)
    where = g_strdup_printf ("%s:%u", target, to);
  else if (forward->first == forward->to_first)
    where = g_strdup (target);
  else /* shifted: the kernel adds the distance from the port behind '/' */
    where = g_strdup_printf ("%s:%u-%u/%u", target, to,
                             to + piece->last - piece->first, piece->first);
  vp_chain_add (chain,
                "-p %s -m %s --dport %s -m comment --comment "
                "\"" COMMENT_PREFIX "%s:%s\" "
                "-j DNAT --to-destination %s",
                proto, proto, ports, forward->guest, forward->id, where);
}

/* The pieces of PIECES within [low, high]. */
static GArray *
clip (const GArray *pieces, unsigned low, unsigned high)
{
  GArray *inside = g_array_new (FALSE, FALSE, sizeof (Piece));

  for (guint i = 0; i < pieces->len; i++) {
    Piece piece = g_array_index (pieces, Piece, i);
    if (piece.last < low || piece.first > high)
      continue;
    piece.first = (uint16_t) MAX (piece.first, low);
    piece.last = (uint16_t) MIN (piece.last, high);
    g_array_append_val (inside, piece);
  }
  return inside;
}

/* A node covers 2^bits ports from low.  Depth is at most four. */
static void
add_node (Trie *trie, const char *name, const GArray *pieces, unsigned low,
          unsigned bits)
{
  VpChain *chain = vp_tables_add_chain (trie->tables, VP_TABLE_NAT, name, "-");

  if (pieces->len <= VP_TRIE_LEAF || bits == 0) {
    for (guint i = 0; i < pieces->len; i++)
      add_dnat (chain, trie->proto, &g_array_index (pieces, Piece, i));
    return;
  }
  for (unsigned digit = 0; digit < 16; digit++) {
    unsigned first = low + (digit << (bits - 4));
    unsigned last = first + (1u << (bits - 4)) - 1;
    g_autoptr (GArray) inside = clip (pieces, first, last);
    g_autofree char *ports = port_text (first, last);
    g_autofree char *child =
        g_strdup_printf ("%s%s%X", name, bits == 16 ? "-" : "", digit);

    if (inside->len == 0)
      continue;
    vp_chain_add (chain, "-p %s -m %s --dport %s -g %s", trie->proto,
                  trie->proto, ports, child);
    add_node (trie, child, inside, first, bits - 4);
  }
}

static int
compare_pieces (gconstpointer a, gconstpointer b)
{
  return (int) ((const Piece *) a)->first - (int) ((const Piece *) b)->first;
}

static void
add_trie (VpTables *tables, const GPtrArray *forwards, bool udp)
{
  g_autoptr (GArray) pieces = g_array_new (FALSE, FALSE, sizeof (Piece));
  Trie trie = { tables, udp ? "udp" : "tcp" };

  for (guint i = 0; i < forwards->len; i++) {
    const VpNetForward *forward = forwards->pdata[i];
    Piece piece = { forward, forward->first, forward->last };
    if (forward->udp == udp)
      g_array_append_val (pieces, piece);
  }
  g_array_sort (pieces, compare_pieces);
  if (pieces->len == 0)
    return;
  vp_chain_add (vp_tables_chain (tables, VP_TABLE_NAT, "VPROV-PRE"),
                "-p %s -g %s", trie.proto, udp ? "VPROV-U" : "VPROV-T");
  add_node (&trie, udp ? "VPROV-U" : "VPROV-T", pieces, 0, 16);
}

/* --- the chains of the networks --------------------------------------- */

static char *
prefix_text (const VpNet *net)
{
  VpCidr cidr = net->address;

  cidr.addr = vp_cidr_network (&net->address);
  return vp_cidr_to_string (&cidr);
}

static void
render_raw (VpTables *tables, const GPtrArray *nets)
{
  VpChain *raw = vp_tables_add_chain (tables, VP_TABLE_RAW, "VPROV-RAW", "-");

  /* route_localnet lets 127/8 leave and come back over our bridges: without
   * this guard a neighbour could send to it as well. */
  vp_chain_add (raw, "-i lo -j RETURN");
  vp_chain_add (raw, "-d 127.0.0.0/8 -j DROP");
  for (guint i = 0; i < nets->len; i++) {
    const VpNet *net = nets->pdata[i];
    g_autofree char *prefix = prefix_text (net);

    vp_chain_add (raw, "-i %s -p udp -m udp --sport 68 --dport 67 -j RETURN",
                  net->bridge);
    vp_chain_add (raw, "! -s %s -i %s -j DROP", prefix, net->bridge);
    vp_chain_add (raw, "-d %s ! -i %s -j DROP", prefix, net->bridge);
  }
}

static void
render_filter (VpTables *tables, const GPtrArray *nets,
               const VpRenderOptions *options)
{
  VpChain *in = vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-IN", "-");
  VpChain *fwd =
      vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-FWD", "-");

  (void) vp_tables_add_chain (tables, VP_TABLE_FILTER, VP_CHAIN_USER, "-");
  vp_chain_add (fwd, "-j " VP_CHAIN_USER);
  for (guint i = 0; i < nets->len; i++) {
    const char *br = ((const VpNet *) nets->pdata[i])->bridge;

    vp_chain_add (in, "-i %s -p udp -m udp --dport 67 -j ACCEPT", br);
    vp_chain_add (in, "-i %s -p udp -m udp --dport 53 -j ACCEPT", br);
    vp_chain_add (in, "-i %s -p tcp -m tcp --dport 53 -j ACCEPT", br);
  }
  /* Who may not begin anything comes first; then what was begun or
   * forwarded; then nothing else into our bridges; then the way out. */
  for (guint i = 0; i < nets->len; i++) {
    const VpNet *net = nets->pdata[i];
    if (net->kind == VP_NET_ISOLATED)
      vp_chain_add (fwd,
                    "-i %s ! -o %s -m conntrack ! --ctstate "
                    "RELATED,ESTABLISHED -j DROP",
                    net->bridge, net->bridge);
  }
  for (guint i = 0; i < nets->len; i++) {
    const char *br = ((const VpNet *) nets->pdata[i])->bridge;

    vp_chain_add (fwd,
                  "! -i %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED "
                  "-j ACCEPT",
                  br, br);
    vp_chain_add (fwd, "-o %s -m conntrack --ctstate DNAT -j ACCEPT", br);
    vp_chain_add (fwd, "-i %s -o %s -j ACCEPT", br, br);
  }
  for (guint i = 0; i < nets->len; i++)
    vp_chain_add (fwd, "-o %s -j DROP",
                  ((const VpNet *) nets->pdata[i])->bridge);
  for (guint i = 0; i < nets->len; i++)
    vp_chain_add (fwd, "-i %s -j ACCEPT",
                  ((const VpNet *) nets->pdata[i])->bridge);
  if (!options->closed)
    return;
  in = vp_tables_add_chain (tables, VP_TABLE_FILTER, "VPROV-END", "-");
  /* Frames that a foreign bridge passes on are no business of ip_forward. */
  if (options->bridge_filter)
    vp_chain_add (in, "-m physdev --physdev-is-bridged -j RETURN");
  vp_chain_add (in, "-m comment --comment \"vprov:closed\" -j DROP");
}

static void
render_nat (VpTables *tables, const GPtrArray *nets, const GPtrArray *forwards)
{
  VpChain *post = vp_tables_add_chain (tables, VP_TABLE_NAT, "VPROV-POST", "-");

  (void) vp_tables_add_chain (tables, VP_TABLE_NAT, "VPROV-PRE", "-");
  vp_chain_add (post, "-o lo -j RETURN");
  for (guint i = 0; i < nets->len; i++) {
    const VpNet *net = nets->pdata[i];
    g_autofree char *prefix = prefix_text (net);

    vp_chain_add (post,
                  "-s %s -d %s -o %s -m conntrack --ctstate DNAT -j "
                  "MASQUERADE",
                  prefix, prefix, net->bridge);
    vp_chain_add (post, "-s 127.0.0.0/8 -o %s -j MASQUERADE", net->bridge);
    if (net->kind == VP_NET_NAT)
      vp_chain_add (post, "-s %s ! -o %s -j MASQUERADE", prefix, net->bridge);
  }
  add_trie (tables, forwards, false);
  add_trie (tables, forwards, true);
}

void
vp_forward_plan_add_jumps (VpTables *tables, bool closed)
{
  vp_tables_add_jump (tables, VP_TABLE_RAW, "PREROUTING", "", "VPROV-RAW",
                      false);
  vp_tables_add_jump (tables, VP_TABLE_FILTER, "INPUT", "", "VPROV-IN", false);
  vp_tables_add_jump (tables, VP_TABLE_FILTER, "FORWARD", "", "VPROV-FWD",
                      false);
  if (closed)
    vp_tables_add_jump (tables, VP_TABLE_FILTER, "FORWARD", "", "VPROV-END",
                        true);
  vp_tables_add_jump (tables, VP_TABLE_NAT, "PREROUTING",
                      "-m addrtype --dst-type LOCAL", "VPROV-PRE", false);
  vp_tables_add_jump (tables, VP_TABLE_NAT, "OUTPUT",
                      "-m addrtype --dst-type LOCAL", "VPROV-PRE", false);
  vp_tables_add_jump (tables, VP_TABLE_NAT, "POSTROUTING", "", "VPROV-POST",
                      false);
}

static int
compare_nets (gconstpointer a, gconstpointer b)
{
  const VpNet *x = *(VpNet *const *) a, *y = *(VpNet *const *) b;
  return strcmp (x->name, y->name);
}

VpTables *
vp_forward_plan_render (const VpNetWanted *wanted, const GPtrArray *forwards,
                        const VpRenderOptions *options)
{
  VpTables *tables = vp_tables_new ();
  g_autoptr (GPtrArray) nets = g_ptr_array_new ();

  for (guint i = 0; i < wanted->nets->len; i++)
    g_ptr_array_add (nets, wanted->nets->pdata[i]);
  g_ptr_array_sort (nets, compare_nets);
  if (nets->len == 0)
    return tables;
  render_raw (tables, nets);
  render_filter (tables, nets, options);
  render_nat (tables, nets, forwards);

  vp_forward_plan_add_jumps (tables, options->closed);
  return tables;
}

/* --- reading rules back ------------------------------------------------ */

void
vp_listener_clear (VpListener *listener)
{
  g_clear_pointer (&listener->process, g_free);
}

void
vp_forward_rule_free (VpForwardRule *rule)
{
  if (rule == NULL)
    return;
  g_free (rule->guest);
  g_free (rule->id);
  g_free (rule);
}

/* "80" or "80:90". */
static bool
parse_ports (const char *text, uint16_t *ret_first, uint16_t *ret_last)
{
  g_auto (GStrv) parts = g_strsplit (text, ":", 3);
  unsigned n = g_strv_length (parts);
  guint64 first, last;

  if (n < 1 || n > 2 ||
      !g_ascii_string_to_unsigned (parts[0], 10, 0, 65535, &first, NULL) ||
      !g_ascii_string_to_unsigned (parts[n - 1], 10, first, 65535, &last, NULL))
    return false;
  *ret_first = (uint16_t) first;
  *ret_last = (uint16_t) last;
  return true;
}

/* "ADDRESS", "ADDRESS:80" or "ADDRESS:80-90/8080". */
static bool
parse_target (const char *text, VpForwardRule *rule)
{
  g_auto (GStrv) parts = g_strsplit (text, ":", 3);
  guint64 port = rule->first;

  if (parts[0] == NULL || !vp_addr_parse (parts[0], &rule->target))
    return false;
  if (parts[1] != NULL) {
    char *end = strpbrk (parts[1], "-/");
    if (end != NULL)
      *end = '\0';
    if (!g_ascii_string_to_unsigned (parts[1], 10, 0, 65535, &port, NULL))
      return false;
  }
  rule->to_first = (uint16_t) port;
  return true;
}

/* "vprov:GUEST:ID", in quotes or not; no guest's name has a colon. */
static void
parse_comment (const char *text, VpForwardRule *rule)
{
  const char *guest, *colon;

  if (text[0] == '"')
    text++;
  if (!g_str_has_prefix (text, COMMENT_PREFIX))
    return;
  guest = text + strlen (COMMENT_PREFIX);
  colon = strchr (guest, ':');
  if (colon == NULL)
    return;
  rule->guest = g_strndup (guest, (gsize) (colon - guest));
  rule->id = g_strndup (colon + 1, strcspn (colon + 1, "\""));
}

VpForwardRule *
vp_forward_rule_parse (const char *text)
{
  g_auto (GStrv) words = g_strsplit (text, " ", -1);
  g_autoptr (VpForwardRule) rule = g_new0 (VpForwardRule, 1);
  bool ports = false, dnat = false;
  const char *target = NULL;

  for (char **word = words; *word != NULL && word[1] != NULL; word++) {
    if (strcmp (*word, "-p") == 0)
      rule->udp = strcmp (word[1], "udp") == 0;
    else if (strcmp (*word, "--dport") == 0)
      ports = parse_ports (word[1], &rule->first, &rule->last);
    else if (strcmp (*word, "-j") == 0)
      dnat = strcmp (word[1], "DNAT") == 0;
    else if (strcmp (*word, "--to-destination") == 0)
      target = word[1];
    else if (strcmp (*word, "--comment") == 0 && rule->id == NULL)
      parse_comment (word[1], rule);
  }
  if (!ports || !dnat || target == NULL || rule->id == NULL ||
      !parse_target (target, rule))
    return NULL;
  return g_steal_pointer (&rule);
}

GPtrArray *
vp_forward_rules (const VpTables *tables)
{
  GPtrArray *rules =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_forward_rule_free);
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init (&iter, tables->table[VP_TABLE_NAT].chains);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpChain *chain = value;

    if (!g_str_has_prefix (chain->name, "VPROV-T") &&
        !g_str_has_prefix (chain->name, "VPROV-U"))
      continue;
    for (guint i = 0; i < chain->rules->len; i++) {
      VpForwardRule *rule = vp_forward_rule_parse (chain->rules->pdata[i]);
      if (rule != NULL)
        g_ptr_array_add (rules, rule);
    }
  }
  return rules;
}

/* --- which forwards can be --------------------------------------------- */

static int
compare_forwards (gconstpointer a, gconstpointer b)
{
  const VpNetForward *x = *(VpNetForward *const *) a;
  const VpNetForward *y = *(VpNetForward *const *) b;
  int order = g_strcmp0 (x->guest, y->guest);

  return order != 0 ? order : g_strcmp0 (x->id, y->id);
}

static VpForwardStatus *
status_new (const VpNetForward *forward)
{
  VpForwardStatus *status = g_new0 (VpForwardStatus, 1);

  status->guest = g_strdup (forward->guest);
  status->id = g_strdup (forward->id);
  status->state = VP_FORWARD_PENDING;
  return status;
}

static bool
is_made_of (const char *text, const char *characters)
{
  return text != NULL && text[0] != '\0' &&
         text[strspn (text, characters)] == '\0';
}

/* Whether the rule's comment can say whose forward it is, and which. */
static bool
can_be_named (const VpNetForward *forward)
{
  return is_made_of (forward->guest, NAME_CHARACTERS) &&
         is_made_of (forward->id, NAME_CHARACTERS ":") &&
         strlen (COMMENT_PREFIX) + strlen (forward->guest) + 1 +
                 strlen (forward->id) <=
             MAX_COMMENT_LEN;
}

/* NULL where the forward makes sense by itself. */
static char *
find_mistake (const VpNetWanted *wanted, const VpNetForward *forward)
{
  const VpNet *net = vp_net_wanted_find (wanted, forward->network);
  g_autofree char *target = vp_addr_to_string (&forward->target);

  if (!can_be_named (forward))
    return g_strdup ("its guest's name and its id cannot be written into a "
                     "rule");
  if (forward->first == 0 || forward->to_first == 0 ||
      forward->last < forward->first ||
      forward->last - forward->first != forward->to_last - forward->to_first)
    return g_strdup ("its port ranges are empty or of different sizes");
  if (forward->target.family == AF_INET6)
    return g_strdup ("IPv6 forwards are not built yet; use an IPv4 address");
  if (forward->target.family != AF_INET)
    return g_strdup ("the guest has no address");
  if (net == NULL)
    return g_strdup_printf ("there is no network %s", forward->network);
  if (!vp_cidr_contains (&net->address, &forward->target))
    return g_strdup_printf ("%s is not on network %s", target, net->name);
  if (vp_addr_equal (&net->address.addr, &forward->target))
    return g_strdup_printf ("%s is the host's own address", target);
  return NULL;
}

/* Whether the rules in the kernel cover this forward already. */
static bool
stands (const GPtrArray *found, const VpNetForward *forward)
{
  unsigned ports = 0;

  for (guint i = 0; found != NULL && i < found->len; i++) {
    const VpForwardRule *rule = found->pdata[i];
    if (rule->udp == forward->udp && rule->first >= forward->first &&
        rule->last <= forward->last && strcmp (rule->id, forward->id) == 0)
      ports += (unsigned) rule->last - rule->first + 1;
  }
  return ports == (unsigned) forward->last - forward->first + 1;
}

static char *
find_listener (const GArray *listeners, const VpNetForward *forward)
{
  for (guint i = 0; listeners != NULL && i < listeners->len; i++) {
    const VpListener *listener = &g_array_index (listeners, VpListener, i);
    const char *proto = listener->udp ? "udp" : "tcp";

    if (listener->udp != forward->udp || listener->port < forward->first ||
        listener->port > forward->last)
      continue;
    if (listener->process == NULL)
      return g_strdup_printf ("a process listens on %s port %u of this host",
                              proto, listener->port);
    return g_strdup_printf ("%s (pid %d) listens on %s port %u of this host",
                            listener->process, listener->pid, proto,
                            listener->port);
  }
  return NULL;
}

/* Who has each port; one table for tcp, one for udp. */
typedef struct {
  const VpNetForward *owner[2][65536];
} Ports;

static char *
take_ports (Ports *ports, const VpNetForward *forward)
{
  const VpNetForward **owner = ports->owner[forward->udp ? 1 : 0];

  for (unsigned port = forward->first; port <= forward->last; port++)
    if (owner[port] != NULL)
      return g_strdup_printf ("%s port %u is taken by forward %s of guest %s",
                              forward->udp ? "udp" : "tcp", port,
                              owner[port]->id, owner[port]->guest);
  for (unsigned port = forward->first; port <= forward->last; port++)
    owner[port] = forward;
  return NULL;
}

void
vp_forward_plan_choose (const VpNetWanted *wanted, const GArray *listeners,
                        const GPtrArray *found, GPtrArray **ret_chosen,
                        GPtrArray **ret_status)
{
  g_autoptr (GPtrArray) sorted = g_ptr_array_new ();
  g_autoptr (GHashTable) by_forward = g_hash_table_new (NULL, NULL);
  g_autofree Ports *ports = g_new0 (Ports, 1);
  GPtrArray *chosen = g_ptr_array_new ();
  GPtrArray *status =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_forward_status_free);

  for (guint i = 0; i < wanted->forwards->len; i++) {
    VpNetForward *forward = wanted->forwards->pdata[i];
    VpForwardStatus *one = status_new (forward);

    g_ptr_array_add (sorted, forward);
    g_ptr_array_add (status, one);
    g_hash_table_insert (by_forward, forward, one);
  }
  g_ptr_array_sort (sorted, compare_forwards);
  for (guint i = 0; i < sorted->len; i++) {
    VpNetForward *forward = sorted->pdata[i];
    VpForwardStatus *one = g_hash_table_lookup (by_forward, forward);

    one->reason = find_mistake (wanted, forward);
    if (one->reason != NULL) {
      one->state = VP_FORWARD_FAILED;
      continue;
    }
    if (!stands (found, forward))
      one->reason = find_listener (listeners, forward);
    if (one->reason == NULL)
      one->reason = take_ports (ports, forward);
    if (one->reason != NULL)
      one->state = VP_FORWARD_CONFLICT;
    else
      g_ptr_array_add (chosen, forward);
  }
  *ret_chosen = chosen;
  *ret_status = status;
}

/* --- stale connections ------------------------------------------------- */

/* Where each port goes: the guest's address and port, 0 for nowhere. */
typedef struct {
  uint64_t to[2][65536];
} Destinations;

static void
point (Destinations *map, bool udp, unsigned first, unsigned last,
       const VpAddr *target, unsigned to)
{
  const uint8_t *b = target->bytes;
  uint64_t addr = ((uint64_t) b[0] << 24) | ((uint64_t) b[1] << 16) |
                  ((uint64_t) b[2] << 8) | b[3];

  for (unsigned port = first; port <= last; port++, to++)
    map->to[udp ? 1 : 0][port] = (addr << 16) | (to & 0xffff);
}

static bool
same_cut (const VpCut *a, const VpCut *b)
{
  return a->kind == b->kind && a->udp == b->udp &&
         vp_addr_equal (&a->target.addr, &b->target.addr);
}

/* Appends the port, or makes the last cut one port longer. */
static void
add_cut (GArray *cuts, const VpCut *cut)
{
  if (cuts->len > 0) {
    VpCut *last = &g_array_index (cuts, VpCut, cuts->len - 1);
    if (same_cut (last, cut) && last->last + 1 == cut->first) {
      last->last = cut->last;
      return;
    }
  }
  g_array_append_val (cuts, *cut);
}

static void
cut_port (GArray *cuts, bool udp, unsigned port, uint64_t was)
{
  VpCut cut = { .udp = udp,
                .first = (uint16_t) port,
                .last = (uint16_t) port,
                .target = { .prefix = 32 } };
  uint32_t addr = (uint32_t) (was >> 16);

  if (was != 0) {
    cut.kind = VP_CUT_FORWARD;
    cut.target.addr.family = AF_INET;
    for (unsigned i = 0; i < 4; i++)
      cut.target.addr.bytes[i] = (uint8_t) (addr >> (24 - 8 * i));
    add_cut (cuts, &cut);
  } else if (udp) {
    /* A client that kept sending before the forward was there has an entry
     * that leads to the host; tcp begins anew by itself. */
    cut.kind = VP_CUT_LOCAL;
    add_cut (cuts, &cut);
  }
}

GArray *
vp_forward_plan_cuts (const GPtrArray *found, const GPtrArray *chosen)
{
  GArray *cuts = g_array_new (FALSE, FALSE, sizeof (VpCut));
  g_autofree Destinations *was = g_new0 (Destinations, 1);
  g_autofree Destinations *is = g_new0 (Destinations, 1);

  for (guint i = 0; i < found->len; i++) {
    const VpForwardRule *rule = found->pdata[i];
    point (was, rule->udp, rule->first, rule->last, &rule->target,
           rule->to_first);
  }
  for (guint i = 0; i < chosen->len; i++) {
    const VpNetForward *forward = chosen->pdata[i];
    point (is, forward->udp, forward->first, forward->last, &forward->target,
           forward->to_first);
  }
  for (unsigned udp = 0; udp < 2; udp++)
    for (unsigned port = 0; port < 65536; port++)
      if (was->to[udp][port] != is->to[udp][port])
        cut_port (cuts, udp != 0, port, was->to[udp][port]);
  return cuts;
}
