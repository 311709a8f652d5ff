/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* luks: the header of LUKS version 1 in a range of a file: reading, checking,
 * making, and its eight key slots.  Knows nothing of what lies round it: a
 * whole file, or some clusters of one.
 *
 *     0     592     4096                                    payload_offset
 *     | header |     | slot 0 key material | slot 1 ... | 7 |  payload ...
 *
 * One master key encrypts the payload.  Each slot holds it encrypted by a
 * password, blown up to 4000 stripes so that it can be wiped for good.
 * "LUKS On-Disk Format Specification, Version 1.2.3".
 *
 * Nothing of the header is believed before it is checked. */
#pragma once

#include "storage/crypt.h"
#include "storage/file.h"
#include "storage/secret.h"

#define VP_LUKS_SLOTS       8u
#define VP_LUKS_HEADER_SIZE 592u
/* Passwords that take longer than this, or that many iterations on a processor
 * too slow to measure, are not tried: a header can ask for a year. */
#define VP_LUKS_MAX_TIME_MS     10000u
#define VP_LUKS_SAFE_ITERATIONS 10000000u
#define VP_LUKS_DEFAULT_TIME_MS 2000u

typedef struct {
  bool active;
  uint32_t iterations, stripes;
  uint64_t key_offset; /* bytes from the start of the header */
} VpLuksSlot;

typedef struct {
  VpCryptSpec spec;
  VpHash hash;
  char uuid[41];
  uint64_t payload_offset; /* bytes from the start of the header */
  uint32_t key_len, master_iterations;
  VpLuksSlot slots[VP_LUKS_SLOTS];
} VpLuksInfo;

/* What to make; zeros are not the defaults, VP_LUKS_OPTIONS_INIT is. */
typedef struct {
  VpCryptSpec spec;
  VpHash hash;
  unsigned iter_time_ms; /* to open one slot */
} VpLuksOptions;

#define VP_LUKS_OPTIONS_INIT                                                   \
  {                                                                            \
    .spec = { .cipher = VP_CIPHER_AES_256,                                     \
              .mode = VP_CIPHER_MODE_XTS,                                      \
              .ivgen = VP_IVGEN_PLAIN64,                                       \
              .ivgen_hash = VP_HASH_SHA256 },                                  \
    .hash = VP_HASH_SHA256, .iter_time_ms = VP_LUKS_DEFAULT_TIME_MS,           \
  }

typedef struct VpLuks VpLuks;

/* Bytes from the start of the header to the payload. */
uint64_t vp_luks_measure (const VpLuksOptions *options);
/* Makes a header with one slot at offset of file, which must not hold one
 * that is of use.  The header itself is written last.  VP_IMAGE_ERROR_USAGE
 * or _UNSUPPORTED for options. */
bool vp_luks_format (VpFile *file, uint64_t offset,
                     const VpLuksOptions *options, const VpSecret *password,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads and checks the header that lies in [offset, offset + length) of file;
 * key slots must lie in there as well.  file is referenced.
 * VP_IMAGE_ERROR_CORRUPT, VP_IMAGE_ERROR_UNSUPPORTED. */
VpLuks *vp_luks_open (VpFile *file, uint64_t offset, uint64_t length,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
void vp_luks_free (VpLuks *luks);
const VpLuksInfo *vp_luks_get_info (const VpLuks *luks); /* borrowed */

/* The cipher of the payload.  VP_IMAGE_ERROR_USAGE where no slot is opened by
 * password. */
VpCrypt *vp_luks_unlock (VpLuks *luks, const VpSecret *password,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef enum {
  VP_LUKS_FORCE = 1 << 0, /* also what loses a key, or the last one */
  VP_LUKS_DRY = 1 << 1,   /* only say whether it would work */
} VpLuksHow;

/* Opens by old_password and lets new_password open too.  slot -1: the first
 * that is free; an active one is refused but where forced.  A cut leaves the
 * new slot inactive, or done.  VP_IMAGE_ERROR_USAGE. */
bool vp_luks_add_slot (VpLuks *luks, const VpSecret *old_password,
                       const VpSecret *new_password, int slot,
                       unsigned iter_time_ms, VpLuksHow how,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* slot -1: all slots that password opens; else that one, which password, where
 * it is not NULL, must open.  The last one of all is refused but where forced:
 * the payload is lost with it.  VP_IMAGE_ERROR_USAGE. */
bool vp_luks_erase_slots (VpLuks *luks, int slot, const VpSecret *password,
                          VpLuksHow how,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpLuks, vp_luks_free)
