/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* xml: reads a text into libxml2's tree, safely, and knows where things are.
 *
 *   bytes -> UTF-8? -> scan: limits, DOCTYPE, open and close tags, positions
 *                        -> libxml2: no network, no DTD, no entities
 *                             -> tree; node->_private points at its spot
 *
 * The scan is no parser: it knows tags, quotes, comments, CDATA and
 * processing instructions, and leaves when it sees something that XML does
 * not allow; libxml2 then says what is wrong.  Since a DOCTYPE is refused,
 * the n-th start tag of the text is the n-th element of the tree. */
#include "config.h"

#include "daemon/xml.h"

#include "daemon/error.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <string.h>

const VpXmlLimits vp_xml_spec_limits = { 256 * 1024, 32, 2000 };
const VpXmlLimits vp_xml_domain_limits = { 16 * 1024 * 1024, 200, 200000 };

/* Where one name of the text stands: a start tag's or an attribute's. */
typedef struct {
  const char *name; /* in the text, not terminated */
  size_t len;
  VpPlace place;
  unsigned n_attributes; /* of a start tag: the spots that follow it */
} Spot;

struct VpXml {
  xmlDoc *doc;
  GArray *spots; /* Spot; nodes point into it */
};

typedef struct {
  const char *path;
  const char *at, *end;
  VpPlace place;
  const VpXmlLimits *limits;
  GPtrArray *problems;
  GArray *spots;
  GArray *open; /* guint: spots of the elements that are open */
  unsigned nodes;
  bool refused; /* a problem was added */
} Scan;

static void refuse (Scan *scan, VpPlace place, const char *code,
                    const char *format, ...) G_GNUC_PRINTF (4, 5);

static void
refuse (Scan *scan, VpPlace place, const char *code, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  g_ptr_array_add (scan->problems,
                   vp_problem_new (scan->path, place, VP_SEVERITY_ERROR, code,
                                   "%s", message));
  scan->refused = true;
}

/* Columns count characters, so the later bytes of one do not count. */
static void
advance (Scan *scan, size_t len)
{
  for (const char *stop = scan->at + len; scan->at < stop; scan->at++) {
    if (*scan->at == '\n') {
      scan->place.line++;
      scan->place.column = 1;
    } else if (((unsigned char) *scan->at & 0xc0) != 0x80)
      scan->place.column++;
  }
}

static bool
looking_at (const Scan *scan, const char *text)
{
  size_t len = strlen (text);

  return (size_t) (scan->end - scan->at) >= len &&
         memcmp (scan->at, text, len) == 0;
}

/* Moves behind the next occurrence of text. */
static bool
skip_past (Scan *scan, const char *text)
{
  const char *found =
      g_strstr_len (scan->at, (gssize) (scan->end - scan->at), text);

  if (found == NULL)
    return false;
  advance (scan, (size_t) (found - scan->at) + strlen (text));
  return true;
}

