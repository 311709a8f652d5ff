/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-info: what an image says of itself, for people and as JSON.  Opens the
 * image alone; a chain is followed only when asked, layer by layer, so that a
 * broken base does not hide the top. */
#include "config.h"

#include "storage/error.h"
#include "storage/img-facts.h"
#include "storage/img-header.h"
#include "storage/img-names.h"
#include "storage/img.h"
#include "storage/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What a reader wants at most of a hostile image. */
#define MAX_SNAPSHOTS_SHOWN 1024u
#define MAX_BITMAPS_SHOWN   1024u

/* A name with a scheme is not a file's; it stands for itself. */
static bool
has_scheme (const char *name)
{
  size_t len = strcspn (name, ":/");

  return name[len] == ':';
}

/* Where the backing file would be looked for; NULL where there is none. */
static char *
full_backing_name (const char *filename, const VpImageInfo *info)
{
  const char *name = info->backing_name;
  const char *slash = strrchr (filename, '/');

  if (name == NULL)
    return NULL;
  if (slash == NULL || g_path_is_absolute (name) || has_scheme (name))
    return g_strdup (name);
  return g_strdup_printf ("%.*s/%s", (int) (slash - filename), filename, name);
}

/* ---- JSON ------------------------------------------------------------------
 */

static void
snapshots_to_json (VpJson *json, const GPtrArray *snapshots)
{
  vp_json_open_array (json, "snapshots");
  for (unsigned i = 0; i < MIN (snapshots->len, MAX_SNAPSHOTS_SHOWN); i++) {
    const VpSnapshot *snapshot = g_ptr_array_index (snapshots, i);
    vp_json_open_object (json, NULL);
    if (snapshot->has_icount)
      vp_json_uint (json, "icount", snapshot->icount);
    vp_json_uint (json, "vm-clock-nsec", snapshot->vm_clock_ns % 1000000000);
    vp_json_string (json, "name", snapshot->name);
    vp_json_uint (json, "date-sec", snapshot->date_s);
    vp_json_uint (json, "date-nsec", snapshot->date_ns);
    vp_json_uint (json, "vm-clock-sec", snapshot->vm_clock_ns / 1000000000);
    vp_json_string (json, "id", snapshot->id);
    vp_json_uint (json, "vm-state-size", snapshot->vm_state_size);
    vp_json_close (json);
  }
  vp_json_close (json);
}

static void
tell_bitmaps (VpImgFacts *facts, const GPtrArray *bitmaps)
{
  vp_img_facts_open_list (facts, "bitmaps");
  for (unsigned i = 0; i < MIN (bitmaps->len, MAX_BITMAPS_SHOWN); i++) {
    const VpBitmapFacts *bitmap = g_ptr_array_index (bitmaps, i);
    vp_img_facts_open_object (facts, NULL);
    vp_img_facts_open_list (facts, "flags");
    if (bitmap->in_use)
      vp_img_facts_string (facts, NULL, "in-use");
    if (bitmap->enabled)
      vp_img_facts_string (facts, NULL, "auto");
    vp_img_facts_close (facts);
    vp_img_facts_string (facts, "name", bitmap->name);
    vp_img_facts_uint (facts, "granularity", bitmap->granularity);
    vp_img_facts_close (facts);
  }
  vp_img_facts_close (facts);
}

static void
tell_slots (VpImgFacts *facts, const VpLuksInfo *luks)
{
  vp_img_facts_open_list (facts, "slots");
  for (unsigned i = 0; i < VP_LUKS_SLOTS; i++) {
    const VpLuksSlot *slot = &luks->slots[i];
    vp_img_facts_open_object (facts, NULL);
    vp_img_facts_bool (facts, "active", slot->active);
    if (slot->active)
      vp_img_facts_uint (facts, "iters", slot->iterations);
    vp_img_facts_uint (facts, "key-offset", slot->key_offset);
    if (slot->active)
      vp_img_facts_uint (facts, "stripes", slot->stripes);
    vp_img_facts_close (facts);
  }
  vp_img_facts_close (facts);
}

