/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-print: words, tables, colours and JSON. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

CtlExit
ctl_complain (const char *format, ...)
{
  g_autofree char *message = NULL;
  g_autofree char *safe = NULL;
  va_list arguments;

  va_start (arguments, format);
  message = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  safe = ctl_safe (message);
  (void) fflush (stdout);
  (void) fprintf (stderr, "vprovctl: %s\n", safe);
  return CTL_FAILED;
}

static const char *
sequence (CtlColour colour)
{
  static const char *const sequences[] = {
    [CTL_PLAIN] = "",           [CTL_BOLD] = "\033[1m",
    [CTL_GREEN] = "\033[1;32m", [CTL_YELLOW] = "\033[1;33m",
    [CTL_RED] = "\033[1;31m",
  };

  return sequences[colour];
}

const char *
ctl_colour (const Ctl *ctl, CtlColour colour)
{
  return ctl->colour ? sequence (colour) : "";
}

const char *
ctl_no_colour (const Ctl *ctl)
{
  return ctl->colour ? "\033[0m" : "";
}

CtlColour
ctl_colour_of (const char *word)
{
  static const struct {
    const char *word;
    CtlColour colour;
  } words[] = {
    { "running", CTL_GREEN },   { "synced", CTL_GREEN },
    { "active", CTL_GREEN },    { "starting", CTL_YELLOW },
    { "stopping", CTL_YELLOW }, { "paused", CTL_YELLOW },
    { "pending", CTL_YELLOW },  { "reconciling", CTL_YELLOW },
    { "restart", CTL_YELLOW },  { "required", CTL_YELLOW },
    { "warning", CTL_YELLOW },  { "crashed", CTL_RED },
    { "failed", CTL_RED },      { "invalid", CTL_RED },
    { "conflict", CTL_RED },    { "degraded", CTL_RED },
    { "data-loss", CTL_RED },   { "error", CTL_RED },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (words); i++)
    if (strcmp (words[i].word, word) == 0)
      return words[i].colour;
  return CTL_PLAIN;
}

char *
ctl_safe (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *safe = g_string_new (NULL);

  for (const char *p = valid; *p != '\0'; p = g_utf8_next_char (p)) {
    gunichar character = g_utf8_get_char (p);

    if (character == '\n' || character == '\t')
      g_string_append_c (safe, ' ');
    else if (g_unichar_iscntrl (character))
      g_string_append_c (safe, '?');
    else
      g_string_append_unichar (safe, character);
  }
  return g_string_free (safe, FALSE);
}

/* Tables */

struct CtlTable {
  const char *const *heads;
  unsigned columns;
  GPtrArray *texts;
  GArray *colours;
};

CtlTable *
ctl_table_new (const char *const *heads)
{
  CtlTable *table = g_new0 (CtlTable, 1);

  table->heads = heads;
  table->columns = g_strv_length ((char **) heads);
  table->texts = g_ptr_array_new_with_free_func (g_free);
  table->colours = g_array_new (false, false, sizeof (CtlColour));
  return table;
}

void
ctl_table_free (CtlTable *table)
{
  if (table == NULL)
    return;
  g_ptr_array_unref (table->texts);
  g_array_unref (table->colours);
  g_free (table);
}

void
ctl_table_add (CtlTable *table, const char *text, CtlColour colour)
{
  g_ptr_array_add (table->texts,
                   *text != '\0' ? ctl_safe (text) : g_strdup ("-"));
  g_array_append_val (table->colours, colour);
}

unsigned
ctl_table_rows (const CtlTable *table)
{
  return table->texts->len / table->columns;
}

static void
print_cell (const Ctl *ctl, const char *text, CtlColour colour, long width,
            bool last)
{
  long pad = last ? 0 : width - g_utf8_strlen (text, -1) + 2;

  (void) printf ("%s%s%s%*s", ctl_colour (ctl, colour), text,
                 colour != CTL_PLAIN ? ctl_no_colour (ctl) : "", (int) pad, "");
}

static void
print_row (const Ctl *ctl, const CtlTable *table, const char *const *texts,
           const CtlColour *colours, const long *widths)
{
  for (unsigned i = 0; i < table->columns; i++)
    print_cell (ctl, texts[i], colours != NULL ? colours[i] : CTL_BOLD,
                widths[i], i + 1 == table->columns);
  (void) putchar ('\n');
}

