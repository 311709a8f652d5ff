/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json: the layout, and strings that come from disks. */
#include "config.h"

#include "storage/json.h"

static void
test_layout (void)
{
  g_autoptr (VpJson) json = vp_json_new ();

  vp_json_open_object (json, NULL);
  vp_json_uint (json, "size", UINT64_MAX);
  vp_json_open_array (json, "list");
  vp_json_open_object (json, NULL);
  vp_json_bool (json, "on", true);
  vp_json_close (json);
  vp_json_string (json, NULL, "two");
  vp_json_close (json);
  vp_json_open_object (json, "empty");
  vp_json_close (json);
  vp_json_bool (json, "off", false);
  vp_json_close (json);
  g_assert_cmpstr (vp_json_get_text (json), ==,
                   "{\n"
                   "    \"size\": 18446744073709551615,\n"
                   "    \"list\": [\n"
                   "        {\n"
                   "            \"on\": true\n"
                   "        },\n"
                   "        \"two\"\n"
                   "    ],\n"
                   "    \"empty\": {\n"
                   "    },\n"
                   "    \"off\": false\n"
                   "}");
}

static void
test_strings (void)
{
  static const struct {
    const char *value, *text;
  } cases[] = {
    { "", "\"\"" },
    { "a/b c", "\"a/b c\"" },
    { "\"\\", "\"\\\"\\\\\"" },
    { "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
    { "\x01\x1f\x7f", "\"\\u0001\\u001F\\u007F\"" },
    { "\xc3\xa9", "\"\\u00E9\"" },
    { "\xf0\x9f\x98\x80", "\"\\uD83D\\uDE00\"" },
    { "a\xff\xc3", "\"a\\uFFFD\\uFFFD\"" },
    { "\xed\xa0\x80", "\"\\uFFFD\\uFFFD\\uFFFD\"" }, /* half a pair */
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VpJson) json = vp_json_new ();
    vp_json_string (json, NULL, cases[i].value);
    g_assert_cmpstr (vp_json_get_text (json), ==, cases[i].text);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/json/layout", test_layout);
  g_test_add_func ("/json/strings", test_strings);
  return g_test_run ();
}
