/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Definitions: tests/daemon/xml/domains/NAME.xml is a spec, NAME.out the
 * definition made of it (VP_TEST_REGENERATE=1 writes it anew).  Each one is
 * read back, and held against libvirt's own schema where that is installed. */
#include "config.h"

#include "daemon/error.h"
#include "tests/daemon/xml/resolved.h"

#include <libxml/parser.h>
#include <libxml/relaxng.h>

#include <string.h>

#define LIBVIRT_SCHEMA "/usr/share/libvirt/schemas/domain.rng"

static char *
generate (const VpGuest *guest)
{
  g_autoptr (VpHostCaps) caps = vp_test_caps (guest);
  g_autoptr (GError) error = NULL;
  char *text = vp_domain_xml_generate (guest, caps, &error);

  g_assert_no_error (error);
  g_assert_nonnull (text);
  return text;
}

static VpGuest *
parse (const char *text)
{
  g_autoptr (GError) error = NULL;
  VpGuest *guest = vp_domain_xml_parse (text, &error);

  g_assert_no_error (error);
  g_assert_nonnull (guest);
  return guest;
}

static void
test_golden (void)
{
  g_autoptr (GPtrArray) names = vp_test_list ("domains", ".xml");

  for (guint i = 0; i < names->len; i++) {
    g_autoptr (VpGuest) guest = vp_test_resolved (names->pdata[i]);
    g_autoptr (VpGuest) copy = vp_guest_copy (guest);
    g_autofree char *path = vp_test_path ("domains", names->pdata[i], ".out");
    g_autofree char *text = generate (guest);
    g_autofree char *again = generate (copy);
    g_autofree char *file = g_strconcat (text, "\n", NULL);
    g_autofree char *wanted = NULL;

    g_test_message ("%s", (const char *) names->pdata[i]);
    g_assert_cmpstr (text, ==, again);
    if (g_getenv ("VP_TEST_REGENERATE") != NULL)
      g_assert_true (g_file_set_contents (path, file, -1, NULL));
    wanted = vp_test_read (path);
    g_assert_cmpstr (file, ==, wanted);
  }
}

static void
test_round_trip (void)
{
  g_autoptr (GPtrArray) names = vp_test_list ("domains", ".xml");

  for (guint i = 0; i < names->len; i++) {
    g_autoptr (VpGuest) guest = vp_test_resolved (names->pdata[i]);
    g_autofree char *text = generate (guest);
    g_autoptr (VpGuest) found = parse (text);

    g_test_message ("%s", (const char *) names->pdata[i]);
    vp_test_assert_same (guest, found);
  }
}

static void
print_error (void *user_data, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_test_message ("%s", text);
}

static bool
schema_accepts (xmlRelaxNG *schema, const char *text)
{
  xmlDoc *doc =
      xmlReadMemory (text, (int) strlen (text), NULL, NULL, XML_PARSE_NONET);
  xmlRelaxNGValidCtxt *context = xmlRelaxNGNewValidCtxt (schema);
  bool valid;

  xmlRelaxNGSetValidErrors (context, print_error, print_error, NULL);
  valid = xmlRelaxNGValidateDoc (context, doc) == 0;
  xmlRelaxNGFreeValidCtxt (context);
  xmlFreeDoc (doc);
  return valid;
}

static void
test_libvirt_schema (void)
{
  g_autoptr (GPtrArray) names = vp_test_list ("domains", ".xml");
  xmlRelaxNGParserCtxt *parser;
  xmlRelaxNG *schema;

  if (!g_file_test (LIBVIRT_SCHEMA, G_FILE_TEST_EXISTS)) {
    g_test_skip ("libvirt's schemas are not installed: " LIBVIRT_SCHEMA);
    return;
  }
  parser = xmlRelaxNGNewParserCtxt (LIBVIRT_SCHEMA);
  schema = xmlRelaxNGParse (parser);
  xmlRelaxNGFreeParserCtxt (parser);
  g_assert_nonnull (schema);
  for (guint i = 0; i < names->len; i++) {
    g_autoptr (VpGuest) guest = vp_test_resolved (names->pdata[i]);
    g_autofree char *text = generate (guest);

    g_test_message ("%s", (const char *) names->pdata[i]);
    g_assert_true (schema_accepts (schema, text));
  }
  g_assert_false (schema_accepts (schema, "<domain type='kvm'><name>a</name>"
                                          "<memory>1</memory><os><type>hvm"
                                          "</type></os><quux/></domain>"));
  xmlRelaxNGFree (schema);
}

