/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-convert: an image's guest bytes into another image.
 *
 *   source (and its chain)  ──  copy  ──▶  target
 *                                          new: nameless until whole
 *                                          -n:  an image that is there
 *
 * With -B the target gets a backing file.  If that is the very file that the
 * source stands on, only what the source holds itself is copied.  Any other
 * holds whatever it holds: every byte is written then, zeros too, so that the
 * target reads as the source does in any case. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-create.h"
#include "storage/img-names.h"
#include "storage/img-options.h"
#include "storage/img-target.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COROUTINES 16

typedef struct {
  const char *source, *source_format;
  const char *target, *target_format;
  const char *backing, *backing_format;
  GPtrArray *pairs;
  VpCopyOptions copy;
  VpImgProgressKind progress;
  VpImgAccess access;
  bool quiet, no_create, target_is_zero;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
parse_sparse (const char *text, VpCopyOptions *copy)
{
  uint64_t size;

  if (!vp_parse_size (text, &size, NULL)) {
    vp_img_complain ("Invalid buffer size for sparse output specified. Valid "
                     "sizes are multiples of 512 up to 2147483136. Select 0 "
                     "to disable sparse detection (fully allocates output).");
    return false;
  }
  if (size % 512 != 0 || size > 2147483136) {
    vp_img_complain ("Invalid buffer size for sparse output specified. Valid "
                     "sizes are multiples of 512 up to 2147483136. Select 0 "
                     "to disable sparse detection (fully allocates output).");
    return false;
  }
  copy->sparse_size = size != 0 ? size : UINT64_MAX;
  return true;
}

static bool
parse_coroutines (const char *text)
{
  char *end;
  long n = strtol (text, &end, 10);

  if (*text != '\0' && *end == '\0' && n >= 1 && n <= MAX_COROUTINES)
    return true;
  vp_img_complain ("Invalid number of coroutines. Allowed number of "
                   "coroutines is between 1 and %d",
                   MAX_COROUTINES);
  return false;
}

static const struct option long_options[] = {
  { "source-format", required_argument, NULL, 'f' },
  { "target-format", required_argument, NULL, 'O' },
  { "backing", required_argument, NULL, 'B' },
  { "backing-format", required_argument, NULL, 'F' },
  { "options", required_argument, NULL, 'o' },
  { "quiet", no_argument, NULL, 'q' },
  { "progress", optional_argument, NULL, 'P' },
  { "no-create", no_argument, NULL, 'n' },
  { "target-is-zero", no_argument, NULL, 'z' },
  VP_IMG_ACCESS_OPTIONS,
  VP_IMG_ACCESS_SAFE,
  { "sparse-size", required_argument, NULL, 'S' },
  { "target-cache", required_argument, NULL, 't' },
  { "source-cache", required_argument, NULL, 'T' },
  { "parallel", required_argument, NULL, 'm' },
  { "oob", no_argument, NULL, 'W' },
  { "copy-range-offloading", no_argument, NULL, 'C' },
  { "compress", no_argument, NULL, 'c' },
  { "snapshot", required_argument, NULL, 'l' },
  { "rate-limit", required_argument, NULL, 'r' },
  { "target-image-opts", no_argument, NULL, 258 },
  { "bitmaps", no_argument, NULL, 259 },
  { "skip-broken-bitmaps", no_argument, NULL, 260 },
  { "salvage", no_argument, NULL, 261 },
  { NULL, 0, NULL, 0 }
};

/* -1 where the option is none of these. */
static int
refuse_missing (int c)
{
  static const struct {
    int option;
    const char *what;
  } missing[] = {
    { 'c', "compressed output (-c)" },
    { 'l', "converting a snapshot (-l)" },
    { 'r', "a rate limit (-r)" },
    { 258, "--target-image-opts" },
    { 259, "--bitmaps" },
    { 260, "--skip-broken-bitmaps" },
    { 261, "--salvage" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (missing); i++)
    if (missing[i].option == c)
      return vp_img_unsupported (missing[i].what);
  return -1;
}

/* One option; the exit status where it ends the program, else -1. */
static int
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'f': arguments->source_format = optarg; break;
  case 'O': arguments->target_format = optarg; break;
  case 'B': arguments->backing = optarg; break;
  case 'F': arguments->backing_format = optarg; break;
  case 'o': vp_img_split_options (arguments->pairs, optarg); break;
  case 'q': arguments->quiet = true; break;
  case 'p': arguments->progress = VP_IMG_PROGRESS_BAR; break;
  case 'P':
    return vp_img_parse_progress (optarg, &arguments->progress) ? -1 : 1;
  case 'n': arguments->no_create = true; break;
  case 'z': arguments->target_is_zero = true; break;
  case 'U':
  case VP_IMG_OBJECT:
  case VP_IMG_IMAGE_OPTS:
  case VP_IMG_FORCE_SHARE:
  case VP_IMG_SAFE: return vp_img_access_take (&arguments->access, c) ? -1 : 1;
  case 'S': return parse_sparse (optarg, &arguments->copy) ? -1 : 1;
  case 't': return vp_img_parse_cache (optarg, "cache") ? -1 : 1;
  case 'T': return vp_img_parse_cache (optarg, "source cache") ? -1 : 1;
  case 'm': return parse_coroutines (optarg) ? -1 : 1;
  case 'W': /* the engine chooses its own order, and may use */
  case 'C': /* the kernel's copying, asked or not */ break;
  case '?': return 1;
  default: return refuse_missing (c);
  }
  return -1;
}

