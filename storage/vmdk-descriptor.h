/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-descriptor: the text of a VMDK: which files hold its guest bytes, what
 * it was made over, and what a virtual machine wants to know of the disk.
 *
 *     # Disk DescriptorFile
 *     version=1
 *     CID=fffffffe                          another one after each change
 *     parentCID=ffffffff                    ffffffff: has no parent
 *     createType="twoGbMaxExtentFlat"
 *     parentFileNameHint="base.vmdk"        only with a parent
 *     # Extent description
 *     RW 4194304 FLAT "disk-f001.vmdk" 0    access, sectors, kind, file, offset
 *
 *     # The Disk Data Base
 *     #DDB
 *     ddb.adapterType = "ide"
 *
 * Bytes in, a struct out, and back; opens nothing.  Text that is changed
 * keeps every other byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define VMDK_MAX_TEXT  ((1u << 20) - 1) /* bytes */
#define VMDK_NO_PARENT UINT32_C (0xffffffff)
#define VMDK_SECTOR    512u

typedef enum { VMDK_RW, VMDK_RDONLY, VMDK_NOACCESS } VmdkAccess;

typedef enum {
  VMDK_FLAT,
  VMDK_VMFS,
  VMDK_ZERO,
  VMDK_SPARSE,
  VMDK_VMFSSPARSE,
  VMDK_SESPARSE,
} VmdkKind;

/* Where a value stands in the text. */
typedef struct {
  size_t at, len;
} VmdkSpan;

typedef struct {
  VmdkAccess access;
  VmdkKind kind;
  uint64_t length; /* guest bytes */
  uint64_t offset; /* of the first in the file, bytes; FLAT and VMFS */
  char *name;      /* one component; NULL: ZERO */
  VmdkSpan sectors;
} VmdkExtentLine;

typedef struct {
  char *text; /* ends with NUL */
  uint32_t cid, parent_cid;
  char *create_type;
  char *parent_hint;      /* NULL: none */
  GPtrArray *extents;     /* of VmdkExtentLine */
  uint64_t size;          /* guest bytes of all extents */
  char *odd;              /* the first line that is not understood, or NULL */
  VmdkSpan at_cid;        /* of the values */
  VmdkSpan at_parent_cid; /* len 0: is not there */
  VmdkSpan at_hint;       /* of the line, with its end; len 0: is not there */
  size_t after_type;      /* where a line behind createType begins */
} VmdkDescriptor;

/* The name of an extent's kind as it is written. */
const char *vmdk_kind_to_text (VmdkKind kind);
/* Does this begin as a descriptor does? */
bool vmdk_descriptor_probe (const uint8_t *head, size_t len);

/* name is for messages.  A line that is not understood is kept, and told in
 * odd; one that is understood and wrong is VP_IMAGE_ERROR_CORRUPT, what we do
 * not have VP_IMAGE_ERROR_UNSUPPORTED. */
VmdkDescriptor *vmdk_descriptor_parse (const char *name, const uint8_t *bytes,
                                       size_t len, GError **error);
void vmdk_descriptor_free (VmdkDescriptor *descriptor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VmdkDescriptor, vmdk_descriptor_free)

/* The same text with one thing changed; the caller frees. */
char *vmdk_descriptor_with_cid (const VmdkDescriptor *descriptor, uint32_t cid);
/* hint NULL: no parent. */
char *vmdk_descriptor_with_parent (const VmdkDescriptor *descriptor,
                                   const char *hint, uint32_t parent_cid);
char *vmdk_descriptor_with_length (const VmdkDescriptor *descriptor,
                                   unsigned extent, uint64_t length);

/* A new one, as QEMU writes it. */
typedef struct {
  uint32_t cid, parent_cid;
  const char *create_type, *parent_hint;
  const char *adapter_type, *hwversion, *toolsversion;
  const VmdkExtentLine *extents; /* kind, length, name */
  unsigned n_extents;
  uint64_t size; /* bytes, for the geometry */
} VmdkDescriptorSpec;
/* The caller frees. */
char *vmdk_descriptor_write (const VmdkDescriptorSpec *spec);
