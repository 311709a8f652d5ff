/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-driver: brings the network namespace it runs in to what a file says,
 * for the tests with real traffic.
 *
 *   net-driver RUNTIME STATE apply|plan FILE [fail N|die N]
 *   net-driver RUNTIME STATE check FILE ID
 *   net-driver RUNTIME STATE teardown
 *   net-driver RUNTIME STATE watch      prints "ready", then "foreign" or
 *                                       "own" for each burst of events
 *   net-driver - - used | generation
 *
 * The file, one fact per line:
 *   net NAME ADDRESS/PREFIX nat|isolated
 *   host NET GUEST NIC MAC ADDRESS
 *   forward GUEST ID tcp|udp FIRST LAST TO NET ADDRESS
 *
 * "fail N" makes the Nth change fail, "die N" kills the process before it:
 * what kill -9 does at that place. */
#include "config.h"

#include "net/net-apply.h"
#include "net/net-ops.h"
#include "net/nftables.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned
number (const char *text)
{
  guint64 value;

  if (!g_ascii_string_to_unsigned (text, 10, 0, 65535, &value, NULL))
    g_error ("not a port: %s", text);
  return (unsigned) value;
}

static void
read_fact (VpNetWanted *wanted, char **word)
{
  guint n = g_strv_length (word);

  if (n == 4 && strcmp (word[0], "net") == 0) {
    VpNet *net = vp_net_new (word[1]);
    g_assert_true (vp_cidr_parse (word[2], &net->address));
    net->kind =
        strcmp (word[3], "isolated") == 0 ? VP_NET_ISOLATED : VP_NET_NAT;
    g_ptr_array_add (wanted->nets, net);
  } else if (n == 6 && strcmp (word[0], "host") == 0) {
    const VpNet *net = vp_net_wanted_find (wanted, word[1]);
    VpMac mac;
    VpAddr addr;
    g_assert_nonnull (net);
    g_assert_true (vp_mac_parse (word[4], &mac));
    g_assert_true (vp_addr_parse (word[5], &addr));
    g_ptr_array_add (net->hosts,
                     vp_net_host_new (word[2], word[3], &mac, &addr));
  } else if (n == 9 && strcmp (word[0], "forward") == 0) {
    VpNetForward *forward = vp_net_forward_new (word[1], word[2]);
    forward->udp = strcmp (word[3], "udp") == 0;
    forward->first = (uint16_t) number (word[4]);
    forward->last = (uint16_t) number (word[5]);
    forward->to_first = (uint16_t) number (word[6]);
    forward->to_last =
        (uint16_t) (forward->to_first + forward->last - forward->first);
    forward->network = g_strdup (word[7]);
    g_assert_true (vp_addr_parse (word[8], &forward->target));
    g_ptr_array_add (wanted->forwards, forward);
  } else if (n > 0 && word[0][0] != '#' && word[0][0] != '\0')
    g_error ("not a fact: %s", word[0]);
}

static VpNetWanted *
read_wanted (const char *path)
{
  VpNetWanted *wanted = vp_net_wanted_new ();
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  g_autoptr (GError) error = NULL;

  if (!g_file_get_contents (path, &text, NULL, &error))
    g_error ("%s", error->message);
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    g_auto (GStrv) words = g_strsplit (*line, " ", -1);
    read_fact (wanted, words);
  }
  return wanted;
}

/* --- a change that goes wrong ------------------------------------------ */

typedef struct {
  int left; /* changes until the fault; < 0: none */
  bool die;
} Fault;

static bool
faulty_change (const VpNetHostConfig *config, const VpNetChange *change,
               gpointer user_data, GError **error)
{
  Fault *fault = user_data;

  if (change->kind != VP_CHANGE_NOTE && fault->left-- == 0) {
    if (fault->die)
      (void) raise (SIGKILL);
    g_set_error (error, VP_NET_ERROR, VP_NET_ERROR_FAILED, "fault on demand");
    return false;
  }
  return vp_net_host_change (config, change, NULL, error);
}

/* --- verbs ------------------------------------------------------------- */

static int
complain (const GError *error)
{
  fprintf (stderr, "net-driver: %s\n", error->message);
  return 1;
}

