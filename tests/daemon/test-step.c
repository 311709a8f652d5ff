/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/error.h"
#include "daemon/step.h"

#include <string.h>

/* Every kind in words, with and without its details. */
static void
test_words (void)
{
  static const struct {
    VpStepKind kind;
    const char *subject, *before, *after, *words;
  } cases[] = {
    { VP_STEP_VOLUME_CREATE, "default/web-root.qcow2", NULL,
      "20 GiB qcow2 on debian-12",
      "create volume default/web-root.qcow2, 20 GiB qcow2 on debian-12" },
    { VP_STEP_VOLUME_CREATE, "default/web-root.qcow2", NULL, NULL,
      "create volume default/web-root.qcow2" },
    { VP_STEP_VOLUME_GROW, "default/web-root.qcow2", "20 GiB", "30 GiB",
      "grow volume default/web-root.qcow2 from 20 GiB to 30 GiB" },
    { VP_STEP_VOLUME_GROW, "default/web-root.qcow2", NULL, "30 GiB",
      "grow volume default/web-root.qcow2 to 30 GiB" },
    { VP_STEP_NET, "default", NULL, NULL,
      "bring up the networks of guest web: default" },
    { VP_STEP_NET, NULL, NULL, NULL, "bring up the networks of guest web" },
    { VP_STEP_DEFINE, NULL, NULL, NULL, "define guest web" },
    { VP_STEP_DEFINE, NULL, NULL, "2 CPUs", "define guest web, 2 CPUs" },
    { VP_STEP_ATTACH_DISK, "data", NULL, "vdb",
      "attach disk data to guest web, vdb" },
    { VP_STEP_DETACH_DISK, "data", "vdb", NULL,
      "detach disk data from guest web (vdb), keep its volume" },
    { VP_STEP_ATTACH_NIC, "nic1", NULL, NULL, "attach NIC nic1 to guest web" },
    { VP_STEP_DETACH_NIC, "nic1", NULL, NULL,
      "detach NIC nic1 from guest web" },
    { VP_STEP_SET_MEMORY, NULL, "1 GiB", "2 GiB",
      "set the memory of guest web from 1 GiB to 2 GiB" },
    { VP_STEP_SET_CPUS, NULL, "1", "2",
      "set the CPUs of guest web from 1 to 2" },
    { VP_STEP_SET_MARK, NULL, NULL, NULL, "mark domain web as ours" },
    { VP_STEP_START, NULL, NULL, NULL, "start guest web" },
    { VP_STEP_RESUME, NULL, NULL, NULL, "resume guest web" },
    { VP_STEP_SHUTDOWN, NULL, NULL, NULL, "shut down guest web" },
    { VP_STEP_RETIRE, NULL, NULL, NULL,
      "retire guest web: keep its definition and disks" },
  };
  bool seen[VP_STEP_N_KINDS] = { false };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VpStep) step =
        vp_step_new (cases[i].kind, "web", cases[i].subject, cases[i].before,
                     cases[i].after, VP_RISK_LIVE);
    g_autofree char *words = vp_step_to_string (step);

    g_assert_cmpstr (words, ==, cases[i].words);
    seen[cases[i].kind] = true;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (seen); i++)
    g_assert_true (seen[i]);
}

/* A step that lacks what its sentence needs still names kind and guest. */
static void
test_words_without_subject (void)
{
  g_autoptr (VpStep) step =
      vp_step_new (VP_STEP_ATTACH_DISK, "web", NULL, NULL, NULL, VP_RISK_LIVE);
  g_autofree char *words = vp_step_to_string (step);

  g_assert_nonnull (strstr (words, "attach-disk web"));
}

