/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-bitmap: an image's persistent bitmaps, one action after the other.  What
 * was done before an action that fails is kept. */
#include "config.h"

#include "storage/error.h"
#include "storage/image-bitmap.h"
#include "storage/img-names.h"
#include "storage/img.h"

#include <stdio.h>

typedef enum { ADD, REMOVE, CLEAR, ENABLE, DISABLE, MERGE } ActionKind;

static const char *const action_names[] = { "add",    "remove",  "clear",
                                            "enable", "disable", "merge" };

typedef struct {
  ActionKind kind;
  const char *source; /* MERGE: a bitmap's name */
} Action;

typedef struct {
  const char *filename, *format, *bitmap;
  const char *source, *source_format;
  GArray *actions; /* of Action */
  uint64_t granularity;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
  g_clear_pointer (&arguments->actions, g_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

static bool
has_action (const Arguments *arguments, ActionKind kind)
{
  for (guint i = 0; i < arguments->actions->len; i++)
    if (g_array_index (arguments->actions, Action, i).kind == kind)
      return true;
  return false;
}

static int
complain (const char *text)
{
  vp_img_complain ("%s", text);
  return 1;
}

static int
check_arguments (const Arguments *arguments)
{
  if (arguments->actions->len == 0)
    return complain ("Need at least one of --add, --remove, --clear, "
                     "--enable, --disable, or --merge");
  if (arguments->granularity != 0 && !has_action (arguments, ADD))
    return complain ("granularity only supported with --add");
  if (arguments->source_format != NULL && arguments->source == NULL)
    return complain ("-F only supported with -b");
  if (arguments->source != NULL && !has_action (arguments, MERGE))
    return complain ("Merge bitmap source file only supported with --merge");
  return vp_img_access_check (&arguments->access, arguments->format) ? 0 : 1;
}

enum { OPTION_ACTION = 256 }; /* + ActionKind */

static int
parse (int argc, char **argv, Arguments *arguments)
{
  static const struct option longs[] = {
    { "add", no_argument, NULL, OPTION_ACTION + ADD },
    { "remove", no_argument, NULL, OPTION_ACTION + REMOVE },
    { "clear", no_argument, NULL, OPTION_ACTION + CLEAR },
    { "enable", no_argument, NULL, OPTION_ACTION + ENABLE },
    { "disable", no_argument, NULL, OPTION_ACTION + DISABLE },
    { "merge", required_argument, NULL, OPTION_ACTION + MERGE },
    { "granularity", required_argument, NULL, 'g' },
    { "source-file", required_argument, NULL, 'b' },
    { "source-format", required_argument, NULL, 'F' },
    { "format", required_argument, NULL, 'f' },
    VP_IMG_ACCESS_OBJECT,
    { "image-opts", no_argument, NULL, VP_IMG_IMAGE_OPTS },
    { NULL, 0, NULL, 0 }
  };
  int c;

  while ((c = vp_img_getopt (argc, argv, "b:f:F:g:", longs)) >= 0)
    switch (c) {
    case 'b': arguments->source = optarg; break;
    case 'f': arguments->format = optarg; break;
    case 'F': arguments->source_format = optarg; break;
    case 'g':
      if (!vp_img_parse_number ("granularity", optarg, 0, INT64_MAX,
                                &arguments->granularity))
        return 1;
      break;
    default:
      if (c >= OPTION_ACTION && c <= OPTION_ACTION + MERGE) {
        Action action = { (ActionKind) (c - OPTION_ACTION), optarg };
        g_array_append_val (arguments->actions, action);
      } else if (!vp_img_access_take (&arguments->access, c))
        return 1;
    }
  if (optind != argc - 2 && arguments->actions->len > 0)
    return complain ("Expecting filename and bitmap name");
  if (arguments->actions->len > 0) {
    arguments->filename = argv[optind];
    arguments->bitmap = argv[optind + 1];
  }
  return check_arguments (arguments);
}

static bool
act (const Arguments *arguments, const Action *action, VpImage *image,
     VpImage *source, GError **error)
{
  const char *name = arguments->bitmap;
  switch (action->kind) {
  case ADD:
    return vp_image_bitmap_add (image, name, arguments->granularity, true,
                                error);
  case REMOVE: return vp_image_bitmap_remove (image, name, error);
  case CLEAR: return vp_image_bitmap_clear (image, name, error);
  case ENABLE: return vp_image_bitmap_set_enabled (image, name, true, error);
  case DISABLE: return vp_image_bitmap_set_enabled (image, name, false, error);
  case MERGE:
  default:
    return vp_image_bitmap_merge (image, name, source ? source : image,
                                  action->source, error);
  }
}

static bool
act_all (const Arguments *arguments, VpImage *image, VpImage *source)
{
  for (guint i = 0; i < arguments->actions->len; i++) {
    const Action *action = &g_array_index (arguments->actions, Action, i);
    g_autoptr (GError) error = NULL;
    if (act (arguments, action, image, source, &error))
      continue;
    vp_img_complain ("Operation %s on bitmap %s failed: %s",
                     action_names[action->kind], arguments->bitmap,
                     error->message);
    if (g_error_matches (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT))
      fprintf (stderr, "'%s bitmap --remove' takes such a bitmap away\n",
               vp_img_program ());
    return false;
  }
  return true;
}

static int
run_bitmap (int argc, char **argv)
{
  g_auto (Arguments)
      arguments = { .actions = g_array_new (false, false, sizeof (Action)) };
  g_autoptr (VpImage) source = NULL;
  g_autoptr (GError) error = NULL;

  if (parse (argc, argv, &arguments) != 0)
    return 1;
  /* Guest bytes are of no interest: neither a key nor a backing file. */
  VpImageFlags flags = VP_IMAGE_NO_BACKING | VP_IMAGE_NO_IO;
  g_autoptr (VpImage) image =
      vp_img_open (&arguments.access, arguments.filename, arguments.format,
                   flags | VP_IMAGE_WRITABLE, &error);
  if (image == NULL)
    return vp_img_fail_open (arguments.filename, error, 1);
  if (arguments.source != NULL) {
    source = vp_img_open (&arguments.access, arguments.source,
                          arguments.source_format, flags, &error);
    if (source == NULL)
      return vp_img_fail_open (arguments.source, error, 1);
  }

  bool ok = act_all (&arguments, image, source);
  if (!vp_image_close (g_steal_pointer (&image), &error))
    return vp_img_fail (error, 1);
  return ok ? 0 : 1;
}

const VpImgVerb vp_img_verb_bitmap = {
  "bitmap", run_bitmap,
  "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... "
  "[-b source_file [-F source_fmt]] [-g granularity] [--object objectdef] "
  "[--image-opts | -f fmt] filename bitmap",
  "  --add                     make it; it records from then on\n"
  "  --remove                  take it away\n"
  "  --clear                   forget what it has recorded\n"
  "  --enable, --disable       record, or do not, from now on\n"
  "  --merge SOURCE            add what bitmap SOURCE has recorded\n"
  "                            Actions are done in the order given.\n"
  "  -b, --source-file=file    the image that SOURCE is in\n"
  "  -F, --source-format=fmt   its format; guessed without\n"
  "  -g, --granularity=size    bytes a bit, for --add; a power of two from\n"
  "                            512 to 2G\n"
  "  -f, --format=fmt          format of the image; guessed without\n"
  "      --image-opts          filename is words: driver=...,file=...\n"
  "      --object=objectdef    a secret\n"
};
