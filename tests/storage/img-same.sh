#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Looks for the tools, and runs img-same.py.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
for tool in python3 qemu-img qemu-io; do
  if ! command -v $tool > /dev/null; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-same-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
python3 "$(dirname "$0")/img-same.py" "$img" "$dir"
