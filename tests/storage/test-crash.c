/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is left when a write fails, or when the power does.
 *
 * Each 512-byte sector of the guest bears its number and a version.  A history
 * keeps, for each sector, the version that a flush has acknowledged and all
 * that came after it: only these may be found again.  Bytes of another
 * address, or of an older version, are a failure, and so is any corruption;
 * leaks are not, and repair must remove them. */
#include "config.h"

#include <string.h>

#include "storage/error.h"
#include "storage/snapshot.h"
#include "tests/storage/engine-cases.h"
#include "tests/storage/judge.h"

#define SECTORS 1024u
#define SIZE    (SECTORS * UINT64_C (512))
#define MAX_OPS 400u

/* ---- history ------------------------------------------------------------ */

typedef struct {
  uint32_t first, count; /* sectors */
  uint32_t version;      /* 0: zeros */
  const uint8_t *bytes;  /* all of the disk came back; else NULL */
  unsigned begun, ended; /* file changes seen before and after */
  bool flush, ok;
} Event;

/* A snapshot: there from end of its making to the begin of its end, perhaps
 * before and after that; what it holds never changes. */
typedef struct {
  char *name;
  uint8_t *bytes;
  unsigned begun, ended;          /* its making; file changes seen */
  unsigned delete_begun, deleted; /* UINT_MAX: not yet */
} Point;

typedef struct {
  Event events[MAX_OPS];
  unsigned n_events;
  GPtrArray *points; /* of Point */
} History;

static void
fill_sector (uint8_t *bytes, uint32_t sector, uint32_t version)
{
  uint64_t words[64];
  if (version == 0) {
    memset (bytes, 0, 512);
    return;
  }
  /* Every other version can be packed. */
  for (unsigned i = 0; i < 64; i++)
    words[i] = ((uint64_t) sector << 32 | version) *
               (UINT64_C (0x9e3779b97f4a7c15) + (version & 1 ? 2 * i : 0));
  memcpy (bytes, words, 512);
}

static bool
sector_is (const uint8_t *bytes, uint32_t sector, uint32_t version)
{
  uint8_t wanted[512];
  fill_sector (wanted, sector, version);
  return memcmp (bytes, wanted, 512) == 0;
}

/* May the sector look like that, where the file's changes up to n_changes
 * happened? */
static bool
sector_allowed (const History *h, const uint8_t *bytes, uint32_t sector,
                unsigned n_changes)
{
  unsigned last_flush = 0;
  for (unsigned i = 0; i < h->n_events; i++)
    if (h->events[i].flush && h->events[i].ok &&
        h->events[i].ended <= n_changes)
      last_flush = i;
  /* Newest first; the one that the flush found ends the search. */
  for (unsigned i = h->n_events; i-- > 0;) {
    const Event *e = &h->events[i];
    if (e->flush || e->begun > n_changes || sector < e->first ||
        sector >= e->first + e->count)
      continue;
    if (e->bytes ? memcmp (bytes, e->bytes + sector * 512u, 512) == 0
                 : sector_is (bytes, sector, e->version))
      return true;
    /* One that failed may have happened or not: look further. */
    if (i < last_flush && e->ok)
      return false;
  }
  return sector_is (bytes, sector, 0);
}

/* ---- a workload --------------------------------------------------------- */

typedef struct {
  const EngineCase *c;
  FakeGate gate;
  Random random;
  VpFile *file;
  VpImage *image;
  History history;
  uint32_t version;
} World;

static Event *
begin (World *w, uint32_t first, uint32_t count, uint32_t version)
{
  Event *e = &w->history.events[w->history.n_events++];
  g_assert_cmpuint (w->history.n_events, <, MAX_OPS);
  *e = (Event){ .first = first,
                .count = count,
                .version = version,
                .begun = fake_file_count (w->file) };
  return e;
}

static bool
write_sectors (World *w, uint32_t first, uint32_t count)
{
  g_autofree uint8_t *bytes = g_malloc (count * 512u);
  Event *e = begin (w, first, count, ++w->version);
  for (uint32_t i = 0; i < count; i++)
    fill_sector (bytes + i * 512u, first + i, e->version);
  e->ok = vp_image_write (w->image, first * UINT64_C (512), bytes, count * 512u,
                          NULL);
  e->ended = fake_file_count (w->file);
  return e->ok;
}

