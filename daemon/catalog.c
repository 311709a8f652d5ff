/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog: see the header.
 *
 * Every file that was seen is remembered by its bytes, so that the same bytes
 * again cost nothing.  A file with mistakes is tried again at every update:
 * its mistake may be that something else was missing. */
#include "config.h"

#include "daemon/catalog.h"
#include "daemon/plan.h"
#include "daemon/resolve.h"
#include "daemon/spec-xml.h"
#include "net/net-apply.h"
#include "storage/pool.h"

#include <string.h>

/* How long after a guest's file vanished a new one may be it, renamed. */
#define RENAME_WINDOW_US (60 * G_USEC_PER_SEC)

typedef struct {
  char *path;
  char *text;
  size_t len;
  GPtrArray *problems; /* VpProblem */
  bool there;
} Seen;

struct VpCatalog {
  const VpConfig *config;
  VpStore *store;
  char *default_pool;
  GHashTable *seen[VP_SPEC_N_KINDS]; /* name -> Seen */
  GHashTable *guests;                /* name -> VpCatalogGuest */
  GHashTable *networks;              /* name -> VpNet, as its file says */
  GHashTable *pools, *images;
  GHashTable *addresses; /* network -> VpCidr: chosen or stated */
  gint64 vanish_time;    /* when a guest's file vanished last */
};

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

/* ---- Networks with their addresses. ---- */

static GArray *
used_prefixes (VpCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  GArray *used = NULL;
  GHashTableIter iter;
  gpointer value = NULL;

  if (catalog->config->manage_networks)
    used = vp_net_used_prefixes (&error);
  if (used == NULL)
    used = g_array_new (FALSE, FALSE, sizeof (VpCidr));
  g_hash_table_iter_init (&iter, catalog->addresses);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    g_array_append_val (used, *(VpCidr *) value);
  g_hash_table_iter_init (&iter, catalog->networks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (((VpNet *) value)->address.addr.family != 0)
      g_array_append_val (used, ((VpNet *) value)->address);
  return used;
}

/* What the file states wins over the record, the record over a new choice,
 * which is recorded. */
static bool
network_address (VpCatalog *catalog, const char *name, const VpNet *spec,
                 VpCidr *ret_address, GError **error)
{
  const VpCidr *known = g_hash_table_lookup (catalog->addresses, name);
  g_autoptr (GArray) used = NULL;

  if (spec != NULL && spec->address.addr.family != 0) {
    *ret_address = spec->address;
    return true;
  }
  if (known != NULL) {
    *ret_address = *known;
    return true;
  }
  if (!vp_store_load_network (catalog->store, name, ret_address, error)) {
    if (error != NULL && *error != NULL)
      return false;
    used = used_prefixes (catalog);
    if (!vp_net_choose_prefix (used, ret_address, error) ||
        !vp_store_save_network (catalog->store, name, ret_address, error))
      return false;
  }
  g_hash_table_insert (catalog->addresses, g_strdup (name),
                       g_memdup2 (ret_address, sizeof *ret_address));
  return true;
}

static VpNet *
effective_network (VpCatalog *catalog, const char *name, GError **error)
{
  const VpNet *spec = g_hash_table_lookup (catalog->networks, name);
  g_autoptr (VpNet) net = spec != NULL ? vp_net_copy (spec) : vp_net_new (name);

  if (!network_address (catalog, name, spec, &net->address, error))
    return NULL;
  if (net->bridge == NULL)
    net->bridge = vp_net_bridge_name (name);
  return g_steal_pointer (&net);
}

static bool
uses_default (const VpGuest *spec)
{
  for (guint i = 0; i < spec->nics->len; i++) {
    const VpNic *nic = g_ptr_array_index (spec->nics, i);

    if (g_strcmp0 (nic->network, "default") == 0)
      return true;
  }
  return false;
}

/* Name -> VpNet: every file's, and "default" where it is asked for. */
static GHashTable *
effective_networks (VpCatalog *catalog, bool with_default, GError **error)
{
  g_autoptr (GHashTable) networks = name_table ((GDestroyNotify) vp_net_free);
  GHashTableIter iter;
  gpointer key = NULL;

  g_hash_table_iter_init (&iter, catalog->networks);
  while (g_hash_table_iter_next (&iter, &key, NULL)) {
    VpNet *net = effective_network (catalog, key, error);

    if (net == NULL)
      return NULL;
    g_hash_table_insert (networks, g_strdup (key), net);
  }
  if (with_default && !g_hash_table_contains (networks, "default")) {
    VpNet *net = effective_network (catalog, "default", error);

    if (net == NULL)
      return NULL;
    g_hash_table_insert (networks, g_strdup ("default"), net);
  }
  return g_steal_pointer (&networks);
}

/* ---- Guests: resolving and checks against the others. ---- */

static bool
is_wanted (const VpCatalogGuest *guest)
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

    if (g_str_equal (guest->name, but) || !is_wanted (guest) ||
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

static VpGuest *
resolve (VpCatalog *catalog, const VpGuest *spec, VpGuestRecord *record,
         GPtrArray *problems)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GHashTable) networks =
      effective_networks (catalog, uses_default (spec), &error);
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

    if (!g_str_equal (other->name, spec->name) && is_wanted (other) &&
        other->resolved != NULL)
      check_pair (spec, guest, other->resolved, problems);
  }
}

