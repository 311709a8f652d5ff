/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-host: a host in memory behind net-ops.  It keeps what iptables,
 * rtnetlink, the settings and dnsmasq would keep, and calls back after each
 * change, so that a test can look at what a crash there would leave. */
#pragma once

#include "net/net-ops.h"

typedef struct FakeHost FakeHost;
struct FakeHost {
  VpNetFound *now;
  char *state; /* text of net.state */
  int left;    /* changes until the fault; < 0: none */
  unsigned n_changes;
  void (*after) (FakeHost *host);
  int next_index;
};

FakeHost *fake_host_new (void);
void fake_host_free (FakeHost *host);
VpNetFound *fake_host_observe (const VpNetHostConfig *config,
                               const VpNetWanted *wanted, gpointer user_data,
                               GError **error);
bool fake_host_change (const VpNetHostConfig *config, const VpNetChange *change,
                       gpointer user_data, GError **error);
/* All of it as text, to compare; caller frees. */
char *fake_host_to_string (const FakeHost *host);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (FakeHost, fake_host_free)
