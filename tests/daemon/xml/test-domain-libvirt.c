/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What libvirt makes of our definitions, and what we read from it again.
 *
 * Speaks to virsh: to libvirt's test driver, which lives in virsh itself; with
 * VP_TEST_LIBVIRT_URI to another one (domain-libvirt.sh: to the QEMU driver).
 * Every definition is validated by libvirt, defined, printed by it, and must
 * then say the same in all typed fields; and a file that adopts it must give
 * the same definition, to the byte, when libvirt has defined that. */
#include "config.h"

#include "tests/daemon/xml/resolved.h"

#include <glib/gstdio.h>

#include <string.h>

static const char *
uri (void)
{
  const char *given = g_getenv ("VP_TEST_LIBVIRT_URI");

  return given != NULL ? given : "test:///default";
}

static bool
is_test_driver (void)
{
  return g_str_has_prefix (uri (), "test:");
}

/* Runs commands in one virsh; gives what it prints. */
static void
virsh (const char *commands, char **ret_out)
{
  const char *argv[] = { "virsh", "-q", "-c", uri (), commands, NULL };
  g_autoptr (GError) error = NULL;
  g_autofree char *err = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                ret_out, &err, &status, &error);
  g_assert_no_error (error);
  if (!g_spawn_check_wait_status (status, NULL))
    g_test_message ("virsh %s: %s", commands, err);
  g_assert_true (g_spawn_check_wait_status (status, NULL));
}

static char *
write_file (const char *folder, const char *name, const char *text)
{
  char *path = g_build_filename (folder, name, NULL);

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  return path;
}

/* What libvirt prints after it has defined text, with more done between. */
static char *
through_libvirt (const char *folder, const char *name, const char *text,
                 const char *more)
{
  g_autofree char *path = write_file (folder, "domain.xml", text);
  g_autofree char *commands =
      g_strdup_printf ("define --validate %s; %s dumpxml --inactive %s; "
                       "undefine %s",
                       path, more, name, name);
  g_autofree char *out = NULL;
  const char *begin, *end;

  virsh (commands, &out);
  begin = strstr (out, "<domain");
  end = strstr (out, "</domain>");
  g_assert_true (begin != NULL && end != NULL);
  return g_strndup (begin, (size_t) (end - begin) + strlen ("</domain>"));
}

static void
check_adopted (const char *folder, const VpGuest *found, const char *printed)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text =
      vp_domain_xml_adopt (printed, VP_POWER_STOPPED, &error);
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpSpecRules rules = { .allow_qemu_commandline = true };
  g_autoptr (VpGuest) guest = NULL;
  g_autoptr (VpHostCaps) caps = vp_test_caps (found);
  g_autofree char *definition = NULL;
  g_autofree char *again = NULL;

  g_assert_no_error (error);
  guest = vp_spec_parse_guest ("adopted.xml", found->name, text, strlen (text),
                               &rules, problems);
  g_assert_cmpuint (problems->len, ==, 0);
  g_assert_nonnull (guest);
  g_assert_cmpint (guest->power, ==, VP_POWER_STOPPED);
  vp_test_assert_same (guest, found);
  definition = vp_domain_xml_generate (guest, caps, &error);
  g_assert_no_error (error);
  again = through_libvirt (folder, found->name, definition, "");
  g_assert_cmpstr (again, ==, printed);
}

static void
check_definition (const char *folder, const char *name)
{
  g_autoptr (VpGuest) guest = vp_test_resolved (name);
  g_autoptr (VpHostCaps) caps = vp_test_caps (guest);
  g_autoptr (GError) error = NULL;
  g_autofree char *text = vp_domain_xml_generate (guest, caps, &error);
  g_autofree char *digest = NULL;
  VpMark mark = { .guest = (char *) name };
  g_autofree char *marked = NULL;
  g_autofree char *printed = NULL;
  g_autofree char *first = NULL;
  g_autofree char *unmarked = NULL;
  g_autoptr (VpGuest) found = NULL;
  g_autoptr (VpMark) found_mark = NULL;

  g_test_message ("%s", name);
  g_assert_no_error (error);
  digest = vp_domain_xml_digest (text);
  mark.digest = digest;
  marked = vp_domain_xml_set_mark (text, &mark, &error);
  g_assert_no_error (error);
  printed = through_libvirt (folder, name, marked, "");
  found = vp_domain_xml_parse (printed, &error);
  g_assert_no_error (error);
  vp_test_assert_same (guest, found);
  found_mark = vp_domain_xml_get_mark (printed, &error);
  g_assert_nonnull (found_mark);
  g_assert_cmpstr (found_mark->guest, ==, name);
  g_assert_cmpstr (found_mark->digest, ==, digest);
  /* The same without the mark is adopted as it is.  libvirt sorts controllers
   * the second time it reads them. */
  first = through_libvirt (folder, name, text, "");
  unmarked = through_libvirt (folder, name, first, "");
  check_adopted (folder, found, unmarked);
}

