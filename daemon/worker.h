/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* worker: runs vprov-img as the sandboxed worker, one process for each call,
 * and answers its claims.  The daemon parses no image byte itself.
 *
 * The child gets the target's fd and a SOCK_SEQPACKET socket, nothing else;
 * as root it runs as the user given, without capabilities, in an empty
 * network namespace where the kernel allows, with no_new_privs and limits; it
 * dies with us.  A name found inside an image comes back as a claim, which is
 * compared with the list below: a match is answered with a read-only fd,
 * anything else with a refusal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct {
  char *program;      /* absolute path of vprov-img */
  char *user;         /* NULL: do not change (tests) */
  unsigned timeout_s; /* wall clock for the whole call; 0: none */
} VpWorkerConfig;

/* A file that an image may name inside itself. */
typedef struct {
  const char *name;   /* the very bytes that the image is to hold */
  const char *format; /* must be stated there and equal this */
  const char *path;   /* what is opened for it, read-only */
} VpWorkerClaim;

typedef enum {
  VP_WORKER_CREATE, /* fd: an empty file; backing: claims[0] where n_claims */
  VP_WORKER_GROW,   /* fd: an image; to size */
  VP_WORKER_INFO,   /* fd: an image; ret_json as vprov-img info --output=json */
  VP_WORKER_CHECK,  /* fd: an image; repair_leaks; ret_json as check's */
  VP_WORKER_CONVERT, /* source_fd -> fd, an empty file */
} VpWorkerVerb;

typedef struct {
  VpWorkerVerb verb;
  int fd;           /* borrowed */
  const char *name; /* for messages: the final path */
  const char *format;
  uint64_t size; /* CREATE (0: as large as the backing file), GROW */
  int source_fd; /* CONVERT; borrowed, else -1 */
  const char *source_format;
  const VpWorkerClaim *claims;
  size_t n_claims;
  bool repair_leaks;       /* CHECK */
  const char *source_name; /* CONVERT: for messages; may be NULL */
} VpWorkerCall;

/* What a call has found out.  Strings are owned, and come from the image:
 * valid UTF-8 they are, but nothing else is promised of them. */
typedef struct {
  uint64_t virtual_size; /* INFO: bytes */
  char *backing_name;    /* INFO: as the image says, or NULL */
  char *backing_format;  /* INFO: as the image says, or NULL */
  char *probed;          /* INFO: the format that the bytes look like, "other"
                          * where that is none of ours */
  uint64_t corruptions, leaks, check_errors; /* CHECK: what is left of them */
  char *json;                                /* INFO, CHECK; else NULL */
} VpWorkerResult;

void vp_worker_result_clear (VpWorkerResult *result);

/* bytes done and in all; called on the caller's thread. */
typedef void (*VpWorkerProgress) (uint64_t done, uint64_t total,
                                  gpointer user_data);

/* Blocks; for job threads.  cancel (may be NULL) is an atomic flag: the
 * worker is ended when it becomes non-zero (VP_ERROR_CANCELLED); so it is when
 * its time is over (VP_ERROR_TIMEOUT).  A worker that dies is a failed call
 * that says how (VP_ERROR_FAILED).
 *
 * A file that is to be written gets QEMU's locks first, one that is read the
 * reader's: VP_ERROR_IN_USE.  INFO looks at no lock.  The locks stay with the
 * caller's fd until it is closed.  A full disk is VP_ERROR_NO_SPACE; what else
 * the engine judges stays a VP_IMAGE_ERROR or G_FILE_ERROR.
 *
 * CHECK succeeds where the check could be made, whatever it found. */
bool vp_worker_call (const VpWorkerConfig *config, const VpWorkerCall *call,
                     VpWorkerProgress progress, gpointer user_data,
                     const int *cancel, VpWorkerResult *ret_result,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same for those who want the JSON at most; ret_json (may be NULL) is
 * freed by the caller. */
bool vp_worker_run (const VpWorkerConfig *config, const VpWorkerCall *call,
                    VpWorkerProgress progress, gpointer user_data,
                    const int *cancel, char **ret_json,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpWorkerResult, vp_worker_result_clear)
