#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# All of img-matrix.sh.
VP_TEST_LONG=1 exec "$VP_SRCDIR/tests/storage/img-matrix.sh"
