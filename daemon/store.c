/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store: opening the state folder, its version and seed; accepted specs;
 * networks.  store-record.c has the records of guests and volumes,
 * store-journal.c the journals of jobs, folder.c the way to the disk.
 *
 * The folder is locked for as long as it is open: two daemons on one state
 * would undo each other's work.
 *
 * Versions.  0 had no file "version" (or one that says 0) and kept of each
 * guest just its uuid, in guests/NAME.uuid.  1 has a record for each guest.
 * Bringing a folder up to date reads all before it writes anything, writes
 * "version" last, and may be cut at any point: it starts again.  A new folder
 * is a version 0 with nothing in it. */
#include "config.h"

#include "daemon/store.h"

#include "daemon/error.h"
#include "daemon/store-private.h"

#include <gio/gio.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

#define STORE_VERSION 1
#define SEED_BYTES    16
#define TRAILER       "\n<!-- vprovd accepted this, "

static const char *const accepted_kinds[] = {
  [VP_ACCEPTED_GUEST] = "guest",
  [VP_ACCEPTED_NETWORK] = "network",
  [VP_ACCEPTED_POOL] = "pool",
  [VP_ACCEPTED_IMAGE] = "image",
};
G_STATIC_ASSERT (G_N_ELEMENTS (accepted_kinds) == VP_ACCEPTED_N_KINDS);

bool
vp_store_set_corrupt (GError **error, const VpFolder *folder, const char *name,
                      const char *problem, const char *cure)
{
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "%s/%s: %s; %s",
               vp_folder_get_path (folder), name, problem, cure);
  return false;
}

