/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog-guest: accepting one guest: parsed, resolved, checked against the
 * others, recorded; or its mistakes.  And whether it is another one, renamed.
 */
#include "config.h"

#include "daemon/catalog-private.h"

#include "daemon/resolve.h"
#include "daemon/spec-xml.h"

#include <string.h>

/* How long after a guest's file vanished a new one may be it, renamed. */
#define RENAME_WINDOW_US (60 * G_USEC_PER_SEC)

bool
vp_catalog_is_wanted (const VpCatalogGuest *guest)
{
  return guest->spec != NULL && guest->record != NULL &&
         !guest->record->retired;
}

static GArray *
taken_addresses (VpCatalog *catalog, const char *but)
{
  GArray *taken = g_array_new (FALSE, FALSE, sizeof (VpAddr));
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpCatalogGuest *guest = value;

    if (g_str_equal (guest->name, but) || !vp_catalog_is_wanted (guest) ||
        guest->resolved == NULL)
      continue;
    for (guint i = 0; i < guest->resolved->nics->len; i++) {
      const VpNic *nic = g_ptr_array_index (guest->resolved->nics, i);

      if (nic->ip.family != 0)
        g_array_append_val (taken, nic->ip);
    }
  }
  return taken;
}

VpGuest *
vp_catalog_resolve (VpCatalog *catalog, const VpGuest *spec,
                    VpGuestRecord *record, GPtrArray *problems)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GHashTable) networks =
      vp_catalog_networks (catalog, vp_catalog_uses_default (spec), &error);
  g_autoptr (GArray) taken = taken_addresses (catalog, spec->name);
  VpResolveContext context = {
    .store = catalog->store,
    .default_pool = catalog->default_pool,
    .pools = catalog->pools,
    .images = catalog->images,
    .networks = networks,
    .taken = taken,
  };

  if (networks == NULL) {
    g_ptr_array_add (problems, vp_problem_new (spec->source_path, spec->place,
                                               VP_SEVERITY_ERROR, "network",
                                               "%s", error->message));
    return NULL;
  }
  return vp_resolve_guest (&context, spec, record, problems);
}

static bool
forwards_overlap (const VpForward *a, const VpForward *b)
{
  return ((a->tcp && b->tcp) || (a->udp && b->udp)) && a->first <= b->last &&
         b->first <= a->last;
}

static void
check_forwards (const VpGuest *spec, const VpNic *nic, const VpGuest *other,
                const VpNic *other_nic, GPtrArray *problems)
{
  for (guint i = 0; i < nic->forwards->len; i++)
    for (guint j = 0; j < other_nic->forwards->len; j++) {
      const VpForward *a = g_ptr_array_index (nic->forwards, i);
      const VpForward *b = g_ptr_array_index (other_nic->forwards, j);

      if (forwards_overlap (a, b))
        g_ptr_array_add (
            problems,
            vp_problem_new (spec->source_path, a->place, VP_SEVERITY_ERROR,
                            "duplicate-forward",
                            "host port %u is forwarded by guest %s already "
                            "(%s:%u); choose another port",
                            MAX (a->first, b->first), other->name,
                            other->source_path, b->place.line));
    }
}

static void
check_pair (const VpGuest *spec, const VpGuest *guest, const VpGuest *other,
            GPtrArray *problems)
{
  if (g_strcmp0 (guest->uuid, other->uuid) == 0)
    g_ptr_array_add (problems,
                     vp_problem_new (spec->source_path, spec->place,
                                     VP_SEVERITY_ERROR, "duplicate-uuid",
                                     "uuid %s is guest %s's; leave uuid= out "
                                     "to get one of its own",
                                     guest->uuid, other->name));
  for (guint i = 0; i < guest->nics->len; i++)
    for (guint j = 0; j < other->nics->len; j++) {
      const VpNic *a = g_ptr_array_index (guest->nics, i);
      const VpNic *b = g_ptr_array_index (other->nics, j);

      if (g_strcmp0 (a->mac, b->mac) == 0)
        g_ptr_array_add (problems,
                         vp_problem_new (spec->source_path, a->place,
                                         VP_SEVERITY_ERROR, "duplicate-mac",
                                         "nic \"%s\": mac %s is guest %s's",
                                         a->name, a->mac, other->name));
      check_forwards (spec, a, other, b, problems);
    }
}

static void
check_against_others (VpCatalog *catalog, const VpGuest *spec,
                      const VpGuest *guest, GPtrArray *problems)
{
  g_autoptr (GPtrArray) names = vp_catalog_list (catalog);

  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *other =
        g_hash_table_lookup (catalog->guests, g_ptr_array_index (names, i));

    if (!g_str_equal (other->name, spec->name) &&
        vp_catalog_is_wanted (other) && other->resolved != NULL)
      check_pair (spec, guest, other->resolved, problems);
  }
}

