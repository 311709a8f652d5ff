# SPDX-License-Identifier: LGPL-2.1-or-later
# The bus and its client against a manager in memory.
check_LTLIBRARIES += libfake-manager.la
libfake_manager_la_SOURCES = \
	tests/daemon/fake-manager.c tests/daemon/fake-manager.h
libfake_manager_la_CPPFLAGS = $(libvprovd_la_CPPFLAGS)

check_PROGRAMS += tests/daemon/test-bus tests/daemon/fake-vprovd
TESTS += tests/daemon/test-bus
tests_daemon_test_bus_SOURCES = tests/daemon/test-bus.c
tests_daemon_test_bus_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_bus_LDADD = libfake-manager.la libvprovd.la
tests_daemon_fake_vprovd_SOURCES = tests/daemon/fake-vprovd.c
tests_daemon_fake_vprovd_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_fake_vprovd_LDADD = libfake-manager.la libvprovd.la

dist_check_SCRIPTS += tests/daemon/bus-xml.sh tests/daemon/vprovctl.sh
TESTS += tests/daemon/bus-xml.sh tests/daemon/vprovctl.sh
