/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-spec: the files: verify, reload, adopt.
 *
 * adopt is the one verb that writes.  The file appears whole or not at all,
 * under a name that was free: a temporary file that no rule for spec files
 * matches, synced, linked to its name without replacing one, folder synced. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As the daemon's limit. */
#define TEXT_SIZE_MAX (1024 * 1024)

/* verify */

/* The folder that a spec lies in says what it is. */
static const char *
kind_of (const Ctl *ctl, const char *path)
{
  static const struct {
    const char *folder, *kind;
  } kinds[] = {
    { "networks", "network" },
    { "pools", "pool" },
    { "images", "image" },
  };
  g_autofree char *absolute = g_canonicalize_filename (path, NULL);
  g_autofree char *folder = g_path_get_dirname (absolute);
  g_autofree char *name = g_path_get_basename (folder);

  if (ctl->kind != NULL)
    return ctl->kind;
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (strcmp (kinds[i].folder, name) == 0)
      return kinds[i].kind;
  return "guest";
}

static GVariant *
verify_options (const Ctl *ctl, const char *path)
{
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *valid_path = g_utf8_make_valid (path, -1);
  g_autofree char *valid_name = NULL;
  GVariantBuilder options;

  if (g_str_has_suffix (name, ".xml"))
    name[strlen (name) - strlen (".xml")] = '\0';
  valid_name = g_utf8_make_valid (name, -1);
  g_variant_builder_init (&options, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&options, "{sv}", "kind",
                         g_variant_new_string (kind_of (ctl, path)));
  g_variant_builder_add (&options, "{sv}", "name",
                         g_variant_new_string (valid_name));
  g_variant_builder_add (&options, "{sv}", "path",
                         g_variant_new_string (valid_path));
  return g_variant_builder_end (&options);
}

/* The file's text.  A FIFO is not waited for and a device not read for ever:
 * the daemon takes regular files only. */
static bool
read_spec (const char *path, char **ret_text, size_t *ret_len)
{
  g_autoptr (GError) error = NULL;
  struct stat st;

  if (stat (path, &st) < 0)
    (void) ctl_complain ("%s: %s", path, g_strerror (errno));
  else if (!S_ISREG (st.st_mode))
    (void) ctl_complain ("%s: is not a regular file", path);
  else if (st.st_size > TEXT_SIZE_MAX)
    (void) ctl_complain ("%s: too long for a spec: %jd bytes", path,
                         (intmax_t) st.st_size);
  else if (!g_file_get_contents (path, ret_text, ret_len, &error))
    (void) ctl_complain ("%s", error->message);
  else
    return true;
  return false;
}

/* Adds the file's problems; false where it could not be asked about. */
static bool
verify_file (Ctl *ctl, const char *path, GVariantBuilder *all)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GVariant) problems = NULL;
  g_autofree char *text = NULL;
  size_t len;

  if (!read_spec (path, &text, &len))
    return false;
  reply =
      ctl_call_manager (ctl, "Verify",
                        g_variant_new ("(@ay@a{sv})",
                                       g_variant_new_fixed_array (
                                           G_VARIANT_TYPE_BYTE, text, len, 1),
                                       verify_options (ctl, path)),
                        "(aa{sv})", &error);
  if (reply == NULL) {
    (void) ctl_complain ("%s: %s", path, error->message);
    return false;
  }
  problems = g_variant_get_child_value (reply, 0);
  for (size_t i = 0; i < g_variant_n_children (problems); i++) {
    g_autoptr (GVariant) problem = g_variant_get_child_value (problems, i);

    g_variant_builder_add_value (all, problem);
  }
  return true;
}

static CtlExit
verify_all_files (Ctl *ctl, char **paths, GVariant **ret_problems)
{
  GVariantBuilder all;
  CtlExit result = CTL_OK;

  g_variant_builder_init (&all, G_VARIANT_TYPE ("aa{sv}"));
  for (char **path = paths; *path != NULL; path++)
    if (!verify_file (ctl, *path, &all))
      result = CTL_FAILED;
  *ret_problems = g_variant_ref_sink (g_variant_builder_end (&all));
  return result;
}

/* Adds what was not there yet: the Manager tells a file's problems and its
 * guest tells them too. */
static void
add_new (GVariantBuilder *all, GHashTable *seen, GVariant *owner)
{
  g_autoptr (GVariant) problems = ctl_records (owner, "Problems");
  Ctl plain = { 0 };

  for (size_t i = 0; i < g_variant_n_children (problems); i++) {
    g_autoptr (GVariant) problem = g_variant_get_child_value (problems, i);

    if (g_hash_table_add (seen, ctl_problem (&plain, problem)))
      g_variant_builder_add_value (all, problem);
  }
}

static GVariant *
get_problems (Ctl *ctl, GError **error)
{
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GVariant) manager =
      ctl_get_all (ctl, CTL_ROOT, CTL_MANAGER, error);
  g_autoptr (GPtrArray) guests = NULL;
  GVariantBuilder all;

  if (manager == NULL)
    return NULL;
  guests = ctl_list_guests (ctl, error);
  if (guests == NULL)
    return NULL;
  g_variant_builder_init (&all, G_VARIANT_TYPE ("aa{sv}"));
  add_new (&all, seen, manager);
  for (unsigned i = 0; i < guests->len; i++)
    add_new (&all, seen, g_ptr_array_index (guests, i));
  return g_variant_ref_sink (g_variant_builder_end (&all));
}

