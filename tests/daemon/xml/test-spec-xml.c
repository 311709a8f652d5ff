/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Spec files and what comes of them: each tests/daemon/xml/KIND/NAME.xml has a
 * NAME.out with the schema's word on it, and the typed fields or every
 * problem.  The walker and the schema in etc/ must agree; the exceptions are
 * what no schema can say, and their names begin with "semantic-".
 *
 * VP_TEST_REGENERATE=1 writes the .out files anew: read the difference. */
#include "config.h"

#include "daemon/spec-xml.h"

#include <libxml/parser.h>
#include <libxml/relaxng.h>

#include <stdlib.h>
#include <string.h>

static char *
data_folder (const char *kind)
{
  return g_build_filename (g_getenv ("VP_SRCDIR"), "tests/daemon/xml", kind,
                           NULL);
}

static char *
read_file (const char *path, size_t *ret_len)
{
  g_autoptr (GError) error = NULL;
  char *text = NULL;

  g_file_get_contents (path, &text, ret_len, &error);
  g_assert_no_error (error);
  return text;
}

static void
print_text (GString *out, const char *label, const char *text)
{
  g_autofree char *escaped = text != NULL ? g_strescape (text, NULL) : NULL;

  if (escaped != NULL)
    g_string_append_printf (out, " %s=\"%s\"", label, escaped);
}

static void
print_disk (GString *out, const VpDisk *disk)
{
  g_string_append_printf (
      out, "  disk %s at %u:%u from at %u:%u size=%" G_GUINT64_FORMAT,
      disk->name, disk->place.line, disk->place.column, disk->from_place.line,
      disk->from_place.column, disk->size);
  print_text (out, "pool", disk->pool);
  print_text (out, "format", disk->format);
  print_text (out, "from", disk->from);
  print_text (out, "path", disk->path);
  print_text (out, "backing", disk->backing_path);
  print_text (out, "backing-format", disk->backing_format);
  print_text (out, "target", disk->target);
  g_string_append (out, disk->foreign ? " foreign\n" : "\n");
}

static void
print_nic (GString *out, const VpNic *nic)
{
  g_string_append_printf (out, "  nic %s at %u:%u", nic->name, nic->place.line,
                          nic->place.column);
  print_text (out, "network", nic->network);
  print_text (out, "bridge", nic->bridge);
  print_text (out, "libvirt-network", nic->libvirt_network);
  print_text (out, "mac", nic->mac);
  print_text (out, "address", nic->address);
  g_string_append (out, nic->foreign ? " foreign\n" : "\n");
  for (guint i = 0; i < nic->forwards->len; i++) {
    const VpForward *forward = nic->forwards->pdata[i];
    g_autofree char *words = vp_forward_to_string (forward);

    g_string_append_printf (out, "    forward %s at %u:%u\n", words,
                            forward->place.line, forward->place.column);
  }
}

static void
print_guest (GString *out, const VpGuest *guest)
{
  g_string_append_printf (
      out, "guest %s at %u:%u %s accel=%s cpus=%u memory=%" G_GUINT64_FORMAT,
      guest->name, guest->place.line, guest->place.column,
      vp_power_to_string (guest->power), vp_accel_to_string (guest->accel),
      guest->cpus, guest->memory);
  print_text (out, "uuid", guest->uuid);
  print_text (out, "description", guest->description);
  print_text (out, "kernel", guest->kernel);
  print_text (out, "initrd", guest->initrd);
  print_text (out, "cmdline", guest->cmdline);
  print_text (out, "arch", guest->arch);
  print_text (out, "machine", guest->machine);
  g_string_append (out, guest->domain_xml != NULL ? " whole\n" : "\n");
  for (guint i = 0; i < guest->disks->len; i++)
    print_disk (out, guest->disks->pdata[i]);
  for (guint i = 0; i < guest->nics->len; i++)
    print_nic (out, guest->nics->pdata[i]);
  for (guint i = 0; i < guest->fragments->len; i++) {
    const VpFragment *fragment = guest->fragments->pdata[i];

    g_string_append_printf (out, "  fragment at %u:%u", fragment->place.line,
                            fragment->place.column);
    print_text (out, "into", fragment->into);
    print_text (out, "mode", fragment->mode);
    print_text (out, "xml", fragment->xml);
    g_string_append_c (out, '\n');
  }
}

