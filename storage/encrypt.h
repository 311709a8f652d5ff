/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* encrypt: how people say what encryption is to be like, for a disk of
 * its own and, with "encrypt." before each word, inside of qcow2. */
#pragma once

#include "storage/format.h"

/* to begins as VP_LUKS_OPTIONS_INIT.  VP_IMAGE_ERROR_USAGE. */
bool vp_encrypt_parse_luks (const VpEncryptOptions *from, VpLuksOptions *to,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* pairs: NAME, VALUE; names may begin with prefix.  password opens the header.
 * Of options: secrets, force.  dry: would it work?  VP_IMAGE_ERROR_USAGE. */
bool vp_encrypt_amend_luks (VpLuks *luks, const VpSecret *password,
                            const char *prefix, const GPtrArray *pairs,
                            const VpAmendOptions *options, bool dry,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
