/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* walk-xml: one walker for all shapes, and the readers of values.
 *
 * A sentence names what was found, says what would be right, and guesses what
 * was meant where a known name is near.  Values that the schema in etc/ holds
 * in patterns are held here in code; a test compares the two. */
#include "config.h"

#include "daemon/walk-xml.h"

#include "net/addr.h"

#include <libxml/tree.h>

#include <string.h>
#include <sys/socket.h>

static void
add_problem (VpWalk *walk, VpPlace place, VpSeverity severity, const char *code,
             const char *message)
{
  g_ptr_array_add (walk->problems, vp_problem_new (walk->path, place, severity,
                                                   code, "%s", message));
  if (severity == VP_SEVERITY_ERROR)
    walk->n_errors++;
}

void
vp_walk_error (VpWalk *walk, VpPlace place, const char *code,
               const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  add_problem (walk, place, VP_SEVERITY_ERROR, code, message);
}

void
vp_walk_warning (VpWalk *walk, VpPlace place, const char *code,
                 const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  add_problem (walk, place, VP_SEVERITY_WARNING, code, message);
}

static int
compare_places (gconstpointer a, gconstpointer b)
{
  const VpPlace *x = &(*(VpProblem *const *) a)->place;
  const VpPlace *y = &(*(VpProblem *const *) b)->place;

  if (x->line != y->line)
    return x->line < y->line ? -1 : 1;
  return (x->column > y->column) - (x->column < y->column);
}

void
vp_walk_sort (VpWalk *walk, guint first)
{
  GPtrArray *all = walk->problems;
  g_autoptr (GPtrArray) tail = g_ptr_array_new ();

  for (guint i = first; i < all->len; i++)
    g_ptr_array_add (tail, all->pdata[i]);
  g_ptr_array_sort (tail, compare_places);
  for (guint i = first; i < all->len; i++)
    all->pdata[i] = tail->pdata[i - first];
}

/* "'a', 'b' and 'c'" */
static char *
list_words (const char *const *words)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; words[i] != NULL; i++) {
    if (i > 0)
      g_string_append (text, words[i + 1] != NULL ? ", " : " and ");
    g_string_append_printf (text, "'%s'", words[i]);
  }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* Says "did you mean", or what is known where nothing is near. */
static char *
suggest (const char *word, GPtrArray *known)
{
  const char *nearest;
  g_autofree char *words = NULL;

  g_ptr_array_add (known, NULL);
  nearest = vp_xml_nearest (word, (const char *const *) known->pdata);
  if (nearest != NULL)
    return g_strdup_printf ("did you mean '%s'?", nearest);
  if (known->len == 1)
    return g_strdup ("none is known here");
  words = list_words ((const char *const *) known->pdata);
  return g_strdup_printf ("known here: %s", words);
}

static const VpShapeAttribute *
find_attribute (const VpShape *shape, const char *name)
{
  const VpShapeAttribute *rule = shape->attributes;

  for (; rule != NULL && rule->name != NULL; rule++)
    if (strcmp (rule->name, name) == 0)
      return rule;
  return NULL;
}

static const VpShapeChild *
find_child (const VpShape *shape, const char *name)
{
  const VpShapeChild *rule = shape->children;

  for (; rule != NULL && rule->name != NULL; rule++)
    if (strcmp (rule->name, name) == 0)
      return rule;
  return NULL;
}

static void
check_attribute (VpWalk *walk, const VpXmlNode *node, const xmlAttr *attr,
                 const VpShape *shape)
{
  const char *name = (const char *) attr->name;
  VpPlace place = vp_xml_place ((const VpXmlNode *) (const void *) attr);
  const VpShapeAttribute *rule =
      attr->ns == NULL ? find_attribute (shape, name) : NULL;
  g_autoptr (GPtrArray) known = g_ptr_array_new ();
  g_autofree char *hint = NULL;

  if (rule != NULL && (rule->flags & VP_SHAPE_LATER) == 0)
    return;
  if (rule != NULL) {
    vp_walk_error (walk, place, "not-supported",
                   "the attribute '%s' of <%s> is not supported by this "
                   "version of vprovd",
                   name, vp_xml_name (node));
    return;
  }
  for (rule = shape->attributes; rule != NULL && rule->name != NULL; rule++)
    if ((rule->flags & VP_SHAPE_LATER) == 0)
      g_ptr_array_add (known, (char *) rule->name);
  hint = suggest (name, known);
  vp_walk_error (walk, place, "unknown-attribute",
                 "unknown attribute '%s' of <%s>; %s", name, vp_xml_name (node),
                 hint);
}

