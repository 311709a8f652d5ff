/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The text of a VMDK: what is read, what is refused and why, that a change
 * keeps every other byte, and that noise is an answer. */
#include "config.h"

#include "storage/vmdk-descriptor.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=0000abcd\n"
#define ROOT HEAD "parentCID=ffffffff\ncreateType=\"custom\"\n"

static VmdkDescriptor *
parse (const char *text, GError **error)
{
  return vmdk_descriptor_parse ("disk", (const uint8_t *) text, strlen (text),
                                error);
}

static VmdkDescriptor *
parse_well (const char *text)
{
  g_autoptr (GError) error = NULL;
  VmdkDescriptor *descriptor = parse (text, &error);
  g_assert_no_error (error);
  return descriptor;
}

static const VmdkExtentLine *
extent_of (const VmdkDescriptor *descriptor, unsigned n)
{
  g_assert_cmpuint (n, <, descriptor->extents->len);
  return g_ptr_array_index (descriptor->extents, n);
}

/* ---- what is read ------------------------------------------------------- */

static void
test_whole (void)
{
  g_autoptr (VmdkDescriptor) d = parse_well (
      "\r\n# Disk DescriptorFile \r\nversion=1 \r\nencoding=\"UTF-8\"\r\n"
      "CID=77161c8\r\nparentCID=1\r\nisNativeSnapshot=\"no\"\r\n"
      "createType=\"twoGbMaxExtentSparse\"\r\n"
      "parentFileNameHint=\"b\xc3\xa4se.vmdk\"\r\n"
      "RW 63 FLAT \"a b.bin\" 7\r\nRDONLY 10 ZERO\r\n"
      "RW 2048 SPARSE \"disk-s001.vmdk\"\r\n  RW 1 VMFS \"v.vmdk\"\r\n"
      "NOACCESS 4 SESPARSE \"s.vmdk\"\r\nRW 5 VMFSSPARSE \"d.vmdk\"\r\n"
      "ddb.adapterType=\"ide\"\r\nddb.whatever = \"x=y\"\r\n");
  g_assert_cmphex (d->cid, ==, 0x77161c8);
  g_assert_cmphex (d->parent_cid, ==, 1);
  g_assert_cmpstr (d->create_type, ==, "twoGbMaxExtentSparse");
  g_assert_cmpstr (d->parent_hint, ==, "b\xc3\xa4se.vmdk");
  g_assert_null (d->odd);
  g_assert_cmpuint (d->extents->len, ==, 6);
  g_assert_cmpuint (d->size, ==, (63 + 10 + 2048 + 1 + 4 + 5) * 512);
  g_assert_cmpstr (extent_of (d, 0)->name, ==, "a b.bin");
  g_assert_cmpuint (extent_of (d, 0)->offset, ==, 7 * 512);
  g_assert_null (extent_of (d, 1)->name);
  g_assert_cmpint (extent_of (d, 1)->kind, ==, VMDK_ZERO);
  g_assert_cmpint (extent_of (d, 1)->access, ==, VMDK_RDONLY);
  g_assert_cmpint (extent_of (d, 2)->kind, ==, VMDK_SPARSE);
  g_assert_cmpint (extent_of (d, 3)->kind, ==, VMDK_VMFS);
  g_assert_cmpint (extent_of (d, 4)->access, ==, VMDK_NOACCESS);
}

/* The first line that nobody knows is told; all are kept. */
static void
test_odd (void)
{
  g_autoptr (VmdkDescriptor) d = parse_well (ROOT "deltaBytes=5\nwhat now\n");
  g_assert_cmpstr (d->odd, ==, "deltaBytes=5");
  g_autofree char *text = vmdk_descriptor_with_cid (d, 2);
  g_assert_nonnull (strstr (text, "\ndeltaBytes=5\nwhat now\n"));
}

