/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qcow2-describe: the header and its extensions in words.  Nothing is believed
 * and nothing is refused: what makes no sense is said to make none. */
#include "config.h"

#include "storage/describe.h"
#include "storage/qcow2.h"

#include <string.h>

#define HEAD_SIZE      ((size_t) 64 << 10)
#define MAX_EXTENSIONS 64u
#define FEATURE_LEN    48u

typedef struct {
  uint8_t *head;
  size_t len;
  Qcow2Header header;
  uint64_t end; /* of the header, where the extensions begin */
  GPtrArray *facts;
} Describe;

/* ---- fields ------------------------------------------------------------- */

static char *
bits_in_words (uint64_t bits, const char *const *names, unsigned n_names)
{
  GString *words = g_string_new (NULL);
  for (; bits; bits &= bits - 1) {
    unsigned bit = (unsigned) __builtin_ctzll (bits);
    if (words->len)
      g_string_append (words, ", ");
    if (bit < n_names)
      g_string_append (words, names[bit]);
    else
      g_string_append_printf (words, "unknown bit %u", bit);
  }
  if (words->len == 0)
    g_string_append (words, "none");
  return g_string_free (words, FALSE);
}

static char *
one_of (uint64_t value, const char *const *words, unsigned n_words)
{
  return g_strdup (value < n_words ? words[value] : "unknown");
}

static char *
power (uint64_t bits, unsigned max, const char *unit)
{
  return bits > max
             ? g_strdup ("too large")
             : g_strdup_printf ("%" PRIu64 "%s", UINT64_C (1) << bits, unit);
}

static char *
meaning_of (const char *name, uint64_t value)
{
  static const char *const methods[] = { "not encrypted", "AES", "LUKS" };
  static const char *const types[] = { "zlib", "zstd" };
  static const char *const incompatible[] = {
    "dirty", "corrupt", "external data file", "compression type", "extended L2"
  };
  static const char *const compatible[] = { "lazy refcounts" };
  static const char *const autoclear[] = { "bitmaps", "raw external data" };

  if (strcmp (name, "magic") == 0)
    return g_strdup (value == QCOW2_MAGIC ? "QFI\\xfb" : "not qcow2");
  if (strcmp (name, "version") == 0)
    return g_strdup (value == 2   ? "compat 0.10"
                     : value == 3 ? "compat 1.1"
                                  : "unknown");
  if (strcmp (name, "cluster_bits") == 0)
    return power (value, 62, " bytes a cluster");
  if (strcmp (name, "refcount_order") == 0)
    return power (value, 6, " bits a refcount");
  if (strcmp (name, "crypt_method") == 0)
    return one_of (value, methods, G_N_ELEMENTS (methods));
  if (strcmp (name, "compression_type") == 0)
    return one_of (value, types, G_N_ELEMENTS (types));
  if (strcmp (name, "incompatible") == 0)
    return bits_in_words (value, incompatible, G_N_ELEMENTS (incompatible));
  if (strcmp (name, "compatible") == 0)
    return bits_in_words (value, compatible, G_N_ELEMENTS (compatible));
  if (strcmp (name, "autoclear") == 0)
    return bits_in_words (value, autoclear, G_N_ELEMENTS (autoclear));
  if (strcmp (name, "backing_offset") == 0 && value == 0)
    return g_strdup ("no backing file");
  return NULL;
}

static void
describe_fields (Describe *describe)
{
  const VpLayout *layout = &qcow2_header_layout;
  for (size_t i = 0; i < layout->n_fields; i++) {
    const VpField *field = &layout->fields[i];
    /* What lies behind the header's own end is none of it. */
    if (!vp_range_ok (field->offset, field->width,
                      MIN (describe->len, describe->end)))
      continue;
    uint64_t value = vp_layout_get (field, &describe->header);
    vp_describe_number (describe->facts, field->offset, field->width,
                        field->name, value, meaning_of (field->name, value));
  }
}

static void
describe_backing (Describe *describe)
{
  const Qcow2Header *h = &describe->header;
  if (h->backing_offset == 0 ||
      !vp_range_ok (h->backing_offset, h->backing_len, describe->len))
    return;
  vp_describe_text (
      describe->facts, h->backing_offset, h->backing_len, "backing file name",
      g_strndup ((char *) describe->head + h->backing_offset, h->backing_len));
}

