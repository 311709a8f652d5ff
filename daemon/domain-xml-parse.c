/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* domain-xml-parse: reads what VpGuest has words for out of a libvirt
 * definition, inactive or live, ours or anybody's.
 *
 * What libvirt adds or writes in another way comes out the same: the unit of
 * memory, a missing driver type, upper case in UUID and MAC.  Media that come
 * and go (cdrom, floppy) are no disks here. */
#include "config.h"

#include "daemon/domain-xml.h"

#include "daemon/domain-xml-private.h"
#include "daemon/error.h"

#include <string.h>

static const struct {
  const char *name;
  uint64_t bytes;
} memory_units[] = {
  { "b", 1 },
  { "bytes", 1 },
  { "KB", 1000 },
  { "k", 1024 },
  { "KiB", 1024 },
  { "MB", 1000000 },
  { "M", UINT64_C (1) << 20 },
  { "MiB", UINT64_C (1) << 20 },
  { "GB", 1000000000 },
  { "G", UINT64_C (1) << 30 },
  { "GiB", UINT64_C (1) << 30 },
  { "TB", UINT64_C (1000000000000) },
  { "T", UINT64_C (1) << 40 },
  { "TiB", UINT64_C (1) << 40 },
};

static void fail (const VpXmlNode *node, VpPlace *ret_place, GError **error,
                  const char *format, ...) G_GNUC_PRINTF (4, 5);

static void
fail (const VpXmlNode *node, VpPlace *ret_place, GError **error,
      const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  if (ret_place != NULL)
    *ret_place = vp_xml_place (node);
  g_set_error_literal (error, VP_ERROR, VP_ERROR_INVALID_SPEC, message);
}

char *
vp_domain_xml_alias (const char *kind, const char *name)
{
  g_autoptr (GString) alias = g_string_new ("ua-vp-");

  g_string_append_printf (alias, "%s-", kind);
  for (; *name != '\0'; name++) {
    if (*name == '.')
      g_string_append (alias, "_d");
    else if (*name == '_')
      g_string_append (alias, "__");
    else
      g_string_append_c (alias, *name);
  }
  return g_string_free (g_steal_pointer (&alias), FALSE);
}

char *
vp_domain_xml_alias_name (const char *kind, const char *alias)
{
  g_autofree char *prefix = g_strdup_printf ("ua-vp-%s-", kind);
  g_autoptr (GString) name = g_string_new (NULL);

  if (alias == NULL || !g_str_has_prefix (alias, prefix))
    return NULL;
  for (alias += strlen (prefix); *alias != '\0'; alias++) {
    if (*alias != '_')
      g_string_append_c (name, *alias);
    else if (alias[1] == 'd')
      g_string_append_c (name, '.');
    else if (alias[1] == '_')
      g_string_append_c (name, '_');
    else
      return NULL;
    if (*alias == '_')
      alias++;
  }
  if (!vp_name_is_valid (name->str))
    return NULL;
  return g_string_free (g_steal_pointer (&name), FALSE);
}

/* <memory unit='KiB'>; KiB where no unit is given. */
static bool
read_memory (const VpXmlNode *node, uint64_t *ret_bytes)
{
  g_autofree char *unit = vp_xml_get_attribute (node, "unit");
  g_autofree char *text = vp_xml_get_text (node);
  uint64_t number, bytes = 1024;

  if (text == NULL ||
      !g_ascii_string_to_unsigned (text, 10, 0, UINT64_MAX, &number, NULL))
    return false;
  if (unit != NULL) {
    bytes = 0;
    for (size_t i = 0; i < G_N_ELEMENTS (memory_units); i++)
      if (g_ascii_strcasecmp (unit, memory_units[i].name) == 0)
        bytes = memory_units[i].bytes;
  }
  if (bytes == 0 || __builtin_mul_overflow (number, bytes, &bytes) ||
      bytes > UINT64_MAX - 1024)
    return false;
  /* libvirt counts in KiB, rounded up. */
  *ret_bytes = (bytes + 1023) / 1024 * 1024;
  return true;
}

