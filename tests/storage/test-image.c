/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Guest bytes in every format of the list: chains, bounds, zeros, growth,
 * maps, copies, and random operations against bytes in memory. */
#include "config.h"

#include "storage/image.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define MIB (UINT64_C (1) << 20)

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  VpFile *file;
  VpImage *image;
} World;

static void
world_open (World *w, VpImageFlags flags)
{
  w->image = case_open (w->c, &w->gate, w->file, flags);
}

static void
world_init (World *w, gconstpointer c, uint64_t size, const char *backing,
            const char *backing_format)
{
  w->c = c;
  if (!w->gate.files)
    fake_gate_init (&w->gate);
  w->file = case_create (c, &w->gate, "disk", size, backing, backing_format);
  world_open (w, VP_IMAGE_WRITABLE);
}

static void
world_close (World *w)
{
  ASSERT_OK (vp_image_close (g_steal_pointer (&w->image), &error));
}

static void
world_clear (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
}

static void
put (VpImage *image, uint64_t offset, int byte, size_t len)
{
  g_autofree uint8_t *buffer = g_malloc (len);
  memset (buffer, byte, len);
  ASSERT_OK (vp_image_write (image, offset, buffer, len, &error));
}

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

/* ---- one image ---------------------------------------------------------- */

static void
test_create (gconstpointer data)
{
  World w = { 0 };
  world_init (&w, data, MIB - 100, NULL, NULL);
  g_auto (VpImageInfo) info = { 0 };
  g_assert_cmpuint (vp_image_get_size (w.image), ==, MIB);
  expect (w.image, 0, 0, MIB);
  ASSERT_OK (vp_image_get_info (w.image, &info, &error));
  g_assert_cmpstr (info.format, ==, w.c->format);
  g_assert_cmpuint (info.virtual_size, ==, MIB);
  g_assert_null (info.backing_name);
  g_assert_false (info.dirty || info.corrupt);
  g_assert_true (info.encrypted == case_is_encrypted (w.c));
  if (case_is (w.c, "qcow2")) {
    bool v2 = strstr (w.c->options, "compat") != NULL;
    g_assert_cmpstr (info.compat, ==, v2 ? "0.10" : "1.1");
    g_assert_cmpint (info.lazy_refcounts, ==,
                     strstr (w.c->options, "lazy") != NULL);
    g_assert_cmpstr (info.compression_type, ==,
                     strstr (w.c->options, "zstd") ? "zstd" : "zlib");
  }
  world_close (&w);
  case_check (w.c, w.file, 0);
  world_clear (&w);
}

static void
test_write (gconstpointer data)
{
  World w = { 0 };
  world_init (&w, data, 4 * MIB, NULL, NULL);
  put (w.image, 1000, 0x11, 1);
  put (w.image, 70000, 0x22, 200000);
  put (w.image, 100000, 0x33, 10);
  put (w.image, 4 * MIB - 7, 0x44, 7);
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (w.image, 0, 0, 1000);
    expect (w.image, 1000, 0x11, 1);
    expect (w.image, 1001, 0, 68999);
    expect (w.image, 70000, 0x22, 30000);
    expect (w.image, 100000, 0x33, 10);
    expect (w.image, 100010, 0x22, 169990);
    expect (w.image, 270000, 0, 4 * MIB - 7 - 270000);
    expect (w.image, 4 * MIB - 7, 0x44, 7);
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_READ_ONLY);
  }
  world_clear (&w);
}

