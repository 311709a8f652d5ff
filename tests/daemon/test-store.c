/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/error.h"
#include "daemon/store.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *folder; /* holds the state folder */
  char *path;   /* the state folder */
  VpStore *store;
} Fixture;

static char *
path_of (Fixture *fixture, const char *name)
{
  return g_build_filename (fixture->path, name, NULL);
}

static bool
exists (Fixture *fixture, const char *name)
{
  g_autofree char *path = path_of (fixture, name);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

static void
put (Fixture *fixture, const char *name, const char *text)
{
  g_autofree char *path = path_of (fixture, name);
  g_autofree char *folder = g_path_get_dirname (path);

  g_assert_cmpint (g_mkdir_with_parents (folder, 0700), ==, 0);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static char *
get (Fixture *fixture, const char *name)
{
  g_autofree char *path = path_of (fixture, name);
  char *text = NULL;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  return text;
}

static void
close_store (Fixture *fixture)
{
  g_clear_pointer (&fixture->store, vp_store_free);
}

static void
open_store (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  fixture->store = vp_store_open (fixture->path, &error);
  g_assert_no_error (error);
  g_assert_nonnull (fixture->store);
}

static void
reopen (Fixture *fixture)
{
  close_store (fixture);
  open_store (fixture);
}

static void
remove_tree (const char *path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *below = g_build_filename (path, name, NULL);

    remove_tree (below);
  }
  if (dir)
    g_dir_close (dir);
  g_assert_cmpint (remove (path), ==, 0);
}

static void
set_up_closed (Fixture *fixture, gconstpointer data)
{
  fixture->folder = g_dir_make_tmp ("vprovd-store-XXXXXX", NULL);
  g_assert_nonnull (fixture->folder);
  fixture->path = g_build_filename (fixture->folder, "state", NULL);
}

static void
set_up (Fixture *fixture, gconstpointer data)
{
  set_up_closed (fixture, data);
  open_store (fixture);
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  close_store (fixture);
  remove_tree (fixture->folder);
  g_free (fixture->folder);
  g_free (fixture->path);
}

/* Every file below the folder with its inode, times and size: a file that was
 * replaced by the same bytes shows, too. */
static void
describe_tree (const char *path, GString *text)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  GDir *dir = g_dir_open (path, 0, NULL);
  const char *name;
  GStatBuf st;

  g_assert_cmpint (g_lstat (path, &st), ==, 0);
  g_string_append_printf (text, "%s %lu %ld.%09ld %ld\n", path,
                          (unsigned long) st.st_ino, (long) st.st_mtim.tv_sec,
                          (long) st.st_mtim.tv_nsec, (long) st.st_size);
  while (dir && (name = g_dir_read_name (dir)))
    g_ptr_array_add (names, g_build_filename (path, name, NULL));
  if (dir)
    g_dir_close (dir);
  for (unsigned i = 0; i < names->len; i++)
    describe_tree (g_ptr_array_index (names, i), text);
}

static char *
snapshot (Fixture *fixture)
{
  GString *text = g_string_new (NULL);

  describe_tree (fixture->path, text);
  return g_string_free (text, FALSE);
}

/* Takes names. */
static void
expect_names (GPtrArray *names, const char *expected)
{
  g_autofree char *joined = NULL;

  g_assert_nonnull (names);
  g_ptr_array_add (names, NULL);
  joined = g_strjoinv (" ", (char **) names->pdata);
  g_assert_cmpstr (joined, ==, expected);
  g_ptr_array_unref (names);
}

/* ---- opening ---- */

static void
test_new (Fixture *fixture, gconstpointer data)
{
  g_autofree char *version = get (fixture, "version");
  g_autofree char *seed = get (fixture, "seed");
  g_autofree char *uuid = vp_store_derive_uuid (fixture->store, "web");
  g_autofree char *uuid_again = NULL;
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;
  GStatBuf st;

  g_assert_cmpstr (version, ==, "1\n");
  g_assert_cmpuint (strlen (seed), ==, 33);
  g_assert_cmpstr (vp_store_get_path (fixture->store), ==, fixture->path);
  g_assert_cmpint (g_stat (fixture->path, &st), ==, 0);
  g_assert_cmpint (st.st_mode & 0777, ==, 0711);

  /* Opening again writes nothing, and derives the same. */
  before = snapshot (fixture);
  reopen (fixture);
  after = snapshot (fixture);
  g_assert_cmpstr (before, ==, after);
  uuid_again = vp_store_derive_uuid (fixture->store, "web");
  g_assert_cmpstr (uuid, ==, uuid_again);
}

