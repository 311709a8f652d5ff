/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-create: make an image, alone or on a backing file. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-create.h"
#include "storage/img-target.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *
bool_text (bool on)
{
  return on ? "on" : "off";
}

static const char *
preallocation_text (VpPreallocation preallocation)
{
  static const char *const words[] = { "off", "metadata", "falloc", "full" };

  return words[preallocation];
}

static bool
has_option (const VpFormat *format, const char *name)
{
  for (const VpOption *option = format->options; option->name != NULL; option++)
    if (strcmp (option->name, name) == 0)
      return true;
  return false;
}

/* What will be made, all defaults said. */
static void
print_formatting (const char *filename, const VpFormat *format,
                  const VpCreateOptions *options, uint64_t size)
{
  bool raw = !has_option (format, "cluster_size");

  printf ("Formatting '%s', fmt=%s", filename, format->name);
  if (!raw) {
    printf (" cluster_size=%" PRIu64 " extended_l2=%s",
            options->cluster_size != 0 ? options->cluster_size : 65536,
            bool_text (options->extended_l2));
    if (options->preallocation != VP_PREALLOCATION_OFF)
      printf (" preallocation=%s", preallocation_text (options->preallocation));
    printf (" compression_type=%s", options->zstd ? "zstd" : "zlib");
  }
  printf (" size=%" PRIu64, size);
  if (raw && options->preallocation != VP_PREALLOCATION_OFF)
    printf (" preallocation=%s", preallocation_text (options->preallocation));
  if (options->compat != 0)
    printf (" compat=%s", options->compat == 2 ? "0.10" : "1.1");
  if (options->backing_name != NULL)
    printf (" backing_file=%s", options->backing_name);
  if (options->backing_format != NULL)
    printf (" backing_fmt=%s", options->backing_format);
  if (options->data_name != NULL)
    printf (" data_file=%s", options->data_name);
  if (options->data_file_raw)
    printf (" data_file_raw=on");
  if (!raw)
    printf (" lazy_refcounts=%s refcount_bits=%u",
            bool_text (options->lazy_refcounts),
            options->refcount_bits != 0 ? options->refcount_bits : 16);
  printf ("\n");
  fflush (stdout);
}

bool
vp_img_set_options (VpCreateOptions *options, const VpFormat *format,
                    const GPtrArray *pairs, GError **error)
{
  for (unsigned i = 0; i + 1 < pairs->len; i += 2)
    if (!vp_create_options_set (options, format, g_ptr_array_index (pairs, i),
                                g_ptr_array_index (pairs, i + 1), error))
      return false;
  return true;
}

bool
vp_img_set_backing (VpCreateOptions *options, const VpFormat *format,
                    const char *name, const char *backing_format,
                    GError **error)
{
  const char *wrong = NULL;

  if (name != NULL && options->backing_name != NULL)
    wrong = "the backing file must be specified only once";
  if (name != NULL)
    options->backing_name = name;
  if (backing_format != NULL)
    options->backing_format = backing_format;

  if (options->backing_name != NULL && !format->supports_backing) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Backing file not supported for file format '%s'",
                 format->name);
    return false;
  }
  if (options->backing_name == NULL && options->backing_format != NULL)
    wrong = "Backing format cannot be used without backing file";
  if (options->backing_name != NULL && options->backing_format == NULL)
    wrong = "Backing file specified without backing format";
  if (wrong != NULL) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, wrong);
    return false;
  }
  return options->backing_format == NULL ||
         vp_formats_find (options->backing_format, error) != NULL;
}

bool
vp_img_find_backing_size (const char *filename, const VpCreateOptions *options,
                          uint64_t *ret_size, GError **error)
{
  VpOpener opener = vp_opener_person (0);
  VpClaim claim = { .role = "backing",
                    .name = options->backing_name,
                    .format = options->backing_format,
                    .image = filename };
  const char *format = claim.format;
  g_autoptr (VpFile) file = opener.open (&opener, &claim, &format, error);
  if (file == NULL)
    return false;
  g_autoptr (VpImage) image =
      vp_image_open_file (file, format, VP_IMAGE_READ_ONLY, &opener, error);
  if (image == NULL)
    return false;
  *ret_size = vp_image_get_size (image);
  return true;
}

typedef struct {
  const char *filename, *format, *backing, *backing_format, *size;
  GPtrArray *pairs;
  bool quiet, unsafe;
} Arguments;

