/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cluster-counts: pages in a plain table, for speed. */
#include "config.h"

#include "storage/cluster-counts.h"

#include <string.h>

#define WIDE_SIZE (VP_COUNTS_PAGE * sizeof (uint64_t))

struct VpCounts {
  VpCountsPage **pages;
  uint64_t n_clusters, n_pages;
  size_t budget; /* bytes left */
};

VpCounts *
vp_counts_new (uint64_t n_clusters, size_t budget)
{
  if (n_clusters > VP_COUNTS_MAX_CLUSTERS)
    return NULL;
  VpCounts *counts = g_new0 (VpCounts, 1);
  counts->n_clusters = n_clusters;
  counts->n_pages = (n_clusters >> VP_COUNTS_PAGE_BITS) + 1;
  counts->budget = budget;
  counts->pages = g_new0 (VpCountsPage *, counts->n_pages);
  return counts;
}

void
vp_counts_free (VpCounts *counts)
{
  if (!counts)
    return;
  for (uint64_t i = 0; i < counts->n_pages; i++)
    if (counts->pages[i]) {
      g_free (counts->pages[i]->wide);
      g_free (counts->pages[i]);
    }
  g_free (counts->pages);
  g_free (counts);
}

void
vp_counts_clear_counted (VpCounts *counts)
{
  for (uint64_t i = 0; i < counts->n_pages; i++) {
    VpCountsPage *page = counts->pages[i];
    if (!page)
      continue;
    memset (page->counted, 0, sizeof page->counted);
    if (page->wide)
      memset (page->wide, 0, WIDE_SIZE);
  }
}

uint64_t
vp_counts_get_size (const VpCounts *counts)
{
  return counts->n_clusters;
}

static bool
take_budget (VpCounts *counts, size_t size)
{
  if (counts->budget < size)
    return false;
  counts->budget -= size;
  return true;
}

VpCountsPage *
vp_counts_page (const VpCounts *counts, uint64_t cluster)
{
  return cluster < counts->n_clusters
             ? counts->pages[cluster >> VP_COUNTS_PAGE_BITS]
             : NULL;
}

VpCountsPage *
vp_counts_make_page (VpCounts *counts, uint64_t cluster)
{
  VpCountsPage *page = vp_counts_page (counts, cluster);
  if (page)
    return page;
  g_return_val_if_fail (cluster < counts->n_clusters, NULL);
  if (!take_budget (counts, sizeof *page))
    return NULL;
  page = g_new0 (VpCountsPage, 1);
  counts->pages[cluster >> VP_COUNTS_PAGE_BITS] = page;
  return page;
}

static bool
add_many (VpCounts *counts, VpCountsPage *page, size_t at, uint64_t times)
{
  if (!page->wide) {
    if (!take_budget (counts, WIDE_SIZE))
      return false;
    page->wide = g_malloc0 (WIDE_SIZE);
  }
  if (page->counted[at] != VP_COUNTS_MANY)
    page->wide[at] = page->counted[at];
  page->counted[at] = VP_COUNTS_MANY;
  /* At most 2^26 L1 entries lead to 2^18 entries each: no overflow. */
  page->wide[at] += times;
  return true;
}

static bool
add_in_page (VpCounts *counts, VpCountsPage *page, size_t at, size_t n,
             uint64_t times)
{
  for (size_t i = at; i < at + n; i++)
    if (G_LIKELY (page->counted[i] + times < VP_COUNTS_MANY))
      page->counted[i] = (uint8_t) (page->counted[i] + times);
    else if (!add_many (counts, page, i, times))
      return false;
  return true;
}

bool
vp_counts_add (VpCounts *counts, uint64_t first, uint64_t n, uint64_t times)
{
  while (n > 0) {
    size_t at = first % VP_COUNTS_PAGE;
    size_t part = (size_t) MIN (n, VP_COUNTS_PAGE - at);
    VpCountsPage *page = vp_counts_make_page (counts, first);
    if (!page || !add_in_page (counts, page, at, part, times))
      return false;
    first += part;
    n -= part;
  }
  return true;
}

uint64_t
vp_counts_drop (VpCounts *counts, uint64_t cluster)
{
  VpCountsPage *page = vp_counts_page (counts, cluster);
  size_t at = cluster % VP_COUNTS_PAGE;
  g_return_val_if_fail (page && page->counted[at] > 0, 0);
  if (page->counted[at] < VP_COUNTS_MANY)
    return --page->counted[at];
  uint64_t left = --page->wide[at];
  if (left < VP_COUNTS_MANY)
    page->counted[at] = (uint8_t) left;
  return left;
}

uint64_t
vp_counts_get (const VpCounts *counts, uint64_t cluster)
{
  const VpCountsPage *page = vp_counts_page (counts, cluster);
  size_t at = cluster % VP_COUNTS_PAGE;
  if (!page)
    return 0;
  return page->counted[at] == VP_COUNTS_MANY ? page->wide[at]
                                             : page->counted[at];
}

unsigned
vp_counts_get_stored (const VpCounts *counts, uint64_t cluster)
{
  const VpCountsPage *page = vp_counts_page (counts, cluster);
  return page ? page->stored[cluster % VP_COUNTS_PAGE] : 0;
}

bool
vp_counts_all_one (const VpCounts *counts, uint64_t first, uint64_t n)
{
  while (n > 0) {
    const VpCountsPage *page = vp_counts_page (counts, first);
    size_t at = first % VP_COUNTS_PAGE;
    size_t part = (size_t) MIN (n, VP_COUNTS_PAGE - at);
    if (!page)
      return false;
    uint8_t differs = 0;
    for (size_t i = at; i < at + part; i++)
      differs |= page->stored[i] ^ 1u;
    if (differs)
      return false;
    first += part;
    n -= part;
  }
  return true;
}

bool
vp_counts_highest (const VpCounts *counts, uint64_t end, uint64_t *ret_cluster)
{
  for (uint64_t i = counts->n_pages; i-- > 0;) {
    const VpCountsPage *page = counts->pages[i];
    uint64_t first = i << VP_COUNTS_PAGE_BITS;
    if (!page || first >= end)
      continue;
    for (uint64_t at = MIN (end - first, VP_COUNTS_PAGE); at-- > 0;)
      if (page->counted[at] != 0 || page->stored[at] != 0) {
        *ret_cluster = first + at;
        return true;
      }
  }
  return false;
}
