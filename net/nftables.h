/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* nftables: what we ask of nf_tables beside iptables: the generation of the
 * rules, whether a table exists that iptables-save does not show, and taking
 * away a table that our first rule brought into being. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* False where the kernel has no nf_tables. */
bool vp_nft_generation (uint32_t *ret_generation);
/* Names of the IPv4 tables, and of one's chains; GPtrArray of char *. */
GPtrArray *vp_nft_tables (GError **error);
GPtrArray *vp_nft_chains (const char *table, GError **error);
/* Deletes an IPv4 table in which nothing is but empty built-in chains; true
 * and nothing done where there is more, or where the table is not there. */
bool vp_nft_drop_empty_table (const char *table, GError **error);
