/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/daemon/xml/resolved.h"

#include <string.h>

char *
vp_test_path (const char *folder, const char *name, const char *suffix)
{
  g_autofree char *file = g_strconcat (name, suffix, NULL);

  return g_build_filename (g_getenv ("VP_SRCDIR"), "tests/daemon/xml", folder,
                           file, NULL);
}

char *
vp_test_read (const char *path)
{
  g_autoptr (GError) error = NULL;
  char *text = NULL;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  return text;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

GPtrArray *
vp_test_list (const char *folder, const char *suffix)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *path = vp_test_path (folder, "", "");
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *file;

  g_assert_nonnull (dir);
  while ((file = g_dir_read_name (dir)) != NULL)
    if (g_str_has_suffix (file, suffix))
      g_ptr_array_add (names,
                       g_strndup (file, strlen (file) - strlen (suffix)));
  g_assert_cmpuint (names->len, >, 0);
  g_ptr_array_sort (names, compare_names);
  return names;
}

static void
resolve_disk (const char *guest, VpDisk *disk, guint number)
{
  disk->path = g_strdup_printf ("/pool/%s/%s-%s.%s", disk->pool, guest,
                                disk->name, disk->format);
  disk->target = g_strdup_printf ("vd%c", (char) ('a' + number));
  if (disk->from == NULL)
    return;
  disk->backing_path = g_strdup_printf ("/images/%s.raw", disk->from);
  disk->backing_format = g_strdup ("raw");
}

VpGuest *
vp_test_resolved (const char *name)
{
  g_autofree char *path = vp_test_path ("domains", name, ".xml");
  g_autofree char *text = vp_test_read (path);
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpSpecRules rules = { .allow_qemu_commandline = true };
  VpGuest *guest =
      vp_spec_parse_guest (path, name, text, strlen (text), &rules, problems);

  for (guint i = 0; i < problems->len; i++)
    g_test_message ("%s", ((VpProblem *) problems->pdata[i])->message);
  g_assert_nonnull (guest);
  if (guest->uuid == NULL)
    guest->uuid =
        g_strdup_printf ("11111111-2222-4333-8444-%012x", g_str_hash (name));
  if (guest->accel == VP_ACCEL_AUTO)
    guest->accel = g_str_has_suffix (name, "-kvm")    ? VP_ACCEL_KVM
                   : g_str_has_suffix (name, "-test") ? VP_ACCEL_TEST
                                                      : VP_ACCEL_TCG;
  for (guint i = 0; i < guest->nics->len; i++) {
    VpNic *nic = guest->nics->pdata[i];

    if (nic->mac == NULL)
      nic->mac = g_strdup_printf ("52:54:00:00:00:%02x", i + 1);
    if (nic->bridge == NULL && nic->network != NULL)
      nic->bridge = g_strconcat ("vp-", nic->network, NULL);
  }
  if (guest->domain_xml != NULL)
    return guest;
  for (guint i = 0; i < guest->disks->len; i++)
    resolve_disk (name, guest->disks->pdata[i], i);
  return guest;
}

VpHostCaps *
vp_test_caps (const VpGuest *guest)
{
  VpHostCaps *caps = g_new0 (VpHostCaps, 1);

  caps->test = guest->accel == VP_ACCEL_TEST;
  caps->kvm = guest->accel == VP_ACCEL_KVM;
  caps->tcg = !caps->test;
  if (caps->test) {
    caps->arch = g_strdup ("i686");
    return caps;
  }
  caps->arch = g_strdup ("x86_64");
  caps->machine = g_strdup ("pc-q35-7.2");
  caps->emulator = g_strdup ("/usr/bin/qemu-system-x86_64");
  return caps;
}

static void
assert_same_disk (const VpDisk *wanted, const VpDisk *found)
{
  bool raw = strcmp (wanted->format, "raw") == 0;

  g_assert_cmpstr (found->name, ==, wanted->name);
  g_assert_cmpstr (found->path, ==, wanted->path);
  g_assert_cmpstr (found->target, ==, wanted->target);
  g_assert_cmpstr (found->backing_path, ==, raw ? NULL : wanted->backing_path);
  g_assert_cmpstr (found->backing_format, ==,
                   raw ? NULL : wanted->backing_format);
  g_assert_true (found->foreign == wanted->foreign);
  g_assert_cmpstr (found->format, ==, wanted->format);
}

void
vp_test_assert_same (const VpGuest *wanted, const VpGuest *found)
{
  guint n_disks = 0, n_nics = 0;

  g_assert_cmpstr (found->name, ==, wanted->name);
  g_assert_cmpstr (found->uuid, ==, wanted->uuid);
  g_assert_cmpstr (found->description, ==, wanted->description);
  g_assert_cmpint (found->accel, ==, wanted->accel);
  g_assert_cmpuint (found->cpus, ==, wanted->cpus);
  g_assert_cmpuint (found->memory, ==, wanted->memory);
  g_assert_cmpuint (found->memory_max, >=, found->memory);
  g_assert_cmpuint (found->cpus_max, >=, found->cpus);
  g_assert_cmpstr (found->kernel, ==, wanted->kernel);
  g_assert_cmpstr (found->initrd, ==, wanted->initrd);
  g_assert_cmpstr (found->cmdline, ==, wanted->cmdline);
  if (wanted->arch != NULL)
    g_assert_cmpstr (found->arch, ==, wanted->arch);
  if (wanted->machine != NULL)
    g_assert_cmpstr (found->machine, ==, wanted->machine);
  for (guint i = 0; i < found->disks->len; i++) {
    const VpDisk *disk = found->disks->pdata[i];

    if (disk->foreign && wanted->domain_xml == NULL)
      continue; /* a fragment's */
    g_assert_cmpuint (n_disks, <, wanted->disks->len);
    assert_same_disk (wanted->disks->pdata[n_disks++], disk);
  }
  for (guint i = 0; i < found->nics->len; i++) {
    const VpNic *nic = found->nics->pdata[i], *want;

    if (nic->foreign && wanted->domain_xml == NULL)
      continue;
    g_assert_cmpuint (n_nics, <, wanted->nics->len);
    want = wanted->nics->pdata[n_nics++];
    g_assert_cmpstr (nic->name, ==, want->name);
    g_assert_cmpstr (nic->mac, ==, want->mac);
    g_assert_cmpstr (nic->bridge, ==, want->bridge);
    g_assert_cmpstr (nic->libvirt_network, ==, want->libvirt_network);
    g_assert_true (nic->foreign == want->foreign);
  }
  g_assert_cmpuint (n_disks, ==, wanted->disks->len);
  g_assert_cmpuint (n_nics, ==, wanted->nics->len);
}
