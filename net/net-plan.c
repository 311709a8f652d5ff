/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-plan: the comparison of what is wanted with what was found.
 *
 * A bridge is ours when it bears the MAC that is derived from its name; its
 * alias says to a person, and to us after a change of prefix, which address
 * we gave it.  An address that somebody else put on it stays. */
#include "config.h"

#include "net/net-plan.h"

#include "net/net-plan-private.h"
#include "net/sysctl.h"

#include <netinet/in.h>
#include <string.h>

#define REDIRECTS "net/ipv4/conf/all/accept_redirects"

/* --- plain data -------------------------------------------------------- */

VpNetFound *
vp_net_found_new (void)
{
  VpNetFound *found = g_new0 (VpNetFound, 1);

  found->links = g_ptr_array_new_with_free_func ((GDestroyNotify) vp_link_free);
  found->tables = vp_tables_new ();
  found->listeners = g_array_new (FALSE, TRUE, sizeof (VpListener));
  g_array_set_clear_func (found->listeners, (GDestroyNotify) vp_listener_clear);
  found->sysctls =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  found->dnsmasq =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_dnsmasq_found_free);
  found->state = vp_net_state_new ();
  return found;
}

void
vp_net_found_free (VpNetFound *found)
{
  if (found == NULL)
    return;
  g_clear_pointer (&found->links, g_ptr_array_unref);
  g_clear_pointer (&found->listeners, g_array_unref);
  g_clear_pointer (&found->dnsmasq, g_ptr_array_unref);
  g_hash_table_unref (found->sysctls);
  vp_tables_free (found->tables);
  vp_net_state_free (found->state);
  g_free (found);
}

void
vp_net_change_free (VpNetChange *change)
{
  if (change == NULL)
    return;
  g_free (change->step.words);
  g_free (change->step.guest);
  g_free (change->step.subject);
  g_free (change->name);
  g_free (change->text);
  g_clear_pointer (&change->cuts, g_array_unref);
  g_free (change);
}

void
vp_net_plan_free (VpNetPlan *plan)
{
  if (plan == NULL)
    return;
  g_clear_pointer (&plan->changes, g_ptr_array_unref);
  g_clear_pointer (&plan->forwards, g_ptr_array_unref);
  g_clear_pointer (&plan->chosen, g_ptr_array_unref);
  g_clear_pointer (&plan->warnings, g_ptr_array_unref);
  vp_tables_free (plan->tables);
  vp_net_state_free (plan->state);
  g_free (plan);
}

char *
vp_net_state_path (const VpNetHostConfig *config)
{
  return g_build_filename (config->runtime_dir, "net.state", NULL);
}

bool
vp_net_link_is_ours (const VpLink *link)
{
  VpMac mac = vp_net_bridge_mac (link->name);
  return link->bridge && memcmp (mac.bytes, link->mac.bytes, 6) == 0;
}

/* --- the planner ------------------------------------------------------- */

VpNetChange *
vp_planner_add (Planner *planner, VpChangeKind kind, const char *name,
                const char *text, char *words, const char *subject)
{
  VpNetChange *change = g_new0 (VpNetChange, 1);

  change->kind = kind;
  change->name = g_strdup (name);
  change->text = g_strdup (text);
  change->step.words = words;
  change->step.subject = g_strdup (subject);
  g_ptr_array_add (planner->plan->changes, change);
  return change;
}

const char *
vp_planner_sysctl (const Planner *planner, const char *key)
{
  return g_hash_table_lookup (planner->found->sysctls, key);
}

GPtrArray *
vp_net_plan_sysctls (const VpNetWanted *wanted)
{
  GPtrArray *keys = g_ptr_array_new_with_free_func (g_free);

  g_ptr_array_add (keys, g_strdup (VP_SYSCTL_IP_FORWARD));
  g_ptr_array_add (keys, g_strdup (VP_SYSCTL_BRIDGE_FILTER));
  g_ptr_array_add (keys, g_strdup (REDIRECTS));
  for (guint i = 0; i < wanted->nets->len; i++)
    vp_planner_bridge_sysctls (wanted->nets->pdata[i], keys);
  return keys;
}

