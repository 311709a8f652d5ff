/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-create: new images of the five subformats, with the descriptor's text
 * of QEMU.  What it says lies in the extents is there first, so that a cut
 * leaves files that no descriptor names.
 *
 *     monolithicSparse, streamOptimized    disk.vmdk, with the text in it
 *     monolithicFlat                       disk-flat.vmdk
 *     twoGbMaxExtentFlat                   disk-f001.vmdk, disk-f002.vmdk ...
 *     twoGbMaxExtentSparse                 disk-s001.vmdk, disk-s002.vmdk ...
 */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/vmdk-stream.h"
#include "storage/vmdk.h"

#define DEFAULT_EXTENT (UINT64_C (2) << 30)
#define EXTENT_UNIT    65536u
#define TEXT_ROOM      (20u * VMDK_SECTOR) /* in a sparse file, as QEMU's */
#define NAME_ROOM      300u                /* of an extent's line */
#define DEFAULT_HW     "4"
#define COMPAT6_HW     "6"
#define DEFAULT_TOOLS  "2147483647"

typedef struct {
  const char *name;
  bool flat, split, stream;
} Subformat;

static const Subformat subformats[] = {
  { "monolithicSparse", false, false, false },
  { "monolithicFlat", true, false, false },
  { "twoGbMaxExtentSparse", false, true, false },
  { "twoGbMaxExtentFlat", true, true, false },
  { "streamOptimized", false, false, true },
};

const VpOption vmdk_options[] = {
  { "adapter_type", "Virtual adapter type, can be one of ide (default), "
                    "lsilogic, buslogic or legacyESX" },
  { "backing_file", "File name of a base image" },
  { "backing_fmt", "Must be 'vmdk' if present" },
  { "compat6", "VMDK version 6 image" },
  { "extent_size", "Size of one extent of twoGbMaxExtent*, a multiple of "
                   "64 KiB" },
  { "hwversion", "VMDK hardware version" },
  { "preallocation", "Preallocation mode (allowed values: off, falloc, full)" },
  { "size", "Virtual disk size" },
  { "subformat",
    "VMDK flat extent format, can be one of {monolithicSparse (default) | "
    "monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | "
    "streamOptimized} " },
  { "toolsversion", "VMware guest tools version" },
  { "zeroed_grain",
    "Enable efficient zero writes using the zeroed-grain GTE feature" },
  { NULL, NULL },
};

/* ---- what is asked ------------------------------------------------------ */

static bool
usage (GError **error, const char *message)
{
  g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, message);
  return false;
}

static bool
bad_value (GError **error, const char *value)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "invalid parameter value: %s", value);
  return false;
}

static const Subformat *
find_subformat (const VpCreateOptions *options, GError **error)
{
  if (!options->subformat)
    return &subformats[0];
  for (size_t i = 0; i < G_N_ELEMENTS (subformats); i++)
    if (strcmp (subformats[i].name, options->subformat) == 0)
      return &subformats[i];
  (void) bad_value (error, options->subformat);
  return NULL;
}

static bool
check_adapter (const VpCreateOptions *options, GError **error)
{
  static const char *const types[] = { "ide", "buslogic", "lsilogic",
                                       "legacyESX" };
  if (!options->adapter_type)
    return true;
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (strcmp (types[i], options->adapter_type) == 0)
      return true;
  return bad_value (error, options->adapter_type);
}

/* Words that go between quotation marks. */
static bool
check_word (const char *word, GError **error)
{
  if (!word || (word[0] && !strpbrk (word, "\"\r\n")))
    return true;
  return bad_value (error, word);
}

static bool
has_hwversion (const VpCreateOptions *options)
{
  return options->hwversion && strcmp (options->hwversion, "undefined") != 0;
}

static bool
check_backing (const VpCreateOptions *options, const Subformat *subformat,
               GError **error)
{
  if (!options->backing_name)
    return true;
  if (subformat->flat)
    return usage (error, "Flat image can't have backing file");
  if (options->backing_format && strcmp (options->backing_format, "vmdk") != 0)
    return usage (error, "backing_file must be a vmdk image");
  return check_word (options->backing_name, error);
}

