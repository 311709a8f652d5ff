# SPDX-License-Identifier: LGPL-2.1-or-later
# tap.sh, host.sh and daemon.sh are for every area's scripts.
dist_system = tests/system/e2e.sh tests/system/specs.sh
EXTRA_DIST += $(dist_system) tests/system/tap.sh tests/system/host.sh \
	tests/system/daemon.sh tests/system/demo.sh \
	tests/system/boot-sector.sh tests/system/make-guest.sh
