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