static bool
is_space (char c)
{
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
skip_space (Scan *scan)
{
  while (scan->at < scan->end && is_space (*scan->at))
    advance (scan, 1);
}

/* A name ends where XML's punctuation begins; libxml2 judges its letters. */
static size_t
name_len (const Scan *scan)
{
  const char *p = scan->at;

  while (p < scan->end && !is_space (*p) && strchr ("/>=<\"'", *p) == NULL)
    p++;
  return (size_t) (p - scan->at);
}

static bool
count_node (Scan *scan)
{
  if (++scan->nodes <= scan->limits->nodes)
    return true;
  refuse (scan, scan->place, "too-big",
          "more than %u elements and attributes in one file",
          scan->limits->nodes);
  return false;
}

static bool
scan_attribute (Scan *scan, guint tag)
{
  Spot spot = { .name = scan->at,
                .len = name_len (scan),
                .place = scan->place };
  char quote[2] = "";

  if (spot.len == 0 || !count_node (scan))
    return false;
  advance (scan, spot.len);
  skip_space (scan);
  if (!looking_at (scan, "="))
    return false;
  advance (scan, 1);
  skip_space (scan);
  if (!looking_at (scan, "\"") && !looking_at (scan, "'"))
    return false;
  quote[0] = *scan->at;
  advance (scan, 1);
  if (!skip_past (scan, quote))
    return false;
  g_array_append_val (scan->spots, spot);
  g_array_index (scan->spots, Spot, tag).n_attributes++;
  return true;
}

static bool
scan_start_tag (Scan *scan)
{
  Spot spot = { .place = scan->place };
  guint tag = scan->spots->len;

  if (!count_node (scan))
    return false;
  advance (scan, 1);
  spot.name = scan->at;
  spot.len = name_len (scan);
  if (spot.len == 0)
    return false;
  if (scan->open->len >= scan->limits->depth) {
    refuse (scan, spot.place, "too-big", "elements are nested deeper than %u",
            scan->limits->depth);
    return false;
  }
  g_array_append_val (scan->spots, spot);
  advance (scan, spot.len);
  for (;;) {
    skip_space (scan);
    if (looking_at (scan, "/>")) {
      advance (scan, 2);
      return true;
    }
    if (looking_at (scan, ">")) {
      advance (scan, 1);
      g_array_append_val (scan->open, tag);
      return true;
    }
    if (!scan_attribute (scan, tag))
      return false;
  }
}

static bool
scan_end_tag (Scan *scan)
{
  VpPlace place = scan->place;
  const Spot *open;
  const char *name;
  size_t len;

  advance (scan, 2);
  name = scan->at;
  len = name_len (scan);
  advance (scan, len);
  skip_space (scan);
  if (len == 0 || !looking_at (scan, ">"))
    return false;
  advance (scan, 1);
  if (scan->open->len == 0) {
    refuse (scan, place, "xml", "</%.*s> closes nothing", (int) len, name);
    return false;
  }
  open =
      &g_array_index (scan->spots, Spot,
                      g_array_index (scan->open, guint, scan->open->len - 1));
  if (open->len != len || memcmp (open->name, name, len) != 0) {
    refuse (scan, place, "xml",
            "</%.*s> found, but <%.*s> of line %u is still open: close it "
            "with </%.*s> or end it with />",
            (int) len, name, (int) open->len, open->name, open->place.line,
            (int) open->len, open->name);
    return false;
  }
  g_array_set_size (scan->open, scan->open->len - 1);
  return true;
}

/* One tag, comment, CDATA section or processing instruction. */
static bool
scan_markup (Scan *scan)
{
  if (looking_at (scan, "<!--")) {
    advance (scan, 4);
    return count_node (scan) && skip_past (scan, "-->");
  }
  if (looking_at (scan, "<![CDATA[")) {
    advance (scan, 9);
    return count_node (scan) && skip_past (scan, "]]>");
  }
  if (looking_at (scan, "<?")) {
    advance (scan, 2);
    return count_node (scan) && skip_past (scan, "?>");
  }
  if (looking_at (scan, "<!")) {
    refuse (scan, scan->place, "doctype",
            "a DOCTYPE or other declaration is not allowed here");
    return false;
  }
  if (looking_at (scan, "</"))
    return scan_end_tag (scan);
  return scan_start_tag (scan);
}

static void
scan_text (Scan *scan)
{
  while (scan->at < scan->end) {
    const char *tag = memchr (scan->at, '<', (size_t) (scan->end - scan->at));

    if (tag == NULL)
      break;
    advance (scan, (size_t) (tag - scan->at));
    if (!scan_markup (scan))
      return;
  }
  if (scan->open->len > 0) {
    const Spot *open =
        &g_array_index (scan->spots, Spot,
                        g_array_index (scan->open, guint, scan->open->len - 1));

    refuse (scan, open->place, "xml", "<%.*s> is never closed", (int) open->len,
            open->name);
  }
}

/* What must hold before a single tag is looked at. */
static bool
check_bytes (Scan *scan, const char *text, size_t len)
{
  const char *bad = NULL;

  if (len > scan->limits->bytes) {
    refuse (scan, (VpPlace){ 0 }, "too-big",
            "the file has %" G_GSIZE_FORMAT " bytes, more than %" G_GSIZE_FORMAT
            " are not read",
            len, scan->limits->bytes);
    return false;
  }
  if (!g_utf8_validate_len (text, len, &bad)) {
    advance (scan, (size_t) (bad - text));
    refuse (scan, scan->place, "encoding", "this is not UTF-8 text");
    return false;
  }
  /* A byte order mark is allowed and is not a column. */
  if (looking_at (scan, "\xef\xbb\xbf"))
    scan->at += 3;
  skip_space (scan);
  if (scan->at == scan->end) {
    refuse (scan, (VpPlace){ 1, 1 }, "xml", "the file is empty");
    return false;
  }
  return true;
}

/* The first error tells most; those that follow are its consequences. */
static void
on_error (void *user_data, const xmlError *xml_error)
{
  const xmlParserCtxt *context = user_data;
  Scan *scan = context->_private;
  g_autofree char *message = NULL;
  VpPlace place = { 0 };

  if (scan->refused || xml_error->level < XML_ERR_ERROR)
    return;
  message = g_strchomp (g_strdup (xml_error->message));
  message[0] = g_ascii_tolower (message[0]);
  place.line = xml_error->line > 0 ? (unsigned) xml_error->line : 0;
  place.column = xml_error->int2 > 0 ? (unsigned) xml_error->int2 : 0;
  refuse (scan, place, "xml", "this is not well-formed XML: %s", message);
}

static xmlDoc *
read_tree (Scan *scan, const char *text, size_t len)
{
  static gsize once;
  xmlParserCtxt *context;
  xmlDoc *doc;

  if (g_once_init_enter (&once)) {
    xmlInitParser ();
    g_once_init_leave (&once, 1);
  }
  context = xmlNewParserCtxt ();
  if (context == NULL)
    g_error ("out of memory");
  context->_private = scan;
  context->sax->serror = (xmlStructuredErrorFunc) on_error;
  /* No NOENT, no DTDLOAD, no XINCLUDE, no HUGE: see SAFETY.  The encoding is
   * said, so that a declaration cannot name another one. */
  doc = xmlCtxtReadMemory (context, text, (int) len, NULL, "UTF-8",
                           XML_PARSE_NONET | XML_PARSE_NOERROR |
                               XML_PARSE_NOWARNING);
  xmlFreeParserCtxt (context);
  return doc;
}

static bool
spot_is (const Spot *spot, const xmlNs *ns, const xmlChar *name)
{
  const char *prefix = ns != NULL ? (const char *) ns->prefix : NULL;
  size_t prefix_len = prefix != NULL ? strlen (prefix) + 1 : 0;
  size_t len = strlen ((const char *) name);

  if (spot->len != prefix_len + len)
    return false;
  if (prefix_len > 0 && (memcmp (spot->name, prefix, prefix_len - 1) != 0 ||
                         spot->name[prefix_len - 1] != ':'))
    return false;
  return memcmp (spot->name + prefix_len, name, len) == 0;
}

/* Document order, without recursion. */
static xmlNode *
next_element (xmlNode *node)
{
  xmlNode *next = xmlFirstElementChild (node);

  while (next == NULL && node != NULL && node->type == XML_ELEMENT_NODE) {
    next = xmlNextElementSibling (node);
    node = node->parent;
  }
  return next;
}

/* Ties each element and attribute of the tree to its spot. */
static bool
tie_spots (VpXml *xml)
{
  guint i = 0;

  for (xmlNode *node = xmlDocGetRootElement (xml->doc); node != NULL;
       node = next_element (node)) {
    Spot *spot;

    if (i >= xml->spots->len)
      return false;
    spot = &g_array_index (xml->spots, Spot, i);
    if (!spot_is (spot, node->ns, node->name))
      return false;
    node->_private = spot;
    for (xmlAttr *attr = node->properties; attr != NULL; attr = attr->next)
      for (unsigned k = 1; k <= spot->n_attributes; k++)
        if (spot_is (spot + k, attr->ns, attr->name))
          attr->_private = spot + k;
    i += 1 + spot->n_attributes;
  }
  return i == xml->spots->len;
}

VpXml *
vp_xml_parse (const char *path, const char *text, size_t len,
              const VpXmlLimits *limits, GPtrArray *problems)
{
  Scan scan = { .path = path,
                .at = text,
                .end = text + len,
                .place = { 1, 1 },
                .limits = limits,
                .problems = problems };
  g_autoptr (VpXml) xml = g_new0 (VpXml, 1);
  g_autoptr (GArray) open = g_array_new (FALSE, TRUE, sizeof (guint));

  xml->spots = g_array_new (FALSE, TRUE, sizeof (Spot));
  scan.spots = xml->spots;
  scan.open = open;
  if (!check_bytes (&scan, text, len))
    return NULL;
  scan_text (&scan);
  if (scan.refused)
    return NULL;
  xml->doc = read_tree (&scan, text, len);
  if (scan.refused)
    return NULL;
  if (xml->doc == NULL || xmlDocGetRootElement (xml->doc) == NULL ||
      xml->doc->intSubset != NULL || !tie_spots (xml)) {
    refuse (&scan, scan.place, "xml", "this is not well-formed XML");
    return NULL;
  }
  /* The names lie in the caller's text, which may go now. */
  for (guint i = 0; i < xml->spots->len; i++)
    g_array_index (xml->spots, Spot, i).name = NULL;
  return g_steal_pointer (&xml);
}

VpXml *
vp_xml_parse_text (const char *text, const VpXmlLimits *limits, GError **error)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpXml *xml = vp_xml_parse ("XML", text, strlen (text), limits, problems);

  if (xml == NULL) {
    g_autofree char *words = vp_problem_to_string (problems->pdata[0]);

    g_set_error_literal (error, VP_ERROR, VP_ERROR_INVALID_SPEC, words);
  }
  return xml;
}