/* Networks that cannot be, whatever the host looks like. */
static bool
check_networks (const Planner *planner, GError **error)
{
  const GPtrArray *nets = planner->wanted->nets;

  for (guint i = 0; i < nets->len; i++) {
    const VpNet *net = nets->pdata[i];
    const VpLink *link = vp_links_find (planner->found->links, net->bridge);

    if (net->address.addr.family != AF_INET || net->address.prefix < 8 ||
        net->address.prefix > 30 || strlen (net->bridge) > 15) {
      g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_ADDRESS,
                   "network %s: its address must be IPv4 with a prefix of 8 "
                   "to 30 bits, its bridge's name at most 15 bytes",
                   net->name);
      return false;
    }
    if (link != NULL && !vp_net_link_is_ours (link)) {
      g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_OVERLAP,
                   "network %s: a link %s exists that is not ours", net->name,
                   net->bridge);
      return false;
    }
    for (guint j = 0; j < i; j++) {
      const VpNet *other = nets->pdata[j];
      if (strcmp (net->name, other->name) != 0 &&
          strcmp (net->bridge, other->bridge) != 0 &&
          !vp_cidr_overlaps (&net->address, &other->address))
        continue;
      g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_OVERLAP,
                   "networks %s and %s share a name, a bridge or addresses",
                   other->name, net->name);
      return false;
    }
  }
  return true;
}

/* --- tables ------------------------------------------------------------ */

/* A blind table that we wrote in this generation is as we wrote it. */
static bool
blind_is_right (const Planner *planner, const VpTables *wanted, VpTableId id)
{
  const char *known = planner->found->state->blind[id];
  g_autofree char *now = NULL;

  if (!planner->found->tables->table[id].blind || known == NULL)
    return false;
  now = vp_net_blind_mark (planner->found->generation, wanted);
  return strcmp (known, now) == 0;
}

static bool
add_table (Planner *planner, const VpTables *found, const VpTables *wanted,
           VpTableId id)
{
  g_autofree char *words = NULL;
  g_autofree char *text = NULL;
  VpNetChange *change;

  if (blind_is_right (planner, wanted, id))
    return false;
  text = vp_tables_diff (found, wanted, id, planner->found->state->learned,
                         &words);
  if (text == NULL)
    return false;
  change = vp_planner_add (planner, VP_CHANGE_TABLES, NULL, text,
                           g_steal_pointer (&words), NULL);
  change->table = id;
  return true;
}

static bool
has_rule (const VpTables *tables, VpTableId id, const char *chain_name,
          const char *rule)
{
  const VpChain *chain = vp_tables_chain (tables, id, chain_name);

  return chain != NULL && g_ptr_array_find_with_equal_func (chain->rules, rule,
                                                            g_str_equal, NULL);
}

/* Whether the network's guards are in the kernel already. */
static bool
is_guarded (const Planner *planner, const VpNet *net)
{
  VpCidr cidr = net->address;
  g_autofree char *prefix = NULL, *raw = NULL, *fwd = NULL;

  cidr.addr = vp_cidr_network (&net->address);
  prefix = vp_cidr_to_string (&cidr);
  raw = g_strdup_printf ("-d %s ! -i %s -j DROP", prefix, net->bridge);
  fwd = g_strdup_printf ("-o %s -j DROP", net->bridge);
  return has_rule (planner->found->tables, VP_TABLE_RAW, "VPROV-RAW", raw) &&
         has_rule (planner->found->tables, VP_TABLE_FILTER, "VPROV-FWD", fwd);
}

/* The nat table before any guard goes: without what is no longer wanted, and
 * without what is not guarded yet.  NULL where no guard goes. */
static VpTables *
render_closing (const Planner *planner)
{
  const VpTables *found = planner->found->tables;
  g_autoptr (VpNetWanted) guarded = NULL;
  g_autoptr (GPtrArray) forwards = NULL;

  if (!vp_tables_has_extra (found, planner->plan->tables, VP_TABLE_RAW) &&
      !vp_tables_has_extra (found, planner->plan->tables, VP_TABLE_FILTER))
    return NULL;
  guarded = vp_net_wanted_new ();
  forwards = g_ptr_array_new ();
  for (guint i = 0; i < planner->wanted->nets->len; i++) {
    const VpNet *net = planner->wanted->nets->pdata[i];
    if (is_guarded (planner, net))
      g_ptr_array_add (guarded->nets, vp_net_copy (net));
  }
  for (guint i = 0; i < planner->plan->chosen->len; i++) {
    VpNetForward *forward = planner->plan->chosen->pdata[i];
    if (vp_net_wanted_find (guarded, forward->network) != NULL)
      g_ptr_array_add (forwards, forward);
  }
  return vp_forward_plan_render (guarded, forwards, &planner->options);
}

/* --- forwards in words ------------------------------------------------- */

