/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-guest: list, status, cat, start, stop. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* list */

/* "FIRST, +2 more" of one key of a list of records. */
static char *
first_of (GVariant *guest, const char *property, const char *key)
{
  g_autoptr (GVariant) records = ctl_records (guest, property);
  size_t n = g_variant_n_children (records);
  g_autoptr (GVariant) first = NULL;

  if (n == 0)
    return g_strdup ("");
  first = g_variant_get_child_value (records, 0);
  if (n == 1)
    return g_strdup (ctl_text (first, key));
  return g_strdup_printf ("%s, +%zu", ctl_text (first, key), n - 1);
}

static unsigned
count_of (GVariant *guest, const char *property, const char *key,
          const char *value)
{
  g_autoptr (GVariant) records = ctl_records (guest, property);
  unsigned n = 0;

  for (size_t i = 0; i < g_variant_n_children (records); i++) {
    g_autoptr (GVariant) record = g_variant_get_child_value (records, i);

    n += strcmp (ctl_text (record, key), value) == 0;
  }
  return n;
}

static void
add_count (GString *text, unsigned n, const char *noun)
{
  if (n > 0)
    g_string_append_printf (text, ", %u %s%s", n, noun, n > 1 ? "s" : "");
}

/* What needs a look: problems of the file, forwards that do not work, an
 * error, a restart that is due. */
static char *
notes (GVariant *guest)
{
  const char *error_name = "", *message = "";
  GString *text = g_string_new (NULL);

  add_count (text, count_of (guest, "Problems", "severity", "error"), "error");
  add_count (text, count_of (guest, "Problems", "severity", "warning"),
             "warning");
  add_count (text,
             count_of (guest, "Forwards", "state", "conflict") +
                 count_of (guest, "Forwards", "state", "failed"),
             "dead forward");
  (void) g_variant_lookup (guest, "LastError", "(&s&s)", &error_name, &message);
  if (*error_name != '\0')
    g_string_append (text, ", last job failed");
  if (ctl_bool (guest, "RestartRequired"))
    g_string_append (text, ", restart required");
  if (text->len > 0)
    (void) g_string_erase (text, 0, 2);
  return g_string_free (text, FALSE);
}

static void
add_guest (CtlTable *table, GVariant *guest)
{
  const char *state = ctl_text (guest, "State");
  const char *sync = ctl_text (guest, "Sync");
  g_autofree char *address = first_of (guest, "Addresses", "address");
  g_autofree char *forward = first_of (guest, "Forwards", "words");
  g_autofree char *problems = notes (guest);

  ctl_table_add (table, ctl_text (guest, "Name"), CTL_PLAIN);
  ctl_table_add (table, state, ctl_colour_of (state));
  ctl_table_add (table, sync, ctl_colour_of (sync));
  ctl_table_add (table, address, CTL_PLAIN);
  ctl_table_add (table, forward, CTL_PLAIN);
  ctl_table_add (table, problems, *problems != '\0' ? CTL_YELLOW : CTL_PLAIN);
}

CtlExit
ctl_list (Ctl *ctl, char **args)
{
  static const char *const heads[] = { "NAME",    "STATE",    "SYNC",
                                       "ADDRESS", "FORWARDS", "PROBLEMS",
                                       NULL };
  g_autoptr (CtlTable) table = ctl_table_new (heads);
  g_autoptr (GPtrArray) guests = NULL;
  g_autoptr (GError) error = NULL;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  guests = ctl_list_guests (ctl, &error);
  if (guests == NULL)
    return ctl_complain ("%s", error->message);
  if (ctl->json != CTL_JSON_OFF) {
    ctl_print_json (ctl, ctl_list_of (guests));
    return CTL_OK;
  }
  for (unsigned i = 0; i < guests->len; i++)
    add_guest (table, g_ptr_array_index (guests, i));
  ctl_table_print (ctl, table, "guests");
  return CTL_OK;
}

/* status */

/* "   Label: text", and lines that continue it. */
static void
print_field (const char *label, const char *text)
{
  g_autofree char *head =
      *label != '\0' ? g_strdup_printf ("%s:", label) : g_strdup ("");

  (void) printf ("%11s %s\n", head, text);
}