void
vp_xml_free (VpXml *xml)
{
  if (xml == NULL)
    return;

  if (xml->doc != NULL)
    xmlFreeDoc (xml->doc);
  g_array_unref (xml->spots);
  g_free (xml);
}

VpXmlNode *
vp_xml_get_root (VpXml *xml)
{
  return xmlDocGetRootElement (xml->doc);
}

VpPlace
vp_xml_place (const VpXmlNode *node)
{
  const Spot *spot = node->_private;

  return spot != NULL ? spot->place : (VpPlace){ 0 };
}

VpPlace
vp_xml_attribute_place (const VpXmlNode *node, const char *name)
{
  const xmlAttr *attr = xmlHasNsProp (node, (const xmlChar *) name, NULL);
  const Spot *spot = attr != NULL ? attr->_private : NULL;

  return spot != NULL ? spot->place : vp_xml_place (node);
}

const char *
vp_xml_name (const VpXmlNode *node)
{
  return (const char *) node->name;
}

const char *
vp_xml_namespace (const VpXmlNode *node)
{
  return node->ns != NULL ? (const char *) node->ns->href : NULL;
}

bool
vp_xml_is (const VpXmlNode *node, const char *name)
{
  return node->ns == NULL && strcmp ((const char *) node->name, name) == 0;
}

