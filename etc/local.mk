# SPDX-License-Identifier: LGPL-2.1-or-later
# Installed by systemd/local.mk, where none is there yet.
EXTRA_DIST += etc/vprovd.conf

# Schemas of the spec files, for editors and xmllint; the daemon has its own
# walker, and a test holds the two against each other.
dist_pkgdata_DATA = etc/guest.rng etc/image.rng etc/network.rng etc/pool.rng
exampledir = $(docdir)/examples
dist_example_DATA = etc/examples/adopted.xml etc/examples/direct-kernel.xml \
	etc/examples/image.xml etc/examples/minimal.xml \
	etc/examples/network.xml etc/examples/pool.xml etc/examples/web.xml

# The bus: who may own the name, and who starts the daemon on the first call.
dbuspolicydir = $(dbusdatadir)/system.d
dist_dbuspolicy_DATA = etc/org.vprovd1.conf
dbusservicedir = $(dbusdatadir)/system-services
dist_dbusservice_DATA = etc/org.vprovd1.service
# For who writes clients.
dbusinterfacedir = $(dbusdatadir)/interfaces
dist_dbusinterface_DATA = daemon/org.vprovd1.xml

# Completion files bear the name of their command.
bashcompletiondir = $(datadir)/bash-completion/completions
EXTRA_DIST += etc/vprovctl.bash etc/vprov-img.bash
bashcompletion_DATA = etc/vprovctl etc/vprov-img
CLEANFILES += etc/vprovctl etc/vprov-img
etc/vprovctl: etc/vprovctl.bash
	$(AM_V_GEN)$(MKDIR_P) etc && cp $(top_srcdir)/etc/vprovctl.bash $@
etc/vprov-img: etc/vprov-img.bash
	$(AM_V_GEN)$(MKDIR_P) etc && cp $(top_srcdir)/etc/vprov-img.bash $@
