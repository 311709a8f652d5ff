/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-names: see the header.  Words become a small tree of nodes, one for each
 * layer that is named; each node takes the words it knows, and what nobody
 * took is refused. */
#include "config.h"

#include "storage/img-names.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "storage/error.h"
#include "storage/formats.h"
#include "storage/img.h"
#include "storage/json-read.h"
#include "storage/probe.h"

/* ---- options of all verbs ----------------------------------------------- */

/* The type comes first and may stand without its name. */
static bool
take_object (VpImgAccess *access, const char *text)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;
  bool ok;

  if (text[0] == '{')
    ok = vp_json_read_flat (text, pairs, &error);
  else {
    g_autofree char *full = NULL;
    if (text[strcspn (text, "=,")] != '=')
      full = g_strconcat ("qom-type=", text, NULL);
    vp_img_split_options (pairs, full != NULL ? full : text);
    ok = true;
  }
  if (access->secrets == NULL)
    access->secrets = vp_secrets_new ();
  if (ok && vp_secrets_add (access->secrets, pairs, &error))
    return true;
  (void) vp_img_fail (error, 1);
  return false;
}

bool
vp_img_access_take (VpImgAccess *access, int c)
{
  switch (c) {
  case VP_IMG_OBJECT: return take_object (access, optarg);
  case VP_IMG_IMAGE_OPTS: access->image_opts = true; return true;
  case VP_IMG_FORCE_SHARE:
  case 'U': access->no_lock = true; return true;
  case VP_IMG_SAFE: access->safe = true; return true;
  default: return false;
  }
}

bool
vp_img_access_check (const VpImgAccess *access, const char *format)
{
  if (access->safe && (access->image_opts || format == NULL)) {
    (void) vp_img_misuse ("--safe guesses no format; it needs -f");
    return false;
  }
  if (!access->image_opts || format == NULL)
    return true;
  vp_img_complain ("--image-opts and --format are mutually exclusive");
  return false;
}

void
vp_img_access_clear (VpImgAccess *access)
{
  g_clear_pointer (&access->secrets, vp_secrets_free);
}

/* ---- words --------------------------------------------------------------- */

typedef struct {
  GPtrArray *pairs; /* name, value */
  bool *taken;      /* one for each pair */
  const VpImgAccess *access;
} Words;

static bool G_GNUC_PRINTF (2, 3) usage (GError **error, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (error != NULL)
    *error =
        g_error_new_valist (VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE, format, args);
  va_end (args);
  return false;
}

/* The value of PREFIX NAME, NULL where nobody gave it; the last one holds. */
static const char *
take (Words *words, const char *prefix, const char *name)
{
  const char *value = NULL;
  size_t len = strlen (prefix);

  for (unsigned i = 0; i + 1 < words->pairs->len; i += 2) {
    const char *word = g_ptr_array_index (words->pairs, i);
    if (strncmp (word, prefix, len) != 0 || strcmp (word + len, name) != 0)
      continue;
    value = g_ptr_array_index (words->pairs, i + 1);
    words->taken[i / 2] = true;
  }
  return value;
}

/* The name behind prefix of the first word that nobody took; NULL: none. */
static const char *
find_untaken (const Words *words, const char *prefix)
{
  size_t len = strlen (prefix);

  for (unsigned i = 0; i + 1 < words->pairs->len; i += 2) {
    const char *word = g_ptr_array_index (words->pairs, i);
    if (!words->taken[i / 2] && strncmp (word, prefix, len) == 0)
      return word + len;
  }
  return NULL;
}

static bool
take_bool (Words *words, const char *prefix, const char *name, bool *ret_on,
           GError **error)
{
  const char *value = take (words, prefix, name);

  if (value == NULL)
    return true;
  if (strcmp (value, "on") == 0 || strcmp (value, "true") == 0 ||
      strcmp (value, "yes") == 0 || strcmp (value, "y") == 0)
    *ret_on = true;
  else if (strcmp (value, "off") == 0 || strcmp (value, "false") == 0 ||
           strcmp (value, "no") == 0 || strcmp (value, "n") == 0)
    *ret_on = false;
  else
    return usage (error, "Parameter '%s' expects 'on' or 'off'", name);
  return true;
}

