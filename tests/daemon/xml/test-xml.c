/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where things stand in a file, what never reaches the parser, and which name
 * was meant. */
#include "config.h"

#include "daemon/xml.h"

#include <string.h>

/* In the texts below "@" marks the place that is asked for; it is taken out
 * before the text is parsed. */
static char *
take_marker (const char *marked, VpPlace *ret_place)
{
  const char *at = strchr (marked, '@');
  VpPlace place = { 1, 1 };

  g_assert_nonnull (at);
  for (const char *p = marked; p < at; p = g_utf8_next_char (p)) {
    place.column++;
    if (*p == '\n') {
      place.line++;
      place.column = 1;
    }
  }
  *ret_place = place;
  return g_strdup_printf ("%.*s%s", (int) (at - marked), marked, at + 1);
}

static void
assert_place (VpPlace place, VpPlace wanted)
{
  g_assert_cmpuint (place.line, ==, wanted.line);
  g_assert_cmpuint (place.column, ==, wanted.column);
}

/* The first element or attribute called "x" in the document. */
static bool
find_x (const VpXmlNode *node, VpPlace *ret_place)
{
  if (vp_xml_has_attribute (node, "x")) {
    *ret_place = vp_xml_attribute_place (node, "x");
    return true;
  }
  for (const VpXmlNode *child = vp_xml_first (node, NULL); child != NULL;
       child = vp_xml_next (child, NULL)) {
    if (strcmp (vp_xml_name (child), "x") == 0) {
      *ret_place = vp_xml_place (child);
      return true;
    }
    if (find_x (child, ret_place))
      return true;
  }
  return false;
}

static void
test_positions (void)
{
  static const char *const texts[] = {
    "<a><b/>@<x/></a>",
    "<a>\n  @<x>\n</x></a>",
    "<a>\r\n\t@<x/>\r\n</a>",
    "<?xml version='1.0'?>\n<!-- <x> -->\n<a>@<x/></a>",
    "<a><![CDATA[ <x/> ]]>@<x/></a>",
    "<a><b c=\"<\"/>@<x/></a>",
    "<a><b c='>'/>@<x/></a>",
    "<a><b c='\"\n\"'/>@<x/></a>",
    "<a b='1' @x='2'/>",
    "<a b='1'\n   c=\"x='3'\"\n   @x = '2'/>",
    "<a b='\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7' @x='2'/>",
    "<a>\xc3\xa4\xc3\xb6@<x/></a>",
    "<a><?pi <x ?>@<x/></a>",
    "<a xmlns:v='urn:v'><v:b v:x='1'><c @x='2'/></v:b></a>",
    "<a xmlns:v='urn:v'><v:b/>@<v:x/></a>",
    "<a>&lt;x/&gt;&#60;x/>@<x/></a>",
    "<a\n>@<x\n/></a\n>",
    "<a><b></b ><c/>\n\n\n      @<x/></a>",
  };

  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GPtrArray) problems = vp_problems_new ();
    g_autoptr (VpXml) xml = NULL;
    VpPlace wanted, place = { 0 };
    g_autofree char *text = take_marker (texts[i], &wanted);

    xml = vp_xml_parse ("t.xml", text, strlen (text), &vp_xml_spec_limits,
                        problems);
    /* "<" in a value is for libxml2 to refuse. */
    if (strstr (text, "\"<\"") != NULL) {
      g_assert_null (xml);
      g_assert_cmpuint (problems->len, ==, 1);
      continue;
    }
    g_assert_cmpuint (problems->len, ==, 0);
    g_assert_nonnull (xml);
    g_assert_true (find_x (vp_xml_get_root (xml), &place));
    assert_place (place, wanted);
  }
}

/* A byte order mark is there and is no column. */
static void
test_byte_order_mark (void)
{
  static const char text[] = "\xef\xbb\xbf<a x='1'/>";
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (VpXml) xml = vp_xml_parse ("t.xml", text, strlen (text),
                                        &vp_xml_spec_limits, problems);

  g_assert_nonnull (xml);
  assert_place (vp_xml_place (vp_xml_get_root (xml)), (VpPlace){ 1, 1 });
  assert_place (vp_xml_attribute_place (vp_xml_get_root (xml), "x"),
                (VpPlace){ 1, 4 });
}

