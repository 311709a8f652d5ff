/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* chain: images come and go: creating, opening with all that is below, and
 * closing.  Names found inside an image pass the caller's gate; the person's
 * gate is at the end. */
#include "config.h"

#include "storage/image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/image-internal.h"
#include "storage/probe.h"

/* ---- opening ------------------------------------------------------------ */

static VpDriverFlags
driver_flags (VpImageFlags flags, bool strict)
{
  VpDriverFlags to = 0;
  if (flags & VP_IMAGE_WRITABLE)
    to |= VP_DRIVER_WRITABLE;
  if (flags & VP_IMAGE_CHECK)
    to |= VP_DRIVER_CHECK;
  if (flags & VP_IMAGE_UNORDERED)
    to |= VP_DRIVER_UNORDERED;
  if (flags & VP_IMAGE_NO_IO)
    to |= VP_DRIVER_NO_IO;
  if (strict)
    to |= VP_DRIVER_STRICT;
  return to;
}

static VpFileFlags
file_flags (VpImageFlags flags)
{
  VpFileFlags to = 0;
  if (flags & VP_IMAGE_WRITABLE)
    to |= VP_FILE_WRITABLE;
  if (flags & VP_IMAGE_NO_LOCK)
    to |= VP_FILE_NO_LOCK;
  return to;
}

static bool
check_layer_options (const VpFormat *format, const VpOpenOptions *options,
                     GError **error)
{
  const char *wrong = NULL;
  if ((options->has_offset || options->has_size) && format != &vp_format_raw)
    wrong = options->has_offset ? "offset" : "size";
  else if (options->snapshot)
    wrong = "snapshot";
  if (!wrong)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Block format '%s' does not support the option '%s'",
               format->name, wrong);
  return false;
}

/* The units that the image counts in; extents may bring larger ones. */
static bool
take_units (VpImage *image, GError **error)
{
  g_auto (VpImageInfo) info = { 0 };
  if (!image->format->info (image->state, &info, error))
    return false;
  image->cluster_size = info.cluster_size;
  image->grain =
      info.subcluster_size ? info.subcluster_size : MAX (info.cluster_size, 1);
  return true;
}

/* One layer, without what is below. */
static VpImage *
open_layer (VpFile *file, const char *format_name, VpImageFlags flags,
            bool strict, const VpOpenOptions *options, GError **error)
{
  const VpFormat *format = format_name ? vp_formats_find (format_name, error)
                                       : vp_probe_format (file, error);
  if (!format || !check_layer_options (format, options, error))
    return NULL;
  gpointer state = NULL;
  if (!format->open (file, driver_flags (flags, strict), options, &state,
                     error))
    return NULL;
  g_autoptr (VpImage) image = g_new0 (VpImage, 1);
  image->format = format;
  image->file = vp_file_ref (file);
  image->state = state;
  image->flags = flags;
  image->probed = !format_name;
  if (options->key)
    image->key =
        vp_secret_new (options->key->id, options->key->data, options->key->len);
  image->transfer = vp_transfer_new ();
  if (!take_units (image, error))
    return NULL;
  return g_steal_pointer (&image);
}

static bool
same_file (VpFile *a, VpFile *b)
{
  if (a == b)
    return true;
  return a->has_id && b->has_id && a->id.device == b->id.device &&
         a->id.inode == b->id.inode;
}

static bool
layer_has (VpImage *layer, VpFile *file)
{
  if (same_file (layer->file, file) ||
      (layer->data_file && same_file (layer->data_file, file)))
    return true;
  for (guint i = 0; layer->parts && i < layer->parts->len; i++)
    if (same_file (g_ptr_array_index (layer->parts, i), file))
      return true;
  return false;
}

/* No file is in a chain twice. */
static bool
check_new (VpImage *top, VpFile *file, GError **error)
{
  for (VpImage *layer = top; layer; layer = layer->backing)
    if (layer_has (layer, file)) {
      g_set_error (
          error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
          "%s: the chain of files that make up the image comes back to "
          "it",
          file->name);
      return false;
    }
  return true;
}