static void
test_zero (gconstpointer data)
{
  World w = { 0 };
  world_init (&w, data, 2 * MIB, NULL, NULL);
  put (w.image, 0, 0x55, 2 * MIB);
  ASSERT_OK (vp_image_zero (w.image, 1000, 300000, true, &error));
  ASSERT_OK (vp_image_zero (w.image, MIB, 65536, false, &error));
  ASSERT_OK (vp_image_zero (w.image, 2 * MIB - 5000, 5000, true, &error));
  put (w.image, MIB + 4096, 0x66, 100); /* into a place that was kept */
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (w.image, 0, 0x55, 1000);
    expect (w.image, 1000, 0, 300000);
    expect (w.image, 301000, 0x55, MIB - 301000);
    expect (w.image, MIB, 0, 4096);
    expect (w.image, MIB + 4096, 0x66, 100);
    expect (w.image, MIB + 4196, 0, 65536 - 4196);
    expect (w.image, MIB + 65536, 0x55, MIB - 65536 - 5000);
    expect (w.image, 2 * MIB - 5000, 0, 5000);
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_READ_ONLY);
  }
  world_clear (&w);
}

/* Zeros, or what was there before. */
static void
expect_discarded (World *w, uint64_t length, int byte)
{
  g_autofree uint8_t *buffer = g_malloc (length);
  ASSERT_OK (vp_image_read (w->image, 0, buffer, length, &error));
  for (uint64_t i = 0; i < length; i++)
    g_assert_true (buffer[i] == 0 || (w->c->keeps && buffer[i] == byte));
}

/* What a discard gave back is used again, after the next flush. */
static void
test_discard (gconstpointer data)
{
  World w = { 0 };
  uint64_t size, again;
  world_init (&w, data, 4 * MIB, NULL, NULL);
  put (w.image, 0, 0x55, 4 * MIB);
  ASSERT_OK (vp_image_flush (w.image, &error));
  fake_file_bytes (w.file, &size);
  for (unsigned i = 0; i < 4; i++) {
    ASSERT_OK (vp_image_discard (w.image, 0, 4 * MIB, &error));
    ASSERT_OK (vp_image_flush (w.image, &error));
    expect_discarded (&w, 4 * MIB, 0x55 + (int) i);
    put (w.image, 0, 0x56 + (int) i, 4 * MIB);
    ASSERT_OK (vp_image_flush (w.image, &error));
  }
  fake_file_bytes (w.file, &again);
  g_assert_cmpuint (again, <=, size + 4 * 65536);
  world_close (&w);
  case_check (w.c, w.file, 0);
  world_clear (&w);
}

