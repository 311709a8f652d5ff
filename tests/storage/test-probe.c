/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a file is taken for: each mark by itself, two marks in one file, what
 * the messages advise, and the sample images by their true names. */
#include "config.h"

#include "storage/probe.h"

#include <string.h>
#include <unistd.h>

#include "storage/error.h"
#include "storage/tar.h"
#include "tests/storage/engine-cases.h"

#define SIZE 65536u

typedef struct {
  const char *name; /* of the format, or what the refusal has to say */
  bool refused;
  bool from_end;
  uint64_t offset;
  const char *mark;
  size_t len;
} Mark;

static const Mark marks[] = {
  { "qcow2", false, false, 0, "QFI\xfb\0\0\0\3", 8 },
  { "qcow2", false, false, 0, "QFI\xfb\0\0\0\2", 8 },
  { "cow", false, false, 0, "OOOM\0\0\0\2", 8 },
  { "luks", false, false, 0, "LUKS\xba\xbe\0\1", 8 },
  { "qcow", false, false, 0, "QFI\xfb\0\0\0\1", 8 },
  { "vmdk", false, false, 0, "KDMV", 4 },
  { "vdi", false, false, 0x40, "\x7f\x10\xda\xbe", 4 },
  { "vpc", false, false, 0, "conectix", 8 },
  { "-f vpc", true, true, 512, "conectix", 8 },
  { "vhdx", false, false, 0, "vhdxfile", 8 },
  { "qed images", true, false, 0, "QED\0", 4 },
  { "parallels images", true, false, 0, "WithoutFreeSpace", 16 },
  { "parallels images", true, false, 0, "WithouFreSpacExt", 16 },
  { "bochs images", true, false, 0, "Bochs Virtual HD Image", 22 },
  { "cloop images", true, false, 0, "#!/bin/sh\n#V2.0 Format", 22 },
  { "dmg images", true, true, 512, "koly", 4 },
  { "User-Mode Linux", true, false, 0, "MOOO\1\0\0\0", 8 },
  { "tar archive", true, false, 257, "ustar", 5 },
  { "gzip -dc FILE |", true, false, 0, "\x1f\x8b\x08", 3 },
  { "xz -dc FILE |", true, false, 0,
    "\xfd"
    "7zXZ\0",
    6 },
  { "zstd -dc FILE |", true, false, 0, "\x28\xb5\x2f\xfd", 4 },
  { "bzip2 -dc FILE |", true, false, 0, "BZh91AY&SY", 10 },
};

static VpFile *
make_disk (void)
{
  VpFile *file = fake_file_new ("disk");
  ASSERT_OK (vp_file_truncate (file, SIZE, &error));
  return file;
}

static void
put_mark (VpFile *file, const Mark *mark)
{
  fake_file_poke (file, mark->from_end ? SIZE - mark->offset : mark->offset,
                  mark->mark, mark->len);
}

static const Mark iso = { "iso", false, false, 0x8001, "CD001", 5 };

static void
test_one (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (marks); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpFile) file = make_disk ();
    put_mark (file, &marks[i]);
    const VpFormat *found = vp_probe_format (file, &error);
    if (!marks[i].refused) {
      g_assert_no_error (error);
      g_assert_cmpstr (found->name, ==, marks[i].name);
      continue;
    }
    g_assert_null (found);
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
    if (!strstr (error->message, marks[i].name))
      g_error ("'%s' does not name %s", error->message, marks[i].name);
  }
}

/* A mark that is cut off, one byte short of it, or one byte aside is none. */
static void
test_none (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (marks); i++) {
    g_autoptr (VpFile) file = make_disk ();
    Mark aside = marks[i];
    aside.offset = aside.from_end ? aside.offset - 1 : aside.offset + 1;
    put_mark (file, &aside);
    g_assert_true (vp_probe_format (file, NULL) == &vp_format_raw);
    if (marks[i].from_end)
      continue;
    g_autoptr (VpFile) cut = fake_file_new ("short");
    if (marks[i].len > 1 && marks[i].offset == 0)
      fake_file_poke (cut, 0, marks[i].mark, 2);
    g_assert_true (vp_probe_format (cut, NULL) == &vp_format_raw);
  }
}

static bool
overlap (const Mark *a, const Mark *b)
{
  if (a->from_end != b->from_end)
    return false;
  return a->offset < b->offset + b->len && b->offset < a->offset + a->len;
}

/* A dynamic VHD has its mark at both ends. */
static bool
same_kind (const Mark *a, const Mark *b)
{
  return strcmp (a->name, b->name) == 0 ||
         (a->len == b->len && memcmp (a->mark, b->mark, a->len) == 0);
}

static void
expect_doubt (VpFile *file, const char *one, const char *other)
{
  g_autoptr (GError) error = NULL;
  const VpFormat *found = vp_probe_format (file, &error);
  if (found)
    g_error ("%s and %s: taken for %s", one, other, found->name);
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT);
}

/* qcow2 and tar, dmg and LUKS, whatever: nobody knows what it is. */
static void
test_two (void)
{
  unsigned n = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (marks); i++) {
    for (size_t k = 0; k < i; k++) {
      g_autoptr (VpFile) file = make_disk ();
      if (overlap (&marks[i], &marks[k]) || same_kind (&marks[i], &marks[k]))
        continue;
      put_mark (file, &marks[i]);
      put_mark (file, &marks[k]);
      expect_doubt (file, marks[i].name, marks[k].name);
      n++;
    }
    g_autoptr (VpFile) disc = make_disk ();
    put_mark (disc, &iso);
    put_mark (disc, &marks[i]);
    expect_doubt (disc, marks[i].name, "iso");
  }
  g_assert_cmpuint (n, >, 20);
}

