/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-file: a file in memory that can be made to fail, that remembers what
 * was done to it, and that can be built again as a power cut would have left
 * it.  Sets of such files stand behind a gate, so that chains need no disk. */
#pragma once

#include "storage/format.h"

typedef enum { FAKE_WRITE, FAKE_PUNCH, FAKE_TRUNCATE, FAKE_FLUSH } FakeKind;

typedef struct {
  FakeKind kind;
  uint64_t offset, length; /* TRUNCATE: length is the new size */
  unsigned part;           /* 0: of this file; n: of the nth joined one */
  uint8_t *bytes;          /* WRITE */
} FakeOp;

VpFile *fake_file_new (const char *name);
/* With the files that were joined to it. */
VpFile *fake_file_copy (VpFile *file, const char *name);
const uint8_t *fake_file_bytes (VpFile *file, uint64_t *ret_size);
void fake_file_poke (VpFile *file, uint64_t offset, const void *bytes,
                     size_t len);

/* The disk is full there: G_FILE_ERROR_NOSPC.  1 GiB unless told. */
void fake_file_limit (VpFile *file, uint64_t limit);

/* The nth change from now on fails (1: the next one); 0: none.  forever: and
 * all after it. */
void fake_file_fail (VpFile *file, unsigned nth, bool forever);
/* Reads that touch the range fail.  length 0: none. */
void fake_file_fail_reads (VpFile *file, uint64_t offset, uint64_t length);
/* So many times it lets itself be a clone of another fake file. */
void fake_file_set_clones (VpFile *file, unsigned clones);
/* The nth read from now on fails; 0: none. */
void fake_file_fail_read (VpFile *file, unsigned nth);
/* Changes seen since fake_file_fail (). */
unsigned fake_file_count (VpFile *file);
bool fake_file_has_failed (VpFile *file);

/* Another file of the same image (owned by the caller, and referenced): its
 * reads and changes are counted, fail and are remembered with those of file. */
void fake_file_join (VpFile *other, VpFile *file);
/* By number from 0, borrowed; NULL: there are no more. */
VpFile *fake_file_joined (VpFile *file, unsigned index);

/* From now on changes are remembered, in FakeOp; borrowed. */
GPtrArray *fake_file_record (VpFile *file);
/* To file, or to that of its joined ones which the change was made in. */
void fake_op_apply (const FakeOp *op, VpFile *file);
/* Only the 512-byte pieces of a write whose bit is set in kept (bit n % 64 for
 * piece n). */
void fake_op_apply_torn (const FakeOp *op, VpFile *file, uint64_t kept);

/* A gate to files in memory, by name.  Files to be created are made, and those
 * that are known by that name emptied, unless there is an owner: then all are
 * new, and joined to it. */
typedef struct {
  VpOpener opener;
  GHashTable *files;   /* name -> VpFile */
  GHashTable *formats; /* name -> static text */
  VpFile *owner;       /* borrowed, or NULL */
  unsigned n_asked;
} FakeGate;
void fake_gate_init (FakeGate *gate);
void fake_gate_clear (FakeGate *gate);
void fake_gate_add (FakeGate *gate, VpFile *file); /* by its name; a ref */
/* Its format, for images that do not say it; kept, not copied. */
void fake_gate_state (FakeGate *gate, const char *name, const char *format);
void fake_gate_add_as (FakeGate *gate, const char *name, VpFile *file);
/* Those that are joined to file; not file itself. */
void fake_gate_add_joined (FakeGate *gate, VpFile *file);
