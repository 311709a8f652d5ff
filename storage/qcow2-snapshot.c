/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-snapshot: the table of internal snapshots, entry by entry, each of
 * variable length:
 *
 *     fixed part (40) | extra data | id | name | padding to 8
 *
 * Their clusters are protected by refcounts (qcow2-count.c); here are names
 * and L1 tables.  A snapshot is taken, applied or deleted by writing a new
 * table, or a new L1, elsewhere, and changing one cell of the header: before
 * that the old state counts, after it the new one. */
#include "config.h"

#include "storage/qcow2.h"

#include <string.h>

#include "storage/error.h"

#define FIXED_LEN 40u
#define OUR_EXTRA 24u
#define MIN_EXTRA 16u /* of version 3 */
#define MAX_EXTRA 1024u
#define MAX_ID    127u
#define MAX_NAME  255u

typedef struct {
  uint64_t l1_offset;
  uint32_t l1_entries;
  uint16_t id_len, name_len;
  uint32_t date_s, date_ns;
  uint64_t vm_clock_ns;
  uint32_t vm_state_size;
  uint32_t extra_len;
} Entry;

#define FIELD(member, offset) VP_FIELD_BE (Entry, member, offset)
static const VpField entry_fields[] = {
  FIELD (l1_offset, 0),    FIELD (l1_entries, 8),     FIELD (id_len, 12),
  FIELD (name_len, 14),    FIELD (date_s, 16),        FIELD (date_ns, 20),
  FIELD (vm_clock_ns, 24), FIELD (vm_state_size, 32), FIELD (extra_len, 36),
};
#undef FIELD
static const VpLayout entry_layout = { entry_fields,
                                       G_N_ELEMENTS (entry_fields) };

void
qcow2_snapshot_free (gpointer data)
{
  Qcow2Snapshot *snapshot = data;
  if (!snapshot)
    return;
  vp_snapshot_free (snapshot->facts);
  g_clear_pointer (&snapshot->raw, g_bytes_unref);
  g_free (snapshot);
}

static char *
get_text (const uint8_t *bytes, size_t len)
{
  return g_utf8_make_valid ((const char *) bytes, (gssize) len);
}

static void
load_extra (VpSnapshot *facts, const uint8_t *extra, uint32_t len)
{
  if (len >= 8)
    facts->vm_state_size = vp_be64_get (extra);
  if (len >= 16)
    facts->disk_size = vp_be64_get (extra + 8);
  if (len >= 24) {
    facts->icount = vp_be64_get (extra + 16);
    facts->has_icount = facts->icount != UINT64_MAX;
  }
}

/* bytes: all of the entry, as the lengths in it say. */
static Qcow2Snapshot *
parse_entry (Qcow2 *q, const Entry *entry, const uint8_t *bytes, size_t len)
{
  Qcow2Snapshot *snapshot = g_new0 (Qcow2Snapshot, 1);
  VpSnapshot *facts = snapshot->facts = g_new0 (VpSnapshot, 1);
  const uint8_t *extra = bytes + FIXED_LEN, *id = extra + entry->extra_len;
  snapshot->l1_offset = entry->l1_offset;
  snapshot->l1_entries = entry->l1_entries;
  snapshot->raw = g_bytes_new (bytes, len);
  facts->vm_state_size = entry->vm_state_size;
  facts->disk_size = q->header.size;
  facts->date_s = entry->date_s;
  facts->date_ns = entry->date_ns;
  facts->vm_clock_ns = entry->vm_clock_ns;
  load_extra (facts, extra, entry->extra_len);
  facts->id = get_text (id, entry->id_len);
  facts->name = get_text (id + entry->id_len, entry->name_len);
  return snapshot;
}

/* For the check, which leaves out the extra data that nobody can want. */
static bool
load_trimmed (Qcow2 *q, const Entry *entry, const uint8_t *fixed,
              uint64_t *offset, GError **error)
{
  Entry trimmed = *entry;
  size_t names = (size_t) entry->id_len + entry->name_len;
  size_t len = (size_t) vp_round_up (FIXED_LEN + MAX_EXTRA + names, 8);
  g_autofree uint8_t *bytes = g_malloc0 (len);
  uint64_t names_at = *offset + FIXED_LEN + entry->extra_len;
  memcpy (bytes, fixed, FIXED_LEN);
  trimmed.extra_len = MAX_EXTRA;
  vp_layout_store (&entry_layout, &trimmed, bytes, FIXED_LEN);
  if (!vp_file_read (q->file, *offset + FIXED_LEN, bytes + FIXED_LEN, MAX_EXTRA,
                     error) ||
      !vp_file_read (q->file, names_at, bytes + FIXED_LEN + MAX_EXTRA, names,
                     error))
    return false;
  g_ptr_array_add (q->snapshots, parse_entry (q, &trimmed, bytes, len));
  q->snapshots_trimmed++;
  *offset = vp_round_up (names_at + names, 8);
  return true;
}

