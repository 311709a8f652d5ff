# SPDX-License-Identifier: LGPL-2.1-or-later
TESTS += tests/house/layers.sh
EXTRA_DIST += tests/house/layers.sh tests/house/check-layers tests/house/lint

# Needs no build: layout, scripts, arrows.
.PHONY: lint
lint:
	VP_SRCDIR='$(abs_top_srcdir)' '$(abs_top_srcdir)/tests/house/lint'
