/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-convert: the guest bytes of one image, or of several in a row, into
 * another.
 *
 *   sources (and their chains)  ──  copy  ──▶  target
 *                                              new: nameless until whole
 *                                              -n:  an image that is there
 *                                              "-": the standard output
 *
 * With -B the target gets a backing file.  If that is a file of the source's
 * own chain, only what the source holds above it is copied.  Any other
 * holds whatever it holds: every byte is written then, zeros too, so that the
 * target reads as the source does in any case.
 *
 * All that can be wrong with the options is found before the target is
 * touched. */
#include "config.h"

#include "storage/error.h"
#include "storage/image-bitmap.h"
#include "storage/img-convert.h"
#include "storage/img-create.h"
#include "storage/img-options.h"
#include "storage/img-pipe.h"
#include "storage/img-target.h"
#include "storage/join.h"

#include <stdio.h>
#include <string.h>

/* ---- sources ------------------------------------------------------------- */

static void
free_image (gpointer image)
{
  vp_image_free (image);
}

static VpImage *
open_source (const VpImgConvert *convert, const char *name, GError **error)
{
  if (vp_img_is_pipe (name) && !convert->access.image_opts)
    return vp_img_pipe_open (convert->source_format, convert->access.safe,
                             error);
  return vp_img_open (&convert->access, name, convert->source_format,
                      VP_IMAGE_READ_ONLY, error);
}

/* NULL: it was said what is wrong. */
static GPtrArray *
open_sources (const VpImgConvert *convert)
{
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func (free_image);

  for (unsigned i = 0; i < convert->sources->len; i++) {
    const char *name = g_ptr_array_index (convert->sources, i);
    g_autoptr (GError) error = NULL;
    VpImage *image = open_source (convert, name, &error);
    if (image == NULL) {
      (void) vp_img_fail_open (name, error, 1);
      return NULL;
    }
    g_ptr_array_add (images, image);
  }
  return g_steal_pointer (&images);
}

static uint64_t
size_of_all (const GPtrArray *sources)
{
  uint64_t total = 0;

  for (unsigned i = 0; i < sources->len; i++)
    if (__builtin_add_overflow (
            total, vp_image_get_size (g_ptr_array_index (sources, i)), &total))
      return UINT64_MAX;
  return total;
}

/* As the sources' owner counts: QEMU's raw disks end with a whole sector, the
 * files that hold them may not. */
static uint64_t
size_as_given (const GPtrArray *sources, uint64_t size)
{
  uint64_t last;

  if (sources->len == 0)
    return size;
  VpImage *image = g_ptr_array_index (sources, sources->len - 1);
  uint64_t disk = vp_image_get_size (image);
  if (strcmp (vp_image_get_format (image)->name, "raw") == 0 &&
      vp_file_get_size (vp_image_get_file (image), &last, NULL) &&
      last < disk && vp_round_up (last, 512) == disk)
    size -= disk - last;
  return size;
}

/* ---- copying ------------------------------------------------------------- */

static void
tell_salvaged (const VpSalvage *salvage)
{
  for (unsigned i = 0; i < salvage->messages->len; i++)
    vp_img_complain ("warning: %s",
                     (const char *) g_ptr_array_index (salvage->messages, i));
}

/* Several are one disk, so that no unit of the target is ever in two copies. */
static bool
copy_all (const GPtrArray *sources, VpImage *target, VpCopyOptions *options,
          const VpProgress *progress, GError **error)
{
  g_autoptr (VpImage) joined = NULL;
  VpImage *source = g_ptr_array_index (sources, 0);

  if (size_of_all (sources) == 0)
    return true;
  if (sources->len > 1)
    source = joined = vp_image_join (sources, error);
  return source != NULL &&
         vp_copy_image (source, target, options, progress, error);
}

