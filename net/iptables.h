/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iptables: reads and writes tables by running the programs that the
 * administrator's alternative points at, nft or legacy alike. */
#pragma once

#include "net/tables.h"

/* Reads raw, filter and nat.  A table that exists but that iptables-save does
 * not show (a foreign nft expression in it makes it print nothing, with
 * success) is marked blind: its chains of ours have no rules then, and of
 * wanted's jumps those that are there stand in their built-in chain. */
VpTables *vp_iptables_read (const VpTables *wanted, GError **error);

/* Runs one transaction.  runtime_dir, or NULL, is where the link lies under
 * whose name the program runs: VP_IPTABLES_NAME is how the watch tells our
 * own changes.  VP_NET_ERROR_BUSY where the lock was not to be had,
 * VP_NET_ERROR_BACKEND where iptables-restore says no. */
#define VP_IPTABLES_NAME "vprovd-iptables"
bool vp_iptables_restore (const char *transaction, const char *runtime_dir,
                          GError **error);
