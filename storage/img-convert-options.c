/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-convert-options: the words that convert takes, and which of them do not
 * go together. */
#include "config.h"

#include "storage/img-convert.h"

#include "storage/error.h"
#include "storage/img-create.h"
#include "storage/img-options.h"

#include <stdlib.h>
#include <string.h>

#define MAX_COROUTINES 16
#define MAX_SPARSE     (UINT64_C (16) << 20)

enum { TARGET_IMAGE_OPTS = 256, BITMAPS, SKIP_BROKEN, SALVAGE, TARGET_IS_ZERO };

static const struct option long_options[] = {
  { "source-format", required_argument, NULL, 'f' },
  { "target-format", required_argument, NULL, 'O' },
  { "backing", required_argument, NULL, 'B' },
  { "backing-format", required_argument, NULL, 'F' },
  { "options", required_argument, NULL, 'o' },
  { "quiet", no_argument, NULL, 'q' },
  { "progress", optional_argument, NULL, 'P' },
  { "no-create", no_argument, NULL, 'n' },
  { "target-is-zero", no_argument, NULL, TARGET_IS_ZERO },
  VP_IMG_ACCESS_OPTIONS,
  VP_IMG_ACCESS_SAFE,
  { "sparse-size", required_argument, NULL, 'S' },
  { "target-cache", required_argument, NULL, 't' },
  { "source-cache", required_argument, NULL, 'T' },
  { "parallel", required_argument, NULL, 'm' },
  { "oob", no_argument, NULL, 'W' },
  { "copy-range-offloading", no_argument, NULL, 'C' },
  { "compress", no_argument, NULL, 'c' },
  { "compress-level", required_argument, NULL, 'L' },
  { "snapshot", required_argument, NULL, 'l' },
  { "rate-limit", required_argument, NULL, 'r' },
  { "target-image-opts", no_argument, NULL, TARGET_IMAGE_OPTS },
  { "bitmaps", no_argument, NULL, BITMAPS },
  { "skip-broken-bitmaps", no_argument, NULL, SKIP_BROKEN },
  { "salvage", no_argument, NULL, SALVAGE },
  { NULL, 0, NULL, 0 }
};

static bool
parse_sparse (const char *text, VpImgConvert *convert)
{
  uint64_t size;

  if (!vp_img_parse_number ("buffer size for sparse output", text, 0, INT64_MAX,
                            &size))
    return false;
  if (size % 512 != 0 || size > MAX_SPARSE) {
    vp_img_complain ("Invalid buffer size for sparse output specified. Valid "
                     "sizes are multiples of 512 up to %u. Select 0 to disable "
                     "sparse detection (fully allocates output).",
                     (unsigned) MAX_SPARSE);
    return false;
  }
  convert->sparse_given = true;
  convert->sparse_size = size != 0 ? size : UINT64_MAX;
  return true;
}

static bool
parse_coroutines (const char *text, VpImgConvert *convert)
{
  char *end;
  long n = strtol (text, &end, 10);

  if (*text == '\0' || *end != '\0' || n < 1 || n > MAX_COROUTINES) {
    vp_img_complain ("Invalid number of coroutines. Allowed number of "
                     "coroutines is between 1 and %d",
                     MAX_COROUTINES);
    return false;
  }
  convert->threads = (unsigned) n;
  return true;
}

static bool
parse_level (const char *text, VpImgConvert *convert)
{
  if (strcmp (text, "narrow") == 0)
    convert->level = VP_CODEC_LEVEL_NARROW;
  else if (text[0] >= '1' && text[0] <= '9' && text[1] == '\0')
    convert->level = text[0] - '0';
  else {
    vp_img_complain ("Invalid compression level '%s': 1 to 9, or narrow", text);
    return false;
  }
  return true;
}

/* One that takes a word; the exit status, -1 where it is fine, -2 where it is
 * none of these. */
