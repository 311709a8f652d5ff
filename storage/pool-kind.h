/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pool-kind: what one kind of pool (a folder; later a volume group) must
 * know.  pool.c checks every name and what was asked; a kind only acts.
 * Private to the pool-*.c files. */
#pragma once

#include "storage/pool.h"

typedef struct {
  const char *name;
  void (*close) (VpPool *pool);
  char *(*volume_path) (VpPool *pool, const char *volume);
  bool (*has_volume) (VpPool *pool, const char *volume, bool *ret_there,
                      GError **error);
  int (*open_volume) (VpPool *pool, const char *volume, bool writable,
                      GError **error);
  bool (*list) (VpPool *pool, GPtrArray *names, GError **error);
  bool (*get_space) (VpPool *pool, uint64_t *ret_capacity,
                     uint64_t *ret_available, GError **error);
  VpPoolNew *(*new_volume) (VpPool *pool, const char *volume, GError **error);
  bool (*commit) (VpPoolNew *new_volume, GError **error);
  void (*abort) (VpPoolNew *new_volume);
  bool (*remove_volume) (VpPool *pool, const char *volume, GError **error);
  bool (*sweep) (VpPool *pool, unsigned *ret_removed, GError **error);
} VpPoolKind;

/* Each kind's own structs begin with these. */
struct VpPool {
  const VpPoolKind *kind;
  char *name; /* for messages; owned */
};

struct VpPoolNew {
  VpPool *pool; /* borrowed: the pool lives longer */
  char *volume; /* owned */
  int fd;       /* owned */
};

/* One path component that any tool can print: UTF-8 without control
 * characters, no leading dot, short enough to be wrapped in the temporary's
 * name. */
bool vp_pool_name_is_valid (const char *volume);
