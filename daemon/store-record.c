/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store-record: the records of guests and volumes as key files.
 *
 * What a record holds wins over everything that could be derived again, so a
 * record that cannot be understood is an error that names the file, never
 * taken for an absent one.  Unknown keys and groups are passed over: a later
 * vprovd of the same version may have written them. */
#include "config.h"

#include "daemon/error.h"
#include "daemon/store-private.h"

#include <gio/gio.h>

#include <stddef.h>
#include <string.h>

static const char guest_cure[] =
    "repair it, or move it away: the guest's domain is then looked at for its "
    "UUID and MACs, and what is not found there is derived anew";
static const char volume_cure[] =
    "repair it, or move it away: the volume is then an orphan, its data stay";

static const struct {
  const char *group;
  size_t offset;
} guest_maps[] = {
  { "macs", offsetof (VpGuestRecord, macs) },
  { "addresses", offsetof (VpGuestRecord, addresses) },
  { "volumes", offsetof (VpGuestRecord, volumes) },
  { "targets", offsetof (VpGuestRecord, targets) },
};

static GHashTable **
map_of (const VpGuestRecord *record, size_t i)
{
  return G_STRUCT_MEMBER_P (record, guest_maps[i].offset);
}

VpGuestRecord *
vp_guest_record_new (void)
{
  VpGuestRecord *record = g_new0 (VpGuestRecord, 1);

  for (size_t i = 0; i < G_N_ELEMENTS (guest_maps); i++)
    *map_of (record, i) =
        g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return record;
}

VpGuestRecord *
vp_guest_record_copy (const VpGuestRecord *record)
{
  VpGuestRecord *copy = vp_guest_record_new ();

  copy->uuid = g_strdup (record->uuid);
  copy->domain = g_strdup (record->domain);
  copy->machine = g_strdup (record->machine);
  copy->arch = g_strdup (record->arch);
  copy->hold = record->hold;
  copy->boot_id = g_strdup (record->boot_id);
  copy->retired = record->retired;
  copy->off = record->off;
  for (size_t i = 0; i < G_N_ELEMENTS (guest_maps); i++) {
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init (&iter, *map_of (record, i));
    while (g_hash_table_iter_next (&iter, &key, &value))
      g_hash_table_insert (*map_of (copy, i), g_strdup (key), g_strdup (value));
  }
  return copy;
}

void
vp_guest_record_free (VpGuestRecord *record)
{
  if (!record)
    return;
  g_free (record->uuid);
  g_free (record->domain);
  g_free (record->machine);
  g_free (record->arch);
  g_free (record->boot_id);
  for (size_t i = 0; i < G_N_ELEMENTS (guest_maps); i++)
    g_clear_pointer (map_of (record, i), g_hash_table_unref);
  g_free (record);
}

void
vp_volume_record_free (VpVolumeRecord *record)
{
  if (!record)
    return;
  g_free (record->owner);
  g_free (record->disk);
  g_free (record->path);
  g_free (record->format);
  g_free (record->base);
  g_free (record->base_path);
  g_free (record->base_format);
  g_free (record);
}

static void
set_string (GKeyFile *keys, const char *group, const char *key,
            const char *value)
{
  if (value)
    g_key_file_set_string (keys, group, key, value);
}

/* In the order of the keys: equal records are equal bytes. */
static bool
set_map (GKeyFile *keys, const char *group, GHashTable *map, GError **error)
{
  g_autoptr (GList) names = g_hash_table_get_keys (map);

  names = g_list_sort (names, (GCompareFunc) strcmp);
  for (GList *l = names; l; l = l->next) {
    if (!vp_folder_name_is_valid (l->data)) {
      g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                   "a record cannot hold the name \"%s\"", (char *) l->data);
      return false;
    }
    g_key_file_set_string (keys, group, l->data,
                           g_hash_table_lookup (map, l->data));
  }
  return true;
}

bool
vp_store_save_guest (VpStore *store, const char *name,
                     const VpGuestRecord *record, GError **error)
{
  g_autoptr (GKeyFile) keys = g_key_file_new ();

  g_key_file_set_boolean (keys, "guest", "hold", record->hold);
  g_key_file_set_boolean (keys, "guest", "retired", record->retired);
  g_key_file_set_boolean (keys, "guest", "off", record->off);
  set_string (keys, "guest", "uuid", record->uuid);
  set_string (keys, "guest", "domain", record->domain);
  set_string (keys, "guest", "machine", record->machine);
  set_string (keys, "guest", "arch", record->arch);
  set_string (keys, "guest", "boot-id", record->boot_id);
  for (size_t i = 0; i < G_N_ELEMENTS (guest_maps); i++)
    if (!set_map (keys, guest_maps[i].group, *map_of (record, i), error))
      return false;
  return vp_store_save_keys (store->guests, name, keys, error);
}

/* A string that is there but not a string is a damaged file; absent is
 * NULL. */
