/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-state: one fact per line, words separated by single spaces.
 *
 *   vprovd-net 1
 *   sysctl KEY BEFORE OURS        kernel setting that we wrote
 *   follow KEY BEFORE             one that the kernel changed with it
 *   made TABLE
 *   blind TABLE GENERATION DIGEST
 *   learned TABLE CHAIN WANTED FOUND
 *   cut KIND PROTO FIRST LAST PREFIX */
#include "config.h"

#include "net/net-state.h"
#include "net/net.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HEAD "vprovd-net 1"

static void
saved_sysctl_free (VpSavedSysctl *saved)
{
  g_free (saved->key);
  g_free (saved->before);
  g_free (saved->ours);
  g_free (saved);
}

VpNetState *
vp_net_state_new (void)
{
  VpNetState *state = g_new0 (VpNetState, 1);

  state->sysctls =
      g_ptr_array_new_with_free_func ((GDestroyNotify) saved_sysctl_free);
  state->learned = vp_learned_new ();
  state->cuts = g_array_new (FALSE, TRUE, sizeof (VpCut));
  return state;
}

void
vp_net_state_free (VpNetState *state)
{
  if (state == NULL)
    return;
  g_ptr_array_unref (state->sysctls);
  g_hash_table_unref (state->learned);
  g_array_unref (state->cuts);
  for (unsigned i = 0; i < VP_N_TABLES; i++)
    g_free (state->blind[i]);
  g_free (state);
}

VpNetState *
vp_net_state_copy (const VpNetState *state)
{
  VpNetState *copy = vp_net_state_new ();
  GHashTableIter iter;
  gpointer key, value;

  for (guint i = 0; i < state->sysctls->len; i++) {
    const VpSavedSysctl *saved = state->sysctls->pdata[i];
    vp_net_state_save_sysctl (copy, saved->key, saved->before, saved->ours);
  }
  for (unsigned i = 0; i < VP_N_TABLES; i++) {
    copy->made[i] = state->made[i];
    copy->blind[i] = g_strdup (state->blind[i]);
  }
  g_hash_table_iter_init (&iter, state->learned);
  while (g_hash_table_iter_next (&iter, &key, &value))
    g_hash_table_insert (copy->learned, g_strdup (key), g_strdup (value));
  g_array_append_vals (copy->cuts, state->cuts->data, state->cuts->len);
  return copy;
}

const VpSavedSysctl *
vp_net_state_sysctl (const VpNetState *state, const char *key)
{
  for (guint i = 0; i < state->sysctls->len; i++) {
    const VpSavedSysctl *saved = state->sysctls->pdata[i];
    if (strcmp (saved->key, key) == 0)
      return saved;
  }
  return NULL;
}

void
vp_net_state_save_sysctl (VpNetState *state, const char *key,
                          const char *before, const char *ours)
{
  VpSavedSysctl *saved = g_new0 (VpSavedSysctl, 1);

  saved->key = g_strdup (key);
  saved->before = g_strdup (before);
  saved->ours = g_strdup (ours);
  g_ptr_array_add (state->sysctls, saved);
}

/* --- text -------------------------------------------------------------- */

static const char *const cut_words[] = {
  [VP_CUT_FORWARD] = "forward",
  [VP_CUT_LOCAL] = "local",
  [VP_CUT_NETWORK] = "network",
};

static void
append_cut (GString *text, const VpCut *cut)
{
  g_autofree char *prefix = cut->target.addr.family != 0
                                ? vp_cidr_to_string (&cut->target)
                                : g_strdup ("any");

  g_string_append_printf (text, "cut %s %s %u %u %s\n", cut_words[cut->kind],
                          cut->udp ? "udp" : "tcp", cut->first, cut->last,
                          prefix);
}

char *
vp_net_state_to_string (const VpNetState *state)
{
  GString *text = g_string_new (NULL);
  g_autoptr (GList) keys = g_list_sort (g_hash_table_get_keys (state->learned),
                                        (GCompareFunc) strcmp);

  for (guint i = 0; i < state->sysctls->len; i++) {
    const VpSavedSysctl *saved = state->sysctls->pdata[i];
    if (saved->ours != NULL)
      g_string_append_printf (text, "sysctl %s %s %s\n", saved->key,
                              saved->before, saved->ours);
    else
      g_string_append_printf (text, "follow %s %s\n", saved->key,
                              saved->before);
  }
  for (unsigned i = 0; i < VP_N_TABLES; i++) {
    if (state->made[i])
      g_string_append_printf (text, "made %s\n", vp_table_name (i));
    if (state->blind[i] != NULL)
      g_string_append_printf (text, "blind %s %s\n", vp_table_name (i),
                              state->blind[i]);
  }
  for (GList *at = keys; at != NULL; at = at->next)
    g_string_append_printf (
        text, "learned %s %s\n", (char *) at->data,
        (char *) g_hash_table_lookup (state->learned, at->data));
  for (guint i = 0; i < state->cuts->len; i++)
    append_cut (text, &g_array_index (state->cuts, VpCut, i));
  if (text->len > 0)
    g_string_prepend (text, HEAD "\n");
  return g_string_free (text, FALSE);
}

