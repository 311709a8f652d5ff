/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* engine-cases: the list, and helpers over images in memory. */
#include "config.h"

#include "tests/storage/engine-cases.h"

#include <stdlib.h>
#include <string.h>

const EngineCase engine_cases[] = {
  { "raw", "raw", "", false, false },
  { "qcow2", "qcow2", "", true, true },
  { "qcow2-v2", "qcow2", "compat=0.10", true, true },
  { "qcow2-512", "qcow2", "cluster_size=512", true, true },
  { "qcow2-v2-512", "qcow2", "cluster_size=512,compat=v2", true, true },
  { "qcow2-4k", "qcow2", "cluster_size=4k", true, true },
  { "qcow2-2m", "qcow2", "cluster_size=2M", true, true },
  { "qcow2-rc1", "qcow2", "cluster_size=4k,refcount_bits=1", true, true },
  { "qcow2-rc4", "qcow2", "cluster_size=512,refcount_bits=4", true, true },
  { "qcow2-rc64", "qcow2", "cluster_size=512,refcount_bits=64", true, true },
  { "qcow2-lazy", "qcow2", "cluster_size=4k,lazy_refcounts=on", true, true },
  { "qcow2-zstd", "qcow2", "compression_type=zstd", true, true },
  { "qcow2-data", "qcow2", "data_file=guest,cluster_size=4k", false, true },
  { "qcow2-data-raw", "qcow2",
    "data_file=guest,data_file_raw=on,cluster_size=4k", false, true,
    .full = true },
  { "qcow2-extended", "qcow2", "extended_l2=on,cluster_size=16k", true, true },
  { "qcow2-prealloc", "qcow2", "preallocation=metadata,cluster_size=4k", false,
    true, .full = true },
  { "qcow2-aes", "qcow2", "encrypt.format=aes,encrypt.key-secret=key", true,
    true, .salted = true },
  { "qcow2-luks", "qcow2",
    "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=1,"
    "encrypt.cipher-alg=aes-128,cluster_size=4k",
    true, true, .salted = true },
  { "cow", "cow", "", true, true,
    CASE_NO_GROWTH | CASE_NO_BACKING_FORMAT | CASE_NO_JUDGE | CASE_NO_PACKING },
  { "luks", "luks", "key-secret=key,iter-time=1,cipher-alg=aes-128", false,
    true, CASE_NO_GROWTH | CASE_NO_PACKING | CASE_NO_HOLES | CASE_NO_JUDGE,
    .full = true, .keeps = true, .salted = true },
  { "vmdk", "vmdk", "", true, true, CASE_NO_PACKING, .leaky = true,
    .own_kind = true, .salted = true },
  { "vmdk-zeroed", "vmdk", "zeroed_grain=on", true, true, CASE_NO_PACKING,
    .leaky = true, .own_kind = true, .salted = true },
  { "vmdk-split-sparse", "vmdk",
    "subformat=twoGbMaxExtentSparse,extent_size=1280k", true, true,
    CASE_NO_PACKING, .leaky = true, .own_kind = true, .salted = true },
  { "vmdk-stream", "vmdk", "subformat=streamOptimized", false, true,
    CASE_NO_GROWTH, .once = true, .salted = true },
  { "vmdk-flat", "vmdk", "subformat=monolithicFlat", false, true,
    CASE_NO_PACKING, .salted = true },
  { "vmdk-split-flat", "vmdk", "subformat=twoGbMaxExtentFlat,extent_size=1280k",
    false, true, CASE_NO_PACKING, .salted = true },
  { "vdi", "vdi", "", false, true, CASE_NO_PACKING, .salted = true },
  { "vdi-static", "vdi", "static=on", false, true, CASE_NO_PACKING,
    .full = true, .salted = true },
  { "vdi-4k", "vdi", "cluster_size=4k", false, true,
    CASE_NO_PACKING | CASE_NO_JUDGE, .salted = true },
  { "qcow", "qcow", "", true, true, CASE_NO_BACKING_FORMAT | CASE_NO_JUDGE,
    .uncounted = true },
  { "qcow-512", "qcow", "cluster_size=512", true, true,
    CASE_NO_BACKING_FORMAT | CASE_NO_JUDGE, .uncounted = true },
  { "qcow-64k", "qcow", "cluster_size=64k", true, true,
    CASE_NO_BACKING_FORMAT | CASE_NO_JUDGE, .uncounted = true },
  { "qcow-aes", "qcow", "encrypt.format=aes,encrypt.key-secret=key", true, true,
    CASE_NO_BACKING_FORMAT | CASE_NO_JUDGE, .uncounted = true },
  { NULL },
};

const EngineCase *
case_find (const char *name)
{
  const EngineCase *c = engine_cases;
  while (c->name && strcmp (c->name, name) != 0)
    c++;
  g_assert_nonnull (c->name);
  return c;
}