static bool
get_string (GKeyFile *keys, const char *group, const char *key,
            char **ret_value, GError **error)
{
  g_autoptr (GError) local_error = NULL;

  *ret_value = g_key_file_get_string (keys, group, key, &local_error);
  /* A bad escape gives both a value and an error. */
  if (!local_error ||
      g_error_matches (local_error, G_KEY_FILE_ERROR,
                       G_KEY_FILE_ERROR_KEY_NOT_FOUND) ||
      g_error_matches (local_error, G_KEY_FILE_ERROR,
                       G_KEY_FILE_ERROR_GROUP_NOT_FOUND))
    return true;
  g_clear_pointer (ret_value, g_free);
  g_propagate_error (error, g_steal_pointer (&local_error));
  return false;
}

static bool
get_bool (GKeyFile *keys, const char *group, const char *key, bool *ret_value,
          GError **error)
{
  g_autofree char *text = NULL;

  if (!get_string (keys, group, key, &text, error))
    return false;
  if (text && strcmp (text, "true") != 0 && strcmp (text, "false") != 0) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
                 "%s=%s is neither true nor false", key, text);
    return false;
  }
  *ret_value = text && strcmp (text, "true") == 0;
  return true;
}

static bool
get_map (GKeyFile *keys, const char *group, GHashTable *map, GError **error)
{
  g_auto (GStrv) names = g_key_file_get_keys (keys, group, NULL, NULL);

  for (char **name = names; name && *name; name++) {
    char *value;

    if (!get_string (keys, group, *name, &value, error))
      return false;
    g_hash_table_insert (map, g_strdup (*name), value);
  }
  return true;
}

static bool
read_guest (GKeyFile *keys, VpGuestRecord *record, GError **error)
{
  if (!g_key_file_has_group (keys, "guest")) {
    g_set_error_literal (error, VP_ERROR, VP_ERROR_FAILED,
                         "not the record of a guest");
    return false;
  }
  if (!get_string (keys, "guest", "uuid", &record->uuid, error) ||
      !get_string (keys, "guest", "domain", &record->domain, error) ||
      !get_string (keys, "guest", "machine", &record->machine, error) ||
      !get_string (keys, "guest", "arch", &record->arch, error) ||
      !get_string (keys, "guest", "boot-id", &record->boot_id, error) ||
      !get_bool (keys, "guest", "hold", &record->hold, error) ||
      !get_bool (keys, "guest", "retired", &record->retired, error) ||
      !get_bool (keys, "guest", "off", &record->off, error))
    return false;
  if (record->uuid && !g_uuid_string_is_valid (record->uuid)) {
    g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "uuid=%s is not a UUID",
                 record->uuid);
    return false;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (guest_maps); i++)
    if (!get_map (keys, guest_maps[i].group, *map_of (record, i), error))
      return false;
  return true;
}

VpGuestRecord *
vp_store_load_guest (VpStore *store, const char *name, GError **error)
{
  g_autoptr (GKeyFile) keys =
      vp_store_load_keys (store->guests, name, guest_cure, error);
  g_autoptr (VpGuestRecord) record = NULL;
  g_autoptr (GError) local_error = NULL;

  if (!keys)
    return NULL;
  record = vp_guest_record_new ();
  if (!read_guest (keys, record, &local_error)) {
    vp_store_set_corrupt (error, store->guests, name, local_error->message,
                          guest_cure);
    return NULL;
  }
  return g_steal_pointer (&record);
}

bool
vp_store_remove_guest (VpStore *store, const char *name, GError **error)
{
  return vp_folder_remove (store->guests, name, error);
}

GPtrArray *
vp_store_list_guests (VpStore *store, GError **error)
{
  return vp_folder_list (store->guests, error);
}

/* "POOL/VOLUME" in two; false where it is not that. */
static bool
split_volume (const char *text, char **ret_pool, char **ret_volume)
{
  const char *slash = strchr (text, '/');

  if (!slash)
    return false;
  *ret_pool = g_strndup (text, (size_t) (slash - text));
  *ret_volume = g_strdup (slash + 1);
  return true;
}

static bool
hand_over_volume (VpStore *store, const char *place, const char *old_owner,
                  const char *new_owner, GError **error)
{
  g_autofree char *pool = NULL;
  g_autofree char *volume = NULL;
  g_autoptr (VpVolumeRecord) record = NULL;
  g_autoptr (GError) local_error = NULL;

  if (!split_volume (place, &pool, &volume))
    return true;
  record = vp_store_load_volume (store, pool, volume, &local_error);
  if (local_error) {
    g_propagate_error (error, g_steal_pointer (&local_error));
    return false;
  }
  if (!record || g_strcmp0 (record->owner, old_owner) != 0)
    return true;
  g_free (record->owner);
  record->owner = g_strdup (new_owner);
  return vp_store_save_volume (store, pool, volume, record, error);
}

/* The volumes first, the guest's own record last: cut in between, the old
 * name still has its record and the renaming is done again. */
