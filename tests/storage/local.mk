# SPDX-License-Identifier: LGPL-2.1-or-later

check_PROGRAMS += tests/storage/test-pool
TESTS += tests/storage/test-pool
tests_storage_test_pool_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_pool_LDADD = libvprov-image.la

check_PROGRAMS += tests/storage/test-message
TESTS += tests/storage/test-message
tests_storage_test_message_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_message_LDADD = libvprov-image.la

check_PROGRAMS += tests/storage/test-json
TESTS += tests/storage/test-json
tests_storage_test_json_SOURCES = tests/storage/test-json.c storage/json.c
tests_storage_test_json_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_json_LDADD = libvprov-image.la

# vprov-img as a program.
dist_check_SCRIPTS += tests/storage/img-verbs.sh
TESTS += tests/storage/img-verbs.sh
dist_check_SCRIPTS += tests/storage/img-interop.sh
dist_check_SCRIPTS += tests/storage/img-whole.sh
LONG_TESTS += tests/storage/img-whole.sh
dist_check_SCRIPTS += tests/storage/img-same.sh
EXTRA_DIST += tests/storage/img-same.py
TESTS += tests/storage/img-same.sh
LONG_TESTS += tests/storage/img-same.sh
dist_check_SCRIPTS += tests/storage/img-options.sh
TESTS += tests/storage/img-options.sh
dist_check_SCRIPTS += tests/storage/img-locks.sh
TESTS += tests/storage/img-locks.sh
EXTRA_DIST += tests/storage/img-functions.sh
dist_check_SCRIPTS += tests/storage/img-measure.sh tests/storage/img-dd.sh \
	tests/storage/img-commit.sh tests/storage/img-rebase.sh \
	tests/storage/img-create.sh tests/storage/img-convert.sh
TESTS += tests/storage/img-measure.sh tests/storage/img-create.sh \
	tests/storage/img-convert.sh

check_PROGRAMS += tests/storage/test-sandbox
TESTS += tests/storage/test-sandbox
tests_storage_test_sandbox_SOURCES = tests/storage/test-sandbox.c \
	storage/sandbox.c
tests_storage_test_sandbox_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_sandbox_LDADD = libvprov-image.la

# The image engine; its tests share a list of formats and a file in memory.
check_LTLIBRARIES += tests/storage/libengine.la
tests_storage_libengine_la_SOURCES = tests/storage/engine-cases.c \
	tests/storage/engine-cases.h tests/storage/fake-file.c \
	tests/storage/fake-file.h tests/storage/byte-model.c \
	tests/storage/byte-model.h tests/storage/judge.c tests/storage/judge.h
tests_storage_libengine_la_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_libengine_la_LIBADD = libvprov-image.la
engine_cppflags = $(libvprov_image_la_CPPFLAGS)
engine_ldadd = tests/storage/libengine.la

check_PROGRAMS += tests/storage/test-layout
TESTS += tests/storage/test-layout
tests_storage_test_layout_CPPFLAGS = $(engine_cppflags)
tests_storage_test_layout_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-table
TESTS += tests/storage/test-table
tests_storage_test_table_CPPFLAGS = $(engine_cppflags)
tests_storage_test_table_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-file
TESTS += tests/storage/test-file
tests_storage_test_file_CPPFLAGS = $(engine_cppflags)
tests_storage_test_file_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-image
TESTS += tests/storage/test-image
tests_storage_test_image_CPPFLAGS = $(engine_cppflags)
tests_storage_test_image_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-packed
TESTS += tests/storage/test-packed
tests_storage_test_packed_CPPFLAGS = $(engine_cppflags)
tests_storage_test_packed_LDADD = $(engine_ldadd) $(ZLIB_LIBS)
check_PROGRAMS += tests/storage/test-crash-whole
TESTS += tests/storage/test-crash-whole
LONG_TESTS += tests/storage/test-crash-whole
tests_storage_test_crash_whole_CPPFLAGS = $(engine_cppflags)
tests_storage_test_crash_whole_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-amend
TESTS += tests/storage/test-amend
tests_storage_test_amend_CPPFLAGS = $(engine_cppflags)
tests_storage_test_amend_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-snapshot
TESTS += tests/storage/test-snapshot
LONG_TESTS += tests/storage/test-snapshot
tests_storage_test_snapshot_CPPFLAGS = $(engine_cppflags)
tests_storage_test_snapshot_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-checksum
TESTS += tests/storage/test-checksum
tests_storage_test_checksum_CPPFLAGS = $(engine_cppflags)
tests_storage_test_checksum_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-copy
TESTS += tests/storage/test-copy
tests_storage_test_copy_CPPFLAGS = $(engine_cppflags)
tests_storage_test_copy_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-crash
TESTS += tests/storage/test-crash
tests_storage_test_crash_CPPFLAGS = $(engine_cppflags)
tests_storage_test_crash_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-samples
TESTS += tests/storage/test-samples
tests_storage_test_samples_CPPFLAGS = $(engine_cppflags)
tests_storage_test_samples_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-interop
TESTS += tests/storage/test-interop
tests_storage_test_interop_CPPFLAGS = $(engine_cppflags)
tests_storage_test_interop_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-grow-hides-tail
TESTS += tests/storage/test-grow-hides-tail
tests_storage_test_grow_hides_tail_CPPFLAGS = $(engine_cppflags)
tests_storage_test_grow_hides_tail_LDADD = $(engine_ldadd)

