/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* judge: other programs at work on our images, in a cage, for they are no
 * safer than others: a minute, and a limit of memory. */
#pragma once

#include <stdbool.h>

#include <glib.h>

/* Skips the test where qemu-img or what holds it is missing. */
bool judge_is_missing (void);
/* Exit status of argv (NULL ends it), -1 after a signal; what it said goes to
 * ret_said, to be freed.  stdin is empty. */
int judge_run (const char *const *argv, char **ret_said);
/* Has vprov-img, as it was built, this verb? */
bool judge_have_verb (const char *verb);
/* The path of vprov-img. */
const char *judge_vprov_img (void);
/* A new folder, in memory where that can be; removed by judge_remove (). */
char *judge_folder (void);
void judge_remove (char *folder);
