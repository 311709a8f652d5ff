/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json-read: what is taken, what is refused, and that no text at all does
 * harm. */
#include "config.h"

#include "storage/json-read.h"

#include <string.h>

#include "storage/error.h"

typedef struct {
  const char *text;
  const char *flat;  /* "name=value;..." */
  const char *wrong; /* or a part of the message */
} Case;

static const Case cases[] = {
  { "{}", "", NULL },
  { " {\"a\" : \"b\"}\n", "a=b;", NULL },
  { "{\"a\":{\"b\":{\"c\":1}},\"d\":true}", "a.b.c=1;d=on;", NULL },
  { "{\"a\":[\"x\",{\"y\":null}],\"e\":[]}", "a.0=x;a.1.y=;", NULL },
  { "{\"a\":-0.5e+3,\"b\":false,\"c\":0}", "a=-0.5e+3;b=off;c=0;", NULL },
  { "{\"a\":\"\\u00e4\\n\\\\\\\"\\/\"}", "a=\303\244\n\\\"/;", NULL },
  { "{\"a\":\"\\ud83d\\ude00\"}", "a=\360\237\230\200;", NULL },
  { "{\"a.b\":1}", "a.b=1;", NULL },
  { "", NULL, "premature EOI" },
  { "{", NULL, "premature EOI" },
  { "{\"a\"", NULL, "premature EOI" },
  { "{\"a\":", NULL, "premature EOI" },
  { "{\"a\":\"", NULL, "premature EOI" },
  { "{\"a\":1", NULL, "premature EOI" },
  { "3", NULL, "Invalid JSON object given" },
  { "[1]", NULL, "Invalid JSON object given" },
  { "{\"a\":1,}", NULL, "unexpected character" },
  { "{,}", NULL, "unexpected character" },
  { "{'a':1}", NULL, "unexpected character" },
  { "{\"a\":01}", NULL, "unexpected character" },
  { "{\"a\":1.}", NULL, "invalid number" },
  { "{\"a\":1e}", NULL, "invalid number" },
  { "{\"a\":-}", NULL, "unexpected character" },
  { "{\"a\":+1}", NULL, "unexpected character" },
  { "{\"a\":tru}", NULL, "unexpected character" },
  { "{\"a\":1}{}", NULL, "more behind the object" },
  { "{\"a\":1,\"a\":2}", NULL, "duplicate key" },
  { "{\"a\":{\"b\":1},\"a.b\":2}", NULL, "duplicate key" },
  { "{\"\":1}", NULL, "empty key" },
  { "{\"a\":\"\\u0000\"}", NULL, "surrogate or NUL" },
  { "{\"a\":\"\\ud800\"}", NULL, "lone surrogate" },
  { "{\"a\":\"\\ud800\\u0041\"}", NULL, "lone surrogate" },
  { "{\"a\":\"\\udc00\"}", NULL, "surrogate" },
  { "{\"a\":\"\\x\"}", NULL, "invalid escape" },
  { "{\"a\":\"\\u12g4\"}", NULL, "invalid hex" },
  { "{\"a\":\"\t\"}", NULL, "control character" },
  { "{\"a\":\"\377\"}", NULL, "invalid UTF-8" },
};

static char *
flatten (const GPtrArray *pairs)
{
  GString *flat = g_string_new (NULL);
  for (guint i = 0; i < pairs->len; i += 2)
    g_string_append_printf (flat, "%s=%s;",
                            (char *) g_ptr_array_index (pairs, i),
                            (char *) g_ptr_array_index (pairs, i + 1));
  return g_string_free (flat, FALSE);
}

static void
test_cases (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) error = NULL;
    bool ok = vp_json_read_flat (cases[i].text, pairs, &error);
    g_test_message ("%s", cases[i].text);
    if (cases[i].wrong) {
      g_assert_false (ok);
      g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
      g_assert_nonnull (strstr (error->message, cases[i].wrong));
      g_assert_cmpuint (pairs->len, ==, 0);
      continue;
    }
    g_assert_no_error (error);
    g_assert_true (ok);
    g_autofree char *flat = flatten (pairs);
    g_assert_cmpstr (flat, ==, cases[i].flat);
  }
}

static void
refuse (const char *text, const char *why)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;
  g_assert_false (vp_json_read_flat (text, pairs, &error));
  g_assert_nonnull (strstr (error->message, why));
}

static void
test_limits (void)
{
  g_autoptr (GString) deep = g_string_new ("{\"a\":");
  for (int i = 0; i < 10000; i++)
    g_string_append_c (deep, '[');
  refuse (deep->str, "nested too deeply");
  g_autoptr (GString) more = g_string_new (NULL);
  for (int i = 0; i < 10000; i++)
    g_string_append (more, "{\"a\":");
  refuse (more->str, "nested too deeply");
  g_autofree char *spaces = g_strnfill (VP_MAX_JSON_LEN + 1, ' ');
  refuse (spaces, "too long");
}

/* Every beginning of a text, and every text with a byte changed. */
static void
test_broken (void)
{
  static const char good[] =
      "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", "
      "\"filename\": \"a\\u00e4\\\\b\"}, \"n\": [1, -2.5e3, true, null]}";
  for (size_t i = 0; i < sizeof good - 1; i++) {
    g_autofree char *text = g_strndup (good, i);
    refuse (text, "JSON parse error");
  }
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  for (int i = 0; i < 20000; i++) {
    g_autofree char *text = g_strdup (good);
    for (int k = g_rand_int_range (rand, 1, 4); k > 0; k--)
      text[g_rand_int_range (rand, 0, sizeof good - 1)] =
          (char) g_rand_int_range (rand, 0, 256);
    g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) error = NULL;
    bool ok = vp_json_read_flat (text, pairs, &error);
    g_assert_true (ok == (error == NULL));
    g_assert_true (ok || pairs->len == 0);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/json-read/cases", test_cases);
  g_test_add_func ("/json-read/limits", test_limits);
  g_test_add_func ("/json-read/broken", test_broken);
  return g_test_run ();
}
