/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cluster-counts: two small numbers for each cluster of a file: how many
 * references were counted, and what the image's own refcount says; a byte
 * each in pages that are made when first touched, so that memory follows the
 * data and not the file's length.
 *
 * 255 means "255 or more": a larger count is kept exactly beside the page, a
 * larger refcount must be asked for again where it matters. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define VP_COUNTS_PAGE_BITS    12u
#define VP_COUNTS_PAGE         (1u << VP_COUNTS_PAGE_BITS)
#define VP_COUNTS_MANY         255u
#define VP_COUNTS_MAX_CLUSTERS (UINT64_C (1) << 33)

typedef struct {
  uint8_t counted[VP_COUNTS_PAGE];
  uint8_t stored[VP_COUNTS_PAGE];
  uint64_t *wide; /* counts, where counted has 255; NULL: none */
  bool has_many;  /* some stored is 255 */
} VpCountsPage;

typedef struct VpCounts VpCounts;

/* Clusters 0 to n_clusters - 1; budget: most bytes of memory.  NULL where
 * n_clusters is too large. */
VpCounts *vp_counts_new (uint64_t n_clusters, size_t budget);
void vp_counts_free (VpCounts *counts);
void vp_counts_clear_counted (VpCounts *counts);
uint64_t vp_counts_get_size (const VpCounts *counts);

/* NULL: nothing there. */
VpCountsPage *vp_counts_page (const VpCounts *counts, uint64_t cluster);
/* Made where missing; NULL: over the budget. */
VpCountsPage *vp_counts_make_page (VpCounts *counts, uint64_t cluster);

/* Adds times to the count of each of n clusters, which must exist.  False:
 * over the budget. */
bool vp_counts_add (VpCounts *counts, uint64_t first, uint64_t n,
                    uint64_t times) G_GNUC_WARN_UNUSED_RESULT;
/* Takes one away of a cluster that has any; returns what is left. */
uint64_t vp_counts_drop (VpCounts *counts, uint64_t cluster);
uint64_t vp_counts_get (const VpCounts *counts, uint64_t cluster);
/* 255: or more.  Clusters out of range have 0. */
unsigned vp_counts_get_stored (const VpCounts *counts, uint64_t cluster);
/* Is the refcount of each of n clusters 1? */
bool vp_counts_all_one (const VpCounts *counts, uint64_t first, uint64_t n);
/* The highest cluster below end that has a count or a refcount; false: none. */
bool vp_counts_highest (const VpCounts *counts, uint64_t end,
                        uint64_t *ret_cluster);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpCounts, vp_counts_free)
