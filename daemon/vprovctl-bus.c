/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-bus: calls to the daemon, and its errors in words that say what to
 * do next. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <string.h>

/* Planning asks the hypervisor, a check of a forward waits for a connection:
 * longer than D-Bus's 25 seconds. */
#define CALL_TIMEOUT_MS 120000

bool
ctl_connect (Ctl *ctl, GError **error)
{
  g_autofree char *found = NULL;
  const char *address = ctl->address;

  if (ctl->connection != NULL)
    return true;
  if (strcmp (address, "system") == 0 || strcmp (address, "session") == 0) {
    GBusType type = strcmp (address, "system") == 0 ? G_BUS_TYPE_SYSTEM
                                                    : G_BUS_TYPE_SESSION;

    found = g_dbus_address_get_for_bus_sync (type, NULL, error);
    if (found == NULL)
      return false;
    address = found;
  }
  ctl->connection = g_dbus_connection_new_for_address_sync (
      address,
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, error);
  if (ctl->connection == NULL)
    return false;
  g_dbus_connection_set_exit_on_close (ctl->connection, false);
  return true;
}

bool
ctl_reach (Ctl *ctl)
{
  g_autoptr (GError) error = NULL;

  if (ctl_connect (ctl, &error))
    return true;
  g_dbus_error_strip_remote_error (error);
  (void) ctl_complain ("cannot reach the %s bus: %s",
                       strchr (ctl->address, ':') ? "given" : ctl->address,
                       error->message);
  return false;
}

static bool
is_absence (const GError *error)
{
  static const int codes[] = {
    G_DBUS_ERROR_SERVICE_UNKNOWN,      G_DBUS_ERROR_NAME_HAS_NO_OWNER,
    G_DBUS_ERROR_SPAWN_EXEC_FAILED,    G_DBUS_ERROR_SPAWN_FORK_FAILED,
    G_DBUS_ERROR_SPAWN_CHILD_EXITED,   G_DBUS_ERROR_SPAWN_CHILD_SIGNALED,
    G_DBUS_ERROR_SPAWN_FAILED,         G_DBUS_ERROR_SPAWN_SETUP_FAILED,
    G_DBUS_ERROR_SPAWN_CONFIG_INVALID, G_DBUS_ERROR_SPAWN_SERVICE_INVALID,
  };

  for (size_t i = 0; i < G_N_ELEMENTS (codes); i++)
    if (g_error_matches (error, G_DBUS_ERROR, codes[i]))
      return true;
  return g_dbus_error_is_remote_error (error) &&
         strstr (error->message, "org.freedesktop.systemd1.") != NULL;
}

static void
set_words (GError **error, GError *found)
{
  g_autofree char *name = g_dbus_error_get_remote_error (found);

  if (is_absence (found)) {
    g_set_error (error, found->domain, found->code,
                 "vprovd does not run; start it with "
                 "'systemctl enable --now vprovd'");
    g_error_free (found);
    return;
  }
  if (g_error_matches (found, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY) ||
      g_error_matches (found, G_IO_ERROR, G_IO_ERROR_CLOSED)) {
    g_set_error (error, found->domain, found->code,
                 "vprovd went away before it answered");
    g_error_free (found);
    return;
  }
  if (g_error_matches (found, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) ||
      g_error_matches (found, G_DBUS_ERROR, G_DBUS_ERROR_TIMEOUT)) {
    g_set_error (error, found->domain, found->code,
                 "vprovd did not answer within %d seconds",
                 CALL_TIMEOUT_MS / 1000);
    g_error_free (found);
    return;
  }
  g_dbus_error_strip_remote_error (found);
  g_propagate_error (error, found);
  if (g_strcmp0 (name, CTL_NAME ".Error.NotAuthorized") == 0) {
    g_autofree char *message = g_strdup ((*error)->message);

    g_free ((*error)->message);
    (*error)->message = g_strdup_printf ("%s; try it with sudo", message);
  }
}