/* Parses and checks; NULL with problems.  record is changed in place. */
static VpGuest *
try_guest (VpCatalog *catalog, const char *name, const char *path,
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
  resolved = resolve (catalog, spec, record, problems);
  if (resolved == NULL)
    return NULL;
  check_against_others (catalog, spec, resolved, problems);
  if (problems->len > before)
    return NULL;
  *ret_resolved = g_steal_pointer (&resolved);
  return g_steal_pointer (&spec);
}

static void
store_problem (GPtrArray *problems, const char *path, GError *error)
{
  g_ptr_array_add (problems,
                   vp_problem_new (path, (VpPlace){ 0, 0 }, VP_SEVERITY_ERROR,
                                   "store", "%s", error->message));
}

/* The volumes' owners are written down before anything is made: what a crash
 * leaves behind has an owner then. */
static bool
save_intents (VpCatalog *catalog, const VpGuest *guest,
              const VpGuestRecord *record, GError **error)
{
  for (guint i = 0; guest->domain_xml == NULL && i < guest->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (guest->disks, i);
    const char *full = g_hash_table_lookup (record->volumes, disk->name);
    const char *slash = full != NULL ? strchr (full, '/') : NULL;
    g_autofree char *pool = NULL;
    g_autoptr (VpVolumeRecord) volume = NULL;
    g_autoptr (GError) local = NULL;

    if (slash == NULL)
      continue;
    pool = g_strndup (full, (gsize) (slash - full));
    volume = vp_store_load_volume (catalog->store, pool, slash + 1, &local);
    if (local != NULL) {
      g_propagate_error (error, g_steal_pointer (&local));
      return false;
    }
    if (volume != NULL && volume->created != 0 &&
        g_strcmp0 (volume->owner, guest->name) == 0)
      continue;
    /* A file that lies there without a record is somebody else's: without
     * an intent of ours plan refuses it. */
    if (volume == NULL && g_file_test (disk->path, G_FILE_TEST_EXISTS))
      continue;
    if (volume == NULL)
      volume = g_new0 (VpVolumeRecord, 1);
    g_free (volume->owner);
    g_free (volume->disk);
    volume->owner = g_strdup (guest->name);
    volume->disk = g_strdup (disk->name);
    if (volume->created == 0) {
      g_free (volume->path);
      g_free (volume->format);
      g_free (volume->base);
      g_free (volume->base_path);
      g_free (volume->base_format);
      volume->path = g_strdup (disk->path);
      volume->format = g_strdup (disk->format);
      volume->size = disk->size;
      volume->base = g_strdup (disk->from);
      volume->base_path = g_strdup (disk->backing_path);
      volume->base_format = g_strdup (disk->backing_format);
    }
    if (!vp_store_save_volume (catalog->store, pool, slash + 1, volume, error))
      return false;
  }
  return true;
}

static VpCatalogGuest *
ensure_guest (VpCatalog *catalog, const char *name, const char *path)
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
        g_get_monotonic_time () - catalog->vanish_time < RENAME_WINDOW_US;

    if (other == guest || other->there || other->record == NULL ||
        other->spec == NULL || !has_own_disks (other->spec))
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
 * renamed: records, disks and domain stay. */
