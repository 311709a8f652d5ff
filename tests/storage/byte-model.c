/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* byte-model: blocks of 4 KiB in a table; a block that is absent is zeros. */
#include "config.h"

#include "tests/storage/byte-model.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "storage/autofd.h"

#define BLOCK 4096u
#define PIECE (1u << 20)

static void
unref_bytes (gpointer bytes)
{
  g_bytes_unref (bytes);
}

ByteModel *
byte_model_new (uint64_t size)
{
  ByteModel *model = g_new0 (ByteModel, 1);
  model->size = size;
  model->blocks =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, unref_bytes);
  return model;
}

static void
put_block (ByteModel *model, uint64_t number, GBytes *bytes)
{
  g_hash_table_replace (model->blocks, g_memdup2 (&number, sizeof number),
                        bytes);
}

ByteModel *
byte_model_copy (const ByteModel *model)
{
  ByteModel *copy = byte_model_new (model->size);
  GHashTableIter iter;
  gpointer number, bytes;
  g_hash_table_iter_init (&iter, model->blocks);
  while (g_hash_table_iter_next (&iter, &number, &bytes))
    put_block (copy, *(uint64_t *) number, g_bytes_ref (bytes));
  return copy;
}

void
byte_model_free (ByteModel *model)
{
  if (model)
    g_hash_table_unref (model->blocks);
  g_free (model);
}

static void
load_block (const ByteModel *model, uint64_t number, uint8_t *block)
{
  GBytes *bytes = g_hash_table_lookup (model->blocks, &number);
  if (bytes)
    memcpy (block, g_bytes_get_data (bytes, NULL), BLOCK);
  else
    memset (block, 0, BLOCK);
}

void
byte_model_write (ByteModel *model, uint64_t offset, const uint8_t *bytes,
                  size_t len)
{
  while (len > 0) {
    uint8_t block[BLOCK];
    size_t within = (size_t) (offset % BLOCK), part = MIN (len, BLOCK - within);
    load_block (model, offset / BLOCK, block);
    memcpy (block + within, bytes, part);
    put_block (model, offset / BLOCK, g_bytes_new (block, BLOCK));
    offset += part;
    bytes += part;
    len -= part;
  }
}

static void
zero_within (ByteModel *model, uint64_t number, uint64_t from, uint64_t to)
{
  uint8_t block[BLOCK];
  if (from >= to || !g_hash_table_contains (model->blocks, &number))
    return;
  load_block (model, number, block);
  memset (block + from, 0, (size_t) (to - from));
  put_block (model, number, g_bytes_new (block, BLOCK));
}

void
byte_model_zero (ByteModel *model, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  GHashTableIter iter;
  gpointer key;
  if (length == 0)
    return;
  if (offset / BLOCK == (end - 1) / BLOCK) {
    zero_within (model, offset / BLOCK, offset % BLOCK,
                 end - offset / BLOCK * BLOCK);
    return;
  }
  if (offset % BLOCK)
    zero_within (model, offset / BLOCK, offset % BLOCK, BLOCK);
  zero_within (model, end / BLOCK, 0, end % BLOCK);
  g_hash_table_iter_init (&iter, model->blocks);
  while (g_hash_table_iter_next (&iter, &key, NULL)) {
    uint64_t number = *(uint64_t *) key;
    if (number * BLOCK >= offset && (number + 1) * BLOCK <= end)
      g_hash_table_iter_remove (&iter);
  }
}

void
byte_model_resize (ByteModel *model, uint64_t size)
{
  if (size < model->size)
    byte_model_zero (model, size, model->size - size);
  model->size = size;
}

void
byte_model_read (const ByteModel *model, uint64_t offset, uint8_t *bytes,
                 size_t len)
{
  while (len > 0) {
    uint8_t block[BLOCK];
    size_t within = (size_t) (offset % BLOCK), part = MIN (len, BLOCK - within);
    load_block (model, offset / BLOCK, block);
    memcpy (bytes, block + within, part);
    offset += part;
    bytes += part;
    len -= part;
  }
}

