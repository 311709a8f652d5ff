/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-snapshot: the points in time within an image: list, take, go back to,
 * delete.  The backing file is not needed for any of it and is not opened. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-task.h"

#include <stdio.h>

#include "storage/snapshot.h"

typedef struct {
  VpImgTask *task; /* borrowed */
  const char *snapshot;
  char action; /* 'l', 'a', 'c', 'd', or 0 */
} Arguments;

static bool
set_action (Arguments *arguments, int action)
{
  if (arguments->action != '\0') {
    (void) vp_img_misuse ("Cannot mix '-l', '-a', '-c', '-d'");
    return false;
  }
  arguments->action = (char) action;
  arguments->snapshot = optarg;
  return true;
}

static bool
parse (int argc, char **argv, Arguments *arguments)
{
  static const struct option longs[] = {
    { "list", no_argument, NULL, 'l' },
    { "apply", required_argument, NULL, 'a' },
    { "create", required_argument, NULL, 'c' },
    { "delete", required_argument, NULL, 'd' },
    { "format", required_argument, NULL, 'f' },
    { "quiet", no_argument, NULL, 'q' },
    VP_IMG_ACCESS_OPTIONS,
    { NULL, 0, NULL, 0 }
  };
  int c;

  while ((c = vp_img_getopt (argc, argv, "la:c:d:f:qU", longs)) >= 0)
    switch (c) {
    case 'l':
    case 'a':
    case 'c':
    case 'd':
      if (!set_action (arguments, c))
        return false;
      break;
    default:
      if (vp_img_task_take (arguments->task, c) >= 0)
        return false;
    }
  return vp_img_task_take_name (arguments->task, argc, argv) < 0;
}

static int
list (VpImage *image, const Arguments *arguments)
{
  g_autoptr (GError) error = NULL;
  g_auto (VpImageInfo) info = { 0 };

  if (!vp_image_get_info (image, &info, &error))
    return vp_img_fail_about (arguments->task->filename, error, 1);
  if (info.snapshots != NULL && info.snapshots->len > 0)
    vp_img_print_snapshots (info.snapshots, info.snapshots->len);
  return 0;
}

static int
change (VpImage *image, const Arguments *arguments)
{
  g_autoptr (GError) error = NULL;
  const char *name = arguments->snapshot, *what = "create";
  bool ok;

  if (arguments->action == 'c')
    ok = vp_image_snapshot_create (image, name, &error);
  else if (arguments->action == 'a') {
    what = "apply";
    ok = vp_image_snapshot_apply (image, name, &error);
  } else {
    what = "delete";
    ok = vp_image_snapshot_delete (image, name, &error);
  }
  if (ok)
    return 0;
  g_autofree char *printable = vp_img_printable (name);
  if (arguments->action == 'a' &&
      g_error_matches (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_NOT_FOUND)) {
    vp_img_complain ("Could not apply snapshot '%s': Failed to load snapshot: "
                     "No such file or directory",
                     printable);
    return 1;
  }
  vp_img_complain ("Could not %s snapshot '%s': %s", what, printable,
                   error->message);
  return 1;
}

static int
run_snapshot (int argc, char **argv)
{
  g_auto (VpImgTask) task = { 0 };
  Arguments arguments = { .task = &task };
  g_autoptr (GError) error = NULL;

  if (!parse (argc, argv, &arguments))
    return 1;
  /* No byte of the disk is read or written, so that no key is needed.
   * Without an action the image is opened, as qemu-img does, and that is
   * all. */
  bool writes = arguments.action != 'l' && arguments.action != '\0';
  VpImageFlags flags = VP_IMAGE_NO_BACKING | VP_IMAGE_NO_IO;
  flags |= writes ? VP_IMAGE_WRITABLE : VP_IMAGE_READ_ONLY;
  g_autoptr (VpImage) image = vp_img_task_open (&task, flags, &error);
  if (image == NULL)
    return vp_img_fail_open (task.filename, error, 1);
  int status = writes                    ? change (image, &arguments)
               : arguments.action == 'l' ? list (image, &arguments)
                                         : 0;
  if (!vp_image_close (g_steal_pointer (&image), &error) && status == 0)
    return vp_img_fail_about (task.filename, error, 1);
  return status;
}

const VpImgVerb vp_img_verb_snapshot = {
  "snapshot", run_snapshot,
  "[--object objectdef] [--image-opts] [-f fmt] [-U] [-q] [-l | -a snapshot | "
  "-c snapshot | -d snapshot] filename",
  "  -l, --list             list the snapshots in the image\n"
  "  -c, --create=name      take one of the disk as it is now\n"
  "  -a, --apply=snapshot   bring the disk back to one, by id or name; what\n"
  "                         was written since is lost\n"
  "  -d, --delete=snapshot  delete one, by name or id\n"
  "  -f, --format=fmt       format of the image; guessed without\n"
  "  -q, --quiet            accepted; there is nothing to say\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "  -U, --force-share      look at no lock\n"
};