static void
take_over_renamed (VpCatalog *catalog, VpCatalogGuest *guest,
                   const VpGuest *spec)
{
  GHashTableIter iter;
  gpointer value = NULL;
  VpCatalogGuest *old = NULL;

  if (guest->record != NULL || spec->uuid == NULL)
    return;
  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    VpCatalogGuest *other = value;

    if (other != guest && !other->there && other->record != NULL &&
        g_strcmp0 (other->record->uuid, spec->uuid) == 0)
      old = other;
  }
  if (old == NULL ||
      !vp_store_rename_guest (catalog->store, old->name, guest->name, NULL))
    return;
  guest->record = g_steal_pointer (&old->record);
  if (guest->record->domain == NULL)
    guest->record->domain = g_strdup (old->name);
  (void) vp_store_remove_accepted (catalog->store, "guest", old->name, NULL);
  g_hash_table_remove (catalog->seen[VP_SPEC_GUEST], old->name);
  g_hash_table_remove (catalog->guests, old->name);
}

/* 1: a new good version, 0: nothing new, -1: mistakes. */
static int
accept_guest (VpCatalog *catalog, Seen *seen, const char *name)
{
  VpCatalogGuest *guest = ensure_guest (catalog, name, seen->path);
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (VpGuestRecord) record = NULL;
  g_autoptr (VpGuest) spec = NULL, resolved = NULL, probe = NULL;
  g_autoptr (GPtrArray) quiet = vp_problems_new ();
  g_autoptr (GError) error = NULL;
  VpSpecRules rules = { .allow_qemu_commandline =
                            catalog->config->allow_qemu_commandline };

  probe = vp_spec_parse_guest (seen->path, name, seen->text, seen->len, &rules,
                               quiet);
  if (probe != NULL)
    take_over_renamed (catalog, guest, probe);
  record = guest->record != NULL ? vp_guest_record_copy (guest->record)
                                 : vp_guest_record_new ();
  spec = try_guest (catalog, name, seen->path, seen->text, seen->len, record,
                    &resolved, problems);
  if (spec != NULL) {
    g_autofree char *warning = fresh_warning (catalog, guest, spec, seen->text);

    record->retired = false;
    if (!vp_store_save_guest (catalog->store, name, record, &error) ||
        !save_intents (catalog, resolved, record, &error) ||
        !vp_store_save_accepted (catalog->store, "guest", name, seen->path,
                                 seen->text, seen->len, &error)) {
      store_problem (problems, seen->path, error);
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

/* ---- Networks, pools, images. ---- */

static void
check_network (VpCatalog *catalog, const VpNet *net, const char *path,
               GPtrArray *problems)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, catalog->networks);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpNet *other = value;

    if (g_str_equal (other->name, net->name))
      continue;
    if (net->address.addr.family != 0 && other->address.addr.family != 0 &&
        vp_cidr_overlaps (&net->address, &other->address))
      g_ptr_array_add (
          problems,
          vp_problem_new (path, (VpPlace){ 1, 1 }, VP_SEVERITY_ERROR, "overlap",
                          "its address overlaps network %s", other->name));
    if (net->bridge != NULL && g_strcmp0 (net->bridge, other->bridge) == 0)
      g_ptr_array_add (problems, vp_problem_new (path, (VpPlace){ 1, 1 },
                                                 VP_SEVERITY_ERROR, "overlap",
                                                 "bridge %s is network %s's",
                                                 net->bridge, other->name));
  }
}

static bool
parse_part (VpCatalog *catalog, VpSpecKind kind, const char *name,
            const char *path, const char *text, size_t len, bool keep,
            GPtrArray *problems)
{
  GHashTable *table = kind == VP_SPEC_NETWORK ? catalog->networks
                      : kind == VP_SPEC_POOL  ? catalog->pools
                                              : catalog->images;
  GDestroyNotify free_value = NULL;
  gpointer value = NULL;

  if (kind == VP_SPEC_NETWORK) {
    VpNet *net = vp_spec_parse_network (path, name, text, len, problems);

    if (net != NULL)
      check_network (catalog, net, path, problems);
    value = net;
    free_value = (GDestroyNotify) vp_net_free;
  } else if (kind == VP_SPEC_POOL) {
    value = vp_spec_parse_pool (path, name, text, len, problems);
    free_value = (GDestroyNotify) vp_pool_spec_free;
  } else {
    value = vp_spec_parse_image (path, name, text, len, problems);
    free_value = (GDestroyNotify) vp_image_spec_free;
  }
  if (value == NULL)
    return false;
  if (!keep || vp_problems_have_error (problems)) {
    free_value (value);
    return !vp_problems_have_error (problems);
  }
  g_hash_table_insert (table, g_strdup (name), value);
  return true;
}

