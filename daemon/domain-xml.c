/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* domain-xml: a guest as a libvirt definition.
 *
 * The same guest gives the same bytes: everything is written in one order,
 * nothing is left to a hash table or the clock.  What is left to libvirt
 * (addresses on the bus, controllers, the default USB) is left out.
 *
 * A definition names files and the whole chain below them, never pools and
 * volumes: libvirt then probes nothing.  The base image carries relabel='no',
 * or libvirt would give it to QEMU's user, who could write into it.  Disks
 * keep QEMU's write-back cache: it honours the guest's flushes and works on
 * every file system, which O_DIRECT does not. */
#include "config.h"

#include "daemon/domain-xml.h"

#include "daemon/domain-xml-private.h"
#include "daemon/error.h"
#include "daemon/fragment-xml.h"

#include <libxml/tree.h>

#include <string.h>

/* Free slots for devices that come while the guest runs. */
#define SPARE_PORTS 4
/* On the bus beside disks and NICs: serial, random numbers, balloon, and the
 * USB that libvirt adds. */
#define OWN_DEVICES 4

static xmlNode *add (xmlNode *parent, const char *name, const char *text,
                     ...) G_GNUC_NULL_TERMINATED;

/* A child with text (NULL: none) and pairs of attribute and value; a pair
 * whose value is NULL ends the list. */
static xmlNode *
add (xmlNode *parent, const char *name, const char *text, ...)
{
  xmlNode *node = xmlNewTextChild (parent, NULL, (const xmlChar *) name,
                                   (const xmlChar *) text);
  const char *attribute;
  va_list args;

  if (node == NULL)
    g_error ("out of memory");
  va_start (args, text);
  while ((attribute = va_arg (args, const char *)) != NULL) {
    const char *value = va_arg (args, const char *);

    if (value == NULL)
      break;
    (void) xmlNewProp (node, (const xmlChar *) attribute,
                       (const xmlChar *) value);
  }
  va_end (args);
  return node;
}

static xmlDoc *
new_doc (const char *root_name)
{
  xmlDoc *doc = xmlNewDoc ((const xmlChar *) "1.0");
  xmlNode *root = xmlNewDocNode (doc, NULL, (const xmlChar *) root_name, NULL);

  if (doc == NULL || root == NULL)
    g_error ("out of memory");
  xmlDocSetRootElement (doc, root);
  return doc;
}

/* Consumes doc. */
static char *
take_text (xmlDoc *doc)
{
  char *text = vp_xml_serialise (xmlDocGetRootElement (doc), true);

  xmlFreeDoc (doc);
  return text;
}

static void
fill_disk (xmlNode *node, const VpDisk *disk)
{
  g_autofree char *alias = vp_domain_xml_alias ("disk", disk->name);
  xmlNode *backing, *source;

  (void) xmlNewProp (node, (const xmlChar *) "type", (const xmlChar *) "file");
  (void) xmlNewProp (node, (const xmlChar *) "device",
                     (const xmlChar *) "disk");
  (void) add (node, "driver", NULL, "name", "qemu", "type", disk->format,
              "cache", "writeback", "discard", "unmap", NULL);
  (void) add (node, "source", NULL, "file", disk->path, NULL);
  /* A raw volume has no base: it began as a copy of the image. */
  if (disk->backing_path != NULL && g_strcmp0 (disk->format, "raw") != 0) {
    backing = add (node, "backingStore", NULL, "type", "file", NULL);
    (void) add (backing, "format", NULL, "type", disk->backing_format, NULL);
    source = add (backing, "source", NULL, "file", disk->backing_path, NULL);
    (void) add (source, "seclabel", NULL, "model", "dac", "relabel", "no",
                NULL);
    (void) add (backing, "backingStore", NULL, NULL);
  } else
    (void) add (node, "backingStore", NULL, NULL);
  (void) add (node, "target", NULL, "dev", disk->target, "bus", "virtio", NULL);
  /* To detach what others attached, it is named by its target alone. */
  if (!disk->foreign)
    (void) add (node, "alias", NULL, "name", alias, NULL);
}

static void
fill_nic (xmlNode *node, const VpNic *nic)
{
  g_autofree char *alias = vp_domain_xml_alias ("nic", nic->name);

  (void) xmlNewProp (node, (const xmlChar *) "type",
                     (const xmlChar *) "bridge");
  (void) add (node, "mac", NULL, "address", nic->mac, NULL);
  (void) add (node, "source", NULL, "bridge", nic->bridge, NULL);
  (void) add (node, "model", NULL, "type", "virtio", NULL);
  if (!nic->foreign)
    (void) add (node, "alias", NULL, "name", alias, NULL);
}