/* A discard leaves a sector alone or makes it zero. */
static bool
zero_sectors (World *w, uint32_t first, uint32_t count, unsigned how)
{
  uint64_t offset = first * UINT64_C (512), length = count * UINT64_C (512);
  Event *e = begin (w, first, count, 0);
  bool ok = how == 0 ? vp_image_discard (w->image, offset, length, NULL)
                     : vp_image_zero (w->image, offset, length, how == 1, NULL);
  e->ok = ok && how != 0;
  e->ended = fake_file_count (w->file);
  return ok;
}

static bool
flush (World *w)
{
  Event *e = begin (w, 0, 0, 0);
  e->flush = true;
  e->ok = vp_image_flush (w->image, NULL);
  e->ended = fake_file_count (w->file);
  return e->ok;
}

/* Whole clusters, packed where that makes them smaller. */
static void
write_packed (World *w, uint32_t first, uint32_t count)
{
  VpPacking packing;
  if (!vp_image_get_packing (w->image, &packing)) {
    (void) write_sectors (w, first, count);
    return;
  }
  uint32_t unit = (uint32_t) MIN (packing.unit / 512, SECTORS);
  first -= first % unit;
  count = MIN ((count + unit - 1) / unit * unit, SECTORS - first);
  g_autofree uint8_t *bytes = g_malloc (count * 512u);
  Event *e = begin (w, first, count, w->version += 2 - w->version % 2);
  for (uint32_t i = 0; i < count; i++)
    fill_sector (bytes + i * 512u, first + i, e->version);
  e->ok = vp_image_write_compressed (w->image, first * UINT64_C (512), bytes,
                                     count * 512u, NULL);
  e->ended = fake_file_count (w->file);
}

static void
point_free (gpointer data)
{
  Point *point = data;
  g_free (point->name);
  g_free (point->bytes);
  g_free (point);
}

static bool
has_snapshots (const World *w)
{
  return case_is (w->c, "qcow2") && !strstr (w->c->options, "bits=1") &&
         !strstr (w->c->options, "data_file");
}

static Point *
draw_point (World *w)
{
  GPtrArray *points = w->history.points;
  Point *point = points->len > 0
                     ? points->pdata[random_below (&w->random, points->len)]
                     : NULL;
  return point && point->delete_begun == UINT_MAX && point->ended != UINT_MAX
             ? point
             : NULL;
}

static void
take_point (World *w)
{
  Point *point = g_new0 (Point, 1);
  point->name = g_strdup_printf ("p%u", w->history.points->len);
  point->bytes = g_malloc (SIZE);
  point->begun = fake_file_count (w->file);
  point->ended = point->delete_begun = point->deleted = UINT_MAX;
  g_ptr_array_add (w->history.points, point);
  if (!vp_image_read (w->image, 0, point->bytes, SIZE, NULL))
    return;
  if (vp_image_snapshot_create (w->image, point->name, NULL))
    point->ended = fake_file_count (w->file);
}

static void
delete_point (World *w, Point *point)
{
  point->delete_begun = fake_file_count (w->file);
  if (vp_image_snapshot_delete (w->image, point->name, NULL))
    point->deleted = fake_file_count (w->file);
}

static void
apply_point (World *w, Point *point)
{
  Event *e = begin (w, 0, SECTORS, 0);
  e->bytes = point->bytes;
  e->ok = vp_image_snapshot_apply (w->image, point->name, NULL);
  e->ended = fake_file_count (w->file);
}

static void
snapshot_operation (World *w)
{
  Point *point = draw_point (w);
  if (!has_snapshots (w))
    return;
  if (!point)
    take_point (w);
  else if (random_below (&w->random, 2))
    delete_point (w, point);
  else
    apply_point (w, point);
}

static void
one_operation (World *w)
{
  uint64_t sort = random_below (&w->random, 25);
  if (sort == 0) {
    snapshot_operation (w);
    return;
  }
  uint32_t count = 1 + (uint32_t) random_below (
                           &w->random, random_below (&w->random, 3) ? 12 : 300);
  uint32_t first = (uint32_t) random_below (&w->random, SECTORS - count + 1);
  uint64_t dice = random_below (&w->random, 10);
  /* Whole clusters more often, or nothing would ever be freed. */
  if (dice < 5 && random_below (&w->random, 2)) {
    first &= ~7u;
    count = MIN ((count + 7) & ~7u, SECTORS - first);
  }
  if (dice == 0)
    (void) zero_sectors (w, first, count, 0);
  else if (dice < 3)
    (void) zero_sectors (w, first, count, (unsigned) dice);
  else if (dice == 3)
    (void) flush (w);
  else if (sort < 5)
    write_packed (w, first, count);
  else
    (void) write_sectors (w, first, count);
}

