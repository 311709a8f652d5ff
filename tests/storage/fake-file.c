/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-file: bytes in one growing buffer. */
#include "config.h"

#include "tests/storage/fake-file.h"

#include <pthread.h>
#include <string.h>

#include "storage/error.h"

#define MAX_SIZE (UINT64_C (1) << 30)

typedef struct {
  VpFile parent;
  pthread_mutex_t lock; /* threads of a pipeline meet here */
  uint8_t *bytes;
  uint64_t size, capacity, limit;
  unsigned fail_at, count;
  unsigned fail_read_at, n_reads;
  bool forever, failed;
  unsigned clones;
  bool may_clone;
  uint64_t bad_offset, bad_length;
  GPtrArray *log;
  GPtrArray *joined; /* of VpFile, references; NULL: none */
  VpFile *main;      /* borrowed */
} FakeFile;

/* To the end of the block.  Not GLib's, which the thread sanitizer cannot see
 * through. */
static void
unlock (pthread_mutex_t **lock)
{
  (void) pthread_mutex_unlock (*lock);
}

/* Files of one image share a lock, as they share what they count. */
static pthread_mutex_t *
lock_file (FakeFile *fake)
{
  pthread_mutex_t *lock =
      fake->main ? &((FakeFile *) fake->main)->lock : &fake->lock;
  (void) pthread_mutex_lock (lock);
  return lock;
}

#define LOCKED(fake)                                                           \
  __attribute__ ((cleanup (unlock), unused)) pthread_mutex_t *locked =         \
      lock_file (fake)

static bool
resize (FakeFile *fake, uint64_t size, GError **error)
{
  if (size > fake->limit) {
    g_set_error_literal (error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                         "the fake disk is full");
    return false;
  }
  if (size > fake->capacity) {
    uint64_t capacity = MAX (size, fake->capacity * 2);
    fake->bytes = g_realloc (fake->bytes, capacity);
    memset (fake->bytes + fake->capacity, 0, capacity - fake->capacity);
    fake->capacity = capacity;
  }
  if (size < fake->size)
    memset (fake->bytes + size, 0, fake->size - size);
  fake->size = size;
  return true;
}

static void
op_free (gpointer data)
{
  FakeOp *op = data;
  g_free (op->bytes);
  g_free (op);
}

/* The number of a joined file, from 1. */
static unsigned
part_of (FakeFile *main, FakeFile *changed)
{
  guint index;
  bool found =
      main != changed && g_ptr_array_find (main->joined, changed, &index);
  return found ? index + 1 : 0;
}

/* Every change passes here first. */
static bool
enter (FakeFile *changed, FakeKind kind, uint64_t offset, uint64_t length,
       const void *bytes, GError **error)
{
  FakeFile *fake = changed->main ? (FakeFile *) changed->main : changed;
  fake->count++;
  bool now = fake->fail_at > 0 && fake->count == fake->fail_at;
  bool after =
      fake->fail_at > 0 && fake->count > fake->fail_at && fake->forever;
  if (now || after) {
    fake->failed = true;
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_IO,
                 "%s: change %u was made to fail", fake->parent.name,
                 fake->count);
    return false;
  }
  if (fake->log) {
    FakeOp *op = g_new0 (FakeOp, 1);
    op->kind = kind;
    op->part = part_of (fake, changed);
    op->offset = offset;
    op->length = length;
    op->bytes = kind == FAKE_WRITE ? g_memdup2 (bytes, length) : NULL;
    g_ptr_array_add (fake->log, op);
  }
  return true;
}

static bool
fake_read (VpFile *file, uint64_t offset, void *buffer, size_t len,
           GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  if (fake->bad_length > 0 && offset < fake->bad_offset + fake->bad_length &&
      offset + len > fake->bad_offset) {
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_IO,
                 "%s: a read was made to fail", fake->parent.name);
    return false;
  }
  FakeFile *main = fake->main ? (FakeFile *) fake->main : fake;
  if (main->fail_read_at > 0 && ++main->n_reads == main->fail_read_at) {
    main->failed = true;
    g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_IO,
                 "%s: read %u was made to fail", fake->parent.name,
                 main->n_reads);
    return false;
  }
  size_t have =
      offset < fake->size ? (size_t) MIN (len, fake->size - offset) : 0;
  if (have > 0)
    memcpy (buffer, fake->bytes + offset, have);
  memset ((uint8_t *) buffer + have, 0, len - have);
  return true;
}

static bool
put (FakeFile *fake, uint64_t offset, const void *bytes, size_t len,
     GError **error)
{
  if (offset + len > fake->size && !resize (fake, offset + len, error))
    return false;
  if (len > 0)
    memcpy (fake->bytes + offset, bytes, len);
  return true;
}

static bool
fake_write (VpFile *file, uint64_t offset, const void *buffer, size_t len,
            GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  return enter (fake, FAKE_WRITE, offset, len, buffer, error) &&
         put (fake, offset, buffer, len, error);
}

static void
wipe (FakeFile *fake, uint64_t offset, uint64_t length)
{
  if (offset < fake->size)
    memset (fake->bytes + offset, 0, MIN (length, fake->size - offset));
}