static bool
take_size (Words *words, const char *prefix, const char *name, bool *ret_given,
           uint64_t *ret_size, GError **error)
{
  const char *value = take (words, prefix, name);

  if (value == NULL)
    return true;
  *ret_given = true;
  if (vp_parse_size (value, ret_size, NULL))
    return true;
  return usage (
      error, "Parameter '%s' expects a non-negative number below 2^64", name);
}

/* ---- words that tune QEMU -------------------------------------------------
 */

typedef enum { TUNING_SIZE, TUNING_BOOL, TUNING_WORD } TuningKind;

/* Right for QEMU, without a meaning for this engine, which sizes its caches by
 * itself: the values are checked, so that a mistake is not lost. */
typedef struct {
  const char *name;
  TuningKind kind;
  const char *words; /* "|a|b|" */
} Tuning;

static const Tuning node_tuning[] = {
  { "node-name", TUNING_WORD, NULL },
  { "auto-read-only", TUNING_BOOL, NULL },
  { "discard", TUNING_WORD, "|ignore|off|unmap|on|" },
  { "detect-zeroes", TUNING_WORD, "|off|on|unmap|" },
  { NULL, TUNING_WORD, NULL },
};

static const Tuning file_tuning[] = {
  { "aio", TUNING_WORD, "|threads|native|io_uring|" },
  { "aio-max-batch", TUNING_SIZE, NULL },
  { "drop-cache", TUNING_BOOL, NULL },
  { "x-check-cache-dropped", TUNING_BOOL, NULL },
  { NULL, TUNING_WORD, NULL },
};

static const Tuning qcow2_tuning[] = {
  { "lazy-refcounts", TUNING_BOOL, NULL },
  { "pass-discard-request", TUNING_BOOL, NULL },
  { "pass-discard-snapshot", TUNING_BOOL, NULL },
  { "pass-discard-other", TUNING_BOOL, NULL },
  { "discard-no-unref", TUNING_BOOL, NULL },
  { "overlap-check", TUNING_WORD, "|none|constant|cached|all|" },
  { "overlap-check.template", TUNING_WORD, "|none|constant|cached|all|" },
  { "overlap-check.main-header", TUNING_BOOL, NULL },
  { "overlap-check.active-l1", TUNING_BOOL, NULL },
  { "overlap-check.active-l2", TUNING_BOOL, NULL },
  { "overlap-check.refcount-table", TUNING_BOOL, NULL },
  { "overlap-check.refcount-block", TUNING_BOOL, NULL },
  { "overlap-check.snapshot-table", TUNING_BOOL, NULL },
  { "overlap-check.inactive-l1", TUNING_BOOL, NULL },
  { "overlap-check.inactive-l2", TUNING_BOOL, NULL },
  { "overlap-check.bitmap-directory", TUNING_BOOL, NULL },
  { "cache-size", TUNING_SIZE, NULL },
  { "l2-cache-size", TUNING_SIZE, NULL },
  { "l2-cache-entry-size", TUNING_SIZE, NULL },
  { "refcount-cache-size", TUNING_SIZE, NULL },
  { "cache-clean-interval", TUNING_SIZE, NULL },
  { NULL, TUNING_WORD, NULL },
};

static bool
take_caching (Words *words, const char *prefix, VpFileCaching *caching,
              GError **error)
{
  bool direct = false, no_flush = false;

  if (!take_bool (words, prefix, "cache.direct", &direct, error) ||
      !take_bool (words, prefix, "cache.no-flush", &no_flush, error))
    return false;
  *caching |=
      (direct ? VP_FILE_CACHE_DROP : 0) | (no_flush ? VP_FILE_CACHE_UNSAFE : 0);
  return true;
}

static bool
take_word (Words *words, const char *prefix, const Tuning *tuning,
           GError **error)
{
  const char *value = take (words, prefix, tuning->name);

  if (value == NULL || tuning->words == NULL)
    return true;
  g_autofree char *wanted = g_strconcat ("|", value, "|", NULL);
  if (strstr (tuning->words, wanted) != NULL)
    return true;
  return usage (error, "Parameter '%s' does not accept value '%s'",
                tuning->name, value);
}