static bool
read_cpus (const char *text, unsigned *ret_cpus)
{
  guint64 number;

  if (!g_ascii_string_to_unsigned (text, 10, 1, 65535, &number, NULL))
    return false;
  *ret_cpus = (unsigned) number;
  return true;
}

static bool
read_resources (const VpXmlNode *root, VpGuest *guest, VpPlace *ret_place,
                GError **error)
{
  const VpXmlNode *memory = vp_xml_first (root, "memory");
  const VpXmlNode *current = vp_xml_first (root, "currentMemory");
  const VpXmlNode *vcpu = vp_xml_first (root, "vcpu");
  g_autofree char *count = vp_xml_get_text (vcpu);
  g_autofree char *used = vp_xml_get_attribute (vcpu, "current");

  if (memory == NULL) {
    fail (root, ret_place, error, "<domain> needs an element <memory>");
    return false;
  }
  if (!read_memory (memory, &guest->memory_max)) {
    fail (memory, ret_place, error, "<memory> holds no size");
    return false;
  }
  guest->memory = guest->memory_max;
  if (current != NULL && !read_memory (current, &guest->memory)) {
    fail (current, ret_place, error, "<currentMemory> holds no size");
    return false;
  }
  /* libvirt takes 0, and more than there is, for all of it. */
  if (guest->memory == 0 || guest->memory > guest->memory_max)
    guest->memory = guest->memory_max;
  guest->cpus_max = 1;
  if (count != NULL && !read_cpus (count, &guest->cpus_max)) {
    fail (vcpu, ret_place, error, "<vcpu> holds no number of processors");
    return false;
  }
  guest->cpus = guest->cpus_max;
  if (used != NULL && !read_cpus (used, &guest->cpus)) {
    fail (vcpu, ret_place, error, "current= of <vcpu> is no number");
    return false;
  }
  return true;
}

static char *
unused_name (const VpGuest *guest, bool nic, unsigned number)
{
  for (;; number++) {
    g_autofree char *name = g_strdup_printf (nic ? "nic%u" : "disk%u", number);

    if (nic ? vp_guest_find_nic (guest, name) == NULL
            : vp_guest_find_disk (guest, name) == NULL)
      return g_steal_pointer (&name);
  }
}

static char *
read_alias (const VpXmlNode *node, const char *kind)
{
  g_autofree char *alias =
      vp_xml_get_attribute (vp_xml_first (node, "alias"), "name");

  return vp_domain_xml_alias_name (kind, alias);
}

/* A disk's <source> or that of one of its <backingStore>. */
static char *
read_source (const VpXmlNode *node)
{
  const VpXmlNode *source = vp_xml_first (node, "source");
  char *path = vp_xml_get_attribute (source, "file");

  return path != NULL ? path : vp_xml_get_attribute (source, "dev");
}

static void
read_disk (const VpXmlNode *node, VpGuest *guest)
{
  g_autofree char *device = vp_xml_get_attribute (node, "device");
  g_autofree char *name = read_alias (node, "disk");
  bool foreign = name == NULL;
  const VpXmlNode *backing = vp_xml_first (node, "backingStore");
  g_autofree char *target =
      vp_xml_get_attribute (vp_xml_first (node, "target"), "dev");
  VpDisk *disk;

  if (device != NULL && strcmp (device, "disk") != 0 &&
      strcmp (device, "lun") != 0)
    return;
  if (foreign)
    name = target != NULL && vp_guest_find_disk (guest, target) == NULL
               ? g_strdup (target)
               : unused_name (guest, false, guest->disks->len);
  disk = vp_disk_new (name);
  disk->foreign = foreign;
  disk->target = g_steal_pointer (&target);
  disk->path = read_source (node);
  disk->format = vp_xml_get_attribute (vp_xml_first (node, "driver"), "type");
  if (disk->format == NULL)
    disk->format = g_strdup ("raw");
  disk->backing_path = read_source (backing);
  disk->backing_format =
      vp_xml_get_attribute (vp_xml_first (backing, "format"), "type");
  disk->place = vp_xml_place (node);
  disk->from_place = disk->place;
  g_ptr_array_add (guest->disks, disk);
}

