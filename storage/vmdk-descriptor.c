/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-descriptor: see the header.  Line by line, and every line is looked at:
 * what names a file names one component, what is a number is one as a whole,
 * and nothing is said twice. */
#include "config.h"

#include "storage/vmdk-descriptor.h"

#include <string.h>

#include "storage/error.h"
#include "storage/format.h"

#define MARK "# Disk DescriptorFile"

static const char *const access_words[] = { "RW", "RDONLY", "NOACCESS" };
static const char *const kind_words[] = { "FLAT",   "VMFS",       "ZERO",
                                          "SPARSE", "VMFSSPARSE", "SESPARSE" };

typedef struct {
  const char *name; /* of the file */
  unsigned number;  /* of the line, from 1 */
  char *words;      /* the line, stripped */
  size_t at;        /* of words in the text */
  size_t end;       /* behind the line and its end */
  const char *encoding;
} Line;

const char *
vmdk_kind_to_text (VmdkKind kind)
{
  return kind_words[kind];
}

static bool
corrupt (const Line *line, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: line %u of the descriptor: %s", line->name, line->number,
               what);
  return false;
}

static bool
unsupported (const Line *line, GError **error, const char *what,
             const char *word)
{
  g_autofree char *shown = g_strescape (word, NULL);
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
               "%s: line %u of the descriptor: %s '%.64s' is not supported",
               line->name, line->number, what, shown);
  return false;
}

/* ---- recognition -------------------------------------------------------- */

/* One of the lines that say nothing. */
static bool
is_idle (const char *line, size_t len)
{
  if (len > 0 && line[0] == '#')
    return true;
  while (len > 0 && strchr (" \r", line[len - 1]))
    len--;
  return len == 0;
}

/* QEMU passes over comments and empty lines, and wants a version then. */
bool
vmdk_descriptor_probe (const uint8_t *head, size_t len)
{
  const char *p = (const char *) head, *end = p + len, *stop;
  if (len >= strlen (MARK) && memcmp (p, MARK, strlen (MARK)) == 0)
    return true;
  for (; p < end && (stop = memchr (p, '\n', (size_t) (end - p)));
       p = stop + 1) {
    size_t line_len = (size_t) (stop - p);
    if (is_idle (p, line_len))
      continue;
    if (p[line_len - 1] == '\r')
      line_len--;
    return line_len == 9 && memcmp (p, "version=", 8) == 0 && p[8] >= '1' &&
           p[8] <= '3';
  }
  return false;
}

/* ---- words -------------------------------------------------------------- */

static bool
is_space (char c)
{
  return c == ' ' || c == '\t';
}

/* The next word; *p is moved behind it.  ret_at: where it stands in words. */
static char *
next_word (const Line *line, const char **p, VmdkSpan *ret_at)
{
  while (is_space (**p))
    (*p)++;
  const char *start = *p;
  while (**p && !is_space (**p))
    (*p)++;
  ret_at->at = line->at + (size_t) (start - line->words);
  ret_at->len = (size_t) (*p - start);
  return g_strndup (start, ret_at->len);
}

static bool
parse_number (const char *word, uint64_t *ret_number)
{
  uint64_t number = 0;
  if (!*word)
    return false;
  for (const char *p = word; *p; p++)
    if (!g_ascii_isdigit (*p) ||
        __builtin_mul_overflow (number, 10u, &number) ||
        __builtin_add_overflow (number, (uint64_t) (*p - '0'), &number))
      return false;
  *ret_number = number;
  return true;
}

static bool
parse_sectors (const char *word, uint64_t *ret_bytes)
{
  uint64_t sectors;
  if (!parse_number (word, &sectors) ||
      sectors > VP_MAX_VIRTUAL_SIZE / VMDK_SECTOR)
    return false;
  *ret_bytes = sectors * VMDK_SECTOR;
  return true;
}

static bool
parse_hex (const char *word, uint32_t *ret_number)
{
  uint32_t number = 0;
  size_t len = strlen (word);
  if (len == 0 || len > 8)
    return false;
  for (; *word; word++) {
    int digit = g_ascii_xdigit_value (*word);
    if (digit < 0)
      return false;
    number = number << 4 | (uint32_t) digit;
  }
  *ret_number = number;
  return true;
}

