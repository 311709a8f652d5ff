/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* formats: the table of drivers, and creation options as text. */
#include "config.h"

#include "storage/formats.h"

#include <string.h>

#include "storage/error.h"

static const VpFormat *const formats[] = {
  &vp_format_raw, &vp_format_qcow, &vp_format_qcow2,
  &vp_format_cow, &vp_format_luks, &vp_format_vmdk,
  &vp_format_vdi, &vp_format_vpc,  &vp_format_vhdx,
  NULL,
};

const VpFormat *const *
vp_formats_all (void)
{
  return formats;
}

const VpFormat *
vp_formats_find (const char *name, GError **error)
{
  for (size_t i = 0; formats[i]; i++)
    if (strcmp (formats[i]->name, name) == 0)
      return formats[i];
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNKNOWN_FORMAT,
               "Unknown driver '%s'", name);
  return NULL;
}

bool
vp_formats_can_create (const VpFormat *format, GError **error)
{
  if (format->create)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "Format driver '%s' does not support image creation",
               format->name);
  return false;
}

/* ---- options as text ---------------------------------------------------- */

static bool
bad_value (const char *name, const char *value, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Invalid parameter '%s' for option '%s'", value, name);
  return false;
}

bool
vp_parse_size (const char *text, uint64_t *ret_size, GError **error)
{
  static const char units[] = "bkmgtpe";
  const char *p = text;
  uint64_t whole = 0, unit = 1;
  double fraction = 0, weight = 0.1;
  bool ok = g_ascii_isdigit (*p);
  for (; ok && g_ascii_isdigit (*p); p++)
    ok = !__builtin_mul_overflow (whole, 10u, &whole) &&
         !__builtin_add_overflow (whole, (uint64_t) (*p - '0'), &whole);
  if (ok && *p == '.')
    for (p++; g_ascii_isdigit (*p); p++, weight /= 10)
      fraction += weight * (*p - '0');
  if (ok && *p) {
    const char *found = strchr (units, g_ascii_tolower (*p));
    ok = found && p[1] == '\0';
    if (ok)
      unit = UINT64_C (1) << (10 * (found - units));
  }
  uint64_t size;
  ok = ok && !__builtin_mul_overflow (whole, unit, &size) &&
       !__builtin_add_overflow (size, (uint64_t) (fraction * (double) unit),
                                &size) &&
       size <= INT64_MAX;
  if (!ok) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Invalid size '%s': a number with one of b, k, M, G, T, P, E",
                 text);
    return false;
  }
  *ret_size = size;
  return true;
}

static bool
parse_bool (const char *name, const char *value, bool *ret_on, GError **error)
{
  if (strcmp (value, "on") == 0 || strcmp (value, "true") == 0 ||
      strcmp (value, "yes") == 0)
    *ret_on = true;
  else if (strcmp (value, "off") == 0 || strcmp (value, "false") == 0 ||
           strcmp (value, "no") == 0)
    *ret_on = false;
  else
    return bad_value (name, value, error);
  return true;
}

/* One of a list of words; its place in the list. */
static bool
parse_word (const char *name, const char *value, const char *const *words,
            unsigned *ret_index, GError **error)
{
  for (unsigned i = 0; words[i]; i++)
    if (strcmp (words[i], value) == 0) {
      *ret_index = i;
      return true;
    }
  return bad_value (name, value, error);
}

/* Options that are known and that we do not have yet: "off" is fine. */
static bool
refuse_on (const char *name, const char *value, GError **error)
{
  if (strcmp (value, "off") == 0 || strcmp (value, "false") == 0 ||
      strcmp (value, "no") == 0)
    return true;
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "option '%s' is not supported yet", name);
  return false;
}

static bool
not_accepted (const char *name, const char *value, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
               "Parameter '%s' does not accept value '%s'", name, value);
  return false;
}

static bool
set_compat (VpCreateOptions *options, const char *name, const char *value,
            GError **error)
{
  static const char *const words[] = { "0.10", "v2", "1.1", "v3", NULL };
  unsigned index;
  if (!parse_word (name, value, words, &index, NULL))
    return not_accepted ("version", value, error);
  options->compat = 2 + index / 2;
  return true;
}

static bool
set_preallocation (VpCreateOptions *options, const char *name,
                   const char *value, GError **error)
{
  static const char *const words[] = { "off", "metadata", "falloc", "full",
                                       NULL };
  unsigned index;
  if (!parse_word (name, value, words, &index, NULL))
    return not_accepted (name, value, error);
  options->preallocation = (VpPreallocation) index;
  return true;
}