dist_check_SCRIPTS += tests/storage/img-matrix.sh
LONG_TESTS += tests/storage/img-matrix.sh

check_PROGRAMS += tests/storage/test-random
TESTS += tests/storage/test-random
LONG_TESTS += tests/storage/test-random
tests_storage_test_random_CPPFLAGS = $(engine_cppflags)
tests_storage_test_random_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-hostile
TESTS += tests/storage/test-hostile
LONG_TESTS += tests/storage/test-hostile
tests_storage_test_hostile_CPPFLAGS = $(engine_cppflags)
tests_storage_test_hostile_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-read-error
TESTS += tests/storage/test-read-error
LONG_TESTS += tests/storage/test-read-error
tests_storage_test_read_error_CPPFLAGS = $(engine_cppflags)
tests_storage_test_read_error_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-fuzz
TESTS += tests/storage/test-fuzz
LONG_TESTS += tests/storage/test-fuzz
tests_storage_test_fuzz_CPPFLAGS = $(engine_cppflags)
tests_storage_test_fuzz_LDADD = $(engine_ldadd)

LONG_TESTS += tests/storage/test-image tests/storage/test-crash \
	tests/storage/test-packed tests/storage/test-copy \
	tests/storage/test-samples tests/storage/test-interop

check_PROGRAMS += tests/storage/test-qcow2-header
TESTS += tests/storage/test-qcow2-header
tests_storage_test_qcow2_header_CPPFLAGS = $(engine_cppflags)
tests_storage_test_qcow2_header_LDADD = $(engine_ldadd)

# Names and keys that a person types.
dist_check_SCRIPTS += tests/storage/img-names.sh
TESTS += tests/storage/img-names.sh
check_PROGRAMS += tests/storage/test-json-read tests/storage/test-secret
TESTS += tests/storage/test-json-read tests/storage/test-secret
tests_storage_test_json_read_SOURCES = tests/storage/test-json-read.c \
	storage/json-read.c
tests_storage_test_json_read_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_json_read_LDADD = libvprov-image.la
tests_storage_test_secret_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_secret_LDADD = libvprov-image.la
LONG_TESTS += tests/storage/img-measure.sh tests/storage/img-commit.sh \
	tests/storage/img-rebase.sh

check_PROGRAMS += tests/storage/test-preallocate
TESTS += tests/storage/test-preallocate
tests_storage_test_preallocate_CPPFLAGS = $(engine_cppflags)
tests_storage_test_preallocate_LDADD = $(engine_ldadd)

# Encryption.
dist_check_SCRIPTS += tests/storage/img-crypt.sh
LONG_TESTS += tests/storage/img-crypt.sh
# Faults put into sound images, found and mended.
check_PROGRAMS += tests/storage/test-check
TESTS += tests/storage/test-check
tests_storage_test_check_CPPFLAGS = $(engine_cppflags)
tests_storage_test_check_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-check

# Bitmaps of what has changed.
check_PROGRAMS += tests/storage/test-bitmap
TESTS += tests/storage/test-bitmap
tests_storage_test_bitmap_CPPFLAGS = $(engine_cppflags)
tests_storage_test_bitmap_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-bitmap
check_PROGRAMS += tests/storage/test-crypt tests/storage/test-luks
TESTS += tests/storage/test-crypt tests/storage/test-luks
tests_storage_test_crypt_CPPFLAGS = $(engine_cppflags)
tests_storage_test_crypt_LDADD = $(engine_ldadd)
tests_storage_test_luks_CPPFLAGS = $(engine_cppflags)
tests_storage_test_luks_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-luks
dist_check_SCRIPTS += tests/storage/img-bitmap.sh
TESTS += tests/storage/img-bitmap.sh