static bool
find_word (const char *word, const char *const *words, size_t n_words,
           unsigned *ret_index)
{
  for (unsigned i = 0; i < n_words; i++)
    if (strcmp (word, words[i]) == 0) {
      *ret_index = i;
      return true;
    }
  return false;
}

/* A name is text, in UTF-8 or else without accents. */
static bool
check_text (const Line *line, const char *name, GError **error)
{
  bool utf8 =
      !line->encoding || g_ascii_strcasecmp (line->encoding, "UTF-8") == 0;
  if (*name == '\0' || strlen (name) > VP_MAX_NAME_LEN)
    return corrupt (line, error, "a name that is empty or too long");
  if (utf8 ? !g_utf8_validate (name, -1, NULL) : !g_str_is_ascii (name))
    return corrupt (line, error, "a name that is no text");
  return true;
}

static bool
check_component (const Line *line, const char *name, GError **error)
{
  if (!check_text (line, name, error))
    return false;
  if (strpbrk (name, "/\\") || strcmp (name, ".") == 0 ||
      strcmp (name, "..") == 0) {
    g_autofree char *shown = g_strescape (name, NULL);
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED,
                 "%s: line %u of the descriptor names '%s', which is not in "
                 "its own folder",
                 line->name, line->number, shown);
    return false;
  }
  return true;
}

/* ---- extents ------------------------------------------------------------ */

static void
extent_line_free (gpointer data)
{
  VmdkExtentLine *extent = data;
  g_free (extent->name);
  g_free (extent);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VmdkExtentLine, extent_line_free)

/* "NAME", and behind it the offset of FLAT and VMFS; p stands before both. */
static bool
parse_place (const Line *line, const char *p, VmdkExtentLine *extent,
             GError **error)
{
  VmdkSpan at;
  while (is_space (*p))
    p++;
  const char *stop = *p == '"' ? strchr (p + 1, '"') : NULL;
  if (!stop)
    return corrupt (line, error, "an extent without the name of a file");
  extent->name = g_strndup (p + 1, (size_t) (stop - p - 1));
  p = stop + 1;
  if (!check_component (line, extent->name, error))
    return false;
  bool flat = extent->kind == VMDK_FLAT || extent->kind == VMDK_VMFS;
  g_autofree char *offset = next_word (line, &p, &at);
  if (*offset && (!flat || !parse_sectors (offset, &extent->offset) ||
                  extent->offset > VP_MAX_VIRTUAL_SIZE - extent->length))
    return corrupt (line, error, "the offset of an extent is wrong");
  if (!*offset && extent->kind == VMDK_FLAT)
    return corrupt (line, error, "a flat extent without an offset");
  /* VMware may say a partition's and a device's id behind it. */
  while (is_space (*p))
    p++;
  return *p == '\0' || corrupt (line, error, "words behind an extent");
}

static bool
parse_extent (VmdkDescriptor *descriptor, const Line *line, GError **error)
{
  g_autoptr (VmdkExtentLine) extent = g_new0 (VmdkExtentLine, 1);
  const char *p = line->words;
  VmdkSpan at;
  unsigned access, kind;
  g_autofree char *access_word = next_word (line, &p, &at);
  if (!find_word (access_word, access_words, G_N_ELEMENTS (access_words),
                  &access))
    return corrupt (line, error, "an extent without an access");
  extent->access = (VmdkAccess) access;
  g_autofree char *sectors = next_word (line, &p, &extent->sectors);
  if (!parse_sectors (sectors, &extent->length))
    return corrupt (line, error, "the size of an extent is wrong");
  g_autofree char *kind_word = next_word (line, &p, &at);
  if (!find_word (kind_word, kind_words, G_N_ELEMENTS (kind_words), &kind))
    return unsupported (line, error, "an extent of type", kind_word);
  extent->kind = (VmdkKind) kind;
  if (extent->kind != VMDK_ZERO && !parse_place (line, p, extent, error))
    return false;
  if (extent->length > VP_MAX_VIRTUAL_SIZE - descriptor->size)
    return corrupt (line, error, "the extents are too large");
  if (descriptor->extents->len >= VP_MAX_PARTS)
    return corrupt (line, error, "too many extents");
  descriptor->size += extent->length;
  g_ptr_array_add (descriptor->extents, g_steal_pointer (&extent));
  return true;
}

