/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl: the client's command line.
 *
 * A verb is a row of a table: its words, its operands, the options that it
 * takes beside those that all take, and its help.  What is wrong with the
 * command line is found here, before the daemon is asked. */
#include "config.h"

#include "daemon/vprovctl.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 1 << 20 };

/* Options that only some verbs take. */
enum {
  TAKES_NO_BLOCK = 1 << 0,
  TAKES_PLAN = 1 << 1,
  TAKES_PRINT = 1 << 2,
  TAKES_KIND = 1 << 3,
  TAKES_DIRECTORY = 1 << 4,
  PAGED = 1 << 5,
};

typedef struct {
  const char *verb;
  const char *sub_verb; /* NULL: none */
  const char *operands;
  int least, most;
  unsigned flags;
  CtlExit (*run) (Ctl *ctl, char **args);
  const char *summary;
  const char *help;
} Verb;

static const Verb verbs[] = {
  { "list", NULL, "", 0, 0, PAGED, ctl_list, "List all guests",
    "One line for each spec: its state, whether it is as its file says, its\n"
    "addresses and forwards, and what needs a look.\n" },
  { "status", NULL, "[NAME...]", 0, MANY, PAGED, ctl_status,
    "Show guests, or the daemon, in full",
    "Exit code 3 where one of the guests does not run.\n" },
  { "cat", NULL, "NAME...", 1, MANY, PAGED, ctl_cat,
    "Show the accepted text of specs",
    "The text that is in force: where the file has errors since, the last\n"
    "good one.\n" },
  { "plan", NULL, "[NAME...]", 0, MANY, PAGED, ctl_plan,
    "Show what would be done",
    "Exit code 4 where there is something to do, 0 where there is not.\n" },
  { "apply", NULL, "[NAME...]", 0, MANY, TAKES_PLAN | TAKES_NO_BLOCK, ctl_apply,
    "Do what is planned",
    "Also the steps that wait for a person's word.  Waits for the end.\n\n"
    "      --plan=ID       do this plan, if nothing changed since\n"
    "      --no-block      do not wait\n" },
  { "start", NULL, "NAME...", 1, MANY, TAKES_NO_BLOCK, ctl_start,
    "Start guests",
    "They are wanted running from now on.  Waits for the end.\n\n"
    "      --no-block      do not wait\n" },
  { "stop", NULL, "NAME...", 1, MANY, TAKES_NO_BLOCK, ctl_stop,
    "Shut guests down",
    "They stay so until 'start' or a boot of the host.  Waits for the end.\n\n"
    "      --no-block      do not wait\n" },
  { "verify", NULL, "[FILE...]", 0, MANY, TAKES_KIND, ctl_verify,
    "Check spec files, or all that the daemon reads",
    "Prints PATH:LINE:COLUMN: error: MESSAGE.  Exit code 1 where there are\n"
    "errors.  What a file is follows from its folder.\n\n"
    "      --kind=KIND     guest, network, pool or image\n" },
  { "reload", NULL, "", 0, 0, 0, ctl_reload, "Read the spec folders again",
    "Exit code 1 where a file has errors: its last good version holds.\n" },
  { "adopt", NULL, "DOMAIN", 1, 1, TAKES_PRINT | TAKES_DIRECTORY, ctl_adopt,
    "Look after an existing libvirt domain",
    "Writes a spec file for it; nothing else is changed.\n\n"
    "      --print         print the file, write nothing\n"
    "      --directory=DIR write it there (" VP_SYSCONFDIR
    "/vprovd/guests)\n" },
  { "forward", "list", "", 0, 0, PAGED, ctl_forward_list,
    "List all port forwards", "One line for each forward of each guest.\n" },
  { "forward", "check", "GUEST:PORT[/udp]", 1, 1, 0, ctl_forward_check,
    "Find out why a forward does not work",
    "Follows it from rule to connection, up to the first broken link.  PORT "
    "is\n"
    "the host's.  Exit code 1 where a link is broken.\n" },
  { "job", "list", "", 0, 0, PAGED, ctl_job_list, "List jobs",
    "Those that run or wait, and those that ended just now.\n" },
  { "job", "cancel", "JOB...", 1, MANY, 0, ctl_job_cancel, "Cancel jobs",
    "What a job did is undone where that is possible.\n" },
  { "monitor", NULL, "", 0, 0, 0, ctl_monitor, "Print news until Ctrl-C",
    "One line for each thing that happens; with --json one object a line.\n" },
};

