/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* tables: iptables rules as text, and the difference between two states.
 *
 * A transaction rewrites exactly the chains whose text differs: ":CHAIN" in
 * iptables-restore --noflush empties a chain of ours and leaves all others
 * alone.  Order inside it: declare, fill, move the jumps, then remove what is
 * no longer referred to.  A jump is moved by deleting every copy that was
 * seen and inserting one; the kernel shows either state, never none. */
#include "config.h"

#include "net/tables.h"

#include <string.h>

const char *
vp_table_name (VpTableId id)
{
  static const char *const names[] = {
    [VP_TABLE_RAW] = "raw",
    [VP_TABLE_FILTER] = "filter",
    [VP_TABLE_NAT] = "nat",
  };

  return (unsigned) id < G_N_ELEMENTS (names) ? names[id] : "unknown";
}

static void
chain_free (VpChain *chain)
{
  g_free (chain->name);
  g_free (chain->policy);
  g_ptr_array_unref (chain->rules);
  g_free (chain);
}

static void
jump_free (VpJump *jump)
{
  g_free (jump->chain);
  g_free (jump->target);
  g_free (jump->rule);
  g_free (jump);
}

VpTables *
vp_tables_new (void)
{
  VpTables *tables = g_new0 (VpTables, 1);

  for (unsigned i = 0; i < VP_N_TABLES; i++)
    tables->table[i].chains = g_hash_table_new_full (
        g_str_hash, g_str_equal, NULL, (GDestroyNotify) chain_free);
  tables->jumps = g_ptr_array_new_with_free_func ((GDestroyNotify) jump_free);
  return tables;
}

void
vp_tables_free (VpTables *tables)
{
  if (tables == NULL)
    return;
  for (unsigned i = 0; i < VP_N_TABLES; i++)
    g_hash_table_unref (tables->table[i].chains);
  g_ptr_array_unref (tables->jumps);
  g_free (tables);
}

VpChain *
vp_tables_chain (const VpTables *tables, VpTableId id, const char *name)
{
  return g_hash_table_lookup (tables->table[id].chains, name);
}

VpChain *
vp_tables_add_chain (VpTables *tables, VpTableId id, const char *name,
                     const char *policy)
{
  VpChain *chain = vp_tables_chain (tables, id, name);

  tables->table[id].present = true;
  if (chain != NULL)
    return chain;
  chain = g_new0 (VpChain, 1);
  chain->name = g_strdup (name);
  chain->policy = g_strdup (policy);
  chain->rules = g_ptr_array_new_with_free_func (g_free);
  g_hash_table_insert (tables->table[id].chains, chain->name, chain);
  return chain;
}

void
vp_chain_add (VpChain *chain, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_ptr_array_add (chain->rules, g_strdup_vprintf (format, args));
  va_end (args);
}

void
vp_tables_add_jump (VpTables *tables, VpTableId id, const char *chain,
                    const char *match, const char *target, bool last)
{
  VpJump *jump = g_new0 (VpJump, 1);

  jump->table = id;
  jump->chain = g_strdup (chain);
  jump->target = g_strdup (target);
  jump->rule = g_strdup_printf ("%s%s-m comment --comment \"vprov:jump\" -j %s",
                                match, match[0] != '\0' ? " " : "", target);
  jump->last = last;
  g_ptr_array_add (tables->jumps, jump);
}

static int
table_by_name (const char *name)
{
  for (unsigned i = 0; i < VP_N_TABLES; i++)
    if (strcmp (vp_table_name (i), name) == 0)
      return (int) i;
  return -1;
}

/* ":NAME POLICY [packets:bytes]" or "-A NAME rule"; id < 0: not our table. */
static bool
parse_line (VpTables *tables, int id, const char *line)
{
  g_auto (GStrv) words = g_strsplit (line + (line[0] == ':' ? 1 : 0), " ", 3);

  if (line[0] == ':') {
    if (words[0] == NULL || words[1] == NULL)
      return false;
    if (id >= 0)
      vp_tables_add_chain (tables, (VpTableId) id, words[0], words[1]);
    return true;
  }
  if (words[0] == NULL || strcmp (words[0], "-A") != 0 || words[1] == NULL)
    return false;
  if (id >= 0) {
    VpChain *chain = vp_tables_chain (tables, (VpTableId) id, words[1]);
    if (chain == NULL)
      return false;
    vp_chain_add (chain, "%s", words[2] != NULL ? words[2] : "");
  }
  return true;
}

