/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-commit: an overlay into its backing file, or into one further down.
 *
 *     top ─ middle ─ base ─ below          top ─ middle ┆  base ─ below
 *     open for writing, the rest for   ─▶  cut here     ┆  open for writing
 *     reading                                           ┆
 *
 * With -b the images in between are left as they are, and the top is not
 * emptied, as in qemu-img. */
#include "config.h"

#include "storage/commit.h"
#include "storage/error.h"
#include "storage/img-task.h"
#include "storage/probe.h"
#include <stdio.h>

typedef struct {
  VpImgTask *task; /* borrowed */
  const char *base;
  uint64_t rate;
  bool keep_top;
} Arguments;

static const struct option long_options[] = {
  { "quiet", no_argument, NULL, 'q' },
  { "format", required_argument, NULL, 'f' },
  { "base", required_argument, NULL, 'b' },
  { "drop", no_argument, NULL, 'd' },
  { "cache", required_argument, NULL, 't' },
  { "rate-limit", required_argument, NULL, 'r' },
  { "progress", optional_argument, NULL, 'P' },
  VP_IMG_ACCESS_OBJECT,
  { "image-opts", no_argument, NULL, VP_IMG_IMAGE_OPTS },
  { NULL, 0, NULL, 0 }
};

static int
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'b':
    arguments->base = optarg;
    arguments->keep_top = true;
    break;
  case 'd': arguments->keep_top = true; break;
  case 'r':
    return vp_img_parse_number ("rate limit", optarg, 0, INT64_MAX,
                                &arguments->rate)
               ? -1
               : 1;
  default: return vp_img_task_take (arguments->task, c);
  }
  return -1;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c, status;

  while ((c = vp_img_getopt (argc, argv, "qf:b:dt:r:p", long_options)) >= 0)
    if ((status = take_option (c, arguments)) >= 0)
      return status;
  return vp_img_task_take_name (arguments->task, argc, argv);
}

/* What opened the base and all below it will do so again. */
typedef struct {
  VpOpenOptions layers[VP_MAX_CHAIN_DEPTH];
  VpSecret *keys[VP_MAX_CHAIN_DEPTH];
} Keys;

static void
keys_take (Keys *keys, VpImage *layer)
{
  for (unsigned i = 0; layer != NULL && i < VP_MAX_CHAIN_DEPTH;
       i++, layer = vp_image_get_backing (layer)) {
    const VpSecret *key = vp_image_get_key (layer);
    if (key != NULL)
      keys->keys[i] = vp_secret_new (key->id, key->data, key->len);
    keys->layers[i].key = keys->keys[i];
    if (i + 1 < VP_MAX_CHAIN_DEPTH && vp_image_get_backing (layer) != NULL)
      keys->layers[i].backing = &keys->layers[i + 1];
  }
}

static void
keys_clear (Keys *keys)
{
  for (unsigned i = 0; i < VP_MAX_CHAIN_DEPTH; i++)
    g_clear_pointer (&keys->keys[i], vp_secret_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Keys, keys_clear)

/* The base again, for writing.  Where the image does not state its format, a
 * guest must not choose it: what was guessed to be raw stays raw. */
static VpImage *
reopen_base (const Arguments *arguments, VpImage *image, VpImage *layer,
             char **ret_name, GError **error)
{
  VpOpener opener = vp_opener_person (0);
  const VpFormat *format = vp_image_get_format (layer);
  bool is_guess = vp_image_was_probed (layer) && format == &vp_format_raw;
  VpFileId id = vp_image_get_file (layer)->id;
  g_auto (Keys) keys = { 0 };

  keys_take (&keys, layer);
  keys.layers[0].format = format->name;
  keys.layers[0].flags = VP_IMAGE_WRITABLE;
  keys.layers[0].opener = &opener;
  *ret_name = g_strdup (vp_image_get_name (layer));
  vp_image_free (vp_chain_cut (image, layer));
  g_autoptr (VpFile) file = vp_file_open (*ret_name, VP_FILE_WRITABLE, error);
  g_autoptr (VpImage) base =
      file != NULL ? vp_image_open_with (file, &keys.layers[0], error) : NULL;
  if (base == NULL)
    return NULL;
  vp_image_add_caching (base, arguments->task->access.caching);
  if (is_guess)
    vp_file_guard_head (file, vp_probe_head_is_raw);
  VpFileId now = vp_image_get_file (base)->id;
  if (now.device != id.device || now.inode != id.inode) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_IN_USE,
                 "%s: was replaced by another file a moment ago", *ret_name);
    return NULL;
  }
  return g_steal_pointer (&base);
}

static int
commit (const Arguments *arguments, VpImage *image, VpImage *layer)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *name = NULL;
  VpImgProgress progress;
  g_autoptr (VpImage) base =
      reopen_base (arguments, image, layer, &name, &error);

  if (base == NULL)
    return vp_img_fail_open (name, error, 1);
  vp_img_task_begin (arguments->task, &progress);
  bool ok = vp_commit_image (image, base, arguments->rate, &progress.progress,
                             &error);
  vp_img_progress_end (&progress);
  if (!ok || !vp_image_close (g_steal_pointer (&base), &error))
    return vp_img_fail_about (name, error, 1);
  if (!arguments->keep_top && !vp_image_empty (image, &error)) {
    vp_img_complain ("Could not empty %s: %s", arguments->task->filename,
                     error->message);
    return 1;
  }
  return 0;
}

static int
run_commit (int argc, char **argv)
{
  g_auto (VpImgTask) task = { 0 };
  Arguments arguments = { .task = &task };
  g_autoptr (GError) error = NULL;
  int status = parse (argc, argv, &arguments);

  if (status >= 0)
    return status;
  g_autoptr (VpImage) image =
      vp_img_task_open (&task, VP_IMAGE_WRITABLE, &error);
  if (image == NULL)
    return vp_img_fail_open (task.filename, error, 1);
  VpImage *layer = vp_chain_find (image, arguments.base);
  if (layer == NULL && arguments.base != NULL) {
    vp_img_complain ("Did not find '%s' in the backing chain of '%s'",
                     arguments.base, task.filename);
    return 1;
  }
  if (layer == NULL) {
    vp_img_complain ("Image does not have a backing file");
    return 1;
  }
  if ((status = commit (&arguments, image, layer)) != 0)
    return status;
  if (!vp_image_close (g_steal_pointer (&image), &error))
    return vp_img_fail_about (task.filename, error, 1);
  if (!task.quiet)
    printf ("Image committed.\n");
  return 0;
}

const VpImgVerb vp_img_verb_commit = {
  "commit", run_commit,
  "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r "
  "rate_limit] [-d] [-p] "
  "[--progress[=json]] filename",
  "  -f, --format=fmt       format of the image; guessed without\n"
  "  -b, --base=base        the image of its chain to commit into; the next\n"
  "                         one below without.  Implies -d; images in between\n"
  "                         are left as they are, and are of no use any more\n"
  "  -d, --drop             do not empty the image afterwards: it is to be\n"
  "                         deleted\n"
  "  -r, --rate-limit=rate  bytes a second at most\n"
  "  -t, --cache=mode       writeback; writethrough and directsync: each "
  "write\n"
  "                         is flushed; unsafe: none is; none, directsync:\n"
  "                         the page cache is given back\n"
  "  -p, --progress[=json]  show how far it has come\n"
  "  -q, --quiet            say nothing\n"
  "      --object=secret,.. a key that --image-opts names\n"
  "      --image-opts       filename is driver=...,file.filename=...\n"

  "A base that is smaller than the image grows.\n"
};