bool
vp_store_rename_guest (VpStore *store, const char *old_name,
                       const char *new_name, GError **error)
{
  g_autoptr (VpGuestRecord) record = NULL;
  g_autoptr (VpGuestRecord) other = NULL;
  g_autoptr (GError) local_error = NULL;
  GHashTableIter iter;
  gpointer place;

  other = vp_store_load_guest (store, new_name, &local_error);
  if (local_error || other) {
    g_set_error (error, VP_ERROR, VP_ERROR_NAME_TAKEN,
                 "guest %s cannot become %s: there is a record of that name",
                 old_name, new_name);
    return false;
  }
  record = vp_store_load_guest (store, old_name, &local_error);
  if (!record) {
    if (local_error)
      g_propagate_error (error, g_steal_pointer (&local_error));
    else
      g_set_error (error, VP_ERROR, VP_ERROR_NO_SUCH_GUEST,
                   "guest %s has no record", old_name);
    return false;
  }
  g_hash_table_iter_init (&iter, record->volumes);
  while (g_hash_table_iter_next (&iter, NULL, &place))
    if (!hand_over_volume (store, place, old_name, new_name, error))
      return false;
  return vp_folder_rename (store->guests, old_name, new_name, error);
}

/* Borrowed.  Without create NULL and no error where the pool never had a
 * record: looking must not write. */
static const VpFolder *
open_pool (VpStore *store, const char *pool, bool create, GError **error)
{
  VpFolder *folder = g_hash_table_lookup (store->pools, pool);
  g_autoptr (GError) local_error = NULL;

  if (folder)
    return folder;
  folder = vp_folder_open_below (store->volumes, pool, create, &local_error);
  if (folder)
    g_hash_table_insert (store->pools, g_strdup (pool), folder);
  else if (create ||
           !g_error_matches (local_error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_propagate_error (error, g_steal_pointer (&local_error));
  return folder;
}

static bool
read_volume (GKeyFile *keys, VpVolumeRecord *record, GError **error)
{
  g_autofree char *size = NULL;
  g_autofree char *created = NULL;

  if (!get_string (keys, "volume", "owner", &record->owner, error) ||
      !get_string (keys, "volume", "disk", &record->disk, error) ||
      !get_string (keys, "volume", "path", &record->path, error) ||
      !get_string (keys, "volume", "format", &record->format, error) ||
      !get_string (keys, "volume", "base", &record->base, error) ||
      !get_string (keys, "volume", "base-path", &record->base_path, error) ||
      !get_string (keys, "volume", "base-format", &record->base_format,
                   error) ||
      !get_string (keys, "volume", "size", &size, error) ||
      !get_string (keys, "volume", "created", &created, error))
    return false;
  if (!record->path || !record->format || !size ||
      !g_ascii_string_to_unsigned (size, 10, 0, G_MAXUINT64, &record->size,
                                   NULL) ||
      (created &&
       !g_ascii_string_to_signed (created, 10, G_MININT64, G_MAXINT64,
                                  &record->created, NULL))) {
    g_set_error_literal (error, VP_ERROR, VP_ERROR_FAILED,
                         "path, format, size or created is missing or wrong");
    return false;
  }
  return true;
}

VpVolumeRecord *
vp_store_load_volume (VpStore *store, const char *pool, const char *volume,
                      GError **error)
{
  const VpFolder *folder = open_pool (store, pool, false, error);
  g_autoptr (GKeyFile) keys = NULL;
  g_autoptr (VpVolumeRecord) record = NULL;
  g_autoptr (GError) local_error = NULL;

  if (!folder)
    return NULL;
  keys = vp_store_load_keys (folder, volume, volume_cure, error);
  if (!keys)
    return NULL;
  record = g_new0 (VpVolumeRecord, 1);
  if (!read_volume (keys, record, &local_error)) {
    vp_store_set_corrupt (error, folder, volume, local_error->message,
                          volume_cure);
    return NULL;
  }
  return g_steal_pointer (&record);
}

bool
vp_store_save_volume (VpStore *store, const char *pool, const char *volume,
                      const VpVolumeRecord *record, GError **error)
{
  const VpFolder *folder = open_pool (store, pool, true, error);
  g_autoptr (GKeyFile) keys = g_key_file_new ();

  if (!folder)
    return false;
  g_key_file_set_uint64 (keys, "volume", "size", record->size);
  g_key_file_set_int64 (keys, "volume", "created", record->created);
  set_string (keys, "volume", "owner", record->owner);
  set_string (keys, "volume", "disk", record->disk);
  set_string (keys, "volume", "path", record->path);
  set_string (keys, "volume", "format", record->format);
  set_string (keys, "volume", "base", record->base);
  set_string (keys, "volume", "base-path", record->base_path);
  set_string (keys, "volume", "base-format", record->base_format);
  return vp_store_save_keys (folder, volume, keys, error);
}
