/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-monitor: news as lines, until Ctrl-C.
 *
 * A line is made of a record (when, what, who, and what else the signal says),
 * printed as words or as one JSON object; there is one function that prints.
 * The first line tells whether the daemon is there: all that comes later is
 * heard. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <glib-unix.h>

typedef struct {
  Ctl *ctl;
  GMainLoop *loop;
  CtlExit result;
} Monitor;

typedef struct {
  const char *key, *value;
} Field;

/* fields end with a NULL key; empty values are left out. */
static void
print_news (Monitor *monitor, const char *what, const char *who,
            const Field *fields)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_local ();
  g_autofree char *time = g_date_time_format (now, "%Y-%m-%dT%H:%M:%S%:z");
  GVariantBuilder record;

  if (monitor->ctl->json == CTL_JSON_OFF) {
    g_autofree char *clock = g_date_time_format (now, "%H:%M:%S");

    (void) printf ("%s %-8s %s%s%s", clock, what,
                   ctl_colour (monitor->ctl, CTL_BOLD), who,
                   ctl_no_colour (monitor->ctl));
    for (; fields->key != NULL; fields++) {
      g_autofree char *safe = ctl_safe (fields->value);

      if (*safe != '\0')
        (void) printf (" %s%s%s", fields->key, *fields->key != '\0' ? "=" : "",
                       safe);
    }
    (void) putchar ('\n');
  } else {
    g_variant_builder_init (&record, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add (&record, "{sv}", "time",
                           g_variant_new_string (time));
    g_variant_builder_add (&record, "{sv}", "what",
                           g_variant_new_string (what));
    g_variant_builder_add (&record, "{sv}", "who", g_variant_new_string (who));
    for (; fields->key != NULL; fields++)
      if (*fields->value != '\0')
        g_variant_builder_add (&record, "{sv}",
                               *fields->key != '\0' ? fields->key : "event",
                               g_variant_new_string (fields->value));
    ctl_print_json (monitor->ctl, g_variant_builder_end (&record));
  }
  (void) fflush (stdout);
}

static void
tell_job (Monitor *monitor, const char *signal, GVariant *parameters)
{
  const char *path, *guest, *fourth, *message = "";
  g_autofree char *number = NULL;
  uint32_t id;

  if (strcmp (signal, "JobNew") == 0) {
    g_variant_get (parameters, "(u&o&s&s)", &id, &path, &guest, &fourth);
    number = g_strdup_printf ("%u", id);
    print_news (
        monitor, "job", number,
        (const Field[]){
            { "", "new" }, { "guest", guest }, { "verb", fourth }, { NULL } });
    return;
  }
  g_variant_get (parameters, "(u&o&s&s&s)", &id, &path, &guest, &fourth,
                 &message);
  number = g_strdup_printf ("%u", id);
  print_news (monitor, "job", number,
              (const Field[]){ { "", fourth },
                               { "guest", guest },
                               { "message", message },
                               { NULL } });
}

static void
on_manager (GDBusConnection *connection, const char *sender, const char *path,
            const char *interface, const char *signal, GVariant *parameters,
            gpointer user_data)
{
  Monitor *monitor = user_data;

  if (strcmp (signal, "JobNew") == 0 || strcmp (signal, "JobRemoved") == 0) {
    tell_job (monitor, signal, parameters);
  } else if (strcmp (signal, "GuestEvent") == 0) {
    const char *guest, *event;

    g_variant_get (parameters, "(&s&s@a{sv})", &guest, &event, NULL);
    print_news (monitor, "guest", guest,
                (const Field[]){ { "", event }, { NULL } });
  } else if (strcmp (signal, "Reloading") == 0) {
    gboolean active;

    g_variant_get (parameters, "(b)", &active);
    print_news (
        monitor, "daemon", "vprovd",
        (const Field[]){ { "", active ? "reloading" : "reloaded" }, { NULL } });
  }
}

/* "web-1" from ".../guest/web_2d1"; NULL where it is no guest's path. */
static char *
guest_of (const char *path)
{
  const char *prefix = CTL_ROOT "/guest/";
  GString *name;

  if (!g_str_has_prefix (path, prefix))
    return NULL;
  name = g_string_new (NULL);
  for (const char *p = path + strlen (prefix); *p != '\0'; p++)
    if (*p == '_' && g_ascii_isxdigit (p[1]) && g_ascii_isxdigit (p[2])) {
      g_string_append_c (name, (char) (g_ascii_xdigit_value (p[1]) * 16 +
                                       g_ascii_xdigit_value (p[2])));
      p += 2;
    } else {
      g_string_append_c (name, *p);
    }
  return g_string_free (name, FALSE);
}