static bool
copy (const VpImgConvert *convert, const GPtrArray *sources, VpImage *target,
      VpCopyOptions *options, GError **error)
{
  VpSalvage salvage;
  VpImgProgress shown;

  options->compress = convert->compress;
  options->level = convert->level;
  options->rate = convert->rate;
  options->threads = convert->threads;
  options->keep_rest = true;
  vp_salvage_init (&salvage);
  options->salvage = convert->salvage ? &salvage : NULL;
  vp_img_progress_begin (&shown, convert->quiet ? VP_IMG_PROGRESS_NONE
                                                : convert->progress);
  bool ok = copy_all (sources, target, options, &shown.progress, error);
  vp_img_progress_end (&shown);
  tell_salvaged (&salvage);
  vp_salvage_clear (&salvage);
  return ok;
}

static bool
copy_bitmaps (const VpImgConvert *convert, const GPtrArray *sources,
              VpImage *target, GError **error)
{
  g_autoptr (GPtrArray) skipped = g_ptr_array_new_with_free_func (g_free);

  if (!convert->bitmaps)
    return true;
  if (!vp_image_copy_bitmaps (g_ptr_array_index (sources, 0), target,
                              convert->skip_broken, skipped, error))
    return false;
  for (unsigned i = 0; i < skipped->len; i++)
    vp_img_complain ("warning: Skipping inconsistent bitmap '%s'",
                     (const char *) g_ptr_array_index (skipped, i));
  return true;
}

/* ---- targets ------------------------------------------------------------- */

static bool
are_one (VpImage *a, VpImage *b)
{
  const VpFile *file_a = vp_image_get_file (a);
  const VpFile *file_b = vp_image_get_file (b);

  return file_a->has_id && file_b->has_id &&
         file_a->id.device == file_b->id.device &&
         file_a->id.inode == file_b->id.inode &&
         vp_image_get_format (a) == vp_image_get_format (b);
}

/* Which layer of the one source the target stands on; 0: none. */
static unsigned
find_shared_depth (const GPtrArray *sources, VpImage *target)
{
  VpImage *below = vp_image_get_backing (target), *layer;
  unsigned depth = 1;

  if (below == NULL || sources->len > 1)
    return 0;
  layer = vp_image_get_backing (g_ptr_array_index (sources, 0));
  for (; layer != NULL; layer = vp_image_get_backing (layer), depth++)
    if (are_one (layer, below))
      return depth;
  return 0;
}

static int
fail_making (const VpImgConvert *convert, const VpFormat *format, GError *error)
{
  vp_img_prefix_reason (convert->target, "", &error);
  vp_img_complain ("%s: error while converting %s: %s", convert->target,
                   format->name, error->message);
  return 1;
}

static int
convert_into_new (const VpImgConvert *convert, const VpFormat *format,
                  const VpCreateOptions *options, const GPtrArray *sources)
{
  g_auto (VpImgTarget) file = { .fd = -1 };
  g_autoptr (GError) error = NULL;

  if (!vp_img_target_open (&file, convert->target, &error)) {
    g_autofree char *where =
        g_strdup_printf ("Could not create '%s': ", convert->target);
    vp_img_prefix_reason (convert->target, where, &error);
    return fail_making (convert, format, error);
  }
  for (guint i = 0; i < sources->len; i++)
    if (!vp_img_target_check_source (&file, g_ptr_array_index (sources, i)))
      return 1;
  file.caching = convert->target_caching;
  vp_img_options_apply (convert->pairs, file.fd);
  VpOpener opener = vp_opener_person (0);
  g_autoptr (VpImage) target =
      vp_img_target_make (&file, format, options, &opener, &error);
  if (target == NULL)
    return fail_making (convert, format, error);
  /* A disk that is a whole device is as large as that. */
  bool fixed = vp_image_get_file (target)->is_device &&
               vp_image_get_cluster_size (target) == 0;
  if (!convert->quiet && !fixed)
    vp_img_tell_size (convert->target, format,
                      size_as_given (sources, options->size),
                      vp_image_get_size (target));
  VpCopyOptions copy_options = { .sparse_size = convert->sparse_size };
  copy_options.target_is_zero = vp_img_target_reads_zeros (target);
  copy_options.shared_depth = find_shared_depth (sources, target);
  if (!copy (convert, sources, target, &copy_options, &error) ||
      !copy_bitmaps (convert, sources, target, &error) ||
      !vp_image_close (g_steal_pointer (&target), &error) ||
      !vp_img_target_commit (&file, &error))
    return vp_img_target_fail (&file, error);
  return 0;
}

