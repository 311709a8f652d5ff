/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "storage/error.h"

/* Not G_DEFINE_QUARK: threads that fail first at once would race for its
 * static variable. */
GQuark
vp_image_error_quark (void)
{
  return g_quark_from_static_string ("vp-image-error-quark");
}