static bool
take_tuning (Words *words, const char *prefix, const Tuning *list,
             GError **error)
{
  for (const Tuning *tuning = list; tuning->name != NULL; tuning++) {
    bool on, given, ok;
    uint64_t size;
    switch (tuning->kind) {
    case TUNING_BOOL:
      ok = take_bool (words, prefix, tuning->name, &on, error);
      break;
    case TUNING_SIZE:
      ok = take_size (words, prefix, tuning->name, &given, &size, error);
      break;
    case TUNING_WORD:
    default: ok = take_word (words, prefix, tuning, error); break;
    }
    if (!ok)
      return false;
  }
  return true;
}

/* ---- nodes ----------------------------------------------------------------
 */

/* A layer of the chain.  The file is NULL where the image above names it. */
typedef struct Node Node;
struct Node {
  VpOpenOptions options;
  VpFile *file, *data_file; /* owned */
  Node *below;              /* owned */
  bool is_guess;            /* nobody stated the format */
};

static void
node_free (Node *node)
{
  while (node != NULL) {
    Node *below = node->below;
    vp_file_unref (node->file);
    vp_file_unref (node->data_file);
    g_free (node);
    node = below;
  }
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Node, node_free)

static bool
is_file_driver (const char *driver)
{
  return strcmp (driver, "file") == 0 || strcmp (driver, "host_device") == 0;
}

static VpFileFlags
file_flags (VpImageFlags flags)
{
  return (flags & VP_IMAGE_WRITABLE ? VP_FILE_WRITABLE : 0) |
         (flags & VP_IMAGE_NO_LOCK ? VP_FILE_NO_LOCK : 0);
}

/* PREFIX filename and what goes with it; NULL without error where none of it
 * is there. */
static bool
open_protocol (Words *words, const char *prefix, VpImageFlags flags,
               VpFile **ret_file, GError **error)
{
  if (find_untaken (words, prefix) == NULL)
    return true;
  const char *driver = take (words, prefix, "driver");
  if (driver != NULL && vp_formats_find (driver, NULL) != NULL)
    return usage (error,
                  "'%sdriver': a format below a format (%s) is not "
                  "supported",
                  prefix, driver);
  if (driver != NULL && !is_file_driver (driver))
    return usage (error, "Unknown driver '%s'", driver);

  const char *filename = take (words, prefix, "filename");
  const char *locking = take (words, prefix, "locking");
  VpFileFlags to = file_flags (flags);
  if (locking != NULL && strcmp (locking, "off") == 0)
    to |= VP_FILE_NO_LOCK;
  else if (locking != NULL && strcmp (locking, "on") != 0 &&
           strcmp (locking, "auto") != 0)
    return usage (error, "Parameter '%s' does not accept value '%s'", "locking",
                  locking);
  bool read_only = false, share = false;
  VpFileCaching caching = 0;
  if (!take_bool (words, prefix, "read-only", &read_only, error) ||
      !take_bool (words, prefix, "force-share", &share, error) ||
      !take_caching (words, prefix, &caching, error) ||
      !take_tuning (words, prefix, node_tuning, error) ||
      !take_tuning (words, prefix, file_tuning, error))
    return false;
  const char *unknown = find_untaken (words, prefix);
  /* At the top the words of the layer itself are still to be taken. */
  if (unknown != NULL && prefix[0] != '\0')
    return usage (error,
                  "Block protocol 'file' doesn't support the option '%s'",
                  unknown);
  if (filename == NULL || filename[0] == '\0')
    return usage (error, "The 'file' block driver requires a file name");
  if (read_only && to & VP_FILE_WRITABLE)
    return usage (error, "%s: is to be opened read-only", filename);
  if (share)
    to |= VP_FILE_NO_LOCK;
  *ret_file = vp_file_open (filename, to, error);
  if (*ret_file == NULL)
    return false;
  vp_file_add_caching (*ret_file, caching);
  return true;
}

/* "file" and "backing" may name a node of QEMU's, of which there is none. */
static bool
refuse_reference (Words *words, const char *prefix, const char *name,
                  bool *ret_none, GError **error)
{
  const char *value = take (words, prefix, name);

  *ret_none = value != NULL && value[0] == '\0';
  return value == NULL || *ret_none ||
         usage (error, "Cannot find device='%s' nor node-name='%s'", value,
                value);
}