static void
print_coloured (const Ctl *ctl, const char *label, const char *word,
                const char *rest)
{
  g_autofree char *safe_word = ctl_safe (word);
  g_autofree char *safe_rest = ctl_safe (rest);
  CtlColour colour = ctl_colour_of (word);
  g_autofree char *text = g_strdup_printf (
      "%s%s%s%s", ctl_colour (ctl, colour), safe_word,
      colour != CTL_PLAIN ? ctl_no_colour (ctl) : "", safe_rest);

  print_field (label, text);
}

static void
print_safe (const char *label, const char *text)
{
  g_autofree char *safe = ctl_safe (text);

  if (*safe != '\0')
    print_field (label, safe);
}

/* One line for each record; print_one gets the label for the first only. */
static void
print_each (const Ctl *ctl, GVariant *owner, const char *property,
            const char *label,
            void (*print_one) (const Ctl *ctl, const char *label,
                               GVariant *record))
{
  g_autoptr (GVariant) records = ctl_records (owner, property);

  for (size_t i = 0; i < g_variant_n_children (records); i++) {
    g_autoptr (GVariant) record = g_variant_get_child_value (records, i);

    print_one (ctl, i == 0 ? label : "", record);
  }
}

static void
print_address (const Ctl *ctl, const char *label, GVariant *address)
{
  g_autofree char *text =
      g_strdup_printf ("%s on %s, %s (%s)", ctl_text (address, "address"),
                       ctl_text (address, "nic"), ctl_text (address, "mac"),
                       ctl_text (address, "source"));

  print_safe (label, text);
}

static void
print_forward (const Ctl *ctl, const char *label, GVariant *forward)
{
  const char *state = ctl_text (forward, "state");
  const char *reason = ctl_text (forward, "reason");
  g_autofree char *words = ctl_safe (ctl_text (forward, "words"));
  g_autofree char *safe_reason = ctl_safe (reason);
  CtlColour colour = ctl_colour_of (state);
  g_autofree char *text =
      g_strdup_printf ("%s, %s%s%s%s%s", words, ctl_colour (ctl, colour), state,
                       colour != CTL_PLAIN ? ctl_no_colour (ctl) : "",
                       *safe_reason != '\0' ? ": " : "", safe_reason);

  print_field (label, text);
}

static void
print_problem (const Ctl *ctl, const char *label, GVariant *problem)
{
  g_autofree char *text = ctl_problem (ctl, problem);

  print_field (label, text);
}

static void
print_state (const Ctl *ctl, GVariant *guest)
{
  const char *state = ctl_text (guest, "State");
  const char *wanted = ctl_text (guest, "DesiredState");
  const char *sub_state = ctl_text (guest, "SubState");
  uint64_t started = ctl_number (guest, "StartTimestamp");
  GString *rest = g_string_new (NULL);

  if (*sub_state != '\0')
    g_string_append_printf (rest, " (%s)", sub_state);
  if (started != 0) {
    g_autofree char *time = ctl_time (started);

    g_string_append_printf (rest, " since %s", time);
  }
  /* What was never made does not run either. */
  if (*wanted != '\0' && strcmp (wanted, state) != 0 &&
      (strcmp (wanted, "stopped") != 0 || strcmp (state, "undefined") != 0))
    g_string_append_printf (rest, ", should be %s", wanted);
  print_coloured (ctl, "State", state, rest->str);
  (void) g_string_free (rest, true);
}

static void
print_last_error (const Ctl *ctl, GVariant *guest)
{
  const char *name = "", *message = "";
  g_autofree char *text = NULL;

  (void) g_variant_lookup (guest, "LastError", "(&s&s)", &name, &message);
  if (*name == '\0' && *message == '\0')
    return;
  if (g_str_has_prefix (name, CTL_NAME ".Error."))
    name += strlen (CTL_NAME ".Error.");
  text = g_strdup_printf (": %s (%s)", message, name);
  print_coloured (ctl, "Last job", "failed", text);
}