static void
read_nic (const VpXmlNode *node, VpGuest *guest, unsigned number)
{
  g_autofree char *type = vp_xml_get_attribute (node, "type");
  g_autofree char *name = read_alias (node, "nic");
  bool foreign = name == NULL;
  const VpXmlNode *source = vp_xml_first (node, "source");
  g_autofree char *mac =
      vp_xml_get_attribute (vp_xml_first (node, "mac"), "address");
  VpNic *nic;

  if (foreign)
    name = unused_name (guest, true, number);
  nic = vp_nic_new (name);
  nic->foreign = foreign;
  if (mac != NULL)
    nic->mac = g_ascii_strdown (mac, -1);
  if (g_strcmp0 (type, "bridge") == 0)
    nic->bridge = vp_xml_get_attribute (source, "bridge");
  else if (g_strcmp0 (type, "network") == 0)
    nic->libvirt_network = vp_xml_get_attribute (source, "network");
  nic->place = vp_xml_place (node);
  g_ptr_array_add (guest->nics, nic);
}

static bool
read_head (const VpXmlNode *root, VpGuest *guest, VpPlace *ret_place,
           GError **error)
{
  static const struct {
    const char *word;
    VpAccel accel;
  } types[] = { { "kvm", VP_ACCEL_KVM },
                { "qemu", VP_ACCEL_TCG },
                { "test", VP_ACCEL_TEST } };
  g_autofree char *type = vp_xml_get_attribute (root, "type");
  g_autofree char *uuid = vp_xml_get_text (vp_xml_first (root, "uuid"));

  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_strcmp0 (type, types[i].word) == 0)
      guest->accel = types[i].accel;
  if (guest->accel == VP_ACCEL_AUTO) {
    fail (root, ret_place, error,
          "a <domain> of type '%s' is not supported: 'kvm' or 'qemu'",
          type != NULL ? type : "");
    return false;
  }
  if (uuid != NULL && !g_uuid_string_is_valid (uuid)) {
    fail (vp_xml_first (root, "uuid"), ret_place, error,
          "<uuid> holds no UUID");
    return false;
  }
  if (uuid != NULL)
    guest->uuid = g_ascii_strdown (uuid, -1);
  guest->description = vp_xml_get_text (vp_xml_first (root, "description"));
  return true;
}

VpGuest *
vp_domain_xml_read (const VpXmlNode *root, VpPlace *ret_place, GError **error)
{
  g_autofree char *name = vp_xml_get_text (vp_xml_first (root, "name"));
  const VpXmlNode *os = vp_xml_first (root, "os");
  const VpXmlNode *type = vp_xml_first (os, "type");
  const VpXmlNode *devices = vp_xml_first (root, "devices");
  g_autoptr (VpGuest) guest = NULL;
  unsigned number = 0;

  if (!vp_xml_is (root, "domain") || name == NULL) {
    fail (root, ret_place, error,
          "this is no <domain> with a <name>, but a <%s>", vp_xml_name (root));
    return NULL;
  }
  guest = vp_guest_new (name);
  if (!read_head (root, guest, ret_place, error) ||
      !read_resources (root, guest, ret_place, error))
    return NULL;
  guest->kernel = vp_xml_get_text (vp_xml_first (os, "kernel"));
  guest->initrd = vp_xml_get_text (vp_xml_first (os, "initrd"));
  guest->cmdline = vp_xml_get_text (vp_xml_first (os, "cmdline"));
  guest->arch = vp_xml_get_attribute (type, "arch");
  guest->machine = vp_xml_get_attribute (type, "machine");
  for (const VpXmlNode *node = vp_xml_first (devices, "disk"); node != NULL;
       node = vp_xml_next (node, "disk"))
    read_disk (node, guest);
  for (const VpXmlNode *node = vp_xml_first (devices, "interface");
       node != NULL; node = vp_xml_next (node, "interface"))
    read_nic (node, guest, number++);
  guest->place = vp_xml_place (root);
  return g_steal_pointer (&guest);
}

VpGuest *
vp_domain_xml_parse (const char *text, GError **error)
{
  g_autoptr (VpXml) xml =
      vp_xml_parse_text (text, &vp_xml_domain_limits, error);

  if (xml == NULL)
    return NULL;
  return vp_domain_xml_read (vp_xml_get_root (xml), NULL, error);
}