/* Of a LUKS disk, or of what a qcow2 image has of one. */
static void
tell_encryption (VpImgFacts *facts, const VpImageInfo *info)
{
  const VpLuksInfo *luks = info->luks;

  if (luks != NULL) {
    const VpCryptSpec *spec = &luks->spec;
    vp_img_facts_string (facts, "ivgen-alg", vp_ivgen_to_text (spec->ivgen));
    vp_img_facts_string (facts, "hash-alg", vp_hash_to_text (luks->hash));
    vp_img_facts_string (facts, "cipher-alg", vp_cipher_to_text (spec->cipher));
    vp_img_facts_string (facts, "uuid", luks->uuid);
    if (spec->ivgen == VP_IVGEN_ESSIV)
      vp_img_facts_string (facts, "ivgen-hash-alg",
                           vp_hash_to_text (spec->ivgen_hash));
  }
  if (info->encrypt_format != NULL)
    vp_img_facts_string (facts, "format", info->encrypt_format);
  if (luks != NULL) {
    vp_img_facts_string (facts, "cipher-mode",
                         vp_cipher_mode_to_text (luks->spec.mode));
    tell_slots (facts, luks);
    vp_img_facts_uint (facts, "payload-offset", luks->payload_offset);
    vp_img_facts_uint (facts, "master-key-iters", luks->master_iterations);
  }
}

static bool
is_luks (const VpImageInfo *info)
{
  return info->luks != NULL && info->encrypt_format == NULL;
}

static bool
has_specifics (const VpImageInfo *info)
{
  return info->compat != NULL || info->vmdk != NULL || is_luks (info);
}

/* What only qcow2 has, in the order that readers know. */
static void
tell_qcow2 (VpImgFacts *facts, const VpImageInfo *info)
{
  bool new_enough = strcmp (info->compat, "0.10") != 0;

  vp_img_facts_string (facts, "compat", info->compat);
  vp_img_facts_string (facts, "compression-type", info->compression_type);
  if (new_enough)
    vp_img_facts_bool (facts, "lazy-refcounts", info->lazy_refcounts);
  if (info->bitmaps != NULL && info->bitmaps->len > 0)
    tell_bitmaps (facts, info->bitmaps);
  vp_img_facts_uint (facts, "refcount-bits", info->refcount_bits);
  if (info->encrypt_format != NULL) {
    vp_img_facts_open_object (facts, "encrypt");
    tell_encryption (facts, info);
    vp_img_facts_close (facts);
  }
  if (info->data_file != NULL) {
    vp_img_facts_string (facts, "data-file", info->data_file);
    vp_img_facts_bool (facts, "data-file-raw", info->data_file_raw);
  }
  if (new_enough) {
    vp_img_facts_bool (facts, "corrupt", info->corrupt);
    vp_img_facts_bool (facts, "extended-l2", info->extended_l2);
  }
}

static void
tell_vmdk (VpImgFacts *facts, const VpVmdkInfo *vmdk)
{
  vp_img_facts_uint (facts, "cid", vmdk->cid);
  vp_img_facts_uint (facts, "parent-cid", vmdk->parent_cid);
  vp_img_facts_string (facts, "create-type", vmdk->create_type);
  vp_img_facts_open_list (facts, "extents");
  for (unsigned i = 0; i < vmdk->extents->len; i++) {
    const VpVmdkExtent *extent = g_ptr_array_index (vmdk->extents, i);
    vp_img_facts_open_object (facts, NULL);
    if (extent->compressed)
      vp_img_facts_bool (facts, "compressed", true);
    vp_img_facts_uint (facts, "virtual-size", extent->virtual_size);
    vp_img_facts_string (facts, "filename", extent->filename);
    if (extent->cluster_size != 0)
      vp_img_facts_uint (facts, "cluster-size", extent->cluster_size);
    vp_img_facts_string (facts, "format", extent->format);
    vp_img_facts_close (facts);
  }
  vp_img_facts_close (facts);
}

