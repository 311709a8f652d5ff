# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libvprov-net.la
libvprov_net_la_SOURCES = \
	net/addr.c net/addr.h \
	net/child.c net/child.h \
	net/conntrack.c net/conntrack.h \
	net/dnsmasq.c net/dnsmasq.h \
	net/forward-check.c \
	net/forward-plan.c net/forward-plan.h \
	net/iptables.c net/iptables.h \
	net/link.c net/link.h \
	net/net-apply.c net/net-apply.h \
	net/net-config.c net/net-config.h \
	net/net-host.c net/net-ops.h \
	net/net-plan.c net/net-plan.h net/net-plan-private.h \
	net/net-plan-dnsmasq.c net/net-plan-link.c \
	net/net-state.c net/net-state.h \
	net/net.c net/net.h \
	net/netlink.c net/netlink.h \
	net/nftables.c net/nftables.h \
	net/sockets.c net/sockets.h \
	net/sysctl.c net/sysctl.h \
	net/tables.c net/tables.h \
	net/watch.c
libvprov_net_la_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(MNL_CFLAGS)
libvprov_net_la_LIBADD = $(GLIB_LIBS) $(MNL_LIBS)