static bool
set_compression (VpCreateOptions *options, const char *name, const char *value,
                 GError **error)
{
  static const char *const words[] = { "zlib", "zstd", NULL };
  unsigned index;
  if (!parse_word (name, value, words, &index, NULL))
    return not_accepted ("compression-type", value, error);
  options->zstd = index == 1;
  return true;
}

static bool
set_refcount_bits (VpCreateOptions *options, const char *name,
                   const char *value, GError **error)
{
  uint64_t bits;
  if (!vp_parse_size (value, &bits, NULL) || bits == 0 || bits > 64 ||
      (bits & (bits - 1))) {
    g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                         "Refcount width must be a power of two and may not "
                         "exceed 64 bits");
    return false;
  }
  options->refcount_bits = (unsigned) bits;
  return true;
}

/* What the driver looks at itself. */
static bool
set_word (VpCreateOptions *options, const char *name, const char *value)
{
  const struct {
    const char *name;
    const char **to;
  } known[] = {
    { "subformat", &options->subformat },
    { "adapter_type", &options->adapter_type },
    { "hwversion", &options->hwversion },
    { "toolsversion", &options->toolsversion },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++)
    if (strcmp (known[i].name, name) == 0) {
      *known[i].to = value;
      return true;
    }
  return false;
}

static bool
set_encrypt (VpEncryptOptions *encrypt, const char *name, const char *value)
{
  const struct {
    const char *name;
    const char **to;
  } known[] = {
    { "encrypt.format", &encrypt->format },
    { "encrypt.key-secret", &encrypt->key_secret },
    { "encrypt.cipher-alg", &encrypt->cipher_alg },
    { "encrypt.cipher-mode", &encrypt->cipher_mode },
    { "encrypt.hash-alg", &encrypt->hash_alg },
    { "encrypt.ivgen-alg", &encrypt->ivgen_alg },
    { "encrypt.ivgen-hash-alg", &encrypt->ivgen_hash_alg },
    { "encrypt.iter-time", &encrypt->iter_time },
  };
  /* "luks" has the same words without "encrypt.". */
  size_t skip = g_str_has_prefix (name, "encrypt.") ? 0 : strlen ("encrypt.");
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++)
    if (strcmp (known[i].name + skip, name) == 0) {
      *known[i].to = value;
      return true;
    }
  return false;
}

bool
vp_create_options_set (VpCreateOptions *options, const VpFormat *format,
                       const char *name, const char *value, GError **error)
{
  bool known = false;
  for (const VpOption *option = format->options; option->name; option++)
    known = known || strcmp (option->name, name) == 0;
  if (!known) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                 "Invalid parameter '%s'", name);
    return false;
  }
  if (strcmp (name, "size") == 0)
    return vp_parse_size (value, &options->size, error);
  if (strcmp (name, "backing_file") == 0)
    options->backing_name = value;
  else if (strcmp (name, "backing_fmt") == 0)
    options->backing_format = value;
  else if (strcmp (name, "preallocation") == 0)
    return set_preallocation (options, name, value, error);
  else if (strcmp (name, "cluster_size") == 0)
    return vp_parse_size (value, &options->cluster_size, error);
  else if (strcmp (name, "compat") == 0)
    return set_compat (options, name, value, error);
  else if (strcmp (name, "refcount_bits") == 0)
    return set_refcount_bits (options, name, value, error);
  else if (strcmp (name, "lazy_refcounts") == 0)
    return parse_bool (name, value, &options->lazy_refcounts, error);
  else if (strcmp (name, "data_file") == 0)
    options->data_name = value;
  else if (strcmp (name, "data_file_raw") == 0)
    return parse_bool (name, value, &options->data_file_raw, error);
  else if (strcmp (name, "extended_l2") == 0)
    return parse_bool (name, value, &options->extended_l2, error);
  else if (strcmp (name, "compression_type") == 0)
    return set_compression (options, name, value, error);
  else if (strcmp (name, "compat6") == 0)
    return parse_bool (name, value, &options->compat6, error);
  else if (strcmp (name, "zeroed_grain") == 0)
    return parse_bool (name, value, &options->zeroed_grain, error);
  else if (strcmp (name, "extent_size") == 0)
    return vp_parse_size (value, &options->extent_size, error);
  else if (set_word (options, name, value))
    return true;
  else if (strcmp (name, "static") == 0)
    return parse_bool (name, value, &options->is_static, error);
  else if (strcmp (name, "encryption") == 0)
    return parse_bool (name, value, &options->encrypt.legacy, error);
  else if (!set_encrypt (&options->encrypt, name, value))
    return refuse_on (name, value, error);
  return true;
}
