#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
exec bash "$VP_SRCDIR/tests/net/traffic.sh" nft
