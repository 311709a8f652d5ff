#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img on block devices: what was on them before must not shine through,
# and what does not fit is refused.  Wants root and a free loop device.
# shellcheck disable=SC2034 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

truncate -s 16M back
if [ "$(id -u)" -ne 0 ] || ! device=$(losetup -f --show back 2> scratch/err); then
  echo "1..0 # SKIP no root, or no loop device"
  exit 77
fi
trap 'losetup -d "$device"; rm -rf "$dir"' EXIT

spoil () { tr '\0' '\377' < /dev/zero | head -c 16777216 > "$device"; }

head -c 1000000 /dev/urandom > disk.raw
truncate -s 8M disk.raw
printf end | dd of=disk.raw bs=1 seek=8388605 conv=notrunc 2> scratch/err

spoil
silent convert -f raw -O raw disk.raw "$device"
cmp -n 8388608 disk.raw "$device" > scratch/out
ok $? "raw over what was there"
spoil
silent convert -n -f raw -O raw disk.raw "$device"
cmp -n 8388608 disk.raw "$device" > scratch/out
ok $? "raw with -n"
[ "$(tail -c 1 "$device" | od -An -tx1 | tr -d ' ')" = ff ]
ok $? "what is behind the end stays"
spoil
silent dd -f raw bs=1M skip=1 count=8 if=disk.raw of="$device"
tail -c +1048577 disk.raw | cmp -n 7340032 - "$device" > scratch/out
ok $? "dd over what was there"
for o in "" "-c" "-o preallocation=metadata" "-o cluster_size=4k"; do
  spoil
  # shellcheck disable=SC2086 # words
  silent convert $o -f raw -O qcow2 disk.raw "$device"
  expect 0 "Images are identical." compare -f raw -F qcow2 disk.raw "$device"
  expect 0 "No errors" check -f qcow2 "$device"
done
silent convert -f qcow2 -O raw "$device" back.raw
cmp disk.raw back.raw > scratch/out
ok $? "from a device"
silent create -q -f qcow2 -b "$device" -F qcow2 over.qcow2
expect 0 "Images are identical." compare -f raw disk.raw over.qcow2
truncate -s 17M large.raw
expect 1 "$device" convert -f raw -O raw large.raw "$device"
expect 1 "$device" create -f raw "$device" 17M
finish