GVariant *
ctl_call (Ctl *ctl, const char *path, const char *interface, const char *method,
          GVariant *parameters, const char *reply_type, GError **error)
{
  GError *found = NULL;
  GVariant *reply;

  reply = g_dbus_connection_call_sync (
      ctl->connection, CTL_NAME, path, interface, method, parameters,
      reply_type != NULL ? G_VARIANT_TYPE (reply_type) : NULL,
      G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, CALL_TIMEOUT_MS, NULL,
      &found);
  if (reply == NULL) {
    /* Callers branch on PlanStale, so its name must outlive the words. */
    g_autofree char *name = g_dbus_error_get_remote_error (found);

    if (g_strcmp0 (name, CTL_NAME ".Error.PlanStale") == 0) {
      g_dbus_error_strip_remote_error (found);
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_BUSY, found->message);
      g_error_free (found);
    } else {
      set_words (error, found);
    }
  }
  return reply;
}

GVariant *
ctl_call_manager (Ctl *ctl, const char *method, GVariant *parameters,
                  const char *reply_type, GError **error)
{
  return ctl_call (ctl, CTL_ROOT, CTL_MANAGER, method, parameters, reply_type,
                   error);
}

GVariant *
ctl_no_options (void)
{
  return g_variant_new ("a{sv}", NULL);
}

GVariant *
ctl_get_all (Ctl *ctl, const char *path, const char *interface, GError **error)
{
  g_autoptr (GVariant) reply =
      ctl_call (ctl, path, "org.freedesktop.DBus.Properties", "GetAll",
                g_variant_new ("(s)", interface), "(a{sv})", error);

  return reply != NULL ? g_variant_get_child_value (reply, 0) : NULL;
}

char *
ctl_find_guest (Ctl *ctl, const char *name, GError **error)
{
  g_autoptr (GVariant) reply = NULL;
  char *path;

  if (!g_utf8_validate (name, -1, NULL)) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                 "that is no name of a guest");
    return NULL;
  }
  reply = ctl_call_manager (
      ctl, "GetGuest", g_variant_new ("(s@a{sv})", name, ctl_no_options ()),
      "(o)", error);
  if (reply == NULL)
    return NULL;
  g_variant_get (reply, "(o)", &path);
  return path;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (ctl_text (*(GVariant *const *) a, "Name"),
                 ctl_text (*(GVariant *const *) b, "Name"));
}

GPtrArray *
ctl_list_guests (Ctl *ctl, GError **error)
{
  GPtrArray *guests;
  g_autoptr (GVariant) objects = NULL;
  g_autoptr (GVariant) reply =
      ctl_call (ctl, CTL_ROOT, "org.freedesktop.DBus.ObjectManager",
                "GetManagedObjects", NULL, "(a{oa{sa{sv}}})", error);
  GVariantIter iter;
  GVariant *interfaces;

  if (reply == NULL)
    return NULL;
  guests = g_ptr_array_new_with_free_func ((GDestroyNotify) g_variant_unref);
  objects = g_variant_get_child_value (reply, 0);
  g_variant_iter_init (&iter, objects);
  while (g_variant_iter_next (&iter, "{&o@a{sa{sv}}}", NULL, &interfaces)) {
    GVariant *guest =
        g_variant_lookup_value (interfaces, CTL_GUEST, G_VARIANT_TYPE_VARDICT);

    if (guest != NULL)
      g_ptr_array_add (guests, guest);
    g_variant_unref (interfaces);
  }
  g_ptr_array_sort (guests, compare_names);
  return guests;
}

const char *
ctl_text (GVariant *record, const char *key)
{
  const char *text = "";

  if (!g_variant_lookup (record, key, "&s", &text))
    (void) g_variant_lookup (record, key, "&o", &text);
  return text;
}

uint64_t
ctl_number (GVariant *record, const char *key)
{
  uint64_t wide = 0;
  uint32_t narrow = 0;

  if (g_variant_lookup (record, key, "u", &narrow))
    return narrow;
  (void) g_variant_lookup (record, key, "t", &wide);
  return wide;
}

bool
ctl_bool (GVariant *record, const char *key)
{
  gboolean value = false;

  (void) g_variant_lookup (record, key, "b", &value);
  return value;
}

GVariant *
ctl_records (GVariant *record, const char *key)
{
  GVariant *list =
      g_variant_lookup_value (record, key, G_VARIANT_TYPE ("aa{sv}"));

  return list != NULL ? list
                      : g_variant_ref_sink (g_variant_new ("aa{sv}", NULL));
}