bool
vp_tables_parse (VpTables *tables, const char *text)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  bool inside = false;
  int id = -1;

  for (char **line = lines; *line != NULL; line++) {
    if ((*line)[0] == '\0' || (*line)[0] == '#')
      continue;
    if ((*line)[0] == '*') {
      if (inside)
        return false;
      inside = true;
      id = table_by_name (*line + 1);
      if (id >= 0)
        tables->table[id].present = true;
    } else if (strcmp (*line, "COMMIT") == 0) {
      if (!inside)
        return false;
      inside = false;
    } else if (!inside || !parse_line (tables, id, *line))
      return false;
  }
  return !inside;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (a, b);
}

/* Names of the table's chains, sorted. */
static GList *
chain_names (const VpTables *tables, VpTableId id)
{
  return g_list_sort (g_hash_table_get_keys (tables->table[id].chains),
                      compare_names);
}

static void
append_rules (GString *text, const VpChain *chain)
{
  for (guint i = 0; i < chain->rules->len; i++)
    g_string_append_printf (text, "-A %s %s\n", chain->name,
                            (const char *) chain->rules->pdata[i]);
}

char *
vp_tables_to_string (const VpTables *tables)
{
  GString *text = g_string_new (NULL);

  for (unsigned id = 0; id < VP_N_TABLES; id++) {
    g_autoptr (GList) names = chain_names (tables, id);

    if (!tables->table[id].present)
      continue;
    g_string_append_printf (text, "*%s\n", vp_table_name (id));
    for (GList *at = names; at != NULL; at = at->next)
      g_string_append_printf (text, ":%s %s [0:0]\n", (char *) at->data,
                              vp_tables_chain (tables, id, at->data)->policy);
    for (guint i = 0; i < tables->jumps->len; i++) {
      const VpJump *jump = tables->jumps->pdata[i];
      if (jump->table == id)
        g_string_append_printf (text, "-%c %s %s%s\n", jump->last ? 'A' : 'I',
                                jump->chain, jump->last ? "" : "1 ",
                                jump->rule);
    }
    for (GList *at = names; at != NULL; at = at->next)
      append_rules (text, vp_tables_chain (tables, id, at->data));
    g_string_append (text, "COMMIT\n");
  }
  return g_string_free (text, FALSE);
}

static char *
chain_digest (const VpChain *chain)
{
  g_autoptr (GString) text = g_string_new (NULL);

  append_rules (text, chain);
  return g_compute_checksum_for_string (G_CHECKSUM_SHA256, text->str,
                                        (gssize) text->len);
}

static bool
same_rules (const VpChain *a, const VpChain *b)
{
  if (a->rules->len != b->rules->len)
    return false;
  for (guint i = 0; i < a->rules->len; i++)
    if (strcmp (a->rules->pdata[i], b->rules->pdata[i]) != 0)
      return false;
  return true;
}

VpLearned *
vp_learned_new (void)
{
  return g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
}

bool
vp_learned_note (VpLearned *learned, const VpTables *wanted,
                 const VpTables *found)
{
  bool noted = false;

  for (unsigned id = 0; id < VP_N_TABLES; id++) {
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init (&iter, wanted->table[id].chains);
    while (g_hash_table_iter_next (&iter, NULL, &value)) {
      const VpChain *want = value;
      const VpChain *have = vp_tables_chain (found, id, want->name);
      g_autofree char *a = NULL, *b = NULL;

      if (have == NULL || same_rules (want, have) ||
          have->rules->len != want->rules->len ||
          strcmp (want->name, VP_CHAIN_USER) == 0)
        continue;
      a = chain_digest (want);
      b = chain_digest (have);
      g_hash_table_replace (
          learned, g_strdup_printf ("%s %s", vp_table_name (id), want->name),
          g_strdup_printf ("%s %s", a, b));
      noted = true;
    }
  }
  return noted;
}