/* ---- extensions --------------------------------------------------------- */

static const char *
extension_name (uint32_t type)
{
  switch (type) {
  case QCOW2_EXT_END: return "end of extensions";
  case QCOW2_EXT_BACKING_FORMAT: return "extension: backing file format";
  case QCOW2_EXT_FEATURES: return "extension: feature names";
  case QCOW2_EXT_BITMAPS: return "extension: bitmaps";
  case QCOW2_EXT_CRYPTO: return "extension: encryption header";
  case QCOW2_EXT_DATA_FILE: return "extension: external data file";
  default: return "extension: unknown";
  }
}

static char *
features_in_words (const uint8_t *data, uint32_t len)
{
  static const char *const kinds[] = { "incompatible", "compatible",
                                       "autoclear" };
  GString *words = g_string_new (NULL);
  for (uint32_t i = 0; i + FEATURE_LEN <= len; i += FEATURE_LEN) {
    g_autofree char *name = g_strndup ((const char *) data + i + 2, 46);
    g_string_append_printf (words, "%s%s %u: %s", words->len ? ", " : "",
                            data[i] < G_N_ELEMENTS (kinds) ? kinds[data[i]]
                                                           : "unknown kind",
                            data[i + 1], name);
  }
  return g_string_free (words, FALSE);
}

static char *
extension_meaning (uint32_t type, const uint8_t *data, uint32_t len)
{
  switch (type) {
  case QCOW2_EXT_BACKING_FORMAT:
  case QCOW2_EXT_DATA_FILE: return g_strndup ((const char *) data, len);
  case QCOW2_EXT_FEATURES: return features_in_words (data, len);
  case QCOW2_EXT_BITMAPS:
    return len < 24
               ? g_strdup ("too short")
               : g_strdup_printf ("%" PRIu32 " bitmaps, directory of "
                                  "%" PRIu64 " bytes at 0x%" PRIx64,
                                  vp_be32_get (data), vp_be64_get (data + 8),
                                  vp_be64_get (data + 16));
  case QCOW2_EXT_CRYPTO:
    return len < 16
               ? g_strdup ("too short")
               : g_strdup_printf ("%" PRIu64 " bytes at 0x%" PRIx64,
                                  vp_be64_get (data + 8), vp_be64_get (data));
  default: return g_strdup_printf ("%" PRIu32 " bytes", len);
  }
}

static void
describe_extensions (Describe *describe)
{
  uint64_t at = describe->end;
  for (unsigned i = 0; i < MAX_EXTENSIONS; i++) {
    if (!vp_range_ok (at, 8, describe->len))
      return;
    uint32_t type = vp_be32_get (describe->head + at);
    uint32_t len = vp_be32_get (describe->head + at + 4);
    bool fits = vp_range_ok (at + 8, len, describe->len);
    char *meaning =
        !fits ? g_strdup_printf ("%" PRIu32 " bytes: longer than the header's "
                                 "cluster",
                                 len)
        : type == QCOW2_EXT_END
            ? NULL
            : extension_meaning (type, describe->head + at + 8, len);
    vp_describe_number (describe->facts, at, fits ? 8 + (uint64_t) len : 8,
                        extension_name (type), type, meaning);
    if (!fits || type == QCOW2_EXT_END)
      return;
    at += 8 + vp_round_up (len, 8);
  }
}

bool
qcow2_describe (VpFile *file, GPtrArray *facts, GError **error)
{
  g_autofree uint8_t *head = g_malloc (HEAD_SIZE);
  Describe describe = { .head = head, .facts = facts };
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  describe.len = (size_t) MIN (size, HEAD_SIZE);
  if (!vp_file_read (file, 0, head, describe.len, error))
    return false;
  vp_layout_load (&qcow2_header_layout, head, describe.len, &describe.header);
  describe.end = describe.header.version < 3
                     ? QCOW2_HEADER_V2
                     : MAX (describe.header.header_length, QCOW2_HEADER_V3);
  describe_fields (&describe);
  if (describe.header.magic != QCOW2_MAGIC)
    return true;
  describe_extensions (&describe);
  describe_backing (&describe);
  return true;
}
