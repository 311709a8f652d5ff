/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* resolve: see the header. */
#include "config.h"

#include "daemon/resolve.h"

#include <string.h>
#include <sys/socket.h>

static void
put (GHashTable *table, const char *key, const char *value)
{
  g_hash_table_insert (table, g_strdup (key), g_strdup (value));
}

static void
problem (GPtrArray *problems, const VpGuest *spec, VpPlace place,
         const char *code, char *message)
{
  g_ptr_array_add (problems,
                   vp_problem_new (spec->source_path, place, VP_SEVERITY_ERROR,
                                   code, "%s", message));
  g_free (message);
}

static const char *
pool_folder (const VpResolveContext *context, const char *pool)
{
  const VpPoolSpec *spec = g_hash_table_lookup (context->pools, pool);

  if (spec != NULL)
    return spec->path;
  return g_str_equal (pool, "default") ? context->default_pool : NULL;
}

/* "vda", "vdb", ...: by order at first, by record from then on. */
static char *
choose_target (GHashTable *targets, const char *disk)
{
  const char *known = g_hash_table_lookup (targets, disk);

  if (known != NULL)
    return g_strdup (known);
  for (char letter = 'a'; letter <= 'z'; letter++) {
    g_autofree char *target = g_strdup_printf ("vd%c", letter);
    GHashTableIter iter;
    gpointer value = NULL;
    bool taken = false;

    g_hash_table_iter_init (&iter, targets);
    while (g_hash_table_iter_next (&iter, NULL, &value))
      taken |= g_str_equal (value, target);
    if (!taken) {
      put (targets, disk, target);
      return g_steal_pointer (&target);
    }
  }
  return NULL;
}

/* The record of the disk's volume where that was made, or its file is there
 * already; NULL else. */
static VpVolumeRecord *
made_volume (const VpResolveContext *context, const VpDisk *disk,
             const VpGuestRecord *record)
{
  const char *full = g_hash_table_lookup (record->volumes, disk->name);
  const char *slash = full != NULL ? strchr (full, '/') : NULL;
  g_autofree char *pool =
      slash != NULL ? g_strndup (full, (gsize) (slash - full)) : NULL;
  VpVolumeRecord *volume =
      slash != NULL
          ? vp_store_load_volume (context->store, pool, slash + 1, NULL)
          : NULL;

  if (volume != NULL && volume->created == 0 &&
      !g_file_test (volume->path, G_FILE_TEST_EXISTS))
    g_clear_pointer (&volume, vp_volume_record_free);
  return volume;
}

/* The pool's volume that belongs to this disk: by record, or a name that no
 * other record has. */
static char *
choose_volume (const VpResolveContext *context, const VpGuest *spec,
               const VpDisk *disk, const VpVolumeRecord *made,
               VpGuestRecord *record)
{
  const char *known = g_hash_table_lookup (record->volumes, disk->name);
  g_autofree char *prefix = g_strdup_printf ("%s/", disk->pool);
  g_autofree char *name = NULL;
  g_autofree char *value = NULL;

  if (known != NULL && g_str_has_prefix (known, prefix))
    return g_strdup (known + strlen (prefix));
  /* Another pool than recorded: plan refuses it by the path, once there is a
   * volume. */
  if (made == NULL)
    known = NULL;
  for (unsigned i = 0; i < 100; i++) {
    g_autoptr (VpVolumeRecord) other = NULL;

    g_free (name);
    name = i == 0
               ? g_strdup_printf (
                     "%s-%s.%s", spec->name, disk->name,
                     g_str_equal (disk->format, "raw") ? "img" : disk->format)
               : g_strdup_printf (
                     "%s-%s.%u.%s", spec->name, disk->name, i,
                     g_str_equal (disk->format, "raw") ? "img" : disk->format);
    other = vp_store_load_volume (context->store, disk->pool, name, NULL);
    if (other == NULL || (g_strcmp0 (other->owner, spec->name) == 0 &&
                          g_strcmp0 (other->disk, disk->name) == 0))
      break;
  }
  if (known == NULL) {
    value = g_strdup_printf ("%s/%s", disk->pool, name);
    put (record->volumes, disk->name, value);
  }
  return g_steal_pointer (&name);
}