static void
print_help (void)
{
  (void) puts ("vprovctl [OPTION...] VERB\n\n"
               "Ask and tell vprovd, which keeps guests as their files "
               "in\n" VP_SYSCONFDIR "/vprovd/guests say.\n\nVerbs:");
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++) {
    g_autofree char *words = g_strdup_printf (
        "%s%s%s %s", verbs[i].verb, verbs[i].sub_verb != NULL ? " " : "",
        verbs[i].sub_verb != NULL ? verbs[i].sub_verb : "", verbs[i].operands);

    (void) printf ("  %-32s %s\n", words, verbs[i].summary);
  }
  (void) puts ("\nOptions:\n"
               "  -h, --help          this text, or that of VERB\n"
               "      --version       the version\n"
               "      --json=MODE     short, pretty or off\n"
               "      --no-legend     no headings and sums\n"
               "      --no-pager      no pager\n"
               "  -q, --quiet         less words\n"
               "      --bus=ADDRESS   system, session, or a D-Bus address\n\n"
               "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the guest "
               "does not run\n(status), 4 there is something to do (plan).\n\n"
               "See vprovctl(1).");
}

static void
print_verb_help (const Verb *verb)
{
  (void) printf ("vprovctl %s%s%s%s%s\n\n%s.\n%s", verb->verb,
                 verb->sub_verb != NULL ? " " : "",
                 verb->sub_verb != NULL ? verb->sub_verb : "",
                 *verb->operands != '\0' ? " " : "", verb->operands,
                 verb->summary, verb->help);
}

/* For a first word that needs a second one. */
static void
print_word_help (const char *word)
{
  bool more = false;

  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++) {
    if (strcmp (verbs[i].verb, word) != 0)
      continue;
    if (more)
      (void) putchar ('\n');
    print_verb_help (&verbs[i]);
    more = true;
  }
}

static CtlExit complain_usage (const char *format, ...) G_GNUC_PRINTF (1, 2);

static CtlExit
complain_usage (const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list arguments;

  va_start (arguments, format);
  message = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  (void) ctl_complain ("%s; see 'vprovctl --help'", message);
  return CTL_USAGE;
}

/* ret_words: how many operands the verb itself is. */
static const Verb *
find_verb (char **operands, int *ret_words)
{
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++) {
    const Verb *verb = &verbs[i];
    bool sub = verb->sub_verb != NULL;

    if (strcmp (verb->verb, operands[0]) != 0 ||
        (sub && g_strcmp0 (operands[1], verb->sub_verb) != 0))
      continue;
    *ret_words = sub ? 2 : 1;
    return verb;
  }
  return NULL;
}

static bool
is_verb (const char *word)
{
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    if (strcmp (verbs[i].verb, word) == 0)
      return true;
  return false;
}

/* The pager: stdout becomes its pipe; it is waited for at the end. */

static pid_t
open_pager (void)
{
  const char *pager = g_getenv ("SYSTEMD_PAGER");
  int ends[2];
  pid_t pid;

  if (pager == NULL)
    pager = g_getenv ("PAGER");
  if (pager == NULL)
    pager = "less";
  if (*pager == '\0' || strcmp (pager, "cat") == 0 || pipe (ends) != 0)
    return -1;
  (void) fflush (stdout);
  pid = fork ();
  if (pid == 0) {
    (void) dup2 (ends[0], STDIN_FILENO);
    (void) close (ends[0]);
    (void) close (ends[1]);
    (void) setenv ("LESS", "FRSXMK", 0);
    (void) setenv ("LESSCHARSET", "utf-8", 0);
    /* Root's pager offers no shell. */
    (void) setenv ("LESSSECURE", "1", 1);
    (void) execlp ("sh", "sh", "-c", pager, (char *) NULL);
    _exit (127);
  }
  if (pid > 0)
    (void) dup2 (ends[1], STDOUT_FILENO);
  (void) close (ends[0]);
  (void) close (ends[1]);
  return pid;
}

