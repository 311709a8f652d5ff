/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-space: which parts of the file are in use.
 *
 * The format does not write that down.  QEMU puts everything behind the end
 * and never uses a place again.  We count once what the tables name, before
 * the first change, so that what is free can be used, what an interrupted
 * program left behind as well, and an image in which two entries name one
 * place is not made worse:
 *
 *     cluster of the file   0        1      2      3      4      5
 *                           | header | L2   | data | free | a b  | b c
 *     users                 2 (L1)     1      1      0      2      2
 *
 * Packed units (a, b, c) share clusters; nobody else does.  What a change
 * frees goes through the quarantine of table.h; then it is a hole.
 *
 * XXX Beyond BUDGET of memory, at 256 GiB of data in clusters of 4 KiB,
 * nothing is counted: places are taken behind the end and none is freed. */
#include "config.h"

#include "storage/qcow.h"

#include <string.h>

#include "storage/error.h"

#define BUDGET ((size_t) 128 << 20)
#define SLACK  65536u /* clusters */

/* ---- counting ----------------------------------------------------------- */

VpCounts *
qcow_counts_new (const Qcow *q, uint64_t file_end)
{
  unsigned bits = q->header.cluster_bits;
  uint64_t n = (file_end >> bits) + 2 * (q->size >> bits) + SLACK;
  return vp_counts_new (MIN (n, VP_COUNTS_MAX_CLUSTERS), BUDGET);
}

static bool
meets (uint64_t offset, uint64_t length, uint64_t other, uint64_t other_length)
{
  return offset < other + other_length && other < offset + length;
}

bool
qcow_meets_fixed (const Qcow *q, uint64_t offset, uint64_t length)
{
  const QcowHeader *h = &q->header;
  return offset < QCOW_HEADER_LEN ||
         meets (offset, length, h->l1_offset, q->l1_entries * 8) ||
         (q->backing_name &&
          meets (offset, length, h->backing_offset, h->backing_len));
}

static bool
may_share (const Qcow *q, QcowUse there, QcowUse use)
{
  if (there == QCOW_FREE)
    return true;
  if (use == QCOW_PACKED)
    return there == QCOW_PACKED || there == QCOW_FIXED ||
           (there == QCOW_TABLE && qcow_l2_size (q) < q->cluster_size);
  return use == QCOW_FIXED && there == QCOW_FIXED;
}

QcowClaim
qcow_claim (const Qcow *q, VpCounts *counts, uint64_t offset, uint64_t length,
            QcowUse use)
{
  uint64_t first = offset >> q->header.cluster_bits;
  uint64_t last = (offset + length - 1) >> q->header.cluster_bits;
  bool taken = use == QCOW_PACKED && qcow_meets_fixed (q, offset, length);
  if (last >= vp_counts_get_size (counts) ||
      !vp_counts_add (counts, first, last - first + 1, 1))
    return QCOW_CLAIM_FULL;
  for (uint64_t cluster = first; cluster <= last; cluster++) {
    uint8_t *there =
        &vp_counts_page (counts, cluster)->stored[cluster % VP_COUNTS_PAGE];
    if (!may_share (q, (QcowUse) *there, use))
      taken = true;
    else if (*there < use)
      *there = (uint8_t) use;
  }
  return taken ? QCOW_CLAIM_TAKEN : QCOW_CLAIM_FINE;
}

QcowClaim
qcow_claim_fixed (const Qcow *q, VpCounts *counts)
{
  const QcowHeader *h = &q->header;
  QcowClaim claim = qcow_claim (q, counts, 0, QCOW_HEADER_LEN, QCOW_FIXED);
  if (claim == QCOW_CLAIM_FINE)
    claim = qcow_claim (q, counts, h->l1_offset, q->l1_entries * 8, QCOW_FIXED);
  if (claim == QCOW_CLAIM_FINE && q->backing_name)
    claim =
        qcow_claim (q, counts, h->backing_offset, h->backing_len, QCOW_FIXED);
  return claim;
}

/* ---- the survey --------------------------------------------------------- */

static void
note_end (Qcow *q, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  q->end_cluster = MAX (q->end_cluster, vp_round_up (end, q->cluster_size) >>
                                            q->header.cluster_bits);
  q->file_end = MAX (q->file_end, end);
}

