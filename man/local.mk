# SPDX-License-Identifier: LGPL-2.1-or-later
dist_man_MANS =
dist_man_MANS += man/vprovd.8
dist_man_MANS += man/vprov-img.1
dist_man_MANS += man/vprovd.guest.5
dist_man_MANS += man/vprovctl.1
dist_man_MANS += man/vprovd.conf.5