/* What does not go together. */
static int
check_arguments (const Arguments *arguments)
{
  if (!vp_img_access_check (&arguments->access, arguments->source_format))
    return 1;
  if (arguments->no_create && arguments->pairs->len > 0)
    return vp_img_misuse ("-o has no use with -n: nothing is created");
  if (arguments->no_create && arguments->backing != NULL)
    return vp_img_misuse ("-B has no use with -n: nothing is created");
  if (arguments->target_is_zero && !arguments->no_create) {
    vp_img_complain ("--target-is-zero requires use of -n flag");
    return 1;
  }
  return -1;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c, status;

  while ((c = vp_img_getopt (
              argc, argv, "f:O:B:F:o:qpnUS:t:T:m:WCcl:r:", long_options)) >= 0)
    if ((status = take_option (c, arguments)) >= 0)
      return status;
  if (vp_img_wants_option_help (arguments->pairs)) {
    g_autoptr (GError) error = NULL;
    const VpFormat *format = vp_formats_find (arguments->target_format, &error);
    if (format == NULL)
      return vp_img_fail (error, 1);
    vp_img_options_help (format, argc - optind >= 2);
    return 0;
  }
  if (argc - optind < 2) {
    vp_img_complain ("Must specify image file name");
    return 1;
  }
  if (argc - optind > 2)
    return vp_img_unsupported ("joining several images");
  arguments->source = argv[optind];
  arguments->target = argv[optind + 1];
  return check_arguments (arguments);
}

static bool
copy (const Arguments *arguments, VpImage *source, VpImage *target,
      const VpCopyOptions *options, GError **error)
{
  VpImgProgress progress;

  vp_img_progress_begin (&progress, arguments->quiet ? VP_IMG_PROGRESS_NONE
                                                     : arguments->progress);
  bool ok = vp_copy_image (source, target, options, &progress.progress, error);
  vp_img_progress_end (&progress);
  return ok;
}

static bool
find_options (const Arguments *arguments, const VpFormat *format,
              VpImage *source, VpCreateOptions *options, GError **error)
{
  uint64_t backing_size;

  options->encrypt.secrets = arguments->access.secrets;
  if (!vp_img_set_options (options, format, arguments->pairs, error) ||
      !vp_img_set_backing (options, format, arguments->backing,
                           arguments->backing_format, error))
    return false;
  if (options->size != 0 && options->size != vp_image_get_size (source)) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "the size is the source's; resize afterwards");
    return false;
  }
  options->size = vp_image_get_size (source);
  if (options->backing_name != NULL &&
      !vp_img_find_backing (arguments->target, options, &backing_size, NULL,
                            error)) {
    g_prefix_error (error, "Could not open backing file: ");
    return false;
  }
  return true;
}

static bool
have_same_backing (VpImage *a, VpImage *b)
{
  VpImage *below_a = vp_image_get_backing (a);
  VpImage *below_b = vp_image_get_backing (b);

  if (below_a == NULL || below_b == NULL)
    return false;
  const VpFile *file_a = vp_image_get_file (below_a);
  const VpFile *file_b = vp_image_get_file (below_b);
  return file_a->has_id && file_b->has_id &&
         file_a->id.device == file_b->id.device &&
         file_a->id.inode == file_b->id.inode &&
         vp_image_get_format (below_a) == vp_image_get_format (below_b);
}