static bool
load_entry (Qcow2 *q, uint64_t *offset, GError **error)
{
  uint8_t fixed[FIXED_LEN];
  Entry entry;
  if (!vp_file_read (q->file, *offset, fixed, sizeof fixed, error))
    return false;
  vp_layout_load (&entry_layout, fixed, sizeof fixed, &entry);
  if (entry.extra_len > MAX_EXTRA) {
    if (!q->lenient)
      return qcow2_corrupt (
          q, error, "Too much extra metadata in snapshot table entry %u",
          q->snapshots->len);
    return load_trimmed (q, &entry, fixed, offset, error);
  }
  size_t rest = (size_t) entry.extra_len + entry.id_len + entry.name_len;
  size_t len = (size_t) vp_round_up (FIXED_LEN + rest, 8);
  g_autofree uint8_t *bytes = g_malloc0 (len);
  memcpy (bytes, fixed, sizeof fixed);
  if (!vp_file_read (q->file, *offset + FIXED_LEN, bytes + FIXED_LEN, rest,
                     error))
    return false;
  g_ptr_array_add (q->snapshots, parse_entry (q, &entry, bytes, len));
  *offset += len;
  return true;
}

bool
qcow2_load_snapshots (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  q->snapshots_end = h->snapshots_offset;
  if (h->n_snapshots == 0)
    return true;
  uint32_t count = MIN (h->n_snapshots, VP_MAX_SNAPSHOTS);
  if (h->n_snapshots > VP_MAX_SNAPSHOTS && !q->lenient)
    return qcow2_corrupt (q, error, "Snapshot table too large");
  if (h->snapshots_offset & (q->cluster_size - 1) || h->snapshots_offset == 0 ||
      h->snapshots_offset >= q->file_end)
    return qcow2_corrupt (q, error, "Snapshot table offset invalid");
  uint64_t offset = h->snapshots_offset;
  q->snapshots_dropped = h->n_snapshots - count;
  for (uint32_t i = 0; i < count; i++) {
    if (!load_entry (q, &offset, error))
      return false;
    if (offset - h->snapshots_offset > VP_MAX_SNAPSHOT_SIZE) {
      if (!q->lenient)
        return qcow2_corrupt (q, error, "Snapshot table too large");
      q->snapshots_dropped = h->n_snapshots - i;
      g_ptr_array_set_size (q->snapshots, (gint) i);
      break;
    }
    if (offset > vp_round_up (q->file_end, q->cluster_size))
      return qcow2_corrupt (q, error,
                            "the snapshot table runs past the end of the "
                            "file");
  }
  q->snapshots_end = offset;
  return true;
}

/* ---- finding ------------------------------------------------------------ */

static bool
text_is (const Qcow2Snapshot *snapshot, bool want_name, const char *text)
{
  const uint8_t *bytes = g_bytes_get_data (snapshot->raw, NULL);
  Entry entry;
  vp_layout_load (&entry_layout, bytes, FIXED_LEN, &entry);
  const uint8_t *at = bytes + FIXED_LEN + entry.extra_len;
  size_t len = entry.id_len;
  if (want_name) {
    at += entry.id_len;
    len = entry.name_len;
  }
  return strlen (text) == len && memcmp (at, text, len) == 0;
}

bool
qcow2_find_snapshot (Qcow2 *q, const char *id, const char *name,
                     guint *ret_index, GError **error)
{
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    if ((id && !text_is (snapshot, false, id)) ||
        (name && !text_is (snapshot, true, name)))
      continue;
    *ret_index = i;
    return true;
  }
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND,
                       "snapshot not found");
  return false;
}

