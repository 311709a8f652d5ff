/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* engine-cases: the one list of formats and options that every engine test
 * runs over, and what those tests share.  A new format joins the table and
 * inherits all cases. */
#pragma once

#include "storage/check.h"
#include "storage/copy.h"
#include "storage/formats.h"
#include "storage/image.h"
#include "tests/storage/fake-file.h"

/* What a format has not that others have. */
enum {
  CASE_NO_GROWTH = 1 << 0,         /* a little, or into noise */
  CASE_NO_BACKING_FORMAT = 1 << 1, /* of the backing file it keeps the name */
  CASE_NO_JUDGE = 1 << 2,          /* qemu-img does not know it */
  CASE_NO_PACKING = 1 << 3,        /* no compressed clusters */
  CASE_NO_HOLES = 1 << 4,          /* all is data, and noise at first */
};

typedef struct {
  const char *name, *format;
  const char *options; /* "cluster_size=512,compat=0.10" */
  bool backing;        /* has backing files */
  bool checks;         /* has a check */
  unsigned lacks;
  /* Where it differs in other ways; absent: does not. */
  bool once;      /* is written as a whole, as the target of one copy */
  bool full;      /* all is in place from the beginning */
  bool keeps;     /* a discard may leave everything as it was */
  bool leaky;     /* what it lets go of waits for a repair */
  bool salted;    /* two that are made alike differ */
  bool uncounted; /* no refcounts: what was begun and left is a leak */
  bool own_kind;  /* its backing file must be of its own format */
  uint64_t unit;  /* its size is rounded up to that; 0: 512 */
} EngineCase;

/* Ends with a NULL name. */
extern const EngineCase engine_cases[];
const EngineCase *case_find (const char *name);

/* The key of the encrypted ones is called "key". */
const VpSecrets *case_secrets (void);
/* vp_image_open_file () with that key for all layers. */
VpImage *case_open_file (VpFile *file, const char *format, VpImageFlags flags,
                         VpOpener *opener, GError **error);
/* Parses the options of a case. */
void case_options (const EngineCase *c, VpCreateOptions *options);
/* backing may be NULL; its file is known to gate by its name. */
VpFile *case_create (const EngineCase *c, FakeGate *gate, const char *name,
                     uint64_t size, const char *backing,
                     const char *backing_format);
/* The parts of file become those that gate knows. */
VpImage *case_open (const EngineCase *c, FakeGate *gate, VpFile *file,
                    VpImageFlags flags);
/* What becomes of that many bytes. */
uint64_t case_size (const EngineCase *c, uint64_t size);
bool case_is (const EngineCase *c, const char *format);
bool case_is_encrypted (const EngineCase *c);
/* qemu-img does, without a key; it need not have a check for it. */
bool case_qemu_reads (const EngineCase *c);
/* No corruption, and at most that many leaks. */
void case_check (const EngineCase *c, VpFile *file, uint64_t most_leaks);
void case_repair (const EngineCase *c, VpFile *file);

/* The call names &error; it must succeed. */
#define ASSERT_OK(call)                                                        \
  do {                                                                         \
    g_autoptr (GError) error = NULL;                                           \
    bool call_ok = (call);                                                     \
    g_assert_no_error (error);                                                 \
    g_assert_true (call_ok);                                                   \
  } while (0)

/* One test for each case: PATH/CASE, but for those that are written once. */
void case_add_all (const char *path, void (*test) (gconstpointer));
/* ... and for those too. */
void case_add_every (const char *path, void (*test) (gconstpointer));
/* Only those that have backing files. */
void case_add_backed (const char *path, void (*test) (gconstpointer));
/* Only those that become as large as one likes. */
void case_add_growing (const char *path, void (*test) (gconstpointer));
/* Only qcow2: what is poked at, or asked for, no other format has. */
void case_add_qcow2 (const char *path, void (*test) (gconstpointer));
/* Only those that have a check, and are written more than once. */
void case_add_checked (const char *path, void (*test) (gconstpointer));

/* A small generator whose seed is printed: VP_TEST_SEED sets it. */
typedef struct {
  uint64_t state;
} Random;
uint64_t test_seed (void);
uint64_t random_next (Random *random);
uint64_t random_below (Random *random, uint64_t limit);
void random_fill (Random *random, uint8_t *bytes, size_t len);

/* "make check" runs a part, "make check-long" (VP_TEST_LONG=1) much more. */
unsigned test_rounds (unsigned quick, unsigned thorough);
/* The name of a folder of sample images, or NULL. */
const char *test_samples (void);