bool
vmdk_check_create (const VpCreateOptions *options, GError **error)
{
  const Subformat *subformat = find_subformat (options, error);
  if (!subformat || !check_adapter (options, error) ||
      !check_word (options->hwversion, error) ||
      !check_word (options->toolsversion, error) ||
      !check_backing (options, subformat, error))
    return false;
  if (options->compat6 && has_hwversion (options))
    return usage (error, "compat6 cannot be enabled with hwversion set");
  if (subformat->flat && options->zeroed_grain)
    return usage (error, "Flat image can't enable zeroed grain");
  if (options->preallocation == VP_PREALLOCATION_METADATA)
    return usage (error, "Unsupported preallocation mode: metadata");
  if (options->preallocation != VP_PREALLOCATION_OFF && !subformat->flat)
    return usage (error, "only flat images are preallocated");
  if (subformat->stream && options->zeroed_grain)
    return usage (error, "streamOptimized has no zeroed grains");
  if (options->extent_size % EXTENT_UNIT)
    return usage (error, "extent_size must be a multiple of 64 KiB");
  if (options->extent_size && !subformat->split)
    return usage (error, "extent_size is for twoGbMaxExtent* only");
  return true;
}

/* ---- extents ------------------------------------------------------------ */

static uint64_t
extent_size (const VpCreateOptions *options, const Subformat *subformat)
{
  if (!subformat->split)
    return MAX (vp_round_up (options->size, VMDK_SECTOR), VMDK_SECTOR);
  return options->extent_size ? options->extent_size : DEFAULT_EXTENT;
}

/* Of a disk without a byte there is none. */
static unsigned
count_extents (const VpCreateOptions *options, const Subformat *subformat)
{
  uint64_t size = vp_round_up (options->size, VMDK_SECTOR);
  uint64_t unit = extent_size (options, subformat);
  return (unsigned) MIN (size / unit + (size % unit != 0), UINT_MAX);
}

/* "disk.vmdk": "disk-f001.vmdk"; a name without a dot has it at its end. */
static char *
name_extent (const char *image, const Subformat *subformat, unsigned index)
{
  g_autofree char *base = g_path_get_basename (image);
  const char *dot = strrchr (base, '.');
  size_t len = dot ? (size_t) (dot - base) : strlen (base);
  if (!subformat->split)
    return g_strdup_printf ("%.*s-flat%s", (int) len, base, base + len);
  return g_strdup_printf ("%.*s-%c%03u%s", (int) len, base,
                          subformat->flat ? 'f' : 's', index + 1, base + len);
}

char *
vmdk_part_to_make (const VpCreateOptions *options, const char *image,
                   unsigned index)
{
  const Subformat *subformat = find_subformat (options, NULL);
  if (!subformat || (!subformat->flat && !subformat->split) ||
      index >= count_extents (options, subformat))
    return NULL;
  return name_extent (image, subformat, index);
}

static uint64_t
length_of (const VpCreateOptions *options, const Subformat *subformat,
           unsigned index)
{
  uint64_t size = vp_round_up (options->size, VMDK_SECTOR);
  uint64_t unit = extent_size (options, subformat);
  return MIN (unit, size - index * unit);
}

static bool
make_flat (VpFile *file, uint64_t length, VpPreallocation preallocation,
           GError **error)
{
  return vp_file_truncate (file, length, error) &&
         (preallocation != VP_PREALLOCATION_FALLOC ||
          vp_file_allocate (file, 0, length, error)) &&
         (preallocation != VP_PREALLOCATION_FULL ||
          vp_file_zero (file, 0, length, false, error));
}

static bool
make_extent (VpFile *file, const VpCreateOptions *options,
             const Subformat *subformat, uint64_t length, GError **error)
{
  VmdkSparseOptions sparse = { .capacity = length,
                               .zeroed_grain = options->zeroed_grain };
  uint64_t at;
  return subformat->flat
             ? make_flat (file, length, options->preallocation, error)
             : vmdk_sparse_create (file, &sparse, &at, error);
}

/* ---- the image ---------------------------------------------------------- */

static char *
write_text (VpFile *file, const VpCreateOptions *options,
            const Subformat *subformat, const VmdkExtentLine *extents,
            unsigned n_extents)
{
  VmdkDescriptorSpec spec = {
    .cid = (g_random_int () & 0x7fffffff) + 1,
    .parent_cid = VMDK_NO_PARENT,
    .create_type = subformat->name,
    .parent_hint = options->backing_name,
    .adapter_type = options->adapter_type ? options->adapter_type : "ide",
    .hwversion = options->compat6          ? COMPAT6_HW
                 : has_hwversion (options) ? options->hwversion
                                           : DEFAULT_HW,
    .toolsversion =
        options->toolsversion ? options->toolsversion : DEFAULT_TOOLS,
    .extents = extents,
    .n_extents = n_extents,
    .size = vp_round_up (options->size, VMDK_SECTOR),
  };
  if (options->backing_name)
    spec.parent_cid = options->backing_id;
  return vmdk_descriptor_write (&spec);
}

