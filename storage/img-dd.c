/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-dd: a part of an image, in blocks, into a new image.  As in qemu-img
 * "count" is where the part ends, counted from the start of the input: what is
 * skipped is part of it. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-names.h"
#include "storage/img-pipe.h"
#include "storage/img-target.h"
#include "storage/img.h"
#include <stdio.h>
#include <string.h>

typedef struct {
  const char *source, *source_format, *target, *target_format;
  uint64_t block, count, skip;
  VpImgAccess access;
  bool has_count;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static const struct option long_options[] = {
  { "format", required_argument, NULL, 'f' },
  { "output-format", required_argument, NULL, 'O' },
  VP_IMG_ACCESS_OPTIONS,
  { NULL, 0, NULL, 0 }
};

/* "bs=4k" and the like. */
static bool
take_operand (const char *word, Arguments *arguments)
{
  const char *equals = strchr (word, '=');
  size_t len = equals != NULL ? (size_t) (equals - word) : strlen (word);
  const char *value = equals != NULL ? equals + 1 : "";

  if (equals != NULL && strncmp (word, "if", len) == 0 && len == 2)
    arguments->source = value;
  else if (equals != NULL && strncmp (word, "of", len) == 0 && len == 2)
    arguments->target = value;
  else if (strncmp (word, "bs", len) == 0 && len == 2)
    return vp_img_parse_number ("bs", value, 1, INT32_MAX, &arguments->block);
  else if (strncmp (word, "skip", len) == 0 && len == 4)
    return vp_img_parse_number ("skip", value, 0, INT64_MAX, &arguments->skip);
  else if (strncmp (word, "count", len) == 0 && len == 5) {
    arguments->has_count = true;
    return vp_img_parse_number ("count", value, 0, INT64_MAX,
                                &arguments->count);
  } else {
    vp_img_complain ("unrecognized operand %.*s", (int) len, word);
    return false;
  }
  return true;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c;

  while ((c = vp_img_getopt (argc, argv, "f:O:U", long_options)) >= 0)
    switch (c) {
    case 'f': arguments->source_format = optarg; break;
    case 'O': arguments->target_format = optarg; break;
    default:
      if (!vp_img_access_take (&arguments->access, c))
        return 1;
    }
  for (; optind < argc; optind++)
    if (!take_operand (argv[optind], arguments))
      return 1;
  if (arguments->source == NULL || arguments->target == NULL) {
    vp_img_complain ("Must specify both input and output files");
    return 1;
  }
  return vp_img_access_check (&arguments->access, arguments->source_format) ? -1
                                                                            : 1;
}

/* What is to be copied of a source of that size. */
static void
find_part (const Arguments *arguments, uint64_t size, VpCopyOptions *options)
{
  uint64_t end, skipped;

  if (arguments->has_count &&
      !__builtin_mul_overflow (arguments->count, arguments->block, &end))
    size = MIN (size, end);
  if (__builtin_mul_overflow (arguments->skip, arguments->block, &skipped) ||
      skipped > size) {
    vp_img_complain ("%s: cannot skip to specified offset", arguments->source);
    skipped = size;
  }
  options->source_offset = skipped;
  options->length = size - skipped;
}

static int
make (const Arguments *arguments, const VpFormat *format, VpImage *source)
{
  VpCopyOptions part = { .keep_rest = true };
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_auto (VpImgTarget) file = { .fd = -1 };
  g_autoptr (GError) error = NULL;

  find_part (arguments, vp_image_get_size (source), &part);
  options.size = part.length;
  if (vp_img_is_pipe (arguments->target) && strcmp (format->name, "raw") == 0)
    return vp_img_pipe_send_disk (source, part.source_offset, part.length,
                                  &error)
               ? 0
               : vp_img_fail (error, 1);
  if (!vp_img_target_open (&file, arguments->target, &error))
    return vp_img_fail_create (arguments->target, error);
  if (!vp_img_target_check_source (&file, source))
    return 1;
  g_autoptr (VpImage) target =
      vp_img_target_make (&file, format, &options, NULL, &error);
  if (target == NULL)
    return vp_img_fail_create (arguments->target, error);
  part.target_is_zero = vp_img_target_reads_zeros (target);
  if ((part.length > 0 &&
       !vp_copy_image (source, target, &part, NULL, &error)) ||
      !vp_image_close (g_steal_pointer (&target), &error) ||
      !vp_img_target_commit (&file, &error))
    return vp_img_target_fail (&file, error);
  return 0;
}

static VpImage *
open_source (const Arguments *arguments, GError **error)
{
  if (vp_img_is_pipe (arguments->source) && !arguments->access.image_opts)
    return vp_img_pipe_open (arguments->source_format, false, error);
  return vp_img_open (&arguments->access, arguments->source,
                      arguments->source_format, VP_IMAGE_READ_ONLY, error);
}

static int
run_dd (int argc, char **argv)
{
  g_auto (Arguments) arguments = { .target_format = "raw", .block = 512 };
  g_autoptr (GError) error = NULL;
  int status = parse (argc, argv, &arguments);

  if (status >= 0)
    return status;
  g_autoptr (VpImage) source = open_source (&arguments, &error);
  if (source == NULL)
    return vp_img_fail_open (arguments.source, error, 1);
  const VpFormat *format = vp_formats_find (arguments.target_format, NULL);
  if (format == NULL) {
    vp_img_complain ("Unknown file format");
    return 1;
  }
  if (!vp_formats_can_create (format, &error))
    return vp_img_fail (error, 1);
  return make (&arguments, format, source);
}

const VpImgVerb vp_img_verb_dd = {
  "dd", run_dd,
  "[--object objectdef] [--image-opts] [-U] [-f fmt] [-O output_fmt] "
  "[bs=block_size] [count=blocks] "
  "[skip=blocks] if=input of=output",
  "  -f, --format=fmt         format of the input; guessed without\n"
  "  -O, --output-format=fmt  format of the output; 'raw' without\n"
  "  -U, --force-share        look at no lock of the input\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         the input is driver=...,file.filename=...\n"
  "  if=input of=output images; what is in the output is lost\n"
  "  bs=block_size            512 without\n"
  "  skip=blocks              begin there in the input\n"
  "  count=blocks             end there in the input: the skipped blocks are\n"
  "                           part of the count, as in qemu-img 7.2\n"
};
