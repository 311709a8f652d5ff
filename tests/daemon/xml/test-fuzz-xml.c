/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mutations of good files: whatever comes, there is an answer, a refusal says
 * why and where within the file, walker and schema agree, and an accepted
 * guest gives a definition that can be read back or a reason.  Half a second in
 * "make check"; VP_TEST_FUZZ_MS says how long, VP_TEST_FUZZ_SEED where to
 * begin. */
#include "config.h"

#include "tests/daemon/xml/resolved.h"

#include <libxml/parser.h>
#include <libxml/relaxng.h>

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
  "<",
  ">",
  "/>",
  "\"",
  "'",
  "&",
  "&lt;",
  "&#0;",
  "&#x10ffff;",
  "]]>",
  "<![CDATA[",
  "<!--",
  "-->",
  "<?",
  "?>",
  "<!DOCTYPE a>",
  "<disk/>",
  "<nic/>",
  "<libvirt>",
  "</libvirt>",
  "<forward/>",
  "</",
  "xmlns:v=\"urn:vprovd:domain:1\"",
  "<v:guest/>",
  "port=\"1-65535\"",
  "0",
  "65536",
  "-1",
  "99999999999999999999",
  "G",
  "T",
  "\xff",
  "\xc3\xa4",
  "\n",
  "\r",
  "\t",
  "",
  "into=\"cpu\"",
  "mode=\"merge\"",
};

static void
mutate (GRand *rand, GString *text, const GPtrArray *corpus)
{
  size_t at = (size_t) g_rand_int_range (rand, 0, (int) text->len + 1);
  size_t len = (size_t) g_rand_int_range (rand, 0, 32);
  const GString *other;

  len = MIN (len, text->len - at);
  switch (g_rand_int_range (rand, 0, 6)) {
  case 0: g_string_erase (text, (gssize) at, (gssize) len); break;
  case 1:
    g_string_insert (
        text, (gssize) at,
        words[g_rand_int_range (rand, 0, (int) G_N_ELEMENTS (words))]);
    break;
  case 2:
    if (at < text->len)
      text->str[at] = (char) g_rand_int_range (rand, 0, 256);
    break;
  case 3: {
    g_autofree char *part = g_strndup (text->str + at, len);

    g_string_insert (text, g_rand_int_range (rand, 0, (int) text->len + 1),
                     part);
    break;
  }
  case 4:
    other = corpus->pdata[g_rand_int_range (rand, 0, (int) corpus->len)];
    len = (size_t) g_rand_int_range (rand, 0, (int) other->len + 1);
    g_string_insert_len (text, (gssize) at, other->str + len,
                         (gssize) MIN (other->len - len, 64));
    break;
  default: g_string_truncate (text, at); break;
  }
}

static unsigned
count_lines (const GString *text)
{
  unsigned n = 1;

  for (size_t i = 0; i < text->len; i++)
    n += text->str[i] == '\n';
  return n;
}

static void
check_problems (const GString *text, const GPtrArray *problems, bool accepted)
{
  unsigned lines = count_lines (text);

  g_assert_true (accepted != vp_problems_have_error (problems));
  for (guint i = 0; i < problems->len; i++) {
    const VpProblem *problem = problems->pdata[i];

    g_assert_true (problem->message != NULL && *problem->message != '\0');
    g_assert_true (g_utf8_validate (problem->message, -1, NULL));
    g_assert_cmpuint (problem->place.line, <=, lines);
  }
}

