/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* step: one change as data, in the words of an administrator, and as a line
 * of a job's journal.
 *
 * The sentences are a table.  $g, $s, $b and $a stand for the step's guest,
 * subject, before and after; a part in brackets is left out where a value in
 * it is missing, so that one row serves for steps with and without details.
 *
 * A line has six fields with tabs between them: kind, guest, subject, before,
 * after, risk.  "-" is a missing value; backslash, tab, newline and a value
 * that is just "-" are escaped. */
#include "config.h"

#include "daemon/step.h"

#include "daemon/error.h"

#include <string.h>

static const struct {
  const char *name, *words;
} kinds[] = {
  [VP_STEP_VOLUME_CREATE] = { "volume-create", "create volume $s[, $a]" },
  [VP_STEP_VOLUME_GROW] = { "volume-grow", "grow volume $s[ from $b][ to $a]" },
  [VP_STEP_NET] = { "net", "bring up the networks of guest $g[: $s]" },
  [VP_STEP_DEFINE] = { "define", "define guest $g[, $a][, before: $b]" },
  [VP_STEP_ATTACH_DISK] = { "attach-disk", "attach disk $s to guest $g[, $a]" },
  [VP_STEP_DETACH_DISK] = { "detach-disk",
                            "detach disk $s from guest $g[ ($b)], keep its "
                            "volume" },
  [VP_STEP_ATTACH_NIC] = { "attach-nic", "attach NIC $s to guest $g[, $a]" },
  [VP_STEP_DETACH_NIC] = { "detach-nic", "detach NIC $s from guest $g[ ($b)]" },
  [VP_STEP_SET_MEMORY] = { "set-memory",
                           "set the memory of guest $g[ from $b][ to $a]" },
  [VP_STEP_SET_CPUS] = { "set-cpus",
                         "set the CPUs of guest $g[ from $b][ to $a]" },
  [VP_STEP_SET_MARK] = { "set-mark", "mark domain $g as ours[, $a]" },
  [VP_STEP_START] = { "start", "start guest $g[, $a]" },
  [VP_STEP_RESUME] = { "resume", "resume guest $g[, $a]" },
  [VP_STEP_SHUTDOWN] = { "shutdown", "shut down guest $g[, $a]" },
  [VP_STEP_RETIRE] = { "retire",
                       "retire guest $g[, $a]: keep its definition and disks" },
};
G_STATIC_ASSERT (G_N_ELEMENTS (kinds) == VP_STEP_N_KINDS);

static const char *const risks[] = {
  [VP_RISK_LIVE] = "live",
  [VP_RISK_RESTART] = "restart",
  [VP_RISK_DATA_LOSS] = "data-loss",
};

VpStep *
vp_step_new (VpStepKind kind, const char *guest, const char *subject,
             const char *before, const char *after, VpRisk risk)
{
  VpStep *step = g_new0 (VpStep, 1);

  step->kind = kind;
  step->guest = g_strdup (guest);
  step->subject = g_strdup (subject);
  step->before = g_strdup (before);
  step->after = g_strdup (after);
  step->risk = risk;
  return step;
}

VpStep *
vp_step_copy (const VpStep *step)
{
  return vp_step_new (step->kind, step->guest, step->subject, step->before,
                      step->after, step->risk);
}

void
vp_step_free (VpStep *step)
{
  if (!step)
    return;
  g_free (step->guest);
  g_free (step->subject);
  g_free (step->before);
  g_free (step->after);
  g_free (step);
}

const char *
vp_step_kind_to_string (VpStepKind kind)
{
  g_return_val_if_fail ((unsigned) kind < G_N_ELEMENTS (kinds), NULL);
  return kinds[kind].name;
}

const char *
vp_risk_to_string (VpRisk risk)
{
  g_return_val_if_fail ((unsigned) risk < G_N_ELEMENTS (risks), NULL);
  return risks[risk];
}

static const char *
value_of (const VpStep *step, char letter)
{
  switch (letter) {
  case 'g': return step->guest;
  case 's': return step->subject;
  case 'b': return step->before;
  case 'a': return step->after;
  default: g_return_val_if_reached (NULL);
  }
}

/* Appends words up to end; false, with nothing appended, where a value that
 * they need is missing. */
