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
  bool of_file;          /* ... that holds the image; with its help */
  const char *help;
} Option;

static const Option qcow2_order[] = {
  { "encryption", SWITCH, NULL, false, NULL },
  { "encrypt.format", TEXT, NULL, false, NULL },
  { "encrypt.key-secret", TEXT, NULL, false, NULL },
  { "encrypt.cipher-alg", TEXT, NULL, false, NULL },
  { "encrypt.cipher-mode", TEXT, NULL, false, NULL },
  { "encrypt.ivgen-alg", TEXT, NULL, false, NULL },
  { "encrypt.ivgen-hash-alg", TEXT, NULL, false, NULL },
  { "encrypt.hash-alg", TEXT, NULL, false, NULL },
  { "encrypt.iter-time", NUMBER, NULL, false, NULL },
  { "cluster_size", SIZE, "65536", false, NULL },
  { "extended_l2", SWITCH, "off", false, NULL },
  { "preallocation", TEXT, NULL, false, NULL },
  { "compression_type", TEXT, "zlib", false, NULL },
  { "size", SIZE, NULL, false, NULL },
  { "compat", TEXT, NULL, false, NULL },
  { "backing_file", TEXT, NULL, false, NULL },
  { "backing_fmt", TEXT, NULL, false, NULL },
  { "data_file", TEXT, NULL, false, NULL },
  { "data_file_raw", SWITCH, NULL, false, NULL },
  { "lazy_refcounts", SWITCH, "off", false, NULL },
  { "refcount_bits", NUMBER, "16", false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option raw_order[] = {
  { "size", SIZE, NULL, false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "preallocation", TEXT, NULL, false, NULL },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option luks_order[] = {
  { "size", SIZE, NULL, false, NULL },
  { "key-secret", TEXT, NULL, false, NULL },
  { "cipher-alg", TEXT, NULL, false, NULL },
  { "cipher-mode", TEXT, NULL, false, NULL },
  { "ivgen-alg", TEXT, NULL, false, NULL },
  { "ivgen-hash-alg", TEXT, NULL, false, NULL },
  { "hash-alg", TEXT, NULL, false, NULL },
  { "iter-time", NUMBER, NULL, false, NULL },
  { "preallocation", TEXT, NULL, false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option vmdk_order[] = {
  { "size", SIZE, NULL, false, NULL },
  { "adapter_type", TEXT, NULL, false, NULL },
  { "backing_file", TEXT, NULL, false, NULL },
  { "backing_fmt", TEXT, NULL, false, NULL },
  { "compat6", SWITCH, "off", false, NULL },
  { "hwversion", TEXT, "undefined", false, NULL },
  { "toolsversion", TEXT, NULL, false, NULL },
  { "subformat", TEXT, NULL, false, NULL },
  { "extent_size", SIZE, NULL, false, NULL },
  { "zeroed_grain", SWITCH, NULL, false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "preallocation", TEXT, NULL, false, NULL },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option vdi_order[] = {
  { "size", SIZE, NULL, false, NULL },
  { "static", SWITCH, "off", false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "preallocation", TEXT, NULL, false, NULL },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { "cluster_size", SIZE, NULL, false, NULL },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option qcow_order[] = {
  { "size", SIZE, NULL, false, NULL },
  { "backing_file", TEXT, NULL, false, NULL },
  { "backing_fmt", TEXT, NULL, false, NULL },
  { "cluster_size", SIZE, NULL, false, NULL },
  { "encryption", SWITCH, NULL, false, NULL },
  { "encrypt.format", TEXT, NULL, false, NULL },
  { "encrypt.key-secret", TEXT, NULL, false, NULL },
  { "nocow", SWITCH, NULL, true, "No copy-on-write for the file (btrfs)" },
  { "extent_size_hint", SIZE, NULL, true,
    "The file grows by that much (XFS); 0: as the file system likes" },
  { NULL, TEXT, NULL, false, NULL },
};

static const Option *
order_of (const VpFormat *format)
{
  if (strcmp (format->name, "vdi") == 0)
    return vdi_order;
  if (strcmp (format->name, "luks") == 0)
    return luks_order;
  if (strcmp (format->name, "vmdk") == 0)
    return vmdk_order;
  if (strcmp (format->name, "qcow") == 0)
    return qcow_order;
  return strcmp (format->name, "raw") == 0 ? raw_order : qcow2_order;
}

static const Option *
find (const VpFormat *format, const char *name)
{
  const Option *option = order_of (format);

  while (option->name != NULL && strcmp (option->name, name) != 0)
    option++;
  return option->name != NULL ? option : NULL;
}

/* Does the format itself take it? */
static bool
format_takes (const VpFormat *format, const char *name)
{
  for (const VpOption *option = format->options; option->name != NULL; option++)
    if (strcmp (option->name, name) == 0)
      return true;
  return false;
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
    if (option == NULL || (!option->of_file && !format_takes (format, name))) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "Invalid parameter '%s'", name);
      return false;
    }
    if (!check_value (name, option->type, g_ptr_array_index (pairs, i + 1),
                      error))
      return false;
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
  GString *text = g_string_new (NULL);

  for (const Option *option = order_of (format); option->name != NULL;
       option++) {
    const char *value = vp_img_option (pairs, option->name);
    if (!option->of_file && !format_takes (format, option->name))
      continue;
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
  g_autoptr (GPtrArray) sorted = g_ptr_array_new ();

  for (const Option *option = order_of (format); option->name != NULL; option++)
    if (option->of_file ? with_file : format_takes (format, option->name))
      g_ptr_array_add (sorted, (gpointer) option);
  qsort (sorted->pdata, sorted->len, sizeof *sorted->pdata, by_name);

  if (with_file)
    printf ("Supported options:\n");
  else
    printf ("Supported %s options:\n", format->name);
  for (unsigned i = 0; i < sorted->len; i++) {
    const Option *option = g_ptr_array_index (sorted, i);
    const VpOption *known = format->options;
    while (known->name != NULL && strcmp (known->name, option->name) != 0)
      known++;
    print_option (option, option->of_file ? option->help : known->help);
  }
  if (!with_file)
    printf ("\nThe file that holds the image may have options of its own:\n"
            "they are listed where its name is given.\n");
}

/* ---- the file ------------------------------------------------------------ */

bool
vp_img_options_of_file (const char *name)
{
  return strcmp (name, "nocow") == 0 || strcmp (name, "extent_size_hint") == 0;
}

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