/* ... and it ends. */
static bool
check_link (VpImage *top, VpFile *file, GError **error)
{
  unsigned depth = 1;
  for (VpImage *layer = top; layer; layer = layer->backing)
    depth++;
  if (depth > VP_MAX_CHAIN_DEPTH) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: more than %d files in a chain", top->file->name,
                 VP_MAX_CHAIN_DEPTH);
    return false;
  }
  return check_new (top, file, error);
}

static VpFile *
pass_gate (VpOpener *opener, const VpClaim *claim, const char **ret_format,
           GError **error)
{
  if (!opener) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: has a %s file, and nobody said how to open it",
                 claim->image, claim->role);
    return NULL;
  }
  const char *format = claim->format;
  g_autoptr (VpFile) file = opener->open (opener, claim, &format, error);
  if (!file)
    return NULL;
  if (!format && !opener->may_probe) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: does not say which format its backing file has",
                 claim->image);
    return NULL;
  }
  *ret_format = format;
  return g_steal_pointer (&file);
}

static VpFile *
too_many_parts (const char *image, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
               "%s: more than %u extents", image, VP_MAX_PARTS);
  return NULL;
}

/* The data file of a layer, where it has one. */
static bool
attach_data (VpImage *top, VpImage *layer, const VpOpenOptions *options,
             VpOpener *opener, GError **error)
{
  const char *format;
  VpClaim claim = { .role = "data",
                    .format = "raw",
                    .image = layer->file->name,
                    .writable = layer->flags & VP_IMAGE_WRITABLE };
  if (!layer->format->needs_data_file ||
      !layer->format->needs_data_file (layer->state, &claim.name) ||
      top->flags & VP_IMAGE_NO_BACKING)
    return true;
  if (!claim.name && !options->data_file) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "%s: 'data-file' is required for this image: it does not say "
                 "where its data is",
                 layer->file->name);
    return false;
  }
  g_autoptr (VpFile) file = options->data_file
                                ? vp_file_ref (options->data_file)
                                : pass_gate (opener, &claim, &format, error);
  if (!file) {
    g_prefix_error (error, "Could not open data file: ");
    return false;
  }
  if (!check_new (top, file, error))
    return false;
  layer->format->set_data_file (layer->state, file);
  layer->data_file = g_steal_pointer (&file);
  return true;
}

/* The extents of a layer, where it has any: they belong to the image, and are
 * opened even where its backing file is not. */
static bool
attach_parts (VpImage *top, VpImage *layer, VpOpener *opener, GError **error)
{
  const VpFormat *format = layer->format;
  const VpClaim each = { .role = "extent",
                         .format = "raw",
                         .image = layer->file->name,
                         .writable = layer->flags & VP_IMAGE_WRITABLE };
  VpClaim claim = each;
  if (!format->part || (!opener && top->flags & VP_IMAGE_NO_BACKING))
    return true;
  layer->parts =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_file_unref);
  for (unsigned i = 0; format->part (layer->state, i, &claim); i++) {
    const char *found;
    g_autoptr (VpFile) file = i < VP_MAX_PARTS
                                  ? pass_gate (opener, &claim, &found, error)
                                  : too_many_parts (layer->file->name, error);
    if (!file) {
      g_prefix_error (error, "Could not open extent: ");
      return false;
    }
    if (!check_new (top, file, error) ||
        !format->set_part (layer->state, i, file, error))
      return false;
    g_ptr_array_add (layer->parts, g_steal_pointer (&file));
    claim = each;
  }
  return take_units (layer, error);
}

