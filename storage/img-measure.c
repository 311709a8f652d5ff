/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-measure: how large a new image will be, for a size alone or for what is
 * in another image.  Makes nothing. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-create.h"
#include "storage/img-names.h"
#include "storage/img.h"
#include "storage/measure.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct {
  const char *source, *source_format, *format, *snapshot;
  GPtrArray *pairs;
  VpImgOutput output;
  uint64_t size;
  VpImgAccess access;
  bool has_size;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static const struct option long_options[] = {
  { "source-format", required_argument, NULL, 'f' },
  { "target-format", required_argument, NULL, 'O' },
  { "options", required_argument, NULL, 'o' },
  { "snapshot", required_argument, NULL, 'l' },
  { "size", required_argument, NULL, 's' },
  { "output", required_argument, NULL, 'p' },
  VP_IMG_ACCESS_OPTIONS,
  { NULL, 0, NULL, 0 }
};

static int
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'f': arguments->source_format = optarg; break;
  case 'O': arguments->format = optarg; break;
  case 'o': vp_img_split_options (arguments->pairs, optarg); break;
  case 'l': arguments->snapshot = optarg; break;
  case 'p': return vp_img_parse_output (optarg, &arguments->output) ? -1 : 1;
  case 's':
    arguments->has_size = true;
    return vp_img_parse_number ("image size", optarg, 0, INT64_MAX,
                                &arguments->size)
               ? -1
               : 1;
  default: return vp_img_access_take (&arguments->access, c) ? -1 : 1;
  }
  return -1;
}

static int
check_arguments (const Arguments *arguments)
{
  if (arguments->source == NULL &&
      (arguments->access.image_opts || arguments->source_format != NULL ||
       arguments->snapshot != NULL)) {
    vp_img_complain ("--image-opts, -f, and -l require a filename argument.");
    return 1;
  }
  if (arguments->source == NULL && !arguments->has_size) {
    vp_img_complain ("Either --size N or one filename must be specified.");
    return 1;
  }
  if (arguments->source != NULL && arguments->has_size) {
    vp_img_complain ("--size N cannot be used together with a filename.");
    return 1;
  }
  return vp_img_access_check (&arguments->access, arguments->source_format) ? -1
                                                                            : 1;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c, status;

  while ((c = vp_img_getopt (argc, argv, "f:O:o:l:U", long_options)) >= 0)
    if ((status = take_option (c, arguments)) >= 0)
      return status;
  if (argc - optind > 1) {
    vp_img_complain ("At most one filename argument is allowed.");
    return 1;
  }
  arguments->source = optind < argc ? argv[optind] : NULL;
  return check_arguments (arguments);
}

static void
show_human (const VpMeasure *measure)
{
  printf ("required size: %" PRIu64 "\n"
          "fully allocated size: %" PRIu64 "\n",
          measure->required, measure->fully_allocated);
  if (measure->has_bitmaps)
    printf ("bitmaps size: %" PRIu64 "\n", measure->bitmaps);
}

static void
show_json (const VpMeasure *measure)
{
  g_autoptr (VpJson) json = vp_json_new ();

  vp_json_open_object (json, NULL);
  if (measure->has_bitmaps)
    vp_json_uint (json, "bitmaps", measure->bitmaps);
  vp_json_uint (json, "required", measure->required);
  vp_json_uint (json, "fully-allocated", measure->fully_allocated);
  vp_json_close (json);
  printf ("%s\n", vp_json_get_text (json));
}

static int
measure (const Arguments *arguments)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  const VpFormat *format = vp_formats_find (arguments->format, NULL);
  g_autoptr (VpImage) source = NULL;
  g_autoptr (GError) error = NULL;
  VpMeasure result;

  if (format == NULL) {
    vp_img_complain ("Unknown file format '%s'", arguments->format);
    return 1;
  }
  if (arguments->source != NULL) {
    source = vp_img_open (&arguments->access, arguments->source,
                          arguments->source_format, VP_IMAGE_READ_ONLY, &error);
    if (source == NULL)
      return vp_img_fail_open (arguments->source, error, 1);
  }
  if (arguments->snapshot != NULL &&
      !vp_img_load_snapshot (source, arguments->snapshot))
    return 1;
  options.encrypt.secrets = arguments->access.secrets;
  if (!vp_img_set_options (&options, format, arguments->pairs, &error))
    return vp_img_fail_options (format, error);
  options.size = arguments->size; /* the one in -o is the option's own affair */
  if (!vp_measure_image (format, &options, source, &result, &error))
    return vp_img_fail (error, 1);
  if (arguments->output == VP_IMG_JSON)
    show_json (&result);
  else
    show_human (&result);
  return 0;
}

static int
run_measure (int argc, char **argv)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  g_auto (Arguments) arguments = { .format = "raw", .pairs = pairs };
  int status = parse (argc, argv, &arguments);

  return status >= 0 ? status : measure (&arguments);
}

const VpImgVerb vp_img_verb_measure = {
  "measure", run_measure,
  "[--object objectdef] [--image-opts] [--output=ofmt] [-O output_fmt] [-o "
  "options] [--size N | [-f fmt] "
  "[-l snapshot_param] [-U] filename]",
  "  -O, --target-format=fmt  format of the image to be; 'raw' without\n"
  "  -o, --options=options    how it is to be made, as for create\n"
  "      --size=N             for a disk of that size, or\n"
  "  filename                 ... for what is in that image\n"
  "  -f, --source-format=fmt  format of that image; guessed without\n"
  "  -l, --snapshot=snapshot  a snapshot in it\n"
  "  -U, --force-share        look at no lock\n"
  "      --output=ofmt        'human' or 'json'\n"
  "      --object=secret,...  a key that -o or --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "Says how many bytes the new image needs at first, and how many at most\n"
  "when the guest has written everywhere.  For a qcow2 source: how much its\n"
  "bitmaps take in addition.\n"
};
