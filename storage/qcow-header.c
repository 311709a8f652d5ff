/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow-header: 48 bytes and the name of the backing file, read with suspicion;
 * changed by one write of the header, which lies in one sector, so that a cut
 * leaves the old one or the new one.  Sectors that do not make a whole one at
 * the disk's end do not exist, as QEMU has it.
 *
 * The format of the backing file is not written down anywhere. */
#include "config.h"

#include "storage/qcow.h"

#include <string.h>

#include "storage/describe.h"
#include "storage/error.h"

#define MAX_L1_BYTES          VP_MAX_TABLE_SIZE

#define FIELD(member, offset) VP_FIELD_BE (QcowHeader, member, offset)
static const VpField header_fields[] = {
  FIELD (magic, 0),         FIELD (version, 4),    FIELD (backing_offset, 8),
  FIELD (backing_len, 16),  FIELD (mtime, 20),     FIELD (size, 24),
  FIELD (cluster_bits, 32), FIELD (l2_bits, 33),   FIELD (padding, 34),
  FIELD (crypt_method, 36), FIELD (l1_offset, 40),
};
#undef FIELD
const VpLayout qcow_header_layout = { header_fields,
                                      G_N_ELEMENTS (header_fields) };

/* ---- loading ------------------------------------------------------------ */

static bool
check_geometry (Qcow *q, GError **error)
{
  const QcowHeader *h = &q->header;
  if (h->size <= 1)
    return qcow_corrupt (q, error,
                         "Image size is too small (must be at least 2 bytes)");
  if (h->cluster_bits < QCOW_MIN_CLUSTER || h->cluster_bits > QCOW_MAX_CLUSTER)
    return qcow_corrupt (q, error, "Cluster size must be between 512 and 64k");
  if (h->l2_bits < QCOW_MIN_L2 || h->l2_bits > QCOW_MAX_L2)
    return qcow_corrupt (q, error, "L2 table size must be between 512 and 64k");
  if (h->crypt_method > 1)
    return qcow_corrupt (q, error, "invalid encryption method in qcow header");
  if (h->size > VP_MAX_VIRTUAL_SIZE)
    return qcow_corrupt (q, error, "Image too large");
  q->cluster_size = UINT64_C (1) << h->cluster_bits;
  q->size = vp_round_down (h->size, 512);
  return true;
}

/* A short file with a long table is after our memory. */
static bool
check_l1 (Qcow *q, GError **error)
{
  const QcowHeader *h = &q->header;
  q->l1_entries = qcow_l1_needed (q, h->size);
  uint64_t length = q->l1_entries * 8;
  if (length > MAX_L1_BYTES)
    return qcow_corrupt (q, error, "Image too large");
  if (h->l1_offset < QCOW_HEADER_LEN || h->l1_offset % 8 != 0 ||
      !vp_range_ok (h->l1_offset, length, q->file_end))
    return qcow_corrupt (q, error, "L1 table is misplaced (0x%" PRIx64 ")",
                         h->l1_offset);
  return true;
}

static bool
load_backing (Qcow *q, GError **error)
{
  const QcowHeader *h = &q->header;
  uint8_t name[VP_MAX_NAME_LEN];
  if (h->backing_offset == 0 || h->backing_len == 0)
    return true;
  if (h->backing_len > VP_MAX_NAME_LEN)
    return qcow_corrupt (q, error, "Backing file name too long");
  if (h->backing_offset < QCOW_HEADER_LEN ||
      !vp_range_ok (h->backing_offset, h->backing_len, q->file_end))
    return qcow_corrupt (q, error,
                         "the backing file's name is misplaced (0x%" PRIx64 ")",
                         h->backing_offset);
  if (!vp_file_read (q->file, h->backing_offset, name, h->backing_len, error))
    return false;
  if (memchr (name, 0, h->backing_len))
    return qcow_corrupt (q, error, "the backing file's name holds a NUL");
  q->backing_name = g_strndup ((const char *) name, h->backing_len);
  return true;
}

bool
qcow_load_header (Qcow *q, GError **error)
{
  uint8_t start[QCOW_HEADER_LEN];
  QcowHeader *h = &q->header;
  if (!vp_file_get_size (q->file, &q->file_end, error) ||
      !vp_file_read (q->file, 0, start, sizeof start, error))
    return false;
  vp_layout_load (&qcow_header_layout, start, sizeof start, h);
  if (q->file_end < QCOW_HEADER_LEN)
    return qcow_corrupt (q, error, "Could not read qcow header: too short");
  if (h->magic != QCOW_MAGIC)
    return qcow_corrupt (q, error, "Image not in qcow format");
  if (h->version != 1)
    return qcow_corrupt (q, error, "qcow version %" PRIu32 " is not version 1",
                         h->version);
  return check_geometry (q, error) && check_l1 (q, error) &&
         load_backing (q, error);
}

