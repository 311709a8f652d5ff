/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-names: how a person names an image on the command line, and what all
 * verbs accept for that:
 *
 *     FILE, file:FILE                                   a path
 *     --image-opts driver=qcow2,file.filename=FILE,...  words
 *     json:{"driver": "qcow2", "file": {...}}           the same as JSON
 *
 * and --object secret,... for the keys that such words name.  A word that is
 * not known is refused by name.  None of this is ever used on a name that an
 * image holds: those go through the gate (VpOpener). */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include <glib.h>

#include "storage/image.h"
#include "storage/secret.h"

/* What the options say that are the same in all verbs.  Zeros: none given. */
typedef struct {
  bool image_opts; /* names are words, not paths */
  bool no_lock;    /* -U */
  /* --safe, for images of strangers: a path with its format stated, nothing
   * that the image names is opened. */
  bool safe;
  VpSecrets *secrets;    /* owned; NULL: none */
  VpFileCaching caching; /* of the image and all below it: -t, or -T */
} VpImgAccess;

enum {
  VP_IMG_OBJECT = 1000,
  VP_IMG_IMAGE_OPTS,
  VP_IMG_FORCE_SHARE,
  VP_IMG_SAFE
};

/* For a verb's long options; -U is written "U" in its letters. */
#define VP_IMG_ACCESS_OBJECT                                                   \
  {                                                                            \
    "object", required_argument, NULL, VP_IMG_OBJECT                           \
  }
#define VP_IMG_ACCESS_OPTIONS                                                  \
  VP_IMG_ACCESS_OBJECT,                                                        \
      { "image-opts", no_argument, NULL, VP_IMG_IMAGE_OPTS },                  \
  {                                                                            \
    "force-share", no_argument, NULL, VP_IMG_FORCE_SHARE                       \
  }

/* Where the verb reads only. */
#define VP_IMG_ACCESS_SAFE                                                     \
  {                                                                            \
    "safe", no_argument, NULL, VP_IMG_SAFE                                     \
  }

/* Takes option c (with optarg) where it is one of those; false where it is
 * not, or is wrong, which was said then. */
bool vp_img_access_take (VpImgAccess *access, int c);
/* --image-opts does not go with a format; complains. */
bool vp_img_access_check (const VpImgAccess *access, const char *format);
void vp_img_access_clear (VpImgAccess *access);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VpImgAccess, vp_img_access_clear)

/* Opens what name says and the chain below it, at the person's gate.  format
 * NULL: what the words say, else probed.  flags: VP_IMAGE_NO_LOCK comes from
 * access by itself. */
VpImage *vp_img_open (const VpImgAccess *access, const char *name,
                      const char *format, VpImageFlags flags,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What to call an image that was opened by name: a path, or "json:{...}" where
 * keys or a part of the file were named.  Caller frees. */
char *vp_img_shown_name (const VpImgAccess *access, const char *name,
                         VpImage *image);
