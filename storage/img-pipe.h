/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-pipe: "-" instead of a file name: an image from the standard input, a
 * disk to the standard output.
 *
 * Formats need to seek.  What comes from a pipe is put into a file without a
 * name first ($TMPDIR, else /var/tmp; holes where there are zeros), and so is
 * a qcow2 image that goes into one; raw bytes go out as they are read. */
#pragma once

#include "storage/img.h"

bool vp_img_is_pipe (const char *name);

/* The image on the standard input, to be read only.  format NULL: probed.
 * safe: opens nothing that it names. */
VpImage *vp_img_pipe_open (const char *format, bool safe,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A file without a name; close it.  -1 with error. */
int vp_img_pipe_spool (GError **error);
/* All of fd to the standard output. */
bool vp_img_pipe_send (int fd, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The guest bytes [offset, offset + length) to the standard output. */
bool vp_img_pipe_send_disk (VpImage *image, uint64_t offset, uint64_t length,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