static void
resolve_disk (const VpResolveContext *context, const VpGuest *spec,
              VpDisk *disk, VpGuestRecord *record, GPtrArray *problems)
{
  const char *folder = NULL;
  g_autofree char *volume = NULL;
  g_autoptr (VpVolumeRecord) made = made_volume (context, disk, record);

  if (disk->pool == NULL)
    disk->pool = g_strdup ("default");
  if (disk->format == NULL)
    disk->format = g_strdup ("qcow2");
  folder = pool_folder (context, disk->pool);
  if (folder == NULL) {
    problem (problems, spec, disk->place, "no-such-pool",
             g_strdup_printf ("disk \"%s\": there is no pool \"%s\"; write "
                              "pools/%s.xml or leave pool= out",
                              disk->name, disk->pool, disk->pool));
    return;
  }
  if (disk->from != NULL && made != NULL && made->base_path != NULL &&
      g_strcmp0 (made->base, disk->from) == 0) {
    /* It stands on what it was made from, whatever the image's file says
     * now. */
    disk->backing_path = g_strdup (made->base_path);
    disk->backing_format = g_strdup (made->base_format);
  } else if (disk->from != NULL) {
    const VpImageSpec *image =
        g_hash_table_lookup (context->images, disk->from);

    if (image == NULL) {
      problem (problems, spec, disk->from_place, "no-such-image",
               g_strdup_printf ("disk \"%s\": there is no base image \"%s\"; "
                                "write images/%s.xml with its path and format",
                                disk->name, disk->from, disk->from));
      return;
    }
    disk->backing_path = g_strdup (image->path);
    disk->backing_format = g_strdup (image->format);
  }
  volume = choose_volume (context, spec, disk, made, record);
  disk->path = g_build_filename (folder, volume, NULL);
  disk->target = choose_target (record->targets, disk->name);
  if (disk->target == NULL)
    problem (problems, spec, disk->place, "too-many",
             g_strdup ("more than 26 disks"));
}

static bool
is_taken (const GArray *taken, const VpAddr *addr)
{
  for (guint i = 0; i < taken->len; i++)
    if (vp_addr_equal (&g_array_index (taken, VpAddr, i), addr))
      return true;
  return false;
}

/* The address that the spec states, completed by the network's prefix. */
static bool
stated_address (const VpResolveContext *context, const VpGuest *spec,
                const VpNet *net, VpNic *nic, GPtrArray *problems)
{
  g_autofree char *prefix = vp_cidr_to_string (&net->address);
  const char *why = NULL;
  VpAddr network = vp_cidr_network (&net->address);
  VpAddr broadcast = vp_cidr_broadcast (&net->address);

  if (!vp_cidr_complete (&net->address, nic->address, &nic->ip) ||
      !vp_cidr_contains (&net->address, &nic->ip))
    why = "is not in it";
  else if (vp_addr_equal (&nic->ip, &net->address.addr))
    why = "is the host's own address there";
  else if (vp_addr_equal (&nic->ip, &network) ||
           vp_addr_equal (&nic->ip, &broadcast))
    why = "is its network or broadcast address";
  else if (is_taken (context->taken, &nic->ip))
    why = "belongs to another guest";
  if (why != NULL)
    problem (problems, spec, nic->place, "bad-address",
             g_strdup_printf ("nic \"%s\": network \"%s\" is %s, and address "
                              "%s %s",
                              nic->name, net->name, prefix, nic->address, why));
  return why == NULL;
}