static void
close_pager (pid_t pid)
{
  if (pid <= 0)
    return;
  (void) fflush (stdout);
  (void) close (STDOUT_FILENO);
  while (waitpid (pid, NULL, 0) < 0 && errno == EINTR)
    ;
}

static CtlExit
run_verb (Ctl *ctl, const Verb *verb, char **args)
{
  bool terminal = isatty (STDOUT_FILENO);
  const char *kind = g_getenv ("TERM");
  pid_t pager = -1;
  CtlExit result;

  ctl->colour = terminal && g_getenv ("NO_COLOR") == NULL && kind != NULL &&
                strcmp (kind, "dumb") != 0;
  ctl->progress = isatty (STDERR_FILENO) && !ctl->quiet && ctl->block;
  if (terminal && ctl->pager && (verb->flags & PAGED) != 0)
    pager = open_pager ();
  result = verb->run (ctl, args);
  /* A full disk behind a redirection is a failure, not an empty answer. */
  if (fflush (stdout) != 0 && pager <= 0)
    result = ctl_complain ("cannot write the output: %s", g_strerror (errno));
  close_pager (pager);
  return result;
}

typedef struct {
  Ctl ctl;
  unsigned given; /* TAKES_* */
  bool help;
  bool version;
} Line;

static bool
parse_json (const char *word, CtlJson *ret_json)
{
  static const char *const words[] = { "off", "short", "pretty" };

  for (unsigned i = 0; i < G_N_ELEMENTS (words); i++)
    if (strcmp (words[i], word) == 0) {
      *ret_json = i;
      return true;
    }
  return false;
}

enum {
  OPTION_VERSION = 256,
  OPTION_JSON,
  OPTION_NO_LEGEND,
  OPTION_NO_PAGER,
  OPTION_BUS,
  OPTION_NO_BLOCK,
  OPTION_PLAN,
  OPTION_PRINT,
  OPTION_KIND,
  OPTION_DIRECTORY,
};

static const struct option options[] = {
  { "help", no_argument, NULL, 'h' },
  { "version", no_argument, NULL, OPTION_VERSION },
  { "json", required_argument, NULL, OPTION_JSON },
  { "no-legend", no_argument, NULL, OPTION_NO_LEGEND },
  { "no-pager", no_argument, NULL, OPTION_NO_PAGER },
  { "quiet", no_argument, NULL, 'q' },
  { "bus", required_argument, NULL, OPTION_BUS },
  { "no-block", no_argument, NULL, OPTION_NO_BLOCK },
  { "plan", required_argument, NULL, OPTION_PLAN },
  { "print", no_argument, NULL, OPTION_PRINT },
  { "kind", required_argument, NULL, OPTION_KIND },
  { "directory", required_argument, NULL, OPTION_DIRECTORY },
  { NULL },
};

static bool
take_option (Line *line, int option)
{
  Ctl *ctl = &line->ctl;

  switch (option) {
  case 'h': line->help = true; return true;
  case 'q': ctl->quiet = true; return true;
  case OPTION_VERSION: line->version = true; return true;
  case OPTION_JSON: return parse_json (optarg, &ctl->json);
  case OPTION_NO_LEGEND: ctl->legend = false; return true;
  case OPTION_NO_PAGER: ctl->pager = false; return true;
  case OPTION_BUS:
    ctl->address = optarg;
    return strcmp (optarg, "system") == 0 || strcmp (optarg, "session") == 0 ||
           g_dbus_is_address (optarg);
  case OPTION_NO_BLOCK:
    ctl->block = false;
    line->given |= TAKES_NO_BLOCK;
    return true;
  case OPTION_PLAN:
    ctl->plan = optarg;
    line->given |= TAKES_PLAN;
    return *optarg != '\0';
  case OPTION_PRINT:
    ctl->print = true;
    line->given |= TAKES_PRINT;
    return true;
  case OPTION_KIND:
    ctl->kind = optarg;
    line->given |= TAKES_KIND;
    return true;
  default:
    ctl->directory = optarg;
    line->given |= TAKES_DIRECTORY;
    return *optarg != '\0';
  }
}

