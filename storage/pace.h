/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pace: no more than so many bytes a second, on the average since the start.
 * Naps are short, so that a cancel is heard. */
#pragma once

#include <stdint.h>

#include <glib.h>

typedef struct {
  uint64_t rate; /* bytes a second; 0: no limit */
  int64_t start_us;
  uint64_t done;
} VpPace;

#define VP_PACE_NAP (100 * G_TIME_SPAN_MILLISECOND)

static inline VpPace
vp_pace_begin (uint64_t rate)
{
  return (VpPace){ .rate = rate, .start_us = g_get_monotonic_time () };
}

/* How long to wait once so many more bytes were moved; 0: not at all. */
static inline uint64_t
vp_pace_due_us (VpPace *pace, uint64_t bytes)
{
  pace->done += bytes;
  if (pace->rate == 0)
    return 0;
  double due = (double) pace->done / (double) pace->rate * G_USEC_PER_SEC;
  double gone = (double) (g_get_monotonic_time () - pace->start_us);
  return due > gone ? (uint64_t) (due - gone) : 0;
}