static void
test_derive (Fixture *fixture, gconstpointer data)
{
  g_autofree char *web = NULL;
  g_autofree char *db = NULL;
  VpMac mac, other;

  close_store (fixture);
  put (fixture, "seed", "000102030405060708090a0b0c0d0e0f\n");
  open_store (fixture);
  web = vp_store_derive_uuid (fixture->store, "web");
  db = vp_store_derive_uuid (fixture->store, "db");
  /* From sha256 of "000102030405060708090a0b0c0d0e0f\nuuid\nweb\n", and of the
   * like: what is derived must never change. */
  g_assert_cmpstr (web, ==, "f4a122c3-845c-86f7-a49d-25b42d02f23b");
  g_assert_cmpstr (db, !=, web);
  g_assert_true (g_uuid_string_is_valid (web));

  mac = vp_store_derive_mac (fixture->store, "web", "nic0");
  g_assert_cmpmem (mac.bytes, 6, "\x52\x54\x40\xdc\xe0\x37", 6);
  other = vp_store_derive_mac (fixture->store, "web", "nic1");
  g_assert_cmpint (memcmp (mac.bytes, other.bytes, 6), !=, 0);
  /* Unicast, locally administered. */
  g_assert_cmpint (mac.bytes[0] & 3, ==, 2);
}