/* One more than the highest number that is an id. */
static char *
next_id (const Qcow2 *q)
{
  uint64_t highest = 0;
  for (guint i = 0; i < q->snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    uint64_t number = g_ascii_strtoull (snapshot->facts->id, NULL, 10);
    if (number < UINT64_MAX)
      highest = MAX (highest, number);
  }
  return g_strdup_printf ("%" PRIu64, highest + 1);
}

/* ---- L1 tables ---------------------------------------------------------- */

static bool
check_l1 (Qcow2 *q, const Qcow2Snapshot *snapshot, GError **error)
{
  uint64_t length = (uint64_t) snapshot->l1_entries * 8;
  if (length > VP_MAX_TABLE_SIZE)
    return qcow2_corrupt (q, error, "Snapshot L1 table too large");
  if (snapshot->l1_offset & (q->cluster_size - 1) ||
      (length > 0 && snapshot->l1_offset == 0) ||
      !vp_range_ok (snapshot->l1_offset, length,
                    vp_round_up (q->file_end, q->cluster_size)))
    return qcow2_corrupt (q, error,
                          "Snapshot L1 table offset invalid (0x"
                          "%" G_GINT64_MODIFIER "x)",
                          snapshot->l1_offset);
  if (snapshot->facts->disk_size > VP_MAX_VIRTUAL_SIZE)
    return qcow2_corrupt (q, error, "a snapshot's disk size is too large");
  return true;
}

/* The snapshot's L1, with zeros behind it up to what its disk needs. */
uint8_t *
qcow2_read_snapshot_l1 (Qcow2 *q, const Qcow2Snapshot *snapshot,
                        uint64_t *ret_entries, GError **error)
{
  uint64_t reach = q->cluster_size << q->l2_bits;
  uint64_t size = snapshot->facts->disk_size;
  uint64_t needed = size / reach + (size % reach != 0);
  uint64_t entries = MAX (needed, snapshot->l1_entries);
  if (!check_l1 (q, snapshot, error))
    return NULL;
  if (entries * 8 > VP_MAX_TABLE_SIZE) {
    (void) qcow2_corrupt (q, error, "Snapshot L1 table too large");
    return NULL;
  }
  g_autofree uint8_t *l1 = g_malloc0 (MAX ((size_t) entries * 8, 8));
  if (!vp_file_read (q->file, snapshot->l1_offset, l1,
                     (size_t) snapshot->l1_entries * 8, error))
    return NULL;
  *ret_entries = entries;
  return g_steal_pointer (&l1);
}

/* ---- the table ---------------------------------------------------------- */

static bool
put_table (Qcow2 *q, GPtrArray *snapshots, uint64_t *ret_offset,
           uint64_t *ret_len, GError **error)
{
  g_autoptr (GByteArray) table = g_byte_array_new ();
  for (guint i = 0; i < snapshots->len; i++) {
    const Qcow2Snapshot *snapshot = g_ptr_array_index (snapshots, i);
    size_t len;
    const uint8_t *bytes = g_bytes_get_data (snapshot->raw, &len);
    g_byte_array_append (table, bytes, (guint) len);
  }
  if (table->len > VP_MAX_SNAPSHOT_SIZE) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the snapshot table has no room for more", q->file->name);
    return false;
  }
  *ret_len = table->len;
  return qcow2_put_metadata (q, table->data, table->len, ret_offset, error);
}

/* The cell of the header changes on disk, then the old table may go. */
static bool
switch_table (Qcow2 *q, uint32_t count, uint64_t offset, uint64_t len,
              GError **error)
{
  Qcow2Header *h = &q->header;
  uint64_t old_offset = h->snapshots_offset;
  uint64_t old_len = q->snapshots_end - old_offset;
  uint32_t old_count = h->n_snapshots;
  h->n_snapshots = count;
  h->snapshots_offset = offset;
  if (!vp_tables_flush (q->tables, error) ||
      !qcow2_store_cell (q, QCOW2_CELL_SNAPSHOTS, QCOW2_ORDER_MAP, error)) {
    h->n_snapshots = old_count;
    h->snapshots_offset = old_offset;
    return false;
  }
  q->snapshots_end = offset + len;
  qcow2_drop_metadata (q, old_offset, old_count > 0 ? old_len : 0);
  return true;
}

