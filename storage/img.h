/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img: what the files of vprov-img share: the verbs and the way they speak.
 * Private to vprov-img.c and img-*.c. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "storage/check.h"
#include "storage/copy.h"
#include "storage/formats.h"
#include "storage/image.h"
#include "storage/json.h"

typedef struct {
  const char *name;
  int (*run) (int argc, char **argv); /* argv[0] is the verb; exit status */
  const char *synopsis;               /* one line, without the name */
  const char *help;                   /* a line for each option */
} VpImgVerb;

/* Each at the end of its own img-NAME.c. */
extern const VpImgVerb vp_img_verb_amend;
extern const VpImgVerb vp_img_verb_bench;
extern const VpImgVerb vp_img_verb_bitmap;
extern const VpImgVerb vp_img_verb_check;
extern const VpImgVerb vp_img_verb_checksum;
extern const VpImgVerb vp_img_verb_commit;
extern const VpImgVerb vp_img_verb_compare;
extern const VpImgVerb vp_img_verb_convert;
extern const VpImgVerb vp_img_verb_create;
extern const VpImgVerb vp_img_verb_dd;
extern const VpImgVerb vp_img_verb_info;
extern const VpImgVerb vp_img_verb_map;
extern const VpImgVerb vp_img_verb_measure;
extern const VpImgVerb vp_img_verb_rebase;
extern const VpImgVerb vp_img_verb_resize;
extern const VpImgVerb vp_img_verb_snapshot;
extern const VpImgVerb vp_img_verb_worker;

/* ---- img-speech.c: messages and options ---------------------------------- */

/* The name that we were called by, without folders: "qemu-img" for a link of
 * that name. */
const char *vp_img_program (void);

/* One line on stderr behind the program's name. */
void vp_img_complain (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* The same with a hint to --help; returns 1, the status of a wrong call. */
int vp_img_misuse (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* Says error and returns status. */
int vp_img_fail (const GError *error, int status);
/* "NAME: why" and "Could not open 'NAME': why"; without the name where it leads
 * it. */
int vp_img_fail_about (const char *name, const GError *error, int status);
int vp_img_fail_open (const char *name, const GError *error, int status);
/* "Could not open WHATNAME: why". */
int vp_img_fail_open_as (const char *what, const char *name,
                         const GError *error, int status);

/* prefix takes the place of "NAME: " before the reason. */
void vp_img_prefix_reason (const char *name, const char *prefix,
                           GError **error);
/* A value in -o that the format does not take; returns 1. */
int vp_img_fail_options (const VpFormat *format, const GError *error);
/* "NAME: error while creating output image: why"; returns 1. */
int vp_img_fail_create (const char *name, const GError *error);

/* getopt_long with our own words for what is wrong; '?' after a complaint.
 * --help is answered by main, before any verb. */
int vp_img_getopt (int argc, char **argv, const char *letters,
                   const struct option *options);

typedef enum { VP_IMG_HUMAN, VP_IMG_JSON } VpImgOutput;
bool vp_img_parse_output (const char *text, VpImgOutput *ret_output);
/* -t and -T; complains.  what: "source cache". */
bool vp_img_parse_cache (const char *text, const char *what,
                         VpFileCaching *ret_caching);
bool vp_img_find_cache (const char *text, VpFileCaching *ret_caching);
/* "64k"; complains with the suffixes there are.  what: "image size". */
bool vp_img_parse_size (const char *text, uint64_t *ret_size);
bool vp_img_parse_number (const char *what, const char *text, uint64_t min,
                          uint64_t max, uint64_t *ret_number);
/* "a=1,b=x,,y" appended as NAME, VALUE pairs (",," is a comma); a name alone
 * has the value "on". */
void vp_img_split_options (GPtrArray *pairs, const char *text);
/* "-o help": true where that is all that was asked. */
bool vp_img_wants_option_help (const GPtrArray *pairs);

/* img-snapshot-word.c: -l; complains. */
bool vp_img_load_snapshot (VpImage *image, const char *text);

/* What qemu-img has and we do not (yet): says so. */
int vp_img_unsupported (const char *what);

/* Text from an image, fit for a terminal: valid UTF-8, control characters
 * (escape sequences!) written out as \xNN.  Caller frees. */
char *vp_img_printable (const char *text);

/* 1.5 GiB, three digits at most; caller frees. */
char *vp_img_size_text (uint64_t size);

/* ---- img-progress.c: how far it has come --------------------------------- */

/* -p draws on the terminal, or writes percents for a program; --progress=json
 * writes a line each; NONE: only SIGUSR1 is answered, on stderr. */
typedef enum {
  VP_IMG_PROGRESS_NONE,
  VP_IMG_PROGRESS_BAR,
  VP_IMG_PROGRESS_JSON
} VpImgProgressKind;
typedef struct {
  VpProgress progress; /* to be handed down */
  VpImgProgressKind kind;
  unsigned columns; /* of the terminal; 0: it is none */
  int64_t begin_us, last_us;
} VpImgProgress;
bool vp_img_parse_progress (const char *text, VpImgProgressKind *ret_kind);
/* Before any thread is started: they all must leave SIGUSR1 alone. */
void vp_img_progress_begin (VpImgProgress *progress, VpImgProgressKind kind);
void vp_img_progress_end (VpImgProgress *progress);

/* ---- img-info.c -----------------------------------------------------------
 */

/* One layer, as an object; chain position is the caller's.  full_backing may
 * be NULL. */
void vp_img_info_to_json (VpJson *json, const char *filename,
                          const VpImageInfo *info, const char *full_backing);
/* "Snapshot list:" for people, at most that many. */
void vp_img_print_snapshots (const GPtrArray *snapshots, unsigned most);

/* ---- img-check.c ----------------------------------------------------------
 */

void vp_img_check_to_json (VpJson *json, const char *filename,
                           const char *format, const VpCheckResult *result);