GKeyFile *
vp_store_load_keys (const VpFolder *folder, const char *name, const char *cure,
                    GError **error)
{
  g_autoptr (GKeyFile) keys = g_key_file_new ();
  g_autoptr (GError) local_error = NULL;
  g_autofree char *text = NULL;
  size_t len;

  text = vp_folder_read (folder, name, &len, &local_error);
  if (!text) {
    if (!g_error_matches (local_error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
      g_propagate_error (error, g_steal_pointer (&local_error));
    return NULL;
  }
  if (len == 0 || strlen (text) != len ||
      !g_key_file_load_from_data (keys, text, len, G_KEY_FILE_NONE,
                                  &local_error)) {
    vp_store_set_corrupt (
        error, folder, name,
        local_error ? local_error->message : "empty or not text", cure);
    return NULL;
  }
  return g_steal_pointer (&keys);
}

bool
vp_store_save_keys (const VpFolder *folder, const char *name, GKeyFile *keys,
                    GError **error)
{
  size_t len;
  g_autofree char *text = g_key_file_to_data (keys, &len, NULL);

  return vp_folder_replace (folder, name, text, len, error);
}

static bool
lock_root (const VpFolder *root, GError **error)
{
  if (flock (vp_folder_get_fd (root), LOCK_EX | LOCK_NB) == 0)
    return true;
  if (errno == EWOULDBLOCK)
    g_set_error (error, VP_ERROR, VP_ERROR_BUSY,
                 "%s: another vprovd uses this folder",
                 vp_folder_get_path (root));
  else
    g_set_error (error, G_IO_ERROR, (int) g_io_error_from_errno (errno),
                 "%s: cannot lock the folder: %s", vp_folder_get_path (root),
                 g_strerror (errno));
  return false;
}

/* 0 where there is no such file. */
static bool
read_version (const VpFolder *root, unsigned *ret_version, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  g_autofree char *text = vp_folder_read (root, "version", NULL, &local_error);
  guint64 version;

  if (!text) {
    if (g_error_matches (local_error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
      *ret_version = 0;
      return true;
    }
    g_propagate_error (error, g_steal_pointer (&local_error));
    return false;
  }
  if (!g_ascii_string_to_unsigned (g_strchomp (text), 10, 0, G_MAXUINT,
                                   &version, NULL))
    return vp_store_set_corrupt (
        error, root, "version", "does not hold a number",
        "write \"1\" into it if this vprovd wrote the folder");
  if (version > STORE_VERSION) {
    g_set_error (
        error, VP_ERROR, VP_ERROR_NOT_SUPPORTED,
        "%s/version: written by a newer vprovd (version %" G_GUINT64_FORMAT
        ", this one knows %d); nothing was changed, install the "
        "newer vprovd again",
        vp_folder_get_path (root), version, STORE_VERSION);
    return false;
  }
  *ret_version = (unsigned) version;
  return true;
}

static bool
is_hex (const char *text, size_t len)
{
  if (strlen (text) != len)
    return false;
  for (const char *p = text; *p; p++)
    if (!g_ascii_isxdigit (*p))
      return false;
  return true;
}

/* A seed that is there but cannot be read is never replaced: every identity
 * that is not yet recorded hangs on it. */
static bool
load_seed (VpStore *store, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  uint8_t bytes[SEED_BYTES];
  GString *seed;

  store->seed = vp_folder_read (store->root, "seed", NULL, &local_error);
  if (store->seed) {
    if (!is_hex (g_strchomp (store->seed), 2 * SEED_BYTES))
      return vp_store_set_corrupt (
          error, store->root, "seed", "does not hold 32 hex digits",
          "move it away to have a new one made: guests with a record keep "
          "what was recorded");
    return true;
  }
  if (!g_error_matches (local_error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&local_error));
    return false;
  }

  if (getrandom (bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes) {
    g_set_error (error, G_IO_ERROR, (int) g_io_error_from_errno (errno),
                 "no random bytes: %s", g_strerror (errno));
    return false;
  }
  seed = g_string_new (NULL);
  for (size_t i = 0; i < sizeof bytes; i++)
    g_string_append_printf (seed, "%02x", bytes[i]);
  g_string_append_c (seed, '\n');
  store->seed = g_string_free (seed, FALSE);
  if (!vp_folder_replace (store->root, "seed", store->seed,
                          strlen (store->seed), error))
    return false;
  g_strchomp (store->seed);
  return true;
}

/* Version 0: guests/NAME.uuid -> name and VpGuestRecord, none of them written
 * yet. */
static bool
read_flat_uuids (VpStore *store, GHashTable *records, GError **error)
{
  g_autoptr (GPtrArray) names = vp_folder_list (store->guests, error);

  if (!names)
    return false;
  for (unsigned i = 0; i < names->len; i++) {
    const char *file = g_ptr_array_index (names, i);
    g_autofree char *uuid = NULL;
    VpGuestRecord *record;

    if (!g_str_has_suffix (file, ".uuid"))
      continue;
    uuid = vp_folder_read (store->guests, file, NULL, error);
    if (!uuid)
      return false;
    if (!g_uuid_string_is_valid (g_strchomp (uuid)))
      return vp_store_set_corrupt (
          error, store->guests, file, "does not hold a UUID",
          "write the domain's into it, or move it away to have one derived");
    record = vp_guest_record_new ();
    record->uuid = g_ascii_strdown (uuid, -1);
    g_hash_table_insert (records, g_strndup (file, strlen (file) - 5), record);
  }
  return true;
}

static bool
update_from_0 (VpStore *store, GError **error)
{
  g_autoptr (GHashTable) records = g_hash_table_new_full (
      g_str_hash, g_str_equal, g_free, (GDestroyNotify) vp_guest_record_free);
  GHashTableIter iter;
  gpointer name, record;

  if (!read_flat_uuids (store, records, error))
    return false;
  g_hash_table_iter_init (&iter, records);
  while (g_hash_table_iter_next (&iter, &name, &record)) {
    g_autoptr (GError) local_error = NULL;
    g_autoptr (VpGuestRecord) newer =
        vp_store_load_guest (store, name, &local_error);

    /* A record that an update wrote before it was cut stays as it is. */
    if (local_error) {
      g_propagate_error (error, g_steal_pointer (&local_error));
      return false;
    }
    if (!newer && !vp_store_save_guest (store, name, record, error))
      return false;
  }
  g_hash_table_iter_init (&iter, records);
  while (g_hash_table_iter_next (&iter, &name, NULL)) {
    g_autofree char *file = g_strconcat (name, ".uuid", NULL);

    if (!vp_folder_remove (store->guests, file, error))
      return false;
  }
  return vp_folder_replace (store->root, "version", "1\n", 2, error);
}

static bool
open_folders (VpStore *store, GError **error)
{
  g_autoptr (VpFolder) accepted = NULL;
  struct {
    VpFolder **place;
    const char *name;
  } below[] = {
    { &store->guests, "guests" },   { &store->networks, "networks" },
    { &store->volumes, "volumes" }, { &store->jobs, "jobs" },
    { &accepted, "accepted" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (below); i++) {
    *below[i].place =
        vp_folder_open_below (store->root, below[i].name, true, error);
    if (!*below[i].place)
      return false;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (accepted_kinds); i++) {
    store->accepted[i] =
        vp_folder_open_below (accepted, accepted_kinds[i], true, error);
    if (!store->accepted[i])
      return false;
  }
  return true;
}

VpStore *
vp_store_open (const char *path, GError **error)
{
  g_autoptr (VpStore) store = g_new0 (VpStore, 1);
  unsigned version = 0;

  store->pools = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
                                        (GDestroyNotify) vp_folder_free);
  /* QEMU's user walks through it to the default pool; what is in it is for
   * root alone. */
  store->root = vp_folder_open (path, 0711, error);
  if (!store->root || !lock_root (store->root, error) ||
      !read_version (store->root, &version, error) ||
      !open_folders (store, error) || !load_seed (store, error))
    return NULL;
  if (version == 0 && !update_from_0 (store, error))
    return NULL;
  return g_steal_pointer (&store);
}

void
vp_store_free (VpStore *store)
{
  if (!store)
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (store->accepted); i++)
    vp_folder_free (store->accepted[i]);
  g_clear_pointer (&store->pools, g_hash_table_unref);
  vp_folder_free (store->jobs);
  vp_folder_free (store->volumes);
  vp_folder_free (store->networks);
  vp_folder_free (store->guests);
  vp_folder_free (store->root); /* the lock goes with it */
  g_free (store->seed);
  g_free (store);
}

const char *
vp_store_get_path (VpStore *store)
{
  return vp_folder_get_path (store->root);
}

/* SHA-256 over the seed, what is derived, and the names, with a separator
 * that no name can hold. */
static void
derive (VpStore *store, const char *what, const char *guest, const char *nic,
        uint8_t digest[static 32])
{
  g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree char *text =
      g_strdup_printf ("%s\n%s\n%s\n%s", store->seed, what, guest, nic);
  gsize len = 32;

  g_checksum_update (checksum, (const guchar *) text, -1);
  g_checksum_get_digest (checksum, digest, &len);
}

char *
vp_store_derive_uuid (VpStore *store, const char *guest)
{
  uint8_t d[32];

  derive (store, "uuid", guest, "", d);
  /* RFC 9562: version 8, made by a rule of its own; variant 10. */
  d[6] = (uint8_t) ((d[6] & 0x0f) | 0x80);
  d[8] = (uint8_t) ((d[8] & 0x3f) | 0x80);
  return g_strdup_printf ("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                          "%02x%02x%02x%02x%02x%02x",
                          d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8],
                          d[9], d[10], d[11], d[12], d[13], d[14], d[15]);
}

/* 52:54 is a locally administered unicast prefix that people know from KVM.
 * Four derived bytes, not the usual three behind 52:54:00: among a thousand
 * NICs two equal ones are then 1 in 8,600, not 1 in 34. */
VpMac
vp_store_derive_mac (VpStore *store, const char *guest, const char *nic)
{
  VpMac mac = { { 0x52, 0x54 } };
  uint8_t digest[32];

  derive (store, "mac", guest, nic, digest);
  memcpy (mac.bytes + 2, digest, 4);
  return mac;
}

static const VpFolder *
accepted_folder (VpStore *store, const char *kind, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (accepted_kinds); i++)
    if (strcmp (accepted_kinds[i], kind) == 0)
      return store->accepted[i];
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED, "no kind of spec: \"%s\"",
               kind);
  return NULL;
}

