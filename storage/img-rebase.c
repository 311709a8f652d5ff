/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-rebase: another backing file; what the image would lose is copied into
 * it first.  Only -u believes that there is nothing to copy. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-task.h"
#include "storage/rebase.h"

#include <stdio.h>

typedef struct {
  VpImgTask *task; /* borrowed */
  const char *base, *base_format;
  VpFileCaching base_caching;
  bool unsafe, compress;
} Arguments;

static const struct option long_options[] = {
  { "quiet", no_argument, NULL, 'q' },
  { "format", required_argument, NULL, 'f' },
  { "backing", required_argument, NULL, 'b' },
  { "backing-format", required_argument, NULL, 'F' },
  { "backing-unsafe", no_argument, NULL, 'u' },
  { "compress", no_argument, NULL, 'c' },
  { "cache", required_argument, NULL, 't' },
  { "source-cache", required_argument, NULL, 'T' },
  { "progress", optional_argument, NULL, 'P' },
  VP_IMG_ACCESS_OPTIONS,
  { NULL, 0, NULL, 0 }
};

static int
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'b': arguments->base = optarg; break;
  case 'F': arguments->base_format = optarg; break;
  case 'u': arguments->unsafe = true; break;
  case 'c': arguments->compress = true; break;
  case 'T':
    return vp_img_parse_cache (optarg, "source cache", &arguments->base_caching)
               ? -1
               : 1;
  default: return vp_img_task_take (arguments->task, c);
  }
  return -1;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c, status;

  while ((c = vp_img_getopt (argc, argv, "qf:b:F:ucUt:T:p", long_options)) >= 0)
    if ((status = take_option (c, arguments)) >= 0)
      return status;
  if ((status = vp_img_task_take_name (arguments->task, argc, argv)) >= 0)
    return status;
  if (arguments->base == NULL && !arguments->unsafe)
    return vp_img_misuse ("Must specify backing file (-b) or use unsafe mode "
                          "(-u)");
  if (arguments->base != NULL && arguments->base[0] == '\0')
    arguments->base = NULL; /* none */
  return -1;
}

static VpImage *
open_image (const Arguments *arguments, GError **error)
{
  VpImageFlags flags = VP_IMAGE_WRITABLE;

  if (arguments->unsafe)
    flags |= VP_IMAGE_NO_BACKING;
  return vp_img_task_open (arguments->task, flags, error);
}

/* What the image will name, opened as the image will do it. */
static VpImage *
open_base (const Arguments *arguments, VpImage *image, VpOpener *opener,
           GError **error)
{
  VpClaim claim = { .role = "backing",
                    .name = arguments->base,
                    .format = arguments->base_format,
                    .image = vp_image_get_name (image),
                    .beside = vp_image_get_format (image)->backing_beside };
  const char *format = claim.format;

  /* It would be written into the image, where such names are never opened. */
  if (g_str_has_prefix (arguments->base, "json:")) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "an image names its backing file by a path only; for "
                         "one that needs a key use -u, where both hold the "
                         "same bytes");
    return NULL;
  }
  g_autoptr (VpFile) file = opener->open (opener, &claim, &format, error);
  if (file == NULL)
    return NULL;
  vp_file_add_caching (file, arguments->base_caching);
  return vp_image_open_file (
      file, format,
      arguments->task->access.no_lock ? VP_IMAGE_NO_LOCK : VP_IMAGE_READ_ONLY,
      opener, error);
}

static int
fail_change (const Arguments *arguments, const char *why)
{
  vp_img_complain ("Could not change the backing file to '%s': %s",
                   arguments->base != NULL ? arguments->base : "", why);
  return 1;
}

/* All that can be known before anything is written. */
static int
check_arguments (const Arguments *arguments, VpImage *image)
{
  if (arguments->base_format != NULL &&
      vp_formats_find (arguments->base_format, NULL) == NULL) {
    vp_img_complain ("Invalid format name: '%s'", arguments->base_format);
    return 1;
  }
  if (vp_image_get_format (image)->set_backing == NULL)
    return fail_change (arguments, "Operation not supported");
  if (arguments->base != NULL && arguments->base_format == NULL)
    return fail_change (arguments, "backing format must be specified");
  return -1;
}