void
ctl_table_print (const Ctl *ctl, const CtlTable *table, const char *noun)
{
  unsigned rows = ctl_table_rows (table);
  g_autofree long *widths = g_new0 (long, table->columns);

  if (rows == 0) {
    if (ctl->legend)
      (void) printf ("No %s.\n", noun);
    return;
  }
  for (unsigned i = 0; i < table->columns; i++)
    widths[i] = ctl->legend ? (long) strlen (table->heads[i]) : 0;
  for (unsigned i = 0; i < table->texts->len; i++) {
    long width = g_utf8_strlen (g_ptr_array_index (table->texts, i), -1);

    widths[i % table->columns] = MAX (widths[i % table->columns], width);
  }
  if (ctl->legend)
    print_row (ctl, table, table->heads, NULL, widths);
  for (unsigned row = 0; row < rows; row++)
    print_row (ctl, table,
               (const char *const *) table->texts->pdata + row * table->columns,
               &g_array_index (table->colours, CtlColour, row * table->columns),
               widths);
  if (ctl->legend)
    (void) printf ("\n%u %.*s listed.\n", rows,
                   (int) strlen (noun) - (rows == 1 ? 1 : 0), noun);
}

/* Words */

static char *
span (int64_t seconds)
{
  if (seconds < 60)
    return g_strdup_printf ("%ds", (int) MAX (seconds, 0));
  if (seconds < 3600)
    return g_strdup_printf ("%dmin %ds", (int) (seconds / 60),
                            (int) (seconds % 60));
  if (seconds < 86400)
    return g_strdup_printf ("%dh %dmin", (int) (seconds / 3600),
                            (int) (seconds / 60 % 60));
  return g_strdup_printf ("%d days", (int) (seconds / 86400));
}

char *
ctl_time (uint64_t usec)
{
  g_autoptr (GDateTime) time =
      g_date_time_new_from_unix_local ((int64_t) (usec / G_USEC_PER_SEC));
  g_autofree char *date = NULL;
  g_autofree char *ago =
      span ((g_get_real_time () - (int64_t) usec) / G_USEC_PER_SEC);

  if (time == NULL)
    return g_strdup ("an unknown time");
  date = g_date_time_format (time, "%a %Y-%m-%d %H:%M:%S %Z");
  return g_strdup_printf ("%s; %s ago", date, ago);
}

char *
ctl_problem (const Ctl *ctl, GVariant *problem)
{
  const char *severity = ctl_text (problem, "severity");
  g_autofree char *path = ctl_safe (ctl_text (problem, "path"));
  g_autofree char *message = ctl_safe (ctl_text (problem, "message"));
  uint64_t line = ctl_number (problem, "line");
  uint64_t column = ctl_number (problem, "column");
  GString *text = g_string_new (path);

  if (line != 0)
    g_string_append_printf (text, ":%" G_GUINT64_FORMAT, line);
  if (line != 0 && column != 0)
    g_string_append_printf (text, ":%" G_GUINT64_FORMAT, column);
  g_string_append_printf (text, ": %s%s:%s %s",
                          ctl_colour (ctl, ctl_colour_of (severity)), severity,
                          ctl_no_colour (ctl), message);
  return g_string_free (text, FALSE);
}

void
ctl_print_problems (const Ctl *ctl, FILE *file, GVariant *problems)
{
  GVariantIter iter;
  GVariant *problem;

  (void) fflush (stdout);
  g_variant_iter_init (&iter, problems);
  while ((problem = g_variant_iter_next_value (&iter)) != NULL) {
    g_autofree char *text = ctl_problem (ctl, problem);

    (void) fprintf (file, "%s\n", text);
    g_variant_unref (problem);
  }
}

bool
ctl_have_error (GVariant *problems)
{
  GVariantIter iter;
  GVariant *problem;
  bool found = false;

  g_variant_iter_init (&iter, problems);
  while ((problem = g_variant_iter_next_value (&iter)) != NULL) {
    found |= strcmp (ctl_text (problem, "severity"), "error") == 0;
    g_variant_unref (problem);
  }
  return found;
}

/* JSON */

static void
json_string (GString *json, const char *text)
{
  g_string_append_c (json, '"');
  for (const char *p = text; *p != '\0'; p++)
    if (*p == '"' || *p == '\\')
      g_string_append_printf (json, "\\%c", *p);
    else if (*p == '\n')
      g_string_append (json, "\\n");
    else if (*p == '\t')
      g_string_append (json, "\\t");
    else if ((unsigned char) *p < 0x20 || *p == 0x7f)
      g_string_append_printf (json, "\\u%04x", (unsigned char) *p);
    else
      g_string_append_c (json, *p);
  g_string_append_c (json, '"');
}

/* "SubState", "progress-valid" and "NGuests" become sub_state,
 * progress_valid, n_guests: one spelling, whoever wrote the key. */