static void
test_newer (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;

  put (fixture, "version", "2\n");
  put (fixture, "guests/web", "what version 2 writes");
  before = snapshot (fixture);
  g_assert_null (vp_store_open (fixture->path, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_NOT_SUPPORTED);
  g_assert_nonnull (strstr (error->message, "version 2"));
  after = snapshot (fixture);
  g_assert_cmpstr (before, ==, after);
}

static void
test_bad_version (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  put (fixture, "version", "one\n");
  g_assert_null (vp_store_open (fixture->path, &error));
  g_assert_nonnull (strstr (error->message, "/version: does not hold a"));
}

static void
test_bad_seed (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  close_store (fixture);
  put (fixture, "seed", "0001");
  g_assert_null (vp_store_open (fixture->path, &error));
  g_assert_nonnull (strstr (error->message, "/seed: does not hold 32 hex"));
  g_assert_nonnull (strstr (error->message, "move it away"));
}

static void
test_one_daemon (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vp_store_open (fixture->path, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_BUSY);
  reopen (fixture); /* free where it was closed */
}

/* A crash between the temporary file and the rename. */
static void
test_left_over (Fixture *fixture, gconstpointer data)
{
  close_store (fixture);
  put (fixture, "guests/.web.tmp", "half");
  put (fixture, "accepted/guest/.web.xml.tmp", "half");
  open_store (fixture);
  g_assert_false (exists (fixture, "guests/.web.tmp"));
  g_assert_false (exists (fixture, "accepted/guest/.web.xml.tmp"));
}

static void
test_link_to_state (Fixture *fixture, gconstpointer data)
{
  g_autofree char *elsewhere =
      g_build_filename (fixture->folder, "elsewhere", NULL);

  g_assert_cmpint (g_mkdir (elsewhere, 0700), ==, 0);
  g_assert_cmpint (symlink (elsewhere, fixture->path), ==, 0);
  open_store (fixture);
  g_assert_true (exists (fixture, "version"));
}

/* ---- version 0 ---- */

static void
test_version_0 (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = NULL;
  g_autofree char *seed = NULL;
  g_autofree char *version = NULL;

  put (fixture, "seed", "000102030405060708090a0b0c0d0e0f\n");
  put (fixture, "guests/web.uuid", "0B1A0F9C-33B5-4F2A-9C52-0A1D3A2F5C11\n");
  put (fixture, "guests/db.uuid", "5f0e6ad1-6dd2-4e0e-8e0e-6f43d2d0a111\n");
  open_store (fixture);
  expect_names (vp_store_list_guests (fixture->store, NULL), "db web");
  record = vp_store_load_guest (fixture->store, "web", NULL);
  g_assert_cmpstr (record->uuid, ==, "0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11");
  g_assert_false (exists (fixture, "guests/web.uuid"));
  seed = get (fixture, "seed");
  g_assert_cmpstr (seed, ==, "000102030405060708090a0b0c0d0e0f\n");
  version = get (fixture, "version");
  g_assert_cmpstr (version, ==, "1\n");
}

/* Cut after one record was written: what is there holds. */
static void
test_version_0_cut (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = NULL;

  put (fixture, "version", "0\n");
  put (fixture, "guests/web.uuid", "0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11\n");
  put (fixture, "guests/web",
       "[guest]\nuuid=0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11\nhold=true\n");
  open_store (fixture);
  record = vp_store_load_guest (fixture->store, "web", NULL);
  g_assert_true (record->hold);
  expect_names (vp_store_list_guests (fixture->store, NULL), "web");
}

/* One bad file, and nothing is changed. */
static void
test_version_0_bad (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  put (fixture, "guests/db.uuid", "5f0e6ad1-6dd2-4e0e-8e0e-6f43d2d0a111\n");
  put (fixture, "guests/web.uuid", "not a uuid\n");
  g_assert_null (vp_store_open (fixture->path, &error));
  g_assert_nonnull (strstr (error->message, "guests/web.uuid: does not hold"));
  g_assert_true (exists (fixture, "guests/db.uuid"));
  g_assert_false (exists (fixture, "guests/db"));
  g_assert_false (exists (fixture, "version"));
}

/* In version 1 such a name is a guest like another. */
static void
test_named_like_version_0 (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = vp_guest_record_new ();

  g_assert_true (
      vp_store_save_guest (fixture->store, "web.uuid", record, NULL));
  reopen (fixture);
  expect_names (vp_store_list_guests (fixture->store, NULL), "web.uuid");
}

/* ---- guests ---- */

static VpGuestRecord *
full_record (void)
{
  VpGuestRecord *record = vp_guest_record_new ();

  record->uuid = g_strdup ("0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11");
  record->domain = g_strdup ("web-old");
  record->machine = g_strdup ("pc-q35-7.2");
  record->arch = g_strdup ("x86_64");
  record->hold = true;
  record->boot_id = g_strdup ("b; [odd] = \\ value\n ");
  record->retired = true;
  record->off = true;
  g_hash_table_insert (record->macs, g_strdup ("nic0"),
                       g_strdup ("52:54:00:00:00:01"));
  g_hash_table_insert (record->macs, g_strdup ("a.b-c_d"),
                       g_strdup ("52:54:00:00:00:02"));
  g_hash_table_insert (record->addresses, g_strdup ("nic0"),
                       g_strdup ("192.168.211.10"));
  g_hash_table_insert (record->volumes, g_strdup ("root"),
                       g_strdup ("default/web-root.qcow2"));
  g_hash_table_insert (record->targets, g_strdup ("root"), g_strdup ("vda"));
  return record;
}

static void
expect_equal (const VpGuestRecord *a, const VpGuestRecord *b)
{
  g_assert_cmpstr (a->uuid, ==, b->uuid);
  g_assert_cmpstr (a->domain, ==, b->domain);
  g_assert_cmpstr (a->machine, ==, b->machine);
  g_assert_cmpstr (a->arch, ==, b->arch);
  g_assert_cmpstr (a->boot_id, ==, b->boot_id);
  g_assert_cmpint (a->hold, ==, b->hold);
  g_assert_cmpint (a->retired, ==, b->retired);
  g_assert_cmpint (a->off, ==, b->off);
  for (unsigned i = 0; i < 4; i++) {
    GHashTable *const maps[] = { a->macs,      b->macs,    a->addresses,
                                 b->addresses, a->volumes, b->volumes,
                                 a->targets,   b->targets };
    GHashTableIter iter;
    gpointer key, value;

    g_assert_cmpuint (g_hash_table_size (maps[2 * i]), ==,
                      g_hash_table_size (maps[2 * i + 1]));
    g_hash_table_iter_init (&iter, maps[2 * i]);
    while (g_hash_table_iter_next (&iter, &key, &value))
      g_assert_cmpstr (value, ==, g_hash_table_lookup (maps[2 * i + 1], key));
  }
}

static void
test_guest (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = full_record ();
  g_autoptr (VpGuestRecord) copy = vp_guest_record_copy (record);
  g_autoptr (VpGuestRecord) back = NULL;
  g_autoptr (VpGuestRecord) empty = vp_guest_record_new ();
  g_autoptr (VpGuestRecord) empty_back = NULL;
  g_autoptr (GError) error = NULL;

  expect_equal (record, copy);
  g_assert_null (vp_store_load_guest (fixture->store, "web", &error));
  g_assert_no_error (error);
  g_assert_true (vp_store_save_guest (fixture->store, "web", record, &error));
  g_assert_true (vp_store_save_guest (fixture->store, "db", empty, &error));
  reopen (fixture);
  back = vp_store_load_guest (fixture->store, "web", &error);
  g_assert_no_error (error);
  expect_equal (record, back);
  empty_back = vp_store_load_guest (fixture->store, "db", &error);
  g_assert_no_error (error);
  expect_equal (empty, empty_back);
  expect_names (vp_store_list_guests (fixture->store, NULL), "db web");

  g_assert_true (vp_store_remove_guest (fixture->store, "web", &error));
  g_assert_true (vp_store_remove_guest (fixture->store, "web", &error));
  g_assert_no_error (error);
  expect_names (vp_store_list_guests (fixture->store, NULL), "db");
  vp_guest_record_free (NULL);
}

/* Equal records are equal bytes, whatever the tables' order: no write. */
static void
test_no_write (Fixture *fixture, gconstpointer data)
{
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;
  VpVolumeRecord volume = { .path = (char *) "/p",
                            .format = (char *) "raw",
                            .size = 1 };
  VpCidr cidr;

  g_assert_true (vp_cidr_parse ("192.168.211.1/24", &cidr));
  for (unsigned i = 0; i < 2; i++) {
    g_autoptr (VpGuestRecord) record = full_record ();

    for (unsigned k = 0; k < 40; k++)
      g_hash_table_insert (record->macs,
                           g_strdup_printf ("n%u", i ? 39 - k : k),
                           g_strdup ("52:54:00:00:00:01"));
    g_assert_true (vp_store_save_guest (fixture->store, "web", record, NULL));
    g_assert_true (vp_store_save_accepted (fixture->store, "guest", "web",
                                           "/etc/w.xml", "<guest/>", 8, NULL));
    g_assert_true (
        vp_store_save_volume (fixture->store, "default", "v", &volume, NULL));
    g_assert_true (vp_store_save_network (fixture->store, "n", &cidr, NULL));
    if (i == 0)
      before = snapshot (fixture);
  }
  after = snapshot (fixture);
  g_assert_cmpstr (before, ==, after);
}

/* A write that fails, here for want of room: the old file stays as it was and
 * no temporary one is left. */
static void
test_write_fails (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) old = full_record ();
  g_autoptr (VpGuestRecord) changed = full_record ();
  g_autoptr (VpGuestRecord) back = NULL;
  g_autoptr (GError) error = NULL;
  struct rlimit limit, none;
  VpJournal *journal;
  g_autoptr (VpStep) step =
      vp_step_new (VP_STEP_START, "web", NULL, NULL, NULL, VP_RISK_LIVE);

  g_assert_true (vp_store_save_guest (fixture->store, "web", old, NULL));
  journal = vp_store_journal_open (fixture->store, "web", NULL);
  g_assert_nonnull (journal);
  changed->hold = !changed->hold;

  signal (SIGXFSZ, SIG_IGN);
  g_assert_cmpint (getrlimit (RLIMIT_FSIZE, &limit), ==, 0);
  none = limit;
  none.rlim_cur = 5;
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &none), ==, 0);
  g_assert_false (vp_store_save_guest (fixture->store, "web", changed, &error));
  g_assert_nonnull (strstr (error->message, "guests/web: cannot write: "));
  g_clear_error (&error);
  g_assert_false (vp_store_save_guest (fixture->store, "new", changed, NULL));
  g_assert_false (vp_journal_write (journal, "begin", step, &error));
  g_assert_nonnull (strstr (error->message, "jobs/web: cannot write"));
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &limit), ==, 0);
  signal (SIGXFSZ, SIG_DFL);

  vp_journal_close (journal, true);
  g_assert_false (exists (fixture, "guests/.web.tmp"));
  g_assert_false (exists (fixture, "guests/.new.tmp"));
  g_assert_false (exists (fixture, "guests/new"));
  back = vp_store_load_guest (fixture->store, "web", NULL);
  expect_equal (old, back);
}

