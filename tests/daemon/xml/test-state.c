/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Plain data: copies are deep and whole, words go both ways. */
#include "config.h"

#include "daemon/state.h"

#include <string.h>

static VpGuest *
full_guest (void)
{
  VpGuest *guest = vp_guest_new ("web");
  VpDisk *disk = vp_disk_new ("root");
  VpNic *nic = vp_nic_new ("lan");
  VpForward *forward = g_new0 (VpForward, 1);
  VpFragment *fragment = g_new0 (VpFragment, 1);

  guest->uuid = g_strdup ("7f4c2a51-9d0e-4c1b-8a3f-0123456789ab");
  guest->description = g_strdup ("front end");
  guest->power = VP_POWER_RUNNING;
  guest->accel = VP_ACCEL_TCG;
  guest->cpus = 3;
  guest->cpus_max = 4;
  guest->memory = 1 << 30;
  guest->memory_max = UINT64_C (2) << 30;
  guest->kernel = g_strdup ("/k");
  guest->initrd = g_strdup ("/i");
  guest->cmdline = g_strdup ("quiet");
  guest->arch = g_strdup ("x86_64");
  guest->machine = g_strdup ("pc-q35-7.2");
  guest->domain_xml = g_strdup ("<domain/>");
  guest->source_path = g_strdup ("/etc/vprovd/guests/web.xml");
  guest->place = (VpPlace){ 1, 2 };
  disk->size = 4096;
  disk->pool = g_strdup ("fast");
  disk->format = g_strdup ("qcow2");
  disk->from = g_strdup ("debian");
  disk->place = (VpPlace){ 3, 4 };
  disk->from_place = (VpPlace){ 3, 9 };
  disk->path = g_strdup ("/p");
  disk->backing_path = g_strdup ("/b");
  disk->backing_format = g_strdup ("raw");
  disk->target = g_strdup ("vda");
  disk->foreign = true;
  g_ptr_array_add (guest->disks, disk);
  nic->network = g_strdup ("default");
  nic->bridge = g_strdup ("vp-default");
  nic->mac = g_strdup ("52:54:00:00:00:01");
  nic->address = g_strdup (".10");
  nic->libvirt_network = g_strdup ("theirs");
  nic->foreign = true;
  nic->ip = (VpAddr){ 2, { 10, 0, 0, 1 } };
  nic->place = (VpPlace){ 5, 6 };
  *forward = (VpForward){ 80, 81, 8080, 8081, true, false, { 7, 8 } };
  g_ptr_array_add (nic->forwards, forward);
  g_ptr_array_add (guest->nics, nic);
  fragment->into = g_strdup ("devices");
  fragment->mode = g_strdup ("merge");
  fragment->xml = g_strdup ("<rng/>");
  fragment->place = (VpPlace){ 9, 10 };
  g_ptr_array_add (guest->fragments, fragment);
  return guest;
}

static void
assert_text (const char *a, const char *b)
{
  g_assert_cmpstr (a, ==, b);
  g_assert_true (a != b); /* a copy, not the same bytes */
}

