/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cluster-set: a set of cluster numbers, small where they lie together: pages
 * of bits, made when first touched, and never more pages than a limit, so that
 * a hostile image cannot spend our memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct VpClusterSet VpClusterSet;

VpClusterSet *vp_cluster_set_new (void);
void vp_cluster_set_free (VpClusterSet *set);
/* False: the set would grow past its limit; it holds a part then. */
bool vp_cluster_set_add (VpClusterSet *set, uint64_t first,
                         uint64_t count) G_GNUC_WARN_UNUSED_RESULT;
void vp_cluster_set_remove (VpClusterSet *set, uint64_t first, uint64_t count);
/* Is any of them in the set? */
bool vp_cluster_set_meets (const VpClusterSet *set, uint64_t first,
                           uint64_t count);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpClusterSet, vp_cluster_set_free)
