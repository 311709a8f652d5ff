/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-speech: how vprov-img takes its options and says what happened, in one
 * manner for all verbs. */
#include "config.h"

#include "storage/img.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *
vp_img_printable (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *printable = g_string_new (NULL);

  for (const char *p = valid; *p != '\0'; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
      g_string_append_printf (printable, "\\x%02x", c);
    else
      g_string_append_unichar (printable, c);
  }
  return g_string_free (printable, FALSE);
}

const char *
vp_img_program (void)
{
  return g_get_prgname ();
}

/* Second lines that are our own; any other new line came with a name and is
 * escaped. */
static const char *
find_own_line (const char *text)
{
  static const char *const lines[] = { "\nIs another process using the image ",
                                       "\nCould not open backing image.",
                                       "\nDetected format of " };

  for (size_t i = 0; i < G_N_ELEMENTS (lines); i++) {
    const char *found = g_strrstr (text, lines[i]);
    if (found != NULL)
      return found;
  }
  return NULL;
}

void
vp_img_complain (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  const char *own = find_own_line (text);
  g_autofree char *first =
      own != NULL ? g_strndup (text, own - text) : g_strdup (text);
  g_autofree char *printable = vp_img_printable (first);
  g_autofree char *second = vp_img_printable (own != NULL ? own + 1 : "");
  fprintf (stderr, "%s: %s%s%s\n", vp_img_program (), printable,
           own != NULL ? "\n" : "", second);
}

int
vp_img_misuse (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  fprintf (stderr, "%s: %s\nTry '%s --help' for more information\n",
           vp_img_program (), text, vp_img_program ());
  return 1;
}

int
vp_img_fail (const GError *error, int status)
{
  vp_img_complain ("%s", error->message);
  return status;
}

/* The engine leads with the name; we say it in our own place. */
static const char *
without_name (const char *name, const char *why)
{
  size_t len = strlen (name);

  return strncmp (why, name, len) == 0 && strncmp (why + len, ": ", 2) == 0
             ? why + len + 2
             : why;
}

int
vp_img_fail_about (const char *name, const GError *error, int status)
{
  vp_img_complain ("%s: %s", name, without_name (name, error->message));
  return status;
}

int
vp_img_fail_open (const char *name, const GError *error, int status)
{
  vp_img_complain ("Could not open '%s': %s", name,
                   without_name (name, error->message));
  return status;
}

void
vp_img_prefix_reason (const char *name, const char *prefix, GError **error)
{
  if (error == NULL || *error == NULL)
    return;
  g_autofree char *old = g_steal_pointer (&(*error)->message);
  (*error)->message = g_strconcat (prefix, without_name (name, old), NULL);
}

int
vp_img_fail_open_as (const char *what, const char *name, const GError *error,
                     int status)
{
  vp_img_complain ("Could not open %s'%s': %s", what, name,
                   without_name (name, error->message));
  return status;
}

int
vp_img_fail_options (const VpFormat *format, const GError *error)
{
  vp_img_complain ("%s", error->message);
  if (g_str_has_prefix (error->message, "Invalid parameter '") &&
      strstr (error->message, "for option") == NULL)
    vp_img_complain ("Invalid options for file format '%s'", format->name);
  return 1;
}

int
vp_img_fail_create (const char *name, const GError *error)
{
  const char *why = without_name (name, error->message);

  if (error->domain == G_FILE_ERROR)
    vp_img_complain ("%s: error while creating output image: Could not create "
                     "'%s': %s",
                     name, name, why);
  else
    vp_img_complain ("%s: error while creating output image: %s", name, why);
  return 1;
}

int
vp_img_unsupported (const char *what)
{
  vp_img_complain ("%s is not supported yet", what);
  return 1;
}

/* ---- options ------------------------------------------------------------- */

int
vp_img_getopt (int argc, char **argv, const char *letters,
               const struct option *options)
{
  /* A leading ':' tells a missing argument from an unknown option, behind the
   * '+' that ends at the first word. */
  bool stops = letters[0] == '+';
  g_autofree char *quiet =
      g_strconcat (stops ? "+:" : ":", letters + stops, NULL);

  opterr = 0;
  int c = getopt_long (argc, argv, quiet, options, NULL);
  if (c == ':')
    (void) vp_img_misuse ("missing argument for option '%s'", argv[optind - 1]);
  else if (c == '?')
    (void) vp_img_misuse ("unrecognized option '%s'", argv[optind - 1]);
  return c == ':' ? '?' : c;
}

