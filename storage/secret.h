/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* secret: passwords and keys that a person hands over by name ("--object
 * secret,id=...").  Kept in memory of their own that is not swapped or dumped
 * where the kernel lets us, wiped when freed, and never part of a message. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* Bytes of one secret, or of the file that holds it. */
#define VP_MAX_SECRET_LEN (64u << 10)

typedef struct {
  char *id;      /* NULL where it has no name */
  uint8_t *data; /* len bytes, and a NUL that is not counted */
  size_t len;
} VpSecret;

/* Copies.  NULL where data is longer than VP_MAX_SECRET_LEN. */
VpSecret *vp_secret_new (const char *id, const void *data, size_t len);
/* Wipes; NULL is fine. */
void vp_secret_free (VpSecret *secret);
/* Zeros that the compiler does not leave out. */
void vp_wipe (void *data, size_t len);

/* Secrets by their ids. */
typedef struct VpSecrets VpSecrets;

VpSecrets *vp_secrets_new (void);
void vp_secrets_free (VpSecrets *secrets);
/* The words behind --object as name, value pairs: qom-type, id, data or file,
 * format (raw, base64), keyid and iv (AES-256-CBC, as QEMU's manual has it
 * under "secret").  VP_IMAGE_ERROR_USAGE; G_FILE_ERROR for the file. */
bool vp_secrets_add (VpSecrets *secrets, const GPtrArray *pairs,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Borrowed from secrets, which may be NULL: has none.
 * VP_IMAGE_ERROR_USAGE. */
const VpSecret *vp_secrets_find (const VpSecrets *secrets, const char *id,
                                 GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpSecret, vp_secret_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VpSecrets, vp_secrets_free)
