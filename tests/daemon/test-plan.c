/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Plans as data: each folder in plans/ is a case:
 *   wanted.xml   the spec; missing: its file is gone
 *   found.xml    the guest as it is defined and, when it runs, running;
 *                missing: no domain
 *   case.ini     [found] and [volume NAME] as VpFound has them
 *   steps.txt    what must come out; VP_TEST_REGENERATE=1 rewrites it
 * Beside them the property that what is as wanted needs no step. */
#include "config.h"

#include "daemon/plan.h"
#include "daemon/spec-xml.h"

#include <string.h>

static char *
case_file (const char *name, const char *file)
{
  return g_test_build_filename (G_TEST_DIST, "daemon", "plans", name, file,
                                NULL);
}

/* What resolve would fill in, in the simplest way. */
static void
resolve (VpGuest *guest)
{
  if (guest->uuid == NULL)
    guest->uuid = g_strdup ("11111111-2222-3333-4444-555555555555");
  for (guint i = 0; guest->domain_xml == NULL && i < guest->disks->len; i++) {
    VpDisk *disk = g_ptr_array_index (guest->disks, i);

    if (disk->format == NULL)
      disk->format = g_strdup ("qcow2");
    disk->path = g_strdup_printf ("/%s/%s-%s.%s",
                                  disk->pool != NULL ? disk->pool : "default",
                                  guest->name, disk->name, disk->format);
    disk->target = g_strdup_printf ("vd%c", (char) ('a' + i));
  }
  for (guint i = 0; i < guest->nics->len; i++) {
    VpNic *nic = g_ptr_array_index (guest->nics, i);

    if (nic->mac == NULL)
      nic->mac =
          g_strdup_printf ("52:54:00:00:00:%02x", (unsigned) nic->name[0]);
    if (nic->bridge == NULL)
      nic->bridge = g_strdup_printf ("vp-%s", nic->network);
  }
}

static VpGuest *
load_guest (const char *name, const char *file)
{
  g_autofree char *path = case_file (name, file);
  g_autofree char *text = NULL;
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpSpecRules rules = { 0 };
  gsize len = 0;
  VpGuest *guest = NULL;

  if (!g_file_get_contents (path, &text, &len, NULL))
    return NULL;
  guest = vp_spec_parse_guest (path, "web", text, len, &rules, problems);
  for (guint i = 0; i < problems->len; i++) {
    g_autofree char *words =
        vp_problem_to_string (g_ptr_array_index (problems, i));

    g_test_message ("%s", words);
  }
  g_assert_nonnull (guest);
  resolve (guest);
  guest->accel = VP_ACCEL_TCG;
  return guest;
}

static bool
flag (GKeyFile *ini, const char *group, const char *key)
{
  return g_key_file_get_boolean (ini, group, key, NULL);
}

static char *
word (GKeyFile *ini, const char *group, const char *key)
{
  return g_key_file_get_string (ini, group, key, NULL);
}

static void
load_volumes (VpFound *found, GKeyFile *ini)
{
  g_auto (GStrv) groups = g_key_file_get_groups (ini, NULL);

  for (gsize i = 0; groups[i] != NULL; i++) {
    VpFoundVolume *volume = NULL;

    if (!g_str_has_prefix (groups[i], "volume "))
      continue;
    volume = g_new0 (VpFoundVolume, 1);
    volume->disk = g_strdup (groups[i] + strlen ("volume "));
    volume->there = flag (ini, groups[i], "there");
    volume->made = flag (ini, groups[i], "made");
    volume->intended = flag (ini, groups[i], "intended");
    volume->size = g_key_file_get_uint64 (ini, groups[i], "size", NULL);
    volume->format = word (ini, groups[i], "format");
    volume->base = word (ini, groups[i], "base");
    volume->path = word (ini, groups[i], "path");
    g_ptr_array_add (found->volumes, volume);
  }
}

static VpFound *
load_found (const char *name, GKeyFile *ini)
{
  VpFound *found = vp_found_new ();
  g_autofree char *power = word (ini, "found", "power");

  load_volumes (found, ini);
  found->config = load_guest (name, "found.xml");
  found->exists = found->config != NULL;
  if (!found->exists)
    return found;
  found->marked = !flag (ini, "found", "unmarked");
  found->owner = word (ini, "found", "owner");
  found->retired = flag (ini, "found", "retired");
  found->uuid = g_strdup (found->config->uuid);
  found->digest = word (ini, "found", "digest");
  found->live_digest = word (ini, "found", "live-digest");
  found->live_fixed = word (ini, "found", "live-fixed");
  g_assert_true (vp_power_from_string (power, &found->power));
  if (found->power == VP_POWER_RUNNING)
    found->live = vp_guest_ref (found->config);
  return found;
}

