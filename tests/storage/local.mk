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
TESTS += tests/storage/img-interop.sh

check_PROGRAMS += tests/storage/test-sandbox
TESTS += tests/storage/test-sandbox
tests_storage_test_sandbox_SOURCES = tests/storage/test-sandbox.c \
	storage/sandbox.c
tests_storage_test_sandbox_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_storage_test_sandbox_LDADD = libvprov-image.la
