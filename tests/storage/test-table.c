/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The order of write-back and the quarantine, seen from the file. */
#include "config.h"

#include "storage/table.h"

#include <string.h>

#include "tests/storage/fake-file.h"

typedef struct {
  VpFile *file;
  VpTables *tables;
  GPtrArray *log;
  GString *words; /* what happened: "w4096 F r8192 ..." */
  size_t seen;
} Fixture;

static void
release (gpointer user_data, uint64_t offset, uint64_t length)
{
  Fixture *f = user_data;
  for (; f->seen < f->log->len; f->seen++) {
    const FakeOp *op = g_ptr_array_index (f->log, f->seen);
    if (op->kind == FAKE_FLUSH)
      g_string_append (f->words, "F ");
    else
      g_string_append_printf (f->words, "w%u ", (unsigned) op->offset);
  }
  if (length > 0)
    g_string_append_printf (f->words, "r%u ", (unsigned) offset);
}

static void
set_up (Fixture *f, size_t limit, bool ordered)
{
  *f = (Fixture){ 0 };
  f->file = fake_file_new ("disk");
  uint8_t zeros[65536] = { 0 };
  fake_file_poke (f->file, 0, zeros, sizeof zeros);
  f->log = fake_file_record (f->file);
  f->words = g_string_new (NULL);
  f->tables = vp_tables_new (f->file, limit, ordered, release, f);
}

static void
tear_down (Fixture *f)
{
  vp_tables_free (f->tables);
  vp_file_unref (f->file);
  g_string_free (f->words, true);
}

static void
touch (Fixture *f, uint64_t offset, unsigned order)
{
  uint8_t *block = vp_tables_load (f->tables, offset, 4096, NULL);
  g_assert_nonnull (block);
  block[0]++;
  vp_tables_dirty (f->tables, offset, 0, 1, order);
}

static const char *
words (Fixture *f)
{
  release (f, 0, 0);
  return f->words->str;
}

static void
test_order (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  touch (&f, 0, 2);
  touch (&f, 8192, 1);
  touch (&f, 20480, 0);
  touch (&f, 12288, 0);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "w12288 w20480 F w8192 F w0 F ");
  g_assert_false (vp_tables_is_dirty (f.tables));
  tear_down (&f);
}

/* Guest data went out before; nobody told the tables. */
static void
test_data_first (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  touch (&f, 4096, 2);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "F w4096 F ");
  tear_down (&f);
}

static void
test_fresh_goes_first (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  uint8_t *block = vp_tables_add (f.tables, 40960, 4096);
  block[7] = 1;
  vp_tables_dirty (f.tables, 40960, 7, 1, 2);
  touch (&f, 0, 2);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "w40960 F w0 F ");
  /* The second time it is like any other. */
  touch (&f, 40960, 2);
  touch (&f, 45056, 0);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "w40960 F w0 F w45056 F w40960 F ");
  tear_down (&f);
}

static void
test_quarantine (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  vp_tables_free_later (f.tables, 50000, 10);
  touch (&f, 0, 2);
  g_assert_true (vp_tables_is_dirty (f.tables));
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "F w0 F r50000 ");
  tear_down (&f);
}

static void
test_quarantine_waits_for_success (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  vp_tables_free_later (f.tables, 50000, 10);
  touch (&f, 0, 2);
  fake_file_fail (f.file, 2, false); /* the write of the block */
  g_assert_false (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "F ");
  g_assert_true (vp_tables_is_dirty (f.tables));
  fake_file_fail (f.file, 0, false);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "F F w0 F r50000 ");
  tear_down (&f);
}

/* After a failed flush nothing more may be written. */
static void
test_flush_failure_is_final (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  touch (&f, 0, 2);
  fake_file_fail (f.file, 1, false);
  g_assert_false (vp_tables_flush (f.tables, NULL));
  fake_file_fail (f.file, 0, false);
  g_assert_false (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "");
  tear_down (&f);
}

static void
test_sectors (void)
{
  Fixture f;
  set_up (&f, 1 << 20, true);
  uint8_t *block = vp_tables_load (f.tables, 4096, 4096, NULL);
  block[1030] = 1;
  vp_tables_dirty (f.tables, 4096, 1030, 1, 0);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  const FakeOp *op = g_ptr_array_index (f.log, 0);
  g_assert_cmpuint (op->offset, ==, 4096 + 1024);
  g_assert_cmpuint (op->length, ==, 512);
  tear_down (&f);
}

static void
test_limit (void)
{
  Fixture f;
  set_up (&f, 4 * 4096, true);
  for (unsigned i = 0; i < 12; i++) {
    g_assert_true (vp_tables_trim (f.tables, NULL));
    touch (&f, i * 4096u, 2);
  }
  /* What was dropped comes back with what was written. */
  for (unsigned i = 0; i < 12; i++) {
    g_assert_true (vp_tables_trim (f.tables, NULL));
    const uint8_t *block = vp_tables_load (f.tables, i * 4096u, 4096, NULL);
    g_assert_cmpuint (block[0], ==, 1);
  }
  g_assert_nonnull (strstr (words (&f), "w0 "));
  tear_down (&f);
}

static void
test_unordered (void)
{
  Fixture f;
  set_up (&f, 1 << 20, false);
  touch (&f, 0, 2);
  touch (&f, 8192, 0);
  g_assert_true (vp_tables_flush (f.tables, NULL));
  g_assert_cmpstr (words (&f), ==, "w8192 w0 F ");
  tear_down (&f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/table/order", test_order);
  g_test_add_func ("/table/data-first", test_data_first);
  g_test_add_func ("/table/fresh-goes-first", test_fresh_goes_first);
  g_test_add_func ("/table/quarantine", test_quarantine);
  g_test_add_func ("/table/quarantine-waits-for-success",
                   test_quarantine_waits_for_success);
  g_test_add_func ("/table/flush-failure-is-final",
                   test_flush_failure_is_final);
  g_test_add_func ("/table/sectors", test_sectors);
  g_test_add_func ("/table/limit", test_limit);
  g_test_add_func ("/table/unordered", test_unordered);
  return g_test_run ();
}