/* The base of a disk that is still to be made must be there: said now, with
 * its place, and looked for again at every rescan. */
static void
check_bases (VpCatalog *catalog, const VpGuest *spec, const VpGuest *guest,
             const VpGuestRecord *record, GPtrArray *problems)
{
  for (guint i = 0; guest->domain_xml == NULL && i < guest->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (guest->disks, i);

    if (disk->backing_path == NULL ||
        g_file_test (disk->backing_path, G_FILE_TEST_IS_REGULAR) ||
        vp_catalog_is_made (catalog, record, disk->name))
      continue;
    g_ptr_array_add (problems,
                     vp_problem_new (spec->source_path, disk->from_place,
                                     VP_SEVERITY_ERROR, "no-base",
                                     "disk \"%s\": the base image \"%s\" is "
                                     "not there: images/%s.xml says %s",
                                     disk->name, disk->from, disk->from,
                                     disk->backing_path));
  }
}

/* Parses and checks; NULL with problems.  record is changed in place. */
VpGuest *
vp_catalog_try_guest (VpCatalog *catalog, const char *name, const char *path,
                      const char *text, size_t len, VpGuestRecord *record,
                      VpGuest **ret_resolved, GPtrArray *problems)
{
  VpSpecRules rules = { .allow_qemu_commandline =
                            catalog->config->allow_qemu_commandline };
  g_autoptr (VpGuest) spec =
      vp_spec_parse_guest (path, name, text, len, &rules, problems);
  g_autoptr (VpGuest) resolved = NULL;
  guint before = problems->len;

  if (spec == NULL)
    return NULL;
  resolved = vp_catalog_resolve (catalog, spec, record, problems);
  if (resolved == NULL)
    return NULL;
  check_against_others (catalog, spec, resolved, problems);
  check_bases (catalog, spec, resolved, record, problems);
  if (problems->len > before)
    return NULL;
  *ret_resolved = g_steal_pointer (&resolved);
  return g_steal_pointer (&spec);
}

void
vp_catalog_store_problem (GPtrArray *problems, const char *path, GError *error)
{
  g_ptr_array_add (problems,
                   vp_problem_new (path, (VpPlace){ 0, 0 }, VP_SEVERITY_ERROR,
                                   "store", "%s", error->message));
}

VpCatalogGuest *
vp_catalog_ensure_guest (VpCatalog *catalog, const char *name, const char *path)
{
  VpCatalogGuest *guest = g_hash_table_lookup (catalog->guests, name);

  if (guest == NULL) {
    guest = g_new0 (VpCatalogGuest, 1);
    guest->name = g_strdup (name);
    guest->problems = vp_problems_new ();
    g_hash_table_insert (catalog->guests, g_strdup (name), guest);
  }
  if (g_strcmp0 (guest->path, path) != 0) {
    g_free (guest->path);
    guest->path = g_strdup (path);
  }
  return guest;
}

static bool
has_own_disks (const VpGuest *spec)
{
  return spec->domain_xml == NULL && spec->disks->len > 0;
}

/* Whether one of the volumes decided for it was ever made: where none was,
 * a rename can lose nothing. */
static bool
has_made_volumes (VpCatalog *catalog, const VpGuestRecord *record)
{
  GHashTableIter iter;
  gpointer key = NULL;

  g_hash_table_iter_init (&iter, record->volumes);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    if (vp_catalog_is_made (catalog, record, key))
      return true;
  return false;
}

/* A new name that may be a renamed guest must not silently boot an empty
 * disk. */
static char *
fresh_warning (VpCatalog *catalog, const VpCatalogGuest *guest,
               const VpGuest *spec, const char *text)
{
  GHashTableIter iter;
  gpointer value = NULL;

  if (guest->record != NULL || !has_own_disks (spec))
    return NULL;
  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpCatalogGuest *other = value;
    const Seen *seen =
        g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], other->name);
    bool just_now =
        other->vanished != 0 &&
        g_get_monotonic_time () - other->vanished < RENAME_WINDOW_US;

    if (other == guest || other->there || other->record == NULL ||
        !has_made_volumes (catalog, other->record))
      continue;
    if ((seen != NULL && g_strcmp0 (seen->text, text) == 0) || just_now)
      return g_strdup_printf (
          "the file of guest %s went as this one came: if it was renamed, "
          "add uuid=\"%s\" to keep its disks; if it is a new guest, "
          "\"vprovctl apply\" makes new disks for it",
          other->name, other->record->uuid);
  }
  return NULL;
}

/* A file that names the uuid of a guest whose file is gone is that guest,
 * renamed. */
static VpCatalogGuest *
find_renamed (VpCatalog *catalog, const VpCatalogGuest *guest,
              const VpGuest *spec)
{
  GHashTableIter iter;
  gpointer value = NULL;

  if (guest->record != NULL || spec->uuid == NULL)
    return NULL;
  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    VpCatalogGuest *other = value;

    if (other != guest && !other->there && other->record != NULL &&
        g_strcmp0 (other->record->uuid, spec->uuid) == 0)
      return other;
  }
  return NULL;
}

