/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* log: entries for the journal, with fields; plain lines on stderr where
 * stderr is not the journal.  Ids come as fields; the log knows no object.
 * Any thread. */
#pragma once

#include "daemon/state.h"

/* The journal's priorities. */
typedef enum {
  VP_LOG_ERROR = 3,
  VP_LOG_WARNING = 4,
  VP_LOG_NOTICE = 5,
  VP_LOG_INFO = 6,
  VP_LOG_DEBUG = 7,
} VpLogLevel;

/* MESSAGE_ID= of the main events: journalctl MESSAGE_ID=... */
#define VP_MESSAGE_INVALID_SPEC "b809fa3b7ae147a7b8f3c95e39846fd3"
#define VP_MESSAGE_STEP_DONE    "276c75f878534de0b10122ae7f973333"
#define VP_MESSAGE_JOB_FAILED   "5b3e30c43f6e4c14a24bb3dee5e3f5d9"
#define VP_MESSAGE_GUEST_EVENT  "8c2e102334c3443dad846471eb97937f"
#define VP_MESSAGE_RETIRED      "07e0c952c1ff4315ad92e3c7a8071861"
#define VP_MESSAGE_PAUSED       "a82a2ab0a018428b8525dba76bf8a48e"

/* message_id, guest (VPROV_GUEST=) and step (VPROV_STEP=) may be NULL. */
void vp_log (VpLogLevel level, const char *message_id, const char *guest,
             const char *step, const char *format, ...) G_GNUC_PRINTF (5, 6);
/* One problem of a spec: VPROV_PATH=, VPROV_LINE=, VPROV_COLUMN=. */
void vp_log_problem (const VpProblem *problem);
/* What libraries say through g_log () and friends goes the same way. */
void vp_log_init (void);
