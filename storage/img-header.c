/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-header: an image's header as it lies in the file, each field with its
 * place, value and meaning; the image is not opened, so that a broken one can
 * be looked at too. */
#include "config.h"

#include "storage/img-header.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/describe.h"
#include "storage/probe.h"

static void
print_lines (const GPtrArray *facts)
{
  printf ("%-8s%-8s%-34s%-20s%s\n", "Offset", "Length", "Field", "Value",
          "Meaning");
  for (unsigned i = 0; i < facts->len; i++) {
    const VpHeaderFact *fact = g_ptr_array_index (facts, i);
    g_autofree char *value = fact->has_value
                                 ? g_strdup_printf ("%#" PRIx64, fact->value)
                                 : g_strdup ("");
    g_autofree char *meaning =
        vp_img_printable (fact->meaning != NULL ? fact->meaning : "");
    g_autofree char *line =
        g_strdup_printf ("%-8" PRIu64 "%-8" PRIu64 "%-34s%-20s%s", fact->offset,
                         fact->length, fact->name, value, meaning);
    printf ("%s\n", g_strchomp (line));
  }
}

static void
print_json (const GPtrArray *facts, const char *filename, const char *format)
{
  g_autoptr (VpJson) json = vp_json_new ();

  vp_json_open_object (json, NULL);
  vp_json_string (json, "filename", filename);
  vp_json_string (json, "format", format);
  vp_json_open_array (json, "header");
  for (unsigned i = 0; i < facts->len; i++) {
    const VpHeaderFact *fact = g_ptr_array_index (facts, i);
    vp_json_open_object (json, NULL);
    vp_json_uint (json, "offset", fact->offset);
    vp_json_uint (json, "length", fact->length);
    vp_json_string (json, "name", fact->name);
    if (fact->has_value)
      vp_json_uint (json, "value", fact->value);
    if (fact->meaning != NULL)
      vp_json_string (json, "meaning", fact->meaning);
    vp_json_close (json);
  }
  vp_json_close (json);
  vp_json_close (json);
  printf ("%s\n", vp_json_get_text (json));
}

int
vp_img_show_header (const VpImgAccess *access, const char *filename,
                    const char *format_name, VpImgOutput output)
{
  g_autoptr (GError) error = NULL;

  if (access->image_opts || g_str_has_prefix (filename, "json:"))
    return vp_img_misuse ("--header takes the path of a file");
  const char *path =
      g_str_has_prefix (filename, "file:") ? filename + 5 : filename;
  g_autoptr (VpFile) file = vp_file_open (
      path, access->no_lock ? VP_FILE_NO_LOCK : VP_FILE_READ_ONLY, &error);

  if (file == NULL)
    return vp_img_fail_open (filename, error, 1);
  const VpFormat *format = format_name != NULL
                               ? vp_formats_find (format_name, &error)
                               : vp_probe_format (file, &error);
  if (format == NULL)
    return vp_img_fail_open (filename, error, 1);
  g_autoptr (GPtrArray) facts = vp_describe_header (file, format, &error);
  if (facts == NULL)
    return vp_img_fail_about (filename, error, 1);
  if (output == VP_IMG_JSON)
    print_json (facts, filename, format->name);
  else
    print_lines (facts);
  return 0;
}
