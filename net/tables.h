/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* tables: the three IPv4 tables that we use, as text: wanted (from
 * forward-plan) or found (from iptables-save), and the difference between
 * them as one iptables-restore transaction per table.  Pure.
 *
 * Rules are written as iptables-save prints them, so that a comparison is one
 * of strings.  A later iptables may print otherwise: what it printed for a
 * chain that we had just written is learned (VpLearned) and then taken for
 * the same. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#define VP_CHAIN_PREFIX "VPROV-"
#define VP_CHAIN_USER   "VPROV-USER" /* the administrator's; never written */

typedef enum {
  VP_TABLE_RAW,
  VP_TABLE_FILTER,
  VP_TABLE_NAT,
  VP_N_TABLES,
} VpTableId;

const char *vp_table_name (VpTableId id);

typedef struct {
  char *name;
  char *policy;     /* "-" where it is not a built-in chain */
  GPtrArray *rules; /* char *, without the leading "-A NAME " */
} VpChain;

typedef struct {
  bool present;       /* found: the table exists and could be read */
  bool blind;         /* found: it exists, but its rules cannot be read */
  GHashTable *chains; /* name -> VpChain; blind: our names, no rules */
} VpTable;

/* A rule of ours in a built-in chain; found by its target. */
typedef struct {
  VpTableId table;
  char *chain;  /* "FORWARD" */
  char *target; /* "VPROV-FWD" */
  char *rule;   /* the full text behind "-A FORWARD " */
  bool last;    /* belongs at the end, else at position 1 */
} VpJump;

typedef struct {
  VpTable table[VP_N_TABLES];
  GPtrArray *jumps; /* VpJump; wanted only */
  bool mixed;       /* found: the other backend has tables as well */
} VpTables;

VpTables *vp_tables_new (void);
void vp_tables_free (VpTables *tables);
/* Borrowed; NULL where there is none. */
VpChain *vp_tables_chain (const VpTables *tables, VpTableId id,
                          const char *name);
/* Borrowed; made where there is none. */
VpChain *vp_tables_add_chain (VpTables *tables, VpTableId id, const char *name,
                              const char *policy);
void vp_chain_add (VpChain *chain, const char *format, ...)
    G_GNUC_PRINTF (2, 3);
void vp_tables_add_jump (VpTables *tables, VpTableId id, const char *chain,
                         const char *match, const char *target, bool last);

/* Reads the output of iptables-save into tables.  False where it is not one:
 * a table without COMMIT, a rule of an unknown chain. */
bool vp_tables_parse (VpTables *tables, const char *text);
/* As iptables-save would print the chains, sorted by name: for tests and for
 * a person's eye.  Caller frees. */
char *vp_tables_to_string (const VpTables *tables);

/* What iptables printed for a chain whose text we wrote: "TABLE CHAIN" ->
 * "WANTED FOUND", digests of the rules. */
typedef GHashTable VpLearned;
VpLearned *vp_learned_new (void);
/* Notes each chain of wanted that FOUND prints otherwise; to be called only
 * right after our own write.  True where something was noted. */
bool vp_learned_note (VpLearned *learned, const VpTables *wanted,
                      const VpTables *found);

/* The transaction that makes FOUND's table like WANTED's, NULL where it is so
 * already.  Chains of ours that are not wanted go, VPROV-USER only when it is
 * empty.  ret_words says it to a person; may be NULL. */
char *vp_tables_diff (const VpTables *found, const VpTables *wanted,
                      VpTableId id, const VpLearned *learned, char **ret_words);

/* Turns wanted tables into what would be found once they are in force. */
void vp_tables_pretend (VpTables *wanted);

/* Whether FOUND has a rule in a chain of ours that WANTED has not there. */
bool vp_tables_has_extra (const VpTables *found, const VpTables *wanted,
                          VpTableId id);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpTables, vp_tables_free)
