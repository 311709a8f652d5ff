/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vdi: VirtualBox's format, version 1.1; what its rooms share.  For vdi*.c
 * alone.
 *
 *     0 header | map_offset: map | data_offset: slot 0 | slot 1 | ...
 *
 *     map    a number for each block of the disk: its slot, or "free", or
 *            "reads as zeros"
 *     slot   extra bytes that are not the guest's, then a block
 *
 * All numbers are little-endian; the header's lie in the first sector, so that
 * it goes out whole or not at all.
 *
 * Everybody who writes VDI puts the next block into the slot that the header's
 * count names.  So the count must never be behind the map: it is raised before
 * a slot is used, and a cut between leaves slots that nobody has.
 *
 *     order 0    the header, data          order 1    the map
 *
 * And every check wants the count to be that of the blocks in the map, so
 * slots must not lie idle: a block stays where it is when it is zeroed or
 * discarded, and a hole takes its bytes' place; where blocks do go (shrink,
 * repair), the last ones move up into the gaps (vdi-move.c). */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"
#include "storage/table.h"

#define VDI_SECTOR      512u
#define VDI_SIGNATURE   0xbeda107fu
#define VDI_VERSION     0x00010001u
#define VDI_HEADER_SIZE 0x180u /* of what counts from 0x48 on */
#define VDI_BLOCK_SIZE  (1u << 20)
#define VDI_MIN_BLOCK   512u
#define VDI_MAX_BLOCK   (64u << 20)
#define VDI_MAX_BLOCKS  (16u << 20) /* a map of 64 MiB */
#define VDI_MAX_SLOTS   (32u << 20)
#define VDI_FREE        0xffffffffu
#define VDI_ZERO        0xfffffffeu

/* UUIDs in the header: its own, and of what is below it. */
#define VDI_UUID_LEN        16u
#define VDI_UUID_OFFSET     0x188u
#define VDI_SNAPSHOT_OFFSET 0x198u
#define VDI_LINK_OFFSET     0x1a8u
#define VDI_PARENT_OFFSET   0x1b8u

enum {
  VDI_TYPE_DYNAMIC = 1,
  VDI_TYPE_STATIC = 2,
  VDI_TYPE_UNDO = 3,
  VDI_TYPE_DIFF = 4,
};

/* Orders of write-back (table.h). */
enum { VDI_ORDER_HEADER, VDI_ORDER_MAP };

typedef struct {
  uint32_t signature, version, header_size, type, flags;
  uint32_t map_offset, data_offset;
  uint32_t cylinders, heads, sectors, sector_size;
  uint64_t disk_size;
  uint32_t block_size, block_extra;
  uint32_t n_blocks, n_allocated;
} VdiHeader;

extern const VpLayout vdi_header_layout;

typedef struct {
  VpFile *file; /* borrowed */
  VpTables *tables;
  VdiHeader header; /* n_allocated: the next slot, where it is writable */
  uint64_t size;    /* of the disk: whole sectors */
  uint64_t block_size, slot_size;
  uint64_t file_end;
  /* Writable: */
  uint64_t used_end; /* slots below that offset may hold old bytes */
  GArray *spare;     /* uint32_t: slots that were given back */
} Vdi;

/* vdi-header.c */
bool vdi_corrupt (VpFile *file, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
unsigned vdi_probe (const uint8_t *head, size_t len, uint64_t file_size);
/* Reads and checks the header; what it says can be computed with. */
bool vdi_load_header (VpFile *file, VdiHeader *ret_header,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Into the cached first sector. */
bool vdi_store_header (Vdi *vdi, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vdi_describe (VpFile *file, GPtrArray *facts, GError **error);

/* vdi.c */
uint64_t vdi_slot_offset (const Vdi *vdi, uint32_t slot); /* of its block */
/* A number that names a slot in the file? */
bool vdi_slot_exists (const Vdi *vdi, uint32_t entry);
bool vdi_get_entry (Vdi *vdi, uint64_t block, uint32_t *ret_entry,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vdi_set_entry (Vdi *vdi, uint64_t block, uint32_t entry,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Calls see for each block that has a number, until it returns false. */
typedef bool (*VdiSee) (gpointer user_data, uint32_t block, uint32_t slot);
bool vdi_each (Vdi *vdi, VdiSee see, gpointer user_data,
               GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The first blocks from offset on that lie alike, and where. */
bool vdi_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
              GError **error);
bool vdi_flush (gpointer state, GError **error);

/* vdi-create.c */
bool vdi_check_create (const VpCreateOptions *options, GError **error);
bool vdi_create (VpFile *file, const VpCreateOptions *options, GError **error);
bool vdi_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                    GError **error);

/* vdi-write.c */
/* Looks at the whole map before the first write. */
bool vdi_prepare_writing (Vdi *vdi, bool lenient,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The next slots in a row: they read as zeros, nobody has them yet. */
bool vdi_take_slots (Vdi *vdi, uint64_t count, uint32_t *ret_first,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vdi_reserve (gpointer state, uint64_t offset, uint64_t length,
                  VpPlace *ret_place, GError **error);
bool vdi_link (gpointer state, const VpPlace *place, GError **error);
void vdi_unreserve (gpointer state, const VpPlace *place);
bool vdi_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
               uint64_t *ret_done, GError **error);
bool vdi_discard (gpointer state, uint64_t offset, uint64_t length,
                  GError **error);

/* vdi-move.c */
typedef struct {
  uint32_t block, slot;
} VdiMover;

/* One bit for each slot that a block has. */
typedef struct {
  uint8_t *bits;
  uint32_t n_slots; /* that bits has room for */
  uint32_t end;     /* behind the last one */
  uint32_t n_used;
} VdiSlots;
bool vdi_slots_init (VdiSlots *slots, const Vdi *vdi, GError **error);
void vdi_slots_clear (VdiSlots *slots);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VdiSlots, vdi_slots_clear)
bool vdi_slots_has (const VdiSlots *slots, uint32_t slot);
/* False: it was there already. */
bool vdi_slots_add (VdiSlots *slots, uint32_t slot);
bool vdi_copy_slot (Vdi *vdi, uint32_t from, uint32_t to,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Moves the last blocks into slots that nobody has, until none is left; then
 * the count is that of the map, and the file ends there.  Lasts; a cut leaves
 * leaks. */
bool vdi_close_gaps (Vdi *vdi, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vdi-grow.c */
/* A map for so many blocks and the new size of the disk, in one step. */
bool vdi_grow_map (Vdi *vdi, uint64_t n_blocks, uint64_t size,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vdi-size.c */
bool vdi_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
                 GError **error);
bool vdi_shrink (gpointer state, uint64_t size, GError **error);
/* Gives every block from first on a slot. */
bool vdi_fill (Vdi *vdi, uint64_t first, VpPreallocation preallocation,
               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* vdi-check.c */
bool vdi_check (gpointer state, VpRepair repair, const VpProgress *progress,
                VpCheckResult *result, GError **error);
