/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-shown: what an image is called where its facts are told: its path,
 * where that alone leads to the same bytes, else JSON that does, in
 * qemu-img's order. */
#include "config.h"

#include "storage/img-names.h"
#include "storage/img.h"
#include "storage/json-read.h"

#include <string.h>

static const char *
find (const GPtrArray *pairs, const char *name)
{
  const char *value = NULL;

  for (unsigned i = 0; i + 1 < pairs->len; i += 2)
    if (strcmp (g_ptr_array_index (pairs, i), name) == 0)
      value = g_ptr_array_index (pairs, i + 1);
  return value;
}

/* Appends "name": "value", with what goes before it. */
static void
append (GString *text, const char *name, const char *value)
{
  g_autoptr (VpJson) json = vp_json_new ();

  vp_json_string (json, NULL, value);
  if (text->str[text->len - 1] != '{')
    g_string_append (text, ", ");
  g_string_append_printf (text, "\"%s\": %s", name, vp_json_get_text (json));
}

char *
vp_img_shown_name (const VpImgAccess *access, const char *name, VpImage *image)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  const char *path = vp_image_get_name (image);

  if (access->image_opts)
    vp_img_split_options (pairs, name);
  else if (!g_str_has_prefix (name, "json:") ||
           !vp_json_read_flat (name + strlen ("json:"), pairs, NULL))
    return g_strdup (path);

  /* QEMU has a driver's own words behind its file, but for some. */
  bool is_luks = strcmp (vp_image_get_format (image)->name, "luks") == 0;
  const char *key = find (pairs, is_luks ? "key-secret" : "encrypt.key-secret");
  const char *offset = find (pairs, "offset"), *size = find (pairs, "size");
  if (key == NULL && offset == NULL && size == NULL)
    return g_strdup (path);
  GString *text = g_string_new ("json:{");
  if (key != NULL && !is_luks)
    append (text, "encrypt.key-secret", key);
  if (offset != NULL)
    append (text, "offset", offset);
  append (text, "driver", vp_image_get_format (image)->name);
  if (size != NULL)
    append (text, "size", size);
  g_string_append (text, ", \"file\": {");
  append (text, "driver", "file");
  append (text, "filename", path);
  g_string_append (text, "}");
  if (key != NULL && is_luks)
    append (text, "key-secret", key);
  g_string_append (text, "}");
  return g_string_free (text, FALSE);
}
