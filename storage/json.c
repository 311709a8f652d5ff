/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json: a stack of open brackets and a text that grows. */
#include "config.h"

#include "storage/json.h"

#include <inttypes.h>
#include <string.h>

struct VpJson {
  GString *text;
  GString *closers; /* one closing bracket for each open level */
  bool empty;       /* nothing yet in the innermost one */
};

VpJson *
vp_json_new (void)
{
  VpJson *json = g_new0 (VpJson, 1);

  json->text = g_string_new (NULL);
  json->closers = g_string_new (NULL);
  json->empty = true;
  return json;
}

void
vp_json_free (VpJson *json)
{
  if (json == NULL)
    return;
  g_string_free (json->text, TRUE);
  g_string_free (json->closers, TRUE);
  g_free (json);
}

static void
new_line (VpJson *json)
{
  g_string_append_printf (json->text, "\n%*s", (int) json->closers->len * 4,
                          "");
}

static void
append_unit (GString *text, gunichar unit)
{
  g_string_append_printf (text, "\\u%04X", unit);
}

static void
append_char (GString *text, gunichar c)
{
  static const char special[] = "\b\f\n\r\t\"\\";
  static const char letters[] = "bfnrt\"\\";
  const char *found = c != 0 && c < 0x80 ? strchr (special, (char) c) : NULL;

  if (found != NULL) {
    g_string_append_c (text, '\\');
    g_string_append_c (text, letters[found - special]);
  } else if (c >= 0x20 && c < 0x7f)
    g_string_append_c (text, (char) c);
  else if (c < 0x10000)
    append_unit (text, c);
  else { /* a pair of surrogates */
    append_unit (text, 0xd800 + ((c - 0x10000) >> 10));
    append_unit (text, 0xdc00 + ((c - 0x10000) & 0x3ff));
  }
}

static void
append_quoted (GString *text, const char *value)
{
  g_string_append_c (text, '"');
  while (*value != '\0') {
    gunichar c = g_utf8_get_char_validated (value, -1);
    if (c == (gunichar) -1 || c == (gunichar) -2) {
      append_unit (text, 0xfffd);
      value++;
    } else {
      append_char (text, c);
      value = g_utf8_next_char (value);
    }
  }
  g_string_append_c (text, '"');
}

static void
begin_value (VpJson *json, const char *key)
{
  if (json->closers->len > 0) {
    if (!json->empty)
      g_string_append_c (json->text, ',');
    new_line (json);
  }
  if (key != NULL) {
    append_quoted (json->text, key);
    g_string_append (json->text, ": ");
  }
  json->empty = false;
}

static void
open_bracket (VpJson *json, const char *key, char opener, char closer)
{
  begin_value (json, key);
  g_string_append_c (json->text, opener);
  g_string_append_c (json->closers, closer);
  json->empty = true;
}

void
vp_json_open_object (VpJson *json, const char *key)
{
  open_bracket (json, key, '{', '}');
}

void
vp_json_open_array (VpJson *json, const char *key)
{
  open_bracket (json, key, '[', ']');
}

void
vp_json_close (VpJson *json)
{
  g_return_if_fail (json->closers->len > 0);
  char closer = json->closers->str[json->closers->len - 1];

  g_string_truncate (json->closers, json->closers->len - 1);
  new_line (json);
  g_string_append_c (json->text, closer);
  json->empty = false;
}

void
vp_json_string (VpJson *json, const char *key, const char *value)
{
  begin_value (json, key);
  append_quoted (json->text, value);
}

void
vp_json_uint (VpJson *json, const char *key, uint64_t value)
{
  begin_value (json, key);
  g_string_append_printf (json->text, "%" PRIu64, value);
}

void
vp_json_bool (VpJson *json, const char *key, bool value)
{
  begin_value (json, key);
  g_string_append (json->text, value ? "true" : "false");
}

const char *
vp_json_get_text (const VpJson *json)
{
  return json->text->str;
}
