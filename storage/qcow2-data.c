/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-data: the external data file.  The image says that it has one and what
 * it is called; whoever opened the image decides whether it is opened
 * (format.h: the gate).  Until then a file stands in its place that nobody can
 * read. */
#include "config.h"

#include "storage/qcow2.h"

#include "storage/error.h"

/* ---- the one that is not there ------------------------------------------ */

static bool
refuse (VpFile *file, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
               "%s: these bytes are in its data file, which was not opened",
               file->name);
  return false;
}

static bool
absent_read (VpFile *file, uint64_t offset, void *buffer, size_t len,
             GError **error)
{
  return refuse (file, error);
}

static bool
absent_get_size (VpFile *file, uint64_t *ret_size, GError **error)
{
  return refuse (file, error);
}

/* Not writable, so the other rows are never reached. */
static const VpFileClass absent_class = {
  .read = absent_read,
  .get_size = absent_get_size,
};

void
qcow2_expect_data_file (Qcow2 *q)
{
  VpFile *absent = g_new0 (VpFile, 1);
  vp_file_init (absent, &absent_class, q->file->name, false);
  q->external = true;
  q->data = absent;
}

/* ---- rows ---------------------------------------------------------------- */

bool
qcow2_needs_data_file (gpointer state, const char **ret_name)
{
  Qcow2 *q = state;
  *ret_name = q->data_file;
  return q->external;
}

void
qcow2_set_data_file (gpointer state, VpFile *file)
{
  Qcow2 *q = state;
  g_return_if_fail (q->external);
  vp_file_unref (q->data);
  q->data = vp_file_ref (file);
  q->has_data = true;
  vp_tables_set_data (q->tables, file);
}

bool
qcow2_is_raw (const Qcow2 *q)
{
  return q->external && q->header.autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
}
