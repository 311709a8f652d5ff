# SPDX-License-Identifier: LGPL-2.1-or-later

# A hypervisor in memory, for tests of what stands on host.h.
check_LTLIBRARIES += libfake-host.la
libfake_host_la_SOURCES = tests/daemon/fake-host.c tests/daemon/fake-host.h
libfake_host_la_CPPFLAGS = $(libvprovd_la_CPPFLAGS)

check_PROGRAMS += tests/daemon/test-host
TESTS += tests/daemon/test-host
tests_daemon_test_host_SOURCES = tests/daemon/test-host.c
tests_daemon_test_host_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_host_LDADD = libvprovd.la

check_PROGRAMS += tests/daemon/test-worker tests/daemon/fake-worker
TESTS += tests/daemon/test-worker
tests_daemon_fake_worker_CPPFLAGS = $(libvprov_image_la_CPPFLAGS)
tests_daemon_fake_worker_LDADD = libvprov-image.la
tests_daemon_test_worker_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_worker_LDADD = libvprovd.la
check_PROGRAMS += tests/daemon/test-units
TESTS += tests/daemon/test-units
tests_daemon_test_units_SOURCES = tests/daemon/test-units.c
tests_daemon_test_units_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_units_LDADD = libvprovd.la

check_PROGRAMS += tests/daemon/test-step
TESTS += tests/daemon/test-step
tests_daemon_test_step_SOURCES = tests/daemon/test-step.c
tests_daemon_test_step_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_step_LDADD = libvprovd.la

check_PROGRAMS += tests/daemon/test-configuration
TESTS += tests/daemon/test-configuration
tests_daemon_test_configuration_SOURCES = tests/daemon/test-configuration.c
tests_daemon_test_configuration_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_configuration_LDADD = libvprovd.la
check_PROGRAMS += tests/daemon/test-plan
TESTS += tests/daemon/test-plan
tests_daemon_test_plan_SOURCES = tests/daemon/test-plan.c
tests_daemon_test_plan_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_plan_LDADD = libvprovd.la
EXTRA_DIST += tests/daemon/plans

check_PROGRAMS += tests/daemon/test-manager
TESTS += tests/daemon/test-manager
tests_daemon_test_manager_SOURCES = tests/daemon/test-manager.c \
	tests/daemon/manager-world.c tests/daemon/manager-world.h
tests_daemon_test_manager_CPPFLAGS = $(libvprovd_la_CPPFLAGS) \
	-DVP_TEST_WORKER=\"$(abs_top_builddir)/vprov-img\"
tests_daemon_test_manager_LDADD = libfake-host.la libvprovd.la

check_PROGRAMS += tests/daemon/test-manager-disk
TESTS += tests/daemon/test-manager-disk
tests_daemon_test_manager_disk_SOURCES = tests/daemon/test-manager-disk.c \
	tests/daemon/manager-world.c tests/daemon/manager-world.h
tests_daemon_test_manager_disk_CPPFLAGS = $(tests_daemon_test_manager_CPPFLAGS)
tests_daemon_test_manager_disk_LDADD = $(tests_daemon_test_manager_LDADD)

check_PROGRAMS += tests/daemon/test-store
TESTS += tests/daemon/test-store
tests_daemon_test_store_SOURCES = tests/daemon/test-store.c
tests_daemon_test_store_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_store_LDADD = libvprovd.la

check_PROGRAMS += tests/daemon/test-worker-samples
TESTS += tests/daemon/test-worker-samples
tests_daemon_test_worker_samples_CPPFLAGS = $(libvprovd_la_CPPFLAGS) \
	$(ZLIB_CFLAGS)
tests_daemon_test_worker_samples_LDADD = libvprovd.la $(ZLIB_LIBS)

# Spec files and definitions.
include $(top_srcdir)/tests/daemon/xml/local.mk

# With a real libvirtd, in a private host: the script starts the program.
check_PROGRAMS += tests/daemon/libvirtd-faults
SYSTEM_TESTS += tests/daemon/host-libvirtd.sh
EXTRA_DIST += tests/daemon/host-libvirtd.sh
tests_daemon_libvirtd_faults_SOURCES = tests/daemon/libvirtd-faults.c
tests_daemon_libvirtd_faults_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_libvirtd_faults_LDADD = libvprovd.la
check_PROGRAMS += tests/daemon/test-spec-dir
TESTS += tests/daemon/test-spec-dir
tests_daemon_test_spec_dir_SOURCES = tests/daemon/test-spec-dir.c
tests_daemon_test_spec_dir_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_spec_dir_LDADD = libvprovd.la

include $(top_srcdir)/tests/daemon/bus.mk

check_PROGRAMS += tests/daemon/test-log
TESTS += tests/daemon/test-log
tests_daemon_test_log_SOURCES = tests/daemon/test-log.c
tests_daemon_test_log_CPPFLAGS = $(libvprovd_la_CPPFLAGS)
tests_daemon_test_log_LDADD = libvprovd.la
