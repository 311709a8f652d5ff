/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image: a virtual disk: one file in some format and the chain of backing
 * images below it.  Guest bytes in, guest bytes out; the only loops over
 * them: copy-on-write, chains whose parts differ in length, bounds, zeros.
 *
 * One thread at a time uses an image and its chain.  Errors: G_FILE_ERROR for
 * system calls, VP_IMAGE_ERROR else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"
#include "storage/secret.h"

typedef enum {
  VP_IMAGE_READ_ONLY = 0,
  VP_IMAGE_WRITABLE = 1 << 0,
  VP_IMAGE_NO_LOCK = 1 << 1, /* qemu-img's -U */
  /* Opens nothing that the image names: info --safe, check, rebase.  What
   * lies in the backing file cannot be read then. */
  VP_IMAGE_NO_BACKING = 1 << 2,
  VP_IMAGE_CHECK = 1 << 3, /* to check: opens what is partly broken */
  /* The file is new and nobody would miss it after a power cut: no order and
   * no flush until vp_image_flush () or _close (). */
  VP_IMAGE_UNORDERED = 1 << 4,
  /* No guest byte will be read or written: needs no key. */
  VP_IMAGE_NO_IO = 1 << 5,
} VpImageFlags;

/* All that can be said about how to open an image; zeros: nothing.  What it
 * points to is borrowed for the call, but files, which are referenced. */
struct VpOpenOptions {
  const char *format; /* NULL: probe */
  VpImageFlags flags; /* of layers below only NO_LOCK and NO_IO hold */
  VpOpener *opener;   /* as for vp_image_open () */
  const VpSecret *key;
  const char *encrypt_format; /* "aes", "luks": what it must be; or NULL */
  /* raw: a part of the file. */
  bool has_offset, has_size;
  uint64_t offset, size;
  VpFile *data_file;    /* instead of the one that the image names */
  const char *snapshot; /* reads as it was then: its name or id */
  /* As if it named no backing file. */
  bool ignore_backing;
  VpFile *backing_file;         /* instead of the one that the image names */
  const VpOpenOptions *backing; /* for the layer below; its opener is not
                                   used; NULL: as the image says */
};

/* format NULL: probe.  opener NULL: as VP_IMAGE_NO_BACKING, but an image that
 * has a backing file is refused (VP_IMAGE_ERROR_DENIED).  opener is used
 * during the call only. */
VpImage *vp_image_open (const char *path, const char *format,
                        VpImageFlags flags, VpOpener *opener,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* fd is duplicated; name is for messages and for relative names. */
VpImage *vp_image_open_fd (int fd, const char *name, const char *format,
                           VpImageFlags flags, VpOpener *opener,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Takes its own reference of file. */
VpImage *vp_image_open_file (VpFile *file, const char *format,
                             VpImageFlags flags, VpOpener *opener,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The one that the others call. */
VpImage *vp_image_open_with (VpFile *file, const VpOpenOptions *options,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Flushes and frees, also where flushing fails. */
bool vp_image_close (VpImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Frees without a flush; what was not flushed may be lost.  NULL is fine. */
void vp_image_free (VpImage *image);

/* Makes an image.  A regular file is emptied first; one that was made here is
 * removed again on failure.  Where options->size is 0 and there is a backing
 * file its size is taken (through opener).  opener NULL: the backing file is
 * not opened, and size must be given. */
bool vp_image_create (const char *path, const char *format,
                      const VpCreateOptions *options, VpOpener *opener,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_create_fd (int fd, const char *name, const char *format,
                         const VpCreateOptions *options, VpOpener *opener,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_create_file (VpFile *file, const char *format,
                           const VpCreateOptions *options, VpOpener *opener,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Opens the data file of an image to be, or makes it; for
 * VpCreateOptions.data_file.  Owned by the caller. */
VpFile *vp_image_make_data_file (VpOpener *opener, const char *image,
                                 const char *name,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same for the extents of an image to be, for VpCreateOptions.parts; *ret
 * is NULL where it has none.  Owned by the caller. */
bool vp_image_make_parts (VpOpener *opener, const char *image,
                          const VpFormat *format,
                          const VpCreateOptions *options, GPtrArray **ret_parts,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

uint64_t vp_image_get_size (VpImage *image);
const char *vp_image_get_name (VpImage *image);
const VpFormat *vp_image_get_format (VpImage *image);
/* Nobody stated the format of this layer: its bytes did. */
bool vp_image_was_probed (VpImage *image);
uint64_t vp_image_get_cluster_size (VpImage *image); /* 0: has none */
VpImage *vp_image_get_backing (VpImage *image);      /* borrowed, or NULL */
/* The key that this layer was opened with, borrowed, or NULL. */
const VpSecret *vp_image_get_key (VpImage *image);
VpFile *vp_image_get_file (VpImage *image); /* borrowed */
/* Is that its file, its data file, one of its extents, or a file of the layers
 * below?  ret_below: of those (may be NULL). */
bool vp_image_uses_file (VpImage *image, VpFileId id, bool *ret_below);
/* For its file, its data file and extents, and those of all layers below. */
void vp_image_add_caching (VpImage *image, VpFileCaching caching);
/* This layer alone; clear with vp_image_info_clear (). */
bool vp_image_get_info (VpImage *image, VpImageInfo *ret_info,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ranges must lie within the image (VP_IMAGE_ERROR_RANGE). */
bool vp_image_read (VpImage *image, uint64_t offset, void *buffer, size_t len,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_image_write (VpImage *image, uint64_t offset, const void *buffer,
                     size_t len, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same, packed; a unit that does not shrink is stored plain.  Whole units
 * (clusters), the last one of the image may be short
 * (VP_IMAGE_ERROR_USAGE); VP_IMAGE_ERROR_UNSUPPORTED where the image cannot
 * hold packed ones. */
bool vp_image_write_compressed (VpImage *image, uint64_t offset,
                                const void *buffer, size_t len,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Can it hold packed units, and of what kind? */
bool vp_image_get_packing (VpImage *image, VpPacking *ret_packing);
/* Afterwards the range reads as zeros.  unmap: its space may be given back. */
bool vp_image_zero (VpImage *image, uint64_t offset, uint64_t length,
                    bool unmap, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A hint: the range reads as zeros or as before afterwards. */
bool vp_image_discard (VpImage *image, uint64_t offset, uint64_t length,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All that was written lasts when this returns. */
bool vp_image_flush (VpImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Grows; new bytes read as zeros.  A smaller size is refused
 * (VP_IMAGE_ERROR_USAGE): vp_image_shrink () says that it is meant.  Rounded up
 * to 512. */
bool vp_image_resize (VpImage *image, uint64_t size,
                      VpPreallocation preallocation,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A smaller size: what lies behind it is lost.  Multiples of 512 only. */
bool vp_image_shrink (VpImage *image, uint64_t size,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* One extent of the whole chain, in the words of "map --output=json". */
typedef struct {
  uint64_t start, length;
  unsigned depth;       /* 0: this image; else the layer that decided */
  bool present;         /* some layer holds it */
  bool zero;            /* reads as zeros */
  bool data;            /* bytes are stored */
  bool compressed;      /* ... packed */
  bool has_offset;      /* these bytes can be read there as they are */
  uint64_t offset;      /* in the file of that layer */
  const char *filename; /* of that layer; borrowed from the image */
} VpExtent;

/* The extent that begins at offset, at most length long. */
bool vp_image_map (VpImage *image, uint64_t offset, uint64_t length,
                   VpExtent *ret_extent,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpImage, vp_image_free)
