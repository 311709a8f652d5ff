#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Our definitions and libvirt's QEMU driver: the driver runs inside virsh, with
# all its folders in one of ours, so no libvirtd is touched.  Nothing is
# started but QEMU itself, once, when libvirt asks it what it can do.
set -u

skip () { echo "1..0 # SKIP $1"; exit 0; }

command -v virsh > /dev/null || skip "virsh is not installed"
command -v qemu-system-x86_64 > /dev/null || skip "QEMU is not installed"
folder=$(mktemp -d /tmp/vprovd-embed-XXXXXX) || exit 1
trap 'rm -rf "$folder"' EXIT
VP_TEST_LIBVIRT_URI="qemu:///embed?root=$folder"
export VP_TEST_LIBVIRT_URI
virsh -q -c "$VP_TEST_LIBVIRT_URI" version > "$folder/log" 2>&1 ||
  skip "libvirt's QEMU driver does not come up: $(tail -n 1 "$folder/log")"
"${VP_BUILDDIR:-.}/tests/daemon/xml/test-domain-libvirt"
