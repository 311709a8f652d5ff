/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/configuration.h"
#include "daemon/error.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

#include <string.h>
#include <unistd.h>

static VpConfig *
load (const char *text, GError **error)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("vprovd-conf-XXXXXX", &path, NULL);
  VpConfig *config;

  g_assert_cmpint (fd, >=, 0);
  close (fd);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  config = vp_config_load (path, error);
  /* The temporary path is not worth asserting: only what follows it. */
  if (error && *error) {
    g_auto (GStrv) parts = g_strsplit ((*error)->message, path, -1);
    char *message = g_strjoinv ("CONF", parts);

    g_free ((*error)->message);
    (*error)->message = message;
  }
  g_unlink (path);
  return config;
}

static void
test_defaults (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpConfig) config = load ("# nothing\n\n[Daemon]\n", &error);

  g_assert_no_error (error);
  g_assert_cmpstr (config->spec_dirs[0], ==, VP_SYSCONFDIR "/vprovd");
  g_assert_cmpstr (config->spec_dirs[1], ==, "/run/vprovd");
  g_assert_cmpstr (config->spec_dirs[2], ==, "/usr/local/lib/vprovd");
  g_assert_cmpstr (config->spec_dirs[3], ==, "/usr/lib/vprovd");
  g_assert_null (config->spec_dirs[4]);
  g_assert_cmpstr (config->state_dir, ==, VP_STATEDIR);
  g_assert_cmpstr (config->runtime_dir, ==, "/run/vprovd");
  g_assert_cmpstr (config->libvirt_uri, ==, "qemu:///system");
  g_assert_cmpstr (config->bus, ==, "system");
  g_assert_cmpstr (config->worker_program, ==, VP_BINDIR "/vprov-img");
  g_assert_true (config->manage_networks);
  g_assert_false (config->allow_qemu_commandline);
  g_assert_true (config->apply_live && config->apply_create &&
                 config->apply_stop);
  g_assert_cmpuint (config->rescan_s, ==, 60);
  g_assert_cmpuint (config->settle_ms, ==, 50);
  g_assert_cmpuint (config->shutdown_timeout_s, ==, 90);
  g_assert_cmpuint (config->max_jobs, ==, 4);
  /* Never root. */
  if (geteuid () == 0)
    g_assert_cmpstr (config->worker_user, !=, "root");
  else
    g_assert_null (config->worker_user);
}

static void
test_all (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpConfig) config = load ("; a comment\n"
                                      "  [Daemon]  \n"
                                      "SpecDirectories = /a  /b\t/c\n"
                                      "StateDirectory=/s p a c e\n"
                                      "RuntimeDirectory=/r\n"
                                      "LibvirtUri=test:///default\n"
                                      "Bus=unix:path=/tmp/bus\n"
                                      "WorkerProgram=/w\n"
                                      "WorkerUser=\n"
                                      "ManageNetworks=No\n"
                                      "AllowQemuCommandline=true\n"
                                      "AutoApply=create, live\n"
                                      "RescanSec=1\n"
                                      "SettleMSec=0\n"
                                      "ShutdownTimeoutSec=7\r\n"
                                      "MaxJobs=64",
                                      &error);

  g_assert_no_error (error);
  g_assert_cmpuint (g_strv_length (config->spec_dirs), ==, 3);
  g_assert_cmpstr (config->spec_dirs[2], ==, "/c");
  g_assert_cmpstr (config->state_dir, ==, "/s p a c e");
  g_assert_cmpstr (config->runtime_dir, ==, "/r");
  g_assert_cmpstr (config->libvirt_uri, ==, "test:///default");
  g_assert_cmpstr (config->bus, ==, "unix:path=/tmp/bus");
  g_assert_cmpstr (config->worker_program, ==, "/w");
  g_assert_null (config->worker_user);
  g_assert_false (config->manage_networks);
  g_assert_true (config->allow_qemu_commandline);
  g_assert_true (config->apply_create && config->apply_live);
  g_assert_false (config->apply_stop);
  g_assert_cmpuint (config->rescan_s, ==, 1);
  g_assert_cmpuint (config->settle_ms, ==, 0);
  g_assert_cmpuint (config->shutdown_timeout_s, ==, 7);
  g_assert_cmpuint (config->max_jobs, ==, 64);
}