static VpGuest *
copy_as (const VpGuest *guest, const char *name)
{
  VpGuest *copy = guest != NULL ? vp_guest_copy (guest) : NULL;

  if (copy == NULL)
    return NULL;
  g_free (copy->name);
  copy->name = g_strdup (name);
  return copy;
}

/* Records, disks, domain and the last good version stay.  The old text goes
 * first: without it a crash in between leaves a record that the new file finds
 * again, never two guests for one domain. */
static bool
take_over_renamed (VpCatalog *catalog, VpCatalogGuest *guest,
                   VpCatalogGuest *old, GError **error)
{
  if (!vp_store_remove_accepted (catalog->store, "guest", old->name, error) ||
      !vp_store_rename_guest (catalog->store, old->name, guest->name, error))
    return false;
  guest->record = g_steal_pointer (&old->record);
  if (guest->record->domain == NULL)
    guest->record->domain = g_strdup (old->name);
  guest->spec = copy_as (old->spec, guest->name);
  guest->resolved = copy_as (old->resolved, guest->name);
  g_hash_table_remove (catalog->seen[VP_SPEC_GUEST], old->name);
  g_hash_table_remove (catalog->guests, old->name);
  return true;
}

/* The record that the guest goes on from: its own; that of the guest that it
 * was before it was renamed; a new one.  NULL where a record is there and
 * cannot be read: a new one beside it would mean new disks. */
static VpGuestRecord *
find_record (VpCatalog *catalog, VpCatalogGuest *guest, const Seen *seen,
             GPtrArray *problems)
{
  VpSpecRules rules = { .allow_qemu_commandline =
                            catalog->config->allow_qemu_commandline };
  g_autoptr (GPtrArray) quiet = vp_problems_new ();
  g_autoptr (VpGuest) spec = vp_spec_parse_guest (
      seen->path, guest->name, seen->text, seen->len, &rules, quiet);
  g_autoptr (GError) error = NULL;
  VpCatalogGuest *old = NULL;

  if (guest->record == NULL)
    guest->record = vp_store_load_guest (catalog->store, guest->name, &error);
  if (error == NULL && spec != NULL)
    old = find_renamed (catalog, guest, spec);
  if (old != NULL)
    (void) take_over_renamed (catalog, guest, old, &error);
  if (error != NULL) {
    vp_catalog_store_problem (problems, seen->path, error);
    return NULL;
  }
  return guest->record != NULL ? vp_guest_record_copy (guest->record)
                               : vp_guest_record_new ();
}

/* state= that changes ends a hold. */
static void
lift_hold (const VpCatalogGuest *guest, const VpGuest *spec,
           VpGuestRecord *record)
{
  if (guest->spec == NULL || guest->spec->power == spec->power)
    return;
  record->hold = false;
  g_clear_pointer (&record->boot_id, g_free);
}

int
vp_catalog_accept_guest (VpCatalog *catalog, Seen *seen, const char *name,
                         bool retired)
{
  VpCatalogGuest *guest = vp_catalog_ensure_guest (catalog, name, seen->path);
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (VpGuestRecord) record =
      find_record (catalog, guest, seen, problems);
  g_autoptr (VpGuest) spec = NULL, resolved = NULL;
  g_autoptr (GError) error = NULL;

  if (record != NULL)
    spec = vp_catalog_try_guest (catalog, name, seen->path, seen->text,
                                 seen->len, record, &resolved, problems);
  if (spec != NULL) {
    g_autofree char *warning = fresh_warning (catalog, guest, spec, seen->text);

    record->retired = retired;
    lift_hold (guest, spec, record);
    if (!vp_store_save_guest (catalog->store, name, record, &error) ||
        !vp_catalog_save_intents (catalog, resolved, record, &error) ||
        !vp_store_save_accepted (catalog->store, "guest", name, seen->path,
                                 seen->text, seen->len, &error)) {
      vp_catalog_store_problem (problems, seen->path, error);
      g_clear_pointer (&spec, vp_guest_unref);
    } else if (warning != NULL) {
      g_free (guest->fresh_warning);
      guest->fresh_warning = g_steal_pointer (&warning);
    }
  }
  g_ptr_array_unref (guest->problems);
  guest->problems = g_ptr_array_ref (problems);
  g_ptr_array_unref (seen->problems);
  seen->problems = g_steal_pointer (&problems);
  if (spec == NULL)
    return -1;
  vp_guest_unref (guest->spec);
  vp_guest_unref (guest->resolved);
  vp_guest_record_free (guest->record);
  guest->spec = g_steal_pointer (&spec);
  guest->resolved = g_steal_pointer (&resolved);
  guest->record = g_steal_pointer (&record);
  return 1;
}