static void
world_init (World *w, gconstpointer c, uint64_t seed)
{
  memset (w, 0, sizeof *w);
  w->c = c;
  w->random.state = seed;
  w->history.points = g_ptr_array_new_with_free_func (point_free);
  fake_gate_init (&w->gate);
  w->file = case_create (c, &w->gate, "disk", SIZE, NULL, NULL);
  w->image = case_open (c, &w->gate, w->file, VP_IMAGE_WRITABLE);
}

static void
world_clear (World *w)
{
  vp_image_free (w->image);
  vp_file_unref (w->file);
  g_ptr_array_unref (w->history.points);
  fake_gate_clear (&w->gate);
}

static unsigned n_states;
static unsigned qemu_judges; /* of 256 states */

/* ---- judging ------------------------------------------------------------ */

static void
judge_data (World *w, VpFile *file, unsigned n_changes, const char *what)
{
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  g_autoptr (VpImage) image = case_open (w->c, &w->gate, file, 0);
  ASSERT_OK (vp_image_read (image, 0, bytes, SIZE, &error));
  for (uint32_t s = 0; s < SECTORS; s++)
    if (!sector_allowed (&w->history, bytes + s * 512u, s, n_changes))
      g_error ("%s, %s after %u changes: sector %u holds neither old nor new "
               "bytes",
               w->c->name, what, n_changes, s);
}

static bool
is_listed (const VpImageInfo *info, const char *name)
{
  for (guint i = 0; info->snapshots && i < info->snapshots->len; i++) {
    const VpSnapshot *snapshot = g_ptr_array_index (info->snapshots, i);
    if (strcmp (snapshot->name, name) == 0)
      return true;
  }
  return false;
}

static bool
ended (unsigned when, unsigned n_changes)
{
  return when != UINT_MAX && when <= n_changes;
}

static void
judge_points (World *w, VpFile *file, unsigned n_changes, const char *what)
{
  g_autofree uint8_t *bytes = g_malloc (SIZE);
  g_autoptr (VpImage) image = case_open (w->c, &w->gate, file, 0);
  g_auto (VpImageInfo) info = { 0 };
  ASSERT_OK (vp_image_get_info (image, &info, &error));
  for (guint i = 0; i < w->history.points->len; i++) {
    const Point *point = g_ptr_array_index (w->history.points, i);
    bool there = is_listed (&info, point->name);
    if (there &&
        (point->begun > n_changes || ended (point->deleted, n_changes)))
      g_error ("%s, %s after %u changes: snapshot %s is there", w->c->name,
               what, n_changes, point->name);
    if (!there && ended (point->ended, n_changes) &&
        point->delete_begun >= n_changes)
      g_error ("%s, %s after %u changes: snapshot %s is lost", w->c->name, what,
               n_changes, point->name);
    if (!there)
      continue;
    g_autoptr (VpImage) past = case_open (w->c, &w->gate, file, 0);
    ASSERT_OK (vp_image_load_snapshot (past, point->name, &error));
    ASSERT_OK (vp_image_read (past, 0, bytes, SIZE, &error));
    if (memcmp (bytes, point->bytes, SIZE) != 0)
      g_error ("%s, %s after %u changes: snapshot %s holds other bytes",
               w->c->name, what, n_changes, point->name);
  }
}

