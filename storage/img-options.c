/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-options: see the header.  The table's order is the one in which create
 * says them. */
#include "config.h"

#include "storage/img-options.h"

#include "storage/error.h"

#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

typedef enum { TEXT, SWITCH, NUMBER, SIZE } Type;

typedef struct {
  const char *name;
  Type type;
  const char *otherwise; /* what is said where it is not given; NULL: nothing */
} Option;

static const Option qcow2_order[] = {
  { "encryption", SWITCH, NULL },
  { "encrypt.format", TEXT, NULL },
  { "encrypt.key-secret", TEXT, NULL },
  { "encrypt.cipher-alg", TEXT, NULL },
  { "encrypt.cipher-mode", TEXT, NULL },
  { "encrypt.ivgen-alg", TEXT, NULL },
  { "encrypt.ivgen-hash-alg", TEXT, NULL },
  { "encrypt.hash-alg", TEXT, NULL },
  { "encrypt.iter-time", NUMBER, NULL },
  { "cluster_size", SIZE, "65536" },
  { "extended_l2", SWITCH, "off" },
  { "preallocation", TEXT, NULL },
  { "compression_type", TEXT, "zlib" },
  { "size", SIZE, NULL },
  { "compat", TEXT, NULL },
  { "backing_file", TEXT, NULL },
  { "backing_fmt", TEXT, NULL },
  { "data_file", TEXT, NULL },
  { "data_file_raw", SWITCH, NULL },
  { "lazy_refcounts", SWITCH, "off" },
  { "refcount_bits", NUMBER, "16" },
  { NULL, TEXT, NULL },
};

static const Option raw_order[] = {
  { "size", SIZE, NULL },
  { NULL, TEXT, NULL },
};

static const Option luks_order[] = {
  { "size", SIZE, NULL },       { "key-secret", TEXT, NULL },
  { "cipher-alg", TEXT, NULL }, { "cipher-mode", TEXT, NULL },
  { "ivgen-alg", TEXT, NULL },  { "ivgen-hash-alg", TEXT, NULL },
  { "hash-alg", TEXT, NULL },   { "iter-time", NUMBER, NULL },
  { NULL, TEXT, NULL },
};

static const Option vmdk_order[] = {
  { "size", SIZE, NULL },         { "adapter_type", TEXT, NULL },
  { "backing_file", TEXT, NULL }, { "backing_fmt", TEXT, NULL },
  { "compat6", SWITCH, "off" },   { "hwversion", TEXT, "undefined" },
  { "toolsversion", TEXT, NULL }, { "subformat", TEXT, NULL },
  { "extent_size", SIZE, NULL },  { "zeroed_grain", SWITCH, NULL },
  { NULL, TEXT, NULL },
};

static const Option vdi_order[] = {
  { "size", SIZE, NULL },
  { "static", SWITCH, "off" },
  { "cluster_size", SIZE, NULL },
  { NULL, TEXT, NULL },
};

static const Option qcow_order[] = {
  { "size", SIZE, NULL },
  { "backing_file", TEXT, NULL },
  { "backing_fmt", TEXT, NULL },
  { "cluster_size", SIZE, NULL },
  { "encryption", SWITCH, NULL },
  { "encrypt.format", TEXT, NULL },
  { "encrypt.key-secret", TEXT, NULL },
  { NULL, TEXT, NULL },
};

static const Option cow_order[] = {
  { "size", SIZE, NULL },
  { "backing_file", TEXT, NULL },
  { "backing_fmt", TEXT, NULL },
  { NULL, TEXT, NULL },
};

/* Of the file that holds the image; behind the format's own, as far as those
 * do not have them. */
static const Option file_order[] = {
  { "nocow", SWITCH, NULL },
  { "preallocation", TEXT, NULL },
  { "extent_size_hint", SIZE, NULL },
  { NULL, TEXT, NULL },
};
static const VpOption file_help[] = {
  { "nocow", "No copy-on-write for the file (btrfs)" },
  { "preallocation", "off: the format has none" },
  { "extent_size_hint",
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, NULL },
};