/* What follows zeros was there before, in a longer text. */
static void
test_padded (void)
{
  static const char text[] = ROOT "\0RW 1 FLAT \"x\" 0\n";
  g_autoptr (GError) error = NULL;
  g_autoptr (VmdkDescriptor) d = vmdk_descriptor_parse (
      "disk", (const uint8_t *) text, sizeof text, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (d->extents->len, ==, 0);
}

static void
test_probe (void)
{
  static const struct {
    const char *text;
    bool is;
  } heads[] = {
    { "# Disk DescriptorFile", true },
    { "# by hand\n\n  \nversion=1\n", true },
    { "# by hand\r\n\r\nversion=3\r\n", true },
    { "version=2\n", true },
    { "version=4\n", false },
    { "version=1", false },
    { "version=12\n", false },
    { " version=1\n", false },
    { "# comment\n", false },
    { "\n\n\n", false },
    { "", false },
    { "#!/bin/sh\nexit\n", false },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (heads); i++) {
    g_test_message ("%s", heads[i].text);
    g_assert_true (vmdk_descriptor_probe ((const uint8_t *) heads[i].text,
                                          strlen (heads[i].text)) ==
                   heads[i].is);
  }
}

/* ---- what is refused ---------------------------------------------------- */

static void
test_refused (void)
{
  static const struct {
    const char *text;
    int code;
  } wrong[] = {
    { "", VP_IMAGE_ERROR_CORRUPT },
    { HEAD "parentCID=ffffffff\n", VP_IMAGE_ERROR_CORRUPT },
    { "version=1\ncreateType=\"custom\"\n", VP_IMAGE_ERROR_CORRUPT },
    { "version=4\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { "version=1x\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { HEAD "createType=\"physicalWhatever\"\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { HEAD "createType=\"partitionedDevice\"\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { ROOT "createType=\"vmfs\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "CID=1\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "parentCID=1\n", VP_IMAGE_ERROR_CORRUPT },
    { "CID=123456789\ncreateType=\"vmfs\"\n", VP_IMAGE_ERROR_CORRUPT },
    { "CID=-1\ncreateType=\"vmfs\"\n", VP_IMAGE_ERROR_CORRUPT },
    { HEAD "parentCID=1\ncreateType=\"vmfs\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "parentFileNameHint=\"a\"\nparentFileNameHint=\"b\"\n",
      VP_IMAGE_ERROR_CORRUPT },
    { ROOT "parentFileNameHint=\"\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT \"a\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT \"a\" 0 0\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT \"a\" -1\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT \"a\" 18014398509481983\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT \"a\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 FLAT a 0\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 SPARSE \"a\" 0\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW -1 SPARSE \"a\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 0x10 SPARSE \"a\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 18446744073709551615 SPARSE \"a\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 18446744073709551616 SPARSE \"a\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 18014398509481983 ZERO\nRW 1 ZERO\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 VMFSRDM \"a\"\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { ROOT "RW 1 VMFSRAW \"a\"\n", VP_IMAGE_ERROR_UNSUPPORTED },
    { ROOT "RW 1 SPARSE \"/etc/shadow\"\n", VP_IMAGE_ERROR_DENIED },
    { ROOT "RW 1 SPARSE \"../a\"\n", VP_IMAGE_ERROR_DENIED },
    { ROOT "RW 1 SPARSE \"..\"\n", VP_IMAGE_ERROR_DENIED },
    { ROOT "RW 1 FLAT \"\\\\.\\PhysicalDrive1\" 0\n", VP_IMAGE_ERROR_DENIED },
    { ROOT "RW 1 SPARSE \"\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "RW 1 SPARSE \"\xff\"\n", VP_IMAGE_ERROR_CORRUPT },
    { ROOT "encoding=\"windows-1252\"\nRW 1 SPARSE \"\xc3\xa4\"\n",
      VP_IMAGE_ERROR_CORRUPT },
    { ROOT "# a\x1b[2Jb\n", VP_IMAGE_ERROR_CORRUPT },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VmdkDescriptor) d = parse (wrong[i].text, &error);
    g_test_message ("%s", error ? error->message : wrong[i].text);
    g_assert_null (d);
    g_assert_error (error, VP_IMAGE_ERROR, wrong[i].code);
  }
}

static void
test_limits (void)
{
  g_autoptr (GString) text = g_string_new (ROOT);
  for (unsigned i = 0; i < VP_MAX_PARTS; i++)
    g_string_append_printf (text, "RW 1 SPARSE \"%u\"\n", i);
  g_autoptr (VmdkDescriptor) most = parse_well (text->str);
  g_assert_cmpuint (most->extents->len, ==, VP_MAX_PARTS);
  g_string_append (text, "RW 1 SPARSE \"x\"\n");
  g_autoptr (GError) error = NULL;
  g_assert_null (parse (text->str, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  g_clear_error (&error);

  g_string_assign (text, ROOT);
  while (text->len < VMDK_MAX_TEXT)
    g_string_append_c (text, '\n');
  g_autoptr (VmdkDescriptor) long_one = parse_well (text->str);
  g_assert_nonnull (long_one);
  g_string_append_c (text, '\n');
  g_assert_null (parse (text->str, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
}

/* ---- changes ------------------------------------------------------------ */

#define SMALL                                                                  \
  "# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=%s\n"                   \
  "createType=\"custom\"\n%sRW %s SPARSE \"a\"\nRW 7 ZERO\n# the end\n"

static void
expect_text (char *text, const char *cid, const char *parent, const char *hint,
             const char *sectors)
{
  g_autofree char *wanted = g_strdup_printf (SMALL, cid, parent, hint, sectors);
  g_assert_cmpstr (text, ==, wanted);
  g_free (text);
}

static void
test_changes (void)
{
  g_autofree char *text = g_strdup_printf (SMALL, "1234", "ffffffff", "", "5");
  g_autoptr (VmdkDescriptor) d = parse_well (text);
  const char *hint = "parentFileNameHint=\"base\"\n";
  expect_text (vmdk_descriptor_with_cid (d, 0xabc), "00000abc", "ffffffff", "",
               "5");
  expect_text (vmdk_descriptor_with_length (d, 0, 512 * 123456), "1234",
               "ffffffff", "", "123456");
  expect_text (vmdk_descriptor_with_parent (d, "base", 9), "1234", "00000009",
               hint, "5");
  g_autofree char *child = vmdk_descriptor_with_parent (d, "base", 9);
  g_autoptr (VmdkDescriptor) c = parse_well (child);
  expect_text (vmdk_descriptor_with_parent (c, NULL, VMDK_NO_PARENT), "1234",
               "ffffffff", "", "5");
  expect_text (vmdk_descriptor_with_parent (c, "base", 10), "1234", "0000000a",
               hint, "5");
}

/* Where no line says parentCID, and where the hint comes first. */
static void
test_changes_elsewhere (void)
{
  g_autoptr (VmdkDescriptor) none =
      parse_well ("CID=1\ncreateType=\"vmfs\"\nRW 1 VMFS \"a\"\n");
  g_autofree char *one = vmdk_descriptor_with_parent (none, "b", 2);
  g_assert_cmpstr (one, ==,
                   "CID=1\ncreateType=\"vmfs\"\nparentCID=00000002\n"
                   "parentFileNameHint=\"b\"\nRW 1 VMFS \"a\"\n");
  g_autoptr (VmdkDescriptor) first = parse_well (
      "parentFileNameHint=\"old\"\nCID=1\ncreateType=\"vmfs\"\nparentCID=3\n");
  g_autofree char *two = vmdk_descriptor_with_parent (first, "new", 4);
  g_assert_cmpstr (two, ==,
                   "parentFileNameHint=\"new\"\nCID=1\ncreateType=\"vmfs\"\n"
                   "parentCID=00000004\n");
}

/* ---- a new one ---------------------------------------------------------- */

static void
test_written (void)
{
  char name[] = "disk-flat.vmdk";
  VmdkExtentLine line = { .kind = VMDK_FLAT, .length = 1 << 20, .name = name };
  VmdkDescriptorSpec spec = { .cid = 0xabc,
                              .parent_cid = VMDK_NO_PARENT,
                              .create_type = "monolithicFlat",
                              .adapter_type = "lsilogic",
                              .hwversion = "11",
                              .toolsversion = "77",
                              .extents = &line,
                              .n_extents = 1,
                              .size = UINT64_C (1) << 40 };
  g_autofree char *text = vmdk_descriptor_write (&spec);
  g_assert_cmpstr (text, ==,
                   "# Disk DescriptorFile\nversion=1\nCID=00000abc\n"
                   "parentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n"
                   "# Extent description\nRW 2048 FLAT \"disk-flat.vmdk\" 0\n\n"
                   "# The Disk Data Base\n#DDB\n\n"
                   "ddb.virtualHWVersion = \"11\"\n"
                   "ddb.geometry.cylinders = \"133674\"\n"
                   "ddb.geometry.heads = \"255\"\n"
                   "ddb.geometry.sectors = \"63\"\n"
                   "ddb.adapterType = \"lsilogic\"\n"
                   "ddb.toolsVersion = \"77\"\n");
  g_autoptr (VmdkDescriptor) d = parse_well (text);
  g_assert_null (d->odd);
  g_assert_cmpuint (d->size, ==, 1 << 20);
}

/* ---- noise -------------------------------------------------------------- */

/* Bytes changed, cut out and doubled: parsed or refused, and what was parsed
 * can be changed and parsed again. */
static void
test_noise (void)
{
  Random random = { test_seed () };
  g_autofree char *text = g_strdup_printf (
      SMALL, "1234", "1", "parentFileNameHint=\"base\"\n", "5");
  static const char bytes[] = "\n\r\t \"=#.0129afRWZ/\\\xff";
  for (unsigned i = 0; i < test_rounds (3000, 300000); i++) {
    g_autoptr (GString) other = g_string_new (text);
    for (uint64_t n = 1 + random_below (&random, 5); n > 0; n--) {
      gsize at = random_below (&random, other->len);
      uint64_t len = random_below (&random, 20);
      if (random_below (&random, 3) == 0)
        g_string_erase (other, (gssize) at,
                        (gssize) MIN (other->len - at, len));
      else
        other->str[at] = bytes[random_below (&random, sizeof bytes - 1)];
      if (other->len == 0)
        break;
    }
    g_autoptr (VmdkDescriptor) d = parse (other->str, NULL);
    if (!d)
      continue;
    g_autofree char *changed = vmdk_descriptor_with_cid (d, 0x12345678);
    g_autoptr (VmdkDescriptor) again = parse_well (changed);
    g_assert_cmphex (again->cid, ==, 0x12345678);
    g_assert_cmpuint (again->size, ==, d->size);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vmdk-descriptor/whole", test_whole);
  g_test_add_func ("/vmdk-descriptor/odd", test_odd);
  g_test_add_func ("/vmdk-descriptor/padded", test_padded);
  g_test_add_func ("/vmdk-descriptor/probe", test_probe);
  g_test_add_func ("/vmdk-descriptor/refused", test_refused);
  g_test_add_func ("/vmdk-descriptor/limits", test_limits);
  g_test_add_func ("/vmdk-descriptor/changes", test_changes);
  g_test_add_func ("/vmdk-descriptor/changes-elsewhere",
                   test_changes_elsewhere);
  g_test_add_func ("/vmdk-descriptor/written", test_written);
  g_test_add_func ("/vmdk-descriptor/noise", test_noise);
  return g_test_run ();
}