static bool
take_format_words (Words *words, const char *prefix, const char *format,
                   Node *node, GError **error)
{
  VpOpenOptions *options = &node->options;

  if (strcmp (format, "raw") == 0)
    return take_size (words, prefix, "offset", &options->has_offset,
                      &options->offset, error) &&
           take_size (words, prefix, "size", &options->has_size, &options->size,
                      error);
  bool is_luks = strcmp (format, "luks") == 0;
  bool is_qcow = strcmp (format, "qcow") == 0;
  if (strcmp (format, "qcow2") != 0 && !is_luks && !is_qcow)
    return true;
  const char *secret =
      take (words, prefix, is_luks ? "key-secret" : "encrypt.key-secret");
  if (secret != NULL && (options->key = vp_secrets_find (
                             words->access->secrets, secret, error)) == NULL)
    return false;
  if (is_luks)
    return true;
  options->encrypt_format = take (words, prefix, "encrypt.format");
  if (is_qcow)
    return true;
  g_autofree char *data = g_strconcat (prefix, "data-file.", NULL);
  if (!take_tuning (words, prefix, qcow2_tuning, error) ||
      !open_protocol (words, data, options->flags, &node->data_file, error))
    return false;
  options->data_file = node->data_file;
  return true;
}

static Node *read_node (Words *words, const char *prefix, VpImageFlags flags,
                        const char *format, VpOpener *opener, GError **error);

static bool
take_backing (Words *words, const char *prefix, Node *node, GError **error)
{
  VpOpenOptions *options = &node->options;
  g_autofree char *below = g_strconcat (prefix, "backing.", NULL);

  if (!refuse_reference (words, prefix, "backing", &options->ignore_backing,
                         error))
    return false;
  if (find_untaken (words, below) == NULL)
    return true;
  node->below = read_node (words, below, options->flags & ~VP_IMAGE_WRITABLE,
                           NULL, options->opener, error);
  if (node->below == NULL)
    return false;
  options->backing = &node->below->options;
  options->backing_file = node->below->file;
  return true;
}

/* The format that the words, the caller or the bytes say. */
static const VpFormat *
find_format (Words *words, const char *prefix, Node *node, const char *stated,
             GError **error)
{
  const char *driver = take (words, prefix, "driver");

  if (driver != NULL && is_file_driver (driver))
    driver = "raw";
  if (driver == NULL)
    driver = stated;
  if (driver != NULL)
    return vp_formats_find (driver, error);
  node->is_guess = true;
  return node->file != NULL ? vp_probe_format (node->file, error) : NULL;
}

static Node *
read_node (Words *words, const char *prefix, VpImageFlags flags,
           const char *format_name, VpOpener *opener, GError **error)
{
  g_autoptr (Node) node = g_new0 (Node, 1);
  bool none, read_only = false, share = false;
  VpFileCaching caching = 0;
  const char *driver = take (words, prefix, "driver");
  bool is_bare = driver != NULL && is_file_driver (driver);
  g_autofree char *file = g_strconcat (prefix, "file.", NULL);

  node->options.opener = opener;
  if (!take_bool (words, prefix, "force-share", &share, error) ||
      !take_bool (words, prefix, "read-only", &read_only, error) ||
      !refuse_reference (words, prefix, "file", &none, error))
    return NULL;
  if (share)
    flags |= VP_IMAGE_NO_LOCK;
  if (read_only && flags & VP_IMAGE_WRITABLE) {
    (void) usage (error, "Block node is read-only");
    return NULL;
  }
  node->options.flags = flags;
  if (!open_protocol (words, is_bare ? prefix : file, flags, &node->file,
                      error))
    return NULL;

  const VpFormat *format =
      find_format (words, prefix, node, format_name, error);
  if (format == NULL && error != NULL && *error != NULL)
    return NULL;
  if (node->file == NULL && prefix[0] == '\0') {
    (void) (driver != NULL
                ? usage (error, "A block device must be specified for \"file\"")
                : usage (error, "Must specify either driver or file"));
    return NULL;
  }
  node->options.format = format != NULL ? format->name : NULL;
  if (!take_caching (words, prefix, &caching, error) ||
      !take_tuning (words, prefix, node_tuning, error) ||
      /* A backing layer that is not named here may be of any format. */
      !take_format_words (words, prefix,
                          format != NULL ? format->name : "qcow2", node,
                          error) ||
      !take_backing (words, prefix, node, error))
    return NULL;
  if (node->file != NULL)
    vp_file_add_caching (node->file, caching);
  const char *unknown = find_untaken (words, prefix);
  if (unknown != NULL) {
    (void) usage (error, "Block format '%s' does not support the option '%s'",
                  format != NULL ? format->name : "?", unknown);
    return NULL;
  }
  return g_steal_pointer (&node);
}

