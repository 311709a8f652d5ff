# SPDX-License-Identifier: LGPL-2.1-or-later

check_PROGRAMS += tests/storage/test-pool
TESTS += tests/storage/test-pool
tests_storage_test_pool_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_pool_LDADD = libvprov-image.la
