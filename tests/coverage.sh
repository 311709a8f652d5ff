#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Line coverage by file, from what the tests of a build with --enable-gcov left
# behind: coverage.sh [FOLDER [PREFIX]], e.g. "storage qcow2".
set -eu
folder=${1:-storage}
prefix=${2:-}
found=$(find "$folder" -name '*.gcda' | head -n 1)
if [ -z "$found" ]; then
  echo "coverage: no test has run in a build with --enable-gcov" >&2
  exit 1
fi
find "$folder" -name '*.gcda' -exec gcov -n {} + 2> /dev/null |
  awk -v part="$folder/$prefix" '
    /^File / { file = substr ($2, 2, length ($2) - 2); sub (/^(\.\.\/)+([^\/]*\/)*src\//, "", file); next }
    /^Lines executed:/ {
      split ($0, f, /[:% ]+/)
      at = index (file, part)
      if (at == 0 || file !~ /\.c$/) next
      name = substr (file, at)
      # One file may be in two programs: the better figure counts.
      if (!(name in lines) || f[3] > share[name]) { share[name] = f[3]; lines[name] = f[5] }
    }
    END {
      for (name in lines) {
        printf "%6.2f %% of %5d  %s\n", share[name], lines[name], name | "sort -k 5"
        hit += share[name] * lines[name] / 100; all += lines[name]
      }
      close ("sort -k 5")
      if (all) printf "%6.2f %% of %5d  together\n", 100 * hit / all, all
    }'
