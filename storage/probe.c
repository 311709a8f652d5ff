/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* probe: what a file is, by what stands in it.  Drivers recognise their own
 * formats; the foreigners here are known by a mark and refused by name.  Two
 * marks in one file are refused: a guest may have written one of them. */
#include "config.h"

#include "storage/probe.h"

#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"

#define HEAD_SIZE 4096u

/* Known by its mark, and refused by name. */
typedef struct {
  const char *name;
  bool from_end; /* offset counts back from the end of the file */
  unsigned offset;
  const char *mark;
  size_t len;
} Foreign;

static const Foreign foreigners[] = {
  { "qcow", false, 0, "QFI\xfb\0\0\0\1", 8 },
  { "vmdk", false, 0, "KDMV", 4 },
  { "vmdk", false, 0, "COWD", 4 },
  { "vmdk", false, 0, "# Disk DescriptorFile", 21 },
  { "vdi", false, 0x40, "\x7f\x10\xda\xbe", 4 },
  { "vpc", false, 0, "conectix", 8 },
  { "vpc", true, 512, "conectix", 8 },
  { "vhdx", false, 0, "vhdxfile", 8 },
  { "qed", false, 0, "QED\0", 4 },
  { "parallels", false, 0, "WithoutFreeSpace", 16 },
  { "parallels", false, 0, "WithouFreSpacExt", 16 },
  { "bochs", false, 0, "Bochs Virtual HD Image", 22 },
  { "cloop", false, 0, "#!/bin/sh\n#V2.0 Format", 22 },
  { "dmg", true, 512, "koly", 4 },
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

const VpFormat *
vp_probe_format (VpFile *file, GError **error)
{
  uint8_t head[HEAD_SIZE], tail[512];
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return NULL;
  size_t head_len = (size_t) MIN (size, sizeof head);
  size_t tail_len = size >= sizeof tail ? sizeof tail : 0;
  if (!vp_file_read (file, 0, head, head_len, error) ||
      !vp_file_read (file, size - tail_len, tail, tail_len, error))
    return NULL;

  const VpFormat *const *formats = vp_formats_all ();
  const VpFormat *found = NULL;
  for (size_t i = 0; formats[i]; i++) {
    if (!formats[i]->probe || formats[i]->probe (head, head_len, size) == 0)
      continue;
    if (found && !ambiguous (file, found->name, formats[i]->name, error))
      return NULL;
    found = formats[i];
  }
  const char *foreign = NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (foreigners); i++) {
    if (!foreign_matches (&foreigners[i], head, head_len, tail, tail_len))
      continue;
    const char *name = foreigners[i].name;
    if (found && !ambiguous (file, found->name, name, error))
      return NULL;
    if (foreign && strcmp (foreign, name) != 0 &&
        !ambiguous (file, foreign, name, error))
      return NULL;
    foreign = name;
  }
  if (foreign) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: %s images are not supported", file->name, foreign);
    return NULL;
  }
  return found ? found : &vp_format_raw;
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