/* The size as it was given, or the backing file's. */
static bool
settle_size (const Arguments *arguments, VpCreateOptions *options,
             GError **error)
{
  bool in_options = options->size != 0;
  uint64_t backing_size = 0;

  if (in_options && arguments->size != NULL) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "The image size must be specified only once");
    return false;
  }
  if (arguments->size != NULL &&
      !vp_parse_size (arguments->size, &options->size, error))
    return false;
  if (options->backing_name != NULL && !arguments->unsafe) {
    if (!vp_img_find_backing_size (arguments->filename, options, &backing_size,
                                   error))
      return false;
    if (!in_options && arguments->size == NULL)
      options->size = backing_size;
    return true;
  }
  if (!in_options && arguments->size == NULL) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Image creation needs a size parameter");
    return false;
  }
  return true;
}

static bool
make (const Arguments *arguments, const VpFormat *format,
      const VpCreateOptions *options, GError **error)
{
  g_auto (VpImgTarget) target = { .fd = -1 };

  if (!vp_img_target_open (&target, arguments->filename, error))
    return false;
  return vp_img_target_create (&target, format, options, error) &&
         vp_img_target_commit (&target, error);
}

static bool
create (const Arguments *arguments, GError **error)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  const VpFormat *format = vp_formats_find (arguments->format, NULL);

  if (format == NULL) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
                 "Unknown file format '%s'", arguments->format);
    return false;
  }
  if (!vp_img_set_options (&options, format, arguments->pairs, error) ||
      !vp_img_set_backing (&options, format, arguments->backing,
                           arguments->backing_format, error) ||
      !settle_size (arguments, &options, error))
    return false;
  if (!arguments->quiet)
    print_formatting (arguments->filename, format, &options, options.size);
  return make (arguments, format, &options, error);
}

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "quiet", no_argument, NULL, 'q' },
    { "format", required_argument, NULL, 'f' },
    { "backing", required_argument, NULL, 'b' },
    { "backing-format", required_argument, NULL, 'F' },
    { "backing-unsafe", no_argument, NULL, 'u' },
    { "options", required_argument, NULL, 'o' },
    { "object", required_argument, NULL, 'x' },
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  while ((c = vp_img_getopt (argc, argv, "qf:b:F:uo:", longs)) >= 0)
    switch (c) {
    case 'q': arguments->quiet = true; break;
    case 'f': arguments->format = optarg; break;
    case 'b': arguments->backing = optarg; break;
    case 'F': arguments->backing_format = optarg; break;
    case 'u': arguments->unsafe = true; break;
    case 'o': vp_img_split_options (arguments->pairs, optarg); break;
    case 'x': *ret_status = vp_img_unsupported ("--object"); return false;
    default: return false;
    }
  if (vp_img_wants_option_help (arguments->pairs)) {
    g_autoptr (GError) error = NULL;
    const VpFormat *format = vp_formats_find (arguments->format, &error);
    if (format == NULL)
      *ret_status = vp_img_fail (error, 1);
    else {
      vp_img_print_option_help (format);
      *ret_status = 0;
    }
    return false;
  }
  if (optind >= argc) {
    *ret_status = vp_img_misuse ("Expecting image file name");
    return false;
  }
  arguments->filename = argv[optind++];
  if (optind < argc)
    arguments->size = argv[optind++];
  if (optind < argc) {
    *ret_status = vp_img_misuse ("Unexpected argument: %s", argv[optind]);
    return false;
  }
  return true;
}

static int
run_create (int argc, char **argv)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  Arguments arguments = { .format = "raw", .pairs = pairs };
  g_autoptr (GError) error = NULL;
  uint64_t size;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;
  if (arguments.size != NULL && !vp_img_parse_size (arguments.size, &size))
    return 1;
  if (create (&arguments, &error))
    return 0;
  return vp_img_fail_about (arguments.filename, error, 1);
}

const VpImgVerb vp_img_verb_create = {
  "create", run_create,
  "[-q] [-f fmt] [-b backing_file -F backing_fmt] [-u] [-o options] "
  "filename [size]",
  "  -f, --format=fmt          'raw' without\n"
  "  -b, --backing=file        backing file, as the image will name it\n"
  "  -F, --backing-format=fmt  its format\n"
  "  -u, --backing-unsafe      do not open the backing file\n"
  "  -o, --options=options     name=value,...; '-o help' lists them\n"
  "  -q, --quiet               say nothing\n"
};