static void
json_key (GString *json, const char *key)
{
  g_string_append_c (json, '"');
  for (const char *p = key; *p != '\0'; p++) {
    bool starts = g_ascii_isupper (*p) && p > key && p[-1] != '_' &&
                  (!g_ascii_isupper (p[-1]) || g_ascii_islower (p[1]));

    if (starts)
      g_string_append_c (json, '_');
    g_string_append_c (json, *p == '-' ? '_' : g_ascii_tolower (*p));
  }
  g_string_append_c (json, '"');
}

static void
json_indent (GString *json, int indent)
{
  if (indent >= 0)
    g_string_append_printf (json, "\n%*s", indent, "");
}

static void json_value (GString *json, GVariant *value, int indent);

static void
json_container (GString *json, GVariant *value, int indent)
{
  bool object = g_variant_is_of_type (value, G_VARIANT_TYPE_DICTIONARY);
  size_t n = g_variant_n_children (value);
  int inner = indent >= 0 ? indent + 2 : indent;

  g_string_append_c (json, object ? '{' : '[');
  for (size_t i = 0; i < n; i++) {
    g_autoptr (GVariant) child = g_variant_get_child_value (value, i);

    if (i > 0)
      g_string_append_c (json, ',');
    json_indent (json, inner);
    if (object) {
      g_autoptr (GVariant) key = g_variant_get_child_value (child, 0);
      g_autoptr (GVariant) content = g_variant_get_child_value (child, 1);

      json_key (json, g_variant_get_string (key, NULL));
      g_string_append (json, indent >= 0 ? ": " : ":");
      json_value (json, content, inner);
    } else {
      json_value (json, child, inner);
    }
  }
  if (n > 0)
    json_indent (json, indent);
  g_string_append_c (json, object ? '}' : ']');
}

/* An error, (ss): null where there is none. */
static void
json_error (GString *json, GVariant *value)
{
  const char *name, *message;

  g_variant_get (value, "(&s&s)", &name, &message);
  if (*name == '\0' && *message == '\0') {
    g_string_append (json, "null");
    return;
  }
  g_string_append (json, "{\"name\":");
  json_string (json, name);
  g_string_append (json, ",\"message\":");
  json_string (json, message);
  g_string_append_c (json, '}');
}

static void
json_number (GString *json, double number)
{
  char buffer[G_ASCII_DTOSTR_BUF_SIZE];

  if (!isfinite (number))
    g_string_append (json, "null");
  else
    g_string_append (json, g_ascii_dtostr (buffer, sizeof buffer, number));
}

static void
json_value (GString *json, GVariant *value, int indent)
{
  g_autoptr (GVariant) inner = NULL;

  if (g_variant_is_of_type (value, G_VARIANT_TYPE_VARIANT)) {
    inner = g_variant_get_variant (value);
    json_value (json, inner, indent);
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_STRING) ||
             g_variant_is_of_type (value, G_VARIANT_TYPE_OBJECT_PATH)) {
    json_string (json, g_variant_get_string (value, NULL));
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_BOOLEAN)) {
    g_string_append (json, g_variant_get_boolean (value) ? "true" : "false");
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_UINT32)) {
    g_string_append_printf (json, "%u", g_variant_get_uint32 (value));
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_UINT64)) {
    g_string_append_printf (json, "%" G_GUINT64_FORMAT,
                            g_variant_get_uint64 (value));
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_DOUBLE)) {
    json_number (json, g_variant_get_double (value));
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE ("(ss)"))) {
    json_error (json, value);
  } else if (g_variant_is_of_type (value, G_VARIANT_TYPE_ARRAY)) {
    json_container (json, value, indent);
  } else {
    /* A later daemon's property of a type that we do not know. */
    g_autofree char *text = g_variant_print (value, false);

    json_string (json, text);
  }
}

char *
ctl_to_json (GVariant *value, bool pretty)
{
  g_autoptr (GVariant) owned = g_variant_ref_sink (value);
  GString *json = g_string_new (NULL);

  json_value (json, owned, pretty ? 0 : -1);
  return g_string_free (json, FALSE);
}

void
ctl_print_json (const Ctl *ctl, GVariant *value)
{
  g_autofree char *json = ctl_to_json (value, ctl->json == CTL_JSON_PRETTY);

  (void) printf ("%s\n", json);
}

GVariant *
ctl_list_of (const GPtrArray *records)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; i < records->len; i++)
    g_variant_builder_add_value (&list, g_ptr_array_index (records, i));
  return g_variant_builder_end (&list);
}