static bool
parse_guest (const char *path, const char *name, const char *text, size_t len,
             GPtrArray *problems, GString *out)
{
  /* "qemu-allowed.xml" is read as with AllowQemuCommandline=yes. */
  VpSpecRules rules = { .allow_qemu_commandline =
                            g_str_has_suffix (name, "-allowed") };
  g_autoptr (VpGuest) guest =
      vp_spec_parse_guest (path, name, text, len, &rules, problems);

  if (guest == NULL)
    return false;
  print_guest (out, guest);
  if (guest->domain_xml != NULL)
    g_assert_true (strlen (guest->domain_xml) == len &&
                   memcmp (guest->domain_xml, text, len) == 0);
  g_assert_cmpstr (guest->source_path, ==, path);
  return true;
}

static bool
parse_network (const char *path, const char *name, const char *text, size_t len,
               GPtrArray *problems, GString *out)
{
  g_autoptr (VpNet) net =
      vp_spec_parse_network (path, name, text, len, problems);
  g_autofree char *address = NULL;

  if (net == NULL)
    return false;
  if (net->address.addr.family != 0)
    address = vp_cidr_to_string (&net->address);
  g_string_append_printf (out, "network %s %s", net->name,
                          net->kind == VP_NET_NAT ? "nat" : "isolated");
  print_text (out, "bridge", net->bridge);
  print_text (out, "address", address);
  g_string_append_c (out, '\n');
  return true;
}

static bool
parse_pool (const char *path, const char *name, const char *text, size_t len,
            GPtrArray *problems, GString *out)
{
  g_autoptr (VpPoolSpec) pool =
      vp_spec_parse_pool (path, name, text, len, problems);

  if (pool == NULL)
    return false;
  g_assert_cmpstr (pool->source_path, ==, path);
  g_string_append_printf (out, "pool %s at %u:%u %s\n", pool->name,
                          pool->place.line, pool->place.column, pool->path);
  return true;
}

static bool
parse_image (const char *path, const char *name, const char *text, size_t len,
             GPtrArray *problems, GString *out)
{
  g_autoptr (VpImageSpec) image =
      vp_spec_parse_image (path, name, text, len, problems);

  if (image == NULL)
    return false;
  g_assert_cmpstr (image->source_path, ==, path);
  g_string_append_printf (out, "image %s at %u:%u %s %s\n", image->name,
                          image->place.line, image->place.column, image->format,
                          image->path);
  return true;
}

typedef struct {
  const char *folder, *schema;
  bool (*parse) (const char *path, const char *name, const char *text,
                 size_t len, GPtrArray *problems, GString *out);
} Kind;

static const Kind kinds[] = {
  { "guests", "etc/guest.rng", parse_guest },
  { "networks", "etc/network.rng", parse_network },
  { "pools", "etc/pool.rng", parse_pool },
  { "images", "etc/image.rng", parse_image },
};

static void
ignore_error (void *user_data, const char *format, ...)
{
}

static xmlRelaxNG *
load_schema (const char *name)
{
  g_autofree char *path = g_build_filename (g_getenv ("VP_SRCDIR"), name, NULL);
  xmlRelaxNGParserCtxt *parser = xmlRelaxNGNewParserCtxt (path);
  xmlRelaxNG *schema = xmlRelaxNGParse (parser);

  xmlRelaxNGFreeParserCtxt (parser);
  g_assert_nonnull (schema);
  return schema;
}

