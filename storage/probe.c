/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* probe: what a file is, by what stands in it.  Drivers recognise their own
 * formats; the foreigners here are known by a mark and refused by name, with
 * what to do where something can be done.  Two marks in one file are refused:
 * a guest may have written one of them.
 *
 * A CD's file system is no container: alone it is a raw disk, as partition
 * tables are, but it is one mark too many beside any other. */
#include "config.h"

#include "storage/probe.h"

#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/tar.h"

#define HEAD_SIZE   4096u
#define ISO_MARK_AT 0x8001u
#define ISO_MARK    "CD001"
#define ISO_NAME    "an ISO 9660 file system"

#define UNPACK(tool, kind)                                                     \
  "is " kind "-compressed: " tool                                              \
  " -dc FILE | vprov-img convert -f FORMAT - TARGET"

/* Known by its mark, and refused by name. */
typedef struct {
  const char *name;
  bool from_end; /* offset counts back from the end of the file */
  unsigned offset;
  const char *mark;
  size_t len;
  const char *advice; /* NULL: none */
} Foreign;

static const Foreign foreigners[] = {
  { "vpc", true, 512, "conectix", 8,
    "ends as a fixed VHD does: say -f vpc, or -f raw" },
  { "qed", false, 0, "QED\0", 4 },
  { "parallels", false, 0, "WithoutFreeSpace", 16 },
  { "parallels", false, 0, "WithouFreSpacExt", 16 },
  { "bochs", false, 0, "Bochs Virtual HD Image", 22 },
  { "cloop", false, 0, "#!/bin/sh\n#V2.0 Format", 22 },
  { "dmg", true, 512, "koly", 4 },
  { "cow of User-Mode Linux (version 1)", false, 0, "MOOO\1\0\0\0", 8 },
  { "tar", false, VP_TAR_MARK_AT, VP_TAR_MARK, 5 },
  { "gzip", false, 0, "\x1f\x8b\x08", 3, UNPACK ("gzip", "gzip") },
  { "xz", false, 0,
    "\xfd"
    "7zXZ\0",
    6, UNPACK ("xz", "xz") },
  { "zstd", false, 0, "\x28\xb5\x2f\xfd", 4, UNPACK ("zstd", "zstd") },
  { "bzip2", false, 4, "1AY&SY", 6, UNPACK ("bzip2", "bzip2") },
};

static bool
foreign_matches (const Foreign *foreign, const uint8_t *head, size_t head_len,
                 const uint8_t *tail, size_t tail_len)
{
  if (foreign->from_end)
    return tail_len == foreign->offset && foreign->len <= tail_len &&
           memcmp (tail, foreign->mark, foreign->len) == 0;
  return vp_range_ok (foreign->offset, foreign->len, head_len) &&
         memcmp (head + foreign->offset, foreign->mark, foreign->len) == 0;
}

static bool
ambiguous (VpFile *file, const char *one, const char *other, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
               "%s: looks like %s and like %s; say which it is", file->name,
               one, other);
  return false;
}

/* What is looked at of a file. */
typedef struct {
  VpFile *file;
  uint8_t head[HEAD_SIZE], tail[512];
  size_t head_len, tail_len;
  uint64_t size;
} Look;

static bool
look_at (VpFile *file, Look *look, GError **error)
{
  look->file = file;
  if (!vp_file_get_size (file, &look->size, error))
    return false;
  look->head_len = (size_t) MIN (look->size, sizeof look->head);
  look->tail_len = look->size >= sizeof look->tail ? sizeof look->tail : 0;
  return vp_file_read (file, 0, look->head, look->head_len, error) &&
         vp_file_read (file, look->size - look->tail_len, look->tail,
                       look->tail_len, error);
}

/* Formats of ours; false where there are two. */
static bool
find_format (const Look *look, const VpFormat **ret_found, GError **error)
{
  const VpFormat *const *formats = vp_formats_all ();
  *ret_found = NULL;
  for (size_t i = 0; formats[i]; i++) {
    if (!formats[i]->probe ||
        formats[i]->probe (look->head, look->head_len, look->size) == 0)
      continue;
    if (*ret_found &&
        !ambiguous (look->file, (*ret_found)->name, formats[i]->name, error))
      return false;
    *ret_found = formats[i];
  }
  return true;
}

/* known: what it is already, or NULL. */
static bool
find_foreign (const Look *look, const char *known, const Foreign **ret_found,
              GError **error)
{
  *ret_found = NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (foreigners); i++) {
    const Foreign *foreign = &foreigners[i];
    if (!foreign_matches (foreign, look->head, look->head_len, look->tail,
                          look->tail_len))
      continue;
    if (known && strcmp (known, foreign->name) == 0)
      continue;
    if (known && !ambiguous (look->file, known, foreign->name, error))
      return false;
    *ret_found = foreign;
    known = foreign->name;
  }
  return true;
}

static bool
has_iso (VpFile *file)
{
  char mark[sizeof ISO_MARK - 1];
  return vp_file_read (file, ISO_MARK_AT, mark, sizeof mark, NULL) &&
         memcmp (mark, ISO_MARK, sizeof mark) == 0;
}

static bool
refuse_tar (VpFile *file, GError **error)
{
  static const char *const suffixes[] = { ".vmdk", ".qcow2", ".vdi",
                                          ".img",  ".raw",   ".vhd" };
  g_autofree char *member = NULL;
  for (size_t i = 0; !member && i < G_N_ELEMENTS (suffixes); i++)
    member = vp_tar_find_member (file, suffixes[i]);
  g_autofree char *shown = member ? g_strescape (member, NULL) : NULL;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: is a tar archive (OVA), not an image: take %s out of it "
               "with 'tar -xf', and use that",
               file->name, shown ? shown : "the disk");
  return false;
}

static bool
refuse (VpFile *file, const Foreign *foreign, GError **error)
{
  if (strcmp (foreign->name, "tar") == 0)
    return refuse_tar (file, error);
  if (foreign->advice)
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED, "%s: %s",
                 file->name, foreign->advice);
  else
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: %s images are not supported", file->name, foreign->name);
  return false;
}

const VpFormat *
vp_probe_format (VpFile *file, GError **error)
{
  const VpFormat *found;
  const Foreign *foreign;
  Look look;
  if (!look_at (file, &look, error) || !find_format (&look, &found, error) ||
      !find_foreign (&look, found ? found->name : NULL, &foreign, error))
    return NULL;
  const char *name = foreign ? foreign->name : found ? found->name : NULL;
  if (name && has_iso (file) && !ambiguous (file, name, ISO_NAME, error))
    return NULL;
  if (foreign && !refuse (file, foreign, error))
    return NULL;
  return found ? found : &vp_format_raw;
}

const char *
vp_probe_content (VpFile *file)
{
  return has_iso (file) ? ISO_NAME : NULL;
}

bool
vp_probe_head_is_raw (const uint8_t *head, size_t len)
{
  const VpFormat *const *formats = vp_formats_all ();
  for (size_t i = 0; formats[i]; i++)
    if (formats[i]->probe && formats[i]->probe (head, len, len) > 0)
      return false;
  for (size_t i = 0; i < G_N_ELEMENTS (foreigners); i++)
    if (foreign_matches (&foreigners[i], head, len, head, 0))
      return false;
  return true;
}
