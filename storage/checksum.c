/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* checksum: the tree of checksum.h, by a pipeline.  Threads read and hash
 * blocks; their digests join the tree in order.  Of each level only the group
 * that is being filled is kept.  A subtree of zeros has a known digest, so a
 * hole takes a few steps whatever its size. */
#include "config.h"

#include "storage/checksum.h"

#include <string.h>

#include <gcrypt.h>

#include "storage/copy.h"
#include "storage/error.h"
#include "storage/pipeline.h"
#include "storage/stretch.h"

#define BLOCK     ((size_t) 65536)
#define GROUP     256u
#define LEVELS    8u /* 256^7 blocks are more than any image has */
#define CHUNK     ((size_t) 512 << 10)
#define MAX_CHUNK ((size_t) 2 << 20)
#define MAX_ITEMS 4096u
#define PREFIX    "vprov-checksum-1\n"

typedef uint8_t Digest[VP_CHECKSUM_LEN];

typedef struct {
  Digest group[GROUP];
  unsigned n;
} Level;

typedef struct {
  Level levels[LEVELS];
  Digest zeros[LEVELS]; /* of a whole subtree */
} Tree;

typedef struct {
  VpImage *image;
  uint64_t size, at;
  size_t chunk;
  Tree tree;
} Checksum;

/* Blocks from here on: zeros, or one that is in the buffer. */
typedef struct {
  uint64_t zero_blocks; /* 0: a block with bytes */
  size_t at;            /* in the buffer */
  Digest digest;
} Item;

typedef struct {
  VpTransfer *transfer;
  VpStretch *stretch;
  uint8_t *buffer;
  size_t used;
  GArray *items;
} Hand;

/* ---- the tree ----------------------------------------------------------- */

static void
sha256 (const void *bytes, size_t len, Digest ret_digest)
{
  gcry_md_hash_buffer (GCRY_MD_SHA256, ret_digest, bytes, len);
}

static void
tree_init (Tree *tree)
{
  g_autofree uint8_t *zeros = g_malloc0 (BLOCK);
  Digest group[GROUP];
  sha256 (zeros, BLOCK, tree->zeros[0]);
  for (unsigned l = 1; l < LEVELS; l++) {
    for (unsigned i = 0; i < GROUP; i++)
      memcpy (group[i], tree->zeros[l - 1], sizeof (Digest));
    sha256 (group, sizeof group, tree->zeros[l]);
  }
}

static void
tree_add (Tree *tree, unsigned l, const Digest digest)
{
  Digest joined;
  const uint8_t *next = digest;
  for (; l < LEVELS; l++) {
    Level *level = &tree->levels[l];
    memcpy (level->group[level->n++], next, sizeof (Digest));
    if (level->n < GROUP)
      return;
    sha256 (level->group, sizeof level->group, joined);
    level->n = 0;
    next = joined;
  }
}

/* Whole subtrees where one can begin, single digests else. */
static void
tree_add_zeros (Tree *tree, uint64_t blocks)
{
  while (blocks > 0) {
    unsigned l = 0;
    uint64_t weight = 1;
    while (l + 1 < LEVELS && tree->levels[l].n == 0 &&
           blocks / GROUP >= weight) {
      l++;
      weight *= GROUP;
    }
    tree_add (tree, l, tree->zeros[l]);
    blocks -= weight;
  }
}

/* Level by level what is left of a group; the top is the first level that
 * covers all blocks with one digest. */
static void
tree_finish (Tree *tree, uint64_t blocks, uint8_t **ret_root, Digest root)
{
  *ret_root = NULL;
  for (unsigned l = 0; l < LEVELS && blocks > 0; l++) {
    Level *level = &tree->levels[l];
    if (blocks == 1) {
      memcpy (root, level->group[0], sizeof (Digest));
      *ret_root = root;
      return;
    }
    if (level->n > 0) {
      Digest joined;
      sha256 (level->group, level->n * sizeof (Digest), joined);
      level->n = 0;
      tree_add (tree, l + 1, joined);
    }
    blocks = (blocks + GROUP - 1) / GROUP;
  }
}

/* ---- the pipeline ------------------------------------------------------- */

static gpointer
hire (gpointer work)
{
  const Checksum *checksum = work;
  Hand *hand = g_new0 (Hand, 1);
  hand->transfer = vp_transfer_new ();
  hand->stretch = vp_stretch_new ();
  hand->buffer = g_malloc (checksum->chunk);
  hand->items = g_array_new (FALSE, FALSE, sizeof (Item));
  return hand;
}

static void
dismiss (gpointer data)
{
  Hand *hand = data;
  vp_transfer_free (hand->transfer);
  vp_stretch_free (hand->stretch);
  g_free (hand->buffer);
  g_array_unref (hand->items);
  g_free (hand);
}

static void
take_zeros (Checksum *checksum, Hand *hand, uint64_t length)
{
  Item item = { .zero_blocks = (length + BLOCK - 1) / BLOCK };
  g_array_append_val (hand->items, item);
  checksum->at += length;
}