static char *
words_of (const VpPlan *plan)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < plan->steps->len; i++) {
    const VpStep *step = g_ptr_array_index (plan->steps, i);
    g_autofree char *words = vp_step_to_string (step);

    g_string_append_printf (text, "%s (%s): %s\n",
                            vp_step_kind_to_string (step->kind),
                            vp_risk_to_string (step->risk), words);
  }
  for (guint i = 0; i < plan->pending->len; i++)
    g_string_append_printf (text, "pending: %s\n",
                            (char *) g_ptr_array_index (plan->pending, i));
  if (plan->restart_required)
    g_string_append (text, "restart required\n");
  if (plan->conflict != NULL)
    g_string_append_printf (text, "conflict %d: %s\n", plan->conflict_code,
                            plan->conflict);
  return g_string_free (text, FALSE);
}

static void
test_case (gconstpointer data)
{
  const char *name = data;
  g_autofree char *ini_path = case_file (name, "case.ini");
  g_autofree char *steps_path = case_file (name, "steps.txt");
  g_autoptr (GKeyFile) ini = g_key_file_new ();
  g_autoptr (VpGuest) wanted = load_guest (name, "wanted.xml");
  g_autoptr (VpFound) found = NULL;
  g_autoptr (VpPlan) plan = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *digest = NULL, *fixed = NULL, *fresh = NULL, *got = NULL,
                  *want = NULL;
  VpPlanInput input = { .wanted = wanted, .name = "web" };

  g_key_file_load_from_file (ini, ini_path, G_KEY_FILE_NONE, &error);
  g_assert_no_error (error);
  found = load_found (name, ini);
  digest = word (ini, "wanted", "digest");
  fresh = word (ini, "wanted", "fresh-warning");
  input.digest = digest;
  fixed = word (ini, "wanted", "fixed");
  input.fixed = fixed;
  input.fresh_warning = fresh;
  input.run = !flag (ini, "wanted", "hold") && wanted != NULL &&
              wanted->power != VP_POWER_STOPPED;
  input.found = found;
  plan = vp_plan_make (&input);
  got = words_of (plan);
  if (g_getenv ("VP_TEST_REGENERATE") != NULL) {
    g_file_set_contents (steps_path, got, -1, &error);
    g_assert_no_error (error);
  }
  g_file_get_contents (steps_path, &want, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (got, ==, want);
}

/* Whatever is wanted: found just so, there is nothing to do. */
static void
test_same (gconstpointer data)
{
  const char *name = data;
  g_autoptr (VpGuest) wanted = load_guest (name, "wanted.xml");
  g_autoptr (VpFound) found = vp_found_new ();
  g_autoptr (VpPlan) plan = NULL;
  VpPlanInput input = {
    .wanted = wanted, .name = "web", .digest = "d", .run = true
  };

  found->exists = true;
  found->marked = true;
  found->uuid = g_strdup (wanted->uuid);
  found->digest = g_strdup ("d");
  found->live_digest = g_strdup ("d");
  found->power = VP_POWER_RUNNING;
  found->config = vp_guest_ref (wanted);
  found->live = vp_guest_ref (wanted);
  for (guint i = 0; wanted->domain_xml == NULL && i < wanted->disks->len; i++) {
    const VpDisk *disk = g_ptr_array_index (wanted->disks, i);
    VpFoundVolume *volume = g_new0 (VpFoundVolume, 1);

    volume->disk = g_strdup (disk->name);
    volume->there = volume->made = true;
    volume->size = disk->size;
    volume->format = g_strdup (disk->format);
    volume->base = g_strdup (disk->from);
    volume->path = g_strdup (disk->path);
    g_ptr_array_add (found->volumes, volume);
  }
  input.found = found;
  plan = vp_plan_make (&input);
  g_assert_cmpuint (plan->steps->len, ==, 0);
  g_assert_cmpuint (plan->pending->len, ==, 0);
  g_assert_null (plan->conflict);
  g_assert_false (plan->restart_required);
}

int
main (int argc, char **argv)
{
  g_autofree char *folder = NULL;
  g_autoptr (GDir) dir = NULL;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const char *name = NULL;

  g_test_init (&argc, &argv, NULL);
  folder = g_test_build_filename (G_TEST_DIST, "daemon", "plans", NULL);
  dir = g_dir_open (folder, 0, NULL);
  g_assert_nonnull (dir);
  while ((name = g_dir_read_name (dir)) != NULL)
    g_ptr_array_add (names, g_strdup (name));
  g_assert_cmpuint (names->len, >, 15);
  for (guint i = 0; i < names->len; i++) {
    char *one = g_ptr_array_index (names, i);
    g_autofree char *path = g_strdup_printf ("/plan/%s", one);
    g_autofree char *same = g_strdup_printf ("/plan/same/%s", one);
    g_autofree char *wanted = case_file (one, "wanted.xml");

    g_test_add_data_func (path, one, test_case);
    if (g_file_test (wanted, G_FILE_TEST_EXISTS))
      g_test_add_data_func (same, one, test_same);
  }
  return g_test_run ();
}
