# SPDX-License-Identifier: LGPL-2.1-or-later
# "make bench": our tool beside the rival's, as ratios; never a timed test.
bench_tools = tests/bench/mkdata tests/bench/mkfragmented tests/bench/pair
EXTRA_PROGRAMS += $(bench_tools)
CLEANFILES += $(bench_tools)
EXTRA_DIST += tests/bench/bench.sh

.PHONY: bench
bench: vprov-img $(bench_tools)
	VP_BUILDDIR='$(abs_top_builddir)' $(srcdir)/tests/bench/bench.sh
