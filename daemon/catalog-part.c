/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog-part: accepting and dropping networks, pools and images. */
#include "config.h"

#include "daemon/catalog-private.h"

#include "daemon/spec-xml.h"

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

bool
vp_catalog_parse_part (VpCatalog *catalog, VpSpecKind kind, const char *name,
                       const char *path, const char *text, size_t len,
                       bool keep, GPtrArray *problems)
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

bool
vp_catalog_accept_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen,
                        const char *name)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (GError) error = NULL;
  bool good = vp_catalog_parse_part (catalog, kind, name, seen->path,
                                     seen->text, seen->len, true, problems);

  if (good &&
      !vp_store_save_accepted (catalog->store, vp_spec_kind_to_string (kind),
                               name, seen->path, seen->text, seen->len, &error))
    vp_catalog_store_problem (problems, seen->path, error);
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

    if (vp_catalog_is_wanted (guest) && guest_uses (guest->spec, kind, name))
      return guest->name;
  }
  return NULL;
}

bool
vp_catalog_drop_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen,
                      const char *name)
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