CtlExit
ctl_verify (Ctl *ctl, char **args)
{
  g_autoptr (GVariant) problems = NULL;
  g_autoptr (GError) error = NULL;
  CtlExit result = CTL_OK;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  if (args[0] != NULL)
    result = verify_all_files (ctl, args, &problems);
  else if ((problems = get_problems (ctl, &error)) == NULL)
    return ctl_complain ("%s", error->message);

  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, problems);
  else
    ctl_print_problems (ctl, stdout, problems);
  return ctl_have_error (problems) ? CTL_FAILED : result;
}

/* reload */

/* The problems of path alone, or of all files. */
static GVariant *
reload (Ctl *ctl, const char *path, GError **error)
{
  g_autoptr (GVariant) problems = NULL;
  g_autoptr (GVariant) reply = ctl_call_manager (
      ctl, "Reload", g_variant_new ("(@a{sv})", ctl_no_options ()), "(aa{sv})",
      error);
  GVariantBuilder list;

  if (reply == NULL)
    return NULL;
  problems = g_variant_get_child_value (reply, 0);
  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (size_t i = 0; i < g_variant_n_children (problems); i++) {
    g_autoptr (GVariant) problem = g_variant_get_child_value (problems, i);

    if (path == NULL || strcmp (ctl_text (problem, "path"), path) == 0)
      g_variant_builder_add_value (&list, problem);
  }
  return g_variant_ref_sink (g_variant_builder_end (&list));
}

static CtlExit
reload_and_tell (Ctl *ctl, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) problems = reload (ctl, path, &error);

  if (problems == NULL)
    return ctl_complain ("%s", error->message);
  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, problems);
  else
    ctl_print_problems (ctl, stderr, problems);
  return ctl_have_error (problems) ? CTL_FAILED : CTL_OK;
}

CtlExit
ctl_reload (Ctl *ctl, char **args)
{
  return ctl_reach (ctl) ? reload_and_tell (ctl, NULL) : CTL_FAILED;
}

/* adopt */

static bool
fail_errno (GError **error, const char *what, const char *name)
{
  int code = errno;

  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (code), "%s %s: %s",
               what, name, g_strerror (code));
  return false;
}

static bool
write_all (int fd, const char *text, size_t len)
{
  while (len > 0) {
    ssize_t n = write (fd, text, len);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    text += n;
    len -= (size_t) n;
  }
  return true;
}

static int
make_temporary (int folder, const char *name, char **ret_temporary)
{
  for (unsigned attempt = 0; attempt < 16; attempt++) {
    g_autofree char *temporary =
        g_strdup_printf (".%s.%08x", name, g_random_int ());
    int fd =
        openat (folder, temporary,
                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd >= 0) {
      *ret_temporary = g_steal_pointer (&temporary);
      return fd;
    }
    if (errno != EEXIST)
      break;
  }
  return -1;
}

/* link, not rename: it fails where the name is taken. */
static bool
write_new (int folder, const char *name, const char *text, GError **error)
{
  g_autofree char *temporary = NULL;
  int fd = make_temporary (folder, name, &temporary);
  bool success;

  if (fd < 0)
    return fail_errno (error, "cannot create", name);
  success = write_all (fd, text, strlen (text)) && fsync (fd) == 0;
  if (!success)
    (void) fail_errno (error, "cannot write", name);
  if (close (fd) != 0 && success)
    success = fail_errno (error, "cannot write", name);
  if (success && linkat (folder, temporary, folder, name, 0) != 0)
    success = fail_errno (error, "cannot create", name);
  /* The temporary name is of no use in either case. */
  (void) unlinkat (folder, temporary, 0);
  if (success && fsync (folder) != 0)
    success = fail_errno (error, "cannot sync the folder of", name);
  return success;
}

/* As the daemon's rule for names of guests; the name becomes a file's. */
static bool
is_name (const char *name)
{
  size_t len = strlen (name);

  return len >= 1 && len <= 63 && g_ascii_isalnum (name[0]) &&
         strspn (name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789._-") == len;
}

static bool
write_spec (const char *directory, const char *domain, const char *text,
            GError **error)
{
  g_autofree char *name = g_strdup_printf ("%s.xml", domain);
  int folder;
  bool success;

  if (g_mkdir_with_parents (directory, 0755) != 0)
    return fail_errno (error, "cannot create", directory);
  folder = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0)
    return fail_errno (error, "cannot open", directory);
  success = write_new (folder, name, text, error);
  (void) close (folder);
  return success;
}

CtlExit
ctl_adopt (Ctl *ctl, char **args)
{
  const char *domain = args[0];
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autofree char *file = NULL;
  g_autofree char *path = NULL;
  const char *text;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  reply = ctl_call_manager (
      ctl, "Adopt", g_variant_new ("(s@a{sv})", domain, ctl_no_options ()),
      "(s)", &error);
  if (reply == NULL)
    return ctl_complain ("adopt %s: %s", domain, error->message);
  g_variant_get (reply, "(&s)", &text);
  if (ctl->print) {
    (void) fputs (text, stdout);
    return CTL_OK;
  }
  if (!is_name (domain))
    return ctl_complain ("adopt %s: a guest cannot have this name; rename the "
                         "domain, or see 'vprovctl adopt --print'",
                         domain);
  if (!write_spec (ctl->directory, domain, text, &error))
    return ctl_complain ("adopt %s: %s", domain, error->message);
  file = g_strdup_printf ("%s.xml", domain);
  path = g_build_filename (ctl->directory, file, NULL);
  if (!ctl->quiet && ctl->json == CTL_JSON_OFF)
    (void) printf ("Wrote %s.\n", path);
  return reload_and_tell (ctl, path);
}
