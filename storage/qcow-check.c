/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-check: what do the tables name, and is anything there twice?
 *
 *     1  header, name, L1, and each L2 table that L1 leads to
 *     2  every entry of these
 *     3  what is left of the file: free where it holds zeros, else a leak
 *
 * The format does not say what is in use, so there is nothing to compare with;
 * but a place has one user, lies within the file, and not in a table.  A fault
 * is noted and passed by; nothing found here is trusted. */
#include "config.h"

#include "storage/qcow-check.h"

#include <stdarg.h>
#include <string.h>

#include "storage/copy.h"
#include "storage/error.h"

#define READ_SIZE ((uint64_t) 1 << 20)

/* ---- notes -------------------------------------------------------------- */

static void note (QcowCheck *check, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static void
note (QcowCheck *check, const char *format, ...)
{
  va_list args;
  check->result->corruptions++;
  if (check->quiet)
    return;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  vp_check_result_note (check->result, "ERROR %s", text);
}

static bool
too_large (const QcowCheck *check, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: too large, or too scattered, to be checked",
               check->q->file->name);
  return false;
}

/* ---- tables ------------------------------------------------------------- */

/* An L2 table that two entries lead to is read once. */
static bool
count_table (QcowCheck *check, uint64_t index, uint64_t table, GError **error)
{
  Qcow *q = check->q;
  g_autoptr (GError) fault = NULL;
  if (!qcow_check_l1_entry (q, index, table, &fault)) {
    check->obscure = true;
    note (check, "%s", fault->message + strlen (q->file->name) + 2);
    return true;
  }
  switch (qcow_claim (q, check->counts, table, qcow_l2_size (q), QCOW_TABLE)) {
  case QCOW_CLAIM_FULL: return too_large (check, error);
  case QCOW_CLAIM_TAKEN:
    check->obscure = true;
    note (check,
          "L1 entry %" PRIu64 ": at 0x%" PRIx64 " there is another table",
          index, table);
    return true;
  case QCOW_CLAIM_FINE: break;
  }
  uint64_t clusters =
      vp_round_up (q->size, q->cluster_size) >> q->header.cluster_bits;
  uint64_t before = index << q->header.l2_bits;
  uint64_t end = MIN (clusters - MIN (before, clusters), qcow_l2_entries (q));
  g_array_append_val (check->tables, table);
  g_array_append_val (check->ends, end);
  return true;
}

static bool
count_tables (QcowCheck *check, GError **error)
{
  Qcow *q = check->q;
  QcowClaim claim = qcow_claim_fixed (q, check->counts);
  if (claim == QCOW_CLAIM_FULL)
    return too_large (check, error);
  if (claim == QCOW_CLAIM_TAKEN)
    note (check, "header, name and L1 table overlap");
  for (uint64_t i = 0; i < q->l1_entries; i++) {
    uint64_t table = vp_be64_get (qcow_l1 (q) + 8 * i);
    if (table != 0 && !count_table (check, i, table, error))
      return false;
  }
  return true;
}

/* ---- entries ------------------------------------------------------------ */

static void
count_kind (QcowCheck *check, const QcowEntry *entry)
{
  VpCheckResult *result = check->result;
  result->allocated_clusters++;
  if (entry->packed)
    result->compressed_clusters++;
  if (entry->packed || (check->last != 0 && entry->offset != check->last))
    result->fragmented_clusters++;
  check->last = entry->packed ? 0 : entry->offset + entry->length;
}

static bool
count_place (QcowCheck *check, const QcowFault *place, const QcowEntry *entry,
             GError **error)
{
  Qcow *q = check->q;
  uint64_t end = entry->packed ? check->file_end
                               : vp_round_up (check->file_end, q->cluster_size);
  const char *what = NULL;
  bool outside = !vp_range_ok (entry->offset, entry->length, end);
  if (outside && entry->packed)
    check->obscure = true; /* whatever it meant is not there */
  if (outside)
    what = "points past the end of the file";
  else
    switch (qcow_claim (q, check->counts, entry->offset, entry->length,
                        entry->packed ? QCOW_PACKED : QCOW_DATA)) {
    case QCOW_CLAIM_FULL: return too_large (check, error);
    case QCOW_CLAIM_TAKEN: what = "names what is used already"; break;
    case QCOW_CLAIM_FINE:
      if (!entry->packed && entry->offset & (q->cluster_size - 1))
        what = "is misaligned";
      break;
    }
  if (!what)
    return true;
  note (check, "L2 entry at 0x%" PRIx64 " (0x%" PRIx64 ") %s", place->at,
        place->raw, what);
  if (!outside || !entry->packed)
    g_array_append_val (check->misplaced, *place);
  return true;
}

static bool
count_entry (QcowCheck *check, const QcowFault *place, bool on_disk,
             GError **error)
{
  g_autoptr (GError) fault = NULL;
  QcowEntry entry;
  if (place->raw == 0)
    return true;
  if (!on_disk) {
    g_array_append_val (check->stale, *place);
    return true;
  }
  if (!qcow_decode (check->q, place->raw, &entry, &fault)) {
    check->obscure = true;
    note (check, "L2 entry at 0x%" PRIx64 " (0x%" PRIx64 ") is invalid",
          place->at, place->raw);
    return true;
  }
  count_kind (check, &entry);
  return count_place (check, place, &entry, error);
}

