/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy-internal: the steps of a copy (pipeline.h) and what they hand on; for
 * copy.c and copy-*.c alone.  A piece is some stretch of the source, in four
 * forms on its way:
 *
 *     span    zeros, or bytes that end with a unit of the target
 *     part    where a bit of a span is read from
 *     output  zeros, plain bytes or a packed unit, to be placed
 *     store   one write, with the place to link after it
 *
 * A unit of the target is never in two pieces, so that no two threads ever
 * change one cluster. */
#pragma once

#include "storage/copy.h"
#include "storage/image-internal.h"

#define COPY_CHUNK    ((size_t) 512 << 10)
#define COPY_MAX_UNIT ((size_t) 2 << 20)

typedef struct {
  const VpCopyOptions *options;
  VpImage *source, *target;
  uint64_t unit;  /* zeros are found in pieces of that length */
  uint64_t shift; /* from an offset in the source to one in the target */
  size_t chunk;   /* bytes of data in one piece */
  bool sparse;
  int clones; /* blocks may be shared, as far as we know; atomic */
  bool packs;
  VpPacking packing;
  uint64_t start, at, end; /* in the source */
  const VpProgress *progress;
  int64_t next_us; /* rate: when the next piece may begin */
} Copy;

/* Offsets are the target's from here on. */
typedef struct {
  uint64_t offset, length;
  bool zero, clone;
  size_t at; /* in the buffer */
  VpRun run; /* clone */
} CopySpan;

typedef struct {
  VpRun run;
  uint64_t offset; /* in the source, for messages */
  size_t at, len;
} CopyPart;

typedef struct {
  enum { OUTPUT_ZERO, OUTPUT_PLAIN, OUTPUT_PACKED, OUTPUT_CLONE } kind;
  uint64_t offset, length;
  const uint8_t *bytes;
  size_t packed_len;
  VpRun run; /* CLONE */
} CopyOutput;

typedef struct {
  VpPlace place;
  uint64_t offset;
  const uint8_t *bytes; /* NULL: run is cloned */
  size_t len;
  VpRun run;
} CopyStore;

/* What one thread has. */
typedef struct {
  Copy *copy;
  VpTransfer *transfer;
  uint8_t *buffer, *packed;
  size_t used, packed_used;
  GArray *spans, *parts, *outputs, *stores;
  int64_t not_before_us;
} CopyHand;

/* copy-span.c */
bool copy_take (gpointer work, gpointer data, bool *ret_some, GError **error);
uint64_t copy_get_done (gpointer work);
/* copy-output.c */
bool copy_prepare (gpointer work, gpointer data, GError **error);
/* copy-store.c */
bool copy_put_zeros (Copy *copy, uint64_t offset, uint64_t length,
                     GError **error);
bool copy_place (gpointer work, gpointer data, GError **error);
bool copy_store (gpointer work, gpointer data, GError **error);
bool copy_finish (gpointer work, gpointer data, GError **error);
void copy_abandon (gpointer work, gpointer data);