static bool
rule_is_of (const VpForwardRule *rule, const VpNetForward *forward)
{
  return rule->udp == forward->udp && rule->first >= forward->first &&
         rule->last <= forward->last &&
         rule->to_first - rule->first == forward->to_first - forward->first &&
         vp_addr_equal (&rule->target, &forward->target) &&
         strcmp (rule->guest, forward->guest) == 0 &&
         strcmp (rule->id, forward->id) == 0;
}

static char *
forward_words (const VpNetForward *forward)
{
  g_autofree char *target = vp_addr_to_string (&forward->target);
  g_autoptr (GString) words = g_string_new (NULL);

  g_string_printf (words, "forward %s %u", forward->udp ? "udp" : "tcp",
                   forward->first);
  if (forward->last != forward->first)
    g_string_append_printf (words, "-%u", forward->last);
  g_string_append_printf (words, " to %s:%u", target, forward->to_first);
  if (forward->last != forward->first)
    g_string_append_printf (words, "-%u", forward->to_last);
  return g_string_free (g_steal_pointer (&words), FALSE);
}

static char *
forward_key (const char *guest, const char *id, bool udp)
{
  return g_strdup_printf ("%s %s:%s", udp ? "udp" : "tcp", guest, id);
}

static void
note_forwards (Planner *planner)
{
  g_autoptr (GHashTable) ports =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) chosen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) closed =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < planner->plan->chosen->len; i++) {
    VpNetForward *forward = planner->plan->chosen->pdata[i];
    g_hash_table_insert (
        chosen, forward_key (forward->guest, forward->id, forward->udp),
        forward);
  }
  for (guint i = 0; i < planner->rules->len; i++) {
    const VpForwardRule *rule = planner->rules->pdata[i];
    char *key = forward_key (rule->guest, rule->id, rule->udp);
    const VpNetForward *forward = g_hash_table_lookup (chosen, key);

    if (forward == NULL) {
      if (g_hash_table_add (closed, key))
        vp_planner_add (planner, VP_CHANGE_NOTE, NULL, NULL,
                        g_strdup_printf ("close forward %s of guest %s",
                                         rule->id, rule->guest),
                        rule->id)
            ->step.guest = g_strdup (rule->guest);
      continue;
    }
    if (rule_is_of (rule, forward)) {
      unsigned n = GPOINTER_TO_UINT (g_hash_table_lookup (ports, key));
      n += (unsigned) rule->last - rule->first + 1;
      g_hash_table_replace (ports, key, GUINT_TO_POINTER (n));
    } else
      g_free (key);
  }
  for (guint i = 0; i < planner->plan->chosen->len; i++) {
    const VpNetForward *forward = planner->plan->chosen->pdata[i];
    g_autofree char *key =
        forward_key (forward->guest, forward->id, forward->udp);
    VpNetChange *change;

    if (GPOINTER_TO_UINT (g_hash_table_lookup (ports, key)) ==
        (unsigned) forward->last - forward->first + 1)
      continue;
    change = vp_planner_add (planner, VP_CHANGE_NOTE, NULL, NULL,
                             forward_words (forward), forward->id);
    change->step.guest = g_strdup (forward->guest);
  }
}

/* --- all together ------------------------------------------------------ */

static void
add_state (Planner *planner, const VpNetState *before, const VpNetState *after)
{
  g_autofree char *old = vp_net_state_to_string (before);
  g_autofree char *text = vp_net_state_to_string (after);

  if (strcmp (old, text) != 0)
    vp_planner_add (planner, VP_CHANGE_STATE, NULL, text, NULL, NULL);
}

/* Turning ip_forward on makes the kernel change other settings too, which
 * turning it off would not bring back. */
static void
save_sysctls (const Planner *planner, VpNetState *state)
{
  g_autoptr (GList) keys = g_list_sort (
      g_hash_table_get_keys (planner->found->sysctls), (GCompareFunc) strcmp);

  if (vp_net_state_sysctl (state, VP_SYSCTL_IP_FORWARD) != NULL)
    return;
  vp_net_state_save_sysctl (state, VP_SYSCTL_IP_FORWARD, "0", "1");
  for (GList *at = keys; at != NULL; at = at->next)
    if (strcmp (at->data, REDIRECTS) == 0 ||
        (g_str_has_suffix (at->data, "/forwarding") &&
         strcmp (vp_planner_sysctl (planner, at->data), "1") == 0))
      vp_net_state_save_sysctl (state, at->data,
                                vp_planner_sysctl (planner, at->data), NULL);
}