static int
apply (const VpNetHostConfig *config, const char *path, bool dry_run,
       Fault *fault)
{
  static const VpNetOps ops = { vp_net_host_observe, faulty_change };
  g_autoptr (VpNetWanted) wanted = read_wanted (path);
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetReport) report =
      vp_net_apply_with (&ops, fault, config, wanted, dry_run, &error);

  if (report == NULL)
    return complain (error);
  for (guint i = 0; i < report->steps->len; i++) {
    const VpNetStep *step = report->steps->pdata[i];
    printf ("step %s%s%s\n", step->guest != NULL ? step->guest : "",
            step->guest != NULL ? ": " : "", step->words);
  }
  for (guint i = 0; i < report->forwards->len; i++) {
    const VpForwardStatus *status = report->forwards->pdata[i];
    printf ("forward %s %s %s\n", status->id,
            vp_forward_state_to_string (status->state),
            status->reason != NULL ? status->reason : "-");
  }
  for (guint i = 0; i < report->warnings->len; i++)
    printf ("warning %s\n", (char *) report->warnings->pdata[i]);
  printf ("writes %u\n", report->writes);
  return 0;
}

static int
check (const VpNetHostConfig *config, const char *path, const char *id)
{
  g_autoptr (VpNetWanted) wanted = read_wanted (path);

  for (guint i = 0; i < wanted->forwards->len; i++) {
    const VpNetForward *forward = wanted->forwards->pdata[i];
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) checks = NULL;

    if (strcmp (forward->id, id) != 0)
      continue;
    checks = vp_net_forward_check (config, wanted, forward, &error);
    if (checks == NULL)
      return complain (error);
    for (guint c = 0; c < checks->len; c++) {
      const VpForwardCheck *one = checks->pdata[c];
      printf ("%s %s: %s\n", one->link, one->ok ? "ok" : "BROKEN", one->detail);
      if (one->cure != NULL)
        printf ("  cure: %s\n", one->cure);
    }
    return 0;
  }
  return 1;
}

static int
watch (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpNetWatch) watcher = vp_net_watch_new (&error);
  struct pollfd poller = { .fd = -1, .events = POLLIN };

  if (watcher == NULL)
    return complain (error);
  poller.fd = vp_net_watch_get_fd (watcher);
  puts ("ready");
  for (;;) {
    (void) fflush (stdout);
    if (poll (&poller, 1, 60000) <= 0)
      return 0;
    puts (vp_net_watch_drain (watcher) ? "foreign" : "own");
  }
}

static int
used (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) prefixes = vp_net_used_prefixes (&error);
  VpCidr chosen;
  g_autofree char *text = NULL;

  if (prefixes == NULL || !vp_net_choose_prefix (prefixes, &chosen, &error))
    return complain (error);
  for (guint i = 0; i < prefixes->len; i++) {
    g_autofree char *one =
        vp_cidr_to_string (&g_array_index (prefixes, VpCidr, i));
    puts (one);
  }
  text = vp_cidr_to_string (&chosen);
  printf ("chosen %s\n", text);
  return 0;
}

int
main (int argc, char **argv)
{
  VpNetHostConfig config = { 0 };
  g_autoptr (GError) error = NULL;
  Fault fault = { .left = -1 };
  const char *verb;

  if (argc < 4) {
    fprintf (stderr, "usage: net-driver RUNTIME STATE VERB [FILE [...]]\n");
    return 2;
  }
  config.runtime_dir = argv[1];
  config.state_dir = argv[2];
  verb = argv[3];
  if (argc == 7) {
    fault.die = strcmp (argv[5], "die") == 0;
    fault.left = (int) number (argv[6]);
  }
  if (argc >= 5 && (strcmp (verb, "apply") == 0 || strcmp (verb, "plan") == 0))
    return apply (&config, argv[4], strcmp (verb, "plan") == 0, &fault);
  if (argc == 6 && strcmp (verb, "check") == 0)
    return check (&config, argv[4], argv[5]);
  if (strcmp (verb, "watch") == 0)
    return watch ();
  if (strcmp (verb, "used") == 0)
    return used ();
  if (strcmp (verb, "generation") == 0) {
    uint32_t generation = 0;
    (void) vp_nft_generation (&generation);
    printf ("%u\n", generation);
    return 0;
  }
  if (strcmp (verb, "teardown") == 0)
    return vp_net_teardown (&config, &error) ? 0 : complain (error);
  fprintf (stderr, "net-driver: no verb %s\n", verb);
  return 2;
}
