/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog: see the header.
 *
 * Every file that was seen is remembered by its bytes, so that the same bytes
 * again cost nothing.  A file with mistakes is tried again at every update:
 * its mistake may be that something else was missing. */
#include "config.h"

#include "daemon/catalog-private.h"

#include <string.h>

static void
seen_free (Seen *seen)
{
  g_free (seen->path);
  g_free (seen->text);
  g_ptr_array_unref (seen->problems);
  g_free (seen);
}

static void
catalog_guest_free (VpCatalogGuest *guest)
{
  g_free (guest->name);
  g_free (guest->path);
  vp_guest_unref (guest->spec);
  vp_guest_unref (guest->resolved);
  g_ptr_array_unref (guest->problems);
  vp_guest_record_free (guest->record);
  g_free (guest->fresh_warning);
  g_free (guest);
}

void
vp_catalog_change_free (VpCatalogChange *change)
{
  if (change == NULL)
    return;
  g_ptr_array_unref (change->changed);
  g_ptr_array_unref (change->returned);
  g_ptr_array_unref (change->vanished);
  g_free (change);
}

static GHashTable *
name_table (GDestroyNotify free_value)
{
  return g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_value);
}

void
vp_catalog_change_merge (VpCatalogChange *change, const VpCatalogChange *more)
{
  for (guint i = 0; i < more->changed->len; i++)
    g_ptr_array_add (change->changed,
                     g_strdup (g_ptr_array_index (more->changed, i)));
  change->net_changed |= more->net_changed;
}

VpCatalog *
vp_catalog_new (const VpConfig *config, VpStore *store)
{
  VpCatalog *catalog = g_new0 (VpCatalog, 1);

  catalog->config = config;
  catalog->store = store;
  catalog->default_pool =
      g_build_filename (vp_store_get_path (store), "pools", "default", NULL);
  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++)
    catalog->seen[i] = name_table ((GDestroyNotify) seen_free);
  catalog->guests = name_table ((GDestroyNotify) catalog_guest_free);
  catalog->networks = name_table ((GDestroyNotify) vp_net_free);
  catalog->pools = name_table ((GDestroyNotify) vp_pool_spec_free);
  catalog->images = name_table ((GDestroyNotify) vp_image_spec_free);
  catalog->addresses = name_table (g_free);
  return catalog;
}

void
vp_catalog_free (VpCatalog *catalog)
{
  if (catalog == NULL)
    return;
  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++)
    g_hash_table_unref (catalog->seen[i]);
  g_hash_table_unref (catalog->guests);
  g_hash_table_unref (catalog->networks);
  g_hash_table_unref (catalog->pools);
  g_hash_table_unref (catalog->images);
  g_hash_table_unref (catalog->addresses);
  g_free (catalog->default_pool);
  g_free (catalog);
}

/* ---- Updates. ---- */

static Seen *
ensure_seen (VpCatalog *catalog, VpSpecKind kind, const char *name)
{
  Seen *seen = g_hash_table_lookup (catalog->seen[kind], name);

  if (seen == NULL) {
    seen = g_new0 (Seen, 1);
    seen->problems = vp_problems_new ();
    g_hash_table_insert (catalog->seen[kind], g_strdup (name), seen);
  }
  return seen;
}

static bool
same_bytes (const Seen *seen, const VpSpecFile *file)
{
  return seen->text != NULL && seen->len == file->len &&
         g_strcmp0 (seen->path, file->path) == 0 &&
         memcmp (seen->text, file->text, file->len) == 0;
}

/* True where the file must be looked at. */
static bool
take_file (VpCatalog *catalog, const VpSpecFile *file, Seen *seen)
{
  bool same = file->problem == NULL && same_bytes (seen, file);

  seen->there = true;
  if (file->problem != NULL) {
    g_ptr_array_set_size (seen->problems, 0);
    g_ptr_array_add (seen->problems, vp_problem_copy (file->problem));
    g_free (seen->path);
    seen->path = g_strdup (file->path);
    if (file->kind == VP_SPEC_GUEST) {
      VpCatalogGuest *guest =
          vp_catalog_ensure_guest (catalog, file->name, file->path);

      guest->there = true;
      g_ptr_array_set_size (guest->problems, 0);
      g_ptr_array_add (guest->problems, vp_problem_copy (file->problem));
    }
    return false;
  }
  if (same && seen->problems->len == 0)
    return false;
  if (!same) {
    g_free (seen->path);
    g_free (seen->text);
    seen->path = g_strdup (file->path);
    seen->text = g_memdup2 (file->text, file->len + 1);
    seen->len = file->len;
  }
  return true;
}