static int
take_word (int c, VpImgConvert *convert)
{
  switch (c) {
  case 'f': convert->source_format = optarg; break;
  case 'O': convert->target_format = optarg; break;
  case 'B': convert->backing = optarg; break;
  case 'F': convert->backing_format = optarg; break;
  case 'l': convert->snapshot = optarg; break;
  case 'o': vp_img_split_options (convert->pairs, optarg); break;
  case 'P': return vp_img_parse_progress (optarg, &convert->progress) ? -1 : 1;
  case 'S': return parse_sparse (optarg, convert) ? -1 : 1;
  case 'r':
    return vp_img_parse_number ("rate limit", optarg, 0, INT64_MAX,
                                &convert->rate)
               ? -1
               : 1;
  case 't':
    return vp_img_parse_cache (optarg, "cache", &convert->target_caching) ? -1
                                                                          : 1;
  case 'T':
    return vp_img_parse_cache (optarg, "source cache", &convert->access.caching)
               ? -1
               : 1;
  case 'L': return parse_level (optarg, convert) ? -1 : 1;
  case 'm': return parse_coroutines (optarg, convert) ? -1 : 1;
  default: return -2;
  }
  return -1;
}

static int
take_option (int c, VpImgConvert *convert)
{
  int status = take_word (c, convert);

  if (status > -2)
    return status;
  switch (c) {
  case 'q': convert->quiet = true; break;
  case 'p': convert->progress = VP_IMG_PROGRESS_BAR; break;
  case 'n': convert->no_create = true; break;
  case 'c': convert->compress = true; break;
  case 'C': convert->offload = true; break;
  case 'W': /* places are given in order, and written as they come */ break;
  case TARGET_IS_ZERO: convert->target_is_zero = true; break;
  case TARGET_IMAGE_OPTS: convert->target_image_opts = true; break;
  case BITMAPS: convert->bitmaps = true; break;
  case SKIP_BROKEN: convert->skip_broken = true; break;
  case SALVAGE: convert->salvage = true; break;
  default: return vp_img_access_take (&convert->access, c) ? -1 : 1;
  }
  return -1;
}

/* What does not go together. */
static const char *
find_clash (const VpImgConvert *convert)
{
  if (convert->skip_broken && !convert->bitmaps)
    return "Use of --skip-broken-bitmaps requires --bitmaps";
  if (convert->offload && convert->compress)
    return "Cannot enable copy offloading when -c is used";
  if (convert->offload && convert->sparse_given)
    return "Cannot enable copy offloading when -S is used";
  if (convert->offload && convert->salvage)
    return "Cannot use copy offloading in salvaging mode";
  if (convert->target_image_opts && !convert->no_create)
    return "--target-image-opts requires use of -n flag";
  if (convert->target_is_zero && !convert->no_create)
    return "--target-is-zero requires use of -n flag";
  if (convert->target_is_zero && convert->backing != NULL)
    return "Cannot use --target-is-zero when the destination image has a "
           "backing file";
  if (convert->no_create && convert->pairs->len > 0)
    return "-o has no effect when skipping image creation";
  if (convert->snapshot != NULL && convert->sources->len > 1)
    return "No support for concatenating multiple snapshot";
  if (convert->bitmaps && convert->sources->len > 1)
    return "Copying bitmaps only possible with single source";
  if (convert->backing != NULL && convert->sources->len > 1)
    return "Having a backing file for the target makes no sense when "
           "concatenating multiple input images";
  return NULL;
}

static int
help (const VpImgConvert *convert, bool with_file)
{
  g_autoptr (GError) error = NULL;
  const VpFormat *format = vp_formats_find (convert->target_format, &error);

  if (format == NULL || !vp_formats_can_create (format, &error))
    return vp_img_fail (error, 1);
  vp_img_options_help (format, with_file);
  return 0;
}

int
vp_img_convert_parse (VpImgConvert *convert, int argc, char **argv)
{
  bool has_target_format;
  int c, status;

  convert->pairs = g_ptr_array_new_with_free_func (g_free);
  convert->sources = g_ptr_array_new ();
  while ((c = vp_img_getopt (
              argc, argv, "f:O:B:F:o:qpnUS:t:T:m:WCcl:r:", long_options)) >= 0)
    if ((status = take_option (c, convert)) >= 0)
      return status;
  has_target_format = convert->target_format != NULL;
  if (!has_target_format)
    convert->target_format = "raw";
  if (vp_img_wants_option_help (convert->pairs))
    return help (convert, argc - optind >= 2);
  if (argc - optind < 2) {
    vp_img_complain ("Must specify image file name");
    return 1;
  }
  while (optind < argc - 1)
    g_ptr_array_add (convert->sources, argv[optind++]);
  convert->target = argv[optind];
  if (!vp_img_access_check (&convert->access, convert->source_format))
    return 1;
  if (convert->target_image_opts && has_target_format) {
    vp_img_complain ("--image-opts and --format are mutually exclusive");
    return 1;
  }
  const char *clash = find_clash (convert);
  if (clash != NULL)
    vp_img_complain ("%s", clash);
  return clash != NULL ? 1 : -1;
}

