/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-create: make an image, alone or on a backing file. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-create.h"
#include "storage/img-names.h"
#include "storage/img-options.h"
#include "storage/img-target.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool
vp_img_set_options (VpCreateOptions *options, const VpFormat *format,
                    const GPtrArray *pairs, GError **error)
{
  if (!vp_img_options_check (pairs, format, error))
    return false;
  for (unsigned i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    if (vp_img_options_of_file (format, name))
      continue;
    if (!vp_create_options_set (options, format, name,
                                g_ptr_array_index (pairs, i + 1), error))
      return false;
  }
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

void
vp_img_tell_size (const char *filename, const VpFormat *format, uint64_t asked,
                  uint64_t got)
{
  const char *why = got == vp_round_up (asked, 512)
                        ? "hold whole sectors of 512 bytes"
                        : "hold whole units of their own";

  if (got != asked)
    vp_img_complain ("%s: the disk has %" PRIu64 " bytes, not %" PRIu64
                     ": %s images %s",
                     filename, got, asked, format->name, why);
}

bool
vp_img_find_backing (const char *filename, const VpCreateOptions *options,
                     uint64_t *ret_size, char **ret_format, GError **error)
{
  VpOpener opener = vp_opener_person (0);
  VpClaim claim = { .role = "backing",
                    .name = options->backing_name,
                    .format = options->backing_format,
                    .image = filename };
  const char *format = claim.format;
  g_autoptr (VpFile) file = opener.open (&opener, &claim, &format, error);
  g_autoptr (VpImage) image = NULL;

  if (file != NULL)
    image = vp_image_open_file (file, format, VP_IMAGE_NO_IO, &opener, error);
  if (image == NULL) {
    vp_img_prefix_reason (file != NULL ? file->name : options->backing_name, "",
                          error);
    return false;
  }
  *ret_size = vp_image_get_size (image);
  if (ret_format != NULL)
    *ret_format = g_strdup (vp_image_get_format (image)->name);
  return true;
}

typedef struct {
  const char *filename, *format, *backing, *backing_format, *size;
  GPtrArray *pairs;
  VpImgAccess access;
  bool quiet, unsafe;
  char *hint; /* owned; a line behind what went wrong */
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  g_free (arguments->hint);
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

/* Which backing file, as far as words go. */
static bool
find_backing (const Arguments *arguments, const VpFormat *format,
              VpCreateOptions *options, GError **error)
{
  const char *in_options = vp_img_option (arguments->pairs, "backing_file");
  const char *format_in_options =
      vp_img_option (arguments->pairs, "backing_fmt");

  if (arguments->backing != NULL && in_options != NULL)
    return usage (error, "the backing file must be specified only once");
  options->backing_name =
      arguments->backing != NULL ? arguments->backing : in_options;
  options->backing_format = arguments->backing_format != NULL
                                ? arguments->backing_format
                                : format_in_options;
  if (options->backing_name == NULL)
    return true;
  if (!format->supports_backing) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Backing file not supported for file format '%s'",
                 format->name);
    return false;
  }
  if (options->backing_name[0] == '\0')
    return usage (error, "Expected backing file name, got empty string");
  if (strcmp (options->backing_name, arguments->filename) == 0)
    return usage (error, "Error: Trying to create an image with the same "
                         "filename as the backing file");
  return true;
}

static bool
open_backing (Arguments *arguments, const VpCreateOptions *options,
              uint64_t *ret_size, char **ret_format, GError **error)
{
  if (vp_img_find_backing (arguments->filename, options, ret_size, ret_format,
                           error))
    return true;
  arguments->hint = g_strdup ("Could not open backing image.");
  return false;
}

/* "Backing file specified without backing format", and which it might be. */
static bool
want_backing_format (Arguments *arguments, const VpCreateOptions *options,
                     GError **error)
{
  VpCreateOptions guess = *options;
  g_autofree char *found = NULL;
  uint64_t size;

  if (options->backing_name == NULL || options->backing_format != NULL)
    return true;
  if (!arguments->unsafe) {
    if (!open_backing (arguments, &guess, &size, &found, error))
      return false;
    arguments->hint = g_strdup_printf ("Detected format of %s.", found);
  }
  return usage (error, "Backing file specified without backing format");
}

