# SPDX-License-Identifier: LGPL-2.1-or-later
NET_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(MNL_CFLAGS)
NET_TEST_LDADD = libvprov-net.la $(GLIB_LIBS)

# Brings a namespace to what a file says; used by the traffic tests.
check_PROGRAMS += tests/net/net-driver
tests_net_net_driver_SOURCES = tests/net/net-driver.c
tests_net_net_driver_CPPFLAGS = $(NET_TEST_CPPFLAGS)
tests_net_net_driver_LDADD = $(NET_TEST_LDADD)