static int
find_table (const char *name)
{
  for (unsigned i = 0; i < VP_N_TABLES; i++)
    if (strcmp (name, vp_table_name (i)) == 0)
      return (int) i;
  return -1;
}

static bool
parse_cut (VpNetState *state, char **words)
{
  VpCut cut = { 0 };
  guint64 first, last;
  bool known = false;

  for (unsigned i = 0; i < G_N_ELEMENTS (cut_words); i++)
    if (strcmp (words[1], cut_words[i]) == 0) {
      cut.kind = (VpCutKind) i;
      known = true;
    }
  if (!known ||
      !g_ascii_string_to_unsigned (words[3], 10, 0, 65535, &first, NULL) ||
      !g_ascii_string_to_unsigned (words[4], 10, 0, 65535, &last, NULL) ||
      (strcmp (words[5], "any") != 0 && !vp_cidr_parse (words[5], &cut.target)))
    return false;
  cut.udp = strcmp (words[2], "udp") == 0;
  cut.first = (uint16_t) first;
  cut.last = (uint16_t) last;
  g_array_append_val (state->cuts, cut);
  return true;
}

static bool
parse_line (VpNetState *state, const char *line)
{
  g_auto (GStrv) words = g_strsplit (line, " ", -1);
  guint n = g_strv_length (words);
  int table = n >= 2 ? find_table (words[1]) : -1;

  if (n == 4 && strcmp (words[0], "sysctl") == 0)
    vp_net_state_save_sysctl (state, words[1], words[2], words[3]);
  else if (n == 3 && strcmp (words[0], "follow") == 0)
    vp_net_state_save_sysctl (state, words[1], words[2], NULL);
  else if (n == 2 && strcmp (words[0], "made") == 0 && table >= 0)
    state->made[table] = true;
  else if (n == 4 && strcmp (words[0], "blind") == 0 && table >= 0) {
    g_free (state->blind[table]);
    state->blind[table] = g_strdup_printf ("%s %s", words[2], words[3]);
  } else if (n == 5 && strcmp (words[0], "learned") == 0 && table >= 0)
    g_hash_table_replace (state->learned,
                          g_strdup_printf ("%s %s", words[1], words[2]),
                          g_strdup_printf ("%s %s", words[3], words[4]));
  else if (n == 6 && strcmp (words[0], "cut") == 0)
    return parse_cut (state, words);
  else
    return false;
  return true;
}

VpNetState *
vp_net_state_parse (const char *text, GError **error)
{
  g_autoptr (VpNetState) state = vp_net_state_new ();
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

  if (text[0] == '\0')
    return g_steal_pointer (&state);
  for (guint i = 0; lines[i] != NULL; i++) {
    bool good = i == 0 ? strcmp (lines[0], HEAD) == 0
                       : lines[i][0] == '\0' || parse_line (state, lines[i]);
    if (!good) {
      g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_FAILED,
                   "line %u is none of ours: \"%.60s\"", i + 1, lines[i]);
      return NULL;
    }
  }
  return g_steal_pointer (&state);
}

VpNetState *
vp_net_state_load (const char *path, GError **error)
{
  g_autofree char *text = NULL;
  g_autoptr (GError) local = NULL;
  VpNetState *state;

  if (!g_file_get_contents (path, &text, NULL, &local)) {
    if (g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
      return vp_net_state_new ();
    g_propagate_error (error, g_steal_pointer (&local));
    return NULL;
  }
  state = vp_net_state_parse (text, error);
  if (state == NULL)
    g_prefix_error (error, "%s: ", path);
  return state;
}

bool
vp_net_state_store (const char *path, const char *text, GError **error)
{
  if (text[0] == '\0') {
    if (unlink (path) < 0 && errno != ENOENT) {
      g_set_error (error, G_FILE_ERROR, (gint) g_file_error_from_errno (errno),
                   "%s: %s", path, g_strerror (errno));
      return false;
    }
    return true;
  }
  /* Temporary name, rename.  It lies in memory: a power cut takes the
   * settings away with it. */
  return g_file_set_contents_full (path, text, -1,
                                   G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}
