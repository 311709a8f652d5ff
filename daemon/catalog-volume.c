/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog-volume: the records of the guests' volumes: whose they are, from
 * before they are made until a person purges them. */
#include "config.h"

#include "daemon/catalog-private.h"

#include "daemon/plan.h"
#include "storage/pool.h"

#include <string.h>

static void
describe (VpVolumeRecord *volume, const VpDisk *disk)
{
  g_free (volume->path);
  g_free (volume->format);
  g_free (volume->base);
  g_free (volume->base_path);
  g_free (volume->base_format);
  volume->path = g_strdup (disk->path);
  volume->format = g_strdup (disk->format);
  volume->base = g_strdup (disk->from);
  volume->base_path = g_strdup (disk->backing_path);
  volume->base_format = g_strdup (disk->backing_format);
}

/* True, too, where that cannot be known: a record that cannot be read proves
 * nothing. */
bool
vp_catalog_is_made (VpCatalog *catalog, const VpGuestRecord *record,
                    const char *disk)
{
  const char *full = g_hash_table_lookup (record->volumes, disk);
  g_auto (GStrv) words = full != NULL ? g_strsplit (full, "/", 2) : NULL;
  g_autoptr (VpVolumeRecord) volume = NULL;
  g_autoptr (GError) error = NULL;

  if (words == NULL)
    return false;
  if (g_strv_length (words) != 2)
    return true;
  volume = vp_store_load_volume (catalog->store, words[0], words[1], &error);
  if (volume == NULL)
    return error != NULL;
  return volume->created != 0 ||
         (volume->path != NULL &&
          g_file_test (volume->path, G_FILE_TEST_EXISTS));
}

/* The volumes' owners are written down before anything is made: what a crash
 * leaves behind has an owner then. */
bool
vp_catalog_save_intents (VpCatalog *catalog, const VpGuest *guest,
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
    /* What a crash made without noting it is what was meant then. */
    if (volume->created == 0 &&
        (volume->path == NULL ||
         !g_file_test (volume->path, G_FILE_TEST_EXISTS))) {
      describe (volume, disk);
      volume->size = disk->size;
    }
    if (!vp_store_save_volume (catalog->store, pool, slash + 1, volume, error))
      return false;
  }
  return true;
}

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
                         const VpGuest *wanted, const GPtrArray *volumes,
                         GError **error)
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
    if (record->created == 0) {
      /* As the job made it: the specs may have moved on meanwhile. */
      disk = wanted != NULL ? vp_guest_find_disk (wanted, volume->disk) : NULL;
      if (disk != NULL)
        describe (record, disk);
      record->created = g_get_real_time () / G_USEC_PER_SEC;
    }
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