static void
restore_sysctls (Planner *planner)
{
  const GPtrArray *sysctls = planner->found->state->sysctls;
  bool follow = false;

  for (guint i = 0; i < sysctls->len; i++) {
    const VpSavedSysctl *saved = sysctls->pdata[i];
    const char *now = vp_planner_sysctl (planner, saved->key);

    /* Back already: a pass before this one may have come just so far, so
     * what follows it is still to do. */
    if (saved->ours != NULL)
      follow = g_strcmp0 (now, saved->ours) == 0 ||
               g_strcmp0 (now, saved->before) == 0;
    if (!follow || (saved->ours != NULL && g_strcmp0 (now, saved->before) == 0))
      continue;
    vp_planner_add (
        planner, VP_CHANGE_SYSCTL, saved->key, saved->before,
        saved->ours == NULL
            ? NULL
            : g_strdup_printf ("put %s back to %s", saved->key, saved->before),
        NULL);
  }
}

/* Connections of a network that goes away with its bridge. */
static void
cut_networks (const Planner *planner, GArray *cuts)
{
  for (guint i = 0; i < planner->found->links->len; i++) {
    const VpLink *link = planner->found->links->pdata[i];
    const char *space = strrchr (link->alias, ' ');
    VpCut cut = { .kind = VP_CUT_NETWORK };
    bool wanted = false;

    for (guint n = 0; n < planner->wanted->nets->len; n++)
      wanted =
          wanted || strcmp (((VpNet *) planner->wanted->nets->pdata[n])->bridge,
                            link->name) == 0;
    if (wanted || !vp_net_link_is_ours (link) || space == NULL ||
        !vp_cidr_parse (space + 1, &cut.target))
      continue;
    cut.target.addr = vp_cidr_network (&cut.target);
    g_array_append_val (cuts, cut);
  }
}

/* What has to be known about the way from here to there, also if we are
 * killed in the middle of it. */
static VpNetState *
intent (const Planner *planner)
{
  VpNetState *state = vp_net_state_copy (planner->found->state);
  g_autoptr (GArray) cuts = NULL;

  if (planner->forward_on)
    save_sysctls (planner, state);
  for (unsigned id = 0; id < VP_N_TABLES; id++)
    if (planner->wanted->nets->len > 0 &&
        !planner->found->tables->table[id].present)
      state->made[id] = true;
  if (!planner->found->tables->table[VP_TABLE_NAT].blind) {
    cuts = vp_forward_plan_cuts (planner->rules, planner->plan->chosen);
    g_array_append_vals (state->cuts, cuts->data, cuts->len);
  }
  cut_networks (planner, state->cuts);
  return state;
}

static void
add_cuts (Planner *planner, const VpNetState *state)
{
  GArray *cuts;

  if (state->cuts->len == 0)
    return;
  cuts = g_array_new (FALSE, FALSE, sizeof (VpCut));
  g_array_append_vals (cuts, state->cuts->data, state->cuts->len);
  vp_planner_add (planner, VP_CHANGE_CUT, NULL, NULL,
                  g_strdup ("cut stale connections"), NULL)
      ->cuts = cuts;
}

/* Everything goes. */
static void
plan_removal (Planner *planner, const VpNetState *state)
{
  const VpTables *found = planner->found->tables;
  g_autofree char *folder =
      g_build_filename (planner->config->runtime_dir, "dnsmasq", NULL);
  g_autofree char *leases =
      g_build_filename (planner->config->state_dir, "dnsmasq", NULL);

  (void) add_table (planner, found, planner->plan->tables, VP_TABLE_NAT);
  add_cuts (planner, state);
  vp_planner_remove_dnsmasq (planner);
  if (planner->found->dnsmasq->len > 0) {
    vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, folder, NULL, NULL, NULL);
    vp_planner_add (planner, VP_CHANGE_FILE_REMOVE, leases, NULL, NULL, NULL);
  }
  vp_planner_remove_links (planner);
  restore_sysctls (planner);
  (void) add_table (planner, found, planner->plan->tables, VP_TABLE_FILTER);
  (void) add_table (planner, found, planner->plan->tables, VP_TABLE_RAW);
  for (unsigned id = 0; id < VP_N_TABLES; id++)
    if (state->made[id])
      vp_planner_add (planner, VP_CHANGE_TABLE_DROP, NULL, NULL,
                      g_strdup_printf ("remove table %s where it is empty",
                                       vp_table_name (id)),
                      NULL)
          ->table = (VpTableId) id;
}

