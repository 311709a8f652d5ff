/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Places that are there before the bytes: at creation, when an image grows,
 * and when that fails half way. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MIB (UINT64_C (1) << 20)

static void
expect (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  ASSERT_OK (vp_image_read (image, offset, buffer, len, &error));
  for (size_t i = 0; i < len; i++)
    if (buffer[i] != byte)
      g_error ("byte 0x%" G_GINT64_MODIFIER "x is %02x, not %02x", offset + i,
               buffer[i], (unsigned) byte);
}

static void
put (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  memset (buffer, byte, len);
  ASSERT_OK (vp_image_write (image, offset, buffer, len, &error));
}

static bool
is_qcow2 (const EngineCase *c)
{
  return case_is (c, "qcow2");
}

/* Guest bytes lie in a file as they are. */
static bool
is_flat (const EngineCase *c)
{
  return case_is (c, "raw") || g_str_has_suffix (c->name, "-flat");
}

/* Places for what has not been written yet. */
static bool
has_places (const EngineCase *c)
{
  return is_qcow2 (c) || case_is (c, "vdi");
}

/* Whoever cannot says so, and nothing has happened. */
static void
expect_refused (VpImage *image, VpPreallocation mode)
{
  g_autoptr (GError) failure = NULL;
  uint64_t size = vp_image_get_size (image);
  g_assert_false (vp_image_resize (image, 3 * MIB + 1024, mode, &failure));
  g_assert_true (
      g_error_matches (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED) ||
      g_error_matches (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE));
  g_assert_cmpuint (vp_image_get_size (image), ==, size);
  expect (image, MIB / 2, 0x11, MIB / 2);
  ASSERT_OK (vp_image_close (image, &error));
}

static void
test_others (gconstpointer data)
{
  const EngineCase *c = data;
  if (has_places (c) || is_flat (c) || case_is (c, "luks"))
    return;
  for (VpPreallocation mode = VP_PREALLOCATION_METADATA;
       mode <= VP_PREALLOCATION_FULL; mode++) {
    FakeGate gate;
    fake_gate_init (&gate);
    g_autoptr (VpFile) file =
        case_create (c, &gate, "disk", MIB + 512, NULL, NULL);
    VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
    put (image, 0, 0x11, MIB);
    expect_refused (image, mode);
    case_check (c, file, 0);
    fake_gate_clear (&gate);
  }
}

/* Places that somebody else had before must not show what he left. */
static void
test_grow (gconstpointer data)
{
  const EngineCase *c = data;
  if (!has_places (c) && !is_flat (c))
    return;
  static const VpPreallocation modes[] = { VP_PREALLOCATION_METADATA,
                                           VP_PREALLOCATION_FULL };
  for (size_t i = has_places (c) ? 0 : 1; i < G_N_ELEMENTS (modes); i++) {
    FakeGate gate;
    fake_gate_init (&gate);
    VpFile *file = case_create (c, &gate, "disk", MIB + 512, NULL, NULL);
    VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
    put (image, 0, 0x11, MIB);
    ASSERT_OK (vp_image_flush (image, &error));
    ASSERT_OK (vp_image_discard (image, 0, MIB / 2, &error));
    ASSERT_OK (vp_image_flush (image, &error));
    ASSERT_OK (vp_image_resize (image, 3 * MIB + 1024, modes[i], &error));
    for (unsigned pass = 0; pass < 2; pass++) {
      expect (image, MIB / 2, 0x11, MIB / 2);
      expect (image, MIB, 0, 2 * MIB + 1024);
      /* All of it is in place. */
      VpExtent extent;
      uint64_t whole = 2 * MIB, most = MIB;
      ASSERT_OK (vp_image_map (image, whole, most, &extent, &error));
      if (has_places (c) && pass == 0 && !strstr (c->options, "extended") &&
          !strstr (c->options, "encrypt"))
        g_assert_true (extent.has_offset);
      put (image, 2 * MIB + 700, 0x22, 5000);
      expect (image, 2 * MIB, 0, 700);
      expect (image, 2 * MIB + 700, 0x22, 5000);
      ASSERT_OK (vp_image_zero (image, 2 * MIB, MIB, false, &error));
      ASSERT_OK (vp_image_close (image, &error));
      case_check (c, file, 0);
      image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
    }
    vp_image_free (image);
    vp_file_unref (file);
    fake_gate_clear (&gate);
  }
}