static bool
fake_punch (VpFile *file, uint64_t offset, uint64_t length, GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  if (!enter (fake, FAKE_PUNCH, offset, length, NULL, error))
    return false;
  wipe (fake, offset, length);
  return true;
}

static bool
fake_truncate (VpFile *file, uint64_t size, GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  return enter (fake, FAKE_TRUNCATE, 0, size, NULL, error) &&
         resize (fake, size, error);
}

static bool
fake_flush (VpFile *file, GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  return enter (fake, FAKE_FLUSH, 0, 0, NULL, error);
}

static bool
fake_get_size (VpFile *file, uint64_t *ret_size, GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  *ret_size = fake->size;
  return true;
}

/* Pages of zeros are holes: that is how a new file looks. */
static bool
fake_extent (VpFile *file, uint64_t offset, uint64_t length, bool *ret_data,
             uint64_t *ret_length, GError **error)
{
  FakeFile *fake = (FakeFile *) file;
  LOCKED (fake);
  uint64_t at = offset, end = MIN (offset + length, fake->size);
  bool first = true;
  *ret_data = false;
  *ret_length = length;
  while (at < end) {
    uint64_t page_end = MIN (end, (at | 4095) + 1);
    bool data = false;
    for (uint64_t i = at; i < page_end && !data; i++)
      data = fake->bytes[i] != 0;
    if (first)
      *ret_data = data;
    else if (data != *ret_data) {
      *ret_length = at - offset;
      return true;
    }
    first = false;
    at = page_end;
  }
  if (*ret_data)
    *ret_length = end - offset;
  return true;
}

static bool
fake_may_clone (VpFile *file, VpFile *from)
{
  return ((FakeFile *) file)->may_clone;
}

static bool
fake_clone (VpFile *file, uint64_t offset, VpFile *from, uint64_t from_offset,
            uint64_t length)
{
  FakeFile *fake = (FakeFile *) file;
  g_autofree uint8_t *bytes = g_malloc (length);
  if (!fake_read (from, from_offset, bytes, length, NULL))
    return false;
  LOCKED (fake);
  if (fake->clones == 0)
    return false;
  fake->clones--;
  return put (fake, offset, bytes, length, NULL);
}

static void
fake_close (VpFile *file)
{
  FakeFile *fake = (FakeFile *) file;
  for (guint i = 0; fake->joined && i < fake->joined->len; i++)
    ((FakeFile *) fake->joined->pdata[i])->main = NULL;
  g_clear_pointer (&fake->joined, g_ptr_array_unref);
  (void) pthread_mutex_destroy (&fake->lock);
  g_free (fake->bytes);
  g_clear_pointer (&fake->log, g_ptr_array_unref);
}

static const VpFileClass fake_class = {
  .clone = fake_clone,
  .may_clone = fake_may_clone,
  .read = fake_read,
  .write = fake_write,
  .punch = fake_punch,
  .truncate = fake_truncate,
  .flush = fake_flush,
  .get_size = fake_get_size,
  .extent = fake_extent,
  .close = fake_close,
};

VpFile *
fake_file_new (const char *name)
{
  FakeFile *fake = g_new0 (FakeFile, 1);
  (void) pthread_mutex_init (&fake->lock, NULL);
  fake->limit = MAX_SIZE;
  vp_file_init (&fake->parent, &fake_class, name, true);
  return &fake->parent;
}

VpFile *
fake_file_copy (VpFile *file, const char *name)
{
  FakeFile *from = (FakeFile *) file;
  VpFile *to = fake_file_new (name);
  g_assert_true (resize ((FakeFile *) to, from->size, NULL));
  if (from->size > 0)
    memcpy (((FakeFile *) to)->bytes, from->bytes, from->size);
  VpFile *joined;
  for (unsigned i = 0; (joined = fake_file_joined (file, i)); i++) {
    g_autoptr (VpFile) copy = fake_file_copy (joined, joined->name);
    fake_file_join (copy, to);
  }
  return to;
}

static void
unref_file (gpointer file)
{
  vp_file_unref (file);
}

void
fake_file_join (VpFile *other, VpFile *file)
{
  FakeFile *main = (FakeFile *) file;
  if (!main->joined)
    main->joined = g_ptr_array_new_with_free_func (unref_file);
  ((FakeFile *) other)->main = file;
  g_ptr_array_add (main->joined, vp_file_ref (other));
}

VpFile *
fake_file_joined (VpFile *file, unsigned index)
{
  GPtrArray *joined = ((FakeFile *) file)->joined;
  return joined && index < joined->len ? g_ptr_array_index (joined, index)
                                       : NULL;
}

const uint8_t *
fake_file_bytes (VpFile *file, uint64_t *ret_size)
{
  *ret_size = ((FakeFile *) file)->size;
  return ((FakeFile *) file)->bytes;
}

void
fake_file_poke (VpFile *file, uint64_t offset, const void *bytes, size_t len)
{
  g_assert_true (put ((FakeFile *) file, offset, bytes, len, NULL));
}