static const struct {
  const char *format;
  const Option *order;
} orders[] = { { "cow", cow_order },    { "luks", luks_order },
               { "qcow", qcow_order },  { "raw", raw_order },
               { "vdi", vdi_order },    { "vmdk", vmdk_order },
               { "qcow2", qcow2_order } };

static const VpOption *
find_help (const VpOption *options, const char *name)
{
  for (; options != NULL && options->name != NULL; options++)
    if (strcmp (options->name, name) == 0)
      return options;
  return NULL;
}

static void
add_options (GPtrArray *all, const Option *options)
{
  for (; options->name != NULL; options++) {
    bool known = false;
    for (unsigned i = 0; i < all->len; i++)
      known = known || strcmp (((const Option *) all->pdata[i])->name,
                               options->name) == 0;
    if (!known)
      g_ptr_array_add (all, (gpointer) options);
  }
}

/* Of Option: the format's, in their order, then the file's.  Caller frees. */
static GPtrArray *
options_of (const VpFormat *format)
{
  GPtrArray *all = g_ptr_array_new ();

  for (size_t i = 0; i < G_N_ELEMENTS (orders); i++)
    if (strcmp (orders[i].format, format->name) == 0)
      add_options (all, orders[i].order);
  add_options (all, file_order);
  return all;
}

bool
vp_img_options_of_file (const VpFormat *format, const char *name)
{
  return find_help (file_help, name) != NULL &&
         find_help (format->options, name) == NULL;
}

static const Option *
find (const VpFormat *format, const char *name)
{
  g_autoptr (GPtrArray) all = options_of (format);

  for (unsigned i = 0; i < all->len; i++) {
    const Option *option = g_ptr_array_index (all, i);
    if (strcmp (option->name, name) == 0)
      return find_help (format->options, name) != NULL ||
                     vp_img_options_of_file (format, name)
                 ? option
                 : NULL;
  }
  return NULL;
}

const char *
vp_img_option (const GPtrArray *pairs, const char *name)
{
  const char *value = NULL;

  for (unsigned i = 0; i + 1 < pairs->len; i += 2)
    if (strcmp (g_ptr_array_index (pairs, i), name) == 0)
      value = g_ptr_array_index (pairs, i + 1);
  return value;
}

/* ---- values -------------------------------------------------------------- */

static bool
usage (GError **error, const char *name, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, "Parameter '%s' %s",
               name, what);
  return false;
}

static bool
check_value (const char *name, Type type, const char *value, GError **error)
{
  uint64_t number;

  switch (type) {
  case SWITCH:
    return strcmp (value, "on") == 0 || strcmp (value, "off") == 0 ||
           usage (error, name, "expects 'on' or 'off'");
  case NUMBER:
    return (*value != '\0' && value[strspn (value, "0123456789")] == '\0' &&
            vp_parse_size (value, &number, NULL)) ||
           usage (error, name, "expects a number");
  case SIZE:
    return vp_parse_size (value, &number, NULL) ||
           usage (error, name, "expects a non-negative number below 2^64");
  case TEXT:
  default: return true;
  }
}

bool
vp_img_options_check (const GPtrArray *pairs, const VpFormat *format,
                      GError **error)
{
  for (unsigned i = 0; i + 1 < pairs->len; i += 2) {
    const char *name = g_ptr_array_index (pairs, i);
    const Option *option = find (format, name);
    if (option == NULL) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "Invalid parameter '%s'", name);
      return false;
    }
    if (!check_value (name, option->type, g_ptr_array_index (pairs, i + 1),
                      error))
      return false;
    if (strcmp (name, "preallocation") == 0 &&
        vp_img_options_of_file (format, name) &&
        strcmp (g_ptr_array_index (pairs, i + 1), "off") != 0) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                   "Unsupported preallocation mode for file format '%s'",
                   format->name);
      return false;
    }
  }
  return true;
}