static void
test_empty_is_default (void)
{
  g_autoptr (VpConfig) config =
      load ("[Daemon]\nLibvirtUri=\nRescanSec=\nAutoApply=none\n", NULL);

  g_assert_nonnull (config);
  g_assert_cmpstr (config->libvirt_uri, ==, "qemu:///system");
  g_assert_cmpuint (config->rescan_s, ==, 60);
  g_assert_false (config->apply_live || config->apply_create ||
                  config->apply_stop);
}

/* One mistake in each, with its line and words that help. */
static void
test_mistakes (void)
{
  static const struct {
    const char *text, *message;
  } cases[] = {
    { "[Daemon]\nMaxJob=4\n",
      "CONF:2: unknown key \"MaxJob\", see vprovd.conf(5)" },
    { "[Daemon]\nmaxjobs=4\n",
      "CONF:2: unknown key \"maxjobs\", it is spelled \"MaxJobs\"" },
    { "\n[Demon]\nMaxJobs=none\n",
      "CONF:2: unknown section [Demon], the only one is [Daemon]" },
    { "[Daemon\n", "CONF:1: the section's name lacks its \"]\"" },
    { "MaxJobs=4\n", "CONF:1: \"MaxJobs=4\" is not below [Daemon]" },
    { "[Daemon]\nMaxJobs\n",
      "CONF:2: \"MaxJobs\" is neither Key=value nor a [section]" },
    { "[Daemon]\nMaxJobs=0\n",
      "CONF:2: MaxJobs=: \"0\" is not a number from 1 to 64" },
    { "[Daemon]\nMaxJobs=65\n",
      "CONF:2: MaxJobs=: \"65\" is not a number from 1 to 64" },
    { "[Daemon]\nMaxJobs=4x\n",
      "CONF:2: MaxJobs=: \"4x\" is not a number from 1 to 64" },
    { "[Daemon]\nRescanSec=-1\n",
      "CONF:2: RescanSec=: \"-1\" is not a number from 1 to 86400" },
    { "[Daemon]\nMaxJobs=4\n\nMaxJobs=5\n",
      "CONF:4: MaxJobs= is stated twice, first in line 2" },
    { "[Daemon]\nManageNetworks=perhaps\n",
      "CONF:2: ManageNetworks=: \"perhaps\" is neither yes nor no" },
    { "[Daemon]\nStateDirectory=var\n",
      "CONF:2: StateDirectory=: \"var\" is not an absolute path" },
    { "[Daemon]\nSpecDirectories=/a b\n",
      "CONF:2: SpecDirectories=: \"b\" is not an absolute path" },
    { "[Daemon]\nLibvirtUri=qemu\n",
      "CONF:2: LibvirtUri=: \"qemu\" is not a connection URI such as "
      "qemu:///system" },
    { "[Daemon]\nBus=private\n",
      "CONF:2: Bus=: \"private\" is neither system, session nor a D-Bus "
      "address" },
    { "[Daemon]\nAutoApply=create,delete\n",
      "CONF:2: AutoApply=: \"delete\" is none of create, live, stop; or none "
      "alone" },
    { "[Daemon]\nAutoApply=none,live\n",
      "CONF:2: AutoApply=: \"none\" stands alone" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (load (cases[i].text, &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
    g_assert_cmpstr (error->message, ==, cases[i].message);
  }
}

static void
test_all_mistakes_at_once (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (load ("x\n[Daemon]\ny=1\nMaxJobs=z\n[Other]\nq=1\n", &error));
  g_assert_cmpstr (error->message, ==,
                   "CONF:1: \"x\" is not below [Daemon]\n"
                   "CONF:3: unknown key \"y\", see vprovd.conf(5)\n"
                   "CONF:4: MaxJobs=: \"z\" is not a number from 1 to 64\n"
                   "CONF:5: unknown section [Other], the only one is "
                   "[Daemon]");
}

static void
test_not_text (void)
{
  g_autofree char *huge = g_strnfill (70 * 1024, '#');
  g_autoptr (GError) error = NULL;

  g_assert_null (load ("[Daemon]\n\xff\xfe\n", &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
  g_clear_error (&error);
  g_assert_null (load (huge, &error));
  g_assert_error (error, VP_ERROR, VP_ERROR_INVALID_SPEC);
}

static void
test_absent (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vp_config_load ("/nonexistent/vprovd.conf", &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  vp_config_free (NULL);
}

/* What we install explains every key, by its default. */
static void
test_installed (void)
{
  const char *srcdir = g_getenv ("VP_SRCDIR");
  g_autofree char *path = NULL;
  g_autofree char *text = NULL;
  g_autofree char *stated = NULL;
  g_autoptr (GRegex) regex = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (VpConfig) config = NULL;
  g_autoptr (VpConfig) defaults = load ("[Daemon]\n", NULL);
  unsigned n_keys = 0;

  if (!srcdir) {
    g_test_skip ("VP_SRCDIR is not set: run by make check");
    return;
  }
  path = g_build_filename (srcdir, "etc", "vprovd.conf", NULL);
  config = vp_config_load (path, &error);
  g_assert_no_error (error);
  g_clear_pointer (&config, vp_config_free);

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  regex = g_regex_new ("^#([A-Z][A-Za-z]+=)", G_REGEX_MULTILINE, 0, NULL);
  stated = g_regex_replace (regex, text, -1, 0, "\\1", 0, &error);
  g_assert_no_error (error);
  config = load (stated, &error);
  g_assert_no_error (error);
  for (const char *p = stated; (p = strstr (p, "\n")); p++)
    n_keys += g_ascii_isupper (p[1]);
  g_assert_cmpuint (n_keys, ==, 14);
  g_assert_cmpuint (g_strv_length (config->spec_dirs), ==,
                    g_strv_length (defaults->spec_dirs));
  g_assert_cmpstr (config->libvirt_uri, ==, defaults->libvirt_uri);
  g_assert_cmpstr (config->bus, ==, defaults->bus);
  g_assert_cmpint (config->manage_networks, ==, defaults->manage_networks);
  g_assert_cmpint (config->allow_qemu_commandline, ==,
                   defaults->allow_qemu_commandline);
  g_assert_cmpint (config->apply_live, ==, defaults->apply_live);
  g_assert_cmpint (config->apply_create, ==, defaults->apply_create);
  g_assert_cmpint (config->apply_stop, ==, defaults->apply_stop);
  g_assert_cmpuint (config->rescan_s, ==, defaults->rescan_s);
  g_assert_cmpuint (config->settle_ms, ==, defaults->settle_ms);
  g_assert_cmpuint (config->shutdown_timeout_s, ==,
                    defaults->shutdown_timeout_s);
  g_assert_cmpuint (config->max_jobs, ==, defaults->max_jobs);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/configuration/defaults", test_defaults);
  g_test_add_func ("/configuration/all", test_all);
  g_test_add_func ("/configuration/empty-is-default", test_empty_is_default);
  g_test_add_func ("/configuration/mistakes", test_mistakes);
  g_test_add_func ("/configuration/all-mistakes", test_all_mistakes_at_once);
  g_test_add_func ("/configuration/not-text", test_not_text);
  g_test_add_func ("/configuration/absent", test_absent);
  g_test_add_func ("/configuration/installed", test_installed);
  return g_test_run ();
}