/* The power may fail during the cure too. */
static void
judge_cure (World *w, VpFile *file, unsigned n_changes)
{
  g_autoptr (VpFile) patient = fake_file_copy (file, "disk");
  g_autoptr (VpFile) cut = fake_file_copy (file, "disk");
  GPtrArray *log = fake_file_record (patient);
  case_repair (w->c, patient);
  guint n = log->len > 0 ? (guint) random_below (&w->random, log->len + 1) : 0;
  for (guint i = 0; i < n; i++)
    fake_op_apply (g_ptr_array_index (log, i), cut);
  for (guint i = n; i < log->len; i++) {
    const FakeOp *op = g_ptr_array_index (log, i);
    if (op->kind == FAKE_FLUSH)
      break;
    if (op->kind == FAKE_WRITE && random_below (&w->random, 2))
      fake_op_apply_torn (op, cut, random_next (&w->random));
  }
  case_check (w->c, cut, UINT64_MAX);
  judge_data (w, cut, n_changes, "cut while it was cured");
  case_repair (w->c, cut);
  judge_points (w, cut, n_changes, "cut while it was cured");
  judge_data (w, cut, n_changes, "cured after a cut while it was cured");
}

/* And what does qemu-img say?  Leaks, and after its own cure nothing; where it
 * has no cure, nothing after ours. */
static void
judge_by_qemu (World *w, VpFile *file, const char *what)
{
  uint64_t size;
  const uint8_t *bytes = fake_file_bytes (file, &size);
  char *folder = judge_folder ();
  g_autofree char *path = g_build_filename (folder, "disk", NULL);
  g_autofree char *said = NULL;
  bool cures = case_is (w->c, "qcow2");
  const char *argv[] = { "qemu-img",           "check", "-f",
                         w->c->format,         path,    cures ? "-r" : NULL,
                         cures ? "leaks" : "", NULL };
  g_assert_true (
      g_file_set_contents (path, (const char *) bytes, (gssize) size, NULL));
  int status = judge_run (argv, &said);
  if (status != 0)
    g_error ("%s, %s: qemu-img check says %d: %s", w->c->name, what, status,
             said);
  judge_remove (folder);
}

/* Those that it can check, in one file and without a key. */
static bool
qemu_knows (const World *w)
{
  return w->c->checks && !(w->c->lacks & CASE_NO_JUDGE) &&
         !case_is_encrypted (w->c) && !fake_file_joined (w->file, 0);
}

/* Consistent but for leaks, old or new bytes, and in good health again after
 * the repair. */
static void
judge (World *w, VpFile *file, unsigned n_changes, const char *what)
{
  case_check (w->c, file, UINT64_MAX);
  judge_data (w, file, n_changes, what);
  judge_points (w, file, n_changes, what);
  uint64_t dice = random_below (&w->random, 256);
  if (dice < test_rounds (16, 64))
    judge_cure (w, file, n_changes);
  bool by_qemu = dice < qemu_judges && qemu_knows (w);
  if (by_qemu && case_is (w->c, "qcow2"))
    judge_by_qemu (w, file, what);
  case_repair (w->c, file);
  if (by_qemu && !case_is (w->c, "qcow2"))
    judge_by_qemu (w, file, what);
  judge_data (w, file, n_changes, what);
  judge_points (w, file, n_changes, what);
  n_states++;
}

/* ---- failing writes ----------------------------------------------------- */

static unsigned
run_failing (const EngineCase *c, uint64_t seed, unsigned nth, bool forever)
{
  World w;
  world_init (&w, c, seed);
  fake_file_fail (w.file, nth, forever);
  for (unsigned i = 0; i < 40; i++)
    one_operation (&w);
  (void) flush (&w);
  unsigned changes = fake_file_count (w.file);
  bool failed = fake_file_has_failed (w.file);
  g_clear_pointer (&w.image, vp_image_free);
  fake_file_fail (w.file, 0, false);
  g_autoptr (VpFile) left = fake_file_copy (w.file, "disk");
  judge (&w, left, UINT_MAX, forever ? "failing for ever" : "failing once");
  world_clear (&w);
  return failed ? changes : 0;
}

/* Megabytes to copy or keys to derive for each state. */
static bool
is_slow (const EngineCase *c)
{
  return strstr (c->options, "cluster_size=2M") ||
         strstr (c->options, "luks") || strcmp (c->format, "luks") == 0;
}

static void
test_failing (gconstpointer data)
{
  uint64_t seed = test_seed ();
  unsigned states = 0, step = test_rounds (is_slow (data) ? 97 : 37, 1);
  for (unsigned forever = 0; forever < 2; forever++)
    for (unsigned nth = 1; run_failing (data, seed, nth, forever) > 0;
         nth += step)
      states++;
  g_test_message ("%u failures", states);
  g_assert_cmpuint (states, >, 1);
}

/* ---- power cuts --------------------------------------------------------- */