static bool
append_words (GString *text, const VpStep *step, const char *words,
              const char *end)
{
  size_t before = text->len;

  for (const char *p = words; p < end; p++) {
    const char *value;

    if (*p != '$') {
      g_string_append_c (text, *p);
      continue;
    }
    value = value_of (step, *++p);
    if (!value) {
      g_string_truncate (text, before);
      return false;
    }
    g_string_append (text, value);
  }
  return true;
}

char *
vp_step_to_string (const VpStep *step)
{
  GString *text = g_string_new (NULL);
  const char *p;

  g_return_val_if_fail ((unsigned) step->kind < G_N_ELEMENTS (kinds), NULL);
  p = kinds[step->kind].words;
  while (*p) {
    bool optional = *p == '[';
    const char *start = optional ? p + 1 : p;
    const char *end = start + strcspn (start, "[]");

    /* A sentence without its subject still says what is done. */
    if (!append_words (text, step, start, end) && !optional)
      g_string_append_printf (text, "%s %s", kinds[step->kind].name,
                              step->guest ? step->guest : "");
    p = *end == ']' ? end + 1 : end;
  }
  return g_string_free (text, FALSE);
}

static void
append_field (GString *line, const char *value)
{
  if (!value) {
    g_string_append_c (line, '-');
    return;
  }
  if (strcmp (value, "-") == 0) {
    g_string_append (line, "\\-");
    return;
  }
  for (const char *p = value; *p; p++) {
    switch (*p) {
    case '\\': g_string_append (line, "\\\\"); break;
    case '\t': g_string_append (line, "\\t"); break;
    case '\n': g_string_append (line, "\\n"); break;
    default: g_string_append_c (line, *p); break;
    }
  }
}

char *
vp_step_to_line (const VpStep *step)
{
  const char *const values[] = { step->guest, step->subject, step->before,
                                 step->after };
  GString *line = g_string_new (vp_step_kind_to_string (step->kind));

  for (size_t i = 0; i < G_N_ELEMENTS (values); i++) {
    g_string_append_c (line, '\t');
    append_field (line, values[i]);
  }
  g_string_append_printf (line, "\t%s", vp_risk_to_string (step->risk));
  return g_string_free (line, FALSE);
}

/* False for an escape that append_field () does not write. */
static bool
read_field (const char *field, char **ret_value)
{
  g_autoptr (GString) value = NULL;

  if (strcmp (field, "-") == 0) {
    *ret_value = NULL;
    return true;
  }
  value = g_string_new (NULL);
  for (const char *p = field; *p; p++) {
    if (*p != '\\') {
      g_string_append_c (value, *p);
      continue;
    }
    switch (*++p) {
    case '\\': g_string_append_c (value, '\\'); break;
    case 't': g_string_append_c (value, '\t'); break;
    case 'n': g_string_append_c (value, '\n'); break;
    case '-': g_string_append_c (value, '-'); break;
    default: return false;
    }
  }
  *ret_value = g_string_free (g_steal_pointer (&value), FALSE);
  return true;
}

VpStep *
vp_step_from_line (const char *line, GError **error)
{
  g_auto (GStrv) fields = g_strsplit (line, "\t", 0);
  g_autoptr (VpStep) step = g_new0 (VpStep, 1);
  size_t kind = 0, risk = 0;

  if (g_strv_length (fields) != 6)
    goto malformed;
  while (kind < G_N_ELEMENTS (kinds) &&
         strcmp (kinds[kind].name, fields[0]) != 0)
    kind++;
  while (risk < G_N_ELEMENTS (risks) && strcmp (risks[risk], fields[5]) != 0)
    risk++;
  if (kind == G_N_ELEMENTS (kinds) || risk == G_N_ELEMENTS (risks) ||
      !read_field (fields[1], &step->guest) ||
      !read_field (fields[2], &step->subject) ||
      !read_field (fields[3], &step->before) ||
      !read_field (fields[4], &step->after))
    goto malformed;
  step->kind = (VpStepKind) kind;
  step->risk = (VpRisk) risk;
  return g_steal_pointer (&step);

malformed:
  g_set_error (error, VP_ERROR, VP_ERROR_FAILED,
               "not a step of a job's journal: \"%s\"", line);
  return NULL;
}
