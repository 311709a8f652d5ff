# SPDX-License-Identifier: LGPL-2.1-or-later
# tap.sh, host.sh and daemon.sh are for every area's scripts.
SYSTEM_TESTS += tests/system/demo-twice.sh tests/system/specs.sh tests/system/e2e.sh \
	tests/system/systemd.sh
EXTRA_DIST += tests/system/demo-twice.sh tests/system/specs.sh tests/system/e2e.sh \
	tests/system/systemd.sh tests/system/systemd-inside.sh \
	tests/system/tap.sh tests/system/host.sh tests/system/daemon.sh \
	tests/system/demo.sh \
	tests/system/boot-sector.sh tests/system/make-guest.sh

check_PROGRAMS += tests/system/on-terminal
tests_system_on_terminal_LDADD = -lutil

# On block devices.
SYSTEM_TESTS += tests/system/img-device.sh
EXTRA_DIST += tests/system/img-device.sh