static bool
accept_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen, const char *name)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (GError) error = NULL;
  bool good = parse_part (catalog, kind, name, seen->path, seen->text,
                          seen->len, true, problems);

  if (good &&
      !vp_store_save_accepted (catalog->store, vp_spec_kind_to_string (kind),
                               name, seen->path, seen->text, seen->len, &error))
    store_problem (problems, seen->path, error);
  g_ptr_array_unref (seen->problems);
  seen->problems = g_steal_pointer (&problems);
  return good;
}

static bool
guest_uses (const VpGuest *spec, VpSpecKind kind, const char *name)
{
  for (guint i = 0; kind == VP_SPEC_NETWORK && i < spec->nics->len; i++)
    if (g_strcmp0 (((VpNic *) g_ptr_array_index (spec->nics, i))->network,
                   name) == 0)
      return true;
  for (guint i = 0; kind == VP_SPEC_POOL && i < spec->disks->len; i++)
    if (g_strcmp0 (((VpDisk *) g_ptr_array_index (spec->disks, i))->pool,
                   name) == 0)
      return true;
  return false;
}

/* A network or pool that guests use outlives its file; images are needed to
 * make a disk only, and what was made has its record. */
static const char *
user_of (VpCatalog *catalog, VpSpecKind kind, const char *name)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, catalog->guests);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    const VpCatalogGuest *guest = value;

    if (is_wanted (guest) && guest_uses (guest->spec, kind, name))
      return guest->name;
  }
  return NULL;
}

static bool
drop_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen, const char *name)
{
  const char *user = user_of (catalog, kind, name);

  g_ptr_array_set_size (seen->problems, 0);
  if (user != NULL) {
    g_ptr_array_add (
        seen->problems,
        vp_problem_new (seen->path, (VpPlace){ 0, 0 }, VP_SEVERITY_WARNING,
                        "in-use",
                        "the file is gone and guest %s still uses %s %s: its "
                        "last version holds",
                        user, vp_spec_kind_to_string (kind), name));
    return false;
  }
  g_hash_table_remove (kind == VP_SPEC_NETWORK ? catalog->networks
                       : kind == VP_SPEC_POOL  ? catalog->pools
                                               : catalog->images,
                       name);
  (void) vp_store_remove_accepted (catalog->store,
                                   vp_spec_kind_to_string (kind), name, NULL);
  return true;
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
      VpCatalogGuest *guest = ensure_guest (catalog, file->name, file->path);

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
        !accept_part (catalog, file->kind, seen, file->name))
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

      if (seen->there || !drop_part (catalog, kind, seen, key))
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
  if (accept_guest (catalog, seen, file->name) > 0)
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
        accept_guest (catalog, seen, file->name) <= 0)
      continue;
    g_ptr_array_add (change->changed, g_strdup (file->name));
    progress = true;
  }
  return progress;
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
    VpGuest *resolved = NULL;

    if (!is_wanted (guest))
      continue;
    resolved = resolve (catalog, guest->spec, guest->record, problems);
    if (resolved == NULL)
      continue;
    vp_guest_unref (guest->resolved);
    guest->resolved = resolved;
    (void) vp_store_save_guest (catalog->store, guest->name, guest->record,
                                NULL); /* the next update saves it again */
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
      catalog->vanish_time = g_get_monotonic_time ();
    guest->there = false;
    g_ptr_array_set_size (guest->problems, 0);
    if (is_wanted (guest))
      g_ptr_array_add (change->vanished, g_strdup (key));
    else if (guest->spec == NULL)
      g_hash_table_iter_remove (&iter);
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
      (void) accept_part (catalog, kind, seen, name);
  }
  return true;
}

