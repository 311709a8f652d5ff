/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-map: where the guest's bytes lie, extent by extent, through the whole
 * chain.  Extents that go on in one another are shown as one. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-names.h"
#include "storage/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OUTPUT_BUFFER ((size_t) 256 << 10)

typedef struct {
  const char *filename, *format;
  VpImgOutput output;
  uint64_t start, max_length;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
goes_on (const VpExtent *a, const VpExtent *b)
{
  return a->depth == b->depth && a->present == b->present &&
         a->zero == b->zero && a->data == b->data &&
         a->compressed == b->compressed && a->has_offset == b->has_offset &&
         (!a->has_offset || a->offset + a->length == b->offset) &&
         g_strcmp0 (a->filename, b->filename) == 0;
}

/* People are shown what another program could read in the file. */
static bool
print_for_people (const VpExtent *extent, GError **error)
{
  if (extent->data && !extent->has_offset) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "File contains external, encrypted or compressed "
                         "clusters.");
    return false;
  }
  if (extent->data && !extent->zero) {
    g_autofree char *name = vp_img_printable (extent->filename);
    printf ("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", extent->start,
            extent->length, extent->offset, name);
  }
  return true;
}

/* Rows come by the million: printf () would take most of the time. */
static char *
put_number (char *to, const char *key, uint64_t value)
{
  char digits[20];
  size_t at = sizeof digits;

  to = stpcpy (to, key);
  do
    digits[--at] = (char) ('0' + value % 10);
  while ((value /= 10) != 0);
  return (char *) mempcpy (to, digits + at, sizeof digits - at);
}

static char *
put_truth (char *to, const char *key, bool value)
{
  return stpcpy (stpcpy (to, key), value ? "true" : "false");
}

static void
print_json (const VpExtent *extent, bool first)
{
  char row[256]; /* four numbers and their keys */
  char *to = row;

  to = put_number (
      to, first ? "[{ \"start\": " : ",\n{ \"start\": ", extent->start);
  to = put_number (to, ", \"length\": ", extent->length);
  to = put_number (to, ", \"depth\": ", extent->depth);
  to = put_truth (to, ", \"present\": ", extent->present);
  to = put_truth (to, ", \"zero\": ", extent->zero);
  to = put_truth (to, ", \"data\": ", extent->data);
  if (extent->has_offset)
    to = put_number (to, ", \"offset\": ", extent->offset);
  *to++ = '}';
  (void) fwrite_unlocked (row, 1, (size_t) (to - row), stdout);
}

static bool
print_extent (const Arguments *arguments, const VpExtent *extent, bool first,
              GError **error)
{
  if (arguments->output == VP_IMG_HUMAN)
    return print_for_people (extent, error);
  print_json (extent, first);
  return true;
}

static bool
print_map (VpImage *image, const Arguments *arguments, GError **error)
{
  uint64_t size = vp_image_get_size (image);
  uint64_t end =
      arguments->start < size && arguments->max_length < size - arguments->start
          ? arguments->start + arguments->max_length
          : size;
  VpExtent pending = { 0 }, extent;
  bool first = true;

  for (uint64_t at = arguments->start; at < end; at += extent.length) {
    if (!vp_image_map (image, at, end - at, &extent, error))
      return false;
    if (pending.length > 0 && goes_on (&pending, &extent)) {
      pending.length += extent.length;
      continue;
    }
    if (pending.length > 0) {
      if (!print_extent (arguments, &pending, first, error))
        return false;
      first = false;
    }
    pending = extent;
  }
  if (pending.length > 0 && !print_extent (arguments, &pending, first, error))
    return false;
  /* Nothing lies past the end; a list of nothing would be no list to some. */
  if (pending.length == 0 && arguments->output == VP_IMG_JSON)
    print_json (&(VpExtent){ .start = arguments->start }, true);
  if (arguments->output == VP_IMG_JSON)
    printf ("]\n");
  return true;
}

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "format", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, 'O' },
    { "start-offset", required_argument, NULL, 's' },
    { "max-length", required_argument, NULL, 'l' },
    VP_IMG_ACCESS_OPTIONS,
    VP_IMG_ACCESS_SAFE,
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  while ((c = vp_img_getopt (argc, argv, "f:s:l:U", longs)) >= 0)
    switch (c) {
    case 'f': arguments->format = optarg; break;
    case 'O':
      if (!vp_img_parse_output (optarg, &arguments->output))
        return false;
      break;
    case 's':
      if (!vp_img_parse_number ("start offset", optarg, 0, INT64_MAX,
                                &arguments->start))
        return false;
      break;
    case 'l':
      if (!vp_img_parse_number ("max length", optarg, 0, INT64_MAX,
                                &arguments->max_length))
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
  return true;
}

static int
run_map (int argc, char **argv)
{
  g_auto (Arguments) arguments = { .max_length = UINT64_MAX };
  g_autoptr (GError) error = NULL;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;

  g_autoptr (VpImage) image =
      vp_img_open (&arguments.access, arguments.filename, arguments.format,
                   VP_IMAGE_NO_IO, &error);
  if (image == NULL)
    return vp_img_fail_open (arguments.filename, error, 1);
  (void) setvbuf (stdout, NULL, _IOFBF, OUTPUT_BUFFER);
  if (arguments.output == VP_IMG_HUMAN)
    printf ("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
  if (!print_map (image, &arguments, &error)) {
    fflush (stdout);
    return vp_img_fail (error, 1);
  }
  return 0;
}

const VpImgVerb vp_img_verb_map = {
  "map", run_map,
  "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] "
  "[--max-length=len] [--output=ofmt] [-U] "
  "filename",
  "  -f, --format=fmt           format of the image; guessed without\n"
  "  -s, --start-offset=offset  begin there\n"
  "  -l, --max-length=len       and go no further than that\n"
  "      --output=ofmt          'human' or 'json'\n"
  "  -U, --force-share          look at no lock\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
  "      --safe                 for images of strangers: needs -f, opens\n"
  "                             nothing that the image names\n"
};