static bool
survey_claim (Qcow *q, uint64_t offset, uint64_t length, QcowUse use,
              GError **error)
{
  uint64_t end = use == QCOW_DATA ? vp_round_up (q->file_end, q->cluster_size)
                                  : q->file_end;
  if (!vp_range_ok (offset, length, end))
    return qcow_corrupt (q, error,
                         "a table points past the end of the file (0x%" PRIx64
                         "); check it first",
                         offset);
  if (use == QCOW_DATA && offset & (q->cluster_size - 1))
    return qcow_corrupt (
        q, error, "the cluster at 0x%" PRIx64 " is misaligned; check it first",
        offset);
  if (q->counts)
    switch (qcow_claim (q, q->counts, offset, length, use)) {
    case QCOW_CLAIM_FINE: break;
    case QCOW_CLAIM_TAKEN:
      return qcow_corrupt (
          q, error, "two things lie at 0x%" PRIx64 "; check it first", offset);
    case QCOW_CLAIM_FULL: g_clear_pointer (&q->counts, vp_counts_free); break;
    }
  q->end_cluster =
      MAX (q->end_cluster, vp_round_up (offset + length, q->cluster_size) >>
                               q->header.cluster_bits);
  return true;
}

static bool
survey_tables (Qcow *q, GError **error)
{
  for (uint64_t i = 0; i < q->l1_entries; i++) {
    uint64_t table = vp_be64_get (qcow_l1 (q) + 8 * i);
    if (table != 0 &&
        (!qcow_check_l1_entry (q, i, table, error) ||
         !survey_claim (q, table, qcow_l2_size (q), QCOW_TABLE, error)))
      return false;
  }
  return true;
}

static bool
survey_entries (Qcow *q, GError **error)
{
  size_t size = qcow_l2_size (q);
  g_autofree uint8_t *l2 = g_malloc (size);
  for (uint64_t i = 0; i < q->l1_entries; i++) {
    uint64_t table = vp_be64_get (qcow_l1 (q) + 8 * i);
    if (table == 0)
      continue;
    if (!vp_file_read (q->file, table, l2, size, error))
      return false;
    for (uint64_t n = 0; n < qcow_l2_entries (q); n++) {
      QcowEntry entry;
      if (!qcow_decode (q, vp_be64_get (l2 + 8 * n), &entry, error))
        return false;
      if (entry.stored &&
          !survey_claim (q, entry.offset, entry.length,
                         entry.packed ? QCOW_PACKED : QCOW_DATA, error))
        return false;
    }
  }
  return true;
}

/* Nothing is dirty in q->tables yet: what is on disk is all there is. */
bool
qcow_survey (Qcow *q, GError **error)
{
  if (q->surveyed)
    return true;
  if (!vp_file_get_size (q->file, &q->file_end, error))
    return false;
  g_clear_pointer (&q->counts, vp_counts_free);
  q->counts = qcow_counts_new (q, q->file_end);
  q->free_hint = q->run_hint = q->packed_end = 0;
  q->end_cluster =
      vp_round_up (q->file_end, q->cluster_size) >> q->header.cluster_bits;
  if (qcow_claim_fixed (q, q->counts) != QCOW_CLAIM_FINE)
    return qcow_corrupt (q, error,
                         "header, name and L1 table lie too far apart");
  q->surveyed = survey_tables (q, error) && survey_entries (q, error);
  return q->surveyed;
}

/* ---- taking ------------------------------------------------------------- */

/* From cluster on, at most limit: how many that are free, or that are not. */
static uint64_t
count_alike (const VpCounts *counts, uint64_t cluster, uint64_t limit,
             bool free)
{
  uint64_t start = cluster, end = cluster + limit;
  while (cluster < end) {
    const VpCountsPage *page = vp_counts_page (counts, cluster);
    size_t at = cluster % VP_COUNTS_PAGE;
    size_t part = (size_t) MIN (end - cluster, VP_COUNTS_PAGE - at), n = 0;
    if (!page && !free)
      break;
    if (!page)
      n = part;
    else if (free)
      while (n < part && page->counted[at + n] == 0)
        n++;
    else {
      const uint8_t *zero = memchr (page->counted + at, 0, part);
      n = zero ? (size_t) (zero - (page->counted + at)) : part;
    }
    cluster += n;
    if (n < part)
      break;
  }
  return cluster - start;
}

bool
qcow_find_free (const VpCounts *counts, uint64_t wanted, bool exact,
                uint64_t *first, uint64_t *ret_count)
{
  uint64_t at = *first, size = vp_counts_get_size (counts), count;
  for (;; at += count) {
    if (at >= size)
      return false;
    at += count_alike (counts, at, size - at, false);
    if (at >= size)
      return false;
    count = count_alike (counts, at, MIN (wanted, size - at), true);
    if (count == wanted || (!exact && count > 0))
      break;
  }
  *first = at;
  *ret_count = count;
  return true;
}

static bool
no_room (Qcow *q, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: the file would become too long", q->file->name);
  return false;
}

/* The hints go on past what was found: nothing below is free, or nothing that
 * is long enough. */