static void
unknown_element (VpWalk *walk, const VpXmlNode *parent, const VpXmlNode *node,
                 const VpShape *shape)
{
  const char *name = vp_xml_name (node);
  g_autoptr (GPtrArray) known = g_ptr_array_new ();
  g_autofree char *hint = NULL;

  if (vp_xml_namespace (node) != NULL) {
    vp_walk_error (walk, vp_xml_place (node), "unknown-element",
                   "<%s> is in the namespace '%s'; elements of <%s> are in "
                   "none, what libvirt knows goes into <libvirt>",
                   name, vp_xml_namespace (node), vp_xml_name (parent));
    return;
  }
  for (const VpShapeChild *rule = shape->children;
       rule != NULL && rule->name != NULL; rule++)
    if ((rule->flags & VP_SHAPE_LATER) == 0)
      g_ptr_array_add (known, (char *) rule->name);
  hint = suggest (name, known);
  vp_walk_error (walk, vp_xml_place (node), "unknown-element",
                 "unknown element '%s' in <%s>; %s", name, vp_xml_name (parent),
                 hint);
}

static void
check_child (VpWalk *walk, const VpXmlNode *parent, const VpXmlNode *node,
             const VpShape *shape)
{
  const char *name = vp_xml_name (node);
  const VpShapeChild *rule =
      vp_xml_namespace (node) == NULL ? find_child (shape, name) : NULL;
  const VpXmlNode *first;

  if (rule == NULL) {
    unknown_element (walk, parent, node, shape);
    return;
  }
  if ((rule->flags & VP_SHAPE_LATER) != 0) {
    vp_walk_error (walk, vp_xml_place (node), "not-supported",
                   "<%s> is not supported by this version of vprovd", name);
    return;
  }
  first = vp_xml_first (parent, name);
  if (first != node && (rule->flags & VP_SHAPE_MANY) == 0)
    vp_walk_error (walk, vp_xml_place (node), "duplicate",
                   "<%s> is given twice, first in line %u", name,
                   vp_xml_place (first).line);
  vp_walk_check (walk, node, rule->shape);
}

static void
check_required (VpWalk *walk, const VpXmlNode *node, const VpShape *shape)
{
  const VpShapeAttribute *attribute = shape->attributes;
  const VpShapeChild *child = shape->children;

  for (; attribute != NULL && attribute->name != NULL; attribute++) {
    if ((attribute->flags & VP_SHAPE_REQUIRED) != 0 &&
        xmlHasNsProp (node, (const xmlChar *) attribute->name, NULL) == NULL)
      vp_walk_error (walk, vp_xml_place (node), "missing",
                     "<%s> needs the attribute '%s'", vp_xml_name (node),
                     attribute->name);
  }
  for (; child != NULL && child->name != NULL; child++) {
    if ((child->flags & VP_SHAPE_REQUIRED) != 0 &&
        vp_xml_first (node, child->name) == NULL)
      vp_walk_error (walk, vp_xml_place (node), "missing",
                     "<%s> needs an element <%s>", vp_xml_name (node),
                     child->name);
  }
}

/* Text has no place of its own: the element's serves. */
static void
check_text (VpWalk *walk, const VpXmlNode *node)
{
  for (const xmlNode *child = node->children; child != NULL;
       child = child->next) {
    g_autofree char *text = NULL;

    if ((child->type != XML_TEXT_NODE && child->type != XML_CDATA_SECTION_NODE))
      continue;
    text = g_strstrip (g_strdup ((const char *) child->content));
    if (*text == '\0')
      continue;
    vp_walk_error (walk, vp_xml_place (node), "text",
                   "<%s> holds the text '%.40s'; none belongs there",
                   vp_xml_name (node), text);
    return;
  }
}

void
vp_walk_check (VpWalk *walk, const VpXmlNode *node, const VpShape *shape)
{
  for (const xmlAttr *attr = node->properties; attr != NULL; attr = attr->next)
    check_attribute (walk, node, attr, shape);
  check_required (walk, node, shape);
  if (!shape->text)
    check_text (walk, node);
  if (shape->any)
    return;
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL))
    check_child (walk, node, child, shape);
}

static void bad_value (VpWalk *walk, const VpXmlNode *node,
                       const char *attribute, const char *value,
                       const char *format, ...) G_GNUC_PRINTF (5, 6);

static void
bad_value (VpWalk *walk, const VpXmlNode *node, const char *attribute,
           const char *value, const char *format, ...)
{
  g_autofree char *reason = NULL;
  g_autofree char *shown = g_utf8_strlen (value, -1) > 64
                               ? g_utf8_substring (value, 0, 64)
                               : g_strdup (value);
  va_list args;

  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  if (attribute != NULL)
    vp_walk_error (walk, vp_xml_attribute_place (node, attribute), "bad-value",
                   "%s=\"%s\" of <%s> %s", attribute, shown, vp_xml_name (node),
                   reason);
  else
    vp_walk_error (walk, vp_xml_place (node), "bad-value", "<%s>%s</%s> %s",
                   vp_xml_name (node), shown, vp_xml_name (node), reason);
}