char *
vp_domain_xml_disk (const VpDisk *disk)
{
  xmlDoc *doc = new_doc ("disk");

  fill_disk (xmlDocGetRootElement (doc), disk);
  return take_text (doc);
}

char *
vp_domain_xml_nic (const VpNic *nic)
{
  xmlDoc *doc = new_doc ("interface");

  fill_nic (xmlDocGetRootElement (doc), nic);
  return take_text (doc);
}

static void
add_kib (xmlNode *root, const char *name, uint64_t bytes)
{
  g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, bytes / 1024);

  (void) add (root, name, text, "unit", "KiB", NULL);
}

static bool
is_x86 (const char *arch)
{
  return g_strcmp0 (arch, "x86_64") == 0 || g_strcmp0 (arch, "i686") == 0;
}

static void
add_os (xmlNode *root, const VpGuest *guest, const char *arch,
        const char *machine)
{
  xmlNode *os = add (root, "os", NULL, NULL);
  xmlNode *type = add (os, "type", "hvm", NULL);

  if (arch != NULL)
    (void) xmlNewProp (type, (const xmlChar *) "arch", (const xmlChar *) arch);
  if (machine != NULL)
    (void) xmlNewProp (type, (const xmlChar *) "machine",
                       (const xmlChar *) machine);
  if (guest->kernel == NULL)
    return;
  (void) add (os, "kernel", guest->kernel, NULL);
  if (guest->initrd != NULL)
    (void) add (os, "initrd", guest->initrd, NULL);
  if (guest->cmdline != NULL)
    (void) add (os, "cmdline", guest->cmdline, NULL);
}

static void
add_machine (xmlNode *root, const VpGuest *guest, const char *arch)
{
  xmlNode *clock;

  if (is_x86 (arch)) {
    xmlNode *features = add (root, "features", NULL, NULL);

    (void) add (features, "acpi", NULL, NULL);
    (void) add (features, "apic", NULL, NULL);
  }
  if (guest->accel == VP_ACCEL_KVM)
    (void) add (root, "cpu", NULL, "mode", "host-passthrough", NULL);
  else if (guest->accel == VP_ACCEL_TCG)
    (void) add (root, "cpu", NULL, "mode", "maximum", NULL);
  clock = add (root, "clock", NULL, "offset", "utc", NULL);
  /* A guest that was not scheduled in time catches up instead of losing
   * time; without KVM the HPET is the better clock, so it stays. */
  if (guest->accel == VP_ACCEL_KVM && is_x86 (arch)) {
    (void) add (clock, "timer", NULL, "name", "rtc", "tickpolicy", "catchup",
                NULL);
    (void) add (clock, "timer", NULL, "name", "pit", "tickpolicy", "delay",
                NULL);
    (void) add (clock, "timer", NULL, "name", "hpet", "present", "no", NULL);
  }
  (void) add (root, "on_poweroff", "destroy", NULL);
  (void) add (root, "on_reboot", "restart", NULL);
  (void) add (root, "on_crash", "destroy", NULL);
}

/* A PCI Express root port takes one device, so each needs its own, and libvirt
 * makes only as many as the definition needs. */
static void
add_ports (xmlNode *devices, const VpGuest *guest, const char *machine)
{
  unsigned n = guest->disks->len + guest->nics->len + OWN_DEVICES + SPARE_PORTS;

  if (machine == NULL ||
      (strstr (machine, "q35") == NULL && !g_str_has_prefix (machine, "virt")))
    return;
  (void) add (devices, "controller", NULL, "type", "pci", "model", "pcie-root",
              NULL);
  for (unsigned i = 0; i < n; i++)
    (void) add (devices, "controller", NULL, "type", "pci", "model",
                "pcie-root-port", NULL);
}

