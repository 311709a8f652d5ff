/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-resize: another size for the disk in an image.  A smaller one loses what
 * lies behind its end, so that it has to be asked for by name. */
#include "config.h"

#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const char *filename, *format, *size;
  VpPreallocation preallocation;
  bool quiet, shrink;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
parse_preallocation (const char *word, VpPreallocation *ret_preallocation)
{
  static const char *const words[] = { "off", "metadata", "falloc", "full" };

  for (unsigned i = 0; i < G_N_ELEMENTS (words); i++)
    if (strcmp (words[i], word) == 0) {
      *ret_preallocation = (VpPreallocation) i;
      return true;
    }
  vp_img_complain ("Invalid preallocation mode '%s'", word);
  return false;
}

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "quiet", no_argument, NULL, 'q' },
    { "format", required_argument, NULL, 'f' },
    { "preallocation", required_argument, NULL, 'p' },
    { "shrink", no_argument, NULL, 's' },
    VP_IMG_ACCESS_OBJECT,
    { "image-opts", no_argument, NULL, VP_IMG_IMAGE_OPTS },
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  if (argc < 3) {
    *ret_status = vp_img_misuse ("Not enough arguments");
    return false;
  }
  /* The size is the last word, and "-1G" is no option. */
  arguments->size = argv[--argc];
  while ((c = vp_img_getopt (argc, argv, "qf:", longs)) >= 0)
    switch (c) {
    case 'q': arguments->quiet = true; break;
    case 'f': arguments->format = optarg; break;
    case 'p':
      if (!parse_preallocation (optarg, &arguments->preallocation))
        return false;
      break;
    case 's': arguments->shrink = true; break;
    default:
      if (!vp_img_access_take (&arguments->access, c))
        return false;
    }
  if (optind != argc - 1) {
    *ret_status = vp_img_misuse ("Expecting image file name and size");
    return false;
  }
  arguments->filename = argv[optind];
  if (!vp_img_access_check (&arguments->access, arguments->format))
    return false;
  return true;
}

/* "20G", "+1G", "-1G" from the present size. */
static bool
find_size (const char *text, uint64_t present, uint64_t *ret_size)
{
  char sign = text[0] == '+' || text[0] == '-' ? text[0] : '\0';
  uint64_t given, size;

  if (!vp_parse_size (text + (sign != '\0'), &given, NULL)) {
    vp_img_complain ("Parameter 'size' expects a non-negative number below "
                     "2^64");
    fprintf (stderr, "Optional suffix k, M, G, T, P or E means kilo-, mega-, "
                     "giga-, tera-, peta-\nand exabytes, respectively.\n");
    return false;
  }
  if (sign == '-')
    size = given < present ? present - given : 0;
  else if (__builtin_add_overflow (sign == '+' ? present : 0, given, &size) ||
           size > VP_MAX_VIRTUAL_SIZE) {
    vp_img_complain ("The size is too large");
    return false;
  }
  if (size == 0) {
    vp_img_complain ("New image size must be positive");
    return false;
  }
  *ret_size = size;
  return true;
}

static bool
check_direction (uint64_t size, uint64_t present, const Arguments *arguments)
{
  if (size <= present && arguments->preallocation != VP_PREALLOCATION_OFF) {
    vp_img_complain ("Preallocation can only be used for growing images");
    return false;
  }
  if (size >= present || arguments->shrink)
    return true;
  vp_img_complain ("Use the --shrink option to perform a shrink operation.");
  vp_img_complain ("warning: Shrinking an image will delete all data beyond "
                   "the shrunken image's end. Before performing such an "
                   "operation, make sure there is no important data there.");
  return false;
}

static int
run_resize (int argc, char **argv)
{
  g_auto (Arguments) arguments = { 0 };
  g_autoptr (GError) error = NULL;
  uint64_t size;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;

  g_autoptr (VpImage) image =
      vp_img_open (&arguments.access, arguments.filename, arguments.format,
                   VP_IMAGE_WRITABLE, &error);
  if (image == NULL)
    return vp_img_fail_open (arguments.filename, error, 1);
  uint64_t present = vp_image_get_size (image);
  if (!find_size (arguments.size, present, &size))
    return 1;
  if (!check_direction (size, present, &arguments))
    return 1;

  bool ok = size < present ? vp_image_shrink (image, size, &error)
                           : vp_image_resize (image, size,
                                              arguments.preallocation, &error);
  if (!ok || !vp_image_close (g_steal_pointer (&image), &error))
    return vp_img_fail_about (arguments.filename, error, 1);
  if (!arguments.quiet)
    printf ("Image resized.\n");
  return 0;
}

const VpImgVerb vp_img_verb_resize = {
  "resize", run_resize,
  "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] "
  "[-q] [--shrink] filename [+ | -]size",
  "  -f, --format=fmt         format of the image; guessed without\n"
  "      --preallocation=how  'off', 'metadata', 'falloc' or 'full'\n"
  "      --shrink             a smaller size is meant; what lies behind the\n"
  "                           new end is lost\n"
  "  -q, --quiet              say nothing\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
};
