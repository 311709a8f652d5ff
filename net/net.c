/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "net/net.h"

G_DEFINE_QUARK (vp - net - error - quark, vp_net_error)
