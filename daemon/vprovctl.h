/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vprovctl: what the client's files share.  The client knows the daemon by its
 * bus interface alone (org.vprovd1.xml) and links nothing but GIO. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <gio/gio.h>

#define CTL_NAME    "org.vprovd1"
#define CTL_ROOT    "/org/vprovd1"
#define CTL_MANAGER CTL_NAME ".Manager"
#define CTL_GUEST   CTL_NAME ".Guest"
#define CTL_JOB     CTL_NAME ".Job"

/* Exit codes. */
typedef enum {
  CTL_OK,
  CTL_FAILED,
  CTL_USAGE,
  CTL_NOT_RUNNING, /* status of a guest that does not run */
  CTL_CHANGES,     /* plan found something to do */
} CtlExit;

typedef enum { CTL_JSON_OFF, CTL_JSON_SHORT, CTL_JSON_PRETTY } CtlJson;

typedef struct {
  /* From the command line. */
  const char *address;   /* --bus= */
  const char *plan;      /* --plan= */
  const char *kind;      /* --kind= */
  const char *directory; /* --directory= */
  CtlJson json;
  bool legend, pager, quiet, block, print;

  bool colour;   /* stdout is a terminal that knows colours */
  bool progress; /* stderr is a terminal: progress may be drawn */
  GDBusConnection *connection;
} Ctl;

/* vprovctl-bus.c */

bool ctl_connect (Ctl *ctl, GError **error);
/* The connection, made where it is not there yet, with the error told. */
bool ctl_reach (Ctl *ctl);
/* Errors are in a person's words.  parameters may be floating; reply_type may
 * be NULL.  Caller unrefs. */
GVariant *ctl_call (Ctl *ctl, const char *path, const char *interface,
                    const char *method, GVariant *parameters,
                    const char *reply_type, GError **error);
GVariant *ctl_call_manager (Ctl *ctl, const char *method, GVariant *parameters,
                            const char *reply_type, GError **error);
/* No options: an empty a{sv}, floating. */
GVariant *ctl_no_options (void);
/* All properties of an interface, a{sv}. */
GVariant *ctl_get_all (Ctl *ctl, const char *path, const char *interface,
                       GError **error);
/* The object path of a guest.  Caller frees. */
char *ctl_find_guest (Ctl *ctl, const char *name, GError **error);
/* The properties of all guests, sorted by name: GPtrArray of GVariant. */
GPtrArray *ctl_list_guests (Ctl *ctl, GError **error);

/* From a record or properties; "" and 0 where the key is not there.  Text is
 * borrowed from the record. */
const char *ctl_text (GVariant *record, const char *key);
uint64_t ctl_number (GVariant *record, const char *key);
bool ctl_bool (GVariant *record, const char *key);
/* A list of records; empty where the key is not there.  Caller unrefs. */
GVariant *ctl_records (GVariant *record, const char *key);

/* vprovctl-print.c */

/* "vprovctl: MESSAGE" on stderr; gives CTL_FAILED. */
CtlExit ctl_complain (const char *format, ...) G_GNUC_PRINTF (1, 2);

typedef enum { CTL_PLAIN, CTL_BOLD, CTL_GREEN, CTL_YELLOW, CTL_RED } CtlColour;

/* Escape sequences, "" where there are no colours. */
const char *ctl_colour (const Ctl *ctl, CtlColour colour);
const char *ctl_no_colour (const Ctl *ctl);
/* For states, sync words and risks. */
CtlColour ctl_colour_of (const char *word);
/* Without control characters: nothing that a file or the hypervisor said may
 * steer the terminal.  Caller frees. */
char *ctl_safe (const char *text);

typedef struct CtlTable CtlTable;
/* heads are NULL-terminated, borrowed. */
CtlTable *ctl_table_new (const char *const *heads);
/* Adds a cell to the current row, then the next: row by row.  The text is
 * copied. */
void ctl_table_add (CtlTable *table, const char *text, CtlColour colour);
unsigned ctl_table_rows (const CtlTable *table);
/* noun in the plural: "guests". */
void ctl_table_print (const Ctl *ctl, const CtlTable *table, const char *noun);
void ctl_table_free (CtlTable *table);

/* "Sun 2026-11-22 13:15:01 UTC; 5min ago"; caller frees. */
char *ctl_time (uint64_t usec);
/* "PATH:LINE:COLUMN: error: MESSAGE"; caller frees. */
char *ctl_problem (const Ctl *ctl, GVariant *problem);
void ctl_print_problems (const Ctl *ctl, FILE *file, GVariant *problems);
bool ctl_have_error (GVariant *problems);

/* A value as JSON on one line or several; takes a floating reference. */
char *ctl_to_json (GVariant *value, bool pretty);
void ctl_print_json (const Ctl *ctl, GVariant *value);
/* A list of a{sv} out of an array of such; floating. */
GVariant *ctl_list_of (const GPtrArray *records);

/* vprovctl-job.c */

/* Follows jobs; to be made before the call that begins them, so that none
 * ends unheard. */
typedef struct CtlWait CtlWait;
CtlWait *ctl_wait_new (Ctl *ctl);
/* path "/": nothing to wait for.  words for messages: "start web". */
void ctl_wait_add (CtlWait *wait, const char *path, const char *words);
/* Also tells the failures of other jobs of these guests (NULL: of all). */
void ctl_wait_watch (CtlWait *wait, const char *const *guests);
/* Until all ended.  Tells each failure; false where there was one. */
bool ctl_wait_run (CtlWait *wait);
void ctl_wait_free (CtlWait *wait);

/* Verbs; args are NULL-terminated and their number is checked. */
CtlExit ctl_list (Ctl *ctl, char **args);
CtlExit ctl_status (Ctl *ctl, char **args);
CtlExit ctl_cat (Ctl *ctl, char **args);
CtlExit ctl_start (Ctl *ctl, char **args);
CtlExit ctl_stop (Ctl *ctl, char **args);
CtlExit ctl_plan (Ctl *ctl, char **args);
CtlExit ctl_apply (Ctl *ctl, char **args);
CtlExit ctl_verify (Ctl *ctl, char **args);
CtlExit ctl_reload (Ctl *ctl, char **args);
CtlExit ctl_adopt (Ctl *ctl, char **args);
CtlExit ctl_job_list (Ctl *ctl, char **args);
CtlExit ctl_job_cancel (Ctl *ctl, char **args);
CtlExit ctl_forward_list (Ctl *ctl, char **args);
CtlExit ctl_forward_check (Ctl *ctl, char **args);
CtlExit ctl_monitor (Ctl *ctl, char **args);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (CtlTable, ctl_table_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CtlWait, ctl_wait_free)