/* The text as it was, then one comment with its length and path: one file,
 * so that text and path never part; still well-formed for a person's tools.
 * "-" is encoded too, for a comment must not hold two of them. */
bool
vp_store_save_accepted (VpStore *store, const char *kind, const char *name,
                        const char *path, const char *text, size_t len,
                        GError **error)
{
  const VpFolder *folder = accepted_folder (store, kind, error);
  g_autofree char *file = g_strconcat (name, ".xml", NULL);
  g_autofree char *escaped = g_uri_escape_string (path, "/", FALSE);
  g_autoptr (GString) bytes = NULL;

  if (!folder)
    return false;
  bytes = g_string_new_len (text, (gssize) len);
  g_string_append (bytes, TRAILER);
  g_string_append_printf (bytes, "%zu bytes, from ", len);
  for (const char *p = escaped; *p; p++) {
    if (*p == '-')
      g_string_append (bytes, "%2D");
    else
      g_string_append_c (bytes, *p);
  }
  g_string_append (bytes, " -->\n");
  return vp_folder_replace (folder, file, bytes->str, bytes->len, error);
}

/* Finds the trailer and the path in it; false where it is not whole. */
static bool
split_accepted (const char *bytes, size_t len, size_t *ret_text_len,
                char **ret_path)
{
  const char *trailer = g_strrstr_len (bytes, (gssize) len, TRAILER);
  const char *end = bytes + len - strlen (" -->\n");
  guint64 text_len;
  char *p;

  if (!trailer || end < trailer || strcmp (end, " -->\n") != 0)
    return false;
  text_len = g_ascii_strtoull (trailer + strlen (TRAILER), &p, 10);
  if (text_len != (guint64) (trailer - bytes) ||
      !g_str_has_prefix (p, " bytes, from "))
    return false;
  p += strlen (" bytes, from ");
  if (p > end)
    return false;
  *ret_path = g_uri_unescape_segment (p, end, NULL);
  *ret_text_len = (size_t) text_len;
  return *ret_path != NULL;
}