static VpImage *
open_target (const VpImgConvert *convert, GError **error)
{
  VpImgAccess access = { .image_opts = convert->target_image_opts,
                         .secrets = convert->access.secrets,
                         .caching = convert->target_caching };

  return vp_img_open (&access, convert->target,
                      convert->target_image_opts ? NULL
                                                 : convert->target_format,
                      VP_IMAGE_WRITABLE, error);
}

static int
convert_into_old (const VpImgConvert *convert, const GPtrArray *sources)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpImage) target = open_target (convert, &error);
  VpPacking packing;

  if (target == NULL)
    return vp_img_fail_open (convert->target, error, 1);
  for (guint i = 0; i < sources->len; i++)
    if (!vp_img_target_check_image (target, convert->target,
                                    g_ptr_array_index (sources, i)))
      return 1;
  if (convert->compress && !vp_image_get_packing (target, &packing)) {
    vp_img_complain ("Compression not supported for this file format");
    return 1;
  }
  if (vp_image_get_size (target) < size_of_all (sources)) {
    vp_img_complain ("output file is smaller than input file");
    return 1;
  }
  VpCopyOptions options = { .sparse_size = convert->sparse_size,
                            .target_is_zero = convert->target_is_zero };
  if (convert->backing != NULL)
    options.shared_depth = find_shared_depth (sources, target);
  if (!copy (convert, sources, target, &options, &error) ||
      !copy_bitmaps (convert, sources, target, &error) ||
      !vp_image_close (g_steal_pointer (&target), &error)) {
    (void) vp_img_fail_about (convert->target, error, 1);
    vp_img_complain ("%s: holds a part of it now", convert->target);
    return 1;
  }
  return 0;
}

/* Raw bytes need no file. */
static int
convert_into_pipe (const GPtrArray *sources)
{
  g_autoptr (GError) error = NULL;

  for (unsigned i = 0; i < sources->len; i++) {
    VpImage *source = g_ptr_array_index (sources, i);
    if (!vp_img_pipe_send_disk (source, 0, vp_image_get_size (source), &error))
      return vp_img_fail (error, 1);
  }
  return 0;
}

/* ---- the verb ------------------------------------------------------------ */

static int
convert_sources (VpImgConvert *convert, const VpFormat *format)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  g_autoptr (GPtrArray) sources = open_sources (convert);
  g_autoptr (GError) error = NULL;
  int status;

  if (sources == NULL)
    return 1;
  if (convert->snapshot != NULL &&
      !vp_img_load_snapshot (g_ptr_array_index (sources, 0), convert->snapshot))
    return 1;
  if (convert->bitmaps &&
      !vp_image_has_bitmap_support (g_ptr_array_index (sources, 0))) {
    vp_img_complain ("Source lacks bitmap support");
    return 1;
  }
  if (convert->bitmaps && !convert->skip_broken &&
      !vp_image_check_bitmaps (g_ptr_array_index (sources, 0), &error))
    return vp_img_fail (error, 1);
  if (convert->no_create)
    return convert_into_old (convert, sources);
  options.size = size_of_all (sources);
  if ((status = vp_img_convert_options (convert, format, &options)) >= 0)
    return status;
  bool into_pipe = vp_img_is_pipe (convert->target);
  if (into_pipe)
    convert->progress = VP_IMG_PROGRESS_NONE; /* the output is the image */
  if (into_pipe && strcmp (format->name, "raw") == 0 && !convert->salvage &&
      convert->rate == 0)
    return convert_into_pipe (sources);
  return convert_into_new (convert, format, &options, sources);
}