static void
tell_specifics (VpImgFacts *facts, const VpImageInfo *info)
{
  if (is_luks (info))
    tell_encryption (facts, info);
  else if (info->vmdk != NULL)
    tell_vmdk (facts, info->vmdk);
  else
    tell_qcow2 (facts, info);
}

static void
specifics_to_json (VpJson *json, const VpImageInfo *info)
{
  g_autoptr (VpImgFacts) facts = vp_img_facts_new (json, 0);

  vp_json_open_object (json, "format-specific");
  vp_json_string (json, "type", info->format);
  vp_json_open_object (json, "data");
  tell_specifics (facts, info);
  vp_json_close (json);
  vp_json_close (json);
}

void
vp_img_info_to_json (VpJson *json, const char *filename,
                     const VpImageInfo *info, const char *full_backing)
{
  vp_json_open_object (json, NULL);
  if (info->snapshots != NULL && info->snapshots->len > 0)
    snapshots_to_json (json, info->snapshots);
  if (info->backing_format != NULL)
    vp_json_string (json, "backing-filename-format", info->backing_format);
  vp_json_uint (json, "virtual-size", info->virtual_size);
  vp_json_string (json, "filename", filename);
  if (info->cluster_size != 0)
    vp_json_uint (json, "cluster-size", info->cluster_size);
  vp_json_string (json, "format", info->format);
  vp_json_uint (json, "actual-size", info->used_size);
  if (has_specifics (info))
    specifics_to_json (json, info);
  if (info->encrypted)
    vp_json_bool (json, "encrypted", true);
  if (full_backing != NULL)
    vp_json_string (json, "full-backing-filename", full_backing);
  if (info->backing_name != NULL)
    vp_json_string (json, "backing-filename", info->backing_name);
  vp_json_bool (json, "dirty-flag", info->dirty);
  vp_json_close (json);
}

/* ---- for people ------------------------------------------------------------
 */

