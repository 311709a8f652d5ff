/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprov-img: a table of verbs, in the words that users of qemu-img know.
 * Verbs and options that are missing are refused by name, so that a script
 * learns it; nothing is ignored in silence. */
#include "config.h"

#include "storage/img.h"

#include <stdio.h>
#include <string.h>

static const VpImgVerb verbs[] = {
  { "check", vp_img_check,
    "[-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] "
    "[--progress[=json]] filename",
    "  -f, --format=fmt       format of the image; guessed without\n"
    "  -r, --repair=what      'leaks', or 'all' that can be mended\n"
    "  -q, --quiet            only the exit status\n"
    "      --output=ofmt      'human' or 'json'\n"
    "  -T, --cache=mode       accepted; the page cache is used\n"
    "  -U, --force-share      look at no lock\n"
    "      --progress[=json]  show how far it has come\n"
    "Exit status: 0 sound, 1 not checked, 2 corrupt, 3 leaks, 63 a format "
    "without checks\n" },
  { "compare", vp_img_compare,
    "[-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
    "[--progress[=json]] filename1 filename2",
    "  -f, --a-format=fmt     format of the first image; guessed without\n"
    "  -F, --b-format=fmt     format of the second image; guessed without\n"
    "  -s, --strict           sizes and allocation must be equal too\n"
    "  -q, --quiet            only the exit status\n"
    "  -T, --cache=mode       accepted; the page cache is used\n"
    "  -U, --force-share      look at no lock\n"
    "  -p, --progress[=json]  show how far it has come\n"
    "Exit status: 0 equal, 1 not equal, 2 cannot open, 4 cannot read\n" },
  { "convert", vp_img_convert,
    "[-U] [-C] [-p] [-q] [-n] [--target-is-zero] [-f fmt] [-t cache] "
    "[-T src_cache] [-O output_fmt] [-B backing_file -F backing_fmt] "
    "[-o options] [-S sparse_size] [-m num_coroutines] [-W] "
    "[--progress[=json]] filename output_filename",
    "  -f, --source-format=fmt   format of the source; guessed without\n"
    "  -O, --target-format=fmt   format of the target; 'raw' without\n"
    "  -o, --options=options     how to make it; '-o help' lists them\n"
    "  -B, --backing=file        backing file of the target, with\n"
    "  -F, --backing-format=fmt  its format\n"
    "  -n, --no-create           write into an image that is there\n"
    "      --target-is-zero      ... and reads as zeros\n"
    "  -S, --sparse-size=size    zeros at least that long are not stored "
    "(4k);\n"
    "                            0: all is stored\n"
    "  -U, --force-share         look at no lock of the source\n"
    "  -p, --progress[=json]     show how far it has come\n"
    "  -q, --quiet               say nothing\n"
    "  -t, -T, -m, -W, -C        accepted; the engine chooses for itself\n" },
  { "create", vp_img_create,
    "[-q] [-f fmt] [-b backing_file -F backing_fmt] [-u] [-o options] "
    "filename [size]",
    "  -f, --format=fmt          'raw' without\n"
    "  -b, --backing=file        backing file, as the image will name it\n"
    "  -F, --backing-format=fmt  its format\n"
    "  -u, --backing-unsafe      do not open the backing file\n"
    "  -o, --options=options     name=value,...; '-o help' lists them\n"
    "  -q, --quiet               say nothing\n" },
  { "info", vp_img_info,
    "[-f fmt] [--output=ofmt] [--backing-chain] [-U] [--safe] filename",
    "  -f, --format=fmt     format of the image; guessed without\n"
    "      --output=ofmt    'human' or 'json'\n"
    "      --backing-chain  the images below it too\n"
    "      --safe           for images of strangers: guesses no format, opens\n"
    "                       nothing that the image names\n"
    "  -U, --force-share    look at no lock\n" },
  { "map", vp_img_map,
    "[-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] "
    "filename",
    "  -f, --format=fmt           format of the image; guessed without\n"
    "  -s, --start-offset=offset  begin there\n"
    "  -l, --max-length=len       and go no further than that\n"
    "      --output=ofmt          'human' or 'json'\n"
    "  -U, --force-share          look at no lock\n" },
  { "resize", vp_img_resize,
    "[-f fmt] [--preallocation=prealloc] [-q] filename [+ | -]size",
    "  -f, --format=fmt         format of the image; guessed without\n"
    "      --preallocation=how  'off', 'metadata', 'falloc' or 'full'\n"
    "  -q, --quiet              say nothing\n" },
  { "worker", vp_img_worker, NULL, NULL },
};

/* Known words that mean nothing here yet. */
static const char *const missing[] = { "amend",    "bench",  "bitmap",
                                       "checksum", "commit", "dd",
                                       "measure",  "rebase", "snapshot" };

static void
print_version (void)
{
  printf ("%s version %s\n", VP_IMG_PROGRAM, PACKAGE_VERSION);
}

static int
print_help (void)
{
  print_version ();
  printf ("usage: %s [-h | -V] command [command options]\n"
          "Makes, reads, checks and converts disk images\n\n"
          "    '-h', '--help'     this help; behind a command, its own\n"
          "    '-V', '--version'  the version\n\n"
          "Command syntax:\n",
          VP_IMG_PROGRAM);
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    if (verbs[i].synopsis != NULL)
      printf ("  %s %s\n", verbs[i].name, verbs[i].synopsis);
  printf ("\nSizes take the suffixes k, M, G, T, P and E, powers of 1024.\n"
          "Supported formats:");
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
    printf ("usage: %s %s %s\n%s", VP_IMG_PROGRAM, verb->name, verb->synopsis,
            verb->help);
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

int
main (int argc, char **argv)
{
  if (argc < 2)
    return vp_img_misuse ("Not enough arguments");
  const char *word = argv[1];
  if (strcmp (word, "-h") == 0 || strcmp (word, "--help") == 0)
    return print_help ();
  if (strcmp (word, "-V") == 0 || strcmp (word, "--version") == 0) {
    print_version ();
    return 0;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (verbs); i++)
    if (strcmp (verbs[i].name, word) == 0)
      return run_verb (&verbs[i], argc - 1, argv + 1);
  for (size_t i = 0; i < G_N_ELEMENTS (missing); i++)
    if (strcmp (missing[i], word) == 0)
      return vp_img_unsupported (word);
  if (word[0] == '-')
    return vp_img_misuse ("unrecognized option '%s'", word);
  return vp_img_misuse ("Command not found: %s", word);
}