dist_check_SCRIPTS += tests/storage/img-create-same.sh
check_PROGRAMS += tests/storage/test-layers
TESTS += tests/storage/test-layers
tests_storage_test_layers_CPPFLAGS = $(engine_cppflags)
tests_storage_test_layers_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-layers

dist_check_SCRIPTS += tests/storage/img-subclusters.sh

check_PROGRAMS += tests/storage/test-subcluster
TESTS += tests/storage/test-subcluster
tests_storage_test_subcluster_CPPFLAGS = $(engine_cppflags)
tests_storage_test_subcluster_LDADD = $(engine_ldadd)

SYSTEM_TESTS += tests/storage/img-matrix-whole.sh
EXTRA_DIST += tests/storage/img-matrix-whole.sh

# Beside qemu-img, many runs each.
JUDGED_TESTS += tests/storage/img-interop.sh
JUDGED_TESTS += tests/storage/img-whole.sh
JUDGED_TESTS += tests/storage/img-dd.sh
JUDGED_TESTS += tests/storage/img-commit.sh
JUDGED_TESTS += tests/storage/img-rebase.sh
JUDGED_TESTS += tests/storage/img-matrix.sh
JUDGED_TESTS += tests/storage/img-crypt.sh
JUDGED_TESTS += tests/storage/img-create-same.sh
JUDGED_TESTS += tests/storage/img-subclusters.sh

check_PROGRAMS += tests/storage/test-vmdk-stream
TESTS += tests/storage/test-vmdk-stream
tests_storage_test_vmdk_stream_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vmdk_stream_LDADD = $(engine_ldadd)
# Random journeys through all formats.
check_PROGRAMS += tests/storage/test-roundtrip
TESTS += tests/storage/test-roundtrip
LONG_TESTS += tests/storage/test-roundtrip
tests_storage_test_roundtrip_CPPFLAGS = $(engine_cppflags)
tests_storage_test_roundtrip_LDADD = $(engine_ldadd)

# Images made by others.
check_PROGRAMS += tests/storage/test-oracle
TESTS += tests/storage/test-oracle
LONG_TESTS += tests/storage/test-oracle
tests_storage_test_oracle_CPPFLAGS = $(engine_cppflags)
tests_storage_test_oracle_LDADD = $(engine_ldadd) $(ZLIB_LIBS)

# Images made with malice.
check_PROGRAMS += tests/storage/test-malicious
TESTS += tests/storage/test-malicious
LONG_TESTS += tests/storage/test-malicious
tests_storage_test_malicious_CPPFLAGS = $(engine_cppflags)
tests_storage_test_malicious_LDADD = $(engine_ldadd) $(ZLIB_LIBS)

check_PROGRAMS += tests/storage/test-probe
TESTS += tests/storage/test-probe
tests_storage_test_probe_CPPFLAGS = $(engine_cppflags)
tests_storage_test_probe_LDADD = $(engine_ldadd)
# Metadata gone wrong, in any format.
tests_storage_libengine_la_SOURCES += tests/storage/fuzz-seed.c \
	tests/storage/fuzz-seed.h
check_PROGRAMS += tests/storage/test-fuzz-any
TESTS += tests/storage/test-fuzz-any
LONG_TESTS += tests/storage/test-fuzz-any
tests_storage_test_fuzz_any_CPPFLAGS = $(engine_cppflags)
tests_storage_test_fuzz_any_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-cow
TESTS += tests/storage/test-cow
tests_storage_test_cow_SOURCES = tests/storage/test-cow.c \
	tests/storage/cow-reader.c tests/storage/cow-reader.h
tests_storage_test_cow_CPPFLAGS = $(engine_cppflags)
tests_storage_test_cow_LDADD = $(engine_ldadd)
# Any format into any other.
dist_check_SCRIPTS += tests/storage/img-any.sh
JUDGED_TESTS += tests/storage/img-any.sh

check_PROGRAMS += tests/storage/test-cow-crash
TESTS += tests/storage/test-cow-crash
LONG_TESTS += tests/storage/test-cow-crash
tests_storage_test_cow_crash_CPPFLAGS = $(engine_cppflags)
tests_storage_test_cow_crash_LDADD = $(engine_ldadd)
# Journeys in files, judged by qemu-img.
dist_check_SCRIPTS += tests/storage/img-roundtrip.sh
JUDGED_TESTS += tests/storage/img-roundtrip.sh
LONG_TESTS += tests/storage/img-roundtrip.sh

# The same broken image read by qemu-img.
check_PROGRAMS += tests/storage/test-differential
TESTS += tests/storage/test-differential
LONG_TESTS += tests/storage/test-differential
tests_storage_test_differential_CPPFLAGS = $(engine_cppflags)
tests_storage_test_differential_LDADD = $(engine_ldadd)