static int
run_convert (int argc, char **argv)
{
  g_auto (VpImgConvert) convert = { 0 };
  g_autoptr (GError) error = NULL;
  int status = vp_img_convert_parse (&convert, argc, argv);

  if (status >= 0)
    return status;
  const VpFormat *format = vp_formats_find (convert.target_format, NULL);
  if (format == NULL) {
    vp_img_complain ("Unknown file format '%s'", convert.target_format);
    return 1;
  }
  if (!convert.no_create && !vp_formats_can_create (format, &error))
    return vp_img_fail (error, 1);
  return convert_sources (&convert, format);
}

const VpImgVerb vp_img_verb_convert = {
  "convert", run_convert,
  "[--object objectdef] [--image-opts] [--target-image-opts] "
  "[--target-is-zero] [--bitmaps [--skip-broken-bitmaps]] [-U] [--safe] [-C] "
  "[-c] [-p] "
  "[-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] "
  "[-B backing_file -F backing_fmt] [-o options] [-l snapshot_param] "
  "[-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] "
  "[--progress[=json]] filename [filename2 [...]] output_filename",
  "  -f, --source-format=fmt   format of the sources; guessed without\n"
  "  -O, --target-format=fmt   format of the target; 'raw' without\n"
  "  -o, --options=options     how to make it; '-o help' lists them\n"
  "  -B, --backing=file        backing file of the target, with\n"
  "  -F, --backing-format=fmt  its format\n"
  "  -c, --compress            pack what shrinks\n"
  "      --compress-level=n    1 (quick) to 9 (small), or 'narrow': zlib for\n"
  "                            readers that keep no more than 4 KiB\n"
  "  -l, --snapshot=snapshot   a snapshot of the source: its name or id, or\n"
  "                            snapshot.id=...,snapshot.name=...\n"
  "  -n, --no-create           write into an image that is there; what it has\n"
  "                            behind the source's end stays\n"
  "      --target-is-zero      ... and reads as zeros\n"
  "      --bitmaps             copy persistent bitmaps as well;\n"
  "      --skip-broken-bitmaps ... without those that were not stored well\n"
  "      --salvage             what cannot be read becomes zeros\n"
  "  -S, --sparse-size=size    zeros at least that long are not stored "
  "(4k);\n"
  "                            0: all is stored\n"
  "  -r, --rate-limit=rate     bytes a second at most\n"
  "  -m, --parallel=n          so many threads, 16 at most; one for each\n"
  "                            processor without\n"
  "  -U, --force-share         look at no lock of the sources\n"
  "      --safe                for images of strangers: needs -f, opens "
  "nothing\n"
  "                            that the source names\n"
  "  -p, --progress[=json]     show how far it has come\n"
  "  -q, --quiet               say nothing\n"
  "      --object=secret,...   a key that -o or --image-opts names\n"
  "      --image-opts          the sources are driver=...,file.filename=...\n"
  "      --target-image-opts   so is the target; with -n\n"
  "  -t, --target-cache=mode   writeback: flushed at the end; writethrough,\n"
  "                            directsync: at every write; unsafe: never;\n"
  "                            none, directsync: the page cache is given back\n"
  "  -T, --source-cache=mode   none, directsync: likewise, after reading\n"
  "  -W                        no effect: pieces are written as they are "
  "ready\n"
  "  -C                        no effect: blocks are shared where the file\n"
  "                            system can, without being asked\n"
  "\"-\" is the standard input, or output.  Several sources are joined.\n"
  "    convert -c -O qcow2 disk.raw disk.qcow2\n"
};