static int
rebase (const Arguments *arguments, VpImage *image, VpOpener *opener)
{
  g_autoptr (VpImage) base = NULL;
  g_autoptr (GError) error = NULL;
  VpImgProgress progress;

  if (arguments->base != NULL) {
    base = open_base (arguments, image, opener, &error);
    if (base == NULL)
      return vp_img_fail_open_as ("new backing file ", arguments->base, error,
                                  1);
  }
  VpRebase to = { .name = arguments->base,
                  .format = arguments->base ? arguments->base_format : NULL,
                  .backing = base,
                  .compress = arguments->compress };
  vp_img_task_begin (arguments->task, &progress);
  bool ok = vp_rebase_image (image, &to, &progress.progress, &error);
  vp_img_progress_end (&progress);
  return ok ? 0 : fail_change (arguments, error->message);
}

/* The name alone.  An image that says what its backing file held must look. */
static int
rebase_unsafe (const Arguments *arguments, VpImage *image, VpOpener *opener)
{
  g_autoptr (VpImage) base = NULL;
  g_autoptr (GError) error = NULL;

  if (arguments->base != NULL &&
      vp_image_get_format (image)->expect_backing_id != NULL) {
    base = open_base (arguments, image, opener, &error);
    if (base == NULL)
      return vp_img_fail_open_as ("new backing file ", arguments->base, error,
                                  1);
    vp_image_expect_backing (image, base);
  }
  if (vp_image_set_backing (
          image, arguments->base,
          arguments->base != NULL ? arguments->base_format : NULL, &error))
    return 0;
  return fail_change (arguments, error->message);
}

static int
run_rebase (int argc, char **argv)
{
  g_auto (VpImgTask) task = { 0 };
  Arguments arguments = { .task = &task };
  g_autoptr (GError) error = NULL;
  int status = parse (argc, argv, &arguments);

  if (status >= 0)
    return status;
  VpOpener opener =
      vp_opener_person (task.access.no_lock ? VP_FILE_NO_LOCK : 0);
  g_autoptr (VpImage) image = open_image (&arguments, &error);
  if (image == NULL)
    return vp_img_fail_open (task.filename, error, 1);
  vp_image_add_caching (vp_image_get_backing (image), arguments.base_caching);
  if ((status = check_arguments (&arguments, image)) >= 0)
    return status;
  status = arguments.unsafe ? rebase_unsafe (&arguments, image, &opener)
                            : rebase (&arguments, image, &opener);
  if (status != 0)
    return status;
  if (!vp_image_close (g_steal_pointer (&image), &error))
    return vp_img_fail_about (task.filename, error, 1);
  return 0;
}

const VpImgVerb vp_img_verb_rebase = {
  "rebase", run_rebase,
  "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T "
  "src_cache] [-p] [-u] [-c] "
  "-b backing_file [-F backing_fmt] [--progress[=json]] filename",
  "  -f, --format=fmt          format of the image; guessed without\n"
  "  -b, --backing=file        the new backing file, as the image will name\n"
  "                            it; \"\" for none\n"
  "  -F, --backing-format=fmt  its format\n"
  "  -u, --backing-unsafe      change the name only; for a file that was "
  "moved\n"
  "  -c, --compress            pack what is copied\n"
  "  -p, --progress[=json]     show how far it has come\n"
  "  -q, --quiet               show nothing of that\n"
  "      --object=secret,...   a key that --image-opts names\n"
  "      --image-opts          filename is driver=...,file.filename=...\n"

  "  -U, --force-share         look at no lock\n"
  "  -t, --cache=mode          how the image is written, and\n"
  "  -T, --source-cache=mode   the backing files read: none, writeback,\n"
  "                            writethrough, directsync or unsafe\n"
  "Without -u the image reads the same before and afterwards: where the new\n"
  "backing file differs from the old one the image is given what it held.\n"
};