static void
print_guest (const Ctl *ctl, GVariant *guest)
{
  const char *state = ctl_text (guest, "State");
  const char *name = ctl_text (guest, "Name");
  g_autofree char *description = ctl_safe (ctl_text (guest, "Description"));
  g_autofree const char **pending = NULL;
  uint64_t restarts = ctl_number (guest, "NRestarts");

  (void) printf ("%s●%s %s%s%s%s%s\n", ctl_colour (ctl, ctl_colour_of (state)),
                 ctl_no_colour (ctl), ctl_colour (ctl, CTL_BOLD), name,
                 ctl_no_colour (ctl), *description != '\0' ? " - " : "",
                 description);
  print_safe ("Spec", ctl_text (guest, "SourcePath"));
  print_state (ctl, guest);
  print_coloured (ctl, "Sync", ctl_text (guest, "Sync"), "");
  print_safe ("UUID", ctl_text (guest, "Uuid"));
  print_safe ("Accel", ctl_text (guest, "Accel"));
  print_each (ctl, guest, "Addresses", "Address", print_address);
  print_each (ctl, guest, "Forwards", "Forwards", print_forward);
  if (restarts > 0) {
    g_autofree char *text =
        g_strdup_printf ("%" G_GUINT64_FORMAT " after crashes", restarts);

    print_field ("Restarts", text);
  }
  if (g_variant_lookup (guest, "PendingChanges", "^a&s", &pending))
    for (size_t i = 0; pending[i] != NULL; i++)
      print_safe (i == 0 ? "Pending" : "", pending[i]);
  if (ctl_bool (guest, "RestartRequired"))
    print_coloured (ctl, "Restart", "required", " before this takes effect");
  print_each (ctl, guest, "Problems", "Problems", print_problem);
  print_last_error (ctl, guest);
}

static void
print_manager (const Ctl *ctl, GVariant *manager)
{
  const char *state = ctl_text (manager, "State");
  bool connected = ctl_bool (manager, "LibvirtConnected");
  uint64_t reconciled = ctl_number (manager, "LastReconcileTimestamp");
  g_autofree char *uri = ctl_safe (ctl_text (manager, "LibvirtUri"));
  GString *guests = g_string_new (NULL);
  static const struct {
    const char *property, *words;
  } counts[] = {
    { "NGuestsRunning", "running" },
    { "NGuestsFailed", "failed" },
    { "NGuestsInvalid", "with an invalid file" },
    { "NGuestsRestartRequired", "to be restarted" },
  };

  g_string_append_printf (guests, "%" G_GUINT64_FORMAT,
                          ctl_number (manager, "NGuests"));
  for (size_t i = 0; i < G_N_ELEMENTS (counts); i++) {
    uint64_t n = ctl_number (manager, counts[i].property);

    if (n > 0 || i == 0)
      g_string_append_printf (guests, ", %" G_GUINT64_FORMAT " %s", n,
                              counts[i].words);
  }
  (void) printf ("%s●%s %svprovd%s %s\n",
                 ctl_colour (ctl, ctl_colour_of (state)), ctl_no_colour (ctl),
                 ctl_colour (ctl, CTL_BOLD), ctl_no_colour (ctl),
                 ctl_text (manager, "Version"));
  print_coloured (ctl, "State", state,
                  strcmp (state, "paused") == 0
                      ? ": many files vanished at once, no guest is stopped "
                        "(the journal says more); 'vprovctl apply' if it is "
                        "meant so"
                      : "");
  print_coloured (ctl, "Libvirt", uri,
                  connected ? " (connected)" : " (does not answer)");
  print_field ("Guests", guests->str);
  if (reconciled != 0) {
    g_autofree char *time = ctl_time (reconciled);

    print_field ("Reconciled", time);
  }
  print_each (ctl, manager, "Problems", "Problems", print_problem);
  (void) g_string_free (guests, true);
}

static CtlExit
status_of_manager (Ctl *ctl)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) manager =
      ctl_get_all (ctl, CTL_ROOT, CTL_MANAGER, &error);

  if (manager == NULL)
    return ctl_complain ("%s", error->message);
  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, manager);
  else
    print_manager (ctl, manager);
  return CTL_OK;
}

static GVariant *
get_guest (Ctl *ctl, const char *name, GError **error)
{
  g_autofree char *path = ctl_find_guest (ctl, name, error);

  return path != NULL ? ctl_get_all (ctl, path, CTL_GUEST, error) : NULL;
}

