# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libvprov-net.la
libvprov_net_la_SOURCES = net/addr.h net/net.h net/net-apply.h net/net.c
libvprov_net_la_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(MNL_CFLAGS)
libvprov_net_la_LIBADD = $(GLIB_LIBS) $(MNL_LIBS)