static bool
parse_options (Line *line, int argc, char **argv)
{
  int option, index = -1;

  opterr = 0;
  while ((option = getopt_long (argc, argv, ":hq", options, &index)) != -1) {
    const char *word = argv[optind - 1];

    if (option == '?')
      (void) complain_usage ("unknown option '%s'", word);
    else if (option == ':')
      (void) complain_usage ("option '%s' needs a value", word);
    else if (!take_option (line, option))
      (void) complain_usage ("'%s' is no value for --%s", optarg,
                             options[index].name);
    else
      continue;
    return false;
  }
  return true;
}

/* D-Bus takes UTF-8 only; names of files are no concern of it. */
static bool
check_text (const Verb *verb, const Line *line, char **args)
{
  if (line->ctl.plan != NULL && !g_utf8_validate (line->ctl.plan, -1, NULL))
    return false;
  if (line->ctl.kind != NULL && !g_utf8_validate (line->ctl.kind, -1, NULL))
    return false;
  for (char **arg = args; verb->run != ctl_verify && *arg != NULL; arg++)
    if (!g_utf8_validate (*arg, -1, NULL))
      return false;
  return true;
}

/* The first of the TAKES_* options in flags. */
static const char *
option_of (unsigned flags)
{
  static const char *const names[] = { "no-block", "plan", "print", "kind",
                                       "directory" };
  unsigned i = 0;

  while ((flags & 1U << i) == 0)
    i++;
  return names[i];
}

static CtlExit
run_line (Line *line, char **operands)
{
  static char *list[] = { (char *) "list", NULL };
  char **words = operands[0] != NULL ? operands : list;
  const Verb *verb;
  int n_words = 0, n_args;

  verb = find_verb (words, &n_words);
  if (verb == NULL && !is_verb (words[0]))
    return complain_usage ("unknown verb '%s'", words[0]);
  if (verb == NULL && line->help && words[1] == NULL) {
    print_word_help (words[0]);
    return CTL_OK;
  }
  if (verb == NULL)
    return words[1] != NULL
               ? complain_usage ("unknown verb '%s %s'", words[0], words[1])
               : complain_usage ("'%s' needs a second word", words[0]);
  if (line->help) {
    print_verb_help (verb);
    return CTL_OK;
  }
  n_args = (int) g_strv_length (words + n_words);
  if (n_args < verb->least)
    return complain_usage ("'%s' needs %s", verb->verb, verb->operands);
  if (n_args > verb->most)
    return complain_usage ("'%s' is one word too many",
                           words[n_words + verb->most]);
  if ((line->given & ~verb->flags) != 0)
    return complain_usage ("'%s' does not take --%s", verb->verb,
                           option_of (line->given & ~verb->flags));
  if (!check_text (verb, line, words + n_words))
    return complain_usage ("that is not UTF-8");
  return run_verb (&line->ctl, verb, words + n_words);
}

int
main (int argc, char **argv)
{
  Line line = {
    .ctl = {
      .address = "system",
      .directory = VP_SYSCONFDIR "/vprovd/guests",
      .legend = true,
      .pager = true,
      .block = true,
    },
  };
  CtlExit result = CTL_OK;

  (void) setlocale (LC_ALL, "");
  if (!parse_options (&line, argc, argv))
    return CTL_USAGE;
  if (line.version)
    (void) puts ("vprovctl " PACKAGE_VERSION);
  else if (line.help && argv[optind] == NULL)
    print_help ();
  else
    result = run_line (&line, argv + optind);
  g_clear_object (&line.ctl.connection);
  return (int) result;
}
