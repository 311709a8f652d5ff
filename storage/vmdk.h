/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk: an image of extents, one behind the other; private to vmdk*.c.
 *
 *     guest    |<-- extent 0 -->|<---- extent 1 ---->|<- extent 2 ->|
 *     bytes in   disk-f001.vmdk    disk-f002.vmdk       nowhere (ZERO)
 *
 * The descriptor says which, and is a file of its own or stands in the only
 * extent, which then is the image itself. */
#pragma once

#include "storage/format.h"
#include "storage/vmdk-descriptor.h"
#include "storage/vmdk-sparse.h"

typedef struct {
  VmdkKind kind;
  VmdkAccess access;
  uint64_t start, length; /* guest bytes */
  VpFile *file;           /* a reference; NULL: not opened, or ZERO */
  uint64_t offset;        /* of the first byte in file; FLAT, VMFS */
  VmdkSparse *sparse;     /* owned; the sparse kinds, once they are opened */
  bool touched;           /* since the last flush */
} VmdkExtent;

typedef struct {
  VpFile *file; /* borrowed */
  VpDriverFlags flags;
  VmdkDescriptor *descriptor;
  uint64_t text_offset; /* in file */
  uint64_t text_room;   /* bytes; 0: the file is nothing else, and grows */
  GArray *extents;      /* of VmdkExtent */
  uint64_t size;
  bool has_next_parent; /* what the next parent's CID is */
  uint32_t next_parent;
  bool is_renewed; /* the CID, in this life */
  bool text_touched;
} Vmdk;

/* The extent that holds offset, which lies within the image. */
VmdkExtent *vmdk_find (Vmdk *vmdk, uint64_t offset);
/* FLAT or VMFS. */
bool vmdk_is_flat (const VmdkExtent *extent);
/* Before the first change: the CID becomes another one. */
bool vmdk_renew_cid (Vmdk *vmdk, GError **error);
/* Another text in the place of the descriptor's; parsed anew. */
bool vmdk_replace_text (Vmdk *vmdk, const char *text, GError **error);

/* vmdk-data.c: rows of the driver. */
bool vmdk_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
               GError **error);
bool vmdk_reserve (gpointer state, uint64_t offset, uint64_t length,
                   VpPlace *ret_place, GError **error);
bool vmdk_link (gpointer state, const VpPlace *place, GError **error);
void vmdk_unreserve (gpointer state, const VpPlace *place);
bool vmdk_zero (gpointer state, uint64_t offset, uint64_t length, bool unmap,
                uint64_t *ret_done, GError **error);
bool vmdk_discard (gpointer state, uint64_t offset, uint64_t length,
                   GError **error);
bool vmdk_packing (gpointer state, VpPacking *ret_packing);
bool vmdk_reserve_packed (gpointer state, uint64_t offset, uint64_t len,
                          VpPlace *ret_place, GError **error);
bool vmdk_link_packed (gpointer state, const VpPlace *place, GError **error);
bool vmdk_flush (gpointer state, GError **error);
bool vmdk_settle (gpointer state, GError **error);
bool vmdk_empty (gpointer state, GError **error);

/* vmdk-resize.c */
bool vmdk_extend (gpointer state, uint64_t size, GError **error);
bool vmdk_resize (gpointer state, uint64_t size, VpPreallocation preallocation,
                  GError **error);
bool vmdk_shrink (gpointer state, uint64_t size, GError **error);

/* vmdk-check.c */
bool vmdk_check (gpointer state, VpRepair repair, const VpProgress *progress,
                 VpCheckResult *result, GError **error);

/* vmdk-create.c */
extern const VpOption vmdk_options[];
bool vmdk_check_create (const VpCreateOptions *options, GError **error);
bool vmdk_create (VpFile *file, const VpCreateOptions *options, GError **error);
char *vmdk_part_to_make (const VpCreateOptions *options, const char *image,
                         unsigned index);
bool vmdk_footprint (const VpCreateOptions *options, VpFootprint *ret_print,
                     GError **error);
