/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* describe: what stands where in an image's header, byte by byte, also of an
 * image that cannot be opened.  For people who look for what is wrong. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/format.h"

typedef struct {
  uint64_t offset; /* in the file, bytes */
  uint64_t length; /* bytes */
  char *name;      /* as the specification has it */
  bool has_value;  /* it is a number */
  uint64_t value;
  char *meaning; /* in words; text from the image as it is, made UTF-8 */
} VpHeaderFact;

/* Of VpHeaderFact, in the order of the file.  VP_IMAGE_ERROR_UNSUPPORTED where
 * the format has no header; too short a file is described as far as it goes. */
GPtrArray *vp_describe_header (VpFile *file, const VpFormat *format,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For drivers; meaning is taken over, NULL: none. */
void vp_describe_number (GPtrArray *facts, uint64_t offset, uint64_t length,
                         const char *name, uint64_t value, char *meaning);
void vp_describe_text (GPtrArray *facts, uint64_t offset, uint64_t length,
                       const char *name, char *meaning);
