/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-checksum: one digest for the guest's bytes, the same in any format. */
#include "config.h"

#include "storage/checksum.h"
#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>

#define MAX_THREADS 64u
#define ALGORITHM   "vprov-checksum-1"

typedef struct {
  const char *filename, *format;
  VpImgOutput output;
  VpImgProgressKind progress;
  uint64_t threads;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'f': arguments->format = optarg; return true;
  case 'm':
    return vp_img_parse_number ("number of threads", optarg, 1, MAX_THREADS,
                                &arguments->threads);
  case 'O': return vp_img_parse_output (optarg, &arguments->output);
  case 'p': arguments->progress = VP_IMG_PROGRESS_BAR; return true;
  case 'P': return vp_img_parse_progress (optarg, &arguments->progress);
  case 'T':
    return vp_img_parse_cache (optarg, "source cache",
                               &arguments->access.caching);
  default: return vp_img_access_take (&arguments->access, c);
  }
}

static bool
parse (int argc, char **argv, Arguments *arguments)
{
  static const struct option longs[] = {
    { "format", required_argument, NULL, 'f' },
    { "parallel", required_argument, NULL, 'm' },
    { "output", required_argument, NULL, 'O' },
    { "progress", optional_argument, NULL, 'P' },
    { "cache", required_argument, NULL, 'T' },
    VP_IMG_ACCESS_OPTIONS,
    VP_IMG_ACCESS_SAFE,
    { NULL, 0, NULL, 0 }
  };
  int c;

  while ((c = vp_img_getopt (argc, argv, "f:m:pT:U", longs)) >= 0)
    if (!take_option (c, arguments))
      return false;
  if (optind != argc - 1) {
    (void) vp_img_misuse ("Expecting one image file name");
    return false;
  }
  arguments->filename = argv[optind];
  if (arguments->progress != VP_IMG_PROGRESS_NONE &&
      arguments->output == VP_IMG_JSON) {
    (void) vp_img_misuse ("--progress does not go with --output=json: both "
                          "would be on the standard output");
    return false;
  }
  return vp_img_access_check (&arguments->access, arguments->format);
}

static void
print (const Arguments *arguments, VpImage *image, const char *digest)
{
  if (arguments->output == VP_IMG_HUMAN) {
    g_autofree char *name = vp_img_printable (arguments->filename);
    printf ("%s  %s\n", digest, name);
    return;
  }
  g_autoptr (VpJson) json = vp_json_new ();
  vp_json_open_object (json, NULL);
  vp_json_string (json, "filename", arguments->filename);
  vp_json_string (json, "format", vp_image_get_format (image)->name);
  vp_json_uint (json, "virtual-size", vp_image_get_size (image));
  vp_json_string (json, "algorithm", ALGORITHM);
  vp_json_string (json, "checksum", digest);
  vp_json_close (json);
  printf ("%s\n", vp_json_get_text (json));
}

static int
run_checksum (int argc, char **argv)
{
  g_auto (Arguments) arguments = { 0 };
  g_autoptr (GError) error = NULL;
  uint8_t digest[VP_CHECKSUM_LEN];
  VpImgProgress progress;

  if (!parse (argc, argv, &arguments))
    return 1;
  g_autoptr (VpImage) image = vp_img_open (
      &arguments.access, arguments.filename, arguments.format, 0, &error);
  if (image == NULL)
    return vp_img_fail_open (arguments.filename, error, 1);
  vp_img_progress_begin (&progress, arguments.progress);
  bool ok = vp_checksum_image (image, (unsigned) arguments.threads,
                               &progress.progress, digest, &error);
  vp_img_progress_end (&progress);
  if (!ok)
    return vp_img_fail_about (arguments.filename, error, 1);
  g_autofree char *text = vp_checksum_to_text (digest);
  print (&arguments, image, text);
  return 0;
}

const VpImgVerb vp_img_verb_checksum = {
  "checksum", run_checksum,
  "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [-m threads] "
  "[-p] [-T src_cache] [-U] [--safe] [--progress[=json]] filename",
  "One digest for all that the guest would read, the same for the same bytes\n"
  "in any format; the size counts too, and holes cost nothing.\n"
  "  -f, --format=fmt         format of the image; guessed without\n"
  "      --output=ofmt        'human' or 'json'\n"
  "  -m, --parallel=threads   so many threads; one for each processor without\n"
  "  -p, --progress[=json]    show how far it has come\n"
  "  -T, --cache=mode         none, directsync: the page cache is given back\n"
  "  -U, --force-share        look at no lock\n"
  "      --safe               for images of strangers: needs -f, opens\n"
  "                           nothing that the image names\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "How it is computed stands in the manual.\n"
  "Example: checksum -f qcow2 disk.qcow2\n"
};