/* options: of the layer itself. */
static VpImage *
open_below (VpImage *top, VpImage *layer, const VpClaim *claim,
            const VpOpenOptions *options, VpOpener *opener, GError **error)
{
  static const VpOpenOptions nothing = { 0 };
  const VpOpenOptions *below = options->backing ? options->backing : &nothing;
  VpImageFlags flags = layer->flags & (VP_IMAGE_NO_LOCK | VP_IMAGE_NO_IO);
  const char *format = below->format;
  g_autoptr (VpFile) file = NULL;
  if (options->backing_file)
    file = vp_file_ref (options->backing_file);
  else {
    VpClaim stated = *claim;
    if (below->format)
      stated.format = below->format;
    file = pass_gate (opener, &stated, &format, error);
  }
  if (!file || !check_link (top, file, error))
    return NULL;
  return open_layer (file, format, flags, !opener, below, error);
}

/* Its backing image must hold what it held when layer was made over it; a
 * layer that is just being made, or does not know, takes it as it is. */
static bool
check_content (VpImage *layer, GError **error)
{
  const VpFormat *format = layer->format;
  if (!format->backing_id || layer->backing->format != format)
    return true;
  uint32_t id = format->content_id (layer->backing->state);
  uint32_t held = format->backing_id (layer->state);
  if (id == held)
    return true;
  if (layer->flags & VP_IMAGE_WRITABLE &&
      (held == 0 || layer->flags & VP_IMAGE_UNORDERED))
    return format->set_backing_id (layer->state, id, error);
  if (held == 0)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: its backing file '%s' has changed since (content id %08x, "
               "not %08x); rebase -u takes it as it is",
               layer->file->name, layer->backing->file->name, id, held);
  return false;
}

/* Whether there is anything below, and whether it is to be opened. */
static bool
has_below (VpImage *layer, VpImageFlags flags, const VpOpenOptions *options,
           VpClaim *claim)
{
  if (layer->format->backing)
    claim->name = layer->format->backing (layer->state, &claim->format);
  if ((!claim->name && !options->backing_file) || options->ignore_backing)
    return false;
  layer->backing_missing = flags & VP_IMAGE_NO_BACKING;
  return !layer->backing_missing;
}

/* A driver that knows of no backing file would uncover what lies in one. */
static bool
check_backing_option (VpImage *layer, const VpClaim *claim, GError **error)
{
  if (claim->name || !(layer->flags & VP_IMAGE_WRITABLE))
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "%s: has no backing file, and is not written as if it had one",
               layer->file->name);
  return false;
}

VpImage *
vp_image_open_with (VpFile *file, const VpOpenOptions *options, GError **error)
{
  static const VpOpenOptions nothing = { 0 };
  VpImageFlags flags = options->flags;
  g_autoptr (VpImage) top = open_layer (file, options->format, flags,
                                        !options->opener, options, error);
  if (!top)
    return NULL;
  VpOpener *opener = options->opener;
  for (VpImage *layer = top; layer; layer = layer->backing) {
    VpClaim claim = { .role = "backing",
                      .image = layer->file->name,
                      .beside = layer->format->backing_beside };
    if (!attach_data (top, layer, options, opener, error) ||
        !attach_parts (top, layer, opener, error))
      return NULL;
    if (!has_below (layer, flags, options, &claim))
      break;
    if (!check_backing_option (layer, &claim, error))
      return NULL;
    layer->backing = open_below (top, layer, &claim, options, opener, error);
    if (!layer->backing) {
      g_prefix_error (error, "Could not open backing file: ");
      return NULL;
    }
    if (!options->backing_file && !check_content (layer, error))
      return NULL;
    options = options->backing ? options->backing : &nothing;
  }
  return g_steal_pointer (&top);
}

VpImage *
vp_image_open_file (VpFile *file, const char *format, VpImageFlags flags,
                    VpOpener *opener, GError **error)
{
  VpOpenOptions options = { .format = format,
                            .flags = flags,
                            .opener = opener };
  return vp_image_open_with (file, &options, error);
}

