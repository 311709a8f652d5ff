# SPDX-License-Identifier: LGPL-2.1-or-later
# Installed by systemd/local.mk, where none is there yet.
EXTRA_DIST += etc/vprovd.conf
