/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store-journal: one append-only file for each running job, a line before and
 * after every step, on the disk before the step goes on.  A journal that is
 * found at start says what a crash cut off; what to do about it is planned
 * anew from what is really there, the journal is for the person. */
#include "config.h"

#include "daemon/store-private.h"

#include <gio/gio.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct VpJournal {
  int folder_fd; /* borrowed from the store, which outlives every job */
  int fd;
  char *guest;
  char *path;
};

VpJournal *
vp_store_journal_open (VpStore *store, const char *guest, GError **error)
{
  int fd = vp_folder_create (store->jobs, guest, error);
  VpJournal *journal;

  if (fd < 0)
    return NULL;
  journal = g_new0 (VpJournal, 1);
  journal->folder_fd = vp_folder_get_fd (store->jobs);
  journal->fd = fd;
  journal->guest = g_strdup (guest);
  journal->path =
      g_build_filename (vp_folder_get_path (store->jobs), guest, NULL);
  return journal;
}

bool
vp_journal_write (VpJournal *journal, const char *what, const VpStep *step,
                  GError **error)
{
  g_autofree char *fields = vp_step_to_line (step);
  g_autofree char *line = g_strdup_printf ("%s\t%s\n", what, fields);

  if (vp_write_all (journal->fd, line, strlen (line)) &&
      fdatasync (journal->fd) == 0)
    return true;
  g_set_error (error, G_IO_ERROR, (int) g_io_error_from_errno (errno),
               "%s: cannot write the job's journal: %s", journal->path,
               g_strerror (errno));
  return false;
}

void
vp_journal_close (VpJournal *journal, bool finished)
{
  if (!journal)
    return;
  close (journal->fd);
  /* A journal that stays is found and removed at the next start. */
  if (finished)
    (void) unlinkat (journal->folder_fd, journal->guest, 0);
  g_free (journal->guest);
  g_free (journal->path);
  g_free (journal);
}

/* The last line that was written to its end; "" where there is none. */
static char *
last_line (const char *text, size_t len)
{
  const char *end = g_strrstr_len (text, (gssize) len, "\n");
  const char *start;

  if (!end)
    return g_strdup ("");
  start = g_strrstr_len (text, end - text, "\n");
  start = start ? start + 1 : text;
  return g_strndup (start, (size_t) (end - start));
}

GHashTable *
vp_store_list_journals (VpStore *store, GError **error)
{
  g_autoptr (GPtrArray) names = vp_folder_list (store->jobs, error);
  g_autoptr (GHashTable) journals = NULL;

  if (!names)
    return NULL;
  journals = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (unsigned i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    size_t len;
    /* One that cannot be read still says that a job was cut. */
    g_autofree char *text = vp_folder_read (store->jobs, name, &len, NULL);

    g_hash_table_insert (journals, g_strdup (name),
                         text ? last_line (text, len) : g_strdup (""));
  }
  return g_steal_pointer (&journals);
}

bool
vp_store_remove_journal (VpStore *store, const char *guest, GError **error)
{
  return vp_folder_remove (store->jobs, guest, error);
}