VpImage *
vp_image_open (const char *path, const char *format, VpImageFlags flags,
               VpOpener *opener, GError **error)
{
  g_autoptr (VpFile) file = vp_file_open (path, file_flags (flags), error);
  if (!file)
    return NULL;
  return vp_image_open_file (file, format, flags, opener, error);
}

VpImage *
vp_image_open_fd (int fd, const char *name, const char *format,
                  VpImageFlags flags, VpOpener *opener, GError **error)
{
  g_autoptr (VpFile) file =
      vp_file_open_fd (fd, name, file_flags (flags), error);
  if (!file)
    return NULL;
  return vp_image_open_file (file, format, flags, opener, error);
}

void
vp_image_free (VpImage *image)
{
  while (image) {
    VpImage *backing = image->backing;
    image->format->close (image->state);
    vp_file_unref (image->data_file);
    g_clear_pointer (&image->parts, g_ptr_array_unref);
    vp_file_unref (image->file);
    vp_transfer_free (image->transfer);
    vp_secret_free (image->key);
    g_free (image);
    image = backing;
  }
}

bool
vp_image_close (VpImage *image, GError **error)
{
  bool ok = vp_image_flush (image, error);
  if (ok && image->flags & VP_IMAGE_WRITABLE && image->format->settle)
    ok = image->format->settle (image->state, error);
  vp_image_free (image);
  return ok;
}

/* ---- creating ----------------------------------------------------------- */

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

/* The backing file must open, and gives its size where none is asked. */
static bool
look_at_backing (const char *name, const VpFormat *above,
                 VpCreateOptions *options, VpOpener *opener, GError **error)
{
  if (!opener)
    return options->size > 0 ||
           usage (error, "a size is needed where the backing file is not "
                         "opened");
  VpClaim claim = { .role = "backing",
                    .name = options->backing_name,
                    .format = options->backing_format,
                    .image = name,
                    .beside = above->backing_beside };
  const char *format = NULL;
  g_autoptr (VpFile) file = pass_gate (opener, &claim, &format, error);
  g_autoptr (VpImage) backing =
      file ? vp_image_open_file (file, format, VP_IMAGE_NO_IO, opener, error)
           : NULL;
  if (!backing) {
    g_prefix_error (error, "Could not open backing file: ");
    return false;
  }
  if (options->size == 0)
    options->size = vp_image_get_size (backing);
  if (backing->format->content_id)
    options->backing_id = backing->format->content_id (backing->state);
  return true;
}

static bool
check_options (const VpFormat *format, const VpCreateOptions *options,
               GError **error)
{
  if (!vp_formats_can_create (format, error))
    return false;
  if (options->size > VP_MAX_VIRTUAL_SIZE) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                         "an image cannot be that large");
    return false;
  }
  if (!options->backing_name)
    return !options->backing_format ||
           usage (error, "a backing format without a backing file");
  if (!format->supports_backing)
    return usage (error, "this format has no backing files");
  if (!options->backing_format)
    return usage (error, "Backing file specified without backing format");
  size_t len = strlen (options->backing_name);
  if (len == 0 || len > VP_MAX_NAME_LEN)
    return usage (error, "the name of the backing file is empty or too long");
  return vp_formats_find (options->backing_format, error) != NULL;
}

VpFile *
vp_image_make_data_file (VpOpener *opener, const char *image, const char *name,
                         GError **error)
{
  const char *format;
  VpClaim claim = { .role = "data",
                    .name = name,
                    .format = "raw",
                    .image = image,
                    .writable = true,
                    .create = true };
  return pass_gate (opener, &claim, &format, error);
}

/* Before anything is emptied; ret_data: NULL where there is none. */
static bool
open_new_data (VpFile *file, const VpCreateOptions *options, VpOpener *opener,
               VpFile **ret_data, GError **error)
{
  *ret_data = NULL;
  if (!options->data_name)
    return true;
  g_autoptr (VpFile) data =
      options->data_file ? vp_file_ref (options->data_file)
                         : vp_image_make_data_file (opener, file->name,
                                                    options->data_name, error);
  if (!data)
    return false;
  if (same_file (file, data))
    return usage (error, "the image and its data file are one file");
  *ret_data = g_steal_pointer (&data);
  return true;
}

