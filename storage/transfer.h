/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* transfer: moves the bytes of one run or one place, packed ones as well.  It
 * calls no driver, so it may work while others do; each thread has its own,
 * with the contexts and buffers that it keeps between calls. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/codec.h"
#include "storage/format.h"

typedef struct VpTransfer VpTransfer;

/* Never NULL. */
VpTransfer *vp_transfer_new (void);
void vp_transfer_free (VpTransfer *transfer);

/* The first len guest bytes of run, which are no more than run->length.
 * DATA, COMPRESSED and the zero kinds; UNALLOCATED gives zeros. */
bool vp_transfer_read (VpTransfer *transfer, const VpRun *run, uint8_t *to,
                       size_t len, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Guest bytes [guest, guest + len), which lie within the place. */
bool vp_transfer_write (VpTransfer *transfer, const VpPlace *place,
                        uint64_t guest, const uint8_t *from, size_t len,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Packs one unit with kind at level; the result, at most unit - 1 bytes, is
 * the transfer's until it is used again.  NULL: it does not shrink.  Where
 * units are packed always there is a result, of at most
 * vp_transfer_most_packed () bytes. */
const uint8_t *vp_transfer_pack (VpTransfer *transfer, const VpPacking *packing,
                                 int level, const uint8_t *unit,
                                 size_t *ret_len);
size_t vp_transfer_most_packed (const VpPacking *packing);
/* The unit that was unpacked last is not to be trusted any more: somebody has
 * written. */
void vp_transfer_forget (VpTransfer *transfer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpTransfer, vp_transfer_free)