static bool
count_entries (QcowCheck *check, GError **error)
{
  Qcow *q = check->q;
  size_t size = qcow_l2_size (q);
  g_autofree uint8_t *l2 = g_malloc (size);
  for (guint i = 0; i < check->tables->len; i++) {
    uint64_t table = g_array_index (check->tables, uint64_t, i);
    uint64_t end = g_array_index (check->ends, uint64_t, i);
    if (!vp_progress_update (check->progress, i, check->tables->len, error))
      return false;
    if (!vp_file_read (q->file, table, l2, size, NULL)) {
      check->result->check_errors++;
      check->obscure = true;
      continue;
    }
    for (uint64_t n = 0; n < qcow_l2_entries (q); n++) {
      QcowFault place = { table + 8 * n, vp_be64_get (l2 + 8 * n) };
      if (!count_entry (check, &place, n < end, error))
        return false;
    }
  }
  return vp_progress_update (check->progress, 1, 1, error);
}

/* ---- leaks -------------------------------------------------------------- */

bool
qcow_holds_bytes (QcowCheck *check, uint64_t offset, uint64_t length,
                  bool *ret_holds, GError **error)
{
  g_autofree uint8_t *bytes = g_malloc ((size_t) length);
  if (!vp_file_read (check->q->file, offset, bytes, (size_t) length, error))
    return false;
  *ret_holds = !vp_buffer_is_zero (bytes, (size_t) length);
  return true;
}

/* A row of clusters that nobody names. */
static bool
count_leaks_in (QcowCheck *check, uint64_t from, uint64_t to, GError **error)
{
  Qcow *q = check->q;
  while (from < to) {
    bool data = true, holds;
    uint64_t part = to - from;
    if (!vp_file_extent (q->file, from, to - from, &data, &part, NULL)) {
      data = true;
      part = to - from;
    }
    if (!data && part >= q->cluster_size) {
      from = MIN (to, vp_round_down (from + part, q->cluster_size));
      continue;
    }
    if (!qcow_holds_bytes (check, from, MIN (q->cluster_size, to - from),
                           &holds, error))
      return false;
    check->result->leaks += holds;
    from += q->cluster_size;
  }
  return true;
}

static bool
count_leaks (QcowCheck *check, GError **error)
{
  unsigned bits = check->q->header.cluster_bits;
  uint64_t end = vp_round_up (check->file_end, check->q->cluster_size) >> bits;
  uint64_t at = 0, count;
  while (qcow_find_free (check->counts, READ_SIZE, false, &at, &count) &&
         at < end) {
    count = MIN (count, end - at);
    if (!count_leaks_in (check, at << bits,
                         MIN ((at + count) << bits, check->file_end), error))
      return false;
    at += count;
  }
  return true;
}

static void
note_leaks (QcowCheck *check)
{
  if (check->result->leaks > 0 && !check->quiet)
    vp_check_result_note (check->result,
                          "Leaked: %" PRIu64 " clusters that nothing names",
                          check->result->leaks);
}

/* ---- all of it ---------------------------------------------------------- */

bool
qcow_count_all (QcowCheck *check, GError **error)
{
  Qcow *q = check->q;
  VpCheckResult *result = check->result;
  uint64_t highest = 0;
  if (!vp_file_get_size (q->file, &check->file_end, error))
    return false;
  q->file_end = check->file_end;
  vp_counts_free (check->counts);
  check->counts = qcow_counts_new (q, check->file_end);
  if (!check->counts)
    return too_large (check, error);
  g_array_set_size (check->tables, 0);
  g_array_set_size (check->ends, 0);
  g_array_set_size (check->misplaced, 0);
  g_array_set_size (check->stale, 0);
  check->obscure = false;
  check->last = 0;
  result->corruptions = result->leaks = result->check_errors = 0;
  result->allocated_clusters = result->fragmented_clusters =
      result->compressed_clusters = 0;
  result->total_clusters =
      vp_round_up (q->size, q->cluster_size) >> q->header.cluster_bits;
  if (!count_tables (check, error) || !count_entries (check, error) ||
      !count_leaks (check, error))
    return false;
  note_leaks (check);
  (void) vp_counts_highest (check->counts, UINT64_MAX, &highest);
  result->image_end_offset = (highest + 1) << q->header.cluster_bits;
  return true;
}

static bool
mend (QcowCheck *check, VpRepair repair, GError **error)
{
  VpCheckResult *result = check->result;
  uint64_t corruptions = result->corruptions;
  check->quiet = true;
  if (repair == VP_REPAIR_ALL && check->misplaced->len > 0) {
    uint64_t leaks = result->leaks;
    if (!qcow_move_misplaced (check, error) || !qcow_count_all (check, error))
      return false;
    result->corruptions_fixed =
        corruptions - MIN (corruptions, result->corruptions);
    /* What was moved left a leak behind, which is none of theirs. */
    if (result->leaks > leaks && check->obscure)
      result->leaks = leaks;
  }
  if (repair == VP_REPAIR_NOTHING || check->obscure)
    return true;
  if (!qcow_drop_leaks (check, error))
    return false;
  result->leaks_fixed = result->leaks;
  result->leaks = 0;
  return true;
}

bool
qcow_check (gpointer state, VpRepair repair, const VpProgress *progress,
            VpCheckResult *result, GError **error)
{
  Qcow *q = state;
  QcowCheck check = { .q = q,
                      .progress = progress,
                      .result = result,
                      .tables = g_array_new (false, false, sizeof (uint64_t)),
                      .ends = g_array_new (false, false, sizeof (uint64_t)),
                      .misplaced =
                          g_array_new (false, false, sizeof (QcowFault)),
                      .stale = g_array_new (false, false, sizeof (QcowFault)) };
  bool ok = qcow_count_all (&check, error) && mend (&check, repair, error);
  vp_counts_free (check.counts);
  g_array_unref (check.tables);
  g_array_unref (check.ends);
  g_array_unref (check.misplaced);
  g_array_unref (check.stale);
  vp_tables_drop (q->tables);
  return ok;
}
