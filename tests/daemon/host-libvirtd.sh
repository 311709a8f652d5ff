#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# host-libvirt with a real libvirtd and QEMU, both of which are killed and
# stopped: libvirtd-faults.c, in a private host.
set -u
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
# shellcheck source=tests/system/host.sh
. "$VP_SRCDIR/tests/system/host.sh"

[ "$(id -u)" -eq 0 ] || skip_all "needs root: namespaces"
[ "$(uname -m)" = x86_64 ] || skip_all "its boot sector is for x86"
for program in dbus-daemon virtlogd libvirtd virsh unshare setpriv \
    qemu-system-x86_64; do
  command -v "$program" > /dev/null || skip_all "there is no $program"
done

if [ "${1:-}" != inside ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/vprovd-host-XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  chmod 711 "$folder"
  host_enter "$BASH" "$0" inside "$folder"
  exit
fi

folder=$2
host_start "$folder" || bail_out "libvirtd does not come up"
VP_TEST_FOLDER=$folder "$VP_BUILDDIR/tests/daemon/libvirtd-faults"
status=$?
host_stop
exit "$status"