/* Records first, all of them: a guest is accepted with its own. */
static bool
load_guests (VpCatalog *catalog, GError **error)
{
  g_autoptr (GPtrArray) names = vp_store_list_guests (catalog->store, error);
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  if (names == NULL)
    return false;
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    const Seen *seen = g_hash_table_lookup (catalog->seen[VP_SPEC_GUEST], name);
    VpGuestRecord *record = vp_store_load_guest (catalog->store, name, NULL);

    if (record != NULL)
      ensure_guest (catalog, name, seen != NULL ? seen->path : NULL)->record =
          record;
  }
  g_hash_table_iter_init (&iter, catalog->seen[VP_SPEC_GUEST]);
  while (g_hash_table_iter_next (&iter, &key, &value)) {
    VpCatalogGuest *guest = ensure_guest (catalog, key, ((Seen *) value)->path);
    bool retired = guest->record != NULL && guest->record->retired;

    if (accept_guest (catalog, value, key) > 0 && retired &&
        !vp_catalog_retire (catalog, key, error))
      return false;
  }
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
    g_autoptr (VpGuest) spec =
        try_guest (catalog, name, path, text, len, record, &resolved, problems);
  } else {
    (void) parse_part (catalog, kind, name, path, text, len, false, problems);
  }
  g_ptr_array_sort (problems, compare_problems);
  return problems;
}

/* ---- What the networks' job wants. ---- */

static void
add_forward (VpNetWanted *wanted, const VpGuest *guest, const VpNic *nic,
             const VpForward *forward, bool udp)
{
  const char *proto = udp ? "udp" : "tcp";
  g_autofree char *id =
      forward->first == forward->last
          ? g_strdup_printf ("%s:%u", proto, forward->first)
          : g_strdup_printf ("%s:%u-%u", proto, forward->first, forward->last);
  VpNetForward *copy = vp_net_forward_new (guest->name, id);

  copy->udp = udp;
  copy->first = forward->first;
  copy->last = forward->last;
  copy->to_first = forward->to_first;
  copy->to_last = forward->to_last;
  copy->target = nic->ip;
  copy->network = g_strdup (nic->network);
  g_ptr_array_add (wanted->forwards, copy);
}

static VpNet *
find_net (const VpNetWanted *wanted, const VpNic *nic)
{
  for (guint i = 0; i < wanted->nets->len; i++) {
    VpNet *net = g_ptr_array_index (wanted->nets, i);

    if (g_strcmp0 (net->bridge, nic->bridge) == 0)
      return net;
  }
  return NULL;
}

static void
add_nic (VpNetWanted *wanted, const VpGuest *guest, const VpNic *nic,
         bool running)
{
  VpNet *net = find_net (wanted, nic);
  VpMac mac;

  if (net == NULL || nic->ip.family == 0 || !vp_mac_parse (nic->mac, &mac))
    return;
  g_ptr_array_add (net->hosts,
                   vp_net_host_new (guest->name, nic->name, &mac, &nic->ip));
  for (guint i = 0; running && i < nic->forwards->len; i++) {
    const VpForward *forward = g_ptr_array_index (nic->forwards, i);

    if (forward->tcp)
      add_forward (wanted, guest, nic, forward, false);
    if (forward->udp)
      add_forward (wanted, guest, nic, forward, true);
  }
}

static int
compare_nets (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(VpNet *const *) a)->name, (*(VpNet *const *) b)->name);
}

VpNetWanted *
vp_catalog_net_wanted (VpCatalog *catalog)
{
  VpNetWanted *wanted = vp_net_wanted_new ();
  g_autoptr (GPtrArray) names = vp_catalog_list (catalog);
  g_autoptr (GHashTable) networks = NULL;
  GHashTableIter iter;
  gpointer value = NULL;
  bool with_default = false;

  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *guest =
        vp_catalog_get (catalog, g_ptr_array_index (names, i));

    with_default |= is_wanted (guest) && uses_default (guest->spec);
  }
  networks = effective_networks (catalog, with_default, NULL);
  if (networks == NULL)
    return wanted;
  g_hash_table_iter_init (&iter, networks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    g_ptr_array_add (wanted->nets, vp_net_copy (value));
  g_ptr_array_sort (wanted->nets, compare_nets);
  for (guint i = 0; i < names->len; i++) {
    const VpCatalogGuest *guest =
        vp_catalog_get (catalog, g_ptr_array_index (names, i));

    if (!is_wanted (guest) || guest->resolved == NULL)
      continue;
    for (guint j = 0; j < guest->resolved->nics->len; j++)
      add_nic (wanted, guest->resolved,
               g_ptr_array_index (guest->resolved->nics, j),
               guest->spec->power != VP_POWER_STOPPED && !guest->record->hold);
  }
  return wanted;
}