/* ---- keys --------------------------------------------------------------- */

/* KEY = VALUE, with or without spaces and quotation marks. */
static bool
split_pair (const Line *line, char **ret_key, char **ret_value,
            VmdkSpan *ret_at)
{
  const char *equals = strchr (line->words, '=');
  if (!equals)
    return false;
  g_autofree char *key =
      g_strchomp (g_strndup (line->words, (size_t) (equals - line->words)));
  for (const char *p = key; *p; p++)
    if (!g_ascii_isalnum (*p) && !strchr ("._-", *p))
      return false;
  const char *p = equals + 1, *end = line->words + strlen (line->words);
  while (is_space (*p))
    p++;
  if (*p == '"') {
    if (end - p < 2 || end[-1] != '"' ||
        memchr (p + 1, '"', (size_t) (end - p) - 2))
      return false;
    p++;
    end--;
  }
  *ret_at =
      (VmdkSpan){ line->at + (size_t) (p - line->words), (size_t) (end - p) };
  *ret_key = g_steal_pointer (&key);
  *ret_value = g_strndup (p, ret_at->len);
  return true;
}

static bool
said_twice (const Line *line, const char *key, GError **error)
{
  g_autofree char *what = g_strdup_printf ("%s is there twice", key);
  return corrupt (line, error, what);
}

static bool
take_version (const Line *line, const char *value, GError **error)
{
  uint64_t version;
  if (!parse_number (value, &version) || version < 1 || version > 3)
    return unsupported (line, error, "version", value);
  return true;
}

static bool
take_cid (const Line *line, const char *value, const VmdkSpan *at,
          uint32_t *ret_cid, VmdkSpan *ret_at, GError **error)
{
  if (ret_at->len > 0)
    return said_twice (line, "a CID", error);
  *ret_at = *at;
  return parse_hex (value, ret_cid) ||
         corrupt (line, error, "a CID is not a number");
}

static bool
take_type (VmdkDescriptor *descriptor, const Line *line, const char *value,
           GError **error)
{
  /* Raw disks of the host are none of an image's business; partitionedDevice
   * is both.  A fullDevice may also be a file, and then it is a flat one. */
  static const char *const types[] = {
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "vmfs",
    "twoGbMaxExtentFlat",
    "streamOptimized",
    "vmfsSparse",
    "vmfsThin",
    "vmfsPreallocated",
    "fullDevice",
    "vmfsEagerZeroedThick",
    "seSparse",
    "custom",
    "2GbMaxExtentSparse",
    "2GbMaxExtentFlat",
  };
  unsigned index;
  if (descriptor->create_type)
    return said_twice (line, "createType", error);
  if (!find_word (value, types, G_N_ELEMENTS (types), &index))
    return unsupported (line, error, "the image type", value);
  descriptor->create_type = g_strdup (value);
  descriptor->after_type = line->end;
  return true;
}

static bool
take_hint (VmdkDescriptor *descriptor, const Line *line, const char *value,
           GError **error)
{
  if (descriptor->parent_hint)
    return said_twice (line, "parentFileNameHint", error);
  descriptor->parent_hint = g_strdup (value);
  descriptor->at_hint = (VmdkSpan){ line->at, line->end - line->at };
  return check_text (line, value, error);
}

static bool
take_pair (VmdkDescriptor *descriptor, const Line *line, const char *key,
           const char *value, const VmdkSpan *at, GError **error)
{
  static const char *const idle[] = { "encoding", "isNativeSnapshot",
                                      "changeTrackPath" };
  unsigned index;
  if (strcmp (key, "version") == 0)
    return take_version (line, value, error);
  if (strcmp (key, "CID") == 0)
    return take_cid (line, value, at, &descriptor->cid, &descriptor->at_cid,
                     error);
  if (strcmp (key, "parentCID") == 0)
    return take_cid (line, value, at, &descriptor->parent_cid,
                     &descriptor->at_parent_cid, error);
  if (strcmp (key, "createType") == 0)
    return take_type (descriptor, line, value, error);
  if (strcmp (key, "parentFileNameHint") == 0)
    return take_hint (descriptor, line, value, error);
  if (!descriptor->odd && !g_str_has_prefix (key, "ddb.") &&
      !find_word (key, idle, G_N_ELEMENTS (idle), &index))
    descriptor->odd = g_strdup (line->words);
  return true;
}