static void
add_devices (xmlNode *root, const VpGuest *guest, const VpHostCaps *caps,
             const char *machine)
{
  xmlNode *devices = add (root, "devices", NULL, NULL);
  bool test = guest->accel == VP_ACCEL_TEST;
  xmlNode *node;

  if (!test && caps->emulator != NULL)
    (void) add (devices, "emulator", caps->emulator, NULL);
  for (guint i = 0; i < guest->disks->len; i++)
    fill_disk (add (devices, "disk", NULL, NULL), guest->disks->pdata[i]);
  if (!test)
    add_ports (devices, guest, machine);
  for (guint i = 0; i < guest->nics->len; i++)
    fill_nic (add (devices, "interface", NULL, NULL), guest->nics->pdata[i]);
  if (test)
    return;
  node = add (devices, "serial", NULL, "type", "pty", NULL);
  (void) add (node, "target", NULL, "port", "0", NULL);
  node = add (devices, "console", NULL, "type", "pty", NULL);
  (void) add (node, "target", NULL, "type", "serial", "port", "0", NULL);
  node = add (devices, "channel", NULL, "type", "unix", NULL);
  (void) add (node, "target", NULL, "type", "virtio", "name",
              "org.qemu.guest_agent.0", NULL);
  (void) add (devices, "memballoon", NULL, "model", "virtio", NULL);
  node = add (devices, "rng", NULL, "model", "virtio", NULL);
  (void) add (node, "backend", "/dev/urandom", "model", "random", NULL);
}

static const char *
domain_type (VpAccel accel)
{
  return accel == VP_ACCEL_KVM    ? "kvm"
         : accel == VP_ACCEL_TEST ? "test"
                                  : "qemu";
}

static xmlDoc *
make_domain (const VpGuest *guest, const VpHostCaps *caps)
{
  const char *arch = guest->arch != NULL ? guest->arch : caps->arch;
  const char *machine = guest->machine != NULL ? guest->machine : caps->machine;
  g_autofree char *cpus = g_strdup_printf ("%u", guest->cpus);
  xmlDoc *doc = new_doc ("domain");
  xmlNode *root = xmlDocGetRootElement (doc);

  (void) xmlNewProp (root, (const xmlChar *) "type",
                     (const xmlChar *) domain_type (guest->accel));
  (void) add (root, "name", guest->name, NULL);
  (void) add (root, "uuid", guest->uuid, NULL);
  if (guest->description != NULL)
    (void) add (root, "description", guest->description, NULL);
  add_kib (root, "memory", guest->memory);
  add_kib (root, "currentMemory", guest->memory);
  (void) add (root, "vcpu", cpus, "placement", "static", NULL);
  add_os (root, guest, arch, machine);
  add_machine (root, guest, arch);
  add_devices (root, guest, caps, machine);
  return doc;
}

/* What the manager resolves before a definition can be made. */
static bool
check_resolved (const VpGuest *guest, GError **error)
{
  const char *missing = NULL, *whose = "";

  if (guest->uuid == NULL)
    missing = "uuid";
  if (guest->accel == VP_ACCEL_AUTO)
    missing = "accelerator";
  for (guint i = 0; i < guest->disks->len; i++) {
    const VpDisk *disk = guest->disks->pdata[i];

    if (disk->path == NULL || disk->format == NULL || disk->target == NULL ||
        (disk->backing_path != NULL && disk->backing_format == NULL)) {
      missing = "path, format or target of the disk ";
      whose = disk->name;
    }
  }
  for (guint i = 0; i < guest->nics->len; i++) {
    const VpNic *nic = guest->nics->pdata[i];

    if (nic->bridge == NULL || nic->mac == NULL) {
      missing = "bridge or MAC address of the NIC ";
      whose = nic->name;
    }
  }
  if (missing == NULL)
    return true;
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
               "guest %s cannot be defined yet: %s%s is not known", guest->name,
               missing, whose);
  return false;
}

static bool
equal_disks (const VpDisk *a, const VpDisk *b)
{
  return g_strcmp0 (a->path, b->path) == 0 &&
         g_strcmp0 (a->format, b->format) == 0 &&
         g_strcmp0 (a->backing_path, b->backing_path) == 0 &&
         g_strcmp0 (a->backing_format, b->backing_format) == 0 &&
         g_strcmp0 (a->target, b->target) == 0;
}

/* A fragment adds to the definition; what the spec has a word for is said by
 * the spec alone, or found and wanted would differ for ever. */
