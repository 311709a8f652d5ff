/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* resolve: a spec + what was decided for it once -> the whole guest.
 *
 * Decisions (UUID, MACs, addresses, volumes, targets) are made here when they
 * are missing and go into the record; what the spec states wins over the
 * record, the record over derivation.  Looks at nothing but its arguments,
 * the store's seed and, for a volume's name, other volumes' records. */
#pragma once

#include "daemon/state.h"
#include "daemon/store.h"

/* What a guest may refer to.  Borrowed; each hash is name -> value. */
typedef struct {
  VpStore *store;
  const char *default_pool; /* folder of pool "default" without a file */
  GHashTable *pools;        /* VpPoolSpec */
  GHashTable *images;       /* VpImageSpec */
  GHashTable *networks;     /* VpNet, with addresses; "default" included */
  GArray *taken;            /* VpAddr: addresses of other guests */
} VpResolveContext;

/* record is changed in place.  A missing pool, image or network and an
 * address that does not fit are problems with their place; then NULL. */
VpGuest *vp_resolve_guest (const VpResolveContext *context, const VpGuest *spec,
                           VpGuestRecord *record, GPtrArray *problems);