/* What makes a definition another one, and what does not. */
static void
test_digest (void)
{
  g_autoptr (VpGuest) guest = vp_test_resolved ("web-kvm");
  g_autofree char *text = generate (guest);
  g_autofree char *digest = vp_domain_xml_digest (text);
  g_autofree char *same_text = NULL;
  g_autofree char *same = NULL;
  g_autofree char *other_text = NULL;
  g_autofree char *other = NULL;
  VpNic *nic = guest->nics->pdata[0];

  g_assert_cmpuint (strlen (digest), ==, 64);
  g_ptr_array_set_size (nic->forwards, 0);
  guest->power = VP_POWER_STOPPED;
  guest->place.line = 99;
  same_text = generate (guest);
  same = vp_domain_xml_digest (same_text);
  g_assert_cmpstr (same, ==, digest);
  guest->memory += 1 << 20;
  other_text = generate (guest);
  other = vp_domain_xml_digest (other_text);
  g_assert_cmpstr (other, !=, digest);
}

static VpGuest *
with_fragment (const char *into, const char *mode, const char *xml)
{
  VpGuest *guest = vp_test_resolved ("web-kvm");
  VpFragment *fragment = g_new0 (VpFragment, 1);

  fragment->into = g_strdup (into);
  fragment->mode = g_strdup (mode);
  fragment->xml = g_strdup (xml);
  fragment->place = (VpPlace){ 12, 3 };
  g_ptr_array_set_size (guest->fragments, 0);
  g_ptr_array_add (guest->fragments, fragment);
  return guest;
}

static void
test_fragments (void)
{
  static const struct {
    const char *into, *mode, *xml, *wanted, *gone;
  } cases[] = {
    { "devices", "append", "<rng model='virtio'><backend/></rng>",
      "<backend model=\"random\">/dev/urandom</backend>", NULL },
    { "devices", "replace", "<rng model='virtio-transitional'/>",
      "<rng model=\"virtio-transitional\"/>", "/dev/urandom" },
    { "devices", "merge", "<memballoon><stats period='5'/></memballoon>",
      "<memballoon model=\"virtio\">\n      <stats period=\"5\"/>", NULL },
    { "devices", "merge", "<rng><backend>/dev/random</backend></rng>",
      "<backend model=\"random\">/dev/random</backend>", "/dev/urandom" },
    /* A disk of ours by its alias or its target gets something more. */
    { "devices", "merge",
      "<disk><alias name='ua-vp-disk-root'/><serial>one</serial></disk>",
      "<serial>one</serial>", NULL },
    { "devices", "merge",
      "<disk><target dev='vda'/><driver io='threads'/></disk>",
      "discard=\"unmap\" io=\"threads\"", NULL },
    { "devices", "merge",
      "<interface><mac address='52:54:00:AA:00:01'/><mtu size='9000'/>"
      "</interface>",
      "<mtu size=\"9000\"/>", NULL },
    { "features", "append", "<smm state='on'/>",
      "<apic/>\n    <smm state=\"on\"/>", NULL },
    { "cpu", "merge", "<topology sockets='1' cores='2' threads='1'/>",
      "<cpu mode=\"host-passthrough\">\n    <topology", NULL },
    { "os", "append", "<bootmenu enable='yes'/>", "<bootmenu enable=\"yes\"/>",
      NULL },
    { "domain", "merge", "<clock><timer name='rtc' track='guest'/></clock>",
      "tickpolicy=\"catchup\" track=\"guest\"", NULL },
    { "domain", "append",
      "<memtune><hard_limit unit='G'>8</hard_limit></memtune>",
      "<memtune>\n    <hard_limit unit=\"G\">8</hard_limit>", NULL },
    { "domain", "replace", "<on_crash>preserve</on_crash>",
      "<on_crash>preserve</on_crash>", "<on_crash>destroy" },
    /* More than the spec has a word for: room to grow. */
    { "domain", "replace", "<memory unit='GiB'>4</memory>",
      "<memory unit=\"GiB\">4</memory>", NULL },
    { "domain", "merge", "<vcpu current='2'>4</vcpu>", "current=\"2\">4</vcpu>",
      NULL },
    { "devices", "replace", "<rng model='a'/><rng model='b'/>",
      "<rng model=\"a\"/>\n    <rng model=\"b\"/>", "urandom" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VpGuest) guest =
        with_fragment (cases[i].into, cases[i].mode, cases[i].xml);
    g_autofree char *text = generate (guest);

    g_test_message ("%s %s: %s", cases[i].mode, cases[i].xml, text);
    g_assert_nonnull (strstr (text, cases[i].wanted));
    if (cases[i].gone != NULL)
      g_assert_null (strstr (text, cases[i].gone));
  }
}