static void
refused (const char *text, size_t len, const char *code, VpPlace wanted,
         const char *words)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (VpXml) xml =
      vp_xml_parse ("t.xml", text, len, &vp_xml_spec_limits, problems);
  const VpProblem *problem;

  g_assert_null (xml);
  g_assert_cmpuint (problems->len, ==, 1);
  problem = problems->pdata[0];
  g_assert_cmpstr (problem->code, ==, code);
  g_assert_cmpstr (problem->path, ==, "t.xml");
  g_assert_nonnull (strstr (problem->message, words));
  assert_place (problem->place, wanted);
}

static void
test_refused (void)
{
  static const struct {
    const char *text, *code, *words; /* "@" as above */
  } cases[] = {
    { "@<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
      "doctype", "DOCTYPE" },
    { "<?xml version='1.0'?>\n <!-- c -->@<!DOCTYPE a><a/>", "doctype",
      "DOCTYPE" },
    { "<a>\n@<!ENTITY b 'c'></a>", "doctype", "DOCTYPE" },
    { "<a>\n <b>\n@</a>", "xml", "<b> of line 2" },
    { "<a>\n @<b>", "xml", "<b> is never closed" },
    { "@", "xml", "empty" },
    { "<a/>\n@</b>", "xml", "closes nothing" },
    { "<a>\xc3\xa4@\xff</a>", "encoding", "UTF-8" },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    VpPlace wanted;
    g_autofree char *text = NULL;
    const char *at = strchr (cases[i].text, '@');

    /* Not UTF-8 as a whole: the marker's place is written out. */
    if (strcmp (cases[i].code, "encoding") == 0) {
      text = g_strdup ("<a>\xc3\xa4\xff</a>");
      wanted = (VpPlace){ 1, 5 };
    } else
      text = take_marker (cases[i].text, &wanted);
    g_assert_nonnull (at);
    refused (text, strlen (text), cases[i].code, wanted, cases[i].words);
  }
  refused ("<a>\0</a>", 8, "encoding", (VpPlace){ 1, 4 }, "UTF-8");
  refused (" \n ", 3, "xml", (VpPlace){ 1, 1 }, "empty");
}

/* What only libxml2 sees is told by it, with its line. */
static void
test_malformed (void)
{
  static const struct {
    const char *text;
    unsigned line;
  } cases[] = {
    { "<a>\n&nothere;</a>", 2 },
    { "<a>\n<b c=1/></a>", 2 },
    { "<a>\n<b c='1' c='2'/></a>", 2 },
    { "plain text", 1 },
    { "<a/>\n<b/>", 2 },
    { "<a>\n<v:b/></a>", 2 },
    { "<a>\n<!-- -- --></a>", 2 },
    { "<a>\n<1/></a>", 2 },
    { "<a b='1", 1 },
    { "<a>\n&#1;</a>", 2 },
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GPtrArray) problems = vp_problems_new ();
    g_autoptr (VpXml) xml =
        vp_xml_parse ("t.xml", cases[i].text, strlen (cases[i].text),
                      &vp_xml_spec_limits, problems);
    const VpProblem *problem;

    g_assert_null (xml);
    g_assert_cmpuint (problems->len, ==, 1);
    problem = problems->pdata[0];
    g_assert_cmpstr (problem->code, ==, "xml");
    g_assert_cmpuint (problem->place.line, ==, cases[i].line);
    g_assert_cmpuint (problem->place.column, >, 0);
  }
}

static char *
nested (unsigned depth)
{
  GString *text = g_string_new (NULL);

  for (unsigned i = 0; i < depth; i++)
    g_string_append (text, "<a>");
  for (unsigned i = 0; i < depth; i++)
    g_string_append (text, "</a>");
  return g_string_free (text, FALSE);
}