static void
on_properties (GDBusConnection *connection, const char *sender,
               const char *path, const char *interface, const char *signal,
               GVariant *parameters, gpointer user_data)
{
  Monitor *monitor = user_data;
  g_autofree char *guest = guest_of (path);
  g_autoptr (GVariant) changed = NULL;
  Field fields[] = { { "state", "" }, { "sync", "" }, { NULL } };

  g_variant_get (parameters, "(&s@a{sv}@as)", NULL, &changed, NULL);
  fields[0].value = ctl_text (changed, "State");
  fields[1].value = ctl_text (changed, "Sync");
  if (*fields[0].value == '\0' && *fields[1].value == '\0')
    return;
  if (guest != NULL)
    print_news (monitor, "guest", guest, fields);
  else if (strcmp (path, CTL_ROOT) == 0)
    print_news (monitor, "daemon", "vprovd", fields);
}

static void
on_objects (GDBusConnection *connection, const char *sender, const char *path,
            const char *interface, const char *signal, GVariant *parameters,
            gpointer user_data)
{
  bool added = strcmp (signal, "InterfacesAdded") == 0;
  g_autofree char *guest = NULL;
  const char *object;

  g_variant_get_child (parameters, 0, "&o", &object);
  guest = guest_of (object);
  if (guest != NULL)
    print_news (
        user_data, "guest", guest,
        (const Field[]){ { "", added ? "added" : "removed" }, { NULL } });
}

static void
on_appeared (GDBusConnection *connection, const char *name, const char *owner,
             gpointer user_data)
{
  print_news (user_data, "daemon", "vprovd",
              (const Field[]){ { "", "there" }, { NULL } });
}

static void
on_vanished (GDBusConnection *connection, const char *name, gpointer user_data)
{
  Monitor *monitor = user_data;

  if (g_dbus_connection_is_closed (monitor->ctl->connection))
    return;
  print_news (monitor, "daemon", "vprovd",
              (const Field[]){ { "", "gone" }, { NULL } });
}

static void
on_closed (GDBusConnection *connection, gboolean vanished, GError *error,
           Monitor *monitor)
{
  monitor->result = ctl_complain ("the message bus went away");
  g_main_loop_quit (monitor->loop);
}

static gboolean
on_signal (gpointer user_data)
{
  g_main_loop_quit (((Monitor *) user_data)->loop);
  return G_SOURCE_CONTINUE;
}

CtlExit
ctl_monitor (Ctl *ctl, char **args)
{
  Monitor monitor = { .ctl = ctl };
  unsigned watch, interrupt, terminate;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  monitor.loop = g_main_loop_new (NULL, false);
  (void) g_dbus_connection_signal_subscribe (
      ctl->connection, CTL_NAME, CTL_MANAGER, NULL, CTL_ROOT, NULL,
      G_DBUS_SIGNAL_FLAGS_NONE, on_manager, &monitor, NULL);
  (void) g_dbus_connection_signal_subscribe (
      ctl->connection, CTL_NAME, "org.freedesktop.DBus.Properties",
      "PropertiesChanged", NULL, NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_properties,
      &monitor, NULL);
  (void) g_dbus_connection_signal_subscribe (
      ctl->connection, CTL_NAME, "org.freedesktop.DBus.ObjectManager", NULL,
      CTL_ROOT, NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_objects, &monitor, NULL);
  (void) g_signal_connect (ctl->connection, "closed", G_CALLBACK (on_closed),
                           &monitor);
  watch = g_bus_watch_name_on_connection (
      ctl->connection, CTL_NAME, G_BUS_NAME_WATCHER_FLAGS_NONE, on_appeared,
      on_vanished, &monitor, NULL);
  interrupt = g_unix_signal_add (SIGINT, on_signal, &monitor);
  terminate = g_unix_signal_add (SIGTERM, on_signal, &monitor);

  g_main_loop_run (monitor.loop);

  (void) g_source_remove (interrupt);
  (void) g_source_remove (terminate);
  g_bus_unwatch_name (watch);
  (void) g_signal_handlers_disconnect_by_data (ctl->connection, &monitor);
  (void) g_dbus_connection_close_sync (ctl->connection, NULL, NULL);
  g_main_loop_unref (monitor.loop);
  return monitor.result;
}
