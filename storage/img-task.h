/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-task: what a verb that works on one image is told, in the same letters
 * by every one of them: -f, -q, -p, -t, the name. */
#pragma once

#include "storage/img-names.h"
#include "storage/img.h"

typedef struct {
  const char *filename, *format;
  VpImgProgressKind progress;
  bool quiet;
  VpImgAccess access;
} VpImgTask;

void vp_img_task_clear (VpImgTask *task);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpImgTask, vp_img_task_clear)

/* Takes option c ('P' is --progress) with optarg, also of VpImgAccess; -1: go
 * on; else the status to end with, after a complaint. */
int vp_img_task_take (VpImgTask *task, int c);
/* What is left is the name; as above. */
int vp_img_task_take_name (VpImgTask *task, int argc, char **argv);
/* The image of that name. */
VpImage *vp_img_task_open (const VpImgTask *task, VpImageFlags flags,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* vp_img_progress_begin (), silent with -q. */
void vp_img_task_begin (const VpImgTask *task, VpImgProgress *progress);
