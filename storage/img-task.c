/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-task: the options that verbs on one image share. */
#include "config.h"

#include "storage/img-task.h"

void
vp_img_task_clear (VpImgTask *task)
{
  vp_img_access_clear (&task->access);
}

int
vp_img_task_take (VpImgTask *task, int c)
{
  bool ok = true;

  switch (c) {
  case 'q': task->quiet = true; break;
  case 'f': task->format = optarg; break;
  case 'p': task->progress = VP_IMG_PROGRESS_BAR; break;
  case 'P': ok = vp_img_parse_progress (optarg, &task->progress); break;
  case 't':
    ok = vp_img_parse_cache (optarg, "cache", &task->access.caching);
    break;
  default: ok = vp_img_access_take (&task->access, c);
  }
  return ok ? -1 : 1;
}

int
vp_img_task_take_name (VpImgTask *task, int argc, char **argv)
{
  if (optind != argc - 1)
    return vp_img_misuse ("Expecting one image file name");
  task->filename = argv[optind];
  return vp_img_access_check (&task->access, task->format) ? -1 : 1;
}

VpImage *
vp_img_task_open (const VpImgTask *task, VpImageFlags flags, GError **error)
{
  return vp_img_open (&task->access, task->filename, task->format, flags,
                      error);
}

void
vp_img_task_begin (const VpImgTask *task, VpImgProgress *progress)
{
  vp_img_progress_begin (progress,
                         task->quiet ? VP_IMG_PROGRESS_NONE : task->progress);
}
