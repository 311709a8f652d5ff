/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* file: a row of bytes that lasts, behind a vtable: regular files and block
 * devices here, a fake in memory for the tests.  The only room that makes
 * system calls on images.
 *
 * It knows nothing of formats.  Reads past the end give zeros; a write past
 * the end makes the file longer.  After a failed flush the file is broken and
 * every later write fails: what the kernel dropped cannot be told any more.
 *
 * Locks are QEMU's: an open file description lock on byte 100 + P says "I use
 * permission P", on byte 200 + P "I do not share P".  We take read locks on
 * those that we mean, then look whether anybody holds the opposite byte. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct VpFile VpFile;

typedef enum {
  VP_FILE_READ_ONLY = 0,
  VP_FILE_WRITABLE = 1 << 0,
  VP_FILE_NO_LOCK = 1 << 1, /* share everything; look at no lock */
  VP_FILE_CREATE = 1 << 2,  /* by path: make it where it is missing */
  VP_FILE_NULL = 1 << 3,    /* to read: /dev/null is an empty file */
} VpFileFlags;

/* What becomes of the kernel's page cache, and how often bytes are made to
 * last.  Zero: the kernel's choice, and as often as asked. */
typedef enum {
  VP_FILE_CACHE_DROP = 1 << 0,    /* given back every few MiB */
  VP_FILE_CACHE_THROUGH = 1 << 1, /* every change is flushed at once */
  VP_FILE_CACHE_UNSAFE = 1 << 2,  /* never flushed: a power cut costs all */
} VpFileCaching;

/* Whether a file may begin like that. */
typedef bool (*VpFileHeadCheck) (const uint8_t *head, size_t len);
#define VP_FILE_HEAD_LEN 512u

typedef struct {
  uint64_t device, inode;
} VpFileId;

/* Offsets and lengths that reach a vtable are checked: offset + length does
 * not pass INT64_MAX.  Optional rows may be NULL. */
typedef struct {
  /* Fills the whole buffer, with zeros past the end. */
  bool (*read) (VpFile *file, uint64_t offset, void *buffer, size_t len,
                GError **error);
  bool (*write) (VpFile *file, uint64_t offset, const void *buffer, size_t len,
                 GError **error);
  /* Makes a range read as zeros and gives its space back where that can be
   * had; never changes the length.  False without error: cannot. */
  bool (*punch) (VpFile *file, uint64_t offset, uint64_t length,
                 GError **error);
  /* Reserves space for a range, content unchanged.  Optional. */
  bool (*allocate) (VpFile *file, uint64_t offset, uint64_t length,
                    GError **error);
  bool (*truncate) (VpFile *file, uint64_t size, GError **error);
  bool (*flush) (VpFile *file, GError **error);
  bool (*get_size) (VpFile *file, uint64_t *ret_size, GError **error);
  /* Is there data at offset, and for how far is that so?  Optional: all is
   * data. */
  bool (*extent) (VpFile *file, uint64_t offset, uint64_t length,
                  bool *ret_data, uint64_t *ret_length, GError **error);
  /* Bytes that it takes up on the disk.  Optional: its size. */
  bool (*get_used) (VpFile *file, uint64_t *ret_used, GError **error);
  /* Lets bytes of from be bytes of file as well, without a copy (reflink).
   * False: cannot.  may_clone: might it be able to?  Optional, both. */
  bool (*clone) (VpFile *file, uint64_t offset, VpFile *from,
                 uint64_t from_offset, uint64_t length);
  bool (*may_clone) (VpFile *file, VpFile *from);
  /* Gives clean pages of the page cache back and begins to write the others.
   * A hint, and optional. */
  void (*drop_cache) (VpFile *file);
  void (*close) (VpFile *file); /* frees what init made, not the file */
} VpFileClass;

/* Public for implementations only. */
struct VpFile {
  const VpFileClass *class;
  char *name; /* for messages; owned */
  int n_refs;
  bool writable;
  bool is_device; /* the length is fixed */
  int broken;     /* a flush has failed; atomic */
  bool has_id;
  VpFileId id;
  VpFileHeadCheck check_head; /* NULL: it may begin as it likes */
  VpFileCaching caching;
  int moved; /* bytes since the cache was dropped; atomic */
};

/* G_FILE_ERROR; VP_IMAGE_ERROR_IN_USE for a lock; VP_IMAGE_ERROR_USAGE where
 * it is neither a regular file nor a block device. */
VpFile *vp_file_open (const char *path, VpFileFlags flags,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* fd is duplicated, the caller keeps it.  name is for messages, and relative
 * names in the image are looked up beside it. */
VpFile *vp_file_open_fd (int fd, const char *name, VpFileFlags flags,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
VpFile *vp_file_ref (VpFile *file);
/* In addition to what was chosen before; before other threads use it. */
void vp_file_add_caching (VpFile *file, VpFileCaching caching);
/* From now on writes that let its first VP_FILE_HEAD_LEN bytes fail the check
 * are refused (G_FILE_ERROR_PERM).  Before other threads use it. */
void vp_file_guard_head (VpFile *file, VpFileHeadCheck check);
void vp_file_unref (VpFile *file);

bool vp_file_read (VpFile *file, uint64_t offset, void *buffer, size_t len,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_write (VpFile *file, uint64_t offset, const void *buffer,
                    size_t len, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Zeros, by a hole where possible, else written; makes the file longer where
 * need be. */
bool vp_file_zero (VpFile *file, uint64_t offset, uint64_t length, bool unmap,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A hint: gives space back where it can.  Whether it reads as zeros
 * afterwards is not promised. */
void vp_file_discard (VpFile *file, uint64_t offset, uint64_t length);
bool vp_file_allocate (VpFile *file, uint64_t offset, uint64_t length,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether it is worth trying; both files of one kind. */
bool vp_file_may_clone (VpFile *file, VpFile *from);
/* False: nothing has happened, copy the bytes.  Offsets and length are
 * multiples of VP_FILE_CLONE_UNIT. */
#define VP_FILE_CLONE_UNIT 4096u
bool vp_file_clone (VpFile *file, uint64_t offset, VpFile *from,
                    uint64_t from_offset,
                    uint64_t length) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_truncate (VpFile *file, uint64_t size,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_flush (VpFile *file, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_get_size (VpFile *file, uint64_t *ret_size,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_get_used (VpFile *file, uint64_t *ret_used,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool vp_file_extent (VpFile *file, uint64_t offset, uint64_t length,
                     bool *ret_data, uint64_t *ret_length,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For implementations: fills the common part; name is copied. */
void vp_file_init (VpFile *file, const VpFileClass *class, const char *name,
                   bool writable);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpFile, vp_file_unref)
