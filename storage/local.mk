# SPDX-License-Identifier: LGPL-2.1-or-later
# The image engine: GLib without GIO, so that vprov-img starts fast.
noinst_LTLIBRARIES += libvprov-image.la
libvprov_image_la_SOURCES = storage/pool.h storage/error.c storage/error.h \
	storage/chain.c storage/check.c storage/check.h \
	storage/cluster-set.c storage/cluster-set.h \
	storage/codec.c storage/codec.h storage/compare.c \
	storage/checksum.c storage/checksum.h storage/stretch.c storage/stretch.h \
	storage/pipeline.c storage/pipeline.h \
	storage/transfer.c storage/transfer.h \
	storage/copy.c storage/copy.h storage/file.c storage/file.h \
	storage/format.h storage/formats.c storage/formats.h \
	storage/image-internal.h storage/image.c storage/image.h \
	storage/layout.c storage/layout.h storage/progress.c \
	storage/progress.h storage/qcow2-check.c storage/qcow2-count.c storage/qcow2-create.c \
	storage/qcow2-header.c storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-preallocate.c storage/qcow2-refcount.c \
	storage/progress.h storage/qcow2-check.c storage/qcow2-create.c \
	storage/qcow2-data.c storage/qcow2-header.c storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-preallocate.c storage/qcow2-refcount.c \
	storage/progress.h storage/qcow2-create.c \
	storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-refcount.c \
	storage/qcow2-shrink.c storage/qcow2-switch.c storage/qcow2-snapshot.c storage/qcow2-snapshot-apply.c storage/qcow2.c storage/qcow2.h \
	storage/qcow2-header.c storage/qcow2-lazy.c storage/qcow2-link.c storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-refcount.c \
	storage/amend.c storage/amend.h storage/qcow2-amend.c storage/qcow2-expand.c storage/qcow2-width.c storage/qcow2-shrink.c storage/qcow2-switch.c storage/qcow2-snapshot.c storage/qcow2.c storage/qcow2.h \
	storage/qcow2-header.c storage/qcow2-link.c storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-refcount.c \
	storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-preallocate.c storage/qcow2-refcount.c \
	storage/qcow2-snapshot.c storage/qcow2.c storage/qcow2.h \
	storage/qcow2-header.c storage/qcow2-lazy.c storage/qcow2-link.c storage/qcow2-map.c storage/qcow2-packed.c storage/qcow2-preallocate.c storage/qcow2-refcount.c \
	storage/qcow2-size.c storage/qcow2-snapshot.c storage/qcow2.c storage/qcow2.h \
	storage/qcow2-snapshot.c storage/snapshot.c storage/snapshot.h storage/qcow2.c storage/qcow2.h \
	storage/raw.c storage/table.c storage/table.h
libvprov_image_la_CPPFLAGS = $(AM_CPPFLAGS) $(GLIB_CFLAGS) $(ZLIB_CFLAGS) \
	$(ZSTD_CFLAGS) $(DEFLATE_CFLAGS) $(ISAL_CFLAGS)
libvprov_image_la_LIBADD = $(GLIB_LIBS) $(ZLIB_LIBS) $(ZSTD_LIBS) \
	$(DEFLATE_LIBS) $(ISAL_LIBS)

# Between an image and its backing file.
libvprov_image_la_SOURCES += storage/commit.c storage/commit.h \
	storage/pace.h storage/qcow2-empty.c storage/rebase.c storage/rebase.h

# How large an image will be.
libvprov_image_la_SOURCES += storage/measure.c storage/measure.h \
	storage/qcow2-measure.c

# The check.
libvprov_image_la_SOURCES += storage/cluster-counts.c \
	storage/cluster-counts.h storage/qcow2-check.c storage/qcow2-check.h \
	storage/qcow2-check-map.c storage/qcow2-check-refcount.c \
	storage/qcow2-repair.c

# Bitmaps of what has changed.
libvprov_image_la_SOURCES += storage/bitmap.c storage/bitmap.h \
	storage/image-bitmap.c storage/image-bitmap.h \
	storage/qcow2-bitmap.c storage/qcow2-bitmap.h

# Volumes by name.
libvprov_image_la_SOURCES += storage/autofd.h storage/pool.c \
	storage/pool-dir.c storage/pool-kind.h

# What the daemon and its worker say to each other.
libvprov_image_la_SOURCES += storage/message.c storage/message.h

# The tool, and the worker in it.
bin_PROGRAMS += vprov-img
vprov_img_SOURCES = storage/vprov-img.c storage/img.h \
	storage/img-check.c storage/img-compare.c storage/img-convert.c \
	storage/img-create.c storage/img-create.h storage/img-info.c \
	storage/img-map.c storage/img-resize.c storage/img-amend.c storage/img-snapshot.c storage/img-speech.c \
	storage/img-target.c storage/img-target.h storage/img-worker.c \
	storage/json.c storage/json.h storage/sandbox.c storage/sandbox.h
vprov_img_SOURCES += storage/img-bitmap.c
vprov_img_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
vprov_img_LDADD = libvprov-image.la