/* VPROV-USER is right whatever is in it. */
static bool
chain_is_right (const VpChain *want, const VpChain *have, VpTableId id,
                const VpLearned *learned)
{
  g_autofree char *key = NULL, *a = NULL, *b = NULL, *both = NULL;
  const char *known;

  if (have == NULL)
    return false;
  if (strcmp (want->name, VP_CHAIN_USER) == 0 || same_rules (want, have))
    return true;
  if (learned == NULL)
    return false;
  key = g_strdup_printf ("%s %s", vp_table_name (id), want->name);
  known = g_hash_table_lookup ((GHashTable *) learned, key);
  if (known == NULL)
    return false;
  a = chain_digest (want);
  b = chain_digest (have);
  both = g_strdup_printf ("%s %s", a, b);
  return strcmp (known, both) == 0;
}

/* The chain that a rule goes to, as " -j X" or " -g X" at its end. */
static const char *
rule_target (const char *rule)
{
  const char *space = strrchr (rule, ' ');

  if (space == NULL || space - rule < 2)
    return NULL;
  if (strncmp (space - 2, "-j", 2) == 0 || strncmp (space - 2, "-g", 2) == 0)
    return space + 1;
  return NULL;
}

static bool
is_ours (const char *chain)
{
  return g_str_has_prefix (chain, VP_CHAIN_PREFIX);
}

/* Whether the chain exists now and must go. */
static bool
goes_away (const VpTables *found, const VpTables *wanted, VpTableId id,
           const char *name)
{
  const VpChain *have = vp_tables_chain (found, id, name);

  if (have == NULL || !is_ours (name) ||
      vp_tables_chain (wanted, id, name) != NULL)
    return false;
  if (strcmp (name, VP_CHAIN_USER) == 0)
    return !found->table[id].blind && have->rules->len == 0;
  return true;
}

/* Puts our jumps of one foreign chain right: all copies out, one in.  A rule
 * of somebody else that refers to a chain that goes away goes as well. */
static unsigned
diff_foreign_chain (GString *text, const VpTables *found,
                    const VpTables *wanted, VpTableId id, const VpChain *have)
{
  unsigned moved = 0;

  for (guint i = 0; i < wanted->jumps->len; i++) {
    const VpJump *jump = wanted->jumps->pdata[i];
    guint copies = 0, place = 0;

    if (jump->table != id || strcmp (jump->chain, have->name) != 0)
      continue;
    for (guint r = 0; r < have->rules->len; r++)
      if (g_strcmp0 (rule_target (have->rules->pdata[r]), jump->target) == 0) {
        place = r;
        copies++;
      }
    if (copies == 1 && place == (jump->last ? have->rules->len - 1 : 0) &&
        strcmp (have->rules->pdata[place], jump->rule) == 0)
      continue;
    for (guint r = 0; r < have->rules->len; r++)
      if (g_strcmp0 (rule_target (have->rules->pdata[r]), jump->target) == 0)
        g_string_append_printf (text, "-D %s %s\n", have->name,
                                (char *) have->rules->pdata[r]);
    g_string_append_printf (text, "-%c %s %s%s\n", jump->last ? 'A' : 'I',
                            have->name, jump->last ? "" : "1 ", jump->rule);
    moved++;
  }
  for (guint r = 0; r < have->rules->len; r++) {
    const char *target = rule_target (have->rules->pdata[r]);
    if (target != NULL && goes_away (found, wanted, id, target)) {
      g_string_append_printf (text, "-D %s %s\n", have->name,
                              (char *) have->rules->pdata[r]);
      moved++;
    }
  }
  return moved;
}

