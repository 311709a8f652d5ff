#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Our definitions and libvirt's QEMU driver: the driver runs inside virsh, with
# all its folders in one of ours, so no libvirtd is touched.  QEMU runs when
# libvirt asks it what it can do, and for one guest whose processor does not.
set -u

skip () { echo "1..0 # SKIP $1"; exit 0; }

command -v virsh > /dev/null || skip "virsh is not installed"
command -v qemu-system-x86_64 > /dev/null || skip "QEMU is not installed"
[ "$(id -u)" = 0 ] || skip "not root"
folder=$(mktemp -d /tmp/vprovd-embed-XXXXXX) || exit 1
trap 'rm -rf "$folder"' EXIT

# Without virtlogd, cgroups and another user: those are the machine's.
mkdir "$folder/etc" "$folder/images"
cat > "$folder/etc/qemu.conf" <<'EOM'
stdio_handler = "file"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
security_driver = "none"
EOM
images=$folder/images
truncate -s 1M "$images/base.raw" "$images/more.raw"
"${VP_BUILDDIR:-.}/vprov-img" create -q -f qcow2 -b "$images/base.raw" -F raw \
  "$images/root.qcow2" || exit 1

VP_TEST_LIBVIRT_URI="qemu:///embed?root=$folder"
VP_TEST_LIVE_IMAGES=$images
export VP_TEST_LIBVIRT_URI VP_TEST_LIVE_IMAGES
virsh -q -c "$VP_TEST_LIBVIRT_URI" version > "$folder/errors" 2>&1 ||
  skip "libvirt's QEMU driver does not come up: $(tail -n 1 "$folder/errors")"
"${VP_BUILDDIR:-.}/tests/daemon/xml/test-domain-libvirt"