const VpSecrets *
case_secrets (void)
{
  static VpSecrets *secrets;
  if (secrets)
    return secrets;
  g_autoptr (GPtrArray) pairs = g_ptr_array_new ();
  static const char *const words[] = { "qom-type", "secret", "id",
                                       "key",      "data",   "geheim" };
  for (size_t i = 0; i < G_N_ELEMENTS (words); i++)
    g_ptr_array_add (pairs, (char *) words[i]);
  secrets = vp_secrets_new ();
  ASSERT_OK (vp_secrets_add (secrets, pairs, &error));
  return secrets;
}

VpImage *
case_open_file (VpFile *file, const char *format, VpImageFlags flags,
                VpOpener *opener, GError **error)
{
  /* All layers alike. */
  VpOpenOptions below = { .key =
                              vp_secrets_find (case_secrets (), "key", NULL) };
  below.backing = &below;
  VpOpenOptions options = below;
  options.format = format;
  options.flags = flags;
  options.opener = opener;
  return vp_image_open_with (file, &options, error);
}

void
case_options (const EngineCase *c, VpCreateOptions *options)
{
  const VpFormat *format = vp_formats_find (c->format, NULL);
  g_assert_nonnull (format);
  g_auto (GStrv) pairs = g_strsplit (c->options, ",", -1);
  options->encrypt.secrets = case_secrets ();
  for (char **pair = pairs; *pair; pair++) {
    char *value = strchr (*pair, '=');
    g_assert_nonnull (value);
    *value++ = '\0';
    ASSERT_OK (vp_create_options_set (options, format, *pair,
                                      g_intern_string (value), &error));
  }
}

/* So that what the tests have not written reads as zeros. */
static void
fill_with_zeros (VpFile *file, const char *format)
{
  g_autoptr (GError) failure = NULL;
  VpImage *image =
      case_open_file (file, format, VP_IMAGE_WRITABLE, NULL, &failure);
  g_assert_no_error (failure);
  ASSERT_OK (vp_image_zero (image, 0, vp_image_get_size (image), true, &error));
  ASSERT_OK (vp_image_close (image, &error));
}

VpFile *
case_create (const EngineCase *c, FakeGate *gate, const char *name,
             uint64_t size, const char *backing, const char *backing_format)
{
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  case_options (c, &options);
  options.size = size;
  options.backing_name = backing;
  options.backing_format = backing_format;
  VpFile *file = fake_file_new (name);
  /* One for each image. */
  g_autofree char *own = g_strdup_printf ("%s.data", name);
  if (options.data_name)
    options.data_name = own;
  if (backing)
    fake_gate_state (gate, backing, backing_format);
  gate->owner = file;
  ASSERT_OK (
      vp_image_create_file (file, c->format, &options, &gate->opener, &error));
  gate->owner = NULL;
  if (c->lacks & CASE_NO_HOLES)
    fill_with_zeros (file, c->format);
  return file;
}

uint64_t
case_size (const EngineCase *c, uint64_t size)
{
  return vp_round_up (size, c->unit ? c->unit : 512);
}

bool
case_is (const EngineCase *c, const char *format)
{
  return strcmp (c->format, format) == 0;
}

bool
case_is_encrypted (const EngineCase *c)
{
  return strstr (c->options, "key-secret") != NULL;
}

VpImage *
case_open (const EngineCase *c, FakeGate *gate, VpFile *file,
           VpImageFlags flags)
{
  g_autoptr (GError) error = NULL;
  fake_gate_add_joined (gate, file);
  VpImage *image =
      case_open_file (file, c->format, flags, &gate->opener, &error);
  g_assert_no_error (error);
  return image;
}

/* Extents are a part of what is checked; a data file is not, nor is what lies
 * below. */
static VpImage *
open_to_check (VpFile *file, const char *format_name, VpImageFlags flags)
{
  const VpFormat *format = vp_formats_find (format_name, NULL);
  g_autoptr (GError) error = NULL;
  FakeGate gate;
  fake_gate_init (&gate);
  fake_gate_add_joined (&gate, file);
  VpOpenOptions options = { .format = format_name,
                            .flags = flags,
                            .opener = &gate.opener,
                            .ignore_backing = true };
  if (!format->part)
    options.flags |= VP_IMAGE_NO_BACKING;
  VpImage *image = vp_image_open_with (file, &options, &error);
  g_assert_no_error (error);
  fake_gate_clear (&gate);
  return image;
}

bool
case_qemu_reads (const EngineCase *c)
{
  if (case_is_encrypted (c) || strstr (c->options, "data_file"))
    return false;
  return case_is (c, "qcow") || !(c->lacks & CASE_NO_JUDGE);
}

static void
run_check (VpFile *file, const char *format, VpRepair repair,
           VpCheckResult *result)
{
  VpImageFlags flags = VP_IMAGE_CHECK;
  if (repair != VP_REPAIR_NOTHING)
    flags |= VP_IMAGE_WRITABLE;
  g_autoptr (VpImage) image = open_to_check (file, format, flags);
  ASSERT_OK (vp_check_image (image, repair, NULL, result, &error));
}

