/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "storage/error.h"

G_DEFINE_QUARK (vp - image - error - quark, vp_image_error)
