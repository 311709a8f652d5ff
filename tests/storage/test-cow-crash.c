/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Power cuts of a cow overlay.  A sector whose bit came before its data would
 * show a hole instead of what the base holds there, so that the base matters:
 * each of its sectors, and each that is written, says where it belongs and
 * which version it is.  After a cut it holds what it held at the last flush, or
 * something that was written since. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "tests/storage/engine-cases.h"

#define SECTORS   6000u
#define SIZE      (SECTORS * UINT64_C (512))
#define EPOCHS    12u
#define EPOCH_OPS 8u
#define ZERO      UINT32_MAX /* the version of zeros; 0: the base's */

typedef struct {
  uint32_t first, count, version;
} Op;

typedef struct {
  uint32_t before[SECTORS]; /* versions when it began */
  Op ops[EPOCH_OPS];
  unsigned n_ops, end; /* end: changes of the file when it was flushed */
} Epoch;

typedef struct {
  FakeGate gate;
  Random random;
  VpFile *file;
  Epoch epochs[EPOCHS];
} World;

static void
fill (uint8_t *bytes, uint32_t sector, uint32_t version)
{
  memset (bytes, 0, 512);
  if (version == ZERO)
    return;
  for (unsigned i = 0; i < 64; i++) {
    vp_be32_set (bytes + 8 * i, sector + 1);
    vp_be32_set (bytes + 8 * i + 4, version);
  }
}

static bool
is_version (const uint8_t *bytes, uint32_t sector, uint32_t version)
{
  uint8_t wanted[512];
  fill (wanted, sector, version);
  return memcmp (bytes, wanted, 512) == 0;
}

static bool
is_allowed (const Epoch *epoch, const uint8_t *bytes, uint32_t sector)
{
  if (is_version (bytes, sector, epoch->before[sector]))
    return true;
  for (unsigned i = 0; i < epoch->n_ops; i++) {
    const Op *op = &epoch->ops[i];
    if (sector >= op->first && sector < op->first + op->count &&
        is_version (bytes, sector, op->version))
      return true;
  }
  return false;
}

/* ---- the workload ------------------------------------------------------- */

static void
set_up (World *w, uint64_t seed)
{
  g_autoptr (VpFile) base = fake_file_new ("base");
  uint8_t bytes[512];
  memset (w, 0, sizeof *w);
  w->random.state = seed;
  fake_gate_init (&w->gate);
  for (uint32_t i = 0; i < SECTORS; i++) {
    fill (bytes, i, 0);
    fake_file_poke (base, i * UINT64_C (512), bytes, sizeof bytes);
  }
  fake_gate_add (&w->gate, base);
  w->file =
      case_create (case_find ("cow"), &w->gate, "disk", SIZE, "base", "raw");
}

static void
tear_down (World *w)
{
  vp_file_unref (w->file);
  fake_gate_clear (&w->gate);
}

static void
write_op (VpImage *image, const Op *op)
{
  g_autofree uint8_t *bytes = g_malloc (op->count * 512u);
  uint64_t offset = op->first * UINT64_C (512);
  for (uint32_t i = 0; i < op->count; i++)
    fill (bytes + i * 512u, op->first + i, op->version);
  if (op->version == ZERO)
    ASSERT_OK (vp_image_zero (image, offset, op->count * 512u, true, &error));
  else
    ASSERT_OK (vp_image_write (image, offset, bytes, op->count * 512u, &error));
}

static void
run_epoch (World *w, VpImage *image, unsigned n)
{
  Epoch *epoch = &w->epochs[n];
  for (; epoch->n_ops < EPOCH_OPS; epoch->n_ops++) {
    Op *op = &epoch->ops[epoch->n_ops];
    op->count = 1 + (uint32_t) random_below (&w->random, 200);
    op->first = (uint32_t) random_below (&w->random, SECTORS - op->count);
    op->version =
        random_below (&w->random, 6) ? 1 + n * EPOCH_OPS + epoch->n_ops : ZERO;
    write_op (image, op);
  }
  ASSERT_OK (vp_image_flush (image, &error));
  epoch->end = fake_file_count (w->file);
  if (n + 1 == EPOCHS)
    return;
  uint32_t *next = w->epochs[n + 1].before;
  memcpy (next, epoch->before, sizeof epoch->before);
  for (unsigned i = 0; i < epoch->n_ops; i++)
    for (uint32_t k = 0; k < epoch->ops[i].count; k++)
      next[epoch->ops[i].first + k] = epoch->ops[i].version;
}

/* ---- cuts --------------------------------------------------------------- */

static void
judge (World *w, VpFile *file, unsigned n_changes)
{
  const EngineCase *c = case_find ("cow");
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  const Epoch *epoch = w->epochs;
  while (epoch->end < n_changes)
    epoch++;
  case_check (c, file, 0);
  g_autoptr (VpImage) image = case_open (c, &w->gate, file, 0);
  ASSERT_OK (vp_image_read (image, 0, bytes, SIZE, &error));
  for (uint32_t s = 0; s < SECTORS; s++)
    if (!is_allowed (epoch, bytes + s * 512u, s))
      g_error ("after %u changes: sector %u holds neither old nor new bytes",
               n_changes, s);
}

/* Of [from, to) some is done, some torn, some lost. */
static VpFile *
cut (World *w, VpFile *base, GPtrArray *log, guint from, guint to)
{
  VpFile *file = fake_file_copy (base, "disk");
  for (guint i = from; i < to; i++) {
    const FakeOp *op = g_ptr_array_index (log, i);
    uint64_t dice = random_below (&w->random, 100);
    if (dice < 45)
      fake_op_apply (op, file);
    else if (dice < 65 && op->kind == FAKE_WRITE)
      fake_op_apply_torn (op, file, random_next (&w->random));
  }
  return file;
}

static unsigned
run (uint64_t seed, unsigned per_flush)
{
  g_autofree World *w = g_new0 (World, 1);
  unsigned states = 0;
  set_up (w, seed);
  g_autoptr (VpFile) base = fake_file_copy (w->file, "disk");
  GPtrArray *log = fake_file_record (w->file);
  fake_file_fail (w->file, 0, false);
  VpImage *image =
      case_open (case_find ("cow"), &w->gate, w->file, VP_IMAGE_WRITABLE);
  for (unsigned i = 0; i < EPOCHS; i++)
    run_epoch (w, image, i);
  vp_image_free (image);
  guint from = 0;
  for (guint at = 0; at < log->len; at++) {
    const FakeOp *op = g_ptr_array_index (log, at);
    if (op->kind != FAKE_FLUSH)
      continue;
    for (unsigned i = 0; at > from && i < per_flush; i++, states++) {
      g_autoptr (VpFile) file = cut (w, base, log, from, at);
      judge (w, file, at);
    }
    for (; from < at; from++)
      fake_op_apply (g_ptr_array_index (log, from), base);
    judge (w, base, at);
    states++;
  }
  tear_down (w);
  return states;
}

static void
test_cuts (void)
{
  uint64_t seed = test_seed ();
  unsigned states = 0;
  for (unsigned i = 0; i < test_rounds (1, 20); i++)
    states += run (seed + i, test_rounds (2, 20));
  g_test_message ("%u states", states);
  g_assert_cmpuint (states, >=, test_rounds (20, 5000));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cow/power-cut", test_cuts);
  return g_test_run ();
}