static void
update_parts (VpCatalog *catalog, const VpSpecScan *scan,
              VpCatalogChange *change, bool *ret_any)
{
  for (guint i = 0; i < scan->files->len; i++) {
    const VpSpecFile *file = g_ptr_array_index (scan->files, i);
    Seen *seen = NULL;

    if (file->kind == VP_SPEC_GUEST)
      continue;
    seen = ensure_seen (catalog, file->kind, file->name);
    if (!take_file (catalog, file, seen) ||
        !vp_catalog_accept_part (catalog, file->kind, seen, file->name))
      continue;
    *ret_any = true;
    change->net_changed |= file->kind == VP_SPEC_NETWORK;
  }
}

static void
drop_parts (VpCatalog *catalog, VpCatalogChange *change)
{
  for (unsigned kind = VP_SPEC_NETWORK; kind < VP_SPEC_N_KINDS; kind++) {
    GHashTableIter iter;
    gpointer key = NULL, value = NULL;

    g_hash_table_iter_init (&iter, catalog->seen[kind]);
    while (g_hash_table_iter_next (&iter, &key, &value)) {
      Seen *seen = value;

      if (seen->there || !vp_catalog_drop_part (catalog, kind, seen, key))
        continue;
      change->net_changed |= kind == VP_SPEC_NETWORK;
      g_hash_table_iter_remove (&iter);
    }
  }
}

static void
update_guest (VpCatalog *catalog, const VpSpecFile *file, Seen *seen,
              VpCatalogChange *change)
{
  VpCatalogGuest *guest = NULL;
  bool returned = false;

  if (!take_file (catalog, file, seen)) {
    guest = g_hash_table_lookup (catalog->guests, file->name);
    returned = guest != NULL && file->problem == NULL && !guest->there;
    if (!returned)
      return;
    /* The same bytes as a version that was retired, or accepted in an
     * earlier run. */
    guest->there = true;
    if (guest->record == NULL || !guest->record->retired) {
      g_ptr_array_add (change->returned, g_strdup (file->name));
      return;
    }
  }
  if (vp_catalog_accept_guest (catalog, seen, file->name, false) > 0)
    g_ptr_array_add (change->changed, g_strdup (file->name));
  guest = g_hash_table_lookup (catalog->guests, file->name);
  guest->there = true;
}

/* A guest whose mistake was another's doing may be right now. */
static bool
retry_guests (VpCatalog *catalog, const VpSpecScan *scan,
              VpCatalogChange *change)
{
  bool progress = false;

  for (guint i = 0; i < scan->files->len; i++) {
    const VpSpecFile *file = g_ptr_array_index (scan->files, i);
    Seen *seen = NULL;

    if (file->kind != VP_SPEC_GUEST || file->problem != NULL)
      continue;
    seen = g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], file->name);
    if (seen == NULL || !vp_problems_have_error (seen->problems) ||
        vp_catalog_accept_guest (catalog, seen, file->name, false) <= 0)
      continue;
    g_ptr_array_add (change->changed, g_strdup (file->name));
    progress = true;
  }
  return progress;
}

/* The guest goes on as it was, and its file is looked at again. */
static void
note_problems (VpCatalog *catalog, VpCatalogGuest *guest, GPtrArray *problems)
{
  Seen *seen = g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], guest->name);

  g_ptr_array_unref (guest->problems);
  guest->problems = g_ptr_array_ref (problems);
  if (seen == NULL)
    return;
  g_ptr_array_unref (seen->problems);
  seen->problems = g_ptr_array_ref (problems);
}

/* After a change to networks, pools or images. */
static void
resolve_again (VpCatalog *catalog, VpCatalogChange *change)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (catalog);

  for (guint i = 0; i < names->len; i++) {
    VpCatalogGuest *guest =
        g_hash_table_lookup (catalog->guests, g_ptr_array_index (names, i));
    g_autoptr (GPtrArray) problems = vp_problems_new ();
    g_autoptr (VpGuestRecord) record = NULL;
    g_autoptr (GError) error = NULL;
    VpGuest *resolved = NULL;

    if (!vp_catalog_is_wanted (guest))
      continue;
    record = vp_guest_record_copy (guest->record);
    resolved = vp_catalog_resolve (catalog, guest->spec, record, problems);
    if (resolved == NULL ||
        !vp_store_save_guest (catalog->store, guest->name, record, &error) ||
        !vp_catalog_save_intents (catalog, resolved, record, &error)) {
      if (error != NULL)
        vp_catalog_store_problem (problems, guest->path, error);
      vp_guest_unref (resolved);
      note_problems (catalog, guest, problems);
      continue;
    }
    vp_guest_record_free (guest->record);
    guest->record = g_steal_pointer (&record);
    vp_guest_unref (guest->resolved);
    guest->resolved = resolved;
    if (!g_ptr_array_find_with_equal_func (change->changed, guest->name,
                                           g_str_equal, NULL))
      g_ptr_array_add (change->changed, g_strdup (guest->name));
  }
}