void
vp_img_print_snapshots (const GPtrArray *snapshots, unsigned most)
{
  printf ("Snapshot list:\n%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG",
          "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
  for (unsigned i = 0; i < MIN (snapshots->len, most); i++) {
    const VpSnapshot *snapshot = g_ptr_array_index (snapshots, i);
    g_autofree char *size = vp_img_size_text (snapshot->vm_state_size);
    uint64_t clock_s = snapshot->vm_clock_ns / 1000000000;
    time_t date = (time_t) snapshot->date_s;
    struct tm local = { 0 };
    char when[32] = "", clock[64], icount[24] = "";

    if (localtime_r (&date, &local) != NULL)
      (void) strftime (when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    g_snprintf (clock, sizeof clock, "%02u:%02u:%02u.%03u",
                (unsigned) (clock_s / 3600), (unsigned) (clock_s / 60 % 60),
                (unsigned) (clock_s % 60),
                (unsigned) (snapshot->vm_clock_ns / 1000000 % 1000));
    if (snapshot->has_icount)
      g_snprintf (icount, sizeof icount, "%" PRIu64, snapshot->icount);
    g_autofree char *id = vp_img_printable (snapshot->id);
    g_autofree char *name = vp_img_printable (snapshot->name);
    printf ("%-9s %-16s %8s%20s%13s%11s\n", id, name, size, when, clock,
            icount);
  }
  if (snapshots->len > most)
    printf ("(%u more)\n", snapshots->len - most);
}

/* A line with words that the image brought. */
static void
print_found (const char *label, const char *words)
{
  g_autofree char *printable = vp_img_printable (words);

  printf ("%s: %s\n", label, printable);
}

static void
print_specifics (const VpImageInfo *info)
{
  g_autoptr (VpImgFacts) facts = vp_img_facts_new (NULL, 4);

  printf ("Format specific information:\n");
  tell_specifics (facts, info);
}

static void
print_info (const char *filename, const VpImageInfo *info,
            const char *full_backing)
{
  g_autofree char *virtual_size = vp_img_size_text (info->virtual_size);
  g_autofree char *used = vp_img_size_text (info->used_size);

  print_found ("image", filename);
  printf ("file format: %s\n", info->format);
  printf ("virtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n", virtual_size,
          info->virtual_size, used);
  if (info->encrypted)
    printf ("encrypted: yes\n");
  if (info->cluster_size != 0)
    printf ("cluster_size: %" PRIu64 "\n", info->cluster_size);
  if (info->dirty)
    printf ("cleanly shut down: no\n");
  if (info->backing_name != NULL) {
    g_autofree char *line =
        full_backing == NULL || strcmp (full_backing, info->backing_name) == 0
            ? g_strdup (info->backing_name)
            : g_strdup_printf ("%s (actual path: %s)", info->backing_name,
                               full_backing);
    print_found ("backing file", line);
  }
  if (info->backing_format != NULL)
    print_found ("backing file format", info->backing_format);
  if (info->snapshots != NULL && info->snapshots->len > 0)
    vp_img_print_snapshots (info->snapshots, MAX_SNAPSHOTS_SHOWN);
  if (has_specifics (info))
    print_specifics (info);
}

/* ---- the verb --------------------------------------------------------------
 */

typedef struct {
  const char *filename, *format;
  VpImgOutput output;
  bool chain, header;
  VpImgAccess access;
} Arguments;

static void
arguments_clear (Arguments *arguments)
{
  vp_img_access_clear (&arguments->access);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Arguments, arguments_clear)

typedef struct {
  char *filename;
  char *shown;
  const char *content; /* of a guessed raw disk; NULL: nothing known */
  bool beside;         /* so is its backing file */
  VpFileId id;
  VpImageInfo info;
} Layer;

static void
layer_free (gpointer data)
{
  Layer *layer = data;

  vp_image_info_clear (&layer->info);
  g_free (layer->filename);
  g_free (layer->shown);
  g_free (layer);
}

static bool
is_seen (const GPtrArray *layers, const VpFile *file)
{
  for (unsigned i = 0; file->has_id && i < layers->len; i++) {
    const Layer *layer = g_ptr_array_index (layers, i);
    if (layer->id.device == file->id.device &&
        layer->id.inode == file->id.inode)
      return true;
  }
  return false;
}

/* file is the image's bytes; NULL: open filename. */
static bool
add_layer (GPtrArray *layers, const Arguments *arguments, VpFile *file,
           const char *filename, const char *format, GError **error)
{
  VpImageFlags flags = VP_IMAGE_NO_BACKING | VP_IMAGE_NO_IO;
  g_autoptr (VpImage) image =
      file != NULL
          ? vp_image_open_file (file, format, flags, NULL, error)
          : vp_img_open (&arguments->access, filename, format, flags, error);
  if (image == NULL)
    return false;

  file = vp_image_get_file (image);
  if (is_seen (layers, file) || layers->len >= VP_MAX_CHAIN_DEPTH) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
                 "%s: the backing chain has no end", filename);
    return false;
  }

  Layer *layer = g_new0 (Layer, 1);
  layer->filename = g_strdup (vp_image_get_name (image));
  layer->shown = layers->len == 0
                     ? vp_img_shown_name (&arguments->access, filename, image)
                     : g_strdup (layer->filename);
  layer->beside = vp_image_get_format (image)->backing_beside;
  layer->id = file->id;
  if (format == NULL && !arguments->access.image_opts &&
      vp_image_get_format (image) == &vp_format_raw)
    layer->content = vp_probe_content (file);
  g_ptr_array_add (layers, layer);
  return vp_image_get_info (image, &layer->info, error);
}

