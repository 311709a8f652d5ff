/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl-forward: port forwards: all of them, and why one does not work. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <stdio.h>

CtlExit
ctl_forward_list (Ctl *ctl, char **args)
{
  static const char *const heads[] = { "GUEST", "FORWARD", "STATE", "REASON",
                                       NULL };
  g_autoptr (CtlTable) table = ctl_table_new (heads);
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GVariant) forwards = NULL;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  reply = ctl_call_manager (ctl, "ListForwards",
                            g_variant_new ("(@a{sv})", ctl_no_options ()),
                            "(aa{sv})", &error);
  if (reply == NULL)
    return ctl_complain ("%s", error->message);
  forwards = g_variant_get_child_value (reply, 0);
  if (ctl->json != CTL_JSON_OFF) {
    ctl_print_json (ctl, forwards);
    return CTL_OK;
  }
  for (size_t i = 0; i < g_variant_n_children (forwards); i++) {
    g_autoptr (GVariant) forward = g_variant_get_child_value (forwards, i);
    const char *state = ctl_text (forward, "state");

    ctl_table_add (table, ctl_text (forward, "guest"), CTL_PLAIN);
    ctl_table_add (table, ctl_text (forward, "words"), CTL_PLAIN);
    ctl_table_add (table, state, ctl_colour_of (state));
    ctl_table_add (table, ctl_text (forward, "reason"), CTL_PLAIN);
  }
  ctl_table_print (ctl, table, "forwards");
  return CTL_OK;
}

static void
print_check (const Ctl *ctl, GVariant *check)
{
  bool ok = ctl_bool (check, "ok");
  g_autofree char *link = ctl_safe (ctl_text (check, "link"));
  g_autofree char *detail = ctl_safe (ctl_text (check, "detail"));
  g_autofree char *cure = ctl_safe (ctl_text (check, "cure"));

  (void) printf ("%s%-6s%s %-10s %s\n",
                 ctl_colour (ctl, ok ? CTL_GREEN : CTL_RED),
                 ok ? "ok" : "broken", ctl_no_colour (ctl), link, detail);
  if (!ok && *cure != '\0')
    (void) printf ("%-6s %-10s %s\n", "", "cure:", cure);
}

CtlExit
ctl_forward_check (Ctl *ctl, char **args)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) reply = NULL;
  g_autoptr (GVariant) checks = NULL;
  bool broken = false;

  if (!ctl_reach (ctl))
    return CTL_FAILED;
  reply =
      ctl_call_manager (ctl, "ForwardCheck",
                        g_variant_new ("(s@a{sv})", args[0], ctl_no_options ()),
                        "(aa{sv})", &error);
  if (reply == NULL)
    return ctl_complain ("%s: %s", args[0], error->message);
  checks = g_variant_get_child_value (reply, 0);
  for (size_t i = 0; i < g_variant_n_children (checks); i++) {
    g_autoptr (GVariant) check = g_variant_get_child_value (checks, i);

    broken |= !ctl_bool (check, "ok");
    if (ctl->json == CTL_JSON_OFF && (!ctl->quiet || !ctl_bool (check, "ok")))
      print_check (ctl, check);
  }
  if (ctl->json != CTL_JSON_OFF)
    ctl_print_json (ctl, checks);
  return broken ? CTL_FAILED : CTL_OK;
}
