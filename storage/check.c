/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check: hands an image to its driver's check and keeps the notes. */
#include "config.h"

#include "storage/check.h"

#include <stdarg.h>

#include "storage/error.h"
#include "storage/image-internal.h"

#define MAX_NOTES 1000u

bool
vp_check_image (VpImage *image, VpRepair repair, const VpProgress *progress,
                VpCheckResult *ret_result, GError **error)
{
  if (!image->format->check) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                         "This image format does not support checks");
    return false;
  }
  if (repair != VP_REPAIR_NOTHING && !(image->flags & VP_IMAGE_WRITABLE)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
                 "%s: opened read-only", image->file->name);
    return false;
  }
  g_auto (VpCheckResult)
      result = { .messages = g_ptr_array_new_with_free_func (g_free) };
  if (!image->format->check (image->state, repair, progress, &result, error))
    return false;
  *ret_result = result;
  result.messages = NULL;
  return true;
}

void
vp_check_result_clear (VpCheckResult *result)
{
  g_clear_pointer (&result->messages, g_ptr_array_unref);
}

void
vp_check_result_note (VpCheckResult *result, const char *format, ...)
{
  if (!result->messages || result->messages->len >= MAX_NOTES)
    return;
  va_list args;
  va_start (args, format);
  g_ptr_array_add (result->messages, g_strdup_vprintf (format, args));
  va_end (args);
}