# Preallocated images.
libvprov_image_la_SOURCES += storage/holes.c storage/qcow2-holes.c

# Headers in words.
libvprov_image_la_SOURCES += storage/describe.c storage/describe.h \
	storage/qcow2-describe.c
vprov_img_SOURCES += storage/img-header.c storage/img-header.h

# Names and keys that a person types; encryption.
libvprov_image_la_SOURCES += storage/secret.c storage/secret.h
libvprov_image_la_CPPFLAGS += $(GCRYPT_CFLAGS)
libvprov_image_la_LIBADD += $(GCRYPT_LIBS)
vprov_img_SOURCES += storage/img-names.c storage/img-names.h \
	storage/json-read.c storage/json-read.h

vprov_img_SOURCES += storage/img-progress.c
vprov_img_SOURCES += storage/img-bench.c storage/img-checksum.c \
	storage/img-facts.c \
	storage/img-facts.h
libvprov_image_la_SOURCES += storage/crypt.c storage/crypt.h storage/luks.c \
	storage/luks.h storage/luks-header.c storage/luks-header.h
libvprov_image_la_SOURCES += storage/qcow2-crypt.c

# Whole images.
vprov_img_SOURCES += storage/img-measure.c
vprov_img_SOURCES += storage/img-dd.c
vprov_img_SOURCES += storage/img-commit.c
vprov_img_SOURCES += storage/img-rebase.c
vprov_img_SOURCES += storage/img-options.c
vprov_img_SOURCES += storage/img-options.h
vprov_img_SOURCES += storage/img-convert.h
vprov_img_SOURCES += storage/img-convert-options.c
vprov_img_SOURCES += storage/img-pipe.c
vprov_img_SOURCES += storage/img-pipe.h
vprov_img_SOURCES += storage/img-snapshot-word.c
libvprov_image_la_SOURCES += storage/qcow2-keys.c
vprov_img_SOURCES += storage/img-shown.c

# What a file is.
libvprov_image_la_SOURCES += storage/probe.c storage/probe.h

# The steps of a copy.
libvprov_image_la_SOURCES += storage/copy-internal.h storage/copy-output.c \
	storage/copy-span.c storage/copy-store.c

# QEMU's old copy-on-write format.
libvprov_image_la_SOURCES += storage/cow.c storage/cow.h storage/cow-bits.c \
	storage/cow-check.c storage/cow-header.c
# VMDK: streamOptimized.
libvprov_image_la_SOURCES += storage/vmdk-stream.c storage/vmdk-stream.h \
	storage/vmdk-sparse-packed.c
# What verbs on one image are told.
vprov_img_SOURCES += storage/img-task.c storage/img-task.h

# Several images as one.
libvprov_image_la_SOURCES += storage/join.c storage/join.h
# LUKS on a file of its own.
libvprov_image_la_SOURCES += storage/encrypt.c storage/encrypt.h \
	storage/raw-luks.c

# What somebody took for an image.
libvprov_image_la_SOURCES += storage/tar.c storage/tar.h
# A sparse extent of vmdk.
libvprov_image_la_SOURCES += storage/vmdk-sparse.c storage/vmdk-sparse.h \
	storage/vmdk-sparse-internal.h storage/vmdk-sparse-header.c \
	storage/vmdk-sparse-map.c storage/vmdk-sparse-space.c \
	storage/vmdk-sparse-link.c storage/vmdk-sparse-create.c \
	storage/vmdk-sparse-size.c storage/vmdk-sparse-check.c
libvprov_image_la_SOURCES += storage/vmdk.c storage/vmdk.h \
	storage/vmdk-create.c storage/vmdk-data.c storage/vmdk-descriptor.c \
	storage/vmdk-descriptor.h
libvprov_image_la_SOURCES += storage/vmdk-check.c storage/vmdk-resize.c
# VirtualBox's format.
libvprov_image_la_SOURCES += storage/vdi.c storage/vdi.h storage/vdi-check.c \
	storage/vdi-create.c storage/vdi-grow.c storage/vdi-header.c storage/vdi-move.c \
	storage/vdi-size.c storage/vdi-write.c
# The first version of QEMU's own format.
libvprov_image_la_SOURCES += storage/qcow-check.c storage/qcow-check.h
libvprov_image_la_SOURCES += storage/qcow-create.c storage/qcow-header.c
libvprov_image_la_SOURCES += storage/qcow-link.c storage/qcow-map.c
libvprov_image_la_SOURCES += storage/qcow-repair.c storage/qcow-size.c
libvprov_image_la_SOURCES += storage/qcow-space.c storage/qcow.c
libvprov_image_la_SOURCES += storage/qcow.h
libvprov_image_la_SOURCES += storage/vmdk-sparse-repair.c
	storage/vmdk-sparse-size.c storage/vmdk-sparse-check.c \
	storage/vmdk-sparse-repair.c

# Read only: VHD and VHDX.
libvprov_image_la_SOURCES += storage/crc32c.c storage/crc32c.h \
	storage/vhdx-header.c storage/vhdx.c storage/vhdx.h storage/vpc.c
