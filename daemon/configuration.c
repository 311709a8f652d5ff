/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* configuration: vprovd.conf, read once.
 *
 * The syntax is that of systemd's files: one [Daemon] section, Key=value,
 * comments from # or ; at the start of a line, an empty value for the
 * default.  GKeyFile is not used because it forgets the line numbers, and a
 * message without one costs a person's time.  All mistakes are told at once;
 * one mistake is enough to take nothing from the file. */
#include "config.h"

#include "daemon/configuration.h"

#include "daemon/error.h"

#include <gio/gio.h>

#include <pwd.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define SECTION   "Daemon"
#define MAX_BYTES (64 * 1024)

typedef enum {
  VALUE_PATH,
  VALUE_PATHS, /* separated by blanks */
  VALUE_URI,
  VALUE_BUS,
  VALUE_USER, /* empty: NULL */
  VALUE_BOOL,
  VALUE_NUMBER,
  VALUE_AUTO_APPLY,
} ValueKind;

typedef struct {
  const char *key;
  ValueKind kind;
  size_t offset; /* in VpConfig */
  unsigned min, max;
} Key;

static const Key keys[] = {
  { "SpecDirectories", VALUE_PATHS, offsetof (VpConfig, spec_dirs) },
  { "StateDirectory", VALUE_PATH, offsetof (VpConfig, state_dir) },
  { "RuntimeDirectory", VALUE_PATH, offsetof (VpConfig, runtime_dir) },
  { "LibvirtUri", VALUE_URI, offsetof (VpConfig, libvirt_uri) },
  { "Bus", VALUE_BUS, offsetof (VpConfig, bus) },
  { "WorkerProgram", VALUE_PATH, offsetof (VpConfig, worker_program) },
  { "WorkerUser", VALUE_USER, offsetof (VpConfig, worker_user) },
  { "ManageNetworks", VALUE_BOOL, offsetof (VpConfig, manage_networks) },
  { "AllowQemuCommandline", VALUE_BOOL,
    offsetof (VpConfig, allow_qemu_commandline) },
  { "AutoApply", VALUE_AUTO_APPLY, 0 },
  { "RescanSec", VALUE_NUMBER, offsetof (VpConfig, rescan_s), 1, 86400 },
  { "SettleMSec", VALUE_NUMBER, offsetof (VpConfig, settle_ms), 0, 10000 },
  { "ShutdownTimeoutSec", VALUE_NUMBER, offsetof (VpConfig, shutdown_timeout_s),
    1, 86400 },
  { "MaxJobs", VALUE_NUMBER, offsetof (VpConfig, max_jobs), 1, 64 },
};

typedef struct {
  VpConfig *config;
  const char *path;
  GString *mistakes;
  unsigned line;
  bool in_section, in_unknown_section;
  unsigned seen[G_N_ELEMENTS (keys)]; /* line of each key, 0: not stated */
} Reader;

/* The image worker runs as a user of its own, which the package makes; where
 * that is missing, still not as root. */
static char *
default_worker_user (void)
{
  if (geteuid () != 0)
    return NULL;
  return g_strdup (getpwnam ("vprovd-img") ? "vprovd-img" : "nobody");
}

static VpConfig *
config_new (void)
{
  static const char *const spec_dirs[] = { VP_SYSCONFDIR "/vprovd",
                                           "/run/vprovd",
                                           "/usr/local/lib/vprovd",
                                           "/usr/lib/vprovd", NULL };
  VpConfig *config = g_new0 (VpConfig, 1);

  config->spec_dirs = g_strdupv ((char **) spec_dirs);
  config->state_dir = g_strdup (VP_STATEDIR);
  config->runtime_dir = g_strdup ("/run/vprovd");
  config->libvirt_uri = g_strdup ("qemu:///system");
  config->bus = g_strdup ("system");
  config->worker_program = g_strdup (VP_BINDIR "/vprov-img");
  config->worker_user = default_worker_user ();
  config->manage_networks = true;
  config->apply_live = config->apply_create = config->apply_stop = true;
  config->rescan_s = 60;
  config->settle_ms = 50;
  config->shutdown_timeout_s = 90;
  config->max_jobs = 4;
  return config;
}

void
vp_config_free (VpConfig *config)
{
  if (!config)
    return;
  g_strfreev (config->spec_dirs);
  g_free (config->state_dir);
  g_free (config->runtime_dir);
  g_free (config->libvirt_uri);
  g_free (config->bus);
  g_free (config->worker_program);
  g_free (config->worker_user);
  g_free (config);
}

