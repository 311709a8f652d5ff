/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sparse extents of VMDK made with malice: headers, directories, tables,
 * footers and markers, class by class.  Each is opened, mapped from end to end,
 * read, checked, mended and written to: it gets the verdict that is wanted, and
 * nothing crashes, runs away, or writes upon its own tables. */
#include "config.h"

#include <string.h>

#include "storage/check.h"
#include "storage/error.h"
#include "storage/vmdk-sparse.h"
#include "tests/storage/engine-cases.h"

#define SECTOR   512u
#define GRAIN    (UINT64_C (64) << 10)
#define CAPACITY (UINT64_C (40) << 20) /* two tables */

/* Where things lie in the fresh one. */
enum {
  TEXT = SECTOR,
  RGD = 21 * SECTOR,
  RGT = 22 * SECTOR,
  GD = 30 * SECTOR,
  GT = 31 * SECTOR,
  GT2 = 35 * SECTOR,
  DATA = 128 * SECTOR,
};

typedef enum {
  REFUSED, /* does not open */
  CORRUPT, /* opens; the check says so */
  FINE,    /* opens, reads, and the check is content */
} Verdict;

typedef struct {
  const char *name;
  unsigned row; /* of the list of classes */
  Verdict verdict;
  uint64_t offset, value; /* a number there */
  unsigned width;         /* bytes; 0: none */
  uint64_t length;        /* of the file; 0: as it is */
  bool frozen;            /* nothing may be written to it */
  bool stays;             /* found, and not mended */
} Hostile;

static const Hostile hostiles[] = {
  { "none", 0, FINE },
  { "magic", 21, REFUSED, 0, 0x564d444a, 4 },
  { "version-0", 8, REFUSED, 4, 0, 4 },
  { "version-4", 8, REFUSED, 4, 4, 4 },
  { "version-max", 8, REFUSED, 4, UINT32_MAX, 4 },
  { "capacity-max", 10, REFUSED, 12, UINT64_MAX, 8 },
  { "capacity-2-63", 10, REFUSED, 12, UINT64_C (1) << 63, 8 },
  { "capacity-2-54", 9, REFUSED, 12, UINT64_C (1) << 54, 8 },
  { "capacity-larger", 9, REFUSED, 12, UINT64_C (1) << 40, 8 },
  { "grain-0", 9, REFUSED, 20, 0, 8 },
  { "grain-3", 9, REFUSED, 20, 3, 8 },
  { "grain-2-22", 9, REFUSED, 20, 0x400000, 8 },
  { "grain-2-40", 9, REFUSED, 20, UINT64_C (1) << 40, 8 },
  { "grain-max", 10, REFUSED, 20, UINT64_MAX, 8 },
  { "text-far", 10, REFUSED, 28, UINT64_C (1) << 54, 8 },
  { "text-wraps", 10, REFUSED, 28, UINT64_MAX, 8 },
  { "text-huge", 8, REFUSED, 36, UINT64_C (1) << 40, 8 },
  { "text-over-tables", 12, CORRUPT, 36, 40, 8, .frozen = true },
  { "gtes-0", 9, REFUSED, 44, 0, 4 },
  { "gtes-513", 9, REFUSED, 44, 513, 4 },
  { "gtes-max", 9, REFUSED, 44, UINT32_MAX, 4 },
  { "rgd-far", 9, CORRUPT, 48, UINT64_C (1) << 40, 8, .frozen = true },
  { "rgd-0", 12, FINE, 48, 0, 8 },
  { "rgd-is-gd", 13, FINE, 48, GD / SECTOR, 8 },
  { "rgd-on-table", 12, CORRUPT, 48, GT / SECTOR, 8, .frozen = true },
  { "gd-0", 12, REFUSED, 56, 0, 8 },
  { "gd-far", 9, REFUSED, 56, UINT64_C (1) << 40, 8 },
  { "gd-wraps", 10, REFUSED, 56, UINT64_C (1) << 55, 8 },
  { "gd-at-end", 8, REFUSED, 56, UINT64_MAX, 8 },
  { "gd-on-text", 12, CORRUPT, 56, 1, 8, .frozen = true },
  { "gd-on-table", 12, CORRUPT, 56, GT / SECTOR, 8 },
  { "overhead-far", 10, REFUSED, 64, UINT64_C (1) << 50, 8 },
  { "sent-as-text", 8, REFUSED, 75, '\n', 1 },
  { "compression-9", 16, REFUSED, 8, 0x10003, 4 },
  { "gde-far", 9, CORRUPT, GD, 0x7fffffff, 4 },
  { "gde-max", 10, CORRUPT, GD, UINT32_MAX, 4 },
  { "gde-on-header", 12, CORRUPT, GD, 1, 4, .frozen = true },
  { "gde-on-itself", 13, CORRUPT, GD, GD / SECTOR, 4, .frozen = true },
  { "gde-twice", 13, CORRUPT, GD + 4, GT / SECTOR, 4, .frozen = true },
  { "gde-askew", 12, CORRUPT, GD, GT / SECTOR + 1, 4, .frozen = true },
  { "rgde-far", 9, CORRUPT, RGD, 0x7fffffff, 4 },
  { "rgde-is-gt", 13, CORRUPT, RGD, GT / SECTOR, 4, .frozen = true },
  { "gte-far", 10, CORRUPT, GT + 4 * 9, 0x7fffffff, 4 },
  { "gte-max", 10, CORRUPT, GT + 4 * 9, UINT32_MAX, 4 },
  { "gte-on-header", 12, CORRUPT, GT + 4 * 9, 1, 4 },
  { "gte-on-text", 12, CORRUPT, GT + 4 * 9, 2, 4 },
  { "gte-on-table", 12, CORRUPT, GT + 4 * 9, GT / SECTOR, 4 },
  { "gte-twice", 12, CORRUPT, GT + 4 * 9, DATA / SECTOR, 4 },
  { "gte-askew", 12, CORRUPT, GT + 4 * 9, DATA / SECTOR + 5, 4, .stays = true },
  { "header-cut", 8, REFUSED, .length = 100 },
  { "tables-cut", 8, REFUSED, .length = GT },
  { "empty", 8, REFUSED, .length = 1 },
  { "data-cut", 10, CORRUPT, .length = DATA + GRAIN },
};

