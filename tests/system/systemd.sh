#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The installed program under a real systemd: a container of the machine's own
# root (an overlay, so that the machine is not changed) is booted, the program
# is installed in it by make install, and systemd-inside.sh puts it to the
# test; the container reboots once in between.
set -u
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
# shellcheck source=tests/system/host.sh
. "$VP_SRCDIR/tests/system/host.sh"
PATH=$PATH:/usr/sbin:/sbin

boot ()
{
  local status=0 bind=()
  for name in /dev/kvm /dev/net/tun; do
    [ ! -e "$name" ] || bind+=("--bind=$name")
  done
  [ -z "${VP_GUEST_ROOT:-}" ] || bind+=("--bind-ro=$VP_GUEST_ROOT")
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout -k 10 300 systemd-nspawn -q \
    --register=no --keep-unit -D "$folder/root" -b --private-network \
    --capability=all "${bind[@]}" --bind="$folder/results:/results" \
    --bind-ro="$VP_SRCDIR" --bind="$build" \
    < /dev/null >> "${VP_CONSOLE_LOG:-$folder/console.log}" 2>&1 || status=$?
  return "$status"
}

inside ()
{
  local phase status=0
  mount -t tmpfs -o mode=755 vprovd-test "$folder"
  mkdir "$folder"/{upper,work,root,results}
  mount -t overlay overlay \
    -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" \
    "$folder/root" || skip_all "no overlay file system"

  # make install must find the paths of a system.
  build=$VP_BUILDDIR
  if ! grep -qx 'prefix = /usr' "$build/Makefile"; then
    build=$folder/build
    mkdir "$build"
    (cd "$build" && "$VP_SRCDIR/configure" -q --prefix=/usr --sysconfdir=/etc \
       --localstatedir=/var && make -s -j"$(nproc)") > "$folder/build.log" 2>&1 ||
      { tail "$folder/build.log"; bail_out "no build for /usr"; }
  fi

  cat > "$folder/root/etc/systemd/system/vprovd-test.service" <<EOM
[Unit]
After=multi-user.target libvirtd.service
Wants=libvirtd.service
[Service]
Type=exec
Environment=VP_SRCDIR=$VP_SRCDIR VP_BUILDDIR=$build
Environment=VP_GUEST_ROOT=${VP_GUEST_ROOT:-}
ExecStart=$VP_SRCDIR/tests/system/systemd-inside.sh
ExecStopPost=/usr/bin/systemctl --no-block --force poweroff
StandardOutput=append:/results/tap
StandardError=append:/results/tap
EOM
  mkdir -p "$folder/root/etc/systemd/system/graphical.target.wants" \
    "$folder/root/etc/systemd/system/multi-user.target.wants"
  ln -s /etc/systemd/system/vprovd-test.service \
    "$folder/root/etc/systemd/system/multi-user.target.wants/"
  : > "$folder/root/etc/machine-id"
  # Nothing that the machine has enabled for itself is wanted in here.
  rm -f "$folder/root/usr/sbin/policy-rc.d"

  # A reboot ends nspawn with 133.
  for phase in 1 2; do
    echo "$phase" > "$folder/results/phase"
    boot || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 133 ] || break
  done
  cat "$folder/results/tap"
  if ! tail -n 1 "$folder/results/tap" | grep -q '^1\.\.'; then
    tail -n 40 "$folder/console.log" | sed 's/^/# /'
    bail_out "the container ended early (status $status)"
  fi
  ! grep -q '^not ok' "$folder/results/tap"
}

if [ "${1:-}" = --inside ]; then
  folder=$2
  inside
  exit
fi
[ "$(id -u)" -eq 0 ] || skip_all "needs root"
for name in systemd-nspawn libvirtd qemu-system-x86_64 busybox; do
  command -v "$name" > /dev/null || skip_all "$name is not installed"
done
folder=$(mktemp -d /tmp/vprovd-test.XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 99' INT TERM HUP
status=0
host_enter "$0" --inside "$folder" || status=$?
exit "$status"