/* An image that says that its refcounts are behind is set right by whoever
 * opens it for writing. */
static void
mend_dirty (VpFile *file, const char *format)
{
  g_auto (VpImageInfo) info = { 0 };
  VpImage *image = open_to_check (file, format, VP_IMAGE_NO_IO);
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  vp_image_free (image);
  if (!info.dirty)
    return;
  image = open_to_check (file, format, VP_IMAGE_WRITABLE | VP_IMAGE_NO_IO);
  ASSERT_OK (vp_image_close (image, &error));
}

void
case_check (const EngineCase *c, VpFile *file, uint64_t most_leaks)
{
  if (!c->checks)
    return;
  if (c->leaky)
    most_leaks = UINT64_MAX;
  mend_dirty (file, c->format);
  g_auto (VpCheckResult) result = { 0 };
  run_check (file, c->format, VP_REPAIR_NOTHING, &result);
  if (result.corruptions > 0 || result.leaks > most_leaks)
    for (guint i = 0; i < MIN (result.messages->len, 10); i++)
      g_test_message ("%s: %s", c->name,
                      (char *) g_ptr_array_index (result.messages, i));
  g_assert_cmpuint (result.corruptions, ==, 0);
  g_assert_cmpuint (result.check_errors, ==, 0);
  g_assert_cmpuint (result.leaks, <=, most_leaks);
}

void
case_repair (const EngineCase *c, VpFile *file)
{
  if (!c->checks)
    return;
  g_auto (VpCheckResult) result = { 0 };
  run_check (file, c->format, VP_REPAIR_LEAKS, &result);
  for (guint i = 0;
       result.corruptions > 0 && i < MIN (result.messages->len, 10); i++)
    g_test_message ("%s: %s", c->name,
                    (char *) g_ptr_array_index (result.messages, i));
  g_assert_cmpuint (result.corruptions, ==, 0);
  g_assert_cmpuint (result.leaks, ==, 0);
  case_check (c, file, 0);
}

static void
add_case (const EngineCase *c, const char *path, void (*test) (gconstpointer))
{
  g_autofree char *name = g_strdup_printf ("%s/%s", path, c->name);
  g_test_add_data_func (name, c, test);
}

void
case_add_all (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    if (!c->once)
      add_case (c, path, test);
}

void
case_add_every (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    add_case (c, path, test);
}

void
case_add_backed (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    if (c->backing && !c->once)
      add_case (c, path, test);
}

void
case_add_growing (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    if (!(c->lacks & CASE_NO_GROWTH) && !c->once)
      add_case (c, path, test);
}

void
case_add_qcow2 (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    if (strcmp (c->format, "qcow2") == 0)
      add_case (c, path, test);
}

void
case_add_checked (const char *path, void (*test) (gconstpointer))
{
  for (const EngineCase *c = engine_cases; c->name; c++)
    if (c->checks && !c->once)
      add_case (c, path, test);
}

/* "make check" draws the same every time, so that its word holds;
 * "make check-long" draws anew. */
uint64_t
test_seed (void)
{
  static uint64_t drawn = 20261122;
  const char *text = getenv ("VP_TEST_SEED");
  uint64_t seed = text                      ? g_ascii_strtoull (text, NULL, 0)
                  : getenv ("VP_TEST_LONG") ? (uint64_t) g_get_real_time ()
                                            : drawn++;
  g_test_message ("seed %" G_GUINT64_FORMAT " (set VP_TEST_SEED to repeat)",
                  seed);
  return seed;
}

/* xorshift with a multiplication; any seed will do. */
uint64_t
random_next (Random *random)
{
  uint64_t x = random->state + UINT64_C (0x9e3779b97f4a7c15);
  random->state = x;
  x = (x ^ x >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C (0x94d049bb133111eb);
  return x ^ x >> 31;
}

uint64_t
random_below (Random *random, uint64_t limit)
{
  return random_next (random) % limit;
}

void
random_fill (Random *random, uint8_t *bytes, size_t len)
{
  for (size_t at = 0; at < len; at += 8) {
    uint64_t value = random_next (random);
    memcpy (bytes + at, &value, MIN (8, len - at));
  }
}

unsigned
test_rounds (unsigned quick, unsigned thorough)
{
  return getenv ("VP_TEST_LONG") ? thorough : quick;
}

const char *
test_samples (void)
{
  static char *path;
  const char *given = getenv ("VP_SAMPLES");
  const char *source = getenv ("VP_SRCDIR");
  g_free (path);
  path = given ? g_strdup (given)
               : g_build_filename (source ? source : ".", "..", "shared",
                                   "samples", NULL);
  return g_file_test (path, G_FILE_TEST_IS_DIR) ? path : NULL;
}
