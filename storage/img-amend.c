/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-amend: other properties for an image that is there: "-o name=value,...",
 * in the words that create has for them. */
#include "config.h"

#include "storage/amend.h"
#include "storage/img-options.h"
#include "storage/img-task.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  VpImgTask *task;  /* borrowed */
  GPtrArray *pairs; /* borrowed: NAME, VALUE */
  bool force;
} Arguments;

enum { FORCE = 2000 };

static const struct option long_options[] = {
  { "quiet", no_argument, NULL, 'q' },
  { "format", required_argument, NULL, 'f' },
  { "options", required_argument, NULL, 'o' },
  { "cache", required_argument, NULL, 't' },
  { "force", no_argument, NULL, FORCE },
  { "progress", optional_argument, NULL, 'P' },
  VP_IMG_ACCESS_OBJECT,
  { "image-opts", no_argument, NULL, VP_IMG_IMAGE_OPTS },
  { NULL, 0, NULL, 0 }
};

static int
take_option (int c, Arguments *arguments)
{
  switch (c) {
  case 'o': vp_img_split_options (arguments->pairs, optarg); break;
  case FORCE: arguments->force = true; break;
  default: return vp_img_task_take (arguments->task, c);
  }
  return -1;
}

static int
parse (int argc, char **argv, Arguments *arguments)
{
  int c, status;

  while ((c = vp_img_getopt (argc, argv, "qf:o:pt:", long_options)) >= 0)
    if ((status = take_option (c, arguments)) >= 0)
      return status;
  if (arguments->pairs->len == 0)
    return vp_img_misuse ("Must specify options (-o)");
  /* That can be asked of a format alone. */
  if (optind != argc - 1 && vp_img_wants_option_help (arguments->pairs) &&
      arguments->task->format != NULL)
    return vp_img_access_check (&arguments->task->access,
                                arguments->task->format)
               ? -1
               : 1;
  return vp_img_task_take_name (arguments->task, argc, argv);
}

/* ---- options ------------------------------------------------------------- */

static const char *
type_of (const char *name)
{
  static const char *const switches[] = { "data_file_raw", "lazy_refcounts",
                                          NULL };
  static const char *const numbers[] = { "encrypt.iter-time", "encrypt.keyslot",
                                         "iter-time",         "keyslot",
                                         "refcount_bits",     NULL };

  if (strcmp (name, "size") == 0)
    return "<size>";
  if (g_strv_contains (switches, name))
    return "<bool (on/off)>";
  return g_strv_contains (numbers, name) ? "<num>" : "<str>";
}

static int
not_amendable (const VpFormat *format)
{
  vp_img_complain ("Format driver '%s' does not support option amendment",
                   format->name);
  return 1;
}

static int
print_help (const VpFormat *format)
{
  if (format->amend == NULL)
    return not_amendable (format);
  printf ("Amend options for '%s':\n", format->name);
  for (const VpOption *option = format->amend_options; option->name != NULL;
       option++) {
    g_autofree char *name =
        g_strdup_printf ("%s=%s", option->name, type_of (option->name));
    printf ("  %-22s - %s\n", name, option->help);
  }
  return 0;
}

static bool
is_known (const VpOption *options, const char *name)
{
  for (; options->name != NULL; options++)
    if (strcmp (options->name, name) == 0)
      return true;
  return false;
}

static bool
check_names (const GPtrArray *pairs, const VpFormat *format)
{
  for (unsigned i = 0; i < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    if (is_known (format->amend_options, name))
      continue;
    vp_img_complain ("Invalid parameter '%s'", name);
    if (is_known (format->options, name))
      fprintf (stderr, "This option is only supported for image creation\n");
    return false;
  }
  return true;
}

static bool
parse_switch (const GPtrArray *pairs, const char *name, int *ret_on)
{
  const char *value = vp_img_option (pairs, name);

  if (value == NULL)
    return true;
  *ret_on = strcmp (value, "on") == 0;
  if (*ret_on || strcmp (value, "off") == 0)
    return true;
  vp_img_complain ("Parameter '%s' expects 'on' or 'off'", name);
  return false;
}

static bool
parse_compat (const GPtrArray *pairs, unsigned *ret_compat)
{
  const char *value = vp_img_option (pairs, "compat");

  if (value == NULL)
    return true;
  if (strcmp (value, "0.10") == 0 || strcmp (value, "v2") == 0)
    *ret_compat = 2;
  else if (strcmp (value, "1.1") == 0 || strcmp (value, "v3") == 0)
    *ret_compat = 3;
  else {
    vp_img_complain ("Unknown compatibility level %s", value);
    return false;
  }
  return true;
}