/* The size as it was given, or the backing file's. */
static bool
settle_size (Arguments *arguments, VpCreateOptions *options, GError **error)
{
  const char *in_options = vp_img_option (arguments->pairs, "size");
  const char *text = arguments->size != NULL ? arguments->size : in_options;
  uint64_t backing_size = 0;

  if (in_options != NULL && arguments->size != NULL)
    return usage (error, "The image size must be specified only once");
  if (text != NULL && !vp_parse_size (text, &options->size, error))
    return false;
  if (!want_backing_format (arguments, options, error))
    return false;
  if (options->backing_name != NULL && !arguments->unsafe) {
    if (!open_backing (arguments, options, &backing_size, NULL, error))
      return false;
    if (text == NULL)
      options->size = backing_size;
    return true;
  }
  return text != NULL || usage (error, "Image creation needs a size parameter");
}

static bool
make (const Arguments *arguments, const VpFormat *format,
      VpCreateOptions *options, GError **error)
{
  g_auto (VpImgTarget) target = { .fd = -1 };
  uint64_t size = options->size;
  bool opened = false;

  options->encrypt.secrets = arguments->access.secrets;
  if (!vp_img_set_options (options, format, arguments->pairs, error) ||
      !vp_img_set_backing (options, format, NULL, arguments->backing_format,
                           error))
    return false;
  options->size = size;
  opened = vp_img_target_open (&target, arguments->filename, error);
  if (!opened) {
    g_autofree char *where =
        g_strdup_printf ("Could not create '%s': ", arguments->filename);
    vp_img_prefix_reason (arguments->filename, where, error);
    return false;
  }
  vp_img_options_apply (arguments->pairs, target.fd);
  if (!vp_img_target_create (&target, format, options, error) ||
      !vp_img_target_commit (&target, error))
    return false;
  if (!arguments->quiet)
    vp_img_tell_size (arguments->filename, format, size,
                      vp_round_up (size, 512));
  return true;
}

static bool
create (Arguments *arguments, GError **error)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  const VpFormat *format = vp_formats_find (arguments->format, NULL);

  if (format == NULL) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
                 "Unknown file format '%s'", arguments->format);
    return false;
  }
  if (!vp_formats_can_create (format, error))
    return false;
  if (!vp_img_options_check (arguments->pairs, format, error)) {
    if (g_str_has_suffix ((*error)->message, " 2^64"))
      arguments->hint = g_strdup ("Optional suffix k, M, G, T, P or E means "
                                  "kilo-, mega-, giga-, tera-, peta-\n"
                                  "and exabytes, respectively.");
    return false;
  }
  if (!find_backing (arguments, format, &options, error) ||
      !settle_size (arguments, &options, error))
    return false;
  if (!arguments->quiet) {
    g_autofree char *text =
        vp_img_options_text (arguments->pairs, format, &options);
    printf ("Formatting '%s', fmt=%s %s\n", arguments->filename, format->name,
            text);
    fflush (stdout);
  }
  /* What was found above stands; what is set below is the rest. */
  options.backing_name = arguments->backing;
  options.backing_format = NULL;
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
    VP_IMG_ACCESS_OBJECT,
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
    default:
      if (!vp_img_access_take (&arguments->access, c))
        return false;
    }
  if (vp_img_wants_option_help (arguments->pairs)) {
    g_autoptr (GError) error = NULL;
    const VpFormat *format = vp_formats_find (arguments->format, &error);
    if (format == NULL || !vp_formats_can_create (format, &error))
      *ret_status = vp_img_fail (error, 1);
    else {
      vp_img_options_help (format, optind < argc);
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
  g_auto (Arguments) arguments = { .format = "raw", .pairs = pairs };
  g_autoptr (GError) error = NULL;
  uint64_t size;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;
  if (arguments.size != NULL && !vp_img_parse_size (arguments.size, &size))
    return 1;
  if (create (&arguments, &error))
    return 0;
  (void) vp_img_fail_about (arguments.filename, error, 1);
  if (arguments.hint != NULL)
    fprintf (stderr, "%s\n", arguments.hint);
  return 1;
}

const VpImgVerb vp_img_verb_create = {
  "create", run_create,
  "[--object objectdef] [-q] [-f fmt] [-b backing_file -F backing_fmt] [-u] "
  "[-o options] "
  "filename [size]",
  "  -f, --format=fmt          'raw' without\n"
  "  -b, --backing=file        backing file, as the image will name it\n"
  "  -F, --backing-format=fmt  its format\n"
  "  -u, --backing-unsafe      do not open the backing file\n"
  "  -o, --options=options     name=value,...; '-o help' lists them\n"
  "  -q, --quiet               say nothing\n"
  "      --object=secret,...   a key that -o names\n"
  "Without a size the image is as large as its backing file.\n"
  "    create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2\n"
};
