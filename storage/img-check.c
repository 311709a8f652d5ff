/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-check: the verdict on an image's own consistency, and its exit status:
 * 0 sound, 1 could not be checked, 2 corrupt, 3 leaks only, 63 a format that
 * has nothing to check. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STATUS_CORRUPT     2
#define STATUS_LEAKS       3
#define STATUS_UNSUPPORTED 63

static void
json_count (VpJson *json, const char *key, uint64_t count)
{
  if (count != 0)
    vp_json_uint (json, key, count);
}

void
vp_img_check_to_json (VpJson *json, const char *filename, const char *format,
                      const VpCheckResult *result)
{
  vp_json_open_object (json, NULL);
  json_count (json, "image-end-offset", result->image_end_offset);
  json_count (json, "compressed-clusters", result->compressed_clusters);
  json_count (json, "total-clusters", result->total_clusters);
  json_count (json, "corruptions-fixed", result->corruptions_fixed);
  json_count (json, "corruptions", result->corruptions);
  vp_json_uint (json, "check-errors", result->check_errors);
  json_count (json, "leaks-fixed", result->leaks_fixed);
  json_count (json, "leaks", result->leaks);
  json_count (json, "allocated-clusters", result->allocated_clusters);
  vp_json_string (json, "filename", filename);
  vp_json_string (json, "format", format);
  json_count (json, "fragmented-clusters", result->fragmented_clusters);
  vp_json_close (json);
}

static double
percent (uint64_t part, uint64_t whole)
{
  return 100.0 * (double) part / (double) whole;
}

static void
print_result (const VpCheckResult *result)
{
  if (result->corruptions == 0 && result->leaks == 0 &&
      result->check_errors == 0)
    printf ("No errors were found on the image.\n");
  if (result->corruptions != 0)
    printf ("\n%" PRIu64 " errors were found on the image.\nData may be "
            "corrupted, or further writes to the image may corrupt it.\n",
            result->corruptions);
  if (result->leaks != 0)
    printf ("\n%" PRIu64 " leaked clusters were found on the image.\nThis "
            "means waste of disk space, but no harm to data.\n",
            result->leaks);
  if (result->check_errors != 0)
    printf ("\n%" PRIu64 " internal errors have occurred during the check.\n",
            result->check_errors);
  if (result->total_clusters != 0 && result->allocated_clusters != 0)
    printf ("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, "
            "%0.2f%% compressed clusters\n",
            result->allocated_clusters, result->total_clusters,
            percent (result->allocated_clusters, result->total_clusters),
            percent (result->fragmented_clusters, result->allocated_clusters),
            percent (result->compressed_clusters, result->allocated_clusters));
  if (result->image_end_offset != 0)
    printf ("Image end offset: %" PRIu64 "\n", result->image_end_offset);
}

/* Each fault on stderr, so that stdout keeps its form. */
static void
print_messages (const VpCheckResult *result)
{
  fflush (stdout);
  for (unsigned i = 0; result->messages != NULL && i < result->messages->len;
       i++) {
    g_autofree char *line =
        vp_img_printable (g_ptr_array_index (result->messages, i));
    fprintf (stderr, "%s\n", line);
  }
}

typedef struct {
  const char *filename, *format;
  VpImgOutput output;
  VpImgProgressKind progress;
  VpRepair repair;
  bool quiet;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
parse_repair (const char *word, VpRepair *ret_repair, int *ret_status)
{
  if (strcmp (word, "leaks") == 0)
    *ret_repair = VP_REPAIR_LEAKS;
  else if (strcmp (word, "all") == 0)
    *ret_repair = VP_REPAIR_ALL;
  else {
    *ret_status = vp_img_misuse ("Unknown option value for -r (expecting "
                                 "'leaks' or 'all'): %s",
                                 word);
    return false;
  }
  return true;
}

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "quiet", no_argument, NULL, 'q' },
    { "format", required_argument, NULL, 'f' },
    { "cache", required_argument, NULL, 'T' },
    { "repair", required_argument, NULL, 'r' },
    { "output", required_argument, NULL, 'O' },
    { "progress", optional_argument, NULL, 'P' },
    VP_IMG_ACCESS_OPTIONS,
    VP_IMG_ACCESS_SAFE,
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  while ((c = vp_img_getopt (argc, argv, "qf:r:T:U", longs)) >= 0)
    switch (c) {
    case 'q': arguments->quiet = true; break;
    case 'f': arguments->format = optarg; break;
    case 'r':
      if (!parse_repair (optarg, &arguments->repair, ret_status))
        return false;
      break;
    case 'T':
      if (!vp_img_parse_cache (optarg, "source cache",
                               &arguments->access.caching))
        return false;
      break;
    case 'O':
      if (!vp_img_parse_output (optarg, &arguments->output))
        return false;
      break;
    case 'P':
      if (!vp_img_parse_progress (optarg, &arguments->progress))
        return false;
      break;
    default:
      if (!vp_img_access_take (&arguments->access, c))
        return false;
    }
  if (optind != argc - 1) {
    *ret_status = vp_img_misuse ("Expecting one image file name");
    return false;
  }
  arguments->filename = argv[optind];
  if (!vp_img_access_check (&arguments->access, arguments->format))
    return false;
  if (arguments->progress != VP_IMG_PROGRESS_NONE &&
      arguments->output == VP_IMG_JSON) {
    *ret_status = vp_img_misuse ("--progress does not go with --output=json: "
                                 "both would be on the standard output");
    return false;
  }
  return true;
}