/* Jumps into built-in chains, also those of a table that is not there yet. */
static unsigned
diff_jumps (GString *text, const VpTables *found, const VpTables *wanted,
            VpTableId id)
{
  g_autoptr (GList) names = chain_names (found, id);
  unsigned moved = 0;

  for (GList *at = names; at != NULL; at = at->next)
    if (!is_ours (at->data))
      moved += diff_foreign_chain (text, found, wanted, id,
                                   vp_tables_chain (found, id, at->data));
  for (guint i = 0; i < wanted->jumps->len; i++) {
    const VpJump *jump = wanted->jumps->pdata[i];
    if (jump->table != id || vp_tables_chain (found, id, jump->chain) != NULL)
      continue;
    g_string_append_printf (text, "-%c %s %s%s\n", jump->last ? 'A' : 'I',
                            jump->chain, jump->last ? "" : "1 ", jump->rule);
    moved++;
  }
  return moved;
}

static char *
diff_words (VpTableId id, unsigned written, unsigned jumps, unsigned removed)
{
  GString *words = g_string_new (NULL);

  g_string_printf (words, "table %s:", vp_table_name (id));
  if (written > 0)
    g_string_append_printf (words, " write %u chain%s,", written,
                            written == 1 ? "" : "s");
  if (jumps > 0)
    g_string_append_printf (words, " set %u jump%s,", jumps,
                            jumps == 1 ? "" : "s");
  if (removed > 0)
    g_string_append_printf (words, " remove %u chain%s,", removed,
                            removed == 1 ? "" : "s");
  g_string_truncate (words, words->len - 1);
  return g_string_free (words, FALSE);
}

char *
vp_tables_diff (const VpTables *found, const VpTables *wanted, VpTableId id,
                const VpLearned *learned, char **ret_words)
{
  g_autoptr (GString) head = g_string_new (NULL);
  g_autoptr (GString) body = g_string_new (NULL);
  g_autoptr (GString) tail = g_string_new (NULL);
  g_autoptr (GList) want_names = chain_names (wanted, id);
  g_autoptr (GList) have_names = chain_names (found, id);
  unsigned written = 0, removed = 0, jumps;

  for (GList *at = want_names; at != NULL; at = at->next) {
    const VpChain *want = vp_tables_chain (wanted, id, at->data);
    const VpChain *have = vp_tables_chain (found, id, at->data);

    if (chain_is_right (want, have, id, learned))
      continue;
    g_string_append_printf (head, ":%s - [0:0]\n", want->name);
    append_rules (body, want);
    written++;
  }
  for (GList *at = have_names; at != NULL; at = at->next)
    if (goes_away (found, wanted, id, at->data)) {
      /* Emptied first: chains that go may refer to each other. */
      g_string_append_printf (head, ":%s - [0:0]\n", (char *) at->data);
      g_string_append_printf (tail, "-X %s\n", (char *) at->data);
      removed++;
    }
  jumps = diff_jumps (body, found, wanted, id);
  if (written + removed + jumps == 0)
    return NULL;
  if (ret_words != NULL)
    *ret_words = diff_words (id, written, jumps, removed);
  return g_strdup_printf ("*%s\n%s%s%sCOMMIT\n", vp_table_name (id), head->str,
                          body->str, tail->str);
}

bool
vp_tables_has_extra (const VpTables *found, const VpTables *wanted,
                     VpTableId id)
{
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init (&iter, found->table[id].chains);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpChain *have = value;
    const VpChain *want = vp_tables_chain (wanted, id, have->name);

    if (!is_ours (have->name) || strcmp (have->name, VP_CHAIN_USER) == 0)
      continue;
    if (want == NULL)
      return true;
    for (guint i = 0; i < have->rules->len; i++)
      if (!g_ptr_array_find_with_equal_func (want->rules, have->rules->pdata[i],
                                             g_str_equal, NULL))
        return true;
  }
  return false;
}

void
vp_tables_pretend (VpTables *wanted)
{
  for (guint i = 0; i < wanted->jumps->len; i++) {
    const VpJump *jump = wanted->jumps->pdata[i];
    VpChain *chain =
        vp_tables_add_chain (wanted, jump->table, jump->chain, "ACCEPT");

    if (jump->last)
      vp_chain_add (chain, "%s", jump->rule);
    else
      g_ptr_array_insert (chain->rules, 0, g_strdup (jump->rule));
  }
  g_ptr_array_set_size (wanted->jumps, 0);
}