void
vp_img_convert_clear (VpImgConvert *convert)
{
  g_clear_pointer (&convert->sources, g_ptr_array_unref);
  g_clear_pointer (&convert->pairs, g_ptr_array_unref);
  vp_img_access_clear (&convert->access);
}

/* ---- a new target -------------------------------------------------------- */

static const char *
find_backing_clash (const VpImgConvert *convert, const char *name,
                    const char *format)
{
  if (name == NULL)
    return NULL;
  if (convert->sources->len > 1)
    return "Having a backing file for the target makes no sense when "
           "concatenating multiple input images";
  if (format == NULL)
    return "Use of backing file requires explicit backing format";
  return NULL;
}

static const char *
find_compression_clash (const VpImgConvert *convert, const VpFormat *format,
                        const VpCreateOptions *options)
{
  if (!convert->compress)
    return NULL;
  if (format->packing == NULL)
    return "Compression not supported for this file format";
  if (options->preallocation != VP_PREALLOCATION_OFF)
    return "Compression and preallocation not supported at the same time";
  if (vp_img_option (convert->pairs, "encrypt.format") != NULL ||
      g_strcmp0 (vp_img_option (convert->pairs, "encryption"), "on") == 0)
    return "Compression and encryption not supported at the same time";
  return NULL;
}

static int
check_backing (const VpImgConvert *convert, const VpCreateOptions *options)
{
  g_autoptr (GError) error = NULL;
  uint64_t size;

  if (options->backing_name == NULL ||
      vp_img_find_backing (convert->target, options, &size, NULL, &error))
    return -1;
  vp_img_complain ("Could not open '%s': Could not open backing file: %s",
                   convert->target, error->message);
  return 1;
}

int
vp_img_convert_options (const VpImgConvert *convert, const VpFormat *format,
                        VpCreateOptions *options)
{
  g_autoptr (GError) error = NULL;
  uint64_t size = options->size;
  const char *name = convert->backing, *backing_format, *clash;

  if (!vp_img_options_check (convert->pairs, format, &error))
    return vp_img_fail (error, 1);
  if (name == NULL)
    name = vp_img_option (convert->pairs, "backing_file");
  backing_format = convert->backing_format != NULL
                       ? convert->backing_format
                       : vp_img_option (convert->pairs, "backing_fmt");
  if (name != NULL && !format->supports_backing) {
    vp_img_complain ("Backing file not supported for file format '%s'",
                     format->name);
    return 1;
  }
  if ((clash = find_backing_clash (convert, name, backing_format)) != NULL) {
    vp_img_complain ("%s", clash);
    return 1;
  }
  if (vp_img_option (convert->pairs, "size") != NULL) {
    vp_img_complain ("%s: the size is the source's; resize afterwards",
                     convert->target);
    return 1;
  }
  options->encrypt.secrets = convert->access.secrets;
  bool fine = vp_img_set_options (options, format, convert->pairs, &error);
  options->size = size;
  if (fine && convert->bitmaps &&
      (format->bitmap_add == NULL || options->compat == 2)) {
    vp_img_complain ("Format driver '%s' does not support bitmaps",
                     format->name);
    return 1;
  }
  if (fine &&
      (clash = find_compression_clash (convert, format, options)) != NULL) {
    vp_img_complain ("%s", clash);
    return 1;
  }
  if (fine)
    options->backing_name = NULL; /* -B goes before -o */
  fine = fine &&
         vp_img_set_backing (options, format, name, backing_format, &error);
  if (fine && format->check_create != NULL)
    fine = format->check_create (options, &error);
  if (!fine) {
    vp_img_complain ("%s: error while converting %s: %s", convert->target,
                     format->name, error->message);
    return 1;
  }
  return check_backing (convert, options);
}