/* ---- Volumes. ---- */

static VpVolumeRecord *
volume_record (VpCatalog *catalog, const VpCatalogGuest *guest,
               const VpDisk *disk, char **ret_pool, char **ret_volume)
{
  const char *full = g_hash_table_lookup (guest->record->volumes, disk->name);
  const char *slash = full != NULL ? strchr (full, '/') : NULL;

  if (slash == NULL)
    return NULL;
  *ret_pool = g_strndup (full, (gsize) (slash - full));
  *ret_volume = g_strdup (slash + 1);
  return vp_store_load_volume (catalog->store, *ret_pool, *ret_volume, NULL);
}

GPtrArray *
vp_catalog_volumes (VpCatalog *catalog, const VpCatalogGuest *guest)
{
  GPtrArray *volumes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vp_found_volume_free);

  if (guest->resolved == NULL || guest->resolved->domain_xml != NULL)
    return volumes;
  for (guint i = 0; i < guest->resolved->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (guest->resolved->disks, i);
    g_autofree char *pool = NULL, *name = NULL;
    g_autoptr (VpVolumeRecord) record =
        volume_record (catalog, guest, disk, &pool, &name);
    bool ours = record != NULL && g_strcmp0 (record->owner, guest->name) == 0;
    VpFoundVolume *volume = g_new0 (VpFoundVolume, 1);

    volume->disk = g_strdup (disk->name);
    volume->made = ours && record->created != 0;
    volume->intended = ours;
    volume->size = ours ? record->size : 0;
    volume->format = g_strdup (ours ? record->format : disk->format);
    volume->base = ours ? g_strdup (record->base) : NULL;
    volume->path = g_strdup (ours ? record->path : disk->path);
    g_ptr_array_add (volumes, volume);
  }
  return volumes;
}

bool
vp_catalog_note_volumes (VpCatalog *catalog, VpCatalogGuest *guest,
                         const GPtrArray *volumes, GError **error)
{
  for (guint i = 0; guest->resolved != NULL && i < volumes->len; i++) {
    const VpFoundVolume *volume = g_ptr_array_index (volumes, i);
    const VpDisk *disk = vp_guest_find_disk (guest->resolved, volume->disk);
    g_autofree char *pool = NULL, *name = NULL;
    g_autoptr (VpVolumeRecord) record = NULL;

    if (disk == NULL)
      continue;
    record = volume_record (catalog, guest, disk, &pool, &name);
    if (record == NULL || !volume->made ||
        (record->created != 0 && record->size == volume->size))
      continue;
    record->size = volume->size;
    if (record->created == 0)
      record->created = g_get_real_time () / G_USEC_PER_SEC;
    if (!vp_store_save_volume (catalog->store, pool, name, record, error))
      return false;
  }
  return true;
}

static void
sweep_folder (const char *name, const char *folder)
{
  g_autoptr (VpPool) pool = NULL;
  unsigned removed = 0;

  if (!g_file_test (folder, G_FILE_TEST_IS_DIR))
    return;
  pool = vp_pool_open_dir (name, folder, NULL);
  /* What cannot be swept now lies under a temporary name and harms nobody. */
  if (pool == NULL || !vp_pool_sweep (pool, &removed, NULL))
    return;
}

void
vp_catalog_sweep (VpCatalog *catalog)
{
  GHashTableIter iter;
  gpointer key = NULL, value = NULL;

  sweep_folder ("default", catalog->default_pool);
  g_hash_table_iter_init (&iter, catalog->pools);
  while (g_hash_table_iter_next (&iter, &key, &value))
    sweep_folder (key, ((VpPoolSpec *) value)->path);
}