/* Looking for what is not there leaves nothing behind. */
static void
test_look_writes_nothing (Fixture *fixture, gconstpointer data)
{
  g_autofree char *before = snapshot (fixture);
  g_autofree char *after = NULL;
  g_autoptr (GError) error = NULL;
  VpCidr cidr;

  g_assert_null (vp_store_load_guest (fixture->store, "web", &error));
  g_assert_null (vp_store_load_volume (fixture->store, "fast", "v", &error));
  g_assert_null (vp_store_load_accepted (fixture->store, "guest", "web", NULL,
                                         NULL, &error));
  g_assert_false (vp_store_load_network (fixture->store, "n", &cidr, &error));
  g_assert_true (
      vp_store_remove_accepted (fixture->store, "guest", "web", &error));
  g_assert_true (vp_store_remove_journal (fixture->store, "web", &error));
  g_assert_no_error (error);
  after = snapshot (fixture);
  g_assert_cmpstr (before, ==, after);
}

/* Each damaged in its way: an error that names the file and the cure; the
 * others load. */
static void
test_corrupt (Fixture *fixture, gconstpointer data)
{
  static const char *const texts[] = {
    "",
    "garbage",
    "[guest\nuuid=x\n",
    "[other]\nuuid=0b1a0f9c-33b5-4f2a-9c52-0a1d3a2f5c11\n",
    "[guest]\nuuid=short\n",
    "[guest]\nhold=maybe\n",
    "[guest]\nuuid=\xff\xfe\n",
    "[guest]\nmachine=bad \\q escape\n",
  };
  g_autoptr (VpGuestRecord) good = full_record ();
  g_autoptr (VpGuestRecord) back = NULL;

  g_assert_true (vp_store_save_guest (fixture->store, "good", good, NULL));
  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;

    g_test_message ("damaged file %zu", i);
    put (fixture, "guests/bad", texts[i]);
    g_assert_null (vp_store_load_guest (fixture->store, "bad", &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "state/guests/bad: "));
    g_assert_nonnull (strstr (error->message, "move it away"));
    expect_names (vp_store_list_guests (fixture->store, NULL), "bad good");
  }
  back = vp_store_load_guest (fixture->store, "good", NULL);
  expect_equal (good, back);
  /* A save replaces it. */
  g_assert_true (vp_store_save_guest (fixture->store, "bad", good, NULL));
}