static void mistake (Reader *reader, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

static void
mistake (Reader *reader, const char *format, ...)
{
  va_list args;

  if (reader->mistakes->len > 0)
    g_string_append_c (reader->mistakes, '\n');
  g_string_append_printf (reader->mistakes, "%s:%u: ", reader->path,
                          reader->line);
  va_start (args, format);
  g_string_append_vprintf (reader->mistakes, format, args);
  va_end (args);
}

static bool
parse_bool (const char *text, bool *ret_value)
{
  static const struct {
    const char *word;
    bool value;
  } words[] = { { "yes", true },  { "true", true }, { "on", true },
                { "1", true },    { "no", false },  { "false", false },
                { "off", false }, { "0", false } };

  for (size_t i = 0; i < G_N_ELEMENTS (words); i++) {
    if (g_ascii_strcasecmp (text, words[i].word) == 0) {
      *ret_value = words[i].value;
      return true;
    }
  }
  return false;
}

static char **
split_words (const char *text, const char *separators)
{
  g_auto (GStrv) parts = g_strsplit_set (text, separators, -1);
  GPtrArray *words = g_ptr_array_new ();

  for (char **part = parts; *part; part++)
    if (**part)
      g_ptr_array_add (words, g_strdup (*part));
  g_ptr_array_add (words, NULL);
  return (char **) g_ptr_array_free (words, FALSE);
}

static void
set_string (char **place, const char *value)
{
  g_free (*place);
  *place = g_strdup (value);
}

static void
set_paths (Reader *reader, const Key *key, const char *value, char ***place)
{
  g_auto (GStrv) paths = split_words (value, " \t");

  for (char **path = paths; *path; path++) {
    if (!g_path_is_absolute (*path)) {
      mistake (reader, "%s=: \"%s\" is not an absolute path", key->key, *path);
      return;
    }
  }
  g_strfreev (*place);
  *place = g_steal_pointer (&paths);
}

static void
set_auto_apply (Reader *reader, const Key *key, const char *value)
{
  VpConfig *config = reader->config;
  g_auto (GStrv) words = split_words (value, ", \t");
  bool live = false, create = false, stop = false, none = false;

  for (char **word = words; *word; word++) {
    if (strcmp (*word, "live") == 0)
      live = true;
    else if (strcmp (*word, "create") == 0)
      create = true;
    else if (strcmp (*word, "stop") == 0)
      stop = true;
    else if (strcmp (*word, "none") == 0)
      none = true;
    else {
      mistake (reader,
               "%s=: \"%s\" is none of create, live, stop; or none alone",
               key->key, *word);
      return;
    }
  }
  if (none && (live || create || stop)) {
    mistake (reader, "%s=: \"none\" stands alone", key->key);
    return;
  }
  config->apply_live = live;
  config->apply_create = create;
  config->apply_stop = stop;
}

static void
set_number (Reader *reader, const Key *key, const char *value, unsigned *place)
{
  guint64 number;

  if (!g_ascii_string_to_unsigned (value, 10, key->min, key->max, &number,
                                   NULL)) {
    mistake (reader, "%s=: \"%s\" is not a number from %u to %u", key->key,
             value, key->min, key->max);
    return;
  }
  *place = (unsigned) number;
}

static void
set_value (Reader *reader, const Key *key, const char *value)
{
  void *place = (char *) reader->config + key->offset;

  switch (key->kind) {
  case VALUE_PATH:
    if (g_path_is_absolute (value))
      set_string (place, value);
    else
      mistake (reader, "%s=: \"%s\" is not an absolute path", key->key, value);
    break;
  case VALUE_PATHS: set_paths (reader, key, value, place); break;
  case VALUE_URI:
    if (strstr (value, ":/"))
      set_string (place, value);
    else
      mistake (reader,
               "%s=: \"%s\" is not a connection URI such as qemu:///system",
               key->key, value);
    break;
  case VALUE_BUS:
    if (strcmp (value, "system") == 0 || strcmp (value, "session") == 0 ||
        g_dbus_is_address (value))
      set_string (place, value);
    else
      mistake (reader,
               "%s=: \"%s\" is neither system, session nor a D-Bus address",
               key->key, value);
    break;
  case VALUE_USER: set_string (place, value); break;
  case VALUE_BOOL:
    if (!parse_bool (value, place))
      mistake (reader, "%s=: \"%s\" is neither yes nor no", key->key, value);
    break;
  case VALUE_NUMBER: set_number (reader, key, value, place); break;
  case VALUE_AUTO_APPLY: set_auto_apply (reader, key, value); break;
  default: g_return_if_reached ();
  }
}

static void
read_section (Reader *reader, const char *line)
{
  size_t len = strlen (line);

  reader->in_section = false;
  reader->in_unknown_section = true;
  if (line[len - 1] != ']') {
    mistake (reader, "the section's name lacks its \"]\"");
  } else if (len - 2 != strlen (SECTION) ||
             strncmp (line + 1, SECTION, len - 2) != 0) {
    mistake (reader, "unknown section %s, the only one is [" SECTION "]", line);
  } else {
    reader->in_section = true;
  }
}

static const Key *
find_key (Reader *reader, const char *name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (keys); i++)
    if (strcmp (keys[i].key, name) == 0)
      return &keys[i];
  for (size_t i = 0; i < G_N_ELEMENTS (keys); i++) {
    if (g_ascii_strcasecmp (keys[i].key, name) == 0) {
      mistake (reader, "unknown key \"%s\", it is spelled \"%s\"", name,
               keys[i].key);
      return NULL;
    }
  }
  mistake (reader, "unknown key \"%s\", see vprovd.conf(5)", name);
  return NULL;
}

