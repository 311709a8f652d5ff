# The daemon without main, so that tests link it.
noinst_LTLIBRARIES += libvprovd.la
libvprovd_la_SOURCES = \
	daemon/configuration.c daemon/configuration.h \
	daemon/domain-xml.h \
	daemon/error.c daemon/error.h \
	daemon/folder.c daemon/folder.h \
	daemon/host-libvirt.h \
	daemon/host.c daemon/host.h \
	daemon/manager.h \
	daemon/spec-xml.h \
	daemon/state.c daemon/state.h \
	daemon/step.c daemon/step.h \
	daemon/store.c daemon/store.h daemon/store-private.h \
	daemon/store-journal.c daemon/store-record.c \
	daemon/worker.h
libvprovd_la_CPPFLAGS = $(AM_CPPFLAGS) $(GIO_CFLAGS) $(LIBVIRT_CFLAGS) \
	$(LIBXML_CFLAGS) $(SYSTEMD_CFLAGS)
libvprovd_la_LIBADD = libvprov-net.la libvprov-image.la $(GIO_LIBS) \
	$(LIBVIRT_LIBS) $(LIBXML_LIBS) $(SYSTEMD_LIBS)

sbin_PROGRAMS += vprovd
vprovd_SOURCES = daemon/main.c
vprovd_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
vprovd_LDADD = libvprovd.la