static VpFile *
make_part (VpOpener *opener, const char *image, const char *name,
           GError **error)
{
  const char *format;
  VpClaim claim = { .role = "extent",
                    .name = name,
                    .format = "raw",
                    .image = image,
                    .writable = true,
                    .create = true };
  return pass_gate (opener, &claim, &format, error);
}

bool
vp_image_make_parts (VpOpener *opener, const char *image,
                     const VpFormat *format, const VpCreateOptions *options,
                     GPtrArray **ret_parts, GError **error)
{
  g_autoptr (GPtrArray) parts =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_file_unref);
  if (format->part_to_make) {
    g_autofree char *beyond =
        format->part_to_make (options, image, VP_MAX_PARTS);
    if (beyond) {
      (void) too_many_parts (image, error);
      return false; /* before the first is made */
    }
  }
  for (unsigned i = 0; format->part_to_make; i++) {
    g_autofree char *name = format->part_to_make (options, image, i);
    if (!name)
      break;
    VpFile *file = make_part (opener, image, name, error);
    if (!file)
      return false;
    g_ptr_array_add (parts, file);
  }
  *ret_parts = parts->len > 0 ? g_steal_pointer (&parts) : NULL;
  return true;
}

/* Before the image itself; all of them empty. */
static bool
prepare_parts (VpFile *file, const GPtrArray *parts, GError **error)
{
  for (guint i = 0; parts && i < parts->len; i++) {
    VpFile *part = g_ptr_array_index (parts, i);
    if (same_file (file, part))
      return usage (error, "the image and one of its extents are one file");
    if (!part->is_device && !vp_file_truncate (part, 0, error))
      return false;
  }
  return true;
}

static bool
flush_parts (const GPtrArray *parts, GError **error)
{
  for (guint i = 0; parts && i < parts->len; i++)
    if (!vp_file_flush (g_ptr_array_index (parts, i), error))
      return false;
  return true;
}

bool
vp_image_create_file (VpFile *file, const char *format_name,
                      const VpCreateOptions *options, VpOpener *opener,
                      GError **error)
{
  VpCreateOptions wanted = *options;
  const VpFormat *format = vp_formats_find (format_name, error);
  if (!format || !check_options (format, &wanted, error))
    return false;
  if (wanted.backing_name &&
      !look_at_backing (file->name, format, &wanted, opener, error))
    return false;
  if (wanted.size > VP_MAX_VIRTUAL_SIZE)
    return check_options (format, &wanted, error);
  g_autoptr (VpFile) data = NULL;
  if ((format->check_create && !format->check_create (&wanted, error)) ||
      !open_new_data (file, &wanted, opener, &data, error))
    return false;
  wanted.data_file = data;
  g_autoptr (GPtrArray) made = NULL;
  if (!wanted.parts) {
    if (!vp_image_make_parts (opener, file->name, format, &wanted, &made,
                              error))
      return false;
    wanted.parts = made;
  }
  if (!prepare_parts (file, wanted.parts, error) ||
      (!file->is_device && !vp_file_truncate (file, 0, error)))
    return false;
  return format->create (file, &wanted, error) &&
         (!data || vp_file_flush (data, error)) &&
         flush_parts (wanted.parts, error) && vp_file_flush (file, error);
}

bool
vp_image_create (const char *path, const char *format,
                 const VpCreateOptions *options, VpOpener *opener,
                 GError **error)
{
  bool was_there = g_file_test (path, G_FILE_TEST_EXISTS);
  g_autoptr (VpFile) file =
      vp_file_open (path, VP_FILE_WRITABLE | VP_FILE_CREATE, error);
  if (!file)
    return false;
  if (vp_image_create_file (file, format, options, opener, error))
    return true;
  if (!was_there)
    (void) unlink (path); /* half an image is of no use to anybody */
  return false;
}

