# SPDX-License-Identifier: LGPL-2.1-or-later
NET_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(MNL_CFLAGS)
NET_TEST_LDADD = libvprov-net.la $(GLIB_LIBS)

# Brings a namespace to what a file says; used by the traffic tests.
check_PROGRAMS += tests/net/net-driver
tests_net_net_driver_SOURCES = tests/net/net-driver.c
tests_net_net_driver_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_net_driver_LDADD = $(NET_TEST_LDADD)

# Both ends of the traffic.
check_PROGRAMS += tests/net/net-peer
tests_net_net_peer_SOURCES = tests/net/net-peer.c
tests_net_net_peer_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_net_peer_LDADD = $(GLIB_LIBS)

SYSTEM_TESTS += tests/net/traffic-nft.sh tests/net/traffic-legacy.sh \
	tests/net/faults.sh
EXTRA_DIST += tests/net/net.sh tests/net/faults.sh tests/net/traffic.sh \
	tests/net/traffic-nft.sh tests/net/traffic-legacy.sh

NET_UNIT_TESTS = tests/net/test-addr tests/net/test-forward-plan \
	tests/net/test-net-plan tests/net/test-tables \
	tests/net/test-net-parts
check_PROGRAMS += $(NET_UNIT_TESTS)
TESTS += $(NET_UNIT_TESTS)
EXTRA_DIST += tests/net/golden/closed.rules tests/net/golden/open.rules \
	tests/net/golden/trie.rules

tests_net_test_addr_SOURCES = tests/net/test-addr.c
tests_net_test_addr_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_test_addr_LDADD = $(NET_TEST_LDADD)
tests_net_test_forward_plan_SOURCES = tests/net/test-forward-plan.c
tests_net_test_forward_plan_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_test_forward_plan_LDADD = $(NET_TEST_LDADD)
tests_net_test_net_plan_SOURCES = tests/net/test-net-plan.c \
	tests/net/fake-host.c tests/net/fake-host.h
tests_net_test_net_plan_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_test_net_plan_LDADD = $(NET_TEST_LDADD)
tests_net_test_tables_SOURCES = tests/net/test-tables.c
tests_net_test_tables_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_test_tables_LDADD = $(NET_TEST_LDADD)
tests_net_test_net_parts_SOURCES = tests/net/test-net-parts.c
tests_net_test_net_parts_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_test_net_parts_LDADD = $(NET_TEST_LDADD)