/* checksum->at is the begin of a block. */
static bool
take_blocks (Checksum *checksum, Hand *hand, uint64_t length, GError **error)
{
  uint64_t left = checksum->size - checksum->at;
  size_t room = checksum->chunk - hand->used;
  uint64_t whole = MIN (vp_round_up (length, BLOCK), room);
  size_t len = (size_t) MIN (whole, left);
  if (!vp_stretch_add (hand->stretch, checksum->image, checksum->at, len,
                       hand->used, error))
    return false;
  memset (hand->buffer + hand->used + len, 0, (size_t) whole - len);
  for (size_t at = 0; at < whole; at += BLOCK) {
    Item item = { .at = hand->used + at };
    g_array_append_val (hand->items, item);
  }
  checksum->at += len;
  hand->used += (size_t) whole;
  return true;
}

static bool
take (gpointer work, gpointer data, bool *ret_some, GError **error)
{
  Checksum *checksum = work;
  Hand *hand = data;
  hand->used = 0;
  g_array_set_size (hand->items, 0);
  vp_stretch_clear (hand->stretch);
  while (checksum->at < checksum->size && hand->used < checksum->chunk &&
         hand->items->len < MAX_ITEMS) {
    VpExtent extent;
    uint64_t left = checksum->size - checksum->at;
    if (!vp_image_map (checksum->image, checksum->at, left, &extent, error))
      return false;
    uint64_t zeros = extent.zero ? extent.length : 0;
    if (zeros < left)
      zeros = vp_round_down (zeros, BLOCK);
    if (zeros > 0)
      take_zeros (checksum, hand, zeros);
    else if (!take_blocks (checksum, hand, extent.length, error))
      return false;
  }
  *ret_some = hand->items->len > 0;
  return true;
}

static bool
prepare (gpointer work, gpointer data, GError **error)
{
  Hand *hand = data;
  if (!vp_stretch_read (hand->stretch, hand->transfer, hand->buffer, error))
    return false;
  for (guint i = 0; i < hand->items->len; i++) {
    Item *item = &g_array_index (hand->items, Item, i);
    if (item->zero_blocks > 0)
      continue;
    const uint8_t *block = hand->buffer + item->at;
    if (vp_buffer_is_zero (block, BLOCK))
      item->zero_blocks = 1;
    else
      sha256 (block, BLOCK, item->digest);
  }
  return true;
}

static bool
join (gpointer work, gpointer data, GError **error)
{
  Checksum *checksum = work;
  const Hand *hand = data;
  for (guint i = 0; i < hand->items->len; i++) {
    const Item *item = &g_array_index (hand->items, Item, i);
    if (item->zero_blocks > 0)
      tree_add_zeros (&checksum->tree, item->zero_blocks);
    else
      tree_add (&checksum->tree, 0, item->digest);
  }
  return true;
}

static uint64_t
get_done (gpointer work)
{
  return ((Checksum *) work)->at;
}

static const VpPipelineSteps steps = {
  .hire = hire,
  .dismiss = dismiss,
  .take = take,
  .prepare = prepare,
  .place = join,
  .get_done = get_done,
};

/* ---- the whole ---------------------------------------------------------- */

static void
finish (Checksum *checksum, uint8_t *ret_digest)
{
  uint64_t size = checksum->size;
  uint8_t last[sizeof PREFIX - 1 + 8 + sizeof (Digest)];
  size_t len = sizeof PREFIX - 1;
  Digest root;
  uint8_t *found;
  memcpy (last, PREFIX, len);
  vp_be64_set (last + len, size);
  len += 8;
  uint64_t blocks = size / BLOCK + (size % BLOCK != 0);
  tree_finish (&checksum->tree, blocks, &found, root);
  if (found) {
    memcpy (last + len, found, sizeof (Digest));
    len += sizeof (Digest);
  }
  sha256 (last, len, ret_digest);
}

bool
vp_checksum_image (VpImage *image, unsigned threads, const VpProgress *progress,
                   uint8_t ret_digest[VP_CHECKSUM_LEN], GError **error)
{
  if (!gcry_check_version (NULL)) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "libgcrypt does not work here");
    return false;
  }
  g_autofree Checksum *checksum = g_new0 (Checksum, 1);
  uint64_t chunk = CHUNK;
  for (VpImage *layer = image; layer; layer = vp_image_get_backing (layer))
    chunk = MAX (chunk, vp_image_get_cluster_size (layer));
  checksum->image = image;
  checksum->size = vp_image_get_size (image);
  checksum->chunk = (size_t) MIN (chunk, MAX_CHUNK);
  tree_init (&checksum->tree);
  if (!vp_pipeline_run (&steps, checksum, threads, progress, checksum->size,
                        error))
    return false;
  finish (checksum, ret_digest);
  return vp_progress_update (progress, checksum->size, checksum->size, error);
}

char *
vp_checksum_to_text (const uint8_t digest[VP_CHECKSUM_LEN])
{
  GString *text = g_string_sized_new (2 * VP_CHECKSUM_LEN + 1);
  for (unsigned i = 0; i < VP_CHECKSUM_LEN; i++)
    g_string_append_printf (text, "%02x", digest[i]);
  return g_string_free (text, FALSE);
}