static bool
parse_line (VmdkDescriptor *descriptor, const Line *line, GError **error)
{
  g_autofree char *key = NULL, *value = NULL;
  VmdkSpan at;
  if (line->words[0] == '\0' || line->words[0] == '#')
    return true;
  for (size_t i = 0; i < G_N_ELEMENTS (access_words); i++)
    if (g_str_has_prefix (line->words, access_words[i]) &&
        is_space (line->words[strlen (access_words[i])]))
      return parse_extent (descriptor, line, error);
  if (split_pair (line, &key, &value, &at))
    return take_pair (descriptor, line, key, value, &at, error);
  if (!descriptor->odd)
    descriptor->odd = g_strdup (line->words);
  return true;
}

/* ---- the text ----------------------------------------------------------- */

/* As it is, up to the zeros that fill the room behind it. */
static char *
take_text (const Line *line, const uint8_t *bytes, size_t len, GError **error)
{
  const uint8_t *nul = memchr (bytes, 0, len);
  size_t text_len = nul ? (size_t) (nul - bytes) : len;
  if (text_len > VMDK_MAX_TEXT) {
    (void) corrupt (line, error, "it is too long");
    return NULL;
  }
  for (size_t i = 0; i < text_len; i++)
    if (bytes[i] < ' ' && !strchr ("\t\r\n", bytes[i])) {
      (void) corrupt (line, error, "it is no text");
      return NULL;
    }
  return g_strndup ((const char *) bytes, text_len);
}

/* What is said in one line and needed in those before it. */
static char *
find_encoding (const char *text)
{
  const char *found = strstr (text, "\nencoding=");
  if (!found)
    return NULL;
  found += strlen ("\nencoding=");
  if (*found == '"')
    found++;
  return g_strndup (found, strcspn (found, "\"\r\n"));
}

static bool
parse_lines (VmdkDescriptor *descriptor, Line *line, GError **error)
{
  const char *text = descriptor->text;
  for (const char *p = text; *p; line->number++) {
    size_t len = strcspn (p, "\n"), skip = 0;
    const char *next = p + len + (p[len] == '\n');
    while (len > 0 && (is_space (p[len - 1]) || p[len - 1] == '\r'))
      len--;
    while (skip < len && is_space (p[skip]))
      skip++;
    line->at = (size_t) (p - text) + skip;
    line->end = (size_t) (next - text);
    g_autofree char *words = g_strndup (p + skip, len - skip);
    line->words = words;
    if (!parse_line (descriptor, line, error))
      return false;
    p = next;
  }
  return true;
}

static bool
check_whole (const VmdkDescriptor *descriptor, const Line *line, GError **error)
{
  if (!descriptor->create_type)
    return corrupt (line, error, "createType is missing");
  if (descriptor->at_cid.len == 0)
    return corrupt (line, error, "CID is missing");
  if (descriptor->parent_cid != VMDK_NO_PARENT && !descriptor->parent_hint)
    return corrupt (line, error, "parentFileNameHint is missing");
  return true;
}

VmdkDescriptor *
vmdk_descriptor_parse (const char *name, const uint8_t *bytes, size_t len,
                       GError **error)
{
  Line line = { .name = name, .number = 1 };
  g_autoptr (VmdkDescriptor) descriptor = g_new0 (VmdkDescriptor, 1);
  descriptor->parent_cid = VMDK_NO_PARENT;
  descriptor->extents = g_ptr_array_new_with_free_func (extent_line_free);
  descriptor->text = take_text (&line, bytes, len, error);
  if (!descriptor->text)
    return NULL;
  g_autofree char *encoding = find_encoding (descriptor->text);
  line.encoding = encoding;
  if (!parse_lines (descriptor, &line, error) ||
      !check_whole (descriptor, &line, error))
    return NULL;
  return g_steal_pointer (&descriptor);
}

void
vmdk_descriptor_free (VmdkDescriptor *descriptor)
{
  if (!descriptor)
    return;
  g_clear_pointer (&descriptor->extents, g_ptr_array_unref);
  g_free (descriptor->text);
  g_free (descriptor->create_type);
  g_free (descriptor->parent_hint);
  g_free (descriptor->odd);
  g_free (descriptor);
}