void
fake_file_limit (VpFile *file, uint64_t limit)
{
  ((FakeFile *) file)->limit = limit;
}

void
fake_file_fail (VpFile *file, unsigned nth, bool forever)
{
  FakeFile *fake = (FakeFile *) file;
  fake->fail_at = nth;
  fake->count = 0;
  fake->forever = forever;
  fake->failed = false;
}

void
fake_file_set_clones (VpFile *file, unsigned clones)
{
  ((FakeFile *) file)->clones = clones;
  ((FakeFile *) file)->may_clone = true;
}

void
fake_file_fail_reads (VpFile *file, uint64_t offset, uint64_t length)
{
  ((FakeFile *) file)->bad_offset = offset;
  ((FakeFile *) file)->bad_length = length;
}

void
fake_file_fail_read (VpFile *file, unsigned nth)
{
  FakeFile *fake = (FakeFile *) file;
  fake->fail_read_at = nth;
  fake->n_reads = 0;
  fake->failed = false;
}

unsigned
fake_file_count (VpFile *file)
{
  return ((FakeFile *) file)->count;
}

bool
fake_file_has_failed (VpFile *file)
{
  return ((FakeFile *) file)->failed;
}

GPtrArray *
fake_file_record (VpFile *file)
{
  FakeFile *fake = (FakeFile *) file;
  g_clear_pointer (&fake->log, g_ptr_array_unref);
  fake->log = g_ptr_array_new_with_free_func (op_free);
  return fake->log;
}

static FakeFile *
part_for (const FakeOp *op, VpFile *file)
{
  VpFile *part = op->part ? fake_file_joined (file, op->part - 1) : file;
  g_assert_nonnull (part);
  return (FakeFile *) part;
}

void
fake_op_apply (const FakeOp *op, VpFile *file)
{
  FakeFile *fake = part_for (op, file);
  switch (op->kind) {
  case FAKE_WRITE:
    g_assert_true (put (fake, op->offset, op->bytes, op->length, NULL));
    break;
  case FAKE_PUNCH: wipe (fake, op->offset, op->length); break;
  case FAKE_TRUNCATE: g_assert_true (resize (fake, op->length, NULL)); break;
  case FAKE_FLUSH:
  default: break;
  }
}

void
fake_op_apply_torn (const FakeOp *op, VpFile *file, uint64_t kept)
{
  g_assert_cmpint (op->kind, ==, FAKE_WRITE);
  FakeFile *fake = part_for (op, file);
  unsigned piece = 0;
  for (uint64_t at = 0; at < op->length; piece++) {
    uint64_t end = MIN (op->length, ((op->offset + at) | 511) + 1 - op->offset);
    if (kept >> piece % 64 & 1)
      g_assert_true (
          put (fake, op->offset + at, op->bytes + at, end - at, NULL));
    at = end;
  }
}

/* ---- the gate ----------------------------------------------------------- */

static VpFile *
find_or_make (FakeGate *gate, const VpClaim *claim)
{
  VpFile *file = g_hash_table_lookup (gate->files, claim->name);
  if (!claim->create || (file && !gate->owner))
    return file ? vp_file_ref (file) : NULL;
  file = fake_file_new (claim->name);
  if (gate->owner)
    fake_file_join (file, gate->owner);
  fake_gate_add (gate, file);
  return file;
}

static VpFile *
gate_open (VpOpener *opener, const VpClaim *claim, const char **ret_format,
           GError **error)
{
  FakeGate *gate = (FakeGate *) opener;
  gate->n_asked++;
  VpFile *file = find_or_make (gate, claim);
  const char *format = g_hash_table_lookup (gate->formats, claim->name);
  if (file && !claim->format && format)
    *ret_format = format;
  if (!file)
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED, "no file '%s'",
                 claim->name);
  return file;
}

void
fake_gate_init (FakeGate *gate)
{
  *gate = (FakeGate){ .opener = { .open = gate_open } };
  gate->files =
      g_hash_table_new_full (g_str_hash, g_str_equal, NULL, unref_file);
  gate->formats = g_hash_table_new (g_str_hash, g_str_equal);
}

void
fake_gate_clear (FakeGate *gate)
{
  g_clear_pointer (&gate->files, g_hash_table_unref);
  g_clear_pointer (&gate->formats, g_hash_table_unref);
}

void
fake_gate_add (FakeGate *gate, VpFile *file)
{
  g_hash_table_replace (gate->files, file->name, vp_file_ref (file));
}

void
fake_gate_state (FakeGate *gate, const char *name, const char *format)
{
  g_hash_table_replace (gate->formats, (gpointer) g_intern_string (name),
                        (gpointer) g_intern_string (format));
}

void
fake_gate_add_as (FakeGate *gate, const char *name, VpFile *file)
{
  g_hash_table_replace (gate->files, (gpointer) g_intern_string (name),
                        vp_file_ref (file));
}

void
fake_gate_add_joined (FakeGate *gate, VpFile *file)
{
  VpFile *joined;
  for (unsigned i = 0; (joined = fake_file_joined (file, i)); i++)
    fake_gate_add (gate, joined);
}