static void
test_names (void)
{
  for (unsigned i = 0; i < VP_STEP_N_KINDS; i++) {
    g_assert_nonnull (vp_step_kind_to_string ((VpStepKind) i));
    for (unsigned k = 0; k < i; k++)
      g_assert_cmpstr (vp_step_kind_to_string ((VpStepKind) i), !=,
                       vp_step_kind_to_string ((VpStepKind) k));
  }
  g_assert_cmpstr (vp_step_kind_to_string (VP_STEP_VOLUME_CREATE), ==,
                   "volume-create");
  g_assert_cmpstr (vp_risk_to_string (VP_RISK_LIVE), ==, "live");
  g_assert_cmpstr (vp_risk_to_string (VP_RISK_RESTART), ==, "restart");
  g_assert_cmpstr (vp_risk_to_string (VP_RISK_DATA_LOSS), ==, "data-loss");
}

static void
test_line (void)
{
  static const char *const values[] = {
    NULL, "", "-", "--", "plain", "a\tb", "a\nb", "a\\b", "\\", "\\-", "\\t",
  };

  for (unsigned kind = 0; kind < VP_STEP_N_KINDS; kind++) {
    for (size_t i = 0; i < G_N_ELEMENTS (values); i++) {
      const char *other = values[(i + 1) % G_N_ELEMENTS (values)];
      VpRisk risk = (VpRisk) (i % 3);
      g_autoptr (VpStep) step =
          vp_step_new ((VpStepKind) kind, "web", values[i], other, "x", risk);
      g_autofree char *line = vp_step_to_line (step);
      g_autoptr (GError) error = NULL;
      g_autoptr (VpStep) back = vp_step_from_line (line, &error);

      g_assert_no_error (error);
      g_assert_null (strchr (line, '\n'));
      g_assert_cmpint ((int) back->kind, ==, (int) kind);
      g_assert_cmpstr (back->guest, ==, "web");
      g_assert_cmpstr (back->subject, ==, values[i]);
      g_assert_cmpstr (back->before, ==, other);
      g_assert_cmpstr (back->after, ==, "x");
      g_assert_cmpint ((int) back->risk, ==, (int) risk);
    }
  }
}

static void
test_line_text (void)
{
  g_autoptr (VpStep) step =
      vp_step_new (VP_STEP_VOLUME_GROW, "web", "default/web-root.qcow2",
                   "20 GiB", NULL, VP_RISK_RESTART);
  g_autofree char *line = vp_step_to_line (step);

  g_assert_cmpstr (line, ==,
                   "volume-grow\tweb\tdefault/web-root.qcow2\t20 GiB\t-\t"
                   "restart");
}

static void
test_bad_lines (void)
{
  static const char *const lines[] = {
    "",
    "start",
    "start\tweb\t-\t-\t-",
    "start\tweb\t-\t-\t-\tlive\tmore",
    "explode\tweb\t-\t-\t-\tlive",
    "start\tweb\t-\t-\t-\tharmless",
    "start\tweb\t\\q\t-\t-\tlive",
    "start\tweb\tends with \\\t-\t-\tlive",
  };

  for (size_t i = 0; i < G_N_ELEMENTS (lines); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vp_step_from_line (lines[i], &error));
    g_assert_error (error, VP_ERROR, VP_ERROR_FAILED);
  }
}

static void
test_copy (void)
{
  g_autoptr (VpStep) step =
      vp_step_new (VP_STEP_SET_CPUS, "web", NULL, "1", "2", VP_RISK_RESTART);
  g_autoptr (VpStep) copy = vp_step_copy (step);
  g_autofree char *a = vp_step_to_line (step);
  g_autofree char *b = vp_step_to_line (copy);

  g_assert_cmpstr (a, ==, b);
  g_assert_true (copy->before != step->before);
  vp_step_free (NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/step/words", test_words);
  g_test_add_func ("/step/words-without-subject", test_words_without_subject);
  g_test_add_func ("/step/names", test_names);
  g_test_add_func ("/step/line", test_line);
  g_test_add_func ("/step/line-text", test_line_text);
  g_test_add_func ("/step/bad-lines", test_bad_lines);
  g_test_add_func ("/step/copy", test_copy);
  return g_test_run ();
}
