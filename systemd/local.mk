# SPDX-License-Identifier: LGPL-2.1-or-later
# Paths in units are those that configure was given.
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
systempresetdir = $(prefix)/lib/systemd/system-preset

systemd_made = systemd/vprovd.service systemd/vprovd-dnsmasq@.service \
	systemd/vprovd.tmpfiles
systemdsystemunit_DATA = systemd/vprovd.service \
	systemd/vprovd-dnsmasq@.service
dist_systempreset_DATA = systemd/90-vprovd.preset

EXTRA_DIST += systemd/vprovd.service.in systemd/vprovd-dnsmasq@.service.in \
	systemd/vprovd.tmpfiles.in systemd/vprovd.sysusers
CLEANFILES += $(systemd_made)
noinst_DATA = systemd/vprovd.tmpfiles

$(systemd_made): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(SED) \
	  -e 's|@sbindir[@]|$(sbindir)|g' \
	  -e 's|@bindir[@]|$(bindir)|g' \
	  -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
	  -e 's|@localstatedir[@]|$(localstatedir)|g' \
	  -e 's|@DNSMASQ[@]|$(DNSMASQ)|g' \
	  $< > $@.tmp && mv $@.tmp $@

# What automake has no words for.  sysusers.d and tmpfiles.d both want the name
# vprovd.conf; the administrator's vprovd.conf is never written over.  On a
# running system (no DESTDIR, the system's own folders) the worker's user and
# the folders are made at once.
install-data-hook: systemd/vprovd.tmpfiles
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)'
	$(INSTALL_DATA) $(srcdir)/systemd/vprovd.sysusers \
	  '$(DESTDIR)$(sysusersdir)/vprovd.conf'
	$(INSTALL_DATA) systemd/vprovd.tmpfiles \
	  '$(DESTDIR)$(tmpfilesdir)/vprovd.conf'
	for name in guests networks pools images; do \
	  $(MKDIR_P) "$(DESTDIR)$(sysconfdir)/vprovd/$$name"; \
	done
	test -e '$(DESTDIR)$(sysconfdir)/vprovd/vprovd.conf' || \
	  $(INSTALL_DATA) $(srcdir)/etc/vprovd.conf \
	    '$(DESTDIR)$(sysconfdir)/vprovd/vprovd.conf'
	@if test -z '$(DESTDIR)' && test '$(sysusersdir)' = /usr/lib/sysusers.d && \
	    test "`id -u`" = 0; then \
	  if command -v systemd-sysusers > /dev/null; then \
	    systemd-sysusers vprovd.conf; \
	  fi; \
	  if command -v systemd-tmpfiles > /dev/null; then \
	    systemd-tmpfiles --create vprovd.conf; \
	  fi; \
	fi

# Specs and a changed vprovd.conf are the administrator's: they stay.
uninstall-hook:
	rm -f '$(DESTDIR)$(sysusersdir)/vprovd.conf' \
	  '$(DESTDIR)$(tmpfilesdir)/vprovd.conf'
	if cmp -s $(srcdir)/etc/vprovd.conf \
	     '$(DESTDIR)$(sysconfdir)/vprovd/vprovd.conf'; then \
	  rm -f '$(DESTDIR)$(sysconfdir)/vprovd/vprovd.conf'; \
	fi
	-cd '$(DESTDIR)$(sysconfdir)/vprovd' 2> /dev/null && \
	  rmdir guests networks pools images 2> /dev/null