/* What a fragment may not do is told with its line or the thing it changes. */
static void
test_fragments_refused (void)
{
  static const struct {
    const char *into, *mode, *xml, *words;
  } cases[] = {
    { "devices", "merge", "<disk><serial>x</serial></disk>", "which of 2" },
    { "devices", "replace", "<interface type='bridge'/>", "which of 2" },
    { "domain", "append", "<a></b>", "line 12" },
    { "domain", "replace", "<currentMemory>1024</currentMemory>", "memory" },
    { "domain", "merge", "<vcpu>7</vcpu>", "processors" },
    { "domain", "replace", "<name>other</name>", "name or uuid" },
    { "domain", "replace", "<description>x</description>", "description" },
    { "os", "append", "<kernel>/k</kernel>", "kernel" },
    { "os", "merge", "<type machine='pc'/>", "machine" },
    { "devices", "merge",
      "<disk><target dev='vda'/><source file='/etc/shadow'/></disk>",
      "the disk root" },
    { "devices", "merge",
      "<interface><alias name='ua-vp-nic-lan'/><source bridge='br9'/>"
      "</interface>",
      "the NIC lan" },
    { "domain", "replace", "<devices/>", "the disk root" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VpGuest) guest =
        with_fragment (cases[i].into, cases[i].mode, cases[i].xml);
    g_autoptr (VpHostCaps) caps = vp_test_caps (guest);
    g_autoptr (GError) error = NULL;

    g_test_message ("%s %s", cases[i].mode, cases[i].xml);
    g_assert_null (vp_domain_xml_generate (guest, caps, &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, cases[i].words));
  }
}

