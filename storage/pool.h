/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool: volumes by name in one place: create, open, list, remove.  A pool
 * knows names, files and space, and parses no image byte: what is inside a
 * volume is the worker's business.
 *
 * New volumes are made under a temporary name ("." and ".vprov-tmp" round the
 * final one) and get their own name when they are whole: fsync, rename, fsync
 * of the folder.  What a crash left under a temporary name is removed by
 * vp_pool_sweep ().  Links are never followed, names never hold a slash. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct VpPool VpPool;

/* A folder as a pool; made (0711) with its parents where it is missing.
 * G_FILE_ERROR. */
VpPool *vp_pool_open_dir (const char *name, const char *path,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
void vp_pool_free (VpPool *pool);

/* The path that the hypervisor is told; caller frees. */
char *vp_pool_volume_path (VpPool *pool, const char *volume);
/* False without error where it is not there. */
bool vp_pool_has_volume (VpPool *pool, const char *volume, bool *ret_there,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* An fd of a regular file with one link, O_NOFOLLOW; caller closes. */
int vp_pool_open_volume (VpPool *pool, const char *volume, bool writable,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* GPtrArray of char *, sorted; temporaries are not volumes. */
GPtrArray *vp_pool_list (VpPool *pool, GError **error);
bool vp_pool_get_space (VpPool *pool, uint64_t *ret_capacity,
                        uint64_t *ret_available, GError **error);

/* A volume in the making. */
typedef struct VpPoolNew VpPoolNew;
/* 0600.  G_FILE_ERROR_EXIST where the volume is there already,
 * VP_IMAGE_ERROR_IN_USE where somebody is making it at this moment. */
VpPoolNew *vp_pool_new_volume (VpPool *pool, const char *volume,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
int vp_pool_new_get_fd (VpPoolNew *new_volume); /* borrowed, read-write */
/* fsync, rename to the final name without replacing anything, fsync of the
 * folder.  Consumes new_volume in any case; on failure nothing is left. */
bool vp_pool_new_commit (VpPoolNew *new_volume,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Removes the temporary file; NULL is fine. */
void vp_pool_new_abort (VpPoolNew *new_volume);

bool vp_pool_remove_volume (VpPool *pool, const char *volume,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Removes temporaries that no process holds a lock on; says how many. */
bool vp_pool_sweep (VpPool *pool, unsigned *ret_removed,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpPool, vp_pool_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpPoolNew, vp_pool_new_abort)