static void
test_copy (void)
{
  VpGuest *guest = full_guest ();
  g_autoptr (VpGuest) copy = vp_guest_copy (guest);
  const VpDisk *disk, *disk_copy = vp_guest_find_disk (copy, "root");
  const VpNic *nic, *nic_copy = vp_guest_find_nic (copy, "lan");
  const VpFragment *fragment = guest->fragments->pdata[0];
  const VpFragment *fragment_copy = copy->fragments->pdata[0];

  disk = vp_guest_find_disk (guest, "root");
  nic = vp_guest_find_nic (guest, "lan");
  assert_text (copy->name, guest->name);
  assert_text (copy->uuid, guest->uuid);
  assert_text (copy->description, guest->description);
  assert_text (copy->kernel, guest->kernel);
  assert_text (copy->initrd, guest->initrd);
  assert_text (copy->cmdline, guest->cmdline);
  assert_text (copy->arch, guest->arch);
  assert_text (copy->machine, guest->machine);
  assert_text (copy->domain_xml, guest->domain_xml);
  assert_text (copy->source_path, guest->source_path);
  g_assert_cmpint (copy->power, ==, VP_POWER_RUNNING);
  g_assert_cmpint (copy->accel, ==, VP_ACCEL_TCG);
  g_assert_cmpuint (copy->cpus, ==, 3);
  g_assert_cmpuint (copy->cpus_max, ==, 4);
  g_assert_cmpuint (copy->memory, ==, 1 << 30);
  g_assert_cmpuint (copy->memory_max, ==, UINT64_C (2) << 30);
  g_assert_cmpuint (copy->place.column, ==, 2);
  g_assert_nonnull (disk_copy);
  assert_text (disk_copy->pool, disk->pool);
  assert_text (disk_copy->format, disk->format);
  assert_text (disk_copy->from, disk->from);
  assert_text (disk_copy->path, disk->path);
  assert_text (disk_copy->backing_path, disk->backing_path);
  assert_text (disk_copy->backing_format, disk->backing_format);
  assert_text (disk_copy->target, disk->target);
  g_assert_cmpuint (disk_copy->size, ==, 4096);
  g_assert_cmpuint (disk_copy->from_place.column, ==, 9);
  g_assert_true (disk_copy->foreign);
  g_assert_nonnull (nic_copy);
  assert_text (nic_copy->network, nic->network);
  assert_text (nic_copy->bridge, nic->bridge);
  assert_text (nic_copy->mac, nic->mac);
  assert_text (nic_copy->address, nic->address);
  assert_text (nic_copy->libvirt_network, nic->libvirt_network);
  g_assert_cmpmem (&nic_copy->ip, sizeof (VpAddr), &nic->ip, sizeof (VpAddr));
  g_assert_true (nic_copy->foreign);
  g_assert_cmpuint (nic_copy->forwards->len, ==, 1);
  g_assert_cmpmem (nic_copy->forwards->pdata[0], sizeof (VpForward),
                   nic->forwards->pdata[0], sizeof (VpForward));
  g_assert_true (nic_copy->forwards->pdata[0] != nic->forwards->pdata[0]);
  assert_text (fragment_copy->into, fragment->into);
  assert_text (fragment_copy->mode, fragment->mode);
  assert_text (fragment_copy->xml, fragment->xml);
  /* The copy lives on by itself. */
  vp_guest_unref (guest);
  g_assert_cmpstr (copy->name, ==, "web");
  g_assert_null (vp_guest_find_disk (copy, "data"));
  g_assert_null (vp_guest_find_nic (copy, "wan"));
}

static void
test_null (void)
{
  g_autoptr (VpGuest) guest = vp_guest_new (NULL);

  vp_guest_unref (NULL);
  vp_disk_free (NULL);
  vp_nic_free (NULL);
  vp_fragment_free (NULL);
  vp_problem_free (NULL);
  vp_pool_spec_free (NULL);
  vp_image_spec_free (NULL);
  g_assert_null (vp_guest_find_disk (guest, "a"));
}