char *
vp_walk_name (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);

  if (value == NULL || vp_name_is_valid (value))
    return g_steal_pointer (&value);
  bad_value (walk, node, attribute, value,
             "is no name: up to 63 letters, digits, '.', '_' and '-', the "
             "first a letter or digit");
  return NULL;
}

static bool
has_control (const char *text)
{
  for (; *text != '\0'; text++)
    if (g_ascii_iscntrl (*text))
      return true;
  return false;
}

char *
vp_walk_path (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);

  if (value == NULL)
    return NULL;
  if (value[0] != '/' || value[1] == '\0') {
    bad_value (walk, node, attribute, value,
               "is no absolute path such as /srv/vm");
    return NULL;
  }
  if (strlen (value) > 4095 || has_control (value)) {
    bad_value (walk, node, attribute, value,
               "is no usable path: too long, or a control character in it");
    return NULL;
  }
  return g_steal_pointer (&value);
}

char *
vp_walk_link_name (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);

  if (value == NULL || (vp_name_is_valid (value) && strlen (value) <= 15))
    return g_steal_pointer (&value);
  bad_value (walk, node, attribute, value,
             "is no name of a bridge: up to 15 letters, digits, '.', '_' and "
             "'-'");
  return NULL;
}

/* Six pairs of hex digits; a guest's own address is not a group's. */
char *
vp_walk_mac (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);
  bool good = value != NULL && strlen (value) == 17;
  g_autofree char *lower = NULL;

  if (value == NULL)
    return NULL;
  for (int i = 0; good && i < 17; i++)
    good = i % 3 == 2 ? value[i] == ':' : g_ascii_isxdigit (value[i]);
  if (!good) {
    bad_value (walk, node, attribute, value,
               "is no MAC address such as 52:54:00:12:34:56");
    return NULL;
  }
  lower = g_ascii_strdown (value, -1);
  if (g_ascii_xdigit_value (lower[1]) % 2 != 0) {
    bad_value (walk, node, attribute, value,
               "is a group address; the second digit must be even");
    return NULL;
  }
  if (strcmp (lower, "00:00:00:00:00:00") == 0) {
    bad_value (walk, node, attribute, value, "is nobody's address");
    return NULL;
  }
  return g_steal_pointer (&lower);
}

char *
vp_walk_uuid (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);

  if (value == NULL)
    return NULL;
  if (!g_uuid_string_is_valid (value)) {
    bad_value (walk, node, attribute, value,
               "is no UUID such as 7f4c2a51-9d0e-4c1b-8a3f-0123456789ab");
    return NULL;
  }
  return g_ascii_strdown (value, -1);
}

char *
vp_walk_address (VpWalk *walk, const VpXmlNode *node, const char *attribute)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);
  g_autofree char *whole = NULL;
  VpAddr addr;

  if (value == NULL)
    return NULL;
  if (strpbrk (value, " :") != NULL) {
    bad_value (walk, node, attribute, value,
               "is not supported by this version of vprovd: one IPv4 address");
    return NULL;
  }
  /* A tail completed with any head must be an address. */
  if (value[0] == '.') {
    unsigned dots = 0;

    for (const char *p = value; *p != '\0'; p++)
      dots += *p == '.';
    whole = g_strconcat (dots == 1   ? "1.1.1"
                         : dots == 2 ? "1.1"
                         : dots == 3 ? "1"
                                     : "",
                         value, NULL);
  } else
    whole = g_strdup (value);
  if (!vp_addr_parse (whole, &addr) || addr.family != AF_INET) {
    bad_value (walk, node, attribute, value,
               "is no address: \".10\" within the network, or all of it "
               "such as 192.168.211.10");
    return NULL;
  }
  return g_steal_pointer (&value);
}

const char *
vp_walk_choice (VpWalk *walk, const VpXmlNode *node, const char *attribute,
                const char *const *words, const char *const *later)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);
  g_autofree char *known = NULL;
  const char *nearest;

  if (value == NULL)
    return NULL;
  for (guint i = 0; words[i] != NULL; i++)
    if (strcmp (words[i], value) == 0)
      return words[i];
  if (later != NULL && g_strv_contains (later, value)) {
    vp_walk_error (walk, vp_xml_attribute_place (node, attribute),
                   "not-supported",
                   "%s=\"%s\" of <%s> is not supported by this version of "
                   "vprovd",
                   attribute, value, vp_xml_name (node));
    return NULL;
  }
  nearest = vp_xml_nearest (value, words);
  known = list_words (words);
  if (nearest != NULL)
    bad_value (walk, node, attribute, value,
               "is unknown, did you mean '%s'? possible: %s", nearest, known);
  else
    bad_value (walk, node, attribute, value, "is unknown; possible: %s", known);
  return NULL;
}