VpXmlNode *
vp_xml_first (const VpXmlNode *node, const char *name)
{
  xmlNode *child =
      node != NULL ? xmlFirstElementChild ((xmlNode *) node) : NULL;

  while (child != NULL && name != NULL && !vp_xml_is (child, name))
    child = xmlNextElementSibling (child);
  return child;
}

VpXmlNode *
vp_xml_next (const VpXmlNode *node, const char *name)
{
  xmlNode *next = xmlNextElementSibling ((xmlNode *) node);

  while (next != NULL && name != NULL && !vp_xml_is (next, name))
    next = xmlNextElementSibling (next);
  return next;
}

VpXmlNode *
vp_xml_find (const VpXmlNode *node, ...)
{
  const char *name;
  va_list args;

  va_start (args, node);
  while (node != NULL && (name = va_arg (args, const char *)) != NULL)
    node = vp_xml_first (node, name);
  va_end (args);
  return (VpXmlNode *) node;
}

/* libxml2's strings have their own allocator. */
static char *
take_string (xmlChar *text)
{
  char *copy = g_strdup ((const char *) text);

  xmlFree (text);
  return copy;
}

char *
vp_xml_get_attribute (const VpXmlNode *node, const char *name)
{
  if (node == NULL)
    return NULL;
  return take_string (xmlGetNoNsProp (node, (const xmlChar *) name));
}

