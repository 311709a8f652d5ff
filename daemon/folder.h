/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* folder: a directory of small files, held open, in which a file is either
 * the old one or the new one, whenever the power goes.
 *
 * Replacing is: temporary name (".NAME.tmp"), fsync, rename, fsync of the
 * folder; a replacement by the same bytes writes nothing.  Names are plain
 * file names, checked here, never paths.  Errors are G_IO_ERROR and name the
 * file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

typedef struct VpFolder VpFolder;

/* Makes the folder with this mode where it is missing.  Temporary files that
 * a crash left are removed. */
VpFolder *vp_folder_open (const char *path, unsigned mode, GError **error);
/* Without create: G_IO_ERROR_NOT_FOUND where it is missing. */
VpFolder *vp_folder_open_below (const VpFolder *parent, const char *name,
                                bool create, GError **error);
void vp_folder_free (VpFolder *folder);
/* Borrowed. */
const char *vp_folder_get_path (const VpFolder *folder);
int vp_folder_get_fd (const VpFolder *folder);

/* [A-Za-z0-9][A-Za-z0-9._-]*, at most 200 bytes. */
bool vp_folder_name_is_valid (const char *name);

/* G_IO_ERROR_NOT_FOUND where there is none.  Regular files of at most 1 MiB;
 * a NUL is put behind the bytes.  Caller frees. */
char *vp_folder_read (const VpFolder *folder, const char *name, size_t *ret_len,
                      GError **error);
bool vp_folder_replace (const VpFolder *folder, const char *name,
                        const void *bytes, size_t len, GError **error);
/* Removing what is not there is no failure. */
bool vp_folder_remove (const VpFolder *folder, const char *name,
                       GError **error);
/* Fails with G_IO_ERROR_EXISTS rather than replace another file. */
bool vp_folder_rename (const VpFolder *folder, const char *old_name,
                       const char *new_name, GError **error);
/* The regular files with a valid name, or the folders.  GPtrArray of char *,
 * sorted. */
GPtrArray *vp_folder_list (const VpFolder *folder, GError **error);
GPtrArray *vp_folder_list_folders (const VpFolder *folder, GError **error);
/* Opens an empty file for appending; -1 on failure, caller closes. */
int vp_folder_create (const VpFolder *folder, const char *name, GError **error);

/* Writes all of it, whatever the kernel takes at a time. */
bool vp_write_all (int fd, const void *bytes, size_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpFolder, vp_folder_free)
