/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* log: see the header. */
#include "config.h"

#include "daemon/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#define FIELDS_MAX 10

typedef struct {
  struct iovec vec[FIELDS_MAX];
  int n;
} Entry;

static void G_GNUC_PRINTF (2, 3) add (Entry *entry, const char *format, ...)
{
  va_list args;
  char *text = NULL;

  g_return_if_fail (entry->n < FIELDS_MAX);
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  entry->vec[entry->n].iov_base = text;
  entry->vec[entry->n].iov_len = strlen (text);
  entry->n++;
}

static bool
stderr_is_journal (void)
{
  return g_log_writer_is_journald (STDERR_FILENO);
}

/* Sends and frees.  A journal that cannot be reached is no reason to fail. */
static void
submit (Entry *entry, VpLogLevel level, const char *message)
{
  if (stderr_is_journal ()) {
    add (entry, "MESSAGE=%s", message);
    add (entry, "PRIORITY=%u", level);
    add (entry, "SYSLOG_IDENTIFIER=vprovd");
    (void) sd_journal_sendv (entry->vec, entry->n);
  } else {
    fprintf (stderr, "vprovd: %s%s\n",
             level == VP_LOG_ERROR     ? "error: "
             : level == VP_LOG_WARNING ? "warning: "
                                       : "",
             message);
  }
  for (int i = 0; i < entry->n; i++)
    g_free (entry->vec[i].iov_base);
}

void
vp_log (VpLogLevel level, const char *message_id, const char *guest,
        const char *step, const char *format, ...)
{
  g_autofree char *message = NULL;
  Entry entry = { .n = 0 };
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  if (message_id != NULL)
    add (&entry, "MESSAGE_ID=%s", message_id);
  if (guest != NULL)
    add (&entry, "VPROV_GUEST=%s", guest);
  if (step != NULL)
    add (&entry, "VPROV_STEP=%s", step);
  submit (&entry, level, message);
}

void
vp_log_problem (const VpProblem *problem)
{
  g_autofree char *message = vp_problem_to_string (problem);
  Entry entry = { .n = 0 };

  add (&entry, "MESSAGE_ID=%s", VP_MESSAGE_INVALID_SPEC);
  add (&entry, "VPROV_PATH=%s", problem->path);
  add (&entry, "VPROV_LINE=%u", problem->place.line);
  add (&entry, "VPROV_COLUMN=%u", problem->place.column);
  submit (&entry,
          problem->severity == VP_SEVERITY_ERROR ? VP_LOG_ERROR
                                                 : VP_LOG_WARNING,
          message);
}

static VpLogLevel
level_of (GLogLevelFlags flags)
{
  if ((flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0)
    return VP_LOG_ERROR;
  if ((flags & G_LOG_LEVEL_WARNING) != 0)
    return VP_LOG_WARNING;
  if ((flags & G_LOG_LEVEL_MESSAGE) != 0)
    return VP_LOG_NOTICE;
  return (flags & G_LOG_LEVEL_INFO) != 0 ? VP_LOG_INFO : VP_LOG_DEBUG;
}

static GLogWriterOutput
write_glib (GLogLevelFlags flags, const GLogField *fields, gsize n_fields,
            gpointer user_data)
{
  VpLogLevel level = level_of (flags);

  if (level == VP_LOG_DEBUG || level == VP_LOG_INFO)
    return G_LOG_WRITER_HANDLED;
  for (gsize i = 0; i < n_fields; i++)
    if (g_str_equal (fields[i].key, "MESSAGE") && fields[i].length < 0)
      vp_log (level, NULL, NULL, NULL, "%s", (const char *) fields[i].value);
  return G_LOG_WRITER_HANDLED;
}

void
vp_log_init (void)
{
  g_log_set_writer_func (write_glib, NULL, NULL);
}