bool
vp_img_parse_output (const char *text, VpImgOutput *ret_output)
{
  if (strcmp (text, "human") == 0)
    *ret_output = VP_IMG_HUMAN;
  else if (strcmp (text, "json") == 0)
    *ret_output = VP_IMG_JSON;
  else {
    vp_img_complain ("--output must be used with human or json as argument.");
    return false;
  }
  return true;
}

bool
vp_img_find_cache (const char *text, VpFileCaching *ret_caching)
{
  static const struct {
    const char *name;
    VpFileCaching caching;
  } modes[] = {
    { "none", VP_FILE_CACHE_DROP },
    { "off", VP_FILE_CACHE_DROP },
    { "writeback", 0 },
    { "unsafe", VP_FILE_CACHE_UNSAFE },
    { "writethrough", VP_FILE_CACHE_THROUGH },
    { "directsync", VP_FILE_CACHE_DROP | VP_FILE_CACHE_THROUGH },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++)
    if (strcmp (modes[i].name, text) == 0) {
      *ret_caching = modes[i].caching;
      return true;
    }
  return false;
}

bool
vp_img_parse_cache (const char *text, const char *what,
                    VpFileCaching *ret_caching)
{
  if (vp_img_find_cache (text, ret_caching))
    return true;
  vp_img_complain ("Invalid %s option: %s", what, text);
  return false;
}

/* Digits and at most one suffix: a number, but none that fits. */
static bool
looks_like_number (const char *text)
{
  size_t len = strspn (text, "0123456789");

  return len > 0 &&
         (text[len] == '\0' || (strchr ("bkKmMgGtTpPeE", text[len]) != NULL &&
                                text[len + 1] == '\0'));
}

bool
vp_img_parse_number (const char *what, const char *text, uint64_t min,
                     uint64_t max, uint64_t *ret_number)
{
  bool known = vp_parse_size (text, ret_number, NULL);

  if (known && *ret_number >= min && *ret_number <= max)
    return true;
  if (known || looks_like_number (text)) {
    vp_img_complain ("Invalid %s specified. Must be between %" PRIu64
                     " and %" PRIu64 ".",
                     what, min, max);
    return false;
  }
  vp_img_complain ("Invalid %s specified. You may use k, M, G, T, P or E "
                   "suffixes for",
                   what);
  vp_img_complain ("kilobytes, megabytes, gigabytes, terabytes, petabytes and "
                   "exabytes.");
  return false;
}

bool
vp_img_parse_size (const char *text, uint64_t *ret_size)
{
  return vp_img_parse_number ("image size", text, 0, INT64_MAX, ret_size);
}

void
vp_img_split_options (GPtrArray *pairs, const char *text)
{
  while (*text != '\0') {
    g_autoptr (GString) item = g_string_new (NULL);
    for (; *text != '\0'; text++) {
      if (text[0] == ',' && text[1] != ',')
        break;
      if (text[0] == ',')
        text++; /* a doubled comma is one */
      g_string_append_c (item, *text);
    }
    if (*text == ',')
      text++;

    char *equals = strchr (item->str, '=');
    g_ptr_array_add (pairs, equals != NULL
                                ? g_strndup (item->str, equals - item->str)
                                : g_strdup (item->str));
    g_ptr_array_add (pairs, g_strdup (equals != NULL ? equals + 1 : "on"));
  }
}

bool
vp_img_wants_option_help (const GPtrArray *pairs)
{
  for (unsigned i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    if (strcmp (name, "help") == 0 || strcmp (name, "?") == 0)
      return true;
  }
  return false;
}

/* ---- sizes --------------------------------------------------------------- */

char *
vp_img_size_text (uint64_t size)
{
  static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
                                       "TiB", "PiB", "EiB" };
  unsigned i = 0;

  /* The next unit from a thousand on: never more than three digits. */
  while (i + 1 < G_N_ELEMENTS (units) && size >= UINT64_C (1000) << (10 * i))
    i++;
  return g_strdup_printf (
      "%.3g %s", (double) size / (double) (UINT64_C (1) << (10 * i)), units[i]);
}