bool
vp_xml_has_attribute (const VpXmlNode *node, const char *name)
{
  return xmlHasNsProp (node, (const xmlChar *) name, NULL) != NULL;
}

char *
vp_xml_get_text (const VpXmlNode *node)
{
  g_autofree char *text = NULL;

  if (node == NULL)
    return NULL;
  text = take_string (xmlNodeGetContent (node));
  if (text == NULL || *g_strstrip (text) == '\0')
    return NULL;
  return g_steal_pointer (&text);
}

char *
vp_xml_serialise (const VpXmlNode *node, bool indent)
{
  xmlBuffer *buffer = xmlBufferCreate ();
  char *text;

  if (buffer == NULL)
    g_error ("out of memory");
  xmlNodeDump (buffer, node->doc, (xmlNode *) node, 0, indent);
  text = g_strdup ((const char *) xmlBufferContent (buffer));
  xmlBufferFree (buffer);
  return text;
}

/* In a document of its own a copied node takes along the namespaces that it
 * uses, wherever they were declared. */
char *
vp_xml_serialise_children (const VpXmlNode *node)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (const xmlNode *child = node->children; child != NULL;
       child = child->next) {
    xmlDoc *doc = xmlNewDoc ((const xmlChar *) "1.0");
    xmlNode *copy = xmlDocCopyNode ((xmlNode *) child, doc, 1);
    g_autofree char *part = NULL;

    if (copy == NULL)
      g_error ("out of memory");
    xmlDocSetRootElement (doc, copy);
    part = vp_xml_serialise (copy, false);
    g_string_append (text, part);
    xmlFreeDoc (doc);
  }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* Optimal string alignment: insert, delete, replace, swap of neighbours. */
static unsigned
edit_distance (const char *a, const char *b)
{
  enum { MAX = 32 };
  unsigned row[3][MAX + 1];
  size_t m = strlen (a), n = strlen (b);

  if (m > MAX || n > MAX)
    return MAX;
  for (size_t j = 0; j <= n; j++)
    row[0][j] = (unsigned) j;
  for (size_t i = 1; i <= m; i++) {
    unsigned *now = row[i % 3], *last = row[(i + 2) % 3];
    const unsigned *before = row[(i + 1) % 3];

    now[0] = (unsigned) i;
    for (size_t j = 1; j <= n; j++) {
      unsigned cost = g_ascii_tolower (a[i - 1]) != g_ascii_tolower (b[j - 1]);

      now[j] = MIN (MIN (last[j], now[j - 1]) + 1, last[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = MIN (now[j], before[j - 2] + 1);
    }
  }
  return row[m % 3][n];
}

const char *
vp_xml_nearest (const char *word, const char *const *words)
{
  unsigned best = strlen (word) <= 3 ? 1 : strlen (word) <= 7 ? 2 : 3;
  const char *found = NULL;

  for (; *words != NULL; words++) {
    unsigned distance = edit_distance (word, *words);

    if (distance < best || (distance == best && found == NULL)) {
      best = distance;
      found = *words;
    }
  }
  return found;
}
