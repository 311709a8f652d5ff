/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-config: plain data. */
#include "config.h"

#include "net/net-config.h"

void
vp_net_host_config_free (VpNetHostConfig *config)
{
  if (config == NULL)
    return;
  g_free (config->runtime_dir);
  g_free (config->state_dir);
  g_free (config);
}