static void
use_guest (VpGuest *guest)
{
  g_autoptr (VpHostCaps) caps = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (VpGuest) copy = vp_guest_copy (guest);
  g_autoptr (VpGuest) found = NULL;
  g_autofree char *text = NULL;
  g_autofree char *adopted = NULL;

  if (copy->accel == VP_ACCEL_AUTO)
    copy->accel = VP_ACCEL_KVM;
  if (copy->uuid == NULL)
    copy->uuid = g_strdup ("11111111-2222-4333-8444-555555555555");
  for (guint i = 0; i < copy->disks->len; i++) {
    VpDisk *disk = copy->disks->pdata[i];

    if (copy->domain_xml == NULL) {
      disk->path = g_strdup ("/p");
      disk->target = g_strdup_printf ("vd%u", i);
    }
  }
  for (guint i = 0; i < copy->nics->len; i++) {
    VpNic *nic = copy->nics->pdata[i];

    if (nic->mac == NULL)
      nic->mac = g_strdup ("52:54:00:00:00:01");
    if (nic->bridge == NULL)
      nic->bridge = g_strdup ("br0");
  }
  caps = vp_test_caps (copy);
  text = vp_domain_xml_generate (copy, caps, &error);
  g_assert_true ((text != NULL) == (error == NULL));
  if (text == NULL)
    return;
  found = vp_domain_xml_parse (text, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (found->name, ==, copy->name);
  g_assert_cmpuint (found->memory, ==, copy->memory);
  adopted = vp_domain_xml_adopt (text, VP_POWER_RUNNING, &error);
  g_assert_no_error (error);
}

static void
ignore_error (void *user_data, const char *format, ...)
{
}

static bool
schema_accepts (xmlRelaxNG *schema, const GString *text)
{
  xmlDoc *doc =
      xmlReadMemory (text->str, (int) text->len, NULL, "UTF-8",
                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
  xmlRelaxNGValidCtxt *context = xmlRelaxNGNewValidCtxt (schema);
  bool valid;

  xmlRelaxNGSetValidErrors (context, ignore_error, ignore_error, NULL);
  valid = doc != NULL && xmlRelaxNGValidateDoc (context, doc) == 0;
  xmlRelaxNGFreeValidCtxt (context);
  xmlFreeDoc (doc);
  return valid;
}

/* What one accepts the other does, but for what a schema cannot say. */
static void
check_agreement (xmlRelaxNG *schema, const GString *text, bool accepted,
                 const GPtrArray *problems)
{
  static const char *const structure[] = {
    "unknown-element", "unknown-attribute",
    "missing",         "text",
    "not-supported",   NULL
  };
  bool valid = schema_accepts (schema, text);
  bool same = !accepted || valid;

  for (guint i = 0; i < problems->len; i++) {
    const VpProblem *problem = problems->pdata[i];

    if (valid && g_strv_contains (structure, problem->code))
      same = false;
  }
  if (same)
    return;
  g_test_message ("schema: %s, walker: %s\n%s", valid ? "valid" : "invalid",
                  accepted ? "accepted" : "refused", text->str);
  for (guint i = 0; i < problems->len; i++)
    g_test_message ("%s", ((VpProblem *) problems->pdata[i])->message);
  g_test_fail ();
}

static void
try_text (const GString *text, const char *name, xmlRelaxNG *schema)
{
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (GPtrArray) others = vp_problems_new ();
  VpSpecRules rules = { .allow_qemu_commandline = true };
  g_autoptr (VpGuest) guest = vp_spec_parse_guest ("f.xml", name, text->str,
                                                   text->len, &rules, problems);
  g_autoptr (VpNet) net =
      vp_spec_parse_network ("f.xml", "f", text->str, text->len, others);
  g_autoptr (VpPoolSpec) pool =
      vp_spec_parse_pool ("f.xml", "f", text->str, text->len, others);
  g_autoptr (VpImageSpec) image =
      vp_spec_parse_image ("f.xml", "f", text->str, text->len, others);

  check_problems (text, problems, guest != NULL);
  check_agreement (schema, text, guest != NULL, problems);
  g_assert_cmpuint (others->len, >=, 2);
  if (guest != NULL)
    use_guest (guest);
}

static void
read_corpus (const char *folder, GPtrArray *corpus, GPtrArray *names)
{
  g_autoptr (GPtrArray) files = vp_test_list (folder, ".xml");

  for (guint i = 0; i < files->len; i++) {
    g_autofree char *path = vp_test_path (folder, files->pdata[i], ".xml");
    g_autofree char *text = vp_test_read (path);

    g_ptr_array_add (corpus, g_string_new (text));
    g_ptr_array_add (names, g_strdup (files->pdata[i]));
  }
}

static void
free_string (gpointer string)
{
  g_string_free (string, TRUE);
}

static void
test_mutations (void)
{
  const char *ms_text = g_getenv ("VP_TEST_FUZZ_MS");
  const char *seed_text = g_getenv ("VP_TEST_FUZZ_SEED");
  int64_t budget_us = (ms_text != NULL ? atoi (ms_text) : 500) * 1000;
  int64_t end = g_get_monotonic_time () + budget_us;
  uint32_t seed = seed_text != NULL ? (uint32_t) atoi (seed_text) : 1;
  g_autoptr (GPtrArray) corpus = g_ptr_array_new_with_free_func (free_string);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *path =
      g_build_filename (g_getenv ("VP_SRCDIR"), "etc/guest.rng", NULL);
  xmlRelaxNGParserCtxt *parser = xmlRelaxNGNewParserCtxt (path);
  xmlRelaxNG *schema = xmlRelaxNGParse (parser);
  unsigned n = 0;

  xmlRelaxNGFreeParserCtxt (parser);
  g_assert_nonnull (schema);
  read_corpus ("guests", corpus, names);
  read_corpus ("domains", corpus, names);
  read_corpus ("networks", corpus, names);
  read_corpus ("pools", corpus, names);
  do {
    GRand *rand = g_rand_new_with_seed (seed + n);
    guint pick = (guint) g_rand_int_range (rand, 0, (int) corpus->len);
    const GString *base = corpus->pdata[pick];
    GString *text = g_string_new_len (base->str, (gssize) base->len);

    for (int k = g_rand_int_range (rand, 1, 6); k > 0; k--)
      mutate (rand, text, corpus);
    try_text (text, names->pdata[pick], schema);
    g_string_free (text, TRUE);
    g_rand_free (rand);
    n++;
  } while (n < 200 || g_get_monotonic_time () < end);
  xmlRelaxNGFree (schema);
  g_test_message ("%u mutations from seed %u", n, seed);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuzz/mutations", test_mutations);
  return g_test_run ();
}