static void
test_definitions (gconstpointer data)
{
  const char *folder = data;
  g_autoptr (GPtrArray) names = vp_test_list ("domains", ".xml");
  unsigned n = 0;

  for (guint i = 0; i < names->len; i++)
    if (g_str_has_suffix (names->pdata[i], "-test") == is_test_driver ()) {
      check_definition (folder, names->pdata[i]);
      n++;
    }
  g_assert_cmpuint (n, >, 0);
}

/* The mark as virDomainSetMetadata takes it comes back as the mark. */
static void
test_set_metadata (gconstpointer data)
{
  const char *folder = data;
  const char *name = is_test_driver () ? "plain-test" : "web-kvm";
  g_autoptr (VpGuest) guest = vp_test_resolved (name);
  g_autoptr (VpHostCaps) caps = vp_test_caps (guest);
  VpMark mark = { .guest = (char *) "a-guest",
                  .digest = (char *) "0123abc",
                  .fixed = (char *) "45",
                  .retired = true };
  g_autofree char *text = vp_domain_xml_generate (guest, caps, NULL);
  g_autofree char *bare = vp_mark_to_xml (&mark);
  g_autofree char *more =
      g_strdup_printf ("metadata %s --config --uri " VP_DOMAIN_XML_NAMESPACE
                       " --key vprovd --set '%s';",
                       name, bare);
  g_autofree char *printed = through_libvirt (folder, name, text, more);
  g_autoptr (VpMark) found = vp_domain_xml_get_mark (printed, NULL);

  g_assert_nonnull (found);
  g_assert_cmpstr (found->guest, ==, "a-guest");
  g_assert_cmpstr (found->digest, ==, "0123abc");
  g_assert_true (found->retired);
}

static VpDisk *
live_disk (const char *folder, const char *name, const char *format,
           const char *target)
{
  VpDisk *disk = vp_disk_new (name);
  g_autofree char *file = g_strconcat (name, ".", format, NULL);

  disk->format = g_strdup (format);
  disk->path = g_build_filename (folder, file, NULL);
  disk->target = g_strdup (target);
  return disk;
}

/* A QEMU that runs (its processor does not) shows what was defined, and takes
 * one more disk of ours into a spare port.  The script has made the images. */
static void
test_live (gconstpointer data)
{
  const char *folder = data;
  const char *images = g_getenv ("VP_TEST_LIVE_IMAGES");
  g_autoptr (VpGuest) guest = vp_guest_new ("live-tcg");
  g_autoptr (VpHostCaps) caps = NULL;
  g_autoptr (VpGuest) found = NULL;
  g_autoptr (GError) error = NULL;
  VpDisk *disk = live_disk (images, "root", "qcow2", "vda");
  VpDisk *more = live_disk (images, "more", "raw", "vdb");
  g_autofree char *text = NULL;
  g_autofree char *more_text = vp_domain_xml_disk (more);
  g_autofree char *path = NULL;
  g_autofree char *more_path = write_file (folder, "disk.xml", more_text);
  g_autofree char *commands = NULL;
  g_autofree char *out = NULL;

  disk->backing_path = g_build_filename (images, "base.raw", NULL);
  disk->backing_format = g_strdup ("raw");
  g_ptr_array_add (guest->disks, disk);
  guest->uuid = g_strdup ("11111111-2222-4333-8444-555555555555");
  guest->accel = VP_ACCEL_TCG;
  guest->cpus = 2;
  guest->memory = UINT64_C (64) << 20;
  caps = vp_test_caps (guest);
  text = vp_domain_xml_generate (guest, caps, &error);
  g_assert_no_error (error);
  path = write_file (folder, "domain.xml", text);
  commands = g_strdup_printf ("create %s --paused --validate; "
                              "attach-device live-tcg %s --live; "
                              "dumpxml live-tcg; destroy live-tcg",
                              path, more_path);
  virsh (commands, &out);
  (void) g_remove (more_path);
  g_assert_nonnull (strstr (out, "</domain>"));
  strstr (out, "</domain>")[strlen ("</domain>")] = '\0';
  found = vp_domain_xml_parse (strstr (out, "<domain"), &error);
  g_assert_no_error (error);
  g_ptr_array_add (guest->disks, more);
  vp_test_assert_same (guest, found);
}

int
main (int argc, char **argv)
{
  g_autofree char *program = g_find_program_in_path ("virsh");
  g_autofree char *folder = NULL;
  g_autofree char *left = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  if (program == NULL) {
    g_print ("1..0 # SKIP virsh is not installed\n");
    return 0;
  }
  folder = g_dir_make_tmp ("vprovd-test-XXXXXX", NULL);
  left = g_build_filename (folder, "domain.xml", NULL);
  g_test_add_data_func ("/libvirt/definitions", folder, test_definitions);
  g_test_add_data_func ("/libvirt/set-metadata", folder, test_set_metadata);
  if (g_getenv ("VP_TEST_LIVE_IMAGES") != NULL)
    g_test_add_data_func ("/libvirt/live", folder, test_live);
  result = g_test_run ();
  (void) g_remove (left); /* not there after a failure before the first */
  (void) g_rmdir (folder);
  return result;
}