static void
plan_networks (Planner *planner, const VpNetState *state)
{
  const VpTables *found = planner->found->tables;
  const VpTables *wanted = planner->plan->tables;
  g_autoptr (VpTables) closing = render_closing (planner);

  if (closing != NULL && add_table (planner, found, closing, VP_TABLE_NAT)) {
    vp_tables_pretend (closing);
    found = closing;
  }
  vp_planner_remove_dnsmasq (planner);
  vp_planner_remove_links (planner);
  (void) add_table (planner, planner->found->tables, wanted, VP_TABLE_RAW);
  (void) add_table (planner, planner->found->tables, wanted, VP_TABLE_FILTER);
  if (planner->forward_on)
    vp_planner_add (
        planner, VP_CHANGE_SYSCTL, VP_SYSCTL_IP_FORWARD, "1",
        g_strdup ("turn ip_forward on, closed for links that are not ours"),
        NULL);
  for (guint i = 0; i < planner->wanted->nets->len; i++)
    vp_planner_link (planner, planner->wanted->nets->pdata[i]);
  (void) add_table (planner, found, wanted, VP_TABLE_NAT);
  add_cuts (planner, state);
  for (guint i = 0; i < planner->wanted->nets->len; i++)
    vp_planner_dnsmasq (planner, planner->wanted->nets->pdata[i]);
}

char *
vp_net_blind_mark (uint32_t generation, const VpTables *wanted)
{
  g_autofree char *text = vp_tables_to_string (wanted);
  g_autofree char *digest =
      g_compute_checksum_for_string (G_CHECKSUM_SHA256, text, -1);

  return g_strdup_printf ("%u %s", generation, digest);
}

/* The state when all is done. */
static VpNetState *
outcome (const Planner *planner, const VpNetState *intent_state)
{
  VpNetState *state;
  GHashTableIter iter;
  gpointer key;

  if (planner->wanted->nets->len == 0)
    return vp_net_state_new ();
  state = vp_net_state_copy (intent_state);
  g_array_set_size (state->cuts, 0);
  g_hash_table_iter_init (&iter, state->learned);
  while (g_hash_table_iter_next (&iter, &key, NULL)) {
    const char *chain = strchr (key, ' ');
    bool wanted = false;

    for (unsigned id = 0; id < VP_N_TABLES; id++)
      wanted = wanted ||
               vp_tables_chain (planner->plan->tables, id, chain + 1) != NULL;
    if (!wanted)
      g_hash_table_iter_remove (&iter);
  }
  return state;
}

VpNetPlan *
vp_net_plan (const VpNetHostConfig *config, const VpNetWanted *wanted,
             const VpNetFound *found, GError **error)
{
  g_autoptr (VpNetPlan) plan = g_new0 (VpNetPlan, 1);
  g_autoptr (GPtrArray) rules = vp_forward_rules (found->tables);
  g_autoptr (VpNetState) intent_state = NULL;
  Planner planner = { config, wanted, found, plan, { 0 }, rules, false };

  plan->changes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_net_change_free);
  plan->warnings = g_ptr_array_new_with_free_func (g_free);
  if (found->tables->mixed && wanted->nets->len > 0)
    g_ptr_array_add (plan->warnings,
                     g_strdup ("both iptables-nft and iptables-legacy have "
                               "tables on this host: what either of them "
                               "drops is dropped"));
  if (!check_networks (&planner, error))
    return NULL;
  vp_forward_plan_choose (wanted, found->listeners, rules, &plan->chosen,
                          &plan->forwards);
  planner.forward_on =
      wanted->nets->len > 0 &&
      g_strcmp0 (vp_planner_sysctl (&planner, VP_SYSCTL_IP_FORWARD), "0") == 0;
  planner.options.closed =
      planner.forward_on ||
      vp_net_state_sysctl (found->state, VP_SYSCTL_IP_FORWARD) != NULL;
  planner.options.bridge_filter =
      vp_planner_sysctl (&planner, VP_SYSCTL_BRIDGE_FILTER) != NULL;
  plan->tables =
      vp_forward_plan_render (wanted, plan->chosen, &planner.options);

  intent_state = intent (&planner);
  add_state (&planner, found->state, intent_state);
  if (!found->tables->table[VP_TABLE_NAT].blind)
    note_forwards (&planner);
  if (wanted->nets->len == 0)
    plan_removal (&planner, intent_state);
  else
    plan_networks (&planner, intent_state);
  plan->state = outcome (&planner, intent_state);
  add_state (&planner, intent_state, plan->state);
  return g_steal_pointer (&plan);
}