static void
find_vanished (VpCatalog *catalog, VpCatalogChange *change)
{
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    VpCatalogGuest *guest = value;
    const Seen *seen = g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], key);

    if (seen != NULL && seen->there)
      continue;
    if (guest->there)
      guest->vanished = g_get_monotonic_time ();
    guest->there = false;
    g_ptr_array_set_size (guest->problems, 0);
    if (guest->record == NULL)
      g_hash_table_iter_remove (&iter);
    else if (!guest->record->retired)
      g_ptr_array_add (change->vanished, g_strdup (key));
  }
}

static void
mark_all_unseen (VpCatalog *catalog)
{
  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++) {
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init (&iter, catalog->seen[i]);
    while (g_hash_table_iter_next (&iter, NULL, &value))
      ((Seen *) value)->there = false;
  }
}

VpCatalogChange *
vp_catalog_update (VpCatalog *catalog, const VpSpecScan *scan)
{
  VpCatalogChange *change = g_new0 (VpCatalogChange, 1);
  bool parts_changed = false;

  change->changed = g_ptr_array_new_with_free_func (g_free);
  change->returned = g_ptr_array_new_with_free_func (g_free);
  change->vanished = g_ptr_array_new_with_free_func (g_free);
  mark_all_unseen (catalog);
  update_parts (catalog, scan, change, &parts_changed);
  for (guint i = 0; i < scan->files->len; i++) {
    const VpSpecFile *file = g_ptr_array_index (scan->files, i);

    if (file->kind == VP_SPEC_GUEST)
      ensure_seen (catalog, VP_SPEC_GUEST, file->name)->there = true;
  }
  /* First what went, so that a renamed file finds its old name gone. */
  find_vanished (catalog, change);
  g_ptr_array_set_size (change->vanished, 0);
  for (guint i = 0; i < scan->files->len; i++) {
    const VpSpecFile *file = g_ptr_array_index (scan->files, i);

    if (file->kind == VP_SPEC_GUEST)
      update_guest (catalog, file,
                    ensure_seen (catalog, VP_SPEC_GUEST, file->name), change);
  }
  while (retry_guests (catalog, scan, change))
    continue;
  find_vanished (catalog, change);
  if (scan->complete)
    drop_parts (catalog, change);
  if (parts_changed)
    resolve_again (catalog, change);
  return change;
}

bool
vp_catalog_retire (VpCatalog *catalog, const char *name, GError **error)
{
  VpCatalogGuest *guest = g_hash_table_lookup (catalog->guests, name);
  VpGuestRecord *record = NULL;

  g_return_val_if_fail (guest != NULL && guest->record != NULL, false);
  record = vp_guest_record_copy (guest->record);
  record->retired = true;
  if (!vp_store_save_guest (catalog->store, name, record, error)) {
    vp_guest_record_free (record);
    return false;
  }
  vp_guest_record_free (guest->record);
  guest->record = record;
  return true;
}

/* ---- Start. ---- */

static bool
load_kind (VpCatalog *catalog, VpSpecKind kind, GError **error)
{
  const char *word = vp_spec_kind_to_string (kind);
  g_autoptr (GPtrArray) names =
      vp_store_list_accepted (catalog->store, word, error);

  if (names == NULL)
    return false;
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    Seen *seen = NULL;
    g_autofree char *path = NULL;
    size_t len = 0;
    char *text =
        vp_store_load_accepted (catalog->store, word, name, &path, &len, NULL);

    if (text == NULL) /* unreadable: its file says it again */
      continue;
    seen = ensure_seen (catalog, kind, name);
    seen->path = g_steal_pointer (&path);
    seen->text = text;
    seen->len = len;
    if (kind != VP_SPEC_GUEST)
      (void) vp_catalog_accept_part (catalog, kind, seen, name);
  }
  return true;
}

