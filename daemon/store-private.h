/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store-private: what the files of store share: the open folders.  For
 * store*.c alone. */
#pragma once

#include "daemon/folder.h"
#include "daemon/store.h"

typedef enum {
  VP_ACCEPTED_GUEST,
  VP_ACCEPTED_NETWORK,
  VP_ACCEPTED_POOL,
  VP_ACCEPTED_IMAGE,
  VP_ACCEPTED_N_KINDS
} VpAcceptedKind;

struct VpStore {
  VpFolder *root, *guests, *networks, *volumes, *jobs;
  GHashTable *pools; /* name -> VpFolder in volumes, opened so far */
  VpFolder *accepted[VP_ACCEPTED_N_KINDS];
  char *seed; /* 32 hex digits */
};

/* Says which file is damaged, how, and what a person can do about it; false,
 * for the caller to return. */
bool vp_store_set_corrupt (GError **error, const VpFolder *folder,
                           const char *name, const char *problem,
                           const char *cure);
/* A key file of the store, NULL without error where there is none. */
GKeyFile *vp_store_load_keys (const VpFolder *folder, const char *name,
                              const char *cure, GError **error);
bool vp_store_save_keys (const VpFolder *folder, const char *name,
                         GKeyFile *keys, GError **error);
