# SPDX-License-Identifier: LGPL-2.1-or-later
# Each area has its own fragment.  C tests are GLib tests and speak TAP; so
# do the scripts (tests/*/*.sh print "ok 1 - ..." lines and the plan).
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
TEST_EXTENSIONS = .sh
AM_TESTS_ENVIRONMENT = \
	VP_SRCDIR='$(abs_top_srcdir)'; export VP_SRCDIR; \
	VP_BUILDDIR='$(abs_top_builddir)'; export VP_BUILDDIR; \
	TSAN_OPTIONS='ignore_noninstrumented_modules=1 halt_on_error=1'; export TSAN_OPTIONS; \
	VP_SANITIZE='$(findstring -fsanitize,$(VP_SANITIZE))'; export VP_SANITIZE; \
	ASAN_OPTIONS='detect_leaks=1'; export ASAN_OPTIONS; \
	G_TEST_SRCDIR='$(abs_top_srcdir)/tests'; export G_TEST_SRCDIR; \
	G_DEBUG=fatal-warnings; export G_DEBUG; \
	G_SLICE=always-malloc; export G_SLICE;

# What needs root, libvirtd, QEMU, iptables or namespaces: run by
# "make check-system", with the same harness and the same counting.  Scripts
# only (*.sh): automake makes rules for programs in TESTS alone.
SYSTEM_TESTS =

# Scripts that run a rival's tool beside ours many times: too slow for "make
# check", so "make check-judged" and "make check-system" run them.  No root.
JUDGED_TESTS =

# The same programs with many more rounds, minutes instead of seconds: run by
# "make check-long".
LONG_TESTS =

include $(top_srcdir)/tests/storage/local.mk
include $(top_srcdir)/tests/net/local.mk
include $(top_srcdir)/tests/daemon/local.mk
include $(top_srcdir)/tests/system/local.mk
include $(top_srcdir)/tests/bench/local.mk
include $(top_srcdir)/tests/house/local.mk

SYSTEM_TESTS += $(JUDGED_TESTS)

.PHONY: check-judged
check-judged: all
	$(MAKE) check TESTS='$(JUDGED_TESTS)'

.PHONY: check-system
check-system: all
	$(MAKE) check TESTS='$(SYSTEM_TESTS)'

.PHONY: check-long
check-long: all
	VP_TEST_LONG=1 $(MAKE) check TESTS='$(LONG_TESTS)'

# Line coverage of the image engine by "make check" ("VP_TEST_LONG=1 make
# coverage": by the long runs), in a tree that was configured with
# --enable-gcov.
EXTRA_DIST += tests/coverage.sh
.PHONY: coverage
coverage: all
	find . -name '*.gcda' -exec rm -f {} +
	-$(MAKE) check TESTS='$(filter tests/storage/%,$(TESTS))'
	$(SHELL) $(srcdir)/tests/coverage.sh storage
