#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Locks beside a running QEMU: what a guest's disk is refused for, in
# qemu-img's words; what -U shows all the same; and QEMU refused by us.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
for tool in qemu-img qemu-system-x86_64; do
  if ! command -v $tool > /dev/null; then
    echo "1..0 # SKIP $tool is not there"
    exit 77
  fi
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-locks-XXXXXX") || exit 99
pid=
trap '[ -z "$pid" ] || kill "$pid" 2> /dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 99
n=0

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    sed 's/^/# /' a.err b.err 2> /dev/null
  fi
}

# locked INODE: wait until somebody has a lock on it
locked () {
  tries=0
  until grep -q ":$1 " /proc/locks || [ $tries -ge 500 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
  grep -q ":$1 " /proc/locks
}

# refused ARGUMENT...: by both, with the same words
refused () {
  timeout 20 qemu-img "$@" > a 2> a.err; sa=$?
  "$img" "$@" > b 2> b.err; sb=$?
  sed -i 's/vprov-img/qemu-img/' b.err
  [ $sa -ne 0 ] && [ $sa -eq $sb ] && cmp -s a.err b.err
  ok $? "$* is refused as qemu-img does"
}

# allowed ARGUMENT...: by both, with the same output
allowed () {
  timeout 20 qemu-img "$@" > a 2> a.err; sa=$?
  "$img" "$@" > b 2> b.err; sb=$?
  [ $sa -eq 0 ] && [ $sb -eq 0 ] && cmp -s a b
  ok $? "$* works"
}

guest () {
  timeout 60 qemu-system-x86_64 -S -accel tcg -m 32 -display none -nodefaults \
    -serial none -monitor none "$@"
}

"$img" create -q -f qcow2 base.qcow2 4M
"$img" create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
"$img" create -q -f raw other.raw 4M
cp disk.qcow2 before.qcow2

mkfifo hold
guest -qmp stdio -drive file=disk.qcow2,format=qcow2,if=none,id=d \
  -device virtio-blk-pci,drive=d < hold > qmp 2>&1 &
pid=$!
exec 9> hold
locked "$(stat -c %i disk.qcow2)"; ok $? "QEMU holds the disk"

refused info disk.qcow2
refused info --output=json disk.qcow2
refused map disk.qcow2
refused check disk.qcow2
refused check -r all disk.qcow2
refused resize disk.qcow2 +1M
refused convert -f raw -n -O qcow2 other.raw disk.qcow2
refused convert -O raw disk.qcow2 x.raw
refused compare disk.qcow2 disk.qcow2
refused snapshot -c x disk.qcow2
refused rebase -u -b base.qcow2 -F qcow2 disk.qcow2
refused commit disk.qcow2
refused bitmap --add disk.qcow2 b
refused bench -w -c 1 -f qcow2 disk.qcow2
refused resize base.qcow2 +1M
allowed info -U disk.qcow2
allowed info -U --output=json --backing-chain disk.qcow2
allowed map -U --output=json disk.qcow2
allowed check -U disk.qcow2
allowed compare -U disk.qcow2 base.qcow2
allowed info base.qcow2
if "$img" create -f qcow2 disk.qcow2 1M > a.err 2>&1; then r=1; else r=0; fi
ok $r "create keeps away from it"
cmp -s disk.qcow2 before.qcow2; ok $? "the disk is as it was"

printf '{"execute":"qmp_capabilities"}{"execute":"quit"}\n' >&9
wait $pid
pid=
exec 9>&-
"$img" resize -q disk.qcow2 +1M 2> b.err; ok $? "it is free when the guest is gone"

# The other way round: we write, for longer than this takes.
"$img" bench -w -c 2000000000 -f qcow2 disk.qcow2 > /dev/null 2>&1 &
pid=$!
locked "$(stat -c %i disk.qcow2)"; ok $? "we hold the disk"
guest -drive file=disk.qcow2,format=qcow2,if=none,id=d \
  -device virtio-blk-pci,drive=d > a.err 2>&1 < /dev/null
[ $? -eq 1 ] && grep -q 'Failed to get "write" lock' a.err
ok $? "QEMU does not start on it"
refused info disk.qcow2
refused resize disk.qcow2 +1M
kill $pid 2> /dev/null
wait $pid 2> /dev/null
pid=
echo "1..$n"
