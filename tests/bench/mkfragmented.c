/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* mkfragmented FILE CLUSTERS SEED: a valid qcow2 image (version 3, 64 KiB
 * clusters) all of whose clusters lie in random order in the file, as random
 * writes of a guest leave them.  The data area is one hole.
 *
 *     header | reftable | refblocks | L1 | L2 tables | data, in random order
 */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER      UINT64_C (65536)
#define L2_ENTRIES   (CLUSTER / 8)
#define REF_ENTRIES  (CLUSTER / 2)
#define MAX_CLUSTERS UINT64_C (16777216)

typedef struct {
  uint64_t data, l2_tables, refblocks; /* numbers of clusters */
  uint64_t first_refblock, l1, first_l2, first_data, total;
} Plan;

static uint64_t
next_random (uint64_t *state)
{
  /* splitmix64 */
  uint64_t z = *state += UINT64_C (0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* One cluster each for the header, the reftable and L1. */
static Plan
make_plan (uint64_t data)
{
  Plan plan = { .data = data,
                .l2_tables = (data + L2_ENTRIES - 1) / L2_ENTRIES };
  for (uint64_t before = UINT64_MAX; before != plan.refblocks;) {
    before = plan.refblocks;
    plan.total = 3 + plan.refblocks + plan.l2_tables + data;
    plan.refblocks = (plan.total + REF_ENTRIES - 1) / REF_ENTRIES;
  }
  plan.first_refblock = 2;
  plan.l1 = 2 + plan.refblocks;
  plan.first_l2 = plan.l1 + 1;
  plan.first_data = plan.first_l2 + plan.l2_tables;
  return plan;
}

static void
put32 (uint8_t *to, uint32_t value)
{
  value = htobe32 (value);
  memcpy (to, &value, sizeof value);
}

static void
put64 (uint8_t *to, uint64_t value)
{
  value = htobe64 (value);
  memcpy (to, &value, sizeof value);
}

static void
put_header (uint8_t *h, const Plan *plan)
{
  put32 (h, 0x514649fb);
  put32 (h + 4, 3);
  put32 (h + 20, 16); /* cluster_bits */
  put64 (h + 24, plan->data * CLUSTER);
  put32 (h + 36, (uint32_t) plan->l2_tables); /* L1 entries */
  put64 (h + 40, plan->l1 * CLUSTER);
  put64 (h + 48, CLUSTER); /* reftable */
  put32 (h + 56, 1);
  put32 (h + 96, 4); /* refcount_order */
  put32 (h + 100, 112);
}

static void
put_tables (uint8_t *image, const Plan *plan, const uint32_t *order)
{
  const uint64_t copied = UINT64_C (1) << 63;
  put_header (image, plan);
  for (uint64_t i = 0; i < plan->refblocks; i++)
    put64 (image + CLUSTER + 8 * i, (plan->first_refblock + i) * CLUSTER);
  uint8_t *counts = image + plan->first_refblock * CLUSTER;
  for (uint64_t i = 0; i < plan->total; i++)
    counts[2 * i + 1] = 1;
  for (uint64_t i = 0; i < plan->l2_tables; i++)
    put64 (image + plan->l1 * CLUSTER + 8 * i,
           (plan->first_l2 + i) * CLUSTER | copied);
  for (uint64_t i = 0; i < plan->data; i++)
    put64 (image + plan->first_l2 * CLUSTER + 8 * i,
           (plan->first_data + order[i]) * CLUSTER | copied);
}

static bool
write_image (const char *path, const uint8_t *bytes, const Plan *plan)
{
  size_t len = (size_t) (plan->first_data * CLUSTER);
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0)
    return false;
  for (size_t done = 0; done < len;) {
    ssize_t n = write (fd, bytes + done, len - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    done += (size_t) n;
  }
  return ftruncate (fd, (off_t) (plan->total * CLUSTER)) == 0 &&
         close (fd) == 0;
}

int
main (int argc, char **argv)
{
  uint64_t data = argc == 4 ? strtoull (argv[2], NULL, 10) : 0;
  if (data == 0 || data > MAX_CLUSTERS) {
    (void) fprintf (stderr, "usage: mkfragmented FILE CLUSTERS SEED\n");
    return 1;
  }
  uint64_t seed = strtoull (argv[3], NULL, 10);
  Plan plan = make_plan (data);
  uint32_t *order = calloc (data, sizeof *order);
  uint8_t *image = calloc (plan.first_data, CLUSTER);
  if (!order || !image) {
    perror ("mkfragmented");
    return 1;
  }
  for (uint64_t i = 0; i < data; i++)
    order[i] = (uint32_t) i;
  for (uint64_t i = data - 1; i > 0; i--) {
    uint64_t j = next_random (&seed) % (i + 1);
    uint32_t swap = order[i];
    order[i] = order[j];
    order[j] = swap;
  }
  put_tables (image, &plan, order);
  bool ok = write_image (argv[1], image, &plan);
  if (!ok)
    perror (argv[1]);
  free (image);
  free (order);
  return ok ? 0 : 1;
}