CtlExit
ctl_status (Ctl *ctl, char **args)
{
  g_autoptr (GPtrArray) guests =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_variant_unref);
  CtlExit result = CTL_OK;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  if (args[0] == NULL)
    return status_of_manager (ctl);
  for (char **name = args; *name != NULL; name++) {
    g_autoptr (GError) error = NULL;
    GVariant *guest = get_guest (ctl, *name, &error);

    if (guest == NULL) {
      result = ctl_complain ("%s: %s", *name, error->message);
      continue;
    }
    if (ctl->json == CTL_JSON_OFF) {
      if (guests->len > 0)
        (void) putchar ('\n');
      print_guest (ctl, guest);
    }
    if (result == CTL_OK && strcmp (ctl_text (guest, "State"), "running") != 0)
      result = CTL_NOT_RUNNING;
    g_ptr_array_add (guests, guest);
  }
  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, ctl_list_of (guests));
  return result;
}

/* cat */

static bool
cat_one (Ctl *ctl, const char *name, GVariantBuilder *list, GError **error)
{
  g_autofree char *path = ctl_find_guest (ctl, name, error);
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GVariant) guest = NULL;
  const char *spec;

  if (path == NULL)
    return false;
  reply =
      ctl_call (ctl, path, CTL_GUEST, "GetSpec",
                g_variant_new ("(@a{sv})", ctl_no_options ()), "(s)", error);
  if (reply == NULL)
    return false;
  guest = ctl_get_all (ctl, path, CTL_GUEST, error);
  if (guest == NULL)
    return false;
  g_variant_get (reply, "(&s)", &spec);
  if (ctl->json != CTL_JSON_OFF) {
    g_variant_builder_open (list, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add (list, "{sv}", "name", g_variant_new_string (name));
    g_variant_builder_add (
        list, "{sv}", "path",
        g_variant_new_string (ctl_text (guest, "SourcePath")));
    g_variant_builder_add (list, "{sv}", "spec", g_variant_new_string (spec));
    g_variant_builder_close (list);
    return true;
  }
  /* A heading for a person; in a pipe nothing may stand before <?xml. */
  if (isatty (STDOUT_FILENO)) {
    g_autofree char *source = ctl_safe (ctl_text (guest, "SourcePath"));

    (void) printf ("%s<!-- %s -->%s\n", ctl_colour (ctl, CTL_BOLD), source,
                   ctl_no_colour (ctl));
  }
  (void) fputs (spec, stdout);
  if (!g_str_has_suffix (spec, "\n"))
    (void) putchar ('\n');
  return true;
}

CtlExit
ctl_cat (Ctl *ctl, char **args)
{
  CtlExit result = CTL_OK;
  GVariantBuilder list;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (char **name = args; *name != NULL; name++) {
    g_autoptr (GError) error = NULL;

    if (!cat_one (ctl, *name, &list, &error))
      result = ctl_complain ("%s: %s", *name, error->message);
  }
  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, g_variant_builder_end (&list));
  else
    g_variant_builder_clear (&list);
  return result;
}

/* start, stop */

static bool
begin_one (Ctl *ctl, CtlWait *wait, const char *method, const char *name,
           GError **error)
{
  g_autofree char *path = ctl_find_guest (ctl, name, error);
  g_autofree char *verb = g_ascii_strdown (method, -1);
  g_autofree char *words = g_strdup_printf ("%s %s", verb, name);
  g_autoptr (GVariant) reply = NULL;
  const char *job;

  if (path == NULL)
    return false;
  reply =
      ctl_call (ctl, path, CTL_GUEST, method,
                g_variant_new ("(@a{sv})", ctl_no_options ()), "(o)", error);
  if (reply == NULL)
    return false;
  g_variant_get (reply, "(&o)", &job);
  ctl_wait_add (wait, job, words);
  return true;
}

static CtlExit
begin_all (Ctl *ctl, const char *method, char **names)
{
  g_autoptr (CtlWait) wait = NULL;
  CtlExit result = CTL_OK;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  wait = ctl_wait_new (ctl);
  for (char **name = names; *name != NULL; name++) {
    g_autoptr (GError) error = NULL;

    if (!begin_one (ctl, wait, method, *name, &error))
      result = ctl_complain ("%s: %s", *name, error->message);
  }
  if (ctl->block && !ctl_wait_run (wait))
    result = CTL_FAILED;
  return result;
}

CtlExit
ctl_start (Ctl *ctl, char **args)
{
  return begin_all (ctl, "Start", args);
}

CtlExit
ctl_stop (Ctl *ctl, char **args)
{
  return begin_all (ctl, "Stop", args);
}