static int
convert_into_new (const Arguments *arguments, VpImage *source)
{
  g_auto (VpImgTarget) file = { .fd = -1 };
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_autoptr (GError) error = NULL;
  const VpFormat *format = vp_formats_find (arguments->target_format, NULL);

  if (format == NULL) {
    vp_img_complain ("Unknown file format '%s'", arguments->target_format);
    return 1;
  }
  if (!find_options (arguments, format, source, &options, &error) ||
      !vp_img_target_open (&file, arguments->target, &error))
    return vp_img_fail_about (arguments->target, error, 1);
  if (vp_img_target_is (&file, arguments->source)) {
    vp_img_complain ("%s: source and target are one file", arguments->target);
    return 1;
  }
  if (!vp_image_create_fd (file.fd, arguments->target, format->name, &options,
                           NULL, &error)) {
    vp_img_complain ("%s: error while converting %s: %s", arguments->target,
                     format->name, error->message);
    return 1;
  }

  VpOpener opener = vp_opener_person (0);
  g_autoptr (VpImage) target =
      vp_img_target_open_image (&file, format, &options, &opener, &error);
  if (target == NULL)
    return vp_img_fail_open (arguments->target, error, 1);
  VpCopyOptions copy_options = arguments->copy;
  copy_options.target_is_zero = options.backing_name == NULL;
  copy_options.same_backing = have_same_backing (source, target);
  if (!copy (arguments, source, target, &copy_options, &error) ||
      !vp_image_close (g_steal_pointer (&target), &error) ||
      !vp_img_target_commit (&file, &error))
    return vp_img_fail_about (arguments->target, error, 1);
  return 0;
}

static int
convert_into_old (const Arguments *arguments, VpImage *source)
{
  VpOpener opener = vp_opener_person (0);
  VpCopyOptions options = arguments->copy;
  g_autoptr (GError) error = NULL;
  g_autoptr (VpImage) target =
      vp_image_open (arguments->target, arguments->target_format,
                     VP_IMAGE_WRITABLE, &opener, &error);

  if (target == NULL)
    return vp_img_fail_open (arguments->target, error, 1);
  if (vp_image_get_size (target) < vp_image_get_size (source)) {
    vp_img_complain ("%s: output file is smaller than input file",
                     arguments->target);
    return 1;
  }
  options.target_is_zero = arguments->target_is_zero;
  if (!copy (arguments, source, target, &options, &error) ||
      !vp_image_close (g_steal_pointer (&target), &error))
    return vp_img_fail_about (arguments->target, error, 1);
  return 0;
}

static int
run_convert (int argc, char **argv)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  g_auto (Arguments) arguments = { .target_format = "raw", .pairs = pairs };
  g_autoptr (GError) error = NULL;
  int status = parse (argc, argv, &arguments);

  if (status >= 0)
    return status;
  g_autoptr (VpImage) source =
      vp_img_open (&arguments.access, arguments.source, arguments.source_format,
                   VP_IMAGE_READ_ONLY, &error);
  if (source == NULL)
    return vp_img_fail_open (arguments.source, error, 1);
  return arguments.no_create ? convert_into_old (&arguments, source)
                             : convert_into_new (&arguments, source);
}

const VpImgVerb vp_img_verb_convert = {
  "convert", run_convert,
  "[-U] [--safe] [-C] [-p] [-q] [-n] [--target-is-zero] [-f fmt] [-t cache] "
  "[-T src_cache] [-O output_fmt] [-B backing_file -F backing_fmt] "
  "[-o options] [-S sparse_size] [-m num_coroutines] [-W] "
  "[--progress[=json]] filename output_filename",
  "  -f, --source-format=fmt   format of the source; guessed without\n"
  "  -O, --target-format=fmt   format of the target; 'raw' without\n"
  "  -o, --options=options     how to make it; '-o help' lists them\n"
  "  -B, --backing=file        backing file of the target, with\n"
  "  -F, --backing-format=fmt  its format\n"
  "  -n, --no-create           write into an image that is there\n"
  "      --target-is-zero      ... and reads as zeros\n"
  "  -S, --sparse-size=size    zeros at least that long are not stored "
  "(4k);\n"
  "                            0: all is stored\n"
  "  -U, --force-share         look at no lock of the source\n"
  "      --safe                for images of strangers: needs -f, opens "
  "nothing\n"
  "                            that the source names\n"
  "  -p, --progress[=json]     show how far it has come\n"
  "  -q, --quiet               say nothing\n"
  "  -t, -T, -m, -W, -C        accepted; the engine chooses for itself\n"
};