check_PROGRAMS += tests/storage/test-hostile-cow
TESTS += tests/storage/test-hostile-cow
LONG_TESTS += tests/storage/test-hostile-cow
tests_storage_test_hostile_cow_CPPFLAGS = $(engine_cppflags)
tests_storage_test_hostile_cow_LDADD = $(engine_ldadd)
check_PROGRAMS += tests/storage/test-random-any
TESTS += tests/storage/test-random-any
LONG_TESTS += tests/storage/test-random-any
tests_storage_test_random_any_CPPFLAGS = $(engine_cppflags)
tests_storage_test_random_any_LDADD = $(engine_ldadd)
# VirtualBox's format.
check_PROGRAMS += tests/storage/test-vdi
TESTS += tests/storage/test-vdi
tests_storage_test_vdi_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vdi_LDADD = $(engine_ldadd)
dist_check_SCRIPTS += tests/storage/img-vdi.sh
JUDGED_TESTS += tests/storage/img-vdi.sh

# Every verb on every format.
dist_check_SCRIPTS += tests/storage/img-verbs-any.sh
JUDGED_TESTS += tests/storage/img-verbs-any.sh

# qcow's first version.
dist_check_SCRIPTS += tests/storage/img-qcow.sh
JUDGED_TESTS += tests/storage/img-qcow.sh
dist_check_SCRIPTS += tests/storage/img-luks.sh
LONG_TESTS += tests/storage/img-luks.sh
JUDGED_TESTS += tests/storage/img-luks.sh

check_PROGRAMS += tests/storage/test-luks-format
TESTS += tests/storage/test-luks-format
tests_storage_test_luks_format_CPPFLAGS = $(engine_cppflags)
tests_storage_test_luks_format_LDADD = $(engine_ldadd)
check_PROGRAMS += tests/storage/test-vmdk-sparse
TESTS += tests/storage/test-vmdk-sparse
tests_storage_test_vmdk_sparse_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vmdk_sparse_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-vmdk-sparse
check_PROGRAMS += tests/storage/test-qcow
TESTS += tests/storage/test-qcow
tests_storage_test_qcow_CPPFLAGS = $(engine_cppflags)
tests_storage_test_qcow_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-qcow

dist_check_SCRIPTS += tests/storage/img-cow.sh
TESTS += tests/storage/img-cow.sh
check_PROGRAMS += tests/storage/test-hostile-qcow
TESTS += tests/storage/test-hostile-qcow
tests_storage_test_hostile_qcow_CPPFLAGS = $(engine_cppflags)
tests_storage_test_hostile_qcow_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-hostile-qcow
# streamOptimized, as others see it.
dist_check_SCRIPTS += tests/storage/img-stream.sh
JUDGED_TESTS += tests/storage/img-stream.sh

# VHD and VHDX.
check_PROGRAMS += tests/storage/test-vpc
TESTS += tests/storage/test-vpc
tests_storage_test_vpc_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vpc_LDADD = $(engine_ldadd)
check_PROGRAMS += tests/storage/test-vhdx
TESTS += tests/storage/test-vhdx
tests_storage_test_vhdx_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vhdx_LDADD = $(engine_ldadd)
dist_check_SCRIPTS += tests/storage/img-vhd.sh
JUDGED_TESTS += tests/storage/img-vhd.sh
# VMDK: the text of a descriptor, files beside an image, and other programs.
check_PROGRAMS += tests/storage/test-vmdk-descriptor
TESTS += tests/storage/test-vmdk-descriptor
tests_storage_test_vmdk_descriptor_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vmdk_descriptor_LDADD = $(engine_ldadd)
check_PROGRAMS += tests/storage/test-vmdk-parts
TESTS += tests/storage/test-vmdk-parts
tests_storage_test_vmdk_parts_CPPFLAGS = $(engine_cppflags)
tests_storage_test_vmdk_parts_LDADD = $(engine_ldadd)
dist_check_SCRIPTS += tests/storage/img-vmdk.sh
JUDGED_TESTS += tests/storage/img-vmdk.sh

check_PROGRAMS += tests/storage/test-hostile-vmdk
TESTS += tests/storage/test-hostile-vmdk
tests_storage_test_hostile_vmdk_CPPFLAGS = $(engine_cppflags)
tests_storage_test_hostile_vmdk_LDADD = $(engine_ldadd)
LONG_TESTS += tests/storage/test-hostile-vmdk
EXTRA_DIST += tests/storage/same_formats.py