/* The same entry with as much extra data as version 3 wants. */
static GBytes *
complete_entry (const Qcow2Snapshot *snapshot)
{
  const uint8_t *old = g_bytes_get_data (snapshot->raw, NULL);
  Entry entry;
  vp_layout_load (&entry_layout, old, FIXED_LEN, &entry);
  size_t names = (size_t) entry.id_len + entry.name_len;
  size_t len = (size_t) vp_round_up (FIXED_LEN + MIN_EXTRA + names, 8);
  uint8_t *new = g_malloc0 (len);
  memcpy (new + FIXED_LEN + MIN_EXTRA, old + FIXED_LEN + entry.extra_len,
          names);
  entry.extra_len = MIN_EXTRA;
  vp_layout_store (&entry_layout, &entry, new, FIXED_LEN);
  vp_be64_set (new + FIXED_LEN, snapshot->facts->vm_state_size);
  vp_be64_set (new + FIXED_LEN + 8, snapshot->facts->disk_size);
  return g_bytes_new_take (new, len);
}

/* always: also where no entry needs it. */
static bool
rewrite_table (Qcow2 *q, bool always, GError **error)
{
  uint64_t offset, len;
  bool changed = always;
  for (guint i = 0; i < q->snapshots->len; i++) {
    Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, i);
    const uint8_t *raw = g_bytes_get_data (snapshot->raw, NULL);
    if (vp_be32_get (raw + 36) >= MIN_EXTRA)
      continue;
    GBytes *complete = complete_entry (snapshot);
    g_bytes_unref (snapshot->raw);
    snapshot->raw = complete;
    changed = true;
  }
  if (!changed)
    return true;
  if (!put_table (q, q->snapshots, &offset, &len, error))
    return false;
  if (switch_table (q, q->snapshots->len, offset, len, error))
    return qcow2_flush (q, error);
  qcow2_drop_metadata (q, offset, len);
  return false;
}

bool
qcow2_complete_snapshots (Qcow2 *q, GError **error)
{
  return rewrite_table (q, false, error);
}

bool
qcow2_rewrite_snapshots (Qcow2 *q, GError **error)
{
  q->snapshots_dropped = q->snapshots_trimmed = 0;
  return rewrite_table (q, true, error);
}

bool
qcow2_can_snapshot (Qcow2 *q, GError **error)
{
  const char *why = NULL;
  if (q->broken)
    return qcow2_corrupt (q, error, "marked as corrupt; nothing is written");
  if (q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
    why = "an image with an external data file cannot have snapshots";
  else if (q->header.refcount_order == 0)
    why = "refcounts of 1 bit cannot count a snapshot; widen them "
          "(amend -o refcount_bits=16)";
  if (!why)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED, "%s: %s",
               q->file->name, why);
  return false;
}

/* ---- create ------------------------------------------------------------- */

static Qcow2Snapshot *
make_entry (Qcow2 *q, const VpSnapshot *facts, uint64_t l1_offset)
{
  g_autofree char *id = facts->id ? g_strdup (facts->id) : next_id (q);
  size_t id_len = MIN (strlen (id), MAX_ID);
  size_t name_len = MIN (strlen (facts->name), MAX_NAME);
  size_t used = FIXED_LEN + OUR_EXTRA + id_len + name_len;
  size_t len = (size_t) vp_round_up (used, 8);
  g_autofree uint8_t *bytes = g_malloc0 (len);
  Entry entry = {
    .l1_offset = l1_offset,
    .l1_entries = q->header.l1_entries,
    .id_len = (uint16_t) id_len,
    .name_len = (uint16_t) name_len,
    .date_s = facts->date_s,
    .date_ns = facts->date_ns,
    .vm_clock_ns = facts->vm_clock_ns,
    /* What does not fit into 32 bits stands in the extra data alone. */
    .vm_state_size = facts->vm_state_size <= UINT32_MAX
                         ? (uint32_t) facts->vm_state_size
                         : 0,
    .extra_len = OUR_EXTRA,
  };
  vp_layout_store (&entry_layout, &entry, bytes, FIXED_LEN);
  vp_be64_set (bytes + FIXED_LEN, facts->vm_state_size);
  vp_be64_set (bytes + FIXED_LEN + 8, q->header.size);
  vp_be64_set (bytes + FIXED_LEN + 16,
               facts->has_icount ? facts->icount : UINT64_MAX);
  memcpy (bytes + FIXED_LEN + OUR_EXTRA, id, id_len);
  memcpy (bytes + FIXED_LEN + OUR_EXTRA + id_len, facts->name, name_len);
  return parse_entry (q, &entry, bytes, len);
}