/* Digits alone, no sign, no leading zero, at most 9 of them. */
static bool
parse_number (const char *text, size_t len, unsigned *ret_number)
{
  unsigned number = 0;

  if (len < 1 || len > 9 || (len > 1 && text[0] == '0'))
    return false;
  for (size_t i = 0; i < len; i++) {
    if (!g_ascii_isdigit (text[i]))
      return false;
    number = number * 10 + (unsigned) (text[i] - '0');
  }
  *ret_number = number;
  return true;
}

bool
vp_walk_number (VpWalk *walk, const VpXmlNode *node, const char *attribute,
                unsigned max, unsigned *ret_number)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);
  unsigned number;

  if (value == NULL)
    return false;
  if (!parse_number (value, strlen (value), &number) || number < 1 ||
      number > max) {
    bad_value (walk, node, attribute, value, "is no number from 1 to %u", max);
    return false;
  }
  *ret_number = number;
  return true;
}

/* "20G", "1.5T", "4096", "512B": whole bytes below 2^62. */
static bool
parse_size (const char *text, uint64_t *ret_size)
{
  static const char units[] = "BKMGT";
  uint64_t whole = 0, part = 0, scale = 1;
  unsigned bits = 0;
  const char *p = text;
  const char *unit;

  if (!g_ascii_isdigit (*p))
    return false;
  for (; g_ascii_isdigit (*p); p++)
    if (__builtin_mul_overflow (whole, 10, &whole) ||
        __builtin_add_overflow (whole, (uint64_t) (*p - '0'), &whole))
      return false;
  if (*p == '.') {
    if (!g_ascii_isdigit (*++p))
      return false;
    /* Six digits keep part << 40 within 64 bits. */
    for (; g_ascii_isdigit (*p); p++) {
      if (scale >= 1000000)
        return false;
      part = part * 10 + (uint64_t) (*p - '0');
      scale *= 10;
    }
  }
  if (*p != '\0') {
    unit = strchr (units, *p);
    if (unit == NULL || p[1] != '\0')
      return false;
    bits = (unsigned) (unit - units) * 10;
  }
  if (whole >= (UINT64_C (1) << 62) >> bits || (part << bits) % scale != 0)
    return false;
  *ret_size = (whole << bits) + (part << bits) / scale;
  return true;
}

bool
vp_walk_size (VpWalk *walk, const VpXmlNode *node, const char *attribute,
              uint64_t unit, uint64_t *ret_size)
{
  g_autofree char *value = attribute != NULL
                               ? vp_xml_get_attribute (node, attribute)
                               : vp_xml_get_text (node);
  uint64_t size;

  if (value == NULL && attribute != NULL)
    return false;
  if (value == NULL || !parse_size (value, &size)) {
    bad_value (walk, node, attribute, value != NULL ? value : "",
               "is no size in whole bytes: a number with K, M, G or T, such as "
               "512M or 20G");
    return false;
  }
  if (size > 0 && size % unit == 0) {
    *ret_size = size;
    return true;
  }
  if (size > 0 && g_ascii_isdigit (value[strlen (value) - 1]) &&
      size < 1024 * 1024)
    bad_value (walk, node, attribute, value,
               "is %s bytes without a unit; did you mean %sM?", value, value);
  else
    bad_value (walk, node, attribute, value,
               unit == 512 ? "is no whole number of 512-byte sectors, at least "
                             "one; write it with a unit, such as 20G"
                           : "is no whole number of megabytes, at least one; "
                             "write it as 512M or 2G");
  return false;
}

static bool
parse_port (const char *text, size_t len, uint16_t *ret_port)
{
  unsigned number;

  if (!parse_number (text, len, &number) || number < 1 || number > 65535)
    return false;
  *ret_port = (uint16_t) number;
  return true;
}

bool
vp_walk_ports (VpWalk *walk, const VpXmlNode *node, const char *attribute,
               uint16_t *ret_first, uint16_t *ret_last)
{
  g_autofree char *value = vp_xml_get_attribute (node, attribute);
  uint16_t first, last;
  const char *dash;

  if (value == NULL)
    return false;
  dash = strchr (value, '-');
  if (!parse_port (value,
                   dash != NULL ? (size_t) (dash - value) : strlen (value),
                   &first) ||
      !parse_port (dash != NULL ? dash + 1 : value,
                   strlen (dash != NULL ? dash + 1 : value), &last)) {
    bad_value (walk, node, attribute, value,
               "is no port: a number from 1 to 65535, or a range such as "
               "8000-8010");
    return false;
  }
  if (last < first) {
    bad_value (walk, node, attribute, value,
               "is a range that ends before it begins");
    return false;
  }
  *ret_first = first;
  *ret_last = last;
  return true;
}
