/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-snapshot: reads the table of internal snapshots, entry by entry, each
 * of variable length:
 *
 *     fixed part (40) | extra data | id | name | padding to 8
 *
 * Their clusters are protected by refcounts; here are names and L1 tables. */
#include "config.h"

#include "storage/qcow2.h"

#define FIXED_LEN 40u
#define MAX_EXTRA 1024u

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
  vp_snapshot_free (snapshot->facts);
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

static bool
load_entry (Qcow2 *q, uint64_t *offset, GError **error)
{
  uint8_t fixed[FIXED_LEN];
  Entry entry;
  if (!vp_file_read (q->file, *offset, fixed, sizeof fixed, error))
    return false;
  vp_layout_load (&entry_layout, fixed, sizeof fixed, &entry);
  if (entry.extra_len > MAX_EXTRA)
    return qcow2_corrupt (q, error,
                          "Too much extra metadata in snapshot table entry %u",
                          q->snapshots->len);
  size_t rest = (size_t) entry.extra_len + entry.id_len + entry.name_len;
  g_autofree uint8_t *bytes = g_malloc (MAX (rest, 1));
  if (!vp_file_read (q->file, *offset + FIXED_LEN, bytes, rest, error))
    return false;

  Qcow2Snapshot *snapshot = g_new0 (Qcow2Snapshot, 1);
  VpSnapshot *facts = snapshot->facts = g_new0 (VpSnapshot, 1);
  g_ptr_array_add (q->snapshots, snapshot);
  snapshot->l1_offset = entry.l1_offset;
  snapshot->l1_entries = entry.l1_entries;
  facts->vm_state_size = entry.vm_state_size;
  facts->disk_size = q->header.size;
  facts->date_s = entry.date_s;
  facts->date_ns = entry.date_ns;
  facts->vm_clock_ns = entry.vm_clock_ns;
  load_extra (facts, bytes, entry.extra_len);
  facts->id = get_text (bytes + entry.extra_len, entry.id_len);
  facts->name =
      get_text (bytes + entry.extra_len + entry.id_len, entry.name_len);
  *offset = vp_round_up (*offset + FIXED_LEN + rest, 8);
  return true;
}

bool
qcow2_load_snapshots (Qcow2 *q, GError **error)
{
  const Qcow2Header *h = &q->header;
  q->snapshots_end = h->snapshots_offset;
  if (h->n_snapshots == 0)
    return true;
  if (h->n_snapshots > VP_MAX_SNAPSHOTS)
    return qcow2_corrupt (q, error, "Snapshot table too large");
  if (h->snapshots_offset & (q->cluster_size - 1) || h->snapshots_offset == 0 ||
      h->snapshots_offset >= q->file_end)
    return qcow2_corrupt (q, error, "Snapshot table offset invalid");
  uint64_t offset = h->snapshots_offset;
  for (uint32_t i = 0; i < h->n_snapshots; i++) {
    if (!load_entry (q, &offset, error))
      return false;
    if (offset - h->snapshots_offset > VP_MAX_SNAPSHOT_SIZE)
      return qcow2_corrupt (q, error, "Snapshot table too large");
    if (offset > vp_round_up (q->file_end, q->cluster_size))
      return qcow2_corrupt (q, error,
                            "the snapshot table runs past the end of the "
                            "file");
  }
  q->snapshots_end = offset;
  return true;
}