/* ---- words --------------------------------------------------------------- */

static void
add_value (GString *text, const Option *option, const char *value)
{
  uint64_t number;

  g_string_append_printf (text, "%s%s=", text->len > 0 ? " " : "",
                          option->name);
  if (option->type == SIZE && vp_parse_size (value, &number, NULL)) {
    g_string_append_printf (text, "%" PRIu64, number);
    return;
  }
  for (; *value != '\0'; value++)
    g_string_append (text,
                     (char[]){ *value, *value == ',' ? ',' : '\0', '\0' });
}

char *
vp_img_options_text (const GPtrArray *pairs, const VpFormat *format,
                     const VpCreateOptions *options)
{
  g_autofree char *size = g_strdup_printf ("%" PRIu64, options->size);
  g_autoptr (GPtrArray) all = options_of (format);
  GString *text = g_string_new (NULL);

  for (unsigned i = 0; i < all->len; i++) {
    const Option *option = g_ptr_array_index (all, i);
    const char *value = vp_img_option (pairs, option->name);
    if (strcmp (option->name, "size") == 0)
      value = size;
    else if (strcmp (option->name, "backing_file") == 0)
      value = options->backing_name;
    else if (strcmp (option->name, "backing_fmt") == 0)
      value = options->backing_format;
    if (value == NULL)
      value = option->otherwise;
    if (value != NULL)
      add_value (text, option, value);
  }
  return g_string_free (text, FALSE);
}

static void
print_option (const Option *option, const char *help)
{
  static const char *const types[] = { "<str>", "<bool (on/off)>", "<num>",
                                       "<size>" };
  g_autofree char *name =
      g_strdup_printf ("%s=%s", option->name, types[option->type]);

  printf ("  %-22s - %s\n", name, help);
}

static int
by_name (const void *a, const void *b)
{
  const Option *const *first = a, *const *second = b;

  return strcmp ((*first)->name, (*second)->name);
}

void
vp_img_options_help (const VpFormat *format, bool with_file)
{
  g_autoptr (GPtrArray) sorted = options_of (format);

  qsort (sorted->pdata, sorted->len, sizeof *sorted->pdata, by_name);

  if (with_file)
    printf ("Supported options:\n");
  else
    printf ("Supported %s options:\n", format->name);
  for (unsigned i = 0; i < sorted->len; i++) {
    const Option *option = g_ptr_array_index (sorted, i);
    const VpOption *help = find_help (format->options, option->name);
    if (help == NULL && with_file)
      help = find_help (file_help, option->name);
    if (help != NULL)
      print_option (option, help->help);
  }
  if (!with_file)
    printf ("\nThe file that holds the image may have options of its own:\n"
            "they are listed where its name is given.\n");
}

/* ---- the file ------------------------------------------------------------ */

void
vp_img_options_apply (const GPtrArray *pairs, int fd)
{
  const char *nocow = vp_img_option (pairs, "nocow");
  const char *hint = vp_img_option (pairs, "extent_size_hint");
  struct fsxattr attributes;
  uint64_t size;
  int flags;

  /* Hints both; most file systems refuse. */
  if (nocow != NULL && strcmp (nocow, "on") == 0 &&
      ioctl (fd, FS_IOC_GETFLAGS, &flags) == 0) {
    flags |= FS_NOCOW_FL;
    (void) ioctl (fd, FS_IOC_SETFLAGS, &flags);
  }
  if (hint == NULL || !vp_parse_size (hint, &size, NULL) || size == 0 ||
      size > UINT32_MAX || ioctl (fd, FS_IOC_FSGETXATTR, &attributes) != 0)
    return;
  attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
  attributes.fsx_extsize = (uint32_t) size;
  (void) ioctl (fd, FS_IOC_FSSETXATTR, &attributes);
}
