/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iptables: iptables-save and iptables-restore as children.
 *
 * They are the one interface that follows the administrator's choice of
 * backend and that changes a whole table at once. */
#include "config.h"

#include "net/child.h"
#include "net/iptables.h"
#include "net/net.h"
#include "net/nftables.h"

#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS 30000

static char *
find_program (const char *name, GError **error)
{
  char *path = vp_child_find (name);

  if (path == NULL)
    g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND,
                 "%s is missing; install the package iptables", name);
  return path;
}

/* "iptables v1.8.9 (nf_tables)". */
static bool
uses_nft (const char *save_path, bool *ret_nft, GError **error)
{
  const char *argv[] = { "iptables-save", "--version", NULL };
  g_autofree char *output = NULL;
  int status;

  if (!vp_child_run (save_path, argv, NULL, TIMEOUT_MS, &output, NULL, &status,
                     error))
    return false;
  *ret_nft = strstr (output, "nf_tables") != NULL;
  return true;
}

/* Whether the kernel has the rule, in a table that cannot be listed. */
static bool
check_rule (const VpJump *jump, bool *ret_there, GError **error)
{
  g_autofree char *path = find_program ("iptables", error);
  g_autofree char *line = NULL;
  g_auto (GStrv) argv = NULL;
  int status;

  if (path == NULL)
    return false;
  line = g_strdup_printf ("iptables -w 5 -t %s -C %s %s",
                          vp_table_name (jump->table), jump->chain, jump->rule);
  /* Our own text, without user words; only the comment is quoted. */
  if (!g_shell_parse_argv (line, NULL, &argv, error) ||
      !vp_child_run (path, (const char *const *) argv, NULL, TIMEOUT_MS, NULL,
                     NULL, &status, error))
    return false;
  *ret_there = status == 0;
  return true;
}

static bool
read_blind (VpTables *found, VpTableId id, const VpTables *wanted,
            GError **error)
{
  g_autoptr (GPtrArray) chains = vp_nft_chains (vp_table_name (id), error);

  if (chains == NULL)
    return false;
  found->table[id].present = true;
  found->table[id].blind = true;
  for (guint i = 0; i < chains->len; i++)
    if (g_str_has_prefix (chains->pdata[i], VP_CHAIN_PREFIX))
      (void) vp_tables_add_chain (found, id, chains->pdata[i], "-");
  for (guint i = 0; wanted != NULL && i < wanted->jumps->len; i++) {
    const VpJump *jump = wanted->jumps->pdata[i];
    bool there;

    if (jump->table != id)
      continue;
    if (!check_rule (jump, &there, error))
      return false;
    if (there) {
      VpChain *chain = vp_tables_add_chain (found, id, jump->chain, "ACCEPT");
      /* Position and copies are unknown; one in the right place is assumed,
       * behind what is there already for one that belongs at the end. */
      vp_chain_add (chain, "%s", jump->rule);
    }
  }
  return true;
}

/* An empty save that succeeds is not believed. */
static bool
read_missing (VpTables *found, const VpTables *wanted, const char *save_path,
              GError **error)
{
  g_autoptr (GPtrArray) tables = NULL;
  bool nft;

  for (unsigned id = 0; id < VP_N_TABLES; id++) {
    if (found->table[id].present)
      continue;
    if (tables == NULL) {
      if (!uses_nft (save_path, &nft, error))
        return false;
      if (!nft)
        return true;
      tables = vp_nft_tables (error);
      if (tables == NULL)
        return false;
    }
    if (g_ptr_array_find_with_equal_func (tables, vp_table_name (id),
                                          g_str_equal, NULL) &&
        !read_blind (found, id, wanted, error))
      return false;
  }
  return true;
}

VpTables *
vp_iptables_read (const VpTables *wanted, GError **error)
{
  const char *argv[] = { "iptables-save", NULL };
  g_autofree char *path = find_program ("iptables-save", error);
  g_autoptr (VpTables) found = vp_tables_new ();
  g_autofree char *output = NULL, *complaint = NULL;
  int status;

  if (path == NULL || !vp_child_run (path, argv, NULL, TIMEOUT_MS, &output,
                                     &complaint, &status, error))
    return NULL;
  if (status != 0 || !vp_tables_parse (found, output)) {
    g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_BACKEND, "%s: %s", path,
                 complaint[0] != '\0' ? complaint
                                      : "printed what is not a table");
    return NULL;
  }
  found->mixed = strstr (output, "legacy tables present") != NULL ||
                 strstr (complaint, "legacy tables present") != NULL;
  if (!read_missing (found, wanted, path, error))
    return NULL;
  return g_steal_pointer (&found);
}

/* A link to the program in our folder: the kernel then knows the process by
 * the link's name.  Where it cannot be made the program runs under its own,
 * and the watch takes the change for somebody else's: a needless look. */
static char *
path_with_our_name (const char *program, const char *runtime_dir)
{
  g_autofree char *link = NULL, *old = NULL;

  if (runtime_dir == NULL)
    return g_strdup (program);
  link = g_build_filename (runtime_dir, VP_IPTABLES_NAME, NULL);
  old = g_file_read_link (link, NULL);
  if (g_strcmp0 (old, program) == 0)
    return g_steal_pointer (&link);
  (void) unlink (link); /* not there, or pointing elsewhere */
  if (symlink (program, link) < 0)
    return g_strdup (program);
  return g_steal_pointer (&link);
}

bool
vp_iptables_restore (const char *transaction, const char *runtime_dir,
                     GError **error)
{
  const char *argv[] = { "iptables-restore", "-w", "5", "--noflush", NULL };
  g_autofree char *program = find_program ("iptables-restore", error);
  g_autofree char *path = NULL;

  if (program == NULL)
    return false;
  path = path_with_our_name (program, runtime_dir);
  /* Exit status 4: somebody holds the lock, or the rules moved under us. */
  for (unsigned pause_ms = 50;; pause_ms *= 2) {
    g_autofree char *complaint = NULL;
    int status;

    if (!vp_child_run (path, argv, transaction, TIMEOUT_MS, NULL, &complaint,
                       &status, error))
      return false;
    if (status == 0)
      return true;
    if (status == 4 && pause_ms <= 800) {
      g_usleep (pause_ms * 1000);
      continue;
    }
    g_set_error (error, VP_NET_ERROR,
                 status == 4 ? VP_NET_ERROR_BUSY : VP_NET_ERROR_BACKEND,
                 "%s: exit status %d: %s", program, status, complaint);
    return false;
  }
}
