/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool: the face of all kinds of pool.  Names are checked here, once, so that
 * no kind ever sees one that is a path, a hidden file or one of our own
 * temporaries; the rest is the kind's. */
#include "config.h"

#include "storage/pool.h"

#include "storage/error.h"
#include "storage/pool-kind.h"

#include <string.h>

/* NAME_MAX less "." and ".vprov-tmp". */
#define MAX_NAME_LEN (255 - 1 - 10)

bool
vp_pool_name_is_valid (const char *volume)
{
  size_t len = strlen (volume);

  if (len == 0 || len > MAX_NAME_LEN || volume[0] == '.')
    return false;
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char) volume[i];
    if (c < 0x20 || c == 0x7f || c == '/')
      return false;
  }
  return g_utf8_validate (volume, (gssize) len, NULL);
}

static bool
check_name (VpPool *pool, const char *volume, GError **error)
{
  if (vp_pool_name_is_valid (volume))
    return true;
  g_autofree char *shown = g_strescape (volume, NULL);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "pool %s: '%.80s' is not a volume name (no slash, no leading "
               "dot, no control characters, at most %d bytes)",
               pool->name, shown, MAX_NAME_LEN);
  return false;
}

void
vp_pool_free (VpPool *pool)
{
  if (pool != NULL)
    pool->kind->close (pool);
}

char *
vp_pool_volume_path (VpPool *pool, const char *volume)
{
  return pool->kind->volume_path (pool, volume);
}

bool
vp_pool_has_volume (VpPool *pool, const char *volume, bool *ret_there,
                    GError **error)
{
  return check_name (pool, volume, error) &&
         pool->kind->has_volume (pool, volume, ret_there, error);
}

int
vp_pool_open_volume (VpPool *pool, const char *volume, bool writable,
                     GError **error)
{
  if (!check_name (pool, volume, error))
    return -1;
  return pool->kind->open_volume (pool, volume, writable, error);
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

GPtrArray *
vp_pool_list (VpPool *pool, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);

  if (!pool->kind->list (pool, names, error))
    return NULL;
  g_ptr_array_sort (names, compare_names);
  return g_steal_pointer (&names);
}

bool
vp_pool_get_space (VpPool *pool, uint64_t *ret_capacity,
                   uint64_t *ret_available, GError **error)
{
  return pool->kind->get_space (pool, ret_capacity, ret_available, error);
}

VpPoolNew *
vp_pool_new_volume (VpPool *pool, const char *volume, GError **error)
{
  if (!check_name (pool, volume, error))
    return NULL;
  return pool->kind->new_volume (pool, volume, error);
}

int
vp_pool_new_get_fd (VpPoolNew *new_volume)
{
  return new_volume->fd;
}

bool
vp_pool_new_commit (VpPoolNew *new_volume, GError **error)
{
  return new_volume->pool->kind->commit (new_volume, error);
}

void
vp_pool_new_abort (VpPoolNew *new_volume)
{
  if (new_volume != NULL)
    new_volume->pool->kind->abort (new_volume);
}

bool
vp_pool_remove_volume (VpPool *pool, const char *volume, GError **error)
{
  return check_name (pool, volume, error) &&
         pool->kind->remove_volume (pool, volume, error);
}

bool
vp_pool_sweep (VpPool *pool, unsigned *ret_removed, GError **error)
{
  return pool->kind->sweep (pool, ret_removed, error);
}
