/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qemu-img shrinks an image and leaves, in its last cluster, the bytes behind
 * the new end.  Growing it again must not bring them to light. */
#include "config.h"

#include <string.h>

#include "tests/storage/engine-cases.h"

#define SIZE (UINT64_C (4) << 20)

static void
test_grow (gconstpointer data)
{
  const EngineCase *c = data;
  FakeGate gate;
  fake_gate_init (&gate);
  g_autoptr (VpFile) file = case_create (c, &gate, "disk", SIZE, NULL, NULL);
  g_autoptr (VpImage) image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  uint8_t size[8];
  uint64_t end = SIZE - vp_image_get_cluster_size (image) / 2;
  end = vp_round_up (end, 512);
  memset (bytes, 'x', SIZE);
  ASSERT_OK (vp_image_write (image, 0, bytes, SIZE, &error));
  ASSERT_OK (vp_image_close (g_steal_pointer (&image), &error));
  vp_be64_set (size, end);
  fake_file_poke (file, 24, size, sizeof size);

  image = case_open (c, &gate, file, VP_IMAGE_WRITABLE);
  ASSERT_OK (vp_image_resize (image, SIZE, VP_PREALLOCATION_OFF, &error));
  ASSERT_OK (vp_image_read (image, 0, bytes, SIZE, &error));
  for (uint64_t i = 0; i < SIZE; i++)
    g_assert_cmpint (bytes[i], ==, i < end ? 'x' : 0);
  g_clear_pointer (&image, vp_image_free);
  fake_gate_clear (&gate);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  case_add_qcow2 ("/grow-hides-tail", test_grow);
  return g_test_run ();
}