static void
read_assignment (Reader *reader, char *line)
{
  char *equals = strchr (line, '=');
  const char *value;
  const Key *key;
  unsigned *seen;

  if (!equals) {
    mistake (reader, "\"%s\" is neither Key=value nor a [section]", line);
    return;
  }
  *equals = '\0';
  g_strchomp (line);
  value = g_strchug (equals + 1);
  key = find_key (reader, line);
  if (!key)
    return;

  seen = &reader->seen[key - keys];
  if (*seen != 0) {
    mistake (reader, "%s= is stated twice, first in line %u", key->key, *seen);
    return;
  }
  *seen = reader->line;
  if (*value)
    set_value (reader, key, value);
  else if (key->kind == VALUE_USER)
    set_string ((char **) &reader->config->worker_user, NULL);
}

static void
read_line (Reader *reader, char *line)
{
  g_strstrip (line);
  if (*line == '\0' || *line == '#' || *line == ';')
    return;
  if (*line == '[') {
    read_section (reader, line);
  } else if (reader->in_section) {
    read_assignment (reader, line);
  } else if (!reader->in_unknown_section) {
    mistake (reader, "\"%s\" is not below [" SECTION "]", line);
  }
}

static bool
read_text (VpConfig *config, const char *path, const char *text, size_t len,
           GError **error)
{
  g_autoptr (GString) mistakes = g_string_new (NULL);
  Reader reader = { .config = config, .path = path, .mistakes = mistakes };
  g_auto (GStrv) lines = NULL;

  if (len > MAX_BYTES || !g_utf8_validate (text, (gssize) len, NULL)) {
    g_set_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC,
                 "%s: not a text file of at most %d KiB", path,
                 MAX_BYTES / 1024);
    return false;
  }
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++) {
    reader.line++;
    read_line (&reader, *line);
  }
  if (mistakes->len > 0) {
    g_set_error_literal (error, VP_ERROR, VP_ERROR_INVALID_SPEC, mistakes->str);
    return false;
  }
  return true;
}

VpConfig *
vp_config_load (const char *path, GError **error)
{
  const char *file = path ? path : VP_SYSCONFDIR "/vprovd/vprovd.conf";
  g_autoptr (VpConfig) config = config_new ();
  g_autoptr (GError) local_error = NULL;
  g_autofree char *text = NULL;
  size_t len;

  if (!g_file_get_contents (file, &text, &len, &local_error)) {
    bool absent =
        g_error_matches (local_error, G_FILE_ERROR, G_FILE_ERROR_NOENT);

    if (absent && !path)
      return g_steal_pointer (&config);
    g_set_error_literal (error, G_IO_ERROR,
                         absent ? G_IO_ERROR_NOT_FOUND : G_IO_ERROR_FAILED,
                         local_error->message);
    return NULL;
  }
  if (!read_text (config, file, text, len, error))
    return NULL;
  return g_steal_pointer (&config);
}
