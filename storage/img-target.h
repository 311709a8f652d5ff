/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-target: the file that create and convert write.
 *
 * A new one has no name until it is whole, so that neither a mistake nor a
 * crash leaves half an image behind (a file system without O_TMPFILE makes it
 * under its name and removes it after a mistake).  One that is there already,
 * a file or a block device, is written in place and keeps its owner, mode and
 * place. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"

typedef struct {
  char *path; /* owned */
  int fd;     /* owned, read-write */
  VpFileCaching caching;
  GPtrArray *sources; /* of VpImage, borrowed: what it is not to be */
  GPtrArray *made;    /* paths of extents that were not there, and NULL */
  enum {
    VP_IMG_TARGET_OLD,
    VP_IMG_TARGET_NAMELESS,
    VP_IMG_TARGET_NEW,
    VP_IMG_TARGET_PIPE /* the standard output, when it is whole */
  } kind;
} VpImgTarget;

bool vp_img_target_open (VpImgTarget *target, const char *path, GError **error);
/* A new image in it.  Its data file, where it is to have one, is made as well,
 * under its own name; the backing file is not opened. */
bool vp_img_target_create (VpImgTarget *target, const VpFormat *format,
                           const VpCreateOptions *options,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A new image in it, open for writing, whose order does not matter before it
 * is closed and committed.  opener is for its backing file; NULL: has none. */
VpImage *vp_img_target_make (VpImgTarget *target, const VpFormat *format,
                             const VpCreateOptions *options, VpOpener *opener,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Does the image that was just made there read as zeros?  A raw disk on a
 * device holds what was on it before. */
bool vp_img_target_reads_zeros (VpImage *image);
/* Opens the new image, with the key that options name. */
VpImage *vp_img_target_open_image (const VpImgTarget *target,
                                   const VpFormat *format,
                                   const VpCreateOptions *options,
                                   VpOpener *opener,
                                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Says that it failed, and what is left of an old file or a device. */
int vp_img_target_fail (const VpImgTarget *target, const GError *error);
/* Names it; a file that came to be there meanwhile is not replaced. */
bool vp_img_target_commit (VpImgTarget *target, GError **error);
/* What was not committed leaves no trace, or as it is where it was old. */
void vp_img_target_clear (VpImgTarget *target);
/* Complains where the source, or what it stands on, is kept in the file. */
bool vp_img_target_check_source (VpImgTarget *target, VpImage *source);
/* The same for an image that is open already, of that name. */
bool vp_img_target_check_image (VpImage *target, const char *path,
                                VpImage *source);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpImgTarget, vp_img_target_clear)
