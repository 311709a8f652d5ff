/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json-read: see the header.  Recursive descent; depth and length have
 * limits. */
#include "config.h"

#include "storage/json-read.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  const char *at;
  const char *wrong; /* why it failed; NULL: has not */
  GPtrArray *pairs;
  GHashTable *seen; /* names; borrowed from pairs */
  GString *name;    /* of the value that is read now */
  unsigned depth;
} Reader;

static bool read_value (Reader *r);

static bool
fail (Reader *r, const char *why)
{
  if (!r->wrong)
    r->wrong = why;
  return false;
}

static void
skip_space (Reader *r)
{
  while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')
    r->at++;
}

static bool
expect (Reader *r, char c)
{
  skip_space (r);
  if (*r->at == '\0')
    return fail (r, "premature EOI");
  if (*r->at != c)
    return fail (r, "unexpected character");
  r->at++;
  return true;
}

static bool
add (Reader *r, const char *value)
{
  if (g_hash_table_contains (r->seen, r->name->str))
    return fail (r, "duplicate key");
  char *name = g_strdup (r->name->str);
  g_ptr_array_add (r->pairs, name);
  g_ptr_array_add (r->pairs, g_strdup (value));
  g_hash_table_add (r->seen, name);
  return true;
}

/* ---- strings ------------------------------------------------------------ */

static bool
read_hex (Reader *r, gunichar *ret_unit)
{
  gunichar unit = 0;
  for (int i = 0; i < 4; i++, r->at++) {
    int digit = g_ascii_xdigit_value (*r->at);
    if (digit < 0)
      return fail (r, "invalid hex escape in string");
    unit = unit << 4 | (gunichar) digit;
  }
  *ret_unit = unit;
  return true;
}

/* Behind "\u"; two of them make one character beyond the basic plane. */
static bool
read_unicode (Reader *r, GString *to)
{
  gunichar unit, low;
  if (!read_hex (r, &unit))
    return false;
  if (unit >= 0xd800 && unit < 0xdc00) {
    if (r->at[0] != '\\' || r->at[1] != 'u')
      return fail (r, "lone surrogate in string");
    r->at += 2;
    if (!read_hex (r, &low))
      return false;
    if (low < 0xdc00 || low > 0xdfff)
      return fail (r, "lone surrogate in string");
    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  } else if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff))
    return fail (r, "lone surrogate or NUL in string");
  g_string_append_unichar (to, unit);
  return true;
}

static bool
read_escape (Reader *r, GString *to)
{
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  char c = *r->at;
  const char *found = c != '\0' ? strchr (from, c) : NULL;
  if (found) {
    r->at++;
    g_string_append_c (to, into[found - from]);
    return true;
  }
  if (c != 'u')
    return fail (r, "invalid escape in string");
  r->at++;
  return read_unicode (r, to);
}

static bool
read_string (Reader *r, GString *to)
{
  if (!expect (r, '"'))
    return false;
  for (;;) {
    unsigned char c = (unsigned char) *r->at;
    if (c == '\0')
      return fail (r, "premature EOI");
    if (c < 0x20)
      return fail (r, "control character in string");
    r->at++;
    if (c == '"')
      return true;
    if (c != '\\')
      g_string_append_c (to, (char) c);
    else if (!read_escape (r, to))
      return false;
  }
}

/* ---- the rest ----------------------------------------------------------- */

/* "-"? (0 | 1-9 digits) fraction? exponent? */
static bool
read_number (Reader *r)
{
  const char *start = r->at;
  if (*r->at == '-')
    r->at++;
  if (!g_ascii_isdigit (*r->at))
    return fail (r, "unexpected character");
  if (*r->at == '0')
    r->at++;
  else
    while (g_ascii_isdigit (*r->at))
      r->at++;
  if (*r->at == '.') {
    r->at++;
    if (!g_ascii_isdigit (*r->at))
      return fail (r, "invalid number");
    while (g_ascii_isdigit (*r->at))
      r->at++;
  }
  if (*r->at == 'e' || *r->at == 'E') {
    r->at++;
    if (*r->at == '+' || *r->at == '-')
      r->at++;
    if (!g_ascii_isdigit (*r->at))
      return fail (r, "invalid number");
    while (g_ascii_isdigit (*r->at))
      r->at++;
  }
  g_autofree char *text = g_strndup (start, (size_t) (r->at - start));
  return add (r, text);
}

static bool
read_word (Reader *r)
{
  static const struct {
    const char *word, *value;
  } words[] = { { "true", "on" }, { "false", "off" }, { "null", "" } };
  for (size_t i = 0; i < G_N_ELEMENTS (words); i++) {
    size_t len = strlen (words[i].word);
    if (strncmp (r->at, words[i].word, len) == 0) {
      r->at += len;
      return add (r, words[i].value);
    }
  }
  return fail (r, *r->at ? "unexpected character" : "premature EOI");
}

/* Behind a member: true and *ret_more where another one follows. */
static bool
read_separator (Reader *r, char end, bool *ret_more)
{
  skip_space (r);
  *ret_more = *r->at == ',';
  return *ret_more ? expect (r, ',') : expect (r, end);
}

static bool
read_member (Reader *r, bool is_object, unsigned index)
{
  size_t len = r->name->len;
  if (len > 0)
    g_string_append_c (r->name, '.');
  size_t start = r->name->len;
  if (!is_object)
    g_string_append_printf (r->name, "%u", index);
  else if (!read_string (r, r->name) || !expect (r, ':'))
    return false;
  if (r->name->len == start)
    return fail (r, "empty key");
  if (!read_value (r))
    return false;
  g_string_truncate (r->name, len);
  return true;
}

static bool
read_container (Reader *r)
{
  bool is_object = *r->at == '{', more = true;
  char end = is_object ? '}' : ']';
  r->at++;
  if (++r->depth > VP_MAX_JSON_DEPTH)
    return fail (r, "nested too deeply");
  skip_space (r);
  if (*r->at == end) {
    r->at++;
    more = false;
  }
  for (unsigned i = 0; more; i++)
    if (!read_member (r, is_object, i) || !read_separator (r, end, &more))
      return false;
  r->depth--;
  return true;
}

static bool
read_value (Reader *r)
{
  skip_space (r);
  if (*r->at == '{' || *r->at == '[')
    return read_container (r);
  if (*r->at == '"') {
    g_autoptr (GString) text = g_string_new (NULL);
    return read_string (r, text) && add (r, text->str);
  }
  if (*r->at == '-' || g_ascii_isdigit (*r->at))
    return read_number (r);
  return read_word (r);
}

bool
vp_json_read_flat (const char *text, GPtrArray *pairs, GError **error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GString) name = g_string_new (NULL);
  Reader r = { .at = text, .pairs = pairs, .seen = seen, .name = name };
  guint before = pairs->len;

  if (strlen (text) > VP_MAX_JSON_LEN)
    (void) fail (&r, "too long");
  else if (!g_utf8_validate (text, -1, NULL))
    (void) fail (&r, "invalid UTF-8");
  else {
    skip_space (&r);
    if (*r.at != '\0' && *r.at != '{') {
      g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                           "Invalid JSON object given");
      return false;
    }
    if (read_value (&r)) {
      skip_space (&r);
      if (*r.at != '\0')
        (void) fail (&r, "more behind the object");
    }
  }
  if (!r.wrong)
    return true;
  g_ptr_array_set_size (pairs, (int) before);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Could not parse the JSON options: JSON parse error, %s",
               r.wrong);
  return false;
}