/* A key that a later vprovd wrote is passed over. */
static void
test_unknown_keys (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = NULL;
  g_autoptr (GError) error = NULL;

  put (fixture, "guests/web", "[guest]\nhold=true\nmood=good\n[extra]\na=b\n");
  record = vp_store_load_guest (fixture->store, "web", &error);
  g_assert_no_error (error);
  g_assert_true (record->hold);
}

static void
test_not_a_file (Fixture *fixture, gconstpointer data)
{
  g_autofree char *folder = path_of (fixture, "guests/folder");
  g_autofree char *link = path_of (fixture, "guests/link");
  g_autofree char *fifo = path_of (fixture, "guests/fifo");
  static const char *const names[] = { "folder", "link", "fifo" };

  g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
  g_assert_cmpint (symlink ("/etc/passwd", link), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vp_store_load_guest (fixture->store, names[i], &error));
    g_assert_nonnull (error);
  }
  expect_names (vp_store_list_guests (fixture->store, NULL), "");
}

static void
test_names (Fixture *fixture, gconstpointer data)
{
  static const char *const names[] = { "",      ".",  "..",  "../x", "a/b",
                                       ".web",  "-x", "a b", "a\nb", "ä",
                                       "/root", "a=", "web~" };
  g_autofree char *long_name = g_strnfill (201, 'a');
  g_autoptr (VpGuestRecord) record = full_record ();
  g_autofree char *before = snapshot (fixture);
  g_autofree char *after = NULL;

  for (size_t i = 0; i <= G_N_ELEMENTS (names); i++) {
    const char *name = i < G_N_ELEMENTS (names) ? names[i] : long_name;
    g_autoptr (GError) error = NULL;

    g_assert_false (vp_store_save_guest (fixture->store, name, record, &error));
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_FILENAME);
    g_assert_false (vp_store_remove_guest (fixture->store, name, NULL));
    g_assert_null (vp_store_load_guest (fixture->store, name, NULL));
    g_assert_null (vp_store_journal_open (fixture->store, name, NULL));
    g_assert_null (vp_store_load_volume (fixture->store, name, "v", NULL));
  }
  after = snapshot (fixture);
  g_assert_cmpstr (before, ==, after);
}

