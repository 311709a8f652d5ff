/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprov-img: a table of verbs, in the words that users of qemu-img know.
 * Verbs and options that are missing are refused by name, so that a script
 * learns it; nothing is ignored in silence. */
#include "config.h"

#include "storage/img.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* What scripts that ask for QEMU's version may rely on. */
#define LIKE_VERSION "7.2.0"

static const VpImgVerb *const verbs[] = {
  &vp_img_verb_amend,    &vp_img_verb_bench,    &vp_img_verb_bitmap,
  &vp_img_verb_check,    &vp_img_verb_checksum, &vp_img_verb_commit,
  &vp_img_verb_compare,  &vp_img_verb_convert,  &vp_img_verb_create,
  &vp_img_verb_dd,       &vp_img_verb_info,     &vp_img_verb_map,
  &vp_img_verb_measure,  &vp_img_verb_rebase,   &vp_img_verb_resize,
  &vp_img_verb_snapshot, &vp_img_verb_worker,
};

static const char *
own_name (void)
{
  return "vprov-img";
}

/* A link of another name is asked what it can do, as that other program. */
static void
print_version (void)
{
  if (strcmp (vp_img_program (), own_name ()) == 0)
    printf ("%s version %s\n", own_name (), PACKAGE_VERSION);
  else
    printf ("%s version %s (%s %s)\n", vp_img_program (), LIKE_VERSION,
            own_name (), PACKAGE_VERSION);
}

static int
print_help (void)
{
  print_version ();
  printf ("usage: %s [standard options] command [command options]\n"
          "Makes, reads, checks and converts disk images\n\n"
          "    '-h', '--help'     this help; behind a command, its own\n"
          "    '-V', '--version'  the version\n"
          "    '-T', '--trace'    understood; there is nothing to trace\n\n"
          "Command syntax:\n",
          vp_img_program ());
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    if (verbs[i]->synopsis != NULL)
      printf ("  %s %s\n", verbs[i]->name, verbs[i]->synopsis);
  printf ("\nSizes take the suffixes k, M, G, T, P and E, powers of 1024.\n"
          "'%s command --help' says what a command and its options do.\n\n"
          "Supported formats:",
          vp_img_program ());
  for (const VpFormat *const *format = vp_formats_all (); *format != NULL;
       format++)
    printf (" %s", (*format)->name);
  printf ("\n");
  return 0;
}

/* "--help" anywhere before "--", as an option of its own. */
static bool
wants_help (int argc, char **argv)
{
  for (int i = 1; i < argc && strcmp (argv[i], "--") != 0; i++)
    if (strcmp (argv[i], "--help") == 0 || strcmp (argv[i], "-h") == 0)
      return true;
  return false;
}

static int
run_verb (const VpImgVerb *verb, int argc, char **argv)
{
  if (verb->synopsis != NULL && wants_help (argc, argv)) {
    printf ("usage: %s %s %s\n%s", vp_img_program (), verb->name,
            verb->synopsis, verb->help);
    return 0;
  }
  int status = verb->run (argc, argv);
  /* What was printed into a full disk was not printed. */
  if (fflush (stdout) != 0 || ferror (stdout)) {
    vp_img_complain ("cannot write to the standard output");
    return status != 0 ? status : 1;
  }
  return status;
}

static int
run_command (int argc, char **argv)
{
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    if (strcmp (verbs[i]->name, argv[0]) == 0)
      return run_verb (verbs[i], argc, argv);
  return vp_img_misuse ("Command not found: %s", argv[0]);
}

int
main (int argc, char **argv)
{
  static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
                                         { "version", no_argument, NULL, 'V' },
                                         { "trace", required_argument, NULL,
                                           'T' },
                                         { NULL, 0, NULL, 0 } };
  g_autofree char *name =
      g_path_get_basename (argc > 0 ? argv[0] : own_name ());
  int c;

  g_set_prgname (name);
  /* A file that grows past a limit is an error to be told, no death. */
  (void) signal (SIGXFSZ, SIG_IGN);
  while ((c = vp_img_getopt (argc, argv, "+hVT:", longs)) >= 0)
    switch (c) {
    case 'h': return print_help ();
    case 'V': print_version (); return 0;
    case 'T':
      vp_img_complain ("warning: -T: there is nothing to trace here");
      break;
    default: return 1;
    }
  argc -= optind;
  argv += optind;
  if (argc < 1)
    return vp_img_misuse ("Not enough arguments");
  optind = 0; /* the next getopt starts afresh */
  return run_command (argc, argv);
}