static bool
parse_width (const GPtrArray *pairs, unsigned *ret_bits)
{
  const char *value = vp_img_option (pairs, "refcount_bits");
  uint64_t bits;

  if (value == NULL)
    return true;
  if (!g_ascii_string_to_unsigned (value, 10, 0, UINT64_MAX, &bits, NULL)) {
    vp_img_complain ("Parameter 'refcount_bits' expects a number");
    return false;
  }
  if (bits == 0 || bits > 64 || bits & (bits - 1)) {
    vp_img_complain ("Refcount width must be a power of two and may not exceed "
                     "64 bits");
    return false;
  }
  *ret_bits = (unsigned) bits;
  return true;
}

static bool
parse_size (const GPtrArray *pairs, VpAmendOptions *options)
{
  const char *value = vp_img_option (pairs, "size");

  options->has_size = value != NULL;
  if (value == NULL || vp_parse_size (value, &options->size, NULL))
    return true;
  vp_img_complain ("Parameter 'size' expects a non-negative number below 2^64");
  fprintf (stderr, "Optional suffix k, M, G, T, P or E means kilo-, mega-, "
                   "giga-, tera-, peta-\nand exabytes, respectively.\n");
  return false;
}

static bool
is_of_keys (const VpFormat *format, const char *name)
{
  return g_str_has_prefix (name, "encrypt.") ||
         strcmp (format->name, "luks") == 0;
}

/* encrypt: filled with the pairs that are the keys' business. */
static bool
parse_options (const GPtrArray *pairs, const VpFormat *format,
               VpAmendOptions *options, GPtrArray *encrypt)
{
  for (unsigned i = 0; i < pairs->len; i++)
    if (is_of_keys (format, g_ptr_array_index (pairs, i & ~1u)))
      g_ptr_array_add (encrypt, g_ptr_array_index (pairs, i));
  options->encrypt = encrypt;
  options->backing_name = vp_img_option (pairs, "backing_file");
  options->backing_format = vp_img_option (pairs, "backing_fmt");
  options->data_file = vp_img_option (pairs, "data_file");
  return parse_switch (pairs, "lazy_refcounts", &options->lazy_refcounts) &&
         parse_switch (pairs, "data_file_raw", &options->data_file_raw) &&
         parse_size (pairs, options) &&
         parse_compat (pairs, &options->compat) &&
         parse_width (pairs, &options->refcount_bits);
}

/* ---- the verb ------------------------------------------------------------ */

static int
fail (const GError *error)
{
  vp_img_complain ("%s", error->message);
  if (strcmp (error->message, "Cannot amend the backing file") == 0)
    fprintf (stderr, "You can use '%s rebase' instead.\n", vp_img_program ());
  return 1;
}

static int
amend (VpImage *image, const Arguments *arguments)
{
  g_autoptr (GPtrArray) encrypt = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  VpAmendOptions options = VP_AMEND_OPTIONS_INIT;
  VpImgProgress progress;

  options.force = arguments->force;
  options.secrets = arguments->task->access.secrets;
  if (!parse_options (arguments->pairs, vp_image_get_format (image), &options,
                      encrypt))
    return 1;
  vp_img_task_begin (arguments->task, &progress);
  bool ok = vp_image_amend (image, &options, &progress.progress, &error);
  vp_img_progress_end (&progress);
  return ok ? 0 : fail (error);
}

static int
run_amend (int argc, char **argv)
{
  g_auto (VpImgTask) task = { 0 };
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  Arguments arguments = { .task = &task, .pairs = pairs };
  g_autoptr (GError) error = NULL;
  int status = parse (argc, argv, &arguments);

  if (status >= 0)
    return status;
  if (task.filename == NULL) {
    const VpFormat *format = vp_formats_find (task.format, &error);
    return format != NULL ? print_help (format) : vp_img_fail (error, 1);
  }
  g_autoptr (VpImage) image =
      vp_img_task_open (&task, VP_IMAGE_WRITABLE, &error);
  if (image == NULL)
    return vp_img_fail_open (task.filename, error, 1);
  const VpFormat *format = vp_image_get_format (image);
  if (vp_img_wants_option_help (arguments.pairs))
    return print_help (format);
  if (format->amend == NULL)
    return not_amendable (format);
  if (!check_names (arguments.pairs, format))
    return 1;
  status = amend (image, &arguments);
  if (!vp_image_close (g_steal_pointer (&image), &error) && status == 0)
    return vp_img_fail_about (task.filename, error, 1);
  return status;
}

const VpImgVerb vp_img_verb_amend = {
  "amend", run_amend,
  "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] "
  "-o options filename",
  "  -o, --options=options  what is to be different; '-o help' lists it\n"
  "  -f, --format=fmt       format of the image; guessed without\n"
  "      --force            also what takes the last key away\n"
  "  -t, --cache=mode       writeback; writethrough and directsync: each "
  "write\n"
  "                         is flushed; unsafe: none is; none, directsync:\n"
  "                         the page cache is given back\n"
  "  -p, --progress[=json]  show how far it has come\n"
  "  -q, --quiet            not that\n"
  "      --object=object    a secret that an option names\n"
  "      --image-opts       filename is a list of options\n"
};