/* ---- volumes, renaming ---- */

static void
save_volume (Fixture *fixture, const char *volume, const char *owner)
{
  VpVolumeRecord record = {
    .owner = (char *) owner,
    .disk = (char *) "root",
    .path = (char *) "/var/lib/vprovd/pool/web-root.qcow2",
    .format = (char *) "qcow2",
    .size = G_MAXUINT64,
    .base = (char *) "debian-12",
    .base_path = (char *) "/images/debian 12.qcow2",
    .base_format = (char *) "qcow2",
    .created = 1700000000,
  };

  g_assert_true (
      vp_store_save_volume (fixture->store, "default", volume, &record, NULL));
}

static void
expect_owner (Fixture *fixture, const char *volume, const char *owner)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpVolumeRecord) record =
      vp_store_load_volume (fixture->store, "default", volume, &error);

  g_assert_no_error (error);
  g_assert_nonnull (record);
  g_assert_cmpstr (record->owner, ==, owner);
}

static void
test_volume (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpVolumeRecord) record = NULL;
  g_autoptr (GError) error = NULL;

  save_volume (fixture, "web-root.qcow2", "web");
  reopen (fixture);
  record = vp_store_load_volume (fixture->store, "default", "web-root.qcow2",
                                 &error);
  g_assert_no_error (error);
  g_assert_cmpstr (record->owner, ==, "web");
  g_assert_cmpstr (record->disk, ==, "root");
  g_assert_cmpstr (record->path, ==, "/var/lib/vprovd/pool/web-root.qcow2");
  g_assert_cmpstr (record->format, ==, "qcow2");
  g_assert_cmpuint (record->size, ==, G_MAXUINT64);
  g_assert_cmpstr (record->base, ==, "debian-12");
  g_assert_cmpstr (record->base_path, ==, "/images/debian 12.qcow2");
  g_assert_cmpstr (record->base_format, ==, "qcow2");
  g_assert_cmpint (record->created, ==, 1700000000);

  save_volume (fixture, "orphan", NULL);
  expect_owner (fixture, "orphan", NULL);
  put (fixture, "volumes/default/bad", "[volume]\npath=/p\nformat=raw\n");
  g_assert_null (
      vp_store_load_volume (fixture->store, "default", "bad", &error));
  g_assert_nonnull (strstr (error->message, "volumes/default/bad: "));
}