static bool
check_fragments (const VpGuest *before, const VpGuest *after, GError **error)
{
  g_autofree char *what = NULL;

  if (before->memory != after->memory || before->cpus != after->cpus)
    what = g_strdup ("memory or processors");
  else if (before->accel != after->accel)
    what = g_strdup ("the type of the domain");
  else if (g_strcmp0 (before->name, after->name) != 0 ||
           g_strcmp0 (before->uuid, after->uuid) != 0)
    what = g_strdup ("name or uuid");
  else if (g_strcmp0 (before->description, after->description) != 0)
    what = g_strdup ("the description");
  else if (g_strcmp0 (before->kernel, after->kernel) != 0 ||
           g_strcmp0 (before->initrd, after->initrd) != 0 ||
           g_strcmp0 (before->cmdline, after->cmdline) != 0)
    what = g_strdup ("the kernel");
  else if (g_strcmp0 (before->arch, after->arch) != 0 ||
           g_strcmp0 (before->machine, after->machine) != 0)
    what = g_strdup ("architecture or machine");
  for (guint i = 0; i < before->disks->len && what == NULL; i++) {
    const VpDisk *disk = before->disks->pdata[i];
    const VpDisk *other = vp_guest_find_disk (after, disk->name);

    if (other == NULL || !equal_disks (disk, other))
      what = g_strdup_printf ("the disk %s", disk->name);
  }
  for (guint i = 0; i < before->nics->len && what == NULL; i++) {
    const VpNic *nic = before->nics->pdata[i];
    const VpNic *other = vp_guest_find_nic (after, nic->name);

    if (other == NULL || g_strcmp0 (nic->mac, other->mac) != 0 ||
        g_strcmp0 (nic->bridge, other->bridge) != 0)
      what = g_strdup_printf ("the NIC %s", nic->name);
  }
  if (what == NULL)
    return true;
  g_set_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC,
               "a <libvirt> fragment of guest %s changes %s, which the spec "
               "itself says",
               before->name, what);
  return false;
}

static char *
generate_guest (const VpGuest *guest, const VpHostCaps *caps, GError **error)
{
  xmlDoc *doc;
  xmlNode *root;
  g_autoptr (VpGuest) before = NULL;
  g_autoptr (VpGuest) after = NULL;
  bool good = true;

  if (!check_resolved (guest, error))
    return NULL;
  doc = make_domain (guest, caps);
  root = xmlDocGetRootElement (doc);
  if (guest->fragments->len > 0) {
    before = vp_domain_xml_read (root, NULL, error);
    good = before != NULL;
    for (guint i = 0; good && i < guest->fragments->len; i++)
      good = vp_fragment_xml_apply (root, guest->fragments->pdata[i], error);
    if (good)
      after = vp_domain_xml_read (root, NULL, error);
    good = after != NULL && check_fragments (before, after, error);
  }
  if (!good) {
    xmlFreeDoc (doc);
    return NULL;
  }
  return take_text (doc);
}

/* A whole <domain> file: as root wrote it, with what vprovd has recorded put
 * where the file says nothing. */
static char *
generate_whole (const VpGuest *guest, GError **error)
{
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (guest->domain_xml, &vp_xml_domain_limits, error);
  VpXmlNode *root, *nic;
  guint i = 0;

  if (xml == NULL)
    return NULL;
  root = vp_xml_get_root (xml);
  vp_domain_xml_drop_ours (root);
  if (guest->uuid != NULL && vp_xml_first (root, "uuid") == NULL) {
    xmlNode *uuid = xmlNewDocNode (root->doc, NULL, (const xmlChar *) "uuid",
                                   (const xmlChar *) guest->uuid);
    VpXmlNode *name = vp_xml_first (root, "name");

    if (name != NULL)
      (void) xmlAddNextSibling (name, uuid);
    else
      (void) xmlAddChild (root, uuid);
  }
  for (nic = vp_xml_find (root, "devices", "interface", NULL); nic != NULL;
       nic = vp_xml_next (nic, "interface"), i++) {
    const VpNic *wanted = i < guest->nics->len ? guest->nics->pdata[i] : NULL;
    xmlNode *mac;

    if (wanted == NULL || wanted->mac == NULL ||
        vp_xml_first (nic, "mac") != NULL)
      continue;
    mac = xmlNewDocNode (root->doc, NULL, (const xmlChar *) "mac", NULL);
    (void) xmlNewProp (mac, (const xmlChar *) "address",
                       (const xmlChar *) wanted->mac);
    if (nic->children != NULL)
      (void) xmlAddPrevSibling (nic->children, mac);
    else
      (void) xmlAddChild (nic, mac);
  }
  return vp_xml_serialise (root, false);
}

char *
vp_domain_xml_generate (const VpGuest *guest, const VpHostCaps *caps,
                        GError **error)
{
  return guest->domain_xml != NULL ? generate_whole (guest, error)
                                   : generate_guest (guest, caps, error);
}

char *
vp_domain_xml_digest (const char *xml)
{
  return g_compute_checksum_for_string (G_CHECKSUM_SHA256, xml, -1);
}
