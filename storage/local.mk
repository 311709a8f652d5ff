# SPDX-License-Identifier: LGPL-2.1-or-later
# The image engine: GLib without GIO, so that vprov-img starts fast.
noinst_LTLIBRARIES += libvprov-image.la
libvprov_image_la_SOURCES = storage/pool.h storage/error.c storage/error.h \
	storage/chain.c storage/check.c storage/check.h \
	storage/cluster-set.c storage/cluster-set.h \
	storage/copy.c storage/copy.h storage/file.c storage/file.h \
	storage/format.h storage/formats.c storage/formats.h \
	storage/image-internal.h storage/image.c storage/image.h \
	storage/layout.c storage/layout.h storage/progress.c \
	storage/progress.h storage/qcow2-check.c storage/qcow2-create.c \
	storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-refcount.c \
	storage/qcow2-snapshot.c storage/qcow2.c storage/qcow2.h \
	storage/raw.c storage/table.c storage/table.h
libvprov_image_la_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(ZLIB_CFLAGS) \
	$(ZSTD_CFLAGS)
libvprov_image_la_LIBADD = $(GLIB_LIBS) $(ZLIB_LIBS) $(ZSTD_LIBS)

# Volumes by name.
libvprov_image_la_SOURCES += storage/autofd.h storage/pool.c \
	storage/pool-dir.c storage/pool-kind.h

# What the daemon and its worker say to each other.
libvprov_image_la_SOURCES += storage/message.c storage/message.h