/* A guest that the manager has not resolved gives no definition. */
static void
test_unresolved (void)
{
  g_autoptr (VpGuest) guest = vp_test_resolved ("web-kvm");
  g_autoptr (VpHostCaps) caps = vp_test_caps (guest);
  g_autoptr (GError) error = NULL;
  VpDisk *disk = guest->disks->pdata[0];

  g_clear_pointer (&disk->path, g_free);
  g_assert_null (vp_domain_xml_generate (guest, caps, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  g_assert_nonnull (strstr (error->message, disk->name));
}

static void
test_mark (void)
{
  g_autoptr (VpGuest) guest = vp_test_resolved ("web-kvm");
  g_autofree char *text = generate (guest);
  VpMark mark = { .guest = (char *) "web-kvm", .digest = (char *) "abc" };
  VpMark retired = { .guest = (char *) "web<&\"",
                     .digest = (char *) "def",
                     .fixed = (char *) "ghi",
                     .retired = true };
  g_autoptr (GError) error = NULL;
  g_autofree char *marked = NULL;
  g_autofree char *remarked = NULL;
  g_autofree char *bare = vp_mark_to_xml (&retired);
  g_autoptr (VpMark) none = vp_domain_xml_get_mark (text, &error);
  g_autoptr (VpMark) first = NULL;
  g_autoptr (VpMark) second = NULL;
  g_autoptr (VpGuest) found = NULL;

  g_assert_no_error (error);
  g_assert_null (none);
  marked = vp_domain_xml_set_mark (text, &mark, &error);
  g_assert_no_error (error);
  first = vp_domain_xml_get_mark (marked, &error);
  g_assert_cmpstr (first->guest, ==, "web-kvm");
  g_assert_cmpstr (first->digest, ==, "abc");
  g_assert_false (first->retired);
  remarked = vp_domain_xml_set_mark (marked, &retired, &error);
  second = vp_domain_xml_get_mark (remarked, &error);
  g_assert_cmpstr (second->guest, ==, "web<&\"");
  g_assert_true (second->retired);
  g_assert_null (strstr (remarked, "\"abc\""));
  g_assert_cmpstr (bare, ==,
                   "<guest name=\"web&lt;&amp;&quot;\" digest=\"def\" "
                   "fixed=\"ghi\" "
                   "retired=\"yes\"/>");
  found = parse (remarked);
  vp_test_assert_same (guest, found);
  g_assert_null (vp_domain_xml_get_mark ("<domain>", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
}

/* Metadata of others stays as it is. */
static void
test_mark_beside_others (void)
{
  static const char text[] =
      "<domain type='kvm'><name>a</name><metadata><o:x xmlns:o='urn:o' "
      "name='b'/></metadata></domain>";
  VpMark mark = { .guest = (char *) "a", .digest = (char *) "abc" };
  g_autoptr (GError) error = NULL;
  g_autoptr (VpMark) none = vp_domain_xml_get_mark (text, &error);
  g_autofree char *marked = vp_domain_xml_set_mark (text, &mark, &error);
  g_autoptr (VpMark) found = vp_domain_xml_get_mark (marked, &error);

  g_assert_no_error (error);
  g_assert_null (none);
  g_assert_cmpstr (found->guest, ==, "a");
  g_assert_nonnull (strstr (marked, "<o:x xmlns:o=\"urn:o\" name=\"b\"/>"));
}

/* Disks and NICs for attach and detach are those of the definition. */
static void
test_devices (void)
{
  g_autoptr (VpGuest) guest = vp_test_resolved ("web-kvm");
  g_autofree char *disk = vp_domain_xml_disk (guest->disks->pdata[0]);
  g_autofree char *nic = vp_domain_xml_nic (guest->nics->pdata[0]);
  g_autofree char *whole =
      g_strconcat ("<domain type='kvm'><name>web-kvm</name><memory>1</memory>"
                   "<devices>",
                   disk, nic, "</devices></domain>", NULL);
  g_autoptr (VpGuest) found = parse (whole);

  g_assert_cmpuint (found->disks->len, ==, 1);
  g_assert_cmpuint (found->nics->len, ==, 1);
  g_assert_cmpstr (((VpDisk *) found->disks->pdata[0])->path, ==,
                   ((VpDisk *) guest->disks->pdata[0])->path);
  g_assert_cmpstr (((VpNic *) found->nics->pdata[0])->mac, ==,
                   ((VpNic *) guest->nics->pdata[0])->mac);
  g_assert_true (g_str_has_prefix (disk, "<disk type=\"file\""));
  g_assert_true (g_str_has_prefix (nic, "<interface type=\"bridge\""));
}

static void
test_bad_definitions (void)
{
  static const char *const texts[] = {
    "",
    "text",
    "<network/>",
    "<domain/>",
    "<domain type='kvm'><name>a</name></domain>",
    "<domain type='lxc'><name>a</name><memory>1</memory></domain>",
    "<domain type='kvm'><name>a</name><memory>-1</memory></domain>",
    "<domain type='kvm'><name>a</name><memory unit='x'>1</memory></domain>",
    "<domain type='kvm'><name>a</name><memory unit='TiB'>18446744073709551615"
    "</memory></domain>",
    "<domain type='kvm'><name>a</name><memory>1</memory><vcpu>0</vcpu>"
    "</domain>",
    "<domain type='kvm'><name>a</name><uuid>x</uuid><memory>1</memory>"
    "</domain>",
    "<!DOCTYPE domain><domain type='kvm'><name>a</name><memory>1</memory>"
    "</domain>",
  };

  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vp_domain_xml_parse (texts[i], &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
  }
}

/* Names of devices: unique, whatever the definition calls them. */
static void
test_foreign_names (void)
{
  g_autoptr (VpGuest) guest =
      parse ("<domain type='kvm'><name>a</name><memory>1</memory><devices>"
             "<disk><target dev='vda'/><alias name='ua-vp-disk-vdb'/></disk>"
             "<disk><target dev='vdb'/></disk>"
             "<disk><target dev='vdc'/><alias name='ua-vp-disk-a_x'/></disk>"
             "<disk><source file='/x'/></disk>"
             "<interface type='user'><alias name='ua-vp-nic-nic1'/></interface>"
             "<interface type='user'/>"
             "<interface type='user'><alias name='ua-theirs'/></interface>"
             "</devices></domain>");
  static const char *const disks[] = { "vdb", "disk1", "vdc", "disk3" };
  static const char *const nics[] = { "nic1", "nic2", "nic3" };

  g_assert_cmpuint (guest->disks->len, ==, 4);
  for (guint i = 0; i < 4; i++) {
    const VpDisk *disk = guest->disks->pdata[i];

    g_assert_cmpstr (disk->name, ==, disks[i]);
    g_assert_true (disk->foreign == (i > 0));
  }
  g_assert_cmpuint (guest->nics->len, ==, 3);
  for (guint i = 0; i < 3; i++) {
    const VpNic *nic = guest->nics->pdata[i];

    g_assert_cmpstr (nic->name, ==, nics[i]);
    g_assert_true (nic->foreign == (i > 0));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/domain/golden", test_golden);
  g_test_add_func ("/domain/round-trip", test_round_trip);
  g_test_add_func ("/domain/libvirt-schema", test_libvirt_schema);
  g_test_add_func ("/domain/digest", test_digest);
  g_test_add_func ("/domain/fragments", test_fragments);
  g_test_add_func ("/domain/fragments-refused", test_fragments_refused);
  g_test_add_func ("/domain/unresolved", test_unresolved);
  g_test_add_func ("/domain/mark", test_mark);
  g_test_add_func ("/domain/mark-beside-others", test_mark_beside_others);
  g_test_add_func ("/domain/devices", test_devices);
  g_test_add_func ("/domain/bad-definitions", test_bad_definitions);
  g_test_add_func ("/domain/foreign-names", test_foreign_names);
  return g_test_run ();
}
