# What gdbus-codegen makes of the interface: its own code, so its own warnings.
BUILT_SOURCES += daemon/vprovd1-generated.h
CLEANFILES += daemon/vprovd1-generated.h daemon/vprovd1-generated.c
GDBUS_CODEGEN_FLAGS = --interface-prefix org.vprovd1. --c-namespace VpDbus
daemon/vprovd1-generated.h: daemon/org.vprovd1.xml
	$(AM_V_GEN)$(MKDIR_P) daemon && $(GDBUS_CODEGEN) \
		$(GDBUS_CODEGEN_FLAGS) --header --output $@ \
		$(top_srcdir)/daemon/org.vprovd1.xml
daemon/vprovd1-generated.c: daemon/org.vprovd1.xml
	$(AM_V_GEN)$(MKDIR_P) daemon && $(GDBUS_CODEGEN) \
		$(GDBUS_CODEGEN_FLAGS) --body --output $@ \
		$(top_srcdir)/daemon/org.vprovd1.xml
noinst_LTLIBRARIES += libvprovd1.la
nodist_libvprovd1_la_SOURCES = \
	daemon/vprovd1-generated.c daemon/vprovd1-generated.h
libvprovd1_la_CPPFLAGS = -I$(top_builddir) $(GIO_CFLAGS)
libvprovd1_la_CFLAGS = -std=gnu11 -fPIE -w $(VP_SANITIZE)

# The daemon without main, so that tests link it.
noinst_LTLIBRARIES += libvprovd.la
libvprovd_la_SOURCES = \
	daemon/caps-xml.c daemon/caps-xml.h \
	daemon/bus.c daemon/bus.h daemon/bus-private.h \
	daemon/bus-call.c \
	daemon/bus-record.c daemon/bus-record.h \
	daemon/catalog.c daemon/catalog.h daemon/catalog-private.h \
	daemon/catalog-guest.c daemon/catalog-net.c daemon/catalog-part.c \
	daemon/catalog-volume.c \
	daemon/configuration.c daemon/configuration.h \
	daemon/domain-mark-xml.c \
	daemon/domain-xml.c daemon/domain-xml.h daemon/domain-xml-private.h \
	daemon/domain-xml-parse.c \
	daemon/error.c daemon/error.h \
	daemon/folder.c daemon/folder.h \
	daemon/forward-xml.c daemon/forward-xml.h \
	daemon/fragment-xml.c daemon/fragment-xml.h \
	daemon/guest-job.c daemon/guest-job.h \
	daemon/host-lane.c daemon/host-lane.h \
	daemon/host-libvirt.c daemon/host-libvirt.h \
	daemon/host-libvirt-private.h \
	daemon/host-libvirt-change.c daemon/host-libvirt-domain.c \
	daemon/host-libvirt-event.c \
	daemon/host-link.c daemon/host-link.h \
	daemon/host.c daemon/host.h \
	daemon/job.c daemon/job.h \
	daemon/log.c daemon/log.h \
	daemon/kvm.c daemon/kvm.h \
	daemon/manager.c daemon/manager.h daemon/manager-private.h \
	daemon/manager-guest.c daemon/manager-net.c daemon/manager-plan.c \
	daemon/observe.c daemon/observe.h \
	daemon/plan.c daemon/plan.h \
	daemon/resolve.c daemon/resolve.h \
	daemon/run.c daemon/run.h \
	daemon/spec-dir.c daemon/spec-dir.h \
	daemon/spec-domain-xml.c daemon/spec-domain-xml.h \
	daemon/spec-xml.c daemon/spec-xml.h \
	daemon/state.c daemon/state.h \
	daemon/step.c daemon/step.h \
	daemon/store.c daemon/store.h daemon/store-private.h \
	daemon/store-journal.c daemon/store-record.c \
	daemon/units.c daemon/units.h \
	daemon/walk-xml.c daemon/walk-xml.h \
	daemon/worker.c daemon/worker.h \
	daemon/worker-child.c daemon/worker-child.h \
	daemon/xml.c daemon/xml.h
libvprovd_la_CPPFLAGS = $(AM_CPPFLAGS) $(GIO_CFLAGS) $(LIBVIRT_CFLAGS) \
	$(LIBXML_CFLAGS) $(SYSTEMD_CFLAGS)
libvprovd_la_LIBADD = libvprovd1.la libvprov-net.la libvprov-image.la $(GIO_LIBS) \
	$(LIBVIRT_LIBS) $(LIBXML_LIBS) $(SYSTEMD_LIBS)

sbin_PROGRAMS += vprovd
vprovd_SOURCES = daemon/main.c
vprovd_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
vprovd_LDADD = libvprovd.la

# The client: nothing of the daemon, nothing but GIO.
bin_PROGRAMS += vprovctl
vprovctl_SOURCES = \
	daemon/vprovctl.c daemon/vprovctl.h \
	daemon/vprovctl-bus.c \
	daemon/vprovctl-forward.c \
	daemon/vprovctl-guest.c \
	daemon/vprovctl-job.c \
	daemon/vprovctl-monitor.c \
	daemon/vprovctl-plan.c \
	daemon/vprovctl-print.c \
	daemon/vprovctl-spec.c
vprovctl_CPPFLAGS = $(AM_CPPFLAGS) $(GIO_CFLAGS)
vprovctl_LDADD = $(GIO_LIBS)