/* All that the active L1 leads to gets another user; its own entries, and
 * those of the L2 tables, are no longer to be written in place. */
static bool
share_active (Qcow2 *q, GError **error)
{
  size_t len = (size_t) q->header.l1_entries * 8;
  if (!qcow2_settle (q, error))
    return false;
  g_autoptr (GArray) branches = qcow2_branches (q, len ? qcow2_l1 (q) : NULL,
                                                q->header.l1_entries, error);
  if (!branches || !qcow2_count (q, branches, true, error) ||
      !qcow2_clear_copied (q, branches, error))
    return false;
  if (len == 0)
    return true;
  uint8_t *l1 = qcow2_l1 (q);
  for (size_t at = 0; at < len; at += 8)
    l1[at] &= 0x7f;
  vp_tables_dirty (q->tables, q->header.l1_offset, 0, len, QCOW2_ORDER_MAP);
  return vp_tables_flush (q->tables, error);
}

bool
qcow2_snapshot_create (gpointer state, const VpSnapshot *facts, GError **error)
{
  Qcow2 *q = state;
  size_t l1_len = (size_t) q->header.l1_entries * 8;
  uint64_t l1_offset, offset, len;
  guint index;
  if (!qcow2_can_snapshot (q, error))
    return false;
  if (facts->id && qcow2_find_snapshot (q, facts->id, NULL, &index, NULL)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: there is a snapshot %s already", q->file->name,
                 facts->id);
    return false;
  }
  if (q->snapshots->len >= VP_MAX_SNAPSHOTS) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: there are %u snapshots, the most that there can be",
                 q->file->name, VP_MAX_SNAPSHOTS);
    return false;
  }
  if (!qcow2_flush (q, error) ||
      !qcow2_put_metadata (q, l1_len ? qcow2_l1 (q) : NULL, l1_len, &l1_offset,
                           error))
    return false;
  g_ptr_array_add (q->snapshots, make_entry (q, facts, l1_offset));
  if (put_table (q, q->snapshots, &offset, &len, error)) {
    if (share_active (q, error) &&
        switch_table (q, q->snapshots->len, offset, len, error))
      return qcow2_flush (q, error);
    qcow2_drop_metadata (q, offset, len);
  }
  qcow2_drop_metadata (q, l1_offset, l1_len);
  g_ptr_array_remove_index (q->snapshots, q->snapshots->len - 1);
  return false;
}

/* ---- delete ------------------------------------------------------------- */

bool
qcow2_snapshot_delete (gpointer state, const char *id, const char *name,
                       GError **error)
{
  Qcow2 *q = state;
  uint64_t offset, len, entries;
  guint index;
  if (!qcow2_find_snapshot (q, id, name, &index, error) ||
      !qcow2_can_snapshot (q, error) || !qcow2_settle (q, error))
    return false;
  Qcow2Snapshot *snapshot = g_ptr_array_index (q->snapshots, index);
  g_autofree uint8_t *l1 =
      qcow2_read_snapshot_l1 (q, snapshot, &entries, error);
  if (!l1)
    return false;
  g_autoptr (GArray) branches =
      qcow2_branches (q, l1, snapshot->l1_entries, error);
  if (!branches || !qcow2_can_count (q, branches, false, error))
    return false;

  snapshot = g_ptr_array_steal_index (q->snapshots, index);
  bool ok = put_table (q, q->snapshots, &offset, &len, error);
  if (ok && !switch_table (q, q->snapshots->len, offset, len, error)) {
    qcow2_drop_metadata (q, offset, len);
    ok = false;
  }
  if (!ok) {
    g_ptr_array_insert (q->snapshots, (gint) index, snapshot);
    return false;
  }
  qcow2_drop_metadata (q, snapshot->l1_offset,
                       (uint64_t) snapshot->l1_entries * 8);
  qcow2_snapshot_free (snapshot);
  /* From here on a failure leaks what the snapshot had for itself. */
  if (!qcow2_settle (q, error))
    return false;
  g_autoptr (GArray) active =
      qcow2_branches (q, q->header.l1_entries ? qcow2_l1 (q) : NULL,
                      q->header.l1_entries, error);
  return active && qcow2_count_down_to_active (q, branches, active, error);
}
