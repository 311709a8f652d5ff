/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* luks-header: the bytes of a LUKS1 header.  For luks*.c alone. */
#pragma once

#include "storage/luks.h"

#define LUKS_STRIPES     4000u
#define LUKS_SALT_LEN    32u
#define LUKS_DIGEST_LEN  20u
#define LUKS_ALIGNMENT   4096u
#define LUKS_SLOT_ACTIVE 0x00ac71f3u
#define LUKS_SLOT_FREE   0x0000deadu

typedef struct {
  uint32_t active, iterations;
  uint8_t salt[LUKS_SALT_LEN];
  uint32_t sector; /* of the key material */
  uint32_t stripes;
} LuksSlot;

typedef struct {
  char cipher[33], mode[33], hash[33]; /* one longer than on disk */
  uint32_t payload_sector, key_len;
  uint8_t digest[LUKS_DIGEST_LEN], digest_salt[LUKS_SALT_LEN];
  uint32_t digest_iterations;
  char uuid[41];
  LuksSlot slots[VP_LUKS_SLOTS];
} LuksHeader;

struct VpLuks {
  VpFile *file; /* owned */
  uint64_t offset;
  LuksHeader header;
  VpLuksInfo info;
};

/* Of a slot, whole sectors. */
size_t luks_material_len (size_t key_len);
bool luks_corrupt (const VpLuks *luks, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* In memory: a header without keys. */
VpLuks *luks_new (VpFile *file, uint64_t offset, const VpLuksOptions *options);
VpLuks *luks_load (VpFile *file, uint64_t offset, uint64_t length,
                   GError **error);
bool luks_store_header (VpLuks *luks, GError **error);
/* One row but its word "active", which is left as it is. */
bool luks_store_slot (VpLuks *luks, unsigned slot, GError **error);
bool luks_store_active (VpLuks *luks, unsigned slot, bool active,
                        GError **error);