static bool
schema_accepts (xmlRelaxNG *schema, const char *text, size_t len)
{
  xmlDoc *doc =
      xmlReadMemory (text, (int) len, NULL, NULL,
                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
  xmlRelaxNGValidCtxt *context = xmlRelaxNGNewValidCtxt (schema);
  bool valid;

  xmlRelaxNGSetValidErrors (context, ignore_error, ignore_error, NULL);
  valid = doc != NULL && xmlRelaxNGValidateDoc (context, doc) == 0;
  xmlRelaxNGFreeValidCtxt (context);
  xmlFreeDoc (doc);
  return valid;
}

/* Each problem is told once, in the order of the file. */
static void
check_problems (const GPtrArray *problems)
{
  for (guint i = 1; i < problems->len; i++) {
    const VpProblem *a = problems->pdata[i - 1], *b = problems->pdata[i];

    g_assert_true (
        a->place.line < b->place.line ||
        (a->place.line == b->place.line && a->place.column <= b->place.column));
    g_assert_true (memcmp (&a->place, &b->place, sizeof (VpPlace)) != 0 ||
                   strcmp (a->message, b->message) != 0);
  }
}

static void
run_file (const Kind *kind, xmlRelaxNG *schema, const char *folder,
          const char *file)
{
  g_autofree char *name = g_strndup (file, strlen (file) - 4);
  g_autofree char *path = g_build_filename (folder, file, NULL);
  g_autofree char *out_name = g_strconcat (name, ".out", NULL);
  g_autofree char *out_path = g_build_filename (folder, out_name, NULL);
  g_autofree char *wanted = NULL;
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  g_autoptr (GString) out = g_string_new (NULL);
  size_t len;
  g_autofree char *text = read_file (path, &len);
  bool valid = schema_accepts (schema, text, len);
  bool accepted;

  g_test_message ("%s/%s", kind->folder, file);
  g_string_printf (out, "schema: %s\n", valid ? "valid" : "invalid");
  accepted = kind->parse (file, name, text, len, problems, out);
  g_assert_true (accepted != vp_problems_have_error (problems));
  check_problems (problems);
  for (guint i = 0; i < problems->len; i++) {
    const VpProblem *problem = problems->pdata[i];
    g_autofree char *words = vp_problem_to_string (problem);

    g_string_append_printf (out, "%s [%s]\n", words, problem->code);
  }
  /* The schema knows less, never more. */
  if (g_str_has_prefix (name, "semantic-"))
    g_assert_true (valid && !accepted);
  else
    g_assert_true (valid == accepted);
  if (g_getenv ("VP_TEST_REGENERATE") != NULL) {
    g_assert_true (g_file_set_contents (out_path, out->str, -1, NULL));
    return;
  }
  wanted = read_file (out_path, NULL);
  g_assert_cmpstr (out->str, ==, wanted);
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

static void
test_kind (gconstpointer data)
{
  const Kind *kind = data;
  g_autofree char *folder = data_folder (kind->folder);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  g_autoptr (GPtrArray) files = g_ptr_array_new_with_free_func (g_free);
  xmlRelaxNG *schema = load_schema (kind->schema);
  const char *file;

  g_assert_nonnull (dir);
  while ((file = g_dir_read_name (dir)) != NULL)
    if (g_str_has_suffix (file, ".xml"))
      g_ptr_array_add (files, g_strdup (file));
  g_assert_cmpuint (files->len, >=, 5);
  g_ptr_array_sort (files, compare_names);
  for (guint i = 0; i < files->len; i++)
    run_file (kind, schema, folder, files->pdata[i]);
  xmlRelaxNGFree (schema);
}

/* The examples that are installed are right, for the schema and for us. */
static void
test_examples (void)
{
  g_autofree char *folder =
      g_build_filename (g_getenv ("VP_SRCDIR"), "etc/examples", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *file;
  unsigned n = 0;

  g_assert_nonnull (dir);
  while ((file = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, file, NULL);
    g_autofree char *name = NULL;
    g_autoptr (GPtrArray) problems = vp_problems_new ();
    g_autoptr (GString) out = g_string_new (NULL);
    g_autofree char *text = NULL;
    size_t len, k = 0;
    xmlRelaxNG *schema;

    if (!g_str_has_suffix (file, ".xml"))
      continue;
    name = g_strndup (file, strlen (file) - 4);
    text = read_file (path, &len);
    while (k + 1 < G_N_ELEMENTS (kinds) &&
           strncmp (kinds[k].folder, name, strlen (name)) != 0)
      k++;
    if (strncmp (kinds[k].folder, name, strlen (name)) != 0)
      k = 0;
    schema = load_schema (kinds[k].schema);
    g_test_message ("%s as one of %s/", file, kinds[k].folder);
    g_assert_true (kinds[k].parse (path, name, text, len, problems, out));
    g_assert_cmpuint (problems->len, ==, 0);
    g_assert_true (schema_accepts (schema, text, len));
    xmlRelaxNGFree (schema);
    n++;
  }
  g_assert_cmpuint (n, >=, 7);
}

/* A file's name is a guest's name, so it is looked at as well. */
static void
test_file_name (void)
{
  static const char text[] = "<guest><memory>1G</memory></guest>";
  static const char *const names[] = { "", "a b", ".hidden", "-x", "a/b" };
  VpSpecRules rules = { 0 };

  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GPtrArray) problems = vp_problems_new ();

    g_assert_null (vp_spec_parse_guest ("f.xml", names[i], text, strlen (text),
                                        &rules, problems));
    g_assert_cmpuint (problems->len, ==, 1);
    g_assert_nonnull (strstr (((VpProblem *) problems->pdata[0])->message,
                              "the file's name"));
  }
}

/* Problems of another file stay where they are, in front. */
static void
test_problems_are_added (void)
{
  static const char text[] = "<guest><memry/><memory>x</memory></guest>";
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpSpecRules rules = { 0 };

  g_ptr_array_add (problems, vp_problem_new ("other.xml", (VpPlace){ 99, 1 },
                                             VP_SEVERITY_ERROR, "x", "first"));
  g_assert_null (vp_spec_parse_guest ("f.xml", "f", text, strlen (text), &rules,
                                      problems));
  g_assert_cmpuint (problems->len, ==, 3);
  g_assert_cmpstr (((VpProblem *) problems->pdata[0])->path, ==, "other.xml");
  /* And a good file is not refused for the mistakes of another one. */
  {
    g_autoptr (VpPoolSpec) pool =
        vp_spec_parse_pool ("p.xml", "p", "<pool path='/p'/>", 17, problems);

    g_assert_nonnull (pool);
  }
}

static void
assert_size (const char *text, uint64_t size)
{
  g_autofree char *spec = g_strdup_printf (
      "<guest><memory>1G</memory><disk name='a' size='%s'/></guest>", text);
  g_autoptr (GPtrArray) problems = vp_problems_new ();
  VpSpecRules rules = { 0 };
  g_autoptr (VpGuest) guest =
      vp_spec_parse_guest ("f.xml", "f", spec, strlen (spec), &rules, problems);

  if (size == 0) {
    g_assert_null (guest);
    g_assert_cmpuint (problems->len, ==, 1);
    return;
  }
  g_assert_nonnull (guest);
  g_assert_cmpuint (vp_guest_find_disk (guest, "a")->size, ==, size);
}

static void
test_sizes (void)
{
  assert_size ("512", 512);
  assert_size ("512B", 512);
  assert_size ("1K", 1024);
  assert_size ("20G", UINT64_C (20) << 30);
  assert_size ("1.5G", UINT64_C (3) << 29);
  assert_size ("0.5K", 512);
  assert_size ("2.000000T", UINT64_C (2) << 40);
  assert_size ("4194303T", UINT64_C (4194303) << 40);
  assert_size ("4194304T", 0); /* 2^62 */
  assert_size ("18446744073709551616", 0);
  assert_size ("99999999999999999999999999G", 0);
  assert_size ("1.3K", 0); /* no whole bytes */
  assert_size ("1.0000000K", 0);
  assert_size ("0", 0);
  assert_size ("0.0G", 0);
  assert_size ("511", 0);
  assert_size ("513", 0);
  assert_size ("1g", 0);
  assert_size ("1GB", 0);
  assert_size ("1GiB", 0);
  assert_size ("-1G", 0);
  assert_size ("+1G", 0);
  assert_size (" 1G", 0);
  assert_size ("1 G", 0);
  assert_size (".5G", 0);
  assert_size ("1.G", 0);
  assert_size ("", 0);
  assert_size ("0x10", 0);
  assert_size ("1e3", 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++) {
    g_autofree char *path = g_strconcat ("/spec/", kinds[i].folder, NULL);

    g_test_add_data_func (path, &kinds[i], test_kind);
  }
  g_test_add_func ("/spec/examples", test_examples);
  g_test_add_func ("/spec/file-name", test_file_name);
  g_test_add_func ("/spec/problems-are-added", test_problems_are_added);
  g_test_add_func ("/spec/sizes", test_sizes);
  return g_test_run ();
}
