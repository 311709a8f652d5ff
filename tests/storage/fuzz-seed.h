/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fuzz-seed: small good images of any case, and copies of them that are wrong
 * where it hurts.  Where that is, is not written here for each format: what
 * was written to the files and is not guest bytes must be metadata. */
#pragma once

#include "tests/storage/engine-cases.h"

#define FUZZ_SIZE (UINT64_C (1) << 20) /* of the disk; some are larger */

typedef struct {
  uint64_t offset, length;
  unsigned part; /* 0: of the image's file; n: of the nth joined one */
  bool text;
} FuzzArea;

typedef struct {
  char *name;
  const char *format;
  VpFile *file;  /* with those joined to it; owned */
  GArray *areas; /* of FuzzArea */
} FuzzSeed;

/* NULL where a case has no metadata. */
FuzzSeed *fuzz_seed_new (const EngineCase *c);
#define FUZZ_BYTE 7
/* Of a format that we only read: qemu-img makes it.  NULL where it is not
 * there. */
FuzzSeed *fuzz_seed_new_theirs (const char *name, const char *format,
                                const char *options);
void fuzz_seed_free (FuzzSeed *seed);

/* A copy with one to three changes, and what they are in words (may be NULL);
 * owned by the caller, both. */
VpFile *fuzz_seed_mutate (const FuzzSeed *seed, Random *random, GString *words);
