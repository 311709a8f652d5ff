# SPDX-License-Identifier: LGPL-2.1-or-later
# tap.sh and host.sh are for every area's scripts.
EXTRA_DIST += tests/system/tap.sh tests/system/host.sh \
	tests/system/boot-sector.sh tests/system/make-guest.sh