/* ---- changing it -------------------------------------------------------- */

static char *
splice (const char *text, VmdkSpan span, const char *with)
{
  return g_strdup_printf ("%.*s%s%s", (int) span.at, text, with,
                          text + span.at + span.len);
}

char *
vmdk_descriptor_with_cid (const VmdkDescriptor *descriptor, uint32_t cid)
{
  g_autofree char *value = g_strdup_printf ("%08x", cid);
  return splice (descriptor->text, descriptor->at_cid, value);
}

char *
vmdk_descriptor_with_parent (const VmdkDescriptor *descriptor, const char *hint,
                             uint32_t parent_cid)
{
  g_autofree char *value = g_strdup_printf ("%08x", parent_cid);
  g_autofree char *line =
      hint ? g_strdup_printf ("parentFileNameHint=\"%s\"\n", hint)
           : g_strdup ("");
  VmdkSpan at_hint = descriptor->at_hint, at_cid = descriptor->at_parent_cid;
  if (at_hint.len == 0)
    at_hint.at = descriptor->after_type;
  if (at_cid.len == 0) {
    /* No such line yet: it comes with the hint's. */
    g_autofree char *both = g_strdup_printf ("parentCID=%s\n%s", value, line);
    return splice (descriptor->text, at_hint, both);
  }
  /* The later one first: the other's place stays as it is. */
  bool hint_first = at_hint.at > at_cid.at;
  g_autofree char *half =
      splice (descriptor->text, hint_first ? at_hint : at_cid,
              hint_first ? line : value);
  return splice (half, hint_first ? at_cid : at_hint,
                 hint_first ? value : line);
}

char *
vmdk_descriptor_with_length (const VmdkDescriptor *descriptor, unsigned extent,
                             uint64_t length)
{
  const VmdkExtentLine *line = g_ptr_array_index (descriptor->extents, extent);
  g_autofree char *value =
      g_strdup_printf ("%" G_GUINT64_FORMAT, length / VMDK_SECTOR);
  return splice (descriptor->text, line->sectors, value);
}

/* ---- a new one ---------------------------------------------------------- */

char *
vmdk_descriptor_write (const VmdkDescriptorSpec *spec)
{
  GString *text = g_string_new (MARK "\nversion=1\n");
  unsigned heads = strcmp (spec->adapter_type, "ide") == 0 ? 16 : 255;
  const unsigned sectors = 63;
  g_string_append_printf (text, "CID=%08x\nparentCID=%08x\n", spec->cid,
                          spec->parent_cid);
  g_string_append_printf (text, "createType=\"%s\"\n", spec->create_type);
  if (spec->parent_hint)
    g_string_append_printf (text, "parentFileNameHint=\"%s\"",
                            spec->parent_hint);
  g_string_append (text, "\n# Extent description\n");
  for (unsigned i = 0; i < spec->n_extents; i++) {
    const VmdkExtentLine *extent = &spec->extents[i];
    g_string_append_printf (text, "RW %" G_GUINT64_FORMAT " %s \"%s\"%s\n",
                            extent->length / VMDK_SECTOR,
                            kind_words[extent->kind], extent->name,
                            extent->kind == VMDK_FLAT ? " 0" : "");
  }
  g_string_append (text, "\n# The Disk Data Base\n#DDB\n\n");
  g_string_append_printf (text, "ddb.virtualHWVersion = \"%s\"\n",
                          spec->hwversion);
  g_string_append_printf (
      text, "ddb.geometry.cylinders = \"%" G_GUINT64_FORMAT "\"\n",
      spec->size / ((uint64_t) VMDK_SECTOR * heads * sectors));
  g_string_append_printf (text, "ddb.geometry.heads = \"%u\"\n", heads);
  g_string_append_printf (text, "ddb.geometry.sectors = \"%u\"\n", sectors);
  g_string_append_printf (text, "ddb.adapterType = \"%s\"\n",
                          spec->adapter_type);
  g_string_append_printf (text, "ddb.toolsVersion = \"%s\"\n",
                          spec->toolsversion);
  return g_string_free (text, FALSE);
}