static bool
take (Qcow *q, uint64_t wanted, bool exact, QcowUse use, uint64_t *ret_first,
      uint64_t *ret_count, GError **error)
{
  uint64_t *hint = exact && wanted > 1 ? &q->run_hint : &q->free_hint;
  *ret_first = q->end_cluster;
  *ret_count = wanted;
  if (q->counts) {
    *ret_first = *hint;
    if (!qcow_find_free (q->counts, wanted, exact, ret_first, ret_count))
      return no_room (q, error);
    *hint = *ret_first + *ret_count;
  }
  uint64_t offset = *ret_first << q->header.cluster_bits;
  uint64_t length = *ret_count << q->header.cluster_bits;
  /* Packed entries have the fewest bits for it. */
  if (!vp_range_ok (
          offset, length,
          MIN (QCOW_MAX_OFFSET, UINT64_C (1) << (63 - q->header.cluster_bits))))
    return no_room (q, error);
  if (q->counts &&
      qcow_claim (q, q->counts, offset, length, use) != QCOW_CLAIM_FINE) {
    /* A part may be counted: what is not used stays free of users. */
    g_clear_pointer (&q->counts, vp_counts_free);
    return take (q, wanted, exact, use, ret_first, ret_count, error);
  }
  note_end (q, offset, length);
  return true;
}

bool
qcow_allocate (Qcow *q, uint64_t wanted, bool exact, QcowUse use,
               uint64_t *ret_offset, uint64_t *ret_count, GError **error)
{
  uint64_t first, count;
  if (!qcow_survey (q, error) ||
      !take (q, wanted, exact, use, &first, &count, error))
    return false;
  *ret_offset = first << q->header.cluster_bits;
  if (ret_count)
    *ret_count = count;
  return true;
}

/* Behind the last one, where its cluster goes on with nobody, or a new one. */
bool
qcow_allocate_packed (Qcow *q, uint64_t len, uint64_t *ret_offset,
                      GError **error)
{
  uint64_t at = q->packed_end, first, count;
  uint64_t within = at & (q->cluster_size - 1);
  uint64_t room = within > 0 ? q->cluster_size - within : 0;
  if (!qcow_survey (q, error))
    return false;
  bool shares = room >= len;
  if (!shares) {
    if (!take (q, 1, true, QCOW_PACKED, &first, &count, error))
      return false;
    uint64_t next = first << q->header.cluster_bits;
    shares = room > 0 && next == at + room;
    at = shares ? at : next;
  }
  if (shares && q->counts &&
      qcow_claim (q, q->counts, q->packed_end, 1, QCOW_PACKED) !=
          QCOW_CLAIM_FINE)
    g_clear_pointer (&q->counts, vp_counts_free);
  q->packed_end = at + len;
  note_end (q, at, len);
  *ret_offset = at;
  return true;
}

/* ---- giving back -------------------------------------------------------- */

/* By whole clusters: two packed units of one cluster are two users, and must
 * not become one range. */
void
qcow_free_later (Qcow *q, uint64_t offset, uint64_t length)
{
  uint64_t first = vp_round_down (offset, q->cluster_size);
  uint64_t end = vp_round_up (offset + length, q->cluster_size);
  if (q->counts)
    vp_tables_free_later (q->tables, first, end - first);
}

void
qcow_release (gpointer user_data, uint64_t offset, uint64_t length)
{
  Qcow *q = user_data;
  uint64_t first = offset >> q->header.cluster_bits;
  uint64_t end = (offset + length) >> q->header.cluster_bits;
  for (uint64_t cluster = first; q->counts && cluster < end; cluster++) {
    uint64_t at = cluster << q->header.cluster_bits;
    if (vp_counts_get (q->counts, cluster) == 0 ||
        vp_counts_drop (q->counts, cluster) > 0)
      continue;
    vp_counts_page (q->counts, cluster)->stored[cluster % VP_COUNTS_PAGE] =
        QCOW_FREE;
    q->free_hint = MIN (q->free_hint, cluster);
    q->run_hint = MIN (q->run_hint, cluster);
    if (q->packed_end > at && q->packed_end < at + q->cluster_size)
      q->packed_end = 0;
    vp_tables_forget (q->tables, at);
    vp_file_discard (q->file, at, q->cluster_size);
  }
}

bool
qcow_cut_tail (Qcow *q, GError **error)
{
  uint64_t highest = 0, size, end = q->end_cluster;
  if (q->file->is_device || !q->counts)
    return true;
  if (!vp_file_get_size (q->file, &size, error))
    return false;
  (void) vp_counts_highest (q->counts, end, &highest);
  uint64_t wanted = (highest + 1) << q->header.cluster_bits;
  if (wanted >= size)
    return true;
  q->file_end = wanted;
  q->end_cluster = highest + 1;
  return vp_file_truncate (q->file, wanted, error) &&
         vp_file_flush (q->file, error);
}