/* The rest of the chain, through the person gate. */
static bool
follow_chain (GPtrArray *layers, const Arguments *arguments, GError **error)
{
  VpOpener opener =
      vp_opener_person (arguments->access.no_lock ? VP_FILE_NO_LOCK : 0);

  for (;;) {
    const Layer *layer = g_ptr_array_index (layers, layers->len - 1);
    if (layer->info.backing_name == NULL)
      return true;
    VpClaim claim = { .role = "backing",
                      .name = layer->info.backing_name,
                      .format = layer->info.backing_format,
                      .image = layer->filename,
                      .beside = layer->beside };
    const char *format = claim.format;
    g_autofree char *full = full_backing_name (layer->filename, &layer->info);
    g_autoptr (VpFile) file = opener.open (&opener, &claim, &format, error);
    if (file == NULL ||
        !add_layer (layers, arguments, file, full, format, error)) {
      g_prefix_error (error, "Could not open '%s': ", full);
      return false;
    }
  }
}

static void
print_layers (const GPtrArray *layers, const Arguments *arguments)
{
  g_autoptr (VpJson) json = vp_json_new ();

  if (arguments->chain)
    vp_json_open_array (json, NULL);
  for (unsigned i = 0; i < layers->len; i++) {
    const Layer *layer = g_ptr_array_index (layers, i);
    g_autofree char *full = full_backing_name (layer->filename, &layer->info);
    if (arguments->output == VP_IMG_JSON)
      vp_img_info_to_json (json, layer->shown, &layer->info, full);
    else {
      if (i > 0)
        printf ("\n");
      print_info (layer->shown, &layer->info, full);
      if (layer->content != NULL)
        printf ("content: %s\n", layer->content);
    }
  }
  if (arguments->chain)
    vp_json_close (json);
  if (arguments->output == VP_IMG_JSON)
    printf ("%s\n", vp_json_get_text (json));
}

static bool
parse (int argc, char **argv, Arguments *arguments, int *ret_status)
{
  static const struct option longs[] = {
    { "format", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, 'O' },
    { "backing-chain", no_argument, NULL, 'C' },
    { "header", no_argument, NULL, 'H' },
    VP_IMG_ACCESS_SAFE,
    VP_IMG_ACCESS_OPTIONS,
    { NULL, 0, NULL, 0 }
  };
  int c;

  *ret_status = 1;
  while ((c = vp_img_getopt (argc, argv, "f:U", longs)) >= 0)
    switch (c) {
    case 'f': arguments->format = optarg; break;
    case 'O':
      if (!vp_img_parse_output (optarg, &arguments->output))
        return false;
      break;
    case 'C': arguments->chain = true; break;
    case 'H': arguments->header = true; break;
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
  if (arguments->access.safe && arguments->chain) {
    *ret_status = vp_img_misuse ("--safe opens nothing that an image names; "
                                 "it does not go with --backing-chain");
    return false;
  }
  return true;
}

static int
run_info (int argc, char **argv)
{
  g_autoptr (GPtrArray) layers = g_ptr_array_new_with_free_func (layer_free);
  g_auto (Arguments) arguments = { 0 };
  g_autoptr (GError) error = NULL;
  int status;

  if (!parse (argc, argv, &arguments, &status))
    return status;
  if (arguments.header)
    return vp_img_show_header (&arguments.access, arguments.filename,
                               arguments.format, arguments.output);
  if (!add_layer (layers, &arguments, NULL, arguments.filename,
                  arguments.format, &error))
    return vp_img_fail_open (arguments.filename, error, 1);
  if (arguments.chain && !follow_chain (layers, &arguments, &error))
    return vp_img_fail (error, 1);
  print_layers (layers, &arguments);
  return 0;
}

const VpImgVerb vp_img_verb_info = {
  "info", run_info,
  "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] "
  "[--backing-chain] [-U] [--safe] [--header] "
  "filename",
  "  -f, --format=fmt     format of the image; guessed without\n"
  "      --output=ofmt    'human' or 'json'\n"
  "      --backing-chain  the images below it too\n"
  "      --safe           for images of strangers: guesses no format, opens\n"
  "                       nothing that the image names\n"
  "      --header         each field of the header: place, value, meaning;\n"
  "                       also of an image that cannot be opened\n"
  "  -U, --force-share    look at no lock\n"
  "      --object=secret,...  a key that --image-opts names\n"
  "      --image-opts         filename is driver=...,file.filename=...\n"
};