char *
vp_store_load_accepted (VpStore *store, const char *kind, const char *name,
                        char **ret_path, size_t *ret_len, GError **error)
{
  const VpFolder *folder = accepted_folder (store, kind, error);
  g_autofree char *file = g_strconcat (name, ".xml", NULL);
  g_autoptr (GError) local_error = NULL;
  g_autofree char *bytes = NULL;
  g_autofree char *path = NULL;
  size_t len, text_len;

  if (!folder)
    return NULL;
  bytes = vp_folder_read (folder, file, &len, &local_error);
  if (!bytes) {
    if (!g_error_matches (local_error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
      g_propagate_error (error, g_steal_pointer (&local_error));
    return NULL;
  }
  if (!split_accepted (bytes, len, &text_len, &path)) {
    vp_store_set_corrupt (error, folder, file, "the accepted spec is not whole",
                          "move it away: the spec is then read anew "
                          "from its own file");
    return NULL;
  }
  bytes[text_len] = '\0';
  if (ret_path)
    *ret_path = g_steal_pointer (&path);
  if (ret_len)
    *ret_len = text_len;
  return g_steal_pointer (&bytes);
}

bool
vp_store_remove_accepted (VpStore *store, const char *kind, const char *name,
                          GError **error)
{
  const VpFolder *folder = accepted_folder (store, kind, error);
  g_autofree char *file = g_strconcat (name, ".xml", NULL);

  return folder && vp_folder_remove (folder, file, error);
}

GPtrArray *
vp_store_list_accepted (VpStore *store, const char *kind, GError **error)
{
  const VpFolder *folder = accepted_folder (store, kind, error);
  g_autoptr (GPtrArray) files = folder ? vp_folder_list (folder, error) : NULL;
  g_autoptr (GPtrArray) names = NULL;

  if (!files)
    return NULL;
  names = g_ptr_array_new_with_free_func (g_free);
  for (unsigned i = 0; i < files->len; i++) {
    const char *file = g_ptr_array_index (files, i);

    if (g_str_has_suffix (file, ".xml"))
      g_ptr_array_add (names, g_strndup (file, strlen (file) - 4));
  }
  return g_steal_pointer (&names);
}

bool
vp_store_load_network (VpStore *store, const char *name, VpCidr *ret_address,
                       GError **error)
{
  static const char *const cure = "move it away to have a prefix chosen anew";
  g_autoptr (GKeyFile) keys =
      vp_store_load_keys (store->networks, name, cure, error);
  g_autofree char *address = NULL;
  VpCidr cidr;

  if (!keys)
    return false;
  address = g_key_file_get_string (keys, "network", "address", NULL);
  if (!address || !vp_cidr_parse (address, &cidr))
    return vp_store_set_corrupt (error, store->networks, name,
                                 "holds no address", cure);
  *ret_address = cidr;
  return true;
}

bool
vp_store_save_network (VpStore *store, const char *name, const VpCidr *address,
                       GError **error)
{
  g_autoptr (GKeyFile) keys = g_key_file_new ();
  g_autofree char *text = vp_cidr_to_string (address);

  g_key_file_set_string (keys, "network", "address", text);
  return vp_store_save_keys (store->networks, name, keys, error);
}
