/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* secret: forms in which it comes; the encrypted one was made by
 * openssl enc -aes-256-cbc -K 303132... -iv 00...01. */
#include "config.h"

#include "storage/secret.h"

#include <string.h>

#include "storage/error.h"

#define PACKED "9saZ5eJbpEjLW2CUICDW8Q=="

static bool
add (VpSecrets *secrets, const char *text, GError **error)
{
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (g_free);
  g_auto (GStrv) words = g_strsplit (text, ",", -1);
  g_ptr_array_add (pairs, g_strdup ("qom-type"));
  g_ptr_array_add (pairs, g_strdup ("secret"));
  for (char **word = words; *word; word++) {
    char *equals = strchr (*word, '=');
    g_ptr_array_add (pairs, g_strndup (*word, (size_t) (equals - *word)));
    g_ptr_array_add (pairs, g_strdup (equals + 1));
  }
  return vp_secrets_add (secrets, pairs, error);
}

static void
expect (VpSecrets *secrets, const char *id, const char *data)
{
  g_autoptr (GError) error = NULL;
  const VpSecret *secret = vp_secrets_find (secrets, id, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (secret->len, ==, strlen (data));
  g_assert_true (memcmp (secret->data, data, secret->len) == 0);
  g_assert_cmpint (secret->data[secret->len], ==, 0);
}

static void
refuse (VpSecrets *secrets, const char *text, const char *why)
{
  g_autoptr (GError) error = NULL;
  g_assert_false (add (secrets, text, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_assert_nonnull (strstr (error->message, why));
}

static void
test_forms (void)
{
  g_autoptr (VpSecrets) secrets = vp_secrets_new ();
  g_autoptr (GError) error = NULL;
  g_assert_true (add (secrets, "id=a,data=geheim", &error));
  g_assert_true (add (secrets, "id=b,data=Z2VoZWlt,format=base64", &error));
  g_assert_true (add (secrets, "id=e,data=", &error));
  g_assert_no_error (error);
  expect (secrets, "a", "geheim");
  expect (secrets, "b", "geheim");
  expect (secrets, "e", "");
  g_assert_null (vp_secrets_find (secrets, "c", &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_assert_null (vp_secrets_find (NULL, "a", NULL));
  g_assert_null (vp_secret_new (NULL, "", VP_MAX_SECRET_LEN + 1));
}

static void
test_encrypted (void)
{
  g_autoptr (VpSecrets) secrets = vp_secrets_new ();
  g_autoptr (GError) error = NULL;
  g_assert_true (
      add (secrets, "id=m,data=0123456789abcdef0123456789abcdef", &error));
  g_assert_true (add (secrets,
                      "id=s,data=" PACKED
                      ",format=base64,keyid=m,iv=AAAAAAAAAAAAAAAAAAAAAQ==",
                      &error));
  g_assert_no_error (error);
  expect (secrets, "s", "geheim");
  refuse (secrets,
          "id=t,data=" PACKED
          ",format=base64,keyid=m,iv=AAAAAAAAAAAAAAAAAAAABQ==",
          "padding");
  refuse (secrets,
          "id=t,data=QQ==,format=base64,keyid=m,iv=AAAAAAAAAAAAAAAAAAAAAQ==",
          "padding");
  refuse (secrets,
          "id=t,data=" PACKED ",format=base64,keyid=m,iv=AA==", "the IV");
  refuse (secrets,
          "id=t,data=x,keyid=s,iv=AAAAAAAAAAAAAAAAAAAAAQ==", "the key");
  refuse (secrets, "id=t,data=x,keyid=m", "IV is required");
  refuse (secrets, "id=t,data=x,iv=AA==", "needs 'keyid'");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/secret/forms", test_forms);
  g_test_add_func ("/secret/encrypted", test_encrypted);
  return g_test_run ();
}
