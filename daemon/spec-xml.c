/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* spec-xml: the vocabulary of spec files as tables, and the reading of values
 * out of a file that keeps to them.
 *
 * First the walker holds the whole file against the tables, then values are
 * read, then values are held against each other.  All three go on after a
 * mistake; the problems come out in the order of the file.  A whole libvirt
 * <domain> file is read by spec-domain-xml. */
#include "config.h"

#include "daemon/spec-xml.h"

#include "daemon/forward-xml.h"
#include "daemon/spec-domain-xml.h"
#include "daemon/walk-xml.h"
#include "net/addr.h"

#include <string.h>
#include <sys/socket.h>

#define MIB      (UINT64_C (1024) * 1024)
#define MAX_CPUS 1024

/* Attributes and elements of <guest>. */
static const VpShapeAttribute nic_attributes[] = {
  { "name", VP_SHAPE_OPTIONAL },
  { "network", VP_SHAPE_OPTIONAL },
  { "bridge", VP_SHAPE_OPTIONAL },
  { "mac", VP_SHAPE_OPTIONAL },
  { "address", VP_SHAPE_OPTIONAL },
  { "remove", VP_SHAPE_LATER },
  { "macvtap", VP_SHAPE_LATER },
  { "vlan", VP_SHAPE_LATER },
  { "hostname", VP_SHAPE_LATER },
  { "model", VP_SHAPE_LATER },
  { "filter", VP_SHAPE_LATER },
  { "inbound", VP_SHAPE_LATER },
  { "outbound", VP_SHAPE_LATER },
  { "boot", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShapeChild nic_children[] = {
  { "forward", VP_SHAPE_MANY, &vp_forward_xml_shape },
  { NULL, 0, NULL },
};
static const VpShape nic_shape = { .attributes = nic_attributes,
                                   .children = nic_children };

static const VpShapeAttribute disk_attributes[] = {
  { "name", VP_SHAPE_REQUIRED },   { "size", VP_SHAPE_OPTIONAL },
  { "pool", VP_SHAPE_OPTIONAL },   { "format", VP_SHAPE_OPTIONAL },
  { "from", VP_SHAPE_OPTIONAL },   { "remove", VP_SHAPE_LATER },
  { "volume", VP_SHAPE_LATER },    { "sha256", VP_SHAPE_LATER },
  { "clone", VP_SHAPE_LATER },     { "bus", VP_SHAPE_LATER },
  { "cache", VP_SHAPE_LATER },     { "discard", VP_SHAPE_LATER },
  { "boot", VP_SHAPE_LATER },      { "iops", VP_SHAPE_LATER },
  { "bps", VP_SHAPE_LATER },       { "encrypt", VP_SHAPE_LATER },
  { "secret", VP_SHAPE_LATER },    { "snapshots", VP_SHAPE_LATER },
  { "on-remove", VP_SHAPE_LATER }, { NULL, 0 },
};
static const VpShape disk_shape = { .attributes = disk_attributes };

static const VpShapeAttribute kernel_attributes[] = {
  { "image", VP_SHAPE_REQUIRED },
  { "initrd", VP_SHAPE_OPTIONAL },
  { "cmdline", VP_SHAPE_OPTIONAL },
  { NULL, 0 },
};
static const VpShape kernel_shape = { .attributes = kernel_attributes };

static const VpShapeAttribute cpu_attributes[] = {
  { "count", VP_SHAPE_OPTIONAL }, { "max", VP_SHAPE_LATER },
  { "mode", VP_SHAPE_LATER },     { "model", VP_SHAPE_LATER },
  { "weight", VP_SHAPE_LATER },   { "quota", VP_SHAPE_LATER },
  { "pin", VP_SHAPE_LATER },      { NULL, 0 },
};
static const VpShape cpu_shape = { .attributes = cpu_attributes };

static const VpShapeAttribute memory_attributes[] = {
  { "max", VP_SHAPE_LATER },
  { "hugepages", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShape memory_shape = { .attributes = memory_attributes,
                                      .text = true };

static const VpShapeAttribute libvirt_attributes[] = {
  { "into", VP_SHAPE_OPTIONAL },
  { "mode", VP_SHAPE_OPTIONAL },
  { NULL, 0 },
};
static const VpShape libvirt_shape = { .attributes = libvirt_attributes,
                                       .text = true,
                                       .any = true };

static const VpShape text_shape = { .text = true };

static const VpShapeAttribute guest_attributes[] = {
  { "version", VP_SHAPE_OPTIONAL },
  { "name", VP_SHAPE_OPTIONAL },
  { "uuid", VP_SHAPE_OPTIONAL },
  { "state", VP_SHAPE_OPTIONAL },
  { "accel", VP_SHAPE_OPTIONAL },
  { "profile", VP_SHAPE_LATER },
  { "on-change", VP_SHAPE_LATER },
  { "on-drift", VP_SHAPE_LATER },
  { "on-remove", VP_SHAPE_LATER },
  { "protected", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShapeChild guest_children[] = {
  { "description", VP_SHAPE_OPTIONAL, &text_shape },
  { "cpu", VP_SHAPE_OPTIONAL, &cpu_shape },
  { "memory", VP_SHAPE_REQUIRED, &memory_shape },
  { "kernel", VP_SHAPE_OPTIONAL, &kernel_shape },
  { "disk", VP_SHAPE_MANY, &disk_shape },
  { "nic", VP_SHAPE_MANY, &nic_shape },
  { "libvirt", VP_SHAPE_MANY, &libvirt_shape },
  { "label", VP_SHAPE_LATER, NULL },
  { "firmware", VP_SHAPE_LATER, NULL },
  { "os", VP_SHAPE_LATER, NULL },
  { "cdrom", VP_SHAPE_LATER, NULL },
  { "cloud-init", VP_SHAPE_LATER, NULL },
  { "share", VP_SHAPE_LATER, NULL },
  { "hostdev", VP_SHAPE_LATER, NULL },
  { "graphics", VP_SHAPE_LATER, NULL },
  { "boot", VP_SHAPE_LATER, NULL },
  { "shutdown", VP_SHAPE_LATER, NULL },
  { "restart", VP_SHAPE_LATER, NULL },
  { "health", VP_SHAPE_LATER, NULL },
  { "snapshots", VP_SHAPE_LATER, NULL },
  { NULL, 0, NULL },
};
static const VpShape guest_shape = { .attributes = guest_attributes,
                                     .children = guest_children };

static const VpShapeAttribute network_attributes[] = {
  { "version", VP_SHAPE_OPTIONAL },
  { "name", VP_SHAPE_OPTIONAL },
  { "kind", VP_SHAPE_OPTIONAL },
  { "address", VP_SHAPE_OPTIONAL },
  { "bridge", VP_SHAPE_OPTIONAL },
  { "uplink", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShape network_shape = { .attributes = network_attributes };

static const VpShapeAttribute pool_attributes[] = {
  { "version", VP_SHAPE_OPTIONAL },
  { "name", VP_SHAPE_OPTIONAL },
  { "type", VP_SHAPE_OPTIONAL },
  { "path", VP_SHAPE_REQUIRED },
  { NULL, 0 },
};
static const VpShape pool_shape = { .attributes = pool_attributes };

static const VpShapeAttribute image_attributes[] = {
  { "version", VP_SHAPE_OPTIONAL },
  { "name", VP_SHAPE_OPTIONAL },
  { "path", VP_SHAPE_REQUIRED },
  { "format", VP_SHAPE_REQUIRED },
  { "url", VP_SHAPE_LATER },
  { "sha256", VP_SHAPE_LATER },
  { NULL, 0 },
};
static const VpShape image_shape = { .attributes = image_attributes };

static const char *const format_words[] = { "qcow2", "raw", NULL };

/* version= and name= are alike in all files. */
static void
check_head (VpWalk *walk, const VpXmlNode *root, const char *name)
{
  g_autofree char *version = vp_xml_get_attribute (root, "version");
  g_autofree char *given = vp_walk_name (walk, root, "name");

  if (version != NULL && strcmp (version, "1") != 0)
    vp_walk_error (walk, vp_xml_attribute_place (root, "version"),
                   "not-supported",
                   "version \"%.20s\" is not known; this vprovd reads "
                   "version \"1\"",
                   version);
  if (given != NULL && strcmp (given, name) != 0)
    vp_walk_error (walk, vp_xml_attribute_place (root, "name"), "bad-value",
                   "name=\"%s\" differs from the file's name '%s'; leave it "
                   "out, or rename the file to %s.xml",
                   given, name, given);
}

/* A name is only worth something once. */
static bool
claim_name (VpWalk *walk, GHashTable *seen, const VpXmlNode *node,
            const char *name)
{
  const VpXmlNode *first = g_hash_table_lookup (seen, name);

  if (first == NULL) {
    g_hash_table_insert (seen, g_strdup (name), (gpointer) node);
    return true;
  }
  vp_walk_error (walk, vp_xml_attribute_place (node, "name"), "duplicate",
                 "a second <%s> is named '%s'; the first is in line %u",
                 vp_xml_name (node), name, vp_xml_place (first).line);
  return false;
}

static void
read_disk (VpWalk *walk, const VpXmlNode *node, VpGuest *guest,
           GHashTable *names)
{
  g_autofree char *name = vp_walk_name (walk, node, "name");
  g_autoptr (VpDisk) disk = vp_disk_new (name);
  const char *format =
      vp_walk_choice (walk, node, "format", format_words, NULL);
  g_autofree char *size = vp_xml_get_attribute (node, "size");

  if (name != NULL)
    (void) claim_name (walk, names, node, name);
  (void) vp_walk_size (walk, node, "size", 512, &disk->size);
  disk->pool = vp_walk_name (walk, node, "pool");
  if (disk->pool == NULL)
    disk->pool = g_strdup ("default");
  disk->format = g_strdup (format != NULL ? format : "qcow2");
  disk->from = vp_walk_name (walk, node, "from");
  disk->place = vp_xml_place (node);
  disk->from_place = vp_xml_attribute_place (node, "from");
  if (size == NULL && !vp_xml_has_attribute (node, "from"))
    vp_walk_error (walk, disk->place, "missing",
                   "<disk> needs size= (such as size=\"20G\"), or from= with "
                   "the name of a base image");
  g_ptr_array_add (guest->disks, g_steal_pointer (&disk));
}

static void
read_forwards (VpWalk *walk, const VpXmlNode *node, VpGuest *guest, VpNic *nic)
{
  for (const VpXmlNode *child = vp_xml_first (node, "forward"); child != NULL;
       child = vp_xml_next (child, "forward")) {
    VpForward *forward = vp_forward_xml_read (walk, child);

    if (nic->network == NULL && nic->bridge != NULL)
      vp_walk_error (walk, vp_xml_place (child), "conflict",
                     "<forward> needs a NIC with network=: on the bridge '%s' "
                     "vprovd does not know the guest's address",
                     nic->bridge);
    if (forward == NULL)
      continue;
    vp_forward_xml_check (walk, child, forward, guest);
    g_ptr_array_add (nic->forwards, forward);
  }
}

/* What two NICs of one guest cannot share. */
static void
check_nic_alone (VpWalk *walk, const VpXmlNode *node, const VpNic *nic,
                 const VpGuest *guest)
{
  for (guint i = 0; i < guest->nics->len; i++) {
    const VpNic *other = guest->nics->pdata[i];

    if (other == nic)
      continue;
    if (nic->mac != NULL && g_strcmp0 (nic->mac, other->mac) == 0)
      vp_walk_error (walk, vp_xml_attribute_place (node, "mac"), "duplicate",
                     "mac=\"%s\" is that of the NIC in line %u too", nic->mac,
                     other->place.line);
    if (nic->address != NULL && nic->network != NULL &&
        g_strcmp0 (nic->network, other->network) == 0 &&
        g_strcmp0 (nic->address, other->address) == 0)
      vp_walk_error (walk, vp_xml_attribute_place (node, "address"),
                     "duplicate",
                     "address=\"%s\" is that of the NIC in line %u too",
                     nic->address, other->place.line);
  }
}

static void
read_nic (VpWalk *walk, const VpXmlNode *node, VpGuest *guest,
          GHashTable *names)
{
  g_autofree char *name = vp_walk_name (walk, node, "name");
  VpNic *nic;

  if (name == NULL && !vp_xml_has_attribute (node, "name"))
    name = g_strdup_printf ("nic%u", guest->nics->len);
  nic = vp_nic_new (name);
  g_ptr_array_add (guest->nics, nic);
  if (name != NULL)
    (void) claim_name (walk, names, node, name);
  nic->network = vp_walk_name (walk, node, "network");
  nic->bridge = vp_walk_link_name (walk, node, "bridge");
  nic->mac = vp_walk_mac (walk, node, "mac");
  nic->address = vp_walk_address (walk, node, "address");
  nic->place = vp_xml_place (node);
  if (vp_xml_has_attribute (node, "network") &&
      vp_xml_has_attribute (node, "bridge"))
    vp_walk_error (walk, vp_xml_attribute_place (node, "bridge"), "conflict",
                   "<nic> has network= and bridge=; one of them: network= for "
                   "a network of vprovd, bridge= for a bridge that is there");
  else if (!vp_xml_has_attribute (node, "network") &&
           !vp_xml_has_attribute (node, "bridge"))
    vp_walk_error (walk, nic->place, "missing",
                   "<nic> needs network= or bridge=, such as "
                   "network=\"default\"");
  else if (nic->address != NULL && nic->bridge != NULL)
    vp_walk_error (walk, vp_xml_attribute_place (node, "address"), "conflict",
                   "address= needs network=: on the bridge '%s' others give "
                   "addresses",
                   nic->bridge);
  check_nic_alone (walk, node, nic, guest);
  read_forwards (walk, node, guest, nic);
}

static void
read_fragment (VpWalk *walk, const VpXmlNode *node, VpGuest *guest,
               const VpSpecRules *rules)
{
  static const char *const places[] = { "domain", "devices", "features",
                                        "os",     "cpu",     NULL };
  static const char *const modes[] = { "append", "merge", "replace", NULL };
  const char *into = vp_walk_choice (walk, node, "into", places, NULL);
  const char *mode = vp_walk_choice (walk, node, "mode", modes, NULL);
  g_autoptr (VpFragment) fragment = g_new0 (VpFragment, 1);

  vp_spec_domain_check_foreign (walk, node, rules->allow_qemu_commandline);
  fragment->into = g_strdup (into != NULL ? into : "domain");
  fragment->mode = g_strdup (mode != NULL ? mode : "append");
  fragment->xml = vp_xml_serialise_children (node);
  fragment->place = vp_xml_place (node);
  g_ptr_array_add (guest->fragments, g_steal_pointer (&fragment));
}

static void
read_guest_head (VpWalk *walk, const VpXmlNode *root, VpGuest *guest)
{
  static const char *const states[] = { "running", "stopped", NULL };
  static const char *const later_states[] = { "initial", "ignore", NULL };
  static const char *const accels[] = { "auto", "kvm", "tcg", NULL };
  const char *state =
      vp_walk_choice (walk, root, "state", states, later_states);
  const char *accel = vp_walk_choice (walk, root, "accel", accels, NULL);
  const VpXmlNode *kernel = vp_xml_first (root, "kernel");

  guest->uuid = vp_walk_uuid (walk, root, "uuid");
  guest->power = VP_POWER_RUNNING;
  if (state != NULL)
    (void) vp_power_from_string (state, &guest->power);
  if (accel != NULL)
    (void) vp_accel_from_string (accel, &guest->accel);
  guest->description = vp_xml_get_text (vp_xml_first (root, "description"));
  if (vp_xml_first (root, "cpu") != NULL)
    (void) vp_walk_number (walk, vp_xml_first (root, "cpu"), "count", MAX_CPUS,
                           &guest->cpus);
  if (vp_xml_first (root, "memory") != NULL)
    (void) vp_walk_size (walk, vp_xml_first (root, "memory"), NULL, MIB,
                         &guest->memory);
  if (kernel != NULL) {
    guest->kernel_place = vp_xml_place (kernel);
    guest->kernel = vp_walk_path (walk, kernel, "image");
    guest->initrd = vp_walk_path (walk, kernel, "initrd");
    guest->cmdline = vp_xml_get_attribute (kernel, "cmdline");
  }
}

static void
read_guest (VpWalk *walk, const VpXmlNode *root, VpGuest *guest,
            const VpSpecRules *rules)
{
  g_autoptr (GHashTable) disks =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) nics =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  const VpXmlNode *node;

  vp_walk_check (walk, root, &guest_shape);
  check_head (walk, root, guest->name);
  read_guest_head (walk, root, guest);
  for (node = vp_xml_first (root, "disk"); node != NULL;
       node = vp_xml_next (node, "disk"))
    read_disk (walk, node, guest, disks);
  for (node = vp_xml_first (root, "nic"); node != NULL;
       node = vp_xml_next (node, "nic"))
    read_nic (walk, node, guest, nics);
  for (node = vp_xml_first (root, "libvirt"); node != NULL;
       node = vp_xml_next (node, "libvirt"))
    read_fragment (walk, node, guest, rules);
}

/* What every kind of file begins with.  NULL after a mistake that leaves
 * nothing to look at. */
static VpXml *
open_spec (VpWalk *walk, const char *name, const char *text, size_t len)
{
  g_autoptr (VpXml) xml = NULL;
  guint before = walk->problems->len;

  xml =
      vp_xml_parse (walk->path, text, len, &vp_xml_spec_limits, walk->problems);
  walk->n_errors += walk->problems->len - before;
  if (!vp_name_is_valid (name))
    vp_walk_error (walk,
                   xml != NULL ? vp_xml_place (vp_xml_get_root (xml))
                               : (VpPlace){ 0 },
                   "bad-value",
                   "the file's name '%.64s' is no name: up to 63 letters, "
                   "digits, '.', '_' and '-', the first a letter or digit",
                   name);
  return g_steal_pointer (&xml);
}

/* root is none of what the folder takes. */
static void
wrong_root (VpWalk *walk, const VpXmlNode *root, const char *folder,
            const char *const *words)
{
  const char *nearest = vp_xml_nearest (vp_xml_name (root), words);

  if (vp_xml_namespace (root) != NULL)
    vp_walk_error (walk, vp_xml_place (root), "unknown-element",
                   "<%s> is in the namespace '%s'; a spec is in none",
                   vp_xml_name (root), vp_xml_namespace (root));
  else if (nearest != NULL)
    vp_walk_error (walk, vp_xml_place (root), "unknown-element",
                   "unknown element '%s'; did you mean '%s'?",
                   vp_xml_name (root), nearest);
  else
    vp_walk_error (walk, vp_xml_place (root), "unknown-element",
                   "a file in %s/ holds <%s>, not <%s>", folder, words[0],
                   vp_xml_name (root));
}

VpGuest *
vp_spec_parse_guest (const char *path, const char *name, const char *text,
                     size_t len, const VpSpecRules *rules, GPtrArray *problems)
{
  static const char *const roots[] = { "guest", "domain", NULL };
  VpWalk walk = { .path = path, .problems = problems };
  guint first = problems->len;
  g_autoptr (VpXml) xml = open_spec (&walk, name, text, len);
  g_autoptr (VpGuest) guest = NULL;
  const VpXmlNode *root;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  if (vp_xml_is (root, "guest")) {
    guest = vp_guest_new (name);
    read_guest (&walk, root, guest, rules);
  } else if (vp_xml_is (root, "domain"))
    guest = vp_spec_domain_read (&walk, root, name, text, len,
                                 rules->allow_qemu_commandline);
  else if (vp_xml_is (root, "profile"))
    vp_walk_error (&walk, vp_xml_place (root), "not-supported",
                   "<profile> is not supported by this version of vprovd");
  else
    wrong_root (&walk, root, "guests", roots);
  vp_walk_sort (&walk, first);
  if (walk.n_errors > 0 || guest == NULL)
    return NULL;
  guest->source_path = g_strdup (path);
  guest->place = vp_xml_place (root);
  return g_steal_pointer (&guest);
}

/* libvirt's own <network> and <pool> hold elements, ours do not. */
static bool
refuse_native (VpWalk *walk, const VpXmlNode *root, const char *example)
{
  if (vp_xml_first (root, NULL) == NULL)
    return false;
  vp_walk_error (walk, vp_xml_place (root), "not-supported",
                 "libvirt's form of <%s> is not supported by this version of "
                 "vprovd; write %s",
                 vp_xml_name (root), example);
  return true;
}

/* The host's own address with the length of the prefix. */
static void
read_cidr (VpWalk *walk, const VpXmlNode *root, VpCidr *ret_cidr)
{
  g_autofree char *value = vp_xml_get_attribute (root, "address");
  VpPlace place = vp_xml_attribute_place (root, "address");
  VpAddr network, broadcast;
  VpCidr cidr;

  if (value == NULL)
    return;
  if (!vp_cidr_parse (value, &cidr) || strchr (value, '/') == NULL) {
    vp_walk_error (walk, place, "bad-value",
                   "address=\"%.64s\" is no address with a prefix such as "
                   "192.168.50.1/24",
                   value);
    return;
  }
  if (cidr.addr.family != AF_INET) {
    vp_walk_error (walk, place, "not-supported",
                   "address=\"%.64s\": IPv6 is not supported by this version "
                   "of vprovd",
                   value);
    return;
  }
  if (cidr.prefix < 8 || cidr.prefix > 30) {
    vp_walk_error (walk, place, "bad-value",
                   "address=\"%.64s\": a prefix from /8 to /30 has room for "
                   "guests",
                   value);
    return;
  }
  network = vp_cidr_network (&cidr);
  broadcast = vp_cidr_broadcast (&cidr);
  if (vp_addr_equal (&network, &cidr.addr) ||
      vp_addr_equal (&broadcast, &cidr.addr)) {
    vp_walk_error (walk, place, "bad-value",
                   "address=\"%.64s\" is the network itself or its broadcast "
                   "address; it must be the host's own, such as "
                   "192.168.50.1/24",
                   value);
    return;
  }
  *ret_cidr = cidr;
}

VpNet *
vp_spec_parse_network (const char *path, const char *name, const char *text,
                       size_t len, GPtrArray *problems)
{
  static const char *const roots[] = { "network", NULL };
  static const char *const kinds[] = { "nat", "isolated", NULL };
  static const char *const later_kinds[] = { "routed", "bridge", NULL };
  VpWalk walk = { .path = path, .problems = problems };
  guint first = problems->len;
  g_autoptr (VpXml) xml = open_spec (&walk, name, text, len);
  g_autoptr (VpNet) net = NULL;
  const VpXmlNode *root;
  const char *kind;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  if (!vp_xml_is (root, "network")) {
    wrong_root (&walk, root, "networks", roots);
    return NULL;
  }
  if (refuse_native (&walk, root,
                     "<network kind=\"nat\" address=\"192.168.50.1/24\"/>"))
    return NULL;
  net = vp_net_new (name);
  vp_walk_check (&walk, root, &network_shape);
  check_head (&walk, root, name);
  kind = vp_walk_choice (&walk, root, "kind", kinds, later_kinds);
  net->kind = g_strcmp0 (kind, "isolated") == 0 ? VP_NET_ISOLATED : VP_NET_NAT;
  read_cidr (&walk, root, &net->address);
  g_free (net->bridge);
  net->bridge = vp_walk_link_name (&walk, root, "bridge");
  if (net->bridge == NULL)
    net->bridge = vp_net_bridge_name (name);
  vp_walk_sort (&walk, first);
  return walk.n_errors == 0 ? g_steal_pointer (&net) : NULL;
}

VpPoolSpec *
vp_spec_parse_pool (const char *path, const char *name, const char *text,
                    size_t len, GPtrArray *problems)
{
  static const char *const roots[] = { "pool", NULL };
  static const char *const types[] = { "dir", NULL };
  static const char *const later_types[] = { "logical", "lvm", "lvm-thin",
                                             NULL };
  VpWalk walk = { .path = path, .problems = problems };
  guint first = problems->len;
  g_autoptr (VpXml) xml = open_spec (&walk, name, text, len);
  g_autoptr (VpPoolSpec) pool = g_new0 (VpPoolSpec, 1);
  const VpXmlNode *root;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  if (!vp_xml_is (root, "pool")) {
    wrong_root (&walk, root, "pools", roots);
    return NULL;
  }
  if (refuse_native (&walk, root, "<pool path=\"/srv/vm\"/>"))
    return NULL;
  vp_walk_check (&walk, root, &pool_shape);
  check_head (&walk, root, name);
  (void) vp_walk_choice (&walk, root, "type", types, later_types);
  pool->name = g_strdup (name);
  pool->path = vp_walk_path (&walk, root, "path");
  pool->source_path = g_strdup (path);
  pool->place = vp_xml_place (root);
  vp_walk_sort (&walk, first);
  return walk.n_errors == 0 ? g_steal_pointer (&pool) : NULL;
}

VpImageSpec *
vp_spec_parse_image (const char *path, const char *name, const char *text,
                     size_t len, GPtrArray *problems)
{
  static const char *const roots[] = { "image", NULL };
  static const char *const later_formats[] = { "vmdk", "vdi",  "qcow",
                                               "cow",  "luks", NULL };
  VpWalk walk = { .path = path, .problems = problems };
  guint first = problems->len;
  g_autoptr (VpXml) xml = open_spec (&walk, name, text, len);
  g_autoptr (VpImageSpec) image = g_new0 (VpImageSpec, 1);
  const VpXmlNode *root;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  if (!vp_xml_is (root, "image")) {
    wrong_root (&walk, root, "images", roots);
    return NULL;
  }
  vp_walk_check (&walk, root, &image_shape);
  check_head (&walk, root, name);
  image->name = g_strdup (name);
  image->path = vp_walk_path (&walk, root, "path");
  image->format = g_strdup (
      vp_walk_choice (&walk, root, "format", format_words, later_formats));
  image->source_path = g_strdup (path);
  image->place = vp_xml_place (root);
  vp_walk_sort (&walk, first);
  return walk.n_errors == 0 ? g_steal_pointer (&image) : NULL;
}