static bool
choose_address (const VpResolveContext *context, const VpGuest *spec,
                const VpNet *net, VpNic *nic, VpGuestRecord *record,
                GPtrArray *problems)
{
  const char *known = g_hash_table_lookup (record->addresses, nic->name);
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  if (nic->address != NULL)
    return stated_address (context, spec, net, nic, problems);
  if (known != NULL && vp_addr_parse (known, &nic->ip) &&
      vp_cidr_contains (&net->address, &nic->ip) &&
      !is_taken (context->taken, &nic->ip))
    return true;
  if (!vp_net_choose_address (&net->address, context->taken, &nic->ip,
                              &error)) {
    problem (problems, spec, nic->place, "no-address",
             g_strdup_printf ("nic \"%s\": %s", nic->name, error->message));
    return false;
  }
  text = vp_addr_to_string (&nic->ip);
  put (record->addresses, nic->name, text);
  return true;
}

static const VpNet *
net_of_bridge (const VpResolveContext *context, const char *bridge)
{
  GHashTableIter iter;
  gpointer value = NULL;

  g_hash_table_iter_init (&iter, context->networks);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (g_strcmp0 (((VpNet *) value)->bridge, bridge) == 0)
      return value;
  return NULL;
}

static void
resolve_nic (const VpResolveContext *context, const VpGuest *spec, VpNic *nic,
             VpGuestRecord *record, GPtrArray *problems)
{
  const VpNet *net = NULL;

  if (nic->mac == NULL) {
    const char *known = g_hash_table_lookup (record->macs, nic->name);

    if (known != NULL) {
      nic->mac = g_strdup (known);
    } else {
      VpMac mac = vp_store_derive_mac (context->store, spec->name, nic->name);

      nic->mac = vp_mac_to_string (&mac);
      put (record->macs, nic->name, nic->mac);
    }
  }
  if (nic->network != NULL && spec->domain_xml == NULL) {
    net = g_hash_table_lookup (context->networks, nic->network);
    if (net == NULL) {
      problem (problems, spec, nic->place, "no-such-network",
               g_strdup_printf ("nic \"%s\": there is no network \"%s\"; "
                                "write networks/%s.xml",
                                nic->name, nic->network, nic->network));
      return;
    }
    g_free (nic->bridge);
    nic->bridge = g_strdup (net->bridge);
  } else if (nic->bridge != NULL) {
    net = net_of_bridge (context, nic->bridge);
  }
  if (net == NULL) {
    if (nic->forwards->len > 0)
      problem (problems, spec, nic->place, "forward-needs-network",
               g_strdup_printf ("nic \"%s\": forwards need network=, one of "
                                "vprovd's own networks",
                                nic->name));
    return;
  }
  if (choose_address (context, spec, net, nic, record, problems))
    g_array_append_val (context->taken, nic->ip);
}

VpGuest *
vp_resolve_guest (const VpResolveContext *context, const VpGuest *spec,
                  VpGuestRecord *record, GPtrArray *problems)
{
  g_autoptr (VpGuest) guest = vp_guest_copy (spec);
  guint before = problems->len;

  if (guest->uuid == NULL)
    guest->uuid = record->uuid != NULL
                      ? g_strdup (record->uuid)
                      : vp_store_derive_uuid (context->store, spec->name);
  if (g_strcmp0 (record->uuid, guest->uuid) != 0) {
    g_free (record->uuid);
    record->uuid = g_strdup (guest->uuid);
  }
  if (guest->domain_xml == NULL) {
    if (guest->machine == NULL)
      guest->machine = g_strdup (record->machine);
    if (guest->arch == NULL)
      guest->arch = g_strdup (record->arch);
    for (guint i = 0; i < guest->disks->len; i++)
      resolve_disk (context, spec, g_ptr_array_index (guest->disks, i), record,
                    problems);
  }
  for (guint i = 0; i < guest->nics->len; i++)
    resolve_nic (context, spec, g_ptr_array_index (guest->nics, i), record,
                 problems);
  return problems->len == before ? g_steal_pointer (&guest) : NULL;
}