/* The fake disk cannot keep space, and says so; then every write fails in
 * turn. */
static void
test_fails (gconstpointer data)
{
  const EngineCase *c = data;
  /* All is in place elsewhere. */
  if (!(is_qcow2 (c) && c->backing) && !(case_is (c, "vdi") && !c->full))
    return;
  FakeGate gate;
  fake_gate_init (&gate);
  VpFile *file = case_create (c, &gate, "disk", MIB, NULL, NULL);
  VpImage *image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  g_autoptr (GError) failure = NULL;
  put (image, 0, 0x11, MIB);
  g_assert_false (
      vp_image_resize (image, 5 * MIB, VP_PREALLOCATION_FALLOC, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  g_assert_cmpuint (vp_image_get_size (image), ==, MIB);
  expect (image, 0, 0x11, MIB);
  ASSERT_OK (vp_image_close (image, &error));
  case_check (c, file, 0);

  bool failed = true;
  for (unsigned nth = 1; failed; nth++) {
    g_autoptr (VpFile) copy = fake_file_copy (file, "disk");
    VpImage *other = case_open (c, &gate, copy, VP_IMAGE_WRITABLE);
    fake_file_fail (copy, nth, true);
    g_autoptr (GError) why = NULL;
    bool grown = vp_image_resize (other, 2 * MIB, VP_PREALLOCATION_FULL, &why);
    failed = fake_file_has_failed (copy);
    if (!failed)
      g_assert_no_error (why);
    g_assert_true (grown || failed); /* a hint may fail unseen */
    vp_image_free (other);
    fake_file_fail (copy, 0, false);
    g_autoptr (VpFile) left = fake_file_copy (copy, "disk");
    case_check (c, left, UINT64_MAX);
    other = case_open (c, &gate, left, 0);
    expect (other, 0, 0x11, MIB);
    uint64_t size = vp_image_get_size (other);
    expect (other, MIB, 0, (size_t) (size - MIB));
    vp_image_free (other);
  }
  vp_file_unref (file);
  fake_gate_clear (&gate);
}

/* An old file must still be there when the options were wrong. */
static void
test_wrong_options (void)
{
  static const char *const wrong[][2] = {
    { "qcow2", "cluster_size=100" },
    { "qcow2", "cluster_size=512,extended_l2=on" },
    { "qcow2", "compat=0.10,lazy_refcounts=on" },
    { "qcow2", "compat=0.10,data_file=guest" },
    { "qcow2", "data_file_raw=on" },
    { "raw", "preallocation=metadata" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++) {
    const EngineCase c = { "wrong", wrong[i][0], wrong[i][1], false, false };
    g_autoptr (GError) failure = NULL;
    g_autoptr (VpFile) file = fake_file_new ("disk");
    VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
    uint64_t size;
    case_options (&c, &options);
    options.size = MIB;
    fake_file_poke (file, 0, "precious", 8);
    g_assert_false (
        vp_image_create_file (file, c.format, &options, NULL, &failure));
    g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
    const uint8_t *bytes = fake_file_bytes (file, &size);
    g_assert_cmpuint (size, ==, 8);
    g_assert_cmpint (memcmp (bytes, "precious", 8), ==, 0);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_growing ("/preallocate/grow", test_grow);
  case_add_all ("/preallocate/others", test_others);
  case_add_growing ("/preallocate/fails", test_fails);
  g_test_add_func ("/preallocate/wrong-options", test_wrong_options);
  return g_test_run ();
}
