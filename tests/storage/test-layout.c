/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Field tables, byte order and checked ranges. */
#include "config.h"

#include "storage/layout.h"

#include <string.h>

typedef struct {
  uint8_t one;
  uint16_t two;
  uint32_t four, little;
  uint64_t eight;
} Record;

static const VpField fields[] = {
  VP_FIELD_BE (Record, one, 0),    VP_FIELD_BE (Record, two, 1),
  VP_FIELD_BE (Record, four, 3),   VP_FIELD_LE (Record, little, 7),
  VP_FIELD_BE (Record, eight, 11),
};
static const VpLayout layout = { fields, G_N_ELEMENTS (fields) };

static const uint8_t disk[19] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
                                  0x08, 0x09, 0x0a, 0x0b, 0xf1, 0xf2, 0xf3,
                                  0xf4, 0xf5, 0xf6, 0xf7, 0xf8 };

static void
test_load (void)
{
  Record record;
  vp_layout_load (&layout, disk, sizeof disk, &record);
  g_assert_cmphex (record.one, ==, 0x01);
  g_assert_cmphex (record.two, ==, 0x0203);
  g_assert_cmphex (record.four, ==, 0x04050607);
  g_assert_cmphex (record.little, ==, 0x0b0a0908);
  g_assert_cmphex (record.eight, ==, UINT64_C (0xf1f2f3f4f5f6f7f8));
}

static void
test_store (void)
{
  Record record;
  uint8_t again[sizeof disk] = { 0 };
  vp_layout_load (&layout, disk, sizeof disk, &record);
  vp_layout_store (&layout, &record, again, sizeof again);
  g_assert_cmpmem (again, sizeof again, disk, sizeof disk);
}

static void
test_short (void)
{
  Record record;
  uint8_t again[sizeof disk] = { 0 };
  memset (&record, 0xff, sizeof record);
  vp_layout_load (&layout, disk, 18, &record);
  g_assert_cmphex (record.eight, ==, 0);
  record.eight = 1;
  vp_layout_store (&layout, &record, again, 18);
  g_assert_cmpmem (again, 11, disk, 11);
  for (size_t i = 11; i < sizeof again; i++)
    g_assert_cmpuint (again[i], ==, 0);
}

static void
test_little (void)
{
  uint8_t again[8];
  g_assert_cmphex (vp_le16_get (disk), ==, 0x0201);
  g_assert_cmphex (vp_le32_get (disk), ==, 0x04030201);
  g_assert_cmphex (vp_le64_get (disk + 11), ==, UINT64_C (0xf8f7f6f5f4f3f2f1));
  vp_le16_set (again, vp_le16_get (disk));
  g_assert_cmpmem (again, 2, disk, 2);
  vp_le32_set (again, vp_le32_get (disk));
  g_assert_cmpmem (again, 4, disk, 4);
  vp_le64_set (again, vp_le64_get (disk + 11));
  g_assert_cmpmem (again, 8, disk + 11, 8);
}

static void
test_ranges (void)
{
  g_assert_true (vp_range_ok (0, 10, 10));
  g_assert_true (vp_range_ok (10, 0, 10));
  g_assert_false (vp_range_ok (0, 11, 10));
  g_assert_false (vp_range_ok (11, 0, 10));
  g_assert_false (vp_range_ok (1, UINT64_MAX, 10));
  g_assert_false (vp_range_ok (UINT64_MAX, 1, 10));
  g_assert_cmpuint (vp_round_up (1, 512), ==, 512);
  g_assert_cmpuint (vp_round_up (512, 512), ==, 512);
  g_assert_cmpuint (vp_round_up (UINT64_MAX, 512), ==, UINT64_MAX - 511);
  g_assert_cmpuint (vp_round_down (1023, 512), ==, 512);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/layout/load", test_load);
  g_test_add_func ("/layout/store", test_store);
  g_test_add_func ("/layout/short", test_short);
  g_test_add_func ("/layout/little", test_little);
  g_test_add_func ("/layout/ranges", test_ranges);
  return g_test_run ();
}