static bool
check (VpImage *image, const Arguments *arguments, VpRepair repair,
       VpCheckResult *ret_result, GError **error)
{
  VpImgProgress progress;

  vp_img_progress_begin (&progress, arguments->progress);
  bool ok =
      vp_check_image (image, repair, &progress.progress, ret_result, error);
  vp_img_progress_end (&progress);
  return ok;
}

/* After a repair the image is looked at once more, and that is the verdict;
 * what was mended stays in the report. */
static bool
check_again (VpImage *image, const Arguments *arguments, VpCheckResult *result,
             GError **error)
{
  g_auto (VpCheckResult) again = { 0 };
  uint64_t leaks_fixed = result->leaks_fixed;
  uint64_t corruptions_fixed = result->corruptions_fixed;

  if (leaks_fixed == 0 && corruptions_fixed == 0)
    return true;
  if (!arguments->quiet && arguments->output == VP_IMG_HUMAN)
    printf ("The following inconsistencies were found and repaired:\n\n"
            "    %" PRIu64 " leaked clusters\n    %" PRIu64
            " corruptions\n\nDouble checking the fixed image now...\n",
            leaks_fixed, corruptions_fixed);
  if (!check (image, arguments, VP_REPAIR_NOTHING, &again, error))
    return false;
  vp_check_result_clear (result);
  *result = again;
  again = (VpCheckResult){ 0 };
  result->leaks_fixed = leaks_fixed;
  result->corruptions_fixed = corruptions_fixed;
  return true;
}

static void
print (const Arguments *arguments, const char *format,
       const VpCheckResult *result)
{
  if (arguments->quiet)
    return;
  if (arguments->output == VP_IMG_HUMAN) {
    print_result (result);
    return;
  }
  g_autoptr (VpJson) json = vp_json_new ();
  vp_img_check_to_json (json, arguments->filename, format, result);
  printf ("%s\n", vp_json_get_text (json));
}

static int
run_check (int argc, char **argv)
{
  g_auto (Arguments) arguments = { 0 };
  g_auto (VpCheckResult) result = { 0 };
  g_autoptr (GError) error = NULL;
  VpImageFlags flags = VP_IMAGE_CHECK | VP_IMAGE_NO_BACKING | VP_IMAGE_NO_IO;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;
  if (arguments.repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;

  g_autoptr (VpImage) image = vp_img_open (
      &arguments.access, arguments.filename, arguments.format, flags, &error);
  if (image == NULL)
    return vp_img_fail_open (arguments.filename, error, 1);
  const VpFormat *format = vp_image_get_format (image);
  if (format->check == NULL) {
    vp_img_complain ("This image format does not support checks");
    return STATUS_UNSUPPORTED;
  }
  if (!check (image, &arguments, arguments.repair, &result, &error))
    return vp_img_fail (error, 1);
  print_messages (&result);
  if (!check_again (image, &arguments, &result, &error))
    return vp_img_fail (error, 1);
  print (&arguments, format->name, &result);
  if (arguments.repair != VP_REPAIR_NOTHING &&
      !vp_image_close (g_steal_pointer (&image), &error))
    return vp_img_fail (error, 1);

  if (result.check_errors != 0) {
    vp_img_complain ("Check failed");
    return 1;
  }
  if (result.corruptions != 0)
    return STATUS_CORRUPT;
  return result.leaks != 0 ? STATUS_LEAKS : 0;
}

const VpImgVerb vp_img_verb_check = {
  "check", run_check,
  "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r "
  "[leaks | all]] [-T src_cache] [-U] "
  "[--progress[=json]] filename",
  "  -f, --format=fmt       format of the image; guessed without\n"
  "  -r, --repair=what      'leaks', or 'all' that can be mended\n"
  "  -q, --quiet            only the exit status\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "      --output=ofmt      'human' or 'json'\n"
  "  -T, --cache=mode       as convert's -t: for repairs; none, directsync:\n"
  "                         the page cache is given back\n"
  "  -U, --force-share      look at no lock\n"
  "      --safe             for images of strangers: needs -f, opens nothing\n"
  "                         that the image names\n"
  "      --progress[=json]  show how far it has come\n"
  "Exit status: 0 sound, 1 not checked, 2 corrupt, 3 leaks, 63 a format "
  "without checks\n"
};
