/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-compare: do two images hold the same guest bytes?  Status 0 yes, 1 no,
 * 2 one could not be opened, 4 one could not be read; 1 also for a call that
 * makes no sense. */
#include "config.h"

#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>

#define STATUS_OPEN 2
#define STATUS_MAP  3
#define STATUS_READ 4

typedef struct {
  const char *names[2], *formats[2];
  VpImgProgressKind progress;
  bool quiet, strict;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "a-format", required_argument, NULL, 'f' },
    { "b-format", required_argument, NULL, 'F' },
    { "cache", required_argument, NULL, 'T' },
    { "quiet", no_argument, NULL, 'q' },
    { "strict", no_argument, NULL, 's' },
    { "progress", optional_argument, NULL, 'P' },
    VP_IMG_ACCESS_OPTIONS,
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  while ((c = vp_img_getopt (argc, argv, "f:F:T:pqsU", longs)) >= 0)
    switch (c) {
    case 'f': arguments->formats[0] = optarg; break;
    case 'F': arguments->formats[1] = optarg; break;
    case 'T':
      if (!vp_img_parse_cache (optarg, "source cache",
                               &arguments->access.caching)) {
        *ret_status = STATUS_OPEN;
        return false;
      }
      break;
    case 'p': arguments->progress = VP_IMG_PROGRESS_BAR; break;
    case 'P':
      if (!vp_img_parse_progress (optarg, &arguments->progress))
        return false;
      break;
    case 'q': arguments->quiet = true; break;
    case 's': arguments->strict = true; break;
    default:
      if (!vp_img_access_take (&arguments->access, c))
        return false;
    }
  if (optind != argc - 2) {
    *ret_status = vp_img_misuse ("Expecting two image file names");
    return false;
  }
  if (!vp_img_access_check (&arguments->access, arguments->formats[0]) ||
      !vp_img_access_check (&arguments->access, arguments->formats[1]))
    return false;
  arguments->names[0] = argv[optind];
  arguments->names[1] = argv[optind + 1];
  return true;
}

static VpImage *
open_image (const Arguments *arguments, int i, GError **error)
{
  return vp_img_open (&arguments->access, arguments->names[i],
                      arguments->formats[i], VP_IMAGE_READ_ONLY, error);
}

static int
tell (const Arguments *arguments, VpCompareResult result, uint64_t offset)
{
  if (!arguments->quiet)
    switch (result) {
    case VP_COMPARE_EQUAL: printf ("Images are identical.\n"); break;
    case VP_COMPARE_CONTENT:
      /* Told by sectors, as ever. */
      printf ("Content mismatch at offset %" PRIu64 "!\n",
              offset & ~UINT64_C (511));
      break;
    case VP_COMPARE_SIZE: printf ("Strict mode: Image size mismatch!\n"); break;
    case VP_COMPARE_STATUS:
      printf ("Strict mode: Offset %" PRIu64 " block status mismatch!\n",
              offset);
      break;
    }
  return result == VP_COMPARE_EQUAL ? 0 : 1;
}

static int
run_compare (int argc, char **argv)
{
  g_auto (Arguments) arguments = { 0 };
  g_autoptr (GError) error = NULL;
  VpCompareResult result;
  uint64_t offset = 0;
  bool size_differs = false, in_rest = false, map_failed = false;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;
  g_autoptr (VpImage) a = open_image (&arguments, 0, &error);
  if (a == NULL)
    return vp_img_fail_open (arguments.names[0], error, STATUS_OPEN);
  g_autoptr (VpImage) b = open_image (&arguments, 1, &error);
  if (b == NULL)
    return vp_img_fail_open (arguments.names[1], error, STATUS_OPEN);

  VpImgProgress progress;
  vp_img_progress_begin (&progress, arguments.progress);
  bool ok =
      vp_compare_images (a, b, arguments.strict, &progress.progress, &result,
                         &offset, &size_differs, &in_rest, &map_failed, &error);
  vp_img_progress_end (&progress);
  if (!ok && map_failed) {
    vp_img_complain ("Sector allocation test failed for %s", error->message);
    return STATUS_MAP;
  }
  if (!ok)
    return vp_img_fail (error, STATUS_READ);
  /* Not worth a word where they differ before either ends. */
  if (!arguments.quiet && size_differs &&
      (result == VP_COMPARE_EQUAL || in_rest))
    printf ("Warning: Image size mismatch!\n");
  return tell (&arguments, result, offset);
}

const VpImgVerb vp_img_verb_compare = {
  "compare", run_compare,
  "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] "
  "[-q] [-s] [-U] "
  "[--progress[=json]] filename1 filename2",
  "  -f, --a-format=fmt     format of the first image; guessed without\n"
  "  -F, --b-format=fmt     format of the second image; guessed without\n"
  "  -s, --strict           sizes and allocation must be equal too\n"
  "  -q, --quiet            only the exit status\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filenames are driver=...,file.filename=...\n"
  "  -T, --cache=mode       none, directsync: the page cache is given back;\n"
  "                         writeback, writethrough, unsafe: it is not\n"
  "  -U, --force-share      look at no lock\n"
  "  -p, --progress[=json]  show how far it has come\n"
  "Exit status: 0 equal, 1 not equal, 2 cannot open, 3 cannot read where an\n"
  "image has its data, 4 cannot read the data\n"
};
