/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* store: what must outlive the daemon, on disk: the installation's seed, the
 * accepted specs, guest, volume and network records, the journal of a running
 * job.  Main thread, but for the journal, which the job of its guest writes.
 *
 *   STATE/version            "1"; an older one is read and brought up to date
 *   STATE/seed               32 hex digits, made once
 *   STATE/guests/NAME        key file: VpGuestRecord
 *   STATE/accepted/KIND/NAME.xml   last good text of a spec, + its path
 *   STATE/networks/NAME      key file: address chosen
 *   STATE/volumes/POOL/NAME  key file: VpVolumeRecord
 *   STATE/jobs/NAME          journal of the guest's running job
 *
 * Everything is replaced by temporary name, fsync, rename, fsync of the
 * folder; a save that would change nothing writes nothing. */
#pragma once

#include "daemon/state.h"
#include "daemon/step.h"

typedef struct VpStore VpStore;

/* Makes the folder (0711) and what is missing in it.  Fails where the version
 * is newer than ours: nothing is written then. */
VpStore *vp_store_open (const char *path, GError **error);
void vp_store_free (VpStore *store);
const char *vp_store_get_path (VpStore *store);

/* Derived from the seed and the names; recorded by whoever calls. */
char *vp_store_derive_uuid (VpStore *store, const char *guest);
VpMac vp_store_derive_mac (VpStore *store, const char *guest, const char *nic);

/* What was decided for a guest once and holds from then on. */
typedef struct {
  char *uuid;
  char *domain; /* its name in libvirt where that is not the guest's: it was
                   renamed by its file */
  char *machine, *arch;
  bool hold;        /* stopped by a person or from inside: stays so */
  char *boot_id;    /* of the host's boot when hold was set */
  bool retired;     /* its spec is gone */
  bool off;         /* vprovd shut it down itself, for the spec or a removal */
  GHashTable *macs; /* NIC name -> text */
  GHashTable *addresses; /* NIC name -> text */
  GHashTable *volumes;   /* disk name -> "POOL/VOLUME" */
  GHashTable *targets;   /* disk name -> "vda" */
} VpGuestRecord;

VpGuestRecord *vp_guest_record_new (void);
VpGuestRecord *vp_guest_record_copy (const VpGuestRecord *record);
void vp_guest_record_free (VpGuestRecord *record);
/* NULL without error where there is none. */
VpGuestRecord *vp_store_load_guest (VpStore *store, const char *name,
                                    GError **error);
bool vp_store_save_guest (VpStore *store, const char *name,
                          const VpGuestRecord *record, GError **error);
bool vp_store_remove_guest (VpStore *store, const char *name, GError **error);
bool vp_store_rename_guest (VpStore *store, const char *old_name,
                            const char *new_name, GError **error);
/* Names of all guests with a record.  GPtrArray of char *, sorted. */
GPtrArray *vp_store_list_guests (VpStore *store, GError **error);

typedef struct {
  char *owner; /* guest, NULL: an orphan */
  char *disk;
  char *path;
  char *format;
  uint64_t size;
  char *base; /* image name */
  char *base_path, *base_format;
  int64_t created; /* seconds since 1970 */
} VpVolumeRecord;

void vp_volume_record_free (VpVolumeRecord *record);
VpVolumeRecord *vp_store_load_volume (VpStore *store, const char *pool,
                                      const char *volume, GError **error);
bool vp_store_save_volume (VpStore *store, const char *pool, const char *volume,
                           const VpVolumeRecord *record, GError **error);

/* The last good text of a spec.  kind is "guest", "network", "pool" or
 * "image".  A load gives NULL without error where there is none. */
bool vp_store_save_accepted (VpStore *store, const char *kind, const char *name,
                             const char *path, const char *text, size_t len,
                             GError **error);
char *vp_store_load_accepted (VpStore *store, const char *kind,
                              const char *name, char **ret_path,
                              size_t *ret_len, GError **error);
bool vp_store_remove_accepted (VpStore *store, const char *kind,
                               const char *name, GError **error);
GPtrArray *vp_store_list_accepted (VpStore *store, const char *kind,
                                   GError **error);

/* The prefix of a network, chosen once.  False without error where none is
 * recorded. */
bool vp_store_load_network (VpStore *store, const char *name,
                            VpCidr *ret_address, GError **error);
bool vp_store_save_network (VpStore *store, const char *name,
                            const VpCidr *address, GError **error);

/* Job journal: one line for each step, before ("begin") and after ("done",
 * "failed", "undone") it.  Closed and removed when the job has ended.  Thread:
 * the job's. */
typedef struct VpJournal VpJournal;
VpJournal *vp_store_journal_open (VpStore *store, const char *guest,
                                  GError **error);
bool vp_journal_write (VpJournal *journal, const char *what, const VpStep *step,
                       GError **error);
/* Closes; removes the file where finished. */
void vp_journal_close (VpJournal *journal, bool finished);
/* Journals that a crash left: guest name -> its last line.  Main thread, at
 * start.  GHashTable of char * -> char *. */
GHashTable *vp_store_list_journals (VpStore *store, GError **error);
bool vp_store_remove_journal (VpStore *store, const char *guest,
                              GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpStore, vp_store_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpGuestRecord, vp_guest_record_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpVolumeRecord, vp_volume_record_free)