/* ---- building
 * ---------------------------------------------------------------- */

static void
put (VpFile *file, uint64_t offset, uint64_t value, unsigned width)
{
  uint8_t bytes[8];
  vp_le64_set (bytes, value);
  fake_file_poke (file, offset, bytes, width);
}

/* Four grains are in it. */
static VpFile *
build (const Hostile *h)
{
  VmdkSparseOptions options = { .capacity = CAPACITY };
  VpFile *file = fake_file_new ("image");
  g_autofree uint8_t *bytes = g_malloc (4 * GRAIN);
  uint64_t text;
  memset (bytes, 'x', 4 * GRAIN);
  ASSERT_OK (vmdk_sparse_create (file, &options, &text, &error));
  g_assert_cmpuint (text, ==, TEXT);
  fake_file_poke (file, DATA, bytes, 4 * GRAIN);
  for (uint32_t i = 0; i < 4; i++) {
    put (file, GT + 4 * i, DATA / SECTOR + i * GRAIN / SECTOR, 4);
    put (file, RGT + 4 * i, DATA / SECTOR + i * GRAIN / SECTOR, 4);
  }
  if (h->width > 0)
    put (file, h->offset, h->value, h->width);
  if (h->length > 0)
    ASSERT_OK (vp_file_truncate (file, h->length, &error));
  return file;
}

/* ---- judging
 * ----------------------------------------------------------------- */

/* All of it, grain by grain: an error ends it, and loops do not. */
static bool
read_all (VmdkSparse *sparse)
{
  uint64_t capacity = vmdk_sparse_facts (sparse)->capacity;
  g_autofree uint8_t *bytes = g_malloc (GRAIN);
  unsigned steps = 0;
  for (uint64_t at = 0; at < capacity;) {
    VpRun run = { 0 };
    g_assert_cmpuint (steps++, <, 100000);
    if (!vmdk_sparse_map (sparse, at, MIN (GRAIN, capacity - at), &run, NULL))
      return false;
    g_assert_cmpuint (run.length, >, 0);
    g_assert_cmpuint (run.length, <=, GRAIN);
    if (run.kind == VP_RUN_DATA &&
        !vp_file_read (run.file, run.offset, bytes, run.length, NULL))
      return false;
    at += run.length;
  }
  return true;
}

static uint64_t
check (VpFile *file, VpRepair repair)
{
  VpDriverFlags flags = VP_DRIVER_CHECK;
  g_auto (VpCheckResult)
      result = { .messages = g_ptr_array_new_with_free_func (g_free) };
  g_autoptr (VmdkSparse) sparse = NULL;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_DRIVER_WRITABLE;
  ASSERT_OK (vmdk_sparse_open (file, flags, &sparse, &error));
  ASSERT_OK (vmdk_sparse_check (sparse, repair, NULL, &result, &error));
  return result.corruptions + result.check_errors;
}