static void
test_rename (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = full_record ();
  g_autoptr (VpGuestRecord) back = NULL;
  g_autoptr (GError) error = NULL;

  g_hash_table_insert (record->volumes, g_strdup ("data"),
                       g_strdup ("default/shared"));
  g_hash_table_insert (record->volumes, g_strdup ("gone"),
                       g_strdup ("default/gone"));
  g_assert_true (vp_store_save_guest (fixture->store, "web", record, NULL));
  save_volume (fixture, "web-root.qcow2", "web");
  save_volume (fixture, "shared", "other");

  g_assert_true (vp_store_rename_guest (fixture->store, "web", "shop", &error));
  g_assert_no_error (error);
  expect_names (vp_store_list_guests (fixture->store, NULL), "shop");
  back = vp_store_load_guest (fixture->store, "shop", NULL);
  expect_equal (record, back);
  expect_owner (fixture, "web-root.qcow2", "shop");
  expect_owner (fixture, "shared", "other");

  g_assert_false (
      vp_store_rename_guest (fixture->store, "web", "shop2", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_NO_SUCH_GUEST);
  g_clear_error (&error);
  g_assert_true (vp_store_save_guest (fixture->store, "web", record, NULL));
  g_assert_false (
      vp_store_rename_guest (fixture->store, "web", "shop", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_NAME_TAKEN);
}

/* Cut after the volume, before the record: done again, it ends well. */
static void
test_rename_cut (Fixture *fixture, gconstpointer data)
{
  g_autoptr (VpGuestRecord) record = full_record ();

  g_assert_true (vp_store_save_guest (fixture->store, "web", record, NULL));
  save_volume (fixture, "web-root.qcow2", "shop");
  g_assert_true (vp_store_rename_guest (fixture->store, "web", "shop", NULL));
  expect_owner (fixture, "web-root.qcow2", "shop");
  expect_names (vp_store_list_guests (fixture->store, NULL), "shop");
}

/* ---- accepted specs, networks ---- */

static void
test_accepted (Fixture *fixture, gconstpointer data)
{
  static const char *const texts[] = {
    "",
    "<guest/>",
    "<guest/>\n",
    "<a>\n<!-- vprovd accepted this, 3 -->\n",
    "<!-- vprovd accepted this, 0 bytes, from /x -->\n",
  };
  static const char *const paths[] = {
    "/etc/vprovd/guests/web.xml",
    "/tmp/a--b--><!-- c%20\xc3\xa4\nd",
    "relative",
  };
  static const char *const kinds[] = { "guest", "network", "pool", "image" };

  for (size_t k = 0; k < G_N_ELEMENTS (kinds); k++) {
    for (size_t t = 0; t < G_N_ELEMENTS (texts); t++) {
      for (size_t p = 0; p < G_N_ELEMENTS (paths); p++) {
        g_autoptr (GError) error = NULL;
        g_autofree char *text = NULL;
        g_autofree char *path = NULL;
        size_t len = strlen (texts[t]), back_len;

        g_assert_true (vp_store_save_accepted (
            fixture->store, kinds[k], "web", paths[p], texts[t], len, &error));
        text = vp_store_load_accepted (fixture->store, kinds[k], "web", &path,
                                       &back_len, &error);
        g_assert_no_error (error);
        g_assert_cmpuint (back_len, ==, len);
        g_assert_cmpstr (text, ==, texts[t]);
        g_assert_cmpstr (path, ==, paths[p]);
      }
    }
    expect_names (vp_store_list_accepted (fixture->store, kinds[k], NULL),
                  "web");
    g_assert_true (
        vp_store_remove_accepted (fixture->store, kinds[k], "web", NULL));
    expect_names (vp_store_list_accepted (fixture->store, kinds[k], NULL), "");
  }
  g_assert_false (vp_store_save_accepted (fixture->store, "../guest", "web",
                                          "/x", "", 0, NULL));
}

static void
test_accepted_cut (Fixture *fixture, gconstpointer data)
{
  g_autofree char *whole = NULL;

  g_assert_true (vp_store_save_accepted (fixture->store, "guest", "web",
                                         "/etc/web.xml", "<guest/>", 8, NULL));
  whole = get (fixture, "accepted/guest/web.xml");
  for (size_t len = 0; len < strlen (whole); len++) {
    g_autofree char *part = g_strndup (whole, len);
    g_autoptr (GError) error = NULL;

    put (fixture, "accepted/guest/web.xml", part);
    g_assert_null (vp_store_load_accepted (fixture->store, "guest", "web", NULL,
                                           NULL, &error));
    g_assert_nonnull (strstr (error->message, "accepted/guest/web.xml: "));
  }
}

static void
test_network (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  VpCidr cidr, back;

  g_assert_true (vp_cidr_parse ("192.168.211.1/24", &cidr));
  g_assert_false (
      vp_store_load_network (fixture->store, "default", &back, &error));
  g_assert_no_error (error);
  g_assert_true (
      vp_store_save_network (fixture->store, "default", &cidr, &error));
  g_assert_true (
      vp_store_load_network (fixture->store, "default", &back, &error));
  text = vp_cidr_to_string (&back);
  g_assert_cmpstr (text, ==, "192.168.211.1/24");

  put (fixture, "networks/default", "[network]\naddress=here\n");
  g_assert_false (
      vp_store_load_network (fixture->store, "default", &back, &error));
  g_assert_nonnull (strstr (error->message, "networks/default: holds no"));
}

/* ---- journal ---- */

static void
write_journal (Fixture *fixture, const char *guest, bool finished)
{
  g_autoptr (VpStep) step =
      vp_step_new (VP_STEP_START, guest, NULL, NULL, NULL, VP_RISK_LIVE);
  g_autoptr (GError) error = NULL;
  VpJournal *journal = vp_store_journal_open (fixture->store, guest, &error);

  g_assert_no_error (error);
  g_assert_true (vp_journal_write (journal, "begin", step, &error));
  g_assert_true (vp_journal_write (journal, "done", step, &error));
  g_assert_no_error (error);
  vp_journal_close (journal, finished);
}

static void
test_journal (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GHashTable) journals = NULL;
  g_autoptr (GHashTable) none = NULL;
  g_autofree char *text = NULL;

  write_journal (fixture, "web", true);
  write_journal (fixture, "db", false);
  write_journal (fixture, "db", false); /* a new one replaces the old */
  text = get (fixture, "jobs/db");
  g_assert_cmpstr (text, ==,
                   "begin\tstart\tdb\t-\t-\t-\tlive\n"
                   "done\tstart\tdb\t-\t-\t-\tlive\n");
  put (fixture, "jobs/cut", "begin\tx\ndone\ty\nbeg");
  put (fixture, "jobs/first", "beg");
  put (fixture, "jobs/empty", "");
  reopen (fixture);

  journals = vp_store_list_journals (fixture->store, NULL);
  g_assert_cmpuint (g_hash_table_size (journals), ==, 4);
  g_assert_cmpstr (g_hash_table_lookup (journals, "db"), ==,
                   "done\tstart\tdb\t-\t-\t-\tlive");
  g_assert_cmpstr (g_hash_table_lookup (journals, "cut"), ==, "done\ty");
  g_assert_cmpstr (g_hash_table_lookup (journals, "first"), ==, "");
  g_assert_cmpstr (g_hash_table_lookup (journals, "empty"), ==, "");

  g_assert_true (vp_store_remove_journal (fixture->store, "db", NULL));
  g_assert_true (vp_store_remove_journal (fixture->store, "cut", NULL));
  g_assert_true (vp_store_remove_journal (fixture->store, "first", NULL));
  g_assert_true (vp_store_remove_journal (fixture->store, "empty", NULL));
  none = vp_store_list_journals (fixture->store, NULL);
  g_assert_cmpuint (g_hash_table_size (none), ==, 0);
}

#define ADD(name, function)                                                    \
  g_test_add ("/store/" name, Fixture, NULL, set_up, function, tear_down)
#define ADD_CLOSED(name, function)                                             \
  g_test_add ("/store/" name, Fixture, NULL, set_up_closed, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("new", test_new);
  ADD ("derive", test_derive);
  ADD ("bad-seed", test_bad_seed);
  ADD ("one-daemon", test_one_daemon);
  ADD ("left-over", test_left_over);
  ADD_CLOSED ("newer", test_newer);
  ADD_CLOSED ("bad-version", test_bad_version);
  ADD_CLOSED ("link-to-state", test_link_to_state);
  ADD_CLOSED ("version-0/update", test_version_0);
  ADD_CLOSED ("version-0/cut", test_version_0_cut);
  ADD_CLOSED ("version-0/bad", test_version_0_bad);
  ADD ("version-0/named-like", test_named_like_version_0);
  ADD ("guest", test_guest);
  ADD ("no-write", test_no_write);
  ADD ("write-fails", test_write_fails);
  ADD ("look-writes-nothing", test_look_writes_nothing);
  ADD ("corrupt", test_corrupt);
  ADD ("unknown-keys", test_unknown_keys);
  ADD ("not-a-file", test_not_a_file);
  ADD ("names", test_names);
  ADD ("volume", test_volume);
  ADD ("rename", test_rename);
  ADD ("rename-cut", test_rename_cut);
  ADD ("accepted", test_accepted);
  ADD ("accepted-cut", test_accepted_cut);
  ADD ("network", test_network);
  ADD ("journal", test_journal);
  return g_test_run ();
}