static void
test_bounds (gconstpointer data)
{
  g_autoptr (GError) failure = NULL;
  World w = { 0 };
  uint8_t byte = 0;
  world_init (&w, data, MIB, NULL, NULL);
  g_assert_false (vp_image_read (w.image, MIB, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  g_clear_error (&failure);
  g_assert_false (vp_image_write (w.image, UINT64_MAX, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  g_clear_error (&failure);
  g_assert_false (vp_image_zero (w.image, 0, MIB + 1, true, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  g_clear_error (&failure);
  ASSERT_OK (vp_image_read (w.image, MIB, &byte, 0, &error));
  world_close (&w);
  world_open (&w, VP_IMAGE_READ_ONLY);
  g_assert_false (vp_image_write (w.image, 0, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY);
  world_clear (&w);
}

/* Too far for those that do not grow as one likes. */
static void
test_fixed (gconstpointer data)
{
  World w = { 0 };
  g_autoptr (GError) failure = NULL;
  world_init (&w, data, MIB, NULL, NULL);
  put (w.image, MIB - 100, 0x77, 100);
  /* Into noise any image may grow. */
  if (!(w.c->lacks & CASE_NO_GROWTH) || w.c->lacks & CASE_NO_HOLES) {
    world_clear (&w);
    return;
  }
  g_assert_false (
      vp_image_resize (w.image, 200 * MIB, VP_PREALLOCATION_OFF, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED);
  for (unsigned pass = 0; pass < 2; pass++) {
    g_assert_cmpuint (vp_image_get_size (w.image), ==, MIB);
    expect (w.image, MIB - 100, 0x77, 100);
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_WRITABLE);
  }
  world_clear (&w);
}

static void
test_grow (gconstpointer data)
{
  World w = { 0 };
  g_autoptr (GError) failure = NULL;
  world_init (&w, data, MIB, NULL, NULL);
  put (w.image, MIB - 100, 0x77, 100);
  ASSERT_OK (
      vp_image_resize (w.image, 200 * MIB, VP_PREALLOCATION_OFF, &error));
  g_assert_cmpuint (vp_image_get_size (w.image), ==, 200 * MIB);
  put (w.image, 200 * MIB - 50, 0x78, 50);
  for (unsigned pass = 0; pass < 2; pass++) {
    g_assert_cmpuint (vp_image_get_size (w.image), ==, 200 * MIB);
    expect (w.image, MIB - 100, 0x77, 100);
    expect (w.image, MIB, 0, 3 * MIB);
    expect (w.image, 200 * MIB - 50, 0x78, 50);
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_WRITABLE);
  }
  g_assert_false (
      vp_image_resize (w.image, MIB, VP_PREALLOCATION_OFF, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  world_clear (&w);
}

/* The byte where the extent says that it is. */
static void
expect_in_file (World *w, const VpExtent *extent, int byte)
{
  uint8_t found = 0;
  VpFile *file = w->file, *joined;
  for (unsigned i = 0; (joined = fake_file_joined (w->file, i)); i++)
    if (strcmp (extent->filename, joined->name) == 0)
      file = joined;
  ASSERT_OK (vp_file_read (file, extent->offset, &found, 1, &error));
  g_assert_cmphex (found, ==, byte);
}

static void
test_map (gconstpointer data)
{
  World w = { 0 };
  VpExtent extent;
  world_init (&w, data, 16 * MIB, NULL, NULL);
  put (w.image, 4 * MIB, 0x11, 2 * MIB);
  for (uint64_t at = 0, step; at < 16 * MIB; at += step) {
    ASSERT_OK (vp_image_map (w.image, at, 16 * MIB - at, &extent, &error));
    g_assert_cmpuint (extent.start, ==, at);
    g_assert_cmpuint (extent.depth, ==, 0);
    step = extent.length;
    bool inside = at >= 4 * MIB && at < 6 * MIB;
    g_assert_cmpint (extent.data, ==, inside || w.c->full);
    g_assert_cmpint (extent.zero, ==, !inside && !w.c->full);
    g_assert_true (extent.has_offset || !inside || case_is_encrypted (w.c));
    if (inside && extent.has_offset)
      expect_in_file (&w, &extent, 0x11);
  }
  world_clear (&w);
}

/* ---- chains ------------------------------------------------------------- */

static const char *
base_format (const World *w)
{
  return w->c->own_kind ? w->c->format : "raw";
}

static VpFile *
make_base (World *w, const char *name, uint64_t size)
{
  if (w->c->own_kind)
    return case_create (w->c, &w->gate, name, size, NULL, NULL);
  VpFile *file = fake_file_new (name);
  ASSERT_OK (vp_file_truncate (file, size, &error));
  return file;
}

static void
add_base (World *w, const char *name, uint64_t size, int byte)
{
  g_autoptr (GError) failure = NULL;
  if (!w->gate.files)
    fake_gate_init (&w->gate);
  g_autoptr (VpFile) base = make_base (w, name, size);
  VpImage *image = case_open_file (base, base_format (w), VP_IMAGE_WRITABLE,
                                   &w->gate.opener, &failure);
  g_assert_no_error (failure);
  put (image, 0, byte, size);
  ASSERT_OK (vp_image_close (image, &error));
  fake_gate_add (&w->gate, base);
}

static void
test_backing (gconstpointer data)
{
  World w = { .c = data };
  add_base (&w, "base", 4 * MIB, 0xbb);
  world_init (&w, data, 0, "base", base_format (&w));
  g_assert_cmpuint (vp_image_get_size (w.image), ==, 4 * MIB);
  put (w.image, 100000, 0x11, 50);
  ASSERT_OK (vp_image_zero (w.image, 2 * MIB, 300001, true, &error));
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (w.image, 0, 0xbb, 100000);
    expect (w.image, 100000, 0x11, 50);
    expect (w.image, 100050, 0xbb, 2 * MIB - 100050);
    expect (w.image, 2 * MIB, 0, 300001);
    expect (w.image, 2 * MIB + 300001, 0xbb, 2 * MIB - 300001);
    g_auto (VpImageInfo) info = { 0 };
    ASSERT_OK (vp_image_get_info (w.image, &info, &error));
    g_assert_cmpstr (info.backing_name, ==, "base");
    g_assert_cmpstr (info.backing_format, ==,
                     w.c->lacks & CASE_NO_BACKING_FORMAT ? NULL
                                                         : base_format (&w));
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_READ_ONLY);
  }
  world_clear (&w);
}

static void
test_backing_shorter (gconstpointer data)
{
  World w = { .c = data };
  VpExtent extent;
  add_base (&w, "base", MIB + 512, 0xbb);
  world_init (&w, data, 3 * MIB, "base", base_format (&w));
  expect (w.image, 0, 0xbb, MIB + 512);
  expect (w.image, MIB + 512, 0, 2 * MIB - 512);
  ASSERT_OK (vp_image_map (w.image, 2 * MIB, MIB, &extent, &error));
  /* Nobody holds it; the longer layer says that it is zero. */
  g_assert_true (extent.zero && !extent.present && !extent.data);
  g_assert_cmpuint (extent.depth, ==, 0);
  put (w.image, MIB + 500, 0x11, 100); /* across its end */
  expect (w.image, MIB, 0xbb, 500);
  expect (w.image, MIB + 500, 0x11, 100);
  expect (w.image, MIB + 600, 0, MIB);
  world_close (&w);
  case_check (w.c, w.file, 0);
  world_clear (&w);
}

/* Growing must not bring the hidden rest of the base to light. */
static void
test_backing_longer (gconstpointer data)
{
  World w = { .c = data };
  add_base (&w, "base", 4 * MIB, 0xbb);
  world_init (&w, data, MIB + 1024, "base", base_format (&w));
  expect (w.image, 0, 0xbb, MIB + 1024);
  /* As far as it can, but into what the base hides. */
  size_t more = w.c->lacks & CASE_NO_GROWTH ? 100 * 1024 : 5 * MIB - 1024;
  ASSERT_OK (vp_image_resize (w.image, MIB + 1024 + more, VP_PREALLOCATION_OFF,
                              &error));
  for (unsigned pass = 0; pass < 2; pass++) {
    expect (w.image, 0, 0xbb, MIB + 1024);
    expect (w.image, MIB + 1024, 0, more);
    world_close (&w);
    case_check (w.c, w.file, 0);
    world_open (&w, VP_IMAGE_READ_ONLY);
  }
  world_clear (&w);
}

static VpFile *
overlay_on (World *w, const char *name, const char *base, const char *format)
{
  VpFile *file = case_create (w->c, &w->gate, name, MIB, base, format);
  fake_gate_add (&w->gate, file);
  return file;
}

/* Exactly the limit is fine, one more is not; the last one in a circle. */
static void
test_chain_depth (gconstpointer data)
{
  World w = { .c = data };
  g_autoptr (GError) failure = NULL;
  add_base (&w, "0", MIB, 0xbb);
  VpFile *last = NULL;
  char below[8] = "0", name[8];
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  case_options (w.c, &options);
  for (unsigned i = 1; i <= VP_MAX_CHAIN_DEPTH; i++) {
    g_clear_pointer (&last, vp_file_unref);
    g_snprintf (name, sizeof name, "%u", i);
    last = fake_file_new (name);
    options.size = MIB;
    options.backing_name = below;
    options.backing_format = i == 1 ? base_format (&w) : w.c->format;
    fake_gate_state (&w.gate, below, options.backing_format);
    g_autoptr (GPtrArray) parts = NULL;
    w.gate.owner = last;
    ASSERT_OK (vp_image_make_parts (&w.gate.opener, name,
                                    vp_formats_find (w.c->format, NULL),
                                    &options, &parts, &error));
    options.parts = parts;
    ASSERT_OK (
        vp_image_create_file (last, w.c->format, &options, NULL, &error));
    w.gate.owner = NULL;
    fake_gate_add (&w.gate, last);
    memcpy (below, name, sizeof below);
    if (i > 1 && i < VP_MAX_CHAIN_DEPTH - 1)
      continue; /* opening takes time: keys, large clusters */
    g_autoptr (VpImage) image =
        case_open_file (last, w.c->format, 0, &w.gate.opener, &failure);
    if (i < VP_MAX_CHAIN_DEPTH) {
      g_assert_no_error (failure);
      expect (image, 5000, 0xbb, 100);
    } else
      g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  }
  vp_file_unref (last);
  world_clear (&w);
}

static void
test_chain_circle (gconstpointer data)
{
  World w = { .c = data };
  g_autoptr (GError) failure = NULL;
  add_base (&w, "a", MIB, 0xbb);
  g_autoptr (VpFile) b = overlay_on (&w, "b", "a", base_format (&w));
  g_autoptr (VpFile) c = overlay_on (&w, "a", "b", w.c->format);
  g_assert_null (case_open_file (c, w.c->format, 0, &w.gate.opener, &failure));
  /* "b" names "a", so the circle shows as a doubled file. */
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT);
  world_clear (&w);
}

static void
test_gate (gconstpointer data)
{
  World w = { .c = data };
  g_autoptr (GError) failure = NULL;
  add_base (&w, "base", MIB, 0xbb);
  g_autoptr (VpFile) file = overlay_on (&w, "top", "base", base_format (&w));
  /* Nobody at the gate. */
  g_assert_null (case_open_file (file, w.c->format, 0, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  g_clear_error (&failure);
  /* Not wanted: what lies below cannot be read, and nothing was asked but for
   * its own extents. */
  unsigned asked = w.gate.n_asked;
  if (vp_formats_find (w.c->format, NULL)->part)
    for (unsigned i = 0; fake_file_joined (file, i); i++)
      asked++;
  g_autoptr (VpImage) image = case_open_file (
      file, w.c->format, VP_IMAGE_NO_BACKING, &w.gate.opener, &failure);
  g_assert_no_error (failure);
  uint8_t byte;
  g_assert_false (vp_image_read (image, 0, &byte, 1, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_DENIED);
  g_assert_cmpuint (w.gate.n_asked, ==, asked);
  world_clear (&w);
}

static void
test_backing_needs_format (gconstpointer data)
{
  g_autoptr (GError) failure = NULL;
  const EngineCase *c = data;
  VpCreateOptions options = VP_CREATE_OPTIONS_INIT;
  case_options (c, &options);
  options.size = MIB;
  options.backing_name = "base";
  g_autoptr (VpFile) file = fake_file_new ("disk");
  g_assert_false (
      vp_image_create_file (file, c->format, &options, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
}

/* ---- copy, compare ------------------------------------------------------ */

static void
expect_equal (VpImage *source, VpImage *target)
{
  VpCompareResult result;
  uint64_t at;
  bool longer;
  ASSERT_OK (vp_compare_images (source, target, false, NULL, &result, &at,
                                &longer, NULL, NULL, &error));
  g_assert_cmpint (result, ==, VP_COMPARE_EQUAL);
  g_assert_false (longer);
}

/* Zeros from 4 to 6 MiB were not stored; a byte more is seen. */
static void
expect_found (VpImage *source, VpImage *target, const EngineCase *c)
{
  VpCompareResult result;
  VpExtent extent;
  uint64_t at;
  ASSERT_OK (vp_image_map (target, 4 * MIB, 2 * MIB, &extent, &error));
  g_assert_true (extent.zero || c->full);
  if (c->once)
    return;
  put (target, 6 * MIB + 3, 1, 1);
  ASSERT_OK (vp_compare_images (source, target, false, NULL, &result, &at, NULL,
                                NULL, NULL, &error));
  g_assert_cmpint (result, ==, VP_COMPARE_CONTENT);
  g_assert_cmpuint (at, ==, 6 * MIB + 3);
}

static void
copy_to (World *w, const EngineCase *c)
{
  g_autoptr (VpFile) file =
      case_create (c, &w->gate, "target", 8 * MIB, NULL, NULL);
  VpImage *target =
      case_open (c, &w->gate, file, VP_IMAGE_WRITABLE | VP_IMAGE_UNORDERED);
  VpCopyOptions options = { .target_is_zero = true };
  ASSERT_OK (vp_copy_image (w->image, target, &options, NULL, &error));
  if (c->once) {
    ASSERT_OK (vp_image_close (target, &error));
    target = case_open (c, &w->gate, file, 0);
  }
  expect_equal (w->image, target);
  expect_found (w->image, target, c);
  ASSERT_OK (vp_image_close (target, &error));
  case_check (c, file, 0);
}

static void
test_copy (gconstpointer data)
{
  World w = { 0 };
  Random random = { test_seed () };
  g_autofree uint8_t *bytes = g_malloc (MIB);
  random_fill (&random, bytes, MIB);
  world_init (&w, data, 8 * MIB, NULL, NULL);
  ASSERT_OK (vp_image_write (w.image, 12345, bytes, MIB, &error));
  ASSERT_OK (vp_image_write (w.image, 7 * MIB, bytes, MIB, &error));
  put (w.image, 3 * MIB, 0, MIB); /* zeros that are stored */
  const EngineCase *source = data;
  for (const EngineCase *c = engine_cases; c->name; c++)
    /* All pairs in the end; every sixteenth of them in make check. */
    if ((source - engine_cases + (c - engine_cases)) % test_rounds (16, 1) == 0)
      copy_to (&w, c);
  world_clear (&w);
}

/* Over old content, with stored zeros on and off. */
static void
test_copy_over (gconstpointer data)
{
  World w = { 0 };
  world_init (&w, data, 3 * MIB, NULL, NULL);
  put (w.image, MIB, 0x11, 1000);
  for (unsigned dense = 0; dense < 2; dense++) {
    g_autoptr (VpFile) file =
        case_create (w.c, &w.gate, "target", 4 * MIB, NULL, NULL);
    g_autoptr (VpImage) target =
        case_open (w.c, &w.gate, file, VP_IMAGE_WRITABLE);
    put (target, 0, 0xee, 4 * MIB);
    VpCopyOptions options = { .sparse_size = dense ? UINT64_MAX : 0 };
    ASSERT_OK (vp_copy_image (w.image, target, &options, NULL, &error));
    expect (target, 0, 0, MIB);
    expect (target, MIB, 0x11, 1000);
    expect (target, MIB + 1000, 0, 3 * MIB - 1000);
    case_check (w.c, file, 0);
  }
  world_clear (&w);
}

/* A part, to another place, and nothing round it. */
static void
test_copy_part (gconstpointer data)
{
  World w = { 0 };
  world_init (&w, data, 3 * MIB, NULL, NULL);
  put (w.image, MIB, 0x11, 700);
  put (w.image, 2 * MIB, 0x22, MIB);
  g_autoptr (VpFile) file =
      case_create (w.c, &w.gate, "target", 8 * MIB, NULL, NULL);
  g_autoptr (VpImage) target =
      case_open (w.c, &w.gate, file, VP_IMAGE_WRITABLE);
  put (target, 0, 0xee, 8 * MIB);
  VpCopyOptions options = { .source_offset = MIB - 1000,
                            .length = MIB + 1512,
                            .target_offset = 4 * MIB + 512,
                            .keep_rest = true };
  ASSERT_OK (vp_copy_image (w.image, target, &options, NULL, &error));
  uint64_t at = options.target_offset;
  expect (target, 0, 0xee, at);
  expect (target, at, 0, 1000);
  expect (target, at + 1000, 0x11, 700);
  expect (target, at + 1700, 0, MIB - 700);
  expect (target, at + MIB + 1000, 0x22, 512);
  expect (target, at + MIB + 1512, 0xee, 8 * MIB - at - MIB - 1512);
  options.target_offset = 8 * MIB - 512;
  g_autoptr (GError) failure = NULL;
  g_assert_false (vp_copy_image (w.image, target, &options, NULL, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE);
  case_check (w.c, file, 0);
  world_clear (&w);
}

typedef struct {
  uint64_t last;
  unsigned calls;
  int cancel;
} Watch;

static void
watch (uint64_t done, uint64_t total, gpointer user_data)
{
  Watch *seen = user_data;
  g_assert_cmpuint (done, >=, seen->last);
  g_assert_cmpuint (done, <=, total);
  seen->last = done;
  seen->calls++;
}

static void
test_progress (gconstpointer data)
{
  World w = { 0 };
  Watch seen = { 0 };
  g_autoptr (GError) failure = NULL;
  VpProgress progress = { watch, &seen, &seen.cancel };
  VpCopyOptions options = { .target_is_zero = true };
  world_init (&w, data, 8 * MIB, NULL, NULL);
  put (w.image, 0, 0x11, 8 * MIB);
  g_autoptr (VpFile) file =
      case_create (w.c, &w.gate, "target", 8 * MIB, NULL, NULL);
  g_autoptr (VpImage) target =
      case_open (w.c, &w.gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_copy_image (w.image, target, &options, &progress, &error));
  g_assert_cmpuint (seen.last, ==, 8 * MIB);
  g_assert_cmpuint (seen.calls, >=, 4);
  g_atomic_int_set (&seen.cancel, 1);
  g_assert_false (
      vp_copy_image (w.image, target, &options, &progress, &failure));
  g_assert_error (failure, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CANCELLED);
  world_clear (&w);
}

/* ---- random operations -------------------------------------------------- */

typedef struct {
  World w;
  Random random;
  uint8_t *bytes; /* what the guest should see */
  uint64_t size, most;
} Model;

static void
compare_all (Model *m)
{
  g_autofree uint8_t *found = g_malloc (m->size);
  ASSERT_OK (vp_image_read (m->w.image, 0, found, m->size, &error));
  if (memcmp (found, m->bytes, m->size) == 0)
    return;
  for (uint64_t i = 0; i < m->size; i++)
    if (found[i] != m->bytes[i])
      g_error ("%s: byte 0x%" G_GINT64_MODIFIER "x is %02x, not %02x",
               m->w.c->name, i, found[i], m->bytes[i]);
}

static void
pick_range (Model *m, uint64_t *ret_offset, uint64_t *ret_length)
{
  uint64_t most = random_below (&m->random, 4) ? 5000 : m->size;
  uint64_t length = 1 + random_below (&m->random, MIN (most, m->size));
  uint64_t offset = random_below (&m->random, m->size - length + 1);
  if (random_below (&m->random, 2)) {
    offset &= ~UINT64_C (511);
    length = MIN (vp_round_up (length, 512), m->size - offset);
  }
  *ret_offset = offset;
  *ret_length = length;
}

static void
reopen (Model *m)
{
  world_close (&m->w);
  case_check (m->w.c, m->w.file, 0);
  world_open (&m->w, VP_IMAGE_WRITABLE);
}

static void
grow (Model *m)
{
  uint64_t size =
      m->size + 512 * (1 + random_below (&m->random, m->size / 1024 + 1));
  size = case_size (m->w.c, size);
  if (size > m->most || m->w.c->lacks & CASE_NO_GROWTH)
    return;
  ASSERT_OK (vp_image_resize (m->w.image, size, VP_PREALLOCATION_OFF, &error));
  memset (m->bytes + m->size, 0, size - m->size);
  m->size = size;
}

/* A discard may leave a byte or make it zero, unit by unit. */
static void
discard (Model *m, uint64_t offset, uint64_t length)
{
  g_autofree uint8_t *found = g_malloc (length);
  ASSERT_OK (vp_image_discard (m->w.image, offset, length, &error));
  ASSERT_OK (vp_image_read (m->w.image, offset, found, length, &error));
  for (uint64_t i = 0; i < length; i++)
    g_assert_true (found[i] == 0 || found[i] == m->bytes[offset + i]);
  memcpy (m->bytes + offset, found, length);
}

static void
one_operation (Model *m)
{
  uint64_t offset, length;
  bool unmap = random_below (&m->random, 2);
  pick_range (m, &offset, &length);
  switch (random_below (&m->random, 12)) {
  case 0: discard (m, offset, length); break;
  case 1:
  case 2:
    ASSERT_OK (vp_image_zero (m->w.image, offset, length, unmap, &error));
    memset (m->bytes + offset, 0, length);
    break;
  case 3: ASSERT_OK (vp_image_flush (m->w.image, &error)); break;
  case 4: grow (m); break;
  case 5:
    if (random_below (&m->random, 4) == 0)
      reopen (m);
    break;
  default:
    random_fill (&m->random, m->bytes + offset, length);
    ASSERT_OK (
        vp_image_write (m->w.image, offset, m->bytes + offset, length, &error));
  }
}

static void
run_random (const EngineCase *c, uint64_t seed, unsigned n_operations)
{
  Model m = { .w = { .c = c }, .random = { seed } };
  bool backed = c->backing && random_below (&m.random, 2);
  m.size = case_size (c, 512 * (1 + random_below (&m.random, 1024)));
  m.most = 4 * MIB;
  m.bytes = g_malloc0 (m.most + MIB);
  uint64_t base_size = 512 * (1 + random_below (&m.random, 1024));
  if (backed) {
    add_base (&m.w, "base", base_size, 0xbb);
    memset (m.bytes, 0xbb, MIN (m.size, base_size));
  }
  world_init (&m.w, c, m.size, backed ? "base" : NULL,
              backed ? base_format (&m.w) : NULL);
  for (unsigned i = 0; i < n_operations; i++) {
    one_operation (&m);
    if (i % 8 == 0)
      compare_all (&m);
  }
  compare_all (&m);
  reopen (&m);
  compare_all (&m);
  g_free (m.bytes);
  world_clear (&m.w);
}

static void
test_random (gconstpointer data)
{
  uint64_t seed = test_seed ();
  for (unsigned i = 0; i < test_rounds (6, 200); i++) {
    g_test_message ("round seed %" G_GUINT64_FORMAT, seed + i);
    run_random (data, seed + i, 60);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_every ("/image/create", test_create);
  case_add_all ("/image/write", test_write);
  case_add_all ("/image/zero", test_zero);
  case_add_all ("/image/discard", test_discard);
  case_add_all ("/image/bounds", test_bounds);
  case_add_growing ("/image/grow", test_grow);
  case_add_all ("/image/fixed", test_fixed);
  case_add_all ("/image/map", test_map);
  case_add_backed ("/image/backing/plain", test_backing);
  case_add_backed ("/image/backing/shorter", test_backing_shorter);
  case_add_backed ("/image/backing/longer", test_backing_longer);
  case_add_backed ("/image/backing/depth", test_chain_depth);
  case_add_backed ("/image/backing/circle", test_chain_circle);
  case_add_backed ("/image/backing/gate", test_gate);
  case_add_every ("/image/backing/needs-format", test_backing_needs_format);
  case_add_all ("/image/copy/to-all", test_copy);
  case_add_all ("/image/copy/over", test_copy_over);
  case_add_all ("/image/copy/part", test_copy_part);
  case_add_all ("/image/copy/progress", test_progress);
  case_add_all ("/image/random", test_random);
  return g_test_run ();
}