/* Writes a bit everywhere; the tables stay what they are. */
static void
write_everywhere (VpFile *file, const Hostile *h)
{
  g_autoptr (VmdkSparse) sparse = NULL;
  g_autoptr (VpFile) before = fake_file_copy (file, "before");
  uint64_t size, old_size;
  ASSERT_OK (vmdk_sparse_open (file, VP_DRIVER_WRITABLE, &sparse, &error));
  for (uint64_t at = 0; at < CAPACITY; at += GRAIN / 2) {
    VpPlace place = { 0 };
    if (!vmdk_sparse_reserve (sparse, at, 100, &place, NULL))
      continue;
    g_assert_false (h->frozen);
    g_assert_cmpuint (place.offset, >=, DATA);
    if (!place.in_place)
      vmdk_sparse_unreserve (sparse, &place);
  }
  /* Refused or not. */
  if (vmdk_sparse_flush (sparse, NULL) &&
      vmdk_sparse_discard (sparse, 0, CAPACITY / 2, NULL))
    ASSERT_OK (vmdk_sparse_flush (sparse, &error));
  const uint8_t *now = fake_file_bytes (file, &size);
  const uint8_t *then = fake_file_bytes (before, &old_size);
  g_assert_cmpmem (now + TEXT, RGT - TEXT, then + TEXT, RGT - TEXT);
  if (h->frozen)
    g_assert_true (size == old_size && memcmp (now, then, size) == 0);
}

static void
judge_mended (VpFile *file, const Hostile *h)
{
  uint64_t left = check (file, VP_REPAIR_ALL);
  if (h->frozen || h->stays)
    return;
  g_assert_cmpuint (left, ==, 0);
  g_assert_cmpuint (check (file, VP_REPAIR_NOTHING), ==, 0);
}

static void
test_hostile (gconstpointer data)
{
  const Hostile *h = data;
  g_autoptr (VpFile) file = build (h);
  g_autoptr (VmdkSparse) sparse = NULL;
  g_autoptr (GError) failure = NULL;
  bool opens = vmdk_sparse_open (file, 0, &sparse, &failure);
  g_test_message ("%u %s: %s", h->row, h->name,
                  failure ? failure->message : "opens");
  g_assert_true (opens == (h->verdict != REFUSED));
  if (!opens)
    return;
  if (!read_all (sparse))
    g_assert_cmpint (h->verdict, ==, CORRUPT);
  uint64_t faults = check (file, VP_REPAIR_NOTHING);
  g_assert_true ((faults > 0) == (h->verdict == CORRUPT));
  g_autoptr (VpFile) copy = fake_file_copy (file, "image");
  write_everywhere (copy, h);
  judge_mended (file, h);
}

/* ---- noise
 * ------------------------------------------------------------------- */

/* A few numbers of header and tables become others. */
static void
test_noise (void)
{
  static const uint64_t places[] = { 8,  12,  20,       28,  36,     44,
                                     48, 56,  64,       GD,  GD + 4, RGD,
                                     GT, RGT, GT + 400, GT2, GT + 8 };
  Random random = { test_seed () };
  for (unsigned i = 0; i < test_rounds (40, 20000); i++) {
    g_autoptr (VpFile) file = build (&hostiles[0]);
    g_autoptr (VmdkSparse) sparse = NULL;
    for (uint64_t n = 1 + random_below (&random, 3); n > 0; n--) {
      uint64_t value = random_next (&random) >> random_below (&random, 64);
      put (file, places[random_below (&random, G_N_ELEMENTS (places))], value,
           random_below (&random, 4) ? 4 : 8);
    }
    if (!vmdk_sparse_open (file, 0, &sparse, NULL))
      continue;
    uint64_t capacity = vmdk_sparse_facts (sparse)->capacity;
    if (capacity <= 16 * CAPACITY &&
        vmdk_sparse_facts (sparse)->grain_size >= 4096)
      (void) read_all (sparse);
    g_clear_pointer (&sparse, vmdk_sparse_close);
    if (!vmdk_sparse_open (file, VP_DRIVER_CHECK | VP_DRIVER_WRITABLE, &sparse,
                           NULL))
      continue;
    g_auto (VpCheckResult)
        result = { .messages = g_ptr_array_new_with_free_func (g_free) };
    /* Whatever it says. */
    if (!vmdk_sparse_check (sparse, VP_REPAIR_ALL, NULL, &result, NULL))
      continue;
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (hostiles); i++) {
    g_autofree char *path = g_strdup_printf ("/hostile-vmdk/%02u/%s",
                                             hostiles[i].row, hostiles[i].name);
    g_test_add_data_func (path, &hostiles[i], test_hostile);
  }
  g_test_add_func ("/hostile-vmdk/noise", test_noise);
  return g_test_run ();
}