/* CDs, and CDs that boot from a stick, are raw disks. */
static void
test_iso (void)
{
  g_autoptr (VpFile) file = make_disk ();
  g_assert_null (vp_probe_content (file));
  put_mark (file, &iso);
  g_assert_true (vp_probe_format (file, NULL) == &vp_format_raw);
  g_assert_nonnull (strstr (vp_probe_content (file), "ISO 9660"));
  fake_file_poke (file, 510, "\x55\xaa", 2);
  fake_file_poke (file, 512, "EFI PART", 8);
  g_assert_true (vp_probe_format (file, NULL) == &vp_format_raw);
}

/* ---- archives ----------------------------------------------------------- */

static uint64_t
put_member (VpFile *file, uint64_t at, const char *name, const char *size,
            uint64_t length)
{
  uint8_t zeros[512] = { 0 };
  fake_file_poke (file, at, zeros, sizeof zeros);
  fake_file_poke (file, at, name, strlen (name));
  fake_file_poke (file, at + 124, size, strlen (size));
  fake_file_poke (file, at + 257, "ustar", 6);
  at += 512 + vp_round_up (length, 512);
  fake_file_poke (file, at, zeros, sizeof zeros);
  return at;
}

static void
test_tar (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpFile) file = fake_file_new ("a.ova");
  uint64_t at = put_member (file, 0, "a.ovf", "00000001001", 513);
  at = put_member (file, at, "sub/Disk-1.VMDK", "00000000000", 0);
  (void) put_member (file, at, "disk2.vmdk", "00000000000", 0);
  g_autofree char *name = vp_tar_find_member (file, ".vmdk");
  g_assert_cmpstr (name, ==, "sub/Disk-1.VMDK");
  g_assert_null (vp_tar_find_member (file, ".vdi"));
  g_assert_null (vp_probe_format (file, &error));
  g_assert_nonnull (strstr (error->message, "sub/Disk-1.VMDK"));
}

/* Sizes that wrap, are no numbers, or lead past the end. */
static void
test_tar_broken (void)
{
  static const char *const sizes[] = {
    "77777777777", "999", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "\x80\x7f", "-1"
  };
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpFile) file = fake_file_new ("a.tar");
    (void) put_member (file, 0, "a", sizes[i], 0);
    g_assert_null (vp_tar_find_member (file, ".vmdk"));
    g_assert_null (vp_probe_format (file, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  }
}

/* ---- samples ------------------------------------------------------------ */

static const char *const samples[][2] = {
  { "empty.bochs", "bochs" },      { "simple-pattern.cloop", "cloop" },
  { "simple-dmg.dmg", "dmg" },     { "parallels-v1", "parallels" },
  { "parallels-v2", "parallels" }, { "parallels-with-bitmap", "parallels" },
};

static VpFile *
unpack (const char *tool, const char *folder, const char *name)
{
  g_autofree char *packed = g_build_filename (folder, name, NULL);
  const char *argv[] = { tool, "-dc", packed, NULL };
  int out;
  VpFile *file = fake_file_new (name);
  uint8_t bytes[4096];
  ssize_t n;
  g_assert_true (g_spawn_async_with_pipes (NULL, (char **) argv, NULL,
                                           G_SPAWN_SEARCH_PATH, NULL, NULL,
                                           NULL, NULL, &out, NULL, NULL));
  for (uint64_t at = 0; (n = read (out, bytes, sizeof bytes)) > 0;
       at += (uint64_t) n)
    fake_file_poke (file, at, bytes, (size_t) n);
  close (out);
  return file;
}

static void
expect_refused (const char *tool, const char *name, const char *words)
{
  const char *folder = test_samples ();
  g_autofree char *found = g_find_program_in_path (tool);
  g_autoptr (GError) error = NULL;
  if (!folder || !found) {
    g_test_skip (folder ? "what unpacks the samples is not installed"
                        : "the sample images are absent");
    return;
  }
  g_autoptr (VpFile) file = unpack (tool, folder, name);
  g_assert_null (vp_probe_format (file, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  if (!strstr (error->message, words))
    g_error ("'%s' does not name %s", error->message, words);
}

static void
test_samples_named (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (samples); i++) {
    g_autofree char *name =
        g_strdup_printf ("qemu-iotests/%s.bz2", samples[i][0]);
    expect_refused ("bzip2", name, samples[i][1]);
  }
}

static void
test_sample_ova (void)
{
  expect_refused ("gzip", "govmomi/ttylinux-pc_i486-16.1.ova.gz",
                  "take ttylinux-pc_i486-16.1-disk1.vmdk out of it");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/probe/one", test_one);
  g_test_add_func ("/probe/none", test_none);
  g_test_add_func ("/probe/two", test_two);
  g_test_add_func ("/probe/iso", test_iso);
  g_test_add_func ("/probe/tar", test_tar);
  g_test_add_func ("/probe/tar-broken", test_tar_broken);
  g_test_add_func ("/probe/samples", test_samples_named);
  g_test_add_func ("/probe/sample-ova", test_sample_ova);
  return g_test_run ();
}