/* Every change of the files up to a point, none after. */
static unsigned
cut_prefixes (World *w, VpFile *start, GPtrArray *log, unsigned step)
{
  g_autoptr (VpFile) disk = fake_file_copy (start, "disk");
  unsigned states = 0;
  for (guint n = 0; n <= log->len; n++) {
    if (n % step == 0 || n == log->len) {
      g_autoptr (VpFile) cut = fake_file_copy (disk, "disk");
      judge (w, cut, n, "cut");
      states++;
    }
    if (n < log->len)
      fake_op_apply (g_ptr_array_index (log, n), disk);
  }
  return states;
}

/* Some of what is pending, torn as the disk likes. */
static void
lose_some (World *w, VpFile *cut, GPtrArray *pending)
{
  for (guint i = 0; i < pending->len; i++) {
    const FakeOp *op = g_ptr_array_index (pending, i);
    uint64_t dice = random_below (&w->random, 100);
    if (dice < 45)
      fake_op_apply (op, cut);
    else if (dice < 65 && op->kind == FAKE_WRITE)
      fake_op_apply_torn (op, cut, random_next (&w->random));
  }
}

/* A flush of one file says nothing about the others. */
static void
settle (VpFile *base, GPtrArray *pending, unsigned part)
{
  for (guint i = 0; i < pending->len;) {
    const FakeOp *op = g_ptr_array_index (pending, i);
    if (op->part == part) {
      fake_op_apply (op, base);
      g_ptr_array_remove_index (pending, i);
    } else
      i++;
  }
}

/* Between two flushes the disk keeps what it likes, torn as it likes. */
static unsigned
cut_torn (World *w, VpFile *start, GPtrArray *log, unsigned per_epoch)
{
  g_autoptr (VpFile) base = fake_file_copy (start, "disk");
  g_autoptr (GPtrArray) pending = g_ptr_array_new ();
  unsigned states = 0;
  for (guint at = 0; at <= log->len; at++) {
    FakeOp *op = at < log->len ? g_ptr_array_index (log, at) : NULL;
    if (op && op->kind != FAKE_FLUSH) {
      g_ptr_array_add (pending, op);
      continue;
    }
    for (unsigned round = 0; pending->len > 0 && round < per_epoch; round++) {
      g_autoptr (VpFile) cut = fake_file_copy (base, "disk");
      lose_some (w, cut, pending);
      /* Whatever was begun before the flush ended may be there. */
      judge (w, cut, at, "torn");
      states++;
    }
    if (op)
      settle (base, pending, op->part);
  }
  return states;
}

static unsigned
run_cuts (const EngineCase *c, uint64_t seed, unsigned n_operations,
          unsigned step, unsigned per_epoch)
{
  World w;
  world_init (&w, c, seed);
  g_autoptr (VpFile) start = fake_file_copy (w.file, "disk");
  GPtrArray *log = fake_file_record (w.file);
  fake_file_fail (w.file, 0, false);
  for (unsigned i = 0; i < n_operations; i++)
    one_operation (&w);
  (void) flush (&w);
  g_assert_cmpuint (log->len, ==, fake_file_count (w.file));
  unsigned states = cut_prefixes (&w, start, log, step) +
                    cut_torn (&w, start, log, per_epoch);
  world_clear (&w);
  return states;
}

static void
test_cuts (gconstpointer data)
{
  uint64_t seed = test_seed ();
  unsigned states = 0;
  unsigned step = test_rounds (is_slow (data) ? 8 : 24, 1);
  unsigned per_epoch = test_rounds (1, 8);
  unsigned n_operations = test_rounds (is_slow (data) ? 12 : 50, 100);
  for (unsigned i = 0; i < test_rounds (1, 4); i++)
    states += run_cuts (data, seed + i, n_operations, step, per_epoch);
  g_test_message ("%u states", states);
  g_assert_cmpuint (states, >, 5);
}

int
main (int argc, char **argv)
{
  g_autofree char *qemu = g_find_program_in_path ("qemu-img");
  g_test_init (&argc, &argv, NULL);
  qemu_judges = qemu ? test_rounds (1, 3) : 0;
  case_add_all ("/crash/failing-write", test_failing);
  case_add_all ("/crash/power-cut", test_cuts);
  int status = g_test_run ();
  g_printerr ("# %u states\n", n_states);
  return status;
}
