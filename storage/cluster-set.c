/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cluster-set: pages of 32768 bits in a hash table. */
#include "config.h"

#include "storage/cluster-set.h"

#define PAGE_BITS 15u
#define PAGE_LEN  (UINT64_C (1) << PAGE_BITS)
#define MAX_PAGES 32768u /* 128 MiB */

struct VpClusterSet {
  GHashTable *pages; /* page number -> 64-bit words */
};

VpClusterSet *
vp_cluster_set_new (void)
{
  VpClusterSet *set = g_new0 (VpClusterSet, 1);
  set->pages =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  return set;
}

void
vp_cluster_set_free (VpClusterSet *set)
{
  if (!set)
    return;
  g_hash_table_unref (set->pages);
  g_free (set);
}

static uint64_t *
get_page (const VpClusterSet *set, uint64_t cluster)
{
  uint64_t number = cluster >> PAGE_BITS;
  return g_hash_table_lookup (set->pages, &number);
}

static uint64_t *
make_page (VpClusterSet *set, uint64_t cluster)
{
  uint64_t *page = get_page (set, cluster);
  if (page)
    return page;
  if (g_hash_table_size (set->pages) >= MAX_PAGES)
    return NULL;
  uint64_t *key = g_new (uint64_t, 1);
  *key = cluster >> PAGE_BITS;
  page = g_new0 (uint64_t, PAGE_LEN / 64);
  g_hash_table_insert (set->pages, key, page);
  return page;
}

bool
vp_cluster_set_add (VpClusterSet *set, uint64_t first, uint64_t count)
{
  for (uint64_t cluster = first; cluster - first < count; cluster++) {
    uint64_t *page = make_page (set, cluster);
    if (!page)
      return false;
    page[cluster % PAGE_LEN / 64] |= UINT64_C (1) << cluster % 64;
  }
  return true;
}

void
vp_cluster_set_remove (VpClusterSet *set, uint64_t first, uint64_t count)
{
  for (uint64_t cluster = first; cluster - first < count; cluster++) {
    uint64_t *page = get_page (set, cluster);
    if (page)
      page[cluster % PAGE_LEN / 64] &= ~(UINT64_C (1) << cluster % 64);
  }
}

bool
vp_cluster_set_meets (const VpClusterSet *set, uint64_t first, uint64_t count)
{
  uint64_t cluster = first, end = first + count;
  while (cluster < end) {
    const uint64_t *page = get_page (set, cluster);
    uint64_t page_end = MIN (end, (cluster | (PAGE_LEN - 1)) + 1);
    for (; page && cluster < page_end; cluster++) {
      if (cluster % 64 == 0 && page[cluster % PAGE_LEN / 64] == 0)
        cluster |= 63;
      else if (page[cluster % PAGE_LEN / 64] >> cluster % 64 & 1)
        return true;
    }
    cluster = page_end;
  }
  return false;
}