/* Of the accepted guests, those that are retired, or those that are not. */
static void
accept_loaded (VpCatalog *catalog, bool retired)
{
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  g_hash_table_iter_init (&iter, catalog->seen[VP_SPEC_GUEST]);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    const VpCatalogGuest *guest =
        vp_catalog_ensure_guest (catalog, key, ((Seen *) value)->path);

    if ((guest->record != NULL && guest->record->retired) == retired)
      (void) vp_catalog_accept_guest (catalog, value, key, retired);
  }
}

/* Records first, all of them: a guest is accepted with its own.  What retired
 * guests held may be others' now: they come last, and may fail. */
static bool
load_guests (VpCatalog *catalog, GError **error)
{
  g_autoptr (GPtrArray) names = vp_store_list_guests (catalog->store, error);

  if (names == NULL)
    return false;
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    const Seen *seen = g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], name);
    VpGuestRecord *record = vp_store_load_guest (catalog->store, name, NULL);

    /* An unreadable one is told of when its spec is accepted. */
    if (record != NULL)
      vp_catalog_ensure_guest (catalog, name, seen != NULL ? seen->path : NULL)
          ->record = record;
  }
  accept_loaded (catalog, false);
  accept_loaded (catalog, true);
  return true;
}

bool
vp_catalog_load (VpCatalog *catalog, GError **error)
{
  return load_kind (catalog, VP_SPEC_NETWORK, error) &&
         load_kind (catalog, VP_SPEC_POOL, error) &&
         load_kind (catalog, VP_SPEC_IMAGE, error) &&
         load_kind (catalog, VP_SPEC_GUEST, error) &&
         load_guests (catalog, error);
}

/* ---- Questions. ---- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

GPtrArray *
vp_catalog_list (VpCatalog *catalog)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer key = NULL;

  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    g_ptr_array_add (names, g_strdup (key));
  g_ptr_array_sort (names, compare_names);
  return names;
}

VpCatalogGuest *
vp_catalog_get (VpCatalog *catalog, const char *name)
{
  return g_hash_table_lookup (catalog->guests, name);
}

bool
vp_catalog_save_record (VpCatalog *catalog, VpCatalogGuest *guest,
                        GError **error)
{
  return vp_store_save_guest (catalog->store, guest->name, guest->record,
                              error);
}

static int
compare_problems (gconstpointer a, gconstpointer b)
{
  const VpProblem *x = *(VpProblem *const *) a;
  const VpProblem *y = *(VpProblem *const *) b;
  int order = g_strcmp0 (x->path, y->path);

  return order != 0 ? order
         : x->place.line != y->place.line
             ? (int) x->place.line - (int) y->place.line
             : (int) x->place.column - (int) y->place.column;
}

GPtrArray *
vp_catalog_problems (VpCatalog *catalog)
{
  GPtrArray *all = vp_problems_new ();

  for (unsigned i = 0; i < VP_SPEC_N_KINDS; i++) {
    GHashTableIter iter;
    gpointer value = NULL;

    g_hash_table_iter_init (&iter, catalog->seen[i]);
    while (g_hash_table_iter_next (&iter, NULL, &value)) {
      const Seen *seen = value;

      for (guint j = 0; j < seen->problems->len; j++)
        if (seen->there || i != VP_SPEC_GUEST)
          g_ptr_array_add (
              all, vp_problem_copy (g_ptr_array_index (seen->problems, j)));
    }
  }
  g_ptr_array_sort (all, compare_problems);
  return all;
}

GPtrArray *
vp_catalog_verify (VpCatalog *catalog, VpSpecKind kind, const char *name,
                   const char *path, const char *text, size_t len)
{
  GPtrArray *problems = vp_problems_new ();

  if (kind == VP_SPEC_GUEST) {
    const VpCatalogGuest *guest = vp_catalog_get (catalog, name);
    g_autoptr (VpGuestRecord) record =
        guest != NULL && guest->record != NULL
            ? vp_guest_record_copy (guest->record)
            : vp_guest_record_new ();
    g_autoptr (VpGuest) resolved = NULL;
    g_autoptr (VpGuest) spec = vp_catalog_try_guest (
        catalog, name, path, text, len, record, &resolved, problems);
  } else {
    (void) vp_catalog_parse_part (catalog, kind, name, path, text, len, false,
                                  problems);
  }
  g_ptr_array_sort (problems, compare_problems);
  return problems;
}