/* ---- changing ----------------------------------------------------------- */

/* Pinned at open, so neither reads nor fails. */
void
qcow_store_header (Qcow *q)
{
  uint8_t *block = vp_tables_load (q->tables, 0, QCOW_HEADER_LEN, NULL);
  vp_layout_store (&qcow_header_layout, &q->header, block, QCOW_HEADER_LEN);
  vp_tables_dirty (q->tables, 0, 0, QCOW_HEADER_LEN, QCOW_ORDER_MAP);
}

/* The new name never goes over the old one. */
static bool
put_name (Qcow *q, const char *name, size_t len, GError **error)
{
  QcowHeader *h = &q->header;
  uint64_t clusters =
      vp_round_up (len, q->cluster_size) >> q->header.cluster_bits;
  if (!qcow_allocate (q, clusters, true, QCOW_FIXED, &h->backing_offset, NULL,
                      error))
    return false;
  h->backing_len = (uint32_t) len;
  if (vp_file_write (q->file, h->backing_offset, name, len, error))
    return true;
  qcow_free_later (q, h->backing_offset, len);
  return false;
}

bool
qcow_set_backing (gpointer state, const char *name, const char *format,
                  GError **error)
{
  Qcow *q = state;
  QcowHeader old = q->header;
  size_t len = name ? strlen (name) : 0;
  if (len > VP_MAX_NAME_LEN || (name && len == 0)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: the name of the backing file is empty or too long",
                 q->file->name);
    return false;
  }
  if (!qcow_survey (q, error) || !vp_tables_flush (q->tables, error))
    return false;
  q->header.backing_offset = q->header.backing_len = q->header.mtime = 0;
  if (name && !put_name (q, name, len, error)) {
    q->header = old;
    return false;
  }
  qcow_store_header (q);
  if (!vp_tables_flush (q->tables, error)) {
    /* The new one must not go out with a later flush. */
    q->header = old;
    qcow_store_header (q);
    return false;
  }
  if (q->backing_name)
    qcow_free_later (q, old.backing_offset, old.backing_len);
  g_free (q->backing_name);
  q->backing_name = g_strdup (name);
  q->expects_backing = false;
  return true;
}

/* ---- in words ----------------------------------------------------------- */

static char *
power (uint64_t bits, const char *unit)
{
  return bits > 62
             ? g_strdup ("too large")
             : g_strdup_printf ("%" PRIu64 "%s", UINT64_C (1) << bits, unit);
}

static char *
meaning_of (const char *name, uint64_t value)
{
  if (strcmp (name, "magic") == 0)
    return g_strdup (value == QCOW_MAGIC ? "QFI\\xfb" : "not qcow");
  if (strcmp (name, "version") == 0)
    return g_strdup (value == 1 ? "the first" : "not qcow's first");
  if (strcmp (name, "cluster_bits") == 0)
    return power (value, " bytes a cluster");
  if (strcmp (name, "l2_bits") == 0)
    return power (value, " entries in an L2 table");
  if (strcmp (name, "crypt_method") == 0)
    return g_strdup (value == 0   ? "not encrypted"
                     : value == 1 ? "AES"
                                  : "unknown");
  if (strcmp (name, "backing_offset") == 0 && value == 0)
    return g_strdup ("no backing file");
  return NULL;
}

static bool
describe_name (VpFile *file, const QcowHeader *h, uint64_t size,
               GPtrArray *facts, GError **error)
{
  if (h->backing_offset == 0 || h->backing_len > VP_MAX_NAME_LEN ||
      !vp_range_ok (h->backing_offset, h->backing_len, size))
    return true;
  g_autofree char *name = g_malloc0 (h->backing_len + 1);
  if (!vp_file_read (file, h->backing_offset, name, h->backing_len, error))
    return false;
  vp_describe_text (facts, h->backing_offset, h->backing_len,
                    "backing file name", g_steal_pointer (&name));
  return true;
}

bool
qcow_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  uint8_t start[QCOW_HEADER_LEN];
  QcowHeader header = { 0 };
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  size_t len = (size_t) MIN (size, sizeof start);
  if (!vp_file_read (file, 0, start, len, error))
    return false;
  vp_layout_load (&qcow_header_layout, start, len, &header);
  for (size_t i = 0; i < G_N_ELEMENTS (header_fields); i++) {
    const VpField *field = &header_fields[i];
    if (!vp_range_ok (field->offset, field->width, len))
      continue;
    uint64_t value = vp_layout_get (field, &header);
    vp_describe_number (facts, field->offset, field->width, field->name, value,
                        meaning_of (field->name, value));
  }
  return header.magic != QCOW_MAGIC ||
         describe_name (file, &header, size, facts, error);
}
