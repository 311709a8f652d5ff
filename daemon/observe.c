/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* observe: see the header. */
#include "config.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"
#include "daemon/observe.h"
#include "storage/pool.h"

/* A folder that is not there holds no volumes; it is made when one is. */
static bool
look_for_volume (VpFoundVolume *volume, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (volume->path);
  g_autofree char *name = g_path_get_basename (volume->path);
  g_autoptr (VpPool) pool = NULL;

  if (!g_file_test (folder, G_FILE_TEST_IS_DIR)) {
    volume->there = false;
    return true;
  }
  pool = vp_pool_open_dir (folder, folder, error);
  return pool != NULL && vp_pool_has_volume (pool, name, &volume->there, error);
}

static VpFoundVolume *
volume_copy (const VpFoundVolume *volume)
{
  VpFoundVolume *copy = g_new0 (VpFoundVolume, 1);

  *copy = *volume;
  copy->disk = g_strdup (volume->disk);
  copy->format = g_strdup (volume->format);
  copy->base = g_strdup (volume->base);
  copy->path = g_strdup (volume->path);
  return copy;
}

static bool
take_domain (VpFound *found, const char *guest, const char *uuid,
             const VpHostDomain *domain, GError **error)
{
  const VpMark *mark = domain->mark;

  found->exists = true;
  found->uuid = g_strdup (domain->uuid);
  found->power = domain->power;
  found->clean_shutdown = domain->clean_shutdown;
  if (mark != NULL && (g_strcmp0 (mark->guest, guest) == 0 ||
                       (uuid != NULL && g_strcmp0 (domain->uuid, uuid) == 0))) {
    found->renamed = g_strcmp0 (mark->guest, guest) != 0;
    found->marked = true;
    found->retired = mark->retired;
    found->digest = g_strdup (mark->digest);
  } else if (mark != NULL) {
    found->owner = g_strdup (mark->guest);
  }
  if (domain->live_mark != NULL) {
    found->live_digest = g_strdup (domain->live_mark->digest);
    found->live_fixed = g_strdup (domain->live_mark->fixed);
  }
  found->config = vp_domain_xml_parse (domain->xml, error);
  if (found->config == NULL)
    return false;
  if (domain->live_xml != NULL) {
    found->live = vp_domain_xml_parse (domain->live_xml, error);
    if (found->live == NULL)
      return false;
  }
  return true;
}

VpFound *
vp_observe_guest (VpHost *host, const char *domain_name, const char *guest,
                  const char *uuid, const GPtrArray *volumes, GError **error)
{
  g_autoptr (VpFound) found = vp_found_new ();
  g_autoptr (VpHostDomain) domain = NULL;
  g_autoptr (GError) local = NULL;

  for (guint i = 0; volumes != NULL && i < volumes->len; i++) {
    VpFoundVolume *volume = volume_copy (g_ptr_array_index (volumes, i));

    g_ptr_array_add (found->volumes, volume);
    if (!look_for_volume (volume, error))
      return NULL;
  }
  domain = host->ops->get (host, domain_name, &local);
  if (domain != NULL)
    return take_domain (found, guest, uuid, domain, error)
               ? g_steal_pointer (&found)
               : NULL;
  if (!g_error_matches (local, VP_ERROR, VP_ERROR_NO_SUCH_GUEST)) {
    g_propagate_error (error, g_steal_pointer (&local));
    return NULL;
  }
  return g_steal_pointer (&found);
}
