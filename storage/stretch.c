/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* stretch: runs of any layer of a chain, each with its place in a buffer. */
#include "config.h"

#include "storage/stretch.h"

#include "storage/image-internal.h"

typedef struct {
  VpRun run;
  uint64_t offset; /* in the image */
  size_t at, len;
} Part;

struct VpStretch {
  GArray *parts;
};

VpStretch *
vp_stretch_new (void)
{
  VpStretch *stretch = g_new0 (VpStretch, 1);
  stretch->parts = g_array_new (FALSE, FALSE, sizeof (Part));
  return stretch;
}

void
vp_stretch_free (VpStretch *stretch)
{
  if (!stretch)
    return;
  g_array_unref (stretch->parts);
  g_free (stretch);
}

void
vp_stretch_clear (VpStretch *stretch)
{
  g_array_set_size (stretch->parts, 0);
}

bool
vp_stretch_add (VpStretch *stretch, VpImage *image, uint64_t offset, size_t len,
                size_t at, GError **error)
{
  while (len > 0) {
    VpAnswer answer;
    if (!vp_image_resolve (image, offset, len, &answer, error) ||
        !vp_image_check_answer (&answer, error))
      return false;
    size_t part_len = (size_t) answer.run.length;
    Part part = { answer.run, offset, at, part_len };
    g_array_append_val (stretch->parts, part);
    offset += part_len;
    at += part_len;
    len -= part_len;
  }
  return true;
}

bool
vp_stretch_read (const VpStretch *stretch, VpTransfer *transfer,
                 uint8_t *buffer, GError **error)
{
  for (guint i = 0; i < stretch->parts->len; i++) {
    const Part *part = &g_array_index (stretch->parts, Part, i);
    if (vp_transfer_read (transfer, &part->run, buffer + part->at, part->len,
                          error))
      continue;
    g_prefix_error (error, "error while reading offset %" G_GUINT64_FORMAT ": ",
                    part->offset);
    return false;
  }
  return true;
}