/* Extents of their own, then the descriptor. */
static bool
create_parts (VpFile *file, const VpCreateOptions *options,
              const Subformat *subformat, GError **error)
{
  unsigned n = options->parts ? options->parts->len : 0;
  g_autofree VmdkExtentLine *lines = g_new0 (VmdkExtentLine, n + 1);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  if (n != count_extents (options, subformat))
    return usage (error, "the extents are not those that were asked for");
  for (unsigned i = 0; i < n; i++) {
    VpFile *part = g_ptr_array_index (options->parts, i);
    lines[i].kind = subformat->flat ? VMDK_FLAT : VMDK_SPARSE;
    lines[i].length = length_of (options, subformat, i);
    lines[i].name = name_extent (file->name, subformat, i);
    g_ptr_array_add (names, lines[i].name);
    if (!make_extent (part, options, subformat, lines[i].length, error) ||
        !vp_file_flush (part, error))
      return false;
  }
  g_autofree char *text = write_text (file, options, subformat, lines, n);
  return vp_file_write (file, 0, text, strlen (text), error);
}

/* The text last: without it this is no image. */
static bool
create_embedded (VpFile *file, const VpCreateOptions *options,
                 const Subformat *subformat, GError **error)
{
  g_autofree char *name = g_path_get_basename (file->name);
  VmdkExtentLine line = { .kind = VMDK_SPARSE,
                          .length = vp_round_up (options->size, VMDK_SECTOR),
                          .name = name };
  g_autofree char *text = write_text (file, options, subformat, &line, 1);
  VmdkSparseOptions sparse = { .capacity = line.length,
                               .descriptor_size = TEXT_ROOM,
                               .zeroed_grain = options->zeroed_grain,
                               .compressed = subformat->stream };
  uint64_t at;
  if (strlen (text) > TEXT_ROOM)
    return usage (error, "the names and words of the descriptor are too long");
  return vmdk_sparse_create (file, &sparse, &at, error) &&
         vp_file_flush (file, error) &&
         vp_file_write (file, at, text, strlen (text), error);
}

bool
vmdk_create (VpFile *file, const VpCreateOptions *options, GError **error)
{
  const Subformat *subformat = find_subformat (options, error);
  if (!subformat || !vmdk_check_create (options, error))
    return false;
  return subformat->flat || subformat->split
             ? create_parts (file, options, subformat, error)
             : create_embedded (file, options, subformat, error);
}

/* ---- how large it will be ----------------------------------------------- */

/* A stream has a table with its marker where it names a grain, the directory,
 * the footer and the end; and a grain that does not shrink takes a sector
 * more, for its marker. */
static void
measure_stream (uint64_t size, VpFootprint *print)
{
  uint64_t span = VMDK_STREAM_GRAIN * 512, tables = size / span + 1;
  print->unit = VMDK_STREAM_GRAIN;
  print->unit_overhead = VMDK_SECTOR;
  print->overhead = 128 * VMDK_SECTOR + tables * (2048 + VMDK_SECTOR) +
                    vp_round_up (tables * 4, VMDK_SECTOR) + 4 * VMDK_SECTOR;
}

static bool
measure_sparse (const VpCreateOptions *options, const Subformat *subformat,
                VpFootprint *print, GError **error)
{
  unsigned n = subformat->split ? count_extents (options, subformat) : 1;
  VmdkSparseOptions sparse = { .zeroed_grain = options->zeroed_grain };
  uint64_t each, last;
  print->unit = 65536;
  if (n == 0)
    return true;
  sparse.capacity = subformat->split ? extent_size (options, subformat) : 0;
  if (!vmdk_sparse_overhead (&sparse, &each, error))
    return false;
  sparse.capacity = length_of (options, subformat, n - 1);
  if (!vmdk_sparse_overhead (&sparse, &last, error))
    return false;
  print->overhead += (n - 1) * each + last;
  return true;
}

bool
vmdk_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                GError **error)
{
  const Subformat *subformat = find_subformat (options, error);
  VpFootprint print = { .unit = VMDK_SECTOR, .whole = true };
  if (!subformat || !vmdk_check_create (options, error))
    return false;
  /* The text; how long the names are is not known. */
  if (subformat->split || subformat->flat)
    print.overhead =
        512 + (uint64_t) count_extents (options, subformat) * NAME_ROOM;
  print.whole = subformat->flat;
  if (subformat->stream)
    measure_stream (options->size, &print);
  else if (!subformat->flat &&
           !measure_sparse (options, subformat, &print, error))
    return false;
  *ret_print = print;
  return true;
}