bool
vp_image_create_fd (int fd, const char *name, const char *format,
                    const VpCreateOptions *options, VpOpener *opener,
                    GError **error)
{
  g_autoptr (VpFile) file = vp_file_open_fd (fd, name, VP_FILE_WRITABLE, error);
  return file && vp_image_create_file (file, format, options, opener, error);
}

/* ---- the person's gate -------------------------------------------------- */

/* "nbd://host", "json:{...}": a colon before any slash. */
static bool
has_scheme (const char *name)
{
  size_t len = strcspn (name, ":/");
  return name[len] == ':';
}

/* Whether the name leads into the folder of the image. */
static bool
is_beside (const VpClaim *claim)
{
  g_autofree char *folder = g_path_get_dirname (claim->image);
  g_autofree char *other = g_path_get_dirname (claim->name);
  g_autofree char *path = g_path_is_absolute (claim->name)
                              ? g_strdup (other)
                              : g_build_filename (folder, other, NULL);
  g_autofree char *ours = realpath (folder, NULL);
  g_autofree char *theirs = realpath (path, NULL);
  return ours && theirs && strcmp (ours, theirs) == 0;
}

/* Nor does a link lead an extent out of it; one that leads nowhere would make
 * a file that nobody asked for. */
static bool
is_led_away (const VpClaim *claim, const char *path)
{
  struct stat st;
  if (strcmp (claim->role, "extent") != 0 || lstat (path, &st) < 0 ||
      !S_ISLNK (st.st_mode))
    return false;
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *ours = realpath (folder, NULL);
  g_autofree char *end = realpath (path, NULL);
  g_autofree char *theirs = end ? g_path_get_dirname (end) : NULL;
  return !ours || !theirs || strcmp (ours, theirs) != 0;
}

static VpFile *
fail_elsewhere (const VpClaim *claim, GError **error)
{
  g_autofree char *shown = g_strescape (claim->name, NULL);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
               "%s: names '%s', which is not in its own folder", claim->image,
               shown);
  return NULL;
}

static VpFile *
person_open (VpOpener *opener, const VpClaim *claim, const char **ret_format,
             GError **error)
{
  if (claim->name[0] == '\0' || has_scheme (claim->name)) {
    g_autofree char *shown = g_strescape (claim->name, NULL);
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: names '%s', which is not a file", claim->image, shown);
    return NULL;
  }
  VpFileFlags flags = opener->flags;
  if (claim->writable)
    flags |= VP_FILE_WRITABLE;
  if (claim->create)
    flags |= VP_FILE_CREATE;
  /* Extents lie beside the image and nowhere else: a descriptor that came from
   * somebody is not to fetch what lies elsewhere on this host. */
  bool elsewhere =
      strchr (claim->name, '/') && (strcmp (claim->role, "extent") == 0 ||
                                    (claim->beside && !is_beside (claim)));
  if (elsewhere)
    return fail_elsewhere (claim, error);
  /* A data file is not looked for beside the image: neither does QEMU, and
   * both must find the same one. */
  if (g_path_is_absolute (claim->name) || strcmp (claim->role, "data") == 0)
    return vp_file_open (claim->name, flags, error);
  g_autofree char *folder = g_path_get_dirname (claim->image);
  g_autofree char *path = strcmp (folder, ".") == 0
                              ? g_strdup (claim->name)
                              : g_build_filename (folder, claim->name, NULL);
  if (is_led_away (claim, path))
    return fail_elsewhere (claim, error);
  return vp_file_open (path, flags, error);
}

VpOpener
vp_opener_person (VpFileFlags flags)
{
  return (VpOpener){ .open = person_open,
                     .may_probe = true,
                     .flags = flags & VP_FILE_NO_LOCK };
}