/* n nodes: the root and n - 1 children. */
static char *
wide (unsigned n)
{
  GString *text = g_string_new ("<r>");

  for (unsigned i = 1; i < n; i++)
    g_string_append (text, "<a/>");
  g_string_append (text, "</r>");
  return g_string_free (text, FALSE);
}

static void
assert_limit (char *inside, char *outside, const char *code)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (VpXml) good = vp_xml_parse ("t", inside, strlen (inside),
                                         &vp_xml_spec_limits, problems);
  g_autoptr (VpXml) bad = NULL;

  g_assert_nonnull (good);
  g_assert_cmpuint (problems->len, ==, 0);
  bad = vp_xml_parse ("t", outside, strlen (outside), &vp_xml_spec_limits,
                      problems);
  g_assert_null (bad);
  g_assert_cmpuint (problems->len, ==, 1);
  g_assert_cmpstr (((VpProblem *) problems->pdata[0])->code, ==, code);
  g_free (inside);
  g_free (outside);
}

static void
test_limits (void)
{
  g_autofree char *blanks = g_strnfill (256 * 1024 - 4, ' ');

  assert_limit (nested (32), nested (33), "too-big");
  assert_limit (wide (2000), wide (2001), "too-big");
  assert_limit (g_strconcat ("<a/>", blanks, NULL),
                g_strconcat ("<a/> ", blanks, NULL), "too-big");
}

/* A declaration cannot make the bytes mean something else. */
static void
test_encoding_said (void)
{
  static const char text[] =
      "<?xml version='1.0' encoding='ISO-8859-1'?><a>\xc3\xa4</a>";
  g_autoptr (GError) error = NULL;
  g_autoptr (VpXml) xml = vp_xml_parse_text (text, &vp_xml_spec_limits, &error);
  g_autofree char *content = NULL;

  g_assert_no_error (error);
  content = vp_xml_get_text (vp_xml_get_root (xml));
  g_assert_cmpstr (content, ==, "\xc3\xa4");
}

static void
test_nearest (void)
{
  static const char *const words[] = { "cpu",    "description", "disk",
                                       "kernel", "libvirt",     "memory",
                                       "nic",    NULL };

  g_assert_cmpstr (vp_xml_nearest ("memroy", words), ==, "memory");
  g_assert_cmpstr (vp_xml_nearest ("Memory", words), ==, "memory");
  g_assert_cmpstr (vp_xml_nearest ("ram", words), ==, NULL);
  g_assert_cmpstr (vp_xml_nearest ("disc", words), ==, "disk");
  g_assert_cmpstr (vp_xml_nearest ("disks", words), ==, "disk");
  g_assert_cmpstr (vp_xml_nearest ("nick", words), ==, "nic");
  g_assert_cmpstr (vp_xml_nearest ("desription", words), ==, "description");
  g_assert_cmpstr (vp_xml_nearest ("", words), ==, NULL);
  g_assert_cmpstr (vp_xml_nearest ("firmware", words), ==, NULL);
}

static void
test_serialise (void)
{
  static const char text[] = "<a xmlns:q='urn:q'><q:b c='1'>t</q:b> <d/></a>";
  g_autoptr (GError) error = NULL;
  g_autoptr (VpXml) xml = vp_xml_parse_text (text, &vp_xml_spec_limits, &error);
  g_autofree char *children = NULL;

  g_assert_no_error (error);
  children = vp_xml_serialise_children (vp_xml_get_root (xml));
  g_assert_cmpstr (children, ==, "<q:b xmlns:q=\"urn:q\" c=\"1\">t</q:b> <d/>");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/xml/positions", test_positions);
  g_test_add_func ("/xml/byte-order-mark", test_byte_order_mark);
  g_test_add_func ("/xml/refused", test_refused);
  g_test_add_func ("/xml/malformed", test_malformed);
  g_test_add_func ("/xml/limits", test_limits);
  g_test_add_func ("/xml/encoding-said", test_encoding_said);
  g_test_add_func ("/xml/nearest", test_nearest);
  g_test_add_func ("/xml/serialise", test_serialise);
  return g_test_run ();
}
