/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* catalog-private: the inside of catalog, shared by its files. */
#pragma once

#include "daemon/catalog.h"

typedef struct {
  char *path;
  char *text;
  size_t len;
  GPtrArray *problems; /* VpProblem */
  bool there;
} Seen;

struct VpCatalog {
  const VpConfig *config;
  VpStore *store;
  char *default_pool;
  GHashTable *seen[VP_SPEC_N_KINDS]; /* name -> Seen */
  GHashTable *guests;                /* name -> VpCatalogGuest */
  GHashTable *networks;              /* name -> VpNet, as its file says */
  GHashTable *pools, *images;
  GHashTable *addresses; /* network -> VpCidr: chosen or stated */
};

/* catalog-net: name -> VpNet with its address: every file's, and "default"
 * where it is asked for. */
GHashTable *vp_catalog_networks (VpCatalog *catalog, bool with_default,
                                 GError **error);
bool vp_catalog_uses_default (const VpGuest *spec);

/* catalog-guest.  Accepting: 1 a new good version, -1 mistakes; retired: it
 * stays so. */
bool vp_catalog_is_wanted (const VpCatalogGuest *guest);
int vp_catalog_accept_guest (VpCatalog *catalog, Seen *seen, const char *name,
                             bool retired);
VpCatalogGuest *vp_catalog_ensure_guest (VpCatalog *catalog, const char *name,
                                         const char *path);
VpGuest *vp_catalog_resolve (VpCatalog *catalog, const VpGuest *spec,
                             VpGuestRecord *record, GPtrArray *problems);
/* Parses and checks; NULL with problems.  record is changed in place. */
VpGuest *vp_catalog_try_guest (VpCatalog *catalog, const char *name,
                               const char *path, const char *text, size_t len,
                               VpGuestRecord *record, VpGuest **ret_resolved,
                               GPtrArray *problems);
void vp_catalog_store_problem (GPtrArray *problems, const char *path,
                               GError *error);

/* catalog-part: networks, pools, images. */
bool vp_catalog_accept_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen,
                             const char *name);
bool vp_catalog_parse_part (VpCatalog *catalog, VpSpecKind kind,
                            const char *name, const char *path,
                            const char *text, size_t len, bool keep,
                            GPtrArray *problems);
bool vp_catalog_drop_part (VpCatalog *catalog, VpSpecKind kind, Seen *seen,
                           const char *name);

/* catalog-volume. */
bool vp_catalog_is_made (VpCatalog *catalog, const VpGuestRecord *record,
                         const char *disk);
bool vp_catalog_save_intents (VpCatalog *catalog, const VpGuest *guest,
                              const VpGuestRecord *record, GError **error);
