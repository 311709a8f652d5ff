# SPDX-License-Identifier: LGPL-2.1-or-later
# The image engine: GLib without GIO, so that vprov-img starts fast.
noinst_LTLIBRARIES += libvprov-image.la
libvprov_image_la_SOURCES = storage/pool.h storage/error.c storage/error.h \
	storage/check.h storage/copy.h storage/file.h storage/format.h \
	storage/formats.h storage/image.h storage/layout.h \
	storage/progress.c storage/progress.h storage/table.h
libvprov_image_la_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(ZLIB_CFLAGS) \
	$(ZSTD_CFLAGS)
libvprov_image_la_LIBADD = $(GLIB_LIBS) $(ZLIB_LIBS) $(ZSTD_LIBS)

# Volumes by name.
libvprov_image_la_SOURCES += storage/autofd.h storage/pool.c \
	storage/pool-dir.c storage/pool-kind.h

# What the daemon and its worker say to each other.
libvprov_image_la_SOURCES += storage/message.c storage/message.h
