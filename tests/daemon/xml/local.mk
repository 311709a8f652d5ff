# SPDX-License-Identifier: LGPL-2.1-or-later
# Spec files, definitions, and the plain data that they become.
xml_tests = tests/daemon/xml/test-state tests/daemon/xml/test-xml \
	tests/daemon/xml/test-spec-xml tests/daemon/xml/test-domain-xml \
	tests/daemon/xml/test-domain-libvirt tests/daemon/xml/test-fuzz-xml
check_PROGRAMS += $(xml_tests)
TESTS += $(xml_tests)

check_LTLIBRARIES += libtest-resolved.la
libtest_resolved_la_SOURCES = tests/daemon/xml/resolved.c \
	tests/daemon/xml/resolved.h
libtest_resolved_la_CPPFLAGS = $(libvprovd_la_CPPFLAGS)

tests_daemon_xml_test_state_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_state_LDADD = libvprovd.la
tests_daemon_xml_test_xml_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_xml_LDADD = libvprovd.la
tests_daemon_xml_test_spec_xml_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_spec_xml_LDADD = libvprovd.la
tests_daemon_xml_test_domain_xml_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_domain_xml_LDADD = libtest-resolved.la libvprovd.la
tests_daemon_xml_test_domain_libvirt_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_domain_libvirt_LDADD = libtest-resolved.la libvprovd.la
tests_daemon_xml_test_fuzz_xml_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_xml_test_fuzz_xml_LDADD = libtest-resolved.la libvprovd.la

# The same definitions through libvirt's QEMU driver.
dist_check_SCRIPTS += tests/daemon/xml/domain-libvirt.sh
SYSTEM_TESTS += tests/daemon/xml/domain-libvirt.sh

EXTRA_DIST += tests/daemon/xml/domains tests/daemon/xml/guests \
	tests/daemon/xml/images tests/daemon/xml/networks tests/daemon/xml/pools