void
byte_model_save (const ByteModel *model, const char *path)
{
  vp_autofd int fd =
      open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  GHashTableIter iter;
  gpointer key, bytes;
  g_assert_cmpint (fd, >=, 0);
  g_hash_table_iter_init (&iter, model->blocks);
  while (g_hash_table_iter_next (&iter, &key, &bytes))
    g_assert_cmpint (pwrite (fd, g_bytes_get_data (bytes, NULL), BLOCK,
                             (off_t) (*(uint64_t *) key * BLOCK)),
                     ==, BLOCK);
  g_assert_cmpint (ftruncate (fd, (off_t) model->size), ==, 0);
}

/* ---- against an image --------------------------------------------------- */

static char *
compare_piece (const ByteModel *model, VpImage *image, uint64_t at, size_t len)
{
  static uint8_t found[PIECE], wanted[PIECE];
  g_autoptr (GError) error = NULL;
  if (!vp_image_read (image, at, found, len, &error))
    return g_strdup (error->message);
  byte_model_read (model, at, wanted, len);
  for (size_t i = 0; i < len; i++)
    if (found[i] != wanted[i])
      return g_strdup_printf ("offset 0x%" G_GINT64_MODIFIER
                              "x: 0x%02x, not 0x%02x",
                              at + i, found[i], wanted[i]);
  return NULL;
}

/* The first byte of a block that is not zero within [from, to). */
static char *
find_stray (const ByteModel *model, uint64_t number, uint64_t from, uint64_t to)
{
  uint8_t block[BLOCK];
  load_block (model, number, block);
  for (uint64_t i = 0; i < BLOCK; i++) {
    uint64_t at = number * BLOCK + i;
    if (block[i] && at >= from && at < to)
      return g_strdup_printf ("offset 0x%" G_GINT64_MODIFIER
                              "x: said to be zeros, not 0x%02x",
                              at, block[i]);
  }
  return NULL;
}

/* Blocks of which the image says that they are zeros. */
static char *
compare_zeros (const ByteModel *model, uint64_t from, uint64_t to)
{
  uint64_t first = from / BLOCK, end = (to + BLOCK - 1) / BLOCK;
  GHashTableIter iter;
  gpointer key;
  char *stray = NULL;
  if (end - first < g_hash_table_size (model->blocks)) {
    for (uint64_t number = first; number < end && !stray; number++)
      stray = find_stray (model, number, from, to);
    return stray;
  }
  g_hash_table_iter_init (&iter, model->blocks);
  while (!stray && g_hash_table_iter_next (&iter, &key, NULL)) {
    uint64_t number = *(uint64_t *) key;
    if (number >= first && number < end)
      stray = find_stray (model, number, from, to);
  }
  return stray;
}

char *
byte_model_differs (const ByteModel *model, VpImage *image)
{
  uint64_t size = vp_image_get_size (image);
  uint64_t zeros = 0; /* where the zeros in sight begin */
  char *differs = NULL;
  if (size != model->size)
    return g_strdup_printf ("size %" G_GUINT64_FORMAT
                            ", not %" G_GUINT64_FORMAT,
                            size, model->size);
  for (uint64_t at = 0; at < size && !differs;) {
    VpExtent extent;
    g_autoptr (GError) error = NULL;
    if (!vp_image_map (image, at, size - at, &extent, &error))
      return g_strdup (error->message);
    uint64_t end = at + extent.length;
    if (extent.data) {
      differs = zeros < at ? compare_zeros (model, zeros, at) : NULL;
      for (; at < end && !differs; at += MIN (PIECE, end - at))
        differs =
            compare_piece (model, image, at, (size_t) MIN (PIECE, end - at));
      zeros = end;
    }
    at = end;
  }
  return differs        ? differs
         : zeros < size ? compare_zeros (model, zeros, size)
                        : NULL;
}
