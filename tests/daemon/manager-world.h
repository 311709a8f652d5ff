/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* manager-world: a manager on a hypervisor in memory, with folders of its own,
 * for the tests of the manager. */
#pragma once

#include "daemon/manager.h"
#include "tests/daemon/fake-host.h"

#define MINIMAL                                                                \
  "<guest>\n  <memory>256M</memory>\n  <nic bridge=\"br0\"/>\n</guest>\n"

typedef struct {
  char *root, *specs, *guests;
  VpConfig config;
  VpHost *host;
  VpStore *store;
  VpManager *manager;
} World;

/* For g_test_add (). */
void world_set_up (World *world, gconstpointer data);
void world_tear_down (World *world, gconstpointer data);
/* The manager alone: its folders and the hypervisor stay. */
void world_start_manager (World *world);
void world_stop_manager (World *world);

/* As an editor does it: another name, then rename. */
void world_drop_in (World *world, const char *folder, const char *name,
                    const char *text);
void world_drop (World *world, const char *name, const char *text);
void world_take_away (World *world, const char *name);
void world_reload (World *world);
/* Drops it and waits until it runs. */
void world_bring_up (World *world, const char *name, const char *text);

const VpGuestStatus *world_status (World *world, const char *name);
bool world_is_synced (World *world, const char *name, const char *state);
/* All passes that were wanted are over. */
bool world_is_quiet (World *world);
/* What the hypervisor was asked to do since the last time. */
void world_assert_log (World *world, const char *expected);

gboolean world_on_late (gpointer data);
/* Runs the loop until the condition holds; fails after 10 s. */
#define WAIT(condition)                                                        \
  do {                                                                         \
    bool late_ = false;                                                        \
    guint timer_ = g_timeout_add (10000, world_on_late, &late_);               \
    while (!(condition) && !late_)                                             \
      g_main_context_iteration (NULL, TRUE);                                   \
    g_assert_true (condition);                                                 \
    if (!late_)                                                                \
      g_source_remove (timer_);                                                \
  } while (0)