static void
test_forward_words (void)
{
  static const struct {
    VpForward forward;
    const char *words;
  } cases[] = {
    { { 8080, 8080, 80, 80, true, false, { 0 } }, "tcp 8080 -> 80" },
    { { 443, 443, 443, 443, true, true, { 0 } }, "tcp udp 443" },
    { { 7000, 7009, 7000, 7009, false, true, { 0 } }, "udp 7000-7009" },
    { { 1, 2, 3, 4, true, false, { 0 } }, "tcp 1-2 -> 3-4" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *words = vp_forward_to_string (&cases[i].forward);

    g_assert_cmpstr (words, ==, cases[i].words);
  }
}

static void
test_words (void)
{
  VpPower power;
  VpAccel accel;

  for (int i = VP_POWER_UNKNOWN; i <= VP_POWER_CRASHED; i++) {
    g_assert_true (
        vp_power_from_string (vp_power_to_string ((VpPower) i), &power));
    g_assert_cmpint (power, ==, i);
  }
  for (int i = VP_ACCEL_AUTO; i <= VP_ACCEL_TEST; i++) {
    g_assert_true (
        vp_accel_from_string (vp_accel_to_string ((VpAccel) i), &accel));
    g_assert_cmpint (accel, ==, i);
  }
  g_assert_false (vp_power_from_string ("on", &power));
  g_assert_false (vp_accel_from_string (NULL, &accel));
}

static void
test_names (void)
{
  static const char longest[] = "a23456789012345678901234567890123456789012345"
                                "678901234567890123";
  g_autofree char *longer = g_strconcat (longest, "4", NULL);

  g_assert_cmpuint (strlen (longest), ==, 63);
  g_assert_true (vp_name_is_valid (longest));
  g_assert_false (vp_name_is_valid (longer));
  g_assert_true (vp_name_is_valid ("a"));
  g_assert_true (vp_name_is_valid ("0.a_B-"));
  g_assert_false (vp_name_is_valid (""));
  g_assert_false (vp_name_is_valid (".a"));
  g_assert_false (vp_name_is_valid ("-a"));
  g_assert_false (vp_name_is_valid ("a/b"));
  g_assert_false (vp_name_is_valid ("a b"));
  g_assert_false (vp_name_is_valid ("\xc3\xa4"));
}

static void
test_problems (void)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpProblem *problem = vp_problem_new ("/e/web.xml", (VpPlace){ 3, 7 },
                                       VP_SEVERITY_WARNING, "odd", "%d%%", 5);
  g_autoptr (VpProblem) copy = vp_problem_copy (problem);
  g_autofree char *words = vp_problem_to_string (problem);
  g_autofree char *line = NULL;
  g_autofree char *file = NULL;

  g_assert_cmpstr (words, ==, "/e/web.xml:3:7: warning: 5%");
  g_ptr_array_add (problems, problem);
  g_assert_false (vp_problems_have_error (problems));
  copy->severity = VP_SEVERITY_ERROR;
  copy->place.column = 0;
  line = vp_problem_to_string (copy);
  g_assert_cmpstr (line, ==, "/e/web.xml:3: error: 5%");
  copy->place.line = 0;
  file = vp_problem_to_string (copy);
  g_assert_cmpstr (file, ==, "/e/web.xml: error: 5%");
  g_ptr_array_add (problems, vp_problem_copy (copy));
  g_assert_true (vp_problems_have_error (problems));
}

static void
assert_digests (const VpGuest *a, const VpGuest *b, bool same, bool same_fixed)
{
  g_autofree char *whole_a = vp_guest_digest (a, false);
  g_autofree char *whole_b = vp_guest_digest (b, false);
  g_autofree char *fixed_a = vp_guest_digest (a, true);
  g_autofree char *fixed_b = vp_guest_digest (b, true);

  g_assert_cmpuint (strlen (whole_a), ==, 64);
  g_assert_cmpint (g_str_equal (whole_a, whole_b), ==, same);
  g_assert_cmpint (g_str_equal (fixed_a, fixed_b), ==, same_fixed);
}

/* It is written into every domain: what it says must not change from one
 * version to the next. */
static void
test_digest (void)
{
  g_autoptr (VpGuest) guest = vp_guest_new ("web");
  g_autoptr (VpGuest) other = NULL;
  g_autofree char *digest = NULL;
  VpDisk *disk = vp_disk_new ("root");
  VpNic *nic = vp_nic_new ("lan");

  guest->uuid = g_strdup ("11111111-2222-4333-8444-555555555555");
  guest->accel = VP_ACCEL_TCG;
  guest->memory = 1 << 30;
  disk->path = g_strdup ("/srv/web-root.qcow2");
  g_ptr_array_add (guest->disks, disk);
  nic->mac = g_strdup ("52:54:00:00:00:01");
  g_ptr_array_add (guest->nics, nic);
  digest = vp_guest_digest (guest, false);
  g_assert_cmpstr (
      digest, ==,
      "c40124e21fa5a428c932cae7558140fffd2c31f7151c2c9afccd0afecb4f55b2");

  other = vp_guest_copy (guest);
  assert_digests (guest, other, true, true);
  other->power = VP_POWER_STOPPED;
  ((VpDisk *) g_ptr_array_index (other->disks, 0))->size = 5;
  assert_digests (guest, other, true, true);
  other->description = g_strdup ("a word");
  assert_digests (guest, other, false, true);
  vp_guest_unref (other);
  other = vp_guest_copy (guest);
  g_ptr_array_set_size (other->nics, 0);
  assert_digests (guest, other, false, true);
  other->memory++;
  assert_digests (guest, other, false, false);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/state/copy", test_copy);
  g_test_add_func ("/state/null", test_null);
  g_test_add_func ("/state/digest", test_digest);
  g_test_add_func ("/state/forward-words", test_forward_words);
  g_test_add_func ("/state/words", test_words);
  g_test_add_func ("/state/names", test_names);
  g_test_add_func ("/state/problems", test_problems);
  return g_test_run ();
}
