/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* byte-model: what a disk of any size must hold, as far as it is not zeros.
 * Copies share what they have in common, so snapshots are cheap. */
#pragma once

#include "storage/image.h"

typedef struct {
  uint64_t size;      /* bytes, whole sectors */
  GHashTable *blocks; /* number of the block -> GBytes */
} ByteModel;

ByteModel *byte_model_new (uint64_t size);
ByteModel *byte_model_copy (const ByteModel *model);
void byte_model_free (ByteModel *model);

void byte_model_write (ByteModel *model, uint64_t offset, const uint8_t *bytes,
                       size_t len);
void byte_model_zero (ByteModel *model, uint64_t offset, uint64_t length);
/* What is new is zeros. */
void byte_model_resize (ByteModel *model, uint64_t size);
void byte_model_read (const ByteModel *model, uint64_t offset, uint8_t *bytes,
                      size_t len);
/* A sparse raw file. */
void byte_model_save (const ByteModel *model, const char *path);
/* NULL: the image holds just that; else what is wrong, to be freed. */
char *byte_model_differs (const ByteModel *model, VpImage *image);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (ByteModel, byte_model_free)
