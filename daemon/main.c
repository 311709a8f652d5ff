/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* main: wires the rooms together and leaves. */
#include "config.h"

#include <stdlib.h>

int
main (int argc, char **argv)
{
  return EXIT_FAILURE;
}
