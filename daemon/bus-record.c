/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* bus-record: each record is a function that adds its keys to a dictionary.
 * The keys are documented in org.vprovd1.xml; they are only ever added to. */
#include "config.h"

#include "daemon/bus-record.h"

#include <string.h>

char *
vp_bus_text (const char *text)
{
  return text != NULL ? g_utf8_make_valid (text, -1) : g_strdup ("");
}

static char *
encode_path (const char *prefix, const char *name)
{
  GString *path = g_string_new (prefix);

  if (*name == '\0')
    g_string_append_c (path, '_');
  for (const char *p = name; *p != '\0'; p++)
    if (g_ascii_isalpha (*p) || (p > name && g_ascii_isdigit (*p)))
      g_string_append_c (path, *p);
    else
      g_string_append_printf (path, "_%02x", (unsigned char) *p);
  return g_string_free (path, FALSE);
}

char *
vp_bus_guest_path (const char *guest)
{
  return encode_path (VP_BUS_ROOT "/guest/", guest);
}

char *
vp_bus_job_path (unsigned id)
{
  return g_strdup_printf (VP_BUS_ROOT "/job/%u", id);
}

static void
add_text (GVariantBuilder *record, const char *key, const char *text)
{
  g_variant_builder_add (record, "{sv}", key,
                         g_variant_new_take_string (vp_bus_text (text)));
}

static void
add_number (GVariantBuilder *record, const char *key, uint32_t number)
{
  g_variant_builder_add (record, "{sv}", key, g_variant_new_uint32 (number));
}

static void
add_bool (GVariantBuilder *record, const char *key, bool value)
{
  g_variant_builder_add (record, "{sv}", key, g_variant_new_boolean (value));
}

static void
add_problem (GVariantBuilder *record, const VpProblem *problem)
{
  add_text (record, "path", problem->path);
  add_number (record, "line", problem->place.line);
  add_number (record, "column", problem->place.column);
  add_text (record, "severity",
            problem->severity == VP_SEVERITY_ERROR ? "error" : "warning");
  add_text (record, "code", problem->code);
  add_text (record, "message", problem->message);
}

static void
add_address (GVariantBuilder *record, const VpGuestAddress *address)
{
  bool ipv6 = address->address != NULL && strchr (address->address, ':');

  add_text (record, "nic", address->nic);
  add_text (record, "family", ipv6 ? "ipv6" : "ipv4");
  add_text (record, "address", address->address);
  add_text (record, "mac", address->mac);
  add_text (record, "source", address->source);
}

static void
add_step (GVariantBuilder *record, const VpStep *step)
{
  g_autofree char *words = vp_step_to_string (step);

  add_text (record, "guest", step->guest);
  add_text (record, "kind", vp_step_kind_to_string (step->kind));
  add_text (record, "subject", step->subject);
  add_text (record, "before", step->before);
  add_text (record, "after", step->after);
  add_text (record, "risk", vp_risk_to_string (step->risk));
  add_text (record, "words", words);
}

static void
add_check (GVariantBuilder *record, const VpForwardCheck *check)
{
  add_text (record, "link", check->link);
  add_bool (record, "ok", check->ok);
  add_text (record, "detail", check->detail);
  add_text (record, "cure", check->cure);
}

static void
add_forward (GVariantBuilder *record, const VpForwardStatus *forward,
             const char *words)
{
  add_text (record, "id", forward->id);
  add_text (record, "words", words);
  add_text (record, "state", vp_forward_state_to_string (forward->state));
  add_text (record, "reason", forward->reason);
}

GVariant *
vp_bus_problems (const GPtrArray *problems)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; problems != NULL && i < problems->len; i++) {
    g_variant_builder_open (&list, G_VARIANT_TYPE_VARDICT);
    add_problem (&list, g_ptr_array_index (problems, i));
    g_variant_builder_close (&list);
  }
  return g_variant_builder_end (&list);
}

GVariant *
vp_bus_addresses (const GPtrArray *addresses)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; addresses != NULL && i < addresses->len; i++) {
    g_variant_builder_open (&list, G_VARIANT_TYPE_VARDICT);
    add_address (&list, g_ptr_array_index (addresses, i));
    g_variant_builder_close (&list);
  }
  return g_variant_builder_end (&list);
}

GVariant *
vp_bus_steps (const GPtrArray *steps)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; steps != NULL && i < steps->len; i++) {
    g_variant_builder_open (&list, G_VARIANT_TYPE_VARDICT);
    add_number (&list, "id", i + 1);
    add_step (&list, g_ptr_array_index (steps, i));
    g_variant_builder_close (&list);
  }
  return g_variant_builder_end (&list);
}

GVariant *
vp_bus_checks (const GPtrArray *checks)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (unsigned i = 0; checks != NULL && i < checks->len; i++) {
    g_variant_builder_open (&list, G_VARIANT_TYPE_VARDICT);
    add_check (&list, g_ptr_array_index (checks, i));
    g_variant_builder_close (&list);
  }
  return g_variant_builder_end (&list);
}

static void
add_forwards (GVariantBuilder *list, const VpGuestStatus *status,
              const char *guest)
{
  const GPtrArray *forwards = status->forwards;
  const GPtrArray *words = status->forward_words;

  for (unsigned i = 0; forwards != NULL && i < forwards->len; i++) {
    g_variant_builder_open (list, G_VARIANT_TYPE_VARDICT);
    if (guest != NULL)
      add_text (list, "guest", guest);
    add_forward (list, g_ptr_array_index (forwards, i),
                 words != NULL && i < words->len ? g_ptr_array_index (words, i)
                                                 : NULL);
    g_variant_builder_close (list);
  }
}

GVariant *
vp_bus_forwards (const VpGuestStatus *status)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  add_forwards (&list, status, NULL);
  return g_variant_builder_end (&list);
}

void
vp_bus_add_forwards (GVariantBuilder *builder, const VpGuestStatus *status)
{
  add_forwards (builder, status, status->name);
}

GVariant *
vp_bus_error (const char *name, const char *message)
{
  g_autofree char *valid_name = vp_bus_text (name);
  g_autofree char *valid_message = vp_bus_text (message);

  return g_variant_new ("(ss)", valid_name, valid_message);
}