/* ---- opening --------------------------------------------------------------
 */

/* What was only guessed to be raw and is to be written stays raw: a guest's
 * first sector must not choose what the file is taken for the next time. */
static void
guard_guess (VpImage *image)
{
  VpFile *file = vp_image_get_file (image);

  if (!file->writable || vp_image_get_format (image) != &vp_format_raw)
    return;
  g_autofree char *shown = vp_img_printable (file->name);
  fprintf (stderr,
           "WARNING: Image format was not specified for '%s' and probing "
           "guessed raw.\n"
           "         Automatically detecting the format is dangerous for raw "
           "images, write operations on block 0 will be restricted.\n"
           "         Specify the 'raw' format explicitly to remove the "
           "restrictions.\n",
           shown);
  vp_file_guard_head (file, vp_probe_head_is_raw);
}

static VpImage *
open_words (const VpImgAccess *access, GPtrArray *pairs, const char *format,
            VpImageFlags flags, VpOpener *opener, GError **error)
{
  g_autofree bool *taken = g_new0 (bool, pairs->len / 2 + 1);
  Words words = { pairs, taken, access };
  g_autoptr (GError) why = NULL;
  g_autoptr (Node) top = read_node (&words, "", flags, format, opener, &why);

  if (top == NULL) {
    g_propagate_error (error, g_steal_pointer (&why));
    return NULL;
  }
  VpImage *image = vp_image_open_with (top->file, &top->options, error);
  if (image != NULL && top->is_guess)
    guard_guess (image);
  return image;
}

/* "nbd://host": a colon before any slash. */
static bool
has_scheme (const char *name, size_t *ret_len)
{
  *ret_len = strcspn (name, ":/");
  return name[*ret_len] == ':' && *ret_len > 0;
}

static VpImage *
open_path (const char *path, const VpOpenOptions *options, GError **error)
{
  size_t len;

  if (g_str_has_prefix (path, "file:"))
    path += strlen ("file:");
  else if (has_scheme (path, &len) && !g_file_test (path, G_FILE_TEST_EXISTS)) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Unknown protocol '%.*s'", (int) len, path);
    return NULL;
  }
  VpFileFlags flags = file_flags (options->flags);
  if (options->opener != NULL) /* nothing of a stranger's */
    flags |= VP_FILE_NULL;
  g_autoptr (VpFile) file = vp_file_open (path, flags, error);
  VpImage *image =
      file != NULL ? vp_image_open_with (file, options, error) : NULL;
  if (image != NULL && options->format == NULL)
    guard_guess (image);
  return image;
}

static VpImage *
open_name (const VpImgAccess *access, const char *name, const char *format,
           VpImageFlags flags, GError **error)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);

  if (access->no_lock)
    flags |= VP_IMAGE_NO_LOCK;
  VpOpener opener =
      vp_opener_person (flags & VP_IMAGE_NO_LOCK ? VP_FILE_NO_LOCK : 0);
  if (access->safe) {
    VpOpenOptions options = { .format = format, .flags = flags };
    return open_path (name, &options, error);
  }
  if (access->image_opts)
    vp_img_split_options (pairs, name);
  else if (g_str_has_prefix (name, "json:")) {
    if (!vp_json_read_flat (name + strlen ("json:"), pairs, error))
      return NULL;
  } else {
    VpOpenOptions options = { .format = format,
                              .flags = flags,
                              .opener = &opener };
    return open_path (name, &options, error);
  }
  if (access->image_opts && pairs->len == 2 && strchr (name, '=') == NULL) {
    (void) usage (error, "Cannot find device='%s' nor node-name='%s'", name,
                  name);
    return NULL;
  }
  return open_words (access, pairs, format, flags, &opener, error);
}

VpImage *
vp_img_open (const VpImgAccess *access, const char *name, const char *format,
             VpImageFlags flags, GError **error)
{
  VpImage *image = open_name (access, name, format, flags, error);

  if (image != NULL)
    vp_image_add_caching (image, access->caching);
  return image;
}
